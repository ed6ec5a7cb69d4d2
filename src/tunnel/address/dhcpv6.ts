/**
 * A DHCPv6 client (RFC 8415) for one address and for the name servers, on a link with one neighbour. Sans-I/O.
 *
 * Exchanges begin at once: the delays by chance of RFC 8415 18.2.1 and 18.2.6 keep the hosts of a link apart, and
 * here is only one. One that is not answered after {@link TRIES} is given up until its owner starts it again.
 */
import type { IpAddress } from '../../../stack/index.js'
import { Backoff, type BackoffTimes } from './backoff.js'
import {
  type Dhcpv6Message,
  Dhcpv6Option,
  Dhcpv6Status,
  Dhcpv6Type,
  type LeasedAddress,
  readDhcpv6,
  writeDhcpv6,
} from './dhcpv6-message.js'
import type { TimedAddress } from './router.js'

const NEVER = Number.POSITIVE_INFINITY
const TRIES = 4
/** RFC 8415 7.6. */
const SOLICIT = { first: 1_000, longest: 3_600_000, tries: TRIES, late: true }
const REQUEST = { first: 1_000, longest: 30_000, tries: TRIES }
const RENEW = { first: 10_000, longest: 600_000, tries: NEVER }
const REBIND = { first: 10_000, longest: 600_000, tries: NEVER }
const INFORMATION = { first: 1_000, longest: 3_600_000, tries: TRIES }
const DEFAULT_REFRESH = 86_400_000
const MIN_REFRESH = 600_000
/** A server cannot have us ask more often than that, whatever times it gives. */
const MIN_RENEW = 60_000
const BEST_PREFERENCE = 255
const WANTED = [Dhcpv6Option.DNS_SERVERS, Dhcpv6Option.DOMAIN_LIST]
/** Requests that a server refused, before we leave it at that. */
const MAX_REFUSALS = 2

type State =
  | 'idle'
  | 'soliciting'
  | 'requesting'
  | 'bound'
  | 'renewing'
  | 'rebinding'
  | 'informing'
  | 'informed'

export interface Dhcpv6Options {
  /** The client's DUID (RFC 8415 11), the same at every call. */
  readonly duid: Uint8Array
  /** 32 bits, unsigned. */
  readonly iaid: number
  /** 0 to 1 by chance. */
  readonly fraction: () => number
  /** Sends a message from port 546 to all servers. */
  readonly send: (message: Uint8Array) => void
}

export class Dhcpv6Client {
  private readonly options: Dhcpv6Options
  private state: State = 'idle'
  private transaction = 0
  private began = 0
  private backoff: Backoff | undefined
  private sendAt = NEVER
  private offer: Dhcpv6Message | undefined
  private server: Uint8Array | undefined
  private leases: TimedAddress[] = []
  private t1 = NEVER
  private t2 = NEVER
  private refusals = 0
  private servers: readonly IpAddress[] = []
  private domains: readonly string[] = []

  constructor(options: Dhcpv6Options) {
    this.options = options
  }

  /** It is trying to get an address. */
  get busy(): boolean {
    return this.state === 'soliciting' || this.state === 'requesting'
  }

  get addresses(): readonly TimedAddress[] {
    return this.leases
  }

  get dnsServers(): readonly IpAddress[] {
    return this.servers
  }

  get domainList(): readonly string[] {
    return this.domains
  }

  /** Asks for an address and the rest; nothing if it has one or is at it. */
  solicit(now: number): void {
    if (this.state !== 'idle' && this.state !== 'informing' && this.state !== 'informed') return
    this.refusals = 0
    this.enter('soliciting', now)
  }

  /** Asks for all but an address, if nothing else is under way. */
  inform(now: number): void {
    if (this.state === 'idle') this.enter('informing', now)
  }

  /** RFC 8415 18.2.7, once and without waiting for the answer: the link goes away. */
  release(now: number): void {
    const { server, leases } = this
    if (server !== undefined && leases.length > 0) {
      this.begin(now)
      this.write(Dhcpv6Type.RELEASE, now)
    }
    this.stop()
  }

  stop(): void {
    this.state = 'idle'
    this.sendAt = this.t1 = this.t2 = NEVER
    this.leases = []
    this.servers = []
    this.domains = []
    this.server = undefined
    this.offer = undefined
  }

