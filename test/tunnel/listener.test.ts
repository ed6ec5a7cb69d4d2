import t from 'tap'
import type { DialError, Endpoint, Flow, FlowListener } from '../../src/tunnel/dialer.js'
import { BACKLOG } from '../../src/tunnel/listener.js'
import { IpAddress, type NetStack, type TcpConnection } from '../../stack/index.js'
import { HOST, InnerPair, OTHER, OWN } from '../helpers/inner-pair.js'
import { SeededRandom } from '../helpers/random.js'

const PORT = 8080

/** A listener with a handler, and all that it is told. */
function taken(listener: FlowListener) {
  const flows: Flow[] = []
  const ends: string[] = []
  listener.handler = {
    onFlow: (flow) => void flows.push(flow),
    onClose: (error) => void ends.push(error.code),
  }
  return { flows, ends }
}

function dial(p: InnerPair, host: NetStack = p.host, port = PORT, address = OWN): TcpConnection {
  const c = host.connect({ address, port }, p.loop.now)
  if (typeof c === 'string') throw new Error(c)
  return c
}

function hear(flow: Flow | undefined): { text: () => string; readonly ends: (DialError | undefined)[] } {
  const ends: (DialError | undefined)[] = []
  let text = ''
  if (flow === undefined) throw new Error('no connection came')
  flow.handler = {
    onReadable: () => {
      for (let view = flow.peek(); view.length > 0; view = flow.peek()) {
        text += Buffer.from(view).toString()
        flow.consume(view.length)
      }
    },
    onWritable() {},
    onClose: (error) => void ends.push(error),
  }
  return { text: () => text, ends }
}

t.test('connections to our own address', async (t) => {
  const p = new InnerPair()
  const listener = p.inner.sockets.listen({ port: PORT })
  t.same(listener.locals, [{ address: OWN.toString(), port: PORT }])
  const { flows } = taken(listener)
  const c = dial(p)
  await p.pass(10)
  c.write(Buffer.from('question'))
  c.end()
  await p.pass(10)
  const [flow] = flows
  t.match(flow, { local: { address: '10.9.0.2', port: PORT }, remote: { address: '10.9.0.1' } })
  const heard = hear(flow)
  await p.pass(10)
  t.equal(heard.text(), 'question')
  t.equal(flow?.ended, true)
  flow?.write(Buffer.from('answer'))
  flow?.end()
  await p.pass(10)
  t.equal(Buffer.from(c.peek()).toString(), 'answer')
  c.consume(6)
  await p.pass(10)
  t.same(heard.ends, [undefined], 'a proper end')
  await p.pass(300_000)
  t.equal(p.inner.stack.held.connections, 0)
})

t.test('ports: taken, free again, any', async (t) => {
  const p = new InnerPair()
  const { sockets } = p.inner
  const first = sockets.listen({ port: PORT })
  t.throws(() => sockets.listen({ port: PORT }), { code: 'no-resources', message: /8080 is taken/ })
  first.close()
  first.close()
  sockets.listen({ port: PORT })
  const any = [1, 2, 3].map(() => sockets.listen({ port: 0 }).locals[0]?.port ?? 0)
  t.equal(new Set(any).size, 3)
  t.ok(any.every((port) => port >= 49_152 && port <= 65_535))
  for (const port of [-1, 1.5, 65_536]) t.throws(() => sockets.listen({ port }), { code: 'no-resources' })
  t.throws(() => sockets.listen({ port: 1, from: 'host' }), { code: 'name-invalid' })
  const udp = sockets.openUdp({ port: 53 })
  t.equal(udp.local.port, 53)
  t.throws(() => sockets.openUdp({ port: 53 }), { code: 'no-resources', message: /53 is taken/ })
  udp.close()
  sockets.openUdp({ port: 53 })
})

