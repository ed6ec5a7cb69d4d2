/**
 * The stack against the Linux kernel's TCP, packet by packet: a TUN device in a network namespace, and between the two
 * a relay that loses, reorders and duplicates. No SSTP is involved. Needs root, gcc and nft.
 */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import * as stack from '../../stack/index.js'
import { SeededRandom } from '../helpers/random.js'
import { buildTools, type Peer } from './kernel/host.js'
import type { OurConnection } from './kernel/our-host.js'
import type { Profile } from './kernel/relay.js'
import { ecnOf, markCongestion, tcpOf } from './kernel/segments.js'
import { far4, far6, KERNEL4, KERNEL6, type LaneInUse, World } from './kernel/world.js'

const MIB = 1 << 20
const INNER4 = '10.91.0.2'
const INNER6 = 'fd91::2'
/** 100 Mbit/s, 20 ms, a queue of 20 ms. */
const CLEAN: Profile = { delay: 10, rate: 12_500, queue: 250_000 }
const ROUGH: Profile = { ...CLEAN, delay: 5, loss: 0.01, reorder: 0.02, duplicate: 0.01 }

const tools = buildTools()
const world = await World.start(tools, stack)
t.teardown(() => world.close())
let port = 5000

const random = new SeededRandom(1)
const data = Buffer.from(random.bytes(4 * MIB))
const sha256 = (b: Uint8Array) => createHash('sha256').update(b).digest('hex')
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Fails instead of waiting for ever. */
async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

interface Joined {
  readonly lane: LaneInUse
  readonly ours: OurConnection
  readonly peer: Peer
}

interface JoinOptions {
  readonly up?: Profile
  readonly down?: Profile
  readonly role?: 'client' | 'listener'
  readonly six?: boolean
  /** The kernel of the namespace behind the first one. */
  readonly inner?: boolean
  readonly seed?: number
  readonly ecn?: boolean
  /** Before anything is sent. */
  readonly watch?: (lane: LaneInUse) => void
}

/** A connection between our stack and a kernel. */
async function join(options: JoinOptions = {}): Promise<Joined> {
  const { up = CLEAN, down = CLEAN, role = 'client', six = false, inner = false, seed = 1 } = options
  const lane = world.lane({ up, down, seed, far: 'ours' })
  const host = lane.ours
  if (host === undefined) throw new Error('no stack')
  options.watch?.(lane)
  const p = port++
  const near = inner ? (six ? INNER6 : INNER4) : six ? KERNEL6 : KERNEL4
  if (role === 'client') {
    const peer = await world.kernel.peer({ listen: true, address: near, port: p, action: 'pipe' }, inner)
    const ours = host.connect(near, p, { ecn: options.ecn ?? false })
    await within(10_000, 'connect', ours.connected)
    return { lane, ours, peer }
  }
  const accepted = host.listen(p)
  const address = (six ? far6 : far4)(lane.number)
  const peer = await world.kernel.peer({ listen: false, address, port: p, action: 'pipe' }, inner)
  return { lane, ours: await within(10_000, 'accept', accepted), peer }
}

/** Sends these octets of ours, then ends our direction unless told not to. */
function send(ours: OurConnection, octets: Uint8Array, end = true): void {
  let at = 0
  ours.source = () => {
    if (at === octets.length) {
      ours.source = undefined
      if (end) ours.end()
      return undefined
    }
    const piece = octets.subarray(at, at + 16384)
    at += piece.length
    return piece
  }
  ours.resume()
}

/** What our side receives until the end of the kernel's direction. */
function received(ours: OurConnection): Promise<Buffer> {
  const chunks: Buffer[] = []
  return new Promise((resolve) => {
    ours.onData = (chunk) => void chunks.push(Buffer.from(chunk))
    ours.onEnd = () => resolve(Buffer.concat(chunks))
    ours.resume()
  })
}

/** What the kernel's side receives until the end of ours. */
async function receivedBy(peer: Peer): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of peer.stdout) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function same(t: Test, got: Uint8Array, expected: Uint8Array, what: string): void {
  t.equal(got.length, expected.length, `${what}: every octet, once`)
  t.equal(sha256(got), sha256(expected), `${what}: SHA-256`)
}

