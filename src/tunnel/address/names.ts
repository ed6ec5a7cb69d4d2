/**
 * Lists of domain names as options hold them: plain (RFC 8106 5.2, RFC 8415 10) or compressed within the option
 * (RFC 3397 2). What a peer sends here is shown to people and put behind host names, so only letters, digits,
 * hyphens and underscores pass.
 */
import { u8 } from '../../../stack/bytes.js'

/** RFC 1035 2.3.4. */
const MAX_NAME = 253
const MAX_LABEL = 63
const MAX_LABELS = 127
/** Names kept of one list. */
export const MAX_NAMES = 32

const POINTER = 0xc0

/**
 * The names in `len` octets at `o`. A name that is not fit to be shown is left out; what is behind a broken one is
 * not read. @returns at most {@link MAX_NAMES} names, in lower case, without a dot at the end; undefined if the list is broken
 */
export function readNames(
  b: Uint8Array,
  o: number,
  len: number,
  form: 'plain' | 'compressed',
): string[] | undefined {
  const names: string[] = []
  const end = o + len
  let p = o
  while (p < end) {
    // Zero octets fill an option up (RFC 8106 5.2).
    if (form === 'plain' && u8(b, p) === 0) {
      p++
      continue
    }
    const found = readName(b, o, end, p, form)
    if (found === undefined) return undefined
    p = found.next
    const { name } = found
    if (name !== '' && isFit(name) && !names.includes(name) && names.length < MAX_NAMES) names.push(name)
  }
  return names
}

function readName(
  b: Uint8Array,
  from: number,
  end: number,
  at: number,
  form: 'plain' | 'compressed',
): { name: string; next: number } | undefined {
  const labels: string[] = []
  let p = at
  /** Behind the name in the list: known at the first pointer, or at its end. */
  let next = -1
  /** Pointers only go back, and each further than the one before, so that they end. */
  let limit = at
  for (;;) {
    if (p >= end) return undefined
    const length = u8(b, p)
    if (length === 0) {
      if (next < 0) next = p + 1
      return { name: labels.join('.'), next }
    }
    if (length >= POINTER) {
      if (form === 'plain' || p + 1 >= end) return undefined
      const target = from + (((length & 0x3f) << 8) | u8(b, p + 1))
      if (next < 0) next = p + 2
      if (target >= limit) return undefined
      limit = target
      p = target
      continue
    }
    if (length > MAX_LABEL || p + 1 + length > end || labels.length >= MAX_LABELS) return undefined
    let label = ''
    for (let i = 1; i <= length; i++) label += String.fromCharCode(u8(b, p + i))
    labels.push(label.toLowerCase())
    p += 1 + length
  }
}

/** One name as text (RFC 2132 3.17), perhaps with zeros behind it. @returns undefined if it is not fit to be used */
export function readTextName(b: Uint8Array, o: number, len: number): string | undefined {
  let text = ''
  for (let i = 0; i < len && u8(b, o + i) !== 0; i++) text += String.fromCharCode(u8(b, o + i))
  const name = text.replace(/\.$/, '').toLowerCase()
  return isFit(name) ? name : undefined
}

function isFit(name: string): boolean {
  return name.length <= MAX_NAME && /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/.test(name)
}
