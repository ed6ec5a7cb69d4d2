/** Proxies of all kinds and moods between us and a TLS server, over real sockets. */
import { createHash } from 'node:crypto'
import type { LookupAddress } from 'node:dns'
import dns from 'node:dns/promises'
import files from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { systemTrust } from '../../../src/transport/authorities.js'
import { CallError } from '../../../src/transport/errors.js'
import { type DialTlsOptions, dialTls } from '../../../src/transport/tls.js'
import { dialUpstream } from '../../../src/transport/upstream/dial.js'
import type { Upstream, UpstreamScheme } from '../../../src/transport/upstream/upstream.js'
import { chain, issue } from '../../helpers/certificates.js'
import {
  challenge,
  httpProxy,
  type ScriptedProxy,
  type SocksScript,
  socksProxy,
  tunnel,
} from '../../helpers/scripted-proxy.js'
import { closedPort, tcpServer, tlsServer } from '../../helpers/servers.js'

const root = issue({ name: 'Root', ca: true })
const leaf = issue({ name: 'server', issuer: root })
const server = await tlsServer({ cert: leaf.cert, key: leaf.key }, (socket) => socket.write('hello'))
t.teardown(() => server.close())

const SECRET = 'p@ss:w\u00f6rd'

function via(scheme: UpstreamScheme, port: number, sign = false): Upstream {
  return { scheme, host: '127.0.0.1', port, ...(sign ? { user: 'alice', password: SECRET } : {}) }
}

/** What the server says, through the proxy. */
async function greeting(upstream: Upstream, more: Partial<DialTlsOptions> = {}): Promise<string> {
  const link = await dialTls({
    host: 'localhost',
    port: server.port,
    trust: { ca: root.cert },
    upstream,
    signal: new AbortController().signal,
    onStep: () => {},
    onWarning: () => {},
    ...more,
  })
  const text = await new Promise<string>((resolve) => {
    link.receiver = (b, n) => resolve(Buffer.from(b.subarray(0, n)).toString())
  })
  link.socket.destroy()
  return text
}

async function failure(t: Test, upstream: Upstream, more: Partial<DialTlsOptions> = {}): Promise<CallError> {
  try {
    await greeting(upstream, more)
  } catch (error) {
    t.type(error, CallError)
    if (error instanceof CallError) {
      const told = `${error.message} ${error.hint ?? ''}`
      t.notMatch(told, SECRET, 'no secret')
      t.notMatch(told, /[\r\n]/)
      return error
    }
  }
  throw new Error('it worked')
}

/** What this system says of names, until the end of the test. */
function resolveAs(t: Test, answer: () => Promise<LookupAddress[]>): void {
  const { lookup } = dns
  t.teardown(() => {
    dns.lookup = lookup
    syncBuiltinESMExports()
  })
  dns.lookup = answer as unknown as typeof dns.lookup
  syncBuiltinESMExports()
}

/** A connection that its other end has ended, and of which this end knows it: its own end has come there. */
function ender(): { readonly end: (socket: Socket, text: string) => void; readonly known: Promise<void> } {
  let known: () => void = () => {}
  return {
    known: new Promise((resolve) => {
      known = resolve
    }),
    end: (socket, text) => {
      socket.once('close', known)
      socket.resume().end(text)
    },
  }
}

