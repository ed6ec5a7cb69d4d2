import t from 'tap'
import {
  eachAttribute,
  eachVendorAttribute,
  hidePassword,
  isAnswerTo,
  judgeMessageAuthenticator,
  MAX_PACKET,
  PacketWriter,
  packetLength,
  revealKey,
} from '../../../src/gateway/radius/packet.js'
import { readReply } from '../../../src/gateway/radius/reply.js'
import {
  accountingIsRight,
  answer,
  eap,
  int,
  messageAuthenticatorIsRight,
  microsoft,
  mppeKey,
  readPassword,
  SECRET,
  seen,
  str,
} from '../../helpers/radius-server.js'
import { SeededRandom } from '../../helpers/random.js'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')

/** RFC 2865 7.1: nemo's login, and its Access-Accept. */
const RFC_SECRET = Buffer.from('xyzzy5461')
const RFC_REQUEST = hex(
  '01000038 0f403f9473978057bd83d5cb98f4227a 01066e656d6f 02120dbe708d93d413ce3196e43f782a0aee 0406c0a80110 050600000003',
)
const RFC_ACCEPT = hex('02000026 86fe220e7624ba2a1005f6bf9b55e0b2 060600000001 0f0600000000 0e06c0a80103')

t.test('the example of RFC 2865 7.1', (t) => {
  const request = seen(RFC_REQUEST)
  const hidden = hidePassword(Buffer.from('arctangent'), request.authenticator, RFC_SECRET)
  t.same(Buffer.from(hidden), request.all(2)[0])
  t.equal(readPassword(Buffer.from(hidden), request.authenticator, RFC_SECRET), 'arctangent')
  const length = packetLength(RFC_ACCEPT)
  t.equal(length, 38)
  t.ok(isAnswerTo(RFC_ACCEPT, length, request.authenticator, RFC_SECRET))
  t.notOk(isAnswerTo(RFC_ACCEPT, length, request.authenticator, Buffer.from('xyzzy5462')))
  t.match(readReply(RFC_ACCEPT, length, request.authenticator, RFC_SECRET), {
    kind: 'accept',
    serviceType: 1,
  })
  t.end()
})

t.test('no single octet of an answer can be another', (t) => {
  const request = seen(RFC_REQUEST)
  for (let at = 0; at < RFC_ACCEPT.length; at++) {
    const forged = Buffer.from(RFC_ACCEPT)
    forged.writeUInt8(forged.readUInt8(at) ^ 0x80, at)
    const length = packetLength(forged)
    if (length >= 0 && isAnswerTo(forged, length, request.authenticator, RFC_SECRET)) t.fail(`octet ${at}`)
  }
  t.pass()
  t.end()
})

t.test('octets from 80 on are told apart in digests', (t) => {
  // The library of the registry compares digests as UTF-8 text: all these would be equal.
  const request = seen(RFC_REQUEST)
  for (let i = 0; ; i++) {
    const said = answer(request, 2, [str(18, `${i}`)], { messageAuthenticator: false })
    if (said.subarray(4, 20).every((octet) => octet >= 0x80)) {
      t.ok(isAnswerTo(said, said.length, request.authenticator, SECRET))
      said.fill(0xff, 4, 20)
      t.notOk(isAnswerTo(said, said.length, request.authenticator, SECRET))
      break
    }
    if (i > 400_000) throw new Error('no such digest')
  }
  t.end()
})

t.test('passwords of all lengths are hidden and found again', (t) => {
  const authenticator = new SeededRandom(1).bytes(16)
  for (let length = 0; length <= 128; length++) {
    const hidden = hidePassword(Buffer.alloc(length, 'p'), authenticator, SECRET)
    t.equal(hidden.length, Math.max(16, Math.ceil(length / 16) * 16))
    t.equal(readPassword(Buffer.from(hidden), Buffer.from(authenticator)), 'p'.repeat(length))
  }
  t.end()
})

t.test('keys are found, and what is none is undefined', (t) => {
  const request = seen(RFC_REQUEST)
  const random = new SeededRandom(2)
  for (const length of [1, 15, 16, 31, 32, 64]) {
    const key = random.bytes(length)
    const [, value] = mppeKey(17, key, request, 0x8001)
    t.same(revealKey(value.subarray(6), request.authenticator, SECRET), key)
  }
  for (const length of [0, 1, 2, 17, 19, 33]) {
    t.equal(revealKey(random.bytes(length), request.authenticator, SECRET), undefined, `${length} octets`)
  }
  const [, value] = mppeKey(16, random.bytes(16), request, 0x8001)
  const other = revealKey(value.subarray(6), request.authenticator, Buffer.from('other'))
  t.notSame(other, random.bytes(16))
  t.end()
})

