/**
 * 32-bit sequence numbers and timestamps (RFC 9293 3.4, RFC 7323 5.2).
 *
 * Kept as signed integers, so that they stay small integers in the engine; all comparison goes
 * through here, never through `<`.
 */
export type Seq = number & { readonly __seq: unique symbol }

export function seq(n: number): Seq {
  return (n | 0) as Seq
}

export function seqAdd(a: Seq, n: number): Seq {
  return ((a + n) | 0) as Seq
}

/** How far `a` lies behind `b`: positive if `a` is later. */
export function seqDiff(a: Seq, b: Seq): number {
  return (a - b) | 0
}

export function seqLt(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) < 0
}

export function seqLe(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) <= 0
}

export function seqGt(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) > 0
}

export function seqGe(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) >= 0
}

export function seqMax(a: Seq, b: Seq): Seq {
  return ((a - b) | 0) >= 0 ? a : b
}
