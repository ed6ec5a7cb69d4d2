/**
 * TCP inside TCP: the outer connection stalls, and when it goes on everything comes at once, in order, nothing
 * lost. The inner connections must take it for what it is: hardly anything is sent again, none dies, and
 * the rate is back within two round trips.
 */
import t from 'tap'
import { jain, path, Simulation, type Way } from '../../helpers/sim.js'

const BEGIN = 5000
const AFTER = 4000
/** 50 Mbit/s, in octets a millisecond. */
const RATE = 6250

interface Load {
  readonly name: string
  readonly ways: readonly Way[]
}

const LOADS: readonly Load[] = [
  { name: 'bulk up', ways: ['up'] },
  { name: 'bulk down', ways: ['down'] },
  { name: '8 flows up', ways: Array(8).fill('up') },
  { name: '4 up, 4 down', ways: [...Array(4).fill('up'), ...Array(4).fill('down')] },
]

/** Which directions stand still: an outer TCP that waits for a lost packet stalls one, a dead path both. */
const STALLED = ['both', 'ab', 'ba'] as const

/**
 * By window: buffers that hold one and a half times what the path does, so that nothing is ever dropped and all
 * that is sent again is waste. By loss: auto-tuned buffers, and drops from a queue of one product.
 */
const LIMITS = ['by window', 'by loss'] as const

interface Case {
  readonly limit: (typeof LIMITS)[number]
  readonly rtt: number
  readonly seconds: number
  readonly load: Load
  readonly stalled: (typeof STALLED)[number]
}

const cases: Case[] = []
for (const limit of LIMITS)
  for (const rtt of [20, 100])
    for (const seconds of [0.2, 1, 5])
      for (const load of LOADS)
        for (const stalled of STALLED) {
          // Two-way traffic at a full queue swings by itself, with or without a stall.
          if (limit === 'by loss' && load.ways.includes('up') && load.ways.includes('down')) continue
          cases.push({ limit, rtt, seconds, load, stalled })
        }

for (const { limit, rtt, seconds, load, stalled } of cases) {
  const { name, ways } = load
  t.test(`${name}, ${rtt} ms, limited ${limit}, stalled for ${seconds} s (${stalled})`, async (t) => {
    const from = 1000 + BEGIN
    const to = from + 1000 * seconds
    const stalls = [[from, to]] as const
    const lossless = limit === 'by window'
    const link = path(RATE, rtt, lossless ? { queue: Number.POSITIVE_INFINITY } : {})
    const flowsEachWay = Math.max(...(['up', 'down'] as const).map((w) => ways.filter((x) => x === w).length))
    const buffer = Math.ceil((1.5 * RATE * rtt) / flowsEachWay)
    const limits = {
      receiveBuffer: buffer,
      receiveBufferMax: buffer,
      sendBuffer: 2 * buffer,
      sendBufferMax: 2 * buffer,
    }
    const sim = new Simulation(
      {
        ab: stalled === 'ba' ? link : { ...link, stalls },
        ba: stalled === 'ab' ? link : { ...link, stalls },
      },
      7,
      lossless ? { limits } : {},
    )
    for (const way of ways) sim.bulk(way)
    // The last seconds before, as the measure.
    const before = sim.measure(BEGIN - 2000, 2000).total
    sim.pair.run(() => sim.pair.now >= to, 1000 * seconds)
    const { up, down, pair } = sim
    // Two round trips after the release (the queue is part of each), for the half second that follows.
    const trip = lossless ? 1.5 * rtt : 2 * rtt
    const after = sim.measure(2 * trip, 500).total
    const late = sim.measure(0, AFTER)
    sim.finish()
    const rate = before / RATE
    t.ok(rate > 0.8, `before: ${rate.toFixed(2)} of the rate`)
    // By loss there is a saw-tooth, of which either moment may be any part; and what is sent for all the
    // acknowledgements that come at once may overflow the queue.
    const [soon, later] = lossless ? [0.9, 0.95] : [0.6, 0.85]
    t.ok(after >= soon * before, `after two round trips: ${(after / before).toFixed(2)} of before`)
    t.ok(late.total >= later * before, `later: ${(late.total / before).toFixed(2)} of before`)
    t.ok(jain(late.each) > 0.8, `later, Jain's index ${jain(late.each).toFixed(2)}`)
    const segments = up.segments + down.segments
    const needless = up.needlessSegments + down.needlessSegments
    const timeouts = pair.a.counters.timeouts + pair.b.counters.timeouts
    const text = `${needless} of ${segments} segments were needless, ${timeouts} RTOs`
    t.ok(needless < 0.01 * segments, text)
    // Not one in a hundred of many, but a few for each flow: a time-out costs a segment or two.
    t.ok(needless <= 12 * ways.length, text)
    if (lossless) t.equal(pair.ab.lost + pair.ba.lost, 0, 'nothing was lost')
  })
}
