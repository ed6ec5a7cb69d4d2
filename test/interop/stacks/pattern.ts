/** The octets of a stream: a block over and over. The programs in bench/stacks make the same. */

/** A prime, so that no segment size divides it. */
export const PERIOD = 65_521

/** The block, twice, so that `PERIOD` octets from anywhere lie in one piece. */
export function pattern(seed: number): Uint8Array {
  const block = new Uint8Array(2 * PERIOD)
  let x = seed
  for (let i = 0; i < PERIOD; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    block[i] = block[i + PERIOD] = x >>> 8
  }
  return block
}

/** True if the first `length` octets of `b` are those that the stream has from place `at` on. */
export function matches(block: Uint8Array, b: Uint8Array, length: number, at: number): boolean {
  for (let i = 0, n = 0; i < length; i += n) {
    const from = (at + i) % PERIOD
    n = Math.min(PERIOD, length - i)
    if (Buffer.compare(block.subarray(from, from + n), b.subarray(i, i + n)) !== 0) return false
  }
  return true
}
