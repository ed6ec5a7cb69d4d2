import t, { type Test } from 'tap'
import { Resolver, type ResolverOptions } from '../../src/dns/resolver.js'
import { a, aaaa, cname, respond, type Script, serveDns, soa } from '../helpers/dns-server.js'
import { MemoryNetwork, type MemoryNetworkOptions } from '../helpers/memory-network.js'
import { SeededRandom } from '../helpers/random.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const ONE = '10.0.0.53'
const TWO = '10.0.0.54'

function setup(options: MemoryNetworkOptions = {}, resolverOptions: ResolverOptions = {}) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: [ONE, TWO], setTimer: clock.setTimer, ...options })
  const random = new SeededRandom(1).fill
  const resolver = new Resolver(network, { clock, random, ...resolverOptions })
  /** Nothing may stay behind a question, whatever came of it. */
  const clean = (t: Test) => {
    t.equal(network.udpSockets.size, 0, 'no UDP socket is left')
    t.equal(network.flows.size, 0, 'no connection is left')
    t.equal(clock.pending, 0, 'no timer is left')
  }
  return { clock, network, resolver, clean }
}

const fixed =
  (...addresses: string[]): Script =>
  (asked) =>
    respond(asked, {
      answers: addresses
        .filter((x) => x.includes(':') === (asked.type === 'AAAA'))
        .map((x) => (x.includes(':') ? aaaa(asked.name, x) : a(asked.name, x))),
    })

t.test('an address, over UDP', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const log = serveDns(network, ONE, fixed('192.0.2.1', '192.0.2.2'))
  t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.1', '192.0.2.2'])
  t.match(log, [{ name: 'host.example', type: 'A', edns: true, tcp: false }])
  t.equal(log.length, 1, 'without IPv6 in the tunnel nobody asks for AAAA')
  clean(t)
})

t.test('both families, IPv6 first; ids differ', async (t) => {
  const { clock, network, resolver, clean } = setup({ ipv6: true })
  const log = serveDns(network, ONE, fixed('192.0.2.1', '2001:db8::1'))
  t.same(await clock.run(resolver.resolve('host.example')), ['2001:db8::1', '192.0.2.1'])
  t.same(
    log.map((x) => x.type),
    ['AAAA', 'A'],
  )
  t.not(log[0]?.id, log[1]?.id)
  clean(t)
})

t.test('no server at all', async (t) => {
  for (const dnsServers of [[], ['0.0.0.0', 'nonsense', '127.0.0.53'], ['2001:db8::53']]) {
    const { clock, network, resolver, clean } = setup({ dnsServers })
    await t.rejects(clock.run(resolver.resolve('host.example')), {
      code: 'name-failed',
      message: /gave no usable DNS server.*--dns/,
    })
    t.same(network.attempts, [])
    clean(t)
  }
})

t.test('--dns replaces the servers of the tunnel', async (t) => {
  const { clock, network, resolver } = setup({}, { servers: ['10.1.1.1'] })
  serveDns(network, ONE, fixed('192.0.2.66'))
  serveDns(network, '10.1.1.1', fixed('192.0.2.1'))
  t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.1'])
})

t.test('truncated: again over TCP, also when answers are there', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const many = Array.from({ length: 20 }, (_, i) => `192.0.2.${i + 1}`)
  const log = serveDns(network, ONE, (asked) =>
    asked.tcp
      ? fixed(...many)(asked)
      : respond(asked, { truncated: true, answers: [a(asked.name, '192.0.2.99')] }),
  )
  t.same(await clock.run(resolver.resolve('host.example')), many)
  t.same(
    log.map((x) => x.tcp),
    [false, true],
  )
  t.same(log[0]?.raw, log[1]?.raw, 'the same query')
  clean(t)
})