t.test('a request carries its proof in front', (t) => {
  const authenticator = new SeededRandom(3).bytes(16)
  const to = new PacketWriter()
  to.reserveMessageAuthenticator()
  t.ok(to.text(1, 'älice'))
  t.ok(to.integer(5, 0xfffffffe))
  t.ok(to.tagged(64, 0x013701))
  t.ok(to.vendor(311, 11, new Uint8Array(16)))
  t.ok(to.pieces(79, new Uint8Array(600).fill(7)))
  t.notOk(to.text(18, ''), 'no attribute is empty')
  const request = seen(Buffer.from(to.accessRequest(9, authenticator, SECRET)))
  t.equal(request.code, 1)
  t.equal(request.id, 9)
  t.same(request.authenticator, Buffer.from(authenticator))
  t.equal(request.attributes[0]?.[0], 80)
  t.ok(messageAuthenticatorIsRight(request))
  t.notOk(messageAuthenticatorIsRight(request, Buffer.from('other')))
  t.same(
    request.all(79).map((v) => v.length),
    [253, 253, 94],
  )
  t.same(request.microsoft(11), [Buffer.alloc(16)])
  t.equal(request.all(1)[0]?.toString(), 'älice')
  t.same(request.all(64), [hex('00013701')])
  t.end()
})

t.test('accounting proves itself', (t) => {
  const to = new PacketWriter()
  to.integer(40, 1)
  const request = seen(Buffer.from(to.accountingRequest(200, SECRET)))
  t.equal(request.code, 4)
  t.ok(accountingIsRight(request))
  t.end()
})

t.test('what does not fit is left out whole', (t) => {
  const to = new PacketWriter()
  let n = 0
  while (to.bytes(25, new Uint8Array(253))) n++
  t.equal(n, Math.floor((MAX_PACKET - 20) / 255))
  t.notOk(to.pieces(79, new Uint8Array(4000)))
  t.notOk(to.bytes(1, new Uint8Array(254)))
  t.notOk(to.vendor(311, 1, new Uint8Array(248)))
  seen(Buffer.from(to.accountingRequest(1, SECRET)))
  t.end()
})

t.test('packets that are none', (t) => {
  const bad: Record<string, string> = {
    nothing: '',
    'no header': '020000130000000000000000000000000000',
    'a length below the header': `02000013${'00'.repeat(20)}`,
    'a length beyond the datagram': `02000016${'00'.repeat(16)}`,
    'an attribute of length 0': `02000016${'00'.repeat(16)}0100`,
    'an attribute of length 1': `02000016${'00'.repeat(16)}0101`,
    'half an attribute': `02000015${'00'.repeat(16)}01`,
    'an attribute beyond the end': `02000018${'00'.repeat(16)}01054142`,
  }
  for (const [what, octets] of Object.entries(bad)) t.equal(packetLength(hex(octets)), -1, what)
  t.equal(packetLength(Buffer.concat([RFC_ACCEPT, Buffer.alloc(9)])), 38, 'padding is none of it')
  const long = Buffer.alloc(5000)
  long.writeUInt16BE(5000, 2)
  t.equal(packetLength(long), -1, 'longer than any')
  t.end()
})

t.test('the Message-Authenticator is there once, and right', (t) => {
  const request = seen(RFC_REQUEST)
  const judge = (b: Buffer) => judgeMessageAuthenticator(b, b.length, request.authenticator, SECRET)
  t.equal(judge(answer(request, 2)), 'good')
  t.equal(judge(answer(request, 2, [int(27, 60)])), 'good')
  t.equal(judge(answer(request, 2, [], { messageAuthenticator: false })), 'none')
  t.equal(judge(answer(request, 2, [], { secret: Buffer.from('other') })), 'bad')
  t.equal(judge(answer(request, 2, [[80, Buffer.alloc(16)]])), 'bad', 'a second one')
  t.equal(judge(answer(request, 2, [[80, Buffer.alloc(3)]], { messageAuthenticator: false })), 'bad', 'short')
  t.end()
})

