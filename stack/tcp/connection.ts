/**
 * A TCP connection: the owner of its two halves, and the order of things when a segment arrives
 * (RFC 9293 3.10). Read RFC 9293 3.10.7 beside {@link TcpConnection.segmentArrives}.
 */
import { combine, finish, sum } from '../checksum.js'
import { emitIp } from '../ip/output.js'
import type { ReadySocket } from '../ready.js'
import type { Emitter } from '../scheduler.js'
import { type Seq, seq, seqAdd, seqGe, seqGt, seqLe, seqLt } from '../seq.js'
import { Deadlines, type Timed } from '../timers.js'
import type { Tuple } from '../tuple.js'
import {
  type Instant,
  READY_CLOSED,
  READY_CONNECTED,
  READY_READABLE,
  READY_WRITABLE,
  type SocketError,
} from '../types.js'
import * as tcp from '../wire/tcp.js'
import * as opt from '../wire/tcp-options.js'
import { NewReno } from './congestion/newreno.js'
import type { Segment, TcpHost } from './host.js'
import { Receiver } from './receiver.js'
import { NewRenoRecovery } from './recovery.js'
import { RttEstimator } from './rtt.js'
import { ACK_DUPLICATE, ACK_NEW, Sender } from './sender.js'
import { isSynchronised, mayReceiveData, maySendData, STATE_NAMES, TcpState } from './state.js'

const PROTO_TCP = 6

/** Deadlines by name. */
const RTO = 0
const DELAYED_ACK = 1
const PERSIST = 2
const KEEPALIVE = 3
/** Connect and handshake limit, then TIME-WAIT. */
const STATE = 4
const DEADLINES = 5

/** RFC 5961 5 and 7: challenge acknowledgements and answers to segments outside the window, per connection. */
const CHALLENGE_INTERVAL = 500
/** RFC 1122 4.2.3.4: how long a window too small to be worth filling is respected. */
const SWS_OVERRIDE = 500
/** SYN without an answer: wait at most that long between tries. */
const MAX_SYN_RTO = 16_000

/** The smallest segment size that a peer can make us use (a tiny one would cost a packet for each octet). */
const MIN_MSS = 64
const DEFAULT_MSS_V4 = 536
const DEFAULT_MSS_V6 = 1220

export interface TcpOptionsWanted {
  /** Sends short segments at once; true by default. */
  readonly noDelay?: boolean
  /** Milliseconds of idleness before the first keep-alive probe; 0 (the default) is off. */
  readonly keepAlive?: number
}

const KEEPALIVE_INTERVAL = 75_000
const KEEPALIVE_PROBES = 9

export class TcpConnection implements Emitter, Timed, ReadySocket {
  readonly kind = 'tcp'
  readonly tuple: Tuple
  state: TcpState = TcpState.CLOSED
  /** Set when the connection has failed. */
  error: SocketError | undefined
  /** An ICMP error that was no reason to give up (RFC 9293 3.9.2.2). */
  softError: SocketError | undefined
  /** For whoever uses the stack. */
  owner: unknown

  private readonly host: TcpHost
  private readonly snd: Sender
  private readonly rcv: Receiver
  private readonly rtt: RttEstimator
  private readonly deadlines = new Deadlines(DEADLINES)

  private timestamps = true
  private sack = true
  private readonly tsOffset: number
  private readonly windowShift: number
  private pathMtu: number

  /** A SYN or SYN-ACK is to be sent (again). */
  private synDue = false
  private synTries = 0
  private probeDue = false
  private rstDue = false
  private readonly passive: boolean
  private held = false
  private timeouts = 0
  private lastChallenge: Instant = Number.NEGATIVE_INFINITY
  private lastHeard: Instant = 0
  private keepAlive = 0
  private keepAliveTries = 0
  private writableWanted = false
  private readonly sackEdges = new Int32Array(8)

  hashNext: TcpConnection | undefined
  heapIndex = -1
  heapKey: Instant = 0
  readyBits = 0
  readyNext: ReadySocket | undefined
  schedNext: Emitter | undefined
  schedPrev: Emitter | undefined
  schedQueue = 0
  schedCredit = 0

