/**
 * What routers and DHCP servers say, made by hand and without the product's code, and a client of them in virtual
 * time.
 */
import { AddressClient, type AddressClientOptions } from '../../src/tunnel/address/client.js'
import type { IpAddress } from '../../stack/index.js'
import { address, be16, be32, concat, hex, icmp, ip, type ReadPacket, readIp, udp } from './ip-packet.js'
import { SeededRandom } from './random.js'

export const IDENTIFIER = hex('00112233 44556677')
export const OWN_LINK_LOCAL = 'fe80::11:2233:4455:6677'
export const ROUTER = 'fe80::1'
export const DUID = hex('0004 00112233445566778899aabbccddeeff')
export const IAID = 0x01020304
export const SERVER_DUID = hex('0003 0001 020000000001')

export const bytes = (...values: readonly number[]): Uint8Array => new Uint8Array(values)
const zeros = (n: number): Uint8Array => new Uint8Array(n)
export const ip16 = (text: string): Uint8Array => address(text).toBytes()

/** Domain names in DNS form. */
export const dnsForm = (...names: readonly string[]): Uint8Array =>
  concat(
    ...names.map((name) =>
      concat(...name.split('.').map((l) => concat(bytes(l.length), Buffer.from(l))), bytes(0)),
    ),
  )

export interface PrefixFields {
  readonly prefix: string
  readonly bits?: number
  readonly flags?: number
  readonly valid?: number
  readonly preferred?: number
}

export const prefixOption = (f: PrefixFields): Uint8Array =>
  concat(
    bytes(3, 4, f.bits ?? 64, f.flags ?? 0x40),
    be32(f.valid ?? 86400, f.preferred ?? f.valid ?? 14400, 0),
    ip16(f.prefix),
  )
export const mtuOption = (mtu: number): Uint8Array => concat(bytes(5, 1, 0, 0), be32(mtu))
export const rdnssOption = (lifetime: number, ...servers: readonly string[]): Uint8Array =>
  concat(bytes(25, 1 + 2 * servers.length, 0, 0), be32(lifetime), ...servers.map(ip16))
export const dnsslOption = (lifetime: number, ...names: readonly string[]): Uint8Array => {
  const list = dnsForm(...names)
  const padded = Math.ceil(list.length / 8) * 8
  return concat(bytes(31, 1 + padded / 8, 0, 0), be32(lifetime), list, zeros(padded - list.length))
}
export const routeOption = (prefix: string, bits: number, lifetime: number): Uint8Array =>
  concat(bytes(24, 3, bits, 0), be32(lifetime), ip16(prefix))

export interface AdvertisementFields {
  readonly flags?: number
  readonly lifetime?: number
  readonly src?: string
  readonly dst?: string
  readonly ttl?: number
  readonly code?: number
}

/** A router advertisement as a packet. */
export function advertisement(options: readonly Uint8Array[], f: AdvertisementFields = {}): Uint8Array {
  const lifetime = f.lifetime ?? 1800
  const fixed = concat(be32(0, 0), ...options)
  const rest = ((64 << 24) | ((f.flags ?? 0) << 16) | lifetime) >>> 0
  const ends = { src: f.src ?? ROUTER, dst: f.dst ?? 'ff02::1' }
  return icmp({ ...ends, type: 134, code: f.code ?? 0, rest }, fixed, { ttl: f.ttl ?? 255 })
}

export interface SolicitationFields {
  readonly src?: string
  readonly dst: string
  readonly target: string
  readonly ttl?: number
  readonly options?: Uint8Array
}

export function neighbourSolicitation(f: SolicitationFields): Uint8Array {
  const body = concat(ip16(f.target), f.options ?? zeros(0))
  return icmp({ src: f.src ?? ROUTER, dst: f.dst, type: 135 }, body, { ttl: f.ttl ?? 255 })
}

// ------------------------------------------------------------------ DHCPv6

export const option6 = (code: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const data = concat(...parts)
  return concat(be16(code, data.length), data)
}
export const iaAddress = (text: string, preferred: number, valid: number): Uint8Array =>
  option6(5, ip16(text), be32(preferred, valid))
export const iaNa = (t1: number, t2: number, ...options: readonly Uint8Array[]): Uint8Array =>
  option6(3, be32(IAID, t1, t2), ...options)
export const status6 = (code: number): Uint8Array => option6(13, be16(code))

/** A message of a client, by the book: type, transaction and options by code. */
export interface Message6 {
  readonly type: number
  readonly transaction: Uint8Array
  readonly options: ReadonlyMap<number, Uint8Array>
}

