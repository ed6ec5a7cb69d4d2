import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { FAILURE_REPLIES, SocksReply } from '../../src/proxy/replies.js'
import { Quota } from '../../src/proxy/socks-quota.js'
import { MAX_UDP_HEADER, UdpDestination, UdpFault, UdpSource } from '../../src/proxy/socks-udp-header.js'
import { emitSocks4Reply, readSocks4Request, Socks4Reply } from '../../src/proxy/socks4.js'
import {
  emitMethod,
  emitNameReply,
  emitPasswordStatus,
  emitReply,
  MAX_REPLY,
  readGreeting,
  readPassword,
  readRequest,
} from '../../src/proxy/socks5.js'
import { SeededRandom } from '../helpers/random.js'

interface Vector {
  readonly id: string
  readonly in: { readonly command: number; readonly host: string; readonly port: number }
  readonly out: { readonly requestHex: string }
}
const file = new URL('../vectors/proxy.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Vector[] }

const hex = (s: string) => Buffer.from(s.replaceAll(' ', ''), 'hex')

type Reader = (b: Uint8Array, o: number, end: number) => { readonly type: string }

/** Whole, cut at every octet, with octets behind, and at an offset. */
function fourWays(t: Test, read: Reader, bytes: Buffer, wanted: object) {
  t.same(read(bytes, 0, bytes.length), wanted, 'whole')
  for (let n = 0; n < bytes.length; n++) t.same(read(bytes, 0, n), { type: 'need-more' }, `cut at ${n}`)
  const behind = Buffer.concat([bytes, Buffer.from([5, 1, 0, 0xa5])])
  t.same(read(behind, 0, behind.length), wanted, 'octets behind')
  const room = new Uint8Array(bytes.length + 9).fill(0xa5)
  room.set(bytes, 6)
  const view = room.subarray(2)
  t.same(read(view, 4, 4 + bytes.length), wanted, 'at an offset')
}

t.test('requests', async (t) => {
  t.equal(vectors.length, 6)
  for (const { id, in: given, out } of vectors) {
    const bytes = hex(out.requestHex)
    await t.test(id, async (t) =>
      fourWays(t, readRequest, bytes, { type: 'request', ...given, length: bytes.length }),
    )
  }
  const utf8 = Buffer.concat([hex('05010003 0e'), Buffer.from('bücher.example').subarray(0, 14), hex('0050')])
  t.match(readRequest(utf8, 0, utf8.length), { type: 'request', host: 'bücher.exampl' })
  const empty = hex('05010003 00 0050')
  t.same(readRequest(empty, 0, empty.length), { type: 'request', command: 1, host: '', port: 80, length: 7 })
  const mapped = hex('05010004 00000000000000000000ffffc0000201 0050')
  t.match(readRequest(mapped, 0, mapped.length), { host: /^::ffff:/ })
})

t.test('greetings', async (t) => {
  fourWays(t, readGreeting, hex('05 01 00'), { type: 'greeting', methods: [0], length: 3 })
  fourWays(t, readGreeting, hex('05 03 00 01 02'), { type: 'greeting', methods: [0, 1, 2], length: 5 })
  fourWays(t, readGreeting, hex('05 00'), { type: 'greeting', methods: [], length: 2 })
  t.same(readGreeting(hex('04'), 0, 1), { type: 'error', code: 'bad-version' })
})

t.test('requests that are none', async (t) => {
  t.same(readRequest(hex('04'), 0, 1), { type: 'error', code: 'bad-version' })
  for (const type of [0, 2, 5, 255]) {
    t.same(readRequest(Uint8Array.of(5, 1, 0, type), 0, 4), { type: 'error', code: 'bad-address-type' })
  }
})

t.test('name and password', async (t) => {
  const text = (s: string) => Buffer.from(s)
  fourWays(t, readPassword, hex('01 03 616263 02 7a7a'), {
    type: 'password',
    user: text('abc'),
    password: text('zz'),
    length: 8,
  })
  const empty = { type: 'password', user: text(''), password: text(''), length: 3 }
  fourWays(t, readPassword, hex('01 00 00'), empty)
  const long = Buffer.concat([hex('01 ff'), Buffer.alloc(255, 1), hex('ff'), Buffer.alloc(255, 2)])
  fourWays(t, readPassword, long, {
    type: 'password',
    user: Buffer.alloc(255, 1),
    password: Buffer.alloc(255, 2),
    length: 513,
  })
  for (const octet of [0, 2, 5, 255]) {
    t.same(readPassword(Uint8Array.of(octet), 0, 1), { type: 'error', code: 'bad-version' })
  }
})

t.test('SOCKS4 and 4a', async (t) => {
  const request = (command: number, host: string, port: number, length: number) => ({
    type: 'request',
    command,
    host,
    port,
    length,
  })
  const read = readSocks4Request
  fourWays(t, read, hex('04 01 0050 c0000201 00'), request(1, '192.0.2.1', 80, 9))
  fourWays(t, read, hex('04 02 01bb c0000201 626f6200'), request(2, '192.0.2.1', 443, 12))
  fourWays(t, read, hex('04 01 0050 00000001 00 612e6200'), request(1, 'a.b', 80, 13))
  fourWays(t, read, hex('04 f0 0000 000000ff 75736572 00 6100'), request(0xf0, 'a', 0, 15))
  fourWays(t, read, hex('04 02 0000 00000000 00'), request(2, '0.0.0.0', 0, 9))
  const user = Buffer.alloc(255, 0x75)
  const name = Buffer.alloc(255, 0x6e)
  const most = Buffer.concat([hex('04 01 0050 00000007'), user, hex('00'), name, hex('00')])
  fourWays(t, read, most, request(1, 'n'.repeat(255), 80, most.length))
  const error = (bytes: Buffer) => {
    const result = read(bytes, 0, bytes.length)
    return result.type === 'error' ? result.code : result.type
  }
  t.equal(error(Buffer.concat([hex('04 01 0050 c0000201'), user, hex('75')])), 'user-too-long')
  t.equal(error(Buffer.concat([hex('04 01 0050 00000007 00'), name, hex('6e')])), 'name-too-long')
  const endless = Buffer.alloc(300, 0x75)
  t.equal(error(Buffer.concat([hex('04 01 0050 c0000201'), endless])), 'user-too-long')
  t.equal(error(Buffer.concat([hex('04 01 0050 c0000201'), user, hex('75 00')])), 'user-too-long')
  t.equal(error(Buffer.concat([hex('04 01 0050 00000007 00'), endless])), 'name-too-long')
  t.equal(error(hex('04 01 0050 00000007 00 00')), 'no-name')
  for (const octet of [0, 3, 5, 255]) t.equal(error(Buffer.of(octet)), 'bad-version')

  const dst = new Uint8Array(10).fill(0xa5)
  const emit = (...args: [code: 0x5a | 0x5b, bound?: { address: string; port: number }]) => {
    t.equal(emitSocks4Reply(dst, 1, ...args), 8)
    t.same([dst[0], dst[9]], [0xa5, 0xa5])
    return Buffer.from(dst.subarray(1, 9)).toString('hex')
  }
  t.equal(emit(Socks4Reply.GRANTED, { address: '10.9.0.2', port: 40_000 }), '005a9c400a090002')
  t.equal(emit(Socks4Reply.GRANTED, { address: '2001:db8::1', port: 80 }), '005a005000000000')
  t.equal(emit(Socks4Reply.REJECTED), '005b000000000000')
})

t.test('headers of datagrams', async (t) => {
  const cases: [string, string, string, number][] = [
    ['IPv4', '0000 00 01 c0000201 0035', '192.0.2.1', 53],
    ['IPv6', '0000 00 04 20010db8000000000000000000000001 0035', '2001:db8::1', 53],
    ['a name', '0000 00 03 03 612e62 0035', 'a.b', 53],
    ['reserved octets are ignored', 'abcd 00 01 c0000201 ffff', '192.0.2.1', 65_535],
  ]
  for (const [what, bytes, host, port] of cases) {
    const header = hex(bytes)
    const destination = new UdpDestination()
    for (let n = 0; n < header.length; n++) {
      const cut = header.subarray(0, n)
      t.equal(destination.read(cut), UdpFault.MALFORMED, `${what}, cut at ${n}`)
    }
    const datagram = Buffer.concat([header, Buffer.from('data')])
    t.equal(destination.read(datagram), header.length, what)
    t.same(destination.to, { host, port })
    const { to } = destination
    t.equal(destination.read(Buffer.from(datagram)), header.length)
    t.equal(destination.to, to, 'the same again is the same object')
    t.equal(destination.read(header), header.length, 'no data')
    for (let i = 3; i < header.length; i++) {
      const other = Buffer.from(datagram)
      other[i] = (other[i] ?? 0) ^ 0x10
      const fresh = new UdpDestination()
      t.equal(destination.read(other), fresh.read(other), `${what}: octet ${i} differs`)
      if (fresh.read(other) > 0) t.same(destination.to, fresh.to)
      destination.read(datagram)
    }
    for (const fragment of [1, 0x7f, 0x80, 0xff]) {
      const other = Buffer.from(datagram)
      other[2] = fragment
      t.equal(destination.read(other), UdpFault.FRAGMENT)
    }
  }
  const odd = new UdpDestination()
  for (const type of [0, 2, 5, 255]) {
    t.equal(odd.read(Buffer.concat([Buffer.of(0, 0, 0, type), Buffer.alloc(300)])), UdpFault.MALFORMED)
  }
  t.equal(odd.read(hex('0000 00 01 c0000201 0000')), UdpFault.MALFORMED, 'port 0')
  t.equal(odd.read(hex('0000 00 03 00 0035')), UdpFault.MALFORMED, 'no name')
  const long = Buffer.concat([hex('0000 00 03 ff'), Buffer.alloc(255, 0x61), hex('0035')])
  t.equal(odd.read(long), 262)
  t.equal(odd.to.host, 'a'.repeat(255))

  const source = new UdpSource()
  const dst = new Uint8Array(MAX_UDP_HEADER + 2).fill(0xa5)
  const emit = (address: string, port: number) => {
    const length = source.emit(dst, 1, { address, port })
    return Buffer.from(dst.subarray(1, 1 + length)).toString('hex')
  }
  t.equal(emit('192.0.2.1', 53), '00000001c00002010035')
  t.equal(emit('192.0.2.1', 53), '00000001c00002010035')
  t.equal(emit('192.0.2.1', 54), '00000001c00002010036')
  t.equal(emit('2001:db8::1', 54), '0000000420010db80000000000000000000000010036')
  t.equal(emit('192.0.2.2', 54), '00000001c00002020036')
})

t.test('any octets: what is read is inside, and reading more of them goes the same way', async (t) => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 3, 4, 5, 255), fc.integer({ min: 0, max: 255 }))
  const bytes = fc.array(octet, { maxLength: 700 }).map((list) => Uint8Array.from(list))
  const readers = [readGreeting, readPassword, readRequest, readSocks4Request] as const
  const messages = () =>
    fc.assert(
      fc.property(bytes, fc.constantFrom(...readers), fc.nat(4), (body, read, version) => {
        const b = Uint8Array.of(read === readSocks4Request ? 4 : version === 0 ? 5 : 1, ...body)
        const whole = read(b, 0, b.length)
        for (let n = 0; n <= b.length; n += n < 20 ? 1 : 13) {
          const part = read(b, 0, n)
          if (part.type === 'need-more') continue
          if (JSON.stringify(part) !== JSON.stringify(whole))
            throw new Error(`${n} octets tell another story`)
        }
        if ('length' in whole && (whole.length < 2 || whole.length > b.length))
          throw new Error('beyond the end')
        if (whole.type === 'need-more' && b.length > 513) throw new Error('it waits for ever')
      }),
      { seed: 5, numRuns: 3000 },
    )
  t.doesNotThrow(messages)
  const headers = () =>
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 5 }), (datagrams) => {
        const kept = new UdpDestination()
        for (const d of [...datagrams, ...datagrams]) {
          if (d.length > 2) d[2] = d[2] === 255 ? 1 : 0
          const fresh = new UdpDestination()
          const length = kept.read(d)
          if (length !== fresh.read(d) || length > d.length)
            throw new Error('what is remembered changes what is read')
          if (length > 0 && kept.to.host !== fresh.to.host) throw new Error('another host')
          if (length > 0 && kept.to.port !== fresh.to.port) throw new Error('another port')
        }
      }),
      { seed: 5, numRuns: 3000 },
    )
  t.doesNotThrow(headers)
})

