/** Messages of DHCPv6 (RFC 8415 8, 21) as a client writes and reads them. */
import { copyOf, setU8, setU16, setU32, u8, u16, u32 } from '../../../stack/bytes.js'
import { IpAddress } from '../../../stack/index.js'
import { readNames } from './names.js'

export const DHCPV6_CLIENT_PORT = 546
export const DHCPV6_SERVER_PORT = 547

export const Dhcpv6Type = {
  SOLICIT: 1,
  ADVERTISE: 2,
  REQUEST: 3,
  RENEW: 5,
  REBIND: 6,
  REPLY: 7,
  RELEASE: 8,
  INFORMATION_REQUEST: 11,
} as const

export const Dhcpv6Option = {
  CLIENT_ID: 1,
  SERVER_ID: 2,
  IA_NA: 3,
  IA_ADDRESS: 5,
  ORO: 6,
  PREFERENCE: 7,
  ELAPSED_TIME: 8,
  STATUS: 13,
  RAPID_COMMIT: 14,
  DNS_SERVERS: 23,
  DOMAIN_LIST: 24,
  INFORMATION_REFRESH_TIME: 32,
  SOL_MAX_RT: 82,
  INF_MAX_RT: 83,
} as const

export const Dhcpv6Status = { SUCCESS: 0, NO_ADDRESSES: 2, NO_BINDING: 3, NOT_ON_LINK: 4 } as const

const HEADER = 4
const OPTION_HEADER = 4
const IA_HEADER = 12
const IA_ADDRESS_LENGTH = 24
/** RFC 8415 11.1. */
const MAX_DUID = 130
const MAX_SERVERS = 8
const MAX_ADDRESSES = 8
const INFINITE = 0xffffffff

/** Lifetimes and times are milliseconds, Infinity included; 0 of T1 and T2 leaves them to the client. */
export interface LeasedAddress {
  readonly address: IpAddress
  readonly preferred: number
  readonly valid: number
}

export interface Dhcpv6Message {
  readonly type: number
  readonly transaction: number
  readonly clientId: Uint8Array | undefined
  readonly serverId: Uint8Array | undefined
  readonly preference: number
  /** Of the whole message; 0 if it has none. */
  readonly status: number
  readonly rapidCommit: boolean
  /** The IA_NA with our IAID. */
  readonly ia:
    | {
        readonly t1: number
        readonly t2: number
        readonly status: number
        readonly addresses: readonly LeasedAddress[]
      }
    | undefined
  readonly servers: readonly IpAddress[]
  readonly domains: readonly string[]
  /** Milliseconds. */
  readonly refresh: number | undefined
  /** Milliseconds; only if in the range of RFC 8415 21.24, 21.25. */
  readonly maxSolicit: number | undefined
  readonly maxInformation: number | undefined
}

export interface Dhcpv6Request {
  readonly type: number
  readonly transaction: number
  readonly clientId: Uint8Array
  readonly serverId?: Uint8Array | undefined
  /** Milliseconds since the first message of the exchange. */
  readonly elapsed: number
  readonly rapidCommit?: boolean
  /** An IA_NA with these addresses. */
  readonly ia?: { readonly iaid: number; readonly addresses: readonly IpAddress[] }
  /** Codes of options wanted; none: no such option. */
  readonly wanted: readonly number[]
}

export function writeDhcpv6(m: Dhcpv6Request): Uint8Array {
  const b = new Uint8Array(1024)
  setU32(b, 0, m.transaction & 0xffffff)
  setU8(b, 0, m.type)
  let n = HEADER
  const option = (code: number, length: number): number => {
    setU16(b, n, code)
    setU16(b, n + 2, length)
    n += OPTION_HEADER + length
    return n - length
  }
  b.set(m.clientId, option(Dhcpv6Option.CLIENT_ID, m.clientId.length))
  if (m.serverId !== undefined) b.set(m.serverId, option(Dhcpv6Option.SERVER_ID, m.serverId.length))
  setU16(b, option(Dhcpv6Option.ELAPSED_TIME, 2), Math.min(0xffff, Math.round(m.elapsed / 10)))
  if (m.rapidCommit === true) option(Dhcpv6Option.RAPID_COMMIT, 0)
  if (m.wanted.length > 0) {
    const at = option(Dhcpv6Option.ORO, 2 * m.wanted.length)
    for (const [i, code] of m.wanted.entries()) setU16(b, at + 2 * i, code)
  }
  if (m.ia !== undefined) {
    const { iaid, addresses } = m.ia
    const each = OPTION_HEADER + IA_ADDRESS_LENGTH
    const at = option(Dhcpv6Option.IA_NA, IA_HEADER + each * addresses.length)
    // T1, T2 and lifetimes are 0: the server's to say.
    setU32(b, at, iaid)
    for (const [i, address] of addresses.entries()) {
      const o = at + IA_HEADER + each * i
      setU16(b, o, Dhcpv6Option.IA_ADDRESS)
      setU16(b, o + 2, IA_ADDRESS_LENGTH)
      b.set(address.toBytes(), o + OPTION_HEADER)
    }
  }
  return copyOf(b, 0, n)
}

