import { Rcode } from './message.js'
import { age, type Layout } from './wire.js'

interface Entry {
  readonly message: Buffer
  /** Milliseconds. */
  readonly stored: number
  readonly expires: number
}

/** Whole responses for as long as their records say, bounded in number and octets. Time is an argument, in ms. */
export class RawCache {
  readonly #entries = new Map<string, Entry>()
  #octets = 0

  get size(): number {
    return this.#entries.size
  }

  /** With the TTLs that are left. */
  get(key: string, now: number): Buffer | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#delete(key, entry)
    if (entry.expires <= now) return undefined
    this.#add(key, entry)
    const message = Buffer.from(entry.message)
    age(message, Math.floor((now - entry.stored) / 1000))
    return message
  }

  /** `layout` is that of `message`, which has no OPT record and must not be changed afterwards. */
  set(key: string, message: Buffer, layout: Layout, now: number): void {
    const isAnswer = layout.rcode === Rcode.NOERROR || layout.rcode === Rcode.NXDOMAIN
    if (!isAnswer || !(layout.ttl !== undefined && layout.ttl > 0) || message.length > MAX_MESSAGE) return
    const isAbsence = message.readUInt16BE(6) === 0 || layout.rcode === Rcode.NXDOMAIN
    // RFC 2308 5: without an SOA record nothing says how long nothing holds.
    if (isAbsence && !layout.soa) return
    const seconds = Math.min(layout.ttl, isAbsence ? MAX_NEGATIVE_TTL : MAX_TTL)
    const old = this.#entries.get(key)
    if (old !== undefined) this.#delete(key, old)
    this.#add(key, { message, stored: now, expires: now + seconds * 1000 })
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= MAX_ENTRIES && this.#octets <= MAX_OCTETS) break
      this.#delete(oldest, entry)
    }
  }

  clear(): void {
    this.#entries.clear()
    this.#octets = 0
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry)
    this.#octets += entry.message.length
  }

  #delete(key: string, entry: Entry): void {
    this.#entries.delete(key)
    this.#octets -= entry.message.length
  }
}

// Ours: counts, octets, seconds.
const MAX_ENTRIES = 1024
const MAX_OCTETS = 2_000_000
const MAX_MESSAGE = 16_384
const MAX_TTL = 86_400
const MAX_NEGATIVE_TTL = 10_800
