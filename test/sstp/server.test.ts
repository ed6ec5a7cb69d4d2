import t from 'tap'
import type { Attribute } from '../../src/sstp/attribute.js'
import { statusInfo } from '../../src/sstp/attribute.js'
import { callConnected, certificateHash, HASH, type Hash } from '../../src/sstp/binding.js'
import { MAX_OUTPUT } from '../../src/sstp/call.js'
import { controlPacket, type MessageName } from '../../src/sstp/packet.js'
import { type ServerOptions, SstpServer } from '../../src/sstp/server.js'
import { hex, seededBytes, Talk, toHex } from '../helpers/sstp.js'

const certificate = Buffer.from('certificate')
const hlak = hex('40'.repeat(32))
const ppp: Attribute = { kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 1 }

function fresh(options: Partial<ServerOptions> = {}): Talk<SstpServer> {
  return new Talk(new SstpServer({ certificate, random: seededBytes(3), ...options }))
}

function requestPending(options: Partial<ServerOptions> = {}): Talk<SstpServer> {
  const talk = fresh(options)
  talk.call.start(talk.now)
  return talk
}

/** With the nonce that it sent. */
function connectedPending(options: Partial<ServerOptions> = {}): {
  talk: Talk<SstpServer>
  nonce: Uint8Array
} {
  const talk = requestPending(options).hear('CALL_CONNECT_REQUEST', [ppp])
  const [ack] = talk.packets()
  talk.events()
  return { talk, nonce: (ack ?? new Uint8Array(0)).slice(16, 48) }
}

function connected(options: Partial<ServerOptions> = {}): Talk<SstpServer> {
  const { talk, nonce } = connectedPending(options)
  talk.call.authenticated(hlak, talk.now)
  talk.hear(good(nonce))
  talk.events()
  return talk
}

function good(nonce: Uint8Array, hash: Hash = HASH.SHA256, key = hlak): Uint8Array {
  return callConnected(hash, key, nonce, certificateHash(hash, certificate))
}

const gates = (talk: Talk<SstpServer>) => [talk.call.mayControl, talk.call.mayData]

t.test('a call comes up', (t) => {
  const talk = fresh()
  t.equal(talk.call.state, 'Server_Call_Disconnected')
  t.equal(talk.call.nextTimeout(), Infinity)

  talk.call.start(talk.now)
  t.equal(talk.call.state, 'Server_Connect_Request_Pending')
  t.equal(talk.call.nextTimeout(), talk.now + 60_000)
  t.same(gates(talk), [false, false])

  talk.wait(400).hear('CALL_CONNECT_REQUEST', [ppp])
  t.equal(talk.call.state, 'Server_Call_Connected_Pending')
  const nonce = new Uint8Array(32)
  seededBytes(3)(nonce)
  const [ack] = talk.packets()
  t.equal(ack && toHex(ack), `1001003000020001000400280000000${3}${toHex(nonce)}`)
  t.same(talk.told(), ['ack 3 -'])
  t.same(gates(talk), [true, false], 'PPP control frames only')
  t.equal(talk.call.nextTimeout(), talk.now + 60_000)

  talk.wait(400)
  talk.call.authenticated(hlak, talk.now)
  t.equal(talk.call.state, 'Server_Call_Connected_Pending')
  t.same(gates(talk), [true, false], 'no IP packets before CALL_CONNECTED')
  t.equal(talk.call.nextTimeout(), talk.now + 59_600, 'the negotiation timer goes on')

  talk.wait(400).hear(good(nonce))
  t.equal(talk.call.state, 'Server_Call_Connected')
  t.same(talk.told(), ['connected 2'])
  t.same(talk.said(), [], 'nothing answers CALL_CONNECTED')
  t.same(gates(talk), [true, true])
  t.equal(talk.call.nextTimeout(), talk.now + 60_000, 'the hello timer')
  t.end()
})

t.test('either hash, as far as offered; the key is copied', (t) => {
  for (const [hashes, hash, ok] of [
    [3, 1, true],
    [3, 2, true],
    [1, 1, true],
    [2, 2, true],
    [2, 1, false],
    [1, 2, false],
  ] as const) {
    const { talk, nonce } = connectedPending({ hashes })
    const key = Uint8Array.from(hlak)
    talk.call.authenticated(key, talk.now)
    key.fill(0)
    talk.hear(good(nonce, hash))
    t.same(talk.told(), ok ? [`connected ${hash}`] : ['closing: SSTP_CRYPTO_BINDING'], `${hashes} ${hash}`)
  }
  t.throws(() => fresh({ hashes: 4 }), RangeError)
  t.end()
})

