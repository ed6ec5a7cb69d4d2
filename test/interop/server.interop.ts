/**
 * The product as a server of clients that are not ours: Debian's sstpc with pppd and the Linux kernel's PPP, and the
 * lab's hand-made client for what a good client never does. `serve` runs as `nobody`.
 */
import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Lab } from './lab.js'
import { certificate, fileServer } from './net.js'
import { exits } from './process.js'
import { Product, privilegesOf, type Running } from './product.js'

const GATEWAY = '10.98.0.1'

const product = new Product()
t.teardown(() => product.close())
const lab = await Lab.open()
t.teardown(() => lab.down())

// The guest reaches a server on our loopback as 10.79.1.1.
const { cert, key } = await certificate(product.dir, 'serve', 'DNS:localhost,IP:127.0.0.1,IP:10.79.1.1')
product.file('serve.key', readFileSync(key))
const accounts = product.file('accounts', '# interop\nalice:password1\n')

// The address of our end of the lab's outer network is one of this host that is not loopback.
const facts = await lab.up('mschapv2')
const file = randomBytes(64 << 20)
const sha256 = createHash('sha256').update(file).digest('hex')
const web = await fileServer(facts.client.address, file)
t.teardown(() => web.close())
const base = `http://${web.address}:${web.port}`

function serve(auth: string): Promise<Running> {
  const identity = ['--cert', cert, '--key', key, '--accounts', accounts]
  return product.start(
    'serve',
    '--listen',
    '127.0.0.1:0',
    ...identity,
    '--pool',
    '10.98.0.0/24',
    '--auth',
    auth,
  )
}

function portOf({ ready }: Running): number {
  if (!ready.listen) throw new Error(`the ready line has no listen: ${JSON.stringify(ready)}`)
  return ready.listen.port
}

for (const auth of ['mschapv2', 'pap', 'chap']) {
  await t.test(`sstpc with ${auth}`, async (t) => {
    const running = await serve(auth)
    const leaf = new X509Certificate(readFileSync(cert))
    t.equal(running.ready.sha256, createHash('sha256').update(leaf.raw).digest('hex'), 'the fingerprint')
    const { uid, capabilities, files } = privilegesOf(running.pid)
    t.equal(uid, '65534\t65534\t65534\t65534', 'runs as nobody')
    for (const [set, bits] of Object.entries(capabilities)) t.match(bits, /^0+$/, `${set} is empty`)
    t.notMatch(files.join('\n'), /\/dev\/(net\/tun|ppp|tap)/, 'no TUN or PPP device is open')

    // 16 MiB up, as curl sends it; the guest has no random file, so zeros
    const commands = [
      `ping -c 3 -W 2 ${GATEWAY} >&2`,
      `curl -sSf -m 180 ${base}/file | sha256sum`,
      `head -c 16777216 /dev/zero | curl -sSf -m 60 -T - ${base}/upload`,
    ]
    const to = { host: '127.0.0.1', port: portOf(running), user: 'alice', password: 'password1', ca: cert }
    const done = await lab.client(to, 'bash', '-c', `set -eo pipefail; ${commands.join('; ')}`)
    exits(t, done, 0, 'the client')
    const [down = '', up = ''] = done.stdout.split('\n')
    t.equal(down.split(' ')[0], sha256, '64 MiB down')
    t.equal(
      up,
      createHash('sha256')
        .update(Buffer.alloc(16 << 20))
        .digest('hex'),
      '16 MiB up',
    )
    const spoken = { mschapv2: /auth chap MS-v2/, chap: /auth chap MD5/, pap: /auth pap/ }[auth]
    t.match(await lab.clientLog('pppd'), spoken, `pppd was asked for ${auth}`)
    t.comment(`the client's part took ${(done.ms / 1000).toFixed(1)} s`)

    const { code, ms } = await running.stop('SIGTERM')
    if (!t.equal(code, 0, 'SIGTERM: exit code 0')) t.comment(running.stderr())
    t.ok(ms < 3000, `SIGTERM: ended in ${ms.toFixed(0)} ms`)
  })
}

await t.test('a wrong password', async (t) => {
  const running = await serve('mschapv2')
  const to = { host: '127.0.0.1', port: portOf(running), user: 'alice', password: 'no', ca: cert }
  const done = await lab.client(to, 'true')
  t.equal(done.code, 125, 'sstpc does not come up')
  t.match(await lab.clientLog('pppd'), /CHAP authentication failed/i, 'because it was refused')
  await running.stop('SIGTERM')
})

await t.test('crypto binding, with a witness', async (t) => {
  const running = await serve('mschapv2,pap')
  const common = [
    'host=127.0.0.1',
    `port=${portOf(running)}`,
    `ca=${cert}`,
    `ping=${GATEWAY}`,
    'ip6=0',
    'count=2',
  ]
  const probe = (...args: string[]) => lab.probe(...common, ...args)

  for (const auth of ['mschap2', 'pap']) {
    const done = await probe(`auth=${auth}`, 'binding=ok')
    exits(t, done, 0, `${auth}, binding=ok`)
    t.match(done.stdout, /ping reply from 10\.98\.0\.1/, `${auth}, binding=ok: data passes`)
  }
  // a wrong MAC, a wrong certificate hash, no MAC; the MAC of one who does not have the keys of MS-CHAPv2
  for (const fault of ['binding=wrong', 'binding=wronghash', 'binding=zero', 'hlak=zero', 'hlak=swap']) {
    const { code, stdout } = await probe('auth=mschap2', fault)
    t.not(code, 0, `${fault}: refused`)
    t.match(stdout, /CHAP success/, `${fault}: after authentication`)
    t.match(stdout, /<- CALL_ABORT/, `${fault}: the call is aborted`)
    t.notMatch(stdout, /ping reply/, `${fault}: no data passes`)
  }
  const { code, stdout } = await probe('auth=mschap2', 'binding=none')
  t.not(code, 0, 'no CALL_CONNECTED')
  t.match(stdout, /CHAP success/, 'no CALL_CONNECTED: after authentication')
  t.notMatch(stdout, /ping reply/, 'no CALL_CONNECTED: no data passes')

  exits(t, await probe('auth=mschap2', 'pass=wrong'), 6, 'a wrong password')
  exits(t, await probe('auth=mschap2', 'user=carol'), 6, 'an unknown user')
  exits(t, await probe('auth=pap', 'pass=wrong'), 6, 'a wrong password with PAP')
  exits(t, await probe('auth=mschap2', 'binding=ok'), 0, 'and a good client is served after them')
  await running.stop('SIGTERM')
})