  constructor(
    host: TcpHost,
    tuple: Tuple,
    iss: Seq,
    tsOffset: number,
    passive: boolean,
    wanted: TcpOptionsWanted = {},
  ) {
    this.host = host
    this.tuple = tuple
    this.tsOffset = tsOffset
    this.passive = passive
    this.rtt = new RttEstimator(host.times.minRto, host.times.maxRto)
    this.snd = new Sender(iss, new NewReno(), new NewRenoRecovery(iss), this.rtt)
    this.rcv = new Receiver(host.pool, host.limits.receiveBuffer, host.limits.outOfOrderRanges)
    this.windowShift = shiftFor(host.limits.receiveBuffer)
    this.pathMtu = host.mtu(tuple)
    this.snd.noDelay = wanted.noDelay ?? true
    this.keepAlive = wanted.keepAlive ?? 0
  }

  // ---------------------------------------------------------------- for whoever uses the stack

  get stateName(): string {
    return STATE_NAMES[this.state]
  }

  /** Octets that can be read. */
  get readable(): number {
    return this.rcv.ring.size
  }

  /** The other side has ended its direction, and nothing more will become readable. */
  get ended(): boolean {
    return this.rcv.finished
  }

  /** Octets written and not acknowledged. */
  get queued(): number {
    return this.snd.queue.length
  }

  /** A write would be taken without exceeding the high-water mark. */
  get writable(): boolean {
    return this.snd.queue.length < this.host.limits.sendBuffer
  }

  /** The readable octets from `skip` on, in one piece, as a view that is good until they are consumed. */
  peek(skip = 0): Uint8Array {
    return this.rcv.ring.peek(skip)
  }

  /** Takes the first `n` readable octets away; the window opens. */
  consume(n: number): void {
    this.rcv.ring.consume(n)
    if (this.rcv.ring.size === 0) this.rcv.releaseIdle()
    if (mayReceiveData(this.state) && this.rcv.windowOpened()) {
      this.rcv.ackNow = true
      this.host.schedule(this)
    }
  }

  /** Copies readable octets into `dst` and consumes them. @returns how many */
  read(dst: Uint8Array): number {
    let n = 0
    while (n < dst.length) {
      const piece = this.peek()
      if (piece.length === 0) break
      const take = Math.min(piece.length, dst.length - n)
      dst.set(take === piece.length ? piece : piece.subarray(0, take), n)
      this.consume(take)
      n += take
    }
    return n
  }

  /**
   * Queues octets for sending. The chunk is kept until it is acknowledged and must not be changed.
   * @returns false if the high-water mark is reached (READY_WRITABLE will follow), or if the connection
   *   cannot send (any more): then nothing is queued
   */
  write(chunk: Uint8Array): boolean {
    if (this.snd.finQueued || (!maySendData(this.state) && !this.isOpening)) return false
    this.snd.queue.push(chunk)
    if (maySendData(this.state)) this.host.schedule(this)
    if (this.writable) return true
    this.writableWanted = true
    return false
  }

  /** Ends our direction behind what is queued (RFC 9293 3.10.4). */
  end(): void {
    if (this.snd.finQueued) return
    switch (this.state) {
      case TcpState.SYN_SENT:
      case TcpState.SYN_RECEIVED:
        this.snd.finQueued = true
        return
      case TcpState.ESTABLISHED:
      case TcpState.CLOSE_WAIT:
        this.snd.finQueued = true
        this.state = this.state === TcpState.ESTABLISHED ? TcpState.FIN_WAIT_1 : TcpState.LAST_ACK
        this.host.schedule(this)
        return
    }
  }

  /** Gives the connection up at once (RFC 9293 3.10.5); the other side gets a RST. */
  abort(): void {
    if (this.state === TcpState.CLOSED) return
    const tell = this.state !== TcpState.SYN_SENT && this.state !== TcpState.TIME_WAIT && !this.held
    this.fail('aborted')
    if (tell) {
      this.rstDue = true
      this.host.schedule(this)
    }
  }

  /** A held connection (see the listener's `hold`) is taken: the other side gets its SYN-ACK now. */
  proceed(now: Instant): void {
    if (!this.held) return
    this.held = false
    this.synDue = true
    this.setDeadline(STATE, now + this.host.times.handshake)
    this.host.schedule(this)
  }

  /**
   * A held connection is not taken. The other side learns why: by RST, by ICMP for what RST cannot say,
   * and of a time-out by silence.
   */
  refuse(reason: SocketError, now: Instant): void {
    if (!this.held) return
    const told = reason === 'timed-out' || (reason !== 'refused' && this.host.refuseByIcmp(this, reason, now))
    this.held = false
    this.fail('aborted')
    if (!told) {
      this.rstDue = true
      this.host.schedule(this)
    }
  }

