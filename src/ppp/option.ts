/**
 * Configuration options (RFC 1661 6): `type (1) | length (1, with these two) | data`.
 *
 * Walk a list that {@link optionsValid} has accepted with
 * `for (let p = o; p < o + len; p += u8(b, p + 1))`.
 */
import { setU8, u8 } from '../../stack/bytes.js'

export const OPTION_HEADER = 2

/** False if any length is below 2 or leads past the end: the whole packet is invalid then. */
export function optionsValid(b: Uint8Array, o: number, len: number): boolean {
  const end = o + len
  let p = o
  while (p < end) {
    if (p + OPTION_HEADER > end) return false
    const length = u8(b, p + 1)
    if (length < OPTION_HEADER || p + length > end) return false
    p += length
  }
  return true
}

/** A list of options being written. What does not fit is left out. */
export class OptionWriter {
  readonly bytes: Uint8Array
  length = 0

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
  }

  /** Appends one option; `data` has at most 253 octets. */
  put(type: number, data: Uint8Array): void {
    const length = OPTION_HEADER + data.length
    if (length > 255 || this.length + length > this.bytes.length) return
    setU8(this.bytes, this.length, type)
    setU8(this.bytes, this.length + 1, length)
    this.bytes.set(data, this.length + OPTION_HEADER)
    this.length += length
  }

  /** The same, unless there is an option of this type already: a request may repeat one, a Nak must not. */
  putOnce(type: number, data: Uint8Array): void {
    if (!this.has(type)) this.put(type, data)
  }

  /** Appends `len` octets of options as they are. */
  copy(b: Uint8Array, o: number, len: number): void {
    if (this.length + len > this.bytes.length) return
    this.bytes.set(b.subarray(o, o + len), this.length)
    this.length += len
  }

  /** Is there an option of this type already? */
  has(type: number): boolean {
    for (let p = 0; p < this.length; p += u8(this.bytes, p + 1)) if (u8(this.bytes, p) === type) return true
    return false
  }

  /** A copy of what was written. */
  take(): Uint8Array {
    return this.bytes.slice(0, this.length)
  }
}
