/** Losses found by time, and probes of the tail: RFC 8985. A round trip is 100 ms. */
import t from 'tap'
import { stream } from '../../../helpers/segment.js'
import { Flight, MSS, RTT } from './flight.js'

/** RACK's reordering window: a quarter of the least round trip. */
const REO = RTT / 4

t.test(
  'fewer than three reports: what was sent before is lost a quarter of a round trip later',
  async (t) => {
    const f = new Flight(t, { queued: 4 })
    f.after(RTT)
    f.ack(0, [[3, 4]])
    t.same(f.out(), [], 'it may be reordering')
    f.after(RTT + REO - 3)
    t.same(f.out(), [])
    f.after(RTT + REO + 3)
    const again = f.out()
    t.equal(again[0], 0, 'the timer finds the loss')
    let next = again.length
    for (let i = 2; i < 6 && f.c.queued > 0; i++) {
      f.after(i * RTT + 40)
      if (next >= 3) f.ack(4)
      else f.ack(next, [[3, 4]])
      const more = f.out()
      again.push(...more)
      next += more.length
    }
    t.same(again, [0, 1, 2])
    t.equal(f.d.stack.counters.timeouts, 0)
    t.equal(f.c.queued, 0)
  },
)

t.test('reordering by less than that costs nothing', async (t) => {
  const f = new Flight(t, { queued: 4 })
  f.after(RTT)
  f.ack(0, [[1, 2]])
  f.ack(0, [[1, 3]])
  f.after(RTT + REO - 5)
  f.ack(4)
  f.after(10 * RTT)
  t.same(f.out(), [])
  t.equal(f.d.stack.counters.retransmissions, 0)
  t.equal(f.d.stack.counters.fastRetransmits, 0)
})

/** A second flight of ten, the first of which has shown that the path reorders. */
function reordered(f: Flight): number {
  f.after(RTT)
  f.ack(0, [[1, 3]])
  f.after(RTT + 10)
  f.ack(10)
  f.out()
  return f.d.time - f.t0
}

t.test('once reordering was seen, three reports are no proof any more (RFC 8985 6.2)', async (t) => {
  const f = new Flight(t, { queued: 20 })
  const begin = reordered(f)
  t.equal(f.d.stack.counters.retransmissions, 0)
  f.after(begin + RTT)
  for (let n = 12; n <= 16; n++) f.ack(10, [[11, n]])
  t.same(f.out(), [], 'five segments are behind the hole')
  f.after(begin + RTT + REO + 5)
  t.same(f.out(), [10])
})

t.test('a report of a duplicate makes the window for reordering wider (RFC 8985 6.2)', async (t) => {
  const f = new Flight(t, { queued: 30, rounds: 1 })
  const begin = reordered(f)
  // The hole in the second flight is late by more than the window: sent again in vain.
  f.after(begin + RTT)
  f.ack(10, [[11, 15]])
  f.after(begin + RTT + REO + 5)
  t.ok(f.out().includes(10))
  f.after(begin + RTT + 40)
  f.ack(20)
  f.after(begin + 2 * RTT + 30)
  f.ack(20, [[10, 11]])
  t.equal(f.d.stack.counters.dsacks, 1)
  f.out()
  // The third: the same delay is tolerated now.
  const now = f.d.time - f.t0
  f.after(now + RTT)
  f.ack(20, [[21, 25]])
  const third = f.d.time - f.t0
  f.after(third + REO + 10)
  t.notOk(f.out().includes(20))
  f.after(third + 2 * REO + 10)
  t.ok(f.out().includes(20))
})

t.test('a retransmission that is lost is found without a time-out', async (t) => {
  const f = new Flight(t, { queued: 40 })
  f.after(RTT)
  for (let n = 2; n <= 10; n++) f.ack(0, [[1, n]])
  const sent = f.out()
  t.ok(sent.includes(0))
  const last = Math.max(...sent)
  t.ok(last > 10, 'new segments went out behind it')
  f.after(2 * RTT + 1)
  f.ack(0, [
    [10, last + 1],
    [1, 10],
  ])
  f.after(2 * RTT + REO + 5)
  t.ok(f.out().includes(0), 'sent later, come sooner')
  t.equal(f.d.stack.counters.timeouts, 0)
})

// ---------------------------------------------------------------- tail loss probes

t.test('a lost tail: after two round trips the last segment goes out again', async (t) => {
  const f = new Flight(t, { queued: 5 })
  f.after(2 * RTT - 3)
  t.same(f.out(), [])
  f.after(2 * RTT + 3)
  t.same(f.out(), [4])
  t.equal(f.d.stack.counters.tailProbes, 1)
  t.equal(f.d.stack.counters.timeouts, 0)
  // Its report finds the rest, long before a time-out would.
  f.after(3 * RTT + 3)
  f.ack(0, [[4, 5]])
  t.equal(f.out()[0], 0)
  t.equal(f.d.stack.counters.timeouts, 0)
})

t.test('a probe has new text if there is any', async (t) => {
  const f = new Flight(t, { queued: 30 })
  f.after(2 * RTT + 3)
  t.same(f.out(), [10])
  t.equal(f.d.stack.counters.tailProbes, 1)
  t.equal(f.d.stack.counters.retransmissions, 0)
})

t.test('a single segment: the other side may hold its acknowledgement back', async (t) => {
  const f = new Flight(t, { queued: 1, times: { maxAckDelay: 50 } })
  f.after(2 * RTT + 47)
  t.same(f.out(), [])
  f.after(2 * RTT + 53)
  t.same(f.out(), [0])
  t.equal(f.d.stack.counters.tailProbes, 1)
})

t.test('one probe at a time, then the time-out', async (t) => {
  const f = new Flight(t, { queued: 5 })
  f.after(2 * RTT + 3)
  t.same(f.out(), [4])
  f.after(5 * RTT - 5)
  t.same(f.out(), [], 'the retransmission timer began with the probe')
  f.after(5 * RTT + 5)
  t.equal(f.out()[0], 0)
  t.equal(f.d.stack.counters.timeouts, 1)
  t.equal(f.d.stack.counters.tailProbes, 1)
})

t.test('a probe that repaired a loss counts as one event of congestion (RFC 8985 7.4)', async (t) => {
  for (const duplicate of [false, true]) {
    const f = new Flight(t, { queued: 5, times: { maxAckDelay: 50 } })
    f.after(RTT)
    f.ack(4)
    const before = f.info('ssthresh')
    f.d.pass(2 * RTT + 53)
    t.same(f.out(), [4])
    f.d.pass(RTT)
    if (duplicate) f.ack(5, [[4, 5]])
    else f.ack(5)
    t.equal(f.c.queued, 0)
    // Nobody can tell before something newer is acknowledged without a report of a duplicate.
    f.c.write(stream(MSS))
    t.same(f.out(), [5])
    f.d.pass(RTT)
    f.ack(6)
    if (duplicate) t.equal(f.info('ssthresh'), before, 'the first one had come: nothing was lost')
    else t.ok(f.info('ssthresh') < before && f.info('ssthresh') <= 10 * MSS, 'one was lost')
  }
})

t.test('without SACK there are no probes of the tail', async (t) => {
  const f = new Flight(t, { queued: 5, syn: { sackOk: false } })
  f.after(3 * RTT - 5)
  t.same(f.out(), [])
  f.after(3 * RTT + 5)
  t.equal(f.out()[0], 0)
  t.equal(f.d.stack.counters.tailProbes, 0)
  t.equal(f.d.stack.counters.timeouts, 1)
})
