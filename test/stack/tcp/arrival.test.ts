/** Which segments are taken, challenged or refused: RFC 9293 3.10.7.4, RFC 5961, RFC 7323 5. */
import t from 'tap'
import { READY_CLOSED } from '../../../stack/index.js'
import { Dialogue, inState, latin, readAll, SYNCHRONISED, stream, type Test } from '../../helpers/segment.js'

// ---------------------------------------------------------------- Which segments are taken: the table of RFC 9293 3.10.7.4, and PAWS (RFC 7323 5).

/** A window of exactly 1000 octets. */
const SMALL = { limits: { receiveBuffer: 1000 } }

t.test('an empty segment and an open window: from RCV.NXT up to its right edge', async (t) => {
  for (const [seq, good] of [
    [0, false],
    [1, true],
    [2, true],
    [1000, true],
    // One more than the RFC has: the acknowledgements of a peer whose whole window was lost come from there.
    [1001, true],
    [1002, false],
    [5000, false],
    [-70_000, false],
    [0x7fffffff, false],
  ] as const) {
    const d = new Dialogue(t, SMALL)
    const c = d.open()
    c.write(stream(5))
    d.forget()
    d.in({ flags: 'A', seq, ack: 6 })
    t.equal(c.queued, good ? 0 : 5, `an acknowledgement at ${seq}`)
    if (good) d.silent()
    else d.expect({ flags: 'A', seq: 6, ack: 1 })
  }
})

t.test('an empty segment and a closed window: only RCV.NXT', async (t) => {
  for (const [seq, good] of [
    [1000, false],
    [1001, true],
    [1002, false],
  ] as const) {
    const d = new Dialogue(t, SMALL)
    const c = d.open()
    d.in({ flags: 'A', seq: 1, ack: 1, data: stream(1000) })
    d.expect({ flags: 'A', ack: 1001, window: 0 })
    c.write(stream(5))
    d.forget()
    d.in({ flags: 'A', seq, ack: 6 })
    t.equal(c.queued, good ? 0 : 5, `${seq}`)
  }
})

t.test('data and a closed window: nothing is taken, but the acknowledgement counts', async (t) => {
  const d = new Dialogue(t, SMALL)
  const c = d.open()
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(1000) })
  c.write(stream(5))
  d.forget()
  d.in({ flags: 'PA', seq: 1001, ack: 6, window: 777, data: 'x' })
  d.expect({ flags: 'A', seq: 6, ack: 1001, window: 0 })
  t.equal(c.queued, 0)
  t.equal(c.info().sendWindow, 777)
  t.equal(c.readable, 1000)
  d.in({ flags: 'FA', seq: 1001, ack: 6 })
  d.expect({ flags: 'A', ack: 1001 })
  t.equal(c.stateName, 'ESTABLISHED', 'a FIN has no room either')
  d.in({ flags: 'PA', seq: 1002, ack: 6, data: 'x' })
  d.expect({ flags: 'A', ack: 1001 })
  t.equal(c.readable, 1000)
})

t.test(
  'data and an open window: taken if the first or the last octet lies inside, and trimmed',
  async (t) => {
    const all = stream(4000)
    for (const [seq, len, taken] of [
      [1, 1000, 1000],
      [1, 1001, 1000],
      [1, 1300, 1000],
      [-9, 10, 0],
      [-9, 11, 1],
      [-99, 200, 100],
      [-99, 100, 0],
      [-199, 1300, 0],
      [0, 1001, 1000],
    ] as const) {
      const d = new Dialogue(t, SMALL)
      const c = d.open()
      const data = new Uint8Array(len).map((_, i) => all[(seq + i + 1000) | 0] ?? 0)
      d.in({ flags: 'A', seq, ack: 1, data })
      d.expect({ flags: 'A', ack: 1 + taken, window: 1000 - taken })
      const read = new Uint8Array(2000)
      t.equal(c.read(read), taken, `${len} octets at ${seq}`)
      t.same(read.subarray(0, taken), all.subarray(1001, 1001 + taken))
    }
  },
)