/** Both directions at once, to their ends. */
async function exchange(t: Test, joined: Joined, what: string, octets = data, limit = 40_000) {
  const { ours, peer, lane } = joined
  const back = Buffer.from(octets).reverse()
  const at = performance.now()
  send(ours, octets)
  peer.stdin.end(back)
  const [fromKernel, fromUs] = await within(limit, what, Promise.all([received(ours), receivedBy(peer)]))
  const ms = performance.now() - at
  same(t, fromKernel, back, `${what}, from the kernel`)
  same(t, fromUs, octets, `${what}, to the kernel`)
  const report = await within(5000, `${what}: the kernel's end`, peer.report)
  t.equal(report.end, 'end', `${what}: the kernel saw an orderly end`)
  t.equal(await within(5000, what, ours.closed), undefined, `${what}: so did we`)
  lane.close()
  return { report, ms }
}

await t.test('bulk both ways over a bad path', async (t) => {
  const variants = (['client', 'listener'] as const).flatMap((role) =>
    [false, true].map((six) => ({ role, six, what: `${role}, IPv${six ? 6 : 4}` })),
  )
  await Promise.all(
    variants.map(async ({ role, six, what }, seed) => {
      const sacks = { ours: 0, kernel: 0 }
      const watch = ({ up, down }: LaneInUse) => {
        up.tap = (p) => {
          if ((tcpOf(p)?.sackBlocks ?? 0) > 0) sacks.ours++
          return true
        }
        down.tap = (p) => {
          if ((tcpOf(p)?.sackBlocks ?? 0) > 0) sacks.kernel++
          return true
        }
      }
      const joined = await join({ up: ROUGH, down: ROUGH, role, six, seed, watch })
      const { lane, ours } = joined
      const info = ours.socket.info()
      const { report, ms } = await exchange(t, joined, what, data.subarray(0, 2 * MIB))
      t.comment(`${what}: ${ms.toFixed(0)} ms, the kernel retransmitted ${report.retransmissions}`)
      for (const [way, { counts }] of Object.entries({ up: lane.up, down: lane.down })) {
        t.ok(counts.lost > 5, `${what}, ${way}: ${counts.lost} packets lost`)
      }
      t.ok(
        report.sack && sacks.ours > 0 && sacks.kernel > 0,
        `${what}: SACK both ways ${JSON.stringify(sacks)}`,
      )
      t.ok(report.timestamps, `${what}: timestamps`)
      t.equal(report.sendScale, info.receiveShift, `${what}: the kernel scales by what we said`)
      t.equal(report.receiveScale, info.sendShift, `${what}: and we by what it said`)
    }),
  )
})

await t.test('windows beyond 64 KiB', async (t) => {
  const long: Profile = { ...CLEAN, delay: 50, queue: 1_250_000 }
  const joined = await join({ up: long, down: long })
  const { ms } = await exchange(t, joined, '100 ms away', data)
  // 64 KiB a round trip would take 6.4 s.
  t.ok(ms < 5500, `4 MiB each way in ${ms.toFixed(0)} ms`)
})

await t.test('half-close', async (t) => {
  const first = data.subarray(0, MIB)
  const second = data.subarray(MIB, 2 * MIB)
  await t.test('the kernel ends first', async (t) => {
    const { ours, peer, lane } = await join()
    peer.stdin.end(first)
    same(t, await within(10_000, 'first', received(ours)), first, 'from the kernel')
    await wait(200)
    send(ours, second)
    same(t, await within(10_000, 'second', receivedBy(peer)), second, 'to the kernel, afterwards')
    t.equal((await peer.report).end, 'end')
    t.equal(await within(5000, 'close', ours.closed), undefined)
    lane.close()
  })
  await t.test('we end first', async (t) => {
    const { ours, peer, lane } = await join({ role: 'listener' })
    send(ours, first)
    same(t, await within(10_000, 'first', receivedBy(peer)), first, 'to the kernel')
    await wait(200)
    peer.stdin.end(second)
    same(t, await within(10_000, 'second', received(ours)), second, 'from the kernel, afterwards')
    t.equal((await peer.report).end, 'end')
    lane.close()
  })
})

