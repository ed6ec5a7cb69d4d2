import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { oneUser } from '../../src/proxy/credentials.js'
import { FAILURE_REPLIES } from '../../src/proxy/replies.js'
import type { ProxyOptions } from '../../src/proxy/server.js'
import type { DialErrorCode } from '../../src/tunnel/dialer.js'
import { NOTHING_LEFT, socksRequest, startProxy, type Talk, until } from '../helpers/proxy.js'
import { OWN6, ScriptedDialer } from '../helpers/socks-dialer.js'
import { socksv5 } from '../helpers/socksv5.js'

const HOST = '192.0.2.1'
const hex = (s: string) => Buffer.from(s.replaceAll(' ', ''), 'hex')
const GRANTED4 = /^005a/
const REJECTED4 = '005b000000000000'

async function start(proxy: Partial<ProxyOptions> = {}) {
  const dialer = new ScriptedDialer()
  const p = await startProxy({ proxy: { dialer, ...proxy } })
  return {
    ...p,
    dialer,
    async stop() {
      const left = await p.stop()
      return { ...left, held: dialer.held }
    },
  }
}
const NOTHING = { ...NOTHING_LEFT, held: 0 }

type Scene = Awaited<ReturnType<typeof start>>

function socks4(host: string, port: number, command = 1, user = 'me'): Buffer {
  const head = Buffer.of(4, command, port >> 8, port & 255)
  const plain = /^[0-9.]+$/.test(host)
  const address = Buffer.from(plain ? host.split('.').map(Number) : [0, 0, 0, 1])
  const name = plain ? Buffer.alloc(0) : Buffer.from(`${host}\0`)
  return Buffer.concat([head, address, Buffer.from(`${user}\0`), name])
}

const socks5 = (host: string, port: number, command = 1) =>
  Buffer.concat([Buffer.of(5, 1, 0), socksRequest(host, port, command)])

/** What every way to ask for a thing says first, and how it says it back. */
async function heard(p: Scene, bytes: Buffer): Promise<string> {
  const client = await p.client()
  client.say(bytes)
  await client.over()
  client.socket.end()
  return client.hex
}

async function relayed(t: Tap, p: Scene, client: Talk): Promise<void> {
  const remote = p.dialer.remotes.at(-1)
  if (remote === undefined) throw new Error('nobody was dialled')
  remote.write(Buffer.from('pong'))
  t.equal((await client.hear(4)).toString(), 'pong')
}
type Tap = Pick<typeof t, 'equal'>

t.test('SOCKS4 CONNECT, by address and by name', async (t) => {
  const p = await start()
  for (const [host, user] of [
    [HOST, 'me'],
    ['host.example', ''],
    ['bücher.example', 'u'.repeat(255)],
  ] as const) {
    const client = await p.client()
    client.say(socks4(host, 80, 1, user))
    t.equal((await client.hear(8)).toString('hex'), '005a9c400a090002', host)
    t.same(p.dialer.dialled.at(-1), { host, port: 80 })
    await relayed(t, p, client)
  }
  t.match(
    p.events.filter((e) => e.type === 'open'),
    [{ protocol: 'socks4', host: HOST, port: 80 }, { protocol: 'socks4' }, {}],
  )
  const mapped = await p.client()
  mapped.say(Buffer.concat([hex('04 01 0050 00000001 00'), Buffer.from('2001:db8::1\0')]))
  t.equal(
    (await mapped.hear(8)).toString('hex'),
    '005a9c4000000000',
    'an IPv6 address has no place in the reply',
  )
  t.same(await p.stop(), NOTHING)
})

