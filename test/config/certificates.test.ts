import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readCertificates, readClientCertificate } from '../../src/config/certificates.js'
import { issue } from '../helpers/certificates.js'

const count = (pem: string): number => pem.match(/BEGIN CERTIFICATE/g)?.length ?? 0

t.test('--ca: PEM, DER, directories of both with other things between', async (t) => {
  const [a, b, c] = [
    issue({ name: 'a', ca: true }),
    issue({ name: 'b', ca: true }),
    issue({ name: 'c', ca: true }),
  ]
  const directory = t.testdir({
    'a.pem': a.cert,
    'both.crt': `text\n${a.cert}${b.cert}`,
    'c.der': c.der,
    README: 'nothing',
    key: c.key,
    '.hidden': issue({ name: 'hidden' }).cert,
    sub: {},
    empty: {},
  })
  t.equal(await readCertificates(join(directory, 'c.der')), c.cert)
  t.equal(await readCertificates(join(directory, 'both.crt')), `${a.cert}${b.cert}`)
  const all = await readCertificates(directory)
  t.equal(count(all), 3, 'each once')
  for (const one of [a, b, c]) t.ok(all.includes(one.cert.trim()))
  const rejects = (path: string, message: RegExp) =>
    t.rejects(readCertificates(path), { name: 'UsageError', message }, path)
  await rejects(join(directory, 'empty'), /holds no PEM certificate, and none in DER$/)
  await rejects(join(directory, 'README'), /README holds no PEM certificate$/)
  await rejects(join(directory, 'none'), /ENOENT/)
  writeFileSync(join(directory, 'half.der'), c.der.subarray(0, 100))
  await rejects(join(directory, 'half.der'), /holds no PEM certificate/)
  writeFileSync(join(directory, 'bad.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
  await rejects(directory, /^--ca: certificate 1 in .*bad\.pem cannot be read$/)
  const many = join(directory, 'many')
  mkdirSync(many)
  for (let i = 0; i < 2001; i++) writeFileSync(join(many, `${i}`), '')
  await rejects(many, /more than 2000 files/)
})

t.test('client certificates: in one file or two', async (t) => {
  const me = issue({ name: 'me' })
  const directory = t.testdir({
    cert: me.cert,
    key: me.key,
    both: `${me.key}${me.cert}`,
    other: issue({ name: 'x' }).key,
  })
  const of = (name: string, key?: string) =>
    readClientCertificate(join(directory, name), key === undefined ? undefined : join(directory, key))
  const wanted = { cert: me.cert.trim(), key: me.key.trim() }
  for (const found of [await of('cert', 'key'), await of('both')]) {
    t.same({ cert: found.cert.trim(), key: found.key.trim() }, wanted)
  }
  await t.rejects(of('cert', 'other'), { name: 'CertificateError', message: /is not the key of/ })
  await t.rejects(of('cert'), { name: 'CertificateError', message: /holds no usable PEM private key/ })
  await t.rejects(of('none'), { name: 'CertificateError', message: /ENOENT/ })
})
