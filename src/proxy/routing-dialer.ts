import { type Clock, systemClock } from '../dns/clock.js'
import { classifyHost, normalizeAddress, normalizeName } from '../dns/names.js'
import { DialError, type Dialer, type DialOptions, type Flow, type HostPort } from '../tunnel/dialer.js'
import { raceAddresses } from './address-race.js'
import type { Candidate, Open, Routed, Router } from './route.js'
import { RoutingDatagrams } from './routing-datagrams.js'
import {
  describeVerdict,
  isLocalhost,
  type NameVerdict,
  type Rules,
  type TransportProtocol,
  type Verdict,
} from './rules.js'

export interface RoutingOptions {
  readonly rules: Rules
  readonly tunnel: Dialer
  readonly direct: Dialer
  readonly clock?: Clock
}

/** The tunnel and this computer's own network as one, by rules. */
export function createRoutingDialer(options: RoutingOptions): Dialer {
  return options.rules.isTrivial ? options.tunnel : new RoutingDialer(options)
}

export class RoutingDialer implements Dialer, Router {
  readonly #rules: Rules
  readonly #tunnel: Dialer
  readonly #direct: Dialer
  readonly #clock: Clock

  constructor({ rules, tunnel, direct, clock = systemClock }: RoutingOptions) {
    this.#rules = rules
    this.#tunnel = tunnel
    this.#direct = direct
    this.#clock = clock
  }

