import t from 'tap'
import { seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt, seqMax } from '../../stack/seq.js'
import { SeededRandom } from '../helpers/random.js'

t.test('comparison over the wrap', async (t) => {
  const r = new SeededRandom(71)
  for (let i = 0; i < 2000; i++) {
    const a = seq(r.below(2 ** 32))
    const d = r.below(2 ** 31 - 1) + 1
    const b = seqAdd(a, d)
    const good =
      seqLt(a, b) &&
      !seqLt(b, a) &&
      seqLe(a, b) &&
      !seqLe(b, a) &&
      seqGt(b, a) &&
      seqGe(b, a) &&
      !seqGe(a, b) &&
      seqDiff(b, a) === d &&
      seqDiff(a, b) === -d &&
      seqMax(a, b) === b &&
      seqMax(b, a) === b &&
      seqLe(a, a) &&
      seqGe(a, a) &&
      !seqLt(a, a) &&
      !seqGt(a, a)
    if (!good) t.fail(`${a} and ${b}`)
  }
  t.equal(seq(0xffffffff), seq(-1))
  t.equal(seqAdd(seq(0xffffffff), 1), 0)
  t.equal(seqAdd(seq(0), -1), -1)
  t.ok(seqLt(seq(0xffffff00), seq(5)))
  t.ok(seqLt(seq(0x7fffff00), seq(0x80000005)))
})