t.test('an answer is read', (t) => {
  const request = seen(RFC_REQUEST)
  const random = new SeededRandom(4)
  const [send, recv] = [random.bytes(16), random.bytes(16)]
  const packet = Buffer.concat([hex('0305'), hex('012c'), Buffer.alloc(296, 9)])
  const said = answer(request, 2, [
    str(24, 'state'),
    str(25, 'one'),
    str(25, 'two'),
    ...eap(packet),
    str(1, 'alice@lab'),
    [8, hex('0a070005')],
    [9, hex('ffffff00')],
    int(27, 3600),
    int(28, 300),
    int(85, 600),
    int(6, 2),
    str(18, 'Good '),
    str(18, 'morning'),
    microsoft(26, Buffer.from('\x07S=407A M=Welcome')),
    microsoft(2, Buffer.from('\x07E=691 R=0')),
    mppeKey(16, send, request, 0x8001),
    mppeKey(17, recv, request, 0x8002),
    [26, hex('00000009 0104 6161')],
    [26, hex('000001')],
    [26, hex('00000137 1101')],
    int(8, 0),
  ])
  const length = packetLength(said)
  t.match(readReply(said, length, request.authenticator, SECRET), {
    kind: 'accept',
    state: Buffer.from('state'),
    classes: [Buffer.from('one'), Buffer.from('two')],
    eap: packet,
    userName: 'alice@lab',
    framedIp: hex('0a070005'),
    sessionTimeout: 3600,
    idleTimeout: 300,
    interimInterval: 600,
    serviceType: 2,
    message: 'Good morning',
    chapSuccess: 'S=407A M=Welcome',
    chapError: 'E=691 R=0',
    sendKey: Buffer.from(send),
    recvKey: Buffer.from(recv),
  })
  t.end()
})

t.test('odd attributes are as good as absent', (t) => {
  const request = seen(RFC_REQUEST)
  const said = answer(request, 11, [
    [8, hex('0a0700')],
    [27, hex('00')],
    [24, Buffer.alloc(0)],
    [26, Buffer.alloc(0)],
    microsoft(26, Buffer.alloc(0)),
    microsoft(17, hex('8001')),
    [79, hex('01')],
    ...Array.from({ length: 12 }, () => str(18, 'x'.repeat(200))),
  ])
  const reply = readReply(said, packetLength(said), request.authenticator, SECRET)
  t.match(reply, { kind: 'challenge', framedIp: undefined, sessionTimeout: undefined, state: undefined })
  t.match(reply, { eap: undefined, recvKey: undefined, chapSuccess: '' })
  t.ok((reply?.message.length ?? 0) <= 1024)
  const none = answer(request, 41)
  t.equal(readReply(none, packetLength(none), request.authenticator, SECRET), undefined)
  const short = answer(request, 11, eap(hex('01020003')))
  t.equal(readReply(short, packetLength(short), request.authenticator, SECRET)?.eap, undefined)
  const beyond = answer(request, 11, eap(hex('0102000801')))
  t.equal(readReply(beyond, packetLength(beyond), request.authenticator, SECRET)?.eap, undefined)
  t.end()
})

t.test('fuzz: whatever comes is read without a throw', (t) => {
  const random = new SeededRandom(0x5ad105)
  const request = seen(RFC_REQUEST)
  let whole = 0
  for (let i = 0; i < 20_000; i++) {
    const good = answer(request, [2, 3, 5, 11][random.below(4)] ?? 2, [
      str(24, 'state'),
      ...eap(random.bytes(random.below(600))),
      mppeKey(17, random.bytes(1 + random.below(40)), request, 0x8000 + random.below(0x8000)),
      microsoft(26, random.bytes(random.below(60))),
      [26, random.bytes(random.below(60))],
      [random.below(256), random.bytes(random.below(20))],
    ])
    for (let k = random.below(6); k > 0; k--) good.writeUInt8(random.below(256), random.below(good.length))
    const b = good.subarray(0, random.chance(0.2) ? random.below(good.length + 1) : good.length)
    const length = packetLength(b)
    if (length < 0) continue
    whole++
    if (length > b.length) t.fail('a length beyond the octets')
    isAnswerTo(b, length, request.authenticator, SECRET)
    judgeMessageAuthenticator(b, length, request.authenticator, SECRET)
    readReply(b, length, request.authenticator, SECRET)
    eachAttribute(b, length, (_type, off, len) => {
      if (off + len > length) t.fail('an attribute beyond the packet')
      eachVendorAttribute(b, off, len, 311, (_vendorType, at, size) => {
        if (at + size > off + len) t.fail('a vendor attribute beyond its attribute')
      })
    })
  }
  t.ok(whole > 1000, `${whole} of them were whole`)
  t.end()
})
