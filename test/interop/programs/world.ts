/**
 * Two network namespaces and a wire between them. Behind the wire `sstp-socks serve` and, on addresses that only its own
 * namespace has, the servers; before it a person with an ordinary account, who reaches the SSTP server and nothing else.
 * A rule of the kernel counts whatever else tries to leave. Needs root.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { certificate } from '../net.js'
import { type Finished, must, run } from '../process.js'
import { Product, type ReadyLine } from '../product.js'

/** The wire between the namespaces. */
const WIRE = { near: '10.78.0.1', far: '10.78.0.2' }
/** Where the servers listen. */
export const INNER = { v4: '10.77.0.10', v6: 'fd77::10', client6: 'fd77:0:0:1::/64' }
/** Names that the name server behind the tunnel knows, all of the same host. */
export const NAMES = ['web', 'git', 'shell', 'db', 'cache', 'files', 'iperf', 'npm', 'pypi', 'echo']
/** The person's account in both namespaces, and the servers' too. */
export const ACCOUNT = { name: 'alice', id: 64_000, password: 'wonderland' }
/** As the manual page has it. */
const SERVER = 'vpn.example.com'

type Side = 'inside' | 'outside'

/** A program that stays, while it runs. */
export class Daemon {
  readonly #child: ChildProcess
  readonly #ended: Promise<number | null>
  readonly lines: string[] = []
  #said = ''

  constructor(child: ChildProcess) {
    this.#child = child
    this.#ended = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#said += error.message
        resolve(null)
      })
      child.once('close', resolve)
    })
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#said = (this.#said + text).slice(-20_000)
      })
    }
    if (child.stdout !== null) createInterface(child.stdout).on('line', (line) => void this.lines.push(line))
  }

  /** The end of what it has written, on both streams. */
  get said(): string {
    return this.#said
  }

  /** Waits until this is true; the end of the program, and 30 s, are errors. */
  async until(what: string, ready: () => boolean | Promise<boolean>): Promise<void> {
    let over = false
    void this.#ended.then(() => {
      over = true
    })
    for (let i = 0; !(await ready()); i++) {
      if (over || i > 600) throw new Error(`${what}: ${over ? 'it ended' : 'too late'}\n${this.#said}`)
      await delay(50)
    }
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#child.kill(signal)
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    const code = await this.#ended
    clearTimeout(timer)
    return code
  }
}

export class World {
  /** Everybody may enter it; removed at the end. */
  readonly dir: string
  /** The person's home directory. */
  readonly home: string
  /** PEM files of the authority of `*.inside` and of the SSTP server. */
  readonly authority: string
  readonly #product: Product
  readonly #names: Readonly<Record<Side, string>>
  readonly #daemons: Daemon[] = []
  readonly #lastResort = () => this.#sweep()

