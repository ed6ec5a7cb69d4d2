import type { SeededRandom } from '../../helpers/random.js'

/** Milliseconds, and chances from 0 to 1. */
export interface WireProfile {
  readonly delay: number
  readonly loss?: number
  /** Packets that take up to twice as long, so that later ones overtake them. */
  readonly reorder?: number
  readonly duplicate?: number
  readonly corrupt?: number
  /** Once a window is announced as closed, nothing gets through for that long, so that nobody hears it open again. */
  readonly deaf?: number
}

/** A TCP segment over IPv4 that announces a window of nothing. */
function isClosed(p: Uint8Array): boolean {
  const at = ((p[0] ?? 0) & 15) * 4
  const isReset = ((p[at + 13] ?? 0) & 4) !== 0
  return !isReset && p[at + 14] === 0 && p[at + 15] === 0
}

/** One direction of a link, in virtual time. */
export class Wire {
  private readonly profile: WireProfile
  private readonly random: SeededRandom
  private readonly flight: { readonly at: number; readonly packet: Uint8Array }[] = []
  private closedAt = Number.POSITIVE_INFINITY
  lost = 0
  spoilt = 0

  constructor(profile: WireProfile, random: SeededRandom) {
    this.profile = profile
    this.random = random
  }

  /** Keeps the packet. */
  send(packet: Uint8Array, now: number): void {
    const { delay, loss = 0, reorder = 0, duplicate = 0, corrupt = 0, deaf } = this.profile
    const { random: r } = this
    if (r.chance(loss) || (now > this.closedAt && now < this.closedAt + (deaf ?? 0))) {
      this.lost++
      return
    }
    if (deaf !== undefined && now < this.closedAt && isClosed(packet)) this.closedAt = now
    if (r.chance(corrupt)) {
      this.spoilt++
      const at = r.below(packet.length)
      packet[at] = (packet[at] ?? 0) ^ (1 << r.below(8))
    }
    const late = r.chance(reorder) ? r.next() * delay : 0
    this.push(now + delay + late, packet)
    if (r.chance(duplicate)) this.push(now + delay + r.next() * delay, new Uint8Array(packet))
  }

  /** When the next packet arrives; `Infinity` if none is under way. */
  get next(): number {
    return this.flight[0]?.at ?? Number.POSITIVE_INFINITY
  }

  /** A packet that has arrived by now, or undefined. */
  receive(now: number): Uint8Array | undefined {
    return this.next <= now ? this.flight.shift()?.packet : undefined
  }

  /** For a test with `deaf`: when a window was first announced as closed; `Infinity` if never. */
  get closed(): number {
    return this.closedAt
  }

  private push(at: number, packet: Uint8Array): void {
    let i = this.flight.length
    while (i > 0 && (this.flight[i - 1]?.at ?? 0) > at) i--
    this.flight.splice(i, 0, { at, packet })
  }
}
