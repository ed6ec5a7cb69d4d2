/** TLS and HTTP of the servers, over real sockets: what stands in front of SSTP, and what stands in its place. */
import t, { type Test } from 'tap'
import { parseServerAddress } from '../../src/cli/server-address.js'
import { makeCertificate } from '../../src/gateway/certificate.js'
import { CallError } from '../../src/transport/errors.js'
import type { TunnelOptions } from '../../src/tunnel/options.js'
import { openTunnel } from '../../src/tunnel/session.js'
import { issue } from '../helpers/certificates.js'
import { type LiveOptions, type LiveServer, liveServer, OK } from '../helpers/live-server.js'
import { ack } from '../helpers/scripted-server.js'
import { tcpServer, tlsServer } from '../helpers/servers.js'

const certificate = await makeCertificate()
const PASSWORD = 'correct horse'

function options(port: number, more: Partial<TunnelOptions> = {}): TunnelOptions {
  return {
    host: '127.0.0.1',
    port,
    user: 'alice',
    password: PASSWORD,
    auth: ['pap'],
    trust: { pin: certificate.sha256 },
    ...more,
  }
}

/** A call that must come up. @returns the server, closed, for a look at what it heard */
async function comesUp(
  t: Test,
  name: string,
  live: LiveOptions,
  more: Partial<TunnelOptions> = {},
): Promise<LiveServer> {
  const server = await liveServer(certificate, live)
  try {
    const tunnel = await openTunnel(options(server.port, more))
    t.equal(tunnel.info.ipv4, '10.0.0.5', name)
    await tunnel.close()
  } finally {
    await server.close()
  }
  t.ok(
    server.heard.includes('CALL_CONNECTED sha256 zero'),
    'the binding is to the certificate that was shown',
  )
  return server
}

/** The error of a call that must not come up, in one line without secrets. */
async function fails(t: Test, o: TunnelOptions): Promise<CallError> {
  try {
    const tunnel = await openTunnel(o)
    await tunnel.close()
  } catch (error) {
    t.ok(error instanceof CallError, String(error))
    if (error instanceof CallError) {
      t.notMatch(`${error.message}${error.hint ?? ''}`, /[\r\n]|correct horse/, 'one line, no password')
      return error
    }
  }
  throw new Error('the call came up')
}

/** The error of a call to a server that answers the head with this. */
async function refusal(t: Test, head: string): Promise<CallError> {
  const server = await liveServer(certificate, { head })
  const error = await fails(t, options(server.port))
  t.same(server.heard, [], 'no SSTP to what is not an SSTP server')
  await server.close()
  return error
}

// ---------------------------------------------------------------- the head, both ways

t.test('the request is what RRAS, SoftEther, accel-ppp and RouterOS compare octet for octet', async (t) => {
  const server = await comesUp(t, 'up', { head: OK })
  const [head = ''] = server.heads
  t.match(
    head,
    /^SSTP_DUPLEX_POST \/sra_\{BA195980-CD49-458b-9E23-C84EE0ADCD75\}\/ HTTP\/1\.1\r\n/,
    'braces as they are, a small b',
  )
  t.match(head, /\r\nContent-Length: 18446744073709551615\r\n/, 'not a number of JavaScript')
  t.match(head, new RegExp(`\\r\\nHost: 127\\.0\\.0\\.1:${server.port}\\r\\n`))
  t.match(
    head,
    /\r\nSSTPCORRELATIONID: \{[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}\}\r\n/,
  )
  t.notMatch(head, /\r\n(Expect|Connection|Transfer-Encoding|Authorization|Cookie):/i)
  t.equal(server.heard[0], 'CALL_CONNECT_REQUEST 1 000100060001', 'and no body before the answer')
})

