/** Whatever comes, the client goes on, holds a bounded amount, and rests. Each seed is a whole run. */
import t from 'tap'
import {
  ACK,
  advertisement,
  answer4,
  answer6,
  ClientWorld,
  dnsForm,
  dnsslOption,
  END,
  iaAddress,
  iaNa,
  isDhcp4,
  isDhcp6,
  mtuOption,
  neighbourSolicitation,
  OWN_LINK_LOCAL,
  option4,
  option6,
  prefixOption,
  rdnssOption,
  routeOption,
} from '../../helpers/address-server.js'
import { fixChecksums, hex, type ReadPacket } from '../../helpers/ip-packet.js'
import { SeededRandom } from '../../helpers/random.js'

function someAnswer(random: SeededRandom, asked: readonly ReadPacket[]): Uint8Array {
  const six = asked.filter(isDhcp6)
  const four = asked.filter(isDhcp4)
  const seconds = (): number => (random.chance(0.2) ? 0xffffffff : random.below(5000))
  const to6 = six[random.below(six.length + 1)]
  const to4 = four[random.below(four.length + 1)]
  switch (random.below(4)) {
    case 0:
      if (to6 === undefined) break
      return answer6(to6, 2 + 5 * random.below(2), [
        iaNa(random.below(50), 50, iaAddress(`2001:db8::${random.below(9)}`, 20, seconds())),
        option6(14),
        option6(23, random.bytes(16 * random.below(4))),
        option6(24, dnsForm('a.example', 'b.example')),
        option6(32, random.bytes(4)),
      ])
    case 1:
      if (to4 === undefined) break
      return answer4(to4, [ACK, option4(6, random.bytes(8)), option4(119, hex('0161c000')), END])
    case 2:
      return neighbourSolicitation({ dst: OWN_LINK_LOCAL, target: OWN_LINK_LOCAL })
  }
  const valid = seconds()
  return advertisement(
    [
      prefixOption({ prefix: `2001:db8:${random.below(20)}::`, valid, preferred: random.below(valid + 1) }),
      mtuOption(random.below(3000)),
      rdnssOption(seconds(), '2001:db8::53', '2001:db8::54'),
      dnsslOption(seconds(), 'corp.example'),
      routeOption('2001:db8::', random.below(129), seconds()),
    ],
    { flags: random.below(256), lifetime: random.below(3) * 600 },
  )
}

t.test('mutated answers', async (t) => {
  let addressed = 0
  for (let seed = 1; seed <= 30; seed++) {
    const random = new SeededRandom(seed)
    const world = new ClientWorld(seed).ipv4().ipv6()
    for (let i = 0; i < 120; i++) {
      const packet = someAnswer(
        random,
        world.sent.slice(-6).map((s) => s.packet),
      )
      for (let k = random.below(3); k > 0; k--) packet[random.below(packet.length)] = random.below(256)
      if (random.chance(0.8)) fixChecksums(packet)
      // The stack in front proves the header: version, lengths, IPv4 checksum.
      const four = (packet[0] ?? 0) >>> 4 === 4
      const length = four ? Buffer.from(packet).readUInt16BE(2) : 40 + Buffer.from(packet).readUInt16BE(4)
      if (((packet[0] ?? 0) >>> 4 === 6 || four) && length <= packet.length) world.input(packet)
      world.pass(random.below(20_000))
      const { learnt } = world.client
      if (learnt.addresses.length > 0) addressed++
      if (learnt.addresses.length > 12 || learnt.dns.length > 8 || learnt.search.length > 32)
        t.fail(`seed ${seed}: too much is kept`)
      if (!learnt.addresses.every((a) => a.isUnicast && !a.isLoopback && !a.isLinkLocal))
        t.fail(`seed ${seed}: ${learnt.addresses.join(' ')}`)
      if (!learnt.search.every((name) => /^[a-z0-9_.-]+$/.test(name))) t.fail(`seed ${seed}: names`)
    }
    if (world.sent.length > 4000) t.fail(`seed ${seed}: ${world.sent.length} packets`)
    world.client.stopIpv6()
    world.client.stopIpv4()
    if (world.client.nextTimeout() !== Number.POSITIVE_INFINITY) t.fail(`seed ${seed}: it does not rest`)
  }
  t.ok(addressed > 250, `${addressed} steps with an address: the fuzzer reaches what it is for`)
})
