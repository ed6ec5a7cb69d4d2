import t from 'tap'
import * as ipv6 from '../../../stack/wire/ipv6.js'
import {
  concat,
  type Extension,
  extensions,
  hex,
  ip,
  optionsHeader,
  poisoned,
  toHex,
} from '../../helpers/ip-packet.js'
import { SeededRandom } from '../../helpers/random.js'

const src = 'fd00::2'
const dst = 'fd00::1'
const HOP = 0
const ROUTING = 43
const FRAGMENT = 44
const DEST = 60

const newUpper = (): ipv6.UpperLayer => ({ protocol: -1, offset: -1, pointer: -1, problem: -1 })

t.test('header: whole, cut, with octets behind it, at an offset', async (t) => {
  const packet = ip({ src, dst, proto: 17, ttl: 3 }, hex('0102030405060708'))
  t.equal(ipv6.check(packet, 0, packet.length), 40)
  for (let n = 0; n < packet.length; n++) t.equal(ipv6.check(packet.subarray(0, n), 0, n), -1)
  t.equal(ipv6.check(concat(packet, hex('ff')), 0, packet.length + 1), 40)
  const inside = poisoned(80)
  inside.set(packet, 11)
  t.equal(ipv6.check(inside, 11, packet.length), 40)
  t.equal(ipv6.check(inside.subarray(11), 0, packet.length), 40)
  t.equal(ipv6.payloadLength(inside, 11), 8)
  t.equal(ipv6.nextHeader(inside, 11), 17)
  t.equal(ipv6.hopLimit(inside, 11), 3)
  t.equal(ipv6.trafficClass(inside, 11), 0)
  const other = packet.slice()
  other[0] = 0x45
  t.equal(ipv6.check(other, 0, other.length), -1, 'version 4')
})

t.test('emit into a dirty buffer', async (t) => {
  const b = poisoned(60)
  ipv6.emit(b, 5, 0x1234, 0xb9, 58, 255)
  t.equal(toHex(b.subarray(0, 13)), `${'a5'.repeat(5)}6b90000012343aff`)
  t.equal(ipv6.trafficClass(b, 5), 0xb9)
  t.equal(toHex(b.subarray(13)), 'a5'.repeat(47), 'the addresses are left to the caller')
})

interface Walk {
  readonly ok: boolean
  readonly protocol: number
  readonly problem: number
  /** From the start of the packet. */
  readonly offset: number
  readonly pointer: number
}

/** Walks the same packet at 0 and at an offset with poison around it, which must come to the same. */
function walk(list: readonly Extension[], upper: number, payload = hex('0102030405060708')): Walk {
  const packet = ip({ src, dst, proto: upper, ext: extensions(list, upper) }, payload)
  const results = [0, 9].map((at): Walk => {
    const b = poisoned(packet.length + 20)
    b.set(packet, at)
    const out = newUpper()
    const ok = ipv6.upperLayer(b, at, out)
    return {
      ok,
      protocol: out.protocol,
      problem: out.problem,
      offset: out.offset - at,
      pointer: out.pointer - at,
    }
  })
  t.same(results[0], results[1])
  return results[0] as Walk
}

const pad = (kind: number, n = 6): Extension =>
  optionsHeader(kind, concat(new Uint8Array([1, n - 2]), new Uint8Array(n - 2)))
const routing = (type: number, left: number, n = 8): Extension => ({
  kind: ROUTING,
  bytes: concat(new Uint8Array([n / 8 - 1, type, left]), new Uint8Array(n - 4)),
})

t.test('the walk over extension headers', async (t) => {
  t.match(walk([], 17), { ok: true, protocol: 17, offset: 40, pointer: 6, problem: 0 })
  t.match(walk([pad(HOP)], 6), { ok: true, protocol: 6, offset: 48, pointer: 40 })
  t.match(walk([pad(HOP), pad(DEST), routing(0, 0), pad(DEST, 14)], 58), {
    ok: true,
    protocol: 58,
    offset: 80,
    pointer: 64,
  })
  t.match(walk([pad(DEST)], 59), { ok: true, protocol: 59 }, 'no next header')
  t.match(
    walk([pad(DEST)], FRAGMENT, hex('1100000100000001 0102030405060708')),
    { ok: true, protocol: FRAGMENT, offset: 48, pointer: 40 },
    'a fragment header ends the walk',
  )
  t.match(walk([pad(HOP, 6 + 255 * 8)], 17), { ok: true, offset: 40 + 2048 }, 'the longest header')
  t.match(walk([pad(DEST)], 200), { ok: true, protocol: 200, pointer: 40 }, 'unknown: the caller sees to it')
})

