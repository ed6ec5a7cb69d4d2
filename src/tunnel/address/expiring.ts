const NEVER = Number.POSITIVE_INFINITY

/**
 * Things that are known for a time, by a name, in the order in which they were learnt; a bounded number. When its time
 * is over, each is kept for a grace: whoever told of it may be about to tell again.
 */
export class Expiring<T> {
  private readonly most: number
  private readonly grace: number
  private readonly entries = new Map<string, { value: T; until: number; over: boolean }>()

  /** `grace` in ms. */
  constructor(most: number, grace: number) {
    this.most = most
    this.grace = grace
  }

  /** No lifetime left takes it away. Without room the one that ends first makes it, or the new one is left out. */
  set(name: string, value: T, until: number, now: number): void {
    const { entries } = this
    if (until <= now) {
      entries.delete(name)
      return
    }
    const known = entries.get(name)
    if (known !== undefined) {
      known.value = value
      known.until = until
      known.over = false
      return
    }
    if (entries.size >= this.most) {
      let first: string | undefined
      let earliest = until
      for (const [other, entry] of entries) {
        if (entry.until >= earliest) continue
        first = other
        earliest = entry.until
      }
      if (first === undefined) return
      entries.delete(first)
    }
    entries.set(name, { value, until, over: false })
  }

  get size(): number {
    return this.entries.size
  }

  values(): T[] {
    return [...this.entries.values()].map((entry) => entry.value)
  }

  nextTimeout(): number {
    let next = NEVER
    for (const { until, over } of this.entries.values())
      next = Math.min(next, over ? until + this.grace : until)
    return next
  }

  /** @returns true if the time of one is over, and was not the last time */
  expire(now: number): boolean {
    let over = false
    for (const [name, entry] of this.entries) {
      if (entry.until + this.grace <= now) this.entries.delete(name)
      if (entry.until > now || entry.over) continue
      entry.over = true
      over = true
    }
    return over
  }

  clear(): void {
    this.entries.clear()
  }
}
