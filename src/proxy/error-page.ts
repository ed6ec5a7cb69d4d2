import { STATUS_CODES } from 'node:http'
import type { HostPort } from '../tunnel/dialer.js'
import { listOf, type RequestHead } from './http-message.js'

/** For whom an answer is. */
export interface Asker {
  readonly method: string
  /** A browser, which wants to show a page. */
  readonly html: boolean
}

export interface ErrorDetails {
  readonly asker?: Asker
  /** Where the request was to go. */
  readonly to?: HostPort
  /** RFC 9209 2.3. */
  readonly proxyStatus?: string
  /** Header lines to go with it. */
  readonly fields?: readonly string[]
  /** Default `close`; undefined leaves it to the version. */
  readonly connection?: 'close' | 'keep-alive' | undefined
}

export function askerOf(head: RequestHead): Asker {
  const html = listOf(head.fields, 'accept').some(
    (range) => /^text\/html\s*(;|$)/.test(range) && !/;\s*q=0(\.0*)?\s*(;|$)/.test(range),
  )
  return { method: head.method, html }
}

/** A whole answer of our own that says what is wrong, and what to do about it. */
export function emitError(status: number, message: string, details: ErrorDetails = {}): Buffer {
  const { asker, to, proxyStatus, fields = [] } = details
  const connection = 'connection' in details ? details.connection : 'close'
  const name = `${status} ${STATUS_CODES[status] ?? ''}`.trim()
  const reason = printable(message)
  const advice = adviceFor(status, proxyStatus)
  const asked = to === undefined ? undefined : printable(authorityOf(to))
  const html = asker?.html === true
  const body = Buffer.from(html ? page(name, reason, asked, advice) : text(name, reason, asked, advice))
  const lines = [
    `HTTP/1.1 ${name}`,
    `Content-Type: ${html ? 'text/html' : 'text/plain'}; charset=utf-8`,
    'X-Content-Type-Options: nosniff',
    'Cache-Control: no-store',
    `Content-Length: ${body.length}`,
  ]
  // The page stands where the site's own would: nothing in it may run.
  if (html) lines.push("Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'")
  if (proxyStatus !== undefined)
    lines.push(`Proxy-Status: sstp; error=${proxyStatus}; details=${sfString(reason)}`)
  if (status === 503) lines.push(`Retry-After: ${RETRY_AFTER}`)
  lines.push(...fields)
  if (connection !== undefined) lines.push(`Connection: ${connection}`)
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  return asker?.method === 'HEAD' ? head : Buffer.concat([head, body])
}

function text(name: string, reason: string, asked: string | undefined, advice: string | undefined): string {
  const lines = [`${name}: ${reason}`]
  if (asked !== undefined) lines.push(`Asked for: ${asked}`)
  if (advice !== undefined) lines.push(advice)
  return `${lines.join('\n')}\n`
}

function page(name: string, reason: string, asked: string | undefined, advice: string | undefined): string {
  const what = asked === undefined ? '' : `<p>Asked for: <b>${escapeHtml(asked)}</b></p>\n`
  const help = advice === undefined ? '' : `<p>${escapeHtml(advice)}</p>\n`
  return `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(name)}</title>
<style>body{font:16px/1.5 sans-serif;max-width:40em;margin:3em auto;padding:0 1em;overflow-wrap:anywhere}</style>
<h1>${escapeHtml(name)}</h1>
<p>${escapeHtml(reason)}</p>
${what}${help}<hr>
<p><small>This page comes from the proxy sstp-socks, not from the site.</small></p>
</html>
`
}

/** What somebody can do about it. */
function adviceFor(status: number, proxyStatus: string | undefined): string | undefined {
  return (proxyStatus === undefined ? undefined : ADVICE[proxyStatus]) ?? STATUS_ADVICE[status]
}

const ADVICE: Readonly<Record<string, string>> = {
  connection_refused:
    'The host was reached, and nothing serves that port there, or a firewall says so. Check the port.',
  connection_terminated:
    'The connection was made and then broken off. Try again; if it stays so, look at the server.',
  connection_timeout: 'The host may be off, or a firewall drops what is sent to it. Check host and port.',
  connection_limit_reached: 'The proxy has no room for another connection now. Close some, and try again.',
  destination_ip_unroutable:
    'The network behind the VPN server does not lead there. Check the address, and whether the VPN is the right one.',
  destination_unavailable:
    'The VPN tunnel is down; it is brought up again unless reconnecting is off. Try again in some seconds.',
  dns_error:
    'Names are looked up by the name servers behind the VPN. Check the spelling; try the full name, or --search and --dns.',
  dns_timeout: 'The name servers behind the VPN do not answer. Try again, or give another one with --dns.',
  http_protocol_error: 'What listens there does not speak HTTP as it should. Check host and port.',
  http_request_denied: 'The rules of this proxy do not let it go there.',
  proxy_internal_error: 'This is a fault of the proxy; its log says more.',
}

const STATUS_ADVICE: Readonly<Record<number, string>> = {
  407: 'Give your program the user name and the password of this proxy.',
  431: 'Perhaps there are too many cookies for this site.',
}

function authorityOf({ host, port }: HostPort): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** One line, without anything that moves the text about. */
function printable(message: string): string {
  const line = message.replace(UNPRINTABLE, '?')
  return line.length > MAX_TEXT ? `${line.slice(0, MAX_TEXT)}…` : line
}

function escapeHtml(line: string): string {
  return line.replace(/[&<>"'`]/g, (c) => `&#${c.charCodeAt(0)};`)
}

/** RFC 8941 3.3.3. */
function sfString(line: string): string {
  return `"${line.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')}"`
}

/** Controls, line and paragraph separators, marks of direction, halves of characters. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu
const MAX_TEXT = 500
/** Seconds. */
const RETRY_AFTER = 5
