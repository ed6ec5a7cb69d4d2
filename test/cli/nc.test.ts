import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { nc } from '../../src/cli/nc.js'
import { NcFailure } from '../../src/cli/nc-conversation.js'
import { HttpConversation } from '../../src/cli/nc-http.js'
import { SocksConversation } from '../../src/cli/nc-socks.js'
import { joinStdio, type Stdio } from '../../src/cli/stdio.js'
import { oneUser } from '../../src/proxy/credentials.js'
import type { ProxyOptions } from '../../src/proxy/server.js'
import { Gathered } from '../helpers/gathered.js'
import { MemoryFlow } from '../helpers/memory-network.js'
import { ORIGIN, Remote, remotes, startProxy, until } from '../helpers/proxy.js'
import { SeededRandom } from '../helpers/random.js'
import { type TestServer, tcpServer } from '../helpers/servers.js'

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

/** Streams as a process has them, and what comes out of them. */
class Streams implements Stdio {
  readonly input = new PassThrough()
  readonly output = new PassThrough()
  readonly #gathered = new Gathered()
  ended = false
  closed = 0

  hear(): this {
    this.output.on('data', (chunk: Buffer) => {
      this.#gathered.push(chunk)
    })
    this.output.on('end', () => {
      this.ended = true
    })
    return this
  }

  closeOutput(): void {
    this.closed++
  }

  get received(): Buffer {
    return this.#gathered.bytes
  }

  get text(): string {
    return this.received.toString('latin1')
  }
}

function start(argv: string[], env: Record<string, string> = {}) {
  const stdio = new Streams().hear()
  let err = ''
  const over = nc(argv, {
    stdio,
    env,
    stderr: (line) => {
      err += line
    },
  })
  return { stdio, over, err: () => err }
}

async function proxied(proxy: Partial<ProxyOptions> = {}) {
  const p = await startProxy({ proxy, names: { 'host.inside': [ORIGIN] } })
  return { p, list: remotes(p.network, 22), via: `127.0.0.1:${p.server.port}` }
}

/** A proxy that says what it is told to, whatever it hears. */
async function scripted(
  answers: readonly Uint8Array[],
  behind?: (text: string) => void,
): Promise<TestServer> {
  const server = await tcpServer((socket) => {
    const left = [...answers]
    socket.on('data', (chunk) => {
      behind?.(chunk.toString('latin1'))
      const answer = left.shift()
      if (answer === undefined) return
      if (answer.length === 0) socket.destroy()
      else socket.write(answer)
    })
  })
  t.teardown(() => server.close())
  return server
}

t.test('through a bridge, half-closed by either side', async (t) => {
  const { p, list, via } = await proxied()
  const one = start(['--via', via, 'host.inside:22'])
  await until(() => list.length === 1)
  one.stdio.input.end('question')
  await until(() => list[0]?.flow.ended === true)
  t.equal(list[0]?.text, 'question')
  list[0]?.say('a late answer')
  await until(() => one.stdio.text === 'a late answer')
  t.notOk(one.stdio.ended)
  list[0]?.flow.end()
  t.equal(await one.over, 0)
  t.ok(one.stdio.ended)

  const two = start(['--via', via, ORIGIN, '22'])
  await until(() => list.length === 2)
  list[1]?.say('SSH-2.0-x')
  list[1]?.flow.end()
  await until(() => two.stdio.ended)
  t.equal(two.stdio.closed, 1, 'whoever reads knows it now')
  two.stdio.input.end('and the rest')
  t.equal(await two.over, 0)
  await until(() => list[1]?.closed !== undefined)
  t.equal(list[1]?.text, 'and the rest')
  t.equal(one.err() + two.err(), '')
  await p.stop()
})

