import { DialError, type Endpoint, type Flow, type FlowHandler, type Network } from '../tunnel/dialer.js'
import type { Clock } from './clock.js'
import { HEADER } from './wire.js'

/**
 * Connections to DNS servers, RFC 7766: one to each server, with several questions under way in it, kept for a short
 * while after the last answer.
 */
export class TcpPool {
  readonly #network: Network
  readonly #clock: Clock
  readonly #channels = new Map<string, Channel>()

  constructor(network: Network, clock: Clock) {
    this.#network = network
    this.#clock = clock
  }

  /**
   * The server's answer to a message: the one with the same id, whatever else it says. Rejects with
   * {@link DialError}.
   */
  async ask(server: Endpoint, message: Uint8Array, timeout: number, signal: AbortSignal): Promise<Buffer> {
    for (;;) {
      const channel = this.#channel(server, message)
      const isOld = channel.answered > 0
      try {
        return await channel.ask(message, timeout, signal)
      } catch (error) {
        // A server may end an idle connection at any time, also while a question is on its way (RFC 7766 6.2.4).
        const isGone = error instanceof DialError && error.code === 'reset'
        if (!isOld || !isGone || signal.aborted) throw error
      }
    }
  }

  close(): void {
    for (const channel of [...this.#channels.values()]) channel.close()
    this.#channels.clear()
  }

  #channel(server: Endpoint, message: Uint8Array): Channel {
    const key = `${server.address} ${server.port}`
    const old = this.#channels.get(key)
    if (old?.takes(message) === true) return old
    // One that is full ends by itself when its last question is answered.
    const channel: Channel = new Channel(this.#network, this.#clock, server, () => {
      if (this.#channels.get(key) === channel) this.#channels.delete(key)
    })
    this.#channels.set(key, channel)
    return channel
  }
}

interface Asked {
  readonly resolve: (message: Buffer) => void
  readonly reject: (error: DialError) => void
}

class Channel implements FlowHandler {
  /** Questions that were answered. */
  answered = 0
  readonly #clock: Clock
  readonly #onGone: () => void
  readonly #asked = new Map<number, Asked>()
  readonly #opening = new AbortController()
  #flow: Flow | undefined
  /** What waits for the connection. */
  #unsent: Buffer[] = []
  #cancelIdle: (() => void) | undefined
  #closed = false
  /** The message that is coming, with its length in front, as far as it came. */
  #received: Buffer = Buffer.alloc(2)
  #filled = 0

  constructor(network: Network, clock: Clock, server: Endpoint, onGone: () => void) {
    this.#clock = clock
    this.#onGone = onGone
    network.connect(server, { timeout: CONNECT_TIMEOUT, signal: this.#opening.signal }).then(
      (flow) => {
        flow.handler = this
        if (this.#closed) return flow.reset()
        this.#flow = flow
        for (const framed of this.#unsent) flow.write(framed)
        this.#unsent = []
      },
      (error) => this.#fail(error instanceof DialError ? error : new DialError('aborted', String(error))),
    )
  }

  takes(message: Uint8Array): boolean {
    return !this.#closed && this.#asked.size < MAX_QUESTIONS && !this.#asked.has(idOf(message))
  }

  ask(message: Uint8Array, timeout: number, signal: AbortSignal): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const id = idOf(message)
      this.#cancelIdle?.()
      const finish = (): void => {
        cancel()
        signal.removeEventListener('abort', onAbort)
        this.#asked.delete(id)
        this.#rest()
      }
      const fail = (error: DialError): void => {
        finish()
        reject(error)
      }
      const onAbort = (): void => fail(new DialError('aborted', 'given up'))
      const cancel = this.#clock.setTimer(
        () => fail(new DialError('timed-out', 'no answer over TCP')),
        timeout,
      )
      if (signal.aborted) return onAbort()
      signal.addEventListener('abort', onAbort)
      this.#asked.set(id, {
        resolve: (answer) => {
          finish()
          resolve(answer)
        },
        reject: fail,
      })
      // RFC 7766 8: length and message in one piece.
      const framed = Buffer.allocUnsafe(message.length + 2)
      framed.writeUInt16BE(message.length, 0)
      framed.set(message, 2)
      if (this.#flow === undefined) this.#unsent.push(framed)
      else this.#flow.write(framed)
    })
  }

  close(): void {
    this.#fail(new DialError('tunnel-down', 'the tunnel is gone'))
  }

  onReadable(): void {
    for (;;) {
      const flow = this.#flow
      if (flow === undefined) return
      const view = flow.peek()
      if (view.length === 0) break
      const take = Math.min(view.length, this.#received.length - this.#filled)
      this.#received.set(view.subarray(0, take), this.#filled)
      this.#filled += take
      flow.consume(take)
      if (this.#filled === this.#received.length) this.#onPiece()
    }
    if (this.#flow?.ended) this.#fail(gone())
  }

  onWritable(): void {}

  onClose(error: DialError | undefined): void {
    this.#flow = undefined
    this.#fail(error?.code === 'tunnel-down' ? error : gone())
  }

  /** A length is there, or a message. */
  #onPiece(): void {
    const received = this.#received
    if (this.#filled === 2) {
      const length = received.readUInt16BE(0)
      if (length < HEADER) {
        this.#fail(new DialError('name-failed', 'a malformed answer over TCP'))
        return
      }
      this.#received = Buffer.alloc(2 + length)
      received.copy(this.#received)
      return
    }
    this.#received = Buffer.alloc(2)
    this.#filled = 0
    const message = received.subarray(2)
    const asked = this.#asked.get(idOf(message))
    if (asked === undefined) return
    this.answered++
    asked.resolve(message)
  }

  /** Nobody waits for anything: not for long, and not at all for a connection that is not there yet. */
  #rest(): void {
    if (this.#closed || this.#asked.size > 0) return
    if (this.answered === 0) this.#fail(new DialError('aborted', 'given up'))
    else this.#cancelIdle = this.#clock.setTimer(() => this.#fail(gone()), IDLE)
  }

  #fail(error: DialError): void {
    if (this.#closed) return
    this.#closed = true
    this.#cancelIdle?.()
    this.#opening.abort()
    this.#onGone()
    this.#flow?.reset()
    this.#flow = undefined
    this.#unsent = []
    for (const asked of [...this.#asked.values()]) asked.reject(error)
  }
}

function idOf(message: Uint8Array): number {
  return ((message[0] ?? 0) << 8) | (message[1] ?? 0)
}

function gone(): DialError {
  return new DialError('reset', 'the server closed the connection without an answer')
}

// Ours: milliseconds, counts.
const CONNECT_TIMEOUT = 5_000
const IDLE = 5_000
const MAX_QUESTIONS = 64