  // ---------------------------------------------------------------- messages

  input(b: Uint8Array, o: number, len: number, now: number): void {
    const m = readDhcpv6(b, o, len, this.options.iaid)
    if (m === undefined || m.transaction !== this.transaction || this.sendAt === NEVER) return
    // RFC 8415 16.3, 16.10.
    if (m.serverId === undefined) return
    if (m.clientId === undefined ? this.state !== 'informing' : !same(m.clientId, this.options.duid)) return
    if (m.type === Dhcpv6Type.ADVERTISE && this.state === 'soliciting') this.advertised(m, now)
    else if (m.type === Dhcpv6Type.REPLY) this.replied(m, now)
  }

  private advertised(m: Dhcpv6Message, now: number): void {
    if (m.maxSolicit !== undefined) this.longest = m.maxSolicit
    if (!hasAddress(m)) return
    if (this.offer === undefined || m.preference > this.offer.preference) this.offer = m
    // RFC 8415 18.2.1: in the first period others may have a better one to make.
    if (m.preference === BEST_PREFERENCE || (this.backoff?.count ?? 0) > 1) this.accept(now)
  }

  private accept(now: number): void {
    this.server = this.offer?.serverId
    this.enter('requesting', now)
  }

  private replied(m: Dhcpv6Message, now: number): void {
    switch (this.state) {
      case 'informing':
        this.learn(m)
        this.state = 'informed'
        this.sendAt = now + Math.max(MIN_REFRESH, m.refresh ?? DEFAULT_REFRESH)
        return
      case 'soliciting':
        if (m.rapidCommit && hasAddress(m)) this.bind(m, now)
        return
      case 'requesting':
        if (hasAddress(m)) this.bind(m, now)
        else this.refused(now)
        return
      case 'renewing':
      case 'rebinding':
        // RFC 8415 18.2.10.1: the server has forgotten us.
        if (m.ia?.status === Dhcpv6Status.NO_BINDING) {
          this.server = m.serverId
          if (this.refusals++ < MAX_REFUSALS) this.enter('requesting', now)
        } else if (m.ia !== undefined && m.status === Dhcpv6Status.SUCCESS && m.ia.addresses.length > 0)
          this.bind(m, now)
        return
      default:
        return
    }
  }

  private refused(now: number): void {
    this.offer = undefined
    this.server = undefined
    if (this.refusals++ < MAX_REFUSALS) this.enter('soliciting', now)
    else this.giveUp()
  }

  private bind(m: Dhcpv6Message, now: number): void {
    const { ia } = m
    if (ia === undefined) return
    this.learn(m)
    this.server = m.serverId
    this.offer = undefined
    this.refusals = 0
    const leases = new Map(this.leases.map((lease) => [lease.address.toString(), lease]))
    for (const { address, preferred, valid } of ia.addresses) {
      if (valid === 0) leases.delete(address.toString())
      else leases.set(address.toString(), { address, preferred: now + preferred, valid: now + valid })
    }
    // A server that gives another address each time keeps only the last ones alive.
    this.leases = [...leases.values()].slice(-MAX_LEASES)
    const { t1, t2 } = renewalTimes(ia.t1, ia.t2, ia.addresses)
    this.state = 'bound'
    this.sendAt = NEVER
    this.t1 = now + t1
    this.t2 = now + t2
    if (this.leases.length === 0) this.refused(now)
  }

  private learn(m: Dhcpv6Message): void {
    this.servers = m.servers
    this.domains = m.domains
  }

  private enter(state: State, now: number): void {
    const kinds: Partial<Record<State, BackoffTimes>> = {
      soliciting: { ...SOLICIT, longest: this.longest },
      requesting: REQUEST,
      renewing: RENEW,
      rebinding: REBIND,
      informing: INFORMATION,
    }
    const times = kinds[state]
    if (times === undefined) return
    this.state = state
    if (state === 'soliciting') this.offer = undefined
    this.backoff = new Backoff(times, this.options.fraction)
    this.begin(now)
    this.transmit(now)
  }

  private begin(now: number): void {
    this.transaction = Math.floor(this.options.fraction() * 0x1000000) & 0xffffff
    this.began = now
  }

