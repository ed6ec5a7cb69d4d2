import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { u8 } from '../../stack/bytes.js'
import { controlPacket } from './packet.js'

/*
 * Crypto binding (MS-SSTP 3.2.5.2, 3.3.5.2.3): shows that whoever finished PPP authentication is
 * whoever is at the other end of this TLS connection. In CALL_CONNECTED, 112 octets:
 *
 *   15       the hash chosen
 *   16..47   nonce of CALL_CONNECT_ACK
 *   48..79   certificate hash, zeros behind a SHA-1 value
 *   80..111  compound MAC, likewise
 */

/** Bits of the hash mask, and the value of the hash chosen. */
export const HASH = { SHA1: 0x01, SHA256: 0x02 } as const
export type Hash = (typeof HASH)[keyof typeof HASH]

/** Octets of a nonce, of an HLAK, and of the fields that hold a hash or MAC. */
export const NONCE_LENGTH = 32
export const HLAK_LENGTH = 32
export const CALL_CONNECTED_LENGTH = 112

/** `sha256`, as in traces and reports. */
export function hashName(hash: Hash): 'sha1' | 'sha256' {
  return hash === HASH.SHA256 ? 'sha256' : 'sha1'
}

/** A mask for our own use: both hashes unless told. Throws RangeError for one without any that we know. */
export function hashMask(mask: number = HASH.SHA1 | HASH.SHA256): number {
  const known = mask & (HASH.SHA1 | HASH.SHA256)
  if (known === 0 || known !== mask) throw new RangeError(`${mask} is no mask of SHA-1 and SHA-256`)
  return known
}

/** The strongest hash of a mask, or undefined if there is none that we know. */
export function strongestHash(mask: number): Hash | undefined {
  if ((mask & HASH.SHA256) !== 0) return HASH.SHA256
  if ((mask & HASH.SHA1) !== 0) return HASH.SHA1
  return undefined
}

/** 20 or 32 octets. `der` is the server's leaf certificate of this very TLS connection. */
export function certificateHash(hash: Hash, der: Uint8Array): Uint8Array {
  return createHash(hashName(hash)).update(der).digest()
}

/** The compound MAC key, as long as the hash. `hlak`: the higher-layer authentication key, 32 octets. */
export function compoundMacKey(hash: Hash, hlak: Uint8Array): Uint8Array {
  // Of the PRF+ construction in MS-SSTP 3.2.5.2.2 and 3.2.5.2.4 the first block is all that is ever needed.
  // The length is the one little-endian number in SSTP.
  const size = hash === HASH.SHA256 ? 32 : 20
  return createHmac(hashName(hash), hlak)
    .update('SSTP inner method derived CMK', 'latin1')
    .update(Uint8Array.of(size, 0, 1))
    .digest()
}

/** The compound MAC (20 or 32 octets) of a CALL_CONNECTED, whose MAC field counts as zeros. */
export function compoundMac(hash: Hash, hlak: Uint8Array, packet: Uint8Array): Uint8Array {
  const cmk = compoundMacKey(hash, hlak)
  const mac = createHmac(hashName(hash), cmk)
    .update(packet.subarray(0, MAC_AT))
    .update(ZEROS)
    .update(packet.subarray(MAC_AT + ZEROS.length))
    .digest()
  cmk.fill(0)
  return mac
}

/** A whole CALL_CONNECTED with its MAC. `certHash` may be without its padding. */
export function callConnected(
  hash: Hash,
  hlak: Uint8Array,
  nonce: Uint8Array,
  certHash: Uint8Array,
): Uint8Array {
  const packet = controlPacket('CALL_CONNECTED', [
    { kind: 'CRYPTO_BINDING', hash, nonce, certHash, compoundMac: ZEROS },
  ])
  packet.set(compoundMac(hash, hlak, packet), MAC_AT)
  return packet
}

/** What a server sent or has, against which a CALL_CONNECTED is held. */
export interface BindingExpected {
  /** Mask of the hashes offered. */
  readonly hashes: number
  readonly nonce: Uint8Array
  /** DER of the certificate shown. */
  readonly certificate: Uint8Array
}

/** What was wrong with a CALL_CONNECTED. */
export type BindingFault = 'hash' | 'nonce' | 'certificate' | 'mac'

/** All of a CALL_CONNECTED but its MAC. MS-SSTP 3.3.5.2.3. `packet` has 112 octets. */
export function checkBinding(
  packet: Uint8Array,
  expected: BindingExpected,
): Hash | Exclude<BindingFault, 'mac'> {
  const chosen = u8(packet, 15)
  const hash = strongestHash(chosen & expected.hashes)
  if (hash === undefined || hash !== chosen) return 'hash'
  if (!same(packet.subarray(16, 16 + NONCE_LENGTH), expected.nonce)) return 'nonce'
  if (!same(packet.subarray(48, 80), padded(certificateHash(hash, expected.certificate))))
    return 'certificate'
  return hash
}

/** Whether the MAC of a CALL_CONNECTED is the one that `hlak` makes. Takes the same time for any MAC. */
export function verifyMac(packet: Uint8Array, hash: Hash, hlak: Uint8Array): boolean {
  return same(packet.subarray(MAC_AT, MAC_AT + 32), padded(compoundMac(hash, hlak, packet)))
}

function padded(value: Uint8Array): Uint8Array {
  const field = new Uint8Array(32)
  field.set(value)
  return field
}

/** In constant time for equal lengths; another length is simply not the same. */
function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

const MAC_AT = 80
const ZEROS = new Uint8Array(32)
