import t from 'tap'
import { chooseUpstream, parseUpstream, withPassword } from '../../src/config/upstream.js'

t.test('proxies as they are written', async (t) => {
  const cases: readonly (readonly [string, object | null])[] = [
    ['none', null],
    ['off', null],
    ['http://proxy.example:3128', { scheme: 'http', host: 'proxy.example', port: 3128 }],
    ['HTTP://Proxy.Example:3128/', { scheme: 'http', host: 'proxy.example', port: 3128 }],
    ['proxy.example:3128', { scheme: 'http', host: 'proxy.example', port: 3128 }],
    ['http://proxy.example', { scheme: 'http', host: 'proxy.example', port: 80 }],
    ['https://proxy.example', { scheme: 'https', host: 'proxy.example', port: 443 }],
    ['socks5://10.0.0.1', { scheme: 'socks5', host: '10.0.0.1', port: 1080 }],
    ['socks5h://[2001:db8::1]:9', { scheme: 'socks5h', host: '2001:db8::1', port: 9 }],
    ['http://u@p:1', { scheme: 'http', host: 'p', port: 1, user: 'u' }],
    ['http://u:@p:1', { scheme: 'http', host: 'p', port: 1, user: 'u', password: '' }],
    ['u:w@p:1', { scheme: 'http', host: 'p', port: 1, user: 'u', password: 'w' }],
    [
      'http://CORP%5Cal%40ice:p%3Aa%2Fs%25@p:1',
      { scheme: 'http', host: 'p', port: 1, user: 'CORP\\al@ice', password: 'p:a/s%' },
    ],
    ['http://al@ice:x@p:1', { scheme: 'http', host: 'p', port: 1, user: 'al@ice', password: 'x' }],
  ]
  for (const [text, wanted] of cases) t.same(parseUpstream(text), wanted, text)
})

t.test('proxies as they are not', async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['socks4://p', /no socks4:\/\/ proxies here, only http, https, socks5, socks5h/],
    ['socks://p', /say socks5:\/\/ or socks5h:\/\//],
    ['http://', /the host of the proxy is missing/],
    ['http://p:0', /the port is not a number from 1 to 65535/],
    ['http://p:x', /the port is not a number/],
    ['http://a..b:1', /is not a host name/],
    ['http://[::g]:1', /is not an IPv6 address/],
    ['http://2001:db8::1', /goes in brackets: \[2001:db8::1\]/],
    ['http://p:1/path', /is not/],
    ['http://:secret@p', /the user name before the @ is empty/],
    ['http://u:%zz@p', /a % before the @/],
    ['http://u:a%0d%0ab@p', /control characters/],
  ]
  for (const [text, message] of cases) {
    t.throws(() => parseUpstream(text), { name: 'UsageError', message }, text)
  }
  for (const text of ['http://u:s3cret@a..b', 'x://u:s3cret@p', 'http://u:s3cret%zz@p', 'http://u:s3cret']) {
    try {
      parseUpstream(text)
      t.fail(text)
    } catch (error) {
      t.notMatch(String(error), /s3cret/, 'no secret in the complaint')
    }
  }
})

t.test('what was said goes before the environment', async (t) => {
  const server = { host: 'vpn.example', port: 443 }
  const env = { HTTPS_PROXY: 'http://env:1' }
  t.match(chooseUpstream(undefined, env, server), { upstream: { host: 'env' }, from: 'HTTPS_PROXY' })
  t.equal(chooseUpstream(null, env, server), undefined)
  const said = { scheme: 'http', host: 'said', port: 2 } as const
  t.match(chooseUpstream(said, { ...env, NO_PROXY: '*' }, server), { upstream: said, from: '--upstream' })
  t.equal(chooseUpstream(undefined, {}, server), undefined)
  t.equal(chooseUpstream(undefined, { HTTPS_PROXY: 'none' }, server), undefined)
  const own = { ALL_PROXY: 'socks5h://127.0.0.1:1080' }
  t.ok(chooseUpstream(undefined, own, server))
  t.equal(
    chooseUpstream(undefined, own, server, [1080, 8080]),
    undefined,
    'our own proxy is not the way to it',
  )
  t.throws(() => chooseUpstream(undefined, { ALL_PROXY: 'socks4://p' }, server), {
    name: 'UsageError',
    message: /^ALL_PROXY: .* \(--upstream none goes without\)$/,
  })
})

t.test('where its password comes from', async (t) => {
  const upstream = { scheme: 'http', host: 'p', port: 1, user: 'u' } as const
  const chosen = { upstream, from: '--upstream' }
  const nothing = { file: undefined, env: {}, ask: undefined }
  const env = { SSTP_UPSTREAM_PASSWORD: 'e' }
  const file = async (): Promise<string> => 'f'
  t.match(await withPassword(chosen, { ...nothing, env, file }), { password: 'f' })
  t.match(await withPassword(chosen, { ...nothing, env }), { password: 'e' })
  const asked: unknown[] = []
  const ask = async (...question: unknown[]): Promise<string> => {
    asked.push(question)
    return 'a'
  }
  t.match(await withPassword(chosen, { ...nothing, ask }), { password: 'a' })
  t.same(asked, [['Password for u at http://p:1: ', true]])
  const whole = { ...chosen, upstream: { ...upstream, password: 'w' } }
  t.match(await withPassword(whole, { ...nothing, env, ask }), { password: 'w' })
  const { user: _user, ...open } = upstream
  t.same(await withPassword({ ...chosen, upstream: open }, nothing), open)
  await t.rejects(withPassword(chosen, nothing), {
    message: /^no password for u at http:\/\/p:1: give --upstream-p/,
  })
  await t.rejects(withPassword(whole, { ...nothing, file }), { message: /holds a password already/ })
  await t.rejects(withPassword({ ...chosen, upstream: open }, { ...nothing, file }), {
    message: /names no user/,
  })
})
