/**
 * No question about a name ever leaves outside the tunnel, unless a rule sends it there. The machine's own resolver is
 * watched while everything that takes names is given some.
 */
import dgram, { createSocket } from 'node:dgram'
import dns from 'node:dns'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import net, { connect, isIP } from 'node:net'
import packet from 'dns-packet'
import t from 'tap'
import { createDialer } from '../../src/dns/dialer.js'
import { listenDns } from '../../src/dns/server.js'
import { openForward } from '../../src/proxy/forward.js'
import { createRouting } from '../../src/proxy/routing.js'
import { Rules } from '../../src/proxy/rules.js'
import { listenProxy } from '../../src/proxy/server.js'
import { DialError } from '../../src/tunnel/dialer.js'
import { waitingDialer } from '../../src/tunnel/waiting-dialer.js'
import { a, respond, serveDns } from '../helpers/dns-server.js'
import { importsOf } from '../helpers/house.js'
import { MemoryNetwork } from '../helpers/memory-network.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

/** Who may turn to this machine's names and network, and why. */
const OUTSIDE: Readonly<Record<string, string>> = {
  'src/proxy/direct.ts': 'what rules send out directly',
  'src/proxy/direct-network.ts': 'names that rules send out directly',
  'src/proxy/forward-remote.ts': 'the side of -R that is this machine, which the user named',
  'src/proxy/forward-remote-udp.ts': 'the side of -R that is this machine, which the user named',
}

