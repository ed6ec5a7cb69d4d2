/**
 * Sockets of the stack as the interfaces that everything above a call uses: {@link Flow} for TCP.
 */
import {
  READY_CLOSED,
  READY_READABLE,
  READY_WRITABLE,
  type SocketError,
  type TcpConnection,
} from '../../stack/index.js'
import { DialError, type Endpoint, type Flow, type FlowHandler } from './flow.js'

/** What a flow needs of whoever drives its stack. */
export interface FlowHost {
  now(): number
  /** The stack may have something to send. */
  wake(): void
  /** Calls `flow.settle()` at the next dispatch. */
  defer(flow: StackFlow): void
}

/** One TCP connection of a stack. */
export class StackFlow implements Flow {
  readonly local: Endpoint
  readonly remote: Endpoint
  private readonly connection: TcpConnection
  private readonly host: FlowHost
  private current: FlowHandler | undefined
  /** News that came while nobody listened, or inside a call. */
  private pending = 0
  private failure: DialError | undefined
  private closed = false

  constructor(connection: TcpConnection, host: FlowHost) {
    this.connection = connection
    this.host = host
    const { tuple } = connection
    this.local = { address: tuple.local.toString(), port: tuple.localPort }
    this.remote = { address: tuple.remote.toString(), port: tuple.remotePort }
    connection.owner = this
  }

  get handler(): FlowHandler | undefined {
    return this.current
  }

  set handler(handler: FlowHandler | undefined) {
    this.current = handler
    if (handler === undefined) return
    // The driver of a tunnel that has gone turns no more.
    if (this.failure !== undefined) queueMicrotask(() => this.settle())
    else if (this.pending !== 0) this.host.defer(this)
  }

  get readable(): number {
    return this.connection.readable
  }

  get ended(): boolean {
    return this.connection.ended
  }

  get queued(): number {
    return this.connection.queued
  }

  peek(skip = 0): Uint8Array {
    return this.connection.peek(skip)
  }

  consume(n: number): void {
    this.connection.consume(n)
    if (this.pending & READY_CLOSED && this.connection.readable === 0) this.host.defer(this)
    this.host.wake()
  }

  write(chunk: Uint8Array): boolean {
    const room = this.connection.write(chunk)
    this.host.wake()
    return room || this.closed || this.connection.error !== undefined
  }

  end(): void {
    this.connection.end()
    this.host.wake()
  }

  reset(): void {
    if (this.closed) return
    this.connection.abort()
    // It was over, and only what was unread has kept that back.
    if (this.pending & READY_CLOSED) this.host.defer(this)
    this.host.wake()
  }

  /** News from the stack. */
  onReady(bits: number): void {
    this.pending |= bits
    this.settle()
  }

  /** Tells the handler what there is to tell. */
  settle(): void {
    const { current } = this
    if (current === undefined || this.closed) return
    const { connection } = this
    const bits = this.pending
    this.pending = bits & READY_CLOSED
    if (this.failure !== undefined) {
      this.closed = true
      // What is unread goes back to the stack. One that is still open has its end from whoever takes the tunnel away.
      if (bits & READY_CLOSED) connection.abort()
      current.onClose(this.failure)
      return
    }
    // A handler may put another in its place, so it is looked up for each call.
    if (bits & READY_WRITABLE && connection.error === undefined) current.onWritable()
    const news = connection.error === undefined || connection.readable > 0
    if (bits & READY_READABLE && news && !this.closed) this.current?.onReadable()
    // The end, proper or not, is told when all that came before it was taken.
    if (this.pending & READY_CLOSED && !this.closed && connection.readable === 0) {
      this.closed = true
      const { error } = connection
      this.current?.onClose(error === undefined ? undefined : dialError(error, this.remote))
    }
  }

  /** The tunnel has gone: whatever the connection's state, this is the end. */
  fail(error: DialError): void {
    this.failure ??= error
    this.settle()
  }

  /** `onClose` has not been told. */
  get isOpen(): boolean {
    return !this.closed
  }
}

const WORDS: Readonly<Record<SocketError, string>> = {
  refused: 'refused the connection',
  reset: 'reset the connection',
  'timed-out': 'does not answer',
  'host-unreachable': 'cannot be reached (host unreachable)',
  'network-unreachable': 'cannot be reached (network unreachable)',
  prohibited: 'cannot be reached (a firewall forbids it)',
  'ttl-expired': 'cannot be reached (TTL expired on the way)',
  'too-large': 'is behind a path that takes smaller packets only',
  'no-resources': 'cannot be connected to (no free port or connection is left)',
  aborted: 'was given up',
}

/** A stack's error as those above know it. */
export function dialError(error: SocketError, remote: Endpoint): DialError {
  const host = remote.address.includes(':') ? `[${remote.address}]` : remote.address
  return new DialError(error, `${host}:${remote.port} ${WORDS[error]}`)
}
