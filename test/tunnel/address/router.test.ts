import { readFileSync } from 'node:fs'
import t from 'tap'
import { linkLocal, slaacAddress } from '../../../src/link/packet.js'
import {
  advertisement,
  bytes,
  ClientWorld,
  dnsForm,
  dnsslOption,
  isSolicitation,
  mtuOption,
  neighbourSolicitation,
  OWN_LINK_LOCAL,
  other,
  prefixOption,
  ROUTER,
  rdnssOption,
  routeOption,
} from '../../helpers/address-server.js'
import { address, be32, concat, hex, icmp, toHex } from '../../helpers/ip-packet.js'

interface Vector {
  readonly id: string
  readonly op: string
  readonly in: { readonly prefix: string; readonly interfaceIdHex?: string }
  readonly out: { readonly interfaceIdHex: string; readonly addressHex: string }
}
const file = new URL('../../vectors/address.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Vector[] }
const HOUR = 3_600_000
const DAY = 24 * HOUR
const PREFIX = '2001:db8:1:2::'
const ADDRESS = '2001:db8:1:2:11:2233:4455:6677'

t.test('vectors: addresses of interface identifiers', async (t) => {
  const all = vectors.filter((v) => v.op === 'slaac')
  t.equal(all.length, 3)
  for (const v of all) {
    const id = hex(v.out.interfaceIdHex)
    const made = v.in.prefix === 'fe80::' ? linkLocal(id) : slaacAddress(address(v.in.prefix), id)
    t.equal(toHex(made.toBytes()), v.out.addressHex, v.id)
  }
})

t.test('solicitations: at once, and ever more rarely', async (t) => {
  const world = new ClientWorld().ipv6()
  t.match(world.sent[0]?.packet, { src: OWN_LINK_LOCAL, dst: 'ff02::2', ttl: 255 })
  t.equal(toHex(world.sent[0]?.packet.payload.subarray(4) ?? bytes()), '00000000', 'no options')
  world.pass(10 * DAY)
  const at = world.times(isSolicitation)
  t.equal(at[0], 0)
  const gaps = at.slice(1).map((time, i) => time - (at[i] ?? 0))
  t.ok((gaps[0] ?? 0) >= 3600 && (gaps[0] ?? 0) <= 4400, 'RFC 7559: 4 s first')
  for (const [i, gap] of gaps.slice(1, 9).entries()) {
    const before = gaps[i] ?? 0
    t.ok(gap >= before * 1.89 && gap <= before * 2.11, `${gap} is about twice ${before}`)
  }
  t.ok(Math.max(...gaps) <= 1.1 * HOUR)
  t.ok(at.length < 280, `${at.length} in ten days`)
})

t.test('an advertisement gives address, router, MTU, name servers, domains and routes', async (t) => {
  const world = new ClientWorld().ipv6()
  world.pass(50)
  t.equal(
    world.input(
      advertisement([
        bytes(1, 1, 2, 0, 0, 0, 0, 1),
        prefixOption({ prefix: PREFIX }),
        mtuOption(1380),
        rdnssOption(600, '2001:db8::53', 'fd00::53'),
        dnsslOption(600, 'corp.example', 'Lab.Example'),
        routeOption('2001:db8:ffff::1', 48, 600),
        bytes(99, 1, 1, 2, 3, 4, 5, 6),
      ]),
    ),
    true,
  )
  t.same(world.addresses, [ADDRESS])
  t.match(world.client.learnt, { routed: true, mtu: 1380, ipv6Failed: false })
  t.same(world.dns, ['2001:db8::53', 'fd00::53'])
  t.same(world.client.learnt.search, ['corp.example', 'lab.example'])
  t.same(world.client.learnt.routes, ['2001:db8:ffff::/48'])
  const { version } = world.client
  world.pass(HOUR / 10)
  t.equal(world.times(isSolicitation).length, 1, 'nothing more is asked')
  t.equal(world.client.version, version)
  world.input(advertisement([prefixOption({ prefix: PREFIX })]))
  t.equal(world.client.version, version, 'the same again is no news')
  world.pass(HOUR / 10)
  t.same(world.dns, [], 'their lifetime is over')
  t.same(world.client.learnt.search, [])
  t.same(world.client.learnt.routes, [])
})

t.test('lifetimes: preferred, valid, for ever, and the two-hour rule', async (t) => {
  const given = (valid: number, preferred: number): ClientWorld => {
    const world = new ClientWorld().ipv6()
    world.input(advertisement([prefixOption({ prefix: PREFIX, valid, preferred })], { lifetime: 0xffff }))
    return world
  }
  const told = (world: ClientWorld, valid: number, preferred = valid): void => {
    world.input(advertisement([prefixOption({ prefix: PREFIX, valid, preferred })], { lifetime: 0xffff }))
  }
  const plain = given(7200, 3600)
  plain.pass(HOUR - 1)
  t.same(plain.client.learnt.deprecated, [])
  plain.pass(1)
  t.same(plain.client.learnt.deprecated.map(String), [ADDRESS], 'deprecated')
  t.same(plain.addresses, [ADDRESS])
  plain.pass(HOUR)
  t.same(plain.addresses, [], 'gone')

  const endless = given(0xffffffff, 0xffffffff).pass(400 * DAY)
  t.same(endless.addresses, [ADDRESS])
  t.same(endless.client.learnt.deprecated, [])

  const long = given(86400, 86400)
  told(long, 0)
  t.same(long.client.learnt.deprecated.map(String), [ADDRESS], 'nobody can end it at once')
  long.pass(2 * HOUR - 1)
  t.same(long.addresses, [ADDRESS])
  long.pass(1)
  t.same(long.addresses, [], 'but in two hours')

  const short = given(3600, 3600)
  told(short, 60)
  short.pass(HOUR - 1)
  t.same(short.addresses, [ADDRESS], 'under two hours nothing is taken away')
  short.pass(1)
  t.same(short.addresses, [])

  const longer = given(3600, 3600)
  told(longer, 5000)
  longer.pass(5_000_000 - 1)
  t.same(longer.addresses, [ADDRESS], 'more is always taken')
  longer.pass(1)
  t.same(longer.addresses, [])

  const cut = given(86400, 86400)
  told(cut, 7201)
  cut.pass(7_201_000 - 1)
  t.same(cut.addresses, [ADDRESS], 'above two hours it is believed')
  cut.pass(1)
  t.same(cut.addresses, [])
})

t.test('prefixes that make no address', async (t) => {
  const bad = [
    { prefix: PREFIX, bits: 65 },
    { prefix: PREFIX, bits: 63 },
    { prefix: PREFIX, bits: 255 },
    { prefix: PREFIX, flags: 0x80 },
    { prefix: PREFIX, valid: 100, preferred: 101 },
    { prefix: PREFIX, valid: 0, preferred: 0 },
    { prefix: 'fe80::' },
    { prefix: 'ff02::' },
  ]
  for (const f of bad) {
    const world = new ClientWorld().ipv6()
    world.input(advertisement([prefixOption(f)]))
    t.same(world.addresses, [], JSON.stringify(f))
  }
  const mapped = new ClientWorld().ipv6(hex('0000ffff0a000001'))
  mapped.input(advertisement([prefixOption({ prefix: '::' })]))
  t.same(mapped.addresses, [], 'what looks like IPv4')
})

t.test('a router that stops being one, or goes silent, is asked for anew', async (t) => {
  const world = new ClientWorld().ipv6()
  world.input(advertisement([prefixOption({ prefix: PREFIX })], { lifetime: 1800 }))
  t.equal(world.client.learnt.routed, true)
  world.input(advertisement([], { lifetime: 0 }))
  t.equal(world.client.learnt.routed, false)
  t.same(world.addresses, [ADDRESS], 'the address stays')
  world.pass(5000)
  t.equal(world.times(isSolicitation).length, 2)
  world.input(advertisement([], { lifetime: 60 }))
  t.equal(world.client.learnt.routed, true)
  world.pass(59_999)
  t.equal(world.times(isSolicitation).length, 2)
  world.pass(1)
  t.equal(world.client.learnt.routed, false)
  t.equal(world.times(isSolicitation).length, 3)
  world.input(advertisement([routeOption('2001:db8::', 32, 9000)], { lifetime: 0 }))
  t.equal(world.client.learnt.routed, true, 'a route is a way out')
})

t.test('a second router on the link that leads nowhere takes nothing from the first', async (t) => {
  const SECOND = 'fe80::2'
  const world = new ClientWorld().ipv6()
  const first = (lifetime: number): Uint8Array =>
    advertisement([prefixOption({ prefix: PREFIX })], { lifetime })
  const second = (lifetime: number): Uint8Array =>
    advertisement([prefixOption({ prefix: 'fd00:1::' })], { lifetime, src: SECOND })
  world.input(first(1800))
  world.input(second(0))
  t.equal(world.client.learnt.routed, true, 'RFC 4861 6.3.4: a lifetime is one router’s own')
  t.equal(world.addresses.length, 2)
  world.pass(100_000)
  t.equal(world.times(isSolicitation).length, 1, 'nothing more is asked')
  world.input(second(60))
  world.input(first(0))
  t.equal(world.client.learnt.routed, true, 'the other one is left')
  world.pass(59_999)
  t.equal(world.times(isSolicitation).length, 1)
  world.pass(1)
  t.equal(world.client.learnt.routed, false)
  t.equal(world.times(isSolicitation).length, 2)
  // Names that somebody on the link gives himself.
  for (let n = 3; n < 300; n++) {
    world.input(advertisement([], { lifetime: 10 + n, src: `fe80::${n.toString(16)}` }))
  }
  world.input(advertisement([], { lifetime: 9000, src: SECOND }))
  world.pass(8_999_999)
  t.equal(world.client.learnt.routed, true, 'who stays longest is not pushed out')
})

t.test('advertisements that are not to be believed', async (t) => {
  const good = prefixOption({ prefix: PREFIX })
  const cases: [string, Uint8Array][] = [
    ['from over a router', advertisement([good], { ttl: 64 })],
    ['from over a router, 254', advertisement([good], { ttl: 254 })],
    ['from a global address', advertisement([good], { src: '2001:db8::1' })],
    ['with a code', advertisement([good], { code: 1 })],
    ['an option of length 0', advertisement([good, bytes(1, 0, 0, 0, 0, 0, 0, 0)])],
    ['an option over the end', advertisement([good, bytes(1, 2, 0, 0, 0, 0, 0, 0)])],
    ['an option cut in two', advertisement([good, bytes(1)])],
    ['too short', icmp({ src: ROUTER, dst: 'ff02::1', type: 134 }, be32(0), { ttl: 255 })],
  ]
  const broken = advertisement([good])
  broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1
  cases.push(['a bad checksum', broken])
  for (const [name, packet] of cases) {
    const world = new ClientWorld().ipv6()
    t.equal(world.input(packet), true, `${name}: for us`)
    t.same(world.client.learnt.addresses, [], name)
    t.equal(world.client.learnt.mtu, undefined)
  }
  const world = new ClientWorld().ipv6()
  world.input(advertisement([mtuOption(1279), mtuOption(1279)]))
  t.equal(world.client.learnt.mtu, undefined, 'an MTU below the least')
  t.equal(world.input(other()), false, 'neither UDP nor ICMPv6')
  const redirect = icmp({ src: ROUTER, dst: OWN_LINK_LOCAL, type: 137 }, new Uint8Array(32), { ttl: 255 })
  t.equal(world.input(redirect), true, 'redirects are taken and ignored')
  t.equal(new ClientWorld().input(advertisement([good])), false, 'before IPV6CP nothing is')
})

t.test('floods are bounded', async (t) => {
  const world = new ClientWorld().ipv6()
  for (let i = 0; i < 40; i++) {
    const n = (k: number): string => (i * 100 + k).toString(16)
    const prefixes = Array.from({ length: 30 }, (_, k) =>
      prefixOption({ prefix: `2001:db8:${n(k)}::`, valid: 3600 }),
    )
    world.input(advertisement(prefixes))
    const servers = Array.from({ length: 30 }, (_, k) => `2001:db8::${n(k)}`)
    world.input(advertisement([rdnssOption(600 + i, ...servers)]))
    const names = Array.from({ length: 30 }, (_, k) => `n${n(k)}.example`)
    world.input(advertisement([dnsslOption(600 + i, ...names)]))
    const routes = Array.from({ length: 30 }, (_, k) => routeOption(`2001:db8:${n(k)}::`, 48, 600))
    world.input(advertisement(routes))
  }
  const { learnt } = world.client
  t.equal(learnt.addresses.length, 8)
  t.equal(learnt.dns.length, 8)
  t.equal(learnt.search.length, 16)
  t.equal(learnt.routes.length, 64)
  t.ok(world.dns.includes('2001:db8::f3c'), 'those that live longest are kept')
  const before = world.sent.length
  world.pass(HOUR)
  t.ok(world.sent.length - before < 20)
})

t.test('what is told anew as its lifetime ends does not come and go', async (t) => {
  const told = [rdnssOption(600, '2001:db8::1', '2001:db8::2'), dnsslOption(600, 'a.example')]
  const prefix = prefixOption({ prefix: PREFIX, valid: 0xffffffff })
  const all = advertisement([prefix, ...told, routeOption('2001:db8:ffff::', 48, 600)])
  // As often as it lives, on the dot and late; a router that advertises seldom, and one that does not care, but answers.
  for (const every of [600_000, 600_100, 605_000]) {
    const world = new ClientWorld().ipv6()
    world.input(all)
    const { version } = world.client
    for (let i = 0; i < 10; i++) world.pass(every).input(all)
    t.equal(world.client.version, version, `every ${every} ms`)
    t.same(world.dns, ['2001:db8::1', '2001:db8::2'])
  }
  const seldom = new ClientWorld().ipv6()
  seldom.input(all)
  const { version } = seldom.client
  seldom.server = (p) => (isSolicitation(p) ? all : undefined)
  seldom.pass(2 * HOUR)
  t.equal(seldom.client.version, version, 'the router is asked when the time is over')
  t.same(seldom.times(isSolicitation).length, 1 + 12)

  const brief = new ClientWorld().ipv6()
  brief.server = (p) => (isSolicitation(p) ? advertisement([rdnssOption(1, '2001:db8::1')]) : undefined)
  brief.input(advertisement([rdnssOption(1, '2001:db8::1')]))
  brief.pass(HOUR)
  t.same(brief.dns, ['2001:db8::1'])
  t.ok(brief.times(isSolicitation).length <= 1 + 900, 'and not more often than every 4 s')

  const silent = new ClientWorld().ipv6()
  silent.input(all)
  silent.pass(609_999)
  t.equal(silent.dns.length, 2, 'kept for a moment')
  silent.pass(1)
  t.same(silent.dns, [], 'and no longer')
  t.same(silent.client.learnt.search, [])
  t.same(silent.client.learnt.routes, [])
})

t.test('IPV6CP negotiated anew: what was known holds until the router has spoken', async (t) => {
  const said = (prefix: string): Uint8Array =>
    advertisement([prefixOption({ prefix }), rdnssOption(600, '2001:db8::53'), mtuOption(1380)])
  const begun = (): ClientWorld => {
    const world = new ClientWorld().ipv6()
    world.input(said(PREFIX))
    const { version } = world.client
    world.pass(1000).ipv6()
    t.equal(world.times(isSolicitation).length, 2, 'it is asked for anew')
    t.ok(world.client.version > version, 'whoever carries it out does so again')
    t.match(world.client.learnt, { routed: true, mtu: 1380, ipv6Failed: false })
    t.same([world.addresses, world.dns], [[ADDRESS], ['2001:db8::53']])
    return world
  }
  const same = begun()
  const { learnt } = same.client
  same.input(said(PREFIX))
  t.same(same.client.learnt, learnt)
  same.pass(DAY)
  t.same(same.addresses, [], 'and has an end as ever')
  const other = begun()
  other.input(said('2001:db8:9:9::'))
  t.same(other.addresses, ['2001:db8:9:9:11:2233:4455:6677'], 'another prefix takes its place')
  const silent = begun().pass(23_999)
  t.same(silent.addresses, [ADDRESS])
  silent.pass(1)
  t.match(silent.client.learnt, { addresses: [], dns: [], routed: false, ipv6Failed: true })
  const ended = begun()
  ended.client.stopIpv6()
  t.match(ended.client.learnt, { addresses: [], dns: [] })
})

t.test('RDNSS and DNSSL: lifetime 0, odd lengths, names not fit to be shown', async (t) => {
  const world = new ClientWorld().ipv6()
  world.input(advertisement([rdnssOption(60, '2001:db8::1', '2001:db8::2'), dnsslOption(60, 'a.example')]))
  world.input(advertisement([rdnssOption(0, '2001:db8::1'), dnsslOption(0, 'a.example')]))
  t.same(world.dns, ['2001:db8::2'])
  t.same(world.client.learnt.search, [])
  world.input(advertisement([rdnssOption(60, 'ff02::1', '::', '::1')]))
  t.same(world.dns, ['2001:db8::2'], 'only hosts can answer')
  world.input(advertisement([concat(bytes(25, 2, 0, 0), be32(60), new Uint8Array(8))]))
  t.same(world.dns, ['2001:db8::2'])
  const evil = concat(dnsForm('good.example'), bytes(3, 27, 91, 65), bytes(0))
  const size = Math.ceil(evil.length / 8) * 8
  const padded = concat(evil, new Uint8Array(size - evil.length))
  world.input(advertisement([concat(bytes(31, 1 + size / 8, 0, 0), be32(60), padded)]))
  t.same(world.client.learnt.search, ['good.example'], 'no escape sequences')
  const pointer = concat(bytes(31, 2, 0, 0), be32(60), bytes(1, 97, 0xc0, 0, 0, 0, 0, 0))
  world.input(advertisement([pointer]))
  t.same(world.client.learnt.search, ['good.example'], 'no compression here')
})

t.test('neighbour solicitations are answered, for our own addresses only', async (t) => {
  const world = new ClientWorld().ipv6()
  world.input(advertisement([prefixOption({ prefix: PREFIX })]))
  const ask = (f: Parameters<typeof neighbourSolicitation>[0]) => {
    const before = world.sent.length
    world.input(neighbourSolicitation(f))
    return world.sent.slice(before).map((s) => s.packet)
  }
  const group = 'ff02::1:ff55:6677'
  for (const target of [OWN_LINK_LOCAL, ADDRESS]) {
    for (const dst of [target, group]) {
      const [na, more] = ask({ dst, target })
      t.equal(more, undefined)
      t.match(na, { src: target, dst: ROUTER, ttl: 255 })
      t.equal(toHex(na?.payload.subarray(0, 2) ?? bytes()), '8800')
      t.equal(toHex(na?.payload.subarray(4) ?? bytes()), `60000000${toHex(address(target).toBytes())}`)
    }
  }
  const [defence] = ask({ src: '::', dst: group, target: ADDRESS })
  t.match(defence, { src: ADDRESS, dst: 'ff02::1', ttl: 255 })
  t.equal(defence?.payload[4], 0x20, 'not solicited')
  t.equal(ask({ src: '::', dst: ADDRESS, target: ADDRESS }).length, 0, 'a probe goes to the group')
  t.equal(ask({ dst: group, target: '2001:db8:1:2::1' }).length, 0, 'another target')
  t.equal(ask({ dst: 'ff02::1', target: ADDRESS }).length, 0, 'another group')
  t.equal(ask({ dst: ADDRESS, target: ADDRESS, ttl: 64 }).length, 0)
  t.equal(ask({ dst: ADDRESS, target: 'ff02::1' }).length, 0)
  t.equal(ask({ dst: ADDRESS, target: ADDRESS, options: bytes(1, 0, 0, 0, 0, 0, 0, 0) }).length, 0)
})
