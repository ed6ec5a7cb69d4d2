import fc from 'fast-check'
import { parseRules } from '../../src/config/rules.js'
import { type Rule, Rules, type TransportProtocol, type Way } from '../../src/proxy/rules.js'

/** Rules as a file has them. */
export function rulesOf(text: string, fallback: 'tunnel' | 'direct' = 'tunnel'): Rules {
  return new Rules(parseRules(text, 'rules'), fallback)
}

// Few labels, so that rules and names meet; some are names of what objects have of themselves.
const label = fc.constantFrom('a', 'b', 'corp', 'x-1', '__proto__', 'constructor', 'localhost', 'corpse')
export const someName = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))

const octet = fc.constantFrom(0, 10, 127, 128, 169, 254, 255)
export const some4 = fc.tuple(octet, octet, octet, octet).map((octets) => octets.join('.'))
const group = fc.constantFrom('0', '1', 'fe80', 'fd00', 'fdff', '8000', 'ffff')
export const some6 = fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) => groups.join(':'))

const network = (bits: number, address: fc.Arbitrary<string>) =>
  fc.tuple(address, fc.integer({ min: 0, max: bits })).map(([text, length]) => {
    const six = bits === 128
    const digits = six
      ? text.split(':').map((part) => Number.parseInt(part, 16).toString(2).padStart(16, '0'))
      : text.split('.').map((part) => Number(part).toString(2).padStart(8, '0'))
    const base = digits.join('').slice(0, length).padEnd(bits, '0')
    const parts = base.match(six ? /.{16}/g : /.{8}/g) ?? []
    const written = six
      ? `[${parts.map((part) => Number.parseInt(part, 2).toString(16)).join(':')}/${length}]`
      : `${parts.map((part) => Number.parseInt(part, 2)).join('.')}/${length}`
    return written
  })

const pattern = fc
  .array(fc.constantFrom('*', 'a', 'b', 'corp', '.a', '.corp', 'x-1.', '.'), { minLength: 1, maxLength: 5 })
  .map((parts) =>
    parts
      .join('')
      .replace(/\.{2,}/g, '.')
      .replace(/^\./, '')
      .replace(/\.$/, ''),
  )
  .filter((text) => text.includes('*') && /[a-z]/.test(text))

export const somePort = fc.constantFrom(22, 25, 80, 443, 8080)
const ports = fc.constantFrom('', '', '', ':22', ':443', ':20-80', ':443-65535', ':1-65535')
const protocol = fc.constantFrom('', '', '', '/tcp', '/udp')

const target = fc.oneof(
  { weight: 1, arbitrary: fc.constant('*') },
  { weight: 4, arbitrary: someName },
  { weight: 2, arbitrary: someName.map((name) => `=${name}`) },
  { weight: 2, arbitrary: someName.map((name) => `*.${name}`) },
  { weight: 3, arbitrary: pattern },
  { weight: 3, arbitrary: network(32, some4) },
  { weight: 2, arbitrary: network(128, some6) },
)

/** A line of a file. */
export const someRule = fc
  .tuple(fc.constantFrom('tunnel', 'direct', 'refuse'), target, ports, protocol)
  .map(([way, what, port, proto]) => `${way} ${what}${port}${proto}`)

export const someRules = fc.array(someRule, { maxLength: 12 })

/** The first rule that matches, by looking at each. `name` or `address` (32 or 128 binary digits) or both. */
export function naive(
  rules: Rules,
  what: { readonly name?: string; readonly address?: string },
  port: number | undefined,
  protocol: TransportProtocol | undefined,
): { readonly way: Way; readonly rule: Rule | undefined } {
  const rule = rules.list.find((r) => {
    if (r.ports !== undefined) {
      if (port === undefined && r.way !== 'tunnel') return false
      if (port !== undefined && (port < r.ports.first || port > r.ports.last)) return false
    }
    if (r.protocol !== undefined) {
      if (protocol === undefined && r.way !== 'tunnel') return false
      if (protocol !== undefined && protocol !== r.protocol) return false
    }
    const { target: t } = r
    const { name, address } = what
    switch (t.kind) {
      case 'any':
        return true
      case 'host':
        return name === t.name
      case 'domain':
        return name !== undefined && `.${name}`.endsWith(`.${t.name}`)
      case 'wildcard': {
        const source = t.pattern.replace(/[.+?^$()|[\]\\{}]/g, '\\$&').replaceAll('*', '.*')
        return name !== undefined && new RegExp(`^${source}$`).test(name)
      }
      case 'network': {
        const digits = t.octets.map((o) => o.toString(2).padStart(8, '0')).join('')
        return address?.length === digits.length && address.startsWith(digits.slice(0, t.length))
      }
    }
    return false
  })
  return { way: rule?.way ?? rules.fallback, rule }
}

/** An address without `::` or dots in IPv6, as binary digits. */
export function binary(address: string): string {
  return address.includes(':')
    ? address
        .split(':')
        .map((part) => Number.parseInt(part, 16).toString(2).padStart(16, '0'))
        .join('')
    : address
        .split('.')
        .map((part) => Number(part).toString(2).padStart(8, '0'))
        .join('')
}
