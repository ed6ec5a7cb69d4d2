/** What a process holds: idle, under load, for each connection, and in front of a slow reader. */
import { pause } from '../lib/lab.mjs'
import { digits, spread, summary, table } from '../lib/stats.mjs'
import { stream } from './throughput.mjs'

/** @typedef {import('../lib/lab.mjs').Lab} Lab */
/** @typedef {import('../lib/lab.mjs').Subject} Subject */
/** @typedef {{ rounds: number, note(text: string): void }} Options */

const MB = 1e6
const CONNECTIONS = 1000
const ROUNDS = 3
const SETTLE = 400
const LOAD = 1

/**
 * New processes each round: what a heap has grown to once is not given back.
 *
 * @param {Lab} lab
 * @param {Options} options
 */
export async function memory(lab, { rounds, note }) {
  /** @type {(() => Promise<Subject>)[]} */
  const makers = [() => lab.bridge('large'), () => lab.relay('large'), () => plainSockets(lab)]
  /** @type {Map<string, Record<'idle' | 'peak' | 'first' | 'added' | 'heap', number[]>>} */
  const results = new Map()
  for (let round = 0; round < Math.min(rounds, ROUNDS); round++) {
    for (const make of makers) {
      const subject = await make()
      note(`round ${round + 1}: memory, ${subject.name}`)
      const mine = results.get(subject.name) ?? { idle: [], peak: [], first: [], added: [], heap: [] }
      results.set(subject.name, mine)
      try {
        const idle = await subject.process.ask('usage', true)
        mine.idle.push(idle.rss / MB)
        const { hold } = subject.ways
        if (hold !== undefined) {
          // The first ones also pay for what a heap grows by once.
          await lab.client.askFor(30_000, 'hold', hold, CONNECTIONS)
          await pause(SETTLE)
          const first = await subject.process.ask('usage', true)
          await lab.client.askFor(30_000, 'hold', hold, CONNECTIONS)
          await pause(SETTLE)
          const held = await subject.process.ask('usage', true)
          const per = 1000 / CONNECTIONS / MB
          mine.first.push((first.rss - idle.rss) * per)
          mine.added.push((held.rss - first.rss) * per)
          mine.heap.push((held.heap + held.external - first.heap - first.external) * per)
          await lab.client.askFor(30_000, 'release')
        }
      } finally {
        subject.process.end()
      }
      const peak = await loaded(lab, make)
      if (peak !== undefined) mine.peak.push(peak / MB)
    }
  }
  return { results: Object.fromEntries(results), connections: CONNECTIONS }
}

/**
 * The peak of one that has carried streams and nothing else.
 *
 * @param {Lab} lab
 * @param {() => Promise<Subject>} make
 * @returns {Promise<number | undefined>}
 */
async function loaded(lab, make) {
  const subject = await make()
  try {
    if (subject.ways.source === undefined) return undefined
    await stream(lab, subject, 'download', LOAD)
    await stream(lab, subject, 'upload', LOAD)
    return (await subject.process.ask('usage')).peak
  } finally {
    subject.process.end()
  }
}

/** A process that accepts and keeps: what Node itself takes for a socket. @param {Lab} lab @returns {Promise<Subject>} */
export async function plainSockets(lab) {
  const { process, peer } = await lab.socks()
  const port = await process.ask('hold')
  return { name: 'plain Node sockets', process, peer, ways: { hold: { port } } }
}

/** @param {Awaited<ReturnType<typeof memory>>} section */
export function memoryTable({ results, connections }) {
  const cell = (/** @type {number[]} */ values) => (values.length === 0 ? '-' : spread(values))
  const rows = Object.entries(results).map(([name, r]) => [
    name,
    cell(r.idle),
    cell(r.peak),
    cell(r.first),
    cell(r.added),
    cell(r.heap),
  ])
  const head = [
    'memory, MB',
    'RSS idle',
    'RSS peak under load',
    '+ first 1000 idle connections',
    '+ next 1000',
    'of these JS heap and buffers',
  ]
  const added = (/** @type {string} */ name) => summary(results[name]?.added ?? []).median
  const times = digits(added('bridge') / added('plain Node sockets'))
  return `${table(head, rows)}\n\nA connection of the bridge takes ${times} times what a plain Node socket takes (the second ${connections}).`
}

const MIB = 2 ** 20
const RATE = MIB

/**
 * A download into a reader that takes 1 MiB a second.
 *
 * @param {Lab} lab
 * @param {{ slow: number, note(text: string): void }} options `slow`: octets to read
 */
export async function backPressure(lab, { slow, note }) {
  const subject = await lab.bridge('large')
  const { process, ways } = subject
  try {
    const before = await process.ask('usage', true)
    await lab.client.ask('slow', ways.source, RATE)
    const began = Date.now()
    const limit = (slow / RATE) * 1500 + 10_000
    const series = []
    let read = 0
    while (read < slow) {
      if (Date.now() - began > limit) throw new Error(`the slow reader has only had ${read} octets`)
      await pause(Math.min(1000, ((slow - read) / RATE) * 1000 + 50))
      const [usage, held, count] = await Promise.all([
        process.ask('usage'),
        process.ask('held'),
        lab.client.ask('count'),
      ])
      read = count.bytes
      series.push({
        seconds: (Date.now() - began) / 1000,
        read,
        rss: usage.rss,
        heap: usage.heap,
        buffers: usage.external,
        held: held.readable + held.queued,
      })
      note(
        `slow reader: ${digits(read / MIB)} of ${digits(slow / MIB)} MiB, RSS ${digits(usage.rss / MB)} MB`,
      )
    }
    const after = await process.ask('usage')
    await lab.client.ask('stop')
    return {
      bytes: read,
      seconds: (Date.now() - began) / 1000,
      idle: before.rss,
      peak: after.peak,
      last: after.rss,
      heap: Math.max(...series.map((s) => s.heap)),
      buffers: Math.max(...series.map((s) => s.buffers)),
      held: Math.max(...series.map((s) => s.held)),
      series,
    }
  } finally {
    process.end()
  }
}

/** @param {Awaited<ReturnType<typeof backPressure>>} s */
export function backPressureTable(s) {
  const mb = (/** @type {number} */ n) => digits(n / MB)
  const head = [
    'download into a reader of 1 MiB/s',
    'RSS idle',
    'RSS at the end',
    'RSS peak',
    'heap peak',
    'buffers peak',
    'held by the stack, most',
  ]
  const name = `${digits(s.bytes / MIB)} MiB in ${digits(s.seconds)} s, MB`
  return table(head, [[name, mb(s.idle), mb(s.last), mb(s.peak), mb(s.heap), mb(s.buffers), mb(s.held)]])
}
