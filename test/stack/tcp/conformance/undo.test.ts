/** Recoveries that were a mistake are undone: RFC 3522 (Eifel), RFC 5682 (F-RTO), RFC 2883 and RFC 3708 (D-SACK). */
import t from 'tap'
import { Flight, MSS, RTT } from './flight.js'

/** Runs until the retransmission timer has expired so many times. @returns numbers of the segments sent */
function timeOut(f: Flight, times = 1): number[] {
  const out: number[] = []
  for (let i = 0; i < 4000 && f.d.stack.counters.timeouts < times; i++) {
    f.d.pass(1)
    out.push(...f.out())
  }
  f.d.drain()
  out.push(...f.out())
  return out
}

const TS = { ts: [1000, 0] as const }

t.test('with timestamps one acknowledgement of the original undoes a time-out (RFC 3522)', async (t) => {
  const f = new Flight(t, { queued: 30, syn: TS })
  const { cwnd, ssthresh } = f.c.info()
  const original = f.first[0]?.ts?.[0]
  t.type(original, 'number')
  const sent = timeOut(f)
  t.ok(sent.includes(0))
  t.ok(f.info('cwnd') < Number(cwnd))
  const again = f.d.stack.counters.retransmissions
  f.d.pass(20)
  f.ack(1, [], f.echo(Number(original)))
  t.equal(f.d.stack.counters.spuriousRecoveries, 1)
  t.equal(f.info('ssthresh'), ssthresh)
  t.ok(f.info('cwnd') >= Number(cwnd) - MSS, `cwnd ${f.info('cwnd')} after ${cwnd}`)
  t.equal(f.recovery, 'open')
  t.notOk(
    f.out().some((n) => n < 10),
    'what is out is left alone',
  )
  f.ack(10, [], f.echo(Number(original)))
  f.out()
  t.equal(f.d.stack.counters.retransmissions, again)
})

t.test('with timestamps the answer to the repeated segment undoes nothing', async (t) => {
  const f = new Flight(t, { queued: 30, syn: TS })
  const sent = timeOut(f)
  t.ok(sent.includes(0))
  f.d.pass(RTT)
  f.ack(1, [], f.echo(f.d.tsRecent))
  t.equal(f.d.stack.counters.spuriousRecoveries, 0)
  // RFC 5682 2.1: first something new, to see. It arrives, what lies before it does not.
  const probes = f.out()
  t.ok(probes.length > 0)
  f.d.pass(RTT)
  f.ack(1, [[Math.min(...probes), Math.max(...probes) + 1]], f.echo(f.d.tsRecent))
  t.ok(f.out().includes(1), 'and the next is sent again')
  t.equal(f.d.stack.counters.spuriousRecoveries, 0)
})

t.test('without timestamps new segments that are acknowledged tell (RFC 5682 3.1)', async (t) => {
  for (const sackOk of [true, false]) {
    const f = new Flight(t, { queued: 40, syn: { sackOk } })
    const { cwnd } = f.c.info()
    const sent = timeOut(f)
    t.ok(sent.includes(0))
    f.d.pass(10)
    // The originals come after all, first two, then the rest.
    f.ack(2)
    const more = f.out()
    // Two, or what slow start has made of one segment.
    t.ok(more.length >= 1 && more.length <= 3, `${more.length} new ones`)
    t.ok(
      more.every((n) => n >= 10),
      `${more} are new`,
    )
    f.ack(4)
    t.equal(f.d.stack.counters.spuriousRecoveries, 1)
    t.ok(f.info('cwnd') >= Number(cwnd) - 2 * MSS, `cwnd ${f.info('cwnd')} after ${cwnd}`)
    f.ack(10)
    t.notOk(
      f.out().some((n) => n < 10),
      'nothing that was out is sent again',
    )
  }
})

t.test('a loss after a time-out is a loss: duplicates end the doubt (RFC 5682 2.1 step 3a)', async (t) => {
  const f = new Flight(t, { queued: 40, syn: { sackOk: false } })
  t.ok(timeOut(f).includes(0))
  f.d.pass(RTT)
  f.ack(1)
  f.out()
  f.ack(1)
  t.ok(f.out().includes(1), 'slow start from there')
  t.equal(f.d.stack.counters.spuriousRecoveries, 0)
})

