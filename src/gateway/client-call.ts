/**
 * One client's call: its link, its stack, and what goes on from it by sockets of the host.
 */
import { randomFillSync } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import {
  type AnySocket,
  IpAddress,
  NetStack,
  type TcpConnection,
  type TcpListener,
  takeReady,
} from '../../stack/index.js'
import { Call, type CallOwner } from '../link/call.js'
import { Driver, monotonicNow, type Turns } from '../link/driver.js'
import { linkLocal } from '../link/packet.js'
import type { StackFlow } from '../link/stack-flow.js'
import { type PppEvent, PppLink } from '../ppp/link.js'
import { STATUS } from '../sstp/attribute.js'
import type { SstpEvent } from '../sstp/call.js'
import { SstpServer } from '../sstp/server.js'
import { eapServerTls } from '../transport/eap-trust.js'
import { oneLine } from '../transport/text.js'
import type { AddressPool } from './address-pool.js'
import { DnsForwarder } from './dns-forward.js'
import { EgressTcp, type EgressTcpHost } from './egress-tcp.js'
import { EgressUdp } from './egress-udp.js'
import type { GatewayEvent } from './events.js'
import type { LoginGuard } from './login-guard.js'
import type { GatewayOptions } from './options.js'
import { Policy } from './policy.js'
import type { RadiusService } from './radius/service.js'
import {
  RADIUS_METHODS,
  type RadiusSession,
  type SessionOwner,
  stationOf,
  TerminateCause,
  terminateCause,
} from './radius/session.js'
import type { Reporter } from './reporter.js'
import { ClientRouter, type Ipv6Plan } from './router.js'

/** What all calls of a gateway share. */
export interface GatewayContext {
  readonly options: GatewayOptions
  readonly pool: AddressPool
  readonly own: IpAddress
  /** What clients get of IPv6, if anything. */
  readonly ipv6?: Ipv6Plan | undefined
  readonly dns: readonly Uint8Array[]
  /** DER of the certificate that TLS showed. */
  readonly certificate: Uint8Array
  readonly guard: LoginGuard
  readonly radius?: RadiusService | undefined
  readonly reporter: Reporter
  /** Node's, unless a test has its own. */
  readonly clock?: () => number
  readonly turns?: Turns
}

/** A client as it came in. */
export interface Guest {
  readonly id: number
  /** `address:port`, for people. */
  readonly from: string
  /** What its address counts as, see `sourceOf`. */
  readonly source: string
  /** When it must have set its call up, by {@link monotonicNow}. */
  readonly deadline: number
  /** Before it has signed in, nothing is told of it. */
  readonly quiet: boolean
}

/** Who keeps the calls. */
export interface CallKeeper {
  /** The client has signed in. False: there are as many calls as there may be. */
  known(call: ClientCall): boolean
  over(call: ClientCall): void
}

const DEFAULT_MTU = 1400
/** RFC 8200 5: with less there is no IPv6. */
const IPV6_MIN_MTU = 1280
/** Without RADIUS: most clients take the first of these at once. */
const LOCAL_METHODS = ['mschapv2', 'eap-mschapv2', 'chap', 'pap'] as const
/** TCP connections of one client: each costs a socket of the host. */
const DEFAULT_MAX_CONNECTIONS = 1024
/** Of these, such whose far side has not answered; and in the listener's queue. */
const MAX_OPENING = 512
/** Octets of a connection in each direction: what a client that does not read, or acknowledge, can make us hold. */
const BUFFER = 512 * 1024
/** And of all its connections together, for each that it may have, which a client that does not read could use. */
const MEMORY_EACH = 64 * 1024
const LEAST_MEMORY = 16 * 1024 * 1024
const CLOSE_TIMEOUT = 2_500
const TERMINATE_PATIENCE = 1_500
/** From the HTTP handshake until LCP is agreed on, at most: clients that know what they want need two round trips. */
const BEGIN_TIMEOUT = 30_000
/** After IPV6CP: IPCP is agreed on in the same breath, or not at all. */
const IPV4_GRACE = 3_000
/** Octets from a client that has not signed in: twice the longest chain of certificates that EAP-TLS would carry. */
const MAX_EARLY = 262_144
/** SSTP's own limit comes that much later than ours, whose message says more. */
const FAREWELL = 5_000
/** For a peer to take what is left, and the end; its window may be shut for good. */
const LINGER = 3_000

