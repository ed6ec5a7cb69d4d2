/** Classless static routes (RFC 3442; option 121, and Microsoft's 249), without their routers: PPP has one way. */
import { u8 } from '../../../stack/bytes.js'
import { IpAddress } from '../../../stack/index.js'

/** Routes kept, of all sources. */
export const MAX_ROUTES = 256

/** `network/length`, as people write it. */
export type Cidr = string

/** @returns undefined if the option is broken: none of it is used then */
export function readClasslessRoutes(b: Uint8Array, o: number, len: number): Cidr[] | undefined {
  const routes: Cidr[] = []
  const end = o + len
  for (let p = o; p < end; ) {
    const bits = u8(b, p)
    if (bits > 32) return undefined
    const octets = (bits + 7) >>> 3
    if (p + 1 + octets + 4 > end) return undefined
    let word = 0
    for (let i = 0; i < octets; i++) word |= u8(b, p + 1 + i) << (24 - 8 * i)
    const route = `${IpAddress.v4(bits === 0 ? 0 : word & (-1 << (32 - bits)))}/${bits}`
    if (!routes.includes(route) && routes.length < MAX_ROUTES) routes.push(route)
    p += 1 + octets + 4
  }
  return routes
}

/** An IPv6 network with what is behind its length cut off. */
export function cidr6(prefix: IpAddress, bits: number): Cidr {
  const masked = [prefix.w0, prefix.w1, prefix.w2, prefix.w3].map((word, i) => {
    const kept = Math.min(32, Math.max(0, bits - 32 * i))
    return kept === 0 ? 0 : word & (-1 << (32 - kept))
  })
  const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = masked
  return `${IpAddress.v6(w0, w1, w2, w3)}/${bits}`
}
