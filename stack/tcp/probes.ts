/**
 * When to ask the other side something although there is nothing to send: about its window
 * (RFC 9293 3.8.6.1), and if it is still there (RFC 9293 3.8.4).
 */
import type { Instant } from '../types.js'
import type { RttEstimator } from './rtt.js'

/** RFC 1122 4.2.3.4: how long a window too small to be worth filling is respected. */
const SWS_OVERRIDE = 500

/** Zero-window probes: the first after one time-out, then with back-off of their own. */
export class Persist {
  private tries = 0
  private since: Instant = 0
  private readonly rtt: RttEstimator

  constructor(rtt: RttEstimator) {
    this.rtt = rtt
  }

  /** The window is open: the next time is a first time. */
  reset(): void {
    this.tries = 0
  }

  /** When to act on a window of `wnd` octets that holds everything back since now. */
  first(wnd: number, now: Instant): Instant {
    if (wnd > 0) return now + SWS_OVERRIDE
    if (this.tries === 0) this.since = now
    return now + this.rtt.after(this.tries)
  }

  /** One more probe goes out. @returns when the next is due */
  next(now: Instant): Instant {
    this.tries++
    return now + this.rtt.after(this.tries)
  }

  /** For how long probes have gone unanswered. Answered ones are never a reason to give up (MUST-37). */
  unanswered(lastHeard: Instant, now: Instant): number {
    return now - Math.max(this.since, lastHeard)
  }
}

/** RFC 1122 4.2.3.6: one lost answer proves nothing. */
const KEEPALIVE_INTERVAL = 75_000
const KEEPALIVE_PROBES = 9

export const KEEPALIVE_WAIT = 0
export const KEEPALIVE_PROBE = 1
export const KEEPALIVE_DEAD = 2

/** Keep-alive: off by default, and silent while there is any traffic (MUST-24 to 29). */
export class KeepAlive {
  /** Milliseconds of silence before the first probe; 0 is off. */
  idle: number
  private tries = 0
  private probedAt: Instant = 0
  /** When to be asked again, after {@link verdict}. */
  next: Instant = 0

  constructor(idle: number) {
    this.idle = idle
  }

  /** `outstanding`: something is unacknowledged, so the retransmission timer asks already (MUST-26). */
  verdict(lastHeard: Instant, outstanding: boolean, now: Instant): number {
    // Compared as it is armed: a difference of two fractional times may be less than what it was made of.
    if (outstanding || now < lastHeard + this.idle) {
      this.tries = 0
      this.next = (outstanding ? now : lastHeard) + this.idle
      return KEEPALIVE_WAIT
    }
    // An answer counts, even if the next probe is due at the same moment.
    if (lastHeard >= this.probedAt) this.tries = 0
    if (this.tries >= KEEPALIVE_PROBES) return KEEPALIVE_DEAD
    this.tries++
    this.probedAt = now
    this.next = now + Math.min(KEEPALIVE_INTERVAL, this.idle)
    return KEEPALIVE_PROBE
  }
}
