/** What clients can make the proxies hold, and for how long; and that nothing is left of them. */
import { createSocket } from 'node:dgram'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { DEFAULT_PROXY_LIMITS } from '../../src/proxy/client.js'
import type { ProxyEvent } from '../../src/proxy/events.js'
import { SocksCommand } from '../../src/proxy/socks5.js'
import { type MemoryFlow, WINDOW } from '../helpers/memory-network.js'
import { NOTHING_LEFT, ORIGIN, remotes, startProxy, type Talk, until } from '../helpers/proxy.js'

type Proxy = Awaited<ReturnType<typeof startProxy>>

/** What keeps this process going, by kind. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) {
    // Of the test runner.
    if (name === 'Immediate' || name === 'Timeout' || name.startsWith('Pipe') || name.startsWith('FS'))
      continue
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

const before = resources()

t.test('docs/failures.md says what the limits are', async (t) => {
  const page = readFileSync(fileURLToPath(new URL('../../docs/failures.md', import.meta.url)), 'utf8')
  const [, section = ''] = page.split('## Limits\n')
  const told = [...section.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, name, value]) => [
    name,
    Number(value),
  ])
  const counts = ['connections', 'binds', 'bindsPerAddress', 'associations', 'associationsPerAddress']
  const are = Object.entries(DEFAULT_PROXY_LIMITS).map(([name, n]) => [
    name,
    counts.includes(name) ? n : n / 1000,
  ])
  t.same(told.sort(), are.sort())
})

/** Ends all; nothing is left of it, neither in the proxy nor in the process. */
async function nothingLeft(t: Test, p: Proxy): Promise<void> {
  t.same(await p.stop(), NOTHING_LEFT)
  await until(
    () => JSON.stringify(resources()) === JSON.stringify(before),
    `left: ${JSON.stringify(resources())}`,
  )
}

const rejected = (p: Proxy): string[] =>
  p.events.filter((e): e is ProxyEvent & { type: 'rejected' } => e.type === 'rejected').map((e) => e.reason)

t.test('a head that comes octet by octet: the deadline is one for the whole', async (t) => {
  const heads = {
    'SOCKS5 greeting': `\x05\xff${'\x01'.repeat(255)}`,
    'SOCKS5 request': `\x05\x01\x00\x05\x01\x00\x03\xff${'a'.repeat(255)}`,
    'SOCKS4 user': `\x04\x01\x00\x50\x01\x02\x03\x04${'u'.repeat(250)}`,
    'SOCKS4a name': `\x04\x01\x00\x50\x00\x00\x00\x01\x00${'n'.repeat(250)}`,
    'HTTP head': `GET http://${ORIGIN}/ HTTP/1.1\r\n${'X-A: b\r\n'.repeat(40)}`,
  }
  const p = await startProxy()
  const sockets: Socket[] = []
  const onSocket = (message: unknown) => void sockets.push((message as { readonly socket: Socket }).socket)
  subscribe('net.server.socket', onSocket)
  t.teardown(() => void unsubscribe('net.server.socket', onSocket))
  const slow = await Promise.all(
    Object.values(heads).map(async (head) => ({ client: await p.client(), head })),
  )
  const STEP = 400
  const began = p.clock.now()
  for (let i = 0; rejected(p).length < slow.length; i++) {
    for (const { client, head } of slow) {
      if (client.ended || client.closed) continue
      const octet = head.charCodeAt(i)
      if (Number.isNaN(octet)) throw new Error(`${head.slice(0, 10)} is too short for this test`)
      client.say(Uint8Array.of(octet))
    }
    // Otherwise time might overtake the octets.
    const heard = (socket: Socket) => socket.destroyed || socket.writableEnded || socket.bytesRead > i
    await until(() => sockets.length === slow.length && sockets.every(heard), `octet ${i}`)
    await p.clock.advance(STEP)
  }
  const took = p.clock.now() - began
  t.ok(took >= DEFAULT_PROXY_LIMITS.head && took <= DEFAULT_PROXY_LIMITS.head + 20 * STEP, `${took} ms`)
  t.same(rejected(p), Array(slow.length).fill('timeout'))
  await Promise.all(slow.map(({ client }) => client.over()))
  t.match(slow.at(-1)?.client.text, /^HTTP\/1\.1 408 /)
  await p.clock.advance(DEFAULT_PROXY_LIMITS.linger)
  await until(() => p.server.usage().connections === 0, 'they are hung up on')
  await nothingLeft(t, p)
})

