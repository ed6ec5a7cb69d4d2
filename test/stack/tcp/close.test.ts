/** Closing: RFC 9293 3.6, 3.10.4 and 3.10.5, and every state on the way. */
import t from 'tap'
import { READY_CLOSED, READY_READABLE, STATE_NAMES } from '../../../stack/index.js'
import { Dialogue, inState, latin, readAll, stream } from '../../helpers/segment.js'

t.test('we close first: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT, CLOSED', async (t) => {
  const d = new Dialogue(t, { times: { timeWait: 5000 } })
  const c = d.open()
  c.end()
  t.equal(c.stateName, 'FIN-WAIT-1')
  d.expect({ flags: 'FA', seq: 1, ack: 1, len: 0 })
  d.in({ flags: 'A', seq: 1, ack: 2 })
  t.equal(c.stateName, 'FIN-WAIT-2')
  d.silent()
  d.in({ flags: 'FA', seq: 1, ack: 2 })
  t.equal(c.stateName, 'TIME-WAIT')
  d.expect({ flags: 'A', seq: 2, ack: 2 })
  t.equal(d.bits(c), READY_READABLE | READY_CLOSED)
  t.ok(c.ended)
  t.equal(c.error, undefined)
  d.pass(4999)
  t.equal(c.stateName, 'TIME-WAIT')
  d.pass(1)
  t.equal(c.stateName, 'CLOSED')
  t.equal(c.error, undefined)
  t.equal(d.bits(c), 0, 'that was told before')
  t.equal(d.stack.held.connections, 0)
})

t.test('the other side closes first: CLOSE-WAIT, LAST-ACK, CLOSED', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'FA', seq: 1, ack: 1 })
  t.equal(c.stateName, 'CLOSE-WAIT')
  d.expect({ flags: 'A', seq: 1, ack: 2 })
  t.equal(d.bits(c), READY_READABLE)
  t.ok(c.ended)
  c.end()
  t.equal(c.stateName, 'LAST-ACK')
  d.expect({ flags: 'FA', seq: 1, ack: 2 })
  d.in({ flags: 'A', seq: 2, ack: 2 })
  t.equal(c.stateName, 'CLOSED')
  t.equal(c.error, undefined)
  t.equal(d.bits(c), READY_CLOSED)
  d.silent()
  t.equal(d.stack.held.connections, 0)
})

t.test('both close at once: CLOSING, TIME-WAIT (RFC 9293 figure 13)', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  c.end()
  d.expect({ flags: 'FA', seq: 1 })
  d.in({ flags: 'FA', seq: 1, ack: 1 })
  t.equal(c.stateName, 'CLOSING')
  d.expect({ flags: 'A', seq: 2, ack: 2 })
  d.in({ flags: 'A', seq: 2, ack: 2 })
  t.equal(c.stateName, 'TIME-WAIT')
  t.equal(d.bits(c), READY_READABLE | READY_CLOSED)
})

t.test('a FIN that acknowledges ours leads straight to TIME-WAIT', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  c.end()
  d.forget()
  d.in({ flags: 'FA', seq: 1, ack: 2 })
  t.equal(c.stateName, 'TIME-WAIT')
  d.expect({ flags: 'A', seq: 2, ack: 2 })
})

t.test('a SYN-RECEIVED that is ended sends its FIN when it opens', async (t) => {
  const [d, c] = inState(t, 'SYN-RECEIVED')
  c.end()
  d.silent()
  d.in({ flags: 'SA', seq: 0, ack: 1 })
  t.equal(c.stateName, 'FIN-WAIT-1')
  d.expect({ flags: 'FA', seq: 1 })
})

t.test('half-close: after our FIN the other side goes on sending', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  c.write(latin('request'))
  c.end()
  t.notOk(c.write(latin('more')), 'nothing can be written behind the end')
  d.expect({ flags: 'FPA', seq: 1, data: 'request' })
  d.in({ flags: 'A', seq: 1, ack: 9 })
  t.equal(c.stateName, 'FIN-WAIT-2')
  const long = stream(50_000)
  for (let o = 0; o < long.length; o += 1000) {
    d.in({ flags: 'PA', seq: 1 + o, ack: 9, data: long.subarray(o, o + 1000) })
    d.drain()
  }
  d.pass(600_000)
  t.equal(c.stateName, 'FIN-WAIT-2', 'it takes as long as it takes')
  d.forget()
  d.in({ flags: 'FPA', seq: 50_001, ack: 9, data: 'end' })
  d.expect({ flags: 'A', seq: 9, ack: 50_005 })
  t.equal(c.stateName, 'TIME-WAIT')
  t.equal(c.readable, 50_003, 'unread data outlives the connection')
  t.ok(readAll(c).endsWith('end'))
})

