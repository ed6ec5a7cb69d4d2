import type { SocketAddress, SocketError } from '../types.js'

/** A datagram that has come. */
export interface Datagram {
  /** The payload; not part of any buffer of the stack. */
  readonly data: Uint8Array
  /** Who sent it. */
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

  hasRoom(size: number): boolean {
    return this.bytes + size + OVERHEAD <= this.limit
  }

  /** @returns false if it does not fit: it is dropped. An empty one counts too, or nothing would bound them. */
  push(item: T, size: number): boolean {
    if (!this.hasRoom(size)) return false
    this.items.push(item)
    this.bytes += size + OVERHEAD
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

/** For queues of packets. */
export function packetSize(p: Uint8Array): number {
  return p.length
}

/** An ICMP error that a socket without connection state hears of. */
export interface SocketNews {
  /** What the ICMP message says. */
  readonly error: SocketError
  /** Where the datagram that it is about was sent to; for ping sockets the port is 0. */
  readonly remote: SocketAddress
}
