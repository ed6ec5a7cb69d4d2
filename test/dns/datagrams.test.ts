import t from 'tap'
import { createDialer, type DialerOptions } from '../../src/dns/dialer.js'
import { createDirectDialer } from '../../src/proxy/direct.js'
import { RoutingDialer } from '../../src/proxy/routing-dialer.js'
import type { DatagramFlow, Network } from '../../src/tunnel/dialer.js'
import { a, respond, serveDns } from '../helpers/dns-server.js'
import { MemoryNetwork, type MemoryNetworkOptions } from '../helpers/memory-network.js'
import { rulesOf } from '../helpers/rules.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const DNS = '10.0.0.53'

function setup(
  names: Record<string, { addresses: readonly string[]; ttl?: number }> = {},
  options: MemoryNetworkOptions = {},
  more: Partial<DialerOptions> = {},
) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: [DNS], setTimer: clock.setTimer, ...options })
  const held = { on: false }
  const log = serveDns(network, DNS, (asked) => {
    if (held.on) return undefined
    const entry = names[asked.name]
    if (entry === undefined) return respond(asked, { rcode: 3 })
    return respond(asked, { answers: entry.addresses.map((x) => a(asked.name, x, entry.ttl)) })
  })
  const got: string[] = []
  for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.3']) {
    for (const port of [7, 8]) {
      network.listenUdp(address, port, (data, reply) => {
        got.push(`${address}:${port} ${Buffer.from(data)}`)
        reply(Buffer.from(`re ${Buffer.from(data)}`))
      })
    }
  }
  const state: { network: Network | undefined } = { network }
  const dialer = createDialer({ network: () => state.network, clock, ...more })
  return { clock, network, dialer, log, got, held, state, names }
}

/** What a socket told its owner. */
function watch(flow: DatagramFlow) {
  const heard: string[] = []
  const errors: string[] = []
  let calling = false
  const guard = (run: () => void): void => {
    if (calling) throw new Error('called back from inside a call')
    run()
  }
  flow.handler = {
    onDatagram: (data, from) => guard(() => heard.push(`${from.address}:${from.port} ${Buffer.from(data)}`)),
    onError: (error) => guard(() => errors.push(error.code)),
  }
  const send = (text: string, host: string, port = 7): void => {
    calling = true
    const data = Buffer.from(text)
    flow.send(data, { host, port })
    // It is the caller's again.
    if (!host.startsWith('192.')) data.fill(0)
    calling = false
  }
  return { heard, errors, send }
}

t.test('to addresses and names, from one port', async (t) => {
  const { clock, network, dialer, log, got } = setup({ 'host.example': { addresses: ['192.0.2.2'] } })
  const flow = dialer.openDatagrams({ port: 5000 })
  t.equal(flow.local.port, 5000)
  const { heard, errors, send } = watch(flow)
  send('one', '192.0.2.1')
  send('two', 'host.example')
  send('three', 'HOST.example', 8)
  send('four', 'host.example', 8)
  await clock.settle()
  t.same(got.sort(), ['192.0.2.1:7 one', '192.0.2.2:7 two', '192.0.2.2:8 four', '192.0.2.2:8 three'])
  t.same(heard.sort(), [
    '192.0.2.1:7 re one',
    '192.0.2.2:7 re two',
    '192.0.2.2:8 re four',
    '192.0.2.2:8 re three',
  ])
  t.equal(log.length, 1, 'who asks twice at one time asks once')
  t.same(errors, [])
  t.equal(network.udpSockets.size, 1)
  flow.close()
  flow.send(Buffer.from('late'), { host: '192.0.2.1', port: 7 })
  await clock.settle()
  t.equal(got.length, 4)
  t.equal(network.udpSockets.size, 0)
  t.equal(clock.pending, 0)
})

t.test('a name is remembered as long as it holds, and a conversation stays where it is', async (t) => {
  const { clock, dialer, log, got, names } = setup({
    'host.example': { addresses: ['192.0.2.1', '192.0.2.2'], ttl: 60 },
  })
  const { send } = watch(dialer.openDatagrams())
  send('a', 'host.example')
  await clock.advance(59_000)
  send('b', 'host.example')
  await clock.settle()
  t.equal(log.length, 1)
  names['host.example'] = { addresses: ['192.0.2.2', '192.0.2.1'], ttl: 60 }
  await clock.advance(2_000)
  send('c', 'host.example')
  await clock.settle()
  t.equal(log.length, 2)
  send('d', 'host.example')
  names['host.example'] = { addresses: ['192.0.2.3'], ttl: 60 }
  await clock.advance(61_000)
  send('e', 'host.example')
  await clock.settle()
  send('f', 'host.example')
  await clock.settle()
  t.same(got, [
    '192.0.2.1:7 a',
    '192.0.2.1:7 b',
    '192.0.2.1:7 c',
    '192.0.2.1:7 d',
    '192.0.2.1:7 e',
    '192.0.2.3:7 f',
  ])
})

