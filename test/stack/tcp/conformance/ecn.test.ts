/** Explicit congestion notification: RFC 3168 6.1, and SHLD-8 of RFC 9293. */
import t from 'tap'
import type { TcpOptionsWanted } from '../../../../stack/index.js'
import { Dialogue, readSegment, stream } from '../../../helpers/segment.js'
import { ecnOf, Flight, MSS, marked, RTT, tapOf } from './flight.js'

const ECT0 = 2
const CE = 3
const ECE = 0x40
const CWR = 0x80

/** A connection that has agreed on ECN, ten segments out. */
function agreed(t: ConstructorParameters<typeof Flight>[0], family: 4 | 6 = 4): [Flight, Uint8Array[]] {
  const f = new Flight(t, { family, queued: 0, wanted: { ecn: true }, syn: { flags: 'SAE' } })
  return [f, tapOf(f.d.stack)]
}

t.test('an active open asks for it only if told to', async (t) => {
  for (const [wanted, flags] of [
    [{}, 'S'],
    [{ ecn: false }, 'S'],
    [{ ecn: true }, 'SEC'],
  ] as readonly [TcpOptionsWanted, string][]) {
    const d = new Dialogue(t)
    d.connect(wanted)
    d.expect({ flags })
  }
})

t.test('it is on if the answer has ECE alone', async (t) => {
  for (const [flags, on] of [
    ['SAE', true],
    ['SA', false],
    // The reserved bits come back as they were sent: an answer from before ECN.
    ['SAEC', false],
    ['SAC', false],
  ] as const) {
    const f = new Flight(t, { queued: 0, wanted: { ecn: true }, syn: { flags } })
    const packets = tapOf(f.d.stack)
    t.equal(f.c.info().ecn, on, flags)
    f.c.write(stream(2000))
    f.d.drain()
    t.same(packets.map(ecnOf), on ? [ECT0, ECT0] : [0, 0])
  }
  const f = new Flight(t, { queued: 0, syn: { flags: 'SAE' } })
  t.equal(f.c.info().ecn, false, 'who did not ask has not got it')
})

t.test('a passive open agrees if it is asked', async (t) => {
  for (const [flags, answer] of [
    ['S', 'SA'],
    ['SEC', 'SAE'],
    ['SE', 'SA'],
    ['SC', 'SA'],
  ] as const) {
    const d = new Dialogue(t)
    const l = d.listen()
    const packets = tapOf(d.stack)
    d.in({ flags, seq: 0, mss: MSS })
    d.expect({ flags: answer })
    d.in({ flags: 'A', seq: 1, ack: 1 })
    const c = d.stack.accept(l)
    packets.length = 0
    c?.write(stream(1000))
    d.drain()
    t.same(packets.map(ecnOf), [answer === 'SAE' ? ECT0 : 0], flags)
  }
})

t.test('SYNs, pure acknowledgements, probes and what is sent again go without it', async (t) => {
  for (const family of [4, 6] as const) {
    const d = new Dialogue(t, { family })
    const packets = tapOf(d.stack)
    const wanted: TcpOptionsWanted = { ecn: true }
    const c = d.connect(wanted)
    d.drain()
    d.in({ flags: 'SAE', seq: 0, ack: 1, mss: MSS, sackOk: true })
    d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x' })
    d.drain()
    t.ok(
      packets.every((p) => ecnOf(p) === 0),
      `${packets.length} without text`,
    )
    packets.length = 0
    c.write(stream(1000))
    d.drain()
    t.same(packets.map(ecnOf), [ECT0])
    packets.length = 0
    d.pass(5000)
    t.ok(packets.length >= 2)
    t.ok(packets.every((p) => ecnOf(p) === 0))
  }
})

t.test('a SYN that nobody answers is repeated without it (RFC 3168 6.1.1.1)', async (t) => {
  const d = new Dialogue(t)
  const wanted: TcpOptionsWanted = { ecn: true }
  d.connect(wanted)
  d.expect({ flags: 'SEC' })
  d.at(3500)
  t.ok(d.forget().some((s) => s.flags === 'S'))
  d.in({ flags: 'SA', seq: 0, ack: 1 })
  d.expect({ flags: 'A' })
})

