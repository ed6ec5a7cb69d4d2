/** NewReno, and what it shares with CUBIC: each rule of RFC 5681, 3465, 6928, 7661 for both. */
import t from 'tap'
import type { CongestionController } from '../../../../stack/tcp/congestion/controller.js'
import { Cubic } from '../../../../stack/tcp/congestion/cubic.js'
import { NewReno } from '../../../../stack/tcp/congestion/newreno.js'
import { Acks } from './acks.js'

const MSS = 1000

function reno(mss = MSS): NewReno {
  const cc = new NewReno()
  cc.setMss(mss)
  return cc
}

const both: readonly [string, number, () => CongestionController][] = [
  ['NewReno', 0.5, () => new NewReno()],
  ['CUBIC', 0.7, () => new Cubic()],
]

for (const [name, beta, create] of both) {
  function made(mss = MSS): CongestionController {
    const cc = create()
    cc.setMss(mss)
    return cc
  }

  t.test(`${name}: the initial window is that of RFC 6928, until something was acknowledged`, async (t) => {
    const cc = create()
    t.equal(cc.name, name === 'CUBIC' ? 'cubic' : 'newreno')
    for (const [mss, window] of [
      [536, 5360],
      [1220, 12200],
      [1460, 14600],
      [1500, 14600],
      [7000, 14600],
      [8960, 17920],
    ] as const) {
      cc.setMss(mss)
      t.equal(cc.cwnd, window, `MSS ${mss}`)
    }
    t.equal(cc.ssthresh, Number.POSITIVE_INFINITY)
    cc.setMss(1000)
    new Acks(cc).one(1000)
    cc.setMss(500)
    t.equal(cc.cwnd, 11_000, 'later it stays')
  })

  t.test(
    `${name}: after a lost SYN the initial window is one segment, of the size agreed later`,
    async (t) => {
      const cc = made(536)
      cc.onSynLost()
      t.equal(cc.cwnd, 536)
      cc.setMss(1460)
      t.equal(cc.cwnd, 1460)
      cc.setMss(500)
      t.equal(cc.cwnd, 500)
      new Acks(cc).one(500)
      t.equal(cc.cwnd, 1000)
      cc.onSynLost()
      t.equal(cc.cwnd, 1000, 'too late')
    },
  )

  t.test(`${name}: slow start adds what was delivered, at most 64 segments each time`, async (t) => {
    const cc = made()
    const acks = new Acks(cc)
    t.equal(acks.one(1), 1)
    t.equal(acks.one(1000), 1000)
    t.equal(acks.one(64_000), 64_000)
    t.equal(acks.one(64_001), 64_000)
    t.equal(acks.one(1e9), 64_000)
    t.equal(acks.one(0), 0)
  })

  t.test(`${name}: slow start ends exactly at ssthresh`, async (t) => {
    const cc = made()
    cc.onTimeout(20_000, true, 0)
    const target = Math.max(10_000 * beta, 2000)
    t.equal(cc.ssthresh, target)
    const acks = new Acks(cc)
    acks.one(2000)
    t.equal(cc.cwnd, 3000)
    acks.one(8000)
    t.equal(cc.cwnd, target)
  })

  t.test(`${name}: nothing grows unless cwnd is the limit`, async (t) => {
    const cc = made()
    const acks = new Acks(cc)
    acks.limited = false
    for (let i = 0; i < 100; i++) t.equal(acks.one(2000), 0)
    acks.loss()
    const reached = cc.cwnd
    for (let i = 0; i < 1000; i++) {
      acks.now += 100
      acks.one(2000)
    }
    t.equal(cc.cwnd, reached)
  })

  t.test(`${name}: loss sets ssthresh only; the caller leads cwnd there`, async (t) => {
    const cc = made()
    cc.setCwnd(100_000)
    cc.onCongestion(80_000, 0)
    t.equal(cc.ssthresh, 80_000 * beta)
    t.equal(cc.cwnd, 100_000)
    cc.setCwnd(70_123)
    t.equal(cc.cwnd, 70_123)
    cc.onRecovered(10)
    t.equal(cc.cwnd, 80_000 * beta)
    cc.setCwnd(30_000)
    cc.onRecovered(20)
    t.equal(cc.cwnd, 30_000, 'only once')
  })

  t.test(`${name}: what limited transmit let out does not raise ssthresh`, async (t) => {
    const cc = made()
    cc.onCongestion(12_000, 0)
    t.equal(cc.ssthresh, 10_000 * beta)
  })

  t.test(`${name}: a second event in one recovery counts from where the first one led`, async (t) => {
    const cc = made()
    cc.setCwnd(100_000)
    cc.onCongestion(100_000, 0)
    cc.setCwnd(3000)
    cc.onCongestion(90_000, 0)
    t.equal(cc.ssthresh, Math.floor(100_000 * beta * beta))
  })

  t.test(`${name}: ssthresh is never below two segments, cwnd never below one`, async (t) => {
    const cc = made()
    cc.onCongestion(0, 0)
    t.equal(cc.ssthresh, 2000)
    cc.setCwnd(0)
    t.equal(cc.cwnd, 1000)
    cc.setCwnd(-5)
    t.equal(cc.cwnd, 1000)
    cc.setMss(3000)
    t.equal(cc.cwnd, 3000)
    t.equal(cc.ssthresh, 6000)
    cc.onTimeout(0, true, 0)
    t.equal(cc.ssthresh, 6000)
    t.equal(cc.cwnd, 3000)
  })

  t.test(`${name}: cwnd is whole octets and ends at the largest window there is`, async (t) => {
    const cc = made()
    cc.setCwnd(12_345.678)
    t.equal(cc.cwnd, 12_345)
    cc.setCwnd(Number.POSITIVE_INFINITY)
    t.equal(cc.cwnd, 2 ** 30)
    const acks = new Acks(cc)
    t.equal(acks.one(1e6), 0)
    acks.loss()
    t.equal(cc.cwnd, Math.floor(2 ** 30 * beta))
  })

  t.test(`${name}: a time-out leaves one segment, and counts once for the same data`, async (t) => {
    const cc = made()
    cc.setCwnd(100_000)
    cc.onTimeout(60_000, true, 0)
    t.equal(cc.cwnd, 1000)
    t.equal(cc.ssthresh, 60_000 * beta)
    cc.onTimeout(60_000, false, 1000)
    cc.onTimeout(1000, false, 3000)
    t.equal(cc.cwnd, 1000)
    t.equal(cc.ssthresh, 60_000 * beta)
    cc.onRecovered(4000)
    t.equal(cc.cwnd, 1000, 'slow start, not recovery')
  })

  t.test(
    `${name}: undo brings back what was before the loss, also after it was recovered from`,
    async (t) => {
      for (const recovered of [false, true]) {
        const cc = made()
        cc.setCwnd(100_000)
        cc.onCongestion(90_000, 0)
        cc.setCwnd(50_000)
        if (recovered) cc.onRecovered(5)
        cc.undo(10)
        t.equal(cc.cwnd, 100_000)
        t.equal(cc.ssthresh, Number.POSITIVE_INFINITY)
        t.equal(new Acks(cc).one(1000), 1000, 'slow start goes on')
        cc.onRecovered(20)
        t.equal(cc.cwnd, 101_000, 'there is no recovery any more')
      }
    },
  )

  t.test(`${name}: undo of a loss that nobody has acted on yet`, async (t) => {
    const cc = made()
    cc.onCongestion(10_000, 0)
    cc.undo(0)
    t.equal(cc.cwnd, 10_000)
    t.equal(cc.ssthresh, Number.POSITIVE_INFINITY)
  })

  t.test(`${name}: undo of a time-out, however often it was repeated`, async (t) => {
    const cc = made()
    const acks = new Acks(cc)
    acks.loss()
    const { cwnd, ssthresh } = cc
    cc.onTimeout(cwnd, true, acks.now)
    cc.onTimeout(cwnd, false, acks.now + 400)
    cc.onTimeout(cwnd, false, acks.now + 1200)
    acks.one(1000)
    cc.undo(acks.now + 2000)
    t.equal(cc.cwnd, cwnd)
    t.equal(cc.ssthresh, ssthresh)
  })

  t.test(`${name}: undo of a time-out during recovery leads to where the recovery led`, async (t) => {
    const cc = made()
    cc.setCwnd(100_000)
    cc.onCongestion(100_000, 0)
    cc.setCwnd(4000)
    cc.onTimeout(80_000, true, 10)
    t.equal(cc.ssthresh, Math.floor(Math.min(80_000, 100_000 * beta) * beta))
    cc.undo(20)
    t.equal(cc.cwnd, 100_000 * beta)
    t.equal(cc.ssthresh, 100_000 * beta)
  })

  t.test(`${name}: a time-out during recovery ends it`, async (t) => {
    const cc = made()
    cc.setCwnd(100_000)
    cc.onCongestion(100_000, 0)
    cc.onTimeout(50_000, true, 10)
    cc.onRecovered(20)
    t.equal(cc.cwnd, 1000)
  })

  t.test(`${name}: undo of a second event in one recovery leaves the first`, async (t) => {
    const cc = made()
    cc.setCwnd(100_000)
    cc.onCongestion(100_000, 0)
    cc.onCongestion(100_000, 1)
    cc.undo(2)
    t.equal(cc.cwnd, 100_000)
    t.equal(cc.ssthresh, 100_000 * beta)
    cc.onRecovered(3)
    t.equal(cc.cwnd, 100_000 * beta)
  })

  t.test(
    `${name}: undo after a change of the segment size keeps ssthresh at two of the new ones`,
    async (t) => {
      const cc = made()
      cc.onTimeout(0, true, 0)
      t.equal(cc.ssthresh, 2000)
      cc.onCongestion(1000, 1)
      cc.setMss(3000)
      cc.undo(2)
      t.equal(cc.ssthresh, 6000)
      t.equal(cc.cwnd, 3000)
    },
  )

  t.test(`${name}: undo counts once, needs a cause, and never lowers cwnd`, async (t) => {
    const cc = made()
    cc.undo(0)
    t.equal(cc.cwnd, 10_000)
    const acks = new Acks(cc)
    acks.loss()
    cc.undo(0)
    cc.setCwnd(3000)
    cc.undo(0)
    t.equal(cc.cwnd, 3000)
    cc.setCwnd(20_000)
    acks.loss()
    cc.setCwnd(90_000)
    const { ssthresh } = cc
    cc.undo(0)
    t.equal(cc.cwnd, 90_000)
    t.equal(cc.ssthresh, ssthresh, 'it is too late')
  })

  t.test(`${name}: after idling cwnd is the restart window and ssthresh stays`, async (t) => {
    const cc = made()
    cc.setCwnd(100_000)
    new Acks(cc).loss()
    const { ssthresh } = cc
    cc.onIdle(2000, 5000)
    t.equal(cc.cwnd, 10_000)
    t.equal(cc.ssthresh, ssthresh)
    t.equal(new Acks(cc).one(1000), 1000, 'slow start')
    cc.setCwnd(4000)
    cc.onIdle(2000, 9000)
    t.equal(cc.cwnd, 4000, 'no more than there was')
    cc.undo(9000)
    t.equal(cc.cwnd, 4000, 'a loss before the pause is history')
  })

  t.test(`${name}: the first slow start ends when round trips grow longer, later ones do not`, async (t) => {
    const cc = made()
    const acks = new Acks(cc)
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 10; i++) {
        acks.now += 1
        acks.one(1000, 50 + 10 * round, i === 0)
      }
    }
    // Round 0 and eight of round 1 count whole; the rest of it, four rounds and the one that ends it a quarter.
    t.equal(cc.ssthresh, 10_000 + 10_000 + 8000 + 250 * (2 + 40 + 1))
    const before = cc.cwnd
    t.ok(before - cc.ssthresh < 10_000, 'congestion avoidance')
    cc.onTimeout(before, true, acks.now)
    const { ssthresh } = cc
    for (let i = 0; cc.cwnd < ssthresh; i++) {
      acks.now += 1
      const room = ssthresh - cc.cwnd
      t.equal(acks.one(1000, 50 + 50 * i, i % 10 === 0), Math.min(1000, room))
    }
    t.equal(cc.ssthresh, ssthresh)
  })

  t.test(`${name}: a pause before the first loss makes round-trip times begin anew`, async (t) => {
    const cc = made()
    const acks = new Acks(cc)
    for (let i = 0; i < 10; i++, acks.now++) acks.one(1000, 50, i === 0)
    cc.onIdle(5000, acks.now)
    for (let i = 0; i < 10; i++, acks.now++) t.equal(acks.one(1000, 90, i === 0), 1000)
  })
}

