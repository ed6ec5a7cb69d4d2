import t from 'tap'
import * as ipv4 from '../../../stack/wire/ipv4.js'
import { address, concat, hex, ip, naiveSum, poisoned, toHex } from '../../helpers/ip-packet.js'
import { SeededRandom } from '../../helpers/random.js'

/** A header whose checksum has been set right. */
function withChecksum(h: Uint8Array): Uint8Array {
  const b = h.slice()
  b.fill(0, 10, 12)
  const v = 65535 - naiveSum(b)
  b.set([v >>> 8, v & 255], 10)
  return b
}

const KNOWN = hex('45000073000040004011b861c0a80001c0a800c7')

t.test('a known header: whole, cut, with octets behind it, at an offset', async (t) => {
  const packet = concat(KNOWN, new Uint8Array(0x73 - 20).fill(0xee))
  t.equal(ipv4.check(packet, 0, packet.length), 20)
  for (let n = 0; n < packet.length; n++) t.equal(ipv4.check(packet.subarray(0, n), 0, n), -1, `${n} octets`)
  t.equal(ipv4.check(concat(packet, hex('ffff')), 0, packet.length + 2), 20, 'octets behind it')
  const inside = poisoned(200)
  inside.set(packet, 13)
  t.equal(ipv4.check(inside, 13, packet.length), 20, 'at an offset')
  t.equal(ipv4.check(inside.subarray(13), 0, packet.length), 20, 'in a view')
  t.equal(ipv4.totalLength(inside, 13), 0x73)
  t.equal(ipv4.protocol(inside, 13), 17)
  t.equal(ipv4.ttl(inside, 13), 64)
  t.equal(ipv4.tos(inside, 13), 0)
  t.equal(ipv4.source(inside, 13), 0xc0a80001 | 0)
  t.equal(ipv4.destination(inside, 13), 0xc0a800c7 | 0)
  t.equal(ipv4.isFragment(inside, 13), false)
})

t.test('headers that are none', async (t) => {
  const change = (at: number, value: number): Uint8Array => {
    const b = concat(KNOWN, new Uint8Array(0x73 - 20))
    b[at] = value
    return concat(withChecksum(b.subarray(0, 20)), b.subarray(20))
  }
  t.equal(ipv4.check(change(0, 0x65), 0, 0x73), -1, 'version 6')
  t.equal(ipv4.check(change(0, 0x44), 0, 0x73), -1, 'IHL 4')
  t.equal(ipv4.check(change(0, 0x40), 0, 0x73), -1, 'IHL 0')
  t.equal(ipv4.check(change(3, 19), 0, 0x73), -1, 'total length below the header')
  t.equal(ipv4.check(change(3, 0x74), 0, 0x73), -1, 'total length above what came')
  t.equal(ipv4.check(change(2, 0xff), 0, 0x73), -1, 'total length far above')
  t.equal(ipv4.check(change(3, 20), 0, 0x73), 20, 'nothing behind the header')
  for (let at = 0; at < 20; at++) {
    const b = concat(KNOWN, new Uint8Array(0x73 - 20))
    b[at] = (b[at] as number) ^ 4
    t.equal(ipv4.check(b, 0, b.length), -1, `a bit of octet ${at} changed under the checksum`)
  }
})

t.test('fragments', async (t) => {
  for (const [field, is] of [
    [0x0000, false],
    [0x4000, false],
    [0x8000, false],
    [0x2000, true],
    [0x0001, true],
    [0x1fff, true],
    [0x6000, true],
  ] as const) {
    const b = ip({ src: '10.0.0.1', dst: '10.0.0.2', proto: 17, fragment: field }, new Uint8Array(8))
    t.equal(ipv4.isFragment(b, 0), is, field.toString(16))
  }
})

t.test('where a fragment belongs', async (t) => {
  for (const [field, at, more, df] of [
    [0x0000, 0, false, false],
    [0x4000, 0, false, true],
    [0x2000, 0, true, false],
    [0x20b9, 1480, true, false],
    [0x5fff, 65_528, false, true],
  ] as const) {
    const b = concat(
      hex('a5'),
      ip({ src: '10.0.0.1', dst: '10.0.0.2', proto: 17, id: 0xfedc, fragment: field }, new Uint8Array(8)),
    )
    t.equal(ipv4.fragmentOffset(b, 1), at)
    t.equal(ipv4.moreFragments(b, 1), more)
    t.equal(ipv4.dontFragment(b, 1), df)
    t.equal(ipv4.identification(b, 1), 0xfedc)
  }
})

