/** EAP-TLS and PEAP with ends that break the rules: each costs its own conversation, in few words. */
import t from 'tap'
import { eapTlsAuthenticator, eapTlsPeer } from '../../../../src/ppp/auth/eap/eap-tls.js'
import type {
  EapMethod,
  EapMethodChoice,
  EapMethodHost,
  EapResult,
} from '../../../../src/ppp/auth/eap/method.js'
import { peapPeer } from '../../../../src/ppp/auth/eap/peap.js'
import {
  bindingFits,
  bindingRequest,
  bindingResponse,
  compoundKeys,
  compoundMsk,
  nakTlv,
  parseTlvs,
  resultTlv,
  tlvPacket,
} from '../../../../src/ppp/auth/eap/peap-tlv.js'
import type { TlsEngine, TlsEngineFactory } from '../../../../src/ppp/auth/eap/tls-engine.js'
import type { PppError } from '../../../../src/ppp/errors.js'
import { eapClientTls, eapServerTls } from '../../../../src/transport/eap-trust.js'
import { readIdentity } from '../../../../src/transport/tls-identity.js'
import { Conversation, fixture } from '../../../helpers/eap-conversation.js'
import { fromHex, seededNumbers, seededRandom, toHex } from '../../../helpers/ppp.js'

/** An engine that does as a test says. */
class Puppet implements TlsEngine {
  state: TlsEngine['state'] = 'handshake'
  error: TlsEngine['error']
  protocol: string | undefined
  peer: TlsEngine['peer']
  busy = false
  out: Uint8Array | undefined = Uint8Array.of(22, 3, 1)
  data: Uint8Array | undefined
  destroyed = 0
  readonly received: string[] = []
  receive(b: Uint8Array, off: number, len: number): void {
    this.received.push(toHex(b.subarray(off, off + len)))
  }
  take(): Uint8Array | undefined {
    return this.out
  }
  write(): void {}
  read(): Uint8Array | undefined {
    const { data } = this
    this.data = undefined
    return data
  }
  exportKeyingMaterial(length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => i)
  }
  destroy(): void {
    this.destroyed += 1
  }
}

/** A method by itself, with all that it says. */
function stage(choose: (tls: TlsEngineFactory) => EapMethodChoice) {
  const puppet = new Puppet()
  const said: string[] = []
  const results: EapResult[] = []
  const errors: PppError[] = []
  const host: EapMethodHost = {
    random: seededRandom(1),
    limit: 1000,
    send: (data) => void said.push(toHex(data)),
    succeeded: (result) => void results.push(result),
    failed: (error) => void errors.push(error),
    note() {},
    onActivity() {},
  }
  const method: EapMethod = choose(() => puppet).create(host)
  method.start(0)
  const hear = (hex: string): boolean => {
    const b = fromHex(hex)
    return method.input(b, 0, b.length, 0)
  }
  const settle = (): void => {
    puppet.busy = false
    method.activity(0)
  }
  return { puppet, said, results, errors, method, hear, settle }
}

t.test('a peer that is told impossible things', async (t) => {
  for (const [what, packets, sentence] of [
    ['1 GiB', ['c04000000016'], /1073741824 octets is announced/],
    ['a torn length', ['8000'], /shorter than its length/],
    ['nothing, and more', ['40'], /without data/],
    ['another length', ['c0000000090116', 'c0000000080116'], /length of a flight changes/],
  ] as const) {
    const { errors, hear, said } = stage(eapTlsPeer)
    t.equal(hear('20'), true)
    for (const packet of packets) hear(packet)
    t.equal(errors[0]?.code, 'AUTH_TLS', what)
    t.match(errors[0]?.message, /^the server broke the rules of EAP-TLS: /, what)
    t.match(errors[0]?.message, sentence, what)
    t.ok(said.length <= 2, what)
  }
})

t.test('order', async (t) => {
  const { puppet, hear, said, errors, settle } = stage(eapTlsPeer)
  t.equal(hear('001603'), false, 'data before the start')
  t.equal(hear(''), false)
  puppet.busy = true
  t.equal(hear('20'), true)
  t.same(said, [], 'the engine is at work')
  t.equal(hear('20'), false, 'and one thing is done at a time')
  settle()
  t.same(said, ['00160301'])
  puppet.out = new Uint8Array(5000)
  t.equal(hear('0016'), true)
  t.equal(said.length, 2)
  t.equal(hear('0017'), true, 'data where an acknowledgement is due')
  t.match(errors[0]?.message, /in the middle of our flight/)
})

