import { type Seq, seqGt } from '../seq.js'
import type { AckEvent, LossDetector } from './loss-detector.js'
import { EVER, LOST, RETRANS, type Scoreboard } from './scoreboard.js'

const DUP_THRESH = 3

/**
 * Loss detection for peers without SACK: three duplicates, then one hole for each partial
 * acknowledgement (RFC 5681 3.2, RFC 6582 3.2).
 */
export class DupAcks implements LossDetector {
  credit = 0
  readonly timeout = Number.POSITIVE_INFINITY
  private duplicates = 0
  /** RFC 6582 "recover". */
  private recover: Seq
  private afterTimeout = false
  private partial = false

  constructor(iss: Seq) {
    this.recover = iss
  }

  delivered(): void {}

  onAck(sb: Scoreboard, e: AckEvent): void {
    this.partial = false
    if (e.advanced) {
      if (this.afterTimeout && seqGt(sb.una, this.recover)) this.afterTimeout = false
      // Each duplicate stood for a segment behind the hole; those behind what is acknowledged now stay.
      const kept = e.recovering && !this.afterTimeout
      this.credit = kept ? Math.max(0, this.credit - Math.max(0, e.acked - e.mss)) : 0
      this.duplicates = 0
      this.partial = e.recovering && sb.count > 0
    } else if (e.duplicate) {
      // It stands for some segment behind the first.
      const head = sb.count > 0 && (sb.flags(0) & (LOST | RETRANS)) !== LOST ? sb.lengthOf(0) : 0
      this.credit = Math.max(0, Math.min(this.credit + e.mss, sb.pipe(e.nxt) - head))
      // RFC 6582 3.2 step 2: after a time-out everything goes out again, so duplicates prove no new loss
      // before something newer is acknowledged.
      if (!this.afterTimeout || seqGt(sb.una, this.recover)) this.duplicates++
    }
  }

  detect(sb: Scoreboard, recovering: boolean): number {
    if (sb.count === 0) return 0
    const due = recovering
      ? this.partial && (sb.flags(0) & (RETRANS | EVER)) === 0
      : this.duplicates === DUP_THRESH
    this.partial = false
    return due ? sb.markLost(0) : 0
  }

  onTimeout(sb: Scoreboard, nxt: Seq): void {
    this.duplicates = 0
    this.credit = 0
    this.recover = nxt
    this.afterTimeout = true
    for (let i = 0; i < sb.count; i++) sb.markLost(i)
  }

  onRecovered(): void {
    this.duplicates = 0
    this.credit = 0
  }

  onSpurious(): void {
    this.onRecovered()
    this.afterTimeout = false
  }
}