  async dial(to: HostPort, options: DialOptions = {}): Promise<Flow> {
    if (options.signal?.aborted) throw new DialError('aborted', 'given up')
    const { timeout = DIAL_TIMEOUT } = options
    const deadline = this.#clock.now() + timeout
    const decided = this.decide(to, 'tcp')
    const routed = decided.kind === 'open' ? await this.ask(decided, { ...options, timeout }) : decided
    if (routed.kind === 'whole') return this.#way(routed.way).dial(to, options)
    const ways = new Map(routed.candidates.map(({ address, way }) => [address, way]))
    const left = Math.max(1, deadline - this.#clock.now())
    const mixed = new Set(ways.values()).size > 1
    return raceAddresses({
      ...options,
      name: routed.name,
      addresses: [...ways.keys()],
      port: to.port,
      timeout: left,
      clock: this.#clock,
      connect: async ({ address, port }, dial) => {
        try {
          return await this.#way(ways.get(address) ?? 'tunnel').dial({ host: address, port }, dial)
        } catch (error) {
          // The end of a race between addresses of the tunnel, but not for those that go directly.
          if (!mixed || !(error instanceof DialError) || error.code !== 'tunnel-down') throw error
          throw new DialError('tunnel-reconnecting', error.message)
        }
      },
    })
  }

  async resolve(host: string, options?: DialOptions): Promise<readonly string[]> {
    const name = nameOf(host)
    // What is no name is told so there, and asks nobody.
    if (name === undefined || isLocalhost(name)) return this.#tunnel.resolve(host, options)
    const { way, message } = this.#rules.wayOfName(name)
    if (way === 'refuse') throw new DialError('not-allowed', message)
    return this.#way(way).resolve(host, options)
  }

  async reverse(text: string, options?: DialOptions): Promise<string> {
    const address = normalizeAddress(text)
    if (address === undefined) return this.#tunnel.reverse(text, options)
    const verdict = this.#rules.forAddress(address)
    if (verdict.way === 'refuse') throw refusal(address, verdict)
    return this.#way(verdict.way).reverse(address, options)
  }

  openDatagrams: Dialer['openDatagrams'] = (options = {}) => {
    // Who came to a port of the tunnel's address is answered from there: rules are about who is spoken to first.
    if (options.port !== undefined) return this.#tunnel.openDatagrams(options)
    const ways = { tunnel: this.#tunnel, direct: this.#direct, clock: this.#clock, router: this }
    return new RoutingDatagrams(ways, options)
  }

  /** Only the tunnel has addresses that others are to reach. */
  listen: Dialer['listen'] = (options) => this.#tunnel.listen(options)

  /** What can be said before anybody is asked. Throws `not-allowed`. */
  decide(to: HostPort, protocol: TransportProtocol): Routed | Open {
    const rules = this.#rules
    const text = `${to.host.includes(':') ? `[${to.host}]` : to.host}:${to.port}`
    const name = nameOf(to.host)
    if (name === undefined) {
      const address = addressOf(to.host)
      // Neither: there it is told why.
      if (address === undefined) return { kind: 'whole', way: 'tunnel' }
      const verdict = rules.forAddress(address, to.port, protocol)
      if (verdict.way === 'refuse') throw refusal(text, verdict)
      return { kind: 'whole', way: verdict.way }
    }
    const verdict = rules.forName(name, to.port, protocol)
    if (verdict.ask === undefined) throw refusal(text, verdict)
    if (isLocalhost(name)) return this.#routeLocalhost(name, text, verdict, to.port, protocol)
    if (!verdict.byAddress) return { kind: 'whole', way: verdict.ask }
    return { kind: 'open', name, text, verdict, ask: verdict.ask, to, protocol }
  }

  /** Asks for the addresses, which decide. Rejects with {@link DialError}. */
  async ask(open: Open, options: DialOptions): Promise<Routed> {
    const { name, text, verdict, to, protocol } = open
    const addresses = await this.#way(open.ask).resolve(to.host, options)
    return this.#choose(name, text, verdict, addresses, to.port, protocol)
  }

  /** This machine itself: nobody is asked, and only a rule for its address leads there. RFC 6761 6.3 */
  #routeLocalhost(
    name: string,
    text: string,
    verdict: NameVerdict,
    port: number,
    protocol: TransportProtocol,
  ): Routed {
    const ways = LOCALHOST.map((address) => this.#rules.forResolved(verdict, address, port, protocol).way)
    // Through the tunnel it means nothing, which is told there.
    if (!ways.includes('direct')) return { kind: 'whole', way: 'tunnel' }
    return this.#choose(name, text, verdict, LOCALHOST, port, protocol)
  }

  #choose(
    name: string,
    text: string,
    verdict: NameVerdict,
    addresses: readonly string[],
    port: number,
    protocol: TransportProtocol,
  ): Routed {
    const candidates: Candidate[] = []
    let refused: DialError | undefined
    for (const address of addresses) {
      const decided = this.#rules.forResolved(verdict, address, port, protocol)
      if (decided.way === 'refuse') {
        refused ??= refusal(`${text} (${address})`, decided)
      } else if (decided.way === 'direct' && !this.#rules.permitsDirect(address, port, protocol, name)) {
        const message = `${text} is ${address}, this computer or its own link: only rules that name both allow that`
        refused ??= new DialError('not-allowed', message)
      } else candidates.push({ address, way: decided.way })
    }
    if (candidates.length === 0) throw refused ?? new DialError('name-not-found', `${name} has no address`)
    return { kind: 'addresses', name, candidates }
  }

  #way(way: 'tunnel' | 'direct'): Dialer {
    return way === 'tunnel' ? this.#tunnel : this.#direct
  }
}

function refusal(what: string, verdict: Verdict): DialError {
  return new DialError('not-allowed', describeVerdict(what, verdict))
}

/** As rules have it; undefined for addresses and for what is no name. */
function nameOf(host: string): string | undefined {
  const name = normalizeName(host)
  if (name === undefined) return undefined
  if (isLocalhost(name)) return name
  const classified = classifyHost(host, ALL_NAMES)
  return classified.kind === 'name' ? classified.name : undefined
}

function addressOf(host: string): string | undefined {
  const classified = classifyHost(host)
  return classified.kind === 'address' ? classified.address : undefined
}

// Whether .local is for anybody, the way that it goes decides.
const ALL_NAMES = { claimed: ['local'] }
const LOCALHOST = ['127.0.0.1', '::1']
const DIAL_TIMEOUT = 30_000
