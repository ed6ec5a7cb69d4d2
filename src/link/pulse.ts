/**
 * When a call was heard last and when it spoke last, for those who must know whether the other end lives.
 */

/** What is said so soon after something was heard is an answer, and waits for none itself. */
const ANSWER = 100

/** Times are milliseconds of the clock of whoever drives the call. */
export class Pulse {
  heardAt = Number.NEGATIVE_INFINITY
  saidAt = Number.NEGATIVE_INFINITY
  /** How often something was heard. */
  heards = 0
  /** Since when something that we said by ourselves has been followed by silence; Infinity: it has not. */
  waitsSince = Number.POSITIVE_INFINITY

  heard(now: number): void {
    this.heardAt = now
    this.heards++
    this.waitsSince = Number.POSITIVE_INFINITY
  }

  said(now: number): void {
    this.saidAt = now
    if (now < this.waitsSince && now - this.heardAt > ANSWER) this.waitsSince = now
  }
}
