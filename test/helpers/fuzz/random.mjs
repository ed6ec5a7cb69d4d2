/** A seeded generator (mulberry32): the same seed gives the same packets, everywhere. */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0
    this.fill = (dst) => {
      for (let i = 0; i < dst.length; i++) dst[i] = this.word() & 255
    }
  }

  /** 32 bits, not negative. */
  word() {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }

  below(n) {
    return Math.floor((this.word() / 4294967296) * n)
  }

  chance(p) {
    return this.word() < p * 4294967296
  }

  pick(list) {
    return list[this.below(list.length)]
  }

  bytes(n) {
    const b = new Uint8Array(n)
    this.fill(b)
    return b
  }
}
