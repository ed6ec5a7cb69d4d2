import t from 'tap'
import { ATTRIB, type Attribute, statusInfo } from '../../src/sstp/attribute.js'
import { describe, describeHashes } from '../../src/sstp/describe.js'
import { framingError, SstpError } from '../../src/sstp/errors.js'
import {
  controlLength,
  controlPacket,
  emitControl,
  emitDataHeader,
  isControl,
  MAX_ATTRIBUTES,
  messageName,
  messageType,
  packetLength,
  parseControl,
} from '../../src/sstp/packet.js'
import { attributeOf, bindingVectors, hex, packetVectors, shifted, toHex } from '../helpers/sstp.js'

t.test('every packet vector is emitted byte for byte', (t) => {
  t.equal(packetVectors.length, 14)
  for (const v of packetVectors) {
    const want = v.out.packetHex
    const dst = new Uint8Array(200).fill(0xa5)
    if (v.in.message === undefined) {
      const frame = hex(v.in.data ?? '')
      emitDataHeader(dst, 3, frame.length)
      dst.set(frame, 7)
      t.equal(toHex(dst.subarray(3, 7 + frame.length)), want, v.id)
    } else {
      const message = { type: v.in.message, attributes: (v.in.attributes ?? []).map(attributeOf) }
      const length = emitControl(message, dst, 3)
      t.equal(toHex(dst.subarray(3, 3 + length)), want, v.id)
      t.equal(controlLength(message), length)
      t.equal(toHex(dst.subarray(3 + length)), 'a5'.repeat(197 - length), `${v.id}: nothing behind it`)
      t.equal(emitControl(message, dst.subarray(0, 3 + length - 1), 3), 0, `${v.id}: too little room`)
    }
  }
  t.end()
})

t.test('every packet vector is read, at an offset and with octets behind the attributes', (t) => {
  for (const v of packetVectors) {
    const packet = hex(v.out.packetHex)
    const { b, off } = shifted(packet)
    t.equal(packetLength(b, off), packet.length, v.id)
    t.equal(isControl(b, off), v.in.message !== undefined, v.id)
    if (v.in.message === undefined) continue
    const want = { type: v.in.message, attributes: (v.in.attributes ?? []).map(attributeOf) }
    t.equal(messageName(messageType(b, off, packet.length)), v.in.message)
    t.same(parseControl(b, off, packet.length), want, v.id)
    t.same(parseControl(b, off, packet.length + 2), want, `${v.id} with two stray octets`)
    for (let len = 0; len < packet.length; len += 1) {
      const got = parseControl(b, off, len)
      t.ok(got instanceof SstpError && got.code === 'SSTP_INVALID_MESSAGE', `${v.id} cut to ${len}`)
    }
  }
  t.end()
})

t.test('values that are read are copies, also of a Buffer', (t) => {
  const packet = Buffer.from(packetVectors[1]?.out.packetHex ?? '', 'hex')
  const message = parseControl(packet, 0, packet.length)
  packet.fill(0)
  t.notOk(message instanceof SstpError)
  const nonce = '412b489aebd7ecc7d08966f26be7cd72b231a0e9210d7c91b308862b0344c435'
  t.match(message, { attributes: [{ kind: 'CRYPTO_BINDING_REQ', hashes: 2, nonce: hex(nonce) }] })
  t.end()
})

t.test('reserved bits are ignored', (t) => {
  const packet = controlPacket('CALL_CONNECT_REQUEST', [{ kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 1 }])
  const want = parseControl(packet, 0, packet.length)
  packet[1] = 0xff
  packet[2] = 0xf0
  packet[8] = 0xff // of the attribute
  packet[10] = 0xf0
  t.equal(packetLength(packet, 0), 14)
  t.same(parseControl(packet, 0, packet.length), want)
  t.end()
})

t.test("accel-ppp's NAK with two stray octets is read", (t) => {
  const packet = hex('10 01 00 16 00 03 00 01 00 02 00 0c 00 00 00 01 00 00 00 04 00 00')
  t.same(parseControl(packet, 0, packet.length), { type: 'CALL_CONNECT_NAK', attributes: [statusInfo(1, 4)] })
  t.end()
})

