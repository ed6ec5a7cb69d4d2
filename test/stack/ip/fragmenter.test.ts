/** Datagrams on their way out: RFC 791 3.2, RFC 8200 4.5, RFC 6864, RFC 7739. */
import t from 'tap'
import { newCounters, type PingSocket, takeReady, type UdpSocket } from '../../../stack/index.js'
import { Fragmenter } from '../../../stack/ip/fragmenter.js'
import { Identifications } from '../../../stack/ip/identification.js'
import { PathMtuCache } from '../../../stack/ip/path-mtu.js'
import { joinAll, readFragment } from '../../helpers/fragments.js'
import { Host } from '../../helpers/host.js'
import { address, icmp, ip, poisoned, readIp, tcp, toHex } from '../../helpers/ip-packet.js'
import { ADDRESS_B, ADDRESS_B6, Pair } from '../../helpers/pair.js'
import { SeededRandom } from '../../helpers/random.js'

function fragmenter(mtu: number): { readonly f: Fragmenter; link: number; readonly path: PathMtuCache } {
  const random = new SeededRandom(11).fill
  const way = { link: mtu }
  const path = new PathMtuCache(() => way.link, 600_000, random)
  const f = new Fragmenter({
    counters: newCounters(),
    pathMtu: path,
    ids: new Identifications(random),
    mtu: () => way.link,
  })
  return Object.assign(way, { f, path })
}

function drain(f: Fragmenter, packet: Uint8Array, now = 0): Uint8Array[] {
  const out: Uint8Array[] = []
  do {
    const b = poisoned(70_000)
    const n = f.emit(packet, b, 3, now)
    if (b[2] !== 0xa5 || b[3 + n] !== 0xa5) throw new Error('written beside the packet')
    out.push(b.slice(3, 3 + n))
  } while (f.busy)
  return out
}

for (const family of [4, 6] as const) {
  const packetOf = (payload: Uint8Array): Uint8Array =>
    family === 4
      ? ip({ src: '10.0.0.1', dst: '10.0.0.2', proto: 17, id: 0xbeef, fragment: 0 }, payload)
      : ip({ src: 'fd00::1', dst: 'fd00::2', proto: 17 }, payload)
  const header = family === 4 ? 20 : 40
  const most = family === 4 ? 65_515 : 65_535

  t.test(`IPv${family}: every length is cut so that it comes together again`, async (t) => {
    const r = new SeededRandom(family)
    const lengths = [1, 8, 532, 533, 1280, 1360, 1361, 1376, 1380, 1381, 2752, 2753, 2760, most - 1, most]
    while (lengths.length < 120) lengths.push(r.below(6000))
    for (const n of lengths) {
      const mtu = family === 4 ? 576 + r.below(1000) : 1280 + r.below(300)
      const { f } = fragmenter(mtu)
      const packet = packetOf(r.bytes(n))
      const parts = drain(f, packet)
      if (packet.length <= mtu) {
        t.same(parts.map(toHex), [toHex(packet)])
        continue
      }
      const front = family === 4 ? header : header + 8
      const each = (mtu - front) & ~7
      // All but the last are as long as they can be.
      for (const p of parts.slice(0, -1)) if (p.length !== front + each) t.fail(`${p.length} of ${mtu}`)
      if ((parts[parts.length - 1]?.length ?? 0) > mtu) t.fail('the last is too long')
      if (parts.length !== 1 + Math.ceil((n - (mtu - front)) / each)) t.fail(`${parts.length} for ${n}`)
      const read = parts.map((p) => readFragment(p))
      t.equal(new Set(read.map((p) => p?.id)).size, 1, 'one identification')
      const [joined] = joinAll(parts)
      if (family === 4 && read[0]?.id !== 0xbeef) t.fail('its own identification')
      if (joined === undefined || toHex(joined) !== toHex(packet)) t.fail(`${n} octets`)
    }
  })

  t.test(`IPv${family}: the path's MTU, and a link that becomes smaller on the way`, async (t) => {
    const bench = fragmenter(1500)
    const packet = packetOf(new SeededRandom(1).bytes(5000))
    bench.path.lower(address(family === 4 ? '10.0.0.2' : 'fd00::2'), 1300, 0)
    t.ok(drain(bench.f, packet).every((p) => p.length <= 1300))
    t.ok(
      drain(bench.f, packet, 600_000).some((p) => p.length > 1300),
      'until that is forgotten',
    )
    const out: Uint8Array[] = []
    for (let i = 0; i === 0 || bench.f.busy; i++) {
      if (i === 2) bench.link = 1280
      const b = poisoned(2000)
      out.push(b.slice(0, bench.f.emit(packet, b, 0, 600_000)))
    }
    t.ok(out[0] && out[0].length > 1400)
    t.ok(out.slice(2).every((p) => p.length <= 1280))
    t.equal(toHex(joinAll(out)[0] ?? poisoned(1)), toHex(packet))
    bench.link = 10
    let steps = 0
    do bench.f.emit(packet, poisoned(9000), 0, 0)
    while (bench.f.busy && ++steps < 10_000)
    t.equal(steps, Math.ceil(5000 / 8) - 1, 'even an MTU of nothing comes to an end')
  })
}

