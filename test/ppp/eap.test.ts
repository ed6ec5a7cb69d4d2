/** The client's EAP against a scripted server: identity, Nak, notification, repetition, and ends that fit or do not. */
import t from 'tap'
import type { PppClientOptions } from '../../src/ppp/link.js'
import { CHALLENGE, challengeBody, HLAK, peerRandom, responseBody, SUCCESS } from '../helpers/eap.js'
import {
  acceptRequests,
  clientUpTo,
  EAP,
  fail,
  IPCP,
  LCP,
  Subject,
  serverOptions,
  textHex,
  toHex,
} from '../helpers/ppp.js'

const ZEROS = '00'.repeat(32)
const client = (over: Partial<PppClientOptions> = {}): Subject => {
  const subject = clientUpTo('c227', { auth: ['eap-mschapv2'], random: peerRandom, ...over })
  subject.heard()
  return subject
}
/** Up to our response to the challenge. */
const challenged = (over: Partial<PppClientOptions> = {}): Subject => {
  const subject = client(over)
  subject.say(EAP, 1, 0, '01')
  subject.say(EAP, 1, 1, `1a${challengeBody(1)}`)
  subject.heard()
  return subject
}
/** Up to our answer to the Success of MS-CHAPv2. */
const proven = (over: Partial<PppClientOptions> = {}): Subject => {
  const subject = challenged(over)
  subject.say(EAP, 1, 2, `1a0301${'0000'}${textHex(SUCCESS)}`)
  subject.heard()
  return subject
}
const authenticated = (subject: Subject): boolean => subject.types.includes('authenticated')

t.test('LCP: EAP is acknowledged if one of its methods is enabled', async (t) => {
  t.same(client().event('lcp-up'), { type: 'lcp-up', peerMru: 1500, auth: 'eap' })
  const both = clientUpTo('c227', { auth: ['mschapv2', 'eap-mschapv2'] })
  t.equal(both.event('lcp-up')?.auth, 'eap', 'the server asks for it, so it is taken')
})

t.test('identity: the name whole, in UTF-8, whatever the text of the request', async (t) => {
  for (const user of ['User', 'BIGCO\\User', 'user@realm', 'jürgen€']) {
    const subject = client({ user })
    t.same(subject.say(EAP, 1, 9, '01').heard(), [`c227 2 9 01${textHex(user)}`])
  }
  const other = client({ identity: 'anonymous@realm' })
  t.same(other.say(EAP, 1, 0, `01${textHex('Welcome to the server!\0')}`).heard(), [
    `c227 2 0 01${textHex('anonymous@realm')}`,
  ])
})

t.test('a repeated request gets the same response, and is not worked on twice', async (t) => {
  let octet = 0
  const subject = client({ random: (dst) => dst.fill((octet += 1)) })
  subject.say(EAP, 1, 0, '01')
  subject.heard()
  const request = `1a${challengeBody(1)}`
  const [first = ''] = subject.say(EAP, 1, 1, request).heard()
  t.match(first, /^c227 2 1 1a02/)
  const before = octet
  t.same(subject.say(EAP, 1, 1, request).say(EAP, 1, 1, request).heard(), [first, first])
  t.equal(octet, before)
  t.same(subject.say(EAP, 1, 0, '01').heard(), [], 'an older one is not of the method')
})

t.test('notification: shown, and answered with an empty one, also within a method', async (t) => {
  const subject = client()
  t.same(subject.say(EAP, 1, 3, `02${textHex('Your password expires in 3 days')}`).heard(), ['c227 2 3 02'])
  t.same(subject.event('note'), { type: 'note', message: 'the server says: Your password expires in 3 days' })
  subject.say(EAP, 1, 4, `1a${challengeBody(4)}`)
  subject.heard()
  t.same(subject.say(EAP, 1, 5, '02').heard(), ['c227 2 5 02'])
  t.equal(subject.types.filter((type) => type === 'note').length, 1, 'nothing is nothing to show')
  for (let id = 10; id < 30; id += 1) subject.say(EAP, 1, id, `02${textHex('x')}`).heard()
  t.ok(subject.types.filter((type) => type === 'note').length <= 5, 'not for ever')
})

