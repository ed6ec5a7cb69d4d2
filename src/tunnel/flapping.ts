/**
 * Notices that somebody else uses the account too: a server that allows one call for each account ends the
 * old one with each new one (accel-ppp's `single-session=replace`, RouterOS's `only-one`), and two clients
 * that reconnect throw each other out for ever.
 *
 * Only ends that the server announced count, soon after the call came up. A server that crashes, restarts or
 * vanishes does not say goodbye again and again.
 */

export interface FlappingLimits {
  /** Milliseconds after coming up in which an end counts. 30 s. */
  readonly soon: number
  /** Milliseconds in which so many of them are too many. 5 min, 4. */
  readonly window: number
  readonly times: number
}

export const FLAPPING_LIMITS: FlappingLimits = { soon: 30_000, window: 300_000, times: 4 }

/** What the codes of `CallError` say of an end that the server announced. */
const ANNOUNCED: ReadonlySet<string> = new Set(['CALL_ENDED', 'SSTP_PEER_ABORT', 'TERMINATED'])

export class Flapping {
  private readonly limits: FlappingLimits
  private ends: number[] = []

  constructor(limits: FlappingLimits) {
    this.limits = limits
  }

  /** A call that was up for `ms` has ended with `code`. @returns true if it is too much */
  callEnded(code: string, ms: number, now: number): boolean {
    const { soon, window, times } = this.limits
    if (ms > soon || !ANNOUNCED.has(code)) return false
    this.ends = this.ends.filter((at) => now - at < window)
    this.ends.push(now)
    return this.ends.length >= times
  }
}
