import type { SetTimer } from './client.js'

/** Knows how many timers have neither come nor been cancelled. */
export class TimerCount {
  readonly #setTimer: SetTimer
  active = 0

  constructor(setTimer: SetTimer) {
    this.#setTimer = setTimer
  }

  readonly set: SetTimer = (callback, ms) => {
    let pending = true
    this.active++
    const cancel = this.#setTimer(() => {
      if (!pending) return
      pending = false
      this.active--
      callback()
    }, ms)
    return () => {
      if (!pending) return
      pending = false
      this.active--
      cancel()
    }
  }
}

/** Timers that keep no process alive. */
export const nodeTimer: SetTimer = (callback, ms) => {
  const timer = setTimeout(callback, ms)
  timer.unref()
  return () => clearTimeout(timer)
}
