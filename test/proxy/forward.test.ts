import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createDialer } from '../../src/dns/dialer.js'
import type { ProxyEvent } from '../../src/proxy/events.js'
import {
  type Forward,
  type ForwardLimits,
  type ForwardSpec,
  openForward,
  type RemoteForward,
} from '../../src/proxy/forward.js'
import type { Endpoint } from '../../src/tunnel/dialer.js'
import { MemoryNetwork } from '../helpers/memory-network.js'
import { FlowStream, Remote, remotes, until } from '../helpers/proxy.js'
import { SeededRandom } from '../helpers/random.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const HOST = '192.0.2.1'
const PEER: Endpoint = { address: '192.0.2.77', port: 5555 }
const NOTHING = { connections: 0, flows: 0, timers: 0 }
const LOOPBACK = '127.0.0.1'

const closers: (() => unknown)[] = []
// A test that failed half-way must not keep the process alive.
t.teardown(() => Promise.all(closers.map((close) => close())))

function scene(limits: Partial<ForwardLimits> = {}, allow?: (address: string) => boolean) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ setTimer: clock.setTimer, ipv6: true })
  const dialer = createDialer({ network: () => network, clock })
  const events: ProxyEvent[] = []
  const open = async (spec: ForwardSpec): Promise<Forward> => {
    const forward = await openForward(spec, {
      dialer,
      limits,
      setTimer: clock.setTimer,
      onEvent: (event) => void events.push(event),
      ...(allow === undefined ? {} : { allow }),
    })
    closers.push(() => forward.close())
    return forward
  }
  return {
    clock,
    network,
    events,
    open,
    tcp: (port = 80, host = HOST) =>
      open({ kind: 'local', protocol: 'tcp', listen: { address: LOOPBACK, port: 0 }, to: { host, port } }),
    udp: (port = 53, host = HOST) =>
      open({ kind: 'local', protocol: 'udp', listen: { address: LOOPBACK, port: 0 }, to: { host, port } }),
    remote: (protocol: 'tcp' | 'udp', to: RemoteForward['to'], port = 8080) =>
      open({ kind: 'remote', protocol, port, to }),
    told: (type: ProxyEvent['type']) => events.filter((event) => event.type === type),
    /** Ends it, and says what is left in the tunnel: nothing may be. */
    async stop(forward: Forward) {
      await forward.close()
      await clock.settle()
      t.same(forward.usage(), NOTHING, 'nothing is left')
      t.equal(clock.pending, 0, 'no timer')
      t.equal(
        network.flows.size + network.udpSockets.size + network.listeners.size,
        0,
        'nothing in the tunnel',
      )
    },
  }
}

class Talk {
  readonly socket: Socket
  text = ''
  ended = false
  closed = false
  error: NodeJS.ErrnoException | undefined

  constructor(socket: Socket) {
    this.socket = socket
    closers.push(() => socket.destroy())
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => {
      this.text += text
    })
    socket.on('end', () => {
      this.ended = true
    })
    socket.on('error', (error) => {
      this.error = error
    })
    socket.on('close', () => {
      this.closed = true
    })
  }
}

function talk(forward: Forward): Talk {
  const [local] = forward.locals
  const path = local?.address.startsWith('unix:') ? local.address.slice(5) : undefined
  const to = path === undefined ? { host: local?.address ?? '', port: local?.port ?? 0 } : { path }
  return new Talk(connect({ ...to, allowHalfOpen: true }))
}

async function service(onConnection: (socket: Socket) => void, path?: string): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, onConnection)
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  closers.push(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  await new Promise<void>((resolve) =>
    path === undefined ? server.listen(0, LOOPBACK, resolve) : server.listen(path, resolve),
  )
  return server
}

function portOf(server: Server): number {
  const bound = server.address()
  return typeof bound === 'object' && bound !== null ? bound.port : 0
}

/** A local UDP socket that keeps what comes. */
async function udpSocket(address = LOOPBACK) {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  const received: Buffer[] = []
  const from: number[] = []
  socket.on('message', (data, sender) => {
    received.push(data)
    from.push(sender.port)
  })
  socket.on('error', () => {})
  let open = true
  const close = (): void => {
    if (open) socket.close()
    open = false
  }
  closers.push(close)
  await new Promise<void>((resolve) => socket.bind(0, address, resolve))
  socket.setRecvBufferSize(1 << 20)
  return { socket, received, from, port: socket.address().port, close }
}

