import { ICMP_HEADER } from './icmpv4.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from './ipv4.js'
import { TCP_HEADER } from './tcp.js'
import { UDP_HEADER } from './udp.js'

/**
 * True if `len` octets at `o` hold the whole header of that upper layer, a TCP header's options with it: what
 * a first fragment must have (RFC 1858 4.2, RFC 7112). Of a protocol that we do not know: one octet.
 */
export function hasTransportHeader(b: Uint8Array, o: number, len: number, proto: number): boolean {
  switch (proto) {
    case PROTO_TCP:
      return len >= TCP_HEADER && len >= ((b[o + 12] as number) >>> 4) << 2
    case PROTO_UDP:
      return len >= UDP_HEADER
    case PROTO_ICMP:
    case PROTO_ICMPV6:
      return len >= ICMP_HEADER
    default:
      return len >= 1
  }
}
