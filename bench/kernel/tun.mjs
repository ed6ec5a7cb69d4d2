/**
 * `node bench/kernel/tun.mjs`: goodput of our stack beside the kernel's over the same path, which is a relay in this
 * process between kernel TUN devices in namespaces. How and why: docs/beside-the-kernel.md. Needs root and gcc.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, release } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { summary, table } from '../lib/stats.mjs'
import { buildTools, flow, World } from './harness.mjs'
import { RESULTS, show } from './report.mjs'

const USAGE = `usage: node bench/kernel/tun.mjs [options]
  --rounds N     flows of each kind in a cell (default 9; 5 where nothing is lost)
  --seconds S    length of a flow (default 8; where packets are lost, at least 60 round trips)
  --rate MBIT    of the path (default 100)
  --loss LIST    percent (default 0,0.1,1,3)
  --rtt LIST     milliseconds (default 20,100,300)
  --reorder PCT  the additional cells' (default 5; 0: none)
  --only LIST    of download,upload (default both)
  --seed N       (default 1)
  --stack DIR    the build to measure (default dist)
  --json         the results as JSON on stdout`

const MSS = 1348
/** Mbit/s that flows running at the same time may be expected to have together; the relay carries twice that. */
const BUDGET = 150
const MOST = 40

/** @param {string} text */
const numbers = (text) => text.split(',').filter(Boolean).map(Number)

function options() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string', default: '8' },
      rate: { type: 'string', default: '100' },
      loss: { type: 'string', default: '0,0.1,1,3' },
      rtt: { type: 'string', default: '20,100,300' },
      reorder: { type: 'string', default: '5' },
      only: { type: 'string', default: 'download,upload' },
      seed: { type: 'string', default: '1' },
      stack: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    process.exit(0)
  }
  return {
    ...values,
    rounds: values.rounds === undefined ? undefined : Number(values.rounds),
    seconds: Number(values.seconds),
    rate: Number(values.rate),
    loss: numbers(values.loss),
    rtt: numbers(values.rtt),
    reorder: Number(values.reorder),
    only: values.only.split(','),
    seed: Number(values.seed),
    stack: pathToFileURL(resolve(values.stack ?? new URL('../../dist', import.meta.url).pathname)).href,
  }
}

/**
 * @typedef {{ direction: 'download' | 'upload', loss: number, rtt: number, reorder: number }} Cell
 * @typedef {{ cell: Cell, round: number, cost: number, ms: number }} Pair
 * @typedef {{ ours: import('../../test/interop/kernel/flow.ts').FlowResult[],
 *   kernel: import('../../test/interop/kernel/flow.ts').FlowResult[] }} Results
 */

const wanted = options()

/** What one flow may be expected to have: the square-root law, with room for CUBIC. @param {Cell} cell */
function expected({ loss, rtt, reorder }) {
  if (loss === 0) return reorder > 0 ? wanted.rate / 2 : wanted.rate
  return Math.min(wanted.rate, (2.5 * MSS * 8) / (rtt * 1000 * Math.sqrt(loss / 100)))
}

/** @returns {Cell[]} */
function cells() {
  const all = []
  for (const direction of /** @type {const} */ (['download', 'upload'])) {
    if (!wanted.only.includes(direction)) continue
    for (const loss of wanted.loss)
      for (const rtt of wanted.rtt) all.push({ direction, loss, rtt, reorder: 0 })
    if (wanted.reorder > 0) {
      for (const rtt of wanted.rtt) all.push({ direction, loss: 0, rtt, reorder: wanted.reorder })
    }
  }
  return all
}

/** @param {Pair} pair @param {'ours' | 'kernel'} far @param {import('../../test/interop/kernel/world.ts').World} world */
function measure({ cell, round, ms }, far, world) {
  const rate = wanted.rate * 125
  const profile = {
    delay: cell.rtt / 2,
    rate,
    // One bandwidth-delay product, at least 20 ms.
    queue: rate * Math.max(20, cell.rtt),
    loss: cell.loss / 100,
    reorder: cell.reorder / 100,
  }
  const role = round % 2 === 0 ? /** @type {const} */ ('client') : /** @type {const} */ ('listener')
  const seed = wanted.seed * 1000 + round
  return flow(world, { direction: cell.direction, far, role, up: profile, down: profile, seed, ms })
}

