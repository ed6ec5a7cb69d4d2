import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { makeCertificate } from '../../src/gateway/certificate.js'
import { type Gateway, listenGateway } from '../../src/gateway/gateway.js'
import type { GatewayOptions } from '../../src/gateway/options.js'
import type { Flow } from '../../src/link/flow.js'
import { SstpError } from '../../src/sstp/errors.js'
import { Framer } from '../../src/sstp/framer.js'
import { controlPacket, parseControl } from '../../src/sstp/packet.js'
import { CallError } from '../../src/transport/errors.js'
import { acceptHead } from '../../src/transport/http-handshake.js'
import { DialError } from '../../src/tunnel/dialer.js'
import type { TunnelEvent } from '../../src/tunnel/events.js'
import type { TunnelOptions } from '../../src/tunnel/options.js'
import { openTunnel, type Tunnel } from '../../src/tunnel/session.js'
import { heldTimer } from '../helpers/held-timer.js'
import { until } from '../helpers/proxy.js'
import { closedPort, tcpServer, tlsServer } from '../helpers/servers.js'

const certificate = await makeCertificate()
const PASSWORD = 'correct horse'
const ACK = controlPacket('CALL_CONNECT_ACK', [
  { kind: 'CRYPTO_BINDING_REQ', hashes: 2, nonce: new Uint8Array(32) },
])

async function gateway(options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  return listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert: certificate.cert,
    key: certificate.key,
    accounts: { password: (user) => (user === 'alice' ? PASSWORD : undefined) },
    allowLoopback: true,
    ...options,
  })
}

function options(port: number, more: Partial<TunnelOptions> = {}): TunnelOptions {
  return {
    host: '127.0.0.1',
    port,
    user: 'alice',
    password: PASSWORD,
    trust: { pin: certificate.sha256 },
    ...more,
  }
}

/** The error of a call that must not come up. */
async function refused(t: Test, o: TunnelOptions): Promise<CallError> {
  const events: TunnelEvent[] = []
  try {
    const tunnel = await openTunnel({ ...o, onEvent: (e) => events.push(e) })
    await tunnel.close()
  } catch (error) {
    t.ok(error instanceof CallError, String(error))
    t.equal(events.filter((e) => e.type === 'down').length, 1, 'the end is told once')
    t.notOk(JSON.stringify(events).includes(o.password), 'no password in events')
    if (error instanceof CallError) {
      t.notOk(`${error.message}${error.hint ?? ''}`.includes(o.password), 'no password in the error')
      return error
    }
  }
  throw new Error('the call came up')
}

/** Sends `data`, ends, and gathers all that comes until the other end has ended. */
function exchange(flow: Flow, data: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const got: Buffer[] = []
    let ended = false
    flow.handler = {
      onReadable() {
        for (let v = flow.peek(); v.length > 0; v = flow.peek()) {
          got.push(Buffer.from(v))
          flow.consume(v.length)
        }
        if (flow.ended && !ended) {
          ended = true
          flow.end()
        }
      },
      onWritable() {},
      onClose: (error) => (error === undefined ? resolve(Buffer.concat(got)) : reject(error)),
    }
    flow.write(data)
    flow.end()
  })
}

t.test('a call over real sockets with each method, and what it tells', async (t) => {
  for (const auth of ['mschapv2', 'chap', 'pap'] as const) {
    const server = await gateway({ auth: [auth] })
    const events: TunnelEvent[] = []
    const tunnel = await openTunnel(options(server.port, { onEvent: (e) => events.push(e) }))
    t.same(
      events.filter((e) => e.type === 'step').map((e) => e.type === 'step' && e.step),
      ['dns', 'tcp', 'tls', 'http', 'sstp', 'auth', 'ip'],
      auth,
    )
    t.match(tunnel.info, {
      ipv4: '192.168.30.2',
      peer: '192.168.30.1',
      dns: ['192.168.30.1'],
      mtu: 1400,
      auth,
    })
    t.equal(
      events.some((e) => e.type === 'warning' && e.code === 'ZERO_BINDING_KEY'),
      auth !== 'mschapv2',
    )
    t.ok((await tunnel.ping('192.168.30.1')).size === 56)
    await tunnel.close()
    t.equal(await tunnel.closed, undefined)
    t.equal(events.at(-1)?.type, 'down')
    await server.close()
  }
})

t.test('octets go both ways, half-closed, and arrive the same', async (t) => {
  const server = await gateway()
  const far = await tcpServer((socket) => void socket.pipe(socket), true)
  const tunnel = await openTunnel(options(server.port))
  const data = Buffer.alloc(3_000_000, 'a line of text\n')
  const flows = [1, 2, 3].map(async () => {
    const flow = await tunnel.connect({ address: '192.168.30.1', port: far.port })
    return exchange(flow, data)
  })
  for (const got of await Promise.all(flows)) t.ok(got.equals(data))
  await tunnel.close()
  await far.close()
  await server.close()
})