t.test('the code of each failure, for each command', async (t) => {
  const p = await start()
  const codes = Object.keys(FAILURE_REPLIES) as DialErrorCode[]
  t.ok(codes.length > 15)
  const about = (code: number) =>
    `0500 05${code.toString(16).padStart(2, '0')}0001000000000000`.replace(' ', '')
  for (const code of codes) {
    p.dialer.failures.set('*', code)
    const { socks } = FAILURE_REPLIES[code]
    t.equal(await heard(p, socks5(HOST, 80)), about(socks), `CONNECT: ${code}`)
    t.equal(await heard(p, socks5(HOST, 80, 2)), about(socks), `BIND: ${code}`)
    t.equal(await heard(p, socks5('0.0.0.0', 0, 2)), about(socks), `BIND for anyone: ${code}`)
    t.equal(await heard(p, socks5('0.0.0.0', 0, 3)), about(socks), `UDP ASSOCIATE: ${code}`)
    const named = code === 'name-failed' || code === 'name-timed-out'
    for (const command of [0xf0, 0xf1]) {
      t.equal(await heard(p, socks5(HOST, 0, command)), about(named ? 4 : socks), `RESOLVE: ${code}`)
    }
    for (const command of [1, 2, 0xf0]) {
      t.equal(await heard(p, socks4('a.example', 80, command)), REJECTED4, `SOCKS4 ${command}: ${code}`)
    }
  }
  const failed = p.events.filter((e) => e.type === 'failed')
  t.equal(failed.length, 9 * codes.length)
  t.same(
    failed.slice(0, 9).map((e) => `${e.protocol} ${e.host} ${e.port}`),
    [
      `socks5 ${HOST} 80`,
      `bind ${HOST} 80`,
      'bind 0.0.0.0 0',
      'udp 127.0.0.1 0',
      `resolve ${HOST} 0`,
      `resolve ${HOST} 0`,
      'socks4 a.example 80',
      'bind a.example 80',
      'resolve a.example 0',
    ],
  )
  t.equal(p.events.filter((e) => e.type === 'done' || e.type === 'open').length, 0)
  await until(() => p.server.usage().connections === 0)
  t.same(p.server.usage().timers, 0)
  t.same(await p.stop(), NOTHING)
})

t.test('what is none of our errors', async (t) => {
  const p = await start()
  p.dialer.dial = () => Promise.reject(new Error('a fault'))
  p.dialer.resolve = () => Promise.reject(new Error('a fault'))
  p.dialer.listen = () => {
    throw new Error('a fault')
  }
  p.dialer.openDatagrams = () => {
    throw new Error('a fault')
  }
  for (const command of [1, 2, 3, 0xf0]) {
    t.equal(await heard(p, socks5('0.0.0.0', 0, command)), '050005010001000000000000')
  }
  t.same(
    p.events.flatMap((e) => (e.type === 'failed' ? [`${e.protocol} ${e.code} ${e.message}`] : [])),
    ['socks5', 'bind', 'udp', 'resolve'].map((x) => `${x} internal a fault`),
  )
  t.same(await p.stop(), NOTHING)
})

