/** A proxy on the way to the server, and how any of them is talked to. */
import { CallError, type CallErrorKind } from '../errors.js'
import { endpointText } from '../text.js'

export const UPSTREAM_SCHEMES = ['http', 'https', 'socks5', 'socks5h'] as const
export type UpstreamScheme = (typeof UPSTREAM_SCHEMES)[number]

/** A proxy. With `socks5` names are resolved here, with the others by the proxy. */
export interface Upstream {
  readonly scheme: UpstreamScheme
  /** A name or an address, without brackets. */
  readonly host: string
  readonly port: number
  readonly user?: string
  readonly password?: string
}

/** For people: without credentials. */
export function upstreamText({ scheme, host, port }: Pick<Upstream, 'scheme' | 'host' | 'port'>): string {
  return `${scheme}://${endpointText(host, port)}`
}

/** What an exchange wants next. */
export type Progress =
  /** More octets of the proxy; `send` goes out first. */
  | { readonly type: 'more'; readonly send?: Uint8Array }
  /** The way to the server is open; `rest` already came from there. */
  | { readonly type: 'open'; readonly rest: Buffer }
  /** A new connection to the proxy, on which the exchange goes on with {@link Exchange.start}. */
  | { readonly type: 'again' }

/** The talk with a proxy until the way is open: octets in, octets out. Throws {@link CallError}. */
export interface Exchange {
  /** What a new connection begins with. */
  start(): Uint8Array
  push(chunk: Uint8Array): Progress
  /** What it means that the proxy has hung up; `again`: as {@link Progress} has it. */
  ended(): CallError | 'again'
}

/** All errors of proxies are of the step in which the server is reached. */
export function proxyError(kind: CallErrorKind, code: string, message: string, hint?: string): CallError {
  return new CallError('tcp', kind, code, message, hint)
}

export function needsCredentials(proxy: string): CallError {
  return proxyError(
    'refused',
    'PROXY_CREDENTIALS_NEEDED',
    `the proxy ${proxy} wants a user name and a password`,
    'write --upstream SCHEME://USER@HOST:PORT and put the password in --upstream-password-file FILE',
  )
}

export function wrongCredentials(proxy: string): CallError {
  return proxyError(
    'refused',
    'PROXY_CREDENTIALS_WRONG',
    `the proxy ${proxy} does not take this user name and password`,
    'check both; in the URL, write % @ : / as %25 %40 %3A %2F',
  )
}