t.test('a type that is not enabled gets a Nak with those that are', async (t) => {
  const subject = client()
  t.same(subject.say(EAP, 1, 0, '0410aabb').heard(), ['c227 2 0 031a'])
  t.same(subject.say(EAP, 1, 1, `fe00000000000001`).heard(), ['c227 2 1 031a'], 'an expanded one too')
  t.match(subject.say(EAP, 1, 2, `1a${challengeBody(2)}`).heard(), [/^c227 2 2 1a02/], 'and then it goes on')
  const wrong = client()
  wrong.say(EAP, 1, 0, '01').say(EAP, 1, 1, '150020').say(EAP, 4, 1)
  t.equal(wrong.link.error?.code, 'AUTH_METHOD')
  t.match(wrong.link.error?.message, /wants EAP-TTLS; enabled here of EAP: EAP-MSCHAPv2/)
})

t.test('a server that reads one type of a Nak comes to see all of them', async (t) => {
  // pppd 2.4.9: what it does not know in front of the rest makes it ask for MD5 again.
  const subject = client({ auth: ['eap-tls', 'peap', 'eap-mschapv2'], tls: () => fail('no TLS') })
  subject.say(EAP, 1, 0, '01').heard()
  t.same(subject.say(EAP, 1, 1, '0410aabb').heard(), ['c227 2 1 030d191a'])
  t.same(subject.say(EAP, 1, 2, '0410aacc').heard(), ['c227 2 2 03191a0d'])
  t.same(subject.say(EAP, 1, 3, '0410aadd').heard(), ['c227 2 3 031a0d19'])
  t.match(subject.say(EAP, 1, 4, `1a${challengeBody(4)}`).heard(), [/^c227 2 4 1a02/])
})

t.test('a server that asks for ever for what was refused', async (t) => {
  const subject = client()
  for (let id = 0; id < 30; id += 1) subject.say(EAP, 1, id, '0410aabb')
  t.equal(subject.heard().filter((said) => said.startsWith('c227')).length, 10)
  t.equal(subject.link.error?.code, 'AUTH_METHOD')
})

t.test('within a method other types are dropped, and so is nonsense', async (t) => {
  const subject = challenged()
  for (const body of [
    '0410aabb',
    '0d20',
    '031a',
    '01',
    '1a',
    '1a01',
    '1a0301',
    '1a09010004',
    '1a0501000400',
  ]) {
    t.same(subject.say(EAP, 1, 7, body).heard(), [], body)
  }
  t.same(subject.say(EAP, 2, 7, '01').say(EAP, 9, 7, '01').raw(EAP, '0107000401', 0).heard(), [])
  t.equal(subject.link.error, undefined)
  t.match(
    subject.say(EAP, 1, 7, `1a030100ff${textHex(SUCCESS)}`).heard(),
    ['c227 2 7 1a03'],
    'and it goes on',
  )
})

t.test(
  'EAP-MSCHAPv2 in the order of SoftEther: Success without M, EAP-Success with the last identifier',
  async (t) => {
    const subject = client()
    t.same(subject.say(EAP, 1, 0, '01').heard(), [`c227 2 0 01${textHex('User')}`])
    t.same(subject.say(EAP, 1, 1, `1a${challengeBody(1)}`).heard(), [`c227 2 1 1a${responseBody(1)}`])
    t.same(subject.say(EAP, 1, 2, `1a0301002e${textHex(SUCCESS)}`).heard(), ['c227 2 2 1a03'])
    t.notOk(authenticated(subject), 'EAP-Success is waited for')
    t.match(subject.say(EAP, 3, 2).heard(), [/^8021 1 1/], 'IPCP begins at once')
    t.match(subject.event('authenticated'), { method: 'eap-mschapv2', user: 'User' })
    t.equal(toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0)), HLAK)
  },
)

