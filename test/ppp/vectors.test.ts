/** Published and computed results, each against the product's own functions. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { chapValue } from '../../src/ppp/auth/chap.js'
import { chapMd5 } from '../../src/ppp/auth/chap-md5.js'
import {
  asymmetricStartKey,
  authenticatorResponse,
  challengeHash,
  challengeResponse,
  desEncrypt,
  desKey,
  hashNtPasswordHash,
  higherLayerKey,
  masterKey,
  md4,
  ntPasswordHash,
  utf16le,
  withoutDomain,
} from '../../src/ppp/auth/mschap-crypto.js'
import { parseFailure, responseValue } from '../../src/ppp/auth/mschapv2.js'
import { papRequest } from '../../src/ppp/auth/pap.js'
import { CONTROL_HEADER, controlLength, setControlHeader } from '../../src/ppp/control.js'
import { FRAME_HEADER, frameHeader, frameProtocol, setFrameHeader } from '../../src/ppp/frame.js'
import { OptionWriter, optionsValid } from '../../src/ppp/option.js'
import { fromHex, toHex } from '../helpers/ppp.js'

type Text =
  | 'text'
  | 'key7Hex'
  | 'blockHex'
  | 'username'
  | 'password'
  | 'authenticatorChallengeHex'
  | 'peerChallengeHex'
  | 'ntResponseHex'
  | 'passwordHashHashHex'
  | 'name'
  | 'message'
  | 'secret'
  | 'challengeHex'
  | 'protocol'
  | 'dataHex'
type Input = { [key in Text]?: string } & {
  id?: number
  code?: number
  strength?: number
  options?: { type: number; dataHex: string }[]
}
interface Vector {
  id: string
  op: string
  in: Input
  out: Record<string, unknown>
}
const file = new URL('../vectors/ppp.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Vector[] }

const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'))
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const sha1 = (...parts: Uint8Array[]): Uint8Array =>
  new Uint8Array(createHash('sha1').update(Buffer.concat(parts)).digest())

/** RC4: the MPPE samples end in a cipher text, which SSTP never makes. */
function rc4(key: Uint8Array, data: Uint8Array): Uint8Array {
  const s = Array.from({ length: 256 }, (_, i) => i)
  const at = (i: number): number => s[i & 255] ?? 0
  const swap = (i: number, j: number): void => {
    const x = at(i)
    s[i] = at(j)
    s[j] = x
  }
  for (let i = 0, j = 0; i < 256; i += 1) {
    j = (j + at(i) + (key[i % key.length] ?? 0)) & 255
    swap(i, j)
  }
  let j = 0
  return data.map((octet, n) => {
    const i = (n + 1) & 255
    j = (j + at(i)) & 255
    swap(i, j)
    return octet ^ at(at(i) + at(j))
  })
}

/** A control packet by the product's writers, in a dirty buffer. */
function packet(code: number, id: number, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(CONTROL_HEADER + body.length).fill(0xa5)
  setControlHeader(out, 0, code, id, out.length)
  out.set(body, CONTROL_HEADER)
  return out
}

