/**
 * Retransmission time-out (RFC 6298). Times in milliseconds.
 */
export class RttEstimator {
  srtt = 0
  rttvar = 0
  /** Smallest sample seen; `Infinity` before the first. */
  min = Number.POSITIVE_INFINITY
  private base: number
  private readonly minRto: number
  private readonly maxRto: number
  private backoff = 0

  /** RFC 6298 2.1: 1 s until the first sample. */
  constructor(minRto: number, maxRto: number, initial = 1000) {
    this.minRto = minRto
    this.maxRto = maxRto
    this.base = initial
  }

  get hasSample(): boolean {
    return this.srtt > 0
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
  sample(r: number, weight = 1): void {
    if (!(r >= 0)) return
    // A clock of 1 ms measures 0 on a fast path; 0 would mean "no sample yet".
    const rtt = Math.max(r, 0.5)
    if (rtt < this.min) this.min = rtt
    if (this.srtt === 0) {
      this.srtt = rtt
      this.rttvar = rtt / 2
    } else {
      const w = Math.max(1, weight)
      this.rttvar += (Math.abs(this.srtt - rtt) - this.rttvar) / (4 * w)
      this.srtt += (rtt - this.srtt) / (8 * w)
    }
    this.base = Math.min(Math.max(this.srtt + Math.max(1, 4 * this.rttvar), this.minRto), this.maxRto)
    this.backoff = 0
  }

  /** RFC 6298 5.5. */
  backOff(): void {
    if (this.rto < this.maxRto) this.backoff++
  }

  /** RFC 6298 5.7: the SYN timed out, so data begins with at least 3 s. */
  synTimedOut(): void {
    if (this.srtt === 0) {
      this.base = Math.max(this.base, 3000)
      this.backoff = 0
    }
  }
}
