import type { Network } from '../tunnel/dialer.js'
import type { HostNames } from './hosts.js'
import { type HostType, Rcode } from './message.js'
import { type BadHost, type NameRules, specialName } from './names.js'
import { failed, type Outcome } from './outcome.js'
import { Resolver, type ResolverOptions } from './resolver.js'
import { type SearchRules, searchDomains } from './search.js'
import type { NameSource, Relayed } from './source.js'
import type { Query } from './wire.js'

export interface NamesOptions extends ResolverOptions, SearchRules, NameRules {
  /** The tunnel as it is now; undefined while there is none. */
  readonly network: () => Network | undefined
  /** Names that need no asking. */
  readonly hosts?: HostNames
  /**
   * Who is asked for a full name instead of the tunnel's servers, whether there is a tunnel or not: where a rule sends
   * names out directly, or refuses them. Called with names of addresses (`….in-addr.arpa`) too.
   */
  readonly elsewhere?: (name: string) => NameSource | undefined
}

export interface Tunnel {
  readonly network: Network
  readonly resolver: Resolver
}

/**
 * Names as whoever uses a tunnel sees them: first what the hosts file says, then what is no name of DNS (RFC 6761),
 * then what rules send elsewhere, then `.local`, then the tunnel's servers, and nobody else.
 *
 * A new tunnel gets a new resolver: other servers, and nothing remembered from the one before.
 */
export class TunnelNames implements NameSource {
  readonly #options: NamesOptions
  #current: Tunnel | undefined

  constructor(options: NamesOptions) {
    this.#options = options
  }

  get tunnel(): Tunnel | undefined {
    const network = this.#options.network()
    if (this.#current !== undefined && this.#current.network !== network) {
      this.#current.resolver.close()
      this.#current = undefined
    }
    if (network === undefined) return undefined
    this.#current ??= { network, resolver: new Resolver(network, this.#options) }
    return this.#current
  }

  /** In which domains short names are looked for. */
  get search(): readonly string[] {
    return searchDomains(this.#options.search ?? this.#learnt)
  }

  /** Somebody has said what this name is: nobody else is asked, and nothing is looked for in other domains. */
  isKnown(name: string): boolean {
    const { hosts, isKnown } = this.#options
    return isKnown?.(name) === true || hosts?.get(name, 'A') !== undefined
  }

  /** Resolves when what is known of names is up to date; undefined: it is. Never rejects. */
  refresh(): Promise<void> | undefined {
    return this.#options.hosts?.refresh?.()
  }

  /** What is special about names, as things are now. */
  get rules(): NameRules {
    const { claimed = [], zones = [], search = [] } = this.#options
    return {
      claimed: [...claimed, ...zones.map(({ domain }) => domain), ...search, ...this.#learnt],
      isKnown: (name) => this.isKnown(name),
    }
  }

  async lookup(name: string, type: HostType, signal?: AbortSignal): Promise<Outcome> {
    const { hosts, elsewhere } = this.#options
    await this.refresh()
    const values = hosts?.get(name, type)
    if (values !== undefined) {
      const message = `${name} has no ${type} record in the hosts file`
      if (values.length === 0) return { kind: 'absent', nxdomain: false, message, ttl: HOSTS_TTL }
      return { kind: 'found', values, aliases: [], ttl: HOSTS_TTL }
    }
    const nowhere = this.#nowhere(name)
    const source = nowhere === undefined ? elsewhere?.(name) : undefined
    if (source !== undefined) return source.lookup(name, type, signal)
    const special = nowhere ?? specialName(name, this.rules)
    if (special !== undefined) {
      const { code, message } = special
      return code === 'name-not-found'
        ? { kind: 'absent', nxdomain: true, message, ttl: 0 }
        : failed(code, message)
    }
    return this.tunnel?.resolver.lookup(name, type, signal) ?? failed('tunnel-down', NO_TUNNEL)
  }

  async relay(query: Query, signal?: AbortSignal): Promise<Relayed> {
    const nowhere = this.#nowhere(query.name)
    const source = nowhere === undefined ? this.#options.elsewhere?.(query.name) : undefined
    if (source !== undefined) return this.#existing(query.name, await source.relay(query, signal))
    const special = nowhere ?? specialName(query.name, this.rules)
    if (special !== undefined) return { kind: 'failed', code: special.code, message: special.message }
    const { tunnel } = this
    if (tunnel === undefined) return { kind: 'failed', code: 'tunnel-down', message: NO_TUNNEL }
    return this.#existing(query.name, await tunnel.resolver.relay(query, signal))
  }

  /** A server that knows nothing of a name of the hosts file must not deny its addresses too (RFC 8020 2). */
  #existing(name: string, relayed: Relayed): Relayed {
    if (relayed.kind === 'failed' || !this.isKnown(name)) return relayed
    const flags = relayed.message.readUInt16BE(2)
    if ((flags & 0x0f) !== Rcode.NXDOMAIN) return relayed
    const message = Buffer.from(relayed.message)
    message.writeUInt16BE((flags & ~0x0f) | Rcode.NOERROR, 2)
    return { kind: 'message', message }
  }

  needsTunnel(name: string): boolean {
    const { hosts, elsewhere } = this.#options
    if (hosts?.get(name, 'A') !== undefined || this.#nowhere(name) !== undefined) return false
    return elsewhere?.(name) === undefined
  }

  isWritten(name: string, type: HostType): boolean {
    return this.#options.hosts?.get(name, type) !== undefined
  }

  /** Nobody at all is asked for such a name, whatever rules say; `.local` may be somebody's. */
  #nowhere(name: string): BadHost | undefined {
    return specialName(name, { claimed: ['local'], isKnown: (other) => this.isKnown(other) })
  }

  get #learnt(): readonly string[] {
    return this.tunnel?.network.searchDomains ?? []
  }
}

export const NO_TUNNEL = 'the tunnel is not up'
/** Seconds; ours. The file may change at any time. */
const HOSTS_TTL = 5