export function readMessage6(p: ReadPacket): Message6 {
  const b = p.payload.slice(8)
  const options = new Map<number, Uint8Array>()
  for (let o = 4; o < b.length; ) {
    const view = Buffer.from(b)
    const length = view.readUInt16BE(o + 2)
    options.set(view.readUInt16BE(o), b.slice(o + 4, o + 4 + length))
    o += 4 + length
    if (o > b.length) throw new Error('an option goes over the end')
  }
  return { type: b[0] as number, transaction: b.slice(1, 4), options }
}

/** An answer to a client's message, with our server identifier and its client identifier. */
export function answer6(
  to: ReadPacket,
  type: number,
  options: readonly Uint8Array[],
  serverDuid: Uint8Array = SERVER_DUID,
): Uint8Array {
  const m = readMessage6(to)
  const client = m.options.get(1) ?? zeros(0)
  const head = concat(bytes(type), m.transaction)
  const data = concat(head, option6(1, client), option6(2, serverDuid), ...options)
  return udp({ src: ROUTER, dst: to.src, sport: 547, dport: 546 }, data)
}

// ------------------------------------------------------------------ DHCP

export const option4 = (code: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const data = concat(...parts)
  return concat(bytes(code, data.length), data)
}
export const ACK = option4(53, bytes(5))
export const END = bytes(255)

/** An answer to a DHCPINFORM; `change` may spoil it. */
export function answer4(
  to: ReadPacket,
  options: readonly Uint8Array[],
  f: { readonly dst?: string; readonly change?: (b: Uint8Array) => void } = {},
): Uint8Array {
  const b = concat(to.payload.slice(8, 8 + 236), hex('63825363'), ...options)
  b[0] = 2
  f.change?.(b)
  return udp({ src: '10.0.0.1', dst: f.dst ?? to.src, sport: 67, dport: 68 }, b)
}

// ------------------------------------------------------------------ the client

export const isSolicitation = (p: ReadPacket): boolean => p.proto === 58 && p.payload[0] === 133
export const isDhcp6 = (p: ReadPacket): boolean => p.proto === 17 && p.family === 6
export const isDhcp4 = (p: ReadPacket): boolean => p.proto === 17 && p.family === 4

/** An {@link AddressClient} in virtual time. What it sends is read by the book, which checks all checksums. */
export class ClientWorld {
  readonly client: AddressClient
  now = 1000
  /** All that was sent, with its time. */
  readonly sent: { readonly at: number; readonly packet: ReadPacket }[] = []
  /** Called for each packet; what it gives back is the answer. */
  server: (p: ReadPacket, at: number) => Uint8Array | undefined = () => undefined

  constructor(seed = 1, options: Partial<AddressClientOptions> = {}) {
    const random = new SeededRandom(seed).fill
    this.client = new AddressClient({ random, duid: DUID, iaid: IAID, ...options })
  }

  ipv6(identifier: Uint8Array = IDENTIFIER): this {
    this.client.startIpv6(identifier, this.now)
    this.drain()
    return this
  }

  ipv4(text = '10.0.0.9'): this {
    this.client.startIpv4(address(text), this.now)
    this.drain()
    return this
  }

  /** In a poisoned buffer, at an odd place. @returns whether it was taken */
  input(packet: Uint8Array): boolean {
    const b = new Uint8Array(packet.length + 20).fill(0xa5)
    b.set(packet, 7)
    const taken = this.client.input(b, 7, packet.length, this.now)
    this.drain()
    return taken
  }

  /** Time goes on by `ms`, through all deadlines on the way. */
  pass(ms: number): this {
    const end = this.now + ms
    for (let i = 0; ; i++) {
      const next = this.client.nextTimeout()
      if (next > end) break
      if (i > 100_000) throw new Error('it never rests')
      this.now = Math.max(this.now, next)
      this.client.handleTimeout(this.now)
      this.drain()
    }
    this.now = end
    return this
  }

  release(): this {
    this.client.release(this.now)
    this.drain()
    return this
  }

  private drain(): void {
    for (let p = this.client.next(); p !== undefined; p = this.client.next()) {
      const packet = readIp(p)
      this.sent.push({ at: this.now, packet })
      const answer = this.server(packet, this.now)
      if (answer !== undefined) this.input(answer)
    }
  }

  times(which: (p: ReadPacket) => boolean): number[] {
    return this.sent.filter((s) => which(s.packet)).map((s) => s.at - 1000)
  }

  get addresses(): string[] {
    return this.client.learnt.addresses.map(String)
  }

  get dns(): string[] {
    return this.client.learnt.dns.map((a: IpAddress) => a.toString())
  }
}

/** A packet between those ends that is neither UDP nor ICMPv6. */
export const other = (): Uint8Array => ip({ src: ROUTER, dst: OWN_LINK_LOCAL, proto: 59 }, zeros(20))
