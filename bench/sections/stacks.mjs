/** Two stacks of each kind back to back in one process, without any input or output: stacks/README.md. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Child } from '../lib/child.mjs'
import { ratio, show, spread, table } from '../lib/stats.mjs'

const run = promisify(execFile)
const MIB = 2 ** 20
/** Octets that are compared before anything is timed. */
const CHECKED = 64 * MIB
const BUILD = 300_000
const SLOWEST = 60_000

const WORK = [
  { name: 'bulk', title: 'one long stream, MB', scale: 1e-6 },
  { name: 'small', title: 'segments of 64 octets, thousands', scale: 1e-3 },
  { name: 'connect', title: 'connections with an octet each way, thousands', scale: 1e-3 },
]

/** The window of Debian's lwIP is fixed when the library is built. */
const OTHERS = [
  { name: 'smoltcp', build: 'smoltcp', window: MIB },
  { name: 'lwIP', build: 'lwip', window: 65_535 },
]

/** @typedef {{ count: number, packets: number, cpu: number, wall: number }} Run */

/**
 * @param {unknown} _lab
 * @param {{ rounds: number, seconds: number, against: string | undefined, note(text: string): void }} options
 */
export async function stacks(_lab, { rounds, seconds, against, note }) {
  const ours = new Child('../stacks/ours')
  const other = against === undefined ? undefined : new Child('../stacks/ours', { BENCH_DIST: against })
  const length = seconds / 2
  /** @param {Child} child @param {string} work @param {number} window @param {number[]} rest @returns {Promise<Run>} */
  const ask = (child, work, window, ...rest) => child.askFor(SLOWEST, work, window, ...rest)
  /** @param {string} program @param {string} work @param {...number} rest @returns {Promise<Run>} */
  const start = async (program, work, ...rest) =>
    JSON.parse((await run(program, [work, ...rest.map(String)], { timeout: SLOWEST })).stdout)

  /** @type {{ work: string, peer: string, window: number, ours: number[], theirs: number[] }[]} */
  const rows = []
  /** @type {string[]} */
  const faults = []
  const peers = []
  if (other !== undefined) {
    const window = MIB
    peers.push({ name: 'the other build', window, measure: ask.bind(undefined, other) })
  }
  for (const { name, build, window } of OTHERS) {
    note(`stacks: building ${name}`)
    try {
      const script = fileURLToPath(new URL('../stacks/build.sh', import.meta.url))
      const program = (await run('bash', [script, build], { timeout: BUILD })).stdout.trim()
      peers.push({ name, window, measure: start.bind(undefined, program) })
    } catch (error) {
      faults.push(`${name}: ${error instanceof Error ? error.message.trim() : error}`)
    }
  }
  for (const { name, window, measure } of peers) {
    note(`stacks: comparing octets, ${name}`)
    await ask(ours, 'bulk', window, length, CHECKED)
    await measure('bulk', window, 0, CHECKED)
    for (const work of WORK) rows.push({ work: work.name, peer: name, window, ours: [], theirs: [] })
  }
  // What is compiled while it runs, is compiled by now.
  for (const child of other === undefined ? [ours] : [ours, other])
    for (const { name } of WORK) await ask(child, name, MIB, length, 0)
  for (let round = 1; round <= rounds; round++) {
    note(`stacks: round ${round} of ${rounds}`)
    for (const row of rows) {
      const measure = peers.find(({ name }) => name === row.peer)?.measure
      const rest = row.work === 'bulk' ? [length, 0] : [length]
      const mine = await ask(ours, row.work, row.window, ...rest)
      const theirs = await measure?.(row.work, row.window, ...rest)
      row.ours.push(mine.count / mine.cpu)
      row.theirs.push(theirs === undefined ? Number.NaN : theirs.count / theirs.cpu)
    }
  }
  ours.end()
  other?.end()
  return { rows, faults, failed: faults.length > 0 }
}

/** @param {Awaited<ReturnType<typeof stacks>>} result */
export function stacksTable({ rows, faults }) {
  const head = ['for each CPU second', 'window', 'beside', 'this stack', 'the other', 'this / other']
  const lines = rows.map(({ work, peer, window, ours, theirs }) => {
    const { title, scale } = WORK.find(({ name }) => name === work) ?? { title: work, scale: 1 }
    const rate = (/** @type {number[]} */ values) => spread(values.map((value) => value * scale))
    return [
      title,
      `${Math.round(window / 1024)} KiB`,
      peer,
      rate(ours),
      rate(theirs),
      show(ratio(ours, theirs)),
    ]
  })
  return [table(head, lines), ...faults.map((fault) => `FAILED: ${fault}`)].join('\n\n')
}
