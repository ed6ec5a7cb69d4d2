import { readFileSync } from 'node:fs'
import t from 'tap'
import { SipHash } from '../../stack/siphash.js'
import { hex } from '../helpers/ip-packet.js'
import { SeededRandom } from '../helpers/random.js'

const { siphash } = JSON.parse(readFileSync('test/vectors/ip.json', 'utf8')) as {
  siphash: { keyHex: string; outHex: string[] }
}

/** The 64-bit result as a number is written: high half first. */
function hash64(h: SipHash, m: Uint8Array): string {
  const low = h.hash(m) >>> 0
  return (h.high >>> 0).toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')
}

const reversed = (text: string): string => (text.match(/../g) ?? []).reverse().join('')

t.test('the example of the paper, appendix A', async (t) => {
  const h = new SipHash(hex('000102030405060708090a0b0c0d0e0f'))
  t.equal(hash64(h, hex('000102030405060708090a0b0c0d0e')), 'a129ca6149be45e5')
})

t.test('inputs of 0 to 63 octets', async (t) => {
  t.equal(siphash.outHex.length, 64)
  const h = new SipHash(hex(siphash.keyHex))
  siphash.outHex.forEach((expected, n) => {
    const whole = Uint8Array.from({ length: n }, (_, i) => i)
    t.equal(hash64(h, whole), reversed(expected), `${n} octets`)
    const inside = new Uint8Array(n + 9).fill(0xa5)
    inside.set(whole, 5)
    t.equal(hash64(h, inside.subarray(5, 5 + n)), reversed(expected), 'in a view')
  })
})

t.test('words are hashed as their octets', async (t) => {
  const h = new SipHash(hex('ffeeddccbbaa99887766554433221100'))
  const octets = h.hash(hex('00000001fffffffe80000000'))
  t.equal(h.hashWords([1, -2, 0x80000000]), octets)
  t.equal(h.hashWords([1, 0xfffffffe, -0x80000000]), octets, 'signed or not')
  t.not(h.hashWords([1, -2]), octets)
})

t.test('the key comes from the caller', async (t) => {
  const key = new Uint8Array(16)
  new SeededRandom(3).fill(key)
  const h = SipHash.random(new SeededRandom(3).fill)
  t.equal(hash64(h, hex('01')), hash64(new SipHash(key), hex('01')))
  t.not(hash64(SipHash.random(new SeededRandom(4).fill), hex('01')), hash64(h, hex('01')))
})
