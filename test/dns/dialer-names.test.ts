import t from 'tap'
import { createDialer, type DialerOptions } from '../../src/dns/dialer.js'
import type { HostNames } from '../../src/dns/hosts.js'
import { a, cname, respond, type Script, serveDns, soa } from '../helpers/dns-server.js'
import { MemoryNetwork, type MemoryNetworkOptions } from '../helpers/memory-network.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const DNS = '10.0.0.53'
const HOST = '192.0.2.1'

function setup(script: Script, network: MemoryNetworkOptions = {}, options: Partial<DialerOptions> = {}) {
  const clock = new VirtualClock()
  const memory = new MemoryNetwork({ dnsServers: [DNS], setTimer: clock.setTimer, ...network })
  const log = serveDns(memory, DNS, script)
  const dialer = createDialer({ network: () => memory, clock, ...options })
  memory.listen(HOST, 80, () => {})
  return {
    clock,
    network: memory,
    dialer,
    log,
    resolve: (host: string) => clock.run(dialer.resolve(host)),
    dial: async (host: string) => (await clock.run(dialer.dial({ host, port: 80 }))).remote.address,
    reverse: (address: string) => clock.run(dialer.reverse(address)),
    /** Names that were asked for since the last time. */
    asked: () => log.splice(0).map((x) => x.name),
  }
}

const nobody: Script = (asked) => respond(asked, { rcode: 3, authorities: [soa('example')] })
const known =
  (...names: string[]): Script =>
  (asked) =>
    names.includes(asked.name) ? respond(asked, { answers: [a(asked.name, HOST)] }) : nobody(asked)

/** A hosts file that changes when it is looked at again. */
class Hosts implements HostNames {
  now: Record<string, readonly string[]> = {}
  next: Record<string, readonly string[]> = {}
  get(name: string, type: string): readonly string[] | undefined {
    return this.now[name]?.filter((x) => x.includes(':') === (type === 'AAAA'))
  }
  async refresh(): Promise<void> {
    await Promise.resolve()
    this.now = this.next
  }
}

t.test('a name of the hosts file is looked for nowhere, whatever the search domains are', async (t) => {
  const hosts = new Hosts()
  hosts.next = { nas: [HOST], 'six.example': ['2001:db8::1'] }
  const { resolve, dial, asked, network, dialer, clock } = setup(
    known('nas.corp.example', 'other.corp.example'),
    { searchDomains: ['corp.example'] },
    { hosts },
  )
  t.same(await resolve('NAS'), [HOST])
  t.equal(await dial('nas'), HOST)
  const got: string[] = []
  network.listenUdp(HOST, 7, (data) => void got.push(Buffer.from(data).toString()))
  const flow = dialer.openDatagrams()
  flow.send(Buffer.from('hello'), { host: 'nas', port: 7 })
  await clock.settle()
  t.same(got, ['hello'])
  await t.rejects(
    resolve('six.example'),
    { code: 'name-not-found' },
    'it has no address of the right family, and that is it',
  )
  t.same(asked(), [])
  t.same(await resolve('other'), [HOST])
  t.same(asked(), ['other.corp.example'])
})

t.test('the hosts file is looked at before a name is refused, and before what is remembered', async (t) => {
  const hosts = new Hosts()
  const { resolve, dial, asked, dialer, clock, network } = setup(known('host.example'), {}, { hosts })
  await t.rejects(resolve('nas.local'), { code: 'name-not-found' })
  hosts.next = { 'nas.local': [HOST] }
  t.same(await resolve('nas.local'), [HOST], 'refused once, not for ever')
  hosts.next = {}
  await t.rejects(dial('nas.local'), { code: 'name-not-found' })
  hosts.next = { 'nas.local': [HOST] }
  t.equal(await dial('nas.local'), HOST)
  t.same(await resolve('host.example'), [HOST])
  hosts.next = { 'host.example': ['10.9.9.9'] }
  t.same(await resolve('host.example'), ['10.9.9.9'])
  hosts.next = {}
  t.same(await resolve('host.example'), [HOST])
  t.same(asked(), ['host.example'], 'and the servers once')

  const errors: string[] = []
  const got: string[] = []
  network.listenUdp(HOST, 7, (data) => void got.push(Buffer.from(data).toString()))
  const flow = dialer.openDatagrams()
  flow.handler = { onDatagram() {}, onError: (error) => void errors.push(error.code) }
  flow.send(Buffer.from('a'), { host: 'nas.local', port: 7 })
  await clock.settle()
  t.same(errors, ['name-not-found'])
  hosts.next = { 'nas.local': [HOST] }
  for (const text of ['b', 'c']) {
    await clock.advance(5_000)
    flow.send(Buffer.from(text), { host: 'nas.local', port: 7 })
    await clock.settle()
  }
  t.same(got, ['c'], 'datagrams too, a little later')
})