t.test('a server that starts again: taken up once, whatever was under way', async (t) => {
  for (const [what, before] of [
    ['behind the first flight', []],
    ['in the middle of its own flight', ['4016', '4017']],
    ['where an acknowledgement of ours is due', ['0016']],
  ] as const) {
    const { puppet, hear, said, errors } = stage(eapTlsPeer)
    hear('20')
    puppet.out = new Uint8Array(5000)
    for (const packet of before) hear(packet)
    puppet.out = Uint8Array.of(22, 3, 1)
    t.equal(hear('20'), true, what)
    t.equal(puppet.destroyed, 1)
    t.equal(said.at(-1), '00160301', 'the first flight of another handshake')
    t.equal(hear('0018'), true)
    t.equal(puppet.received.at(-1), '18', 'whose flights are whole by themselves')
    t.same(errors, [])
    hear('20')
    t.match(errors[0]?.message, /^the server broke the rules of EAP-TLS: it starts again and again$/)
    t.equal(puppet.destroyed, 1)
  }
})

t.test('a start behind the end is none', async (t) => {
  const { puppet, hear, said, results } = stage(eapTlsPeer)
  hear('20')
  Object.assign(puppet, { state: 'open', protocol: 'TLSv1.2', out: undefined })
  hear('0016')
  t.equal(results.length, 1)
  t.equal(hear('20'), false)
  t.equal(said.length, 2)
  t.equal(puppet.destroyed, 0)
})

t.test('a handshake without end', async (t) => {
  const { hear, errors, said } = stage(eapTlsPeer)
  hear('20')
  let rounds = 0
  for (; errors.length === 0 && rounds < 1000; rounds += 1) hear('0016')
  t.equal(rounds, 65)
  t.equal(said.length, 65)
  t.match(errors[0]?.message, /a conversation without end/)
})

t.test('TLS 1.3: only the commitment is the end (RFC 9190 2.5)', async (t) => {
  for (const [data, good] of [
    ['00', true],
    ['01', false],
    ['0000', false],
    ['', false],
  ] as const) {
    const { puppet, hear, results, errors } = stage(eapTlsPeer)
    hear('20')
    Object.assign(puppet, { state: 'open', protocol: 'TLSv1.3', out: undefined })
    hear('0016')
    t.same([results.length, errors.length], [0, 0], 'our Finished is no success yet')
    puppet.data = fromHex(data)
    hear('0017')
    t.same([results.length, errors.length], good ? [1, 0] : [0, 1], data)
    if (good) t.equal(results[0]?.certain, true)
    else t.match(errors[0]?.message, /it sends data through TLS/)
  }
})

t.test('TLS 1.2: no data at all; a Failure is still believed', async (t) => {
  const { puppet, hear, results, method, said } = stage(eapTlsPeer)
  hear('20')
  Object.assign(puppet, { state: 'open', protocol: 'TLSv1.2', out: undefined })
  hear('0016')
  t.equal(results[0]?.certain, false)
  t.equal(said.at(-1), '00', 'the empty answer to the last flight')
  t.equal(method.undecided, true)
  t.match(method.refusal()?.message, /does not know our certificate/)
  method.close()
  t.equal(puppet.destroyed, 1)
})

