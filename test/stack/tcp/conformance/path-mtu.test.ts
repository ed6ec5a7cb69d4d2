/** Paths that swallow large packets without a word: RFC 4821, RFC 8899, RFC 8900 6.2. Those that speak: ../icmp.test.ts. */
import t from 'tap'
import type { NetStackOptions } from '../../../../stack/index.js'
import { type End, opened, unhurt } from '../../../helpers/endpoint.js'
import { Pair } from '../../../helpers/pair.js'

interface Path {
  readonly family: 4 | 6
  /** Larger packets are swallowed, in both directions. */
  readonly limit: number
  readonly delay?: number
  readonly size?: number
  readonly options?: Partial<NetStackOptions>
}

/** A connection through that path, 20 ms each way, of which both ends send. Runs until all has come. */
function through(path: Path): { pair: Pair; a: End; b: End; took: number } {
  const { family, limit, delay = 20, size = 3_000_000, options = {} } = path
  const pair = new Pair({ delay, rate: 5000, queue: 200_000 }, 5, options)
  for (const link of [pair.ab, pair.ba]) link.tap = (p) => p.length <= limit
  const [a, b] = opened(pair, size, 2000, family === 6)
  const begin = pair.now
  if (!pair.run(() => a.closed && b.closed, 120_000)) throw new Error(`${limit}: ${a}; ${b}`)
  return { pair, a, b, took: pair.now - begin }
}

t.test('a black hole between 1280 and 1400 octets costs seconds, not the connection', async (t) => {
  for (const family of [4, 6] as const) {
    for (const limit of [1280, 1300, 1340, 1399]) {
      const { pair, a, b, took } = through({ family, limit })
      const name = `IPv${family}, ${limit}`
      t.ok(took < 5000, `${name}: ${Math.round(took)} ms`)
      t.equal(pair.a.counters.blackHoles, 1, name)
      t.ok(Number(a.connection?.info().pathMtu) <= limit, `${name}: ${a.connection?.info().pathMtu}`)
      a.check()
      b.check()
      unhurt(pair)
    }
  }
})

t.test('a path that takes full packets is never suspected, however bad it is', async (t) => {
  for (const loss of [0, 0.05]) {
    const pair = new Pair({ delay: 20, loss }, 9)
    const [a, b] = opened(pair, 300_000, 2000)
    t.ok(
      pair.run(() => a.closed && b.closed, 300_000),
      `${a}`,
    )
    a.check()
    b.check()
    t.equal(pair.a.counters.blackHoles, 0, `${loss}`)
    t.equal(a.connection?.info().pathMtu, 1400)
    unhurt(pair)
  }
})

t.test('a link that is dead for five seconds does not make packets small for long', async (t) => {
  const pair = new Pair({ delay: 20, rate: 1500, queue: 64_000 }, 3, { times: { pathMtuRaise: 5000 } })
  const [a, b] = opened(pair, 2_000_000, 2000)
  a.paused = false
  pair.pass(100)
  let dead = true
  for (const link of [pair.ab, pair.ba]) link.tap = () => !dead
  pair.pass(5000)
  dead = false
  t.ok(
    pair.run(() => a.closed && b.closed, 120_000),
    `${a}`,
  )
  a.check()
  b.check()
  unhurt(pair)
})

t.test('the segments are full again when the path takes them again (RFC 4821 7.7)', async (t) => {
  const pair = new Pair({ delay: 5, rate: 1500, queue: 64_000 }, 4, { times: { pathMtuRaise: 2000 } })
  let limit = 1300
  let largest = 0
  pair.ab.tap = (p) => {
    if (p.length <= limit) largest = Math.max(largest, p.length)
    return p.length <= limit
  }
  const [a, b] = opened(pair, 60_000_000, 0)
  b.paused = false
  t.ok(
    pair.run(() => b.received > 3_000_000, 20_000),
    `${b}`,
  )
  t.ok(largest <= 1300)
  limit = 1400
  t.ok(
    pair.run(() => a.connection?.info().pathMtu === 1400, 20_000),
    `packets of ${largest} are the largest`,
  )
  t.equal(largest, 1400)
  t.equal(b.connection?.error, undefined)
  a.connection?.abort()
  pair.pass(1000)
  b.checkPrefix()
  unhurt(pair)
})

t.test('a probe for a larger size that is lost costs nothing else', async (t) => {
  const pair = new Pair({ delay: 5, rate: 1500, queue: 64_000 }, 4, { times: { pathMtuRaise: 5000 } })
  pair.ab.tap = (p) => p.length <= 1300
  const [a, b] = opened(pair, 60_000_000, 0)
  t.ok(
    pair.run(() => b.received > 3_000_000, 20_000),
    `${b}`,
  )
  t.ok(
    pair.run(() => pair.a.counters.blackHoles === 1, 10_000),
    'it is known what the path takes',
  )
  const { timeouts } = pair.a.counters
  const from = b.received
  pair.pass(5000)
  t.equal(pair.a.counters.timeouts, timeouts, 'no time-out')
  t.equal(pair.a.counters.blackHoles, 1)
  t.ok(Number(a.connection?.info().pathMtu) <= 1300)
  t.ok(b.received - from > 5_000_000, `${b.received - from} octets in five seconds`)
  a.connection?.abort()
  pair.pass(1000)
  b.checkPrefix()
  unhurt(pair)
})
