import packet from 'dns-packet'
import t from 'tap'
import { decodeResponse } from '../../src/dns/message.js'
import { encodeQuery, hostQuery } from '../../src/dns/wire.js'
import { a, aaaa, cname, respond, soa } from '../helpers/dns-server.js'
import { SeededRandom } from '../helpers/random.js'

const asked = {
  id: 0x1234,
  name: 'www.example.com',
  type: 'A',
  edns: true,
  tcp: false,
  raw: new Uint8Array(),
}

t.test('a query, octet by octet', async (t) => {
  t.equal(
    encodeQuery(0x1234, hostQuery('a.example', 28), true).toString('hex'),
    `12340100${'0001000000000001'}0161076578616d706c6500001c0001${'00002904d0000000000000'}`,
  )
  t.equal(
    encodeQuery(1, hostQuery('a.b', 1), false).toString('hex'),
    '0001010000010000000000000161016200' + '00010001',
  )
})

t.test('a response', async (t) => {
  const bytes = respond(asked, {
    answers: [
      cname('WWW.Example.COM', 'edge.example.net', 60),
      a('edge.example.net', '192.0.2.1', 30),
      aaaa('edge.example.net', '2001:db8::1', 0xffffffff),
      { type: 'TXT', name: 'x.example', ttl: 1, data: 'hello' },
    ],
    authorities: [soa('example.com', 900, 60)],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: 1232,
        extendedRcode: 1,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
    rcode: 2,
  })
  const expected = {
    rcode: 18,
    truncated: false,
    answers: [
      { type: 'CNAME', name: 'www.example.com', ttl: 60, target: 'edge.example.net' },
      { type: 'A', name: 'edge.example.net', ttl: 30, address: '192.0.2.1' },
      // RFC 2181 8: the top bit makes it zero.
      { type: 'AAAA', name: 'edge.example.net', ttl: 0, address: '2001:db8::1' },
    ],
    negativeTtl: 60,
    soa: {
      name: 'example.com',
      mname: 'ns.example.com',
      rname: 'root.example.com',
      serial: 1,
      refresh: 1,
      retry: 1,
      expire: 1,
      minimum: 60,
    },
  }
  t.same(decodeResponse(bytes), expected)
  const shifted = new Uint8Array(bytes.length + 7).fill(0xa5)
  shifted.set(bytes, 5)
  const before = Buffer.from(shifted)
  t.same(decodeResponse(shifted.subarray(5, 5 + bytes.length)), expected, 'at an offset')
  t.same(Buffer.from(shifted), before, 'the datagram itself is not changed')
  for (let n = 0; n < bytes.length; n++)
    t.equal(decodeResponse(bytes.subarray(0, n)), undefined, `cut at ${n}`)
})

t.test('not a response', async (t) => {
  t.equal(decodeResponse(encodeQuery(1, hostQuery('a.b', 1), true)), undefined, 'a query')
  const status = respond(asked)
  status.writeUInt16BE(status.readUInt16BE(2) | 0x1000, 2)
  t.equal(decodeResponse(status), undefined, 'another opcode')
  t.equal(decodeResponse(new Uint8Array(70_000)), undefined)
})

/** A response with one question for `a` and hand-made records behind it. */
function crafted(answerCount: number, hex: string): Buffer {
  const head = Buffer.from(
    `123481800001${answerCount.toString(16).padStart(4, '0')}0000000001610000010001`,
    'hex',
  )
  return Buffer.concat([head, Buffer.from(hex.replaceAll(' ', ''), 'hex')])
}

t.test('hostile messages', async (t) => {
  t.ok(
    decodeResponse(crafted(1, 'c00c 0001 0001 0000003c 0004 0a000001')),
    'the frame of these cases is right',
  )
  const cases: [string, Buffer][] = [
    ['an address of 3 octets', crafted(1, 'c00c 0001 0001 0000003c 0003 0a0000')],
    ['an address of 5 octets', crafted(1, 'c00c 0001 0001 0000003c 0005 0a00000100')],
    ['data beyond the message', crafted(1, 'c00c 0001 0001 0000003c 0004 0a0000')],
    ['a pointer to itself', crafted(1, 'c013 0001 0001 0000003c 0004 0a000001')],
    ['a pointer forwards', crafted(1, 'c020 0001 0001 0000003c 0004 0a000001')],
    ['a pointer into the header', crafted(1, 'c000 0001 0001 0000003c 0004 0a000001')],
    ['a label of a reserved kind', crafted(1, '8161 00 0001 0001 0000003c 0004 0a000001')],
    ['a label with a dot', crafted(1, '03612e62 00 0001 0001 0000003c 0004 0a000001')],
    ['a CNAME longer than its name', crafted(1, 'c00c 0005 0001 0000003c 0003 c00c00')],
    ['a CNAME shorter than its name', crafted(1, 'c00c 0005 0001 0000003c 0001 c00c')],
    ['counts that nothing stands behind', Buffer.from('12348180ffffffffffffffff', 'hex')],
    ['65535 answers', crafted(0xffff, 'c00c 0001 0001 0000003c 0004 0a000001')],
    [
      'two questions',
      Buffer.concat([
        Buffer.from('123481800002000000000000', 'hex'),
        Buffer.from('01610000010001'.repeat(2), 'hex'),
      ]),
    ],
  ]
  for (const [what, bytes] of cases) t.equal(decodeResponse(bytes), undefined, what)

  const long = crafted(1, `${`3f${'61'.repeat(63)}`.repeat(4)} 00 0001 0001 0000003c 0004 0a000001`)
  t.equal(decodeResponse(long), undefined, 'a name of more than 255 octets')

  const odd = crafted(2, `c00c 0010 0001 0000003c 0002 ff61  c00c 0001 0001 0000003c 0004 0a000001`)
  t.same(decodeResponse(odd)?.answers.length, 1, 'an odd record of another type does not spoil the rest')
  const chaos = crafted(1, 'c00c 0001 0003 0000003c 0004 0a000001')
  t.same(decodeResponse(chaos)?.answers, [], 'another class')
})

