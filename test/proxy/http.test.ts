import { createHash } from 'node:crypto'
import {
  Agent,
  createServer,
  type IncomingMessage,
  type RequestListener,
  request,
  type Server,
} from 'node:http'
import { Socket } from 'node:net'
import t from 'tap'
import { Client, DEFAULT_PROXY_LIMITS, type ProxyContext } from '../../src/proxy/client.js'
import { HttpConnection } from '../../src/proxy/http.js'
import { refusingDialer } from '../../src/proxy/refusing-dialer.js'
import type { MemoryNetwork } from '../helpers/memory-network.js'
import { WINDOW } from '../helpers/memory-network.js'
import { FlowStream, NOTHING_LEFT, ORIGIN, remotes, startProxy, until } from '../helpers/proxy.js'
import { SeededRandom } from '../helpers/random.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const NAMES = { 'web.example': [ORIGIN], 'bücher.example': [ORIGIN], 'xn--bcher-kva.example': [ORIGIN] }
const MIB = 1_048_576

/** Node's own HTTP server behind the tunnel. */
function webServer(network: MemoryNetwork, listener: RequestListener, port = 80): Server {
  const server = createServer({ keepAlive: true }, listener)
  network.listen(ORIGIN, port, (flow) => void server.emit('connection', new FlowStream(flow)))
  return server
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

t.test('CONNECT', async (t) => {
  const p = await startProxy({ names: NAMES, network: { ipv6: true } })
  const list = remotes(p.network, 443)
  const six = remotes(p.network, 443, '2001:db8::1')
  const client = await p.client()
  client.say('CONNECT web.example:443 HTTP/1.1\r\nHost: web.example:443\r\n\r\nearly')
  t.equal(await client.hearText(/\r\n\r\n/), 'HTTP/1.1 200 Connection established\r\n\r\n')
  await until(() => list[0]?.text === 'early')
  list[0]?.say('late')
  await client.hearText(/late$/)
  client.socket.end()
  await until(() => list[0]?.flow.ended === true)
  list[0]?.flow.end()
  await until(() => client.closed)
  t.equal(client.error, undefined)

  const literal = await p.client()
  literal.say('CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n')
  await literal.hearText(/^HTTP\/1\.1 200/)
  t.equal(six.length, 1)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('CONNECT, octet by octet', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 443)
  const client = await p.client()
  // An empty line in front is skipped.
  for (const octet of Buffer.from('\r\nCONNECT web.example:443 HTTP/1.1\r\n\r\nx')) {
    client.say(Uint8Array.of(octet))
    await p.clock.settle()
  }
  await client.hearText(/\r\n\r\n/)
  await until(() => list[0]?.text === 'x')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('failures are told apart, in words too', async (t) => {
  const p = await startProxy({ names: { ...NAMES, 'lo.example': ['127.0.0.1'] } })
  p.network.route('192.0.2.4', 'host-unreachable')
  p.network.route('192.0.2.6', 'timed-out')
  p.network.route('192.0.2.7', 'tunnel-down')
  const cases: [string, RegExp][] = [
    ['CONNECT web.example:443', /^HTTP\/1\.1 502 .*error=connection_refused.*\n502 Bad Gateway: .*refused/s],
    ['CONNECT 192.0.2.4:443', /^HTTP\/1\.1 502 .*error=destination_ip_unroutable/s],
    ['CONNECT 192.0.2.6:443', /^HTTP\/1\.1 504 .*error=connection_timeout/s],
    ['CONNECT 192.0.2.7:443', /^HTTP\/1\.1 503 .*Retry-After: \d/s],
    ['CONNECT no.example:443', /^HTTP\/1\.1 502 .*error=dns_error.*does not exist/s],
    ['CONNECT localhost:443', /^HTTP\/1\.1 403 .*error=http_request_denied/s],
    ['CONNECT lo.example:443', /^HTTP\/1\.1 403 /],
    ['CONNECT 127.1:443', /^HTTP\/1\.1 400 /],
    ['GET http://web.example:81/', /^HTTP\/1\.1 502 .*error=connection_refused/s],
    ['GET http://no.example/', /^HTTP\/1\.1 502 .*error=dns_error/s],
    ['GET http://169.254.169.254/', /^HTTP\/1\.1 403 /],
    ['HEAD http://no.example/', /^HTTP\/1\.1 502 .*\r\n\r\n$/s],
    // Requests at fault:
    ['CONNECT web.example', /^HTTP\/1\.1 400 .*host:port/s],
    ['CONNECT http://web.example:443/', /^HTTP\/1\.1 400 /],
    ['CONNECT user@web.example:443', /^HTTP\/1\.1 400 /],
    ['GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX: ', /^HTTP\/1\.1 404 .*this is a proxy, not a web server/s],
    ['GET *', /^HTTP\/1\.1 400 /],
    ['GET https://web.example/', /^HTTP\/1\.1 400 .*CONNECT/s],
    ['GET web.example:80', /^HTTP\/1\.1 400 /],
    [
      'POST http://web.example/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nX: ',
      /^HTTP\/1\.1 400 .*both/s,
    ],
    ['GET http://web.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\nX: ', /^HTTP\/1\.1 400 .*Host/s],
    ['CONNECT web.example:443 HTTP/1.1\r\nContent-Length: 9\r\nX: ', /^HTTP\/1\.1 400 .*no body/s],
    ['CONNECT web.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: ', /^HTTP\/1\.1 400 .*no body/s],
    [`GET http://web.example/ HTTP/1.1\r\nX: ${'y'.repeat(70_000)}`, /^HTTP\/1\.1 431 /],
    ['TRACE http://web.example/ HTTP/1.1\r\nMax-Forwards: 0\r\nX: ', /^HTTP\/1\.1 200 .*message\/http/s],
  ]
  for (const [start, wanted] of cases) {
    const before = p.network.attempts.length
    const client = await p.client()
    // What follows a request at fault must not be taken for another one.
    client.say(
      `${start}${start.includes('HTTP/') ? '' : ' HTTP/1.1'}\r\n\r\nGET http://web.example/smuggled HTTP/1.1\r\n\r\n`,
    )
    await client.over()
    t.match(client.text, wanted, start.slice(0, 60))
    t.equal(client.text.match(/HTTP\/1\.1 \d/g)?.length, 1, 'one answer')
    t.match(client.text, /\r\nConnection: close\r\n/)
    t.ok(p.network.attempts.length <= before + 1)
    client.socket.end()
  }
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('Node as client and server: methods, bodies, keep-alive', async (t) => {
  const p = await startProxy({ names: NAMES })
  webServer(p.network, async (req, res) => {
    const body = await bodyOf(req)
    res.setHeader(
      'X-Seen',
      `${req.method} ${req.url} ${req.headers.host} ${req.headers['x-hop'] ?? '-'} ${req.headers.via ?? '-'}`,
    )
    if (req.url === '/chunked') res.write('first ')
    if (req.method === 'HEAD') res.setHeader('Content-Length', 12)
    res.end(req.method === 'HEAD' ? undefined : body)
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const go = (method: string, path: string, body = '', headers: Record<string, string> = {}) =>
    new Promise<{ status: number; headers: IncomingMessage['headers']; body: string }>((resolve, reject) => {
      const req = request(
        {
          agent,
          host: '127.0.0.1',
          port: p.server.port,
          method,
          path: `http://web.example${path}`,
          headers: { Host: 'wrong.example', ...headers },
        },
        (res) => {
          bodyOf(res).then(
            (b) => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: b.toString() }),
            reject,
          )
        },
      )
      req.on('error', reject)
      req.end(body)
    })
  for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND']) {
    const res = await go(method, '/x?y=1', `body of ${method}`, {
      Connection: 'keep-alive, X-Hop',
      'X-Hop': 'secret',
      // Node frames the body of a GET only if told to.
      'Content-Length': String(`body of ${method}`.length),
    })
    t.equal(res.status, 200)
    t.equal(res.body, `body of ${method}`)
    t.equal(res.headers['x-seen'], `${method} /x?y=1 web.example - 1.1 sstp-socks`)
    t.equal(res.headers.via, '1.1 sstp-socks')
  }
  const head = await go('HEAD', '/')
  t.equal(head.body, '')
  t.equal(head.headers['content-length'], '12')
  const chunkedBoth = await go('POST', '/chunked', 'second', { 'Transfer-Encoding': 'chunked' })
  t.equal(chunkedBoth.body, 'first second')
  t.equal(chunkedBoth.headers['transfer-encoding'], 'chunked')
  t.equal(p.events.filter((e) => e.type === 'accepted').length, 1, 'all on one connection of the client')
  t.equal(p.events.filter((e) => e.type === 'done' && e.error === undefined).length, 9)
  agent.destroy()
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('large bodies both ways at once', async (t) => {
  const p = await startProxy({ names: NAMES })
  const data = Buffer.from(new SeededRandom(5).bytes(MIB))
  const sum = createHash('sha256').update(data).digest('hex')
  webServer(p.network, (req, res) => {
    // Straight back, as it comes: request and response are under way together.
    req.pipe(res)
  })
  for (const headers of [{ 'Content-Length': String(data.length) }, { 'Transfer-Encoding': 'chunked' }]) {
    const heard = await new Promise<Buffer>((resolve, reject) => {
      const req = request(
        { host: '127.0.0.1', port: p.server.port, method: 'POST', path: 'http://web.example/', headers },
        (res) => {
          bodyOf(res).then(resolve, reject)
        },
      )
      req.on('error', reject)
      for (let o = 0; o < data.length; o += 10_007) req.write(data.subarray(o, o + 10_007))
      req.end()
    })
    t.equal(createHash('sha256').update(heard).digest('hex'), sum)
  }
  t.same(await p.stop(), NOTHING_LEFT)
})

/** Answers of raw servers, as a client of the proxy gets them. */
t.test('framing of responses', async (t) => {
  const p = await startProxy({ names: NAMES })
  const get = 'GET http://web.example/ HTTP/1.1\r\n\r\n'
  const cases: [string, string, string, RegExp, boolean][] = [
    [
      'length',
      get,
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokX',
      /^HTTP\/1\.1 200 OK\r\nContent-Length: 2\r\nVia: 1\.1 sstp-socks\r\n\r\nok$/,
      true,
    ],
    [
      'chunked',
      get,
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nT: x\r\n\r\nX',
      /\r\nTransfer-Encoding: chunked\r\nVia: [^\r]*\r\n\r\n2\r\nok\r\n0\r\nT: x\r\n\r\n$/,
      true,
    ],
    [
      'until close',
      get,
      'HTTP/1.0 200 OK\r\n\r\nall of it',
      /^HTTP\/1\.1 200 OK\r\nVia: 1\.0 sstp-socks\r\nConnection: close\r\n\r\nall of it$/,
      false,
    ],
    [
      'both lengths',
      get,
      'HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
      /200 OK\r\nTransfer-Encoding: chunked\r\nVia: [^\r]*\r\n\r\n2\r\nok\r\n0\r\n\r\n$/,
      true,
    ],
    [
      '204',
      get,
      'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
      /204 No Content\r\nVia: [^\r]*\r\n\r\n$/,
      true,
    ],
    [
      '304',
      get,
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
      /304 Not Modified\r\nContent-Length: 5\r\nVia: [^\r]*\r\n\r\n$/,
      true,
    ],
    [
      'HEAD',
      get.replace('GET', 'HEAD'),
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
      /200 OK\r\nContent-Length: 5\r\nVia: [^\r]*\r\n\r\n$/,
      true,
    ],
    [
      '1xx',
      get,
      'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      /^HTTP\/1\.1 103 Early Hints\r\nLink: x\r\n(.*\r\n)*\r\nHTTP\/1\.1 200 OK\r\nContent-Length: 0\r\n(.*\r\n)*\r\n$/,
      true,
    ],
    [
      'HTTP/1.0 client, chunked',
      get.replace('1.1', '1.0'),
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n',
      /^HTTP\/1\.1 200 OK\r\nVia: [^\r]*\r\nConnection: close\r\n\r\nok!$/,
      false,
    ],
    [
      'HTTP/1.0 client, keep-alive',
      get.replace('1.1\r\n', '1.0\r\nConnection: keep-alive\r\n'),
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      /\r\nConnection: keep-alive\r\n\r\nok$/,
      true,
    ],
    [
      'close wanted',
      get.replace('1.1\r\n', '1.1\r\nConnection: close\r\n'),
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      /\r\nConnection: close\r\n\r\nok$/,
      false,
    ],
    ['garbage', get, 'SSH-2.0-x\r\n\r\n', /^HTTP\/1\.1 502 .*did not answer with HTTP/s, false],
    ['nothing', get, '', /^HTTP\/1\.1 502 .*without a response/s, false],
    ['half a head', get, 'HTTP/1.1 200 OK\r\nA: b', /^HTTP\/1\.1 502 .*without a response/s, false],
    [
      'unequal lengths',
      get,
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
      /^HTTP\/1\.1 502 .*length/s,
      false,
    ],
    [
      'an unasked switch',
      get,
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
      /^HTTP\/1\.1 502 .*without being asked/s,
      false,
    ],
    [
      'too large a head',
      get,
      `HTTP/1.1 200 OK\r\nA: ${'b'.repeat(70_000)}\r\n\r\n`,
      /^HTTP\/1\.1 502 /,
      false,
    ],
  ]
  for (const [what, asked, answered, wanted, stays] of cases) {
    for (const step of [answered.length || 1, 1]) {
      if (step === 1 && answered.length > 1000) continue
      const list = remotes(p.network, 80)
      const client = await p.client()
      client.say(asked)
      await until(() => /\r\n\r\n/.test(list[0]?.text ?? ''))
      const remote = list[0]
      for (let o = 0; o < answered.length; o += step) {
        remote?.say(answered.slice(o, o + step))
        if (step === 1) await p.clock.settle()
      }
      remote?.flow.end()
      // By octets, each is a chunk of its own.
      const heard = () => client.text.replace('1\r\no\r\n1\r\nk\r\n', '2\r\nok\r\n')
      await until(
        () => wanted.test(heard()) || client.closed || client.ended,
        `${what}: ${heard().slice(0, 300)}`,
      )
      if (!stays) await client.over()
      t.match(heard(), wanted, `${what} by ${step}`)
      t.equal(client.ended, !stays, `${what}: ${stays ? 'stays' : 'ends'}`)
      client.socket.destroy()
    }
  }
  await until(() => p.server.usage().connections === 0)
  await p.clock.advance(3000)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a response that breaks off breaks the connection', async (t) => {
  const p = await startProxy({ names: NAMES })
  // In two parts: Node takes octets and a reset that come together for octets and an end.
  const answers: [string, string][] = [
    ['HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello', ''],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', ''],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello', 'XX'],
  ]
  for (const [first, last] of answers) {
    const list = remotes(p.network, 80)
    const client = await p.client()
    client.say('GET http://web.example/ HTTP/1.1\r\n\r\n')
    await until(() => list.length === 1)
    list[0]?.say(first)
    await client.hearText(/hello/)
    if (last === '') list[0]?.flow.end()
    else list[0]?.say(last)
    await until(() => client.closed, `${client.text} ${client.ended}`)
    t.not(client.ended, true, 'not taken for a whole one')
    t.equal(client.error?.code, 'ECONNRESET')
  }
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('GET http://web.example/ HTTP/1.1\r\n\r\n')
  await until(() => list.length === 1)
  list[0]?.flow.reset()
  await client.hearText(/^HTTP\/1\.1 502 .*error=connection_terminated/s)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a reset right behind a whole response is none of the client’s business', async (t) => {
  const p = await startProxy({ names: NAMES })
  const get = 'GET http://web.example/ HTTP/1.1\r\n\r\n'
  const answers: [string, string, RegExp | undefined][] = [
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', /hello$/],
    [
      'chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
      /hello\r\n0\r\n\r\n$/,
    ],
    ['no body', 'HTTP/1.1 204 No Content\r\n\r\n', /\r\n\r\n$/],
    ['not whole', 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello', undefined],
    ['nobody knows', 'HTTP/1.1 200 OK\r\n\r\nhello', undefined],
  ]
  const errors = () => p.events.flatMap((e) => (e.type === 'done' ? [e.error] : []))
  for (const [what, answer, whole] of answers) {
    const list = remotes(p.network, 80)
    const client = await p.client()
    const before = errors().length
    client.say(get)
    await until(() => list[0]?.text.endsWith('\r\n\r\n') === true)
    const [ours] = p.network.flows
    const handler = ours?.handler
    if (ours === undefined || handler === undefined) throw new Error('nobody listens to the server')
    // The kernel has taken what came, and the proxy has not been told so.
    ours.handler = {
      onReadable: () => {
        handler.onReadable()
        list[0]?.flow.reset()
      },
      onWritable: () => handler.onWritable(),
      onClose: (error) => handler.onClose(error),
    }
    list[0]?.say(answer)
    await until(() => errors().length > before)
    if (whole === undefined) {
      t.match(errors()[before], /reset/, what)
      await client.over()
      client.socket.destroy()
    } else {
      t.equal(errors()[before], undefined, what)
      await client.hearText(whole)
      client.forget()
      client.say(get)
      await until(() => list.length === 2, 'it goes on, by another connection')
      list[1]?.say('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      await client.hearText(/ok$/)
      list[1]?.flow.end()
      client.socket.destroy()
    }
    await until(() => p.server.usage().flows === 0, what)
  }
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a server that answers, and resets for the upload that it has not read', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('POST http://web.example/ HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nhalf')
  await until(() => list[0]?.text.endsWith('half') === true)
  const [ours] = p.network.flows
  const handler = ours?.handler
  if (ours === undefined || handler === undefined) throw new Error('nobody listens to the server')
  // Both are there before the proxy hears of either.
  ours.handler = undefined
  list[0]?.say('HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much')
  await until(() => ours.readable > 0)
  list[0]?.flow.reset()
  ours.handler = handler
  await client.hearText(/^HTTP\/1\.1 413 .*\r\n\r\ntoo much$/s)
  client.socket.destroy()
  await until(() => p.server.usage().flows === 0)
  t.same(
    p.events.flatMap((e) => (e.type === 'done' ? [e.error] : [])),
    [undefined],
  )
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('pipelined requests are answered in order', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say(
    'GET http://web.example/1 HTTP/1.1\r\n\r\nPOST http://web.example/2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\r\nGET http://web.example/3 HTTP/1.1\r\nConnection: close\r\n\r\n',
  )
  const asked = () => list.map((r) => r.text).join('')
  for (const [i, remote] of [0, 1, 0].entries()) {
    await until(() => asked().includes(`/${i + 1} HTTP/1.1`))
    await p.clock.settle()
    t.equal(asked().match(/ HTTP\/1\.1\r\n/g)?.length, i + 1, 'one at a time')
    list[remote]?.say(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${i + 1}`)
  }
  await client.over()
  t.match(client.text, /\r\n\r\n1HTTP.*\r\n\r\n2HTTP.*\r\n\r\n3$/s)
  t.match(
    list[1]?.text,
    /^POST \/2 HTTP\/1\.1\r\nHost: web\.example\r\nContent-Length: 3\r\n(.*\r\n)*\r\nabc$/,
  )
  t.equal(list.length, 2, 'the third has gone where the first went')
  t.ok(
    list.every((r) => r.flow.ended),
    'each connection is ended',
  )
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('Expect: 100-continue', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('PUT http://web.example/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n')
  await until(() => /\r\nExpect: 100-continue\r\n/.test(list[0]?.text ?? ''))
  list[0]?.say('HTTP/1.1 100 Continue\r\n\r\n')
  await client.hearText(/^HTTP\/1\.1 100 Continue\r\n/)
  client.say('body')
  await until(() => /\r\n\r\nbody$/.test(list[0]?.text ?? ''))
  list[0]?.say('HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n')
  t.notMatch(await client.hearText(/201 Created.*\r\n\r\n$/s), /Connection: close/)

  const refused = await p.client()
  refused.say('PUT http://web.example/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n')
  await until(() => list.length === 2)
  list[1]?.say('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno')
  await refused.over()
  t.match(
    refused.text,
    /413 Too Large.*Connection: close\r\n\r\nno$/s,
    'whether a body follows cannot be known',
  )
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('WebSocket: an upgrade becomes a tunnel', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  const ask =
    'GET http://web.example/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n'
  client.say(`${ask}early`)
  await until(
    () => list.length === 1 && /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/.test(list[0]?.text ?? ''),
  )
  t.notMatch(list[0]?.text, /early/, 'not before the server has agreed')
  list[0]?.say(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nfirst frame',
  )
  await client.hearText(/^HTTP\/1\.1 101 .*\r\nUpgrade: websocket\r\n\r\nfirst frame$/s)
  await until(() => /early$/.test(list[0]?.text ?? ''))
  client.say('HTTP/1.1 is no more')
  await until(() => /is no more$/.test(list[0]?.text ?? ''))
  list[0]?.flow.end()
  await until(() => client.ended)
  client.socket.end()
  await until(() => p.server.usage().connections === 0)
  t.match(
    p.events.find((e) => e.type === 'done'),
    { protocol: 'upgrade', error: undefined },
  )

  const refused = await p.client()
  refused.say(ask)
  await until(() => list.length === 2)
  list[1]?.say('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno')
  await refused.hearText(/\r\n\r\nno$/)
  refused.say('GET http://web.example/next HTTP/1.1\r\n\r\n')
  await until(() => list.length === 3)

  // What was sent ahead is in the other protocol, whatever it looks like.
  const ahead = await p.client()
  ahead.say(`${ask}GET http://web.example/astray HTTP/1.1\r\n\r\n`)
  await until(() => list.length === 4)
  list[3]?.say('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno')
  await ahead.over()
  t.match(ahead.text, /\r\nConnection: close\r\n\r\nno$/)
  t.equal(list.length, 4, 'it is no request')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('request bodies that are broken', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const cases: [string, boolean][] = [
    ['Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX\r\n', false],
    ['Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', true],
    ['Content-Length: 9\r\n\r\nhalf', true],
  ]
  for (const [i, [rest, end]] of cases.entries()) {
    const client = await p.client()
    client.say(`POST http://web.example/ HTTP/1.1\r\n${rest}`)
    await until(() => list.length === i + 1)
    if (end) client.socket.end()
    await until(() => list[i]?.closed !== undefined)
    t.same(list[i]?.closed, { code: 'reset' }, 'the server does not take it for a whole one')
    const answer = /^HTTP\/1\.1 400 .*(malformed|not complete)/s
    t.match(await client.hearText(answer), answer)
    client.socket.end()
    await until(() => client.closed)
  }
  // Behind a response that has begun there is no room for another.
  const late = await p.client()
  late.say('POST http://web.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello')
  await until(() => list.length === cases.length + 1)
  list.at(-1)?.say('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')
  await late.hearText(/half$/)
  late.say('XX\r\n')
  await until(() => late.closed)
  t.notMatch(late.text, /400/)
  t.same(list.at(-1)?.closed, { code: 'reset' })
  const short = await p.client()
  short.say('GET http://web.ex').socket.end()
  await short.hearText(/^HTTP\/1\.1 400 .*not complete/s)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a client that has ended still gets its answer', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('GET http://web.example/ HTTP/1.1\r\n\r\n').socket.end()
  await until(() => list.length === 1)
  list[0]?.say('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  await client.hearText(/\r\n\r\nok$/)
  await until(() => client.closed)
  t.equal(client.error, undefined)

  // The octets for the tunnel come behind the request, and the end before there is a tunnel.
  const tunnel = remotes(p.network, 443)
  p.network.route(ORIGIN, 'open', 1000)
  const early = await p.client()
  early.say('CONNECT web.example:443 HTTP/1.1\r\n\r\n')
  await until(() => p.network.attempts.includes(`${ORIGIN} 443`))
  early.say('early').socket.end()
  await until(() => early.socket.writableFinished)
  for (let i = 0; i < 100; i++) await p.clock.settle()
  t.same(p.network.abandoned, [])
  await p.clock.advance(1000)
  await until(() => tunnel[0]?.text === 'early' && tunnel[0].flow.ended)
  tunnel[0]?.say('late')
  await early.hearText(/^HTTP\/1\.1 200 .*\r\n\r\nlate$/)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('many small pieces make the client wait before they are many octets', async (t) => {
  const clock = new VirtualClock()
  const waiting = new Promise<never>(() => {})
  const context: ProxyContext = {
    dialer: { ...refusingDialer('tunnel-down', ''), dial: () => waiting },
    limits: DEFAULT_PROXY_LIMITS,
    via: undefined,
    setTimer: clock.setTimer,
    emit: () => {},
    credentials: undefined,
    pages: undefined,
    flows: new Set(),
    upstreams: undefined,
  }
  const client = new Client(1, new Socket(), context)
  const http = new HttpConnection(client)
  http.start(Buffer.from('POST http://web.example/ HTTP/1.1\r\nContent-Length: 100000\r\n\r\n'))
  let pieces = 0
  for (; pieces < 65_536 && !client.socket.isPaused(); pieces++) http.onLocalData(Buffer.of(0x78))
  t.equal(pieces, 1024)
  client.socket.destroy()
})

t.test('a client that goes away ends the exchange, and a dial', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('GET http://web.example/ HTTP/1.1\r\n\r\n')
  await until(() => list.length === 1)
  client.socket.resetAndDestroy()
  await until(() => list[0]?.closed !== undefined)
  t.same(list[0]?.closed, { code: 'reset' })

  p.network.route(ORIGIN, 'silent')
  const connecting = await p.client()
  connecting.say('CONNECT web.example:443 HTTP/1.1\r\n\r\n')
  await until(() => p.network.attempts.includes(`${ORIGIN} 443`))
  connecting.socket.end()
  await until(() => p.network.abandoned.length === 1)
  const getting = await p.client()
  getting.say('GET http://web.example:8080/ HTTP/1.1\r\n\r\n')
  await until(() => p.network.attempts.includes(`${ORIGIN} 8080`))
  getting.socket.resetAndDestroy()
  await until(() => p.network.abandoned.length === 2)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('time limits: the head, and between requests', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const slow = await p.client()
  slow.say('GET http://web')
  await until(() => p.server.usage().connections === 1)
  await p.clock.settle()
  await until(() => p.server.usage().timers === 1)
  for (let i = 0; i < 6; i++) {
    slow.say('.')
    await p.clock.settle()
    await p.clock.advance(9000)
  }
  t.notOk(slow.ended, 'each octet gives no new time')
  await p.clock.advance(6001)
  await slow.hearText(/^HTTP\/1\.1 408 /)

  const idle = await p.client()
  idle.say('GET http://web.example/ HTTP/1.1\r\n\r\n')
  await until(() => list.length === 1)
  await p.clock.advance(3_600_000)
  t.notOk(idle.ended, 'a server may take its time')
  list[0]?.say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  await idle.hearText(/\r\n\r\n$/)
  await p.clock.settle()
  await p.clock.advance(120_001)
  await idle.over()
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a body that does not come', async (t) => {
  const p = await startProxy({ names: NAMES, proxy: { limits: { body: 10_000 } } })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('PUT http://web.example/ HTTP/1.1\r\nContent-Length: 9\r\n\r\n')
  await until(() => list.length === 1)
  for (let i = 1; i <= 6; i++) {
    await p.clock.advance(9000)
    client.say('x')
    await until(() => list[0]?.text.endsWith(`\r\n\r\n${'x'.repeat(i)}`) === true)
  }
  await p.clock.advance(20_001)
  await client.hearText(/^HTTP\/1\.1 408 .*does not come/s)
  await until(() => list[0]?.closed !== undefined)
  t.same(list[0]?.closed, { code: 'reset' })

  const whole = await p.client()
  whole.say('PUT http://web.example/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nx')
  await until(() => list.length === 2)
  await p.clock.settle()
  await p.clock.advance(100_000)
  t.notOk(whole.ended, 'the server may take its time for the answer')
  const early = await p.client()
  early.say('PUT http://web.example/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nx')
  await until(() => list.length === 3)
  list[2]?.say('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal')
  await early.hearText(/hal$/)
  await p.clock.advance(20_001)
  await until(() => early.closed)
  t.notMatch(early.text, /408/, 'behind a response that has begun there is no room for another')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('behind an interim response there is still an answer due', async (t) => {
  const p = await startProxy({ names: NAMES, proxy: { limits: { body: 10_000 } } })
  const list = remotes(p.network, 80)
  for (const [i, rest] of ['', 'zz\r\n'].entries()) {
    const client = await p.client()
    client.say(
      'PUT http://web.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n',
    )
    await until(() => list.length > i)
    list[i]?.say('HTTP/1.1 100 Continue\r\n\r\n')
    await client.hearText(/^HTTP\/1\.1 100 Continue\r\n.*\r\n\r\n$/s)
    if (rest === '') await p.clock.advance(20_001)
    else client.say(rest)
    await client.over()
    t.match(client.text, rest === '' ? /\r\n\r\nHTTP\/1\.1 408 / : /\r\n\r\nHTTP\/1\.1 400 /)
    await until(() => list[i]?.closed !== undefined)
    t.same(list[i]?.closed, { code: 'reset' })
  }
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a server that will not end is dropped after its response', async (t) => {
  const p = await startProxy({ names: NAMES })
  const list = remotes(p.network, 80)
  const client = await p.client()
  client.say('GET http://web.example/ HTTP/1.1\r\nConnection: close\r\n\r\n')
  await until(() => list.length === 1)
  list[0]?.say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  await client.hearText(/\r\n\r\n$/)
  await until(() => list[0]?.flow.ended === true)
  t.equal(p.server.usage().flows, 1)
  await p.clock.advance(2001)
  t.equal(p.server.usage().flows, 0)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('back-pressure: a client that does not read, a server that does not read', async (t) => {
  const p = await startProxy({ names: NAMES })
  const block = Buffer.from(new SeededRandom(6).bytes(WINDOW))
  for (const chunked of [false, true]) {
    const total = 32 * MIB
    p.network.listen(ORIGIN, 80, (flow) => {
      let sent = 0
      flow.write(
        Buffer.from(
          `HTTP/1.1 200 OK\r\n${chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${total}`}\r\n\r\n`,
        ),
      )
      const fill = () => {
        while (sent < total) {
          sent += block.length
          if (chunked) flow.write(Buffer.from(`${block.length.toString(16)}\r\n`))
          const room = flow.write(block)
          if (chunked) flow.write(Buffer.from(sent < total ? '\r\n' : '\r\n0\r\n\r\n'))
          if (!room) return
        }
      }
      flow.handler = {
        onReadable: () => flow.consume(flow.peek().length),
        onWritable: fill,
        onClose: () => {},
      }
      fill()
    })
    const client = await p.client()
    const dialled = p.network.attempts.length
    client.socket.pause()
    client.say('GET http://web.example/ HTTP/1.1\r\nConnection: close\r\n\r\n')
    await until(() => p.network.attempts.length > dialled)
    await p.clock.settle()
    // The one before may still be saying goodbye.
    const flow = [...p.network.flows].at(-1)
    let last = -1
    let still = 0
    await until(() => {
      still = flow?.consumed === last ? still + 1 : 0
      last = flow?.consumed ?? 0
      return still > 2000 && last > 0
    })
    t.ok(last < 16 * MIB, `taken from the flow: ${last}`)
    client.socket.removeAllListeners('data')
    let received = 0
    client.socket.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    client.socket.resume()
    await until(() => client.ended)
    t.ok(received > total && received < total * 1.01, `${received}`)
    client.socket.destroy()
  }

  p.network.listen(ORIGIN, 81, () => {})
  const uploader = await p.client()
  uploader.say(`POST http://web.example:81/ HTTP/1.1\r\nContent-Length: ${32 * MIB}\r\n\r\n`)
  for (let i = 0; i < 32 * MIB; i += block.length) uploader.say(block)
  let last = -1
  let still = 0
  await until(() => {
    still = uploader.socket.writableLength === last ? still + 1 : 0
    last = uploader.socket.writableLength
    return still > 2000
  })
  t.ok(uploader.socket.writableLength > MIB, 'the rest of the upload waits at the client')
  for (const flow of p.network.flows) t.ok(flow.queued < 4 * WINDOW, `in the proxy: ${flow.queued}`)
  t.same(await p.stop(), NOTHING_LEFT)
})
