import t from 'tap'
import { writeDhcpv6 } from '../../../src/tunnel/address/dhcpv6-message.js'
import {
  advertisement,
  answer6,
  bytes,
  ClientWorld,
  DUID,
  dnsForm,
  IAID,
  iaAddress,
  iaNa,
  ip16,
  isDhcp6,
  isSolicitation,
  OWN_LINK_LOCAL,
  option6,
  prefixOption,
  readMessage6,
  SERVER_DUID,
  status6,
} from '../../helpers/address-server.js'
import { be16, be32, concat, hex, type ReadPacket, toHex } from '../../helpers/ip-packet.js'

const [SOLICIT, ADVERTISE, REQUEST, RENEW, REBIND, REPLY, RELEASE, INFORMATION] = [1, 2, 3, 5, 6, 7, 8, 11]
const MANAGED = 0x80
const OTHER = 0x40
const ADDRESS = '2001:db8::1234'
const HOUR = 3_600_000
const DNS = option6(23, ip16('2001:db8::53'))
const DOMAINS = option6(24, dnsForm('corp.example'))
const LEASE = iaNa(1800, 2880, iaAddress(ADDRESS, 3600, 7200))

const types = (world: ClientWorld): number[] =>
  world.sent.filter((s) => isDhcp6(s.packet)).map((s) => readMessage6(s.packet).type)
const times = (world: ClientWorld, type: number): number[] =>
  world.times((p) => isDhcp6(p) && readMessage6(p).type === type)
const last = (world: ClientWorld): ReadPacket => {
  const found = world.sent.filter((s) => isDhcp6(s.packet)).at(-1)
  if (found === undefined) throw new Error('nothing was sent')
  return found.packet
}

/** A server that answers by type, and a client whose router says M. */
function managed(answers: Readonly<Record<number, readonly Uint8Array[]>>, flags = MANAGED): ClientWorld {
  const world = new ClientWorld()
  world.server = (p) => {
    if (isSolicitation(p)) return advertisement([], { flags })
    if (!isDhcp6(p)) return undefined
    const { type } = readMessage6(p)
    const options = answers[type]
    return options === undefined ? undefined : answer6(p, type === SOLICIT ? ADVERTISE : REPLY, options)
  }
  return world.ipv6()
}

t.test('four messages, to the letter', async (t) => {
  const world = managed({ [SOLICIT]: [LEASE, option6(7, bytes(255))], [REQUEST]: [LEASE, DNS, DOMAINS] })
  t.same(types(world), [SOLICIT, REQUEST], 'preference 255 is taken at once')
  const [solicit, request] = world.sent.filter((s) => isDhcp6(s.packet)).map((s) => s.packet)
  if (solicit === undefined || request === undefined) return t.fail()
  t.match(solicit, { src: OWN_LINK_LOCAL, dst: 'ff02::1:2' })
  t.equal(toHex(solicit.payload.subarray(0, 4)), '02220223')
  const m = readMessage6(solicit)
  t.equal(toHex(m.options.get(1) ?? bytes()), toHex(DUID))
  t.equal(toHex(m.options.get(3) ?? bytes()), toHex(be32(IAID, 0, 0)))
  t.equal(toHex(m.options.get(8) ?? bytes()), '0000')
  t.ok(m.options.has(14), 'rapid commit')
  t.notOk(m.options.has(2))
  t.equal(toHex(m.options.get(6) ?? bytes()), toHex(be16(23, 24, 82)))
  const r = readMessage6(request)
  t.equal(toHex(r.options.get(2) ?? bytes()), toHex(SERVER_DUID))
  t.match(toHex(r.options.get(3) ?? bytes()), toHex(ip16(ADDRESS)), 'the address offered is asked for')
  t.same(world.addresses, [ADDRESS])
  t.same(world.dns, ['2001:db8::53'])
  t.same(world.client.learnt.search, ['corp.example'])
  t.equal(world.client.learnt.routed, true)
})