  setKeepAlive(idle: number, now: Instant): void {
    this.keepAlive = idle
    if (idle > 0 && isSynchronised(this.state)) this.setDeadline(KEEPALIVE, now + idle)
    else this.deadlines.stop(KEEPALIVE)
  }

  /** Numbers for people and tests. */
  info(): Readonly<Record<string, number | string | boolean>> {
    return {
      state: this.stateName,
      mss: this.snd.mss,
      srtt: this.rtt.srtt,
      rto: this.rtt.rto,
      cwnd: this.snd.cc.cwnd,
      ssthresh: this.snd.cc.ssthresh,
      flight: this.snd.flight,
      queued: this.snd.queue.length,
      sendWindow: this.snd.wnd,
      receiveWindow: this.rcv.window,
      sendShift: this.snd.shift,
      receiveShift: this.rcv.shift,
      timestamps: this.timestamps,
      sack: this.sack,
    }
  }

  /** Octets of memory held for data. */
  get memory(): number {
    return this.rcv.ring.capacity + this.snd.queue.length
  }

  // ---------------------------------------------------------------- opening

  private get isClosed(): boolean {
    return this.state === TcpState.CLOSED
  }

  /** Initial sequence number of the other side. */
  get remoteIss(): Seq {
    return this.rcv.irs
  }

  private get isOpening(): boolean {
    return this.state === TcpState.SYN_SENT || this.state === TcpState.SYN_RECEIVED
  }

  /** Active open (RFC 9293 3.10.1). */
  open(now: Instant): void {
    this.state = TcpState.SYN_SENT
    this.synDue = true
    this.setDeadline(STATE, now + this.host.times.connect)
    this.host.schedule(this)
  }

  /** Passive open: a SYN has come to our listener. `hold` waits for {@link proceed}. */
  accept(s: Segment, o: opt.TcpOptions, hold: boolean, now: Instant): void {
    this.state = TcpState.SYN_RECEIVED
    this.takeSyn(s, o, now)
    this.held = hold
    this.setDeadline(STATE, now + this.host.times.handshake)
    if (!hold) {
      this.synDue = true
      this.host.schedule(this)
    }
  }

  /** True if the other side's SYN has come and waits for {@link proceed} or {@link refuse}. */
  get isHeld(): boolean {
    return this.held
  }

  private takeSyn(s: Segment, o: opt.TcpOptions, now: Instant): void {
    const at = seq(s.seq)
    this.rcv.start(at)
    this.timestamps = o.hasTimestamps
    this.sack = o.sackPermitted
    if (o.hasTimestamps) {
      this.rcv.tsRecent = seq(o.tsVal)
      this.rcv.tsRecentAt = now
    }
    if (o.windowShift >= 0) {
      this.snd.shift = o.windowShift
      this.rcv.shift = this.windowShift
    }
    // RFC 9293 3.7.1: without the option the other side takes the default.
    const announced = o.mss > 0 ? o.mss : this.tuple.family === 4 ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6
    this.peerMss = Math.max(announced, MIN_MSS)
    this.applyMss()
    this.snd.firstWindow(s.window, at, seq(s.ack))
  }

  private peerMss = DEFAULT_MSS_V4

  private get ownMss(): number {
    return this.pathMtu - this.tuple.ipHeader - tcp.TCP_HEADER
  }

  /** RFC 9293 3.7.1, RFC 6691: what options take is not in the announced value, so it comes off here. */
  private applyMss(): void {
    const mss = Math.min(this.peerMss, this.ownMss) - (this.timestamps ? opt.TIMESTAMPS_LENGTH : 0)
    this.snd.setMss(Math.max(mss, MIN_MSS - opt.TIMESTAMPS_LENGTH))
    this.rcv.mss = Math.min(this.rcv.mss, mss)
  }

  private becomeEstablished(now: Instant): boolean {
    this.state = TcpState.ESTABLISHED
    this.deadlines.stop(STATE)
    this.deadlines.stop(RTO)
    this.timeouts = 0
    if (this.synTries > 1) this.rtt.synTimedOut()
    if (this.keepAlive > 0) this.setDeadline(KEEPALIVE, now + this.keepAlive)
    if (this.passive && !this.host.established(this)) {
      this.abort()
      return false
    }
    this.host.markReady(this, READY_CONNECTED)
    if (this.snd.finQueued) this.state = TcpState.FIN_WAIT_1
    if (this.snd.waiting) this.host.schedule(this)
    return true
  }

