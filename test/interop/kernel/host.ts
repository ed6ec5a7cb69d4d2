/** The kernel's TCP in a network namespace of its own, with a TUN device whose other end is this process. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { must } from '../process.js'

/** The helper programs, compiled into a directory that goes with the process. */
export interface Tools {
  readonly tun: string
  readonly peer: string
}

/** Compiles tun.c and peer.c. Needs gcc, and root for what they do. */
export function buildTools(): Tools {
  if (process.getuid?.() !== 0)
    throw new Error('this needs root: it makes network namespaces and TUN devices')
  const dir = mkdtempSync(join(tmpdir(), 'sstp-socks-kernel-'))
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
  const build = (name: string) => {
    const out = join(dir, name)
    const source = fileURLToPath(new URL(`${name}.c`, import.meta.url))
    execFileSync('gcc', ['-O2', '-Wall', '-pthread', '-o', out, source])
    return out
  }
  return { tun: build('tun'), peer: build('peer') }
}

/** What a `peer` says at its end: counts, and the kernel's own view of the connection (TCP_INFO). */
export interface PeerReport {
  readonly end: string
  readonly sent: number
  readonly received: number
  readonly ms: number
  readonly sack: boolean
  readonly timestamps: boolean
  readonly ecn: boolean
  /** Window shifts; -1: none agreed. */
  readonly sendScale: number
  readonly receiveScale: number
  readonly retransmissions: number
  readonly dsacks: number
  readonly reordered: number
  readonly rtt: number
  readonly mss: number
  readonly pmtu: number
}

/** A running `peer`. */
export interface Peer {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly report: Promise<PeerReport>
  kill(signal: NodeJS.Signals): void
}

export interface PeerOptions {
  readonly listen: boolean
  /** Where to listen, or where to connect to. */
  readonly address: string
  readonly port: number
  readonly action: 'send' | 'recv' | 'pipe'
  readonly ms?: number
  /** Local address of a client. */
  readonly from?: string
  readonly congestion?: string
}

/** Addresses of a link to a namespace behind: both with prefix length, and the near one without. */
export interface Link {
  readonly near: string
  readonly far: string
  readonly via: string
}

/** Octets each way that the kernel may hold for one connection: half of it is window. */
const BUFFER = 16 << 20

export class KernelHost {
  onPacket: (packet: Buffer) => void = () => {}
  private readonly tools: Tools
  private readonly child: ChildProcess
  private readonly pid: number
  private readonly peers = new Set<ChildProcess>()
  private out: Buffer[] = []
  private rest: Buffer = Buffer.alloc(0)

  private constructor(tools: Tools, child: ChildProcess) {
    this.tools = tools
    this.child = child
    this.pid = child.pid ?? 0
  }

