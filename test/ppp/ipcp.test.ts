import t from 'tap'
import type { PppServerOptions } from '../../src/ppp/link.js'
import {
  acceptRequests,
  clientUpTo,
  fail,
  IPCP,
  LCP,
  Subject,
  serverOptions,
  textHex,
  toHex,
} from '../helpers/ppp.js'

const FIRST = '030600000000810600000000830600000000'

/** A client in the network phase whose first request (id 1) has left. */
function client(over: Parameters<typeof clientUpTo>[1] = {}): Subject {
  const subject = clientUpTo('', { requireAuth: false, ...over })
  return subject
}

/** A server that let the client in without authentication. */
function server(over: Partial<PppServerOptions> = {}): Subject {
  const subject = new Subject(serverOptions({ auth: [], ...over })).start()
  acceptRequests(subject, subject.heard())
  subject.say(LCP, 1, 1)
  const said = subject.heard()
  if (said[0] !== 'c021 2 1') fail(`LCP is not open: ${said.join(', ')}`)
  subject.say(IPCP, 2, 1, '03060a000001')
  return subject
}

const text = (addresses: readonly Uint8Array[] | undefined): string[] => (addresses ?? []).map(toHex)

/** The client and its first request. */
function asking(): Subject {
  const subject = client()
  // clientUpTo has fetched it already, behind the LCP Ack
  return subject
}

t.test('client: the usual exchange', async (t) => {
  const subject = asking()
  subject.pass(3000)
  t.same(subject.heard(), [`8021 1 1 ${FIRST}`])
  t.same(subject.say(IPCP, 1, 1, '03060a000001').heard(), [`8021 1 1 ${FIRST}`, '8021 2 1 03060a000001'])
  t.same(subject.say(IPCP, 4, 1, '830600000000').heard(), ['8021 1 2 030600000000810600000000'])
  t.same(subject.say(IPCP, 3, 2, '03060a00000581060a000001').heard(), ['8021 1 3 03060a00000581060a000001'])
  t.notOk(subject.link.ipv4Open)
  subject.say(IPCP, 2, 3, '03060a00000581060a000001')
  t.ok(subject.link.ipv4Open)
  const up = subject.event('ipv4-up')
  t.same(
    [toHex(up?.local ?? new Uint8Array(0)), text(up?.peer && [up.peer]), text(up?.dns)],
    ['0a000005', ['0a000001'], ['0a000001']],
  )
})

t.test('client: no address', async (t) => {
  for (const [what, code, body] of [
    ['a Nak of 0.0.0.0', 3, '030600000000'],
    ['a Reject of the address', 4, '030600000000'],
    ['an Ack of 0.0.0.0', 2, FIRST],
  ] as const) {
    const subject = asking()
    subject.say(IPCP, code, 1, body)
    t.match(subject.link.error, { layer: 'ipcp', code: 'NO_ADDRESS' }, what)
    t.notOk(subject.link.ipv4Open)
    t.equal(subject.say(LCP, 6, 1).end, 'NO_ADDRESS')
  }
})

t.test('client: DNS servers that are none', async (t) => {
  const subject = asking()
  t.same(
    subject.say(IPCP, 3, 1, '03060a000005 810600000000 83060a000001').heard(),
    ['8021 1 2 03060a00000583060a000001'],
    'a Nak of 0.0.0.0',
  )
  t.same(subject.say(IPCP, 3, 2, '81060a000009').heard(), ['8021 1 3 03060a00000583060a000001'], 'too late')
  subject.say(IPCP, 2, 3, '03060a00000583060a000001')
  subject.say(IPCP, 1, 9)
  t.same(text(subject.event('ipv4-up')?.dns), ['0a000001'])
  const acked = asking()
  acked.say(IPCP, 3, 1, '03060a000005').heard()
  acked.say(IPCP, 2, 2, '03060a000005810600000000830600000000')
  acked.say(IPCP, 1, 9)
  t.same(text(acked.event('ipv4-up')?.dns), [], 'an Ack of 0.0.0.0')
  const both = asking()
  both.say(IPCP, 3, 1, '03060a00000581060a00000183060a000002 82060a000003 0306').heard()
  t.notOk(both.types.includes('ipv4-up'), 'a broken option in a Nak: dropped whole')
  both.say(IPCP, 3, 1, '03060a00000581060a00000183060a00000282060a0000038103aa')
  t.same(both.heard(), ['8021 1 2 03060a00000581060a00000183060a000002'], 'what was not asked is ignored')
})

