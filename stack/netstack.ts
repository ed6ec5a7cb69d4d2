/**
 * The stack: packets in, packets out, sockets in between. It owns no clock, no timer and no link; whoever
 * holds it feeds it (`input`, `handleTimeout`) and asks it (`output`, `nextReady`, `nextTimeout`).
 */
import { copyOf, i32, u8 } from './bytes.js'
import { combine, sum32 } from './checksum.js'
import { errorPacket, quoteOf, RateLimit, unreachableCode } from './icmp/errors.js'
import { IcmpLayer } from './icmp/layer.js'
import type { PingSocket } from './icmp/ping.js'
import { ReadyList, type ReadySocket, takeReady } from './ready.js'
import { BlockPool } from './ring.js'
import { Scheduler } from './scheduler.js'
import type { TcpConnection, TcpOptionsWanted } from './tcp/connection.js'
import { TcpLayer } from './tcp/layer.js'
import type { ListenOptions, TcpListener } from './tcp/listener.js'
import { destinationOf, newPacketAddresses, type PacketAddresses, sourceOf } from './tuple.js'
import {
  DEFAULT_LIMITS,
  DEFAULT_TIMES,
  type Instant,
  newCounters,
  type Random,
  type SocketAddress,
  type SocketError,
  type StackCounters,
  type StackLimits,
  type TcpTimes,
} from './types.js'
import { UdpLayer } from './udp/layer.js'
import type { UdpOptions, UdpSocket } from './udp/socket.js'
import { type IpAddress, isBadSource } from './wire/address.js'
import * as icmpv4 from './wire/icmpv4.js'
import * as icmpv6 from './wire/icmpv6.js'
import * as ipv4 from './wire/ipv4.js'
import * as ipv6 from './wire/ipv6.js'

/** A socket as {@link NetStack.nextReady} gives it; `kind` tells which. */
export type AnySocket = TcpConnection | TcpListener | UdpSocket | PingSocket

export interface NetStackOptions {
  /** Largest packet in and out, octets. At least 576; below 1280 there is no IPv6 (RFC 8200 5). */
  readonly mtu: number
  readonly random: Random
  /** Accepts packets for any unicast address, not only our own (a gateway's side of a link). */
  readonly anyAddress?: boolean
  readonly limits?: Partial<StackLimits>
  readonly times?: Partial<TcpTimes>
}

export class NetStack {
  readonly counters: StackCounters = newCounters()
  readonly limits: StackLimits
  private linkMtu: number
  private readonly anyAddress: boolean
  private readonly addresses: IpAddress[] = []
  private readonly pool = new BlockPool()
  private readonly scheduler = new Scheduler()
  private readonly readyList = new ReadyList()
  private readonly tcp: TcpLayer
  private readonly udp: UdpLayer
  private readonly icmp: IcmpLayer
  private readonly icmpLimit: RateLimit
  private replies: Uint8Array[] = []
  private readonly packet: PacketAddresses = newPacketAddresses()
  private readonly upper: ipv6.UpperLayer = { protocol: 0, offset: 0, pointer: 0, problem: 0 }
  private isClosed = false
  private peer: IpAddress | undefined

  constructor(options: NetStackOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.linkMtu = options.mtu
    this.anyAddress = options.anyAddress ?? false
    this.icmpLimit = new RateLimit(this.limits.icmpRate, this.limits.icmpBurst)
    const shared = {
      random: options.random,
      counters: this.counters,
      datagramQueue: this.limits.datagramQueue,
      scheduler: this.scheduler,
      mtu: () => this.linkMtu,
      mark: (s: ReadySocket, bits: number) => this.readyList.mark(s, bits),
      sourceFor: (remote: IpAddress) => this.sourceFor(remote),
      isOurs: (a: PacketAddresses) => this.isOurs(a),
      reply: (packet: Uint8Array) => this.reply(packet),
    }
    this.tcp = new TcpLayer({
      ...shared,
      limits: this.limits,
      times: { ...DEFAULT_TIMES, ...options.times },
      pool: this.pool,
      refuse: (c, reason, now) => this.refuseByIcmp(c, reason, now),
    })
    this.udp = new UdpLayer(shared)
    this.icmp = new IcmpLayer({ ...shared, tcp: this.tcp, udp: this.udp })
  }

