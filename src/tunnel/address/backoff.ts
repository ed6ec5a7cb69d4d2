/** Retransmission of RFC 8415 15, which RFC 7559 takes for router solicitations too. */
export interface BackoffTimes {
  /** IRT: the first wait, ms. */
  readonly first: number
  /** MRT: no wait is longer; 0: no bound. */
  readonly longest: number
  /** MRC: tries; Infinity: no bound. */
  readonly tries: number
  /** The first wait is longer than IRT, never shorter (RFC 8415 18.2.1). */
  readonly late?: boolean
}

export class Backoff {
  private readonly times: BackoffTimes
  private readonly fraction: () => number
  private wait = 0
  /** What was sent so far. */
  count = 0

  /** `fraction` gives 0 to 1. */
  constructor(times: BackoffTimes, fraction: () => number) {
    this.times = times
    this.fraction = fraction
  }

  /** It is sent (again) now. @returns how long to wait for an answer, ms; undefined: that was one too many, do not send */
  next(): number | undefined {
    const { first, longest, tries, late = false } = this.times
    if (this.count >= tries) return undefined
    const chance = this.fraction()
    const spread = late && this.count === 0 ? (1 - chance) * 0.1 : chance * 0.2 - 0.1
    let wait = this.count === 0 ? first + spread * first : 2 * this.wait + spread * this.wait
    if (longest > 0 && wait > longest) wait = longest + spread * longest
    this.count++
    this.wait = wait
    return wait
  }
}