t.test('data ahead of its turn is taken up to the window’s end', async (t) => {
  for (const [seq, len, end] of [
    [501, 500, 1001],
    [501, 800, 1001],
    [1000, 5, 1001],
    [1001, 5, 0],
    [2000, 5, 0],
  ] as const) {
    const d = new Dialogue(t, SMALL)
    d.open({ sackOk: true })
    d.in({ flags: 'A', seq, ack: 1, data: stream(len) })
    d.expect({ flags: 'A', ack: 1, sack: end > 0 ? [[seq, end]] : [] })
  }
})

t.test('a FIN beyond the window is left to come again', async (t) => {
  const d = new Dialogue(t, SMALL)
  const c = d.open()
  d.in({ flags: 'FA', seq: 1, ack: 1, data: stream(1200) })
  d.expect({ flags: 'A', ack: 1001, window: 0 })
  t.equal(c.stateName, 'ESTABLISHED')
  t.equal(readAll(c).length, 1000)
  d.expect({ flags: 'A', ack: 1001, window: 1000 })
  d.in({ flags: 'FA', seq: 1001, ack: 1, data: stream(200, 1000) })
  d.expect({ flags: 'A', ack: 1202 })
  t.equal(c.stateName, 'CLOSE-WAIT')
  t.equal(c.readable, 200)
})

t.test('a FIN right behind a full window ends the stream without waiting for the reader', async (t) => {
  const d = new Dialogue(t, SMALL)
  const c = d.open()
  d.in({ flags: 'FA', seq: 1, ack: 1, data: stream(1000) })
  d.expect({ flags: 'A', ack: 1002 })
  t.equal(c.stateName, 'CLOSE-WAIT')
  t.equal(readAll(c).length, 1000)
})

t.test('an unacceptable segment with data is always answered, an empty one at a bounded rate', async (t) => {
  const d = new Dialogue(t)
  d.open()
  d.in({ flags: 'A', seq: 1, ack: 1, data: 'abc' })
  d.forget()
  for (let i = 0; i < 5; i++) {
    d.in({ flags: 'A', seq: 1, ack: 1, data: 'abc' })
    d.expect({ flags: 'A', ack: 4 })
  }
  d.in({ flags: 'A', seq: 0, ack: 1 })
  d.expect({ flags: 'A', ack: 4 })
  d.in({ flags: 'A', seq: 0, ack: 1 })
  d.silent()
})

// ---------------------------------------------------------------- PAWS

function withTimestamps(t: Test) {
  const d = new Dialogue(t)
  const c = d.open({ ts: [1000, 0] })
  return [d, c] as const
}

t.test('PAWS: an old timestamp is acknowledged and dropped (RFC 7323 5.3 R1)', async (t) => {
  const [d, c] = withTimestamps(t)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'old', ts: [999, 0] })
  d.expect({ flags: 'A', ack: 1 })
  t.equal(c.readable, 0)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'new', ts: [1000, 0] })
  d.expect({ flags: 'A', ack: 4, ts: [d.tsRecent, 1000] })
  t.equal(readAll(c), 'new')
})

t.test('PAWS compares around the wrap', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ ts: [0xfffffff0, 0] })
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'a', ts: [5, 0] })
  d.expect({ flags: 'A', ack: 2, ts: [d.tsRecent, 5] })
  d.in({ flags: 'PA', seq: 2, ack: 1, data: 'b', ts: [0xffffffff, 0] })
  d.expect({ flags: 'A', ack: 2 })
  t.equal(readAll(c), 'a')
})

t.test('a RST is not looked at for its timestamp', async (t) => {
  const [d, c] = withTimestamps(t)
  d.in({ flags: 'R', seq: 1, ts: [1, 0] })
  t.equal(c.error, 'reset')
  const [e, x] = withTimestamps(t)
  e.in({ flags: 'R', seq: 1, ts: undefined })
  t.equal(x.error, 'reset')
})

