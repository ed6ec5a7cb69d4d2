/**
 * Accounting records on their way (RFC 2866): sent at once, and again for some minutes while no server takes them. Those
 * of one session go in their order: a start that came behind its stop would leave a session that never ends.
 */
import { ACCOUNTING_ANSWERS, type RadiusClient } from './client.js'
import { PacketWriter } from './packet.js'
import type { Clock } from './port.js'
import { Attribute } from './reply.js'

export interface AccountingRecord {
  /** Acct-Session-Id. */
  readonly session: string
  /** An interim record is not repeated: the next one says the same and more. */
  readonly kind: 'start' | 'interim' | 'stop'
  /** Everything but the delay. */
  write(to: PacketWriter): void
}

/** Between two rounds through the servers. */
export const RETRY_INTERVAL = 30_000
/** Rounds, for about ten minutes with servers that do not answer. */
const MAX_ROUNDS = 15
/** Records that wait for servers; the oldest is lost. */
const MAX_BACKLOG = 1024

interface Entry {
  readonly record: AccountingRecord
  /** When it happened. */
  readonly at: number
  rounds: number
  /** Between two rounds. */
  resting: boolean
  cancel: () => unknown
}

export class Accounting {
  readonly #client: RadiusClient
  readonly #clock: Clock
  readonly #warn: (message: string) => void
  /** The oldest first. */
  readonly #entries = new Set<Entry>()
  #drained: (() => void)[] = []
  #closed = false

  constructor(client: RadiusClient, clock: Clock, warn: (message: string) => void) {
    this.#client = client
    this.#clock = clock
    this.#warn = warn
  }

  /** Records that no server has taken yet. */
  get pending(): number {
    return this.#entries.size
  }

  send(record: AccountingRecord): void {
    if (this.#closed) return
    const [oldest] = this.#entries
    if (oldest !== undefined && this.#entries.size >= MAX_BACKLOG) this.#lose(oldest, 'too many of them wait')
    const entry: Entry = { record, at: this.#clock.now(), rounds: 0, resting: false, cancel: () => {} }
    this.#entries.add(entry)
    for (const earlier of this.#of(record.session)) {
      // This one says all that those do.
      if (earlier !== entry && earlier.record.kind === 'interim') this.#done(earlier)
    }
    const [first = entry] = this.#of(record.session)
    if (first === entry) {
      if (entry.rounds === 0) this.#round(entry)
    } else if (first.resting) {
      // It may be the last chance for both.
      first.cancel()
      this.#round(first)
    }
  }

  /** The oldest first. */
  #of(session: string): Entry[] {
    return [...this.#entries].filter(({ record }) => record.session === session)
  }

  /** Resolves when all records are taken, or after `ms`. */
  drained(ms: number): Promise<void> {
    if (this.#entries.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const cancel = this.#clock.setTimer(resolve, ms)
      this.#drained.push(() => {
        cancel()
        resolve()
      })
    })
  }

  close(): void {
    this.#closed = true
    if (this.#entries.size > 0)
      this.#warn(`records that no server took in time are lost: ${this.#entries.size}`)
    for (const entry of [...this.#entries]) this.#done(entry)
  }

  #round(entry: Entry): void {
    entry.rounds += 1
    entry.resting = false
    entry.cancel = this.#client.ask(
      {
        answers: ACCOUNTING_ANSWERS,
        encode: (id, secret) => {
          const writer = new PacketWriter()
          const delay = Math.round((this.#clock.now() - entry.at) / 1000)
          writer.integer(Attribute.ACCT_DELAY_TIME, delay)
          entry.record.write(writer)
          const packet = writer.accountingRequest(id, secret)
          return { packet, authenticator: packet.subarray(4, 20) }
        },
      },
      (outcome) => {
        if (outcome.kind === 'reply') {
          this.#done(entry)
          return
        }
        if (entry.record.kind === 'interim' || entry.rounds >= MAX_ROUNDS) {
          this.#lose(entry, outcome.message)
          return
        }
        this.#warn(outcome.message)
        entry.resting = true
        entry.cancel = this.#clock.setTimer(() => this.#round(entry), RETRY_INTERVAL)
      },
    )
  }

  #lose(entry: Entry, why: string): void {
    this.#warn(`a record is lost: ${why}`)
    this.#done(entry)
  }

  #done(entry: Entry): void {
    entry.cancel()
    this.#entries.delete(entry)
    if (!this.#closed) {
      const [next] = this.#of(entry.record.session)
      if (next?.rounds === 0) this.#round(next)
    }
    if (this.#entries.size > 0) return
    const waiting = this.#drained
    this.#drained = []
    for (const drained of waiting) drained()
  }
}
