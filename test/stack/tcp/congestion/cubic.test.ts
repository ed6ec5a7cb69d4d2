/** CUBIC against the formulas of RFC 9438, and its rules one by one. */
import t from 'tap'
import { Cubic } from '../../../../stack/tcp/congestion/cubic.js'
import { Acks } from './acks.js'

const MSS = 1000
const C = 0.4
const ALPHA = (3 * 0.3) / 1.7

/** The RFC's own: segments and seconds. */
function wCubic(wMax: number, epoch: number, t: number): number {
  const k = Math.cbrt((wMax - epoch) / C)
  return C * (t - k) ** 3 + wMax
}

/** W_est in closed form: alpha for each round trip, 1 from the window before the reduction on. */
function wEst(prior: number, epoch: number, t: number, rtt: number): number {
  const rounds = t / rtt
  const slow = Math.max(0, (prior - epoch) / ALPHA)
  return rounds < slow ? epoch + ALPHA * rounds : epoch + ALPHA * slow + (rounds - slow)
}

interface Flow {
  cc: Cubic
  acks: Acks
}

function flow(segments: number, rtt: number, mss = MSS): Flow {
  const cc = new Cubic()
  cc.setMss(mss)
  const acks = new Acks(cc)
  acks.srtt = rtt
  cc.setCwnd(segments * mss)
  return { cc, acks }
}

/** Acknowledgements at the rate of the window for `seconds`; `see` is called with the time and cwnd in segments. */
function run({ cc, acks }: Flow, seconds: number, mss = MSS, see?: (t: number, w: number) => void): void {
  const from = acks.now
  const end = from + seconds * 1000
  for (;;) {
    const step = (acks.srtt * mss) / cc.cwnd
    if (acks.now + step > end) break
    acks.now += step
    acks.one(mss)
    see?.((acks.now - from) / 1000, cc.cwnd / mss)
  }
  acks.now = end
}

/** The largest relative error of a run against a formula. */
function worst(f: Flow, seconds: number, formula: (t: number) => number, mss = MSS): number {
  let error = 0
  run(f, seconds, mss, (t, w) => {
    error = Math.max(error, Math.abs(w / formula(t) - 1))
  })
  return error
}

t.test('ten seconds without loss at 100 ms follow the cubic curve', async (t) => {
  const f = flow(400, 100)
  f.acks.loss()
  t.equal(f.cc.cwnd, 280_000)
  const k = Math.cbrt(120 / C)
  t.ok(k > 6 && k < 7, 'both sides of the plateau are in it')
  const error = worst(f, 10, (at) => wCubic(400, 280, at))
  t.ok(error < 0.02, `${error}`)
  t.ok(f.cc.cwnd > 405_000)
})

t.test('ten seconds without loss at 10 ms are in the Reno-friendly region', async (t) => {
  const f = flow(20, 10)
  f.acks.loss()
  t.equal(f.cc.cwnd, 14_000)
  const error = worst(f, 10, (at) => Math.max(wCubic(20, 14, at), wEst(20, 14, at, 0.01)))
  t.ok(error < 0.02, `${error}`)
  t.ok(Math.abs(f.cc.cwnd / MSS - 1000) < 20, 'a segment for each round trip')
})

t.test('below the window before the loss the Reno-friendly window grows by alpha', async (t) => {
  const f = flow(100, 10)
  f.acks.loss()
  const error = worst(f, 0.5, (at) => Math.max(wCubic(100, 70, at), wEst(100, 70, at, 0.01)))
  t.ok(error < 0.02, `${error}`)
  t.ok(f.cc.cwnd / MSS > 70 + 0.95 * ALPHA * 50 && f.cc.cwnd / MSS < 70 + 50, `${f.cc.cwnd}`)
})

t.test('a flow that passes from one region to the other takes the larger of both', async (t) => {
  const f = flow(60, 60)
  f.acks.loss()
  const error = worst(f, 20, (at) => Math.max(wCubic(60, 42, at), wEst(60, 42, at, 0.06)))
  t.ok(error < 0.03, `${error}`)
})

