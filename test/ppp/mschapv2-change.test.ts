/** MS-CHAPv2 says no, in all its ways; and a password that has expired is changed, plain and inside EAP. */
import t from 'tap'
import type { AuthName } from '../../src/ppp/auth/method.js'
import { ntPasswordHash } from '../../src/ppp/auth/mschap-crypto.js'
import { change, changeWanted, checkChange, failureError, onceOnly } from '../../src/ppp/auth/mschapv2.js'
import type { PppServerOptions } from '../../src/ppp/link.js'
import { msHex, peerRandom } from '../helpers/eap.js'
import {
  CHAP,
  clientOptions,
  clientUpTo,
  EAP,
  fromHex,
  Pair,
  seededNumbers,
  seededRandom,
  serverOptions,
  textHex,
  toHex,
} from '../helpers/ppp.js'

const C = '000102030405060708090a0b0c0d0e0f'
const METHODS: readonly AuthName[] = ['mschapv2', 'eap-mschapv2']

t.test('each refusal is a sentence that says what to do', async (t) => {
  for (const [message, change, words] of [
    [
      'E=691 R=0 C=00 V=3 M=Authentication failed',
      'none',
      /^wrong user name or password \(E=691\); server says: Auth/,
    ],
    ['E=691 R=1 V=3', 'none', /^wrong user name or password \(E=691\)$/],
    ['E=646 R=0', 'none', /may not log on at this hour \(E=646\)/],
    ['E=647 R=0', 'none', /account is disabled \(E=647\)/],
    ['E=648 R=0', 'none', /has expired: --new-password-file FILE changes it .* \(E=648\)/],
    ['E=648 R=0 V=2', 'given', /has expired, and the server does not let it be changed here/],
    ['E=649 R=0', 'none', /no permission to dial in \(E=649\)/],
    ['E=709 R=0', 'sent', /could not change the password: the new one may not fit its rules/],
    ['E=691 R=0', 'sent', /the password was not changed: wrong user name or password/],
    [
      'E=691 R=0 M=Account locked out',
      'none',
      /^the account is locked: wait, or ask its administrator \(E=691\)/,
    ],
    ['E=691 R=0 M=The account is currently locked', 'none', /^the account is locked/],
    ['E=1234 R=0 M=Odd', 'none', /^refused \(E=1234\); server says: Odd/],
    ['', 'none', /^the server refused the user name or password$/],
  ] as const) {
    const error = failureError(message, change)
    t.match(error.message, words)
    t.equal(error.code, 'AUTH_REFUSED')
  }
  t.equal(failureError('E=647').reason, 647)
})

t.test('an invitation to try again is not passed on', async (t) => {
  t.equal(onceOnly('E=691 R=1 C=00 V=3 M=R=1'), 'E=691 R=0 C=00 V=3 M=R=1')
  t.equal(onceOnly('M=E=691 R=1'), 'M=E=691 R=1')
})

t.test('which Failure asks for a change', async (t) => {
  t.same(changeWanted(`E=648 R=0 C=${C} V=3`), fromHex(C))
  for (const message of [
    undefined,
    `E=691 R=0 C=${C} V=3`,
    'E=648 R=0 V=3',
    `E=648 C=${C} V=2`,
    `E=648 C=${C}00 V=3`,
  ]) {
    t.equal(changeWanted(message), undefined, message ?? 'none')
  }
})

