import t from 'tap'
import { chapValue } from '../../src/ppp/auth/chap.js'
import { chapMd5 } from '../../src/ppp/auth/chap-md5.js'
import {
  authenticatorResponse,
  challengeHash,
  challengeResponse,
  hashNtPasswordHash,
  higherLayerKey,
  ntPasswordHash,
} from '../../src/ppp/auth/mschap-crypto.js'
import { parseFailure } from '../../src/ppp/auth/mschapv2.js'
import type { PppClientOptions, PppServerOptions } from '../../src/ppp/link.js'
import {
  acceptRequests,
  CHAP,
  clientUpTo,
  fromHex,
  LCP,
  PAP,
  packetHex,
  Subject,
  serverOptions,
  textHex,
  toHex,
} from '../helpers/ppp.js'

const MSCHAPV2 = 'c22381'
const MD5 = 'c22305'
const CHALLENGE = '5b5d7c7d7b3f2f3e3c2c602132262628'
const PEER_CHALLENGE = '21402324255e262a28295f2b3a337c7e'
const NT_RESPONSE = '82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df'
const SUCCESS = 'S=407A5589115FD0D6209F510FE9C04566932CDA56'
const HLAK = 'd5f0e9521e3ea9589645e86051c822268b7cdc149b993a1ba118cb153f56dccb'
const ZEROS = '00'.repeat(32)

/** The client of RFC 2759 9.2: its peer challenge is the published one. */
const rfc2759 = (over: Partial<PppClientOptions> = {}): Subject =>
  clientUpTo(MSCHAPV2, {
    random(dst) {
      dst.set(fromHex(PEER_CHALLENGE).subarray(0, dst.length))
    },
    ...over,
  })
const challenge = (subject: Subject, id = 1, value = CHALLENGE): string[] =>
  subject.say(CHAP, 1, id, `10${value}${textHex('srv')}`).heard()
const response = (id = 1, name = 'User'): string =>
  `c223 2 ${id} 31${PEER_CHALLENGE}${'00'.repeat(8)}${NT_RESPONSE}00${textHex(name)}`

t.test('MS-CHAPv2 with the values of RFC 2759 9.2', async (t) => {
  const subject = rfc2759()
  t.same(subject.heard(), [], 'the client waits')
  t.same(challenge(subject), [response()])
  t.same(
    subject.say(CHAP, 3, 1, textHex(`${SUCCESS} M=Welcome`)).heard(),
    ['8021 1 1 030600000000810600000000830600000000'],
    'IPCP begins at once',
  )
  t.match(subject.event('authenticated'), { method: 'mschapv2', user: 'User' })
  t.equal(toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0)), HLAK)
})

t.test('forms of the Success message', async (t) => {
  for (const [message, end] of [
    [SUCCESS, undefined],
    [SUCCESS.toLowerCase().replace('s=', 'S='), undefined],
    [`${SUCCESS} M=${'x'.repeat(300)}`, undefined],
    [`${SUCCESS}M=`, undefined],
    [SUCCESS.replace('407A', '407B'), 'AUTH_SERVER_UNPROVEN'],
    [SUCCESS.slice(0, -1), 'AUTH_SERVER_UNPROVEN'],
    [` ${SUCCESS}`, 'AUTH_SERVER_UNPROVEN'],
    ['', 'AUTH_SERVER_UNPROVEN'],
    ['M=Welcome', 'AUTH_SERVER_UNPROVEN'],
  ] as const) {
    const subject = rfc2759()
    challenge(subject)
    subject.say(CHAP, 3, 1, textHex(message))
    t.equal(subject.link.error?.code, end, message)
    t.equal(subject.types.includes('authenticated'), end === undefined)
  }
})

t.test('a server that cannot prove itself: the link is closed, and the reason is said', async (t) => {
  const subject = rfc2759()
  challenge(subject)
  t.same(subject.say(CHAP, 3, 1, textHex(`S=${'00'.repeat(20)}`)).heard(), ['c021 5 1'])
  t.match(subject.link.error?.message, /failed to prove that it knows the password/)
  t.equal(subject.say(LCP, 6, 1).end, 'AUTH_SERVER_UNPROVEN')
})