t.test('attributes that do not fit are an invalid message', (t) => {
  const cases: [string, string][] = [
    ['length 0', '10 01 00 0e 00 01 00 01 00 01 00 00 00 01'],
    ['length 3', '10 01 00 0e 00 01 00 01 00 01 00 03 00 01'],
    ['past the end', '10 01 00 0e 00 01 00 01 00 01 00 07 00 01'],
    ['far past the end', '10 01 00 0e 00 01 00 01 00 01 0f ff 00 01'],
    ['fewer than announced', '10 01 00 0e 00 01 00 02 00 01 00 06 00 01'],
    ['a header cut off', '10 01 00 0b 00 01 00 01 00 01 00'],
    ['more than we take', `10 01 00 ${(8 + 17 * 4).toString(16)} 00 01 00 11 ${'00 09 00 04'.repeat(17)}`],
  ]
  for (const [name, text] of cases) {
    const packet = hex(text)
    const got = parseControl(packet, 0, packet.length)
    t.ok(got instanceof SstpError, name)
    t.match(got, { layer: 'sstp', code: 'SSTP_INVALID_MESSAGE', fault: 'remote', status: 7 }, name)
  }
  const most = hex(`10 01 00 48 00 01 00 10 ${'00 09 00 04'.repeat(MAX_ATTRIBUTES)}`)
  t.notOk(parseControl(most, 0, most.length) instanceof SstpError, 'as many as we take')
  t.end()
})

t.test('known attributes of another length, and unknown ones, are kept as they are', (t) => {
  const others: Attribute[] = [
    { kind: 'OTHER', id: ATTRIB.ENCAPSULATED_PROTOCOL_ID, value: hex('00') },
    { kind: 'OTHER', id: ATTRIB.STATUS_INFO, value: hex('00000001000000') },
    { kind: 'OTHER', id: ATTRIB.CRYPTO_BINDING, value: new Uint8Array(99) },
    { kind: 'OTHER', id: ATTRIB.CRYPTO_BINDING_REQ, value: new Uint8Array(37) },
    { kind: 'OTHER', id: ATTRIB.NO_ERROR, value: hex('') },
    { kind: 'OTHER', id: 0xfe, value: hex('010203') },
  ]
  const packet = controlPacket('CALL_ABORT', others)
  t.same(parseControl(packet, 0, packet.length), { type: 'CALL_ABORT', attributes: others })
  t.end()
})

t.test('the value of a Status Info is cut at 64 octets, both ways', (t) => {
  const value = new Uint8Array(70).fill(1)
  const packet = controlPacket('CALL_CONNECT_NAK', [statusInfo(1, 4, value)])
  t.equal(packet.length, 8 + 12 + 64)
  const long = new Uint8Array(8 + 12 + 70).fill(2)
  long.set(hex('10 01 00 5a 00 03 00 01 00 02 00 52 00 00 00 01 00 00 00 04'))
  const got = parseControl(long, 0, long.length)
  t.same(got, { type: 'CALL_CONNECT_NAK', attributes: [statusInfo(1, 4, new Uint8Array(64).fill(2))] })
  t.end()
})

t.test('a message above the packet limit is not emitted', (t) => {
  const other = { kind: 'OTHER', id: 9, value: new Uint8Array(4000) } as const
  const dst = new Uint8Array(9000).fill(0xa5)
  t.equal(emitControl({ type: 'CALL_ABORT', attributes: [other, other] }, dst, 0), 0)
  t.ok(dst.every((v) => v === 0xa5))
  t.end()
})

t.test('short values are followed by zeros, in a dirty buffer too', (t) => {
  const dst = new Uint8Array(120).fill(0xa5)
  const binding = { hash: 1, nonce: hex('01'), certHash: hex('02'), compoundMac: hex('03') }
  emitControl({ type: 'CALL_CONNECTED', attributes: [{ kind: 'CRYPTO_BINDING', ...binding }] }, dst, 0)
  const field = (text: string) => text.padEnd(64, '0')
  t.equal(toHex(dst.subarray(16, 114)), `${field('01')}${field('02')}${field('03')}a5a5`)
  t.end()
})

