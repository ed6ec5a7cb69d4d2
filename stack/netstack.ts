/**
 * The stack: packets in, packets out, sockets in between. It owns no clock, no timer and no link; whoever
 * holds it feeds it (`input`, `handleTimeout`) and asks it (`output`, `nextReady`, `nextTimeout`).
 */
import { ErrorSender } from './icmp/error-sender.js'
import { quoteOf } from './icmp/errors.js'
import { IcmpLayer } from './icmp/layer.js'
import type { PingSocket } from './icmp/ping.js'
import { Identifications } from './ip/identification.js'
import { IpInput } from './ip/input.js'
import { PathMtuCache } from './ip/path-mtu.js'
import { Reassembly } from './ip/reassembly.js'
import { MemoryAccount } from './memory.js'
import { ReadyList, type ReadySocket, takeReady } from './ready.js'
import { Replies } from './replies.js'
import { BlockPool } from './ring.js'
import { Scheduler } from './scheduler.js'
import type { TcpConnection, TcpOptionsWanted } from './tcp/connection.js'
import { TcpLayer } from './tcp/layer.js'
import type { ListenOptions, TcpListener } from './tcp/listener.js'
import type { PacketAddresses } from './tuple.js'
import {
  DEFAULT_LIMITS,
  DEFAULT_TIMES,
  type Instant,
  newCounters,
  type Random,
  type SocketAddress,
  type SocketError,
  type StackCounters,
  type StackHeld,
  type StackLimits,
  type TcpTimes,
} from './types.js'
import { UdpLayer } from './udp/layer.js'
import type { UdpOptions, UdpSocket } from './udp/socket.js'
import type { IpAddress } from './wire/address.js'
import * as icmpv4 from './wire/icmpv4.js'
import * as icmpv6 from './wire/icmpv6.js'
import * as ipv4 from './wire/ipv4.js'
import * as ipv6 from './wire/ipv6.js'

/** A socket as {@link NetStack.nextReady} gives it; `kind` tells which. */
export type AnySocket = TcpConnection | TcpListener | UdpSocket | PingSocket

/**
 * Takes a packet that the stack itself has no use for: `len` octets of `b` at `off`, whole, put together if it came
 * in fragments, to be read in place and not kept. Addresses are not checked beyond what {@link NetStack.unclaimed}
 * says, checksums behind the IP header not at all. @returns false: it is not for this one either
 */
export type UnclaimedPacket = (b: Uint8Array, off: number, len: number, now: Instant) => boolean

/** What a stack is made with. */
export interface NetStackOptions {
  /** Largest packet in and out, octets. At least 576; below 1280 there is no IPv6 (RFC 8200 5). */
  readonly mtu: number
  /** Where ports, sequence numbers and keys come from. */
  readonly random: Random
  /** Accepts packets for any unicast address, not only our own (a gateway's side of a link). */
  readonly anyAddress?: boolean
  /** In place of {@link DEFAULT_LIMITS}, each by itself. */
  readonly limits?: Partial<StackLimits>
  /** In place of {@link DEFAULT_TIMES}, each by itself. */
  readonly times?: Partial<TcpTimes>
  /** What TCP connections are opened with that say nothing else, and those that are accepted. */
  readonly tcp?: TcpOptionsWanted
}

/** A host of IPv4 and IPv6 with TCP, UDP and ICMP; see the package for how it is driven. */
export class NetStack {
  /** What has happened since it was made. */
  readonly counters: StackCounters = newCounters()
  /**
   * Whoever configures the host hears of what concerns the link by this: neighbour discovery (RFC 4861), packets to
   * groups of the link (ff02::/16) and to 255.255.255.255, and UDP datagrams to ports of ours that nobody has open.
   */
  unclaimed: UnclaimedPacket | undefined
  /** Those that hold, defaults included. */
  readonly limits: StackLimits
  private readonly times: TcpTimes
  private linkMtu: number
  private readonly pathMtu: PathMtuCache
  private readonly addresses: IpAddress[] = []
  private deprecated: readonly IpAddress[] = []
  private readonly pool: BlockPool
  private readonly scheduler = new Scheduler()
  private readonly readyList = new ReadyList()
  private readonly tcp: TcpLayer
  private readonly udp: UdpLayer
  private readonly icmp: IcmpLayer
  private readonly errors: ErrorSender
  private readonly reassembly: Reassembly
  private readonly ip: IpInput
  private readonly replies: Replies
  private readonly defaults: TcpOptionsWanted
  private isClosed = false

