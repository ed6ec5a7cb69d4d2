/** Time and timers of a supervisor, so that a test can have its own. */
export interface SupervisorClock {
  /** Milliseconds that never go back. */
  now(): number
  /** Milliseconds since 1970, which may jump. */
  wall(): number
  later(callback: () => void, ms: number): unknown
  cancel(timer: unknown): void
}

export const SYSTEM_CLOCK: SupervisorClock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  later: (callback, ms) => setTimeout(callback, ms),
  cancel: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
}
