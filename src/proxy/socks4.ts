import { isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { Endpoint } from '../tunnel/dialer.js'

/*
 * SOCKS4 and 4a, of which there are only memos (Ying-Da Lee), and Tor's RESOLVE. All readers take `b[o..end)`, of
 * which more may follow, and never throw.
 *
 *   request  04 | command | port (2) | address (4) | user id, 00        reply  00 | code | port (2) | address (4)
 *   4a       the address is 0.0.0.x, x not 0, and behind all that: name, 00
 */

export const SOCKS4_VERSION = 4

export const Socks4Reply = { GRANTED: 0x5a, REJECTED: 0x5b } as const
export type Socks4ReplyCode = (typeof Socks4Reply)[keyof typeof Socks4Reply]

export type Socks4ErrorCode = 'bad-version' | 'user-too-long' | 'name-too-long' | 'no-name'

export interface Socks4Request {
  readonly type: 'request'
  readonly command: number
  /** An address in text, or the name as sent (UTF-8). */
  readonly host: string
  readonly port: number
  /** Octets that the message took. */
  readonly length: number
}

export type Socks4Result =
  | Socks4Request
  | { readonly type: 'need-more' }
  | { readonly type: 'error'; readonly code: Socks4ErrorCode }

export function readSocks4Request(b: Uint8Array, o: number, end: number): Socks4Result {
  if (end <= o) return NEED_MORE
  if (b[o] !== SOCKS4_VERSION) return { type: 'error', code: 'bad-version' }
  if (end - o < FIXED + 1) return NEED_MORE
  // What the user is called does not matter here, only where that ends.
  const user = o + FIXED
  const userLength = untilZero(b, user, end)
  if (userLength === TOO_LONG) return { type: 'error', code: 'user-too-long' }
  if (userLength < 0) return NEED_MORE
  const behind = user + userLength + 1
  const command = b[o + 1] ?? 0
  const port = ((b[o + 2] ?? 0) << 8) | (b[o + 3] ?? 0)
  const named = b[o + 4] === 0 && b[o + 5] === 0 && b[o + 6] === 0 && b[o + 7] !== 0
  if (!named) {
    const host = b.subarray(o + 4, o + 8).join('.')
    return { type: 'request', command, host, port, length: behind - o }
  }
  const nameLength = untilZero(b, behind, end)
  if (nameLength === TOO_LONG) return { type: 'error', code: 'name-too-long' }
  if (nameLength < 0) return NEED_MORE
  if (nameLength === 0) return { type: 'error', code: 'no-name' }
  const host = Buffer.from(b.buffer, b.byteOffset + behind, nameLength).toString('utf8')
  return { type: 'request', command, host, port, length: behind + nameLength + 1 - o }
}

/** The answer to a request; {@link SOCKS4_REPLY} octets. An IPv6 address has no place in it: 0.0.0.0. */
export function emitSocks4Reply(dst: Uint8Array, o: number, code: Socks4ReplyCode, bound?: Endpoint): number {
  const address = bound?.address ?? ''
  const port = bound?.port ?? 0
  dst[o] = 0
  dst[o + 1] = code
  dst[o + 2] = port >>> 8
  dst[o + 3] = port
  dst.set(isIPv4(address) ? ipaddr.parse(address).toByteArray() : [0, 0, 0, 0], o + 4)
  return SOCKS4_REPLY
}

export const SOCKS4_REPLY = 8

/** Octets before the first 00 from `o` on; MISSING if it may still come. */
function untilZero(b: Uint8Array, o: number, end: number): number {
  const limit = Math.min(end, o + MAX_TEXT + 1)
  for (let i = o; i < limit; i++) if (b[i] === 0) return i - o
  return limit === o + MAX_TEXT + 1 ? TOO_LONG : MISSING
}

const NEED_MORE: Socks4Result = { type: 'need-more' }
const FIXED = 8
const MAX_TEXT = 255
const MISSING = -1
const TOO_LONG = -2
