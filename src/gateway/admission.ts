/**
 * Who may wait at the door: bounds on the connections of clients that nobody knows yet. Sans-I/O.
 */
import { IpAddress } from '../../stack/index.js'

export interface AdmissionLimits {
  /** Guests at one time. */
  readonly total: number
  /** Of these, guests of one source. */
  readonly perSource: number
}

/**
 * Guests by the source that they come from. When the house is full, the source with the most guests loses its
 * oldest to a newcomer of one that has fewer, so that one stranger cannot keep all others out.
 */
export class Admission<T> {
  readonly #limits: AdmissionLimits
  /** Guests of each source, the oldest first. */
  readonly #sources = new Map<string, Set<T>>()
  #size = 0

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#size
  }

  /** @returns if the guest is in; `evict` is called at most once, with a guest that has left for it */
  enter(source: string, guest: T, evict: (guest: T) => void): boolean {
    const { total, perSource } = this.#limits
    const own = this.#sources.get(source)?.size ?? 0
    if (own >= perSource) return false
    if (this.#size >= total && !this.#makeRoom(own, evict)) return false
    const guests = this.#sources.get(source)
    if (guests === undefined) this.#sources.set(source, new Set([guest]))
    else guests.add(guest)
    this.#size++
    return true
  }

  /** Harmless for one that is not in. */
  leave(source: string, guest: T): void {
    const guests = this.#sources.get(source)
    if (guests === undefined || !guests.delete(guest)) return
    this.#size--
    if (guests.size === 0) this.#sources.delete(source)
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const guests of this.#sources.values()) yield* guests
  }

  /** For a source that has `own` guests. */
  #makeRoom(own: number, evict: (guest: T) => void): boolean {
    let crowd: [string, Set<T>] | undefined
    for (const entry of this.#sources) if (entry[1].size > (crowd?.[1].size ?? 0)) crowd = entry
    // Only from one that still has as many afterwards: two that are equal would take turns without end.
    if (crowd === undefined || crowd[1].size <= own + 1) return false
    const [source, guests] = crowd
    for (const oldest of guests) {
      this.leave(source, oldest)
      evict(oldest)
      break
    }
    return true
  }
}

/**
 * What counts as one source: an IPv4 address, or the /64 of an IPv6 address, all of which one customer has
 * (RFC 6177), written as RFC 5952 has it: a rule of a firewall can be made of it. The host itself is no customer's
 * network, nor is fe80::/64, which all neighbours share. An IPv4 address counts as such in IPv6 clothes too, mapped
 * or translated (RFC 6052 2.1). Empty if the text is none.
 */
export function sourceOf(address: string | undefined): string {
  const ip = IpAddress.parse((address ?? '').replace(/%.*$/, ''))
  if (ip === undefined) return ''
  if (ip.family === 4 || ip.isLoopback || ip.isLinkLocal) return ip.toString()
  if (
    (ip.w0 === 0 && ip.w1 === 0 && ip.w2 === 0xffff) ||
    (ip.w0 === 0x64ff9b && ip.w1 === 0 && ip.w2 === 0)
  ) {
    return [24, 16, 8, 0].map((shift) => (ip.w3 >>> shift) & 0xff).join('.')
  }
  return `${IpAddress.v6(ip.w0, ip.w1, 0, 0)}/64`
}
