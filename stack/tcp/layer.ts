import { combine, finish, sum } from '../checksum.js'
import { TupleTable } from '../demux.js'
import { emitIpBetween } from '../ip/output.js'
import type { PathMtuCache } from '../ip/path-mtu.js'
import type { BlockPool } from '../ring.js'
import type { Emitter, Scheduler } from '../scheduler.js'
import { type Seq, seq, seqAdd, seqLt } from '../seq.js'
import { SipHash } from '../siphash.js'
import { DeadlineHeap } from '../timers.js'
import { destinationOf, newPacketAddresses, type PacketAddresses, sourceOf, Tuple } from '../tuple.js'
import {
  type Instant,
  type Random,
  READY_ACCEPT,
  READY_CONNECTED,
  READY_READABLE,
  READY_URGENT,
  type SocketError,
  type StackCounters,
  type StackLimits,
  type TcpTimes,
} from '../types.js'
import type { IpAddress } from '../wire/address.js'
import { PROTO_TCP } from '../wire/ipv4.js'
import * as tcp from '../wire/tcp.js'
import * as opt from '../wire/tcp-options.js'
import { TcpConnection, type TcpOptionsWanted } from './connection.js'
import type { Segment, TcpHost } from './host.js'
import { type ListenOptions, TcpListener } from './listener.js'
import { isSynchronised, TcpState } from './state.js'

/** RFC 6056 3.2: the whole range that IANA has not set aside for system services. */
const FIRST_PORT = 1024
const PORTS = 65536 - FIRST_PORT

/** RFC 9293 3.6.1: how far a connection that takes over from TIME-WAIT begins behind the old one's numbers. */
const REOPEN_GAP = 65536

/** What the TCP layer needs of the stack. */
export interface TcpLayerOptions {
  readonly random: Random
  readonly counters: StackCounters
  readonly limits: StackLimits
  readonly times: TcpTimes
  /** For connections that say nothing else. */
  readonly defaults: TcpOptionsWanted
  readonly pool: BlockPool
  readonly scheduler: Scheduler
  readonly pathMtu: PathMtuCache
  mtu(): number
  mark(s: TcpConnection | TcpListener, bits: number): void
  /** Queues a packet of our own making. */
  reply(packet: Uint8Array): void
  refuse(c: TcpConnection, reason: SocketError, now: Instant): boolean
}

/** All TCP connections and listeners of a stack, and the segments that belong to none. */
export class TcpLayer implements TcpHost<TcpConnection> {
  readonly counters: StackCounters
  readonly limits: StackLimits
  readonly times: TcpTimes
  readonly pool: BlockPool
  private readonly options: TcpLayerOptions
  private readonly scheduler: Scheduler
  private readonly random: Random
  private readonly hash: SipHash
  private readonly table: TupleTable<TcpConnection>
  private readonly heap = new DeadlineHeap<TcpConnection>()
  private readonly listeners: TcpListener[] = []
  /** Passive opens that nobody has accepted yet. */
  private readonly passive = new Map<TcpConnection, TcpListener>()
  /** In the order in which they came. */
  private readonly timeWait = new Set<TcpConnection>()
  private readonly segment: Segment = {
    buf: new Uint8Array(0),
    seq: 0,
    ack: 0,
    flags: 0,
    window: 0,
    urgent: 0,
    ecn: 0,
    dataOff: 0,
    dataLen: 0,
  }
  private readonly parsed = opt.newOptions()
  /** The ends of a connection that is looked for. */
  private readonly wanted = newPacketAddresses()

  constructor(options: TcpLayerOptions) {
    this.options = options
    this.counters = options.counters
    this.limits = options.limits
    this.times = options.times
    this.pool = options.pool
    this.scheduler = options.scheduler
    this.random = options.random
    this.hash = SipHash.random(options.random)
    this.table = new TupleTable(this.randomWord())
  }

  get size(): number {
    return this.table.size
  }

  get nextTimeout(): Instant {
    return this.heap.next
  }

  /**
   * Active open from `local` (RFC 9293 3.10.1).
   * @returns undefined if no port or no connection is free
   */
  connect(
    local: IpAddress,
    remote: IpAddress,
    remotePort: number,
    now: Instant,
    wanted: TcpOptionsWanted,
  ): TcpConnection | undefined {
    if (!this.hasRoom()) return undefined
    const port = this.freePort(local, remote, remotePort)
    const old = port === 0 ? this.givesWay(local, remote, remotePort, now) : undefined
    if (port === 0 && old === undefined) return undefined
    const tuple = old?.tuple ?? new Tuple(local, port, remote, remotePort)
    const iss = this.initialSeq(tuple, now, old)
    if (old !== undefined) this.drop(old)
    const c = new TcpConnection(this, tuple, iss, this.timestampOffset(tuple), false, {
      ...this.options.defaults,
      ...wanted,
    })
    this.table.add(c)
    c.open(now)
    return c
  }