function ask(client: { readonly socket: UdpSocket }, forward: Forward, data: string | Uint8Array): void {
  const [local] = forward.locals
  client.socket.send(data, local?.port ?? 0, local?.address)
}

/** The remote end of every connection that comes to a port of the tunnel. */
function arrive(network: MemoryNetwork, port: number, from = PEER): Remote {
  const flow = network.arrive(port, from)
  if (flow === undefined) throw new Error('nobody listens there')
  return new Remote(flow)
}

t.test('-L: both ways, half-closed by either side', async (t) => {
  const s = scene()
  const forward = await s.tcp()
  const list = remotes(s.network, 80, HOST)
  t.match(forward.locals, [{ address: LOOPBACK, port: Number }])
  const one = talk(forward)
  one.socket.end('question')
  await until(() => list[0]?.flow.ended === true, 'the end of the question')
  t.equal(list[0]?.text, 'question')
  list[0]?.say('a late answer')
  await until(() => one.text === 'a late answer')
  list[0]?.flow.end()
  await until(() => one.closed)
  t.equal(one.error, undefined)
  const two = talk(forward)
  await until(() => list.length === 2)
  list[1]?.say('banner')
  list[1]?.flow.end()
  await until(() => two.ended)
  two.socket.end('and the rest')
  await until(() => list[1]?.closed !== undefined)
  t.equal(list[1]?.text, 'and the rest')
  t.same(list[1]?.closed, { code: undefined })
  await until(() => s.told('done').length === 2 && forward.usage().connections === 0)
  t.same(forward.usage(), NOTHING)
  const purpose = { protocol: 'forward', host: HOST, port: 80 }
  t.match(s.events.slice(0, 2), [
    { type: 'accepted', client: 1 },
    { type: 'open', client: 1, ...purpose },
  ])
  t.match(s.told('done')[0], { client: 1, ...purpose, up: 8, down: 13, error: undefined })
  await s.stop(forward)
})

t.test('-L: what is sent before the connection stands', async (t) => {
  const s = scene()
  const forward = await s.tcp()
  const list = remotes(s.network, 80, HOST)
  s.network.route(HOST, 'open', 1000)
  const client = talk(forward)
  const block = new SeededRandom(1).bytes(300_000)
  client.socket.end(block)
  await until(() => client.socket.bytesWritten > 0 && forward.usage().connections === 1)
  await s.clock.advance(1000)
  await until(() => list[0]?.flow.ended === true)
  t.ok(list[0]?.received.equals(block))
  list[0]?.flow.end()
  await until(() => client.closed)
  await s.stop(forward)
})

t.test('-L: many small pieces make the client wait before they are many octets', async (t) => {
  const s = scene()
  const forward = await s.tcp()
  const list = remotes(s.network, 80, HOST)
  s.network.route(HOST, 'open', 1000)
  const { port } = forward.locals[0] ?? {}
  let ours: Socket | undefined
  const onSocket = (message: unknown): void => {
    const { socket } = message as { readonly socket: Socket }
    if (socket.localPort === port) ours = socket
  }
  subscribe('net.server.socket', onSocket)
  t.teardown(() => void unsubscribe('net.server.socket', onSocket))
  const client = talk(forward)
  await until(() => ours !== undefined && forward.usage().connections === 1)
  // As if each had come by itself: the kernel may join them.
  let pieces = 0
  while (ours?.isPaused() === false && pieces < 60_000) {
    ours.emit('data', Buffer.from('x'))
    pieces++
  }
  t.ok(pieces < 2000, String(pieces))
  await s.clock.advance(1000)
  await until(() => list[0]?.received.length === pieces)
  t.notOk(ours?.isPaused())
  client.socket.destroy()
  await until(() => client.closed)
  await s.stop(forward)
})

