import { createHash } from 'node:crypto'
import t from 'tap'
import {
  callConnected,
  certificateHash,
  checkBinding,
  compoundMac,
  compoundMacKey,
  HASH,
  hashMask,
  hashName,
  strongestHash,
  verifyMac,
} from '../../src/sstp/binding.js'
import { bindingVectors, hex, shifted, toHex } from '../helpers/sstp.js'

const certificate = Buffer.from('certificate')
const nonce = hex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f')

t.test('every crypto-binding vector', (t) => {
  t.equal(bindingVectors.length, 8)
  for (const v of bindingVectors) {
    const hlak = hex(v.in.hlakHex)
    const { hash } = v.in
    t.equal(toHex(compoundMacKey(hash, hlak)), v.out.cmkHex, v.id)
    t.equal(
      toHex(callConnected(hash, hlak, hex(v.in.nonceHex), hex(v.in.certHashHex))),
      v.out.messageHex,
      v.id,
    )
    const { b, off } = shifted(hex(v.out.messageHex))
    const packet = b.subarray(off, off + 112)
    t.equal(
      toHex(compoundMac(hash, hlak, packet)),
      v.out.compoundMacHex,
      `${v.id}: whatever is in the MAC field`,
    )
    t.equal(verifyMac(packet, hash, hlak), true, v.id)
    t.equal(toHex(packet), v.out.messageHex, `${v.id}: left as it was`)
  }
  t.end()
})

t.test('a single wrong bit anywhere, padding included, is found', (t) => {
  const hlak = hex('40'.repeat(32))
  for (const hash of [HASH.SHA1, HASH.SHA256]) {
    const good = callConnected(hash, hlak, nonce, certificateHash(hash, certificate))
    const expected = { hashes: 3, nonce, certificate }
    t.equal(checkBinding(good, expected), hash)
    t.equal(verifyMac(good, hash, hlak), true)
    for (let at = 15; at < 112; at += 1) {
      const bad = Uint8Array.from(good)
      bad[at] = (bad[at] ?? 0) ^ (at === 15 ? 4 : 1 << (at & 7))
      const want = at === 15 ? 'hash' : at < 48 ? 'nonce' : at < 80 ? 'certificate' : hash
      if (checkBinding(bad, expected) !== want) t.fail(`octet ${at}`)
      if (verifyMac(bad, hash, hlak)) t.fail(`MAC with octet ${at} changed`)
    }
    for (let at = 0; at < 8; at += 1) {
      const bad = Uint8Array.from(good)
      bad[at] = (bad[at] ?? 0) ^ 0x80
      t.equal(verifyMac(bad, hash, hlak), false, `the header is part of the MAC: octet ${at}`)
    }
    t.equal(verifyMac(good, hash, new Uint8Array(32)), false, 'the zero key')
  }
  t.end()
})

t.test('the hash must be one of those offered, and exactly one', (t) => {
  const chosen = (value: number, hashes: number) => {
    const hash = HASH.SHA256
    const packet = callConnected(hash, new Uint8Array(32), nonce, certificateHash(hash, certificate))
    packet[15] = value
    return checkBinding(packet, { hashes, nonce, certificate })
  }
  t.equal(chosen(2, 2), 2)
  t.equal(chosen(2, 1), 'hash')
  t.equal(chosen(1, 2), 'hash')
  t.equal(chosen(3, 3), 'hash')
  t.equal(chosen(0, 3), 'hash')
  t.equal(chosen(6, 3), 'hash')
  t.end()
})

t.test('certificate hashes are those of the DER octets', (t) => {
  t.equal(
    toHex(certificateHash(HASH.SHA1, certificate)),
    createHash('sha1').update('certificate').digest('hex'),
  )
  t.equal(
    toHex(certificateHash(HASH.SHA256, certificate)),
    '03d66dd08835c1ca3f128cceacd1f31ac94163096b20f445ae84285bc0832d72',
  )
  t.end()
})

t.test('the strongest common hash', (t) => {
  t.same(
    [0, 1, 2, 3, 4, 5, 0xff].map((mask) => strongestHash(mask)),
    [undefined, 1, 2, 2, undefined, 1, 2],
  )
  t.same([hashName(1), hashName(2)], ['sha1', 'sha256'])
  t.equal(hashMask(), 3)
  t.equal(hashMask(2), 2)
  t.throws(() => hashMask(0), RangeError)
  t.throws(() => hashMask(5), RangeError)
  t.end()
})
