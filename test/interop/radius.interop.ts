/**
 * The company set-up: the product's client, the product's server as a pass-through authenticator, and Debian's
 * FreeRADIUS behind it. A call is up only after the server has checked the crypto binding with the key that came from
 * FreeRADIUS, so each that comes up proves both ends' keys.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { certificate } from './net.js'
import { Product, type Running } from './product.js'
import { RadiusLab } from './radius-lab.js'

const product = new Product()
t.teardown(() => product.close())
const lab = new RadiusLab()
t.teardown(() => lab.down())

const { cert, key } = await certificate(product.dir, 'serve', 'DNS:localhost,IP:127.0.0.1')
product.file('serve.key', readFileSync(key))
const ALICE = product.file('alice', 'password1\n')
const WRONG = product.file('wrong', 'password2\n')
const BOB = product.file('bob', 'pässwörd\n')
const POOL = '10.98.0.0/24'
const FIXED = '10.98.0.77'
/** Debian 12's FreeRADIUS signs only what carries EAP. */
const OLD = '--radius-old-server'

let facts = await lab.up()
const secret = product.file('secret', `${facts.secret}\n`)
const eapCa = product.file('radius-ca.pem', readFileSync(facts.tls.ca), 0o644)
const aliceCert = product.file('alice.pem', readFileSync(facts.tls.client_cert))
const aliceKey = product.file('alice.key', readFileSync(facts.tls.client_key))
await lab.grant(facts, {
  alice: [
    `Framed-IP-Address = ${FIXED}`,
    'Framed-IP-Netmask = 255.255.255.0',
    'Session-Timeout = 3600',
    'Idle-Timeout = 1800',
    'Class = 0x6c61622d616c696365',
  ],
  bob: ['Framed-IP-Address = 255.255.255.254', 'Acct-Interim-Interval = 60'],
})

function serve(...more: string[]): Promise<Running> {
  const identity = ['--cert', cert, '--key', key, '--pool', POOL]
  const radius = [
    '--radius',
    `${facts.host}:${facts.auth_port}`,
    '--radius-secret-file',
    secret,
    '--radius-nas',
    'lab',
  ]
  return product.start('serve', '--listen', '127.0.0.1:0', ...identity, ...radius, ...more)
}

function client(
  server: Running,
  auth: string,
  user: string,
  passwordFile: string,
  ...more: string[]
): string[] {
  const to = `127.0.0.1:${server.ready.listen?.port ?? 0}`
  const who = ['--user', user, '--password-file', passwordFile, '--ca', cert, '--auth', auth, '--no-ipv6']
  return ['connect', to, ...who, '--socks', '127.0.0.1:0', '--http', 'off', ...more]
}

const TLS = ['--eap-ca', eapCa, '--eap-servername', facts.tls.server_name]
const WAYS: readonly {
  auth: string
  options: readonly string[]
  address: string | undefined
  keys: number
}[] = [
  { auth: 'pap', options: [], address: FIXED, keys: 0 },
  { auth: 'chap', options: [], address: FIXED, keys: 0 },
  { auth: 'mschapv2', options: [], address: FIXED, keys: 16 },
  { auth: 'eap-mschapv2', options: [], address: FIXED, keys: 16 },
  { auth: 'eap-tls', options: [...TLS, '--cert', aliceCert, '--key', aliceKey], address: FIXED, keys: 32 },
  // FreeRADIUS looks the user up inside of the tunnel, and keeps what it finds there.
  { auth: 'peap', options: TLS, address: undefined, keys: 32 },
]

const server = await serve(OLD)
const bobSince = performance.now()
const bob = await product.start(...client(server, 'mschapv2', 'bob', BOB))
t.equal(bob.ready.tunnel?.ipv4, '10.98.0.2', 'bob with his umlauts is in, with an address of our choice')

async function comesUp(t: Test, server: Running, way: (typeof WAYS)[number]): Promise<void> {
  const before = (await lab.records()).length
  const running = await product.start(...client(server, way.auth, 'alice', ALICE, ...way.options))
  t.equal(running.ready.tunnel?.auth, way.auth)
  if (way.address !== undefined) t.equal(running.ready.tunnel?.ipv4, way.address, 'Framed-IP-Address')
  const { code } = await running.stop('SIGTERM')
  t.equal(code, 0)
  const records = await until(async () => {
    const news = (await lab.records()).slice(before).filter((r) => r.get('User-Name') === '"alice"')
    return news.length >= 2 ? news : undefined
  })
  const [start, stop] = records ?? []
  t.equal(start?.get('Acct-Status-Type'), 'Start')
  t.equal(stop?.get('Acct-Status-Type'), 'Stop')
  t.equal(stop?.get('Acct-Terminate-Cause'), 'User-Request')
  t.equal(stop?.get('Acct-Session-Id'), start?.get('Acct-Session-Id'))
  t.equal(stop?.get('NAS-Identifier'), '"lab"')
  t.equal(stop?.get('NAS-Port-Type'), 'Virtual')
  t.equal(stop?.get('Calling-Station-Id'), '"127.0.0.1"')
  t.equal(stop?.get('Framed-IP-Address'), running.ready.tunnel?.ipv4)
  t.ok(stop?.has('Acct-Session-Time') && stop.has('Acct-Input-Octets') && stop.has('Acct-Output-Packets'))
  if (way.address !== undefined) t.equal(stop?.get('Class'), '0x6c61622d616c696365', 'Class comes back')
}

