/** Client, gateway and a scripted RADIUS server over real sockets: the company set-up. */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { makeCertificate } from '../../../src/gateway/certificate.js'
import type { GatewayEvent } from '../../../src/gateway/events.js'
import { listenGateway } from '../../../src/gateway/gateway.js'
import type { GatewayOptions } from '../../../src/gateway/options.js'
import {
  asymmetricStartKey,
  authenticatorResponse,
  challengeHash,
  challengeResponse,
  hashNtPasswordHash,
  masterKey,
  ntPasswordHash,
} from '../../../src/ppp/auth/mschap-crypto.js'
import type { AuthMethod } from '../../../src/tunnel/options.js'
import { openTunnel } from '../../../src/tunnel/session.js'
import { ipv6Client } from '../../helpers/ipv6-client.js'
import { until } from '../../helpers/proxy.js'
import {
  type Attr,
  accountingIsRight,
  answer,
  int,
  messageAuthenticatorIsRight,
  microsoft,
  mppeKey,
  readPassword,
  SECRET,
  type Seen,
  str,
  udpServer,
} from '../../helpers/radius-server.js'

const certificate = await makeCertificate()
const PASSWORD = 'pässwörd'

const EXPIRED = 'carol'

/** A server that knows alice by PAP, CHAP and MS-CHAPv2, and bob by PAP; carol's password has expired. */
function judge(seen: Seen, granted: (seen: Seen) => readonly Attr[]): Buffer {
  const [user] = seen.all(1)
  const accept = (more: readonly Attr[] = []) => answer(seen, 2, [...more, ...granted(seen)])
  if (!messageAuthenticatorIsRight(seen) || !['alice', 'bob', EXPIRED].includes(String(user)))
    return answer(seen, 3)
  if (EXPIRED === String(user)) {
    return answer(seen, 3, [microsoft(2, Buffer.from(`\x01E=648 R=0 C=${'0'.repeat(32)} V=3 M=Change it`))])
  }
  const [hidden] = seen.all(2)
  if (hidden !== undefined) {
    return readPassword(hidden, seen.authenticator) === PASSWORD
      ? accept()
      : answer(seen, 3, [str(18, 'Go away')])
  }
  const [chap] = seen.all(3)
  const [chapChallenge] = seen.all(60)
  if (chap !== undefined && chapChallenge !== undefined) {
    const right = createHash('md5')
      .update(chap.subarray(0, 1))
      .update(PASSWORD)
      .update(chapChallenge)
      .digest()
    return right.equals(chap.subarray(1)) ? accept() : answer(seen, 3)
  }
  const [challenge] = seen.microsoft(11)
  const [response] = seen.microsoft(25)
  if (challenge === undefined || response === undefined) return answer(seen, 3)
  const hash = ntPasswordHash(PASSWORD)
  const hashHash = hashNtPasswordHash(hash)
  const eight = challengeHash(response.subarray(2, 18), challenge, 'alice')
  const nt = challengeResponse(eight, hash)
  if (!response.subarray(26, 50).equals(nt)) {
    return answer(seen, 3, [
      microsoft(2, Buffer.from('\x01E=691 R=0 C=00000000000000000000000000000000 V=3 M=No')),
    ])
  }
  const master = masterKey(hashHash, nt)
  const proof = authenticatorResponse(hashHash, nt, eight)
  return accept([
    microsoft(26, Buffer.concat([response.subarray(0, 1), Buffer.from(proof)])),
    mppeKey(16, asymmetricStartKey(master, 16, true, true), seen, 0x8001),
    mppeKey(17, asymmetricStartKey(master, 16, false, true), seen, 0x8002),
  ])
}

async function setUp(
  t: Test,
  granted: (seen: Seen) => readonly Attr[] = () => [],
  options: Partial<GatewayOptions> = {},
) {
  const radius = await udpServer((seen) => judge(seen, granted))
  const accounting = await udpServer((seen) => answer(seen, 5))
  const events: GatewayEvent[] = []
  const waiting: { match: (event: GatewayEvent) => boolean; found: () => void }[] = []
  const server = (port: number) => ({ host: '127.0.0.1', port, secret: SECRET })
  const gateway = await listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert: certificate.cert,
    key: certificate.key,
    accounts: { password: () => PASSWORD },
    pool: '10.7.0.0/29',
    ...options,
    radius: { servers: [server(radius.port)], accounting: [server(accounting.port)], nasIdentifier: 'gate' },
    onEvent(event) {
      events.push(event)
      for (const w of waiting) if (w.match(event)) w.found()
    },
  })
  const closed = async () => {
    await gateway.close()
    await radius.close()
    await accounting.close()
  }
  let over = false
  const close = async () => {
    if (over) return
    over = true
    await closed()
  }
  t.teardown(close)
  const open = (auth: AuthMethod, password = PASSWORD, user = 'alice') =>
    openTunnel({
      host: '127.0.0.1',
      port: gateway.port,
      user,
      password,
      auth: [auth],
      trust: { pin: certificate.sha256 },
    })
  const event = (match: (event: GatewayEvent) => boolean) =>
    new Promise<void>((found) => {
      if (events.some(match)) found()
      else waiting.push({ match, found })
    })
  return { radius, accounting, events, gateway, open, close, event }
}

