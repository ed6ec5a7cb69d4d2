/** HyStart++ against traces made by hand (RFC 9406). */
import t from 'tap'
import type { AckSample } from '../../../../stack/tcp/congestion/controller.js'
import { HyStart } from '../../../../stack/tcp/congestion/hystart.js'
import { SeededRandom } from '../../../helpers/random.js'

/** Plays rounds of samples, each taken `step` after the last. @returns for each: S slow start, C conservative, X over */
function play(rounds: readonly (readonly number[])[], step = 1, h = new HyStart()): string {
  const s: AckSample = { delivered: 1000, flight: 0, limited: true, rtt: -1, round: false, srtt: 0, now: 0 }
  let log = ''
  for (const samples of rounds) {
    s.round = true
    for (const rtt of samples) {
      s.now += step
      s.rtt = rtt
      if (h.onAck(s)) return `${log}X`
      s.round = false
    }
    log += h.divisor === 1 ? 'S' : 'C'
  }
  return log
}

function flat(rtt: number, n = 10): number[] {
  return new Array<number>(n).fill(rtt)
}

t.test('a lasting rise leads to conservative slow start, and after five rounds out of it', async (t) => {
  t.equal(play([20, 20, 24, 26, 28, 30, 32, 34].map((r) => flat(r))), 'SSCCCCCX')
  t.equal(
    play([20, 20, 24, 24, 24, 24, 24, 24].map((r) => flat(r))),
    'SSCCCCCX',
    'no less is a rise that stays',
  )
})

t.test('conservative slow start grows by a quarter', async (t) => {
  const h = new HyStart()
  t.equal(h.divisor, 1)
  play([flat(20), flat(30)], 1, h)
  t.equal(h.divisor, 4)
})

t.test('the threshold is an eighth of the last round, but 4 ms at least and 16 ms at most', async (t) => {
  for (const [base, rise] of [
    [1, 4],
    [32, 4],
    [40, 5],
    [80, 10],
    [128, 16],
    [600, 16],
  ] as const) {
    t.equal(play([flat(base), flat(base + rise)]), 'SC', `${base} and ${rise}`)
    t.equal(play([flat(base), flat(base + rise - 0.01)]), 'SS', `${base} and a little less than ${rise}`)
  }
})

t.test('a slow rise, each round less than the threshold, is no rise', async (t) => {
  t.equal(play([20, 23, 26, 29, 32, 35].map((r) => flat(r))), 'SSSSSS')
})

t.test('a false alarm goes back to slow start, in the next round or in the same one', async (t) => {
  t.equal(play([flat(20), flat(26), flat(21), flat(21), flat(21)]), 'SCSSS')
  t.equal(play([flat(20), [...flat(26), 20.5], flat(21)]), 'SSS')
})

t.test('after a false alarm a true one counts its five rounds from the beginning', async (t) => {
  const rounds = [20, 26, 26, 26, 25, 31, 31, 31, 31, 31, 31].map((r) => flat(r))
  t.equal(play(rounds), 'SCCCSCCCCCX')
})

t.test('the lowest of a round counts: one early sample among late ones is enough', async (t) => {
  t.equal(play([flat(20), [...flat(45, 7), 21, ...flat(45, 7)], flat(22)]), 'SSS')
  t.equal(play([flat(20), [...flat(45, 20), 21], flat(22)]), 'SSS', 'or a late one')
})

t.test('fewer than eight samples say nothing', async (t) => {
  t.equal(play([flat(20), flat(60, 7)]), 'SS')
  t.equal(play([flat(20), flat(60, 8)]), 'SC')
  t.equal(play([flat(20, 1), flat(60, 8)]), 'SC', 'the round before may have been a small one')
})

t.test('acknowledgements without a sample do not count, nor do rounds without any', async (t) => {
  t.equal(play([flat(20), [...flat(-1, 20), ...flat(60, 7)]]), 'SS')
  t.equal(play([flat(20), flat(-1), flat(60)]), 'SSC', 'compared with the last round that had some')
  t.equal(play([flat(Number.NaN), flat(Number.NaN)]), 'SS')
  const rise = [flat(20), flat(30), flat(-1), flat(-1), flat(-1), flat(-1), flat(-1), flat(-1)]
  t.equal(play(rise), 'SCCCCCCC')
})

t.test('a batch that was taken in at one instant is no proof of a rise', async (t) => {
  t.equal(play([flat(20), flat(60, 100)], 0), 'SS')
  t.equal(play([flat(20), flat(60, 100), flat(20, 100)], 0), 'SSS')
  // Eight in one batch, the ninth a millisecond later.
  const h = new HyStart()
  const s: AckSample = { delivered: 1, flight: 0, limited: true, rtt: 20, round: true, srtt: 0, now: 0 }
  for (let i = 0; i < 8; i++, s.round = false) h.onAck(s)
  s.now = 60
  s.rtt = 60
  s.round = true
  for (let i = 0; i < 8; i++, s.round = false) h.onAck(s)
  t.equal(h.divisor, 1)
  s.now = 61
  h.onAck(s)
  t.equal(h.divisor, 4)
})

t.test('rounds of a pausing application do not end slow start', async (t) => {
  const small = new Array<number[]>(20).fill(flat(26, 3))
  t.equal(play([flat(20), flat(26), ...small]), `SC${'C'.repeat(20)}`)
  t.equal(
    play([flat(20), flat(26), ...small, flat(21)]),
    `SC${'C'.repeat(20)}S`,
    'and leave the way back open',
  )
})

t.test('jitter below 4 ms never leaves slow start', async (t) => {
  const random = new SeededRandom(9406)
  for (const base of [0.3, 5, 20, 100, 300]) {
    const rounds: number[][] = []
    for (let n = 0; n < 300; n++) rounds.push(Array.from({ length: 10 }, () => base + 3.99 * random.next()))
    t.equal(play(rounds), 'S'.repeat(300), `${base} ms`)
  }
})

t.test(
  'late wake-ups of tens of milliseconds do not end slow start while some samples are on time',
  async (t) => {
    const random = new SeededRandom(1)
    const rounds: number[][] = []
    for (let n = 0; n < 300; n++) {
      rounds.push(
        Array.from({ length: 16 }, () => 20 + (random.chance(0.6) ? 40 * random.next() : random.next())),
      )
    }
    t.notMatch(play(rounds), /X/)
  },
)

t.test('a queue that doubles with the window is seen before it overflows', async (t) => {
  // 100 segments fit the path of 50 ms, and as many its queue: the window may reach 200.
  const h = new HyStart()
  const s: AckSample = { delivered: 1, flight: 0, limited: true, rtt: -1, round: false, srtt: 0, now: 0 }
  let cwnd = 10
  let over = false
  while (!over && cwnd <= 200) {
    const sent = Math.floor(cwnd)
    s.round = true
    for (let i = 0; i < sent && !over; i++) {
      s.rtt = 50 + Math.max(0, (sent - 100) * 0.5)
      s.now += 0.5
      over = h.onAck(s)
      s.round = false
      cwnd += 1 / h.divisor
    }
  }
  t.ok(over || h.divisor === 4, 'found')
})

t.test('after a reset nothing is compared with what was before', async (t) => {
  const h = new HyStart()
  t.equal(play([flat(20), flat(26)], 1, h), 'SC')
  h.reset()
  t.equal(h.divisor, 1)
  t.equal(play([flat(80), flat(80)], 1, h), 'SS')
})