t.test('the segment size scales the curve', async (t) => {
  const f = flow(400, 100, 200)
  f.acks.loss()
  const error = worst(f, 10, (at) => wCubic(400, 280, at), 200)
  t.ok(error < 0.02, `${error}`)
})

t.test('fast convergence: a loss below the last plateau puts the next one lower', async (t) => {
  const f = flow(400, 100)
  f.acks.loss()
  run(f, 3)
  const before = f.cc.cwnd / MSS
  t.ok(before < 400 && before > 350)
  f.acks.loss()
  const epoch = f.cc.cwnd / MSS
  const error = worst(f, 8, (at) => wCubic((before * 1.7) / 2, epoch, at))
  t.ok(error < 0.02, `${error}`)
})

t.test('a loss above the last plateau is the next plateau', async (t) => {
  const f = flow(400, 100)
  f.acks.loss()
  run(f, 11)
  const before = f.cc.cwnd / MSS
  t.ok(before > 420)
  f.acks.loss()
  const epoch = f.cc.cwnd / MSS
  const error = worst(f, 8, (at) => wCubic(before, epoch, at))
  t.ok(error < 0.02, `${error}`)
})

t.test('after a time-out the curve starts on its plateau', async (t) => {
  const f = flow(400, 300)
  f.acks.loss()
  run(f, 9)
  f.cc.onTimeout(f.cc.cwnd, true, f.acks.now)
  while (f.cc.cwnd < f.cc.ssthresh) f.acks.one(MSS)
  const epoch = f.cc.cwnd / MSS
  const error = worst(f, 8, (at) => wCubic(epoch, epoch, at))
  t.ok(error < 0.02, `${error}`)
})

t.test('a loss in the slow start after a time-out has a plateau again', async (t) => {
  const f = flow(400, 100)
  f.cc.onTimeout(400_000, true, f.acks.now)
  t.equal(f.cc.ssthresh, 280_000)
  while (f.cc.cwnd < 200_000) f.acks.one(MSS)
  f.acks.loss()
  t.equal(f.cc.cwnd, 140_000)
  // Less than the 400 of before: fast convergence.
  const error = worst(f, 8, (at) => wCubic(170, 140, at))
  t.ok(error < 0.02, `${error}`)
})

t.test('when HyStart++ ends slow start the curve starts there too', async (t) => {
  const f = flow(300, 200)
  for (let round = 0; f.cc.ssthresh === Number.POSITIVE_INFINITY; round++) {
    for (let i = 0; i < 10; i++) {
      f.acks.now += 1
      f.acks.one(MSS, 200 + 30 * Math.min(round, 8), i === 0)
    }
  }
  const epoch = f.cc.cwnd / MSS
  f.acks.one(0)
  const error = worst(f, 8, (at) => Math.max(wCubic(epoch, epoch, at), epoch + at / 0.2))
  t.ok(error < 0.02, `${error}`)
})

t.test('a pause of the application neither grows the window nor counts as time', async (t) => {
  const paused = flow(400, 100)
  const twin = flow(400, 100)
  for (const f of [paused, twin]) {
    f.acks.loss()
    run(f, 4)
  }
  t.equal(paused.cc.cwnd, twin.cc.cwnd)
  const before = paused.cc.cwnd
  paused.acks.limited = false
  run(paused, 60)
  t.equal(paused.cc.cwnd, before)
  paused.acks.limited = true
  run(paused, 5)
  run(twin, 5)
  t.ok(Math.abs(paused.cc.cwnd - twin.cc.cwnd) < MSS, `${paused.cc.cwnd} and ${twin.cc.cwnd}`)
})

t.test('idling that leaves cwnd as it is shifts the epoch', async (t) => {
  const idle = flow(8, 500)
  const twin = flow(8, 500)
  for (const f of [idle, twin]) {
    f.acks.loss()
    run(f, 2)
  }
  t.ok(idle.cc.cwnd < 10_000, 'not above the restart window')
  idle.acks.now += 3_600_000
  idle.cc.onIdle(3_600_000, idle.acks.now)
  run(idle, 2)
  run(twin, 2)
  t.ok(Math.abs(idle.cc.cwnd - twin.cc.cwnd) < MSS, `${idle.cc.cwnd} and ${twin.cc.cwnd}`)
})

