import { combine, finish, sum } from '../checksum.js'
import { DEFAULT_TTL, emitIp } from '../ip/output.js'
import { type Seq, seq } from '../seq.js'
import type { Tuple } from '../tuple.js'
import type { Instant } from '../types.js'
import { PROTO_TCP } from '../wire/ipv4.js'
import * as tcp from '../wire/tcp.js'
import * as opt from '../wire/tcp-options.js'
import { PathMtu } from './path-mtu.js'
import type { Receiver } from './receiver.js'
import type { Sender } from './sender.js'
import type { UserTimeout } from './user-timeout.js'

/** The smallest segment size that a peer can make us use (a tiny one would cost a packet for each octet). */
const MIN_MSS = 64
/** RFC 9293 3.7.1: what a peer takes that does not say. */
const DEFAULT_MSS_V4 = 536
const DEFAULT_MSS_V6 = 1220

/** RFC 3168 5. */
const ECT_0 = 2

/** Filled and written within one call. */
const sackEdges = new Int32Array(8)

/** Writes a connection's segments: keeps what the two SYNs agreed, the path's MTU and the timestamp clock. */
export class SegmentWriter {
  /** Agreed; before that, what our SYN offers. */
  timestamps = true
  sack = true
  scaling = true
  /** Traffic class (TOS) without the two bits of ECN, and TTL or hop limit: MUST-48, MUST-49. */
  trafficClass = 0
  hopLimit = DEFAULT_TTL
  private readonly tuple: Tuple
  private readonly snd: Sender
  private readonly rcv: Receiver
  private readonly tsOffset: number
  private readonly windowShift: number
  private readonly linkMtu: number
  private readonly raiseTimer: number
  private peerMss: number
  /** Set if its option is sent. */
  private userTimeout: UserTimeout | undefined

  constructor(
    tuple: Tuple,
    snd: Sender,
    rcv: Receiver,
    tsOffset: number,
    buffer: number,
    mtu: number,
    raiseTimer: number,
  ) {
    this.tuple = tuple
    this.snd = snd
    this.rcv = rcv
    this.tsOffset = tsOffset
    this.windowShift = shiftFor(buffer)
    this.linkMtu = mtu
    this.raiseTimer = raiseTimer
    this.peerMss = tuple.family === 4 ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6
  }

  /** Takes the options of the other side's SYN: an option is on if both SYNs have it. */
  agree(o: opt.TcpOptions, pathMtu: number, now: Instant): void {
    const { snd, rcv } = this
    this.timestamps = o.hasTimestamps
    this.sack = o.sackPermitted
    this.scaling = o.windowShift >= 0
    if (this.timestamps) rcv.startTimestamps(seq(o.tsVal), now)
    if (this.scaling) {
      snd.shift = o.windowShift
      rcv.shift = this.windowShift
    }
    if (o.mss > 0) this.peerMss = Math.max(o.mss, MIN_MSS)
    snd.recovery.agree(this.sack)
    const most = Math.min(this.linkMtu, this.peerMss + this.headers)
    snd.pathMtu = new PathMtu(this.tuple.family, most, pathMtu, this.raiseTimer, now)
    this.applyMss()
  }

  private get headers(): number {
    return this.tuple.ipHeader + tcp.TCP_HEADER
  }

  /** The largest segment that we can take, as the MSS option has it: options are not taken off. */
  get ownMss(): number {
    return this.linkMtu - this.headers
  }

  /** RFC 9293 3.7.1, RFC 6691: what options take is not in the announced value, so it comes off here. */
  applyMss(): void {
    const options = this.timestamps ? opt.TIMESTAMPS_LENGTH : 0
    const path = (this.snd.pathMtu?.current ?? this.linkMtu) - this.headers
    const mss = Math.max(Math.min(this.peerMss, path) - options, 1)
    this.snd.setMss(mss, this.headers + options)
    this.rcv.mss = Math.min(this.rcv.mss, mss)
  }

  /** RFC 7323 5.4: a clock of 1 ms with an offset that outsiders cannot know. */
  private tsNow(now: Instant): number {
    return (Math.floor(now) + this.tsOffset) | 0
  }

  /** Milliseconds since the timestamp that the segment echoes; -1 if there is none that can be ours. */
  elapsed(o: opt.TcpOptions, now: Instant): number {
    if (!this.timestamps || !o.hasTimestamps || o.tsEcr === 0) return -1
    const ms = (this.tsNow(now) - o.tsEcr) | 0
    return ms < 0 ? -1 : ms
  }

