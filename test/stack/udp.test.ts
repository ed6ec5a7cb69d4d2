import t from 'tap'
import { READY_READABLE, takeReady, type UdpOptions, type UdpSocket } from '../../stack/index.js'
import { Host } from '../helpers/host.js'
import { address, hex, toHex, udp } from '../helpers/ip-packet.js'
import { ADDRESS_A, ADDRESS_B, ADDRESS_B6, Pair } from '../helpers/pair.js'

const DATA = hex('0102030405')
const THEM = { address: address('10.0.0.2'), port: 5353 }
const THEM6 = { address: address('fd00::2'), port: 5353 }

function open(host: Host, options: UdpOptions = {}): UdpSocket {
  const s = host.stack.openUdp(options)
  if (s === undefined) throw new Error('no socket')
  return s
}

/** All that has come: sender, receiver, data. */
function received(s: UdpSocket): string[] {
  const out: string[] = []
  for (let d = s.receive(); d !== undefined; d = s.receive()) {
    out.push(`${d.from.address} ${d.from.port} > ${d.to.address} ${d.to.port} ${toHex(d.data)}`)
  }
  return out
}

t.test('datagrams out', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  t.equal(s.send(DATA, THEM), undefined)
  t.equal(s.send(new Uint8Array(0), THEM6), undefined)
  t.equal(host.stack.hasOutput, true)
  const [four, six] = host.output()
  t.match(four, { src: '10.0.0.1', dst: '10.0.0.2', proto: 17, ttl: 64 })
  t.equal(toHex(four?.payload.subarray(0, 6) ?? hex('')), '0fa014e9000d')
  t.equal(toHex(four?.payload.subarray(8) ?? hex('')), toHex(DATA))
  t.match(six, { src: 'fd00::1', dst: 'fd00::2', proto: 17 })
  t.equal(toHex(six?.payload.subarray(0, 6) ?? hex('')), '0fa014e90008')
  t.equal(host.stack.hasOutput, false)
  t.match(host.stack.counters, { datagramsOut: 2, packetsOut: 2 })
})

t.test('a checksum of 0 goes out as ffff', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  for (const to of [THEM, THEM6]) {
    const sums = new Set<string>()
    // Among 65536 data words one makes the sum come out so.
    for (let w = 0; w < 65536; w++) {
      s.send(new Uint8Array([w >>> 8, w & 255]), to)
      const [p] = host.outputBytes()
      if (p === undefined) throw new Error('nothing sent')
      const at = to === THEM ? 26 : 46
      sums.add(toHex(p.subarray(at, at + 2)))
    }
    t.equal(sums.has('0000'), false)
    t.equal(sums.has('ffff'), true)
  }
})

t.test('datagrams in', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, DATA))
  host.input(udp({ src: 'fd00::2', dst: 'fd00::1', sport: 0, dport: 4000 }, new Uint8Array(0)))
  t.ok(host.stack.nextReady() === s)
  t.equal(takeReady(s), READY_READABLE)
  t.ok(host.stack.nextReady() === undefined, 'one piece of news for both')
  t.same(received(s), ['10.0.0.2 53 > 10.0.0.1 4000 0102030405', 'fd00::2 0 > fd00::1 4000 '])
  t.equal(host.output().length, 0)
  const padded = udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, DATA)
  const behind = new Uint8Array([...padded, 9, 9, 9])
  host.input(behind)
  t.same(received(s).length, 1, 'octets behind the IP packet are not its own')
})

t.test('checksum 0: none on IPv4, forbidden on IPv6', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, DATA, { sum: 0 }))
  t.equal(received(s).length, 1)
  host.input(udp({ src: 'fd00::2', dst: 'fd00::1', sport: 53, dport: 4000 }, DATA, { sum: 0 }))
  t.equal(received(s).length, 0)
  t.equal(host.stack.counters.checksumErrors, 1)
  host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, DATA, { sum: 1 }))
  host.input(udp({ src: 'fd00::2', dst: 'fd00::1', sport: 53, dport: 4000 }, DATA, { sum: 1 }))
  t.equal(received(s).length, 0)
  t.equal(host.stack.counters.checksumErrors, 3)
  t.equal(host.output().length, 0, 'nothing is said about broken ones')
})

t.test('broken lengths', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  for (const length of [0, 7, 14, 65535]) {
    const p = udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, DATA, { sum: 0 })
    p.set([length >>> 8, length & 255], 24)
    host.input(p)
  }
  t.equal(host.stack.counters.malformed, 4)
  const short = udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, DATA, { sum: 0 })
  short.set([0, 10], 24)
  host.input(short)
  t.same(received(s), ['10.0.0.2 53 > 10.0.0.1 4000 0102'], 'the UDP length counts')
  t.equal(host.output().length, 0)
})

