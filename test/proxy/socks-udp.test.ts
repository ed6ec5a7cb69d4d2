import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import fc from 'fast-check'
import t from 'tap'
import { oneUser } from '../../src/proxy/credentials.js'
import type { ProxyOptions } from '../../src/proxy/server.js'
import { UdpOut } from '../../src/proxy/socks-udp-out.js'
import { NOTHING_LEFT, startProxy, Talk, until } from '../helpers/proxy.js'
import { SeededRandom } from '../helpers/random.js'
import { ScriptedDialer } from '../helpers/socks-dialer.js'

const hex = (s: string) => Buffer.from(s.replaceAll(' ', ''), 'hex')
const TO4 = '000000 01 c0000201 0035'
const TO6 = '000000 04 20010db8000000000000000000000005 0035'
const TO_NAME = `000000 03 0b ${Buffer.from('udp.example').toString('hex')} 0035`
const datagram = (header: string, data: string | Buffer) => Buffer.concat([hex(header), Buffer.from(data)])

/** The client's UDP socket. */
class Sender {
  readonly socket: Socket
  readonly heard: Buffer[] = []
  readonly from: RemoteInfo[] = []

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('message', (message, from) => {
      this.heard.push(message)
      this.from.push(from)
    })
    socket.on('error', () => {})
    t.teardown(() => this.close())
  }

  static async at(address = '127.0.0.1', port = 0): Promise<Sender> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind({ address, port }, resolve)
    })
    return new Sender(socket)
  }

  get port(): number {
    return this.socket.address().port
  }

  send(bytes: Buffer, relay: Relay): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.send(bytes, relay.port, relay.address, (error) => (error ? reject(error) : resolve()))
    })
  }

  close(): void {
    try {
      this.socket.close()
    } catch {
      // It is.
    }
  }
}

interface Relay {
  readonly address: string
  readonly port: number
}

async function start(proxy: Partial<ProxyOptions> = {}) {
  const dialer = new ScriptedDialer()
  const p = await startProxy({ proxy: { dialer, ...proxy } })
  const senders: Sender[] = []
  return {
    ...p,
    dialer,
    /** A control connection, and where its datagrams go. */
    async associate(announced = '00000000 0000', type = '01') {
      const talk = await p.client()
      talk.say(hex(`050100 050300${type}${announced}`))
      const reply = await talk.hear(12)
      const address = [...reply.subarray(6, 10)].join('.')
      const flow = dialer.datagrams.at(-1)
      if (flow === undefined) throw new Error(`no association: ${reply.toString('hex')}`)
      return { talk, reply, relay: { address, port: reply.readUInt16BE(10) }, flow }
    },
    async sender(address?: string, port?: number): Promise<Sender> {
      const one = await Sender.at(address, port)
      senders.push(one)
      return one
    },
    dropped: () => p.events.flatMap((e) => (e.type === 'dropped' ? [e.reason] : [])),
    failed: () => p.events.flatMap((e) => (e.type === 'failed' ? [e.code] : [])),
    async stop() {
      const left = await p.stop()
      for (const s of senders) s.close()
      await p.clock.settle()
      return { ...left, held: dialer.held, sockets: udpSockets() }
    },
  }
}
/** In this process. */
function udpSockets(): number {
  return process.getActiveResourcesInfo().filter((r) => r === 'UDPWrap').length
}

const NOTHING = { ...NOTHING_LEFT, held: 0, sockets: 0 }

