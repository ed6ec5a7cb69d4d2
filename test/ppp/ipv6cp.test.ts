import t from 'tap'
import {
  acceptRequests,
  clientUpTo,
  IPCP,
  IPV6CP,
  LCP,
  Subject,
  serverOptions,
  toHex,
} from '../helpers/ppp.js'

/** A client in the network phase with IPv6 alone; its identifier is 1111 1111 1111 1111, the next 1111…12. */
const client = (over: Parameters<typeof clientUpTo>[1] = {}): Subject =>
  clientUpTo('', {
    requireAuth: false,
    ipv4: false,
    ipv6: true,
    random: (dst) => dst.fill(0x13),
    ...over,
  })
const OURS = '1113131313131313'
const NEXT = '1113131313131314'

t.test('the identifier is random, not zero, and not said to be globally unique', async (t) => {
  const subject = client()
  subject.pass(3000)
  t.same(subject.heard(), [`8057 1 1 010a${OURS}`], 'u bit clear')
  const zero = client({ random: (dst) => dst.fill(0) })
  zero.pass(3000)
  t.same(zero.heard(), ['8057 1 1 010a0000000000000001'])
})

t.test('both ends agree', async (t) => {
  const subject = client()
  t.same(subject.say(IPV6CP, 1, 4, '010a0000000000000001').heard(), [
    `8057 1 1 010a${OURS}`,
    '8057 2 4 010a0000000000000001',
  ])
  subject.say(IPV6CP, 2, 1, `010a${OURS}`)
  t.ok(subject.link.ipv6Open)
  const up = subject.event('ipv6-up')
  t.same(
    [toHex(up?.local ?? new Uint8Array(0)), toHex(up?.peer ?? new Uint8Array(0))],
    [OURS, '0000000000000001'],
  )
})

t.test("judging the peer's identifier", async (t) => {
  const ask = (body: string): string | undefined => client().say(IPV6CP, 1, 4, body).heard().at(-1)
  t.equal(ask('010a0000000000000000'), `8057 3 4 010a${NEXT}`, 'it wants one')
  t.equal(ask(`010a${OURS}`), `8057 3 4 010a${NEXT}`, 'ours')
  t.equal(ask('0104abcd'), `8057 3 4 010a${NEXT}`, 'of a wrong size')
  t.equal(ask('0204004f'), '8057 4 4 0204004f', 'compression')
  t.equal(ask(''), '8057 2 4')
})

t.test('after a collision ours is another one', async (t) => {
  const subject = client()
  subject.say(IPV6CP, 1, 4, `010a${OURS}`).heard()
  subject.pass(3000)
  t.same(subject.heard(), [`8057 1 2 010a${NEXT}`])
})

t.test('Nak and Reject of ours', async (t) => {
  const subject = client()
  t.same(subject.say(IPV6CP, 3, 1, '010a0000000000000002').heard(), ['8057 1 2 010a0000000000000002'])
  const zero = client()
  t.same(zero.say(IPV6CP, 3, 1, '010a0000000000000000').heard(), [`8057 1 2 010a${NEXT}`], 'no use')
  const rejected = client()
  t.same(rejected.say(IPV6CP, 4, 1, `010a${OURS}`).heard(), ['8057 1 2'])
  rejected.say(IPV6CP, 2, 2).say(IPV6CP, 1, 1)
  t.equal(toHex(rejected.event('ipv6-up')?.local ?? new Uint8Array(0)), OURS, 'used all the same')
  t.equal(rejected.event('ipv6-up')?.peer, undefined)
})

t.test('no IPv6 is no reason to end a link that has IPv4', async (t) => {
  const up = (subject: Subject): void => {
    subject.say(IPCP, 3, 1, '03060a000005').say(IPCP, 2, 2, '03060a000005810600000000830600000000')
    subject.say(IPCP, 1, 1, '03060a000001')
  }
  const rejected = client({ ipv4: true })
  up(rejected)
  rejected.say(LCP, 8, 1, '80570101')
  t.match(rejected.event('ipv6-down'), { error: { layer: 'ipv6cp', code: 'REJECTED' } })
  t.ok(rejected.link.ipv4Open)
  rejected.pass(20_000)
  t.equal(rejected.link.error, undefined)
  const silent = client({ ipv4: true })
  up(silent)
  silent.pass(29_000)
  t.notOk(silent.types.includes('ipv6-down'))
  silent.pass(1000)
  t.match(silent.event('ipv6-down'), { error: { layer: 'ipv6cp', code: 'NO_ANSWER' } })
  t.ok(silent.link.ipv4Open)
  t.equal(silent.link.error, undefined)
  silent.heard()
  t.same(silent.say(IPV6CP, 1, 1, '010a0000000000000001').heard(), ['8057 6 1'], 'it is closed now')
})

t.test('no IPv4 is no reason to end a link that has IPv6, but without both it ends', async (t) => {
  const subject = client({ ipv4: true })
  subject.say(IPV6CP, 1, 4, '010a0000000000000001').say(IPV6CP, 2, 1, `010a${OURS}`)
  subject.say(LCP, 8, 1, '80210101')
  t.match(subject.event('ipv4-down'), { error: { layer: 'ipcp', code: 'REJECTED' } })
  t.equal(subject.link.error, undefined)
  t.ok(subject.link.ipv6Open)
  subject.say(IPV6CP, 5, 9)
  t.match(subject.link.error, { layer: 'ipcp', code: 'REJECTED' }, 'IPv4 is what people miss')
  t.notOk(subject.link.ipv6Open)
  t.equal(subject.say(LCP, 6, 1).end, 'REJECTED')
})

t.test('the server does the same', async (t) => {
  const subject = new Subject(
    serverOptions({ auth: [], ipv6: true, random: (dst) => dst.fill(0x13) }),
  ).start()
  acceptRequests(subject, subject.heard())
  subject.say(LCP, 1, 1)
  t.same(subject.heard(), ['c021 2 1', '8021 1 1 03060a000001', `8057 1 1 010a${OURS}`])
  t.same(subject.say(IPV6CP, 1, 4, '010a0000000000000000').heard(), [`8057 3 4 010a${NEXT}`])
  t.same(subject.say(IPV6CP, 1, 5, `010a${NEXT}`).heard(), [`8057 2 5 010a${NEXT}`])
  subject.say(IPV6CP, 2, 1, `010a${OURS}`)
  t.ok(subject.link.ipv6Open)
  subject.say(LCP, 8, 1, '80570101')
  t.match(subject.event('ipv6-down'), { error: { code: 'REJECTED' } }, 'rejected when it was up')
  t.equal(subject.link.error, undefined)
})
