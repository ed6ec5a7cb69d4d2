/**
 * The receive buffer of a connection: a ring of octets that takes memory only while it holds data.
 *
 * Octets may be stored ahead of the readable end (out of order) and become readable later. Views
 * given by `peek` stay good until their octets are consumed; a block goes back to the pool only when
 * nothing of it is unread, so no view ever shows another connection's data.
 */

/** Blocks of one size for reuse, so that a busy connection that runs empty does not allocate again. */
export class BlockPool {
  readonly blockSize: number
  private readonly free: Uint8Array[] = []
  private readonly keep: number

  constructor(blockSize = 65536, keep = 64) {
    this.blockSize = blockSize
    this.keep = keep
  }

  take(): Uint8Array {
    return this.free.pop() ?? new Uint8Array(this.blockSize)
  }

  give(block: Uint8Array): void {
    if (block.length === this.blockSize && this.free.length < this.keep) this.free.push(block)
  }

  /** Octets of idle blocks. */
  get idle(): number {
    return this.free.length * this.blockSize
  }
}

const NOTHING = new Uint8Array(0)

export class Ring {
  private readonly pool: BlockPool
  private block: Uint8Array = NOTHING
  private head = 0
  /** Octets that can be read. */
  size = 0

  constructor(pool: BlockPool) {
    this.pool = pool
  }

  /** Octets of memory held. */
  get capacity(): number {
    return this.block.length
  }

  /** Stores `len` octets `skip` octets behind the readable end; the caller bounds `skip + len`. */
  store(skip: number, src: Uint8Array, so: number, len: number): void {
    const end = this.size + skip + len
    if (end > this.block.length) this.grow(end)
    const capacity = this.block.length
    let at = this.head + this.size + skip
    if (at >= capacity) at -= capacity
    const first = capacity - at
    if (len <= first) {
      this.block.set(src.subarray(so, so + len), at)
    } else {
      this.block.set(src.subarray(so, so + first), at)
      this.block.set(src.subarray(so + first, so + len), 0)
    }
  }

  /** Makes the next `n` stored octets readable. */
  commit(n: number): void {
    this.size += n
  }

  /** The readable octets from `skip` on that lie in one piece. */
  peek(skip = 0): Uint8Array {
    const n = this.size - skip
    if (n <= 0) return NOTHING
    const capacity = this.block.length
    let at = this.head + skip
    if (at >= capacity) at -= capacity
    return this.block.subarray(at, Math.min(at + n, capacity))
  }

  consume(n: number): void {
    if (n > this.size) n = this.size
    this.size -= n
    this.head += n
    if (this.head >= this.block.length) this.head -= this.block.length
  }

  /** Gives the memory back if nothing is unread. Only when nothing is stored ahead either. */
  releaseIfEmpty(): void {
    if (this.size > 0 || this.block.length === 0) return
    this.pool.give(this.block)
    this.block = NOTHING
    this.head = 0
  }

  /** Forgets everything. Unread octets may still be looked at by a view, so their block is not reused. */
  drop(): void {
    this.releaseIfEmpty()
    this.block = NOTHING
    this.head = 0
    this.size = 0
  }

  private grow(atLeast: number): void {
    let capacity = Math.max(this.block.length, this.pool.blockSize)
    while (capacity < atLeast) capacity *= 2
    const next = capacity === this.pool.blockSize ? this.pool.take() : new Uint8Array(capacity)
    // Octets stored ahead of the readable end move too: everything from head on, in order.
    const old = this.block
    const firstPart = old.length - this.head
    if (old.length > 0) {
      next.set(old.subarray(this.head), 0)
      next.set(old.subarray(0, this.head), firstPart)
      if (this.size === 0) this.pool.give(old)
    }
    this.block = next
    this.head = 0
  }
}
