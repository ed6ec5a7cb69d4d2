/** Hostile clients against the gateway over real sockets: what strangers cost, and that others get in meanwhile. */
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { makeCertificate } from '../../src/gateway/certificate.js'
import type { GatewayEvent } from '../../src/gateway/events.js'
import { type Gateway, listenGateway } from '../../src/gateway/gateway.js'
import type { GatewayOptions } from '../../src/gateway/options.js'
import { SstpError } from '../../src/sstp/errors.js'
import { Framer } from '../../src/sstp/framer.js'
import { controlPacket, parseControl } from '../../src/sstp/packet.js'
import { openTunnel, type Tunnel } from '../../src/tunnel/session.js'
import { assertOneLine } from '../helpers/hostile.js'
import { inTime } from '../helpers/in-time.js'
import { octetsHeld } from '../helpers/memory.js'

const certificate = await makeCertificate()
const HEAD = 'SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n'

interface Under {
  readonly server: Gateway
  readonly events: GatewayEvent[]
}

async function gateway(t: Test, options: Partial<GatewayOptions> = {}): Promise<Under> {
  const events: GatewayEvent[] = []
  const server = await listenGateway({
    address: '0.0.0.0',
    port: 0,
    cert: certificate.cert,
    key: certificate.key,
    accounts: { password: (user) => (user === 'alice' ? 'secret' : undefined) },
    onEvent: (e) => events.push(e),
    ...options,
  })
  t.teardown(() => server.close())
  return { server, events }
}

function tunnelTo(server: Gateway, password = 'secret'): Promise<Tunnel> {
  return openTunnel({
    host: '127.0.0.1',
    port: server.port,
    user: 'alice',
    password,
    auth: ['mschapv2'],
    ipv6: false,
    trust: { pin: certificate.sha256 },
  })
}

/** Waits for something that needs no more than turns of the event loop, and some time of the system's. */
async function until(done: () => boolean): Promise<void> {
  const limit = performance.now() + 20_000
  while (!done()) {
    if (performance.now() > limit) throw new Error('it does not come to that')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Another address of this machine from which connections can come, if it has one. */
async function otherAddress(): Promise<string | undefined> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    server.listen(0, '127.0.0.2', () => server.close(() => resolve('127.0.0.2')))
  })
}

const other = await otherAddress()

/** Connections that say nothing, from another address than the others if there is one. */
function crowd(server: Gateway, count: number): { sockets: Socket[]; closed: () => number } {
  let closed = 0
  const sockets = Array.from({ length: count }, () => {
    const from = other === undefined ? {} : { localAddress: other }
    const socket = connect({ host: '127.0.0.1', port: server.port, ...from })
    socket.on('error', () => {})
    socket.once('close', () => closed++)
    return socket
  })
  return { sockets, closed: () => closed }
}

t.test('a thousand connections that say nothing: a few are kept, and others get in', async (t) => {
  const { server, events } = await gateway(t)
  const before = octetsHeld()
  const { sockets, closed } = crowd(server, 1000)
  await until(() => closed() === 992)
  t.equal(server.strangers, 8, 'a quarter of what one address may have may be in the handshake')
  if (other !== undefined) {
    const tunnel = await tunnelTo(server)
    t.ok(tunnel.info.ipv4, 'a proper client comes in meanwhile')
    await tunnel.close()
  }
  const grown = octetsHeld() - before
  t.ok(grown < 8 << 20, `for a few megabytes: ${grown}`)
  const warnings = events.filter((e) => e.type === 'warning')
  t.match(warnings, [{ code: 'STRANGERS_FULL', message: /no room for a client from 127\.0\.0\.[12]/ }])
  t.equal(warnings.length, 1, 'and one line')
  for (const socket of sockets) socket.destroy()
  await until(() => server.strangers === 0)
})

t.test('a house full of one crowd makes room for somebody else', async (t) => {
  if (other === undefined) return t.pass('this machine has one address only')
  const { server, events } = await gateway(t, { maxStrangers: 12, maxPerAddress: 12 })
  const { sockets } = crowd(server, 3)
  await until(() => server.strangers === 3)
  const tunnel = await tunnelTo(server)
  t.ok(tunnel.info.ipv4)
  t.match(
    events.find((e) => e.type === 'warning'),
    { code: 'STRANGERS_FULL', message: /the oldest must leave/ },
  )
  t.equal(server.strangers, 2)
  await tunnel.close()
  for (const socket of sockets) socket.destroy()
})

t.test('those who come and go at once leave nothing behind', async (t) => {
  const { server } = await gateway(t)
  for (let round = 0; round < 10; round++) {
    const sockets = Array.from({ length: 50 }, () => {
      const socket = connect({ host: '127.0.0.1', port: server.port }, () => {
        if (round % 2 === 0) socket.resetAndDestroy()
        else socket.end('\u0016\u0003\u0001')
      })
      socket.on('error', () => {})
      return socket
    })
    await until(() => sockets.every((s) => s.destroyed))
  }
  await until(() => server.strangers === 0)
  const tunnel = await tunnelTo(server)
  t.ok(tunnel.info.ipv4)
  await tunnel.close()
})