t.test("client: the server's request", async (t) => {
  const ask = (body: string): string | undefined => asking().say(IPCP, 1, 4, body).heard().at(-1)
  t.equal(ask('03060a000001'), '8021 2 4 03060a000001')
  t.equal(ask('0306c0000201'), '8021 2 4 0306c0000201', 'one that many servers share')
  t.equal(ask(''), '8021 2 4', 'it has none to tell')
  t.equal(ask('030600000000'), '8021 4 4 030600000000', 'it wants one of us')
  t.equal(ask('0206002d0f01 03060a000001'), '8021 4 4 0206002d0f01', 'VJ compression')
  t.equal(ask('010a0a0000010a000005'), '8021 4 4 010a0a0000010a000005')
  t.equal(ask('81060a000001'), '8021 4 4 81060a000001')
  t.equal(ask('03050a0000'), '8021 4 4 03050a0000')
  const subject = asking()
  subject.say(IPCP, 1, 4)
  subject.say(IPCP, 3, 1, '03060a000005')
  subject.say(IPCP, 2, 2, '03060a000005810600000000830600000000')
  t.equal(subject.event('ipv4-up')?.peer, undefined)
})

t.test('client: endless Naks end', async (t) => {
  const subject = asking()
  for (let id = 1; id < 40 && subject.link.error === undefined; id += 1) {
    subject.say(IPCP, 3, id, `03060a0000${id.toString(16).padStart(2, '0')}`)
  }
  t.match(subject.link.error, { layer: 'ipcp', code: 'NOT_CONVERGING' })
})

t.test('client: no answer, a Protocol-Reject, a Terminate-Request', async (t) => {
  const silent = asking()
  silent.say(IPCP, 1, 1, '03060a000001')
  silent.pass(30_000)
  t.match(silent.link.error, { layer: 'ipcp', code: 'NO_ANSWER' })
  const rejected = asking().say(LCP, 8, 1, `8021010100160306`)
  t.match(rejected.link.error, { layer: 'ipcp', code: 'REJECTED' })
  const open = asking()
  open.say(IPCP, 1, 1, '03060a000001')
  open.say(IPCP, 3, 1, '03060a000005').say(IPCP, 2, 2, '03060a000005810600000000830600000000')
  t.ok(open.link.ipv4Open)
  open.heard()
  const said = open.say(IPCP, 5, 3, textHex('Unauthorized remote IP address')).heard()
  t.same(said, ['8021 6 3', 'c021 5 1'])
  t.match(open.link.error, { layer: 'ipcp', code: 'TERMINATED', message: /Unauthorized remote IP address/ })
  t.match(open.event('ipv4-down'), { error: { code: 'TERMINATED' } })
  const early = asking().say(IPCP, 5, 3)
  t.match(early.link.error, { layer: 'ipcp', code: 'TERMINATED' })
})

t.test('client: negotiated anew in the open state', async (t) => {
  const subject = asking()
  subject.say(IPCP, 1, 1, '03060a000001')
  subject.say(IPCP, 3, 1, '03060a000005').say(IPCP, 2, 2, '03060a000005810600000000830600000000')
  subject.heard()
  t.same(subject.say(IPCP, 1, 2, '03060a000002').heard(), [
    '8021 1 3 03060a000005810600000000830600000000',
    '8021 2 2 03060a000002',
  ])
  t.notOk(subject.link.ipv4Open)
  t.equal(subject.event('ipv4-down')?.error, undefined)
  subject.say(IPCP, 2, 3, '03060a000005810600000000830600000000')
  t.ok(subject.link.ipv4Open)
  t.equal(toHex(subject.event('ipv4-up')?.peer ?? new Uint8Array(0)), '0a000002')
  for (let id = 4; id < 60 && subject.link.error === undefined; id += 1) {
    subject.say(IPCP, 1, id, '03060a000002')
    acceptRequests(subject, subject.heard())
  }
  t.match(subject.link.error, { layer: 'ipcp', code: 'NOT_CONVERGING' }, 'but not for ever')
})

