/** Fragments as a stack sees them: RFC 791, 1858, 5722, 6946, 7112, 8200. */
import t from 'tap'
import type { UdpSocket } from '../../stack/index.js'
import { type Cut, type CutOptions, cutAll, fragmentOf } from '../helpers/fragments.js'
import { Host } from '../helpers/host.js'
import {
  concat,
  type Extension,
  extensions,
  hex,
  icmp,
  ip,
  optionsHeader,
  type ReadPacket,
  readIp,
  tcp,
  toHex,
  udp,
} from '../helpers/ip-packet.js'
import { SeededRandom } from '../helpers/random.js'

const FAMILIES = [
  { family: 4, us: '10.0.0.1', them: '10.0.0.2', other: '192.0.2.7', request: 8, reply: 0, header: 20 },
  { family: 6, us: 'fd00::1', them: 'fd00::2', other: '2001:db8::7', request: 128, reply: 129, header: 40 },
] as const

const ENDS6 = { src: 'fd00::2', dst: 'fd00::1', sport: 1234, dport: 9 }

function host(options: ConstructorParameters<typeof Host>[0] = {}): Host & { readonly got: () => string[] } {
  const h = new Host(options)
  const s = h.stack.openUdp({ port: 9 }) as UdpSocket
  const got = (): string[] => {
    const all: string[] = []
    for (let d = s.receive(); d !== undefined; d = s.receive()) all.push(toHex(d.data))
    return all
  }
  return Object.assign(h, { got })
}

/** Type, code and the word behind the checksum of an ICMP message. */
const head = (p: ReadPacket | undefined): number[] => {
  const b = Buffer.from(p?.payload ?? new Uint8Array(8))
  return [b[0] as number, b[1] as number, b.readUInt32BE(4)]
}

