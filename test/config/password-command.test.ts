import t from 'tap'
import { runPasswordCommand } from '../../src/config/password-command.js'
import { findCredentials } from '../../src/config/secrets.js'

/** A program of Node's as a command of the shell, which it replaces where that is possible. */
const exec = process.platform === 'win32' ? '' : 'exec '
const node = (program: string): string => `${exec}"${process.execPath}" -e "${program}"`

t.test('the first line of its output', async (t) => {
  for (const [program, password] of [
    ["console.log('secret')", 'secret'],
    ["process.stdout.write('no end')", 'no end'],
    ["process.stdout.write('a b \\r\\nsecond\\n')", 'a b '],
    ["console.log('p\\u00e4ss')", 'päss'],
  ] as const) {
    t.equal(await runPasswordCommand(node(program)), password)
  }
})

t.test('what goes wrong is one line, without what it printed', async (t) => {
  for (const [program, message] of [
    ["console.log('s3cret'); process.exit(3)", /^--password-command: it ended with status 3$/],
    ["console.log('')", /^--password-command: the first line of its output is empty$/],
    ['1', /first line of its output is empty/],
    ['process.stdout.write(Buffer.from([0xff, 10]))', /not UTF-8/],
    ["setInterval(() => process.stdout.write('x'.repeat(9999)), 1)", /more than 65536 octets/],
  ] as const) {
    await t.rejects(runPasswordCommand(node(program)), { name: 'UsageError', message })
  }
})

t.test('a signal ends it', async (t) => {
  const stop = new AbortController()
  const asked = runPasswordCommand(node('setInterval(() => {}, 1000)'), stop.signal)
  setImmediate(() => stop.abort(new Error('enough')))
  await t.rejects(asked, { message: 'enough' })
  await t.rejects(runPasswordCommand(node('1'), stop.signal), { message: 'enough' })
})

t.test('among the other sources', async (t) => {
  const from = {
    url: { user: undefined, password: undefined },
    user: 'alice',
    password: undefined,
    passwordFile: undefined,
    env: { SSTP_PASSWORD: 'from-env' },
    readStdin: async () => Buffer.from(''),
    ask: undefined,
    onVisible: () => {},
  }
  t.same(await findCredentials({ ...from, passwordCommand: async () => 'code' }), {
    user: 'alice',
    password: 'code',
  })
  await t.rejects(findCredentials({ ...from, password: 'x', passwordCommand: async () => 'code' }), {
    message: /given twice/,
  })
  t.same(await findCredentials({ ...from, env: {}, optional: true }), { user: 'alice', password: '' })
  t.same(await findCredentials({ ...from, optional: true }), { user: 'alice', password: 'from-env' })
})
