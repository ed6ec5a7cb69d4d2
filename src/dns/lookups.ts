import { DialError, type DialOptions } from '../tunnel/dialer.js'
import type { Clock } from './clock.js'
import type { AddressType } from './message.js'
import { reverseName } from './names.js'
import { type Asker, isFinal, lookupError, type Outcome } from './outcome.js'

/** Addresses, best first, and for how many seconds they hold. */
export interface Found {
  readonly addresses: readonly string[]
  readonly ttl: number
}

/**
 * Addresses of the first of several names that has some, those of the first type in front. Rejects with
 * {@link DialError}.
 */
export function findAddresses(
  names: readonly string[],
  types: readonly AddressType[],
  asker: Asker,
  clock: Clock,
  options: DialOptions = {},
): Promise<Found> {
  return inTime(names.join(', '), clock, options, async (signal) => {
    const outcomes: Outcome[] = []
    for (const name of names) {
      const here = await Promise.all(types.map((type) => asker.lookup(name, type, signal)))
      const found = here.filter((outcome) => outcome.kind === 'found')
      if (found.length > 0) {
        return {
          addresses: found.flatMap((outcome) => outcome.values),
          ttl: Math.min(...found.map((outcome) => outcome.ttl)),
        }
      }
      outcomes.push(...here)
      if (outcomes.some(isFinal)) break
    }
    throw lookupError(names.join(', '), outcomes)
  })
}

/** The name of an address in canonical form. Rejects with {@link DialError}. */
export function findName(
  address: string,
  asker: Asker,
  clock: Clock,
  options: DialOptions = {},
): Promise<string> {
  return inTime(address, clock, options, async (signal) => {
    const outcome = await asker.lookup(reverseName(address), 'PTR', signal)
    if (outcome.kind === 'failed') throw new DialError(outcome.code, outcome.message)
    const name = outcome.kind === 'found' ? outcome.values[0] : undefined
    if (name === undefined) throw new DialError('name-not-found', `${address} has no name`)
    return name
  })
}

/** Runs a question within its time, and for as long as its caller wants it. */
async function inTime<T>(
  what: string,
  clock: Clock,
  options: DialOptions,
  ask: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (options.signal?.aborted) throw new DialError('aborted', 'given up')
  const limit = new AbortController()
  let expired = false
  const onTimer = () => {
    expired = true
    limit.abort()
  }
  const cancel = clock.setTimer(onTimer, options.timeout ?? TIMEOUT)
  const forward = () => limit.abort()
  options.signal?.addEventListener('abort', forward)
  try {
    return await ask(limit.signal)
  } catch (error) {
    if (expired) throw new DialError('name-timed-out', `resolving ${what} took too long`)
    throw error
  } finally {
    cancel()
    options.signal?.removeEventListener('abort', forward)
  }
}

/** Ours, milliseconds. */
const TIMEOUT = 30_000
