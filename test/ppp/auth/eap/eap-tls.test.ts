/** EAP-TLS with both ends ours, over Node's TLS in memory: RFC 5216, RFC 9190. */
import t from 'tap'
import { eapTlsAuthenticator, eapTlsPeer } from '../../../../src/ppp/auth/eap/eap-tls.js'
import { hlakOf } from '../../../../src/ppp/auth/eap/method.js'
import { type EapTrust, eapClientTls, eapServerTls } from '../../../../src/transport/eap-trust.js'
import { readIdentity } from '../../../../src/transport/tls-identity.js'
import {
  Conversation,
  type ConversationOptions,
  fixture,
  renumbered,
} from '../../../helpers/eap-conversation.js'
import { toHex } from '../../../helpers/ppp.js'

type Version = 'TLSv1.2' | 'TLSv1.3'

const TRUST: EapTrust = { ca: fixture('ca.pem').toString(), servername: 'radius.example.test' }

interface Cast {
  readonly trust?: EapTrust
  readonly client?: string
  readonly server?: string
  readonly clientCa?: string
  readonly clientMax?: Version
  readonly serverMax?: Version
}

const warnings: string[] = []

function identity(name: string) {
  return readIdentity({ certificate: fixture(`${name}.pem`), key: fixture(`${name}.key`) })
}

function conversation(cast: Cast, more: Partial<ConversationOptions> = {}): Conversation {
  const client = eapClientTls({
    ...(cast.client === '' ? {} : { identity: identity(cast.client ?? 'client') }),
    trust: cast.trust ?? TRUST,
    onWarning: (code) => void warnings.push(code),
    ...(cast.clientMax === undefined ? {} : { maxVersion: cast.clientMax }),
  })
  const server = eapServerTls({
    identity: identity(cast.server ?? 'server'),
    clientCa: fixture(cast.clientCa ?? 'ca.pem').toString(),
    ...(cast.serverMax === undefined ? {} : { maxVersion: cast.serverMax }),
  })
  return new Conversation({
    peer: (watch) => [eapTlsPeer(watch(client))],
    authenticator: (watch) => [eapTlsAuthenticator(watch(server))],
    ...more,
  })
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`${version}: a second Start with another identifier is answered, not waited out`, async (t) => {
    const { ends, now } = await conversation(
      { serverMax: version },
      { wire: renumbered(13), limit: 300 },
    ).run()
    t.equal(ends.peer.error, undefined)
    t.ok(ends.peer.succeeded)
    t.same(ends.peer.keys, ends.authenticator.keys)
    t.equal(now, 3000, 'the server has asked twice')
  })

  t.test(`${version}: both ends have the same keys`, async (t) => {
    const { ends, engines, packets } = await conversation({ serverMax: version }).run()
    t.same(
      engines.map((engine) => engine.protocol),
      [version, version],
    )
    t.equal(ends.peer.error, undefined)
    t.equal(ends.peer.method, 'eap-tls')
    t.equal(ends.authenticator.user, 'alice', 'whom the certificate names')
    t.equal(ends.peer.keys?.send.length, 32)
    t.same(ends.peer.keys, ends.authenticator.keys)
    t.notSame(ends.peer.keys?.send, ends.peer.keys?.receive)
    const keys = ends.peer.keys
    t.equal(toHex(hlakOf(keys)), toHex(keys?.send ?? new Uint8Array(0)), 'the rule')
    t.equal(
      toHex(hlakOf(keys, 'pppd')),
      toHex(keys?.send.subarray(0, 16) ?? new Uint8Array(0)) +
        toHex(keys?.receive.subarray(0, 16) ?? new Uint8Array(0)),
      'the rule of pppd 2.4',
    )
    t.same([...(packets[2]?.bytes.subarray(4) ?? [])], [13, 0x20], 'the start')
  })

  for (const limit of [1020, 200, 68]) {
    t.test(`${version}: packets of ${limit} octets`, async (t) => {
      const { ends, packets } = await conversation({ clientMax: version }, { limit }).run()
      t.same(ends.peer.keys, ends.authenticator.keys)
      t.ok(ends.peer.succeeded)
      t.equal(Math.max(...packets.map((p) => p.bytes.length)), limit)
    })
  }

  t.test(`${version}: lost and doubled packets`, async (t) => {
    const seen = new Set<string>()
    // An EAP-Success is not repeated; in PPP the next protocol stands for it.
    const firstLost = (p: Uint8Array, from: string) => {
      const known = `${from} ${toHex(p)}`
      if (p[0] === 3 || seen.has(known)) return [p]
      seen.add(known)
      return []
    }
    for (const [what, wire] of [
      ['each lost once', firstLost],
      ['all doubled', (p: Uint8Array) => [p, p]],
    ] as const) {
      const { ends } = await conversation({ clientMax: version }, { limit: 300, wire }).run()
      t.ok(ends.peer.succeeded, what)
      t.same(ends.peer.keys, ends.authenticator.keys, what)
    }
  })

  t.test(`${version}: a server that is not trusted gets no proof`, async (t) => {
    const other = fixture('other-ca.pem').toString()
    for (const [what, cast, sentence] of [
      ['wrong CA', { trust: { ca: other } }, /the issuer of its certificate|authority that is not known/],
      ['expired', { server: 'expired' }, /has expired/],
      ['wrong purpose', { server: 'purpose' }, /not meant for servers/],
      ['wrong name', { trust: { ...TRUST, servername: 'elsewhere.test' } }, /for another name/],
      ['wrong pin', { trust: { pin: '00'.repeat(32) } }, /not the one of --eap-pin/],
    ] as const) {
      const { ends, packets } = await conversation({ ...cast, serverMax: version }).run()
      t.equal(ends.peer.error?.code, 'AUTH_UNTRUSTED', what)
      t.match(ends.peer.error?.message, sentence, what)
      t.notMatch(ends.peer.error?.message, /\n/)
      t.notOk(ends.peer.succeeded || ends.authenticator.succeeded, what)
      if (version === 'TLSv1.3') {
        // The ClientHello was all: neither certificate nor signature has left.
        t.same(recordsOf(packets.filter((p) => p.from === 'peer').map((p) => p.bytes)), ['22 1'], what)
      }
    }
  })

  t.test(`${version}: a client that is not trusted is refused`, async (t) => {
    for (const [what, cast, sentence] of [
      ['a stranger', { client: 'stranger' }, /not one of --client-ca/],
      ['no certificate', { client: '' }, /shows no certificate/],
      ['a certificate for servers', { client: 'server' }, /not meant for clients/],
    ] as const) {
      const { ends } = await conversation({ ...cast, serverMax: version }).run()
      t.equal(ends.authenticator.error?.code, 'AUTH_UNTRUSTED', what)
      t.match(ends.authenticator.error?.message, sentence, what)
      t.equal(ends.peer.error?.code, 'AUTH_REFUSED', what)
      t.match(ends.peer.error?.message, /does not know our certificate/, what)
    }
  })
}

