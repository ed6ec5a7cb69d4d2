import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import t from 'tap'
import { describeError, EXIT, exitStatus, Interrupted, listenError, OutputError } from '../../src/cli/exit.js'
import { pingOptions, serveOptions, tunnelOptions } from '../../src/cli/options.js'
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
    [new Interrupted('SIGHUP'), 129],
    [new OutputError(new Error('x')), 1],
    [new TypeError('x'), 1],
    ['x', 1],
  ]
  for (const [error, status] of cases) t.equal(exitStatus(error), status, String(error))
  t.same(Object.values(EXIT), [0, 1, 2, 3, 4, 5, 6, 7])
  t.match(describeError(new TypeError('x')), { message: 'internal error: x', expected: false })
})

const AT = { address: '8.8.8.8', port: 1 }

t.test('errors of listening', async (t) => {
  const error = (code: string) => Object.assign(new Error('listen'), { code })
  t.match(listenError(error('EADDRINUSE'), AT, '--socks'), {
    name: 'UsageError',
    message: /^port 1 on 8\.8\.8\.8 is in use .* another port with --socks$/,
  })
  t.match(listenError(error('EACCES'), AT, '--listen'), { message: /privileges.*--listen$/ })
  t.match(listenError(error('EADDRNOTAVAIL'), AT, '--http'), {
    message: /^8\.8\.8\.8 is not an address of this machine: .* --http$/,
  })
  t.match(listenError(error('EAFNOSUPPORT'), AT, '--http'), { message: /EAFNOSUPPORT/ })
  const other = error('EMFILE')
  t.equal(listenError(other, AT, 'y'), other)
})

t.test('--version and --help', async (t) => {
  for (const flag of ['--version', '-V']) {
    const world = new World()
    t.equal(await world.run(flag), 0)
    t.equal(world.out, `${manifest.version}\n`)
  }
  const commands = ['connect', 'run', 'serve', 'demo', 'check', 'ping', 'resolve']
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
    t.equal(world.out.match(/Exit status: 0 ended on request/g)?.length, 1, 'said once')
  }
})

t.test('the options of every command are in its help', async (t) => {
  const tunnel =
    'user password-file password password-command new-password-file auth cert key key-password-file eap-name hash-whole-user eap-ca eap-servername eap-pin eap-tls-max eap-key-rule ca pin servername insecure sni host-header tls-cert tls-key upstream upstream-password-file dns search ndots hosts mtu no-ipv6 timeout json log-level log-format'
  const proxies =
    'socks http proxy-user proxy-password-file allow allow-open max-clients forward remote-forward dns-listen route bypass block rules'
  const all: Record<string, string> = {
    connect: `${tunnel} ${proxies} stdio reconnect no-reconnect retry-start reconnect-wait keepalive`,
    run: `${tunnel} ${proxies} reconnect no-reconnect retry-start reconnect-wait keepalive`,
    check: tunnel,
    ping: `${tunnel} count interval size`,
    resolve: tunnel,
    serve:
      'accounts radius radius-secret-file radius-accounting radius-timeout radius-nas radius-old-server listen cert key client-ca state pool ipv6-prefix dns auth mtu max-calls max-connections max-strangers max-per-address max-failures setup-timeout allow-loopback json log-level log-format',
    demo: 'once json log-level log-format',
  }
  for (const [command, names] of Object.entries(all)) {
    const world = new World()
    await world.run(command, '--help')
    const shown = [...world.out.matchAll(/^ {2,6}(?:-\w, )?--([a-z0-9-]+)/gm)].map(([, name]) => name)
    t.same(shown.sort(), [...names.split(' '), 'help', 'version'].sort(), command)
  }
})

t.test('a time that the help gives as an example is taken', async (t) => {
  let found = 0
  for (const [argv, options] of [
    [['ping', 'vpn', 'host'], { ...tunnelOptions, ...pingOptions }],
    // No such accounts: the next thing that is looked at.
    [['serve', '--accounts', '/no/such'], serveOptions],
  ] as const) {
    for (const [name, { describe = '' }] of Object.entries(options)) {
      const [, example] = / or like (\d+(?:ms|s|m))\b/.exec(describe) ?? []
      if (example === undefined) continue
      const world = new World()
      world.failure = new CallError('tcp', 'unreachable', 'X', 'x')
      await world.run(...argv, `--${name}`, example)
      t.match(world.err, /\[X\]|ENOENT|--radius-timeout: .*--radius/, `--${name} ${example}`)
      t.notMatch(world.err, /out of range|not a time/)
      found++
    }
  }
  t.equal(found, 4)
})

