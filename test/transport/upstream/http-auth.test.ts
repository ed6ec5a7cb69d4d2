/** Basic and Digest: the vectors of RFC 7616 3.9 and RFC 7617 2, and challenges as proxies write them. */
import { createHash } from 'node:crypto'
import t from 'tap'
import {
  authorize,
  type Challenge,
  parseChallenges,
  pickChallenge,
} from '../../../src/transport/upstream/http-auth.js'

/** RFC 7616 3.9.1. */
const VECTOR =
  'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, ' +
  'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", ' +
  'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, ' +
  'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'

const mufasa = {
  user: 'Mufasa',
  password: 'Circle of Life',
  method: 'GET',
  uri: '/dir/index.html',
  cnonce: 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ',
  count: 1,
}

const param = (header: string | undefined, name: string): string | undefined =>
  new RegExp(`(?:^|[ ,])${name}="?([^",]+)"?`).exec(header ?? '')?.[1]

t.test('RFC 7616 3.9.1: SHA-256 before MD5, both as printed', async (t) => {
  const [sha, md5] = parseChallenges(VECTOR)
  t.equal(pickChallenge([md5, sha] as Challenge[]), sha, 'the stronger, wherever it stands')
  const strong = authorize(sha as Challenge, mufasa)
  t.equal(param(strong, 'response'), '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1')
  t.equal(param(strong, 'nc'), '00000001')
  t.equal(param(strong, 'qop'), 'auth')
  t.equal(param(strong, 'algorithm'), 'SHA-256')
  t.equal(param(strong, 'username'), 'Mufasa')
  t.equal(param(strong, 'opaque'), 'FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS')
  t.match(strong, /qop=auth,/, 'a token, not quoted')
  t.equal(param(authorize(md5 as Challenge, mufasa), 'response'), '8ca523f5e9506fed4657c9700eebdbec')
})

t.test('RFC 7616 3.9.2: SHA-512-256 with a hashed name that is not ASCII', async (t) => {
  const [challenge] = parseChallenges(
    'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true',
  )
  const h = (s: string) => createHash('sha512-256').update(s).digest('hex')
  const user = 'J\u00e4s\u00f8n Doe'
  const cnonce = 'NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm'
  const nonce = '5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK'
  const header = authorize(challenge as Challenge, {
    user,
    password: 'Secret, or not?',
    method: 'GET',
    uri: '/doe.json',
    cnonce,
    count: 1,
  })
  t.equal(
    param(header, 'username'),
    '793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b',
    'as printed',
  )
  t.match(header, /userhash=true/)
  // The response that is printed there is known to be wrong: an own sum stands for it.
  const a1 = h(`${user}:api@example.org:Secret, or not?`)
  t.equal(param(header, 'response'), h(`${a1}:${nonce}:00000001:${cnonce}:auth:${h('GET:/doe.json')}`))
})

t.test('the older forms: without qop (RFC 2069), with a session key', async (t) => {
  const h = (s: string) => createHash('md5').update(s).digest('hex')
  const sign = { user: 'u', password: 'p', method: 'CONNECT', uri: 'vpn:443', cnonce: 'c0', count: 3 }
  const [plain] = parseChallenges('Digest realm="r", nonce="n"')
  const first = authorize(plain as Challenge, sign)
  t.equal(param(first, 'response'), h(`${h('u:r:p')}:n:${h('CONNECT:vpn:443')}`))
  t.notMatch(first, /qop|nc=|cnonce/)
  const [session] = parseChallenges('Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth"')
  const a1 = h(`${h('u:r:p')}:n:c0`)
  const second = authorize(session as Challenge, sign)
  t.equal(param(second, 'response'), h(`${a1}:n:00000003:c0:auth:${h('CONNECT:vpn:443')}`))
  t.match(second, /nc=00000003/)
})

t.test('Basic: RFC 7617 2, UTF-8, no colon in the name', async (t) => {
  const basic = { scheme: 'basic', params: new Map() }
  const of = (user: string, password: string) =>
    authorize(basic, { user, password, method: '', uri: '', cnonce: '', count: 1 })
  t.equal(of('Aladdin', 'open sesame'), 'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==')
  t.equal(of('test', '123\u00a3'), 'Basic dGVzdDoxMjPCow==')
  t.equal(of('a:b', 'c'), undefined)
  t.equal(of('a', 'b:c'), `Basic ${Buffer.from('a:b:c').toString('base64')}`)
})

t.test('names and realms that need care in the field', async (t) => {
  const [challenge] = parseChallenges(String.raw`Digest realm="say \"hi\" \\ there", nonce="n", qop=auth`)
  t.equal(challenge?.params.get('realm'), String.raw`say "hi" \ there`)
  const sign = { password: 'p', method: 'CONNECT', uri: 'h:1', cnonce: 'c', count: 1 }
  const header = authorize(challenge as Challenge, { ...sign, user: 'a"b\\c' })
  t.match(header, String.raw`realm="say \"hi\" \\ there"`)
  t.match(header, String.raw`username="a\"b\\c"`)
  t.match(authorize(challenge as Challenge, { ...sign, user: "J\u00e4'n" }), /username\*=UTF-8''J%C3%A4%27n,/)
})

t.test('challenges as they are found, read as RFC 9110 11.6.1 says', async (t) => {
  const read = (text: string) =>
    parseChallenges(text).map(({ scheme, params }) => [scheme, Object.fromEntries(params)])
  t.same(read('Basic realm="a"'), [['basic', { realm: 'a' }]])
  t.same(read('NTLM, Negotiate, Basic realm=x'), [
    ['ntlm', {}],
    ['negotiate', {}],
    ['basic', { realm: 'x' }],
  ])
  t.same(read('Negotiate TlRMTVNTUAAC==, Basic realm="a, b=c"'), [
    ['negotiate', {}],
    ['basic', { realm: 'a, b=c' }],
  ])
  t.same(read('BASIC REALM = "spaces" , , Digest  Nonce="n",realm="r" ,stale=TRUE'), [
    ['basic', { realm: 'spaces' }],
    ['digest', { nonce: 'n', realm: 'r', stale: 'TRUE' }],
  ])
  t.same(read(''), [])
  t.same(read('"nonsense"'), [])
  t.same(read('Basic realm="no end'), [['basic', {}]])
  t.equal(parseChallenges('a,'.repeat(1000)).length, 16)
  t.equal(pickChallenge(parseChallenges('NTLM, Negotiate')), undefined)
  t.equal(
    pickChallenge(parseChallenges('Digest realm="r", nonce="n", algorithm=MD4, Basic realm="b"'))?.scheme,
    'basic',
  )
  t.equal(pickChallenge(parseChallenges('Digest realm="r", nonce="n", qop="auth-int"')), undefined)
  t.equal(pickChallenge(parseChallenges('Digest realm="r"')), undefined, 'no nonce')
  t.equal(pickChallenge(parseChallenges('Basic realm="b", Digest realm="r", nonce="n"'))?.scheme, 'digest')
})
