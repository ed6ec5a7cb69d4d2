/** CONNECT through an HTTP proxy (RFC 9110 9.3.6). */
import type { CallError } from '../errors.js'
import { type Head, HeadReader, responseStatus } from '../http-handshake.js'
import { authorize, type Challenge, challengeText, parseChallenges, pickChallenge } from './http-auth.js'
import {
  type Exchange,
  needsCredentials,
  type Progress,
  proxyError,
  type Upstream,
  upstreamText,
  wrongCredentials,
} from './upstream.js'

/** The body of a 407 that is read over so that the connection can be used again. */
const MAX_BODY = 65_536
/** Requests on all connections: without credentials, with them, with a fresh nonce. */
const MAX_REQUESTS = 4
const MAX_INTERIM = 8

export class HttpConnect implements Exchange {
  private readonly upstream: Upstream
  private readonly proxy: string
  private readonly target: string
  private readonly cnonce: () => string
  private reader = new HeadReader('HTTP/')
  private requests = 0
  private interim = 0
  private challenge: Challenge | undefined
  /** Requests with the challenge's nonce. */
  private answered = 0
  /** Octets of a body still to be read over, before the next request goes out. */
  private body = 0
  /** A 407 came on this connection, and nothing since. */
  private reused = false

  /** `target` is `host:port`; `cnonce` gives fresh hex digits each time. */
  constructor(upstream: Upstream, target: string, cnonce: () => string) {
    this.upstream = upstream
    this.proxy = upstreamText(upstream)
    this.target = target
    this.cnonce = cnonce
  }

  start(): Uint8Array {
    this.reader = new HeadReader('HTTP/')
    this.body = 0
    this.reused = false
    return this.request()
  }

  private request(): Uint8Array {
    this.requests++
    const { target, challenge } = this
    const sign =
      challenge === undefined
        ? undefined
        : authorize(challenge, {
            user: this.upstream.user ?? '',
            password: this.upstream.password ?? '',
            method: 'CONNECT',
            uri: target,
            cnonce: this.cnonce(),
            count: ++this.answered,
          })
    // SSTPVERSION is what Windows sends to proxies (MS-SSTP 3.2.4.1).
    const head =
      `CONNECT ${target} HTTP/1.1\r\n` +
      `Host: ${target}\r\n` +
      (sign === undefined ? '' : `Proxy-Authorization: ${sign}\r\n`) +
      'User-Agent: sstp-socks\r\n' +
      'Proxy-Connection: keep-alive\r\n' +
      'SSTPVERSION: 1.0\r\n\r\n'
    return Buffer.from(head, 'utf8')
  }

  push(chunk: Uint8Array): Progress {
    let b = chunk
    if (this.body > 0) {
      const n = Math.min(this.body, b.length)
      this.body -= n
      if (this.body > 0) return { type: 'more' }
      // A proxy does not answer what it was not asked yet.
      if (b.length > n) throw this.nonsense('it answers more than it was asked')
      return { type: 'more', send: this.request() }
    }
    for (;;) {
      const state = this.reader.push(b, 0, b.length)
      if (state === 'more') return { type: 'more' }
      const { head, rest } = this.reader
      const answer = head === undefined ? undefined : responseStatus(head)
      if (head === undefined || answer === undefined) throw this.nonsense('it is not an HTTP proxy')
      const { status } = answer
      // A body has no place behind the head of a 2xx (RFC 9110 9.3.6): what comes is the server's.
      if (status >= 200 && status < 300) return { type: 'open', rest: Buffer.from(rest) }
      if (status === 407) return this.challenged(head, rest)
      if (status >= 200 || status === 101 || ++this.interim > MAX_INTERIM) throw this.refused(head, rest)
      this.reader = new HeadReader('HTTP/')
      b = rest
      if (b.length === 0) return { type: 'more' }
    }
  }

  private challenged(head: Head, rest: Buffer): Progress {
    const { upstream, proxy } = this
    const challenges = parseChallenges(head.fields.get('proxy-authenticate') ?? '')
    const challenge = pickChallenge(challenges)
    // Of a method that is not known here nobody is asked for a password.
    if (challenge === undefined && challenges.length > 0) throw this.noMethod(challenges)
    if (upstream.user === undefined) throw needsCredentials(proxy)
    if (challenge === undefined) throw this.noMethod(challenges)
    const stale = challenge.params.get('stale')?.toLowerCase() === 'true' && challenge.scheme === 'digest'
    if (this.challenge !== undefined && !stale) throw wrongCredentials(proxy)
    if (this.requests >= MAX_REQUESTS) throw this.nonsense('it asks for the credentials again and again')
    if (challenge.scheme === 'basic' && upstream.user.includes(':')) {
      throw proxyError('local', 'PROXY_CREDENTIALS_WRONG', `a user name for ${proxy} cannot hold a colon`)
    }
    this.challenge = challenge
    this.answered = 0
    this.reader = new HeadReader('HTTP/')
    const length = reusable(head)
    if (length === undefined || rest.length > length) return { type: 'again' }
    this.body = length - rest.length
    this.reused = true
    return this.body > 0 ? { type: 'more' } : { type: 'more', send: this.request() }
  }