// The first of all: what the system trusts is read once.
t.test('a proxy that hangs up while it is read here whom this system trusts', async (t) => {
  const { end, known } = ender()
  const proxy = await httpProxy(() => (socket: Socket) => end(socket, 'HTTP/1.1 200 OK\r\n\r\n'))
  const { stat } = files
  const { SSL_CERT_FILE } = process.env
  process.env.SSL_CERT_FILE = t.testdir()
  t.teardown(() => {
    files.stat = stat
    syncBuiltinESMExports()
    if (SSL_CERT_FILE === undefined) delete process.env.SSL_CERT_FILE
    else process.env.SSL_CERT_FILE = SSL_CERT_FILE
  })
  let read = 0
  const slow = async (path: string) => {
    read++
    await known
    return stat(path)
  }
  files.stat = slow as typeof files.stat
  syncBuiltinESMExports()
  t.match(await failure(t, via('http', proxy.port), { trust: {} }), { step: 'tls', code: 'TLS_CLOSED' })
  t.ok(read > 0, 'it was read now')
  await proxy.close()

  const other = ender()
  const secure = await tcpServer((socket) => other.end(socket, ''), true)
  const dialled = dialUpstream({
    upstream: via('https', secure.port),
    host: 'x.example',
    port: 443,
    signal: new AbortController().signal,
    onStep: () => {},
    context: async () => {
      await other.known
      return (await systemTrust()).context
    },
  })
  await t.rejects(dialled, { step: 'tcp', code: 'PROXY_CLOSED', message: /hung up during TLS$/ })
  await secure.close()
})

t.test('CONNECT: what is asked, and that the way is open', async (t) => {
  const proxy = await httpProxy(() => ({ tunnel: server.port }))
  const steps: object[] = []
  const onStep: DialTlsOptions['onStep'] = (step, detail) => steps.push({ step, ...detail })
  t.equal(await greeting(via('http', proxy.port), { onStep }), 'hello')
  t.match(
    proxy.requests[0]?.text,
    new RegExp(`^CONNECT localhost:${server.port} HTTP/1\\.1\r\nHost: localhost:${server.port}\r\n`),
  )
  t.equal(proxy.requests[0]?.fields.get('sstpversion'), '1.0')
  t.equal(proxy.requests[0]?.fields.get('proxy-authorization'), undefined)
  t.match(steps, [
    { step: 'dns', proxy: `http://127.0.0.1:${proxy.port}` },
    { step: 'tcp', address: '127.0.0.1', port: proxy.port },
    { step: 'tls', version: 'TLSv1.3' },
  ])
  await proxy.close()
})

t.test('an address of IPv6 is asked for in brackets, without its zone', async (t) => {
  const proxy = await httpProxy(() => ({ tunnel: server.port }))
  for (const host of ['2001:db8::1', 'fe80::1%lo']) {
    t.equal(await greeting(via('http', proxy.port), { host, trust: { pin: leaf.sha256 } }), 'hello')
  }
  t.match(proxy.requests[0]?.text, /^CONNECT \[2001:db8::1\]:\d+ HTTP/)
  t.match(proxy.requests[1]?.text, /^CONNECT \[fe80::1\]:\d+ HTTP/)
  await proxy.close()
})

t.test('answers as proxies give them', async (t) => {
  for (const head of [
    'HTTP/1.0 200 OK\r\n\r\n',
    'HTTP/1.1 200\r\n\r\n',
    'HTTP/1.1 204 Odd\r\nVia: 1.1 x\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
  ]) {
    const proxy = await httpProxy(() => ({ tunnel: server.port, head }))
    t.equal(await greeting(via('http', proxy.port)), 'hello', JSON.stringify(head))
    await proxy.close()
  }
  const slow = await httpProxy(() => (socket: Socket) => {
    const text = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n'
    socket.setNoDelay(true)
    let i = 0
    const next = (): void => {
      if (i < text.length) socket.write(text.charAt(i++), () => setImmediate(next))
    }
    next()
  })
  t.match(await failure(t, via('http', slow.port)), { code: 'PROXY_FORBIDDEN' }, 'octet by octet')
  await slow.close()
})

/** A proxy that wants a Digest, checks it, and forgets nonces at will. */
function digestProxy(close: boolean, staleOnce = false): Promise<ScriptedProxy> {
  let nonces = 0
  let stale = staleOnce
  const h = (s: string): string => createHash('sha256').update(s).digest('hex')
  const ask = (more = ''): string =>
    challenge(
      [`Digest realm="r", nonce="n${++nonces}", qop="auth", algorithm=SHA-256${more}`, 'Basic realm="r"'],
      close,
    )
  return httpProxy(({ fields }) => {
    const sent = fields.get('proxy-authorization')
    if (sent === undefined) return ask()
    const of = (name: string): string => new RegExp(`[ ,]${name}="?([^",]+)`).exec(sent)?.[1] ?? ''
    if (stale) {
      stale = false
      return ask(', stale=true')
    }
    const a1 = h(`alice:r:${SECRET}`)
    const a2 = h(`CONNECT:localhost:${server.port}`)
    const wanted = h(`${a1}:n${nonces}:${of('nc')}:${of('cnonce')}:auth:${a2}`)
    return of('response') === wanted && of('nonce') === `n${nonces}` ? { tunnel: server.port } : ask()
  })
}