t.test('there and back: IPv4, IPv6 and names', async (t) => {
  const p = await start()
  const { relay, reply, flow, talk } = await p.associate()
  t.match(reply.toString('hex'), /^0500050000017f000001/)
  const me = await p.sender()
  await me.send(datagram(TO4, 'one'), relay)
  await me.send(datagram(TO4, 'two'), relay)
  await me.send(datagram(TO6, 'six'), relay)
  await me.send(datagram(TO_NAME, 'name'), relay)
  await me.send(datagram(TO4, ''), relay)
  await until(() => flow.sent.length === 5)
  t.same(
    flow.sent.map(({ data, to }) => `${data.toString()} ${to.host} ${to.port}`),
    ['one 192.0.2.1 53', 'two 192.0.2.1 53', 'six 2001:db8::5 53', 'name udp.example 53', ' 192.0.2.1 53'],
  )
  flow.receive('eins', '192.0.2.1', 53)
  flow.receive('zwei', '192.0.2.1', 53)
  flow.receive('sechs', '2001:db8::5', 53)
  flow.receive('', '203.0.113.9', 65_535)
  await until(() => me.heard.length === 4)
  t.same(
    me.heard.map((b) => b.toString('hex')),
    [
      datagram(TO4, 'eins'),
      datagram(TO4, 'zwei'),
      datagram(TO6, 'sechs'),
      hex('000000 01 cb007109 ffff'),
    ].map((b) => b.toString('hex')),
  )
  t.ok(me.from.every((f) => f.address === relay.address && f.port === relay.port))
  t.match(
    p.events.filter((e) => e.type === 'open'),
    [{ protocol: 'udp', host: '127.0.0.1', port: 0 }],
  )
  talk.say('nobody reads what comes here')
  talk.socket.end()
  await until(() => talk.ended)
  t.match(
    p.events.find((e) => e.type === 'done'),
    {
      protocol: 'udp',
      port: me.port,
      up: 13,
      down: 13,
      error: undefined,
    },
  )
  t.same(p.dropped(), [])
  t.same(await p.stop(), NOTHING)
})

t.test('the port is on the address of the control connection, and on no other', async (t) => {
  const p = await start()
  const { relay } = await p.associate()
  t.equal(relay.address, '127.0.0.1')
  // That would fail if ours were bound to all addresses.
  const beside = await p.sender('127.0.0.2', relay.port)
  t.equal(beside.port, relay.port)
  t.same(await p.stop(), NOTHING)
})

t.test('large datagrams', async (t) => {
  const p = await start()
  const { relay, flow } = await p.associate()
  const me = await p.sender()
  const random = new SeededRandom(3)
  for (const size of [1372, 1473, 9000, 65_507 - 10]) {
    const data = Buffer.from(random.bytes(size))
    const before = flow.sent.length
    await me.send(datagram(TO4, data), relay)
    await until(() => flow.sent.length > before)
    t.ok(flow.sent.at(-1)?.data.equals(data), `${size} up`)
    const heard = me.heard.length
    flow.receive(data, '192.0.2.1', 53)
    await until(() => me.heard.length > heard)
    t.ok(me.heard.at(-1)?.equals(datagram(TO4, data)), `${size} down`)
  }
  flow.receive(Buffer.alloc(65_507 - 9), '192.0.2.1', 53)
  t.same(p.dropped(), ['too-large'], 'its header makes it too large')
  flow.receive('after', '192.0.2.1', 53)
  await until(() => me.heard.length === 5)
  t.equal(me.heard[4]?.toString('latin1', 10), 'after')
  t.same(await p.stop(), NOTHING)
})