t.test('name and password', async (t) => {
  const p = await start({ credentials: oneUser('bob', 'sesame') })
  const password = (user: string, pass: string) =>
    Buffer.concat([Buffer.of(1, user.length), Buffer.from(user), Buffer.of(pass.length), Buffer.from(pass)])
  const greeting = Buffer.of(5, 2, 0, 2)
  const good = await p.client()
  good.say(greeting)
  t.equal((await good.hear(2)).toString('hex'), '0502', 'although the client would go without')
  good.say(password('bob', 'sesame'))
  t.equal((await good.hear(2)).toString('hex'), '0100')
  good.say(socksRequest('host.example', 80))
  t.equal((await good.hear(10))[1], 0)
  await relayed(t, p, good)

  const eager = await p.client()
  const all = [greeting, password('bob', 'sesame'), socksRequest('host.example', 80), Buffer.from('early')]
  eager.say(Buffer.concat(all))
  t.equal((await eager.hear(14)).toString('hex').slice(0, 12), '050201000500')
  await until(() => p.dialer.remotes.at(-1)?.readable === 5)

  const slow = await p.client()
  for (const octet of Buffer.concat(all)) {
    slow.say(Buffer.of(octet))
    await p.clock.settle()
  }
  t.equal((await slow.hear(14)).toString('hex').slice(0, 12), '050201000500')

  const wrong: [string, Buffer, string, string][] = [
    ['another password', Buffer.concat([greeting, password('bob', 'sesamf')]), '05020101', 'credentials'],
    ['another name', Buffer.concat([greeting, password('boc', 'sesame')]), '05020101', 'credentials'],
    ['nothing', Buffer.concat([greeting, password('', '')]), '05020101', 'credentials'],
    ['a longer one', Buffer.concat([greeting, password('bob', 'sesame\0')]), '05020101', 'credentials'],
    [
      'wrong, and a request behind',
      Buffer.concat([greeting, password('bob', 'x'), socksRequest(HOST, 80)]),
      '05020101',
      'credentials',
    ],
    [
      'a request where the password is due',
      Buffer.concat([greeting, socksRequest(HOST, 80)]),
      '05020101',
      'malformed',
    ],
    ['no password is offered', Buffer.of(5, 1, 0), '05ff', 'credentials'],
    ['nothing is offered', Buffer.of(5, 0), '05ff', 'credentials'],
    ['no password, and a request', socks5(HOST, 80), '05ff', 'credentials'],
    ['SOCKS4', socks4(HOST, 80), REJECTED4, 'credentials'],
    ['SOCKS4a', socks4('host.example', 80, 1, 'bob'), REJECTED4, 'credentials'],
    ['SOCKS4 RESOLVE', socks4('host.example', 80, 0xf0), REJECTED4, 'credentials'],
    [
      'a second password',
      Buffer.concat([greeting, password('bob', 'sesame'), password('bob', 'sesame')]),
      '0502010005010001000000000000',
      'malformed',
    ],
  ]
  const dialled = p.dialer.dialled.length
  for (const [what, bytes, answer, reason] of wrong) {
    t.equal(await heard(p, bytes), answer, what)
    const event = p.events.filter((e) => e.type === 'rejected').at(-1)
    t.equal(event?.reason, reason, what)
    t.notMatch(JSON.stringify(p.events), /sesam/, 'no password is told')
  }
  t.equal(p.dialer.dialled.length, dialled, 'and nobody was dialled')
  t.same(await p.stop(), NOTHING)
})

t.test('RESOLVE and RESOLVE_PTR', async (t) => {
  const p = await start()
  p.dialer.names.set('four.example', [HOST, '192.0.2.2'])
  p.dialer.names.set('six.example', ['2001:db8::5'])
  p.dialer.names.set('both.example', ['2001:db8::5', HOST])
  p.dialer.names.set('none.example', [])
  p.dialer.reverses.set(HOST, 'four.example')
  p.dialer.reverses.set('2001:db8::5', `${'x'.repeat(60)}.example`)
  p.dialer.reverses.set('192.0.2.9', 'y'.repeat(256))
  const six = '0500 05000004 20010db8000000000000000000000005 0000'.replaceAll(' ', '')
  t.equal(await heard(p, socks5('four.example', 0, 0xf0)), '0500' + '05000001c00002010000')
  t.equal(await heard(p, socks5('six.example', 77, 0xf0)), six)
  t.equal(await heard(p, socks5(HOST, 0, 0xf0)), '0500' + '05000001c00002010000', 'an address is its own')
  t.equal(await heard(p, socks5('none.example', 0, 0xf0)), '050005040001000000000000')
  t.equal(await heard(p, socks5('no.example', 0, 0xf0)), '050005040001000000000000')
  t.equal(await heard(p, socks4('four.example', 0, 0xf0)), '005a0000c0000201')
  t.equal(await heard(p, socks4('both.example', 0, 0xf0)), '005a0000c0000201', 'the one that SOCKS4 can tell')
  t.equal(await heard(p, socks4('six.example', 0, 0xf0)), REJECTED4)

  const name = (text: string) =>
    `05000500000${3}${Buffer.of(text.length).toString('hex')}${Buffer.from(text).toString('hex')}0000`
  const four = hex('050100 05f10001 c0000201 0000')
  t.equal(await heard(p, four), name('four.example'))
  t.equal(await heard(p, socks5(HOST, 0, 0xf1)), name('four.example'), 'an address in text')
  const long = hex('050100 05f10004 20010db8000000000000000000000005 0050')
  t.equal(await heard(p, long), name(`${'x'.repeat(60)}.example`))
  t.equal(await heard(p, socks5('[2001:db8::5]', 0, 0xf1)), name(`${'x'.repeat(60)}.example`))
  t.equal(await heard(p, socks5('192.0.2.8', 0, 0xf1)), '050005040001000000000000', 'it has none')
  t.equal(await heard(p, socks5('192.0.2.9', 0, 0xf1)), '050005040001000000000000', 'none that could be told')
  const opened = p.events.filter((e) => e.type === 'open')
  t.equal(opened.length, p.events.filter((e) => e.type === 'done').length)
  t.match(opened[0], { protocol: 'resolve', host: 'four.example', port: 0 })

  p.dialer.silent = true
  for (const command of [0xf0, 0xf1]) {
    const client = await p.client()
    const before = p.dialer.abandoned
    client.say(socks5(HOST, 0, command)).say('more that nobody reads')
    await client.hear(2)
    await p.clock.settle()
    client.socket.resetAndDestroy()
    await until(() => p.dialer.abandoned === before + 1, 'a client that goes gives the question up')
  }
  t.same(await p.stop(), NOTHING)
})