t.test('an unknown type is a value', (t) => {
  const packet = hex('10 01 00 08 12 34 00 00')
  t.same(parseControl(packet, 0, 8), { type: 'UNKNOWN', code: 0x1234, attributes: [] })
  t.equal(messageName(0), undefined)
  t.equal(messageName(10), undefined)
  t.equal(messageType(packet, 0, 7), -1)
  t.end()
})

t.test('packets in words', (t) => {
  const words = Object.fromEntries(
    packetVectors.map((v) => {
      const packet = hex(v.out.packetHex)
      return [v.id, describe(packet, 0, packet.length)]
    }),
  )
  t.same(words, {
    'sstp-call-connect-request': 'CALL_CONNECT_REQUEST ppp',
    'sstp-call-connect-ack-sha256': 'CALL_CONNECT_ACK sha256',
    'sstp-call-connect-ack-both': 'CALL_CONNECT_ACK sha1,sha256',
    'sstp-call-connect-nak': 'CALL_CONNECT_NAK ENCAPSULATED_PROTOCOL_ID VALUE_NOT_SUPPORTED',
    'sstp-call-connect-nak-two':
      'CALL_CONNECT_NAK ENCAPSULATED_PROTOCOL_ID REQUIRED_ATTRIBUTE_MISSING; CRYPTO_BINDING ATTRIB_NOT_SUPPORTED_IN_MSG',
    'sstp-call-abort': 'CALL_ABORT CRYPTO_BINDING INVALID_FRAME_RECEIVED',
    'sstp-call-abort-bare': 'CALL_ABORT',
    'sstp-call-disconnect': 'CALL_DISCONNECT',
    'sstp-call-disconnect-bare': 'CALL_DISCONNECT',
    'sstp-call-disconnect-ack': 'CALL_DISCONNECT_ACK',
    'sstp-echo-request': 'ECHO_REQUEST',
    'sstp-echo-response': 'ECHO_RESPONSE',
    'sstp-data-lcp': 'DATA 18',
    'sstp-data-empty': 'DATA 0',
  })
  const say = (text: string) => describe(hex(text), 0, hex(text).length)
  t.equal(say('10 01 00 08 12 34 00 00'), 'message type 0x1234')
  t.equal(say('10 01 00 07 00 05 00'), 'invalid: a control packet is too short')
  t.equal(say('11 01 00 08 00 05 00 00'), 'not an SSTP packet')
  t.equal(say('10 01'), 'not an SSTP packet')
  t.equal(say(''), 'not an SSTP packet')
  t.equal(say('10 01 00 0e 00 01 00 01 00 01 00 06 00 02'), 'CALL_CONNECT_REQUEST protocol 2')
  t.equal(say('10 01 00 0e 00 01 00 01 00 09 00 06 ab cd'), 'CALL_CONNECT_REQUEST attribute 9 of 2 octets')
  t.equal(say('10 01 00 14 00 05 00 01 00 02 00 0c 00 00 00 00 00 00 00 63'), 'CALL_ABORT status 99')
  t.equal(
    say('10 01 00 14 00 05 00 01 00 02 00 0c 00 00 00 09 00 00 00 02').endsWith('UNRECOGNIZED_ATTRIBUTE'),
    true,
  )
  t.equal(describeHashes(0), 'none')
  t.equal(describeHashes(0x87), 'sha1,sha256,0x84')
  t.end()
})

t.test('secrets are not in words', (t) => {
  for (const v of bindingVectors) {
    const packet = hex(v.out.messageHex)
    t.equal(describe(packet, 0, packet.length), `CALL_CONNECTED ${v.in.hash === 1 ? 'sha1' : 'sha256'}`)
  }
  t.end()
})

t.test('framing errors in words', (t) => {
  t.match(framingError('SSTP_VERSION', 'server').message, /server.*not SSTP version 1\.0/)
  t.match(framingError('SSTP_LENGTH', 'client').message, /client.*cannot be cut/)
  t.end()
})