t.test('whose datagrams are taken', async (t) => {
  const p = await start()
  const me = await p.sender()
  const other = await p.sender()
  const stranger = await p.sender('127.0.0.2')
  const port = (s: Sender) => s.port.toString(16).padStart(4, '0')

  await t.test('the first that sends a proper one', async (t) => {
    const { relay, flow } = await p.associate()
    await stranger.send(datagram(TO4, 'stranger'), relay)
    await other.send(hex('0000'), relay)
    await other.send(hex('000001 01 c0000201 0035 aa'), relay)
    await me.send(datagram(TO4, 'me'), relay)
    await until(() => flow.sent.length === 1)
    await other.send(datagram(TO4, 'other'), relay)
    await stranger.send(datagram(TO4, 'stranger'), relay)
    await me.send(datagram(TO4, 'me again'), relay)
    await until(() => flow.sent.length === 2)
    t.same(
      flow.sent.map((s) => s.data.toString()),
      ['me', 'me again'],
    )
    flow.receive('to me', '192.0.2.1', 53)
    await until(() => me.heard.length === 1)
    t.equal(other.heard.length + stranger.heard.length, 0)
  })
  t.same(p.dropped(), ['source', 'malformed', 'fragment'], 'each is told once')

  await t.test('the announced port, and before a datagram came', async (t) => {
    for (const announced of [`00000000 ${port(me)}`, `7f000001 ${port(me)}`]) {
      const { relay, flow } = await p.associate(announced)
      await other.send(datagram(TO4, 'other'), relay).catch(() => {})
      flow.receive('hello', '192.0.2.1', 53)
      const before = me.heard.length
      await until(() => me.heard.length > before, 'a remote host may speak first')
      await me.send(datagram(TO4, 'me'), relay)
      await until(() => flow.sent.length === 1)
      t.same(
        flow.sent.map((s) => s.data.toString()),
        ['me'],
      )
    }
  })

  await t.test('an announced address that is not where it comes from says nothing', async (t) => {
    for (const [announced, type] of [
      [`c0a80005 ${port(other)}`, '01'],
      [`00000000000000000000000000000001 ${port(other)}`, '04'],
      [`01 61 ${port(other)}`, '03'],
    ] as const) {
      const { relay, flow } = await p.associate(announced, type)
      await me.send(datagram(TO4, 'me'), relay)
      await until(() => flow.sent.length === 1)
      t.equal(flow.sent[0]?.data.toString(), 'me')
    }
  })

  await t.test('what another sends in the same moment, before the kernel knows', async (t) => {
    const { relay, flow } = await p.associate()
    await Promise.all([
      me.send(datagram(TO4, 'me'), relay),
      other.send(datagram(TO4, 'other'), relay),
      me.send(datagram(TO4, 'me again'), relay),
    ])
    await until(() => flow.sent.length === 2)
    t.same(
      flow.sent.map((s) => s.data.toString()),
      ['me', 'me again'],
    )
  })

  await t.test('nothing goes to nobody', async (t) => {
    const { relay, flow } = await p.associate()
    flow.receive('too early', '192.0.2.1', 53)
    await me.send(datagram(TO4, 'me'), relay)
    await until(() => flow.sent.length === 1)
    const before = me.heard.length
    flow.receive('now', '192.0.2.1', 53)
    await until(() => me.heard.length > before)
    t.equal(me.heard.at(-1)?.toString('latin1', 10), 'now')
  })
  t.same(await p.stop(), NOTHING)
})

t.test('a client that closes its port and opens it again', async (t) => {
  const p = await start()
  const { relay, flow } = await p.associate()
  const first = await p.sender()
  const { port } = first
  await first.send(datagram(TO4, 'one'), relay)
  await until(() => flow.sent.length === 1)
  first.close()
  // The kernel answers these with errors, which end nothing.
  for (let i = 0; i < 5; i++) {
    flow.receive('to nobody', '192.0.2.1', 53)
    await p.clock.settle()
  }
  const second = await p.sender('127.0.0.1', port)
  await second.send(datagram(TO4, 'two'), relay)
  await until(() => flow.sent.length === 2)
  flow.receive('to somebody', '192.0.2.1', 53)
  await until(() => second.heard.length > 0)
  t.same(p.failed(), [])
  t.same(await p.stop(), NOTHING)
})

