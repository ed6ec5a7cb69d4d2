/**
 * ICMP errors: making them (RFC 1122 3.2.2, RFC 4443 2.4) and reading what they quote (RFC 5927).
 */
import { setU16, setU32, u8, u16 } from '../bytes.js'
import { combine, sum32 } from '../checksum.js'
import { emitIpBetween } from '../ip/output.js'
import { type Seq, seq } from '../seq.js'
import type { PacketAddresses } from '../tuple.js'
import type { Instant, SocketError } from '../types.js'
import type { IpAddress } from '../wire/address.js'
import * as v4 from '../wire/icmpv4.js'
import * as v6 from '../wire/icmpv6.js'
import * as ipv4 from '../wire/ipv4.js'
import * as ipv6 from '../wire/ipv6.js'
import * as fragment from '../wire/ipv6-fragment.js'
import * as tcp from '../wire/tcp.js'

/** RFC 1812 4.3.2.3 and RFC 4443 2.4 (c): how large an error may be. */
const MAX_ERROR_V4 = 576
const MAX_ERROR_V6 = ipv6.IPV6_MIN_MTU
/** More of a packet is never quoted, in either family. */
export const MAX_QUOTE = MAX_ERROR_V6

/**
 * RFC 1122 3.2.2, RFC 4443 2.4 (e): about errors nothing is ever said, wherever in the packet they stand; nor about
 * fragments of what may be one.
 */
export function isIcmpError(b: Uint8Array, off: number): boolean {
  if (u8(b, off) >>> 4 === 4) {
    if (ipv4.protocol(b, off) !== ipv4.PROTO_ICMP) return false
    if (ipv4.fragmentOffset(b, off) !== 0) return true
    const type = u8(b, off + ((u8(b, off) & 15) << 2))
    return type !== v4.ECHO_REQUEST && type !== v4.ECHO_REPLY
  }
  const at = ipv6.findUpper(b, off, ipv4.PROTO_ICMPV6)
  return at >= 0 && (u8(b, at) < v6.V6_FIRST_INFORMATIONAL || u8(b, at) === v6.V6_REDIRECT)
}

/** A token bucket (RFC 4443 2.4 (f), RFC 1812 4.3.2.8). */
export class RateLimit {
  private readonly perMs: number
  private readonly burst: number
  private tokens: number
  private at: Instant = Number.NEGATIVE_INFINITY

  constructor(perSecond: number, burst: number) {
    this.perMs = perSecond / 1000
    this.burst = burst
    this.tokens = burst
  }

  take(now: Instant): boolean {
    if (now > this.at) {
      // The first time there is nothing to add: the bucket is full, and the time before it endless.
      if (this.tokens < this.burst) {
        this.tokens = Math.min(this.burst, this.tokens + (now - this.at) * this.perMs)
      }
      this.at = now
    }
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }
}

/** Unreachable codes of both families for what a socket error says; undefined if ICMP has no word for it. */
export function unreachableCode(reason: SocketError, family: 4 | 6): number | undefined {
  switch (reason) {
    case 'refused':
      return family === 4 ? v4.UNREACHABLE_PORT : v6.V6_PORT
    case 'host-unreachable':
      return family === 4 ? v4.UNREACHABLE_HOST : v6.V6_ADDRESS
    case 'network-unreachable':
      return family === 4 ? v4.UNREACHABLE_NET : v6.V6_NO_ROUTE
    case 'prohibited':
      return family === 4 ? v4.PROHIBITED : v6.V6_PROHIBITED
    default:
      return undefined
  }
}

/**
 * A whole packet with an ICMP error of `src` to `dst`, quoting the start of the offending packet.
 * `detail` is the 32-bit field behind the checksum.
 */
export function errorPacket(
  src: IpAddress,
  dst: IpAddress,
  type: number,
  code: number,
  detail: number,
  quoted: Uint8Array,
): Uint8Array {
  const four = dst.family === 4
  const ip = four ? ipv4.IPV4_HEADER : ipv6.IPV6_HEADER
  const room = (four ? MAX_ERROR_V4 : MAX_ERROR_V6) - ip - v4.ICMP_HEADER
  const quote = quoted.length > room ? quoted.subarray(0, room) : quoted
  const length = v4.ICMP_HEADER + quote.length
  const packet = new Uint8Array(ip + length)
  packet.set(quote, ip + v4.ICMP_HEADER)
  if (four) {
    v4.emit(packet, ip, length, type, code, detail >>> 16, detail & 0xffff)
    emitIpBetween(packet, 0, src, dst, ipv4.PROTO_ICMP, length)
  } else {
    v6.emit(packet, ip, length, type, code, detail >>> 16, detail & 0xffff, pseudo(src, dst, length))
    emitIpBetween(packet, 0, src, dst, ipv4.PROTO_ICMPV6, length)
  }
  return packet
}

export function pseudo(src: IpAddress, dst: IpAddress, length: number): number {
  return combine(combine(src.sum, dst.sum), combine(sum32(length), ipv4.PROTO_ICMPV6))
}

/**
 * The start of a packet that we no longer have: IP header and the first 8 octets of the transport
 * header, which is all that a sender needs to find its socket (RFC 792).
 */
