import type { Instant } from '../../types.js'
import type { AckSample } from './controller.js'
import { CongestionWindow } from './window.js'

/** RFC 9438 4.1, 4.6: segments per second cubed, and the part that stays. */
const C = 0.4
const BETA = 0.7
/** RFC 9438 4.3: additive increase that is as fast as Reno's with this beta. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA)
/** RFC 9438 4.2: cwnd grows by at most half in a round trip. */
const MAX_GROWTH = 1.5

/**
 * CUBIC (RFC 9438) with HyStart++ (RFC 9406). Windows are in octets here, so C comes with the segment size;
 * times are in seconds.
 *
 * The RFC subtracts from the time since the epoch began what the application or an idle link took. Here it
 * is summed up instead, from one acknowledgement to the next while cwnd is the limit: nothing has to be
 * subtracted, neither for pauses nor for the time that a mistaken recovery took.
 */
export class Cubic extends CongestionWindow {
  readonly name = 'cubic'
  protected readonly beta = BETA
  /** W_max: the window before the last reduction, or less (4.7). 0: there was none. */
  private wMax = 0
  /** Where the plateau of this epoch lies: W_max, or cwnd_epoch if that is higher. */
  private origin = 0
  private k = 0
  /** Time in this epoch during which cwnd was the limit. */
  private t = 0
  private wEst = 0
  private cwndPrior = 0
  /** No loss told what the path can carry: the next epoch starts on its plateau (4.8, 4.10). */
  private fresh = true
  /** The time from the last acknowledgement, at `lastAt`, to the next one counts. */
  private counting = false
  private lastAt: Instant = 0

  private undoWMax = 0
  private undoOrigin = 0
  private undoK = 0
  private undoT = 0
  private undoWEst = 0
  private undoCwndPrior = 0
  private undoFresh = true

  override onTimeout(flight: number, first: boolean, now: Instant): void {
    super.onTimeout(flight, first, now)
    this.fresh = true
  }

  override onIdle(idle: number, now: Instant): void {
    super.onIdle(idle, now)
    this.counting = false
  }

  protected begin(now: Instant): void {
    const cwnd = this.cwnd
    if (this.fresh) this.wMax = cwnd
    this.fresh = false
    this.origin = Math.max(this.wMax, cwnd)
    this.k = Math.cbrt((this.origin - cwnd) / (C * this.mss))
    this.wEst = cwnd
    this.t = 0
    this.lastAt = now
    this.counting = true
  }

  protected avoid(s: AckSample): void {
    // RFC 9438 4.2, 5.8: a window that is not used proves nothing, and its time does not count.
    if (!s.limited) {
      this.counting = false
      return
    }
    if (this.counting) this.t += (s.now - this.lastAt) / 1000
    this.counting = true
    this.lastAt = s.now

    const cwnd = this.cwnd
    const acked = Math.min(s.delivered, cwnd)
    // 4.3: from where it was before the reduction, as fast as Reno.
    const alpha = this.wEst >= this.cwndPrior ? 1 : ALPHA
    this.wEst += (alpha * this.mss * acked) / cwnd
    if (this.curve(this.t) < this.wEst) {
      const behind = this.wEst - cwnd - this.rest
      if (behind > 0) this.grow(behind)
      return
    }
    // 4.4, 4.5: where the curve will be in a round trip.
    const target = Math.min(this.curve(this.t + s.srtt / 1000), MAX_GROWTH * cwnd)
    if (target > cwnd) this.grow(((target - cwnd) * acked) / cwnd)
  }

  protected reduce(cwnd: number): void {
    this.undoWMax = this.wMax
    this.undoOrigin = this.origin
    this.undoK = this.k
    this.undoT = this.t
    this.undoWEst = this.wEst
    this.undoCwndPrior = this.cwndPrior
    this.undoFresh = this.fresh
    // 4.7: less than last time, so somebody else wants room.
    this.wMax = cwnd < this.wMax ? (cwnd * (1 + BETA)) / 2 : cwnd
    this.cwndPrior = cwnd
    this.fresh = false
  }

  protected restore(): void {
    this.wMax = this.undoWMax
    this.origin = this.undoOrigin
    this.k = this.undoK
    this.t = this.undoT
    this.wEst = this.undoWEst
    this.cwndPrior = this.undoCwndPrior
    this.fresh = this.undoFresh
    this.counting = false
  }

  /** W_cubic(t), octets. */
  private curve(t: number): number {
    const d = t - this.k
    return this.origin + C * this.mss * d * d * d
  }
}
