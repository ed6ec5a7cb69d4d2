import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { fetchThrough } from '../../src/cli/demo-client.js'
import { demoFile, openDemoNetwork } from '../../src/cli/demo-network.js'
import type { Listener } from '../../src/cli/deps.js'
import { CallError } from '../../src/transport/errors.js'
import { openMiniProxy } from '../helpers/mini-proxy.js'
import { closedPort } from '../helpers/servers.js'
import { World } from '../helpers/world.js'

/** A world whose proxies work. `detour`: they end somewhere else. */
function demoWorld(open: (socks: boolean, http: boolean) => Promise<Listener> = openMiniProxy): World {
  const world = new World()
  world.env = {}
  Object.assign(world, {
    listenProxy: async ({ protocols }: Parameters<World['listenProxy']>[0]) => {
      const { address, port, close } = await open(protocols.socks, protocols.http)
      world.log.push('proxy')
      return { address, port, close: () => close().then(() => void world.log.push('closed proxy')) }
    },
  })
  return world
}

t.test('--once tries page and file in three ways', async (t) => {
  const world = demoWorld()
  t.equal(await world.run('demo', '--once', '--json'), 0)
  const [ready, ...rest] = world.events
  const sha256 = createHash('sha256')
    .update(demoFile(8 * 1048576))
    .digest('hex')
  t.match(ready, { event: 'ready', file: { size: 8 * 1048576, sha256 } })
  t.same(
    rest.map(({ event, way, what, ok }) => [event, way, what, ok]),
    [
      ...['socks5', 'http', 'connect'].flatMap((way) =>
        ['page', 'file'].map((what) => ['try', way, what, true]),
      ),
      ['stopped', undefined, undefined, undefined],
    ],
  )
  for (const { what, sha256: got } of rest) if (what === 'file') t.equal(got, sha256)
  t.match(world.gateways, [{ address: '127.0.0.1', port: 0, pool: '192.168.30.0/24', allowLoopback: true }])
  const [call] = world.calls
  t.match(call, { host: '127.0.0.1', user: 'demo', trust: { pin: /^[0-9a-f]{64}$/ } })
  t.equal(world.gateways[0]?.accounts.password('demo'), call?.password)
  t.equal(world.gateways[0]?.accounts.password('alice'), undefined)
  t.notOk(world.out.includes(call?.password ?? '') || world.err.includes(call?.password ?? ''))
  t.same(world.log.slice(-5), [
    'closed proxy',
    'closed proxy',
    'closing tunnel',
    'closed tunnel',
    'closed gateway 127.0.0.1:40001',
  ])
})

t.test('without --once: lines to try, until a signal', async (t) => {
  const world = demoWorld()
  world.onReady = () => world.signal('SIGINT')
  t.equal(await world.run('demo'), 0)
  t.match(world.out, /curl --socks5-hostname 127\.0\.0\.1:\d+ http:\/\/192\.168\.30\.1:\d+\/\n/)
  t.match(world.out, /curl -x http:\/\/127\.0\.0\.1:\d+ http:\/\/192\.168\.30\.1:\d+\/file \| sha256sum\n/)
  t.match(world.out, /chromium --proxy-server=socks5/)
  t.equal(world.log.filter((line) => line === 'closed proxy').length, 2)
})

t.test('any mismatch is status 1', async (t) => {
  // A network that is not the one it should be: everything is a page of its own.
  const other = createServer((_request, response) => response.end('something else'))
  other.on('connect', (_request, socket) => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'))
  other.listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { address, port } = other.address() as AddressInfo
  const world = demoWorld(async (socks, http) =>
    socks ? openMiniProxy(socks, http) : { address, port, close: async () => {} },
  )
  t.equal(await world.run('demo', '--once', '--json'), 1)
  const tried = world.events.filter(({ event }) => event === 'try')
  t.match(tried, [
    { way: 'socks5', what: 'page', ok: true },
    { way: 'socks5', what: 'file', ok: true },
    { way: 'http', what: 'page', ok: false, problem: 'another page came' },
    { way: 'http', what: 'file', ok: false, problem: /^SHA-256 [0-9a-f]{64} instead of/ },
    { way: 'connect', what: 'page', ok: false, problem: 'the proxy answered 502' },
    { way: 'connect', what: 'file', ok: false, problem: 'the proxy answered 502' },
  ])
  t.match(world.events.at(-1), { event: 'stopped', status: 1 })
})

t.test('what ends it before or in between', async (t) => {
  const failed = demoWorld()
  failed.failure = new CallError('sstp', 'protocol', 'X', 'x')
  t.equal(await failed.run('demo', '--once'), 6)
  t.equal(failed.log.at(-1), 'closed gateway 127.0.0.1:40001')

  const lost = demoWorld()
  lost.onReady = () => lost.lose(undefined)
  t.equal(await lost.run('demo'), 7)
  t.match(lost.err, /the tunnel has ended/)

  const stopped = demoWorld(async () => ({ address: '127.0.0.1', port: 9, close: async () => {} }))
  stopped.onReady = () => stopped.signal('SIGTERM')
  t.equal(await stopped.run('demo'), 0)
})

t.test('the inner network', async (t) => {
  const network = await openDemoNetwork('127.0.0.1')
  const page = await fetch(network.page)
  t.match(await page.text(), network.greeting)
  t.equal((await fetch(network.file, { method: 'POST', body: 'x' })).status, 405)
  t.equal((await fetch(new URL('/none', network.page))).status, 404)
  await network.close()
  await t.rejects(fetch(network.page))
})

t.test('the client: refusals are errors', async (t) => {
  const socks = await openMiniProxy(true, false)
  const http = await openMiniProxy(false, true)
  t.teardown(() => Promise.all([socks.close(), http.close()]))
  const nowhere = `http://127.0.0.1:${await closedPort()}/`
  await t.rejects(fetchThrough('socks5', socks, nowhere), { message: 'the proxy answered with code 5' })
  await t.rejects(fetchThrough('connect', http, nowhere), { message: 'the proxy answered 502' })
  await t.rejects(fetchThrough('http', http, nowhere), { code: 'ECONNRESET' })
  await t.rejects(fetchThrough('socks5', http, nowhere), /hung up|wants authentication/)
})
