/** How large the receive window becomes: RFC 9293 3.8.6, RFC 7323 2, and the tuning of stack/tcp/receive-window.ts. */
import t from 'tap'
import { READY_ACCEPT, READY_READABLE, type TcpConnection, takeReady } from '../../../stack/index.js'
import { MemoryAccount } from '../../../stack/memory.js'
import { BlockPool } from '../../../stack/ring.js'
import { seq, seqAdd, seqDiff } from '../../../stack/seq.js'
import { Receiver } from '../../../stack/tcp/receiver.js'
import { ADDRESS_B, Pair } from '../../helpers/pair.js'
import { SeededRandom } from '../../helpers/random.js'
import { Dialogue, stream } from '../../helpers/segment.js'

const KIB = 1024
const MIB = 1 << 20
const LIMITS = { receiveBuffer: 256 * KIB, receiveBufferMax: 8 * MIB, outOfOrderRanges: 1024 }
const MSS = 1448

interface Path {
  /** Round trip, milliseconds, and octets a millisecond. */
  readonly rtt: number
  readonly rate: number
  /** Samples of the round trip: by timestamps, from the handshake only, or none. */
  readonly samples?: 'each' | 'first' | 'none'
  readonly limits?: typeof LIMITS
  readonly account?: MemoryAccount
  /** Octets that the application reads in a millisecond; absent: all at once. */
  readonly reads?: number
}

/** A sender in slow start without end, and a receiver: the octets of each round trip and the window they met. */
class Flow {
  readonly rcv: Receiver
  private readonly path: Path
  private readonly data = new Uint8Array(MSS)
  private now = 5000
  private cwnd = 10 * MSS
  private readable = 0

  constructor(path: Path) {
    this.path = path
    const pool = new BlockPool(65536, 128, path.account ?? new MemoryAccount())
    this.rcv = new Receiver(pool, path.limits ?? LIMITS)
    this.rcv.shift = 8
    this.rcv.start(seq(0x7ffff000))
    this.rcv.mss = MSS
    this.rcv.announce(false)
    this.rcv.acknowledged()
    if (path.samples === 'first') this.rcv.rttSample(path.rtt, this.now)
  }

  /** One round trip. @returns octets that the congestion window let pass and the receive window did not */
  round(): number {
    const { rcv, path } = this
    const begin = this.now
    const most = Math.floor((path.rate * path.rtt) / MSS) * MSS
    const wants = Math.min(this.cwnd, most)
    const sends = Math.floor(Math.min(wants, rcv.window) / MSS)
    // Segments follow each other at the link's rate.
    const gap = MSS / path.rate
    for (let i = 0; i < sends; i++) {
      this.now += gap
      if (path.samples === undefined || path.samples === 'each') rcv.rttSample(Math.floor(path.rtt), this.now)
      rcv.arrives(MSS, this.now, 300)
      rcv.data(rcv.nxt, this.data, 0, MSS)
      this.read(gap)
      if (rcv.ackNow || rcv.windowOpened()) {
        rcv.announce(false)
        rcv.acknowledged()
      }
    }
    const rest = Math.max(0, begin + path.rtt - this.now)
    this.read(rest)
    this.now = Math.max(this.now, begin + path.rtt)
    rcv.announce(false)
    rcv.acknowledged()
    this.cwnd *= 2
    return wants - sends * MSS
  }

  private read(ms: number): void {
    const { ring } = this.rcv
    if (this.path.reads === undefined) {
      ring.consume(ring.size)
    } else {
      this.readable = Math.min(ring.size, this.readable + this.path.reads * ms)
      const n = Math.floor(this.readable)
      ring.consume(n)
      this.readable -= n
    }
    if (ring.size === 0) this.rcv.releaseIdle()
  }
}

t.test('a sender in slow start is never held up by the window', async (t) => {
  for (const samples of ['each', 'first', 'none'] as const) {
    for (const [rtt, mbit] of [
      [100, 1000],
      [100, 100],
      [20, 1000],
      [20, 50],
      [300, 200],
      [5, 1000],
      [1, 1000],
    ] as const) {
      const flow = new Flow({ rtt, rate: mbit * 125, samples })
      const bdp = mbit * 125 * rtt
      for (let i = 1; i <= 14; i++) {
        const held = flow.round()
        // What 8 MiB cannot hold is held up for good.
        const name = `round ${i} of ${rtt} ms at ${mbit} Mbit/s; samples: ${samples}`
        if (held > Math.max(MSS, bdp - 8 * MIB + MSS)) t.fail(`${name}: ${held} octets`)
      }
      t.ok(flow.rcv.window >= Math.min(8 * MIB, bdp) - MSS, `${rtt} ms at ${mbit} Mbit/s: ${flow.rcv.window}`)
      t.ok(flow.rcv.buffer.limit <= Math.max(256 * KIB, 24 * bdp), `${flow.rcv.buffer.limit} is not too much`)
      flow.rcv.drop()
    }
  }
})

