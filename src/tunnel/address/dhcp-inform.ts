/**
 * DHCPINFORM (RFC 2131 3.4, 4.4.3): what IPCP has no words for, asked of whoever answers. Sans-I/O.
 *
 * Most servers stay silent; nothing waits for the answer.
 */
import { copyOf, setU8, setU32, u8, u32 } from '../../../stack/bytes.js'
import { IpAddress } from '../../../stack/index.js'
import { readNames, readTextName } from './names.js'
import { type Cidr, readClasslessRoutes } from './routes.js'

export const DHCP_CLIENT_PORT = 68
export const DHCP_SERVER_PORT = 67

export const DhcpOption = {
  PAD: 0,
  SUBNET_MASK: 1,
  DNS_SERVERS: 6,
  DOMAIN_NAME: 15,
  MESSAGE_TYPE: 53,
  SERVER_ID: 54,
  PARAMETER_LIST: 55,
  VENDOR_CLASS: 60,
  CLIENT_ID: 61,
  DOMAIN_SEARCH: 119,
  CLASSLESS_ROUTES: 121,
  CLASSLESS_ROUTES_MS: 249,
  END: 255,
} as const

const WANTED: readonly number[] = [
  DhcpOption.SUBNET_MASK,
  DhcpOption.DNS_SERVERS,
  DhcpOption.DOMAIN_NAME,
  DhcpOption.DOMAIN_SEARCH,
  DhcpOption.CLASSLESS_ROUTES,
  DhcpOption.CLASSLESS_ROUTES_MS,
]

const NEVER = Number.POSITIVE_INFINITY
const TRIES = 3
const INTERVAL = 4_000
const ACK = 5
const INFORM = 8
const HARDWARE_LENGTH = 6
/** Offsets of the fixed part. */
const XID = 4
const CIADDR = 12
const CHADDR = 28
const MAGIC_AT = 236
const OPTIONS = 240
const MAGIC = 0x63825363
/** BOOTP relays drop shorter ones. */
const MIN_MESSAGE = 300
const MAX_SERVERS = 8
/** What servers of Microsoft's look for before they answer in full. */
const VENDOR_CLASS = 'MSFT 5.0'

/** What an answer says. */
export interface DhcpAnswer {
  readonly servers: readonly IpAddress[]
  readonly domain: string | undefined
  readonly search: readonly string[]
  readonly routes: readonly Cidr[]
}

export interface DhcpInformOptions {
  readonly random: (dst: Uint8Array) => void
  /** Sends a message from port 68 of `from` to port 67 of everybody. */
  readonly send: (from: IpAddress, message: Uint8Array) => void
}

export class DhcpInform {
  private readonly options: DhcpInformOptions
  private address: IpAddress | undefined
  private readonly hardware = new Uint8Array(HARDWARE_LENGTH)
  private xid = 0
  private tries = 0
  private sendAt = NEVER
  answer: DhcpAnswer | undefined

  constructor(options: DhcpInformOptions) {
    this.options = options
    options.random(this.hardware)
    // Locally administered, of one host.
    setU8(this.hardware, 0, (u8(this.hardware, 0) & 0xfc) | 0x02)
  }

  /** IPCP has given us that address, perhaps once more: what was answered for it holds. */
  start(address: IpAddress, now: number): void {
    if (this.answer !== undefined && this.address?.equals(address) === true) return
    this.stop()
    this.address = address
    const word = new Uint8Array(4)
    this.options.random(word)
    this.xid = u32(word, 0)
    this.sendAt = now
    this.handleTimeout(now)
  }

  stop(): void {
    this.address = undefined
    this.answer = undefined
    this.tries = 0
    this.sendAt = NEVER
  }

  /** @returns true if it was the answer */
  input(b: Uint8Array, o: number, len: number): boolean {
    if (this.address === undefined || this.answer !== undefined) return false
    if (!this.isForUs(b, o, len, this.address)) return false
    const answer = readAnswer(b, o, len)
    if (answer === undefined) return false
    this.answer = answer
    this.sendAt = NEVER
    return true
  }

