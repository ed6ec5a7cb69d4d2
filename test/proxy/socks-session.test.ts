import { createSocket } from 'node:dgram'
import type { Socket } from 'node:net'
import t from 'tap'
import { NOTHING_LEFT, ORIGIN, remotes, socksRequest, startProxy, until } from '../helpers/proxy.js'
import { socksv5 } from '../helpers/socksv5.js'

const NAMES = { 'host.example': [ORIGIN] }

t.test('CONNECT by name, IPv4, IPv6, and names that are addresses', async (t) => {
  const p = await startProxy({ names: NAMES, network: { ipv6: true } })
  const list = remotes(p.network, 80)
  const six = remotes(p.network, 80, '2001:db8::1')
  for (const host of ['host.example', 'HOST.example.', ORIGIN, `[${ORIGIN}]`]) {
    const client = await p.client()
    const reply = await client.socks(host, 80)
    t.match(reply.toString('hex'), /^050000010a090002[0-9a-f]{4}$/, host)
    client.say('ping')
    const remote = list.at(-1)
    await until(() => remote?.text === 'ping')
    remote?.say('pong')
    t.equal((await client.hear(4)).toString(), 'pong')
  }
  const client = await p.client()
  client.say(Uint8Array.of(5, 2, 2, 0))
  await client.hear(2)
  client.say(Buffer.from('0501000420010db80000000000000000000000010050', 'hex'))
  const reply = await client.hear(22)
  t.match(
    reply.toString('hex'),
    /^0500000420010db8000000000000000000000099[0-9a-f]{4}$/,
    'the bound address has its own type',
  )
  t.equal(six.length, 1)
  const literal = await p.client()
  literal.say(Uint8Array.of(5, 1, 0))
  await literal.hear(2)
  literal.say(socksRequest('[2001:db8::1]', 80))
  t.equal((await literal.hear(22))[3], 4)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('reply codes', async (t) => {
  const p = await startProxy({
    names: { ...NAMES, 'dark.example': ['192.0.2.77'], 'lo.example': ['127.0.0.1'] },
  })
  p.network.route('192.0.2.3', 'network-unreachable')
  p.network.route('192.0.2.4', 'host-unreachable')
  p.network.route('192.0.2.6', 'ttl-expired')
  p.network.route('192.0.2.2', 'prohibited')
  p.network.route('192.0.2.77', 'timed-out')
  const cases: [string, number][] = [
    [ORIGIN, 5],
    ['192.0.2.3', 3],
    ['192.0.2.4', 4],
    ['192.0.2.6', 6],
    ['192.0.2.2', 2],
    ['dark.example', 6],
    ['2001:db8::1', 3],
    ['no.example', 4],
    ['127.0.0.1', 2],
    ['lo.example', 2],
    ['localhost', 2],
    ['x.onion', 4],
    ['127.1', 4],
    ['a b', 4],
    ['', 4],
  ]
  for (const [host, code] of cases) {
    const client = await p.client()
    const reply = await client.socks(host, 80)
    t.equal(reply.toString('hex'), `05${code.toString(16).padStart(2, '0')}0001000000000000`, host)
    await client.over()
    t.ok(client.ended, 'then the connection ends')
    client.socket.end()
  }
  t.same(
    p.events.filter((e) => e.type === 'failed').map((e) => e.host),
    cases.map(([host]) => host),
  )
  t.same(await p.stop(), NOTHING_LEFT)

  const down = await startProxy({ network: { dnsServers: [] } })
  const client = await down.client()
  t.equal((await client.socks('host.example', 80))[1], 1, 'no name server')
  t.match(
    down.events.find((e) => e.type === 'failed'),
    { code: 'name-failed', message: /--dns/ },
  )
  t.same(await down.stop(), NOTHING_LEFT)
})

t.test('what is not served', async (t) => {
  const p = await startProxy()
  const cases: [string, string, string][] = [
    ['command 4', '050100 0504000100000000 0000', '0500 05070001000000000000'],
    ['command 0', '050100 0500000100000000 0000', '0500 05070001000000000000'],
    ['RESOLVE_PTR of a name', '050100 05f1000301610000', '0500 05080001000000000000'],
    ['SOCKS4: UDP ASSOCIATE', '04030050c000020100', '005b000000000000'],
    ['SOCKS4: RESOLVE_PTR', '04f10050c000020100', '005b000000000000'],
    ['SOCKS4a without a name', '0401005000000001 6100 00', '005b000000000000'],
    ['SOCKS4: an endless user id', `04010050c0000201${'61'.repeat(256)}`, '005b000000000000'],
    ['SOCKS4a: an endless name', `040100500000000100${'61'.repeat(256)}`, '005b000000000000'],
    ['a second password', '050100 01016101 62 01016101 62', '0500 05010001000000000000'],
    ['address type 2', '050100 05010002', '0500 05080001000000000000'],
    ['another version', '050100 0401', '0500 05010001000000000000'],
    ['only GSSAPI and password', '05020102', '05ff'],
    ['no method', '0500', '05ff'],
    ['TLS', '160301', ''],
    ['zero', '00', ''],
    ['a small letter', Buffer.from('get').toString('hex'), ''],
  ]
  for (const [what, sent, heard] of cases) {
    const client = await p.client()
    client.say(Buffer.from(sent.replaceAll(' ', ''), 'hex'))
    await client.over()
    t.equal(client.hex, heard.replaceAll(' ', ''), what)
    t.ok(client.ended, `${what}: a proper end`)
    client.socket.end()
    await until(() => client.closed)
  }
  t.same(p.network.attempts, [])
  t.equal(p.events.filter((e) => e.type === 'rejected').length, cases.length)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('octet by octet, an unasked password, and data ahead of the reply', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const hello = Buffer.concat([
    Uint8Array.of(5, 1, 0),
    Buffer.from('010361626301 7a'.replaceAll(' ', ''), 'hex'),
    socksRequest('host.example', 80),
    Buffer.from('early data'),
  ])
  const slow = await p.client()
  for (const octet of hello) {
    slow.say(Uint8Array.of(octet))
    await p.clock.settle()
  }
  t.match((await slow.hear(12)).toString('hex'), /^05000500/)
  await until(() => list[0]?.text === 'early data')
  const fast = await p.client()
  fast.say(hello)
  t.match((await fast.hear(12)).toString('hex'), /^05000500/)
  await until(() => list[1]?.text === 'early data')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('an unasked password is swallowed once', async (t) => {
  const p = await startProxy({ names: NAMES })
  const client = await p.client()
  client.say(Buffer.from('050100', 'hex'))
  await client.hear(2)
  for (let i = 0; i < 2; i++) {
    t.notOk(client.ended)
    client.say(Buffer.from('0101610162', 'hex'))
    await p.clock.settle()
  }
  await client.over()
  t.equal(client.hex, '05010001000000000000')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('success is said only when the remote side has answered', async (t) => {
  const p = await startProxy()
  remotes(p.network, 80)
  p.network.route(ORIGIN, 'open', 500)
  const client = await p.client()
  client
    .say(Uint8Array.of(5, 1, 0))
    .say(socksRequest(ORIGIN, 80))
    .say('early')
  await client.hear(2)
  await until(() => p.network.attempts.length === 1)
  await p.clock.advance(499)
  t.equal(client.hex, '')
  await p.clock.advance(2)
  t.equal((await client.hear(10))[1], 0)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a client that goes during the dial ends the dial', async (t) => {
  for (const how of ['end', 'reset'] as const) {
    const p = await startProxy()
    p.network.route(ORIGIN, 'silent')
    const client = await p.client()
    client.say(Uint8Array.of(5, 1, 0)).say(socksRequest(ORIGIN, 80))
    await until(() => p.network.attempts.length === 1)
    if (how === 'end') client.socket.end()
    else client.socket.resetAndDestroy()
    await until(() => p.network.abandoned.length === 1)
    await until(() => p.server.usage().connections === 0)
    t.same(p.network.abandoned, [ORIGIN])
    t.same(await p.stop(), NOTHING_LEFT)
  }
})

t.test('a dial that takes too long', async (t) => {
  const p = await startProxy()
  p.network.route(ORIGIN, 'silent')
  const client = await p.client()
  client.say(Uint8Array.of(5, 1, 0)).say(socksRequest(ORIGIN, 80))
  await until(() => p.network.attempts.length === 1)
  await p.clock.advance(30_001)
  await client.hear(2)
  t.equal((await client.hear(10)).toString('hex'), '05060001000000000000')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('time limits', async (t) => {
  const p = await startProxy()
  const silent = await p.client()
  const slow = await p.client()
  slow.say(Uint8Array.of(5))
  await until(() => p.server.usage().connections === 2)
  await p.clock.settle()
  await p.clock.advance(10_001)
  await silent.over()
  t.notOk(slow.ended)
  slow.say(Uint8Array.of(1, 0))
  await slow.hear(2)
  await p.clock.advance(50_001)
  await slow.over()
  t.same(
    p.events.filter((e) => e.type === 'rejected').map((e) => e.reason),
    ['timeout', 'timeout'],
  )
  await p.clock.advance(2001)
  await until(() => p.server.usage().connections === 0, 'clients that do not close are dropped after a while')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('bounded connections', async (t) => {
  const p = await startProxy({ proxy: { limits: { connections: 3 } } })
  const clients = [await p.client(), await p.client(), await p.client()]
  await until(() => p.server.usage().connections === 3)
  const more = await p.client()
  t.equal((await more.socks(ORIGIN, 80))[1], 1, 'it is told')
  t.match(
    p.events.find((e) => e.type === 'failed'),
    { code: 'no-resources', message: /more than 3 clients/ },
  )
  more.socket.destroy()
  await until(() => p.server.usage().connections === 3)
  clients[0]?.socket.destroy()
  await until(() => p.server.usage().connections === 2)
  const again = await p.client()
  remotes(p.network, 80)
  t.equal((await again.socks(ORIGIN, 80))[1], 0)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('one protocol only', async (t) => {
  const socks = await startProxy({ proxy: { protocols: { socks: true, http: false } } })
  const web = await socks.client()
  web.say('GET / HTTP/1.1\r\n\r\n')
  await web.over()
  t.match(web.text, /^HTTP\/1\.1 400 .*this is a SOCKS proxy/s)
  t.same(await socks.stop(), NOTHING_LEFT)
  const http = await startProxy({ proxy: { protocols: { socks: false, http: true } } })
  const client = await http.client()
  client.say(Uint8Array.of(5, 1, 0))
  await client.over()
  t.equal(client.hex, '')
  t.same(await http.stop(), NOTHING_LEFT)
})

t.test('an address in use is told', async (t) => {
  const p = await startProxy()
  await t.rejects(startProxy({ proxy: { port: p.server.port } }), { code: 'EADDRINUSE' })
  t.same(await p.stop(), NOTHING_LEFT)
  await p.server.close()
})

t.test('the other commands over the resolver and the network behind it', async (t) => {
  const p = await startProxy({ names: { ...NAMES, 'lo.example': ['127.0.0.1'] } })
  p.network.listenUdp(ORIGIN, 53, (data, reply) => reply(Buffer.concat([data, Buffer.from('!')])))

  const udp = await p.client()
  const relay = await udp.socks('', 0, 3)
  t.equal(relay.toString('hex').slice(0, 16), '050000017f000001')
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  const heard: Buffer[] = []
  socket.on('message', (message) => void heard.push(message))
  const name = Buffer.from('host.example')
  const header = Buffer.concat([Buffer.of(0, 0, 0, 3, name.length), name, Buffer.of(0, 53)])
  for (const data of ['one', 'two']) {
    socket.send(Buffer.concat([header, Buffer.from(data)]), relay.readUInt16BE(8), '127.0.0.1')
  }
  await until(() => heard.length === 2)
  const from = Buffer.concat([Buffer.of(0, 0, 0, 1, 192, 0, 2, 1, 0, 53)])
  t.same(
    heard.map((b) => b.toString('latin1')),
    ['one!', 'two!'].map((text) => Buffer.concat([from, Buffer.from(text)]).toString('latin1')),
  )
  for (const host of ['no.example', 'lo.example', 'localhost', 'no.example']) {
    const to = Buffer.concat([Buffer.of(0, 0, 0, 3, host.length), Buffer.from(host), Buffer.of(0, 53)])
    socket.send(to, relay.readUInt16BE(8), '127.0.0.1')
  }
  await until(() => p.events.filter((e) => e.type === 'failed').length === 2)
  t.same(p.events.flatMap((e) => (e.type === 'failed' ? [e.code] : [])).sort(), [
    'name-not-found',
    'not-allowed',
  ])

  const bind = await p.client()
  const first = await bind.socks('host.example', 21, 2)
  t.equal(first.toString('hex').slice(0, 16), '050000010a090002')
  const port = first.readUInt16BE(8)
  t.equal(p.network.arrive(port, { address: '192.0.2.9', port: 20 }), undefined, 'another host')
  const theirs = p.network.arrive(port, { address: ORIGIN, port: 20 })
  t.equal((await bind.hear(10)).toString('hex'), '05000001c00002010014')
  theirs?.write(Buffer.from('data'))
  t.equal((await bind.hear(4)).toString(), 'data')
  t.equal(p.network.listeners.size, 0)

  const resolve = await p.client()
  t.equal((await resolve.socks('HOST.example', 0, 0xf0)).toString('hex'), '05000001c00002010000')
  const pointer = await p.client()
  t.equal((await pointer.socks(ORIGIN, 0, 0xf1)).toString('hex'), '05040001000000000000', 'it has no name')

  p.network.down()
  t.match((await bind.hear(1)).length, 0)
  for (const command of [2, 3]) {
    const client = await p.client()
    t.equal((await client.socks('0.0.0.0', 0, command)).toString('hex'), '05010001000000000000')
  }
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('the client of socksv5', async (t) => {
  const p = await startProxy({ names: NAMES })
  t.teardown(() => p.stop())
  const list = remotes(p.network, 80)
  const make = () =>
    new socksv5.Client({
      proxyHost: '127.0.0.1',
      proxyPort: p.server.port,
      localDNS: false,
      auths: [socksv5.auth.None()],
    })
  const to = { host: 'host.example', port: 80, proxyHost: '127.0.0.1' }
  const socket = await new Promise<Socket>((resolve, reject) => {
    make().on('error', reject).connect(to, resolve)
  })
  socket.write('hello')
  await until(() => list[0]?.text === 'hello')
  let heard = ''
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString()
  })
  list[0]?.say('world')
  list[0]?.flow.end()
  await until(() => heard === 'world')
  socket.end()
  await until(() => p.server.usage().flows === 0)
  const refused = await new Promise<Error>((resolve) => {
    make()
      .on('error', resolve)
      .connect({ ...to, port: 81 }, () => resolve(new Error('connected')))
  })
  t.match(refused.message, /refused/i)
  t.same(await p.stop(), NOTHING_LEFT)
})
