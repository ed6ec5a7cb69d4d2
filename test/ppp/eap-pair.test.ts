/** Both ends of ours: each method, through loss and duplication; and a server that asks somebody else. */
import t from 'tap'
import type {
  Authenticator,
  AuthPending,
  AuthRequest,
  AuthVerdict,
} from '../../src/ppp/auth/authenticator.js'
import { eapEnd } from '../../src/ppp/auth/eap/packet.js'
import { LocalAuthenticator } from '../../src/ppp/auth/local.js'
import type { AuthName } from '../../src/ppp/auth/method.js'
import type { PppServerOptions } from '../../src/ppp/link.js'
import { CHALLENGE, peerRandom, responseBody } from '../helpers/eap.js'
import {
  CHAP,
  clientOptions,
  clientUpTo,
  EAP,
  fail,
  fromHex,
  LCP,
  PAP,
  Pair,
  Subject,
  seededNumbers,
  seededRandom,
  serverOptions,
  textHex,
  toHex,
} from '../helpers/ppp.js'

const METHODS: readonly AuthName[] = ['eap-mschapv2', 'mschapv2', 'chap', 'pap']
const hlakOf = (subject: Subject): string => toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0))

for (const method of METHODS) {
  t.test(`${method}: up through loss and duplication`, async (t) => {
    let up = 0
    for (let seed = 1; seed <= 60; seed += 1) {
      const next = seededNumbers(seed)
      const pair = new Pair(
        clientOptions({ auth: [method], random: seededRandom(seed) }),
        serverOptions({ auth: [method], random: seededRandom(seed + 1000) }),
        (from, _n, frame) => {
          // Once more: the other end hears it twice
          if (next(5) === 0) {
            const to = from === 'client' ? pair.server : pair.client
            const protocol = ((frame[2] ?? 0) << 8) | (frame[3] ?? 0)
            to.link.input(protocol, frame, 4, frame.length - 4, pair.now)
            to.collect()
          }
          return next(5) === 0
        },
      ).start()
      const done = pair.run(90_000, () => pair.client.link.ipv4Open || pair.client.end !== undefined)
      if (!done || !pair.client.link.ipv4Open) continue
      up += 1
      t.equal(pair.client.event('authenticated')?.method, method)
      t.equal(pair.server.event('authenticated')?.user, 'User')
      t.equal(hlakOf(pair.client), hlakOf(pair.server), `seed ${seed}`)
      t.equal(pair.server.types.filter((type) => type === 'authenticated').length, 1)
    }
    // Two things end a call: a doubled Configure-Request in the open link (RFC 1661 4.1 begins anew), and a CHAP
    // Success that is lost, which nobody sends again (RFC 1994 4.2). Over TLS neither happens.
    t.ok(up >= (method.endsWith('pap') || method.startsWith('eap') ? 59 : 54), `${up} of 60`)
  })
}

t.test('EAP-MSCHAPv2 with names and passwords that are not ASCII', async (t) => {
  for (const user of ['CORP\\jürgen.€', 'jürgen@example.€']) {
    const password = 'pässwörd€ 😀'
    const pair = new Pair(
      clientOptions({ auth: ['eap-mschapv2'], user, password, identity: 'anonymous' }),
      serverOptions({ auth: ['eap-mschapv2'], lookup: (name) => (name === user ? password : undefined) }),
    ).start()
    t.ok(pair.up())
    t.equal(pair.server.event('authenticated')?.user, user, 'who was proven, not who was said')
  }
})

t.test('a server that prefers plain MS-CHAPv2 does EAP for a client that has nothing else', async (t) => {
  const pair = new Pair(
    clientOptions({ auth: ['eap-mschapv2'] }),
    serverOptions({ auth: ['mschapv2', 'eap-mschapv2', 'chap', 'pap'] }),
  ).start()
  t.ok(pair.up())
  t.equal(pair.server.event('authenticated')?.method, 'eap-mschapv2')
  const both = new Pair(
    clientOptions({ auth: ['eap-mschapv2', 'mschapv2'] }),
    serverOptions({ auth: ['mschapv2', 'eap-mschapv2'] }),
  ).start()
  t.ok(both.up())
  t.equal(both.server.event('authenticated')?.method, 'mschapv2')
})

