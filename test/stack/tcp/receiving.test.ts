/** Data that comes in, and when it is acknowledged: RFC 9293 3.8.6.3, RFC 2018. */
import t from 'tap'
import { BlockPool } from '../../../stack/ring.js'
import { seq } from '../../../stack/seq.js'
import { Receiver } from '../../../stack/tcp/receiver.js'
import { SeededRandom } from '../../helpers/random.js'
import { Dialogue, latin, readAll, stream, type Test } from '../../helpers/segment.js'

// ---------------------------------------------------------------- Data out of order: RFC 9293 3.10.7.4 (seventh), RFC 2018 for the reports.

t.test('segments in the wrong order are delivered in the right one', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'A', seq: 11, ack: 1, data: 'KLMNO' })
  d.in({ flags: 'A', seq: 6, ack: 1, data: 'FGHIJ' })
  t.equal(c.readable, 0)
  d.in({ flags: 'A', seq: 1, ack: 1, data: 'ABCDE' })
  t.equal(readAll(c), 'ABCDEFGHIJKLMNO')
})

t.test('around the wrap of the sequence numbers', async (t) => {
  for (const iss of [0xffffffff, 0xfffffff0, 0xfffffffe, 0x7ffffff8, 0]) {
    const d = new Dialogue(t, { iss })
    const c = d.open({ sackOk: true })
    d.in({ flags: 'A', seq: 21, ack: 1, data: 'UVW' })
    d.expect({ flags: 'A', ack: 1, sack: [[21, 24]] })
    d.in({ flags: 'A', seq: 11, ack: 1, data: 'KLMNOPQRST' })
    d.expect({ flags: 'A', ack: 1, sack: [[11, 24]] })
    d.in({ flags: 'A', seq: 1, ack: 1, data: 'ABCDEFGHIJ' })
    d.expect({ flags: 'A', ack: 24, sack: [] })
    t.equal(readAll(c), 'ABCDEFGHIJKLMNOPQRSTUVW')
  }
})

t.test(
  'every out-of-order segment is acknowledged at once, and so is the one that fills the gap',
  async (t) => {
    const d = new Dialogue(t)
    d.open()
    for (let i = 1; i <= 5; i++) {
      d.in({ flags: 'A', seq: 1 + i * 100, ack: 1, data: stream(100, i * 100) })
      d.expect({ flags: 'A', seq: 1, ack: 1, len: 0 })
    }
    d.in({ flags: 'A', seq: 1, ack: 1, data: stream(100) })
    d.expect({ flags: 'A', seq: 1, ack: 601, len: 0 })
    t.equal(d.stack.counters.outOfOrder, 5)
  },
)

t.test('the report of a gap travels alone even if there is text to send', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ sackOk: true })
  c.write(stream(100))
  d.in({ flags: 'A', seq: 11, ack: 1, data: 'later' })
  d.expect(
    { flags: 'A', seq: 1, ack: 1, len: 0, sack: [[11, 16]] },
    { flags: 'PA', seq: 1, ack: 1, len: 100 },
  )
})

t.test('the first copy of an octet is the one that counts', async (t) => {
  for (const [first, second, result] of [
    // Later copies under, over, across either edge, and inside.
    [{ seq: 4, data: 'def' }, { seq: 1, data: 'ABCDEFGHI' }, 'ABCdefGHI'],
    [{ seq: 4, data: 'def' }, { seq: 4, data: 'DEF' }, undefined],
    [{ seq: 4, data: 'def' }, { seq: 1, data: 'ABCDE' }, 'ABCdef'],
    [{ seq: 4, data: 'defghi' }, { seq: 6, data: 'FG' }, undefined],
    [{ seq: 4, data: 'def' }, { seq: 6, data: 'FGHI' }, undefined],
  ] as const) {
    const d = new Dialogue(t)
    const c = d.open()
    d.in({ flags: 'A', ack: 1, ...first })
    d.in({ flags: 'A', ack: 1, ...second })
    if (result === undefined) {
      t.equal(c.readable, 0)
      d.in({ flags: 'A', seq: 1, ack: 1, data: 'abc' })
      t.match(readAll(c), /^abcdef(ghi|GHI)?$/)
    } else {
      t.equal(readAll(c), result)
    }
  }
  const d = new Dialogue(t)
  const c = d.open()
  for (const [seq, data] of [
    [4, 'd'],
    [8, 'hi'],
    [6, 'f'],
    [2, 'BCDEFGHIJ'],
    [1, 'aXXXXXXXXX'],
  ] as const) {
    d.in({ flags: 'A', seq, ack: 1, data })
  }
  t.equal(readAll(c), 'aBCdEfGhiJ')
})