t.test('much of it, both ways, and a reader who is slow', async (t) => {
  const { p, list, via } = await proxied()
  const block = new SeededRandom(7).bytes(24_000_000)
  const stdio = new Streams()
  const over = nc(['--via', via, `${ORIGIN}:22`], { stdio, env: {}, stderr: () => {} })
  await until(() => list.length === 1)
  list[0]?.say(block)
  list[0]?.flow.end()
  stdio.input.end(block)
  await until(() => list[0]?.received.length === block.length)
  t.ok(list[0]?.received.equals(block))
  t.ok((list[0]?.flow.queued ?? 0) > 0, 'it waits for the reader')
  stdio.hear()
  t.equal(await over, 0)
  t.ok(stdio.received.equals(block))
  await p.stop()
})

t.test('a connection that does not come about: the status tells why', async (t) => {
  const { p, via } = await proxied()
  const cases: [string, string, number, RegExp][] = [
    ['refused', `${ORIGIN}:23`, 15, /^sstp-socks nc: 192\.0\.2\.1:23: it refused the connection/],
    ['no such name', 'nowhere.inside:22', 14, /nowhere\.inside:22: no such host/],
  ]
  for (const [what, to, status, line] of cases) {
    const { over, err } = start(['--via', via, to])
    t.equal(await over, status, what)
    t.match(err(), line)
    t.match(err(), /^[^\n]+\n$/, 'one line')
  }
  await p.stop()
  const codes: [number, number, RegExp][] = [
    [1, 11, /its log says why/],
    [2, 12, /not allowed/],
    [3, 13, /network cannot be reached/],
    [6, 16, /does not answer/],
    [8, 18, /kind of address/],
    [9, 6, /unknown reply 9/],
  ]
  for (const [code, status, line] of codes) {
    const server = await scripted([Uint8Array.of(5, 0), Uint8Array.of(5, code, 0, 1, 0, 0, 0, 0, 0, 0)])
    const { over, err } = start(['--via', `${server.port}`, 'h:1'])
    t.equal(await over, status, `reply ${code}`)
    t.match(err(), line)
  }
})

t.test('credentials', async (t) => {
  const { p, list, via } = await proxied({ credentials: oneUser('joe', 'pass word') })
  const env = { SSTP_PROXY_USER: 'joe', SSTP_PROXY_PASSWORD: 'pass word' }
  const file = join(t.testdir(), 'password')
  await writeFile(file, 'pass word\r\nmore\n')
  const large = `${file}-large`
  await writeFile(large, 'x'.repeat(65_537))
  const good: [string[], Record<string, string>][] = [
    [['--via', via], env],
    [['--via', via, '--proxy-user', 'joe', '--proxy-password-file', file], {}],
    [[], { ALL_PROXY: `socks5h://joe:pass%20word@${via}` }],
    [[], { ...env, SSTP_PROXY_PASSWORD: '', ALL_PROXY: `socks5://joe:pass%20word@${via}` }],
    [[], { all_proxy: `http://joe:pass%20word@${via}` }],
  ]
  for (const [i, [argv, where]] of good.entries()) {
    const { over, stdio, err } = start([...argv, `${ORIGIN}:22`], where)
    await until(() => list.length === i + 1 || err() !== '', `connection ${i}`)
    t.equal(err(), '')
    list[i]?.flow.end()
    stdio.input.end()
    t.equal(await over, 0)
  }
  const bad: [string[], Record<string, string>, number, RegExp][] = [
    [['--via', via], { ...env, SSTP_PROXY_PASSWORD: 's3cret' }, 5, /does not take this user name/],
    [[], { ALL_PROXY: `socks5h://joe:%zz@${via}` }, 2, /% that stands for nothing/],
    [[], { ALL_PROXY: `socks5h://${'j'.repeat(256)}:x@${via}` }, 2, /255 octets/],
    [['--via', via], {}, 5, /wants a user name and password/],
    [[], { ALL_PROXY: `http://joe:s3cret@${via}` }, 5, /does not take this user name/],
    [['--via', via, '--proxy-user', 'joe'], {}, 2, /no password: give/],
    [['--via', via, '--proxy-password-file', file], {}, 2, /needs --proxy-user too/],
    [['--via', via, '--proxy-user', 'joe', '--proxy-password-file', `${file}x`], {}, 2, /ENOENT/],
    [
      ['--via', via, '--proxy-user', 'joe', '--proxy-password-file', dirname(file)],
      {},
      2,
      /neither a file nor/,
    ],
    [['--via', via, '--proxy-user', 'joe', '--proxy-password-file', large], {}, 2, /is larger than 64 KiB/],
  ]
  for (const [argv, where, status, line] of bad) {
    const { over, err } = start([...argv, `${ORIGIN}:22`], where)
    t.equal(await over, status, err())
    t.match(err(), line)
    t.notMatch(err(), /s3cret/)
  }
  await p.stop()
})