t.test('BIND', async (t) => {
  const p = await start()
  const cases: [string, Buffer, { from?: string }, string, string, string, string][] = [
    [
      'one address',
      socks5(HOST, 21, 2),
      { from: HOST },
      HOST,
      '050000010a090002afc8',
      '05000001c00002010014',
      '',
    ],
    [
      'anyone',
      socks5('0.0.0.0', 0, 2),
      {},
      '203.0.113.7',
      '050000010a090002afc8',
      '05000001cb0071070014',
      '',
    ],
    ['anyone, in IPv6', socks5('::', 0, 2), {}, OWN6.replace('99', '7'), '050000010a090002afc8', '', ''],
    [
      'a name',
      socks5('ftp.example', 21, 2),
      { from: HOST },
      HOST,
      '050000010a090002afc8',
      '05000001c00002010014',
      '',
    ],
    [
      'an IPv6 address',
      hex('050100 05020004 20010db8000000000000000000000005 0015'),
      { from: '2001:db8::5' },
      '2001:db8::5',
      `0500000420010db8000000000000000000000099afc8`,
      '0500000420010db80000000000000000000000050014',
      '',
    ],
    ['SOCKS4', socks4(HOST, 21, 2), { from: HOST }, HOST, '005aafc80a090002', '005a0014c0000201', '4'],
    ['SOCKS4, anyone', socks4('0.0.0.0', 21, 2), {}, HOST, '005aafc80a090002', '005a0014c0000201', '4'],
    [
      'SOCKS4a',
      socks4('ftp.example', 21, 2),
      { from: HOST },
      HOST,
      '005aafc80a090002',
      '005a0014c0000201',
      '4',
    ],
    [
      'SOCKS4a, a name that has an IPv6 address too',
      socks4('both.example', 21, 2),
      {},
      HOST,
      '005aafc80a090002',
      '005a0014c0000201',
      '4',
    ],
  ]
  p.dialer.names.set('ftp.example', [HOST])
  p.dialer.names.set('both.example', ['2001:db8::5', HOST])
  for (const [what, bytes, from, remote, first, second, version] of cases) {
    await t.test(what, async (t) => {
      const client = await p.client()
      client.say(bytes)
      if (version === '') await client.hear(2)
      t.equal((await client.hear(first.length / 2)).toString('hex'), first, 'where we listen')
      const listener = p.dialer.listeners.at(-1)
      t.same(listener?.options, { port: 0, ...from })
      // The client may speak first, and even before anyone is there to hear it.
      client.say('early')
      await p.clock.settle()
      t.equal(client.hex, '')
      const theirs = listener?.connect(remote)
      if (theirs === undefined) return
      const answer = second === '' ? 22 : second.length / 2
      const reply = await client.hear(answer)
      if (second !== '') t.equal(reply.toString('hex'), second, 'who has connected')
      t.ok(listener?.closed, 'one connection is all')
      await until(() => theirs.readable === 5)
      theirs.write(Buffer.from('hello'))
      t.equal((await client.hear(5)).toString(), 'hello')
      theirs.end()
      client.socket.end()
      await until(() => client.closed)
      await until(() => p.events.at(-1)?.type === 'closed')
      t.match(p.events.filter((e) => e.type === 'done').at(-1), {
        protocol: 'bind',
        host: remote,
        port: 20,
        up: 5,
        down: 5,
        error: undefined,
      })
    })
  }
  t.same(await p.stop(), NOTHING)
})

