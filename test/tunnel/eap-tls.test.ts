/** Calls that sign in with TLS inside EAP, client against gateway over TCP; the crypto binding is enforced. */
import { randomFillSync, X509Certificate } from 'node:crypto'
import t, { type Test } from 'tap'
import { makeCertificate } from '../../src/gateway/certificate.js'
import type { GatewayEvent } from '../../src/gateway/events.js'
import { type Gateway, listenGateway } from '../../src/gateway/gateway.js'
import type { GatewayOptions } from '../../src/gateway/options.js'
import { Call, type CallOwner } from '../../src/link/call.js'
import { Driver } from '../../src/link/driver.js'
import type { TlsEngineFactory } from '../../src/ppp/auth/eap/tls-engine.js'
import { PppLink } from '../../src/ppp/link.js'
import { SstpServer } from '../../src/sstp/server.js'
import { eapServerTls } from '../../src/transport/eap-trust.js'
import { readIdentity } from '../../src/transport/tls-identity.js'
import type { TunnelEvent } from '../../src/tunnel/events.js'
import type { TunnelOptions } from '../../src/tunnel/options.js'
import { openTunnel, type Tunnel } from '../../src/tunnel/session.js'
import { NetStack } from '../../stack/index.js'
import { fixture } from '../helpers/eap-conversation.js'
import { tlsServer } from '../helpers/servers.js'

const certificate = await makeCertificate()
const clientCa = fixture('ca.pem').toString()
const alice = readIdentity({ certificate: fixture('client.p12'), passphrase: 'open-sesame' })
const stranger = readIdentity({ certificate: fixture('stranger.pem'), key: fixture('stranger.key') })

function gateway(t: Test, options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  return listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert: certificate.cert,
    key: certificate.key,
    accounts: { password: (user) => (user === 'alice' ? 'secret' : undefined) },
    clientCa,
    ...options,
  }).then((server) => {
    t.teardown(() => server.close())
    return server
  })
}

/** As sstp-server with pppd 2.4 does it: each key is cut at 16 octets, so its HLAK is MSK[0..15] | MSK[32..47]. */
const asPppd: TlsEngineFactory = (options) => {
  const engine = eapServerTls({ identity: { context: certificate }, clientCa })(options)
  const exported = engine.exportKeyingMaterial.bind(engine)
  engine.exportKeyingMaterial = (...asked) => {
    const msk = exported(...asked)
    return msk && Uint8Array.from([...msk.subarray(0, 16), ...msk.subarray(32, 48), ...msk.subarray(32)])
  }
  return engine
}

/** A server for one kind of call, with TLS for EAP of its own. */
async function pppdServer(t: Test, tls: TlsEngineFactory): Promise<{ readonly port: number; calls: number }> {
  const random = (dst: Uint8Array): void => void randomFillSync(dst)
  const told = { port: 0, calls: 0 }
  const server = await tlsServer(certificate, (socket) => {
    told.calls += 1
    const stack = new NetStack({ mtu: 1400, random })
    const ppp = new PppLink({
      role: 'server',
      random,
      auth: ['eap-tls'],
      tls,
      onActivity: () => {
        call.poke(driver.now())
        driver.wake()
      },
      ipv6: false,
      lookup: () => undefined,
      ownIpv4: Uint8Array.of(10, 9, 0, 1),
      assign: () => Uint8Array.of(10, 9, 0, 2),
    })
    const owner: CallOwner = {
      onSstp() {},
      onPpp() {},
      dispatch() {},
      nextTimeout: () => Number.POSITIVE_INFINITY,
      handleTimeout() {},
    }
    const sstp = new SstpServer({ random, certificate: new X509Certificate(certificate.cert).raw })
    const call = new Call(sstp, ppp, stack, owner)
    const driver = new Driver(socket, call)
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      call.start(driver.now())
      driver.wake()
      socket.on('data', (data: Buffer) => driver.received(data, 0, data.length))
    })
    socket.once('close', () => driver.stop())
  })
  t.teardown(() => server.close())
  told.port = server.port
  return told
}

const events: TunnelEvent[] = []
const warnings = (): string[] =>
  events.splice(0).flatMap((event) => (event.type === 'warning' ? [event.code] : []))

function tunnelTo(server: { readonly port: number }, options: Partial<TunnelOptions> = {}): Promise<Tunnel> {
  return openTunnel({
    host: '127.0.0.1',
    port: server.port,
    user: 'alice',
    password: 'secret',
    trust: { pin: certificate.sha256 },
    onEvent: (event) => void events.push(event),
    ...options,
  })
}