t.test(
  '200 in every form that servers have: no reason, odd case, any length, any fields, HTTP/1.0',
  async (t) => {
    for (const [name, head] of [
      [
        'RRAS',
        'HTTP/1.1 200\r\nContent-Length: 18446744073709551615\r\nServer: Microsoft-HTTPAPI/2.0\r\nDate: x\r\n\r\n',
      ],
      ['RouterOS', 'HTTP/1.1 200 \r\nContent-Length: 18446744073709551615\r\nServer: MikroTik-SSTP\r\n\r\n'],
      [
        'SoftEther',
        'HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\nDate: x\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n',
      ],
      [
        'accel-ppp',
        'HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 18446744073709551615\r\nConnection: keep-alive\r\n\r\n',
      ],
      ['accel-ppp to an old client', 'HTTP/1.0 200 OK\r\n\r\n'],
      ['nothing but a status', 'HTTP/1.1 200\r\n\r\n'],
      [
        'odd case',
        'HTTP/1.1 200 Connection Established\r\ncontent-LENGTH:18446744073709551615\r\nSERVER:x\r\n\r\n',
      ],
      ['another length', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
      [
        'a length twice',
        'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 18446744073709551615\r\n\r\n',
      ],
      ['a length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\nX-Odd: \r\n\r\n'],
    ] as const) {
      await comesUp(t, name, { head })
    }
  },
)

t.test('octets behind the head are SSTP, in one read with it or octet by octet', async (t) => {
  const early = await comesUp(t, 'CALL_CONNECT_ACK in one write with the head', {
    head: OK,
    behind: [ack(3)],
  })
  t.equal(
    early.heard.filter((line) => line.startsWith('CALL_CONNECT_REQUEST')).length,
    1,
    'and no second request',
  )
  await comesUp(t, 'octet by octet', { head: OK, behind: [ack(3)], piece: 1 })
  await comesUp(t, 'cut anywhere', { head: OK, piece: 7 })
})

t.test('a refusal is told with its status and its server, and is never followed', async (t) => {
  for (const [status, code, words] of [
    ['301 Moved Permanently', 'HTTP_NOT_SSTP', /301 .*sends elsewhere/],
    ['307 Temporary Redirect', 'HTTP_NOT_SSTP', /307 .*sends elsewhere/],
    ['400 Bad Request', 'HTTP_NOT_SSTP', /400 .*does not pass the SSTP method/],
    ['401 Unauthorized', 'HTTP_NOT_SSTP', /401 .*wants a log-in/],
    ['403 Forbidden', 'HTTP_NOT_SSTP', /403 .*refuses/],
    ['404 Not Found', 'HTTP_NOT_SSTP', /404 .*without SSTP/],
    ['405 Method Not Allowed', 'HTTP_NOT_SSTP', /405 .*not an SSTP server/],
    ['407 Proxy Authentication Required', 'HTTP_NOT_SSTP', /407 .*proxy/],
    ['501 Not Implemented', 'HTTP_NOT_SSTP', /501 .*not an SSTP server/],
    ['503', 'HTTP_UNAVAILABLE', /503 .*down or full/],
  ] as const) {
    const error = await refusal(
      t,
      `HTTP/1.1 ${status}\r\nServer: awselb/2.0\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n`,
    )
    t.match(error, { step: 'http', code, message: words })
    t.match(error.message, /awselb\/2\.0/, 'the Server field')
    t.notMatch(`${error.message} ${error.hint}`, /elsewhere\.example/)
  }
})

t.test('RRAS without a free port: the line says that it is full, and that later may help', async (t) => {
  const error = await refusal(t, 'HTTP/1.1 503 Service Unavailable\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n')
  t.match(error, { kind: 'unreachable', code: 'HTTP_UNAVAILABLE', hint: /try again later/ })
})

t.test('SoftEther and accel-ppp with another path or host: 404, with a page or without', async (t) => {
  const page = '<html><head><title>404 Not Found</title></head></html>'
  const soft = await refusal(
    t,
    `HTTP/1.1 404 Not Found\r\nConnection: Keep-Alive\r\nContent-Length: 54\r\n\r\n${page}`,
  )
  t.match(soft, { code: 'HTTP_NOT_SSTP', hint: /check host name and port.*404 Not Found/ })
  const accel = await refusal(t, 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  t.match(accel, { code: 'HTTP_NOT_SSTP', hint: /check host name and port/ })
})

t.test('accel-ppp with http-error=deny, and sstp-server: TLS is closed without an answer', async (t) => {
  t.match(await refusal(t, ''), { step: 'http', kind: 'protocol', code: 'HTTP_CLOSED' })
})

t.test('accel-ppp with max-sessions reached resets the connection before TLS', async (t) => {
  const server = await tcpServer((socket) => socket.resetAndDestroy())
  const error = await fails(t, options(server.port))
  t.match(error.step, /^(tcp|tls)$/)
  await server.close()
})

t.test('something that is not HTTP, or a head without an end', async (t) => {
  t.match(await refusal(t, '220 mail.example ESMTP\r\n'), { code: 'HTTP_NOT_HTTP' })
  t.match(await refusal(t, `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(20_000)}`), { code: 'HTTP_NOT_HTTP' })
  t.match(await refusal(t, 'HTTP/2 200\r\n\r\n'), { code: 'HTTP_NOT_HTTP' })
})

// ---------------------------------------------------------------- TLS

t.test('ALPN: nothing is offered, so nobody can choose h2', async (t) => {
  const server = await comesUp(t, 'up', { head: OK, tls: { ALPNProtocols: ['h2', 'http/1.1'] } })
  t.same(
    server.connections.map((c) => c.alpn),
    [''],
  )
})

t.test('RouterOS with TLS 1.2 alone, others with 1.3 alone', async (t) => {
  const old = await comesUp(t, 'TLS 1.2', { head: OK, tls: { maxVersion: 'TLSv1.2' } })
  t.equal(old.connections[0]?.version, 'TLSv1.2')
  const recent = await comesUp(t, 'TLS 1.3', { head: OK, tls: { minVersion: 'TLSv1.3' } })
  t.equal(recent.connections[0]?.version, 'TLSv1.3')
})

t.test('a server that has nothing above TLS 1.1 is refused at TLS, in one line', async (t) => {
  const tls = {
    ...certificate,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  } as const
  const server = await tlsServer(tls, () => {})
  t.match(await fails(t, options(server.port)), { step: 'tls', kind: 'protocol' })
  await server.close()
})

t.test('RouterOS without a certificate (anonymous TLS) is refused at TLS, in one line', async (t) => {
  const server = await tlsServer(
    { ciphers: 'ADH-AES256-GCM-SHA384@SECLEVEL=0', maxVersion: 'TLSv1.2' },
    () => {},
  )
  t.match(await fails(t, options(server.port)), { step: 'tls', kind: 'protocol' })
  t.match(await fails(t, options(server.port, { trust: { insecure: true } })), { step: 'tls' })
  await server.close()
})

t.test('RouterOS that wants a client certificate: without one the line says what is missing', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const server = await liveServer(certificate, {
      head: OK,
      tls: { requestCert: true, rejectUnauthorized: true, ca: certificate.cert, maxVersion },
    })
    const error = await fails(t, options(server.port))
    t.match(error.step, /^(tls|http)$/, maxVersion)
    t.match(`${error.message} ${error.hint}`, /client certificate/, maxVersion)
    t.same(server.heads, [])
    await server.close()
  }
})

