import { randomFillSync } from 'node:crypto'
import { DialError, type DialOptions, type Network } from '../tunnel/dialer.js'
import { Cache, type CacheLimits, type Outcome } from './cache.js'
import { type Clock, systemClock } from './clock.js'
import { exchange } from './exchange.js'
import { type AddressType, type HostRecord, Rcode } from './message.js'
import { isOrdinaryAddress, normalizeAddress } from './names.js'

export interface ResolverOptions {
  /** DNS servers to ask instead of those that the tunnel's set-up gave. */
  readonly servers?: readonly string[]
  readonly cache?: Partial<CacheLimits>
  readonly clock?: Clock
  readonly random?: (dst: Uint8Array) => void
}

/**
 * Addresses of names, asked for through one tunnel and nowhere else.
 *
 * Names come in the form that `normalizeName` gives. Equal questions at one time share one query.
 */
export class Resolver {
  readonly #network: Network
  readonly #servers: readonly string[] | undefined
  readonly #clock: Clock
  readonly #random: (dst: Uint8Array) => void
  readonly #cache: Cache
  readonly #pending = new Map<string, Pending>()

  constructor(network: Network, options: ResolverOptions = {}) {
    this.#network = network
    this.#servers = options.servers
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? ((dst) => void randomFillSync(dst))
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
    const limit = new AbortController()
    let expired = false
    const onTimer = () => {
      expired = true
      limit.abort()
    }
    const cancel = this.#clock.setTimer(onTimer, options.timeout ?? RESOLVE_TIMEOUT)
    const forward = () => limit.abort()
    options.signal?.addEventListener('abort', forward)
    try {
      if (options.signal?.aborted) throw new DialError('aborted', 'given up')
      const outcomes = await Promise.all(this.types.map((type) => this.lookup(name, type, limit.signal)))
      const addresses = outcomes.flatMap((o) => (o.kind === 'addresses' ? o.addresses : []))
      if (addresses.length > 0) return addresses
      if (expired) throw new DialError('name-timed-out', `resolving ${name} took too long`)
      throw lookupError(name, outcomes)
    } finally {
      cancel()
      options.signal?.removeEventListener('abort', forward)
    }
  }

  /** What is known of one name and type, from the cache or from the servers. Never rejects. */
  lookup(name: string, type: AddressType, signal?: AbortSignal): Promise<Outcome> {
    const cached = this.#cache.get(name, type, this.#clock.now())
    if (cached !== undefined) return Promise.resolve(cached)
    const key = `${type} ${name}`
    let pending = this.#pending.get(key)
    if (pending === undefined) {
      pending = new Pending()
      this.#pending.set(key, pending)
      const started = pending
      void this.#ask(name, type, started.signal).then(({ outcome, ttl }) => {
        // One given up by all who waited was taken out already, and a newer one may be in its place.
        if (this.#pending.get(key) === started) {
          this.#pending.delete(key)
          this.#cache.set(name, type, outcome, ttl, this.#clock.now())
        }
        started.settle(outcome)
      })
    }
    const joined = pending
    return joined.join(signal, () => {
      if (this.#pending.get(key) === joined) this.#pending.delete(key)
    })
  }

  /** The tunnel is gone: all queries that are under way end with `tunnel-down`. */
  close(): void {
    for (const pending of this.#pending.values()) {
      pending.settle(GONE)
      pending.abort()
    }
    this.#pending.clear()
    this.#cache.clear()
  }

  async #ask(
    name: string,
    type: AddressType,
    signal: AbortSignal,
  ): Promise<{ outcome: Outcome; ttl: number }> {
    const servers = this.#usableServers()
    if (servers.length === 0) {
      const message = `cannot resolve ${name}: the VPN server gave no usable DNS server; name one with --dns`
      return { outcome: { kind: 'failed', code: 'name-failed', message }, ttl: 0 }
    }
    const deadline = this.#clock.now() + EXCHANGE_TIMEOUT
    const seen = new Set<string>([name])
    let target = name
    let ttl = Number.POSITIVE_INFINITY
    for (;;) {
      const reply = await exchange({
        network: this.#network,
        servers,
        name: target,
        type,
        deadline,
        clock: this.#clock,
        random: this.#random,
        signal,
      })
      if (reply.kind === 'failed') {
        const { code, message } = reply
        // RFC 9520 3.2: failures are remembered too, shortly; what happened to us is not about the name.
        const lasting = code === 'name-failed' || code === 'name-timed-out'
        return { outcome: { kind: 'failed', code, message }, ttl: lasting ? FAILURE_TTL : 0 }
      }
      const { answers, rcode, negativeTtl } = reply.response
      const chain = followChain(answers, target, type, seen)
      ttl = Math.min(ttl, chain.ttl)
      if (chain.kind === 'broken') {
        const message = `cannot resolve ${name}: its CNAME records go in a circle or on for too long`
        return { outcome: { kind: 'failed', code: 'name-failed', message }, ttl: FAILURE_TTL }
      }
      if (chain.kind === 'addresses')
        return { outcome: { kind: 'addresses', addresses: chain.addresses }, ttl }
      // RFC 2308 2.1: the code speaks of the end of the chain.
      const nxdomain = rcode === Rcode.NXDOMAIN
      if (nxdomain || chain.end === target || negativeTtl !== undefined) {
        const message = nxdomain ? `${name} does not exist` : `${name} has no ${type} record`
        return { outcome: { kind: 'absent', nxdomain, message }, ttl: Math.min(ttl, negativeTtl ?? 0) }
      }
      target = chain.end
    }
  }

  #usableServers(): readonly string[] {
    const { dnsServers, families } = this.#network
    const usable = new Set<string>()
    for (const text of this.#servers ?? dnsServers) {
      const address = normalizeAddress(text)
      if (address === undefined || !isOrdinaryAddress(address)) continue
      if (address.includes(':') ? families.ipv6 : families.ipv4) usable.add(address)
      if (usable.size === MAX_SERVERS) break
    }
    return [...usable]
  }
}