  constructor(options: NetStackOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
    const { memory, connections } = this.limits
    this.pool = new BlockPool(undefined, undefined, new MemoryAccount(memory, connections))
    this.times = { ...DEFAULT_TIMES, ...options.times }
    this.linkMtu = options.mtu
    const mtu = (): number => this.linkMtu
    this.replies = new Replies(this.limits.replyQueue, mtu)
    this.defaults = options.tcp ?? {}
    this.pathMtu = new PathMtuCache(mtu, this.times.pathMtuRaise, options.random)
    const ids = new Identifications(options.random)
    const way = { counters: this.counters, pathMtu: this.pathMtu, ids, mtu }
    const shared = {
      random: options.random,
      counters: this.counters,
      datagramQueue: this.limits.datagramQueue,
      scheduler: this.scheduler,
      mtu,
      pathMtu: this.pathMtu,
      way,
      mark: (s: ReadySocket, bits: number) => this.readyList.mark(s, bits),
      sourceFor: (remote: IpAddress) => this.sourceFor(remote),
      isOurs: (a: PacketAddresses) => this.ip.isOurs(a),
      reply: (packet: Uint8Array) => this.reply(packet),
    }
    this.tcp = new TcpLayer({
      ...shared,
      limits: this.limits,
      times: this.times,
      defaults: this.defaults,
      pool: this.pool,
      refuse: (c, reason, now) => this.refuseByIcmp(c, reason, now),
    })
    this.udp = new UdpLayer(shared)
    this.icmp = new IcmpLayer({ ...shared, tcp: this.tcp, udp: this.udp })
    this.errors = new ErrorSender({ ...shared, limits: this.limits })
    this.reassembly = new Reassembly({
      counters: this.counters,
      limits: this.limits,
      time: this.times.reassembly,
      timeExceeded: (a, b, len, now) => this.timeExceeded(a, b, len, now),
    })
    this.ip = new IpInput({
      counters: this.counters,
      reassembly: this.reassembly,
      tcp: this.tcp,
      udp: this.udp,
      icmp: this.icmp,
      errors: this.errors,
      anyAddress: options.anyAddress ?? false,
      hasV6: () => this.hasV6,
      unclaimed: (b, off, len, now) => this.unclaimed?.(b, off, len, now) ?? false,
      isOwn: (w0, w1, w2, w3) => this.has(w0, w1, w2, w3),
    })
  }

  // ---------------------------------------------------------------- the link's side

  /** Largest packet in and out, octets. */
  get mtu(): number {
    return this.linkMtu
  }

  /** For new connections; open ones keep theirs. */
  setMtu(mtu: number): void {
    this.linkMtu = mtu
  }

  /** One more address of our own; the first that fits is the one that packets come from. */
  addAddress(address: IpAddress): void {
    if (!this.addresses.some((a) => a.equals(address))) this.addresses.push(address)
  }

  /**
   * An address is ours no more. TCP connections that have it report READY_CLOSED with `aborted`, and the other
   * side is told nothing; UDP and ping sockets stay and send from what is left.
   */
  removeAddress(address: IpAddress): void {
    const at = this.addresses.findIndex((a) => a.equals(address))
    if (at < 0) return
    this.addresses.splice(at, 1)
    this.tcp.forsake(address)
  }

  /** Those of our addresses that new connections take only if there is no other (RFC 4862 5.5.4). */
  setDeprecated(addresses: readonly IpAddress[]): void {
    this.deprecated = addresses
  }

  /**
   * Sends a whole packet of the caller's own making, addresses and checksums and all, in its turn.
   * @returns false if it was dropped: there is no room for it, or the stack is closed
   */
  send(packet: Uint8Array): boolean {
    return packet.length <= this.linkMtu && this.reply(packet)
  }

