/** A seeded generator (mulberry32): the same seed gives the same run, everywhere. */
export class SeededRandom {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** 0 to 1, 1 excluded. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  /** An integer from 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.next() * n)
  }

  chance(p: number): boolean {
    return this.next() < p
  }

  /** As the product takes it. */
  readonly fill = (dst: Uint8Array): void => {
    for (let i = 0; i < dst.length; i++) dst[i] = this.below(256)
  }

  bytes(n: number): Uint8Array {
    const b = new Uint8Array(n)
    this.fill(b)
    return b
  }
}
