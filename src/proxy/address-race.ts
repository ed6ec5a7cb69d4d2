import type { Clock } from '../dns/clock.js'
import { race } from '../dns/race.js'
import { DialError, type DialOptions, type Endpoint, type Flow } from '../tunnel/dialer.js'

export interface AddressRaceOptions extends DialOptions {
  readonly name: string
  /** Best first; at least one. */
  readonly addresses: readonly string[]
  readonly port: number
  readonly timeout: number
  readonly clock: Clock
  readonly connect: (to: Endpoint, options: DialOptions) => Promise<Flow>
}

/** Connects to a name whose addresses are known, RFC 8305. Rejects with {@link DialError}. */
export function raceAddresses(options: AddressRaceOptions): Promise<Flow> {
  const { name, addresses, port, timeout, clock, signal, connect } = options
  const [first = ''] = addresses
  const limits = { timeout, ...(signal === undefined ? {} : { signal }) }
  if (addresses.length === 1) return connect({ address: first, port }, limits)
  const isSix = (address: string): boolean => address.includes(':')
  return race({
    network: { connect: (to, dial) => connect(to, dial ?? {}) },
    names: {
      lookup: async (_, type) => ({
        kind: 'found',
        values: addresses.filter((address) => isSix(address) === (type === 'AAAA')),
        aliases: [],
        ttl: 0,
      }),
    },
    types: isSix(first) ? ['AAAA', 'A'] : ['A', 'AAAA'],
    clock,
    allow: () => true,
    candidates: [name],
    port,
    ...limits,
  })
}

/** The promise, unless time or patience are at an end before. What comes after that is thrown away. */
export function within<T>(
  promise: Promise<T>,
  { timeout, signal }: DialOptions & { readonly timeout: number },
  clock: Clock,
  late: () => DialError,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => finish(() => reject(new DialError('aborted', 'given up')))
    const cancel = clock.setTimer(() => finish(() => reject(late())), timeout)
    const finish = (settle: () => void): void => {
      cancel()
      signal?.removeEventListener('abort', onAbort)
      settle()
    }
    if (signal?.aborted) {
      promise.catch(() => {})
      onAbort()
      return
    }
    signal?.addEventListener('abort', onAbort)
    promise.then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error)),
    )
  })
}