  private isForUs(b: Uint8Array, o: number, len: number, address: IpAddress): boolean {
    if (len < OPTIONS || u8(b, o) !== 2 || u32(b, o + XID) !== this.xid) return false
    if (u32(b, o + MAGIC_AT) !== MAGIC) return false
    const ciaddr = u32(b, o + CIADDR) | 0
    if (ciaddr !== 0 && ciaddr !== address.w3) return false
    return this.hardware.every((octet, i) => u8(b, o + CHADDR + i) === octet)
  }

  nextTimeout(): number {
    return this.sendAt
  }

  handleTimeout(now: number): void {
    if (now < this.sendAt || this.address === undefined) return
    if (this.tries >= TRIES) {
      this.sendAt = NEVER
      return
    }
    this.tries++
    this.sendAt = now + INTERVAL
    this.options.send(this.address, this.message(this.address))
  }

  private message(address: IpAddress): Uint8Array {
    const b = new Uint8Array(MIN_MESSAGE)
    b.set([1, 1, HARDWARE_LENGTH, 0])
    setU32(b, XID, this.xid)
    b.set(address.toBytes(), CIADDR)
    b.set(this.hardware, CHADDR)
    setU32(b, MAGIC_AT, MAGIC)
    let n = OPTIONS
    const option = (code: number, data: ArrayLike<number>): void => {
      setU8(b, n, code)
      setU8(b, n + 1, data.length)
      b.set(data, n + 2)
      n += 2 + data.length
    }
    option(DhcpOption.MESSAGE_TYPE, [INFORM])
    option(DhcpOption.CLIENT_ID, [1, ...this.hardware])
    option(
      DhcpOption.VENDOR_CLASS,
      [...VENDOR_CLASS].map((c) => c.charCodeAt(0)),
    )
    option(DhcpOption.PARAMETER_LIST, WANTED)
    setU8(b, n, DhcpOption.END)
    return b
  }
}

/** The options of a DHCPACK. @returns undefined if it is something else, or broken */
export function readAnswer(b: Uint8Array, o: number, len: number): DhcpAnswer | undefined {
  const options = readOptions(b, o + OPTIONS, o + len)
  if (options === undefined) return undefined
  const type = options.get(DhcpOption.MESSAGE_TYPE)
  if (type?.length !== 1 || type[0] !== ACK) return undefined
  const servers: IpAddress[] = []
  const addresses = options.get(DhcpOption.DNS_SERVERS) ?? new Uint8Array(0)
  for (let p = 0; p + 4 <= addresses.length && servers.length < MAX_SERVERS; p += 4) {
    const server = IpAddress.fromBytes(addresses.subarray(p, p + 4))
    if (server?.isUnicast === true && !server.isLoopback) servers.push(server)
  }
  const domain = options.get(DhcpOption.DOMAIN_NAME)
  const search = options.get(DhcpOption.DOMAIN_SEARCH)
  const routes = options.get(DhcpOption.CLASSLESS_ROUTES) ?? options.get(DhcpOption.CLASSLESS_ROUTES_MS)
  return {
    servers,
    domain: domain === undefined ? undefined : readTextName(domain, 0, domain.length),
    search: search === undefined ? [] : (readNames(search, 0, search.length, 'compressed') ?? []),
    routes: routes === undefined ? [] : (readClasslessRoutes(routes, 0, routes.length) ?? []),
  }
}

/** Parts with one code are one option (RFC 3396 7). @returns undefined if one goes over the end */
function readOptions(b: Uint8Array, from: number, end: number): Map<number, Uint8Array> | undefined {
  const options = new Map<number, Uint8Array>()
  let p = from
  while (p < end && u8(b, p) !== DhcpOption.END) {
    if (u8(b, p) === DhcpOption.PAD) {
      p++
      continue
    }
    if (p + 2 > end) return undefined
    const length = u8(b, p + 1)
    const at = p + 2
    if (at + length > end) return undefined
    const code = u8(b, p)
    const before = options.get(code)
    if (before === undefined) options.set(code, copyOf(b, at, at + length))
    else {
      const joined = new Uint8Array(before.length + length)
      joined.set(before)
      joined.set(b.subarray(at, at + length), before.length)
      options.set(code, joined)
    }
    p = at + length
  }
  return options
}
