import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { chmod, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, createServer } from 'node:tls'
import t from 'tap'
import {
  checkCertificate,
  loadCertificate,
  makeCertificate,
  stateCertificate,
} from '../../src/gateway/certificate.js'

t.test('a new certificate serves TLS, and its SHA-256 is what a client sees', async (t) => {
  const made = await makeCertificate()
  const server = createServer({ cert: made.cert, key: made.key }, (socket) => socket.end())
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const seen = await new Promise<Buffer>((done, fail) => {
    const socket = connect({ host: '127.0.0.1', port, ca: made.cert, servername: 'localhost' }, () => {
      done(socket.getPeerCertificate().raw)
      socket.destroy()
    })
    socket.on('error', fail)
  })
  t.equal(createHash('sha256').update(seen).digest('hex'), made.sha256)
  const leaf = new X509Certificate(made.cert)
  t.equal(leaf.checkHost('localhost'), 'localhost')
  t.equal(leaf.checkIP('127.0.0.1'), '127.0.0.1')
  t.ok(made.validTo.getTime() > Date.now() + 3000 * 86_400_000)
})

t.test('certificate and key from files', async (t) => {
  const [one, two] = [await makeCertificate(), await makeCertificate()]
  const locked = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
  })
  const directory = t.testdir({
    'one.crt': one.cert,
    'one.key': one.key,
    'two.key': two.key,
    'chain.crt': `${one.cert}\n${two.cert}\n`,
    'both.pem': `${one.key}\n${one.cert}\n`,
    'locked.key': locked.privateKey,
    empty: '',
    broken: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
  })
  const load = (cert: string, key: string) => loadCertificate(join(directory, cert), join(directory, key))
  t.equal((await load('one.crt', 'one.key')).sha256, one.sha256)
  t.equal((await load('chain.crt', 'one.key')).sha256, one.sha256, 'the leaf is the first')
  const both = await load('both.pem', 'both.pem')
  t.equal(both.sha256, one.sha256)
  t.notMatch(both.cert, /PRIVATE/)
  const refused: [string, string, string, RegExp][] = [
    ['one.crt', 'two.key', 'CERTIFICATE_MISMATCH', /two\.key is not the key of .*one\.crt/],
    ['one.key', 'one.key', 'CERTIFICATE_SYNTAX', /one\.key holds no PEM certificate/],
    ['one.crt', 'one.crt', 'CERTIFICATE_SYNTAX', /no usable PEM private key/],
    ['one.crt', 'locked.key', 'CERTIFICATE_SYNTAX', /encrypted/],
    ['empty', 'one.key', 'CERTIFICATE_SYNTAX', /no PEM certificate/],
    ['broken', 'one.key', 'CERTIFICATE_SYNTAX', /no PEM certificate/],
    ['none', 'one.key', 'CERTIFICATE_UNREADABLE', /ENOENT/],
    ['one.crt', 'none', 'CERTIFICATE_UNREADABLE', /ENOENT/],
  ]
  for (const [cert, key, code, message] of refused) {
    await t.rejects(load(cert, key), { name: 'CertificateError', code, message }, `${cert} ${key}`)
  }
  t.throws(() => checkCertificate(one.cert, two.key, 'a', 'b'), { message: 'b is not the key of a' })
})

t.test('the certificate of the state directory', async (t) => {
  const directory = join(t.testdir(), 'deep', 'state')
  const first = await stateCertificate(directory)
  t.equal(first.created, true)
  t.equal((await stat(first.path)).mode & 0o777, 0o600)
  t.equal((await stat(directory)).mode & 0o777, 0o700)
  t.same(await readdir(directory), ['server.pem'], 'no draft is left')
  t.match(await readFile(first.path, 'utf8'), /PRIVATE KEY[\s\S]*CERTIFICATE/)

  const again = await stateCertificate(directory)
  t.equal(again.created, false)
  t.equal(again.sha256, first.sha256)
  t.equal(again.key.includes('PRIVATE'), true)
  t.notMatch(again.cert, /PRIVATE/)

  const later = new Date(Date.now() + 5000 * 86_400_000)
  await t.rejects(stateCertificate(directory, later), {
    code: 'CERTIFICATE_EXPIRED',
    message: /remove the file/,
  })

  await chmod(first.path, 0o644)
  await t.rejects(stateCertificate(directory), { code: 'CERTIFICATE_EXPOSED', message: /chmod 600/ })
  await chmod(first.path, 0o600)
  await writeFile(first.path, 'nonsense')
  await t.rejects(stateCertificate(directory), { code: 'CERTIFICATE_SYNTAX' })
})

t.test('two first starts at once end with one certificate', async (t) => {
  const directory = join(t.testdir(), 'state')
  const both = await Promise.all([stateCertificate(directory), stateCertificate(directory)])
  t.equal(both[0].sha256, both[1].sha256)
  t.same(await readdir(directory), ['server.pem'])
})

t.test('a state directory that cannot be made', async (t) => {
  const directory = t.testdir({ file: '' })
  await t.rejects(stateCertificate(join(directory, 'file')), { code: 'CERTIFICATE_UNREADABLE' })
  const dangling = join(directory, 'link')
  await symlink(join(directory, 'nowhere'), dangling)
  await t.rejects(stateCertificate(dangling), { code: 'CERTIFICATE_UNWRITABLE', message: /^cannot keep/ })
})

t.test('a state directory where none can be is refused, and soon', async (t) => {
  // A directory in which the name fits and the longer one of a draft does not.
  let long = join(t.testdir())
  while (long.length < 3900) long = join(long, 'x'.repeat(100))
  long = join(long, 'x'.repeat(4095 - '/server.pem'.length - long.length - 1))
  await t.rejects(stateCertificate(long), {
    code: 'CERTIFICATE_UNWRITABLE',
    // The quote closes behind the name that is known, not behind that of the draft.
    message: /^cannot keep a certificate: ENAMETOOLONG.*server\.pem'$/,
  })
  // Where there is a /proc, nothing can be made in it; elsewhere nothing can be made in a device.
  const impossible = (await stat('/proc').catch(() => undefined)) === undefined ? '/dev/null/x' : '/proc/x/y'
  await t.rejects(stateCertificate(impossible), { name: 'CertificateError' })
  await t.rejects(loadCertificate('/dev/zero', '/dev/zero'), { message: /\/dev\/zero is a device/ })
})
