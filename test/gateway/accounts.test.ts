import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { AccountsError, loadAccounts, parseAccounts } from '../../src/gateway/accounts.js'

t.test('accounts of a file', async (t) => {
  const text = '\uFEFF# staff\nalice:correct:horse \n\n   # more\n   \r\nCORP\\bob: päss\r\ncarol@x.org:#1'
  const path = join(t.testdir(), 'accounts')
  await writeFile(path, text, { mode: 0o600 })
  const accounts = await loadAccounts(path)
  t.equal(accounts.password('alice'), 'correct:horse ', 'colons and a space at the end belong to it')
  t.equal(accounts.password('CORP\\bob'), ' päss', 'the CR does not')
  t.equal(accounts.password('carol@x.org'), '#1')
  for (const user of ['bob', 'ALICE', '', '# staff', '__proto__', 'constructor']) {
    t.equal(accounts.password(user), undefined, user)
  }
})

t.test('errors name the line and never quote it', async (t) => {
  const long = 's3cret'.repeat(50)
  const cases: [string, string, number | undefined, RegExp][] = [
    ['a:x\ns3cret', 'ACCOUNTS_SYNTAX', 2, /^f:2: no colon/],
    [':s3cret', 'ACCOUNTS_SYNTAX', 1, /^f:1: no user name/],
    ['a:x\n\nb:', 'ACCOUNTS_SYNTAX', 3, /^f:3: no password/],
    ['a:x\nb:y\na:s3cret', 'ACCOUNTS_SYNTAX', 3, /^f:3: the user of line 1 again/],
    [' a:s3cret', 'ACCOUNTS_SYNTAX', 1, /space/],
    ['a :s3cret', 'ACCOUNTS_SYNTAX', 1, /space/],
    ['a:s3cret\u0000', 'ACCOUNTS_SYNTAX', 1, /control/],
    ['a:s3cret\tx', 'ACCOUNTS_SYNTAX', 1, /control/],
    [`a:${long}`, 'ACCOUNTS_SYNTAX', 1, /password is longer than 255/],
    [`${long}:x`, 'ACCOUNTS_SYNTAX', 1, /name is longer than 255/],
    ['', 'ACCOUNTS_EMPTY', undefined, /no account/],
    ['# only words\n', 'ACCOUNTS_EMPTY', undefined, /no account/],
  ]
  for (const [text, code, line, message] of cases) {
    try {
      parseAccounts(text, 'f')
      t.fail(`took ${JSON.stringify(text)}`)
    } catch (error) {
      t.ok(error instanceof AccountsError)
      t.match(error, { code, line, message })
      t.notMatch(String(error), /s3cret/)
      t.notMatch(String(error), /\n/)
    }
  }
})

t.test('files that are refused', async (t) => {
  const directory = t.testdir()
  const path = join(directory, 'accounts')
  await writeFile(path, 'alice:s3cret\n')
  for (const mode of [0o640, 0o604, 0o620, 0o602, 0o644]) {
    await chmod(path, mode)
    await t.rejects(loadAccounts(path), {
      code: 'ACCOUNTS_EXPOSED',
      message: `${path} is open to others than its owner (mode 0${mode.toString(8)}): run chmod 600 ${path}`,
    })
  }
  for (const mode of [0o600, 0o400]) {
    await chmod(path, mode)
    t.equal((await loadAccounts(path)).password('alice'), 's3cret')
  }
  await t.rejects(loadAccounts(join(directory, 'none')), { code: 'ACCOUNTS_UNREADABLE', message: /ENOENT/ })
  for (const mode of [0o700, 0o755]) {
    await chmod(directory, mode)
    const message = `cannot read the accounts: ${directory} is a directory, not a file`
    await t.rejects(loadAccounts(directory), { code: 'ACCOUNTS_UNREADABLE', message })
  }
  await t.rejects(loadAccounts('/dev/zero'), { code: 'ACCOUNTS_UNREADABLE', message: /zero is a device/ })
  const large = join(directory, 'large')
  await writeFile(large, '#'.repeat(1_048_577), { mode: 0o600 })
  await t.rejects(loadAccounts(large), { code: 'ACCOUNTS_UNREADABLE', message: /larger than 1024 KiB/ })
  const binary = join(directory, 'binary')
  await writeFile(binary, Buffer.from('alice:\xff\xfe\n', 'latin1'), { mode: 0o600 })
  await t.rejects(loadAccounts(binary), { code: 'ACCOUNTS_SYNTAX', message: /UTF-8/ })
})
