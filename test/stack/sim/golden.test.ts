/**
 * What the stack makes of a path, as tables: goodput by loss, round trip and buffer, and how flows share.
 * Everything follows from seeds, so any change of behaviour shows. `GOLDEN=write` rewrites the tables after a
 * change that was meant; the bounds below them hold whatever the tables say.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import type { StackLimits } from '../../../stack/index.js'
import type { LinkProfile } from '../../helpers/pair.js'
import { jain, path, Simulation } from '../../helpers/sim.js'

const FILE = new URL('../../fixtures/golden/goodput.txt', import.meta.url)
const SEED = 20_240_607

/** 100 Mbit/s, in octets a millisecond. */
const RATE = 12_500
const MTU = 1400
/** Of TCP with timestamps over IPv4. */
const PAYLOAD = MTU - 52

const LOSSES = [0, 0.001, 0.01, 0.03, 0.05]
const TRIPS = [1, 20, 100, 300]
const KIB = 1024
const BUFFERS: readonly { name: string; octets: number; limits: Partial<StackLimits> }[] = [
  { name: '64 KiB', octets: 64 * KIB, limits: fixed(64 * KIB) },
  { name: '1 MiB', octets: KIB * KIB, limits: fixed(KIB * KIB) },
  { name: 'auto', octets: 8 * KIB * KIB, limits: {} },
]

/** Writers are woken when half of the send buffer is free: with twice as much there, the window is the limit. */
function fixed(octets: number): Partial<StackLimits> {
  const send = 2 * octets
  return { receiveBuffer: octets, receiveBufferMax: octets, sendBuffer: send, sendBufferMax: send }
}

const megabits = (octetsPerMs: number): number => (octetsPerMs * 8) / 1000

/** Octets a millisecond in the steady state, and how often the sender took a loss back. */
function goodput(
  loss: number,
  rtt: number,
  limits: Partial<StackLimits>,
  seed: number,
): { readonly got: number; readonly undone: number } {
  const sim = new Simulation({ ab: path(RATE, rtt, { loss }), ba: path(RATE, rtt) }, seed, {
    mtu: MTU,
    limits,
  })
  sim.bulk('up')
  // Forty round trips at the full rate, and more of them for those that are slower.
  const { total } = sim.measure(Math.max(1000, 20 * rtt), 60_000, Math.max(16 * KIB * KIB, 40 * rtt * RATE))
  sim.finish()
  return { got: total, undone: sim.pair.a.counters.spuriousRecoveries }
}

/**
 * What theory expects of a sender that is limited by loss alone: the mean of Reno with time-outs (Padhye, Firoiu,
 * Towsley, Kurose 1998, equation 30, each segment acknowledged by the second) in octets a millisecond.
 */
function reno(loss: number, rtt: number): number {
  const b = 2
  const rto = Math.max(200, rtt)
  const perSegment =
    rtt * Math.sqrt((2 * b * loss) / 3) +
    rto * Math.min(1, 3 * Math.sqrt((3 * b * loss) / 8)) * loss * (1 + 32 * loss * loss)
  return PAYLOAD / perSegment
}

/** RFC 9438 5.1, equation 5, with C = 0.4 and beta = 0.7: the mean window is 1.054 (RTT / p)^0.75 segments. */
function cubic(loss: number, rtt: number): number {
  return (PAYLOAD * 1.054 * (rtt / 1000 / loss) ** 0.75) / rtt
}

/** Mathis, Semke, Mahdavi, Ott 1997, each segment acknowledged: nobody who halves for each loss is much faster. */
function mathis(loss: number, rtt: number): number {
  return (PAYLOAD * Math.sqrt(1.5 / loss)) / rtt
}

interface Share {
  readonly name: string
  readonly profile: { readonly ab: LinkProfile; readonly ba: LinkProfile }
  readonly up: number
  readonly down?: number
  readonly ecn?: boolean
  /** Jain's index is to be at least this, and the share of the rate at least that. */
  readonly fair: number
  readonly used: number
}

