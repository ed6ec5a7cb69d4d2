import t from 'tap'
import { type PingSocket, READY_ERROR, READY_READABLE, takeReady, type UdpSocket } from '../../stack/index.js'
import { fragmentOf, joinAll } from '../helpers/fragments.js'
import { Host } from '../helpers/host.js'
import {
  address,
  be16,
  concat,
  extensions,
  hex,
  icmp,
  ip,
  optionsHeader,
  PROTO,
  type ReadPacket,
  readIp,
  tcp,
  toHex,
  udp,
} from '../helpers/ip-packet.js'
import { ADDRESS_B, ADDRESS_B6, Pair } from '../helpers/pair.js'

const DATA = hex('00112233445566778899')
const families = [
  { name: 'IPv4', us: '10.0.0.1', them: '10.0.0.2', other: '192.0.2.7', request: 8, reply: 0 },
  { name: 'IPv6', us: 'fd00::1', them: 'fd00::2', other: '2001:db8::7', request: 128, reply: 129 },
] as const

function open(host: Host): PingSocket {
  const s = host.stack.openPing()
  if (s === undefined) throw new Error('no ping socket')
  return s
}

/** Type, code, and the 32 bits behind the checksum. */
const head = (p: ReadPacket | undefined): [number, number, number] => {
  const b = Buffer.from(p?.payload ?? new Uint8Array(8))
  return [b[0] as number, b[1] as number, b.readUInt32BE(4)]
}
const quote = (p: ReadPacket | undefined): string => toHex((p?.payload ?? new Uint8Array(8)).subarray(8))

