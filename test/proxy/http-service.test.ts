/** What an HTTP proxy does beyond passing one request on: credentials, pages, reuse, trailers, streaming. */
import { createHash } from 'node:crypto'
import { Agent, createServer, type IncomingMessage, type RequestListener, request } from 'node:http'
import { connect as connectSocket, Socket } from 'node:net'
import { hostname } from 'node:os'
import type { Duplex } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { oneUser } from '../../src/proxy/credentials.js'
import { BodyReader, responseFraming } from '../../src/proxy/http-body.js'
import { Exchange } from '../../src/proxy/http-exchange.js'
import { HeadReader, parseResponseHead } from '../../src/proxy/http-message.js'
import type { Pages } from '../../src/proxy/pages.js'
import { DEFAULT_POOL_LIMITS, UpstreamPool } from '../../src/proxy/upstream-pool.js'
import type { Flow } from '../../src/tunnel/dialer.js'
import { octetsHeld } from '../helpers/memory.js'
import { MemoryFlow, type MemoryNetwork, WINDOW } from '../helpers/memory-network.js'
import { FlowStream, NOTHING_LEFT, ORIGIN, remotes, startProxy, until } from '../helpers/proxy.js'
import { SeededRandom } from '../helpers/random.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const NAMES = { 'web.example': [ORIGIN], 'other.example': ['192.0.2.2'] }
const MIB = 1_048_576
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

const basic = (text: string) => `Proxy-Authorization: Basic ${Buffer.from(text).toString('base64')}\r\n`
const RIGHT = basic('anna:geheim:ü')
const USERS = { credentials: oneUser('anna', 'geheim:ü') }