t.test('-L: a connection that does not come about is reset, and one event says why', async (t) => {
  const s = scene()
  const forward = await s.tcp(81)
  const client = talk(forward)
  client.socket.write('early')
  await until(() => client.closed)
  t.equal(client.error?.code, 'ECONNRESET')
  t.match(s.told('failed'), [{ client: 1, protocol: 'forward', host: HOST, port: 81, code: 'refused' }])
  t.equal(s.told('failed').length, 1)
  await s.stop(forward)
})

t.test('-L: a client that goes takes its dial with it', async (t) => {
  const s = scene()
  const forward = await s.tcp()
  s.network.route(HOST, 'silent')
  const client = talk(forward)
  await until(() => s.network.attempts.length === 1)
  client.socket.resetAndDestroy()
  await until(() => s.network.abandoned.length === 1)
  await until(() => forward.usage().connections === 0)
  t.same(forward.usage(), NOTHING)
  await s.stop(forward)
})

t.test('-L: more connections than may be', async (t) => {
  const s = scene({ connections: 1 })
  const forward = await s.tcp()
  remotes(s.network, 80, HOST)
  const one = talk(forward)
  await until(() => s.told('open').length === 1)
  const two = talk(forward)
  await until(() => two.closed)
  t.match(s.told('rejected'), [{ client: 2, reason: 'limit' }])
  t.notOk(one.closed)
  await s.stop(forward)
  await until(() => one.closed)
})

t.test('-L: only those who may', async (t) => {
  const s = scene({}, (address) => address !== LOOPBACK)
  const tcp = await s.tcp()
  const client = talk(tcp)
  await until(() => client.closed)
  t.match(s.told('rejected'), [{ client: 1, reason: 'forbidden', message: /--allow/ }])
  const udp = await s.udp()
  const sender = await udpSocket()
  for (let i = 0; i < 3; i++) ask(sender, udp, 'a')
  await until(() => s.told('rejected').length === 2)
  t.match(s.told('rejected')[1], { from: LOOPBACK, reason: 'forbidden' })
  t.equal(s.network.attempts.length + s.network.udpSockets.size, 0)
  await tcp.close()
  await s.stop(udp)
})

t.test('-L: IPv6 on both sides', async () => {
  const s = scene()
  const to = { host: '2001:db8::7', port: 80 }
  const forward = await s.open({
    kind: 'local',
    protocol: 'tcp',
    listen: { address: '::1', port: 0 },
    to,
  })
  const list = remotes(s.network, 80, '2001:db8::7')
  const client = talk(forward)
  await until(() => list.length === 1)
  list[0]?.say('six')
  await until(() => client.text === 'six')
  await s.stop(forward)
})

t.test('-L: a port that is taken', async (t) => {
  const s = scene()
  const server = await service(() => {})
  const listen = { address: LOOPBACK, port: portOf(server) }
  const to = { host: HOST, port: 80 }
  await t.rejects(s.open({ kind: 'local', protocol: 'tcp', listen, to }), { code: 'EADDRINUSE' })
  const { port } = await udpSocket()
  const udp = { address: LOOPBACK, port }
  await t.rejects(s.open({ kind: 'local', protocol: 'udp', listen: udp, to }), { code: 'EADDRINUSE' })
})

t.test('unix sockets on the local side', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'forward-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const s = scene()
  const path = join(directory, 'in')
  const forward = await s.open({
    kind: 'local',
    protocol: 'tcp',
    listen: { path },
    to: { host: HOST, port: 5432 },
  })
  t.same(forward.locals, [{ address: `unix:${path}`, port: 0 }])
  const list = remotes(s.network, 5432, HOST)
  const client = talk(forward)
  await until(() => list.length === 1)
  list[0]?.say('through a path')
  await until(() => client.text === 'through a path')
  const refused = talk(forward)
  s.network.route(HOST, 'prohibited')
  await until(() => refused.ended)
  t.match(s.told('failed'), [{ code: 'prohibited' }])
  await s.stop(forward)

  const there = join(directory, 'out')
  await service((socket) => socket.pipe(socket), there)
  const back = await s.remote('tcp', { path: there })
  const peer = arrive(s.network, 8080)
  peer.say('echo')
  await until(() => peer.text === 'echo')
  t.match(s.told('open').at(-1), { host: `unix:${there}`, port: 0 })
  await s.stop(back)
})

