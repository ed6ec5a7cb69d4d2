/** The four ways in which every reader of a stream is fed (see CONTRIBUTING): a chunk each call. */
export function ways(bytes: Uint8Array): readonly { readonly name: string; readonly chunks: Uint8Array[] }[] {
  const shifted = new Uint8Array(bytes.length + 7).fill(0xa5)
  shifted.set(bytes, 5)
  return [
    { name: 'whole', chunks: [bytes] },
    { name: 'octet by octet', chunks: [...bytes].map((_, i) => bytes.subarray(i, i + 1)) },
    { name: 'at an offset', chunks: [shifted.subarray(5, 5 + bytes.length)] },
    { name: 'in thirds', chunks: cut(bytes, Math.ceil(bytes.length / 3)) },
  ]
}

export function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const out: Uint8Array[] = []
  for (let i = 0; i < bytes.length; i += Math.max(1, size)) out.push(bytes.subarray(i, i + Math.max(1, size)))
  return out
}
