import { chmod, mkdtemp, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { stateDirectory } from '../../src/cli/serve.js'
import { makeCertificate } from '../../src/gateway/certificate.js'
import { World } from '../helpers/world.js'

const root = t.testdir()

async function directoryOf(files: Record<string, string>): Promise<string> {
  const directory = await mkdtemp(join(root, 'serve-'))
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(directory, name), text, { mode: 0o600 })
  }
  return directory
}

async function setUp(): Promise<{ world: World; directory: string; accounts: string }> {
  const directory = await directoryOf({ accounts: 'alice:s3cret-Zq7\n' })
  const world = new World()
  world.env = { HOME: directory }
  world.onReady = () => world.signal('SIGTERM')
  return { world, directory, accounts: join(directory, 'accounts') }
}

t.test('a certificate is made on first start and kept', async (t) => {
  const { world, directory, accounts } = await setUp()
  t.equal(await world.run('serve', '--accounts', accounts, '--json'), 0)
  const state = join(directory, '.local', 'state', 'sstp-socks')
  t.same(await readdir(state), ['server.pem'])
  t.equal((await stat(join(state, 'server.pem'))).mode & 0o777, 0o600)
  const [ready, stopped] = world.events
  t.match(ready, { event: 'ready', listen: { address: '0.0.0.0', port: 8443 }, sha256: /^[0-9a-f]{64}$/ })
  t.same(stopped, { event: 'stopped', status: 0, signal: 'SIGTERM' })
  t.same(world.log, ['gateway 0.0.0.0:8443', 'closed gateway 0.0.0.0:8443'])
  t.match(world.err, /INFO: made a self-signed certificate/)
  t.match(world.err, /INFO: listening/)

  const again = new World()
  again.env = { XDG_STATE_HOME: join(directory, '.local', 'state') }
  again.onReady = () => again.signal('SIGTERM')
  t.equal(await again.run('serve', '--accounts', accounts), 0)
  t.match(again.out, `Certificate SHA-256: ${String(ready?.sha256)}`)
  t.match(again.out, `--pin ${String(ready?.sha256)}`)
  t.match(await readFile(join(state, 'server.pem'), 'utf8'), again.gateways[0]?.cert.trim() ?? 'none')
  t.notMatch(world.out + world.err + again.out + again.err, /Zq7|PRIVATE KEY/)
})

t.test('where the certificate is kept', async (t) => {
  const nobody = (): never => {
    throw new Error('uv_os_get_passwd returned ENOENT')
  }
  const alice = () => ({ homedir: '/home/alice' })
  t.equal(stateDirectory({ HOME: '/h', XDG_STATE_HOME: '/x' }, nobody), '/x/sstp-socks')
  t.equal(stateDirectory({ HOME: '/h', XDG_STATE_HOME: 'x' }, nobody), '/h/.local/state/sstp-socks')
  t.equal(stateDirectory({}, alice), '/home/alice/.local/state/sstp-socks')
  t.equal(stateDirectory({ HOME: '' }, alice), '/home/alice/.local/state/sstp-socks')
  // In a container a user id may have no entry, and no HOME.
  for (const whoami of [nobody, () => ({ homedir: '' })]) {
    t.throws(() => stateDirectory({}, whoami), { name: 'UsageError', message: /no home .*--state DIRECTORY/ })
  }
})

t.test('all options arrive at the gateway', async (t) => {
  const { world, directory, accounts } = await setUp()
  const { cert, key, sha256 } = await makeCertificate()
  const files = await directoryOf({ 'a.crt': cert, 'a.key': key })
  const own = ['--cert', join(files, 'a.crt'), '--key', join(files, 'a.key'), '--listen', '[::1]:0']
  const network = ['--pool', '10.7.0.0/24', '--dns', '10.7.7.7', '--dns', '10.7.7.8', '--mtu', '1300']
  const more = [
    '--auth',
    'mschapv2',
    '--max-calls',
    '9',
    ...['--max-strangers', '40', '--max-per-address', '4', '--max-failures', '3', '--setup-timeout', '30'],
    '--allow-loopback',
    '--json',
    '--log-level',
    'error',
  ]
  t.equal(await world.run('serve', '--accounts', accounts, ...own, ...network, ...more), 0)
  const [{ onEvent: _onEvent, accounts: given, ...options } = {}] = world.gateways
  t.same(options, {
    address: '::1',
    port: 0,
    cert: cert.trim(),
    key,
    pool: '10.7.0.0/24',
    dns: ['10.7.7.7', '10.7.7.8'],
    mtu: 1300,
    auth: ['mschapv2'],
    maxCalls: 9,
    maxStrangers: 40,
    maxPerAddress: 4,
    maxFailures: 3,
    setupTimeout: 30_000,
    allowLoopback: true,
    trace: false,
  })
  t.equal(given?.password('alice'), 's3cret-Zq7')
  t.equal(given?.password('bob'), undefined)
  t.match(world.events[0], { event: 'ready', listen: { address: '::1', port: 40001 }, sha256 })
  t.notOk((await readdir(directory)).includes('.local'), 'no certificate was made')
  t.equal(world.err, '')

  const plain = await setUp()
  await plain.world.run('serve', '--accounts', plain.accounts, '--state', join(plain.directory, 'here'))
  const [{ onEvent, accounts: _accounts, cert: _cert, key: _key, ...defaults } = {}] = plain.world.gateways
  t.same(defaults, { address: '0.0.0.0', port: 8443, allowLoopback: false, trace: false })
  t.same(await readdir(join(plain.directory, 'here')), ['server.pem'])
})

