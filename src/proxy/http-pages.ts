import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { askerOf, emitError } from './error-page.js'
import { parseAuthority } from './http-head.js'
import { type RequestHead, valuesOf } from './http-message.js'
import type { Pages } from './pages.js'

/** An answer to a request that is for the proxy itself. */
export interface PageAnswer {
  readonly bytes: Buffer
  /** Why there is no page: the connection ends behind the answer. */
  readonly refused: string | undefined
}

/**
 * Answers a request in origin-form (RFC 9112 3.2.1). `self`: address and port at which the client reached us;
 * `connection`: what to tell it of its own.
 *
 * A site's script can make a browser ask here. It must learn nothing: by a name of its own that leads here
 * (DNS rebinding) there are no pages; and as a PAC file is a script, it must not be taken for one by other pages.
 */
export function answerPage(
  head: RequestHead,
  pages: Pages | undefined,
  self: string,
  connection: 'close' | 'keep-alive' | undefined,
): PageAnswer {
  const asker = askerOf(head)
  const refuse = (status: number, refused: string, ...fields: string[]): PageAnswer => ({
    bytes: emitError(status, refused, { asker, fields }),
    refused,
  })
  // Who may be a site's script does not even learn what this is.
  const turnAway = (status: number, refused: string): PageAnswer => ({
    bytes: emitError(status, refused, { asker: { method: head.method, html: false } }),
    refused,
  })
  const query = head.target.indexOf('?')
  const path = query < 0 ? head.target : head.target.slice(0, query)
  const asked = valuesOf(head.fields, 'host')[0]
  if (asked === undefined && head.minor === 1) return refuse(400, 'there is no Host field')
  const host = asked ?? self
  const to = parseAuthority(host, 80)
  if (to === undefined || !PLAIN.test(host)) return refuse(400, 'the Host field is malformed')
  if (!isOurs(to.host, path)) return turnAway(421, 'open this by its address, not by a name')
  if (isOtherSite(head)) return turnAway(403, 'other sites have no access to this')
  const found = pages?.page(path, host)
  if (found === undefined) {
    return refuse(
      404,
      'this is a proxy, not a web server: set it as HTTP proxy in your program instead of opening it as a page',
    )
  }
  if (head.method !== 'GET' && head.method !== 'HEAD')
    return refuse(405, 'this page can only be read', 'Allow: GET, HEAD')
  const body = Buffer.from(found.body)
  const lines = [
    'HTTP/1.1 200 OK',
    `Content-Type: ${found.type}`,
    `Content-Length: ${body.length}`,
    'Cache-Control: no-cache',
    'X-Content-Type-Options: nosniff',
    'Cross-Origin-Resource-Policy: same-origin',
  ]
  if (connection !== undefined) lines.push(`Connection: ${connection}`)
  const start = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  return { bytes: head.method === 'HEAD' ? start : Buffer.concat([start, body]), refused: undefined }
}

/** No name that a foreign name server could lead here. */
function isOurs(host: string, path: string): boolean {
  const name = host.toLowerCase()
  if (isIP(name) !== 0 || name === 'localhost' || name.endsWith('.localhost')) return true
  // WPAD asks for this name; a single label belongs to nobody on the Internet.
  if (name === 'wpad' && path === '/wpad.dat') return true
  const own = hostname().toLowerCase()
  return own !== '' && (name === own || name === `${own}.local`)
}

/** A browser says when a page of elsewhere asks; to follow a link shows that page nothing. */
function isOtherSite(head: RequestHead): boolean {
  const site = valuesOf(head.fields, 'sec-fetch-site')[0]
  const mode = valuesOf(head.fields, 'sec-fetch-mode')[0]
  return (site === 'cross-site' || site === 'same-site') && mode !== 'navigate'
}

const PLAIN = /^[a-z0-9.:[\]_-]+$/i
