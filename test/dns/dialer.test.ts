import t from 'tap'
import { createDialer, type DialerOptions } from '../../src/dns/dialer.js'
import type { Network } from '../../src/tunnel/dialer.js'
import { a, aaaa, respond, serveDns } from '../helpers/dns-server.js'
import { MemoryNetwork, type MemoryNetworkOptions } from '../helpers/memory-network.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const DNS = '10.0.0.53'
const V6 = ['2001:db8::1', '2001:db8::2']
const V4 = ['192.0.2.1', '192.0.2.2']

function setup(
  names: Record<string, readonly string[]> = {},
  options: MemoryNetworkOptions = {},
  more: Partial<DialerOptions> = {},
) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: [DNS], ipv6: true, setTimer: clock.setTimer, ...options })
  const held: { A?: boolean; AAAA?: boolean } = {}
  const log = serveDns(network, DNS, (asked) => {
    if (asked.type === 'A' ? held.A : held.AAAA) return undefined
    const addresses = (names[asked.name] ?? []).filter((x) => x.includes(':') === (asked.type === 'AAAA'))
    return respond(asked, { answers: addresses.map((x) => (x.includes(':') ? aaaa : a)(asked.name, x)) })
  })
  for (const address of [...V6, ...V4]) network.listen(address, 80, () => {})
  const state: { network: Network | undefined } = { network }
  const dialer = createDialer({ network: () => state.network, clock, ...more })
  const dialled = () => network.attempts.filter((x) => x.endsWith(' 80')).map((x) => x.slice(0, -3))
  return { clock, network, dialer, dialled, held, log, state }
}

const to = (host: string, port = 80) => ({ host, port })

t.test('by address', async (t) => {
  const { clock, network, dialer, log } = setup()
  const flow = await clock.run(dialer.dial(to('192.0.2.1')))
  t.same(flow.remote, { address: '192.0.2.1', port: 80 })
  const bracketed = await clock.run(dialer.dial(to('[2001:DB8::1]')))
  t.same(bracketed.remote, { address: '2001:db8::1', port: 80 })
  t.same(log, [], 'no name server heard of it')
  await t.rejects(clock.run(dialer.dial(to('192.0.2.1', 81))), { code: 'refused' })
  for (const code of ['host-unreachable', 'network-unreachable', 'ttl-expired', 'prohibited'] as const) {
    network.route('192.0.2.9', code)
    await t.rejects(clock.run(dialer.dial(to('192.0.2.9'))), { code })
  }
})

t.test('what cannot be dialled', async (t) => {
  const { clock, dialer, state, network } = setup({ 'lo.example': ['127.0.0.1', '::1'] }, { ipv6: false })
  const cases: [string, number, string][] = [
    ['localhost', 80, 'not-allowed'],
    ['127.0.0.1', 80, 'not-allowed'],
    ['::ffff:127.0.0.1', 80, 'not-allowed'],
    ['169.254.169.254', 80, 'not-allowed'],
    ['192.0.2.1', 0, 'not-allowed'],
    ['192.0.2.1', 70_000, 'not-allowed'],
    ['lo.example', 80, 'not-allowed'],
    ['127.1', 80, 'name-invalid'],
    ['a b', 80, 'name-invalid'],
    ['x.onion', 80, 'name-not-found'],
    ['unknown.example', 80, 'name-not-found'],
    ['2001:db8::1', 80, 'network-unreachable'],
  ]
  for (const [host, port, code] of cases)
    await t.rejects(clock.run(dialer.dial(to(host, port))), { code }, host)
  t.same(network.attempts, [])
  state.network = undefined
  await t.rejects(dialer.dial(to('192.0.2.1')), { code: 'tunnel-down' })
  await t.rejects(dialer.resolve('host.example'), { code: 'tunnel-down' })
  t.throws(() => dialer.openUdp(), { code: 'tunnel-down' })
  await t.rejects(dialer.dial(to('192.0.2.1'), { signal: AbortSignal.abort() }), { code: 'aborted' })

  const open = setup({}, {}, { allow: () => true })
  open.network.listen('127.0.0.1', 80, () => {})
  t.ok(await open.clock.run(open.dialer.dial(to('127.0.0.1'))), 'unless allowed')
})

t.test('only IPv6 in the tunnel', async (t) => {
  const { clock, dialer } = setup({}, { ipv4: false, dnsServers: [] })
  await t.rejects(clock.run(dialer.dial(to('192.0.2.1'))), { code: 'network-unreachable' })
  t.ok(await clock.run(dialer.dial(to('2001:db8::1'))))
})

t.test('the first address that answers wins, the rest is given up', async (t) => {
  const { clock, network, dialer, dialled } = setup({ 'host.example': [...V4, ...V6] })
  for (const address of ['2001:db8::1', '192.0.2.1', '2001:db8::2']) network.route(address, 'silent')
  const start = clock.now()
  const flow = await clock.run(dialer.dial(to('host.example')))
  t.equal(flow.remote.address, '192.0.2.2')
  t.equal(clock.now() - start, 750, 'a new attempt every 250 ms')
  t.same(dialled(), ['2001:db8::1', '192.0.2.1', '2001:db8::2', '192.0.2.2'], 'families in turn')
  t.same(network.abandoned.sort(), ['192.0.2.1', '2001:db8::1', '2001:db8::2'])
  t.equal(clock.pending, 0)
  t.equal(network.flows.size, 1)
})

