import type { SocketAddress, SocketError } from '../types.js'

/** A datagram that has come. */
export interface Datagram {
  readonly data: Uint8Array
  readonly from: SocketAddress
  /** Where it was sent to: one of our addresses, or any with an any-address socket. */
  readonly to: SocketAddress
}

/** Datagrams (or echo replies) waiting to be read, and packets waiting to go out; both bounded in octets. */
export class DatagramQueue<T> {
  private items: T[] = []
  private first = 0
  bytes = 0
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  get empty(): boolean {
    return this.first === this.items.length
  }

  /** @returns false if it does not fit: it is dropped. An empty one counts too, or nothing would bound them. */
  push(item: T, size: number): boolean {
    const cost = size + OVERHEAD
    if (this.bytes + cost > this.limit) return false
    this.items.push(item)
    this.bytes += cost
    return true
  }

  peek(): T | undefined {
    return this.items[this.first]
  }

  shift(size: (item: T) => number): T | undefined {
    const item = this.items[this.first]
    if (item === undefined) return undefined
    this.first++
    this.bytes -= size(item) + OVERHEAD
    if (this.first === this.items.length) {
      this.items = []
      this.first = 0
    } else if (this.first > 256) {
      this.items = this.items.slice(this.first)
      this.first = 0
    }
    return item
  }

  clear(): void {
    this.items = []
    this.first = 0
    this.bytes = 0
  }
}

/** What an object costs beside its octets, roughly. */
const OVERHEAD = 64

/** An ICMP error that a socket without connection state hears of. */
export interface SocketNews {
  readonly error: SocketError
  readonly remote: SocketAddress
}