t.test('-L udp: every size, and each sender its own answers', async (t) => {
  const s = scene()
  const forward = await s.udp()
  const sizes: number[] = []
  s.network.listenUdp(HOST, 53, (data, reply) => {
    sizes.push(data.length)
    reply(data.map((octet) => octet ^ 0xff))
    // Nobody asked that one: it is not passed on.
    reply(Uint8Array.of(1), { address: '192.0.2.66', port: 53 })
  })
  const random = new SeededRandom(2)
  const one = await udpSocket()
  const two = await udpSocket()
  for (const size of [65_507, 30_000, 1473, 1472, 1, 0]) {
    const [a, b] = [random.bytes(size), random.bytes(size)]
    ask(one, forward, a)
    await until(() => one.received.length > 0, `an answer of ${size}`)
    ask(two, forward, b)
    await until(() => two.received.length > 0, `an answer of ${size}`)
    const wanted = [a, b].map((data) => Buffer.from(data.map((octet) => octet ^ 0xff)))
    t.same([one.received.length, two.received.length], [1, 1])
    t.ok(one.received.shift()?.equals(wanted[0] ?? Buffer.alloc(1)), `${size} octets`)
    t.ok(two.received.shift()?.equals(wanted[1] ?? Buffer.alloc(1)), `${size} octets`)
  }
  t.same(new Set([...one.from, ...two.from]), new Set([forward.locals[0]?.port]))
  t.same(forward.usage(), { connections: 2, flows: 2, timers: 1 })
  t.equal(s.network.udpSockets.size, 2)
  await s.stop(forward)
  t.match(s.told('done'), [
    { protocol: 'forward', up: 98453, down: 98453 },
    { up: 98453, down: 98453 },
  ])
})

t.test('-L udp: a quiet sender is forgotten, whoever talks or is answered stays', async (t) => {
  const s = scene()
  const forward = await s.udp()
  let push: ((data: Uint8Array) => void) | undefined
  s.network.listenUdp(HOST, 53, (data, reply) => {
    if (data[0] === 1) push = reply
  })
  const [quiet, busy, heard] = await Promise.all([udpSocket(), udpSocket(), udpSocket()])
  ask(quiet, forward, Uint8Array.of(0))
  ask(busy, forward, Uint8Array.of(0))
  ask(heard, forward, Uint8Array.of(1))
  await until(() => forward.usage().connections === 3 && push !== undefined)
  for (let minutes = 1; minutes <= 3; minutes++) {
    await s.clock.advance(59_000)
    ask(busy, forward, Uint8Array.of(0))
    push?.(Uint8Array.of(2))
    await until(() => heard.received.length === minutes)
    if (minutes === 2) t.equal(forward.usage().connections, 3, 'two minutes are not over')
  }
  t.equal(forward.usage().connections, 2, 'quiet for three minutes')
  t.equal(s.network.udpSockets.size, 2)
  await s.clock.advance(136_000)
  t.same(forward.usage(), NOTHING, 'and after two and a quarter all are')
  await s.stop(forward)
})

t.test('-L udp: the sender that was quiet longest makes room', async (t) => {
  const s = scene({ senders: 3 })
  const forward = await s.udp()
  s.network.listenUdp(HOST, 53, (data, reply) => reply(data))
  const clients = await Promise.all([1, 2, 3, 4].map(() => udpSocket()))
  for (const [i, client] of clients.entries()) {
    await s.clock.advance(16_000)
    ask(client, forward, 'a')
    await until(() => client.received.length === 1)
    if (i === 2) {
      await s.clock.advance(16_000)
      ask(clients[0] as (typeof clients)[0], forward, 'b')
      await until(() => clients[0]?.received.length === 2)
    }
  }
  t.equal(forward.usage().connections, 3)
  t.match(s.told('closed'), [{ client: 2 }])
  t.equal(s.told('closed').length, 1)
  await s.stop(forward)
})