for (const way of WAYS) {
  await t.test(`${way.auth} through FreeRADIUS`, async (t) => {
    const from = lab.said(facts).length
    await comesUp(t, server, way)
    const said = lab.said(facts).slice(from)
    const sent = [...said.matchAll(/MS-MPPE-(?:Recv|Send)-Key = 0x([0-9a-f]+)/g)].map(
      ([, hex = '']) => hex.length / 2,
    )
    t.equal(sent.at(-1) ?? 0, way.keys, 'octets of the keys that FreeRADIUS sent')
  })
}

await t.test('a wrong password', async (t) => {
  for (const auth of ['pap', 'chap', 'mschapv2', 'eap-mschapv2', 'peap']) {
    const done = await product.run(...client(server, auth, 'alice', WRONG, ...(auth === 'peap' ? TLS : [])))
    t.equal(done.code, 5, `${auth}: refused`)
    t.notMatch(done.stderr, /password2/)
  }
})

await t.test('FreeRADIUS without Message-Authenticator is not believed by default', async (t) => {
  const strict = await serve('--radius-timeout', '2')
  await comesUp(t, strict, WAYS[3] ?? { auth: '', options: [], address: undefined, keys: 0 })
  const done = await product.run(...client(strict, 'pap', 'alice', ALICE, '--no-reconnect'))
  t.not(done.code, 0)
  t.not(done.code, 5, 'the client is not told that its password is wrong')
  await says(t, strict, /no Message-Authenticator.*--radius-old-server/)
  t.equal((await strict.stop('SIGTERM')).code, 0)
})

await t.test('another secret', async (t) => {
  const other = product.file('other-secret', 'not the secret\n')
  const running = await product.start(
    ...['serve', '--listen', '127.0.0.1:0', '--cert', cert, '--key', key, '--pool', POOL],
    ...[
      '--radius',
      `${facts.host}:${facts.auth_port}`,
      '--radius-secret-file',
      other,
      '--radius-timeout',
      '1',
    ],
  )
  const done = await product.run(...client(running, 'eap-mschapv2', 'alice', ALICE, '--no-reconnect'))
  t.not(done.code, 0)
  await says(t, running, /no answer: perhaps it does not know this client, or its secret is another/)
  t.equal((await running.stop('SIGTERM')).code, 0)
})

await t.test('accounting goes on for bob', async (t) => {
  const record = await until(async () => {
    const all = (await lab.records()).filter((r) => r.get('User-Name') === '"bob"')
    return all.find((r) => r.get('Acct-Status-Type') === 'Interim-Update')
  }, 70_000)
  t.ok(Number(record?.get('Acct-Session-Time')) >= 59, 'an interim record after a minute')
  t.ok(performance.now() - bobSince > 59_000)
  await server.stop('SIGTERM')
  await bob.stop('SIGTERM')
  // The server does not wait long for FreeRADIUS to have taken it.
  const stop = await until(async () => {
    const last = (await lab.records()).filter((r) => r.get('User-Name') === '"bob"').at(-1)
    return last?.get('Acct-Status-Type') === 'Stop' ? last : undefined
  })
  t.ok(stop, 'a stop record, also when it is the server that ends')
  t.equal(stop?.get('Acct-Terminate-Cause'), 'Admin-Reboot')
})

await t.test('TLS 1.3, in small pieces', async (t) => {
  facts = await lab.up('eap=tls', 'tls=1.3', 'frag=300')
  const modern = await serve()
  for (const auth of ['eap-tls', 'peap']) {
    const way = WAYS.find((w) => w.auth === auth)
    if (way !== undefined) await comesUp(t, modern, { ...way, address: undefined })
  }
  t.match(lab.said(facts), /TLS-Session-Version = "TLS 1.3"/)
  t.equal((await modern.stop('SIGTERM')).code, 0)
})

/** What another process does may be seen before what it had said. */
async function says(t: Test, running: Running, what: RegExp): Promise<void> {
  await until(async () => what.test(running.stderr()) || undefined)
  t.match(running.stderr(), what)
}

/** Asks until there is an answer, for `ms` at most. */
async function until<T>(ask: () => Promise<T | undefined>, ms = 5000): Promise<T | undefined> {
  const end = performance.now() + ms
  for (;;) {
    const answer = await ask()
    if (answer !== undefined || performance.now() > end) return answer
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
