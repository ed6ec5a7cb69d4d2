/**
 * What a connection is made of, what it sends when it is asked, and what it does when time passes
 * (RFC 9293 3.3.1, 3.8). Segments that come in are {@link Arrivals}' business.
 */
import type { ReadySocket } from '../ready.js'
import type { Emitter } from '../scheduler.js'
import { type Seq, seqAdd } from '../seq.js'
import { Deadlines, type Timed } from '../timers.js'
import type { Tuple } from '../tuple.js'
import { type Instant, READY_CLOSED, type SocketError } from '../types.js'
import type { IpAddress } from '../wire/address.js'
import { Cubic } from './congestion/cubic.js'
import { NewReno } from './congestion/newreno.js'
import type { TcpHost } from './host.js'
import { SegmentWriter } from './output.js'
import { KEEPALIVE_DEAD, KEEPALIVE_PROBE, KeepAlive, Persist } from './probes.js'
import { Receiver } from './receiver.js'
import { RttEstimator } from './rtt.js'
import { Sender } from './sender.js'
import { isSynchronised, TcpState } from './state.js'
import { UserTimeout } from './user-timeout.js'

/** Deadlines by name. */
export const RTO = 0
export const DELAYED_ACK = 1
export const PERSIST = 2
export const KEEPALIVE = 3
/** Connect and handshake limit, then TIME-WAIT. */
export const STATE = 4
/** RFC 8985: the reordering timer, and the tail loss probe. */
export const REORDERING = 5
export const TAIL_PROBE = 6
const DEADLINES = 7

/** Milliseconds. */
const LEAST_WAIT = 0.5
/** SYN without an answer: wait at most that long between tries. */
const MAX_SYN_RTO = 16_000

/** What a connection is to be like. */
export interface TcpOptionsWanted {
  /** Sends short segments at once; true by default. */
  readonly noDelay?: boolean
  /** Milliseconds of idleness before the first keep-alive probe; 0 (the default) is off. */
  readonly keepAlive?: number
  /** Congestion control: CUBIC (RFC 9438, the default) or NewReno (RFC 5681). */
  readonly congestion?: 'cubic' | 'newreno'
  /** Asks for explicit congestion notification (RFC 3168); false by default. A peer that asks gets it. */
  readonly ecn?: boolean
  /** Milliseconds that data may stay unacknowledged before the connection is given up; `times.userTimeout` by default. */
  readonly userTimeout?: number
  /** Tells the other side about it, and heeds what it says (RFC 5482); false by default. */
  readonly advertiseUserTimeout?: boolean
  /** Differentiated services code point of every packet (RFC 2474), 0 (the default) to 63: its lower six bits count. */
  readonly dscp?: number
  /** TTL or hop limit of every packet, 1 to 255 (the nearest of these counts); 64 by default. */
  readonly hopLimit?: number
  /** Our address, which must be one of the stack's; what fits the destination by default. Active opens only. */
  readonly local?: IpAddress
}

/** The state of a connection (the TCB of RFC 9293 3.3.1), its output and its timers. */
export abstract class ControlBlock implements Emitter, Timed, ReadySocket {
  /** Tells the kinds of {@link AnySocket} apart. */
  readonly kind = 'tcp'
  /** Both ends. */
  readonly tuple: Tuple
  /** Where it stands; READY_CLOSED comes with CLOSED, or already with TIME-WAIT. */
  state: TcpState = TcpState.CLOSED
  /** Set when the connection has failed. */
  error: SocketError | undefined
  /** An ICMP error that was no reason to give up (RFC 9293 3.9.2.2). */
  softError: SocketError | undefined
  /** For whoever uses the stack. */
  owner: unknown

  /** Nobody has accepted it yet, so nobody is told anything. @internal */
  unaccepted = false

  protected readonly host: TcpHost<ControlBlock>
  protected readonly snd: Sender
  protected readonly rcv: Receiver
  protected readonly rtt: RttEstimator
  protected readonly writer: SegmentWriter
  protected readonly persist: Persist
  protected readonly keepAlive: KeepAlive
  protected readonly deadlines = new Deadlines(DEADLINES)
  /** The last time that deadlines were looked at. */
  private handledAt: Instant = Number.NEGATIVE_INFINITY
  protected readonly passive: boolean
  protected readonly userTimeout: UserTimeout
  /** Our SYN asks for ECN; not any more when one went unanswered (RFC 3168 6.1.1.1). */
  protected asksEcn: boolean

