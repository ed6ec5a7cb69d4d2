/**
 * The HTTP exchange in front of SSTP (MS-SSTP 3.2.4.1, 3.3.5.1): one request head, one response head, and
 * then no HTTP any more. Sans-I/O, both ends.
 */
import { CallError } from './errors.js'

export const SSTP_METHOD = 'SSTP_DUPLEX_POST'
export const SSTP_PATH = '/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/'
/** 2^64 - 1: not a JavaScript number, so it stays text. */
const CONTENT_LENGTH = '18446744073709551615'

/** A head longer than this is no SSTP server's, nor a client's. */
export const MAX_HEAD = 16_384

/** Octets of a refused response's body that are looked at for the message. */
const MAX_BODY = 2048

/**
 * `host` is a name or an address, `guid` 16 random octets for the logs of both ends; `field` is the value of
 * Host if it is to be another.
 */
export function requestHead(host: string, port: number, guid: Uint8Array, field?: string): Uint8Array {
  // A zone is ours alone (RFC 4007 11).
  const literal = host.includes(':') ? `[${host.replace(/%.*$/, '')}]` : host
  const authority = field ?? (port === 443 ? literal : `${literal}:${port}`)
  const head =
    `${SSTP_METHOD} ${SSTP_PATH} HTTP/1.1\r\n` +
    `Content-Length: ${CONTENT_LENGTH}\r\n` +
    `Host: ${authority}\r\n` +
    `SSTPCORRELATIONID: {${guidText(guid)}}\r\n\r\n`
  return Buffer.from(head, 'latin1')
}