t.test('an early CALL_CONNECTED is held until the key is known', (t) => {
  const { talk, nonce } = connectedPending()
  talk.hear(good(nonce))
  t.equal(talk.call.state, 'Server_Call_Connected_Pending')
  t.same([talk.said(), talk.told(), gates(talk)], [[], [], [true, false]])
  talk.wait(1_000)
  talk.call.authenticated(hlak, talk.now)
  t.equal(talk.call.state, 'Server_Call_Connected')
  t.same(talk.told(), ['connected 2'])

  const zero = connectedPending()
  zero.talk.hear(good(zero.nonce, HASH.SHA256, new Uint8Array(32)))
  t.same(zero.talk.told(), [])
  zero.talk.call.authenticated(hlak, zero.talk.now)
  t.same(zero.talk.told(), ['closing: SSTP_CRYPTO_BINDING'], 'made with the zero key')

  const never = connectedPending()
  never.talk.hear(good(never.nonce)).wait(60_000)
  t.same(never.talk.said(), ['CALL_ABORT NEGOTIATION_TIMEOUT'], 'not held for ever')

  const twice = connectedPending()
  twice.talk.hear(good(twice.nonce)).hear(good(twice.nonce))
  t.same(twice.talk.said(), ['CALL_ABORT UNACCEPTED_FRAME_RECEIVED'])
  twice.talk.call.authenticated(hlak, twice.talk.now)
  t.equal(twice.talk.call.state, 'Call_Abort_Pending')
  t.end()
})

t.test('a CALL_CONNECTED that is not good ends in CALL_ABORT', (t) => {
  const change = (at: number) => (p: Uint8Array) => p.fill((p[at] ?? 0) ^ 0x10, at, at + 1)
  const cases: [string, (p: Uint8Array) => Uint8Array, string, RegExp][] = [
    ['hash', change(15), 'SSTP_CRYPTO_BINDING', /hash .*not offered/],
    ['nonce', change(30), 'SSTP_CRYPTO_BINDING', /nonce/],
    ['certificate hash', change(50), 'SSTP_CRYPTO_BINDING', /another certificate/],
    ['MAC', change(100), 'SSTP_CRYPTO_BINDING', /does not fit its log-in/],
    ['a zero MAC', (p) => p.fill(0, 80), 'SSTP_CRYPTO_BINDING', /does not fit its log-in/],
    ['no attribute', () => controlPacket('CALL_CONNECTED'), 'SSTP_INVALID_MESSAGE', /no crypto binding/],
    [
      'a short attribute',
      () => controlPacket('CALL_CONNECTED', [{ kind: 'OTHER', id: 3, value: new Uint8Array(99) }]),
      'SSTP_INVALID_MESSAGE',
      /no crypto binding/,
    ],
    [
      'another attribute of that length',
      () => controlPacket('CALL_CONNECTED', [{ kind: 'OTHER', id: 9, value: new Uint8Array(100) }]),
      'SSTP_INVALID_MESSAGE',
      /no crypto binding/,
    ],
    ['octets behind', (p) => Uint8Array.from([...p, 0]), 'SSTP_INVALID_MESSAGE', /more than that/],
  ]
  for (const [name, spoil, code, words] of cases) {
    const { talk, nonce } = connectedPending()
    talk.call.authenticated(hlak, talk.now)
    talk.hear(spoil(good(nonce)))
    t.same(talk.said(), ['CALL_ABORT CRYPTO_BINDING INVALID_FRAME_RECEIVED'], name)
    t.match(
      talk.events(),
      [{ type: 'closing', error: { code, fault: 'remote', status: 7, message: words } }],
      name,
    )
    t.equal(talk.call.state, 'Call_Abort_Pending')
    t.same(gates(talk), [false, false])
  }
  const other = connectedPending({ certificate: Buffer.from('another') })
  other.talk.call.authenticated(hlak, other.talk.now)
  other.talk.hear(good(other.nonce))
  t.match(other.talk.events(), [{ error: { message: /another certificate/ } }])
  t.end()
})