for (const f of families) {
  const overhead = f.name === 'IPv4' ? 28 : 48

  t.test(`${f.name}: echo requests are answered`, async (t) => {
    const host = new Host()
    for (const n of [0, 1, 10, 1300]) {
      const data = Uint8Array.from({ length: n }, (_, i) => i)
      const got = host.answer(icmp({ src: f.them, dst: f.us, type: f.request, rest: 0x12345678 }, data))
      t.equal(got.length, 1)
      t.match(got[0], { src: f.us, dst: f.them, ttl: 64 })
      t.same(head(got[0]), [f.reply, 0, 0x12345678])
      t.equal(quote(got[0]), toHex(data), 'the data comes back')
    }
    t.equal(
      host.answer(icmp({ src: f.them, dst: f.other, type: f.request }, DATA)).length,
      0,
      'not for others',
    )
    const bad = icmp({ src: f.them, dst: f.us, type: f.request }, DATA)
    bad[bad.length - 1] = 0
    t.equal(host.answer(bad).length, 0)
    t.equal(host.stack.counters.checksumErrors, 1)
  })

  t.test(`${f.name}: an answer above the MTU goes in fragments`, async (t) => {
    const host = new Host()
    for (const n of [1400 - overhead + 1, 2000, 65_000]) {
      const data = Uint8Array.from({ length: n }, (_, i) => i * 7)
      host.input(icmp({ src: f.them, dst: f.us, type: f.request, rest: 0x12345678 }, data))
      const packets = host.outputBytes()
      t.equal(packets.length, Math.ceil((n + 8) / (f.name === 'IPv4' ? 1376 : 1352)))
      const [got] = joinAll(packets).map(readIp)
      t.match(got, { src: f.us, dst: f.them, ttl: 64 })
      t.same(head(got), [f.reply, 0, 0x12345678])
      t.equal(quote(got), toHex(data))
    }
    t.equal(host.stack.counters.fragmented, 3)
  })

  t.test(`${f.name}: in any-address mode only our own addresses answer echo`, async (t) => {
    const host = new Host({ anyAddress: true })
    t.equal(host.answer(icmp({ src: f.them, dst: f.us, type: f.request }, DATA)).length, 1)
    t.equal(host.answer(icmp({ src: f.them, dst: f.other, type: f.request }, DATA)).length, 0)
  })

  t.test(`${f.name}: our echo requests and their replies`, async (t) => {
    const host = new Host()
    const s = open(host)
    t.equal(s.send(address(f.them), 0x10007, DATA), undefined)
    const [request] = host.output()
    t.match(request, { src: f.us, dst: f.them })
    t.same(head(request), [f.request, 0, ((s.identifier << 16) | 7) >>> 0], 'the sequence number has 16 bits')
    t.equal(quote(request), toHex(DATA))
    const rest = ((s.identifier << 16) | 7) >>> 0
    host.input(icmp({ src: f.them, dst: f.us, type: f.reply, rest: (rest ^ 0x10000) >>> 0 }, DATA))
    t.ok(host.stack.nextReady() === undefined, 'another identifier')
    host.input(icmp({ src: f.them, dst: f.other, type: f.reply, rest }, DATA))
    t.ok(host.stack.nextReady() === undefined, 'another destination')
    host.input(icmp({ src: f.them, dst: f.us, type: f.reply, rest }, DATA))
    t.ok(host.stack.nextReady() === s)
    t.equal(takeReady(s), READY_READABLE)
    const got = s.receive()
    t.equal(got?.sequence, 7)
    t.equal(got?.from.toString(), f.them)
    t.equal(toHex(got?.data ?? hex('')), toHex(DATA))
    t.equal(s.receive(), undefined)
  })

  t.test(`${f.name}: in any-address mode a reply to somebody else is not ours`, async (t) => {
    const host = new Host({ anyAddress: true })
    const s = open(host)
    const rest = (s.identifier << 16) >>> 0
    host.input(icmp({ src: f.them, dst: f.other, type: f.reply, rest }, DATA))
    t.ok(host.stack.nextReady() === undefined)
    host.input(icmp({ src: f.them, dst: f.us, type: f.reply, rest }, DATA))
    t.ok(host.stack.nextReady() === s)
  })

  t.test(`${f.name}: where a ping cannot go`, async (t) => {
    const host = new Host()
    const s = open(host)
    for (const to of [
      '224.0.0.1',
      '255.255.255.255',
      '0.0.0.0',
      '127.0.0.1',
      'ff02::1',
      '::',
      '::1',
      '::ffff:10.0.0.2',
    ]) {
      t.equal(s.send(address(to), 1, DATA), 'network-unreachable', to)
    }
    const most = f.name === 'IPv4' ? 65_507 : 65_527
    t.equal(s.send(address(f.them), 1, new Uint8Array(most + 1)), 'too-large')
    t.equal(s.send(address(f.them), 1, new Uint8Array(most)), undefined)
    t.equal(joinAll(host.outputBytes())[0]?.length, most + overhead)
    t.equal(s.send(address(f.them), 1, new Uint8Array(1400 - overhead)), undefined)
    t.equal(host.outputBytes()[0]?.length, 1400)
    const none = new Host({}, [])
    t.equal(open(none).send(address(f.them), 1, DATA), 'network-unreachable', 'no address of that family')
    let n = 0
    while (s.send(address(f.them), n, new Uint8Array(1000)) === undefined) n++
    t.ok(n > 200 && n < 300, `${n} packets may wait`)
    t.equal(s.send(address(f.them), n, new Uint8Array(1000)), 'no-room')
    t.equal(host.output().length, n)
  })

  /** The packets a router would quote: what our sockets have just sent. */
  const error = (host: Host, type: number, code: number, quoted: Uint8Array, rest = 0): void => {
    host.input(icmp({ src: f.other, dst: f.us, type, code, rest }, quoted))
  }
  const [unreachable, portCode] = f.name === 'IPv4' ? ([3, 3] as const) : ([1, 4] as const)
  const ipHeader = f.name === 'IPv4' ? 20 : 40

  t.test(`${f.name}: errors reach ping sockets`, async (t) => {
    const host = new Host()
    const s = open(host)
    s.send(address(f.them), 1, DATA)
    const [sent] = host.outputBytes()
    if (sent === undefined) throw new Error('nothing sent')
    error(host, unreachable, 1, sent)
    t.ok(host.stack.nextReady() === s)
    t.equal(takeReady(s), READY_ERROR)
    const news = s.takeError()
    t.equal(news?.error, f.name === 'IPv4' ? 'host-unreachable' : 'prohibited')
    t.equal(news?.remote.address.toString(), f.them)
    t.equal(s.takeError(), undefined, 'once')

    const reply = sent.slice()
    reply[ipHeader] = f.reply
    error(host, unreachable, 1, reply)
    t.ok(host.stack.nextReady() === undefined, 'we sent a request; this quotes a reply')
    const foreign = sent.slice()
    foreign.set(address(f.other).toBytes(), f.name === 'IPv4' ? 12 : 8)
    error(host, unreachable, 1, foreign)
    t.ok(host.stack.nextReady() === undefined, 'a packet that we did not send')

    const [big, rest] = f.name === 'IPv4' ? ([3, 1300] as const) : ([2, 1300] as const)
    error(host, big, f.name === 'IPv4' ? 4 : 0, sent, rest)
    t.ok(host.stack.nextReady() === s)
    takeReady(s)
    t.equal(s.takeError()?.error, 'too-large')
  })

  t.test(`${f.name}: errors reach UDP sockets`, async (t) => {
    const host = new Host()
    const s = host.stack.openUdp() as UdpSocket
    s.send(DATA, { address: address(f.them), port: 53 })
    const [sent] = host.outputBytes()
    if (sent === undefined) throw new Error('nothing sent')
    const table: readonly (readonly [number, number, string | undefined])[] =
      f.name === 'IPv4'
        ? [
            [3, 0, 'network-unreachable'],
            [3, 1, 'host-unreachable'],
            [3, 2, 'refused'],
            [3, 3, 'refused'],
            [3, 5, 'host-unreachable'],
            [3, 6, 'network-unreachable'],
            [3, 7, 'host-unreachable'],
            [3, 9, 'prohibited'],
            [3, 10, 'prohibited'],
            [3, 11, 'network-unreachable'],
            [3, 12, 'host-unreachable'],
            [3, 13, 'prohibited'],
            [3, 4, 'too-large'],
            [3, 99, undefined],
            [11, 0, 'ttl-expired'],
            [11, 1, undefined],
            [4, 0, undefined],
            [5, 1, undefined],
            [12, 0, undefined],
          ]
        : [
            [1, 0, 'network-unreachable'],
            [1, 1, 'prohibited'],
            [1, 2, 'host-unreachable'],
            [1, 3, 'host-unreachable'],
            [1, 4, 'refused'],
            [1, 5, 'prohibited'],
            [1, 6, 'prohibited'],
            [2, 0, 'too-large'],
            [3, 0, 'ttl-expired'],
            [3, 1, undefined],
            [4, 0, undefined],
            [4, 1, 'refused'],
            [4, 2, undefined],
            [100, 0, undefined],
            [137, 0, undefined],
          ]
    for (const [type, code, expected] of table) {
      error(host, type, code, sent)
      const ready = host.stack.nextReady()
      t.ok(ready === (expected === undefined ? undefined : s), `type ${type} code ${code}`)
      if (ready === undefined) continue
      t.equal(takeReady(s), READY_ERROR)
      const news = s.takeError()
      t.equal(news?.error, expected)
      t.equal(news?.remote.port, 53)
      t.equal(news?.remote.address.toString(), f.them)
    }
    t.equal(s.takeError(), undefined)
    t.equal(host.output().length, 0, 'an error is never answered')
  })

  t.test(`${f.name}: quotes that show no packet of ours`, async (t) => {
    const host = new Host()
    const s = host.stack.openUdp() as UdpSocket
    s.send(DATA, { address: address(f.them), port: 53 })
    const [sent] = host.outputBytes()
    if (sent === undefined) throw new Error('nothing sent')
    const told = (quoted: Uint8Array): boolean => {
      error(host, unreachable, portCode, quoted)
      const ready = host.stack.nextReady()
      if (ready === s) {
        takeReady(s)
        return s.takeError() !== undefined
      }
      return false
    }
    t.equal(told(sent), true)
    t.equal(told(sent.subarray(0, ipHeader + 8)), true, 'the least that is quoted')
    for (let n = 0; n < ipHeader + 8; n++) t.equal(told(sent.subarray(0, n)), false, `${n} octets`)
    const change = (at: number, ...octets: readonly number[]): Uint8Array => {
      const b = sent.slice()
      b.set(octets, at)
      return b
    }
    t.equal(told(change(ipHeader, 0, 9)), false, 'another port of ours')
    t.equal(told(change(0, 0x55)), false, 'no version')
    t.equal(told(change(f.name === 'IPv4' ? 15 : 23, 99)), false, 'another address of ours')
    t.equal(told(change(f.name === 'IPv4' ? 9 : 6, 200)), false, 'another protocol')
    if (f.name === 'IPv4') {
      t.equal(told(change(6, 0x20)), true, 'a first fragment')
      t.equal(told(change(6, 0x00, 0x01)), false, 'a later fragment')
      t.equal(told(change(6, 0x3f, 0xff)), false)
      t.equal(told(change(0, 0x44)), false, 'IHL')
      t.equal(told(change(8, 1, 17, 0xff, 0xff)), true, 'routers change TTL and checksum')
    } else {
      t.equal(told(change(6, 0)), false, 'we send no extension headers')
      const cut = (at: number, more: boolean): Uint8Array => fragmentOf(sent, { at, length: 16, more })
      t.equal(told(cut(0, true)), true, 'a first fragment')
      t.equal(told(cut(0, true).subarray(0, 56)), true, 'the least of it')
      for (let n = 40; n < 56; n++) t.equal(told(cut(0, true).subarray(0, n)), false, `${n} octets of it`)
      t.equal(told(cut(8, true)), false, 'a later fragment')
      const hidden = cut(0, true)
      hidden[40] = 60
      t.equal(told(hidden), false, 'an extension header behind it')
    }
    // One family's error about the other's packet.
    const otherFamily =
      f.name === 'IPv4'
        ? { src: 'fd00::7', dst: 'fd00::1', type: 1, code: 4 }
        : { src: '192.0.2.7', dst: '10.0.0.1', type: 3, code: 3 }
    host.input(icmp(otherFamily, sent))
    t.ok(host.stack.nextReady() === undefined, 'a quote of the other family')

    const connected = host.stack.openUdp({ remote: { address: address(f.them), port: 9 } }) as UdpSocket
    connected.send(DATA, { address: address(f.them), port: 9 })
    const [second] = host.outputBytes()
    if (second === undefined) throw new Error('nothing sent')
    const wrong = second.slice()
    wrong.set([0, 10], ipHeader + 2)
    error(host, unreachable, portCode, wrong)
    t.ok(host.stack.nextReady() === undefined, 'a connected socket hears only of its own remote')
    error(host, unreachable, portCode, second)
    t.ok(host.stack.nextReady() === connected)
  })

  t.test(`${f.name}: port unreachable`, async (t) => {
    const host = new Host()
    const packet = udp({ src: f.them, dst: f.us, sport: 1234, dport: 9 }, new Uint8Array(1300).fill(3))
    const [got] = host.answer(packet)
    t.match(got, { src: f.us, dst: f.them, proto: f.name === 'IPv4' ? PROTO.icmp : PROTO.icmp6 })
    t.same(head(got), [unreachable, portCode, 0])
    const most = f.name === 'IPv4' ? 576 : 1280
    t.equal((got?.payload.length ?? 0) + ipHeader, most, 'as much as may be quoted')
    t.equal(quote(got), toHex(packet.subarray(0, most - ipHeader - 8)))
    const small = udp({ src: f.them, dst: f.us, sport: 1234, dport: 9 }, new Uint8Array(0))
    t.equal(quote(host.answer(small)[0]), toHex(small), 'all of a small one')
    // Two of six are spent.
    for (let i = 0; i < 20; i++) host.input(small)
    t.equal(host.output().length, 4, 'the burst')
    t.equal(host.stack.counters.icmpErrorsOut, 6)
    host.now += 1000
    for (let i = 0; i < 20; i++) host.input(small)
    t.equal(host.output().length, 6, 'no more than the burst is saved up')
    host.now += 200
    for (let i = 0; i < 20; i++) host.input(small)
    t.equal(host.output().length, 2, 'ten a second')
  })

  t.test(`${f.name}: unknown protocols`, async (t) => {
    const host = new Host()
    const packet = ip({ src: f.them, dst: f.us, proto: 132 }, DATA)
    const [got] = host.answer(packet)
    t.same(
      head(got),
      f.name === 'IPv4' ? [3, 2, 0] : [4, 1, 6],
      'protocol unreachable, or parameter problem code 1',
    )
    t.equal(quote(got), toHex(packet))
    t.equal(host.answer(ip({ src: f.them, dst: f.other, proto: 132 }, DATA)).length, 0, 'not for others')
    const any = new Host({ anyAddress: true })
    t.match(any.answer(ip({ src: f.them, dst: f.other, proto: 132 }, DATA))[0], { src: f.other, dst: f.them })
  })

  t.test(`${f.name}: no errors about errors, groups, or senders that nobody is`, async (t) => {
    const groups =
      f.name === 'IPv4'
        ? ['224.0.0.1', '255.255.255.255', '10.0.0.255', '0.0.0.0', '127.0.0.1']
        : ['ff02::1', 'ff01::1', '::', '::1']
    const sources =
      f.name === 'IPv4'
        ? ['224.0.0.1', '255.255.255.255', '0.0.0.0', '127.0.0.1', '240.0.0.1']
        : ['ff02::1', '::', '::1', '::ffff:10.0.0.9']
    for (const anyAddress of [false, true]) {
      const host = new Host({ anyAddress })
      for (const dst of groups) {
        // A directed broadcast cannot be told from a host without a netmask, so it counts as one when we take any.
        if (dst === '10.0.0.255' && anyAddress) continue
        t.equal(host.answer(udp({ src: f.them, dst, sport: 1, dport: 9 }, DATA)).length, 0, `to ${dst}`)
        t.equal(host.answer(ip({ src: f.them, dst, proto: 132 }, DATA)).length, 0)
        t.equal(host.answer(icmp({ src: f.them, dst, type: f.request }, DATA)).length, 0)
        t.equal(host.answer(tcp({ src: f.them, dst, sport: 1, dport: 9 }, { flags: 2 })).length, 0)
      }
      for (const src of sources) {
        t.equal(host.answer(udp({ src, dst: f.us, sport: 1, dport: 9 }, DATA)).length, 0, `from ${src}`)
        t.equal(host.answer(ip({ src, dst: f.us, proto: 132 }, DATA)).length, 0)
        t.equal(host.answer(icmp({ src, dst: f.us, type: f.request }, DATA)).length, 0)
        t.equal(host.answer(tcp({ src, dst: f.us, sport: 1, dport: 9 }, { flags: 2 })).length, 0)
      }
      const inner = udp({ src: f.us, dst: f.them, sport: 1, dport: 9 }, DATA)
      for (let type = 0; type < 256; type++) {
        if (type === f.request) continue
        t.equal(
          host.answer(icmp({ src: f.them, dst: f.us, type, code: 3 }, inner)).length,
          0,
          `ICMP type ${type}`,
        )
      }
      t.equal(host.stack.counters.icmpErrorsOut, 0)
    }
  })

  t.test(`${f.name}: refuseDatagram`, async (t) => {
    const host = new Host({ anyAddress: true })
    const s = host.stack.openUdp({ any: true }) as UdpSocket
    const packet = udp({ src: f.them, dst: f.other, sport: 1234, dport: 53 }, DATA)
    t.equal(host.answer(packet).length, 0)
    const d = s.receive()
    if (d === undefined) throw new Error('no datagram')
    const expected =
      f.name === 'IPv4'
        ? ({
            refused: [3, 3],
            'host-unreachable': [3, 1],
            'network-unreachable': [3, 0],
            prohibited: [3, 13],
          } as const)
        : ({
            refused: [1, 4],
            'host-unreachable': [1, 3],
            'network-unreachable': [1, 0],
            prohibited: [1, 1],
          } as const)
    for (const reason of ['refused', 'host-unreachable', 'network-unreachable', 'prohibited'] as const) {
      host.stack.refuseDatagram(d.from, d.to, reason, host.now)
      const [got] = host.output()
      t.match(got, { src: reason === 'refused' ? f.other : f.us, dst: f.them }, reason)
      t.same(head(got), [...expected[reason], 0])
      // Whoever sent it finds its socket by addresses, protocol and ports.
      const b = got?.payload.subarray(8) ?? hex('')
      t.equal(b.length, ipHeader + 8)
      t.equal(
        toHex(b.subarray(f.name === 'IPv4' ? 12 : 8, ipHeader + 4)),
        toHex(concat(address(f.them).toBytes(), address(f.other).toBytes(), be16(1234, 53))),
      )
      t.equal(b[f.name === 'IPv4' ? 9 : 6], 17)
    }
    host.stack.refuseDatagram(d.from, d.to, 'timed-out', host.now)
    t.equal(host.output().length, 0, 'ICMP has no word for a time-out')
    let n = 0
    for (let i = 0; i < 20; i++) host.stack.refuseDatagram(d.from, d.to, 'refused', host.now)
    n += host.output().length
    t.equal(n, 2, 'under the same limit')
  })
}

