import { lstat, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { addressFilter, parseRange } from '../../src/proxy/access.js'
import type { ProxyEvent } from '../../src/proxy/events.js'
import { refusingDialer } from '../../src/proxy/refusing-dialer.js'
import { listenProxy, type ProxyOptions } from '../../src/proxy/server.js'
import { until } from '../helpers/proxy.js'

const dialer = refusingDialer('refused', 'nobody is there')

function listen(options: Partial<ProxyOptions>) {
  return listenProxy({
    address: '127.0.0.1',
    port: 0,
    protocols: { socks: true, http: true },
    dialer,
    ...options,
  })
}

/** What a SOCKS5 greeting is answered with, in hex; empty: the connection is closed. */
function greet(to: { path: string } | { host: string; port: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(to, () => socket.write(Uint8Array.of(5, 1, 0)))
    socket.once('data', (data) => {
      resolve(data.toString('hex'))
      socket.destroy()
    })
    socket.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve('') : reject(error),
    )
    socket.once('close', () => resolve(''))
  })
}

const gone = (path: string) =>
  lstat(path).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  )

/** `t.testdir()` has longer paths than a unix socket can have. */
async function shortFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sstp-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

t.test('a unix socket: for its owner only, and removed at the end', async (t) => {
  const path = join(await shortFolder(t), 'proxy')
  const mask = process.umask()
  const events: ProxyEvent[] = []
  const proxy = await listen({ path, allow: () => false, onEvent: (event) => void events.push(event) })
  t.match(proxy, { address: '', port: 0, path })
  const found = await lstat(path)
  t.ok(found.isSocket())
  t.equal(found.mode & 0o777, 0o600)
  t.equal(process.umask(), mask, 'the umask is what it was')
  t.equal(await greet({ path }), '0500', 'whatever --allow says: such a client has no address')
  t.match(events, [{ type: 'accepted' }])
  t.equal(proxy.usage().connections <= 1, true)
  await proxy.close()
  await proxy.close()
  t.ok(await gone(path))
  await until(() => proxy.usage().connections === 0)
})

t.test('clients are broken off with their unix socket', async (t) => {
  const path = join(await shortFolder(t), 'proxy')
  const proxy = await listen({ path })
  const socket = connect({ path })
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.write(Uint8Array.of(5, 1, 0))
  await new Promise((resolve) => socket.once('data', resolve))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.on('error', () => {})
  await proxy.close()
  await closed
  await until(() => proxy.usage().connections === 0)
  t.equal(proxy.usage().timers, 0)
})

t.test('what a dead process has left is removed, a live one is left alone', async (t) => {
  const folder = await shortFolder(t)
  await writeFile(join(folder, 'file'), 'text')
  const path = join(folder, 'proxy')
  await leaveBehind(path)
  t.ok((await lstat(path)).isSocket())
  const proxy = await listen({ path })
  t.equal(await greet({ path }), '0500')
  await t.rejects(listen({ path }), { code: 'EADDRINUSE' })
  t.equal(await greet({ path }), '0500', 'and it goes on')
  await proxy.close()

  await t.rejects(listen({ path: join(folder, 'file') }), { code: 'ENOTSOCK' }, 'a file of somebody')
  t.ok((await lstat(join(folder, 'file'))).isFile())
  await mkdir(join(folder, 'folder'))
  await t.rejects(listen({ path: join(folder, 'folder') }), { code: 'ENOTSOCK' })
  await symlink(path, join(folder, 'link'))
  await t.rejects(listen({ path: join(folder, 'link') }), { code: 'ENOTSOCK' })
  await t.rejects(listen({ path: join(folder, 'none', 'proxy') }), { code: 'ENOENT' })
  await t.rejects(listen({ path: join(folder, 'file', 'proxy') }), { code: 'ENOTDIR' })
  await t.rejects(listen({ path: `/${'x'.repeat(107)}` }), { code: 'ENAMETOOLONG' })
})

/** A socket that nobody listens on, as one that was killed leaves it. */
async function leaveBehind(path: string): Promise<void> {
  const { spawn } = await import('node:child_process')
  const code = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  const child = spawn(process.execPath, ['-e', code, path], { stdio: 'ignore' })
  await new Promise((resolve) => child.once('exit', resolve))
}

t.test('access by the address of the client', async (t) => {
  const events: ProxyEvent[] = []
  const allowed = new Set(['127.0.0.1'])
  const proxy = await listen({
    allow: (address) => allowed.has(address),
    onEvent: (event) => void events.push(event),
  })
  t.equal(await greet({ host: '127.0.0.1', port: proxy.port }), '0500')
  allowed.clear()
  t.equal(await greet({ host: '127.0.0.1', port: proxy.port }), '', 'hung up on, without a word')
  const [rejected] = events.filter(({ type }) => type === 'rejected')
  t.match(rejected, {
    reason: 'forbidden',
    from: '127.0.0.1',
    message: 'clients at 127.0.0.1 may not use this proxy (--allow)',
  })
  t.equal(events.filter(({ type }) => type === 'accepted').length, 1)
  await proxy.close()
})

t.test('ranges of addresses', async (t) => {
  const cases: [string, string[], string[]][] = [
    ['10.1.0.0/16', ['10.1.0.0', '10.1.255.255', '::ffff:10.1.2.3'], ['10.2.0.0', '::1', '::ffff:10.2.0.0']],
    ['10.1.2.3', ['10.1.2.3'], ['10.1.2.4', '10.1.2.2']],
    ['0.0.0.0/0', ['1.2.3.4', '255.255.255.255'], ['2001:db8::1']],
    ['fe80::/10', ['fe80::1', 'fe80::1%eth0', 'febf::1'], ['fec0::1', '10.0.0.1']],
    ['2001:db8::1', ['2001:db8::1', '2001:DB8:0:0::1'], ['2001:db8::2']],
    ['::1/128', ['::1'], ['127.0.0.1', '::']],
  ]
  for (const [text, inside, outside] of cases) {
    const range = parseRange(text)
    const allows = addressFilter(range === undefined ? [] : [range])
    for (const address of inside) t.equal(allows(address), true, `${address} in ${text}`)
    for (const address of outside) t.equal(allows(address), false, `${address} not in ${text}`)
  }
  const none = addressFilter([])
  t.equal(none('127.0.0.1'), false)
  const several = addressFilter([
    { address: '10.0.0.0', prefix: 8 },
    { address: '::1', prefix: 128 },
  ])
  t.equal(several('10.9.9.9') && several('::1'), true)
  t.equal(several('nonsense'), false)
  for (const bad of [
    '',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0/8',
    'x',
    '::/129',
    '::1%lo',
    '1.2.3.4/-1',
  ]) {
    t.equal(parseRange(bad), undefined, bad)
  }
})

t.test('a port that is taken', async (t) => {
  const other: Server = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const at = other.address()
  const port = typeof at === 'object' && at !== null ? at.port : 0
  await t.rejects(listen({ port }), { code: 'EADDRINUSE' })
  await new Promise((resolve) => other.close(resolve))
  const proxy = await listen({ port })
  t.equal(proxy.port, port)
  t.equal(proxy.path, undefined)
  await proxy.close()
})