/**
 * The TLS records of EAP-TLS packets put together (RFC 5216 3.1): each one's type, and that of its message (RFC 8446 4,
 * 5.1). With a key share for a quantum age, a ClientHello takes several packets.
 */
function recordsOf(packets: readonly Uint8Array[]): string[] {
  const parts = packets.filter((p) => p[4] === 13 && p.length > 6)
  const all = Buffer.concat(parts.map((p) => p.subarray(((p[5] ?? 0) & 0x80) === 0 ? 6 : 10)))
  const records: string[] = []
  for (let at = 0; at < all.length; at += 5 + all.readUInt16BE(at + 3))
    records.push(`${all[at]} ${all[at + 5]}`)
  return records
}

t.test('what is not checked is said', async (t) => {
  warnings.length = 0
  t.ok((await conversation({ trust: {} }).run()).ends.peer.succeeded)
  t.same(warnings.splice(0), ['EAP_UNVERIFIED'])
  t.ok((await conversation({ trust: { ca: TRUST.ca ?? '' } }).run()).ends.peer.succeeded)
  t.same(warnings.splice(0), ['EAP_NAME_UNCHECKED'])
  t.ok((await conversation({}).run()).ends.peer.succeeded)
  t.same(warnings.splice(0), [])
})

t.test('versions that do not meet', async (t) => {
  const { ends } = await conversation({ clientMax: 'TLSv1.2', serverMax: 'TLSv1.3' }).run()
  t.ok(ends.peer.succeeded, '1.2 is what both know')
})