export class ClientCall implements CallOwner, EgressTcpHost {
  readonly id: number
  readonly from: string
  private readonly guest: Guest
  private readonly context: GatewayContext
  private readonly socket: TLSSocket
  private readonly stack: NetStack
  private readonly call: Call
  private readonly router: ClientRouter | undefined
  private readonly driver: Driver
  private readonly policy: Policy
  private readonly dns: DnsForwarder
  private readonly udp: EgressUdp
  private readonly tcp = new Set<EgressTcp>()
  /** Of these, such that are not connected yet. */
  private readonly opening = new Set<EgressTcp>()
  private deferred: StackFlow[] = []
  private user: string | undefined
  private auth = ''
  private address: IpAddress | undefined
  /** What IPV6CP has agreed on for the client: 8 octets. */
  private interfaceId: Uint8Array | undefined
  private ipv4Expected = true
  /** Until when, if there is IPv6. */
  private ipv4By = Number.POSITIVE_INFINITY
  private connected = false
  private told = false
  private reason = ''
  private over = false
  private readonly keeper: CallKeeper
  private readonly radius: RadiusSession | undefined
  private cause: number | undefined
  /** It has not signed in yet, and has said so many octets. */
  private stranger = true
  private early = 0
  /** Passwords that were looked at, and are charged to its address until one is right. */
  private tries = 0
  /** By the name that the last of them was charged to: a RADIUS server may call the user something else. */
  private triedAs = ''
  /** When the set-up must be further than it is; Infinity once it is done. */
  private setUpBy = Number.POSITIVE_INFINITY
  private quiet: boolean
  onTrace?: (message: string) => void

  constructor(guest: Guest, socket: TLSSocket, context: GatewayContext, keeper: CallKeeper) {
    this.guest = guest
    this.id = guest.id
    this.from = guest.from
    this.quiet = guest.quiet
    this.socket = socket
    this.context = context
    this.keeper = keeper
    const { options } = context
    const random = (dst: Uint8Array): void => void randomFillSync(dst)
    const mtu = options.mtu ?? DEFAULT_MTU
    const connections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS
    this.stack = new NetStack({
      mtu,
      random,
      anyAddress: true,
      limits: {
        connections,
        memory: Math.max(LEAST_MEMORY, connections * MEMORY_EACH),
        backlog: MAX_OPENING,
        receiveBuffer: BUFFER / 2,
        receiveBufferMax: BUFFER,
        sendBuffer: BUFFER / 2,
        sendBufferMax: BUFFER,
      },
    })
    this.stack.addAddress(context.own)
    if (context.ipv6 !== undefined && mtu >= IPV6_MIN_MTU)
      this.router = new ClientRouter(this.stack, context.ipv6)
    this.stack.listen({ port: 0, hold: true, backlog: MAX_OPENING })
    const any = this.stack.openUdp({ any: true })
    if (any === undefined) throw new TypeError('a new stack has no any-address socket yet')
    this.radius = context.radius?.session(this.radiusOwner(mtu))
    const ppp = new PppLink({
      role: 'server',
      random,
      mru: mtu,
      auth: options.auth ?? (this.radius === undefined ? localMethods(options) : RADIUS_METHODS),
      tls: eapServerTls({
        identity: { context: { cert: options.cert, key: options.key } },
        ...(options.clientCa === undefined ? {} : { clientCa: options.clientCa }),
      }),
      ...(this.radius === undefined ? {} : { authenticator: this.radius }),
      onActivity: () => this.activity(),
      ipv6: this.router !== undefined,
      lookup: (user) => this.password(user),
      ownIpv4: context.own.toBytes(),
      assign: (user) => this.assign(user),
      dns: context.dns,
      trace: options.trace === true,
    })
    const sstp = new SstpServer({
      random,
      certificate: context.certificate,
      // The limit on the whole set-up is the one that counts.
      negotiationTimeout: Math.max(1, guest.deadline - (context.clock ?? monotonicNow)()) + FAREWELL,
    })
    if (options.trace === true) {
      this.onTrace = (message) => this.emit({ type: 'trace', call: this.id, message })
    }
    this.policy = new Policy(context.own, options.allowLoopback ?? false, context.ipv6?.own)
    this.call = new Call(sstp, ppp, this.stack, this)
    this.driver = new Driver(socket, this.call, context.clock, context.turns)
    this.dns = new DnsForwarder(this)
    this.udp = new EgressUdp(this.stack, any, this.policy, this.dns, this)
  }

  /** The HTTP handshake is done; `rest` came behind it. */
  start(rest: Uint8Array): void {
    const { socket, driver } = this
    this.emit({ type: 'accepted', call: this.id, from: this.from })
    this.setUpBy = Math.min(this.guest.deadline, driver.now() + BEGIN_TIMEOUT)
    socket.on('data', (chunk: Buffer) => this.received(chunk))
    socket.once('end', () => this.connectionClosed())
    socket.once('close', () => this.connectionClosed())
    this.call.start(driver.now())
    if (rest.length > 0) this.received(rest)
    driver.wake()
  }