t.test('after an idle restart and its slow start a new epoch leads to the old plateau', async (t) => {
  const f = flow(400, 100)
  f.acks.loss()
  run(f, 5)
  f.acks.now += 60_000
  f.cc.onIdle(60_000, f.acks.now)
  t.equal(f.cc.cwnd, 10_000)
  while (f.cc.cwnd < f.cc.ssthresh) f.acks.one(MSS)
  t.equal(f.cc.cwnd, 280_000)
  const error = worst(f, 8, (at) => wCubic(400, 280, at))
  t.ok(error < 0.02, `${error}`)
})

/** What a sender does in the course of a mistake, before it finds out. */
const mistakes: readonly [string, (f: Flow) => void][] = [
  [
    'a loss found out at once',
    ({ cc, acks }) => {
      cc.onCongestion(cc.cwnd, acks.now)
      cc.setCwnd(cc.cwnd / 2)
    },
  ],
  [
    'a loss found out after its recovery, with an epoch of its own',
    (f) => {
      f.acks.loss()
      run(f, 0.2)
    },
  ],
  [
    'time-outs',
    ({ cc, acks }) => {
      cc.onTimeout(cc.cwnd, true, acks.now)
      cc.onTimeout(cc.cwnd, false, acks.now + 1000)
    },
  ],
  [
    'a time-out, slow start and an epoch of its own',
    (f) => {
      f.cc.onTimeout(f.cc.cwnd, true, f.acks.now)
      while (f.cc.cwnd < f.cc.ssthresh) f.acks.one(MSS)
      run(f, 0.2)
    },
  ],
]

for (const [what, mistake] of mistakes) {
  t.test(`undo restores everything: ${what}`, async (t) => {
    for (const [segments, rtt, first] of [
      [400, 100, 4],
      [100, 10, 0.3],
    ] as const) {
      const f = flow(segments, rtt)
      const twin = flow(segments, rtt)
      for (const one of [f, twin]) {
        one.acks.loss()
        run(one, first)
        one.acks.one(0)
      }
      const { now } = f.acks
      mistake(f)
      // The link outside stood still for five seconds. The time of the mistake does not count.
      f.acks.now += 5000
      f.cc.undo(f.acks.now)
      t.equal(f.cc.cwnd, twin.cc.cwnd)
      t.equal(f.cc.ssthresh, twin.cc.ssthresh)
      f.acks.now = now + 65_536
      f.acks.one(0)
      twin.acks.now = now
      for (let i = 0; i < 1500; i++) {
        f.acks.now += 1
        twin.acks.now += 1
        f.acks.one(MSS)
        twin.acks.one(MSS)
        // The clocks differ, and so may the last digit of the sum of times.
        if (Math.abs(f.cc.cwnd - twin.cc.cwnd) > 1) return t.fail(`different after ${i}`)
      }
      // W_max is the old one as well: the next loss is treated alike.
      f.acks.loss()
      twin.acks.loss()
      run(f, 3)
      run(twin, 3)
      t.ok(Math.abs(f.cc.cwnd - twin.cc.cwnd) <= 3, `${f.cc.cwnd} and ${twin.cc.cwnd}`)
    }
  })
}

t.test('undo at once restores even the fraction of an octet', async (t) => {
  const f = flow(400, 100)
  const twin = flow(400, 100)
  for (const one of [f, twin]) {
    one.acks.loss()
    run(one, 4)
    one.acks.one(MSS)
  }
  for (let i = 0; i < 50; i++) {
    f.cc.onCongestion(f.cc.cwnd, f.acks.now)
    f.cc.setCwnd(100_000)
    f.cc.undo(f.acks.now)
    t.equal(f.acks.one(MSS), twin.acks.one(MSS))
  }
})

t.test('a mistake in the first slow start goes on with it, and then with a curve of its own', async (t) => {
  const f = flow(50, 100)
  f.cc.onTimeout(50_000, true, f.acks.now)
  f.cc.undo(f.acks.now)
  t.equal(f.acks.one(MSS), MSS)
  f.acks.loss()
  const epoch = f.cc.cwnd / MSS
  const error = worst(f, 6, (at) => Math.max(wCubic(51, epoch, at), wEst(51, epoch, at, 0.1)))
  t.ok(error < 0.02, `${error}`)
})