  /** A SYN or SYN-ACK is to be sent (again). */
  protected synDue = false
  protected synTries = 0
  /** One went unanswered for a time-out. */
  protected synTimedOut = false
  protected probeDue = false
  protected rstDue = false
  protected held = false
  /** Retransmission time-outs in a row. */
  protected timeouts = 0
  protected lastHeard: Instant = 0
  protected writableWanted = false
  /** To be given up when all that is queued has been acknowledged. */
  protected aborting = false

  /** @internal */
  hashNext: ControlBlock | undefined
  /** @internal */
  heapIndex = -1
  /** @internal */
  heapKey: Instant = 0
  /** @internal */
  readyBits = 0
  /** @internal */
  readyNext: ReadySocket | undefined
  /** @internal */
  schedNext: Emitter | undefined
  /** @internal */
  schedPrev: Emitter | undefined
  /** @internal */
  schedQueue = 0
  /** @internal */
  schedCredit = 0

  constructor(
    host: TcpHost<ControlBlock>,
    tuple: Tuple,
    iss: Seq,
    tsOffset: number,
    passive: boolean,
    wanted: TcpOptionsWanted = {},
  ) {
    const { limits, times } = host
    this.host = host
    this.tuple = tuple
    this.passive = passive
    this.rtt = new RttEstimator(times.minRto, times.maxRto, times.minRto)
    const cc = wanted.congestion === 'newreno' ? new NewReno() : new Cubic()
    this.snd = new Sender(iss, cc, this.rtt, host.counters, limits.segmentsInFlight, host.pool.account)
    this.userTimeout = new UserTimeout(
      times.userTimeout,
      wanted.userTimeout,
      wanted.advertiseUserTimeout ?? false,
    )
    this.asksEcn = wanted.ecn ?? false
    this.snd.noDelay = wanted.noDelay ?? true
    this.rcv = new Receiver(host.pool, limits)
    this.writer = new SegmentWriter(
      tuple,
      this.snd,
      this.rcv,
      tsOffset,
      Math.max(limits.receiveBuffer, limits.receiveBufferMax),
      host.mtu(tuple),
      times.pathMtuRaise,
    )
    if (wanted.dscp !== undefined) this.writer.trafficClass = (wanted.dscp & 63) << 2
    if (wanted.hopLimit !== undefined) this.writer.hopLimit = Math.min(Math.max(wanted.hopLimit, 1), 255)
    this.persist = new Persist(this.rtt)
    this.keepAlive = new KeepAlive(wanted.keepAlive ?? 0)
  }

  protected get isClosed(): boolean {
    return this.state === TcpState.CLOSED
  }

  /** Initial sequence number of the other side. @internal */
  get remoteIss(): Seq {
    return this.rcv.irs
  }

  /** Behind the highest sequence number that we have used. @internal */
  get sentEnd(): Seq {
    return this.snd.nxt
  }

  protected get isOpening(): boolean {
    return this.state === TcpState.SYN_SENT || this.state === TcpState.SYN_RECEIVED
  }

  /** Octets queued above which a write is told to wait: enough for cwnd to grow (send-buffer auto-tuning). */
  protected get highWater(): number {
    const { sendBuffer, sendBufferMax } = this.host.limits
    if (!this.host.pool.account.roomy) return sendBuffer
    return Math.max(sendBuffer, Math.min(sendBufferMax, 2 * this.snd.cc.cwnd))
  }

  // ---------------------------------------------------------------- segments out

  /** See {@link Emitter}: acknowledgements and handshakes do not wait behind bulk. @internal */
  get prompt(): boolean {
    return this.rcv.ackNow || this.synDue || this.rstDue || this.probeDue
  }

  /** @internal */
  emit(dst: Uint8Array, off: number, now: Instant): number {
    const n = this.emitNext(dst, off, now)
    if (n > 0) this.host.counters.segmentsOut++
    return n
  }

  protected emitNext(dst: Uint8Array, off: number, now: Instant): number {
    const { snd, rcv, state } = this
    if (this.rstDue) {
      this.rstDue = false
      this.host.counters.resetsSent++
      return this.writer.reset(dst, off)
    }
    if (state === TcpState.CLOSED || this.held) return 0
    if (this.isOpening) {
      if (this.synDue) return this.emitSyn(dst, off, now)
      return rcv.ackNow ? this.emitAck(dst, off, snd.nxt, now) : 0
    }
    // A report of octets received ahead goes alone: on text it would be no duplicate to the other side
    // (RFC 5681 2), and its blocks have no room there.
    if (rcv.ackNow && rcv.hasReport) return this.emitAck(dst, off, snd.bareSeq, now)
    if (state !== TcpState.TIME_WAIT && state !== TcpState.FIN_WAIT_2 && snd.plan(now)) {
      const n = this.writer.planned(dst, off, now)
      if (snd.planAgain) this.host.counters.retransmissions++
      snd.sent(now)
      if (!this.deadlines.isSet(RTO)) this.setDeadline(RTO, now + this.rtt.rto)
      this.armTailProbe(now)
      this.deadlines.stop(PERSIST)
      this.deadlines.stop(DELAYED_ACK)
      return n
    }
    if (this.probeDue) {
      this.probeDue = false
      // A sequence number that was acknowledged long ago: the other side answers with its window.
      return this.emitAck(dst, off, seqAdd(snd.una, -1), now)
    }
    if (snd.waiting && !snd.outstanding && !this.deadlines.isSet(PERSIST)) {
      this.setDeadline(PERSIST, this.persist.first(snd.wnd, now))
    }
    return rcv.ackNow ? this.emitAck(dst, off, snd.bareSeq, now) : 0
  }

