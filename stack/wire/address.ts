import { i32, setU32, u8 } from '../bytes.js'
import { combine, sum32 } from '../checksum.js'

const MAPPED = 0xffff

/**
 * An IPv4 or IPv6 address as four 32-bit words (signed), IPv4 in its mapped form ::ffff:a.b.c.d
 * (RFC 4291 2.5.5.2), so that both families compare and hash alike. Immutable.
 */
export class IpAddress {
  /** Which of the two it is; the mapped form of an IPv4 address is 4 unless it was written as IPv6. */
  readonly family: 4 | 6
  /** First word, signed. */
  readonly w0: number
  /** Second word. */
  readonly w1: number
  /** Third word. */
  readonly w2: number
  /** Last word: all of an IPv4 address. */
  readonly w3: number

  private constructor(family: 4 | 6, w0: number, w1: number, w2: number, w3: number) {
    this.family = family
    this.w0 = w0 | 0
    this.w1 = w1 | 0
    this.w2 = w2 | 0
    this.w3 = w3 | 0
  }

  /** IPv4, as one word: 0x0a000001 is 10.0.0.1. */
  static v4(word: number): IpAddress {
    return new IpAddress(4, 0, 0, MAPPED, word)
  }

  /** IPv6, as four words, the first octets first. */
  static v6(w0: number, w1: number, w2: number, w3: number): IpAddress {
    return new IpAddress(6, w0, w1, w2, w3)
  }

  /** Either, by its words; those of IPv4 in the mapped form. */
  static words(family: 4 | 6, w0: number, w1: number, w2: number, w3: number): IpAddress {
    return new IpAddress(family, w0, w1, w2, w3)
  }

  /** 4 or 16 octets; undefined for another length. */
  static fromBytes(b: Uint8Array): IpAddress | undefined {
    if (b.length === 4) return IpAddress.v4(i32(b, 0))
    if (b.length === 16) return IpAddress.v6(i32(b, 0), i32(b, 4), i32(b, 8), i32(b, 12))
    return undefined
  }

  /**
   * Dotted quads of four decimal parts, or RFC 4291 2.2 text without zone; nothing else (no octal, no
   * short forms). Undefined if it is neither.
   */
  static parse(text: string): IpAddress | undefined {
    return text.includes(':') ? parseV6(text) : parseV4(text)
  }

  /** 4 or 16 octets, as on the wire. */
  toBytes(): Uint8Array {
    const b = new Uint8Array(this.family === 4 ? 4 : 16)
    if (this.family === 4) {
      setU32(b, 0, this.w3)
    } else {
      setU32(b, 0, this.w0)
      setU32(b, 4, this.w1)
      setU32(b, 8, this.w2)
      setU32(b, 12, this.w3)
    }
    return b
  }

  /** Same family, same address. */
  equals(other: IpAddress): boolean {
    return (
      this.family === other.family &&
      this.w0 === other.w0 &&
      this.w1 === other.w1 &&
      this.w2 === other.w2 &&
      this.w3 === other.w3
    )
  }

  /** Folded sum of the address's words, for pseudo-headers. */
  get sum(): number {
    return this.family === 4
      ? sum32(this.w3)
      : combine(combine(sum32(this.w0), sum32(this.w1)), combine(sum32(this.w2), sum32(this.w3)))
  }

  /** 0.0.0.0/8 or ::. */
  get isUnspecified(): boolean {
    return this.family === 4
      ? this.w3 >>> 24 === 0
      : this.w0 === 0 && this.w1 === 0 && this.w2 === 0 && this.w3 === 0
  }

  /** 224.0.0.0/4 or ff00::/8. */
  get isMulticast(): boolean {
    return this.family === 4 ? this.w3 >>> 28 === 14 : this.w0 >>> 24 === 0xff
  }

  /** 127.0.0.0/8 or ::1. */
  get isLoopback(): boolean {
    return this.family === 4
      ? this.w3 >>> 24 === 127
      : this.w0 === 0 && this.w1 === 0 && this.w2 === 0 && this.w3 === 1
  }

