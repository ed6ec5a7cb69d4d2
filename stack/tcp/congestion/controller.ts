import type { Instant } from '../../types.js'

/** One acknowledgement, as congestion control sees it. The sender fills one object for all of them. */
export interface AckSample {
  /** Octets that this acknowledgement reports as received for the first time, by ACK or by SACK. */
  delivered: number
  /** Octets in flight before it. */
  flight: number
  /** cwnd is what held the sender back (RFC 7661: only then may it grow). */
  limited: boolean
  /** Round-trip time of the newest segment reported, milliseconds with fractions; -1 if it cannot be known. */
  rtt: number
  /** The first acknowledgement of a new round: all that was out when the last one began has been reported. */
  round: boolean
  /** Smoothed round-trip time, milliseconds; 0 before the first sample. */
  srtt: number
  now: Instant
}

/**
 * Congestion control (RFC 5681 and its like). The sender tells what happened; the controller owns `cwnd`
 * and `ssthresh`, in octets. Which segments were lost, and what may be sent during recovery
 * (RFC 6937), is not its business.
 */
export interface CongestionController {
  readonly name: string
  /** Octets that may be in flight. */
  readonly cwnd: number
  readonly ssthresh: number
  /** The segment size changed (options agreed, path MTU found). Before anything was sent it also sets the initial window. */
  setMss(mss: number): void
  /** Something new was reported, outside recovery. */
  onAck(s: AckSample): void
  /**
   * Loss found by acknowledgements, or an ECN echo: one event for each window of data. Sets `ssthresh`;
   * `cwnd` is led there by the caller. `flight` is what was in flight.
   */
  onCongestion(flight: number, now: Instant): void
  /** During recovery: what proportional rate reduction has worked out. */
  setCwnd(octets: number): void
  /** Recovery is over: `cwnd` becomes `ssthresh`. */
  onRecovered(now: Instant): void
  /** The retransmission timer expired: `cwnd` is one segment. `first` is false for further time-outs of the same data. */
  onTimeout(flight: number, first: boolean, now: Instant): void
  /** The last {@link onCongestion} or first {@link onTimeout} was a mistake (RFC 3522, RFC 5682): as it was before. */
  undo(now: Instant): void
  /** A SYN or SYN-ACK was lost: the initial window is one segment (RFC 5681 3.1). */
  onSynLost(): void
  /** Nothing was sent for `idle` milliseconds, which is longer than a time-out (RFC 5681 4.1). */
  onIdle(idle: number, now: Instant): void
}
