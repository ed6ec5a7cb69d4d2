import {
  type DatagramFlow,
  type DatagramOptions,
  DialError,
  type Dialer,
  type DialOptions,
  type Flow,
  type FlowListener,
  type HostPort,
  type ListenOptions,
  type Network,
} from '../tunnel/dialer.js'
import { type Clock, systemClock } from './clock.js'
import { type DatagramHost, NamedDatagrams } from './datagrams.js'
import { type Found, findAddresses, findName } from './lookups.js'
import { type BadHost, classifyHost, type Host, isOrdinaryAddress, normalizeAddress } from './names.js'
import { race } from './race.js'
import { candidates } from './search.js'
import type { NameSource } from './source.js'
import { type NamesOptions, NO_TUNNEL, type Tunnel, TunnelNames } from './tunnel-names.js'

export interface DialerOptions extends NamesOptions {
  /** Which addresses may be dialled. Default: {@link isOrdinaryAddress}. */
  readonly allow?: (address: string) => boolean
}

/** A dialer, and the names that it goes by. */
export interface NamedDialer extends Dialer {
  readonly names: NameSource
}

/** The network behind a tunnel, by names. */
export function createDialer(options: DialerOptions): NamedDialer {
  return new TunnelDialer(options)
}

class TunnelDialer implements NamedDialer {
  readonly names: TunnelNames
  readonly #options: DialerOptions
  readonly #clock: Clock
  readonly #allow: (address: string) => boolean

  constructor(options: DialerOptions) {
    this.names = new TunnelNames(options)
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#allow = options.allow ?? isOrdinaryAddress
  }

  async dial(to: HostPort, options: DialOptions = {}): Promise<Flow> {
    if (options.signal?.aborted) throw new DialError('aborted', 'given up')
    if (!Number.isInteger(to.port) || to.port < 1 || to.port > 65_535) {
      throw new DialError('not-allowed', `${to.port} is not a port to connect to`)
    }
    await this.names.refresh()
    const host = this.#classify(to.host)
    const { network, resolver } = this.#tunnel()
    const timeout = options.timeout ?? DIAL_TIMEOUT
    if (host.kind === 'address') {
      this.#check(host.address, network)
      return network.connect({ address: host.address, port: to.port }, { ...options, timeout })
    }
    return race({
      ...options,
      network,
      names: this.names,
      types: resolver.types,
      clock: this.#clock,
      allow: this.#allow,
      candidates: this.#candidates(to.host, host.name),
      port: to.port,
      timeout,
    })
  }

  async resolve(text: string, options: DialOptions = {}): Promise<readonly string[]> {
    await this.names.refresh()
    const host = this.#classify(text)
    if (host.kind === 'address') return [host.address]
    return (await this.#find(text, host.name, options)).addresses
  }

  async reverse(text: string, options: DialOptions = {}): Promise<string> {
    const address = normalizeAddress(text)
    if (address === undefined) throw new DialError('name-invalid', 'this is not an IP address')
    if (!this.#allow(address)) throw notBehind(address)
    this.#tunnel()
    return findName(address, this.names, this.#clock, options)
  }

  openDatagrams(options: DatagramOptions = {}): DatagramFlow {
    const { remote } = options
    const { network } = this.#tunnel()
    const host: DatagramHost = {
      clock: this.#clock,
      tunnel: this.#options.network,
      addressOf: (text) => this.#addressOf(text, this.#options.network()),
      resolve: (text, signal) => this.#allowed(text, signal),
    }
    const port = options.port === undefined ? {} : { port: options.port }
    if (remote === undefined) return new NamedDatagrams(host, network.openUdp(port))
    const address = this.#addressOf(remote.host, network)
    if (address === undefined) return new NamedDatagrams(host, network.openUdp(port), remote)
    return new NamedDatagrams(host, network.openUdp({ ...port, remote: { address, port: remote.port } }))
  }

  listen(options: ListenOptions): FlowListener {
    return this.#tunnel().network.listen(options)
  }

  #tunnel(): Tunnel {
    const { tunnel } = this.names
    if (tunnel === undefined) throw new DialError('tunnel-down', NO_TUNNEL)
    return tunnel
  }

  #classify(text: string): Exclude<Host, BadHost> {
    const host = classifyHost(text, this.names.rules)
    if (host.kind === 'bad') throw new DialError(host.code, host.message)
    return host
  }

  #candidates(text: string, name: string): readonly string[] {
    if (this.names.isKnown(name)) return [name]
    const all = candidates(text, name, this.names.search, this.#options.ndots)
    // A whole name that rules send elsewhere is none of the tunnel's in any domain.
    return all[0] === name && this.#options.elsewhere?.(name) !== undefined ? [name] : all
  }

  #find(text: string, name: string, options: DialOptions): Promise<Found> {
    const { types } = this.#tunnel().resolver
    return findAddresses(this.#candidates(text, name), types, this.names, this.#clock, options)
  }

  #addressOf(text: string, network: Network | undefined): string | undefined {
    // Whoever is refused now may be known when it tries again.
    void this.names.refresh()
    const host = this.#classify(text)
    if (host.kind === 'name') return undefined
    this.#check(host.address, network)
    return host.address
  }

  async #allowed(text: string, signal: AbortSignal): Promise<Found> {
    await this.names.refresh()
    const host = this.#classify(text)
    if (host.kind === 'address') return { addresses: [host.address], ttl: 0 }
    const { addresses, ttl } = await this.#find(text, host.name, { signal })
    const allowed = addresses.filter(this.#allow)
    if (allowed.length === 0) throw notBehind(`${host.name} (${addresses.join(', ')})`)
    return { addresses: allowed, ttl }
  }

  #check(address: string, network: Network | undefined): void {
    if (!this.#allow(address)) throw notBehind(address)
    // Without a tunnel it is told so when it is tried.
    if (network === undefined) return
    const { families } = network
    const family = address.includes(':') ? 6 : 4
    if (family === 6 ? !families.ipv6 : !families.ipv4) {
      throw new DialError('network-unreachable', `the tunnel has no IPv${family} address`)
    }
  }
}

function notBehind(what: string): DialError {
  return new DialError('not-allowed', `${what} is not a host behind the tunnel`)
}

// Ours, milliseconds.
const DIAL_TIMEOUT = 30_000
