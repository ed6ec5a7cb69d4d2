/**
 * `npm run bench`: the product beside the same work done by plain Node, in one run, in turns.
 * What it measures and how to read it: bench/README.md.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { endAll } from './lib/child.mjs'
import { Lab } from './lib/lab.mjs'
import { connections, connectionsTable } from './sections/connections.mjs'
import { latency, latencyTable } from './sections/latency.mjs'
import { backPressure, backPressureTable, memory, memoryTable } from './sections/memory.mjs'
import { profile } from './sections/profile.mjs'
import { stacks, stacksTable } from './sections/stacks.mjs'
import { throughput, throughputTable } from './sections/throughput.mjs'
import { virtual, virtualTable } from './sections/virtual.mjs'

const MANY = 10_000
const CHURN = 100_000
const USAGE = `usage: npm run bench -- [options]
  --rounds N     rounds of each comparison (default 5)
  --seconds S    length of one stream (default 1)
  --only NAMES   of throughput,latency,memory,slow,virtual,stacks,connections (comma between; default all but
                 connections, which takes minutes and ${MANY} open files for each process)
  --many N       idle connections at once, for connections (default ${MANY})
  --churn N      connections one after the other, for connections (default ${CHURN})
  --slow [MIB]   the slow reader reads that much (default 60 MiB, 1024 if no number is given): a second each
  --against DIR  another build's dist folder, measured beside this one
  --profile      where the bridge spends its time, instead of all that
  --json         the results as JSON on stdout`

const NAMES = ['throughput', 'latency', 'memory', 'slow', 'virtual', 'stacks']
const ASKED = [...NAMES, 'connections']
const RESULTS = new URL('results/', import.meta.url)
const MIB = 2 ** 20
/** Beside the slow reader, whose time is known. */
const LONGEST = 360_000

/** @param {string[]} argv */
function options(argv) {
  // `--slow` alone has a value too.
  const at = argv.indexOf('--slow')
  const args = at >= 0 && !/^\d+$/.test(argv[at + 1] ?? '') ? argv.with(at, '--slow=1024') : argv
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '1' },
      only: { type: 'string', default: NAMES.join(',') },
      slow: { type: 'string', default: '60' },
      many: { type: 'string', default: String(MANY) },
      churn: { type: 'string', default: String(CHURN) },
      against: { type: 'string' },
      profile: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const only = values.only.split(',')
  const rounds = Number(values.rounds)
  const seconds = Number(values.seconds)
  if (
    !(rounds >= 1 && seconds > 0 && Number(values.slow) > 0 && Number(values.many) > 1000) ||
    !(Number(values.churn) >= 0) ||
    only.some((name) => !ASKED.includes(name))
  ) {
    throw new TypeError('an option has no sense')
  }
  return {
    ...values,
    only,
    rounds: Math.floor(rounds),
    seconds,
    slow: Number(values.slow) * MIB,
    many: Number(values.many),
    churn: Number(values.churn),
    against: values.against === undefined ? undefined : `${pathToFileURL(resolve(values.against)).href}/`,
    note: (/** @type {string} */ text) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
    },
  }
}

function environment() {
  const all = cpus()
  const model = all[0]?.model.trim() ?? 'unknown processor'
  const { platform, arch, versions } = process
  return `Node ${versions.node}, OpenSSL ${versions.openssl}, ${platform} ${arch}, ${all.length} x ${model}`
}

/** @param {ReturnType<typeof options>} o */
async function main(o) {
  await mkdir(RESULTS, { recursive: true })
  const lab = await Lab.open()
  if (o.profile) {
    const tables = await profile(lab, { ...o, seconds: Math.max(o.seconds, 4), folder: RESULTS })
    process.stdout.write(`${environment()}\n\n${tables}\n`)
    return
  }
  /** @type {Record<string, unknown>} */
  const json = { environment: environment(), rounds: o.rounds, seconds: o.seconds }
  const text = [`${environment()}. Median of ${o.rounds} rounds [min-max], ratios within a round.`]
  const section = async (/** @type {string} */ name, run, show) => {
    if (!o.only.includes(name)) return
    const result = await run(lab, o)
    json[name] = result
    text.push(show(result))
    if (result.failed === true) status = 1
  }
  await section('throughput', throughput, throughputTable)
  await section('latency', latency, latencyTable)
  await section('memory', memory, memoryTable)
  await section('slow', backPressure, backPressureTable)
  await section('virtual', virtual, virtualTable)
  await section('stacks', stacks, stacksTable)
  await section('connections', connections, connectionsTable)
  o.note('')
  const markdown = `${text.join('\n\n')}\n`
  await writeFile(new URL('latest.md', RESULTS), markdown)
  await writeFile(new URL('latest.json', RESULTS), `${JSON.stringify(json, undefined, 1)}\n`)
  process.stdout.write(o.json ? `${JSON.stringify(json)}\n` : markdown)
}

let status = 0
/** @type {NodeJS.Timeout | undefined} */
let watchdog
try {
  const o = options(process.argv.slice(2))
  if (o.help) {
    process.stdout.write(`${USAGE}\n`)
  } else {
    watchdog = setTimeout(
      () => {
        process.stderr.write('\nbench: it takes too long\n')
        process.exit(1)
      },
      LONGEST * Math.max(1, (o.rounds * o.seconds) / 5) + (o.slow / MIB) * 1500 + (o.many + o.churn) * 10,
    )
    await main(o)
  }
} catch (error) {
  const usage = error instanceof TypeError && !('cause' in error)
  process.stderr.write(`\nbench: ${error instanceof Error ? (usage ? error.message : error.stack) : error}\n`)
  if (usage) process.stderr.write(`${USAGE}\n`)
  status = usage ? 2 : 1
} finally {
  clearTimeout(watchdog)
  endAll()
}
process.exitCode = status
