/**
 * Every way into the bridge towards hosts that are not ours: what the Linux kernel behind a real server says of
 * failures, and connections and datagrams that come from there.
 */
import { createHash } from 'node:crypto'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { on, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { Lab } from './lab.js'
import { octets } from './net.js'
import { type Endpoint, Product } from './product.js'

const product = new Product()
t.teardown(() => product.close())
const lab = await Lab.open()
t.teardown(() => lab.down())
const facts = await lab.up('mschapv2')
const { inner } = facts

// Services of ours, for the remote network to reach: they send back what they get.
const tcpEcho = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket))
tcpEcho.listen(0, '127.0.0.1')
const udpEcho = createSocket('udp4', (data, { port, address }) => udpEcho.send(data, port, address))
udpEcho.bind(0, '127.0.0.1')
await Promise.all([once(tcpEcho, 'listening'), once(udpEcho, 'listening')])
t.teardown(() => {
  tcpEcho.close()
  udpEcho.close()
})
const portOf = (of: { address(): AddressInfo | string | null }): number => (of.address() as AddressInfo).port

/** Sends datagrams of several sizes and prints how much came back. */
const DATAGRAMS = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for n in (1, 1372, 9000):
    data = bytes(i % 251 for i in range(n))
    s.sendto(data, (sys.argv[1], int(sys.argv[2])))
    back = s.recv(65535)
    print(n, len(back) if back == data else "other octets")