t.test('the client, plain: 586 octets with the next identifier, and S= by the new password', async (t) => {
  const subject = clientUpTo('c22381', { random: peerRandom, newPassword: 'newSecret2' })
  subject.say(CHAP, 1, 9, `10${C}`).heard()
  const [said = ''] = subject.say(CHAP, 4, 9, textHex(`E=648 R=0 C=${C.toUpperCase()} V=3 M=Expired`)).heard()
  t.match(said, /^c223 7 10 /)
  const body = fromHex(said.split(' ')[3] ?? '')
  t.equal(body.length, 582)
  const result = checkChange(fromHex(C), body, 'User', 'clientPass')
  t.equal(result?.password, 'newSecret2')
  t.same(subject.say(CHAP, 4, 9, textHex(`E=648 R=0 C=${C} V=3`)).heard(), [said], 'our answer was lost')
  t.same(subject.say(CHAP, 1, 9, `10${C}`).heard(), [], 'and the challenge is over')
  t.same(subject.say(CHAP, 3, 9, textHex(result?.success ?? '')).heard(), [], 'the identifier is the next')
  subject.say(CHAP, 3, 10, textHex(result?.success ?? ''))
  t.equal(
    toHex(subject.event('authenticated')?.hlak ?? new Uint8Array(0)),
    toHex(result?.hlak ?? new Uint8Array(1)),
  )
  t.same(subject.types.slice(1, 3), ['password-changed', 'authenticated'])
  const [again = ''] = subject
    .say(CHAP, 1, 40, `10${C}`)
    .heard()
    .filter((line) => line.startsWith('c223'))
  const fresh = clientUpTo('c22381', { random: peerRandom, password: 'newSecret2' })
  fresh.heard()
  t.same(fresh.say(CHAP, 1, 40, `10${C}`).heard(), [again], 'in the open link the new one counts')
})

t.test('the client: a change that the server cannot prove, refuses, or did not offer', async (t) => {
  const expired = (message: string, newPassword: string | undefined): ReturnType<typeof clientUpTo> => {
    const subject = clientUpTo('c22381', newPassword === undefined ? {} : { newPassword })
    subject.say(CHAP, 1, 9, `10${C}`).say(CHAP, 4, 9, textHex(message))
    return subject
  }
  const good = `E=648 R=0 C=${C} V=3 M=Expired`
  t.match(expired(good, undefined).link.error?.message, /--new-password-file/)
  t.match(expired(`E=648 R=0 C=${C} V=2`, 'new').link.error?.message, /does not let it be changed here/)
  t.match(expired('E=648 R=0 V=3', 'new').link.error?.message, /does not let it be changed here/)
  t.match(expired(good, 'x'.repeat(257)).link.error?.message, /does not let it be changed here/)
  t.match(expired(`E=691 R=0 C=${C} V=3`, 'new').link.error?.message, /^wrong user name or password/)
  const refused = expired(good, 'new').say(CHAP, 4, 10, textHex(`E=709 R=0 C=${C} V=3`))
  t.match(refused.link.error, { code: 'AUTH_REFUSED', reason: 709 })
  const twice = expired(good, 'new').say(CHAP, 4, 10, textHex(good))
  t.match(twice.link.error?.message, /the password was not changed: the password has expired/)
  const forged = expired(good, 'new').say(CHAP, 3, 10, textHex(`S=${'00'.repeat(20)}`))
  t.equal(forged.link.error?.code, 'AUTH_SERVER_UNPROVEN')
  t.notOk(forged.types.includes('password-changed'))
})

t.test('the client, in EAP: the same with op code 7', async (t) => {
  const subject = clientUpTo('c227', { auth: ['eap-mschapv2'], newPassword: 'newSecret2' })
  subject
    .say(EAP, 1, 0, '01')
    .say(EAP, 1, 1, `1a${msHex(1, 1, `10${C}`)}`)
    .heard()
  const failure = `1a${msHex(4, 1, textHex(`E=648 R=0 C=${C} V=3`))}`
  const [said = ''] = subject.say(EAP, 1, 2, failure).heard()
  t.match(said, /^c227 2 2 1a0702024a/)
  t.same(subject.say(EAP, 1, 2, failure).heard(), [said])
  const result = checkChange(fromHex(C), fromHex(said.split(' ')[3] ?? '').subarray(5), 'User', 'clientPass')
  t.equal(result?.password, 'newSecret2')
  t.same(subject.say(EAP, 1, 3, `1a${msHex(3, 2, textHex(result?.success ?? ''))}`).heard(), [
    'c227 2 3 1a03',
  ])
  subject.say(EAP, 3, 3)
  t.same(subject.types.slice(1, 3), ['password-changed', 'authenticated'])
  const refused = clientUpTo('c227', { auth: ['eap-mschapv2'] })
  refused
    .say(EAP, 1, 0, '01')
    .say(EAP, 1, 1, `1a${msHex(1, 1, `10${C}`)}`)
    .heard()
  const no = `1a${msHex(4, 1, textHex(`E=691 R=1 C=${C} V=0 M=Access denied`))}`
  t.same(refused.say(EAP, 1, 2, no).heard(), ['c227 2 2 1a04', 'c021 5 1'], 'R=1 tempts nobody')
  t.match(refused.link.error, { code: 'AUTH_REFUSED', reason: 691 })
})

