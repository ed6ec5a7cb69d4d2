import t from 'tap'
import { createDialer, type DialerOptions } from '../../src/dns/dialer.js'
import { refusing } from '../../src/dns/source.js'
import { hostQuery } from '../../src/dns/wire.js'
import type { Network } from '../../src/tunnel/dialer.js'
import { a, aaaa, cname, respond, serveDns } from '../helpers/dns-server.js'
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
  t.throws(() => dialer.openDatagrams(), { code: 'tunnel-down' })
  t.throws(() => dialer.listen({ port: 0 }), { code: 'tunnel-down' })
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

t.test('a late answer is tried at once if the attempt before it has had its time', async (t) => {
  const { clock, network, dialer, dialled, held } = setup({ 'host.example': ['192.0.2.1', '2001:db8::1'] })
  held.AAAA = true
  network.route('192.0.2.1', 'silent')
  const dial = dialer.dial(to('host.example'))
  await clock.advance(1000)
  t.same(dialled(), ['192.0.2.1'])
  held.AAAA = false
  const start = clock.now()
  const flow = await clock.run(dial)
  t.equal(flow.remote.address, '2001:db8::1')
  t.equal(clock.now() - start, 1000, 'when the query was repeated')
  t.same(network.abandoned, ['192.0.2.1'])
  t.equal(clock.pending, 0)
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

t.test('names of addresses', async (t) => {
  const { clock, network, dialer } = setup()
  const asked: string[] = []
  serveDns(network, DNS, (query) => {
    asked.push(`${query.type} ${query.name}`)
    if (query.name === '1.2.0.192.in-addr.arpa') {
      // RFC 2317: a part of a network is handed on by aliases.
      return respond(query, {
        answers: [
          cname(query.name, '1.0-127.2.0.192.in-addr.arpa'),
          { type: 'PTR', name: '1.0-127.2.0.192.in-addr.arpa', ttl: 60, data: 'Host.Example.' },
        ],
      })
    }
    if (query.name.endsWith('.ip6.arpa')) {
      return respond(query, { answers: [{ type: 'PTR', name: query.name, ttl: 60, data: 'six.example' }] })
    }
    return respond(query, { rcode: query.name.startsWith('3.') ? 2 : 3 })
  })
  t.equal(await clock.run(dialer.reverse('192.0.2.1')), 'host.example')
  t.equal(await clock.run(dialer.reverse('::ffff:192.0.2.1')), 'host.example')
  t.equal(await clock.run(dialer.reverse('2001:db8::1')), 'six.example')
  t.same(asked, [
    'PTR 1.2.0.192.in-addr.arpa',
    'PTR 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
  ])
  await t.rejects(clock.run(dialer.reverse('192.0.2.2')), { code: 'name-not-found' })
  await t.rejects(clock.run(dialer.reverse('192.0.2.3')), { code: 'name-failed' })
  await t.rejects(clock.run(dialer.reverse('host.example')), { code: 'name-invalid' })
  await t.rejects(clock.run(dialer.reverse('127.0.0.1')), { code: 'not-allowed' })
})

t.test('listening is for the network to do', async (t) => {
  const { dialer, network } = setup()
  const listener = dialer.listen({ port: 8080 })
  t.equal(network.listeners.size, 1)
  listener.close()
  t.equal(network.listeners.size, 0)
})

t.test('short names: search domains and ndots', async (t) => {
  const names = {
    'printer.corp.example': [V4[0] as string],
    'a.b.corp.example': ['192.0.2.2'],
    'a.b': ['192.0.2.3'],
    'nas.lan.example': ['192.0.2.4'],
  }
  const learnt = setup(names, { ipv6: false, searchDomains: ['corp.example', 'lan.example'] })
  const ask = (dialer: typeof learnt.dialer, name: string) => learnt.clock.run(dialer.resolve(name))
  const asked = () => learnt.log.splice(0).map((x) => x.name)
  t.same(await ask(learnt.dialer, 'printer'), [V4[0]])
  t.same(asked(), ['printer.corp.example'], 'without a dot the domains come first')
  t.same(await ask(learnt.dialer, 'nas'), ['192.0.2.4'])
  t.same(asked(), ['nas.corp.example', 'nas.lan.example'])
  t.same(await ask(learnt.dialer, 'a.b'), ['192.0.2.3'], 'with one, the name itself')
  t.same(asked(), ['a.b'])
  await t.rejects(ask(learnt.dialer, 'printer.'), { code: 'name-not-found' }, 'a final dot ends the search')
  t.same(asked(), ['printer'])
  await t.rejects(ask(learnt.dialer, 'x.y'), { code: 'name-not-found' })
  t.same(asked(), ['x.y', 'x.y.corp.example', 'x.y.lan.example'])
  await t.rejects(ask(learnt.dialer, 'x.onion'), { code: 'name-not-found' })
  t.same(asked(), [], 'what is special stays so')

  const dial = await learnt.clock.run(learnt.dialer.dial(to('printer')))
  t.equal(dial.remote.address, V4[0], 'dialling too')
  const flow = learnt.dialer.openDatagrams()
  flow.send(new Uint8Array(1), to('nas', 7))
  await learnt.clock.settle()
  t.same(asked(), ['nas.corp.example'], 'and datagrams')
  flow.close()

  const said = { search: ['lan.example'], ndots: 2 }
  const told = setup(names, { ipv6: false, searchDomains: ['corp.example'] }, { ...said })
  await t.rejects(told.clock.run(told.dialer.resolve('printer')), { code: 'name-not-found' })
  t.same(
    told.log.splice(0).map((x) => x.name),
    ['printer.lan.example', 'printer'],
    'what is said counts, not what was learnt',
  )
  t.same(await told.clock.run(told.dialer.resolve('a.b')), ['192.0.2.3'])
  t.same(
    told.log.map((x) => x.name),
    ['a.b.lan.example', 'a.b'],
  )
  const none = setup(names, { searchDomains: ['corp.example'] }, { search: ['.'] })
  await t.rejects(none.clock.run(none.dialer.resolve('printer')), { code: 'name-not-found' })
})

t.test('a search goes on behind an error, tells it at the end, and stops where nobody answers', async (t) => {
  const { clock, network, dialer, held } = setup(
    {},
    { ipv6: false, searchDomains: ['bad.example', 'good.example'] },
  )
  const asked = serveDns(network, DNS, (query) => {
    if (held.A) return undefined
    if (query.name.endsWith('bad.example')) return respond(query, { rcode: 2 })
    const isHere = query.name === 'host.good.example'
    return respond(query, { rcode: isHere ? 0 : 3, answers: isHere ? [a(query.name, '192.0.2.1')] : [] })
  })
  t.same(await clock.run(dialer.resolve('host')), ['192.0.2.1'])
  t.equal((await clock.run(dialer.dial(to('host')))).remote.address, '192.0.2.1')
  await t.rejects(clock.run(dialer.resolve('other')), { code: 'name-failed', message: /bad\.example/ })
  await t.rejects(clock.run(dialer.dial(to('other'))), { code: 'name-failed' })
  held.A = true
  asked.length = 0
  await t.rejects(clock.run(dialer.dial(to('silent'))), { code: 'name-timed-out' })
  t.same(new Set(asked.map((x) => x.name)), new Set(['silent.bad.example']))
})

t.test('a search goes on behind a refusal, which is the lesser of two errors', async (t) => {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: [DNS], setTimer: clock.setTimer })
  const broken = new Set<string>()
  serveDns(network, DNS, (asked) =>
    asked.name === 'there.b.example'
      ? respond(asked, { answers: asked.type === 'A' ? [a(asked.name, '192.0.2.1')] : [] })
      : respond(asked, { rcode: broken.has(asked.name) ? 2 : 5 }),
  )
  const dialer = createDialer({ network: () => network, clock, search: ['a.example', 'b.example'] })
  network.listen('192.0.2.1', 80, () => {})
  t.same(await clock.run(dialer.resolve('there')), ['192.0.2.1'])
  t.equal((await clock.run(dialer.dial(to('there')))).remote.address, '192.0.2.1')
  await t.rejects(clock.run(dialer.dial(to('other'))), { code: 'name-refused', message: /other\.a\.example/ })
  broken.add('else.b.example')
  await t.rejects(clock.run(dialer.dial(to('else'))), { code: 'name-failed', message: /else\.b\.example/ })
  await t.rejects(clock.run(dialer.resolve('else')), { code: 'name-failed' })
})

