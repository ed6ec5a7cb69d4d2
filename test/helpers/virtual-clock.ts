import type { Clock } from '../../src/dns/clock.js'

/** Time that passes only when a test says so. */
export class VirtualClock implements Clock {
  #now = 1000
  readonly #timers = new Map<object, { readonly at: number; readonly callback: () => void }>()

  now(): number {
    return this.#now
  }

  readonly setTimer = (callback: () => void, ms: number): (() => void) => {
    const key = {}
    this.#timers.set(key, { at: this.#now + ms, callback })
    return () => void this.#timers.delete(key)
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.size
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
  }

  /** Goes on by `ms`, through all timers on the way. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await this.settle()
    while (this.#fireNext(end)) await this.settle()
    this.#now = end
  }

  /** Goes on from timer to timer until the promise is settled; fails if nothing is left to wait for. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const watch = promise.then(
      () => void (settled = true),
      () => void (settled = true),
    )
    for (let i = 0; i < 1000; i++) {
      await this.settle()
      if (settled) {
        await watch
        return promise
      }
      if (!this.#fireNext(Number.POSITIVE_INFINITY)) throw new Error('nothing left to wait for')
    }
    throw new Error('it goes on for ever')
  }

  #fireNext(end: number): boolean {
    let next: { key: object; at: number; callback: () => void } | undefined
    for (const [key, { at, callback }] of this.#timers) {
      if (at <= end && (next === undefined || at < next.at)) next = { key, at, callback }
    }
    if (next === undefined) return false
    this.#timers.delete(next.key)
    this.#now = Math.max(this.#now, next.at)
    next.callback()
    return true
  }
}