/** RFC 9562 version 4 text, upper case as Windows writes it. */
function guidText(random: Uint8Array): string {
  const b = Buffer.from(random.subarray(0, 16))
  b.writeUInt8((b.readUInt8(6) & 0x0f) | 0x40, 6)
  b.writeUInt8((b.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = b.toString('hex').toUpperCase()
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The status line and fields of a head; names in lower case. */
export interface Head {
  readonly first: string
  readonly fields: ReadonlyMap<string, string>
}

/**
 * Gathers one head. Feed it until it has one; `rest` is what came behind, which already is SSTP.
 */
export class HeadReader {
  private readonly prefix: string
  private held: Buffer = Buffer.alloc(0)
  /** The memory of `held`, if it came in pieces. */
  private room: Buffer = Buffer.alloc(0)
  head: Head | undefined
  rest: Buffer = Buffer.alloc(0)

  /** `prefix`: what the head must begin with, if that is known. */
  constructor(prefix = '') {
    this.prefix = prefix
  }

  /** @returns `more`, `done`, or `bad`: too long, or not HTTP */
  push(b: Uint8Array, off: number, len: number): 'more' | 'done' | 'bad' {
    if (this.head !== undefined) return 'done'
    // What comes behind a head in the same chunk is SSTP already, so a chunk may be longer than a head.
    const from = Math.max(0, this.held.length - 3)
    this.held = this.held.length === 0 ? Buffer.from(b.subarray(off, off + len)) : this.joined(b, off, len)
    const begin = this.held.toString('latin1', 0, this.prefix.length)
    if (!this.prefix.startsWith(begin)) return 'bad'
    const end = this.held.indexOf('\r\n\r\n', from)
    if (end < 0 || end > MAX_HEAD) {
      return this.held.length > MAX_HEAD || !couldBeHttp(this.held) ? 'bad' : 'more'
    }
    const head = parseHead(this.held.toString('latin1', 0, end))
    if (head === undefined) return 'bad'
    this.head = head
    this.rest = this.held.subarray(end + 4)
    this.held = Buffer.alloc(0)
    return 'done'
  }

  /** Grows by doubling, so that a head sent octet by octet is not copied with each of them. */
  private joined(b: Uint8Array, off: number, len: number): Buffer {
    const { held } = this
    const length = held.length + len
    if (length <= this.room.length) {
      this.room.set(b.subarray(off, off + len), held.length)
    } else {
      const room = Buffer.alloc(Math.max(2 * length, 1024))
      room.set(held)
      room.set(b.subarray(off, off + len), held.length)
      this.room = room
    }
    return this.room.subarray(0, length)
  }

  /** Octets gathered that do not make a head yet. */
  get pending(): number {
    return this.held.length
  }
}

/** Text so far, without octets that no head has: binary protocols show themselves at once. */
function couldBeHttp(b: Buffer): boolean {
  for (let i = 0; i < Math.min(b.length, 64); i++) {
    const c = b[i] ?? 0
    if (c < 32 && c !== 9 && c !== 10 && c !== 13) return false
  }
  return true
}

function parseHead(text: string): Head | undefined {
  const [first = '', ...lines] = text.split('\r\n')
  const fields = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon <= 0 || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(line.slice(0, colon))) return undefined
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    const before = fields.get(name)
    fields.set(name, before === undefined ? value : `${before}, ${value}`)
  }
  return { first, fields }
}

/** Status of a response, or undefined if the first line is not one. The reason may be empty or missing. */
export function responseStatus(head: Head): { readonly status: number; readonly reason: string } | undefined {
  const m = /^HTTP\/1\.[0-9] ([0-9]{3})(?: (.*))?$/.exec(head.first)
  return m === null ? undefined : { status: Number(m[1]), reason: m[2] ?? '' }
}

/** What to tell the user about an answer that is not 200. `body` is the start of its text. */
export function refusal(head: Head, body: string): CallError {
  const answer = responseStatus(head)
  if (answer === undefined) return notHttp()
  const { status, reason } = answer
  const server = clean(head.fields.get('server') ?? '')
  const said = `the server answered ${status}${reason === '' ? '' : ` ${clean(reason)}`}`
  const who = server === '' ? '' : ` (Server: ${server})`
  const message = `${said}${who}: ${meaning(status)}`
  const title = /<title>([^<]{1,100})<\/title>/i.exec(body.slice(0, MAX_BODY))?.[1]
  const hint = [hints(status), title === undefined ? '' : `its page says "${clean(title)}"`]
    .filter((s) => s !== '')
    .join('; ')
  return new CallError('http', kind(status), code(status), message, hint === '' ? undefined : hint)
}

/** The other end does not answer in HTTP at all. */
export function notHttp(): CallError {
  return new CallError(
    'http',
    'protocol',
    'HTTP_NOT_HTTP',
    'the answer is not HTTP: not an SSTP server',
    'check host and port; SSTP usually is on 443',
  )
}

/** TLS was closed instead of an answer: what sstp-server and many firewalls do to what they do not like. */
export function closedWithoutAnswer(): CallError {
  return new CallError(
    'http',
    'protocol',
    'HTTP_CLOSED',
    'the server closed the connection without an answer: not an SSTP server, or something in between refuses SSTP',
  )
}

function kind(status: number): 'protocol' | 'unreachable' {
  return status === 502 || status === 503 || status === 504 ? 'unreachable' : 'protocol'
}

function code(status: number): string {
  return status === 502 || status === 503 || status === 504 ? 'HTTP_UNAVAILABLE' : 'HTTP_NOT_SSTP'
}

function meaning(status: number): string {
  switch (status) {
    case 400:
      return 'something on the way does not pass the SSTP method; not an SSTP server'
    case 401:
      return 'a gateway in front of it wants a log-in; not an SSTP server'
    case 403:
      return 'a gateway or firewall refuses'
    case 404:
      return 'a web server without SSTP at this name; not an SSTP server'
    case 407:
      return 'a proxy on the way wants a log-in'
    case 502:
    case 503:
    case 504:
      return 'the service is down or full'
    default:
      if (status >= 300 && status < 400) return 'a web server that sends elsewhere; not an SSTP server'
      if (status >= 200 && status < 300) return 'a web server, not an SSTP server'
      return 'a web server, not an SSTP server'
  }
}

function hints(status: number): string {
  if (status === 404) return 'check host name and port, and that SSTP is enabled there'
  if (status === 502 || status === 503 || status === 504) return 'try again later'
  return 'check host name and port'
}

/** Foreign text made fit for one line. */
function clean(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 120)
}

/** 200 as servers send it; the length says that the body never ends. */
export function acceptHead(date: string): Uint8Array {
  return Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Length: ${CONTENT_LENGTH}\r\nServer: sstp-socks\r\nDate: ${date}\r\n\r\n`,
    'latin1',
  )
}

/** How a server judges a request head: 200, or the status to refuse with. */
export function judgeRequest(head: Head): number {
  const m = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) (HTTP\/[0-9.]+)$/.exec(head.first)
  if (m === null) return 400
  const [, method, path = '', version] = m
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0') return 400
  if (method !== SSTP_METHOD) return path.toLowerCase() === SSTP_PATH.toLowerCase() ? 405 : 404
  return path.toLowerCase() === SSTP_PATH.toLowerCase() ? 200 : 404
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  503: 'Service Unavailable',
}

export function refuseHead(status: number): Uint8Array {
  const allow = status === 405 ? `Allow: ${SSTP_METHOD}\r\n` : ''
  const head = `HTTP/1.1 ${status} ${REASONS[status] ?? 'Error'}\r\n${allow}Content-Length: 0\r\nConnection: close\r\n\r\n`
  return Buffer.from(head, 'latin1')
}