t.test('a refusal comes from an address that the client can have heard of', async (t) => {
  const host = new Host({ anyAddress: true }, ['fe80::1', 'fd00::1'])
  host.stack.refuseDatagram(
    { address: address('fd00::2'), port: 1 },
    { address: address('2001:db8::7'), port: 2 },
    'prohibited',
    0,
  )
  t.match(host.output()[0], { src: 'fd00::1', dst: 'fd00::2' })
})

t.test('IPv6: no parameter problem about an ICMPv6 error (RFC 4443 2.4 (e))', async (t) => {
  const bad = [optionsHeader(60, hex('9e021111'))]
  const inner = udp({ src: 'fd00::1', dst: 'fd00::2', sport: 1, dport: 9 }, DATA)
  const about = (type: number): number => {
    const host = new Host()
    return host.answer(icmp({ src: 'fd00::2', dst: 'fd00::1', type }, inner, { ext: extensions(bad, 58) }))
      .length
  }
  for (const type of [1, 2, 3, 4, 127, 137]) t.equal(about(type), 0, `type ${type}`)
  t.equal(about(128), 1, 'an echo request is no error')
  const host = new Host()
  const hidden = extensions(
    [...bad, { kind: 43, bytes: hex('00020100000000') }, optionsHeader(60, hex('1e021111'))],
    58,
  )
  t.equal(
    host.answer(icmp({ src: 'fd00::2', dst: 'fd00::1', type: 1 }, inner, { ext: hidden })).length,
    0,
    'further back',
  )
})

