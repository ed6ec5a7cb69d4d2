/**
 * EAP's packets (RFC 3748 4):
 *
 * ```
 * 1 Request, 2 Response   code | identifier | length (2) | type | type data
 * 3 Success, 4 Failure    code | identifier | length (2) = 4
 * ```
 */
import { setU8 } from '../../../../stack/bytes.js'
import { CONTROL_HEADER, setControlHeader } from '../../control.js'
import { EAP_HEADER, EapType } from './method.js'

/** A Request or Response. */
export function eapPacket(code: number, id: number, type: number, data: Uint8Array): Uint8Array {
  const packet = new Uint8Array(EAP_HEADER + data.length)
  setControlHeader(packet, 0, code, id, packet.length)
  setU8(packet, CONTROL_HEADER, type)
  packet.set(data, EAP_HEADER)
  return packet
}

/** A Success or Failure. */
export function eapEnd(code: number, id: number): Uint8Array {
  const packet = new Uint8Array(CONTROL_HEADER)
  setControlHeader(packet, 0, code, id, packet.length)
  return packet
}

const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [EapType.IDENTITY, 'Identity'],
  [EapType.NOTIFICATION, 'Notification'],
  [EapType.NAK, 'Nak'],
  [EapType.MD5, 'EAP-MD5'],
  [5, 'EAP-OTP'],
  [EapType.GTC, 'EAP-GTC'],
  [EapType.TLS, 'EAP-TLS'],
  [EapType.TTLS, 'EAP-TTLS'],
  [EapType.PEAP, 'PEAP'],
  [EapType.MSCHAPV2, 'EAP-MSCHAPv2'],
  [EapType.TLV, 'EAP-TLV'],
  [43, 'EAP-FAST'],
  [52, 'EAP-pwd'],
  [55, 'TEAP'],
])

/** A type for people. */
export function eapTypeName(type: number): string {
  return TYPE_NAMES.get(type) ?? `EAP type ${type}`
}