await t.test('reset', async (t) => {
  const one = await join()
  send(one.ours, data.subarray(0, 1000), false)
  await within(5000, 'data', new Promise((resolve) => one.peer.stdout.once('data', resolve)))
  one.peer.kill('SIGUSR1')
  t.equal(await within(5000, 'reset', one.ours.closed), 'reset', 'by the kernel: we see it')
  one.lane.close()

  const two = await join({ role: 'listener' })
  // Until it has said something its connect() may not have returned, and would fail.
  const spoken = new Promise<void>((resolve) => {
    two.ours.onData = () => resolve()
  })
  two.peer.stdin.write('x')
  await within(5000, 'the first octet', spoken)
  two.ours.abort()
  t.equal((await within(5000, 'reset', two.peer.report)).end, 'reset', 'by us: the kernel sees it')
  two.lane.close()
})

await t.test('a reader that stops for three seconds', async (t) => {
  const memory = (octets: number) => world.kernel.sysctl({ 'net.ipv4.tcp_rmem': `4096 131072 ${octets}` })
  await memory(MIB)
  t.teardown(() => memory(16 * MIB))
  t.jobs = 2
  await Promise.all([
    t.test('ours', async (t) => {
      let closed = 0
      const watch = ({ up }: LaneInUse) => {
        up.tap = (p) => {
          if (tcpOf(p)?.window === 0) closed++
          return true
        }
      }
      const { ours, peer, lane } = await join({ watch })
      ours.paused = true
      const back = Buffer.concat([data, data])
      peer.stdin.end(back)
      await wait(3000)
      t.ok(closed > 0, 'the window closed')
      const at = performance.now()
      ours.paused = false
      same(t, await within(10_000, 'the rest', received(ours)), back, 'and opened')
      t.comment(`${(performance.now() - at).toFixed(0)} ms for the rest`)
      ours.end()
      t.equal((await within(5000, 'end', peer.report)).end, 'end')
      lane.close()
    }),
    t.test("the kernel's", async (t) => {
      let closed = 0
      let probes = 0
      const watch = ({ up, down }: LaneInUse) => {
        let shut = false
        down.tap = (p) => {
          shut = tcpOf(p)?.window === 0
          if (shut) closed++
          return true
        }
        up.tap = () => {
          if (shut) probes++
          return true
        }
      }
      const { ours, peer, lane } = await join({ role: 'listener', watch })
      const octets = Buffer.concat([data, data])
      send(ours, octets)
      await wait(3000)
      t.ok(closed > 0, 'the window closed')
      t.ok(probes > 0 && probes < 40, `${probes} probes while it was`)
      same(t, await within(15_000, 'the rest', receivedBy(peer)), octets, 'and opened')
      peer.stdin.end()
      t.equal((await within(5000, 'end', peer.report)).end, 'end')
      lane.close()
    }),
  ])
})

await t.test('a kernel without options', async (t) => {
  const options = ['tcp_sack', 'tcp_timestamps', 'tcp_window_scaling'].map((o) => `net.ipv4.${o}`)
  const set = (value: number) => world.kernel.sysctl(Object.fromEntries(options.map((o) => [o, value])))
  await set(0)
  t.teardown(() => set(1))
  const roles = ['client', 'listener'] as const
  const joined = await Promise.all(roles.map((role) => join({ up: ROUGH, down: ROUGH, role, seed: 11 })))
  await set(1)
  await Promise.all(
    joined.map(async (j, i) => {
      const { report } = await exchange(t, j, roles[i] ?? '', data.subarray(0, MIB))
      t.notOk(report.sack || report.timestamps || report.sendScale >= 0, 'none was agreed')
    }),
  )
})

