import type { Clock } from './clock.js'

/**
 * A number of places. Whoever finds none waits, for a bounded time; the last to come is the first to get one, and when
 * too many wait, who came first goes away: under a flood of questions that nobody answers, a fair queue would serve
 * everybody too late.
 */
export class Slots {
  readonly #clock: Clock
  readonly #limits: SlotLimits
  #free: number
  /** In the order of coming. */
  readonly #waiting = new Set<(granted: boolean) => void>()

  constructor(limits: SlotLimits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#free = limits.places
  }

  /** Somebody waits: those who have a place should not keep it for long. */
  get isCrowded(): boolean {
    return this.#waiting.size > 0
  }

  /** True: there is a place, to be given back by {@link free}. False: there was none, or `signal` says so. */
  take(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false)
    if (this.#free > 0) {
      this.#free--
      return Promise.resolve(true)
    }
    if (this.#waiting.size >= this.#limits.waiting) {
      const [oldest] = this.#waiting
      oldest?.(false)
    }
    return new Promise((resolve) => {
      const settle = (granted: boolean): void => {
        this.#waiting.delete(settle)
        cancel()
        signal.removeEventListener('abort', onAbort)
        resolve(granted)
      }
      const onAbort = (): void => settle(false)
      const cancel = this.#clock.setTimer(() => settle(false), this.#limits.patience)
      signal.addEventListener('abort', onAbort)
      this.#waiting.add(settle)
    })
  }

  free(): void {
    let last: ((granted: boolean) => void) | undefined
    for (const settle of this.#waiting) last = settle
    if (last === undefined) this.#free++
    else last(true)
  }
}

export interface SlotLimits {
  readonly places: number
  /** At least one. */
  readonly waiting: number
  /** Milliseconds. */
  readonly patience: number
}
