/** TIME-WAIT: RFC 9293 3.6.1, RFC 1337, RFC 6191. */
import t from 'tap'
import type { TcpConnection } from '../../../stack/index.js'
import { Dialogue, type DialogueOptions, inState, type SegmentIn, type Test } from '../../helpers/segment.js'

/** A passive open of port 80 that we closed first. */
function waiting(
  t: Test,
  syn: Partial<SegmentIn> = {},
  options: DialogueOptions = {},
): [Dialogue, TcpConnection] {
  const d = new Dialogue(t, options)
  const c = d.serve(syn)
  c.end()
  d.drain()
  d.in({ flags: 'FA', seq: 1, ack: 2 })
  d.forget()
  if (c.stateName !== 'TIME-WAIT') throw new Error(c.stateName)
  return [d, c]
}

t.test('it lasts a minute, and a repeated FIN begins it anew', async (t) => {
  const [d, c] = inState(t, 'TIME-WAIT')
  d.at(50_000)
  d.in({ flags: 'FA', seq: 1, ack: 2 })
  d.expect({ flags: 'A', seq: 2, ack: 2 })
  d.at(109_999)
  t.equal(c.stateName, 'TIME-WAIT')
  d.at(110_000)
  t.equal(c.stateName, 'CLOSED')
  t.equal(d.stack.held.connections, 0)
  d.silent()
})

t.test('RST does not end it (RFC 1337)', async (t) => {
  const [d, c] = inState(t, 'TIME-WAIT')
  for (const seq of [2, 3, 1]) {
    d.in({ flags: 'R', seq })
    d.in({ flags: 'RA', seq })
  }
  t.equal(c.stateName, 'TIME-WAIT')
})

t.test('old data is acknowledged and not taken', async (t) => {
  const [d, c] = inState(t, 'TIME-WAIT')
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x' })
  d.expect({ flags: 'A', seq: 2, ack: 2 })
  t.equal(c.readable, 0)
  t.equal(c.stateName, 'TIME-WAIT')
})

t.test(
  'a SYN with a later number opens a new connection, whose numbers begin behind the old ones',
  async (t) => {
    const [d, c] = waiting(t)
    const old = (d.stackIss ?? 0) + 2
    d.pass(10)
    d.in({ flags: 'S', seq: 1000 })
    const [answer] = d.forget()
    t.equal(answer?.flags, 'SA')
    t.equal(answer?.ack, 0 + 1001)
    t.equal(c.stateName, 'CLOSED')
    t.ok((((answer?.rawSeq ?? 0) - old) | 0) > 0, 'RFC 9293 3.6.1')
    t.equal(d.stack.held.connections, 1)
  },
)

t.test('even after much data the new numbers begin behind the old ones', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  const c = d.serve({ shift: 7 }, l)
  const size = 4_000_000
  c.write(new Uint8Array(size))
  // In one millisecond, when the clock of initial numbers has moved on by 250.
  for (let i = 0; i < 5000 && c.queued > 0; i++) {
    d.drain()
    d.in({ flags: 'A', seq: 1 })
  }
  c.end()
  d.drain()
  d.in({ flags: 'FA', seq: 1, ack: size + 2 })
  t.equal(c.stateName, 'TIME-WAIT')
  d.forget()
  const end = (d.stackIss ?? 0) + size + 2
  d.pass(1)
  d.in({ flags: 'S', seq: 5000 })
  const [answer] = d.forget()
  t.equal(answer?.flags, 'SA')
  t.ok((((answer?.rawSeq ?? 0) - end) | 0) > 0)
})

t.test('a SYN with an old number is answered with an acknowledgement', async (t) => {
  for (const seq of [0, 1, 2, -1000]) {
    const [d, c] = waiting(t)
    d.in({ flags: 'S', seq })
    d.expect({ flags: 'A', seq: 2, ack: 2 })
    t.equal(c.stateName, 'TIME-WAIT')
  }
})

