/** The simulator itself: what a link does to packets, and the books kept of it, against plainer accounts. */
import t from 'tap'
import { naiveSum } from '../../helpers/ip-packet.js'
import { Pair } from '../../helpers/pair.js'
import { SeededRandom } from '../../helpers/random.js'
import { BulkFlow, jain, Simulation } from '../../helpers/sim.js'
import { DeliveryAudit } from '../../helpers/sim-audit.js'
import { Link, type LinkProfile, mark, type Slot, SlotPool } from '../../helpers/sim-link.js'

const pool = new SlotPool(1500)

/** An IPv4 packet of `len` octets, numbered in its identification. */
function packet(n: number, len = 100): Slot {
  const slot = pool.take(len)
  slot.len = len
  slot.bytes.set([0x45, 0, len >>> 8, len & 255, n >>> 8, n & 255], slot.off)
  return slot
}

const numberOf = (s: Slot): number => ((s.bytes[s.off + 4] as number) << 8) | (s.bytes[s.off + 5] as number)

/** All that arrive until `now`, by their numbers, and when. */
function arrivals(link: Link, now: number): { n: number; at: number }[] {
  const out: { n: number; at: number }[] = []
  for (let s = link.receive(now); s !== undefined; s = link.receive(now)) {
    out.push({ n: numberOf(s), at: s.at })
    pool.release(s)
  }
  return out
}

function link(profile: LinkProfile, seed = 1): Link {
  return new Link(profile, new SeededRandom(seed), pool)
}

t.test('what is sent arrives once, in the order of the times, against a sorted list', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const r = new SeededRandom(seed)
    const l = link({ delay: 5, jitter: 3, reorder: 0.3, reorderBy: 20, duplicate: 0.1 }, seed)
    const left = new Map<number, number>()
    let duplicates = 0
    let last = 0
    let n = 0
    for (let now = 0; now < 500; now += r.below(3)) {
      for (let k = r.below(6); k > 0; k--) {
        const copies = l.duplicated
        l.send(packet(n), now)
        left.set(n++, 1 + l.duplicated - copies)
        duplicates += l.duplicated - copies
      }
      const next = l.next
      const got = arrivals(l, now)
      if (got.length > 0 !== next <= now) t.fail('next is not the next')
      for (const { n, at } of got) {
        if (at < last || at > now) t.fail(`seed ${seed}: ${at} behind ${last} at ${now}`)
        last = at
        left.set(n, (left.get(n) ?? 0) - 1)
      }
    }
    for (const { n } of arrivals(l, 1e9)) left.set(n, (left.get(n) ?? 0) - 1)
    if ([...left.values()].some((x) => x !== 0)) t.fail(`seed ${seed}: not each once`)
    t.ok(duplicates > 10 && l.reordered > 50, `${n} packets, ${duplicates} copies, ${l.reordered} reordered`)
    t.equal(l.next, Number.POSITIVE_INFINITY)
  }
})

t.test('jitter keeps the order', async (t) => {
  const l = link({ delay: 5, jitter: 20 })
  for (let i = 0; i < 200; i++) l.send(packet(i), i)
  t.same(
    arrivals(l, 1e9).map((x) => x.n),
    Array.from({ length: 200 }, (_, i) => i),
  )
})

t.test('loss: its share, and the length of bursts', async (t) => {
  for (const [loss, burst] of [
    [0.01, 1],
    [0.05, 1],
    [0.02, 4],
    [0.1, 8],
  ] as const) {
    const l = link({ delay: 0, loss, burst })
    const total = 200_000
    let bursts = 0
    let before = 0
    let inBurst = false
    for (let i = 0; i < total; i++) {
      l.send(packet(i), i)
      const lost = l.lost > before
      before = l.lost
      if (lost && !inBurst) bursts++
      inBurst = lost
      arrivals(l, i)
    }
    const share = l.lost / total
    const mean = l.lost / bursts
    const expected = burst === 1 ? 1 / (1 - loss) : burst
    t.ok(Math.abs(share - loss) < 0.1 * loss, `${share} of ${loss}`)
    t.ok(
      Math.abs(mean - expected) < 0.1 * expected,
      `bursts of ${mean.toFixed(2)}, ${expected.toFixed(2)} wanted`,
    )
  }
})

t.test('a rate spaces packets, and a full queue drops the newest', async (t) => {
  const l = link({ delay: 10, rate: 50, queue: 1000 })
  for (let i = 0; i < 30; i++) l.send(packet(i), 0)
  const got = arrivals(l, 1e9)
  t.same(
    got.map((x) => x.n),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  )
  t.same(
    got.map((x) => x.at),
    [12, 14, 16, 18, 20, 22, 24, 26, 28, 30],
  )
  t.equal(l.overflowed, 20)
  t.equal(l.lost, 20)
})

t.test('a stall holds everything back, in order, and lets it go at once', async (t) => {
  const l = link({ delay: 5, stalls: [[20, 60]] })
  for (let i = 0; i < 80; i++) l.send(packet(i), i)
  const got = arrivals(l, 1e9)
  t.same(
    got.map((x) => x.n),
    Array.from({ length: 80 }, (_, i) => i),
  )
  t.equal(got.filter((x) => x.at >= 20 && x.at < 60).length, 0)
  t.equal(got.filter((x) => x.at === 60).length, 41, 'those of 40 ms, and the one that was due')

  const held = link({ delay: 5 })
  held.send(packet(1), 0)
  held.heldUntil = 100
  t.equal(held.next, 100)
  t.same(arrivals(held, 99), [])
  t.equal(arrivals(held, 100).length, 1)
})