t.test('IPv4: what has DF set is not cut', async (t) => {
  const bench = fragmenter(1500)
  bench.path.lower(address('10.0.0.2'), 600, 0)
  const packet = ip({ src: '10.0.0.1', dst: '10.0.0.2', proto: 17, fragment: 0x4000 }, new Uint8Array(1000))
  t.same(drain(bench.f, packet).map(toHex), [toHex(packet)])
})

t.test('UDP over IPv4 may be cut by routers, TCP may not', async (t) => {
  const h = new Host()
  const s = h.stack.openUdp() as UdpSocket
  const ping = h.stack.openPing() as PingSocket
  const field = (p: Uint8Array): number => Buffer.from(p).readUInt16BE(6)
  s.send(new Uint8Array(5), { address: address('10.0.0.2'), port: 9 })
  ping.send(address('10.0.0.2'), 1, new Uint8Array(5))
  h.input(icmp({ src: '10.0.0.2', dst: '10.0.0.1', type: 8 }, new Uint8Array(5)))
  t.same(h.outputBytes().map(field), [0, 0, 0], 'datagram, request, answer')
  h.input(tcp({ src: '10.0.0.2', dst: '10.0.0.1', sport: 5, dport: 6 }, { flags: 2 }))
  h.stack.connect({ address: address('10.0.0.2'), port: 80 }, h.now)
  t.same(h.outputBytes().map(field), [0x4000, 0x4000])
})

t.test('identifications', async (t) => {
  const ids = new Identifications(new SeededRandom(5).fill)
  const [a, b, c] = [address('10.0.0.1'), address('10.0.0.2'), address('10.0.0.3')]
  const seen = new Set<number>()
  for (let i = 0; i < 65_536; i++) seen.add(ids.next4(a, b, 17))
  t.equal(seen.size, 65_536, 'none comes twice before all have come')
  const start = ids.next4(a, b, 17)
  ids.next4(a, c, 17)
  ids.next4(a, b, 1)
  t.equal(ids.next4(a, b, 17), (start + 1) & 0xffff, 'others have a row of their own')
  const starts = new Set<number>()
  for (let i = 0; i < 200; i++) {
    const one = new Identifications(new SeededRandom(1000 + i).fill)
    starts.add(one.next4(a, b, 17))
  }
  t.ok(starts.size > 190, 'nobody knows where it begins')
  const here = Array.from({ length: 200 }, (_, i) => ids.next4(a, address(`10.0.1.${i}`), 17))
  t.ok(new Set(here).size > 190, 'nor from another destination')
  const six = new Set(Array.from({ length: 1000 }, () => ids.next6()))
  t.equal(six.size, 1000)
  t.ok([...six].some((n) => n < 0) && [...six].some((n) => n > 0x40000000), 'all 32 bits')
})

