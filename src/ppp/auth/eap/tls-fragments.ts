/**
 * How EAP-TLS (RFC 5216 2.1.5 and 3.1) and PEAP cut flights of TLS into packets and put them together again.
 *
 * ```
 * flags (1) | TLS message length (4, only with L) | TLS data
 * ```
 *
 * PEAP keeps its version in the lowest bits: a server begins with the highest that it knows, and our 0, which all know,
 * is taken up by it. A flight that fits needs neither L nor M, but may have L. Each fragment with M is answered by an
 * empty packet, which asks for the next one.
 */
import { setU8, setU32, u8, u32 } from '../../../../stack/bytes.js'

export const TlsFlag = {
  /** Length included. */
  L: 0x80,
  /** More fragments. */
  M: 0x40,
  /** Start. */
  S: 0x20,
} as const

/** The largest flight taken. */
export const MAX_FLIGHT = 65_536

const NONE = new Uint8Array(0)

/**
 * - `start`: the first Request
 * - `empty`: asks for our next fragment; or, if there is none, stands for a flight of nothing
 * - `more`: to be answered by an empty packet
 * - `whole`: {@link FlightReader.take} has the flight
 * - `bad`: {@link FlightReader.problem} says what is wrong; nothing can follow
 */
export type FragmentKind = 'start' | 'empty' | 'more' | 'whole' | 'bad'

/** Puts flights together. */
export class FlightReader {
  problem = ''
  #buffer: Uint8Array = NONE
  #size = 0
  /** As announced by L; -1: not. */
  #total = -1

  /** Type data of one packet, which must not be a repetition. */
  input(b: Uint8Array, off: number, len: number): FragmentKind {
    if (len < 1) return this.#bad('a packet without its flags')
    const flags = u8(b, off)
    if ((flags & TlsFlag.S) !== 0) return this.#size > 0 ? this.#bad('a start in the middle') : 'start'
    const withLength = (flags & TlsFlag.L) !== 0
    if (withLength && len < 5) return this.#bad('a packet shorter than its length field')
    const at = off + (withLength ? 5 : 1)
    const size = off + len - at
    const more = (flags & TlsFlag.M) !== 0
    if (withLength) {
      const total = u32(b, off + 1)
      if (total > MAX_FLIGHT) return this.#bad(`a flight of ${total} octets is announced`)
      // On any fragment, as FreeRADIUS has it; but it must not change.
      if (this.#total >= 0 && total !== this.#total) return this.#bad('the length of a flight changes')
      if (total < this.#size) return this.#bad('a flight has become longer than announced')
      this.#total = total
    }
    if (size === 0) {
      if (more || this.#size > 0) return this.#bad('a fragment without data')
      this.#total = -1
      return 'empty'
    }
    const end = this.#size + size
    if (end > MAX_FLIGHT) return this.#bad(`a flight of more than ${MAX_FLIGHT} octets`)
    if (this.#total >= 0 && end > this.#total) return this.#bad('a flight is longer than announced')
    this.#grow(end)
    this.#buffer.set(b.subarray(at, at + size), this.#size)
    this.#size = end
    if (more) return 'more'
    if (this.#total >= 0 && end !== this.#total) return this.#bad('a flight is shorter than announced')
    return 'whole'
  }

  /** The flight that came, once. */
  take(): Uint8Array {
    const flight = this.#buffer.subarray(0, this.#size)
    this.#buffer = NONE
    this.#size = 0
    this.#total = -1
    return flight
  }

  /** Some of a flight has come, and not all. */
  get midway(): boolean {
    return this.#size > 0
  }

  /** By what came, never by what was announced. */
  #grow(end: number): void {
    if (end <= this.#buffer.length) return
    const bigger = new Uint8Array(Math.min(MAX_FLIGHT, Math.max(end, 2 * this.#buffer.length)))
    bigger.set(this.#buffer.subarray(0, this.#size))
    this.#buffer = bigger
  }

  #bad(what: string): 'bad' {
    this.problem = what
    this.#buffer = NONE
    this.#size = 0
    this.#total = -1
    return 'bad'
  }
}

/** Cuts a flight into fragments. */
export class FlightWriter {
  #flight: Uint8Array = NONE
  #at = 0
  #first = false
  #announced = false

  /**
   * Takes a whole flight, empty for an acknowledgement. The one before it must be through.
   * @param announced - its length is told, also if it fits into one packet
   */
  load(flight: Uint8Array, announced = false): void {
    this.#flight = flight
    this.#announced = announced && flight.length > 0
    this.#at = 0
    this.#first = true
  }

  /** Fragments are left to be asked for. */
  get waiting(): boolean {
    return this.#at < this.#flight.length
  }

  /** Type data of the next packet, of at most `limit` octets, itself at least 6. */
  next(limit: number): Uint8Array {
    const left = this.#flight.length - this.#at
    const bare = this.#first && !this.#announced && left < limit
    const size = bare ? left : Math.min(left, limit - 5)
    const more = size < left
    const announce = this.#first && (more || this.#announced)
    const head = announce ? 5 : 1
    const data = new Uint8Array(head + size)
    setU8(data, 0, (announce ? TlsFlag.L : 0) | (more ? TlsFlag.M : 0))
    if (announce) setU32(data, 1, this.#flight.length)
    data.set(this.#flight.subarray(this.#at, this.#at + size), head)
    this.#at += size
    this.#first = false
    if (!more) this.load(NONE)
    return data
  }
}
