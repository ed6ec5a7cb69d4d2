import t from 'tap'
import { IpAddress, type PingSocket, type UdpSocket } from '../../stack/index.js'
import { PathMtuCache } from '../../stack/ip/path-mtu.js'
import { fragmentOf, joinAll, readFragment } from '../helpers/fragments.js'
import { Host } from '../helpers/host.js'
import { address, icmp, ip, readIp, toHex } from '../helpers/ip-packet.js'
import { SeededRandom } from '../helpers/random.js'

const A4 = address('192.0.2.1')
const A6 = address('2001:db8::1')
const LIFE = 600_000

const cache = (link = 1400): PathMtuCache => new PathMtuCache(() => link, LIFE, new SeededRandom(3).fill)

t.test('lower values are taken, higher ones are not', async (t) => {
  for (const a of [A4, A6]) {
    const c = cache()
    t.equal(c.get(a, 0), undefined)
    t.equal(c.lower(a, 1400, 0), false, "the link's own is no news")
    t.equal(c.lower(a, 9000, 0), false)
    t.equal(c.lower(a, 1390, 0), true)
    t.equal(c.get(a, 0), 1390)
    t.equal(c.lower(a, 1390, 0), false)
    t.equal(c.lower(a, 1395, 0), false)
    t.equal(c.get(a, 0), 1390)
    t.equal(c.lower(a, 1300, 0), true)
    t.equal(c.get(a, 0), 1300)
    t.equal(c.get(address('192.0.2.2'), 0), undefined, 'of others nothing is known')
    t.equal(c.get(address('2001:db8::2'), 0), undefined)
  }
})

t.test('floors', async (t) => {
  const c = cache()
  for (const mtu of [1, 67, 68, 296, 551]) t.equal(c.lower(A4, mtu, 0), false, `${mtu}`)
  t.equal(c.lower(A4, 552, 0), true)
  for (const mtu of [0, 68, 576, 1279]) t.equal(c.lower(A6, mtu, 0), false, `IPv6 ${mtu}`)
  t.equal(c.lower(A6, 1280, 0), true)
})

t.test('routers that do not say: RFC 1191 7', async (t) => {
  const c = cache(65_535)
  const seen: (number | undefined)[] = []
  while (c.lower(A4, 0, 0)) seen.push(c.get(A4, 0))
  t.same(seen, [32000, 17914, 8166, 4352, 2002, 1492, 1006, 552])

  const d = cache()
  t.equal(d.lower(A4, 0, 0, 1400), true)
  t.equal(d.get(A4, 0), 1006)
  for (let i = 0; i < 10; i++) t.equal(d.lower(A4, 0, 0, 1400), false, 'sent before it was known')
  t.equal(d.lower(A4, 0, 0, 1000), true)
  t.equal(d.get(A4, 0), 552)
  t.equal(d.lower(A4, 0, 0, 552), false)

  const e = cache()
  e.lower(A4, 1300, 0)
  t.equal(e.lower(A4, 0, 0, 1400), false, 'nor below a value that a router named')
  t.equal(e.lower(A4, 0, 0, 1300), true)
})

t.test('a packet that fits was not too large (RFC 5927 7.2)', async (t) => {
  const c = cache()
  t.equal(c.lower(A4, 1000, 0, 1000), false)
  t.equal(c.lower(A4, 1000, 0, 60), false)
  t.equal(c.lower(A4, 1000, 0, 1001), true)
})

t.test('what is known is forgotten after its time', async (t) => {
  const c = cache()
  c.lower(A4, 1300, 1000)
  c.lower(A4, 1200, 2000)
  t.equal(c.get(A4, 2000 + LIFE - 1), 1200)
  t.equal(c.get(A4, 2000 + LIFE), undefined)
  t.equal(c.size, 0)
  c.lower(A4, 1300, 1e6)
  t.equal(c.get(A4, 1e6), 1300, 'a larger one than before')
  c.clear()
  t.equal(c.get(A4, 1e6), undefined)
})

t.test('1024 destinations, the oldest goes first', async (t) => {
  const c = cache()
  const a = (i: number): IpAddress => IpAddress.v4(0xc0000000 + i * 7)
  for (let i = 0; i < 1100; i++) {
    c.lower(a(i), 1300, i)
    // Whoever is lowered again is young again.
    if (i === 600) c.lower(a(0), 1200, i)
  }
  t.equal(c.size, 1024)
  t.equal(c.get(a(0), 1100), 1200)
  t.equal(c.get(a(1), 1100), undefined)
  t.equal(c.get(a(1099), 1100), 1300)
})