t.test('the source: who could ask outside', async (t) => {
  const found: string[] = []
  let files = 0
  for (const folder of ['src/dns', 'src/proxy', 'src/tunnel', 'src/link']) {
    for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue
      files++
      const path = `${folder}/${file}`.replaceAll('\\', '/')
      const text = readFileSync(path, 'utf8')
      const modules = importsOf({ path, text }).map((x) => x.to)
      // Ports that are listened on ask nobody; the path of a unix socket is no name.
      const dials = /\bimport\s*\{[^}]*\b(?:connect|createConnection)\b[^}]*\}\s*from 'node:net'/.test(text)
      const asks =
        modules.some((x) => /^node:(?:dns|https|http2|tls)\b/.test(x)) ||
        /\bfetch\(|\b(?:request|get)\b[^']*'node:http'/.test(text)
      if ((dials && !/connect\((?:\{ ?)?path\b/.test(text)) || asks) found.push(path)
    }
  }
  t.ok(files > 60, `${files} files were looked at`)
  t.same(found.sort(), Object.keys(OUTSIDE).sort())
})

/** Names that the machine was asked for, or asked to go to. */
const leaked: string[] = []

/** What Node does itself before it connects to an address is no question. */
const isName = (host: unknown): host is string => typeof host === 'string' && isIP(host) === 0 && host !== ''

type Methods = Record<string, (...args: unknown[]) => unknown>

function watchMethods(object: object, names: RegExp): void {
  const methods = object as Methods
  for (const name of Object.getOwnPropertyNames(object)) {
    const real = methods[name]
    if (!names.test(name) || typeof real !== 'function') continue
    methods[name] = function (this: unknown, ...args: unknown[]) {
      if (isName(args[0])) leaked.push(`${name} ${args[0]}`)
      // Nobody is really asked: an error, as from a machine without a network.
      if (isName(args[0]) || name.startsWith('resolve') || name === 'reverse') {
        if (!isName(args[0])) leaked.push(`${name} ${String(args[0])}`)
        const error = Object.assign(new Error(`${name} is watched`), { code: 'ENOTFOUND' })
        const callback = args.at(-1)
        if (typeof callback !== 'function') return Promise.reject(error)
        queueMicrotask(() => callback(error))
        return undefined
      }
      return real.apply(this, args)
    }
  }
}

watchMethods(dns, /^(?:lookup|lookupService|resolve\w*|reverse)$/)
watchMethods(dns.promises, /^(?:lookup|lookupService|resolve\w*|reverse)$/)
watchMethods(dns.Resolver.prototype, /^(?:resolve\w*|reverse)$/)
watchMethods(Object.getPrototypeOf(dns.Resolver.prototype), /^(?:resolve\w*|reverse)$/)
watchMethods(dns.promises.Resolver.prototype, /^(?:resolve\w*|reverse)$/)
/** The machine has a name server, as far as anybody asks. */
const SYSTEM_DNS = '198.51.100.53'
dns.getServers = () => [SYSTEM_DNS]

/** Where a call of a socket goes, if that is not this machine itself. */
const outward = (args: readonly unknown[]): string | undefined =>
  args.find(
    (x): x is string =>
      typeof x === 'string' && x !== '' && x !== '::1' && x !== 'localhost' && !x.startsWith('127.'),
  )

type Call = (this: unknown, ...args: unknown[]) => unknown

/** Calls to this machine go on; others are noted and fail, as on a machine without a network. */
function watchSockets(prototype: object, method: string, read: (args: unknown[]) => unknown[]): void {
  const methods = prototype as Record<string, Call>
  const real = methods[method] as Call
  methods[method] = function (this: unknown, ...args: unknown[]) {
    const to = outward(read(args))
    if (to === undefined) return real.apply(this, args)
    leaked.push(`${method} to ${to}`)
    const error = Object.assign(new Error(`${method} is watched`), { code: 'ENETUNREACH' })
    const callback = args.at(-1)
    if (this instanceof net.Socket) this.destroy(error)
    else if (typeof callback === 'function') queueMicrotask(() => callback(error))
    return this
  }
}

watchSockets(dgram.Socket.prototype, 'send', (args) => args.slice(1))
watchSockets(dgram.Socket.prototype, 'connect', (args) => args)
watchSockets(net.Socket.prototype, 'connect', (args) =>
  args.flat().flatMap((x) => (typeof x === 'object' && x !== null && 'host' in x ? [x.host] : [x])),
)
syncBuiltinESMExports()

const DNS = '10.0.0.53'
const INSIDE = '192.0.2.1'

/** The whole face of a bridge over a network in memory; `state.up` false: without a tunnel. */
async function bridge(rules: Rules, directNames: readonly string[] = []) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({
    dnsServers: [DNS],
    searchDomains: ['corp.local'],
    setTimer: clock.setTimer,
  })
  const asked = serveDns(network, DNS, (query) => {
    if (query.name.startsWith('silent')) return undefined
    if (query.name.startsWith('broken')) return respond(query, { rcode: 2 })
    if (query.name.startsWith('none')) return respond(query, { rcode: 3 })
    if (query.type === 'PTR')
      return respond(query, { answers: [{ type: 'PTR', name: query.name, ttl: 9, data: 'inside.example' }] })
    return respond(query, { answers: query.type === 'A' ? [a(query.name, INSIDE)] : [] })
  })
  network.listen(INSIDE, 80, (flow) => {
    flow.handler = {
      onReadable() {
        flow.consume(flow.readable)
        flow.write(Buffer.from('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'))
        flow.end()
      },
      onWritable() {},
      onClose() {},
    }
  })
  network.listenUdp(INSIDE, 7, (data, reply) => reply(data))
  const state = { up: true }
  const listeners: { address: string; port: number }[] = []
  const routing = createRouting({ rules, directNames, own: () => listeners, clock })
  const tunnel = createDialer({
    network: () => (state.up ? network : undefined),
    elsewhere: routing.elsewhere,
    clock,
  })
  const gate = {
    async whenUp(): Promise<void> {
      if (!state.up) throw new DialError('tunnel-reconnecting', 'the tunnel is being brought up again')
    },
  }
  const dialer = routing.dialer(waitingDialer(gate, tunnel))
  const proxy = await listenProxy({
    address: '127.0.0.1',
    port: 0,
    protocols: { socks: true, http: true },
    dialer,
  })
  const server = await listenDns({ address: '127.0.0.1', port: 0, names: tunnel.names, whenUp: gate.whenUp })
  const here = { address: '127.0.0.1', port: 0 }
  const forwards = await Promise.all([
    openForward(
      { kind: 'local', protocol: 'tcp', listen: here, to: { host: 'forward.example', port: 80 } },
      { dialer },
    ),
    openForward(
      { kind: 'local', protocol: 'udp', listen: here, to: { host: 'datagrams.example', port: 7 } },
      { dialer },
    ),
  ])
  listeners.push(proxy, server)

  /** Time goes on until `promise` is settled. */
  const meanwhile = async <T>(promise: Promise<T>): Promise<T> => {
    let settled = false
    const watched = promise.finally(() => {
      settled = true
    })
    watched.catch(() => {})
    while (!settled) await clock.advance(500)
    return watched
  }
  /** Everything that comes back until the connection ends, or for `octets`. */
  const talk = (port: number, octets: number, ...bytes: (string | Uint8Array)[]): Promise<string> =>
    meanwhile(
      new Promise((resolve) => {
        const socket = connect(port, '127.0.0.1')
        let received = ''
        const done = (): void => {
          socket.destroy()
          resolve(received)
        }
        socket.on('data', (chunk) => {
          received += chunk.toString('latin1')
          if (received.length >= octets) done()
        })
        socket.on('error', done)
        socket.on('close', done)
        for (const piece of bytes) socket.write(piece)
      }),
    )
  const datagram = async (port: number, bytes: Uint8Array): Promise<Buffer> => {
    const socket = createSocket('udp4')
    socket.send(bytes, port, '127.0.0.1')
    const [answer] = await meanwhile(once(socket, 'message'))
    socket.close()
    return answer
  }
  const close = async (): Promise<void> => {
    await Promise.all([proxy.close(), server.close(), ...forwards.map((x) => x.close())])
    routing.close()
  }
  return { asked, state, proxy, server, forwards, talk, datagram, close, dialer, meanwhile }
}

