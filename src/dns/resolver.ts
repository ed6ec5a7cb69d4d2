import { randomFillSync } from 'node:crypto'
import type { DialErrorCode, DialOptions, Endpoint, Network } from '../tunnel/dialer.js'
import { Cache, type CacheLimits } from './cache.js'
import { followChain } from './chain.js'
import { type Clock, systemClock } from './clock.js'
import { EdnsMemory } from './edns.js'
import { exchange } from './exchange.js'
import { findAddresses } from './lookups.js'
import { type AddressType, decodeResponse, type HostType, Rcode, TYPE_NUMBER } from './message.js'
import { isAskable, isOrdinaryAddress, isWithin, normalizeAddress } from './names.js'
import { failed, type Outcome } from './outcome.js'
import { RawCache } from './raw-cache.js'
import { SharedQuestions } from './shared.js'
import { type SlotLimits, Slots } from './slots.js'
import type { NameSource, Relayed } from './source.js'
import { TcpPool } from './tcp-pool.js'
import { hostQuery, type Layout, layoutOf, type Query, withoutOpt } from './wire.js'

/** A part of the names, with servers of its own. */
export interface Zone {
  /** This name and all below it. */
  readonly domain: string
  /** Asked through the tunnel, as all are. */
  readonly servers: readonly Endpoint[]
}

export interface ResolverOptions {
  /** DNS servers to ask instead of those that the tunnel's set-up gave. */
  readonly servers?: readonly string[]
  /** Split DNS: the longest domain that fits decides. */
  readonly zones?: readonly Zone[]
  /** Servers may be this machine itself: for a `Network` that is no tunnel. */
  readonly anyServer?: boolean
  readonly cache?: Partial<CacheLimits>
  readonly clock?: Clock
  readonly random?: (dst: Uint8Array) => void
}

/**
 * Asks the name servers of one network, and nobody else.
 *
 * Names come in the form that `normalizeName` gives. Equal questions at one time share one query; how many are put to
 * the servers at one time is bounded, the others wait.
 */
export class Resolver implements NameSource {
  readonly #network: Network
  readonly #options: ResolverOptions
  readonly #clock: Clock
  readonly #random: (dst: Uint8Array) => void
  readonly #tcp: TcpPool
  readonly #slots: Slots
  readonly #cache: Cache
  readonly #rawCache = new RawCache()
  readonly #pending = new SharedQuestions<Outcome>(failed('aborted', 'given up'))
  readonly #relaying = new SharedQuestions<Relayed>({ kind: 'failed', code: 'aborted', message: 'given up' })
  /** Servers that have kept us waiting, and until when others are asked first. */
  readonly #slow = new Map<string, number>()
  readonly #edns: EdnsMemory

  constructor(network: Network, options: ResolverOptions = {}) {
    this.#network = network
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? ((dst) => void randomFillSync(dst))
    this.#tcp = new TcpPool(network, this.#clock)
    this.#edns = new EdnsMemory(this.#clock)
    this.#slots = new Slots(QUESTIONS, this.#clock)
    this.#cache = new Cache(options.cache)
  }

  /** The types worth asking for: an address of a family that the tunnel lacks leads nowhere. */
  get types(): readonly AddressType[] {
    const { ipv4, ipv6 } = this.#network.families
    // RFC 8305 3: AAAA first, A right behind it.
    return [...(ipv6 ? (['AAAA'] as const) : []), ...(ipv4 ? (['A'] as const) : [])]
  }

