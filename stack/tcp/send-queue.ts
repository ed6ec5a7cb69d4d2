/** Chunks at or below this are gathered, so that a peer of single octets does not cost an object each. */
const SMALL = 512
const GATHER = 4096

/** A place in the queue: octets from its start, and where that is. `at` 0: not known. */
interface Cursor {
  at: number
  chunk: number
  offset: number
}

/** `n` octets have gone in front of it. */
function retreat(c: Cursor, n: number): void {
  c.at -= n
  if (c.at <= 0 || c.chunk < 0) c.at = 0
}

/**
 * Octets handed over for sending, from the first unacknowledged on. Chunks are kept by reference until
 * they are acknowledged, and copied only into packets.
 */
export class SendQueue {
  private chunks: (Uint8Array | undefined)[] = new Array(16).fill(undefined)
  private first = 0
  private count = 0
  /** Octets of the first chunk that are acknowledged. */
  private skip = 0
  /** Octets of the last chunk, if it is one of ours to gather in, that are used; -1 if it is not. */
  private gathered = -1
  /** Octets queued. */
  length = 0
  /** Where the last copy ended: the next one nearly always goes on there. What is sent again has a place of its own. */
  private readonly newest: Cursor = { at: 0, chunk: 0, offset: 0 }
  private readonly again: Cursor = { at: 0, chunk: 0, offset: 0 }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    if (chunk.length <= SMALL) this.gather(chunk)
    else this.append(chunk, -1)
    this.length += chunk.length
  }

  /**
   * Copies `len` octets that begin `at` octets behind the first unacknowledged one; they must exist. `again` says that
   * they were copied before.
   */
  copy(at: number, dst: Uint8Array, off: number, len: number, again = false): void {
    const cursor = again ? this.again : this.newest
    let chunkIndex: number
    let offset: number
    if (at >= cursor.at && cursor.at > 0) {
      chunkIndex = cursor.chunk
      offset = cursor.offset + (at - cursor.at)
    } else {
      chunkIndex = 0
      offset = this.skip + at
    }
    let chunk = this.at(chunkIndex)
    while (offset >= this.sizeOf(chunkIndex, chunk)) {
      offset -= this.sizeOf(chunkIndex, chunk)
      chunk = this.at(++chunkIndex)
    }
    let left = len
    let to = off
    for (;;) {
      const size = this.sizeOf(chunkIndex, chunk)
      const n = Math.min(left, size - offset)
      dst.set(chunk.subarray(offset, offset + n), to)
      left -= n
      to += n
      offset += n
      if (left === 0) break
      chunk = this.at(++chunkIndex)
      offset = 0
    }
    cursor.at = at + len
    cursor.chunk = chunkIndex
    cursor.offset = offset
  }

  /** Lets go of the first `n` octets. */
  acknowledge(n: number): void {
    this.length -= n
    this.skip += n
    while (this.count > 0) {
      const size = this.sizeOf(0, this.at(0))
      if (this.skip < size) break
      this.skip -= size
      this.chunks[this.first] = undefined
      this.first = (this.first + 1) & (this.chunks.length - 1)
      this.count--
      this.newest.chunk--
      this.again.chunk--
      if (this.count === 0) this.gathered = -1
    }
    retreat(this.newest, n)
    retreat(this.again, n)
  }

  clear(): void {
    this.chunks.fill(undefined)
    this.count = 0
    this.length = 0
    this.skip = 0
    this.gathered = -1
    this.newest.at = 0
    this.again.at = 0
  }

  private gather(chunk: Uint8Array): void {
    if (this.gathered >= 0 && this.count > 0) {
      const last = this.at(this.count - 1)
      if (this.gathered + chunk.length <= last.length) {
        last.set(chunk, this.gathered)
        this.gathered += chunk.length
        return
      }
      this.trim()
    }
    // Most connections that write little at a time never write more than a request.
    const block = new Uint8Array(this.count === 0 ? SMALL : GATHER)
    block.set(chunk)
    this.append(block, chunk.length)
  }

  /** The gathering block is full enough: from now on it is a chunk like any other. */
  private trim(): void {
    if (this.gathered < 0 || this.count === 0) return
    const i = (this.first + this.count - 1) & (this.chunks.length - 1)
    const last = this.chunks[i]
    if (last !== undefined) this.chunks[i] = last.subarray(0, this.gathered)
    this.gathered = -1
  }

  private append(chunk: Uint8Array, gathered: number): void {
    this.trim()
    if (this.count === this.chunks.length) {
      const bigger: (Uint8Array | undefined)[] = new Array(this.count * 2).fill(undefined)
      for (let i = 0; i < this.count; i++) bigger[i] = this.at(i)
      this.chunks = bigger
      this.first = 0
    }
    this.chunks[(this.first + this.count) & (this.chunks.length - 1)] = chunk
    this.count++
    this.gathered = gathered
  }

  private at(i: number): Uint8Array {
    return this.chunks[(this.first + i) & (this.chunks.length - 1)] as Uint8Array
  }

  private sizeOf(i: number, chunk: Uint8Array): number {
    return this.gathered >= 0 && i === this.count - 1 ? this.gathered : chunk.length
  }
}