/** @returns undefined if an option goes over the end */
export function readDhcpv6(b: Uint8Array, o: number, len: number, iaid: number): Dhcpv6Message | undefined {
  if (len < HEADER) return undefined
  let clientId: Uint8Array | undefined
  let serverId: Uint8Array | undefined
  let preference = 0
  let status = 0
  let rapidCommit = false
  let ia: Dhcpv6Message['ia']
  const servers: IpAddress[] = []
  let domains: string[] = []
  let refresh: number | undefined
  let maxSolicit: number | undefined
  let maxInformation: number | undefined
  const whole = eachOption(b, o + HEADER, o + len, (code, p, size) => {
    switch (code) {
      case Dhcpv6Option.CLIENT_ID:
        clientId ??= copyOf(b, p, p + size)
        break
      case Dhcpv6Option.SERVER_ID:
        if (size > 0 && size <= MAX_DUID) serverId ??= copyOf(b, p, p + size)
        break
      case Dhcpv6Option.PREFERENCE:
        if (size === 1) preference = u8(b, p)
        break
      case Dhcpv6Option.STATUS:
        if (size >= 2) status = u16(b, p)
        break
      case Dhcpv6Option.RAPID_COMMIT:
        rapidCommit = true
        break
      case Dhcpv6Option.IA_NA:
        if (size >= IA_HEADER && u32(b, p) === iaid) ia ??= readIa(b, p, size)
        break
      case Dhcpv6Option.DNS_SERVERS:
        for (let at = p; at + 16 <= p + size; at += 16) {
          const server = IpAddress.fromBytes(b.subarray(at, at + 16))
          if (server?.isUnicast === true && !server.isLoopback && servers.length < MAX_SERVERS)
            servers.push(server)
        }
        break
      case Dhcpv6Option.DOMAIN_LIST:
        domains = readNames(b, p, size, 'plain') ?? domains
        break
      case Dhcpv6Option.INFORMATION_REFRESH_TIME:
        if (size === 4) refresh = milliseconds(u32(b, p))
        break
      case Dhcpv6Option.SOL_MAX_RT:
        if (size === 4) maxSolicit = maxRt(u32(b, p))
        break
      case Dhcpv6Option.INF_MAX_RT:
        if (size === 4) maxInformation = maxRt(u32(b, p))
        break
    }
  })
  if (!whole) return undefined
  return {
    type: u8(b, o),
    transaction: u32(b, o) & 0xffffff,
    clientId,
    serverId,
    preference,
    status,
    rapidCommit,
    ia,
    servers,
    domains,
    refresh,
    maxSolicit,
    maxInformation,
  }
}

function readIa(b: Uint8Array, o: number, len: number): Dhcpv6Message['ia'] {
  let status = 0
  const addresses: LeasedAddress[] = []
  const whole = eachOption(b, o + IA_HEADER, o + len, (code, p, size) => {
    if (code === Dhcpv6Option.STATUS && size >= 2) status = u16(b, p)
    if (code !== Dhcpv6Option.IA_ADDRESS || size < IA_ADDRESS_LENGTH) return
    const address = IpAddress.fromBytes(b.subarray(p, p + 16))
    const preferred = milliseconds(u32(b, p + 16))
    const valid = milliseconds(u32(b, p + 20))
    // RFC 8415 21.6: such an address is to be dropped.
    if (address === undefined || preferred > valid || addresses.length >= MAX_ADDRESSES) return
    if (!address.isUnicast || address.isLoopback || address.isLinkLocal) return
    addresses.push({ address, preferred, valid })
  })
  const t1 = milliseconds(u32(b, o + 4))
  const t2 = milliseconds(u32(b, o + 8))
  // RFC 8415 21.4: times in the wrong order make the whole option invalid.
  if (!whole || (t1 > t2 && t2 > 0)) return undefined
  return { t1, t2, status, addresses }
}

/** @returns false if the last option goes over the end */
function eachOption(
  b: Uint8Array,
  from: number,
  end: number,
  visit: (code: number, o: number, len: number) => void,
): boolean {
  let p = from
  while (p < end) {
    if (p + OPTION_HEADER > end) return false
    const length = u16(b, p + 2)
    if (p + OPTION_HEADER + length > end) return false
    visit(u16(b, p), p + OPTION_HEADER, length)
    p += OPTION_HEADER + length
  }
  return true
}

function milliseconds(seconds: number): number {
  return seconds === INFINITE ? Number.POSITIVE_INFINITY : seconds * 1000
}

function maxRt(seconds: number): number | undefined {
  return seconds >= 60 && seconds <= 86400 ? seconds * 1000 : undefined
}