t.test('a reader that is slower than the window does not make it grow', async (t) => {
  for (const samples of ['each', 'first'] as const) {
    for (const reads of [0, 1, 100, 400]) {
      // 400 octets a millisecond are 40,000 in a round trip.
      const flow = new Flow({ rtt: 100, rate: 125_000, reads, samples })
      for (let i = 0; i < 100; i++) flow.round()
      t.equal(flow.rcv.buffer.limit, 256 * KIB, `${reads} octets a millisecond`)
      t.ok(flow.rcv.ring.capacity <= 256 * KIB)
    }
  }
})

t.test('a reader that pauses and then takes everything at once does not either', async (t) => {
  const flow = new Flow({ rtt: 100, rate: 125_000, reads: 0 })
  const { rcv } = flow
  for (let i = 0; i < 50; i++) {
    for (let k = 0; k < 20; k++) flow.round()
    rcv.ring.consume(rcv.ring.size)
    if (rcv.windowOpened()) rcv.announce(false)
  }
  t.ok(rcv.buffer.limit <= 512 * KIB, `${rcv.buffer.limit}`)
})

t.test('a slow sender does not make it grow, with pauses or without', async (t) => {
  const r = new SeededRandom(3)
  for (const timestamps of [true, false]) {
    const rcv = new Receiver(new BlockPool(), LIMITS)
    rcv.shift = 8
    rcv.start(seq(7))
    rcv.mss = MSS
    let now = 0
    for (let i = 0; i < 20_000; i++) {
      now += r.chance(0.001) ? 60_000 : 5 + r.below(40)
      // A sample with the sender's pause in it.
      if (timestamps) rcv.rttSample(50 + (r.chance(0.1) ? r.below(60_000) : r.below(10)), now)
      rcv.arrives(MSS, now, 300)
      rcv.data(rcv.nxt, new Uint8Array(MSS), 0, MSS)
      rcv.ring.consume(MSS)
      rcv.announce(false)
      rcv.acknowledged()
    }
    // Without timestamps a window takes long, and is all that was read in that time.
    t.ok(rcv.buffer.limit <= (timestamps ? 256 * KIB : 8 * MIB), `${rcv.buffer.limit}`)
  }
})

t.test('the round trip: the shortest counts, a longer one only in the long run', async (t) => {
  const { buffer } = new Receiver(new BlockPool(), LIMITS)
  buffer.sample(-1, 0)
  t.equal(buffer.rtt, 0)
  buffer.sample(0, 0)
  t.equal(buffer.rtt, 1, 'a clock of 1 ms')
  const other = new Receiver(new BlockPool(), LIMITS).buffer
  other.sample(80, 0)
  other.sample(20, 1)
  t.equal(other.rtt, 20)
  // A queue that the window itself has filled must not make it grow.
  for (let now = 2; now < 15_000; now++) other.sample(100, now)
  t.equal(other.rtt, 20)
  other.sample(60_000, 15_000)
  t.equal(other.rtt, 20)
  for (let now = 15_001; now < 35_000; now++) other.sample(100, now)
  t.equal(other.rtt, 100, 'routes change')
  other.sample(20, 35_000)
  t.equal(other.rtt, 20)
})

t.test('the window is what was chosen, and stops at the largest', async (t) => {
  const limits = { receiveBuffer: 30_000, receiveBufferMax: 100_000, outOfOrderRanges: 4 }
  const flow = new Flow({ rtt: 50, rate: 10_000, limits })
  t.equal(flow.rcv.firstWindow, 30_000)
  for (let i = 0; i < 10; i++) flow.round()
  t.equal(flow.rcv.buffer.limit, 100_000)
  const fixed = new Flow({ rtt: 50, rate: 10_000, limits: { ...limits, receiveBufferMax: 5000 } })
  for (let i = 0; i < 10; i++) fixed.round()
  t.equal(fixed.rcv.buffer.limit, 30_000, 'a largest that is smaller means none')
})

t.test('without a window scale more than 64 KiB is of no use', async (t) => {
  const flow = new Flow({ rtt: 50, rate: 10_000 })
  flow.rcv.shift = 0
  for (let i = 0; i < 10; i++) flow.round()
  t.equal(flow.rcv.buffer.limit, 256 * KIB)
})

