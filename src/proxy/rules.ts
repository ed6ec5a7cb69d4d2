/**
 * Which way a connection goes: through the tunnel, directly, or not at all.
 *
 * One ordered list; the first rule that matches decides. A rule for names is decided by the name before anybody
 * is asked for its address. A rule for addresses needs an address: of a name, whoever is asked for it is whom
 * the rules for names (or the default) say, so that a name which belongs inside is never heard outside; then
 * the first rule of the list that matches the name or the address decides.
 *
 * Cost of a decision with N rules: a look-up for each label of the name, or a step for each bit of the
 * address, and a test for each pattern that shares its rarest label with the name; a pattern without a whole
 * label (`*tracker*`) is tested against every name. N does not matter otherwise.
 */
import ipaddr from 'ipaddr.js'
import { isOrdinaryAddress, normalizeAddress } from '../dns/names.js'
import { firstFit, NetworkTable, NONE, TextTable, WildcardTable } from './rules-index.js'

export type Way = 'tunnel' | 'direct' | 'refuse'
export type TransportProtocol = 'tcp' | 'udp'

/** What a rule is about. Names in A-labels, lower case, without a final dot. */
export type RuleTarget =
  | { readonly kind: 'any' }
  /** `octets` has nothing set behind the first `length` bits. */
  | {
      readonly kind: 'network'
      readonly family: 4 | 6
      readonly octets: readonly number[]
      readonly length: number
    }
  /** This name alone. */
  | { readonly kind: 'host'; readonly name: string }
  /** This name and all below it. */
  | { readonly kind: 'domain'; readonly name: string }
  /** `*` stands for any characters, dots too, or none. */
  | { readonly kind: 'wildcard'; readonly pattern: string }

export interface Rule {
  readonly way: Way
  readonly target: RuleTarget
  /** Both included. Undefined: all. */
  readonly ports?: { readonly first: number; readonly last: number }
  readonly protocol?: TransportProtocol
  /** As its author wrote it. */
  readonly text: string
  /** Where: an option, or file and line. */
  readonly origin: string
}

export interface Verdict {
  readonly way: Way
  /** Undefined: the default decided. */
  readonly rule: Rule | undefined
}

export interface NameVerdict extends Verdict {
  /** Who may be asked for its addresses; undefined: nobody, it is refused. */
  readonly ask: 'tunnel' | 'direct' | undefined
  /** An address may decide otherwise: it has to be known before anything is connected. */
  readonly byAddress: boolean
  /** Place of the rule in the list. */
  readonly index: number
}

/** Rules for addresses that differ in nothing but the address. */
interface AddressCondition {
  readonly index: number
  readonly way: Way
}

export class Rules {
  readonly list: readonly Rule[]
  /** What no rule matches. */
  readonly fallback: 'tunnel' | 'direct'
  readonly #any: number[] = []
  readonly #hosts = new TextTable(this)
  readonly #domains = new TextTable(this)
  /** `*.name`: what is below a name. */
  readonly #below = new TextTable(this)
  readonly #wildcards: WildcardTable
  readonly #networks4 = new NetworkTable(this)
  readonly #networks6 = new NetworkTable(this)
  readonly #conditions: readonly AddressCondition[]

  constructor(list: readonly Rule[], fallback: 'tunnel' | 'direct') {
    this.list = list
    this.fallback = fallback
    const wildcards: { pattern: string; index: number }[] = []
    const conditions = new Map<string, AddressCondition>()
    list.forEach((rule, index) => {
      const { target } = rule
      switch (target.kind) {
        case 'any':
          this.#any.push(index)
          break
        case 'host':
          this.#hosts.add(target.name, index)
          break
        case 'domain':
          this.#domains.add(target.name, index)
          break
        case 'wildcard': {
          const below = nameBelow(target.pattern)
          if (below === undefined) wildcards.push({ pattern: target.pattern, index })
          else this.#below.add(below, index)
          break
        }
        case 'network': {
          const table = target.family === 4 ? this.#networks4 : this.#networks6
          table.add(target.octets, target.length, index)
          const key = `${rule.way} ${rule.ports?.first} ${rule.ports?.last} ${rule.protocol}`
          if (!conditions.has(key)) conditions.set(key, { index, way: rule.way })
        }
      }
    })
    this.#wildcards = new WildcardTable(wildcards, this)
    this.#conditions = [...conditions.values()]
  }

  /** Everything goes through the tunnel. */
  get isTrivial(): boolean {
    return this.list.length === 0 && this.fallback === 'tunnel'
  }

  /**
   * For an address in canonical form. Without a port (or protocol) rules that are about some only (the name of
   * an address is asked for, for one) count if they say `tunnel`, so that nothing leaves by mistake.
   */
  forAddress(address: string, port?: number, protocol?: TransportProtocol): Verdict {
    return this.#verdict(this.#addressIndex(address, port, protocol))
  }