t.test('407: Basic and Digest, on the same connection and on a new one, with a stale nonce', async (t) => {
  for (const close of [false, true]) {
    const basic = await httpProxy(({ fields }) =>
      fields.get('proxy-authorization') === `Basic ${Buffer.from(`alice:${SECRET}`).toString('base64')}`
        ? { tunnel: server.port }
        : challenge(['Basic realm="the proxy"'], close),
    )
    t.equal(await greeting(via('http', basic.port, true)), 'hello')
    t.equal(basic.requests.length, 2)
    t.equal(basic.connections, close ? 2 : 1)
    await basic.close()
    for (const stale of [false, true]) {
      const digest = await digestProxy(close, stale)
      t.equal(await greeting(via('http', digest.port, true)), 'hello', 'Digest')
      t.equal(digest.requests.length, stale ? 3 : 2)
      t.equal(digest.connections, close ? (stale ? 3 : 2) : 1)
      t.notMatch(digest.requests[1]?.text, /Basic/, 'the password is not sent where a digest will do')
      await digest.close()
    }
  }
})

t.test('a proxy that closes behind each 407 without having said so', async (t) => {
  const proxy = await httpProxy(({ fields, connection }) =>
    fields.get('proxy-authorization') !== undefined && connection > 1
      ? { tunnel: server.port }
      : (socket: Socket) => socket.end(challenge(['Basic realm="r"'])),
  )
  t.equal(await greeting(via('http', proxy.port, true)), 'hello')
  t.equal(proxy.connections, 2)
  await proxy.close()
  const rude = await httpProxy(({ fields }) =>
    fields.has('proxy-authorization') ? (socket: Socket) => socket.destroy() : challenge(['Basic realm="r"']),
  )
  t.match(await failure(t, via('http', rude.port, true)), { code: 'PROXY_CLOSED' })
  t.equal(rude.connections, 2, 'not for ever')
  await rude.close()
})

t.test('nothing is left of a connection through a proxy, whatever became of it', async (t) => {
  const own = issue({ name: 'proxy', issuer: root })
  const tls = { cert: own.cert, key: own.key }
  for (const [scheme, early] of [
    ['http', ''],
    ['http', '220 early'],
    ['https', ''],
    ['socks5h', ''],
  ] as const) {
    for (const trust of [{ ca: root.cert }, { ca: root.cert, pin: '00'.repeat(32) }]) {
      const head = `HTTP/1.1 200 OK\r\n\r\n${early}`
      const proxy =
        scheme === 'socks5h'
          ? await socksProxy(() => ({ port: server.port }))
          : await httpProxy(() => ({ tunnel: server.port, head }), scheme === 'https' ? tls : undefined)
      let gone: () => void = () => {}
      const closed = new Promise<void>((resolve) => {
        gone = resolve
      })
      const through = await tcpServer((socket) => {
        socket.once('close', gone)
        tunnel(socket, proxy.port, '')
      })
      await greeting(via(scheme, through.port), { trust }).catch((error: unknown) => t.type(error, CallError))
      await closed
      t.pass(`${scheme} ${early} ${'pin' in trust}`)
      await through.close()
      await proxy.close()
    }
  }
})

