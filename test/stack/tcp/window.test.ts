/** Windows, ours and the other side's: RFC 9293 3.7.4 and 3.8.6, RFC 7323 2. */
import t from 'tap'
import { READY_WRITABLE } from '../../../stack/index.js'
import { Dialogue, latin, readAll, stream } from '../../helpers/segment.js'

// ---------------------------------------------------------------- The window that we announce: RFC 9293 3.8.6, RFC 7323 2.

/** Sends as a peer does that fills the window it is shown. @returns what it sent */
function fill(d: Dialogue, from: number, window: number, mss = 1000): number {
  let sent = 0
  while (sent < window) {
    const n = Math.min(mss, window - sent)
    d.in({ flags: 'A', seq: from + sent, ack: 1, data: stream(n, from + sent) })
    sent += n
  }
  return sent
}

t.test('the window shrinks with what is unread, and its right edge stands still', async (t) => {
  const d = new Dialogue(t, { limits: { receiveBuffer: 10_000 } })
  d.open()
  for (let i = 0; i < 10; i++) {
    d.in({ flags: 'A', seq: 1 + i * 1000, ack: 1, data: stream(1000) })
    d.expect({ flags: 'A', ack: 1001 + i * 1000, window: 9000 - i * 1000 })
  }
})

t.test('a window update follows when two segments or half the buffer have been read', async (t) => {
  const d = new Dialogue(t, { limits: { receiveBuffer: 10_000 } })
  const c = d.open()
  fill(d, 1, 10_000)
  d.forget()
  c.consume(1000)
  d.silent()
  c.consume(999)
  d.silent()
  c.consume(1)
  d.expect({ flags: 'A', seq: 1, ack: 10_001, window: 2000, len: 0 })
  c.consume(1999)
  d.silent()
  c.consume(1)
  d.expect({ window: 4000 })
  c.consume(6000)
  d.expect({ window: 10_000 })

  const small = new Dialogue(t, { limits: { receiveBuffer: 1000 } })
  const x = small.open()
  fill(small, 1, 1000)
  small.forget()
  x.consume(499)
  small.silent()
  x.consume(1)
  small.expect({ flags: 'A', window: 500 })
})

t.test('a reader of single octets does not cause silly windows (MUST-39)', async (t) => {
  const d = new Dialogue(t, { limits: { receiveBuffer: 8000 } })
  const c = d.open()
  let seq = 1 + fill(d, 1, 8000)
  d.forget()
  for (let i = 0; i < 3000; i++) {
    c.consume(1)
    const probe = i % 100 === 50
    // A probe of the other side's learns of the window, but not of a silly one.
    if (probe) d.in({ flags: 'A', seq, ack: 1, data: 'p' })
    for (const s of d.forget()) {
      t.ok(s.window === 0 || s.window >= 1000, `window ${s.window}`)
      if (s.window > 0) seq += fill(d, seq, s.window)
      d.forget()
    }
  }
})

t.test('an application that reads as data comes costs no extra packets', async (t) => {
  for (const shift of [undefined, 0]) {
    const d = new Dialogue(t)
    const c = d.open({ shift })
    let seq = 1
    let acks = 0
    for (let i = 0; i < 100; i++) {
      d.in({ flags: 'A', seq, ack: 1, data: stream(1360) })
      seq += 1360
      d.drain()
      c.consume(c.readable)
      acks += d.forget().length
    }
    t.ok(acks <= 16 + 45, `${acks} acknowledgements of 100 segments`)
  }
})

t.test('the right edge never moves left but by the grain of the scale', async (t) => {
  const receiveBuffer = 1 << 20
  const d = new Dialogue(t, { limits: { receiveBuffer, receiveBufferMax: receiveBuffer } })
  const c = d.open({ shift: 7 })
  let edge = 1 + 65535
  let seq = 1
  for (let i = 0; i < 4000; i++) {
    const n = 1 + ((i * 37) % 700)
    if (seq + n > edge) {
      c.consume(30_000)
    } else {
      d.in({ flags: 'A', seq, ack: 1, data: stream(n) })
      seq += n
      if (i % 3 === 0) c.consume(n)
    }
    for (const s of d.forget()) {
      const now = s.ack + s.window * 32
      if (now < edge - 31) throw new Error(`the edge went from ${edge} to ${now}`)
      edge = Math.max(edge, now)
    }
  }
  t.ok(edge > receiveBuffer)
})

