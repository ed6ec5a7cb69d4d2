import t from 'tap'
import { IpAddress, NetStack, type UdpSocket } from '../../stack/index.js'
import { Host } from '../helpers/host.js'
import {
  address,
  concat,
  type Extension,
  extensions,
  hex,
  icmp,
  optionsHeader,
  type ReadPacket,
  tcp,
  toHex,
  udp,
} from '../helpers/ip-packet.js'

const DATA = hex('0102030405')
const ENDS = { src: '10.0.0.2', dst: '10.0.0.1', sport: 1234, dport: 9 }
const ENDS6 = { src: 'fd00::2', dst: 'fd00::1', sport: 1234, dport: 9 }

/** A host with somebody at UDP port 9 and TCP port 9: whatever gets in is noticed. */
function host(options: ConstructorParameters<typeof Host>[0] = {}): Host & { readonly got: () => number } {
  const h = new Host(options)
  const s = h.stack.openUdp({ port: 9 }) as UdpSocket
  h.stack.listen({ port: 9 })
  const got = (): number => {
    let n = 0
    while (s.receive() !== undefined) n++
    return n
  }
  return Object.assign(h, { got })
}

/** True if a packet did nothing at all. */
function ignored(h: ReturnType<typeof host>, packet: Uint8Array): boolean {
  return h.answer(packet).length === 0 && h.got() === 0 && h.stack.held.connections === 0
}

t.test('martians', async (t) => {
  for (const anyAddress of [false, true]) {
    const h = host({ anyAddress })
    let n = 0
    const from = (src: string): void => {
      const dst = src.includes(':') ? 'fd00::1' : '10.0.0.1'
      const e = { src, dst, sport: 1234, dport: 9 }
      t.ok(ignored(h, udp(e, DATA)), `UDP from ${src}`)
      t.ok(ignored(h, tcp(e, { flags: 2 })), `SYN from ${src}`)
      t.ok(ignored(h, icmp({ src, dst, type: src.includes(':') ? 128 : 8 }, DATA)), `echo from ${src}`)
      n += 3
    }
    for (const src of [
      '0.0.0.0',
      '0.1.2.3',
      '127.0.0.1',
      '127.9.9.9',
      '224.0.0.1',
      '239.255.255.255',
      '240.0.0.1',
      '254.255.255.254',
      '255.255.255.255',
    ])
      from(src)
    for (const src of ['::', '::1', 'ff02::1', 'ff0e::1', '::ffff:10.0.0.2']) from(src)
    const to = (dst: string): void => {
      const src = dst.includes(':') ? 'fd00::2' : '10.0.0.2'
      const e = { src, dst, sport: 1234, dport: 9 }
      t.ok(ignored(h, udp(e, DATA)), `UDP to ${dst}`)
      t.ok(ignored(h, tcp(e, { flags: 2 })), `SYN to ${dst}`)
      t.ok(ignored(h, icmp({ src, dst, type: src.includes(':') ? 128 : 8 }, DATA)), `echo to ${dst}`)
      n += 3
    }
    for (const dst of ['0.0.0.0', '0.1.2.3', '127.0.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255'])
      to(dst)
    // A mapped destination would reach this host's IPv4 by the back door.
    for (const dst of ['::', '::1', 'ff02::1', '::ffff:10.0.0.1', '::ffff:127.0.0.1']) to(dst)
    if (!anyAddress) for (const dst of ['10.0.0.3', '192.0.2.1', 'fd00::3', '2001:db8::1']) to(dst)
    t.equal(h.stack.counters.unwanted, n)
    t.equal(h.stack.counters.malformed, 0)
    t.equal(h.answer(udp(ENDS, DATA)).length + h.got(), 1, 'and what is good comes in')
  }
})

t.test('packets from ourselves (land)', async (t) => {
  for (const anyAddress of [false, true]) {
    const h = host({ anyAddress })
    for (const a of ['10.0.0.1', 'fd00::1']) {
      const e = { src: a, dst: a, sport: 9, dport: 9 }
      t.ok(ignored(h, tcp(e, { flags: 2 })))
      t.ok(ignored(h, tcp(e, { flags: 0x12 })))
      t.ok(ignored(h, udp(e, DATA)))
      t.ok(ignored(h, icmp({ src: a, dst: a, type: a.includes(':') ? 128 : 8 }, DATA)))
    }
  }
})