t.test('a Success that fits nothing is dropped', async (t) => {
  for (const [name, subject] of [
    ['before anything', client()],
    ['behind the identity', client().say(EAP, 1, 0, '01')],
    ['behind our response', challenged()],
  ] as const) {
    subject.heard()
    t.same(subject.say(EAP, 3, 1).say(EAP, 3, 0).say(EAP, 3, 2).heard(), [], name)
    t.notOk(authenticated(subject), name)
    t.equal(subject.link.error, undefined)
  }
  const ipcp = challenged()
  t.same(ipcp.say(IPCP, 1, 1, '03060a000001').heard(), [], 'and IPCP proves nothing then')
  t.notOk(authenticated(ipcp))
})

t.test('a Success may be missing: pppd 2.4.9 goes on with IPCP, or nothing comes at all', async (t) => {
  const subject = proven()
  const said = subject.say(IPCP, 1, 1, '03060a000001').heard()
  t.equal(subject.event('authenticated')?.method, 'eap-mschapv2')
  t.ok(said.includes('8021 2 1 03060a000001'), 'and that request is answered')
  const silent = proven({ lcpEchoInterval: 0 })
  silent.pass(89_999)
  t.notOk(authenticated(silent))
  t.same(silent.heard(), [], 'nothing of IPCP to a server that still waits for a push on a phone')
  silent.pass(1)
  t.ok(authenticated(silent))
})

t.test('a second factor behind the proof: approved late, denied, or denied without a farewell', async (t) => {
  const slow = proven({ lcpEchoInterval: 0 })
  t.same(slow.pass(80_000).heard(), [])
  t.ok(authenticated(slow.say(EAP, 3, 2)))
  const refused = /refused us after it had found our proof right: .* second factor was not given/
  const denied = proven({ lcpEchoInterval: 0 })
  denied.pass(30_000).say(EAP, 4, 2).say(LCP, 5, 9, textHex('denied'))
  t.match(denied.link.error, { code: 'AUTH_REFUSED', message: refused }, 'nobody is asked again by itself')
  t.match(denied.link.error?.message, /\(it says: denied\)$/)
  const silent = proven({ lcpEchoInterval: 0 }).say(EAP, 4, 2)
  t.equal(silent.pass(4999).link.error, undefined)
  t.match(silent.pass(1).link.error, { code: 'AUTH_REFUSED', message: refused })
  t.notOk(authenticated(silent))
})

t.test('pppd counts on: the identifiers of the ends are not compared', async (t) => {
  t.ok(authenticated(proven().say(EAP, 3, 3)))
  t.equal(client().say(EAP, 1, 0, '01').say(EAP, 4, 2).link.error?.code, 'AUTH_REFUSED')
})

t.test('Failure: believed before the verdict, not behind it (RFC 3748 4.2)', async (t) => {
  const early = client().say(EAP, 1, 0, '01').say(EAP, 4, 0)
  t.equal(early.link.error?.code, 'AUTH_REFUSED')
  t.match(
    early.link.error?.message,
    /does not know the user name, or has no EAP method for it; --auth mschapv2/,
  )
  const late = challenged().say(EAP, 4, 1)
  t.match(late.link.error?.message, /refused us in EAP-MSCHAPv2: wrong user name, password or certificate/)
  const forged = proven().say(EAP, 4, 2)
  t.equal(forged.link.error, undefined)
  t.ok(authenticated(forged.say(EAP, 3, 2)))
  t.equal(forged.say(EAP, 4, 2).link.error, undefined, 'nor in the open link')
})

t.test('a server that hangs up instead of saying no', async (t) => {
  for (const [name, subject, code] of [
    ['before a word', client(), 'TERMINATED'],
    ['at the identity', client().say(EAP, 1, 0, '01'), 'AUTH_REFUSED'],
    ['at our response', challenged(), 'AUTH_REFUSED'],
    ['at our Nak', client().say(EAP, 1, 0, '0410aa'), 'AUTH_METHOD'],
    ['behind its own verdict', proven(), 'TERMINATED'],
  ] as const) {
    subject.say(LCP, 5, 9, textHex('Authentication failed'))
    t.equal(subject.link.error?.code, code, name)
  }
})

