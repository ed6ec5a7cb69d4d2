/** Duplicates are reported: RFC 2883. */
import t from 'tap'
import { BlockPool } from '../../../stack/ring.js'
import { type Seq, seq, seqDiff } from '../../../stack/seq.js'
import { Receiver } from '../../../stack/tcp/receiver.js'
import { SeededRandom } from '../../helpers/random.js'
import { Dialogue, inState, latin, stream, type Test } from '../../helpers/segment.js'

/** A dialogue with 3000 octets received, all acknowledged and read. */
function going(
  t: Test,
  more: { ts?: readonly [number, number]; sackOk?: boolean } = {},
): {
  d: Dialogue
  c: ReturnType<Dialogue['open']>
} {
  const d = new Dialogue(t)
  const c = d.open({ sackOk: true, ...more })
  for (let i = 0; i < 6; i++) d.in({ flags: 'A', seq: 1 + i * 500, ack: 1, data: stream(500, i * 500) })
  c.consume(3000)
  d.forget()
  return { d, c }
}

t.test('RFC 2883 4.1.1: a whole segment that was received before, below the acknowledgement', async (t) => {
  const { d } = going(t)
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(500) })
  d.expect({ flags: 'A', seq: 1, ack: 3001, len: 0, sack: [[1, 501]] })
  d.pass(1000)
  d.silent()
  d.in({ flags: 'A', seq: 3001, ack: 1, data: 'news' })
  d.expect({ ack: 3005, sack: [] })
})

t.test('the segment before the last, which is in front of the window, but not wholly', async (t) => {
  const { d } = going(t)
  d.in({ flags: 'A', seq: 2501, ack: 1, data: stream(1000, 2500) })
  d.expect({ ack: 3501, sack: [[2501, 3001]] })
})

t.test('RFC 2883 4.1.2 and 4.1.3: with ranges ahead, and inside one of them', async (t) => {
  const { d } = going(t)
  d.in({ flags: 'A', seq: 3501, ack: 1, data: stream(500) })
  d.expect({ sack: [[3501, 4001]] })
  d.in({ flags: 'A', seq: 1001, ack: 1, data: stream(500) })
  d.expect({
    ack: 3001,
    sack: [
      [1001, 1501],
      [3501, 4001],
    ],
  })
  d.in({ flags: 'A', seq: 4501, ack: 1, data: stream(500) })
  d.in({ flags: 'A', seq: 4001, ack: 1, data: stream(200) })
  d.forget()
  // A duplicate in a larger block: that one comes second.
  d.in({ flags: 'A', seq: 3501, ack: 1, data: stream(500) })
  d.expect({
    ack: 3001,
    sack: [
      [3501, 4001],
      [3501, 4201],
      [4501, 5001],
    ],
  })
  // In the other block: its own comes second, not the one that grew last.
  d.in({ flags: 'A', seq: 4601, ack: 1, data: stream(100) })
  d.expect({
    ack: 3001,
    sack: [
      [4601, 4701],
      [4501, 5001],
      [3501, 4201],
    ],
  })
  // A D-SACK is said once.
  d.in({ flags: 'A', seq: 5501, ack: 1, data: 'x' })
  d.expect({
    sack: [
      [5501, 5502],
      [4501, 5001],
      [3501, 4201],
    ],
  })
})

