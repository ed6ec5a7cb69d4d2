/** Opening: RFC 9293 3.5, 3.10.1, 3.10.7.2 to 3.10.7.4. */
import t from 'tap'
import { READY_ACCEPT, READY_CLOSED, READY_CONNECTED, READY_READABLE } from '../../../stack/index.js'
import { Dialogue, ip, latin, readAll } from '../../helpers/segment.js'

t.test('an active open sends SYN, takes SYN-ACK and acknowledges it', async (t) => {
  for (const family of [4, 6] as const) {
    const d = new Dialogue(t, { family })
    const c = d.connect()
    t.equal(c.stateName, 'SYN-SENT')
    d.expect({ flags: 'S', seq: 0, ack: 0, len: 0, window: 65535, mss: family === 4 ? 1360 : 1340 })
    d.pass(30)
    d.in({ flags: 'SA', seq: 0, ack: 1, mss: 1460 })
    t.equal(c.stateName, 'ESTABLISHED')
    d.expect({ flags: 'A', seq: 1, ack: 1, len: 0 })
    t.equal(d.bits(c), READY_CONNECTED)
    t.equal(c.info().srtt, 30, 'the handshake gives the first sample')
  }
})

t.test('a passive open answers SYN with SYN-ACK and is handed out when that is acknowledged', async (t) => {
  for (const family of [4, 6] as const) {
    const d = new Dialogue(t, { family })
    const l = d.listen()
    d.in({ flags: 'S', seq: 0, mss: 1200 })
    d.expect({ flags: 'SA', seq: 0, ack: 1, len: 0, mss: family === 4 ? 1360 : 1340 })
    t.equal(d.stack.accept(l), undefined, 'half open is not open')
    t.equal(d.bits(l), 0)
    d.in({ flags: 'A', seq: 1, ack: 1 })
    d.silent()
    t.equal(d.bits(l), READY_ACCEPT)
    const c = d.stack.accept(l)
    t.equal(c?.stateName, 'ESTABLISHED')
    t.equal(c?.info().mss, 1200)
    t.equal(d.stack.accept(l), undefined)
  }
})

t.test('what happened to a connection before it was accepted is told when it is', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  d.in({ flags: 'S', seq: 0 })
  d.drain()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'early' })
  d.drain()
  t.equal(d.news.filter(([s]) => s.kind === 'tcp').length, 0, 'nobody knows it yet')
  const c = d.stack.accept(l)
  if (c === undefined) return t.fail('nothing to accept')
  t.equal(d.bits(c), READY_CONNECTED | READY_READABLE)
  t.equal(readAll(c), 'early')
})

t.test('a simultaneous open ends with one connection (RFC 9293 figure 8)', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.expect({ flags: 'S', seq: 0 })
  d.in({ flags: 'S', seq: 0, mss: 1000, shift: 7 })
  t.equal(c.stateName, 'SYN-RECEIVED')
  d.expect({ flags: 'SA', seq: 0, ack: 1, shift: 8 })
  d.in({ flags: 'SA', seq: 0, ack: 1, mss: 1000, shift: 7, window: 1000 })
  t.equal(c.stateName, 'ESTABLISHED')
  t.equal(c.info().sendWindow, 1000, 'the window of a SYN is never scaled (RFC 7323 2.2)')
  t.equal(c.info().rto, 1000, 'nothing was lost')
  t.equal(d.bits(c), READY_CONNECTED)
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1, window: 100 })
  t.equal(c.info().sendWindow, 100 << 7)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'hello' })
  d.expect({ flags: 'A', seq: 1, ack: 6 })
  t.equal(readAll(c), 'hello')
})

t.test('a simultaneous open also ends with a bare acknowledgement', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.in({ flags: 'S', seq: 0 })
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1 })
  t.equal(c.stateName, 'ESTABLISHED')
})

t.test('in a simultaneous open a repeated SYN is answered with SYN-ACK again', async (t) => {
  const d = new Dialogue(t)
  d.connect()
  d.forget()
  d.in({ flags: 'S', seq: 0 })
  d.forget()
  d.in({ flags: 'S', seq: 0 })
  d.expect({ flags: 'SA', seq: 0, ack: 1 })
})

