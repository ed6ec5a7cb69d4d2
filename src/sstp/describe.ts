import { u8 } from '../../stack/bytes.js'
import type { Attribute } from './attribute.js'
import { attributeId, attributeName, STATUS, statusName } from './attribute.js'
import { HASH } from './binding.js'
import { SstpError } from './errors.js'
import { HEADER, isControl, parseControl, VERSION } from './packet.js'

/**
 * One line about a packet for traces, e.g. `CALL_CONNECT_ACK sha1,sha256`. Takes any octets.
 * Nonces, hashes, MACs and the values of attributes are left out, and so is what a frame holds.
 */
export function describe(b: Uint8Array, off: number, len: number): string {
  if (len < HEADER || u8(b, off) !== VERSION) return 'not an SSTP packet'
  if (!isControl(b, off)) return `DATA ${len - HEADER}`
  const message = parseControl(b, off, len)
  if (message instanceof SstpError) return `invalid: ${message.message}`
  const name =
    message.type === 'UNKNOWN' ? `message type 0x${message.code.toString(16).padStart(4, '0')}` : message.type
  const words = message.attributes.map(describeAttribute).filter((word) => word !== '')
  return words.length === 0 ? name : `${name} ${words.join('; ')}`
}

/** `sha1,sha256`, `none`; bits that we do not know as a number. */
export function describeHashes(mask: number): string {
  const names: string[] = []
  if ((mask & HASH.SHA1) !== 0) names.push('sha1')
  if ((mask & HASH.SHA256) !== 0) names.push('sha256')
  const rest = mask & ~(HASH.SHA1 | HASH.SHA256)
  if (rest !== 0) names.push(`0x${rest.toString(16)}`)
  return names.length === 0 ? 'none' : names.join(',')
}

function describeAttribute(a: Attribute): string {
  switch (a.kind) {
    case 'ENCAPSULATED_PROTOCOL_ID':
      return a.protocol === 1 ? 'ppp' : `protocol ${a.protocol}`
    case 'STATUS_INFO':
      // The ordinary CALL_DISCONNECT says that there is no error with nothing.
      if (a.attribId === 0 && a.status === STATUS.NO_ERROR) return ''
      if (a.attribId === 0) return statusName(a.status)
      return `${attributeName(a.attribId)} ${statusName(a.status)}`
    case 'CRYPTO_BINDING':
      return describeHashes(a.hash)
    case 'CRYPTO_BINDING_REQ':
      return describeHashes(a.hashes)
    case 'OTHER':
      return `${attributeName(attributeId(a))} of ${a.value.length} octets`
  }
}
