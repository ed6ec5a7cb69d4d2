import type { HostType } from './message.js'
import type { Outcome } from './outcome.js'

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

  /** With the TTL that is left. */
  get(name: string, type: HostType, now: number): Outcome | undefined {
    // RFC 2308 5: NXDOMAIN speaks for every type of the name.
    return this.#take(key(name, '*'), now) ?? this.#take(key(name, type), now)
  }

  /** Nothing is kept for a TTL of zero. */
  set(name: string, type: HostType, outcome: Outcome, now: number): void {
    const positive = outcome.kind === 'found'
    const seconds = Math.min(outcome.ttl, positive ? this.#limits.maxTtl : this.#limits.maxNegativeTtl)
    if (!(seconds > 0)) return
    const denied = outcome.kind === 'absent' && outcome.nxdomain && this.#speaksForAll(name, type, now)
    const id = key(name, denied ? '*' : type)
    this.#entries.delete(id)
    if (positive) this.#entries.delete(key(name, '*'))
    this.#entries.set(id, { outcome, expires: now + seconds * 1000 })
    if (this.#entries.size > this.#limits.entries) {
      const oldest = this.#entries.keys().next()
      if (oldest.done !== true) this.#entries.delete(oldest.value)
    }
  }

  clear(): void {
    this.#entries.clear()
  }

  /**
   * Whether NXDOMAIN is believed of the other types too. Not from servers that know one family of a name and deny
   * the whole name for the other (RFC 4074 4.2), as routers do with names that they were given by hand.
   */
  #speaksForAll(name: string, type: HostType, now: number): boolean {
    if (type === 'AAAA') return false
    const other = this.#entries.get(key(name, 'AAAA'))
    return other === undefined || other.expires <= now || other.outcome.kind !== 'found'
  }

  #take(id: string, now: number): Outcome | undefined {
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    this.#entries.delete(id)
    if (entry.expires <= now) return undefined
    // A map keeps the order of insertion: putting it back makes it the youngest.
    this.#entries.set(id, entry)
    return { ...entry.outcome, ttl: Math.floor((entry.expires - now) / 1000) }
  }
}

function key(name: string, type: HostType | '*'): string {
  return `${type} ${name}`
}