t.test('rapid commit takes two; without a preference offers are gathered for a second', async (t) => {
  const rapid = new ClientWorld()
  rapid.server = (p) => {
    if (isSolicitation(p)) return advertisement([], { flags: MANAGED })
    return isDhcp6(p) ? answer6(p, REPLY, [LEASE, option6(14)]) : undefined
  }
  rapid.ipv6()
  t.same(types(rapid), [SOLICIT])
  t.same(rapid.addresses, [ADDRESS])

  const rash = new ClientWorld()
  rash.server = (p) => {
    if (isSolicitation(p)) return advertisement([], { flags: MANAGED })
    return isDhcp6(p) ? answer6(p, REPLY, [LEASE]) : undefined
  }
  rash.ipv6()
  t.same(rash.addresses, [], 'a reply without the option is none')

  const world = managed({ [SOLICIT]: [LEASE], [REQUEST]: [LEASE] })
  const better = iaNa(0, 0, iaAddress('2001:db8::5', 600, 600))
  world.input(answer6(last(world), ADVERTISE, [better, option6(7, bytes(9))], hex('000299')))
  t.same(types(world), [SOLICIT])
  world.pass(1100)
  t.same(types(world), [SOLICIT, REQUEST])
  t.equal(toHex(readMessage6(last(world)).options.get(2) ?? bytes()), '000299', 'the preferred one')
})

t.test('renewed at T1, rebound at T2, lost at the end; released at the end of the call', async (t) => {
  const answers: Record<number, readonly Uint8Array[]> = { [SOLICIT]: [LEASE], [REQUEST]: [LEASE, DNS] }
  const world = managed(answers).pass(2000)
  t.same(world.addresses, [ADDRESS])
  const bound = times(world, REQUEST)[0] ?? 0
  world.pass(1_000_000)
  answers[RENEW] = [LEASE, DNS]
  world.pass(1_000_000)
  t.same(times(world, RENEW), [bound + 1_800_000])
  t.ok(readMessage6(last(world)).options.has(2), 'to the same server')
  delete answers[RENEW]
  world.pass(HOUR)
  const renewals = times(world, RENEW).slice(1)
  t.equal(renewals[0], bound + 3_600_000)
  t.ok(renewals.length <= 7, `${renewals.length} tries`)
  t.equal(times(world, REBIND)[0], bound + 1_800_000 + 2_880_000)
  const rebind = world.sent.find((s) => isDhcp6(s.packet) && readMessage6(s.packet).type === REBIND)
  t.equal(rebind && readMessage6(rebind.packet).options.has(2), false, 'to any server')
  t.same(world.addresses, [ADDRESS])
  world.pass(bound + 1_800_000 + 7_200_000 - (world.now - 1000) - 1)
  t.same(world.addresses, [ADDRESS])
  t.same(world.client.learnt.deprecated.map(String), [ADDRESS])
  world.server = () => undefined
  world.pass(1)
  t.same(world.addresses, [])
  t.same(world.dns, [])
  world.pass(100_000)
  t.equal(times(world, SOLICIT).length, 1 + 4, 'tried anew, and given up')

  const other = managed({ [SOLICIT]: [LEASE], [REQUEST]: [LEASE] }).pass(2000)
  other.release()
  t.same(types(other), [SOLICIT, REQUEST, RELEASE])
  const release = readMessage6(last(other))
  t.match(toHex(release.options.get(3) ?? bytes()), toHex(ip16(ADDRESS)))
  t.ok(release.options.has(2))
  t.same(types(new ClientWorld().ipv6().release()), [], 'nothing to give back')
})