t.test('a segment without a timestamp is dropped where they are agreed (RFC 7323 3.2)', async (t) => {
  const [d, c] = withTimestamps(t)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x', ts: undefined })
  d.silent()
  t.equal(c.readable, 0)
})

t.test('after 24 days of silence the last timestamp proves nothing', async (t) => {
  const day = 24 * 3600 * 1000
  for (const [days, taken] of [
    [23.9, false],
    [24.1, true],
  ] as const) {
    const [d, c] = withTimestamps(t)
    d.pass(days * day)
    d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x', ts: [995, 0] })
    t.equal(c.readable > 0, taken, `${days} days`)
  }
})

t.test('TS.Recent moves with segments at or before Last.ACK.sent only (RFC 7323 4.3)', async (t) => {
  const [d] = withTimestamps(t)
  d.in({ flags: 'PA', seq: 11, ack: 1, data: 'later', ts: [2000, 0] })
  d.expect({ flags: 'A', ack: 1, ts: [d.tsRecent, 1000] })
  d.in({ flags: 'PA', seq: 1, ack: 1, data: '0123456789', ts: [1500, 0] })
  d.expect({ flags: 'A', ack: 16, ts: [d.tsRecent, 1500] })
})

t.test('with delayed acknowledgements the first segment’s timestamp is echoed', async (t) => {
  const [d] = withTimestamps(t)
  let seq = 1
  for (let i = 0; i < 20; i++) {
    d.in({ flags: 'A', seq, ack: 1, data: stream(100), ts: [1100 + i, 0] })
    seq += 100
    d.pass(50)
  }
  d.forget()
  d.in({ flags: 'A', seq, ack: 1, data: stream(100), ts: [2000, 0] })
  d.in({ flags: 'A', seq: seq + 100, ack: 1, data: stream(100), ts: [2010, 0] })
  d.pass(50)
  d.expect({ flags: 'A', ack: seq + 200, ts: [d.tsRecent, 2000] })
})

t.test('a forged segment cannot poison TS.Recent with a timestamp of the future', async (t) => {
  const [d, c] = withTimestamps(t)
  // The right sequence number, but an acknowledgement that gives the forger away.
  d.in({ flags: 'A', seq: 1, ack: 0x40000000, ts: [0x70000000, 0] })
  d.forget()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'honest', ts: [1001, 0] })
  t.equal(readAll(c), 'honest')
})

t.test('an old duplicate of a sequence number that has come round again is recognised', async (t) => {
  const [d, c] = withTimestamps(t)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'first', ts: [1010, 0] })
  t.equal(readAll(c), 'first')
  d.forget()
  d.pass(600)
  // Exactly RCV.NXT, as after 4 GiB, but from long ago.
  d.in({ flags: 'PA', seq: 6, ack: 1, data: 'wrong', ts: [1005, 0] })
  d.expect({ flags: 'A', ack: 6 })
  t.equal(c.readable, 0)
})

// ---------------------------------------------------------------- RST, SYN and blind injection in each state: RFC 9293 3.10.7.4, RFC 5961.

/** RCV.NXT of the stack and SND.NXT, as `inState` leaves them. */
const NUMBERS: Readonly<Record<string, readonly [rcvNxt: number, sndNxt: number]>> = {
  ESTABLISHED: [1, 1],
  'FIN-WAIT-1': [1, 2],
  'FIN-WAIT-2': [1, 2],
  'CLOSE-WAIT': [2, 1],
  CLOSING: [2, 2],
  'LAST-ACK': [2, 2],
  'TIME-WAIT': [2, 2],
}

function numbers(state: string): readonly [number, number] {
  return NUMBERS[state] ?? [1, 1]
}

