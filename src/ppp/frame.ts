/**
 * PPP frames as SSTP carries them: one frame a data packet, no flags, no escaping, no FCS.
 *
 * ```
 * FF 03 | protocol (2) | information          always sent so
 * [FF 03] | protocol (1 or 2) | information   understood whatever was negotiated
 * ```
 *
 * Bare functions over `(bytes, offset)`: these run once for each packet and allocate nothing.
 */
import { setU8, setU16, u8, u16 } from '../../stack/bytes.js'

/** Assigned numbers of the protocols that this project speaks or has a name for. */
export const Protocol = {
  IPV4: 0x0021,
  VJ_COMPRESSED: 0x002d,
  VJ_UNCOMPRESSED: 0x002f,
  MULTILINK: 0x003d,
  IPV6: 0x0057,
  COMPRESSED: 0x00fd,
  IPCP: 0x8021,
  BCP: 0x8031,
  IPV6CP: 0x8057,
  CCP: 0x80fd,
  MPLSCP: 0x8281,
  LCP: 0xc021,
  PAP: 0xc023,
  LQR: 0xc025,
  CBCP: 0xc029,
  CHAP: 0xc223,
  EAP: 0xc227,
} as const

/** Octets in front of the information field of every frame that we send. */
export const FRAME_HEADER = 4

/** The largest frame that fits into an SSTP packet of 4095 octets behind its header of 4. */
export const MAX_FRAME = 4091

/** The largest information field: an IP packet can have at most this many octets. */
export const MAX_INFORMATION = MAX_FRAME - FRAME_HEADER

/** What every PPP end must be able to receive, and the MRU of a peer that names none (RFC 1661 6.1). */
export const DEFAULT_MRU = 1500

/**
 * Octets of the header of the frame at `b[o .. o + len)`, 1 to 4, or -1 if it has none.
 * The address and control field and the first octet of the protocol may be left out (RFC 1661 6.5, 6.6):
 * a protocol's first octet is even when two follow, its last octet is odd, and 00FF is reserved, so that
 * `FF 03` is never a protocol.
 */
export function frameHeader(b: Uint8Array, o: number, len: number): number {
  const skip = len >= 2 && u8(b, o) === 0xff && u8(b, o + 1) === 0x03 ? 2 : 0
  if (len <= skip) return -1
  if ((u8(b, o + skip) & 1) === 1) return skip + 1
  if (len <= skip + 1 || (u8(b, o + skip + 1) & 1) === 0) return -1
  return skip + 2
}

/** The protocol number of the frame at `o`, whose header is `header` octets long (see {@link frameHeader}). */
export function frameProtocol(b: Uint8Array, o: number, header: number): number {
  return (header & 1) === 1 ? u8(b, o + header - 1) : u16(b, o + header - 2)
}

/** Writes the four octets of {@link FRAME_HEADER}. */
export function setFrameHeader(b: Uint8Array, o: number, protocol: number): void {
  setU8(b, o, 0xff)
  setU8(b, o + 1, 0x03)
  setU16(b, o + 2, protocol)
}
