import type { SeededRandom } from './random.js'
import type { DeliveryAudit } from './sim-audit.js'

/** What a link does to packets. Times in milliseconds, rates in octets a millisecond, chances from 0 to 1. */
export interface LinkProfile {
  readonly delay: number
  /** Up to so much more delay, drawn for each packet; order is kept, as queues on a path keep it. */
  readonly jitter?: number
  readonly rate?: number
  /** Octets that wait for the rate; what does not fit is dropped (drop-tail). */
  readonly queue?: number
  /** Share of the packets that the medium loses, behind the queue: a lost packet has cost its time on the wire. */
  readonly loss?: number
  /** Mean length of a burst of losses, in packets (the two states of Gilbert's model, the bad one never through a pause); 1 is independent loss. */
  readonly burst?: number
  /** Share of the packets that fall behind those sent after them, by up to `reorderBy` (or `delay`, at least 1 ms). */
  readonly reorder?: number
  readonly reorderBy?: number
  readonly duplicate?: number
  /** Larger packets vanish without a word: a black hole. */
  readonly mtu?: number
  /** One octet changed, somewhere. */
  readonly corrupt?: number
  /** Octets waiting above which a packet that can carry the mark gets it (RFC 3168 5) instead of an early drop. */
  readonly markAbove?: number
  /** Nothing arrives between these instants, then all of it, in order: an outer connection that stalls. */
  readonly stalls?: readonly (readonly [from: number, to: number])[]
  /** More delay for some packets: flows with paths of different lengths behind one queue. */
  readonly detour?: (b: Uint8Array, off: number, len: number) => number
}

/** A packet under way. Slots are used again, so a test of hundreds of thousands of packets makes few of them. */
export interface Slot {
  bytes: Uint8Array
  off: number
  len: number
  at: number
  order: number
  /** As it was sent: no copy made by the link, and not corrupted. */
  genuine: boolean
}

/** Room for packets, poisoned when it comes back. */
export class SlotPool {
  private readonly free: Slot[] = []
  private readonly size: number
  private taken = 0

  constructor(mtu: number) {
    this.size = mtu + 16
  }

  /** Room for `mtu` octets, at odd and even places by turns, so that nobody relies on where a packet lies. */
  take(mtu = 0): Slot {
    const old = mtu + 16 <= this.size ? this.free.pop() : undefined
    const slot = old ?? {
      bytes: new Uint8Array(Math.max(this.size, mtu + 16)).fill(0xa5),
      off: 0,
      len: 0,
      at: 0,
      order: 0,
      genuine: true,
    }
    slot.off = 3 + (this.taken++ & 3)
    slot.genuine = true
    return slot
  }

  release(slot: Slot): void {
    slot.bytes.fill(0xa5, slot.off, slot.off + slot.len)
    this.free.push(slot)
  }
}

/** Milliseconds without a packet after which a burst of losses is over. */
const BURST_MOST = 100

/** One direction of a link, in virtual time. */
export class Link {
  /** May be changed at any time; what is under way keeps its times. */
  profile: LinkProfile
  /** Nothing arrives before this instant. */
  heldUntil = 0
  /** Sees every packet that is sent, and may change it; returning false drops it. */
  tap: ((packet: Uint8Array, now: number) => boolean) | undefined
  /** Keeps the books of what was delivered, if set. */
  audit: DeliveryAudit | undefined
  sent = 0
  /** In all, and those for want of room in the queue. */
  lost = 0
  overflowed = 0
  corrupted = 0
  duplicated = 0
  reordered = 0
  marked = 0
  private readonly random: SeededRandom
  private readonly pool: SlotPool
  private readonly slow: Slot[] = []
  private readonly fast = new SlotQueue()
  private free = 0
  private last = 0
  private order = 0
  private losing = false
  private triedAt = 0

  constructor(profile: LinkProfile, random: SeededRandom, pool: SlotPool) {
    this.profile = profile
    this.random = random
    this.pool = pool
  }

  /** Takes `slot` over. */
  send(slot: Slot, now: number): void {
    this.sent++
    if (this.tap !== undefined && !this.tapped(this.tap, slot, now)) {
      this.lost++
      this.pool.release(slot)
      return
    }
    const { profile: p, random: r } = this
    this.audit?.sent(slot)
    if (p.mtu !== undefined && slot.len > p.mtu) {
      this.lost++
      this.pool.release(slot)
      return
    }
    let start = now
    if (p.rate !== undefined) {
      const waiting = Math.max(0, this.free - now) * p.rate
      if (p.queue !== undefined && waiting + slot.len > p.queue) {
        this.overflowed++
        this.lost++
        this.pool.release(slot)
        return
      }
      if (p.markAbove !== undefined && waiting > p.markAbove && mark(slot)) this.marked++
      this.free = Math.max(this.free, now) + slot.len / p.rate
      start = this.free
    }
    if (this.loses(start)) {
      this.lost++
      this.pool.release(slot)
      return
    }
    let at = start + p.delay + (p.jitter ? r.next() * p.jitter : 0)
    const behind = p.reorder !== undefined && p.reorder > 0 && r.chance(p.reorder)
    if (behind) {
      at += r.next() * (p.reorderBy ?? Math.max(1, p.delay))
      this.reordered++
    }
    if (p.stalls !== undefined) for (const [from, to] of p.stalls) if (at >= from && at < to) at = to
    if (!behind) at = this.last = Math.max(at, this.last)
    if (p.detour !== undefined) at += p.detour(slot.bytes, slot.off, slot.len)
    if (p.corrupt && r.chance(p.corrupt)) {
      const where = slot.off + r.below(slot.len)
      slot.bytes[where] = (slot.bytes[where] as number) ^ (1 + r.below(255))
      slot.genuine = false
      this.corrupted++
    }
    const copy = p.duplicate !== undefined && p.duplicate > 0 && r.chance(p.duplicate)
    this.push(at, slot)
    if (copy) {
      const twin = this.pool.take(slot.len)
      twin.len = slot.len
      twin.bytes.set(slot.bytes.subarray(slot.off, slot.off + slot.len), twin.off)
      twin.genuine = false
      this.duplicated++
      this.push(at, twin)
    }
  }