t.test('marking: only what can carry it, and the header checksum stays right', async (t) => {
  const r = new SeededRandom(3)
  for (let i = 0; i < 2000; i++) {
    const s = packet(i, 60)
    const b = s.bytes.subarray(s.off, s.off + 60)
    r.fill(b)
    b[0] = 0x45
    const tos = b[1] as number
    b[10] = b[11] = 0
    const sum = 65535 - naiveSum(b.subarray(0, 20))
    b[10] = sum >>> 8
    b[11] = sum & 255
    const marked = mark(s)
    if (marked !== ((tos & 3) !== 0)) t.fail(`tos ${tos}`)
    if (b[1] !== (marked ? tos | 3 : tos)) t.fail(`tos ${tos} became ${b[1]}`)
    if (naiveSum(b.subarray(0, 20)) !== 65535) t.fail(`checksum, packet ${i}`)
    b[0] = 0x60 | (tos >>> 4)
    b[1] = (tos << 4) & 0xff
    if (mark(s) !== ((tos & 3) !== 0)) t.fail('IPv6, marked')
    if (b[1] !== ((tos & 3) !== 0 ? ((tos << 4) & 0xff) | 0x30 : (tos << 4) & 0xff)) t.fail('IPv6')
    pool.release(s)
  }
  const l = link({ delay: 0, rate: 50, markAbove: 500 })
  for (let i = 0; i < 20; i++) {
    const s = packet(i)
    s.bytes[s.off + 1] = 2
    l.send(s, 0)
  }
  t.equal(l.marked, 14, 'the first six found no more than 500 octets before them')
})

t.test('corruption changes one octet, always', async (t) => {
  const l = link({ delay: 0, corrupt: 1 })
  for (let i = 0; i < 500; i++) {
    const s = packet(i)
    const before = s.bytes.slice(s.off, s.off + s.len)
    l.send(s, i)
    const got = l.receive(i) as Slot
    const after = got.bytes.subarray(got.off, got.off + got.len)
    if (before.filter((x, k) => x !== after[k]).length !== 1) t.fail(`packet ${i}`)
    if (got.genuine) t.fail('said to be genuine')
    pool.release(got)
  }
  t.equal(l.corrupted, 500)
})

/** A TCP segment of a flow. */
function segment(seq: number, length: number, syn = false): Slot {
  const s = pool.take()
  s.len = 40 + length
  const b = Buffer.from(s.bytes.buffer, s.bytes.byteOffset + s.off, s.len)
  b.fill(0)
  b[0] = 0x45
  b[9] = 6
  b.writeUInt32BE(seq >>> 0, 24)
  b[32] = 0x50
  b[33] = syn ? 2 : 0x10
  return s
}

t.test('the audit against sets of octets, over the wrap', async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const r = new SeededRandom(seed)
    const iss = (2 ** 32 - 3000 + r.below(6000)) >>> 0
    const audit = new DeliveryAudit()
    const sent = new Set<number>()
    const had = new Set<number>()
    let resent = 0
    let needless = 0
    let needlessSegments = 0
    audit.sent(segment(iss, 0, true))
    let high = 0
    for (let i = 0; i < 400; i++) {
      const length = 1 + r.below(60)
      const from = r.chance(0.7) ? high : r.below(high + 1)
      high = Math.max(high, from + length)
      const s = segment((iss + 1 + from) >>> 0, length)
      audit.sent(s)
      let again = 0
      for (let k = from; k < from + length; k++) {
        if (sent.has(k)) resent++
        sent.add(k)
      }
      if (r.chance(0.8)) {
        audit.delivered(s)
        for (let k = from; k < from + length; k++) {
          if (had.has(k)) again++
          had.add(k)
        }
        needless += again
        if (again > 0) needlessSegments++
      }
      pool.release(s)
    }
    t.same(
      [audit.resentOctets, audit.needlessOctets, audit.needlessSegments, audit.segments],
      [resent, needless, needlessSegments, 400],
    )
  }
})

t.test("Jain's index", async (t) => {
  t.equal(jain([5, 5, 5, 5]), 1)
  t.equal(jain([7, 0, 0, 0]), 0.25)
})

t.test('a wrong octet does not go unseen', async (t) => {
  const sim = new Simulation({ delay: 5 }, 1)
  const flow = sim.bulk('up', 100_000)
  t.ok(flow instanceof BulkFlow)
  sim.pair.pass(12)
  // As if the stack had delivered from the wrong place.
  flow.received += 1
  t.throws(() => sim.pair.pass(1000), /wrong octets/)
})

t.test('the same seed gives the same run', async (t) => {
  const trace = (seed: number): string => {
    const sim = new Simulation({ delay: 5, loss: 0.05, reorder: 0.1, duplicate: 0.05 }, seed)
    sim.bulk('up', 200_000)
    const lines: string[] = []
    sim.pair.ab.tap = (p, now) => lines.push(`${now} ${p.length}`) > 0
    sim.pair.pass(5000)
    sim.finish()
    return lines.join('\n')
  }
  t.equal(trace(5), trace(5))
  t.not(trace(5), trace(6))
  t.ok(new Pair({ delay: 0 }).ab instanceof Link)
})
