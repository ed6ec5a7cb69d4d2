import { setU32 } from './bytes.js'
import type { Random } from './types.js'

/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash for short input, in 32-bit halves.
 *
 * It keys initial sequence numbers, timestamp offsets and the connection table, none of which may be
 * predictable from outside (RFC 6528 3, RFC 7323 7.1).
 */
export class SipHash {
  private readonly k0l: number
  private readonly k0h: number
  private readonly k1l: number
  private readonly k1h: number
  private v0l = 0
  private v0h = 0
  private v1l = 0
  private v1h = 0
  private v2l = 0
  private v2h = 0
  private v3l = 0
  private v3h = 0
  /** High half of the last result; `hash` returns the low one. */
  high = 0

  /** `key`: 16 octets. */
  constructor(key: Uint8Array) {
    this.k0l = le32(key, 0)
    this.k0h = le32(key, 4)
    this.k1l = le32(key, 8)
    this.k1h = le32(key, 12)
  }

  static random(random: Random): SipHash {
    const key = new Uint8Array(16)
    random(key)
    return new SipHash(key)
  }

  /** @returns the low 32 bits, signed */
  hash(m: Uint8Array): number {
    this.v0l = this.k0l ^ 0x70736575
    this.v0h = this.k0h ^ 0x736f6d65
    this.v1l = this.k1l ^ 0x6e646f6d
    this.v1h = this.k1h ^ 0x646f7261
    this.v2l = this.k0l ^ 0x6e657261
    this.v2h = this.k0h ^ 0x6c796765
    this.v3l = this.k1l ^ 0x79746573
    this.v3h = this.k1h ^ 0x74656462
    const whole = m.length & ~7
    for (let i = 0; i < whole; i += 8) this.absorb(le32(m, i), le32(m, i + 4))
    const tail = new Uint8Array(8)
    tail.set(m.subarray(whole))
    tail[7] = m.length & 255
    this.absorb(le32(tail, 0), le32(tail, 4))
    this.v2l ^= 255
    this.round()
    this.round()
    this.round()
    this.round()
    this.high = this.v0h ^ this.v1h ^ this.v2h ^ this.v3h
    return this.v0l ^ this.v1l ^ this.v2l ^ this.v3l
  }

  /** Hash of 32-bit words. */
  hashWords(words: readonly number[]): number {
    const m = new Uint8Array(words.length * 4)
    words.forEach((w, i) => {
      setU32(m, i * 4, w)
    })
    return this.hash(m)
  }

  private absorb(low: number, high: number): void {
    this.v3l ^= low
    this.v3h ^= high
    this.round()
    this.round()
    this.v0l ^= low
    this.v0h ^= high
  }

  private round(): void {
    let { v0l, v0h, v1l, v1h, v2l, v2h, v3l, v3h } = this
    let l: number
    // v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32)
    l = (v0l >>> 0) + (v1l >>> 0)
    v0h = (v0h + v1h + (l > 0xffffffff ? 1 : 0)) | 0
    v0l = l | 0
    l = (v1l << 13) | (v1h >>> 19)
    v1h = (v1h << 13) | (v1l >>> 19)
    v1l = l ^ v0l
    v1h ^= v0h
    l = v0l
    v0l = v0h
    v0h = l
    // v2 += v3; v3 = rotl(v3, 16) ^ v2
    l = (v2l >>> 0) + (v3l >>> 0)
    v2h = (v2h + v3h + (l > 0xffffffff ? 1 : 0)) | 0
    v2l = l | 0
    l = (v3l << 16) | (v3h >>> 16)
    v3h = (v3h << 16) | (v3l >>> 16)
    v3l = l ^ v2l
    v3h ^= v2h
    // v0 += v3; v3 = rotl(v3, 21) ^ v0
    l = (v0l >>> 0) + (v3l >>> 0)
    v0h = (v0h + v3h + (l > 0xffffffff ? 1 : 0)) | 0
    v0l = l | 0
    l = (v3l << 21) | (v3h >>> 11)
    v3h = (v3h << 21) | (v3l >>> 11)
    v3l = l ^ v0l
    v3h ^= v0h
    // v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32)
    l = (v2l >>> 0) + (v1l >>> 0)
    v2h = (v2h + v1h + (l > 0xffffffff ? 1 : 0)) | 0
    v2l = l | 0
    l = (v1l << 17) | (v1h >>> 15)
    v1h = (v1h << 17) | (v1l >>> 15)
    v1l = l ^ v2l
    v1h ^= v2h
    l = v2l
    v2l = v2h
    v2h = l
    this.v0l = v0l
    this.v0h = v0h
    this.v1l = v1l
    this.v1h = v1h
    this.v2l = v2l
    this.v2h = v2h
    this.v3l = v3l
    this.v3h = v3h
  }
}

function le32(b: Uint8Array, o: number): number {
  return (
    (b[o] as number) |
    ((b[o + 1] as number) << 8) |
    ((b[o + 2] as number) << 16) |
    ((b[o + 3] as number) << 24)
  )
}
