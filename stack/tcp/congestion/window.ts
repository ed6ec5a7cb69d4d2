import type { Instant } from '../../types.js'
import type { AckSample, CongestionController } from './controller.js'
import { HyStart } from './hystart.js'

/**
 * Segments' worth of octets that one acknowledgement may add in slow start. RFC 9406 4.2 says 8 without pacing; but peers
 * that take their packets in batches acknowledge 64 KiB at once, and would be left with a window that grows by bits.
 */
const SLOW_START_LIMIT = 64
/** No window of TCP is larger (RFC 7323 2.3). */
const MAX_WINDOW = 2 ** 30

/**
 * What NewReno and CUBIC share: initial window, slow start, the reduction, time-outs, restart after idling,
 * and the way back from a mistake. How the window grows in congestion avoidance is theirs.
 */
export abstract class CongestionWindow implements CongestionController {
  abstract readonly name: string
  /** The part of cwnd that stays after a reduction. */
  protected abstract readonly beta: number
  cwnd = 0
  ssthresh = Number.POSITIVE_INFINITY
  protected mss = 536
  /** The part of an octet that cwnd has grown by, less than 1. */
  protected rest = 0
  private readonly hystart = new HyStart()
  /** Something was sent, and perhaps acknowledged. */
  private started = false
  private synLost = false
  /** From {@link onCongestion} to {@link onRecovered}: cwnd is not ours but on its way to ssthresh. */
  private recovering = false
  /** A stage of congestion avoidance is under way, that is {@link begin} was called for it. */
  private avoiding = false

  private canUndo = false
  private undoCwnd = 0
  private undoRest = 0
  private undoSsthresh = 0
  private undoAvoiding = false
  private undoRecovering = false

  constructor() {
    this.cwnd = this.initialWindow()
  }

  /** A stage of congestion avoidance begins with this cwnd. */
  protected abstract begin(now: Instant): void
  /** An acknowledgement in congestion avoidance. */
  protected abstract avoid(s: AckSample): void
  /** A reduction is about to happen, the window being `cwnd`. What {@link restore} needs is to be kept. */
  protected abstract reduce(cwnd: number): void
  /** The last {@link reduce} was a mistake. */
  protected abstract restore(): void

  setMss(mss: number): void {
    if (!this.started) {
      this.mss = mss
      this.cwnd = this.synLost ? mss : this.initialWindow()
      return
    }
    if (mss === this.mss) return
    this.mss = mss
    // RFC 5681 2 and 3.1: never below one segment, and two.
    this.cwnd = Math.max(this.cwnd, mss)
    this.ssthresh = Math.max(this.ssthresh, 2 * mss)
    // Growth is counted in segments: it begins anew from where it is.
    this.avoiding = false
    this.undoAvoiding = false
  }

  onAck(s: AckSample): void {
    this.started = true
    this.recovering = false
    if (this.cwnd < this.ssthresh) {
      this.slowStart(s)
      return
    }
    if (!this.avoiding) this.enter(s.now)
    this.avoid(s)
  }

  onCongestion(flight: number, _now: Instant): void {
    this.lower(flight)
    this.recovering = true
    this.avoiding = false
  }

  setCwnd(octets: number): void {
    this.cwnd = Math.max(this.mss, Math.min(Math.floor(octets), MAX_WINDOW))
    this.rest = 0
  }

  onRecovered(now: Instant): void {
    // A time-out or an undo ended the recovery that the caller may still believe in.
    if (!this.recovering) return
    this.recovering = false
    this.cwnd = Math.min(this.ssthresh, MAX_WINDOW)
    this.rest = 0
    this.enter(now)
  }

  onTimeout(flight: number, first: boolean, _now: Instant): void {
    // RFC 5681 3.1: further time-outs of the same segment leave ssthresh as it is.
    if (first) this.lower(flight)
    this.started = true
    this.recovering = false
    this.avoiding = false
    this.cwnd = this.mss
    this.rest = 0
  }

  undo(_now: Instant): void {
    if (!this.canUndo) return
    this.canUndo = false
    // RFC 9438 4.9: with more than there was, what has been learnt since is worth more than what was before.
    if (!this.recovering && this.cwnd > this.undoCwnd) return
    this.recovering = this.undoRecovering
    this.cwnd = Math.max(this.cwnd, this.undoCwnd)
    this.rest = this.undoRest
    this.ssthresh = Math.max(this.undoSsthresh, 2 * this.mss)
    this.avoiding = this.undoAvoiding
    this.restore()
  }

  onSynLost(): void {
    this.synLost = true
    if (!this.started) this.cwnd = this.mss
  }

  onIdle(_idle: number, _now: Instant): void {
    // RFC 5681 4.1: the restart window.
    const restart = this.initialWindow()
    if (this.cwnd > restart) {
      this.cwnd = restart
      this.rest = 0
      this.avoiding = false
    }
    this.hystart.reset()
    this.canUndo = false
  }

  /** Octets, fractions included: a window of thousands of segments grows by less than one each time. */
  protected grow(octets: number): void {
    const sum = this.rest + octets
    const whole = Math.floor(sum)
    this.rest = sum - whole
    this.cwnd = Math.min(this.cwnd + whole, MAX_WINDOW)
  }

  private slowStart(s: AckSample): void {
    const first = this.ssthresh === Number.POSITIVE_INFINITY
    if (s.limited) {
      const octets = Math.min(s.delivered, SLOW_START_LIMIT * this.mss, this.ssthresh - this.cwnd)
      this.grow(first ? octets / this.hystart.divisor : octets)
    }
    // RFC 9406 4.3: later slow starts end at the ssthresh that was found.
    if (first && this.hystart.onAck(s)) this.ssthresh = this.cwnd
  }

  private enter(now: Instant): void {
    this.avoiding = true
    this.begin(now)
  }

  private lower(flight: number): void {
    const cwnd = this.recovering ? this.ssthresh : this.cwnd
    this.started = true
    this.canUndo = true
    this.undoCwnd = cwnd
    this.undoRest = this.recovering ? 0 : this.rest
    this.undoSsthresh = this.ssthresh
    this.undoAvoiding = this.avoiding
    this.undoRecovering = this.recovering
    this.reduce(cwnd)
    // RFC 5681 3.2: what limited transmit let out beyond cwnd does not count.
    this.ssthresh = Math.max(Math.floor(Math.min(flight, cwnd) * this.beta), 2 * this.mss)
  }

  /** RFC 6928 2. */
  private initialWindow(): number {
    return Math.min(10 * this.mss, Math.max(2 * this.mss, 14600))
  }
}