t.test('RouterOS that wants a client certificate: with one the call comes up', async (t) => {
  const root = issue({ name: 'root', ca: true })
  const { cert, key } = issue({ name: 'alice', issuer: root, purpose: 'client' })
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const tls = { requestCert: true, rejectUnauthorized: true, ca: root.cert, maxVersion }
    await comesUp(t, maxVersion, { head: OK, tls }, { outer: { cert, key } })
  }
})

t.test('no session is resumed: each call sees the certificate that its binding covers', async (t) => {
  const server = await liveServer(certificate, { head: OK })
  for (let n = 0; n < 3; n += 1) {
    const tunnel = await openTunnel(options(server.port))
    await tunnel.close()
  }
  t.same(
    server.connections.map((c) => c.resumed),
    [false, false, false],
  )
  t.equal(server.heard.filter((line) => line === 'CALL_CONNECTED sha256 zero').length, 3)
  await server.close()
})

t.test(
  'VPN Azure and accel-ppp find their hosts by SNI and Host: both are the name that was typed',
  async (t) => {
    const trust = { pin: certificate.sha256 }
    const server = await liveServer(certificate, { head: OK })
    const named = await openTunnel(options(server.port, { host: 'localhost', trust }))
    await named.close()
    const other = await openTunnel(
      options(server.port, { host: 'localhost', trust: { ...trust, servername: 'vpn123.vpnazure.net' } }),
    )
    await other.close()
    const bare = await openTunnel(options(server.port, { trust }))
    await bare.close()
    t.same(
      server.connections.map((c) => c.sni),
      ['localhost', 'vpn123.vpnazure.net', ''],
      'never an address',
    )
    t.match(server.heads[0], new RegExp(`\r\nHost: localhost:${server.port}\r\n`), 'servers drop the port')
    t.match(server.heads[1], new RegExp(`\r\nHost: vpn123\\.vpnazure\\.net:${server.port}\r\n`))
    await server.close()
  },
)