const ops: Record<string, (i: Input) => Record<string, unknown>> = {
  md4: (i) => ({ digestHex: toHex(md4(latin1(i.text ?? ''))) }),
  'des-key': (i) => ({ key8Hex: toHex(desKey(fromHex(i.key7Hex ?? ''))) }),
  'des-block': (i) => ({ blockHex: toHex(desEncrypt(fromHex(i.key7Hex ?? ''), fromHex(i.blockHex ?? ''))) }),
  'nt-hash': (i) => ({
    unicodeHex: toHex(utf16le(i.password ?? '')),
    hashHex: toHex(ntPasswordHash(i.password ?? '')),
  }),
  mschapv2(i) {
    const auth = fromHex(i.authenticatorChallengeHex ?? '')
    const challenge = challengeHash(fromHex(i.peerChallengeHex ?? ''), auth, withoutDomain(i.username ?? ''))
    const hash = ntPasswordHash(i.password ?? '')
    const hashHash = hashNtPasswordHash(hash)
    const response = challengeResponse(challenge, hash)
    return {
      challengeHex: toHex(challenge),
      passwordHashHex: toHex(hash),
      passwordHashHashHex: toHex(hashHash),
      ntResponseHex: toHex(response),
      authenticatorResponse: authenticatorResponse(hashHash, response, challenge),
    }
  },
  'mschapv2-response-packet'(i) {
    const value = responseValue(fromHex(i.peerChallengeHex ?? ''), fromHex(i.ntResponseHex ?? ''))
    return { packetHex: toHex(packet(2, i.id ?? 0, chapValue(value, utf8(i.name ?? '')))) }
  },
  'mschapv2-failure': (i) => ({ fields: parseFailure(i.message ?? '') }),
  mppe(i) {
    const length = i.strength === 128 ? 16 : 8
    const master = masterKey(fromHex(i.passwordHashHashHex ?? ''), fromHex(i.ntResponseHex ?? ''))
    const start = asymmetricStartKey(master, length, true, true)
    const pads = [new Uint8Array(40), new Uint8Array(40).fill(0xf2)] as const
    const session = sha1(start, pads[0], start, pads[1]).subarray(0, length)
    if (i.strength === 40) session.set([0xd1, 0x26, 0x9e])
    if (i.strength === 56) session.set([0xd1])
    return {
      masterKeyHex: toHex(master),
      sendStartKeyHex: toHex(start),
      sendSessionKeyHex: toHex(session),
      encryptedHex: toHex(rc4(session, latin1(i.message ?? ''))),
    }
  },
  'hlak-mschapv2'(i) {
    const hashHash = fromHex(i.passwordHashHashHex ?? '')
    const response = fromHex(i.ntResponseHex ?? '')
    const hlak = higherLayerKey(hashHash, response)
    return {
      masterKeyHex: toHex(masterKey(hashHash, response)),
      clientSendKeyHex: toHex(hlak.subarray(0, 16)),
      clientReceiveKeyHex: toHex(hlak.subarray(16)),
      hlakHex: toHex(hlak),
      eapMskHex: toHex(hlak) + '00'.repeat(32),
    }
  },
  'chap-md5'(i) {
    const value = chapMd5(i.id ?? 0, i.secret ?? '', fromHex(i.challengeHex ?? ''))
    return {
      valueHex: toHex(value),
      responseHex: toHex(packet(2, i.id ?? 0, chapValue(value, utf8(i.name ?? '')))),
    }
  },
  'pap-request': (i) => ({
    packetHex: toHex(
      packet(1, i.id ?? 0, papRequest(i.username ?? '', i.password ?? '') ?? new Uint8Array(0)),
    ),
  }),
  ppp(i) {
    const writer = new OptionWriter(200)
    for (const option of i.options ?? []) writer.put(option.type, fromHex(option.dataHex))
    const body = i.options === undefined ? fromHex(i.dataHex ?? '') : writer.take()
    const inner = packet(i.code ?? 0, i.id ?? 0, body)
    const frame = new Uint8Array(FRAME_HEADER + inner.length).fill(0xa5)
    setFrameHeader(frame, 0, Number.parseInt(i.protocol ?? '', 16))
    frame.set(inner, FRAME_HEADER)
    return { frameHex: toHex(frame) }
  },
}

t.equal(vectors.length, 63, 'none was left out')
for (const vector of vectors) {
  t.test(vector.id, async (t) => {
    const op = ops[vector.op]
    if (op === undefined) throw new Error(`no code for ${vector.op}`)
    t.same(op(vector.in), vector.out)
  })
}

t.test('a server derives the same key halves as its client', async (t) => {
  const master = fromHex('fdece3717a8c838cb388e527ae3cdd31')
  const send = (server: boolean): string => toHex(asymmetricStartKey(master, 16, true, server))
  const receive = (server: boolean): string => toHex(asymmetricStartKey(master, 16, false, server))
  t.equal(send(false), receive(true))
  t.equal(receive(false), send(true))
  t.not(send(false), receive(false))
})

t.test('frames of the vectors are read back: whole, cut, padded, at an offset', async (t) => {
  for (const vector of vectors.filter((vector) => vector.op === 'ppp')) {
    const frame = fromHex(String(vector.out.frameHex))
    const length = frame.length - FRAME_HEADER
    for (const [before, behind] of [
      [0, 0],
      [3, 0],
      [0, 9],
      [5, 2],
    ] as const) {
      const b = new Uint8Array(before + frame.length + behind).fill(0xa5)
      b.set(frame, before)
      const header = frameHeader(b, before, frame.length + behind)
      t.equal(header, 4, vector.id)
      t.equal(frameProtocol(b, before, header), Number.parseInt(vector.in.protocol ?? '', 16))
      t.equal(controlLength(b, before + 4, length + behind), length)
      if (vector.in.options !== undefined) {
        t.ok(optionsValid(b, before + 8, length - 4))
        // Cut anywhere but between two options, the list is invalid.
        const cuts = new Set([0])
        for (let p = 0, n = 0; n < vector.in.options.length; n += 1) {
          p += 2 + (vector.in.options[n]?.dataHex.length ?? 0) / 2
          cuts.add(p)
        }
        const valid = new Set<number>()
        for (let cut = 0; cut <= length - 4; cut += 1) if (optionsValid(b, before + 8, cut)) valid.add(cut)
        t.same(valid, cuts, vector.id)
      }
      const enough: number[] = []
      for (let cut = 0; cut < length; cut += 1) if (controlLength(b, before + 4, cut) >= 0) enough.push(cut)
      t.same(enough, [], vector.id)
    }
  }
})
