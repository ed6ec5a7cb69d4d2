/**
 * RADIUS packets (RFC 2865 3): reading, writing, and the two proofs that an answer carries.
 *
 * ```
 * code | identifier | length (2) | authenticator (16) | attributes: type | length | value …
 * ```
 *
 * Written here because the one library of the registry compares digests as UTF-8 text, in which octets from 80 on
 * are all equal, and throws on attributes that are cut short.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { copyOf, setU8, setU16, u8, u16, u32 } from '../../../stack/bytes.js'

export const RadiusCode = {
  ACCESS_REQUEST: 1,
  ACCESS_ACCEPT: 2,
  ACCESS_REJECT: 3,
  ACCOUNTING_REQUEST: 4,
  ACCOUNTING_RESPONSE: 5,
  ACCESS_CHALLENGE: 11,
} as const

export const HEADER = 20
export const AUTHENTICATOR_LENGTH = 16
/** RFC 2865 3: nothing is longer. */
export const MAX_PACKET = 4096
/** Octets that one attribute can hold. */
export const MAX_VALUE = 253

const AUTHENTICATOR = 4
const MESSAGE_AUTHENTICATOR = 80
const VENDOR_SPECIFIC = 26
const encoder = new TextEncoder()

/** Writes one request. What does not fit is left out whole, and said by the result. */
export class PacketWriter {
  readonly #b = new Uint8Array(MAX_PACKET)
  #length = HEADER
  #messageAuthenticator = 0