t.test('hashWholeUser reaches EAP too', async (t) => {
  const wrong = new Pair(
    clientOptions({ auth: ['eap-mschapv2'], user: 'D\\User', hashWholeUser: true }),
    serverOptions({ auth: ['eap-mschapv2'], lookup: () => 'clientPass' }),
  ).start()
  t.ok(wrong.run(10_000, () => wrong.client.end !== undefined))
  t.equal(wrong.client.end, 'AUTH_REFUSED', 'our server hashes as RFC 2759 has it')
})

// ------------------------------------------------------------------ somebody else is asked

/** Answers after some time, as a person or a server on the net does. */
class Slow implements Authenticator {
  readonly eap: boolean
  readonly asked: AuthRequest[] = []
  cancelled = 0
  ready: (() => void) | undefined
  #verdict: AuthVerdict | undefined

  constructor(eap = false) {
    this.eap = eap
  }

  ask(request: AuthRequest, onActivity: () => void): AuthPending {
    this.asked.push(request)
    this.#verdict = undefined
    this.ready = onActivity
    const self = this
    return {
      get verdict() {
        return self.#verdict
      },
      cancel() {
        self.cancelled += 1
      },
    }
  }

  answer(verdict: AuthVerdict, subject: Subject): void {
    this.#verdict = verdict
    this.ready?.()
    subject.link.activity(subject.now)
    subject.collect()
  }
}

const ID = 0x5b
const server = (
  auth: AuthName,
  authenticator: Authenticator,
  over: Partial<PppServerOptions> = {},
): Subject => {
  const subject = new Subject(
    serverOptions({
      auth: [auth],
      authenticator,
      lookup: () => fail('nobody is looked up'),
      lcpEchoInterval: 0,
      random(dst) {
        dst.set(fromHex(CHALLENGE).subarray(0, dst.length))
      },
      ...over,
    }),
  ).start()
  const said = subject.heard()
  for (const line of said) subject.say(LCP, 2, Number(line.split(' ')[2]), line.split(' ')[3])
  subject.say(LCP, 1, 1).heard()
  return subject
}

t.test('PAP, CHAP and MS-CHAPv2 are asked about with their octets, and wait for the verdict', async (t) => {
  const hlak = seededRandom(3)
  const key = new Uint8Array(32)
  hlak(key)
  const cases = [
    [
      'pap',
      PAP,
      1,
      1,
      `04${textHex('User')}02abcd`,
      { kind: 'pap', user: 'User', password: fromHex('abcd') },
    ],
    ['chap', CHAP, 2, ID, `10${'cd'.repeat(16)}${textHex('User')}`, { kind: 'chap', user: 'User', id: ID }],
    [
      'mschapv2',
      CHAP,
      2,
      ID,
      `31${'ef'.repeat(49)}${textHex('D\\User')}`,
      { kind: 'mschapv2', user: 'D\\User' },
    ],
  ] as const
  for (const [auth, protocol, code, id, body, request] of cases) {
    const slow = new Slow()
    const subject = server(auth, slow)
    subject.say(protocol, code, id, body)
    t.match(slow.asked, [request], auth)
    subject.pass(60_000).say(protocol, code, id, body)
    t.same(subject.heard(), [], 'nothing is said, and nothing asked twice')
    t.equal(slow.asked.length, 1)
    slow.answer(
      { kind: 'accept', user: 'Somebody', hlak: key, message: 'Hello', success: 'S=00 M=Hi' },
      subject,
    )
    t.match(subject.event('authenticated'), { user: 'Somebody', hlak: key, method: auth })
    const text = auth === 'pap' ? `05${textHex('Hello')}` : textHex('S=00 M=Hi')
    t.equal(subject.heard()[0]?.split(' ')[3], text)
  }
})

