import t from 'tap'
import { defaultMethods } from '../../src/ppp/authentication.js'
import { CallError } from '../../src/transport/errors.js'
import { otherKeyRule, prepareSignIn, signIn } from '../../src/tunnel/sign-in.js'

const host = { certificate: () => new Uint8Array(1), warn() {}, onActivity() {} }
const options = { host: 'vpn', port: 443, user: 'alice', password: 'secret' }
const identity = { context: {} }

t.test('what is offered by default', async (t) => {
  const all = { certificate: true, tls: true, password: true, verified: true }
  t.same(defaultMethods(all), ['eap-tls', 'peap', 'eap-mschapv2', 'mschapv2', 'chap', 'pap'])
  t.same(defaultMethods({ ...all, certificate: false }).slice(0, 2), ['peap', 'eap-mschapv2'])
  t.notOk(defaultMethods({ ...all, verified: false }).includes('pap'))
  t.same(defaultMethods({ ...all, tls: false }), ['eap-mschapv2', 'mschapv2', 'chap', 'pap'])
  t.same(defaultMethods({ ...all, password: false }), ['eap-tls'])
})

t.test('PAP only for a server that is verified, or if it is named', async (t) => {
  t.ok(signIn(options, host).auth.includes('pap'))
  t.notOk(signIn({ ...options, trust: { insecure: true } }, host).auth.includes('pap'))
  t.same(signIn({ ...options, trust: { insecure: true }, auth: ['pap'] }, host).auth, ['pap'])
  t.same(signIn({ ...options, password: '', eap: { identity } }, host).auth, ['eap-tls'])
  t.equal(signIn({ ...options, eap: { identity } }, host).auth[0], 'eap-tls')
})

t.test('a password that was changed is used from then on', async (t) => {
  const newPassword = { password: 'new', inForce: false }
  t.match(signIn({ ...options, newPassword }, host), { password: 'secret', newPassword: 'new' })
  newPassword.inForce = true
  const after = signIn({ ...options, newPassword }, host)
  t.equal(after.password, 'new')
  t.equal(after.newPassword, undefined)
})

t.test('a new password that no change could carry is refused before the call', async (t) => {
  const call = (password: string) => prepareSignIn({ ...options, newPassword: { password, inForce: false } })
  await call('x'.repeat(256))
  // UTF-16: each of these is two.
  for (const password of ['s3cret'.repeat(43), '😀'.repeat(129)]) {
    const error: unknown = await call(password).catch((e: unknown) => e)
    t.match(error, {
      kind: 'local',
      step: 'auth',
      code: 'AUTH_CREDENTIALS',
      message: /^the new password is longer than 256 characters/,
      hint: /--new-password-file/,
    })
    t.notMatch(String(error), /s3cret|😀/)
  }
})

t.test('a password that is asked for before each call', async (t) => {
  let asked = 0
  const askPassword = async (): Promise<string> => `code ${(asked += 1)}`
  t.equal((await prepareSignIn({ ...options, password: '', askPassword })).password, 'code 1')
  t.equal((await prepareSignIn({ ...options, password: '', askPassword })).password, 'code 2')
  t.equal((await prepareSignIn(options)).password, 'secret')
  const newPassword = { password: 'new', inForce: true }
  const after = await prepareSignIn({ ...options, newPassword, askPassword })
  t.equal(signIn(after, host).password, 'new')
  t.equal(asked, 2, 'nobody is asked for one that has been changed')
})

t.test('the other rule for the key: once, for what has two, after a refused binding', async (t) => {
  const refused = new CallError('ip', 'untrusted', 'BINDING_REFUSED', 'no')
  t.equal(otherKeyRule(options, 'eap-tls', refused)?.eap?.keyRule, 'pppd')
  t.equal(otherKeyRule({ ...options, eap: { identity } }, 'peap', refused)?.eap?.identity, identity)
  t.equal(otherKeyRule(options, 'eap-mschapv2', refused), undefined)
  t.equal(otherKeyRule({ ...options, eap: { keyRule: 'windows' } }, 'eap-tls', refused), undefined)
  t.equal(otherKeyRule({ ...options, eap: { keyRule: 'pppd' } }, 'eap-tls', refused), undefined)
  t.equal(otherKeyRule(options, 'eap-tls', new CallError('ip', 'lost', 'SSTP_CLOSED', 'no')), undefined)
  t.equal(otherKeyRule(options, 'eap-tls', new Error('BINDING_REFUSED')), undefined)
})
