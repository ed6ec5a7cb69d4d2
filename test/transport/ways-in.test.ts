/** Whole calls: client, each kind of proxy, gateway. And what is said when something in between opens TLS. */
import { X509Certificate } from 'node:crypto'
import type { TLSSocket, TlsOptions } from 'node:tls'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { type Gateway, listenGateway } from '../../src/gateway/gateway.js'
import { CallError } from '../../src/transport/errors.js'
import type { TunnelEvent } from '../../src/tunnel/events.js'
import type { TunnelOptions, Upstream } from '../../src/tunnel/options.js'
import { openTunnel } from '../../src/tunnel/session.js'
import { chain, type Issued, issue } from '../helpers/certificates.js'
import { until } from '../helpers/proxy.js'
import { challenge, httpProxy, socksProxy } from '../helpers/scripted-proxy.js'
import { type TestServer, tlsServer } from '../helpers/servers.js'

const root = issue({ name: 'Root', ca: true })
const leaf = issue({ name: 'server', issuer: root })
const PASSWORD = 'correct horse'

function gateway(): Promise<Gateway> {
  return listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert: leaf.cert,
    key: leaf.key,
    accounts: { password: (user) => (user === 'alice' ? PASSWORD : undefined) },
  })
}

function options(port: number, more: Partial<TunnelOptions> = {}): TunnelOptions {
  return {
    host: 'localhost',
    port,
    user: 'alice',
    password: PASSWORD,
    trust: { ca: root.cert },
    ...more,
  }
}

async function refused(t: Test, o: TunnelOptions): Promise<CallError> {
  try {
    const tunnel = await openTunnel(o)
    await tunnel.close()
  } catch (error) {
    t.type(error, CallError)
    if (error instanceof CallError) return error
  }
  throw new Error('the call came up')
}

t.test('a call through each kind of proxy: it pings, and ends properly', async (t) => {
  const server = await gateway()
  const { port } = server
  const own = issue({ name: 'proxy', issuer: root })
  const open = (): { tunnel: number } => ({ tunnel: port })
  const plain = await httpProxy(open)
  const secure = await httpProxy(open, { cert: own.cert, key: own.key })
  const socks = await socksProxy(() => ({ port }))
  const strict = await socksProxy(() => ({ port, user: 'bob', password: 'pw' }))
  const basic = await httpProxy(({ fields }) =>
    fields.get('proxy-authorization') === 'Basic Ym9iOnB3' ? open() : challenge(['Basic realm="r"']),
  )
  const sign = { user: 'bob', password: 'pw' }
  const at = (scheme: Upstream['scheme'], proxy: TestServer, more: object = {}): Upstream => {
    return { scheme, host: '127.0.0.1', port: proxy.port, ...more }
  }
  const ways: Upstream[] = [
    at('http', plain),
    at('https', secure),
    at('http', basic, sign),
    at('socks5', socks),
    at('socks5h', socks),
    at('socks5h', strict, sign),
  ]
  for (const upstream of ways) {
    const events: TunnelEvent[] = []
    const tunnel = await openTunnel(options(port, { upstream, onEvent: (e) => events.push(e) }))
    t.equal((await tunnel.ping('192.168.30.1', { size: 1000 })).size, 1000, upstream.scheme)
    t.match(
      events.filter((e) => e.type === 'step').map((e) => e.type === 'step' && e.step),
      ['dns', 'tcp', 'tls', 'http', 'sstp', 'auth', 'ip'],
    )
    t.notMatch(JSON.stringify(events), /"pw"/, 'no secret in events')
    const before = server.calls
    await tunnel.close()
    t.equal(await tunnel.closed, undefined)
    t.equal(before, 1)
    await until(() => server.calls === 0, 'the server kept the call')
  }
  for (const s of [plain, secure, socks, strict, basic]) await s.close()
  await server.close()
})

t.test('a proxy that refuses: the call says so in its step', async (t) => {
  const proxy = await httpProxy(() => 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
  const upstream: Upstream = { scheme: 'http', host: '127.0.0.1', port: proxy.port }
  const error = await refused(t, options(443, { upstream }))
  t.match(error, { step: 'tcp', kind: 'unreachable', code: 'PROXY_FORBIDDEN' })
  await proxy.close()
})

/** Opens TLS, shows a certificate of its own, and goes on to the real server. */
function interceptor(port: number, shown: Issued, above: readonly Issued[]): Promise<TestServer> {
  return tlsServer({ cert: chain(shown, ...above), key: shown.key }, (socket) => {
    const onward: TLSSocket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
    onward.on('error', () => socket.destroy())
    onward.on('close', () => socket.destroy())
    socket.on('close', () => onward.destroy())
    socket.pipe(onward).pipe(socket)
  })
}

t.test(
  'something in between that opens TLS: the crypto binding finds it out, and the line says what it is',
  async (t) => {
    const server = await gateway()
    const company = issue({ name: 'Example Corp Proxy CA', ca: true })
    const box = issue({ name: 'FortiGate CA', ca: true })
    const cases: readonly (readonly [Issued, RegExp])[] = [
      [company, /TLS inspection or an antivirus in between may re-sign TLS.*[0-9a-f]{64}$/],
      [box, /^FortiGate in between opens and re-signs TLS: have this server exempted/],
    ]
    for (const [authority, hint] of cases) {
      const shown = issue({ name: 'server', issuer: authority })
      const between = await interceptor(server.port, shown, [authority])
      const error = await refused(t, options(between.port, { trust: { ca: authority.cert } }))
      t.match(error, { step: 'auth', kind: 'untrusted', code: 'BINDING_REFUSED' })
      t.match(
        error.message,
        `refused the crypto binding: it does not know the certificate that is shown here (issued by "${authority.name}")`,
      )
      t.match(error.hint, hint)
      await between.close()
    }
    await server.close()
  },
)

/** A web server that tells what it was asked. */
async function asked(tls: TlsOptions, work: (port: number) => Promise<CallError>): Promise<string> {
  let text = ''
  const web = await tlsServer(tls, (socket) => {
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (text.endsWith('\r\n\r\n')) socket.end('HTTP/1.1 404 Not Found\r\n\r\n')
    })
  })
  await work(web.port)
  await web.close()
  return text
}

t.test('Host: the server’s, its other name, or what is said', async (t) => {
  const tls = { cert: leaf.cert, key: leaf.key }
  const pin = new X509Certificate(leaf.cert).fingerprint256.replaceAll(':', '')
  const cases: readonly (readonly [Partial<TunnelOptions>, RegExp])[] = [
    [{}, /\r\nHost: localhost:\d+\r\n/],
    [{ trust: { pin, servername: 'other.example' } }, /\r\nHost: other\.example:\d+\r\n/],
    [{ outer: { hostHeader: 'front.example' } }, /\r\nHost: front\.example\r\n/],
    [{ outer: { sni: null, hostHeader: 'front.example:9' } }, /\r\nHost: front\.example:9\r\n/],
  ]
  for (const [more, host] of cases) {
    t.match(await asked(tls, (port) => refused(t, options(port, more))), host)
  }
})

t.test('a server that wants a client certificate says so behind the handshake of TLS 1.3', async (t) => {
  const tls: TlsOptions = {
    cert: leaf.cert,
    key: leaf.key,
    ca: root.cert,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  }
  const server = await tlsServer(tls, () => {})
  t.match(await refused(t, options(server.port)), {
    step: 'tls',
    kind: 'protocol',
    code: 'TLS_CLIENT_CERTIFICATE',
    hint: /--tls-cert FILE/,
  })
  await server.close()
})