  /** For a name as of `normalizeName`, before anybody was asked for it. Without a port: as {@link forAddress}. */
  forName(name: string, port?: number, protocol?: TransportProtocol): NameVerdict {
    const index = this.#nameIndex(name, port, protocol)
    const verdict = this.#verdict(index)
    const { rule } = verdict
    const earlier = this.#conditions.filter(
      (c) => c.index < index && c.way !== verdict.way && this.fits(c.index, port, protocol),
    )
    const byAddress = earlier.length > 0
    if (verdict.way !== 'refuse') return { ...verdict, index, ask: verdict.way, byAddress }
    // `refuse *` says nothing about this name: its address may be one that an earlier rule lets through. Inside
    // nobody else hears of it.
    const open = rule?.target.kind === 'any' && byAddress
    const ask = !open ? undefined : earlier.some((c) => c.way === 'tunnel') ? 'tunnel' : 'direct'
    return { ...verdict, index, ask, byAddress: open }
  }

  /** For one address of a name, as whoever was asked has given it. */
  forResolved(name: NameVerdict, address: string, port?: number, protocol?: TransportProtocol): Verdict {
    return this.#verdict(Math.min(name.index, this.#networkIndex(address, NONE, port, protocol)))
  }

  /**
   * Who may be asked for a name, of which no more is known. The name of an address (`….in-addr.arpa`) goes as
   * the address does, unless a rule is about that name.
   */
  wayOfName(name: string): Verdict & { readonly message: string } {
    const { ask, rule } = this.forName(name)
    const address = rule === undefined || rule.target.kind === 'any' ? addressOfReverse(name) : undefined
    const verdict =
      address === undefined ? { way: ask ?? ('refuse' as const), rule } : this.forAddress(address)
    return { ...verdict, message: describeVerdict(address ?? name, verdict) }
  }

  /**
   * Whether a direct connection may go to an address. This machine itself, its links and groups are not for
   * clients, unless the rule that decides names them (`direct 127.0.0.0/8`), not just everything.
   *
   * @param name from which the address comes: whoever owns a name can give it any address, so it has to be
   * named by a rule too
   */
  permitsDirect(
    address: string,
    port: number | undefined,
    protocol: TransportProtocol | undefined,
    name?: string,
  ): boolean {
    if (isOrdinaryAddress(address)) return true
    const { way, rule } = this.forAddress(address, port, protocol)
    if (way !== 'direct' || rule?.target.kind !== 'network' || !isSpecialNetwork(rule.target)) return false
    if (name === undefined || isLocalhost(name)) return true
    const named = this.forName(name, port, protocol)
    return named.way === 'direct' && named.rule !== undefined && named.rule.target.kind !== 'any'
  }

  #verdict(index: number): Verdict {
    const rule = this.list[index]
    return { way: rule?.way ?? this.fallback, rule }
  }

  #nameIndex(name: string, port: number | undefined, protocol: TransportProtocol | undefined): number {
    let best = firstFit(this.#any, NONE, this, port, protocol)
    best = this.#hosts.first(name, best, port, protocol)
    if (this.#domains.size + this.#below.size > 0) {
      best = this.#domains.first(name, best, port, protocol)
      for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
        const suffix = name.slice(dot + 1)
        best = this.#domains.first(suffix, best, port, protocol)
        best = this.#below.first(suffix, best, port, protocol)
      }
    }
    return this.#wildcards.first(name, best, port, protocol)
  }

  #addressIndex(address: string, port: number | undefined, protocol: TransportProtocol | undefined): number {
    return this.#networkIndex(address, firstFit(this.#any, NONE, this, port, protocol), port, protocol)
  }

  #networkIndex(
    address: string,
    limit: number,
    port: number | undefined,
    protocol: TransportProtocol | undefined,
  ): number {
    const table = address.includes(':') ? this.#networks6 : this.#networks4
    if (table.isEmpty) return limit
    return table.first(ipaddr.parse(address).toByteArray(), limit, port, protocol)
  }

  /** For the tables. */
  isOpen(index: number): boolean {
    const rule = this.list[index]
    return rule !== undefined && rule.ports === undefined && rule.protocol === undefined
  }

  /** For the tables. */
  fits(index: number, port: number | undefined, protocol: string | undefined): boolean {
    const rule = this.list[index]
    if (rule === undefined) return false
    if (rule.ports !== undefined) {
      if (port === undefined ? rule.way !== 'tunnel' : port < rule.ports.first || port > rule.ports.last)
        return false
    }
    if (rule.protocol === undefined) return true
    return protocol === undefined ? rule.way === 'tunnel' : protocol === rule.protocol
  }
}

/** One sentence, for logs and errors. */
export function describeVerdict(what: string, { way, rule }: Verdict): string {
  const verb = { tunnel: 'goes through the tunnel', direct: 'goes directly', refuse: 'is refused' }[way]
  return rule === undefined
    ? `${what} ${verb}: no rule is about it`
    : `${what} ${verb} by the rule "${rule.text}" (${rule.origin})`
}

/** The address whose name in DNS this is (RFC 1035 3.5, RFC 3596 2.5). */
function addressOfReverse(name: string): string | undefined {
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name)
  if (four !== null) return normalizeAddress(four.slice(1).reverse().join('.'))
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1]
  const digits = six?.replaceAll('.', '').split('').reverse().join('').match(/.{4}/g)
  return digits === undefined || digits === null ? undefined : normalizeAddress(digits.join(':'))
}

/** RFC 6761 6.3: the machine itself, by whatever name below. */
export function isLocalhost(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost')
}

/** `name` of a pattern `*.name`. */
export function nameBelow(pattern: string): string | undefined {
  return pattern.startsWith('*.') && !pattern.includes('*', 2) ? pattern.slice(2) : undefined
}

/** It lies whole in what is not an ordinary destination: its first and its last address do. */
function isSpecialNetwork(target: RuleTarget & { readonly kind: 'network' }): boolean {
  const last = target.octets.map(
    (octet, i) => octet | (0xff >> Math.min(8, Math.max(0, target.length - i * 8))),
  )
  const [a, b] = [target.octets, last].map((octets) => ipaddr.fromByteArray([...octets]))
  return a !== undefined && b !== undefined && a.range() === b.range() && !isOrdinaryAddress(a.toString())
}