t.test('answers out of place are dropped', async (t) => {
  const subject = rfc2759()
  subject.heard()
  subject.say(CHAP, 3, 1, textHex(SUCCESS))
  subject.say(CHAP, 4, 1, textHex('E=691 R=0'))
  subject.say(CHAP, 2, 1, `10${CHALLENGE}`)
  subject.say(PAP, 2, 1, '00')
  t.same(subject.heard(), [], 'no challenge came yet')
  challenge(subject)
  subject.say(CHAP, 3, 2, textHex(SUCCESS))
  subject.say(CHAP, 4, 2, textHex('E=691 R=0'))
  t.same(subject.heard(), [], 'of another identifier')
  t.notOk(subject.types.includes('authenticated'))
  t.equal(subject.link.error, undefined)
})

t.test('challenges of a wrong shape are dropped', async (t) => {
  const subject = rfc2759()
  subject.heard()
  for (const body of ['', '00', '10', `10${CHALLENGE.slice(2)}`, `0f${CHALLENGE}`, `11${CHALLENGE}00`]) {
    t.same(subject.say(CHAP, 1, 1, body).heard(), [], body)
  }
})

t.test('a repeated challenge gets the same response, a new one another', async (t) => {
  let octet = 0
  const subject = rfc2759({ random: (dst) => dst.fill((octet += 1)) })
  const [first = ''] = challenge(subject)
  t.same(challenge(subject), [first])
  t.not(challenge(subject, 2)[0], first)
})

t.test('a challenge in the open link is answered, and its Success checked again', async (t) => {
  const subject = rfc2759()
  challenge(subject)
  subject.say(CHAP, 3, 1, textHex(SUCCESS)).heard()
  t.same(challenge(subject, 2), [response(2)])
  subject.say(CHAP, 3, 2, textHex(SUCCESS))
  t.equal(subject.types.filter((type) => type === 'authenticated').length, 1)
  t.equal(subject.link.error, undefined)
  subject.say(CHAP, 3, 2, textHex('S=00')).say(CHAP, 4, 2, textHex('E=691'))
  t.equal(subject.link.error, undefined, 'what is decided stays so')
  challenge(subject, 3)
  subject.say(CHAP, 3, 3, textHex(`S=${'00'.repeat(20)}`))
  t.equal(subject.link.error?.code, 'AUTH_SERVER_UNPROVEN')
})

t.test('names: DOMAIN\\ goes over the wire and not into the hash, unless told', async (t) => {
  t.same(challenge(rfc2759({ user: 'BIGCO\\User' })), [response(1, 'BIGCO\\User')])
  const whole = rfc2759({ user: 'BIGCO\\User', hashWholeUser: true })
  const hash = challengeHash(fromHex(PEER_CHALLENGE), fromHex(CHALLENGE), 'BIGCO\\User')
  const expected = toHex(challengeResponse(hash, ntPasswordHash('clientPass')))
  t.not(expected, NT_RESPONSE)
  t.match(challenge(whole)[0], expected)
  t.match(challenge(rfc2759({ user: 'User@BIGCO' }))[0], textHex('User@BIGCO'))
  t.notMatch(challenge(rfc2759({ user: 'User@BIGCO' }))[0], NT_RESPONSE, 'a realm enters the hash')
})

t.test('refusals of MS-CHAPv2 in plain words, and no second try', async (t) => {
  for (const [message, reason, words] of [
    ['E=646 R=0 V=3', 646, /not log on at this hour/],
    ['E=647 R=0 C=00 V=3 M=x', 647, /disabled/],
    [`E=648 R=0 C=${CHALLENGE} V=3 M=Password expired`, 648, /password has expired/],
    ['E=649 R=0', 649, /no permission to dial in/],
    [`E=691 R=1 C=${CHALLENGE} V=0 M=Access denied`, 691, /wrong user name or password.*Access denied/],
    ['E=709 R=0', 709, /could not change the password/],
    ['E=12345 R=0', 12345, /refused.*12345/],
    ['', undefined, /refused the user name or password/],
    ['go away', undefined, /refused the user name or password/],
  ] as const) {
    const subject = rfc2759()
    challenge(subject)
    t.same(subject.say(CHAP, 4, 1, textHex(message)).heard(), ['c021 5 1'], 'no other response')
    t.match(subject.link.error, { layer: 'auth', code: 'AUTH_REFUSED' })
    t.equal(subject.link.error?.reason, reason)
    t.match(subject.link.error?.message, words)
    t.equal(subject.say(LCP, 6, 1).end, 'AUTH_REFUSED')
  }
})