t.test('half-close: after the other side’s FIN we go on sending', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'FPA', seq: 1, ack: 1, data: 'query' })
  d.expect({ flags: 'A', ack: 7 })
  t.equal(readAll(c), 'query')
  for (let i = 0; i < 20; i++) {
    c.write(stream(1000, i * 1000))
    d.expect({ seq: 1 + i * 1000, len: 1000, ack: 7 })
    d.in({ flags: 'A', seq: 7, ack: 1001 + i * 1000 })
  }
  c.end()
  d.expect({ flags: 'FA', seq: 20_001 })
  d.in({ flags: 'A', seq: 7, ack: 20_002 })
  t.equal(c.stateName, 'CLOSED')
})

t.test('the FIN waits for what was written before it', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000, window: 2000 })
  c.write(stream(3500))
  c.end()
  t.equal(c.stateName, 'FIN-WAIT-1')
  d.expect({ flags: 'A', seq: 1, len: 1000 }, { flags: 'A', seq: 1001, len: 1000 })
  d.in({ flags: 'A', seq: 1, ack: 2001, window: 2000 })
  d.expect({ flags: 'A', seq: 2001, len: 1000 }, { flags: 'FPA', seq: 3001, len: 500 })
  d.in({ flags: 'A', seq: 1, ack: 3501 })
  t.equal(c.stateName, 'FIN-WAIT-1', 'all but the FIN')
  d.in({ flags: 'A', seq: 1, ack: 3502 })
  t.equal(c.stateName, 'FIN-WAIT-2')
})

t.test('a lost FIN is sent again in every state that waits for its acknowledgement', async (t) => {
  for (const [state, ack] of [
    ['FIN-WAIT-1', 1],
    ['CLOSING', 2],
    ['LAST-ACK', 2],
  ] as const) {
    const [d, c] = inState(t, state)
    d.pass(1000)
    d.expect({ at: 200, flags: 'FA', seq: 1, ack }, { at: 600, flags: 'FA', seq: 1, ack })
    t.equal(c.stateName, state)
  }
})

t.test('in LAST-ACK and CLOSING nobody waits for ever', async (t) => {
  for (const state of ['CLOSING', 'LAST-ACK', 'FIN-WAIT-1']) {
    const [d, c] = inState(t, state)
    d.pass(400_000)
    t.equal(c.stateName, 'CLOSED', state)
    t.equal(c.error, 'timed-out')
    t.equal(d.stack.held.connections, 0)
  }
})

t.test('a FIN ahead of missing data ends nothing before the data has come', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'FPA', seq: 6, ack: 1, data: 'world' })
  d.expect({ flags: 'A', ack: 1 })
  t.notOk(c.ended)
  t.equal(c.stateName, 'ESTABLISHED')
  d.in({ flags: 'A', seq: 1, ack: 1, data: 'hello' })
  d.expect({ flags: 'A', ack: 12 })
  t.ok(c.ended)
  t.equal(c.stateName, 'CLOSE-WAIT')
  t.equal(readAll(c), 'helloworld')
})

t.test('a bare FIN ahead of missing data counts as well', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'FA', seq: 6, ack: 1 })
  d.expect({ flags: 'A', ack: 1 })
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'hello' })
  d.expect({ flags: 'A', ack: 7 })
  t.equal(c.stateName, 'CLOSE-WAIT')
})

t.test('what lies behind a FIN is not data', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'FPA', seq: 6, ack: 1, data: 'world' })
  d.in({ flags: 'PA', seq: 11, ack: 1, data: 'more' })
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'hello, world and all' })
  d.drain()
  t.equal(c.stateName, 'CLOSE-WAIT')
  t.equal(readAll(c), 'helloworld')
  d.forget()
  d.in({ flags: 'PA', seq: 12, ack: 1, data: 'late' })
  d.expect({ flags: 'A', ack: 12 })
  t.equal(c.readable, 0)
})

t.test('a repeated FIN is acknowledged again', async (t) => {
  for (const [state, seq] of [
    ['CLOSE-WAIT', 1],
    ['LAST-ACK', 2],
    ['CLOSING', 2],
    ['TIME-WAIT', 2],
  ] as const) {
    const [d, c] = inState(t, state)
    for (let i = 0; i < 3; i++) {
      d.in({ flags: 'FA', seq: 1, ack: 1 })
      d.expect({ flags: 'A', seq, ack: 2 })
    }
    t.equal(c.stateName, state)
  }
})

t.test('abort resets the connection in every state but TIME-WAIT', async (t) => {
  for (const [state, seq, ack] of [
    ['SYN-RECEIVED', 1, 1],
    ['ESTABLISHED', 1, 1],
    ['FIN-WAIT-1', 2, 1],
    ['FIN-WAIT-2', 2, 1],
    ['CLOSE-WAIT', 1, 2],
    ['CLOSING', 2, 2],
    ['LAST-ACK', 2, 2],
  ] as const) {
    const [d, c] = inState(t, state)
    c.abort()
    t.equal(c.stateName, 'CLOSED')
    t.equal(c.error, 'aborted')
    d.expect({ flags: 'RA', seq, ack, len: 0 })
    t.equal(d.bits(c), READY_CLOSED)
    t.equal(d.stack.held.connections, 0)
    t.equal(d.stack.held.bytes, 0)
    c.abort()
    d.silent()
  }
  const [d, c] = inState(t, 'TIME-WAIT')
  c.abort()
  d.silent()
  t.equal(c.error, undefined)
  t.equal(c.stateName, 'CLOSED')
})

