import { combine } from './checksum.js'
import { IpAddress } from './wire/address.js'
import { IPV4_HEADER } from './wire/ipv4.js'
import { IPV6_HEADER } from './wire/ipv6.js'

/** The two ends of a connection or connected socket, from our side. Immutable. */
export class Tuple {
  /** Our address. */
  readonly local: IpAddress
  /** Our port. */
  readonly localPort: number
  /** The other side's address. */
  readonly remote: IpAddress
  /** The other side's port. */
  readonly remotePort: number
  /** Of both addresses. */
  readonly family: 4 | 6
  /** Octets of an IP header without options or extension headers. @internal */
  readonly ipHeader: number
  /** Folded sum of both addresses; protocol and length complete a pseudo-header. @internal */
  readonly addressSum: number

  constructor(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number) {
    this.local = local
    this.localPort = localPort
    this.remote = remote
    this.remotePort = remotePort
    this.family = remote.family
    this.ipHeader = remote.family === 4 ? IPV4_HEADER : IPV6_HEADER
    this.addressSum = combine(local.sum, remote.sum)
  }

  /** `local:port - remote:port`, for people. */
  toString(): string {
    return `${this.local}:${this.localPort} - ${this.remote}:${this.remotePort}`
  }
}

/** The addresses of a packet being read, as words (see {@link IpAddress}). One object is reused for all packets. */
export interface PacketAddresses {
  family: 4 | 6
  s0: number
  s1: number
  s2: number
  s3: number
  d0: number
  d1: number
  d2: number
  d3: number
  /** Folded sum of both addresses. */
  sum: number
  /** The two ECN bits of the IP header (RFC 3168 5). */
  ecn: number
}

export function newPacketAddresses(): PacketAddresses {
  return { family: 4, s0: 0, s1: 0, s2: 0, s3: 0, d0: 0, d1: 0, d2: 0, d3: 0, sum: 0, ecn: 0 }
}

export function sourceOf(a: PacketAddresses): IpAddress {
  return IpAddress.words(a.family, a.s0, a.s1, a.s2, a.s3)
}

export function destinationOf(a: PacketAddresses): IpAddress {
  return IpAddress.words(a.family, a.d0, a.d1, a.d2, a.d3)
}
