/**
 * Servers that stall, lie or hang up in each of the seven steps, over real sockets: each costs one attempt and
 * one line, which says the step.
 */
import { X509Certificate } from 'node:crypto'
import dnsPromises from 'node:dns/promises'
import { syncBuiltinESMExports } from 'node:module'
import { connect, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { makeCertificate } from '../../src/gateway/certificate.js'
import { CallError, STEPS } from '../../src/transport/errors.js'
import type { TunnelOptions } from '../../src/tunnel/options.js'
import { openTunnel } from '../../src/tunnel/session.js'
import { heldTimer } from '../helpers/held-timer.js'
import { assertOneLine, CHAP, IPCP, LCP, messageOf, read } from '../helpers/hostile.js'
import { hostileServer, type Verdict } from '../helpers/hostile-server.js'
import { tcpServer, tlsServer } from '../helpers/servers.js'

const certificate = await makeCertificate()
const der = new X509Certificate(certificate.cert).raw
const PASSWORD = 'correct horse'
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n'
/** Milliseconds of the set-up's limit that are left when the step that is to stall has been reached. */
const STALL = 300

interface Wanted {
  readonly code: string | RegExp
  readonly step: string | RegExp
  readonly message: RegExp
}

/**
 * One attempt that must fail, with one line and one end. The limit counts from the step on that is to exceed it, and not
 * at all where something else is to be the end: a slow machine takes what it takes for the way there.
 */
async function attempt(
  t: Test,
  wanted: Wanted,
  options: Partial<TunnelOptions> & { port: number },
): Promise<void> {
  const ends: unknown[] = []
  const limit = heldTimer()
  const limited = new RegExp(wanted.code).test('SETUP_TIMEOUT')
  const order: readonly unknown[] = STEPS
  const before = STEPS[order.indexOf(wanted.step) - 1]
  if (limited && before === undefined) limit.start(STALL)
  const opening = openTunnel({
    host: '127.0.0.1',
    user: 'alice',
    password: PASSWORD,
    auth: ['mschapv2'],
    ipv6: false,
    trust: { pin: certificate.sha256 },
    timeout: limit.ms,
    ...options,
    onEvent: (e) => {
      if (e.type === 'down') ends.push(e.error)
      if (e.type === 'step' && e.step === before && limited) limit.start(STALL)
    },
  })
  const error = await opening.then(
    async (tunnel) => {
      await tunnel.close()
      return new Error('the call came up')
    },
    (e: unknown) => e,
  )
  limit.release()
  if (!(error instanceof CallError)) {
    t.fail(String(error))
    return
  }
  t.match(error.code, wanted.code)
  t.match(error.step, wanted.step)
  t.match(error.message, wanted.message)
  assertOneLine(error.message)
  if (error.hint !== undefined) assertOneLine(error.hint)
  t.notOk(`${error.message}${error.hint ?? ''}`.includes(PASSWORD))
  t.equal(ends.length, 1, 'the end is told once')
  t.equal(ends[0], error, 'with the reason')
}

t.test('DNS that never answers', async (t) => {
  const { lookup } = dnsPromises
  const never = (): Promise<never> => new Promise(() => {})
  Object.assign(dnsPromises, { lookup: never })
  syncBuiltinESMExports()
  t.teardown(() => {
    Object.assign(dnsPromises, { lookup })
    syncBuiltinESMExports()
  })
  const wanted = { code: 'SETUP_TIMEOUT', step: 'dns', message: /no progress in DNS within/ }
  await attempt(t, wanted, { host: 'vpn.example', port: 443 })
})

t.test('TCP that nobody accepts', async (t) => {
  // A listener whose thread sleeps, with a queue that is full.
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
     const server = require('node:net').createServer()
     server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port)
       // At once: in its next turn it would take the first of those who come.
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
     })`,
    { eval: true },
  )
  const port = await new Promise<number>((resolve) => worker.once('message', resolve))
  const fillers = Array.from({ length: 8 }, () => connect({ host: '127.0.0.1', port }).on('error', () => {}))
  t.teardown(async () => {
    for (const filler of fillers) filler.destroy()
    await worker.terminate()
  })
  // Linux lets two in and is silent to the others; elsewhere they may be refused.
  await new Promise((resolve) => fillers[1]?.once('connect', resolve))
  const wanted = {
    code: /^(SETUP_TIMEOUT|TCP_)/,
    step: 'tcp',
    message: /no progress in TCP within|127\.0\.0\.1/,
  }
  await attempt(t, wanted, { port })
})

t.test('TLS that stalls, lies, or hangs up', async (t) => {
  const answers: [string, (first: Buffer) => Uint8Array | 'close' | 'nothing', Wanted][] = [
    [
      'nothing',
      () => 'nothing',
      { code: 'SETUP_TIMEOUT', step: 'tls', message: /no progress in TLS within/ },
    ],
    [
      'close',
      () => 'close',
      { code: 'TLS_CLOSED', step: 'tls', message: /closed the connection during TLS/ },
    ],
    [
      'noise',
      () => Buffer.alloc(5000, 0x5a),
      { code: 'TLS_NOT_TLS', step: 'tls', message: /does not speak TLS/ },
    ],
    [
      'a record of 64 KiB',
      () => Buffer.from('160303ffff', 'hex'),
      { code: 'TLS_NOT_TLS', step: 'tls', message: /does not speak TLS/ },
    ],
    [
      'a message of 16 MiB',
      () => Buffer.from('160303000402ffffff', 'hex'),
      { code: /^(TLS_|SETUP_TIMEOUT)/, step: 'tls', message: /TLS/ },
    ],
    [
      'half a record',
      () => Buffer.from('16030300400200003c0303', 'hex'),
      { code: 'SETUP_TIMEOUT', step: 'tls', message: /no progress in TLS within/ },
    ],
    ['its own words back', (first) => first, { code: /^TLS_/, step: 'tls', message: /TLS/ }],
    [
      'an alert',
      () => Buffer.from('15030300020228', 'hex'),
      { code: 'TLS_FAILED', step: 'tls', message: /says: .*handshake failure/ },
    ],
  ]
  const one = async ([what, answer, wanted]: (typeof answers)[number]): Promise<void> => {
    let attempts = 0
    const server = await tcpServer((socket) => {
      attempts++
      socket.once('data', (first: Buffer) => {
        const bytes = answer(first)
        if (bytes === 'close') socket.destroy()
        else if (bytes !== 'nothing') socket.write(bytes)
      })
    })
    await attempt(t, wanted, { port: server.port })
    t.equal(attempts, 1, `${what}: one attempt`)
    await server.close()
  }
  await Promise.all(answers.map(one))
})

t.test('HTTP that stalls, lies, or never ends', async (t) => {
  const byByte = (text: string) => (socket: Socket) => {
    let at = 0
    const next = (): void => {
      if (socket.destroyed || at >= text.length) return
      socket.write(text.slice(at, ++at), () => setImmediate(next))
    }
    next()
  }
  const endless = (head: string) => (socket: Socket) => {
    socket.write(head)
    const more = Buffer.alloc(16_384, 'x')
    const pour = (): void => {
      while (!socket.destroyed && socket.write(more)) {}
    }
    socket.on('drain', pour)
    pour()
  }
  const servers: [string, (socket: Socket) => void, Wanted][] = [
    ['nothing', () => {}, { code: 'SETUP_TIMEOUT', step: 'http', message: /no progress in HTTP within/ }],
    [
      'a head octet by octet that stops short of its end',
      byByte(HEAD.slice(0, -2)),
      { code: 'SETUP_TIMEOUT', step: 'http', message: /no progress in HTTP within/ },
    ],
    [
      'a head without end',
      endless('HTTP/1.1 200 OK\r\nX: '),
      { code: 'HTTP_NOT_HTTP', step: 'http', message: /not HTTP/ },
    ],
    [
      'a million fields',
      endless('HTTP/1.1 200 OK\r\n'.padEnd(16_000, 'a: b\r\n')),
      { code: 'HTTP_NOT_HTTP', step: 'http', message: /not HTTP/ },
    ],
    [
      'a page without end',
      endless('HTTP/1.1 404 Not Found\r\n\r\n<title>oh\u001b[2J no</title>'),
      { code: 'HTTP_NOT_SSTP', step: 'http', message: /answered 404/ },
    ],
    [
      'names that act on terminals',
      (socket) => socket.write('HTTP/1.1 403 \u001b[31mgo\u0007\r\nServer: a\u009b2Jb\r\n\r\n'),
      { code: 'HTTP_NOT_SSTP', step: 'http', message: /answered 403/ },
    ],
    [
      'fields named like what all objects have',
      (socket) => socket.write('HTTP/1.1 403 no\r\n__proto__: x\r\nconstructor: y\r\n\r\n'),
      { code: 'HTTP_NOT_SSTP', step: 'http', message: /answered 403/ },
    ],
    [
      'half a head and the end',
      (socket) => socket.end('HTTP/1.1 200 O'),
      { code: 'HTTP_NOT_HTTP', step: 'http', message: /not HTTP/ },
    ],
    [
      'noise',
      (socket) => socket.write(Buffer.alloc(1 << 20, 0x00)),
      { code: 'HTTP_NOT_HTTP', step: 'http', message: /not HTTP/ },
    ],
    [
      'the end',
      (socket) => socket.end(),
      { code: 'HTTP_CLOSED', step: 'http', message: /without an answer/ },
    ],
  ]
  const one = async ([what, say, wanted]: (typeof servers)[number]): Promise<void> => {
    let attempts = 0
    const server = await tlsServer(certificate, (socket) => {
      attempts++
      socket.once('data', () => say(socket))
    })
    await attempt(t, wanted, { port: server.port })
    t.equal(attempts, 1, `${what}: one attempt`)
    await server.close()
  }
  await Promise.all(servers.map(one))
})

t.test('behind the head: what is not SSTP', async (t) => {
  const pieces: [string, Uint8Array, Wanted][] = [
    [
      'HTTP',
      Buffer.from('HTTP/1.1 200 OK\r\n'),
      { code: 'SSTP_VERSION', step: 'sstp', message: /not SSTP version 1\.0/ },
    ],
    [
      'no length',
      Uint8Array.of(0x10, 0, 0, 0),
      { code: 'SSTP_LENGTH', step: 'sstp', message: /cannot be cut/ },
    ],
    [
      'a packet that never comes',
      Uint8Array.of(0x10, 1, 0x0f, 0xff),
      { code: 'SETUP_TIMEOUT', step: 'sstp', message: /no progress in SSTP within/ },
    ],
    [
      'a flood of IP packets that nobody has agreed on',
      Buffer.alloc(4 << 20, Uint8Array.of(0x10, 0, 0, 9, 0xff, 3, 0, 0x21, 0x45)),
      { code: 'SETUP_TIMEOUT', step: 'sstp', message: /no progress in SSTP within/ },
    ],
  ]
  const one = async ([what, bytes, wanted]: (typeof pieces)[number]): Promise<void> => {
    const server = await tlsServer(certificate, (socket) => {
      socket.once('data', () => socket.write(Buffer.concat([Buffer.from(HEAD), bytes])))
    })
    t.comment(what)
    await attempt(t, wanted, { port: server.port })
    await server.close()
  }
  await Promise.all(pieces.map(one))
})

const PHASES: [string, (packet: Buffer) => boolean, string, RegExp, RegExp][] = [
  ['SSTP', (p) => messageOf(p) === 2, 'sstp', /SSTP/, /^(CALL_CLOSED|SSTP_CONNECTION_CLOSED)$/],
  ['LCP', (p) => read(p).protocol === LCP, 'auth', /PPP/, /^(CALL_CLOSED|SSTP_CONNECTION_CLOSED)$/],
  ['a challenge', (p) => read(p).protocol === CHAP, 'auth', /PPP/, /^(CALL_CLOSED|SSTP_CONNECTION_CLOSED)$/],
  [
    'a verdict',
    (p) => read(p).protocol === CHAP && read(p).code === 3,
    'auth',
    /PPP/,
    /^(CALL_CLOSED|SSTP_CONNECTION_CLOSED|AUTH_REFUSED)$/,
  ],
  ['IPCP', (p) => read(p).protocol === IPCP, 'ip', /IP/, /^(CALL_CLOSED|SSTP_CONNECTION_CLOSED)$/],
]

t.test('instead of each phase: silence, the end of TLS, and the end of TCP', async (t) => {
  const one = async (
    [phase, here, step, stalled, closed]: (typeof PHASES)[number],
    verdict: 'hang' | 'close' | 'reset',
  ): Promise<void> => {
    const rule = (packet: Buffer): Verdict => (here(packet) ? verdict : packet)
    const server = await hostileServer({ ...certificate, der }, PASSWORD, rule)
    // What was under way when TCP was reset may be lost with it, and then the step before is told.
    const steps = verdict === 'reset' ? /^(sstp|auth|ip)$/ : step
    const wanted: Wanted =
      verdict === 'hang'
        ? { code: 'SETUP_TIMEOUT', step, message: new RegExp(`no progress in ${stalled.source} within`) }
        : { code: closed, step: steps, message: /closed|lost|ended|hung up|interrupt/ }
    await attempt(t, wanted, { port: server.port })
    t.equal(server.attempts, 1, `${phase}, ${verdict}: one attempt`)
    await server.close()
  }
  const all = PHASES.flatMap((p) => (['hang', 'close', 'reset'] as const).map((verdict) => one(p, verdict)))
  await Promise.all(all)
})