t.test('octets that were read already are not delivered again', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'A', seq: 1, ack: 1, data: 'abcde' })
  t.equal(readAll(c), 'abcde')
  d.in({ flags: 'A', seq: 3, ack: 1, data: 'CDEfg' })
  t.equal(readAll(c), 'fg')
  d.in({ flags: 'A', seq: 1, ack: 1, data: 'ABCDEFG' })
  t.equal(c.readable, 0)
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1, data: 'ABCDEFG' })
  d.expect({ flags: 'A', ack: 8 })
})

t.test(
  'SACK: the first block holds the segment that came last, then the recent ones (RFC 2018 4)',
  async (t) => {
    const d = new Dialogue(t)
    d.open({ sackOk: true })
    const at = (i: number): number => 1 + i * 100
    const segment = (i: number) => {
      d.in({ flags: 'A', seq: at(i), ack: 1, data: stream(100, i * 100) })
      d.drain()
    }
    segment(1)
    d.expect({ sack: [[at(1), at(2)]] })
    segment(3)
    d.expect({
      sack: [
        [at(3), at(4)],
        [at(1), at(2)],
      ],
    })
    segment(5)
    segment(7)
    segment(9)
    const [, , last] = d.forget()
    t.same(last?.sack, [
      [at(9), at(10)],
      [at(7), at(8)],
      [at(5), at(6)],
      [at(3), at(4)],
    ])
    segment(4)
    d.expect({
      sack: [
        [at(3), at(6)],
        [at(9), at(10)],
        [at(7), at(8)],
        [at(1), at(2)],
      ],
    })
    segment(0)
    d.expect({
      ack: at(2),
      sack: [
        [at(3), at(6)],
        [at(9), at(10)],
        [at(7), at(8)],
      ],
    })
  },
)

t.test('with timestamps there is room for three blocks', async (t) => {
  const d = new Dialogue(t)
  d.open({ sackOk: true, ts: [1, 0] })
  for (const i of [1, 3, 5, 7]) d.in({ flags: 'A', seq: 1 + i * 10, ack: 1, data: stream(10) })
  const last = d.forget().at(-1)
  t.equal(last?.sack.length, 3)
  t.ok(last?.ts !== undefined)
})

t.test('more ranges than the limit are not kept, and what is next in order always is', async (t) => {
  const d = new Dialogue(t, { limits: { outOfOrderRanges: 4 } })
  const c = d.open({ sackOk: true })
  for (let i = 1; i <= 10; i++) d.in({ flags: 'A', seq: 1 + i * 20, ack: 1, data: stream(10, i * 20) })
  const last = d.forget().at(-1)
  t.equal(last?.sack.length, 4)
  t.same(
    last?.sack.map(([l]) => l).sort((a, b) => a - b),
    [21, 41, 61, 81],
  )
  // It touches none of the ranges that are kept.
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(10) })
  d.expect({ flags: 'A', ack: 11 })
  t.equal(c.readable, 10)
  d.in({ flags: 'A', seq: 11, ack: 1, data: stream(10, 10) })
  d.expect({ flags: 'A', ack: 31 })
  d.in({ flags: 'A', seq: 121, ack: 1, data: stream(10, 120) })
  t.equal(d.forget().at(-1)?.sack.length, 4, 'now there is room for another one')
})

t.test('a range that the limit kept out comes again and is taken', async (t) => {
  const d = new Dialogue(t, { limits: { outOfOrderRanges: 2 } })
  const c = d.open()
  const want = stream(400)
  const pieces = [7, 5, 3, 1, 6, 4, 2, 0]
  for (let round = 0; round < 4; round++) {
    for (const i of pieces) {
      d.in({ flags: 'A', seq: 1 + i * 50, ack: 1, data: want.subarray(i * 50, i * 50 + 50) })
    }
  }
  t.same(c.peek(), want)
})

t.test('in any order, cut anyhow, repeated and overlapping, the stream is the stream', async (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = new SeededRandom(seed)
    const d = new Dialogue(t, { iss: (0xffffffff - random.below(3000)) >>> 0 })
    const c = d.open({ sackOk: true })
    const size = 4000
    const want = stream(size, seed * 1000)
    const got = new Uint8Array(size)
    let have = 0
    for (let i = 0; have < size; i++) {
      if (i > 20_000) throw new Error(`seed ${seed} does not end`)
      // Mostly near the front, where it matters.
      const from = Math.min(size - 1, Math.max(0, have - 200 + random.below(1200)))
      const len = Math.min(size - from, 1 + random.below(700))
      d.in({ flags: 'A', seq: 1 + from, ack: 1, data: want.subarray(from, from + len) })
      if (random.chance(0.3)) have += c.read(got.subarray(have, have + random.below(900)))
      for (const s of d.forget()) {
        s.sack.forEach(([l, r], n) => {
          // Only the first can be a duplicate in front of the acknowledgement (RFC 2883).
          if (l >= r || (l <= s.ack && (n > 0 || r > s.ack))) {
            throw new Error(`seed ${seed}: block ${l}-${r} at ${s.ack}`)
          }
        })
      }
    }
    t.same(Buffer.compare(got, want), 0, `seed ${seed}`)
  }
})

