import { isIPv4, isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { Endpoint } from '../tunnel/dialer.js'
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

export const SocksMethod = { NONE: 0x00, NOT_ACCEPTABLE: 0xff } as const

export const SocksCommand = { CONNECT: 1, BIND: 2, UDP_ASSOCIATE: 3 } as const

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

export function readRequest(b: Uint8Array, o: number, end: number): SocksRequest | NeedMore | SocksError {
  if (end <= o) return NEED_MORE
  if (b[o] !== SOCKS5_VERSION) return BAD_VERSION
  if (end - o < 4) return NEED_MORE
  const addressType = b[o + 3]
  const at = o + 4
  if (addressType === TYPE_IPV4) return request(b, o, end, at, 4, ipv4Text)
  if (addressType === TYPE_IPV6) return request(b, o, end, at, 16, ipv6Text)
  if (addressType !== TYPE_NAME) return { type: 'error', code: 'bad-address-type' }
  if (end - o < 5) return NEED_MORE
  return request(b, o, end, at + 1, b[at] ?? 0, nameText)
}

/** Length of a whole RFC 1929 message at `o`; 0 while more is needed. */
export function passwordMessageLength(b: Uint8Array, o: number, end: number): number {
  if (end - o < 2) return 0
  const password = o + 2 + (b[o + 1] ?? 0)
  if (password >= end) return 0
  const after = password + 1 + (b[password] ?? 0)
  return after <= end ? after - o : 0
}

/** First octet of an RFC 1929 message, where a request would have {@link SOCKS5_VERSION}. */
export const PASSWORD_VERSION = 1

/** The answer to a greeting; 2 octets. */
export function emitMethod(dst: Uint8Array, o: number, method: number): number {
  dst[o] = SOCKS5_VERSION
  dst[o + 1] = method
  return 2
}

/** The answer to a request; at most {@link MAX_REPLY} octets. Without a bound address: 0.0.0.0:0. */
export function emitReply(dst: Uint8Array, o: number, code: SocksReplyCode, bound?: Endpoint): number {
  const address = bound?.address ?? ''
  const octets = isIPv4(address) || isIPv6(address) ? ipaddr.parse(address).toByteArray() : [0, 0, 0, 0]
  const port = bound?.port ?? 0
  dst[o] = SOCKS5_VERSION
  dst[o + 1] = code
  dst[o + 2] = 0
  dst[o + 3] = octets.length === 16 ? TYPE_IPV6 : TYPE_IPV4
  dst.set(octets, o + 4)
  const at = o + 4 + octets.length
  dst[at] = port >>> 8
  dst[at + 1] = port
  return at + 2 - o
}

export const MAX_REPLY = 22

type AddressText = (b: Uint8Array, o: number, length: number) => string

function request(
  b: Uint8Array,
  o: number,
  end: number,
  at: number,
  length: number,
  text: AddressText,
): SocksRequest | NeedMore {
  const after = at + length + 2
  if (after > end) return NEED_MORE
  return {
    type: 'request',
    command: b[o + 1] ?? 0,
    host: text(b, at, length),
    port: ((b[at + length] ?? 0) << 8) | (b[at + length + 1] ?? 0),
    length: after - o,
  }
}

function ipv4Text(b: Uint8Array, o: number): string {
  return b.subarray(o, o + 4).join('.')
}

function ipv6Text(b: Uint8Array, o: number): string {
  return new ipaddr.IPv6([...b.subarray(o, o + 16)]).toRFC5952String()
}

function nameText(b: Uint8Array, o: number, length: number): string {
  return Buffer.from(b.buffer, b.byteOffset + o, length).toString('utf8')
}

const NEED_MORE: NeedMore = { type: 'need-more' }
const BAD_VERSION: SocksError = { type: 'error', code: 'bad-version' }
const TYPE_IPV4 = 1
const TYPE_NAME = 3
const TYPE_IPV6 = 4