const statuses = (requests: readonly Seen[]) => requests.map((seen) => seen.all(40)[0]?.readUInt32BE(0))
const cause = (seen: Seen | undefined) => seen?.all(49)[0]?.readUInt32BE(0)

for (const auth of ['pap', 'chap', 'mschapv2'] as const) {
  t.test(`${auth}, with an address and accounting`, async (t) => {
    const granted = (): Attr[] => [[8, Buffer.from([10, 7, 0, 5])], str(25, 'kept')]
    const { radius, accounting, open, close, events, event } = await setUp(t, granted)
    const tunnel = await open(auth)
    t.equal(tunnel.info.ipv4, '10.7.0.5')
    t.equal(tunnel.info.auth, auth)
    await tunnel.ping('10.7.0.1')
    await tunnel.close()
    await event(({ type }) => type === 'closed')
    await close()
    t.match(
      events.find(({ type }) => type === 'closed'),
      { user: 'alice', reason: '' },
    )
    t.equal(radius.requests.length, 1)
    t.same(statuses(accounting.requests), [1, 2])
    t.ok(accounting.requests.every((seen) => accountingIsRight(seen)))
    const [, stop] = accounting.requests
    t.same(stop?.all(8)[0], Buffer.from([10, 7, 0, 5]))
    t.equal(stop?.all(25)[0]?.toString(), 'kept')
    t.equal(cause(stop), 1, 'User-Request')
    t.ok((stop?.all(42)[0]?.readUInt32BE(0) ?? 0) > 0, 'octets came')
    t.ok((stop?.all(48)[0]?.readUInt32BE(0) ?? 0) > 0, 'packets went')
    t.equal(stop?.all(31)[0]?.toString(), '127.0.0.1')
  })

  t.test(`${auth}, refused`, async (t) => {
    const { accounting, open, close, events } = await setUp(t)
    const error = await open(auth, 'wrong').catch((e: unknown) => e)
    t.match(error, { kind: 'refused' })
    await close()
    t.equal(accounting.requests.length, 0)
    t.notMatch(JSON.stringify(events), /wrong"|testing123|pässwörd/)
  })
}

t.test('a password that has expired is no wrong one: its address is not locked for it', async (t) => {
  const { open, close, events, event } = await setUp(t, () => [], { maxFailures: 1 })
  for (const times of [1, 2]) {
    const error = await open('mschapv2', PASSWORD, EXPIRED).catch((e: unknown) => e)
    t.match(error, { code: 'AUTH_REFUSED', message: /the password has expired/ }, `time ${times}`)
    await event(() => events.filter(({ type }) => type === 'closed').length === times)
  }
  t.match(
    events.filter(({ type }) => type === 'closed'),
    [{ reason: 'the password has expired' }, { reason: 'the password has expired' }],
  )
  await t.rejects(open('mschapv2', 'wrong'), { code: 'AUTH_REFUSED' })
  await t.rejects(open('mschapv2'), { code: 'HTTP_UNAVAILABLE' }, 'a wrong one is')
  await close()
})

t.test('right passwords do not lock an account, whatever the server calls it', async (t) => {
  const { open, close, events } = await setUp(t, () => [str(1, 'alice@lab.example')], { maxFailures: 1 })
  for (let n = 0; n < 4; n++) await (await open('pap')).close()
  await close()
  const users = events.flatMap((e) => (e.type === 'up' ? [e.user] : []))
  t.same(users, new Array(4).fill('alice@lab.example'))
})

t.test('255.255.255.254: any address will do', async (t) => {
  const { open, close } = await setUp(t, () => [[8, Buffer.from([255, 255, 255, 254])]])
  const tunnel = await open('mschapv2')
  t.equal(tunnel.info.ipv4, '10.7.0.2')
  await tunnel.close()
  await close()
})

t.test('an address outside of the pool, and one that is taken', async (t) => {
  const address = Buffer.from([10, 9, 9, 9])
  const { open, close, events, event } = await setUp(t, () => [[8, address]])
  await t.rejects(open('pap'))
  t.match(
    events.filter(({ type }) => type === 'warning'),
    [{ code: 'RADIUS_ADDRESS', message: /alice to have 10\.9\.9\.9, but it is none of 10\.7\.0\.0\/29's/ }],
  )
  address.set([10, 7, 0, 1])
  await t.rejects(open('pap'), 'our own address')
  address.set([10, 7, 0, 3])
  const tunnel = await open('pap')
  t.equal(tunnel.info.ipv4, '10.7.0.3')
  await t.rejects(open('pap', PASSWORD, 'bob'))
  await event((e) => e.type === 'closed' && /bob to have 10\.7\.0\.3, but another client/.test(e.reason))
  await tunnel.ping('10.7.0.1')
  await tunnel.close()
  await close()
})

t.test('a user who comes back gets the address, and the call before ends', async (t) => {
  const { open, close, event, accounting } = await setUp(t, () => [[8, Buffer.from([10, 7, 0, 3])]])
  const first = await open('mschapv2')
  const second = await open('mschapv2')
  t.equal(second.info.ipv4, '10.7.0.3')
  t.ok(await first.closed, 'with an error')
  await event((e) => e.type === 'closed' && /the same user has come again/.test(e.reason))
  await second.ping('10.7.0.1')
  const third = await open('mschapv2')
  await second.closed
  await third.ping('10.7.0.1')
  await third.close()
  await close()
  t.same(statuses(accounting.requests).sort(), [1, 1, 1, 2, 2, 2])
})

t.test('Session-Timeout ends the call in order', async (t) => {
  const { open, close, event, accounting } = await setUp(t, () => [int(27, 1)])
  const tunnel = await open('mschapv2')
  await event((e) => e.type === 'closed' && e.reason === 'the time that RADIUS allows is over')
  await tunnel.closed
  await close()
  t.same(statuses(accounting.requests), [1, 2])
  t.equal(cause(accounting.requests[1]), 5, 'Session-Timeout')
})

t.test('a client of IPv6 only is counted, and its time is over as well', async (t) => {
  const ipv6Prefix = 'fd12:3456:789a:1::/64'
  const { gateway, close, event, events, accounting } = await setUp(t, () => [int(27, 1)], { ipv6Prefix })
  const { cert } = certificate
  const end = ipv6Client({ port: gateway.port, user: 'alice', password: PASSWORD, cert })
  await event((e) => e.type === 'closed' && e.reason === 'the time that RADIUS allows is over')
  await end()
  await close()
  t.match(
    events.find(({ type }) => type === 'up'),
    { user: 'alice', auth: 'pap', address: /^fe80::/ },
  )
  t.same(statuses(accounting.requests), [1, 2])
  for (const seen of accounting.requests) {
    t.equal(seen.all(8).length, 0, 'no Framed-IP-Address')
    t.equal(seen.all(96)[0]?.length, 8, 'Framed-Interface-Id')
  }
})

t.test('Idle-Timeout', async (t) => {
  const { open, close, event, accounting } = await setUp(t, () => [int(28, 1)])
  const tunnel = await open('mschapv2')
  await event((e) => e.type === 'closed' && /idle/.test(e.reason))
  await tunnel.closed
  await close()
  t.equal(cause(accounting.requests[1]), 4, 'Idle Timeout')
})

t.test('the last records arrive when the gateway stops', async (t) => {
  const { open, close, accounting } = await setUp(t)
  const tunnel = await open('mschapv2')
  await close()
  await tunnel.closed
  t.same(statuses(accounting.requests), [1, 2])
  t.equal(cause(accounting.requests[1]), 7, 'Admin Reboot')
})

t.test('no RADIUS server: one line for us, and none of it for the client', async (t) => {
  const gone = await udpServer(() => undefined)
  await gone.close()
  const events: GatewayEvent[] = []
  const gateway = await listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert: certificate.cert,
    key: certificate.key,
    accounts: { password: () => PASSWORD },
    radius: {
      servers: [{ host: '127.0.0.1', port: gone.port, secret: SECRET }],
      accounting: [],
      timeout: 300,
    },
    onEvent: (event) => events.push(event),
  })
  t.teardown(() => gateway.close())
  const trust = { pin: certificate.sha256 }
  const to = { host: '127.0.0.1', port: gateway.port, user: 'alice', password: PASSWORD, trust }
  const error = await openTunnel({ ...to, auth: ['pap'] }).catch((e: unknown) => e)
  t.notMatch(String(error), new RegExp(`${gone.port}`))
  t.notMatch(error, { kind: 'refused' }, 'its password may be right: it may try again')
  t.match(
    events.filter(({ type }) => type === 'warning'),
    [{ code: 'RADIUS_NO_ANSWER', message: new RegExp(`^RADIUS server 127\\.0\\.0\\.1:${gone.port}: `) }],
  )
  // Both ends let the same second pass after the abort, and either may be first.
  const closed = () => events.filter(({ type }) => type === 'closed')
  await until(() => closed().length > 0, 'the gateway kept the call')
  t.match(closed(), [{ reason: /no RADIUS server could be asked/ }])
})
