import { type Seq, seqGe, seqGt, seqLe, seqLt } from './seq.js'

const NONE = new Int32Array(0)
/** Room for ranges at first, and what is kept when there are none left. */
const FIRST = 16
const KEPT = 64

/**
 * Ranges of sequence space received ahead of RCV.NXT: disjoint, not touching, in order.
 * Few mostly, hundreds when a large window has suffered losses: sorted arrays, searched by halves.
 */
export class Assembler {
  /** Edges; no memory until something comes out of order, which most connections never see. */
  private left = NONE
  private right = NONE
  private readonly limit: number
  /** A sequence number inside each of the ranges that grew last, newest first (RFC 2018 4). */
  private recent = NONE
  private recentCount = 0
  count = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /**
   * Adds `[from, to)`, joining what it touches.
   * @returns false if there is no room for one more range: the octets are not to be kept
   */
  add(from: Seq, to: Seq): boolean {
    // Ranges wholly in front do not even touch. What follows the last range comes most often.
    const i = this.seek(((from - 1) | 0) as Seq)
    let j = i
    let start = from
    let end = to
    while (j < this.count && seqLe(this.left[j] as Seq, to)) {
      if (seqLt(this.left[j] as Seq, start)) start = this.left[j] as Seq
      if (seqGt(this.right[j] as Seq, end)) end = this.right[j] as Seq
      j++
    }
    const joined = j - i
    if (joined === 0 && this.count === this.left.length && !this.grow()) return false
    if (joined !== 1 && j < this.count) {
      this.left.copyWithin(i + 1, j, this.count)
      this.right.copyWithin(i + 1, j, this.count)
    }
    this.count += 1 - joined
    this.left[i] = start
    this.right[i] = end
    this.remember(from, start, end)
    return true
  }

  /** The first range in order that ends behind `at`; `count` if none does. */
  seek(at: Seq): number {
    let high = this.count
    if (high === 0 || seqLe(this.right[high - 1] as Seq, at)) return high
    high--
    if (high === 0 || seqLe(this.right[high - 1] as Seq, at)) return high
    let low = 0
    while (low < high) {
      const mid = (low + high) >>> 1
      if (seqLe(this.right[mid] as Seq, at)) low = mid + 1
      else high = mid
    }
    return low
  }

  /** Takes out the ranges that `next` has reached. @returns where the octets received without a gap end now */
  advance(next: Seq): Seq {
    let n = 0
    while (n < this.count && seqLe(this.left[n] as Seq, next)) {
      if (seqGt(this.right[n] as Seq, next)) next = this.right[n] as Seq
      n++
    }
    if (n > 0) {
      this.left.copyWithin(0, n, this.count)
      this.right.copyWithin(0, n, this.count)
      this.count -= n
      // What was reached is reported no more, and must not take the place of what is.
      let kept = 0
      for (let i = 0; i < this.recentCount; i++) {
        const r = this.recent[i] as Seq
        if (seqGe(r, next)) this.recent[kept++] = r
      }
      this.recentCount = kept
    }
    return next
  }

  /**
   * Writes SACK blocks as edge pairs behind the `n` that `out` has already, the range that grew last first
   * (RFC 2018 4).
   * @returns blocks in all, at most `max`
   */
  sackBlocks(out: Int32Array, max: number, n = 0): number {
    const first = n
    for (let r = 0; r < this.recentCount && n < max; r++) {
      const i = this.find(this.recent[r] as Seq)
      if (i < 0 || this.listed(out, first, n, this.left[i] as Seq)) continue
      out[n * 2] = this.left[i] as number
      out[n * 2 + 1] = this.right[i] as number
      n++
    }
    for (let i = 0; i < this.count && n < max; i++) {
      if (this.listed(out, first, n, this.left[i] as Seq)) continue
      out[n * 2] = this.left[i] as number
      out[n * 2 + 1] = this.right[i] as number
      n++
    }
    return n
  }

  /** The range that `at` lies in, if there is one, is the next to be reported. */
  refer(at: Seq): void {
    const i = this.find(at)
    if (i >= 0) this.remember(at, this.left[i] as Seq, this.right[i] as Seq)
  }

  /** Edges of the range `i` in order, below `count`. */
  leftOf(i: number): Seq {
    return this.left[i] as Seq
  }

  rightOf(i: number): Seq {
    return this.right[i] as Seq
  }

  /** End of the last range; `fallback` if there is none. */
  end(fallback: Seq): Seq {
    return this.count === 0 ? fallback : (this.right[this.count - 1] as Seq)
  }

  clear(): void {
    this.count = 0
    this.recentCount = 0
  }

  /** Gives memory back that only a bad time needed. */
  trim(): void {
    if (this.count > 0 || this.left.length <= KEPT) return
    this.left = NONE
    this.right = NONE
  }

  private grow(): boolean {
    const have = this.left.length
    if (have >= this.limit) return false
    const room = Math.min(this.limit, have === 0 ? FIRST : have * 2)
    const left = new Int32Array(room)
    const right = new Int32Array(room)
    left.set(this.left)
    right.set(this.right)
    this.left = left
    this.right = right
    if (this.recent === NONE) this.recent = new Int32Array(4)
    return true
  }

  private listed(out: Int32Array, first: number, n: number, left: Seq): boolean {
    for (let k = first; k < n; k++) if (out[k * 2] === left) return true
    return false
  }

  private find(at: Seq): number {
    const i = this.seek(at)
    return i < this.count && seqLe(this.left[i] as Seq, at) ? i : -1
  }

  /** Puts the range that `at` lies in first. Each range is remembered once, or one that grows would crowd out the rest. */
  private remember(at: Seq, start: Seq, end: Seq): void {
    const { recent } = this
    let n = 0
    let carried = at
    for (let i = 0; i < this.recentCount; i++) {
      const r = recent[i] as Seq
      if (seqGe(r, start) && seqLt(r, end)) continue
      recent[n++] = carried
      carried = r
    }
    if (n < recent.length) recent[n++] = carried
    this.recentCount = n
  }
}