t.test(
  '407 without end, without credentials, with wrong ones, with a method that is not known',
  async (t) => {
    const codes: readonly (readonly [string, string, boolean])[] = [
      ['Basic realm="r"', 'PROXY_CREDENTIALS_NEEDED', false],
      ['Basic realm="r"', 'PROXY_CREDENTIALS_WRONG', true],
      ['Digest realm="r", nonce="n"', 'PROXY_CREDENTIALS_WRONG', true],
      ['NTLM', 'PROXY_AUTH_METHOD', true],
      ['Negotiate', 'PROXY_AUTH_METHOD', false],
      ['', 'PROXY_CREDENTIALS_NEEDED', false],
      ['', 'PROXY_AUTH_METHOD', true],
    ]
    for (const [field, code, sign] of codes) {
      for (const close of [false, true]) {
        const proxy = await httpProxy(() => challenge([field], close))
        const error = await failure(t, via('http', proxy.port, sign))
        t.match(error, { step: 'tcp', kind: 'refused', code }, `${field} ${code}`)
        t.ok(proxy.requests.length <= 2)
        await proxy.close()
      }
    }
    for (const [params, said] of [
      ['algorithm=SHA-256, qop="auth-int"', 'digest (algorithm=SHA-256, qop=auth-int)'],
      ['algorithm=SHA3-256, qop="auth"', 'digest (algorithm=SHA3-256, qop=auth)'],
      ['qop="auth-int, \u001b[31m"', 'digest (qop=auth-int, ?[31m)'],
    ]) {
      const proxy = await httpProxy(() => challenge([`Digest realm="r", nonce="n", ${params}`]))
      t.match(await failure(t, via('http', proxy.port, true)), {
        kind: 'refused',
        code: 'PROXY_AUTH_METHOD',
        message: `wants a log-in by ${said}, and only Basic and Digest (MD5, SHA-256, SHA-512-256; qop=auth) are known here`,
      })
      t.equal(proxy.requests.length, 1)
      await proxy.close()
    }
    let n = 0
    const loop = await httpProxy(() => challenge([`Digest realm="r", nonce="${++n}", stale=true`]))
    t.match(await failure(t, via('http', loop.port, true)), {
      code: 'PROXY_PROTOCOL',
      message: /again and again/,
    })
    t.equal(loop.requests.length, 4, 'for ever stale')
    await loop.close()
    const colon = await httpProxy(() => challenge(['Basic realm="r"']))
    const user = { ...via('http', colon.port, true), user: 'a:b' }
    t.match(await failure(t, user), { kind: 'local', code: 'PROXY_CREDENTIALS_WRONG' })
    await colon.close()
  },
)

t.test('refusals of HTTP proxies, each in a sentence', async (t) => {
  const target = `localhost:${server.port}`
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'HTTP/1.1 403 Forbidden\r\n\r\n',
      'PROXY_FORBIDDEN',
      new RegExp(`does not allow ${target} \\(403 Forbidden\\)$`),
    ],
    ['HTTP/1.1 405 Method Not Allowed\r\n\r\n', 'PROXY_FORBIDDEN', /405/],
    ['HTTP/1.1 400 Bad Request\r\n\r\n', 'PROXY_NOT_PROXY', /does not take CONNECT \(400 Bad Request\)$/],
    ['HTTP/1.1 501 No\r\n\r\n', 'PROXY_NOT_PROXY', /501/],
    ['HTTP/1.1 502 Bad Gateway\r\n\r\n', 'PROXY_CANNOT_REACH', new RegExp(`cannot reach ${target} \\(502`)],
    [
      'HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n',
      'PROXY_CANNOT_RESOLVE',
      /no host of that name/,
    ],
    ['HTTP/1.1 502 x\r\n\r\nUnknown Host', 'PROXY_CANNOT_RESOLVE', /finds no host/],
    ['HTTP/1.1 504 Gateway Timeout\r\n\r\n', 'PROXY_TARGET_TIMEOUT', /does not answer the proxy/],
    ['HTTP/1.1 302 Found\r\nLocation: http://login\r\n\r\n', 'PROXY_REFUSED', /302 Found/],
    ['HTTP/1.1 429 \u009b[31m\r\n\r\n', 'PROXY_REFUSED', /\(429 +\[31m\)$/],
    ['HTTP/1.1 101 Switching\r\n\r\n', 'PROXY_REFUSED', /101/],
    ['SSH-2.0-OpenSSH_9.2\r\n', 'PROXY_PROTOCOL', /not an HTTP proxy/],
    ['HTTP/1.1 abc\r\n\r\n', 'PROXY_PROTOCOL', /not an HTTP proxy/],
    ['HTTP/1.1 200 OK\r\nno colon\r\n\r\n', 'PROXY_PROTOCOL', /not an HTTP proxy/],
    [`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(20_000)}`, 'PROXY_PROTOCOL', /not an HTTP proxy/],
    ['HTTP/1.1 100 Continue\r\n\r\n'.repeat(20), 'PROXY_REFUSED', /100/],
  ]
  for (const [answer, code, message] of cases) {
    const proxy = await httpProxy(() => answer)
    const error = await failure(t, via('http', proxy.port))
    t.match(error, { step: 'tcp', code, message }, answer.slice(0, 60))
    await proxy.close()
  }
})

