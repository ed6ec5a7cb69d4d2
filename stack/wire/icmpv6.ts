/**
 * ICMPv6 (RFC 4443): as ICMP, but with other types and with a pseudo-header in the checksum.
 */
import { setU8, setU16, u8, u16, u32 } from '../bytes.js'
import { combine, finish, sum } from '../checksum.js'

export const ICMPV6_HEADER = 8
export const V6_UNREACHABLE = 1
export const V6_PACKET_TOO_BIG = 2
export const V6_TIME_EXCEEDED = 3
export const V6_PARAMETER_PROBLEM = 4
export const V6_ECHO_REQUEST = 128
export const V6_ECHO_REPLY = 129
export const V6_ROUTER_SOLICITATION = 133
export const V6_ROUTER_ADVERTISEMENT = 134
export const V6_NEIGHBOUR_SOLICITATION = 135
export const V6_NEIGHBOUR_ADVERTISEMENT = 136
export const V6_REDIRECT = 137
/** RFC 4443 2.1: below are errors. */
export const V6_FIRST_INFORMATIONAL = 128

export const V6_NO_ROUTE = 0
export const V6_PROHIBITED = 1
export const V6_ADDRESS = 3
export const V6_PORT = 4

/** Codes of a parameter problem (RFC 4443 3.4, RFC 7112). */
export const V6_BAD_FIELD = 0
export const V6_BAD_NEXT_HEADER = 1
export const V6_BAD_OPTION = 2
export const V6_SHORT_CHAIN = 3

/** Proves a whole header and a good checksum. `pseudo` is the folded sum of the pseudo-header. */
export function check(b: Uint8Array, o: number, len: number, pseudo: number): boolean {
  return len >= ICMPV6_HEADER && combine(sum(b, o, len), pseudo) === 0xffff
}

export const type = (b: Uint8Array, o: number): number => u8(b, o)
/** RFC 4861 4: what routers and neighbours of a link say to each other. */
export const isNeighbourDiscovery = (b: Uint8Array, o: number): boolean =>
  u8(b, o) >= V6_ROUTER_SOLICITATION && u8(b, o) <= V6_REDIRECT
export const code = (b: Uint8Array, o: number): number => u8(b, o + 1)
export const identifier = (b: Uint8Array, o: number): number => u16(b, o + 4)
export const sequence = (b: Uint8Array, o: number): number => u16(b, o + 6)
/** MTU of a Packet Too Big (RFC 4443 3.2). */
export const mtu = (b: Uint8Array, o: number): number => u32(b, o + 4)

/** The 8 octets in front of a body that is already in place; `len` counts both. */
export function emit(
  b: Uint8Array,
  o: number,
  len: number,
  typeValue: number,
  codeValue: number,
  high: number,
  low: number,
  pseudo: number,
): void {
  setU8(b, o, typeValue)
  setU8(b, o + 1, codeValue)
  setU16(b, o + 2, 0)
  setU16(b, o + 4, high)
  setU16(b, o + 6, low)
  setU16(b, o + 2, finish(combine(sum(b, o, len), pseudo)))
}
