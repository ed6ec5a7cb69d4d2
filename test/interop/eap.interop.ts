/**
 * EAP with peers that are not ours: pppd 2.4.9 behind sstp-server with its crypto binding enforced, and Debian's sstpc
 * with pppd as a client of `serve`. (EAP with a RADIUS server is in radius.interop.ts.)
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { type Facts, Lab, since } from './lab.js'
import { certificate } from './net.js'
import { exits, must, sha256Of } from './process.js'
import { Product, privilegesOf, type Running } from './product.js'

const product = new Product()
t.teardown(() => product.close())
const lab = await Lab.open()
t.teardown(() => lab.down())

const good = product.file('password', 'password1\n')
const wrong = product.file('wrong', 'not-the-password\n')
const off = ['--socks', '127.0.0.1:0', '--http', 'off']

/** Server and credentials as arguments of any command. */
function call(facts: Facts, ...credentials: string[]): string[] {
  const { host, port } = facts.server
  const ca = product.file('ca.pem', readFileSync(facts.tls.ca), 0o644)
  return [`${host}:${port}`, '--ca', ca, ...credentials]
}

/** Data passes, in both directions and in quantity: the server has taken the crypto binding. */
async function carries(t: Test, { ready }: Running, facts: Facts) {
  const { socks } = ready
  if (!socks) return t.fail('no SOCKS proxy')
  const curl = ['--silent', '--show-error', '--fail', '--max-time', '60']
  curl.push('--socks5-hostname', `${socks.address}:${socks.port}`)
  const file = facts.inner.files['1MiB']
  const down = await sha256Of('curl', [...curl, `http://web.lin.test${file?.path}`])
  t.strictSame(down, { sha256: file?.sha256, bytes: file?.bytes }, '1 MiB down')
  const up = await must('curl', [...curl, '--data-binary', `@${facts.tls.ca}`, 'http://web.lin.test/upload'])
  t.equal(JSON.parse(up.stdout).bytes, readFileSync(facts.tls.ca).length, 'a file up')
}

const calls = (log: string) => log.match(/\(CALL_CONNECT_REQUEST\)/g)?.length ?? 0

await t.test('EAP-TLS with pppd 2.4.9', async (t) => {
  const facts = await lab.up('eap-tls')
  const cert = product.file('alice.pem', readFileSync(facts.tls.client_cert))
  const key = product.file('alice.key', readFileSync(facts.tls.client_key))
  const alice = call(facts, '--user', 'alice', '--cert', cert, '--key', key, '--auth', 'eap-tls')
  const eapCa = product.file('eap-ca.pem', readFileSync(facts.tls.ca), 0o644)
  const trust = ['--eap-servername', facts.server.name]
  const named = [...trust, '--eap-ca', eapCa]

  await t.test('by the key of Windows first, then as pppd makes it', async (t) => {
    const [pppd, sstpd] = [since(facts.logs.pppd), since(facts.logs.sstpd)]
    const running = await product.start('connect', ...alice, ...named, ...off)
    t.match(running.ready.tunnel, { auth: 'eap-tls', peer: facts.inner.router })
    t.match(running.stderr(), /trying once more with the key as pppd 2\.4 makes it/, 'it says so')
    const { uid, capabilities } = privilegesOf(running.pid)
    t.equal(uid, '65534\t65534\t65534\t65534', 'runs as nobody')
    for (const [set, bits] of Object.entries(capabilities)) t.match(bits, /^0+$/, `${set} is empty`)
    await carries(t, running, facts)
    t.equal((await running.stop('SIGTERM')).code, 0)
    t.equal(calls(sstpd()), 2, 'two calls')
    t.match(pppd(), /EAP TLS|EAP-TLS|Eap-Tls/i, 'pppd speaks EAP-TLS')
  })

  await t.test('by the rule that is said', async (t) => {
    const sstpd = since(facts.logs.sstpd)
    const running = await product.start('connect', ...alice, ...named, '--eap-key-rule', 'pppd', ...off)
    await carries(t, running, facts)
    t.notMatch(running.stderr(), /trying once more/)
    await running.stop('SIGTERM')
    t.equal(calls(sstpd()), 1, 'one call')
    const windows = await product.run('connect', ...alice, ...named, '--eap-key-rule', 'windows', ...off)
    exits(t, windows, 4, 'the key of Windows alone')
    t.match(windows.stderr, /crypto binding/)
  })

  await t.test('who is not trusted', async (t) => {
    const name = await product.run('check', ...alice, '--eap-servername', 'other.lin.test', '--eap-ca', eapCa)
    exits(t, name, 4, "another name than the authentication server's")
    const other = product.file('other-ca.pem', readFileSync(facts.tls.other_ca), 0o644)
    exits(t, await product.run('check', ...alice, ...trust, '--eap-ca', other), 4, 'another authority')
    const made = await certificate(product.dir, 'mallory', 'DNS:alice')
    const mallory = call(facts, '--user', 'alice', '--auth', 'eap-tls')
    mallory.push('--cert', product.file('m.pem', readFileSync(made.cert)))
    mallory.push('--key', product.file('m.key', readFileSync(made.key)))
    const refused = await product.run('connect', ...mallory, ...named, ...off)
    exits(t, refused, 5, 'a client certificate of an unknown authority')
    t.match(refused.stderr, /certificate/)
  })
})