  // ---------------------------------------------------------------- the link's side

  get mtu(): number {
    return this.linkMtu
  }

  /** For new connections; open ones keep theirs. */
  setMtu(mtu: number): void {
    this.linkMtu = mtu
  }

  addAddress(address: IpAddress): void {
    if (!this.addresses.some((a) => a.equals(address))) this.addresses.push(address)
  }

  /** Only this IPv4 address may send to us from now on: the one that the other end of the link was assigned. */
  setPeer(address: IpAddress): void {
    this.peer = address
  }

  /** A packet has come: `len` octets of `b` at `off`, read in place and not kept. */
  input(b: Uint8Array, off: number, len: number, now: Instant): void {
    if (len < 1 || this.isClosed) return
    this.counters.packetsIn++
    this.counters.bytesIn += len
    const version = u8(b, off) >>> 4
    if (version === 4) this.input4(b, off, len, now)
    else if (version === 6) this.input6(b, off, len, now)
    else this.counters.malformed++
  }

  /**
   * Writes the next packet to send at `off`, where `mtu` octets must be free.
   * @returns its length; 0 if there is none now
   */
  output(dst: Uint8Array, off: number, now: Instant): number {
    if (this.isClosed) return 0
    const reply = this.replies.length > 0 ? this.replies.shift() : undefined
    let n: number
    if (reply !== undefined) {
      dst.set(reply, off)
      n = reply.length
    } else {
      n = this.scheduler.output(dst, off, now)
    }
    if (n > 0) {
      this.counters.packetsOut++
      this.counters.bytesOut += n
    }
    return n
  }

  /** False: `output` has nothing. True: it may have something. */
  get hasOutput(): boolean {
    return !this.isClosed && (this.replies.length > 0 || !this.scheduler.idle)
  }

  /** When `handleTimeout` wants to be called next; may be early, never late. `Infinity`: not at all. */
  nextTimeout(): Instant {
    return this.tcp.nextTimeout
  }

  handleTimeout(now: Instant): void {
    this.tcp.handleTimeout(now)
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
    for (const a of this.addresses) {
      if (a.family !== remote.family) continue
      // RFC 6724 5 rule 2: prefer the scope of the destination.
      if (a.isLinkLocal === remote.isLinkLocal) return a
      if (a.family === 4) found ??= a
    }
    return found
  }

  /** Active open. READY_CONNECTED or READY_CLOSED follows. @returns the socket, or why there is none */
  connect(to: SocketAddress, now: Instant, wanted: TcpOptionsWanted = {}): TcpConnection | SocketError {
    if (this.isClosed) return 'aborted'
    const local = this.sourceFor(to.address)
    if (local === undefined) return 'network-unreachable'
    if (!to.address.isUnicast || to.address.isLoopback || to.port < 1 || to.port > 65535)
      return 'host-unreachable'
    return this.tcp.connect(local, to.address, to.port, now, wanted) ?? 'aborted'
  }

  /** @returns undefined if the address and port are taken */
  listen(options: ListenOptions): TcpListener | undefined {
    return this.isClosed ? undefined : this.tcp.listen(options)
  }

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

  openPing(): PingSocket | undefined {
    return this.isClosed ? undefined : this.icmp.open()
  }

  /** Says to the sender of a datagram that came to an any-address socket that nobody takes it. */
  refuseDatagram(from: SocketAddress, to: SocketAddress, reason: SocketError, now: Instant): void {
    const quote = quoteOf(from.address, from.port, to.address, to.port, ipv4.PROTO_UDP, 8 << 16)
    this.unreachable(from.address, to.address, reason, quote, now)
  }