t.test('dots inside labels: a mailbox has them, and services; a host has none', async (t) => {
  // first\\.last.a, the mailbox of a zone (RFC 1035 5.3)
  const zone = '00 0a66697273742e6c617374 c00c 00000001 00000001 00000001 00000001 0000003c'
  const head = Buffer.from('12348183000100000001000001610000010001', 'hex')
  const length = Buffer.from(zone.replaceAll(' ', ''), 'hex').length.toString(16).padStart(4, '0')
  const record = Buffer.from(`c00c000600010000003c${length}${zone}`.replaceAll(' ', ''), 'hex')
  t.match(decodeResponse(Buffer.concat([head, record])), { rcode: 3, negativeTtl: 60 })

  const services = crafted(
    2,
    'c00c 000c 0001 0000003c 0006 03612e62 c00c  c00c 000c 0001 0000003c 0004 0162 c00c',
  )
  t.match(decodeResponse(services), { answers: [{ type: 'PTR', target: 'b.a' }] }, 'the other is passed over')
  t.equal(decodeResponse(services)?.answers.length, 1)
})

t.test('a name has a bounded number of pointers', async (t) => {
  // A record of another type holds a chain of pointers, each to the one before; the next record's name starts
  // at the last of them. Thousands of such names would keep a reader busy for seconds.
  const message = (hops: number) => {
    const head = Buffer.from('12348180000100020000000001610000010001', 'hex')
    const chain = Buffer.alloc(hops * 2)
    const start = head.length + 12
    for (let i = 0; i < hops; i++) chain.writeUInt16BE(0xc000 | (i === 0 ? 12 : start + (i - 1) * 2), i * 2)
    const holder = Buffer.from('c00cff00000100000000'.padEnd(24, '0'), 'hex')
    holder.writeUInt16BE(chain.length, 10)
    const name = Buffer.from([0xc0 | ((start + hops * 2 - 2) >> 8), (start + hops * 2 - 2) & 0xff])
    return Buffer.concat([head, holder, chain, name, Buffer.from('000100010000003c00040a000001', 'hex')])
  }
  t.match(decodeResponse(message(90)), { answers: [{ name: 'a', address: '10.0.0.1' }] })
  t.equal(decodeResponse(message(200)), undefined)
})

t.test('fuzz: any octets give a response or nothing', async (t) => {
  const seed = 20_240_601
  const random = new SeededRandom(seed)
  const base = respond(asked, {
    answers: [cname('www.example.com', 'edge.example.net'), a('edge.example.net', '192.0.2.1')],
    authorities: [soa('example.com')],
  })
  let decoded = 0
  for (let i = 0; i < 2_500_000; i++) {
    const bytes = i % 4 === 0 ? Buffer.from(random.bytes(random.below(120))) : Buffer.from(base)
    for (let n = random.below(6); n > 0 && bytes.length > 0; n--)
      bytes[random.below(bytes.length)] = random.below(256)
    const cut = random.below(8) === 0 ? random.below(bytes.length + 1) : bytes.length
    if (decodeResponse(bytes.subarray(0, cut)) !== undefined) decoded++
  }
  t.ok(decoded > 50_000, `enough get past the door (seed ${seed}): ${decoded}`)
})

t.test('the library agrees with what is encoded', async (t) => {
  const query = packet.decode(encodeQuery(7, hostQuery('a.example', 1), true))
  t.match(query, {
    id: 7,
    type: 'query',
    flag_rd: true,
    questions: [{ name: 'a.example', type: 'A', class: 'IN' }],
  })
  t.match(query.additionals?.[0], { type: 'OPT', name: '.', udpPayloadSize: 1232 })
})
