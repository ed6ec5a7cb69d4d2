/** CONNECT through a SOCKS5 proxy (RFC 1928), with user name and password if it wants them (RFC 1929). */
import { isIPv4, isIPv6 } from 'node:net'
import type { CallError } from '../errors.js'
import { endpointText } from '../text.js'
import {
  type Exchange,
  needsCredentials,
  type Progress,
  proxyError,
  type Upstream,
  upstreamText,
  wrongCredentials,
} from './upstream.js'

const VERSION = 5
const NO_AUTHENTICATION = 0
const USER_PASSWORD = 2
const NONE_ACCEPTABLE = 0xff
const COMMAND_CONNECT = 1
const ATYP_IPV4 = 1
const ATYP_NAME = 3
const ATYP_IPV6 = 4
/** The longest message of a proxy: a reply with a name. */
const MAX_MESSAGE = 262

export class SocksConnect implements Exchange {
  private readonly upstream: Upstream
  private readonly proxy: string
  private readonly host: string
  private readonly port: number
  private state: 'method' | 'password' | 'reply' = 'method'
  private held: Buffer = Buffer.alloc(0)

  /** `host` is a name or an address (a zone is not for others). */
  constructor(upstream: Upstream, host: string, port: number) {
    this.upstream = upstream
    this.proxy = upstreamText(upstream)
    this.host = host.replace(/%.*$/, '')
    this.port = port
  }

  start(): Uint8Array {
    this.state = 'method'
    this.held = Buffer.alloc(0)
    const methods =
      this.upstream.user === undefined ? [NO_AUTHENTICATION] : [NO_AUTHENTICATION, USER_PASSWORD]
    return Uint8Array.of(VERSION, methods.length, ...methods)
  }

  push(chunk: Uint8Array): Progress {
    this.held = Buffer.concat([this.held, chunk])
    const { held } = this
    if (held.length === 0) return { type: 'more' }
    switch (this.state) {
      case 'method':
        if (held[0] !== VERSION) throw this.notSocks()
        if (held.length < 2) return { type: 'more' }
        return this.method(held[1] ?? NONE_ACCEPTABLE, held.subarray(2))
      case 'password':
        if (held.length < 2) return { type: 'more' }
        // RFC 1929 2: the version of the negotiation, 1; some proxies say 5.
        if (held[1] !== 0) throw wrongCredentials(this.proxy)
        return this.next('reply', this.connectRequest(), held.subarray(2))
      case 'reply':
        return this.reply(held)
    }
  }

  private method(method: number, rest: Buffer): Progress {
    if (method === NO_AUTHENTICATION) return this.next('reply', this.connectRequest(), rest)
    const { user, password = '' } = this.upstream
    if (user === undefined) throw needsCredentials(this.proxy)
    if (method !== USER_PASSWORD) {
      throw method === NONE_ACCEPTABLE
        ? proxyError(
            'refused',
            'PROXY_AUTH_METHOD',
            `the proxy ${this.proxy} takes neither connections without log-in nor user name and password`,
          )
        : this.notSocks()
    }
    const name = Buffer.from(user, 'utf8')
    const secret = Buffer.from(password, 'utf8')
    if (name.length === 0 || name.length > 255 || secret.length === 0 || secret.length > 255) {
      const what = `SOCKS takes user names and passwords of 1 to 255 octets`
      throw proxyError('local', 'PROXY_CREDENTIALS_WRONG', `${what}, and those for ${this.proxy} are not`)
    }
    const request = Buffer.concat([Uint8Array.of(1, name.length), name, Uint8Array.of(secret.length), secret])
    return this.next('password', request, rest)
  }

  /** What came early belongs to the next state, which has not been asked for yet. */
  private next(state: 'password' | 'reply', send: Uint8Array, rest: Buffer): Progress {
    if (rest.length > 0) throw this.notSocks()
    this.state = state
    this.held = Buffer.alloc(0)
    return { type: 'more', send }
  }