  private transmit(now: number): void {
    const wait = this.backoff?.next()
    if (wait === undefined) {
      this.giveUp()
      return
    }
    this.sendAt = now + wait
    switch (this.state) {
      case 'soliciting':
        this.write(Dhcpv6Type.SOLICIT, now)
        return
      case 'requesting':
        this.write(Dhcpv6Type.REQUEST, now)
        return
      case 'renewing':
        this.write(Dhcpv6Type.RENEW, now)
        return
      case 'rebinding':
        this.write(Dhcpv6Type.REBIND, now)
        return
      case 'informing':
        this.write(Dhcpv6Type.INFORMATION_REQUEST, now)
        return
      default:
        return
    }
  }

  private write(type: number, now: number): void {
    const { duid, iaid, send } = this.options
    const held = this.leases.map((lease) => lease.address)
    const offered = this.offer?.ia?.addresses.map((lease) => lease.address) ?? held
    const addresses = type === Dhcpv6Type.SOLICIT ? [] : type === Dhcpv6Type.REQUEST ? offered : held
    const informing = type === Dhcpv6Type.INFORMATION_REQUEST
    const toAny = informing || type === Dhcpv6Type.SOLICIT || type === Dhcpv6Type.REBIND
    const extra = informing
      ? [Dhcpv6Option.INFORMATION_REFRESH_TIME, Dhcpv6Option.INF_MAX_RT]
      : [Dhcpv6Option.SOL_MAX_RT]
    send(
      writeDhcpv6({
        type,
        transaction: this.transaction,
        clientId: duid,
        serverId: toAny ? undefined : this.server,
        elapsed: now - this.began,
        rapidCommit: type === Dhcpv6Type.SOLICIT,
        ...(informing ? {} : { ia: { iaid, addresses } }),
        wanted: type === Dhcpv6Type.RELEASE ? [] : [...WANTED, ...extra],
      }),
    )
  }

  private longest: number = SOLICIT.longest

  private giveUp(): void {
    this.sendAt = NEVER
    this.state = this.leases.length > 0 ? 'bound' : 'idle'
  }

  // ---------------------------------------------------------------- time

  nextTimeout(): number {
    let next = this.sendAt
    if (this.state === 'bound') next = Math.min(next, this.t1)
    if (this.state === 'bound' || this.state === 'renewing') next = Math.min(next, this.t2)
    for (const { preferred, valid } of this.leases) {
      next = Math.min(next, valid)
      if (preferred > 0) next = Math.min(next, preferred)
    }
    return next
  }

  handleTimeout(now: number): void {
    this.expire(now)
    if ((this.state === 'bound' || this.state === 'renewing') && now >= this.t2) {
      this.t1 = this.t2 = NEVER
      this.enter('rebinding', now)
      return
    }
    if (this.state === 'bound' && now >= this.t1) {
      this.t1 = NEVER
      this.enter('renewing', now)
      return
    }
    if (now < this.sendAt) return
    if (this.state === 'informed') this.enter('informing', now)
    else if (this.state === 'soliciting' && this.offer !== undefined) this.accept(now)
    else this.transmit(now)
  }

  private expire(now: number): void {
    if (this.leases.length === 0) return
    this.leases = this.leases
      .filter((lease) => lease.valid > now)
      .map((lease) => (lease.preferred > 0 && lease.preferred <= now ? { ...lease, preferred: 0 } : lease))
    if (this.leases.length > 0) return
    // The last one has ended: begin anew, and give up as ever.
    this.stop()
    this.solicit(now)
  }
}

/** RFC 8415 18.2.4: what the server leaves open. */
function renewalTimes(
  t1: number,
  t2: number,
  addresses: readonly LeasedAddress[],
): { t1: number; t2: number } {
  const shortest = Math.min(...addresses.map((a) => (a.valid === 0 ? NEVER : a.preferred)))
  const first = Math.max(MIN_RENEW, t1 === 0 ? 0.5 * shortest : t1)
  return { t1: first, t2: Math.max(first, t2 === 0 ? 0.8 * shortest : t2) }
}

function hasAddress(m: Dhcpv6Message): boolean {
  const { ia } = m
  return (
    m.status === Dhcpv6Status.SUCCESS &&
    ia !== undefined &&
    ia.status === Dhcpv6Status.SUCCESS &&
    ia.addresses.some((lease) => lease.valid > 0)
  )
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i])
}

/** Addresses held at a time. */
const MAX_LEASES = 4
