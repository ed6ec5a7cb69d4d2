/** Games with the window: closed for ever, a single octet, back and forth (RFC 9293 3.8.6, RFC 6429). */
import t from 'tap'
import type { TcpConnection } from '../../../stack/index.js'
import { Dialogue, readAll, stream } from '../../helpers/segment.js'
import { Siege } from './siege.js'

const LIMITS = { sendBuffer: 100_000, sendBufferMax: 100_000 }

/** Writes until the connection says stop. @returns octets taken */
function fill(c: TcpConnection): number {
  let n = 0
  while (c.writable && n < 10_000_000) {
    c.write(stream(1000))
    n += 1000
  }
  return n
}

t.test('a window that stays closed costs its buffer and a probe a minute, and no more', async (t) => {
  const d = new Dialogue(t, { limits: LIMITS })
  const c = d.open({ mss: 1000 })
  t.ok(fill(c) <= 101_000)
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: d.stackNext, window: 0 })
  let out = 0
  const hours = 10
  for (let i = 0; i < hours * 60; i++) {
    for (let k = 0; k < 6; k++) {
      d.pass(10_000)
      const sent = d.forget()
      out += sent.length
      if (sent.length > 0) d.in({ flags: 'A', seq: 1, ack: d.stackNext, window: 0 })
    }
  }
  t.equal(c.stateName, 'ESTABLISHED', 'it is answered, so it lives (MUST-37)')
  t.ok(out <= hours * 60 + 20, `${out} probes in ${hours} hours`)
  t.ok(d.stack.held.bytes <= 110_000)
  c.abort()
  d.forget()
  t.equal(d.stack.held.bytes, 0, 'the application can end it at any time')
})

t.test('hundreds of connections with closed windows hold no more than their buffers', async (t) => {
  const d = new Dialogue(t, { limits: { ...LIMITS, sendBuffer: 10_000, sendBufferMax: 10_000 } })
  const open: TcpConnection[] = []
  for (let i = 0; i < 300; i++) {
    d.stackIss = undefined
    d.peerNext = 0
    const c = d.open({ mss: 1000, window: 0 })
    fill(c)
    open.push(c)
  }
  d.pass(600_000)
  t.ok(d.stack.held.bytes <= 300 * 12_000, `${d.stack.held.bytes} octets`)
  t.ok(
    open.every((c) => c.error === 'timed-out'),
    'nobody answers: given up',
  )
  t.equal(d.stack.held.connections, 0)
})

t.test('a window of one octet: no packet for each octet', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000, window: 1000 })
  c.write(stream(20_000))
  let out = 0
  let len = 0
  for (let i = 0; i < 1000; i++) {
    d.pass(10)
    for (const s of d.forget()) {
      out++
      len += s.len
    }
    d.in({ flags: 'A', seq: 1, ack: d.stackNext, window: 1 })
  }
  t.ok(out <= 40, `${out} packets with ${len} octets in ten seconds`)
  d.in({ flags: 'A', seq: 1, ack: d.stackNext, window: 65535 })
  t.ok(d.forget().length >= 5, 'and an honest window is used at once')
})

t.test('a window that opens and closes with each acknowledgement', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000 })
  c.write(stream(200_000))
  let out = d.forget().length
  for (let i = 0; i < 5000; i++) {
    d.in({ flags: 'A', seq: 1, ack: 1, window: i % 2 === 0 ? 0 : 65535 })
    d.drain()
    out += d.forget().length
  }
  t.ok(out <= 80, `${out} packets for 5000 acknowledgements of nothing`)
  t.equal(c.stateName, 'ESTABLISHED')
  // And then an honest one.
  for (let i = 0; i < 3000 && c.queued > 0; i++) {
    d.in({ flags: 'A', seq: 1, ack: d.stackNext, window: 65535 })
    d.pass(300)
    d.forget()
  }
  t.equal(c.queued, 0)
})

t.test('a window that shrinks with each acknowledgement', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000, window: 60_000 })
  c.write(stream(100_000))
  let out = 0
  let una = 1
  for (let window = 60_000; window >= 0; window -= 100) {
    const sent = d.forget()
    out += sent.length
    una = Math.min(d.stackNext, una + 50)
    d.in({ flags: 'A', seq: 1, ack: una, window })
    d.pass(1)
  }
  t.ok(out <= 400, `${out} packets`)
  for (let i = 0; i < 1000 && c.queued > 0; i++) {
    d.in({ flags: 'A', seq: 1, ack: d.stackNext, window: 65535 })
    d.pass(300)
    d.forget()
  }
  t.equal(c.queued, 0, 'it comes back to life')
})

t.test('a peer that ignores our window gets no more than the window', async (t) => {
  const limits = { receiveBuffer: 20_000, receiveBufferMax: 20_000 }
  const d = new Dialogue(t, { limits })
  const c = d.open()
  for (let i = 0; i < 2000; i++) d.in({ flags: 'A', seq: 1 + i * 1000, ack: 1, data: stream(1000, i * 1000) })
  d.drain()
  t.ok(d.stack.held.bytes <= 1 << 16, `${d.stack.held.bytes} octets held: one block`)
  t.equal(readAll(c).length, 20_000)
})

t.test('those games beside an honest exchange', async (t) => {
  const s = new Siege({ stack: { limits: LIMITS } })
  const l = s.pair.b.listen({ port: 81 })
  t.ok(l)
  // Fifty clients open, ask for much, and never read.
  const c: TcpConnection[] = []
  for (let i = 0; i < 50; i++) {
    const client = s.pair.a.connect({ address: s.server.tuple.local, port: 81 }, s.pair.now)
    if (typeof client !== 'string') c.push(client)
  }
  s.pair.pass(200)
  let accepted = 0
  for (let x = l && s.pair.b.accept(l); x; x = l && s.pair.b.accept(l)) {
    accepted++
    fill(x)
  }
  t.equal(accepted, 50)
  s.run(() => {})
  t.ok(s.peak <= 50 * 500_000 + 2_000_000, `${s.peak} octets`)
  for (const x of c) x.abort()
  s.pair.pass(200)
  s.survived()
})