  private received(chunk: Uint8Array): void {
    if (this.stranger) {
      this.early += chunk.length
      if (this.early > MAX_EARLY) {
        this.reason ||= `the client sent ${MAX_EARLY / 1024} KiB without signing in`
        this.socket.destroy()
        return
      }
    }
    this.driver.received(chunk, 0, chunk.length)
  }

  /** Gives the call up: its room is needed, or it took too long. */
  giveUp(reason: string): void {
    this.reason ||= reason
    this.call.sstp.abort(STATUS.NEGOTIATION_TIMEOUT, this.driver.now())
    this.driver.wake()
  }

  /** What its stack holds at this moment. */
  get held(): NetStack['held'] {
    return this.stack.held
  }

  /** Ends the call properly; within {@link CLOSE_TIMEOUT} in any case. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.over) {
        resolve()
        return
      }
      this.reason = 'the server stops'
      this.cause ??= TerminateCause.ADMIN_REBOOT
      const done = (): void => {
        clearTimeout(timer)
        clearTimeout(insist)
        this.socket.destroy()
        resolve()
      }
      const timer = setTimeout(done, CLOSE_TIMEOUT)
      // A client that is deaf to LCP still gets its CALL_DISCONNECT.
      const insist = setTimeout(() => {
        if (this.over) return
        this.call.disconnect(this.driver.now())
        this.driver.wake()
      }, TERMINATE_PATIENCE)
      this.socket.once('close', done)
      this.call.close(this.driver.now())
      this.driver.wake()
    })
  }

  // ---------------------------------------------------------------- what the call tells

  onSstp(event: SstpEvent): void {
    switch (event.type) {
      case 'connected':
        this.connected = true
        this.maybeUp()
        return
      case 'closing':
      case 'closed':
        if (event.error !== undefined) this.reason ||= event.error.message
        this.cause ??= terminateCause(event.error?.code)
        if (event.type === 'closed') this.finish()
        return
      default:
        return
    }
  }

  onPpp(event: PppEvent): void {
    switch (event.type) {
      case 'lcp-up':
        if (this.setUpBy !== Number.POSITIVE_INFINITY) this.setUpBy = this.guest.deadline
        return
      case 'authenticated':
        this.signedIn(event.user, event.method)
        return
      case 'ipv4-up': {
        const peer = event.peer === undefined ? undefined : IpAddress.fromBytes(event.peer)
        // Nobody sends in another's name.
        if (peer !== undefined) this.stack.setPeer(peer)
        this.address = peer
        this.stack.setMtu(this.call.ppp.mtu)
        this.maybeUp()
        return
      }
      case 'ipv6-up':
        this.router?.up(event.local, this.driver.now())
        this.interfaceId = event.peer
        this.stack.setMtu(this.call.ppp.mtu)
        if (!this.told) this.ipv4By = this.driver.now() + (this.ipv4Expected ? IPV4_GRACE : 0)
        return
      case 'ipv6-down':
        this.router?.down()
        // The last accounting record still tells it.
        if (!this.told) this.interfaceId = undefined
        this.ipv4By = Number.POSITIVE_INFINITY
        return
      case 'ipv4-down':
        if (event.error === undefined) return
        this.ipv4Expected = false
        // Of no account to a client that goes on with IPv6.
        if (!this.told || this.interfaceId === undefined) this.reason ||= event.error.message
        this.maybeUp()
        return
      case 'terminated':
        this.cause ??= terminateCause(event.error?.code)
        if (event.error !== undefined && event.error.code !== 'TERMINATED')
          this.reason ||= event.error.message
        return
      case 'trace':
        this.emit({ type: 'trace', call: this.id, message: event.message })
        return
      default:
        return
    }
  }

  /** @returns the account's password, undefined also if this address may not try it now */
  private password(user: string): string | undefined {
    const password = this.context.options.accounts.password(user)
    return this.tried(user) ? password : undefined
  }

  /** A password is about to be looked at. False: it is to be refused unseen, and told so as if it were wrong. */
  private tried(user: string): boolean {
    const { source } = this.guest
    const { guard, reporter } = this.context
    const refusal = guard.tried(source, user, this.driver.now())
    if (refusal === undefined) {
      this.tries++
      this.triedAs = user
      return true
    }
    const [code, message] =
      refusal === 'address'
        ? [
            'ADDRESS_LOCKED',
            `too many wrong passwords from ${source}: its next ones are not looked at for a while`,
          ]
        : ['ACCOUNT_LOCKED', 'too many wrong passwords for one account: addresses new to it must wait']
    reporter.warn(this.id, code, message)
    this.reason ||= message
    return false
  }