t.test('fields of a Failure message', async (t) => {
  t.same(parseFailure(''), {})
  t.same(parseFailure('M='), { M: '' })
  t.same(parseFailure('M=R=1 E=5'), { M: 'R=1 E=5' })
  t.same(parseFailure('V=3  E=691'), { V: 3, E: 691 })
  t.same(parseFailure('E=x R=-1 V=99999999999'), {}, 'what is no number is not there')
})

t.test('CHAP-MD5', async (t) => {
  const subject = clientUpTo(MD5)
  const value = toHex(chapMd5(7, 'clientPass', fromHex('0102')))
  t.same(subject.say(CHAP, 1, 7, `020102${textHex('accel-ppp')}`).heard(), [
    `c223 2 7 10${value}${textHex('User')}`,
  ])
  subject.say(CHAP, 3, 7, textHex('Authentication succeeded'))
  t.equal(toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0)), ZEROS)
  t.equal(subject.event('authenticated')?.method, 'chap')
  const refused = clientUpTo(MD5)
  refused.say(CHAP, 1, 7, '020102')
  t.match(
    refused.say(CHAP, 4, 7, textHex('Authentication failed')).link.error?.message,
    /Authentication failed/,
  )
  t.equal(refused.link.error?.code, 'AUTH_REFUSED')
})

t.test('PAP', async (t) => {
  const request = `c023 1 1 04${textHex('User')}0a${textHex('clientPass')}`
  const subject = clientUpTo('c023')
  t.same(subject.pass(0).event('lcp-up'), { type: 'lcp-up', peerMru: 1500, auth: 'pap' })
  const asked = clientUpTo('c023', { user: 'ünïque', password: '' })
  asked.pass(3000)
  t.same(asked.heard(), [`c023 1 1 08${textHex('ünïque')}00`], 'octets are counted')
  subject.pass(3000)
  t.same(subject.heard(), [request], 'again, with the same identifier')
  subject.say(PAP, 2, 2, '00')
  t.notOk(subject.types.includes('authenticated'), 'another identifier')
  subject.say(PAP, 2, 1, '00')
  t.equal(toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0)), ZEROS)
})

t.test('PAP answers of every shape', async (t) => {
  for (const body of ['', '00', '03616263', `ff${textHex('says more than is there')}`]) {
    const ack = clientUpTo('c023').say(PAP, 2, 1, body)
    t.equal(ack.event('authenticated')?.method, 'pap', body)
    const nak = clientUpTo('c023').say(PAP, 3, 1, body)
    t.equal(nak.link.error?.code, 'AUTH_REFUSED', body)
  }
})

t.test('no answer to credentials', async (t) => {
  const pap = clientUpTo('c023', { lcpEchoInterval: 0 })
  pap.pass(89_999)
  t.equal(pap.heard().filter((said) => said.startsWith('c023')).length, 9, 'ten with the first')
  t.equal(pap.link.error, undefined, 'a second factor takes its time')
  t.match(pap.pass(1).link.error, { layer: 'auth', code: 'NO_ANSWER' })
  const silent = rfc2759({ lcpEchoInterval: 0 })
  t.match(silent.pass(90_000).link.error, { layer: 'auth', code: 'NO_ANSWER' })
  const undecided = rfc2759({ lcpEchoInterval: 0 })
  challenge(undecided)
  t.match(undecided.pass(90_000).link.error?.message, /no answer to our response/)
})

t.test('credentials that do not fit', async (t) => {
  t.equal(clientUpTo('c023', { password: 'x'.repeat(256) }).link.error?.code, 'AUTH_CREDENTIALS')
  t.equal(clientUpTo('c023', { user: 'ü'.repeat(128) }).link.error?.code, 'AUTH_CREDENTIALS')
  t.equal(clientUpTo(MSCHAPV2, { user: 'u'.repeat(256) }).link.error?.code, 'AUTH_CREDENTIALS')
  t.equal(clientUpTo(MSCHAPV2, { password: 'x'.repeat(256) }).link.error, undefined)
})