  /** Addresses of a name, IPv6 first. Rejects with {@link DialError}. */
  async resolve(name: string, options: DialOptions = {}): Promise<readonly string[]> {
    return (await findAddresses([name], this.types, this, this.#clock, options)).addresses
  }

  /** What is known of one name and type, from the cache or from the servers. Never rejects. */
  async lookup(name: string, type: HostType, signal?: AbortSignal): Promise<Outcome> {
    const cached = this.#cache.get(name, type, this.#clock.now())
    if (cached !== undefined) return cached
    return this.#pending.ask(
      `${type} ${name}`,
      signal,
      (all) => this.#inTurn(all, failed(BUSY.code, BUSY.message), () => this.#ask(name, type, all)),
      (outcome) => this.#cache.set(name, type, outcome, this.#clock.now()),
    )
  }

  /** The servers' answer to a question of any type, or what is remembered of it. Never rejects. */
  async relay(query: Query, signal?: AbortSignal): Promise<Relayed> {
    const { name, question, flags, dnssec } = query
    const tail = Buffer.from(question.subarray(question.length - 4)).toString('hex')
    const key = `${name} ${tail} ${flags} ${dnssec}`
    const cached = this.#rawCache.get(key, this.#clock.now())
    if (cached !== undefined) return { kind: 'message', message: cached }
    let layout: Layout | undefined
    return this.#relaying.ask(
      key,
      signal,
      (all) =>
        this.#inTurn<Relayed>(all, BUSY, async () => {
          const servers = this.#serversFor(name)
          if (servers.length === 0) return this.#noServer(name)
          const read = (message: Buffer): Raw | undefined => {
            const found = layoutOf(message)
            return found === undefined ? undefined : { rcode: found.rcode, layout: found, message }
          }
          const deadline = this.#clock.now() + EXCHANGE_TIMEOUT
          const reply = await exchange({ ...this.#common, servers, query, read, deadline, signal: all })
          if (reply.kind === 'failed') return reply
          layout = reply.response.layout
          return { kind: 'message', message: withoutOpt(reply.response.message, layout) }
        }),
      (relayed) => {
        if (relayed.kind !== 'message' || layout === undefined) return
        this.#rawCache.set(key, relayed.message, layout, this.#clock.now())
      },
    )
  }

  /** The tunnel is gone: all queries that are under way end with `tunnel-down`. */
  close(): void {
    const gone = { code: 'tunnel-down', message: 'the tunnel is gone' } as const
    this.#pending.close(failed(gone.code, gone.message))
    this.#relaying.close({ kind: 'failed', ...gone })
    this.#cache.clear()
    this.#rawCache.clear()
    this.#tcp.close()
  }

  async #inTurn<T>(signal: AbortSignal, busy: T, ask: () => Promise<T>): Promise<T> {
    if (!(await this.#slots.take(signal))) return busy
    try {
      return await ask()
    } finally {
      this.#slots.free()
    }
  }

  get #common() {
    return {
      network: this.#network,
      tcp: this.#tcp,
      clock: this.#clock,
      random: this.#random,
      isCrowded: () => this.#slots.isCrowded,
      onServer: this.#onServer,
      edns: this.#edns,
    }
  }

  async #ask(name: string, type: HostType, signal: AbortSignal): Promise<Outcome> {
    const deadline = this.#clock.now() + EXCHANGE_TIMEOUT
    const aliases: string[] = []
    let target = name
    let ttl = Number.POSITIVE_INFINITY
    for (;;) {
      const servers = this.#serversFor(target)
      if (servers.length === 0) return failed('name-failed', this.#noServer(target).message)
      const query = hostQuery(target, TYPE_NUMBER[type])
      const reply = await exchange({
        ...this.#common,
        servers,
        query,
        read: decodeResponse,
        deadline,
        signal,
      })
      if (reply.kind === 'failed') {
        const { code, message } = reply
        // RFC 9520 3.2: failures are remembered too, shortly; what happened to us is not about the name.
        const lasting = code === 'name-failed' || code === 'name-refused' || code === 'name-timed-out'
        return failed(code, message, lasting ? FAILURE_TTL : 0)
      }
      const { answers, rcode, negativeTtl, soa } = reply.response
      const chain = followChain(answers, target, type, name, aliases)
      ttl = Math.min(ttl, chain.ttl)
      if (chain.kind === 'broken') {
        const message = `cannot resolve ${name}: its CNAME records go in a circle or on for too long`
        return failed('name-failed', message, FAILURE_TTL)
      }
      // What is asked for next, or handed on, must be a name that a message can hold.
      const isNamed = aliases.every(isAskable)
      if (chain.kind === 'found' && isNamed) return { kind: 'found', values: chain.values, aliases, ttl }
      // RFC 2308 2.1: the code speaks of the end of the chain.
      const nxdomain = rcode === Rcode.NXDOMAIN
      if (chain.kind === 'open' && (nxdomain || chain.end === target || negativeTtl !== undefined)) {
        const message = nxdomain ? `${name} does not exist` : `${name} has no ${type} record`
        const rest = { ttl: Math.min(ttl, negativeTtl ?? 0), ...(soa === undefined ? {} : { soa }) }
        return { kind: 'absent', nxdomain, message, ...rest }
      }
      if (chain.kind === 'found' || !isNamed) {
        const message = `cannot resolve ${name}: it is an alias of what cannot be a name`
        return failed('name-failed', message, FAILURE_TTL)
      }
      target = chain.end
    }
  }

