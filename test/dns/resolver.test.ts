import t, { type Test } from 'tap'
import { Resolver, type ResolverOptions } from '../../src/dns/resolver.js'
import { hostQuery } from '../../src/dns/wire.js'
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
    resolver.close()
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

t.test('no server: what would help is said for each case', async (t) => {
  const cases: [ResolverOptions, RegExp][] = [
    [{}, /VPN server gave no usable DNS server.*--dns/],
    [{ servers: ['2001:db8::53'] }, /no server of --dns.*2001:db8::53/],
    [
      { zones: [{ domain: 'example', servers: [{ address: '127.0.0.1', port: 53 }] }] },
      /--dns.*127\.0\.0\.1/,
    ],
    [
      { anyServer: true },
      /^cannot resolve host\.example: this computer's own resolver has no other DNS server$/,
    ],
  ]
  for (const [options, message] of cases) {
    const { clock, resolver, clean } = setup({ dnsServers: [] }, options)
    await t.rejects(clock.run(resolver.resolve('host.example')), { code: 'name-failed', message })
    t.match(await clock.run(resolver.relay(hostQuery('host.example', 16))), { code: 'name-failed', message })
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

  // What is no name of theirs is told apart from servers that are out of order.
  for (const [second, code] of [
    [5, 'name-refused'],
    [2, 'name-failed'],
    [undefined, 'name-failed'],
  ] as const) {
    const none = setup()
    const asked = serveDns(none.network, ONE, (query) => respond(query, { rcode: 5 }))
    serveDns(none.network, TWO, (query) =>
      second === undefined ? undefined : respond(query, { rcode: second }),
    )
    const refusal = { code, message: /10\.0\.0\.53 answered REFUSED; / }
    await t.rejects(none.clock.run(none.resolver.resolve('host.example')), refusal)
    await t.rejects(none.clock.run(none.resolver.resolve('host.example')), refusal)
    t.equal(asked.length, 1, 'remembered as shortly')
    t.match(await none.clock.run(none.resolver.relay(hostQuery('host.example', 16))), refusal)
    none.clean(t)
  }

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

t.test('servers that drop queries with EDNS in silence', async (t) => {
  const dropping: Script = (asked) => (asked.edns ? undefined : fixed('192.0.2.1')(asked))
  const { clock, network, resolver, clean } = setup({ dnsServers: [ONE] })
  const log = serveDns(network, ONE, dropping)
  const flags = () => log.splice(0).map((x) => x.edns)
  let start = clock.now()
  t.same(await clock.run(resolver.resolve('one.example')), ['192.0.2.1'])
  t.equal(clock.now() - start, 4000, 'once its time is over, and not in place of a try before')
  t.same(flags(), [true, true, false])
  start = clock.now()
  t.same(await clock.run(resolver.resolve('two.example')), ['192.0.2.1'])
  t.match(await clock.run(resolver.relay(hostQuery('two.example', 16))), { kind: 'message' })
  t.equal(clock.now(), start, 'it is remembered')
  t.same(flags(), [false, false])
  await clock.advance(600_000)
  t.same(await clock.run(resolver.resolve('three.example')), ['192.0.2.1'])
  t.same(flags(), [true, true, false], 'for a while')
  serveDns(network, ONE, (asked) => {
    log.push(asked)
    return fixed('192.0.2.1')(asked)
  })
  await clock.advance(600_000)
  t.same(await clock.run(resolver.resolve('four.example')), ['192.0.2.1'])
  t.same(flags(), [true], 'and found out anew')
  serveDns(network, ONE, (asked) => {
    log.push(asked)
    return undefined
  })
  await t.rejects(clock.run(resolver.resolve('five.example')), { code: 'name-timed-out' })
  t.same(flags(), [true, true, true], 'who has answered one is silent for another reason')
  clean(t)

  const several: [readonly string[], number][] = [
    [[ONE, TWO], 6000],
    [[ONE, TWO, '10.0.0.55'], 6000],
    [[ONE, TWO, '10.0.0.55', '10.0.0.56'], 8000],
  ]
  for (const [dnsServers, ms] of several) {
    const all = setup({ dnsServers })
    for (const server of dnsServers) serveDns(all.network, server, dropping)
    const begin = all.clock.now()
    t.same(await all.clock.run(all.resolver.resolve('host.example')), ['192.0.2.1'])
    t.equal(all.clock.now() - begin, ms, `${dnsServers.length} servers`)
    all.clean(t)
  }
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

t.test('a server that knows one family of a name, and denies it for the other', async (t) => {
  for (const [known, denied] of [
    ['A', 'AAAA'],
    ['AAAA', 'A'],
  ] as const) {
    const { clock, network, resolver } = setup({ dnsServers: [ONE], ipv6: true })
    const value = known === 'A' ? '192.0.2.1' : '2001:db8::1'
    serveDns(network, ONE, (asked) =>
      asked.type === denied
        ? respond(asked, { rcode: 3, authorities: [soa('example', 1000, 1000)] })
        : respond(asked, { answers: [known === 'A' ? a(asked.name, value) : aaaa(asked.name, value)] }),
    )
    for (let i = 0; i < 3; i++) {
      t.same(await clock.run(resolver.resolve('host.example')), [value], `${known} ${i}`)
      await clock.advance(100_000)
    }
    if (denied === 'AAAA') await clock.run(resolver.lookup('other.example', denied))
    t.match(await clock.run(resolver.lookup('other.example', known)), { kind: 'found' })
    await clock.run(resolver.lookup('other.example', denied))
    t.match(await clock.run(resolver.lookup('other.example', known)), { kind: 'found' })
  }
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

t.test('one connection to a server for several questions, and a new one when it was ended', async (t) => {
  const { clock, network, resolver } = setup()
  const log = serveDns(network, ONE, (asked) =>
    asked.tcp ? fixed('192.0.2.1')(asked) : respond(asked, { truncated: true }),
  )
  const dialled = () => network.attempts.length
  const resolve = (...names: string[]) => clock.run(Promise.all(names.map((name) => resolver.resolve(name))))
  await resolve('a.example', 'b.example', 'c.example')
  t.equal(dialled(), 1, 'together')
  await resolve('d.example')
  t.equal(dialled(), 1, 'one after the other')
  t.equal(log.filter((x) => x.tcp).length, 4)
  await clock.advance(5_000)
  t.equal(network.flows.size, 0, 'idle for a while, it is ended')
  t.equal(clock.pending, 0)
  await resolve('e.example')
  t.equal(dialled(), 2)
  // The server ends it just when the next question is on its way.
  for (const flow of network.flows) flow.abort('reset', 'reset')
  await resolve('f.example')
  t.equal(dialled(), 3, 'asked again at once')
  t.equal(log.filter((x) => x.tcp && x.name === 'f.example').length, 1)
  const order: string[] = []
  await clock.run(
    Promise.all(['g.example', 'h.example'].map(async (x) => order.push(x, ...(await resolver.resolve(x))))),
  )
  resolver.close()
  await clock.settle()
  t.equal(network.flows.size, 0)
  t.equal(clock.pending, 0)
})

t.test('answers over one connection in any order, in any pieces', async (t) => {
  const { clock, network, resolver, clean } = setup()
  network.listenUdp(ONE, 53, (data, reply) => {
    const cut = Buffer.from(data)
    cut.writeUInt16BE(0x8380, 2)
    reply(cut)
  })
  network.listen(ONE, 53, (flow) => {
    let received = Buffer.alloc(0)
    flow.handler = {
      onReadable() {
        for (let view = flow.peek(); view.length > 0; view = flow.peek()) {
          received = Buffer.concat([received, view])
          flow.consume(view.length)
        }
        const queries: Buffer[] = []
        for (let o = 0; o + 2 <= received.length; o += 2 + received.readUInt16BE(o)) {
          queries.push(received.subarray(o + 2, o + 2 + received.readUInt16BE(o)))
        }
        if (queries.length < 3) return
        const answers = queries.reverse().map((raw, i) => {
          const id = raw.readUInt16BE(0)
          const name = raw.toString('latin1', 13, 14)
          const asked = { id, name: `${name}.example`, type: 'A', edns: true, tcp: true, raw }
          const answer = fixed(`192.0.2.${i + 1}`)(asked) as Buffer
          return Buffer.concat([Buffer.of(answer.length >> 8, answer.length & 255), answer])
        })
        for (const octet of Buffer.concat(answers)) flow.write(Uint8Array.of(octet))
      },
      onWritable() {},
      onClose() {},
    }
  })
  const found = await clock.run(Promise.all(['a', 'b', 'c'].map((x) => resolver.resolve(`${x}.example`))))
  t.same(found.flat().sort(), ['192.0.2.1', '192.0.2.2', '192.0.2.3'])
  t.equal(network.attempts.length, 1)
  clean(t)
})

t.test('a server that kept us waiting is asked last for a while', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const silent: string[] = []
  let answers = false
  serveDns(network, ONE, (asked) => {
    silent.push(asked.name)
    return answers ? fixed('192.0.2.1')(asked) : undefined
  })
  const second = serveDns(network, TWO, fixed('192.0.2.2'))
  let start = clock.now()
  await clock.run(resolver.resolve('a.example'))
  t.equal(clock.now() - start, 2000)
  start = clock.now()
  for (const name of ['b.example', 'c.example']) await clock.run(resolver.resolve(name))
  t.equal(clock.now(), start, 'nobody waits for it again')
  t.same(silent, ['a.example'])
  answers = true
  await clock.advance(30_000)
  t.same(await clock.run(resolver.resolve('d.example')), ['192.0.2.1'], 'and then it is first again')
  t.equal(second.length, 3)
  clean(t)
})

t.test('questions under way are bounded', async (t) => {
  const { clock, network, resolver, clean } = setup()
  serveDns(network, ONE, () => undefined)
  const all = Array.from({ length: 1100 }, (_, i) => resolver.lookup(`h${i}.example`, 'A'))
  const same = resolver.lookup('h0.example', 'A')
  const busy = await Promise.all(all.slice(128, 204))
  t.ok(
    busy.every((x) => x.kind === 'failed' && x.code === 'no-resources' && x.ttl === 0),
    'too many wait: the first of them go',
  )
  t.equal(network.udpSockets.size, 128)
  await clock.advance(3_000)
  t.equal(network.udpSockets.size, 256, 'one for each server')
  // In the midst of it, somebody asks for what there is.
  const log = serveDns(network, ONE, ({ name, ...asked }) =>
    name === 'good.example' ? fixed('192.0.2.1')({ name, ...asked }) : undefined,
  )
  const good = resolver.resolve('good.example')
  const relayed = resolver.relay(hostQuery('good.example', 16))
  await clock.advance(1_100)
  t.same(await good, ['192.0.2.1'], 'the last comes first, as soon as others have had their time')
  t.match(await relayed, { kind: 'message' })
  t.match(await same, { kind: 'failed', code: 'name-timed-out' })
  t.equal(log.filter((x) => x.name === 'good.example').length, 2)
  await clock.advance(6_000)
  t.match(await all[300], { kind: 'failed', code: 'no-resources' }, 'nobody waits for ever')
  await clock.advance(20_000)
  t.ok((await Promise.all(all)).every((x) => x.kind === 'failed'))
  t.same(await clock.run(resolver.resolve('good.example')), ['192.0.2.1'])
  clean(t)

  const waiting = setup()
  const many = Array.from({ length: 200 }, (_, i) => waiting.resolver.lookup(`h${i}.example`, 'A'))
  const abort = new AbortController()
  const left = waiting.resolver.lookup('left.example', 'A', abort.signal)
  await waiting.clock.settle()
  abort.abort()
  t.match(await left, { kind: 'failed', code: 'aborted' })
  waiting.resolver.close()
  t.ok((await Promise.all(many)).every((x) => x.kind === 'failed' && x.code === 'tunnel-down'))
  waiting.clean(t)
})

t.test('a query that is repeated is the same, from the same port', async (t) => {
  const { clock, network, resolver, clean } = setup({ dnsServers: [ONE] })
  const ports = new Set<number>()
  const ids = new Set<string>()
  const queries: string[] = []
  network.listenUdp(ONE, 53, (data, _reply, from) => {
    ports.add(from.port)
    const query = Buffer.from(data).toString('hex')
    ids.add(query.slice(0, 4))
    queries.push(query)
  })
  const sent = network.openUdp.bind(network)
  let sockets = 0
  network.openUdp = (options) => {
    sockets++
    return sent(options)
  }
  await t.rejects(clock.run(resolver.resolve('host.example')), { code: 'name-timed-out' })
  t.equal(sockets, 1)
  t.equal(ports.size, 1)
  t.equal(ids.size, 1, 'every other would be one more for a forger to hit')
  const [first = '', second, third] = queries
  t.equal(second, first)
  const without = `${first.slice(0, 20)}0000${first.slice(24, -22)}`
  t.equal(third, without, 'the last is it without OPT')
  clean(t)
})

t.test('aliases to names that no host has, as reverse zones hold them', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const log = serveDns(network, ONE, (asked) => {
    if (asked.name === '1.2.0.192.in-addr.arpa')
      return respond(asked, { answers: [cname(asked.name, '1.0/25.2.0.192.in-addr.arpa')] })
    return respond(asked, { answers: [{ type: 'PTR', name: asked.name, ttl: 60, data: 'host.example' }] })
  })
  const found = await clock.run(resolver.lookup('1.2.0.192.in-addr.arpa', 'PTR'))
  t.match(found, { kind: 'found', values: ['host.example'] }, 'RFC 2317')
  t.same(
    log.map((x) => x.name),
    ['1.2.0.192.in-addr.arpa', '1.0/25.2.0.192.in-addr.arpa'],
  )
  serveDns(network, ONE, (asked) => respond(asked, { answers: [cname(asked.name, 'no such name.example')] }))
  const bad = await clock.run(resolver.lookup('x.example', 'A'))
  t.match(bad, { kind: 'failed', code: 'name-failed', message: /alias of what cannot be a name/ })
  clean(t)
})

t.test('what there is not, and what failed, is remembered as long as the standards say', async (t) => {
  const { clock, network, resolver } = setup({ dnsServers: [ONE], ipv6: true })
  const script: Record<string, Script> = {
    // RFC 2308 5: the smaller of the two; neither for longer than three hours.
    'ttl.example': (asked) => respond(asked, { rcode: 3, authorities: [soa('example', 10, 100)] }),
    'long.example': (asked) => respond(asked, { rcode: 3, authorities: [soa('example', 90_000, 90_000)] }),
    'bare.example': (asked) => respond(asked, { rcode: 3 }),
    'empty.example': (asked) => respond(asked, { authorities: [soa('example', 100, 20)] }),
    'alias.example': (asked) =>
      respond(asked, {
        answers: [cname(asked.name, 'gone.example', 5)],
        rcode: 3,
        authorities: [soa('example', 100, 100)],
      }),
    'day.example': (asked) => respond(asked, { answers: [a(asked.name, '192.0.2.1', 1_000_000)] }),
    'silent.example': () => undefined,
  }
  const log = serveDns(network, ONE, (asked) => script[asked.name]?.(asked))
  const look = (name: string, type: 'A' | 'AAAA' = 'A') => clock.run(resolver.lookup(name, type))
  /** Whether it takes a new query. */
  const isAsked = async (name: string, type: 'A' | 'AAAA' = 'A') => {
    log.length = 0
    await look(name, type)
    return log.length > 0
  }
  for (const [name, seconds, kind] of [
    ['ttl.example', 10, 'absent'],
    ['long.example', 10_800, 'absent'],
    ['empty.example', 20, 'absent'],
    ['alias.example', 5, 'absent'],
    ['day.example', 86_400, 'found'],
    // RFC 9520 3.2: five seconds for those who do not answer.
    ['silent.example', 5, 'failed'],
  ] as const) {
    t.equal((await look(name)).kind, kind, name)
    await clock.advance(seconds * 1000 - 1)
    t.equal(await isAsked(name), false, `${name} holds`)
    await clock.advance(1)
    t.equal(await isAsked(name), true, `${name} is over`)
  }
  t.equal(await isAsked('bare.example'), true)
  t.equal(await isAsked('bare.example'), true, 'without an SOA record nothing says how long')
  await look('ttl.example')
  t.equal(await isAsked('ttl.example', 'AAAA'), false, 'what does not exist has nothing of any type')
  await look('empty.example')
  t.equal(await isAsked('empty.example', 'AAAA'), true, 'what has no A record may have others')
})

t.test('DNAME, also beyond the answer, and chains at their limits', async (t) => {
  const { clock, network, resolver, clean } = setup()
  const dname = (name: string, data: string) => ({ type: 'DNAME' as const, name, ttl: 60, data })
  const log = serveDns(network, ONE, (asked) => {
    const { name } = asked
    if (name.endsWith('.old.example'))
      return respond(asked, { answers: [dname('old.example', 'new.example')] })
    if (name.endsWith('.long.example'))
      return respond(asked, { answers: [dname('long.example', `${'x'.repeat(60)}.`.repeat(3).slice(0, -1))] })
    if (name === 'old.example') return respond(asked, { answers: [dname('old.example', 'new.example')] })
    const step = /^s(\d+)\.example$/.exec(name)?.[1]
    if (step === undefined) return fixed('192.0.2.7')(asked)
    return Number(step) === 0
      ? fixed('192.0.2.1')(asked)
      : respond(asked, { answers: [cname(name, `s${Number(step) - 1}.example`)] })
  })
  const look = (name: string) => clock.run(resolver.lookup(name, 'A'))
  t.match(await look('www.old.example'), {
    kind: 'found',
    values: ['192.0.2.7'],
    aliases: ['www.new.example'],
  })
  t.match(await look('old.example'), { kind: 'absent' }, 'it says nothing of its own name (RFC 6672 2.3)')
  t.same(
    log.splice(0).map((x) => x.name),
    ['www.old.example', 'www.new.example', 'old.example'],
  )
  // RFC 6672 2.2: what it makes may be too long for a name.
  t.match(await look(`${'y.'.repeat(60)}long.example`), { kind: 'absent' })
  t.match(await look('s16.example'), { kind: 'found', values: ['192.0.2.1'] })
  t.equal(log.splice(0).length, 18)
  t.match(await look('s17.example'), { kind: 'failed', code: 'name-failed', message: /circle/ })
  t.equal(log.length, 17)
  clean(t)
})

t.test('EDNS and TCP together', async (t) => {
  const { clock, network, resolver, clean } = setup({ dnsServers: [ONE] })
  // An old server that knows neither, and has a long answer.
  const log = serveDns(network, ONE, (asked) => {
    if (asked.edns) return respond(asked, { rcode: 1, noQuestion: true })
    return asked.tcp ? fixed('192.0.2.1')(asked) : respond(asked, { truncated: true })
  })
  t.same(await clock.run(resolver.resolve('host.example')), ['192.0.2.1'])
  t.same(
    log.map(({ edns, tcp }) => [edns, tcp]),
    [
      [true, false],
      [false, false],
      [false, true],
    ],
  )
  clean(t)

  const size = setup({ dnsServers: [ONE] })
  const raw: Buffer[] = []
  serveDns(size.network, ONE, (asked) => {
    raw.push(Buffer.from(asked.raw))
    return fixed('192.0.2.1')(asked)
  })
  await size.clock.run(size.resolver.resolve('host.example'))
  t.equal(raw[0]?.subarray(-11).toString('hex'), '00002904d0000000000000', 'OPT with 1232 octets, no options')
})