t.test('hop-by-hop options come first or not at all', async (t) => {
  t.match(walk([pad(DEST), pad(HOP)], 17), { ok: false, problem: 2, pointer: 40 })
  t.match(walk([pad(HOP), pad(HOP)], 17), { ok: false, problem: 2, pointer: 40 })
})

t.test('routing headers: RFC 8200 4.4, RFC 5095', async (t) => {
  for (const type of [0, 2, 3, 4, 253]) {
    t.match(
      walk([routing(type, 0)], 17),
      { ok: true, protocol: 17 },
      `type ${type} with nothing left is ignored`,
    )
    t.match(
      walk([routing(type, 1, 24)], 17),
      { ok: false, problem: 1, pointer: 42 },
      `type ${type} with segments left`,
    )
  }
})

t.test('unknown options: RFC 8200 4.2', async (t) => {
  for (const kind of [HOP, DEST]) {
    const one = (options: string) => walk([optionsHeader(kind, hex(options))], 17)
    t.match(one('1e021111'), { ok: true, problem: 0 }, '00: skip')
    t.match(one('05020000'), { ok: true }, 'router alert')
    t.match(one('5e021111'), { ok: false, problem: 0 }, '01: drop')
    t.match(one('9e021111'), { ok: false, problem: 3, pointer: 42 }, '10: drop and tell')
    t.match(
      one('de021111'),
      { ok: false, problem: 3, pointer: 42 },
      '11: drop and tell, this is no multicast',
    )
    t.match(one('000000de0100'), { ok: false, problem: 3, pointer: 45 }, 'behind Pad1')
    t.match(one('0101ff9e00'), { ok: false, problem: 3, pointer: 45 }, 'behind PadN')
    t.match(one('1e0400000000'), { ok: true }, 'just fits')
    t.match(one('1e0500000000'), { ok: false, problem: 0 }, 'past the end of the header')
    t.match(one('1eff00000000'), { ok: false, problem: 0 }, 'far past the end')
    t.match(one('00000000001e'), { ok: false, problem: 0 }, 'no length')
    t.match(one('000000000000'), { ok: true }, 'all Pad1')
    t.match(one('010400000000'), { ok: true }, 'all PadN')
    t.match(one('0105000000000000'), { ok: true }, 'PadN over two words')
  }
})

t.test('headers that do not fit', async (t) => {
  t.match(walk([{ kind: DEST, bytes: hex('01000000000000') }], 17, new Uint8Array(0)), {
    ok: false,
    problem: 0,
  })
  t.match(walk([{ kind: DEST, bytes: hex('ff000000000000') }], 17), { ok: false, problem: 0 })
  t.match(walk([{ kind: ROUTING, bytes: hex('ff000100000000') }], 17), { ok: false, problem: 0 })
  t.match(walk([pad(HOP)], DEST, hex('11000000')), { ok: false, problem: 0 }, 'less than 8 octets')
  t.match(walk([pad(HOP)], DEST, new Uint8Array(0)), { ok: false, problem: 0 }, 'nothing')
  t.match(
    walk([pad(HOP)], 17, new Uint8Array(0)),
    { ok: true, protocol: 17, offset: 48 },
    'the upper layer may be empty',
  )
})

t.test('at most 8 extension headers', async (t) => {
  const eight = Array.from({ length: 8 }, () => pad(DEST))
  t.match(walk(eight, 17), { ok: true, protocol: 17, offset: 40 + 64 })
  t.match(walk([...eight, pad(DEST)], 17), { ok: false, problem: 0 })
  t.match(
    walk([...eight, optionsHeader(DEST, hex('9e021111'))], 17),
    { ok: false, problem: 0 },
    'nor is the ninth read',
  )
  t.match(walk([...eight, routing(0, 1)], 17), { ok: false, problem: 0 })
  t.match(walk([...eight, pad(HOP)], 17), { ok: false, problem: 0 })
})

const atomic: Extension = { kind: FRAGMENT, bytes: hex('00000600000001') }

t.test('a fragment header that holds everything is stepped over: RFC 6946', async (t) => {
  t.match(walk([atomic], 17), { ok: true, protocol: 17, offset: 48, pointer: 40 })
  t.match(walk([pad(HOP), pad(DEST), atomic, pad(DEST)], 6), { ok: true, protocol: 6, offset: 72 })
  t.match(walk([atomic, atomic], 17), { ok: false, problem: 0 }, 'twice')
  t.match(walk([atomic, { kind: FRAGMENT, bytes: hex('00000900000001') }], 17), { ok: false, problem: 0 })
  t.match(walk([atomic, pad(HOP)], 17), { ok: false, problem: 2, pointer: 40 })
  const eight = Array.from({ length: 8 }, () => pad(DEST))
  t.match(walk([...eight, atomic], 17), { ok: false, problem: 0 }, 'it counts, too')
  t.match(
    walk([pad(HOP)], FRAGMENT, hex('110000')),
    { ok: true, protocol: FRAGMENT },
    'cut: the caller sees to it',
  )
})