t.test('a mark is echoed on every acknowledgement until CWR comes (RFC 3168 6.1.3)', async (t) => {
  for (const family of [4, 6] as const) {
    const [f, packets] = agreed(t, family)
    const { d } = f
    const flags = (): number => {
      d.drain()
      const last = packets.at(-1)
      return last === undefined ? 0 : readSegment(last).bits & ECE
    }
    let seq = 1
    const text = (ecn: number, more = ''): void => {
      d.inPacket(marked(d.packet({ flags: `PA${more}`, seq, ack: 1, data: stream(100) }), ecn))
      seq += 100
      d.pass(50)
    }
    text(ECT0)
    t.equal(flags(), 0)
    text(CE)
    t.equal(flags(), ECE)
    t.equal(d.stack.counters.ecnMarks, 1)
    text(ECT0)
    text(ECT0)
    t.equal(flags(), ECE, 'until it is known to have come')
    text(ECT0, 'C')
    t.equal(flags(), 0)
    text(CE, 'C')
    t.equal(flags(), ECE, 'a mark on the segment with CWR is a new one')
  }
})

t.test('marks mean nothing where it was not agreed', async (t) => {
  const f = new Flight(t, { queued: 0 })
  f.d.inPacket(marked(f.d.packet({ flags: 'PA', seq: 1, ack: 1, data: 'x' }), CE))
  f.d.expect({ flags: 'A', ack: 2 })
  f.c.write(stream(5000))
  f.d.forget()
  const before = f.info('cwnd')
  f.d.in({ flags: 'AE', seq: 2, ack: 1001 })
  t.ok(f.info('cwnd') >= before)
  t.equal(f.d.stack.counters.ecnEchoes, 0)
})

t.test('an echo halves once for each window, says CWR once, and nothing is sent again', async (t) => {
  const [f, packets] = agreed(t)
  const { d, c } = f
  c.write(stream(60_000))
  d.drain()
  t.equal(packets.length, 10)
  packets.length = 0
  d.pass(RTT)
  d.forget()
  const before = f.info('cwnd')
  for (let n = 1; n <= 10; n++) {
    d.in({ flags: 'AE', seq: 1, ack: f.at(n) })
    d.drain()
  }
  t.equal(d.stack.counters.ecnEchoes, 1, 'once for each round trip')
  t.ok(f.info('ssthresh') < before)
  t.ok(f.info('ssthresh') >= before / 2 - MSS)
  t.ok(f.info('cwnd') <= before, `cwnd ${f.info('cwnd')}`)
  const sent = packets.map((p) => readSegment(p).bits & CWR)
  t.ok(sent.length > 0)
  t.equal(sent[0], CWR, 'the first new segment tells')
  t.ok(
    sent.slice(1).every((b) => b === 0),
    'and only that',
  )
  t.equal(d.stack.counters.retransmissions, 0)
  t.equal(d.stack.counters.fastRetransmits, 0)
  // In the next window it counts again.
  d.pass(RTT)
  const ssthresh = f.info('ssthresh')
  d.in({ flags: 'AE', seq: 1, ack: f.at(10 + sent.length) })
  d.drain()
  t.equal(d.stack.counters.ecnEchoes, 2)
  t.ok(f.info('ssthresh') < ssthresh)
})

t.test('echoes alone cannot stop a connection (RFC 3168 6.1.2)', async (t) => {
  const [f] = agreed(t)
  const { d, c } = f
  c.write(stream(40_000))
  for (let i = 0; i < 200 && c.queued > 0; i++) {
    d.drain()
    const last = d.forget().filter((s) => s.len > 0)
    d.pass(RTT)
    for (const s of last) d.in({ flags: 'AE', seq: 1, ack: s.seq + s.len })
  }
  t.equal(c.queued, 0)
  t.equal(d.stack.counters.timeouts, 0, 'a window of one or two segments is left')
})