t.test('events follow the ready line', async (t) => {
  const { world, accounts } = await setUp()
  const up = { call: 1, from: '192.0.2.1:5', user: 'alice', auth: 'pap', address: '10.0.0.2' }
  world.onReady = () => {
    const tell = world.gateways[0]?.onEvent
    tell?.({ type: 'accepted', call: 1, from: '192.0.2.1:5' })
    tell?.({ type: 'trace', call: 1, message: 'not for scripts' })
    tell?.({ type: 'up', ...up })
    tell?.({ type: 'warning', call: 1, code: 'ODD', message: 'odd' })
    tell?.({ type: 'closed', call: 1, from: '192.0.2.1:5', user: 'alice', reason: 'aborted' })
    world.signal('SIGINT')
  }
  t.equal(await world.run('serve', '--accounts', accounts, '--json'), 0)
  t.same(world.events.slice(1), [
    { event: 'accepted', call: 1, from: '192.0.2.1:5' },
    { event: 'up', ...up },
    { event: 'warning', call: 1, code: 'ODD', message: 'odd' },
    { event: 'closed', call: 1, from: '192.0.2.1:5', user: 'alice', reason: 'aborted' },
    { event: 'stopped', status: 0, signal: 'SIGINT' },
  ])
  t.match(world.err, /INFO: call up .*"user":"alice"/)
  t.match(world.err, /WARN: odd/)
  t.match(world.err, /INFO: call ended: aborted/)
})

t.test('configuration that cannot work: status 2 and one line', async (t) => {
  const { directory, accounts } = await setUp()
  const open = await directoryOf({
    accounts: 'alice:s3cret-Zq7\n',
    broken: 'alice s3cret-Zq7\n',
    'a.key': 'x',
    'a.crt': 'x',
  })
  await chmod(join(open, 'accounts'), 0o644)
  await symlink(join(open, 'none', 'none'), join(open, 'dangling'))
  const cases: [string[], RegExp, string?][] = [
    [['--accounts', join(open, 'accounts')], /open to others than its owner \(mode 0644\): run chmod 600/],
    [['--accounts', join(open, 'broken')], /broken:1: no colon/],
    [['--accounts', join(open, 'none')], /ENOENT/],
    [
      ['--accounts', accounts, '--cert', join(open, 'a.crt'), '--key', join(open, 'a.key')],
      /no PEM certificate/,
    ],
    [['--accounts', accounts, '--state', join(open, 'a.key')], /cannot read the certificate/],
    [['--accounts', accounts, '--state', join(open, 'dangling')], /cannot keep .*: give --state DIRECTORY/],
    [['--accounts', accounts, '--pool', '10.0.0.0/32'], /--pool: .*no room/],
    [['--accounts', accounts], /port 8443 on 0\.0\.0\.0 is in use .*--listen$/m, 'EADDRINUSE'],
    [['--accounts', accounts], /without privileges.*--listen$/m, 'EACCES'],
  ]
  for (const [argv, message, code] of cases) {
    const world = new World()
    world.env = { HOME: directory }
    if (code !== undefined) world.taken.set(8443, code)
    t.equal(await world.run('serve', ...argv, '--log-level', 'silent'), 2, String(message))
    t.match(world.err, message)
    t.match(world.err, /^sstp-socks: [^\n]+\n$/)
    t.notMatch(world.err, /Zq7/)
    t.equal(world.out, '')
    t.equal(world.listening, 0)
  }
})

t.test('warnings', async (t) => {
  const { world, accounts } = await setUp()
  await world.run('serve', '--accounts', accounts, '--allow-loopback')
  t.match(world.err, /warning: with --allow-loopback every client reaches/)
  const old = await makeCertificate(new Date('2001-01-01'))
  const files = await directoryOf({ 'a.crt': old.cert, 'a.key': old.key, accounts: 'a:b\n' })
  const expired = new World()
  expired.onReady = () => expired.signal('SIGINT')
  const own = ['--cert', join(files, 'a.crt'), '--key', join(files, 'a.key')]
  t.equal(await expired.run('serve', '--accounts', join(files, 'accounts'), ...own), 0)
  t.match(expired.err, /warning: the certificate in .* has expired/)
})
