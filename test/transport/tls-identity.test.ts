/** Certificates with their keys, and what is wrong with others. */
import t from 'tap'
import { IdentityError, type IdentitySource, readIdentity } from '../../src/transport/tls-identity.js'
import { fixture } from '../helpers/eap-conversation.js'

const certificate = fixture('client.pem')
const key = fixture('client.key')
const locked = fixture('client-encrypted.key')
const pkcs12 = fixture('client.p12')

t.test('PEM, in one file or two, and PKCS#12', async (t) => {
  t.equal(readIdentity({ certificate, key }).context.passphrase, undefined)
  t.ok(readIdentity({ certificate, key, passphrase: 'not needed' }).context.key)
  t.ok(readIdentity({ certificate, key: locked, passphrase: 'open-sesame' }).context.key)
  t.ok(readIdentity({ certificate: Buffer.concat([certificate, key]) }).context.cert)
  t.ok(readIdentity({ certificate: pkcs12, passphrase: 'open-sesame' }).context.pfx)
})

t.test('what is wrong, in words', async (t) => {
  const cases: [string, IdentitySource, IdentityError['of'], RegExp][] = [
    ['wrong passphrase', { certificate, key: locked, passphrase: 'x' }, 'passphrase', /not that of the key/],
    ['no passphrase', { certificate, key: locked }, 'passphrase', /its passphrase is needed/],
    [
      'PKCS#12, wrong',
      { certificate: pkcs12, passphrase: 'x' },
      'passphrase',
      /not that of the PKCS#12 file/,
    ],
    ['PKCS#12, none', { certificate: pkcs12 }, 'passphrase', /its passphrase is needed/],
    [
      'PKCS#12 of old',
      { certificate: fixture('client-legacy.p12'), passphrase: 'open-sesame' },
      'certificate',
      /openssl pkcs12 -legacy/,
    ],
    ['PKCS#12 and a key', { certificate: pkcs12, key }, 'certificate', /has its own key/],
    ['somebody else', { certificate, key: fixture('server.key') }, 'key', /not that of the certificate/],
    ['no key', { certificate }, 'key', /holds no private key/],
    ['a certificate for a key', { certificate, key: certificate }, 'key', /no PEM private key/],
    ['no certificate', { certificate: key, key }, 'certificate', /no PEM certificate/],
    ['garbage', { certificate: Buffer.from('garbage') }, 'certificate', /neither PEM nor PKCS#12/],
    ['nothing', { certificate: new Uint8Array(0) }, 'certificate', /neither PEM nor PKCS#12/],
    [
      'a torn certificate',
      {
        certificate: Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
        key,
      },
      'certificate',
      /cannot be read/,
    ],
    [
      'a torn key',
      { certificate, key: Buffer.from('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n') },
      'key',
      /the key cannot be read/,
    ],
  ]
  for (const [what, source, of, sentence] of cases) {
    try {
      readIdentity(source)
      t.fail(what)
    } catch (error) {
      if (!(error instanceof IdentityError)) throw error
      t.equal(error.of, of, what)
      t.match(error.message, sentence, what)
      t.notMatch(error.message, /\n|sesame/, what)
    }
  }
})
