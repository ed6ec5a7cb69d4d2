/**
 * `node bench/kernel/lab.mjs`: the bridge beside Linux's own SSTP client, same server, same path, same octets, in turns.
 * How and why: docs/beside-the-kernel.md. Needs root, the lab and a build in dist.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { summary, table } from '../lib/stats.mjs'
import { Race } from './harness.mjs'
import { RESULTS, show } from './report.mjs'

const USAGE = `usage: node bench/kernel/lab.mjs [options]
  --rounds N     turns of each client in a cell (default 4, with up to 6 transfers each)
  --seconds S    that a transfer is meant to take (default 5)
  --loss LIST    percent (default 0,0.1,1,3)
  --delay LIST   milliseconds each way (default 10,50,150)
  --reorder PCT  the additional cells' (default 5; 0: none)
  --only LIST    of download,upload (default both)
  --idle         let the processors sleep: the guests wake late then (see docs/beside-the-kernel.md)
  --json         the results as JSON on stdout`

const MSS = 1348
/** Mbit/s that the lab's server passes, about. */
const LIMIT = { download: 16, upload: 32 }
const LARGEST = 16 << 20

/** @typedef {import('../../test/interop/kernel/race.ts').Way} Way */
/** @typedef {import('../../test/interop/kernel/race.ts').Who} Who */
/** @typedef {{ way: Way, delay: number, loss: number, reorder: number }} Cell */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '4' },
    seconds: { type: 'string', default: '5' },
    loss: { type: 'string', default: '0,0.1,1,3' },
    delay: { type: 'string', default: '10,50,150' },
    reorder: { type: 'string', default: '5' },
    only: { type: 'string', default: 'download,upload' },
    idle: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (values.help) {
  console.log(USAGE)
  process.exit(0)
}
/** @param {string} text */
const numbers = (text) => text.split(',').filter(Boolean).map(Number)
const rounds = Number(values.rounds)
const delays = numbers(values.delay)
const reorder = Number(values.reorder)
const ways = /** @type {Way[]} */ (values.only.split(','))
/** What the link is set to, in the order of the table. */
const weathers = [
  ...numbers(values.loss).flatMap((loss) => delays.map((delay) => ({ delay, loss, reorder: 0 }))),
  ...(reorder > 0 ? delays.map((delay) => ({ delay, loss: 0, reorder })) : []),
]

/** How much to transfer, and how many at once, so that the server is not the limit if it need not be. @param {Cell} cell */
function plan({ way, delay, loss, reorder }) {
  const limit = LIMIT[way]
  // The square-root law; packets that overtake by half a round trip cost about as much as a loss of 0.1 %.
  const share = reorder > 0 ? 0.1 : loss
  const one =
    share === 0 ? limit : Math.min(limit, (1.5 * MSS * 8) / (2 * delay * 1000 * Math.sqrt(share / 100)))
  const bytes = Math.min(LARGEST, Math.round(one * 125_000 * Number(values.seconds)))
  return { bytes, count: Math.max(1, Math.min(6, Math.floor(limit / 2 / one))) }
}

/** @type {{ cell: Cell, bytes: number, count: number, goodputs: Record<Who, number[]> }[]} */
const results = []
const started = performance.now()
// Waking a processor costs a guest more than its work.
const race = await Race.start({ awake: !values.idle })
try {
  for (const weather of weathers) {
    await race.weather(weather)
    // Its guest lives four minutes at most.
    await race.connectKernel()
    for (const way of ways) {
      const cell = { way, ...weather }
      const { bytes, count } = plan(cell)
      /** @type {Record<Who, number[]>} */
      const goodputs = { ours: [], kernel: [] }
      for (let round = 0; round < rounds; round++) {
        for (const who of /** @type {Who[]} */ (round % 2 === 0 ? ['ours', 'kernel'] : ['kernel', 'ours'])) {
          for (const { ms } of await race.transfer(who, way, bytes, count)) {
            goodputs[who].push((bytes * 8) / ms / 1000)
          }
        }
      }
      results.push({ cell, bytes, count, goodputs })
      const seconds = ((performance.now() - started) / 1000).toFixed(0)
      process.stderr.write(`\r${results.length}/${weathers.length * ways.length} cells, ${seconds} s `)
    }
    await race.disconnectKernel()
  }
} finally {
  process.stderr.write('\n')
  await race.close()
}

const rows = results.map(({ cell, bytes, count, goodputs }) => {
  const [ours, kernel] = [summary(goodputs.ours), summary(goodputs.kernel)]
  return { ...cell, bytes, count, ours, kernel, ratio: ours.median / kernel.median, goodputs }
})
const text = ways
  .map((way) => {
    const head = [
      'inner link',
      'delay ms each way',
      'MB, transfers',
      'ours Mbit/s',
      'kernel Mbit/s',
      'ours / kernel',
    ]
    const lines = rows
      .filter((r) => r.way === way)
      .map((r) => [
        r.reorder > 0 ? `${r.reorder} % reordered` : `${r.loss} % lost`,
        String(r.delay),
        `${(r.bytes / 1e6).toFixed(1)}, ${r.goodputs.ours.length}`,
        show(r.ours),
        show(r.kernel),
        r.ratio.toFixed(2),
      ])
    return `${way === 'download' ? 'Download' : 'Upload'}\n\n${table(head, lines)}`
  })
  .join('\n\n')
const seconds = ((performance.now() - started) / 1000).toFixed(0)
const setting = `Node ${process.version}, Linux ${release()}, ${cpus().length} cores, ${seconds} s.`
await mkdir(RESULTS, { recursive: true })
await writeFile(new URL('kernel-lab.md', RESULTS), `${text}\n\n${setting}\n`)
await writeFile(new URL('kernel-lab.json', RESULTS), `${JSON.stringify({ setting, rows }, null, 1)}\n`)
console.log(values.json ? JSON.stringify({ setting, rows }) : `${text}\n\n${setting}`)
