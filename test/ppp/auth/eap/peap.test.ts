/** PEAPv0 with both ends ours, over Node's TLS in memory. */
import t from 'tap'
import { eapTlsAuthenticator, eapTlsPeer } from '../../../../src/ppp/auth/eap/eap-tls.js'
import type { EapMethodChoice } from '../../../../src/ppp/auth/eap/method.js'
import { eapMsChapV2Peer, eapMsChapV2Server } from '../../../../src/ppp/auth/eap/mschapv2.js'
import { peapPeer } from '../../../../src/ppp/auth/eap/peap.js'
import { peapAuthenticator } from '../../../../src/ppp/auth/eap/peap-server.js'
import { LocalAuthenticator } from '../../../../src/ppp/auth/local.js'
import { eapClientTls, eapServerTls } from '../../../../src/transport/eap-trust.js'
import { readIdentity } from '../../../../src/transport/tls-identity.js'
import {
  Conversation,
  type ConversationOptions,
  fixture,
  renumbered,
  type Watch,
} from '../../../helpers/eap-conversation.js'
import { seededRandom } from '../../../helpers/ppp.js'

type Version = 'TLSv1.2' | 'TLSv1.3'

interface Cast {
  readonly version?: Version
  readonly password?: string
  readonly server?: string
  readonly cryptoBinding?: boolean
  readonly inner?: 'mschapv2' | 'tls'
  /** What the server's inner method thinks that the keys are. */
  readonly otherKeys?: boolean
}

function conversation(cast: Cast = {}, more: Partial<ConversationOptions> = {}): Conversation {
  const client = eapClientTls({
    identity: readIdentity({ certificate: fixture('client.pem'), key: fixture('client.key') }),
    trust: { ca: fixture('ca.pem').toString(), servername: 'radius.example.test' },
    onWarning: () => {},
  })
  const name = cast.server ?? 'server'
  const server = eapServerTls({
    identity: readIdentity({ certificate: fixture(`${name}.pem`), key: fixture(`${name}.key`) }),
    clientCa: fixture('ca.pem').toString(),
    ...(cast.version === undefined ? {} : { maxVersion: cast.version }),
  })
  const accounts = new LocalAuthenticator({
    random: seededRandom(5),
    lookup: (user) => (user === 'LAB\\alice' ? 'secret' : undefined),
  })
  const innerPeer = (watch: Watch): EapMethodChoice =>
    cast.inner === 'tls'
      ? eapTlsPeer(watch(client))
      : eapMsChapV2Peer({
          user: 'LAB\\alice',
          password: cast.password ?? 'secret',
          hashWholeUser: false,
        } as Parameters<typeof eapMsChapV2Peer>[0])
  const innerServer = (watch: Watch): EapMethodChoice => {
    const choice =
      cast.inner === 'tls' ? eapTlsAuthenticator(watch(server)) : eapMsChapV2Server('lab', accounts)
    if (cast.otherKeys !== true) return choice
    return {
      ...choice,
      create: (host) =>
        choice.create({
          ...host,
          limit: host.limit,
          succeeded: (result) =>
            host.succeeded({ ...result, keys: { send: new Uint8Array(16), receive: new Uint8Array(16) } }),
        }),
    }
  }
  return new Conversation({
    identity: 'anonymous',
    peer: (watch) => [peapPeer(watch(client), { user: 'LAB\\alice', methods: [innerPeer(watch)] })],
    authenticator: (watch) => [
      peapAuthenticator(watch(server), {
        methods: [innerServer(watch)],
        ...(cast.cryptoBinding === undefined ? {} : { cryptoBinding: cast.cryptoBinding }),
      }),
    ],
    ...more,
  })
}

t.test('a second Start with another identifier is answered, not waited out', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { ends, now } = await conversation({ version }, { wire: renumbered(25) }).run()
    t.equal(ends.peer.error, undefined, version)
    t.ok(ends.peer.succeeded)
    t.same(ends.peer.keys, ends.authenticator.keys)
    t.equal(now, 3000, 'the server has asked twice')
  }
})