t.test(
  'a server that has forgotten us is asked again; one that sets lifetimes to 0 takes the address',
  async (t) => {
    const answers: Record<number, readonly Uint8Array[]> = {
      [SOLICIT]: [LEASE],
      [REQUEST]: [LEASE],
      [RENEW]: [iaNa(0, 0, status6(3))],
    }
    const world = managed(answers).pass(2_000_000)
    t.same(types(world), [SOLICIT, REQUEST, RENEW, REQUEST])
    t.same(world.addresses, [ADDRESS])
    answers[RENEW] = [iaNa(0, 0, iaAddress(ADDRESS, 0, 0), iaAddress('2001:db8::77', 600, 600))]
    world.pass(2_000_000)
    t.ok(!world.addresses.includes(ADDRESS))
    t.ok(world.addresses.length <= 1)
  },
)

t.test('refusals, silence and nonsense end in bounded time', async (t) => {
  const none = managed({ [SOLICIT]: [iaNa(0, 0, status6(2))] }).pass(60_000)
  t.same(types(none), [SOLICIT, SOLICIT, SOLICIT, SOLICIT])
  t.equal(none.client.learnt.ipv6Failed, true)
  const silent = managed({}).pass(60_000)
  const at = times(silent, SOLICIT)
  t.equal(at.length, 4)
  for (const [i, time] of at.slice(1).entries()) {
    const gap = time - (at[i] ?? 0)
    t.ok(gap >= 850 * 2 ** i && gap <= 1340 * 2 ** i, `${gap}`)
  }
  t.ok(Buffer.from(readMessage6(last(silent)).options.get(8) ?? bytes(0, 0)).readUInt16BE() >= 600, 'elapsed')
  const fickle = managed({ [SOLICIT]: [LEASE], [REQUEST]: [iaNa(0, 0, status6(4))] }).pass(1_000_000)
  t.equal(times(fickle, REQUEST).length, 3, 'refused three times, and left at that')
  t.equal(fickle.client.learnt.ipv6Failed, true)
  const hasty = managed({
    [SOLICIT]: [LEASE],
    [REQUEST]: [iaNa(1, 1, iaAddress(ADDRESS, 2, 0xffffffff))],
    [RENEW]: [iaNa(1, 1, iaAddress(ADDRESS, 2, 0xffffffff))],
  }).pass(HOUR)
  t.ok(times(hasty, RENEW).length <= 60, 'renewed once a minute at most')
})

t.test('offers are gathered for a second at least', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = new ClientWorld(seed)
    world.server = (p) => (isSolicitation(p) ? advertisement([], { flags: MANAGED }) : undefined)
    world.ipv6().pass(5000)
    const [first = 0, second = 0] = times(world, SOLICIT)
    t.ok(second - first > 1000 && second - first <= 1100, `${second - first} ms (RFC 8415 18.2.1)`)
  }
})

t.test('answers that are not ours', async (t) => {
  const world = managed({})
  const solicit = last(world)
  const rapid = [LEASE, option6(14)]
  const spoil = (change: (b: Uint8Array) => void): Uint8Array => {
    const p = { ...solicit, payload: solicit.payload.slice() }
    change(p.payload)
    return answer6(p, REPLY, rapid)
  }
  world.input(spoil((b) => b.set([(b[9] ?? 0) ^ 1], 9)))
  t.same(world.addresses, [], 'another transaction')
  world.input(spoil((b) => b.set([0x77], 20)))
  t.same(world.addresses, [], 'another client')
  world.input(answer6(solicit, REPLY, rapid, bytes()))
  t.same(world.addresses, [], 'no server')
  world.input(answer6(solicit, REPLY, [...rapid, be16(23, 100)]))
  t.same(world.addresses, [], 'an option over the end')
  world.input(
    answer6(solicit, REPLY, [option6(14), option6(3, be32(IAID + 1, 0, 0), iaAddress(ADDRESS, 9, 9))]),
  )
  t.same(world.addresses, [], 'another IAID')
  world.input(answer6(solicit, REPLY, [option6(14), iaNa(20, 10, iaAddress(ADDRESS, 90, 90))]))
  t.same(world.addresses, [], 'T1 behind T2')
  world.input(answer6(solicit, REPLY, [option6(14), iaNa(0, 0, iaAddress(ADDRESS, 91, 90))]))
  t.same(world.addresses, [], 'preferred longer than valid')
  for (const bad of ['ff02::1', '::', '::1', 'fe80::7', '::ffff:10.0.0.1']) {
    world.input(answer6(solicit, REPLY, [option6(14), iaNa(0, 0, iaAddress(bad, 90, 90))]))
    t.same(world.addresses, [], bad)
  }
  const many = Array.from({ length: 30 }, (_, i) => iaAddress(`2001:db8::${i + 1}`, 90, 90))
  world.input(answer6(solicit, REPLY, [option6(14), iaNa(0, 0, ...many)]))
  t.ok(world.addresses.length <= 4 && world.addresses.length > 0, 'a few are enough')
  world.input(answer6(solicit, REPLY, [option6(14), iaNa(0, 0, iaAddress('2001:db8::99', 90, 90))]))
  t.notOk(world.addresses.includes('2001:db8::99'), 'late')
})

