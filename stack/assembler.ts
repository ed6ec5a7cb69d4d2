import { type Seq, seqGe, seqGt, seqLe, seqLt } from './seq.js'

const NONE = new Int32Array(0)

/**
 * Ranges of sequence space received ahead of RCV.NXT: disjoint, not touching, in order.
 * Few by nature, so plain arrays and linear walks.
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
    if (this.left === NONE) {
      this.left = new Int32Array(this.limit)
      this.right = new Int32Array(this.limit)
      this.recent = new Int32Array(4)
    }
    const { left, right } = this
    let i = 0
    // Ranges wholly in front, not even touching.
    while (i < this.count && seqLt(right[i] as Seq, from)) i++
    let j = i
    let start = from
    let end = to
    while (j < this.count && seqLe(left[j] as Seq, to)) {
      if (seqLt(left[j] as Seq, start)) start = left[j] as Seq
      if (seqGt(right[j] as Seq, end)) end = right[j] as Seq
      j++
    }
    const joined = j - i
    if (joined === 0 && this.count === this.limit) return false
    if (joined !== 1) {
      left.copyWithin(i + 1, j, this.count)
      right.copyWithin(i + 1, j, this.count)
      this.count += 1 - joined
    }
    left[i] = start
    right[i] = end
    this.remember(from, start, end)
    return true
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

  /** Writes at most `max` SACK blocks as edge pairs, the one that grew last first (RFC 2018 4). @returns blocks */
  sackBlocks(out: Int32Array, max: number): number {
    let n = 0
    for (let r = 0; r < this.recentCount && n < max; r++) {
      const i = this.find(this.recent[r] as Seq)
      if (i < 0 || this.listed(out, n, this.left[i] as Seq)) continue
      out[n * 2] = this.left[i] as number
      out[n * 2 + 1] = this.right[i] as number
      n++
    }
    for (let i = 0; i < this.count && n < max; i++) {
      if (this.listed(out, n, this.left[i] as Seq)) continue
      out[n * 2] = this.left[i] as number
      out[n * 2 + 1] = this.right[i] as number
      n++
    }
    return n
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

  private listed(out: Int32Array, n: number, left: Seq): boolean {
    for (let k = 0; k < n; k++) if (out[k * 2] === left) return true
    return false
  }

  private find(at: Seq): number {
    for (let i = 0; i < this.count; i++) {
      if (seqGe(at, this.left[i] as Seq) && seqLt(at, this.right[i] as Seq)) return i
    }
    return -1
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