t.test('source routes', async (t) => {
  const h = host()
  for (const options of ['83070401020304' + '00', '89070401020304' + '00', '01830704010203' + '0400']) {
    t.ok(ignored(h, udp(ENDS, DATA, { options: hex(options) })))
    t.ok(ignored(h, tcp(ENDS, { flags: 2 }, DATA, { options: hex(options) })))
  }
  t.equal(h.stack.counters.unwanted, 6)
  h.input(udp(ENDS, DATA, { options: hex('94040000') }))
  t.equal(h.got(), 1, 'other options are ignored')
})

t.test('what is no packet', async (t) => {
  const h = host()
  const good = udp(ENDS, DATA)
  const good6 = udp(ENDS6, DATA)
  let n = 0
  const malformed = (p: Uint8Array): void => {
    t.ok(ignored(h, p))
    t.equal(h.stack.counters.malformed, ++n)
  }
  for (const g of [good, good6]) for (let cut = 1; cut < g.length; cut++) malformed(g.subarray(0, cut))
  for (let version = 0; version < 16; version++) {
    if (version === 4 || version === 6) continue
    const p = good.slice()
    p[0] = (version << 4) | 5
    malformed(p)
  }
  const broken = good.slice()
  broken[10] = (broken[10] as number) ^ 1
  malformed(broken)
  t.ok(ignored(h, new Uint8Array(0)))
  t.equal(h.stack.counters.malformed, n)
  h.input(concat(good, hex('ffff')))
  h.input(concat(good6, hex('ffff')))
  t.equal(h.got(), 2, 'octets behind a packet are not its own')
})

t.test('IPv6 needs an MTU of 1280: RFC 8200 5', async (t) => {
  const h = host({ mtu: 1279 })
  t.ok(ignored(h, udp(ENDS6, DATA)))
  t.ok(ignored(h, tcp(ENDS6, { flags: 2 })))
  t.equal(h.stack.sourceFor(address('fd00::2')), undefined)
  t.equal(h.stack.connect({ address: address('fd00::2'), port: 80 }, 0), 'network-unreachable')
  t.equal(h.stack.openUdp()?.send(DATA, { address: address('fd00::2'), port: 80 }), 'network-unreachable')
  t.equal(h.stack.openPing()?.send(address('fd00::2'), 1, DATA), 'network-unreachable')
  h.input(udp(ENDS, DATA))
  t.equal(h.got(), 1, 'IPv4 goes on')
  h.stack.setMtu(1280)
  h.input(udp(ENDS6, DATA))
  t.equal(h.got(), 1, 'a larger MTU brings it up')
  t.equal(h.stack.sourceFor(address('fd00::2'))?.toString(), 'fd00::1')
})

/** Type, code and pointer of a parameter problem. */
const problem = (p: ReadPacket | undefined): number[] => {
  const b = Buffer.from(p?.payload ?? new Uint8Array(8))
  return [b[0] as number, b[1] as number, b.readUInt32BE(4)]
}
const pad = (kind: number): Extension => optionsHeader(kind, hex('010400000000'))

