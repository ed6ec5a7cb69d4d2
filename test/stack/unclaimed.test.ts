/** What concerns the link goes to whoever configures the host; addresses of ours and which of them is taken. */
import t from 'tap'
import { Host } from '../helpers/host.js'
import {
  address,
  concat,
  extensions,
  icmp,
  ip,
  optionsHeader,
  PROTO,
  toHex,
  udp,
} from '../helpers/ip-packet.js'

const DATA = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])
const NS = 135

/** Packets that were offered, as octets; `taken` is what the handler says. */
function listening(taken = true, host = new Host()): { host: Host; offered: string[] } {
  const offered: string[] = []
  host.stack.unclaimed = (b, off, len, now) => {
    t.equal(now, host.now)
    offered.push(toHex(b.subarray(off, off + len)))
    return taken
  }
  return { host, offered }
}

const nd = (type: number, f: { src?: string; dst: string }): Uint8Array =>
  icmp({ src: f.src ?? 'fe80::1', dst: f.dst, type }, DATA, { ttl: 255 })

t.test('neighbour discovery, groups of the link, broadcasts and ports that nobody has', async (t) => {
  const wanted: [string, Uint8Array][] = [
    ['RA to us', nd(134, { dst: 'fd00::1' })],
    ['RA to all nodes', nd(134, { dst: 'ff02::1' })],
    ['RS from ::', nd(133, { src: '::', dst: 'ff02::2' })],
    ['NS', nd(NS, { dst: 'ff02::1:ff00:1' })],
    ['redirect', nd(137, { dst: 'fd00::1' })],
    ['UDP to a group', udp({ src: 'fe80::1', dst: 'ff02::1:2', sport: 546, dport: 547 }, DATA)],
    ['UDP over IPv6', udp({ src: 'fe80::1', dst: 'fd00::1', sport: 547, dport: 546 }, DATA)],
    ['UDP over IPv4', udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 67, dport: 68 }, DATA)],
    ['a broadcast', udp({ src: '10.0.0.2', dst: '255.255.255.255', sport: 67, dport: 68 }, DATA)],
  ]
  for (const [name, packet] of wanted) {
    const { host, offered } = listening()
    t.equal(host.answer(packet).length, 0, `${name}: nothing is answered`)
    t.same(offered, [toHex(packet)], name)
    t.equal(host.stack.counters.unwanted, 0)
  }
})

t.test('what is not taken, or offered to nobody, is dropped or refused as ever', async (t) => {
  const to = { src: '10.0.0.2', dst: '10.0.0.1', sport: 67, dport: 68 }
  for (const { host, offered } of [listening(false), { host: new Host(), offered: [''] }]) {
    const [refusal] = host.answer(udp(to, DATA))
    t.equal(refusal?.payload[0], 3, 'port unreachable')
    t.equal(host.answer(nd(134, { dst: 'ff02::1' })).length, 0)
    t.equal(host.stack.counters.unwanted, 2)
    t.equal(offered.length > 0, true)
  }
})

t.test('what is for somebody is not offered', async (t) => {
  const { host, offered } = listening()
  const socket = host.stack.openUdp({ port: 68 })
  host.input(udp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 67, dport: 68 }, DATA))
  t.ok(socket?.receive())
  host.input(icmp({ src: 'fd00::2', dst: 'fd00::1', type: 128 }, DATA))
  host.input(udp({ src: 'fd00::2', dst: 'fd00::9', sport: 1, dport: 2 }, DATA))
  host.input(nd(NS, { dst: 'fd00::9' }))
  host.input(nd(NS, { dst: 'ff05::1' }))
  host.input(nd(NS, { src: 'fd00::1', dst: 'ff02::1' }))
  host.input(udp({ src: '10.0.0.1', dst: '255.255.255.255', sport: 67, dport: 68 }, DATA))
  host.input(ip({ src: '10.0.0.2', dst: '255.255.255.255', proto: 17, fragment: 0x2000 }, DATA))
  t.same(offered, [], 'for others, from ourselves, in pieces')
  const narrow = listening(true, new Host({ mtu: 1279 }))
  narrow.host.input(nd(134, { dst: 'ff02::1' }))
  t.same(narrow.offered, [], 'no IPv6 on such a link')
})

t.test('neighbour discovery behind extension headers is offered whole', async (t) => {
  const { host, offered } = listening()
  const ext = extensions([optionsHeader(60, new Uint8Array(0))], PROTO.icmp6)
  const bare = nd(134, { dst: 'fd00::1' }).subarray(40)
  const packet = ip({ src: 'fe80::1', dst: 'fd00::1', proto: PROTO.icmp6, ext, ttl: 255 }, bare)
  host.input(packet)
  t.same(offered, [toHex(packet)])
})

t.test('packets of one’s own making go out as they are', async (t) => {
  const host = new Host()
  const packet = nd(133, { src: 'fe80::9', dst: 'ff02::2' })
  t.equal(host.stack.send(packet), true)
  t.equal(host.stack.hasOutput, true)
  t.same(host.outputBytes().map(toHex), [toHex(packet)])
  t.equal(host.stack.send(concat(packet, new Uint8Array(1400))), false, 'too large')
  let sent = 0
  while (host.stack.send(packet)) sent++
  t.equal(sent, host.stack.limits.replyQueue, 'bounded')
  host.stack.close()
  t.equal(host.stack.send(packet), false)
})

t.test('which address is taken: scope, not deprecated, the longest common prefix, the first', async (t) => {
  const host = new Host({}, [
    'fe80::5',
    'fd00::5',
    '2001:db8:1::5',
    '2001:db8:2::5',
    '10.0.0.1',
    '169.254.0.1',
  ])
  const { stack } = host
  const from = (to: string): string => String(stack.sourceFor(address(to)))
  t.equal(from('fe80::1'), 'fe80::5')
  t.equal(from('fd00::1'), 'fd00::5')
  t.equal(from('2001:db8:2::1'), '2001:db8:2::5')
  t.equal(from('2001:db8:9::1'), '2001:db8:1::5')
  t.equal(from('2606:4700::1'), '2001:db8:1::5')
  t.equal(from('192.0.2.1'), '10.0.0.1')
  t.equal(from('169.254.7.7'), '169.254.0.1')
  stack.setDeprecated([address('2001:db8:1::5'), address('fd00::5')])
  t.equal(from('2001:db8:1::1'), '2001:db8:2::5')
  t.equal(from('fd00::1'), '2001:db8:2::5')
  stack.removeAddress(address('2001:db8:2::5'))
  t.equal(from('2001:db8:1::1'), '2001:db8:1::5', 'better than none')
  const only = new Host({}, ['fe80::5'])
  t.equal(only.stack.sourceFor(address('2001:db8::1')), undefined)
})
