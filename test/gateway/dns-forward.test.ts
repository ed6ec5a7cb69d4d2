import { createSocket, type Socket } from 'node:dgram'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { DnsForwarder, truncated } from '../../src/gateway/dns-forward.js'

/** A name server that answers, or not. */
async function nameServer(
  answer: (query: Buffer) => Buffer | undefined,
): Promise<{ port: number; socket: Socket; seen: Buffer[] }> {
  const socket = createSocket('udp4')
  const seen: Buffer[] = []
  socket.on('message', (query, from) => {
    seen.push(query)
    const reply = answer(query)
    if (reply !== undefined) socket.send(reply, from.port, from.address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return { port: (socket.address() as AddressInfo).port, socket, seen }
}

/** A clock that only moves when it is told to. */
class Host {
  time = 0
  woken = 0
  now = (): number => this.time
  wake = (): void => {
    this.woken++
  }
}

const query = Buffer.from('123401000001000000000000036162630000010001', 'hex')
const answerTo = (q: Buffer): Buffer => {
  const a = Buffer.from(q)
  a[2] = 0x81
  a[3] = 0x80
  return a
}

const ask = (forwarder: DnsForwarder): Promise<Uint8Array> =>
  new Promise((resolve) => forwarder.query(query, resolve))

t.test('a query goes to the host’s resolver octet for octet, and the answer back', async (t) => {
  const server = await nameServer(answerTo)
  const forwarder = new DnsForwarder(new Host(), [{ address: '127.0.0.1', port: server.port }])
  t.same(Buffer.from(await ask(forwarder)), answerTo(query))
  t.same(server.seen, [query])
  t.equal(forwarder.nextTimeout() < Number.POSITIVE_INFINITY, true)
  forwarder.handleTimeout(1e9)
  t.equal(forwarder.nextTimeout(), Number.POSITIVE_INFINITY)
  server.socket.close()
})

t.test('a silent server is followed by the next, and by SERVFAIL when there is none', async (t) => {
  const silent = await nameServer(() => undefined)
  const good = await nameServer(answerTo)
  const host = new Host()
  const both = new DnsForwarder(
    host,
    [silent, good].map(({ port }) => ({ address: '127.0.0.1', port })),
  )
  const first = ask(both)
  await new Promise((resolve) => silent.socket.once('message', resolve))
  host.time = both.nextTimeout()
  both.handleTimeout(host.time)
  t.same(Buffer.from(await first), answerTo(query))
  const alone = new DnsForwarder(host, [{ address: '127.0.0.1', port: silent.port }])
  const failed = ask(alone)
  host.time = alone.nextTimeout()
  alone.handleTimeout(host.time)
  const reply = Buffer.from(await failed)
  t.equal(reply.readUInt16BE(0), 0x1234)
  t.equal(reply[2], 0x81)
  t.equal((reply[3] ?? 0) & 15, 2, 'SERVFAIL')
  silent.socket.close()
  good.socket.close()
})

t.test(
  'without any server it is SERVFAIL; what is no query is dropped; many queries are bounded',
  async (t) => {
    const none = new DnsForwarder(new Host(), [])
    t.equal(((await ask(none))[3] ?? 0) & 15, 2)
    const silent = await nameServer(() => undefined)
    const forwarder = new DnsForwarder(new Host(), [{ address: '127.0.0.1', port: silent.port }])
    let answers = 0
    forwarder.query(new Uint8Array(5), () => answers++)
    for (let i = 0; i < 500; i++) forwarder.query(query, () => answers++)
    forwarder.handleTimeout(1e9)
    t.equal(answers, 64, 'each of those that were taken is answered once')
    forwarder.close()
    silent.socket.close()
  },
)

t.test('answers with another id are not taken', async (t) => {
  const server = await nameServer((q) => {
    const a = answerTo(q)
    a[0] = 0x99
    return a
  })
  const host = new Host()
  const forwarder = new DnsForwarder(host, [{ address: '127.0.0.1', port: server.port }])
  const answer = ask(forwarder)
  await new Promise((resolve) => server.socket.once('message', resolve))
  await new Promise((resolve) => setImmediate(resolve))
  host.time = forwarder.nextTimeout()
  forwarder.handleTimeout(host.time)
  t.equal(((await answer)[3] ?? 0) & 15, 2)
  server.socket.close()
})

t.test('the next server may be of the other family', async (t) => {
  const silent = await nameServer(() => undefined)
  const six = createSocket('udp6')
  six.on('message', (q, from) => six.send(answerTo(q), from.port, from.address))
  const host = new Host()
  const bound = await new Promise<boolean>((resolve) => {
    six.once('error', () => resolve(false))
    six.bind(0, '::1', () => resolve(true))
  })
  const port = bound ? (six.address() as AddressInfo).port : 9
  const forwarder = new DnsForwarder(host, [
    { address: '127.0.0.1', port: silent.port },
    { address: '0:0::1', port },
  ])
  const answer = ask(forwarder)
  await new Promise((resolve) => silent.socket.once('message', resolve))
  host.time = forwarder.nextTimeout()
  forwarder.handleTimeout(host.time)
  // A host without IPv6 hears of it at once.
  t.equal(((await answer)[3] ?? 0) & 15, bound ? 0 : 2)
  six.close()
  silent.socket.close()
})

t.test('where nobody listens the next server is asked at once', async (t) => {
  const gone = await nameServer(() => undefined)
  await new Promise<void>((resolve) => gone.socket.close(() => resolve()))
  const good = await nameServer(answerTo)
  const forwarder = new DnsForwarder(
    new Host(),
    [gone, good].map(({ port }) => ({ address: '127.0.0.1', port })),
  )
  t.same(Buffer.from(await ask(forwarder)), answerTo(query), 'though the clock stands still')
  good.socket.close()
})

t.test('a truncated answer is header and question', (t) => {
  const whole = Buffer.concat([answerTo(query), Buffer.alloc(3000, 1)])
  whole.writeUInt16BE(40, 6)
  whole.writeUInt16BE(1, 10)
  const short = answerTo(query)
  short[2] = 0x83
  t.same(truncated(whole), short)
  const bare = Buffer.from(short.subarray(0, 12))
  bare.writeUInt16BE(0, 4)
  for (const [what, change] of [
    ['a pointer for a name', (b: Buffer) => b.writeUInt16BE(0xc00c, 12)],
    ['two questions', (b: Buffer) => b.writeUInt16BE(2, 4)],
    ['a name without an end', (b: Buffer) => b.fill(1, 12)],
  ] as const) {
    const odd = Buffer.from(whole)
    change(odd)
    t.same(truncated(odd), bare, what)
  }
  for (let n = 12; n < query.length; n++) t.same(truncated(whole.subarray(0, n)), bare, `${n} octets`)
  t.equal(truncated(query), undefined, 'no answer')
  t.equal(truncated(whole.subarray(0, 11)), undefined)
  t.end()
})