t.test('RST with exactly the next number resets, in every synchronised state but TIME-WAIT', async (t) => {
  for (const state of SYNCHRONISED) {
    const [nxt] = numbers(state)
    for (const flags of ['R', 'RA']) {
      const [d, c] = inState(t, state)
      d.in({ flags, seq: nxt })
      d.silent()
      if (state === 'TIME-WAIT') {
        t.equal(c.stateName, state, 'RFC 1337')
        continue
      }
      t.equal(c.stateName, 'CLOSED', state)
      t.equal(c.error, 'reset')
      t.equal(d.bits(c), READY_CLOSED)
      t.equal(d.stack.held.connections, 0)
      t.equal(d.stack.held.bytes, 0)
    }
  }
})

t.test('RST elsewhere in the window is challenged (RFC 5961 3.2)', async (t) => {
  for (const state of SYNCHRONISED) {
    const [nxt, snd] = numbers(state)
    const [d, c] = inState(t, state)
    d.in({ flags: 'R', seq: nxt + 1 })
    d.expect({ flags: 'A', seq: snd, ack: nxt, len: 0 })
    t.equal(c.stateName, state)
    t.equal(d.stack.counters.challengeAcks, 1)
    d.pass(60)
    d.in({ flags: 'R', seq: nxt + 60_000 })
    d.silent()
  }
})

t.test('the challenge lets an honest peer reset after all', async (t) => {
  const [d, c] = inState(t, 'ESTABLISHED')
  d.in({ flags: 'R', seq: 100 })
  d.expect({ flags: 'A', seq: 1, ack: 1 })
  d.in({ flags: 'R', seq: 1 })
  t.equal(c.error, 'reset')
})

t.test('RST outside the window is dropped without a word', async (t) => {
  for (const state of SYNCHRONISED) {
    const [nxt] = numbers(state)
    const [d, c] = inState(t, state)
    for (const seq of [nxt - 1, nxt - 70_000, nxt + 70_000 + (1 << 20), nxt + 0x7fffffff]) {
      d.in({ flags: 'R', seq })
      d.in({ flags: 'RA', seq })
    }
    d.silent()
    t.equal(c.stateName, state)
  }
})

t.test('RST may hold data (SHLD-2), and counts with a window of zero (MUST-66)', async (t) => {
  const [d, c] = inState(t, 'ESTABLISHED')
  d.in({ flags: 'RA', seq: 1, data: 'because' })
  t.equal(c.error, 'reset')
  t.equal(c.readable, 0)

  const e = new Dialogue(t, { limits: { receiveBuffer: 1000 } })
  const x = e.open()
  e.in({ flags: 'A', seq: 1, ack: 1, data: latin('x'.repeat(1000)) })
  e.expect({ flags: 'A', ack: 1001, window: 0 })
  e.in({ flags: 'R', seq: 1002 })
  t.equal(x.stateName, 'ESTABLISHED')
  e.in({ flags: 'R', seq: 1001, data: 'because' })
  t.equal(x.error, 'reset')
})

t.test('RST in a simultaneous open refuses it', async (t) => {
  const [d, c] = inState(t, 'SYN-RECEIVED')
  d.in({ flags: 'RA', seq: 1, ack: 1 })
  t.equal(c.error, 'refused')
  d.silent()
})

t.test('SYN in a synchronised state is challenged, wherever its number lies (RFC 5961 4.2)', async (t) => {
  for (const state of SYNCHRONISED) {
    const [nxt, snd] = numbers(state)
    for (const [flags, seq] of [
      ['S', nxt + 5],
      ['S', nxt - 70_000],
      ['S', nxt + (1 << 24)],
      ['SA', nxt],
      ['SA', 0],
    ] as const) {
      const [d, c] = inState(t, state)
      d.in({ flags, seq, ack: 1 })
      d.expect({ flags: 'A', seq: snd, ack: nxt, len: 0 })
      t.equal(c.stateName, state)
      d.in({ flags, seq, ack: 1, data: 'attack' })
      d.silent()
      t.equal(d.stack.counters.challengeAcks, 1, 'the second is one too many')
    }
  }
})