t.test('what is refused in a CALL_CONNECT_REQUEST', (t) => {
  const binding: Attribute = {
    kind: 'CRYPTO_BINDING',
    hash: 1,
    nonce: hex('00'),
    certHash: hex('00'),
    compoundMac: hex('00'),
  }
  const offer: Attribute = { kind: 'CRYPTO_BINDING_REQ', hashes: 1, nonce: hex('00') }
  const missing = statusInfo(1, 0x0a)
  const other = (id: number, text: string): Attribute => ({ kind: 'OTHER', id, value: hex(text) })
  const cases: [string, Attribute[], Attribute[]][] = [
    ['no protocol', [], [missing]],
    [
      'another protocol',
      [{ kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 0x1234 }],
      [statusInfo(1, 4, hex('1234'))],
    ],
    ['a short protocol', [other(1, '01')], [statusInfo(1, 3, hex('01'))]],
    ['an empty protocol', [other(1, '')], [statusInfo(1, 3)]],
    ['a long protocol', [other(1, '000100')], [statusInfo(1, 3, hex('000100'))]],
    ['a very long one', [other(1, '11'.repeat(80))], [statusInfo(1, 3, hex('11'.repeat(64)))]],
    ['twice', [ppp, ppp], [statusInfo(1, 1)]],
    ['a crypto binding', [ppp, binding], [statusInfo(3, 9)]],
    ['a crypto binding request', [offer, ppp], [statusInfo(4, 9)]],
    ['a crypto binding of another length', [ppp, other(3, '00')], [statusInfo(3, 9)]],
    ['a crypto binding request of another length', [ppp, other(4, '00')], [statusInfo(4, 9)]],
    ['a status', [ppp, statusInfo(1, 4)], [statusInfo(2, 0x0b)]],
    ['a short status', [ppp, other(2, '0001')], [statusInfo(2, 3, hex('0001'))]],
    ['an unknown attribute', [ppp, other(0x77, 'abcd')], [statusInfo(0x77, 2)]],
    [
      'several',
      [other(0x77, ''), binding, binding],
      [statusInfo(0x77, 2), statusInfo(3, 9), statusInfo(3, 1), missing],
    ],
  ]
  for (const [name, attributes, want] of cases) {
    const talk = requestPending().wait(1_000).hear('CALL_CONNECT_REQUEST', attributes)
    t.same(talk.packets().map(toHex), [toHex(controlPacket('CALL_CONNECT_NAK', want))], name)
    t.equal(talk.call.state, 'Server_Connect_Request_Pending')
    t.equal(talk.call.nextTimeout(), talk.now + 59_000, 'the timer goes on')
    talk.hear('CALL_CONNECT_REQUEST', [ppp])
    t.same(talk.told(), ['ack 3 -'], 'a good one afterwards is welcome')
  }
  const talk = requestPending().hear('CALL_CONNECT_REQUEST', [statusInfo(0, 0), ppp])
  t.same(talk.told(), ['ack 3 -'], 'a status without an error does no harm')
  t.end()
})

t.test('the largest NAK there can be fits the room that output asks for', (t) => {
  // An attribute whose value comes back in full, the longest status that is too short, and unknown ones.
  const worst = Array.from({ length: 16 }, (_, i): Attribute => {
    return { kind: 'OTHER', id: i < 2 ? i + 1 : 100 + i, value: new Uint8Array(i === 1 ? 7 : 200) }
  })
  const [nak] = requestPending().hear('CALL_CONNECT_REQUEST', worst).packets()
  t.equal(nak?.length, 8 + (12 + 64) + (12 + 7) + 14 * 12)
  t.ok((nak?.length ?? Infinity) <= MAX_OUTPUT)
  t.end()
})

t.test('three NAKs, then CALL_ABORT', (t) => {
  const talk = requestPending()
  for (let n = 0; n < 3; n += 1) {
    talk.hear('CALL_CONNECT_REQUEST')
    t.same(talk.said(), ['CALL_CONNECT_NAK ENCAPSULATED_PROTOCOL_ID REQUIRED_ATTRIBUTE_MISSING'])
  }
  talk.hear('CALL_CONNECT_REQUEST')
  t.same(talk.said(), ['CALL_ABORT RETRY_COUNT_EXCEEDED'])
  t.match(talk.events(), [{ error: { code: 'SSTP_REQUEST_REFUSED', message: /REQUIRED_ATTRIBUTE_MISSING/ } }])
  t.end()
})

