/** Fragments made and put together by hand, without the stack's own code. */
import { be16, be32, concat, naiveSum } from './ip-packet.js'

/** A part of a datagram: where it begins, and how long it is, in octets of what is behind the IP header. */
export interface Cut {
  readonly at: number
  readonly length: number
  /** Instead of "everything but the end has more". */
  readonly more?: boolean
}

export interface CutOptions {
  readonly id?: number
  /** The ECN bits. */
  readonly ecn?: number
  /** IPv6: octets behind the IPv6 header that each fragment has in front of its fragment header. */
  readonly unfragmentable?: number
}

/** One fragment of a whole packet of ours (IPv4 without options), or what such a fragment would be. */
export function fragmentOf(packet: Uint8Array, cut: Cut, options: CutOptions = {}): Uint8Array {
  const { id = 0x1234, ecn = 0, unfragmentable = 0 } = options
  const four = (packet[0] as number) >>> 4 === 4
  const front = four ? 20 : 40 + unfragmentable
  const rest = packet.subarray(front)
  const more = cut.more ?? cut.at + cut.length < rest.length
  const data = rest.subarray(cut.at, cut.at + cut.length)
  const header = packet.slice(0, front)
  if (four) {
    header.set(be16(20 + data.length, id, (more ? 0x2000 : 0) | (cut.at >> 3)), 2)
    header[1] = ((header[1] as number) & 0xfc) | ecn
    header.fill(0, 10, 12)
    header.set(be16(65535 - naiveSum(header)), 10)
    return concat(header, data)
  }
  header[1] = ((header[1] as number) & 0xcf) | (ecn << 4)
  header.set(be16(unfragmentable + 8 + data.length), 4)
  const named = unfragmentable === 0 ? 6 : 40
  const next = header[named] as number
  header[named] = 44
  return concat(header, new Uint8Array([next, 0]), be16(cut.at | (more ? 1 : 0)), be32(id), data)
}

/** Cuts a whole packet into fragments with `size` octets of data each (a multiple of 8). */
export function cutAll(packet: Uint8Array, size: number, options: CutOptions = {}): Uint8Array[] {
  const front = (packet[0] as number) >>> 4 === 4 ? 20 : 40 + (options.unfragmentable ?? 0)
  const out: Uint8Array[] = []
  for (let at = 0; at < packet.length - front; at += size) {
    out.push(fragmentOf(packet, { at, length: Math.min(size, packet.length - front - at) }, options))
  }
  return out
}

/** A fragment that the stack sent, read by the book. */
export interface ReadFragment {
  readonly id: number
  readonly at: number
  readonly more: boolean
  readonly data: Uint8Array
}

/** Undefined if it is no fragment. Throws if a length, a checksum or a reserved bit is wrong. */
export function readFragment(b: Uint8Array): ReadFragment | undefined {
  const view = Buffer.from(b)
  if ((b[0] as number) >>> 4 === 4) {
    const word = view.readUInt16BE(6)
    if ((word & 0x3fff) === 0) return undefined
    if (b[0] !== 0x45 || naiveSum(b.subarray(0, 20)) !== 65535) throw new Error('IPv4 header')
    if (view.readUInt16BE(2) !== b.length) throw new Error('total length')
    if (word & 0xc000) throw new Error('DF in a fragment')
    return {
      id: view.readUInt16BE(4),
      at: (word & 0x1fff) * 8,
      more: (word & 0x2000) !== 0,
      data: b.slice(20),
    }
  }
  if (b[6] !== 44) return undefined
  if (view.readUInt16BE(4) + 40 !== b.length) throw new Error('payload length')
  if (b[41] !== 0 || (view.readUInt16BE(42) & 6) !== 0) throw new Error('reserved bits')
  const word = view.readUInt16BE(42)
  return { id: view.readUInt32BE(44), at: word & 0xfff8, more: (word & 1) !== 0, data: b.slice(48) }
}

/** Puts packets together in the order in which they were sent; those that are whole stay as they are. */
export function joinAll(packets: readonly Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = []
  let parts: { readonly first: Uint8Array; readonly id: number; data: Uint8Array } | undefined
  for (const p of packets) {
    const f = readFragment(p)
    if (f === undefined) {
      out.push(p)
      continue
    }
    if (f.more && f.data.length % 8 !== 0) throw new Error('not a multiple of 8')
    if (f.at === 0) parts = { first: p, id: f.id, data: new Uint8Array(0) }
    if (parts === undefined || parts.id !== f.id || parts.data.length !== f.at)
      throw new Error('out of order')
    parts.data = concat(parts.data, f.data)
    if (f.more) continue
    const four = (p[0] as number) >>> 4 === 4
    const header = parts.first.slice(0, four ? 20 : 40)
    if (four) {
      header.set(be16(20 + parts.data.length), 2)
      header.fill(0, 6, 8)
      header.fill(0, 10, 12)
      header.set(be16(65535 - naiveSum(header)), 10)
    } else {
      header.set(be16(parts.data.length), 4)
      header[6] = parts.first[40] as number
    }
    out.push(concat(header, parts.data))
    parts = undefined
  }
  if (parts !== undefined) throw new Error('the end is missing')
  return out
}