  protected emitAck(dst: Uint8Array, off: number, at: Seq, now: Instant): number {
    this.deadlines.stop(DELAYED_ACK)
    return this.writer.acknowledgement(dst, off, at, now)
  }

  protected emitSyn(dst: Uint8Array, off: number, now: Instant): number {
    this.synDue = false
    this.synTries++
    if (this.synTries > 1) this.host.counters.retransmissions++
    this.snd.sentSyn(now)
    this.setDeadline(RTO, now + Math.min(this.rtt.rto, MAX_SYN_RTO))
    const answer = this.state === TcpState.SYN_RECEIVED
    const ecn = answer ? this.snd.ecn : this.asksEcn
    return this.writer.syn(dst, off, answer, ecn, this.userTimeout, now)
  }

  // ---------------------------------------------------------------- time

  /** @internal */
  get nextDeadline(): Instant {
    return this.deadlines.next
  }

  /** @internal */
  handleTimeout(now: Instant): void {
    const d = this.deadlines
    this.handledAt = now
    if (d.take(STATE, now)) {
      if (this.state === TcpState.TIME_WAIT) this.finish(undefined)
      else this.fail(this.softError ?? 'timed-out')
      return
    }
    if (d.take(RTO, now)) this.retransmissionTimeout(now)
    if (this.isClosed) return
    if (d.take(TAIL_PROBE, now)) this.tailProbeTimeout(now)
    if (d.take(REORDERING, now)) {
      if (this.snd.onReorderingTimeout(now)) this.host.schedule(this)
      this.armReordering()
    }
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

  protected retransmissionTimeout(now: Instant): void {
    const { snd } = this
    if (this.isOpening) {
      // Routers limit how often they say so: what was said once holds when another SYN has gone in vain too.
      if (this.synTimedOut && !this.passive && this.softError !== undefined) {
        this.fail(this.softError)
        return
      }
      this.synTimedOut = true
      // RFC 3168 6.1.1.1: there are paths on which a SYN that asks for ECN gets no answer.
      this.asksEcn = false
      this.rtt.backOff()
      this.synDue = true
      this.host.schedule(this)
      return
    }
    if (!snd.outstanding) return
    if (now - snd.progressAt >= this.userTimeout.value) {
      // R2 of RFC 9293 3.8.3.
      this.fail(this.softError ?? 'timed-out')
      return
    }
    this.host.counters.timeouts++
    this.timeouts++
    const head = snd.headSize
    snd.onTimeout(this.timeouts === 1, now)
    if (snd.wnd > 0 && snd.pathMtu?.timedOut(head, this.timeouts, now)) this.writer.applyMss()
    this.deadlines.stop(TAIL_PROBE)
    this.deadlines.stop(REORDERING)
    // SHLD-16, 17: a window that has shrunk to nothing is asked about, not filled. One that is only too
    // small to be worth filling is filled: nothing else would ever ask.
    if (snd.wnd === 0) this.probeDue = true
    else snd.override = true
    this.setDeadline(RTO, now + this.rtt.rto)
    this.host.schedule(this)
  }

  /** RFC 8985 7.3. */
  private tailProbeTimeout(now: Instant): void {
    if (!this.snd.outstanding) return
    this.snd.tailProbe = true
    this.setDeadline(RTO, now + this.rtt.rto)
    this.host.schedule(this)
  }

  /** RFC 8985 7.2: the probe's time, if it comes before the retransmission timer's. */
  protected armTailProbe(now: Instant): void {
    const pto = this.snd.recovery.probeTimeout(this.snd.board.count, this.host.times.maxAckDelay)
    if (now + pto < this.deadlines.get(RTO)) this.setDeadline(TAIL_PROBE, now + pto)
    else this.deadlines.stop(TAIL_PROBE)
  }

  protected armReordering(): void {
    const when = this.snd.recovery.reorderingTimeout
    if (when === Number.POSITIVE_INFINITY) this.deadlines.stop(REORDERING)
    else this.setDeadline(REORDERING, when)
  }

  /** RFC 6298 5.2, 5.3: something new was acknowledged. */
  protected restartRetransmission(now: Instant): void {
    if (this.snd.outstanding) {
      this.setDeadline(RTO, now + this.rtt.rto)
      this.armTailProbe(now)
    } else {
      this.deadlines.stop(RTO)
      this.deadlines.stop(TAIL_PROBE)
    }
  }

  /** The path was found to take packets of another size. */
  protected followPath(now: Instant): void {
    const { snd } = this
    if (snd.pathChanged) {
      snd.pathChanged = false
      this.writer.applyMss()
    }
    if (snd.pathMtu?.takeBlackHole()) {
      // Worth remembering for other connections to there.
      this.host.counters.blackHoles++
      this.host.pathMtuFound(this.tuple, snd.pathMtu.current, now)
    }
  }

  protected persistTimeout(now: Instant): void {
    const { snd } = this
    if (!snd.waiting || snd.outstanding) return
    if (snd.wnd > 0) {
      snd.override = true
    } else {
      if (this.persist.unanswered(this.lastHeard, now) >= this.userTimeout.value) {
        this.fail(this.softError ?? 'timed-out')
        return
      }
      this.probeDue = true
      this.setDeadline(PERSIST, this.persist.next(now))
    }
    this.host.schedule(this)
  }

  protected keepAliveTimeout(now: Instant): void {
    const { keepAlive } = this
    if (keepAlive.idle === 0 || !isSynchronised(this.state) || this.state === TcpState.TIME_WAIT) return
    const verdict = keepAlive.verdict(this.lastHeard, this.snd.outstanding, now)
    if (verdict === KEEPALIVE_DEAD) {
      this.fail(this.softError ?? 'timed-out')
      return
    }
    this.setDeadline(KEEPALIVE, keepAlive.next)
    if (verdict === KEEPALIVE_PROBE) {
      this.probeDue = true
      this.host.schedule(this)
    }
  }

  protected setDeadline(which: number, when: Instant): void {
    // What rounding makes due again at the moment at which it was handled would be handled without end.
    this.deadlines.set(which, when > this.handledAt ? when : this.handledAt + LEAST_WAIT)
    this.host.timersChanged(this)
  }

  // ---------------------------------------------------------------- ends

  /** Gives the connection up at once (RFC 9293 3.10.5); the other side gets a RST. */
  abort(): void {
    this.discard()
    // What has come stays readable until its owner has no use for it.
    this.rcv.drop()
  }

  /** The same, but what can still be read stays. @internal */
  discard(): void {
    if (this.state === TcpState.CLOSED) return
    const tell = this.state !== TcpState.SYN_SENT && this.state !== TcpState.TIME_WAIT && !this.held
    this.fail('aborted')
    if (tell) {
      this.rstDue = true
      this.host.schedule(this)
    }
  }

  protected enterTimeWait(now: Instant): void {
    this.state = TcpState.TIME_WAIT
    this.deadlines.clear()
    this.setDeadline(STATE, now + this.host.times.timeWait)
    this.snd.drop()
    this.host.markReady(this, READY_CLOSED)
    this.host.enteredTimeWait(this)
  }

  protected reset(): void {
    this.host.counters.resetsReceived++
    if (this.state === TcpState.TIME_WAIT) return
    // A passive open goes quietly back to LISTEN (RFC 9293 3.10.7.4).
    const refused = this.state === TcpState.SYN_RECEIVED && !this.passive
    this.fail(refused ? 'refused' : 'reset')
  }

  protected fail(error: SocketError): void {
    this.finish(this.state === TcpState.TIME_WAIT ? undefined : error)
  }

  /** To CLOSED. */
  protected finish(error: SocketError | undefined): void {
    if (this.state === TcpState.CLOSED) return
    const told = this.state === TcpState.TIME_WAIT
    this.state = TcpState.CLOSED
    this.held = false
    this.error = error
    this.deadlines.clear()
    this.host.unschedule(this)
    this.snd.drop()
    // What is unread stays readable. RFC 9293 3.10.7.4 would have it flushed by a reset, but whoever answers and closes
    // with something unread, as servers do that refuse an upload, resets right behind the answer: kernels keep it too.
    if (error !== undefined) this.unaccepted ? this.rcv.drop() : this.rcv.breakOff()
    if (!told) this.host.markReady(this, READY_CLOSED)
    this.host.closed(this)
  }
}
