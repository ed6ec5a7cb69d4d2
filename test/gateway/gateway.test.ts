import { createSocket } from 'node:dgram'
import { type AddressInfo, connect as connectTcp, createServer as createTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import t from 'tap'
import { makeCertificate } from '../../src/gateway/certificate.js'
import type { GatewayEvent } from '../../src/gateway/events.js'
import { type Gateway, listenGateway } from '../../src/gateway/gateway.js'
import type { GatewayOptions } from '../../src/gateway/options.js'
import type { DialError, Endpoint } from '../../src/tunnel/dialer.js'
import { openTunnel, type Tunnel } from '../../src/tunnel/session.js'
import { until } from '../helpers/proxy.js'
import { tcpServer } from '../helpers/servers.js'

const certificate = await makeCertificate()
const PATH = '/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/'

function gateway(options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  return listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert: certificate.cert,
    key: certificate.key,
    accounts: { password: () => 'secret' },
    ...options,
  })
}

function tunnelTo(server: Gateway, user = 'alice'): Promise<Tunnel> {
  return openTunnel({
    host: '127.0.0.1',
    port: server.port,
    user,
    password: 'secret',
    trust: { pin: certificate.sha256 },
  })
}

/** All that a server says to a request until it closes. */
function request(port: number, head: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const got: Buffer[] = []
    const socket: TLSSocket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false }, () =>
      socket.write(head),
    )
    socket.on('data', (d: Buffer) => got.push(d))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(got).toString('latin1')))
  })
}

