/**
 * The product as a client of a server that is not ours: sstp-server with Debian's pppd and the Linux kernel's PPP.
 * The product runs as `nobody`, curl uses its proxies.
 */
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Facts, Lab, since } from './lab.js'
import { certificate, closedPort, plainWebServer, socksConnect } from './net.js'
import { exits, must, sha256Of } from './process.js'
import { Product, privilegesOf, type Running } from './product.js'

type LabAuth = 'mschapv2' | 'chap' | 'pap'

const ATTEMPT: Record<LabAuth, RegExp> = {
  mschapv2: /rcvd \[CHAP Response/g,
  chap: /rcvd \[CHAP Response/g,
  pap: /rcvd \[PAP AuthReq/g,
}

const product = new Product()
t.teardown(() => product.close())
const lab = await Lab.open()
t.teardown(() => lab.down())

const good = product.file('password', 'password1\n')
const wrong = product.file('wrong', 'not-the-password\n')
const upload = randomBytes(16 << 20)
const uploadFile = product.file('upload', upload)
const uploadSha256 = createHash('sha256').update(upload).digest('hex')

/** Server and credentials as arguments of any command. */
function call(facts: Facts, auth: LabAuth, { user = 'alice', password = good } = {}): string[] {
  const { host, port } = facts.server
  const ca = product.file('ca.pem', readFileSync(facts.tls.ca), 0o644)
  return [`${host}:${port}`, '--user', user, '--password-file', password, '--ca', ca, '--auth', auth]
}

function connect(facts: Facts, auth: LabAuth): Promise<Running> {
  return product.start('connect', ...call(facts, auth), '--socks', '127.0.0.1:0', '--http', '127.0.0.1:0')
}

/** curl's arguments for each proxy of a running product. */
function proxies({ ready }: Running): { name: string; curl: string[] }[] {
  const { socks, http } = ready
  if (!socks || !http) throw new Error(`the ready line has no proxies: ${JSON.stringify(ready)}`)
  const quiet = ['--silent', '--show-error', '--fail', '--max-time', '150']
  return [
    { name: 'SOCKS5', curl: [...quiet, '--socks5-hostname', `${socks.address}:${socks.port}`] },
    { name: 'HTTP', curl: [...quiet, '--proxy', `http://${http.address}:${http.port}`] },
  ]
}

async function noPrivileges(t: Test, { pid }: Running) {
  const { uid, capabilities, files } = privilegesOf(pid)
  t.equal(uid, '65534\t65534\t65534\t65534', 'runs as nobody')
  t.strictSame(Object.keys(capabilities).sort(), ['CapAmb', 'CapBnd', 'CapEff', 'CapInh', 'CapPrm'])
  for (const [set, bits] of Object.entries(capabilities)) t.match(bits, /^0+$/, `${set} is empty`)
  t.notMatch(files.join('\n'), /\/dev\/(net\/tun|ppp|tap)/, 'no TUN or PPP device is open')
}

/** 64 MiB down and 16 MiB up through both proxies. */
async function bulk(t: Test, running: Running, facts: Facts) {
  const file = facts.inner.files['64MiB']
  for (const { name, curl } of proxies(running)) {
    const started = performance.now()
    const down = await sha256Of('curl', [...curl, `http://web.lin.test${file?.path}`])
    const halfway = performance.now()
    t.strictSame(down, { sha256: file?.sha256, bytes: file?.bytes }, `64 MiB down through ${name}`)
    const up = await must('curl', [...curl, '--data-binary', `@${uploadFile}`, 'http://web.lin.test/upload'])
    const expected = { bytes: upload.length, sha256: uploadSha256 }
    t.strictSame(JSON.parse(up.stdout), expected, `16 MiB up through ${name}`)
    const rate = (bytes: number, ms: number) => `${((bytes * 8) / ms / 1000).toFixed(1)} Mbit/s`
    const [d, u] = [rate(down.bytes, halfway - started), rate(upload.length, performance.now() - halfway)]
    t.comment(`${name}: ${d} down, ${u} up`)
  }
}

/** Prints how many connections to the web server the inner host has had at once; ends when there are 50. */
const COUNT = `most=0
for i in $(seq 300); do
  mapfile -t now < <(ss -Htn state established 'sport = :80')
  [ "\${#now[@]}" -le $most ] || most=\${#now[@]}
  [ $most -lt 50 ] || break
  sleep 0.1
done
echo $most`

/** 50 transfers that all take 4 s run together, each with its own connection; the inner host counts them. */
async function fifty(t: Test, running: Running, facts: Facts) {
  const file = facts.inner.files['64KiB']
  const small = product.file('small', upload.subarray(0, 1 << 18))
  const smallSha256 = createHash('sha256')
    .update(upload.subarray(0, 1 << 18))
    .digest('hex')
  const parallel = ['--parallel', '--parallel-immediate', '--parallel-max', '50']
  for (const { name, curl } of proxies(running)) {
    const all = [...curl, ...parallel]
    const out = join(product.dir, `${name}-#1`)
    const [most] = await Promise.all([
      lab.exec('inner', 'bash', '-c', COUNT),
      must('curl', [...all, '--output', out, 'http://web.lin.test/slow/65536/16384?[1-50]']),
    ])
    t.ok(Number(most) >= 50, `50 connections at once through ${name}: ${most.trim()}`)
    const sums = numbers(50).map((i) => fileSha256(out.replace('#1', String(i))))
    t.strictSame(sums, Array(50).fill(file?.sha256), `50 downloads at once through ${name}`)
    const body = ['--data-binary', `@${small}`]
    const up = await must('curl', [...all, ...body, 'http://web.lin.test/upload?[1-50]'])
    const answers = up.stdout.trim().split('\n')
    const each = { bytes: 1 << 18, sha256: smallSha256 }
    t.strictSame(
      answers.map((line) => JSON.parse(line)),
      Array(50).fill(each),
      `50 uploads through ${name}`,
    )
  }
}

async function names(t: Test, running: Running, facts: Facts) {
  for (const { name, curl } of proxies(running)) {
    for (const host of ['v4only.lin.test', 'alias.lin.test', 'two.lin.test', 'big.lin.test']) {
      const { stdout } = await must('curl', [...curl, `http://${host}/`])
      t.equal(stdout, 'lab web server\n', `${host} through ${name}`)
    }
  }
  const lookup = async (host: string) => {
    const [server = '', ...rest] = call(facts, 'mschapv2')
    return product.run('resolve', server, host, ...rest)
  }
  // 50 addresses do not fit into a UDP answer
  for (const host of ['v4only.lin.test', 'two.lin.test', 'big.lin.test']) {
    const done = await lookup(host)
    const found = done.stdout.match(/\b\d+\.\d+\.\d+\.\d+\b/g) ?? []
    exits(t, done, 0, `resolve ${host}`)
    t.strictSame([...new Set(found)].sort(), [...(facts.inner.names[host] ?? [])].sort(), `resolve ${host}`)
  }
  t.not((await lookup('missing.lin.test')).code, 0, 'resolve fails for a name that does not exist')
}

async function replies(t: Test, running: Running, facts: Facts) {
  const { inner } = facts
  const { socks, http } = running.ready
  if (!socks || !http) return t.fail('no proxies')
  const cases: [what: string, host: string, port: number, reply: number, status: string][] = [
    ['accepted', inner.host4, inner.ports.silent, 0, '200'],
    ['refused', inner.host4, inner.ports.closed, 5, '502'],
    ['no such host on the inner network', inner.nobody4, 80, 4, '502'],
    // of the server's pool and not in use: no route there, and none of this host's leads out
    ['no route behind the server', '192.168.79.250', 80, 3, '502'],
    ['no such name', 'missing.lin.test', 80, 4, '502'],
  ]
  for (const [what, host, port, reply, status] of cases) {
    const { reply: got, socket } = await socksConnect(socks, host, port)
    socket.destroy()
    t.equal(got, reply, `SOCKS5: ${what}`)
    // the silent port never answers the request inside the tunnel: curl ends that after 6 s
    const { stdout } = await must('bash', [
      '-c',
      'curl -s -o /dev/null -m 6 -p -x "$1" -w "%{http_connect}" "$2" || [ $? -ne 0 ]',
      'bash',
      `http://${http.address}:${http.port}`,
      `http://${host}:${port}/`,
    ])
    t.equal(stdout, status, `HTTP CONNECT: ${what}`)
  }
}

/** What is more than a transfer: TLS through both, all methods, half-close. */
async function variety(t: Test, running: Running, facts: Facts) {
  const file = facts.inner.files['1MiB']
  for (const { name, curl } of proxies(running)) {
    const https = await sha256Of('curl', [
      ...curl,
      '--cacert',
      facts.inner.web_ca,
      `https://web.lin.test${file?.path}`,
    ])
    t.equal(https.sha256, file?.sha256, `https through ${name}`)
    const chunked = await sha256Of('curl', [...curl, 'http://web.lin.test/chunked/65536'])
    t.equal(chunked.sha256, facts.inner.files['64KiB']?.sha256, `chunked response through ${name}`)
    const close = await sha256Of('curl', [...curl, 'http://web.lin.test/close/65536'])
    t.equal(close.sha256, facts.inner.files['64KiB']?.sha256, `response ended by close through ${name}`)
  }
  const http = proxies(running)[1]?.curl ?? []
  const put = await must('curl', [...http, '--upload-file', uploadFile, 'http://web.lin.test/upload'])
  t.equal(JSON.parse(put.stdout).sha256, uploadSha256, 'PUT through HTTP')
  const chunked = ['--header', 'Transfer-Encoding: chunked', '--upload-file', uploadFile]
  const post = await must('curl', [...http, '--request', 'POST', ...chunked, 'http://web.lin.test/upload'])
  t.equal(JSON.parse(post.stdout).sha256, uploadSha256, 'chunked POST through HTTP')
  const head = await must('curl', [...http, '--head', 'http://web.lin.test/16MiB'])
  t.match(head.stdout, /^content-length: 16777216\r?$/im, 'HEAD through HTTP')
  const twice = await must('curl', [...http, '--verbose', 'http://web.lin.test/', 'http://web.lin.test/'])
  t.match(twice.stderr, /re-using existing connection/i, 'HTTP keeps the connection')

  const { socks } = running.ready
  if (!socks) return t.fail('no SOCKS proxy')
  const { reply, socket } = await socksConnect(socks, 'web.lin.test', facts.inner.ports.halfclose)
  t.equal(reply, 0)
  socket.end(upload.subarray(0, 100_000))
  let answer = ''
  for await (const chunk of socket) answer += String(chunk)
  const sum = createHash('sha256').update(upload.subarray(0, 100_000)).digest('hex')
  t.equal(answer, `100000 ${sum}\n`, 'half-close: the answer comes after our end of stream')
}

async function ended(t: Test, running: Running, facts: Facts, signal: NodeJS.Signals) {
  const [pppd, sstpd] = [since(facts.logs.pppd), since(facts.logs.sstpd)]
  const { code, ms } = await running.stop(signal)
  if (!t.equal(code, 0, `${signal}: exit code 0`)) t.comment(running.stderr())
  t.ok(ms < 3000, `${signal}: ended in ${ms.toFixed(0)} ms`)
  t.equal(JSON.parse(running.lines.at(-1) ?? '{}').event, 'stopped', 'the last event')
  await new Promise((resolve) => setTimeout(resolve, 1500)) // the server logs its own end a second later
  await said(t, pppd, /rcvd \[LCP Term(Req|Ack)/, 'the server saw LCP terminate')
  await said(t, sstpd, /\(CALL_DISCONNECT(_ACK)?\) received/, 'the server saw the call disconnect')
  t.notMatch(pppd() + sstpd(), /CALL_ABORT|parity|bad FCS|Traceback/i, 'the server has no complaint')
}

/** A log comes to say this, in its own time. */
async function said(t: Test, log: () => string, what: RegExp, name: string): Promise<void> {
  const end = performance.now() + 20_000
  while (!what.test(log()) && performance.now() < end)
    await new Promise((resolve) => setTimeout(resolve, 100))
  t.match(log(), what, name)
}

async function wrongPassword(t: Test, facts: Facts, auth: LabAuth) {
  const [pppd, sstpd] = [since(facts.logs.pppd), since(facts.logs.sstpd)]
  const off = ['--socks', '127.0.0.1:0', '--http', 'off']
  const done = await product.run('connect', ...call(facts, auth, { password: wrong }), ...off)
  exits(t, done, 5, 'wrong password')
  t.ok(done.ms < 10_000, `wrong password: ended in ${done.ms.toFixed(0)} ms`)
  t.notMatch(done.stdout + done.stderr, /not-the-password/, 'the password is not shown')
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.equal(pppd().match(ATTEMPT[auth])?.length, 1, 'wrong password: tried once')
  t.equal(sstpd().match(/\(CALL_CONNECT_REQUEST\)/g)?.length, 1, 'wrong password: one call')
}

for (const [auth, signal] of [
  ['mschapv2', 'SIGINT'],
  ['chap', 'SIGTERM'],
  ['pap', 'SIGINT'],
] as const) {
  await t.test(auth, async (t) => {
    const facts = await lab.up(auth)
    const running = await connect(facts, auth)
    await t.test('ready line', async (t) => {
      const { tunnel } = running.ready
      t.match(tunnel, { auth, peer: facts.inner.router, dns: [facts.inner.dns], ipv4: /^192\.168\.79\.\d+$/ })
    })
    await t.test('no privileges', (t) => noPrivileges(t, running))
    await t.test('files', (t) => bulk(t, running, facts))
    await t.test('50 connections', (t) => fifty(t, running, facts))
    if (auth === 'mschapv2') {
      await t.test('names', (t) => names(t, running, facts))
      await t.test('replies', (t) => replies(t, running, facts))
      await t.test('variety', (t) => variety(t, running, facts))
    }
    await t.test('end', (t) => ended(t, running, facts, signal))
    await t.test('check', async (t) => {
      const done = await product.run('check', ...call(facts, auth))
      exits(t, done, 0, 'check')
      const order = ['DNS', 'TCP', 'TLS', 'HTTP', 'SSTP', 'PPP', 'IP']
      const lines = done.stdout.trim().split('\n')
      t.equal(lines.length, order.length, 'seven lines')
      for (const [i, step] of order.entries()) t.match(lines[i], new RegExp(`\\b${step}\\b`), `line ${i + 1}`)
      const refused = await product.run('check', ...call(facts, auth, { password: wrong }))
      exits(t, refused, 5, 'check with a wrong password')
    })
    await t.test('ping', async (t) => {
      const [server = '', ...rest] = call(facts, auth)
      const done = await product.run('ping', server, 'v4only.lin.test', ...rest)
      exits(t, done, 0, 'ping')
      t.match(done.stdout, /192\.168\.78\.10/, 'the host answers')
      const nobody = await product.run('ping', server, facts.inner.nobody4, ...rest)
      t.not(nobody.code, 0, 'ping of an address that nobody has fails')
    })
    await t.test('user with domain and a password that is not ASCII', async (t) => {
      const password = product.file('bob', 'pässwörd\n')
      exits(t, await product.run('check', ...call(facts, auth, { user: 'CORP\\bob', password })), 0, 'check')
    })
    await t.test('wrong password', (t) => wrongPassword(t, facts, auth))
  })
}

await t.test('servers that are not to be used', async (t) => {
  const facts = await lab.up('mschapv2')
  const [server = '', ...rest] = call(facts, 'mschapv2')
  const credentials = rest.slice(0, 4)
  const off = ['--socks', '127.0.0.1:0', '--http', 'off']
  const attempt = (...args: string[]) => product.run('connect', ...args, ...credentials, ...off)

  exits(t, await attempt(server), 4, 'the CA is not known')
  const other = product.file('other-ca.pem', readFileSync(facts.tls.other_ca), 0o644)
  exits(t, await attempt(server, '--ca', other), 4, 'another CA')
  exits(t, await attempt(server, '--pin', '00'.repeat(32)), 4, 'another pin')
  exits(t, await attempt(`127.0.0.1:${await closedPort()}`, '--insecure'), 3, 'a closed port')

  const { cert, key } = await certificate(product.dir, 'web', 'IP:127.0.0.1')
  const web = await plainWebServer({ cert: readFileSync(cert), key: readFileSync(key) })
  t.teardown(() => web.close())
  const notSstp = await attempt(`127.0.0.1:${web.port}`, '--ca', cert)
  exits(t, notSstp, 6, 'a web server')
  t.match(notSstp.stderr, /web server|not an SSTP server/i, 'and a line that says so')
})

function numbers(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1)
}

function fileSha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}