t.test('-L udp: errors are told once and end nothing', async (t) => {
  const s = scene()
  const forward = await s.udp()
  s.network.listenUdp(HOST, 53, (data, reply) => reply(data))
  s.network.route(HOST, 'refused')
  const client = await udpSocket()
  for (let i = 0; i < 5; i++) ask(client, forward, 'a')
  await until(() => s.told('failed').length === 1)
  await s.clock.settle()
  t.match(s.told('failed'), [{ protocol: 'forward', host: HOST, port: 53, code: 'refused' }])
  t.equal(s.told('failed').length, 1)
  s.network.route(HOST, 'open')
  ask(client, forward, 'b')
  await until(() => client.received.length === 1)
  t.equal(s.told('accepted').length, 1, 'it is the same sender still')
  s.network.route(HOST, 'refused')
  await s.clock.advance(10_000)
  ask(client, forward, 'c')
  await until(() => s.told('failed').length === 2, 'told again after a while')
  await s.stop(forward)
})

t.test('-L udp: the tunnel goes and comes', async (t) => {
  const s = scene()
  const forward = await s.udp()
  s.network.listenUdp(HOST, 53, (data, reply) => reply(data))
  const client = await udpSocket()
  ask(client, forward, 'a')
  await until(() => client.received.length === 1)
  s.network.down()
  t.same(forward.usage().flows, 0)
  t.match(s.told('failed'), [{ code: 'tunnel-down' }])
  await s.clock.advance(10_000)
  ask(client, forward, 'b')
  await until(() => s.told('failed').length === 2)
  t.match(s.told('failed')[1], { code: 'tunnel-down' })
  s.network.up()
  ask(client, forward, 'c')
  await until(() => client.received.length === 2)
  t.equal(client.received[1]?.toString(), 'c')
  await s.stop(forward)
})

t.test('-R: both ways, half-closed by either side', async (t) => {
  const s = scene()
  const heard: Talk[] = []
  const server = await service((socket) => void heard.push(new Talk(socket)))
  const forward = await s.remote('tcp', { host: LOOPBACK, port: portOf(server) })
  t.same(
    forward.locals.map(({ port }) => port),
    [8080, 8080],
    'IPv4 and IPv6',
  )
  const peer = arrive(s.network, 8080)
  peer.say('question')
  peer.flow.end()
  await until(() => heard[0]?.ended === true)
  t.equal(heard[0]?.text, 'question')
  heard[0]?.socket.end('answer')
  await until(() => peer.closed !== undefined)
  t.equal(peer.text, 'answer')
  t.same(peer.closed, { code: undefined })
  const other = arrive(s.network, 8080, { address: '2001:db8::7', port: 1 })
  await until(() => heard.length === 2)
  heard[1]?.socket.end('banner')
  await until(() => other.flow.ended)
  other.say('still here')
  await until(() => heard[1]?.text === 'still here')
  other.flow.end()
  await until(() => other.closed !== undefined && forward.usage().connections === 0)
  t.same(forward.usage(), NOTHING)
  t.match(s.told('accepted')[0], { client: 1, from: `${PEER.address} ${PEER.port}` })
  t.match(s.told('done')[0], { protocol: 'forward', host: LOOPBACK, up: 6, down: 8, error: undefined })
  await s.stop(forward)
})

t.test('-R: a local service that is not there, does not answer, or breaks off', async (t) => {
  const s = scene()
  const gone = await service(() => {})
  const port = portOf(gone)
  await new Promise((resolve) => gone.close(resolve))
  const forward = await s.remote('tcp', { host: LOOPBACK, port })
  const peer = arrive(s.network, 8080)
  peer.say('hello?')
  await until(() => peer.closed !== undefined)
  t.same(peer.closed, { code: 'reset' })
  t.match(s.told('failed'), [
    { client: 1, protocol: 'forward', host: LOOPBACK, port, code: 'refused', message: /nobody listens/ },
  ])
  t.match(s.told('closed'), [{ client: 1 }])
  await until(() => forward.usage().connections === 0)
  t.same(forward.usage(), NOTHING)
  await s.stop(forward)

  const rude = await service((socket) => socket.resetAndDestroy())
  const second = await s.remote('tcp', { host: LOOPBACK, port: portOf(rude) })
  const reset = arrive(s.network, 8080)
  await until(() => reset.closed !== undefined)
  t.same(reset.closed, { code: 'reset' })
  await s.stop(second)
})

