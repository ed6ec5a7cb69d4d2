/**
 * The Internet checksum (RFC 1071): one's complement sum of 16-bit words.
 *
 * Sums are taken over the machine's own 16-bit words and swapped once at the end, which RFC 1071 2(B)
 * allows. All sums handed around are folded to 16 bits and in network order.
 */

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/**
 * The word views of the arrays summed last: a new view costs more than summing a packet, and the
 * buffers that packets come and go in are few. It holds on to at most this many buffers.
 */
const CACHED_VIEWS = 4
const cachedBuffers: (ArrayBufferLike | undefined)[] = new Array(CACHED_VIEWS).fill(undefined)
const cachedViews: Int32Array[] = new Array(CACHED_VIEWS).fill(new Int32Array(0))
let cacheNext = 0
let lastBuffer: ArrayBufferLike | undefined
let lastView = new Int32Array(0)

function wordsOf(buffer: ArrayBufferLike): Int32Array {
  for (let i = 0; i < CACHED_VIEWS; i++) {
    if (cachedBuffers[i] === buffer) {
      lastBuffer = buffer
      lastView = cachedViews[i] as Int32Array<ArrayBuffer>
      return lastView
    }
  }
  const view = new Int32Array(buffer as ArrayBuffer, 0, buffer.byteLength >>> 2)
  cachedBuffers[cacheNext] = buffer
  cachedViews[cacheNext] = view
  cacheNext = (cacheNext + 1) % CACHED_VIEWS
  lastBuffer = buffer
  lastView = view
  return view
}

function fold(s: number): number {
  s = (s >>> 16) + (s & 0xffff)
  return ((s >>> 16) + s) & 0xffff
}

function swap(s: number): number {
  return ((s & 0xff) << 8) | (s >>> 8)
}

/** Below this many octets a byte loop is cheaper than looking a view up. */
const SHORT = 40

/**
 * Sum of `len` octets (at most 65535) at `o`, padded with a zero octet if odd.
 * @returns 0 to 65535, network order
 */
export function sum(b: Uint8Array, o: number, len: number): number {
  if (len <= SHORT) {
    let s = 0
    const even = o + (len & ~1)
    for (let i = o; i < even; i += 2) s += ((b[i] as number) << 8) | (b[i + 1] as number)
    if (len & 1) s += (b[even] as number) << 8
    return fold(s)
  }
  const buffer = b.buffer
  const words = buffer === lastBuffer ? lastView : wordsOf(buffer)
  let at = o
  let n = len
  const odd = (b.byteOffset + at) & 1
  // From an odd address the words are those of the octets behind the first, so their halves are exchanged.
  if (odd) {
    at++
    n--
  }
  let low = 0
  // `| 0` keeps V8 on 32-bit integers: two sums of at most 16384 halves each fit.
  let high = 0
  if ((b.byteOffset + at) & 2) {
    low = nativeWord(b, at)
    at += 2
    n -= 2
  }
  let i = (b.byteOffset + at) >>> 2
  const end = i + (n >>> 2)
  const unrolled = end - 3
  for (; i < unrolled; i += 4) {
    const w = words[i] as number
    const x = words[i + 1] as number
    const y = words[i + 2] as number
    const z = words[i + 3] as number
    low = (low + (w & 0xffff) + (x & 0xffff) + (y & 0xffff) + (z & 0xffff)) | 0
    high = (high + (w >>> 16) + (x >>> 16) + (y >>> 16) + (z >>> 16)) | 0
  }
  for (; i < end; i++) {
    const w = words[i] as number
    low = (low + (w & 0xffff)) | 0
    high = (high + (w >>> 16)) | 0
  }
  if (n & 2) low += nativeWord(b, at + (n & ~3))
  let s = fold(low + high)
  if (littleEndian) s = swap(s)
  if (n & 1) s += (b[o + len - 1] as number) << 8
  if (odd) s = swap(fold(s)) + ((b[o] as number) << 8)
  return fold(s)
}

function nativeWord(b: Uint8Array, o: number): number {
  const first = b[o] as number
  const second = b[o + 1] as number
  return littleEndian ? first | (second << 8) : (first << 8) | second
}

/** Adds two folded sums. */
export function combine(a: number, b: number): number {
  const s = a + b
  return (s >>> 16) + (s & 0xffff)
}

/** The checksum field's value for a finished sum. */
export function finish(s: number): number {
  return ~s & 0xffff
}

/** Folded sum of a 32-bit value's two halves. */
export function sum32(v: number): number {
  const s = (v >>> 16) + (v & 0xffff)
  return (s >>> 16) + (s & 0xffff)
}