/** Pairs run at the same time as far as the budget goes; those which fill the path run alone, one flow after the other. */
async function run() {
  const module = await import(`${wanted.stack}/stack/index.js`)
  const world = await World.start(buildTools(), module, { other: true })
  const list = cells()
  /** @type {Map<Cell, Results>} */
  const results = new Map(list.map((cell) => [cell, { ours: [], kernel: [] }]))
  /** @type {Pair[]} */
  const pairs = []
  for (let round = 0; round < (wanted.rounds ?? 9); round++) {
    for (const cell of list) {
      const cost = 2 * expected(cell)
      if (cell.loss === 0 && round >= (wanted.rounds ?? 5)) continue
      const ms = Math.max(wanted.seconds * 1000, cell.loss > 0 ? 60 * cell.rtt : 20 * cell.rtt)
      pairs.push({ cell, round, cost, ms })
    }
  }
  /** @param {Pair} pair @param {'ours' | 'kernel'} far */
  const one = async (pair, far) => {
    const result = await measure(pair, far, world)
    const { ours, kernel } = results.get(pair.cell) ?? { ours: [], kernel: [] }
    ;(far === 'ours' ? ours : kernel)[pair.round] = result
  }
  /** @type {('ours' | 'kernel')[]} */
  const both = ['ours', 'kernel']
  const started = performance.now()
  let done = 0
  const progress = () => {
    const s = ((performance.now() - started) / 1000).toFixed(0)
    process.stderr.write(`\r${++done}/${pairs.length} pairs, ${s} s `)
  }
  for (const pair of pairs.filter((p) => p.cost > BUDGET)) {
    for (const far of pair.round % 2 === 0 ? both : both.toReversed()) await one(pair, far)
    progress()
  }
  // The dear ones first: the cheap ones fill the gaps.
  const rest = pairs.filter((p) => p.cost <= BUDGET).sort((a, b) => b.cost - a.cost)
  let used = 0
  /** @type {Set<Promise<void>>} */
  const running = new Set()
  while (rest.length > 0 || running.size > 0) {
    const at = running.size >= MOST / 2 ? -1 : rest.findIndex((p) => used + p.cost <= BUDGET)
    const [pair] = at < 0 ? [] : rest.splice(at, 1)
    if (pair === undefined) {
      await Promise.race(running)
      continue
    }
    used += pair.cost
    const promise = Promise.all(both.map((far) => one(pair, far))).then(() => {
      used -= pair.cost
      running.delete(promise)
      progress()
    })
    running.add(promise)
    // Connections that start at the same instant would share every burst.
    await new Promise((resolve) => setTimeout(resolve, 37))
  }
  process.stderr.write('\n')
  const dropped = (await world.kernel.dropped()) + ((await world.other?.dropped()) ?? 0)
  const seconds = (performance.now() - started) / 1000
  world.close()
  return { results, dropped, seconds }
}

/** @param {readonly { goodput: number }[]} flows */
const goodputs = (flows) => summary(flows.map((f) => f.goodput))

const { results, dropped, seconds } = await run()
const rows = [...results].map(([cell, { ours, kernel }]) => {
  const [a, b] = [goodputs(ours), goodputs(kernel)]
  return {
    ...cell,
    rounds: ours.length,
    ours: a,
    kernel: b,
    ratio: a.median / b.median,
    flows: { ours, kernel },
  }
})
const text = ['download', 'upload']
  .filter((d) => wanted.only.includes(d))
  .map((direction) => {
    const head = ['path', 'RTT ms', 'ours Mbit/s', 'kernel Mbit/s', 'ours / kernel']
    const lines = rows
      .filter((r) => r.direction === direction)
      .map((r) => [
        r.reorder > 0 ? `${r.reorder} % reordered` : `${r.loss} % lost`,
        String(r.rtt),
        show(r.ours),
        show(r.kernel),
        r.ratio.toFixed(2),
      ])
    return `${direction === 'download' ? 'Download: the kernel sends' : 'Upload: sent to a kernel'}\n\n${table(head, lines)}`
  })
  .join('\n\n')
const packets = rows.flatMap((r) => [...r.flows.ours, ...r.flows.kernel])
const late = packets.reduce((sum, f) => sum + f.late, 0) / packets.reduce((sum, f) => sum + f.sent, 0)
const setting = `Node ${process.version}, Linux ${release()}, ${cpus().length} cores, ${wanted.rate} Mbit/s, ${seconds.toFixed(0)} s, seed ${wanted.seed}`
const notes = `${setting}. Dropped by the devices: ${dropped}; left the relay more than 2 ms late: ${(late * 100).toFixed(2)} %.`
await mkdir(RESULTS, { recursive: true })
await writeFile(new URL('kernel-tun.md', RESULTS), `${text}\n\n${notes}\n`)
await writeFile(
  new URL('kernel-tun.json', RESULTS),
  `${JSON.stringify({ setting, dropped, late, rows }, null, 1)}\n`,
)
console.log(wanted.json ? JSON.stringify({ setting, dropped, late, rows }) : `${text}\n\n${notes}`)