  /** Only this IPv4 address may send to us from now on: the one that the other end of the link was assigned. */
  setPeer(address: IpAddress): void {
    this.ip.peer = address
  }

  /** A packet has come: `len` octets of `b` at `off`, read in place and not kept. */
  input(b: Uint8Array, off: number, len: number, now: Instant): void {
    if (len < 1 || this.isClosed) return
    this.counters.packetsIn++
    this.counters.bytesIn += len
    this.ip.input(b, off, len, now)
  }

  /**
   * Writes the next packet to send at `off`, where `mtu` octets must be free.
   * @returns its length; 0 if there is none now
   */
  output(dst: Uint8Array, off: number, now: Instant): number {
    if (this.isClosed) return 0
    const n = this.scheduler.output(dst, off, now)
    if (n > 0) {
      this.counters.packetsOut++
      this.counters.bytesOut += n
    }
    return n
  }

  /** False: `output` has nothing. True: it may have something. */
  get hasOutput(): boolean {
    return !this.isClosed && !this.scheduler.idle
  }

  /** When `handleTimeout` wants to be called next; may be early, never late. `Infinity`: not at all. */
  nextTimeout(): Instant {
    return Math.min(this.tcp.nextTimeout, this.reassembly.nextTimeout)
  }

  /** Does what is due at `now`; to be called at {@link nextTimeout} or later, harmless before. */
  handleTimeout(now: Instant): void {
    this.tcp.handleTimeout(now)
    this.reassembly.handleTimeout(now)
  }

  // ---------------------------------------------------------------- sockets

  /** The next socket with news, or undefined; {@link takeReady} says what the news is. */
  nextReady(): AnySocket | undefined {
    return this.readyList.next() as AnySocket | undefined
  }

  /** The address that packets to `remote` come from; undefined if we have none of its kind. */
  sourceFor(remote: IpAddress): IpAddress | undefined {
    if (remote.family === 6 && !this.hasV6) return undefined
    let found: IpAddress | undefined
    let best = 0
    for (const a of this.addresses) {
      if (a.family !== remote.family) continue
      // RFC 6724 5 rules 2, 3 and 8: the scope of the destination, not deprecated, the longest common prefix.
      const scope = a.isLinkLocal === remote.isLinkLocal
      if (!scope && a.family === 6) continue
      const fresh = this.deprecated.length === 0 || !this.deprecated.some((d) => d.equals(a))
      const rank = (scope ? 512 : 0) + (fresh ? 256 : 0) + (a.family === 6 ? commonPrefix(a, remote) : 0) + 1
      if (rank <= best) continue
      found = a
      best = rank
    }
    return found
  }

  /**
   * Active open. READY_CONNECTED or READY_CLOSED follows.
   * @returns the socket, or why there is none: `network-unreachable` if no address of ours fits (or `local` is
   *   none that does), `host-unreachable` for an address or port that nobody can have, `no-resources` if no port
   *   or no connection is left, `aborted` if the stack is closed
   */
  connect(to: SocketAddress, now: Instant, wanted: TcpOptionsWanted = {}): TcpConnection | SocketError {
    if (this.isClosed) return 'aborted'
    const local = this.localFor(to.address, wanted.local ?? this.defaults.local)
    if (local === undefined) return 'network-unreachable'
    if (!to.address.isUnicast || to.address.isLoopback || to.port < 1 || to.port > 65535)
      return 'host-unreachable'
    return this.tcp.connect(local, to.address, to.port, now, wanted) ?? 'no-resources'
  }

  /** @returns undefined if the address and port are taken */
  listen(options: ListenOptions): TcpListener | undefined {
    return this.isClosed ? undefined : this.tcp.listen(options)
  }

  /** Closes a listener, and with it the connections that nobody has accepted yet. */
  unlisten(listener: TcpListener): void {
    this.tcp.unlisten(listener)
  }

  /** The next connection of a listener, or undefined. */
  accept(listener: TcpListener): TcpConnection | undefined {
    const c = listener.accept()
    if (c !== undefined) this.tcp.adopted(c)
    return c
  }

