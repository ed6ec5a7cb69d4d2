/**
 * Timers that begin to run when a test says so. A limit on a whole set-up would otherwise count what the machine takes for
 * the steps in front of the one that is to exceed it.
 */
const real = globalThis.setTimeout

interface Held {
  readonly guard: NodeJS.Timeout
  callbacks: (() => void)[]
}

const held = new Map<number, Held>()
let last = 1_000_000_000

const later = (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]): unknown => {
  const one = held.get(ms ?? 0)
  if (one === undefined) return real(callback, ms, ...args)
  one.callbacks.push(() => callback(...args))
  return one.guard
}

export interface HeldTimer {
  /** To be asked for, of the global `setTimeout`: no other timer has it. Milliseconds. */
  readonly ms: number
  /** Runs out in `ms` from now. */
  start(ms: number): void
  /** Never runs out from then on. */
  release(): void
}

export function heldTimer(): HeldTimer {
  const ms = ++last
  // What is given out instead: it may be cleared, and then it is the test's to release this.
  const one: Held = { guard: real(() => {}, 2 ** 30).unref(), callbacks: [] }
  let running: NodeJS.Timeout | undefined
  held.set(ms, one)
  Object.assign(globalThis, { setTimeout: later })
  return {
    ms,
    start(soon) {
      running ??= real(() => {
        for (const callback of one.callbacks) callback()
      }, soon)
    },
    release() {
      clearTimeout(running)
      clearTimeout(one.guard)
      held.delete(ms)
      if (held.size === 0) Object.assign(globalThis, { setTimeout: real })
    },
  }
}