t.test('TCP refused, silent, cut short or wrong: the next server', async (t) => {
  const behaviours: [string, (network: MemoryNetwork) => void][] = [
    ['refused', (n) => n.route(ONE, 'refused')],
    ['silent', (n) => n.route(ONE, 'silent')],
    ['ended', (n) => n.listen(ONE, 53, (flow) => flow.end())],
    ['reset', (n) => n.listen(ONE, 53, (flow) => flow.reset())],
    ['empty', (n) => n.listen(ONE, 53, (flow) => flow.write(new Uint8Array(2)))],
    ['garbage', (n) => n.listen(ONE, 53, (flow) => flow.write(Uint8Array.of(0, 3, 1, 2, 3)))],
    ['half', (n) => n.listen(ONE, 53, (flow) => void flow.write(Uint8Array.of(0, 30, 1, 2, 3)))],
  ]
  for (const [what, spoil] of behaviours) {
    const { clock, network, resolver, clean } = setup()
    serveDns(network, ONE, (asked) => respond(asked, { truncated: true }))
    serveDns(network, TWO, fixed('192.0.2.2'))
    // UDP is open until the truncated answer is out.
    network.listenUdp(ONE, 53, (data, reply) => {
      spoil(network)
      reply(
        respond(
          {
            id: (data[0] ?? 0) * 256 + (data[1] ?? 0),
            name: 'host.example',
            type: 'A',
            edns: true,
            tcp: false,
            raw: data,
          },
          { truncated: true },
        ),
      )
    })
    t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.2'], what)
    await clock.settle()
    clean(t)
  }
})

t.test('forged answers do not count', async (t) => {
  const { clock, network, resolver, clean } = setup()
  serveDns(network, ONE, (asked) => [
    respond(asked, { id: asked.id ^ 1, answers: [a(asked.name, '203.0.113.1')] }),
    respond(asked, { name: 'other.example', answers: [a('other.example', '203.0.113.2')] }),
    respond({ ...asked, type: 'AAAA' }, { answers: [a(asked.name, '203.0.113.3')] }),
    respond(asked, { noQuestion: true, answers: [a(asked.name, '203.0.113.4')] }),
    Buffer.from('garbage'),
    Buffer.from(asked.raw),
    respond(asked, { name: asked.name.toUpperCase(), answers: [a(asked.name.toUpperCase(), '192.0.2.1')] }),
  ])
  t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.1'], 'names compare without case')
  clean(t)

  const other = setup()
  other.network.listenUdp(ONE, 53, (data, reply) => {
    const asked = {
      id: (data[0] ?? 0) * 256 + (data[1] ?? 0),
      name: 'host.example',
      type: 'A',
      edns: true,
      tcp: false,
      raw: data,
    }
    reply(respond(asked, { answers: [a('host.example', '203.0.113.1')] }), { address: '10.0.0.99', port: 53 })
    reply(respond(asked, { answers: [a('host.example', '203.0.113.2')] }), { address: ONE, port: 5353 })
    reply(respond(asked, { answers: [a('host.example', '192.0.2.1')] }))
  })
  t.same(
    await other.clock.run(other.resolver.resolve('host.example')),
    ['192.0.2.1'],
    'source address and port',
  )
})

t.test('silent servers: two seconds each, late answers count, ten seconds at most', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const log = serveDns(network, TWO, fixed('192.0.2.2'))
  const start = clock.now()
  t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.2'])
  t.equal(clock.now() - start, 2000)
  t.equal(log.length, 1)
  clean(t)

  const late = setup({ dnsServers: [ONE] })
  late.network.route(ONE, 'open', 3000)
  const lateLog = serveDns(late.network, ONE, fixed('192.0.2.1'))
  const then = late.clock.now()
  t.same(await late.clock.run(late.resolver.resolve('host.example')), ['192.0.2.1'])
  t.equal(late.clock.now() - then, 3000, 'the first query is answered after 3 s')
  t.equal(lateLog.length, 1)

  const dead = setup()
  const begin = dead.clock.now()
  await t.rejects(dead.clock.run(dead.resolver.resolve('host.example')), {
    code: 'name-timed-out',
    message: /10\.0\.0\.53, 10\.0\.0\.54 did not answer/,
  })
  t.equal(dead.clock.now() - begin, 10_000)
  dead.clean(t)
})

