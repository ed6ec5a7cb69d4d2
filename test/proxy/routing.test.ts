import { createServer, get, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import t from 'tap'
import { createDialer } from '../../src/dns/dialer.js'
import { createDirectDialer } from '../../src/proxy/direct.js'
import { pacPages } from '../../src/proxy/pac.js'
import { createRouting } from '../../src/proxy/routing.js'
import { createRoutingDialer } from '../../src/proxy/routing-dialer.js'
import { listenProxy, type ProxyServer } from '../../src/proxy/server.js'
import {
  type DatagramFlow,
  type DatagramOptions,
  DialError,
  type DialErrorCode,
  type Dialer,
  type Endpoint,
  type HostPort,
  type UdpHandler,
} from '../../src/tunnel/dialer.js'
import { a, respond, serveDns } from '../helpers/dns-server.js'
import { MemoryFlow, MemoryNetwork } from '../helpers/memory-network.js'
import { rulesOf } from '../helpers/rules.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

/** One UDP socket of a way, in memory. */
class FakeDatagrams implements DatagramFlow {
  readonly local: Endpoint
  handler: UdpHandler | undefined
  readonly sent: string[] = []
  closed = false
  readonly options: DatagramOptions
  constructor(local: Endpoint, options: DatagramOptions) {
    this.options = options
    this.local = local
  }
  send(data: Uint8Array, to: HostPort): void {
    this.sent.push(`${Buffer.from(data)} ${to.host}:${to.port}`)
  }
  close(): void {
    this.closed = true
  }
}

/** A way that knows some names, and writes down what it is asked. */
class FakeWay implements Dialer {
  readonly log: string[] = []
  readonly flows: MemoryFlow[] = []
  readonly sockets: FakeDatagrams[] = []
  /** What becomes of dialling an address. */
  readonly fates = new Map<string, DialErrorCode>()
  opening: DialErrorCode | undefined
  readonly own: string
  readonly names: Record<string, readonly string[]>
  constructor(own: string, names: Readonly<Record<string, readonly string[]>>) {
    this.own = own
    this.names = { ...names }
  }

  async dial(to: HostPort) {
    this.log.push(`dial ${to.host}:${to.port}`)
    const fate = this.fates.get(to.host)
    if (fate !== undefined) throw new DialError(fate, `${to.host} ${fate}`)
    const [ours] = MemoryFlow.pair({ address: this.own, port: 1 }, { address: to.host, port: to.port })
    this.flows.push(ours)
    return ours
  }
  async resolve(host: string) {
    this.log.push(`resolve ${host}`)
    const found = this.names[host.replace(/\.$/, '')]
    if (found === undefined) throw new DialError('name-not-found', `no ${host}`)
    return found
  }
  async reverse(address: string) {
    this.log.push(`reverse ${address}`)
    return 'host.example'
  }
  openDatagrams(options: DatagramOptions = {}): DatagramFlow {
    this.log.push('open')
    if (this.opening !== undefined) throw new DialError(this.opening, 'cannot open')
    const socket = new FakeDatagrams({ address: this.own, port: 1000 + this.sockets.length }, options)
    this.sockets.push(socket)
    return socket
  }
  listen(): never {
    throw new DialError('no-resources', `${this.own} listens`)
  }
}

const OUTSIDE = {
  'www.example': ['203.0.113.1'],
  'split.example': ['203.0.113.2'],
  'lan.example': ['192.168.0.9', '10.9.9.9'],
  'evil.example': ['127.0.0.1', '::1'],
}
const INSIDE = {
  'db.corp': ['10.0.0.1'],
  'printer.corp': ['192.168.1.9'],
  'both.corp': ['10.6.6.6', '10.0.0.2', '192.168.1.2'],
  'bad.corp': ['10.6.6.6'],
  'www.example': ['10.0.0.7'],
}

function setup(text: string, fallback: 'tunnel' | 'direct' = 'tunnel') {
  const tunnel = new FakeWay('10.9.0.2', INSIDE)
  const direct = new FakeWay('192.0.2.2', OUTSIDE)
  const clock = new VirtualClock()
  const dialer = createRoutingDialer({ rules: rulesOf(text, fallback), tunnel, direct, clock })
  /** What both did, and forgets it. */
  const did = () => [
    ...tunnel.log.splice(0).map((x) => `tunnel ${x}`),
    ...direct.log.splice(0).map((x) => `direct ${x}`),
  ]
  return { tunnel, direct, clock, dialer, did }
}

t.test('no rules: the tunnel itself', async (t) => {
  const { tunnel, dialer } = setup('')
  t.equal(dialer, tunnel)
})

t.test('by name, and nobody else hears of it', async (t) => {
  const { dialer, did } = setup('refuse ads.corp\ntunnel corp\ndirect www.example:443\nrefuse *:25', 'direct')
  const cases: [string, number, string[]][] = [
    ['db.corp', 80, ['tunnel dial db.corp:80']],
    ['DB.corp.', 80, ['tunnel dial DB.corp.:80']],
    ['www.example', 443, ['direct dial www.example:443']],
    ['other.example', 80, ['direct dial other.example:80']],
  ]
  for (const [host, port, want] of cases) {
    await dialer.dial({ host, port })
    t.same(did(), want, host)
  }
  await t.rejects(dialer.dial({ host: 'x.ads.corp', port: 80 }), {
    code: 'not-allowed',
    message: 'x.ads.corp:80 is refused by the rule "refuse ads.corp" (rules, line 1)',
  })
  await t.rejects(dialer.dial({ host: '10.0.0.1', port: 25 }), {
    code: 'not-allowed',
    message: /"refuse \*:25"/,
  })
  await t.rejects(dialer.dial({ host: 'x', port: 25 }), { code: 'not-allowed' })
  await t.rejects(dialer.dial({ host: 'x', port: 80 }, { signal: AbortSignal.abort() }), { code: 'aborted' })
  t.same(did(), [])
})

t.test('by address', async (t) => {
  const { dialer, did } = setup('refuse 10.6.0.0/16\ndirect 10.0.0.0/8\ndirect fd00::/8')
  for (const [host, way] of [
    ['10.0.0.1', 'direct'],
    ['[fd00::1]', 'direct'],
    ['::ffff:10.0.0.1', 'direct'],
    ['11.0.0.1', 'tunnel'],
    ['2001:db8::1', 'tunnel'],
    // Told there what is wrong with them.
    ['10.1', 'tunnel'],
    ['a b', 'tunnel'],
    ['x.onion', 'tunnel'],
  ] as const) {
    await dialer.dial({ host, port: 80 })
    t.same(did(), [`${way} dial ${host}:80`])
  }
  await t.rejects(dialer.dial({ host: '10.6.1.1', port: 80 }), {
    code: 'not-allowed',
    message: /^10\.6\.1\.1:80 is ref/,
  })
  await t.rejects(dialer.dial({ host: '::ffff:10.6.1.1', port: 80 }), { code: 'not-allowed' })
})

t.test('a name whose address decides is asked for where it belongs', async (t) => {
  const { dialer, did, clock } = setup(
    'refuse 10.6.6.0/24\ndirect 192.168.0.0/16\ntunnel corp\ntunnel 10.0.0.0/8',
    'direct',
  )
  const dial = async (host: string) => {
    await clock.run(dialer.dial({ host, port: 80 }))
    return did()
  }
  t.same(await dial('db.corp'), ['tunnel resolve db.corp', 'tunnel dial 10.0.0.1:80'])
  t.same(await dial('printer.corp'), ['tunnel resolve printer.corp', 'direct dial 192.168.1.9:80'])
  t.same(
    await dial('both.corp'),
    ['tunnel resolve both.corp', 'tunnel dial 10.0.0.2:80'],
    'what is refused is left out',
  )
  t.same(
    await dial('www.example'),
    ['direct resolve www.example', 'direct dial 203.0.113.1:80'],
    'the one outside',
  )
  await t.rejects(dialer.dial({ host: 'bad.corp', port: 80 }), {
    code: 'not-allowed',
    message: 'bad.corp:80 (10.6.6.6) is refused by the rule "refuse 10.6.6.0/24" (rules, line 1)',
  })
  t.same(did(), ['tunnel resolve bad.corp'])
  await t.rejects(dialer.dial({ host: 'unknown.corp', port: 80 }), { code: 'name-not-found' })
  t.same(did(), ['tunnel resolve unknown.corp'])
})

t.test('addresses of both ways are tried in turn', async (t) => {
  const { dialer, did, clock, tunnel, direct } = setup('direct 192.168.0.0/16')
  tunnel.fates.set('10.6.6.6', 'refused')
  tunnel.fates.set('10.0.0.2', 'timed-out')
  const flow = await clock.run(dialer.dial({ host: 'both.corp', port: 80 }))
  t.equal(flow.local.address, direct.own)
  t.same(did(), [
    'tunnel resolve both.corp',
    'tunnel dial 10.6.6.6:80',
    'tunnel dial 10.0.0.2:80',
    'direct dial 192.168.1.2:80',
  ])
  direct.fates.set('192.168.1.2', 'host-unreachable')
  await t.rejects(
    clock.run(dialer.dial({ host: 'both.corp', port: 80 })),
    { code: 'refused' },
    'what tells most',
  )
  t.equal(clock.pending, 0)

  // A tunnel that is gone ends its own addresses only.
  const outside = setup('tunnel 192.168.0.0/16\nrefuse 10.6.6.0/24', 'direct')
  outside.tunnel.fates.set('192.168.0.9', 'tunnel-down')
  const other = await outside.clock.run(outside.dialer.dial({ host: 'lan.example', port: 80 }))
  t.equal(other.remote.address, '10.9.9.9')
  outside.direct.fates.set('10.9.9.9', 'timed-out')
  await t.rejects(outside.clock.run(outside.dialer.dial({ host: 'lan.example', port: 80 })), {
    code: 'tunnel-reconnecting',
    message: '192.168.0.9 tunnel-down',
  })
  t.equal(outside.clock.pending, 0)
})

t.test('names may be led anywhere by their owners, but not to this machine', async (t) => {
  const { dialer, did, clock } = setup('direct 127.0.0.0/8\ndirect ::1\nrefuse 10.0.0.0/8', 'direct')
  await t.rejects(dialer.dial({ host: 'evil.example', port: 80 }), {
    code: 'not-allowed',
    message: /evil\.example:80 is 127\.0\.0\.1, this computer/,
  })
  t.same(did(), ['direct resolve evil.example'])
  await clock.run(dialer.dial({ host: '127.0.0.1', port: 80 }))
  t.same(did(), ['direct dial 127.0.0.1:80'])
  await clock.run(dialer.dial({ host: 'localhost', port: 80 }))
  t.same(
    did().filter((x) => x.includes('resolve')),
    [],
    'nobody is asked for localhost',
  )
  const plain = setup('refuse x', 'tunnel')
  await plain.dialer.dial({ host: 'localhost', port: 80 })
  t.same(plain.did(), ['tunnel dial localhost:80'], 'which says what is wrong with it')
  const refused = setup('refuse localhost\ndirect 127.0.0.1')
  await t.rejects(refused.dialer.dial({ host: 'localhost', port: 80 }), { code: 'not-allowed' })
})

t.test('looking up', async (t) => {
  const { dialer, did } = setup('direct example\nrefuse ads\ndirect 192.168.0.0/16\nrefuse 10.6.0.0/16')
  await dialer.resolve('www.example')
  await dialer.resolve('db.corp')
  await dialer.reverse('192.168.0.1')
  await dialer.reverse('10.0.0.1')
  t.same(did(), [
    'tunnel resolve db.corp',
    'tunnel reverse 10.0.0.1',
    'direct resolve www.example',
    'direct reverse 192.168.0.1',
  ])
  await t.rejects(dialer.resolve('x.ads'), { code: 'not-allowed', message: /"refuse ads"/ })
  await t.rejects(dialer.reverse('10.6.0.1'), { code: 'not-allowed' })
  t.same(await dialer.resolve('bad.corp'), ['10.6.6.6'], 'rules for addresses are about connections')
  await t.rejects(dialer.dial({ host: 'bad.corp', port: 80 }), { code: 'not-allowed' })
  did()
  await t.rejects(dialer.resolve('localhost'), { code: 'name-not-found' })
  t.same(did(), ['tunnel resolve localhost'])
  t.throws(() => dialer.listen({ port: 1 }), { message: '10.9.0.2 listens' }, 'at the address of the tunnel')
})

interface Heard {
  readonly data: string[]
  readonly errors: string[]
}

function hear(flow: DatagramFlow): Heard {
  const heard: Heard = { data: [], errors: [] }
  flow.handler = {
    onDatagram: (data, from) => void heard.data.push(`${Buffer.from(data)} ${from.address}:${from.port}`),
    onError: ({ code }) => void heard.errors.push(code),
  }
  return heard
}

t.test('datagrams: each destination its own way, answers from both', async (t) => {
  const { dialer, did, clock, tunnel, direct } = setup(
    'refuse *:25\ndirect 192.168.0.0/16\ndirect example/udp\nrefuse 10.6.6.0/24',
  )
  const flow = dialer.openDatagrams()
  const heard = hear(flow)
  t.same(did(), [], 'nothing is opened before it is needed')
  const send = (text: string, host: string, port = 53) => {
    const data = Buffer.from(text)
    flow.send(data, { host, port })
    data.fill(0)
  }
  send('a', '10.0.0.1')
  send('b', '192.168.0.1')
  send('c', 'printer.corp')
  send('d', 'db.corp')
  send('e', 'www.example')
  send('f', 'bad.corp')
  send('g', '10.0.0.1', 25)
  send('h', '10.0.0.1', 25)
  await clock.settle()
  send('i', '10.0.0.1')
  send('j', 'bad.corp')
  await clock.settle()
  t.same(tunnel.sockets[0]?.sent.sort(), ['a 10.0.0.1:53', 'd 10.0.0.1:53', 'i 10.0.0.1:53'])
  t.same(direct.sockets[0]?.sent.sort(), ['b 192.168.0.1:53', 'c 192.168.1.9:53', 'e www.example:53'])
  t.same(heard.errors.sort(), ['not-allowed', 'not-allowed'], 'once for a destination')
  t.same(
    did().filter((x) => x.endsWith('open')),
    ['tunnel open', 'direct open'],
    'one socket a way',
  )
  t.same(flow.local, tunnel.sockets[0]?.local)

  tunnel.sockets[0]?.handler?.onDatagram(Buffer.from('ta'), { address: '10.0.0.1', port: 53 })
  direct.sockets[0]?.handler?.onDatagram(Buffer.from('da'), { address: '192.168.0.1', port: 53 })
  direct.sockets[0]?.handler?.onError(new DialError('refused', 'x'))
  t.same(heard.data, ['ta 10.0.0.1:53', 'da 192.168.0.1:53'])
  t.equal(heard.errors.at(-1), 'refused')

  // What was found out holds for a while only.
  did()
  send('k', 'printer.corp')
  await clock.settle()
  t.same(did(), [])
  await clock.advance(61_000)
  send('l', 'printer.corp')
  await clock.settle()
  t.same(did(), ['tunnel resolve printer.corp'])
  t.equal(direct.sockets[0]?.sent.at(-1), 'l 192.168.1.9:53')

  flow.close()
  flow.close()
  t.ok(tunnel.sockets[0]?.closed)
  t.ok(direct.sockets[0]?.closed)
  send('m', '10.0.0.1')
  await clock.settle()
  t.equal(heard.errors.length, 3)
})

t.test('datagrams when the tunnel goes', async (t) => {
  const both = setup('direct 192.168.0.0/16')
  const flow = both.dialer.openDatagrams()
  const heard = hear(flow)
  for (const host of ['10.0.0.1', '192.168.0.1']) flow.send(Buffer.from('x'), { host, port: 53 })
  await both.clock.settle()
  both.tunnel.sockets[0]?.handler?.onError(new DialError('tunnel-down', 'gone'))
  t.same(heard.errors, ['tunnel-reconnecting'], 'the other way goes on')
  both.tunnel.opening = 'tunnel-down'
  flow.send(Buffer.from('y'), { host: '10.0.0.1', port: 53 })
  await both.clock.settle()
  t.same(heard.errors, ['tunnel-reconnecting', 'tunnel-reconnecting'], 'another code would be its end')
  both.tunnel.opening = undefined
  flow.send(Buffer.from('z'), { host: '10.0.0.1', port: 53 })
  t.same(both.tunnel.sockets[1]?.sent, ['z 10.0.0.1:53'])
  t.notOk(both.direct.sockets[0]?.closed)

  const one = setup('direct 192.168.0.0/16')
  const alone = one.dialer.openDatagrams()
  const told = hear(alone)
  alone.send(Buffer.from('x'), { host: '10.0.0.1', port: 53 })
  await one.clock.settle()
  one.tunnel.sockets[0]?.handler?.onError(new DialError('tunnel-down', 'gone'))
  t.same(told.errors, ['tunnel-down'])
  alone.send(Buffer.from('x'), { host: '10.0.0.1', port: 53 })
  await one.clock.settle()
  t.equal(one.tunnel.sockets.length, 1, 'closed')

  // Whoever hears `tunnel-down` forgets the socket, so it must have nothing left.
  const none = setup('direct 192.168.0.0/16')
  none.tunnel.opening = 'tunnel-down'
  const first = none.dialer.openDatagrams()
  const words = hear(first)
  first.send(Buffer.from('x'), { host: '10.0.0.1', port: 53 })
  await none.clock.settle()
  t.same(words.errors, ['tunnel-down'])
  first.send(Buffer.from('x'), { host: '192.168.0.1', port: 53 })
  t.same(none.direct.sockets, [], 'closed')
  const asking = none.dialer.openDatagrams()
  const more = hear(asking)
  asking.send(Buffer.from('x'), { host: 'printer.corp', port: 53 })
  asking.send(Buffer.from('y'), { host: '10.0.0.1', port: 53 })
  await none.clock.settle()
  t.same(more.errors, ['tunnel-reconnecting'])
  t.same(none.direct.sockets[0]?.sent, ['x 192.168.1.9:53'], 'what still waited goes on')
})

t.test('datagrams with a port or a remote end', async (t) => {
  const { dialer, clock, tunnel, direct } = setup('direct 192.168.0.0/16')
  const listening = dialer.openDatagrams({ port: 5000 })
  t.same(tunnel.sockets[0]?.options, { port: 5000 }, 'at once: others may send first')
  t.same(listening.local, tunnel.sockets[0]?.local)
  tunnel.opening = 'no-resources'
  t.throws(() => dialer.openDatagrams({ port: 5000 }), { code: 'no-resources' })
  tunnel.opening = undefined
  listening.send(Buffer.from('x'), { host: '192.168.1.9', port: 161 })
  await clock.settle()
  t.same(tunnel.sockets[0]?.sent, ['x 192.168.1.9:161'], 'who came through the tunnel is answered there')
  dialer.openDatagrams({ port: 0 })
  t.same(tunnel.sockets[1]?.options, { port: 0 }, 'one that is picked is the tunnel’s too')
  t.same(direct.sockets, [])
  const to = { host: 'printer.corp', port: 161 }
  const fixed = dialer.openDatagrams({ remote: to })
  fixed.send(Buffer.from('x'), to)
  await clock.settle()
  t.same(
    direct.sockets[0]?.options,
    { remote: { host: '192.168.1.9', port: 161 } },
    'the address that decided',
  )
})

t.test('datagrams: a conversation stays with its address for as long as the name has it', async (t) => {
  for (const fixed of [false, true]) {
    const { dialer, clock, tunnel, did } = setup('direct 192.168.0.0/16')
    const { names } = tunnel
    names['two.corp'] = ['10.0.0.1', '10.0.0.2']
    const to = { host: 'two.corp', port: 53 }
    const flow = dialer.openDatagrams(fixed ? { remote: to } : {})
    const heard = hear(flow)
    const send = async (text: string) => {
      flow.send(Buffer.from(text), to)
      await clock.settle()
    }
    await send('a')
    names['two.corp'] = ['10.0.0.2', '10.0.0.1']
    await clock.advance(61_000)
    await send('b')
    t.same(did().filter((x) => x.startsWith('tunnel resolve')).length, 2, 'asked again')
    await send('c')
    t.same(tunnel.sockets[0]?.sent, ['a 10.0.0.1:53', 'b 10.0.0.1:53', 'c 10.0.0.1:53'])

    // A name server that fails for a while is no reason to be silent.
    delete names['two.corp']
    await clock.advance(61_000)
    await send('d')
    await send('e')
    t.equal(tunnel.sockets[0]?.sent.at(-1), 'e 10.0.0.1:53')
    t.same(heard.errors, [])

    names['two.corp'] = ['10.0.0.3']
    await clock.advance(6000)
    await send('f')
    await send('g')
    const last = tunnel.sockets.at(-1)
    t.equal(last?.sent.at(-1), 'g 10.0.0.3:53', 'it has moved')
    if (fixed) {
      t.same(last?.options, { remote: { host: '10.0.0.3', port: 53 } }, 'whose answers are heard now')
      t.same(
        tunnel.sockets.map(({ closed }) => closed),
        [true, false],
      )
    } else t.equal(tunnel.sockets.length, 1)
    last?.handler?.onDatagram(Buffer.from('h'), { address: '10.0.0.3', port: 53 })
    t.same(heard.data, ['h 10.0.0.3:53'])

    names['two.corp'] = ['192.168.1.1']
    await clock.advance(61_000)
    await send('i')
    tunnel.opening = 'tunnel-down'
    await send('j')
    t.same(heard.errors, [], 'the other way has no need of the tunnel')
    flow.close()
    t.ok(tunnel.sockets.every(({ closed }) => closed))
  }
})

t.test('datagrams that wait, and destinations, are bounded', async (t) => {
  const { dialer, clock, tunnel, did } = setup('direct 192.168.0.0/16')
  const flow = dialer.openDatagrams()
  hear(flow)
  const big = Buffer.alloc(60_000)
  for (let i = 0; i < 100; i++) flow.send(big, { host: 'db.corp', port: 53 })
  await clock.settle()
  t.equal(tunnel.sockets[0]?.sent.length, 4, 'octets')
  flow.send(big, { host: 'db.corp', port: 54 })
  await clock.settle()
  t.equal(tunnel.sockets[0]?.sent.length, 5, 'what waited is forgotten')
  for (let i = 0; i < 1000; i++) flow.send(big, { host: `h${i}.corp`, port: 53 })
  await clock.settle()
  t.equal(did().filter((x) => x.includes('resolve h')).length, 64, 'names at one time')
  for (let i = 0; i < 5000; i++) flow.send(Buffer.from('x'), { host: `10.1.${i >> 8}.${i & 255}`, port: 53 })
  t.equal(tunnel.sockets[0]?.sent.length, 5005, 'what is known goes at once')
  t.same(did(), [])
})

t.test('all of it together, and no name is asked for in the wrong place', async (t) => {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: ['10.0.0.53'], setTimer: clock.setTimer })
  const inside = serveDns(network, '10.0.0.53', (asked) =>
    respond(asked, { answers: asked.type === 'A' ? [a(asked.name, '10.0.0.1')] : [] }),
  )
  network.listen('10.0.0.1', 80, () => {})
  const outside: string[] = []
  const rules = rulesOf('tunnel corp\nrefuse 10.6.0.0/16\nrefuse ads.example', 'direct')
  const routing = createRouting({ rules, own: () => [], clock })
  const tunnel = createDialer({ network: () => network, clock, elsewhere: routing.elsewhere })
  const direct = createDirectDialer({
    clock,
    resolver: {
      async lookup(name) {
        outside.push(name)
        return ['10.6.0.1']
      },
      reverse: async () => [],
    },
  })
  const dialer = createRoutingDialer({ rules, tunnel, direct, clock })
  const flow = await clock.run(dialer.dial({ host: 'db.corp', port: 80 }))
  t.equal(flow.remote.address, '10.0.0.1')
  await t.rejects(clock.run(dialer.dial({ host: 'www.example', port: 80 })), {
    code: 'not-allowed',
    message: /10\.6\.0\.1/,
  })
  await t.rejects(clock.run(dialer.dial({ host: 'ads.example', port: 80 })), { code: 'not-allowed' })
  t.ok(inside.length > 0)
  t.same(
    inside.filter((x) => !JSON.stringify(x).includes('db.corp')),
    [],
  )
  t.same(outside, ['www.example'])
  routing.close()
  // As put together for the commands: without rules nothing is in between.
  const none = createRouting({ rules: rulesOf(''), own: () => [] })
  t.equal(none.dialer(tunnel), tunnel)
  none.close()
})