t.test('a SYN without timestamps is challenged where timestamps are agreed', async (t) => {
  // A peer that has restarted, perhaps as another system.
  const d = new Dialogue(t)
  d.open({ ts: [5000, 0] })
  d.in({ flags: 'S', seq: 1000, ts: undefined })
  d.expect({ flags: 'A', seq: 1, ack: 1 })
})

t.test('challenges are limited for each connection by itself', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  const one = d.stack.counters
  for (let i = 0; i < 100; i++) {
    d.in({ flags: 'S', seq: i * 1000 })
    d.in({ flags: 'R', seq: 5 + i })
    d.in({ flags: 'A', seq: 1, ack: 100_000 })
    d.pass(4)
  }
  t.equal(one.challengeAcks, 1)
  d.pass(100)
  d.in({ flags: 'S', seq: 7 })
  t.equal(one.challengeAcks, 2, 'after half a second another one')
  d.forget()

  // Another connection is not held up by the first one's attacker.
  d.stackIss = undefined
  const other = d.connect({}, 6000)
  d.drain()
  d.in({ flags: 'SA', seq: 0, ack: 1 })
  d.forget()
  d.in({ flags: 'S', seq: 9 })
  d.expect({ flags: 'A', seq: 1, ack: 1 })
  t.equal(other.stateName, 'ESTABLISHED')
  t.equal(c.stateName, 'ESTABLISHED')
})

t.test('an acknowledgement of what was not sent is challenged and nothing of it is taken', async (t) => {
  for (const state of SYNCHRONISED) {
    const [nxt, snd] = numbers(state)
    const [d, c] = inState(t, state)
    d.in({ flags: 'A', seq: nxt, ack: snd + 1 })
    d.expect({ flags: 'A', seq: snd, ack: nxt })
    t.equal(c.stateName, state)
  }
})

t.test('data with an acknowledgement too old or too new is not taken (RFC 5961 5.2)', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 1000 })
  c.write(latin('x'.repeat(5000)))
  d.drain()
  d.in({ flags: 'A', seq: 1, ack: 1001, window: 1000 })
  d.forget()
  for (const ack of [-0x40000000, -5000, 0, 1001 + 1001, 0x30000000]) {
    d.pass(600)
    d.forget()
    d.in({ flags: 'PA', seq: 1, ack, data: 'evil' })
    t.equal(c.readable, 0, `${ack}`)
  }
  d.forget()
  // An old one within the largest window ever seen is an honest latecomer.
  d.in({ flags: 'PA', seq: 1, ack: 2, data: 'good' })
  t.equal(readAll(c), 'good')
})

t.test('a segment without ACK is dropped', async (t) => {
  const [d, c] = inState(t, 'ESTABLISHED')
  d.in({ flags: '', seq: 1, data: 'x' })
  d.in({ flags: 'F', seq: 1 })
  d.in({ flags: 'PU', seq: 1, data: 'x' })
  d.silent()
  t.equal(c.stateName, 'ESTABLISHED')
  t.equal(c.readable, 0)
})

t.test('segments with all flags, and from ourselves, harm nobody', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  d.in({ flags: 'S', seq: 0, from: '10.0.0.2', fromPort: 80 })
  d.silent()
  t.equal(d.stack.held.connections, 0, 'the land packet opens nothing')
  d.in({ flags: 'A', seq: 0, from: '10.0.0.2', fromPort: 81, toPort: 82 })
  d.silent()
  d.in({ flags: 'FSRPAUEC', seq: 0 })
  d.silent()
  d.in({ flags: 'SF', seq: 0 })
  const c = d.serve({}, l)
  d.in({ flags: 'FSPAUEC', seq: 1, ack: 1, data: 'tree' })
  t.equal(c.stateName, 'ESTABLISHED')
  t.equal(c.readable, 0)
})
