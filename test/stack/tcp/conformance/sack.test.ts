/** The sender's side of selective acknowledgements: RFC 2018, RFC 2883, RFC 6675, RFC 3042. */
import t from 'tap'
import { Flight, MSS, RTT } from './flight.js'

t.test('the hole that SACK shows is sent again, and nothing that was reported (RFC 6675 5)', async (t) => {
  const f = new Flight(t)
  f.after(RTT)
  f.ack(0, [[1, 2]])
  f.ack(0, [[1, 3]])
  t.same(f.out(), [], 'two are reordering')
  f.ack(0, [[1, 4]])
  t.same(f.out(), [0])
  t.equal(f.recovery, 'recovery')
  t.equal(f.d.stack.counters.fastRetransmits, 1)
  for (let n = 5; n <= 10; n++) f.ack(0, [[1, n]])
  t.same(f.out(), [], 'once is enough')
  f.ack(10)
  t.equal(f.recovery, 'open')
  t.equal(f.c.queued, 0)
  t.equal(f.d.stack.counters.retransmissions, 1)
})

t.test('all holes of a window are filled in one round trip', async (t) => {
  const f = new Flight(t)
  f.after(RTT)
  f.ack(0, [[1, 2]])
  f.ack(0, [[1, 3]])
  f.ack(0, [
    [4, 5],
    [1, 3],
  ])
  f.ack(0, [
    [4, 6],
    [1, 3],
  ])
  for (let n = 8; n <= 10; n++)
    f.ack(0, [
      [7, n],
      [4, 6],
      [1, 3],
    ])
  t.same(f.out(), [0, 3, 6])
  f.after(2 * RTT)
  f.ack(3, [
    [7, 10],
    [4, 6],
  ])
  f.ack(6, [[7, 10]])
  f.ack(10)
  t.same(f.out(), [])
  t.equal(f.d.stack.counters.retransmissions, 3)
  t.equal(f.d.stack.counters.fastRetransmits, 1, 'one recovery, one reduction')
  t.equal(f.d.stack.counters.timeouts, 0)
})

t.test('the reduction is that of the congestion control asked for, once for each window', async (t) => {
  for (const [congestion, ssthresh] of [
    ['cubic', 7 * MSS],
    ['newreno', 5 * MSS],
  ] as const) {
    const f = new Flight(t, { wanted: { congestion } })
    t.equal(f.c.info().congestion, congestion)
    f.after(RTT)
    for (let n = 2; n <= 9; n++) f.ack(0, [[1, n]])
    t.equal(f.info('ssthresh'), ssthresh, congestion)
    f.out()
    f.ack(10)
    t.equal(f.info('ssthresh'), ssthresh)
    t.ok(f.info('cwnd') <= ssthresh + MSS, `cwnd is ${f.info('cwnd')}`)
  }
})

t.test('limited transmit: each segment reported lets a new one out (RFC 3042, RFC 6675)', async (t) => {
  const f = new Flight(t, { queued: 30 })
  t.equal(f.first.length, 10)
  f.after(RTT)
  f.ack(0, [[1, 2]])
  t.same(f.out(), [10])
  f.ack(0, [[1, 3]])
  t.same(f.out(), [11])
  t.equal(f.d.stack.counters.fastRetransmits, 0)
})

t.test('what is reported is kept until it is acknowledged (RFC 2018 8)', async (t) => {
  const f = new Flight(t)
  f.after(RTT)
  f.ack(0, [[1, 10]])
  t.equal(f.c.queued, 10 * MSS)
  t.same(f.out(), [0])
  // The other side takes all of it back, says so by what it acknowledges, and gets everything once more.
  let next = 1
  f.ack(next)
  const sent = new Set<number>()
  for (let i = 0; i < 60 && f.c.queued > 0; i++) {
    f.d.pass(RTT)
    for (const n of f.out()) sent.add(n)
    while (sent.has(next)) next++
    f.ack(next)
  }
  t.equal(f.c.queued, 0)
  t.same(
    [...sent].sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
  )
  t.ok(f.d.stack.counters.reneges >= 1, 'counted')
  t.ok(f.d.time < f.t0 + 10_000, `it took ${f.d.time - f.t0} ms`)
})

t.test('what was reported is not sent again after a time-out either (RFC 6675 5.1)', async (t) => {
  const f = new Flight(t)
  f.after(RTT)
  f.ack(0, [[5, 10]])
  f.out()
  // Whatever was sent for that is lost as well; the next that arrives is the time-out's.
  for (let i = 0; i < 200 && f.d.stack.counters.timeouts === 0; i++) f.d.pass(10)
  t.equal(f.d.stack.counters.timeouts, 1)
  let next = 0
  const again: number[] = []
  for (let i = 0; i < 30 && f.c.queued > 0; i++) {
    const out = f.out()
    again.push(...out)
    for (const n of out) if (n === next) next++
    f.d.pass(RTT)
    if (next >= 5) f.ack(10)
    else f.ack(next, [[5, 10]])
  }
  t.equal(f.c.queued, 0)
  t.ok(
    again.every((n) => n < 5),
    `${again} were sent again`,
  )
})

t.test('blocks that cannot be are not believed', async (t) => {
  const f = new Flight(t, { queued: 30 })
  f.after(RTT)
  const { cwnd } = f.c.info()
  for (const block of [
    [10, 13],
    [9, 11],
    [3, 3],
    [5, 2],
    [-2, -1],
    [-5, 3],
    [2_000_000, 2_000_001],
    [-2_000_000, 2_000_000],
  ] as const) {
    for (let i = 0; i < 4; i++) f.ack(0, [block])
    t.same(f.out(), [], `${block[0]} to ${block[1]}`)
  }
  t.equal(f.info('cwnd'), cwnd)
  t.equal(f.d.stack.counters.fastRetransmits, 0, 'a duplicate is one that reports something new (RFC 6675 2)')
  // An honest report counts.
  f.ack(0, [[1, 4]])
  t.ok(f.out().includes(0))
})

t.test('a report of a duplicate is no sign of a loss (RFC 2883 4)', async (t) => {
  const f = new Flight(t)
  f.after(RTT)
  f.ack(5)
  for (let i = 0; i < 4; i++) f.ack(5, [[2, 3]])
  t.same(f.out(), [])
  t.equal(f.d.stack.counters.fastRetransmits, 0)
  t.ok(f.d.stack.counters.dsacks >= 1)
  // Above the acknowledgement: a duplicate of something in a larger block.
  f.ack(5, [
    [7, 8],
    [7, 9],
  ])
  t.same(f.out(), [])
  t.ok(f.d.stack.counters.dsacks >= 2)
  f.ack(5, [[7, 10]])
  t.ok(f.out().includes(5), 'the rest of the report counts')
})

t.test('without SACK three duplicates count, and partial acknowledgements lead on (RFC 6582)', async (t) => {
  const f = new Flight(t, { syn: { sackOk: false } })
  f.after(RTT)
  f.ack(0)
  f.ack(0)
  t.same(f.out(), [])
  f.ack(0)
  t.same(f.out(), [0])
  for (let i = 0; i < 4; i++) f.ack(0)
  t.same(f.out(), [])
  f.after(2 * RTT)
  f.ack(3)
  t.same(f.out(), [3])
  f.after(3 * RTT)
  f.ack(6)
  t.same(f.out(), [6])
  f.after(4 * RTT)
  f.ack(10)
  t.equal(f.c.queued, 0)
  t.equal(f.d.stack.counters.fastRetransmits, 1)
  t.equal(f.d.stack.counters.timeouts, 0)
})