t.test('quotas', async (t) => {
  const quota = new Quota(3, 2)
  t.same([quota.take('a'), quota.take('a'), quota.take('a')], [true, true, false])
  t.same([quota.take('b'), quota.take('c'), quota.used], [true, false, 3])
  quota.give('a')
  quota.give('nobody')
  t.same([quota.take('c'), quota.used], [true, 3])
  for (const address of ['a', 'b', 'c']) quota.give(address)
  t.equal(quota.used, 0)
  quota.give('a')
  t.equal(quota.used, 0)
})

t.test('replies, into a dirty buffer', async (t) => {
  const emit = (code: Parameters<typeof emitReply>[2], bound?: { address: string; port: number }) => {
    const dst = new Uint8Array(MAX_REPLY + 4).fill(0xa5)
    const length = emitReply(dst, 2, code, bound)
    t.same([...dst.subarray(0, 2), ...dst.subarray(2 + length)], Array(dst.length - length).fill(0xa5))
    return Buffer.from(dst.subarray(2, 2 + length)).toString('hex')
  }
  t.equal(emit(SocksReply.SUCCEEDED, { address: '10.9.0.2', port: 40_000 }), '050000010a0900029c40')
  t.equal(
    emit(SocksReply.SUCCEEDED, { address: '2001:db8::99', port: 443 }),
    '0500000420010db800000000000000000000009901bb',
  )
  t.equal(emit(SocksReply.CONNECTION_REFUSED), '05050001000000000000')
  t.equal(
    emit(SocksReply.SUCCEEDED, { address: 'fe80::1', port: 1 }),
    '05000004fe8000000000000000000000000000010001',
  )
  const dst = new Uint8Array(4).fill(0xa5)
  t.equal(emitMethod(dst, 1, 0xff), 2)
  t.same([...dst], [0xa5, 5, 0xff, 0xa5])
  t.equal(emitPasswordStatus(dst, 1, true), 2)
  t.same([...dst], [0xa5, 1, 0, 0xa5])
  emitPasswordStatus(dst, 1, false)
  t.same([...dst], [0xa5, 1, 1, 0xa5])
  const named = new Uint8Array(12).fill(0xa5)
  t.equal(emitNameReply(named, 1, Buffer.from('a.b')), 10)
  t.equal(Buffer.from(named).toString('hex'), 'a505000003' + '03612e62' + '0000' + 'a5')
})