t.test('only from one address: others are refused, and never connected', async (t) => {
  const p = new InnerPair()
  const stranger = IpAddress.parse('10.9.0.9') as IpAddress
  p.host.addAddress(stranger)
  const listener = p.inner.sockets.listen({ port: PORT, from: stranger.toString() })
  const { flows } = taken(listener)
  const wrong = dial(p)
  await p.pass(10)
  t.equal(wrong.error, 'refused')
  t.equal(flows.length, 0)
  const right = p.host.connect({ address: OWN, port: PORT }, p.loop.now, { local: stranger })
  await p.pass(10)
  t.equal(flows[0]?.remote.address, '10.9.0.9')
  t.not(typeof right, 'string')
  t.equal(p.inner.stack.held.connections, 1)
})

t.test('connections wait for a handler, and only so many', async (t) => {
  const p = new InnerPair()
  const listener = p.inner.sockets.listen({ port: PORT })
  const more = 40
  const all = Array.from({ length: BACKLOG + more }, () => dial(p))
  const open = (): number => all.filter((c) => c.stateName === 'ESTABLISHED').length
  await p.pass(100)
  t.equal(open(), BACKLOG)
  all[0]?.write(Buffer.from('early'))
  all[1]?.abort()
  await p.pass(100)
  const { flows } = taken(listener)
  await p.pass(10)
  const [first, second] = flows.slice(0, 2).map(hear)
  t.equal(first?.text(), '', 'not from inside the call')
  await p.pass(20_000)
  t.equal(open(), all.length - 1, 'the others came again, and were taken')
  t.equal(flows.length, all.length)
  t.equal(first?.text(), 'early')
  t.match(second?.ends, [{ code: 'reset' }], 'one that had gone before says so')
})

t.test('handshakes that nobody finishes make room again', async (t) => {
  const p = new InnerPair()
  const listener = p.inner.sockets.listen({ port: PORT })
  const { flows } = taken(listener)
  // Whoever has those addresses answers nothing.
  const { input } = p.host
  p.host.input = () => {}
  for (let i = 0; i < BACKLOG; i++) dial(p)
  await p.pass(100)
  t.equal(p.inner.stack.held.connections, BACKLOG)
  p.host.input = input
  p.host.close()
  await p.pass(200_000)
  t.equal(p.inner.stack.held.connections, 0)
  t.equal(flows.length, 0)
})

t.test('close: what was handed over lives on, what waits is reset', async (t) => {
  const p = new InnerPair()
  const listener = p.inner.sockets.listen({ port: PORT })
  const { flows } = taken(listener)
  const had = dial(p)
  await p.pass(10)
  listener.handler = undefined
  const waiting = dial(p)
  await p.pass(10)
  listener.close()
  await p.pass(10)
  t.equal(waiting.error, 'reset')
  const heard = hear(flows[0])
  had.write(Buffer.from('still here'))
  await p.pass(10)
  t.equal(heard.text(), 'still here')
  const late = dial(p)
  await p.pass(10)
  t.equal(late.error, 'refused')
})

t.test('calls come and go: the listener stays, also with another address', async (t) => {
  const p = new InnerPair()
  const listener = p.inner.sockets.listen({ port: PORT })
  const udp = p.inner.sockets.openUdp({ port: 514 })
  const datagrams: string[] = []
  const errors: string[] = []
  udp.handler = {
    onDatagram: (data, from) => void datagrams.push(`${Buffer.from(data)} ${from.address}`),
    onError: (error) => void errors.push(error.code),
  }
  const { flows, ends } = taken(listener)
  dial(p)
  await p.pass(10)
  const heard = hear(flows[0])
  p.takeAway()
  t.same(listener.locals, [{ address: '10.9.0.2', port: PORT }])
  const between = p.inner.sockets.listen({ port: 81 })
  p.inner.setIpv4(OTHER)
  t.same(listener.locals, [{ address: '10.9.0.3', port: PORT }])
  t.match(heard.ends, [{ code: 'tunnel-down' }])
  p.giveBack()
  dial(p, p.host, PORT, OTHER)
  const other = taken(between)
  dial(p, p.host, 81, OTHER)
  const sender = p.host.openUdp({ port: 9 })
  sender?.send(Buffer.from('a datagram'), { address: OTHER, port: 514 })
  await p.pass(10)
  t.match(
    [flows[1]?.local, other.flows[0]?.local],
    [
      { address: '10.9.0.3', port: PORT },
      { address: '10.9.0.3', port: 81 },
    ],
  )
  t.same([ends, errors], [[], []])
  t.same(datagrams, ['a datagram 10.9.0.1'])
  p.inner.reset()
  t.same(listener.locals, [])
  p.inner.setIpv4(OWN)
  dial(p)
  await p.pass(10)
  t.equal(flows.length, 3, 'and after everything was reset')
})

