/**
 * The host's side of router discovery and stateless address configuration (RFC 4861 6.3, RFC 4862, RFC 8106) on a
 * link with one neighbour. Sans-I/O.
 *
 * There is no duplicate address detection: IPV6CP made the interface identifier unique on the link (RFC 5072 5).
 */
import type { IpAddress } from '../../../stack/index.js'
import { slaacAddress } from '../../link/packet.js'
import { Backoff } from './backoff.js'
import { Expiring } from './expiring.js'
import type { PrefixInformation, RouterAdvertisement } from './neighbour.js'
import { type Cidr, cidr6 } from './routes.js'

/** An address of ours, with the times at which it ends. */
export interface TimedAddress {
  readonly address: IpAddress
  /** New connections had better take another from then on. */
  readonly preferred: number
  /** It is ours no more from then on. */
  readonly valid: number
}

const NEVER = Number.POSITIVE_INFINITY
/** RFC 7559 2: the first wait, and the longest. */
const SOLICITATION = { first: 4_000, longest: 3_600_000, tries: NEVER }
/** RFC 4862 5.5.3 (e): nobody can end an address sooner by an unauthenticated message. */
const TWO_HOURS = 7_200_000

/**
 * What was told for a time is asked for anew when that is over, and kept for two tries: many a router gives its name
 * servers no longer than to the next advertisement (RFC 6106 5.1; later RFC 8106 5.1 wants three of these).
 */
const GRACE = 10_000

const MAX_ADDRESSES = 8
const MAX_ROUTERS = 8
const MAX_SERVERS = 8
const MAX_DOMAINS = 16
const MAX_ROUTES = 64
const MIN_MTU = 1280
/** RFC 4191 2.3 gives a route in three bits of preference and 128 of prefix; shorter than this is a default route. */
const DEFAULT_ROUTE = 0

export class RouterDiscovery {
  private readonly identifier: Uint8Array
  private readonly fraction: () => number
  private readonly solicit: () => void
  private backoff: Backoff | undefined
  private solicitAt = NEVER
  private solicitedAt = Number.NEGATIVE_INFINITY
  private patienceEnds = NEVER
  private hopeEnds = NEVER
  /** What the last advertisement says; undefined: none has come. */
  private last: RouterAdvertisement | undefined
  /**
   * Default routers by their addresses. Behind the one neighbour may be a whole network (SoftEther's hub): what one
   * router says of itself holds for no other (RFC 4861 6.3.4).
   */
  private readonly routers = new Expiring<true>(MAX_ROUTERS, 0)
  private readonly prefixes = new Map<string, TimedAddress>()
  private readonly dnsServers = new Expiring<IpAddress>(MAX_SERVERS, GRACE)
  private readonly domainList = new Expiring<string>(MAX_DOMAINS, GRACE)
  private readonly routeList = new Expiring<Cidr>(MAX_ROUTES, GRACE)
  private linkMtu: number | undefined
  /** The owner's patience is over: once, and twice over. */
  waited = false
  hopeless = false

  /** `identifier`: 8 octets of IPV6CP. `fraction`: 0 to 1 by chance. `solicit` sends a Router Solicitation. */
  constructor(identifier: Uint8Array, fraction: () => number, solicit: () => void) {
    this.identifier = identifier
    this.fraction = fraction
    this.solicit = solicit
  }

  /**
   * RFC 4861 6.3.7 wants a delay by chance first, for all the hosts that start when a link comes up: on this one
   * there is nobody but us.
   */
  start(now: number, patience: number): void {
    this.patienceEnds = now + patience
    this.hopeEnds = now + 2 * patience
    this.ask(now)
  }

  private ask(now: number): void {
    this.backoff ??= new Backoff(SOLICITATION, this.fraction)
    const wait = this.backoff.next()
    this.solicitedAt = now
    this.solicit()
    this.solicitAt = wait === undefined ? NEVER : now + wait
  }

  /** Something is over. A router that gives short times has us ask no more often for it. */
  private askAgain(now: number): void {
    if (this.solicitAt === NEVER) this.solicitAt = Math.max(now, this.solicitedAt + SOLICITATION.first)
  }

