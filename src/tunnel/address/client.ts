/**
 * What the network says about itself once IPCP and IPV6CP are done: addresses, routers, name servers, domains and
 * routes, by router advertisements, DHCPv6 and DHCPINFORM. Sans-I/O: packets and the time go in, packets come out.
 *
 * The order of events is the hosts': solicit routers; do what their M and O flags say; without any router for 12 s try
 * DHCPv6 all the same; give up with what is there. IPv4 asks by itself, and nobody waits for it.
 */
import { u8, u16, u32 } from '../../../stack/bytes.js'
import type { IpAddress } from '../../../stack/index.js'
import {
  isNeighbourDiscovery,
  V6_NEIGHBOUR_SOLICITATION,
  V6_ROUTER_ADVERTISEMENT,
} from '../../../stack/wire/icmpv6.js'
import { PROTO_ICMPV6 } from '../../../stack/wire/ipv4.js'
import { nextHeader } from '../../../stack/wire/ipv6.js'
import {
  ALL_DHCP_SERVERS,
  ALL_NODES,
  ALL_ROUTERS,
  BROADCAST_V4,
  icmpPacket,
  isSolicitedNode,
  linkLocal,
  ND_HOP_LIMIT,
  newReadPacket,
  type ReadPacket,
  readPacket,
  udpPacket,
  upperLayerAt,
} from '../../link/packet.js'
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpInform } from './dhcp-inform.js'
import { Dhcpv6Client } from './dhcpv6.js'
import { DHCPV6_CLIENT_PORT, DHCPV6_SERVER_PORT } from './dhcpv6-message.js'
import {
  neighbourAdvertisement,
  readRouterAdvertisement,
  routerSolicitation,
  solicitedTarget,
} from './neighbour.js'
import { RouterDiscovery, type TimedAddress } from './router.js'
import { type Cidr, MAX_ROUTES } from './routes.js'

const NEVER = Number.POSITIVE_INFINITY
/** Packets waiting to be fetched; what comes on top is lost. */
const MAX_QUEUE = 32
const MAX_SERVERS = 8
const MAX_DOMAINS = 32
/** What was not said that long after the first solicitation is not going to be. */
const PATIENCE = 12_000

export interface AddressClientOptions {
  readonly random: (dst: Uint8Array) => void
  /** For DHCPv6: the client's DUID, and a number for this link. */
  readonly duid: Uint8Array
  readonly iaid: number
  /** Milliseconds for routers to advertise something, and again for DHCPv6 servers; 12 s by default. */
  readonly patience?: number
}

/** What is known at a moment. */
export interface Learnt {
  /** IPv6, not the link-local one, the best first. */
  readonly addresses: readonly IpAddress[]
  /** Of these, such that are not to be used for anything new. */
  readonly deprecated: readonly IpAddress[]
  /** IPv6 packets can leave the link. */
  readonly routed: boolean
  /** The link's, by an advertisement. */
  readonly mtu: number | undefined
  /** Of router advertisements, then DHCPv6, then DHCPINFORM. */
  readonly dns: readonly IpAddress[]
  readonly search: readonly string[]
  readonly routes: readonly Cidr[]
  /** IPv6 has no address, and everything was tried. */
  readonly ipv6Failed: boolean
}

const NOTHING: Learnt = {
  addresses: [],
  deprecated: [],
  routed: false,
  mtu: undefined,
  dns: [],
  search: [],
  routes: [],
  ipv6Failed: false,
}

export class AddressClient {
  /** Grows when {@link learnt} changes. */
  version = 0
  learnt: Learnt = NOTHING
  private readonly inform: DhcpInform
  private readonly dhcpv6: Dhcpv6Client
  private readonly fraction: () => number
  private linkLocal: IpAddress | undefined
  private router: RouterDiscovery | undefined
  /** DHCPv6 was tried although no router said so. */
  private desperate = false
  /** IPV6CP was negotiated anew: what was known is, until something is known anew. */
  private holds = false
  private readonly queue: Uint8Array[] = []
  private readonly packet: ReadPacket = newReadPacket()
  private readonly patience: number
  private now = 0

