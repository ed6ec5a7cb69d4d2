import type { BodySink } from './http-body.js'

/**
 * The content of one batch of a body, in order. Large pieces are views of where they lie; what is small and stands
 * behind something small is copied together, so that chunks of single octets do not cost an object each.
 */
export class Slices implements BodySink {
  #list: Uint8Array[] = []
  /** Octets of all of them. */
  #length = 0
  #afterSmall = false
  #block: Buffer | undefined
  #used = 0

  get length(): number {
    return this.#length
  }

  onSlice(b: Uint8Array, start: number, end: number): void {
    const count = end - start
    const small = count <= SMALL
    this.#length += count
    if (small && this.#afterSmall) {
      this.#gather(b, start, end)
      return
    }
    this.#seal()
    this.#list.push(Buffer.from(b.buffer, b.byteOffset + start, count))
    this.#afterSmall = small
  }

  /** What has come since it was last asked. */
  take(): Uint8Array[] {
    this.#seal()
    const list = this.#list
    this.#list = []
    this.#length = 0
    this.#afterSmall = false
    return list
  }

  #gather(b: Uint8Array, start: number, end: number): void {
    if (this.#block !== undefined && this.#used + end - start > BLOCK) this.#seal()
    this.#block ??= Buffer.allocUnsafeSlow(BLOCK)
    for (let i = start; i < end; i++) this.#block[this.#used++] = b[i] ?? 0
  }

  #seal(): void {
    if (this.#block !== undefined) this.#list.push(this.#block.subarray(0, this.#used))
    this.#block = undefined
    this.#used = 0
  }
}

const SMALL = 512
const BLOCK = 4096