  /** SYN, or SYN-ACK if `answer`, which repeats only what was offered. @returns the packet's length */
  syn(
    dst: Uint8Array,
    off: number,
    answer: boolean,
    ecn: boolean,
    userTimeout: UserTimeout,
    now: Instant,
  ): number {
    const { snd, rcv, tuple } = this
    const t = off + tuple.ipHeader
    let n = opt.emitSyn(
      dst,
      t + tcp.TCP_HEADER,
      this.ownMss,
      this.scaling ? this.windowShift : -1,
      this.sack,
      this.timestamps,
      this.tsNow(now),
      answer ? rcv.tsRecent : 0,
    )
    if (userTimeout.enabled) {
      this.userTimeout = userTimeout
      n += opt.emitUserTimeout(dst, t + tcp.TCP_HEADER + n, userTimeout.field)
    }
    const field = answer ? rcv.announce(true) : rcv.firstWindow
    let flags: number = answer ? tcp.SYN | tcp.ACK : tcp.SYN
    // RFC 3168 6.1.1.
    if (ecn) flags |= answer ? tcp.ECE : tcp.ECE | tcp.CWR
    const ack = answer ? rcv.nxt : seq(0)
    const header = tcp.TCP_HEADER + n
    tcp.emit(dst, t, tuple.localPort, tuple.remotePort, snd.iss, ack, header, flags, field)
    if (answer) rcv.acknowledged()
    return this.seal(dst, off, header)
  }

  /** The segment that the sender has planned. @returns the packet's length */
  planned(dst: Uint8Array, off: number, now: Instant): number {
    const { snd } = this
    const len = snd.planLength
    let flags: number = tcp.ACK
    if (len > 0 && snd.planIsLast) flags |= tcp.PSH
    if (snd.planFin) flags |= tcp.FIN
    // RFC 3168 6.1.2 and 6.1.5: retransmissions are not ECN-capable.
    const fresh = snd.ecn && len > 0 && !snd.planAgain
    if (fresh && snd.cwrDue) {
      snd.cwrDue = false
      flags |= tcp.CWR
    }
    const header = this.header(dst, off, snd.planSeq, flags, false, now)
    if (len > 0) snd.copyPlanned(dst, off + this.tuple.ipHeader + header)
    return this.seal(dst, off, header + len, fresh ? ECT_0 : 0)
  }

  /** An acknowledgement and nothing else, with SACK blocks if octets were received ahead. */
  acknowledgement(dst: Uint8Array, off: number, at: Seq, now: Instant): number {
    return this.seal(dst, off, this.header(dst, off, at, tcp.ACK, true, now))
  }

  reset(dst: Uint8Array, off: number): number {
    const { snd, rcv, tuple } = this
    const t = off + tuple.ipHeader
    const flags = tcp.RST | tcp.ACK
    tcp.emit(dst, t, tuple.localPort, tuple.remotePort, snd.bareSeq, rcv.nxt, tcp.TCP_HEADER, flags, 0)
    return this.seal(dst, off, tcp.TCP_HEADER)
  }

  /** Header and options of a segment of an open connection. @returns their length */
  private header(
    dst: Uint8Array,
    off: number,
    at: Seq,
    flags: number,
    report: boolean,
    now: Instant,
  ): number {
    const { rcv, snd, tuple } = this
    const t = off + tuple.ipHeader
    let header = tcp.TCP_HEADER
    if (this.timestamps) header += opt.emitTimestamps(dst, t + header, this.tsNow(now), rcv.tsRecent)
    if (report && this.sack && rcv.hasReport) {
      const blocks = rcv.sackBlocks(sackEdges, this.timestamps ? 3 : 4)
      header += opt.emitSack(dst, t + header, sackEdges, blocks)
    }
    if (this.userTimeout?.due && report) {
      // RFC 5482 3.1: on the first segment behind the SYN too, which may be all that a middlebox lets through.
      this.userTimeout.due = false
      header += opt.emitUserTimeout(dst, t + header, this.userTimeout.field)
    }
    if (snd.ecn && rcv.ece) flags |= tcp.ECE
    const field = rcv.announce(false)
    tcp.emit(dst, t, tuple.localPort, tuple.remotePort, at, rcv.nxt, header, flags, field)
    rcv.acknowledged()
    return header
  }

  /** Checksum and IP header around `length` octets of TCP. */
  private seal(dst: Uint8Array, off: number, length: number, ecn = 0): number {
    const { tuple } = this
    const t = off + tuple.ipHeader
    const pseudo = combine(tuple.addressSum, PROTO_TCP + length)
    tcp.setChecksum(dst, t, finish(combine(pseudo, sum(dst, t, length))))
    return emitIp(dst, off, tuple, PROTO_TCP, length, this.trafficClass | ecn, this.hopLimit)
  }
}

/** RFC 7323 2.2: the smallest shift with which the whole buffer can be announced. */
function shiftFor(buffer: number): number {
  let shift = 0
  while (shift < opt.MAX_WINDOW_SHIFT && buffer >> shift > 65535) shift++
  return shift
}
