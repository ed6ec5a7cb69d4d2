/**
 * Messages of neighbour discovery (RFC 4861 4), from their type on. On PPP there are no link-layer addresses: such
 * options are neither sent nor read (RFC 5072 4.1, 5).
 */
import { copyOf, setU8, u8, u16, u32 } from '../../../stack/bytes.js'
import { IpAddress } from '../../../stack/index.js'
import {
  ICMPV6_HEADER,
  V6_NEIGHBOUR_ADVERTISEMENT,
  V6_ROUTER_ADVERTISEMENT,
  V6_ROUTER_SOLICITATION,
} from '../../../stack/wire/icmpv6.js'
import { readNames } from './names.js'

export const NdOption = {
  PREFIX: 3,
  MTU: 5,
  ROUTE: 24,
  RDNSS: 25,
  DNSSL: 31,
} as const

const RA_HEADER = 16
const NS_LENGTH = 24
/** Of each kind of option in one message: a peer sends no more than it means. */
const MAX_OPTIONS = 64
/** Seconds that mean for ever (RFC 4861 4.6.2, RFC 8106 5.1). */
const INFINITE = 0xffffffff

/** Lifetimes are milliseconds from now, Infinity included. */
export interface PrefixInformation {
  readonly prefix: IpAddress
  readonly bits: number
  readonly autonomous: boolean
  readonly valid: number
  readonly preferred: number
}

export interface RouterAdvertisement {
  /** M: addresses by DHCPv6. */
  readonly managed: boolean
  /** O: other things by DHCPv6. */
  readonly other: boolean
  readonly routerLifetime: number
  /** Undefined if it does not say. */
  readonly mtu: number | undefined
  readonly prefixes: readonly PrefixInformation[]
  readonly routes: readonly { readonly prefix: IpAddress; readonly bits: number; readonly lifetime: number }[]
  readonly servers: readonly { readonly addresses: readonly IpAddress[]; readonly lifetime: number }[]
  readonly domains: readonly { readonly names: readonly string[]; readonly lifetime: number }[]
}

/** RFC 4861 4.1. */
export function routerSolicitation(): Uint8Array {
  const b = new Uint8Array(ICMPV6_HEADER)
  setU8(b, 0, V6_ROUTER_SOLICITATION)
  return b
}

/** RFC 4861 4.4; `solicited` is the S flag, O is always set, R never. */
export function neighbourAdvertisement(target: IpAddress, solicited: boolean): Uint8Array {
  const b = new Uint8Array(NS_LENGTH)
  setU8(b, 0, V6_NEIGHBOUR_ADVERTISEMENT)
  setU8(b, 4, (solicited ? 0x40 : 0) | 0x20)
  b.set(target.toBytes(), 8)
  return b
}

/** RFC 4861 7.1.1. @returns what is asked for, or undefined if the message is not valid */
export function solicitedTarget(b: Uint8Array, o: number, len: number): IpAddress | undefined {
  if (len < NS_LENGTH || u8(b, o + 1) !== 0 || !optionsAreWhole(b, o + NS_LENGTH, o + len)) return undefined
  const target = IpAddress.fromBytes(b.subarray(o + 8, o + 24))
  return target === undefined || target.isMulticast ? undefined : target
}

/** RFC 4861 6.1.2, as far as the message itself goes. @returns undefined if it is not valid: all of it is dropped */
export function readRouterAdvertisement(
  b: Uint8Array,
  o: number,
  len: number,
): RouterAdvertisement | undefined {
  const end = o + len
  if (len < RA_HEADER || u8(b, o) !== V6_ROUTER_ADVERTISEMENT || u8(b, o + 1) !== 0) return undefined
  if (!optionsAreWhole(b, o + RA_HEADER, end)) return undefined
  const flags = u8(b, o + 5)
  const prefixes: PrefixInformation[] = []
  const routes: { prefix: IpAddress; bits: number; lifetime: number }[] = []
  const servers: { addresses: IpAddress[]; lifetime: number }[] = []
  const domains: { names: string[]; lifetime: number }[] = []
  let mtu: number | undefined
  let read = 0
  for (let p = o + RA_HEADER; p < end && read < MAX_OPTIONS; p += u8(b, p + 1) << 3, read++) {
    const size = u8(b, p + 1) << 3
    switch (u8(b, p)) {
      case NdOption.PREFIX:
        if (size === 32) prefixes.push(readPrefix(b, p))
        break
      case NdOption.MTU:
        if (size === 8) mtu = u32(b, p + 4)
        break
      case NdOption.ROUTE: {
        const route = readRoute(b, p, size)
        if (route !== undefined) routes.push(route)
        break
      }
      case NdOption.RDNSS: {
        // RFC 8106 5.1: 3 units at least, an odd number.
        if (size < 24 || (size & 8) === 0) break
        const addresses: IpAddress[] = []
        for (let at = p + 8; at < p + size; at += 16) {
          const address = IpAddress.fromBytes(b.subarray(at, at + 16))
          if (address?.isUnicast === true && !address.isLoopback) addresses.push(address)
        }
        servers.push({ addresses, lifetime: lifetime(u32(b, p + 4)) })
        break
      }
      case NdOption.DNSSL: {
        const names = size < 16 ? undefined : readNames(b, p + 8, size - 8, 'plain')
        if (names !== undefined) domains.push({ names, lifetime: lifetime(u32(b, p + 4)) })
        break
      }
    }
  }
  return {
    managed: (flags & 0x80) !== 0,
    other: (flags & 0x40) !== 0,
    routerLifetime: u16(b, o + 6) * 1000,
    mtu,
    prefixes,
    routes,
    servers,
    domains,
  }
}

/** RFC 4861 6.1.2, 7.1.1: each option has a length, and the last ends where the message does. */
function optionsAreWhole(b: Uint8Array, from: number, end: number): boolean {
  let p = from
  while (p < end) {
    if (p + 2 > end) return false
    const size = u8(b, p + 1) << 3
    if (size === 0 || p + size > end) return false
    p += size
  }
  return true
}

function readPrefix(b: Uint8Array, p: number): PrefixInformation {
  return {
    bits: u8(b, p + 2),
    autonomous: (u8(b, p + 3) & 0x40) !== 0,
    valid: lifetime(u32(b, p + 4)),
    preferred: lifetime(u32(b, p + 8)),
    prefix: IpAddress.fromBytes(b.subarray(p + 16, p + 32)) ?? IpAddress.v6(0, 0, 0, 0),
  }
}

/** RFC 4191 2.3. */
function readRoute(
  b: Uint8Array,
  p: number,
  size: number,
): { prefix: IpAddress; bits: number; lifetime: number } | undefined {
  const bits = u8(b, p + 2)
  const needed = bits === 0 ? 8 : bits <= 64 ? 16 : 24
  // The reserved preference says that the option is to be ignored.
  if (bits > 128 || size < needed || size > 24 || (u8(b, p + 3) & 0x18) === 0x10) return undefined
  const octets = new Uint8Array(16)
  octets.set(copyOf(b, p + 8, p + size))
  const prefix = IpAddress.fromBytes(octets)
  return prefix === undefined ? undefined : { prefix, bits, lifetime: lifetime(u32(b, p + 4)) }
}

function lifetime(seconds: number): number {
  return seconds === INFINITE ? Number.POSITIVE_INFINITY : seconds * 1000
}