t.test('-R: a peer that goes while the local connection is made', async (t) => {
  const s = scene()
  const heard: Talk[] = []
  const server = await service((socket) => void heard.push(new Talk(socket)))
  const forward = await s.remote('tcp', { host: LOOPBACK, port: portOf(server) })
  const peer = arrive(s.network, 8080)
  await until(() => forward.usage().connections === 1)
  peer.flow.reset()
  await until(() => forward.usage().connections === 0)
  t.same(forward.usage(), NOTHING)
  await until(() => heard.every(({ closed }) => closed))
  await s.stop(forward)
})

t.test('-R: whoever does not read stops the sender, either way', async (t) => {
  const s = scene()
  const sockets: Socket[] = []
  const server = await service((socket) => void sockets.push(socket.pause()))
  const forward = await s.remote('tcp', { host: LOOPBACK, port: portOf(server) })
  const flow = s.network.arrive(8080, PEER)
  if (flow === undefined) throw new Error('nobody listens there')
  const stream = new FlowStream(flow)
  closers.push(() => stream.destroy())
  await until(() => sockets.length === 1)
  const block = new SeededRandom(5).bytes(65_536)
  let sent = 0
  for (let still = 0; still < 200; still++) {
    const before = sent
    if (!stream.writableNeedDrain) {
      stream.write(block)
      sent += block.length
    }
    await new Promise((resolve) => setImmediate(resolve))
    if (sent > before) still = 0
    if (sent > 64 << 20) break
  }
  t.ok(sent < 32 << 20, `${sent} octets went out to a service that does not read`)
  let received = 0
  sockets[0]?.on('data', (chunk: Buffer) => {
    for (let i = 0; i < chunk.length; i += 997) {
      if (chunk[i] !== block[(received + i) % block.length]) throw new Error(`wrong at ${received + i}`)
    }
    received += chunk.length
  })
  sockets[0]?.resume()
  stream.end()
  await until(() => received === sent, `${sent} octets`)
  await s.stop(forward)
})

t.test('-R: the port is there again, the same one, when the tunnel is', async (t) => {
  const s = scene()
  const server = await service((socket) => socket.end('hello'))
  const forward = await s.remote('tcp', { host: LOOPBACK, port: portOf(server) }, 0)
  const [first] = forward.locals
  const port = first?.port ?? 0
  const one = arrive(s.network, port)
  await until(() => one.text === 'hello')
  s.network.down()
  t.same(forward.locals, [])
  await s.clock.advance(20_000)
  t.same(forward.locals, [], 'not while it is down')
  s.network.up()
  await s.clock.advance(8000)
  t.match(forward.locals[0], { port })
  const two = arrive(s.network, port)
  await until(() => two.text === 'hello')
  t.equal(s.told('failed').length, 0)
  await s.stop(forward)
})

t.test('-R: opened while the tunnel is down, or on a port that is taken', async (t) => {
  const s = scene()
  const server = await service((socket) => socket.end('hello'))
  const to = { host: LOOPBACK, port: portOf(server) }
  s.network.down()
  const waiting = await s.remote('tcp', to)
  const datagrams = await s.remote('udp', to)
  t.same([waiting.locals, datagrams.locals], [[], []])
  s.network.up()
  await s.clock.advance(1000)
  t.match([waiting.locals[0], datagrams.locals[0]], [{ port: 8080 }, { port: 8080 }])
  await t.rejects(s.remote('tcp', to), { code: 'no-resources' })
  await t.rejects(s.remote('udp', to), { code: 'no-resources' })
  await datagrams.close()
  await s.stop(waiting)
})

t.test('-R: more connections than may be', async (t) => {
  const s = scene({ connections: 1 })
  const server = await service(() => {})
  const forward = await s.remote('tcp', { host: LOOPBACK, port: portOf(server) })
  const one = arrive(s.network, 8080)
  const two = arrive(s.network, 8080)
  await until(() => two.closed !== undefined)
  t.same(two.closed, { code: 'reset' })
  t.match(s.told('rejected'), [{ client: 2, reason: 'limit' }])
  t.equal(one.closed, undefined)
  await s.stop(forward)
})