t.test('a server that wants no authentication', async (t) => {
  const subject = clientUpTo('')
  t.equal(subject.link.error?.code, 'AUTH_NONE')
  const allowed = clientUpTo('', { requireAuth: false })
  t.equal(allowed.event('authenticated')?.method, 'none')
  t.equal(toHex(allowed.event('authenticated')?.hlak ?? new Uint8Array(0)), ZEROS)
})

// ------------------------------------------------------------------ the server

/** A server with LCP agreed on; its challenge is CHALLENGE. */
function serverUpTo(over: Partial<PppServerOptions>): Subject {
  const subject = new Subject(
    serverOptions({
      random(dst) {
        dst.set(fromHex(CHALLENGE).subarray(0, dst.length))
      },
      ...over,
    }),
  ).start()
  acceptRequests(subject, subject.heard())
  subject.say(LCP, 1, 1)
  return subject
}
const ID = 0x5b
const CHALLENGED = `c223 1 ${ID} 10${CHALLENGE}${textHex('sstp-socks')}`

t.test('server, MS-CHAPv2: the values of RFC 2759', async (t) => {
  const subject = serverUpTo({})
  t.same(subject.heard(), ['c021 2 1', CHALLENGED])
  const body = `31${PEER_CHALLENGE}${'00'.repeat(8)}${NT_RESPONSE}00${textHex('User')}`
  const said = subject.say(CHAP, 2, ID, body).heard()
  t.equal(said[0], `c223 3 ${ID} ${textHex(`${SUCCESS} M=Welcome`)}`)
  t.equal(said[1], '8021 1 1 03060a000001', 'its IPCP request is right behind')
  t.equal(toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0)), HLAK)
  t.equal(subject.event('authenticated')?.user, 'User')
  t.same(subject.say(CHAP, 2, ID, body).heard(), [said[0]], 'the Success was lost')
})

t.test('server, MS-CHAPv2: DOMAIN\\ is looked up whole and not hashed', async (t) => {
  const subject = serverUpTo({ lookup: (user) => (user === 'BIGCO\\User' ? 'clientPass' : undefined) })
  subject.say(CHAP, 2, ID, `31${PEER_CHALLENGE}${'00'.repeat(8)}${NT_RESPONSE}00${textHex('BIGCO\\User')}`)
  t.equal(subject.event('authenticated')?.user, 'BIGCO\\User')
})

t.test('server: a wrong password and an unknown user look the same, one try, after a pause', async (t) => {
  for (const [auth, right] of [
    ['mschapv2', `31${PEER_CHALLENGE}${'00'.repeat(8)}${NT_RESPONSE}00`],
    ['chap', `10${toHex(chapMd5(ID, 'clientPass', fromHex(CHALLENGE)))}`],
  ] as const) {
    const wrong = right.replace(/.{4}$/, 'abcd')
    const answers = [wrong + textHex('User'), right + textHex('Nobody'), right].map((body) => {
      const subject = serverUpTo({ auth: [auth] })
      subject.heard()
      subject.say(CHAP, 2, ID, body)
      t.same(subject.heard(), [], 'a pause')
      subject.say(CHAP, 2, ID, right + textHex('User'))
      t.same(subject.heard(), [], 'in which a second guess is not heard')
      const said = subject.pass(1000).heard()
      t.equal(subject.link.error?.code, 'AUTH_REFUSED')
      t.notOk(subject.types.includes('authenticated'))
      return said
    })
    t.match(answers[0], [/^c223 4 /, 'c021 5 1'])
    t.same(answers[1], answers[0])
    t.same(answers[2], answers[0])
    const text = Buffer.from(answers[0]?.[0]?.split(' ')[3] ?? '', 'hex').toString()
    if (auth === 'mschapv2') {
      t.equal(text, `E=691 R=0 C=${CHALLENGE.toUpperCase()} V=3 M=Wrong user name or password`)
    }
  }
})

t.test('server: an unknown user has not the empty password', async (t) => {
  const pap = serverUpTo({ auth: ['pap'] })
  pap.say(PAP, 1, 1, `06${textHex('Nobody')}00`)
  t.notOk(pap.types.includes('authenticated'))
  const chap = serverUpTo({ auth: ['chap'] })
  chap.say(CHAP, 2, ID, `10${toHex(chapMd5(ID, '', fromHex(CHALLENGE)))}${textHex('Nobody')}`)
  t.notOk(chap.types.includes('authenticated'))
  const empty = serverUpTo({ auth: ['pap'], lookup: () => '' })
  empty.say(PAP, 1, 1, `04${textHex('User')}00`)
  t.ok(empty.types.includes('authenticated'), 'one who has it does')
})