t.test('a .local domain that the network claims is asked for inside', async (t) => {
  const names = { 'dc.corp.local': [V4[0] as string] }
  const plain = setup(names, { ipv6: false })
  await t.rejects(plain.clock.run(plain.dialer.resolve('dc.corp.local')), { code: 'name-not-found' })
  t.same(plain.log, [])
  for (const [options, more] of [
    [{ searchDomains: ['corp.local'] }, {}],
    [{}, { search: ['corp.local'] }],
    [{}, { zones: [{ domain: 'corp.local', servers: [{ address: DNS, port: 53 }] }] }],
    [{}, { claimed: ['local'] }],
  ] as [MemoryNetworkOptions, Partial<DialerOptions>][]) {
    const { clock, dialer } = setup(names, { ipv6: false, ...options }, more)
    t.same(await clock.run(dialer.resolve('dc.corp.local')), [V4[0]])
    t.equal((await clock.run(dialer.dial(to('dc.corp.local')))).remote.address, V4[0])
  }
})

t.test('split DNS: the longest domain decides, also for what an alias leads to', async (t) => {
  const { clock, network, dialer, log } = setup(
    { 'host.example': ['192.0.2.1'] },
    { ipv6: false },
    {
      zones: [
        { domain: 'corp.example', servers: [{ address: '10.1.1.1', port: 53 }] },
        { domain: 'lab.corp.example', servers: [{ address: '127.0.0.1', port: 53 }] },
        { domain: '1.10.in-addr.arpa', servers: [{ address: '10.1.1.1', port: 53 }] },
      ],
    },
  )
  const corp = serveDns(network, '10.1.1.1', (asked) =>
    respond(asked, {
      answers:
        asked.type === 'PTR'
          ? [{ type: 'PTR', name: asked.name, ttl: 60, data: 'x.corp.example' }]
          : asked.name === 'out.corp.example'
            ? [cname(asked.name, 'host.example')]
            : [a(asked.name, '10.1.0.7')],
    }),
  )
  const resolve = (name: string) => clock.run(dialer.resolve(name))
  t.same(await resolve('corp.example'), ['10.1.0.7'])
  t.same(await resolve('www.corp.example'), ['10.1.0.7'])
  t.equal(log.length, 0)
  t.same(await resolve('out.corp.example'), ['192.0.2.1'])
  t.same(
    log.map((x) => x.name),
    ['host.example'],
  )
  t.equal(await clock.run(dialer.reverse('10.1.2.3')), 'x.corp.example')
  t.equal(corp.length, 4)
  await t.rejects(resolve('x.lab.corp.example'), { code: 'name-failed' }, 'its server cannot be one')
  await t.rejects(resolve('notcorp.example'), { code: 'name-not-found' })
  t.equal(corp.length, 4)
})

