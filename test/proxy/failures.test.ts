/** docs/failures.md, cell by cell: each failure, made to happen, at each entrance of a bridge that runs. */
import { createSocket, type Socket } from 'node:dgram'
import { subscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { connect, type Socket as TcpSocket } from 'node:net'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import packet from 'dns-packet'
import t from 'tap'
import { nc } from '../../src/cli/nc.js'
import { createDialer } from '../../src/dns/dialer.js'
import { listenDns } from '../../src/dns/server.js'
import { createLogger } from '../../src/observe/logger.js'
import { PROXY_LINES, ProxyLog } from '../../src/observe/proxy-log.js'
import { openForward } from '../../src/proxy/forward.js'
import { createRouting } from '../../src/proxy/routing.js'
import { listenProxy, type ProxyOptions } from '../../src/proxy/server.js'
import { SocksCommand } from '../../src/proxy/socks5.js'
import { DialError } from '../../src/tunnel/dialer.js'
import { waitingDialer } from '../../src/tunnel/waiting-dialer.js'
import { a, respond, serveDns } from '../helpers/dns-server.js'
import { MemoryNetwork } from '../helpers/memory-network.js'
import { DNS, Talk, until } from '../helpers/proxy.js'
import { rulesOf } from '../helpers/rules.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const PAGE = fileURLToPath(new URL('../../docs/failures.md', import.meta.url))
const RECONNECT_WAIT = 10_000

interface Line {
  readonly level: number
  readonly msg: string
  readonly code?: string
  readonly reason?: string
}

/** The TCP connections of this process: the clients' ends, and the others by the client's port. */
const dialled = new Set<TcpSocket>()
const accepted = new Map<number, TcpSocket>()
subscribe('net.client.socket', (message) => void dialled.add((message as { socket: TcpSocket }).socket))
subscribe('net.server.socket', (message) => {
  const { socket } = message as { socket: TcpSocket }
  accepted.set(socket.remotePort ?? 0, socket)
})

/** Whether no octet is on its way between a client and the bridge. */
function isQuiet(): boolean {
  const has = (from: TcpSocket, to: TcpSocket): boolean =>
    from.destroyed || to.destroyed || from.bytesWritten === to.bytesRead
  for (const client of dialled) {
    const theirs = accepted.get(client.localPort ?? 0)
    if (client.destroyed) dialled.delete(client)
    else if (theirs === undefined || !has(client, theirs) || !has(theirs, client)) return false
  }
  return true
}

/** A bridge over a network where everything fails, one way or another. */
async function startBridge(
  options: Partial<ProxyOptions> = {},
  state: 'up' | 'down' | 'reconnecting' = 'up',
  rules = '',
) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: [DNS], setTimer: clock.setTimer })
  network.isDown = state === 'down'
  network.route('192.0.2.10', 'refused')
  network.route('192.0.2.11', 'silent')
  network.route('192.0.2.12', 'prohibited')
  network.route('192.0.2.13', 'host-unreachable')
  network.route('192.0.2.14', 'network-unreachable')
  network.route('192.0.2.15', 'ttl-expired')
  network.route('192.0.2.16', 'no-resources')
  network.listenUdp('192.0.2.20', 80, (_, reply) => reply(new Uint8Array(65_505)))
  serveDns(network, DNS, (asked) => {
    if (asked.name === 'silent.test') return undefined
    if (asked.name === 'foreign.test') return respond(asked, { rcode: 5 })
    if (asked.name === 'broken.test') return respond(asked, { rcode: 2 })
    if (asked.name !== 'there.test') return respond(asked, { rcode: 3 })
    return respond(asked, { answers: asked.type === 'A' ? [a(asked.name, '192.0.2.10')] : [] })
  })
  const gate = {
    whenUp: (): Promise<void> => {
      if (state === 'up') return Promise.resolve()
      if (state === 'down') return Promise.reject(new DialError('tunnel-down', 'the tunnel is not up'))
      return new Promise((_, reject) => {
        const late = new DialError('tunnel-reconnecting', 'the tunnel is being brought up again')
        clock.setTimer(() => reject(late), RECONNECT_WAIT)
      })
    },
  }
  let text = ''
  const write = (lines: string): void => void (text += lines)
  const log = new ProxyLog(createLogger({ level: 'info', format: 'json', write }), () => clock.now())
  const routing = createRouting({ rules: rulesOf(rules), own: () => [], clock })
  const tunnel = createDialer({ network: () => network, clock, elsewhere: routing.elsewhere })
  const dialer = routing.dialer(waitingDialer(gate, tunnel))
  const proxy = await listenProxy({
    address: '127.0.0.1',
    port: 0,
    protocols: { socks: true, http: true },
    dialer,
    setTimer: clock.setTimer,
    onEvent: log.onEvent,
    ...options,
  })
  const talks: Talk[] = []
  const sockets: Socket[] = []
  /** Time passes when the kernel has passed on what was said: it would overtake that, and a deadline would come. */
  const tick = async (): Promise<void> => {
    await until(isQuiet, 'octets are on their way')
    await clock.advance(250)
  }
  return {
    clock,
    tick,
    proxy,
    dialer,
    onEvent: log.onEvent,
    names: tunnel.names,
    whenUp: gate.whenUp,
    lines: (): Line[] =>
      text
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Line),
    async client(): Promise<Talk> {
      const talk = await Talk.to(proxy.port)
      talks.push(talk)
      return talk
    },
    /** Waits for something that needs time. */
    async pass<T>(promise: Promise<T>): Promise<T> {
      let over = false
      const end = (): void => void (over = true)
      promise.then(end, end)
      while (!over) await tick()
      return promise
    },
    /** Sends one to a port of the bridge, until it is answered or the log has a line. */
    async datagram(to: number, data: Uint8Array): Promise<Buffer | 'dropped'> {
      const socket = createSocket('udp4')
      sockets.push(socket)
      let answered: Buffer | undefined
      socket.on('message', (message) => {
        answered = message
      })
      socket.send(data, to, '127.0.0.1')
      const limit = Date.now() + 10_000
      const before = text.length
      while (answered === undefined && text.length === before) {
        if (Date.now() > limit) throw new Error('neither an answer nor a line')
        await tick()
      }
      await clock.settle()
      return answered ?? 'dropped'
    },
    async stop(): Promise<void> {
      routing.close()
      for (const socket of sockets) socket.close()
      for (const talk of talks) talk.socket.destroy()
      await proxy.close()
      await clock.settle()
    },
  }
}