  /** When the next packet arrives. */
  get next(): number {
    const { head } = this.fast
    const top = this.slow[0]
    if (head === undefined && top === undefined) return Number.POSITIVE_INFINITY
    const first = Math.min(head?.at ?? Number.POSITIVE_INFINITY, top?.at ?? Number.POSITIVE_INFINITY)
    return Math.max(first, this.heldUntil)
  }

  /** The next packet that has arrived; whoever takes it gives it back to the pool. */
  receive(now: number): Slot | undefined {
    if (now < this.heldUntil) return undefined
    const { head } = this.fast
    const top = this.slow[0]
    let slot: Slot
    if (head !== undefined && (top === undefined || earlier(head, top))) {
      if (head.at > now) return undefined
      slot = head
      this.fast.shift()
    } else {
      if (top === undefined || top.at > now) return undefined
      slot = top
      popHeap(this.slow)
    }
    this.audit?.delivered(slot)
    return slot
  }

  /** What has not arrived yet never does. */
  clear(): void {
    for (let s = this.receive(Number.POSITIVE_INFINITY); s !== undefined; ) {
      this.pool.release(s)
      s = this.receive(Number.POSITIVE_INFINITY)
    }
  }

  private tapped(tap: NonNullable<Link['tap']>, slot: Slot, now: number): boolean {
    // A tap may keep or change what it sees.
    const packet = slot.bytes.slice(slot.off, slot.off + slot.len)
    const goes = tap(packet, now)
    if (goes) slot.bytes.set(packet, slot.off)
    return goes
  }

  private loses(at: number): boolean {
    const { loss = 0, burst = 1 } = this.profile
    if (loss === 0) return false
    if (burst <= 1) return this.random.chance(loss)
    // A medium does not stay bad until the next packet, whenever that comes.
    if (at - this.triedAt > BURST_MOST) this.losing = false
    this.triedAt = at
    // Leaving the losing state with 1/burst, entering it so that the share of time in it is `loss`.
    this.losing = this.random.chance(this.losing ? 1 - 1 / burst : loss / (burst * (1 - loss)))
    return this.losing
  }

  private push(at: number, slot: Slot): void {
    slot.at = at
    slot.order = this.order++
    const { tail } = this.fast
    if (tail === undefined || at >= tail.at) this.fast.push(slot)
    else pushHeap(this.slow, slot)
  }
}

/** First in, first out, without moving anything. */
class SlotQueue {
  private items: (Slot | undefined)[] = new Array(256).fill(undefined)
  private first = 0
  private count = 0

  get head(): Slot | undefined {
    return this.items[this.first]
  }

  get tail(): Slot | undefined {
    return this.count === 0 ? undefined : this.items[(this.first + this.count - 1) & (this.items.length - 1)]
  }

  push(slot: Slot): void {
    const n = this.items.length
    if (this.count === n) {
      this.items = [...this.items.slice(this.first), ...this.items.slice(0, this.first)]
      this.items.length = 2 * n
      this.items.fill(undefined, n)
      this.first = 0
    }
    this.items[(this.first + this.count++) & (this.items.length - 1)] = slot
  }

  shift(): void {
    this.items[this.first] = undefined
    this.first = (this.first + 1) & (this.items.length - 1)
    this.count--
  }
}

function earlier(a: Slot, b: Slot): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

function pushHeap(heap: Slot[], slot: Slot): void {
  let i = heap.length
  heap.push(slot)
  while (i > 0) {
    const parent = (i - 1) >> 1
    const p = heap[parent] as Slot
    if (earlier(p, slot)) break
    heap[i] = p
    i = parent
  }
  heap[i] = slot
}

function popHeap(heap: Slot[]): void {
  const slot = heap.pop() as Slot
  const n = heap.length
  if (n === 0) return
  let i = 0
  for (;;) {
    let child = 2 * i + 1
    if (child >= n) break
    if (child + 1 < n && earlier(heap[child + 1] as Slot, heap[child] as Slot)) child++
    const c = heap[child] as Slot
    if (earlier(slot, c)) break
    heap[i] = c
    i = child
  }
  heap[i] = slot
}

/** Sets CE on a packet of an ECN-capable transport (RFC 3168 5). @returns false if it is none */
export function mark({ bytes: b, off }: Slot): boolean {
  const four = (b[off] as number) >>> 4 === 4
  // The two bits end the second octet of IPv4, and stand inside the second octet of IPv6.
  const shift = four ? 0 : 4
  const bits = ((b[off + 1] as number) >>> shift) & 3
  if (bits === 0) return false
  const ce = (b[off + 1] as number) | (3 << shift)
  if (four) {
    // RFC 1624 3: HC' = ~(~HC + ~m + m').
    const before = ((b[off] as number) << 8) | (b[off + 1] as number)
    const after = ((b[off] as number) << 8) | ce
    let sum =
      (~(((b[off + 10] as number) << 8) | (b[off + 11] as number)) & 0xffff) + (~before & 0xffff) + after
    sum = (sum & 0xffff) + (sum >>> 16)
    sum = (sum & 0xffff) + (sum >>> 16)
    b[off + 10] = (~sum >>> 8) & 0xff
    b[off + 11] = ~sum & 0xff
  }
  b[off + 1] = ce
  return true
}
