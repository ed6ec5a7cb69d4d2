import { DialError, type DialErrorCode } from '../tunnel/dialer.js'
import type { HostType, SoaRecord } from './message.js'

/** What asking for one name and type came to. `ttl`: seconds for which that still holds; 0: for this once. */
export type Outcome =
  | {
      readonly kind: 'found'
      /** Addresses in canonical form, or the names that a PTR question found. */
      readonly values: readonly string[]
      /** The names that the one asked for is an alias of, in order; the last has the values. */
      readonly aliases: readonly string[]
      readonly ttl: number
    }
  /** NXDOMAIN, or the name has nothing of this type. */
  | {
      readonly kind: 'absent'
      readonly nxdomain: boolean
      readonly message: string
      readonly ttl: number
      /** The zone's word for it (RFC 2308 3), if it gave one. */
      readonly soa?: SoaRecord
    }
  | {
      readonly kind: 'failed'
      readonly code: DialErrorCode
      readonly message: string
      readonly ttl: number
    }

/** Whoever can be asked for addresses and names of addresses. */
export interface Asker {
  /** The name is lower case, without the final dot. Never rejects. */
  lookup(name: string, type: HostType, signal?: AbortSignal): Promise<Outcome>
}

export function failed(code: DialErrorCode, message: string, ttl = 0): Outcome {
  return { kind: 'failed', code, message, ttl }
}

/** Whether it is pointless to ask for another name: that would come to the same. */
export function isFinal(outcome: Outcome): boolean {
  return outcome.kind === 'failed' && !OF_ONE_NAME.has(outcome.code)
}

const OF_ONE_NAME: ReadonlySet<DialErrorCode> = new Set(['name-failed', 'name-refused', 'name-not-found'])

/** The error for a name of which no lookup gave an address. */
export function lookupError(name: string, outcomes: readonly Outcome[]): DialError {
  // That a name has no address is only certain if nobody failed to say so; to refuse is to say the least.
  const errors = outcomes.filter((outcome) => outcome.kind === 'failed')
  const error = errors.find(({ code }) => code !== 'name-refused') ?? errors[0]
  if (error !== undefined) return new DialError(error.code, error.message)
  for (const outcome of outcomes) {
    if (outcome.kind === 'absent' && outcome.nxdomain) return new DialError('name-not-found', outcome.message)
  }
  if (outcomes.length === 0) return new DialError('network-unreachable', 'the tunnel has no address')
  return new DialError('name-not-found', `${name} has no address that the tunnel could reach`)
}
