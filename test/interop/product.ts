import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { root } from './lab.js'
import { type Finished, run } from './process.js'

/** `nobody`: owns nothing, and is in no group that matters. */
const uid = 65534

export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** Lines of `--json`; the first is the ready line. */
export interface ReadyLine {
  readonly event: string
  readonly socks?: Endpoint
  readonly http?: Endpoint
  readonly listen?: Endpoint
  readonly sha256?: string
  readonly forwards?: readonly { readonly option: string; readonly locals: readonly Endpoint[] }[]
  readonly tunnel?: {
    readonly ipv4?: string
    readonly peer?: string
    readonly dns: readonly string[]
    readonly mtu: number
    readonly auth: string
  }
}

/** What /proc says of a process. */
export interface Privileges {
  readonly uid: string
  /** CapInh, CapPrm, CapEff, CapBnd, CapAmb. */
  readonly capabilities: Readonly<Record<string, string>>
  /** Where its open descriptors lead. */
  readonly files: readonly string[]
}

export function privilegesOf(pid: number): Privileges {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const capabilities = Object.fromEntries(
    [...status.matchAll(/^(Cap\w+):\t(\w+)$/gm)].map(([, name = '', bits = '']) => [name, bits]),
  )
  const files = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
    } catch {
      return [] // closed meanwhile
    }
  })
  return { uid: /^Uid:\t(.+)$/m.exec(status)?.[1] ?? '', capabilities, files }
}

/** The program while it runs. */
export class Running {
  readonly pid: number
  readonly ready: ReadyLine
  /** All lines of standard output so far. */
  readonly lines: readonly string[]
  readonly stderr: () => string
  readonly #child: ChildProcess
  readonly #ended: Promise<number | null>

  constructor(
    child: ChildProcess,
    ready: ReadyLine,
    lines: string[],
    ended: Promise<number | null>,
    err: () => string,
  ) {
    this.pid = child.pid ?? 0
    this.ready = ready
    this.lines = lines
    this.stderr = err
    this.#child = child
    this.#ended = ended
  }

  /** Sends the signal, if it still runs, and waits: its exit code (null: ended by a signal) and how long it took. */
  async stop(signal: NodeJS.Signals): Promise<{ code: number | null; ms: number }> {
    const started = performance.now()
    this.#child.kill(signal)
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 15_000)
    const code = await this.#ended
    clearTimeout(timer)
    return { code, ms: performance.now() - started }
  }
}

/**
 * The product as a user installs it (`dist`, package.json, its dependencies and no others), in a directory of its own
 * that `nobody` can read, and run as `nobody` without any capability.
 */
export class Product {
  readonly dir: string
  readonly #running = new Set<ChildProcess>()
  readonly #lastResort = () => this.#closeNow()

  constructor() {
    const main = join(root, 'dist/src/cli/main.js')
    if (!existsSync(main)) throw new Error(`${main} is not there: npm run build`)
    this.dir = mkdtempSync(join(tmpdir(), 'sstp-socks-interop-'))
    process.once('exit', this.#lastResort)
    chmodSync(this.dir, 0o755)
    const app = join(this.dir, 'app')
    for (const part of ['package.json', 'dist/src', 'dist/stack', ...dependencies()]) {
      const to = join(app, part)
      mkdirSync(join(to, '..'), { recursive: true })
      cpSync(join(root, part), to, { recursive: true })
    }
    execFileSync('chmod', ['-R', 'a+rX', app]) // whatever the umask of the installation was
  }

  /** Makes a file that only `nobody` may read, or everybody. */
  file(name: string, content: string | Buffer, mode = 0o600): string {
    const path = join(this.dir, name)
    writeFileSync(path, content, { mode })
    chownSync(path, uid, uid)
    return path
  }

  /** Starts a command that stays, and waits for its ready line. */
  async start(...args: string[]): Promise<Running> {
    const child = spawn(...this.#command([...args, '--json']), { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#running.add(child)
    child.once('close', () => this.#running.delete(child))
    const lines: string[] = []
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    const ended = new Promise<number | null>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', resolve)
    })
    const first = new Promise<string>((resolve) => {
      createInterface(child.stdout).on('line', (line) => {
        lines.push(line)
        resolve(line)
      })
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
    const line = await Promise.race([first, ended])
    clearTimeout(timer)
    if (typeof line !== 'string') {
      throw new Error(`sstp-socks ${args[0] ?? ''} ended with ${line} before it was ready:\n${stderr}`)
    }
    const ready: ReadyLine = JSON.parse(line)
    if (ready.event === 'stopped') {
      await ended
      throw new Error(`sstp-socks ${args[0] ?? ''} was not ready: ${line}\n${stderr}`)
    }
    return new Running(child, ready, lines, ended, () => stderr)
  }

  /** Runs a command to its end. */
  run(...args: string[]): Promise<Finished> {
    return run(...this.#command(args), { timeout: 60_000 })
  }

  /** Ends what still runs and removes everything. */
  async close(): Promise<void> {
    const ended = [...this.#running].map((child) => new Promise((resolve) => child.once('close', resolve)))
    for (const child of this.#running) child.kill('SIGKILL')
    await Promise.all(ended)
    this.#closeNow()
    process.removeListener('exit', this.#lastResort)
  }

  #closeNow(): void {
    for (const child of this.#running) child.kill('SIGKILL')
    rmSync(this.dir, { recursive: true, force: true })
  }

  /** Each program replaces the one before it: the pid is the product's. */
  #command(args: readonly string[]): [string, string[]] {
    // not the test runner's environment: that makes Node processes load modules of its own
    const env = ['-i', `PATH=${process.env.PATH}`, `HOME=${this.dir}`, 'LANG=C.UTF-8']
    const drop = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--no-new-privs']
    const caps = ['--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all']
    const main = join(this.dir, 'app/dist/src/cli/main.js')
    return ['env', [...env, 'setpriv', ...drop, ...caps, '--', process.execPath, main, ...args]]
  }
}

/** Folders of the packages that an installation without development dependencies has. */
function dependencies(): string[] {
  const lock: { packages: Record<string, { dev?: boolean; optional?: boolean }> } = JSON.parse(
    readFileSync(join(root, 'package-lock.json'), 'utf8'),
  )
  return Object.entries(lock.packages)
    .filter(([path, entry]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) && !entry.dev)
    .filter(([path, entry]) => !entry.optional || existsSync(join(root, path)))
    .map(([path]) => path)
}
