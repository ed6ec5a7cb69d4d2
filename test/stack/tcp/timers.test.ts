/** Retransmission and keep-alive: RFC 6298, RFC 9293 3.8.1 to 3.8.4. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { RttEstimator } from '../../../stack/tcp/rtt.js'
import { Dialogue, inState, latin, stream } from '../../helpers/segment.js'

// ---------------------------------------------------------------- The retransmission timer: RFC 6298, RFC 9293 3.8.1 to 3.8.3.

interface RtoVector {
  readonly id: string
  readonly in: { readonly samplesMs: readonly number[]; readonly minMs: number }
  readonly out: { readonly steps: readonly { srtt: number; rttvar: number; rto: number }[] }
}

t.test('the steps of RFC 6298 2', async (t) => {
  const { vectors } = JSON.parse(
    readFileSync(new URL('../../vectors/tcp.json', import.meta.url), 'utf8'),
  ) as { readonly vectors: readonly RtoVector[] }
  t.ok(vectors.length >= 2)
  for (const v of vectors) {
    const rtt = new RttEstimator(v.in.minMs, 60_000)
    t.equal(rtt.rto, 1000, 'before the first sample')
    v.in.samplesMs.forEach((sample, i) => {
      rtt.sample(sample)
      t.same({ srtt: rtt.srtt, rttvar: rtt.rttvar, rto: rtt.rto }, v.out.steps[i], `${v.id}, step ${i + 1}`)
    })
  }
})

t.test('the estimator: bounds, back-off, and many samples in a window', async (t) => {
  const rtt = new RttEstimator(200, 60_000)
  t.equal(rtt.hasSample, false)
  rtt.sample(1)
  t.equal(rtt.rto, 200)
  for (let i = 0; i < 20; i++) rtt.backOff()
  t.equal(rtt.rto, 60_000)
  t.equal(rtt.after(5), 60_000)
  rtt.sample(1)
  t.equal(rtt.rto, 200, 'a new sample ends the back-off')
  t.equal(rtt.after(3), 1600)
  rtt.sample(Number.NaN)
  rtt.sample(-5)
  t.equal(rtt.rto, 200)
  rtt.sample(1e9)
  t.equal(rtt.rto, 60_000)

  const often = new RttEstimator(200, 60_000)
  often.sample(100)
  for (let i = 0; i < 10; i++) often.sample(200, 10)
  const once = new RttEstimator(200, 60_000)
  once.sample(100)
  once.sample(200)
  t.ok(Math.abs(often.srtt - once.srtt) < 1, 'ten samples of weight 1/10 count as one')
  t.equal(often.min, 100)

  const fast = new RttEstimator(200, 60_000)
  fast.sample(0)
  t.ok(fast.hasSample, 'a clock of 1 ms may well measure 0')
})

t.test('an unacknowledged segment is sent again with doubled waits until R2', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.pass(100)
  d.in({ flags: 'SA', seq: 0, ack: 1, mss: 1000 })
  d.forget()
  t.equal(c.info().rto, 300)
  c.write(stream(100))
  d.expect({ at: 100, seq: 1, len: 100 })
  let at = 100
  let rto = 300
  while (at + rto < 100 + 120_000) {
    at += rto
    rto = Math.min(rto * 2, 60_000)
    d.at(at)
    d.expect({ at, flags: 'PA', seq: 1, len: 100 })
    t.equal(c.info().rto, rto)
  }
  t.equal(c.info().cwnd, 1000)
  d.at(at + rto - 1)
  t.equal(c.stateName, 'ESTABLISHED')
  d.at(at + rto)
  t.equal(c.stateName, 'CLOSED')
  t.equal(c.error, 'timed-out')
  d.silent()
  t.ok(d.stack.counters.timeouts >= 8)
  t.equal(d.stack.counters.retransmissions, d.stack.counters.timeouts)
})

t.test('R2 can be chosen, and counts from the last progress', async (t) => {
  const d = new Dialogue(t, { times: { userTimeout: 10_000 } })
  const c = d.open()
  d.pass(3_600_000)
  c.write(stream(100))
  d.drain()
  d.pass(9000)
  t.equal(c.stateName, 'ESTABLISHED', 'an idle hour before does not count')
  d.in({ flags: 'A', seq: 1, ack: 51 })
  d.pass(9000)
  t.equal(c.stateName, 'ESTABLISHED')
  d.pass(13_000)
  t.equal(c.error, 'timed-out')
})

t.test(
  'the timer starts anew with each acknowledgement of new data, and stops when all is acknowledged',
  async (t) => {
    const d = new Dialogue(t, { times: { minRto: 1000 } })
    const c = d.open({ mss: 1000 })
    c.write(stream(3000))
    d.forget()
    d.at(900)
    d.in({ flags: 'A', seq: 1, ack: 1001 })
    d.at(1800)
    d.in({ flags: 'A', seq: 1, ack: 1001 })
    d.silent()
    d.in({ flags: 'A', seq: 1, ack: 2001 })
    d.at(2700)
    d.silent()
    d.in({ flags: 'A', seq: 1, ack: 3001 })
    d.at(100_000)
    d.silent()
    t.equal(c.queued, 0)
  },
)

t.test('a duplicate does not put the timer off', async (t) => {
  const d = new Dialogue(t, { times: { minRto: 1000 } })
  const c = d.open({ mss: 1000 })
  c.write(stream(1000))
  d.forget()
  d.at(900)
  d.in({ flags: 'A', seq: 1, ack: 1 })
  d.at(1000)
  d.expect({ at: 1000, seq: 1, len: 1000 })
})

t.test(
  'after a time-out sending begins again at the first unacknowledged octet, in slow start',
  async (t) => {
    const d = new Dialogue(t, { tcp: { congestion: 'newreno' } })
    const c = d.open({ mss: 1000 })
    c.write(stream(8000))
    t.equal(d.forget().length, 8)
    d.at(200)
    d.expect({ at: 200, seq: 1, len: 1000 })
    t.equal(c.info().ssthresh, 4000)
    d.in({ flags: 'A', seq: 1, ack: 1001 })
    d.expect({ seq: 1001, len: 1000 }, { seq: 2001, len: 1000 })
    d.in({ flags: 'A', seq: 1, ack: 3001 })
    d.expect({ seq: 3001 }, { seq: 4001 }, { seq: 5001 }, { seq: 6001 })
  },
)

t.test('what the other side has already is not sent again after a time-out', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000 })
  c.write(stream(5000))
  d.forget()
  d.at(200)
  d.expect({ seq: 1, len: 1000 })
  d.in({ flags: 'A', seq: 1, ack: 5001 })
  d.silent()
  t.equal(c.queued, 0)
})

t.test('small writes go out again as one full segment', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000 })
  for (const word of ['one ', 'two ', 'three']) {
    c.write(latin(word))
    d.drain()
  }
  d.forget()
  d.at(200)
  d.expect({ at: 200, seq: 1, data: 'one two three' })
})

t.test('Karn: a segment that was sent twice gives no sample without timestamps', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.pass(100)
  d.in({ flags: 'SA', seq: 0, ack: 1, mss: 1000 })
  d.forget()
  c.write(stream(500))
  d.pass(350)
  d.forget()
  const { rto, srtt } = c.info()
  t.equal(rto, 600)
  d.in({ flags: 'A', seq: 1, ack: 501 })
  t.equal(c.info().srtt, srtt)
  t.equal(c.info().rto, 600, 'the back-off stays until there is a sample')
  c.write(stream(500))
  d.drain()
  d.pass(100)
  d.in({ flags: 'A', seq: 1, ack: 1001 })
  t.equal(c.info().rto, 300, 'the margin above the mean is at least 200 ms')
})

t.test('with timestamps a repeated segment does give one (RFC 7323 4)', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.pass(100)
  d.in({ flags: 'SA', seq: 0, ack: 1, mss: 1000, ts: [1, d.tsRecent] })
  d.forget()
  c.write(stream(500))
  d.pass(350)
  d.forget()
  t.equal(c.info().rto, 600)
  d.pass(50)
  d.in({ flags: 'A', seq: 1, ack: 501 })
  t.ok((c.info().rto as number) < 600, `${c.info().rto}`)
})

t.test('an echoed timestamp that cannot be ours gives no sample', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.pass(100)
  d.in({ flags: 'SA', seq: 0, ack: 1, ts: [1, (d.tsRecent + 5000) >>> 0] })
  t.equal(c.info().srtt, 100, 'taken from our own clock instead')
})

t.test('timers work around the wrap of a 32-bit clock and from any beginning', async (t) => {
  for (const start of [0, 0.25, 2 ** 31 - 150, 2 ** 32 - 150, 2 ** 40]) {
    const d = new Dialogue(t, { start })
    const c = d.connect()
    d.forget()
    d.pass(100)
    d.in({ flags: 'SA', seq: 0, ack: 1, mss: 1000, ts: d.stamp() })
    d.forget()
    t.equal(c.info().srtt, 100, `from ${start}`)
    c.write(stream(10))
    d.pass(300)
    t.equal(d.forget().length, 2)
    d.in({ flags: 'A', seq: 1, ack: 11 })
    t.equal(c.queued, 0)
  }
})

// ---------------------------------------------------------------- Keep-alive: RFC 9293 3.8.4 (MUST-24 to 29).

const HOUR = 3_600_000

t.test('it is off by default: an idle connection stays silent for days', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.pass(72 * HOUR)
  d.silent()
  t.equal(c.stateName, 'ESTABLISHED')
  t.equal(d.stack.nextTimeout(), Number.POSITIVE_INFINITY)
})

t.test('on request an idle connection is probed without data', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({}, { keepAlive: 2 * HOUR })
  d.at(2 * HOUR - 1)
  d.silent()
  d.at(2 * HOUR)
  d.expect({ at: 2 * HOUR, flags: 'A', seq: 0, ack: 1, len: 0 })
  d.in({ flags: 'A', seq: 1, ack: 1 })
  d.at(4 * HOUR - 1)
  d.silent()
  d.at(4 * HOUR)
  d.expect({ at: 4 * HOUR, flags: 'A', seq: 0 })
  t.equal(c.stateName, 'ESTABLISHED')
})

t.test('it can be asked for, changed and given up later', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  c.setKeepAlive(60_000, d.now)
  d.at(60_000)
  d.expect({ at: 60_000, flags: 'A', seq: 0 })
  d.in({ flags: 'A', seq: 1, ack: 1 })
  c.setKeepAlive(10_000, d.now)
  d.at(70_000)
  d.expect({ at: 70_000, flags: 'A', seq: 0 })
  d.in({ flags: 'A', seq: 1, ack: 1 })
  c.setKeepAlive(0, d.now)
  d.at(HOUR)
  d.silent()
})

t.test('nine unanswered probes, 75 s apart, end the connection', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({}, { keepAlive: 2 * HOUR })
  for (let i = 0; i < 9; i++) {
    const at = 2 * HOUR + i * 75_000
    d.at(at)
    d.expect({ at, flags: 'A', seq: 0, len: 0 })
  }
  d.at(2 * HOUR + 9 * 75_000 - 1)
  t.equal(c.stateName, 'ESTABLISHED')
  d.at(2 * HOUR + 9 * 75_000)
  t.equal(c.error, 'timed-out')
  d.silent()
})

t.test('one answer is enough, however late', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({}, { keepAlive: 100_000 })
  d.at(100_000 + 8 * 75_000)
  t.equal(d.forget().length, 9)
  d.in({ flags: 'A', seq: 1, ack: 1 })
  d.at(100_000 + 8 * 75_000 + 99_999)
  d.silent()
  t.equal(c.stateName, 'ESTABLISHED')
  d.pass(1)
  d.expect({ flags: 'A', seq: 0 })
})

t.test('a RST as the answer resets', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({}, { keepAlive: 60_000 })
  d.at(60_000)
  d.forget()
  d.in({ flags: 'R', seq: 1 })
  t.equal(c.error, 'reset')
})

t.test(
  'traffic of either side puts it off, and unacknowledged data leaves it to its own timer',
  async (t) => {
    const d = new Dialogue(t)
    const c = d.open({}, { keepAlive: 60_000 })
    d.at(50_000)
    d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x' })
    d.forget()
    d.at(100_000)
    d.silent()
    c.write(latin('y'))
    d.pass(20_000)
    t.ok(
      d.forget().every((s) => s.len === 1),
      'retransmissions, no probes (MUST-26)',
    )
    t.equal(c.stateName, 'ESTABLISHED')
  },
)

t.test('it works with an exhausted window and in half-closed states', async (t) => {
  for (const state of ['FIN-WAIT-2', 'CLOSE-WAIT']) {
    const [d, c] = inState(t, state)
    c.setKeepAlive(60_000, d.now)
    d.pass(60_000)
    const [probe] = d.forget()
    t.equal(probe?.len, 0)
    d.pass(60_000 * 20)
    t.equal(c.error, 'timed-out', state)
  }
})

t.test('a probe of the other side’s is answered', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: stream(10) })
  d.forget()
  d.pass(HOUR)
  d.in({ flags: 'A', seq: 10, ack: 1 })
  d.expect({ flags: 'A', seq: 1, ack: 11, len: 0 })
  d.pass(HOUR)
  // Old systems send one octet of rubbish (RFC 1122 4.2.3.6).
  d.in({ flags: 'A', seq: 10, ack: 1, data: '?' })
  d.expect({ flags: 'A', seq: 1, ack: 11, len: 0 })
  t.equal(c.readable, 10)
})
