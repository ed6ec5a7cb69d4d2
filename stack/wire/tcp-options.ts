/**
 * TCP options (RFC 9293 3.2, RFC 7323, RFC 2018).
 *
 * | kind | length | option |
 * |---|---|---|
 * | 0, 1 | - | end of list, no operation |
 * | 2 | 4 | maximum segment size |
 * | 3 | 3 | window scale |
 * | 4 | 2 | SACK permitted |
 * | 5 | 2 + 8n | SACK blocks |
 * | 8 | 10 | timestamps |
 * | 28 | 4 | user time-out (RFC 5482) |
 */
import { i32, setU8, setU16, setU32, u8, u16 } from '../bytes.js'

export const MAX_WINDOW_SHIFT = 14
/** Length of the timestamps option with its two NOPs. */
export const TIMESTAMPS_LENGTH = 12

/** What a segment's options said. One object is reused for all segments. */
export interface TcpOptions {
  /** 0 if absent. */
  mss: number
  /** -1 if absent; at most 14 (RFC 7323 2.3). */
  windowShift: number
  sackPermitted: boolean
  hasTimestamps: boolean
  tsVal: number
  tsEcr: number
  /** Edges of SACK blocks, left and right in turn. */
  readonly sack: Int32Array
  sackBlocks: number
  /** Granularity bit and value; 0 if absent. */
  userTimeout: number
}

export function newOptions(): TcpOptions {
  return {
    mss: 0,
    windowShift: -1,
    sackPermitted: false,
    hasTimestamps: false,
    tsVal: 0,
    tsEcr: 0,
    sack: new Int32Array(8),
    sackBlocks: 0,
    userTimeout: 0,
  }
}

/**
 * Reads the options between `o` and `end`. An impossible length ends the reading; what came before
 * counts (MUST-7).
 */
export function read(b: Uint8Array, o: number, end: number, out: TcpOptions): void {
  out.mss = 0
  out.windowShift = -1
  out.sackPermitted = false
  out.hasTimestamps = false
  out.sackBlocks = 0
  out.userTimeout = 0
  // Nearly every segment of an open connection has just this (RFC 7323 appendix A).
  if (end - o === TIMESTAMPS_LENGTH && i32(b, o) === 0x0101080a) {
    out.hasTimestamps = true
    out.tsVal = i32(b, o + 4)
    out.tsEcr = i32(b, o + 8)
    return
  }
  let p = o
  while (p < end) {
    const kind = u8(b, p)
    if (kind === 0) return
    if (kind === 1) {
      p++
      continue
    }
    if (p + 1 >= end) return
    const length = u8(b, p + 1)
    if (length < 2 || p + length > end) return
    if (kind === 2 && length === 4) {
      out.mss = u16(b, p + 2)
    } else if (kind === 3 && length === 3) {
      out.windowShift = Math.min(u8(b, p + 2), MAX_WINDOW_SHIFT)
    } else if (kind === 4 && length === 2) {
      out.sackPermitted = true
    } else if (kind === 8 && length === 10) {
      out.hasTimestamps = true
      out.tsVal = i32(b, p + 2)
      out.tsEcr = i32(b, p + 6)
    } else if (kind === 28 && length === 4) {
      out.userTimeout = u16(b, p + 2)
    } else if (kind === 5 && length >= 10 && (length - 2) % 8 === 0) {
      const n = Math.min((length - 2) >>> 3, 4)
      for (let i = 0; i < n * 2; i++) out.sack[i] = i32(b, p + 2 + i * 4)
      out.sackBlocks = n
    }
    p += length
  }
}

/** Octets of {@link emitSyn}. */
export function synLength(windowShift: number, sackPermitted: boolean, timestamps: boolean): number {
  return 4 + (timestamps ? 12 : sackPermitted ? 4 : 0) + (windowShift >= 0 ? 4 : 0)
}

/** Options of a SYN; `windowShift` -1 leaves the scale out. @returns octets written, a multiple of 4 */
export function emitSyn(
  b: Uint8Array,
  o: number,
  mss: number,
  windowShift: number,
  sackPermitted: boolean,
  timestamps: boolean,
  tsVal: number,
  tsEcr: number,
): number {
  let p = o
  setU16(b, p, 0x0204)
  setU16(b, p + 2, mss)
  p += 4
  if (sackPermitted) setU16(b, p, 0x0402)
  if (timestamps) {
    // The two octets in front of the timestamps are either SACK-permitted or two NOPs.
    if (!sackPermitted) setU16(b, p, 0x0101)
    setU16(b, p + 2, 0x080a)
    setU32(b, p + 4, tsVal)
    setU32(b, p + 8, tsEcr)
    p += 12
  } else if (sackPermitted) {
    setU16(b, p + 2, 0x0101)
    p += 4
  }
  if (windowShift >= 0) {
    setU16(b, p, 0x0103)
    setU8(b, p + 2, 3)
    setU8(b, p + 3, windowShift)
    p += 4
  }
  return p - o
}

/** NOP NOP timestamps. @returns 12 */
export function emitTimestamps(b: Uint8Array, o: number, tsVal: number, tsEcr: number): number {
  setU32(b, o, 0x0101080a)
  setU32(b, o + 4, tsVal)
  setU32(b, o + 8, tsEcr)
  return TIMESTAMPS_LENGTH
}

/** NOP NOP SACK with the first `blocks` blocks of `edges`. @returns 4 + 8 blocks */
export function emitSack(b: Uint8Array, o: number, edges: Int32Array, blocks: number): number {
  setU16(b, o, 0x0101)
  setU8(b, o + 2, 5)
  setU8(b, o + 3, 2 + 8 * blocks)
  for (let i = 0; i < blocks * 2; i++) setU32(b, o + 4 + i * 4, edges[i] as number)
  return 4 + 8 * blocks
}

/** RFC 5482 3. @returns 4 */
export function emitUserTimeout(b: Uint8Array, o: number, field: number): number {
  setU16(b, o, 0x1c04)
  setU16(b, o + 2, field)
  return 4
}