/** The error for a name of which no lookup gave an address. */
export function lookupError(name: string, outcomes: readonly Outcome[]): DialError {
  // That a name has no address is only certain if nobody failed to say so.
  for (const outcome of outcomes)
    if (outcome.kind === 'failed') return new DialError(outcome.code, outcome.message)
  for (const outcome of outcomes) {
    if (outcome.kind === 'absent' && outcome.nxdomain) return new DialError('name-not-found', outcome.message)
  }
  if (outcomes.length === 0) return new DialError('network-unreachable', 'the tunnel has no address')
  return new DialError('name-not-found', `${name} has no address that the tunnel could reach`)
}

type Chain =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[]; readonly ttl: number }
  /** No addresses in this answer; the chain's end is still to be asked for, or has none. */
  | { readonly kind: 'open'; readonly end: string; readonly ttl: number }
  | { readonly kind: 'broken'; readonly ttl: number }

/** Follows CNAME and DNAME records within one answer; only records of the chain count (RFC 1034 3.6.2, 6672). */
function followChain(
  answers: readonly HostRecord[],
  name: string,
  type: AddressType,
  seen: Set<string>,
): Chain {
  let end = name
  let ttl = Number.POSITIVE_INFINITY
  for (;;) {
    const addresses: string[] = []
    let next: string | undefined
    let nextTtl = 0
    for (const record of answers) {
      if (record.type === 'A' || record.type === 'AAAA') {
        if (record.type !== type || record.name !== end || addresses.length === MAX_ADDRESSES) continue
        const address = normalizeAddress(record.address)
        // A mapped IPv4 address is not one to be reached over IPv6.
        if (address === undefined || address.includes(':') !== (type === 'AAAA')) continue
        addresses.push(address)
        ttl = Math.min(ttl, record.ttl)
      } else if (next === undefined) {
        next = redirect(record, end)
        nextTtl = record.ttl
      }
    }
    if (addresses.length > 0) return { kind: 'addresses', addresses, ttl }
    if (next === undefined) return { kind: 'open', end, ttl }
    if (seen.has(next) || seen.size > MAX_CHAIN) return { kind: 'broken', ttl }
    seen.add(next)
    ttl = Math.min(ttl, nextTtl)
    end = next
  }
}

function redirect(record: HostRecord, name: string): string | undefined {
  if (record.type === 'CNAME') return record.name === name ? record.target : undefined
  if (record.type !== 'DNAME' || !name.endsWith(`.${record.name}`)) return undefined
  const moved = name.slice(0, -record.name.length) + record.target
  return moved.length > MAX_NAME ? undefined : moved
}

/** One question that is under way, and those who wait for it. */
class Pending {
  readonly #controller = new AbortController()
  readonly #waiting = new Set<(outcome: Outcome) => void>()

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** `onLast` is called when the last one who waited has given up; the question is given up with it. */
  join(signal: AbortSignal | undefined, onLast: () => void): Promise<Outcome> {
    return new Promise((resolve) => {
      const done = (outcome: Outcome): void => {
        signal?.removeEventListener('abort', leave)
        resolve(outcome)
      }
      const leave = (): void => {
        this.#waiting.delete(done)
        done(GIVEN_UP)
        if (this.#waiting.size > 0) return
        onLast()
        this.abort()
      }
      this.#waiting.add(done)
      if (signal?.aborted) leave()
      else signal?.addEventListener('abort', leave)
    })
  }

  settle(outcome: Outcome): void {
    for (const done of this.#waiting) done(outcome)
    this.#waiting.clear()
  }

  abort(): void {
    this.#controller.abort()
  }
}

const GIVEN_UP: Outcome = { kind: 'failed', code: 'aborted', message: 'given up' }
const GONE: Outcome = { kind: 'failed', code: 'tunnel-down', message: 'the tunnel is gone' }
const MAX_NAME = 253
// Ours: milliseconds, seconds, counts.
const EXCHANGE_TIMEOUT = 10_000
const RESOLVE_TIMEOUT = 30_000
const FAILURE_TTL = 5
const MAX_SERVERS = 6
const MAX_CHAIN = 16
const MAX_ADDRESSES = 256