t.test('every malformed datagram is dropped, and the next one is not', async (t) => {
  const p = await start()
  const { relay, flow } = await p.associate()
  const me = await p.sender()
  let good = 0
  const marker = async () => {
    good++
    await me.send(datagram(TO4, 'good'), relay)
    await until(() => flow.sent.length >= good)
    t.equal(flow.sent.length, good)
    t.equal(flow.sent.at(-1)?.data.toString(), 'good')
  }
  await marker()
  for (const header of [TO4, TO6, TO_NAME].map(hex)) {
    for (let n = 0; n < header.length; n++) await me.send(header.subarray(0, n), relay)
    await marker()
  }
  for (const type of [0, 2, 5, 6, 255])
    await me.send(hex(`000000${Buffer.of(type).toString('hex')}${'61'.repeat(300)}`), relay)
  for (const fragment of [1, 2, 127, 128, 255]) {
    await me.send(hex(`0000${Buffer.of(fragment).toString('hex')} 01 c0000201 0035 61`), relay)
  }
  await me.send(hex('000000 01 c0000201 0000 61'), relay)
  await me.send(hex('000000 03 00 0035 61'), relay)
  await me.send(hex('000000 03 ff 61'), relay)
  await marker()
  t.same(p.dropped().sort(), ['fragment', 'malformed'])

  const random = fc.uint8Array({ maxLength: 40 })
  const near = fc
    .tuple(fc.constantFrom(TO4, TO6, TO_NAME), fc.nat(40), fc.nat(255), fc.nat(60))
    .map(([h, at, v, cut]) => {
      const b = datagram(h, 'data')
      if (at < b.length) b[at] = v
      return b.subarray(0, cut)
    })
  for (const bytes of fc.sample(fc.oneof(random, near), { seed: 9, numRuns: 1500 })) {
    await me.send(Buffer.from(bytes), relay)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await me.send(datagram(TO4, 'the last'), relay)
  await until(() => flow.sent.at(-1)?.data.toString() === 'the last')
  t.ok(flow.sent.every(({ to }) => to.host !== '' && to.port > 0 && to.port < 65_536))
  t.same(await p.stop(), NOTHING)
})

t.test(
  'an idle association gives its port in the tunnel back, and gets another when it wants one',
  async (t) => {
    const p = await start()
    const { relay, flow, talk } = await p.associate()
    const me = await p.sender()
    await me.send(datagram(TO4, 'one'), relay)
    await until(() => flow.sent.length === 1)
    for (let i = 0; i < 5; i++) {
      await p.clock.advance(119_000)
      flow.receive('still there', '192.0.2.1', 53)
    }
    t.notOk(flow.closed, 'it is not idle')
    await p.clock.advance(240_001)
    t.ok(flow.closed)
    t.equal(p.server.usage().timers, 0)
    t.notOk(talk.ended, 'the association goes on')
    await me.send(datagram(TO4, 'two'), relay)
    await until(() => p.dialer.datagrams.length === 2)
    const next = p.dialer.datagrams[1]
    t.equal(next?.sent[0]?.data.toString(), 'two')
    next?.receive('back', '192.0.2.1', 53)
    await until(() => me.heard.at(-1)?.toString('latin1', 10) === 'back')
    t.same(await p.stop(), NOTHING)
  },
)

t.test('a tunnel that goes and comes again', async (t) => {
  const p = await start()
  const { relay, flow } = await p.associate()
  const me = await p.sender()
  await me.send(datagram(TO4, 'one'), relay)
  await until(() => flow.sent.length === 1)
  flow.fail('tunnel-down')
  p.dialer.failures.set('datagrams', 'tunnel-reconnecting')
  const opened = p.dialer.openDatagrams.bind(p.dialer)
  let asked = 0
  p.dialer.openDatagrams = (options) => {
    asked++
    return opened(options)
  }
  for (let i = 0; i < 10; i++) await me.send(datagram(TO4, 'lost'), relay)
  await until(() => asked === 1)
  await p.clock.advance(900)
  await me.send(datagram(TO4, 'lost'), relay)
  // What is told as dropped comes behind it.
  await me.send(hex('000001 01 c0000201 0035 aa'), relay)
  await until(() => p.dropped().includes('fragment'))
  t.equal(asked, 1, 'not for each datagram')
  t.same(p.failed(), ['tunnel-reconnecting'], 'and told when a datagram is lost')
  p.dialer.failures.clear()
  await p.clock.advance(200)
  await me.send(datagram(TO4, 'found'), relay)
  await until(() => p.dialer.datagrams.length === 2)
  t.same(
    p.dialer.datagrams[1]?.sent.map((s) => s.data.toString()),
    ['found'],
  )
  p.dialer.datagrams[1]?.fail('tunnel-down')
  p.dialer.failures.set('datagrams', 'tunnel-down')
  await me.send(datagram(TO4, 'lost'), relay)
  await until(() => p.failed().length === 2)
  t.equal(p.server.usage().timers, 1, 'until it is asked again')
  t.same(await p.stop(), NOTHING)
})

t.test('what happens to single datagrams is told once of each kind, and ends nothing', async (t) => {
  const p = await start()
  const { relay, flow, talk } = await p.associate()
  const me = await p.sender()
  for (let i = 0; i < 3; i++) {
    flow.fail('name-not-found')
    flow.fail('refused')
    flow.fail('too-large')
  }
  t.same(p.failed(), ['name-not-found', 'refused', 'too-large'])
  await me.send(datagram(TO4, 'on'), relay)
  await until(() => flow.sent.length === 1)
  t.notOk(talk.ended)
  t.same(await p.stop(), NOTHING)
})

t.test('how many there may be', async (t) => {
  const p = await start({ limits: { associations: 3, associationsPerAddress: 2 } })
  const one = await p.associate()
  await p.associate()
  const refused = async (address: string) => {
    const talk = await Talk.to(p.server.port)
    t.teardown(() => talk.socket.destroy())
    talk.say(hex('050100 050300 01 00000000 0000'))
    await talk.over()
    t.equal(talk.hex, '050005010001000000000000', address)
    talk.socket.destroy()
  }
  await refused('of one address')
  t.match(p.events.filter((e) => e.type === 'rejected').at(-1), {
    reason: 'limit',
    message: /UDP associations/,
  })
  t.equal(p.dialer.datagrams.length, 2)
  one.talk.socket.resetAndDestroy()
  await until(() => one.flow.closed)
  const again = await p.associate()
  t.notOk(again.flow.closed)
  await refused('again')
  t.same(await p.stop(), NOTHING)

  // Those that never came about count for nothing.
  const q = await start({ limits: { associations: 1 } })
  q.dialer.failures.set('datagrams', 'no-resources')
  for (let i = 0; i < 3; i++) {
    const talk = await q.client()
    talk.say(hex('050100 050300 01 00000000 0000'))
    await talk.over()
    talk.socket.destroy()
  }
  q.dialer.failures.clear()
  await q.associate()
  t.same(await q.stop(), NOTHING)
})

t.test('the end of the control connection frees everything', async (t) => {
  const p = await start()
  for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
    const { talk, relay, flow } = await p.associate()
    talk.socket[how]()
    await until(() => flow.closed, how)
    await until(() => p.server.usage().connections === 0 || talk.ended)
    const there = await p.sender('127.0.0.1', relay.port)
    t.equal(there.port, relay.port, `${how}: the port is free`)
    talk.socket.destroy()
  }
  await until(() => p.server.usage().connections === 0)
  t.same(p.server.usage().timers, 0)
  t.equal(p.events.filter((e) => e.type === 'done').length, 3)

  // In the middle of its making.
  for (const announced of ['0000', '1234']) {
    const client = await p.client()
    const before = p.dialer.datagrams.length
    const closed = p.events.filter((e) => e.type === 'closed').length
    client.say(hex(`050100 050300 01 00000000 ${announced}`))
    client.socket.resetAndDestroy()
    await until(() => p.events.filter((e) => e.type === 'closed').length > closed)
    t.equal(p.server.usage().connections, 0)
    t.ok(p.dialer.datagrams.slice(before).every((d) => d.closed))
  }
  const left = await p.associate()
  const me = await p.sender()
  await me.send(datagram(TO4, 'x'), left.relay)
  await until(() => left.flow.sent.length === 1)
  t.same(await p.stop(), NOTHING, 'and so does the end of the proxy')
  t.ok(left.flow.closed)
})

