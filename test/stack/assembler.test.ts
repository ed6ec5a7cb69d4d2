import t from 'tap'
import { Assembler } from '../../stack/assembler.js'
import { type Seq, seq, seqAdd } from '../../stack/seq.js'
import { SeededRandom } from '../helpers/random.js'

/** The twin: a set of octets, their ranges found by looking at each. */
function rangesOf(octets: ReadonlySet<number>): [number, number][] {
  const out: [number, number][] = []
  for (const n of [...octets].sort((a, b) => a - b)) {
    const last = out.at(-1)
    if (last !== undefined && last[1] === n) last[1] = n + 1
    else out.push([n, n + 1])
  }
  return out
}

const blocks = (a: Assembler, max = 4): [number, number][] => {
  const out = new Int32Array(8)
  const n = a.sackBlocks(out, max)
  return Array.from({ length: n }, (_, i) => [out[2 * i] as number, out[2 * i + 1] as number])
}

t.test('against a set of octets, around every kind of wrap', async (t) => {
  for (const base of [0, 1000, 0x7fffff00, 0xffffff80]) {
    for (let seed = 1; seed <= 12; seed++) {
      const r = new SeededRandom(seed)
      const limit = 3 + r.below(6)
      const a = new Assembler(limit)
      const have = new Set<number>()
      let next = 0
      const at = (n: number): Seq => seq(base + n)
      for (let step = 0; step < 250; step++) {
        const place = `base ${base}, seed ${seed}, step ${step}`
        if (r.chance(0.85)) {
          const from = next + r.below(200)
          const to = from + 1 + r.below(25)
          const before = rangesOf(have)
          const after = new Set(have)
          for (let n = from; n < to; n++) after.add(n)
          const fits = rangesOf(after).length <= limit
          const touches = before.some(([l, e]) => l <= to && e >= from)
          const took = a.add(at(from), at(to))
          if (took !== (touches || before.length < limit)) t.fail(`${place}: add said ${took}`)
          if (took) {
            if (!fits) t.fail(`${place}: too many ranges`)
            for (let n = from; n < to; n++) have.add(n)
          }
        } else {
          const to = next + r.below(40)
          let expected = to
          for (let n = next; n < to; n++) have.delete(n)
          while (have.delete(expected)) expected++
          const got = a.advance(at(to))
          if (got !== at(expected)) t.fail(`${place}: advance`)
          next = expected
        }
        const expected = rangesOf(have)
        if (a.count !== expected.length) t.fail(`${place}: ${a.count} ranges, not ${expected.length}`)
        // A range that `advance` has reached in part cannot be: it takes them out whole.
        const seen = blocks(a, 4)
        for (const [l, e] of seen) {
          if (!expected.some(([x, y]) => at(x) === l && at(y) === e)) t.fail(`${place}: no such block`)
        }
        if (new Set(seen.map(([l]) => l)).size !== seen.length) t.fail(`${place}: a block twice`)
        if (seen.length !== Math.min(4, expected.length)) t.fail(`${place}: ${seen.length} blocks`)
        const end = expected.at(-1)?.[1]
        if (a.end(at(next)) !== (end === undefined ? at(next) : at(end))) t.fail(`${place}: end`)
      }
    }
  }
  t.pass('48 runs of 250 steps')
})

t.test('hundreds of ranges: a large window that has lost every second segment', async (t) => {
  for (const base of [5, 0x7fffc000, 0xffffe000]) {
    for (let seed = 1; seed <= 3; seed++) {
      const r = new SeededRandom(seed)
      const limit = 300
      const a = new Assembler(limit)
      const have = new Set<number>()
      let next = 0
      const at = (n: number): Seq => seq(base + n)
      const check = (place: string): void => {
        const expected = rangesOf(have)
        if (a.count !== expected.length) t.fail(`${place}: ${a.count} ranges, not ${expected.length}`)
        expected.forEach(([l, e], i) => {
          if (a.leftOf(i) !== at(l) || a.rightOf(i) !== at(e)) t.fail(`${place}: range ${i}`)
        })
        for (let k = 0; k < 20; k++) {
          const n = next + r.below(12_000)
          const found = expected.findIndex(([, e]) => e > n)
          if (a.seek(at(n)) !== (found < 0 ? expected.length : found)) t.fail(`${place}: seek`)
        }
      }
      let refused = 0
      for (let step = 0; step < 3000; step++) {
        // Grows to the limit, then mostly closes holes.
        const from = next + 1 + r.below(step < 1500 ? 12_000 : 2000)
        const to = from + 1 + r.below(step < 1500 ? 8 : 40)
        const before = a.count
        if (a.add(at(from), at(to))) {
          for (let n = from; n < to; n++) have.add(n)
        } else {
          refused++
          if (before !== limit) t.fail(`seed ${seed}: refused with ${before} ranges`)
          for (let n = from - 1; n <= to; n++) if (have.has(n)) t.fail(`seed ${seed}: it touches one`)
        }
        if (step % 10 === 9 && step >= 1500) {
          const to = next + r.below(60)
          let expected = to
          for (let n = next; n < to; n++) have.delete(n)
          while (have.delete(expected)) expected++
          if (a.advance(at(to)) !== at(expected)) t.fail(`seed ${seed}, step ${step}: advance`)
          next = expected
        }
        if (step % 50 === 0) check(`base ${base}, seed ${seed}, step ${step}`)
      }
      check(`base ${base}, seed ${seed}, the end`)
      t.ok(refused > 0, 'the limit was met')
      a.clear()
      a.trim()
      t.equal(a.count, 0)
      t.ok(a.add(at(3), at(5)), 'and begins again')
      t.same(blocks(a), [[at(3), at(5)]])
    }
  }
})

