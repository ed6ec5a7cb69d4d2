import { readFileSync } from 'node:fs'
import t from 'tap'
import { readNames, readTextName } from '../../../src/tunnel/address/names.js'
import { cidr6, readClasslessRoutes } from '../../../src/tunnel/address/routes.js'
import {
  ACK,
  answer4,
  bytes,
  ClientWorld,
  dnsForm,
  END,
  isDhcp4,
  option4,
} from '../../helpers/address-server.js'
import { address, concat, hex, ip, type ReadPacket, toHex, udp } from '../../helpers/ip-packet.js'

interface Vector {
  readonly id: string
  readonly op: string
  readonly in: { readonly optionDataHex: string; readonly routes: readonly { readonly to: string }[] }
  readonly out: { readonly optionDataHex: string; readonly names: readonly string[] }
}
const file = new URL('../../vectors/address.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Vector[] }
const HEX_ROUTE = hex('180a0b0c0a000001')

t.test('vectors: classless routes and search lists', async (t) => {
  const routes = vectors.filter((v) => v.op === 'classless-routes')
  const lists = vectors.filter((v) => v.op === 'domain-search')
  t.equal(routes.length, 2)
  t.equal(lists.length, 2)
  for (const v of routes) {
    const b = hex(v.out.optionDataHex)
    t.same(
      readClasslessRoutes(b, 0, b.length),
      v.in.routes.map((r) => r.to),
      v.id,
    )
  }
  for (const v of lists) {
    const b = hex(v.in.optionDataHex)
    t.same(readNames(b, 0, b.length, 'compressed'), v.out.names, v.id)
  }
})

t.test('broken routes and lists', async (t) => {
  const routes = (text: string): unknown => {
    const b = hex(text)
    return readClasslessRoutes(b, 0, b.length)
  }
  t.same(routes(''), [])
  t.same(routes('180a0b0cff00000000'.slice(0, 16)), ['10.11.12.0/24'])
  t.same(routes('1f0a0b0c0d00000000'), ['10.11.12.12/31'], 'bits behind the length are cut off')
  t.equal(routes('210a0b0c0d0000000000'), undefined, 'longer than 32')
  t.equal(routes('180a0b0c000000'), undefined, 'half a router')
  t.equal(routes('18'), undefined)
  t.equal(cidr6(address('2001:db8:ffff:ffff::1'), 33), '2001:db8:8000::/33')
  t.equal(cidr6(address('2001:db8::1'), 0), '::/0')
  t.equal(cidr6(address('2001:db8::1'), 128), '2001:db8::1/128')

  const names = (text: string, form: 'plain' | 'compressed' = 'compressed'): unknown => {
    const b = concat(bytes(0xaa, 0xaa, 0xaa), hex(text))
    return readNames(b, 3, b.length - 3, form)
  }
  t.equal(names('c000'), undefined, 'a pointer at itself')
  t.equal(names('0161c000'), undefined, 'a loop')
  t.equal(names('c002c000'), undefined, 'forwards')
  t.equal(names('0161c0ff'), undefined, 'past the end')
  t.equal(names('0161c0'), undefined, 'half a pointer')
  t.equal(names('0561'), undefined, 'a label over the end')
  t.equal(names('0161'), undefined, 'no end')
  t.equal(names('4061'), undefined, 'an unknown kind of label')
  t.same(names('016100c000'), ['a'], 'once is enough')
  t.same(names('02612e00'), [], 'a dot within a label')
  t.same(names('0000016100', 'plain'), ['a'])
  const many = concat(...Array.from({ length: 99 }, (_, i) => dnsForm(`n${i}.example`)))
  t.equal(readNames(many, 0, many.length, 'plain')?.length, 32)
  const long = dnsForm(Array.from({ length: 60 }, () => 'label').join('.'))
  t.same(readNames(long, 0, long.length, 'plain'), [], 'too long')
  const text = (s: string): unknown => readTextName(Buffer.from(s, 'latin1'), 0, s.length)
  t.equal(text('Corp.Example.\0\0'), 'corp.example')
  for (const bad of ['', '\x1b[31m', 'a b', 'a..b', '.', 'x'.repeat(64), 'ä.example']) {
    t.equal(text(bad), undefined, JSON.stringify(bad))
  }
})

t.test('three tries, 4 s apart, to the letter', async (t) => {
  const world = new ClientWorld().ipv4()
  world.pass(3_600_000)
  t.same(world.times(isDhcp4), [0, 4000, 8000])
  const [{ packet } = { packet: undefined }] = world.sent
  t.match(packet, { src: '10.0.0.9', dst: '255.255.255.255' })
  const p = packet?.payload ?? bytes()
  t.equal(toHex(p.subarray(0, 4)), '00440043')
  const b = p.subarray(8)
  t.equal(b.length, 300)
  t.equal(toHex(b.subarray(0, 4)), '01010600')
  t.equal(toHex(b.subarray(8, 28)), '000000000a000009000000000000000000000000', 'only ciaddr')
  t.equal((b[28] ?? 0) & 3, 2, 'a locally administered address')
  t.equal(toHex(b.subarray(34, 236)), '00'.repeat(202))
  const mac = toHex(b.subarray(28, 34))
  const class60 = `3c08${Buffer.from('MSFT 5.0').toString('hex')}`
  const expected = `6382536335010${'8'}3d0701${mac}${class60}370601060f7779f9ff`
  t.equal(toHex(b.subarray(236, 236 + expected.length / 2)), expected)
})

t.test('an answer: servers, domain, search list, routes; by unicast and by broadcast', async (t) => {
  for (const dst of ['10.0.0.9', '255.255.255.255']) {
    const world = new ClientWorld()
    world.server = (p) =>
      answer4(
        p,
        [
          ACK,
          option4(1, bytes(255, 255, 255, 0)),
          option4(6, bytes(10, 0, 0, 53, 10, 0, 0, 54, 127, 0, 0, 1, 9)),
          option4(15, Buffer.from('corp.example')),
          bytes(0, 0),
          // RFC 3396: two parts are one list, and the pointer counts from its start.
          option4(119, hex('03656e67056170706c65')),
          option4(119, hex('03636f6d0003777777c004')),
          option4(249, hex('080b00000000')),
          option4(121, HEX_ROUTE),
          END,
          bytes(1, 2, 3),
        ],
        { dst },
      )
    world.ipv4().pass(60_000)
    t.equal(world.times(isDhcp4).length, 1, dst)
    t.same(world.dns, ['10.0.0.53', '10.0.0.54'])
    t.same(world.client.learnt.search, ['corp.example', 'eng.apple.com', 'www.apple.com'])
    t.same(world.client.learnt.routes, ['10.11.12.0/24'], '121 goes before 249')
    t.equal(world.client.learnt.routed, false, 'of IPv6 nothing is said')
    world.client.stopIpv4()
    t.same(world.dns, [])
  }
})

t.test('Microsoft’s routes alone; empty and broken options; no end', async (t) => {
  const learn = (...options: Uint8Array[]): ClientWorld => {
    const world = new ClientWorld()
    world.server = (p) => answer4(p, options)
    return world.ipv4()
  }
  t.same(learn(ACK, option4(249, HEX_ROUTE)).client.learnt.routes, ['10.11.12.0/24'], 'without an end')
  t.same(learn(ACK, option4(121), option4(249, HEX_ROUTE), END).client.learnt.routes, [], '121 of length 0')
  t.same(learn(ACK, option4(121, hex('21000000000000000000')), END).client.learnt.routes, [])
  t.same(learn(ACK, option4(119, hex('c000')), option4(15, bytes(27)), END).client.learnt.search, [])
  const truncated = learn(ACK, option4(6, bytes(10, 0, 0, 53)), bytes(15, 99, 1))
  t.same(truncated.dns, [], 'an option over the end')
  t.equal(truncated.pass(60_000).times(isDhcp4).length, 3)
})

t.test(
  'IPCP negotiated anew: the answer holds for the same address, and another asks for another',
  async (t) => {
    const world = new ClientWorld()
    world.server = (p) => answer4(p, [ACK, option4(15, Buffer.from('corp.example')), END])
    world.ipv4()
    t.same(world.client.learnt.search, ['corp.example'])
    const { version } = world.client
    world.pass(1000).ipv4()
    t.equal(world.client.version, version, 'it does not come and go')
    world.server = () => undefined
    world.ipv4('10.0.0.10')
    t.same(world.client.learnt.search, [])
    t.equal(world.sent.length, 2)
  },
)

t.test('answers that are not ours', async (t) => {
  const good = [ACK, option4(6, bytes(10, 0, 0, 53)), END]
  const cases: [string, (p: ReadPacket) => Uint8Array][] = [
    ['another xid', (p) => answer4(p, good, { change: (b) => b.set([(b[4] ?? 0) ^ 1], 4) })],
    ['a request', (p) => answer4(p, good, { change: (b) => b.set([1], 0) })],
    ['another client', (p) => answer4(p, good, { change: (b) => b.set([(b[33] ?? 0) ^ 1], 33) })],
    ['another address', (p) => answer4(p, good, { change: (b) => b.set([1], 15) })],
    ['no magic', (p) => answer4(p, good, { change: (b) => b.set([1], 236) })],
    ['a NAK', (p) => answer4(p, [option4(53, bytes(6)), END])],
    ['no type', (p) => answer4(p, [END])],
    [
      'from another port',
      (p) => udp({ src: '10.0.0.1', dst: p.src, sport: 68, dport: 68 }, p.payload.slice(8)),
    ],
    ['nothing', (p) => udp({ src: '10.0.0.1', dst: p.src, sport: 67, dport: 68 }, bytes())],
  ]
  for (const [name, answer] of cases) {
    const world = new ClientWorld()
    world.server = (p) => (isDhcp4(p) ? answer(p) : undefined)
    world.ipv4().pass(60_000)
    t.same(world.dns, [], name)
    t.equal(world.times(isDhcp4).length, 3)
  }
  const world = new ClientWorld().ipv4()
  t.equal(world.input(udp({ src: '10.0.0.1', dst: '10.0.0.9', sport: 67, dport: 69 }, bytes(1))), false)
  t.equal(
    world.input(ip({ src: '10.0.0.1', dst: '10.0.0.9', proto: 17 }, bytes(1, 2))),
    false,
    'half a header',
  )
  const bad = udp({ src: '10.0.0.1', dst: '10.0.0.9', sport: 67, dport: 68 }, bytes(1, 2), { sum: 0x1234 })
  t.equal(world.input(bad), true, 'ours, but damaged')
})
