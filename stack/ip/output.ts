import { setU32 } from '../bytes.js'
import type { Tuple } from '../tuple.js'
import type { IpAddress } from '../wire/address.js'
import * as ipv4 from '../wire/ipv4.js'
import * as ipv6 from '../wire/ipv6.js'

export const DEFAULT_TTL = 64

/** Writes the IP header in front of `payload` octets of `proto` for a packet of ours. @returns the packet's length */
export function emitIp(b: Uint8Array, o: number, t: Tuple, proto: number, payload: number, tos = 0): number {
  return emitIpBetween(b, o, t.local, t.remote, proto, payload, tos)
}

export function emitIpBetween(
  b: Uint8Array,
  o: number,
  src: IpAddress,
  dst: IpAddress,
  proto: number,
  payload: number,
  tos = 0,
): number {
  if (dst.family === 4) {
    // RFC 6864 4.1: with DF set the identification means nothing.
    const total = ipv4.IPV4_HEADER + payload
    ipv4.emit(b, o, total, tos, 0, ipv4.IPV4_DF, DEFAULT_TTL, proto, src.w3, dst.w3)
    return total
  }
  ipv6.emit(b, o, payload, tos, proto, DEFAULT_TTL)
  setAddress(b, o + ipv6.SOURCE, src)
  setAddress(b, o + ipv6.DESTINATION, dst)
  return ipv6.IPV6_HEADER + payload
}

function setAddress(b: Uint8Array, o: number, a: IpAddress): void {
  setU32(b, o, a.w0)
  setU32(b, o + 4, a.w1)
  setU32(b, o + 8, a.w2)
  setU32(b, o + 12, a.w3)
}
