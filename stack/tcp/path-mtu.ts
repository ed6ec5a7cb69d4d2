/**
 * The largest packet that a connection sends: what routers say (RFC 1191, RFC 8201, with the doubts of
 * RFC 5927 7), what silence tells (black holes, RFC 4821 7.7), and trying larger ones again
 * (RFC 4821 7.3, RFC 8899 5).
 */
import type { Instant } from '../types.js'

/** RFC 1191 5 and RFC 8200 5: lower values of a path MTU are not believed. */
const LEAST_V4 = 552
const LEAST_V6 = 1280
/** RFC 8899 5.1.2 (BASE_PLPMTU): what nearly every path takes. Every link that carries IPv6 carries 1280. */
const BASE = 1280
/** RFC 1191 7, table 7-1. */
const PLATEAUS = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508]
/** RFC 8899 5.1.2: tries of one size. */
const MAX_PROBES = 3
/** A step smaller than this is not worth a probe. */
const LEAST_STEP = 16

export class PathMtu {
  /** Octets of an IP packet. */
  current: number
  /** Nothing above this is ever tried. */
  private readonly most: number
  private readonly least: number
  private readonly base: number
  /** Largest packet known to have arrived. */
  private proven = 0
  /** Smallest size that is believed not to pass; `most + 1` if there is none. */
  private high: number
  /** The next size to try; 0 if there is none. */
  private trial = 0
  private tries = 0
  private raiseAt: Instant = Number.POSITIVE_INFINITY
  private readonly raiseTimer: number
  /** Lowered because of silence, and not confirmed. */
  private suspected = false
  /** The search that silence began has not ended. */
  private silent = false

  constructor(family: 4 | 6, most: number, start: number, raiseTimer: number, now: Instant) {
    this.most = most
    this.current = Math.min(start, most)
    this.least = family === 4 ? LEAST_V4 : LEAST_V6
    this.base = Math.min(BASE, most)
    this.high = most + 1
    this.raiseTimer = raiseTimer
    if (this.current < most) this.raiseAt = now + raiseTimer
  }

  /**
   * A router takes packets of at most `mtu` octets; 0 comes from IPv4 routers that do not say (RFC 1191 5).
   * `quoted` is the length of the packet that it speaks of, 0 if that is unknown.
   * @returns false if that is no news, or not to be believed
   */
  tooBig(mtu: number, quoted: number, now: Instant): boolean {
    const size = quoted > 0 ? Math.min(quoted, this.current) : this.current
    if (mtu === 0 && this.least === LEAST_V4) mtu = PLATEAUS.find((p) => p < size) ?? 0
    // RFC 5927 7.2: nobody is right who complains of a packet that is not larger than what he takes.
    if (mtu >= this.current || mtu < this.least || (quoted > 0 && quoted <= mtu)) return false
    this.lower(mtu, now)
    this.suspected = false
    return true
  }

  /** A packet of `size` octets has arrived. @returns true if larger ones may be sent from now on */
  arrived(size: number, now: Instant): boolean {
    if (size > this.proven) this.proven = size
    if (this.suspected && size <= this.current) this.seek(now)
    if (size <= this.current) return false
    this.current = Math.min(size, this.most)
    if (this.high <= size) this.high = this.most + 1
    this.tries = 0
    this.suspected = false
    this.seek(now)
    return true
  }

  /**
   * The first unacknowledged packet, of `size` octets, has timed out `timeouts` times in a row. A size that has never passed is doubted at once, for a smaller packet costs nothing.
   * @returns true if packets are to be smaller from now on
   */
  timedOut(size: number, timeouts: number, now: Instant): boolean {
    if (size <= this.base || (this.proven >= size && timeouts < 2)) return false
    if (this.current <= this.base) return false
    this.lower(this.base, now)
    this.high = Math.min(this.high, size)
    this.suspected = true
    this.silent = true
    this.proven = 0
    return true
  }

  /** True once, when it is clear what a path takes that swallows larger packets without a word. */
  takeBlackHole(): boolean {
    if (!this.silent || this.suspected || this.trial !== 0) return false
    this.silent = false
    return this.current < this.most
  }

  /** Size of the packet to try next, 0 if none. */
  probeSize(now: Instant): number {
    if (now >= this.raiseAt) {
      // The path may have changed (RFC 8899 5.1.1, PMTU_RAISE_TIMER).
      this.raiseAt = Number.POSITIVE_INFINITY
      this.high = this.most + 1
      this.tries = 0
      this.seek(now)
    }
    return this.trial
  }

  /** The probe was lost. */
  probeLost(now: Instant): void {
    if (this.trial === 0) return
    this.tries++
    if (this.tries < MAX_PROBES) return
    this.high = this.trial
    this.tries = 0
    this.suspected = false
    this.seek(now)
  }

  private lower(mtu: number, now: Instant): void {
    this.high = Math.min(this.high, this.current)
    this.current = mtu
    this.trial = 0
    this.tries = 0
    this.raiseAt = now + this.raiseTimer
  }

  /** Works out the next size to try: first the one that was in use, then halves of what is unknown. */
  private seek(now: Instant): void {
    const next =
      this.suspected || this.high > this.most ? this.topOfSearch() : (this.current + this.high) >>> 1
    this.suspected = false
    if (next - this.current < LEAST_STEP) {
      this.trial = 0
      if (this.current < this.most) this.raiseAt = now + this.raiseTimer
    } else {
      // RFC 8899 5.2: the raise timer runs when the search is over.
      this.raiseAt = Number.POSITIVE_INFINITY
      this.trial = next
    }
  }

  private topOfSearch(): number {
    return Math.min(this.high, this.most)
  }
}
