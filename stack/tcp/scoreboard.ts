import { type Seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from '../seq.js'
import type { Instant } from '../types.js'

/** The other side has it, ahead of what it acknowledges (RFC 2018). */
export const SACKED = 1
/** Taken for lost. */
export const LOST = 2
/** Its retransmission is on the way. */
export const RETRANS = 4
/** Was sent more than once (Karn: cannot be timed). */
export const EVER = 8
/** Larger than the path is known to take (RFC 4821): its loss says nothing about congestion. */
export const PROBE = 16

/** Is told of each segment that is reported as received for the first time. */
export interface DeliverySink {
  delivered(start: Seq, end: Seq, sentAt: Instant, flags: number): void
}

const FIRST_ROOM = 8
const NO_I32 = new Int32Array(0)
const NO_F64 = new Float64Array(0)
const NO_U8 = new Uint8Array(0)

/**
 * The segments between SND.UNA and SND.NXT: when each was sent last and what became of it (the
 * scoreboard of RFC 6675 3, with the times that RFC 8985 5.2 wants).
 *
 * Segments lie end to end, so an end is all that is kept of each. They sit in arrays in order of
 * sequence number, from `first` on; what is acknowledged falls off in front.
 */
export class Scoreboard {
  private ends = NO_I32
  private times = NO_F64
  private marks = NO_U8
  private first = 0
  count = 0
  /** SND.UNA, where the first segment begins. */
  una: Seq
  /** Octets with that mark; `waiting` are lost and not sent again yet. */
  sacked = 0
  lost = 0
  retrans = 0
  waiting = 0
  sackedSegments = 0
  private readonly limit: number
  /** No segment in front of this index of the arrays is waiting. */
  private waitingFrom = 0
  /** The SACK blocks of the last report: most of what the next one says is known from them. */
  private readonly known = new Int32Array(8)
  private knownBlocks = 0

  constructor(una: Seq, limit: number) {
    this.una = una
    this.limit = limit
  }

  /** No more segments are to be sent: the next would cost more memory than it is worth. */
  get full(): boolean {
    return this.count >= this.limit
  }

  /** Octets in the network: sent, not reported, not lost, and sent again (RFC 6675 4, "pipe"). */
  pipe(nxt: Seq): number {
    return seqDiff(nxt, this.una) - this.sacked - this.lost + this.retrans
  }

  startOf(i: number): Seq {
    return i === 0 ? this.una : (this.ends[this.first + i - 1] as Seq)
  }

  endOf(i: number): Seq {
    return this.ends[this.first + i] as Seq
  }

  sentAt(i: number): Instant {
    return this.times[this.first + i] as number
  }

  flags(i: number): number {
    return this.marks[this.first + i] as number
  }

  lengthOf(i: number): number {
    return seqDiff(this.endOf(i), this.startOf(i))
  }

  /** A new segment, from SND.NXT to `end`, goes out now. */
  push(end: Seq, now: Instant, flags = 0): void {
    const at = this.makeRoom()
    this.ends[at] = end
    this.times[at] = now
    this.marks[at] = flags
    this.count++
  }

  /** Everything up to `ack` is acknowledged; `sink` hears of what was not reported before. */
  acknowledge(ack: Seq, sink: DeliverySink): void {
    let n = 0
    while (n < this.count && seqLe(this.endOf(n), ack)) n++
    for (let i = 0; i < n; i++) {
      const f = this.flags(i)
      if ((f & SACKED) === 0) sink.delivered(this.startOf(i), this.endOf(i), this.sentAt(i), f)
    }
    for (let i = 0; i < n; i++) this.forget(f0(this.marks, this.first + i), this.lengthOf(i))
    if (n > 0) {
      this.una = this.endOf(n - 1)
      this.first += n
      this.count -= n
      if (this.count === 0) this.first = 0
      if (this.waitingFrom < this.first || this.count === 0) this.waitingFrom = this.first
    }
    if (this.count > 0 && seqGt(ack, this.una)) {
      // Part of a segment. The rest keeps what is known about the whole.
      this.forgetPart(this.flags(0), seqDiff(ack, this.una))
    }
    this.una = ack
  }

  /**
   * The other side has `[left, right)`. Only segments that lie in it as a whole count: what is sent
   * is what is received, but for rare trimming.
   */
  sack(left: Seq, right: Seq, sink: DeliverySink): void {
    for (let i = this.firstNew(left, right); i < this.count && seqLe(this.endOf(i), right); i++) {
      const f = this.flags(i)
      if (f & SACKED) continue
      sink.delivered(this.startOf(i), this.endOf(i), this.sentAt(i), f)
      this.forget(f, this.lengthOf(i))
      this.sacked += this.lengthOf(i)
      this.sackedSegments++
      this.marks[this.first + i] = (f & EVER) | SACKED
    }
  }

  /** Remembers the blocks that were just taken in. */
  remember(edges: Int32Array, blocks: number): void {
    this.known.set(edges)
    this.knownBlocks = blocks
  }

  /** The segment is lost, or its retransmission is. @returns the octets that are to be sent again because of that */
  markLost(i: number): number {
    const f = this.flags(i)
    if (f & SACKED || (f & LOST && (f & RETRANS) === 0)) return 0
    const length = this.lengthOf(i)
    if (f & RETRANS) this.retrans -= length
    if ((f & LOST) === 0) this.lost += length
    this.waiting += length
    this.marks[this.first + i] = (f & ~(RETRANS | PROBE)) | LOST
    if (this.first + i < this.waitingFrom) this.waitingFrom = this.first + i
    return length
  }

  /** The segment goes out again. */
  resent(i: number, now: Instant): void {
    const f = this.flags(i)
    const length = this.lengthOf(i)
    if (f & LOST && (f & RETRANS) === 0) this.waiting -= length
    if ((f & RETRANS) === 0) this.retrans += length
    this.marks[this.first + i] = f | RETRANS | EVER
    this.times[this.first + i] = now
  }

  /** The first segment that is to be sent again; -1 if there is none. */
  nextWaiting(): number {
    if (this.waiting === 0) return -1
    const end = this.first + this.count
    for (let at = this.waitingFrom; at < end; at++) {
      const f = f0(this.marks, at)
      if (f & LOST && (f & RETRANS) === 0) {
        this.waitingFrom = at
        return at - this.first
      }
    }
    return -1
  }

  /** Makes two of the segment `i`, the first of `length` octets. Nothing is known of one that is not known of the other. */
  split(i: number, length: number): void {
    const cut = seqAdd(this.startOf(i), length)
    const last = this.makeRoom()
    const at = this.first + i
    this.ends.copyWithin(at + 1, at, last)
    this.times.copyWithin(at + 1, at, last)
    this.marks.copyWithin(at + 1, at, last)
    this.ends[at] = cut
    this.count++
    // In pieces it tries no size any more.
    this.marks[at] = this.marks[at + 1] = f0(this.marks, at) & ~PROBE
    if (f0(this.marks, at) & SACKED) this.sackedSegments++
  }

  /** Joins the segment behind `i` to it, if both are waiting. @returns if so */
  merge(i: number): boolean {
    if (i + 1 >= this.count || !this.isWaiting(i) || !this.isWaiting(i + 1)) return false
    const at = this.first + i
    const end = this.first + this.count
    this.ends.copyWithin(at, at + 1, end)
    this.times.copyWithin(at + 1, at + 2, end)
    this.marks.copyWithin(at + 1, at + 2, end)
    this.count--
    return true
  }

  private isWaiting(i: number): boolean {
    return (this.flags(i) & (LOST | RETRANS)) === LOST
  }

  /** Nothing is lost after all (the time-out or the recovery was a mistake). */
  unmarkLost(): void {
    const end = this.first + this.count
    for (let at = this.first; at < end; at++) this.marks[at] = f0(this.marks, at) & ~LOST
    this.lost = 0
    this.waiting = 0
  }

  /** The other side has thrown away what it reported (RFC 2018 8). */
  unmarkSacked(): void {
    const end = this.first + this.count
    for (let at = this.first; at < end; at++) this.marks[at] = f0(this.marks, at) & ~SACKED
    this.sacked = 0
    this.sackedSegments = 0
    this.knownBlocks = 0
  }

  /** Index of the segment that has the octet `at`; `count` if that lies behind all. */
  find(at: Seq): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const mid = (low + high) >>> 1
      if (seqGt(this.endOf(mid), at)) high = mid
      else low = mid + 1
    }
    return low
  }

  /** Behind a run of reported segments that `i`, reported itself, is in; at least `i + 1`. */
  skipSacked(i: number): number {
    const start = this.startOf(i)
    for (let k = 0; k < this.knownBlocks; k++) {
      const right = this.known[2 * k + 1] as Seq
      if (seqGe(start, this.known[2 * k] as Seq) && seqLt(start, right))
        return Math.max(i + 1, this.find(right))
    }
    return i + 1
  }

  clear(): void {
    this.ends = NO_I32
    this.times = NO_F64
    this.marks = NO_U8
    this.first = this.count = this.waitingFrom = 0
    this.sacked = this.lost = this.retrans = this.waiting = this.sackedSegments = 0
    this.knownBlocks = 0
  }

  /** Octets of memory held. */
  get memory(): number {
    return this.ends.length * 13
  }

  /** The first segment wholly in `[left, right)` that the last report did not have. */
  private firstNew(left: Seq, right: Seq): number {
    let from = left
    for (let k = 0; k < this.knownBlocks; k++) {
      const knownRight = this.known[2 * k + 1] as Seq
      if (seqGe(left, this.known[2 * k] as Seq) && seqLt(from, knownRight) && seqLe(knownRight, right)) {
        from = knownRight
      }
    }
    const i = this.find(from)
    return i < this.count && seqLt(this.startOf(i), left) ? i + 1 : i
  }

  private forget(f: number, length: number): void {
    if (f & SACKED) {
      this.sacked -= length
      this.sackedSegments--
      return
    }
    if (f & RETRANS) this.retrans -= length
    if ((f & LOST) === 0) return
    this.lost -= length
    if ((f & RETRANS) === 0) this.waiting -= length
  }

  private forgetPart(f: number, length: number): void {
    this.forget(f, length)
    if (f & SACKED) this.sackedSegments++
  }

  /** Room for one more behind the last. @returns its index in the arrays */
  private makeRoom(): number {
    const end = this.first + this.count
    if (end < this.ends.length) return end
    const { first, count } = this
    if (this.count * 2 <= this.ends.length && count > 0) {
      this.ends.copyWithin(0, first, end)
      this.times.copyWithin(0, first, end)
      this.marks.copyWithin(0, first, end)
    } else {
      const room = Math.max(FIRST_ROOM, this.ends.length * 2)
      this.ends = grown(this.ends, new Int32Array(room), first, end)
      this.times = grown(this.times, new Float64Array(room), first, end)
      this.marks = grown(this.marks, new Uint8Array(room), first, end)
    }
    this.waitingFrom = Math.max(0, this.waitingFrom - first)
    this.first = 0
    return count
  }
}

function f0(marks: Uint8Array, at: number): number {
  return marks[at] as number
}

function grown<T extends Int32Array | Float64Array | Uint8Array>(
  from: T,
  to: T,
  first: number,
  end: number,
): T {
  to.set(from.subarray(first, end))
  return to
}
