import { i32 } from '../bytes.js'
import type { Instant, Random } from '../types.js'
import type { IpAddress } from '../wire/address.js'
import * as ipv4 from '../wire/ipv4.js'
import * as ipv6 from '../wire/ipv6.js'

/** Destinations remembered; the oldest goes first. */
const MOST = 1024
/** RFC 1191 3 allows 68, which is of use only to attackers: every host takes 576, so less is not believed. */
const LEAST_V4 = 552
/** RFC 1191 7, table 7-1, for routers that do not say what they can take. */
const PLATEAUS = [32000, 17914, 8166, 4352, 2002, 1492, 1006, LEAST_V4]

interface Entry {
  readonly w0: number
  readonly w1: number
  readonly w2: number
  readonly w3: number
  readonly mtu: number
  readonly expires: Instant
}

/** What is known of the largest packets that paths take, by destination (RFC 1191, RFC 8201 5.2). */
export class PathMtuCache {
  private readonly linkMtu: () => number
  private readonly lifetime: number
  private readonly random: Random
  /** By hash, in the order in which they came: of two with the same hash the later one stays. */
  private readonly entries = new Map<number, Entry>()
  /** Outsiders must not choose what collides. */
  private seed = 0

  /** After `lifetime` ms a larger packet is tried again. */
  constructor(linkMtu: () => number, lifetime: number, random: Random) {
    this.linkMtu = linkMtu
    this.lifetime = lifetime
    this.random = random
  }

  get size(): number {
    return this.entries.size
  }

  /** Octets that a packet to there may have, IP header included; undefined: nothing is known but the link's MTU. */
  get(remote: IpAddress, now: Instant): number | undefined {
    if (this.entries.size === 0) return undefined
    return this.find(remote.w0, remote.w1, remote.w2, remote.w3, now)
  }

  /** The same for the destination of the IP packet at `o`. */
  ofPacket(b: Uint8Array, o: number, now: Instant): number | undefined {
    if (this.entries.size === 0) return undefined
    if ((b[o] as number) >>> 4 === 4) return this.find(0, 0, 0xffff, ipv4.destination(b, o), now)
    const d = o + ipv6.DESTINATION
    return this.find(i32(b, d), i32(b, d + 4), i32(b, d + 8), i32(b, d + 12), now)
  }

  /**
   * A router, or a loss, says that the path takes `mtu` octets at most; 0 comes from IPv4 routers that do not say.
   * `sent` is the length of the packet that was too large, 0 if unknown: several that were on their way
   * together must not lower the guess several times (RFC 1191 5).
   * @returns false if that is no news or not to be believed
   */
  lower(remote: IpAddress, mtu: number, now: Instant, sent = 0): boolean {
    const current = Math.min(this.get(remote, now) ?? Number.POSITIVE_INFINITY, this.linkMtu())
    const four = remote.family === 4
    // A packet that fits was not too large.
    if (sent > 0 && mtu >= sent) return false
    if (mtu === 0 && four) {
      if (sent > current) return false
      const below = sent > 0 ? sent : current
      mtu = PLATEAUS.find((p) => p < below) ?? 0
    }
    if (mtu >= current || mtu < (four ? LEAST_V4 : ipv6.IPV6_MIN_MTU)) return false
    if (this.seed === 0) this.seed = this.newSeed()
    const { w0, w1, w2, w3 } = remote
    const key = this.key(w0, w1, w2, w3)
    this.entries.delete(key)
    this.entries.set(key, { w0, w1, w2, w3, mtu, expires: now + this.lifetime })
    if (this.entries.size > MOST) this.dropOldest()
    return true
  }

  clear(): void {
    this.entries.clear()
  }

  private find(w0: number, w1: number, w2: number, w3: number, now: Instant): number | undefined {
    const key = this.key(w0, w1, w2, w3)
    const e = this.entries.get(key)
    if (e === undefined || e.w3 !== w3 || e.w2 !== w2 || e.w1 !== w1 || e.w0 !== w0) return undefined
    if (now < e.expires) return e.mtu
    this.entries.delete(key)
    return undefined
  }

  private dropOldest(): void {
    for (const key of this.entries.keys()) {
      this.entries.delete(key)
      return
    }
  }

  private newSeed(): number {
    const b = new Uint8Array(4)
    this.random(b)
    return i32(b, 0) | 1
  }

  private key(w0: number, w1: number, w2: number, w3: number): number {
    let h = this.seed
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) ^ w3
    h = Math.imul(h ^ (h >>> 13), 0x297a2d39) ^ w2
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) ^ w1
    h = Math.imul(h ^ (h >>> 13), 0x297a2d39) ^ w0
    h = Math.imul(h ^ (h >>> 15), this.seed)
    return h ^ (h >>> 16)
  }
}
