import type { Endpoint } from '../tunnel/dialer.js'
import type { Clock } from './clock.js'

/**
 * Which name servers a query may have an OPT record for. Old ones, and firewalls in front of them, drop such a query
 * in silence; what was found out may be remembered for a brief time (RFC 6891 6.2.2).
 */
export class EdnsMemory {
  readonly #clock: Clock
  /** Those that have answered a query with OPT. */
  readonly #with = new Set<string>()
  /** Those that have answered one without, and none with; until when (milliseconds) that holds. */
  readonly #without = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether a server is to be asked with OPT first. */
  asksWith(server: Endpoint): boolean {
    return (this.#without.get(keyOf(server)) ?? 0) <= this.#clock.now()
  }

  /** OPT may be why a server is silent: it has answered none so far. */
  mayMind(server: Endpoint): boolean {
    return !this.#with.has(keyOf(server))
  }

  /** A server has answered, whatever it said, a query with OPT or without. */
  answered(server: Endpoint, edns: boolean): void {
    const key = keyOf(server)
    if (edns) {
      this.#without.delete(key)
      // One too many is only asked without OPT when it is silent.
      if (this.#with.size < MAX_SERVERS) this.#with.add(key)
    } else if (!this.#with.has(key) && (this.#without.has(key) || this.#without.size < MAX_SERVERS)) {
      this.#without.set(key, this.#clock.now() + BRIEF)
    }
  }
}

function keyOf({ address, port }: Endpoint): string {
  return `${address} ${port}`
}

// Ours.
const MAX_SERVERS = 64
/** Milliseconds. */
const BRIEF = 600_000
