import { isIP, isIPv4, isIPv6 } from 'node:net'
import { resolve } from 'node:path'
import { domainToASCII } from 'node:url'
import { type AddressRange, parseRange } from '../proxy/access.js'
import type { AuthMethod } from '../tunnel/options.js'
import { UsageError } from './errors.js'

/** Where to listen. `address` is an IP address (no brackets) or `localhost`. */
export interface ListenAddress {
  readonly address: string
  readonly port: number
}

/** A unix socket; the path is absolute. */
export interface UnixPath {
  readonly path: string
}

/** Where a local entrance listens. */
export type Place = ListenAddress | UnixPath

/** `unix:PATH`, or as {@link parseListen}. Throws {@link UsageError}. */
export function parsePlace(text: string, fallback: string): Place {
  if (!text.startsWith('unix:')) return parseListen(text, fallback)
  const path = text.slice('unix:'.length)
  if (path === '' || path.endsWith('/')) throw new UsageError(`"${text}" is not unix:PATH`)
  return { path: resolve(path) }
}

/** As it can be given again. */
export function formatPlace(at: Place): string {
  return 'path' in at ? `unix:${at.path}` : formatEndpoint(at.address, at.port)
}

/** `[ADDR:]PORT`, IPv6 in brackets; without an address it is `fallback`. Throws {@link UsageError}. */
export function parseListen(text: string, fallback: string): ListenAddress {
  const match = /^(?:(?:\[([^\]]*)\]|([^:[\]]*)):)?([^:]*)$/.exec(text)
  if (match === null) {
    throw new UsageError(`"${text}" is not [ADDR:]PORT (an IPv6 address goes in brackets)`)
  }
  const [, six, four, digits] = match
  const port = parsePort(digits ?? '', 0)
  if (port === undefined) throw new UsageError(`"${text}" does not end in a port from 0 to 65535`)
  if (six !== undefined) {
    if (!isIPv6(six)) throw new UsageError(`"${six}" is not an IPv6 address`)
    return { address: six, port }
  }
  if (four === undefined) return { address: fallback, port }
  if (!isIPv4(four) && four !== 'localhost') {
    throw new UsageError(`"${four}" is not an address to listen on (an IP address or localhost)`)
  }
  return { address: four, port }
}

/** Digits only, `least` to 65535; undefined if it is anything else. */
export function parsePort(text: string, least: number): number | undefined {
  if (!/^(?:0|[1-9][0-9]{0,4})$/.test(text)) return undefined
  const port = Number(text)
  return port >= least && port <= 65535 ? port : undefined
}

/** True for addresses that only this machine reaches. */
export function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || (isIPv4(address) && address.startsWith('127.'))
}

/** `host:port`, with brackets around IPv6. */
export function formatEndpoint(address: string, port: number): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
}

const METHODS: readonly string[] = [
  'eap-tls',
  'peap',
  'eap-mschapv2',
  'mschapv2',
  'chap',
  'pap',
] satisfies AuthMethod[]

/** A list with commas. Throws {@link UsageError}. */
export function parseAuth(text: string): readonly AuthMethod[] {
  const methods = new Set<AuthMethod>()
  for (const item of text.split(',')) {
    const name = item.trim().toLowerCase()
    if (!isAuthMethod(name)) throw new UsageError(`"${item.trim()}" is none of ${METHODS.join(', ')}`)
    methods.add(name)
  }
  return [...methods]
}

function isAuthMethod(name: string): name is AuthMethod {
  return METHODS.includes(name)
}

/**
 * A SHA-256 as people have it: hexadecimal with or without colons (openssl), or base64 with or without
 * `sha256/`, `sha256//` (curl) or `pin-sha256:` (openconnect) before it.
 * Returns 64 lower-case hex digits. Throws {@link UsageError}.
 */
export function parsePin(text: string): string {
  const hex = text.replace(/^sha-?256:/i, '').replaceAll(':', '')
  if (/^[0-9a-f]{64}$/i.test(hex)) return hex.toLowerCase()
  const base64 = text.replace(/^(?:sha256\/\/?|pin-sha256:)/i, '')
  if (/^[A-Za-z0-9+/]{43}=?$/.test(base64)) return Buffer.from(base64, 'base64').toString('hex')
  throw new UsageError('a pin is a SHA-256: 64 hex digits, or 44 characters of base64')
}

