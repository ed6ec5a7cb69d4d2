import { setU8, setU16, setU32, u8, u16, u32 } from '../../stack/bytes.js'

/*
 * An attribute (MS-SSTP 2.2.4):
 *
 *   octet 0      reserved, 0
 *   octet 1      attribute id
 *   octets 2-3   R(4) | length(12), of the attribute with these four octets
 *   octets 4..   value
 */

/** Without the prefix SSTP_ATTRIB_. MS-SSTP 2.2.4 */
export const ATTRIB = {
  NO_ERROR: 0x00, // only inside Status Info
  ENCAPSULATED_PROTOCOL_ID: 0x01,
  STATUS_INFO: 0x02,
  CRYPTO_BINDING: 0x03,
  CRYPTO_BINDING_REQ: 0x04,
} as const

/** Without the prefix ATTRIB_STATUS_. MS-SSTP 2.2.8 */
export const STATUS = {
  NO_ERROR: 0x00,
  DUPLICATE_ATTRIBUTE: 0x01,
  UNRECOGNIZED_ATTRIBUTE: 0x02,
  INVALID_ATTRIB_VALUE_LENGTH: 0x03,
  VALUE_NOT_SUPPORTED: 0x04,
  UNACCEPTED_FRAME_RECEIVED: 0x05,
  RETRY_COUNT_EXCEEDED: 0x06,
  INVALID_FRAME_RECEIVED: 0x07,
  NEGOTIATION_TIMEOUT: 0x08,
  ATTRIB_NOT_SUPPORTED_IN_MSG: 0x09,
  REQUIRED_ATTRIBUTE_MISSING: 0x0a,
  STATUS_INFO_NOT_SUPPORTED_IN_MSG: 0x0b,
} as const

/** The only encapsulated protocol there is. MS-SSTP 2.2.5 */
export const PROTOCOL_PPP = 1

export interface EncapsulatedProtocolId {
  readonly kind: 'ENCAPSULATED_PROTOCOL_ID'
  readonly protocol: number
}

export interface StatusInfo {
  readonly kind: 'STATUS_INFO'
  /** Id of the attribute that the status speaks of. */
  readonly attribId: number
  readonly status: number
  /** The refused value, at most 64 octets; empty outside CALL_CONNECT_NAK. */
  readonly value: Uint8Array
}

export interface CryptoBinding {
  readonly kind: 'CRYPTO_BINDING'
  /** The one hash chosen, see `HASH` in binding.ts. */
  readonly hash: number
  /** 32 octets, as the next two; SHA-1 values end in 12 zeros (and may be given without them to emit). */
  readonly nonce: Uint8Array
  readonly certHash: Uint8Array
  readonly compoundMac: Uint8Array
}

export interface CryptoBindingReq {
  readonly kind: 'CRYPTO_BINDING_REQ'
  /** Bit mask of the hashes that the server allows. */
  readonly hashes: number
  /** 32 octets. */
  readonly nonce: Uint8Array
}

/** An unknown id, or a known one whose length is not what it must be. */
export interface OtherAttribute {
  readonly kind: 'OTHER'
  readonly id: number
  readonly value: Uint8Array
}

export type Attribute =
  | EncapsulatedProtocolId
  | StatusInfo
  | CryptoBinding
  | CryptoBindingReq
  | OtherAttribute

/**
 * Reads `count` attributes that lie one after the other in `b[off, end)`. Values are copies.
 * Undefined: a length below 4 or past the end, or fewer attributes than announced.
 * Octets behind the last are nobody's (accel-ppp has two such in its NAK) and are ignored.
 */
export function parseAttributes(
  b: Uint8Array,
  off: number,
  end: number,
  count: number,
): Attribute[] | undefined {
  const list: Attribute[] = []
  let at = off
  for (let n = 0; n < count; n += 1) {
    if (end - at < HEADER) return undefined
    const length = u16(b, at + 2) & 0x0fff
    if (length < HEADER || length > end - at) return undefined
    list.push(parseOne(b, at, length))
    at += length
  }
  return list
}

export function attributeId(a: Attribute): number {
  return a.kind === 'OTHER' ? a.id : ATTRIB[a.kind]
}

/** Octets that {@link emitAttribute} will write. */
export function attributeLength(a: Attribute): number {
  switch (a.kind) {
    case 'ENCAPSULATED_PROTOCOL_ID':
      return 6
    case 'STATUS_INFO':
      return 12 + Math.min(a.value.length, MAX_STATUS_VALUE)
    case 'CRYPTO_BINDING':
      return 104
    case 'CRYPTO_BINDING_REQ':
      return 40
    case 'OTHER':
      return HEADER + a.value.length
  }
}

