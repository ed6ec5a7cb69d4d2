import type { DnsEvent } from '../dns/events.js'
import type { Logger } from './logger.js'

/** Milliseconds in which failures of one kind are told once; all the others are at level debug. */
export const DNS_LINES = { interval: 10_000 } as const

const NOERROR = 0
const NXDOMAIN = 3
/** RFC 1035 4.1.1, RFC 6891 9. */
const RCODES: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  16: 'BADVERS',
}

/** Answers of our own DNS server as lines: failures now and then, all of them at level debug. */
export class DnsLog {
  readonly #logger: Logger
  readonly #now: () => number
  /** When a line was last written, by level and response code, of which there are few. */
  readonly #told = new Map<string, number>()

  /** `now`: milliseconds that never go back. */
  constructor(logger: Logger, now: () => number = () => performance.now()) {
    this.#logger = logger
    this.#now = now
  }

  readonly onEvent = (event: DnsEvent): void => {
    const { client, transport, name, queryType, rcode, reason, code } = event
    const answer = RCODES[rcode] ?? String(rcode)
    const fields = {
      client,
      transport,
      name,
      type: queryType,
      answer,
      ...(reason === undefined ? {} : { reason }),
    }
    const level = code === 'not-allowed' || code === 'name-refused' ? 'info' : 'warn'
    const kind = `${level} ${rcode}`
    const told = this.#told.get(kind) ?? Number.NEGATIVE_INFINITY
    const isFailure = rcode !== NOERROR && rcode !== NXDOMAIN
    if (!isFailure || this.#now() - told < DNS_LINES.interval) {
      this.#logger.debug(fields, 'DNS query')
      return
    }
    this.#told.set(kind, this.#now())
    this.#logger[level](fields, 'DNS query not answered')
  }
}