/** Node's own HTTP server behind the tunnel; counts its connections. */
function webServer(network: MemoryNetwork, listener: RequestListener, address = ORIGIN) {
  const server = createServer({ keepAlive: true }, listener)
  const counted = { connections: 0, server }
  network.listen(address, 80, (flow) => {
    counted.connections++
    server.emit('connection', new FlowStream(flow))
  })
  return counted
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

t.test('407, and then the credentials, on one connection', async (t) => {
  const p = await startProxy({ names: NAMES, proxy: USERS })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('GET http://web.example/ HTTP/1.1\r\n\r\n')
  const first = await client.hearText(/credentials/)
  t.match(first, /^HTTP\/1\.1 407 Proxy Authentication Required\r\n/)
  t.match(first, /\r\nProxy-Authenticate: Basic realm="sstp-socks", charset="UTF-8"\r\n/)
  t.notMatch(first, /Connection: close/)

  // The body of a request that was not carried out is no request.
  client.forget()
  const smuggled = 'GET http://web.example/smuggled HTTP/1.1\r\n\r\n'
  client.say(
    `POST http://web.example/ HTTP/1.1\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}` +
      `POST http://web.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n` +
      `HEAD http://web.example/ HTTP/1.1\r\n\r\n`,
  )
  await until(() => client.text.match(/HTTP\/1\.1 407 /g)?.length === 3, client.text)
  await p.clock.settle()
  t.match(client.text, /\r\n\r\n$/, 'the answer to HEAD has no body')
  t.same(p.network.attempts, [], 'nobody was asked for anything')

  client.forget()
  client.say(`GET http://web.example/1 HTTP/1.1\r\n${RIGHT}\r\n`)
  await until(() => list.length === 1 && list[0]?.text.endsWith('\r\n\r\n') === true)
  t.notMatch(list[0]?.text, /authorization/i, 'they are for the proxy only')
  list[0]?.say(OK)
  await client.hearText(/\r\n\r\nok$/)
  client.forget()
  client.say('GET http://web.example/2 HTTP/1.1\r\n\r\n')
  await client.hearText(/^HTTP\/1\.1 407 /)
  t.notMatch(list[0]?.text, /\/2 HTTP/, 'each request must say them')

  client.forget()
  remotes(p.network, 443)
  client.say('CONNECT web.example:443 HTTP/1.1\r\n\r\n')
  await client.hearText(/^HTTP\/1\.1 407 .*credentials/s)
  client.forget()
  client.say(`CONNECT web.example:443 HTTP/1.1\r\n${RIGHT}\r\n`)
  await client.hearText(/^HTTP\/1\.1 200 /)

  const preemptive = await p.client()
  preemptive.say(`CONNECT web.example:443 HTTP/1.0\r\n${RIGHT}\r\n`)
  await preemptive.hearText(/^HTTP\/1\.1 200 /)
  t.equal(p.events.filter((e) => e.type === 'rejected').length, 0, 'who begins without them does no wrong')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('407 that ends the connection', async (t) => {
  const p = await startProxy({ names: NAMES, proxy: USERS })
  const next = `GET http://web.example/next HTTP/1.1\r\n${RIGHT}\r\n`
  const cases: [string, string][] = [
    ['CONNECT with octets for the tunnel', `CONNECT web.example:80 HTTP/1.1\r\n\r\n${next}`],
    [
      'an upgrade with octets for the tunnel',
      `GET http://web.example/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n${next}`,
    ],
    [
      'a body that may not come',
      `PUT http://web.example/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n${next}`,
    ],
    ['a large body', 'PUT http://web.example/ HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n'],
    ['HTTP/1.0', 'GET http://web.example/ HTTP/1.0\r\n\r\n'],
    ['close', `GET http://web.example/ HTTP/1.1\r\nConnection: close\r\n\r\n${next}`],
  ]
  for (const [what, text] of cases) {
    const client = await p.client()
    client.say(text)
    await client.over()
    t.match(client.text, /^HTTP\/1\.1 407 .*\r\nConnection: close\r\n/s, what)
    t.equal(client.text.match(/HTTP\/1\.1 \d/g)?.length, 1, 'one answer')
    client.socket.end()
  }
  // These have been told 407 and keep the connection until their body is found out.
  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
  for (const body of ['XX\r\n', chunk.repeat(20)]) {
    const client = await p.client()
    client.say(`PUT http://web.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${body}${next}`)
    await client.over()
    t.equal(client.text.match(/HTTP\/1\.1 \d/g)?.length, 1)
    client.socket.end()
  }
  t.same(p.network.attempts, [])

  const guessing = await p.client()
  for (let i = 0; i < 5; i++)
    guessing.say(`GET http://web.example/ HTTP/1.1\r\n${basic(`anna:guess${i}`)}\r\n`)
  await guessing.over()
  t.equal(guessing.text.match(/HTTP\/1\.1 407 /g)?.length, 3)
  const wrong = p.events.filter((e) => e.type === 'rejected')
  t.match(wrong, [{ reason: 'credentials' }, { reason: 'credentials' }, { reason: 'credentials' }])
  t.notMatch(JSON.stringify(p.events), /guess|geheim|anna|Basic/)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('answers do not pile up before a client that does not read', async (t) => {
  const p = await startProxy({ names: NAMES, proxy: USERS })
  const client = await p.client()
  client.socket.pause()
  const many = Buffer.from('PUT http://a.example/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nx'.repeat(20_000))
  for (let i = 0; i < 40; i++) client.say(many)
  const total = many.length * 40
  let last = -1
  let still = 0
  await until(() => {
    still = client.socket.writableLength === last ? still + 1 : 0
    last = client.socket.writableLength
    return still > 2000
  })
  t.ok(client.socket.writableLength > total / 4, `${client.socket.writableLength} of ${total} were not read`)
  await p.clock.advance(60_001)
  await until(() => p.server.usage().connections === 0 || client.socket.resume() !== undefined)
  t.same(await p.stop(), NOTHING_LEFT)
})

const PAC = 'function FindProxyForURL() { return "DIRECT" }'
const PAGES: Pages = {
  page: (path, host) =>
    path === '/proxy.pac' || path === '/wpad.dat'
      ? { type: 'application/x-ns-proxy-autoconfig', body: `// ${host}\n${PAC}` }
      : undefined,
}

t.test('pages of the proxy itself', async (t) => {
  const p = await startProxy({ names: NAMES, proxy: { ...USERS, pages: PAGES } })
  const ours = `127.0.0.1:${p.server.port}`
  const client = await p.client()
  client.say(`GET /proxy.pac?x=1 HTTP/1.1\r\nHost: ${ours}\r\n\r\n`)
  const answer = await client.hearText(/DIRECT" }$/)
  t.match(answer, /^HTTP\/1\.1 200 OK\r\nContent-Type: application\/x-ns-proxy-autoconfig\r\n/)
  t.match(answer, /\r\nX-Content-Type-Options: nosniff\r\n/)
  t.match(answer, /\r\nCross-Origin-Resource-Policy: same-origin\r\n/)
  t.notMatch(answer, /Access-Control|Connection: close/)
  t.ok(answer.includes(`// ${ours}\n`), 'the page knows how it was called')
  client.forget()
  client.say(`HEAD /wpad.dat HTTP/1.1\r\nHost: localhost\r\n\r\nGET /wpad.dat HTTP/1.0\r\n\r\n`)
  await client.over()
  t.match(
    client.text,
    /^HTTP\/1\.1 200 OK\r\n[^{]*\r\n\r\nHTTP\/1\.1 200 OK\r\n.*Connection: close\r\n.*"DIRECT" }$/s,
  )
  t.ok(client.text.includes(`// ${ours}\n`), 'without Host, by its address')

  const cases: [string, string, number][] = [
    ['GET /', ours, 404],
    ['GET /proxy.pac/', ours, 404],
    ['GET //web.example/proxy.pac', ours, 404],
    ['POST /', ours, 404],
    ['POST /proxy.pac', ours, 405],
    ['DELETE /wpad.dat', ours, 405],
    // By names that anybody's name server can lead here:
    ['GET /proxy.pac', 'evil.example', 421],
    ['GET /proxy.pac', `evil.example:${p.server.port}`, 421],
    ['GET /proxy.pac', 'localhost.evil.example', 421],
    ['GET /proxy.pac', '127.0.0.1.evil.example', 421],
    ['GET /proxy.pac', 'wpad', 421],
    ['GET /wpad.dat', 'wpad.evil.example', 421],
    ['GET /proxy.pac', '127.1', 421],
    ['GET /proxy.pac', 'a@127.0.0.1', 400],
    ['GET /proxy.pac', '127.0.0.1:80:80', 400],
    ['GET /proxy.pac', '"x.localhost', 400],
    ['GET /proxy.pac', '', 400],
    ['GET /proxy.pac', `${ours}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors`, 403],
    ['GET /proxy.pac', `${ours}\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors`, 403],
  ]
  for (const [line, host, status] of cases) {
    const asking = await p.client()
    asking.say(
      `${line} HTTP/1.1\r\nAccept: text/html\r\nHost: ${host}\r\n\r\nGET /proxy.pac HTTP/1.1\r\nHost: ${ours}\r\n\r\n`,
    )
    await asking.over()
    t.match(asking.text, new RegExp(`^HTTP/1\\.1 ${status} `), `${line} ${host}`)
    t.notMatch(asking.text, /FindProxyForURL/, 'and no more is said')
    if (status === 421 || status === 403) t.notMatch(asking.text, /sstp|proxy/i, 'not even what this is')
    if (status === 405) t.match(asking.text, /\r\nAllow: GET, HEAD\r\n/)
    asking.socket.end()
  }
  const allowed: [string, string][] = [
    ['/wpad.dat', 'wpad'],
    ['/proxy.pac', `${hostname()}:8080`],
    ['/proxy.pac', '[::1]:8080'],
    ['/proxy.pac', '192.168.1.5'],
    ['/proxy.pac', `${ours}\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate`],
  ]
  for (const [path, host] of allowed) {
    const asking = await p.client()
    asking.say(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    await asking.over()
    t.match(asking.text, /^HTTP\/1\.1 200 .*\r\nConnection: close\r\n.*"DIRECT" }$/s, host)
  }
  t.same(p.network.attempts, [])
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a browser is shown a page, a program a text', async (t) => {
  const p = await startProxy({ names: NAMES })
  const ask = async (head: string) => {
    const client = await p.client()
    client.say(`${head}\r\n\r\n`)
    await client.over()
    return client.received.toString()
  }
  const page = await ask('GET http://no.example:81/<b> HTTP/1.1\r\nAccept: text/html,*/*;q=0.8')
  t.match(page, /^HTTP\/1\.1 502 .*Content-Type: text\/html.*<p>Asked for: <b>no\.example:81<\/b>/s)
  t.match(page, /no\.example.*Check the spelling/s)
  t.notMatch(page, /<b>\/|secret/)
  const text = await ask('GET http://user:secret@web.example:81/ HTTP/1.1\r\nAccept: */*')
  t.match(text, /\r\n\r\n502 Bad Gateway: .*refused.*\nAsked for: web\.example:81\nThe host was reached.*\n$/)
  t.notMatch(text, /secret/)
  t.match(await ask('GET http://a b/ HTTP/1.1\r\nAccept: text/html'), /^HTTP\/1\.1 400 .*text\/plain/s)
  t.match(
    await ask('GET https://web.example/ HTTP/1.1\r\nAccept: text/html'),
    /^HTTP\/1\.1 400 .*text\/html.*error=http_request_error/s,
  )
  p.network.route(ORIGIN, 'tunnel-reconnecting')
  t.match(
    await ask('GET http://web.example/ HTTP/1.1\r\nAccept: text/html'),
    /^HTTP\/1\.1 503 .*Proxy-Status: sstp; error=destination_unavailable; details="[^\r]*"\r\nRetry-After: 5\r\n.*<h1>503/s,
  )
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('connections to a server are used again, by whoever comes next', async (t) => {
  const p = await startProxy({ names: NAMES })
  const web = webServer(p.network, (req, res) => void res.end(`${req.method} ${req.url}`))
  const agent = () => new Agent({ keepAlive: true, maxSockets: 1 })
  const go = (from: Agent, method: string, path: string, body?: string) =>
    new Promise<string>((resolve, reject) => {
      const { port } = p.server
      const req = request({ agent: from, port, host: '127.0.0.1', method, path }, (res) => {
        bodyOf(res).then((b) => resolve(b.toString()), reject)
      })
      req.on('error', reject)
      req.end(body)
    })
  const [one, two] = [agent(), agent()]
  t.equal(await go(one, 'GET', 'http://web.example/1'), 'GET /1')
  t.equal(await go(two, 'GET', 'http://WEB.example/2'), 'GET /2')
  t.equal(await go(one, 'DELETE', 'http://web.example/3'), 'DELETE /3')
  t.equal(web.connections, 1)
  t.equal(p.server.usage().flows, 1)
  t.equal(await go(one, 'POST', 'http://web.example/4', 'body'), 'POST /4')
  t.equal(web.connections, 2, 'what cannot be repeated gets a new one')
  t.equal(await go(two, 'GET', 'http://web.example/5'), 'GET /5')
  t.equal(await go(two, 'PUT', 'http://web.example/6', 'body'), 'PUT /6')
  t.equal(web.connections, 3)
  const other = webServer(p.network, (_req, res) => void res.end('other'), '192.0.2.2')
  t.equal(await go(one, 'GET', 'http://other.example/'), 'other')
  t.equal(other.connections, 1)
  t.equal(p.events.filter((e) => e.type === 'open').length, 7, 'each exchange has its own events')
  t.equal(p.events.filter((e) => e.type === 'done' && e.error === undefined).length, 7)
  one.destroy()
  two.destroy()
  await until(() => p.server.usage().connections === 0)
  // Node's server says 5 s, and so they are ended before.
  await p.clock.advance(3999)
  t.equal(p.server.usage().flows, 2)
  await p.clock.advance(2)
  await p.clock.settle()
  await p.clock.advance(2000)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('connections that are not used again', async (t) => {
  const p = await startProxy({ names: NAMES })
  const get = 'GET http://web.example/ HTTP/1.1\r\n\r\n'
  const cases: [string, string, string][] = [
    ['the client closes', get.replace('1.1\r\n', '1.1\r\nConnection: close\r\n'), OK],
    ['an HTTP/1.0 client', get.replace('1.1\r\n', '1.0\r\n'), OK],
    ['the server closes', get, OK.replace('\r\n', '\r\nConnection: close\r\n')],
    ['an HTTP/1.0 server', get, OK.replace('1.1', '1.0')],
    ['more than the response', get, `${OK}HTTP/1.1 200 OK\r\n`],
    [
      'two lengths',
      get,
      OK.replace('\r\n\r\nok', '\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'),
    ],
    [
      'a body',
      'PUT http://web.example/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nx',
      'HTTP/1.1 204 No Content\r\n\r\n',
    ],
    [
      'an upgrade',
      get.replace('1.1\r\n', '1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n'),
      'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    ],
    ['it is about to end', get, OK.replace('\r\n', '\r\nKeep-Alive: timeout=1\r\n')],
  ]
  for (const [what, ask, answer] of cases) {
    const list = remotes(p.network, 80)
    const client = await p.client()
    client.say(ask)
    await until(() => /\r\n\r\nx?$/.test(list[0]?.text ?? ''))
    const tell = /Connection: (close|Upgrade)\r\n/.test(list[0]?.text ?? '')
    t.equal(tell, /^(the client|an HTTP\/1.0 c|a body|an up)/.test(what), `${what}: and the server is told`)
    list[0]?.say(answer)
    await client.hearText(/^HTTP\/1\.1 20\d .*\r\n\r\n/s)
    await until(() => list[0]?.flow.ended === true || list[0]?.closed !== undefined, what)
    list[0]?.flow.end()
    client.socket.destroy()
    await until(() => p.server.usage().flows === 0, what)
  }
  // What a server says or does while nobody has asked:
  for (const act of ['says', 'ends', 'resets'] as const) {
    const list = remotes(p.network, 80)
    const client = await p.client()
    client.say(get)
    await until(() => list.length === 1)
    list[0]?.say(OK)
    await client.hearText(/ok$/)
    await p.clock.settle()
    t.equal(p.server.usage().flows, 1)
    if (act === 'says') list[0]?.say('HTTP/1.1 408 Request Timeout\r\n\r\n')
    else if (act === 'ends') list[0]?.flow.end()
    else list[0]?.flow.reset()
    await until(() => p.server.usage().flows === 0, act)
    t.same(list[0]?.closed, { code: act === 'says' ? 'reset' : act === 'ends' ? undefined : 'aborted' }, act)
    client.forget()
    client.say(get)
    await until(() => list.length === 2)
    list[1]?.say(OK)
    t.match(await client.hearText(/ok$/), /^HTTP\/1\.1 200 /)
    list[1]?.flow.end()
    client.socket.destroy()
    await until(() => p.server.usage().connections === 0)
    await p.clock.advance(2001)
  }
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a request that met the end of its connection is sent again, once, and only then', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  const get = 'GET http://web.example/ HTTP/1.1\r\n\r\n'
  const prime = async () => {
    const before = list.length
    client.forget()
    client.say(get)
    await until(() => list.length === before + 1)
    list[before]?.say(OK)
    await client.hearText(/ok$/)
    client.forget()
    return list[before]
  }
  for (const end of ['end', 'reset'] as const) {
    const old = await prime()
    if (old === undefined) return
    const seen = old.text.length
    const count = list.length
    client.say(get)
    await until(() => old.text.length > seen)
    if (end === 'end') old.flow.end()
    else old.flow.reset()
    await until(() => list.length === count + 1, end)
    t.match(list.at(-1)?.text ?? '', /^(GET \/ |$)/)
    list.at(-1)?.say(OK.replace('\r\n', '\r\nConnection: close\r\n'))
    t.equal((await client.hearText(/ok$/)).match(/HTTP\/1\.1 /g)?.length, 1)
    list.at(-1)?.flow.end()
  }
  const old = await prime()
  if (old === undefined) return
  const seen = old.text.length
  client.say(get)
  await until(() => old.text.length > seen)
  old.say('H')
  old.flow.end()
  await client.hearText(/^HTTP\/1\.1 502 .*without a response/s)
  t.equal(list.length, 5, 'one octet of a response is one too many')
  // A new connection is not tried twice.
  const second = await p.client()
  second.say(get)
  await until(() => list.length === 6)
  list[5]?.flow.end()
  await second.hearText(/^HTTP\/1\.1 502 /)
  t.equal(list.length, 6)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a connection that is signed in is its client’s own', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const [anna, ben] = [await p.client(), await p.client()]
  const exchange = async (who: typeof anna, fields: string, answer: string, method = 'GET', body = '') => {
    who.forget()
    const before = list.map((r) => r.text.length)
    who.say(`${method} http://web.example/ HTTP/1.1\r\n${fields}\r\n${body}`)
    await until(() =>
      list.some((r, i) => r.text.length > (before[i] ?? 0) && /\r\n\r\n(body)?$/.test(r.text)),
    )
    const at = list.findIndex((r, i) => r.text.length > (before[i] ?? 0))
    list[at]?.say(answer)
    await who.hearText(/\r\n\r\n(ok)?$/)
    await p.clock.settle()
    return at
  }
  const demand = (what: string) => `HTTP/1.1 401 No\r\nWWW-Authenticate: ${what}\r\nContent-Length: 0\r\n\r\n`
  const ntlm = 'Authorization: NTLM TlRMTVNTUAAB\r\n'
  t.equal(await exchange(anna, '', demand('NTLM')), 0)
  t.match(anna.text, /\r\nProxy-Support: Session-Based-Authentication\r\n/)
  t.equal(await exchange(anna, ntlm, demand('NTLM TlRMTVNTUAAC')), 0)
  t.equal(await exchange(anna, ntlm, OK), 0)
  t.equal(await exchange(ben, '', OK), 1, 'not on hers')
  t.equal(await exchange(anna, '', OK), 0, 'she goes on')
  t.equal(await exchange(anna, 'Content-Length: 4\r\n', OK, 'POST', 'body'), 0, 'with a body too')
  t.equal(await exchange(anna, '', OK), 0)
  t.equal(await exchange(ben, 'Authorization: Basic YTpi\r\n', OK), 1)
  t.equal(list.length, 2)
  t.equal(p.server.usage().flows, 2)
  anna.socket.end()
  await until(() => list[0]?.flow.ended === true)
  list[0]?.flow.end()
  await until(() => p.server.usage().flows === 1)
  t.equal(await exchange(ben, '', OK), 1)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('the pool is bounded, by host, altogether and in time', async (t) => {
  const clock = new VirtualClock()
  const dropped: Flow[] = []
  const gone: Flow[] = []
  const pool = new UpstreamPool(
    {
      setTimer: clock.setTimer,
      release: (flow) => void dropped.push(flow),
      abandon: (flow) => {
        dropped.push(flow)
        flow.reset()
      },
      onGone: (flow) => void gone.push(flow),
    },
    { total: 5, perHost: 2, idle: 1000 },
  )
  const flow = () => MemoryFlow.pair({ address: 'a', port: 1 }, { address: 'b', port: 2 })
  const flows = Array.from({ length: 9 }, flow)
  const at = (i: number) => flows[i]?.[0] as MemoryFlow
  pool.put(at(0), 'a', 80)
  pool.put(at(1), 'A', 80)
  pool.put(at(2), 'a', 80)
  t.same([dropped.length, dropped[0] === at(0)], [1, true], 'the oldest of its host')
  t.equal(pool.take('a', 81), undefined)
  t.equal(pool.take('a', 80, 7), undefined)
  t.equal(pool.take('a', 80), at(2), 'the last one')
  pool.put(at(2), 'a', 80)
  pool.put(at(3), 'b', 80)
  pool.put(at(4), 'b', 80, undefined, 7)
  pool.put(at(5), 'b', 80, undefined, 8)
  t.equal(pool.size, 5)
  pool.put(at(6), 'c', 80, 500)
  t.same([pool.size, dropped.length, dropped[1] === at(1)], [5, 2, true], 'the oldest of all')
  t.equal(pool.take('b', 80, 7), at(4))
  pool.put(at(4), 'b', 80, undefined, 7)
  pool.dropClient(7)
  t.same([pool.size, dropped[2] === at(4)], [4, true])
  t.equal(clock.pending, 4)
  await clock.advance(501)
  t.same([pool.size, dropped[3] === at(6)], [3, true])
  flows[3]?.[1].abort('reset', 'reset')
  await clock.settle()
  t.same([pool.size, gone.length, gone[0] === at(3)], [2, 1, true])
  await clock.advance(500)
  t.same([pool.size, clock.pending], [0, 0])
  // What came in between the last octet and now:
  flows[7]?.[1].write(Buffer.from('x'))
  await clock.settle()
  pool.put(at(7), 'a', 80)
  t.equal(pool.size, 0)
  pool.put(at(8), 'a', 80, 0)
  t.equal(pool.size, 0)
  t.ok(DEFAULT_POOL_LIMITS.total <= 256)
  const [late, server] = flow()
  pool.put(late, 'd', 80)
  server.write(Buffer.from('x'))
  await null
  t.equal(late.readable, 1, 'it has come, and the pool has not been told')
  t.equal(pool.take('d', 80), undefined)

  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const clients = await Promise.all(Array.from({ length: 12 }, () => p.client()))
  for (const client of clients) client.say('GET http://web.example/ HTTP/1.1\r\n\r\n')
  await until(() => list.length === 12)
  for (const remote of list) remote.say(OK)
  for (const client of clients) await client.hearText(/ok$/)
  await p.clock.settle()
  for (const remote of list) if (remote.flow.ended) remote.flow.end()
  await until(() => p.server.usage().flows === DEFAULT_POOL_LIMITS.perHost)
  await p.clock.advance(DEFAULT_POOL_LIMITS.idle + 1)
  t.ok(list.every((remote) => remote.flow.ended))
  await p.clock.advance(2001)
  t.equal(p.server.usage().flows, 0)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('trailers and interim responses, between Node and Node', async (t) => {
  const p = await startProxy({ names: NAMES })
  webServer(p.network, async (req, res) => {
    res.writeEarlyHints({ link: '</style.css>; rel=preload' })
    if (req.url === '/process') res.writeProcessing()
    const body = await bodyOf(req)
    res.writeHead(200, { Trailer: 'X-Sum', 'Transfer-Encoding': 'chunked' })
    res.write(body)
    res.addTrailers({ 'X-Sum': `${req.trailers['x-request-sum']} ${req.headers.trailer} ${req.headers.te}` })
    res.end()
  })
  const { port } = p.server
  const interim: (number | undefined)[] = []
  const res = await new Promise<IncomingMessage>((resolve, reject) => {
    const req = request(
      {
        port,
        host: '127.0.0.1',
        method: 'PUT',
        path: 'http://web.example/process',
        headers: {
          'Transfer-Encoding': 'chunked',
          Trailer: 'X-Request-Sum',
          TE: 'trailers',
          Expect: '100-continue',
        },
      },
      resolve,
    )
    req.on('error', reject)
    req.on('information', (info) => void interim.push(info.statusCode))
    req.on('continue', () => {
      req.write('some ')
      req.addTrailers({ 'X-Request-Sum': '42' })
      req.end('body')
    })
    req.flushHeaders()
  })
  t.equal((await bodyOf(res)).toString(), 'some body')
  t.equal(res.headers.trailer, 'X-Sum')
  t.same(res.trailers, { 'x-sum': '42 X-Request-Sum trailers' })
  t.same(interim, [100, 103, 102])

  const old = await p.client()
  old.say('PUT http://web.example/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi')
  await old.over()
  t.match(old.text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nhi$/s, 'HTTP/1.0 hears of neither')
  t.notMatch(old.text, /X-Sum: |Trailer/)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('Node tunnels, upgrades and signs in through it', async (t) => {
  const p = await startProxy({ names: NAMES, proxy: USERS })
  const web = webServer(p.network, (req, res) => void res.end(`${req.method} ${req.url}`))
  web.server.on('upgrade', (req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nwelcome ')
    socket.write(String(req.headers['proxy-authorization']))
    socket.pipe(socket)
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const base = { agent, port: p.server.port, host: '127.0.0.1' }
  const headers = { 'Proxy-Authorization': RIGHT.slice(RIGHT.indexOf('Basic')).trim() }

  const path = 'http://web.example/a'
  const statuses: (number | undefined)[] = []
  for (const said of [{}, headers, headers]) {
    const res = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ ...base, path, method: 'POST', headers: said }, resolve)
        .on('error', reject)
        .end('some body')
    })
    await bodyOf(res)
    statuses.push(res.statusCode)
  }
  t.same(statuses, [407, 200, 200])
  t.equal(p.events.filter((e) => e.type === 'accepted').length, 1, 'on one connection')

  const tunnel = await new Promise<Duplex>((resolve, reject) => {
    request({ ...base, method: 'CONNECT', path: 'web.example:80', headers })
      .on('connect', (res, socket) => (res.statusCode === 200 ? resolve(socket) : reject(res.statusCode)))
      .on('error', reject)
      .end()
  })
  const through = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ createConnection: () => tunnel as Socket, path: '/in/the/tunnel' }, resolve)
      .on('error', reject)
      .end()
  })
  t.equal((await bodyOf(through)).toString(), 'GET /in/the/tunnel')
  tunnel.destroy()

  const upgraded = await new Promise<{ socket: Duplex; head: Buffer }>((resolve, reject) => {
    request({ ...base, path, headers: { ...headers, Connection: 'Upgrade', Upgrade: 'echo' } })
      .on('upgrade', (_res, socket, head) => resolve({ socket, head }))
      .on('error', reject)
      .end()
  })
  let heard = upgraded.head.toString()
  upgraded.socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString()
  })
  upgraded.socket.on('error', () => {})
  upgraded.socket.write(', and back')
  await until(() => heard === 'welcome undefined, and back', heard)
  upgraded.socket.destroy()
  agent.destroy()
  t.same(await p.stop(), NOTHING_LEFT)
})

/** All responses in `bytes`, in order; `methods` are those of the requests. */
function responsesIn(bytes: Buffer, methods: readonly string[]) {
  const found: { status: number; body: string }[] = []
  for (let at = 0; at < bytes.length; ) {
    const reader = new HeadReader(true)
    at += reader.push(bytes, at, bytes.length)
    const head = parseResponseHead(reader.text)
    if (reader.state !== 'done' || head.type === 'error')
      throw new Error(bytes.toString('latin1', at - 100, at))
    const framing = responseFraming(head, methods[found.length] ?? '')
    if ('type' in framing) throw new Error(framing.message)
    const body = new BodyReader(framing, true)
    const slices: Buffer[] = []
    at += body.push(bytes, at, bytes.length, {
      onSlice: (b, start, end) => void slices.push(Buffer.from(b.subarray(start, end))),
    })
    if (!body.done) throw new Error('half a body')
    found.push({ status: head.status, body: Buffer.concat(slices).toString() })
  }
  return found
}

t.test(
  'property: pipelined requests of all kinds, in any pieces, each have their answer in turn',
  async (t) => {
    const p = await startProxy({ names: NAMES, proxy: { ...USERS, pages: PAGES } })
    const web = webServer(p.network, async (req, res) => {
      const body = await bodyOf(req)
      // A length or chunks, and now and then the server's wish to end.
      if (req.url?.endsWith('3')) res.setHeader('Content-Length', Buffer.byteLength(`${req.url} ${body}`))
      if (req.url?.endsWith('7')) res.setHeader('Connection', 'close')
      res.end(`${req.url} ${body}`)
    })
    const ours = `127.0.0.1:${p.server.port}`
    const kinds = {
      get: (i: number) => `GET http://web.example/${i} HTTP/1.1\r\n${RIGHT}\r\n`,
      head: (i: number) => `HEAD http://web.example/${i} HTTP/1.1\r\n${RIGHT}\r\n`,
      put: (i: number) =>
        `PUT http://web.example/${i} HTTP/1.1\r\n${RIGHT}Content-Length: ${50 + i}\r\n\r\n${'G'.repeat(50 + i)}`,
      chunked: (i: number) =>
        `POST http://web.example/${i} HTTP/1.1\r\n${RIGHT}Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nGET \r\n2\r\n/ \r\n0\r\nX-T: y\r\n\r\n`,
      denied: (i: number) =>
        `POST http://web.example/${i} HTTP/1.1\r\nContent-Length: 12\r\n\r\nGET / HTTP/1`,
      page: () => `GET /proxy.pac HTTP/1.1\r\nHost: ${ours}\r\n\r\n`,
    }
    type Kind = keyof typeof kinds
    const bodies: Record<Kind, (i: number) => string | RegExp> = {
      get: (i) => `/${i} `,
      head: () => '',
      put: (i) => `/${i} ${'G'.repeat(50 + i)}`,
      chunked: (i) => `/${i} GET / `,
      denied: () => /407/,
      page: () => /FindProxyForURL/,
    }
    const methods: Record<Kind, string> = {
      get: 'GET',
      head: 'HEAD',
      put: 'PUT',
      chunked: 'POST',
      denied: 'POST',
      page: 'GET',
    }
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...(Object.keys(kinds) as Kind[])), { minLength: 1, maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 }),
        async (plan, pieces) => {
          const client = await p.client()
          const all = `${plan.map((kind, i) => kinds[kind](i)).join('')}GET / HTTP/1.1\r\nHost: x.example\r\n\r\n`
          for (let at = 0, n = 0; at < all.length; n++) {
            const size = pieces[n % pieces.length] ?? 1
            client.say(all.slice(at, at + size))
            at += size
            if (n < 20) await new Promise((resolve) => setImmediate(resolve))
          }
          await client.over()
          const found = responsesIn(client.received, [...plan.map((kind) => methods[kind]), 'GET'])
          client.socket.destroy()
          t.equal(found.length, plan.length + 1)
          for (const [i, kind] of plan.entries()) {
            t.equal(found[i]?.status, kind === 'denied' ? 407 : 200)
            t.match(found[i]?.body, bodies[kind](i))
          }
          t.equal(found.at(-1)?.status, 421, 'the last is refused and ends it')
        },
      ),
      { seed: 12, numRuns: 60 },
    )
    t.ok(web.connections > 0)
    t.same(await p.stop(), NOTHING_LEFT)
  },
)

t.test('an answer that comes before the body has gone', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('PUT http://web.example/ HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n')
  const block = Buffer.alloc(WINDOW, 'x')
  for (let i = 0; i < 20; i++) client.say(block)
  await until(() => (list[0]?.received.length ?? 0) > WINDOW)
  list[0]?.say('HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\nthe rest')
  for (let i = 0; i < 20; i++) client.say(block)
  await client.over()
  t.match(client.text, /^HTTP\/1\.1 413 .*Connection: close\r\n\r\nthe rest$/s)
  await until(() => list[0]?.closed !== undefined)
  t.same(list[0]?.closed, { code: 'reset' }, 'the server does not take half a body for a whole one')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('what two readers might read differently is not passed on', async (t) => {
  const p = await startProxy({ names: NAMES })
  const start = 'POST http://web.example/ HTTP/1.1\r\nHost: web.example\r\n'
  const inner = 'GET http://web.example/smuggled HTTP/1.1\r\nHost: web.example\r\n\r\n'
  const heads = [
    'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
    'Content-Length: 4\r\nContent-Length: 5\r\n',
    'Content-Length: 4, 5\r\n',
    'Content-Length: +4\r\n',
    'Content-Length: 4\r\n\tx: y\r\n',
    'Content-Length : 4\r\n',
    'Content-Length\r\n',
    'Content-Length: 4\nX: y\r\n',
    'Content-Length: 4\rX: y\r\n',
    'X: \0\r\n',
    ' X: y\r\n',
    'Transfer-Encoding: xchunked\r\n',
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n',
    'Transfer-Encoding:\x0bchunked\r\n',
    'Host: elsewhere.example\r\n',
    `X: ${'y'.repeat(70_000)}\r\n`,
    'X: y\r\n'.repeat(101),
  ]
  for (const head of heads) {
    const client = await p.client()
    client.say(`${start}${head}\r\n${inner}`)
    await client.over()
    t.match(client.text, /^HTTP\/1\.1 4(00|31) /, JSON.stringify(head.slice(0, 50)))
    t.equal(client.text.match(/HTTP\/1\.1 \d/g)?.length, 1)
    client.socket.end()
  }
  t.same(p.network.attempts, [])
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('chunks of single octets are not passed on one by one', async (t) => {
  let parts = 0
  class Unread extends Socket {
    override _write(): void {
      parts++
    }
    override _writev(chunks: readonly unknown[]): void {
      parts += chunks.length
    }
  }
  const plan = {
    head: Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    method: 'GET',
    minor: 1,
    framing: { kind: 'none' },
    keepAlive: true,
    upgrade: false,
    via: undefined,
  } as const
  const [ours, theirs] = MemoryFlow.pair({ address: '192.0.2.9', port: 1 }, { address: ORIGIN, port: 80 })
  theirs.write(
    Buffer.from(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(10_000)}`),
  )
  await until(() => ours.readable > 60_000)
  const nothing = (): void => {}
  const events = {
    onDone: nothing,
    onUpgraded: nothing,
    onFailed: nothing,
    onBroken: nothing,
    onRoom: nothing,
    isAhead: () => false,
    onGone: nothing,
  }
  new Exchange(new Unread(), ours, plan, events).start()
  await until(() => parts > 0)
  // The head, the size, one by itself and the others in blocks, the end of the chunk.
  t.ok(parts <= 8, `${parts} parts`)
})

t.test('hostile servers', async (t) => {
  const p = await startProxy({ names: NAMES })
  const cases: [string, string, RegExp][] = [
    ['a bare CR in a field', 'HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: x\r\n\r\n', /^HTTP\/1\.1 502 /],
    ['NUL', 'HTTP/1.1 200 OK\r\nA: \0\r\n\r\n', /^HTTP\/1\.1 502 /],
    ['a control in the reason', 'HTTP/1.1 200 \x1b[2J\r\n\r\n', /^HTTP\/1\.1 502 /],
    [
      'a folded field',
      'HTTP/1.1 200 OK\r\nA: b\r\n Set-Cookie: x\r\nContent-Length: 0\r\n\r\n',
      /^HTTP\/1\.1 200 OK\r\nA: b Set-Cookie: x\r\nContent-Length: 0\r\n/,
    ],
    [
      'bare LF',
      'HTTP/1.1 200 OK\nA: b\nContent-Length: 0\n\n',
      /^HTTP\/1\.1 200 OK\r\nA: b\r\nContent-Length: 0\r\nVia: [^\r]*\r\n\r\n$/,
    ],
    [
      'a second response behind the first',
      `${OK}HTTP/1.1 200 OK\r\nSet-Cookie: x\r\nContent-Length: 4\r\n\r\nevil`,
      /\r\n\r\nok$/,
    ],
    [
      'a body behind 304',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil',
      /304 Not Modified\r\nContent-Length: 4\r\nVia: [^\r]*\r\n\r\n$/,
    ],
    [
      'its own proxy fields',
      `HTTP/1.1 200 OK\r\nProxy-Authenticate: Basic\r\nProxy-Connection: x\r\nContent-Length: 0\r\n\r\n`,
      /^HTTP\/1\.1 200 OK\r\nContent-Length: 0\r\nVia: [^\r]*\r\n\r\n$/,
    ],
    ['many fields', `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(200)}\r\n`, /^HTTP\/1\.1 502 /],
    [
      'two lengths',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx',
      /^HTTP\/1\.1 502 /,
    ],
    [
      'a huge chunk',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n',
      /^HTTP\/1\.1 502 /,
    ],
  ]
  for (const [what, answer, wanted] of cases) {
    const list = remotes(p.network, 80)
    const client = await p.client()
    client.say('GET http://web.example/ HTTP/1.1\r\n\r\n')
    await until(() => list.length === 1)
    list[0]?.say(answer)
    await until(() => wanted.test(client.text) || client.closed || client.ended, `${what}: ${client.text}`)
    await p.clock.settle()
    t.match(client.text, wanted, what)
    t.notMatch(client.text, /\nSet-Cookie|evil/)
    client.socket.destroy()
    list[0]?.flow.reset()
    await until(() => p.server.usage().flows === 0)
  }
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('64 MiB each way, and little of them in memory', async (t) => {
  const p = await startProxy({ names: NAMES })
  const block = Buffer.from(new SeededRandom(9).bytes(WINDOW))
  const total = 64 * MIB
  const wanted = createHash('sha256')
  for (let i = 0; i < total; i += block.length) wanted.update(block)
  const sum = wanted.digest('hex')
  let most = 0
  let base = 0
  let next = 0
  const measure = (octets: number) => {
    if (octets < next) return
    next += 8 * MIB
    most = Math.max(most, octetsHeld() - base)
  }
  const upload = createHash('sha256')
  let uploaded = 0
  p.network.listen(ORIGIN, 80, (flow) => {
    let sent = 0
    const fill = () => {
      while (sent < total) {
        sent += block.length
        if (!flow.write(block)) return
      }
    }
    let head = ''
    flow.handler = {
      onReadable: () => {
        for (let view = flow.peek(); view.length > 0; view = flow.peek()) {
          let from = 0
          if (!head.endsWith('\r\n\r\n')) {
            const text = Buffer.from(view).toString('latin1')
            from = text.indexOf('\r\n\r\n') + 4
            head = text.slice(0, from)
          }
          upload.update(view.subarray(from))
          uploaded += view.length - from
          flow.consume(view.length)
          measure(uploaded)
        }
        if (head.startsWith('GET') && sent === 0) {
          flow.write(Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`))
          fill()
        } else if (uploaded === total) {
          flow.write(Buffer.from(OK))
        }
      },
      onWritable: fill,
      onClose: () => {},
    }
  })
  base = octetsHeld()
  const down = createHash('sha256')
  let received = 0
  let headLength = 0
  await new Promise<void>((resolve, reject) => {
    const socket = connectSocket({
      port: p.server.port,
      host: '127.0.0.1',
      // One buffer for all that is received, so that the test itself holds nothing.
      onread: {
        buffer: Buffer.alloc(WINDOW),
        callback: (n, b) => {
          const view = Buffer.from(b.buffer, b.byteOffset, n)
          const from = headLength === 0 ? (headLength = view.indexOf('\r\n\r\n') + 4) : 0
          down.update(view.subarray(from))
          received += n - from
          measure(received)
          if (received === total) {
            socket.destroy()
            resolve()
          }
          return true
        },
      },
    })
    socket.on('error', reject)
    socket.write('GET http://web.example/ HTTP/1.1\r\n\r\n')
  })
  t.equal(down.digest('hex'), sum)
  t.ok(most < 2 * MIB, `down: ${most}`)

  most = 0
  next = 0
  base = octetsHeld()
  const client = await p.client()
  client.say(`PUT http://web.example/ HTTP/1.1\r\nContent-Length: ${total}\r\n\r\n`)
  for (let i = 0; i < total; i += block.length) {
    if (!client.socket.write(block)) await new Promise((resolve) => client.socket.once('drain', resolve))
  }
  await client.hearText(/\r\n\r\nok$/)
  t.equal(upload.digest('hex'), sum)
  t.ok(most < 2 * MIB, `up: ${most}`)
  t.same(await p.stop(), NOTHING_LEFT)
})
