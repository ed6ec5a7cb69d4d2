import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { FAILURE_REPLIES, SocksReply } from '../../src/proxy/replies.js'
import {
  emitMethod,
  emitReply,
  MAX_REPLY,
  passwordMessageLength,
  readGreeting,
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

t.test('a password message', async (t) => {
  const bytes = hex('01 03 616263 02 7a7a')
  for (let n = 0; n < bytes.length; n++) t.equal(passwordMessageLength(bytes, 0, n), 0)
  t.equal(passwordMessageLength(bytes, 0, bytes.length), 8)
  t.equal(passwordMessageLength(Buffer.concat([bytes, bytes]), 8, 16), 8)
  t.equal(passwordMessageLength(hex('01 00 00'), 0, 3), 3)
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
  const dst = new Uint8Array(4).fill(0xa5)
  t.equal(emitMethod(dst, 1, 0xff), 2)
  t.same([...dst], [0xa5, 5, 0xff, 0xa5])
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
    const length = passwordMessageLength(bytes, 0, bytes.length)
    if (length > bytes.length) t.fail(bytes.toString('hex'))
  }
  t.same([...kinds].sort(), ['error', 'greeting', 'need-more', 'request'])
})