  constructor(options: AddressClientOptions) {
    const word = new Uint8Array(4)
    this.patience = options.patience ?? PATIENCE
    this.fraction = () => {
      options.random(word)
      return u32(word, 0) / 0x100000000
    }
    this.inform = new DhcpInform({
      random: options.random,
      send: (from, message) =>
        this.push(udpPacket(from, DHCP_CLIENT_PORT, BROADCAST_V4, DHCP_SERVER_PORT, message)),
    })
    this.dhcpv6 = new Dhcpv6Client({
      duid: options.duid,
      iaid: options.iaid,
      fraction: this.fraction,
      send: (message) => {
        if (this.linkLocal === undefined) return
        const { linkLocal: from } = this
        this.push(udpPacket(from, DHCPV6_CLIENT_PORT, ALL_DHCP_SERVERS, DHCPV6_SERVER_PORT, message))
      },
    })
  }

  // ---------------------------------------------------------------- the link

  startIpv4(address: IpAddress, now: number): void {
    this.now = now
    this.inform.start(address, now)
    this.update()
  }

  stopIpv4(): void {
    this.inform.stop()
    this.update()
  }

  /** IPV6CP is open; `identifier` has 8 octets. @returns our link-local address */
  startIpv6(identifier: Uint8Array, now: number): IpAddress {
    this.now = now
    this.dhcpv6.stop()
    this.desperate = false
    this.holds = this.learnt.addresses.length > 0
    // Whoever carries out what is known has to do so on the new link.
    if (this.holds) this.version++
    const from = linkLocal(identifier)
    this.linkLocal = from
    this.router = new RouterDiscovery(identifier, this.fraction, () =>
      this.push(icmpPacket(from, ALL_ROUTERS, routerSolicitation())),
    )
    this.router.start(now, this.patience)
    this.update()
    return from
  }

  stopIpv6(): void {
    this.holds = false
    this.router = undefined
    this.dhcpv6.stop()
    this.linkLocal = undefined
    this.update()
  }

  /** A DHCPv6 server is being asked for an address. */
  get asksForAddress(): boolean {
    return this.dhcpv6.busy
  }

  /** The call is about to end: leased addresses are given back. */
  release(now: number): void {
    this.now = now
    this.dhcpv6.release(now)
  }

  // ---------------------------------------------------------------- packets

  /** The next packet to send, whole; undefined: none. */
  next(): Uint8Array | undefined {
    return this.queue.shift()
  }

  private push(packet: Uint8Array): void {
    if (this.queue.length < MAX_QUEUE) this.queue.push(packet)
  }

  /**
   * A packet that the stack has no use for, in place: its IP header is proven. What is not for us costs a look at its
   * headers. @returns true if it was meant for us
   */
  input(b: Uint8Array, off: number, len: number, now: number): boolean {
    const at = upperLayerAt(b, off, len)
    if (at < 0) return false
    const four = u8(b, off) >>> 4 === 4
    if (!four && nextHeader(b, off) === PROTO_ICMPV6) {
      if (this.router === undefined || !isNeighbourDiscovery(b, at)) return false
      this.now = now
      if (readPacket(b, off, len, this.packet)) this.neighbour(b, this.router)
      return true
    }
    const ours = four ? u16(b, at + 2) === DHCP_CLIENT_PORT : u16(b, at + 2) === DHCPV6_CLIENT_PORT
    if (!ours || (!four && this.linkLocal === undefined)) return false
    this.now = now
    const { packet } = this
    if (!readPacket(b, off, len, packet)) return true
    if (four && packet.sourcePort === DHCP_SERVER_PORT) this.inform.input(b, packet.offset, packet.length)
    else if (!four) this.dhcpv6.input(b, packet.offset, packet.length, now)
    this.update()
    return true
  }

  /** RFC 4861 6.1.2, 7.1.1: what came over a router is no neighbour's. */
  private neighbour(b: Uint8Array, router: RouterDiscovery): void {
    const { packet } = this
    if (packet.hopLimit !== ND_HOP_LIMIT) return
    switch (u8(b, packet.offset)) {
      case V6_ROUTER_ADVERTISEMENT: {
        if (!packet.source.isLinkLocal) return
        const ra = readRouterAdvertisement(b, packet.offset, packet.length)
        if (ra === undefined) return
        router.advertised(ra, packet.source, this.now)
        this.asTold(router)
        this.update()
        return
      }
      case V6_NEIGHBOUR_SOLICITATION:
        this.solicited(b)
        return
    }
  }

