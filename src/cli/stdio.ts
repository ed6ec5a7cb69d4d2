/** Standard input and output joined to one connection, for `--stdio` and `nc` (ssh's ProxyCommand). */
import { closeSync, fstatSync, openSync } from 'node:fs'
import { devNull } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import type { DialError, Flow, FlowHandler } from '../tunnel/dialer.js'

export interface Stdio {
  readonly input: Readable
  readonly output: Writable
  /** Behind the output's end: whoever reads it sees the end now, not only when this process ends. */
  closeOutput(): void
}

/** Those of this process. */
export function processStdio(): Stdio {
  return { input: process.stdin, output: process.stdout, closeOutput: closeStdout }
}

/**
 * Node never closes its standard output: the end of a socket is told by its shutdown, that of a pipe by nothing. What
 * takes its number keeps later files from getting it.
 */
function closeStdout(): void {
  try {
    if (process.platform === 'win32' || !fstatSync(1).isFIFO()) return
    closeSync(1)
    openSync(devNull, 'w')
  } catch {
    // It is closed already.
  }
}

/**
 * Passes on what comes until both directions have ended: the end of the input is a FIN, and a FIN the end of the output.
 * Rejects with {@link DialError} if the connection breaks. A reader of the output who goes away breaks it, and that is no
 * error.
 */
export function joinStdio(flow: Flow, stdio: Stdio): Promise<void> {
  return new Promise((resolve, reject) => {
    const joint = new Joint(flow, stdio, (error) => (error === undefined ? resolve() : reject(error)))
    joint.start()
  })
}

class Joint implements FlowHandler {
  readonly #flow: Flow
  readonly #stdio: Stdio
  readonly #settle: (error: DialError | undefined) => void
  #writing = false
  #finished = false
  /** The reader of the output has gone. */
  #abandoned = false
  #closed = false
  #error: DialError | undefined

  constructor(flow: Flow, stdio: Stdio, settle: (error: DialError | undefined) => void) {
    this.#flow = flow
    this.#stdio = stdio
    this.#settle = settle
  }

  start(): void {
    const { input, output } = this.#stdio
    this.#flow.handler = this
    input.on('data', this.#onData)
    input.once('end', this.#onEnd)
    input.on('error', this.#onEnd)
    output.on('error', this.#onOutputError)
    this.#pump()
  }

  onReadable(): void {
    this.#pump()
  }

  onWritable(): void {
    this.#stdio.input.resume()
  }

  onClose(error: DialError | undefined): void {
    this.#closed = true
    this.#error = error
    this.#leave()
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.#flow.write(chunk)) this.#stdio.input.pause()
  }

  readonly #onEnd = (): void => this.#flow.end()

  readonly #onOutputError = (): void => {
    this.#abandoned = true
    if (this.#closed) this.#leave()
    else this.#flow.reset()
  }

  #pump(): void {
    if (this.#writing || this.#closed) return
    const view = this.#flow.peek()
    if (view.length === 0) {
      if (this.#flow.ended) this.#finish()
      return
    }
    this.#writing = true
    // A copy: the connection may end, and its memory with it, while a slow reader still takes it.
    const chunk = Buffer.from(view.subarray(0, MAX_WRITE))
    this.#flow.consume(chunk.length)
    this.#stdio.output.write(chunk, this.#onWritten)
  }

  readonly #onWritten = (error?: Error | null): void => {
    this.#writing = false
    if (error) return
    if (this.#closed) this.#leave()
    else this.#pump()
  }

  #finish(): void {
    if (this.#finished || this.#abandoned) return
    this.#finished = true
    this.#stdio.output.end(() => {
      this.#stdio.closeOutput()
      this.#leave()
    })
  }

  /** Settles when the connection is over and the output has all of it. */
  #leave(): void {
    if (!this.#closed) return
    const { input, output } = this.#stdio
    if (!this.#abandoned) {
      if (this.#writing) return
      if (this.#error === undefined) {
        this.#finish()
        if (!output.writableFinished) return
      }
    }
    input.off('data', this.#onData)
    input.off('end', this.#onEnd)
    input.pause()
    this.#settle(this.#abandoned ? undefined : this.#error)
  }
}

const MAX_WRITE = 262_144
