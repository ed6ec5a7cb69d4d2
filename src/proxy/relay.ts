import type { DialError, Flow, FlowHandler } from '../tunnel/dialer.js'
import type { Client, Stage } from './client.js'
import type { ProxyProtocol } from './events.js'

/** What a relay stands for, for its last event. */
export interface RelayPurpose {
  readonly protocol: ProxyProtocol
  readonly host: string
  readonly port: number
}

/**
 * Joins a client's socket and a flow until both directions have ended.
 *
 * Down, one write of the local socket is under way at a time, straight from the flow's memory; what
 * gathers meanwhile goes with the next, and nothing is consumed before the socket has taken it, so a client
 * that does not read stops the remote sender. Up, chunks go to the flow by reference, and reading pauses
 * while it is full. Nothing is allocated for a packet, and a Buffer view for a batch.
 */
export class Relay implements Stage, FlowHandler {
  readonly #client: Client
  readonly #flow: Flow
  readonly #purpose: RelayPurpose
  /** Octets in the write under way; 0: none is. */
  #writing = 0
  #up = 0
  #down = 0
  #flowClosed = false
  #localClosed = false
  /** We have sent our FIN to the client. */
  #localFinished = false
  #error: string | undefined

  constructor(client: Client, flow: Flow, purpose: RelayPurpose) {
    this.#client = client
    this.#flow = flow
    this.#purpose = purpose
  }

  /** `early`: what the client has sent already. */
  start(early: readonly Buffer[]): void {
    const { socket } = this.#client
    this.#client.clearDeadline()
    this.#client.enter(this)
    this.#flow.handler = this
    let room = true
    for (const chunk of early) {
      this.#up += chunk.length
      room = this.#flow.write(chunk)
    }
    if (this.#client.ended) this.#flow.end()
    else if (room) socket.resume()
    else socket.pause()
    this.#pump()
  }

  onLocalData(chunk: Buffer): void {
    this.#up += chunk.length
    if (!this.#flow.write(chunk)) this.#client.socket.pause()
  }

  onLocalEnd(): void {
    this.#flow.end()
  }

  onLocalClose(): void {
    this.#localClosed = true
    const inOrder = this.#client.ended && this.#localFinished
    if (!this.#flowClosed && !inOrder) {
      this.#error ??= 'the client broke the connection'
      this.#flow.reset()
    }
    this.#finish()
  }

  onReadable(): void {
    if (this.#writing === 0) this.#pump()
  }

  onWritable(): void {
    this.#client.socket.resume()
  }

  onClose(error: DialError | undefined): void {
    this.#flowClosed = true
    this.#client.context.flows.delete(this.#flow)
    if (error !== undefined) {
      this.#error ??= error.message
      // The memory behind a write under way is no longer ours: this drops the write too.
      this.#client.reset()
    } else if (this.#writing === 0) {
      this.#endLocal()
    }
    this.#finish()
  }

  #pump(): void {
    if (this.#flowClosed || this.#localClosed) return
    const view = this.#flow.peek()
    const size = Math.min(view.length, MAX_WRITE)
    if (size === 0) {
      if (this.#flow.ended) this.#endLocal()
      return
    }
    this.#writing = size
    this.#client.socket.write(Buffer.from(view.buffer, view.byteOffset, size), this.#onWritten)
  }

  readonly #onWritten = (error?: Error | null): void => {
    const size = this.#writing
    this.#writing = 0
    // The socket's close follows, and says the rest.
    if (error) return
    this.#down += size
    if (this.#flowClosed) {
      this.#endLocal()
      return
    }
    this.#flow.consume(size)
    this.#pump()
  }

  #endLocal(): void {
    if (this.#localFinished || this.#localClosed) return
    this.#localFinished = true
    this.#client.socket.end()
  }

  #finish(): void {
    if (!this.#flowClosed || !this.#localClosed) return
    const { context, id } = this.#client
    context.emit({
      type: 'done',
      client: id,
      ...this.#purpose,
      up: this.#up,
      down: this.#down,
      error: this.#error,
    })
  }
}

/** So that a slow client's window opens in steps and not all at once. */
const MAX_WRITE = 262_144