  /** @returns undefined if the port is taken */
  openUdp(options: UdpOptions = {}): UdpSocket | undefined {
    return this.isClosed ? undefined : this.udp.open(options)
  }

  /** Opens a socket for echo requests. @returns undefined if the stack is closed or no identifier is free */
  openPing(): PingSocket | undefined {
    return this.isClosed ? undefined : this.icmp.open()
  }

  /** Says to the sender of a datagram that came to an any-address socket that nobody takes it. */
  refuseDatagram(from: SocketAddress, to: SocketAddress, reason: SocketError, now: Instant): void {
    const quote = quoteOf(from.address, from.port, to.address, to.port, ipv4.PROTO_UDP, 8 << 16)
    this.errors.unreachable(from.address, to.address, reason, quote, now)
  }

  /** What is held at this moment. */
  get held(): StackHeld {
    let bytes = this.udp.memory + this.icmp.memory + this.reassembly.bytes + this.replies.bytes
    this.tcp.forEach((c) => {
      bytes += c.memory
    })
    return {
      connections: this.tcp.size,
      udp: this.udp.size,
      ping: this.icmp.size,
      bytes,
      pooled: this.pool.idle,
      accounted: this.pool.account.held,
      granted: this.pool.account.granted,
    }
  }

  /**
   * Ends everything at once: connections report READY_CLOSED with `aborted`, UDP and ping sockets READY_CLOSED.
   * Nothing is sent, later input is ignored, and nothing can be opened any more.
   */
  close(): void {
    this.tcp.close()
    this.udp.close()
    this.icmp.close()
    this.reassembly.close()
    this.pathMtu.clear()
    this.scheduler.unschedule(this.replies)
    this.replies.clear()
    this.isClosed = true
  }

  // ---------------------------------------------------------------- inside

  /** RFC 8200 5: every link that carries IPv6 carries packets of 1280 octets. */
  private get hasV6(): boolean {
    return this.linkMtu >= ipv6.IPV6_MIN_MTU
  }

  /** MUST-43, MUST-44: `wanted` if it is ours and of that family, else what fits. */
  private localFor(remote: IpAddress, wanted: IpAddress | undefined): IpAddress | undefined {
    if (wanted === undefined) return this.sourceFor(remote)
    if (wanted.family !== remote.family || (wanted.family === 6 && !this.hasV6)) return undefined
    return this.addresses.find((a) => a.equals(wanted))
  }

  private has(w0: number, w1: number, w2: number, w3: number): boolean {
    const { addresses } = this
    for (let i = 0; i < addresses.length; i++) {
      const o = addresses[i] as IpAddress
      if (o.w3 === w3 && o.w2 === w2 && o.w1 === w1 && o.w0 === w0) return true
    }
    return false
  }

  private timeExceeded(a: PacketAddresses, b: Uint8Array, len: number, now: Instant): void {
    const type = a.family === 4 ? icmpv4.TIME_EXCEEDED : icmpv6.V6_TIME_EXCEEDED
    this.errors.about(a, type, icmpv4.REASSEMBLY_TIME, 0, b, 0, len, now)
  }

  private refuseByIcmp(c: TcpConnection, reason: SocketError, now: Instant): boolean {
    const { local, localPort, remote, remotePort } = c.tuple
    const quote = quoteOf(remote, remotePort, local, localPort, ipv4.PROTO_TCP, c.remoteIss)
    return this.errors.unreachable(remote, local, reason, quote, now)
  }

  private reply(packet: Uint8Array): boolean {
    if (this.isClosed || !this.replies.push(packet)) return false
    this.scheduler.schedule(this.replies)
    return true
  }
}

/** Leading bits that two IPv6 addresses share, of the 64 that are a prefix. */
function commonPrefix(a: IpAddress, b: IpAddress): number {
  if (a.w0 !== b.w0) return Math.clz32(a.w0 ^ b.w0)
  return 32 + (a.w1 === b.w1 ? 32 : Math.clz32(a.w1 ^ b.w1))
}

export { takeReady }