t.test('above half of the memory nothing grows', async (t) => {
  const account = new MemoryAccount(256 * MIB, 1000)
  const flow = new Flow({ rtt: 100, rate: 125_000, account })
  account.add(129 * MIB)
  for (let i = 0; i < 10; i++) flow.round()
  t.equal(flow.rcv.buffer.limit, 128 * KIB, 'not even to where it would begin')
  account.sub(129 * MIB)
  for (let i = 0; i < 10; i++) flow.round()
  t.equal(flow.rcv.buffer.limit, 8 * MIB)
})

t.test('the right edge never moves left while it grows and shrinks', async (t) => {
  const r = new SeededRandom(11)
  const rcv = new Receiver(new BlockPool(), LIMITS)
  rcv.shift = 8
  rcv.start(seq(-100_000))
  rcv.mss = MSS
  let edge = seqAdd(rcv.nxt, 65535)
  let now = 0
  for (let i = 0; i < 30_000; i++) {
    now += r.chance(0.01) ? r.below(500) : r.below(3)
    const len = Math.min(rcv.window, 1 + r.below(MSS))
    if (len > 0) {
      rcv.rttSample(10 + r.below(5), now)
      rcv.arrives(len, now, 300)
      rcv.data(rcv.nxt, new Uint8Array(len), 0, len)
    }
    if (r.chance(0.6)) rcv.ring.consume(r.below(rcv.ring.size + 1))
    if (rcv.ackNow || rcv.windowOpened()) {
      const told = seqAdd(rcv.nxt, rcv.announce(false) << 8)
      rcv.acknowledged()
      if (seqDiff(told, edge) < -255) t.fail(`step ${i}: left by ${-seqDiff(told, edge)}`)
      if (seqDiff(told, edge) > 0) edge = told
      if (rcv.window + rcv.ring.size > rcv.buffer.limit) t.fail(`step ${i}: more than the buffer`)
    }
  }
  t.pass('30,000 steps')
})

// ---------------------------------------------------------------- Two stacks.

t.test('the window field of SYNs is not scaled, the shift is that of the largest buffer', async (t) => {
  const d = new Dialogue(t, { limits: { receiveBuffer: 100_000, receiveBufferMax: 16 * MIB } })
  d.connect()
  d.expect({ flags: 'S', shift: 9, window: 65535 })
  const small = new Dialogue(t, { limits: { receiveBuffer: 1000, receiveBufferMax: 4000 } })
  small.connect()
  small.expect({ flags: 'S', shift: 0, window: 1000 })
})

t.test('between two stacks the window opens for a reader that keeps up, and only for that', async (t) => {
  for (const [reads, least, most] of [
    [true, 512 * KIB, 8 * MIB],
    [false, 0, 256 * KIB],
  ] as const) {
    const pair = new Pair({ delay: 50, rate: 12_500 }, 5, { limits: { sendBuffer: 4 * MIB } })
    const listener = pair.b.listen({ port: 80 })
    const a = pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now)
    if (listener === undefined || typeof a === 'string') throw new Error('no socket')
    let b: TcpConnection | undefined
    let got = 0
    const total = 6 * MIB
    let sent = 0
    const chunk = stream(65536)
    pair.onReady = (s) => {
      const bits = takeReady(s)
      if (bits & READY_ACCEPT) b = pair.b.accept(listener)
      if (s === a) while (sent < total && a.write(chunk)) sent += chunk.length
      if (s === b && b !== undefined && bits & READY_READABLE && reads) {
        got += b.readable
        b.consume(b.readable)
      }
    }
    pair.run(() => got >= 4 * MIB, 3000)
    const window = Number(b?.info().receiveWindow) + (b?.readable ?? 0)
    t.ok(window >= least && window <= most, `${reads ? 'read' : 'not read'}: ${window}`)
    if (reads) t.ok(got >= 4 * MIB, `${got} octets`)
    else t.ok((b?.readable ?? 0) <= most)
    pair.a.close()
    pair.b.close()
  }
})

t.test('a dialogue without timestamps: a round is a window', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ shift: 7 })
  let at = 1
  let window = 65535
  for (let round = 0; round < 8; round++) {
    const end = at + window
    while (at + 1360 <= end) {
      d.in({ flags: 'A', seq: at, ack: 1, data: stream(1360) })
      at += 1360
      c.consume(c.readable)
    }
    const last = d.forget().at(-1)
    if (last !== undefined) window = last.ack + last.window * 256 - at
    d.pass(100)
  }
  t.ok(window >= 4 * MIB, `${window}`)
})