t.test('a late winner is reset', async (t) => {
  const { clock, network, dialer } = setup({ 'host.example': ['192.0.2.1', '2001:db8::1'] })
  network.route('2001:db8::1', 'open', 300)
  network.route('192.0.2.1', 'open', 50)
  const flow = await clock.run(dialer.dial(to('host.example')))
  t.equal(network.flows.size, 1)
  await clock.advance(1000)
  t.equal(flow.remote.address, '2001:db8::1', 'both were there after 300 ms')
  t.equal(network.flows.size, 1)
  t.equal(clock.pending, 0)
})

t.test('a failure starts the next attempt at once', async (t) => {
  const { clock, network, dialer, dialled } = setup({ 'host.example': [...V4, ...V6] })
  for (const address of V6) network.route(address, 'network-unreachable')
  const start = clock.now()
  const flow = await clock.run(dialer.dial(to('host.example')))
  t.equal(flow.remote.address, '192.0.2.1')
  t.equal(clock.now(), start)
  t.same(dialled(), ['2001:db8::1', '192.0.2.1'])
})

t.test('when all fail, the most telling error', async (t) => {
  const { clock, network, dialer } = setup({ 'host.example': [...V4, ...V6] })
  network.route('2001:db8::1', 'network-unreachable')
  network.route('2001:db8::2', 'timed-out')
  network.route('192.0.2.1', 'refused')
  network.route('192.0.2.2', 'host-unreachable')
  await t.rejects(clock.run(dialer.dial(to('host.example'))), { code: 'refused' })
  network.route('192.0.2.1', 'tunnel-down')
  await t.rejects(clock.run(dialer.dial(to('host.example'))), { code: 'tunnel-down' })
  t.equal(clock.pending, 0)
})

t.test('resolution delay: A waits 50 ms for AAAA', async (t) => {
  const slow = setup({ 'host.example': ['192.0.2.1', '2001:db8::1'] })
  slow.held.AAAA = true
  const start = slow.clock.now()
  const flow = await slow.clock.run(slow.dialer.dial(to('host.example')))
  t.equal(flow.remote.address, '192.0.2.1')
  t.equal(slow.clock.now() - start, 50)
  await slow.clock.settle()
  t.equal(slow.network.udpSockets.size, 0, 'the query that is no longer needed is given up')
  t.equal(slow.clock.pending, 0)

  const fast = setup({ 'host.example': ['192.0.2.1', '2001:db8::1'] })
  fast.held.A = true
  const begin = fast.clock.now()
  t.equal((await fast.clock.run(fast.dialer.dial(to('host.example')))).remote.address, '2001:db8::1')
  t.equal(fast.clock.now(), begin, 'AAAA waits for nobody')
})

t.test('a late answer joins the race', async (t) => {
  const { clock, network, dialer, held, log } = setup({ 'host.example': ['192.0.2.1', '2001:db8::1'] })
  held.AAAA = true
  network.route('192.0.2.1', 'refused')
  const dial = dialer.dial(to('host.example'))
  await clock.advance(100)
  t.same(network.attempts, ['192.0.2.1 80'])
  held.AAAA = false
  const flow = await clock.run(dial)
  t.equal(flow.remote.address, '2001:db8::1', 'answered when the query was repeated')
  t.ok(log.length > 2)
})

t.test('limits: time, and the caller', async (t) => {
  const { clock, network, dialer } = setup({ 'host.example': V4 })
  for (const address of V4) network.route(address, 'silent')
  const start = clock.now()
  await t.rejects(clock.run(dialer.dial(to('host.example'))), { code: 'timed-out' })
  t.equal(clock.now() - start, 30_000)
  await t.rejects(clock.run(dialer.dial(to('192.0.2.1'), { timeout: 700 })), { code: 'timed-out' })

  const abort = new AbortController()
  const dial = dialer.dial(to('host.example'), { signal: abort.signal })
  await clock.advance(300)
  network.abandoned.length = 0
  abort.abort()
  await t.rejects(dial, { code: 'aborted' })
  t.same(network.abandoned.sort(), V4)
  await clock.settle()
  t.equal(clock.pending, 0)

  const dead = setup()
  dead.held.A = true
  dead.held.AAAA = true
  await t.rejects(dead.clock.run(dead.dialer.dial(to('host.example'), { timeout: 5000 })), {
    code: 'name-timed-out',
  })
  await dead.clock.settle()
  t.equal(dead.network.udpSockets.size, 0)
})

t.test('a new tunnel has a new cache and other servers', async (t) => {
  const { clock, dialer, state, log } = setup({ 'host.example': ['192.0.2.1'] }, { ipv6: false })
  t.same(await clock.run(dialer.resolve('host.example')), ['192.0.2.1'])
  t.same(await clock.run(dialer.resolve('HOST.example.')), ['192.0.2.1'])
  t.equal(log.length, 1)
  const next = new MemoryNetwork({ dnsServers: ['10.7.7.7'], setTimer: clock.setTimer })
  const nextLog = serveDns(next, '10.7.7.7', (asked) =>
    respond(asked, { answers: [a(asked.name, '192.0.2.7')] }),
  )
  state.network = next
  t.same(await clock.run(dialer.resolve('host.example')), ['192.0.2.7'])
  t.equal(nextLog.length, 1)
  t.same(await clock.run(dialer.resolve('[2001:db8::5]')), ['2001:db8::5'])
  await t.rejects(clock.run(dialer.resolve('x.localhost')), { code: 'not-allowed' })
})
