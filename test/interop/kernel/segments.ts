/** Just enough of a reader of packets for a witness on the wire, of code of its own on purpose. */

export interface Seen {
  readonly syn: boolean
  readonly fin: boolean
  readonly rst: boolean
  readonly ece: boolean
  readonly cwr: boolean
  /** As it stands there, before scaling. */
  readonly window: number
  readonly sackBlocks: number
  readonly payload: number
}

/** The TCP segment in an IP packet without extension headers, or undefined. */
export function tcpOf(p: Buffer): Seen | undefined {
  const six = p.readUInt8(0) >> 4 === 6
  const at = six ? 40 : (p.readUInt8(0) & 15) * 4
  if (p.readUInt8(six ? 6 : 9) !== 6) return undefined
  const header = (p.readUInt8(at + 12) >> 4) * 4
  const flags = p.readUInt8(at + 13)
  return {
    syn: (flags & 2) !== 0,
    fin: (flags & 1) !== 0,
    rst: (flags & 4) !== 0,
    ece: (flags & 0x40) !== 0,
    cwr: (flags & 0x80) !== 0,
    window: p.readUInt16BE(at + 14),
    sackBlocks: sackBlocks(p, at + 20, at + header),
    payload: p.length - at - header,
  }
}

function sackBlocks(p: Buffer, from: number, to: number): number {
  for (let o = from; o + 1 < to; ) {
    const kind = p.readUInt8(o)
    if (kind === 0) break
    if (kind === 1) {
      o++
      continue
    }
    const length = p.readUInt8(o + 1)
    if (length < 2) break
    if (kind === 5) return (length - 2) / 8
    o += length
  }
  return 0
}

/** The ECN field: 0 not capable, 1 and 2 capable, 3 congestion experienced. */
export function ecnOf(p: Buffer): number {
  return p.readUInt8(0) >> 4 === 6 ? (p.readUInt8(1) >> 4) & 3 : p.readUInt8(1) & 3
}

/** Does what a congested router does: sets the field to 3, and the IPv4 header's checksum right. */
export function markCongestion(p: Buffer): void {
  if (p.readUInt8(0) >> 4 === 6) {
    p.writeUInt8(p.readUInt8(1) | 0x30, 1)
    return
  }
  p.writeUInt8(p.readUInt8(1) | 3, 1)
  p.writeUInt16BE(0, 10)
  let sum = 0
  const header = (p.readUInt8(0) & 15) * 4
  for (let i = 0; i < header; i += 2) sum += p.readUInt16BE(i)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  p.writeUInt16BE(~sum & 0xffff, 10)
}