t.test('RFC 2883 4.2: parts of a segment', async (t) => {
  const { d } = going(t)
  // 3501-4001 is there; then 3001-4501 comes in one: the gap is filled and the middle was known.
  d.in({ flags: 'A', seq: 3501, ack: 1, data: stream(500) })
  d.forget()
  d.in({ flags: 'A', seq: 3001, ack: 1, data: stream(1360) })
  d.expect({ ack: 4361, sack: [[3501, 4001]] })
  // Two known parts: the first is reported.
  d.in({ flags: 'A', seq: 4501, ack: 1, data: stream(100) })
  d.in({ flags: 'A', seq: 4801, ack: 1, data: stream(100) })
  d.forget()
  d.in({ flags: 'A', seq: 4401, ack: 1, data: stream(700) })
  d.expect({
    ack: 4361,
    sack: [
      [4501, 4601],
      [4401, 5101],
    ],
  })
  // The left part, the right part.
  d.in({ flags: 'A', seq: 5001, ack: 1, data: stream(200) })
  d.expect({
    sack: [
      [5001, 5101],
      [4401, 5201],
    ],
  })
  d.in({ flags: 'A', seq: 4381, ack: 1, data: stream(70) })
  d.expect({
    sack: [
      [4401, 4451],
      [4381, 5201],
    ],
  })
})

t.test('with timestamps there are three blocks in all', async (t) => {
  const { d } = going(t, { ts: [1, 0] })
  for (const at of [4001, 5001, 6001, 7001]) d.in({ flags: 'A', seq: at, ack: 1, data: stream(100) })
  d.forget()
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(500) })
  d.expect({
    sack: [
      [1, 501],
      [7001, 7101],
      [6001, 6101],
    ],
  })
})

t.test('an old duplicate by its timestamp is one as well', async (t) => {
  const { d } = going(t, { ts: [1, 0] })
  d.pass(50)
  d.in({ flags: 'A', seq: 3001, ack: 1, data: 'new' })
  d.forget()
  d.in({ flags: 'A', seq: 501, ack: 1, data: stream(500), ts: [(d.tsOffset + d.now - 1000) >>> 0, 0] })
  d.expect({ ack: 3004, sack: [[501, 1001]] })
})

t.test('duplicates of one batch: neighbours are one report, others follow each in its own', async (t) => {
  const { d } = going(t)
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(500) })
  d.in({ flags: 'A', seq: 501, ack: 1, data: stream(500) })
  d.expect({ sack: [[1, 1001]] })
  for (const at of [1, 1001, 2001]) d.in({ flags: 'A', seq: at, ack: 1, data: stream(500) })
  d.expect({ sack: [[1, 501]] }, { sack: [[1001, 1501]] }, { sack: [[2001, 2501]] })
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(500) })
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(500) })
  d.expect({ sack: [[1, 501]] }, { sack: [[1, 501]] })
  // However many come, the answers are few.
  for (let i = 0; i < 100; i++) d.in({ flags: 'A', seq: 1 + ((i * 7) % 100) * 20, ack: 1, data: stream(3) })
  t.equal(d.forget().length, 4)
  d.pass(1000)
  d.silent()
})

t.test('nothing is reported to a peer that has not permitted SACK, and nothing is left over', async (t) => {
  const { d, c } = going(t, { sackOk: false })
  for (const at of [1, 1001, 2001]) d.in({ flags: 'A', seq: at, ack: 1, data: stream(500) })
  d.expect({ ack: 3001, sack: [] })
  c.write(latin('text'))
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(500) })
  t.equal(d.forget().at(-1)?.data, 'text')
  d.in({ flags: 'PA', seq: 3001, ack: 1, data: 'x' })
  c.write(latin('more'))
  d.expect({ flags: 'PA', ack: 3002, data: 'more' })
})

t.test('a report goes alone even if there is text to send', async (t) => {
  const { d, c } = going(t)
  c.write(latin('text'))
  d.in({ flags: 'A', seq: 1, ack: 1, data: stream(500) })
  d.expect({ flags: 'A', len: 0, sack: [[1, 501]] }, { flags: 'PA', len: 4, sack: [] })
})

t.test('what has no data, or lies beyond the window, is no duplicate', async (t) => {
  const { d } = going(t)
  d.in({ flags: 'A', seq: 3000, ack: 1 })
  d.expect({ ack: 3001, sack: [] })
  d.pass(1000)
  d.in({ flags: 'A', seq: 3001 + (1 << 20), ack: 1, data: 'far' })
  d.expect({ ack: 3001, sack: [] })
  d.in({ flags: 'A', seq: 3000, ack: 1, data: 'k' })
  d.expect({ ack: 3001, sack: [[3000, 3001]] })
})

