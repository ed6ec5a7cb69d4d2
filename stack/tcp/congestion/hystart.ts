import type { AckSample } from './controller.js'

/** RFC 9406 4.3. Milliseconds. */
const MIN_RTT_THRESH = 4
const MAX_RTT_THRESH = 16
const MIN_RTT_DIVISOR = 8
const N_RTT_SAMPLE = 8
const CSS_GROWTH_DIVISOR = 4
const CSS_ROUNDS = 5

/**
 * HyStart++ (RFC 9406): ends the first slow start when the round-trip time says that a queue builds up,
 * before it overflows. A rise leads to conservative slow start (CSS), which either proves a false alarm,
 * or becomes congestion avoidance.
 *
 * Our samples are noisy upwards only: a busy event loop takes in many acknowledgements late and at once.
 * The minimum of a round forgets that, unless the whole round came in such a batch. Hence two rules of
 * our own, both within the RFC: samples taken at a single instant are no proof of a rise, and a CSS round
 * counts only if it had the samples that could have refuted it, so that a pause of the application does
 * not end slow start.
 */
export class HyStart {
  /** The increase of slow start is divided by this. */
  divisor = 1
  /** lastRoundMinRTT, currentRoundMinRTT and cssBaselineMinRtt. `Infinity`: not known. */
  private last = Number.POSITIVE_INFINITY
  private current = Number.POSITIVE_INFINITY
  private baseline = Number.POSITIVE_INFINITY
  /** rttSampleCount, and when the first of them was taken. */
  private samples = 0
  private firstAt = 0
  private cssRounds = 0

  /** To be told of every acknowledgement of the first slow start. @returns true when slow start is over */
  onAck(s: AckSample): boolean {
    if (s.round && this.samples > 0 && this.endRound()) return true
    if (!(s.rtt >= 0)) return false
    if (this.samples === 0) this.firstAt = s.now
    this.samples++
    if (s.rtt < this.current) this.current = s.rtt
    if (this.samples < N_RTT_SAMPLE) return false
    if (this.divisor === 1) {
      if (s.now > this.firstAt && this.current >= this.last + this.threshold()) {
        this.divisor = CSS_GROWTH_DIVISOR
        this.baseline = this.current
        this.cssRounds = 0
      }
    } else if (this.current < this.baseline) {
      this.divisor = 1
    }
    return false
  }

  /** What was measured does not hold any more: the connection was idle. */
  reset(): void {
    this.divisor = 1
    this.last = Number.POSITIVE_INFINITY
    this.current = Number.POSITIVE_INFINITY
    this.samples = 0
  }

  private threshold(): number {
    return Math.max(MIN_RTT_THRESH, Math.min(this.last / MIN_RTT_DIVISOR, MAX_RTT_THRESH))
  }

  private endRound(): boolean {
    const full = this.samples >= N_RTT_SAMPLE
    this.last = this.current
    this.current = Number.POSITIVE_INFINITY
    this.samples = 0
    // The round in which CSS began counts too.
    return this.divisor !== 1 && full && ++this.cssRounds >= CSS_ROUNDS
  }
}