t.test('the handshake tells the length of each flight, as NPS needs it for the crypto binding', async (t) => {
  const { ends, packets } = await conversation({ version: 'TLSv1.2' }).run()
  t.ok(ends.peer.succeeded)
  const flights = packets.filter((p) => p.from === 'peer' && p.bytes[4] === 25 && p.bytes.length > 6)
  // ClientHello; key exchange and Finished. What follows is inside.
  for (const { bytes } of flights.slice(0, 2)) {
    t.equal(bytes[5], 0x80)
    t.equal(bytes[10], 22, 'a record of the handshake')
    t.same([...bytes.subarray(6, 10)], [0, 0, (bytes.length - 10) >>> 8, (bytes.length - 10) & 255])
  }
  t.same([...(flights[2]?.bytes.subarray(5, 7) ?? [])], [0, 23], 'application data goes without')
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  for (const cryptoBinding of [true, false]) {
    t.test(`${version}, ${cryptoBinding ? 'with' : 'without'} crypto binding`, async (t) => {
      for (const limit of [1400, 1020, 150]) {
        const { ends, engines, packets } = await conversation({ version, cryptoBinding }, { limit }).run()
        t.equal(ends.peer.error, undefined)
        t.ok(ends.peer.succeeded && ends.authenticator.succeeded)
        t.equal(ends.authenticator.user, 'LAB\\alice')
        t.equal(ends.peer.method, 'peap')
        t.equal(ends.peer.keys?.send.length, 32)
        t.same(ends.peer.keys, ends.authenticator.keys)
        t.ok(engines.every((engine) => engine.protocol === version))
        t.ok(packets.every((p) => p.bytes.length <= limit))
        const all = Buffer.concat(packets.map((p) => p.bytes)).toString('latin1')
        t.notMatch(all, /LAB|alice/, 'the name went inside only')
      }
    })
  }

  t.test(`${version}: a wrong password`, async (t) => {
    const { ends } = await conversation({ version, password: 'guess' }).run()
    t.equal(ends.peer.error?.code, 'AUTH_REFUSED')
    t.match(ends.peer.error?.message, /wrong user name or password \(E=691\)/)
    t.notOk(ends.authenticator.succeeded)
  })

  t.test(`${version}: no password for a server that is not trusted`, async (t) => {
    const { ends, packets } = await conversation({ version, server: 'expired' }).run()
    t.equal(ends.peer.error?.code, 'AUTH_UNTRUSTED')
    t.match(ends.peer.error?.message, /authentication server of PEAP is not trusted: .*expired/)
    t.ok(packets.filter((p) => p.from === 'peer').length <= 4, 'nothing of the inner conversation')
  })

  t.test(`${version}: EAP-TLS inside`, async (t) => {
    const { ends, engines } = await conversation({ version, inner: 'tls' }).run()
    t.equal(ends.peer.error, undefined)
    t.ok(ends.peer.succeeded)
    t.same(ends.peer.keys, ends.authenticator.keys)
    t.equal(ends.authenticator.user, 'alice')
    t.equal(engines.length, 4)
  })
}

t.test('lost and doubled packets', async (t) => {
  const seen = new Set<string>()
  const firstLost = (p: Uint8Array, from: string) => {
    const known = `${from} ${Buffer.from(p).toString('hex')}`
    if (p[0] === 3 || seen.has(known)) return [p, p]
    seen.add(known)
    return []
  }
  const { ends } = await conversation({}, { wire: firstLost, limit: 300 }).run()
  t.ok(ends.peer.succeeded)
  t.same(ends.peer.keys, ends.authenticator.keys)
})

t.test('somebody in between has the tunnel, but not the inner keys', async (t) => {
  const { ends } = await conversation({ otherKeys: true }).run()
  t.equal(ends.peer.error?.code, 'AUTH_SERVER_UNPROVEN')
  t.match(ends.peer.error?.message, /crypto binding/)
  t.notOk(ends.authenticator.succeeded)
})

t.test('a result without inner authentication is not believed', async (t) => {
  // An inner method that is over at once, as a server would have it that knows no password.
  const nothing: EapMethodChoice = {
    type: 26,
    name: 'eap-mschapv2',
    label: 'nothing',
    create: (host) => ({
      type: 26,
      name: 'eap-mschapv2',
      label: 'nothing',
      undecided: false,
      start: () => host.succeeded({ keys: undefined, user: 'mallory', certain: true }),
      input: () => false,
      activity() {},
      nextTimeout: () => Number.POSITIVE_INFINITY,
      handleTimeout() {},
      refusal: () => undefined,
      close() {},
    }),
  }
  const server = eapServerTls({
    identity: readIdentity({ certificate: fixture('server.pem'), key: fixture('server.key') }),
  })
  const { ends } = await conversation(
    {},
    { authenticator: (watch) => [peapAuthenticator(watch(server), { methods: [nothing] })] },
  ).run()
  t.notOk(ends.peer.succeeded)
  t.equal(ends.peer.error?.code, 'AUTH_SERVER_UNPROVEN')
})
