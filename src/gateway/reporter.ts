/**
 * Between the gateway and whoever writes its log: strangers come by the thousand, and must not fill a disk.
 */
import type { GatewayEvent } from './events.js'
import { Debts } from './login-guard.js'

/** Between two warnings of one code. */
export const WARNING_INTERVAL = 30_000
/** Calls of strangers that are told of at once, and for long: one in so many milliseconds. */
const STRANGERS = { burst: 30, interval: 1000 } as const

export class Reporter {
  readonly #onEvent: ((event: GatewayEvent) => void) | undefined
  readonly #now: () => number
  /** By code: until when it is not told again, and how often it was not. */
  readonly #warned = new Map<string, { until: number; missed: number }>()
  readonly #strangers = new Debts(STRANGERS, 1)

  constructor(onEvent: ((event: GatewayEvent) => void) | undefined, now: () => number) {
    this.#onEvent = onEvent
    this.#now = now
  }

  tell(event: GatewayEvent): void {
    this.#onEvent?.(event)
  }

  /** One line for each code in {@link WARNING_INTERVAL}; the next says how many were left out. */
  warn(call: number, code: string, message: string): void {
    const now = this.#now()
    const last = this.#warned.get(code)
    if (last !== undefined && now < last.until) {
      last.missed++
      return
    }
    this.#warned.set(code, { until: now + WARNING_INTERVAL, missed: 0 })
    const missed = last === undefined || last.missed === 0 ? '' : ` (and ${last.missed} more like it)`
    this.tell({ type: 'warning', call, code, message: `${message}${missed}` })
  }

  /** May another client that has not signed in be told of? If not, a warning has said so. */
  mayTell(): boolean {
    const now = this.#now()
    if (this.#strangers.allows('', now)) {
      this.#strangers.charge('', now)
      return true
    }
    this.warn(0, 'STRANGERS_MANY', 'so many clients come that not all are told of before they sign in')
    return false
  }
}
