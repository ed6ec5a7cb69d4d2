import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { type CredentialSources, findCredentials, readCertificates } from '../../src/config/secrets.js'
import { makeCertificate } from '../../src/gateway/certificate.js'

function sources(changes: Partial<CredentialSources> = {}): CredentialSources {
  return {
    url: { user: undefined, password: undefined },
    user: undefined,
    password: undefined,
    passwordFile: undefined,
    env: {},
    readStdin: async () => Buffer.from('from-stdin\nmore'),
    ask: undefined,
    onVisible: () => {},
    ...changes,
  }
}

t.test('where credentials come from', async (t) => {
  const directory = t.testdir({ unix: 'from-file\nmore\n', dos: 'from-dos\r\n', bare: ' spaces kept ' })
  const env = { SSTP_USER: 'env-user', SSTP_PASSWORD: 'env-password' }
  const url = { user: 'url-user', password: 'url-password' }
  const cases: [string, Partial<CredentialSources>, string, string][] = [
    ['environment', { env }, 'env-user', 'env-password'],
    ['URL before environment', { env, url }, 'url-user', 'url-password'],
    ['options', { env, user: 'u', password: 'p' }, 'u', 'p'],
    ['the same user twice', { env, user: 'url-user', url }, 'url-user', 'url-password'],
    ['file', { env, passwordFile: join(directory, 'unix') }, 'env-user', 'from-file'],
    ['file with CR LF', { env, passwordFile: join(directory, 'dos') }, 'env-user', 'from-dos'],
    ['file without an end', { env, passwordFile: join(directory, 'bare') }, 'env-user', ' spaces kept '],
    ['standard input', { env, passwordFile: '-' }, 'env-user', 'from-stdin'],
    ['empty is unset', { env: { SSTP_USER: '', SSTP_PASSWORD: '' }, url }, 'url-user', 'url-password'],
  ]
  for (const [name, changes, user, password] of cases) {
    t.same(await findCredentials(sources(changes)), { user, password }, name)
  }
})

t.test('asked for at the terminal', async (t) => {
  const asked: [string, boolean][] = []
  const ask = async (question: string, hidden: boolean) => {
    asked.push([question, hidden])
    return hidden ? 'typed' : 'typed-user'
  }
  t.same(await findCredentials(sources({ ask })), { user: 'typed-user', password: 'typed' })
  t.same(asked, [
    ['User: ', false],
    ['Password for typed-user: ', true],
  ])
  await t.rejects(findCredentials(sources({ ask: async () => '' })), { message: 'no user name' })
  await t.rejects(findCredentials(sources({ user: 'u', ask: async () => '' })), { message: 'no password' })
})

t.test('what is missing, said twice, or unreadable', async (t) => {
  const directory = t.testdir({ empty: '', blank: '\nsecond', binary: Buffer.from([0xff, 0xfe, 10]) })
  const user = 'u'
  const cases: [Partial<CredentialSources>, RegExp][] = [
    [{}, /^no user name: give --user/],
    [{ user }, /^no password: give --password-file/],
    [{ user, url: { user: 'v', password: undefined } }, /^two user names/],
    [{ user, password: 'p', passwordFile: '-' }, /^the password is given twice/],
    [{ url: { user, password: 'p' }, password: 'p' }, /^the password is given twice/],
    [{ user, passwordFile: join(directory, 'none') }, /^--password-file: ENOENT/],
    [{ user, passwordFile: directory }, /^--password-file: \/.* is a directory, not a file$/],
    [
      { user, passwordFile: join(directory, 'empty') },
      /^--password-file: the first line of .*empty is empty/,
    ],
    [{ user, passwordFile: '/dev/zero' }, /^--password-file: \/dev\/zero is a device, not a file$/],
    [{ user, passwordFile: join(directory, 'blank') }, /^--password-file: the first line/],
    [{ user, passwordFile: join(directory, 'binary') }, /is not UTF-8 text/],
    [{ user, passwordFile: '-', readStdin: async () => Buffer.alloc(0) }, /first line of standard input/],
  ]
  for (const [changes, message] of cases) {
    await t.rejects(findCredentials(sources(changes)), { name: 'UsageError', message }, String(message))
  }
})

t.test('a visible password is told', async (t) => {
  let visible = 0
  const onVisible = () => {
    visible++
  }
  await findCredentials(sources({ user: 'u', password: 'p', onVisible }))
  await findCredentials(sources({ url: { user: 'u', password: 'p' }, onVisible }))
  t.equal(visible, 2)
  await findCredentials(sources({ env: { SSTP_USER: 'u', SSTP_PASSWORD: 'p' }, onVisible }))
  await findCredentials(sources({ user: 'u', passwordFile: '-', onVisible }))
  t.equal(visible, 2)
})

t.test('--ca files', async (t) => {
  const [one, two] = [await makeCertificate(), await makeCertificate()]
  const directory = t.testdir({
    good: `# roots\n${one.cert}\n\n${one.key}\n${two.cert}`,
    key: one.key,
    empty: '',
    broken: `${one.cert}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
  })
  const pem = await readCertificates(join(directory, 'good'))
  t.equal(pem.match(/BEGIN CERTIFICATE/g)?.length, 2)
  t.notMatch(pem, /PRIVATE/)
  t.match(await readFile(join(directory, 'good'), 'utf8'), /PRIVATE/)
  const refused: [string, RegExp][] = [
    ['key', /^--ca: .*key holds no PEM certificate/],
    ['empty', /^--ca: .*empty holds no PEM certificate/],
    ['broken', /^--ca: certificate 2 in .* cannot be read/],
    ['none', /^--ca: ENOENT/],
  ]
  for (const [name, message] of refused) {
    await t.rejects(readCertificates(join(directory, name)), { name: 'UsageError', message }, name)
  }
})
