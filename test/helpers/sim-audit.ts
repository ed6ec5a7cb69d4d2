import type { Slot } from './sim-link.js'

/** What one flow of TCP sent over a link, and what of it arrived. Numbers run on over the wrap of sequence numbers. */
class Flow {
  private readonly base: number
  private known = 0
  /** All up to here was sent. */
  sent = 0
  /** All up to here was delivered, and besides: disjoint ranges in order, `from, to, from, to`. */
  private whole = 0
  private readonly ranges: number[] = []

  constructor(seq: number) {
    this.base = seq
  }

  place(seq: number): number {
    // The nearest number of the run to the last one known.
    this.known += (seq - (this.base + this.known)) | 0
    return this.known
  }

  /** @returns how many of these octets had been delivered before */
  deliver(from: number, to: number): number {
    const { ranges } = this
    let had = Math.max(0, Math.min(to, this.whole) - from)
    from = Math.max(from, this.whole)
    if (from >= to) return had
    // The first range that ends at `from` or behind it.
    let low = 0
    let high = ranges.length / 2
    while (low < high) {
      const middle = (low + high) >> 1
      if ((ranges[2 * middle + 1] as number) < from) low = middle + 1
      else high = middle
    }
    let last = low
    let start = from
    let end = to
    while (2 * last < ranges.length && (ranges[2 * last] as number) <= to) {
      const a = ranges[2 * last] as number
      const b = ranges[2 * last + 1] as number
      had += Math.max(0, Math.min(to, b) - Math.max(from, a))
      start = Math.min(start, a)
      end = Math.max(end, b)
      last++
    }
    if (start === this.whole) {
      this.whole = end
      ranges.splice(0, 2 * last)
    } else {
      ranges.splice(2 * low, 2 * (last - low), start, end)
    }
    return had
  }
}

/**
 * Watches one direction of a link from outside the stacks: which octets of each TCP flow were sent again, and
 * which came to a receiver that had them. The second kind was needless. Copies that the link made, and packets
 * that it corrupted, are not counted.
 */
export class DeliveryAudit {
  /** Segments with data, and those of them that brought any octet a second time. */
  segments = 0
  needlessSegments = 0
  octets = 0
  resentSegments = 0
  resentOctets = 0
  needlessOctets = 0
  private readonly flows = new Map<number, Flow>()

  sent(slot: Slot): void {
    if (!this.read(slot)) return
    const { flow, from, to } = this
    this.segments++
    this.octets += to - from
    if (from < flow.sent) {
      this.resentSegments++
      this.resentOctets += Math.min(to, flow.sent) - from
    }
    flow.sent = Math.max(flow.sent, to)
  }

  delivered(slot: Slot): void {
    if (!slot.genuine || !this.read(slot)) return
    const had = this.flow.deliver(this.from, this.to)
    if (had === 0) return
    this.needlessSegments++
    this.needlessOctets += had
  }

  /** Of the segment read last. */
  private flow = new Flow(0)
  private from = 0
  private to = 0

  /** @returns false if it is no segment with data */
  private read({ bytes: b, off, len }: Slot): boolean {
    const u8 = (o: number): number => b[o] as number
    const four = u8(off) >>> 4 === 4
    if (u8(off + (four ? 9 : 6)) !== 6) return false
    const t = off + (four ? (u8(off) & 15) * 4 : 40)
    const data = off + len - t - (u8(t + 12) >>> 4) * 4
    const seq = (u8(t + 4) << 24) | (u8(t + 5) << 16) | (u8(t + 6) << 8) | u8(t + 7)
    // Ends of a test differ by their ports.
    const key = (u8(t) * 256 + u8(t + 1)) * 65536 + u8(t + 2) * 256 + u8(t + 3)
    const syn = (u8(t + 13) & 2) !== 0
    let flow = this.flows.get(key)
    if (flow === undefined || (syn && data === 0)) {
      if (flow !== undefined && syn) return false
      flow = new Flow(seq + (syn ? 1 : 0))
      this.flows.set(key, flow)
    }
    if (data <= 0) return false
    this.flow = flow
    this.from = flow.place(seq + (syn ? 1 : 0))
    this.to = this.from + data
    return true
  }
}
