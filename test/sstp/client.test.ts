import t from 'tap'
import type { Attribute } from '../../src/sstp/attribute.js'
import { statusInfo } from '../../src/sstp/attribute.js'
import { certificateHash, HASH } from '../../src/sstp/binding.js'
import { type ClientOptions, SstpClient } from '../../src/sstp/client.js'
import type { MessageName } from '../../src/sstp/packet.js'
import { bindingVectors, hex, Talk, toHex } from '../helpers/sstp.js'

const certificate = Buffer.from('certificate') // the hash vectors are over these octets
const zeroKey = new Uint8Array(32)
const nonce = hex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f')
const offer = (hashes: number): Attribute => ({ kind: 'CRYPTO_BINDING_REQ', hashes, nonce })

function fresh(options: Partial<ClientOptions> = {}): Talk<SstpClient> {
  return new Talk(new SstpClient({ certificate, ...options }))
}

function requestSent(options: Partial<ClientOptions> = {}): Talk<SstpClient> {
  const talk = fresh(options)
  talk.call.start(talk.now)
  talk.packets()
  return talk
}

function ackReceived(options: Partial<ClientOptions> = {}): Talk<SstpClient> {
  const talk = requestSent(options).hear('CALL_CONNECT_ACK', [offer(3)])
  talk.events()
  return talk
}

function connected(options: Partial<ClientOptions> = {}): Talk<SstpClient> {
  const talk = ackReceived(options)
  talk.call.authenticated(zeroKey, talk.now)
  talk.packets()
  talk.events()
  return talk
}

const gates = (talk: Talk<SstpClient>) => [talk.call.mayControl, talk.call.mayData]

t.test('a call comes up', (t) => {
  const talk = fresh()
  t.equal(talk.call.state, 'Client_Call_Disconnected')
  t.same(gates(talk), [false, false])
  t.equal(talk.call.nextTimeout(), Infinity)

  talk.call.start(talk.now)
  t.equal(talk.call.state, 'Client_Connect_Request_Sent')
  t.same(talk.packets().map(toHex), ['1001000e00010001000100060001'])
  t.same(gates(talk), [false, false])
  t.equal(talk.call.nextTimeout(), talk.now + 60_000)

  talk.wait(500).hear('CALL_CONNECT_ACK', [offer(3)])
  t.equal(talk.call.state, 'Client_Connect_Ack_Received')
  t.same(talk.told(), ['ack 3 2'])
  t.same(talk.said(), [])
  t.same(gates(talk), [true, false], 'PPP control frames only')
  t.equal(talk.call.nextTimeout(), talk.now + 60_000, 'the negotiation timer begins anew')

  talk.wait(500)
  talk.call.authenticated(zeroKey, talk.now)
  t.equal(talk.call.state, 'Client_Call_Connected')
  const want = bindingVectors.find((v) => v.id === 'crypto-binding-zero-hlak-sha256')
  t.same(talk.packets().map(toHex), [want?.out.messageHex])
  t.same(talk.told(), ['connected 2'])
  t.same(gates(talk), [true, true])
  t.equal(talk.call.nextTimeout(), talk.now + 60_000, 'the hello timer')

  talk.call.authenticated(zeroKey, talk.now)
  t.same(talk.said(), [], 'a later challenge of CHAP changes nothing')
  t.end()
})

t.test('CALL_CONNECTED is that of the vectors, with either hash', (t) => {
  for (const v of bindingVectors) {
    const { hash, hlakHex, nonceHex, certHashHex } = v.in
    if (toHex(certificateHash(hash, certificate)) !== certHashHex) continue // of a certificate that is not here
    const talk = requestSent()
    talk.hear('CALL_CONNECT_ACK', [{ kind: 'CRYPTO_BINDING_REQ', hashes: hash, nonce: hex(nonceHex) }])
    const hlak = hex(hlakHex)
    talk.call.authenticated(hlak, talk.now)
    hlak.fill(0)
    t.same(talk.packets().map(toHex), [v.out.messageHex], v.id)
  }
  t.end()
})

