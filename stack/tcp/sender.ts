import { type Seq, seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from '../seq.js'
import type { Instant } from '../types.js'
import type { CongestionController } from './congestion/controller.js'
import {
  type LossRecovery,
  VERDICT_ENTER,
  VERDICT_EXIT,
  VERDICT_INFLATE,
  VERDICT_LIMITED,
  VERDICT_PARTIAL,
} from './recovery.js'
import type { RttEstimator } from './rtt.js'
import { SendQueue } from './send-queue.js'

/** What {@link Sender.onAck} found. */
export const ACK_OLD = 0
export const ACK_NEW = 1
export const ACK_DUPLICATE = 2
/** A duplicate that proves a loss: recovery begins. */
export const ACK_LOSS = 3

/**
 * The sending half of a connection: what is queued, what is out, and which segment may go next
 * (RFC 9293 3.8, RFC 5681, RFC 6298).
 *
 * ```
 *   acknowledged | in flight | may be sent | queued
 *                UNA         NXT           UNA+WND     end
 * ```
 *
 * NXT goes back to UNA after a time-out; `max` remembers the highest number ever sent.
 */
export class Sender {
  iss = seq(0)
  una = seq(0)
  nxt = seq(0)
  max = seq(0)
  wnd = 0
  private wl1 = seq(0)
  private wl2 = seq(0)
  /** MAX.SND.WND (RFC 5961 5.2, and for silly window avoidance). */
  maxWnd = 0
  /** The other side's window scale, 0 if not agreed. */
  shift = 0
  /** Octets of data in a full segment. */
  mss = 536
  readonly queue = new SendQueue()
  /** Sequence number of the first queued octet. */
  private base = seq(0)
  /** A FIN follows what is queued. */
  finQueued = false
  /** Sends short segments at once (RFC 9293 3.7.4: Nagle off). */
  noDelay = true

  readonly cc: CongestionController
  readonly recovery: LossRecovery
  readonly rtt: RttEstimator

  /** The first unacknowledged segment is to be sent again, whatever NXT says. */
  retransmitFirst = false
  /** A window of any size may be used now (override of silly window avoidance). */
  override = false
  /** RFC 3042: octets beyond cwnd that first duplicates allow. */
  private limited = 0
  /** cwnd was the limit when this was sent. */
  private limitedAt = seq(0)
  private wasLimited = false
  private lastSentAt: Instant = Number.NEGATIVE_INFINITY
  /** The last time that the other side acknowledged something new, or answered a probe. */
  progressAt: Instant = 0
  private timedSeq: Seq | undefined
  private timedAt: Instant = 0

  /** The segment that {@link plan} chose. */
  planSeq = seq(0)
  planLength = 0
  planFin = false

  constructor(iss: Seq, cc: CongestionController, recovery: LossRecovery, rtt: RttEstimator) {
    this.iss = iss
    this.una = iss
    this.nxt = iss
    this.max = iss
    this.base = seqAdd(iss, 1)
    this.cc = cc
    this.recovery = recovery
    this.rtt = rtt
  }

  setMss(mss: number): void {
    this.mss = mss
    this.cc.setMss(mss)
  }

  get flight(): number {
    return seqDiff(this.nxt, this.una)
  }

  /** Behind the last queued octet, the FIN not counted. */
  get end(): Seq {
    return seqAdd(this.base, this.queue.length)
  }

  /** Octets queued or a FIN that are not acknowledged. */
  get outstanding(): boolean {
    return this.una !== this.max
  }

  /** Something is queued that was not sent, or must be sent again. */
  get waiting(): boolean {
    return seqLt(this.nxt, this.finQueued ? seqAdd(this.end, 1) : this.end)
  }

  /**
   * Sequence number of a segment without text: SND.NXT, but not beyond a window that has shrunk, where the
   * other side would not look at it. A FIN may be one beyond an open window.
   */
  get bareSeq(): Seq {
    if (this.wnd === 0) return this.una
    return seqDiff(this.max, this.una) > this.wnd + 1 ? seqAdd(this.una, this.wnd - 1) : this.max
  }

  get finAcknowledged(): boolean {
    return this.finQueued && this.una === seqAdd(this.end, 1)
  }

  /** The window of a SYN or SYN-ACK: never scaled (RFC 7323 2.2). */
  firstWindow(wnd: number, at: Seq, ack: Seq): void {
    this.wnd = wnd
    this.wl1 = at
    this.wl2 = ack
    this.maxWnd = Math.max(this.maxWnd, wnd)
  }

  /**
   * Chooses the next segment that may be sent now: `planSeq`, `planLength`, `planFin`.
   * @returns false if there is none
   */
  plan(now: Instant): boolean {
    const end = this.end
    if (this.retransmitFirst) {
      const queued = Math.min(this.mss, seqDiff(end, this.una))
      // SHLD-16: with a window that shrank, only what is inside it is sent again.
      const len = Math.min(queued, this.wnd)
      if (len > 0 || (queued === 0 && this.finQueued && seqLe(this.una, end))) {
        this.choose(this.una, len, end)
        return true
      }
      this.retransmitFirst = false
    }
    if (!this.waiting) return false
    if (this.una === this.nxt && now - this.lastSentAt > this.rtt.rto) {
      // RFC 5681 4.1. The mark moves so that this happens once for each pause.
      this.cc.onIdle()
      this.lastSentAt = now
    }
    const queued = seqDiff(end, this.nxt)
    if (queued <= 0) {
      // Only the FIN is left. It may go one beyond the window, so that closing never waits for a reader.
      this.choose(this.nxt, 0, end)
      return true
    }
    const flight = this.flight
    const usable = this.wnd - flight
    const room = this.cc.cwnd + this.limited - flight
    let len = Math.min(queued, this.mss)
    if (len > room) {
      this.wasLimited = true
      this.limitedAt = this.nxt
      // Waiting for a full segment's room costs nothing: acknowledgements are on their way.
      if (flight > 0 || room <= 0) return false
      len = room
    }
    if (len > usable) {
      // MUST-38: sender's silly window avoidance.
      if (usable <= 0 || (usable < this.mss && usable < this.maxWnd / 2 && !this.override)) return false
      len = Math.min(len, usable)
    }
    if (len < this.mss && len === queued && !this.noDelay && flight > 0 && !this.finQueued) return false
    this.choose(this.nxt, len, end)
    return true
  }

  private choose(at: Seq, len: number, end: Seq): void {
    this.planSeq = at
    this.planLength = len
    this.planFin = this.finQueued && seqAdd(at, len) === end
  }

  copyPlanned(dst: Uint8Array, off: number): void {
    this.queue.copy(seqDiff(this.planSeq, this.base), dst, off, this.planLength)
  }

  /** The planned segment empties the queue (RFC 9293 3.9.1, MUST-61: PSH). */
  get planIsLast(): boolean {
    return seqAdd(this.planSeq, this.planLength) === this.end
  }

  /** The planned segment has been written. @returns true if it had been sent before */
  sent(now: Instant): boolean {
    const next = seqAdd(this.planSeq, this.planLength + (this.planFin ? 1 : 0))
    const again = seqLt(this.planSeq, this.max)
    this.override = false
    if (this.retransmitFirst) {
      this.retransmitFirst = false
      if (seqGt(next, this.nxt)) this.nxt = next
    } else {
      this.nxt = next
    }
    if (seqGt(this.nxt, this.max)) {
      if (this.una === this.max) this.progressAt = now
      this.max = this.nxt
    }
    // Karn: a segment that was sent twice cannot be timed.
    if (again) this.timedSeq = undefined
    else if (this.timedSeq === undefined) {
      this.timedSeq = next
      this.timedAt = now
    }
    this.lastSentAt = now
    return again
  }

  /** A SYN goes out: it counts one. */
  sentSyn(now: Instant): void {
    if (this.max === this.iss) {
      this.nxt = seqAdd(this.iss, 1)
      this.max = this.nxt
      this.timedSeq = this.nxt
      this.timedAt = now
      this.progressAt = now
    } else {
      this.timedSeq = undefined
    }
    this.lastSentAt = now
  }

  /**
   * SEG.ACK lies in UNA - MAX.SND.WND .. max (the caller checked), and `wnd` octets may be in flight.
   * `pure` says that the segment has no data, SYN or FIN, `sacked` that it reports octets received ahead,
   * `rttSample` (or -1) what the echoed timestamp says.
   */
  onAck(
    ack: Seq,
    wnd: number,
    at: Seq,
    pure: boolean,
    sacked: boolean,
    rttSample: number,
    now: Instant,
  ): number {
    const same = wnd === this.wnd
    // RFC 9293 3.10.7.4: the window of the newest segment counts.
    if (seqGe(ack, this.una) && (seqLt(this.wl1, at) || (this.wl1 === at && seqLe(this.wl2, ack)))) {
      this.wnd = wnd
      this.wl1 = at
      this.wl2 = ack
      if (wnd > this.maxWnd) this.maxWnd = wnd
    }
    if (seqLe(ack, this.una)) {
      if (ack !== this.una) return ACK_OLD
      // The answer to a probe. With a window that has shrunk to nothing no more than that can be had (SHLD-17).
      if (!this.outstanding || this.wnd === 0) {
        this.progressAt = now
        return ACK_OLD
      }
      if (!pure || (!same && !sacked)) return ACK_OLD
      return this.duplicate(now)
    }
    const before = this.una
    const flight = this.flight
    const acked = seqDiff(ack, before)
    this.sampleRtt(ack, rttSample, now)
    this.una = ack
    if (seqLt(this.nxt, ack)) this.nxt = ack
    this.limited = 0
    this.retransmitFirst = false
    this.progressAt = now
    const dataAcked = Math.min(seqDiff(ack, this.base), this.queue.length)
    if (dataAcked > 0) {
      this.queue.acknowledge(dataAcked)
      this.base = seqAdd(this.base, dataAcked)
    }
    const verdict = this.recovery.onAck(before, ack, this.max)
    if (verdict === VERDICT_EXIT) {
      this.cc.onRecovered(this.flight, now)
    } else if (verdict === VERDICT_PARTIAL) {
      // RFC 6582 3.2 step 3: the next hole; deflate by what was acknowledged, add one segment back.
      this.retransmitFirst = true
      this.cc.inflate(-acked + (acked >= this.mss ? this.mss : 0))
    } else {
      const limited = this.wasLimited && seqGe(this.limitedAt, before)
      if (!limited) this.wasLimited = false
      this.cc.onAck(acked, Math.max(flight, acked), limited, this.rtt.srtt, now)
    }
    return ACK_NEW
  }

  /** The retransmission timer expired (RFC 6298 5.4 to 5.6). `first` is false for further ones in a row. */
  onTimeout(first: boolean, now: Instant): void {
    this.cc.onTimeout(seqDiff(this.max, this.una), first, now)
    this.recovery.onTimeout(this.max)
    this.rtt.backOff()
    this.timedSeq = undefined
    this.limited = 0
    this.retransmitFirst = false
    this.nxt = this.una
  }

  drop(): void {
    this.queue.clear()
  }

  private duplicate(now: Instant): number {
    const verdict = this.recovery.onDuplicate(this.una, this.max)
    if (verdict === VERDICT_ENTER) {
      // RFC 5681 3.2 step 2: what limited transmit let out does not count.
      this.cc.onLoss(Math.min(this.flight, this.cc.cwnd), now)
      this.retransmitFirst = true
      this.limited = 0
      return ACK_LOSS
    }
    if (verdict === VERDICT_INFLATE) this.cc.inflate(this.mss)
    else if (verdict === VERDICT_LIMITED) this.limited += this.mss
    return ACK_DUPLICATE
  }

  private sampleRtt(ack: Seq, sample: number, now: Instant): void {
    if (sample >= 0) {
      // RFC 7323 4.2: many samples in a window must not shorten the memory.
      this.rtt.sample(sample, Math.ceil(this.flight / (2 * this.mss)))
      this.timedSeq = undefined
      return
    }
    if (this.timedSeq !== undefined && seqGe(ack, this.timedSeq)) {
      this.rtt.sample(now - this.timedAt)
      this.timedSeq = undefined
    }
  }
}
