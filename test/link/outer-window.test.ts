import t from 'tap'
import { OuterWindow } from '../../src/link/outer-window.js'
import { SeededRandom } from '../helpers/random.js'

/** A path of that rate and round trip behind a window, whose writer always has more. */
class Path {
  readonly window = new OuterWindow()
  rate: number
  trip: number
  now = 0
  arrived = 0
  /** Octets in front of the bottleneck at most, since it was last set to 0. */
  queue = 0
  private busyUntil = 0
  private readonly answers: { readonly at: number; readonly number: number }[] = []

  constructor(rate: number, trip: number) {
    this.rate = rate
    this.trip = trip
  }

  /** `answers` false: the other end reads and says nothing. */
  run(ms: number, answers = true): void {
    const end = this.now + ms
    const { window } = this
    while (this.now < end) {
      for (let most = window.room; most > 0; most = window.room) {
        if ((this.busyUntil - this.now) * this.rate > 262_144) break
        const n = Math.min(Math.ceil(Math.min(most, window.batch) / 1400) * 1400, 65_536)
        const marked = window.wantsMark(n)
        const { number } = window
        window.handedOut(n, marked, true, this.now)
        this.busyUntil = Math.max(this.busyUntil, this.now) + n / this.rate
        this.arrived += n
        this.queue = Math.max(this.queue, (this.busyUntil - this.now) * this.rate)
        if (marked && answers) this.answers.push({ at: this.busyUntil + this.trip, number })
      }
      this.now += 1
      while ((this.answers[0]?.at ?? Number.POSITIVE_INFINITY) <= this.now) {
        const answer = this.answers.shift()
        if (answer !== undefined) window.onAnswer(answer.number, answer.at)
      }
    }
  }
}

t.test('rate, round trip and a queue that is bounded, with the path full', async (t) => {
  for (const [rate, trip] of [
    [125, 40],
    [1250, 20],
    [1250, 100],
    [6250, 300],
  ] as const) {
    const path = new Path(rate, trip)
    path.run(12_000)
    const name = `${rate} octets a millisecond, ${trip} ms`
    t.ok(Math.abs(path.window.rate / rate - 1) < 0.1, `${name}: a rate of ${path.window.rate}`)
    t.ok(path.window.roundTrip < trip * 1.2 + 40, `${name}: a round trip of ${path.window.roundTrip}`)
    path.queue = 0
    const from = path.arrived
    path.run(10_000)
    t.ok(
      path.arrived - from > 0.97 * rate * 10_000,
      `${name}: ${(path.arrived - from) / rate / 10_000} of the rate`,
    )
    t.ok(path.queue / rate < 0.8 * trip + 40 + (3 * 4200) / rate, `${name}: ${path.queue / rate} ms of queue`)
  }
})

t.test('a path that becomes slower, longer, faster', async (t) => {
  const path = new Path(1250, 20)
  path.run(10_000)
  path.rate = 250
  path.run(25_000)
  path.queue = 0
  path.run(2000)
  t.ok(path.queue / 250 < 100, `slower: ${path.queue / 250} ms of queue`)
  path.trip = 120
  path.rate = 2500
  path.run(25_000)
  const from = path.arrived
  path.run(4000)
  t.ok(path.arrived - from > 0.95 * 2500 * 4000, `faster and longer: ${(path.arrived - from) / 1e7}`)
})

t.test('an other end that never answers is not waited for, nor asked again', async (t) => {
  const path = new Path(1250, 20)
  let marks = 0
  path.run(1000, false)
  for (let i = 0; i < 100; i++) if (path.window.wantsMark(65_536)) marks++
  t.equal(path.window.room, Number.POSITIVE_INFINITY)
  t.equal(marks, 0)
})

t.test(
  'one that answered and stops, but still sends, is not waited for any more after ten seconds',
  async (t) => {
    const path = new Path(1250, 20)
    path.run(2000)
    path.run(500, false)
    const { window } = path
    t.ok(window.room <= 0)
    window.heard(1000, path.now)
    window.heard(1000, path.now + 9000)
    t.ok(window.room <= 0, 'a stall may last')
    window.heard(1000, path.now + 10_001)
    t.equal(window.room, Number.POSITIVE_INFINITY)
  },
)

t.test('answers to nothing, twice, and from the past change nothing', async (t) => {
  const path = new Path(1250, 20)
  path.run(3000)
  const { window } = path
  const before = JSON.stringify(window)
  for (const number of [window.number, window.number + 1, window.number - 1000, 0, 0xffffffff, 0x80000000]) {
    window.onAnswer(number, path.now)
  }
  t.equal(JSON.stringify(window), before)
})

t.test('whatever is answered and when: numbers stay numbers, and the writer gets on', async (t) => {
  for (let seed = 1; seed <= 50; seed++) {
    const r = new SeededRandom(seed)
    const w = new OuterWindow()
    let now = 1
    let stuck = 0
    for (let i = 0; i < 5000; i++) {
      if (r.chance(0.3)) now += r.next() * (r.chance(0.05) ? 4000 : 10)
      const { room } = w
      if (room > 0) {
        const n = 1 + r.below(3000)
        w.handedOut(n, w.wantsMark(n) && !r.chance(0.01), r.chance(0.7), now)
        stuck = 0
      } else if (++stuck > 20) {
        w.onAnswer((w.number - 1) >>> 0, now)
        stuck = 0
        if (!(w.room > 0)) t.fail(`seed ${seed}: all is answered, and there is no room`)
      }
      if (r.chance(0.1)) w.onAnswer((w.number - 1 - r.below(8)) >>> 0, now)
      if (r.chance(0.1)) w.heard(r.below(5000), now)
      if (!(w.limit >= 4096 && w.rate >= 0 && w.roundTrip >= 0 && w.batch >= 4096)) t.fail(`seed ${seed}`)
    }
  }
  t.pass('50 seeds')
})
