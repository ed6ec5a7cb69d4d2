import type { Emitter } from './scheduler.js'

/**
 * Packets of the stack's own making (RST, ICMP errors): one flow of the scheduler among the others, so that
 * whoever provokes many of them takes nobody's turn. What does not fit the queue is dropped.
 */
export class Replies implements Emitter {
  /** Octets that wait. */
  bytes = 0
  private readonly ring: (Uint8Array | undefined)[]
  private first = 0
  private count = 0
  private readonly mtu: () => number

  /** Nothing of it is worth going in front of. @internal */
  readonly prompt = false
  /** @internal */
  schedNext: Emitter | undefined
  /** @internal */
  schedPrev: Emitter | undefined
  /** @internal */
  schedQueue = 0
  /** @internal */
  schedCredit = 0

  constructor(limit: number, mtu: () => number) {
    this.ring = new Array(limit).fill(undefined)
    this.mtu = mtu
  }

  /** Takes a whole packet over. @returns false if there is no room for it */
  push(packet: Uint8Array): boolean {
    const { ring } = this
    if (this.count === ring.length) return false
    ring[(this.first + this.count++) % ring.length] = packet
    this.bytes += packet.length
    return true
  }

  emit(dst: Uint8Array, off: number): number {
    const { ring } = this
    while (this.count > 0) {
      const packet = ring[this.first] as Uint8Array
      ring[this.first] = undefined
      this.first = (this.first + 1) % ring.length
      this.count--
      this.bytes -= packet.length
      // The link may take less than when it was made.
      if (packet.length > this.mtu()) continue
      dst.set(packet, off)
      return packet.length
    }
    return 0
  }

  clear(): void {
    this.ring.fill(undefined)
    this.count = 0
    this.bytes = 0
  }
}