t.test('names that rules send elsewhere need no tunnel', async (t) => {
  const outside = setup({ 'www.example': ['203.0.113.1'] }, { ipv6: false })
  const { clock, dialer, log, state } = setup(
    { 'host.example': ['192.0.2.1'] },
    { ipv6: false },
    {
      elsewhere: (name) =>
        name === 'www.example'
          ? outside.dialer.names
          : name === 'ads.example'
            ? refusing('ads are not wanted')
            : undefined,
    },
  )
  t.same(await clock.run(dialer.resolve('www.example')), ['203.0.113.1'])
  t.same(await clock.run(dialer.resolve('host.example')), ['192.0.2.1'])
  await t.rejects(clock.run(dialer.resolve('ads.example')), { code: 'not-allowed', message: /not wanted/ })
  t.same(
    log.map((x) => x.name),
    ['host.example'],
  )
  for (const name of ['x.onion', 'x.alt', 'x.invalid']) {
    const nowhere = createDialer({
      network: () => state.network,
      clock,
      elsewhere: () => outside.dialer.names,
    })
    t.match(await nowhere.names.lookup(name, 'A'), { kind: 'absent', nxdomain: true }, name)
    t.match(await nowhere.names.relay(hostQuery(name, 16)), { code: 'name-not-found' }, name)
    t.equal(nowhere.names.needsTunnel?.(name), false, name)
    t.equal(dialer.names.needsTunnel?.(name), false, name)
  }
  t.same(
    outside.log.map((x) => x.name),
    ['www.example'],
    'what is no name of DNS is not heard outside either (RFC 7686 2)',
  )
  state.network = undefined
  t.match(await clock.run(dialer.names.lookup('www.example', 'A')), { kind: 'found' })
  t.match(await clock.run(dialer.names.lookup('host.example', 'A')), { kind: 'failed', code: 'tunnel-down' })
})

t.test('the hosts file comes before everything', async (t) => {
  const table = new Map([
    ['nas.local', ['10.0.0.7']],
    ['host.example', ['192.0.2.1', '2001:db8::1']],
    ['ads.example', ['0.0.0.0']],
  ])
  const { clock, dialer, log } = setup(
    {},
    {},
    {
      hosts: {
        get: (name, type) =>
          type === 'PTR'
            ? name === '7.0.0.10.in-addr.arpa'
              ? ['nas.local']
              : undefined
            : table.get(name)?.filter((x) => x.includes(':') === (type === 'AAAA')),
      },
    },
  )
  t.same(await clock.run(dialer.resolve('host.example')), ['2001:db8::1', '192.0.2.1'])
  t.same(await clock.run(dialer.resolve('nas.local')), ['10.0.0.7'], 'whatever is special about it')
  t.equal(await clock.run(dialer.reverse('10.0.0.7')), 'nas.local')
  t.equal((await clock.run(dialer.dial(to('host.example')))).remote.address, '2001:db8::1')
  await t.rejects(clock.run(dialer.dial(to('ads.example'))), { code: 'not-allowed' })
  t.same(log, [], 'nobody was asked')
})