  private connectRequest(): Uint8Array {
    const { host, port } = this
    const end = Uint8Array.of(port >>> 8, port & 0xff)
    const head = Uint8Array.of(VERSION, COMMAND_CONNECT, 0)
    if (isIPv4(host))
      return Buffer.concat([head, Uint8Array.of(ATYP_IPV4, ...host.split('.').map(Number)), end])
    if (isIPv6(host)) return Buffer.concat([head, Uint8Array.of(ATYP_IPV6), ipv6Octets(host), end])
    const name = Buffer.from(host, 'latin1')
    return Buffer.concat([head, Uint8Array.of(ATYP_NAME, name.length), name, end])
  }

  private reply(held: Buffer): Progress {
    if (held[0] !== VERSION) throw this.notSocks()
    if (held.length < 2) return { type: 'more' }
    // Some proxies send no address with a refusal.
    if (held[1] !== 0) throw this.refused(held[1] ?? 1)
    if (held.length < 5) return { type: 'more' }
    const length = { [ATYP_IPV4]: 4, [ATYP_IPV6]: 16, [ATYP_NAME]: 1 + (held[4] ?? 0) }[held[3] ?? 0]
    if (length === undefined) throw this.notSocks()
    const end = 4 + length + 2
    if (end > MAX_MESSAGE) throw this.notSocks()
    if (held.length < end) return { type: 'more' }
    return { type: 'open', rest: Buffer.from(held.subarray(end)) }
  }

  /** RFC 1928 6. */
  private refused(reply: number): CallError {
    const { proxy } = this
    const to = endpointText(this.host, this.port)
    switch (reply) {
      case 2:
        return proxyError(
          'unreachable',
          'PROXY_FORBIDDEN',
          `the proxy ${proxy} does not allow ${to}`,
          'perhaps it allows other ports only; ask whoever runs it',
        )
      case 3:
        return unreachable(`the proxy ${proxy} has no way to the network of ${to}`)
      case 4:
        return unreachable(
          `the proxy ${proxy} does not reach ${to}`,
          isIPv4(this.host) || isIPv6(this.host)
            ? undefined
            : 'perhaps it does not know the name: check the spelling',
        )
      case 5:
        return unreachable(`nobody listens on ${to}, says the proxy ${proxy}`, 'check host and port')
      case 6:
        return proxyError('unreachable', 'PROXY_TARGET_TIMEOUT', `${to} does not answer the proxy ${proxy}`)
      case 7:
        return proxyError('protocol', 'PROXY_NOT_PROXY', `the proxy ${proxy} does not take CONNECT`)
      case 8:
        return proxyError(
          'protocol',
          'PROXY_REFUSED',
          `the proxy ${proxy} does not take such an address: ${to}`,
          this.upstream.scheme === 'socks5' ? 'socks5h:// lets the proxy resolve the name' : 'try socks5://',
        )
      case 1:
        return unreachable(`the proxy ${proxy} failed to reach ${to}, and does not say why`)
      default:
        return unreachable(`the proxy ${proxy} refuses ${to} (reply ${reply})`)
    }
  }

  private notSocks(): CallError {
    return proxyError(
      'protocol',
      'PROXY_PROTOCOL',
      `${this.proxy} does not answer like a SOCKS5 proxy`,
      'perhaps it is of another kind (http://): check --upstream',
    )
  }

  ended(): CallError {
    return proxyError(
      'unreachable',
      'PROXY_CLOSED',
      `the proxy ${this.proxy} hung up without an answer`,
      'perhaps it is of another kind (http://, https://), or takes no connections from here',
    )
  }
}

function unreachable(message: string, hint?: string): CallError {
  return proxyError('unreachable', 'PROXY_CANNOT_REACH', message, hint)
}

/** Of an address that `isIPv6` takes, without zone. */
function ipv6Octets(text: string): Uint8Array {
  // A dotted end is two groups.
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) =>
    [(Number(a) << 8) | Number(b), (Number(c) << 8) | Number(d)].map((n) => n.toString(16)).join(':'),
  )
  const [before = '', after] = plain.split('::')
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((g) => Number.parseInt(g, 16))
  const [head, tail] = [groups(before), groups(after ?? '')]
  const gap = after === undefined ? [] : new Array<number>(8 - head.length - tail.length).fill(0)
  return Uint8Array.from([...head, ...gap, ...tail].flatMap((g) => [g >>> 8, g & 0xff]))
}