t.test('a server that cannot prove itself', async (t) => {
  const subject = challenged()
  t.same(subject.say(EAP, 1, 2, `1a0301002e${textHex(`S=${'00'.repeat(20)}`)}`).heard(), ['c021 5 1'])
  t.equal(subject.link.error?.code, 'AUTH_SERVER_UNPROVEN')
  t.same(subject.say(EAP, 3, 2).heard(), [])
  t.notOk(authenticated(subject))
})

t.test('silence', async (t) => {
  const none = client({ lcpEchoInterval: 0 })
  t.equal(none.pass(89_999).link.error, undefined)
  t.match(none.pass(1).link.error?.message, /EAP: the server sent no request/)
  const slow = client({ lcpEchoInterval: 0 })
  slow.pass(80_000).say(EAP, 1, 0, '01').pass(80_000)
  t.equal(slow.link.error, undefined, 'each request gives it time again')
  slow.say(EAP, 1, 1, `1a${challengeBody(1)}`).pass(89_000)
  t.equal(slow.link.error, undefined, 'a push on a phone')
  slow.say(EAP, 1, 2, `1a0301002e${textHex(SUCCESS)}`).say(EAP, 3, 2)
  t.ok(authenticated(slow))
  t.match(challenged({ lcpEchoInterval: 0 }).pass(90_000).link.error?.message, /no answer to our response/)
})

t.test('in the open link it may be gone through again', async (t) => {
  const subject = proven().say(EAP, 3, 2)
  subject.heard()
  const random = subject.types.length
  t.same(subject.say(EAP, 1, 9, '01').heard(), [`c227 2 9 01${textHex('User')}`])
  t.match(subject.say(EAP, 1, 10, `1a${challengeBody(10)}`).heard(), [`c227 2 10 1a${responseBody(10)}`])
  t.same(subject.say(EAP, 1, 11, `1a030a002e${textHex(SUCCESS)}`).heard(), ['c227 2 11 1a03'])
  subject.say(EAP, 3, 11)
  t.equal(subject.types.length, random, 'nothing is new')
  t.equal(subject.link.error, undefined)
  subject.say(EAP, 1, 12, '01').say(EAP, 4, 12)
  t.equal(subject.link.error?.code, 'AUTH_REFUSED', 'a no ends the call')
})

t.test('requests without end', async (t) => {
  const subject = client()
  for (let n = 0; n < 500 && subject.link.error === undefined; n += 1) {
    subject.say(EAP, 1, n & 255, `1a${challengeBody(n & 255)}`).heard()
  }
  t.equal(subject.link.error?.code, 'NOT_CONVERGING')
})

// ------------------------------------------------------------------ the server

const ID = 0x5b
/** A server with LCP agreed on; its random octets are those of the challenge. */
const server = (over: Parameters<typeof serverOptions>[0] = {}): Subject => {
  const subject = new Subject(
    serverOptions({
      auth: ['eap-mschapv2'],
      random(dst) {
        dst.set(Buffer.from(CHALLENGE, 'hex').subarray(0, dst.length))
      },
      ...over,
    }),
  ).start()
  const said = subject.heard()
  t.match(said, [/0304c227/], 'it asks for EAP')
  acceptRequests(subject, said)
  subject.say(LCP, 1, 1)
  return subject
}

