/** The options of the way to the server, from the command line to the call. */
import { join } from 'node:path'
import t from 'tap'
import { issue } from '../helpers/certificates.js'
import { World } from '../helpers/world.js'

class Called extends World {
  status = -1
}

async function called(argv: readonly string[], changes: Partial<World> = {}): Promise<Called> {
  const world = Object.assign(new Called(), changes)
  world.onReady = () => world.signal('SIGINT')
  world.status = await world.run(...argv)
  return world
}

const ENV = { SSTP_USER: 'alice', SSTP_PASSWORD: 's3cret' }

t.test('a proxy from the command line, from the environment, or none', async (t) => {
  const env = { ...ENV, HTTPS_PROXY: 'http://env.example:3128', NO_PROXY: 'inner.example' }
  const of = async (...argv: string[]) => (await called(argv, { env })).calls[0]?.upstream
  t.same(await of('vpn'), { scheme: 'http', host: 'env.example', port: 3128 })
  t.equal(await of('vpn.inner.example'), undefined)
  t.equal(await of('localhost'), undefined)
  t.equal(await of('vpn', '--upstream', 'none'), undefined)
  t.same(await of('vpn.inner.example', '--upstream', 'socks5h://[::1]:9'), {
    scheme: 'socks5h',
    host: '::1',
    port: 9,
  })
  t.equal((await called(['vpn'])).calls[0]?.upstream, undefined)
})

t.test('ALL_PROXY that names our own proxies is for others', async (t) => {
  const env = { ...ENV, ALL_PROXY: 'socks5h://127.0.0.1:1080' }
  t.equal((await called(['vpn'], { env })).calls[0]?.upstream, undefined)
  t.match((await called(['vpn', '--socks', '1081'], { env })).calls[0]?.upstream, { port: 1080 })
  t.match(
    (await called(['ping', 'vpn', '10.0.0.1', '-c', '1'], { env, pongs: [1] })).calls[0]?.upstream,
    { port: 1080 },
    'it listens nowhere: the bridge is the way',
  )
})

t.test('the password of the proxy', async (t) => {
  const file = join(t.testdir({ password: 'f1le\nmore' }), 'password')
  const of = (...argv: string[]) => called(['vpn', '--upstream', 'http://bob@p:1', ...argv])
  t.equal((await of('--upstream-password-file', file)).calls[0]?.upstream?.password, 'f1le')
  const env = { ...ENV, SSTP_UPSTREAM_PASSWORD: 'env' }
  t.equal(
    (await called(['vpn', '--upstream', 'http://bob@p:1'], { env })).calls[0]?.upstream?.password,
    'env',
  )
  const ask = async (question: string): Promise<string> =>
    question === 'Password for bob at http://p:1: ' ? 'typed' : ''
  t.equal(
    (await called(['vpn', '--upstream', 'http://bob@p:1'], { ask })).calls[0]?.upstream?.password,
    'typed',
  )
  const none = await of()
  t.equal(none.status, 2)
  t.match(none.err, /no password for bob at http:\/\/p:1: give --upstream-password-file/)
  const both = await of('--password-file', '-', '--upstream-password-file', '-')
  t.equal(both.status, 2)
  t.match(both.err, /standard input holds one password only/)
  const missing = await of('--upstream-password-file', '/none/such')
  t.match(missing.err, /^sstp-socks: --upstream-password-file: ENOENT/)
})

t.test('a visible password is warned about, and shown nowhere', async (t) => {
  const world = await called([
    'vpn',
    '--upstream',
    'http://bob:Zq7secret@p:1',
    '--log-level',
    'trace',
    '--json',
  ])
  t.equal(world.status, 0)
  t.match(world.err, /can see a password on the command line: use --upstream-password-file/)
  t.equal(world.argumentsHidden, true)
  t.match(world.err, /reaching the server through http:\/\/p:1 \(--upstream\)/)
  t.notMatch(world.err + world.out, /Zq7secret/)
  const env = { ...ENV, HTTPS_PROXY: 'http://bob:Zq7secret@p:1' }
  const quiet = await called(['vpn', '--log-level', 'trace'], { env })
  t.equal(quiet.argumentsHidden, false)
  t.equal(quiet.calls[0]?.upstream?.password, 'Zq7secret')
  t.notMatch(quiet.err + quiet.out, /Zq7secret/)
})

t.test('SNI, Host, client certificate, several pins', async (t) => {
  const me = issue({ name: 'me' })
  const directory = t.testdir({ cert: me.cert, key: me.key })
  const [cert, key] = [join(directory, 'cert'), join(directory, 'key')]
  const pins = [
    'ab'.repeat(32),
    'CD:'.repeat(31).concat('CD'),
    `sha256//${Buffer.alloc(32, 0xef).toString('base64')}`,
  ]
  const world = await called([
    'vpn',
    ...['--sni', 'front.example', '--host-header', 'back.example:444', '--tls-cert', cert, '--tls-key', key],
    ...pins.flatMap((pin) => ['--pin', pin]),
  ])
  t.equal(world.status, 0, world.err)
  t.match(world.calls[0]?.outer, { sni: 'front.example', hostHeader: 'back.example:444' })
  t.equal(world.calls[0]?.outer?.cert?.trim(), me.cert.trim())
  t.equal(world.calls[0]?.outer?.key?.trim(), me.key.trim())
  t.same(world.calls[0]?.trust?.pin, ['ab'.repeat(32), 'cd'.repeat(32), 'ef'.repeat(32)])
  const none = await called(['vpn', '--sni', 'none'])
  t.same(none.calls[0]?.outer, { sni: null })
  t.equal((await called(['vpn'])).calls[0]?.outer, undefined)
})

t.test('wrong use: status 2 and one line', async (t) => {
  const cases: readonly (readonly [string[], RegExp])[] = [
    [['--upstream', 'socks4://p'], /^sstp-socks: --upstream: there are no socks4:\/\/ proxies here/],
    [['--upstream', 'http://p', '--upstream', 'http://q'], /--upstream: is given twice/],
    [
      ['--upstream-password-file', 'x', '--upstream', 'http://p'],
      /--upstream-password-file: --upstream names no user/,
    ],
    [['--sni', '10.0.0.1'], /--sni: TLS sends names only/],
    [['--host-header', 'a b'], /--host-header: "a b" is not a host name, with or without :port/],
    [['--host-header', 'a:70000'], /--host-header: "a:70000" is not/],
    [['--tls-key', 'x'], /--tls-key: needs --tls-cert too/],
    [['--tls-cert', '/none/such'], /ENOENT/],
    [['--pin', 'ab'.repeat(32), '--pin', 'short'], /--pin: a pin is a SHA-256/],
  ]
  for (const [argv, message] of cases) {
    const world = await called(['vpn', ...argv])
    t.equal(world.status, 2, argv.join(' '))
    t.match(world.err, message)
    t.match(world.err, /^sstp-socks: [^\n]+\n$/)
    t.same(world.log, [])
  }
  const world = await called(['vpn'], { env: { ...ENV, ALL_PROXY: 'socks4://p:1' } })
  t.equal(world.status, 2)
  t.match(world.err, /ALL_PROXY: there are no socks4:\/\/ proxies here.*--upstream none goes without/)
})