t.test('a range can be put first, and blocks be written behind others', async (t) => {
  const a = new Assembler(8)
  for (const from of [100, 200, 300]) a.add(seq(from), seq(from + 10))
  a.refer(seq(109))
  a.refer(seq(110))
  a.refer(seq(50))
  const out = new Int32Array(8)
  out.set([7, 8])
  t.equal(a.sackBlocks(out, 3, 1), 3)
  t.same([...out.subarray(0, 6)], [7, 8, 100, 110, 300, 310])
  // A block in front that begins where one of ours does is no reason to leave ours out.
  out.set([100, 105])
  t.equal(a.sackBlocks(out, 4, 1), 4)
  t.same([...out], [100, 105, 100, 110, 300, 310, 200, 210])
  t.equal(a.sackBlocks(out, 1, 1), 1)
})

t.test('SACK order: RFC 2018 4', async (t) => {
  const a = new Assembler(16)
  const add = (from: number, to: number): void => {
    if (!a.add(seq(from), seq(to))) throw new Error('no room')
  }
  add(100, 110)
  add(200, 210)
  add(300, 310)
  add(400, 410)
  add(500, 510)
  t.same(
    blocks(a),
    [
      [500, 510],
      [400, 410],
      [300, 310],
      [200, 210],
    ],
    'the one that grew last first, then the most recently reported',
  )
  t.same(blocks(a, 3), [
    [500, 510],
    [400, 410],
    [300, 310],
  ])
  add(210, 220)
  t.same(blocks(a), [
    [200, 220],
    [500, 510],
    [400, 410],
    [300, 310],
  ])
  // One range that keeps growing must not push the others out of memory.
  for (let i = 0; i < 10; i++) add(220 + 10 * i, 230 + 10 * i)
  // Now 200-320 has swallowed 300-310.
  t.same(blocks(a), [
    [200, 320],
    [500, 510],
    [400, 410],
    [100, 110],
  ])
  t.equal(a.advance(seq(100)), seq(110), 'what is reached goes')
  t.same(blocks(a), [
    [200, 320],
    [500, 510],
    [400, 410],
  ])
  add(402, 405)
  t.same(
    blocks(a),
    [
      [400, 410],
      [200, 320],
      [500, 510],
    ],
    'an exact repeat is news too',
  )
  t.equal(a.advance(seq(410)), seq(410))
  t.same(blocks(a), [[500, 510]])
  a.clear()
  t.same(blocks(a), [])
  t.equal(a.count, 0)
})

t.test('RFC 2018 5, case 3: the 2nd, 4th, 6th and 8th of eight segments are lost', async (t) => {
  // 5000 is RCV.NXT at first, every segment has 500 octets; the third column is the RFC's.
  const a = new Assembler(16)
  let nxt = seq(5500)
  const seen: [number, number][][] = []
  for (const from of [6000, 7000, 8000]) {
    a.add(seq(from), seq(from + 500))
    seen.push(blocks(a))
  }
  t.same(seen, [
    [[6000, 6500]],
    [
      [7000, 7500],
      [6000, 6500],
    ],
    [
      [8000, 8500],
      [7000, 7500],
      [6000, 6500],
    ],
  ])
  a.add(seq(6500), seq(7000))
  t.same(
    blocks(a),
    [
      [6000, 7500],
      [8000, 8500],
    ],
    'the fourth comes late',
  )
  nxt = a.advance(seqAdd(nxt, 500))
  t.equal(nxt, seq(7500), 'the second comes late')
  t.same(blocks(a), [[8000, 8500]])
})