t.test('a bridge on a unix socket', async (t) => {
  // `t.testdir()` has longer paths than a unix socket can have.
  const folder = await mkdtemp(join(tmpdir(), 'nc-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'socks')
  const { p, list } = await proxied({ path })
  for (const [argv, env] of [
    [['--via', `unix:${path}`], {}],
    [[], { ALL_PROXY: `socks5h://localhost${path}` }],
  ] as const) {
    const before = list.length
    const { over, stdio } = start([...argv, `${ORIGIN}:22`], env)
    await until(() => list.length === before + 1)
    list.at(-1)?.say('hello')
    list.at(-1)?.flow.end()
    stdio.input.end()
    t.equal(await over, 0)
    t.equal(stdio.text, 'hello')
  }
  await p.stop()
  const gone = start(['--via', `unix:${path}`, 'h:1'])
  t.equal(await gone.over, 3)
  t.match(gone.err(), /no bridge on unix:.*\(ENOENT\): start one/)
})

t.test('what is no proxy, hangs up, or breaks off', async (t) => {
  const web = await scripted([Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')])
  const socks = start(['--via', `${web.port}`, 'h:1'])
  t.equal(await socks.over, 6)
  t.match(socks.err(), /no SOCKS5 proxy \(but perhaps an HTTP proxy\)/)
  const other = await scripted([Buffer.from('220 mail.example ESMTP\r\n')])
  const http = start(['h:1'], { ALL_PROXY: `http://127.0.0.1:${other.port}` })
  t.equal(await http.over, 6)
  t.match(http.err(), /no HTTP proxy/)
  const rude = await scripted([Uint8Array.of(5, 0), Uint8Array.of()])
  const hung = start(['--via', `${rude.port}`, 'h:1'])
  t.ok([6, 7].includes(await hung.over))
  const granted = Uint8Array.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0)
  const { p, list, via } = await proxied()
  const broken = start(['--via', via, `${ORIGIN}:22`])
  await until(() => list.length === 1)
  list[0]?.say('half')
  await until(() => broken.stdio.text === 'half')
  list[0]?.flow.reset()
  t.equal(await broken.over, 7)
  t.match(broken.err(), /^sstp-socks nc: the connection was broken off \(ECONNRESET\)\n$/)
  await p.stop()
  const early = await scripted([Uint8Array.of(5, 0), Buffer.concat([granted, Buffer.from('at once')])])
  const talk = start(['--via', `${early.port}`, 'h:1'])
  await until(() => talk.stdio.text === 'at once', 'what came behind the reply')
  talk.stdio.output.destroy(new Error('gone'))
  t.equal(await talk.over, 0, 'a reader who goes is no error')
})

t.test('a proxy that keeps silent: one line, after the time that was said', async (t) => {
  // Of the test's own: it goes off when the proxy has heard what it is to hear.
  const impatient = (argv: string[], env: Record<string, string> = {}) => {
    let fire = (): void => {}
    let set = 0
    const waits: number[] = []
    let err = ''
    const stdio = new Streams().hear()
    const over = nc(argv, {
      stdio,
      env,
      stderr: (line) => {
        err += line
      },
      setTimer: (callback, ms) => {
        fire = callback
        set++
        waits.push(ms)
        return () => void set--
      },
    })
    return { stdio, over, waits, fire: () => fire(), err: () => err, set: () => set }
  }
  const silent = await tcpServer(() => {})
  t.teardown(() => silent.close())
  const place = `127.0.0.1:${silent.port}`
  for (const [argv, env] of [
    [['--via', place], {}],
    [[], { ALL_PROXY: `http://${place}` }],
  ] as const) {
    const one = impatient([...argv, 'h:1'], env)
    one.fire()
    t.equal(await one.over, 3)
    t.equal(
      one.err(),
      `sstp-socks nc: the proxy on ${place} does not answer within 60 s (--timeout): say with --via where the SOCKS proxy is\n`,
    )
    t.same(one.waits, [60_000])
    t.equal(one.set(), 0)
  }
  for (const [said, ms] of [
    ['90', 90_000],
    ['1500ms', 1500],
    ['2m', 120_000],
  ] as const) {
    let asked = false
    const server = await scripted([Uint8Array.of(5, 0)], (text) => {
      asked ||= text.includes('h')
    })
    const one = impatient(['--via', `${server.port}`, '--timeout', said, 'h:1'])
    await until(() => asked)
    one.fire()
    t.equal(await one.over, 16)
    t.match(
      one.err(),
      `h:1: the proxy on 127.0.0.1:${server.port} has not made a connection within ${ms / 1000} s`,
    )
    t.match(one.err(), /^[^\n]+\n$/)
    t.same(one.waits, [ms])
  }
  const { p, list, via } = await proxied()
  const well = impatient(['--via', via, `${ORIGIN}:22`])
  await until(() => list.length === 1)
  list[0]?.say('hello')
  await until(() => well.stdio.text === 'hello')
  t.equal(well.set(), 0, 'a connection that stands has no limit')
  list[0]?.flow.end()
  well.stdio.input.end()
  t.equal(await well.over, 0)
  await p.stop()
})

t.test('usage', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /HOST:PORT is missing/],
    [['host'], /"host" is not HOST:PORT/],
    [['fd00::1:22'], /brackets/],
    [['[host]:22'], /is not an IPv6 address/],
    [['host:0'], /"0" is not a port/],
    [['host', '70000'], /"70000" is not a port/],
    [['a', '1', 'b'], /nothing takes: b/],
    [['--vai', 'x', 'h:1'], /unknown option --vai/],
    [['--via'], /--via: wants a value/],
    [['--via', 'a:1', '--via=b:1', 'h:1'], /given twice/],
    [['--via', '::1:1', 'h:1'], /--via: "::1:1" is not/],
    [[`${'x'.repeat(256)}:1`], /is not a host/],
    [['--timeout', 'soon', 'h:1'], /--timeout: "soon" is not a time from 1 to 600 seconds/],
    [['--timeout', '999ms', 'h:1'], /--timeout: "999ms" is not a time/],
    [['--timeout=11m', 'h:1'], /--timeout: "11m" is not a time/],
  ]
  for (const [argv, line] of cases) {
    const { over, err } = start(argv)
    t.equal(await over, 2, argv.join(' '))
    t.match(err(), line)
    t.match(err(), /\(see sstp-socks nc --help\)\n$/)
  }
  const odd = start(['h:1'], { ALL_PROXY: 'ftp://u:s3cret@x' })
  t.equal(await odd.over, 2)
  t.notMatch(odd.err(), /s3cret/)
  const help = start(['--help'])
  t.equal(await help.over, 0)
  t.match(help.stdio.text, /ProxyCommand/)
})