export function quoteOf(
  src: IpAddress,
  srcPort: number,
  dst: IpAddress,
  dstPort: number,
  proto: number,
  third: number,
): Uint8Array {
  const ip = dst.family === 4 ? ipv4.IPV4_HEADER : ipv6.IPV6_HEADER
  const packet = new Uint8Array(ip + 8)
  setU16(packet, ip, srcPort)
  setU16(packet, ip + 2, dstPort)
  setU32(packet, ip + 4, third)
  emitIpBetween(packet, 0, src, dst, proto, 8)
  return packet
}

/** What an error quotes, from our side: the socket it concerns. One object is reused. */
export interface Quoted {
  protocol: number
  localPort: number
  remotePort: number
  /** Of a TCP segment. */
  seq: Seq
  /** Of an ICMP message: its type, and of an echo request its identifier. */
  icmpType: number
  identifier: number
  /** Of the whole IP packet (RFC 5927 7.2: what was too large was larger than what the error asks for); 0 if unknown. */
  length: number
}

export function newQuoted(): Quoted {
  return { protocol: 0, localPort: 0, remotePort: 0, seq: seq(0), icmpType: 0, identifier: 0, length: 0 }
}

/**
 * Reads the packet quoted at `o` (`len` octets) in an error of that family. `a` gets the addresses as a packet *to* us would have
 * them: its source is where ours went.
 * @returns false if the quote does not show a packet of ours well enough to act on
 */
export function readQuoted(
  b: Uint8Array,
  o: number,
  len: number,
  family: 4 | 6,
  a: PacketAddresses,
  out: Quoted,
): boolean {
  // ICMP speaks of IPv4 packets, ICMPv6 of IPv6 packets.
  if (len < 1 || (b[o] as number) >>> 4 !== family) return false
  let t: number
  if (family === 4) {
    // The quote may be cut, and routers change TTL and checksum: only the layout is checked.
    if (len < ipv4.IPV4_HEADER) return false
    const header = ((b[o] as number) & 15) << 2
    if (header < ipv4.IPV4_HEADER || len < header + 8) return false
    // Only the first fragment says whose it was.
    if (ipv4.fragmentOffset(b, o) !== 0) return false
    a.family = 4
    a.s0 = a.s1 = a.d0 = a.d1 = 0
    a.s2 = a.d2 = 0xffff
    a.s3 = ipv4.destination(b, o)
    a.d3 = ipv4.source(b, o)
    out.protocol = ipv4.protocol(b, o)
    out.length = ipv4.totalLength(b, o)
    t = o + header
  } else {
    if (len < ipv6.IPV6_HEADER + 8) return false
    a.family = 6
    readV6(b, o, a)
    let proto = ipv6.nextHeader(b, o)
    const payload = ipv6.payloadLength(b, o)
    out.length = payload === 0 ? 0 : ipv6.IPV6_HEADER + payload
    t = o + ipv6.IPV6_HEADER
    if (proto === ipv6.NEXT_FRAGMENT) {
      if (len < ipv6.IPV6_HEADER + fragment.FRAGMENT_HEADER + 8 || fragment.offset(b, t) !== 0) return false
      proto = fragment.next(b, t)
      t += fragment.FRAGMENT_HEADER
    }
    // We send no other extension headers, so a quote that has them is not of our making.
    if (proto === ipv6.NEXT_HOP_BY_HOP || proto === ipv6.NEXT_ROUTING || proto === ipv6.NEXT_DESTINATION)
      return false
    out.protocol = proto
  }
  // Some hosts quote the length field in an order of their own (RFC 1191 5).
  if (out.length < t + 8 - o) out.length = 0
  out.localPort = u16(b, t)
  out.remotePort = u16(b, t + 2)
  out.seq = tcp.seqNumber(b, t)
  out.icmpType = b[t] as number
  out.identifier = u16(b, t + 4)
  return true
}

function readV6(b: Uint8Array, o: number, a: PacketAddresses): void {
  const word = (at: number): number => (u16(b, at) << 16) | u16(b, at + 2)
  a.d0 = word(o + 8)
  a.d1 = word(o + 12)
  a.d2 = word(o + 16)
  a.d3 = word(o + 20)
  a.s0 = word(o + 24)
  a.s1 = word(o + 28)
  a.s2 = word(o + 32)
  a.s3 = word(o + 36)
}

/** What an ICMP error of this type and code means to a socket; undefined: nothing. */
export function meaning(family: 4 | 6, type: number, code: number): SocketError | undefined {
  if (family === 4) {
    if (type === v4.TIME_EXCEEDED) return code === 0 ? 'ttl-expired' : undefined
    if (type !== v4.UNREACHABLE) return undefined
    switch (code) {
      case 0:
      case 6:
      case 11:
        return 'network-unreachable'
      case 1:
      case 5:
      case 7:
      case 8:
      case 12:
        return 'host-unreachable'
      case v4.UNREACHABLE_PROTOCOL:
      case v4.UNREACHABLE_PORT:
        return 'refused'
      case 9:
      case 10:
      case v4.PROHIBITED:
        return 'prohibited'
      default:
        return undefined
    }
  }
  if (type === v6.V6_TIME_EXCEEDED) return code === 0 ? 'ttl-expired' : undefined
  if (type === v6.V6_PARAMETER_PROBLEM) return code === 1 ? 'refused' : undefined
  if (type !== v6.V6_UNREACHABLE) return undefined
  switch (code) {
    case v6.V6_NO_ROUTE:
      return 'network-unreachable'
    case v6.V6_PROHIBITED:
    case 5:
    case 6:
      return 'prohibited'
    case v6.V6_PORT:
      return 'refused'
    default:
      return 'host-unreachable'
  }
}