t.test('IPv6 extension headers', async (t) => {
  const h = host()
  h.input(
    udp(ENDS6, DATA, {
      ext: extensions([pad(0), pad(60), { kind: 43, bytes: hex('00000000000000') }, pad(60)], 17),
    }),
  )
  t.equal(h.got(), 1, 'are walked over')
  t.equal(
    h.answer(tcp({ ...ENDS6, dport: 10 }, { flags: 2 }, DATA, { ext: extensions([pad(60)], 6) })).length,
    1,
    'TCP too',
  )
  t.equal(
    h.answer(icmp({ src: 'fd00::2', dst: 'fd00::1', type: 128 }, DATA, { ext: extensions([pad(60)], 58) }))
      .length,
    1,
    'and ICMP',
  )

  const told = (ext: readonly Extension[], upper = 17): ReadPacket | undefined => {
    h.now += 1000
    const packet = udp(ENDS6, DATA, { ext: extensions(ext, upper) })
    const all = h.answer(packet)
    t.ok(all.length <= 1)
    t.equal(h.got(), 0)
    if (all[0] !== undefined) {
      t.match(all[0], { src: 'fd00::1', dst: 'fd00::2', proto: 58 })
      t.equal(toHex(all[0].payload.subarray(8)), toHex(packet), 'quotes it')
    }
    return all[0]
  }
  t.same(problem(told([optionsHeader(60, hex('9e021111'))])), [4, 2, 42], 'unknown option')
  t.same(problem(told([optionsHeader(0, hex('0000de021111'))])), [4, 2, 44])
  t.same(
    problem(told([{ kind: 43, bytes: hex('00000100000000') }])),
    [4, 0, 42],
    'routing type 0 with segments left',
  )
  t.same(problem(told([pad(60), pad(0)])), [4, 1, 40], 'hop-by-hop not first')
  t.same(problem(told([pad(60)], 132)), [4, 1, 40], 'unknown next header')
  t.equal(told([optionsHeader(60, hex('5e021111'))]), undefined, 'to be dropped silently')
  t.equal(told([pad(60)], 59), undefined, 'no next header')
  t.equal(told([pad(60)], 50), undefined, 'ESP')
  t.equal(told([pad(60)], 51), undefined, 'AH')

  const eight = Array.from({ length: 8 }, () => pad(60))
  h.input(udp(ENDS6, DATA, { ext: extensions(eight, 17) }))
  t.equal(h.got(), 1, 'eight are read')
  t.equal(told([...eight, pad(60)]), undefined, 'nine are dropped')
  t.equal(told([...eight, optionsHeader(60, hex('9e021111'))]), undefined)
  t.equal(told([...eight, pad(0)]), undefined)
})

t.test('parameter problems are under the limit, too', async (t) => {
  const h = host()
  const packet = udp(ENDS6, DATA, { ext: extensions([optionsHeader(60, hex('9e021111'))], 17) })
  for (let i = 0; i < 50; i++) h.input(packet)
  t.equal(h.output().length, 6)
  t.equal(h.stack.counters.icmpErrorsOut, 6)
})

t.test('answers are bounded while nothing goes out', async (t) => {
  const h = host()
  for (let i = 0; i < 1000; i++)
    h.input(icmp({ src: '10.0.0.2', dst: '10.0.0.1', type: 8 }, new Uint8Array(1000)))
  t.ok(h.stack.held.bytes > 200_000 && h.stack.held.bytes <= h.stack.limits.datagramQueue)
  t.equal(h.output().length, 240)
  t.equal(h.stack.held.bytes, 0)
  for (let i = 0; i < 1000; i++) h.input(tcp({ ...ENDS, dport: 10 }, { flags: 2 }))
  t.equal(h.stack.held.bytes, 64 * 40)
  t.equal(h.output().length, 64)
  t.equal(h.stack.held.bytes, 0)
})

t.test('an error always fits', async (t) => {
  const h = host({ mtu: 576 })
  t.equal(h.answer(udp({ ...ENDS, dport: 10 }, new Uint8Array(1400))).length, 1)
})

