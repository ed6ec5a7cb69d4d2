import type { CongestionController } from './controller.js'

/** Segments' worth of octets that one acknowledgement may add in slow start (RFC 3465 2.2; 8 as in RFC 9406 4.2). */
const SLOW_START_LIMIT = 8

/** Slow start and congestion avoidance of RFC 5681 with byte counting (RFC 3465); recovery of RFC 6582. */
export class NewReno implements CongestionController {
  readonly name = 'newreno'
  cwnd = 0
  ssthresh = Number.POSITIVE_INFINITY
  private mss = 536
  private counted = 0
  private started = false

  setMss(mss: number): void {
    this.mss = mss
    if (!this.started) this.cwnd = this.initialWindow()
    // RFC 5681 2: never below one segment.
    else this.cwnd = Math.max(this.cwnd, mss)
  }

  onAck(acked: number, _flight: number, limited: boolean): void {
    this.started = true
    if (!limited) return
    if (this.cwnd < this.ssthresh) {
      const room = this.ssthresh - this.cwnd
      this.cwnd += Math.min(acked, SLOW_START_LIMIT * this.mss, room)
      return
    }
    // RFC 5681 3.1: one segment for each window of octets acknowledged.
    this.counted += acked
    if (this.counted >= this.cwnd) {
      this.counted -= this.cwnd
      this.cwnd += this.mss
      // A huge acknowledgement must not leave credit for the next one.
      if (this.counted > this.cwnd) this.counted = 0
    }
  }

  onLoss(flight: number): void {
    this.started = true
    this.halve(flight)
    this.cwnd = this.ssthresh + 3 * this.mss
  }

  inflate(octets: number): void {
    this.cwnd = Math.max(this.cwnd + octets, this.mss)
  }

  onRecovered(flight: number): void {
    // RFC 6582 3.2 step 3, first option: no burst when little is in flight.
    this.cwnd = Math.min(this.ssthresh, Math.max(flight, this.mss) + this.mss)
    this.counted = 0
  }

  onTimeout(flight: number, first: boolean): void {
    this.started = true
    // RFC 5681 3.1: further time-outs of the same segment leave ssthresh as it is.
    if (first) this.halve(flight)
    this.cwnd = this.mss
    this.counted = 0
  }

  onSynLost(): void {
    this.started = true
    this.cwnd = this.mss
  }

  onIdle(): void {
    this.cwnd = Math.min(this.cwnd, this.initialWindow())
  }

  private halve(flight: number): void {
    this.ssthresh = Math.max(flight >>> 1, 2 * this.mss)
    this.counted = 0
  }

  /** RFC 6928 2. */
  private initialWindow(): number {
    return Math.min(10 * this.mss, Math.max(2 * this.mss, 14600))
  }
}