t.test('connected sockets hear only their remote', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000, remote: THEM })
  const from = (src: string, sport: number): void =>
    host.input(udp({ src, dst: '10.0.0.1', sport, dport: 4000 }, DATA))
  from('10.0.0.3', 5353)
  from('10.0.0.2', 5354)
  t.same(received(s), [])
  t.equal(host.output().length, 2, 'others learn that the port is not for them')
  from('10.0.0.2', 5353)
  t.equal(received(s).length, 1)
})

t.test('ports', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  t.ok(host.stack.openUdp({ port: 4000 }) === undefined, 'taken')
  s.close()
  t.ok(host.stack.openUdp({ port: 4000 }), 'free again')
  s.close()
  t.equal(
    host.stack.openUdp({ port: 4000 }),
    undefined,
    'closing twice does not free what is another socket by now',
  )
  const ports = Array.from({ length: 300 }, () => open(host).port)
  t.equal(new Set(ports).size, 300)
  t.ok(ports.every((p) => p >= 1024 && p <= 65535))
  t.ok(new Set(ports.map((p) => p >> 12)).size > 10, 'all over the range')
})

t.test('where a datagram cannot go', async (t) => {
  const host = new Host()
  const s = open(host)
  const to = (text: string, port = 9) => s.send(DATA, { address: address(text), port })
  for (const text of [
    '224.0.0.1',
    '255.255.255.255',
    '0.0.0.0',
    '127.0.0.1',
    'ff02::1',
    '::',
    '::1',
    '::ffff:10.0.0.2',
  ]) {
    t.equal(to(text), 'network-unreachable', text)
  }
  for (const port of [0, -1, 65536]) t.ok(to('10.0.0.2', port), `port ${port}`)
  t.equal(
    open(new Host({}, ['10.0.0.1'])).send(DATA, THEM6),
    'network-unreachable',
    'no address of that family',
  )
  t.equal(s.send(new Uint8Array(1400 - 28), THEM), undefined)
  t.equal(s.send(new Uint8Array(65_508), THEM), 'too-large')
  t.equal(s.send(new Uint8Array(1400 - 48), THEM6), undefined)
  t.equal(s.send(new Uint8Array(65_528), THEM6), 'too-large')
  t.same(
    host.outputBytes().map((p) => p.length),
    [1400, 1400],
  )
  t.equal(
    s.send(DATA, THEM, { address: address('fd00::1'), port: 1 }),
    'network-unreachable',
    'families differ',
  )
  s.close()
  t.equal(s.send(DATA, THEM), 'aborted')
})

t.test('link-local and global addresses are matched: RFC 6724 5', async (t) => {
  const host = new Host({}, ['fe80::1', 'fd00::1', '10.0.0.1'])
  const s = open(host)
  s.send(DATA, { address: address('fe80::2'), port: 9 })
  s.send(DATA, { address: address('2001:db8::2'), port: 9 })
  s.send(DATA, THEM)
  t.same(
    host.output().map((p) => p.src),
    ['fe80::1', 'fd00::1', '10.0.0.1'],
  )
  const local = open(new Host({}, ['fe80::1']))
  t.equal(local.send(DATA, THEM6), 'network-unreachable', 'a link-local address does not reach that far')
})

t.test('queues are bounded in octets, empty datagrams too', async (t) => {
  const host = new Host({ limits: { datagramQueue: 10_000 } })
  const s = open(host, { port: 4000 })
  const send = (data: Uint8Array): void =>
    host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, data))
  for (let i = 0; i < 50; i++) send(new Uint8Array(936))
  t.equal(host.stack.counters.datagramsDropped, 40)
  t.equal(host.stack.held.bytes, 10_000)
  t.equal(received(s).length, 10)
  t.equal(host.stack.held.bytes, 0)
  for (let i = 0; i < 1000; i++) send(new Uint8Array(0))
  const n = received(s).length
  t.ok(n > 100 && n < 200, `${n} empty ones`)
  let out = 0
  while (s.send(new Uint8Array(900), THEM) === undefined) out++
  t.ok(out >= 9 && out <= 11, `${out} outgoing`)
  t.equal(s.send(new Uint8Array(900), THEM), 'no-room')
  t.ok(host.stack.held.bytes > 9000 && host.stack.held.bytes <= 10_000)
  t.equal(host.output().length, out)
  t.equal(host.stack.held.bytes, 0)
  t.equal(s.send(new Uint8Array(900), THEM), undefined, 'room again')
})

t.test('order is kept through a long queue', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  let next = 0
  let expected = 0
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 100; i++) {
      const data = new Uint8Array([next >>> 8, next & 255])
      host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 53, dport: 4000 }, data))
      next++
    }
    for (let i = 0; i < 100 - (round % 3); i++) {
      const d = s.receive()
      if (toHex(d?.data ?? hex('')) !== expected.toString(16).padStart(4, '0')) t.fail(`datagram ${expected}`)
      expected++
    }
  }
  t.equal(received(s).length, next - expected)
  t.equal(host.stack.held.bytes, 0)
})