t.test('two stacks ping each other', async (t) => {
  const pair = new Pair({ delay: 20 })
  const s = pair.a.openPing() as PingSocket
  const replies: string[] = []
  pair.onReady = (x) => {
    if (x !== s) return
    takeReady(s)
    for (let r = s.receive(); r !== undefined; r = s.receive())
      replies.push(`${r.from} ${r.sequence} ${toHex(r.data)}`)
  }
  s.send(ADDRESS_B, 1, DATA)
  s.send(ADDRESS_B6, 2, DATA)
  const start = pair.now
  t.ok(pair.run(() => replies.length === 2, 1000))
  t.equal(pair.now - start, 40)
  t.same(replies, [`10.0.0.2 1 ${toHex(DATA)}`, `fd00::2 2 ${toHex(DATA)}`])
})

t.test('a closed ping socket is done with', async (t) => {
  const host = new Host()
  const s = open(host)
  s.send(address('10.0.0.2'), 1, DATA)
  s.close()
  t.equal(host.output().length, 0)
  t.ok(s.send(address('10.0.0.2'), 1, DATA))
  t.equal(host.output().length, 0)
  t.match(host.stack.held, { ping: 0, bytes: 0 })
  // The identifier may be another's by now.
  const others = Array.from({ length: 40 }, () => open(host))
  const again = others.find((o) => o.identifier === s.identifier) ?? others[0]
  s.close()
  t.equal(host.stack.held.ping, 40)
  t.ok(again)
})

t.test('a closed ping socket leaves its successor alone', async (t) => {
  // A source of identifiers that has only one.
  const host = new Host({ random: (b) => b.fill(7) })
  const first = open(host)
  t.ok(host.stack.openPing() === undefined, 'it is taken')
  first.close()
  const second = open(host)
  t.equal(second.identifier, first.identifier)
  first.close()
  t.equal(host.stack.held.ping, 1)
})