type Bridge = Awaited<ReturnType<typeof startBridge>>

/** What happened: by the words of the page, how it is brought about, and to whom a client then turns. */
interface Failure {
  readonly host: string
  /** The line says that too, whatever else. Default: the host. */
  readonly says?: RegExp
  start?(): Promise<Bridge>
}

const FAILURES: Readonly<Record<string, Failure>> = {
  'nobody listens on the port': { host: '192.0.2.10' },
  'no answer at all: a black hole': { host: '192.0.2.11' },
  'a firewall on the way prohibits it': { host: '192.0.2.12' },
  'the host cannot be reached': { host: '192.0.2.13' },
  'the network cannot be reached': { host: '192.0.2.14' },
  'an IPv6 address, but the tunnel has no IPv6': { host: '2001:db8::1', says: /no IPv6/ },
  'a loop on the way: the TTL expired': { host: '192.0.2.15' },
  'the name does not exist': { host: 'missing.test' },
  'it cannot be a name': { host: 'a..b' },
  'the name server refuses: a name of others': { host: 'foreign.test', says: /REFUSED.*--route/ },
  'the name server fails': { host: 'broken.test' },
  'the name server is silent': { host: 'silent.test' },
  'this computer, or what else is not behind the tunnel': { host: 'localhost' },
  'a rule refuses it': {
    host: 'refused.test',
    says: /refused\.test.* by the rule/,
    start: () => startBridge({}, 'up', 'refuse refused.test\n'),
  },
  'the tunnel is down': {
    host: 'there.test',
    says: /tunnel is (not up|down)/,
    start: () => startBridge({}, 'down'),
  },
  'the tunnel is being brought up again, for longer than --reconnect-wait': {
    host: 'there.test',
    says: /brought up again/,
    start: () => startBridge({}, 'reconnecting'),
  },
  'no port or memory is left in the stack': { host: '192.0.2.16' },
  'a datagram whose SOCKS header would not fit': { host: '192.0.2.20', says: /no room for its SOCKS header/ },
  'more clients than --max-clients': {
    host: 'there.test',
    says: /more than 2 clients.*--max-clients/,
    async start() {
      const bridge = await startBridge({ limits: { connections: 2 } })
      await bridge.client()
      await bridge.client()
      return bridge
    },
  },
}

/** How a client of an entrance asks for port 80 of a host, and what it is told. */
type Entrance = (bridge: Bridge, host: string) => Promise<string>

