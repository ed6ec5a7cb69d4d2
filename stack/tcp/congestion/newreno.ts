import type { Instant } from '../../types.js'
import type { AckSample } from './controller.js'
import { CongestionWindow } from './window.js'

/** Congestion control of RFC 5681 with byte counting (RFC 3465) and HyStart++ (RFC 9406). */
export class NewReno extends CongestionWindow {
  readonly name = 'newreno'
  protected readonly beta = 0.5
  private counted = 0
  private undoCounted = 0

  protected begin(_now: Instant): void {
    this.counted = 0
  }

  protected avoid(s: AckSample): void {
    if (!s.limited) return
    // RFC 3465 2.1: one segment for each window of octets acknowledged.
    this.counted += s.delivered
    if (this.counted < this.cwnd) return
    this.counted -= this.cwnd
    this.grow(this.mss)
    // A huge acknowledgement must not leave credit for the next one.
    if (this.counted > this.cwnd) this.counted = 0
  }

  protected reduce(_cwnd: number): void {
    this.undoCounted = this.counted
  }

  protected restore(): void {
    this.counted = this.undoCounted
  }
}