t.test('a client that says nothing, or nothing more', async (t) => {
  const p = await startProxy()
  remotes(p.network, 80)
  const silent = await p.client()
  const greeted = (await p.client()).say(Uint8Array.of(5, 1, 0))
  const idle = await p.client()
  idle.say(`GET http://missing.test/ HTTP/1.1\r\nHost: x\r\n\r\n`)
  await greeted.hear(2)
  await p.clock.advance(DEFAULT_PROXY_LIMITS.firstByte)
  await silent.over()
  await p.clock.advance(DEFAULT_PROXY_LIMITS.idle)
  await greeted.over()
  await idle.over()
  await p.clock.advance(DEFAULT_PROXY_LIMITS.linger)
  await until(() => p.server.usage().connections === 0)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  await nothingLeft(t, p)
})

t.test('a body that never comes', async (t) => {
  const { body } = DEFAULT_PROXY_LIMITS
  const p = await startProxy()
  const list = remotes(p.network, 80)
  const post = `POST http://${ORIGIN}/ HTTP/1.1\r\nHost: x\r\n`
  const never = (await p.client()).say(`${post}Content-Length: 10\r\n\r\n`)
  await until(() => list.length === 1)
  const chunked = (await p.client()).say(`${post}Transfer-Encoding: chunked\r\n\r\n5\r\nhe`)
  await until(() => list.length === 2)
  const slow = (await p.client()).say(`${post}Content-Length: 3\r\n\r\n`)
  await until(() => list.length === 3)
  // One that hears something of an answer all the while is no loris.
  const heard = (await p.client()).say(`${post}Content-Length: 3\r\n\r\n`)
  await until(() => list.length === 4 && list.every((r) => r.text.includes('\r\n\r\n')))
  list[3]?.say('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
  await heard.hearText(/200 OK/)
  for (let i = 0; i < 2; i++) {
    await p.clock.advance(body - 1000)
    if (i === 0) {
      t.notOk(never.ended, 'time enough')
      slow.say('a')
      list[3]?.say('1\r\nx\r\n')
      await until(() => list[2]?.text.endsWith('a') === true && heard.text.endsWith('x\r\n'))
    }
  }
  await never.over()
  await chunked.over()
  t.match(never.text, /^HTTP\/1\.1 408 /)
  t.match(chunked.text, /^HTTP\/1\.1 408 /)
  await until(() => list[0]?.closed !== undefined && list[1]?.closed !== undefined)
  t.same(list[0]?.closed, { code: 'reset' }, 'the server must not take it for a whole request')
  t.notOk(slow.ended, 'an octet came')
  t.notOk(heard.ended, 'an answer came')
  slow.say('bc')
  await until(() => list[2]?.text.endsWith('abc') === true)
  list[2]?.say('HTTP/1.1 204 No Content\r\n\r\n')
  await slow.hearText(/204 No Content/)
  await p.clock.advance(body)
  await p.clock.advance(body)
  await heard.over()
  t.equal(rejected(p).filter((reason) => reason === 'timeout').length, 3)
  await nothingLeft(t, p)
})

t.test('connections that are half open', async (t) => {
  const p = await startProxy({ proxy: { limits: { connections: 6 } } })
  const list = remotes(p.network, 80)
  const clients: Talk[] = []
  for (let i = 0; i < 6; i++) {
    const client = await p.client()
    await client.socks(ORIGIN, 80)
    clients.push(client)
  }
  for (const client of clients.slice(0, 3)) client.socket.end()
  for (const remote of list.slice(3)) remote.flow.end()
  await until(() => clients.slice(3).every((c) => c.ended) && list.slice(0, 3).every((r) => r.flow.ended))
  t.same(p.server.usage(), { connections: 6, flows: 6, timers: 3 }, 'they are wanted, and count as others do')
  const more = await p.client()
  t.equal((await more.socks(ORIGIN, 80))[1], 1)
  more.socket.destroy()
  for (const remote of list.slice(0, 3)) remote.flow.end()
  for (const client of clients.slice(3)) client.socket.end()
  await until(() => p.server.usage().connections === 0)
  t.same(p.server.usage().flows, 0)
  const again = await p.client()
  await again.socks(ORIGIN, 80)
  again.socket.end()
  await until(() => list[6]?.flow.ended === true)
  await nothingLeft(t, p)
})

t.test('a reset behind data is not taken for an end', async (t) => {
  const p = await startProxy()
  const list = remotes(p.network, 80)
  const asks = {
    socks: await p.client(),
    connect: (await p.client()).say(`CONNECT ${ORIGIN}:80 HTTP/1.1\r\n\r\n`),
    http: (await p.client()).say(`GET http://${ORIGIN}/ HTTP/1.1\r\nHost: x\r\n`),
  }
  await asks.socks.socks(ORIGIN, 80)
  await asks.connect.hearText(/200/)
  // Both are there when the proxy looks.
  for (const client of Object.values(asks)) {
    client.socket.write('\r\n', () => void client.socket.resetAndDestroy())
  }
  await until(() => list.length === 3 && list.every((r) => r.closed !== undefined), 'they hear of it')
  t.same(
    list.map((r) => r.closed?.code),
    ['reset', 'reset', 'reset'],
  )
  t.ok(
    list.every((r) => !r.flow.ended),
    'and of no end before',
  )
  await until(() => p.server.usage().connections === 0)
  await nothingLeft(t, p)
})

t.test('a client that has gone behind its end is found out', async (t) => {
  const p = await startProxy()
  remotes(p.network, 80)
  const client = await p.client()
  await client.socks(ORIGIN, 80)
  client.socket.end()
  await until(() => p.server.usage().timers === 1, 'somebody will look after it')
  await p.clock.advance(300_000)
  t.same(p.server.usage(), { connections: 1, flows: 1, timers: 1 }, 'while it is there it is left alone')
  // As its kernel does when the process is no more.
  client.socket.resetAndDestroy()
  for (let i = 0; i < 20; i++) await p.clock.settle()
  t.equal(p.server.usage().connections, 1, 'of itself this is not heard')
  await p.clock.advance(60_000)
  await until(() => p.server.usage().connections === 0)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  await nothingLeft(t, p)
})

t.test('too many clients: some are told, others hung up on, and none of them stays', async (t) => {
  const p = await startProxy({ proxy: { limits: { connections: 2 } } })
  remotes(p.network, 80)
  const [first] = [await p.client(), await p.client()]
  await until(() => p.server.usage().connections === 2)
  const more = await Promise.all(Array.from({ length: 200 }, () => p.client()))
  await until(() => more.filter((c) => c.ended || c.closed).length >= 136, 'those above 64 are hung up on')
  t.equal(p.server.usage().connections, 66)
  t.equal(rejected(p).filter((reason) => reason === 'limit').length, 136)
  await p.clock.advance(2000)
  await p.clock.advance(DEFAULT_PROXY_LIMITS.linger)
  await until(() => p.server.usage().connections === 2, 'the others soon')
  t.equal((await first?.socks(ORIGIN, 80))?.[1], 0, 'who was there before is served')
  await nothingLeft(t, p)
})

t.test('a flood of UDP associations', async (t) => {
  const p = await startProxy({ proxy: { limits: { associations: 40, associationsPerAddress: 30 } } })
  const associate = async () => {
    const client = await p.client()
    return { client, code: (await client.socks('0.0.0.0', 0, SocksCommand.UDP_ASSOCIATE))[1] }
  }
  const all = await Promise.all(Array.from({ length: 100 }, associate))
  t.equal(all.filter(({ code }) => code === 0).length, 30)
  t.equal(rejected(p).filter((reason) => reason === 'limit').length, 70)
  t.equal(p.network.udpSockets.size, 30)
  for (const { client } of all) client.socket.resetAndDestroy()
  await until(() => p.server.usage().connections === 0 && p.network.udpSockets.size === 0)
  t.equal((await associate()).code, 0, 'and then there is room again')
  await nothingLeft(t, p)
})

t.test('datagrams of strangers, and of a client that sends rubbish, cost nothing that lasts', async (t) => {
  const p = await startProxy()
  const client = await p.client()
  const reply = await client.socks('0.0.0.0', 0, SocksCommand.UDP_ASSOCIATE)
  const to = reply.readUInt16BE(8)
  const own = createSocket('udp4')
  const stranger = createSocket('udp4')
  const good = Uint8Array.of(0, 0, 0, 1, 192, 0, 2, 1, 0, 80, 1)
  await new Promise((done) => own.send(good, to, '127.0.0.1', done))
  await until(() => p.events.some((e) => e.type === 'open'))
  for (let i = 0; i < 300; i++) {
    stranger.send(good, to, '127.0.0.1')
    own.send(Uint8Array.of(0, 0, 1, 1), to, '127.0.0.1')
    own.send(Uint8Array.of(0, 0, 0, 3, 5, 0x61, 0x2e, 0x2e, 0x62, i, 0, 80), to, '127.0.0.1')
  }
  await until(() => p.events.some((e) => e.type === 'dropped'))
  for (let i = 0; i < 50; i++) await p.clock.settle()
  t.ok(p.events.length < 12, `${p.events.length} events`)
  t.equal(p.network.udpSockets.size, 1)
  own.close()
  stranger.close()
  await nothingLeft(t, p)
})

/** Writes whenever there is room. */
function pour(flow: MemoryFlow): void {
  const block = Buffer.alloc(16_384)
  const fill = (): void => {
    while (flow.write(block)) {
      // Until it is full.
    }
  }
  flow.handler = { onReadable: () => {}, onWritable: fill, onClose: () => {} }
  fill()
}

t.test('clients that never read', async (t) => {
  const p = await startProxy()
  p.network.listen(ORIGIN, 80, pour)
  const many = 20
  for (let i = 0; i < many; i++) {
    const client = await p.client()
    client.socket.pause()
    client.socket.removeAllListeners('data')
    const http = `GET http://${ORIGIN}/ HTTP/1.1\r\nHost: x\r\n\r\n`
    const socks = Uint8Array.of(5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80)
    // Whatever else this one asks for, it does not read the answers either.
    client.say(
      i % 2 === 0 ? socks : i % 4 === 1 ? http : 'GET http://a.test/ HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500),
    )
  }
  let last = ''
  let still = 0
  await until(() => {
    const now = [...p.network.flows].map((flow) => flow.consumed).join()
    still = now === last && p.network.flows.size >= many / 2 ? still + 1 : 0
    last = now
    return still > 1000
  })
  for (const flow of p.network.flows) if (flow.readable > WINDOW) t.fail(`${flow.readable} octets`)
  // All that is not in the kernel lies in windows: one each, and what a write has taken of it.
  const held = [...p.network.flows].reduce((sum, flow) => sum + flow.readable + flow.queued, 0)
  t.ok(held <= many * 2 * WINDOW, `${held} octets`)
  await nothingLeft(t, p)
})

t.test('clients that connect and reset, at every stage, one after the other', async (t) => {
  const p = await startProxy()
  remotes(p.network, 80)
  const stages = [
    Buffer.alloc(0),
    Buffer.of(5),
    Buffer.of(5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80),
    Buffer.of(5, 1, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0),
    Buffer.of(5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0),
    Buffer.of(5, 1, 0, 5, 0xf0, 0, 3, 1, 0x61, 0, 0),
    Buffer.of(4, 1, 0, 80, 192, 0, 2, 1, 0),
    Buffer.from(`CONNECT ${ORIGIN}:80 HTTP/1.1\r\n\r\n`),
    Buffer.from(`GET http://${ORIGIN}/ HTTP/1.1\r\nHost: x\r\n\r\n`),
    Buffer.from(`POST http://${ORIGIN}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc`),
  ]
  for (let i = 0; i < 1000; i++) {
    const client = await p.client()
    const words = stages[i % stages.length]
    if (words !== undefined && words.length > 0) client.say(words)
    // Sometimes before it is heard, sometimes behind the answer.
    if (i % 3 === 0) await new Promise((done) => setImmediate(done))
    client.socket.resetAndDestroy()
  }
  await until(
    () => p.server.usage().connections === 0 && p.events.filter((e) => e.type === 'accepted').length === 1000,
  )
  await p.clock.advance(DEFAULT_PROXY_LIMITS.linger)
  await until(() => p.server.usage().flows === 0)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 }, 'nothing is left even before close')
  t.same(p.network.flows.size + p.network.udpSockets.size + p.network.listeners.size, 0)
  const count = (type: ProxyEvent['type']) => p.events.filter((e) => e.type === type).length
  t.equal(count('closed'), 1000)
  t.equal(count('open'), count('done'), 'each that was opened has ended')
  await nothingLeft(t, p)
})

t.test('the proxy ends in the middle of everything', async (t) => {
  const p = await startProxy()
  p.network.listen(ORIGIN, 80, pour)
  remotes(p.network, 81)
  p.network.route('192.0.2.7', 'silent')
  const words = [
    '\x05',
    '\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50',
    '\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50',
    '\x05\x01\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00',
    '\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00',
    'CONNECT 192.0.2.7:80 HTTP/1.1\r\n\r\n',
    `GET http://${ORIGIN}:81/ HTTP/1.1\r\nHost: x\r\n\r\n`,
    `POST http://${ORIGIN}:81/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n`,
    'GET',
    '',
  ]
  for (const word of words) (await p.client()).say(Buffer.from(word, 'latin1'))
  await until(() => p.server.usage().connections === words.length && p.network.flows.size >= 3)
  await p.clock.settle()
  await nothingLeft(t, p)
})