  advertised(ra: RouterAdvertisement, from: IpAddress, now: number): void {
    this.last = ra
    this.routers.set(from.toString(), true, now + ra.routerLifetime, now)
    // RFC 7559 2.1: one that is no default router is no answer, but what it says counts.
    if (ra.routerLifetime > 0) {
      this.solicitAt = NEVER
      this.backoff = undefined
    } else if (this.solicitAt === NEVER && this.routers.size === 0) {
      this.solicitAt = now + SOLICITATION.first
    }
    if (ra.mtu !== undefined && ra.mtu >= MIN_MTU) this.linkMtu = ra.mtu
    for (const prefix of ra.prefixes) this.prefix(prefix, now)
    for (const { prefix, bits, lifetime } of ra.routes) {
      if (prefix.isMulticast || (prefix.isLinkLocal && bits > DEFAULT_ROUTE)) continue
      const route = cidr6(prefix, bits)
      this.routeList.set(route, route, now + lifetime, now)
    }
    for (const { addresses, lifetime } of ra.servers) {
      for (const server of addresses) this.dnsServers.set(server.toString(), server, now + lifetime, now)
    }
    for (const { names, lifetime } of ra.domains) {
      for (const name of names) this.domainList.set(name, name, now + lifetime, now)
    }
  }

  /** RFC 4862 5.5.3. */
  private prefix(p: PrefixInformation, now: number): void {
    if (!p.autonomous || p.bits !== 64 || p.preferred > p.valid || p.prefix.isLinkLocal) return
    const address = slaacAddress(p.prefix, this.identifier)
    if (!address.isUnicast || address.isLoopback) return
    const name = address.toString()
    const known = this.prefixes.get(name)
    const preferred = now + p.preferred
    if (known === undefined) {
      if (p.valid === 0 || this.prefixes.size >= MAX_ADDRESSES) return
      this.prefixes.set(name, { address, preferred, valid: now + p.valid })
      return
    }
    const left = known.valid - now
    let { valid } = known
    if (p.valid > TWO_HOURS || p.valid > left) valid = now + p.valid
    else if (left > TWO_HOURS) valid = now + TWO_HOURS
    this.prefixes.set(name, { address, preferred: Math.min(preferred, valid), valid })
  }

  // ---------------------------------------------------------------- what is known

  get addresses(): readonly TimedAddress[] {
    return [...this.prefixes.values()]
  }

  get servers(): IpAddress[] {
    return this.dnsServers.values()
  }

  get domains(): string[] {
    return this.domainList.values()
  }

  get routes(): Cidr[] {
    return this.routeList.values()
  }

  get mtu(): number | undefined {
    return this.linkMtu
  }

  /** `unknown`: no advertisement has come. */
  get router(): 'yes' | 'no' | 'unknown' {
    if (this.last === undefined) return 'unknown'
    return this.routers.size > 0 || this.routeList.size > 0 ? 'yes' : 'no'
  }

  /** Nobody has advertised anything, and nobody is going to. */
  get silent(): boolean {
    return this.waited && this.last === undefined
  }

  get managed(): boolean {
    return this.last?.managed ?? false
  }

  get other(): boolean {
    return this.last?.other ?? false
  }

  // ---------------------------------------------------------------- time

  nextTimeout(): number {
    let next = Math.min(
      this.solicitAt,
      this.patienceEnds,
      this.hopeEnds,
      this.routers.nextTimeout(),
      this.dnsServers.nextTimeout(),
      this.domainList.nextTimeout(),
      this.routeList.nextTimeout(),
    )
    for (const { preferred, valid } of this.prefixes.values()) {
      next = Math.min(next, valid)
      // One that has been told of is past: it is put at no time.
      if (preferred > 0) next = Math.min(next, preferred)
    }
    return next
  }

  handleTimeout(now: number): void {
    if (now >= this.patienceEnds) {
      this.patienceEnds = NEVER
      this.waited = true
    }
    if (now >= this.hopeEnds) {
      this.hopeEnds = NEVER
      this.hopeless = true
    }
    if (this.routers.expire(now) && this.routers.size === 0) this.askAgain(now)
    for (const [name, entry] of this.prefixes) {
      if (entry.valid <= now) this.prefixes.delete(name)
      else if (entry.preferred <= now && entry.preferred > 0)
        this.prefixes.set(name, { ...entry, preferred: 0 })
    }
    const over = [this.dnsServers, this.domainList, this.routeList].map((list) => list.expire(now))
    if (over.includes(true)) this.askAgain(now)
    if (now >= this.solicitAt) this.ask(now)
  }
}