const ENTRANCES: Readonly<Record<string, Entrance>> = {
  'SOCKS5 CONNECT': (bridge, host) => socks5(bridge, SocksCommand.CONNECT, host),
  'SOCKS5 BIND': (bridge, host) => socks5(bridge, SocksCommand.BIND, host),
  'SOCKS5 UDP': async (bridge, host) => {
    const talk = await bridge.client()
    talk.say(Buffer.concat([SOCKS5_HELLO, socks5Request(SocksCommand.UDP_ASSOCIATE, '0.0.0.0', 0)]))
    const reply = (await bridge.pass(talk.hear(12))).subarray(2)
    if (reply[1] !== 0) return hexOf(reply[1])
    const ping = Buffer.concat([Uint8Array.of(0, 0, 0), target(host), PING])
    const answer = await bridge.datagram(reply.readUInt16BE(8), ping)
    return answer === 'dropped' ? answer : 'answered'
  },
  'SOCKS5 RESOLVE': (bridge, host) => socks5(bridge, SocksCommand.RESOLVE, host),
  'SOCKS4, 4a': async (bridge, host) => {
    const request = [Uint8Array.of(4, 1, 0, 80, 0, 0, 0, 1, 0), Buffer.from(host), Uint8Array.of(0)]
    return hexOf((await ask(bridge, Buffer.concat(request)))[1])
  },
  'forward -L': forward,
  nc: netcat,
  DNS: dns,
  'HTTP CONNECT': async (bridge, host) =>
    statusOf(await ask(bridge, `CONNECT ${inBrackets(host)}:80 HTTP/1.1\r\nHost: x\r\n\r\n`)),
  'HTTP request': async (bridge, host) =>
    statusOf(await ask(bridge, `GET http://${inBrackets(host)}/ HTTP/1.1\r\nHost: x\r\n\r\n`)),
}

async function socks5(bridge: Bridge, command: number, host: string): Promise<string> {
  return hexOf((await ask(bridge, Buffer.concat([SOCKS5_HELLO, socks5Request(command, host)])))[3])
}

/** `-L`: nothing can be said but that there is no connection. */
async function forward(bridge: Bridge, host: string): Promise<string> {
  const { dialer, clock, onEvent } = bridge
  const listen = { address: '127.0.0.1', port: 0 }
  const spec = { kind: 'local', protocol: 'tcp', listen, to: { host, port: 80 } } as const
  const open = await openForward(spec, { dialer, setTimer: clock.setTimer, onEvent })
  let told = ''
  const socket = connect(open.locals[0]?.port ?? 0, '127.0.0.1')
  socket.on('error', (error: NodeJS.ErrnoException) => {
    told = error.code === 'ECONNRESET' ? 'RST' : `${error.code}`
  })
  while (!socket.closed) await bridge.tick()
  await open.close()
  await clock.settle()
  t.same(open.usage(), { connections: 0, flows: 0, timers: 0 })
  return told
}

/** `nc`, which asks the SOCKS port: its exit status. */
async function netcat(bridge: Bridge, host: string): Promise<string> {
  const stdio = { input: new PassThrough(), output: new PassThrough(), closeOutput: () => {} }
  let said = ''
  const deps = { stdio, stderr: (text: string) => void (said += text), env: {} }
  const status = await bridge.pass(nc(['--via', `127.0.0.1:${bridge.proxy.port}`, host, '80'], deps))
  t.match(said, /^sstp-socks.*\n$/, 'one line on standard error')
  return `${status}`
}

/** The local DNS server: the rcode. What it says of its own goes into its own events. */
async function dns(bridge: Bridge, host: string): Promise<string> {
  const { names, whenUp } = bridge
  const listener = await listenDns({ address: '127.0.0.1', port: 0, names, whenUp })
  const query = packet.encode({ type: 'query', id: 1, questions: [{ type: 'A', name: host }] })
  const answer = await bridge.datagram(listener.port, query)
  await listener.close()
  if (answer === 'dropped') return answer
  return (packet.decode(answer) as unknown as { readonly rcode: string }).rcode
}

/** Says it, and lets time pass until the bridge has ended. */
async function ask(bridge: Bridge, words: string | Uint8Array): Promise<Buffer> {
  const talk = await bridge.client()
  talk.say(words)
  const limit = Date.now() + 10_000
  while (!talk.ended && !talk.closed) {
    await bridge.tick()
    if (Date.now() > limit) throw new Error(`no end; heard ${talk.text}`)
  }
  if (talk.received.length === 0) throw new Error('not a word')
  return talk.received
}

const SOCKS5_HELLO = Uint8Array.of(5, 1, 0)
const PING = Buffer.from('ping')

function socks5Request(command: number, host: string, port = 80): Buffer {
  return Buffer.concat([Uint8Array.of(5, command, 0), target(host, port)])
}