  // ---------------------------------------------------------------- segments in

  /** RFC 9293 3.10.7. The segment's checksum and lengths are good, its options are in `o`. */
  segmentArrives(s: Segment, o: opt.TcpOptions, now: Instant): void {
    this.lastHeard = now
    if (this.state === TcpState.SYN_SENT) this.arrivesInSynSent(s, o, now)
    else if (this.state !== TcpState.CLOSED && !this.held) this.arrivesSynchronised(s, o, now)
  }

  /** RFC 9293 3.10.7.3. */
  private arrivesInSynSent(s: Segment, o: opt.TcpOptions, now: Instant): void {
    const { snd } = this
    const hasAck = (s.flags & tcp.ACK) !== 0
    const ack = seq(s.ack)
    if (hasAck && (seqLe(ack, snd.iss) || seqGt(ack, snd.max))) {
      if ((s.flags & tcp.RST) === 0) this.host.sendReset(this.tuple, ack)
      return
    }
    if (s.flags & tcp.RST) {
      if (hasAck) {
        this.host.counters.resetsReceived++
        this.fail('refused')
      }
      return
    }
    if ((s.flags & tcp.SYN) === 0) return
    this.takeSyn(s, o, now)
    if (!hasAck) {
      // Simultaneous open (RFC 9293 3.5).
      this.state = TcpState.SYN_RECEIVED
      this.synDue = true
      this.host.schedule(this)
      return
    }
    const rtt = o.hasTimestamps && o.tsEcr !== 0 ? this.elapsed(o.tsEcr, now) : -1
    snd.onAck(ack, 0, seq(s.seq), false, false, rtt, now)
    snd.firstWindow(s.window, seq(s.seq), ack)
    if (!this.becomeEstablished(now)) return
    this.rcv.ackNow = true
    this.host.schedule(this)
    // Data or FIN on the SYN-ACK comes behind the SYN (RFC 9293 3.10.7.3, fourth).
    if (s.dataLen > 0 || s.flags & tcp.FIN) this.takeText(s, seqAdd(seq(s.seq), 1), now)
  }

  /** RFC 9293 3.10.7.4. */
  private arrivesSynchronised(s: Segment, o: opt.TcpOptions, now: Instant): void {
    const { rcv, snd } = this
    let flags = s.flags
    const rst = (flags & tcp.RST) !== 0
    if (this.state === TcpState.SYN_RECEIVED && flags & tcp.SYN && s.seq === rcv.irs && !rst) {
      if (this.passive || !(flags & tcp.ACK)) {
        // The SYN again: our SYN-ACK was lost.
        this.synDue = true
        this.host.schedule(this)
        return
      }
      // Simultaneous open (RFC 9293 figure 8): their SYN-ACK repeats the SYN we know, its ACK is news.
      flags &= ~tcp.SYN
      s.seq = rcv.nxt
    }
    const at = seq(s.seq)

    if (this.timestamps && !rst) {
      // RFC 7323 3.2: once agreed, every segment has them.
      if (!o.hasTimestamps) return
      if (rcv.isOldTimestamp(seq(o.tsVal), now)) {
        this.challenge(now, s.dataLen > 0)
        return
      }
    }

    // First: is any of it in the window?
    let len = s.dataLen + (flags & tcp.SYN ? 1 : 0) + (flags & tcp.FIN ? 1 : 0)
    if (!rcv.acceptable(at, len)) {
      if (rst) return
      if (this.state === TcpState.TIME_WAIT && flags & tcp.FIN) {
        this.setDeadline(STATE, now + this.host.times.timeWait)
      }
      // MUST-66, RFC 9293 3.10.7.4: with a zero window the acknowledgement still counts.
      const zeroWindow = rcv.window === 0 && len > 0 && at === rcv.nxt && (flags & tcp.SYN) === 0
      if (!zeroWindow) {
        this.host.counters.duplicates++
        this.challenge(now, len > 0)
        return
      }
      rcv.ackNow = true
      this.host.schedule(this)
      len = 0
    }
    if (o.hasTimestamps && this.timestamps) rcv.noteTimestamp(seq(o.tsVal), at, now)

    // Second: RST (RFC 5961 3.2).
    if (rst) {
      if (at === rcv.nxt) this.reset()
      else this.challenge(now, false)
      return
    }
    // Fourth: SYN (RFC 5961 4.2).
    if (flags & tcp.SYN) {
      this.challenge(now, false)
      return
    }
    // Fifth: ACK.
    if ((flags & tcp.ACK) === 0) return
    const ack = seq(s.ack)
    if (this.state === TcpState.SYN_RECEIVED) {
      if (seqLe(ack, snd.una) || seqGt(ack, snd.max)) {
        this.host.sendReset(this.tuple, ack)
        return
      }
      this.acknowledge(s, o, len === 0, now)
      if (!this.becomeEstablished(now)) return
    } else {
      if (seqGt(ack, snd.max) || seqLt(ack, seqAdd(snd.una, -snd.maxWnd))) {
        // RFC 5961 5.2.
        this.challenge(now, false)
        return
      }
      if (!this.acknowledge(s, o, len === 0, now)) return
    }
    // Seventh and eighth: text and FIN.
    if (len > 0) this.takeText(s, seq(s.seq), now)
  }