t.test('after the other side’s FIN', async (t) => {
  for (const state of ['CLOSE-WAIT', 'TIME-WAIT']) {
    const [d] = inState(t, state)
    d.in({ flags: 'A', seq: 0, ack: 1, data: 'x' })
    const [answer, ...others] = d.forget()
    t.equal(answer?.ack, 2, state)
    t.same(answer?.sack, [], 'it has not permitted SACK')
    t.equal(others.length, 0)
  }
})

t.test(
  'against a set of octets: every first block is a duplicate, and every duplicate is reported',
  async (t) => {
    const edges = new Int32Array(8)
    for (const base of [100, 0x7ffffe00, 0xfffffe00]) {
      for (let seed = 1; seed <= 20; seed++) {
        const r = new SeededRandom(seed)
        const limits = { receiveBuffer: 4096, receiveBufferMax: 4096, outOfOrderRanges: 100 }
        const rcv = new Receiver(new BlockPool(4096, 4), limits)
        rcv.start(seq(base - 1))
        const have = new Set<number>()
        const at = (n: number): Seq => seq(base + n)
        const segment = stream(200)
        let read = 0
        for (let step = 0; step < 400; step++) {
          const place = `base ${base}, seed ${seed}, step ${step}`
          const next = (rcv.nxt - seq(base)) | 0
          const from = Math.max(0, next - 60 + r.below(300))
          const len = 1 + r.below(120)
          if (from + len > read + 4096) continue
          // The twin: the first run of octets that were there.
          let left = from
          while (left < from + len && !have.has(left)) left++
          let right = left
          while (right < from + len && have.has(right)) right++
          for (let n = from; n < from + len; n++) have.add(n)
          rcv.data(at(from), segment, 0, len)
          if (r.chance(0.3)) {
            read += rcv.ring.size
            rcv.ring.consume(rcv.ring.size)
          }
          const blocks = rcv.hasReport ? rcv.sackBlocks(edges, 4) : 0
          rcv.announce(false)
          rcv.acknowledged()
          if (rcv.ackNow) t.fail(`${place}: something is left to report`)
          const isDuplicate = blocks > 0 && left < right
          if (isDuplicate && (edges[0] !== at(left) || edges[1] !== at(right))) {
            t.fail(`${place}: ${edges[0]}-${edges[1]} is not the duplicate`)
          }
          if (left < right && blocks === 0) t.fail(`${place}: no report`)
          if (left === right && blocks > 0 && seqDiff(seq(edges[0] as number), rcv.nxt) <= 0) {
            t.fail(`${place}: a duplicate that was none`)
          }
          // All others are ranges ahead of RCV.NXT, whole ones, each once.
          const seen = new Set<number>()
          for (let b = left < right ? 1 : 0; b < blocks; b++) {
            const l = ((edges[2 * b] as number) - seq(base)) | 0
            const e = ((edges[2 * b + 1] as number) - seq(base)) | 0
            if (have.has(l - 1) || have.has(e) || seen.has(l)) t.fail(`${place}: block ${l}-${e}`)
            for (let n = l; n < e; n++) if (!have.has(n)) t.fail(`${place}: ${n} in ${l}-${e} is not there`)
            seen.add(l)
          }
          if (left < right && blocks > 1 && left >= ((rcv.nxt - seq(base)) | 0)) {
            const l = ((edges[2] as number) - seq(base)) | 0
            const e = ((edges[3] as number) - seq(base)) | 0
            if (left < l || right > e) t.fail(`${place}: the second block does not hold the duplicate`)
          }
        }
        rcv.drop()
      }
    }
    t.pass('60 runs')
  },
)
