/**
 * How long data may stay unacknowledged before a connection is given up (R2 of RFC 9293 3.8.3), and
 * telling each other (RFC 5482).
 */

/** RFC 5482 3.1, L_LIMIT: RFC 9293 wants at least 100 s. */
const L_LIMIT = 100_000
/** U_LIMIT: nobody holds our memory longer than that by asking for it. */
const U_LIMIT = 3_600_000

export class UserTimeout {
  /** Milliseconds. */
  value: number
  /** ENABLED: the option is sent, and the other side's is heeded. */
  readonly enabled: boolean
  /** CHANGEABLE: the application has not said what it wants. */
  private readonly changeable: boolean
  private readonly adv: number
  /** The option is still to be sent on a segment other than a SYN. */
  due: boolean

  constructor(standard: number, wanted: number | undefined, advertise: boolean) {
    this.value = wanted ?? standard
    this.adv = this.value
    this.enabled = advertise
    this.changeable = wanted === undefined
    this.due = advertise
  }

  /** The option's 16 bits: granularity (1: minutes) and value (RFC 5482 3). */
  get field(): number {
    const seconds = Math.max(1, Math.round(this.adv / 1000))
    return seconds <= 0x7fff ? seconds : 0x8000 | Math.min(0x7fff, Math.ceil(seconds / 60))
  }

  /** The other side's option has come. */
  received(field: number): void {
    if (!this.enabled || !this.changeable) return
    const remote = (field & 0x7fff) * (field & 0x8000 ? 60_000 : 1000)
    // RFC 5482 3.2: a value of 0 says nothing.
    if (remote > 0) this.value = Math.min(U_LIMIT, Math.max(this.adv, remote, L_LIMIT))
  }
}