t.test("a server's alert is acknowledged, and becomes the reason", async (t) => {
  const { puppet, hear, said, errors, method } = stage(eapTlsPeer)
  hear('20')
  puppet.out = undefined
  Object.assign(puppet, {
    state: 'failed',
    error: { kind: 'alert', code: 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', message: 'it does not know the issuer' },
  })
  hear('0015')
  t.equal(said.at(-1), '00')
  t.same(errors, [], 'EAP-Failure comes by itself')
  t.equal(method.refusal()?.code, 'AUTH_REFUSED')
  t.match(method.refusal()?.message, /^the server refused us in EAP-TLS: it does not know the issuer$/)
})

t.test('an authenticator hears what a client must not say', async (t) => {
  const { puppet, hear, said, errors } = stage(eapTlsAuthenticator)
  t.same(said, ['20'])
  t.equal(hear('20'), false, 'a start')
  Object.assign(puppet, { state: 'open', protocol: 'TLSv1.2', out: Uint8Array.of(22) })
  hear('0016')
  hear('0017')
  t.match(errors[0]?.message, /it goes on behind the end/)
})

t.test('PEAP: results that are none', async (t) => {
  const choose = (tls: TlsEngineFactory) => peapPeer(tls, { user: 'alice', methods: [] })
  for (const [what, inner, code] of [
    ['success without proof', tlvPacket(1, 9, resultTlv(1)), 'AUTH_SERVER_UNPROVEN'],
    ['no TLV', tlvPacket(1, 9), 'AUTH_TLS'],
    ['a torn TLV', tlvPacket(1, 9, Uint8Array.of(0x80, 3, 0, 9)), 'AUTH_TLS'],
    ['two results', tlvPacket(1, 9, resultTlv(2), resultTlv(1)), 'AUTH_TLS'],
  ] as const) {
    const { puppet, hear, errors, results } = stage(choose)
    hear('20')
    Object.assign(puppet, { state: 'open', protocol: 'TLSv1.2', out: undefined, data: inner })
    hear('0017')
    t.equal(errors[0]?.code, code, what)
    t.same(results, [], what)
  }
})

t.test('TLVs: any octets', async (t) => {
  const number = seededNumbers(5)
  let parsed = 0
  for (let round = 0; round < 20_000; round += 1) {
    const b = Uint8Array.from({ length: number(80) }, () => (number(3) === 0 ? number(256) : number(5)))
    if (parseTlvs(b, 0, b.length) !== undefined) parsed += 1
  }
  t.ok(parsed > 100, `${parsed} were whole`)
  t.same(parseTlvs(Uint8Array.of(0x80, 7, 0, 0), 0, 4), { result: undefined, binding: undefined, unknown: 7 })
  t.equal(toHex(nakTlv(7)), '8004000600000000' + '0007')
})

t.test('crypto binding: by both keys, to the very request', async (t) => {
  const tunnel = Uint8Array.from({ length: 128 }, (_, i) => i)
  const keys = compoundKeys(tunnel, new Uint8Array(32).fill(1))
  const request = bindingRequest(keys, new Uint8Array(32).fill(2))
  t.equal(request.length, 60)
  t.equal(bindingFits(keys, request), true)
  const response = bindingResponse(keys, request)
  t.equal(bindingFits(keys, response, request), true)
  t.equal(bindingFits(keys, request, request), false, 'a mirror')
  t.equal(bindingFits(keys, response), false)
  const other = bindingRequest(keys, new Uint8Array(32).fill(3))
  t.equal(bindingFits(keys, bindingResponse(keys, other), request), false, 'another nonce')
  t.equal(bindingFits(compoundKeys(tunnel, new Uint8Array(32)), request), false, 'other inner keys')
  for (let i = 0; i < 60; i += 1) {
    const bent = Uint8Array.from(request)
    bent[i] = (bent[i] ?? 0) ^ 1
    if (bindingFits(keys, bent)) t.fail(`octet ${i} is not protected`)
  }
  t.equal(compoundMsk(keys).length, 64)
})

t.test('real TLS over a wire that bends packets', async (t) => {
  const number = seededNumbers(21)
  const identity = (name: string) =>
    readIdentity({ certificate: fixture(`${name}.pem`), key: fixture(`${name}.key`) })
  const ca = fixture('ca.pem').toString()
  const endings = new Set<string>()
  for (let round = 0; round < 60; round += 1) {
    const conversation = new Conversation({
      limit: 400,
      peer: (watch) => [
        eapTlsPeer(watch(eapClientTls({ identity: identity('client'), trust: { ca }, onWarning() {} }))),
      ],
      authenticator: (watch) => [
        eapTlsAuthenticator(
          watch(
            eapServerTls({
              identity: identity('server'),
              clientCa: ca,
              maxVersion: round % 2 === 0 ? 'TLSv1.2' : 'TLSv1.3',
            }),
          ),
        ),
      ],
      wire: (packet) => {
        // Types and lengths pass, so that what is bent is for the method.
        if (packet.length < 7 || number(12) > 0) return [packet]
        const bent = Uint8Array.from(packet)
        bent[5 + number(packet.length - 5)] = number(256)
        return number(3) === 0 ? [bent, packet] : [bent]
      },
    })
    const { peer, authenticator } = (await conversation.run()).ends
    if (peer.succeeded && authenticator.succeeded) t.same(peer.keys, authenticator.keys)
    for (const { error } of [peer, authenticator]) {
      if (error !== undefined && /\n/.test(error.message)) t.fail(error.message)
    }
    endings.add(peer.succeeded ? 'success' : (peer.error?.code ?? 'none'))
    t.ok(peer.succeeded || peer.error !== undefined, 'it has an end')
  }
  t.ok(endings.has('success') && endings.size > 1, [...endings].join())
})
