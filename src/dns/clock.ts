/** Time as the resolver and the dialer see it, so that tests run them in virtual time. */
export interface Clock {
  /** Milliseconds that never go back. */
  now(): number
  /** Calls once after `ms` milliseconds; the result cancels it. */
  setTimer(callback: () => void, ms: number): () => void
}

/** The machine's clock. Its timers keep no process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(callback, ms) {
    const timer = setTimeout(callback, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