t.test('SYN is repeated with back-off until the connect time is over', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.at(29_999)
  d.expect(
    { at: 0, flags: 'S', seq: 0 },
    { at: 1000, flags: 'S', seq: 0 },
    { at: 3000, flags: 'S', seq: 0 },
    { at: 7000, flags: 'S', seq: 0 },
    { at: 15_000, flags: 'S', seq: 0 },
  )
  t.equal(c.stateName, 'SYN-SENT')
  d.at(30_000)
  d.silent()
  t.equal(c.stateName, 'CLOSED')
  t.equal(c.error, 'timed-out')
  t.equal(d.bits(c), READY_CLOSED)
})

t.test('the connect time can be chosen', async (t) => {
  const d = new Dialogue(t, { times: { connect: 2500 } })
  const c = d.connect()
  d.at(2499)
  t.equal(c.stateName, 'SYN-SENT')
  d.at(2500)
  t.equal(c.error, 'timed-out')
})

t.test(
  'SYN-ACK is repeated with back-off, at once for a repeated SYN, and given up after 63 s',
  async (t) => {
    const d = new Dialogue(t)
    const l = d.listen()
    d.in({ flags: 'S', seq: 0 })
    d.expect({ at: 0, flags: 'SA' })
    d.at(500)
    d.in({ flags: 'S', seq: 0 })
    d.expect({ at: 500, flags: 'SA', seq: 0, ack: 1 })
    d.at(62_999)
    const again = d.forget()
    t.ok(again.length >= 4 && again.length <= 6, `${again.length} times`)
    t.ok(again.every((s) => s.flags === 'SA' && s.seq === 0))
    t.equal(d.stack.held.connections, 1)
    d.at(63_000)
    t.equal(d.stack.held.connections, 0)
    t.equal(l.halfOpen, 0)
    d.silent()
  },
)

t.test(
  'a repeated SYN’s timestamp is echoed, or the first sample would have the time-out in it',
  async (t) => {
    const d = new Dialogue(t)
    d.listen()
    d.in({ flags: 'S', seq: 0, ts: [1000, 0] })
    d.forget()
    d.in({ flags: 'S', seq: 0, ts: [2000, 0] })
    const [answer] = d.forget()
    t.equal(answer?.ts?.[1], 2000)
  },
)

t.test('after a lost SYN data begins with 3 s (RFC 6298 5.7) and one segment (RFC 5681 3.1)', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.at(1100)
  d.forget()
  d.in({ flags: 'SA', seq: 0, ack: 1, mss: 1000 })
  t.equal(c.info().rto, 3000)
  c.write(new Uint8Array(5000))
  d.expect({ flags: 'A', seq: 1, len: 1000 })
  t.equal(c.info().cwnd, 1000)
})

t.test('the initial window is that of RFC 6928', async (t) => {
  for (const [mss, window] of [
    [1360, 13600],
    [1000, 10000],
    [536, 5360],
    [64, 640],
  ] as const) {
    const d = new Dialogue(t)
    const c = d.open({ mss })
    t.equal(c.info().cwnd, window)
    c.write(new Uint8Array(20_000))
    t.equal(
      d.forget().reduce((n, s) => n + s.len, 0),
      window,
    )
  }
  const d = new Dialogue(t, { mtu: 9000 })
  t.equal(d.open({ mss: 8000 }).info().cwnd, 16_000, 'never less than two segments')
})

t.test('RST that acknowledges the SYN refuses the connection', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.in({ flags: 'RA', seq: 0, ack: 1 })
  t.equal(c.stateName, 'CLOSED')
  t.equal(c.error, 'refused')
  t.equal(d.bits(c), READY_CLOSED)
  d.silent()
  t.equal(d.stack.held.connections, 0)
})

t.test('in SYN-SENT, RST without the right acknowledgement means nothing', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.in({ flags: 'R', seq: 0 })
  d.in({ flags: 'RA', seq: 0, ack: 0 })
  d.in({ flags: 'RA', seq: 0, ack: 2 })
  d.silent()
  t.equal(c.stateName, 'SYN-SENT')
})