t.test('server: EAP-MSCHAPv2 with the values of RFC 2759', async (t) => {
  const subject = server()
  t.same(subject.heard(), ['c021 2 1', `c227 1 ${ID + 1} 01`])
  t.same(subject.say(EAP, 2, ID + 1, `01${textHex('whoever')}`).heard(), [
    `c227 1 ${ID + 2} 1a${challengeBody(ID, 'sstp-socks')}`,
  ])
  const [said = ''] = subject.say(EAP, 2, ID + 2, `1a${responseBody(ID)}`).heard()
  t.equal(said, `c227 1 ${ID + 3} 1a03${ID.toString(16)}0038${textHex(`${SUCCESS} M=Welcome`)}`)
  t.notOk(authenticated(subject), 'the client has not said yes yet')
  t.match(subject.say(EAP, 2, ID + 3, '1a03').heard(), [`c227 3 ${ID + 3}`, /^8021 1 1/])
  t.match(subject.event('authenticated'), { method: 'eap-mschapv2', user: 'User' })
  t.equal(toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0)), HLAK)
  t.same(subject.say(EAP, 2, ID + 3, '1a03').heard(), [`c227 3 ${ID + 3}`], 'our Success was lost')
})

t.test('server: Nak, silence and what does not fit', async (t) => {
  const nak = server()
  nak.say(EAP, 2, ID + 1, '01')
  nak.say(EAP, 2, ID + 2, '030d').heard()
  t.same(nak.pass(1000).heard(), [`c227 4 ${ID + 2}`, 'c021 5 1'], 'nothing in common, after a pause')
  t.equal(nak.link.error?.code, 'AUTH_METHOD')
  const silent = server()
  silent.heard()
  silent.pass(29_999)
  t.same(silent.heard(), Array(9).fill(`c227 1 ${ID + 1} 01`))
  t.equal(silent.pass(1).link.error?.code, 'NO_ANSWER')
  const odd = server()
  odd.heard()
  for (const [code, id, body] of [
    [2, ID, '01'],
    [1, ID + 1, '01'],
    [2, ID + 1, '1a'],
    [2, ID + 1, '031a'],
    [2, ID + 1, ''],
    [3, ID + 1, ''],
  ] as const) {
    t.same(odd.say(EAP, code, id, body).heard(), [])
  }
  odd.say(EAP, 2, ID + 1, '01').heard()
  for (const body of ['1a', '1a02', `1a${responseBody(ID).slice(0, 40)}`, '1a03', '1a04', '0d00']) {
    t.same(odd.say(EAP, 2, ID + 2, body).heard(), [], body)
  }
  odd.say(EAP, 2, ID + 2, `1a${responseBody(ID)}`).heard()
  t.same(odd.say(EAP, 2, ID + 2, '031a').heard(), [], 'too late for a Nak')
  odd.say(EAP, 2, ID + 3, '1a03')
  t.ok(authenticated(odd))
})

t.test('server: a wrong password and an unknown user look the same', async (t) => {
  const answers = [responseBody(ID).replace(/^(.{20})../, '$1ee'), responseBody(ID, 'Nobody')].map((body) => {
    const subject = server()
    subject.say(EAP, 2, ID + 1, '01').heard()
    subject.say(EAP, 2, ID + 2, `1a${body}`)
    t.same(subject.heard(), [], 'a pause')
    const said = subject.pass(1000).heard()
    subject.say(EAP, 2, ID + 3, '1a04').pass(1000)
    t.equal(subject.link.error?.code, 'AUTH_REFUSED')
    return [...said, ...subject.heard()]
  })
  t.same(answers[0], answers[1])
  const text = Buffer.from(answers[0]?.[0]?.split(' ')[3]?.slice(10) ?? '', 'hex').toString()
  t.equal(text, `E=691 R=0 C=${CHALLENGE.toUpperCase()} V=3 M=Wrong user name or password`)
  t.match(answers[0], [/^c227 1/, /^c227 4/, /^c021 5/])
  t.equal(ZEROS.length, 64)
})

t.test('server: a client that hangs up on a refusal was refused', async (t) => {
  const subject = server()
  subject
    .say(EAP, 2, ID + 1, '01')
    .say(EAP, 2, ID + 2, `1a${responseBody(ID, 'Nobody')}`)
    .pass(1000)
  subject.say(LCP, 5, 9)
  t.equal(subject.link.error?.code, 'AUTH_REFUSED')
})
