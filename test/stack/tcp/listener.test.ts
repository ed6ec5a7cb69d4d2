/** Listeners: backlog, floods, any address, held connections (RFC 9293 3.10.1, RFC 4987). */
import t from 'tap'
import { READY_ACCEPT, READY_CLOSED, READY_CONNECTED, type TcpConnection } from '../../../stack/index.js'
import { Dialogue, ip, latin, readAll, type Test } from '../../helpers/segment.js'

/** A SYN from somebody else, and its answer. */
function syn(d: Dialogue, i: number): void {
  d.in({
    flags: 'S',
    seq: 0,
    mss: 1000,
    from: `10.9.${(i >>> 8) & 255}.${i & 255}`,
    fromPort: 1024 + (i % 60_000),
  })
}

/** Completes the handshake that `syn` began; the answer must be the last segment taken. */
function complete(d: Dialogue, i: number): void {
  const [answer] = d.forget()
  if (answer === undefined) throw new Error('no answer')
  d.in({
    flags: 'A',
    seq: 1,
    ack: (answer.rawSeq + 1 - (d.stackIss ?? 0)) | 0,
    from: `10.9.${(i >>> 8) & 255}.${i & 255}`,
    fromPort: 1024 + (i % 60_000),
  })
}

t.test('half-open connections are bounded, and more SYNs are met with silence', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen({ backlog: 4 })
  for (let i = 0; i < 10; i++) syn(d, i)
  t.equal(d.forget().length, 4)
  t.equal(l.halfOpen, 4)
  t.equal(d.stack.held.connections, 4)
  t.equal(d.stack.counters.acceptOverflows, 6)
  d.pass(63_000)
  t.equal(l.halfOpen, 0, 'they do not stay for ever')
  d.forget()
  syn(d, 20)
  t.equal(d.forget().length, 1)
})

t.test('connections that nobody accepts are bounded too', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen({ backlog: 3 })
  for (let i = 0; i < 3; i++) {
    syn(d, i)
    complete(d, i)
  }
  t.equal(l.halfOpen, 0)
  syn(d, 9)
  d.silent()
  const c = d.stack.accept(l)
  t.equal(c?.tuple.remote.toString(), '10.9.0.0', 'first come, first served')
  syn(d, 9)
  d.expect({ flags: 'SA' })
})

t.test('a connection that ends before it is accepted leaves its place, and nobody hears of it', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen({ backlog: 2 })
  for (let i = 0; i < 2; i++) {
    syn(d, i)
    complete(d, i)
  }
  d.in({ flags: 'R', seq: 1, from: '10.9.0.0', fromPort: 1024 })
  t.equal(d.stack.held.connections, 1)
  const c = d.stack.accept(l)
  t.equal(c?.tuple.remote.toString(), '10.9.0.1')
  t.equal(d.stack.accept(l), undefined)
  d.drain()
  t.ok(d.news.every(([s]) => s === l || s === c))
})

t.test('a flood of SYNs does not disturb a connection that is open', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  const c = d.serve({}, l)
  const iss = d.stackIss
  const before = d.stackNext
  let seq = 1
  for (let i = 0; i < 20_000; i++) {
    syn(d, i)
    if (i % 100 !== 0) continue
    d.forget()
    d.in({ flags: 'PA', seq, ack: 1, data: 'ping' })
    seq += 4
    d.pass(40)
    t.ok(
      d.forget().some((s) => s.ack === seq && s.toPort === 5000),
      'acknowledged',
    )
  }
  t.equal(d.stackIss, iss)
  t.equal(d.stackNext, before)
  t.ok(d.stack.held.connections <= 257)
  t.equal(readAll(c).length, seq - 1)
  d.pass(70_000)
  t.equal(d.stack.held.connections, 1, 'and leaves nothing behind')
  t.equal(l.halfOpen, 0)
})

t.test('the limit of connections holds for listeners too', async (t) => {
  const d = new Dialogue(t, { limits: { connections: 10 } })
  d.listen()
  for (let i = 0; i < 20; i++) syn(d, i)
  t.equal(d.forget().length, 10)
  t.equal(d.stack.held.connections, 10)
})

