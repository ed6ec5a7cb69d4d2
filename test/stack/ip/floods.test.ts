/** Floods of fragments: memory and time stay bounded, and who behaves goes on. */
import t from 'tap'
import {
  type PingSocket,
  READY_ACCEPT,
  type TcpConnection,
  type TcpListener,
  takeReady,
} from '../../../stack/index.js'
import { fragmentOf } from '../../helpers/fragments.js'
import { udp } from '../../helpers/ip-packet.js'
import { ADDRESS_B, ADDRESS_B6, Pair } from '../../helpers/pair.js'
import { SeededRandom } from '../../helpers/random.js'

type Flood = (i: number, r: SeededRandom) => Uint8Array

const v4 = (host: number): { src: string; dst: string; sport: number; dport: number } => ({
  src: `198.51.${100 + (host >> 8)}.${host & 255}`,
  dst: '10.0.0.2',
  sport: 1,
  dport: 9,
})
const v6 = (host: number): { src: string; dst: string; sport: number; dport: number } => ({
  src: `2001:db8::${host.toString(16)}`,
  dst: 'fd00::2',
  sport: 1,
  dport: 9,
})
const BODY = new Uint8Array(60_000).fill(0x5a)
const packets = new Map<string, Uint8Array>()
/** A large datagram of that host's, made once. */
function large(family: 4 | 6, host: number): Uint8Array {
  const key = `${family} ${host}`
  const made = packets.get(key) ?? udp(family === 4 ? v4(host) : v6(host), BODY)
  packets.set(key, made)
  return made
}

/** Each is told how many came before it. */
const floods: Readonly<Record<string, Flood>> = {
  'tiny fragments of one datagram': (i) =>
    fragmentOf(large(4, 1), { at: 8 * (i % 7000), length: 8 }, { id: 1 }),
  'tiny fragments with gaps, many identifications': (i) =>
    fragmentOf(large(6, 1), { at: 16 * (i % 3000), length: 8 }, { id: i >> 6 }),
  'large fragments that never complete': (i) =>
    fragmentOf(large(i & 1 ? 4 : 6, 1), { at: 1360 * (1 + (i % 40)), length: 1360 }, { id: i >> 3 }),
  'overlapping fragments': (_i, r) =>
    fragmentOf(large(4, 1), { at: 8 * r.below(100), length: 8 * (1 + r.below(100)) }, { id: r.below(20) }),
  'first fragments only': (i) => fragmentOf(large(6, 1), { at: 0, length: 1296 }, { id: i }),
  'last fragments only': (i) => fragmentOf(large(4, 1), { at: 59_200, length: 808, more: false }, { id: i }),
  'many sources': (i) => fragmentOf(large(i & 1 ? 4 : 6, 1 + (i % 400)), { at: 0, length: 1296 }, { id: i }),
  'as much as there may be': (i) => {
    const host = 1 + (Math.floor(i / 40) % 60)
    return fragmentOf(large(4, host), { at: 1360 * (1 + (i % 40)), length: 1360 }, { id: 7 })
  },
  'the largest offsets': (i) =>
    fragmentOf(large(6, 1 + (i % 8)), { at: 59_000 + 8 * (i % 100), length: 8 }, { id: i }),
}

for (const [name, flood] of Object.entries(floods)) {
  t.test(name, async (t) => {
    const limits = { reassemblyBytes: 1 << 19 }
    const pair = new Pair({ delay: 10, rate: 1_000_000 }, 5, { limits })
    const { a, b } = pair
    const r = new SeededRandom(6)

    // A TCP flow from a to b, and a ping in fragments every 50 ms.
    const listener = b.listen({ port: 80 }) as TcpListener
    const c = a.connect({ address: ADDRESS_B, port: 80 }, pair.now) as TcpConnection
    const data = r.bytes(400_000)
    let written = 0
    let read = 0
    let intact = true
    let server: TcpConnection | undefined
    const ping = a.openPing() as PingSocket
    let replies = 0
    const chunk = new Uint8Array(20_000)
    pair.onReady = (x) => {
      const bits = takeReady(x)
      if (x === listener && bits & READY_ACCEPT) server = b.accept(listener)
      if (x === ping) while (ping.receive() !== undefined) replies++
      if (x === c) feed()
      if (server !== undefined && x === server) {
        for (let n = server.read(chunk); n > 0; n = server.read(chunk)) {
          for (let i = 0; i < n; i++) if (chunk[i] !== data[read + i]) intact = false
          read += n
        }
      }
    }
    const feed = (): void => {
      while (written < data.length) {
        const part = data.subarray(written, written + 20_000)
        written += part.length
        if (!c.write(part)) break
      }
    }

    let sent = 0
    let most = 0
    let pings = 0
    const question = new Uint8Array(5000)
    for (let ms = 0; ms < 2000; ms++) {
      if (ms % 50 === 0 && ms < 1900) {
        ping.send(pings % 2 ? ADDRESS_B6 : ADDRESS_B, pings, question)
        pings++
      }
      for (let i = 0; i < 10; i++) {
        const p = flood(sent++, r)
        b.input(p, 0, p.length, pair.now)
      }
      most = Math.max(most, b.held.bytes)
      pair.pass(1)
    }
    pair.run(() => read === data.length, 10_000)
    t.equal(read, data.length, 'the flow is through')
    t.ok(intact)
    t.equal(replies, pings, 'every ping was answered')
    // What TCP holds of the flow, and what reassembly may.
    t.ok(most < (1 << 19) + (1 << 18) + 70_000, `${most} octets at most`)
    t.equal(b.counters.fragments >= sent, true)
    t.ok(b.counters.icmpErrorsOut < 40, `${b.counters.icmpErrorsOut} errors`)
    pair.pass(61_000)
    c.abort()
    pair.pass(100)
    b.handleTimeout(pair.now)
    t.equal(b.held.bytes, 0, 'nothing stays')
    b.close()
  })
}

t.test('the cost of a fragment does not depend on how many there are', async (t) => {
  // Steps are not seen from outside, so this is a time, with a wide margin: 20 000 fragments of each flood.
  for (const [name, flood] of Object.entries(floods)) {
    const pair = new Pair({ delay: 10 }, 5)
    const r = new SeededRandom(7)
    const all = Array.from({ length: 20_000 }, (_, i) => flood(i, r))
    const before = process.cpuUsage()
    for (const p of all) pair.b.input(p, 0, p.length, pair.now)
    const ms = (process.cpuUsage(before).user + process.cpuUsage(before).system) / 1000
    t.ok(ms < 4000, `${name}: ${Math.round((ms / all.length) * 1000)} us each`)
    t.ok(pair.b.held.bytes <= pair.b.limits.reassemblyBytes)
  }
})