for (const f of FAMILIES) {
  const ends = { src: f.them, dst: f.us, sport: 1234, dport: 9 }

  t.test(`IPv${f.family}: datagrams in fragments reach UDP, ICMP and TCP`, async (t) => {
    const h = host()
    const most = f.family === 4 ? 65_507 : 65_527
    for (const n of [100, 3000, most]) {
      const data = new SeededRandom(n).bytes(n)
      const parts = cutAll(udp(ends, data), n === 100 ? 24 : 1352)
      for (const p of parts) h.input(p)
      t.same(h.got(), [toHex(data)], `${n} octets`)
    }
    const data = new SeededRandom(3).bytes(800)
    for (const p of cutAll(icmp({ src: f.them, dst: f.us, type: f.request, rest: 77 }, data), 296)) h.input(p)
    const [echo] = h.output()
    t.same(head(echo), [f.reply, 0, 77])
    t.equal(toHex(echo?.payload.subarray(8) ?? hex('')), toHex(data))

    h.stack.listen({ port: 80 })
    const c = { ...ends, dport: 80 }
    const [answer] = h.answer(tcp(c, { flags: 2, seq: 100 }))
    const seq = Buffer.from(answer?.payload ?? new Uint8Array(20)).readUInt32BE(4)
    const segment = tcp(c, { flags: 0x18, seq: 101, ack: seq + 1 }, data)
    const parts = cutAll(segment, 200)
    for (const p of parts.slice(1)) t.equal(h.answer(p).length, 0)
    h.input(parts[0] as Uint8Array)
    h.now += 500
    h.stack.handleTimeout(h.now)
    const acks = h.output().map((p) => Buffer.from(p.payload).readUInt32BE(8))
    t.equal(acks.pop(), 901)
    t.match(h.stack.counters, { reassembled: 5, reassemblyFailed: 0, malformed: 0, unwanted: 0 })
  })

  t.test(`IPv${f.family}: a bad checksum across fragments`, async (t) => {
    const h = host()
    const packet = udp(ends, new Uint8Array(100).fill(5))
    packet[packet.length - 1] = 6
    for (const p of cutAll(packet, 40)) h.input(p)
    t.same(h.got(), [])
    t.match(h.stack.counters, { checksumErrors: 1, reassembled: 1 })
  })

  t.test(`IPv${f.family}: fragments are for our own addresses and from proper ones`, async (t) => {
    const bad =
      f.family === 4
        ? ['0.0.0.0', '127.0.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255', '10.0.0.1']
        : ['::', '::1', 'ff02::1', '::ffff:10.0.0.2', 'fd00::1']
    const h = host()
    for (const src of bad) for (const p of cutAll(udp({ ...ends, src }, new Uint8Array(64)), 16)) h.input(p)
    for (const p of cutAll(udp({ ...ends, dst: f.other }, new Uint8Array(64)), 16)) h.input(p)
    t.equal(h.stack.held.bytes, 0)
    t.match(h.stack.counters, { fragments: 0, unwanted: (bad.length + 1) * 5 })
    const any = new Host({ anyAddress: true })
    const s = any.stack.openUdp({ any: true }) as UdpSocket
    for (const p of cutAll(udp({ ...ends, dst: f.other }, new Uint8Array(64)), 16)) any.input(p)
    t.equal(s.receive()?.to.address.toString(), f.other)
  })

  t.test(`IPv${f.family}: who is told what about a datagram put together`, async (t) => {
    const h = host()
    const packet = udp({ ...ends, dport: 10 }, new Uint8Array(2000).fill(5))
    for (const p of cutAll(packet, 1000)) h.input(p)
    const [told] = h.output()
    t.same(head(told), f.family === 4 ? [3, 3, 0] : [1, 4, 0], 'port unreachable')
    const quote = told?.payload.subarray(8) ?? hex('')
    t.equal(toHex(quote.subarray(f.header)), toHex(packet.subarray(f.header, quote.length)))
    t.equal(Buffer.from(quote).readUInt16BE(f.family === 4 ? 2 : 4), f.family === 4 ? 2028 : 2008)
  })

  t.test(`IPv${f.family}: time exceeded`, async (t) => {
    const h = host()
    const time = f.family === 4 ? 30_000 : 60_000
    const packet = udp(ends, new Uint8Array(1000).fill(5))
    const [first, second] = cutAll(packet, 400) as [Uint8Array, Uint8Array]
    const start = h.now
    h.input(first)
    t.equal(h.stack.nextTimeout(), start + time)
    t.ok(h.stack.held.bytes > 400)
    h.now = start + time - 1
    h.stack.handleTimeout(h.now)
    t.equal(h.output().length, 0)
    h.now = start + time
    h.stack.handleTimeout(h.now)
    const [told, ...rest] = h.output()
    t.equal(rest.length, 0)
    t.match(told, { src: f.us, dst: f.them })
    t.same(head(told), f.family === 4 ? [11, 1, 0] : [3, 1, 0])
    t.equal(toHex(told?.payload.subarray(8) ?? hex('')), toHex(first), 'quotes the first fragment')
    t.equal(h.stack.held.bytes, 0)
    t.equal(h.stack.nextTimeout(), Number.POSITIVE_INFINITY)

    h.input(second)
    h.now += time
    h.stack.handleTimeout(h.now)
    t.equal(h.output().length, 0, 'nothing without the first')
    t.equal(h.stack.held.bytes, 0)

    // Eight at once of one source, six of which the limit lets through.
    for (let id = 0; id < 8; id++) h.input(fragmentOf(packet, { at: 0, length: 400 }, { id }))
    h.now += time
    h.stack.handleTimeout(h.now)
    t.equal(h.output().length, 6, 'under the limit of all errors')

    const error = icmp({ src: f.them, dst: f.us, type: f.family === 4 ? 3 : 1, code: 1 }, new Uint8Array(500))
    h.input(fragmentOf(error, { at: 0, length: 400 }))
    h.now += time
    h.stack.handleTimeout(h.now)
    t.equal(h.output().length, 0, 'never about an error')
    h.input(first)
    h.stack.close()
    t.equal(h.stack.held.bytes, 0)
    t.equal(h.stack.nextTimeout(), Number.POSITIVE_INFINITY)
  })

  t.test(`IPv${f.family}: first fragments that hide a header`, async (t) => {
    const h = host()
    h.stack.listen({ port: 9 })
    let id = 0
    const refused = (packet: Uint8Array, length: number): boolean => {
      h.now += 1000
      const before = h.stack.held.bytes
      h.input(fragmentOf(packet, { at: 0, length, more: true }, { id: ++id }))
      const told = h.output()
      if (f.family === 6 && told.length > 0) t.same(head(told[0]), [4, 3, 0], 'RFC 7112: header chain')
      return h.stack.held.bytes === before
    }
    const data = new Uint8Array(64)
    for (const n of [8, 16]) t.equal(refused(tcp(ends, { flags: 2 }, data), n), true, `TCP ${n}`)
    t.equal(refused(tcp(ends, { flags: 2 }, data), 24), false)
    const long = tcp(ends, { flags: 2, options: new Uint8Array(40).fill(1) }, data)
    t.equal(refused(long, 56), true, 'cut in its options')
    t.equal(refused(long, 64), false)
    t.equal(refused(udp(ends, data), 8), false)
    t.equal(refused(icmp({ src: f.them, dst: f.us, type: f.request }, data), 8), false)
    if (f.family === 4) {
      const at8 = fragmentOf(tcp(ends, { flags: 2 }, data), { at: 8, length: 32 }, { id: 99 })
      const before = h.stack.held.bytes
      h.input(at8)
      t.equal(h.stack.held.bytes, before, 'RFC 1858: a fragment that would overwrite the flags')
    }
  })

  t.test(`IPv${f.family}: lengths`, async (t) => {
    const h = host()
    const packet = udp(ends, new Uint8Array(200))
    const bad = (cut: Cut, options: CutOptions = {}): ReadPacket[] => {
      h.now += 1000
      const before = { ...h.stack.counters }
      const told = h.answer(fragmentOf(packet, cut, options))
      t.equal(h.stack.counters.malformed, before.malformed + 1)
      t.equal(h.stack.held.bytes, 0)
      return told
    }
    for (const length of [1, 7, 9, 100]) {
      const told = bad({ at: 8, length, more: true })
      if (f.family === 4) t.equal(told.length, 0)
      else t.same(head(told[0]), [4, 0, 4], 'RFC 8200 4.5: points to the payload length')
    }
    t.equal(bad({ at: 8, length: 0, more: true }).length, 0)
    t.equal(bad({ at: 8, length: 0, more: false }).length, 0)
    const end = f.family === 4 ? 65_515 : 65_535
    const at = end & ~7
    const beyond = (from: number, length: number): Uint8Array => {
      const b = fragmentOf(packet, { at: 8, length, more: false })
      if (f.family === 6) {
        b.set([from >> 8, from & 255], 42)
        return b
      }
      return ip({ src: f.them, dst: f.us, proto: 17, fragment: from >> 3 }, new Uint8Array(length))
    }
    h.now += 1000
    const before = h.stack.counters.malformed
    const told = h.answer(beyond(at, end - at + 1))
    t.equal(h.stack.counters.malformed, before + 1)
    t.equal(h.stack.held.bytes, 0)
    if (f.family === 6) t.same(head(told[0]), [4, 0, 42], 'points to the offset')
    else t.equal(told.length, 0)
    h.input(beyond(at, end - at))
    t.ok(h.stack.held.bytes > 0, 'the last octet that there may be')
  })
}

