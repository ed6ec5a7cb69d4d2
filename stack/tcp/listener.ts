import type { ReadySocket } from '../ready.js'
import type { IpAddress } from '../wire/address.js'
import type { TcpConnection } from './connection.js'

/** What a listener listens to. */
export interface ListenOptions {
  /** Only connections to this address; all of ours (or any, see the stack's `anyAddress`) if absent. */
  readonly address?: IpAddress
  /** 0: connections to every port that no other listener has. */
  readonly port: number
  /** Half-open and unaccepted connections; more SYNs are dropped. */
  readonly backlog?: number
  /**
   * Connections are handed out as soon as their SYN is there, unanswered: `proceed` answers it, `refuse`
   * rejects it. A gateway first tries the far side, so that "established" is never said too early.
   */
  readonly hold?: boolean
}

/** Passive opens (RFC 9293 3.10.1). */
export class TcpListener implements ReadySocket {
  /** Tells the kinds of {@link AnySocket} apart. */
  readonly kind = 'listener'
  /** The only address it answers on, if there is one. */
  readonly address: IpAddress | undefined
  /** The port, or 0 for every port. */
  readonly port: number
  /** Half-open and unaccepted connections that it may have. */
  readonly backlog: number
  /** It hands connections out unanswered. */
  readonly hold: boolean
  /** For whoever uses the stack, which never looks at it. */
  owner: unknown
  /** Connections in SYN-RECEIVED that are not in the queue. @internal */
  halfOpen = 0
  /** True behind `unlisten`. */
  closed = false
  /** @internal */
  readyBits = 0
  /** @internal */
  readyNext: ReadySocket | undefined
  private readonly queue: TcpConnection[] = []

  constructor(options: ListenOptions, backlog: number) {
    this.address = options.address
    this.port = options.port
    this.backlog = options.backlog ?? backlog
    this.hold = options.hold ?? false
  }

  /** The next connection, or undefined. @internal */
  accept(): TcpConnection | undefined {
    return this.queue.shift()
  }

  /** More SYNs are dropped at this moment. */
  get full(): boolean {
    return this.halfOpen + this.queue.length >= this.backlog
  }

  /** @internal */
  enqueue(c: TcpConnection): void {
    this.queue.push(c)
  }

  /** A connection ended before it was accepted. @returns if it was in the queue @internal */
  forget(c: TcpConnection): boolean {
    const i = this.queue.indexOf(c)
    if (i < 0) return false
    this.queue.splice(i, 1)
    return true
  }
}