  readonly #onServer = ({ address }: Endpoint, answered: boolean): void => {
    if (answered) this.#slow.delete(address)
    else if (this.#slow.has(address) || this.#slow.size < MAX_SERVERS * 4) {
      this.#slow.set(address, this.#clock.now() + SLOW_TIME)
    }
  }

  /** What is said of a name for which `#serversFor` has nobody. */
  #noServer(name: string): Failure {
    const { servers, anyServer } = this.#options
    const given = this.#zoneOf(name)?.servers.map(({ address }) => address) ?? servers
    const why =
      given !== undefined
        ? `no server of --dns can be asked through this tunnel (${given.join(', ')})`
        : anyServer === true
          ? "this computer's own resolver has no other DNS server"
          : 'the VPN server gave no usable DNS server; name one with --dns'
    return { kind: 'failed', code: 'name-failed', message: `cannot resolve ${name}: ${why}` }
  }

  #zoneOf(name: string): Zone | undefined {
    let zone: Zone | undefined
    for (const other of this.#options.zones ?? []) {
      if (isWithin(name, other.domain) && other.domain.length > (zone?.domain.length ?? -1)) zone = other
    }
    return zone
  }

  /** Those that may be asked for a name, those in front that have not kept us waiting lately. */
  #serversFor(name: string): readonly Endpoint[] {
    const { families, dnsServers } = this.#network
    const { servers = dnsServers, anyServer } = this.#options
    const zone = this.#zoneOf(name)
    const usable = new Map<string, Endpoint>()
    for (const server of zone?.servers ?? servers.map((address) => ({ address, port: DNS_PORT }))) {
      const address = normalizeAddress(server.address)
      if (address === undefined || !(anyServer === true || isOrdinaryAddress(address))) continue
      if (!(address.includes(':') ? families.ipv6 : families.ipv4)) continue
      usable.set(`${address} ${server.port}`, { address, port: server.port })
      if (usable.size === MAX_SERVERS) break
    }
    const now = this.#clock.now()
    const isSlow = ({ address }: Endpoint): boolean => (this.#slow.get(address) ?? 0) > now
    const all = [...usable.values()]
    return [...all.filter((server) => !isSlow(server)), ...all.filter(isSlow)]
  }
}

interface Raw {
  readonly rcode: number
  readonly layout: Layout
  readonly message: Buffer
}

interface Failure {
  readonly kind: 'failed'
  readonly code: DialErrorCode
  readonly message: string
}

const BUSY: Failure = { kind: 'failed', code: 'no-resources', message: 'too many DNS queries are under way' }
const DNS_PORT = 53
// Ours: milliseconds, seconds, counts.
const EXCHANGE_TIMEOUT = 10_000
const SLOW_TIME = 30_000
const FAILURE_TTL = 5
const MAX_SERVERS = 6
/** Under way at one time, each with a socket for each server. */
const QUESTIONS: SlotLimits = { places: 128, waiting: 896, patience: 10_000 }
