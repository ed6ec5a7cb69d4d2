/** The end of a command while the system's resolver waits for a name server that says nothing. Needs root. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { root } from './lab.js'

const MAIN = join(root, 'dist/src/cli/main.js')
const SILENT = '10.9.9.9'
const dir = await mkdtemp(join(tmpdir(), 'sstp-exit-'))
t.teardown(() => rm(dir, { recursive: true }))
const NAMESERVER = `nameserver ${SILENT}\n`
await writeFile(join(dir, 'resolv.conf'), NAMESERVER)
await writeFile(join(dir, 'brief.conf'), `${NAMESERVER}options timeout:5 attempts:1\n`)
await writeFile(join(dir, 'password'), 'pw\n', { mode: 0o600 })

// What is sent to it is let through to loopback, where it is nobody's.
const SCRIPT = `set -e
ip link set lo up
ip route add ${SILENT}/32 dev lo
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"`

/** Starts the program in namespaces of its own, where it asks that server for a name. */
function start(command: string, resolv: string, ...namespaces: string[]): ChildProcess {
  const program = [process.execPath, MAIN, command, 'vpn.example', '--user', 'x']
  const args = ['-c', SCRIPT, 'sh', join(dir, resolv), ...program, '--password-file', join(dir, 'password')]
  return spawn('unshare', ['--net', '--mount', ...namespaces, 'bash', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
}

/** Resolves when the look-up is under way, or the program has ended. */
async function asked(child: ChildProcess): Promise<void> {
  const asks = async () => / 0909090A:0035 /.test(await readFile(`/proc/${child.pid}/net/udp`, 'latin1'))
  while (child.exitCode === null && !(await asks().catch(() => false))) {
    await new Promise((resolve) => setImmediate(resolve))
  }
}

for (const [command, signals] of [
  ['connect', ['SIGTERM']],
  ['check', ['SIGINT']],
  ['connect', ['SIGINT', 'SIGTERM']],
] as const) {
  t.test(`${command}, ${signals.join(' and ')} in a look-up that is not answered`, async (t) => {
    const child = start(command, 'resolv.conf')
    t.teardown(() => child.kill('SIGKILL'))
    let said = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const ended = once(child, 'close')
    await asked(child)
    const started = performance.now()
    for (const name of signals) child.kill(name)
    const [code, signal] = await ended
    // Which of two at once the kernel delivers first is not said.
    t.ok(
      signals.some((name) => name === (code ?? signal)),
      `${code ?? signal} ${said}`,
    )
    const ms = performance.now() - started
    t.ok(ms < 3_000, `within 3 s: ${Math.round(ms)} ms`)
  })
}

t.test('process 1 of a container, which no signal of its own can end', async (t) => {
  const child = start('connect', 'brief.conf', '--pid', '--fork', '--kill-child')
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'close')
  await asked(child)
  const init = Number(await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1'))
  t.ok(init > 0, 'it is there')
  process.kill(init, 'SIGTERM')
  t.same(await ended, [0, null], 'at the latest with its look-up')
})