t.test('proxies that hang up, are silent, or are not there', async (t) => {
  for (const answer of ['', 'HTTP/1.1 20']) {
    const proxy = await httpProxy(() => (socket: Socket) => socket.end(answer))
    const code = answer === '' ? 'PROXY_CLOSED' : 'PROXY_PROTOCOL'
    t.match(await failure(t, via('http', proxy.port)), { code })
    await proxy.close()
  }
  const reset = await httpProxy(() => (socket: Socket) => socket.resetAndDestroy())
  t.match(await failure(t, via('http', reset.port)), { code: 'PROXY_CLOSED' })
  await reset.close()
  const port = await closedPort()
  for (const scheme of ['http', 'https', 'socks5', 'socks5h'] as const) {
    const error = await failure(t, via(scheme, port))
    t.match(error, { step: 'tcp', kind: 'unreachable', code: 'PROXY_UNREACHABLE' })
    t.match(error.message, `nobody listens on the proxy ${scheme}://127.0.0.1:${port}`)
  }
  resolveAs(t, async () => {
    throw Object.assign(new Error('none'), { code: 'ENOTFOUND' })
  })
  const missing = { scheme: 'http', host: 'no-such-host.invalid', port: 1 } as const
  t.match(await failure(t, missing), {
    step: 'dns',
    code: 'PROXY_DNS_FAILED',
    message: /^the proxy http:\/\/no-such-host\.invalid:1: there is no host/,
  })
  const silent = await tcpServer(() => {})
  for (const scheme of ['http', 'https', 'socks5h'] as const) {
    const dialled = dialUpstream({
      upstream: via(scheme, silent.port),
      host: 'x.example',
      port: 443,
      signal: new AbortController().signal,
      onStep: () => {},
      context: async () => (await systemTrust()).context,
      timeout: 60,
    })
    const late = { code: 'PROXY_TIMEOUT', message: /does not answer within/, hint: /^check --upstream/ }
    await t.rejects(dialled, late, scheme)
    const abort = new AbortController()
    const signal = abort.signal
    setTimeout(() => abort.abort(new Error('enough')), 20)
    await t.rejects(greeting(via(scheme, silent.port), { signal }), { message: 'enough' }, scheme)
  }
  await silent.close()
})

t.test('octets behind the head are the server’s', async (t) => {
  const proxy = await httpProxy(() => (socket: Socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n220 early mail.example')
    socket.on('data', (chunk) => socket.write(chunk))
  })
  const stream = await dialUpstream({
    upstream: via('http', proxy.port),
    host: 'x.example',
    port: 443,
    signal: new AbortController().signal,
    onStep: () => {},
    context: async () => (await systemTrust()).context,
  })
  stream.write(' and echo')
  let got = ''
  for await (const chunk of stream) {
    got += String(chunk)
    if (got.endsWith('echo')) break
  }
  t.equal(got, '220 early mail.example and echo')
  stream.destroy()
  t.match(await failure(t, via('http', proxy.port)), { step: 'tls', code: 'TLS_NOT_TLS' })
  await proxy.close()
  const eager = await httpProxy(
    () => 'HTTP/1.1 407 x\r\nContent-Length: 2\r\nProxy-Authenticate: Basic realm="r"\r\n\r\nab..',
  )
  t.match(await failure(t, via('http', eager.port, true)), { code: /PROXY_/ }, 'more than its length says')
  await eager.close()
})

