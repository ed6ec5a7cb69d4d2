import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { checkCommand } from '../../src/cli/child.js'
import type { Child } from '../../src/cli/deps.js'
import { runEnvironment } from '../../src/cli/run-env.js'
import { CallError } from '../../src/transport/errors.js'
import { World } from '../helpers/world.js'

// Commands are real processes here, which say what they have to say in files: their output is ours.
const NODE = process.execPath
const script = (code: string): string[] => ['--', NODE, '-e', code]

t.test('tunnel and proxies first, then the command; its status is ours', async (t) => {
  for (const status of [0, 3, 255]) {
    const world = new World()
    t.equal(await world.run('run', 'vpn', ...script(`process.exit(${status})`)), status)
    t.same(world.log, [
      'open',
      'proxy 127.0.0.1:40002',
      `start ${NODE}`,
      'closed proxy 127.0.0.1:40002',
      'closing tunnel',
      'closed tunnel',
    ])
    t.match(world.proxies, [{ address: '127.0.0.1', port: 0, protocols: { socks: true, http: true } }])
    t.equal(world.out, '', 'nothing on standard output')
    t.notMatch(world.err, /gone for good/)
    t.equal(world.listening, 0, 'no signal handler is left')
  }
})

t.test('words and environment arrive as they are', async (t) => {
  const file = join(t.testdir(), 'seen')
  const code = `require('node:fs').writeFileSync(process.argv[1], JSON.stringify([process.argv.slice(2), process.env]))`
  const world = new World()
  world.env = { ...world.env, KEPT: 'yes', http_proxy: 'http://outer:3128', NO_PROXY: '*' }
  const words = ['--json', '-x', '', 'two words', '--', '007', '1e3', "quote's", '--user=x', '--help', '-h']
  t.equal(await world.run('run', 'vpn', ...script(code), file, ...words), 0)
  const [argv, env] = JSON.parse((await import('node:fs')).readFileSync(file, 'utf8'))
  t.same(argv, words)
  t.match(env, {
    KEPT: 'yes',
    ALL_PROXY: 'socks5h://127.0.0.1:40002',
    http_proxy: 'http://127.0.0.1:40002',
    HTTPS_PROXY: 'http://127.0.0.1:40002',
    NO_PROXY: /^localhost,/,
    SSTP_USER: 'alice',
  })
  t.equal(env.SSTP_PASSWORD, undefined, 'the password is not for the command')
})

t.test('which proxies it is told of', async (t) => {
  const told = async (...argv: string[]) => {
    const world = new World()
    t.equal(await world.run('run', 'vpn', ...argv, ...script('0')), 0, argv.join(' '))
    const { ALL_PROXY, HTTP_PROXY, https_proxy } = world.childEnv
    return { ALL_PROXY, HTTP_PROXY, https_proxy }
  }
  t.same(await told('--socks', '1080', '--http', '8080'), {
    ALL_PROXY: 'socks5h://127.0.0.1:1080',
    HTTP_PROXY: 'http://127.0.0.1:8080',
    https_proxy: 'http://127.0.0.1:8080',
  })
  t.same(await told('--socks', '[::1]:5', '--http', 'off'), {
    ALL_PROXY: 'socks5h://[::1]:5',
    HTTP_PROXY: undefined,
    https_proxy: undefined,
  })
  t.same(await told('--socks', 'off', '--http', '0.0.0.0:7', '--allow-open'), {
    ALL_PROXY: 'http://127.0.0.1:7',
    HTTP_PROXY: 'http://127.0.0.1:7',
    https_proxy: 'http://127.0.0.1:7',
  })
  t.same(await told('--socks', 'unix:/x/y', '--socks', '9', '--http', 'off'), {
    ALL_PROXY: 'socks5h://127.0.0.1:9',
    HTTP_PROXY: undefined,
    https_proxy: undefined,
  })
  const world = new World()
  world.env.SSTP_PROXY_PASSWORD = 'p@ss:w/o "(rd)"'
  t.equal(await world.run('run', 'vpn', '--proxy-user', 'bob', ...script('0')), 0)
  t.equal(
    world.childEnv.HTTPS_PROXY,
    'http://bob:p%40ss%3Aw%2Fo%20%22%28rd%29%22@127.0.0.1:40002',
    'with what the proxies want to hear',
  )
  const decoded = new URL(world.childEnv.HTTPS_PROXY ?? '')
  t.equal(decodeURIComponent(decoded.password), world.env.SSTP_PROXY_PASSWORD)
  t.equal(world.childEnv.SSTP_PROXY_USER, 'bob', 'for nc')
  const said = Buffer.from(world.env.SSTP_PROXY_PASSWORD)
  t.equal(world.proxies[0]?.credentials?.verify(Buffer.from('bob'), said), true)
  t.equal(world.proxies[0]?.credentials?.verify(Buffer.from('bob'), Buffer.from('p')), false)
  t.same(await told('--socks', 'off', '--http', 'off', '-L', '0:db:5432'), {
    ALL_PROXY: undefined,
    HTTP_PROXY: undefined,
    https_proxy: undefined,
  })
  for (const argv of [
    ['--socks', 'off', '--http', 'off'],
    ['--socks', 'unix:/x', '--http', 'unix:/y'],
  ]) {
    const wrong = new World()
    t.equal(await wrong.run('run', 'vpn', ...argv, ...script('0')), 2)
    t.match(wrong.err, /--http: .*no program would find/)
    t.same(wrong.log, [])
  }
})

