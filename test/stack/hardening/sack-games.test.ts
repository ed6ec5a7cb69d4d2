/**
 * Acknowledgements that lie: forged blocks, blocks taken back, division, duplicates, optimism
 * (RFC 2018 8, RFC 5681 3, RFC 3465, RFC 5961 5, RFC 6675). The liar may harm its own connection; memory and work stay
 * bounded, cwnd does not grow faster than what truth would allow, and others do not feel it.
 */
import t from 'tap'
import type { TcpConnection } from '../../../stack/index.js'
import { SeededRandom } from '../../helpers/random.js'
import { Dialogue, stream, type Test } from '../../helpers/segment.js'

const MSS = 1000

/** A sender with about `octets` in flight over a window that large, all acknowledged honestly so far. */
function inFlight(t: Test, octets: number, syn = {}): { d: Dialogue; c: TcpConnection; una: number } {
  const limits = { sendBuffer: 2 * octets + 100_000, sendBufferMax: 2 * octets + 100_000 }
  const d = new Dialogue(t, { limits })
  const c = d.open({ mss: MSS, shift: 9, sackOk: true, window: 65535, ...syn })
  c.write(stream(2 * octets + 50_000))
  let una = 1
  for (let i = 0; i < 60 && Number(c.info().flight) < octets; i++) {
    d.pass(20)
    const sent = d.forget()
    if (Number(c.info().flight) >= octets) break
    let k = 0
    for (const s of sent) {
      una = Math.max(una, s.seq + s.len)
      // Every second one, as receivers do.
      if (++k % 2 === 0 || k === sent.length) d.in({ flags: 'A', seq: 1, ack: una, window: 65535 })
    }
    d.drain()
    c.write(stream(Math.max(0, 2 * octets - c.queued)))
  }
  d.drain()
  d.forget()
  return { d, c, una }
}

/** A connection to another host in the same stack, which is asked to work after each game. */
class Other {
  private readonly d: Dialogue
  private readonly c: TcpConnection
  private iss = 0
  private sent = 1

  constructor(d: Dialogue) {
    this.d = d
    const keep = { port: d.stackPort, iss: d.stackIss, peer: d.peerPort, next: d.peerNext, out: d.stackNext }
    this.c = d.connect({}, 6000)
    d.stackIss = undefined
    const [syn] = d.forget().filter((s) => s.flags === 'S')
    if (syn === undefined) throw new Error('no SYN')
    this.iss = syn.rawSeq
    d.stackPort = keep.port
    d.stackIss = keep.iss
    d.peerPort = keep.peer
    d.stackNext = keep.out
    this.say('SA', 0, 1)
    d.peerNext = keep.next
  }

  private say(flags: string, seq: number, ack: number, data = ''): void {
    const { d } = this
    const keep = d.peerNext
    d.in({
      flags,
      seq,
      ack: (this.iss + ack - (d.stackIss ?? 0)) | 0,
      fromPort: 6000,
      toPort: this.c.tuple.localPort,
      data,
      ts: undefined,
    })
    d.peerNext = keep
  }

  /** A kilobyte goes and a few octets come. */
  works(): boolean {
    const text = 'still here'
    const heard = this.c.readable
    this.c.write(stream(1000))
    this.d.drain()
    this.sent += 1000
    this.say('PA', 1 + heard, this.sent, text)
    this.d.drain()
    return this.c.queued === 0 && this.c.readable === heard + text.length
  }
}

t.test('optimistic acknowledgements: of what was not sent yet nothing is taken', async (t) => {
  const { d, c, una } = inFlight(t, 30_000)
  const other = new Other(d)
  const cwnd = Number(c.info().cwnd)
  const { queued } = c
  for (let i = 1; i < 3000; i++) d.in({ flags: 'A', seq: 1, ack: d.stackNext + i * 700, window: 65535 })
  d.drain()
  t.equal(c.queued, queued)
  t.ok(Number(c.info().cwnd) <= cwnd)
  t.ok(d.forget().length <= 3, 'challenged at a bounded rate')
  d.in({ flags: 'A', seq: 1, ack: una + MSS, window: 65535 })
  t.equal(c.queued, queued - MSS)
  t.ok(other.works())
})

t.test('division: many acknowledgements of one segment open the window by one (RFC 3465)', async (t) => {
  const grown: number[] = []
  for (const pieces of [1, 1000]) {
    const d = new Dialogue(t)
    const c = d.open({ mss: MSS, shift: 7, sackOk: true })
    c.write(stream(500_000))
    d.pass(20)
    d.forget()
    // One window, acknowledged by segment or by octet.
    for (let n = 0; n < 10; n++) {
      for (let k = 1; k <= pieces; k++) {
        d.in({ flags: 'A', seq: 1, ack: 1 + n * MSS + (k * MSS) / pieces, window: 65535 })
        d.drain()
      }
    }
    grown.push(Number(c.info().cwnd))
    t.ok(Number(c.info().flight) <= Number(c.info().cwnd))
  }
  const [honest = 0, divided = 0] = grown
  t.ok(divided <= honest + MSS, `cwnd ${divided} by octets, ${honest} by segments`)
})

t.test('duplicates without end do not open the window without end', async (t) => {
  for (const sackOk of [true, false]) {
    const { d, c, una } = inFlight(t, 100_000, { sackOk })
    const other = new Other(d)
    const flight = Number(c.info().flight)
    let out = 0
    for (let i = 0; i < 20_000; i++) {
      d.in({ flags: 'A', seq: 1, ack: una, window: 65535 })
      d.drain()
      out += d.forget().length
    }
    // Each duplicate stands for one segment that has left, and no more have left than were out.
    t.ok(Number(c.info().flight) <= 3 * flight, `${c.info().flight} octets in flight after ${flight}`)
    t.ok(out <= (3 * flight) / MSS, `${out} segments for 20000 duplicates`)
    t.ok(Number(c.info().cwnd) <= 3 * flight, `cwnd is ${c.info().cwnd}`)
    t.ok(other.works())
  }
})

