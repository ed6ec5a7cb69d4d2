/** Packets of EAP and of EAP-MSCHAPv2, and a change of password, each against the product's own functions. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { msPacket } from '../../src/ppp/auth/eap/mschapv2.js'
import { eapEnd, eapPacket } from '../../src/ppp/auth/eap/packet.js'
import {
  decryptNewPassword,
  encryptNewPassword,
  encryptOldHash,
  ntPasswordHash,
  rc4,
} from '../../src/ppp/auth/mschap-crypto.js'
import { fromHex, toHex } from '../helpers/ppp.js'

interface Input {
  code?: number
  id?: number
  type?: number
  dataHex?: string
  dataText?: string
  opCode?: number
  msId?: number
  bare?: boolean
  oldPassword?: string
  newPassword?: string
}
interface Vector {
  id: string
  op: string
  in: Input
  out: Record<string, string>
}
const file = new URL('../vectors/eap.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Vector[] }

const data = (i: Input): Uint8Array =>
  i.dataText === undefined ? fromHex(i.dataHex ?? '') : new TextEncoder().encode(i.dataText)

const ops: Record<string, (i: Input) => Record<string, string>> = {
  eap(i) {
    const { code = 0, id = 0, type } = i
    return { packetHex: toHex(type === undefined ? eapEnd(code, id) : eapPacket(code, id, type, data(i))) }
  },
  'eap-mschapv2'(i) {
    const { code = 0, id = 0, opCode = 0, msId = 0 } = i
    const body = i.bare === true ? Uint8Array.of(opCode) : msPacket(opCode, msId, data(i))
    return { packetHex: toHex(eapPacket(code, id, 26, body)) }
  },
  'mschapv2-change-password'(i) {
    const filler = Uint8Array.from({ length: 512 }, (_, n) => n & 255)
    const oldHash = ntPasswordHash(i.oldPassword ?? '')
    return {
      encryptedPasswordHex: toHex(encryptNewPassword(i.newPassword ?? '', oldHash, filler)),
      encryptedHashHex: toHex(encryptOldHash(oldHash, ntPasswordHash(i.newPassword ?? ''))),
    }
  },
}

t.equal(vectors.length, 14, 'none was left out')
for (const vector of vectors) {
  t.test(vector.id, async (t) => {
    const op = ops[vector.op]
    if (op === undefined) throw new Error(`no code for ${vector.op}`)
    t.same(op(vector.in), vector.out)
  })
}

t.test('a hidden password comes back, and from noise none does', async (t) => {
  const hash = ntPasswordHash('old')
  for (const password of ['', 'a', 'pässwörd€ 😀', 'x'.repeat(256)]) {
    t.equal(decryptNewPassword(encryptNewPassword(password, hash, new Uint8Array(512)), hash), password)
  }
  const block = encryptNewPassword('secret', hash, new Uint8Array(512))
  t.equal(decryptNewPassword(block, ntPasswordHash('other')), undefined)
  for (const length of [
    [1, 0, 0, 0],
    [2, 2, 0, 0],
    [2, 0, 1, 0],
    [2, 0, 0, 1],
  ]) {
    const plain = new Uint8Array(516)
    plain.set(length, 512)
    t.equal(decryptNewPassword(rc4(hash, plain), hash), undefined, String(length))
  }
})