t.test('O: the rest without an address, and again when it is due', async (t) => {
  const world = new ClientWorld()
  world.server = (p) => {
    if (isSolicitation(p)) {
      return advertisement([prefixOption({ prefix: '2001:db8:5::', valid: 0xffffffff })], {
        flags: OTHER,
        lifetime: 0xffff,
      })
    }
    return isDhcp6(p) ? answer6(p, REPLY, [DNS, DOMAINS, option6(32, be32(1200))]) : undefined
  }
  world.ipv6()
  t.same(types(world), [INFORMATION])
  const m = readMessage6(last(world))
  t.notOk(m.options.has(3))
  t.equal(toHex(m.options.get(6) ?? bytes()), toHex(be16(23, 24, 32, 83)))
  t.same(world.dns, ['2001:db8::53'])
  t.same(world.addresses, ['2001:db8:5:0:11:2233:4455:6677'])
  world.pass(1_199_999)
  t.equal(types(world).length, 1)
  world.pass(1)
  t.equal(types(world).length, 2)
})

t.test('no router at all: DHCPv6 is tried after 12 s, and the end of hope is told', async (t) => {
  const world = new ClientWorld()
  world.server = (p) => {
    if (!isDhcp6(p)) return undefined
    return answer6(p, readMessage6(p).type === SOLICIT ? ADVERTISE : REPLY, [LEASE, DNS])
  }
  world.ipv6().pass(11_999)
  t.same(types(world), [])
  world.pass(2_000)
  t.same(world.addresses, [ADDRESS])
  t.match(world.client.learnt, { routed: true, ipv6Failed: false }, 'the one neighbour is the way out')

  const nobody = new ClientWorld().ipv6().pass(23_999)
  t.equal(nobody.client.learnt.ipv6Failed, false)
  nobody.pass(1)
  t.equal(nobody.client.learnt.ipv6Failed, true)
  nobody.input(advertisement([prefixOption({ prefix: '2001:db8:5::' })]))
  t.match(nobody.client.learnt, { routed: true, ipv6Failed: false }, 'late is better than never')
  t.equal(nobody.addresses.length, 1)
  const quick = new ClientWorld(1, { patience: 100 }).ipv6().pass(200)
  t.equal(quick.client.learnt.ipv6Failed, true)
})

t.test('messages have no more than they should', async (t) => {
  const release = writeDhcpv6({
    type: RELEASE,
    transaction: 0x1abcdef,
    clientId: DUID,
    serverId: SERVER_DUID,
    elapsed: 1e9,
    ia: { iaid: 1, addresses: [] },
    wanted: [],
  })
  const expected = concat(
    hex('08abcdef'),
    option6(1, DUID),
    option6(2, SERVER_DUID),
    option6(8, be16(0xffff)),
    option6(3, be32(1, 0, 0)),
  )
  t.equal(toHex(release), toHex(expected))
})
