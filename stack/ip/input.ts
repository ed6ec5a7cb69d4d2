import { i32, u8 } from '../bytes.js'
import { combine, sum32 } from '../checksum.js'
import type { ErrorSender } from '../icmp/error-sender.js'
import type { IcmpLayer } from '../icmp/layer.js'
import type { TcpLayer } from '../tcp/layer.js'
import { newPacketAddresses, type PacketAddresses } from '../tuple.js'
import type { Instant, StackCounters } from '../types.js'
import type { UdpLayer } from '../udp/layer.js'
import { type IpAddress, isBadSource } from '../wire/address.js'
import * as icmpv4 from '../wire/icmpv4.js'
import * as icmpv6 from '../wire/icmpv6.js'
import * as ipv4 from '../wire/ipv4.js'
import * as ipv6 from '../wire/ipv6.js'
import * as fragment from '../wire/ipv6-fragment.js'
import { hasTransportHeader } from '../wire/transport.js'
import type { Reassembly } from './reassembly.js'

export interface IpInputOptions {
  readonly counters: StackCounters
  readonly reassembly: Reassembly
  readonly tcp: Pick<TcpLayer, 'input'>
  readonly udp: Pick<UdpLayer, 'input'>
  readonly icmp: Pick<IcmpLayer, 'input4' | 'input6'>
  readonly errors: Pick<ErrorSender, 'about'>
  readonly anyAddress: boolean
  hasV6(): boolean
  /** A whole packet about the link, or to a UDP port that nobody has. @returns true if it was taken */
  unclaimed(b: Uint8Array, off: number, len: number, now: Instant): boolean
  /** Those words are an address of our own. */
  isOwn(w0: number, w1: number, w2: number, w3: number): boolean
}

/** The way in: packets of both families are checked, put together if need be, and handed to TCP, UDP or ICMP. */
export class IpInput {
  /** The only IPv4 address that may send to us, if there is one. */
  peer: IpAddress | undefined
  private readonly options: IpInputOptions
  private readonly packet: PacketAddresses = newPacketAddresses()
  private readonly upper: ipv6.UpperLayer = { protocol: 0, offset: 0, pointer: 0, problem: 0 }

  constructor(options: IpInputOptions) {
    this.options = options
  }

  /** A packet, perhaps: `len` octets of `b` at `off`, read in place and not kept. */
  input(b: Uint8Array, off: number, len: number, now: Instant): void {
    const version = u8(b, off) >>> 4
    if (version === 4) this.input4(b, off, len, now)
    else if (version === 6) this.input6(b, off, len, now)
    else this.options.counters.malformed++
  }

  isOurs(a: PacketAddresses): boolean {
    return this.options.isOwn(a.d0, a.d1, a.d2, a.d3)
  }

  // ---------------------------------------------------------------- IPv4

  private input4(b: Uint8Array, off: number, len: number, now: Instant): void {
    const { counters, anyAddress } = this.options
    const header = ipv4.check(b, off, len)
    if (header < 0) {
      counters.malformed++
      return
    }
    const a = this.packet
    a.family = 4
    a.s0 = a.s1 = a.d0 = a.d1 = 0
    a.s2 = a.d2 = 0xffff
    a.s3 = ipv4.source(b, off)
    a.d3 = ipv4.destination(b, off)
    a.sum = combine(sum32(a.s3), sum32(a.d3))
    a.ecn = ipv4.tos(b, off) & 3
    const ours = this.isOurs(a)
    const { peer } = this
    if (a.d3 === BROADCAST_V4 && this.isForLink4(a, b, off, now)) return
    if (
      this.isMartian(a) ||
      !(ours || anyAddress) ||
      (peer !== undefined && peer.w3 !== a.s3) ||
      (header > ipv4.IPV4_HEADER && ipv4.hasBadOptions(b, off, header))
    ) {
      counters.unwanted++
      return
    }
    if (ipv4.isFragment(b, off)) this.fragment4(b, off, header, a, ours, now)
    else this.deliver4(b, off, header, a, ours, now)
  }