  listen(options: ListenOptions): TcpListener | undefined {
    const taken = this.listeners.some(
      (l) =>
        l.port === options.port &&
        (l.address === undefined || options.address === undefined
          ? l.address === options.address
          : l.address.equals(options.address)),
    )
    if (taken) return undefined
    const listener = new TcpListener(options, this.limits.backlog)
    this.listeners.push(listener)
    return listener
  }

  unlisten(listener: TcpListener): void {
    const i = this.listeners.indexOf(listener)
    if (i < 0) return
    this.listeners.splice(i, 1)
    listener.closed = true
    for (const [c, l] of this.passive) if (l === listener) c.abort()
  }

  /** A whole TCP segment of `len` octets at `o`, to an address of ours. */
  input(b: Uint8Array, o: number, len: number, a: PacketAddresses, now: Instant): void {
    const header = tcp.check(b, o, len)
    if (header < 0) {
      this.counters.malformed++
      return
    }
    // MUST-3.
    if (combine(combine(a.sum, combine(PROTO_TCP, len)), sum(b, o, len)) !== 0xffff) {
      this.counters.checksumErrors++
      return
    }
    this.counters.segmentsIn++
    const s = this.segment
    s.buf = b
    s.seq = tcp.seqNumber(b, o)
    s.ack = tcp.ackNumber(b, o)
    s.flags = tcp.flags(b, o)
    s.window = tcp.window(b, o)
    s.urgent = tcp.urgentPointer(b, o)
    s.ecn = a.ecn
    s.dataOff = o + header
    s.dataLen = len - header
    const remotePort = tcp.sourcePort(b, o)
    const localPort = tcp.destinationPort(b, o)
    opt.read(b, o + tcp.TCP_HEADER, o + header, this.parsed)
    const c = this.table.find(a, remotePort, localPort)
    if (c === undefined) {
      this.arrivesInListen(s, a, remotePort, localPort, undefined, now)
    } else if (c.state === TcpState.TIME_WAIT && c.mayReopen(s, this.parsed) && this.listens(a, localPort)) {
      this.drop(c)
      this.arrivesInListen(s, a, remotePort, localPort, c, now)
    } else {
      c.segmentArrives(s, this.parsed, now)
    }
  }

  /** A SYN would be taken. */
  private listens(a: PacketAddresses, port: number): boolean {
    const listener = this.findListener(a, port)
    return listener !== undefined && !listener.full
  }

  /** RFC 9293 3.10.7.1 and 3.10.7.2, in the place of `old` if there is one. */
  private arrivesInListen(
    s: Segment,
    a: PacketAddresses,
    remotePort: number,
    localPort: number,
    old: TcpConnection | undefined,
    now: Instant,
  ): void {
    if (s.flags & tcp.RST) return
    if (a.s3 === a.d3 && a.s2 === a.d2 && a.s1 === a.d1 && a.s0 === a.d0) {
      // From ourselves, by way of the link: forged ("land").
      this.counters.unwanted++
      return
    }
    const listener = this.findListener(a, localPort)
    if (listener === undefined || (s.flags & (tcp.SYN | tcp.ACK)) !== tcp.SYN || remotePort === 0) {
      this.resetStray(s, a, remotePort, localPort)
      return
    }
    if (listener.full || !this.hasRoom()) {
      // Silence makes the other side try again; a RST would tell it that nobody is here.
      this.counters.acceptOverflows++
      return
    }
    const tuple = new Tuple(destinationOf(a), localPort, sourceOf(a), remotePort)
    const iss = this.initialSeq(tuple, now, old)
    const c = new TcpConnection(this, tuple, iss, this.timestampOffset(tuple), true, this.options.defaults)
    this.table.add(c)
    this.passive.set(c, listener)
    c.unaccepted = true
    if (listener.hold) {
      listener.enqueue(c)
      this.options.mark(listener, READY_ACCEPT)
    } else {
      listener.halfOpen++
    }
    c.accept(s, this.parsed, listener.hold, now)
  }