/** A TLS connection that is up. */
function secure(server: Gateway): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false }, () =>
      resolve(socket),
    )
    socket.once('error', reject)
  })
}

t.test(
  'whoever is slow has the time of the set-up, and no more: TLS, a head octet by octet, SSTP',
  async (t) => {
    const strange = await gateway(t, { setupTimeout: 400 })
    // For those that are to come through TLS first: that takes a busy machine longer.
    const { server, events } = await gateway(t, { setupTimeout: 2000 })
    const closed = (socket: Socket): Promise<void> =>
      new Promise((resolve) => {
        socket.on('error', () => {})
        socket.resume()
        socket.once('close', () => resolve())
      })
    const silent = connect({ host: '127.0.0.1', port: strange.server.port })
    const half = connect({ host: '127.0.0.1', port: strange.server.port }, () =>
      half.write(Buffer.from('160301', 'hex')),
    )
    const loris = await secure(server)
    const drip = (at: number): void => {
      if (!loris.destroyed)
        loris.write(`${HEAD}X: ${'x'.repeat(10_000)}`.slice(at, at + 1), () => setImmediate(drip, at + 1))
    }
    drip(0)
    const quiet = await secure(server)
    quiet.write(`${HEAD}\r\n`)
    const started = performance.now()
    await Promise.all([silent, half, loris, quiet].map(closed))
    t.ok(performance.now() - started < 10_000)
    await until(() => strange.server.strangers + server.strangers + server.calls === 0)
    t.match(
      events.find((e) => e.type === 'closed'),
      { reason: /did not set its call up in time/ },
    )
  },
)

t.test('heads that are too long, or none, are refused at once', async (t) => {
  const { server } = await gateway(t)
  for (const head of [
    `${HEAD}X: ${'x'.repeat(40_000)}`,
    '\u0000'.repeat(100),
    `${HEAD}__proto__ x\r\n\r\n`,
  ]) {
    const socket = await secure(server)
    const got: Buffer[] = []
    socket.on('data', (d: Buffer) => got.push(d))
    socket.on('error', () => {})
    socket.write(head)
    await new Promise((resolve) => socket.once('end', resolve))
    t.match(Buffer.concat(got).toString(), /^HTTP\/1\.1 400 /)
    socket.destroy()
  }
  await until(() => server.strangers === 0)
})

t.test('wrong passwords: the address must wait, and is told so before it has to send another', async (t) => {
  const { server, events } = await gateway(t, { maxFailures: 2 })
  await Promise.all([1, 2].map((n) => t.rejects(tunnelTo(server, `guess ${n}`), { code: 'AUTH_REFUSED' })))
  await t.rejects(tunnelTo(server), { code: 'HTTP_UNAVAILABLE', kind: 'unreachable' })
  const warning = events.find((e) => e.type === 'warning')
  t.match(warning, { code: 'ADDRESS_LOCKED', message: /too many wrong passwords from 127\.0\.0\.1/ })
  assertOneLine(warning?.type === 'warning' ? warning.message : '')
  const text = JSON.stringify(events)
  t.notOk(/guess|secret/.test(text), 'no password is told')
  await until(() => server.calls === 0)
  t.equal(events.filter((e) => e.type === 'closed').length, 2)
  for (const e of events) if (e.type === 'closed') t.match(e.reason, /no right user name and password/)
})

t.test('a gateway that is closed ends strangers too', async (t) => {
  const { server } = await gateway(t)
  const { sockets } = crowd(server, 4)
  await until(() => server.strangers === 4)
  const quiet = await secure(server)
  quiet.on('error', () => {})
  await server.close()
  await until(() => sockets.every((s) => s.destroyed))
  t.equal(server.strangers, 0)
})

t.test('the end of the gateway: a client that is deaf to LCP hears CALL_DISCONNECT', async (t) => {
  const { server } = await gateway(t)
  const socket = connectTls({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false })
  socket.on('error', () => {})
  const said: string[] = []
  const framer = new Framer()
  const onPacket = (b: Uint8Array, off: number, len: number, control: boolean): void => {
    const message = control ? parseControl(b, off, len) : undefined
    // Behind SSTP's header, FF 03 and the protocol.
    if (message === undefined) said.push(b[off + 8] === 5 ? 'Terminate-Request' : 'Configure-Request')
    else said.push(message instanceof SstpError ? message.message : message.type)
  }
  socket.write(`${HEAD}Host: x\r\nContent-Length: 18446744073709551615\r\n\r\n`)
  socket.once('data', () => {
    socket.on('data', (chunk: Buffer) => void framer.push(chunk, 0, chunk.length, { onPacket }))
    socket.write(controlPacket('CALL_CONNECT_REQUEST', [{ kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 1 }]))
  })
  await until(() => said.includes('Configure-Request'))
  t.ok(await inTime(server.close(), 3000))
  await until(() => said.includes('CALL_DISCONNECT'))
  t.same(said, ['CALL_CONNECT_ACK', 'Configure-Request', 'Terminate-Request', 'CALL_DISCONNECT'])
  socket.destroy()
})
