/** TCP inside TCP, with the product's own calls and drivers at both ends, in virtual time. */
import t from 'tap'
import { OuterWorld, quantile, type Way } from '../helpers/outer.js'
import { jain } from '../helpers/sim.js'

const KIB = 1024
/** Milliseconds: the slack of the window, one write and one packet. */
const PIECES = 40
const WAYS: readonly Way[] = ['up', 'down']
const PATHS = [10, 50].flatMap((rate) =>
  [20, 100].flatMap((rtt) => [64, 256, 2560].map((kib) => ({ rate, rtt, buffer: kib * KIB }))),
)

function named(o: { rate: number; rtt: number; buffer: number }): string {
  return `${o.rate} Mbit/s, ${o.rtt} ms, buffer of ${o.buffer / KIB} KiB`
}

const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0)

t.test('small questions beside bulk: within twice the idle time, and no outer buffer on top', async (t) => {
  for (const path of PATHS) {
    const idle = new OuterWorld(path).probe(1000)
    for (const way of WAYS) {
      for (const flows of path.buffer === 256 * KIB ? [1, 8] : [1]) {
        const world = new OuterWorld(path)
        for (let i = 0; i < flows; i++) world.bulk(way)
        world.pass(6000)
        const before = world.streams.map((s) => s.received)
        const from = world.now
        const busy = world.probe(3000)
        const octets = sum(world.streams.map((s, i) => s.received - (before[i] as number)))
        const name = `${named(path)}, ${flows} ${way}`
        for (const kind of ['open', 'fresh', 'dns', 'ping'] as const) {
          const most = 2 * quantile(idle[kind], 0.99) + PIECES
          const p99 = quantile(busy[kind], 0.99)
          if (p99 > most) t.fail(`${name}: ${kind} took ${p99} ms, at most ${most}`)
        }
        const share = octets / (world.now - from) / ((path.rate * 1000) / 8)
        t.ok(share > 0.9, `${name}: ${share.toFixed(3)} of the rate`)
      }
    }
  }
})

t.test('eight bulk flows share equally, whatever they write, whenever they came', async (t) => {
  const chunks = [8192, 1000, 65_000, 300, 16_384, 8192, 1448, 4096]
  for (const path of PATHS) {
    for (const way of WAYS) {
      const world = new OuterWorld(path)
      for (const [i, chunk] of chunks.entries()) {
        // The last one has tiny segments.
        world.bulk(way, chunk, i === 7 && way === 'up' ? 300 : undefined)
        world.pass(200)
      }
      world.pass(2000)
      for (let i = 0; i < 3; i++) {
        const index = jain(world.shares(2000))
        t.ok(index >= 0.98, `${named(path)}, ${way}: ${index.toFixed(4)}`)
      }
    }
  }
})

t.test(
  'an outer stall costs no retransmissions to speak of, no connection, and two round trips',
  async (t) => {
    for (const path of PATHS.filter((p) => p.buffer !== 64 * KIB)) {
      for (const stall of [200, 1000, 5000]) {
        for (const flows of [1, 8]) {
          const way = flows === 1 ? 'up' : 'down'
          const world = new OuterWorld(path)
          for (let i = 0; i < flows; i++) world.bulk(way)
          world.pass(4000)
          const { counters } = world.pair[way === 'up' ? 'clientStack' : 'serverStack']
          const { retransmissions, segmentsOut } = counters
          world.stall(0, stall)
          world.pass(stall + 2 * path.rtt)
          const back = sum(world.shares(500)) / ((path.rate * 1000) / 8)
          world.pass(1500)
          const again = counters.retransmissions - retransmissions
          const sent = counters.segmentsOut - segmentsOut
          const name = `${named(path)}, ${flows} ${way}, ${stall} ms`
          if (again > 0.01 * sent) t.fail(`${name}: ${again} of ${sent} segments were sent again`)
          if (world.streams.some((s) => s.dead !== undefined)) t.fail(`${name}: a stream died`)
          t.ok(back > 0.75, `${name}: back to ${back.toFixed(3)} of the rate`)
        }
      }
    }
  },
)

t.test('both directions at once: each gets on, and small questions do too', async (t) => {
  for (const rtt of [20, 100]) {
    const world = new OuterWorld({ rate: 10, rtt, buffer: 2560 * KIB })
    world.bulk('up')
    world.bulk('down')
    world.pass(3000)
    for (const share of world.shares(10_000))
      t.ok(share > 0.4 * 1250, `${rtt} ms: ${(share / 1250).toFixed(3)}`)
    const p99 = quantile(world.probe(2000).open, 0.99)
    t.ok(p99 < 1200, `${rtt} ms: ${p99} ms`)
  }
})

t.test('a slow uplink that a kernel would fill with seconds', async (t) => {
  const world = new OuterWorld({ rate: 1, rtt: 40, buffer: 2560 * KIB })
  world.bulk('up')
  world.pass(8000)
  const { open, dns } = world.probe(6000, 150)
  t.ok(quantile(open, 0.99) < 300, `${quantile(open, 0.99)} ms`)
  t.ok(quantile(dns, 0.99) < 300, `${quantile(dns, 0.99)} ms`)
  t.ok(sum(world.shares(5000)) > 0.9 * 125)
})

t.test('the same seed, the same octets at the same time', async (t) => {
  const run = (): string => {
    const world = new OuterWorld({ rate: 10, rtt: 20, buffer: 256 * KIB, seed: 7 })
    world.bulk('up')
    return JSON.stringify([world.pass(2000).probe(500), world.streams.map((s) => s.received)])
  }
  t.equal(run(), run())
})