  /** What is held at this moment; all zero after {@link close}, but for `pooled`. */
  get held(): { connections: number; udp: number; ping: number; bytes: number; pooled: number } {
    let bytes = this.udp.memory + this.icmp.memory
    this.tcp.forEach((c) => {
      bytes += c.memory
    })
    for (const r of this.replies) bytes += r.length
    return {
      connections: this.tcp.size,
      udp: this.udp.size,
      ping: this.icmp.size,
      bytes,
      pooled: this.pool.idle,
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
    this.replies = []
    this.isClosed = true
  }

  // ---------------------------------------------------------------- inside

  private input4(b: Uint8Array, off: number, len: number, now: Instant): void {
    const header = ipv4.check(b, off, len)
    if (header < 0) {
      this.counters.malformed++
      return
    }
    if (ipv4.isFragment(b, off)) {
      this.counters.fragments++
      this.counters.unwanted++
      return
    }
    const a = this.packet
    a.family = 4
    a.s0 = a.s1 = a.d0 = a.d1 = 0
    a.s2 = a.d2 = 0xffff
    a.s3 = ipv4.source(b, off)
    a.d3 = ipv4.destination(b, off)
    a.sum = combine(sum32(a.s3), sum32(a.d3))
    const ours = this.isOurs(a)
    if (
      this.isMartian(a) ||
      !(ours || this.anyAddress) ||
      (this.peer !== undefined && this.peer.w3 !== a.s3) ||
      (header > ipv4.IPV4_HEADER && ipv4.hasBadOptions(b, off, header))
    ) {
      this.counters.unwanted++
      return
    }
    const o = off + header
    const n = ipv4.totalLength(b, off) - header
    switch (ipv4.protocol(b, off)) {
      case ipv4.PROTO_TCP:
        this.tcp.input(b, o, n, a, now)
        return
      case ipv4.PROTO_UDP:
        if (!this.udp.input(b, o, n, a, ours)) this.portUnreachable(b, off, header + n, a, now)
        return
      case ipv4.PROTO_ICMP:
        this.icmp.input4(b, o, n, a, ours, now)
        return
      default:
        this.counters.unwanted++
        this.unreachableBy(a, icmpv4.UNREACHABLE, icmpv4.UNREACHABLE_PROTOCOL, 0, b, off, header + n, now)
    }
  }

  private input6(b: Uint8Array, off: number, len: number, now: Instant): void {
    if (ipv6.check(b, off, len) < 0) {
      this.counters.malformed++
      return
    }
    const a = this.packet
    a.family = 6
    a.s0 = i32(b, off + 8)
    a.s1 = i32(b, off + 12)
    a.s2 = i32(b, off + 16)
    a.s3 = i32(b, off + 20)
    a.d0 = i32(b, off + 24)
    a.d1 = i32(b, off + 28)
    a.d2 = i32(b, off + 32)
    a.d3 = i32(b, off + 36)
    a.sum = combine(
      combine(combine(sum32(a.s0), sum32(a.s1)), combine(sum32(a.s2), sum32(a.s3))),
      combine(combine(sum32(a.d0), sum32(a.d1)), combine(sum32(a.d2), sum32(a.d3))),
    )
    const ours = this.isOurs(a)
    if (!this.hasV6 || this.isMartian(a) || !(ours || this.anyAddress)) {
      this.counters.unwanted++
      return
    }
    const whole = ipv6.IPV6_HEADER + ipv6.payloadLength(b, off)
    const { upper } = this
    if (!ipv6.upperLayer(b, off, upper)) {
      this.counters.malformed++
      if (upper.problem > 0 && !isIcmpv6Error(b, off)) {
        const pointer = upper.pointer - off
        this.unreachableBy(a, icmpv6.V6_PARAMETER_PROBLEM, upper.problem - 1, pointer, b, off, whole, now)
      }
      return
    }
    const o = upper.offset
    const n = off + whole - o
    switch (upper.protocol) {
      case ipv4.PROTO_TCP:
        this.tcp.input(b, o, n, a, now)
        return
      case ipv4.PROTO_UDP:
        if (!this.udp.input(b, o, n, a, ours)) this.portUnreachable(b, off, whole, a, now)
        return
      case ipv4.PROTO_ICMPV6:
        this.icmp.input6(b, o, n, a, ours, now)
        return
      case ipv6.NEXT_FRAGMENT:
        this.counters.fragments++
        this.counters.unwanted++
        return
      case ipv6.NEXT_NONE:
        return
      case ipv6.NEXT_ESP:
      case ipv6.NEXT_AH:
        this.counters.unwanted++
        return
      default:
        this.counters.unwanted++
        // RFC 8200 4: code 1, unrecognised next header.
        this.unreachableBy(a, icmpv6.V6_PARAMETER_PROBLEM, 1, upper.pointer - off, b, off, whole, now)
    }
  }

  /** RFC 8200 5: every link that carries IPv6 carries packets of 1280 octets. */
  private get hasV6(): boolean {
    return this.linkMtu >= ipv6.IPV6_MIN_MTU
  }

  private isOurs(a: PacketAddresses): boolean {
    return this.has(a.d0, a.d1, a.d2, a.d3)
  }

  /** No unicast sender, no unicast destination, or from an address of ours, which nobody else has ("land"). */
  private isMartian(a: PacketAddresses): boolean {
    return (
      isBadSource(a.family, a.s0, a.s1, a.s2, a.s3) ||
      isBadSource(a.family, a.d0, a.d1, a.d2, a.d3) ||
      this.has(a.s0, a.s1, a.s2, a.s3)
    )
  }

  /** IPv4 in its mapped form; packets of IPv6 that have that form are dropped, so that one cannot pass for the other. */
  private has(w0: number, w1: number, w2: number, w3: number): boolean {
    const { addresses } = this
    for (let i = 0; i < addresses.length; i++) {
      const o = addresses[i] as IpAddress
      if (o.w3 === w3 && o.w2 === w2 && o.w1 === w1 && o.w0 === w0) return true
    }
    return false
  }

  private portUnreachable(b: Uint8Array, off: number, len: number, a: PacketAddresses, now: Instant): void {
    this.counters.unwanted++
    if (a.family === 4)
      this.unreachableBy(a, icmpv4.UNREACHABLE, icmpv4.UNREACHABLE_PORT, 0, b, off, len, now)
    else this.unreachableBy(a, icmpv6.V6_UNREACHABLE, icmpv6.V6_PORT, 0, b, off, len, now)
  }

  /** Answers the packet at `off` with an error from the address it was sent to. */
  private unreachableBy(
    a: PacketAddresses,
    type: number,
    code: number,
    detail: number,
    b: Uint8Array,
    off: number,
    len: number,
    now: Instant,
  ): void {
    // The limit comes first: an error that is not sent must cost nothing.
    if (!this.icmpLimit.take(now)) return
    this.counters.icmpErrorsOut++
    this.reply(
      errorPacket(
        destinationOf(a),
        sourceOf(a),
        type,
        code,
        detail,
        copyOf(b, off, off + Math.min(len, 1280)),
      ),
    )
  }

  private refuseByIcmp(c: TcpConnection, reason: SocketError, now: Instant): boolean {
    const { local, localPort, remote, remotePort } = c.tuple
    const quote = quoteOf(remote, remotePort, local, localPort, ipv4.PROTO_TCP, c.remoteIss)
    return this.unreachable(remote, local, reason, quote, now)
  }

  private unreachable(
    to: IpAddress,
    about: IpAddress,
    reason: SocketError,
    quote: Uint8Array,
    now: Instant,
  ): boolean {
    const code = unreachableCode(reason, to.family)
    if (code === undefined || !this.icmpLimit.take(now)) return false
    // A router speaks for itself; the port's own host speaks of ports.
    const from = (reason === 'refused' ? undefined : this.sourceFor(to)) ?? about
    this.counters.icmpErrorsOut++
    const type = to.family === 4 ? icmpv4.UNREACHABLE : icmpv6.V6_UNREACHABLE
    this.reply(errorPacket(from, to, type, code, 0, quote))
    return true
  }

  private reply(packet: Uint8Array): void {
    if (this.replies.length < this.limits.replyQueue && !this.isClosed) this.replies.push(packet)
  }
}

/** RFC 4443 2.4 (e): about these nothing is ever said, wherever in the packet they stand. */
function isIcmpv6Error(b: Uint8Array, off: number): boolean {
  const at = ipv6.findUpper(b, off, ipv4.PROTO_ICMPV6)
  return at >= 0 && (u8(b, at) < icmpv6.V6_FIRST_INFORMATIONAL || u8(b, at) === icmpv6.V6_REDIRECT)
}

export { takeReady }