  private noMethod(challenges: readonly Challenge[]): CallError {
    const schemes = [...new Set(challenges.map(challengeText))].join(', ').slice(0, 100)
    const what = schemes === '' ? 'a log-in of a kind that it does not name' : `a log-in by ${schemes}`
    return proxyError(
      'refused',
      'PROXY_AUTH_METHOD',
      `the proxy ${this.proxy} wants ${what}, and only Basic and Digest (MD5, SHA-256, SHA-512-256; qop=auth) are known here`,
      'a local helper that signs in to Windows proxies (cntlm, px) can stand in between: give it as --upstream',
    )
  }

  private refused(head: Head, rest: Buffer): CallError {
    const { proxy, target } = this
    const { status = 0, reason = '' } = responseStatus(head) ?? {}
    const said = `${status} ${reason}`
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim()
      .slice(0, 100)
    const page = `${head.fields.get('x-squid-error') ?? ''} ${rest.toString('latin1', 0, 2048)}`
    switch (status) {
      case 403:
      case 405:
        return proxyError(
          'unreachable',
          'PROXY_FORBIDDEN',
          `the proxy ${proxy} does not allow ${target} (${said})`,
          'many proxies allow CONNECT to port 443 only; ask whoever runs it',
        )
      case 400:
      case 404:
      case 501:
        return proxyError(
          'protocol',
          'PROXY_NOT_PROXY',
          `${proxy} does not take CONNECT (${said})`,
          'perhaps a web server and not a proxy: check --upstream',
        )
    }
    if (
      /ERR_DNS_FAIL|host (?:not found|unknown)|unknown host|could not resolve|name or service/i.test(page)
    ) {
      return proxyError(
        'unreachable',
        'PROXY_CANNOT_RESOLVE',
        `the proxy ${proxy} finds no host of that name: ${target} (${said})`,
        'check the spelling; a name that only this computer knows must be given as an address',
      )
    }
    if (status === 504) {
      return proxyError(
        'unreachable',
        'PROXY_TARGET_TIMEOUT',
        `${target} does not answer the proxy ${proxy} (${said})`,
      )
    }
    if (status >= 500) {
      return proxyError(
        'unreachable',
        'PROXY_CANNOT_REACH',
        `the proxy ${proxy} cannot reach ${target} (${said})`,
      )
    }
    return proxyError('protocol', 'PROXY_REFUSED', `the proxy ${proxy} refuses ${target} (${said})`)
  }

  private nonsense(why: string): CallError {
    return proxyError(
      'protocol',
      'PROXY_PROTOCOL',
      `the proxy ${this.proxy} answers nonsense: ${why}`,
      'check --upstream',
    )
  }

  ended(): CallError | 'again' {
    // Many a proxy closes behind a 407 without having said so.
    if (this.reused && this.reader.pending === 0) return 'again'
    if (this.reader.pending > 0) return this.nonsense('it hangs up in the middle of an answer')
    return proxyError(
      'unreachable',
      'PROXY_CLOSED',
      `the proxy ${this.proxy} hung up without an answer`,
      'perhaps it is of another kind (http://, https://, socks5://): check --upstream',
    )
  }
}

/** The length of a body behind which the connection can be used again; undefined: it cannot. RFC 9112 9.3 */
function reusable({ first, fields }: Head): number | undefined {
  const options = `${fields.get('connection') ?? ''},${fields.get('proxy-connection') ?? ''}`.toLowerCase()
  if (/(?:^|,)\s*close\s*(?:,|$)/.test(options)) return undefined
  if (!first.startsWith('HTTP/1.1') && !/keep-alive/.test(options)) return undefined
  const length = fields.get('content-length')
  if (fields.has('transfer-encoding') || length === undefined || !/^[0-9]{1,6}$/.test(length))
    return undefined
  return Number(length) > MAX_BODY ? undefined : Number(length)
}
