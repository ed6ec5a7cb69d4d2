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
import { Driver } from '../link/driver.js'
import type { StackFlow } from '../link/stack-flow.js'
import { type PppEvent, PppLink } from '../ppp/link.js'
import type { SstpEvent } from '../sstp/call.js'
import { SstpServer } from '../sstp/server.js'
import type { AddressPool } from './address-pool.js'
import { DnsForwarder } from './dns-forward.js'
import { EgressTcp, type EgressTcpHost } from './egress-tcp.js'
import { EgressUdp } from './egress-udp.js'
import type { GatewayEvent } from './events.js'
import type { GatewayOptions } from './options.js'
import { Policy } from './policy.js'

/** What all calls of a gateway share. */
export interface GatewayContext {
  readonly options: GatewayOptions
  readonly pool: AddressPool
  readonly own: IpAddress
  readonly dns: readonly Uint8Array[]
  /** DER of the certificate that TLS showed. */
  readonly certificate: Uint8Array
}

const DEFAULT_MTU = 1400
/** TCP connections of one client: each costs a socket of the host. */
const MAX_CONNECTIONS = 1024
/** Of these, such whose far side has not answered; and in the listener's queue. */
const MAX_OPENING = 512
/** Octets of a connection in each direction: what a client that does not read, or acknowledge, can make us hold. */
const BUFFER = 512 * 1024
const CLOSE_TIMEOUT = 2_500
/** For a peer to take what is left, and the end; its window may be shut for good. */
const LINGER = 3_000

export class ClientCall implements CallOwner, EgressTcpHost {
  readonly id: number
  readonly from: string
  private readonly context: GatewayContext
  private readonly socket: TLSSocket
  private readonly stack: NetStack
  private readonly call: Call
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
  private address: string | undefined
  private connected = false
  private told = false
  private reason = ''
  private over = false
  private readonly onOver: (call: ClientCall) => void
  onTrace?: (message: string) => void

  constructor(
    id: number,
    from: string,
    socket: TLSSocket,
    context: GatewayContext,
    onOver: (call: ClientCall) => void,
  ) {
    this.id = id
    this.from = from
    this.socket = socket
    this.context = context
    this.onOver = onOver
    const { options } = context
    const random = (dst: Uint8Array): void => void randomFillSync(dst)
    const mtu = options.mtu ?? DEFAULT_MTU
    this.stack = new NetStack({
      mtu,
      random,
      anyAddress: true,
      limits: {
        connections: MAX_CONNECTIONS,
        backlog: MAX_OPENING,
        receiveBuffer: BUFFER / 2,
        receiveBufferMax: BUFFER,
        sendBuffer: BUFFER / 2,
        sendBufferMax: BUFFER,
      },
    })
    this.stack.addAddress(context.own)
    this.stack.listen({ port: 0, hold: true, backlog: MAX_OPENING })
    const any = this.stack.openUdp({ any: true })
    if (any === undefined) throw new TypeError('a new stack has no any-address socket yet')
    const ppp = new PppLink({
      role: 'server',
      random,
      mru: mtu,
      auth: options.auth ?? ['mschapv2', 'chap', 'pap'],
      ipv6: false,
      lookup: (user) => options.accounts.password(user),
      ownIpv4: context.own.toBytes(),
      assign: () => this.assign(),
      dns: context.dns,
      trace: options.trace === true,
    })
    const sstp = new SstpServer({ random, certificate: context.certificate })
    if (options.trace === true) {
      this.onTrace = (message) => this.emit({ type: 'trace', call: id, message })
    }
    this.policy = new Policy(context.own, options.allowLoopback ?? false)
    this.call = new Call(sstp, ppp, this.stack, this)
    this.driver = new Driver(socket, this.call)
    this.dns = new DnsForwarder(this)
    this.udp = new EgressUdp(this.stack, any, this.policy, this.dns, this)
  }

  /** The HTTP handshake is done; `rest` came behind it. */
  start(rest: Uint8Array): void {
    const { socket, driver } = this
    socket.on('data', (chunk: Buffer) => driver.received(chunk, 0, chunk.length))
    socket.once('end', () => this.connectionClosed())
    socket.once('close', () => this.connectionClosed())
    this.call.start(driver.now())
    if (rest.length > 0) driver.received(rest, 0, rest.length)
    driver.wake()
  }

  /** Ends the call properly; within {@link CLOSE_TIMEOUT} in any case. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.over) {
        resolve()
        return
      }
      this.reason = 'the server stops'
      const done = (): void => {
        clearTimeout(timer)
        this.socket.destroy()
        resolve()
      }
      const timer = setTimeout(done, CLOSE_TIMEOUT)
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
        if (event.error !== undefined) this.reason ||= event.error.message
        return
      case 'closed':
        if (event.error !== undefined) this.reason ||= event.error.message
        this.finish()
        return
      default:
        return
    }
  }

  onPpp(event: PppEvent): void {
    switch (event.type) {
      case 'authenticated':
        this.user = event.user
        this.auth = event.method
        return
      case 'ipv4-up': {
        const peer = event.peer === undefined ? undefined : IpAddress.fromBytes(event.peer)
        // Nobody sends in another's name.
        if (peer !== undefined) this.stack.setPeer(peer)
        this.address = peer?.toString()
        this.stack.setMtu(this.call.ppp.mtu)
        this.maybeUp()
        return
      }
      case 'ipv4-down':
      case 'terminated':
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

  private maybeUp(): void {
    if (this.told || !this.connected || this.address === undefined) return
    this.told = true
    const { id, from, auth, address } = this
    this.emit({ type: 'up', call: id, from, user: this.user ?? '', auth, address })
  }

  private assigned: string | undefined

  private assign(): Uint8Array | undefined {
    this.assigned ??= this.context.pool.take()
    if (this.assigned === undefined) {
      this.reason ||= `no address is left in ${this.context.pool.cidr}`
      return undefined
    }
    return IpAddress.parse(this.assigned)?.toBytes()
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
    return Math.min(this.udp.nextTimeout(), this.dns.nextTimeout())
  }

  handleTimeout(now: number): void {
    this.udp.handleTimeout(now)
    this.dns.handleTimeout(now)
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
    this.call.connectionClosed(this.driver.now())
    this.finish()
  }

  private finish(): void {
    if (this.over) return
    this.over = true
    this.driver.stop()
    for (const e of [...this.tcp]) e.destroy()
    this.udp.close()
    this.dns.close()
    this.stack.close()
    this.hangUp()
    if (this.assigned !== undefined) this.context.pool.release(this.assigned)
    const { id, from, user, reason } = this
    this.emit({ type: 'closed', call: id, from, user, reason })
    this.onOver(this)
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
    this.context.options.onEvent?.(event)
  }
}
