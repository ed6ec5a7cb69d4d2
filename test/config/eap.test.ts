/** Options of EAP: files, and what contradicts what. */
import { join } from 'node:path'
import t from 'tap'
import { readAuthorities, readEap } from '../../src/config/eap.js'
import { parseSettings, serveSchema, tunnelSchema } from '../../src/config/schema.js'

const file = (name: string): string => join('test/fixtures/eap', name)

t.test('a client certificate', async (t) => {
  const pem = await readEap({ cert: file('client.pem'), key: file('client.key') }, undefined)
  t.ok(pem?.identity?.context.key)
  const locked = { cert: file('client.pem'), key: file('client-encrypted.key') }
  t.ok((await readEap(locked, 'open-sesame'))?.identity)
  t.ok((await readEap({ cert: file('client.p12') }, 'open-sesame'))?.identity?.context.pfx)
  t.equal(await readEap({}, undefined), undefined)
})

t.test('what cannot be read', async (t) => {
  const cases: [string, Parameters<typeof readEap>, RegExp][] = [
    ['no file', [{ cert: file('none.pem') }, undefined], /^--cert: /],
    ['no key file', [{ cert: file('client.pem'), key: file('none.key') }, undefined], /^--key: /],
    ['no key', [{ cert: file('client.pem') }, undefined], /^--key .*client\.pem: it holds no private key/],
    ['no passphrase', [{ cert: file('client.p12') }, undefined], /^--key-password-file: it is encrypted/],
    ['wrong passphrase', [{ cert: file('client.p12') }, 'sesame'], /^--key-password-file: .*not that of/],
    ['of old', [{ cert: file('client-legacy.p12') }, 'open-sesame'], /^--cert .*old way.*-legacy"$/],
    ['no CA', [{ eapCa: file('client.key') }, undefined], /^--eap-ca: .*holds no PEM certificate/],
  ]
  for (const [what, args, message] of cases) {
    await t.rejects(readEap(...args), { name: 'UsageError', message }, what)
  }
  const message = /^--client-ca: /
  await t.rejects(readAuthorities(file('none'), '--client-ca'), { name: 'UsageError', message })
})

t.test('whom to trust, and how', async (t) => {
  const settings = parseSettings(tunnelSchema, {
    server: 'vpn.example.test',
    eapCa: file('ca.pem'),
    eapServername: 'radius.example.test',
    eapTlsMax: '1.2',
    eapKeyRule: 'pppd',
  })
  t.match(await readEap(settings, undefined), {
    trust: { ca: /^-----BEGIN CERTIFICATE-----/, servername: 'radius.example.test' },
    maxVersion: 'TLSv1.2',
    keyRule: 'pppd',
  })
  const message = /^--eap-tls-max: is one of 1\.2, 1\.3$/
  t.throws(() => parseSettings(tunnelSchema, { server: 'x', eapTlsMax: '1.1' }), {
    name: 'UsageError',
    message,
  })
})

t.test("serve: the clients' issuer", async (t) => {
  t.match(parseSettings(serveSchema, { accounts: 'f', clientCa: 'ca.pem', auth: 'eap-tls,peap' }), {
    clientCa: 'ca.pem',
  })
  t.throws(() => parseSettings(serveSchema, { accounts: 'f', auth: 'eap-tls' }), {
    name: 'UsageError',
    message: /^--auth: eap-tls needs --client-ca FILE/,
  })
  const radius = { radius: '127.0.0.1', radiusSecretFile: 's' }
  t.throws(() => parseSettings(serveSchema, { ...radius, clientCa: 'ca.pem' }), {
    name: 'UsageError',
    message: /^--client-ca: contradicts --radius/,
  })
  t.ok(parseSettings(serveSchema, { ...radius, auth: 'eap-tls' }))
  t.match(
    parseSettings(serveSchema, { clientCa: 'ca.pem', auth: 'eap-tls' }),
    { clientCa: 'ca.pem' },
    'no passwords',
  )
  t.throws(() => parseSettings(serveSchema, { clientCa: 'ca.pem', auth: 'eap-tls,chap' }), {
    name: 'UsageError',
    message: /^--auth: chap needs --accounts FILE/,
  })
})
