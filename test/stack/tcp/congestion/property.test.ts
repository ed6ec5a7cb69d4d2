/** Whatever happens in whatever order, the windows stay within their bounds. */
import fc from 'fast-check'
import t from 'tap'
import type { AckSample, CongestionController } from '../../../../stack/tcp/congestion/controller.js'
import { Cubic } from '../../../../stack/tcp/congestion/cubic.js'
import { NewReno } from '../../../../stack/tcp/congestion/newreno.js'

const octets = fc.oneof(fc.nat(100_000), fc.nat(2 ** 30), fc.constantFrom(0, 1, 2 ** 30, 2 ** 31))
const span = fc.oneof(fc.double({ min: 0, max: 500, noNaN: true }), fc.constantFrom(0, 1e6, 1e12))
const rtt = fc.oneof(fc.double({ min: 0, max: 1000, noNaN: true }), fc.constantFrom(-1, 0))

const event = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('acks' as const),
      times: fc.integer({ min: 1, max: 40 }),
      delivered: octets,
      limited: fc.boolean(),
      rtt,
      span,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('congestion' as const), flight: octets }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('cwnd' as const), octets }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('recovered' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('timeout' as const), flight: octets, first: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('undo' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('idle' as const), span }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('syn' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('mss' as const), mss: fc.integer({ min: 1, max: 65_495 }) }),
  },
)

const makers: readonly [string, () => CongestionController][] = [
  ['NewReno', () => new NewReno()],
  ['CUBIC', () => new Cubic()],
]

for (const [name, create] of makers) {
  t.test(`${name}: any sequence of events keeps cwnd, ssthresh and growth within bounds`, async () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const cc = create()
        let mss = 1000
        let now = 0
        cc.setMss(mss)
        const s: AckSample = {
          delivered: 0,
          flight: 0,
          limited: true,
          rtt: -1,
          round: false,
          srtt: 0,
          now: 0,
        }
        const check = (what: string, ok: boolean): void => {
          if (!ok) throw new Error(`${what}: cwnd ${cc.cwnd}, ssthresh ${cc.ssthresh}, mss ${mss}`)
        }
        for (const e of events) {
          switch (e.kind) {
            case 'acks':
              for (let i = 0; i < e.times; i++) {
                const before = cc.cwnd
                const slowStart = before < cc.ssthresh
                now += e.span
                s.delivered = e.delivered
                s.flight = before
                s.limited = e.limited
                s.rtt = e.rtt
                s.srtt = Math.max(0, e.rtt)
                s.round = i % 10 === 0
                s.now = now
                cc.onAck(s)
                const grown = cc.cwnd - before
                check('an ACK shrinks', grown >= 0)
                check('not limited', e.limited || grown === 0)
                if (slowStart) check('slow start', grown <= Math.min(e.delivered, 64 * mss))
                else if (name === 'CUBIC')
                  check('avoidance', grown <= e.delivered + 1 && grown <= before / 2 + mss)
                else check('avoidance', grown <= mss)
              }
              break
            case 'congestion': {
              const before = Math.max(cc.cwnd, cc.ssthresh === Number.POSITIVE_INFINITY ? 0 : cc.ssthresh)
              const cwnd = cc.cwnd
              cc.onCongestion(e.flight, now)
              check('ssthresh rises', cc.ssthresh <= Math.max(before, 2 * mss))
              check('ssthresh above flight', cc.ssthresh <= Math.max(e.flight, 2 * mss))
              check('cwnd is not led', cc.cwnd === cwnd)
              break
            }
            case 'cwnd':
              cc.setCwnd(e.octets)
              break
            case 'recovered':
              cc.onRecovered(now)
              break
            case 'timeout':
              cc.onTimeout(e.flight, e.first, now)
              check('loss window', cc.cwnd === mss)
              break
            case 'undo': {
              const before = cc.cwnd
              cc.undo(now)
              check('undo shrinks', cc.cwnd >= before)
              break
            }
            case 'idle': {
              const before = cc.cwnd
              now += e.span
              cc.onIdle(e.span, now)
              check('idle grows', cc.cwnd <= before)
              break
            }
            case 'syn':
              cc.onSynLost()
              break
            case 'mss':
              mss = e.mss
              cc.setMss(mss)
              break
          }
          check('cwnd', Number.isInteger(cc.cwnd) && cc.cwnd >= mss && cc.cwnd <= 2 ** 30)
          check('ssthresh', cc.ssthresh >= 2 * mss)
        }
      }),
      { numRuns: 400, seed: 9438 },
    )
  })
}