  /** RFC 9293 3.10.7.4, fifth step. @returns false if the connection is over */
  private acknowledge(s: Segment, o: opt.TcpOptions, pure: boolean, now: Instant): boolean {
    const { snd } = this
    const rtt = this.timestamps && o.hasTimestamps && o.tsEcr !== 0 ? this.elapsed(o.tsEcr, now) : -1
    const found = snd.onAck(seq(s.ack), s.window, seq(s.seq), pure, o.sackBlocks > 0, rtt, now)
    if (found === ACK_NEW) {
      this.timeouts = 0
      this.keepAliveTries = 0
      // RFC 6298 5.2, 5.3.
      if (snd.outstanding) this.setDeadline(RTO, now + this.rtt.rto)
      else this.deadlines.stop(RTO)
      if (this.writableWanted && snd.queue.length <= this.host.limits.sendBuffer >>> 1) {
        this.writableWanted = false
        this.host.markReady(this, READY_WRITABLE)
      }
      if (snd.finAcknowledged && !this.finAcknowledged(now)) return false
    } else if (found === ACK_DUPLICATE && snd.retransmitFirst) {
      this.host.counters.fastRetransmits++
    }
    if (snd.waiting || snd.retransmitFirst) {
      if (snd.wnd > 0) this.deadlines.stop(PERSIST)
      this.host.schedule(this)
    }
    return true
  }

  private finAcknowledged(now: Instant): boolean {
    switch (this.state) {
      case TcpState.FIN_WAIT_1:
        this.state = TcpState.FIN_WAIT_2
        return true
      case TcpState.CLOSING:
        this.enterTimeWait(now)
        return true
      case TcpState.LAST_ACK:
        this.finish(undefined)
        return false
      default:
        return true
    }
  }

  /** RFC 9293 3.10.7.4, seventh and eighth step. */
  private takeText(s: Segment, at: Seq, now: Instant): void {
    const { rcv } = this
    if (s.dataLen > 0 && mayReceiveData(this.state)) {
      if (s.dataLen > rcv.mss) rcv.mss = Math.min(s.dataLen, this.ownMss)
      const ahead = seqGt(at, rcv.nxt)
      const readable = rcv.data(at, s.buf, s.dataOff, s.dataLen)
      if (readable > 0) this.host.markReady(this, READY_READABLE)
      if (ahead) this.host.counters.outOfOrder++
    } else if (s.dataLen > 0) {
      rcv.ackNow = true
    }
    if (s.flags & tcp.FIN ? rcv.fin(seqAdd(at, s.dataLen)) : rcv.finReached()) this.finReceived(now)
    if (rcv.ackNow) this.host.schedule(this)
    else if (rcv.ackPending && !this.deadlines.isSet(DELAYED_ACK)) {
      this.setDeadline(DELAYED_ACK, now + this.host.times.delayedAck)
    }
  }

  private finReceived(now: Instant): void {
    this.rcv.ackNow = true
    switch (this.state) {
      case TcpState.SYN_RECEIVED:
      case TcpState.ESTABLISHED:
        this.state = TcpState.CLOSE_WAIT
        break
      case TcpState.FIN_WAIT_1:
        this.state = TcpState.CLOSING
        break
      case TcpState.FIN_WAIT_2:
        this.enterTimeWait(now)
        break
    }
    this.host.markReady(this, READY_READABLE)
  }

