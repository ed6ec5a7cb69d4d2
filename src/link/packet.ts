/** Whole packets of ICMPv6 and UDP for talking about a link, and reading them. */
import { setU8, setU16, u8, u16 } from '../../stack/bytes.js'
import { combine, finish, sum, sum32 } from '../../stack/checksum.js'
import { IpAddress } from '../../stack/index.js'
import * as ipv4 from '../../stack/wire/ipv4.js'
import * as ipv6 from '../../stack/wire/ipv6.js'
import * as udp from '../../stack/wire/udp.js'

export const ALL_NODES = IpAddress.v6(0xff020000, 0, 0, 1)
export const ALL_ROUTERS = IpAddress.v6(0xff020000, 0, 0, 2)
/** RFC 8415 7.1. */
export const ALL_DHCP_SERVERS = IpAddress.v6(0xff020000, 0, 0, 0x00010002)
export const BROADCAST_V4 = IpAddress.v4(-1)
export const ANY_V4 = IpAddress.v4(0)

/** RFC 4861 4: from nobody further away. */
export const ND_HOP_LIMIT = 255
const HOP_LIMIT = 64
/** The checksum's place in ICMPv6, and how much of a message is not its body. */
const ICMP_CHECKSUM = 2

/** A packet that was read: one object is reused. */
export interface ReadPacket {
  family: 4 | 6
  /** {@link ipv4.PROTO_UDP} or {@link ipv4.PROTO_ICMPV6}. */
  protocol: number
  hopLimit: number
  source: IpAddress
  destination: IpAddress
  /** Of UDP. */
  sourcePort: number
  destinationPort: number
  /** Of the ICMPv6 message (from its type on) or the UDP payload. */
  offset: number
  length: number
}

export function newReadPacket(): ReadPacket {
  return {
    family: 6,
    protocol: 0,
    hopLimit: 0,
    source: ANY_V4,
    destination: ANY_V4,
    sourcePort: 0,
    destinationPort: 0,
    offset: 0,
    length: 0,
  }
}

/**
 * What the packet at `off` is, by its headers alone: protocol and ports, at no cost, for packets that are none of ours.
 * @returns the upper layer's offset, or -1 if it is neither UDP nor ICMPv6, or has IPv6 extension headers
 */
export function upperLayerAt(b: Uint8Array, off: number, len: number): number {
  if (len < ipv4.IPV4_HEADER) return -1
  if (u8(b, off) >>> 4 === 4) {
    const header = (u8(b, off) & 15) << 2
    return ipv4.protocol(b, off) === ipv4.PROTO_UDP && header + udp.UDP_HEADER <= len ? off + header : -1
  }
  if (len < ipv6.IPV6_HEADER + udp.UDP_HEADER) return -1
  const next = ipv6.nextHeader(b, off)
  return next === ipv4.PROTO_UDP || next === ipv4.PROTO_ICMPV6 ? off + ipv6.IPV6_HEADER : -1
}

/** Reads a packet whose IP header is proven. @returns false if it is cut short or a checksum is wrong */
export function readPacket(b: Uint8Array, off: number, len: number, out: ReadPacket): boolean {
  const at = upperLayerAt(b, off, len)
  if (at < 0) return false
  const four = u8(b, off) >>> 4 === 4
  out.family = four ? 4 : 6
  const source = IpAddress.fromBytes(four ? b.subarray(off + 12, off + 16) : b.subarray(off + 8, off + 24))
  const to = IpAddress.fromBytes(four ? b.subarray(off + 16, off + 20) : b.subarray(off + 24, off + 40))
  if (source === undefined || to === undefined) return false
  out.source = source
  out.destination = to
  out.hopLimit = four ? ipv4.ttl(b, off) : ipv6.hopLimit(b, off)
  out.protocol = four ? ipv4.protocol(b, off) : ipv6.nextHeader(b, off)
  const n = off + (four ? ipv4.totalLength(b, off) : ipv6.IPV6_HEADER + ipv6.payloadLength(b, off)) - at
  if (n < udp.UDP_HEADER || at + n > off + len) return false
  if (out.protocol === ipv4.PROTO_ICMPV6) {
    if (combine(sum(b, at, n), pseudo(source, to, ipv4.PROTO_ICMPV6, n)) !== 0xffff) return false
    out.offset = at
    out.length = n
    return true
  }
  const length = udp.check(b, at, n)
  if (length < 0) return false
  const unsummed = udp.checksum(b, at) === 0
  if (unsummed && !four) return false
  if (!unsummed && combine(sum(b, at, length), pseudo(source, to, ipv4.PROTO_UDP, length)) !== 0xffff)
    return false
  out.sourcePort = udp.sourcePort(b, at)
  out.destinationPort = udp.destinationPort(b, at)
  out.offset = at + udp.UDP_HEADER
  out.length = length - udp.UDP_HEADER
  return true
}

