import type { ReadySocket } from '../ready.js'
import type { IpAddress } from '../wire/address.js'
import type { TcpConnection } from './connection.js'

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
  readonly kind = 'listener'
  readonly address: IpAddress | undefined
  readonly port: number
  readonly backlog: number
  readonly hold: boolean
  owner: unknown
  /** Connections in SYN-RECEIVED that are not in the queue. */
  halfOpen = 0
  closed = false
  readyBits = 0
  readyNext: ReadySocket | undefined
  private readonly queue: TcpConnection[] = []

  constructor(options: ListenOptions, backlog: number) {
    this.address = options.address
    this.port = options.port
    this.backlog = options.backlog ?? backlog
    this.hold = options.hold ?? false
  }

  /** The next connection, or undefined. */
  accept(): TcpConnection | undefined {
    return this.queue.shift()
  }

  get full(): boolean {
    return this.halfOpen + this.queue.length >= this.backlog
  }

  enqueue(c: TcpConnection): void {
    this.queue.push(c)
  }

  /** A connection ended before it was accepted. @returns if it was in the queue */
  forget(c: TcpConnection): boolean {
    const i = this.queue.indexOf(c)
    if (i < 0) return false
    this.queue.splice(i, 1)
    return true
  }
}