function statusOf(call: () => unknown): number {
  try {
    call()
    return 0
  } catch (error) {
    return error instanceof NcFailure ? error.status : -1
  }
}

t.test('conversations octet by octet', async (t) => {
  const socks = new SocksConversation('h', 1, { user: 'u', password: 'p' })
  const answers = Uint8Array.of(5, 2, 1, 0, 5, 0, 0, 3, 2, 0x61, 0x62, 0, 80, 0x21)
  const sent: string[] = []
  let rest: Uint8Array | undefined
  for (const [i, octet] of answers.entries()) {
    const step = socks.push(Uint8Array.of(octet))
    if (step.type === 'send') sent.push(Buffer.from(step.data).toString('hex'))
    if (step.type === 'connected') {
      t.equal(i, answers.length - 2)
      rest = step.rest
      break
    }
  }
  t.same(sent, ['0101750170', '05010003016800' + '01'])
  t.equal(rest?.length, 0)
  const http = new HttpConversation('[fd00::1]:22', undefined)
  t.equal(Buffer.from(http.first).toString(), 'CONNECT [fd00::1]:22 HTTP/1.1\r\nHost: [fd00::1]:22\r\n\r\n')
  const head = Buffer.from('HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n')
  for (const [i, octet] of head.entries()) {
    const { type } = http.push(Uint8Array.of(octet))
    t.equal(type, i === head.length - 1 ? 'connected' : 'more')
  }
  for (const [line, status] of [
    ['502 x\r\nProxy-Status: s; error=connection_refused', 15],
    ['502 x\r\nProxy-Status: "s"; received-status=1; error=dns_error; details="x"', 14],
    ['504 x', 16],
    ['403 x', 12],
    ['500 x', 11],
    ['407 x', 5],
  ] as const) {
    const answer = Buffer.from(`HTTP/1.1 ${line}\r\n\r\n`)
    t.equal(
      statusOf(() => new HttpConversation('h:1', undefined).push(answer)),
      status,
    )
  }
  const endless = new HttpConversation('h:1', undefined)
  t.equal(
    statusOf(() => endless.push(Buffer.from(`HTTP/1.1 200 x\r\n${'a'.repeat(70_000)}`))),
    6,
  )
})

