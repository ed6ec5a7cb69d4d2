/**
 * The header that LCP, the NCPs, PAP, CHAP and EAP share (RFC 1661 5):
 *
 * ```
 * code (1) | identifier (1) | length (2, from the code on) | data
 * ```
 */
import { setU8, setU16, u16 } from '../../stack/bytes.js'

export const Code = {
  CONFIGURE_REQUEST: 1,
  CONFIGURE_ACK: 2,
  CONFIGURE_NAK: 3,
  CONFIGURE_REJECT: 4,
  TERMINATE_REQUEST: 5,
  TERMINATE_ACK: 6,
  CODE_REJECT: 7,
  // LCP only
  PROTOCOL_REJECT: 8,
  ECHO_REQUEST: 9,
  ECHO_REPLY: 10,
  DISCARD_REQUEST: 11,
  // RFC 1570
  IDENTIFICATION: 12,
  TIME_REMAINING: 13,
} as const

export const CONTROL_HEADER = 4

/**
 * Length of the packet at `b[o .. o + len)` by its own header, or -1 if that is below 4 or beyond the frame.
 * What lies behind it is padding.
 */
export function controlLength(b: Uint8Array, o: number, len: number): number {
  if (len < CONTROL_HEADER) return -1
  const length = u16(b, o + 2)
  return length < CONTROL_HEADER || length > len ? -1 : length
}

export function setControlHeader(b: Uint8Array, o: number, code: number, id: number, length: number): void {
  setU8(b, o, code)
  setU8(b, o + 1, id)
  setU16(b, o + 2, length)
}
