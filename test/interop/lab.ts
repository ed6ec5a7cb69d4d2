import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Finished, must, run } from './process.js'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** What `linux.sh up` prints, as far as the tests use it. */
export interface Facts {
  readonly up: boolean
  readonly server: { readonly host: string; readonly port: number; readonly name: string }
  /** The host's own address on the lab's outer network. */
  readonly client: { readonly address: string }
  readonly tls: Readonly<
    Record<'ca' | 'other_ca' | 'cert' | 'sha256' | 'client_cert' | 'client_key', string>
  > & { readonly names: readonly string[] }
  readonly inner: {
    readonly host4: string
    readonly second4: string
    readonly nobody4: string
    readonly router: string
    readonly dns: string
    readonly names: Readonly<Record<string, readonly string[]>>
    readonly ports: Readonly<Record<'http' | 'closed' | 'halfclose' | 'silent', number>>
    readonly web_ca: string
    readonly files: Readonly<
      Record<string, { readonly path: string; readonly bytes: number; readonly sha256: string }>
    >
  }
  readonly logs: Readonly<Record<'sstpd' | 'pppd', string>>
}

/** How pppd in the guest is to authenticate; `any`: EAP first, then what the client asks for. */
export type LabAuth = 'mschapv2' | 'chap' | 'pap' | 'eap' | 'eap-tls' | 'any'

/** In the log of an sstpc that has done nothing behind its TCP connect, until pppd lost patience. */
const STOPPED = / Connected to \S+\s*(?:$|\n.* Terminating on Terminated )/

/**
 * The lab of real peers: sstp-server and pppd, or sstpc and pppd, in User Mode Linux guests. It lies beside the
 * project, or where SSTP_SOCKS_LAB says. Needs root. What is missing is an error, never a skip.
 */
export class Lab {
  readonly #dir: string
  readonly #temp: string
  readonly #env: NodeJS.ProcessEnv
  readonly #awake: readonly ChildProcess[]
  readonly #lastResort = () => this.#downNow()