  private fragment4(
    b: Uint8Array,
    off: number,
    header: number,
    a: PacketAddresses,
    ours: boolean,
    now: Instant,
  ): void {
    const { counters, reassembly } = this.options
    counters.fragments++
    const len = ipv4.totalLength(b, off) - header
    const at = ipv4.fragmentOffset(b, off)
    if (len === 0 || (ipv4.moreFragments(b, off) && (len & 7) !== 0) || header + at + len > ipv4.IPV4_MAX) {
      counters.malformed++
      return
    }
    const proto = ipv4.protocol(b, off)
    // RFC 1858 3, 4.2: such fragments are only made to hide a header from filters.
    if (at === 0 ? !hasTransportHeader(b, off + header, len, proto) : proto === ipv4.PROTO_TCP && at === 8) {
      counters.unwanted++
      return
    }
    if (reassembly.input4(b, off, header, a, now) === 0) return
    const whole = reassembly.buffer
    a.ecn = ipv4.tos(whole, 0) & 3
    this.deliver4(whole, 0, (u8(whole, 0) & 15) << 2, a, ours, now)
  }

  /** A whole datagram for us. */
  private deliver4(
    b: Uint8Array,
    off: number,
    header: number,
    a: PacketAddresses,
    ours: boolean,
    now: Instant,
  ): void {
    const { tcp, udp, icmp, errors, counters } = this.options
    const o = off + header
    const n = ipv4.totalLength(b, off) - header
    switch (ipv4.protocol(b, off)) {
      case ipv4.PROTO_TCP:
        tcp.input(b, o, n, a, now)
        return
      case ipv4.PROTO_UDP:
        if (udp.input(b, o, n, a, ours)) return
        if (ours && this.options.unclaimed(b, off, header + n, now)) return
        counters.unwanted++
        errors.about(a, icmpv4.UNREACHABLE, icmpv4.UNREACHABLE_PORT, 0, b, off, header + n, now)
        return
      case ipv4.PROTO_ICMP:
        icmp.input4(b, o, n, a, ours, now)
        return
      default:
        counters.unwanted++
        errors.about(a, icmpv4.UNREACHABLE, icmpv4.UNREACHABLE_PROTOCOL, 0, b, off, header + n, now)
    }
  }

  // ---------------------------------------------------------------- IPv6

  private input6(b: Uint8Array, off: number, len: number, now: Instant): void {
    const { counters, anyAddress } = this.options
    if (ipv6.check(b, off, len) < 0) {
      counters.malformed++
      return
    }
    const a = this.packet
    a.family = 6
    a.s0 = i32(b, off + 8)
    a.s1 = i32(b, off + 12)
    a.s2 = i32(b, off + 16)
    a.s3 = i32(b, off + 20)
    a.d0 = i32(b, off + 24)
    a.d1 = i32(b, off + 28)
    a.d2 = i32(b, off + 32)
    a.d3 = i32(b, off + 36)
    a.sum = combine(
      combine(combine(sum32(a.s0), sum32(a.s1)), combine(sum32(a.s2), sum32(a.s3))),
      combine(combine(sum32(a.d0), sum32(a.d1)), combine(sum32(a.d2), sum32(a.d3))),
    )
    a.ecn = ipv6.trafficClass(b, off) & 3
    const ours = this.isOurs(a)
    const size = ipv6.IPV6_HEADER + ipv6.payloadLength(b, off)
    if (this.options.hasV6() && a.d0 >>> 16 === LINK_GROUP && this.isForLink(a, b, off, size, now)) return
    if (!this.options.hasV6() || this.isMartian(a) || !(ours || anyAddress)) {
      counters.unwanted++
      return
    }
    this.deliver6(b, off, 0, a, ours, now)
  }

  /** A packet for us; `stripped` as {@link ipv6.upperLayer} has it. */
  private deliver6(
    b: Uint8Array,
    off: number,
    stripped: number,
    a: PacketAddresses,
    ours: boolean,
    now: Instant,
  ): void {
    const { tcp, udp, icmp, errors, counters } = this.options
    const whole = ipv6.IPV6_HEADER + ipv6.payloadLength(b, off)
    const { upper } = this
    if (!ipv6.upperLayer(b, off, upper, stripped)) {
      counters.malformed++
      if (upper.problem > 0) this.problem(a, upper.problem - 1, upper.pointer - off, b, off, now)
      return
    }
    const o = upper.offset
    const n = off + whole - o
    switch (upper.protocol) {
      case ipv4.PROTO_TCP:
        tcp.input(b, o, n, a, now)
        return
      case ipv4.PROTO_UDP:
        if (udp.input(b, o, n, a, ours)) return
        if (ours && this.options.unclaimed(b, off, whole, now)) return
        counters.unwanted++
        errors.about(a, icmpv6.V6_UNREACHABLE, icmpv6.V6_PORT, 0, b, off, whole, now)
        return
      case ipv4.PROTO_ICMPV6:
        if (ours && n > 0 && icmpv6.isNeighbourDiscovery(b, o) && this.options.unclaimed(b, off, whole, now))
          return
        icmp.input6(b, o, n, a, ours, now)
        return
      case ipv6.NEXT_FRAGMENT:
        this.fragment6(b, off, o, upper.pointer, a, ours, now)
        return
      case ipv6.NEXT_NONE:
        return
      case ipv6.NEXT_ESP:
      case ipv6.NEXT_AH:
        counters.unwanted++
        return
      default:
        counters.unwanted++
        this.problem(a, icmpv6.V6_BAD_NEXT_HEADER, upper.pointer - off, b, off, now)
    }
  }

