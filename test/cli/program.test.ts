import { createRequire } from 'node:module'
import t from 'tap'
import { describeError, EXIT, exitStatus, Interrupted, listenError } from '../../src/cli/exit.js'
import { UsageError } from '../../src/config/errors.js'
import { AccountsError } from '../../src/gateway/accounts.js'
import { PoolError } from '../../src/gateway/address-pool.js'
import { CertificateError } from '../../src/gateway/certificate.js'
import { CallError } from '../../src/transport/errors.js'
import { DialError } from '../../src/tunnel/dialer.js'
import { World } from '../helpers/world.js'

const manifest: { version: string } = createRequire(import.meta.url)('../../package.json')

t.test('every error has its exit status', async (t) => {
  const call = (kind: ConstructorParameters<typeof CallError>[1]) => new CallError('ip', kind, 'X', 'x')
  const cases: [unknown, number][] = [
    [call('local'), 2],
    [call('unreachable'), 3],
    [call('untrusted'), 4],
    [call('refused'), 5],
    [call('protocol'), 6],
    [call('lost'), 7],
    [new UsageError('x'), 2],
    [new AccountsError('ACCOUNTS_EMPTY', 'x'), 2],
    [new PoolError('POOL_INVALID', 'x'), 2],
    [new CertificateError('CERTIFICATE_SYNTAX', 'x'), 2],
    [new DialError('tunnel-down', 'x'), 7],
    [new DialError('name-not-found', 'x'), 1],
    [new Interrupted('SIGINT'), 130],
    [new Interrupted('SIGTERM'), 143],
    [new TypeError('x'), 1],
    ['x', 1],
  ]
  for (const [error, status] of cases) t.equal(exitStatus(error), status, String(error))
  t.same(Object.values(EXIT), [0, 1, 2, 3, 4, 5, 6, 7])
  t.match(describeError(new TypeError('x')), { message: 'internal error: x', expected: false })
})

t.test('errors of listening', async (t) => {
  const error = (code: string) => Object.assign(new Error('listen'), { code })
  t.match(listenError(error('EADDRINUSE'), 'port 1 on x', '--socks'), {
    name: 'UsageError',
    message: /^port 1 on x is in use .* another port with --socks$/,
  })
  t.match(listenError(error('EACCES'), 'port 1 on x', '--listen'), { message: /privileges.*--listen$/ })
  t.match(listenError(error('EADDRNOTAVAIL'), 'port 1 on x', '--http'), { message: /not an address of this/ })
  t.match(listenError(error('EAFNOSUPPORT'), 'port 1 on x', '--http'), { message: /EAFNOSUPPORT/ })
  const other = error('EMFILE')
  t.equal(listenError(other, 'x', 'y'), other)
})

t.test('--version and --help', async (t) => {
  for (const flag of ['--version', '-V']) {
    const world = new World()
    t.equal(await world.run(flag), 0)
    t.equal(world.out, `${manifest.version}\n`)
  }
  const commands = ['connect', 'serve', 'demo', 'check', 'ping', 'resolve']
  for (const argv of [['--help'], ['-h'], ...commands.map((name) => [name, '--help'])]) {
    const world = new World()
    t.equal(await world.run(...argv), 0, argv.join(' '))
    t.equal(world.err, '')
    t.match(world.out, /^sstp-socks /)
    t.notMatch(world.out, /undefined/)
    t.ok(
      world.out.split('\n').every((line) => line.length <= 110),
      'fits a terminal',
    )
    if (argv.length === 1) for (const name of commands) t.match(world.out, `sstp-socks ${name}`)
    t.match(world.out, /Exit status: 0 ended on request/)
  }
})

t.test('the options of every command are in its help', async (t) => {
  const tunnel =
    'user password-file password auth ca pin servername insecure dns mtu no-ipv6 timeout json log-level log-format'
  const all: Record<string, string> = {
    connect: `${tunnel} socks http`,
    check: tunnel,
    ping: `${tunnel} count interval size`,
    resolve: tunnel,
    serve:
      'accounts listen cert key state pool dns auth mtu max-calls allow-loopback json log-level log-format',
    demo: 'once json log-level log-format',
  }
  for (const [command, names] of Object.entries(all)) {
    const world = new World()
    await world.run(command, '--help')
    const shown = [...world.out.matchAll(/^ +(?:-\w, )?--([a-z0-9-]+)/gm)].map(([, name]) => name)
    t.same(shown.sort(), [...names.split(' '), 'help', 'version'].sort(), command)
  }
})