t.test('variables for programs with ways of their own', async (t) => {
  const both = { socks: '127.0.0.1:1', http: '127.0.0.1:2', login: undefined }
  const self = ['/opt/no de', '/opt/50%/main.js']
  const env = runEnvironment({ GIT_CONFIG_COUNT: '1', JAVA_TOOL_OPTIONS: '-Xmx1g' }, both, self)
  t.equal(
    env.JAVA_TOOL_OPTIONS,
    '-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=2 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=2 -DsocksProxyHost=127.0.0.1 -DsocksProxyPort=1',
  )
  t.match(env, {
    GIT_CONFIG_COUNT: '2',
    GIT_CONFIG_KEY_1: 'http.proxy',
    GIT_CONFIG_VALUE_1: 'http://127.0.0.1:2',
    NODE_USE_ENV_PROXY: '1',
    npm_config_https_proxy: 'http://127.0.0.1:2',
    CARGO_HTTP_PROXY: 'http://127.0.0.1:2',
  })
  t.equal(
    env.GIT_SSH_COMMAND,
    `ssh -o 'ProxyCommand='\\''/opt/no de'\\'' /opt/50%%/main.js nc --via 127.0.0.1:1 %h %p'`,
    'quoted for git, for the shell of ssh, and its percent signs for ssh',
  )
  const kept = runEnvironment({ GIT_SSH: 'plink' }, both, self)
  t.equal(kept.GIT_SSH_COMMAND, undefined)
  t.equal(runEnvironment({}, { ...both, socks: undefined }, self).GIT_SSH_COMMAND, undefined)
  const more = runEnvironment({ GIT_SSH_COMMAND: 'ssh -i key' }, both, self)
  t.match(more.GIT_SSH_COMMAND, /^ssh -i key -o 'ProxyCommand=/)
  const socks = runEnvironment(
    { NODE_USE_ENV_PROXY: '1', FTP_PROXY: 'x' },
    { ...both, http: undefined },
    self,
  )
  t.equal(socks.NODE_USE_ENV_PROXY, undefined, 'Node knows no SOCKS')
  t.equal(socks.FTP_PROXY, undefined, 'a proxy of the network outside')
  t.equal(socks.npm_config_proxy, undefined)
  t.equal(socks.GIT_CONFIG_VALUE_0, 'socks5h://127.0.0.1:1')
  t.match(socks.JAVA_TOOL_OPTIONS, /^-DsocksProxyHost=127\.0\.0\.1 -DsocksProxyPort=1$/)
  const six = runEnvironment({}, { ...both, http: '[::1]:2' }, self)
  t.match(six.JAVA_TOOL_OPTIONS, /-Dhttp\.proxyHost=::1 -Dhttp\.proxyPort=2 /)
  const secret = runEnvironment({}, { ...both, login: { user: 'bob', password: 'zq7x' } }, self)
  t.notMatch(secret.JAVA_TOOL_OPTIONS, /zq7x/, 'a virtual machine prints it')
  t.notMatch(secret.GIT_SSH_COMMAND, /zq7x/, 'everybody sees arguments')
})

t.test('a command that cannot be started: as a shell has it, and before the tunnel is up', async (t) => {
  const folder = t.testdir({ data: 'x', folder: {} })
  await chmod(join(folder, 'data'), 0o644)
  const cases: [string, number, RegExp][] = [
    ['no-such-command', 127, /^sstp-socks: no-such-command: there is no such command$/m],
    [join(folder, 'none'), 127, /none: there is no such command/],
    [join(folder, 'data'), 126, /data: it cannot be run/],
    [join(folder, 'folder'), 126, /folder: it cannot be run/],
  ]
  for (const [name, status, message] of cases) {
    const world = new World()
    world.env.PATH = `${folder}:/usr/bin:/bin`
    t.equal(await world.run('run', 'vpn', '--', name), status, name)
    t.match(world.err, message)
    t.same(world.log, [])
  }
  t.doesNotThrow(() => checkCommand('sh', undefined), 'where execvp looks without PATH')
  t.throws(() => checkCommand('data', folder), { message: 'data: it cannot be run' })
  t.throws(() => checkCommand('folder', folder), { message: /no such/ }, 'a directory is no command')
  t.doesNotThrow(() => checkCommand('no-such', '', 'win32'))

  // What only the system can find out.
  const bad = join(folder, 'bad')
  await writeFile(bad, '#!/no/such/interpreter\n', { mode: 0o755 })
  const world = new World()
  t.equal(await world.run('run', 'vpn', '--', bad), 127)
  t.match(world.err, /bad: there is no such command/)
  t.notMatch(world.err, /gone for good/)
  t.same(world.log.slice(-2), ['closing tunnel', 'closed tunnel'])
  t.equal(world.listening, 0)
})

/** Tells by its first byte on a pipe of ours that it is ready: here, a file that appears. */
const READY = `require('node:fs').writeFileSync(process.argv[1], '')`

async function appears(file: string): Promise<void> {
  const { existsSync } = await import('node:fs')
  while (!existsSync(file)) await new Promise((resolve) => setImmediate(resolve))
}

t.test('signals', async (t) => {
  const folder = t.testdir()
  let count = 0
  const during = async (code: string, act: (world: World, child: Child) => void, terminal = false) => {
    const file = join(folder, `ready${count++}`)
    const world = new World()
    world.terminal = terminal
    const started = new Promise<Child>((resolve) => {
      world.onChild = resolve
    })
    const over = world.run('run', 'vpn', ...script(`${code};${READY};setInterval(() => {}, 1000)`), file)
    await appears(file)
    // It may be ready before the turn in which we are told of it.
    act(world, await started)
    return { status: await over, world }
  }
  for (const [name, status] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGUSR2', 140],
  ] as const) {
    const { status: got, world } = await during('0', (world) => world.signal(name))
    t.equal(got, status, `${name} ends the command, and we tell by what`)
    t.same(world.log.slice(-2), ['closing tunnel', 'closed tunnel'])
    t.same(world.exits, [])
  }
  const handled = await during(`process.on('SIGTERM', () => process.exit(5))`, (world) =>
    world.signal('SIGTERM'),
  )
  t.equal(handled.status, 5, 'what the command makes of it counts')

  const twice = await during(
    `let n = 0; process.on('SIGINT', () => process.exit(10 + ++n))`,
    (world, child) => {
      // The terminal sends it to both of us.
      child.kill('SIGINT')
      world.signal('SIGINT')
    },
    true,
  )
  t.equal(twice.status, 11)
  const left = await during(
    `process.on('SIGINT', () => process.exit(9)); process.on('SIGTERM', () => process.exit(8))`,
    (world) => {
      world.signal('SIGINT')
      world.signal('SIGQUIT')
      world.signal('SIGTERM')
    },
    true,
  )
  t.equal(left.status, 8, 'with a terminal SIGINT is not passed on')
})

