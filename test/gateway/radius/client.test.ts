import t from 'tap'
import {
  ACCESS_ANSWERS,
  DEAD_TIME,
  type Outcome,
  RadiusClient,
  type RadiusClientOptions,
  type RadiusRequest,
} from '../../../src/gateway/radius/client.js'
import { PacketWriter } from '../../../src/gateway/radius/packet.js'
import type { RadiusServer } from '../../../src/gateway/radius/port.js'
import { answer, eap, MemoryNetwork, SECRET, str, udpServer } from '../../helpers/radius-server.js'
import { SeededRandom } from '../../helpers/random.js'
import { VirtualClock } from '../../helpers/virtual-clock.js'

const random = new SeededRandom(7)
const server = (host: string): RadiusServer => ({ host, port: 1812, secret: SECRET })
const [a, b, c] = [server('a'), server('b'), server('c')]

function request(user = 'alice', only?: RadiusServer): RadiusRequest {
  return {
    answers: ACCESS_ANSWERS,
    encode(id, secret) {
      const authenticator = random.bytes(16)
      const to = new PacketWriter()
      to.reserveMessageAuthenticator()
      to.text(1, user)
      return { packet: to.accessRequest(id, authenticator, secret), authenticator }
    },
    ...(only === undefined ? {} : { only }),
  }
}

function setUp(options: Partial<RadiusClientOptions> = {}) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork()
  const client = new RadiusClient({
    servers: [a],
    clock,
    openPort: network.openPort,
    timeout: 7000,
    ...options,
  })
  const ask = (what: RadiusRequest = request()) =>
    new Promise<Outcome>((resolve) => client.ask(what, resolve))
  const hosts = () => network.requests.map((r) => r.server.host).join('')
  return { clock, network, client, ask, hosts }
}

const accept: MemoryNetwork['script'] = (seen) => answer(seen, 2)

t.test('an answer', async (t) => {
  const { clock, network, client, ask } = setUp()
  network.script = accept
  t.match(await clock.run(ask()), { kind: 'reply', reply: { kind: 'accept' }, server: a })
  t.equal(client.pending, 0)
  t.equal(network.requests.length, 1)
  t.equal(clock.pending, 0, 'no timer is left')
})

t.test('a lost datagram is sent again, the same octets', async (t) => {
  const { clock, network, ask } = setUp()
  network.script = (seen) => (network.requests.length === 3 ? answer(seen, 3) : undefined)
  const started = clock.now()
  t.match(await clock.run(ask()), { reply: { kind: 'reject' } })
  t.equal(clock.now() - started, 3000, 'one second, then two')
  const [first, ...others] = network.requests
  for (const other of others) t.same(other.seen.packet, first?.seen.packet)
})

t.test('servers in order; the dead are asked last, and come back', async (t) => {
  const { clock, network, ask, hosts } = setUp({ servers: [a, b, c] })
  network.script = (seen, { host }) => (host === 'b' ? answer(seen, 2) : undefined)
  t.match(await clock.run(ask()), { server: b })
  t.equal(hosts(), 'aaab')
  t.match(await clock.run(ask()), { server: b })
  t.equal(hosts(), 'aaabb', 'a is not tried')
  await clock.advance(DEAD_TIME)
  network.script = (seen, { host }) => (host === 'a' ? answer(seen, 2) : undefined)
  t.match(await clock.run(ask()), { server: a }, 'after a while it is')
})

t.test('when all are dead, all are asked', async (t) => {
  const { clock, network, client, ask, hosts } = setUp({ servers: [a, b] })
  const outcome = await clock.run(ask())
  t.match(outcome, {
    kind: 'failed',
    message: /RADIUS server a:1812: no answer.*; RADIUS server b:1812: no answer/,
  })
  t.equal(hosts(), 'aaabbb')
  t.equal(client.ports, 0, 'sockets to the dead are closed, their names are looked up anew')
  network.script = accept
  t.match(await clock.run(ask()), { server: a })
})

t.test('a conversation stays with its server', async (t) => {
  const { clock, ask, hosts } = setUp({ servers: [a, b] })
  t.match(await clock.run(ask(request('alice', b))), { kind: 'failed', message: /^RADIUS server b:1812/ })
  t.equal(hosts(), 'bbb')
})

