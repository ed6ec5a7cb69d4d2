import type { Instant } from './types.js'

/**
 * Named deadlines of one object and the nearest of them.
 *
 * `next` may be early after a deadline was stopped or moved back; it is never late. An early wake-up
 * finds nothing expired and asks again, which is cheaper than keeping order on every packet.
 */
export class Deadlines {
  private readonly at: Float64Array
  next: Instant = Number.POSITIVE_INFINITY

  constructor(count: number) {
    this.at = new Float64Array(count).fill(Number.POSITIVE_INFINITY)
  }

  set(which: number, when: Instant): void {
    this.at[which] = when
    if (when < this.next) this.next = when
  }

  stop(which: number): void {
    this.at[which] = Number.POSITIVE_INFINITY
  }

  isSet(which: number): boolean {
    return (this.at[which] as number) !== Number.POSITIVE_INFINITY
  }

  get(which: number): Instant {
    return this.at[which] as number
  }

  /** True once for a deadline that has passed: it is stopped. */
  take(which: number, now: Instant): boolean {
    if ((this.at[which] as number) > now) return false
    this.at[which] = Number.POSITIVE_INFINITY
    return true
  }

  clear(): void {
    this.at.fill(Number.POSITIVE_INFINITY)
    this.next = Number.POSITIVE_INFINITY
  }

  /** Makes `next` exact. */
  settle(): Instant {
    let next = Number.POSITIVE_INFINITY
    for (let i = 0; i < this.at.length; i++) {
      const t = this.at[i] as number
      if (t < next) next = t
    }
    this.next = next
    return next
  }
}

/** What a {@link DeadlineHeap} orders. Both fields belong to the heap. */
export interface Timed {
  heapIndex: number
  heapKey: Instant
}

/** A binary heap of objects by the time at which they want to be looked at. Index -1 means not in it. */
export class DeadlineHeap<T extends Timed> {
  private readonly items: T[] = []

  get size(): number {
    return this.items.length
  }

  get next(): Instant {
    return this.items[0]?.heapKey ?? Number.POSITIVE_INFINITY
  }

  /** Moves the item's time to `when` if that is earlier, or puts it in. A later time is left to be found out. */
  advance(item: T, when: Instant): void {
    if (item.heapIndex < 0) {
      if (when === Number.POSITIVE_INFINITY) return
      item.heapKey = when
      item.heapIndex = this.items.length
      this.items.push(item)
      this.up(item.heapIndex)
    } else if (when < item.heapKey) {
      item.heapKey = when
      this.up(item.heapIndex)
    }
  }

  remove(item: T): void {
    const i = item.heapIndex
    if (i < 0) return
    item.heapIndex = -1
    const last = this.items.pop() as T
    if (last === item) return
    this.items[i] = last
    last.heapIndex = i
    this.up(i)
    this.down(last.heapIndex)
  }

  /** Takes out the first item if its time has come. */
  pop(now: Instant): T | undefined {
    const first = this.items[0]
    if (first === undefined || first.heapKey > now) return undefined
    this.remove(first)
    return first
  }

  private up(i: number): void {
    const { items } = this
    const item = items[i] as T
    while (i > 0) {
      const parentIndex = (i - 1) >> 1
      const parent = items[parentIndex] as T
      if (parent.heapKey <= item.heapKey) break
      items[i] = parent
      parent.heapIndex = i
      i = parentIndex
    }
    items[i] = item
    item.heapIndex = i
  }

  private down(i: number): void {
    const { items } = this
    const item = items[i] as T
    const n = items.length
    for (;;) {
      let child = 2 * i + 1
      if (child >= n) break
      if (child + 1 < n && (items[child + 1] as T).heapKey < (items[child] as T).heapKey) child++
      const c = items[child] as T
      if (c.heapKey >= item.heapKey) break
      items[i] = c
      c.heapIndex = i
      i = child
    }
    items[i] = item
    item.heapIndex = i
  }
}