t.test('a server reads only a change that is whole and right', async (t) => {
  const credentials = { user: 'User', password: 'old', hashWholeUser: false }
  const good = change(credentials, 'new', fromHex(C), seededRandom(5)).value
  t.equal(good.length, 582)
  t.equal(checkChange(fromHex(C), good, 'User', 'old')?.password, 'new')
  for (const [what, challenge, user, password] of [
    ['the challenge', '11'.repeat(16), 'User', 'old'],
    ['the user', C, 'Other', 'old'],
    ['the old password', C, 'User', 'older'],
  ] as const) {
    t.equal(checkChange(fromHex(challenge), good, user, password), undefined, what)
  }
  const next = seededNumbers(7)
  for (let n = 0; n < 300; n += 1) {
    const at = next(580)
    const bad = good.slice()
    bad[at] = (bad[at] ?? 0) ^ (1 << next(8))
    // The filler of the block and the reserved octets mean nothing.
    const free = at < 506 || (at >= 548 && at < 556)
    const result = checkChange(fromHex(C), bad, 'User', 'old')
    if (free ? result?.password !== 'new' : result !== undefined) t.fail(`octet ${at}`)
  }
  t.equal(ntPasswordHash('new').length, 16)
})

for (const method of METHODS) {
  const pair = (
    over: Partial<PppServerOptions>,
    newPassword?: string,
    loss?: ConstructorParameters<typeof Pair>[2],
  ): Pair =>
    new Pair(
      clientOptions({ auth: [method], ...(newPassword === undefined ? {} : { newPassword }) }),
      serverOptions({ auth: [method], expired: () => true, ...over }),
      loss,
    ).start()

  t.test(`${method}: both ends change a password`, async (t) => {
    const changes: string[] = []
    const calm = pair({ changePassword: (user, password) => changes.push(`${user} ${password}`) > 0 }, 'nëw€')
    t.ok(calm.up())
    t.same(changes, ['User nëw€'])
    t.same(calm.client.event('authenticated')?.hlak, calm.server.event('authenticated')?.hlak)
    t.equal(calm.client.event('authenticated')?.method, method)
  })

  t.test(`${method}: a change through loss and repetition`, async (t) => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const changes: string[] = []
      const next = seededNumbers(seed)
      const lossy = pair(
        { changePassword: (_user, password) => changes.push(password) > 0 },
        'new',
        () => next(4) === 0,
      )
      const done = lossy.run(120_000, () => lossy.client.link.ipv4Open || lossy.client.end !== undefined)
      if (!done || lossy.client.end !== undefined) {
        // Ten losses in a row, or LCP's own: nothing half is left.
        t.ok(changes.length <= 1, `seed ${seed}: ${lossy.client.end}`)
        continue
      }
      t.same(changes, ['new'], `seed ${seed}`)
      t.same(lossy.client.event('authenticated')?.hlak, lossy.server.event('authenticated')?.hlak)
    }
  })

  t.test(`${method}: no new password, a refused one, a server without changes`, async (t) => {
    const none = pair({})
    t.ok(none.run(60_000, () => none.client.end !== undefined))
    t.match(none.client.link.error, { code: 'AUTH_REFUSED', reason: 648 })
    t.notOk(none.server.types.includes('authenticated'))
    for (const over of [{}, { changePassword: () => false }]) {
      const refused = pair(over, 'new')
      t.ok(refused.run(60_000, () => refused.client.end !== undefined))
      t.match(refused.client.link.error, { code: 'AUTH_REFUSED', reason: 709 })
      t.notOk(refused.server.types.includes('authenticated'))
    }
  })

  t.test(`${method}: a wrong old password does not get as far`, async (t) => {
    let changes = 0
    const wrong = pair({ lookup: () => 'another', changePassword: () => (changes += 1) > 0 }, 'new')
    t.ok(wrong.run(60_000, () => wrong.client.end !== undefined))
    t.match(wrong.client.link.error, { code: 'AUTH_REFUSED', reason: 691 })
    t.equal(changes, 0)
  })
}