t.test('through a real proxy: HTTP, SOCKS5 and the PAC file obey', async (t) => {
  const origin = createServer((request, response) => response.end(`origin ${request.url}`))
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
  const { port } = origin.address() as AddressInfo
  const rules = rulesOf(`refuse 127.0.0.1:9\ndirect 127.0.0.0/8`)
  const servers: ProxyServer[] = []
  const own = () => servers.map((server) => ({ address: server.address, port: server.port }))
  const routing = createRouting({ rules, own })
  const server = await listenProxy({
    address: '127.0.0.1',
    port: 0,
    protocols: { socks: true, http: true },
    dialer: routing.dialer(new FakeWay('10.9.0.2', {})),
    pages: pacPages(rules, () => ({ http: own(), socks: own() })),
  })
  servers.push(server)
  t.teardown(async () => {
    routing.close()
    await server.close()
    origin.closeAllConnections()
    origin.close()
  })

  const fetch = (path: string) =>
    new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
      const headers = { host: `127.0.0.1:${server.port}`, connection: 'close' }
      get({ host: '127.0.0.1', port: server.port, path, headers }, (response: IncomingMessage) => {
        let body = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          body += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode, body }))
      }).on('error', reject)
    })
  t.same(await fetch(`http://127.0.0.1:${port}/x`), { status: 200, body: 'origin /x' })
  t.same(await fetch(`http://localhost:${port}/y`), { status: 200, body: 'origin /y' })
  t.match(await fetch('http://127.0.0.1:9/'), {
    status: 403,
    body: /refused by the rule.*refuse 127\.0\.0\.1:9/,
  })
  const loop = await fetch(`http://127.0.0.1:${server.port}/proxy.pac`)
  t.match(loop, { status: 403, body: /is this program itself/ })
  const pac = await fetch('/proxy.pac')
  t.equal(pac.status, 200)
  t.match(pac.body, `PROXY 127.0.0.1:${server.port}; SOCKS5 127.0.0.1:${server.port}`)

  const socks = (to: number) =>
    new Promise<number | undefined>((resolve, reject) => {
      const socket = connect(server.port, '127.0.0.1')
      socket.on('error', reject)
      socket.write(Buffer.from([5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, to >> 8, to & 255]))
      let got = Buffer.alloc(0)
      socket.on('data', (chunk) => {
        got = Buffer.concat([got, chunk])
        if (got.length < 4) return
        resolve(got[3])
        socket.destroy()
      })
    })
  t.equal(await socks(port), 0)
  t.equal(await socks(9), 2)
  t.equal(await socks(server.port), 2)
})
