import { readFileSync } from 'node:fs'
import t from 'tap'
import * as opt from '../../../stack/wire/tcp-options.js'
import { concat, hex, poisoned, toHex } from '../../helpers/ip-packet.js'
import { SeededRandom } from '../../helpers/random.js'

interface Item {
  readonly kind: string
  readonly value?: number
  readonly echo?: number
  readonly blocks?: readonly (readonly [number, number])[]
}
interface Vector {
  readonly id: string
  readonly op: string
  readonly in: { readonly list: readonly Item[] }
  readonly out: { readonly optionsHex: string }
}

const { vectors } = JSON.parse(readFileSync('test/vectors/ip.json', 'utf8')) as { vectors: Vector[] }

/** Reads at an offset, with octets on both sides that must not count. */
function read(b: Uint8Array): opt.TcpOptions {
  const around = concat(hex('0204ffff'), b, hex('02040001030e0402'))
  const out = opt.newOptions()
  // What an earlier segment left behind must not show.
  Object.assign(out, { mss: 7, windowShift: 7, sackPermitted: true, hasTimestamps: true, sackBlocks: 4 })
  opt.read(around, 4, 4 + b.length, out)
  return out
}

const edges = (o: opt.TcpOptions): number[] => [...o.sack.subarray(0, 2 * o.sackBlocks)].map((e) => e >>> 0)

t.test('vectors', async (t) => {
  const mine = vectors.filter((v) => v.op === 'tcp-options')
  t.equal(mine.length, 4)
  for (const v of mine) {
    const o = read(hex(v.out.optionsHex))
    const find = (kind: string): Item | undefined => v.in.list.find((i) => i.kind === kind)
    t.equal(o.mss, find('mss')?.value ?? 0, v.id)
    t.equal(o.windowShift, find('wscale')?.value ?? -1)
    t.equal(o.sackPermitted, find('sack-permitted') !== undefined)
    t.equal(o.hasTimestamps, find('timestamps') !== undefined)
    if (o.hasTimestamps) t.same([o.tsVal, o.tsEcr], [find('timestamps')?.value, find('timestamps')?.echo])
    t.same(edges(o), (find('sack')?.blocks ?? []).flat())
    // And the other way.
    const b = poisoned(60)
    let n = 0
    const ts = find('timestamps')
    if (find('mss') !== undefined) {
      n = opt.emitSyn(
        b,
        3,
        find('mss')?.value ?? 0,
        find('wscale')?.value ?? -1,
        true,
        true,
        ts?.value ?? 0,
        ts?.echo ?? 0,
      )
      t.equal(opt.synLength(find('wscale')?.value ?? -1, true, true), n)
    } else {
      if (ts !== undefined) n += opt.emitTimestamps(b, 3, ts.value ?? 0, ts.echo ?? 0)
      const blocks = (find('sack')?.blocks ?? []).flat()
      if (blocks.length > 0)
        n += opt.emitSack(
          b,
          3 + n,
          Int32Array.from(blocks, (e) => e | 0),
          blocks.length / 2,
        )
    }
    t.equal(toHex(b.subarray(3, 3 + n)), v.out.optionsHex)
    t.equal(toHex(b.subarray(3 + n)), 'a5'.repeat(57 - n), 'nothing behind it')
    t.equal(toHex(b.subarray(0, 3)), 'a5a5a5')
  }
})

t.test('a vector cut at any octet keeps what came whole', async (t) => {
  const syn = hex('020405500402080a000000010000000001030307')
  for (let n = 0; n <= syn.length; n++) {
    const o = read(syn.subarray(0, n))
    t.equal(o.mss, n >= 4 ? 1360 : 0)
    t.equal(o.sackPermitted, n >= 6)
    t.equal(o.hasTimestamps, n >= 16)
    t.equal(o.windowShift, n >= 20 ? 7 : -1)
  }
})