t.test('short names: every domain in turn, and the last word', async (t) => {
  const domains = Array.from({ length: 9 }, (_, i) => `d${i}.example`)
  const many = setup(nobody, { searchDomains: domains })
  await t.rejects(many.resolve('host'), { code: 'name-not-found' })
  t.same(many.asked(), [...domains.slice(0, 6).map((x) => `host.${x}`), 'host'], 'six of them')
  await t.rejects(many.resolve('host'), { code: 'name-not-found' })
  t.same(many.asked(), [], 'all of which is remembered')
  await t.rejects(many.resolve('host.'), { code: 'name-not-found' })
  t.same(many.asked(), [])

  // No data in one, an error in another, an answer in the third.
  const mixed = setup(
    (asked) =>
      asked.name === 'host.d0.example'
        ? respond(asked, { authorities: [soa('d0.example')] })
        : asked.name === 'host.d1.example'
          ? respond(asked, { rcode: 2 })
          : known('host.d2.example')(asked),
    { searchDomains: domains.slice(0, 3) },
  )
  t.same(await mixed.resolve('host'), [HOST])
  t.equal(await mixed.dial('host'), HOST)
  t.same(mixed.asked(), ['host.d0.example', 'host.d1.example', 'host.d2.example'])

  const none = setup(known('host'), { searchDomains: ['corp.example'] }, { search: ['.'] })
  t.same(await none.resolve('host'), [HOST])
  t.same(none.asked(), ['host'], '--search . is no domain at all')

  const local = setup(known('dc.corp.local'), { searchDomains: ['corp.local'] })
  t.same(await local.resolve('dc'), [HOST])
  t.equal(await local.dial('dc.corp.local'), HOST)
  await t.rejects(local.resolve('printer.local'), { code: 'name-not-found', message: /multicast/ })
  t.same(local.asked(), ['dc.corp.local'], 'the claimed domain only')
})

t.test('a whole name that rules send elsewhere is not searched for inside', async (t) => {
  const outside = setup(known('www.out.example'))
  const { resolve, dial, asked } = setup(
    known('short.corp.example'),
    { searchDomains: ['corp.example'] },
    { elsewhere: (name) => (name.endsWith('corp.example') ? undefined : outside.dialer.names) },
  )
  t.same(await resolve('www.out.example'), [HOST])
  await t.rejects(resolve('none.out.example'), { code: 'name-not-found' })
  await t.rejects(dial('none.out.example'), { code: 'name-not-found' })
  t.same(asked(), [])
  t.same(outside.asked(), ['www.out.example', 'none.out.example'])
  t.same(await resolve('short'), [HOST], 'a short name may be one of these domains')
  t.same(asked(), ['short.corp.example'])
})

t.test('zones: several servers, of IPv6, at other ports, for names of addresses too', async (t) => {
  const six = '2001:db8::53'
  const { network, resolve, reverse, asked, clock } = setup(
    known('host.example'),
    { ipv6: true },
    {
      zones: [
        {
          domain: 'corp.example',
          servers: [
            { address: '10.1.1.1', port: 53 },
            { address: six, port: 5353 },
          ],
        },
        { domain: '10.in-addr.arpa', servers: [{ address: six, port: 5353 }] },
        { domain: '8.b.d.0.1.0.0.2.ip6.arpa', servers: [{ address: '10.1.1.1', port: 53 }] },
      ],
    },
  )
  const first = serveDns(network, '10.1.1.1', (query) =>
    query.type === 'PTR'
      ? respond(query, { answers: [{ type: 'PTR', name: query.name, ttl: 9, data: 'six.corp.example' }] })
      : respond(query, { rcode: 5 }),
  )
  const second: string[] = []
  network.listenUdp(six, 5353, (data, reply) => {
    const raw = Buffer.from(data)
    const type = raw.subarray(13).readUInt16BE(raw.indexOf(0, 13) + 1 - 13)
    const labels: string[] = []
    for (let o = 12; raw.readUInt8(o) > 0; o += 1 + raw.readUInt8(o))
      labels.push(raw.toString('latin1', o + 1, o + 1 + raw.readUInt8(o)))
    const name = labels.join('.')
    second.push(name)
    const query = {
      id: raw.readUInt16BE(0),
      name,
      type: type === 12 ? 'PTR' : type === 28 ? 'AAAA' : 'A',
      edns: true,
      tcp: false,
      raw,
    }
    reply(
      respond(query, {
        answers:
          type === 12
            ? [{ type: 'PTR', name, ttl: 9, data: 'four.corp.example' }]
            : type === 1
              ? [a(name, '10.1.0.7')]
              : [],
      }),
    )
  })
  const start = clock.now()
  t.same(await resolve('www.corp.example'), ['10.1.0.7'], 'the second, when the first refuses')
  t.equal(clock.now(), start)
  t.same(
    first.map((x) => x.name),
    ['www.corp.example', 'www.corp.example'],
  )
  t.equal(await reverse('10.200.0.1'), 'four.corp.example')
  t.equal(await reverse('2001:db8::7'), 'six.corp.example')
  t.ok(second.includes('1.0.200.10.in-addr.arpa'))
  t.same(asked(), [], 'the other servers hear of nothing')
  t.same(await resolve('host.example'), [HOST])
  t.same(new Set(asked()), new Set(['host.example']))
})