t.test('server: ten challenges, three seconds apart', async (t) => {
  const subject = serverUpTo({})
  subject.heard()
  subject.pass(29_999)
  t.same(subject.heard(), Array(9).fill(CHALLENGED))
  t.match(subject.pass(1).link.error, { layer: 'auth', code: 'NO_ANSWER' })
})

t.test('server: responses of a wrong shape or place are dropped', async (t) => {
  const subject = serverUpTo({ auth: ['chap'] })
  subject.heard()
  const right = `10${toHex(chapMd5(ID, 'clientPass', fromHex(CHALLENGE)))}${textHex('User')}`
  for (const [code, id, body] of [
    [2, ID + 1, right],
    [1, ID, right],
    [3, ID, ''],
    [2, ID, ''],
    [2, ID, '10'],
    [2, ID, `0f${right.slice(2)}`],
    [2, ID, `ff${right.slice(2)}`],
  ] as const) {
    subject.say(CHAP, code, id, body)
  }
  subject.pass(2000)
  t.same(subject.heard(), [])
  subject.say(CHAP, 2, ID, right)
  t.equal(subject.event('authenticated')?.method, 'chap')
})

t.test('server, PAP: three tries, repeats not counted', async (t) => {
  const subject = serverUpTo({ auth: ['pap'] })
  const request = (password: string): string =>
    `04${textHex('User')}${password.length.toString(16).padStart(2, '0')}${textHex(password)}`
  t.same(subject.heard(), ['c021 2 1'])
  subject.say(PAP, 1, 1, request('one'))
  subject.pass(1000)
  t.match(subject.heard(), [/^c023 3 1 /])
  for (let n = 0; n < 5; n += 1) {
    t.match(subject.say(PAP, 1, 1, request('one')).pass(1000).heard(), [/^c023 3 1 /], 'the same again')
  }
  subject.say(PAP, 1, 2, request('two')).pass(1000)
  t.equal(subject.link.error, undefined)
  subject.say(PAP, 1, 3, request('three')).pass(1000)
  t.match(subject.heard(), [/^c023 3 2 /, /^c023 3 3 /, 'c021 5 1'])
  t.equal(subject.link.error?.code, 'AUTH_REFUSED')
  const good = serverUpTo({ auth: ['pap'] })
  good.heard()
  good.say(PAP, 1, 1, request('one')).pass(1000)
  good.say(PAP, 1, 2, request('clientPass'))
  t.equal(good.event('authenticated')?.user, 'User')
  t.match(good.heard(), [/^c023 3 1/, /^c023 2 2 /, /^8021 1 1/])
  t.match(good.say(PAP, 1, 2, request('clientPass')).heard(), [/^c023 2 2 /], 'our Ack was lost')
})

t.test('server, PAP: broken requests, and silence', async (t) => {
  const subject = serverUpTo({ auth: ['pap'] })
  subject.heard()
  for (const body of ['', '00', '0455736572', '045573657205', `0555736572`, 'ff'.repeat(20)]) {
    subject.raw(PAP, packetHex(1, 1, body))
  }
  subject.pass(2000)
  t.same(subject.heard(), [])
  t.equal(subject.pass(88_000).link.error?.code, 'NO_ANSWER')
})

t.test('server: no address left', async (t) => {
  const subject = serverUpTo({ auth: ['pap'], assign: () => undefined })
  subject.say(PAP, 1, 1, `04${textHex('User')}0a${textHex('clientPass')}`)
  t.match(subject.link.error, { layer: 'ipcp', code: 'NO_ADDRESS', fault: 'local' })
})

t.test('the two ends compute the same from any challenge', async (t) => {
  const hash = challengeHash(fromHex(PEER_CHALLENGE), fromHex(CHALLENGE), 'User')
  const hashHash = hashNtPasswordHash(ntPasswordHash('clientPass'))
  t.equal(authenticatorResponse(hashHash, fromHex(NT_RESPONSE), hash), SUCCESS)
  t.equal(toHex(higherLayerKey(hashHash, fromHex(NT_RESPONSE))), HLAK)
  t.equal(chapValue(fromHex('01'), fromHex('02')).length, 3)
})
