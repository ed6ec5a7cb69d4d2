/** How the window comes down: proportional rate reduction, RFC 6937. */
import t from 'tap'
import { Flight, MSS, RTT } from './flight.js'

const OUT = 20

t.test('one loss: segments leave in proportion to those that arrive, down to ssthresh', async (t) => {
  const f = new Flight(t, { rounds: 1, queued: 100 })
  t.equal(f.first.length, OUT)
  f.after(RTT)
  for (let n = 2; n <= 4; n++) f.ack(0, [[1, n]])
  const begin = f.out()
  t.ok(begin.includes(0))
  const ssthresh = f.info('ssthresh')
  t.equal(ssthresh, 14 * MSS, 'CUBIC: 0.7 of twenty')
  let sent = begin.filter((n) => n !== 0).length
  let silence = 0
  for (let n = 5; n <= OUT; n++) {
    f.ack(0, [[1, n]])
    const out = f.out()
    sent += out.length
    t.ok(out.length <= 1, `${out.length} for one that arrived`)
    silence = out.length === 0 ? silence + 1 : 0
    t.ok(silence <= 3, 'no long silence')
    const share = Math.ceil(((n - 1) * ssthresh) / (OUT * MSS))
    t.ok(sent + 1 <= share + 2, `${sent} new and one again, of ${share}`)
  }
  t.ok(sent >= 10, `${sent} new ones in that round trip`)
  f.after(2 * RTT)
  f.ack(OUT)
  t.equal(f.recovery, 'open')
  t.ok(f.info('cwnd') <= ssthresh + MSS && f.info('cwnd') >= ssthresh - MSS, `cwnd is ${f.info('cwnd')}`)
  f.out()
})

t.test('many losses: no burst, and no stop', async (t) => {
  const f = new Flight(t, { rounds: 1, queued: 100 })
  f.after(RTT)
  let total = 0
  for (let n = 15; n <= OUT; n++) {
    f.ack(0, [[14, n]])
    const out = f.out()
    total += out.length
    t.ok(out.length <= 3, `${out.length} for one that arrived`)
  }
  t.ok(total >= 3, `${total} in all`)
  t.ok(f.info('flight') >= 0)
  f.after(RTT + RTT / 4 + 5)
  f.out()
  // And so it goes on, to the end, by acknowledgements alone.
  const got = new Set<number>()
  for (let n = 14; n < OUT; n++) got.add(n)
  let una = 0
  const pending: number[] = []
  for (let i = 0; i < 200 && f.c.queued > 0; i++) {
    f.d.pass(RTT / 2)
    pending.push(...f.out())
    for (const n of pending.splice(0)) {
      got.add(n)
      while (got.has(una)) una++
      const above = [...got].filter((k) => k > una)
      const first = Math.min(...above)
      let end = first
      while (got.has(end)) end++
      if (above.length > 0) f.ack(una, [[first, end]])
      else f.ack(una)
      f.d.drain()
    }
    pending.push(...f.out())
  }
  t.equal(f.c.queued, 0)
})

t.test('without SACK: duplicates stand for segments that have left', async (t) => {
  const f = new Flight(t, { rounds: 1, queued: 100, syn: { sackOk: false } })
  f.after(RTT)
  for (let i = 0; i < 3; i++) f.ack(0)
  t.ok(f.out().includes(0))
  const ssthresh = f.info('ssthresh')
  let sent = 0
  for (let i = 3; i < OUT - 1; i++) {
    f.ack(0)
    const out = f.out()
    t.ok(out.length <= 1)
    sent += out.length
  }
  t.ok(sent >= 5 && sent <= 14, `${sent} new ones`)
  f.after(2 * RTT)
  f.ack(OUT)
  t.ok(f.info('cwnd') <= ssthresh + MSS)
})