  /** An ICMP error quoting a segment of ours whose sequence number is in flight (RFC 5927 4.1). */
  icmpError(reason: SocketError): void {
    // RFC 1122 4.2.3.9 makes some of these fatal; RFC 5461 and 5927 leave that to connections not yet open.
    if (this.state === TcpState.SYN_SENT || (this.state === TcpState.SYN_RECEIVED && !this.held)) {
      if (!this.passive) {
        this.fail(reason)
        return
      }
    }
    this.softError = reason
  }

  /** The path takes packets of at most `mtu` octets (RFC 1191, RFC 8201). */
  packetTooBig(mtu: number, now: Instant): void {
    const least = this.tuple.family === 4 ? 552 : 1280
    if (mtu >= this.pathMtu || mtu < least || !isSynchronised(this.state)) return
    this.pathMtu = mtu
    this.applyMss()
    if (this.snd.outstanding) {
      // Not congestion: send again from the first unacknowledged octet, in smaller pieces.
      this.snd.nxt = this.snd.una
      this.setDeadline(RTO, now + this.rtt.rto)
      this.host.schedule(this)
    }
  }

  /** True if the quoted sequence number is in flight (RFC 5927 4.1). */
  inFlight(at: Seq): boolean {
    return seqGe(at, this.snd.una) && seqLt(at, this.snd.max)
  }

  /** RFC 9293 3.6.1, RFC 6191 2: may this SYN take over a connection in TIME-WAIT? */
  mayReopen(s: Segment, o: opt.TcpOptions): boolean {
    if (this.state !== TcpState.TIME_WAIT || s.flags & (tcp.ACK | tcp.RST) || !(s.flags & tcp.SYN))
      return false
    if (this.timestamps && o.hasTimestamps && seqGt(seq(o.tsVal), this.rcv.tsRecent)) return true
    return seqGt(seq(s.seq), this.rcv.nxt)
  }

  // ---------------------------------------------------------------- segments out

  /** See {@link Emitter}: acknowledgements and handshakes do not wait behind bulk. */
  get prompt(): boolean {
    return this.rcv.ackNow || this.synDue || this.rstDue || this.probeDue
  }

  emit(dst: Uint8Array, off: number, now: Instant): number {
    if (this.rstDue) {
      this.rstDue = false
      return this.emitSegment(dst, off, this.snd.max, tcp.RST | tcp.ACK, 0, false, now)
    }
    if (this.state === TcpState.CLOSED || this.held) return 0
    if (this.state === TcpState.SYN_SENT || this.state === TcpState.SYN_RECEIVED) {
      return this.synDue ? this.emitSyn(dst, off, now) : 0
    }
    const { snd } = this
    if (this.state !== TcpState.TIME_WAIT && this.state !== TcpState.FIN_WAIT_2 && snd.plan(now)) {
      const flags = tcp.ACK | (snd.planIsLast ? tcp.PSH : 0) | (snd.planFin ? tcp.FIN : 0)
      const n = this.emitSegment(dst, off, snd.planSeq, flags, snd.planLength, true, now)
      if (snd.sent(now)) this.host.counters.retransmissions++
      if (!this.deadlines.isSet(RTO)) this.setDeadline(RTO, now + this.rtt.rto)
      this.deadlines.stop(PERSIST)
      return n
    }
    if (this.probeDue) {
      this.probeDue = false
      // A sequence number that was acknowledged long ago: the other side answers with its window.
      return this.emitSegment(dst, off, seqAdd(snd.una, -1), tcp.ACK, 0, false, now)
    }
    if (snd.waiting && !snd.outstanding && !this.deadlines.isSet(PERSIST)) this.armPersist(now)
    return this.rcv.ackNow ? this.emitSegment(dst, off, snd.max, tcp.ACK, 0, false, now) : 0
  }

