/**
 * IPv4 header (RFC 791 3.1).
 *
 * ```
 *  0       1       2       3
 * |Ver|IHL|  TOS  |  total length |
 * |     id        |flg| frag off  |
 * |  TTL  | proto |   checksum    |
 * |            source             |
 * |          destination          |
 * |  options, if IHL > 5 ...
 * ```
 */
import { i32, setU8, setU16, setU32, u8, u16 } from '../bytes.js'
import { finish, sum } from '../checksum.js'

export const IPV4_HEADER = 20
export const PROTO_ICMP = 1
export const PROTO_TCP = 6
export const PROTO_UDP = 17
export const PROTO_ICMPV6 = 58

/** A total length has 16 bits. */
export const IPV4_MAX = 65535
export const IPV4_DF = 0x4000
export const IPV4_MF = 0x2000
const OFFSET = 0x1fff
/** Loose and strict source route (RFC 791 3.1); packets that have them are dropped (RFC 7126 4.3, 4.4). */
const OPTION_LSRR = 131
const OPTION_SSRR = 137

/**
 * Proves that a whole, intact header and the datagram it announces lie within `len` octets.
 * @returns header length 20 to 60, or -1
 */
export function check(b: Uint8Array, o: number, len: number): number {
  if (len < IPV4_HEADER) return -1
  const first = u8(b, o)
  if (first >>> 4 !== 4) return -1
  const header = (first & 15) << 2
  const total = u16(b, o + 2)
  if (header < IPV4_HEADER || total < header || total > len) return -1
  if (sum(b, o, header) !== 0xffff) return -1
  return header
}

export const totalLength = (b: Uint8Array, o: number): number => u16(b, o + 2)
export const tos = (b: Uint8Array, o: number): number => u8(b, o + 1)
export const protocol = (b: Uint8Array, o: number): number => u8(b, o + 9)
export const ttl = (b: Uint8Array, o: number): number => u8(b, o + 8)
export const source = (b: Uint8Array, o: number): number => i32(b, o + 12)
export const destination = (b: Uint8Array, o: number): number => i32(b, o + 16)

export const identification = (b: Uint8Array, o: number): number => u16(b, o + 4)
export const dontFragment = (b: Uint8Array, o: number): boolean => (u16(b, o + 6) & IPV4_DF) !== 0
export const moreFragments = (b: Uint8Array, o: number): boolean => (u16(b, o + 6) & IPV4_MF) !== 0
/** Octets of the datagram's data in front of this fragment's. */
export const fragmentOffset = (b: Uint8Array, o: number): number => (u16(b, o + 6) & OFFSET) << 3

export function isFragment(b: Uint8Array, o: number): boolean {
  return (u16(b, o + 6) & (IPV4_MF | OFFSET)) !== 0
}

/** Gives a header another length, another place in its datagram (`field`: flags and offset) and its checksum. */
export function refit(b: Uint8Array, o: number, header: number, total: number, field: number): void {
  setU16(b, o + 2, total)
  setU16(b, o + 6, field)
  setU16(b, o + 10, 0)
  setU16(b, o + 10, finish(sum(b, o, header)))
}

/** A source route, or options that do not parse. `header` as {@link check} gave it. */
export function hasBadOptions(b: Uint8Array, o: number, header: number): boolean {
  let p = o + IPV4_HEADER
  const end = o + header
  while (p < end) {
    const kind = u8(b, p)
    if (kind === 0) return false
    if (kind === 1) {
      p++
      continue
    }
    if (kind === OPTION_LSRR || kind === OPTION_SSRR) return true
    const length = p + 1 < end ? u8(b, p + 1) : 0
    if (length < 2 || p + length > end) return true
    p += length
  }
  return false
}

/** Writes a 20-octet header, checksum included. `total` counts it. */
export function emit(
  b: Uint8Array,
  o: number,
  total: number,
  tosValue: number,
  id: number,
  flags: number,
  ttlValue: number,
  proto: number,
  src: number,
  dst: number,
): void {
  setU8(b, o, 0x45)
  setU8(b, o + 1, tosValue)
  setU16(b, o + 2, total)
  setU16(b, o + 4, id)
  setU16(b, o + 6, flags)
  setU8(b, o + 8, ttlValue)
  setU8(b, o + 9, proto)
  setU16(b, o + 10, 0)
  setU32(b, o + 12, src)
  setU32(b, o + 16, dst)
  setU16(b, o + 10, finish(sum(b, o, IPV4_HEADER)))
}
