import type { HostPort } from '../tunnel/dialer.js'
import type { Framing } from './http-body.js'
import {
  type Field,
  type HttpError,
  listOf,
  type RequestHead,
  type ResponseHead,
  valuesOf,
} from './http-message.js'

/** Where a request goes, and how it reads there. */
export interface Target extends HostPort {
  /** As the client wrote it, without user info: the value of Host. */
  readonly authority: string
  /** Origin-form, or `*`. */
  readonly path: string
}

/** RFC 9112 3.2.3: `host:port`, the port being mandatory. */
export function parseConnectTarget(text: string): HostPort | HttpError {
  const to = parseAuthority(text, undefined)
  return to ?? bad('CONNECT takes host:port, an IPv6 address in brackets')
}

/** RFC 9112 3.2.2: the absolute-form that a proxy is sent. */
export function parseProxyTarget(method: string, text: string): Target | HttpError {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)
  if (scheme === null) return bad('the request target is not a URL')
  const name = (scheme[1] ?? '').toLowerCase()
  if (name === 'https') return bad('https:// goes through a proxy with CONNECT')
  if (name !== 'http') return bad(`${name}:// is not forwarded by an HTTP proxy`)
  if (text.includes('#')) return bad('the request target has a fragment')
  const rest = text.slice(scheme[0].length)
  const end = rest.search(/[/?]/)
  const whole = end < 0 ? rest : rest.slice(0, end)
  const authority = whole.slice(whole.lastIndexOf('@') + 1)
  const to = parseAuthority(authority, 80)
  if (to === undefined) return bad('the request target has no valid host and port')
  const path = end < 0 ? '' : rest.slice(end)
  // RFC 9112 3.2.4: what asked the proxy about the server as a whole.
  if (path === '' && method === 'OPTIONS') return { ...to, authority, path: '*' }
  return { ...to, authority, path: path.startsWith('/') ? path : `/${path}` }
}

/** Whether the client would send more requests on this connection (RFC 9112 9.3). */
export function wantsKeepAlive(head: RequestHead): boolean {
  const options = [...listOf(head.fields, 'connection'), ...listOf(head.fields, 'proxy-connection')]
  if (options.includes('close')) return false
  return head.minor === 1 || options.includes('keep-alive')
}

/** The protocols asked for, as sent; undefined if the request asks for no upgrade (RFC 9110 7.8). */
export function wantsUpgrade(head: RequestHead): string | undefined {
  if (head.minor === 0 || !listOf(head.fields, 'connection').includes('upgrade')) return undefined
  const protocols = valuesOf(head.fields, 'upgrade').join(', ')
  return protocols === '' ? undefined : protocols
}

/** Max-Forwards of TRACE and OPTIONS (RFC 9110 7.6.2); undefined: none, or it does not count. */
export function maxForwards(head: RequestHead): number | undefined {
  if (head.method !== 'TRACE' && head.method !== 'OPTIONS') return undefined
  const value = valuesOf(head.fields, 'max-forwards')[0]
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined
}

export interface RequestPlan {
  readonly framing: Framing
  /** The protocols to switch to; undefined: none. */
  readonly upgrade: string | undefined
  /** Our pseudonym; undefined leaves Via out. */
  readonly via: string | undefined
  /** The connection is to be good for another request. */
  readonly persistent: boolean
}

/** The head that goes to the server. */
export function emitRequestHead(head: RequestHead, target: Target, plan: RequestPlan): Buffer {
  const { framing, upgrade, via, persistent } = plan
  const forwards = maxForwards(head)
  const lines = [`${head.method} ${target.path} HTTP/1.1`, `Host: ${target.authority}`]
  for (const { name, value } of endToEnd(head.fields)) {
    const lower = name.toLowerCase()
    // RFC 9110 10.1.1: what HTTP/1.0 expects does not count.
    if (lower === 'host' || (lower === 'expect' && head.minor === 0)) continue
    lines.push(
      lower === 'max-forwards' && forwards !== undefined ? `${name}: ${forwards - 1}` : `${name}: ${value}`,
    )
  }
  pushFraming(lines, framing, head)
  if (via !== undefined) lines.push(`Via: 1.${head.minor} ${via}`)
  const connection: string[] = []
  if (upgrade !== undefined) connection.push('Upgrade')
  else if (!persistent) connection.push('close')
  // RFC 9110 10.1.4: of what the client takes, trailers are what we pass on.
  const trailers = head.minor === 1 && listOf(head.fields, 'te').some((te) => /^trailers\s*(;|$)/.test(te))
  if (trailers) connection.push('TE')
  if (connection.length > 0) lines.push(`Connection: ${connection.join(', ')}`)
  if (trailers) lines.push('TE: trailers')
  if (upgrade !== undefined) lines.push(`Upgrade: ${upgrade}`)
  return finish(lines)
}

/** The end of a chunked body. */
export function emitLastChunk(trailers: readonly Field[]): Buffer {
  const lines = ['0']
  for (const { name, value } of trailers) {
    // RFC 9110 6.5.1: nothing that would have had to be known before the body.
    if (!NO_TRAILER.has(name.toLowerCase())) lines.push(`${name}: ${value}`)
  }
  return lines.length === 1 ? LAST_CHUNK : finish(lines)
}

/** What a server lets its connection be used for behind a response (RFC 9112 9.3); undefined: nothing. */
export interface Persistence {
  /** Milliseconds until it ends it, as far as it says so. */
  readonly timeout: number | undefined
}