t.test('all kinds of SYN', async (t) => {
  for (const shift of [-1, 0, 7, 14]) {
    for (const sack of [false, true]) {
      for (const timestamps of [false, true]) {
        const b = poisoned(44)
        const n = opt.emitSyn(b, 2, 1360, shift, sack, timestamps, -2, 5)
        t.equal(n, opt.synLength(shift, sack, timestamps))
        t.equal(n % 4, 0)
        t.ok(n <= 40)
        t.equal(toHex(b.subarray(2 + n)), 'a5'.repeat(42 - n))
        const o = read(b.subarray(2, 2 + n))
        t.match(o, {
          mss: 1360,
          windowShift: shift,
          sackPermitted: sack,
          hasTimestamps: timestamps,
          sackBlocks: 0,
        })
        if (timestamps) t.match(o, { tsVal: -2, tsEcr: 5 })
      }
    }
  }
})

t.test('RFC 9293 MUST-4 to 7: unknown, unaligned, impossible', async (t) => {
  t.match(read(hex('fe0400000204055001')), { mss: 1360 }, 'unknown: skipped by its length')
  t.match(read(hex('01010102040550')), { mss: 1360 }, 'unaligned')
  t.match(read(hex('22020204055000')), { mss: 1360 }, 'Fast Open, empty')
  t.match(read(hex('000204055000')), { mss: 0 }, 'nothing counts behind the end of the list')
  t.match(read(hex('02040550fe000402')), { mss: 1360, sackPermitted: false }, 'length 0')
  t.match(read(hex('02040550fe010402')), { mss: 1360, sackPermitted: false }, 'length 1')
  t.match(read(hex('02040550fe05000000')), { mss: 1360 }, 'just fits')
  t.match(
    read(hex('02040550fe060000000402')),
    { mss: 1360, sackPermitted: false },
    'just fits, and hides what it covers',
  )
  t.match(read(hex('02040550fe14')), { mss: 1360 }, 'past the end')
  t.match(read(hex('02040550fe')), { mss: 1360 }, 'no length')
  t.match(read(hex('020355')), { mss: 0 }, 'MSS of a wrong length')
  t.match(read(hex('0205055000')), { mss: 0 })
  t.match(read(hex('02040000')), { mss: 0 }, 'MSS 0 counts as none')
  t.match(read(hex('0302')), { windowShift: -1 })
  t.match(read(hex('03040707')), { windowShift: -1 })
  t.match(read(hex('030300')), { windowShift: 0 })
  t.match(read(hex('03030e')), { windowShift: 14 })
  t.match(read(hex('03030f')), { windowShift: 14 }, 'RFC 7323 2.3: above 14 counts as 14')
  t.match(read(hex('0303ff')), { windowShift: 14 })
  t.match(read(hex('040300')), { sackPermitted: false })
  t.match(read(hex('080b000000010000000200')), { hasTimestamps: false })
  t.match(read(hex('0809000000010000000000')), { hasTimestamps: false })
  t.match(read(hex('080affffffff80000000')), { hasTimestamps: true, tsVal: -1, tsEcr: -(2 ** 31) })
  t.match(read(hex('0502')), { sackBlocks: 0 }, 'no block')
  t.match(read(hex('0509000000010000000000')), { sackBlocks: 0 }, 'half a block')
  t.match(
    read(hex('0101080a00000001000000020204')),
    { hasTimestamps: true },
    'the usual case with a cut option behind it',
  )
})

t.test('SACK blocks: four at most', async (t) => {
  for (let n = 1; n <= 4; n++) {
    const list = Array.from({ length: 2 * n }, (_, i) => (i * 0x11111111 + 1) >>> 0)
    const b = poisoned(50)
    t.equal(
      opt.emitSack(
        b,
        1,
        Int32Array.from(list, (e) => e | 0),
        n,
      ),
      4 + 8 * n,
    )
    t.same(edges(read(b.subarray(1, 5 + 8 * n))), list)
  }
  const five = concat(hex('052a'), new Uint8Array(40).fill(3))
  t.match(read(five), { sackBlocks: 4 }, 'more than a header can hold')
})

t.test('any octets', async (t) => {
  const r = new SeededRandom(41)
  for (let i = 0; i < 20_000; i++) {
    const b = r.bytes(r.below(41))
    for (let at = 0; at < b.length; at++) if (r.chance(0.6)) b[at] = r.below(12)
    const o = read(b)
    if (
      o.mss < 0 ||
      o.mss > 65535 ||
      o.windowShift < -1 ||
      o.windowShift > 14 ||
      o.sackBlocks < 0 ||
      o.sackBlocks > 4
    ) {
      t.fail(toHex(b))
    }
  }
  t.pass('20000 of them')
})