await t.test('EAP-MSCHAPv2 with pppd 2.4.9', async (t) => {
  const facts = await lab.up('eap')
  const bob = product.file('bob', 'pässwörd\n')
  for (const [user, password] of [
    ['alice', good],
    ['CORP\\bob', bob],
  ] as const) {
    const credentials = ['--user', user, '--password-file', password, '--auth', 'eap-mschapv2']
    const running = await product.start('connect', ...call(facts, ...credentials), ...off)
    t.match(running.ready.tunnel, { auth: 'eap-mschapv2', peer: facts.inner.router })
    await carries(t, running, facts)
    t.equal((await running.stop('SIGINT')).code, 0)
  }
  const sstpd = since(facts.logs.sstpd)
  const credentials = ['--user', 'alice', '--password-file', wrong, '--auth', 'eap-mschapv2']
  const done = await product.run('connect', ...call(facts, ...credentials), ...off)
  exits(t, done, 5, 'a wrong password')
  t.notMatch(done.stdout + done.stderr, /not-the-password/, 'the password is not shown')
  t.equal(calls(sstpd()), 1, 'tried once')
})

await t.test('a server with all methods, a client with its defaults', async (t) => {
  const facts = await lab.up('any')
  const credentials = ['--user', 'alice', '--password-file', good]
  const running = await product.start('connect', ...call(facts, ...credentials), ...off)
  t.match(running.ready.tunnel, { auth: 'eap-mschapv2' }, 'the strongest that a password will do for')
  await carries(t, running, facts)
  await running.stop('SIGTERM')
  for (const auth of ['mschapv2', 'chap', 'pap']) {
    const only = await product.start('connect', ...call(facts, ...credentials), '--auth', auth, ...off)
    t.match(only.ready.tunnel, { auth }, `${auth}, because the client takes nothing else`)
    await carries(t, only, facts)
    await only.stop('SIGTERM')
  }
})

await t.test('sstpc with EAP-TLS against serve', async (t) => {
  const facts = await lab.up('eap-tls')
  const { tls } = facts
  // pppd in the client's guest trusts the lab's authority, and its certificate is from there.
  const cert = product.file('server.pem', readFileSync(tls.cert))
  const key = product.file('server.key', readFileSync(join(dirname(tls.cert), 'server.key')))
  const ca = product.file('client-ca.pem', readFileSync(tls.ca), 0o644)
  const serve = await product.start(
    ...['serve', '--listen', '127.0.0.1:0', '--cert', cert, '--key', key],
    ...['--client-ca', ca, '--auth', 'eap-tls', '--pool', '10.98.0.0/24'],
  )
  const to = { host: '127.0.0.1', port: serve.ready.listen?.port ?? 0, user: 'alice', password: 'none', ca }
  const done = await lab.client(to, 'bash', '-c', 'ping -c 3 -W 2 10.98.0.1')
  exits(t, done, 0, 'the client')
  t.match(done.stdout, /3 received/, 'data passes: the crypto binding was taken')
  t.match(await lab.clientLog('pppd'), /EAP.?TLS/i, 'pppd was asked for EAP-TLS')
  t.match(serve.stderr(), /eap-tls/, 'serve says so too')
  t.equal((await serve.stop('SIGTERM')).code, 0)
})
