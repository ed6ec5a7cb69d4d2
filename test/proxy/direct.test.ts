import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/dns/clock.js'
import { Resolver } from '../../src/dns/resolver.js'
import {
  createDirectDialer,
  type DirectOptions,
  isOwnPort,
  machineAddresses,
  type SystemResolver,
} from '../../src/proxy/direct.js'
import { HIGH_WATER } from '../../src/proxy/direct-flow.js'
import { createDirectNetwork, namesElsewhere } from '../../src/proxy/direct-network.js'
import type { DatagramFlow, DialError, Dialer, Endpoint, Flow } from '../../src/tunnel/dialer.js'
import { rulesOf } from '../helpers/rules.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const LOOP = '127.0.0.1'
/** Names of the tests' own, which no real resolver is asked for. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  'host.example': [LOOP],
  'two.example': ['127.0.0.2', LOOP],
  'mixed.example': ['10.255.255.1', LOOP],
  'evil.example': [LOOP, '169.254.169.254', '::1', 'fe80::1%lo', '::ffff:127.0.0.1'],
  'none.example': [],
}

/** Loopback is open here, as `direct 127.0.0.0/8` has it. */
function dialer(options: DirectOptions = {}): Dialer {
  return createDirectDialer({
    allow: (address) => address.startsWith('127.') || address === '::1',
    resolver: {
      async lookup(name) {
        const found = NAMES[name]
        if (found === undefined) throw Object.assign(new Error('no'), { code: 'ENOTFOUND' })
        return found
      },
      reverse: async () => ['Host.Example.'],
    },
    ...options,
  })
}

