/**
 * Round-trip times and the retransmission time-out (RFC 6298). Milliseconds, with fractions.
 */
import type { Instant } from '../types.js'

/** A minimum is forgotten after between one and two of these: routes change. */
const MIN_WINDOW = 150_000

export class RttEstimator {
  srtt = 0
  rttvar = 0
  private base: number
  private readonly minRto: number
  private readonly maxRto: number
  private readonly margin: number
  private backoff = 0
  private minNow = Number.POSITIVE_INFINITY
  private minBefore = Number.POSITIVE_INFINITY
  private minSince: Instant = Number.NEGATIVE_INFINITY

  hasSample = false

  /**
   * RFC 6298 2.1: 1 s until the first sample. `margin` is the least that a time-out is above the mean (the G of
   * RFC 6298 2.3): where times hardly vary, nothing else protects a late segment from a needless time-out.
   */
  constructor(minRto: number, maxRto: number, margin = 1, initial = 1000) {
    this.minRto = minRto
    this.maxRto = maxRto
    this.margin = margin
    this.base = initial
  }

  /** Smallest time seen in the last minutes (RFC 8985 5.4, RACK.min_RTT); `Infinity` before the first. */
  get min(): number {
    return Math.min(this.minNow, this.minBefore)
  }

  /** The current time-out with its back-off. */
  get rto(): number {
    return Math.min(this.base * 2 ** this.backoff, this.maxRto)
  }

  /** The time-out backed off `tries` times more, for timers that back off on their own. */
  after(tries: number): number {
    return Math.min(this.rto * 2 ** tries, this.maxRto)
  }

  /**
   * RFC 6298 2.2, 2.3. `weight` is the number of samples that one window gives: alpha and beta are
   * divided by it, so that a history stays as long with a sample for each ACK (RFC 7323 4.2).
   */
  sample(rtt: number, weight = 1, now: Instant = 0): void {
    if (!(rtt >= 0)) return
    this.noteMin(rtt, now)
    if (!this.hasSample) {
      this.hasSample = true
      this.srtt = rtt
      this.rttvar = rtt / 2
    } else {
      const w = Math.max(1, weight)
      this.rttvar += (Math.abs(this.srtt - rtt) - this.rttvar) / (4 * w)
      this.srtt += (rtt - this.srtt) / (8 * w)
    }
    const timeout = this.srtt + Math.max(this.margin, 4 * this.rttvar)
    this.base = Math.min(Math.max(timeout, this.minRto), this.maxRto)
    this.backoff = 0
  }

  /** A time that is good for the minimum only. */
  noteMin(rtt: number, now: Instant): void {
    if (now - this.minSince > MIN_WINDOW) {
      this.minBefore = this.minNow
      this.minNow = rtt
      this.minSince = now
    } else if (rtt < this.minNow) {
      this.minNow = rtt
    }
  }

  /** RFC 6298 5.5. */
  backOff(): void {
    if (this.rto < this.maxRto) this.backoff++
  }

  /** The time-out was a mistake, or the path has answered: no back-off. */
  resetBackOff(): void {
    this.backoff = 0
  }

  /** RFC 6298 5.7: the SYN timed out, so data begins with at least 3 s. */
  synTimedOut(): void {
    if (!this.hasSample) {
      this.base = Math.max(this.base, 3000)
      this.backoff = 0
    }
  }
}