t.test('what cannot be sent to is told once, not for each datagram', async (t) => {
  const { clock, network, dialer, log, names } = setup({ 'lo.example': { addresses: ['127.0.0.1'] } })
  network.route('192.0.2.9', 'refused')
  const cases: [string, number, string][] = [
    ['127.0.0.1', 7, 'not-allowed'],
    ['169.254.169.254', 7, 'not-allowed'],
    ['localhost', 7, 'not-allowed'],
    ['lo.example', 7, 'not-allowed'],
    ['127.1', 7, 'name-invalid'],
    ['a b', 7, 'name-invalid'],
    ['x.onion', 7, 'name-not-found'],
    ['unknown.example', 7, 'name-not-found'],
    ['2001:db8::1', 7, 'network-unreachable'],
  ]
  for (const [host, port, code] of cases) {
    const { errors, send } = watch(dialer.openDatagrams())
    send('x', host, port)
    await clock.settle()
    send('y', host, port)
    await clock.settle()
    t.same(errors, [code], host)
  }
  for (const port of [0, 65_536, 1.5, Number.NaN]) {
    const { errors, send } = watch(dialer.openDatagrams())
    send('x', '192.0.2.1', port)
    await clock.settle()
    t.same(errors, ['not-allowed'], `port ${port}`)
  }
  const { errors, heard, send } = watch(dialer.openDatagrams())
  send('x', '192.0.2.9')
  send('x'.repeat(70_000), '192.0.2.1')
  send('late', 'new.example')
  await clock.settle()
  t.same(errors.sort(), ['name-not-found', 'refused', 'too-large'], 'and the socket goes on')
  names['new.example'] = { addresses: ['192.0.2.1'] }
  await clock.advance(5_000)
  send('now', 'new.example')
  await clock.settle()
  t.same(heard, ['192.0.2.1:7 re now'], 'a name that failed is tried again after a while')
  t.notOk(log.some((x) => x.name === 'x.onion' || x.name === 'localhost'))
})

t.test('a name whose first address refuses goes on with the next, until one has answered', async (t) => {
  const { clock, network, dialer, names, got } = setup({
    'host.example': { addresses: ['192.0.2.9', '192.0.2.8', '192.0.2.2'], ttl: 600 },
    'other.example': { addresses: ['192.0.2.9', '192.0.2.8'], ttl: 600 },
  })
  network.route('192.0.2.9', 'refused')
  network.route('192.0.2.8', 'host-unreachable')
  const { errors, heard, send } = watch(dialer.openDatagrams())
  // Two that are under way when the first is refused are one refusal, and the last of them goes on.
  send('a', 'host.example')
  send('b', 'host.example')
  await clock.settle()
  send('c', 'host.example')
  await clock.settle()
  t.same(errors, [])
  t.same(got.splice(0), ['192.0.2.2:7 b', '192.0.2.2:7 c'])
  t.same(heard, ['192.0.2.2:7 re b', '192.0.2.2:7 re c'])
  // A conversation does not move, nor when the name is asked for anew.
  names['host.example'] = { addresses: ['192.0.2.1', '192.0.2.2'], ttl: 600 }
  await clock.advance(601_000)
  network.route('192.0.2.2', 'refused')
  for (const text of ['f', 'g']) {
    send(text, 'host.example')
    await clock.settle()
  }
  t.same(errors.splice(0), ['refused', 'refused'])
  // The last of them has refused: that is told, and the best one is it.
  send('h', 'other.example')
  await clock.settle()
  t.same(errors.splice(0), ['host-unreachable'])
  send('i', 'other.example')
  await clock.settle()
  t.same(errors.splice(0), ['refused'])
  // Who is called by his address is not somebody's next one.
  send('k', '192.0.2.8')
  await clock.settle()
  t.same(errors, ['host-unreachable'])
})