async function serve(t: Test, onClient: (socket: Socket) => void): Promise<number> {
  const clients = new Set<Socket>()
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    clients.add(socket)
    socket.on('error', () => {})
    onClient(socket)
  })
  server.listen(0, LOOP)
  await once(server, 'listening')
  t.teardown(() => {
    for (const client of clients) client.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

interface Seen {
  readonly chunks: Buffer[]
  writable: number
  closed: Promise<DialError | undefined>
}

/** Reads all that comes, as it comes. */
function watch(flow: Flow, read = true): Seen {
  const chunks: Buffer[] = []
  let resolve: (error: DialError | undefined) => void = () => {}
  const seen: Seen = {
    chunks,
    writable: 0,
    closed: new Promise((r) => {
      resolve = r
    }),
  }
  flow.handler = {
    onReadable() {
      if (!read) return
      while (flow.readable > 0) {
        const view = flow.peek()
        chunks.push(Buffer.from(view))
        flow.consume(view.length)
      }
      if (flow.ended) flow.end()
    },
    onWritable() {
      seen.writable++
    },
    onClose: resolve,
  }
  return seen
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

t.test('both directions end in order', async (t) => {
  const port = await serve(t, (socket) => {
    socket.write('hello ')
    socket.once('data', (chunk) => socket.end(`you said ${chunk}`))
  })
  const flow = await dialer().dial({ host: 'host.example', port })
  t.same(flow.remote, { address: LOOP, port })
  t.equal(flow.local.address, LOOP)
  const seen = watch(flow)
  flow.write(Buffer.from('abc'))
  t.equal(await seen.closed, undefined)
  t.equal(Buffer.concat(seen.chunks).toString(), 'hello you said abc')
  t.ok(flow.ended)
  t.equal(flow.queued, 0)
  t.equal(flow.write(Buffer.from('late')), true)
})

t.test('half-closed: the other direction goes on', async (t) => {
  const port = await serve(t, (socket) => {
    socket.resume()
    socket.on('end', () => {
      socket.write('after ')
      setImmediate(() => socket.end('your end'))
    })
  })
  const flow = await dialer().dial({ host: LOOP, port })
  const seen = watch(flow)
  flow.end()
  t.equal(await seen.closed, undefined)
  t.equal(Buffer.concat(seen.chunks).toString(), 'after your end')
})

t.test('what is not consumed stays bounded, and waits for the end', async (t) => {
  const total = 8 * HIGH_WATER
  let sent = 0
  const port = await serve(t, (socket) => {
    const chunk = Buffer.alloc(65_536, 7)
    const push = (): void => {
      while (sent < total) {
        sent += chunk.length
        if (!socket.write(chunk)) {
          socket.once('drain', push)
          return
        }
      }
      socket.end()
    }
    push()
  })
  const flow = await dialer().dial({ host: LOOP, port })
  // Without a handler it gathers too, up to the mark and one read more.
  while (flow.readable < HIGH_WATER) await turn()
  for (let i = 0; i < 20; i++) await turn()
  t.ok(flow.readable <= HIGH_WATER + 65_536, String(flow.readable))
  const first = flow.peek()
  t.ok(flow.peek(first.length).length > 0, 'the next piece')
  t.equal(flow.peek(flow.readable).length, 0)
  t.equal(flow.peek(1).length, first.length - 1)
  t.throws(() => flow.consume(flow.readable + 1), RangeError)

  let got = 0
  const over = new Promise<unknown>((resolve) => {
    flow.handler = {
      onReadable() {
        // Never all at once.
        const n = Math.min(flow.readable, 50_000)
        got += n
        flow.consume(n)
        if (flow.readable > 0) setImmediate(() => this.onReadable())
        else if (flow.ended) flow.end()
      },
      onWritable() {},
      onClose: resolve,
    }
  })
  t.equal(await over, undefined)
  t.equal(got, total)
})

t.test('an end in order waits until all is consumed', async (t) => {
  const port = await serve(t, (socket) => socket.end('last words'))
  const flow = await dialer().dial({ host: LOOP, port })
  flow.end()
  const seen = watch(flow, false)
  let over = false
  void seen.closed.then(() => {
    over = true
  })
  while (!flow.ended) await turn()
  for (let i = 0; i < 20; i++) await turn()
  t.notOk(over)
  t.equal(Buffer.from(flow.peek()).toString(), 'last words')
  flow.consume(10)
  t.equal(await seen.closed, undefined)
})

t.test('a full flow says so, and when there is room', async (t) => {
  let server: Socket | undefined
  const port = await serve(t, (socket) => {
    server = socket
    socket.pause()
  })
  const flow = await dialer().dial({ host: LOOP, port })
  const seen = watch(flow)
  const chunk = Buffer.alloc(1_048_576)
  let writes = 1
  while (flow.write(chunk)) writes++
  t.ok(flow.queued >= HIGH_WATER)
  t.ok(writes < 64)
  while (server === undefined) await turn()
  server.resume()
  while (seen.writable === 0) await turn()
  t.equal(flow.queued, 0)
  flow.reset()
  t.match(await seen.closed, { code: 'aborted' })
})

t.test('resets, from both sides', async (t) => {
  const ended: (string | undefined)[] = []
  let server: Socket | undefined
  const port = await serve(t, (socket) => {
    server = socket
    socket.on('error', (error: NodeJS.ErrnoException) => ended.push(error.code))
    socket.write('x')
  })
  const flow = await dialer().dial({ host: LOOP, port })
  const seen = watch(flow, false)
  while (flow.readable === 0) await turn()
  flow.reset()
  t.equal(flow.readable, 0)
  t.equal(flow.peek().length, 0)
  t.equal(flow.write(Buffer.from('y')), true)
  flow.end()
  t.match(await seen.closed, { code: 'aborted' })
  while (ended.length === 0) await turn()
  t.same(ended, ['ECONNRESET'])

  server = undefined
  const other = await dialer().dial({ host: LOOP, port })
  const theirs = watch(other)
  while (server === undefined || theirs.chunks.length === 0) await turn()
  ;(server as Socket).resetAndDestroy()
  t.match(await theirs.closed, {
    code: 'reset',
    message: `${LOOP}:${port} reset the connection (directly, not through the tunnel)`,
  })

  // libuv tells data and a reset that come together as data and an end.
  const abrupt = await serve(t, (socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write('x')
      socket.resetAndDestroy()
    })
  })
  for (let i = 0; i < 20; i++) {
    const flow = await dialer().dial({ host: LOOP, port: abrupt })
    const cut = watch(flow)
    flow.write(Buffer.from('go'))
    t.match(await cut.closed, { code: 'reset' }, 'right behind data')
    t.equal(Buffer.concat(cut.chunks).toString(), 'x', 'which came')
  }

  // Some of it in the flow, and some in the paused socket below.
  const large = await serve(t, (socket) => {
    server = socket
    socket.on('error', () => {})
    socket.write(Buffer.alloc(HIGH_WATER))
  })
  server = undefined
  const slow = await dialer().dial({ host: LOOP, port: large })
  while (slow.readable < HIGH_WATER) await turn()
  const { bytesWritten } = server as unknown as Socket
  t.equal(bytesWritten, HIGH_WATER)
  await new Promise<void>((done) => (server as unknown as Socket).write(Buffer.alloc(1000), () => done()))
  ;(server as unknown as Socket).resetAndDestroy()
  const all = watch(slow)
  t.match(await all.closed, { code: 'reset' })
  t.equal(Buffer.concat(all.chunks).length, HIGH_WATER + 1000)

  // It was over, and nobody reads what is left.
  for (const code of ['reset', undefined]) {
    const ends = await serve(t, (socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        socket.write('x')
        if (code === undefined) socket.end()
        else socket.resetAndDestroy()
      })
    })
    const left = await dialer().dial({ host: LOOP, port: ends })
    const unread = watch(left, false)
    let told = false
    void unread.closed.then(() => {
      told = true
    })
    left.write(Buffer.from('go'))
    if (code === undefined) left.end()
    while (left.readable === 0) await turn()
    for (let i = 0; i < 20; i++) await turn()
    t.notOk(told)
    left.reset()
    // Aborted, if the system has not told of the end yet.
    t.ok([code, 'aborted'].includes((await unread.closed)?.code))
  }

  const third = await dialer().dial({ host: LOOP, port })
  const late = new Promise((resolve) => {
    third.handler = { onReadable() {}, onWritable() {}, onClose: resolve }
  })
  third.end()
  third.reset()
  t.match(await late, { code: 'aborted' }, 'while its FIN is on the way')
})