t.test('SERVFAIL, REFUSED, unreachable: the next server at once, and each once', async (t) => {
  for (const rcode of [2, 5, 9]) {
    const { clock, network, resolver, clean } = setup()
    const log = serveDns(network, ONE, (asked) => respond(asked, { rcode }))
    serveDns(network, TWO, fixed('192.0.2.2'))
    const start = clock.now()
    t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.2'])
    t.equal(clock.now(), start)
    t.equal(log.length, 1)
    clean(t)
  }
  const both = setup()
  const logs = [ONE, TWO].map((s) => serveDns(both.network, s, (asked) => respond(asked, { rcode: 2 })))
  await t.rejects(both.clock.run(both.resolver.resolve('host.example')), {
    code: 'name-failed',
    message: /10\.0\.0\.53 answered SERVFAIL/,
  })
  t.same(
    logs.map((l) => l.length),
    [1, 1],
  )
  // RFC 9520: remembered for five seconds.
  await t.rejects(both.clock.run(both.resolver.resolve('host.example')), { code: 'name-failed' })
  t.same(
    logs.map((l) => l.length),
    [1, 1],
  )
  await both.clock.advance(5001)
  await t.rejects(both.clock.run(both.resolver.resolve('host.example')), { code: 'name-failed' })
  t.same(
    logs.map((l) => l.length),
    [2, 2],
  )

  const icmp = setup()
  icmp.network.route(ONE, 'refused')
  serveDns(icmp.network, TWO, fixed('192.0.2.2'))
  const start = icmp.clock.now()
  t.same(await icmp.clock.run(icmp.resolver.resolve('host.example')), ['192.0.2.2'], 'ICMP port unreachable')
  t.equal(icmp.clock.now(), start)
})

t.test('a server without EDNS', async (t) => {
  for (const noQuestion of [false, true]) {
    for (const rcode of [1, 4]) {
      const { clock, network, resolver, clean } = setup()
      const log = serveDns(network, ONE, (asked) =>
        asked.edns ? respond(asked, { rcode, noQuestion }) : fixed('192.0.2.1')(asked),
      )
      t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.1'])
      t.same(
        log.map((x) => x.edns),
        [true, false],
      )
      clean(t)
    }
  }
  const stubborn = setup()
  for (const s of [ONE, TWO]) serveDns(stubborn.network, s, (asked) => respond(asked, { rcode: 1 }))
  await t.rejects(stubborn.clock.run(stubborn.resolver.resolve('host.example')), { code: 'name-failed' })
})

t.test('CNAME chains', async (t) => {
  const chain = setup()
  serveDns(chain.network, ONE, (asked) =>
    respond(asked, {
      answers: [
        // Out of order, and with records that do not belong to the chain.
        a('c.example', '192.0.2.3', 50),
        a('evil.example', '203.0.113.1'),
        cname('b.example', 'c.example', 20),
        cname('a.example', 'b.example', 40),
      ],
    }),
  )
  t.same(await chain.clock.run(chain.resolver.resolve('a.example')), ['192.0.2.3'])

  const split = setup()
  const log = serveDns(split.network, ONE, (asked) =>
    asked.name === 'a.example'
      ? respond(asked, { answers: [cname('a.example', 'b.example')] })
      : fixed('192.0.2.2')(asked),
  )
  t.same(await split.clock.run(split.resolver.resolve('a.example')), ['192.0.2.2'])
  t.same(
    log.map((x) => x.name),
    ['a.example', 'b.example'],
    'its end is asked for',
  )

  const dname = setup()
  serveDns(dname.network, ONE, (asked) =>
    respond(asked, {
      answers: [
        { type: 'DNAME', name: 'old.example', ttl: 9, data: 'new.example' },
        a('www.new.example', '192.0.2.7'),
      ],
    }),
  )
  t.same(await dname.clock.run(dname.resolver.resolve('www.old.example')), ['192.0.2.7'])

  const loops: Script[] = [
    (asked) => respond(asked, { answers: [cname(asked.name, asked.name)] }),
    (asked) =>
      respond(asked, { answers: [cname('a.example', 'b.example'), cname('b.example', 'a.example')] }),
    (asked) =>
      respond(asked, {
        answers: [cname(asked.name, asked.name === 'a.example' ? 'b.example' : 'a.example')],
      }),
    (asked) => respond(asked, { answers: [cname(asked.name, `x${asked.name}`)] }),
  ]
  for (const script of loops) {
    const loop = setup()
    const asked = serveDns(loop.network, ONE, script)
    await t.rejects(loop.clock.run(loop.resolver.resolve('a.example')), {
      code: 'name-failed',
      message: /circle/,
    })
    t.ok(asked.length <= 17, `${asked.length} queries`)
    loop.clean(t)
  }
})