  private signedIn(user: string, method: string): void {
    this.user = user
    this.auth = method
    this.stranger = false
    if (this.tries > 0) this.context.guard.succeeded(this.guest.source, this.triedAs, this.driver.now())
    this.tries = 0
    if (this.quiet) {
      this.quiet = false
      this.emit({ type: 'accepted', call: this.id, from: this.from })
    }
    if (!this.keeper.known(this)) this.giveUp('as many calls are up as may be')
  }

  private maybeUp(): void {
    if (this.told || !this.connected) return
    const { id, from, auth, interfaceId } = this
    const ipv6 = interfaceId === undefined || this.ipv4Expected ? undefined : linkLocal(interfaceId)
    const address = this.address ?? ipv6
    if (address === undefined) return
    this.told = true
    this.reason = ''
    this.setUpBy = Number.POSITIVE_INFINITY
    this.ipv4By = Number.POSITIVE_INFINITY
    this.radius?.start(this.driver.now())
    this.emit({ type: 'up', call: id, from, user: this.user ?? '', auth, address: address.toString() })
  }

  private assigned: string | undefined

  private assign(user: string): Uint8Array | undefined {
    const fixed = this.radius?.framedIp
    if (fixed !== undefined) return this.claim(fixed, user)
    this.assigned ??= this.context.pool.take()
    if (this.assigned === undefined) {
      this.reason ||= `no address is left in ${this.context.pool.cidr}`
      return undefined
    }
    return IpAddress.parse(this.assigned)?.toBytes()
  }

  /** Takes the address that the RADIUS server has for this client. */
  private claim(fixed: Uint8Array, user: string): Uint8Array | undefined {
    const { pool, radius, reporter } = this.context
    const address = IpAddress.fromBytes(fixed)?.toString() ?? ''
    const holder = radius?.holders.get(address)
    const own = holder !== undefined && holder.user === user
    // Who comes back over another network must not wait until their last call is found to be dead.
    if (own) holder.handOver()
    const result = own ? 'claimed' : pool.claim(address)
    if (result === 'claimed') {
      this.assigned = address
      radius?.holders.set(address, { user, handOver: () => this.handOver() })
      return fixed
    }
    const why = result === 'taken' ? 'another client has it' : `it is none of ${pool.cidr}'s for clients`
    this.reason ||= `the RADIUS server wants ${oneLine(user)} to have ${address}, but ${why}`
    reporter.warn(this.id, 'RADIUS_ADDRESS', this.reason)
    return undefined
  }

  private handOver(): void {
    this.assigned = undefined
    this.cause ??= TerminateCause.LOST_CARRIER
    this.giveUp('the same user has come again, and has the same address')
  }

  private radiusOwner(mtu: number): SessionOwner {
    return {
      call: this.id,
      station: stationOf(this.socket.remoteAddress),
      mtu,
      framed: () => ({ ipv4: this.address?.toBytes(), interfaceId: this.interfaceId }),
      usage: () => {
        const { bytesIn, bytesOut, packetsIn, packetsOut } = this.stack.counters
        return { octetsIn: bytesIn, octetsOut: bytesOut, packetsIn, packetsOut }
      },
      mayTry: (user) => this.tried(user),
      untried: (user, counts) => {
        if (!counts) this.withdraw(user)
        // By PPP's own means the client would hear that its password is wrong, and never try it again.
        this.giveUp('no RADIUS server could be asked')
      },
      expired: (user) => {
        this.withdraw(user)
        this.reason ||= 'the password has expired'
      },
      warn: (code, message) => this.context.reporter.warn(this.id, code, message),
    }
  }

  /** The try that was charged last does not count. */
  private withdraw(user: string): void {
    this.tries = Math.max(0, this.tries - 1)
    this.context.guard.withdraw(this.guest.source, user, this.driver.now())
  }

  /** What PPP waits for outside has gone on. */
  private activity(): void {
    if (this.over) return
    this.call.poke(this.driver.now())
    this.driver.wake()
  }

  // ---------------------------------------------------------------- sockets

  dispatch(now: number): void {
    if (this.deferred.length > 0) {
      const flows = this.deferred
      this.deferred = []
      for (const flow of flows) flow.settle()
    }
    for (let s = this.stack.nextReady(); s !== undefined; s = this.stack.nextReady()) this.ready(s, now)
  }