t.test('a no of somebody else: its words, after a pause, and R=1 taken out', async (t) => {
  const slow = new Slow()
  const subject = server('mschapv2', slow)
  subject.say(CHAP, 2, ID, `31${'ef'.repeat(49)}${textHex('User')}`)
  slow.answer({ kind: 'reject', failure: `E=647 R=1 C=${CHALLENGE} V=3 M=Disabled` }, subject)
  t.same(subject.heard(), [])
  t.same(subject.pass(1000).heard()[0], `c223 4 ${ID} ${textHex(`E=647 R=0 C=${CHALLENGE} V=3 M=Disabled`)}`)
  t.equal(subject.end ?? subject.link.error?.code, 'AUTH_REFUSED')
})

t.test('an expired password: the change is asked about too', async (t) => {
  const slow = new Slow()
  const subject = server('mschapv2', slow)
  subject.say(CHAP, 2, ID, `31${'ef'.repeat(49)}${textHex('User')}`)
  slow.answer({ kind: 'reject', failure: `E=648 R=0 C=${'11'.repeat(16)} V=3 M=Expired` }, subject)
  t.match(subject.heard(), [/^c223 4 91 /], 'at once')
  subject.say(CHAP, 7, ID + 1, 'ab'.repeat(582))
  t.match(slow.asked[1], {
    kind: 'mschapv2-change',
    user: 'User',
    id: ID + 1,
    challenge: fromHex('11'.repeat(16)),
  })
  slow.answer({ kind: 'accept', success: 'S=11', hlak: new Uint8Array(32) }, subject)
  t.equal(subject.heard()[0], `c223 3 ${ID + 1} ${textHex('S=11')}`)
})

t.test('nobody can be asked, nobody answers, and the client leaves', async (t) => {
  for (const auth of ['pap', 'chap', 'mschapv2', 'eap-mschapv2'] as const) {
    const ask = (subject: Subject): Subject => {
      if (auth === 'pap') return subject.say(PAP, 1, 1, `04${textHex('User')}02abcd`)
      if (auth === 'chap') return subject.say(CHAP, 2, ID, `10${'cd'.repeat(16)}${textHex('User')}`)
      if (auth === 'mschapv2') return subject.say(CHAP, 2, ID, `31${'ef'.repeat(49)}${textHex('User')}`)
      return subject.say(EAP, 2, ID, `01${textHex('User')}`)
    }
    const eap = auth === 'eap-mschapv2'
    const none = new Slow(eap)
    const subject = ask(server(auth, none))
    t.equal(none.asked.length, 1, auth)
    none.answer({ kind: 'error', message: 'no RADIUS server answers' }, subject)
    subject.pass(2000)
    t.match(subject.link.error, { code: 'AUTH_UNAVAILABLE', message: 'no RADIUS server answers' }, auth)
    const silent = new Slow(eap)
    const waiting = ask(server(auth, silent)).pass(125_000)
    t.equal(waiting.link.error?.code, 'AUTH_UNAVAILABLE', auth)
    t.equal(silent.cancelled, 1)
    const left = new Slow(eap)
    ask(server(auth, left)).say(LCP, 5, 9)
    t.equal(left.cancelled, 1, 'nobody waits any more')
  }
})

