import type { PacketAddresses, Tuple } from './tuple.js'

/** What a {@link TupleTable} holds. `hashNext` belongs to the table. */
export interface Demuxed {
  readonly tuple: Tuple
  hashNext: Demuxed | undefined
}

/**
 * Finds the socket of a packet by both addresses and ports: a chained hash table keyed by integers, so
 * a look-up makes no object and no string. The seed keeps peers from choosing colliding ports.
 */
export class TupleTable<T extends Demuxed> {
  private slots: (T | undefined)[] = new Array(64).fill(undefined)
  private readonly seed: number
  size = 0

  constructor(seed: number) {
    this.seed = seed | 1
  }

  /** The socket whose remote end is the packet's source and whose local end is its destination. */
  find(a: PacketAddresses, remotePort: number, localPort: number): T | undefined {
    let t = this.slots[this.slot(a.s0, a.s1, a.s2, a.s3, remotePort, localPort)]
    while (t !== undefined) {
      const u = t.tuple
      if (
        u.remotePort === remotePort &&
        u.localPort === localPort &&
        u.remote.w3 === a.s3 &&
        u.local.w3 === a.d3 &&
        u.remote.w2 === a.s2 &&
        u.remote.w1 === a.s1 &&
        u.remote.w0 === a.s0 &&
        u.local.w2 === a.d2 &&
        u.local.w1 === a.d1 &&
        u.local.w0 === a.d0
      ) {
        return t
      }
      t = t.hashNext as T | undefined
    }
    return undefined
  }

  has(tuple: Tuple): boolean {
    return this.get(tuple) !== undefined
  }

  get(tuple: Tuple): T | undefined {
    let t = this.slots[this.slotOf(tuple)]
    while (t !== undefined) {
      const u = t.tuple
      if (
        u.remotePort === tuple.remotePort &&
        u.localPort === tuple.localPort &&
        u.remote.equals(tuple.remote) &&
        u.local.equals(tuple.local)
      ) {
        return t
      }
      t = t.hashNext as T | undefined
    }
    return undefined
  }

  add(item: T): void {
    if (this.size >= this.slots.length) this.resize()
    const i = this.slotOf(item.tuple)
    item.hashNext = this.slots[i]
    this.slots[i] = item
    this.size++
  }

  delete(item: T): boolean {
    const i = this.slotOf(item.tuple)
    let before: T | undefined
    let t = this.slots[i]
    while (t !== undefined) {
      if (t === item) {
        const next = t.hashNext as T | undefined
        if (before === undefined) this.slots[i] = next
        else before.hashNext = next
        t.hashNext = undefined
        this.size--
        return true
      }
      before = t
      t = t.hashNext as T | undefined
    }
    return false
  }

  forEach(visit: (item: T) => void): void {
    for (const first of this.slots) {
      let t = first
      while (t !== undefined) {
        const next = t.hashNext as T | undefined
        visit(t)
        t = next
      }
    }
  }

  private slotOf(u: Tuple): number {
    return this.slot(u.remote.w0, u.remote.w1, u.remote.w2, u.remote.w3, u.remotePort, u.localPort)
  }

  /** The local address is left out: it is nearly always the same one. */
  private slot(
    r0: number,
    r1: number,
    r2: number,
    r3: number,
    remotePort: number,
    localPort: number,
  ): number {
    let h = this.seed ^ ((remotePort << 16) | localPort)
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) ^ r3
    h = Math.imul(h ^ (h >>> 13), 0x297a2d39) ^ r2
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) ^ r1
    h = Math.imul(h ^ (h >>> 13), 0x297a2d39) ^ r0
    h = Math.imul(h ^ (h >>> 15), this.seed)
    return (h ^ (h >>> 16)) & (this.slots.length - 1)
  }

  private resize(): void {
    const old = this.slots
    this.slots = new Array(old.length * 2).fill(undefined)
    for (const first of old) {
      let t = first
      while (t !== undefined) {
        const next = t.hashNext as T | undefined
        const i = this.slotOf(t.tuple)
        t.hashNext = this.slots[i]
        this.slots[i] = t
        t = next
      }
    }
  }
}