  /** RFC 9293 3.10.7.1: no such connection. */
  private resetStray(s: Segment, a: PacketAddresses, remotePort: number, localPort: number): void {
    const tuple = new Tuple(destinationOf(a), localPort, sourceOf(a), remotePort)
    if (s.flags & tcp.ACK) {
      this.sendReset(tuple, seq(s.ack))
      return
    }
    const length = s.dataLen + (s.flags & tcp.SYN ? 1 : 0) + (s.flags & tcp.FIN ? 1 : 0)
    this.replyReset(tuple, seq(0), seqAdd(seq(s.seq), length), tcp.RST | tcp.ACK)
  }

  private findListener(a: PacketAddresses, port: number): TcpListener | undefined {
    let best: TcpListener | undefined
    let bestScore = -1
    for (const l of this.listeners) {
      if (l.port !== 0 && l.port !== port) continue
      const { address } = l
      if (
        address !== undefined &&
        !(address.w3 === a.d3 && address.w2 === a.d2 && address.w1 === a.d1 && address.w0 === a.d0)
      ) {
        continue
      }
      const score = (l.port !== 0 ? 2 : 0) + (address !== undefined ? 1 : 0)
      if (score > bestScore) {
        best = l
        bestScore = score
      }
    }
    return best
  }

  /** The connection an ICMP error speaks of (addresses as of a packet to us). */
  find(a: PacketAddresses, remotePort: number, localPort: number): TcpConnection | undefined {
    return this.table.find(a, remotePort, localPort)
  }

  handleTimeout(now: Instant): void {
    for (;;) {
      const c = this.heap.pop(now)
      if (c === undefined) return
      c.handleTimeout(now)
    }
  }

  /** Aborts everything without a word; counters of what was open stay with the caller. */
  close(): void {
    for (const l of [...this.listeners]) this.unlisten(l)
    this.table.forEach((c) => {
      c.abort()
      this.scheduler.unschedule(c)
    })
    this.timeWait.clear()
  }

  /** Aborts what has `local` for its own address, without a word: it is ours no more. */
  forsake(local: IpAddress): void {
    const found: TcpConnection[] = []
    this.table.forEach((c) => {
      if (c.tuple.local.equals(local)) found.push(c)
    })
    for (const c of found) {
      c.abort()
      this.scheduler.unschedule(c)
    }
  }

  forEach(visit: (c: TcpConnection) => void): void {
    this.table.forEach(visit)
  }

  // ---------------------------------------------------------------- TcpHost

  mtu(): number {
    return this.options.mtu()
  }

  pathMtu(tuple: Tuple, now: Instant): number {
    const link = this.options.mtu()
    return Math.min(this.options.pathMtu.get(tuple.remote, now) ?? link, link)
  }

  pathMtuFound(tuple: Tuple, mtu: number, now: Instant): void {
    this.options.pathMtu.lower(tuple.remote, mtu, now)
  }

  schedule(e: Emitter): void {
    this.scheduler.schedule(e)
  }

  unschedule(e: Emitter): void {
    this.scheduler.unschedule(e)
  }

  markReady(c: TcpConnection, bits: number): void {
    if (!c.unaccepted) this.options.mark(c, bits)
  }

  timersChanged(c: TcpConnection): void {
    this.heap.advance(c, c.nextDeadline)
  }

  established(c: TcpConnection): boolean {
    const listener = this.passive.get(c)
    // A held one was accepted before.
    if (listener === undefined) return true
    listener.halfOpen--
    if (listener.closed) return false
    listener.enqueue(c)
    this.options.mark(listener, READY_ACCEPT)
    return true
  }

  /** It was taken from its listener's queue: from now on it has an owner, who hears what has happened so far. */
  adopted(c: TcpConnection): void {
    this.passive.delete(c)
    c.unaccepted = false
    let bits = 0
    if (isSynchronised(c.state)) bits |= READY_CONNECTED
    if (c.readable > 0 || c.ended) bits |= READY_READABLE
    if (c.urgent > 0) bits |= READY_URGENT
    if (bits !== 0) this.options.mark(c, bits)
  }

  enteredTimeWait(c: TcpConnection): void {
    this.timeWait.add(c)
    if (this.timeWait.size > this.limits.timeWait) this.dropOldest()
  }

  /** A connection that only waits out its time makes room for one that wants to live. */
  private hasRoom(): boolean {
    return this.table.size < this.limits.connections || this.dropOldest()
  }