  /** 169.254.0.0/16 or fe80::/10. */
  get isLinkLocal(): boolean {
    return this.family === 4 ? this.w3 >>> 16 === 0xa9fe : this.w0 >>> 22 === 0x3fa
  }

  /** ::ffff:0:0/96 written as IPv6: a notation for programs, never an address on a wire (RFC 4291 2.5.5.2). */
  get isMapped(): boolean {
    return this.family === 6 && isMapped(this.w0, this.w1, this.w2)
  }

  /** Can be the other end of a connection (MUST-46, MUST-57, MUST-63 of RFC 9293). */
  get isUnicast(): boolean {
    return (
      !this.isUnspecified && !this.isMulticast && !this.isMapped && !(this.family === 4 && this.w3 === -1)
    )
  }

  /** Dotted quads, or RFC 5952 text. */
  toString(): string {
    if (this.family === 4) return formatV4(this.w3)
    // RFC 5952 5: the one prefix that says by itself that an IPv4 address follows.
    if (this.isMapped) return `::ffff:${formatV4(this.w3)}`
    return formatV6(this.w0, this.w1, this.w2, this.w3)
  }
}

function parseV4(text: string): IpAddress | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let word = 0
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return undefined
    const n = Number(part)
    if (n > 255) return undefined
    word = (word << 8) | n
  }
  return IpAddress.v4(word)
}

function parseV6(text: string): IpAddress | undefined {
  if (text.length > 45) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = groupsOf(halves[0] ?? '', halves.length === 1)
  const tail = halves.length === 2 ? groupsOf(halves[1] ?? '', true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail]
  const word = (i: number): number => ((groups[i] ?? 0) << 16) | (groups[i + 1] ?? 0)
  return IpAddress.v6(word(0), word(2), word(4), word(6))
}

/** 16-bit groups of one side of `::`; the last may be a dotted quad if the address ends there. */
function groupsOf(text: string, last: boolean): number[] | undefined {
  if (text === '') return []
  const out: number[] = []
  const parts = text.split(':')
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i] ?? ''
    if (last && i === parts.length - 1 && part.includes('.')) {
      const quad = parseV4(part)
      if (quad === undefined) return undefined
      out.push(quad.w3 >>> 16, quad.w3 & 0xffff)
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined
      out.push(Number.parseInt(part, 16))
    }
  }
  return out.length <= 8 ? out : undefined
}

function formatV4(w: number): string {
  return `${w >>> 24}.${(w >>> 16) & 255}.${(w >>> 8) & 255}.${w & 255}`
}

function formatV6(w0: number, w1: number, w2: number, w3: number): string {
  const groups = [w0, w1, w2, w3].flatMap((w) => [w >>> 16, w & 0xffff])
  // RFC 5952 4.2: the longest run of two or more zero groups, the first of equals.
  let best = -1
  let bestLength = 1
  for (let i = 0; i < 8; i++) {
    let n = 0
    while (i + n < 8 && groups[i + n] === 0) n++
    if (n > bestLength) {
      best = i
      bestLength = n
    }
    if (n > 0) i += n
  }
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((g) => g.toString(16))
      .join(':')
  if (best < 0) return hex(0, 8)
  return `${hex(0, best)}::${hex(best + bestLength, 8)}`
}

function isMapped(w0: number, w1: number, w2: number): boolean {
  return w0 === 0 && w1 === 0 && w2 === MAPPED
}

/**
 * True if the words are those of a multicast, broadcast, unspecified, loopback or (in an IPv6 packet)
 * IPv4-mapped source: never a legitimate sender. A mapped address let in would pass for the IPv4 one.
 */
export function isBadSource(family: 4 | 6, w0: number, w1: number, w2: number, w3: number): boolean {
  if (family === 4) {
    const top = w3 >>> 24
    return top === 0 || top === 127 || top >= 224
  }
  return (
    w0 >>> 24 === 0xff || (w0 === 0 && w1 === 0 && w2 === 0 && (w3 === 0 || w3 === 1)) || isMapped(w0, w1, w2)
  )
}

/** Reads the family of an IP packet from its first octet; 0 if it is neither. */
export function ipVersion(b: Uint8Array, o: number): number {
  return u8(b, o) >>> 4
}