t.test('why a connection did not work out is told apart', async (t) => {
  const server = await gateway()
  const tunnel = await openTunnel(options(server.port))
  const port = await closedPort()
  const code = async (address: string, p: number, timeout?: number): Promise<string> => {
    try {
      const flow = await tunnel.connect({ address, port: p }, timeout === undefined ? {} : { timeout })
      flow.reset()
      return 'connected'
    } catch (error) {
      return error instanceof DialError ? error.code : String(error)
    }
  }
  t.equal(await code('192.168.30.1', port), 'refused')
  t.equal(await code('fd00::1', 80), 'network-unreachable', 'there is no IPv6 inside')
  t.equal(await code('169.254.1.1', 80), 'refused', 'link-local of the host is nobody’s business')
  t.equal(await code('not an address', 80), 'name-invalid')
  const signal = AbortSignal.abort()
  await t.rejects(tunnel.connect({ address: '192.168.30.1', port }, { signal }), { code: 'aborted' })
  await tunnel.close()
  await t.rejects(tunnel.connect({ address: '192.168.30.1', port }), { code: 'tunnel-down' })
  await server.close()
})

t.test('the wrong password is refused with each method, once', async (t) => {
  for (const auth of ['mschapv2', 'chap', 'pap'] as const) {
    let asked = 0
    const accounts = {
      password: () => {
        asked++
        return 'something else'
      },
    }
    const server = await gateway({ auth: [auth], accounts })
    const error = await refused(t, options(server.port))
    t.match(error, { kind: 'refused', step: 'auth', code: 'AUTH_REFUSED' }, auth)
    t.equal(asked, 1, 'tried once: more would lock accounts')
    await server.close()
  }
})

t.test('a method that is not enabled is told', async (t) => {
  const server = await gateway({ auth: ['pap'] })
  const error = await refused(t, options(server.port, { auth: ['mschapv2'] }))
  t.match(error, { kind: 'protocol', step: 'auth', code: 'AUTH_METHOD' })
  t.match(error.message, /pap/i)
  await server.close()
})

t.test('trust: unknown, pinned by certificate or by key, own CA, insecure, wrong name', async (t) => {
  const server = await gateway()
  const hint = await refused(t, options(server.port, { trust: {} }))
  t.match(hint, { kind: 'untrusted', step: 'tls', code: 'TLS_UNTRUSTED' })
  t.match(hint.hint, certificate.sha256, 'the hint says what to pin')
  t.match(await refused(t, options(server.port, { trust: { pin: '00'.repeat(32) } })), { kind: 'untrusted' })
  const spki = new X509Certificate(certificate.cert).publicKey.export({ type: 'spki', format: 'der' })
  const pin = createHash('sha256').update(spki).digest('base64')
  const warnings: string[] = []
  for (const trust of [{ pin: certificate.sha256 }, { pin }, { insecure: true }]) {
    const tunnel = await openTunnel(
      options(server.port, { trust, onEvent: (e) => e.type === 'warning' && warnings.push(e.code) }),
    )
    await tunnel.close()
  }
  t.same(warnings, ['TLS_UNVERIFIED'], 'only --insecure warns')
  const named = await refused(
    t,
    options(server.port, { trust: { ca: certificate.cert, servername: 'another.example' } }),
  )
  t.match(named, { kind: 'untrusted' })
  await server.close()
})

t.test('odd certificates end the attempt, not the process, and each refusal says what helps', async (t) => {
  // Made with openssl: no subject, only the alternative name only.example, valid for a hundred years.
  const pem = readFileSync(new URL('../fixtures/no-subject.pem', import.meta.url), 'utf8')
  const pin = createHash('sha256').update(new X509Certificate(pem).raw).digest('hex')
  const server = await gateway({ cert: pem, key: pem })
  const tunnel = await openTunnel(options(server.port, { trust: { pin } }))
  await tunnel.close()
  const named = await refused(t, options(server.port, { trust: { ca: pem } }))
  t.match(named.message, /another name .*only\.example/)
  t.match(named.hint, /--servername/)
  const other = await refused(t, options(server.port, { trust: { pin: '00'.repeat(32) } }))
  t.match(other.message, /not the pinned one/)
  t.notMatch(other.hint, pin, 'a stranger’s hash is not offered for pasting')
  await server.close()
})