  nextTimeout(): number {
    const radius = this.radius?.nextTimeout() ?? Number.POSITIVE_INFINITY
    const router = this.router?.nextTimeout() ?? Number.POSITIVE_INFINITY
    return Math.min(this.udp.nextTimeout(), this.dns.nextTimeout(), this.setUpBy, this.ipv4By, radius, router)
  }

  handleTimeout(now: number): void {
    if (now >= this.setUpBy) {
      this.setUpBy = Number.POSITIVE_INFINITY
      // One may do with IPv6 alone.
      this.ipv4Expected = false
      this.maybeUp()
      if (!this.told) this.giveUp('the client did not set its call up in time')
    }
    if (now >= this.ipv4By) {
      this.ipv4By = Number.POSITIVE_INFINITY
      this.ipv4Expected = false
      this.maybeUp()
    }
    this.udp.handleTimeout(now)
    this.dns.handleTimeout(now)
    this.router?.handleTimeout(now)
    const cause = this.radius?.handleTimeout(now)
    if (cause === undefined) return
    this.cause ??= cause
    this.reason ||=
      cause === TerminateCause.IDLE_TIMEOUT
        ? 'the client was idle for as long as RADIUS allows'
        : 'the time that RADIUS allows is over'
    this.call.close(now)
  }

  now(): number {
    return this.driver.now()
  }

  wake(): void {
    this.driver.wake()
  }

  defer(flow: StackFlow): void {
    this.deferred.push(flow)
    this.driver.wake()
  }

  private ready(s: AnySocket, now: number): void {
    const bits = takeReady(s)
    switch (s.kind) {
      case 'tcp':
        if (s.owner instanceof EgressTcp) s.owner.onReady(bits)
        return
      case 'listener':
        this.accept(s, now)
        return
      case 'udp':
        this.udp.ready(now)
        return
      case 'ping':
        return
    }
  }

  private accept(listener: TcpListener, now: number): void {
    for (let c = this.stack.accept(listener); c !== undefined; c = this.stack.accept(listener))
      this.goOn(c, now)
  }

  private goOn(c: TcpConnection, now: number): void {
    const { local, localPort } = c.tuple
    const to = this.policy.judge(local, localPort)
    const endpoint = to.kind === 'dns' ? this.dns.first : to.kind === 'host' ? to.endpoint : undefined
    if (endpoint === undefined) {
      c.refuse('refused', now)
      return
    }
    if (this.opening.size >= MAX_OPENING) {
      // As a full listener does it: silence, and the client's next SYN may find room.
      c.refuse('timed-out', now)
      return
    }
    const egress = new EgressTcp(c, endpoint, this)
    this.tcp.add(egress)
    this.opening.add(egress)
  }

  tcpOpened(egress: EgressTcp): void {
    this.opening.delete(egress)
  }

  tcpDone(egress: EgressTcp): void {
    this.opening.delete(egress)
    this.tcp.delete(egress)
  }

  // ---------------------------------------------------------------- ends

  private connectionClosed(): void {
    if (this.over) return
    this.cause ??= TerminateCause.LOST_CARRIER
    this.call.connectionClosed(this.driver.now())
    this.finish()
  }

  private finish(): void {
    if (this.over) return
    this.over = true
    this.driver.stop()
    this.radius?.stop(this.cause ?? TerminateCause.LOST_CARRIER, this.driver.now())
    for (const e of [...this.tcp]) e.destroy()
    this.udp.close()
    this.dns.close()
    this.stack.close()
    this.hangUp()
    if (this.assigned !== undefined) {
      this.context.radius?.holders.delete(this.assigned)
      this.context.pool.release(this.assigned)
    }
    if (this.stranger) {
      this.reason ||=
        this.tries > 0
          ? 'the client has no right user name and password'
          : 'the client left before it had signed in'
    }
    const { id, from, user, reason } = this
    this.emit({ type: 'closed', call: id, from, user, reason })
    this.keeper.over(this)
  }

  private hangUp(): void {
    const { socket } = this
    if (socket.destroyed) return
    const timer = setTimeout(() => socket.destroy(), LINGER)
    socket.once('close', () => clearTimeout(timer))
    socket.end()
    socket.destroySoon()
  }

  private emit(event: GatewayEvent): void {
    if (!this.quiet) this.context.reporter.tell(event)
  }
}

function localMethods({ clientCa }: GatewayOptions): NonNullable<GatewayOptions['auth']> {
  return clientCa === undefined ? LOCAL_METHODS : ['eap-tls', ...LOCAL_METHODS]
}
