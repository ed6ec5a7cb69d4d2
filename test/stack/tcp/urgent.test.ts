/** Urgent data: RFC 9293 3.8.5. */
import t from 'tap'
import { READY_ACCEPT, READY_CONNECTED, READY_READABLE, READY_URGENT } from '../../../stack/index.js'
import { Dialogue, inState, readAll, stream } from '../../helpers/segment.js'

t.test('MUST-32, 62: the application is told of urgent data, once until it has read them', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'ab' })
  t.equal(d.bits(c), READY_READABLE)
  t.equal(c.urgent, 0)
  // The pointer is the octet behind the urgent data: c and d are.
  d.in({ flags: 'PAU', seq: 3, ack: 1, data: 'cdef', urgent: 2 })
  t.equal(d.bits(c), READY_URGENT | READY_READABLE)
  t.equal(c.urgent, 4)
  // Further on while some are pending: the end moves, and that is no news; it never moves back.
  d.in({ flags: 'PAU', seq: 7, ack: 1, data: 'gh', urgent: 2 })
  t.equal(d.bits(c) & READY_URGENT, 0)
  t.equal(c.urgent, 8)
  d.in({ flags: 'PAU', seq: 9, ack: 1, data: 'i', urgent: 0 })
  t.equal(c.urgent, 8)
  t.equal(readAll(c), 'abcdefghi', 'in line, as ever')
  t.equal(c.urgent, 0)
  // Behind what was read: nothing.
  d.in({ flags: 'PAU', seq: 10, ack: 1, data: 'j', urgent: 0 })
  t.equal(d.bits(c), READY_READABLE)
  d.in({ flags: 'PAU', seq: 11, ack: 1, data: 'k', urgent: 1 })
  t.equal(d.bits(c), READY_READABLE | READY_URGENT, 'and again')
})

t.test('MUST-33: and how much of them is left, received or not', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  // Without data: they are still to come. The numbers wrap on the way.
  d.in({ flags: 'AU', seq: 1, ack: 1, urgent: 60_000 })
  t.equal(d.bits(c), READY_URGENT)
  t.equal(c.urgent, 60_000)
  let at = 1
  for (let left = 60_000; left > 0; left -= 1000) {
    d.in({ flags: 'PA', seq: at, ack: 1, data: stream(1000) })
    at += 1000
    t.equal(c.urgent, left)
    c.consume(400)
    t.equal(c.urgent, left - 400)
    c.consume(600)
  }
  t.equal(c.urgent, 0)
  t.equal(d.bits(c) & READY_URGENT, 0)
  // Ahead of a gap.
  d.in({ flags: 'PAU', seq: at + 5, ack: 1, data: 'fghij', urgent: 2 })
  t.equal(d.bits(c), READY_URGENT)
  t.equal(c.urgent, 7)
  d.in({ flags: 'PA', seq: at, ack: 1, data: 'abcde' })
  c.consume(6)
  t.equal(c.urgent, 1)
  c.consume(100)
  t.equal(c.urgent, 0)
})

t.test('URG outside the window counts nothing, at a closed window it counts', async (t) => {
  const d = new Dialogue(t, { limits: { receiveBuffer: 1000, receiveBufferMax: 1000 } })
  const c = d.open()
  const gigabyte = 1 << 30
  for (const seq of [0, -500, 1002, 70_000, gigabyte, -gigabyte]) {
    d.in({ flags: 'PAU', seq, ack: 1, data: 'x', urgent: 60_000 })
    t.equal(c.urgent, 0, `at ${seq}`)
  }
  // An acknowledgement of what was never sent (RFC 5961 5.2).
  d.in({ flags: 'PAU', seq: 1, ack: 5000, data: 'x', urgent: 1 })
  t.equal(d.bits(c), 0)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: stream(1000) })
  d.drain()
  t.equal(d.bits(c), READY_READABLE)
  d.in({ flags: 'AU', seq: 1001, ack: 1, urgent: 10 })
  t.equal(d.bits(c), READY_URGENT)
  t.equal(c.urgent, 1010)
})

t.test('urgent data end where everything ends', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'AU', seq: 1, ack: 1, urgent: 500 })
  d.in({ flags: 'FPA', seq: 1, ack: 1, data: 'last' })
  t.equal(c.urgent, 4, 'with the FIN')
  d.in({ flags: 'AU', seq: 6, ack: 1, urgent: 500 })
  t.equal(c.urgent, 4, 'nothing is announced behind it')
  t.equal(readAll(c), 'last')
  t.equal(c.urgent, 0)

  const e = new Dialogue(t)
  const f = e.open()
  // The FIN is known before what is in front of it.
  e.in({ flags: 'FPAU', seq: 5, ack: 1, data: 'efg', urgent: 900 })
  e.in({ flags: 'AU', seq: 1, ack: 1, urgent: 900 })
  e.in({ flags: 'PA', seq: 1, ack: 1, data: 'abcd' })
  t.equal(f.urgent, 7)
  t.equal(readAll(f), 'abcdefg')
  t.equal(f.urgent, 0)

  const g = new Dialogue(t)
  const h = g.open()
  g.in({ flags: 'PAU', seq: 1, ack: 1, data: 'x', urgent: 9 })
  h.abort()
  t.equal(h.urgent, 0, 'with the connection')
})

t.test('every state that receives is told, no other is', async (t) => {
  for (const [state, told] of [
    ['ESTABLISHED', true],
    ['FIN-WAIT-1', true],
    ['FIN-WAIT-2', true],
    ['CLOSE-WAIT', false],
    ['CLOSING', false],
    ['LAST-ACK', false],
    ['TIME-WAIT', false],
  ] as const) {
    const [d, c] = inState(t, state)
    d.in({ flags: 'AU', urgent: 10 })
    t.equal((d.bits(c) & READY_URGENT) !== 0, told, state)
    t.equal(c.urgent, told ? 10 : 0)
  }
})

t.test('URG on a SYN-ACK, and before a connection is accepted', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.drain()
  d.in({ flags: 'SAU', seq: 0, ack: 1, data: 'ab', urgent: 3 })
  t.equal(d.bits(c), READY_CONNECTED | READY_READABLE | READY_URGENT)
  t.equal(c.urgent, 2, 'the SYN has a number of its own')

  const e = new Dialogue(t)
  const l = e.listen()
  e.in({ flags: 'S', seq: 0 })
  e.drain()
  e.in({ flags: 'PAU', seq: 1, ack: 1, data: 'ab', urgent: 1 })
  t.equal(e.bits(l), READY_ACCEPT)
  const f = e.stack.accept(l)
  if (f === undefined) throw new Error('nothing to accept')
  t.equal(e.bits(f), READY_CONNECTED | READY_READABLE | READY_URGENT)
  t.equal(f.urgent, 1)
})