/** Address and port of SOCKS5. */
function target(host: string, port = 80): Buffer {
  const name = Buffer.from(host)
  return Buffer.concat([Uint8Array.of(3, name.length), name, Uint8Array.of(0, port)])
}

function hexOf(octet: number | undefined): string {
  return (octet ?? -1).toString(16).padStart(2, '0')
}

/** The status, and the error of Proxy-Status. */
function statusOf(answer: Buffer): string {
  const text = answer.toString('latin1')
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]
  const error = /^Proxy-Status: [^;\r]*; *error=([a-z_]+)/im.exec(text)?.[1]
  return `${status} ${error}`
}

function inBrackets(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

/** The cells of the table under a heading; the first row has the names of the columns. */
function table(heading: string): string[][] {
  const [, section = ''] = readFileSync(PAGE, 'utf8').split(`## ${heading}\n`)
  const rows = section.split(/^## /m)[0]?.match(/^\|.*\|$/gm) ?? []
  return rows
    .map((row) =>
      row
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim().replaceAll('`', '')),
    )
    .filter(([first]) => !/^-+$/.test(first ?? ''))
}

const LEVELS: Readonly<Record<number, string>> = { 30: 'info', 40: 'warn', 50: 'error' }
const [head = [], ...rows] = table('At each entrance')

t.test('the page is about what there is', async (t) => {
  t.same(head, ['what happened', 'log', ...Object.keys(ENTRANCES)])
  t.same(
    rows.map(([what]) => what),
    Object.keys(FAILURES),
  )
})

for (const [what = '', log, ...cells] of rows) {
  t.test(what, async (t) => {
    const failure = FAILURES[what]
    if (failure === undefined) throw new Error('nobody knows how to bring it about')
    const { host, says = new RegExp(host.replace(/[.:]/g, '\\$&')) } = failure
    for (const [i, cell] of cells.entries()) {
      const name = head[i + 2] ?? ''
      const entrance = ENTRANCES[name]
      if (entrance === undefined || cell === '-') continue
      const bridge = await (failure.start ?? startBridge)()
      t.equal(await entrance(bridge, host), cell, name)
      const lines = bridge.lines()
      if (name === 'DNS') {
        await bridge.stop()
        continue
      }
      t.equal(lines.length, 1, `${name}: one line`)
      const expected = name === 'forward -L' ? log?.replace('info', 'warn') : log
      t.equal(`${LEVELS[lines[0]?.level ?? 0]} ${lines[0]?.code ?? lines[0]?.reason}`, expected, name)
      t.match(lines[0]?.msg, says, name)
      await bridge.stop()
      t.same(bridge.proxy.usage(), { connections: 0, flows: 0, timers: 0 })
    }
  })
}

t.test('a flood of failures is not a flood of lines', async (t) => {
  let now = 0
  let text = ''
  const write = (line: string): void => void (text += line)
  const log = new ProxyLog(createLogger({ level: 'info', format: 'json', write }), () => now)
  const fail = (code: 'refused' | 'timed-out'): void =>
    log.onEvent({
      type: 'failed',
      client: 1,
      protocol: 'socks5',
      host: 'h',
      port: 1,
      code,
      message: `${code}!`,
    })
  const lines = (): Line[] =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line)
  for (let i = 0; i < 1000; i++) fail('refused')
  t.equal(lines().length, PROXY_LINES.burst)
  fail('timed-out')
  t.equal(lines().length, PROXY_LINES.burst + 1, 'another code is not drowned')
  now += PROXY_LINES.interval
  fail('refused')
  fail('refused')
  t.equal(lines().length, PROXY_LINES.burst + 2)
  t.equal(lines().at(-1)?.msg, `refused! (and ${1000 - PROXY_LINES.burst} more like it)`)
  now += 1000 * PROXY_LINES.interval
  for (let i = 0; i < 1000; i++) fail('refused')
  t.equal(lines().length, 2 * PROXY_LINES.burst + 2, 'a pause saves up no more than the burst')
  text = ''
  log.onEvent({ type: 'rejected', client: 1, from: 'x', reason: 'malformed', message: 'm'.repeat(10_000) })
  t.ok(text.length < 1000, 'nor is a line as long as a client likes')
})

t.test('who wants to know everything is told everything', async (t) => {
  let text = ''
  const write = (line: string): void => void (text += line)
  const log = new ProxyLog(createLogger({ level: 'debug', format: 'json', write }), () => 0)
  for (let i = 0; i < 100; i++)
    log.onEvent({ type: 'rejected', client: i, from: 'x', reason: 'timeout', message: 'm' })
  t.equal(text.split('\n').length - 1, 100)
})
