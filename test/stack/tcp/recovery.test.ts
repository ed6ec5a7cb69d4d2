/** Loss and congestion: RFC 5681, RFC 6582, RFC 3042, RFC 7661. */
import t from 'tap'
import type { TcpConnection } from '../../../stack/index.js'
import { Dialogue, type SegmentIn, stream, type Test } from '../../helpers/segment.js'

const MSS = 1000
/** Sequence number of the n-th full segment. */
const at = (n: number): number => 1 + n * MSS

/** Ten segments are out, and more are waiting. */
function tenOut(t: Test, queued = 30_000, syn: Partial<SegmentIn> = {}): [Dialogue, TcpConnection] {
  const d = new Dialogue(t, { tcp: { congestion: 'newreno' } })
  const c = d.open({ mss: MSS, ...syn })
  c.write(stream(queued))
  const sent = d.forget()
  if (sent.length !== 10) throw new Error(`${sent.length} segments out`)
  return [d, c]
}

function ack(d: Dialogue, n: number, more: Partial<SegmentIn> = {}): void {
  d.in({ flags: 'A', seq: 1, ack: at(n), ...more })
}

t.test(
  'limited transmit, then the third duplicate resends the first segment (RFC 3042, RFC 5681)',
  async (t) => {
    const [d, c] = tenOut(t)
    ack(d, 0)
    d.expect({ seq: at(10), len: MSS })
    ack(d, 0)
    d.expect({ seq: at(11), len: MSS })
    ack(d, 0)
    d.expect({ seq: at(0), len: MSS })
    t.equal(d.stack.counters.fastRetransmits, 1)
    t.equal(c.info().ssthresh, 5000, 'half of the flight, what limited transmit let out not counted')
    // RFC 6937: one segment for every two that left the network, until half of the flight is out.
    ack(d, 0)
    ack(d, 0)
    d.silent()
    ack(d, 0)
    d.expect({ seq: at(12), len: MSS })
    // Half of the flight is reached: from here on one for each.
    ack(d, 0)
    ack(d, 0)
    d.silent()
    ack(d, 0)
    d.expect({ seq: at(13), len: MSS })
    // All arrives: recovery is over, cwnd is ssthresh or what is out and one.
    ack(d, 14)
    t.ok((c.info().cwnd as number) >= 5 * MSS && (c.info().cwnd as number) < 6 * MSS)
    t.equal(d.forget().length, 5)
    t.equal(d.stack.counters.fastRetransmits, 1)
  },
)

t.test('two duplicates are reordering, not loss', async (t) => {
  const [d, c] = tenOut(t)
  ack(d, 0)
  ack(d, 0)
  t.ok(d.forget().every((s) => s.seq >= at(10)))
  ack(d, 3)
  t.ok(d.forget().every((s) => s.seq >= at(10)))
  t.equal(d.stack.counters.fastRetransmits, 0)
  t.ok((c.info().cwnd as number) >= 10 * MSS)
})

t.test('NewReno: a partial acknowledgement resends the next hole at once (RFC 6582 3.2)', async (t) => {
  const [d, c] = tenOut(t, 10_000)
  // Segments 0, 3 and 6 were lost.
  for (let i = 0; i < 7; i++) ack(d, 0)
  d.expect({ seq: at(0), len: MSS })
  ack(d, 3)
  d.expect({ seq: at(3), len: MSS })
  ack(d, 6)
  d.expect({ seq: at(6), len: MSS })
  t.equal(d.stack.counters.fastRetransmits, 1, 'one recovery')
  ack(d, 10)
  d.silent()
  t.equal(c.queued, 0)
  t.equal(c.info().ssthresh, 5000)
})

t.test('a loss among what is sent in recovery is the next recovery', async (t) => {
  const [d] = tenOut(t)
  for (let i = 0; i < 3; i++) ack(d, 0)
  d.forget()
  ack(d, 10)
  d.forget()
  for (let i = 0; i < 3; i++) ack(d, 10)
  t.ok(d.forget().some((s) => s.seq === at(10)))
  t.equal(d.stack.counters.fastRetransmits, 2)
})