  private constructor(product: Product, names: Readonly<Record<Side, string>>) {
    this.#product = product
    this.dir = product.dir
    this.home = join(product.dir, 'home')
    this.authority = join(product.dir, 'authority.pem')
    this.#names = names
    process.once('exit', this.#lastResort)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))
  }

  static async open(): Promise<World> {
    if (process.getuid?.() !== 0) throw new Error('the tests with programs need root: they make namespaces')
    const id = `sstp-programs-${process.pid}`
    const world = new World(new Product(), { inside: `${id}-in`, outside: `${id}-out` })
    try {
      await world.#wire()
      await world.#identities()
      await world.#serve()
      return world
    } catch (error) {
      await world.close()
      throw error
    }
  }

  /** Makes a file with this content that only the person may write. */
  file(path: string, content: string | Buffer, mode = 0o644): string {
    const at = join(this.dir, path)
    mkdirSync(dirname(at), { recursive: true })
    writeFileSync(at, content, { mode })
    chownSync(at, ACCOUNT.id, ACCOUNT.id)
    return at
  }

  /** A directory that the person owns. */
  folder(path: string): string {
    const at = join(this.dir, path)
    mkdirSync(at, { recursive: true })
    chownSync(at, ACCOUNT.id, ACCOUNT.id)
    return at
  }

  /** Starts a server behind the tunnel, as root. Killed at the end. */
  inside(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Daemon {
    return this.#start('inside', [command, ...args], { env })
  }

  /** Runs a command to its end behind the tunnel, as root. */
  mustInside(command: string, ...args: string[]): Promise<Finished> {
    return must('ip', ['netns', 'exec', this.#names.inside, command, ...args])
  }

  /** What a person types into a shell, before the tunnel. A program that goes on for `seconds` is ended. */
  type(lines: string, cwd: string, seconds = 60): Promise<Finished> {
    const args = ['timeout', '--kill-after=5', String(seconds), ...this.#person(), 'bash', '-ec', lines]
    return run('ip', ['netns', 'exec', this.#names.outside, ...args], { cwd, timeout: (seconds + 20) * 1000 })
  }

  /** The same for a program that stays and has more descriptors than three. */
  spawn(lines: string, stdio: readonly ('ignore' | 'pipe')[]): ChildProcess {
    const args = ['netns', 'exec', this.#names.outside, ...this.#person(), 'bash', '-ec', `exec ${lines}`]
    return spawn('ip', args, { stdio: [...stdio], cwd: this.home })
  }

  /** The bridge, typed by the person. Resolves with its ready line. */
  async bridge(line: string): Promise<{ daemon: Daemon; ready: ReadyLine }> {
    const daemon = this.#start('outside', [...this.#person(), 'bash', '-ec', `exec ${line} --json`], {
      cwd: this.home,
    })
    await daemon.until(line, () => daemon.lines.length > 0)
    const ready: ReadyLine = JSON.parse(daemon.lines[0] ?? '')
    if (ready.event !== 'ready') throw new Error(`${line}: ${daemon.said}`)
    return { daemon, ready }
  }

  /** Packets that tried to leave by another way than the connection to the SSTP server, and where to. */
  async leaks(): Promise<{ packets: number; destinations: string }> {
    const { stdout } = await must('ip', [
      'netns',
      'exec',
      this.#names.outside,
      'nft',
      'list',
      'table',
      'inet',
      'watch',
    ])
    return {
      packets: Number(/packets (\d+)/.exec(stdout)?.[1] ?? Number.NaN),
      destinations: /elements = \{([^}]*)\}/.exec(stdout)?.[1] ?? '',
    }
  }

  /** Counts from 0 again, after a test that has tried to get out on purpose. */
  async forgive(): Promise<void> {
    const nft = ['netns', 'exec', this.#names.outside, 'nft']
    await must('ip', [...nft, 'reset', 'counter', 'inet', 'watch', 'leaked'])
    await must('ip', [...nft, 'flush', 'set', 'inet', 'watch', 'where'])
  }

  async close(): Promise<void> {
    await Promise.all(this.#daemons.map((daemon) => daemon.stop()))
    this.#sweep()
    await this.#product.close()
    process.removeListener('exit', this.#lastResort)
  }

  #start(side: Side, command: readonly string[], options: { env?: NodeJS.ProcessEnv; cwd?: string }): Daemon {
    const args = ['netns', 'exec', this.#names[side], ...command]
    // Detached: some servers end their whole process group when they end.
    const daemon = new Daemon(
      spawn('ip', args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options }),
    )
    this.#daemons.push(daemon)
    return daemon
  }

  /** In front of each command of the person: no privilege, and an environment that has nothing of the tests. */
  #person(): string[] {
    const path = [join(this.dir, 'bin'), dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin']
    const env = {
      PATH: path.join(':'),
      HOME: this.home,
      USER: ACCOUNT.name,
      LANG: 'C.UTF-8',
      SSTP_PASSWORD: ACCOUNT.password,
      NODE_EXTRA_CA_CERTS: this.authority,
    }
    const drop = [`--reuid=${ACCOUNT.id}`, `--regid=${ACCOUNT.id}`, '--clear-groups', '--no-new-privs']
    const caps = ['--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all']
    const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    return ['setpriv', ...drop, ...caps, 'env', '-i', ...settings]
  }

  async #wire(): Promise<void> {
    const { inside, outside } = this.#names
    const ip = (...args: string[]) => must('ip', args)
    const within = (name: string, ...args: string[]) => must('ip', ['netns', 'exec', name, ...args])
    for (const name of [inside, outside]) {
      await ip('netns', 'add', name)
      await within(name, 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0')
      await ip('-n', name, 'link', 'set', 'lo', 'up')
    }
    await ip('-n', outside, 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', inside)
    await within(outside, 'sysctl', '-qw', 'net.ipv6.conf.near.disable_ipv6=1')
    await within(inside, 'sysctl', '-qw', 'net.ipv6.conf.far.disable_ipv6=1')
    await ip('-n', outside, 'address', 'add', `${WIRE.near}/30`, 'dev', 'near')
    await ip('-n', inside, 'address', 'add', `${WIRE.far}/30`, 'dev', 'far')
    await ip('-n', outside, 'link', 'set', 'near', 'up')
    await ip('-n', inside, 'link', 'set', 'far', 'up')
    // Whoever looks a name up beside the tunnel, or takes the wrong way, comes here and is seen.
    await ip('-n', outside, 'route', 'add', 'default', 'via', WIRE.far)
    await ip('-n', inside, 'address', 'add', `${INNER.v4}/32`, 'dev', 'lo')
    await ip('-n', inside, 'address', 'add', `${INNER.v6}/128`, 'dev', 'lo')
    await within(inside, 'sysctl', '-qw', 'net.ipv4.ip_unprivileged_port_start=0')
    const watch = `table inet watch {
      counter leaked { }
      set where { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 1000; }
      chain out {
        type filter hook output priority 0
        oifname != "near" accept
        ip daddr ${WIRE.far} tcp dport 443 accept
        update @where { ip daddr . meta l4proto . th dport }
        counter name leaked reject
      }
    }`
    const guard = `table inet guard {
      chain in { type filter hook input priority 0; iifname "far" tcp dport != 443 drop; iifname "far" meta l4proto != tcp drop; }
    }`
    await within(outside, 'nft', watch)
    await within(inside, 'nft', guard)
  }

  /** Files that stand in /etc inside a namespace alone, and the certificate. */
  async #identities(): Promise<void> {
    const { cert, key } = await certificate(
      this.dir,
      'authority',
      [
        `DNS:${SERVER}`,
        `IP:${WIRE.far}`,
        `IP:${INNER.v4}`,
        ...NAMES.map((name) => `DNS:${name}.inside`),
      ].join(),
    )
    chmodSync(cert, 0o644)
    chownSync(key, ACCOUNT.id, ACCOUNT.id)
    this.folder('home')
    const { name, id } = ACCOUNT
    const etc = (side: Side, path: string, text: string) => {
      const at = join('/etc/netns', this.#names[side], path)
      mkdirSync(dirname(at), { recursive: true })
      writeFileSync(at, text)
    }
    for (const side of ['inside', 'outside'] as const) {
      const home = side === 'outside' ? this.home : this.folder('inside/alice')
      etc(side, 'passwd', `${readFileSync('/etc/passwd', 'utf8')}${name}:x:${id}:${id}::${home}:/bin/bash\n`)
      etc(side, 'group', `${readFileSync('/etc/group', 'utf8')}${name}:x:${id}:\n`)
      etc(side, 'shadow', `${readFileSync('/etc/shadow', 'utf8')}${name}:*:19000:0:99999:7:::\n`)
    }
    const bundle = readFileSync('/etc/ssl/certs/ca-certificates.crt', 'utf8') + readFileSync(cert, 'utf8')
    etc('outside', 'ssl/certs/ca-certificates.crt', bundle)
    etc('outside', 'ssl/openssl.cnf', readFileSync('/etc/ssl/openssl.cnf', 'utf8'))
    etc(
      'outside',
      'hosts',
      `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${hostname()}\n${WIRE.far} ${SERVER}\n`,
    )
    etc('outside', 'resolv.conf', `nameserver ${WIRE.far}\noptions timeout:1 attempts:1\n`)
    etc('inside', 'hosts', '127.0.0.1 localhost\n')
    etc('inside', 'resolv.conf', `nameserver ${INNER.v4}\n`)
  }

  /** Installs the command, and runs the SSTP server with it: without privileges either. */
  async #serve(): Promise<void> {
    const main = join(this.dir, 'app/dist/src/cli/main.js')
    mkdirSync(join(this.dir, 'bin'))
    writeFileSync(
      join(this.dir, 'bin/sstp-socks'),
      `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`,
      { mode: 0o755 },
    )
    const accounts = this.file('accounts', `${ACCOUNT.name}:${ACCOUNT.password}\n`, 0o600)
    const options = [
      ['--accounts', accounts, '--listen', `${WIRE.far}:443`, '--dns', INNER.v4],
      ['--cert', this.authority, '--key', join(this.dir, 'authority.key')],
      ['--ipv6-prefix', INNER.client6, '--json'],
    ].flat()
    const serve = this.#start('inside', [...this.#person(), 'sstp-socks', 'serve', ...options], {})
    await serve.until('serve', () => serve.lines.length > 0)
  }

  /** Kills what is left in the namespaces, which nobody else uses, and removes them. */
  #sweep(): void {
    for (const name of Object.values(this.#names)) {
      if (existsSync(join('/run/netns', name))) {
        for (const pid of execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).split('\n')) {
          if (pid !== '') killNow(Number(pid))
        }
        execFileSync('ip', ['netns', 'delete', name], { stdio: 'ignore' })
      }
      rmSync(join('/etc/netns', name), { recursive: true, force: true })
    }
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended meanwhile
  }
}