t.test('BIND: who may not connect, and who comes too late', async (t) => {
  const p = await start()
  p.dialer.names.set('two.example', [HOST, '192.0.2.2'])
  const client = await p.client()
  client.say(socks5('two.example', 21, 2))
  await client.hear(12)
  const [listener] = p.dialer.listeners
  t.same(listener?.options, { port: 0 })
  const stranger = listener?.connect('203.0.113.7')
  await until(() => stranger?.closed === true)
  t.equal(client.hex, '')
  const friend = listener?.connect('192.0.2.2')
  t.equal((await client.hear(10)).toString('hex'), '05000001c00002020014')
  const late = listener?.connect(HOST)
  await until(() => late?.closed === true)
  t.equal(friend?.closed, false)
  friend?.write(Buffer.from('x'))
  await client.hear(1)
  t.same(await p.stop(), NOTHING)
})

t.test('BIND: somebody has connected before the first reply', async (t) => {
  const p = await start()
  const listen = p.dialer.listen.bind(p.dialer)
  p.dialer.listen = (options) => {
    const listener = listen(options)
    p.dialer.listeners.at(-1)?.connect(HOST)
    return listener
  }
  const client = await p.client()
  client.say(socks5(HOST, 21, 2))
  t.equal((await client.hear(22)).toString('hex'), '0500' + '050000010a090002afc8' + '05000001c00002010014')
  t.same(await p.stop(), NOTHING)
})

t.test('BIND: what ends the waiting', async (t) => {
  const p = await start({ limits: { binds: 2 } })
  const waiting = async (bytes: Buffer = socks5('0.0.0.0', 0, 2), head = 12) => {
    const client = await p.client()
    client.say(bytes)
    await client.hear(head)
    const listener = p.dialer.listeners.at(-1)
    if (listener === undefined) throw new Error('nobody listens')
    return { client, listener }
  }
  const long = await waiting()
  const long4 = await waiting(socks4('0.0.0.0', 0, 2), 8)
  t.equal(await heard(p, socks5('0.0.0.0', 0, 2)), '050005010001000000000000', 'no more than may be')
  t.match(p.events.filter((e) => e.type === 'rejected').at(-1), { reason: 'limit' })
  await p.clock.advance(119_000)
  t.notOk(long.client.ended)
  await p.clock.advance(1001)
  t.equal((await long.client.hear(10)).toString('hex'), '05060001000000000000')
  t.equal((await long4.client.hear(8)).toString('hex'), REJECTED4)
  await long.client.over()
  t.ok(long.listener.closed)
  t.match(
    p.events.find((e) => e.type === 'failed'),
    { protocol: 'bind', code: 'timed-out', message: /120 s/ },
  )

  const down = await waiting()
  down.listener.fail('tunnel-down')
  t.equal((await down.client.hear(10)).toString('hex'), '05010001000000000000')

  const ended = await waiting()
  ended.client.socket.end()
  await until(() => ended.listener.closed)
  const half = await waiting()
  half.client.say('all that I have to say').socket.end()
  await p.clock.settle()
  t.notOk(half.listener.closed, 'one that has sent something may still wait')
  const theirs = half.listener.connect(HOST)
  await half.client.hear(10)
  await until(() => theirs.ended)
  theirs.end()
  for (const how of ['destroy', 'resetAndDestroy'] as const) {
    const gone = await waiting()
    gone.client.socket[how]()
    await until(() => gone.listener.closed)
  }
  p.dialer.silent = true
  const resolving = await p.client()
  resolving.say(socks5('ftp.example', 21, 2))
  await resolving.hear(2)
  await p.clock.settle()
  resolving.socket.destroy()
  await until(() => p.dialer.abandoned === 1)
  p.dialer.silent = false

  p.dialer.ipv6 = false
  const six = hex('050100 05020004 20010db8000000000000000000000005 0015')
  t.equal(await heard(p, six), '050005030001000000000000', 'no IPv6 to listen on')
  t.ok(p.dialer.listeners.every((l) => l.closed))
  t.same(await p.stop(), NOTHING)
})