t.test('-R udp: every size, and each sender its own answers', async (t) => {
  const s = scene()
  const echo = await udpSocket()
  echo.socket.on('message', (data, from) =>
    echo.socket.send(
      data.map((octet) => octet ^ 0xff),
      from.port,
      from.address,
    ),
  )
  const forward = await s.remote('udp', { host: LOOPBACK, port: echo.port }, 514)
  t.match(forward.locals, [{ port: 514 }])
  const answers = new Map<number, Buffer[]>()
  for (const port of [1000, 2000]) {
    const list: Buffer[] = []
    answers.set(port, list)
    s.network.listenUdp(PEER.address, port, (data) => void list.push(Buffer.from(data)))
  }
  const random = new SeededRandom(3)
  for (const size of [65_507, 1473, 1, 0]) {
    for (const [port, list] of answers) {
      const data = random.bytes(size)
      t.ok(s.network.arriveUdp(514, { address: PEER.address, port }, data))
      await until(() => list.length === 1, `an answer of ${size}`)
      t.ok(list.shift()?.equals(data.map((octet) => octet ^ 0xff)), `${size} octets to ${port}`)
    }
  }
  t.equal(new Set(echo.from).size, 2, 'each has a socket of its own')
  t.same(forward.usage(), { connections: 2, flows: 1, timers: 1 })
  await s.clock.advance(136_000)
  await until(() => forward.usage().connections === 0)
  t.same(forward.usage(), { connections: 0, flows: 1, timers: 0 }, 'quiet ones are forgotten')
  t.match(s.told('done'), [
    { up: 66_981, down: 66_981 },
    { up: 66_981, down: 66_981 },
  ])
  await s.stop(forward)
})

t.test('-R udp: a service that is not there, and a tunnel that goes and comes', async (t) => {
  const s = scene()
  const gone = await udpSocket()
  gone.close()
  const forward = await s.remote('udp', { host: LOOPBACK, port: gone.port }, 514)
  s.network.arriveUdp(514, PEER, Buffer.from('a'))
  await until(() => s.told('failed').length === 1)
  t.match(s.told('failed'), [{ protocol: 'forward', code: 'refused', message: /local service/ }])
  t.equal(forward.usage().connections, 1, 'it may come back')
  s.network.down()
  t.same(forward.locals, [])
  await until(() => forward.usage().connections === 0)
  s.network.up()
  await s.clock.advance(1000)
  t.match(forward.locals, [{ port: 514 }])
  s.network.arriveUdp(514, PEER, Buffer.from('a'))
  await until(() => forward.usage().connections === 1)
  await s.stop(forward)
})

t.test('-R udp: at most so many senders', async () => {
  const s = scene({ senders: 2 })
  const silent = await udpSocket()
  const forward = await s.remote('udp', { host: LOOPBACK, port: silent.port }, 514)
  for (let port = 1; port <= 5; port++) s.network.arriveUdp(514, { ...PEER, port }, Buffer.from('a'))
  await until(() => s.told('accepted').length === 5 && forward.usage().connections === 2)
  await s.stop(forward)
})

t.test('closing with connections open', async (t) => {
  const s = scene()
  const list = remotes(s.network, 80, HOST)
  const local = await s.tcp()
  const client = talk(local)
  await until(() => list.length === 1)
  await s.stop(local)
  await until(() => client.closed && list[0]?.closed !== undefined)
  t.equal(client.error?.code, 'ECONNRESET')
  t.same(list[0]?.closed, { code: 'reset' })
  const heard: Talk[] = []
  const server = await service((socket) => void heard.push(new Talk(socket)))
  const remote = await s.remote('tcp', { host: LOOPBACK, port: portOf(server) })
  const joined = arrive(s.network, 8080)
  await until(() => heard.length === 1 && s.told('open').length === 2)
  const joining = arrive(s.network, 8080)
  await until(() => remote.usage().connections === 2)
  await s.stop(remote)
  await until(() => joined.closed !== undefined && joining.closed !== undefined)
  t.same([joined.closed, joining.closed], [{ code: 'reset' }, { code: 'reset' }])
})
