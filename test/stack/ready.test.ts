import t from 'tap'
import { ReadyList, type ReadySocket, takeReady } from '../../stack/ready.js'
import { SeededRandom } from '../helpers/random.js'

class Socket implements ReadySocket {
  readyBits = 0
  readyNext: ReadySocket | undefined
}

t.test('each once, in the order of the news', async (t) => {
  const list = new ReadyList()
  const [a, b, c] = [new Socket(), new Socket(), new Socket()]
  t.equal(list.empty, true)
  t.equal(list.next(), undefined)
  list.mark(a, 1)
  list.mark(b, 2)
  list.mark(a, 4)
  t.equal(list.empty, false)
  t.equal(list.next(), a)
  list.mark(c, 1)
  // Marked between `next` and `takeReady`: told now, not again.
  list.mark(a, 8)
  t.equal(takeReady(a), 13)
  t.equal(takeReady(a), 0)
  t.equal(list.next(), b)
  t.equal(takeReady(b), 2)
  list.mark(b, 1)
  t.equal(list.next(), c)
  t.equal(list.next(), b)
  t.equal(list.next(), undefined)
  t.equal(list.empty, true)
})

t.test('against an array', async (t) => {
  const r = new SeededRandom(61)
  const list = new ReadyList()
  const sockets = Array.from({ length: 6 }, () => new Socket())
  const twin: { s: Socket; bits: number }[] = []
  for (let i = 0; i < 5000; i++) {
    const s = sockets[r.below(6)] as Socket
    if (r.chance(0.6)) {
      const bits = 1 << r.below(6)
      list.mark(s, bits)
      const old = twin.find((e) => e.s === s)
      if (old) old.bits |= bits
      else twin.push({ s, bits })
    } else {
      const first = twin.shift()
      const got = list.next()
      if (got !== first?.s) t.fail(`step ${i}`)
      if (got !== undefined && takeReady(got) !== first?.bits) t.fail(`bits, step ${i}`)
    }
    if (list.empty !== (twin.length === 0)) t.fail(`empty, step ${i}`)
  }
  t.pass('5000 steps')
})