`

const password = product.file('password', 'password1\n')
const ca = product.file('ca.pem', readFileSync(facts.tls.ca), 0o644)
const bridge = await product.start(
  ...['connect', `${facts.server.host}:${facts.server.port}`],
  ...['--user', 'alice', '--password-file', password, '--ca', ca, '--socks', '0', '--http', '0'],
  ...['-R', `7070:127.0.0.1:${portOf(tcpEcho)}`, '-R', `7071:127.0.0.1:${portOf(udpEcho)}/udp`],
  ...['-L', `0:${inner.host4}:7/udp`],
)
const proxy = bridge.ready.socks as Endpoint
const own = bridge.ready.tunnel?.ipv4 ?? ''

await t.test('failures, in the words of each protocol', async (t) => {
  // It says no more than a few at once else.
  await lab.exec('server', 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0', 'net.ipv4.route.error_cost=0')
  // Linux's routes that lead nowhere, each with its ICMP error or none.
  const [prohibited, hole, unreachable] = ['192.168.78.200', '192.168.78.201', '192.168.78.202']
  for (const [kind, address] of [
    ['prohibit', prohibited],
    ['blackhole', hole],
    ['unreachable', unreachable],
  ]) {
    await lab.exec('server', 'ip', 'route', 'add', `${kind}`, `${address}/32`)
  }
  const cases: [what: string, host: string, port: number, socks5: number, socks4: number, http: string][] = [
    ['accepted', inner.host4, inner.ports.silent, 0, 0x5a, '200'],
    ['refused', inner.host4, inner.ports.closed, 5, 0x5b, '502'],
    ['prohibited', prohibited, 80, 2, 0x5b, '502'],
    ['host unreachable', unreachable, 80, 4, 0x5b, '502'],
    ['nobody has that address', inner.nobody4, 80, 4, 0x5b, '502'],
    ['network unreachable', '192.168.79.250', 80, 3, 0x5b, '502'],
    ['black hole', hole, 80, 6, 0x5b, '504'],
    ['no such name', 'missing.lin.test', 80, 4, 0x5b, '502'],
    ['a name that is this computer', 'localhost', 80, 2, 0x5b, '403'],
  ]
  await Promise.all(
    cases.map(async ([what, host, port, socks5, socks4, http]) => {
      const head = `CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`
      const [five, four, web] = await Promise.all([
        told(socks5Request(1, host, port), 2, true),
        told(socks4Request(host, port), 2),
        told(Buffer.from(head), 12),
      ])
      t.equal(five[1], socks5, `SOCKS5: ${what}`)
      t.equal(four[1], socks4, `SOCKS4: ${what}`)
      t.equal(String(web), `HTTP/1.1 ${http}`, `HTTP: ${what}`)
    }),
  )
})

await t.test("Tor's look-ups", async (t) => {
  const forth = await dial(socks5Request(0xf0, 'v4only.lin.test', 0))
  t.same([...(await octets(forth, 10))], [5, 0, 0, 1, ...inner.host4.split('.').map(Number), 0, 0])
  const back = await dial(socks5Request(0xf1, inner.host4, 0))
  const [, reply, , type, size = 0] = await octets(back, 5)
  t.same([reply, type], [0, 3])
  t.match(String(await octets(back, size)), /\.lin\.test$/)
})

await t.test('BIND: the remote host connects to the tunnel', async (t) => {
  const socket = await dial(socks5Request(2, inner.host4, 0))
  const first = await octets(socket, 10)
  t.same([...first.subarray(0, 8)], [5, 0, 0, 1, ...own.split('.').map(Number)])
  const port = first.readUInt16BE(8)
  const said = fromInside(port, 'hello from inside')
  const second = await octets(socket, 10)
  t.same([...second.subarray(0, 8)], [5, 0, 0, 1, ...inner.host4.split('.').map(Number)], 'who it is')
  t.equal(String(await octets(socket, 17)), 'hello from inside')
  socket.end('hello from here\n')
  t.equal(await said, 'hello from here\n')
})

await t.test('UDP ASSOCIATE: one octet, one packet, fragments', async (t) => {
  const control = await dial(socks5Request(3, '0.0.0.0', 0))
  const reply = await octets(control, 10)
  const relay = { address: [...reply.subarray(4, 8)].join('.'), port: reply.readUInt16BE(8) }
  t.equal(relay.address, '127.0.0.1')
  const udp = createSocket('udp4')
  const head = Buffer.from([0, 0, 0, 1, ...inner.host4.split('.').map(Number), 0, 7])
  for (const size of [1, 512, 1372, 1373, 8000, 60_000]) {
    const data = pattern(size)
    const back = await ask(udp, Buffer.concat([head, data]), relay)
    t.same(back.subarray(0, 10), head, `${size} octets: the host that answers`)
    t.equal(digest(back.subarray(10)), digest(data), `${size} octets come back`)
  }
  udp.close()
  control.destroy()
})

await t.test('-L for datagrams', async (t) => {
  const [local] = bridge.ready.forwards?.find(({ option }) => option === '-L')?.locals ?? []
  if (local === undefined) throw new Error(`no -L in ${JSON.stringify(bridge.ready)}`)
  const udp = createSocket('udp4')
  for (const size of [1, 1372, 1373, 1400, 8000, 20_000]) {
    const data = pattern(size)
    t.equal(digest(await ask(udp, data, local)), digest(data), `${size} octets`)
  }
  udp.close()
})

await t.test('-R: the remote network reaches services here', async (t) => {
  t.equal(await fromInside(7070, 'through the tunnel, backwards'), 'through the tunnel, backwards')
  const big = 'head -c 4194304 /dev/zero | tee >(sha256sum >&2) | ' // 4 MiB there and back
  const script = `${big} timeout 60 socat -t 30 - TCP:${own}:7070 | sha256sum`
  const sum = await lab.exec('inner', 'bash', '-c', script)
  t.equal(
    sum.slice(0, 64),
    createHash('sha256')
      .update(Buffer.alloc(4 << 20))
      .digest('hex'),
    '4 MiB',
  )
  const answer = await lab.exec('inner', 'python3', '-c', DATAGRAMS, own, '7071')
  t.equal(answer, '1 1\n1372 1372\n9000 9000\n', 'datagrams')
})

await t.test('the end', async (t) => {
  const { code } = await bridge.stop('SIGTERM')
  t.equal(code, 0)
  t.notMatch(bridge.stderr(), /Error|Warning:/, 'nothing of Node on standard error')
})

/** A connection to the proxy that has said its piece; for SOCKS5 the greeting is done with. */
async function dial(request: Buffer, greeting = true): Promise<Socket> {
  const socket = connect({ host: proxy.address, port: proxy.port, allowHalfOpen: true })
  socket.setTimeout(45_000, () => socket.destroy(new Error('silence')))
  if (greeting) {
    socket.write(Buffer.from([5, 1, 0]))
    await octets(socket, 2)
  }
  socket.write(request)
  return socket
}

/** The first octets of the proxy's answer. */
async function told(request: Buffer, n: number, greeting = false): Promise<Buffer> {
  const socket = await dial(request, greeting)
  const answer = await octets(socket, n)
  socket.destroy()
  return answer
}

function socks5Request(command: number, host: string, port: number): Buffer {
  const address = /^[\d.]+$/.test(host)
    ? [1, ...host.split('.').map(Number)]
    : [3, host.length, ...Buffer.from(host)]
  return Buffer.from([5, command, 0, ...address, port >> 8, port & 255])
}

function socks4Request(host: string, port: number): Buffer {
  const literal = /^[\d.]+$/.test(host)
  const address = literal ? host.split('.').map(Number) : [0, 0, 0, 1]
  return Buffer.from([
    4,
    1,
    port >> 8,
    port & 255,
    ...address,
    0,
    ...(literal ? [] : [...Buffer.from(host), 0]),
  ])
}

/** The inner host connects to our address in the tunnel, says something, ends its direction and tells what it heard. */
function fromInside(port: number, text: string): Promise<string> {
  const script = 'printf %s "$1" | timeout 20 socat -t 10 - "TCP:$2:$3"'
  return lab.exec('inner', 'bash', '-c', script, 'bash', text, own, String(port))
}

/**
 * Asks until an answer comes: what Linux answers first with more than a packet is lost, that is how it learns the MTU of
 * the path. A question that was asked again may be answered twice, and the second answer comes when the next question has
 * been asked; that one is of another length.
 */
async function ask(socket: UdpSocket, data: Buffer, to: Endpoint): Promise<Buffer> {
  const answer = answered(socket, data.length)
  const send = () => socket.send(data, to.port, to.address)
  const again = setInterval(send, 2000)
  send()
  try {
    return await answer
  } finally {
    clearInterval(again)
  }
}

/** The next datagram of that length. */
async function answered(socket: UdpSocket, length: number): Promise<Buffer> {
  for await (const [message] of on(socket, 'message', { signal: AbortSignal.timeout(10_000) })) {
    if (message.length === length) return message
  }
  throw new Error('no answer')
}

function pattern(size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 7) % 251))
}

function digest(data: Buffer): string {
  return `${data.length} ${createHash('sha256').update(data).digest('hex')}`
}