  /** The flags are one host's word on how addresses are got here; a lease is kept when they change. */
  private asTold(router: RouterDiscovery): void {
    if (router.managed) this.dhcpv6.solicit(this.now)
    else if (router.other) this.dhcpv6.inform(this.now)
  }

  /** RFC 4861 7.2.4. Routers ask by this whether we are still there. */
  private solicited(b: Uint8Array): void {
    const { source, destination, offset, length } = this.packet
    const target = solicitedTarget(b, offset, length)
    if (target === undefined || this.linkLocal === undefined) return
    if (!target.equals(this.linkLocal) && !this.learnt.addresses.some((a) => a.equals(target))) return
    if (!destination.equals(target) && !isSolicitedNode(destination, target)) return
    // Somebody wants to take our address (RFC 4862 5.4.3): all are told that it is ours.
    const probe = source.isUnspecified
    if (probe && !destination.isMulticast) return
    this.push(icmpPacket(target, probe ? ALL_NODES : source, neighbourAdvertisement(target, !probe)))
  }

  // ---------------------------------------------------------------- time

  nextTimeout(): number {
    return Math.min(this.router?.nextTimeout() ?? NEVER, this.dhcpv6.nextTimeout(), this.inform.nextTimeout())
  }

  handleTimeout(now: number): void {
    this.now = now
    const { router } = this
    router?.handleTimeout(now)
    if (router?.silent === true && !this.desperate) {
      this.desperate = true
      this.dhcpv6.solicit(now)
    }
    this.dhcpv6.handleTimeout(now)
    this.inform.handleTimeout(now)
    this.update()
  }

  // ---------------------------------------------------------------- what is known

  private update(): void {
    const learnt = this.collect()
    if (learnt.addresses.length > 0 || learnt.ipv6Failed) this.holds = false
    if (this.holds || sameLearnt(learnt, this.learnt)) return
    this.learnt = learnt
    this.version++
  }

  private collect(): Learnt {
    const { router, dhcpv6, now } = this
    const timed: TimedAddress[] = [...(router?.addresses ?? []), ...dhcpv6.addresses]
    const usable = timed.filter((a) => a.valid > now)
    const fresh = usable.filter((a) => a.preferred > now)
    const old = usable.filter((a) => a.preferred <= now)
    const addresses = unique([...fresh, ...old].map((a) => a.address))
    const known = router?.router
    const { answer } = this.inform
    const domain = answer?.domain === undefined ? [] : [answer.domain]
    return {
      addresses,
      deprecated: unique(old.map((a) => a.address)).filter((a) => !fresh.some((f) => f.address.equals(a))),
      // Nobody advertises anything, but there is an address: on this link everything goes to the one neighbour.
      routed: addresses.length > 0 && known !== 'no',
      mtu: router?.mtu,
      // What DHCP says goes ahead of what a router says (RFC 8106 5.3.1).
      dns: unique([...dhcpv6.dnsServers, ...(answer?.servers ?? []), ...(router?.servers ?? [])]).slice(
        0,
        MAX_SERVERS,
      ),
      search: [
        ...new Set([...dhcpv6.domainList, ...domain, ...(answer?.search ?? []), ...(router?.domains ?? [])]),
      ].slice(0, MAX_DOMAINS),
      routes: [...new Set([...(router?.routes ?? []), ...(answer?.routes ?? [])])].slice(0, MAX_ROUTES),
      ipv6Failed: router !== undefined && addresses.length === 0 && this.exhausted(router),
    }
  }

  /** Neither routers nor servers gave an address in time. */
  private exhausted(router: RouterDiscovery): boolean {
    return router.hopeless || (router.waited && !this.dhcpv6.busy)
  }
}

function unique(addresses: readonly IpAddress[]): IpAddress[] {
  return addresses.filter((a, i) => addresses.findIndex((other) => other.equals(a)) === i)
}

function sameLearnt(a: Learnt, b: Learnt): boolean {
  const key = (l: Learnt): string =>
    JSON.stringify([l.addresses, l.deprecated, l.dns].map((list) => list.map(String))) +
    JSON.stringify([l.routed, l.mtu ?? 0, l.search, l.routes, l.ipv6Failed])
  return key(a) === key(b)
}