t.test('a port that nobody listens on', async (t) => {
  const { clock, network, ask, hosts } = setUp({ servers: [a, b] })
  network.script = (seen, { host }) => {
    if (host === 'b') return answer(seen, 2)
    setImmediate(() => network.open.get(1)?.failed('nothing listens there'))
    return undefined
  }
  const started = clock.now()
  t.match(await clock.run(ask()), { server: b })
  t.equal(clock.now(), started, 'the next one is asked at once')
  t.equal(hosts(), 'ab')
})

t.test('a single server that is restarted', async (t) => {
  const { clock, network, ask } = setUp()
  network.script = (seen) => {
    if (network.requests.length > 1) return answer(seen, 2)
    setImmediate(() => network.open.get(1)?.failed('nothing listens there'))
    return undefined
  }
  t.match(await clock.run(ask()), { kind: 'reply' })
  t.equal(network.requests.at(-1)?.port, 2, 'over a new socket')
  network.script = () => {
    const port = network.requests.at(-1)?.port ?? 0
    setImmediate(() => network.open.get(port)?.failed('nothing listens there'))
    return undefined
  }
  t.match(await clock.run(ask()), { kind: 'failed', message: 'RADIUS server a:1812: nothing listens there' })
})

t.test('hostile answers are dropped, and the good one still counts', async (t) => {
  const { clock, network, client, ask } = setUp()
  const noise = new SeededRandom(8)
  network.script = (seen) => {
    const good = answer(seen, 3)
    const cut = answer(seen, 2, [str(18, 'x')])
    const wrongAuthenticator = answer(seen, 2)
    wrongAuthenticator.writeUInt8(wrongAuthenticator.readUInt8(4) ^ 1, 4)
    return [
      Buffer.alloc(0),
      cut.subarray(0, cut.length - 1),
      answer(seen, 2, [], { id: (seen.id + 1) & 255 }),
      answer(seen, 2, [], { secret: Buffer.from('other') }),
      answer(seen, 2, [], { messageAuthenticator: false }),
      answer(seen, 5),
      answer(seen, 41),
      wrongAuthenticator,
      ...Array.from({ length: 2000 }, () => noise.bytes(noise.below(200))),
      good,
      answer(seen, 2),
    ]
  }
  t.match(await clock.run(ask()), { kind: 'reply', reply: { kind: 'reject' } })
  t.equal(client.pending, 0)
})

t.test('an answer to a request before, under the same identifier', async (t) => {
  const { clock, network, ask } = setUp()
  let old: Buffer | undefined
  network.script = (seen) => {
    if (old !== undefined) return [old, answer(seen, 3)]
    return answer(seen, 2)
  }
  for (let i = 0; i < 256; i++) {
    await clock.run(ask())
    t.equal(network.requests.at(-1)?.seen.id, i, 'each request has the next identifier')
  }
  const [first] = network.requests
  if (first === undefined) throw new Error('no request')
  old = answer(first.seen, 2)
  t.match(await clock.run(ask()), { reply: { kind: 'reject' } })
  t.equal(network.requests.at(-1)?.seen.id, 0)
})

t.test('what is wrong with a server is said', async (t) => {
  const { clock, network, ask } = setUp()
  network.script = (seen) => answer(seen, 2, [], { secret: Buffer.from('other') })
  t.match(await clock.run(ask()), { kind: 'failed', message: /made with another secret/ })
  network.script = (seen) => answer(seen, 2, [], { messageAuthenticator: false })
  t.match(await clock.run(ask()), {
    kind: 'failed',
    message: /no Message-Authenticator.*--radius-old-server/,
  })
})

t.test('an old server, if that is allowed, but never about EAP', async (t) => {
  const { clock, network, ask } = setUp({ requireMessageAuthenticator: false })
  network.script = (seen) => answer(seen, 2, [], { messageAuthenticator: false })
  t.match(await clock.run(ask()), { reply: { kind: 'accept' } })
  network.script = (seen) => answer(seen, 2, eap(Buffer.from([3, 1, 0, 4])), { messageAuthenticator: false })
  t.match(await clock.run(ask()), { kind: 'failed', message: /no Message-Authenticator/ })
  const forged = (seen: Parameters<typeof accept>[0]) =>
    answer(seen, 2, [[80, Buffer.alloc(16)]], { messageAuthenticator: false })
  network.script = forged
  t.match(await clock.run(ask()), { kind: 'failed', message: /another secret/ }, 'a wrong one is wrong')
})