t.test('refit', async (t) => {
  const options = hex('94040000')
  const b = concat(
    hex('a5'),
    ip({ src: '10.0.0.1', dst: '10.0.0.2', proto: 17, options }, new Uint8Array(40)),
  )
  ipv4.refit(b, 1, 24, 48, 0x2003)
  t.equal(naiveSum(b.subarray(1, 25)), 65535)
  t.equal(ipv4.check(b, 1, 64), 24)
  t.same([ipv4.totalLength(b, 1), ipv4.fragmentOffset(b, 1), ipv4.moreFragments(b, 1)], [48, 24, true])
})

t.test('options', async (t) => {
  const bad = (text: string): boolean => {
    const b = ip({ src: '10.0.0.1', dst: '10.0.0.2', proto: 17, options: hex(text) }, hex('a5a5'))
    const header = ipv4.check(b, 0, b.length)
    t.equal(header, 20 + hex(text).length)
    return ipv4.hasBadOptions(b, 0, header)
  }
  t.equal(bad(''), false)
  t.equal(bad('01010101'), false, 'no operation')
  t.equal(bad('00838989'), false, 'what is behind the end of the list does not count')
  t.equal(bad('94040000'), false, 'router alert')
  t.equal(bad('0102ff00'), true, 'length past the end')
  t.equal(bad('44040500'), false, 'timestamps')
  t.equal(bad('83070401020304' + '00'), true, 'loose source route')
  t.equal(bad('89070401020304' + '00'), true, 'strict source route')
  t.equal(bad('0101018907040102' + '03040000'), true, 'strict source route behind padding')
  t.equal(bad('94040000' + '83030400'), true, 'source route behind another option')
  t.equal(bad('94000000'), true, 'length 0')
  t.equal(bad('94010000'), true, 'length 1')
  t.equal(bad('01010194'), true, 'no length')
  t.equal(bad('94050000'), true, 'length past the end')
})

t.test('any options end', async (t) => {
  const r = new SeededRandom(21)
  for (let i = 0; i < 3000; i++) {
    const options = r.bytes(4 * r.below(11))
    const b = ip({ src: '10.0.0.1', dst: '10.0.0.2', proto: 17, options }, hex('8389'))
    const header = ipv4.check(b, 0, b.length)
    if (header !== 20 + options.length) t.fail(toHex(options))
    ipv4.hasBadOptions(b, 0, header)
  }
  t.pass('3000 of them')
})

t.test('emit into a dirty buffer', async (t) => {
  const b = poisoned(40)
  ipv4.emit(b, 9, 0x73, 0, 0, ipv4.IPV4_DF, 64, 17, address('192.168.0.1').w3, address('192.168.0.199').w3)
  t.equal(toHex(b), 'a5'.repeat(9) + toHex(KNOWN) + 'a5'.repeat(11))
  const r = new SeededRandom(22)
  for (let i = 0; i < 500; i++) {
    const out = poisoned(30)
    const v = [
      20 + r.below(65516),
      r.below(256),
      r.below(65536),
      r.below(65536),
      r.below(256),
      r.below(256),
    ] as const
    const src = r.below(2 ** 32)
    const dst = r.below(2 ** 32) | 0
    ipv4.emit(out, 3, ...v, src, dst)
    t.equal(naiveSum(out.subarray(3, 23)), 65535)
    t.equal(ipv4.check(concat(out.subarray(3, 23), new Uint8Array(65536)), 0, 65536), 20)
    t.same(
      [ipv4.totalLength(out, 3), ipv4.tos(out, 3), ipv4.ttl(out, 3), ipv4.protocol(out, 3)],
      [v[0], v[1], v[4], v[5]],
    )
    t.same([ipv4.source(out, 3), ipv4.destination(out, 3)], [src | 0, dst])
  }
})