const both = (p: LinkProfile): Share['profile'] => ({ ab: p, ba: p })
/** 50 Mbit/s. */
const HALF = RATE / 2

/** More delay by the flow's port, in steps. */
function detours(...steps: readonly number[]): NonNullable<LinkProfile['detour']> {
  const known = new Map<number, number>()
  return (b, off) => {
    const port = ((b[off + 20] as number) << 8) | (b[off + 21] as number)
    let step = known.get(port)
    if (step === undefined) known.set(port, (step = steps[known.size % steps.length] as number))
    return step
  }
}

const plain = path(HALF, 40)
const SHARES: readonly Share[] = [
  { name: '1 flow', profile: both(plain), up: 1, fair: 1, used: 0.9 },
  { name: '8 flows up', profile: both(plain), up: 8, fair: 0.9, used: 0.93 },
  { name: '8 flows down', profile: both(plain), up: 0, down: 8, fair: 0.9, used: 0.93 },
  { name: '4 up, 4 down', profile: both(plain), up: 4, down: 4, fair: 0.7, used: 1.5 },
  {
    name: '8 flows, round trips of 40, 60 and 80 ms',
    profile: { ab: { ...plain, detour: detours(0, 20, 40) }, ba: plain },
    up: 8,
    fair: 0.7,
    used: 0.9,
  },
  {
    name: '2 flows, round trips of 20 and 120 ms',
    profile: { ab: { ...path(HALF, 20), detour: detours(0, 100) }, ba: path(HALF, 20) },
    up: 2,
    fair: 0.55,
    used: 0.9,
  },
  { name: '8 flows, 1 % loss', profile: both({ ...plain, loss: 0.01 }), up: 8, fair: 0.9, used: 0.4 },
  {
    name: '1 flow, 0.5 % loss in bursts of 4',
    profile: both({ ...plain, loss: 0.005, burst: 4 }),
    up: 1,
    fair: 1,
    used: 0.1,
  },
  {
    name: '1 flow, 5 % reordered by up to 10 ms',
    profile: both({ ...plain, reorder: 0.05, reorderBy: 10 }),
    up: 1,
    fair: 1,
    used: 0.8,
  },
  {
    name: '1 flow, jitter of 20 ms',
    profile: both({ ...plain, jitter: 20 }),
    up: 1,
    fair: 1,
    used: 0.7,
  },
  {
    name: '1 flow, 2 % duplicated',
    profile: both({ ...plain, duplicate: 0.02 }),
    up: 1,
    fair: 1,
    used: 0.8,
  },
  {
    name: '1 flow, 0.1 % corrupted',
    profile: both({ ...plain, corrupt: 0.001 }),
    up: 1,
    fair: 1,
    used: 0.15,
  },
  {
    name: '8 flows with ECN, marked above 60 kB',
    profile: both({ ...plain, markAbove: 60_000 }),
    up: 8,
    ecn: true,
    fair: 0.9,
    used: 0.85,
  },
  {
    name: '8 flows, queue of a tenth',
    profile: both({ ...plain, queue: (HALF * 40) / 10 }),
    up: 8,
    fair: 0.8,
    used: 0.7,
  },
]

const lines: string[] = []