t.test('what cannot be dialled', async (t) => {
  const port = await serve(t, (socket) => socket.destroy())
  const closed = createServer().listen(0, LOOP)
  await once(closed, 'listening')
  const refused = (closed.address() as AddressInfo).port
  closed.close()
  await once(closed, 'close')

  const strict = dialer({ allow: (address) => !/^(127|169|10)\.|:/.test(address) })
  const cases: [Dialer, string, number, string, RegExp][] = [
    [dialer(), LOOP, refused, 'refused', /refused the connection \(directly/],
    [dialer(), 'two.example', refused, 'refused', /refused/],
    [
      dialer(),
      'unknown.example',
      80,
      'name-not-found',
      /own resolver does not know unknown\.example \(.*--route\)/,
    ],
    [dialer(), 'none.example', 80, 'name-not-found', /does not know none/],
    [dialer(), 'x.onion', 80, 'name-not-found', /onion/],
    [dialer(), '127.1', 80, 'name-invalid', /neither/],
    [dialer(), 'a b', 80, 'name-invalid', /not a host name/],
    [dialer(), LOOP, 0, 'not-allowed', /not a port/],
    [strict, 'evil.example', port, 'not-allowed', /127\.0\.0\.1|::1|169/],
    [strict, 'localhost', port, 'not-allowed', /an address of localhost.*only a rule that names it/],
    [createDirectDialer(), LOOP, port, 'not-allowed', /"direct 127\.0\.0\.1:\d+", allows that/],
    [createDirectDialer(), '::1', port, 'not-allowed', /"direct \[::1\]:\d+"/],
    [createDirectDialer(), '::ffff:127.0.0.1', port, 'not-allowed', /127\.0\.0\.1/],
    [createDirectDialer(), '169.254.169.254', 80, 'not-allowed', /169/],
    [createDirectDialer(), '0.0.0.0', port, 'not-allowed', /0\.0\.0\.0/],
    [
      dialer({ own: () => [{ address: '0.0.0.0', port }] }),
      LOOP,
      port,
      'not-allowed',
      /is this program itself/,
    ],
  ]
  for (const [d, host, at, code, message] of cases)
    await t.rejects(d.dial({ host, port: at }), { name: 'DialError', code, message }, `${host} ${code}`)
  await t.rejects(dialer().dial({ host: LOOP, port }, { signal: AbortSignal.abort() }), { code: 'aborted' })
  t.throws(() => dialer().listen({ port: 0 }), { code: 'not-allowed' })
})

t.test('several addresses: those that are not allowed are left out, the rest are tried', async (t) => {
  const port = await serve(t, (socket) => socket.resume())
  const flow = await dialer().dial({ host: 'mixed.example', port })
  t.equal(flow.remote.address, LOOP)
  const second = await dialer().dial({ host: 'two.example', port })
  t.equal(second.remote.address, LOOP, '127.0.0.2 refused')
  const local = await dialer().dial({ host: 'app.localhost', port })
  t.equal(local.remote.address, LOOP, 'and nobody was asked')
  for (const f of [flow, second, local]) {
    const seen = watch(f)
    f.reset()
    await seen.closed
  }
})

t.test('time and patience', async (t) => {
  const clock = new VirtualClock()
  const never = new Promise<never>(() => {})
  const silent = dialer({ clock, resolver: { lookup: () => never, reverse: () => never } })
  await t.rejects(clock.run(silent.dial({ host: 'slow.example', port: 1 }, { timeout: 500 })), {
    code: 'name-timed-out',
  })
  await t.rejects(clock.run(silent.resolve('slow.example', { timeout: 500 })), { code: 'name-timed-out' })
  await t.rejects(clock.run(silent.reverse(LOOP, { timeout: 500 })), { code: 'name-timed-out' })
  const abort = new AbortController()
  const asked = silent.dial({ host: 'slow.example', port: 1 }, { signal: abort.signal })
  abort.abort()
  await t.rejects(asked, { code: 'aborted' })
  t.equal(clock.pending, 0)
})

t.test('names and addresses', async (t) => {
  const d = dialer()
  t.same(await d.resolve('two.example'), ['127.0.0.2', LOOP])
  t.same(await d.resolve('[::1]'), ['::1'])
  t.same(await d.resolve('evil.example'), [LOOP, '169.254.169.254', '::1'], 'no zones, no doubles')
  t.equal(await d.reverse(LOOP), 'host.example')
  await t.rejects(d.reverse('x'), { code: 'name-invalid' })
  const failing = (code: string): Dialer => {
    const fail = async () => {
      throw Object.assign(new Error(code), { code })
    }
    return dialer({ resolver: { lookup: fail, reverse: fail } })
  }
  await t.rejects(failing('EAI_AGAIN').resolve('x.example'), { code: 'name-failed' })
  await t.rejects(failing('ENOTFOUND').reverse(LOOP), { code: 'name-not-found' })
  t.same(await createDirectDialer().resolve('localhost'), [LOOP, '::1'])
})

t.test('its own ports, by whatever address', async (t) => {
  const machine = () => ['127.0.0.1', '::1', '192.0.2.7']
  const cases: [string, string, boolean][] = [
    ['127.0.0.1', '127.0.0.1', true],
    ['127.0.0.1', '127.0.0.2', false],
    ['127.0.0.1', '0.0.0.0', true],
    ['127.0.0.1', '192.0.2.7', false],
    ['localhost', '127.0.0.1', true],
    ['localhost', '::1', true],
    ['0.0.0.0', '127.9.9.9', true],
    ['::', '192.0.2.7', true],
    ['0.0.0.0', '192.0.2.8', false],
    ['192.0.2.7', '192.0.2.7', true],
  ]
  for (const [address, to, own] of cases) {
    t.equal(isOwnPort([{ address, port: 1080 }], to, 1080, machine), own, `${address} ${to}`)
    t.notOk(isOwnPort([{ address, port: 1080 }], to, 1081, machine))
  }
})

async function udpServer(t: Test): Promise<{ socket: UdpSocket; port: number }> {
  const socket = createSocket('udp4')
  socket.bind(0, LOOP)
  await once(socket, 'listening')
  t.teardown(() => socket.close())
  return { socket, port: socket.address().port }
}

interface Datagrams {
  readonly got: [string, Endpoint][]
  readonly errors: DialError[]
}

function collect(flow: DatagramFlow): Datagrams {
  const seen: Datagrams = { got: [], errors: [] }
  flow.handler = {
    onDatagram: (data, { address, port }) =>
      void seen.got.push([Buffer.from(data).toString(), { address, port }]),
    onError: (error) => void seen.errors.push(error),
  }
  return seen
}

t.test('datagrams, by name and address', async (t) => {
  const { socket, port } = await udpServer(t)
  const stranger = await udpServer(t)
  const froms: number[] = []
  socket.on('message', (data, from) => {
    froms.push(from.port)
    socket.send(`re ${data}`, from.port, from.address)
  })
  const flow = dialer().openDatagrams()
  t.same(flow.local, { address: '', port: 0 })
  const seen = collect(flow)
  const data = Buffer.from('one')
  flow.send(data, { host: 'host.example', port })
  data.fill(0)
  flow.send(Buffer.from('two'), { host: LOOP, port })
  while (seen.got.length < 2) await turn()
  t.same(seen.got.map(([text]) => text).sort(), ['re one', 're two'])
  t.same(seen.got[0]?.[1], { address: LOOP, port })
  t.same(froms, [flow.local.port, flow.local.port], 'one port')

  // Somebody at another address.
  const far = createSocket('udp4')
  far.bind(0, '127.0.0.3')
  await once(far, 'listening')
  t.teardown(() => far.close())
  far.send('unasked', flow.local.port, LOOP)
  stranger.socket.send('same host', flow.local.port, LOOP)
  while (seen.got.length < 3) await turn()
  t.equal(seen.got[2]?.[0], 'same host')
  t.equal(seen.got.length, 3)

  flow.send(Buffer.from('x'), { host: '10.0.0.1', port })
  flow.send(Buffer.from('x'), { host: 'unknown.example', port })
  flow.send(Buffer.from('x'), { host: LOOP, port: 0 })
  flow.send(Buffer.alloc(66_000), { host: LOOP, port })
  while (seen.errors.length < 4) await turn()
  t.same(seen.errors.map(({ code }) => code).sort(), [
    'name-not-found',
    'not-allowed',
    'not-allowed',
    'too-large',
  ])
  flow.close()
  flow.close()
  flow.send(Buffer.from('x'), { host: LOOP, port })
})

t.test('datagrams to a name whose address changes', async (t) => {
  const clock = new VirtualClock()
  const bound = async (port: number, address: string): Promise<UdpSocket | undefined> => {
    const socket = createSocket('udp4')
    socket.bind({ port, address, exclusive: true })
    // Somebody else may have that port of the other address.
    if (await once(socket, 'listening').catch(() => undefined)) return socket
    socket.close()
    return undefined
  }
  let servers: UdpSocket[] = []
  while (servers.length < 2) {
    for (const socket of servers) socket.close()
    const one = await bound(0, LOOP)
    const other = await bound(one?.address().port ?? 0, '127.0.0.3')
    servers = [one, other].filter((socket) => socket !== undefined)
  }
  const port = servers[0]?.address().port ?? 0
  const heard: string[] = []
  for (const [who, socket] of servers.entries()) {
    t.teardown(() => socket.close())
    socket.on('message', (data, from) => {
      heard.push(`${who} ${data}`)
      socket.send(`re ${data}`, from.port, from.address)
    })
  }
  for (const fixed of [false, true]) {
    let addresses: readonly string[] | undefined = [LOOP]
    let asked = 0
    const resolver: SystemResolver = {
      lookup: async () => {
        asked++
        if (addresses === undefined) throw Object.assign(new Error(), { code: 'EAI_AGAIN' })
        return addresses
      },
      reverse: async () => [],
    }
    const to = { host: 'dyn.example', port }
    const dialer = createDirectDialer({ allow: () => true, resolver, clock })
    const flow = dialer.openDatagrams(fixed ? { remote: to } : {})
    const seen = collect(flow)
    heard.splice(0)
    const send = async (text: string) => {
      const count = seen.got.length
      flow.send(Buffer.from(text), to)
      while (seen.got.length === count) await turn()
      await clock.settle()
    }
    await send('a')
    addresses = ['127.0.0.3', LOOP]
    await clock.advance(61_000)
    await send('b')
    await send('c')
    t.equal(asked, 2)
    addresses = undefined
    await clock.advance(61_000)
    await send('d')
    t.same(seen.errors, [])
    addresses = ['127.0.0.3']
    await clock.advance(6000)
    await send('e')
    t.equal(asked, 4)
    await send('f')
    t.same(heard, ['0 a', '0 b', '0 c', '0 d', '0 e', '1 f'])
    flow.close()
  }
})

t.test('datagrams with one remote end hear of ICMP errors', async (t) => {
  const { socket, port } = await udpServer(t)
  socket.on('message', (data, from) => socket.send(data, from.port, from.address))
  const flow = dialer().openDatagrams({ remote: { host: 'host.example', port } })
  const seen = collect(flow)
  flow.send(Buffer.from('one'), { host: 'host.example', port })
  while (seen.got.length < 1) await turn()
  flow.send(Buffer.from('two'), { host: 'host.example', port })
  while (seen.got.length < 2) await turn()
  flow.close()

  const gone = createSocket('udp4')
  gone.bind(0, LOOP)
  await once(gone, 'listening')
  const dead = gone.address().port
  gone.close()
  await once(gone, 'close')
  const other = dialer().openDatagrams({ remote: { host: LOOP, port: dead } })
  const errors = collect(other).errors
  other.send(Buffer.from('x'), { host: LOOP, port: dead })
  while (errors.length === 0) await turn()
  t.match(errors[0], { code: 'refused' })
  other.close()

  const taken = dialer().openDatagrams({ port })
  const failed = collect(taken).errors
  taken.send(Buffer.from('x'), { host: LOOP, port: dead })
  while (failed.length === 0) await turn()
  // On every address: another socket has this port on one of them.
  t.equal(failed[0]?.code, 'no-resources')
  taken.close()
})

t.test('names that are asked for past the tunnel', async (t) => {
  const source = (name: string) => ({
    lookup: async () => ({ kind: 'absent', nxdomain: true, message: name, ttl: 0 }) as const,
    relay: async () => ({ kind: 'failed', code: 'name-failed', message: name }) as const,
  })
  const direct = source('direct')
  const elsewhere = namesElsewhere({
    rules: rulesOf('refuse ads.example\ndirect example\ndirect 10.0.0.0/8'),
    directNames: ['lab.corp'],
    direct,
  })
  t.equal(elsewhere('www.example'), direct)
  t.equal(elsewhere('x.lab.corp'), direct)
  t.equal(elsewhere('lab.corp'), direct)
  t.equal(elsewhere('corp'), undefined)
  t.equal(elsewhere('1.0.0.10.in-addr.arpa'), direct)
  t.equal(elsewhere('1.0.0.11.in-addr.arpa'), undefined)
  t.match(await elsewhere('x.ads.example')?.lookup('x.ads.example', 'A'), {
    kind: 'failed',
    code: 'not-allowed',
    message: /refused by the rule "refuse ads\.example"/,
  })
})

t.test('a resolver over the machine’s own network', async (t) => {
  const servers = ['192.0.2.53', '127.0.0.1', '::1', '127.0.0.53', '127.0.0.1:5353', '[::1]:5353']
  const network = createDirectNetwork({
    servers: () => servers,
    own: () => [{ address: 'localhost', port: 53 }],
  })
  t.same(network.dnsServers, ['192.0.2.53', '127.0.0.53'], 'not ourselves, which would go round in circles')
  t.throws(() => network.listen({ port: 1 }), { code: 'not-allowed' })

  const { socket, port } = await udpServer(t)
  socket.on('message', (data, from) => socket.send(data, from.port, from.address))
  const udp = network.openUdp({ remote: { address: LOOP, port } })
  const got = new Promise<string>((resolve, reject) => {
    udp.handler = { onDatagram: (data) => resolve(Buffer.from(data).toString()), onError: reject }
  })
  udp.send(Buffer.from('ping'), { address: LOOP, port })
  t.equal(await got, 'ping')
  udp.close()

  const echo = await serve(t, (client) => client.end('tcp'))
  const flow = await network.connect({ address: LOOP, port: echo })
  const seen = watch(flow)
  await seen.closed
  t.equal(Buffer.concat(seen.chunks).toString(), 'tcp')
  const resolver = new Resolver(createDirectNetwork({ servers: () => [] }), {
    anyServer: true,
    clock: systemClock,
  })
  await t.rejects(resolver.resolve('x.example'), { code: 'name-failed' }, 'no servers, nobody asked')
  resolver.close()
})

t.test('the addresses of this machine, while the system does not say', (t) => {
  const now = machineAddresses()
  t.ok(now.includes(LOOP))
  const full = (): never => {
    throw Object.assign(new Error('too many open files'), { code: 'EMFILE' })
  }
  t.same(machineAddresses(full), now)
  t.end()
})
