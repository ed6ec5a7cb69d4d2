/**
 * IP packets made and read by hand, in the plainest way and without the stack's own code: what the
 * stack writes is judged by this, and what this writes the stack must take.
 */
import { IpAddress } from '../../stack/index.js'

export const PROTO = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const

export function address(text: string): IpAddress {
  const a = IpAddress.parse(text)
  if (a === undefined) throw new Error(`not an address: ${text}`)
  return a
}

export function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replace(/\s+/g, ''), 'hex'))
}

export function toHex(b: Uint8Array): string {
  return Buffer.from(b).toString('hex')
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

export function poisoned(n: number): Uint8Array {
  return new Uint8Array(n).fill(0xa5)
}

/** RFC 1071 by the book: one octet pair at a time, the carry added at once. */
export function naiveSum(b: Uint8Array): number {
  let s = 0
  for (let i = 0; i < b.length; i += 2) {
    s += (b[i] as number) * 256 + (b[i + 1] ?? 0)
    if (s > 65535) s -= 65535
  }
  return s
}

function putChecksum(b: Uint8Array, at: number, covered: Uint8Array, zeroIsOnes: boolean): void {
  const value = 65535 - naiveSum(covered)
  const field = value === 0 && zeroIsOnes ? 65535 : value
  b[at] = field >>> 8
  b[at + 1] = field & 255
}

export function be16(...values: readonly number[]): Uint8Array {
  return new Uint8Array(values.flatMap((v) => [(v >>> 8) & 255, v & 255]))
}

export function be32(...values: readonly number[]): Uint8Array {
  return be16(...values.flatMap((v) => [v >>> 16, v & 0xffff]))
}

export function pseudoHeader(src: IpAddress, dst: IpAddress, proto: number, length: number): Uint8Array {
  return src.family === 4
    ? concat(src.toBytes(), dst.toBytes(), be16(proto, length))
    : concat(src.toBytes(), dst.toBytes(), be32(length, proto))
}

export interface IpFields {
  readonly src: string
  readonly dst: string
  readonly proto: number
  readonly ttl?: number
  readonly id?: number
  /** Flags and fragment offset, as the field is. */
  readonly fragment?: number
  readonly options?: Uint8Array
  /** IPv6 extension headers, their chain set right by {@link extensions}; `first` is what the IPv6 header says. */
  readonly ext?: { readonly first: number; readonly bytes: Uint8Array }
}

/** A whole IP packet around `payload`, whose own checksum is already right. */
export function ip(f: IpFields, payload: Uint8Array): Uint8Array {
  const src = address(f.src)
  const dst = address(f.dst)
  if (src.family === 4) {
    const options = f.options ?? new Uint8Array(0)
    const header = concat(
      new Uint8Array([0x40 | (5 + options.length / 4), 0]),
      be16(20 + options.length + payload.length, f.id ?? 0, f.fragment ?? 0x4000),
      new Uint8Array([f.ttl ?? 64, f.proto]),
      be16(0),
      src.toBytes(),
      dst.toBytes(),
      options,
    )
    putChecksum(header, 10, header, false)
    return concat(header, payload)
  }
  const ext = f.ext?.bytes ?? new Uint8Array(0)
  return concat(
    be32(0x60000000),
    be16(ext.length + payload.length),
    new Uint8Array([f.ext?.first ?? f.proto, f.ttl ?? 64]),
    src.toBytes(),
    dst.toBytes(),
    ext,
    payload,
  )
}

/** An extension header of kind `kind`: its octets behind the next-header octet, length in place. */
export interface Extension {
  readonly kind: number
  readonly bytes: Uint8Array
}

/** Chains extension headers in front of `upper`. */
export function extensions(list: readonly Extension[], upper: number): { first: number; bytes: Uint8Array } {
  const parts = list.map((e, i) => concat(new Uint8Array([list[i + 1]?.kind ?? upper]), e.bytes))
  return { first: list[0]?.kind ?? upper, bytes: concat(...parts) }
}

/** Options of a hop-by-hop or destination header, padded with Pad1 to a multiple of 8. */
export function optionsHeader(kind: number, options: Uint8Array): Extension {
  const length = Math.ceil((2 + options.length) / 8) * 8
  const bytes = new Uint8Array(length - 1)
  bytes[0] = length / 8 - 1
  bytes.set(options, 1)
  return { kind, bytes }
}

export interface Ends {
  readonly src: string
  readonly dst: string
  readonly sport: number
  readonly dport: number
}

export type IpExtra = Partial<Omit<IpFields, 'src' | 'dst' | 'proto'>>

export function udp(e: Ends, data: Uint8Array, extra: IpExtra & { readonly sum?: number } = {}): Uint8Array {
  const src = address(e.src)
  const dst = address(e.dst)
  const datagram = concat(be16(e.sport, e.dport, 8 + data.length, 0), data)
  putChecksum(datagram, 6, concat(pseudoHeader(src, dst, 17, datagram.length), datagram), true)
  if (extra.sum !== undefined) datagram.set(be16(extra.sum), 6)
  return ip({ src: e.src, dst: e.dst, proto: PROTO.udp, ...extra }, datagram)
}

export interface TcpFields {
  readonly seq?: number
  readonly ack?: number
  readonly flags: number
  readonly window?: number
  readonly options?: Uint8Array
}

export function tcp(
  e: Ends,
  f: TcpFields,
  data: Uint8Array = new Uint8Array(0),
  extra: IpExtra = {},
): Uint8Array {
  const options = f.options ?? new Uint8Array(0)
  const segment = concat(
    be16(e.sport, e.dport),
    be32(f.seq ?? 0, f.ack ?? 0),
    new Uint8Array([((20 + options.length) / 4) << 4, f.flags]),
    be16(f.window ?? 65535, 0, 0),
    options,
    data,
  )
  const pseudo = pseudoHeader(address(e.src), address(e.dst), 6, segment.length)
  putChecksum(segment, 16, concat(pseudo, segment), false)
  return ip({ src: e.src, dst: e.dst, proto: PROTO.tcp, ...extra }, segment)
}

export interface IcmpFields {
  readonly src: string
  readonly dst: string
  readonly type: number
  readonly code?: number
  /** The 32 bits behind the checksum. */
  readonly rest?: number
}

export function icmp(f: IcmpFields, body: Uint8Array, extra: IpExtra = {}): Uint8Array {
  const src = address(f.src)
  const dst = address(f.dst)
  const message = concat(new Uint8Array([f.type, f.code ?? 0]), be16(0), be32(f.rest ?? 0), body)
  const pseudo = src.family === 6 ? pseudoHeader(src, dst, PROTO.icmp6, message.length) : new Uint8Array(0)
  putChecksum(message, 2, concat(pseudo, message), false)
  return ip({ src: f.src, dst: f.dst, proto: src.family === 4 ? PROTO.icmp : PROTO.icmp6, ...extra }, message)
}

/** A packet that the stack made, read by the book. */
export interface ReadPacket {
  readonly family: 4 | 6
  readonly src: string
  readonly dst: string
  readonly proto: number
  readonly ttl: number
  /** Behind the IP header. */
  readonly payload: Uint8Array
}

/** Reads a packet without extension headers or options. Throws if a length or checksum is wrong. */
export function readIp(b: Uint8Array): ReadPacket {
  const family = (b[0] as number) >>> 4
  if (family === 4) {
    if (b[0] !== 0x45) throw new Error('IHL')
    if (naiveSum(b.subarray(0, 20)) !== 65535) throw new Error('IPv4 header checksum')
    if (Buffer.from(b).readUInt16BE(2) !== b.length) throw new Error('total length')
  } else if (family === 6) {
    if (Buffer.from(b).readUInt32BE(0) !== 0x60000000) throw new Error('IPv6 first word')
    if (Buffer.from(b).readUInt16BE(4) + 40 !== b.length) throw new Error('payload length')
  } else {
    throw new Error('version')
  }
  const four = family === 4
  const src = IpAddress.fromBytes(b.subarray(four ? 12 : 8, four ? 16 : 24))
  const dst = IpAddress.fromBytes(b.subarray(four ? 16 : 24, four ? 20 : 40))
  if (src === undefined || dst === undefined) throw new Error('addresses')
  const proto = (four ? b[9] : b[6]) as number
  const payload = b.slice(four ? 20 : 40)
  const pseudo = proto === PROTO.icmp ? new Uint8Array(0) : pseudoHeader(src, dst, proto, payload.length)
  const covered = concat(pseudo, payload)
  if (naiveSum(covered) !== 65535) throw new Error(`checksum of protocol ${proto}: ${toHex(b)}`)
  const ttl = (four ? b[8] : b[7]) as number
  return { family: four ? 4 : 6, src: src.toString(), dst: dst.toString(), proto, ttl, payload }
}

/**
 * Sets every checksum of a packet right as far as its layout lets one find them, so that mutated packets
 * get past the door (without this a fuzzer only ever tests the checksum).
 */
export function fixChecksums(b: Uint8Array): void {
  const family = (b[0] ?? 0) >>> 4
  let at: number
  let end: number
  let proto: number
  let src: Uint8Array
  let dst: Uint8Array
  if (family === 4) {
    at = ((b[0] ?? 0) & 15) * 4
    if (at < 20 || at > b.length) return
    b.fill(0, 10, 12)
    putChecksum(b, 10, b.subarray(0, at), false)
    end = Math.min(b.length, (b[2] as number) * 256 + (b[3] as number))
    proto = b[9] as number
    src = b.subarray(12, 16)
    dst = b.subarray(16, 20)
  } else if (family === 6 && b.length >= 40) {
    at = 40
    end = Math.min(b.length, 40 + (b[4] as number) * 256 + (b[5] as number))
    proto = b[6] as number
    src = b.subarray(8, 24)
    dst = b.subarray(24, 40)
    while ((proto === 0 || proto === 43 || proto === 60) && at + 8 <= end) {
      proto = b[at] as number
      at += ((b[at + 1] as number) + 1) * 8
    }
  } else {
    return
  }
  const field = proto === PROTO.tcp ? 16 : proto === PROTO.udp ? 6 : 2
  const known = proto === PROTO.tcp || proto === PROTO.udp || proto === PROTO.icmp || proto === PROTO.icmp6
  if (!known || at + field + 2 > end) return
  const transport = b.subarray(at, end)
  let covered = transport
  if (proto === PROTO.udp && transport.length >= 8) {
    const said = (transport[4] as number) * 256 + (transport[5] as number)
    if (said >= 8 && said <= transport.length) covered = transport.subarray(0, said)
  }
  transport.fill(0, field, field + 2)
  const pseudo =
    proto === PROTO.icmp
      ? new Uint8Array(0)
      : family === 4
        ? concat(src, dst, be16(proto, covered.length))
        : concat(src, dst, be32(covered.length, proto))
  putChecksum(transport, field, concat(pseudo, covered), proto === PROTO.udp)
}
