import type { Instant } from '../../types.js'

/**
 * Congestion control (RFC 5681 and its like). The sender tells what happened; the controller owns
 * `cwnd` and `ssthresh`, in octets. Which segments were lost is not its business.
 */
export interface CongestionController {
  readonly name: string
  /** Octets that may be in flight. */
  readonly cwnd: number
  readonly ssthresh: number
  /** The segment size changed (options agreed, path MTU found). Before anything was sent it also sets the initial window. */
  setMss(mss: number): void
  /**
   * `acked` octets left the network for the first time, outside recovery. `flight` is what was in
   * flight before; `limited` says if cwnd held the sender back (RFC 7661: only then may it grow).
   */
  onAck(acked: number, flight: number, limited: boolean, srtt: number, now: Instant): void
  /** Loss found by acknowledgements: recovery begins. `flight` as above. */
  onLoss(flight: number, now: Instant): void
  /** Window inflation by acknowledgements while in recovery without SACK (RFC 6582 3.2). May be negative. */
  inflate(octets: number): void
  /** Recovery is over; `flight` is what is out now. */
  onRecovered(flight: number, now: Instant): void
  /** The retransmission timer expired. `first` is false for further time-outs of the same data. */
  onTimeout(flight: number, first: boolean, now: Instant): void
  /** A SYN or SYN-ACK was lost: the initial window is one segment (RFC 5681 3.1). */
  onSynLost(): void
  /** Nothing was sent for longer than a time-out (RFC 5681 4.1). */
  onIdle(): void
}