  private emitSyn(dst: Uint8Array, off: number, now: Instant): number {
    const { snd, rcv, tuple } = this
    const answer = this.state === TcpState.SYN_RECEIVED
    this.synDue = false
    this.synTries++
    if (this.synTries > 1) this.host.counters.retransmissions++
    const t = off + tuple.ipHeader
    // An answer repeats what was offered; a SYN of our own offers everything.
    const timestamps = !answer || this.timestamps
    const sack = !answer || this.sack
    const shift = !answer || rcv.shift > 0 || snd.shift > 0 ? this.windowShift : -1
    const n = opt.emitSyn(
      dst,
      t + tcp.TCP_HEADER,
      this.ownMss,
      shift,
      sack,
      timestamps,
      this.tsNow(now),
      answer ? rcv.tsRecent : 0,
    )
    const field = answer ? rcv.announce(true) : Math.min(this.host.limits.receiveBuffer, 65535)
    const flags = answer ? tcp.SYN | tcp.ACK : tcp.SYN
    const ack = answer ? rcv.nxt : seq(0)
    const header = tcp.TCP_HEADER + n
    tcp.emit(dst, t, tuple.localPort, tuple.remotePort, snd.iss, ack, header, flags, field)
    snd.sentSyn(now)
    if (answer) rcv.acknowledged()
    this.setDeadline(RTO, now + Math.min(this.rtt.rto, MAX_SYN_RTO))
    return this.seal(dst, off, header)
  }

  /** Writes one segment with `len` planned octets. @returns the packet's length */
  private emitSegment(
    dst: Uint8Array,
    off: number,
    at: Seq,
    flags: number,
    len: number,
    planned: boolean,
    now: Instant,
  ): number {
    const { rcv, tuple } = this
    const t = off + tuple.ipHeader
    let header = tcp.TCP_HEADER
    if (this.timestamps && !(flags & tcp.RST)) {
      header += opt.emitTimestamps(dst, t + header, this.tsNow(now), rcv.tsRecent)
    }
    if (this.sack && len === 0 && rcv.ranges.count > 0 && !(flags & tcp.RST)) {
      const blocks = rcv.ranges.sackBlocks(this.sackEdges, this.timestamps ? 3 : 4)
      header += opt.emitSack(dst, t + header, this.sackEdges, blocks)
    }
    const field = flags & tcp.RST ? 0 : rcv.announce(false)
    tcp.emit(dst, t, tuple.localPort, tuple.remotePort, at, rcv.nxt, header, flags, field)
    if (planned && len > 0) this.snd.copyPlanned(dst, t + header)
    rcv.acknowledged()
    this.deadlines.stop(DELAYED_ACK)
    return this.seal(dst, off, header + len)
  }

  /** Checksum and IP header around `length` octets of TCP. */
  private seal(dst: Uint8Array, off: number, length: number): number {
    const { tuple } = this
    const t = off + tuple.ipHeader
    this.host.counters.segmentsOut++
    tcp.setChecksum(
      dst,
      t,
      finish(combine(combine(tuple.addressSum, PROTO_TCP + length), sum(dst, t, length))),
    )
    return emitIp(dst, off, tuple, PROTO_TCP, length)
  }

  // ---------------------------------------------------------------- time

  get nextDeadline(): Instant {
    return this.deadlines.next
  }

  handleTimeout(now: Instant): void {
    const d = this.deadlines
    if (d.take(STATE, now)) {
      if (this.state === TcpState.TIME_WAIT) this.finish(undefined)
      else this.fail(this.softError ?? 'timed-out')
      return
    }
    if (d.take(RTO, now)) this.retransmissionTimeout(now)
    if (this.isClosed) return
    if (d.take(DELAYED_ACK, now) && this.rcv.ackPending) {
      this.rcv.ackNow = true
      this.host.schedule(this)
    }
    if (d.take(PERSIST, now)) this.persistTimeout(now)
    if (!this.isClosed && d.take(KEEPALIVE, now)) this.keepAliveTimeout(now)
    if (!this.isClosed) {
      d.settle()
      this.host.timersChanged(this)
    }
  }

  private retransmissionTimeout(now: Instant): void {
    const { snd } = this
    if (this.isOpening) {
      this.rtt.backOff()
      this.synDue = true
      this.host.schedule(this)
      return
    }
    if (!snd.outstanding) return
    if (now - snd.progressAt >= this.host.times.userTimeout) {
      // R2 of RFC 9293 3.8.3.
      this.fail(this.softError ?? 'timed-out')
      return
    }
    this.host.counters.timeouts++
    this.timeouts++
    snd.onTimeout(this.timeouts === 1, now)
    // SHLD-16, 17: a window that has shrunk to nothing is asked about, not filled.
    if (snd.wnd === 0) this.probeDue = true
    this.setDeadline(RTO, now + this.rtt.rto)
    this.host.schedule(this)
  }