t.test('any-address sockets answer from where they were asked', async (t) => {
  const host = new Host({ anyAddress: true })
  const any = open(host, { any: true })
  t.ok(host.stack.openUdp({ any: true }) === undefined, 'there is one')
  const own = open(host, { port: 53 })
  const ask = (dst: string, dport: number): void =>
    host.input(udp({ src: dst.includes(':') ? 'fd00::2' : '10.0.0.2', dst, sport: 1234, dport }, DATA))
  ask('192.0.2.7', 123)
  ask('2001:db8::7', 123)
  ask('10.0.0.1', 99)
  ask('192.0.2.7', 53)
  ask('10.0.0.1', 53)
  t.same(received(own), ['10.0.0.2 1234 > 10.0.0.1 53 0102030405'], 'a port of ours is one of our addresses')
  const asked: string[] = []
  for (let d = any.receive(); d !== undefined; d = any.receive()) {
    asked.push(`${d.to.address} ${d.to.port}`)
    t.equal(any.send(hex('ff'), d.from, d.to), undefined)
  }
  t.same(asked, ['192.0.2.7 123', '2001:db8::7 123', '10.0.0.1 99', '192.0.2.7 53'])
  const answers = host.output()
  t.same(
    answers.map((p) => `${p.src} ${Buffer.from(p.payload).readUInt16BE(0)}`),
    asked,
  )
  t.ok(answers.every((p) => Buffer.from(p.payload).readUInt16BE(2) === 1234))
  any.close()
  ask('192.0.2.7', 123)
  t.match(host.output()[0], { src: '192.0.2.7', dst: '10.0.0.2', proto: 1 }, 'nobody takes it now')
})

t.test('without any-address mode an any-address socket gets the ports that nobody has', async (t) => {
  const host = new Host()
  const any = open(host, { any: true })
  host.input(udp({ src: '10.0.0.2', dst: '192.0.2.7', sport: 1, dport: 2 }, DATA))
  t.same(received(any), [])
  host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 1, dport: 2 }, DATA))
  t.equal(received(any).length, 1)
})

t.test('what is queued when a socket closes is gone', async (t) => {
  const host = new Host()
  const s = open(host, { port: 4000 })
  s.send(DATA, THEM)
  host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 1, dport: 4000 }, DATA))
  s.close()
  t.equal(host.output().length, 0)
  t.equal(s.receive(), undefined)
  t.match(host.stack.held, { udp: 0, bytes: 0 })
})

t.test('many datagrams do not keep small flows waiting, nor the other way round', async (t) => {
  const host = new Host()
  const [a, b] = [open(host, { port: 1 }), open(host, { port: 2 })]
  const ports = (): number[] => host.output().map((p) => Buffer.from(p.payload).readUInt16BE(0))
  for (let i = 0; i < 40; i++) a.send(new Uint8Array(1300), THEM)
  b.send(DATA, THEM)
  const order = ports()
  t.ok(order.indexOf(2) >= 0 && order.indexOf(2) <= 3, `the single one was number ${order.indexOf(2)}`)
  // A flood that sends again and again does not overtake one that has been waiting.
  for (let i = 0; i < 40; i++) {
    a.send(new Uint8Array(1300), THEM)
    b.send(new Uint8Array(1300), THEM)
  }
  const seen: number[] = []
  const buffer = new Uint8Array(1500)
  for (let i = 0; i < 40; i++) {
    host.stack.output(buffer, 0, 0)
    seen.push(Buffer.from(buffer).readUInt16BE(20))
    a.send(new Uint8Array(1300), THEM)
  }
  const ofB = seen.filter((p) => p === 2).length
  t.ok(ofB >= 15, `${ofB} of 40`)
})

t.test('two stacks', async (t) => {
  const pair = new Pair({ delay: 5 })
  const server = pair.b.openUdp({ port: 7 }) as UdpSocket
  const client = pair.a.openUdp({ remote: { address: ADDRESS_B, port: 7 } }) as UdpSocket
  const got: string[] = []
  pair.onReady = (x) => {
    takeReady(x)
    if (x === server) for (let d = server.receive(); d; d = server.receive()) server.send(d.data, d.from)
    if (x === client) for (let d = client.receive(); d; d = client.receive()) got.push(toHex(d.data))
  }
  client.send(DATA, { address: ADDRESS_B, port: 7 })
  client.send(new Uint8Array(0), { address: ADDRESS_B, port: 7 })
  t.ok(pair.run(() => got.length === 2, 100))
  t.same(got, [toHex(DATA), ''])
  const refused = pair.a.openUdp() as UdpSocket
  let error: string | undefined
  pair.onReady = (x) => {
    takeReady(x)
    if (x === refused) error = refused.takeError()?.error
  }
  refused.send(DATA, { address: ADDRESS_B6, port: 9 })
  t.ok(pair.run(() => error !== undefined, 100))
  t.equal(error, 'refused', 'the other stack says that nobody is at the port')
  t.ok(ADDRESS_A)
})