t.test('nobody listens, no such name, a server that hangs up, one that is silent', async (t) => {
  t.match(await refused(t, options(await closedPort())), {
    kind: 'unreachable',
    step: 'tcp',
    code: 'TCP_REFUSED',
  })
  t.match(await refused(t, options(1, { host: 'no-such-host.invalid' })), {
    kind: 'unreachable',
    step: 'dns',
  })
  const rude = await tcpServer((socket) => socket.destroy())
  t.match(await refused(t, options(rude.port)), { kind: 'protocol', step: 'tls' })
  await rude.close()
  const limit = heldTimer()
  const silent = await tlsServer(certificate, (socket) => socket.once('data', () => limit.start(300)))
  const slow = await refused(t, options(silent.port, { timeout: limit.ms }))
  limit.release()
  t.match(slow, { kind: 'protocol', step: 'http', code: 'SETUP_TIMEOUT' })
  await silent.close()
})

t.test('a web server is called one, with TLS and without', async (t) => {
  const plain = await tcpServer((socket) => {
    socket.on('data', () =>
      socket.end('HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n'),
    )
  })
  const notTls = await refused(t, options(plain.port))
  t.match(notTls, { kind: 'protocol', step: 'tls', code: 'TLS_NOT_TLS' })
  await plain.close()
  const web = await tlsServer(certificate, (socket) => {
    socket.on('data', () => socket.end('HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n<title>Hello</title>'))
  })
  const error = await refused(t, options(web.port))
  t.match(error, { kind: 'protocol', step: 'http', code: 'HTTP_NOT_SSTP' })
  t.match(error.message, /not an SSTP server/)
  await web.close()
  const quiet = await tlsServer(certificate, (socket) => socket.on('data', () => socket.end()))
  t.match(await refused(t, options(quiet.port)), { kind: 'protocol', step: 'http', code: 'HTTP_CLOSED' })
  await quiet.close()
  const chatty = await tlsServer(certificate, (socket) => socket.write('220 mail.example ESMTP\r\n'))
  t.match(await refused(t, options(chatty.port)), { kind: 'protocol', step: 'http', code: 'HTTP_NOT_HTTP' })
  await chatty.close()
})

t.test('the server ends the call: flows fail, the tunnel says why', async (t) => {
  const server = await gateway()
  const far = await tcpServer(() => {})
  const tunnel: Tunnel = await openTunnel(options(server.port))
  const flow = await tunnel.connect({ address: '192.168.30.1', port: far.port })
  const over = new Promise<DialError | undefined>((resolve) => {
    flow.handler = { onReadable() {}, onWritable() {}, onClose: resolve }
  })
  await server.close()
  t.match(await over, { code: /tunnel-down|reset/ })
  t.match(await tunnel.closed, { kind: 'lost' })
  await tunnel.close()
  await far.close()
})

t.test('giving up during set-up gives up', async (t) => {
  const silent = await tlsServer(certificate, () => {})
  const abort = new AbortController()
  const downs: unknown[] = []
  const onEvent = (e: TunnelEvent): unknown => e.type === 'down' && downs.push(e.error)
  const opening = openTunnel(options(silent.port, { signal: abort.signal, onEvent }))
  setImmediate(() => abort.abort(new Error('enough')))
  await t.rejects(opening, { message: 'enough' })
  t.same(downs, [undefined], 'no error: we asked for it')
  await silent.close()
})

t.test('giving up says goodbye to a server that is deaf to LCP too, within 3 s', async (t) => {
  const said: string[] = []
  const abort = new AbortController()
  const deaf = await tlsServer(certificate, (socket) => {
    const framer = new Framer()
    const onPacket = (b: Uint8Array, off: number, len: number, control: boolean): void => {
      if (!control) {
        // Behind SSTP's header, FF 03 and the protocol.
        said.push(b[off + 8] === 5 ? 'Terminate-Request' : 'Configure-Request')
        if (!abort.signal.aborted) began = performance.now()
        abort.abort(new Error('enough'))
        return
      }
      const message = parseControl(b, off, len)
      said.push(message instanceof SstpError ? message.message : message.type)
      if (said.length === 1) socket.write(ACK)
    }
    socket.once('data', () => {
      socket.write(acceptHead('Thu, 01 Jan 1970 00:00:00 GMT'))
      socket.on('data', (chunk: Buffer) => void framer.push(chunk, 0, chunk.length, { onPacket }))
    })
  })
  const downs: unknown[] = []
  const onEvent = (e: TunnelEvent): unknown => e.type === 'down' && downs.push(e.error)
  let began = Number.NaN
  await t.rejects(openTunnel(options(deaf.port, { signal: abort.signal, onEvent })), { message: 'enough' })
  t.ok(performance.now() - began < 3000)
  await until(() => said.includes('CALL_DISCONNECT'), 'no farewell')
  t.same(said, ['CALL_CONNECT_REQUEST', 'Configure-Request', 'Terminate-Request', 'CALL_DISCONNECT'])
  t.same(downs, [undefined])
  await deaf.close()
})
