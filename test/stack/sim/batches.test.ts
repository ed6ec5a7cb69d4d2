/**
 * Ends that work in batches, as a process with an event loop does: what comes within some milliseconds is taken at
 * once, and answered at once.
 */
import t from 'tap'
import { path, Simulation } from '../../helpers/sim.js'

/** 100 Mbit/s, in octets a millisecond. */
const RATE = 12_500
const RTT = 100

for (const grain of [1, 3, 10]) {
  t.test(
    `with a grain of ${grain} ms slow start is as fast, and a real loss is never taken back`,
    async (t) => {
      const sim = new Simulation(path(RATE, RTT), 1)
      const flow = sim.bulk('up')
      const { pair } = sim
      const until = (end: number): void => {
        while (pair.now < end) {
          pair.settle()
          pair.now = Math.max(pair.now + grain, Math.ceil(pair.next / grain) * grain)
        }
      }
      until(pair.now + 3000)
      const early = flow.received
      until(pair.now + 5000)
      const { counters } = pair.a
      // Six doublings of ten segments, and losses where they went too far.
      t.ok(early > 0.4 * 3000 * RATE, `${early} octets in the first three seconds`)
      t.ok(flow.received - early > 0.9 * 5000 * RATE, `${flow.received - early} octets in the next five`)
      t.equal(counters.spuriousRecoveries, 0)
      t.equal(counters.timeouts, 0)
      t.ok(counters.retransmissions < 3000, `${counters.retransmissions} sent again`)
      sim.finish()
    },
  )
}
