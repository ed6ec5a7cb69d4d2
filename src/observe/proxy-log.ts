import type { ProxyEvent } from '../proxy/events.js'
import { type Logger, logProxyEvent } from './logger.js'

/** Lines of one kind that are written at once, and for long: one in so many milliseconds. */
export const PROXY_LINES = { burst: 20, interval: 3000 } as const

interface Kind {
  /** Lines that may be written; grows with time up to the burst. */
  left: number
  at: number
  missed: number
}

/**
 * Events of the proxies as lines, one for each failure and not more than a person can read: whatever runs on this
 * machine can ask for what fails, as often as it likes. What is left out is counted in the next line of its kind
 * (and written all the same at level debug).
 */
export class ProxyLog {
  readonly #logger: Logger
  readonly #now: () => number
  /** By type and code or reason, of which there are few. */
  readonly #kinds = new Map<string, Kind>()

  /** `now`: milliseconds that never go back. */
  constructor(logger: Logger, now: () => number = () => performance.now()) {
    this.#logger = logger
    this.#now = now
  }

  readonly onEvent = (event: ProxyEvent): void => {
    if (event.type !== 'failed' && event.type !== 'rejected' && event.type !== 'dropped') {
      logProxyEvent(this.#logger, event)
      return
    }
    const kind = this.#kind(`${event.type} ${event.type === 'failed' ? event.code : event.reason}`)
    if (kind.left < 1) {
      kind.missed++
      logProxyEvent(this.#logger, event, { quiet: true })
      return
    }
    kind.left--
    const { missed } = kind
    kind.missed = 0
    logProxyEvent(this.#logger, event, { missed })
  }

  #kind(name: string): Kind {
    const now = this.#now()
    const { burst, interval } = PROXY_LINES
    let kind = this.#kinds.get(name)
    if (kind === undefined) {
      kind = { left: burst, at: now, missed: 0 }
      this.#kinds.set(name, kind)
    }
    kind.left = Math.min(burst, kind.left + (now - kind.at) / interval)
    kind.at = now
    return kind
  }
}
