/**
 * The path between the kernel and the other end, in real time: lanes that do not know each other, each with its own
 * delay, rate, queue, loss and order in each direction, from a seed of its own.
 */
import { SeededRandom } from '../../helpers/random.js'

/** What one direction does to packets. Milliseconds, octets a millisecond, chances from 0 to 1. */
export interface Profile {
  readonly delay: number
  /** More delay, even from 0 to that; order is kept. */
  readonly jitter?: number
  readonly rate?: number
  /** Octets that wait for the rate; the packet that finds more is dropped. */
  readonly queue?: number
  readonly loss?: number
  /** As netem's: these packets have no delay and overtake the others. */
  readonly reorder?: number
  readonly duplicate?: number
  /** Larger packets vanish. */
  readonly mtu?: number
}

interface Entry {
  readonly at: number
  readonly packet: Buffer
}

export type Deliver = (packet: Buffer, now: number) => void

/** One direction of a lane. */
export class Direction {
  readonly counts = { in: 0, lost: 0, overflowed: 0, tooLarge: 0, out: 0, late: 0 }
  profile: Profile
  /** Sees each packet before anything happens to it; false drops it. */
  tap: ((packet: Buffer, now: number) => boolean) | undefined
  private readonly random: SeededRandom
  private readonly deliver: Deliver
  /** In order of time; those before `first` are gone. */
  private inOrder: Entry[] = []
  private first = 0
  /** Packets that overtake: rare, sorted by insertion. */
  private early: Entry[] = []
  private free = 0
  private last = 0

  constructor(profile: Profile, seed: number, deliver: Deliver) {
    this.profile = profile
    this.random = new SeededRandom(seed)
    this.deliver = deliver
  }

  /** Takes a packet, which must not change any more. */
  send(packet: Buffer, now: number): void {
    const { profile: p, random: r, counts } = this
    counts.in++
    if (this.tap !== undefined && !this.tap(packet, now)) return
    if (p.mtu !== undefined && packet.length > p.mtu) {
      counts.tooLarge++
      return
    }
    if (p.loss && r.chance(p.loss)) {
      counts.lost++
      return
    }
    let start = now
    if (p.rate !== undefined) {
      const waiting = Math.max(0, this.free - now) * p.rate
      if (p.queue !== undefined && waiting + packet.length > p.queue) {
        counts.overflowed++
        return
      }
      this.free = Math.max(this.free, now) + packet.length / p.rate
      start = this.free
    }
    if (p.reorder && r.chance(p.reorder)) {
      let i = this.early.length
      while (i > 0 && (this.early[i - 1] as Entry).at > start) i--
      this.early.splice(i, 0, { at: start, packet })
      return
    }
    this.last = Math.max(this.last, start + p.delay + (p.jitter ? r.next() * p.jitter : 0))
    this.inOrder.push({ at: this.last, packet })
    if (p.duplicate && r.chance(p.duplicate)) this.inOrder.push({ at: this.last, packet })
  }

  /** When the next packet is due. */
  get next(): number {
    return Math.min(
      this.inOrder[this.first]?.at ?? Number.POSITIVE_INFINITY,
      this.early[0]?.at ?? Number.POSITIVE_INFINITY,
    )
  }

  /** Delivers what is due. @returns if there was anything */
  pump(now: number): boolean {
    let moved = false
    for (let e = this.early[0]; e !== undefined && e.at <= now; e = this.early[0]) {
      this.early.shift()
      this.hand(e, now)
      moved = true
    }
    for (let e = this.inOrder[this.first]; e !== undefined && e.at <= now; e = this.inOrder[this.first]) {
      if (++this.first >= 1024) {
        this.inOrder = this.inOrder.slice(this.first)
        this.first = 0
      }
      this.hand(e, now)
      moved = true
    }
    return moved
  }

  private hand(e: Entry, now: number): void {
    this.counts.out++
    if (now - e.at > 2) this.counts.late++
    this.deliver(e.packet, now)
  }
}

/** Both directions, seen from the kernel that is always at one end: `up` goes to it, `down` comes from it. */
export interface Lane {
  readonly up: Direction
  readonly down: Direction
}

/** Something that has to be run as time passes. @returns when it wants to be run again */
export type Runner = (now: number) => number

/**
 * The one loop. Node's timers have steps of a millisecond, so the last two before something is due are spent in
 * turns of the event loop: packets leave on time, and are not gathered into bursts of a millisecond.
 */
export class Loop {
  private readonly runners = new Set<Runner>()
  private timer: NodeJS.Timeout | undefined
  private immediate: NodeJS.Immediate | undefined
  private running = false

  add(runner: Runner): () => void {
    this.runners.add(runner)
    this.wake()
    return () => void this.runners.delete(runner)
  }

  /** Something has come: run in this turn. */
  wake(): void {
    this.immediate ??= setImmediate(() => this.run())
  }

  stop(): void {
    clearTimeout(this.timer)
    clearImmediate(this.immediate)
    this.runners.clear()
  }

  private run(): void {
    this.immediate = undefined
    if (this.running) return
    this.running = true
    clearTimeout(this.timer)
    this.timer = undefined
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const runner of this.runners) next = Math.min(next, runner(now))
    this.running = false
    const left = next - performance.now()
    if (left < 2) this.wake()
    else if (left < Number.POSITIVE_INFINITY) this.timer = setTimeout(() => this.run(), Math.floor(left - 1))
  }
}