const query = (name: string, type = 'A') =>
  packet.encode({
    type: 'query',
    id: 1,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type: type as 'A', name, class: 'IN' }],
  })

/** SOCKS5 without authentication: greeting and request in one. */
function socks5(command: number, host: string, port: number): Buffer {
  const name = Buffer.from(host)
  return Buffer.concat([
    Buffer.of(5, 1, 0, 5, command, 0, 3, name.length),
    name,
    Buffer.of(port >> 8, port & 255),
  ])
}

const NAMES = [
  'inside',
  'inside.example',
  'none.example',
  'broken.example',
  'silent.example',
  'dc.corp.local',
]
const SPECIAL = ['x.onion', 'x.local', 'x.alt', 'x.invalid', 'localhost', '127.1', 'a b']

async function exercise(face: Awaited<ReturnType<typeof bridge>>): Promise<void> {
  const { proxy, server, forwards, talk, datagram, dialer, meanwhile } = face
  for (const host of [...NAMES, ...SPECIAL]) {
    await talk(proxy.port, 1000, socks5(1, host, 80), 'GET / HTTP/1.1\r\n\r\n')
    await talk(proxy.port, 1000, socks5(0xf0, host, 0))
    await talk(
      proxy.port,
      1000,
      Buffer.from(`\x04\x01\x00\x50\x00\x00\x00\x01me\x00${host}\x00`, 'latin1'),
      'GET / HTTP/1.1\r\n\r\n',
    )
    await talk(
      proxy.port,
      1000,
      `CONNECT ${host}:80 HTTP/1.1\r\nHost: ${host}:80\r\n\r\nGET / HTTP/1.1\r\n\r\n`,
    )
    await talk(proxy.port, 1000, `GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    await meanwhile(dialer.resolve(host).catch(() => undefined))
    if (host.includes(' ')) continue
    for (const type of ['A', 'AAAA', 'MX', 'HTTPS']) {
      await datagram(server.port, query(host, type))
      const message = query(host, type)
      await talk(server.port, 14, Buffer.of(0, message.length), message)
    }
  }
  await talk(proxy.port, 1000, Buffer.of(5, 1, 0, 5, 0xf1, 0, 1, 192, 0, 2, 1, 0, 0))
  await datagram(server.port, query('1.2.0.192.in-addr.arpa', 'PTR'))
  await meanwhile(dialer.reverse('192.0.2.1').catch(() => undefined))
  const [tcp, udp] = forwards.map((x) => x.locals[0]?.port ?? 0)
  await talk(tcp ?? 0, 1000, 'GET / HTTP/1.1\r\n\r\n')
  if (face.state.up) await datagram(udp ?? 0, Buffer.from('hello'))

  // UDP ASSOCIATE, with names in its datagrams.
  const control = connect(proxy.port, '127.0.0.1')
  control.on('error', () => {})
  control.write(Buffer.of(5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0))
  let reply = Buffer.alloc(0)
  while (reply.length < 12) {
    const [chunk] = await Promise.race([once(control, 'data'), once(control, 'close')])
    if (!Buffer.isBuffer(chunk)) break
    reply = Buffer.concat([reply, chunk])
  }
  if (reply.length >= 12 && reply.readUInt8(3) === 0) {
    const relay = reply.readUInt16BE(10)
    const socket = createSocket('udp4')
    for (const host of [...SPECIAL, ...NAMES]) {
      const name = Buffer.from(host)
      socket.send(
        Buffer.concat([Buffer.of(0, 0, 0, 3, name.length), name, Buffer.of(0, 7, 0x68)]),
        relay,
        '127.0.0.1',
      )
    }
    await meanwhile(once(socket, 'message'))
    socket.close()
  }
  control.destroy()
}

t.test('a bridge without rules asks the tunnel and nobody else', async (t) => {
  leaked.length = 0
  const face = await bridge(new Rules([], 'tunnel'))
  t.teardown(face.close)
  await exercise(face)
  t.same(leaked, [])
  const names = new Set(face.asked.map((x) => x.name))
  for (const name of [
    'inside.example',
    'forward.example',
    'datagrams.example',
    'dc.corp.local',
    'inside.corp.local',
  ])
    t.ok(names.has(name), `${name} was asked for inside`)
  for (const name of ['x.onion', 'x.local', 'localhost', 'x.alt']) t.notOk(names.has(name), name)
})

t.test('without a tunnel nobody is asked at all', async (t) => {
  leaked.length = 0
  const face = await bridge(new Rules([], 'tunnel'))
  t.teardown(face.close)
  face.state.up = false
  await exercise(face)
  t.same(leaked, [])
  t.same(face.asked, [])
})

t.test('only what a rule sends out goes out', async (t) => {
  leaked.length = 0
  const target = { kind: 'domain', name: 'out.example' } as const
  const face = await bridge(
    new Rules([{ way: 'direct', target, text: 'direct out.example', origin: 'a test' }], 'tunnel'),
  )
  t.teardown(face.close)
  await exercise(face)
  t.same(leaked, [], 'nothing else does')
  await face.talk(face.proxy.port, 1000, socks5(1, 'www.out.example', 80))
  t.same(leaked, ['lookup www.out.example'], 'and this is how the watcher looks when something does')
  await face.datagram(face.server.port, query('www.out.example'))
  t.same(leaked.slice(1), [`connect to ${SYSTEM_DNS}`])
  t.notOk(face.asked.some((x) => x.name.includes('out.example')))
})

t.test('names that --dns DOMAIN=direct sends out, and no others', async (t) => {
  leaked.length = 0
  const face = await bridge(new Rules([], 'tunnel'), ['out.example'])
  t.teardown(face.close)
  await exercise(face)
  t.same(leaked, [])
  const uses: [string, () => Promise<unknown>][] = [
    ['A', () => face.datagram(face.server.port, query('a.out.example'))],
    ['MX', () => face.datagram(face.server.port, query('out.example', 'MX'))],
    ['CONNECT', () => face.talk(face.proxy.port, 1000, socks5(1, 'c.out.example.', 80))],
    ['RESOLVE', () => face.talk(face.proxy.port, 1000, socks5(0xf0, 'd.out.example.', 0))],
  ]
  for (const [what, use] of uses) {
    leaked.length = 0
    await use()
    t.same(new Set(leaked), new Set([`connect to ${SYSTEM_DNS}`]), what)
  }
  leaked.length = 0
  await face.datagram(face.server.port, query('notout.example'))
  t.same(leaked, [])
  t.notOk(face.asked.some((x) => x.name.endsWith('.out.example') || x.name === 'out.example'))
})