t.test('a name that does not exist, and one without an address', async (t) => {
  const nx = setup({ ipv6: true })
  const log = serveDns(nx.network, ONE, (asked) =>
    respond(asked, { rcode: 3, authorities: [soa('example', 100, 30)] }),
  )
  await t.rejects(nx.clock.run(nx.resolver.resolve('no.example')), {
    code: 'name-not-found',
    message: /does not exist/,
  })
  const asked = log.length
  await t.rejects(nx.clock.run(nx.resolver.resolve('no.example')), { code: 'name-not-found' })
  t.equal(log.length, asked, 'from the cache')
  await nx.clock.advance(31_000)
  await t.rejects(nx.clock.run(nx.resolver.resolve('no.example')), { code: 'name-not-found' })
  t.ok(log.length > asked, 'after SOA MINIMUM it is asked for again')

  const empty = setup({ ipv6: true })
  serveDns(empty.network, ONE, (q) => respond(q, { authorities: [soa('example')] }))
  await t.rejects(empty.clock.run(empty.resolver.resolve('mx.example')), {
    code: 'name-not-found',
    message: /no address/,
  })

  const half = setup({ ipv6: true })
  serveDns(half.network, ONE, (q) =>
    q.type === 'A' ? fixed('192.0.2.1')(q) : respond(q, { authorities: [soa('example')] }),
  )
  t.same(await half.clock.run(half.resolver.resolve('v4.example')), ['192.0.2.1'])

  const unsure = setup({ ipv6: true })
  for (const s of [ONE, TWO]) {
    serveDns(unsure.network, s, (q) =>
      q.type === 'A' ? respond(q, { rcode: 2 }) : respond(q, { authorities: [soa('example')] }),
    )
  }
  await t.rejects(
    unsure.clock.run(unsure.resolver.resolve('x.example')),
    { code: 'name-failed' },
    'absent is only said if all say so',
  )

  const tail = setup()
  serveDns(tail.network, ONE, (q) =>
    respond(q, { rcode: 3, answers: [cname('a.example', 'gone.example')], authorities: [soa('example')] }),
  )
  await t.rejects(tail.clock.run(tail.resolver.resolve('a.example')), { code: 'name-not-found' })
})

t.test('the cache: TTL of the chain, zero, bounds', async (t) => {
  const { clock, network, resolver } = setup({}, { cache: { entries: 3 } })
  let ttl = 20
  const log = serveDns(network, ONE, (q) =>
    respond(q, { answers: [cname(q.name, 'end.example', 50), a('end.example', '192.0.2.1', ttl)] }),
  )
  const ask = (name: string) => clock.run(resolver.resolve(name))
  await ask('a.example')
  await clock.advance(19_900)
  await ask('a.example')
  t.equal(log.length, 1)
  await clock.advance(200)
  await ask('a.example')
  t.equal(log.length, 2)
  ttl = 0
  await ask('zero.example')
  await ask('zero.example')
  t.equal(log.length, 4)
  ttl = 1000
  for (const n of ['b', 'c', 'd', 'e']) await ask(`${n}.example`)
  await ask('c.example')
  t.equal(log.length, 8)
  await ask('b.example')
  t.equal(log.length, 9, 'the oldest had to go')
})

t.test('equal questions at one time share one query', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const log = serveDns(network, ONE, (q) => respond(q, { answers: [a(q.name, '192.0.2.1', 0)] }))
  const all = await clock.run(Promise.all(Array.from({ length: 50 }, () => resolver.resolve('host.example'))))
  t.equal(all.length, 50)
  t.equal(log.length, 1)
  clean(t)
})

t.test('giving up', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const first = new AbortController()
  const second = new AbortController()
  const one = resolver.resolve('host.example', { signal: first.signal })
  const two = resolver.resolve('host.example', { signal: second.signal })
  await clock.settle()
  t.equal(network.udpSockets.size, 1)
  first.abort()
  await t.rejects(one, { code: 'aborted' })
  t.equal(network.udpSockets.size, 1, 'the other still waits')
  second.abort()
  await t.rejects(two, { code: 'aborted' })
  await clock.settle()
  clean(t)

  await t.rejects(resolver.resolve('host.example', { signal: AbortSignal.abort() }), { code: 'aborted' })
  await t.rejects(clock.run(resolver.resolve('host.example', { timeout: 500 })), { code: 'name-timed-out' })
  await clock.settle()
  clean(t)

  const closing = resolver.resolve('host.example')
  await clock.settle()
  resolver.close()
  await t.rejects(closing, { code: 'tunnel-down' })
  clean(t)
})

t.test('the tunnel goes down', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const waiting = resolver.resolve('host.example')
  await clock.settle()
  network.down()
  await t.rejects(waiting, { code: 'tunnel-down' })
  clean(t)
})
