import { setU8, setU16, u8 } from '../bytes.js'
import type { Instant, StackCounters } from '../types.js'
import * as ipv4 from '../wire/ipv4.js'
import * as ipv6 from '../wire/ipv6.js'
import * as fragment from '../wire/ipv6-fragment.js'
import type { Identifications } from './identification.js'
import type { PathMtuCache } from './path-mtu.js'

/** What fragmentation needs to know of the way out. */
export interface WayOut {
  readonly counters: StackCounters
  readonly pathMtu: PathMtuCache
  readonly ids: Identifications
  /** The link's. */
  mtu(): number
}

/**
 * Writes the datagrams of one queue, one IP packet at a time: whole, or if the path takes less, in fragments
 * (RFC 791 3.2, RFC 8200 4.5). The queue keeps the datagram until {@link busy} is false again.
 */
export class Fragmenter {
  private readonly way: WayOut
  /** Octets behind the IP header that have gone. */
  private at = 0
  /** IPv6: of the datagram that is going. */
  private id = 0

  constructor(way: WayOut) {
    this.way = way
  }

  /** In the middle of a datagram. */
  get busy(): boolean {
    return this.at > 0
  }

  /**
   * Writes `packet`, or what comes next of it, at `off`. A whole packet of ours: a plain IP header, and with IPv4
   * an identification if it may be cut.
   * @returns the length
   */
  emit(packet: Uint8Array, dst: Uint8Array, off: number, now: Instant): number {
    const four = u8(packet, 0) >>> 4 === 4
    const link = this.way.mtu()
    const mtu =
      four && ipv4.dontFragment(packet, 0)
        ? link
        : Math.min(link, this.way.pathMtu.ofPacket(packet, 0, now) ?? link)
    if (this.at === 0) {
      if (packet.length <= mtu) {
        dst.set(packet, off)
        return packet.length
      }
      this.way.counters.fragmented++
      if (!four) this.id = this.way.ids.next6()
    }
    const header = four ? ipv4.IPV4_HEADER : ipv6.IPV6_HEADER
    const front = four ? header : header + fragment.FRAGMENT_HEADER
    const { at } = this
    const rest = packet.length - header - at
    // At least 8: an MTU too small for anything must not stop us here for ever.
    const room = Math.max(8, mtu - front)
    const more = rest > room
    const n = more ? room & ~7 : rest
    dst.set(packet.subarray(0, header), off)
    dst.set(packet.subarray(header + at, header + at + n), off + front)
    if (four) {
      ipv4.refit(dst, off, header, front + n, (more ? ipv4.IPV4_MF : 0) | (at >>> 3))
    } else {
      setU16(dst, off + 4, fragment.FRAGMENT_HEADER + n)
      setU8(dst, off + 6, ipv6.NEXT_FRAGMENT)
      fragment.emit(dst, off + header, ipv6.nextHeader(packet, 0), at, more, this.id)
    }
    this.at = more ? at + n : 0
    return front + n
  }
}