t.test('a flood of tiny segments ahead of a gap holds no more than the buffer', async (t) => {
  const receiveBuffer = 65536
  const d = new Dialogue(t, { limits: { receiveBuffer } })
  d.open()
  for (let i = 0; i < 20_000; i++) {
    d.in({ flags: 'A', seq: 3 + i * 2, ack: 1, data: 'x' })
    if (i % 100 === 0) d.forget()
  }
  d.forget()
  t.ok(d.stack.held.bytes <= receiveBuffer, `${d.stack.held.bytes}`)
})

// ---------------------------------------------------------------- When an acknowledgement goes out: RFC 9293 3.8.6.3, RFC 5681 4.2.

/** A connection whose first, quickly acknowledged segments are behind it. */
function settled(t: Test): { d: Dialogue; c: ReturnType<Dialogue['open']>; next: number } {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1360 })
  let next = 1
  for (let i = 0; i < 16; i++) {
    d.in({ flags: 'A', seq: next, ack: 1, data: stream(1360) })
    next += 1360
    d.drain()
    c.consume(c.readable)
  }
  d.forget()
  return { d, c, next }
}

t.test('the first 16 segments are acknowledged at once', async (t) => {
  const d = new Dialogue(t)
  d.open()
  for (let i = 1; i <= 16; i++) {
    d.in({ flags: 'PA', seq: i, ack: 1, data: 'x' })
    d.expect({ at: 0, flags: 'A', ack: i + 1 })
  }
  d.in({ flags: 'PA', seq: 17, ack: 1, data: 'x' })
  d.silent()
})

t.test('after a pause longer than a time-out full segments are acknowledged at once again', async (t) => {
  const { d, c, next } = settled(t)
  let seq = next
  const full = (): void => {
    d.in({ flags: 'A', seq, ack: 1, data: stream(1360) })
    seq += 1360
    d.drain()
    c.consume(c.readable)
  }
  full()
  d.pass(40)
  d.forget()
  // Shorter than the time-out of 200 ms: no pause.
  d.pass(150)
  full()
  d.silent()
  d.pass(40)
  d.forget()
  // The sender begins with ten segments, of which it has the acknowledgements soon.
  d.pass(2000)
  for (let i = 0; i < 16; i++) {
    full()
    d.expect({ at: d.time, flags: 'A', ack: seq })
  }
  full()
  d.silent()
})

t.test('a short segment after a pause waits for an answer as ever', async (t) => {
  const { d, c, next } = settled(t)
  for (let i = 0; i < 20; i++) {
    d.pass(5000)
    d.in({ flags: 'PA', seq: next + i, ack: 1 + i, data: 'k' })
    d.silent()
    c.write(latin('e'))
    d.expect({ flags: 'PA', ack: next + i + 1, data: 'e' })
    d.in({ flags: 'A', seq: next + i + 1, ack: 2 + i })
    d.silent()
  }
})

t.test('later, a single segment waits 40 ms', async (t) => {
  const { d, next } = settled(t)
  d.in({ flags: 'PA', seq: next, ack: 1, data: stream(100) })
  d.pass(39)
  d.silent()
  d.pass(1)
  d.expect({ at: 40, flags: 'A', ack: next + 100, len: 0 })
  d.pass(10_000)
  d.silent()
})

t.test('the wait can be chosen', async (t) => {
  for (const delayedAck of [0, 1, 499]) {
    const d = new Dialogue(t, { times: { delayedAck } })
    d.open()
    for (let i = 1; i <= 16; i++) d.in({ flags: 'PA', seq: i, ack: 1, data: 'x' })
    d.forget()
    d.in({ flags: 'PA', seq: 17, ack: 1, data: 'x' })
    d.pass(1000)
    d.expect({ at: delayedAck, flags: 'A', ack: 18 })
  }
})

t.test('every second full segment is acknowledged at once', async (t) => {
  const { d, c, next } = settled(t)
  let seq = next
  for (let i = 0; i < 10; i++) {
    d.in({ flags: 'A', seq, ack: 1, data: stream(1360) })
    seq += 1360
    d.silent()
    d.in({ flags: 'A', seq, ack: 1, data: stream(1360) })
    seq += 1360
    d.expect({ flags: 'A', ack: seq })
    c.consume(c.readable)
    d.silent()
  }
})