await t.test('explicit congestion notification', async (t) => {
  await world.kernel.sysctl({ 'net.ipv4.tcp_ecn': 1 })
  t.teardown(() => world.kernel.sysctl({ 'net.ipv4.tcp_ecn': 2 }))
  for (const role of ['client', 'listener'] as const) {
    const seen = { ours: 0, kernel: 0, echoes: 0, kernelEchoes: 0, reduced: 0, kernelReduced: 0 }
    const watch = ({ up, down }: LaneInUse) => {
      let n = 0
      up.tap = (p) => {
        const segment = tcpOf(p)
        if (segment === undefined) return true
        if (!segment.syn && segment.ece) seen.echoes++
        if (!segment.syn && segment.cwr) seen.reduced++
        // Every 300th packet that may be marked is.
        if (ecnOf(p) === 2 && ++seen.ours % 300 === 0) markCongestion(p)
        return true
      }
      down.tap = (p) => {
        const segment = tcpOf(p)
        if (segment === undefined) return true
        if (!segment.syn && segment.ece) seen.kernelEchoes++
        if (!segment.syn && segment.cwr) seen.kernelReduced++
        if (ecnOf(p) === 2 && ++n % 300 === 0) markCongestion(p)
        seen.kernel = n
        return true
      }
    }
    const joined = await join({ role, watch, ecn: true })
    const { report } = await exchange(t, joined, role)
    t.ok(report.ecn, `${role}: agreed`)
    t.ok(seen.ours > 1000 && seen.kernel > 1000, `${role}: data is marked as capable both ways`)
    t.ok(
      seen.kernelEchoes > 0 && seen.reduced > 0,
      `${role}: the kernel echoes our marks, and we say that we slowed down`,
    )
    t.ok(seen.echoes > 0 && seen.kernelReduced > 0, `${role}: we echo the kernel's marks, and it says so`)
    t.comment(JSON.stringify(seen))
  }
})

await t.test('behind a router', async (t) => {
  await world.kernel.behind(1300, 1400, [
    { near: '10.91.0.1/24', far: `${INNER4}/24`, via: '10.91.0.1' },
    { near: 'fd91::1/64', far: `${INNER6}/64`, via: 'fd91::1' },
  ])
  const nft = (...rules: string[]) => world.kernel.run('nft', ['flush ruleset', ...rules].join('; '))
  const upload = async (t: Test, six: boolean, limit: number) => {
    let largest = 0
    const watch = ({ up }: LaneInUse) => {
      up.tap = (p) => {
        largest = Math.max(largest, p.length)
        return true
      }
    }
    const { lane, ours, peer } = await join({ inner: true, six, watch })
    const octets = data.subarray(0, 2 * MIB)
    const at = performance.now()
    send(ours, octets)
    same(t, await within(20_000, 'upload', receivedBy(peer)), octets, `IPv${six ? 6 : 4}`)
    const ms = performance.now() - at
    t.ok(ms < limit, `2 MiB in ${ms.toFixed(0)} ms`)
    t.equal(largest, 1400, 'we began with packets that do not fit')
    peer.stdin.end()
    t.equal((await within(5000, 'end', peer.report)).end, 'end')
    const { counters } = lane.ours?.stack ?? {}
    lane.close()
    return counters
  }
  for (const six of [false, true]) {
    await t.test(`IPv${six ? 6 : 4}: the router says that a packet is too large`, async (t) => {
      const counters = await upload(t, six, 2500)
      t.ok((counters?.icmpErrorsIn ?? 0) > 0, 'it said so')
    })
  }
  await nft(
    'add table inet t',
    'add chain inet t out { type filter hook output priority 0; }',
    'add rule inet t out icmp type destination-unreachable drop',
    'add rule inet t out icmpv6 type packet-too-big drop',
  )
  for (const six of [false, true]) {
    await t.test(`IPv${six ? 6 : 4}: a black hole`, async (t) => {
      const counters = await upload(t, six, 5000)
      t.equal(counters?.icmpErrorsIn, 0, 'nobody said anything')
      t.equal(counters?.blackHoles, 1, 'we found out')
    })
  }
  await t.test("losses of the kernel's own making", async (t) => {
    await world.kernel.run('ip', 'link', 'set', 'in0', 'mtu', '1400')
    await nft(
      'add table inet t',
      'add chain inet t through { type filter hook forward priority 0; }',
      'add rule inet t through numgen inc mod 50 == 49 counter drop',
    )
    const joined = await join({ inner: true })
    await exchange(t, joined, '2 % lost each way', data.subarray(0, MIB))
    const rules = await world.kernel.run('nft', 'list', 'ruleset')
    const [, dropped] = /counter packets (\d+)/.exec(rules) ?? []
    t.ok(Number(dropped) > 10, `${dropped} packets dropped by nft`)
  })
})
