/**
 * The bridge beside Linux's own SSTP client, over the lab's server and the same path: a taste of what
 * bench/kernel/lab.mjs measures at length. What is asserted leaves room for noise; the table is in the docs.
 */
import { createHash } from 'node:crypto'
import t from 'tap'
import { Race, type Transfer, type Way, type Weather, type Who } from './kernel/race.js'

const CELLS: readonly { weather: Weather; way: Way; bytes: number }[] = [
  { weather: { delay: 10, loss: 1 }, way: 'download', bytes: 3 << 18 },
  { weather: { delay: 10, loss: 1 }, way: 'upload', bytes: 3 << 18 },
  { weather: { delay: 50 }, way: 'upload', bytes: 1 << 20 },
]
/** At the same time, twice: the loss of one packet decides much. */
const TRANSFERS = 4

const race = await Race.start()
t.teardown(() => race.close())
await race.connectKernel()
const settings = await race.settings()
t.match(settings, /tcp_congestion_control = cubic/, 'the inner host sends with CUBIC')

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0

for (const { weather, way, bytes } of CELLS) {
  await t.test(`${way}, ${JSON.stringify(weather)}`, async (t) => {
    await race.weather(weather)
    const done: Record<Who, Transfer[]> = { ours: [], kernel: [] }
    for (const who of ['ours', 'kernel', 'kernel', 'ours'] as const) {
      done[who].push(...(await race.transfer(who, way, bytes, TRANSFERS)))
    }
    if (way === 'upload') {
      const sent = createHash('sha256').update(race.data.subarray(0, bytes)).digest('hex')
      for (const { sha256 } of done.ours) t.equal(sha256, sent, 'what arrived is what was sent')
    }
    const rate = (who: Who) => median(done[who].map((d) => (d.bytes * 8) / d.ms / 1000))
    const [ours, kernel] = [rate('ours'), rate('kernel')]
    t.comment(`${ours.toFixed(2)} and ${kernel.toFixed(2)} Mbit/s: ${(ours / kernel).toFixed(2)}`)
    t.ok(ours > 0.7 * kernel, 'the bridge keeps up with the kernel')
  })
}