t.test('floods', async (t) => {
  const p = await start()
  const { relay, flow, talk } = await p.associate()
  const me = await p.sender()
  const stranger = await p.sender('127.0.0.2')
  await me.send(datagram(TO4, 'first'), relay)
  await until(() => flow.sent.length === 1)
  const all: Promise<void>[] = []
  for (let i = 0; i < 3000; i++) {
    all.push(me.send(datagram(TO4, Buffer.alloc(1000, i)), relay))
    all.push(stranger.send(datagram(TO4, 'stranger'), relay).catch(() => {}))
    flow.receive(Buffer.alloc(1000, i), '192.0.2.1', 53)
  }
  await Promise.all(all)
  // Of so many at once the kernel drops some.
  while (flow.sent.at(-1)?.data.toString() !== 'last') {
    await me.send(datagram(TO4, 'last'), relay)
    await p.clock.settle()
  }
  t.ok(flow.sent.every((s) => s.data.toString() !== 'stranger'))
  t.ok(p.events.length < 20, `${p.events.length} events`)
  t.notOk(talk.ended)
  t.same(await p.stop(), NOTHING)
})

t.test('with a password, as everything else', async (t) => {
  const p = await start({ credentials: oneUser('bob', 'sesame') })
  const client = await p.client()
  client.say(hex('050102 0103626f62 06736573616d65 050300 01 00000000 0000'))
  t.match((await client.hear(14)).toString('hex'), /^05020100050000017f000001/)
  t.same(await p.stop(), NOTHING)
})

