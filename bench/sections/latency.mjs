/** A new connection through SOCKS5, a short request and an answer of 1 KiB. */
import { digits, quantile, ratio, show, spread, table } from '../lib/stats.mjs'

/** @typedef {import('../lib/lab.mjs').Lab} Lab */

const SEQUENTIAL = 400
const AT_ONCE = 16
const CONCURRENT = 1200
const WARM_UP = 200

/**
 * @param {Lab} lab
 * @param {{ rounds: number, against: string | undefined, note(text: string): void }} options
 */
export async function latency(lab, { rounds, against, note }) {
  const subjects = [
    await lab.once('bridge large', () => lab.bridge('large')),
    ...(against === undefined ? [] : [await lab.once('other large', () => lab.bridge('large', against))]),
    await lab.once('socks', () => lab.socks()),
    await lab.once('end to end', () => lab.endToEnd()),
  ]
  const results = subjects.map(({ name }) => ({
    name,
    /** @type {Record<'p50' | 'p90' | 'p99' | 'rate' | 'cpu', number[]>} */
    rounds: { p50: [], p90: [], p99: [], rate: [], cpu: [] },
    requests: 0,
    /** @type {string | undefined} why it was given up */
    failure: undefined,
  }))
  for (let round = -1; round < rounds; round++) {
    for (const [i, { name, process, ways }] of subjects.entries()) {
      note(`${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}: requests, ${name}`)
      const result = results[i]
      if (result === undefined || result.failure !== undefined) continue
      const run = async (/** @type {number} */ count, /** @type {number} */ atOnce) => {
        const done = await lab.client.askFor(30_000, 'requests', ways.answer, count, atOnce)
        result.requests += done.times.length
        if (done.failure === undefined) return done
        result.failure = `${done.failure}, after ${result.requests} requests`
        return undefined
      }
      if (round < 0) {
        if ((await run(WARM_UP, 1)) !== undefined) await run(WARM_UP, AT_ONCE)
        continue
      }
      const sequential = await run(SEQUENTIAL, 1)
      if (sequential === undefined) continue
      const before = await process.ask('usage')
      const concurrent = await run(CONCURRENT, AT_ONCE)
      if (concurrent === undefined) continue
      const after = await process.ask('usage')
      const { times } = sequential
      const { seconds } = concurrent
      const mine = result.rounds
      mine.p50.push(quantile(times, 0.5))
      mine.p90.push(quantile(times, 0.9))
      mine.p99.push(quantile(times, 0.99))
      mine.rate.push(CONCURRENT / seconds)
      mine.cpu.push(((after.cpu - before.cpu) / CONCURRENT) * 1e6)
    }
  }
  const base = results.find((r) => r.name === 'Node SOCKS5')?.rounds
  return {
    failed: results.some((r) => r.failure !== undefined),
    results: results.map((r) => ({
      ...r,
      ratio: { p50: ratio(r.rounds.p50, base?.p50 ?? []), rate: ratio(r.rounds.rate, base?.rate ?? []) },
    })),
    requests: { sequential: SEQUENTIAL * rounds, concurrent: CONCURRENT * rounds, atOnce: AT_ONCE },
  }
}

/** @param {Awaited<ReturnType<typeof latency>>} section */
export function latencyTable({ results, requests: { sequential, concurrent, atOnce } }) {
  const rows = results.map(({ name, rounds, ratio: r }) => [
    name,
    spread(rounds.p50),
    spread(rounds.p90),
    spread(rounds.p99),
    spread(rounds.rate),
    spread(rounds.cpu),
    name === 'Node SOCKS5' ? '1' : show(r.p50),
    name === 'Node SOCKS5' ? '1' : show(r.rate),
  ])
  const each = `${digits(sequential)} one after the other, ${digits(concurrent)} with ${atOnce} at once, each`
  const head = [
    'new connection + 1 KiB',
    'p50 us',
    'p90 us',
    'p99 us',
    'requests/s',
    'CPU us each',
    'p50 : Node',
    'rate : Node',
  ]
  const failures = results.map(({ name, failure }) =>
    failure === undefined ? '' : ` FAILED: ${name}: ${failure}.`,
  )
  return `${table(head, rows)}\n\n${each}.${failures.join('')}`
}
