/**
 * The computations of MS-CHAPv2 (RFC 2759 8) and of its MPPE keys (RFC 3079 3), under the RFCs' names.
 *
 * Node's OpenSSL 3 offers neither MD4 nor single DES nor RC4. MD4 is js-md4's; DES is triple DES with one key
 * three times: E(D(E(x))) with equal keys is E(x); RC4 is written out.
 */
import { createCipheriv, createHash } from 'node:crypto'
import md4js from 'js-md4'
import { setU8, u8 } from '../../../stack/bytes.js'

const encoder = new TextEncoder()
const ascii = (text: string): Uint8Array => encoder.encode(text)

const MAGIC_SERVER = ascii('Magic server to client signing constant')
const MAGIC_PAD = ascii('Pad to make it do more than one iteration')
const MAGIC_MASTER = ascii('This is the MPPE Master Key')
const MAGIC_CLIENT_SEND = ascii(
  'On the client side, this is the send key; on the server side, it is the receive key.',
)
const MAGIC_CLIENT_RECEIVE = ascii(
  'On the client side, this is the receive key; on the server side, it is the send key.',
)
const SHS_PAD_1 = new Uint8Array(40)
const SHS_PAD_2 = new Uint8Array(40).fill(0xf2)

function sha1(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('sha1')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

export function md4(data: Uint8Array): Uint8Array {
  return Uint8Array.from(md4js.array(data))
}

/** 56 key bits as 8 octets of seven bits each, with odd parity in the lowest bit. */
export function desKey(key7: Uint8Array): Uint8Array {
  const key8 = new Uint8Array(8)
  for (let i = 0; i < 8; i += 1) {
    const left = i === 0 ? 0 : (key7[i - 1] ?? 0) << (8 - i)
    const seven = (left | ((key7[i] ?? 0) >> i)) & 0xfe
    let ones = 0
    for (let bit = 1; bit < 8; bit += 1) ones += (seven >> bit) & 1
    key8[i] = seven | (ones % 2 === 0 ? 1 : 0)
  }
  return key8
}

/** DES of one block of 8 octets under a key of 7 (RFC 2759 8.6). */
export function desEncrypt(key7: Uint8Array, block: Uint8Array): Uint8Array {
  const key8 = desKey(key7)
  const key24 = new Uint8Array(24)
  for (let i = 0; i < 3; i += 1) key24.set(key8, 8 * i)
  const cipher = createCipheriv('des-ede3-ecb', key24, null)
  cipher.setAutoPadding(false)
  return new Uint8Array(cipher.update(block))
}

/** Little-endian UTF-16, no byte order mark. */
export function utf16le(text: string): Uint8Array {
  const out = new Uint8Array(2 * text.length)
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i)
    out[2 * i] = unit
    out[2 * i + 1] = unit >>> 8
  }
  return out
}

/** RFC 2759 8.3. */
export function ntPasswordHash(password: string): Uint8Array {
  return md4(utf16le(password))
}

/** RFC 2759 8.4. */
export function hashNtPasswordHash(passwordHash: Uint8Array): Uint8Array {
  return md4(passwordHash)
}

/** The part of a user name that enters the challenge hash: without `DOMAIN\`; `user@realm` enters whole. */
export function withoutDomain(user: string): string {
  return user.slice(user.lastIndexOf('\\') + 1)
}

/** RFC 2759 8.2. `user` as it is to be hashed (see {@link withoutDomain}). */
export function challengeHash(
  peerChallenge: Uint8Array,
  authenticatorChallenge: Uint8Array,
  user: string,
): Uint8Array {
  return sha1(peerChallenge, authenticatorChallenge, ascii(user)).subarray(0, 8)
}

/** The NT-Response of 24 octets (RFC 2759 8.5). */
export function challengeResponse(challenge: Uint8Array, passwordHash: Uint8Array): Uint8Array {
  const key = new Uint8Array(21)
  key.set(passwordHash.subarray(0, 16))
  const out = new Uint8Array(24)
  for (let i = 0; i < 3; i += 1) out.set(desEncrypt(key.subarray(7 * i, 7 * i + 7), challenge), 8 * i)
  return out
}

/** `S=` and 40 upper-case hexadecimal digits (RFC 2759 8.7). */
export function authenticatorResponse(
  passwordHashHash: Uint8Array,
  ntResponse: Uint8Array,
  challenge: Uint8Array,
): string {
  const digest = sha1(passwordHashHash, ntResponse, MAGIC_SERVER)
  return `S=${toHex(sha1(digest, challenge, MAGIC_PAD))}`
}