t.test('where a fragment header has been taken out', async (t) => {
  const walkFrom = (list: readonly Extension[], stripped: number) => {
    const packet = ip({ src, dst, proto: 17, ext: extensions(list, 17) }, new Uint8Array(8))
    const out = newUpper()
    return { ok: ipv6.upperLayer(packet, 0, out, stripped), ...out }
  }
  t.match(walkFrom([pad(HOP)], 40), { ok: false, problem: 2, pointer: 6 }, 'hop-by-hop stood behind it')
  t.match(walkFrom([pad(HOP)], 48), { ok: true, protocol: 17 }, 'in front of it')
  t.match(walkFrom([pad(DEST), pad(DEST)], 48), { ok: true, protocol: 17, offset: 56 })
  t.match(walkFrom([pad(DEST), atomic], 40), { ok: false, problem: 0 }, 'a second one')
})

t.test('where the upper layer of a bad packet is', async (t) => {
  const find = (list: readonly Extension[], upper: number, proto: number, n = 8): number =>
    ipv6.findUpper(
      concat(hex('a5'), ip({ src, dst, proto: upper, ext: extensions(list, upper) }, new Uint8Array(n))),
      1,
      proto,
    )
  t.equal(find([], 58, 58), 41)
  t.equal(find([pad(DEST), routing(0, 9), pad(HOP)], 58, 58), 65)
  t.equal(find([pad(DEST)], 17, 58), -1)
  t.equal(find([pad(DEST)], 58, 58, 0), -1, 'nothing there')
  t.equal(
    find([{ kind: FRAGMENT, bytes: hex('00000100000001') }, pad(DEST)], 58, 58),
    57,
    'in a first fragment',
  )
  t.equal(find([{ kind: FRAGMENT, bytes: hex('00000900000001') }], 58, 58), -1, 'not in a later one')
})

t.test('whole header chains: RFC 7112', async (t) => {
  const long = pad(DEST, 30)
  const chain = extensions([long, pad(DEST)], 17)
  const b = concat(hex('a5'), chain.bytes, new Uint8Array(8))
  for (let n = 0; n <= 48; n++) {
    if (ipv6.hasHeaderChain(b, 1, 1 + n, DEST) !== n >= 48) t.fail(`${n} octets`)
  }
  t.equal(ipv6.hasHeaderChain(new Uint8Array(8), 0, 0, 59), true, 'no next header needs none')
  t.equal(ipv6.hasHeaderChain(new Uint8Array(8), 0, 8, 17), true)
  t.equal(ipv6.hasHeaderChain(new Uint8Array(8), 0, 7, 17), false)
  t.equal(
    ipv6.hasHeaderChain(new Uint8Array(2000), 0, 2000, DEST),
    false,
    'a hop-by-hop header of zeros behind it',
  )
})

t.test('any chain ends inside the packet', async (t) => {
  const r = new SeededRandom(31)
  const kinds = [HOP, ROUTING, FRAGMENT, DEST, 6, 17, 58, 59]
  for (let i = 0; i < 5000; i++) {
    const body = r.bytes(r.below(120))
    for (let at = 0; at + 2 < body.length; at += 8) {
      if (r.chance(0.8)) body[at] = kinds[r.below(kinds.length)] as number
      if (r.chance(0.8)) body[at + 1] = r.below(3)
      if (r.chance(0.5)) body.fill(0, at + 2, at + 8)
    }
    const packet = ip({ src, dst, proto: kinds[r.below(kinds.length)] as number }, body)
    const b = poisoned(packet.length + 8)
    b.set(packet, 5)
    const out = newUpper()
    const ok = ipv6.upperLayer(b, 5, out)
    const at = out.offset - 5
    if (at < 40 || at > packet.length) t.fail(`offset ${at} in ${toHex(packet)}`)
    if (out.pointer - 5 < 6 || out.pointer - 5 >= packet.length) t.fail(`pointer in ${toHex(packet)}`)
    if (ok && out.problem !== 0) t.fail(`problem in ${toHex(packet)}`)
  }
  t.pass('5000 of them')
})
