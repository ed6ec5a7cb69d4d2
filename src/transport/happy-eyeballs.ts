/**
 * Happy Eyeballs (RFC 8305): several addresses of one host, tried in turn a short while apart, and the first
 * that answers is taken. Node's own autoSelectFamily gives an address up after that while; here it stays in
 * the race, so that a slow path is no worse than without the others.
 */
import type { LookupAddress } from 'node:dns'

/** Between two attempts, milliseconds. RFC 8305 8 */
export const ATTEMPT_DELAY = 250

/** More are not tried: a name may have hundreds. */
const MAX_ADDRESSES = 16

/** One-shot timers; those of Node unless a test has its own. */
export interface Timers {
  set(callback: () => void, ms: number): unknown
  clear(timer: unknown): void
}

const NODE_TIMERS: Timers = {
  set: (callback, ms) => setTimeout(callback, ms),
  clear: (timer) => clearTimeout(timer as NodeJS.Timeout),
}

/** Why one address did not do. */
export interface Failure {
  readonly address: string
  readonly error: NodeJS.ErrnoException
}

/** No address did. `failures` is in the order in which they were tried, and never empty. */
export class AddressesError extends Error {
  override readonly name = 'AddressesError'
  readonly failures: readonly Failure[]
  constructor(failures: readonly Failure[]) {
    super(failures.map((f) => `${f.address}: ${f.error.message}`).join('; '))
    this.failures = failures
  }
}

/**
 * The order of attempts: families take turns, beginning with that of the first address, which the system
 * likes best (RFC 6724); doubles are left out. RFC 8305 4
 */
export function interleave(addresses: readonly LookupAddress[]): LookupAddress[] {
  const unique = [...new Map(addresses.map((a) => [a.address, a])).values()]
  const family = unique[0]?.family
  const first = unique.filter((a) => a.family === family)
  const second = unique.filter((a) => a.family !== family)
  const out: LookupAddress[] = []
  for (let i = 0; i < Math.max(first.length, second.length); i++) {
    for (const a of [first[i], second[i]]) if (a !== undefined) out.push(a)
  }
  return out.slice(0, MAX_ADDRESSES)
}

/** Starts one attempt; `done` is called once unless it is called off before. @returns calls it off */
export type Dial<T> = (
  address: LookupAddress,
  done: (error: NodeJS.ErrnoException | undefined, connection?: T) => void,
) => () => void

export interface RaceOptions<T> {
  readonly addresses: readonly LookupAddress[]
  readonly dial: Dial<T>
  readonly signal: AbortSignal
  readonly delay?: number
  readonly timers?: Timers
}

/**
 * The first connection that comes up; the others are called off. An attempt that fails lets the next one
 * begin at once (RFC 8305 5). Rejects with {@link AddressesError}, or with the signal's reason.
 */
export function raceAddresses<T>(options: RaceOptions<T>): Promise<T> {
  const { dial, signal, delay = ATTEMPT_DELAY, timers = NODE_TIMERS } = options
  const waiting = interleave(options.addresses)
  return new Promise((resolve, reject) => {
    const failures: Failure[] = []
    const running = new Map<LookupAddress, (() => void) | undefined>()
    let timer: unknown
    let over = false

    const finish = (settle: () => void): void => {
      if (over) return
      over = true
      if (timer !== undefined) timers.clear(timer)
      signal.removeEventListener('abort', onAbort)
      for (const cancel of running.values()) cancel?.()
      running.clear()
      settle()
    }
    const onAbort = (): void => finish(() => reject(signal.reason))

    const next = (): void => {
      timer = undefined
      const address = waiting.shift()
      if (address === undefined || over) return
      if (waiting.length > 0) {
        timer = timers.set(next, delay)
      }
      running.set(address, undefined)
      const cancel = dial(address, (error, connection) => {
        if (over || !running.delete(address)) return
        if (error === undefined) {
          finish(() => resolve(connection as T))
          return
        }
        failures.push({ address: address.address, error })
        if (waiting.length > 0) {
          if (timer !== undefined) timers.clear(timer)
          next()
        } else if (running.size === 0) {
          finish(() => reject(new AddressesError(failures)))
        }
      })
      // It may have come to its end already.
      if (running.has(address)) running.set(address, cancel)
    }

    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    if (waiting.length === 0) {
      const error: NodeJS.ErrnoException = Object.assign(new Error('no address'), { code: 'ENODATA' })
      reject(new AddressesError([{ address: '', error }]))
      return
    }
    signal.addEventListener('abort', onAbort, { once: true })
    next()
  })
}
