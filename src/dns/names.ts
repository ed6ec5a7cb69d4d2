import { isIPv4, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import ipaddr from 'ipaddr.js'
import type { DialErrorCode } from '../tunnel/dialer.js'

/** What a host in text turns out to be, before any DNS server hears of it. */
export type Host =
  | { readonly kind: 'address'; readonly address: string; readonly family: 4 | 6 }
  /** Lower case, A-labels only, no final dot. */
  | { readonly kind: 'name'; readonly name: string }
  | BadHost

export interface BadHost {
  readonly kind: 'bad'
  readonly code: DialErrorCode
  readonly message: string
}

export interface NameRules {
  /**
   * Suffixes that the tunnel's servers answer for although their top label is special
   * (`corp.local` of a Windows domain). Without a leading dot.
   */
  readonly claimed?: readonly string[]
  /** Names that somebody has given an address, whatever is special about them. */
  readonly isKnown?: (name: string) => boolean
}

/** Whether a host is an address, a name to be asked for, or nothing that a tunnel can reach. */
export function classifyHost(text: string, rules: NameRules = {}): Host {
  if (text.length > MAX_TEXT) return bad('name-invalid', 'the host name is too long')
  if (text.includes(':') || text.startsWith('[')) return classifyIpv6(text)
  // Only four plain decimal parts are an address: 0x7f.1, 017.0.0.1 and 127.1 mean different hosts to
  // different readers, which is how filters are got round.
  if (isIPv4(text)) return { kind: 'address', address: text, family: 4 }
  const name = normalizeName(text)
  if (name === undefined) return bad('name-invalid', `${printable(text)} is not a host name`)
  if (endsInNumber(name)) {
    return bad('name-invalid', `${printable(text)} is neither a host name nor a plain IPv4 address`)
  }
  return specialName(name, rules) ?? { kind: 'name', name }
}

/** The name in A-labels, lower case and without its final dot; undefined if it is not a host name. */
export function normalizeName(text: string): string | undefined {
  let name = text
  if (NON_ASCII.test(text)) {
    // domainToASCII reads a URL's host: it would stop at a slash, decode %2e and read numbers as addresses.
    if (/[^a-z0-9._\-\u0080-\uffff]/i.test(text)) return undefined
    name = domainToASCII(text)
  }
  if (name.endsWith('.')) name = name.slice(0, -1)
  if (name.length === 0 || name.length > MAX_NAME) return undefined
  for (const label of name.split('.')) if (!LABEL.test(label)) return undefined
  return name.toLowerCase()
}

/**
 * Whether a message can hold a name, be it a host's or not: names of the reverse zones may have slashes in them (RFC
 * 2317 4).
 */
export function isAskable(name: string): boolean {
  return name.length <= MAX_NAME && name.split('.').every((label) => ANY_LABEL.test(label))
}

/** An address in its one canonical text form; undefined if it is none (or has a zone). */
export function normalizeAddress(text: string): string | undefined {
  if (isIPv4(text)) return text
  const host = classifyIpv6(text)
  return host.kind === 'address' ? host.address : undefined
}

/** The name under which DNS has the name of an address (RFC 1035 3.5, RFC 3596 2.5); `address` in canonical form. */
export function reverseName(address: string): string {
  const bytes = ipaddr.parse(address).toByteArray().reverse()
  if (bytes.length === 4) return `${bytes.join('.')}.in-addr.arpa`
  const nibbles = bytes.flatMap((octet) => [octet & 15, octet >> 4])
  return `${nibbles.map((nibble) => nibble.toString(16)).join('.')}.ip6.arpa`
}

/**
 * Whether an address can be a destination behind a tunnel: not this host, not a link's own, not a group.
 * The address is in canonical form.
 */
export function isOrdinaryAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.parse(address)
  switch (parsed.range()) {
    case 'unspecified':
    case 'loopback':
    case 'linkLocal':
    case 'multicast':
    case 'broadcast':
      return false
    default:
      return true
  }
}

function classifyIpv6(text: string): Host {
  const bracketed = text.startsWith('[') && text.endsWith(']')
  const inner = bracketed ? text.slice(1, -1) : text
  if (bracketed && isIPv4(inner)) return { kind: 'address', address: inner, family: 4 }
  // A zone names a link of one machine, which is not ours. ipaddr.js reads any dotted tail as a mapped
  // IPv4 address, so only the prefix that means this may have one.
  const dotted = inner.includes('.')
  if (
    inner.includes('%') ||
    !isIPv6(inner) ||
    (dotted && !MAPPED.test(inner)) ||
    !ipaddr.IPv6.isValid(inner)
  ) {
    return bad('name-invalid', `${printable(text)} is not an IPv6 address`)
  }
  const parsed = ipaddr.IPv6.parse(inner)
  // No mapped address travels on a wire (RFC 4038 4.2): what is meant is the IPv4 host.
  if (parsed.isIPv4MappedAddress()) {
    return { kind: 'address', address: parsed.toIPv4Address().toString(), family: 4 }
  }
  return { kind: 'address', address: parsed.toRFC5952String(), family: 6 }
}

/** Why a name is decided before any query (RFC 6761 and its like); undefined if it is not. */
export function specialName(name: string, rules: NameRules = {}): BadHost | undefined {
  if (rules.isKnown?.(name) === true) return undefined
  const top = name.slice(name.lastIndexOf('.') + 1)
  switch (top) {
    case 'localhost':
      // RFC 6761 6.3: it would be whoever asks, not a host behind the tunnel.
      return bad('not-allowed', `${name} is the asking machine itself`)
    case 'onion': // RFC 7686
    case 'alt': // RFC 9476
    case 'invalid': // RFC 6761 6.4
      return bad('name-not-found', `.${top} names do not exist in DNS`)
    case 'local':
      // RFC 6762: multicast DNS, which does not cross a tunnel; Windows domains use it all the same.
      if (rules.claimed?.some((suffix) => isWithin(name, suffix))) return undefined
      return bad('name-not-found', `.local names belong to multicast DNS, which does not pass the tunnel`)
    default:
      return undefined
  }
}

/** Whether a name in its normal form is a domain's own or below it; the domain in any form. */
export function isWithin(name: string, domain: string): boolean {
  const zone = normalizeName(domain)
  return zone !== undefined && (name === zone || name.endsWith(`.${zone}`))
}

/** The URL standard's test: what ends so is taken for an IPv4 address by browsers, in any spelling. */
function endsInNumber(name: string): boolean {
  return /^(?:\d+|0x[0-9a-f]*)$/.test(name.slice(name.lastIndexOf('.') + 1))
}

function bad(code: DialErrorCode, message: string): BadHost {
  return { kind: 'bad', code, message }
}

/** Untrusted text, fit for a message of one line. */
function printable(text: string): string {
  const shown = text.length > 64 ? `${text.slice(0, 64)}…` : text
  return JSON.stringify(shown)
}

// RFC 1035 2.3.4
const MAX_NAME = 253
const LABEL = /^[a-z0-9_-]{1,63}$/i
const ANY_LABEL = /^[!-~]{1,63}$/
// Ours: what a SOCKS request can hold, doubled for U-labels.
const MAX_TEXT = 512
const NON_ASCII = /[\u0080-\uffff]/
const MAPPED = /^(?:::|(?:0{1,4}:){5})ffff:\d+\.\d+\.\d+\.\d+$/i
