/**
 * IPv6 and DHCP inside the tunnel, against a router and servers that are not ours: pppd and radvd advertise a prefix
 * and a name server to each session, dnsmasq answers DHCPINFORM.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { type Facts, Lab } from './lab.js'
import { exits, must } from './process.js'
import { Product, type Running } from './product.js'

const product = new Product()
t.teardown(() => product.close())
const lab = await Lab.open()
t.teardown(() => lab.down())

const PASSWORD = product.file('password', 'password1\n')
/** Of the inner host. */
const HOST6 = 'fd78:1::10'
/** A session's own /64. */
const ADDRESS6 = /^fd79::[0-9a-f]+:/

interface Ready {
  readonly tunnel: {
    readonly ipv4: string | null
    readonly ipv6: string | null
    readonly dns: readonly string[]
    readonly mtu: number
  }
}

function arguments_(facts: Facts): string[] {
  const { host, port } = facts.server
  const ca = product.file('ca.pem', readFileSync(facts.tls.ca), 0o644)
  return [`${host}:${port}`, '--user', 'alice', '--password-file', PASSWORD, '--ca', ca, '--auth', 'mschapv2']
}

function connect(facts: Facts, ...more: string[]): Promise<Running> {
  const proxies = ['--socks', '127.0.0.1:0', '--http', '127.0.0.1:0', '--log-level', 'info']
  return product.start('connect', ...arguments_(facts), ...proxies, ...more)
}

const tunnelOf = (running: Running): Ready['tunnel'] => (JSON.parse(running.lines[0] ?? '{}') as Ready).tunnel

/** Fetches through a proxy; what comes only a moment after the tunnel is tried again. */
async function fetch(running: Running, kind: 'socks' | 'http', url: string): Promise<string> {
  const at = running.ready[kind]
  if (at === undefined) throw new Error('no proxy')
  const where = `${at.address}:${at.port}`
  const through = kind === 'socks' ? ['--socks5-hostname', where] : ['--proxy', `http://${where}`]
  const retry = ['--retry', '10', '--retry-delay', '1', '--retry-all-errors', '--max-time', '60']
  const { stdout } = await must('curl', ['-gsSf', ...retry, ...through, url])
  return stdout
}

async function eventually(t: Test, what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 20_000
  while (!holds() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 100))
  t.ok(holds(), what)
}

t.test('both families', async (t) => {
  const facts = await lab.up('mschapv2')
  const running = await connect(facts)
  t.match(tunnelOf(running).ipv4, /^192\.168\.79\./)
  for (const kind of ['socks', 'http'] as const) {
    for (const host of [
      'v6only.lin.test',
      'v4only.lin.test',
      'web.lin.test',
      `[${HOST6}]`,
      facts.inner.host4,
    ])
      t.equal(await fetch(running, kind, `http://${host}/`), 'lab web server\n', `${host} through ${kind}`)
  }
  await eventually(t, 'the address of the advertised prefix is told', () =>
    /fd79::[0-9a-f]+:/.test(running.stderr()),
  )
  t.match(running.stderr(), /fd78:1::10/, 'so is the name server')
  const neighbours = await lab.exec('server', 'ip', '-6', 'route', 'show', 'proto', 'kernel')
  t.match(neighbours, /fd79:/, 'radvd has had something to say')
  // Whether a host is still there is asked by neighbour solicitation: the kernel's ping makes it do so.
  const own = /fd79::[0-9a-f:]+/.exec(running.stderr())?.[0] ?? ''
  t.match(await lab.exec('server', 'ping', '-6', '-c', '2', '-W', '5', own), / 0% packet loss/)
  t.equal((await running.stop('SIGTERM')).code, 0)
  t.notOk(/rcvd \[LCP ProtRej/.test(readFileSync(facts.logs.pppd, 'utf8')))
})

t.test('without IPv6, because we do not want it', async (t) => {
  const facts = await lab.up('mschapv2')
  const running = await connect(facts, '--no-ipv6')
  t.equal(tunnelOf(running).ipv6, null)
  t.equal(await fetch(running, 'socks', 'http://web.lin.test/'), 'lab web server\n')
  t.notMatch(running.stderr(), /fd79:/)
  t.equal((await running.stop('SIGTERM')).code, 0)
})

t.test('IPv6 only', async (t) => {
  const facts = await lab.up('mschapv2', 'opts=noip')
  const running = await connect(facts)
  const tunnel = tunnelOf(running)
  t.equal(tunnel.ipv4, null)
  t.match(tunnel.ipv6, ADDRESS6)
  t.strictSame(tunnel.dns, [HOST6])
  for (const kind of ['socks', 'http'] as const)
    t.equal(await fetch(running, kind, 'http://v6only.lin.test/'), 'lab web server\n', kind)
  const file = facts.inner.files['1MiB']
  const body = await fetch(running, 'socks', `http://web.lin.test${file?.path}`)
  t.ok(body.length > 0, 'a name of both families goes by the one there is')
  t.equal((await running.stop('SIGTERM')).code, 0)
  const [server = '', ...rest] = arguments_(facts)
  exits(t, await product.run('ping', server, HOST6, ...rest), 0, 'ping')
  exits(t, await product.run('check', server, ...rest, '--no-ipv6'), 6, 'and none at all is a failure')
})

t.test('DHCPINFORM is answered by dnsmasq', async (t) => {
  const facts = await lab.up('mschapv2')
  await lab.exec(
    'server',
    'dnsmasq',
    '--port=0',
    '--no-resolv',
    '--no-hosts',
    '--user=root',
    '--pid-file=/run/inform.pid',
    '--dhcp-leasefile=/run/inform.leases',
    '--bind-dynamic',
    '--interface=ppp*',
    '--dhcp-range=192.168.79.0,static,255.255.255.0',
    '--dhcp-option=option:domain-name,corp.lin.test',
    '--dhcp-option=option:domain-search,eng.lin.test,lab.lin.test',
    '--dhcp-option=option:classless-static-route,192.168.78.0/24,192.168.79.1',
  )
  const running = await connect(facts)
  t.match(tunnelOf(running).ipv4, /^192\.168\.79\./, 'nobody waited')
  for (const what of ['corp.lin.test', 'eng.lin.test', 'lab.lin.test', '192.168.78.0/24'])
    await eventually(t, what, () => running.stderr().includes(what))
  t.equal((await running.stop('SIGTERM')).code, 0)
})