t.test('wrong use: status 2, one line, and nothing is started', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /an argument is missing/],
    [['connect'], /an argument is missing/],
    [['ping', 'vpn'], /an argument is missing/],
    [['resolve'], /an argument is missing/],
    [['vpn', 'extra'], /unknown argument: extra/],
    [['vpn', '--', 'extra'], /unknown argument: extra/],
    [['connect', 'vpn', '--', 'extra'], /unknown argument: extra/],
    [['ping', 'vpn', 'host', '--', 'extra'], /unknown argument: extra/],
    [['vpn', '--reconnect'], /unknown argument: reconnect/],
    [['vpn', '--ipv6'], /unknown argument: ipv6/],
    [['vpn', '--socks'], /not enough arguments following: socks/],
    [['vpn', '--socks', 'x'], /^sstp-socks: --socks: "x" does not end/],
    [['vpn', '--socks', '1', '--socks', '2'], /--socks: is given twice/],
    [['vpn', '--user', ''], /--user: wants a value/],
    [['vpn', '--mtu', 'big'], /--mtu: wants a whole number/],
    [['http://vpn'], /http:\/\/ is not for SSTP/],
    [['vpn', '--ca', '/none/such'], /--ca: ENOENT/],
    [['vpn', '--password-file', '/none/such'], /--password-file: ENOENT/],
    [['vpn', '--insecure', '--pin', 'ab'.repeat(32)], /contradicts --pin/],
    [['check', 'vpn', '--socks', '1'], /unknown argument: socks/],
    [['serve'], /--accounts: wants a value/],
    [['serve', '--accounts', '/none/such'], /ENOENT/],
    [['serve', 'x'], /unknown argument: x/],
    [['demo', 'x'], /unknown argument: x/],
  ]
  for (const [argv, message] of cases) {
    const world = new World()
    t.equal(await world.run(...argv), 2, argv.join(' '))
    t.match(world.err, message)
    t.match(world.err, /^sstp-socks: [^\n]+\n$/)
    t.equal(world.out, '')
    t.same(world.log, [])
    t.equal(world.listening, 0, 'no signal handler is left')
  }
})

t.test('the password is nowhere in what is printed', async (t) => {
  const secret = 'pa55-Zq7/ü'
  const encoded = encodeURIComponent(secret)
  const file = t.testdir({ password: `${secret}\n`, accounts: '' })
  const ways: [string[], Partial<World>][] = [
    [[`sstp://alice:${encoded}@vpn`], { env: {} }],
    [['vpn', '--user', 'alice', '--password', secret], { env: {} }],
    [['vpn', '--user', 'alice', '--password-file', `${file}/password`], { env: {} }],
    [['vpn', '--user', 'alice', '--password-file', '-'], { env: {}, stdin: Buffer.from(secret) }],
    [['vpn'], { env: { SSTP_USER: 'alice', SSTP_PASSWORD: secret } }],
    [['vpn'], { env: {}, ask: async (_q, hidden) => (hidden ? secret : 'alice') }],
  ]
  const ends: [string, (world: World) => void][] = [
    ['stopped', () => {}],
    ['refused', (world) => (world.failure = new CallError('auth', 'refused', 'AUTH_REFUSED', 'no', 'hint'))],
    ['broken', (world) => (world.failure = new Error('a bug'))],
  ]
  for (const command of ['connect', 'check', 'ping', 'resolve']) {
    for (const [[server = '', ...rest], changes] of ways) {
      for (const [end, prepare] of ends) {
        for (const extra of [[], ['--json', '--log-format', 'json']]) {
          const world = Object.assign(new World(), changes)
          prepare(world)
          world.names = { host: ['10.1.1.1'] }
          world.pongs = [1]
          world.onReady = () => world.signal('SIGTERM')
          const target = command === 'ping' || command === 'resolve' ? ['host'] : []
          const counted = command === 'ping' ? ['-c', '1'] : []
          const argv = [command, server, ...target, ...rest, ...counted, '--log-level', 'trace', ...extra]
          const status = await world.run(...argv)
          t.equal(status, { stopped: 0, refused: 5, broken: 1 }[end], `${argv.join(' ')}: ${world.err}`)
          t.equal(world.calls[0]?.password, secret, 'it arrived')
          const printed = world.out + world.err
          t.notOk(printed.includes(secret) || printed.includes(encoded), 'and was not printed')
          const visible = argv.some((word) => word.includes(secret) || word.includes(encoded))
          t.equal(/can see a password on the command line/.test(world.err), visible)
          t.equal(world.argumentsHidden, visible)
        }
      }
    }
  }
})

t.test('with --log-format json every line of both outputs is JSON', async (t) => {
  const world = new World()
  world.onReady = () => world.lose(new CallError('ip', 'lost', 'LOST', 'gone', 'look'))
  const argv = ['sstp://alice:x@vpn', '--socks', '0.0.0.0:0', '--json', '--log-format', 'json']
  t.equal(await world.run(...argv, '--log-level', 'trace'), 7)
  t.ok(world.events.length > 0)
  const logs = world.err
    .split('\n')
    .slice(0, -1)
    .map((line): { msg: string; level: number } => JSON.parse(line))
  t.ok(logs.some(({ msg }) => /can see a password/.test(msg)))
  t.match(logs.at(-1), { level: 50, msg: 'gone [LOST]', hint: 'look' })
})

t.test('text that peers choose does nothing to a terminal', async (t) => {
  for (const argv of [['vpn'], ['check', 'vpn'], ['vpn', '--log-level', 'debug']]) {
    const world = new World()
    world.failure = new CallError(
      'http',
      'protocol',
      'X',
      'says \u001b[2J\u0007\nsstp-socks: all is well',
      'a\u009bb',
    )
    t.equal(await world.run(...argv), 6)
    for (const char of `${world.out}${world.err}`)
      t.ok(char === '\n' || !/\p{Cc}/u.test(char) || t.fail(argv.join()))
    t.notMatch(world.out + world.err, /^sstp-socks: all is well/m)
  }
})