t.test('close', async (t) => {
  const h = new Host({ anyAddress: true })
  const s = h.stack
  const sockets = [s.openUdp({ port: 9 }), s.openUdp({ any: true }), s.openPing()]
  const listener = s.listen({ port: 9 })
  const hold = s.listen({ port: 10, hold: true })
  const out = s.connect({ address: address('10.0.0.2'), port: 80 }, h.now)
  if (typeof out === 'string' || listener === undefined || hold === undefined) throw new Error('open')
  out.write(new Uint8Array(1000))
  for (let i = 0; i < 5; i++) {
    h.input(tcp({ ...ENDS, sport: 2000 + i }, { flags: 2, seq: 5 }))
    h.input(tcp({ ...ENDS6, sport: 2000 + i, dport: 10 }, { flags: 2, seq: 5 }))
  }
  h.input(udp(ENDS, DATA))
  h.input(udp({ ...ENDS, dst: '192.0.2.1' }, DATA))
  ;(sockets[0] as UdpSocket).send(DATA, { address: address('10.0.0.2'), port: 80 })
  h.input(icmp({ src: '10.0.0.2', dst: '10.0.0.1', type: 8 }, DATA))
  t.match(s.held, { connections: 11, udp: 2, ping: 1 })
  t.ok(s.held.bytes > 1000)
  t.ok(s.hasOutput)

  s.close()
  t.match(s.held, { connections: 0, udp: 0, ping: 0, bytes: 0 })
  t.equal(s.hasOutput, false)
  t.equal(h.outputBytes().length, 0, 'nothing is sent')
  t.equal(s.nextTimeout(), Number.POSITIVE_INFINITY)
  t.equal(out.error, 'aborted')

  const closed = new Set<unknown>()
  for (let x = s.nextReady(); x !== undefined; x = s.nextReady()) if (x.readyBits & 8) closed.add(x)
  t.ok(closed.has(out), 'the connection says so')
  for (const x of sockets) t.ok(closed.has(x), 'and so do datagram sockets')

  const before = { ...s.counters }
  for (const p of [
    udp(ENDS, DATA),
    tcp(ENDS, { flags: 2 }),
    icmp({ src: '10.0.0.2', dst: '10.0.0.1', type: 8 }, DATA),
    udp(ENDS6, DATA),
  ]) {
    t.equal(h.answer(p).length, 0)
  }
  t.same(s.counters, before, 'later input is ignored')
  s.handleTimeout(h.now + 1e9)
  t.equal(s.connect({ address: address('10.0.0.2'), port: 80 }, h.now), 'aborted')
  t.ok(s.openUdp() === undefined)
  t.ok(s.openUdp({ any: true }) === undefined)
  t.ok(s.openPing() === undefined)
  t.ok(s.listen({ port: 11 }) === undefined)
  s.refuseDatagram(
    { address: address('10.0.0.2'), port: 1 },
    { address: address('10.0.0.1'), port: 1 },
    'refused',
    h.now,
  )
  out.write(DATA)
  out.end()
  out.abort()
  ;(sockets[0] as UdpSocket).send(DATA, { address: address('10.0.0.2'), port: 80 })
  t.equal(s.hasOutput, false)
  t.match(s.held, { connections: 0, udp: 0, ping: 0, bytes: 0 })
  s.close()
  t.match(s.held, { connections: 0, udp: 0, ping: 0, bytes: 0 }, 'twice')
})

t.test('addresses', async (t) => {
  const h = new Host({}, [])
  t.ok(ignored(Object.assign(h, { got: () => 0 }), udp(ENDS, DATA)), 'without one, nothing is for us')
  t.equal(h.stack.connect({ address: address('10.0.0.2'), port: 80 }, 0), 'network-unreachable')
  h.stack.addAddress(address('10.0.0.1'))
  h.stack.addAddress(IpAddress.v4(0x0a000001))
  t.equal(h.stack.sourceFor(address('192.0.2.1'))?.toString(), '10.0.0.1')
  t.equal(h.answer(udp(ENDS, DATA)).length, 1)
  for (const to of ['224.0.0.1', '255.255.255.255', '0.0.0.0', '127.0.0.1']) {
    t.equal(h.stack.connect({ address: address(to), port: 80 }, 0), 'host-unreachable', to)
  }
  for (const port of [0, -1, 65536])
    t.equal(h.stack.connect({ address: address('10.0.0.2'), port }, 0), 'host-unreachable')
})

t.test('with a peer set, only that address may send', (t) => {
  const stack = new NetStack({ mtu: 1400, random: (b) => void b.fill(7), anyAddress: true })
  const own = IpAddress.parse('10.0.0.1') as IpAddress
  stack.addAddress(own)
  stack.setPeer(IpAddress.parse('10.0.0.2') as IpAddress)
  const out = new Uint8Array(1400)
  for (const [from, answers] of [
    ['10.0.0.3', 0],
    ['10.0.0.2', 1],
    ['192.168.1.1', 0],
  ] as const) {
    const sender = new NetStack({ mtu: 1400, random: (b) => void b.fill(9) })
    sender.addAddress(IpAddress.parse(from) as IpAddress)
    sender.openPing()?.send(own, 1, new Uint8Array(8))
    const n = sender.output(out, 0, 0)
    const before = stack.counters.unwanted
    stack.input(out, 0, n, 0)
    t.equal(stack.output(new Uint8Array(1400), 0, 0) > 0 ? 1 : 0, answers, from)
    t.equal(stack.counters.unwanted - before, 1 - answers)
  }
  t.end()
})
