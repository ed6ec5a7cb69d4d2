import type { DialErrorCode } from '../tunnel/dialer.js'
import type { AddressType } from './message.js'

/** What asking for one name and type came to. */
export type Outcome =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
  /** NXDOMAIN, or the name has nothing of this type. */
  | { readonly kind: 'absent'; readonly nxdomain: boolean; readonly message: string }
  | { readonly kind: 'failed'; readonly code: DialErrorCode; readonly message: string }

export interface CacheLimits {
  /** Names and types kept at most; the one not used for longest goes first. */
  readonly entries: number
  /** Seconds. */
  readonly maxTtl: number
  readonly maxNegativeTtl: number
}

export const DEFAULT_CACHE_LIMITS: CacheLimits = { entries: 4096, maxTtl: 86_400, maxNegativeTtl: 10_800 }

/** Outcomes by name and type, for as long as they hold. Time is an argument, in milliseconds. */
export class Cache {
  readonly #entries = new Map<string, { readonly outcome: Outcome; readonly expires: number }>()
  readonly #limits: CacheLimits

  constructor(limits: Partial<CacheLimits> = {}) {
    this.#limits = { ...DEFAULT_CACHE_LIMITS, ...limits }
  }

  get size(): number {
    return this.#entries.size
  }

  get(name: string, type: AddressType, now: number): Outcome | undefined {
    // RFC 2308 5: NXDOMAIN speaks for every type of the name.
    return this.#take(key(name, '*'), now) ?? this.#take(key(name, type), now)
  }

  /** `ttl` in seconds; nothing is kept for zero. */
  set(name: string, type: AddressType, outcome: Outcome, ttl: number, now: number): void {
    const positive = outcome.kind === 'addresses'
    const seconds = Math.min(ttl, positive ? this.#limits.maxTtl : this.#limits.maxNegativeTtl)
    if (!(seconds > 0)) return
    const id = key(name, outcome.kind === 'absent' && outcome.nxdomain ? '*' : type)
    this.#entries.delete(id)
    this.#entries.set(id, { outcome, expires: now + seconds * 1000 })
    if (this.#entries.size > this.#limits.entries) {
      const oldest = this.#entries.keys().next()
      if (oldest.done !== true) this.#entries.delete(oldest.value)
    }
  }

  clear(): void {
    this.#entries.clear()
  }

  #take(id: string, now: number): Outcome | undefined {
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    this.#entries.delete(id)
    if (entry.expires <= now) return undefined
    // A map keeps the order of insertion: putting it back makes it the youngest.
    this.#entries.set(id, entry)
    return entry.outcome
  }
}

function key(name: string, type: AddressType | '*'): string {
  return `${type} ${name}`
}