t.test('a signal before the command is started: there is no status of its', async (t) => {
  const world = new World()
  world.openTunnel = async (options) => {
    const tunnel = world.fakeTunnel(options)
    world.signal('SIGTERM')
    return tunnel
  }
  t.equal(await world.run('run', 'vpn', ...script('0')), 143)
  t.same(world.log, ['open', 'closing tunnel', 'closed tunnel'])
})

t.test('a signal while the tunnel is closed behind it', async (t) => {
  const world = new World()
  let finish = () => {}
  world.closing = new Promise((done) => {
    finish = done
  })
  world.onChild = (child) => {
    void child.ended.then(() =>
      setImmediate(() => {
        world.signal('SIGTERM')
        finish()
      }),
    )
  }
  t.equal(await world.run('run', 'vpn', ...script('process.exit(4)')), 4)
  t.same(world.exits, [4], 'ends us at once with the status of the command')
})

t.test('calls that do not come up', async (t) => {
  const world = new World()
  world.failure = new CallError('auth', 'refused', 'AUTH_REFUSED', 'no')
  t.equal(await world.run('run', 'vpn', '--json', ...script('0')), 5)
  t.equal(world.out, '')
  t.match(world.err, /^sstp-socks: no \[AUTH_REFUSED\]$/m)
  t.match(world.err, /^\{"event":"stopped","status":5,/m)
  const told = new World()
  t.equal(await told.run('run', 'vpn', '--json', ...script('process.exit(3)')), 3)
  t.equal(told.out, '')
  t.match(
    told.err
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line)),
    [
      { event: 'ready', socks: { address: '127.0.0.1', port: 40002 } },
      { event: 'stopped', status: 3 },
    ],
    'events are on standard error',
  )
  const taken = new World()
  taken.taken.set(0, 'EADDRINUSE')
  t.equal(await taken.run('run', 'vpn', ...script('0')), 2)
  t.match(taken.err, /in use .* with --socks and --http$/m)
})