t.test('with timestamps the timestamp decides (RFC 6191)', async (t) => {
  for (const [seq, ts, opens] of [
    [-5000, 9000, true],
    [1000, 9000, true],
    [1000, 5001, true],
    [-5000, 5001, false],
    // An old duplicate whatever its number.
    [1000, 4000, false],
  ] as const) {
    const [d, c] = waiting(t, { ts: [5000, 0] }, {})
    // The FIN's timestamp is the last one seen.
    const last = (d.stamp()[0] + 0) >>> 0
    d.in({ flags: 'S', seq, ts: [(last + ts - 5001) >>> 0, 0] })
    t.equal(c.stateName === 'CLOSED', opens, `seq ${seq} ts ${ts}`)
    t.equal(d.forget()[0]?.flags, opens ? 'SA' : 'A')
  }
})

t.test('a SYN without timestamps after a connection with them goes by its number', async (t) => {
  const [d] = waiting(t, { ts: [5000, 0] })
  d.in({ flags: 'S', seq: 1000, ts: undefined })
  t.equal(d.forget()[0]?.flags, 'SA')
  const [e] = waiting(t, { ts: [5000, 0] })
  e.in({ flags: 'S', seq: 0, ts: undefined })
  t.equal(e.forget()[0]?.flags, 'A')
  const [f] = waiting(t)
  f.in({ flags: 'S', seq: 0, ts: [1, 0] })
  t.equal(f.forget()[0]?.flags, 'SA', 'new timestamps tell the new connection apart')
})

t.test('nothing takes over where nobody listens', async (t) => {
  const [d, c] = inState(t, 'TIME-WAIT')
  d.in({ flags: 'S', seq: 100_000 })
  d.expect({ flags: 'A', seq: 2, ack: 2 })
  t.equal(c.stateName, 'TIME-WAIT')
})

t.test('SYN-ACK, and SYN with RST, take nothing over', async (t) => {
  const [d, c] = waiting(t)
  d.in({ flags: 'SA', seq: 1000, ack: 2 })
  d.in({ flags: 'SR', seq: 1000 })
  t.equal(c.stateName, 'TIME-WAIT')
})

t.test('the oldest goes first when there are too many', async (t) => {
  const d = new Dialogue(t, { limits: { timeWait: 5 } })
  const l = d.listen()
  const all: TcpConnection[] = []
  for (let i = 0; i < 12; i++) {
    d.peerPort = 5000 + i
    d.stackIss = undefined
    d.peerNext = 0
    const c = d.serve({}, l)
    c.end()
    d.drain()
    d.in({ flags: 'FA', seq: 1, ack: 2 })
    d.forget()
    all.push(c)
    t.ok(d.stack.held.connections <= 5)
    d.pass(10)
  }
  t.same(
    all.map((c) => c.stateName),
    [...new Array(7).fill('CLOSED'), ...new Array(5).fill('TIME-WAIT')],
  )
  t.ok(all.every((c) => c.error === undefined))
  d.pass(60_000)
  t.equal(d.stack.held.connections, 0)
})

t.test('an active open does not use the port of a connection in TIME-WAIT', async (t) => {
  const d = new Dialogue(t)
  const used = new Set<number>()
  for (let i = 0; i < 300; i++) {
    const c = d.connect()
    t.ok(!used.has(c.tuple.localPort))
    used.add(c.tuple.localPort)
    d.stackIss = undefined
    d.drain()
    d.in({ flags: 'SA', seq: 0, ack: 1 })
    c.end()
    d.drain()
    d.in({ flags: 'FA', seq: 1, ack: 2 })
    d.drain()
  }
  t.equal(d.stack.held.connections, 300)
})

t.test('those who only wait make room when the stack is full, those who live do not', async (t) => {
  const d = new Dialogue(t, { limits: { connections: 6 } })
  const l = d.listen()
  const all: TcpConnection[] = []
  for (let i = 0; i < 20; i++) {
    d.peerPort = 5000 + i
    d.stackIss = undefined
    d.peerNext = 0
    const c = d.serve({}, l)
    all.push(c)
    t.equal(c.stateName, 'ESTABLISHED', `connection ${i}`)
    if (i >= 3) {
      c.end()
      d.drain()
      d.in({ flags: 'FA', seq: 1, ack: 2 })
      d.forget()
    }
    t.ok(d.stack.held.connections <= 6)
  }
  t.ok(all.slice(0, 3).every((c) => c.stateName === 'ESTABLISHED'))
  for (const c of all) c.abort()
  d.drain()
  d.pass(60_000)
})