t.test('other requests than SSTP are refused and the connection is closed', async (t) => {
  const server = await gateway()
  t.match(await request(server.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /^HTTP\/1\.1 404 /)
  t.match(
    await request(server.port, `GET ${PATH} HTTP/1.1\r\n\r\n`),
    /^HTTP\/1\.1 405 .*\r\nAllow: SSTP_DUPLEX_POST/,
  )
  t.match(await request(server.port, 'SSTP_DUPLEX_POST / HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 404 /)
  t.match(await request(server.port, '\u0000\u0001\u0002\u0003\r\n\r\n'), /^HTTP\/1\.1 400 /)
  t.equal(server.calls, 0)
  await server.close()
})

t.test('more calls than allowed get 503, and a freed place is given again', async (t) => {
  const events: GatewayEvent[] = []
  const server = await gateway({ maxCalls: 1, onEvent: (e) => events.push(e) })
  const first = await tunnelTo(server)
  await t.rejects(tunnelTo(server), { kind: 'unreachable', code: 'HTTP_UNAVAILABLE' })
  t.ok(events.some((e) => e.type === 'warning' && e.code === 'CALLS_FULL'))
  const gone = new Promise<void>((resolve) => {
    const wait = (): void => (server.calls === 0 ? resolve() : void setImmediate(wait))
    wait()
  })
  await first.close()
  await gone
  const second = await tunnelTo(server)
  t.equal(second.info.ipv4, '192.168.30.3', 'addresses go round')
  await second.close()
  await server.close()
})

t.test('without a free address a client is told, and the call ends', async (t) => {
  const events: GatewayEvent[] = []
  const server = await gateway({ pool: '10.99.0.0/30', onEvent: (e) => events.push(e) })
  const first = await tunnelTo(server)
  t.equal(first.info.ipv4, '10.99.0.2')
  await t.rejects(tunnelTo(server), { code: 'CALL_CLOSED' })
  await until(() => events.some((e) => e.type === 'closed'), 'the server kept the call')
  t.match(events.at(-1), { type: 'closed', reason: /no address/ })
  await first.close()
  await server.close()
})

t.test('loopback of the host is out of reach unless allowed', async (t) => {
  const far = await tcpServer((socket) => socket.end('hello'))
  const server = await gateway()
  const tunnel = await tunnelTo(server)
  await t.rejects(tunnel.connect({ address: '192.168.30.1', port: far.port }), { code: 'refused' })
  const udp = tunnel.openUdp({ remote: { address: '192.168.30.1', port: far.port } })
  const [error, to] = await new Promise<[DialError, Endpoint | undefined]>((resolve) => {
    udp.handler = { onDatagram() {}, onError: (...what) => resolve([what[0], what[1]]) }
    udp.send(new Uint8Array(3), { address: '192.168.30.1', port: far.port })
  })
  t.equal(error.code, 'refused')
  t.same(to, { address: '192.168.30.1', port: far.port })
  await tunnel.close()
  await server.close()
  await far.close()
})

t.test('datagrams go on and answers come back from where they were sent', async (t) => {
  const echo = createSocket('udp4')
  echo.on('message', (data, from) =>
    echo.send(Buffer.concat([Buffer.from('> '), data]), from.port, from.address),
  )
  await new Promise<void>((resolve) => echo.bind(0, '127.0.0.1', resolve))
  const { port } = echo.address() as AddressInfo
  const server = await gateway({ allowLoopback: true })
  const tunnel = await tunnelTo(server)
  const udp = tunnel.openUdp()
  const to = { address: '192.168.30.1', port }
  const got = await new Promise<{ text: string; from: Endpoint }>((resolve, reject) => {
    udp.handler = {
      onDatagram: (data, from) => resolve({ text: Buffer.from(data).toString(), from }),
      onError: reject,
    }
    udp.send(Buffer.from('over there'), to)
  })
  t.same(got, { text: '> over there', from: to })
  udp.close()
  await tunnel.close()
  await server.close()
  echo.close()
})

t.test('strangers that say nothing, or nonsense, cost nothing but their connection', async (t) => {
  const server = await gateway()
  const quiet = connectTcp({ host: '127.0.0.1', port: server.port })
  await new Promise((resolve) => quiet.once('connect', resolve))
  const rude = connectTcp({ host: '127.0.0.1', port: server.port })
  rude.on('error', () => {})
  // What is not read, an alert perhaps, would keep it open.
  rude.resume()
  rude.write('this is not TLS at all, by any reading of the word')
  await new Promise((resolve) => rude.once('close', resolve))
  const tunnel = await tunnelTo(server)
  t.ok(tunnel.info.ipv4)
  await tunnel.close()
  quiet.on('error', () => {})
  await server.close()
  t.pass('and the gateway closes')
})

/** A connection from an address and port, and what is said to an SSTP request over it. */
async function callFrom(localPort: number, host: string, port: number) {
  const tcp = connectTcp({ host, port, localAddress: '127.0.0.1', localPort })
  await new Promise<void>((resolve, reject) => {
    tcp.once('connect', resolve)
    tcp.once('error', reject)
  })
  return {
    from: tcp.localPort ?? 0,
    tcp,
    async greet(): Promise<string> {
      const tls = connectTls({ socket: tcp, rejectUnauthorized: false })
      tls.on('error', () => {})
      tls.write(`SSTP_DUPLEX_POST ${PATH} HTTP/1.1\r\nHost: x\r\n\r\n`)
      return new Promise((resolve) => tls.once('data', (d: Buffer) => resolve(d.toString('latin1'))))
    },
  }
}

const oneLoopback = process.platform === 'darwin' && 'macOS has no 127.0.0.2'

t.test('one port of a client, at two addresses of ours, is two clients', { skip: oneLoopback }, async (t) => {
  // Two of eight may be in the TLS handshake.
  const server = await gateway({ address: '0.0.0.0', maxPerAddress: 8 })
  const first = await callFrom(0, '127.0.0.1', server.port)
  const second = await callFrom(first.from, '127.0.0.2', server.port)
  await until(() => server.strangers === 2, 'one of them was refused')
  t.match(await first.greet(), /^HTTP\/1\.1 200 /)
  t.match(await second.greet(), /^HTTP\/1\.1 200 /)
  const more = [await callFrom(0, '127.0.0.1', server.port), await callFrom(0, '127.0.0.1', server.port)]
  await until(() => server.strangers === 4, 'one that is through the handshake still has its place there')
  for (const { tcp } of [first, second, ...more]) tcp.destroy()
  await until(() => server.strangers === 0, 'one was not forgotten')
  await server.close()
})

t.test('a far side that resets behind its data: the data, then the reset, and no end', async (t) => {
  // The second fits into what one kernel takes from another, and not into a first congestion window.
  const answers = ['half of it', 'x'.repeat(50_000)]
  const far = createTcp((socket) => {
    socket.on('error', () => {})
    socket.once('data', (which) => {
      socket.write(answers[Number(which)] ?? '', () => socket.resetAndDestroy())
    })
  })
  await new Promise<void>((done) => far.listen(0, '127.0.0.1', done))
  const { port } = far.address() as AddressInfo
  const server = await gateway({ allowLoopback: true })
  const tunnel = await tunnelTo(server)
  for (const which of [0, 0, 0, 0, 0, 1, 1]) {
    const flow = await tunnel.connect({ address: tunnel.info.peer ?? '', port })
    let ended = false
    let heard = 0
    const code = await new Promise((resolve) => {
      const take = (): void => {
        const { length } = flow.peek()
        heard += length
        flow.consume(length)
        if (flow.readable > 0) setImmediate(take)
      }
      flow.handler = {
        onReadable: () => {
          if (flow.readable > 0) setImmediate(take)
          ended ||= flow.ended
          if (flow.ended) flow.end()
        },
        onWritable: () => {},
        onClose: (error) => resolve(error?.code),
      }
      flow.write(Buffer.from(`${which}`))
    })
    t.equal(code, 'reset')
    t.equal(heard, answers[which]?.length)
    t.notOk(ended, 'nor looked as if it had')
  }
  await tunnel.close()
  await server.close()
  await new Promise((done) => far.close(done))
})

t.test('a client that gives up does not wait for a far side that takes nothing', async (t) => {
  const taken: Socket[] = []
  const far = createTcp((socket) => void taken.push(socket.on('error', () => {}).pause()))
  await new Promise<void>((done) => far.listen(0, '127.0.0.1', done))
  const { port } = far.address() as AddressInfo
  const server = await gateway({ allowLoopback: true })
  const tunnel = await tunnelTo(server)
  const flow = await tunnel.connect({ address: tunnel.info.peer ?? '', port })
  flow.handler = { onReadable() {}, onWritable() {}, onClose() {} }
  // More than kernels keep, so that some of it waits in the gateway.
  for (let i = 0; i < 40; i++) flow.write(Buffer.alloc(1_048_576))
  const progress = async (): Promise<boolean> => {
    const { queued } = flow
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve))
    return flow.queued < queued
  }
  while (await progress());
  t.ok(flow.queued > 0)
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  const before = sockets()
  flow.reset()
  await until(() => sockets() < before, 'its socket is still there')
  for (const socket of taken) socket.destroy()
  await tunnel.close()
  await server.close()
  await new Promise((done) => far.close(done))
})

t.test('as many connections as one client may have, and no more', async (t) => {
  const far = createTcp((socket) => void socket.on('error', () => {}))
  await new Promise<void>((done) => far.listen(0, '127.0.0.1', done))
  const { port } = far.address() as AddressInfo
  const server = await gateway({ allowLoopback: true, maxConnections: 3 })
  const tunnel = await tunnelTo(server)
  const to = { address: tunnel.info.peer ?? '', port }
  const flows = [await tunnel.connect(to), await tunnel.connect(to), await tunnel.connect(to)]
  await t.rejects(tunnel.connect(to, { timeout: 300 }), { code: 'timed-out' })
  flows[0]?.reset()
  t.ok(await tunnel.connect(to), 'and then there is room')
  await tunnel.close()
  await server.close()
  await new Promise((done) => far.close(done))
})
