/** Floods of SYNs and of connections: RFC 4987. What is bounded is bounded, and others go on. */
import t from 'tap'
import type { TcpConnection } from '../../../stack/index.js'
import { ADDRESS_B, Pair } from '../../helpers/pair.js'
import { Dialogue, ip, readAll, stream } from '../../helpers/segment.js'
import { Siege, SYN, undisturbed } from './siege.js'

const quiet = undisturbed()

/** A new connection from the client to the listener of the siege carries a kilobyte each way. */
function newcomer(s: Siege, within: number): boolean {
  const { pair } = s
  const c = pair.a.connect({ address: ADDRESS_B, port: 81 }, pair.now)
  if (typeof c === 'string') return false
  return pair.run(() => c.stateName === 'ESTABLISHED', within)
}

t.test('a flood of SYNs from everywhere', async (t) => {
  const s = new Siege()
  const l = s.pair.b.listen({ port: 81 })
  t.ok(l)
  s.run((i) => {
    for (let k = 0; k < 10; k++) {
      const from = `${11 + (k % 100)}.${s.random.below(256)}.${s.random.below(256)}.${1 + s.random.below(254)}`
      const options = new Uint8Array(0)
      s.attack(
        s.asClient({
          from,
          fromPort: 1024 + s.random.below(60_000),
          toPort: 81,
          seq: i,
          flags: SYN,
          options,
        }),
      )
    }
    s.look()
  })
  t.ok(s.forged > 3000)
  t.ok(s.pair.b.held.connections <= 257, `${s.pair.b.held.connections} connections`)
  t.equal(l?.halfOpen, 256)
  t.ok(s.pair.b.counters.acceptOverflows > 2000)
  t.ok(s.peak <= quiet.peak + 300_000, `${s.peak} octets held, ${quiet.peak} in peace`)
  // Two packets for each that was taken, a few more later; nothing for the rest.
  t.ok(s.packetsOut <= quiet.packets * 1.1 + 4 * 256, `${s.packetsOut} packets out`)
  // When it is over the listener comes back by itself.
  s.pair.pass(70_000)
  t.equal(l?.halfOpen, 0)
  t.ok(newcomer(s, 1000), 'a newcomer is let in')
  s.survived()
})

t.test('one peer that opens as many connections as it can, and holds them', async (t) => {
  const limits = { connections: 200, backlog: 50 }
  const s = new Siege({ stack: { limits } })
  const l = s.pair.b.listen({ port: 81 })
  t.ok(l)
  const flood: TcpConnection[] = []
  const accepted: TcpConnection[] = []
  s.run(() => {
    for (let k = 0; k < 3; k++) {
      const c = s.pair.a.connect({ address: ADDRESS_B, port: 81 }, s.pair.now)
      if (typeof c !== 'string') flood.push(c)
    }
    for (let x = l && s.pair.b.accept(l); x; x = l && s.pair.b.accept(l)) accepted.push(x)
    s.look()
  })
  t.ok(s.pair.b.held.connections <= 200)
  t.ok(s.pair.a.held.connections <= 200)
  t.ok(accepted.length >= 50, `${accepted.length} were taken`)
  for (const c of flood) c.abort()
  s.pair.pass(1000)
  t.ok(newcomer(s, 2000), 'when they are gone there is room again')
  s.survived()
})

t.test('connections that open and reset at once leave nothing behind', async (t) => {
  const s = new Siege()
  const l = s.pair.b.listen({ port: 81 })
  s.run((i) => {
    const c = s.pair.a.connect({ address: ADDRESS_B, port: 81 }, s.pair.now)
    if (typeof c !== 'string') {
      c.write(stream(100))
      if (i % 2 === 0) c.end()
    }
    s.pair.settle()
    for (let x = l && s.pair.b.accept(l); x; x = l && s.pair.b.accept(l)) x.abort()
  })
  s.pair.pass(1000)
  for (let x = l && s.pair.b.accept(l); x; x = l && s.pair.b.accept(l)) x.abort()
  s.pair.pass(200_000)
  t.equal(s.pair.b.held.connections, 0)
  t.equal(s.pair.a.held.connections, 0)
  s.survived()
})

t.test(
  'connections that end properly are held in TIME-WAIT no longer than the limit lets them',
  async (t) => {
    const d = new Dialogue(t, { limits: { timeWait: 100 } })
    const l = d.listen({ backlog: 1000 })
    for (let i = 0; i < 1000; i++) {
      d.peerPort = 10_000 + i
      d.stackIss = undefined
      d.peerNext = 0
      const c = d.serve({}, l)
      c.end()
      d.drain()
      d.in({ flags: 'FA', seq: 1, ack: 2 })
      d.forget()
    }
    t.equal(d.stack.held.connections, 100)
    t.equal(d.stack.held.bytes, 0)
  },
)

// ---------------------------------------------------------------- ports

t.test('when no port is left, the caller is told, and those who have one keep it', async (t) => {
  // Random numbers that count: the search for a port begins at the next one, or the last ones would take long.
  let word = 0
  const random = (dst: Uint8Array): void => {
    word++
    for (let i = 0; i < dst.length; i++) dst[i] = word >>> (8 * ((dst.length - 1 - i) & 3))
  }
  const d = new Dialogue(t, { limits: { connections: 100_000 }, random })
  const first = d.open()
  const address = ip(d.peerAddress)
  const mine = { iss: d.stackIss, port: d.stackPort }
  const connections = new Set<number>([first.tuple.localPort])
  let last: TcpConnection | undefined
  let refused: string | undefined
  const ports = 65536 - 1024
  for (let i = 0; i <= ports; i++) {
    const c = d.stack.connect({ address, port: 5000 }, d.now)
    if (typeof c === 'string') {
      refused = c
      break
    }
    connections.add(c.tuple.localPort)
    last = c
  }
  t.equal(refused, 'no-resources', 'a clear answer')
  t.equal(connections.size, ports, 'every port once')
  t.equal(d.stack.held.connections, ports)
  const again = d.stack.connect({ address, port: 5000 }, d.now)
  t.type(again, 'string')
  // Another destination has ports of its own, and the first connection works: even while so many SYNs wait.
  const elsewhere = d.stack.connect({ address, port: 5001 }, d.now)
  t.not(typeof elsewhere, 'string')
  d.stackIss = mine.iss
  d.stackPort = mine.port
  d.peerPort = 5000
  d.peerNext = 1
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'still here' })
  t.equal(readAll(first), 'still here')
  // One that ends makes room for one.
  last?.abort()
  const next = d.stack.connect({ address, port: 5000 }, d.now)
  t.not(typeof next, 'string')
  if (typeof next !== 'string') t.equal(next.tuple.localPort, last?.tuple.localPort)
})

t.test('the limit of connections is an answer too', async (t) => {
  const pair = new Pair({ delay: 1 }, 1, { limits: { connections: 10 } })
  const l = pair.b.listen({ port: 80 })
  t.ok(l)
  const open: TcpConnection[] = []
  let refused = 0
  for (let i = 0; i < 20; i++) {
    const c = pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now)
    if (typeof c === 'string') refused++
    else open.push(c)
  }
  t.equal(refused, 10)
  pair.pass(100)
  t.equal(open.filter((c) => c.stateName === 'ESTABLISHED').length, 10)
  open[0]?.abort()
  pair.pass(10)
  t.not(typeof pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now), 'string')
  pair.a.close()
  pair.b.close()
})