t.test('a mistake in the slow start after a time-out leaves no plateau behind', async (t) => {
  const f = flow(400, 300)
  f.cc.onTimeout(400_000, true, f.acks.now)
  while (f.cc.cwnd < 200_000) f.acks.one(MSS)
  f.cc.onCongestion(200_000, f.acks.now)
  f.cc.undo(f.acks.now)
  while (f.cc.cwnd < f.cc.ssthresh) f.acks.one(MSS)
  t.equal(f.cc.cwnd, 280_000)
  const error = worst(f, 8, (at) => wCubic(280, 280, at))
  t.ok(error < 0.02, `${error}`)
})

t.test('a further time-out of the same data begins a new epoch', async (t) => {
  const f = flow(400, 300)
  f.cc.onTimeout(400_000, true, f.acks.now)
  while (f.cc.cwnd < f.cc.ssthresh) f.acks.one(MSS)
  run(f, 5)
  f.cc.onTimeout(400_000, false, f.acks.now)
  while (f.cc.cwnd < f.cc.ssthresh) f.acks.one(MSS)
  t.equal(f.cc.cwnd, 280_000)
  const error = worst(f, 8, (at) => wCubic(280, 280, at))
  t.ok(error < 0.02, `${error}`)
})

t.test(
  'a caller that goes on without saying that recovery is over begins an epoch all the same',
  async (t) => {
    const f = flow(400, 100)
    f.acks.loss()
    run(f, 11)
    const before = f.cc.cwnd
    f.cc.onCongestion(before, f.acks.now)
    f.cc.setCwnd(f.cc.ssthresh)
    f.acks.one(0)
    const epoch = f.cc.cwnd / MSS
    const error = worst(f, 8, (at) => wCubic(before / MSS, epoch, at))
    t.ok(error < 0.02, `${error}`)
    const reached = f.cc.cwnd
    f.cc.onCongestion(reached, f.acks.now)
    t.equal(f.cc.ssthresh, Math.floor(reached * 0.7))
  },
)

t.test(
  'a time-out in the middle of a recovery forgets its plateau, unless all of it was a mistake',
  async (t) => {
    for (const mistaken of [false, true]) {
      const f = flow(400, 300)
      f.acks.loss()
      run(f, 2)
      const before = f.cc.cwnd
      f.cc.onCongestion(before, f.acks.now)
      const { ssthresh } = f.cc
      f.cc.onTimeout(before, false, f.acks.now)
      t.equal(f.cc.ssthresh, ssthresh, 'the window has been cut for this already')
      if (mistaken) {
        f.cc.undo(f.acks.now)
        t.equal(f.cc.cwnd, before)
        run(f, 0.3)
        t.ok(f.cc.cwnd > before, 'on the old curve')
        continue
      }
      while (f.cc.cwnd < ssthresh) f.acks.one(MSS)
      const epoch = ssthresh / MSS
      const error = worst(f, 8, (at) => wCubic(epoch, epoch, at))
      t.ok(error < 0.02, `${error}`)
    }
  },
)

t.test('a round-trip time that falls leaves the window where it is', async (t) => {
  const f = flow(400, 2000)
  f.acks.loss()
  f.acks.now += 100
  for (let i = 0; i < 1000; i++) f.acks.one(MSS)
  const before = f.cc.cwnd
  t.ok(before > 330_000, 'it has come near the curve of two seconds later')
  f.acks.srtt = 0
  t.equal(f.acks.one(MSS), 0)
  t.equal(f.cc.cwnd, before)
})

t.test('the window grows by half of what is acknowledged at most, whatever the clock does', async (t) => {
  const f = flow(100, 100)
  f.acks.loss()
  f.acks.now += 1e12
  t.equal(f.acks.one(MSS), MSS / 2)
  f.acks.now += 1e15
  t.equal(f.acks.one(MSS), MSS / 2)
  f.acks.srtt = 1e9
  t.equal(f.acks.one(MSS), MSS / 2)
  const before = f.cc.cwnd
  f.acks.one(100 * before)
  t.equal(f.cc.cwnd, Math.floor(1.5 * before), 'and by half of the window')
})