t.test('duplicates that report what was sent again undo a fast recovery', async (t) => {
  const f = new Flight(t, { queued: 30 })
  const { ssthresh } = f.c.info()
  f.after(RTT)
  for (let n = 2; n <= 5; n++) f.ack(0, [[1, n]])
  t.ok(f.out().includes(0))
  t.ok(f.info('ssthresh') < Number(ssthresh))
  f.after(RTT + 30)
  f.ack(10)
  f.after(2 * RTT)
  f.ack(10, [[0, 1]])
  t.equal(f.d.stack.counters.dsacks, 1)
  t.equal(f.d.stack.counters.spuriousRecoveries, 1)
  t.equal(f.info('ssthresh'), ssthresh)
  t.ok(f.info('cwnd') >= 10 * MSS)
})

t.test('with timestamps a fast recovery from reordering is undone at once', async (t) => {
  const f = new Flight(t, { queued: 30, syn: TS })
  const { ssthresh } = f.c.info()
  const original = Number(f.first[0]?.ts?.[0])
  f.after(RTT)
  for (let n = 2; n <= 5; n++) f.ack(0, [[1, n]], f.echo(original))
  t.ok(f.out().includes(0))
  f.after(RTT + 5)
  f.ack(5, [], f.echo(original))
  t.equal(f.d.stack.counters.spuriousRecoveries, 1)
  t.equal(f.info('ssthresh'), ssthresh)
  t.equal(f.recovery, 'open')
})

t.test('a stall of 0.2, 1 and 5 s of everything below: hardly anything is sent twice', async (t) => {
  for (const stall of [200, 1000, 5000]) {
    const f = new Flight(t, { rounds: 2, queued: 400, syn: TS })
    t.equal(f.first.length, 40)
    const { cwnd, ssthresh } = f.c.info()
    const before = f.d.stack.counters.retransmissions
    const original = Number(f.first[0]?.ts?.[0])
    f.after(stall)
    const probes = f.out()
    t.ok(probes.length <= 8, `${stall} ms: ${probes.length} probes`)
    for (let n = 2; n <= 40; n += 2) {
      f.ack(n, [], f.echo(original))
      f.d.drain()
    }
    const sent = f.out()
    t.notOk(
      sent.some((n) => n < 40),
      'nothing of the flight is sent again',
    )
    t.ok(f.d.stack.counters.retransmissions - before <= 8)
    t.equal(f.info('ssthresh'), ssthresh, `${stall} ms`)
    t.ok(f.info('cwnd') >= Number(cwnd), `${stall} ms: cwnd ${f.info('cwnd')} after ${cwnd}`)
    t.ok(sent.length >= 30, `${sent.length} new ones at once`)
  }
})

t.test('a whole window is lost: one doubt, not one for each segment (RFC 5682 2.1 step 1)', async (t) => {
  // The other side only ever says what comes next; with SACK permitted it may (RFC 2018 4: SHOULD).
  for (const sackOk of [true, false]) {
    const f = new Flight(t, { queued: 40, syn: { sackOk } })
    timeOut(f)
    let next = 0
    const got = new Set<number>()
    let arriving = [0]
    for (let i = 0; i < 300 && f.c.queued > 0; i++) {
      f.d.pass(RTT)
      const sent = f.out()
      for (const n of arriving) {
        got.add(n)
        while (got.has(next)) next++
        f.ack(next)
        f.d.drain()
      }
      arriving = [...sent, ...f.out()]
    }
    t.equal(f.c.queued, 0, `${f.c.queued} octets are left after ${f.d.time} ms`)
    t.ok(f.d.stack.counters.timeouts <= 3, `${f.d.stack.counters.timeouts} time-outs`)
    t.ok(f.d.time - f.t0 < 5000, `${f.d.time - f.t0} ms`)
  }
})