t.test('both families', async (t) => {
  const p = new InnerPair()
  const six = IpAddress.parse('2001:db8::2') as IpAddress
  p.inner.stack.addAddress(six)
  p.inner.stack.addAddress(IpAddress.parse('fe80::2') as IpAddress)
  p.host.addAddress(IpAddress.parse('2001:db8::1') as IpAddress)
  const listener = p.inner.sockets.listen({ port: PORT })
  t.same(
    listener.locals.map(({ address }) => address),
    ['10.9.0.2', '2001:db8::2'],
  )
  const { flows } = taken(listener)
  dial(p, p.host, PORT, six)
  await p.pass(10)
  t.equal(flows[0]?.remote.address, '2001:db8::1')
})

t.test('the end is told, to whoever listens later too', async (t) => {
  const p = new InnerPair()
  const heard = taken(p.inner.sockets.listen({ port: PORT }))
  const deaf = p.inner.sockets.listen({ port: 81 })
  const waiting = dial(p, p.host, 81)
  await p.pass(10)
  t.equal(waiting.stateName, 'ESTABLISHED')
  p.inner.closeSockets({ code: 'tunnel-down' } as DialError)
  t.same(heard.ends, ['tunnel-down'])
  await p.pass(10)
  t.equal(waiting.error, 'reset')
  const late = taken(deaf)
  await p.pass(1)
  t.same(late.ends, ['tunnel-down'])
  t.throws(() => p.inner.sockets.listen({ port: 82 }), { code: 'tunnel-down' })
  p.inner.close({ code: 'tunnel-down' } as DialError)
  t.equal(p.inner.stack.held.connections, 0)
})

t.test('datagrams of every size, in both families', async (t) => {
  const p = new InnerPair()
  const [ours, theirs] = ['2001:db8::2', '2001:db8::1'].map((a) => IpAddress.parse(a) as IpAddress)
  if (ours === undefined || theirs === undefined) throw new Error('no address')
  p.inner.stack.addAddress(ours)
  p.host.addAddress(theirs)
  const udp = p.inner.sockets.openUdp({ port: 5000 })
  const echo = p.host.openUdp({ port: 7 })
  const received: Buffer[] = []
  udp.handler = { onDatagram: (data) => void received.push(Buffer.from(data)), onError() {} }
  const random = new SeededRandom(9)
  const way: [Endpoint, number][] = [
    [{ address: HOST.toString(), port: 7 }, 65_507],
    [{ address: theirs.toString(), port: 7 }, 65_527],
  ]
  for (const [to, most] of way) {
    for (const size of [0, 1, 1372, 1373, 9000, most]) {
      const data = random.bytes(size)
      udp.send(data, to)
      await p.pass(10)
      const d = echo?.receive()
      t.ok(d !== undefined && Buffer.from(d.data).equals(data), `${size} octets up`)
      if (d !== undefined) echo?.send(d.data, d.from)
      await p.pass(10)
      t.ok(received.shift()?.equals(data), `${size} octets down`)
    }
    t.throws(() => udp.send(new Uint8Array(most + 1), to), { code: 'too-large' })
  }
})