t.test('what was promised is taken although it is announced no more', async (t) => {
  // Near a full buffer the grain of the scale hides a few octets; a sender may have them on the way.
  const receiveBuffer = 1 << 17
  const d = new Dialogue(t, { limits: { receiveBuffer, receiveBufferMax: receiveBuffer } })
  const c = d.open({ shift: 2 })
  let seq = 1
  let window = 65535
  while (window >= 1000) {
    d.in({ flags: 'A', seq, ack: 1, data: stream(999) })
    seq += 999
    const last = d.forget().at(-1)
    if (last !== undefined) window = last.window << 2
  }
  d.pass(40)
  const rest = receiveBuffer - c.readable
  d.in({ flags: 'A', seq, ack: 1, data: stream(rest) })
  d.pass(40)
  t.equal(c.readable, receiveBuffer)
  t.equal(d.forget().at(-1)?.window, 0)
})

t.test('a peer that sends octet by octet gets no more than the buffer', async (t) => {
  // Announced in steps of 32, the window must not creep on with each octet.
  const receiveBuffer = 1 << 17
  const d = new Dialogue(t, { limits: { receiveBuffer, receiveBufferMax: receiveBuffer } })
  const c = d.open({ shift: 7 })
  const big = stream(1360)
  let seq = 1
  let edge = 65_536
  for (let i = 0; i < 10_000 && edge > seq; i++) {
    const n = edge - seq > 3000 ? 1360 : 1
    d.in({ flags: 'A', seq, ack: 1, data: n === 1 ? 'x' : big })
    seq += n
    if (edge - seq < 3000 || i % 8 === 0) d.pass(40)
    for (const s of d.forget()) edge = Math.max(edge, s.ack + s.window * 4)
  }
  t.ok(seq - 1 <= receiveBuffer, `${seq - 1} octets`)
  t.equal(c.readable, seq - 1)
  t.ok(d.stack.held.bytes <= receiveBuffer)
})

t.test('a closed window is opened again by reading, and the rest comes', async (t) => {
  const d = new Dialogue(t, { limits: { receiveBuffer: 5000 } })
  const c = d.open()
  fill(d, 1, 5000)
  d.expect({ flags: 'A', ack: 5001, window: 0 })
  // The other side probes for five minutes.
  for (let i = 0; i < 30; i++) {
    d.pass(10_000)
    d.in({ flags: 'A', seq: 5001, ack: 1, data: 'x' })
    d.expect({ flags: 'A', ack: 5001, window: 0 })
  }
  t.equal(readAll(c).length, 5000)
  d.expect({ flags: 'A', ack: 5001, window: 5000 })
  fill(d, 5001, 5000)
  t.equal(c.readable, 5000)
})

t.test('a probe without data is answered with the window as well', async (t) => {
  const d = new Dialogue(t, { limits: { receiveBuffer: 5000 } })
  d.open()
  fill(d, 1, 5000)
  d.forget()
  d.pass(1000)
  d.in({ flags: 'A', seq: 5000, ack: 1 })
  d.expect({ flags: 'A', ack: 5001, window: 0 })
})

t.test('the memory of a buffer that was read is given back', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ shift: 7 })
  for (let i = 0; i < 40; i++) d.in({ flags: 'A', seq: 1 + i * 1360, ack: 1, data: stream(1360) })
  t.ok(d.stack.held.bytes >= 40 * 1360)
  readAll(c)
  t.equal(d.stack.held.bytes, 0)
})

t.test('reading is possible in pieces and by views', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'A', seq: 1, ack: 1, data: 'hello world' })
  t.equal(c.readable, 11)
  t.same(c.peek(6), Buffer.from('world'))
  t.equal(c.peek(11).length, 0)
  t.equal(c.peek(99).length, 0)
  const view = c.peek()
  c.consume(6)
  t.same(view.subarray(6), Buffer.from('world'))
  t.equal(c.read(new Uint8Array(0)), 0)
  const b = new Uint8Array(3)
  t.equal(c.read(b), 3)
  t.same(b, Buffer.from('wor'))
  c.consume(99)
  t.equal(c.readable, 0)
})

// ---------------------------------------------------------------- The other side's window, Nagle and silly windows: RFC 9293 3.7.4 and 3.8.6.

t.test('no more is sent than the window takes', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 2500, mss: 1000 })
  c.write(stream(10_000))
  // The last 500 octets of the window are not worth a packet of their own.
  d.expect({ seq: 1, len: 1000 }, { seq: 1001, len: 1000 })
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 2500 })
  d.expect({ seq: 2001, len: 1000 })
  d.in({ flags: 'A', seq: 1, ack: 3001, window: 0 })
  d.silent()
  t.equal(c.queued, 7000)
})