  private dropOldest(): boolean {
    for (const oldest of this.timeWait) {
      this.drop(oldest)
      return true
    }
    return false
  }

  closed(c: TcpConnection): void {
    this.heap.remove(c)
    this.table.delete(c)
    this.timeWait.delete(c)
    if (!c.unaccepted) return
    const listener = this.passive.get(c)
    this.passive.delete(c)
    // One that ends before it was accepted leaves its place to others.
    if (listener !== undefined && !listener.forget(c)) listener.halfOpen--
  }

  sendReset(tuple: Tuple, at: Seq): void {
    this.replyReset(tuple, at, seq(0), tcp.RST)
  }

  refuseByIcmp(c: TcpConnection, reason: SocketError, now: Instant): boolean {
    return this.options.refuse(c, reason, now)
  }

  // ---------------------------------------------------------------- inside

  private drop(c: TcpConnection): void {
    c.discard()
    this.scheduler.unschedule(c)
  }

  private replyReset(tuple: Tuple, at: Seq, ack: Seq, flags: number): void {
    const packet = new Uint8Array(tuple.ipHeader + tcp.TCP_HEADER)
    const t = tuple.ipHeader
    tcp.emit(packet, t, tuple.localPort, tuple.remotePort, at, ack, tcp.TCP_HEADER, flags, 0)
    tcp.setChecksum(
      packet,
      t,
      finish(combine(combine(tuple.addressSum, PROTO_TCP + tcp.TCP_HEADER), sum(packet, t, tcp.TCP_HEADER))),
    )
    emitIpBetween(packet, 0, tuple.local, tuple.remote, PROTO_TCP, tcp.TCP_HEADER)
    this.counters.resetsSent++
    this.options.reply(packet)
  }

  /** RFC 6056 3.3.2: a random port, then the next ones, until the four-tuple is free; 0 if none is. */
  private freePort(local: IpAddress, remote: IpAddress, remotePort: number): number {
    const a = this.wanted
    a.s0 = remote.w0
    a.s1 = remote.w1
    a.s2 = remote.w2
    a.s3 = remote.w3
    a.d0 = local.w0
    a.d1 = local.w1
    a.d2 = local.w2
    a.d3 = local.w3
    let port = (this.randomWord() >>> 0) % PORTS
    for (let i = 0; i < PORTS; i++) {
      const candidate = FIRST_PORT + port
      if (this.table.find(a, remotePort, candidate) === undefined && !this.isListenedOn(candidate)) {
        return candidate
      }
      port = (port + 1) % PORTS
    }
    return 0
  }

  private isListenedOn(port: number): boolean {
    for (const l of this.listeners) if (l.port === port) return true
    return false
  }

  /** The oldest connection between these that may be taken over. */
  private givesWay(
    local: IpAddress,
    remote: IpAddress,
    remotePort: number,
    now: Instant,
  ): TcpConnection | undefined {
    for (const c of this.timeWait) {
      const t = c.tuple
      if (
        t.remotePort === remotePort &&
        t.remote.equals(remote) &&
        t.local.equals(local) &&
        c.mayGiveWay(now) &&
        !this.isListenedOn(t.localPort)
      ) {
        return c
      }
    }
    return undefined
  }

  /**
   * RFC 6528 3: a clock of 4 us plus a keyed hash of the four-tuple. In the place of `old` it begins behind that
   * one's numbers, however fast they were used up.
   */
  private initialSeq(t: Tuple, now: Instant, old?: TcpConnection): Seq {
    const iss = seq(Math.floor((now * 250) % 4294967296) + this.keyed(t, 0))
    if (old === undefined) return iss
    const after = seqAdd(old.sentEnd, REOPEN_GAP)
    return seqLt(iss, after) ? after : iss
  }

  /** RFC 7323 7.1. */
  private timestampOffset(t: Tuple): number {
    return this.keyed(t, 1)
  }

  private keyed(t: Tuple, purpose: number): number {
    const { local: l, remote: r } = t
    return this.hash.hashWords([
      l.w0,
      l.w1,
      l.w2,
      l.w3,
      r.w0,
      r.w1,
      r.w2,
      r.w3,
      (t.localPort << 16) | t.remotePort,
      purpose,
    ])
  }

  private readonly wordBytes = new Uint8Array(4)

  private randomWord(): number {
    const b = this.wordBytes
    this.random(b)
    return ((b[0] as number) << 24) | ((b[1] as number) << 16) | ((b[2] as number) << 8) | (b[3] as number)
  }
}
