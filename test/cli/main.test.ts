import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'
// So that it is compiled with the tests, and not anew in each process that is started.
import type {} from '../../src/cli/main.js'

// The program as a process of its own, for what only the system can show.
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

function start(argv: readonly string[], stdout: 'pipe' | number) {
  const child = spawn(process.execPath, [...process.execArgv, MAIN, ...argv], {
    stdio: ['ignore', stdout, 'pipe'],
  })
  const { stderr } = child
  if (stderr === null) throw new Error('no standard error')
  return { child, err: text(stderr) }
}

// Linux has this file, which is always full.
if (existsSync('/dev/full'))
  t.test('a full disk', async (t) => {
    const full = await open('/dev/full', 'w')
    const { child, err: said } = start(['--version'], full.fd)
    const [err, [status]] = await Promise.all([said, once(child, 'exit')])
    await full.close()
    t.equal(status, 1)
    t.match(err, /^sstp-socks: cannot write to standard output: [^\n]*ENOSPC[^\n]*\n$/)
  })

t.test('a reader who has gone', async (t) => {
  const { child, err: said } = start(['--help'], 'pipe')
  child.stdout?.destroy()
  const [err, [status]] = await Promise.all([said, once(child, 'exit')])
  t.equal(status, 0)
  t.equal(err, '')
})

t.test('a password in a pipe that nobody writes to', async (t) => {
  const pipe = join(t.testdir(), 'pipe')
  execFileSync('mkfifo', [pipe])
  // This waits until the program reads. It is there before the program is: a pipe without a writer has ended.
  const opened = open(pipe, 'w')
  const { child, err: said } = start(
    ['check', '127.0.0.1:1', '--user', 'alice', '--password-file', pipe],
    'pipe',
  )
  const writer = await opened
  child.kill('SIGTERM')
  const [err, [status]] = await Promise.all([said, once(child, 'exit')])
  await writer.close()
  t.equal(status, 143)
  t.equal(err, 'sstp-socks: interrupted by SIGTERM\n')
})

t.test('run: nothing of ours on standard output, and the status of a shell', async (t) => {
  const { child, err: said } = start(['run', '127.0.0.1:1', '--', 'no-such-command-of-ours'], 'pipe')
  const { stdout } = child
  const [out, err, [status]] = await Promise.all([stdout && text(stdout), said, once(child, 'exit')])
  t.equal(status, 127)
  t.equal(out, '')
  t.equal(err, 'sstp-socks: no-such-command-of-ours: there is no such command\n')
})