t.test('https proxies: TLS in TLS, and whom to trust', async (t) => {
  const own = issue({ name: 'proxy', issuer: root })
  const proxy = await httpProxy(() => ({ tunnel: server.port }), { cert: own.cert, key: own.key })
  t.equal(await greeting({ ...via('https', proxy.port), host: 'localhost' }), 'hello')
  t.equal(await greeting(via('https', proxy.port)), 'hello', 'by its address')
  const error = await failure(t, via('https', proxy.port), { trust: { pin: leaf.sha256 } })
  t.match(error, { step: 'tcp', kind: 'untrusted', code: 'PROXY_UNTRUSTED' })
  t.match(error.message, /^the certificate of the proxy https:.* is not trusted: /)
  await proxy.close()
  const plain = await httpProxy(() => ({ tunnel: server.port }))
  const spoken = await tcpServer((socket) => socket.on('data', () => socket.end('HTTP/1.1 400 x\r\n\r\n')))
  t.match(await failure(t, via('https', spoken.port)), {
    code: 'PROXY_PROTOCOL',
    message: /does not speak TLS/,
  })
  await spoken.close()
  await plain.close()
  const digest = await httpProxy(
    ({ count }) => (count === 1 ? challenge(['Basic realm="r"'], true) : { tunnel: server.port }),
    { cert: chain(own), key: own.key },
  )
  t.equal(await greeting(via('https', digest.port, true)), 'hello')
  t.equal(digest.connections, 2)
  await digest.close()
})

t.test('SOCKS5: names and addresses, with and without credentials', async (t) => {
  const open = await socksProxy(() => ({ port: server.port }))
  t.equal(await greeting(via('socks5h', open.port)), 'hello')
  t.equal(await greeting(via('socks5h', open.port, true)), 'hello', 'credentials that nobody asks for')
  t.equal(await greeting(via('socks5', open.port), { host: '127.0.0.1' }), 'hello')
  for (const host of ['2001:db8::c0ff:ee', '::ffff:192.0.2.1', '::', 'fe80::9%lo']) {
    t.equal(await greeting(via('socks5h', open.port), { host, trust: { pin: leaf.sha256 } }), 'hello', host)
  }
  const port = server.port
  t.same(open.targets, [
    `3:localhost:${port}`,
    `3:localhost:${port}`,
    `1:127.0.0.1:${port}`,
    `4:20010db80000000000000000c0ff00ee:${port}`,
    `4:00000000000000000000ffffc0000201:${port}`,
    `4:00000000000000000000000000000000:${port}`,
    `4:fe800000000000000000000000000009:${port}`,
  ])
  await open.close()
  const local = await socksProxy(() => ({ port: server.port }))
  t.equal(await greeting(via('socks5', local.port)), 'hello')
  t.match(local.targets[0], /^(?:1:127\.0\.0\.1|4:0{31}1):/, 'resolved here')
  await local.close()
  for (const bound of [Uint8Array.of(3, 3, 97, 98, 99, 0, 80), Uint8Array.of(4, ...new Array(18).fill(7))]) {
    const closed = await socksProxy(() => ({ user: 'alice', password: SECRET, port: server.port, bound }))
    t.equal(await greeting(via('socks5h', closed.port, true)), 'hello')
    await closed.close()
  }
})