t.test('goodput by loss, round trip and buffer', async (t) => {
  lines.push(
    `Goodput in Mbit/s of one flow over ${megabits(RATE)} Mbit/s, queue of one bandwidth-delay product (at least 150 kB),`,
    'in the steady state. Loss in one direction, independent.',
    '',
    ['buffer', 'RTT ms', ...LOSSES.map((l) => `${l * 100} %`)].map((c) => c.padStart(8)).join(''),
  )
  for (const [i, { name, octets, limits }] of BUFFERS.entries()) {
    for (const rtt of TRIPS) {
      const row = [name, String(rtt)]
      for (const [j, loss] of LOSSES.entries()) {
        const { got, undone } = goodput(loss, rtt, limits, SEED + 100 * i + 10 * j + rtt)
        row.push(megabits(got).toFixed(2))
        const most = Math.min(octets / rtt, (RATE * PAYLOAD) / MTU)
        t.ok(got <= most * 1.01, `${name}, ${rtt} ms, ${loss * 100} %: ${got} of ${most} that are possible`)
        const cell = `${name}, ${rtt} ms, ${loss * 100} %`
        // Nothing is reordered or held up here: what looked lost was lost.
        t.ok(undone <= 3, `${cell}: ${undone} recoveries undone`)
        if (loss > 0) {
          const fair = 2 * Math.max(mathis(loss, rtt), cubic(loss, rtt))
          t.ok(got <= fair, `${cell}: ${megabits(got).toFixed(2)}, fair ${megabits(fair).toFixed(2)} Mbit/s`)
        }
        const least =
          loss === 0 ? 0.9 * most : Math.min(0.7 * most, 0.7 * Math.max(reno(loss, rtt), cubic(loss, rtt)))
        t.ok(
          got >= least,
          `${name}, ${rtt} ms, ${loss * 100} %: ${megabits(got).toFixed(2)} of at least ${megabits(least).toFixed(2)} Mbit/s`,
        )
      }
      lines.push(row.map((c) => c.padStart(8)).join(''))
    }
  }
})

t.test('how flows share, and what they waste', async (t) => {
  lines.push(
    '',
    `Flows over ${megabits(HALF)} Mbit/s each way, 40 ms where nothing else is said, queue of one product, buffers auto-tuned;`,
    '30 s after the first 10. Segments are those with data, both ways; needless ones brought octets that had arrived.',
    '',
    row('', ['Mbit/s', 'Jain', 'segments', 'drops', 'marks', 'resent', 'needless', 'RTOs']),
  )
  for (const [i, s] of SHARES.entries()) {
    const sim = new Simulation(s.profile, SEED + i, { mtu: MTU })
    const wanted = s.ecn ? { ecn: true } : {}
    for (let n = 0; n < s.up; n++) sim.bulk('up', Number.POSITIVE_INFINITY, wanted)
    for (let n = 0; n < (s.down ?? 0); n++) sim.bulk('down', Number.POSITIVE_INFINITY, wanted)
    const { total, each } = sim.measure(10_000, 30_000)
    sim.finish()
    const { pair, up, down } = sim
    const index = jain(each)
    lines.push(
      row(s.name, [
        megabits(total).toFixed(2),
        index.toFixed(3),
        up.segments + down.segments,
        pair.ab.lost + pair.ba.lost,
        pair.ab.marked + pair.ba.marked,
        up.resentSegments + down.resentSegments,
        up.needlessSegments + down.needlessSegments,
        pair.a.counters.timeouts + pair.b.counters.timeouts,
      ]),
    )
    t.ok(index >= s.fair, `${s.name}: Jain's index ${index.toFixed(3)}, at least ${s.fair}`)
    const used = total / HALF
    t.ok(used >= s.used, `${s.name}: ${used.toFixed(2)} of the rate, at least ${s.used}`)
    if (s.ecn)
      t.ok(pair.ab.marked > 10 && pair.ab.lost < 10, `${pair.ab.marked} marks, ${pair.ab.lost} drops`)
    const needless = (up.needlessSegments + down.needlessSegments) / (up.segments + down.segments)
    t.ok(needless < 0.01, `${s.name}: ${(100 * needless).toFixed(2)} % of the segments were needless`)
  }
})

t.test('the tables are those that were committed', async (t) => {
  const table = `${lines.join('\n')}\n`
  if (process.env.GOLDEN === 'write') writeFileSync(FILE, table)
  const golden = readFileSync(FILE, 'utf8')
  if (golden !== table) t.comment(`committed:\n${golden}\nnow:\n${table}`)
  t.ok(golden === table, 'the same; else see both above, and GOLDEN=write rewrites the file')
})

function row(name: string, cells: readonly (string | number)[]): string {
  return name.padEnd(42) + cells.map((c) => String(c).padStart(9)).join('')
}
