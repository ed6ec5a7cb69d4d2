/**
 * TCP header (RFC 9293 3.1).
 *
 * ```
 *  0       1       2       3
 * |  source port  |  dest. port   |
 * |        sequence number        |
 * |     acknowledgment number     |
 * |off|rsv| flags |    window     |
 * |   checksum    | urgent pointer|
 * |  options ...
 * ```
 */
import { i32, setU8, setU16, setU32, u8, u16 } from '../bytes.js'
import type { Seq } from '../seq.js'

export const TCP_HEADER = 20

export const FIN = 0x01
export const SYN = 0x02
export const RST = 0x04
export const PSH = 0x08
export const ACK = 0x10
export const URG = 0x20
export const ECE = 0x40
export const CWR = 0x80

/** @returns header length with options, 20 to 60, or -1 */
export function check(b: Uint8Array, o: number, len: number): number {
  if (len < TCP_HEADER) return -1
  const header = (u8(b, o + 12) >>> 4) << 2
  return header < TCP_HEADER || header > len ? -1 : header
}

export const sourcePort = (b: Uint8Array, o: number): number => u16(b, o)
export const destinationPort = (b: Uint8Array, o: number): number => u16(b, o + 2)
export const seqNumber = (b: Uint8Array, o: number): Seq => i32(b, o + 4) as Seq
export const ackNumber = (b: Uint8Array, o: number): Seq => i32(b, o + 8) as Seq
export const flags = (b: Uint8Array, o: number): number => u8(b, o + 13)
export const window = (b: Uint8Array, o: number): number => u16(b, o + 14)
export const urgentPointer = (b: Uint8Array, o: number): number => u16(b, o + 18)

/** Writes the fixed 20 octets, checksum and urgent pointer 0. `header` is the length with options. */
export function emit(
  b: Uint8Array,
  o: number,
  src: number,
  dst: number,
  seq: Seq,
  ack: Seq,
  header: number,
  flagBits: number,
  windowField: number,
): void {
  setU16(b, o, src)
  setU16(b, o + 2, dst)
  setU32(b, o + 4, seq)
  setU32(b, o + 8, ack)
  setU8(b, o + 12, header << 2)
  setU8(b, o + 13, flagBits)
  setU16(b, o + 14, windowField)
  setU32(b, o + 16, 0)
}

export function setChecksum(b: Uint8Array, o: number, value: number): void {
  setU16(b, o + 16, value)
}