t.test('the codes that clients tell apart', async (t) => {
  const codes = Object.fromEntries(
    Object.entries(FAILURE_REPLIES).map(([code, r]) => [code, [r.socks, r.status]]),
  )
  t.same(codes, {
    refused: [5, 502],
    reset: [1, 502],
    'host-unreachable': [4, 502],
    'network-unreachable': [3, 502],
    'ttl-expired': [6, 502],
    prohibited: [2, 502],
    'timed-out': [6, 504],
    'name-not-found': [4, 502],
    'name-refused': [4, 502],
    'name-failed': [1, 502],
    'name-timed-out': [1, 504],
    'name-invalid': [4, 400],
    'not-allowed': [2, 403],
    'too-large': [1, 502],
    'no-resources': [1, 503],
    aborted: [1, 502],
    'tunnel-down': [1, 503],
    'tunnel-reconnecting': [3, 503],
  })
})

t.test('fuzz: any octets give a message, an error or a wish for more', async (t) => {
  const random = new SeededRandom(7)
  const kinds = new Set<string>()
  for (let i = 0; i < 3_000_000; i++) {
    const bytes = Buffer.from(random.bytes(random.below(40)))
    if (bytes.length > 0 && random.below(4) > 0) bytes[0] = 5
    if (bytes.length > 3 && random.below(4) > 0) bytes[3] = 1 + random.below(4)
    for (const read of [readGreeting, readRequest]) {
      const message = read(bytes, 0, bytes.length)
      kinds.add(message.type)
      if ('length' in message && (message.length > bytes.length || message.length < 2))
        t.fail(bytes.toString('hex'))
    }
  }
  t.same([...kinds].sort(), ['error', 'greeting', 'need-more', 'request'])
})