t.test('an address and port can be listened on once; the closest match gets the connection', async (t) => {
  const d = new Dialogue(t)
  const exact = d.listen({ address: ip('10.0.0.2') })
  const port = d.listen()
  const any = d.listen({ port: 0 })
  t.equal(d.stack.listen({ port: 80 }), undefined)
  t.equal(d.stack.listen({ port: 80, address: ip('10.0.0.2') }), undefined)
  t.equal(d.stack.listen({ port: 0 }), undefined)
  t.equal(d.serve({}, exact).tuple.localPort, 80)
  d.stack.unlisten(exact)
  d.peerPort++
  d.stackIss = undefined
  t.ok(d.serve({}, port))
  d.peerPort++
  d.stackIss = undefined
  d.stackPort = 4321
  t.equal(d.serve({}, any).tuple.localPort, 4321)
})

t.test('a SYN to a port that nobody listens on is refused', async (t) => {
  const d = new Dialogue(t)
  d.listen({ address: ip('10.0.0.77') })
  d.in({ flags: 'S', seq: 0 })
  d.expect({ flags: 'RA', rawSeq: 0, ack: 1, fromPort: 80, toPort: 5000 })
  d.in({ flags: 'S', seq: 0, fromPort: 0, toPort: 80 })
  t.equal(d.stack.held.connections, 0)
})

t.test('to a listener, ACK is answered with RST, RST with nothing, FIN or data alone with RST', async (t) => {
  const d = new Dialogue(t)
  d.listen()
  d.in({ flags: 'A', seq: 0, ack: 1234 })
  d.expect({ flags: 'R', rawSeq: 1234 })
  d.in({ flags: 'SA', seq: 0, ack: 99 })
  d.expect({ flags: 'R', rawSeq: 99 })
  d.in({ flags: 'R', seq: 0 })
  d.in({ flags: 'SR', seq: 0 })
  d.silent()
  d.in({ flags: 'F', seq: 0 })
  d.expect({ flags: 'RA', ack: 1 })
  t.equal(d.stack.held.connections, 0)
})

t.test('closing a listener ends what was not accepted, and only that', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  const c = d.serve({}, l)
  syn(d, 1)
  complete(d, 1)
  syn(d, 2)
  d.forget()
  d.stack.unlisten(l)
  const resets = d.forget()
  t.equal(resets.length, 2)
  t.ok(resets.every((s) => s.flags === 'RA'))
  t.equal(d.stack.held.connections, 1)
  t.equal(c.stateName, 'ESTABLISHED')
  syn(d, 3)
  d.expect({ flags: 'RA' })
  d.stack.unlisten(l)
  d.silent()
  t.ok(d.listen(), 'the port is free again')
})

// ---------------------------------------------------------------- any address

t.test('with any-address a listener takes connections to addresses that are not its own', async (t) => {
  const d = new Dialogue(t, { anyAddress: true })
  const l = d.listen({ port: 0 })
  d.in({ flags: 'S', seq: 0, to: '192.0.2.55', toPort: 443 })
  const [answer] = d.forget()
  t.equal(answer?.from, '192.0.2.55')
  t.equal(answer?.fromPort, 443)
  d.in({ flags: 'A', seq: 1, ack: 1, to: '192.0.2.55', toPort: 443 })
  const c = d.stack.accept(l)
  t.equal(c?.tuple.local.toString(), '192.0.2.55')
  t.equal(c?.tuple.localPort, 443)
  for (const to of ['224.0.0.1', '255.255.255.255', '127.0.0.1', '0.0.0.0']) {
    d.in({ flags: 'S', seq: 0, to, toPort: 443 })
  }
  d.silent()
})

t.test('without it packets to other addresses are dropped', async (t) => {
  const d = new Dialogue(t)
  d.listen({ port: 0 })
  d.in({ flags: 'S', seq: 0, to: '192.0.2.55' })
  d.in({ flags: 'A', seq: 0, to: '192.0.2.55' })
  d.silent()
})

// ---------------------------------------------------------------- held

function held(t: Test): [Dialogue, TcpConnection] {
  const d = new Dialogue(t, { anyAddress: true })
  const l = d.listen({ port: 0, hold: true })
  d.in({ flags: 'S', seq: 0, mss: 1000 })
  d.silent()
  if (d.bits(l) !== READY_ACCEPT) throw new Error('no news of the SYN')
  const c = d.stack.accept(l)
  if (c === undefined) throw new Error('nothing to accept')
  return [d, c]
}

t.test('a held connection is handed out unanswered and answered on proceed', async (t) => {
  const [d, c] = held(t)
  t.ok(c.isHeld)
  d.pass(5000)
  d.in({ flags: 'S', seq: 0 })
  d.silent()
  c.write(latin('banner'))
  d.silent()
  c.proceed(d.now)
  t.notOk(c.isHeld)
  d.expect({ flags: 'SA', seq: 0, ack: 1 })
  c.proceed(d.now)
  d.silent()
  d.in({ flags: 'A', seq: 1, ack: 1 })
  t.equal(d.bits(c), READY_CONNECTED)
  d.expect({ flags: 'PA', seq: 1, data: 'banner' })
  c.refuse('refused', d.now)
  t.equal(c.stateName, 'ESTABLISHED', 'too late')
})

