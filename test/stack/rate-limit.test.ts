import t from 'tap'
import { RateLimit } from '../../stack/icmp/errors.js'

t.test('so many at once, so many a second', async (t) => {
  for (const start of [0, 5, 1.8e12]) {
    const limit = new RateLimit(10, 6)
    let now = start
    const burst = (): number => {
      let n = 0
      while (n < 100 && limit.take(now)) n++
      return n
    }
    t.equal(burst(), 6, 'the burst')
    now += 99
    t.equal(burst(), 0)
    now += 1.5
    t.equal(burst(), 1)
    now += 300
    t.equal(burst(), 3)
    now += 3_600_000
    t.equal(burst(), 6, 'nothing is saved up beyond the burst')
    let n = 0
    for (let i = 0; i < 10_000; i++) {
      now += 1
      if (limit.take(now)) n++
    }
    t.ok(n >= 99 && n <= 101, `${n} in ten seconds of asking`)
  }
})

t.test('none at all', async (t) => {
  const never = new RateLimit(0, 0)
  t.equal(never.take(0), false)
  t.equal(never.take(1e9), false)
})

t.test('a clock that steps back gives nothing away', async (t) => {
  const limit = new RateLimit(10, 2)
  t.equal(limit.take(1e6), true)
  t.equal(limit.take(1e6), true)
  t.equal(limit.take(5e5), false)
  t.equal(limit.take(1e6), false)
  t.equal(limit.take(1e6 + 101), true)
})