t.test('the hash is the strongest that both allow', (t) => {
  const cases: [number, number, string][] = [
    [3, 3, 'ack 3 2'],
    [1, 3, 'ack 1 1'],
    [2, 3, 'ack 2 2'],
    [3, 1, 'ack 3 1'],
    [0x83, 3, 'ack 131 2'],
  ]
  for (const [server, client, told] of cases) {
    const talk = requestSent({ hashes: client }).hear('CALL_CONNECT_ACK', [offer(server)])
    t.same(talk.told(), [told])
  }
  t.throws(() => new SstpClient({ certificate, hashes: 0 }), RangeError)
  t.end()
})

t.test('an ACK that is not valid ends in CALL_ABORT', (t) => {
  const bad: [string, readonly Attribute[], string, string][] = [
    ['no attribute', [], 'REQUIRED_ATTRIBUTE_MISSING', 'SSTP_INVALID_MESSAGE'],
    ['another one', [statusInfo(0, 0)], 'REQUIRED_ATTRIBUTE_MISSING', 'SSTP_INVALID_MESSAGE'],
    [
      'too short',
      [{ kind: 'OTHER', id: 4, value: new Uint8Array(35) }],
      'INVALID_ATTRIB_VALUE_LENGTH',
      'SSTP_INVALID_MESSAGE',
    ],
    ['no hash', [offer(0)], 'VALUE_NOT_SUPPORTED', 'SSTP_NO_COMMON_HASH'],
    ['an unknown hash', [offer(4)], 'VALUE_NOT_SUPPORTED', 'SSTP_NO_COMMON_HASH'],
  ]
  for (const [name, attributes, status, code] of bad) {
    const talk = requestSent().hear('CALL_CONNECT_ACK', attributes)
    t.same(talk.said(), [`CALL_ABORT CRYPTO_BINDING_REQ ${status}`], name)
    t.same(talk.told(), [`closing: ${code}`], name)
    t.equal(talk.call.state, 'Call_Abort_Pending')
    t.same(gates(talk), [false, false])
  }
  const talk = requestSent({ hashes: HASH.SHA256 }).hear('CALL_CONNECT_ACK', [offer(HASH.SHA1)])
  t.match(talk.events()[0], { error: { message: /offers sha1 .*we allow sha256/ } })
  t.end()
})

t.test('attributes that a newer server may add are ignored', (t) => {
  const talk = requestSent().hear('CALL_CONNECT_ACK', [
    { kind: 'OTHER', id: 99, value: new Uint8Array(3) },
    offer(2),
    statusInfo(0, 0),
  ])
  t.same(talk.told(), ['ack 2 2'])
  t.end()
})

t.test('a NAK is tried again: three requests in all', (t) => {
  const talk = requestSent()
  for (let n = 0; n < 2; n += 1) {
    talk.wait(59_000).hear('CALL_CONNECT_NAK', [statusInfo(1, 4, hex('0002'))])
    t.equal(talk.call.state, 'Client_Connect_Request_Sent')
    t.same(talk.said(), ['CALL_CONNECT_REQUEST ppp'])
    t.same(talk.told(), [])
    t.equal(talk.call.nextTimeout(), talk.now + 60_000)
  }
  talk.hear(hex('10 01 00 16 00 03 00 01 00 02 00 0c 00 00 00 01 00 00 00 04 00 00')) // accel-ppp
  t.same(talk.said(), ['CALL_ABORT RETRY_COUNT_EXCEEDED'])
  const [event] = talk.events()
  t.match(event, { error: { code: 'SSTP_REQUEST_REFUSED', fault: 'remote', status: 6 } })
  t.match(event, {
    error: { message: 'the server refused CALL_CONNECT_REQUEST 3 times (VALUE_NOT_SUPPORTED)' },
  })
  t.equal(talk.call.state, 'Call_Abort_Pending')
  t.end()
})