  /** RFC 9293 3.8.6.1: the first probe after one time-out, then with back-off. */
  private armPersist(now: Instant): void {
    const { snd } = this
    const small = snd.wnd > 0
    this.setDeadline(PERSIST, now + (small ? SWS_OVERRIDE : Math.max(this.rtt.rto, this.host.times.minRto)))
  }

  private persistTimeout(now: Instant): void {
    const { snd } = this
    if (!snd.waiting || snd.outstanding) return
    if (snd.wnd > 0) {
      snd.override = true
    } else {
      if (
        now - snd.progressAt >= this.host.times.userTimeout &&
        now - this.lastHeard >= this.host.times.userTimeout
      ) {
        // Probes that are answered never give up (MUST-37); these are not.
        this.fail('timed-out')
        return
      }
      this.probeDue = true
      this.rtt.backOff()
      this.setDeadline(PERSIST, now + this.rtt.rto)
    }
    this.host.schedule(this)
  }

  private keepAliveTimeout(now: Instant): void {
    if (this.keepAlive === 0 || !isSynchronised(this.state) || this.state === TcpState.TIME_WAIT) return
    const idle = now - this.lastHeard
    if (idle < this.keepAlive) {
      this.keepAliveTries = 0
      this.setDeadline(KEEPALIVE, this.lastHeard + this.keepAlive)
      return
    }
    if (this.keepAliveTries >= KEEPALIVE_PROBES) {
      this.fail('timed-out')
      return
    }
    this.keepAliveTries++
    this.probeDue = true
    this.setDeadline(KEEPALIVE, now + Math.min(KEEPALIVE_INTERVAL, this.keepAlive))
    this.host.schedule(this)
  }

  private setDeadline(which: number, when: Instant): void {
    this.deadlines.set(which, when)
    this.host.timersChanged(this)
  }

  /** RFC 7323 5.4: a clock of 1 ms with an offset that outsiders cannot know. */
  private tsNow(now: Instant): number {
    return (Math.floor(now) + this.tsOffset) | 0
  }

  /** Milliseconds since the timestamp that the other side echoes; -1 if it cannot be one of ours. */
  private elapsed(tsEcr: number, now: Instant): number {
    const ms = (this.tsNow(now) - tsEcr) | 0
    return ms < 0 ? -1 : ms
  }

  /** RFC 5961: an acknowledgement that lets an honest peer sort itself out, at a bounded rate. */
  private challenge(now: Instant, hasData: boolean): void {
    // A repeated data segment means that our acknowledgement was lost: that one is always answered.
    if (!hasData) {
      if (now - this.lastChallenge < CHALLENGE_INTERVAL) return
      this.lastChallenge = now
      this.host.counters.challengeAcks++
    }
    this.rcv.ackNow = true
    this.host.schedule(this)
  }

  // ---------------------------------------------------------------- ends

  private enterTimeWait(now: Instant): void {
    this.state = TcpState.TIME_WAIT
    this.deadlines.clear()
    this.setDeadline(STATE, now + this.host.times.timeWait)
    this.snd.drop()
    this.host.markReady(this, READY_CLOSED)
    this.host.enteredTimeWait(this)
  }

  private reset(): void {
    this.host.counters.resetsReceived++
    if (this.state === TcpState.TIME_WAIT) return
    // A passive open goes quietly back to LISTEN (RFC 9293 3.10.7.4).
    const refused = this.state === TcpState.SYN_RECEIVED && !this.passive
    this.fail(refused ? 'refused' : 'reset')
  }

  private fail(error: SocketError): void {
    if (this.state === TcpState.TIME_WAIT) {
      this.finish(undefined)
      return
    }
    this.finish(error)
  }

  /** To CLOSED. */
  private finish(error: SocketError | undefined): void {
    if (this.state === TcpState.CLOSED) return
    const told = this.state === TcpState.TIME_WAIT
    this.state = TcpState.CLOSED
    this.error = error
    this.deadlines.clear()
    this.host.unschedule(this)
    this.snd.drop()
    // What is unread stays readable after a proper end, and is lost after a failure.
    if (error !== undefined) this.rcv.drop()
    this.host.closed(this)
    if (!told) this.host.markReady(this, READY_CLOSED)
  }
}

/** RFC 7323 2.2: the smallest shift with which the whole buffer can be announced. */
function shiftFor(buffer: number): number {
  let shift = 0
  while (shift < opt.MAX_WINDOW_SHIFT && buffer >> shift > 65535) shift++
  return shift
}
