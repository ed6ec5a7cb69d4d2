/** Ten thousand idle connections at once, and a hundred thousand one after the other, through bridge, tunnel and `serve`. */
import { execFileSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { pause } from '../lib/lab.mjs'
import { digits, quantile, table } from '../lib/stats.mjs'
import { plainSockets } from './memory.mjs'
import { stream } from './throughput.mjs'

/** @typedef {import('../lib/lab.mjs').Lab} Lab */
/** @typedef {import('../lib/lab.mjs').Subject} Subject */

const KB = 1e3
const MB = 1e6
/** Those that pay for what a heap grows by once. */
const FIRST = 1000
const STEP = 1000
const SETTLE = 1000
const IDLE = 2000
const LOAD = 2
const REQUESTS = 100
const SLOWEST = 120_000
/** Descriptors that a process has besides its connections. */
const OTHER_FILES = 200
const CHURNED = 10_000

/**
 * @param {Lab} lab
 * @param {{ many: number, churn: number, note(text: string): void }} options
 */
export async function connections(lab, { many, churn, note }) {
  const files = openFiles()
  const wanted = many + OTHER_FILES
  if (files < wanted) {
    throw new Error(
      `each process needs ${wanted} open files and may have ${files}: raise \`ulimit -Hn\`, or say --many N`,
    )
  }
  const bridge = await held(lab, await lab.endToEnd(many + OTHER_FILES), many, note)
  // It has two sockets for each.
  const relay = await held(
    lab,
    await lab.socks(),
    Math.min(many, Math.floor((files - OTHER_FILES) / 2)),
    note,
  )
  const plain = await held(lab, await plainSockets(lab), many, note)
  const subject = await lab.endToEnd(many + OTHER_FILES)
  try {
    return { many, held: [bridge, relay, plain], churned: await churned(lab, subject, churn, note) }
  } finally {
    end(subject)
  }
}

/**
 * Memory by what is held, and what else is as it was.
 *
 * @param {Lab} lab
 * @param {Subject} subject
 * @param {number} many
 * @param {(text: string) => void} note
 */
async function held(lab, subject, many, note) {
  const { name, process, server, ways } = subject
  const both = async () => ({
    own: await process.ask('usage', true),
    server: await server?.ask('usage', true),
  })
  const rate = async () =>
    ways.source === undefined ? 0 : (await stream(lab, subject, 'download', LOAD)).mbps
  const delay = async () =>
    ways.answer === undefined
      ? 0
      : quantile((await lab.client.askFor(SLOWEST, 'requests', ways.answer, REQUESTS, 1)).times, 0.5)
  try {
    const before = { rate: await rate(), delay: await delay() }
    await pause(SETTLE)
    const idle = await both()
    let first = idle
    const began = Date.now()
    for (let n = 0; n < many; n += STEP) {
      note(`${name}: ${n} of ${many} connections`)
      await lab.client.askFor(SLOWEST, 'hold', ways.hold, Math.min(STEP, many - n))
      if (n + STEP === FIRST) {
        await pause(SETTLE)
        first = await both()
      }
    }
    const opening = Date.now() - began
    await pause(SETTLE)
    const all = await both()
    await pause(IDLE)
    const later = await process.ask('usage')
    const after = { rate: await rate(), delay: await delay() }
    const per = (
      /** @type {{ rss: number }} */ a,
      /** @type {{ rss: number }} */ b,
      /** @type {number} */ n,
    ) => (b.rss - a.rss) / n / KB
    const heap = (/** @type {any} */ u) => u.heap + u.external
    await lab.client.askFor(SLOWEST, 'release', true)
    await pause(SETTLE)
    const left = subject.server === undefined ? undefined : await process.ask('left')
    return {
      name,
      opening,
      first: per(idle.own, first.own, FIRST),
      each: per(first.own, all.own, many - FIRST),
      heap: (heap(all.own) - heap(first.own)) / (many - FIRST) / KB,
      server: idle.server === undefined ? undefined : per(idle.server, all.server, many),
      busy: (later.cpu - all.own.cpu) / ((later.at - all.own.at) / 1000),
      rate: after.rate / before.rate,
      delay: after.delay / before.delay,
      left,
    }
  } finally {
    end(subject)
  }
}

/**
 * One after the other (as many at a time as there are cores): each is opened and reset.
 *
 * @param {Lab} lab
 * @param {Subject} subject
 * @param {number} count
 * @param {(text: string) => void} note
 */
async function churned(lab, { process, server, ways }, count, note) {
  const began = Date.now()
  let first = 0
  for (let n = 0; n < count; n += CHURNED) {
    note(`${n} of ${count} connections one after the other`)
    await lab.client.askFor(SLOWEST, 'churn', ways.hold, Math.min(CHURNED, count - n), availableParallelism())
    if (n === 0) first = (await process.ask('usage', true)).rss
  }
  const seconds = (Date.now() - began) / 1000
  await pause(SETTLE)
  const last = await process.ask('usage', true)
  return {
    count,
    seconds,
    grown: (last.rss - first) / MB,
    left: await process.ask('left'),
    server: await server?.ask('left'),
  }
}

/** @param {Subject} subject */
function end({ process, server }) {
  process.end()
  server?.end()
}

/** That a process may have; Node raises the soft limit to the hard one by itself. */
function openFiles() {
  if (process.platform === 'win32') return Number.POSITIVE_INFINITY
  const most = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim()
  return most === 'unlimited' ? Number.POSITIVE_INFINITY : Number(most)
}

/** @param {Awaited<ReturnType<typeof connections>>} section */
export function connectionsTable({ many, held: subjects, churned: c }) {
  const head = [
    `${many} idle connections`,
    'KB each, the first 1000',
    'KB each, the others',
    'of these JS heap and buffers',
    'serve, KB each',
    'seconds to open all',
    'CPU while idle',
    'then a download, of its speed before',
    'and a connection, of its time before',
  ]
  const number = (/** @type {number | undefined} */ n) =>
    n === undefined || !Number.isFinite(n) ? '-' : digits(n)
  const rows = subjects.map((s) => [
    s.name,
    number(s.first),
    number(s.each),
    number(s.heap),
    number(s.server),
    number(s.opening / 1000),
    `${digits(100 * s.busy)} %`,
    number(s.rate),
    number(s.delay),
  ])
  const [bridge, relay, plain] = subjects
  const times = (/** @type {number | undefined} */ other) =>
    digits((bridge?.each ?? Number.NaN) / (other ?? Number.NaN))
  const left = (/** @type {unknown} */ what) => JSON.stringify(what)
  return `${table(head, rows)}

A connection of the bridge takes ${times(plain?.each)} times what a plain Node socket takes, and ${times(relay?.each)} times what a plain SOCKS5 relay takes, which has two. Left when all were closed: ${left(bridge?.left)}.

${c.count} connections one after the other, each reset by the client: ${digits(c.seconds)} s; from the first ${CHURNED} to the last the bridge has grown by ${digits(c.grown)} MB. Left of them: ${left(c.left)}; at the server: ${left(c.server)}.`
}