t.test('client: negotiated anew now and then in a call of days', async (t) => {
  const subject = asking()
  subject.say(IPCP, 1, 1, '03060a000001')
  subject.say(IPCP, 3, 1, '03060a000005').say(IPCP, 2, 2, '03060a000005810600000000830600000000')
  subject.heard()
  for (let hour = 1; hour <= 100; hour += 1) {
    for (let minute = 0; minute < 60; minute += 1) {
      subject.pass(60_000)
      acceptRequests(subject, subject.heard())
      // Traffic, or an answer to our echoes.
      subject.link.packetReceived(subject.now)
    }
    subject.say(IPCP, 1, hour + 1, '03060a000001')
    acceptRequests(subject, subject.heard())
  }
  t.equal(subject.link.error, undefined)
  t.ok(subject.link.ipv4Open)
  t.equal(subject.events.filter((event) => event.type === 'ipv4-up').length, 101)
})

t.test('server: Rejects first, then a Nak, then an Ack', async (t) => {
  const subject = server()
  t.same(
    subject.say(IPCP, 1, 5, '030600000000810600000000820600000000830600000000840600000000').heard(),
    ['8021 4 5 820600000000830600000000840600000000'],
    "Windows' request; one DNS server is configured",
  )
  t.same(subject.say(IPCP, 1, 6, '030600000000810600000000').heard(), ['8021 3 6 03060a00000581060a000001'])
  t.same(subject.say(IPCP, 1, 7, '03060a00000581060a000001').heard(), ['8021 2 7 03060a00000581060a000001'])
  const up = subject.event('ipv4-up')
  t.same(
    [toHex(up?.local ?? new Uint8Array(0)), text(up?.peer && [up.peer]), up?.dns],
    ['0a000001', ['0a000005'], []],
  )
})

t.test('server: requests of every kind', async (t) => {
  const ask = (body: string, over: Partial<PppServerOptions> = {}): string[] =>
    server(over).say(IPCP, 1, 5, body).heard()
  t.same(ask('03060a000009'), ['8021 3 5 03060a000005'], 'a wish')
  t.same(ask(''), ['8021 3 5 03060a000005'], 'none asked for: it needs one')
  t.same(ask('03050a0000'), ['8021 3 5 03060a000005'], 'a broken one')
  t.same(ask('0206002d0f01030600000000'), ['8021 4 5 0206002d0f01'])
  t.same(ask('030600000000810600000000', { dns: [] }), ['8021 4 5 810600000000'])
  const two = [Uint8Array.of(1, 1, 1, 1), Uint8Array.of(2, 2, 2, 2), Uint8Array.of(3, 3, 3, 3)]
  t.same(ask('03060a000005810600000000830600000000', { dns: two }), ['8021 3 5 810601010101830602020202'])
  const stubborn = server()
  for (let id = 1; id <= 5; id += 1) t.same(stubborn.say(IPCP, 1, id).heard(), [`8021 3 ${id} 03060a000005`])
  t.same(stubborn.say(IPCP, 1, 6).heard(), ['8021 2 6'], 'after that nothing is added to what it asks')
})

t.test('server: its own address is not for discussion, but may be rejected', async (t) => {
  const subject = new Subject(serverOptions({ auth: [] })).start()
  acceptRequests(subject, subject.heard())
  subject.say(LCP, 1, 1)
  t.same(subject.heard(), ['c021 2 1', '8021 1 1 03060a000001'])
  t.same(subject.say(IPCP, 3, 1, '03060a0000ff').heard(), ['8021 1 2 03060a000001'])
  t.same(subject.say(IPCP, 4, 2, '03060a000001').heard(), ['8021 1 3'])
})

t.test('server: an address is assigned once, to the user who authenticated', async (t) => {
  const asked: string[] = []
  const subject = server({
    assign: (user) => {
      asked.push(user)
      return Uint8Array.of(10, 0, 0, 7)
    },
  })
  subject.say(IPCP, 1, 5, '030600000000').say(IPCP, 1, 6, '03060a000007').say(IPCP, 1, 7, '03060a000007')
  t.same(asked, [''])
  const off = server({
    ipv4: false,
    ipv6: true,
    assign: () => fail('not without IPv4'),
  })
  t.match(off.say(IPCP, 1, 9, '030600000000').heard().at(-1), /^c021 8 \d+ 80210109000a030600000000(a5)*$/)
})