/** Upper-case hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0')
  return text.toUpperCase()
}

/** RFC 3079 3.4, GetMasterKey: 16 octets. */
export function masterKey(passwordHashHash: Uint8Array, ntResponse: Uint8Array): Uint8Array {
  return sha1(passwordHashHash, ntResponse, MAGIC_MASTER).subarray(0, 16)
}

/** RFC 3079 3.4, GetAsymmetricStartKey: the first `length` octets of a start key. */
export function asymmetricStartKey(
  master: Uint8Array,
  length: number,
  isSend: boolean,
  isServer: boolean,
): Uint8Array {
  const magic = isSend === isServer ? MAGIC_CLIENT_RECEIVE : MAGIC_CLIENT_SEND
  return sha1(master, SHS_PAD_1, magic, SHS_PAD_2).subarray(0, length)
}

/**
 * The higher-layer authentication key for SSTP's crypto binding, 32 octets and the same on both ends: the
 * client's 128-bit send start key, then its receive start key.
 */
export function higherLayerKey(passwordHashHash: Uint8Array, ntResponse: Uint8Array): Uint8Array {
  const master = masterKey(passwordHashHash, ntResponse)
  const key = new Uint8Array(32)
  key.set(asymmetricStartKey(master, 16, true, false))
  key.set(asymmetricStartKey(master, 16, false, false), 16)
  return key
}

/** RC4 from its beginning; encrypts and decrypts. */
export function rc4(key: Uint8Array, data: Uint8Array): Uint8Array {
  const state = new Uint8Array(256)
  for (let i = 0; i < 256; i += 1) setU8(state, i, i)
  for (let i = 0, j = 0; i < 256; i += 1) {
    j = (j + u8(state, i) + u8(key, i % key.length)) & 255
    swap(state, i, j)
  }
  const out = new Uint8Array(data.length)
  for (let n = 0, i = 0, j = 0; n < data.length; n += 1) {
    i = (i + 1) & 255
    j = (j + u8(state, i)) & 255
    swap(state, i, j)
    setU8(out, n, u8(data, n) ^ u8(state, (u8(state, i) + u8(state, j)) & 255))
  }
  return out
}

function swap(state: Uint8Array, i: number, j: number): void {
  const old = u8(state, i)
  setU8(state, i, u8(state, j))
  setU8(state, j, old)
}

/** Octets of a password's block in front of its length (RFC 2759 8.10). */
const PASSWORD_BLOCK = 512
/** UTF-16 units that a changed password may have. */
export const MAX_NEW_PASSWORD = PASSWORD_BLOCK / 2

/** The 516 octets of RFC 2759 8.9; `filler`: 512 unpredictable octets. The password has at most 256 units. */
export function encryptNewPassword(password: string, oldHash: Uint8Array, filler: Uint8Array): Uint8Array {
  const text = utf16le(password)
  const block = new Uint8Array(PASSWORD_BLOCK + 4)
  block.set(filler.subarray(0, PASSWORD_BLOCK))
  block.set(text, PASSWORD_BLOCK - text.length)
  // Little-endian, as nothing else in PPP
  setU8(block, PASSWORD_BLOCK, text.length)
  setU8(block, PASSWORD_BLOCK + 1, text.length >>> 8)
  return rc4(oldHash, block)
}

/** What {@link encryptNewPassword} has hidden; undefined if the block makes no sense under that hash. */
export function decryptNewPassword(encrypted: Uint8Array, oldHash: Uint8Array): string | undefined {
  const block = rc4(oldHash, encrypted)
  const length = u8(block, PASSWORD_BLOCK) | (u8(block, PASSWORD_BLOCK + 1) << 8)
  const high = u8(block, PASSWORD_BLOCK + 2) | u8(block, PASSWORD_BLOCK + 3)
  if (high !== 0 || length > PASSWORD_BLOCK || length % 2 !== 0) return undefined
  let text = ''
  for (let i = PASSWORD_BLOCK - length; i < PASSWORD_BLOCK; i += 2) {
    text += String.fromCharCode(u8(block, i) | (u8(block, i + 1) << 8))
  }
  return text
}

/** The 16 octets of RFC 2759 8.12. */
export function encryptOldHash(oldHash: Uint8Array, newHash: Uint8Array): Uint8Array {
  const out = new Uint8Array(16)
  out.set(desEncrypt(newHash.subarray(0, 7), oldHash.subarray(0, 8)))
  out.set(desEncrypt(newHash.subarray(7, 14), oldHash.subarray(8, 16)), 8)
  return out
}
