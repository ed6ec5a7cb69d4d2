/**
 * IPv6 fragment header (RFC 8200 4.5), 8 octets.
 *
 * ```
 *  0       1       2       3
 * | next  |   0   | offset    |00M|
 * |         identification        |
 * ```
 */
import { i32, setU8, setU16, setU32, u8, u16 } from '../bytes.js'

export const FRAGMENT_HEADER = 8
const OFFSET = 0xfff8
const MORE = 1

export const next = (b: Uint8Array, o: number): number => u8(b, o)
/** Octets of the fragmentable part in front of this fragment's. */
export const offset = (b: Uint8Array, o: number): number => u16(b, o + 2) & OFFSET
export const more = (b: Uint8Array, o: number): boolean => (u16(b, o + 2) & MORE) !== 0
export const identification = (b: Uint8Array, o: number): number => i32(b, o + 4)

/** RFC 6946: it holds the whole packet, the header says nothing. */
export const isAtomic = (b: Uint8Array, o: number): boolean => (u16(b, o + 2) & (OFFSET | MORE)) === 0

/** `at`, a multiple of 8, is the offset in octets. */
export function emit(
  b: Uint8Array,
  o: number,
  nextValue: number,
  at: number,
  isMore: boolean,
  id: number,
): void {
  setU8(b, o, nextValue)
  setU8(b, o + 1, 0)
  setU16(b, o + 2, at | (isMore ? MORE : 0))
  setU32(b, o + 4, id)
}