/** Of a message of neighbour discovery, whose checksum is left to be filled in. */
export function icmpPacket(from: IpAddress, to: IpAddress, message: Uint8Array): Uint8Array {
  const packet = ipPacket(from, to, ipv4.PROTO_ICMPV6, message.length, ND_HOP_LIMIT)
  const at = ipv6.IPV6_HEADER
  packet.set(message, at)
  setU16(packet, at + ICMP_CHECKSUM, 0)
  const all = combine(sum(packet, at, message.length), pseudo(from, to, ipv4.PROTO_ICMPV6, message.length))
  setU16(packet, at + ICMP_CHECKSUM, finish(all))
  return packet
}

export function udpPacket(
  from: IpAddress,
  fromPort: number,
  to: IpAddress,
  toPort: number,
  data: Uint8Array,
): Uint8Array {
  const length = udp.UDP_HEADER + data.length
  const packet = ipPacket(from, to, ipv4.PROTO_UDP, length, HOP_LIMIT)
  const at = packet.length - length
  packet.set(data, at + udp.UDP_HEADER)
  udp.emit(packet, at, fromPort, toPort, length)
  const all = combine(sum(packet, at, length), pseudo(from, to, ipv4.PROTO_UDP, length))
  udp.setChecksum(packet, at, finish(all))
  return packet
}

function ipPacket(from: IpAddress, to: IpAddress, proto: number, payload: number, limit: number): Uint8Array {
  if (to.family === 4) {
    const packet = new Uint8Array(ipv4.IPV4_HEADER + payload)
    ipv4.emit(packet, 0, packet.length, 0, 0, 0, limit, proto, from.w3, to.w3)
    return packet
  }
  const packet = new Uint8Array(ipv6.IPV6_HEADER + payload)
  ipv6.emit(packet, 0, payload, 0, proto, limit)
  packet.set(from.toBytes(), ipv6.SOURCE)
  packet.set(to.toBytes(), ipv6.DESTINATION)
  return packet
}

function pseudo(from: IpAddress, to: IpAddress, proto: number, length: number): number {
  return combine(combine(from.sum, to.sum), combine(proto, sum32(length)))
}

/** RFC 5072 4.1, 5: fe80:: and the interface identifier. */
export function linkLocal(identifier: Uint8Array): IpAddress {
  const b = new Uint8Array(16)
  setU8(b, 0, 0xfe)
  setU8(b, 1, 0x80)
  b.set(identifier.subarray(0, 8), 8)
  return IpAddress.fromBytes(b) ?? ALL_NODES
}

/** RFC 4862 5.5.3 (d): 64 bits of the prefix, then the interface identifier. */
export function slaacAddress(prefix: IpAddress, identifier: Uint8Array): IpAddress {
  const word = (o: number): number => (u16(identifier, o) << 16) | u16(identifier, o + 2)
  return IpAddress.v6(prefix.w0, prefix.w1, word(0), word(4))
}

/** RFC 4291 2.7.1: ff02::1:ff00:0/104 and the last 24 bits. */
export function isSolicitedNode(group: IpAddress, address: IpAddress): boolean {
  return (
    group.w0 === (0xff020000 | 0) &&
    group.w1 === 0 &&
    group.w2 === 1 &&
    group.w3 === (0xff000000 | (address.w3 & 0x00ffffff))
  )
}