t.test('a refusal without a status is one too', (t) => {
  const talk = requestSent().hear('CALL_CONNECT_NAK').hear('CALL_CONNECT_NAK').hear('CALL_CONNECT_NAK')
  t.match(talk.events(), [{ error: { message: 'the server refused CALL_CONNECT_REQUEST 3 times' } }])
  t.end()
})

t.test('an ACK after a NAK is welcome', (t) => {
  const talk = requestSent()
    .hear('CALL_CONNECT_NAK')
    .hear('CALL_CONNECT_ACK', [offer(2)])
  t.same(talk.told(), ['ack 2 2'])
  t.end()
})

t.test('the negotiation timer', (t) => {
  for (const [make, words] of [
    [requestSent, 'the server did not answer CALL_CONNECT_REQUEST within 60 s'],
    [ackReceived, 'the log-in did not come to an end within 60 s'],
  ] as const) {
    const talk = make().wait(59_999)
    t.same(talk.said(), [])
    talk.wait(1)
    t.same(talk.said(), ['CALL_ABORT NEGOTIATION_TIMEOUT'])
    t.equal(talk.call.state, 'Call_Abort_Pending')
    t.equal(talk.call.nextTimeout(), talk.now + 3_000)
    t.match(talk.events()[0], { error: { code: 'SSTP_NEGOTIATION_TIMEOUT', status: 8, message: words } })
  }
  const talk = requestSent({ negotiationTimeout: 2_000 }).wait(2_000)
  t.same(talk.said(), ['CALL_ABORT NEGOTIATION_TIMEOUT'])
  t.end()
})

t.test('packets do not prolong the negotiation', (t) => {
  const talk = ackReceived().wait(30_000)
  talk.call.packetReceived(talk.now)
  t.equal(talk.call.nextTimeout(), talk.now + 30_000)
  t.end()
})

t.test('messages out of their place', (t) => {
  const places: [() => Talk<SstpClient>, MessageName[]][] = [
    [requestSent, ['CALL_CONNECT_REQUEST', 'CALL_CONNECTED', 'ECHO_REQUEST', 'ECHO_RESPONSE']],
    [
      ackReceived,
      [
        'CALL_CONNECT_REQUEST',
        'CALL_CONNECT_ACK',
        'CALL_CONNECT_NAK',
        'CALL_CONNECTED',
        'ECHO_REQUEST',
        'ECHO_RESPONSE',
      ],
    ],
    [connected, ['CALL_CONNECT_REQUEST', 'CALL_CONNECT_ACK', 'CALL_CONNECT_NAK', 'CALL_CONNECTED']],
  ]
  for (const [make, names] of places) {
    for (const name of names) {
      const talk = make().hear(name, name === 'CALL_CONNECT_ACK' ? [offer(3)] : [])
      t.same(talk.said(), ['CALL_ABORT UNACCEPTED_FRAME_RECEIVED'], name)
      t.match(talk.events(), [{ type: 'closing', error: { code: 'SSTP_UNACCEPTED_MESSAGE', status: 5 } }])
      t.equal(talk.call.state, 'Call_Abort_Pending')
    }
  }
  t.end()
})

t.test('authentication outside Client_Connect_Ack_Received changes nothing', (t) => {
  for (const make of [fresh, requestSent]) {
    const talk = make()
    const state = talk.call.state
    talk.call.authenticated(zeroKey, talk.now)
    t.same([talk.call.state, talk.said(), talk.told()], [state, [], []])
  }
  t.throws(
    () => ackReceived().call.authenticated(new Uint8Array(16), 0),
    RangeError,
    'a short key is a mistake of ours',
  )
  t.end()
})

