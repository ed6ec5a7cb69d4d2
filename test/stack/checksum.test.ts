import { readFileSync } from 'node:fs'
import t from 'tap'
import { combine, finish, sum, sum32 } from '../../stack/checksum.js'
import { address, hex, naiveSum, pseudoHeader, toHex } from '../helpers/ip-packet.js'
import { SeededRandom } from '../helpers/random.js'

interface Plain {
  readonly id: string
  readonly op: 'checksum'
  readonly in: { readonly dataHex: string }
  readonly out: { readonly sum: string; readonly checksum: string }
}
interface Pseudo {
  readonly id: string
  readonly op: 'pseudo-checksum'
  readonly in: {
    readonly source: string
    readonly destination: string
    readonly protocol: number
    readonly offset: number
    readonly segmentHex: string
  }
  readonly out: { readonly pseudoHeaderHex: string; readonly checksum: string; readonly segmentHex: string }
}
type Vector = Plain | Pseudo | { readonly op: 'tcp-options' }

const { vectors } = JSON.parse(readFileSync('test/vectors/ip.json', 'utf8')) as { vectors: Vector[] }
const hex16 = (n: number): string => n.toString(16).padStart(4, '0')

t.test('vectors', async (t) => {
  const plain = vectors.filter((v) => v.op === 'checksum')
  t.equal(plain.length, 8)
  for (const v of plain) {
    const b = hex(v.in.dataHex)
    t.equal(hex16(sum(b, 0, b.length)), v.out.sum, v.id)
    t.equal(hex16(finish(sum(b, 0, b.length))), v.out.checksum)
  }
  const pseudo = vectors.filter((v) => v.op === 'pseudo-checksum')
  t.equal(pseudo.length, 9)
  for (const v of pseudo) {
    const src = address(v.in.source)
    const dst = address(v.in.destination)
    const b = hex(v.in.segmentHex)
    b.fill(0, v.in.offset, v.in.offset + 2)
    t.equal(toHex(pseudoHeader(src, dst, v.in.protocol, b.length)), v.out.pseudoHeaderHex, v.id)
    const total = combine(combine(src.sum, dst.sum), combine(v.in.protocol, b.length))
    const field = finish(combine(total, sum(b, 0, b.length)))
    // wire/udp.ts turns a 0 of UDP's into ffff; everything else is sent as computed.
    t.equal(hex16(v.in.protocol === 17 && field === 0 ? 0xffff : field), v.out.checksum)
    const filled = hex(v.out.segmentHex)
    t.equal(combine(total, sum(filled, 0, filled.length)), 0xffff, 'verifies')
  }
})

/** One sum at a place in a buffer with other octets around it, taken through a view. */
function at(r: SeededRandom, data: Uint8Array, byteOffset: number, o: number): number {
  const buffer = new ArrayBuffer(byteOffset + o + data.length + 1 + r.below(4))
  r.fill(new Uint8Array(buffer))
  const view = new Uint8Array(buffer, byteOffset)
  view.set(data, o)
  return sum(view, o, data.length)
}

t.test('against a byte loop: lengths, offsets, odd addresses, views', async (t) => {
  const r = new SeededRandom(51)
  let n = 0
  for (let length = 0; length <= 140; length++) {
    const data = r.bytes(length)
    const expected = naiveSum(data)
    for (const byteOffset of [0, 1, 2, 3]) {
      for (const o of [0, 1, 2, 5]) {
        n++
        const got = at(r, data, byteOffset, o)
        if (got !== expected) t.equal(got, expected, `${length} octets at ${byteOffset} + ${o}`)
      }
    }
  }
  for (let i = 0; i < 1500; i++) {
    const data = r.bytes(r.below(3000))
    if (r.chance(0.2)) data.fill(255)
    n++
    if (at(r, data, r.below(9), r.below(9)) !== naiveSum(data)) t.fail(`${data.length} octets`)
  }
  t.pass(`${n} sums`)
})

t.test('all zeros and all ones', async (t) => {
  const r = new SeededRandom(52)
  for (const length of [1, 2, 39, 40, 41, 42, 43, 1400, 1401, 65534, 65535]) {
    for (const o of [0, 1]) {
      t.equal(at(r, new Uint8Array(length), 0, o), 0, `zeros, ${length} octets at ${o}`)
      const ones = new Uint8Array(length).fill(255)
      // RFC 1071: the odd last octet is the high half of its word, so the sum is ff00 then.
      t.equal(at(r, ones, 0, o), length === 1 ? 0xff00 : naiveSum(ones), `ones, ${length} octets at ${o}`)
    }
  }
})

t.test('65535 octets', async (t) => {
  const r = new SeededRandom(53)
  const data = r.bytes(65535)
  for (const byteOffset of [0, 1]) for (const o of [0, 1]) t.equal(at(r, data, byteOffset, o), naiveSum(data))
})

t.test('many buffers in turn, and the end of a buffer', async (t) => {
  // More than the cache of word views holds; sums must follow the octets, not the cache.
  const r = new SeededRandom(54)
  const buffers = Array.from({ length: 11 }, (_, i) => r.bytes(200 + i))
  for (let i = 0; i < 400; i++) {
    const b = buffers[r.below(buffers.length)] as Uint8Array
    const o = r.below(60)
    if (r.chance(0.3)) b[r.below(b.length)] = r.below(256)
    const n = b.length - o
    if (sum(b, o, n) !== naiveSum(b.subarray(o))) t.fail(`round ${i}`)
  }
  // A pooled Buffer is a view into a buffer that others use too.
  for (let i = 0; i < 50; i++) {
    const b = Buffer.from(r.bytes(41 + r.below(100)))
    t.equal(sum(b, 0, b.length), naiveSum(b))
  }
})

t.test('combine, finish, sum32', async (t) => {
  const r = new SeededRandom(55)
  for (let i = 0; i < 1000; i++) {
    const a = r.bytes(2 * r.below(40))
    const b = r.bytes(r.below(80))
    const both = new Uint8Array([...a, ...b])
    if (combine(sum(a, 0, a.length), sum(b, 0, b.length)) !== naiveSum(both)) t.fail(toHex(both))
    const w = r.below(2 ** 32)
    const word = new Uint8Array([w >>> 24, (w >>> 16) & 255, (w >>> 8) & 255, w & 255])
    if (sum32(w) !== naiveSum(word) || sum32(w | 0) !== naiveSum(word)) t.fail(String(w))
  }
  t.equal(combine(0xffff, 0xffff), 0xffff)
  t.equal(combine(0xffff, 1), 1)
  t.equal(combine(0, 0), 0)
  t.equal(finish(0), 0xffff)
  t.equal(finish(0xffff), 0)
  t.equal(sum32(-1), 0xffff)
  t.equal(sum32(0), 0)
})
