/**
 * Rules of split tunnelling as people write them.
 *
 * `WAY TARGET[:PORT[-PORT]][/tcp|/udp]` a line in a file; an option has the target alone and is the way. Order:
 * `--block`, then `--bypass`, then `--route`, each in the order given, then the file.
 */
import { isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'
import { normalizeAddress, normalizeName } from '../dns/names.js'
import { readSmallFile } from '../gateway/files.js'
import { type Rule, Rules, type RuleTarget, type TransportProtocol, type Way } from '../proxy/rules.js'
import { UsageError } from './errors.js'
import { parsePort } from './values.js'

export interface RuleSources {
  readonly route: readonly Rule[]
  readonly bypass: readonly Rule[]
  readonly block: readonly Rule[]
  /** Of the file. */
  readonly file: readonly Rule[]
}

/** The one list. What nothing matches goes directly once `--route` says what alone is for the tunnel. */
export function orderRules({ route, bypass, block, file }: RuleSources): Rules {
  return new Rules([...block, ...bypass, ...route, ...file], route.length > 0 ? 'direct' : 'tunnel')
}

/** The value of `--route`, `--bypass` or `--block`. Throws {@link UsageError}. */
export function parseRuleOption(option: 'route' | 'bypass' | 'block', text: string): Rule {
  const way = ({ route: 'tunnel', bypass: 'direct', block: 'refuse' } as const)[option]
  return { way, ...parseTarget(text), text: `--${option} ${text}`, origin: 'command line' }
}

/** Reads a file of rules. Throws {@link UsageError}. */
export async function readRules(path: string): Promise<readonly Rule[]> {
  let bytes: Uint8Array
  try {
    bytes = (await readSmallFile(path, { most: MAX_FILE, pipes: true })).bytes
  } catch (error) {
    throw new UsageError(`--rules: ${error instanceof Error ? error.message : String(error)}`)
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new UsageError(`--rules: ${path} is not UTF-8 text`)
  }
  return parseRules(text, path)
}

/** A rule a line; `#` begins a comment. Throws {@link UsageError} with the number of the line. */
export function parseRules(text: string, name: string): readonly Rule[] {
  const rules: Rule[] = []
  text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .forEach((line, i) => {
      const words = line
        .replace(/(?:^|\s)#.*$/, '')
        .trim()
        .split(/\s+/)
      const [way = '', target, more] = words
      if (way === '') return
      const origin = `${name}, line ${i + 1}`
      try {
        if (!isWay(way)) throw new UsageError(`"${shown(way)}" is not a way: tunnel, direct or refuse`)
        if (target === undefined) throw new UsageError(`${way} what? A name, an address, a network or *`)
        if (more !== undefined) throw new UsageError(`"${shown(more)}" is too much: one target a line`)
        rules.push({ way, ...parseTarget(target), text: `${way} ${target}`, origin })
      } catch (error) {
        if (!(error instanceof UsageError)) throw error
        throw new UsageError(`${origin}: ${error.message}`)
      }
      if (rules.length > MAX_RULES) throw new UsageError(`${origin}: more than ${MAX_RULES} rules`)
    })
  return rules
}

/** What a rule is about, of its text. Throws {@link UsageError}. */
export function parseTarget(text: string): Pick<Rule, 'target' | 'ports' | 'protocol'> {
  if (text.length > MAX_TARGET) throw new UsageError(`"${shown(text)}" is too long`)
  if (text.includes('://')) throw new UsageError(`"${shown(text)}" is a URL: give the host alone`)
  const protocol = /\/(tcp|udp)$/i.exec(text)?.[1]?.toLowerCase() as TransportProtocol | undefined
  const rest = protocol === undefined ? text : text.slice(0, -4)
  const [host, port] = splitPort(rest)
  return {
    target: parseHost(host),
    ...(port === undefined ? {} : { ports: parsePorts(port) }),
    ...(protocol === undefined ? {} : { protocol }),
  }
}

/** IPv6 with a port is in brackets; without one it may do without them. */
function splitPort(text: string): readonly [host: string, port: string | undefined] {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text)
  if (bracketed !== null) {
    const [, inner = '', port] = bracketed
    if (!inner.includes(':')) throw new UsageError(`"${shown(text)}": brackets are for IPv6`)
    return [inner, port]
  }
  const colon = text.indexOf(':')
  if (colon < 0 || colon !== text.lastIndexOf(':')) return [text, undefined]
  return [text.slice(0, colon), text.slice(colon + 1)]
}

function parsePorts(text: string): { readonly first: number; readonly last: number } {
  const [from = '', to = from, more] = text.split('-')
  const first = parsePort(from, 1)
  const last = parsePort(to, 1)
  if (first === undefined || last === undefined || more !== undefined || first > last)
    throw new UsageError(`"${shown(text)}" is not a port or a range such as 8000-8999`)
  return { first, last }
}

function parseHost(text: string): RuleTarget {
  if (text === '') throw new UsageError('a name, an address, a network or * is missing')
  if (text === '*') return { kind: 'any' }
  const slash = text.indexOf('/')
  if (slash >= 0) return parseNetwork(text, text.slice(0, slash), text.slice(slash + 1))
  const address = normalizeAddress(text)
  if (address !== undefined) return network(address, isIPv4(address) ? 32 : 128)
  if (text.includes(':'))
    throw new UsageError(`"${shown(text)}" is not an IPv6 address (a port needs brackets)`)
  if (/^[0-9.*]+$/.test(text))
    throw new UsageError(`"${shown(text)}" is not an address; a network is written like 10.0.0.0/8`)
  if (text.includes('*')) return parseWildcard(text)
  const exact = text.startsWith('=')
  const name = normalizeName(exact || text.startsWith('.') ? text.slice(1) : text)
  if (name === undefined || /^(?:\d+|0x[0-9a-f]*)$/.test(name.slice(name.lastIndexOf('.') + 1)))
    throw new UsageError(`"${shown(text)}" is not a name, an address or a network`)
  return { kind: exact ? 'host' : 'domain', name }
}

function parseNetwork(text: string, address: string, prefix: string): RuleTarget {
  const canonical = normalizeAddress(address)
  if (canonical === undefined)
    throw new UsageError(`"${shown(text)}" is not a network such as 10.0.0.0/8 or fd00::/8`)
  const mapped = !isIPv4(address) && isIPv4(canonical)
  const bits = isIPv4(address) ? 32 : 128
  const given = /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN
  if (!(given <= bits)) throw new UsageError(`"${shown(text)}": the prefix is a number from 0 to ${bits}`)
  if (mapped && given < 96) throw new UsageError(`"${shown(text)}" mixes IPv4 and IPv6: write two networks`)
  const length = mapped ? given - 96 : given
  const octets = ipaddr.parse(canonical).toByteArray()
  const base = octets.map((octet, i) => octet & ~(0xff >> Math.min(8, Math.max(0, length - i * 8))))
  const start = ipaddr.fromByteArray(base)
  if (octets.some((octet, i) => octet !== base[i]))
    throw new UsageError(
      `"${shown(text)}" has bits behind its prefix: ${format(start)}/${length} is the network`,
    )
  return { kind: 'network', family: octets.length === 4 ? 4 : 6, octets, length }
}

function network(address: string, length: number): RuleTarget {
  const octets = ipaddr.parse(address).toByteArray()
  return { kind: 'network', family: octets.length === 4 ? 4 : 6, octets, length }
}

function parseWildcard(text: string): RuleTarget {
  const pattern = text
    .toLowerCase()
    .replace(/\*{2,}/g, '*')
    .replace(/\.$/, '')
  if (!/^[a-z0-9._*-]+$/.test(pattern))
    throw new UsageError(`"${shown(text)}": a pattern has letters, digits, -, _, dots and *`)
  if (pattern.startsWith('.') || pattern.includes('..'))
    throw new UsageError(`"${shown(text)}" matches no name: it has an empty part between dots`)
  return pattern === '*' ? { kind: 'any' } : { kind: 'wildcard', pattern }
}

function format(address: ReturnType<typeof ipaddr.parse>): string {
  return normalizeAddress(address.toString()) ?? address.toString()
}

function isWay(text: string): text is Way {
  return text === 'tunnel' || text === 'direct' || text === 'refuse'
}

/** Text of a file, fit for one line of a message. */
function shown(text: string): string {
  const safe = text.replace(/\p{C}/gu, '?')
  return safe.length > 64 ? `${safe.slice(0, 64)}…` : safe
}

const MAX_FILE = 8 * 1024 * 1024
const MAX_RULES = 100_000
const MAX_TARGET = 512