t.test('a clock that stands still or goes back never shrinks the window', async (t) => {
  const f = flow(400, 0)
  f.acks.loss()
  for (let i = 0; i < 1000; i++) {
    if (i % 10 === 0) f.acks.now -= 1000
    const grown = f.acks.one(MSS)
    if (grown < 0 || grown > MSS) return t.fail(`${grown}`)
  }
  // W_est alone: alpha for each window.
  t.ok(f.cc.cwnd / MSS > 281.5 && f.cc.cwnd / MSS < 283, `${f.cc.cwnd}`)
})

t.test('increments of less than an octet are not lost', async (t) => {
  const cc = new Cubic()
  cc.setMss(536)
  cc.setCwnd(2 ** 29)
  const acks = new Acks(cc)
  acks.srtt = 1e6
  acks.loss()
  // Alpha segments for each window: 284 octets in 701 000 acknowledgements.
  const before = cc.cwnd
  const each = (536 * ALPHA * 536) / before
  t.ok(each < 0.001)
  acks.srtt = 0
  for (let i = 0; i < 100_000; i++) acks.one(536)
  t.ok(Math.abs(cc.cwnd - before - 100_000 * each) < 2, `${cc.cwnd - before}`)
  // The cubic curve 20 ms on: a hundredth of a segment for each.
  const epoch = cc.cwnd
  acks.now += 10
  acks.srtt = 10
  const gap = wCubic(2 ** 29 / 536, before / 536, 0.02) * 536 - epoch
  const part = (gap * 536) / epoch
  t.ok(part > 0.1 && part < 0.3, `${part}`)
  for (let i = 0; i < 5000; i++) acks.one(536)
  t.ok(Math.abs(cc.cwnd - epoch - 5000 * part) < 0.02 * 5000 * part, `${cc.cwnd - epoch}`)
})

t.test('the largest window, the smallest one and the largest segments stay in bounds', async (t) => {
  for (const [mss, window] of [
    [1, 1],
    [536, 536],
    [1460, 1460],
    [65_495, 65_495],
    [536, 2 ** 30],
    [65_495, 2 ** 30],
  ] as const) {
    const cc = new Cubic()
    cc.setMss(mss)
    cc.setCwnd(window)
    const acks = new Acks(cc)
    for (let n = 0; n < 20; n++) {
      acks.loss()
      for (let i = 0; i < 200; i++) {
        acks.now += 100
        acks.one(mss)
        if (!(cc.cwnd >= mss && cc.cwnd <= 2 ** 30)) return t.fail(`${cc.cwnd}`)
      }
    }
    t.ok(cc.cwnd >= 2 * mss)
  }
})

t.test('a new segment size in mid-flight makes no jump and keeps the plateau', async (t) => {
  for (const mss of [500, 2000]) {
    for (const mistaken of [false, true]) {
      const f = flow(400, 100)
      f.acks.loss()
      run(f, 3)
      const before = f.cc.cwnd
      if (mistaken) f.acks.loss()
      f.cc.setMss(mss)
      if (mistaken) f.cc.undo(f.acks.now)
      t.equal(f.cc.cwnd, before)
      f.acks.one(0)
      const prior = 400_000 / mss
      const epoch = before / mss
      const error = worst(f, 6, (at) => Math.max(wCubic(prior, epoch, at), wEst(prior, epoch, at, 0.1)), mss)
      t.ok(error < 0.02, `${error}`)
    }
  }
})

t.test('a new segment size beyond the plateau begins a plateau there', async (t) => {
  const f = flow(400, 200)
  f.acks.loss()
  run(f, 12)
  f.cc.setMss(500)
  f.acks.one(0)
  const epoch = f.cc.cwnd / 500
  t.ok(epoch > 900)
  const error = worst(f, 8, (at) => wCubic(epoch, epoch, at), 500)
  t.ok(error < 0.02, `${error}`)
})