t.test('EAP-TLS with a certificate out of PKCS#12, and no password', async (t) => {
  const told: GatewayEvent[] = []
  const server = await gateway(t, { onEvent: (event) => told.push(event) })
  const tunnel = await tunnelTo(server, { password: '', eap: { identity: alice } })
  t.equal(tunnel.info.auth, 'eap-tls')
  t.ok((await tunnel.ping(tunnel.info.peer ?? '')).ms >= 0)
  t.match(
    told.find((event) => event.type === 'up'),
    { user: 'alice', auth: 'eap-tls' },
  )
  t.same(warnings(), [], 'the certificate is that of the connection, which was verified')
  await tunnel.close()
})

t.test('PEAP, with the name inside only', async (t) => {
  const told: GatewayEvent[] = []
  const server = await gateway(t, { auth: ['peap'], onEvent: (event) => told.push(event) })
  const tunnel = await tunnelTo(server, { eap: { name: 'anonymous' } })
  t.equal(tunnel.info.auth, 'peap')
  t.ok((await tunnel.ping(tunnel.info.peer ?? '')).ms >= 0)
  t.match(
    told.find((event) => event.type === 'up'),
    { user: 'alice', auth: 'peap' },
  )
  await tunnel.close()
})

t.test('a client without a certificate takes another method of the same server', async (t) => {
  const tunnel = await tunnelTo(await gateway(t))
  t.match(tunnel.info.auth, /^(eap-)?mschapv2$/)
  await tunnel.close()
})

t.test('refusals', async (t) => {
  const server = await gateway(t)
  await t.rejects(tunnelTo(server, { auth: ['eap-tls'], eap: { identity: stranger } }), {
    kind: 'refused',
    code: 'AUTH_REFUSED',
    message: /does not know our certificate/,
  })
  const trust = { ca: fixture('other-ca.pem').toString() }
  await t.rejects(tunnelTo(server, { auth: ['eap-tls'], eap: { identity: alice, trust } }), {
    kind: 'untrusted',
    code: 'AUTH_UNTRUSTED',
    message: /is not trusted: its certificate is self-signed/,
  })
  const peap = await gateway(t, { auth: ['peap'] })
  await t.rejects(tunnelTo(peap, { password: 'wrong' }), { kind: 'refused', code: 'AUTH_REFUSED' })
})

t.test('serve takes the key by either rule, for clients with pppd 2.4', async (t) => {
  const server = await gateway(t, { auth: ['eap-tls', 'peap'] })
  warnings()
  for (const keyRule of ['windows', 'pppd'] as const) {
    for (const auth of ['eap-tls', 'peap'] as const) {
      const tunnel = await tunnelTo(server, { auth: [auth], eap: { identity: alice, keyRule } })
      t.equal(tunnel.info.auth, auth, `${auth}, ${keyRule}`)
      await tunnel.close()
    }
  }
  t.same(warnings(), [])
})

t.test('a rule that was chosen is kept', async (t) => {
  const server = await pppdServer(t, asPppd)
  warnings()
  const windows = { identity: alice, keyRule: 'windows' } as const
  await t.rejects(tunnelTo(server, { eap: windows }), { code: 'BINDING_REFUSED' })
  t.equal(server.calls, 1)
  t.same(warnings(), [])
})

t.test("a server with pppd's key: Windows' first, then the other, once, on a new connection", async (t) => {
  const server = await pppdServer(t, asPppd)
  warnings()
  const tunnel = await tunnelTo(server, { eap: { identity: alice } })
  t.equal(tunnel.info.auth, 'eap-tls')
  t.equal(server.calls, 2)
  t.same(warnings(), ['OTHER_KEY_RULE'])
  await tunnel.close()
  const known = await tunnelTo(server, { eap: { identity: alice, keyRule: 'pppd' } })
  t.equal(server.calls, 3)
  t.same(warnings(), [])
  await known.close()
})

t.test('a server whose key is neither: two calls, and the first answer', async (t) => {
  const server = await pppdServer(t, (options) => {
    const engine = eapServerTls({ identity: { context: certificate }, clientCa })(options)
    engine.exportKeyingMaterial = (length) => new Uint8Array(length).fill(9)
    return engine
  })
  await t.rejects(tunnelTo(server, { eap: { identity: alice } }), { code: 'BINDING_REFUSED' })
  t.equal(server.calls, 2)
})
