import { setU32 } from '../bytes.js'
import { SipHash } from '../siphash.js'
import type { Random } from '../types.js'
import type { IpAddress } from '../wire/address.js'

const COUNTERS = 1024

/**
 * Identifications of datagrams that may be cut in fragments. They must not come again soon (RFC 6864 4.3), and
 * outsiders must not foresee them, or they slip fragments of their own into our datagrams (RFC 7739 4).
 */
export class Identifications {
  private readonly random: Random
  /** RFC 7739 5.3: counters that destinations share, behind an offset that is each destination's own. */
  private readonly counters = new Uint16Array(COUNTERS)
  private hash: SipHash | undefined
  private readonly words = new Uint8Array(12)
  private readonly octets = new Uint8Array(4)

  constructor(random: Random) {
    this.random = random
  }

  /** 16 bits, one after the other for one pair of addresses and protocol, from a start that nobody knows. */
  next4(src: IpAddress, dst: IpAddress, proto: number): number {
    this.hash ??= SipHash.random(this.random)
    const { words, counters, hash } = this
    setU32(words, 0, src.w3)
    setU32(words, 4, dst.w3)
    setU32(words, 8, proto)
    const slot = (hash.hash(words) >>> 0) % COUNTERS
    const n = counters[slot] as number
    counters[slot] = n + 1
    return (n + hash.high) & 0xffff
  }

  /** RFC 7739 5.2: 32 random bits; so few datagrams are cut that two alike are not to be feared. */
  next6(): number {
    const b = this.octets
    this.random(b)
    return ((b[0] as number) << 24) | ((b[1] as number) << 16) | ((b[2] as number) << 8) | (b[3] as number)
  }
}