t.test('as a process, with pipes', async (t) => {
  const { p, list, via } = await proxied()
  const child = spawn(process.execPath, [...process.execArgv, MAIN, 'nc', '--via', via, `${ORIGIN}:22`])
  const err = text(child.stderr)
  // However long it takes to start.
  while (list.length === 0 && child.exitCode === null) await new Promise((resolve) => setImmediate(resolve))
  t.equal(list.length, 1, 'a connection')
  list[0]?.say('banner')
  list[0]?.flow.end()
  t.equal(await text(child.stdout), 'banner', 'the end is seen while it still runs')
  t.equal(child.exitCode, null)
  child.stdin.end('the rest')
  const [status] = await once(child, 'exit')
  t.equal(status, 0)
  // Its end may be told of before the bridge has read what it sent.
  await until(() => list[0]?.text === 'the rest', 'the rest')
  t.equal(await err, '')
  await p.stop()
})

// ---------------------------------------------------------------- --stdio

function joined() {
  const [ours, theirs] = MemoryFlow.pair({ address: '10.9.0.2', port: 1 }, { address: ORIGIN, port: 22 })
  const stdio = new Streams()
  const remote = new Remote(theirs)
  return { ours, remote, stdio, over: joinStdio(ours, stdio) }
}

t.test('--stdio: both ways, half-closed by either side, with back-pressure', async (t) => {
  const block = new SeededRandom(8).bytes(1_000_000)
  const one = joined()
  one.stdio.input.end(block)
  await until(() => one.remote.flow.ended)
  t.ok(one.remote.received.equals(block))
  one.remote.say(block)
  one.remote.flow.end()
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve))
  t.ok(one.ours.consumed < 500_000, 'nobody reads: the sender waits')
  one.stdio.hear()
  await one.over
  t.ok(one.stdio.received.equals(block))
  t.equal(one.stdio.closed, 1)

  const two = joined()
  two.stdio.hear()
  two.remote.say('banner')
  two.remote.flow.end()
  await until(() => two.stdio.ended)
  two.stdio.input.end('the rest')
  await two.over
  t.equal(two.remote.text, 'the rest')
})

t.test('--stdio: ends that are not proper', async (t) => {
  const reset = joined()
  reset.stdio.hear()
  reset.remote.say('half')
  await until(() => reset.stdio.text === 'half')
  reset.remote.flow.reset()
  await t.rejects(reset.over, { code: 'reset' })
  const gone = joined()
  gone.stdio.output.destroy(new Error('EPIPE'))
  await gone.over
  t.same(gone.remote.closed, { code: 'reset' })
})