/** `framing`: how the response came. */
export function persistenceOf(head: ResponseHead, framing: Framing): Persistence | undefined {
  const options = listOf(head.fields, 'connection')
  const coded = valuesOf(head.fields, 'transfer-encoding').length > 0
  if (framing.kind === 'until-close' || options.includes('close')) return undefined
  if (head.minor === 0 && (coded || !options.includes('keep-alive'))) return undefined
  const lengths = valuesOf(head.fields, 'content-length')
  // Where the response ends may be disputed (RFC 9112 6.3), or the server think that it has a body.
  if (coded && (lengths.length > 0 || head.status === 204)) return undefined
  if (head.status === 204 && lengths.some((length) => length !== '0')) return undefined
  for (const parameter of listOf(head.fields, 'keep-alive')) {
    const seconds = /^timeout\s*=\s*(\d{1,6})$/.exec(parameter)?.[1]
    // A little before, so that no request crosses its end.
    if (seconds !== undefined) return { timeout: Number(seconds) * 1000 - CROSSING }
  }
  return { timeout: undefined }
}

/** What the client is told about its own connection behind a response. */
export type ConnectionOption = 'close' | 'keep-alive' | 'upgrade' | undefined

/** The head that goes to the client. `signsIn`: it may sign its connection in, and keeps the server's for itself. */
export function emitResponseHead(
  head: ResponseHead,
  framing: Framing,
  connection: ConnectionOption,
  via: string | undefined,
  signsIn = false,
): Buffer {
  const lines = [`HTTP/1.1 ${head.status} ${head.reason}`]
  for (const { name, value } of endToEnd(head.fields)) lines.push(`${name}: ${value}`)
  pushFraming(lines, framing, head)
  if (via !== undefined) lines.push(`Via: 1.${head.minor} ${via}`)
  if (connection === 'upgrade') {
    lines.push('Connection: Upgrade', `Upgrade: ${valuesOf(head.fields, 'upgrade').join(', ')}`)
  } else if (connection !== undefined) {
    lines.push(`Connection: ${connection}`)
  }
  // RFC 4559 6: without it Negotiate is not tried through a proxy.
  if (signsIn) lines.push('Proxy-Support: Session-Based-Authentication')
  return finish(lines)
}

/** RFC 9110 9.3.8 and 9.3.7: the answer to TRACE or OPTIONS whose Max-Forwards is used up. */
export function emitFinalRecipient(head: RequestHead): Buffer {
  if (head.method === 'OPTIONS') {
    return finish(['HTTP/1.1 200 OK', 'Content-Length: 0', 'Connection: close'])
  }
  const lines = [`TRACE ${head.target} HTTP/1.${head.minor}`]
  for (const { name, value } of head.fields) {
    // RFC 9110 9.3.8: what may hold credentials is not echoed.
    if (!SECRET.has(name.toLowerCase())) lines.push(`${name}: ${value}`)
  }
  const body = finish(lines)
  const answer = [
    'HTTP/1.1 200 OK',
    'Content-Type: message/http',
    `Content-Length: ${body.length}`,
    'Connection: close',
  ]
  return Buffer.concat([finish(answer), body])
}

/** RFC 9110 7.6.1: all fields but those that concern one connection only, and the framing, which is ours. */
function endToEnd(fields: readonly Field[]): Field[] {
  const named = new Set(listOf(fields, 'connection'))
  return fields.filter(({ name }) => {
    const lower = name.toLowerCase()
    return !HOP_BY_HOP.has(lower) && !named.has(lower)
  })
}

function pushFraming(lines: string[], framing: Framing, head: RequestHead | ResponseHead): void {
  switch (framing.kind) {
    case 'none':
      if (framing.declared !== undefined) lines.push(`Content-Length: ${framing.declared}`)
      return
    case 'length':
      lines.push(`Content-Length: ${framing.length}`)
      return
    case 'chunked': {
      lines.push(`Transfer-Encoding: ${[...framing.codings, 'chunked'].join(', ')}`)
      const announced = valuesOf(head.fields, 'trailer').join(', ')
      if (announced !== '') lines.push(`Trailer: ${announced}`)
      return
    }
    case 'until-close':
      if (framing.codings.length > 0) lines.push(`Transfer-Encoding: ${framing.codings.join(', ')}`)
      return
  }
}

/** Host and port of an authority without user info; undefined if it is malformed. */
export function parseAuthority(text: string, defaultPort: number | undefined): HostPort | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[^[\]:/?#@\\]+)(?::(\d{0,5}))?$/i.exec(text)
  if (match === null) return undefined
  const digits = match[2] ?? ''
  if (digits === '' && defaultPort === undefined) return undefined
  const port = digits === '' ? (defaultPort ?? 0) : Number(digits)
  if (port < 1 || port > 65535) return undefined
  // Heads are read as Latin-1; a name beyond ASCII was sent as UTF-8.
  const host = Buffer.from(match[1] ?? '', 'latin1').toString('utf8')
  return { host: host.startsWith('[') ? host.slice(1, -1) : host, port }
}

function finish(lines: string[]): Buffer {
  lines.push('', '')
  return Buffer.from(lines.join('\r\n'), 'latin1')
}

function bad(message: string): HttpError {
  return { type: 'error', status: 400, message }
}

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-support',
])

const SECRET: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'cookie'])

/** Fields that say how to read a message, where it goes, who sends it, or that concern one connection. */
const NO_TRAILER: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'host',
  'authorization',
  'www-authenticate',
  'cookie',
  'set-cookie',
  'content-encoding',
  'content-type',
  'content-range',
  'range',
  'expect',
  'max-forwards',
  'location',
  'cache-control',
  'via',
])

const LAST_CHUNK = Buffer.from('0\r\n\r\n')
/** Milliseconds. */
const CROSSING = 1000