t.test('two stacks: datagrams and pings of every size, and back', async (t) => {
  const pair = new Pair({ delay: 5 })
  const server = pair.b.openUdp({ port: 7 }) as UdpSocket
  const client = pair.a.openUdp() as UdpSocket
  const ping = pair.a.openPing() as PingSocket
  const got: string[] = []
  pair.onReady = (x) => {
    takeReady(x)
    if (x === server) for (let d = server.receive(); d; d = server.receive()) server.send(d.data, d.from)
    if (x === client) for (let d = client.receive(); d; d = client.receive()) got.push(toHex(d.data))
    if (x === ping) for (let d = ping.receive(); d; d = ping.receive()) got.push(toHex(d.data))
  }
  const r = new SeededRandom(6)
  for (const to of [ADDRESS_B, ADDRESS_B6]) {
    for (const n of [0, 1000, 1472, 1473, 4000, 20_000, to === ADDRESS_B ? 65_507 : 65_527]) {
      const data = r.bytes(n)
      t.equal(client.send(data, { address: to, port: 7 }), undefined)
      t.equal(ping.send(to, 1, data), undefined)
      t.ok(
        pair.run(() => got.length === 2, 1000),
        `${n} octets`,
      )
      t.same(got, [toHex(data), toHex(data)])
      got.length = 0
    }
  }
  t.match(pair.a.counters, { reassemblyFailed: 0 })
  t.ok(pair.a.counters.fragmented >= 8 && pair.b.counters.reassembled >= 8)
  t.equal(pair.a.held.bytes + pair.b.held.bytes, 0)
})

t.test('a large datagram leaves room for others between its fragments', async (t) => {
  const h = new Host()
  const big = h.stack.openUdp({ port: 1 }) as UdpSocket
  const small = h.stack.openUdp({ port: 2 }) as UdpSocket
  const to = { address: address('10.0.0.2'), port: 9 }
  big.send(new Uint8Array(60_000), to)
  const b = poisoned(2000)
  for (let i = 0; i < 5; i++) h.stack.output(b, 0, h.now)
  t.ok(h.stack.held.bytes > 60_000, 'it is kept until it has gone')
  small.send(new Uint8Array(10), to)
  const order: number[] = []
  for (let n = h.stack.output(b, 0, h.now); n > 0; n = h.stack.output(b, 0, h.now)) order.push(n)
  const at = order.indexOf(38)
  t.ok(at >= 0 && at < 3, `the small one was number ${at}`)
  t.equal(order.length, Math.ceil(60_008 / 1376) - 5 + 1)
  t.match(h.stack.counters, { fragmented: 1, datagramsOut: 2 })
  t.equal(h.stack.held.bytes, 0)

  // Closed in the middle: the rest is gone, and the next socket begins anew.
  big.send(new Uint8Array(60_000), to)
  h.stack.output(b, 0, h.now)
  big.close()
  t.equal(h.outputBytes().length, 0)
  const next = h.stack.openUdp({ port: 1 }) as UdpSocket
  next.send(new Uint8Array(3000), to)
  const [whole] = joinAll(h.outputBytes()).map(readIp)
  t.equal(whole?.payload.length, 3008)
})

t.test('large answers wait in a bounded queue, and give way', async (t) => {
  const h = new Host()
  const request = icmp({ src: '10.0.0.2', dst: '10.0.0.1', type: 8 }, new Uint8Array(1300))
  const s = h.stack.openUdp({ port: 2 }) as UdpSocket
  for (let i = 0; i < 1000; i++) h.input(request)
  t.ok(h.stack.held.bytes <= h.stack.limits.datagramQueue)
  s.send(new Uint8Array(10), { address: address('10.0.0.2'), port: 9 })
  const order = h.outputBytes().map((p) => p.length)
  const at = order.indexOf(38)
  t.ok(at >= 0 && at < 4, `the datagram was number ${at}`)
})
