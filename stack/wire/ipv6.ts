/**
 * IPv6 header (RFC 8200 3) and the walk over its extension headers (RFC 8200 4).
 *
 * ```
 *  0       1       2       3
 * |Ver|  class  |   flow label    |
 * | payload length|  next | limit |
 * |        source, 16 octets      |
 * |     destination, 16 octets    |
 * ```
 */
import { setU8, setU16, setU32, u8, u16 } from '../bytes.js'
import * as fragment from './ipv6-fragment.js'
import { hasTransportHeader } from './transport.js'

export const IPV6_HEADER = 40
/** A payload length has 16 bits; jumbograms (RFC 2675) need links that we do not have. */
export const IPV6_MAX_PAYLOAD = 65535
export const IPV6_MIN_MTU = 1280

export const NEXT_HOP_BY_HOP = 0
export const NEXT_ROUTING = 43
export const NEXT_FRAGMENT = 44
export const NEXT_ESP = 50
export const NEXT_AH = 51
export const NEXT_NONE = 59
export const NEXT_DESTINATION = 60
const MAX_EXTENSION_HEADERS = 8

/**
 * Proves that the header and the payload it announces lie within `len` octets.
 * @returns 40, or -1
 */
export function check(b: Uint8Array, o: number, len: number): number {
  if (len < IPV6_HEADER) return -1
  if (u8(b, o) >>> 4 !== 6) return -1
  if (IPV6_HEADER + u16(b, o + 4) > len) return -1
  return IPV6_HEADER
}

export const payloadLength = (b: Uint8Array, o: number): number => u16(b, o + 4)
export const trafficClass = (b: Uint8Array, o: number): number =>
  ((u8(b, o) & 15) << 4) | (u8(b, o + 1) >>> 4)
export const nextHeader = (b: Uint8Array, o: number): number => u8(b, o + 6)
export const hopLimit = (b: Uint8Array, o: number): number => u8(b, o + 7)
export const SOURCE = 8
export const DESTINATION = 24

/** Where the walk of {@link upperLayer} ended. Reused by its owner: one object, not one for each packet. */
export interface UpperLayer {
  /** Next header value found; {@link NEXT_FRAGMENT} and unknown values are the caller's business. */
  protocol: number
  /** Offset of that header in the buffer. */
  offset: number
  /** Offset of the octet that named it (for Parameter Problem code 1). */
  pointer: number
  /** 0, or the code of the Parameter Problem to answer with plus 1. */
  problem: number
}

/**
 * Walks hop-by-hop, routing and destination options up to the upper layer or a fragment header. A fragment
 * header that holds the whole packet is stepped over (RFC 6946).
 * @param stripped offset at which a fragment header stood before the packet was put together, or 0
 * @returns false if the packet is to be dropped; `out.problem` then says if an error is due
 */
export function upperLayer(b: Uint8Array, o: number, out: UpperLayer, stripped = 0): boolean {
  let proto = nextHeader(b, o)
  let pointer = o + 6
  let p = o + IPV6_HEADER
  let fragmentable = stripped
  const end = p + payloadLength(b, o)
  out.problem = 0
  for (let i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
    out.protocol = proto
    out.offset = p
    out.pointer = pointer
    if (!isExtension(proto)) {
      if (proto !== NEXT_FRAGMENT) return true
      // RFC 8200 4.1: each header at most once; fragments of fragments hide what they carry.
      if (fragmentable !== 0) return false
      if (p + fragment.FRAGMENT_HEADER > end || !fragment.isAtomic(b, p)) return true
    }
    if (i === MAX_EXTENSION_HEADERS) return false
    if (proto === NEXT_HOP_BY_HOP && (i > 0 || p === fragmentable)) {
      // RFC 8200 4.1: hop-by-hop may only come first.
      out.problem = 2
      return false
    }
    if (p + 8 > end) return false
    const length = proto === NEXT_FRAGMENT ? fragment.FRAGMENT_HEADER : (u8(b, p + 1) + 1) << 3
    if (p + length > end) return false
    if (proto === NEXT_FRAGMENT) {
      fragmentable = p + length
    } else if (proto === NEXT_ROUTING) {
      // RFC 5095, RFC 8200 4.4: segments left must be 0, we route for nobody.
      if (u8(b, p + 3) !== 0) {
        out.pointer = p + 2
        out.problem = 1
        return false
      }
    } else {
      const verdict = options(b, p + 2, p + length)
      if (verdict !== 0) {
        out.pointer = Math.abs(verdict)
        out.problem = verdict > 0 ? 3 : 0
        return false
      }
    }
    pointer = p
    proto = u8(b, p)
    p += length
  }
  return false
}

function isExtension(proto: number): boolean {
  return proto === NEXT_HOP_BY_HOP || proto === NEXT_ROUTING || proto === NEXT_DESTINATION
}

/**
 * Where the upper layer of a packet starts that {@link upperLayer} did not like, by the headers' lengths alone;
 * also behind the header of a first fragment.
 * @returns the offset if the upper layer is `proto` and has at least one octet, else -1
 */
export function findUpper(b: Uint8Array, o: number, proto: number): number {
  let next = nextHeader(b, o)
  let p = o + IPV6_HEADER
  const end = p + payloadLength(b, o)
  for (let i = 0; i < MAX_EXTENSION_HEADERS && p + 8 <= end; i++) {
    if (next === NEXT_FRAGMENT && fragment.offset(b, p) === 0) {
      next = fragment.next(b, p)
      p += fragment.FRAGMENT_HEADER
    } else if (isExtension(next)) {
      next = u8(b, p)
      p += (u8(b, p + 1) + 1) << 3
    } else {
      break
    }
  }
  return next === proto && p < end ? p : -1
}

/**
 * RFC 7112: a first fragment has all headers, the upper layer's with them, or filters would not see it.
 * The chain begins with `proto` at `p`; the fragment ends at `end`.
 */
export function hasHeaderChain(b: Uint8Array, p: number, end: number, proto: number): boolean {
  while (isExtension(proto)) {
    if (p + 8 > end) return false
    proto = u8(b, p)
    p += (u8(b, p + 1) + 1) << 3
  }
  if (proto === NEXT_NONE) return p <= end
  return hasTransportHeader(b, p, end - p, proto)
}

/** RFC 8200 4.2. @returns 0 fine, else the offending option's offset, negative if it is to be dropped silently */
function options(b: Uint8Array, from: number, end: number): number {
  let p = from
  while (p < end) {
    const type = u8(b, p)
    if (type === 0) {
      p++
      continue
    }
    if (p + 1 >= end || p + 2 + u8(b, p + 1) > end) return -p
    const action = type >>> 6
    // Known: PadN (1), router alert (5), jumbo (0xc2, not for us), home address (0xc9).
    if (type !== 1 && action !== 0) return action === 1 ? -p : p
    p += 2 + u8(b, p + 1)
  }
  return 0
}

/** Writes a 40-octet header but for the addresses. */
export function emit(
  b: Uint8Array,
  o: number,
  payload: number,
  classValue: number,
  next: number,
  limit: number,
): void {
  setU32(b, o, 0x60000000 | (classValue << 20))
  setU16(b, o + 4, payload)
  setU8(b, o + 6, next)
  setU8(b, o + 7, limit)
}
