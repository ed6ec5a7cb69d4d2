const NEVER = Number.POSITIVE_INFINITY

/** Things that are known for a time, by a name, in the order in which they were learnt; a bounded number. */
export class Expiring<T> {
  private readonly most: number
  private readonly entries = new Map<string, { value: T; until: number }>()

  constructor(most: number) {
    this.most = most
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
    entries.set(name, { value, until })
  }

  get size(): number {
    return this.entries.size
  }

  values(): T[] {
    return [...this.entries.values()].map((entry) => entry.value)
  }

  nextTimeout(): number {
    let next = NEVER
    for (const entry of this.entries.values()) next = Math.min(next, entry.until)
    return next
  }

  expire(now: number): void {
    for (const [name, entry] of this.entries) if (entry.until <= now) this.entries.delete(name)
  }

  clear(): void {
    this.entries.clear()
  }
}