  private constructor(dir: string, temp: string, env: NodeJS.ProcessEnv, awake: readonly ChildProcess[]) {
    this.#dir = dir
    this.#temp = temp
    this.#env = env
    this.#awake = awake
    process.once('exit', this.#lastResort)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))
  }

  /**
   * Installs what the lab needs, if it is not there, and takes down a lab that an earlier run left behind. `awake`: no
   * processor sleeps while the lab is open (see docs/beside-the-kernel.md); the guests pass packets twice as fast.
   */
  static async open({ awake = true }: { readonly awake?: boolean } = {}): Promise<Lab> {
    const dir = resolve(process.env.SSTP_SOCKS_LAB ?? join(root, '../shared/lab'))
    const script = join(dir, 'linux.sh')
    if (!existsSync(script))
      throw new Error(`no lab: ${script} is not there (SSTP_SOCKS_LAB says where it is)`)
    if (process.getuid?.() !== 0) throw new Error('the interop tests need root: the lab makes tap interfaces')
    const installed = await must('bash', [script, 'install'], { timeout: 300_000 })
    const server = /^sstp-server: (.+)$/m.exec(installed.stderr)?.[1]
    if (server === undefined)
      throw new Error(`linux.sh install does not say where sstp-server is: ${installed.stderr}`)
    const temp = mkdtempSync(join(tmpdir(), 'sstp-socks-lab-'))
    const path = [...(await umlPath(temp)), process.env.PATH ?? ''].join(delimiter)
    const lab = new Lab(
      dir,
      temp,
      { ...process.env, PATH: path, LAB_SSTPD: repaired(server, temp) },
      awake ? keepAwake() : [],
    )
    await lab.#script(['down'])
    return lab
  }

  /** Boots the server guest anew with this authentication method; its logs start empty. */
  async up(auth: LabAuth, ...more: readonly string[]): Promise<Facts> {
    const up = () => this.#script(['up', `auth=${auth}`, ...more])
    const { stdout } = await up().catch((error: Error) => {
      // The script gives its kernel 20 s; nobody has met the server yet.
      if (!error.message.includes('the server guest did not come up')) throw error
      process.stderr.write(`starting another server guest: ${error.message}\n`)
      return up()
    })
    const facts: Facts = JSON.parse(stdout)
    if (!facts.up) throw new Error(`the lab did not come up: ${stdout}`)
    return facts
  }

  /** Runs a command in the server guest, or on the inner host behind it. */
  async exec(where: 'server' | 'inner', ...command: string[]): Promise<string> {
    return (await this.#script(['exec', ...(where === 'inner' ? ['-l'] : []), ...command])).stdout
  }

  /** The server guest stands still, with all its connections open; nothing can be run in it meanwhile. */
  async freeze(): Promise<void> {
    await this.#script(['freeze'])
  }

  async thaw(): Promise<void> {
    await this.#script(['thaw'])
  }

  /** Connects the Linux client (sstpc, pppd) and runs a command behind it. */
  async client(
    to: { host: string; port: number; user: string; password: string; ca: string },
    ...command: string[]
  ): Promise<Finished> {
    const args = ['client', to.host, String(to.port), to.user, to.password, to.ca, '--', ...command]
    const start = () =>
      run('bash', [join(this.#dir, 'linux.sh'), ...args], { env: this.#env, timeout: 240_000 })
    for (let attempt = 1; ; attempt++) {
      const done = await start()
      // In one of a dozen guests sstpc stops behind its TCP connect: no TLS, no answer to a refusal; its log ends there,
      // or goes on with pppd's SIGTERM. Such a guest never met the server, so another one is started. Whoever got
      // further has a result.
      if (done.code !== 125 || attempt === 4) return done
      const booted = !done.stderr.includes('the client guest did not come up')
      if (booted && !STOPPED.test(await this.clientLog('sstpc'))) return done
      process.stderr.write(`the client's guest stopped in front of TLS, starting another:\n${done.stderr}\n`)
    }
  }

  /** A log of the last client guest. */
  async clientLog(name: 'sstpc' | 'pppd'): Promise<string> {
    return (await this.#script(['log', name, 'client'])).stdout
  }

  /** The lab's hand-made SSTP client, an independent witness: `key=value` arguments. */
  probe(...args: string[]): Promise<Finished> {
    return run(process.execPath, [join(this.#dir, 'sstp-probe.mjs'), ...args], { env: this.#env })
  }

  async down(): Promise<void> {
    await this.#script(['down'])
    for (const child of this.#awake) child.kill()
    rmSync(this.#temp, { recursive: true, force: true })
    process.removeListener('exit', this.#lastResort)
  }

  #script(args: readonly string[]): Promise<Finished> {
    return must('bash', [join(this.#dir, 'linux.sh'), ...args], { env: this.#env })
  }

  #downNow(): void {
    for (const child of this.#awake) child.kill()
    execFileSync('bash', [join(this.#dir, 'linux.sh'), 'down'], { env: this.#env, stdio: 'ignore' })
    rmSync(this.#temp, { recursive: true, force: true })
  }
}

/** Processes that take what no other wants of each processor, and end with this one whatever becomes of it. */
function keepAwake(): ChildProcess[] {
  const loop = 'while kill -0 $PPID; do i=0; while [ $i -lt 9999 ]; do i=$((i + 1)); done; done 2>/dev/null'
  return Array.from({ length: availableParallelism() }, () => {
    const child = spawn('chrt', ['--idle', '0', 'sh', '-c', loop], { stdio: 'ignore' })
    // Without it everything takes longer, and is as right.
    child.on('error', () => {})
    child.unref()
    return child
  })
}

/** Returns a function that gives what was written to a file since. */
export function since(file: string): () => string {
  const read = () => (existsSync(file) ? readFileSync(file, 'utf8') : '')
  const before = read().length
  return () => read().slice(before)
}

/** On a CPU with AMX the guests' kernel needs help, see uml-xstate.c: a `linux.uml` that has it preloaded. */
async function umlPath(temp: string): Promise<string[]> {
  if (!/\bamx_tile\b/.test(readFileSync('/proc/cpuinfo', 'utf8'))) return []
  const uml = (await must('bash', ['-c', 'command -v linux.uml'])).stdout.trim()
  const dir = join(temp, 'bin')
  const library = join(dir, 'uml-xstate.so')
  mkdirSync(dir)
  await must('gcc', [
    '-O2',
    '-shared',
    '-fPIC',
    '-o',
    library,
    join(root, 'test/interop/uml-xstate.c'),
    '-ldl',
  ])
  writeFileSync(join(dir, 'linux.uml'), `#!/bin/sh\nLD_PRELOAD=${library} exec ${uml} "$@"\n`, {
    mode: 0o755,
  })
  return [dir]
}

/**
 * A copy of sstp-server with one repair, for the server to outlive its first call. 0.7.2 closes the descriptor of a
 * finished call's pty and leaves it in asyncio's selector; the next call to get that number (for its pty, or for the
 * keys from pppd) is then never read: it hangs without a word from pppd. The repair closes the transports first.
 */
function repaired(server: string, temp: string): string {
  const dir = join(temp, 'sstp-server')
  const file = join(dir, 'sstpd/ppp.py')
  cpSync(join(server, 'sstpd'), join(dir, 'sstpd'), {
    recursive: true,
    filter: (from) => !from.endsWith('__pycache__'),
  })
  const before = '        try:\n            os.close(self.slave_fd)\n'
  const [head, tail, ...more] = readFileSync(file, 'utf8').split(before)
  if (head === undefined || tail === undefined || more.length > 0) {
    throw new Error(`${file}: not the sstp-server 0.7.2 that the interop tests know how to repair`)
  }
  const repair = [
    '        if self.read_transport is not None:',
    '            self.read_transport.close()',
    '        if self.write_transport is not None:',
    '            self.write_transport.abort()',
    '',
  ]
  writeFileSync(file, head + repair.join('\n') + before + tail)
  return dir
}