t.test('BIND: no address has all the ports that may wait', async (t) => {
  const p = await start({ limits: { binds: 3, bindsPerAddress: 2 } })
  const request = socks5('0.0.0.0', 0, 2)
  for (let i = 0; i < 2; i++) await (await p.client()).say(request).hear(12)
  t.equal(await heard(p, request), '050005010001000000000000')
  t.match(p.events.filter((e) => e.type === 'rejected').at(-1), {
    reason: 'limit',
    message: 'more than 3 ports waiting for BIND, or 2 of 127.0.0.1',
  })
  const other = connect({ port: p.server.port, host: '127.0.0.1', localAddress: '127.0.0.2' })
  t.teardown(() => other.destroy())
  let answer = ''
  other.on('data', (chunk: Buffer) => {
    answer += chunk.toString('hex')
  })
  other.write(request)
  await until(() => answer.length >= 24)
  t.equal(answer, '0500050000010a090002afc8')
  const [first] = p.dialer.listeners
  first?.fail('tunnel-down')
  await until(() => p.events.some((e) => e.type === 'failed'))
  t.equal((await (await p.client()).say(request).hear(12))[3], 0, 'what is over counts no more')
  other.destroy()
  t.same(await p.stop(), NOTHING)
})

t.test('a client that has said all it has to say before the answer', async (t) => {
  const p = await start()
  const dial = p.dialer.dial.bind(p.dialer)
  let go = () => {}
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  p.dialer.dial = async (to, options) => {
    await gate
    return dial(to, options)
  }
  const five = await p.client()
  const four = await p.client()
  five.say(socks5(HOST, 80)).say('all')
  four.say(socks4(HOST, 80)).say('all')
  for (const client of [five, four]) client.socket.end()
  await until(() => p.events.length === 2)
  for (let i = 0; i < 5; i++) await p.clock.settle()
  go()
  t.equal((await five.hear(12)).toString('hex'), '0500050000010a0900029c40')
  t.equal((await four.hear(8)).toString('hex'), '005a9c400a090002')
  for (const remote of p.dialer.remotes) {
    await until(() => remote.ended)
    t.equal(Buffer.from(remote.peek()).toString(), 'all')
  }
  t.same(await p.stop(), NOTHING)
})

t.test('early data is bounded', async (t) => {
  const p = await start()
  p.dialer.silent = true
  for (const command of [1, 2]) {
    const client = await p.client()
    client.say(socks5('slow.example', 80, command))
    await client.hear(2)
    const chunk = Buffer.alloc(65_536)
    for (let i = 0; i < 200; i++) client.say(chunk)
    // Without a bound all is gone within some dozens of turns.
    for (let i = 0; i < 300; i++) await p.clock.settle()
    t.ok(client.socket.writableLength > 0, 'the client has to wait')
  }
  t.same(await p.stop(), NOTHING)
})

