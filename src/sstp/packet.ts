import { setU8, setU16, u8, u16 } from '../../stack/bytes.js'
import type { Attribute } from './attribute.js'
import { attributeLength, emitAttribute, parseAttributes, STATUS } from './attribute.js'
import { SstpError } from './errors.js'

/*
 * Every packet (MS-SSTP 2.2.1):
 *
 *   octet 0      version, 0x10
 *   octet 1      reserved(7) | C: 1 = control, 0 = data
 *   octets 2-3   R(4) | length(12), of the whole packet
 *
 * then in a data packet one PPP frame, in a control packet (MS-SSTP 2.2.2):
 *
 *   octets 4-5   message type
 *   octets 6-7   number of attributes
 *   octets 8..   attributes
 */

export const VERSION = 0x10
/** Octets of the header of every packet. */
export const HEADER = 4
/** Octets of the shortest control packet. */
export const CONTROL_HEADER = 8
/** Largest whole packet. */
export const MAX_PACKET = 4095
/** Largest PPP frame in a data packet. */
export const MAX_FRAME = MAX_PACKET - HEADER
/** More attributes than this in a message are refused. No message has more than two in practice. */
export const MAX_ATTRIBUTES = 16

/** MS-SSTP 2.2.2, without the prefix SSTP_MSG_. */
export const MESSAGE = {
  CALL_CONNECT_REQUEST: 0x0001,
  CALL_CONNECT_ACK: 0x0002,
  CALL_CONNECT_NAK: 0x0003,
  CALL_CONNECTED: 0x0004,
  CALL_ABORT: 0x0005,
  CALL_DISCONNECT: 0x0006,
  CALL_DISCONNECT_ACK: 0x0007,
  ECHO_REQUEST: 0x0008,
  ECHO_RESPONSE: 0x0009,
} as const
export type MessageName = keyof typeof MESSAGE

export interface KnownMessage {
  readonly type: MessageName
  readonly attributes: readonly Attribute[]
}

export interface UnknownMessage {
  readonly type: 'UNKNOWN'
  /** The message type as received. */
  readonly code: number
  readonly attributes: readonly Attribute[]
}

export type ControlMessage = KnownMessage | UnknownMessage

/** Whole length of the packet that begins at `off`; four octets must be there. Bits R are ignored. */
export function packetLength(b: Uint8Array, off: number): number {
  return u16(b, off + 2) & 0x0fff
}

export function isControl(b: Uint8Array, off: number): boolean {
  return (u8(b, off + 1) & 0x01) !== 0
}

/** Writes the four octets in front of a PPP frame of `frameLength` octets (at most {@link MAX_FRAME}). */
export function emitDataHeader(dst: Uint8Array, off: number, frameLength: number): void {
  setU8(dst, off, VERSION)
  setU8(dst, off + 1, 0)
  setU16(dst, off + 2, HEADER + frameLength)
}

/** The message type of a control packet, or -1 if it is too short to have one. */
export function messageType(b: Uint8Array, off: number, len: number): number {
  return len < CONTROL_HEADER ? -1 : u16(b, off + 4)
}

export function messageName(type: number): MessageName | undefined {
  return NAMES[type - 1]
}

/**
 * Reads a control packet of `len` octets, as a framer delimited it. Values in it are copies.
 * `SSTP_INVALID_MESSAGE`: too short, attributes that do not fit in, or too many.
 */
export function parseControl(b: Uint8Array, off: number, len: number): ControlMessage | SstpError {
  if (len < CONTROL_HEADER) return invalid('a control packet is too short')
  const count = u16(b, off + 6)
  if (count > MAX_ATTRIBUTES) return invalid(`a control packet announces ${count} attributes`)
  const attributes = parseAttributes(b, off + CONTROL_HEADER, off + len, count)
  if (attributes === undefined) return invalid('the attributes of a control packet do not fit its length')
  const code = u16(b, off + 4)
  const type = messageName(code)
  return type === undefined ? { type: 'UNKNOWN', code, attributes } : { type, attributes }
}

/** Octets of the packet that {@link emitControl} will write. */
export function controlLength(message: KnownMessage): number {
  let length = CONTROL_HEADER
  for (const a of message.attributes) length += attributeLength(a)
  return length
}

/** Writes a control packet and returns its length; 0, and nothing written, if it does not fit. */
export function emitControl(message: KnownMessage, dst: Uint8Array, off: number): number {
  const length = controlLength(message)
  if (length > MAX_PACKET || length > dst.length - off) return 0
  setU8(dst, off, VERSION)
  setU8(dst, off + 1, 0x01)
  setU16(dst, off + 2, length)
  setU16(dst, off + 4, MESSAGE[message.type])
  setU16(dst, off + 6, message.attributes.length)
  let at = off + CONTROL_HEADER
  for (const a of message.attributes) at += emitAttribute(a, dst, at)
  return length
}

/** The same as an array of its own. */
export function controlPacket(type: MessageName, attributes: readonly Attribute[] = []): Uint8Array {
  const message = { type, attributes }
  const packet = new Uint8Array(controlLength(message))
  emitControl(message, packet, 0)
  return packet
}

function invalid(message: string): SstpError {
  return new SstpError('SSTP_INVALID_MESSAGE', 'remote', message, STATUS.INVALID_FRAME_RECEIVED)
}

const NAMES = Object.keys(MESSAGE) as readonly MessageName[]