t.test('an address that the path to is too narrow for is not left', async (t) => {
  const { clock, network, dialer, got } = setup({
    'host.example': { addresses: ['192.0.2.1', '192.0.2.2'], ttl: 600 },
  })
  network.route('192.0.2.1', 'too-large')
  const { errors, send } = watch(dialer.openDatagrams())
  send('a', 'host.example')
  await clock.settle()
  network.route('192.0.2.1', 'open')
  send('b', 'host.example')
  await clock.settle()
  t.same(got, ['192.0.2.1:7 b'])
  t.same(errors, ['too-large'])
})

t.test('the first answer decides among the addresses of a name', async (t) => {
  const { clock, network, dialer, got } = setup({
    'host.example': { addresses: ['192.0.2.1', '192.0.2.2'], ttl: 600 },
  })
  const { errors, send } = watch(dialer.openDatagrams())
  send('a', 'host.example')
  await clock.settle()
  network.route('192.0.2.1', 'refused')
  send('b', 'host.example')
  await clock.settle()
  send('c', 'host.example')
  await clock.settle()
  t.same(got, ['192.0.2.1:7 a'])
  t.same(errors, ['refused', 'refused'])
})

t.test('what waits for a name is bounded, and names are', async (t) => {
  const { clock, dialer, held, got, log } = setup(
    Object.fromEntries(
      Array.from({ length: 400 }, (_, i) => [`h${i}.example`, { addresses: ['192.0.2.1'] }]),
    ),
  )
  held.on = true
  const { send } = watch(dialer.openDatagrams())
  for (let i = 0; i < 100; i++) send(`${i}`, 'h0.example')
  held.on = false
  await clock.advance(2_000)
  t.same(
    got,
    Array.from({ length: 32 }, (_, i) => `192.0.2.1:7 ${i}`),
  )

  got.length = 0
  held.on = true
  const big = watch(dialer.openDatagrams())
  for (let i = 0; i < 5; i++) big.send('x'.repeat(30_000), 'h1.example')
  held.on = false
  await clock.advance(2_000)
  t.equal(got.length, 2, 'in octets too')

  held.on = true
  log.length = 0
  const many = watch(dialer.openDatagrams())
  for (let i = 10; i < 390; i++) many.send('x', `h${i}.example`)
  await clock.settle()
  t.equal(new Set(log.map((x) => x.name)).size, 32, 'at one time')
  held.on = false
  await clock.advance(2_000)
  for (let i = 42; i < 60; i++) many.send('x', `h${i}.example`)
  await clock.settle()
  t.equal(new Set(log.map((x) => x.name)).size, 50, 'and then others')
  t.same(many.errors, [])
})

t.test('only from one remote host', async (t) => {
  const { clock, network, dialer } = setup({ 'host.example': { addresses: ['192.0.2.2'] } })
  const byAddress = dialer.openDatagrams({ remote: { host: '192.0.2.1', port: 7 }, port: 6000 })
  const one = watch(byAddress)
  const byName = dialer.openDatagrams({ remote: { host: 'host.example', port: 7 }, port: 6001 })
  const two = watch(byName)
  await clock.settle()
  for (const port of [6000, 6001]) {
    for (const from of [
      { address: '192.0.2.1', port: 7 },
      { address: '192.0.2.1', port: 8 },
      { address: '192.0.2.2', port: 7 },
      { address: '192.0.2.2', port: 8 },
    ]) {
      network.arriveUdp(port, from, Buffer.from('hi'))
    }
  }
  await clock.settle()
  t.same(one.heard, ['192.0.2.1:7 hi'])
  t.same(two.heard, ['192.0.2.2:7 hi'])
  two.send('there', 'host.example')
  await clock.settle()
  t.equal(two.heard[1], '192.0.2.2:7 re there')
  t.throws(() => dialer.openDatagrams({ remote: { host: '127.0.0.1', port: 7 } }), { code: 'not-allowed' })
  t.throws(() => dialer.openDatagrams({ remote: { host: 'x.onion', port: 7 } }), { code: 'name-not-found' })
  t.throws(() => dialer.openDatagrams({ port: 6000 }), { code: 'no-resources' })
})

