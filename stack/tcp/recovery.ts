import { type Seq, seqGe, seqGt, seqLe } from '../seq.js'

/** What the sender is to do about an acknowledgement. */
export const VERDICT_NONE = 0
/** Loss: begin recovery, resend the first unacknowledged segment now. */
export const VERDICT_ENTER = 1
/** Still in recovery: the next hole begins at SND.UNA, resend it. */
export const VERDICT_PARTIAL = 2
/** Recovery is over. */
export const VERDICT_EXIT = 3
/** One more duplicate while in recovery: a segment has left the network. */
export const VERDICT_INFLATE = 4
/** One of the first duplicates: a new segment may go out beyond cwnd (RFC 3042). */
export const VERDICT_LIMITED = 5

/**
 * Loss detection and recovery: told of every acknowledgement and time-out, it says what is lost. How
 * much may be sent is the congestion controller's business.
 */
export interface LossRecovery {
  readonly inRecovery: boolean
  /** SND.UNA moved from `before` to `una`; `nxt` is the highest sequence number sent. */
  onAck(before: Seq, una: Seq, nxt: Seq): number
  /** A duplicate acknowledgement as RFC 5681 2 defines it. */
  onDuplicate(una: Seq, nxt: Seq): number
  /** The retransmission timer expired with `nxt` the highest sequence number sent. */
  onTimeout(nxt: Seq): void
}

const DUP_THRESH = 3

/** Fast retransmit and NewReno recovery (RFC 5681 3.2, RFC 6582 3.2). */
export class NewRenoRecovery implements LossRecovery {
  inRecovery = false
  private duplicates = 0
  private recover: Seq
  private afterTimeout = false

  constructor(iss: Seq) {
    this.recover = iss
  }

  onAck(_before: Seq, una: Seq, _nxt: Seq): number {
    this.duplicates = 0
    if (this.afterTimeout && seqGt(una, this.recover)) this.afterTimeout = false
    if (!this.inRecovery) return VERDICT_NONE
    if (seqGe(una, this.recover)) {
      this.inRecovery = false
      return VERDICT_EXIT
    }
    return VERDICT_PARTIAL
  }

  onDuplicate(una: Seq, nxt: Seq): number {
    if (this.inRecovery) return VERDICT_INFLATE
    // RFC 6582 3.2 step 2: after a time-out everything goes out again, so duplicates prove no new loss
    // before something newer is acknowledged.
    if (this.afterTimeout && seqLe(una, this.recover)) return VERDICT_NONE
    this.duplicates++
    if (this.duplicates < DUP_THRESH) return VERDICT_LIMITED
    if (this.duplicates > DUP_THRESH || !seqGt(nxt, una)) return VERDICT_NONE
    this.inRecovery = true
    this.recover = nxt
    return VERDICT_ENTER
  }

  onTimeout(nxt: Seq): void {
    this.inRecovery = false
    this.duplicates = 0
    this.recover = nxt
    this.afterTimeout = true
  }
}
