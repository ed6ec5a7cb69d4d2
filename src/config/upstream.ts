import { isIPv4, isIPv6 } from 'node:net'
import { proxyFromEnvironment } from '../transport/upstream/no-proxy.js'
import {
  UPSTREAM_SCHEMES,
  type Upstream,
  type UpstreamScheme,
  upstreamText,
} from '../transport/upstream/upstream.js'
import { UsageError } from './errors.js'
import { isLoopback, parsePort, toHostName } from './values.js'

const DEFAULT_PORTS: Readonly<Record<UpstreamScheme, number>> = {
  http: 80,
  https: 443,
  socks5: 1080,
  socks5h: 1080,
}

/**
 * `[scheme://][user[:password]@]host[:port]`, user and password percent-encoded; without a scheme it is
 * `http`. `none` and `off` are null. Throws {@link UsageError}, whose message never quotes what stands before
 * an `@`.
 */
export function parseUpstream(text: string): Upstream | null {
  if (text === 'none' || text === 'off') return null
  const named = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(text)
  const scheme = named?.[1]?.toLowerCase() ?? 'http'
  if (!isScheme(scheme)) {
    const near =
      scheme === 'socks' ? ': say socks5:// or socks5h://' : `, only ${UPSTREAM_SCHEMES.join(', ')}`
    throw new UsageError(`there are no ${scheme}:// proxies here${near}`)
  }
  const rest = named === null ? text : text.slice(named[0].length)
  const at = rest.lastIndexOf('@')
  const place = rest.slice(at + 1).replace(/\/$/, '')
  const match = /^(?:\[([^\]]*)\]|([^:[\]/?#]*))(?::([^:]*))?$/.exec(place)
  if (match === null) {
    const six = isIPv6(place) ? `: [${place}]` : ''
    throw new UsageError(`"${place}" is not host[:port]; an IPv6 address goes in brackets${six}`)
  }
  const [, bracketed, plain = '', digits] = match
  const port = digits === undefined ? DEFAULT_PORTS[scheme] : parsePort(digits, 1)
  // It may be the half of a password whose @ is missing.
  if (port === undefined) throw new UsageError('the port is not a number from 1 to 65535')
  const credentials = at < 0 ? {} : userInfo(rest.slice(0, at))
  return { scheme, host: hostOf(bracketed, plain), port, ...credentials }
}

function isScheme(text: string): text is UpstreamScheme {
  return (UPSTREAM_SCHEMES as readonly string[]).includes(text)
}

function hostOf(bracketed: string | undefined, plain: string): string {
  if (bracketed !== undefined) {
    const address = bracketed.replace('%25', '%')
    if (!isIPv6(address)) throw new UsageError(`"${bracketed}" is not an IPv6 address`)
    return address
  }
  if (plain === '') throw new UsageError('the host of the proxy is missing')
  const host = isIPv4(plain) ? plain : toHostName(plain)
  if (host === undefined) throw new UsageError(`"${plain}" is not a host name or address`)
  return host
}

function userInfo(info: string): { user?: string; password?: string } {
  const colon = info.indexOf(':')
  const user = decode(colon < 0 ? info : info.slice(0, colon))
  if (user === '') throw new UsageError('the user name before the @ is empty')
  return colon < 0 ? { user } : { user, password: decode(info.slice(colon + 1)) }
}

function decode(text: string): string {
  let decoded: string
  try {
    decoded = decodeURIComponent(text)
  } catch {
    throw new UsageError('a % before the @ does not stand before two hex digits (write % as %25)')
  }
  // It would end a line of the request.
  if (/\p{Cc}/u.test(decoded)) throw new UsageError('user name and password cannot hold control characters')
  return decoded
}

/** A proxy, and where it was named. */
export interface ChosenUpstream {
  readonly upstream: Upstream
  /** `--upstream` or the variable. */
  readonly from: string
}

/**
 * The proxy to use for a server: the one that was said, else the one that the environment names for it; none
 * if `--upstream none` was said. Throws {@link UsageError}.
 *
 * @param own - ports on which we listen ourselves: a variable that names one of them is for others
 */
export function chooseUpstream(
  said: Upstream | null | undefined,
  env: Readonly<Record<string, string | undefined>>,
  server: { readonly host: string; readonly port: number },
  own: readonly number[] = [],
): ChosenUpstream | undefined {
  if (said === null) return undefined
  if (said !== undefined) return { upstream: said, from: '--upstream' }
  const named = proxyFromEnvironment(env, server.host, server.port)
  if (named === undefined) return undefined
  let upstream: Upstream | null
  try {
    upstream = parseUpstream(named.url)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    throw new UsageError(`${named.variable}: ${error.message} (--upstream none goes without)`)
  }
  if (upstream === null || (isLoopback(upstream.host) && own.includes(upstream.port))) return undefined
  return { upstream, from: named.variable }
}

/** Where the proxy's password may come from. */
export interface UpstreamSecrets {
  /** `--upstream-password-file`, read. */
  readonly file: (() => Promise<string>) | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  /** Absent without a terminal. */
  readonly ask: ((question: string, hidden: boolean) => Promise<string>) | undefined
}

/** The proxy with its password, if it has a user. Throws {@link UsageError}. */
export async function withPassword(
  { upstream, from }: ChosenUpstream,
  { file, env, ask }: UpstreamSecrets,
): Promise<Upstream> {
  if (upstream.user === undefined) {
    if (file === undefined) return upstream
    throw new UsageError(`--upstream-password-file: ${from} names no user (http://USER@HOST:PORT)`)
  }
  if (upstream.password !== undefined) {
    if (file === undefined) return upstream
    throw new UsageError(`--upstream-password-file: ${from} holds a password already`)
  }
  const stored = file === undefined ? env.SSTP_UPSTREAM_PASSWORD || undefined : await file()
  if (stored !== undefined) return { ...upstream, password: stored }
  if (ask === undefined) {
    const how = 'give --upstream-password-file FILE or SSTP_UPSTREAM_PASSWORD'
    throw new UsageError(`no password for ${upstream.user} at ${upstreamText(upstream)}: ${how}`)
  }
  return {
    ...upstream,
    password: await ask(`Password for ${upstream.user} at ${upstreamText(upstream)}: `, true),
  }
}