t.test('refused by RST', async (t) => {
  const [d, c] = held(t)
  c.refuse('refused', d.now)
  d.expect({ flags: 'RA', ack: 1, window: 0 })
  t.equal(c.stateName, 'CLOSED')
  t.equal(d.packets.length, 0)
  t.equal(d.stack.held.connections, 0)
  c.proceed(d.now)
  d.silent()
})

t.test('refused by ICMP for what RST cannot say', async (t) => {
  for (const [reason, code] of [
    ['network-unreachable', 0],
    ['host-unreachable', 1],
    ['prohibited', 13],
  ] as const) {
    const [d, c] = held(t)
    c.refuse(reason, d.now)
    d.silent()
    const [p] = d.packets
    t.equal(p?.protocol, 1)
    t.equal(p?.to, '10.0.0.1')
    t.equal(p?.payload[0], 3)
    t.equal(p?.payload[1], code)
    // The quote names the SYN: addresses, ports, and its sequence number.
    const quoted = Buffer.from(p?.payload.subarray(8) ?? [])
    t.same([...quoted.subarray(12, 20)], [10, 0, 0, 1, 10, 0, 0, 2])
    t.equal(quoted.readUInt16BE(20), 5000)
    t.equal(quoted.readUInt16BE(22), 80)
    t.equal(quoted.readUInt32BE(24), d.peerIss)
    t.equal(d.stack.held.connections, 0)
  }
})

t.test('when ICMP is at its limit RST says it', async (t) => {
  const d = new Dialogue(t, { anyAddress: true, limits: { icmpBurst: 2 } })
  const l = d.listen({ port: 0, hold: true })
  for (let i = 0; i < 5; i++) {
    syn(d, i)
    d.stack.accept(l)?.refuse('host-unreachable', d.now)
  }
  t.equal(d.forget().length, 3)
  t.equal(d.packets.length, 2)
})

t.test('of a time-out the other side learns by silence', async (t) => {
  const [d, c] = held(t)
  c.refuse('timed-out', d.now)
  d.silent()
  t.equal(d.packets.length, 0)
  t.equal(c.stateName, 'CLOSED')
})

t.test('nobody decides: after 63 s it is over', async (t) => {
  const [d, c] = held(t)
  d.pass(62_999)
  t.equal(c.stateName, 'SYN-RECEIVED')
  d.pass(1)
  t.equal(c.error, 'timed-out')
  t.equal(d.bits(c), READY_CLOSED)
  d.silent()
})

t.test('the other side gives up while it is held', async (t) => {
  const [d, c] = held(t)
  d.in({ flags: 'R', seq: 50 })
  t.equal(c.stateName, 'SYN-RECEIVED', 'not by any number')
  d.in({ flags: 'R', seq: 1 })
  t.equal(c.stateName, 'CLOSED')
  t.equal(d.bits(c), READY_CLOSED)
  c.proceed(d.now)
  d.silent()
})

t.test('abort of a held connection says nothing', async (t) => {
  const [d, c] = held(t)
  c.abort()
  d.silent()
  t.equal(c.stateName, 'CLOSED')
})

t.test('held connections count against the backlog until they are accepted', async (t) => {
  const d = new Dialogue(t, { anyAddress: true })
  const l = d.listen({ port: 0, hold: true, backlog: 3 })
  for (let i = 0; i < 5; i++) syn(d, i)
  t.equal(d.stack.held.connections, 3)
  d.stack.accept(l)
  syn(d, 7)
  t.equal(d.stack.held.connections, 4)
  d.pass(63_000)
  t.equal(d.stack.held.connections, 0)
  t.equal(d.stack.accept(l), undefined, 'those that timed out are not handed out')
  syn(d, 8)
  t.ok(d.stack.accept(l) !== undefined)
})

t.test('closing the listener drops held connections that nobody has taken', async (t) => {
  const d = new Dialogue(t, { anyAddress: true })
  const l = d.listen({ port: 0, hold: true })
  syn(d, 1)
  syn(d, 2)
  const c = d.stack.accept(l)
  d.stack.unlisten(l)
  t.equal(d.stack.held.connections, 1)
  c?.proceed(d.now)
  d.expect({ flags: 'SA' })
})