  private fragment6(
    b: Uint8Array,
    off: number,
    f: number,
    namedAt: number,
    a: PacketAddresses,
    ours: boolean,
    now: Instant,
  ): void {
    const { counters, reassembly } = this.options
    counters.fragments++
    const front = f - off - ipv6.IPV6_HEADER
    const from = f + fragment.FRAGMENT_HEADER
    const end = off + ipv6.IPV6_HEADER + ipv6.payloadLength(b, off)
    const len = end - from
    if (len <= 0) {
      counters.malformed++
      return
    }
    const at = fragment.offset(b, f)
    // RFC 8200 4.5, in its order.
    if (fragment.more(b, f) && (len & 7) !== 0) {
      counters.malformed++
      this.fragmentProblem(a, icmpv6.V6_BAD_FIELD, PAYLOAD_LENGTH, b, off, f, now)
      return
    }
    if (front + at + len > ipv6.IPV6_MAX_PAYLOAD) {
      counters.malformed++
      this.fragmentProblem(a, icmpv6.V6_BAD_FIELD, f + 2 - off, b, off, f, now)
      return
    }
    if (at === 0 && !ipv6.hasHeaderChain(b, from, end, fragment.next(b, f))) {
      counters.unwanted++
      this.fragmentProblem(a, icmpv6.V6_SHORT_CHAIN, 0, b, off, f, now)
      return
    }
    if (reassembly.input6(b, off, f, namedAt, end, a, now) === 0) return
    const whole = reassembly.buffer
    a.ecn = ipv6.trafficClass(whole, 0) & 3
    this.deliver6(whole, 0, reassembly.stripped, a, ours, now)
  }

  /** Of a fragment that is not the first one cannot be sure, but if it says that it is of ICMPv6, it may be an error. */
  private fragmentProblem(
    a: PacketAddresses,
    code: number,
    pointer: number,
    b: Uint8Array,
    off: number,
    f: number,
    now: Instant,
  ): void {
    if (fragment.offset(b, f) !== 0 && fragment.next(b, f) === ipv4.PROTO_ICMPV6) return
    this.problem(a, code, pointer, b, off, now)
  }

  private problem(
    a: PacketAddresses,
    code: number,
    pointer: number,
    b: Uint8Array,
    off: number,
    now: Instant,
  ): void {
    const whole = ipv6.IPV6_HEADER + ipv6.payloadLength(b, off)
    this.options.errors.about(a, icmpv6.V6_PARAMETER_PROBLEM, code, pointer, b, off, whole, now)
  }

  // ---------------------------------------------------------------- both

  /**
   * To everybody on the link: nothing of TCP, UDP or ICMP, but perhaps of whoever configures the host. :: may be its
   * source (RFC 4861 4.1, 4.3), an address of ours may not.
   */
  private isForLink(a: PacketAddresses, b: Uint8Array, off: number, len: number, now: Instant): boolean {
    const { options } = this
    return !options.isOwn(a.s0, a.s1, a.s2, a.s3) && options.unclaimed(b, off, len, now)
  }

  private isForLink4(a: PacketAddresses, b: Uint8Array, off: number, now: Instant): boolean {
    return !ipv4.isFragment(b, off) && this.isForLink(a, b, off, ipv4.totalLength(b, off), now)
  }

  /**
   * No unicast sender, no unicast destination, or from an address of ours, which nobody else has ("land"). IPv4 in
   * its mapped form; packets of IPv6 that have that form are dropped, so that one cannot pass for the other.
   */
  private isMartian(a: PacketAddresses): boolean {
    return (
      isBadSource(a.family, a.s0, a.s1, a.s2, a.s3) ||
      isBadSource(a.family, a.d0, a.d1, a.d2, a.d3) ||
      this.options.isOwn(a.s0, a.s1, a.s2, a.s3)
    )
  }
}

/** ff02::/16, 255.255.255.255. */
const LINK_GROUP = 0xff02
const BROADCAST_V4 = -1
/** Where an IPv6 header has its payload length. */
const PAYLOAD_LENGTH = 4