t.test('a window smaller than a segment is used when it is half of the largest one seen', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 800, mss: 1000 })
  c.write(stream(5000))
  d.expect({ seq: 1, len: 800 })
  d.in({ flags: 'A', seq: 1, ack: 801, window: 399 })
  d.silent()
  d.in({ flags: 'A', seq: 1, ack: 801, window: 400 })
  d.expect({ seq: 801, len: 400 })
})

t.test('a window that stays silly is used after half a second (RFC 1122 4.2.3.4)', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 5000, mss: 1000 })
  c.write(stream(8000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 5001, window: 100 })
  d.pass(499)
  d.silent()
  d.pass(1)
  d.expect({ at: 500, seq: 5001, len: 100 })
  d.in({ flags: 'A', seq: 1, ack: 5101, window: 100 })
  d.pass(500)
  d.expect({ at: 1000, seq: 5101, len: 100 })
})

t.test('all that is queued goes out if it fits, however little', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 5000, mss: 1000 })
  c.write(stream(5000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 5001, window: 10 })
  c.write(latin('x'))
  d.expect({ seq: 5001, len: 1 })
})

t.test('a closed window is probed, first after one time-out, then with back-off, for ever', async (t) => {
  const d = new Dialogue(t, { times: { minRto: 1000 } })
  const c = d.open({ window: 1000 })
  c.write(stream(3000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  let at = 0
  for (const gap of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]) {
    at += gap
    d.at(at - 1)
    d.silent()
    d.at(at)
    d.expect({ at, flags: 'A', seq: 1000, ack: 1, len: 0 })
    d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  }
  for (let i = 0; i < 60; i++) {
    d.pass(60_000)
    d.expect({ flags: 'A', seq: 1000 })
    d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  }
  t.equal(c.stateName, 'ESTABLISHED', 'an hour of answers is no reason to give up (MUST-37)')
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 5000 })
  d.expect({ seq: 1001, len: 1360 }, { seq: 2361, len: 640 })
})

t.test('the answer to a probe opens the window if the update was lost', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(stream(2000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  d.pass(200)
  d.expect({ at: 200, seq: 1000, len: 0 })
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 1000 })
  d.expect({ seq: 1001, len: 1000 })
  t.equal(c.queued, 1000)
})

t.test('probes that nobody answers end in a time-out', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(stream(2000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  d.at(119_999)
  t.equal(c.stateName, 'ESTABLISHED')
  d.at(240_000)
  t.equal(c.stateName, 'CLOSED')
  t.equal(c.error, 'timed-out')
  t.ok(d.forget().length > 5)
})

t.test('a long silence before the first probe is no reason to give up', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(stream(1000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  d.pass(3_600_000)
  d.silent()
  c.write(latin('more'))
  d.pass(1000)
  t.equal(c.stateName, 'ESTABLISHED')
  t.ok(d.forget().length > 0, 'it asks')
})

t.test('the back-off of probes is not that of data', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(stream(2000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  for (let i = 0; i < 10; i++) {
    d.pass(60_000)
    d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  }
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 1000 })
  const at = d.time
  d.expect({ seq: 1001, len: 1000 })
  d.pass(1000)
  t.equal(d.forget()[0]?.at, at + 200, 'a lost segment is repeated after one time-out')
})

t.test('a window that shrinks below what is out: nothing new, nothing beyond it again', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 5000, mss: 1000 })
  c.write(stream(8000))
  t.equal(d.forget().length, 5)
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 1500 })
  d.silent()
  d.pass(200)
  // SHLD-16: what lies inside the window is sent again.
  d.expect({ at: 200, seq: 1001, len: 1000 })
  d.in({ flags: 'A', seq: 1, ack: 2001, window: 5000 })
  // RFC 5682 2.1 step 2b: something new first, which tells if the time-out was needed.
  t.equal(d.forget()[0]?.seq, 5001)
  d.in({ flags: 'A', seq: 1, ack: 2001, window: 5000 })
  t.equal(d.forget()[0]?.seq, 2001)
  t.equal(c.stateName, 'ESTABLISHED')
})

t.test('a window that shrinks to a few octets is filled after a time-out', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 5000, mss: 1000 })
  c.write(stream(5000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 100 })
  d.pass(200)
  d.expect({ at: 200, seq: 1001, len: 100 })
  d.in({ flags: 'A', seq: 1, ack: 1101, window: 100 })
  d.pass(5000)
  t.equal(d.forget()[0]?.seq, 1101)
  t.equal(c.stateName, 'ESTABLISHED')
})

