import { setU32 } from '../bytes.js'
import type { Tuple } from '../tuple.js'
import type { IpAddress } from '../wire/address.js'
import * as ipv4 from '../wire/ipv4.js'
import * as ipv6 from '../wire/ipv6.js'
import type { Identifications } from './identification.js'

export const DEFAULT_TTL = 64

/** Writes the IP header in front of `payload` octets of `proto` for a packet of ours. @returns the packet's length */
export function emitIp(
  b: Uint8Array,
  o: number,
  t: Tuple,
  proto: number,
  payload: number,
  tos: number,
  hopLimit: number,
): number {
  return emitIpBetween(b, o, t.local, t.remote, proto, payload, tos, hopLimit)
}

export function emitIpBetween(
  b: Uint8Array,
  o: number,
  src: IpAddress,
  dst: IpAddress,
  proto: number,
  payload: number,
  tos = 0,
  hopLimit = DEFAULT_TTL,
): number {
  if (dst.family === 4) {
    // RFC 6864 4.1: with DF set the identification means nothing.
    const total = ipv4.IPV4_HEADER + payload
    ipv4.emit(b, o, total, tos, 0, ipv4.IPV4_DF, hopLimit, proto, src.w3, dst.w3)
    return total
  }
  ipv6.emit(b, o, payload, tos, proto, hopLimit)
  setAddress(b, o + ipv6.SOURCE, src)
  setAddress(b, o + ipv6.DESTINATION, dst)
  return ipv6.IPV6_HEADER + payload
}

/**
 * The IP header in front of a datagram that may be cut on its way (UDP, echo). Of IPv4, DF is clear and the
 * identification real even if it leaves whole: whoever sent it cannot make it smaller, so a router behind the
 * tunnel whose next link takes less has to cut it, where DF would make it swallow the datagram.
 * @returns the packet's length, which may be above any MTU
 */
export function emitDatagramIp(
  b: Uint8Array,
  src: IpAddress,
  dst: IpAddress,
  proto: number,
  payload: number,
  ids: Identifications,
): number {
  if (dst.family === 6) return emitIpBetween(b, 0, src, dst, proto, payload)
  const total = ipv4.IPV4_HEADER + payload
  ipv4.emit(b, 0, total, 0, ids.next4(src, dst, proto), 0, DEFAULT_TTL, proto, src.w3, dst.w3)
  return total
}

/** Octets behind a plain IP header that a datagram may have, in as many fragments as it takes. */
export function maxPayload(family: 4 | 6): number {
  return family === 4 ? ipv4.IPV4_MAX - ipv4.IPV4_HEADER : ipv6.IPV6_MAX_PAYLOAD
}

function setAddress(b: Uint8Array, o: number, a: IpAddress): void {
  setU32(b, o, a.w0)
  setU32(b, o + 4, a.w1)
  setU32(b, o + 8, a.w2)
  setU32(b, o + 12, a.w3)
}
