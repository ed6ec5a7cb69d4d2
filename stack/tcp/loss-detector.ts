import type { Seq } from '../seq.js'
import type { Instant } from '../types.js'
import type { Scoreboard } from './scoreboard.js'

/** One acknowledgement, as loss detection sees it, after the scoreboard has taken it in. */
export interface AckEvent {
  /** SND.UNA moved. */
  advanced: boolean
  /** Octets by which it moved. */
  acked: number
  /** A duplicate by RFC 5681 2. */
  duplicate: boolean
  /** It reported a duplicate (RFC 2883). */
  dsack: boolean
  /** A reduction or a time-out is being recovered from. */
  recovering: boolean
  nxt: Seq
  /** Octets of data in a full segment. */
  mss: number
  now: Instant
}

/** Finds out which segments are lost. How much may be sent is not its business. */
export interface LossDetector {
  /** Octets that have left the network although no report says which. */
  readonly credit: number
  /** When {@link detect} should look again without an acknowledgement; `Infinity` if not. */
  readonly timeout: Instant
  /** A segment was reported for the first time. `echoedAt`: when the segment was sent whose timestamp is echoed, -Infinity if unknown. */
  delivered(start: Seq, end: Seq, sentAt: Instant, ever: boolean, echoedAt: Instant, now: Instant): void
  onAck(sb: Scoreboard, e: AckEvent): void
  /** Marks what is lost by now. @returns octets newly lost */
  detect(sb: Scoreboard, recovering: boolean, now: Instant): number
  /** The retransmission timer expired: marks what is to be sent again. */
  onTimeout(sb: Scoreboard, nxt: Seq, now: Instant): void
  /** Recovery is over. */
  onRecovered(): void
  /** The last recovery was a mistake: segments were late, not lost. */
  onSpurious(): void
}
