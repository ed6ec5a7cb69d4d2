/**
 * The bridge beside Linux's own SSTP client, over the lab's server and the same path: a taste of what
 * bench/kernel/lab.mjs measures at length. The table is in the docs.
 *
 * What is asserted must not be a matter of luck, nor of what else the machine does. So the path is so long that its round
 * trips and not the processors make the time, and the better of two transfers counts; and where packets are lost they are
 * the same ones for both, and what counts is how many more it takes, since a few round trips more or less are chance.
 */
import { createHash } from 'node:crypto'
import t from 'tap'
import { Race, type Way, type Who } from './kernel/race.js'

/** Milliseconds each way. */
const DELAY = 150
/** One of `every` packets of each direction is lost; 0: none. */
const CELLS: readonly { way: Way; bytes: number; every: number }[] = [
  { way: 'download', bytes: 1 << 20, every: 0 },
  { way: 'upload', bytes: 1 << 20, every: 0 },
  { way: 'download', bytes: 1 << 19, every: 100 },
  { way: 'upload', bytes: 1 << 19, every: 100 },
]
const TURNS: readonly Who[] = ['ours', 'kernel', 'kernel', 'ours']

const race = await Race.start()
t.teardown(() => race.close())
await race.connectKernel()
await race.weather({ delay: DELAY })
const settings = await race.settings()
t.match(settings, /tcp_congestion_control = cubic/, 'the inner host sends with CUBIC')

for (const { way, bytes, every } of CELLS) {
  await t.test(`${way}, ${every > 0 ? `one of ${every} packets lost` : 'no losses'}`, async (t) => {
    const sent = createHash('sha256').update(race.data.subarray(0, bytes)).digest('hex')
    const rates: Record<Who, number> = { ours: 0, kernel: 0 }
    const packets: Record<Who, number> = { ours: 0, kernel: 0 }
    for (const who of TURNS) {
      await race.everyLost(every)
      for (const { ms, sha256 } of await race.transfer(who, way, bytes)) {
        if (way === 'upload') t.equal(sha256, sent, 'what arrived is what was sent')
        const rate = (bytes * 8) / ms / 1000
        const passed = (await race.passed())[way]
        t.comment(`${who}: ${rate.toFixed(2)} Mbit/s, ${passed} packets`)
        rates[who] = Math.max(rates[who], rate)
        packets[who] += passed
      }
    }
    t.comment(
      `${(rates.ours / rates.kernel).toFixed(2)} of the rate, ${packets.ours / packets.kernel} of the packets`,
    )
    if (every === 0) t.ok(rates.ours > 0.7 * rates.kernel, 'the bridge keeps up with the kernel')
    else t.ok(packets.ours < 1.3 * packets.kernel, 'what is lost costs the bridge no more than the kernel')
  })
}