t.test(
  'a window that shrinks to nothing under data in flight is asked about as long as it is answered',
  async (t) => {
    const d = new Dialogue(t)
    const c = d.open({ window: 5000, mss: 1000 })
    c.write(stream(5000))
    d.forget()
    d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
    for (let i = 0; i < 40; i++) {
      d.pass(30_000)
      for (const s of d.forget()) {
        t.equal(s.len, 0)
        t.ok(s.seq <= 1001)
      }
      d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
    }
    t.equal(c.stateName, 'ESTABLISHED', 'SHLD-17')
    d.in({ flags: 'A', seq: 1, ack: 1001, window: 5000 })
    d.expect({ seq: 1001, len: 1000 })
  },
)

t.test('an acknowledgement does not go beyond a window that has shrunk', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 5000, mss: 1000 })
  c.write(stream(5000))
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  d.in({ flags: 'PA', seq: 1, ack: 1001, window: 0, data: 'x' })
  // At 5001 the other side would not look at it.
  d.expect({ flags: 'A', seq: 1001, ack: 2 })
})

t.test('the FIN does not wait for a window', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(stream(1000))
  c.end()
  d.expect({ flags: 'FPA', seq: 1, len: 1000 })
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 0 })
  d.in({ flags: 'PA', seq: 1, ack: 1001, window: 0, data: 'x' })
  d.expect({ flags: 'A', seq: 1001, ack: 2 })
  for (let i = 0; i < 20; i++) {
    d.pass(60_000)
    d.in({ flags: 'A', seq: 2, ack: 1001, window: 0 })
  }
  t.equal(c.stateName, 'FIN-WAIT-1')
  t.ok(
    d.forget().some((s) => s.flags === 'FA' && s.seq === 1001),
    'it is sent again',
  )
  d.in({ flags: 'A', seq: 2, ack: 1002, window: 0 })
  t.equal(c.stateName, 'FIN-WAIT-2')
})

t.test('only the newest segment’s window counts (SND.WL1, SND.WL2)', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 3000 })
  d.in({ flags: 'A', seq: 1, ack: 1, window: 4000, data: 'abc' })
  t.equal(c.info().sendWindow, 4000)
  d.in({ flags: 'A', seq: 4, ack: 1, window: 4000, data: 'd' })
  d.in({ flags: 'A', seq: 1, ack: 1, window: 100, data: 'abcde' })
  t.equal(c.info().sendWindow, 4000, 'an older sequence number')
  c.write(stream(10))
  d.drain()
  d.in({ flags: 'A', seq: 6, ack: 11, window: 2000 })
  d.in({ flags: 'A', seq: 6, ack: 1, window: 3000 })
  t.equal(c.info().sendWindow, 2000, 'an older acknowledgement')
  d.in({ flags: 'A', seq: 6, ack: 11, window: 65535 })
  t.equal(c.info().sendWindow, 65535, 'unsigned (MUST-1)')
})

t.test('Nagle off (the default): short segments go at once', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  for (let i = 0; i < 5; i++) {
    c.write(latin('key'))
    d.expect({ flags: 'PA', seq: 1 + i * 3, len: 3 })
  }
})

t.test('Nagle on: a short segment waits for the acknowledgement or for a full one', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000 }, { noDelay: false })
  c.write(latin('a'))
  d.expect({ seq: 1, len: 1 })
  c.write(latin('b'))
  c.write(latin('c'))
  d.silent()
  d.in({ flags: 'A', seq: 1, ack: 2 })
  d.expect({ seq: 2, data: 'bc' })
  c.write(stream(999))
  d.silent()
  c.write(latin('z'))
  d.expect({ seq: 4, len: 1000 })
  c.write(latin('end'))
  c.end()
  d.expect({ flags: 'FPA', seq: 1004, data: 'end' })
})

t.test('write says when to stop, and is told when to go on', async (t) => {
  const d = new Dialogue(t, { limits: { sendBuffer: 10_000, sendBufferMax: 10_000 } })
  const c = d.open({ mss: 1000 })
  t.ok(c.write(stream(9999)))
  t.notOk(c.write(stream(1)), 'taken, but enough')
  t.equal(c.queued, 10_000)
  t.notOk(c.writable)
  d.drain()
  d.in({ flags: 'A', seq: 1, ack: 4001 })
  t.equal(d.bits(c), 0)
  d.in({ flags: 'A', seq: 1, ack: 5001 })
  t.equal(d.bits(c), READY_WRITABLE)
  d.in({ flags: 'A', seq: 1, ack: 9001 })
  t.equal(d.bits(c), 0, 'once')
})

t.test('PSH is on the segment that empties the queue (MUST-61)', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000 })
  c.write(stream(2500))
  d.expect({ flags: 'A', len: 1000 }, { flags: 'A', len: 1000 }, { flags: 'PA', len: 500 })
})
