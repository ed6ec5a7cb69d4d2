import { MemoryAccount } from './memory.js'

/**
 * The receive buffer of a connection: a ring of octets that takes memory only while it holds data.
 *
 * Octets may be stored ahead of the readable end (out of order) and become readable later. Views
 * given by `peek` stay good until their octets are consumed; a block goes back to the pool only when
 * nothing of it is unread, so no view ever shows another connection's data.
 */

/** With memory scarce, blocks begin at that part of the usual size. */
const SMALLEST_PART = 128

/**
 * Blocks for reuse, so that a busy connection that runs empty does not allocate (and clear) memory again.
 * Sizes are `blockSize` times a power of two (smaller ones only if memory is scarce); at most `keep` times
 * `blockSize` octets lie idle. What is out is on the account.
 */
export class BlockPool {
  readonly blockSize: number
  readonly account: MemoryAccount
  private readonly smallest: number
  private readonly limit: number
  private readonly free: Uint8Array[][] = []
  /** Octets of idle blocks. */
  idle = 0

  constructor(blockSize = 65536, keep = 128, account = new MemoryAccount()) {
    this.blockSize = blockSize
    this.smallest = Math.max(1, blockSize / SMALLEST_PART)
    this.limit = keep * blockSize
    this.account = account
  }

  /** A block of at least `octets`, and of `usual` ones if there is enough memory. Its content is whatever it was. */
  take(octets: number, usual = 0): Uint8Array {
    let least = octets
    if (this.account.roomy) least = Math.max(octets, usual, this.blockSize)
    let size = this.smallest
    let n = 0
    while (size < least) {
      size *= 2
      n++
    }
    this.account.add(size)
    const block = this.free[n]?.pop()
    if (block === undefined) return new Uint8Array(size)
    this.idle -= size
    return block
  }

  /** Takes a block of {@link take} back; nobody may look at it any more. */
  give(block: Uint8Array): void {
    this.account.sub(block.length)
    if (this.idle + block.length > this.limit) return
    let n = 0
    for (let size = this.smallest; size < block.length; size *= 2) n++
    let list = this.free[n]
    while (list === undefined) {
      this.free.push([])
      list = this.free[n]
    }
    list.push(block)
    this.idle += block.length
  }

  /** A block of {@link take} is used no more, but somebody may still look at it. */
  abandon(block: Uint8Array): void {
    this.account.sub(block.length)
  }
}

/** A block that is grown into while somebody looks at it is lost for reuse, so sizes come down slowly. */
const ROOMY = 16

const NOTHING = new Uint8Array(0)

export class Ring {
  private readonly pool: BlockPool
  private block: Uint8Array = NOTHING
  private head = 0
  /** Octets that can be read. */
  size = 0
  /** Most octets stored since the block was taken, and how large a block the last one turned out to need. */
  private peak = 0
  private usual = 0
  /** Times in a row that a block turned out to be far too large. */
  private roomy = 0

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
    if (end > this.peak) this.peak = end
    const capacity = this.block.length
    let at = this.head + this.size + skip
    if (at >= capacity) at -= capacity
    const first = capacity - at
    // A short-lived view is the price of the engine's own copy, which is 20 times as fast as a loop over words.
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
    // A connection that needed much will need it again with one of the next batches; one that has not for long, less.
    const { length } = this.block
    this.roomy = this.peak * 4 > length ? 0 : this.roomy + 1
    this.usual = this.roomy < ROOMY ? length : length / 2
    if (this.roomy === ROOMY) this.roomy = 0
    this.peak = 0
    this.pool.give(this.block)
    this.block = NOTHING
    this.head = 0
  }

  /** Forgets everything. Unread octets may still be looked at by a view, so their block is not reused. */
  drop(): void {
    this.releaseIfEmpty()
    if (this.block.length > 0) this.pool.abandon(this.block)
    this.block = NOTHING
    this.head = 0
    this.size = 0
  }

  private grow(atLeast: number): void {
    const next = this.pool.take(atLeast, this.block.length === 0 ? this.usual : 0)
    // Octets stored ahead of the readable end move too: everything from head on, in order.
    const old = this.block
    const firstPart = old.length - this.head
    if (old.length > 0) {
      next.set(old.subarray(this.head), 0)
      next.set(old.subarray(0, this.head), firstPart)
      if (this.size === 0) this.pool.give(old)
      else this.pool.abandon(old)
    }
    this.block = next
    this.head = 0
  }
}