t.test('duplicates after a time-out prove nothing before something newer is acknowledged', async (t) => {
  const [d] = tenOut(t, 10_000)
  d.pass(200)
  d.expect({ seq: at(0) })
  // Everything had arrived but the first: the answers to what goes out again are duplicates.
  for (let i = 0; i < 5; i++) ack(d, 0)
  d.silent()
  ack(d, 10)
  d.silent()
  t.equal(d.stack.counters.fastRetransmits, 0)
})

t.test('segments with data or a changed window are no duplicates', async (t) => {
  const [d] = tenOut(t)
  for (let i = 0; i < 5; i++) {
    d.in({ flags: 'PA', seq: 1 + i, ack: 1, data: 'x' })
    d.drain()
  }
  for (let i = 0; i < 5; i++) ack(d, 0, { seq: 6, window: 60_000 + i })
  t.ok(d.forget().every((s) => s.seq >= at(10) || s.len === 0))
  t.equal(d.stack.counters.fastRetransmits, 0)
})

t.test('with SACK a duplicate counts although its window has changed', async (t) => {
  const [d] = tenOut(t, 30_000, { sackOk: true })
  for (let i = 1; i <= 3; i++) ack(d, 0, { window: 60_000 - i, sack: [[at(1), at(1 + i)]] })
  t.ok(d.forget().some((s) => s.seq === at(0)))
})

t.test('with nothing out, equal acknowledgements are no duplicates', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: MSS })
  for (let i = 0; i < 10; i++) ack(d, 0)
  d.silent()
  t.equal(c.info().cwnd, 10 * MSS)
})

t.test('a lost retransmission is left to the timer', async (t) => {
  const [d, c] = tenOut(t, 10_000)
  for (let i = 0; i < 9; i++) ack(d, 0)
  d.expect({ seq: at(0) })
  d.pass(199)
  d.silent()
  d.pass(1)
  d.expect({ at: 200, seq: at(0), len: MSS })
  t.equal(c.info().cwnd, MSS)
  ack(d, 10)
  t.equal(c.queued, 0)
})

t.test('only the first time-out of a segment halves the threshold (RFC 5681 3.1)', async (t) => {
  const [d, c] = tenOut(t)
  d.pass(200)
  t.equal(c.info().ssthresh, 5000)
  d.pass(2000)
  t.equal(c.info().ssthresh, 5000)
  t.equal(c.info().cwnd, MSS)
})

t.test('slow start doubles, congestion avoidance adds one segment for each window', async (t) => {
  const [d, c] = tenOut(t, 400_000)
  // A loss sets the threshold to 5 segments.
  d.pass(200)
  d.forget()
  let acked = 0
  const windows: number[] = []
  for (let round = 0; round < 8; round++) {
    windows.push(c.info().cwnd as number)
    const until = acked + Math.round((c.info().cwnd as number) / MSS)
    while (acked < until) {
      acked++
      ack(d, acked)
      d.drain()
    }
    d.forget()
    // What went out is proof that the time-out was needed (RFC 5682 2.1).
    if (round === 0) ack(d, acked)
  }
  t.same(
    windows.map((w) => w / MSS),
    [1, 2, 4, 5, 6, 7, 8, 9],
  )
})

t.test('cwnd does not grow when the application or the other side’s window is the limit', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: MSS })
  for (let i = 0; i < 50; i++) {
    c.write(stream(MSS))
    d.drain()
    ack(d, i + 1)
  }
  t.equal(c.info().cwnd, 10 * MSS, 'the application')

  const e = new Dialogue(t)
  const x = e.open({ mss: MSS, window: 3000 })
  x.write(stream(100_000))
  e.drain()
  for (let i = 0; i < 50; i++) {
    ack(e, i + 1, { window: 3000 })
    e.drain()
  }
  t.equal(x.info().cwnd, 10 * MSS, 'the window')
})

t.test('after an idle time longer than a time-out cwnd is the initial window at most', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: MSS, shift: 5 })
  c.write(stream(400_000))
  let acked = 0
  while (acked < 400) {
    d.drain()
    ack(d, ++acked)
  }
  d.forget()
  t.ok((c.info().cwnd as number) > 20 * MSS)
  d.pass(100)
  c.write(stream(1000))
  d.forget()
  t.ok((c.info().cwnd as number) > 20 * MSS, 'a short pause is no idle time')
  ack(d, 401)
  d.pass(1000)
  c.write(stream(50_000))
  t.equal(d.forget().length, 10)
  t.equal(c.info().cwnd, 10 * MSS)
})