t.test('a batch of segments is acknowledged once', async (t) => {
  const { d, next } = settled(t)
  for (let i = 0; i < 10; i++) d.in({ flags: 'A', seq: next + i * 1360, ack: 1, data: stream(1360) })
  d.expect({ flags: 'A', ack: next + 13_600 })
})

t.test('the wait counts from the first segment that is not acknowledged', async (t) => {
  const { d, next } = settled(t)
  d.in({ flags: 'PA', seq: next, ack: 1, data: 'a' })
  d.pass(30)
  d.in({ flags: 'PA', seq: next + 1, ack: 1, data: 'b' })
  d.pass(10)
  d.expect({ at: 40, flags: 'A', ack: next + 2 })
  d.in({ flags: 'PA', seq: next + 2, ack: 1, data: 'c' })
  d.pass(39)
  d.silent()
  d.pass(1)
  d.expect({ at: 80, flags: 'A', ack: next + 3 })
})

t.test('text takes the acknowledgement along', async (t) => {
  const { d, c, next } = settled(t)
  d.in({ flags: 'PA', seq: next, ack: 1, data: 'query' })
  d.pass(20)
  c.write(latin('reply'))
  d.expect({ at: 20, flags: 'PA', seq: 1, ack: next + 5, data: 'reply' })
  d.in({ flags: 'A', seq: next + 5, ack: 6 })
  d.pass(5000)
  d.silent()
})

t.test('FIN, old data and data ahead are acknowledged at once', async (t) => {
  const { d, next } = settled(t)
  d.in({ flags: 'PA', seq: next + 100, ack: 1, data: 'x' })
  d.expect({ flags: 'A', ack: next })
  d.in({ flags: 'PA', seq: next - 1360, ack: 1, data: stream(1360) })
  d.expect({ flags: 'A', ack: next })
  d.in({ flags: 'PA', seq: next, ack: 1, data: stream(100) })
  d.expect({ flags: 'A', ack: next + 101 })
  d.in({ flags: 'FA', seq: next + 101, ack: 1 })
  d.expect({ flags: 'A', ack: next + 102 })
})

t.test('a pure acknowledgement is never acknowledged', async (t) => {
  const { d, c, next } = settled(t)
  c.write(stream(10_000))
  d.forget()
  for (let i = 0; i < 5; i++) d.in({ flags: 'A', seq: next, ack: 1361 })
  d.pass(1)
  t.ok(d.forget().every((s) => s.len > 0))
})

t.test('two stacks do not acknowledge each other’s acknowledgements without end', async (t) => {
  const { d, c, next } = settled(t)
  c.write(latin('x'))
  d.forget()
  for (let i = 0; i < 10; i++) {
    // Out of the window: at most one answer in half a second.
    d.in({ flags: 'A', seq: next - 50, ack: 1 })
  }
  t.equal(d.forget().length, 1)
})

// ---------------------------------------------------------------- Congestion told by marks: RFC 3168.

t.test('ECE is on from a mark until the other side says CWR (RFC 3168 6.1.3)', async (t) => {
  const limits = { receiveBuffer: 65536, receiveBufferMax: 65536, outOfOrderRanges: 4 }
  const rcv = new Receiver(new BlockPool(), limits)
  rcv.start(seq(0))
  rcv.announce(false)
  rcv.mss = 100
  const segment = new Uint8Array(10)
  // The quick acknowledgements of the beginning are used up.
  for (let i = 0; i < 16; i++) rcv.data(rcv.nxt, segment, 0, 10)
  rcv.acknowledged()
  t.equal(rcv.ece, false)
  rcv.data(rcv.nxt, segment, 0, 10)
  t.equal(rcv.ackNow, false)

  rcv.ecnMarked()
  t.equal(rcv.ece, true)
  t.equal(rcv.ackNow, true, 'the news does not wait')
  rcv.acknowledged()
  t.equal(rcv.ece, true, 'every acknowledgement repeats it')
  for (let i = 0; i < 2; i++) {
    rcv.data(rcv.nxt, segment, 0, 10)
    t.equal(rcv.ackNow, true)
    rcv.acknowledged()
  }
  rcv.data(rcv.nxt, segment, 0, 10)
  t.equal(rcv.ackNow, false, 'then acknowledgements are delayed again')

  rcv.cwrReceived()
  t.equal(rcv.ece, false)
  // A segment with CWR that is marked itself is news of more congestion.
  rcv.cwrReceived()
  rcv.ecnMarked()
  t.equal(rcv.ece, true)
})
