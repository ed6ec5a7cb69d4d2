import type { BlockPool } from '../ring.js'
import type { Emitter } from '../scheduler.js'
import type { Seq } from '../seq.js'
import type { Tuple } from '../tuple.js'
import type { Instant, SocketError, StackCounters, StackLimits, TcpTimes } from '../types.js'

/** What a connection needs of the stack around it. `C` is the connection. */
export interface TcpHost<C> {
  readonly counters: StackCounters
  readonly limits: StackLimits
  readonly times: TcpTimes
  readonly pool: BlockPool
  /** Largest packet of the link. */
  mtu(tuple: Tuple): number
  /** What is known of the path to that address, at most the link's. */
  pathMtu(tuple: Tuple, now: Instant): number
  /** Packets up to `mtu` pass on the way to that address, larger ones do not. */
  pathMtuFound(tuple: Tuple, mtu: number, now: Instant): void
  schedule(e: Emitter): void
  unschedule(e: Emitter): void
  markReady(c: C, bits: number): void
  /** A deadline of the connection may have become earlier. */
  timersChanged(c: C): void
  enteredTimeWait(c: C): void
  /** A passive open is complete. @returns false if its listener takes it no more */
  established(c: C): boolean
  /** CLOSED: forget it. */
  closed(c: C): void
  /** `<SEQ=at><CTL=RST>` for a segment that cannot belong to the connection (RFC 9293 3.5.2). */
  sendReset(tuple: Tuple, at: Seq): void
  /** Tells the other side by ICMP why a held connection is refused. */
  refuseByIcmp(c: C, reason: SocketError, now: Instant): boolean
}

/** The segment being processed. One object is reused for all. */
export interface Segment {
  buf: Uint8Array
  seq: number
  ack: number
  flags: number
  /** The field as it came, unscaled. */
  window: number
  /** The urgent pointer, which counts with URG only. */
  urgent: number
  /** The ECN bits of its IP header. */
  ecn: number
  /** Offset and length of the data in `buf`. */
  dataOff: number
  dataLen: number
}