  /** `value` of at most 253 octets. @returns whether it had room */
  bytes(type: number, value: Uint8Array): boolean {
    const size = 2 + value.length
    if (value.length > MAX_VALUE || this.#length + size > MAX_PACKET) return false
    setU8(this.#b, this.#length, type)
    setU8(this.#b, this.#length + 1, size)
    this.#b.set(value, this.#length + 2)
    this.#length += size
    return true
  }

  /** In UTF-8, cut at 253 octets; an empty one is left out (RFC 2865 5: no attribute is empty). */
  text(type: number, value: string): boolean {
    return value !== '' && this.bytes(type, encoder.encode(value).subarray(0, MAX_VALUE))
  }

  integer(type: number, value: number): boolean {
    return this.bytes(type, word(value))
  }

  /** A tagged integer without a tag (RFC 2868 3.1): three octets. */
  tagged(type: number, value: number): boolean {
    return this.integer(type, value & 0xffffff)
  }

  /** One attribute of a vendor's in an attribute of its own (RFC 2865 5.26). */
  vendor(vendor: number, type: number, value: Uint8Array): boolean {
    if (value.length > MAX_VALUE - 6) return false
    const b = new Uint8Array(6 + value.length)
    b.set(word(vendor))
    setU8(b, 4, type)
    setU8(b, 5, 2 + value.length)
    b.set(value, 6)
    return this.bytes(VENDOR_SPECIFIC, b)
  }

  /** Long values in as many attributes as they need. @returns whether all had room */
  pieces(type: number, value: Uint8Array): boolean {
    for (let at = 0; at < value.length; at += MAX_VALUE) {
      if (!this.bytes(type, value.subarray(at, at + MAX_VALUE))) return false
    }
    return true
  }

  /** Leaves room for the Message-Authenticator. First of all, as Blast-RADIUS teaches: it guards what is behind it. */
  reserveMessageAuthenticator(): void {
    this.#messageAuthenticator = this.#length + 2
    this.bytes(MESSAGE_AUTHENTICATOR, new Uint8Array(AUTHENTICATOR_LENGTH))
  }

  /** An Access-Request; `authenticator` are 16 octets that nobody foresees. */
  accessRequest(id: number, authenticator: Uint8Array, secret: Uint8Array): Uint8Array {
    const packet = this.#head(RadiusCode.ACCESS_REQUEST, id)
    packet.set(authenticator, AUTHENTICATOR)
    if (this.#messageAuthenticator > 0) {
      packet.set(createHmac('md5', secret).update(packet).digest(), this.#messageAuthenticator)
    }
    return packet
  }

  /** RFC 2866 3: its authenticator is a digest of itself. */
  accountingRequest(id: number, secret: Uint8Array): Uint8Array {
    const packet = this.#head(RadiusCode.ACCOUNTING_REQUEST, id)
    packet.set(createHash('md5').update(packet).update(secret).digest(), AUTHENTICATOR)
    return packet
  }

  #head(code: number, id: number): Uint8Array {
    const packet = copyOf(this.#b, 0, this.#length)
    setU8(packet, 0, code)
    setU8(packet, 1, id)
    setU16(packet, 2, this.#length)
    return packet
  }
}

/**
 * The length that a packet gives itself, if all its attributes fill that exactly; -1 if not. Octets behind are
 * padding (RFC 2865 3).
 */
export function packetLength(b: Uint8Array): number {
  if (b.length < HEADER) return -1
  const length = u16(b, 2)
  if (length < HEADER || length > b.length || length > MAX_PACKET) return -1
  let at = HEADER
  while (at < length) {
    if (length - at < 2 || u8(b, at + 1) < 2) return -1
    at += u8(b, at + 1)
  }
  return at === length ? length : -1
}

/** Calls `visit` for each attribute of a packet that {@link packetLength} has found good. */
export function eachAttribute(
  b: Uint8Array,
  length: number,
  visit: (type: number, off: number, len: number) => void,
): void {
  for (let at = HEADER; at < length; at += u8(b, at + 1)) visit(u8(b, at), at + 2, u8(b, at + 1) - 2)
}

/**
 * Calls `visit` for each attribute inside of a Vendor-Specific one of this vendor, as far as they are well formed
 * (RFC 2865 5.26: they need not be at all).
 */
export function eachVendorAttribute(
  b: Uint8Array,
  off: number,
  len: number,
  vendor: number,
  visit: (type: number, off: number, len: number) => void,
): void {
  if (len < 4 || u32(b, off) !== vendor) return
  const end = off + len
  let at = off + 4
  while (end - at >= 2) {
    const size = u8(b, at + 1)
    if (size < 2 || size > end - at) return
    visit(u8(b, at), at + 2, size - 2)
    at += size
  }
}

/** RFC 2865 3: the answer was made by someone who knows the secret, for this very request. */
export function isAnswerTo(
  answer: Uint8Array,
  length: number,
  requestAuthenticator: Uint8Array,
  secret: Uint8Array,
): boolean {
  const digest = createHash('md5')
    .update(answer.subarray(0, AUTHENTICATOR))
    .update(requestAuthenticator)
    .update(answer.subarray(HEADER, length))
    .update(secret)
    .digest()
  return timingSafeEqual(digest, answer.subarray(AUTHENTICATOR, HEADER))
}

/** `bad` also for two of them, or one of another length. */
export type MessageAuthenticator = 'none' | 'good' | 'bad'

/** RFC 3579 3.2. Unlike the other proof it cannot be forged by collisions in MD5 (CVE-2024-3596). */
export function judgeMessageAuthenticator(
  answer: Uint8Array,
  length: number,
  requestAuthenticator: Uint8Array,
  secret: Uint8Array,
): MessageAuthenticator {
  let at = 0
  let seen = 0
  let size = 0
  eachAttribute(answer, length, (type, off, len) => {
    if (type !== MESSAGE_AUTHENTICATOR) return
    seen += 1
    at = off
    size = len
  })
  if (seen === 0) return 'none'
  if (seen > 1 || size !== AUTHENTICATOR_LENGTH) return 'bad'
  const copy = copyOf(answer, 0, length)
  copy.set(requestAuthenticator, AUTHENTICATOR)
  copy.fill(0, at, at + AUTHENTICATOR_LENGTH)
  const mac = createHmac('md5', secret).update(copy).digest()
  return timingSafeEqual(mac, answer.subarray(at, at + AUTHENTICATOR_LENGTH)) ? 'good' : 'bad'
}

/** RFC 2865 5.2. `password` of at most 128 octets. */
export function hidePassword(
  password: Uint8Array,
  requestAuthenticator: Uint8Array,
  secret: Uint8Array,
): Uint8Array {
  const hidden = new Uint8Array(Math.max(16, Math.ceil(password.length / 16) * 16))
  hidden.set(password)
  let before = requestAuthenticator
  for (let at = 0; at < hidden.length; at += 16) {
    const pad = createHash('md5').update(secret).update(before).digest()
    for (let i = 0; i < 16; i += 1) setU8(hidden, at + i, u8(hidden, at + i) ^ u8(pad, i))
    before = hidden.subarray(at, at + 16)
  }
  return hidden
}

/**
 * The key in an MS-MPPE-Send-Key or -Recv-Key (RFC 2548 2.4.2: salt (2), then hidden: length (1), key, padding);
 * undefined if it is none.
 */
export function revealKey(
  value: Uint8Array,
  requestAuthenticator: Uint8Array,
  secret: Uint8Array,
): Uint8Array | undefined {
  const size = value.length - 2
  if (size < 16 || size % 16 !== 0) return undefined
  const plain = new Uint8Array(size)
  let digest = createHash('md5')
    .update(secret)
    .update(requestAuthenticator)
    .update(value.subarray(0, 2))
    .digest()
  for (let at = 0; at < size; at += 16) {
    for (let i = 0; i < 16; i += 1) setU8(plain, at + i, u8(value, 2 + at + i) ^ u8(digest, i))
    digest = createHash('md5')
      .update(secret)
      .update(value.subarray(2 + at, 18 + at))
      .digest()
  }
  const length = u8(plain, 0)
  const key = length > 0 && length < size ? copyOf(plain, 1, 1 + length) : undefined
  plain.fill(0)
  return key
}

function word(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
}