t.test('any octets end in an answer or a wish for more, and never in an exception', async (t) => {
  const p = await start({ limits: { associations: 3, binds: 3 } })
  p.dialer.names.set('a', [HOST])
  const octet = fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5, 97, 0xf0, 0xf1), fc.integer({ min: 0, max: 255 }))
  const noise = fc.uint8Array({ maxLength: 300 })
  const request = fc
    .tuple(octet, octet, octet, noise)
    .map(([command, type, length, rest]) =>
      Buffer.concat([Buffer.of(5, 1, 0, 5, command, 0, type, length), rest]),
    )
  const old = fc.tuple(octet, noise).map(([command, rest]) => Buffer.concat([Buffer.of(4, command), rest]))
  const any = fc.oneof(
    request,
    old,
    noise.map((b) => Buffer.concat([Buffer.of(5), b])),
  )
  await t.resolves(
    fc.assert(
      fc.asyncProperty(any, fc.nat(300), async (bytes, cut) => {
        const client = await p.client()
        client.say(bytes.subarray(0, cut)).say(bytes.subarray(cut))
        client.socket.end()
        await p.clock.advance(120_001)
        await client.over()
        client.socket.destroy()
        if (client.received.length > 0 && ![0, 5].includes(client.received[0] ?? -1)) {
          throw new Error(`an answer that is none: ${client.hex}`)
        }
        for (const flow of p.dialer.flows) flow.reset()
      }),
      { seed: 11, numRuns: 300 },
    ),
  )
  await until(() => p.server.usage().connections === 0)
  t.same(await p.stop(), NOTHING)
})

t.test('UDP ASSOCIATE over a unix socket has no address to work with', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'socks-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'socks')
  const p = await start({ path })
  const ask = async (bytes: Buffer, octets: number) => {
    const socket = connect({ path })
    let answer = ''
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('hex')
    })
    socket.write(bytes)
    await until(() => socket.readableEnded || answer.length >= 2 * octets)
    socket.destroy()
    return answer
  }
  t.equal(await ask(socks5('0.0.0.0', 0, 3), 12), '050005070001000000000000')
  t.match(
    p.events.find((e) => e.type === 'rejected'),
    { reason: 'forbidden', message: /unix socket/ },
  )
  t.match(await ask(socks5(HOST, 80), 12), /^05000500/, 'CONNECT has')
  t.match(await ask(socks4(HOST, 80), 8), GRANTED4)
  t.same(await p.stop(), NOTHING)
})

t.test('the client of socksv5 with a password', async (t) => {
  const p = await start({ credentials: oneUser('bob', 'sesame') })
  const dial = (auths: unknown[]) =>
    new Promise<Socket | Error>((resolve) => {
      const options = { proxyHost: '127.0.0.1', proxyPort: p.server.port, localDNS: false, auths }
      new socksv5.Client(options)
        .on('error', resolve)
        .connect({ host: 'host.example', port: 80, proxyHost: '127.0.0.1' }, resolve)
    })
  const socket = await dial([socksv5.auth.None(), socksv5.auth.UserPassword('bob', 'sesame')])
  if (socket instanceof Error) throw socket
  socket.write('hello')
  await until(() => p.dialer.remotes[0]?.readable === 5)
  const heard = new Promise<string>((resolve) => socket.once('data', (b: Buffer) => resolve(b.toString())))
  p.dialer.remotes[0]?.write(Buffer.from('world'))
  t.equal(await heard, 'world')
  socket.destroy()
  t.ok((await dial([socksv5.auth.UserPassword('bob', 'wrong')])) instanceof Error)
  t.ok((await dial([socksv5.auth.None()])) instanceof Error)
  t.same(p.dialer.dialled, [{ host: 'host.example', port: 80 }])
  t.same(await p.stop(), NOTHING)
})
