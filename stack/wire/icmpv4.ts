/**
 * ICMP for IPv4 (RFC 792): type, code, checksum, then 4 octets that depend on the type.
 *
 * Echo: identifier, sequence number, data. Errors: unused or next-hop MTU (RFC 1191), then the start of
 * the packet that caused them.
 */
import { setU8, setU16, u8, u16 } from '../bytes.js'
import { finish, sum } from '../checksum.js'

export const ICMP_HEADER = 8
export const ECHO_REPLY = 0
export const UNREACHABLE = 3
export const ECHO_REQUEST = 8
export const TIME_EXCEEDED = 11

export const UNREACHABLE_NET = 0
export const UNREACHABLE_HOST = 1
export const UNREACHABLE_PROTOCOL = 2
export const UNREACHABLE_PORT = 3
export const FRAGMENTATION_NEEDED = 4
export const PROHIBITED = 13
/** Of time exceeded, in both families. */
export const REASSEMBLY_TIME = 1

/** Proves a whole header and a good checksum. */
export function check(b: Uint8Array, o: number, len: number): boolean {
  return len >= ICMP_HEADER && sum(b, o, len) === 0xffff
}

export const type = (b: Uint8Array, o: number): number => u8(b, o)
export const code = (b: Uint8Array, o: number): number => u8(b, o + 1)
export const identifier = (b: Uint8Array, o: number): number => u16(b, o + 4)
export const sequence = (b: Uint8Array, o: number): number => u16(b, o + 6)
/** RFC 1191 4; 0 from routers that predate it. */
export const nextHopMtu = (b: Uint8Array, o: number): number => u16(b, o + 6)

/** The 8 octets in front of a body that is already in place; `len` counts both. */
export function emit(
  b: Uint8Array,
  o: number,
  len: number,
  typeValue: number,
  codeValue: number,
  high: number,
  low: number,
): void {
  setU8(b, o, typeValue)
  setU8(b, o + 1, codeValue)
  setU16(b, o + 2, 0)
  setU16(b, o + 4, high)
  setU16(b, o + 6, low)
  setU16(b, o + 2, finish(sum(b, o, len)))
}