t.test('SNI and Host can be told apart from the name that is called, and SNI left out', async (t) => {
  const server = await liveServer(certificate, { head: OK })
  const outers = [
    { sni: 'front.example', hostHeader: 'vpn.example' },
    { sni: null, hostHeader: 'vpn.example:8443' },
  ]
  for (const outer of outers) {
    const tunnel = await openTunnel(options(server.port, { host: 'localhost', outer }))
    await tunnel.close()
  }
  t.same(
    server.connections.map((c) => c.sni),
    ['front.example', ''],
  )
  t.match(server.heads[0], /\r\nHost: vpn\.example\r\n/)
  t.match(server.heads[1], /\r\nHost: vpn\.example:8443\r\n/)
  await server.close()
})

t.test('accel-ppp with host-name answers a wrong SNI with an alert: the line says so at TLS', async (t) => {
  const server = await tlsServer(
    {
      ...certificate,
      SNICallback: (name, done) => done(name === 'right.example' ? null : new Error('unrecognized name')),
    },
    () => {},
  )
  t.match(await fails(t, options(server.port, { host: 'localhost' })), { step: 'tls', kind: 'protocol' })
  await server.close()
})

t.test(
  'VPN Gate sits on any port: it is parsed, sent in Host, and is no part of the name in a certificate',
  async (t) => {
    for (const port of [992, 1194, 5555, 65535]) {
      t.match(parseServerAddress(`public-vpn-70.opengw.net:${port}`), {
        host: 'public-vpn-70.opengw.net',
        port,
      })
      t.match(parseServerAddress(`sstp://vpn:vpn@public-vpn-70.opengw.net:${port}`), {
        host: 'public-vpn-70.opengw.net',
        port,
        user: 'vpn',
        password: 'vpn',
      })
    }
    const server = await liveServer(certificate, { head: OK })
    const tunnel = await openTunnel(
      options(server.port, { host: 'localhost', trust: { ca: certificate.cert } }),
    )
    await tunnel.close()
    t.match(server.heads[0], new RegExp(`\r\nHost: localhost:${server.port}\r\n`))
    await server.close()
  },
)

t.test('a server that closes in the middle of TLS, of the head, or of the log-in', async (t) => {
  const tls = await tcpServer((socket) => socket.once('data', () => socket.destroy()))
  t.match(await fails(t, options(tls.port)), { step: 'tls' })
  await tls.close()
  const head = await tlsServer(certificate, (socket) => socket.once('data', () => socket.end('HTTP/1.1 20')))
  t.match(await fails(t, options(head.port)), { step: 'http' })
  await head.close()
  const login = await tlsServer(certificate, (socket) => {
    socket.once('data', () => socket.end(OK))
  })
  t.match(await fails(t, options(login.port)), { step: 'sstp', code: /SSTP_CONNECTION_CLOSED|CALL_CLOSED/ })
  await login.close()
})