t.test('the negotiation timer', (t) => {
  const authenticated = () => {
    const { talk } = connectedPending()
    talk.call.authenticated(hlak, talk.now)
    return talk
  }
  for (const [make, words] of [
    [requestPending, 'the client sent no CALL_CONNECT_REQUEST within 60 s'],
    [() => connectedPending().talk, 'the log-in did not come to an end within 60 s'],
    [authenticated, 'the client sent no CALL_CONNECTED within 60 s'],
  ] as const) {
    const talk = make().wait(59_999)
    t.same(talk.said(), [])
    talk.wait(1)
    t.same(talk.said(), ['CALL_ABORT NEGOTIATION_TIMEOUT'])
    t.equal(talk.call.nextTimeout(), talk.now + 3_000)
    t.match(talk.events()[0], { error: { code: 'SSTP_NEGOTIATION_TIMEOUT', status: 8, message: words } })
  }
  t.end()
})

t.test('messages out of their place', (t) => {
  const places: [() => Talk<SstpServer>, MessageName[]][] = [
    [
      requestPending,
      ['CALL_CONNECT_ACK', 'CALL_CONNECT_NAK', 'CALL_CONNECTED', 'ECHO_REQUEST', 'ECHO_RESPONSE'],
    ],
    [
      () => connectedPending().talk,
      ['CALL_CONNECT_REQUEST', 'CALL_CONNECT_ACK', 'CALL_CONNECT_NAK', 'ECHO_REQUEST', 'ECHO_RESPONSE'],
    ],
    [connected, ['CALL_CONNECT_REQUEST', 'CALL_CONNECT_ACK', 'CALL_CONNECT_NAK', 'CALL_CONNECTED']],
  ]
  for (const [make, names] of places) {
    for (const name of names) {
      const talk = make().hear(name, name === 'CALL_CONNECT_REQUEST' ? [ppp] : [])
      t.same(talk.said(), ['CALL_ABORT UNACCEPTED_FRAME_RECEIVED'], name)
      t.match(talk.events(), [{ type: 'closing', error: { code: 'SSTP_UNACCEPTED_MESSAGE', status: 5 } }])
    }
  }
  t.end()
})

t.test('authentication at another time changes nothing', (t) => {
  for (const make of [fresh, requestPending, connected]) {
    const talk = make()
    const state = talk.call.state
    talk.call.authenticated(hlak, talk.now)
    t.same([talk.call.state, talk.said(), talk.told()], [state, [], []])
  }
  const { talk, nonce } = connectedPending()
  talk.call.authenticated(hlak, talk.now)
  talk.call.authenticated(new Uint8Array(32), talk.now)
  talk.hear(good(nonce))
  t.same(talk.told(), ['connected 2'], 'the first key counts')
  t.end()
})

t.test('echo and hello', (t) => {
  const talk = connected({ helloInterval: 10_000 }).wait(4_000)
  for (let n = 0; n < 100; n += 1) talk.hear('ECHO_REQUEST')
  t.same(talk.said(), ['ECHO_RESPONSE'])
  talk.wait(10_000)
  t.same(talk.said(), ['ECHO_REQUEST'])
  talk.wait(9_000).hear('ECHO_RESPONSE').wait(10_000)
  t.same(talk.said(), ['ECHO_REQUEST'])
  talk.wait(10_000)
  t.same(talk.said(), [])
  t.same(talk.told(), ['closed by local: SSTP_HELLO_TIMEOUT'])
  t.equal(talk.call.state, 'Server_Call_Disconnected')
  t.end()
})

t.test('each call has a nonce of its own', (t) => {
  const random = seededBytes(9)
  const a = connectedPending({ random })
  const b = connectedPending({ random })
  t.not(toHex(a.nonce), toHex(b.nonce))
  b.talk.call.authenticated(hlak, b.talk.now)
  b.talk.hear(good(a.nonce))
  t.match(b.talk.events(), [{ error: { message: /nonce/ } }])
  t.end()
})
