import { isIPv4, isIPv6 } from 'node:net'
import { UsageError } from '../config/errors.js'
import { parsePort, toHostName } from '../config/values.js'

const DEFAULT_PORT = 443

/** What `<server>` says. `host` has no brackets and is in ASCII form. */
export interface ServerAddress {
  readonly host: string
  readonly port: number
  readonly user: string | undefined
  readonly password: string | undefined
}

/**
 * Reads `sstp://[user[:password]@]host[:port]` or `host[:port]`; user and password percent-encoded.
 * Throws {@link UsageError}, whose message never quotes what stands before an `@`.
 */
export function parseServerAddress(text: string): ServerAddress {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(text)
  if (scheme !== null && scheme[1]?.toLowerCase() !== 'sstp') {
    throw new UsageError(`<server>: ${scheme[1]}:// is not for SSTP: say sstp://host or just host`)
  }
  const rest = scheme === null ? text : text.slice(scheme[0].length)
  const end = rest.search(/[/?#]/)
  const authority = end < 0 ? rest : rest.slice(0, end)
  if (end >= 0 && rest.slice(end) !== '/') {
    const encode = rest.includes('@', end) ? ' (in a user name or password, write / ? # as %2F %3F %23)' : ''
    throw new UsageError(`<server>: nothing may follow host and port${encode}`)
  }
  // The last one: an unencoded user@realm is understood as well.
  const at = authority.lastIndexOf('@')
  if (at >= 0 && scheme === null) {
    throw new UsageError('<server>: a user is given as --user NAME or in sstp://user@host')
  }
  const credentials = at < 0 ? {} : parseUserInfo(authority.slice(0, at))
  return { user: undefined, password: undefined, ...credentials, ...parseHostPort(authority.slice(at + 1)) }
}

function parseUserInfo(info: string): { user: string; password?: string } {
  const colon = info.indexOf(':')
  const user = decode(colon < 0 ? info : info.slice(0, colon), 'user name')
  return colon < 0 ? { user } : { user, password: decode(info.slice(colon + 1), 'password') }
}

function decode(text: string, what: string): string {
  let decoded: string
  try {
    decoded = decodeURIComponent(text)
  } catch {
    throw new UsageError(`<server>: a % in the ${what} does not stand before two hex digits (write % as %25)`)
  }
  if (decoded === '') throw new UsageError(`<server>: the ${what} before the @ is empty`)
  if (decoded.includes('\0')) throw new UsageError(`<server>: the ${what} holds a NUL`)
  return decoded
}

function parseHostPort(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text)
  if (match === null) {
    const six = isIPv6(text) ? `: [${text}]` : ''
    throw new UsageError(`<server>: "${text}" is not host[:port]; an IPv6 address goes in brackets${six}`)
  }
  const [, bracketed, plain = '', digits] = match
  const port = digits === undefined ? DEFAULT_PORT : parsePort(digits, 1)
  if (port === undefined) throw new UsageError(`<server>: "${digits}" is not a port from 1 to 65535`)
  if (bracketed !== undefined) {
    const address = bracketed.replace('%25', '%')
    if (!isIPv6(address)) throw new UsageError(`<server>: "${bracketed}" is not an IPv6 address`)
    return { host: address, port }
  }
  if (plain === '') throw new UsageError('<server>: the host is missing')
  const host = isIPv4(plain) ? plain : toHostName(plain)
  if (host === undefined) throw new UsageError(`<server>: "${plain}" is not a host name or address`)
  return { host, port }
}