t.test('congestion avoidance of NewReno adds one segment for each window', async (t) => {
  const cc = reno()
  cc.setCwnd(40_000)
  const acks = new Acks(cc)
  acks.loss()
  t.equal(cc.cwnd, 20_000)
  for (let i = 0; i < 19; i++) t.equal(acks.one(1000), 0)
  t.equal(acks.one(1000), 1000)
  for (let i = 0; i < 20; i++) t.equal(acks.one(1000), 0)
  t.equal(acks.one(1000), 1000)
  for (let n = 0; n < 100; n++) acks.window(1000)
  t.ok(Math.abs(cc.cwnd - 122_000) <= 1000, `${cc.cwnd}`)
})

t.test('one acknowledgement of many windows adds one segment and leaves no credit', async (t) => {
  const cc = reno()
  cc.setCwnd(40_000)
  const acks = new Acks(cc)
  acks.loss()
  t.equal(acks.one(1_000_000), 1000)
  t.equal(acks.one(1000), 0)
})

t.test('what was counted towards the next segment survives a mistaken loss, not a real one', async (t) => {
  for (const mistaken of [true, false]) {
    const cc = reno()
    cc.setCwnd(40_000)
    const acks = new Acks(cc)
    acks.loss()
    for (let i = 0; i < 19; i++) acks.one(1000)
    cc.onCongestion(20_000, 0)
    if (mistaken) cc.undo(0)
    else cc.onRecovered(0)
    t.equal(acks.one(1000), mistaken ? 1000 : 0)
  }
})