t.test('in SYN-SENT, an acknowledgement of what was never sent is answered with RST', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.in({ flags: 'SA', seq: 0, ack: 0 })
  d.expect({ flags: 'R', seq: 0 })
  d.in({ flags: 'A', seq: 0, ack: 77 })
  d.expect({ flags: 'R', seq: 77 })
  t.equal(c.stateName, 'SYN-SENT')
  d.in({ flags: 'A', seq: 0, ack: 1 })
  d.silent()
  t.equal(c.stateName, 'SYN-SENT', 'an acknowledgement without SYN opens nothing')
  d.in({ flags: '', seq: 0, data: 'x' })
  d.silent()
  d.in({ flags: 'SA', seq: 0, ack: 1 })
  t.equal(c.stateName, 'ESTABLISHED')
})

t.test('data and FIN on the SYN-ACK are taken', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  d.in({ flags: 'SFPA', seq: 0, ack: 1, data: 'banner' })
  t.equal(c.stateName, 'CLOSE-WAIT')
  d.expect({ flags: 'A', seq: 1, ack: 8 })
  t.equal(readAll(c), 'banner')
  t.ok(c.ended)
  t.equal(d.bits(c), READY_CONNECTED | READY_READABLE)
})

t.test('data on a SYN is left to be sent again', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  d.in({ flags: 'S', seq: 0, data: 'early' })
  d.expect({ flags: 'SA', seq: 0, ack: 1 })
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'early' })
  const c = d.stack.accept(l)
  if (c === undefined) return t.fail('nothing to accept')
  t.equal(readAll(c), 'early')
})

t.test('what was written and ended while opening goes out when open', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  t.ok(c.write(latin('GET')))
  c.end()
  t.notOk(c.write(latin('more')), 'nothing behind the end')
  d.forget()
  d.in({ flags: 'SA', seq: 0, ack: 1 })
  t.equal(c.stateName, 'FIN-WAIT-1')
  d.expect({ flags: 'FPA', seq: 1, ack: 1, data: 'GET' })
})

t.test('abort in SYN-SENT says nothing, in SYN-RECEIVED it says RST', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  c.abort()
  d.silent()
  t.equal(c.error, 'aborted')
  t.equal(d.stack.held.connections, 0)

  const e = new Dialogue(t)
  const x = e.connect()
  e.forget()
  e.in({ flags: 'S', seq: 0 })
  e.forget()
  x.abort()
  e.expect({ flags: 'RA', seq: 1, ack: 1, window: 0 })
})

t.test('in SYN-RECEIVED the acknowledgement must be that of our SYN', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  d.in({ flags: 'S', seq: 0 })
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 0 })
  d.expect({ flags: 'R', seq: 0 })
  d.in({ flags: 'A', seq: 1, ack: 2 })
  d.expect({ flags: 'R', seq: 2 })
  d.in({ flags: '', seq: 1, data: 'x' })
  d.silent()
  t.equal(d.stack.accept(l), undefined)
  d.in({ flags: 'A', seq: 1, ack: 1 })
  t.equal(d.stack.accept(l)?.stateName, 'ESTABLISHED')
})

t.test('in SYN-RECEIVED a segment outside the window is answered with an acknowledgement', async (t) => {
  const d = new Dialogue(t)
  d.listen()
  d.in({ flags: 'S', seq: 0 })
  d.forget()
  d.in({ flags: 'A', seq: 70_000, ack: 1 })
  d.expect({ flags: 'A', seq: 1, ack: 1 })
  d.in({ flags: 'A', seq: 1, ack: 1 })
  d.silent()
})

t.test('RST in SYN-RECEIVED sends a passive open back to LISTEN without a word', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  d.in({ flags: 'S', seq: 0 })
  d.forget()
  d.in({ flags: 'R', seq: 1 })
  d.silent()
  t.equal(d.stack.held.connections, 0)
  t.equal(l.halfOpen, 0)
  t.equal(d.news.length, 0, 'nobody had heard of it')
  d.in({ flags: 'S', seq: 0 })
  d.expect({ flags: 'SA' })
})

t.test('an active open to nobody is refused before anything is sent', async (t) => {
  const d = new Dialogue(t)
  const to = (address: string, port = 80) => d.stack.connect({ address: ip(address), port }, d.now)
  t.equal(to('224.0.0.1'), 'host-unreachable')
  t.equal(to('255.255.255.255'), 'host-unreachable')
  t.equal(to('10.0.0.1', 0), 'host-unreachable')
  t.equal(to('127.0.0.1'), 'host-unreachable')
  d.silent()
})