t.test('the end of the tunnel is the end of the socket', async (t) => {
  const down = setup({ 'host.example': { addresses: ['192.0.2.1'] } })
  down.held.on = true
  const one = watch(down.dialer.openDatagrams())
  one.send('x', 'host.example')
  await down.clock.settle()
  down.network.down()
  await down.clock.settle()
  t.same(one.errors, ['tunnel-down'])
  one.send('y', '192.0.2.1')
  await down.clock.settle()
  t.same(one.errors, ['tunnel-down'])
  t.equal(down.clock.pending, 0)
})

t.test('a socket outlives a change of networks, names do not', async (t) => {
  const changed = setup({ 'host.example': { addresses: ['192.0.2.1'] } })
  const { clock, dialer, network, got, state, held } = changed
  const plain = watch(dialer.openDatagrams({ port: 5000 }))
  const named = dialer.openDatagrams({ port: 5001, remote: { host: 'host.example', port: 7 } })
  const fixed = watch(named)
  plain.send('a', 'host.example')
  fixed.send('b', 'host.example')
  await clock.settle()
  t.same(got.sort(), ['192.0.2.1:7 a', '192.0.2.1:7 b'])

  // As a supervisor does it: the sockets are the same, the name servers others.
  const next: Network = {
    dnsServers: ['10.7.7.7'],
    families: network.families,
    connect: (to, options) => network.connect(to, options),
    openUdp: (options) => network.openUdp(options),
    listen: (options) => network.listen(options),
  }
  const nextLog = serveDns(network, '10.7.7.7', (asked) =>
    respond(asked, { answers: [a(asked.name, '192.0.2.2')] }),
  )
  state.network = next
  got.length = 0
  plain.send('c', '192.0.2.3')
  plain.send('d', 'host.example')
  fixed.send('e', 'host.example')
  await clock.settle()
  t.same(got.sort(), ['192.0.2.2:7 d', '192.0.2.2:7 e', '192.0.2.3:7 c'], 'nothing is lost')
  t.same(nextLog.length, 1)
  t.same(plain.heard.slice(1).sort(), ['192.0.2.2:7 re d', '192.0.2.3:7 re c'])
  network.arriveUdp(5001, { address: '192.0.2.1', port: 7 }, Buffer.from('old'))
  await clock.settle()
  t.same(fixed.heard, ['192.0.2.1:7 re b', '192.0.2.2:7 re e'], 'whom the name meant before is a stranger')
  t.same([...plain.errors, ...fixed.errors], [])

  // What was being asked for is told, and the socket goes on.
  held.on = true
  serveDns(network, '10.7.7.7', () => undefined)
  plain.send('f', 'slow.example')
  await clock.settle()
  state.network = network
  await dialer.names.lookup('x.local', 'A')
  await clock.settle()
  t.same(plain.errors, ['tunnel-reconnecting'])
  plain.send('g', '192.0.2.1')
  state.network = undefined
  plain.send('h', '192.0.2.1')
  plain.send('i', 'none.example')
  await clock.settle()
  t.same(got.slice(3), ['192.0.2.1:7 g', '192.0.2.1:7 h'])
  t.same(plain.errors, ['tunnel-reconnecting', 'tunnel-reconnecting'], 'and so without any')
  t.equal(network.udpSockets.size, 2)
  named.close()
  t.equal(clock.pending, 0)
})

t.test('many names at one time are nothing that the process warns of', async (t) => {
  const warnings: string[] = []
  const onWarning = (warning: Error): void => void warnings.push(`${warning.name}: ${warning.message}`)
  process.on('warning', onWarning)
  const { clock, network, dialer, held, log } = setup()
  held.on = true
  const routed = new RoutingDialer({
    rules: rulesOf('direct 203.0.113.0/24'),
    tunnel: dialer,
    direct: createDirectDialer({ clock }),
    clock,
  })
  for (const flow of [dialer.openDatagrams(), routed.openDatagrams()]) {
    for (let i = 0; i < 32; i++) flow.send(Buffer.from('x'), { host: `h${i}.example`, port: 7 })
    await clock.settle()
    flow.close()
  }
  const direct = createDirectDialer({
    clock,
    resolver: { lookup: () => new Promise(() => {}), reverse: () => new Promise(() => {}) },
  }).openDatagrams()
  for (let i = 0; i < 32; i++) direct.send(Buffer.from('x'), { host: `h${i}.example`, port: 7 })
  direct.close()
  await clock.settle()
  process.off('warning', onWarning)
  t.same(warnings, [])
  t.equal(new Set(log.map((x) => x.name)).size, 32)
  t.equal(network.udpSockets.size, 0)
})