t.test('EAP is passed on whole, both ways, and its name is read off its requests', async (t) => {
  const slow = new Slow(true)
  const subject = server('eap-mschapv2', slow)
  t.same(subject.heard(), [])
  subject.say(EAP, 2, ID, `01${textHex('D\\User')}`)
  const packet = fromHex(`025b000b01${textHex('D\\User')}`)
  t.match(slow.asked, [{ kind: 'eap', user: 'D\\User', packet }])
  slow.answer({ kind: 'challenge', packet: fromHex('010700061920') }, subject)
  t.same(subject.heard(), ['c227 1 7 1920'])
  t.same(subject.pass(3000).heard(), ['c227 1 7 1920'], 'repetition is ours')
  subject
    .say(EAP, 2, 8, '1900')
    .say(EAP, 1, 7, '1900')
    .say(EAP, 2, ID, `01${textHex('D\\User')}`)
  t.equal(slow.asked.length, 1, 'what does not fit is not passed on')
  subject.say(EAP, 2, 7, '19001603')
  t.match(slow.asked[1], { user: 'D\\User', packet: fromHex('0207000819001603') })
  subject.say(EAP, 2, 7, '19001603')
  t.equal(slow.asked.length, 2)
  const key = new Uint8Array(32).fill(7)
  slow.answer({ kind: 'accept', hlak: key, packet: eapEnd(3, 7) }, subject)
  t.match(subject.heard(), ['c227 3 7', /^8021/])
  t.match(subject.event('authenticated'), { method: 'peap', user: 'D\\User', hlak: key })
  t.same(subject.say(EAP, 2, 7, '19001603').heard(), ['c227 3 7'], 'the Success was lost')
})

t.test('EAP passed on: refusals, and packets that are none', async (t) => {
  const begin = (): [Slow, Subject] => {
    const slow = new Slow(true)
    return [slow, server('eap-mschapv2', slow).say(EAP, 2, ID, `01${textHex('User')}`)]
  }
  const [slow, subject] = begin()
  slow.answer({ kind: 'reject', packet: eapEnd(4, 0x33) }, subject)
  t.match(subject.pass(1000).heard(), ['c227 4 51', 'c021 5 1'])
  t.equal(subject.link.error?.code, 'AUTH_REFUSED')
  const [plain, second] = begin()
  plain.answer({ kind: 'reject' }, second)
  t.match(second.pass(1000).heard()[0], `c227 4 ${ID}`)
  for (const hex of [
    '',
    '0107',
    '03070004',
    '010700061a',
    '0107000519ff',
    `0107${'1000'}19${'00'.repeat(4091)}`,
  ]) {
    const [odd, third] = begin()
    odd.answer({ kind: 'challenge', packet: fromHex(hex) }, third)
    t.equal(third.pass(1000).link.error?.code, 'AUTH_UNAVAILABLE', hex.slice(0, 12))
  }
})

t.test('a client of ours through a pass-through authenticator', async (t) => {
  // What stands for RADIUS is a second link's server, whose packets are carried by hand.
  const relayed = new Slow(true)
  const subject = server('eap-mschapv2', relayed)
  const client = clientUpTo('c227', { auth: ['eap-mschapv2'], random: peerRandom })
  client.heard()
  const inner = server(
    'eap-mschapv2',
    new LocalAuthenticator({ random: seededRandom(1), lookup: () => 'clientPass' }),
  )
  const carry = (line: string | undefined, to: Subject): string => {
    const [, code, id, body] = (line ?? '').split(' ')
    return to.say(EAP, Number(code), Number(id), body ?? '').heard()[0] ?? ''
  }
  const identity = client.say(EAP, 1, ID, '01').heard()[0]
  carry(identity, subject)
  // The server behind it has asked for the identity by itself, with its own identifier.
  let request = carry(identity?.replace(` ${ID} `, ` ${ID + 1} `), inner)
  for (let n = 0; n < 2; n += 1) {
    const [, , id, body = ''] = request.split(' ')
    const packet = fromHex(
      `01${Number(id).toString(16)}${(4 + body.length / 2).toString(16).padStart(4, '0')}${body}`,
    )
    relayed.answer({ kind: 'challenge', packet }, subject)
    const answer = client.say(EAP, 1, Number(id), body).heard()[0]
    t.equal(subject.heard()[0], request)
    carry(answer, subject)
    request = carry(answer, inner)
  }
  t.match(request, /^c227 3 /)
  const hlak = fromHex(hlakOf(inner))
  relayed.answer({ kind: 'accept', hlak }, subject)
  client.say(EAP, 3, 0)
  t.equal(hlakOf(client), hlakOf(subject))
  t.equal(subject.event('authenticated')?.method, 'eap-mschapv2')
  t.equal(responseBody(1).slice(0, 2), '02')
})