  /** Makes the namespace and its device `tun0`; no address yet. */
  static async start(tools: Tools, mtu: number): Promise<KernelHost> {
    const child = spawn('unshare', ['--net', tools.tun, 'tun0'], { stdio: ['pipe', 'pipe', 'inherit'] })
    const host = new KernelHost(tools, child)
    const { stdout, stdin } = host.pipes
    stdin.on('error', () => {}) // it has ended; whoever waits for packets says so
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject).once('exit', (code) => reject(new Error(`tun ended with ${code}`)))
      stdout.once('data', (first: Buffer) => {
        host.take(first)
        stdout.on('data', (chunk: Buffer) => host.take(chunk))
        resolve()
      })
    })
    await host.run(
      'sh',
      '-ec',
      `ip link set lo up
       ip link set tun0 mtu ${mtu} txqueuelen 10000 up`,
    )
    // What one connection learnt must not help the next; buffers are those of our own stack.
    await host.sysctl({
      'net.ipv4.tcp_no_metrics_save': 1,
      'net.ipv4.tcp_rmem': `4096 131072 ${BUFFER}`,
      'net.ipv4.tcp_wmem': `4096 65536 ${BUFFER}`,
    })
    return host
  }

  /** Runs a program in the namespace to its end. @returns what it printed */
  async run(command: string, ...args: string[]): Promise<string> {
    return (await must('nsenter', ['--net', '--target', String(this.pid), '--', command, ...args])).stdout
  }

  async sysctl(values: Readonly<Record<string, string | number>>): Promise<void> {
    await this.run('sysctl', '-qw', ...Object.entries(values).map(([name, value]) => `${name}=${value}`))
  }

  /** Gives the device addresses, with their prefix lengths. */
  async addresses(...list: readonly string[]): Promise<void> {
    const lines = list.map((a) => `ip addr add ${a} dev tun0${a.includes(':') ? ' nodad' : ''}`)
    await this.run('sh', '-ec', lines.join('\n'))
  }

  /**
   * A second namespace behind this one, which then routes. `mtu` is that of this side of the link between them: what is
   * larger does not get through to the host there, whose own interface has `farMtu`.
   */
  async behind(mtu: number, farMtu: number, links: readonly Link[]): Promise<void> {
    const child = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' })
    this.peers.add(child)
    const own = readlinkSync('/proc/self/ns/net')
    // The program is there before its namespace is.
    for (let i = 0; readlinkSync(`/proc/${child.pid}/ns/net`) === own; i++) {
      if (i > 500) throw new Error('no second namespace')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    const enter = ['--net', '--target', String(child.pid), '--']
    const there = (script: string) => must('nsenter', [...enter, 'sh', '-ec', script])
    // Nobody else is there to have the same address, and until that is proved no neighbour is asked for.
    await there('sysctl -qw net.ipv6.conf.default.accept_dad=0')
    await this.sysctl({
      'net.ipv6.conf.default.accept_dad': 0,
      'net.ipv4.ip_forward': 1,
      'net.ipv6.conf.all.forwarding': 1,
    })
    await this.run(
      'sh',
      '-ec',
      `ip link add in0 type veth peer name in0 netns ${child.pid}
       ip link set in0 mtu ${mtu} up`,
    )
    await there(`ip link set lo up; ip link set in0 mtu ${farMtu} up`)
    for (const { near, far, via } of links) {
      const nodad = near.includes(':') ? 'nodad' : ''
      await this.run('sh', '-ec', `ip addr add ${near} dev in0 ${nodad}`)
      await there(`ip addr add ${far} dev in0 ${nodad}; ip route add default via ${via}`)
    }
    this.inner = ['nsenter', ...enter]
  }

  private inner: readonly string[] | undefined

  /** A connection of the kernel's; of the namespace behind this one if `inner`. A listener is ready when this returns. */
  async peer(options: PeerOptions, inner = false): Promise<Peer> {
    const { listen, address, port, action, ms = 60_000, from, congestion = 'cubic' } = options
    const enter = inner ? this.inner : ['nsenter', '--net', '--target', String(this.pid), '--']
    if (enter === undefined) throw new Error('there is no namespace behind this one')
    const [command = '', ...args] = enter
    args.push(this.tools.peer, '-g', congestion, '-t', String(ms))
    if (address.includes(':')) args.push('-6')
    if (from !== undefined) args.push('-b', from)
    args.push(listen ? 'l' : 'c', address, String(port), action)
    const child = spawn(command, args, { stdio: 'pipe' })
    this.peers.add(child)
    let said = ''
    const ended = new Promise<void>((resolve, reject) => {
      child.once('error', reject).once('close', () => resolve())
    })
    child.stdin.on('error', () => {}) // it ended first
    const ready = new Promise<void>((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text
        if (said.startsWith('listening\n')) resolve()
      })
    })
    const report = ended.then((): PeerReport => {
      this.peers.delete(child)
      const line = said.trim().split('\n').at(-1) ?? ''
      const parsed: PeerReport | { failed: string } = line.startsWith('{')
        ? JSON.parse(line)
        : { failed: said }
      if ('failed' in parsed) throw new Error(`peer ${options.action} at ${address}: ${parsed.failed}`)
      return parsed
    })
    report.catch(() => {}) // asked for later
    if (listen) await Promise.race([ready, report])
    return { stdin: child.stdin, stdout: child.stdout, report, kill: (signal) => void child.kill(signal) }
  }

  /** A packet for the kernel; it goes with the next {@link flush}. The buffer is not copied. */
  send(packet: Buffer): void {
    const head = Buffer.allocUnsafe(2)
    head.writeUInt16BE(packet.length)
    this.out.push(head, packet)
  }

  flush(): void {
    if (this.out.length === 0) return
    const all = Buffer.concat(this.out)
    this.out = []
    if (!this.child.killed) this.pipes.stdin.write(all)
  }

  /** Packets that the device dropped on their way out: none should be, or the measurement is not of the relay's losses. */
  async dropped(): Promise<number> {
    const [link]: { stats64: { tx: { dropped: number } } }[] = JSON.parse(
      await this.run('ip', '-json', '-statistics', 'link', 'show', 'dev', 'tun0'),
    )
    if (link === undefined) throw new Error('no tun0')
    return link.stats64.tx.dropped
  }

  /** Ends all that was started; the namespace goes with its last process. */
  close(): void {
    for (const peer of this.peers) peer.kill('SIGKILL')
    this.child.removeAllListeners('exit')
    this.child.kill('SIGKILL')
  }

  private get pipes(): { stdin: Writable; stdout: Readable } {
    const { stdin, stdout } = this.child
    if (stdin === null || stdout === null) throw new Error('no pipes')
    return { stdin, stdout }
  }

  private take(chunk: Buffer): void {
    const b = this.rest.length > 0 ? Buffer.concat([this.rest, chunk]) : chunk
    let at = 0
    while (b.length - at >= 2) {
      const length = b.readUInt16BE(at)
      if (b.length - at - 2 < length) break
      if (length > 0) this.onPacket(b.subarray(at + 2, at + 2 + length))
      at += 2 + length
    }
    this.rest = b.subarray(at)
  }
}