/** Writes an attribute and returns its length. The caller has made room for it. */
export function emitAttribute(a: Attribute, dst: Uint8Array, off: number): number {
  const length = attributeLength(a)
  setU8(dst, off, 0)
  setU8(dst, off + 1, attributeId(a))
  setU16(dst, off + 2, length)
  switch (a.kind) {
    case 'ENCAPSULATED_PROTOCOL_ID':
      setU16(dst, off + 4, a.protocol)
      break
    case 'STATUS_INFO':
      setU32(dst, off + 4, a.attribId & 0xff)
      setU32(dst, off + 8, a.status)
      put(a.value, dst, off + 12, length - 12)
      break
    case 'CRYPTO_BINDING':
      setU32(dst, off + 4, a.hash & 0xff)
      put(a.nonce, dst, off + 8, 32)
      put(a.certHash, dst, off + 40, 32)
      put(a.compoundMac, dst, off + 72, 32)
      break
    case 'CRYPTO_BINDING_REQ':
      setU32(dst, off + 4, a.hashes & 0xff)
      put(a.nonce, dst, off + 8, 32)
      break
    case 'OTHER':
      dst.set(a.value, off + HEADER)
      break
  }
  return length
}

export function statusInfo(attribId: number, status: number, value: Uint8Array = EMPTY): StatusInfo {
  return { kind: 'STATUS_INFO', attribId, status, value }
}

/** The status that a message gives as its reason: that of its first Status Info, if it has one. */
export function statusOf(attributes: readonly Attribute[]): number | undefined {
  const info = attributes.find((a) => attributeId(a) === ATTRIB.STATUS_INFO)
  if (info?.kind === 'STATUS_INFO') return info.status
  // sstp-server's has a status and nothing else.
  return info?.kind === 'OTHER' && info.value.length === 4 ? u32(info.value, 0) : undefined
}

/** `VALUE_NOT_SUPPORTED`, or the number if it is none of ours. */
export function statusName(status: number): string {
  return STATUS_NAMES[status] ?? `status ${status}`
}

/** `CRYPTO_BINDING_REQ`, or the number if it is none of ours. */
export function attributeName(id: number): string {
  return ATTRIB_NAMES[id] ?? `attribute ${id}`
}

function parseOne(b: Uint8Array, at: number, length: number): Attribute {
  const id = u8(b, at + 1)
  switch (id) {
    case ATTRIB.ENCAPSULATED_PROTOCOL_ID:
      if (length === 6) return { kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: u16(b, at + 4) }
      break
    case ATTRIB.STATUS_INFO:
      if (length >= 12) {
        const value = copy(b, at + 12, Math.min(length - 12, MAX_STATUS_VALUE))
        return { kind: 'STATUS_INFO', attribId: u8(b, at + 7), status: u32(b, at + 8), value }
      }
      break
    case ATTRIB.CRYPTO_BINDING:
      if (length === 104) {
        return {
          kind: 'CRYPTO_BINDING',
          hash: u8(b, at + 7),
          nonce: copy(b, at + 8, 32),
          certHash: copy(b, at + 40, 32),
          compoundMac: copy(b, at + 72, 32),
        }
      }
      break
    case ATTRIB.CRYPTO_BINDING_REQ:
      if (length === 40)
        return { kind: 'CRYPTO_BINDING_REQ', hashes: u8(b, at + 7), nonce: copy(b, at + 8, 32) }
      break
  }
  return { kind: 'OTHER', id, value: copy(b, at + HEADER, length - HEADER) }
}

/** A true copy: `slice` of a Node Buffer would share its memory. */
function copy(b: Uint8Array, off: number, len: number): Uint8Array {
  const out = new Uint8Array(len)
  out.set(b.subarray(off, off + len))
  return out
}

/** Writes exactly `len` octets: the value, cut or followed by zeros. */
function put(value: Uint8Array, dst: Uint8Array, off: number, len: number): void {
  dst.fill(0, off, off + len)
  dst.set(value.length > len ? value.subarray(0, len) : value, off)
}

const HEADER = 4
const MAX_STATUS_VALUE = 64
const EMPTY = new Uint8Array(0)
const STATUS_NAMES: readonly string[] = Object.keys(STATUS)
const ATTRIB_NAMES: readonly string[] = Object.keys(ATTRIB)
