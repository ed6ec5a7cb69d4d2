/**
 * What ends PEAPv0: the TLVs of EAP type 33, and the crypto binding that ties the two methods together
 * (draft-kamath-pppext-peapv0-00 3, MS-PEAP 2.2.8 and 3.1.5.5).
 *
 * ```
 * M and R bits, type (2) | length (2) | value
 *
 * 3  Result           1 success, 2 failure (2)
 * 4  NAK              vendor (4) | type (2)
 * 12 Crypto binding   0 | version 0 | received version 0 | 0 request, 1 response | nonce (32) | MAC (20)
 * ```
 */
import { createHmac } from 'node:crypto'
import { copyOf, setU8, setU16, u8, u16 } from '../../../../stack/bytes.js'
import { sameBytes } from '../method.js'
import { EapType } from './method.js'

export const TlvType = { RESULT: 3, NAK: 4, CRYPTO_BINDING: 12 } as const
export const TlvResult = { SUCCESS: 1, FAILURE: 2 } as const

const MANDATORY = 0x8000
const TYPE = 0x3fff
const TLV_HEADER = 4
const BINDING_LENGTH = 60
const SUBTYPE = 7
const NONCE = 8
const NONCE_LENGTH = 32
const MAC = NONCE + NONCE_LENGTH
const MAC_LENGTH = 20

export interface Tlvs {
  readonly result: number | undefined
  /** The whole TLV of a crypto binding: 60 octets. */
  readonly binding: Uint8Array | undefined
  /** Type of a mandatory TLV that is not known here. */
  readonly unknown: number | undefined
}

/** Undefined if they do not fit into what there is. */
export function parseTlvs(b: Uint8Array, off: number, len: number): Tlvs | undefined {
  let result: number | undefined
  let binding: Uint8Array | undefined
  let unknown: number | undefined
  const end = off + len
  for (let at = off; at < end; ) {
    if (end - at < TLV_HEADER) return undefined
    const flags = u16(b, at)
    const type = flags & TYPE
    const size = u16(b, at + 2)
    const next = at + TLV_HEADER + size
    if (next > end) return undefined
    if (type === TlvType.RESULT) {
      if (size !== 2 || result !== undefined) return undefined
      result = u16(b, at + TLV_HEADER)
    } else if (type === TlvType.CRYPTO_BINDING) {
      if (TLV_HEADER + size !== BINDING_LENGTH || binding !== undefined) return undefined
      binding = copyOf(b, at, next)
    } else if ((flags & MANDATORY) !== 0 && type !== TlvType.NAK) unknown ??= type
    at = next
  }
  return { result, binding, unknown }
}

/** A whole EAP packet of type 33, as it goes through TLS. */
export function tlvPacket(code: number, id: number, ...tlvs: Uint8Array[]): Uint8Array {
  const packet = Buffer.concat([new Uint8Array(5), ...tlvs])
  setU8(packet, 0, code)
  setU8(packet, 1, id)
  setU16(packet, 2, packet.length)
  setU8(packet, 4, EapType.TLV)
  return new Uint8Array(packet)
}

export function resultTlv(result: number): Uint8Array {
  return Uint8Array.of(0x80, TlvType.RESULT, 0, 2, 0, result)
}

export function nakTlv(type: number): Uint8Array {
  return Uint8Array.of(0x80, TlvType.NAK, 0, 6, 0, 0, 0, 0, type >>> 8, type & 255)
}

/** What both keys together make (MS-PEAP 3.1.5.5.2). Secrets. */
export interface CompoundKeys {
  readonly ipmk: Uint8Array
  readonly cmk: Uint8Array
}

/**
 * @param tunnel - what TLS exports, at least 40 octets
 * @param inner - the first 32 octets of the inner method's MSK, zeros if it makes none
 */
export function compoundKeys(tunnel: Uint8Array, inner: Uint8Array): CompoundKeys {
  const made = prf(tunnel.subarray(0, 40), 'Inner Methods Compound Keys', inner, 60)
  return { ipmk: copyOf(made, 0, 40), cmk: copyOf(made, 40, 60) }
}

/** The MSK of 64 octets if there was a crypto binding. A secret. */
export function compoundMsk({ ipmk }: CompoundKeys): Uint8Array {
  return copyOf(prf(ipmk, 'Session Key Generating Function', new Uint8Array(1), 128), 0, 64)
}

function prf(key: Uint8Array, label: string, data: Uint8Array, length: number): Uint8Array {
  const seed = Buffer.concat([Buffer.from(label, 'latin1'), data])
  const parts: Buffer[] = []
  let last = Buffer.alloc(0)
  for (let i = 1; parts.length * 20 < length; i += 1) {
    last = createHmac('sha1', key)
      .update(last)
      .update(seed)
      .update(Uint8Array.of(i, 0, 0))
      .digest()
    parts.push(last)
  }
  return new Uint8Array(Buffer.concat(parts).subarray(0, length))
}

/** `nonce`: 32 octets. */
export function bindingRequest(keys: CompoundKeys, nonce: Uint8Array): Uint8Array {
  return bindingTlv(keys, nonce, 0)
}

/** The answer to a request that was found good. */
export function bindingResponse(keys: CompoundKeys, request: Uint8Array): Uint8Array {
  return bindingTlv(keys, request.subarray(NONCE, MAC), 1)
}

function bindingTlv({ cmk }: CompoundKeys, nonce: Uint8Array, subtype: number): Uint8Array {
  const tlv = new Uint8Array(BINDING_LENGTH)
  setU16(tlv, 0, TlvType.CRYPTO_BINDING)
  setU16(tlv, 2, BINDING_LENGTH - TLV_HEADER)
  setU8(tlv, SUBTYPE, subtype)
  tlv.set(nonce.subarray(0, NONCE_LENGTH), NONCE)
  tlv.set(mac(cmk, tlv), MAC)
  return tlv
}

/** Whether a binding is by somebody who has both keys. `response`: to that request. */
export function bindingFits(keys: CompoundKeys, tlv: Uint8Array, request?: Uint8Array): boolean {
  if (tlv.length !== BINDING_LENGTH || u8(tlv, SUBTYPE) !== (request === undefined ? 0 : 1)) return false
  if (request !== undefined && !sameBytes(tlv.subarray(NONCE, MAC), request.subarray(NONCE, MAC)))
    return false
  return sameBytes(tlv.subarray(MAC, MAC + MAC_LENGTH), mac(keys.cmk, tlv))
}

/** Over the TLV with zeros for the MAC, and PEAP's type. */
function mac(cmk: Uint8Array, tlv: Uint8Array): Uint8Array {
  const blank = copyOf(tlv, 0, BINDING_LENGTH)
  blank.fill(0, MAC)
  return new Uint8Array(createHmac('sha1', cmk).update(blank).update(Uint8Array.of(EapType.PEAP)).digest())
}
