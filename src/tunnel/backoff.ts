/** How long to wait before the next attempt. */

/** Milliseconds. */
export interface BackoffTimes {
  /** The longest wait behind the first attempt that failed; it doubles with each that follows. 1 s. */
  readonly first: number
  /** And never gets longer than that. 60 s. */
  readonly most: number
  /** A call that was up for so long has proved that server and account are well. 30 s. */
  readonly stable: number
}

export const BACKOFF_TIMES: BackoffTimes = { first: 1_000, most: 60_000, stable: 30_000 }

/** Doublings after which any bound is reached. */
const DOUBLINGS = 30

/**
 * Exponential back-off with full jitter: a wait is any time from nothing to a bound that doubles. All clients of
 * a server that comes back then come back spread over that time, and none of them in step with another.
 */
export class Backoff {
  private readonly times: BackoffTimes
  private readonly random: () => number
  /** Attempts and calls in a row that did not lead to a stable call. */
  private failures = 0

  /** @param random - from 0 to 1 */
  constructor(times: BackoffTimes, random: () => number) {
    this.times = times
    this.random = random
  }

  /** An attempt has failed. @returns the milliseconds to wait */
  attemptFailed(): number {
    const { first, most } = this.times
    const bound = Math.min(most, first * 2 ** Math.min(this.failures, DOUBLINGS))
    this.failures++
    return Math.round(this.random() * bound)
  }

  /** A call that was up for `ms` has ended. @returns the milliseconds to wait, none if all was well before */
  callEnded(ms: number): number {
    if (ms >= this.times.stable) this.reset()
    if (this.failures > 0) return this.attemptFailed()
    this.failures++
    return 0
  }

  reset(): void {
    this.failures = 0
  }
}