t.test('names of addresses: what is no host name is not handed on', async (t) => {
  const ptr = (name: string, data: string) => ({ type: 'PTR' as const, name, ttl: 9, data })
  const { reverse, asked } = setup((query) => {
    if (query.name.includes('/')) return respond(query)
    const [last] = query.name.split('.')
    switch (last) {
      case '1':
        return respond(query, { answers: ['bad name.example', 'a\r\nb', 'x'].map((x) => ptr(query.name, x)) })
      case '2':
        return respond(query, {
          answers: [ptr(query.name, 'bad name.example'), ptr(query.name, 'b\u00e4d.example')],
        })
      case '3':
        return respond(query, { answers: [ptr('9.0.168.192.in-addr.arpa', 'not-its-own.example')] })
      case '4':
        return respond(query, { answers: [cname(query.name, '4.0/25.0.168.192.in-addr.arpa')] })
      default:
        return nobody(query)
    }
  })
  t.equal(await reverse('192.168.0.1'), 'x', 'the first that is one')
  for (const address of ['192.168.0.2', '192.168.0.3', '192.168.0.4', '10.0.0.9', 'fd00::9'])
    await t.rejects(reverse(address), { code: 'name-not-found', message: `${address} has no name` }, address)
  const names = asked()
  t.equal(names[0], '1.0.168.192.in-addr.arpa', 'private addresses are the tunnel’s own')
  for (const address of ['127.0.0.1', '::1', '169.254.0.1', 'fe80::1', '0.0.0.0', '224.0.0.1'])
    await t.rejects(reverse(address), { code: 'not-allowed' }, address)
  for (const text of ['host.example', '127.1', '10.0.0', 'fe80::1%eth0', ''])
    await t.rejects(reverse(text), { code: 'name-invalid' }, text)
  t.same(asked(), [])
})

t.test('many who ask for names that nobody answers do not stop the others', async (t) => {
  const { network, dialer, clock, dial, asked } = setup((query) =>
    query.name === 'good.example' ? respond(query, { answers: [a(query.name, HOST)] }) : undefined,
  )
  let most = 0
  const open = network.openUdp.bind(network)
  network.openUdp = (options) => {
    const flow = open(options)
    most = Math.max(most, network.udpSockets.size)
    return flow
  }
  const clients = Array.from({ length: 20 }, () => dialer.openDatagrams())
  for (const [c, flow] of clients.entries())
    for (let i = 0; i < 400; i++) flow.send(Buffer.from('x'), { host: `h${i}.c${c}.example`, port: 7 })
  await clock.settle()
  const dials = Array.from({ length: 500 }, (_, i) =>
    dialer.dial({ host: `d${i}.example`, port: 80 }).catch((error) => error.code as string),
  )
  await clock.advance(1_000)
  const start = clock.now()
  t.equal(await dial('good.example'), HOST)
  t.ok(clock.now() - start <= 4_000, `after ${clock.now() - start} ms`)
  await clock.advance(40_000)
  t.ok(most <= 20 + 128, `${most} sockets at one time`)
  t.same(new Set(await Promise.all(dials)), new Set(['name-timed-out', 'no-resources']))
  for (const flow of clients) flow.close()
  await clock.settle()
  t.equal(network.udpSockets.size, 0)
  t.equal(clock.pending, 0)
  t.equal(asked().filter((x) => x === 'good.example').length, 1)
})
