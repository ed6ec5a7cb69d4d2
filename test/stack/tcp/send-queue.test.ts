/** The send queue against a plain array, and what it holds. */
import fc from 'fast-check'
import t from 'tap'
import { SendQueue } from '../../../stack/tcp/send-queue.js'
import { latin, latinText, stream } from '../../helpers/segment.js'

function copied(q: SendQueue, at: number, len: number): Uint8Array {
  const b = new Uint8Array(len + 2).fill(0xa5)
  q.copy(at, b, 1, len)
  if (b[0] !== 0xa5 || b[len + 1] !== 0xa5) throw new Error('written beside')
  return b.subarray(1, len + 1)
}

t.test('what is pushed can be copied from anywhere, until it is acknowledged', async (t) => {
  const q = new SendQueue()
  q.push(latin('hello '))
  q.push(new Uint8Array(0))
  q.push(stream(5000))
  q.push(latin('world'))
  t.equal(q.length, 5011)
  t.equal(latinText(copied(q, 0, 6)), 'hello ')
  t.equal(latinText(copied(q, 5006, 5)), 'world')
  t.same(copied(q, 6, 5000), stream(5000))
  q.acknowledge(4)
  t.equal(latinText(copied(q, 0, 2)), 'o ')
  q.acknowledge(q.length)
  t.equal(q.length, 0)
  q.push(latin('again'))
  t.equal(latinText(copied(q, 0, 5)), 'again')
  q.clear()
  t.equal(q.length, 0)
})

t.test('large chunks are kept, not copied', async (t) => {
  const q = new SendQueue()
  const chunk = stream(10_000)
  q.push(chunk)
  chunk[5] = 77
  t.equal(copied(q, 5, 1)[0], 77)
  const small = latin('abc')
  q.push(small)
  small[0] = 0
  t.equal(latinText(copied(q, 10_000, 3)), 'abc', 'small ones are')
})

t.test('any sequence of pushes, copies and acknowledgements is that of an array', async (t) => {
  const operation = fc.oneof(
    fc.record({ op: fc.constant('push' as const), n: fc.integer({ min: 0, max: 1500 }) }),
    fc.record({ op: fc.constant('push' as const), n: fc.integer({ min: 0, max: 5 }) }),
    fc.record({ op: fc.constant('copy' as const), n: fc.nat(), len: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ op: fc.constant('next' as const), len: fc.integer({ min: 1, max: 1400 }) }),
    fc.record({ op: fc.constant('acknowledge' as const), n: fc.nat() }),
    fc.record({ op: fc.constant('clear' as const) }),
  )
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      const q = new SendQueue()
      let twin: number[] = []
      let pushed = 0
      let cursor = 0
      for (const o of operations) {
        switch (o.op) {
          case 'push': {
            const chunk = stream(o.n, pushed)
            pushed += o.n
            twin.push(...chunk)
            q.push(chunk)
            break
          }
          case 'copy':
          case 'next': {
            if (twin.length === 0) break
            const at = o.op === 'copy' ? o.n % twin.length : cursor < twin.length ? cursor : 0
            const len = Math.min(o.len, twin.length - at)
            const got = copied(q, at, len)
            if (got.some((b, i) => b !== twin[at + i])) throw new Error(`copy of ${len} at ${at}`)
            cursor = at + len
            break
          }
          case 'acknowledge': {
            const n = twin.length === 0 ? 0 : o.n % (twin.length + 1)
            twin = twin.slice(n)
            q.acknowledge(n)
            cursor = Math.max(0, cursor - n)
            break
          }
          case 'clear':
            twin = []
            q.clear()
            cursor = 0
        }
        if (q.length !== twin.length) throw new Error(`length ${q.length}, not ${twin.length}`)
      }
    }),
    { seed: 20_240, numRuns: 400 },
  )
  t.pass('400 sequences')
})