t.test('wrong use: status 2, one line, and nothing is started', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /: <server> is missing/],
    [['connect'], /: <server> is missing/],
    [['ping', 'vpn'], /: <host> is missing/],
    [['resolve'], /: <server> and <name> are missing/],
    [['run'], /: <server> is missing/],
    [['run', 'vpn'], /<command>: is missing: sstp-socks run <server> \[options\] -- COMMAND$/m],
    [['run', 'vpn', '--'], /<command>: is missing/],
    [['run', 'vpn', 'curl'], /an argument that nothing takes: curl/],
    [['run', '--', 'curl'], /: <server> is missing/],
    [['run', 'vpn', '--no-such', '--', 'curl', '--no-other'], /unknown option --no-such \(/],
    [['check', 'vpn', '--json=5'], /--json: takes no value/],
    [['vpn', '--no-ipv6=true'], /--no-ipv6: takes no value/],
    [['ping', 'vpn', 'host', '-c'], /-c: wants a value/],
    [['vpn', '--password-fil=s3cret'], /unknown option --password-fil \(/],
    [['vpn', '--no-such', '-x', 'more'], /unknown option --no-such, -x \(/],
    [['vpn', '--fooBar'], /unknown option --fooBar \(/],
    [['vpn', 'one', 'two'], /arguments that nothing takes: one, two \(/],
    [['ping', 'vpn', '300.1.1.1'], /<host>: "300\.1\.1\.1" is not a host name or address/],
    [['resolve', 'vpn', 'a..b'], /<name>: "a\.\.b" is not a host name or address/],
    [['resolve', 'vpn', 'bad name'], /<name>: "bad name" is not a host name or address/],
    [['vpn', 'extra'], /an argument that nothing takes: extra/],
    [['vpn', '--', 'extra'], /an argument that nothing takes: extra/],
    [['connect', 'vpn', '--', 'extra'], /an argument that nothing takes: extra/],
    [['ping', 'vpn', 'host', '--', 'extra'], /an argument that nothing takes: extra/],
    [['vpn', '--reconnects'], /unknown option --reconnects/],
    [['vpn', '--ipv6'], /unknown option --ipv6/],
    [['vpn', '--socks'], /--socks: wants a value/],
    [['vpn', '--socks', 'x'], /^sstp-socks: --socks: "x" does not end/],
    [['vpn', '--socks', '1', '--socks', '1'], /--socks: is given twice with the same place/],
    [['vpn', '--socks', '1', '--socks', 'off'], /--socks: is off and on at once/],
    [['vpn', '--socks', 'unix:'], /--socks: "unix:" is not unix:PATH/],
    [['vpn', '--allow', '10.0.0.0/33'], /--allow: "10\.0\.0\.0\/33" is not an IP address, or a range/],
    [['vpn', '--proxy-user', 'a:b'], /--proxy-user: HTTP knows no user name with a colon/],
    [['vpn', '--proxy-password-file', '/x'], /--proxy-password-file: needs --proxy-user too/],
    [['vpn', '--password-file', '-', '--proxy-password-file', '-'], /standard input holds one password only/],
    [['vpn', '--proxy-user', 'a'], /no password for --proxy-user: give --proxy-password-file FILE/],
    [
      ['vpn', '--socks', '0.0.0.0:1'],
      /--socks: whoever reaches 0\.0\.0\.0:1 .*--proxy-user .*--allow-open$/m,
    ],
    [
      ['vpn', '--http', '[fd00::1]:1'],
      /--http: whoever reaches \[fd00::1\]:1 would be in the remote network/,
    ],
    [['vpn', '--socks', '1', '--socks', '10.0.0.1:0'], /--socks: whoever reaches 10\.0\.0\.1:0/],
    [['vpn', '--user', ''], /--user: wants a value/],
    [['vpn', '--mtu', 'big'], /--mtu: wants a whole number/],
    [['http://vpn'], /http:\/\/ is not for SSTP/],
    [['vpn', '--ca', '/none/such'], /--ca: ENOENT/],
    [['vpn', '--password-file', '/none/such'], /--password-file: ENOENT/],
    [['vpn', '--insecure', '--pin', 'ab'.repeat(32)], /contradicts --pin/],
    [['check', 'vpn', '--socks', '1'], /unknown option --socks/],
    [['serve'], /--accounts: is required/],
    [['serve', '--accounts', '/none/such'], /ENOENT/],
    [['serve', 'x'], /an argument that nothing takes: x/],
    [['demo', 'x'], /an argument that nothing takes: x/],
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
  const argv = [
    'sstp://alice:x@vpn',
    '--no-reconnect',
    '--socks',
    '0.0.0.0:0',
    '--allow-open',
    '--json',
    '--log-format',
    'json',
  ]
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
  // In a warning, too.
  const world = new World()
  world.failure = new CallError(
    'http',
    'unreachable',
    'X',
    'says \u001b[2J\u009b\u0007\nsstp-socks: all is well',
  )
  world.supervision = { random: () => 0 }
  world.openTunnel = async (options) => {
    if (world.log.includes('open')) world.failure = undefined
    return world.fakeTunnel(options)
  }
  world.onReady = () => world.signal('SIGINT')
  t.equal(await world.run('vpn', '--retry-start'), 0)
  t.match(world.err, 'sstp-socks: warning: says ?[2J??')
  t.notMatch(world.err, /[^\P{Cc}\n]/u)
  t.notMatch(world.err, /^sstp-socks: all is well/m)
})

/** Its output fails as soon as there is some, as on a full disk. */
class FullDisk extends World {
  readonly #told = new Set<(error: Error) => void>()

  onOutputError(listener: (error: Error) => void): () => void {
    this.#told.add(listener)
    return () => void this.#told.delete(listener)
  }

  get watching(): number {
    return this.#told.size
  }

  override readonly stdout = (): void => {
    queueMicrotask(() => {
      for (const tell of this.#told) tell(new Error('ENOSPC'))
    })
  }
}

t.test('output that goes nowhere ends every command, with status 1', async (t) => {
  const file = t.testdir()
  const accounts = join(file, 'accounts')
  await writeFile(accounts, 'alice:x\n', { mode: 0o600 })
  for (const argv of [
    ['vpn'],
    ['check', 'vpn'],
    ['ping', 'vpn', 'host'],
    ['resolve', 'vpn', 'host'],
    ['serve', '--accounts', accounts, '--state', join(file, 'state')],
  ]) {
    for (const json of [[], ['--json']]) {
      const world = new FullDisk()
      world.names = { host: ['10.1.1.1'] }
      world.pongs = [1, 1, 1, 1]
      t.equal(await world.run(...argv, ...json, '--log-level', 'error'), 1, argv.join(' '))
      t.equal(world.err, '', 'the one line is said where it was noticed')
      t.equal(world.watching + world.listening, 0)
      const [opened, closed] = [/^(open|gateway)/, /^closed (tunnel|gateway)/]
      t.ok(world.log.some((line) => opened.test(line)) && world.log.some((line) => closed.test(line)))
    }
  }
})

t.test('a closed terminal is a proper end, and a second one the last', async (t) => {
  const world = new World()
  world.onReady = () => world.signal('SIGHUP')
  t.equal(await world.run('vpn', '--json'), 0)
  t.same(world.events.at(-1), { event: 'stopped', status: 0, signal: 'SIGHUP' })
  t.ok(world.log.includes('closed tunnel'))
  const hasty = new World()
  hasty.onReady = () => {
    hasty.signal('SIGHUP')
    hasty.signal('SIGHUP')
  }
  await hasty.run('vpn')
  t.same(hasty.exits, [129])
})

t.test('milliseconds have one decimal', async (t) => {
  const world = new World()
  world.openTunnel = async (options) => {
    const { onEvent } = options
    onEvent?.({ type: 'step', step: 'dns', ms: 1.23456789, detail: {} })
    return world.fakeTunnel(options)
  }
  await world.run('check', 'vpn', '--json', '--log-level', 'debug', '--log-format', 'json')
  t.match(world.events[0], { step: 'dns', ms: 1.2 })
  t.match(world.err, /"ms":1\.2,/)
  t.notMatch(world.err, /1\.23/)
})
