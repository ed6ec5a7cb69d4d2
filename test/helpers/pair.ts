import { type AnySocket, IpAddress, NetStack, type NetStackOptions } from '../../stack/index.js'
import { SeededRandom } from './random.js'

/** What a link does to packets. Times in milliseconds, rates in octets a millisecond, chances from 0 to 1. */
export interface LinkProfile {
  readonly delay: number
  readonly jitter?: number
  readonly rate?: number
  /** Octets that wait for the rate; more are dropped. */
  readonly queue?: number
  readonly loss?: number
  /** Mean length of a burst of losses, in packets; 1 is independent loss. */
  readonly burst?: number
  readonly reorder?: number
  readonly duplicate?: number
  readonly corrupt?: number
  /** Nothing arrives between these instants, then all of it: an outer connection that stalls. */
  readonly stalls?: readonly (readonly [from: number, to: number])[]
}

interface InFlight {
  readonly at: number
  readonly order: number
  readonly packet: Uint8Array
}

/** One direction of a link, in virtual time. */
export class Link {
  private readonly profile: LinkProfile
  private readonly random: SeededRandom
  private readonly flight: InFlight[] = []
  private free = 0
  private last = 0
  private order = 0
  private losing = 0
  sent = 0
  lost = 0
  /** Sees every packet that is sent; returning false drops it. */
  tap: ((packet: Uint8Array, now: number) => boolean) | undefined

  constructor(profile: LinkProfile, random: SeededRandom) {
    this.profile = profile
    this.random = random
  }

  send(packet: Uint8Array, now: number): void {
    this.sent++
    if (this.tap !== undefined && !this.tap(packet, now)) {
      this.lost++
      return
    }
    const { profile: p, random: r } = this
    if (this.loses()) {
      this.lost++
      return
    }
    let start = now
    if (p.rate !== undefined) {
      const waiting = Math.max(0, this.free - now) * p.rate
      if (p.queue !== undefined && waiting + packet.length > p.queue) {
        this.lost++
        return
      }
      this.free = Math.max(this.free, now) + packet.length / p.rate
      start = this.free
    }
    let at = start + p.delay + (p.jitter ? r.next() * p.jitter : 0)
    for (const [from, to] of p.stalls ?? []) if (at >= from && at < to) at = to
    if (p.reorder && r.chance(p.reorder)) at += r.next() * Math.max(1, p.delay)
    else if (!p.jitter) at = this.last = Math.max(at, this.last)
    if (p.corrupt && r.chance(p.corrupt)) packet[r.below(packet.length)] = r.below(256)
    this.push(at, packet)
    if (p.duplicate && r.chance(p.duplicate)) this.push(at, packet.slice())
  }

  get next(): number {
    return this.flight[0]?.at ?? Number.POSITIVE_INFINITY
  }

  receive(now: number): Uint8Array | undefined {
    const first = this.flight[0]
    if (first === undefined || first.at > now) return undefined
    this.flight.shift()
    return first.packet
  }

  private loses(): boolean {
    const { loss = 0, burst = 1 } = this.profile
    if (loss === 0) return false
    if (this.losing > 0) {
      this.losing--
      return true
    }
    if (!this.random.chance(loss / burst)) return false
    this.losing = burst - 1
    return true
  }

  private push(at: number, packet: Uint8Array): void {
    const item = { at, order: this.order++, packet }
    let i = this.flight.length
    while (i > 0 && (this.flight[i - 1] as InFlight).at > at) i--
    this.flight.splice(i, 0, item)
  }
}

export const ADDRESS_A = IpAddress.parse('10.0.0.1') as IpAddress
export const ADDRESS_B = IpAddress.parse('10.0.0.2') as IpAddress
export const ADDRESS_A6 = IpAddress.parse('fd00::1') as IpAddress
export const ADDRESS_B6 = IpAddress.parse('fd00::2') as IpAddress

/** A socket has news. */
export type OnReady = (socket: AnySocket, stack: NetStack) => void

/** Two stacks joined by two links, in virtual time. Everything follows from the seed. */
export class Pair {
  readonly a: NetStack
  readonly b: NetStack
  readonly ab: Link
  readonly ba: Link
  readonly random: SeededRandom
  now = 1000
  onReady: OnReady = () => {}
  private readonly buffer = Buffer.alloc(8192, 0xa5)

  constructor(
    profile: LinkProfile | { readonly ab: LinkProfile; readonly ba: LinkProfile },
    seed = 1,
    options: Partial<NetStackOptions> & { readonly b?: Partial<NetStackOptions> } = {},
  ) {
    this.random = new SeededRandom(seed)
    const random = this.random.fill
    const both = 'ab' in profile ? profile : { ab: profile, ba: profile }
    const { b: forB, ...common } = options
    this.a = new NetStack({ mtu: 1400, random, ...common })
    this.b = new NetStack({ mtu: 1400, random, ...common, ...forB })
    this.a.addAddress(ADDRESS_A)
    this.a.addAddress(ADDRESS_A6)
    this.b.addAddress(ADDRESS_B)
    this.b.addAddress(ADDRESS_B6)
    this.ab = new Link(both.ab, this.random)
    this.ba = new Link(both.ba, this.random)
  }

  /** Moves all that can move at this instant. */
  settle(): void {
    for (let i = 0; i < 10_000; i++) {
      let moved = false
      for (const [stack, link] of [
        [this.b, this.ab],
        [this.a, this.ba],
      ] as const) {
        for (let p = link.receive(this.now); p !== undefined; p = link.receive(this.now)) {
          // At an odd place in a poisoned buffer, so that nobody relies on where a packet lies.
          this.buffer.fill(0xa5, 0, 16)
          this.buffer.set(p, 3)
          stack.input(this.buffer, 3, p.length, this.now)
          this.buffer.fill(0xa5, 3, 3 + p.length)
          moved = true
        }
      }
      for (const stack of [this.a, this.b]) {
        if (stack.nextTimeout() <= this.now) stack.handleTimeout(this.now)
        for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
          this.onReady(s, stack)
          moved = true
        }
        const link = stack === this.a ? this.ab : this.ba
        for (;;) {
          const n = stack.output(this.buffer, 5, this.now)
          if (n === 0) break
          link.send(new Uint8Array(this.buffer.subarray(5, 5 + n)), this.now)
          this.buffer.fill(0xa5, 5, 5 + n)
          moved = true
        }
      }
      if (!moved) return
    }
    throw new Error('the pair does not settle: a livelock')
  }

  /** The next instant at which anything can happen. */
  get next(): number {
    return Math.min(this.ab.next, this.ba.next, this.a.nextTimeout(), this.b.nextTimeout())
  }

  /** Runs until `done`, or until `limit` milliseconds have passed. @returns if it was done */
  run(done: () => boolean, limit = 60_000): boolean {
    const end = this.now + limit
    for (;;) {
      this.settle()
      if (done()) return true
      const next = this.next
      if (next > end) {
        this.now = end
        this.settle()
        return done()
      }
      this.now = Math.max(this.now, next)
    }
  }

  /** Runs for that long. */
  pass(ms: number): void {
    this.run(() => false, ms)
  }
}
