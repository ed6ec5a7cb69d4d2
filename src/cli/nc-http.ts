/** The client's side of CONNECT (RFC 9110 9.3.6): bytes in, values out. */
import { type Conversation, NcFailure, type ProxyLogin, STATUS, type Step } from './nc-conversation.js'

export class HttpConversation implements Conversation {
  readonly first: Uint8Array
  #head = Buffer.alloc(0)

  /** `authority`: host and port, IPv6 in brackets. */
  constructor(authority: string, login: ProxyLogin | undefined) {
    const lines = [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`]
    if (login !== undefined) {
      const credentials = Buffer.from(`${login.user}:${login.password}`).toString('base64')
      lines.push(`Proxy-Authorization: Basic ${credentials}`)
    }
    this.first = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`)
  }

  push(chunk: Uint8Array): Step {
    this.#head = Buffer.concat([this.#head, chunk])
    const end = this.#head.indexOf('\r\n\r\n')
    if (end < 0) {
      const begins = this.#head.subarray(0, 5).toString('latin1')
      if (this.#head.length > MAX_HEAD || !'HTTP/'.startsWith(begins)) throw notHttp()
      return { type: 'more' }
    }
    const head = this.#head.subarray(0, end).toString('latin1')
    const [, digits] = /^HTTP\/1\.[01] ([0-9]{3})(?: |\r|$)/.exec(head) ?? []
    if (digits === undefined) throw notHttp()
    const status = Number(digits)
    if (status >= 200 && status < 300) return { type: 'connected', rest: this.#head.subarray(end + 4) }
    throw failure(status, head)
  }
}

/** Errors of Proxy-Status (RFC 9209 2.3), as the replies of RFC 1928 that they stand for. */
const ERRORS: Readonly<Record<string, number>> = {
  http_request_denied: 2,
  destination_ip_unroutable: 4,
  destination_not_found: 4,
  dns_error: 4,
  connection_refused: 5,
  connection_timeout: 6,
  dns_timeout: 6,
}

function failure(status: number, head: string): NcFailure {
  if (status === 407) {
    return new NcFailure(
      'the proxy does not take this user name and password, or wants one: see --proxy-user',
      STATUS.credentials,
    )
  }
  const [, error = ''] = /^proxy-status:.*?;\s*error=([a-z_]+)/im.exec(head) ?? []
  const reply = ERRORS[error] ?? (status === 403 ? 2 : status === 504 ? 6 : 1)
  const why = error === '' ? '' : `, ${error.replaceAll('_', ' ')}`
  return new NcFailure(`the proxy answered ${status}${why}`, STATUS.reply + reply)
}

function notHttp(): NcFailure {
  return new NcFailure('what listens there is no HTTP proxy', STATUS.protocol)
}

const MAX_HEAD = 65_536