/** Of this process: what else the machine has to do is not counted. */
function milliseconds({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1000
}

t.test('a full window in flight, and thousands of tiny blocks: bounded work for each', async (t) => {
  const { d, c, una } = inFlight(t, 8_000_000)
  const flight = Number(c.info().flight)
  t.ok(flight >= 7_900_000, `${flight} octets in flight`)
  const held = d.stack.held.bytes
  const random = new SeededRandom(77)
  const segments = Math.floor(flight / MSS)
  const begin = process.cpuUsage()
  for (let i = 0; i < 1000; i++) {
    const sack = [0, 1, 2].map(() => {
      const from = una + MSS * (1 + random.below(segments - 2)) + random.below(MSS)
      return [from, from + 1 + random.below(3)] as const
    })
    d.in({ flags: 'A', seq: 1, ack: una, window: 65535, sack })
    d.drain()
  }
  const tiny = milliseconds(process.cpuUsage(begin))
  let out = d.forget().length
  // Every second segment: as many holes as there can be, each report with a new one.
  const middle = process.cpuUsage()
  for (let i = 1; i <= 1000; i++) {
    const from = una + MSS * 2 * (i % (segments >>> 1))
    d.in({ flags: 'A', seq: 1, ack: una, window: 65535, sack: [[from + MSS, from + 2 * MSS]] })
    d.drain()
  }
  const holes = milliseconds(process.cpuUsage(middle))
  out += d.forget().length
  t.ok(tiny < 10_000, `${tiny.toFixed(0)} us for each report of tiny blocks`)
  t.ok(holes < 10_000, `${holes.toFixed(0)} us for each report of a hole`)
  t.ok(out <= 2 * 2000 + segments, `${out} segments for 2000 reports`)
  t.ok(d.stack.held.bytes <= held + 1_000_000, 'nothing is hoarded')
  t.ok(new Other(d).works())
})

t.test('forged, inverted and overlapping blocks', async (t) => {
  const { d, c, una } = inFlight(t, 300_000)
  const other = new Other(d)
  const random = new SeededRandom(5)
  const cwnd = Number(c.info().cwnd)
  let out = 0
  for (let i = 0; i < 5000; i++) {
    const sack = Array.from({ length: 1 + random.below(4) }, () => {
      const from = random.chance(0.5) ? una + random.below(600_000) - 150_000 : random.below(0x7fffffff)
      const to = random.chance(0.7) ? from + random.below(50_000) - 10_000 : random.below(0x7fffffff)
      return [from, to] as const
    })
    d.in({ flags: 'A', seq: 1, ack: una, window: 65535, sack })
    d.drain()
    out += d.forget().length
  }
  t.ok(Number(c.info().cwnd) <= cwnd + 10 * MSS, `cwnd ${c.info().cwnd} after ${cwnd}`)
  t.ok(out <= 3000, `${out} segments for 5000 reports`)
  t.equal(c.stateName, 'ESTABLISHED')
  t.ok(other.works())
  // An honest receiver after all: everything still arrives.
  let next = una
  const got = new Map<number, number>()
  for (let i = 0; i < 4000 && c.queued > 0; i++) {
    d.pass(50)
    for (const s of d.forget().filter((s) => s.toPort === 5000))
      got.set(s.seq, Math.max(s.len, got.get(s.seq) ?? 0))
    let before = -1
    while (before !== next) {
      before = next
      for (const [seq, len] of got) {
        if (seq <= next && seq + len > next) next = seq + len
        if (seq + len <= next) got.delete(seq)
      }
    }
    // What was in flight when it began is taken to have come, as far as it is asked for no more.
    d.in({ flags: 'A', seq: 1, ack: next, window: 65535 })
  }
  t.equal(c.queued, 0, `${c.queued} octets never arrived`)
})

t.test('blocks that are taken back again and again (reneging)', async (t) => {
  const { d, c, una } = inFlight(t, 200_000)
  const other = new Other(d)
  const flight = Number(c.info().flight)
  let out = 0
  for (let i = 0; i < 300; i++) {
    d.in({ flags: 'A', seq: 1, ack: una, window: 65535, sack: [[una + MSS, una + flight]] })
    d.drain()
    d.in({ flags: 'A', seq: 1, ack: una, window: 65535 })
    d.pass(10)
    out += d.forget().filter((s) => s.toPort === 5000).length
  }
  t.ok(out <= 900, `${out} segments for 600 acknowledgements in three seconds`)
  t.equal(c.stateName, 'ESTABLISHED')
  t.ok(other.works())
  t.ok(d.stack.held.bytes <= 2 * 200_000 + 400_000)
})

t.test('a peer that acknowledges only by blocks, never by number, is given up in time', async (t) => {
  const { d, c, una } = inFlight(t, 50_000)
  const other = new Other(d)
  const flight = Number(c.info().flight)
  let out = 0
  for (let i = 0; i < 3000 && c.stateName !== 'CLOSED'; i++) {
    d.in({ flags: 'A', seq: 1, ack: una, window: 65535, sack: [[una + MSS, una + flight]] })
    d.pass(100)
    out += d.forget().filter((s) => s.toPort === 5000).length
  }
  t.equal(c.error, 'timed-out', 'blocks are no progress (R2)')
  t.ok(out <= 3 * 3000, `${out} segments`)
  t.ok(other.works())
})