t.test('echo', (t) => {
  const talk = connected().wait(20_000).hear('ECHO_REQUEST')
  t.same(talk.said(), ['ECHO_RESPONSE'])
  t.equal(talk.call.nextTimeout(), talk.now + 60_000)
  talk.wait(20_000).hear('ECHO_RESPONSE')
  t.same(talk.said(), [], 'a response nobody asked for')
  t.equal(talk.call.nextTimeout(), talk.now + 60_000)
  for (let n = 0; n < 1_000; n += 1) talk.hear('ECHO_REQUEST')
  t.same(talk.said(), ['ECHO_RESPONSE'], 'a flood is answered once')
  t.same(talk.told(), [])
  t.end()
})

t.test('the response goes before all others', (t) => {
  const talk = ackReceived()
  talk.call.authenticated(zeroKey, talk.now)
  talk.hear('ECHO_REQUEST')
  t.same(talk.said(), ['ECHO_RESPONSE', 'CALL_CONNECTED sha256'])
  talk.wait(60_000).hear('ECHO_REQUEST')
  t.same(talk.said(), ['ECHO_RESPONSE', 'ECHO_REQUEST'])
  t.end()
})

t.test('the hello timer asks, then gives up without a word', (t) => {
  const talk = connected().wait(59_999)
  t.same(talk.said(), [])
  talk.wait(1)
  t.same(talk.said(), ['ECHO_REQUEST'])
  talk.wait(59_999)
  t.same([talk.said(), talk.call.state], [[], 'Client_Call_Connected'])
  talk.wait(1)
  t.same(talk.said(), [], 'no CALL_ABORT')
  t.equal(talk.call.state, 'Client_Call_Disconnected')
  t.match(talk.events(), [
    {
      type: 'closed',
      by: 'local',
      error: { code: 'SSTP_HELLO_TIMEOUT', fault: 'remote', message: /for 120 s/ },
    },
  ])
  t.end()
})

t.test('a request that was not written yet goes with the link', (t) => {
  const talk = connected().wait(120_000)
  t.equal(talk.call.hasOutput, false)
  t.end()
})

t.test('any packet counts as life, also within the same millisecond', (t) => {
  const talk = connected({ helloInterval: 8_000 }).wait(8_000)
  t.same(talk.said(), ['ECHO_REQUEST'])
  talk.call.packetReceived(talk.now) // data: SoftEther never answers the request
  t.equal(talk.call.nextTimeout(), talk.now + 8_000)
  for (let n = 0; n < 10; n += 1) {
    talk.wait(8_000)
    t.same(talk.said(), ['ECHO_REQUEST'])
    talk.wait(7_999)
    talk.call.packetReceived(talk.now)
  }
  t.equal(talk.call.state, 'Client_Call_Connected')
  talk.call.handleTimeout(talk.now)
  t.same(talk.said(), [], 'a timer that rings too early')
  t.end()
})

t.test('an end right after CALL_CONNECTED gets a hint', (t) => {
  let talk = connected().wait(100).hear('CALL_ABORT')
  t.match(talk.events()[1], { error: { message: /right after CALL_CONNECTED.*crypto binding/ } })
  talk = connected().wait(100)
  talk.call.closed(talk.now)
  t.match(talk.events()[0], { error: { code: 'SSTP_CONNECTION_CLOSED', message: /intercepts TLS/ } })
  talk = connected().wait(6_000)
  talk.call.closed(talk.now)
  t.match(talk.events()[0], {
    error: { message: 'the server closed the connection without ending the call' },
  })
  t.end()
})

t.test('output that has no room waits', (t) => {
  const talk = fresh()
  talk.call.start(talk.now)
  const dst = new Uint8Array(20)
  t.equal(talk.call.output(dst, 7), 0)
  t.equal(talk.call.hasOutput, true)
  t.equal(talk.call.output(dst, 6), 14)
  t.equal(talk.call.hasOutput, false)
  const echo = connected().wait(60_000).hear('ECHO_REQUEST')
  t.equal(echo.call.output(dst, 13), 0)
  t.equal(echo.call.output(dst, 12), 8)
  t.equal(echo.call.output(dst, 13), 0)
  t.equal(echo.call.output(dst, 12), 8)
  t.equal(echo.call.output(dst, 0), 0)
  t.end()
})