t.test('SOCKS5: a host with several addresses, of which the proxy takes the last', async (t) => {
  resolveAs(t, async () => [
    { address: '2001:db8::1', family: 6 },
    { address: '127.0.0.1', family: 4 },
  ])
  const trust = { pin: leaf.sha256 }
  for (const reply of [1, 2, 3, 4, 5, 6, 8]) {
    const proxy = await socksProxy((target) => (target.startsWith('4:') ? { reply } : { port: server.port }))
    const { port } = proxy
    t.equal(await greeting(via('socks5', port), { host: 'dual.example', trust }), 'hello', `reply ${reply}`)
    t.equal(proxy.targets.length, 2)
    await proxy.close()
  }
  const none = await socksProxy((target) => ({ reply: target.startsWith('4:') ? 8 : 5 }))
  t.match(await failure(t, via('socks5', none.port), { host: 'dual.example' }), {
    code: 'PROXY_CANNOT_REACH',
    message: /nobody listens on 127\.0\.0\.1/,
  })
  await none.close()
  const closed = await socksProxy(() => ({ reply: 7 }))
  t.match(await failure(t, via('socks5', closed.port), { host: 'dual.example' }), { code: 'PROXY_NOT_PROXY' })
  t.equal(closed.targets.length, 1, 'what is not about the address is not asked twice')
  await closed.close()
})

t.test('SOCKS5: each refusal in a sentence', async (t) => {
  const cases: readonly (readonly [SocksScript, boolean, string, RegExp])[] = [
    [{ user: 'alice', password: 'x' }, false, 'PROXY_CREDENTIALS_NEEDED', /wants a user name/],
    [{ user: 'alice', password: 'x' }, true, 'PROXY_CREDENTIALS_WRONG', /does not take this user/],
    [{ method: 0xff }, false, 'PROXY_CREDENTIALS_NEEDED', /wants a user name/],
    [{ method: 0xff }, true, 'PROXY_AUTH_METHOD', /neither connections without/],
    [{ method: 1 }, true, 'PROXY_PROTOCOL', /does not answer like a SOCKS5 proxy/],
    [{ reply: 1 }, false, 'PROXY_CANNOT_REACH', /does not say why/],
    [{ reply: 2 }, false, 'PROXY_FORBIDDEN', /does not allow localhost/],
    [{ reply: 3 }, false, 'PROXY_CANNOT_REACH', /no way to the network/],
    [{ reply: 4 }, false, 'PROXY_CANNOT_REACH', /does not reach localhost/],
    [{ reply: 5 }, false, 'PROXY_CANNOT_REACH', /nobody listens on localhost/],
    [{ reply: 6 }, false, 'PROXY_TARGET_TIMEOUT', /does not answer the proxy/],
    [{ reply: 7 }, false, 'PROXY_NOT_PROXY', /does not take CONNECT/],
    [{ reply: 8 }, false, 'PROXY_REFUSED', /does not take such an address/],
    [{ reply: 99 }, false, 'PROXY_CANNOT_REACH', /\(reply 99\)/],
    [{ raw: Uint8Array.of(5, 0, 0, 9, 0, 0) }, false, 'PROXY_PROTOCOL', /SOCKS5/],
    [{ raw: Uint8Array.of(4, 0x5a, 0, 0, 0, 0, 0, 0) }, false, 'PROXY_PROTOCOL', /SOCKS5/],
  ]
  for (const [script, sign, code, message] of cases) {
    const proxy = await socksProxy(() => script)
    const error = await failure(t, via('socks5h', proxy.port, sign))
    t.match(error, { step: 'tcp', code, message }, JSON.stringify(script))
    await proxy.close()
  }
  const web = await tcpServer((socket) =>
    socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
  )
  t.match(await failure(t, via('socks5h', web.port)), { code: 'PROXY_PROTOCOL' })
  await web.close()
  const rude = await tcpServer((socket) => socket.destroy())
  t.match(await failure(t, via('socks5h', rude.port)), { code: 'PROXY_CLOSED' })
  await rude.close()
  const long = { ...via('socks5h', 1), user: 'u'.repeat(256), password: 'p' }
  const strict = await socksProxy(() => ({ user: 'alice', password: 'x' }))
  t.match(await failure(t, { ...long, port: strict.port }), {
    kind: 'local',
    code: 'PROXY_CREDENTIALS_WRONG',
  })
  await strict.close()
})
