/**
 * Big-endian access to bytes: the one file that indexes without a check.
 *
 * Every header file proves the length of its header once (`check`), then reads and writes
 * through these. An offset outside the array reads as 0 and writes nothing; it never throws.
 */

export function u8(b: Uint8Array, o: number): number {
  return b[o] as number
}

export function u16(b: Uint8Array, o: number): number {
  return ((b[o] as number) << 8) | (b[o + 1] as number)
}

/** Unsigned 32-bit value as a non-negative number. */
export function u32(b: Uint8Array, o: number): number {
  return i32(b, o) >>> 0
}

/** The same 32 bits as a signed integer: stays a small integer in the engine, so the hot path uses it. */
export function i32(b: Uint8Array, o: number): number {
  return (
    ((b[o] as number) << 24) |
    ((b[o + 1] as number) << 16) |
    ((b[o + 2] as number) << 8) |
    (b[o + 3] as number)
  )
}

export function setU8(b: Uint8Array, o: number, v: number): void {
  b[o] = v
}

export function setU16(b: Uint8Array, o: number, v: number): void {
  b[o] = v >>> 8
  b[o + 1] = v
}

/** Takes signed and unsigned 32-bit values alike. */
export function setU32(b: Uint8Array, o: number, v: number): void {
  b[o] = v >>> 24
  b[o + 1] = v >>> 16
  b[o + 2] = v >>> 8
  b[o + 3] = v
}

/**
 * A copy of the octets from `from` up to `to`. Not `slice`: of a Node Buffer that is a view, and the
 * buffers that packets arrive in are used again.
 */
export function copyOf(b: Uint8Array, from: number, to: number): Uint8Array {
  return new Uint8Array(b.subarray(from, to))
}
