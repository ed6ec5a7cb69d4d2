import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import type { Clock } from './clock.js'

export interface TcpClientHost {
  /** Undefined: this is no DNS, and the connection is to be closed. Never rejects. */
  answer(message: Uint8Array, signal: AbortSignal): Promise<Buffer> | undefined
  onClose(): void
}

/**
 * One connection of a client of our DNS server, RFC 7766: questions may come without waiting for answers, which go
 * back in whatever order they come.
 */
export class TcpClient {
  readonly #socket: Socket
  readonly #limits: { readonly pipelined: number; readonly idle: number }
  readonly #clock: Clock
  readonly #host: TcpClientHost
  readonly #gone = new AbortController()
  #received: Buffer[] = []
  #octets = 0
  /** Of the question that is coming, with its length in front; 2 as long as that is not known. */
  #wanted = 2
  #underWay = 0
  #cancelIdle: () => void
  #ended = false

  constructor(
    socket: Socket,
    limits: { readonly pipelined: number; readonly idle: number },
    clock: Clock,
    host: TcpClientHost,
  ) {
    this.#socket = socket
    this.#limits = limits
    this.#clock = clock
    this.#host = host
    // One for each question that is under way, which are bounded.
    setMaxListeners(0, this.#gone.signal)
    socket.on('data', (chunk) => this.#onData(chunk))
    socket.on('end', () => {
      this.#ended = true
      this.#rest()
    })
    socket.on('drain', () => this.#proceed())
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#cancelIdle()
      this.#gone.abort()
      this.#received = []
      host.onClose()
    })
    this.#cancelIdle = clock.setTimer(() => this.close(), limits.idle)
  }

  get isIdle(): boolean {
    return this.#underWay === 0
  }

  /** At once: nothing that has come is read any more, and no answer goes out. */
  close(): void {
    this.#gone.abort()
    this.#socket.destroy()
  }

  #onData(chunk: Buffer): void {
    this.#received.push(chunk)
    this.#octets += chunk.length
    this.#proceed()
  }

  /** Takes what whole questions there are, as many as may be under way. */
  #proceed(): void {
    const { pipelined } = this.#limits
    const isFull = (): boolean => this.#underWay >= pipelined || this.#socket.writableNeedDrain
    while (!isFull() && !this.#gone.signal.aborted) {
      const message = this.#take()
      if (message === undefined) break
      const answer = this.#host.answer(message, this.#gone.signal)
      if (answer === undefined) {
        this.close()
        return
      }
      this.#underWay++
      this.#cancelIdle()
      void answer.then((octets) => this.#onAnswer(octets))
    }
    // Half a question may be waited for, but what is read must not pile up behind those under way.
    if (isFull()) this.#socket.pause()
    else this.#socket.resume()
    this.#rest()
  }

  #onAnswer(answer: Buffer): void {
    this.#underWay--
    if (this.#gone.signal.aborted) return
    // RFC 7766 8: length and message in one piece.
    const framed = Buffer.allocUnsafe(answer.length + 2)
    framed.writeUInt16BE(answer.length, 0)
    answer.copy(framed, 2)
    this.#socket.write(framed)
    // The time of whoever has nothing under way begins anew; octets alone do not earn it.
    if (this.#underWay === 0) {
      this.#cancelIdle()
      this.#cancelIdle = this.#clock.setTimer(() => this.close(), this.#limits.idle)
    }
    this.#proceed()
  }

  /** Ends the connection when the client has, and has all its answers. */
  #rest(): void {
    if (this.#ended && this.#underWay === 0 && !this.#socket.writableNeedDrain) this.#socket.end()
  }

  /** What comes in small pieces is put together twice for each question, not for each piece. */
  #take(): Buffer | undefined {
    if (this.#octets < this.#wanted) return undefined
    const [first] = this.#received
    const all = first !== undefined && this.#received.length === 1 ? first : Buffer.concat(this.#received)
    this.#received = [all]
    const end = 2 + all.readUInt16BE(0)
    this.#wanted = end
    if (all.length < end) return undefined
    this.#received = [all.subarray(end)]
    this.#octets -= end
    this.#wanted = 2
    return all.subarray(2, end)
  }
}
