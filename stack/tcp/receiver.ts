import { Assembler } from '../assembler.js'
import { type BlockPool, Ring } from '../ring.js'
import { type Seq, seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from '../seq.js'
import type { Instant } from '../types.js'

/** RFC 7323 5.5: a timestamp that old proves nothing. */
const TS_RECENT_LIFE = 24 * 24 * 3600 * 1000
/** Segments at the start of a connection that are acknowledged at once, so that slow start is not held up. */
const QUICK_ACKS = 16

/**
 * The receiving half of a connection: window, reassembly, and when an acknowledgement is due
 * (RFC 9293 3.8.6, RFC 7323, RFC 2018 for the reports).
 *
 * ```
 *      readable        received ahead (ranges)
 *   |--- ring.size ---|   |----|      |---|
 *                     NXT                       adv
 *                     |------- window ----------|
 * ```
 */
export class Receiver {
  irs = seq(0)
  /** RCV.NXT. */
  nxt = seq(0)
  /** Right edge of the window as the other side knows it; never moves left. */
  adv = seq(0)
  /** Our window scale, 0 if not agreed. */
  shift = 0
  /** The largest segment the other side will send, for silly window avoidance and "every second full segment". */
  mss = 536
  readonly ring: Ring
  readonly ranges: Assembler
  /** Sequence number of the FIN, once known. */
  private finAt: Seq | undefined
  /** The FIN has been reached: nothing more will come. */
  finished = false

  /** An acknowledgement is to go out with the next batch. */
  ackNow = false
  /** Octets received since the last acknowledgement. */
  private unacked = 0
  private quickAcks = QUICK_ACKS
  /** Last.ACK.sent. */
  lastAckSent = seq(0)

  tsRecent = seq(0)
  tsRecentAt: Instant = 0

  private readonly limit: number

  constructor(pool: BlockPool, limit: number, maxRanges: number) {
    this.ring = new Ring(pool)
    this.ranges = new Assembler(maxRanges)
    this.limit = limit
  }

  start(irs: Seq): void {
    this.irs = irs
    this.nxt = seqAdd(irs, 1)
    this.lastAckSent = this.nxt
    this.adv = seqAdd(this.nxt, this.firstWindow)
  }

  /** The window of a SYN: never scaled (RFC 7323 2.2). */
  get firstWindow(): number {
    return Math.min(this.limit, 65535)
  }

  startTimestamps(tsVal: Seq, now: Instant): void {
    this.tsRecent = tsVal
    this.tsRecentAt = now
  }

  /** RCV.WND: what we have promised to take. */
  get window(): number {
    return seqDiff(this.adv, this.nxt)
  }

  /** The window field of a segment that goes out now; moves the promise (RFC 9293 3.8.6.2.2). */
  announce(syn: boolean): number {
    const shift = syn ? 0 : this.shift
    const promised = this.window
    const free = this.limit - this.ring.size
    // MUST-39: the right edge moves by a worthwhile step or not at all.
    const offered = free < promised + Math.min(this.limit >>> 1, this.mss) ? promised : free
    // Rounded up, or the scale would move the edge left as octets come in. But never beyond the buffer:
    // a peer that sends octet by octet would be promised a little more each time, without end.
    let field = (offered + (1 << shift) - 1) >> shift
    if (field << shift > free) field = offered >> shift
    if (field > 65535) field = 65535
    const edge = seqAdd(this.nxt, field << shift)
    if (seqGt(edge, this.adv)) this.adv = edge
    return field
  }

  /** The application has taken octets: is the window worth an acknowledgement of its own? */
  windowOpened(): boolean {
    if (this.finished) return false
    const step = Math.min(this.limit - this.ring.size, 65535 << this.shift) - this.window
    return step >= Math.min(this.limit >>> 1, Math.max(2 * this.mss, this.window))
  }

  /**
   * RFC 9293 3.10.7.4, first step.
   * @returns if any of the segment's `len` octets (SYN and FIN count) at `at` is in the window
   */
  acceptable(at: Seq, len: number): boolean {
    // The RFC leaves the right edge itself out. But that is where the acknowledgements of a peer come from that
    // has filled the window and lost it on the way: without them neither side would get on.
    if (len === 0) return seqGe(at, this.nxt) && seqLe(at, this.adv)
    if (this.window === 0) return false
    const last = seqAdd(at, len - 1)
    return (seqGe(at, this.nxt) && seqLt(at, this.adv)) || (seqGe(last, this.nxt) && seqLt(last, this.adv))
  }

  /** PAWS (RFC 7323 5.3 R1): an old duplicate by its timestamp. */
  isOldTimestamp(tsVal: Seq, now: Instant): boolean {
    return seqLt(tsVal, this.tsRecent) && now - this.tsRecentAt < TS_RECENT_LIFE
  }

  /** RFC 7323 4.3 (3). */
  noteTimestamp(tsVal: Seq, at: Seq, now: Instant): void {
    if (
      seqLe(at, this.lastAckSent) &&
      (seqGe(tsVal, this.tsRecent) || now - this.tsRecentAt >= TS_RECENT_LIFE)
    ) {
      this.tsRecent = tsVal
      this.tsRecentAt = now
    }
  }

  /**
   * Takes the data of an acceptable segment: `len` octets of `b` at `off`, the first being `at`.
   * @returns octets that became readable
   */
  data(at: Seq, b: Uint8Array, off: number, len: number): number {
    const behind = seqDiff(this.nxt, at)
    if (behind > 0) {
      // Part of it is old: our acknowledgement may have been lost.
      if (behind >= len) {
        this.ackNow = true
        return 0
      }
      at = this.nxt
      off += behind
      len -= behind
    }
    const beyond = seqDiff(seqAdd(at, len), this.finAt ?? this.adv)
    if (beyond > 0) len -= beyond
    if (len <= 0) return 0
    const end = seqAdd(at, len)
    if (at === this.nxt && this.ranges.count === 0) {
      this.ring.store(0, b, off, len)
      this.ring.commit(len)
      this.nxt = end
      this.received(len)
      return len
    }
    // RFC 5681 4.2: out of order, or filling a gap: acknowledge at once.
    this.ackNow = true
    this.storeGaps(at, end, b, off)
    if (at !== this.nxt) {
      this.ranges.add(at, end)
      return 0
    }
    const reached = this.ranges.advance(end)
    const readable = seqDiff(reached, at)
    this.ring.commit(readable)
    this.nxt = reached
    return readable
  }

  /** Stores of `[from, to)` what was not received before: the first copy of an octet is the one that counts. */
  private storeGaps(from: Seq, to: Seq, b: Uint8Array, off: number): void {
    const { ranges, ring, nxt } = this
    let at = from
    for (let i = 0; i < ranges.count && seqLt(at, to); i++) {
      const right = ranges.rightOf(i)
      if (seqLe(right, at)) continue
      const left = ranges.leftOf(i)
      if (seqGe(left, to)) break
      if (seqGt(left, at)) ring.store(seqDiff(at, nxt), b, off + seqDiff(at, from), seqDiff(left, at))
      at = right
    }
    if (seqLt(at, to)) ring.store(seqDiff(at, nxt), b, off + seqDiff(at, from), seqDiff(to, at))
  }

  /** A FIN with sequence number `at`. @returns true if it is the next in order: the other side has ended */
  fin(at: Seq): boolean {
    this.ackNow = true
    // One beyond the window is taken, so that closing never waits for a reader; further on it will come again.
    if (this.finAt === undefined && seqGe(at, this.nxt) && seqLe(at, this.adv)) this.finAt = at
    return this.finReached()
  }

  /** True once, when all before the FIN has come: it is counted then. */
  finReached(): boolean {
    if (this.finished || this.finAt === undefined || this.finAt !== this.nxt) return false
    this.finished = true
    this.ranges.clear()
    this.nxt = seqAdd(this.nxt, 1)
    if (seqGt(this.nxt, this.adv)) this.adv = this.nxt
    return true
  }

  /** An acknowledgement of everything has gone out. */
  acknowledged(): void {
    this.ackNow = false
    this.unacked = 0
    this.lastAckSent = this.nxt
  }

  /** Octets have come in order. Afterwards either `ackNow` is set or a delayed acknowledgement is due. */
  private received(len: number): void {
    this.unacked += len
    if (this.quickAcks > 0) {
      this.quickAcks--
      this.ackNow = true
    } else if (this.unacked >= 2 * this.mss) {
      // RFC 9293 3.8.6.3, SHLD-19: at least every second full segment.
      this.ackNow = true
    }
  }

  get ackPending(): boolean {
    return this.unacked > 0
  }

  releaseIdle(): void {
    if (this.ring.size === 0 && this.ranges.count === 0) this.ring.releaseIfEmpty()
  }

  drop(): void {
    this.ring.drop()
    this.ranges.clear()
  }
}