t.test('what came in front of a failure can be read, and nothing else is kept', async (t) => {
  const reset = { flags: 'R', seq: 3001 }
  const ends: [string, (d: Dialogue) => void][] = [
    ['reset', (d) => d.in(reset)],
    ['timed-out', (d) => d.pass(1_000_000)],
  ]
  for (const [error, end] of ends) {
    const d = new Dialogue(t)
    const c = d.open()
    const text = stream(3000)
    for (let at = 0; at < 3000; at += 1000)
      d.in({ flags: 'PA', seq: 1 + at, ack: 1, data: text.subarray(at, at + 1000) })
    // Behind a gap, which nothing will fill.
    d.in({ flags: 'PA', seq: 4001, ack: 1, data: stream(1000) })
    c.write(stream(5000))
    d.forget()
    end(d)
    d.forget()
    t.equal(c.stateName, 'CLOSED', error)
    t.equal(c.error, error)
    t.equal(d.bits(c), READY_READABLE | READY_CLOSED)
    t.equal(c.queued, 0)
    t.notOk(c.ended, 'that is no end')
    t.equal(d.stack.held.connections, 0)
    t.equal(readAll(c), Buffer.from(text).toString('latin1'))
    t.equal(d.stack.held.bytes, 0)
    d.silent()
  }
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: stream(3000) })
  d.in(reset)
  c.abort()
  t.equal(c.readable, 0, 'unless nobody wants it')
  t.equal(c.error, 'reset')
  t.equal(d.stack.held.bytes, 0)
  d.forget()
})

t.test('what came before anybody had accepted the connection is not kept', async (t) => {
  const d = new Dialogue(t)
  d.stack.listen({ port: 80 })
  d.in({ flags: 'S', seq: 0 })
  d.forget()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: stream(1000) })
  t.ok(d.stack.held.bytes > 0)
  d.in({ flags: 'R', seq: 1001 })
  t.equal(d.stack.held.bytes, 0)
  d.forget()
})

t.test('abortBehind: the reset comes behind what was written, however long that takes', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(stream(2500))
  c.abortBehind()
  t.notOk(c.write(latin('more')), 'nothing can be written behind it')
  d.expect({ seq: 1, len: 1000 })
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'meanwhile' })
  t.equal(c.readable, 9)
  d.in({ flags: 'A', seq: 10, ack: 1001, window: 0 })
  d.pass(60_000)
  d.forget()
  t.equal(c.stateName, 'ESTABLISHED')
  d.in({ flags: 'A', seq: 10, ack: 1001, window: 5000 })
  d.forget()
  d.in({ flags: 'A', seq: 10, ack: 2501, window: 5000 })
  t.equal(c.error, 'aborted')
  t.equal(c.readable, 0)
  d.expect({ flags: 'RA', seq: 2501, ack: 10 })
  const idle = d.open({ seq: 700 })
  idle.abortBehind()
  t.equal(idle.error, 'aborted', 'at once, if there is nothing to wait for')
  d.forget()
})

t.test('abort throws away what is queued and what is unread', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(stream(100_000))
  for (let i = 0; i < 5; i++) d.in({ flags: 'PA', ack: 1, data: stream(1000) })
  d.forget()
  t.ok(d.stack.held.bytes > 100_000)
  c.abort()
  t.equal(d.stack.held.bytes, 0)
  t.equal(c.readable, 0)
  t.equal(c.queued, 0)
  d.expect({ flags: 'RA' })
})

t.test('a closed connection takes nothing and says nothing', async (t) => {
  const [d, c] = inState(t, 'ESTABLISHED')
  c.abort()
  d.forget()
  t.notOk(c.write(latin('x')))
  c.end()
  c.consume(10)
  c.setKeepAlive(1000, d.now)
  t.equal(c.peek().length, 0)
  d.pass(100_000)
  d.silent()
})

t.test('a segment for a connection that is gone is answered with RST (RFC 9293 3.5.2)', async (t) => {
  const [d, c] = inState(t, 'ESTABLISHED')
  c.abort()
  d.forget()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'late' })
  d.expect({ flags: 'R', seq: 1, ack: 0 })
  d.in({ flags: 'F', seq: 7, data: 'abc' })
  d.expect({ flags: 'RA', rawSeq: 0, ack: 11 })
  d.in({ flags: 'S', seq: 7 })
  d.expect({ flags: 'RA', ack: 8 })
  d.in({ flags: 'R', seq: 7 })
  d.in({ flags: 'RA', seq: 7 })
  d.silent()
})

t.test('every state was reached', async (t) => {
  const names = Object.values(STATE_NAMES).filter((s) => s !== 'CLOSED' && s !== 'LISTEN')
  t.equal(names.length, 9)
  for (const name of names) {
    const [, c] = inState(t, name)
    t.equal(c.stateName, name)
  }
})
