import { Assembler } from '../assembler.js'
import type { MemoryAccount } from '../memory.js'
import { type BlockPool, Ring } from '../ring.js'
import { type Seq, seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt, seqMax } from '../seq.js'
import type { Instant, StackLimits } from '../types.js'
import { ReceiveWindow } from './receive-window.js'

/** RFC 7323 5.5: a timestamp that old proves nothing. */
const TS_RECENT_LIFE = 24 * 24 * 3600 * 1000
/** Segments at the start of a connection that are acknowledged at once, so that slow start is not held up. */
const QUICK_ACKS = 16
/** Duplicates that wait to be reported. More come only in one batch, and not in one piece. */
const DUPLICATES = 4
const NONE = new Int32Array(0)

/**
 * The receiving half of a connection: window, reassembly, and when an acknowledgement is due
 * (RFC 9293 3.8.6, RFC 7323, RFC 2018 and RFC 2883 for the reports).
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
  private broken = false

  /** Octets from the read position to the end of the urgent data, 0 if there are none ahead (RCV.UP, relatively). */
  urgent = 0

  /** An acknowledgement is to go out with the next batch. */
  ackNow = false
  /** Octets received since the last acknowledgement. */
  private unacked = 0
  private quickAcks = QUICK_ACKS
  /** Last.ACK.sent. */
  lastAckSent = seq(0)

  tsRecent = seq(0)
  tsRecentAt: Instant = 0

  /** How large the buffer may become at this time. */
  readonly buffer: ReceiveWindow
  private readonly account: MemoryAccount
  private lastDataAt: Instant = Number.NEGATIVE_INFINITY

  /** Edges of duplicates not reported yet, the first that came first. */
  private dups = NONE
  private dupCount = 0
  /** A report has gone out, and there are more than it had room for. */
  private more = false

  /** Congestion was met on the way here: ECE is on in what we send until the other side says CWR (RFC 3168 6.1.3). */
  ece = false

  constructor(
    pool: BlockPool,
    limits: Pick<StackLimits, 'receiveBuffer' | 'receiveBufferMax' | 'outOfOrderRanges'>,
  ) {
    this.ring = new Ring(pool)
    this.ranges = new Assembler(limits.outOfOrderRanges)
    this.account = pool.account
    this.buffer = new ReceiveWindow(pool.account, limits)
  }

  start(irs: Seq): void {
    this.irs = irs
    this.nxt = seqAdd(irs, 1)
    this.lastAckSent = this.nxt
    this.adv = seqAdd(this.nxt, this.firstWindow)
  }

  /** The window of a SYN: never scaled (RFC 7323 2.2). */
  get firstWindow(): number {
    return Math.min(this.buffer.limit, 65535)
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
    const free = this.buffer.limit - this.ring.size
    // MUST-39: the right edge moves by a worthwhile step or not at all.
    const offered = free < promised + Math.min(this.buffer.limit >>> 1, this.mss) ? promised : free
    // Rounded up, or the scale would move the edge left as octets come in. But never beyond the buffer:
    // a peer that sends octet by octet would be promised a little more each time, without end.
    let field = (offered + (1 << shift) - 1) >> shift
    if (field << shift > free) field = offered >> shift
    if (field > 65535) field = 65535
    const edge = seqAdd(this.nxt, field << shift)
    if (seqGt(edge, this.adv)) this.adv = edge
    return field
  }

  /** The application has taken `n` octets. */
  consume(n: number): void {
    this.ring.consume(n)
    this.urgent = Math.max(0, this.urgent - n)
  }

  /**
   * RFC 9293 3.8.5: urgent data end in front of `end` (MUST-62), which need not have been received.
   * @returns true if that is news: none was ahead of the reader before
   */
  urgentTo(end: Seq): boolean {
    const ahead = seqDiff(this.finAt !== undefined && seqLt(this.finAt, end) ? this.finAt : end, this.nxt)
    const left = ahead + this.ring.size
    if (left <= this.urgent) return false
    const news = this.urgent === 0
    this.urgent = left
    return news
  }

  /** The application has taken octets: is the window worth an acknowledgement of its own? */
  windowOpened(): boolean {
    if (this.finished) return false
    const step = Math.min(this.buffer.limit - this.ring.size, 65535 << this.shift) - this.window
    return step >= Math.min(this.buffer.limit >>> 1, Math.max(2 * this.mss, this.window))
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

  /** A round trip took `ms`, by an echoed timestamp or otherwise; -1 says nothing. */
  rttSample(ms: number, now: Instant): void {
    this.buffer.sample(ms, now)
  }

  /** A segment with `len` octets of data is about to be taken by {@link data}; `rto` is the connection's own. */
  arrives(len: number, now: Instant, rto: number): void {
    // A sender that was idle begins with a small window again (RFC 5681 4.1). One that sends a line now and then
    // does not wait for acknowledgements, so they may wait for an answer.
    if (now - this.lastDataAt > rto && len >= this.mss) this.quickAcks = QUICK_ACKS
    this.lastDataAt = now
    if (now < this.buffer.dueAt) return
    const { nxt } = this
    const received = seqDiff(nxt, this.irs)
    this.buffer.arrives(nxt, this.ring.size, received, this.window, 65535 << this.shift, now)
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
      this.noteDuplicate(at, len)
      this.ackNow = true
      if (behind >= len) return 0
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
    // What is next in order has been promised room. The rest was not, and comes again.
    if (at !== this.nxt && this.account.full) return 0
    this.storeGaps(at, end, b, off, behind > 0)
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

  /**
   * Stores of `[from, to)` what was not received before: the first copy of an octet is the one that counts.
   * `known`: the segment had a duplicate in front of that.
   */
  private storeGaps(from: Seq, to: Seq, b: Uint8Array, off: number, known: boolean): void {
    const { ranges, ring, nxt } = this
    let at = from
    for (let i = ranges.seek(from); i < ranges.count && seqLt(at, to); i++) {
      const left = ranges.leftOf(i)
      if (seqGe(left, to)) break
      const right = ranges.rightOf(i)
      if (!known) {
        // RFC 2883 4: the first contiguous duplicate of a segment is the one that is reported.
        known = true
        this.duplicate(seqMax(left, at), seqLt(right, to) ? right : to)
      }
      if (seqGt(left, at)) ring.store(seqDiff(at, nxt), b, off + seqDiff(at, from), seqDiff(left, at))
      at = right
    }
    if (seqLt(at, to)) ring.store(seqDiff(at, nxt), b, off + seqDiff(at, from), seqDiff(to, at))
  }

  // ---------------------------------------------------------------- reports: RFC 2018, RFC 2883

  /**
   * `len` octets of data came at `at`, in a segment that was taken or not: those in front of RCV.NXT are a
   * duplicate, which the next acknowledgement says.
   */
  noteDuplicate(at: Seq, len: number): void {
    const behind = seqDiff(this.nxt, at)
    if (behind > 0 && len > 0) this.duplicate(at, behind < len ? this.nxt : seqAdd(at, len))
  }

  private duplicate(left: Seq, right: Seq): void {
    const { dups, dupCount } = this
    const last = dupCount * 2 - 2
    if (dupCount > 0 && dups[last + 1] === left) {
      dups[last + 1] = right
    } else if (dupCount < DUPLICATES) {
      if (dups === NONE) this.dups = new Int32Array(2 * DUPLICATES)
      this.dups[last + 2] = left
      this.dups[last + 3] = right
      this.dupCount++
    }
  }

  /** There is something to say in a SACK option. It fits an acknowledgement without data only. */
  get hasReport(): boolean {
    return this.dupCount > 0 || this.ranges.count > 0
  }

  /**
   * Writes SACK blocks as edge pairs: a duplicate first, once, and what was received ahead behind it, the range
   * that it lies in or else that grew last first. {@link acknowledged} is to follow.
   * @returns blocks, at most `max`
   */
  sackBlocks(out: Int32Array, max: number): number {
    if (this.dupCount === 0) return this.ranges.sackBlocks(out, max)
    const { dups } = this
    const left = dups[0] as Seq
    out[0] = left
    out[1] = dups[1] as number
    dups.copyWithin(0, 2)
    this.dupCount--
    this.more = this.dupCount > 0
    this.ranges.refer(left)
    return this.ranges.sackBlocks(out, max, 1)
  }

  // ---------------------------------------------------------------- ECN: RFC 3168

  /** Data with the CE mark has come. */
  ecnMarked(): void {
    this.ece = true
    // The other side is to slow down in this round trip, not the next.
    this.ackNow = true
    if (this.quickAcks < 2) this.quickAcks = 2
  }

  /** Data with CWR has come. If it has the CE mark too, {@link ecnMarked} is to follow, not to go before. */
  cwrReceived(): void {
    this.ece = false
  }

  // ---------------------------------------------------------------- the end, and acknowledgements

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
    // No more will come, whatever was said.
    this.urgent = Math.min(this.urgent, this.ring.size)
    this.ranges.clear()
    this.buffer.release(this.ring.size)
    this.nxt = seqAdd(this.nxt, 1)
    if (seqGt(this.nxt, this.adv)) this.adv = this.nxt
    return true
  }

  /** An acknowledgement of everything has gone out. */
  acknowledged(): void {
    this.ackNow = this.more
    // Without SACK nobody has asked for them.
    if (!this.more) this.dupCount = 0
    this.more = false
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

  /** Nothing is unread: memory goes back. */
  releaseIdle(): void {
    if (this.ring.size > 0) return
    if (this.finished || this.broken) this.buffer.release(0)
    if (this.ranges.count > 0) return
    this.ring.releaseIfEmpty()
    this.ranges.trim()
  }

  /** The connection has failed and nothing more will come: what is readable stays, what is ahead of it goes. */
  breakOff(): void {
    if (this.ring.size === 0) {
      this.drop()
      return
    }
    this.broken = true
    this.urgent = Math.min(this.urgent, this.ring.size)
    this.ranges.clear()
    this.buffer.release(this.ring.size)
  }

  /** Forgets all data, read or not. */
  drop(): void {
    this.ring.drop()
    this.urgent = 0
    this.ranges.clear()
    this.buffer.release(0)
  }
}