t.test('the destination of a packet', async (t) => {
  const c = cache()
  c.lower(A4, 1300, 0)
  c.lower(A6, 1280, 0)
  const four = ip({ src: '10.0.0.1', dst: '192.0.2.1', proto: 17 }, new Uint8Array(8))
  const six = ip({ src: 'fd00::1', dst: '2001:db8::1', proto: 17 }, new Uint8Array(8))
  t.equal(c.ofPacket(four, 0, 0), 1300)
  t.equal(c.ofPacket(Buffer.concat([Buffer.from([1, 2, 3]), six]), 3, 0), 1280)
  t.equal(
    c.ofPacket(ip({ src: '10.0.0.1', dst: '192.0.2.2', proto: 17 }, new Uint8Array(8)), 0, 0),
    undefined,
  )
})

const families = [
  { family: 4, us: '10.0.0.1', them: '192.0.2.9', router: '192.0.2.254', header: 20, code: 4, type: 3 },
  { family: 6, us: 'fd00::1', them: '2001:db8::9', router: '2001:db8::fe', header: 40, code: 0, type: 2 },
] as const

for (const f of families) {
  const tooBig = (host: Host, quoted: Uint8Array, mtu: number): void =>
    host.input(icmp({ src: f.router, dst: f.us, type: f.type, code: f.code, rest: mtu }, quoted))
  const to = { address: address(f.them), port: 9 }

  t.test(`IPv${f.family}: datagrams after a "packet too big" fit`, async (t) => {
    const host = new Host()
    const s = host.stack.openUdp() as UdpSocket
    const ping = host.stack.openPing() as PingSocket
    const data = new SeededRandom(4).bytes(1300)
    s.send(data, to)
    const [sent] = host.outputBytes() as [Uint8Array]
    t.equal(readFragment(sent), undefined)
    tooBig(host, sent.subarray(0, f.header + 8), 1300)
    t.equal(s.takeError()?.error, 'too-large')
    s.send(data, to)
    ping.send(to.address, 1, data)
    const after = host.outputBytes()
    t.equal(after.length, 4)
    t.ok(after.every((p) => p.length <= 1300))
    const [datagram] = joinAll(after).map(readIp)
    t.equal(toHex(datagram?.payload.subarray(8) ?? new Uint8Array(0)), toHex(data))
    s.send(data, { address: address(f.family === 4 ? '192.0.2.8' : '2001:db8::8'), port: 9 })
    t.equal(host.outputBytes().length, 1, 'to others as before')
    t.equal(host.stack.counters.fragmented, 2)

    // A fragment of ours may be too large again.
    tooBig(host, (after[0] as Uint8Array).subarray(0, f.header + 16), 1281)
    s.send(data, to)
    t.ok(host.outputBytes().every((p) => p.length <= 1281))
    host.now += LIFE
    s.send(data, to)
    t.equal(host.outputBytes().length, 1, 'after ten minutes a larger one is tried again')
  })

  t.test(`IPv${f.family}: forged ones do little`, async (t) => {
    const host = new Host()
    const s = host.stack.openUdp() as UdpSocket
    const data = new Uint8Array(1300)
    s.send(data, to)
    const [sent] = host.outputBytes() as [Uint8Array]
    const whole = (): boolean => {
      s.send(data, to)
      return host.outputBytes().length === 1
    }
    const port = sent.slice()
    port.set([0, 7], f.header)
    tooBig(host, port, 1300)
    t.ok(whole(), 'no socket of ours')
    const small = sent.slice()
    small.set([0, 100], f.family === 4 ? 2 : 4)
    tooBig(host, small, 1300)
    t.ok(whole(), 'a packet that fitted')
    tooBig(host, sent, f.family === 4 ? 500 : 1200)
    t.ok(whole(), 'below what every path takes')
    const cut = new Host()
    const other = cut.stack.openUdp({ port: s.port }) as UdpSocket
    other.send(data, to)
    const mangled = (cut.outputBytes() as [Uint8Array])[0]
    mangled.set([0, 5], f.family === 4 ? 2 : 4)
    tooBig(cut, mangled, 1300)
    other.send(data, to)
    t.equal(cut.outputBytes().length, 2, 'a quote whose length is no length is believed')
    const later = fragmentOf(sent, { at: 8, length: 600 })
    tooBig(host, later, 1300)
    t.ok(whole(), 'a fragment that does not say whose it is')
    tooBig(host, sent, 1400)
    t.ok(whole(), 'no smaller than the link')
    tooBig(host, sent, 1299)
    t.notOk(whole(), 'a good one')
    host.stack.close()
  })
}

t.test('IPv4: a router that does not say', async (t) => {
  const host = new Host()
  const s = host.stack.openUdp() as UdpSocket
  const to = { address: A4, port: 9 }
  for (let i = 0; i < 5; i++) s.send(new Uint8Array(1300), to)
  for (const p of host.outputBytes()) {
    host.input(icmp({ src: '192.0.2.254', dst: '10.0.0.1', type: 3, code: 4 }, p.subarray(0, 28)))
  }
  s.send(new Uint8Array(1300), to)
  t.same(
    host.outputBytes().map((p) => p.length),
    [1004, 344],
  )
})