/** A host name in its ASCII form (no address, no port), or undefined. */
export function toHostName(text: string): string | undefined {
  if (/[^\p{L}\p{M}\p{N}._-]/u.test(text)) return undefined
  const name = domainToASCII(text)
  if (name === '' || name.length > 253) return undefined
  const labels = name.replace(/\.$/, '').split('.')
  if (labels.some((label) => label === '' || label.length > 63)) return undefined
  // Such as 300.1.1.1 or 0x7f.1: meant as an address, and some resolvers would take it for one.
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/i.test(labels.at(-1) ?? '')) return undefined
  return name
}

/** A host name or address as somebody typed it, if it can be one. Throws {@link UsageError}. */
export function parseTarget(text: string): string {
  const address = isIP(text) !== 0 && !text.includes('%')
  if (!address && toHostName(text) === undefined) {
    throw new UsageError(`"${text}" is not a host name or address`)
  }
  return text
}

/** For `--servername`. Throws {@link UsageError}. */
export function parseServerName(text: string): string {
  if (isIP(text) !== 0) throw new UsageError('TLS sends names only, and this is an address')
  const name = toHostName(text)
  if (name === undefined) throw new UsageError(`"${text}" is not a host name`)
  return name
}

/** For `--host-header`: `name[:port]` as it is to be sent. Throws {@link UsageError}. */
export function parseHostHeader(text: string): string {
  const [, host = '', port] = /^(\[[^\]]*\]|[^:]*)(?::([0-9]+))?$/.exec(text) ?? []
  const six = /^\[(.*)\]$/.exec(host)?.[1]
  const name = six === undefined ? (isIPv4(host) ? host : toHostName(host)) : isIPv6(six) ? host : undefined
  if (name === undefined || (port !== undefined && parsePort(port, 1) === undefined)) {
    throw new UsageError(`"${text}" is not a host name, with or without :port`)
  }
  return port === undefined ? name : `${name}:${port}`
}

/** Throws {@link UsageError} unless it is an IP address in text, without zone. */
export function parseAddress(text: string): string {
  if (isIP(text) === 0 || text.includes('%')) throw new UsageError(`"${text}" is not an IP address`)
  return text
}

/** Milliseconds of `1500ms`, `2s`, `1m`, or of a bare number in the given unit. Throws {@link UsageError}. */
export function parseDuration(text: string, unit: 'ms' | 's', least: number, most: number): number {
  const match = /^([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m)?$/.exec(text)
  const factor = { ms: 1, s: 1000, m: 60_000 }
  const value =
    match === null ? Number.NaN : Number(match[1]) * factor[(match[2] ?? unit) as keyof typeof factor]
  if (Number.isNaN(value)) throw new UsageError(`"${text}" is not a time like 500ms or 2s`)
  if (value < least || value > most) {
    throw new UsageError(`${text} is out of range: ${least} ms to ${most / 1000} s`)
  }
  return Math.round(value)
}

/** For `--allow`. Throws {@link UsageError}. */
export function parseAllowed(text: string): AddressRange {
  const range = parseRange(text)
  if (range === undefined) {
    throw new UsageError(`"${text}" is not an IP address, or a range such as 192.168.1.0/24`)
  }
  return range
}

/** For `--proxy-user`: what SOCKS5 and HTTP can both say. Throws {@link UsageError}. */
export function parseProxyUser(text: string): string {
  const problem = proxyLoginProblem(text)
  if (problem !== undefined) throw new UsageError(problem)
  if (text.includes(':')) throw new UsageError('HTTP knows no user name with a colon')
  return text
}

/** Why a name or password cannot be said to a proxy (RFC 1929: 255 octets; RFC 7617: no control characters). */
export function proxyLoginProblem(text: string): string | undefined {
  if (Buffer.byteLength(text) > 255) return 'SOCKS5 knows only 255 octets'
  return /\p{Cc}/u.test(text) ? 'has a control character, which HTTP does not know' : undefined
}
