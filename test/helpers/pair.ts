import { type AnySocket, IpAddress, NetStack, type NetStackOptions } from '../../stack/index.js'
import { SeededRandom } from './random.js'
import { Link, type LinkProfile, SlotPool } from './sim-link.js'

export { Link, type LinkProfile } from './sim-link.js'

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
  private readonly pool: SlotPool

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
    this.pool = new SlotPool(Math.max(this.a.mtu, this.b.mtu, 1500))
    this.ab = new Link(both.ab, this.random, this.pool)
    this.ba = new Link(both.ba, this.random, this.pool)
  }

  /** Moves all that can move at this instant. */
  settle(): void {
    for (let i = 0; i < 10_000; i++) {
      let moved = this.deliver(this.ab, this.b)
      moved = this.deliver(this.ba, this.a) || moved
      moved = this.serve(this.a, this.ab) || moved
      moved = this.serve(this.b, this.ba) || moved
      if (!moved) return
    }
    throw new Error('the pair does not settle: a livelock')
  }

  private deliver(link: Link, to: NetStack): boolean {
    let moved = false
    for (let p = link.receive(this.now); p !== undefined; p = link.receive(this.now)) {
      to.input(p.bytes, p.off, p.len, this.now)
      this.pool.release(p)
      moved = true
    }
    return moved
  }

  private serve(stack: NetStack, link: Link): boolean {
    let moved = false
    if (stack.nextTimeout() <= this.now) stack.handleTimeout(this.now)
    for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
      this.onReady(s, stack)
      moved = true
    }
    while (stack.hasOutput) {
      const slot = this.pool.take(stack.mtu)
      slot.len = stack.output(slot.bytes, slot.off, this.now)
      if (slot.len === 0) {
        this.pool.release(slot)
        break
      }
      link.send(slot, this.now)
      moved = true
    }
    return moved
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