t.test('IPv4: source routes and the peer count for fragments, too', async (t) => {
  const h = host()
  const ends = { src: '10.0.0.2', dst: '10.0.0.1', sport: 1, dport: 9 }
  h.input(udp(ends, new Uint8Array(64), { fragment: 0x2000, options: hex('8307040102030400') }))
  t.equal(h.stack.held.bytes, 0)
  const options = hex('94040000')
  const first = ip(
    { ...ends, proto: 17, fragment: 0x2000, id: 0x1234, options },
    udp(ends, hex('0102030405060708')).subarray(20),
  )
  t.match(h.answer(first), [])
  t.ok(h.stack.held.bytes > 0, 'other options may be there')
})

t.test('IPv6: atomic fragments (RFC 6946)', async (t) => {
  const h = host()
  const header = (id: number, word = 0): Extension => ({
    kind: 44,
    bytes: new Uint8Array([0, word >>> 8, word & 255, 0, 0, 0, id]),
  })
  const atomic = udp(ENDS6, hex('aabb'), { ext: extensions([header(1)], 17) })
  // A datagram of the same identification is in the middle of its fragments.
  const other = udp(ENDS6, new Uint8Array(64).fill(7))
  const [first, ...rest] = cutAll(other, 32, { id: 1 }) as [Uint8Array, Uint8Array, Uint8Array]
  h.input(first)
  h.input(atomic)
  t.same(h.got(), ['aabb'], 'is complete')
  for (const p of rest) h.input(p)
  t.same(h.got(), ['07'.repeat(64)], 'and touches no other')
  h.input(udp(ENDS6, hex('cc'), { ext: extensions([header(2, 6)], 17) }))
  t.same(h.got(), ['cc'], 'reserved bits are ignored')
  const pad = optionsHeader(60, hex('010400000000'))
  h.input(udp(ENDS6, hex('dd'), { ext: extensions([pad, header(3), pad], 17) }))
  t.same(h.got(), ['dd'], 'among other headers')
  t.equal(h.answer(udp(ENDS6, hex('ee'), { ext: extensions([header(3), header(4)], 17) })).length, 0)
  h.input(udp(ENDS6, hex('ee'), { ext: extensions([header(3), header(4, 1)], 17) }))
  t.same(h.got(), [], 'fragments of fragments')
  t.equal(h.stack.held.bytes, 0)
  h.now += 1000
  const [told] = h.answer(udp({ ...ENDS6, dport: 10 }, hex('01'), { ext: extensions([header(1)], 17) }))
  t.same(head(told), [1, 4, 0], 'is quoted as it came')
})

