/**
 * UDP header (RFC 768): source port, destination port, length, checksum, 2 octets each.
 */
import { setU16, u16 } from '../bytes.js'

export const UDP_HEADER = 8

/** @returns the datagram's length by its own field, header included, or -1 */
export function check(b: Uint8Array, o: number, len: number): number {
  if (len < UDP_HEADER) return -1
  const length = u16(b, o + 4)
  return length < UDP_HEADER || length > len ? -1 : length
}

export const sourcePort = (b: Uint8Array, o: number): number => u16(b, o)
export const destinationPort = (b: Uint8Array, o: number): number => u16(b, o + 2)
export const checksum = (b: Uint8Array, o: number): number => u16(b, o + 6)

/** The checksum field is left 0; {@link setChecksum} fills it. */
export function emit(b: Uint8Array, o: number, src: number, dst: number, length: number): void {
  setU16(b, o, src)
  setU16(b, o + 2, dst)
  setU16(b, o + 4, length)
  setU16(b, o + 6, 0)
}

/** RFC 768: a computed 0 goes out as ffff, since 0 says that there is none. */
export function setChecksum(b: Uint8Array, o: number, value: number): void {
  setU16(b, o + 6, value === 0 ? 0xffff : value)
}