t.test('more requests than identifiers', async (t) => {
  const { clock, network, client, ask } = setUp()
  const held: (() => void)[] = []
  network.script = (seen) => {
    const { port } = network.requests.at(-1) ?? { port: 0 }
    held.push(() => network.open.get(port)?.received(answer(seen, 2)))
    return undefined
  }
  const asked = Array.from({ length: 4097 }, () => ask())
  for (let i = 0; i < 4097; i += 512) await clock.advance(0)
  t.equal(client.ports, 16)
  t.equal(client.pending, 4096)
  const ids = new Map<number, Set<number>>()
  for (const { port, seen } of network.requests) ids.set(port, (ids.get(port) ?? new Set()).add(seen.id))
  t.equal(ids.size, 16)
  for (const set of ids.values()) t.equal(set.size, 256)
  for (const release of held) release()
  const outcomes = await Promise.all(asked)
  t.equal(outcomes.filter(({ kind }) => kind === 'reply').length, 4096)
  t.match(
    outcomes.find(({ kind }) => kind === 'failed'),
    { message: 'RADIUS server a:1812: too many requests are under way' },
  )
  t.equal(client.pending, 0)
  t.equal(clock.pending, 0)
})

t.test('a question can be taken back, and a client closed', async (t) => {
  const { clock, network, client } = setUp()
  let answered = 0
  const back = client.ask(request(), () => answered++)
  back()
  client.ask(request(), () => answered++)
  await clock.advance(0)
  t.equal(network.requests.length, 1)
  const [first] = network.requests
  client.close()
  if (first !== undefined) network.open.get(first.port)?.received(answer(first.seen, 2))
  await clock.advance(60_000)
  t.equal(answered, 0)
  t.equal(client.pending, 0)
  t.equal(network.open.size, 0)
  t.equal(clock.pending, 0)
})

t.test('a request that fits into no packet', async (t) => {
  const { clock, ask } = setUp({ servers: [a, b] })
  t.match(await clock.run(ask({ answers: ACCESS_ANSWERS, encode: () => undefined })), {
    kind: 'failed',
    message: /does not fit/,
  })
})

t.test('over UDP', async (t) => {
  const real = await udpServer((seen) => answer(seen, 2))
  t.teardown(() => real.close())
  const client = new RadiusClient({ servers: [{ host: 'localhost', port: real.port, secret: SECRET }] })
  t.teardown(() => client.close())
  const ask = () => new Promise<Outcome>((resolve) => client.ask(request(), resolve))
  t.match(await ask(), { kind: 'reply' })
  const many = await Promise.all(Array.from({ length: 50 }, ask))
  t.ok(many.every(({ kind }) => kind === 'reply'))
  t.ok(real.requests.length >= 51)
})

t.test('over UDP to nobody', async (t) => {
  const gone = await udpServer(() => undefined)
  await gone.close()
  const real = await udpServer((seen) => answer(seen, 2))
  t.teardown(() => real.close())
  const servers = [gone.port, real.port].map((port) => ({ host: '127.0.0.1', port, secret: SECRET }))
  const client = new RadiusClient({ servers, timeout: 3000 })
  t.teardown(() => client.close())
  const outcome = await new Promise<Outcome>((resolve) => client.ask(request(), resolve))
  t.match(outcome, { kind: 'reply', server: servers[1] })
})

t.test('a name that nobody knows', async (t) => {
  const client = new RadiusClient({
    servers: [{ host: 'radius.invalid', port: 1812, secret: SECRET }],
    timeout: 300,
  })
  t.teardown(() => client.close())
  const outcome = await new Promise<Outcome>((resolve) => client.ask(request(), resolve))
  t.match(outcome, { kind: 'failed', message: /^RADIUS server radius\.invalid:1812: (its name|no answer)/ })
})
