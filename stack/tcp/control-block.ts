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
import { NewReno } from './congestion/newreno.js'
import type { TcpHost } from './host.js'
import { SegmentWriter } from './output.js'
import { KEEPALIVE_DEAD, KEEPALIVE_PROBE, KeepAlive, Persist } from './probes.js'
import { Receiver } from './receiver.js'
import { NewRenoRecovery } from './recovery.js'
import { RttEstimator } from './rtt.js'
import { Sender } from './sender.js'
import { isSynchronised, TcpState } from './state.js'

/** Deadlines by name. */
export const RTO = 0
export const DELAYED_ACK = 1
export const PERSIST = 2
export const KEEPALIVE = 3
/** Connect and handshake limit, then TIME-WAIT. */
export const STATE = 4
const DEADLINES = 5

/** SYN without an answer: wait at most that long between tries. */
const MAX_SYN_RTO = 16_000

export interface TcpOptionsWanted {
  /** Sends short segments at once; true by default. */
  readonly noDelay?: boolean
  /** Milliseconds of idleness before the first keep-alive probe; 0 (the default) is off. */
  readonly keepAlive?: number
}

/** The state of a connection (the TCB of RFC 9293 3.3.1), its output and its timers. */
export abstract class ControlBlock implements Emitter, Timed, ReadySocket {
  readonly kind = 'tcp'
  readonly tuple: Tuple
  state: TcpState = TcpState.CLOSED
  /** Set when the connection has failed. */
  error: SocketError | undefined
  /** An ICMP error that was no reason to give up (RFC 9293 3.9.2.2). */
  softError: SocketError | undefined
  /** For whoever uses the stack. */
  owner: unknown

  /** Nobody has accepted it yet, so nobody is told anything. */
  unaccepted = false

  protected readonly host: TcpHost<ControlBlock>
  protected readonly snd: Sender
  protected readonly rcv: Receiver
  protected readonly rtt: RttEstimator
  protected readonly writer: SegmentWriter
  protected readonly persist: Persist
  protected readonly keepAlive: KeepAlive
  protected readonly deadlines = new Deadlines(DEADLINES)
  protected readonly passive: boolean

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

  hashNext: ControlBlock | undefined
  heapIndex = -1
  heapKey: Instant = 0
  readyBits = 0
  readyNext: ReadySocket | undefined
  schedNext: Emitter | undefined
  schedPrev: Emitter | undefined
  schedQueue = 0
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
    this.rtt = new RttEstimator(times.minRto, times.maxRto)
    this.snd = new Sender(iss, new NewReno(), new NewRenoRecovery(iss), this.rtt)
    this.snd.noDelay = wanted.noDelay ?? true
    this.rcv = new Receiver(host.pool, limits.receiveBuffer, limits.outOfOrderRanges)
    this.writer = new SegmentWriter(
      tuple,
      this.snd,
      this.rcv,
      tsOffset,
      limits.receiveBuffer,
      host.mtu(tuple),
    )
    this.persist = new Persist(this.rtt)
    this.keepAlive = new KeepAlive(wanted.keepAlive ?? 0)
  }

  protected get isClosed(): boolean {
    return this.state === TcpState.CLOSED
  }

  /** Initial sequence number of the other side. */
  get remoteIss(): Seq {
    return this.rcv.irs
  }

  /** Behind the highest sequence number that we have used. */
  get sentEnd(): Seq {
    return this.snd.max
  }

  protected get isOpening(): boolean {
    return this.state === TcpState.SYN_SENT || this.state === TcpState.SYN_RECEIVED
  }

  // ---------------------------------------------------------------- segments out

  /** See {@link Emitter}: acknowledgements and handshakes do not wait behind bulk. */
  get prompt(): boolean {
    return this.rcv.ackNow || this.synDue || this.rstDue || this.probeDue
  }

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
      return rcv.ackNow ? this.emitAck(dst, off, snd.max, now) : 0
    }
    // A report of octets received ahead goes alone: on text it would be no duplicate to the other side
    // (RFC 5681 2), and its blocks have no room there.
    if (rcv.ackNow && rcv.ranges.count > 0) return this.emitAck(dst, off, snd.bareSeq, now)
    if (state !== TcpState.TIME_WAIT && state !== TcpState.FIN_WAIT_2 && snd.plan(now)) {
      const n = this.writer.planned(dst, off, now)
      if (snd.sent(now)) this.host.counters.retransmissions++
      if (!this.deadlines.isSet(RTO)) this.setDeadline(RTO, now + this.rtt.rto)
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
    return this.writer.syn(dst, off, this.state === TcpState.SYN_RECEIVED, now)
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

  protected retransmissionTimeout(now: Instant): void {
    const { snd } = this
    if (this.isOpening) {
      this.synTimedOut = true
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
    // SHLD-16, 17: a window that has shrunk to nothing is asked about, not filled. One that is only too
    // small to be worth filling is filled: nothing else would ever ask.
    if (snd.wnd === 0) this.probeDue = true
    else snd.override = true
    this.setDeadline(RTO, now + this.rtt.rto)
    this.host.schedule(this)
  }

  protected persistTimeout(now: Instant): void {
    const { snd } = this
    if (!snd.waiting || snd.outstanding) return
    if (snd.wnd > 0) {
      snd.override = true
    } else {
      if (this.persist.unanswered(this.lastHeard, now) >= this.host.times.userTimeout) {
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
    this.deadlines.set(which, when)
    this.host.timersChanged(this)
  }

  // ---------------------------------------------------------------- ends

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
    // What is unread stays readable after a proper end, and is lost after a failure.
    if (error !== undefined) this.rcv.drop()
    if (!told) this.host.markReady(this, READY_CLOSED)
    this.host.closed(this)
  }
}