t.test('a port that listens on all addresses: clients of IPv4 have an address of IPv4', async (t) => {
  const cases = [
    ['::', '127.0.0.1', /^0500050000017f000001/, TO4],
    ['::1', '::1', /^05000500000400000000000000000000000000000001/, TO6],
    ['0.0.0.0', '127.0.0.1', /^0500050000017f000001/, TO4],
  ] as const
  const six = Object.values(networkInterfaces()).some((list) =>
    list?.some(({ address }) => address === '::1'),
  )
  for (const [listen, own, reply, header] of cases) {
    // Without IPv6 in this machine there is nothing of it to listen on.
    if (!six && listen.includes(':')) continue
    const p = await start({ address: listen })
    const { connect } = await import('node:net')
    const socket = connect({ port: p.server.port, host: own })
    let heard = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk])
    })
    socket.write(hex('050100 050300 01 00000000 0000'))
    await until(() => heard.length >= (own === '::1' ? 24 : 12))
    t.match(heard.toString('hex'), reply)
    const me = await p.sender(own)
    const relay = { address: own, port: heard.readUInt16BE(heard.length - 2) }
    await me.send(datagram(header, 'up'), relay)
    await until(() => p.dialer.datagrams[0]?.sent.length === 1)
    p.dialer.datagrams[0]?.receive('down', header === TO4 ? '192.0.2.1' : '2001:db8::5', 53)
    await until(() => me.heard.length === 1)
    t.equal(me.heard[0]?.toString('hex'), datagram(header, 'down').toString('hex'))
    socket.destroy()
    t.same(await p.stop(), NOTHING)
  }
})

t.test('datagrams to a client whose kernel does not take them at once', async (t) => {
  const queue: { octets: Uint8Array; o: number; length: number; as: string }[] = []
  let takes = true
  const sent: string[] = []
  const text = (octets: Uint8Array, o: number, length: number) =>
    Buffer.from(octets.subarray(o, o + length)).toString('hex')
  const out = new UdpOut(
    {
      send(octets, o, length) {
        if (takes) sent.push(text(octets, o, length))
        else queue.push({ octets, o, length, as: text(octets, o, length) })
      },
      getSendQueueCount: () => queue.length,
    },
    65_507,
  )
  const from = { address: '192.0.2.1', port: 53 }
  t.equal(out.send(Buffer.from('a'), from), undefined)
  t.equal(out.send(Buffer.from('bb'), { address: '2001:db8::5', port: 53 }), undefined)
  t.same(sent, [datagram(TO4, 'a').toString('hex'), datagram(TO6, 'bb').toString('hex')])
  takes = false
  for (let i = 0; i < 64; i++) t.equal(out.send(Buffer.alloc(i * 40, i), from), undefined)
  for (let i = 0; i < 10; i++) t.equal(out.send(Buffer.from('c'), from), 'queue')
  t.equal(queue.length, 64, 'bounded')
  for (const { octets, o, length, as } of queue)
    t.equal(text(octets, o, length), as, 'and nobody has written over it')
  queue.length = 0
  takes = true
  sent.length = 0
  t.equal(out.send(Buffer.alloc(65_508), from), 'too-large')
  t.equal(out.send(Buffer.alloc(65_498), from), 'too-large')
  t.equal(out.send(Buffer.alloc(65_497), from), undefined)
  t.equal(out.send(Buffer.from('d'), from), undefined)
  t.equal(sent.at(-1), datagram(TO4, 'd').toString('hex'))
})
