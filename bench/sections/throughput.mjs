/** Octets a second and CPU for them, both directions, long streams. */
import { pause } from '../lib/lab.mjs'
import { digits, ratio, show, spread, summary, table } from '../lib/stats.mjs'

/** @typedef {import('../lib/lab.mjs').Lab} Lab */
/** @typedef {import('../lib/lab.mjs').Subject} Subject */
/** @typedef {'download' | 'upload'} Direction */
/** @typedef {{ mbps: number, cpu: number, busy: number, peer: number, client: number, server: number | undefined }} Sample */

const GIB = 2 ** 30
/** Milliseconds until a stream is in its stride. */
const RUN_UP = 250
const WARM_UP = 0.6
/** Octets that are looked at one by one. */
const VERIFIED = 8 * 2 ** 20

/**
 * @param {Lab} lab
 * @param {string | undefined} against another build
 */
async function cases(lab, against) {
  const large = await lab.once('bridge large', () => lab.bridge('large'))
  const small = await lab.once('bridge small', () => lab.bridge('small'))
  const relayLarge = await lab.once('relay large', () => lab.relay('large'))
  const relaySmall = await lab.once('relay small', () => lab.relay('small'))
  const whole = await lab.once('end to end', () => lab.endToEnd())
  const others =
    against === undefined
      ? { large: [], small: [] }
      : {
          large: [await lab.once('other large', () => lab.bridge('large', against))],
          small: [await lab.once('other small', () => lab.bridge('small', against))],
        }
  return [
    {
      name: 'download, 16 KiB records',
      direction: /** @type {Direction} */ ('download'),
      subjects: [large, ...others.large, relayLarge, whole],
    },
    {
      name: 'download, 1.4 KiB records',
      direction: /** @type {Direction} */ ('download'),
      subjects: [small, ...others.small, relaySmall],
    },
    {
      name: 'upload',
      direction: /** @type {Direction} */ ('upload'),
      subjects: [large, ...others.large, relayLarge, whole],
    },
  ]
}

/**
 * What happened between two looks at a stream that runs. Each process tells its own time, so that it does
 * not matter when a busy one gets to answer.
 *
 * @param {Lab} lab
 * @param {Subject} subject
 * @param {Direction} direction
 * @param {number} seconds
 * @returns {Promise<Sample>}
 */
export async function stream(lab, subject, direction, seconds) {
  const { client } = lab
  const { process, peer, server, ways } = subject
  const counter = direction === 'download' ? client : peer
  await client.ask(direction, direction === 'download' ? ways.source : ways.sink)
  await pause(RUN_UP)
  const look = () =>
    Promise.all([
      counter.ask('count'),
      process.ask('usage'),
      peer.ask('usage'),
      client.ask('usage'),
      server?.ask('usage'),
    ])
  const [bytes0, cpu0, peer0, client0, server0] = await look()
  await pause(seconds * 1000)
  const [bytes1, cpu1, peer1, client1, server1] = await look()
  await client.ask('stop')
  const rate = ((bytes1.bytes - bytes0.bytes) / (bytes1.at - bytes0.at)) * 1000
  const busy = (/** @type {any} */ a, /** @type {any} */ b) => ((b.cpu - a.cpu) / (b.at - a.at)) * 1000
  return {
    mbps: rate / 1e6,
    cpu: (busy(cpu0, cpu1) / rate) * GIB,
    busy: busy(cpu0, cpu1),
    peer: busy(peer0, peer1),
    client: busy(client0, client1),
    server: server === undefined ? undefined : (busy(server0, server1) / rate) * GIB,
  }
}

/**
 * A while of transfer each way, whose octets are all compared.
 *
 * @param {Lab} lab
 * @param {Subject} subject
 */
async function verify(lab, subject) {
  const down = await lab.client.ask('verifyDownload', subject.ways.source, VERIFIED)
  const before = await subject.peer.ask('checked')
  await lab.client.ask('verifyUpload', subject.ways.verify, VERIFIED)
  const after = await subject.peer.ask('checked')
  const up = after.bytes - before.bytes
  if (down.faults > 0 || down.bytes < VERIFIED || up !== VERIFIED || after.faults > before.faults) {
    const said = JSON.stringify({ down, up, before, after })
    throw new Error(`${subject.name} does not deliver what was sent: ${said}`)
  }
}

/**
 * @param {Lab} lab
 * @param {{ rounds: number, seconds: number, against: string | undefined, note(text: string): void }} options
 */
export async function throughput(lab, { rounds, seconds, against, note }) {
  const all = await cases(lab, against)
  const subjects = new Set(all.flatMap((c) => c.subjects))
  for (const subject of subjects) {
    note(`verifying ${subject.name}`)
    await verify(lab, subject)
  }
  /** @type {Map<string, Sample[]>} */
  const samples = new Map()
  for (let round = -1; round < rounds; round++) {
    for (const { name, direction, subjects: turn } of all) {
      for (const subject of turn) {
        const key = `${name}/${subject.name}`
        note(`${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}: ${key}`)
        const sample = await stream(lab, subject, direction, round < 0 ? WARM_UP : seconds)
        if (round >= 0) samples.set(key, [...(samples.get(key) ?? []), sample])
      }
    }
  }
  return { results: all.map((c) => result(c, samples)) }
}

/**
 * @param {{ name: string, subjects: Subject[] }} c
 * @param {Map<string, Sample[]>} samples
 */
function result({ name, subjects }, samples) {
  const of = (/** @type {Subject} */ s) => samples.get(`${name}/${s.name}`) ?? []
  const relay = subjects.find((s) => s.name === 'Node relay')
  const base = relay === undefined ? [] : of(relay)
  return {
    name,
    subjects: subjects.map((subject) => {
      const mine = of(subject)
      const pick = (/** @type {Sample[]} */ list, /** @type {'mbps' | 'cpu'} */ key) =>
        list.map((x) => x[key])
      return {
        name: subject.name,
        samples: mine,
        ratio: {
          mbps: ratio(pick(mine, 'mbps'), pick(base, 'mbps')),
          cpu: ratio(pick(mine, 'cpu'), pick(base, 'cpu')),
        },
      }
    }),
  }
}

/** @param {Awaited<ReturnType<typeof throughput>>} section */
export function throughputTable({ results }) {
  const rows = results.flatMap(({ name, subjects }) =>
    subjects.map(({ name: subject, samples, ratio: { mbps, cpu } }) => {
      const server = samples.map((s) => s.server ?? Number.NaN)
      return [
        `${name}: ${subject}`,
        spread(samples.map((s) => s.mbps)),
        spread(samples.map((s) => s.cpu)),
        subject === 'Node relay' ? '1' : show(mbps),
        subject === 'Node relay' ? '1' : show(cpu),
        /** @type {const} */ (['busy', 'peer', 'client'])
          .map((who) => digits(summary(samples.map((s) => s[who])).median * 100))
          .join(' / '),
        Number.isNaN(server[0]) ? '-' : spread(server),
      ]
    }),
  )
  const head = [
    'stream',
    'MB/s',
    'CPU s/GiB',
    'MB/s : relay',
    'CPU : relay',
    'CPU %: it / peer / client',
    'serve s/GiB',
  ]
  return table(head, rows)
}