t.test('IPv6: extension headers behind a fragment header', async (t) => {
  const h = host()
  const data = new Uint8Array(64).fill(9)
  const pad = (kind: number): Extension => optionsHeader(kind, hex('010400000000'))
  const told = (ext: readonly Extension[], upper = 17): ReadPacket | undefined => {
    h.now += 1000
    const packet = udp(ENDS6, data, { ext: extensions(ext, upper) })
    for (const p of cutAll(packet, 48)) h.input(p)
    const all = h.output()
    t.ok(all.length <= 1)
    t.equal(h.stack.nextTimeout(), Number.POSITIVE_INFINITY, 'nothing waits')
    if (all[0] !== undefined) t.equal(toHex(all[0].payload.subarray(8)), toHex(packet), 'quotes the whole')
    return all[0]
  }
  t.equal(told([pad(60), { kind: 43, bytes: hex('00000000000000') }]), undefined)
  t.same(h.got(), ['09'.repeat(64)], 'are walked over')
  t.same(head(told([optionsHeader(60, hex('9e021111'))])), [4, 2, 42], 'unknown option')
  t.same(head(told([{ kind: 43, bytes: hex('00000100000000') }])), [4, 0, 42], 'routing')
  t.same(head(told([pad(60)], 132)), [4, 1, 40], 'unknown next header')
  t.same(head(told([pad(60), pad(0)])), [4, 1, 40], 'hop-by-hop not first')
  t.same(head(told([pad(0)])), [4, 1, 6], 'not even right behind the fragment header')
  t.equal(told([optionsHeader(60, hex('5e021111'))]), undefined)
  t.equal(told([pad(60)], 59), undefined)
  t.equal(told([pad(60)], 50), undefined)
  t.same(h.got(), [])
  t.equal(h.stack.held.bytes, 0)

  h.now += 1000
  // In front of it: seen in each fragment, before anything is kept.
  const front = udp(ENDS6, data, { ext: extensions([optionsHeader(60, hex('9e021111'))], 17) })
  const all = cutAll(front, 32, { unfragmentable: 8 }).flatMap((p) => h.answer(p))
  t.equal(all.length, 3)
  t.same(head(all[0]), [4, 2, 42])
  t.equal(h.stack.held.bytes, 0)
  h.now += 1000
  const fine = udp(ENDS6, data, { ext: extensions([pad(0)], 17) })
  for (const p of cutAll(fine, 32, { unfragmentable: 8 })) h.input(p)
  t.same(h.got(), ['09'.repeat(64)], 'hop-by-hop in front of it')
})

t.test('IPv6: the first fragment holds the whole header chain (RFC 7112)', async (t) => {
  const h = host()
  const long = optionsHeader(60, concat(hex('011c'), new Uint8Array(28)))
  const packet = udp(ENDS6, new Uint8Array(64), { ext: extensions([long], 17) })
  for (const length of [8, 16, 24, 32]) {
    h.now += 1000
    const [told] = h.answer(fragmentOf(packet, { at: 0, length }))
    t.same(head(told), [4, 3, 0], `${length} octets`)
    t.equal(h.stack.held.bytes, 0)
  }
  t.equal(h.answer(fragmentOf(packet, { at: 0, length: 40 })).length, 0)
  t.ok(h.stack.held.bytes > 0)
  h.now += 1000
  const none = ip(
    { src: 'fd00::2', dst: 'fd00::1', proto: 59, ext: extensions([long], 59) },
    new Uint8Array(64),
  )
  t.equal(h.answer(fragmentOf(none, { at: 0, length: 32 })).length, 0, 'no next header')
})

t.test('IPv6: no parameter problem about a fragment of an ICMPv6 error', async (t) => {
  const h = host()
  const error = icmp({ src: 'fd00::2', dst: 'fd00::1', type: 1, code: 1 }, new Uint8Array(200))
  t.equal(h.answer(fragmentOf(error, { at: 0, length: 20, more: true })).length, 0, 'the first')
  t.equal(h.answer(fragmentOf(error, { at: 8, length: 20, more: true })).length, 0, 'a later one')
  const echo = icmp({ src: 'fd00::2', dst: 'fd00::1', type: 128 }, new Uint8Array(200))
  t.equal(h.answer(fragmentOf(echo, { at: 0, length: 20, more: true })).length, 1, 'of a request')
  t.equal(readIp(h.outputBytes()[0] ?? echo).family, 6)
})

t.test('IPv6 needs its MTU for fragments, too', async (t) => {
  const h = host({ mtu: 1200 })
  for (const p of cutAll(udp(ENDS6, new Uint8Array(64)), 32)) h.input(p)
  t.match(h.stack.counters, { fragments: 0, unwanted: 3 })
})
