import { isIPv4, isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { Endpoint, HostPort } from '../tunnel/dialer.js'
import type { SocksReplyCode } from './replies.js'

/*
 * RFC 1928 and 1929. All readers take `b[o..end)`, of which more may follow, and never throw.
 *
 *   greeting  05 | n | n methods                                    answer  05 | method
 *   password  01 | ulen | user | plen | password                    answer  01 | status
 *   request   05 | command | 00 | type | address | port (2)         answer  05 | code | 00 | type | address | port (2)
 *   address   01 IPv4 (4)    03 length (1), name    04 IPv6 (16)
 */

export const SOCKS5_VERSION = 5

export const SocksMethod = { NONE: 0x00, PASSWORD: 0x02, NOT_ACCEPTABLE: 0xff } as const

/** The last two are Tor's. */
export const SocksCommand = {
  CONNECT: 0x01,
  BIND: 0x02,
  UDP_ASSOCIATE: 0x03,
  RESOLVE: 0xf0,
  RESOLVE_PTR: 0xf1,
} as const

export type SocksErrorCode = 'bad-version' | 'bad-address-type'

export interface NeedMore {
  readonly type: 'need-more'
}
export interface SocksError {
  readonly type: 'error'
  readonly code: SocksErrorCode
}
export interface Greeting {
  readonly type: 'greeting'
  readonly methods: readonly number[]
  /** Octets that the message took. */
  readonly length: number
}
export interface Password {
  readonly type: 'password'
  /** Views of what was read. */
  readonly user: Uint8Array
  readonly password: Uint8Array
  readonly length: number
}
export interface SocksRequest {
  readonly type: 'request'
  readonly command: number
  /** An address in text, or the name as sent (UTF-8). */
  readonly host: string
  readonly port: number
  readonly length: number
}

export function readGreeting(b: Uint8Array, o: number, end: number): Greeting | NeedMore | SocksError {
  if (end <= o) return NEED_MORE
  if (b[o] !== SOCKS5_VERSION) return BAD_VERSION
  if (end - o < 2) return NEED_MORE
  const count = b[o + 1] ?? 0
  if (end - o < 2 + count) return NEED_MORE
  return { type: 'greeting', methods: [...b.subarray(o + 2, o + 2 + count)], length: 2 + count }
}

/** RFC 1929 2. Empty names and passwords are read too: they are merely wrong. */
export function readPassword(b: Uint8Array, o: number, end: number): Password | NeedMore | SocksError {
  if (end <= o) return NEED_MORE
  if (b[o] !== PASSWORD_VERSION) return BAD_VERSION
  if (end - o < 2) return NEED_MORE
  const user = o + 2
  const count = user + (b[o + 1] ?? 0)
  if (count >= end) return NEED_MORE
  const password = count + 1
  const after = password + (b[count] ?? 0)
  if (after > end) return NEED_MORE
  return {
    type: 'password',
    user: b.subarray(user, count),
    password: b.subarray(password, after),
    length: after - o,
  }
}

export function readRequest(b: Uint8Array, o: number, end: number): SocksRequest | NeedMore | SocksError {
  if (end <= o) return NEED_MORE
  if (b[o] !== SOCKS5_VERSION) return BAD_VERSION
  if (end - o < 4) return NEED_MORE
  const length = addressLength(b, o + 3, end)
  if (length === NO_SUCH_TYPE) return { type: 'error', code: 'bad-address-type' }
  if (length === INCOMPLETE) return NEED_MORE
  return { type: 'request', command: b[o + 1] ?? 0, ...readAddress(b, o + 3, length), length: 3 + length }
}

/** First octet of an RFC 1929 message, where a request would have {@link SOCKS5_VERSION}. */
export const PASSWORD_VERSION = 1

/** Octets of type, address and port at `o`, or {@link INCOMPLETE}, or {@link NO_SUCH_TYPE}. */
export function addressLength(b: Uint8Array, o: number, end: number): number {
  if (end <= o) return INCOMPLETE
  let length: number
  const type = b[o]
  if (type === TYPE_IPV4) length = 1 + 4 + 2
  else if (type === TYPE_IPV6) length = 1 + 16 + 2
  else if (type !== TYPE_NAME) return NO_SUCH_TYPE
  else if (end - o < 2) return INCOMPLETE
  else length = 1 + 1 + (b[o + 1] ?? 0) + 2
  return end - o < length ? INCOMPLETE : length
}

export const INCOMPLETE = -1
export const NO_SUCH_TYPE = -2

/** What stands in `length` octets at `o`, as {@link addressLength} has found them. */
export function readAddress(b: Uint8Array, o: number, length: number): HostPort {
  const at = o + length - 2
  const type = b[o]
  let host: string
  if (type === TYPE_IPV4) host = b.subarray(o + 1, at).join('.')
  else if (type === TYPE_IPV6) host = new ipaddr.IPv6([...b.subarray(o + 1, at)]).toRFC5952String()
  else host = Buffer.from(b.buffer, b.byteOffset + o + 2, at - o - 2).toString('utf8')
  return { host, port: ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0) }
}

/** Type, address and port; at most {@link MAX_ADDRESS} octets. What is no address: 0.0.0.0. */
export function emitAddress(dst: Uint8Array, o: number, address: string, port: number): number {
  const octets = isIPv4(address) || isIPv6(address) ? ipaddr.parse(address).toByteArray() : [0, 0, 0, 0]
  dst[o] = octets.length === 16 ? TYPE_IPV6 : TYPE_IPV4
  dst.set(octets, o + 1)
  const at = o + 1 + octets.length
  dst[at] = port >>> 8
  dst[at + 1] = port
  return at + 2 - o
}

export const MAX_ADDRESS = 19

/** The answer to a greeting; 2 octets. */
export function emitMethod(dst: Uint8Array, o: number, method: number): number {
  dst[o] = SOCKS5_VERSION
  dst[o + 1] = method
  return 2
}

/** The answer to a name and password; 2 octets. */
export function emitPasswordStatus(dst: Uint8Array, o: number, good: boolean): number {
  dst[o] = PASSWORD_VERSION
  dst[o + 1] = good ? 0 : 1
  return 2
}

/** The answer to a request; at most {@link MAX_REPLY} octets. Without a bound address: 0.0.0.0:0. */
export function emitReply(dst: Uint8Array, o: number, code: SocksReplyCode, bound?: Endpoint): number {
  dst[o] = SOCKS5_VERSION
  dst[o + 1] = code
  dst[o + 2] = 0
  return 3 + emitAddress(dst, o + 3, bound?.address ?? '', bound?.port ?? 0)
}

export const MAX_REPLY = 3 + MAX_ADDRESS

/** The answer to Tor's RESOLVE_PTR: success and a name of at most 255 octets; 7 octets and the name. */
export function emitNameReply(dst: Uint8Array, o: number, name: Uint8Array): number {
  dst[o] = SOCKS5_VERSION
  dst[o + 1] = 0
  dst[o + 2] = 0
  dst[o + 3] = TYPE_NAME
  dst[o + 4] = name.length
  dst.set(name, o + 5)
  dst.fill(0, o + 5 + name.length, o + 7 + name.length)
  return 7 + name.length
}

const NEED_MORE: NeedMore = { type: 'need-more' }
const BAD_VERSION: SocksError = { type: 'error', code: 'bad-version' }
const TYPE_IPV4 = 1
const TYPE_NAME = 3
const TYPE_IPV6 = 4