t.test('a tunnel that is gone for good: said, and the command goes on', async (t) => {
  const world = new World()
  const file = join(t.testdir(), 'go')
  world.onChild = () => {
    world.lose(new CallError('ip', 'lost', 'TCP_RESET', 'the connection broke'))
    const wait = () => {
      if (/gone for good/.test(world.err)) void writeFile(file, '')
      else setImmediate(wait)
    }
    wait()
  }
  const code = `const fs = require('node:fs'); setInterval(() => fs.existsSync(process.argv[1]) && process.exit(6), 5)`
  t.equal(await world.run('run', 'vpn', '--no-reconnect', ...script(code), file), 6, 'its status')
  t.equal(world.err.match(/gone for good/g)?.length, 1)
  t.match(
    world.err,
    /^sstp-socks: warning: the tunnel is gone for good, and the command goes on without it: the connection broke \[TCP_RESET\]$/m,
  )
  const closed = world.log.indexOf('closed proxy 127.0.0.1:40002')
  t.ok(closed > world.log.indexOf(`start ${NODE}`), 'the proxies listen as long as it runs')
  const dialled = world.proxies[0]?.dialer.dial({ host: '10.0.0.1', port: 1 })
  await t.rejects(async () => dialled, { code: 'tunnel-down' })
})

t.test('a lost tunnel is brought up again under the command', async (t) => {
  const world = new World()
  const file = join(t.testdir(), 'go')
  world.onChild = () => {
    world.lose(new CallError('ip', 'lost', 'TCP_RESET', 'the connection broke'))
    const wait = () => {
      if (world.calls.length === 2) void writeFile(file, '')
      else setImmediate(wait)
    }
    wait()
  }
  const code = `const fs = require('node:fs'); setInterval(() => fs.existsSync(process.argv[1]) && process.exit(0), 5)`
  t.equal(await world.run('run', 'vpn', ...script(code), file), 0)
  t.match(world.err, /the connection broke \[TCP_RESET\]: next attempt now/)
  t.notMatch(world.err, /gone for good/)
  t.equal(world.proxies.length, 1)
})
