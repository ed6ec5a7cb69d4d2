/**
 * The lab's Linux client (sstpc, pppd, the kernel's TCP) and the bridge, both connected to the lab's server at the same
 * time, transferring the same octets with the same program, one after the other.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { type Facts, Lab, root } from '../lab.js'
import { type Finished, must } from '../process.js'
import { Product, type Running } from '../product.js'

export type Who = 'ours' | 'kernel'
export type Way = 'download' | 'upload'

/** What the inner link does each way, as `linux.sh net` takes it. */
export interface Weather {
  /** Milliseconds. */
  readonly delay: number
  /** Percent. */
  readonly loss?: number
  readonly reorder?: number
}

export interface Transfer {
  readonly bytes: number
  /** From before the connection is made to the end of the answer. */
  readonly ms: number
  /** Of an upload, as the server has it. */
  readonly sha256: string | undefined
}

/** The host's address on the network to the client's guest, and a port for orders. */
const ORDERS = { host: '10.79.1.1', port: 7980 }
const LARGEST = 16 << 20

/**
 * What both sides run: reads `WAY BYTES COUNT` a line, makes so many transfers at the same time with curl, prints
 * curl's result of each and `done`.
 */
const TRANSFERS = `
one() {
  if [ "$1" = download ]; then
    curl "\${options[@]}" -o /dev/null -w '%{http_code} %{size_download} %{time_total} -\\n' "http://$host/bytes/$2"
  else
    head -c "$2" "$data" | curl "\${options[@]}" --data-binary @- -w '%{http_code} %{size_upload} %{time_total}\\n' \\
      "http://$host/upload" | { read -r answer; read -r result; echo "$result $answer"; }
  fi
}
while read -r way bytes count; do
  for i in $(seq "$count"); do one "$way" "$bytes" & done
  wait
  echo done
done`

/** The program at one end of which orders are given. */
class Worker {
  private readonly input: Writable
  private readonly lines: string[] = []
  private wake: () => void = () => {}
  private ended = false

  constructor(input: Writable, output: Readable) {
    this.input = input
    const news = createInterface(output)
    news.on('line', (line) => {
      this.lines.push(line)
      this.wake()
    })
    news.on('close', () => {
      this.ended = true
      this.wake()
    })
    input.on('error', () => {}) // the end of its output says the same
  }

  async transfer(way: Way, bytes: number, count: number): Promise<Transfer[]> {
    this.input.write(`${way} ${bytes} ${count}\n`)
    const results: Transfer[] = []
    for (;;) {
      const line = await this.line()
      if (line === 'done') break
      const [, code, size, seconds, answer = ''] = /^(\d+) (\d+) ([\d.]+) (.*)$/.exec(line) ?? []
      if (code !== '200' || Number(size) !== bytes) throw new Error(`${way} of ${bytes} octets: ${line}`)
      const sha256 = answer.startsWith('{') ? String(JSON.parse(answer).sha256) : undefined
      results.push({ bytes, ms: Number(seconds) * 1000, sha256 })
    }
    if (results.length !== count) throw new Error(`${results.length} of ${count} transfers ended`)
    return results
  }

  private async line(): Promise<string> {
    for (;;) {
      const line = this.lines.shift()
      if (line !== undefined) return line
      if (this.ended) throw new Error('it ended in the middle of a transfer')
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
  }
}

export class Race {
  readonly facts: Facts
  /** What is uploaded, from its beginning. */
  readonly data: Buffer
  private readonly lab: Lab
  private readonly product: Product
  private readonly ours: Worker
  private readonly program: ChildProcess
  private readonly running: Running
  private kernel: { worker: Worker; socket: Socket; server: Server; ended: Promise<Finished> } | undefined

  private constructor(
    lab: Lab,
    facts: Facts,
    product: Product,
    running: Running,
    program: ChildProcess,
    data: Buffer,
  ) {
    this.lab = lab
    this.facts = facts
    this.product = product
    this.running = running
    this.program = program
    this.data = data
    const { stdin, stdout } = program
    if (stdin === null || stdout === null) throw new Error('no pipes')
    this.ours = new Worker(stdin, stdout)
  }

  /** `awake`: see {@link Lab.open}. */
  static async start(options: { readonly awake?: boolean } = {}): Promise<Race> {
    const product = new Product()
    const lab = await Lab.open(options).catch(async (error) => {
      await product.close()
      throw error
    })
    try {
      const facts = await lab.up('mschapv2')
      // What one connection learnt must not help the next.
      await lab.exec('inner', 'sysctl', '-qw', 'net.ipv4.tcp_no_metrics_save=1')
      const { host, port } = facts.server
      const password = product.file('password', 'password1\n')
      const ca = product.file('ca.pem', readFileSync(facts.tls.ca), 0o644)
      const account = ['--user', 'alice', '--password-file', password, '--ca', ca, '--auth', 'mschapv2']
      const proxies = ['--socks', '127.0.0.1:0', '--http', 'off']
      const running = await product.start('connect', `${host}:${port}`, ...account, ...proxies)
      const { socks } = running.ready
      if (socks === undefined) throw new Error('no SOCKS proxy')
      // The lab's own pseudo-random octets.
      const file = join((await labState(facts)).state, 'data')
      const data = readFileSync(file).subarray(0, LARGEST)
      const proxy = ['--socks5-hostname', `${socks.address}:${socks.port}`]
      const program = spawn('bash', ['-c', script(facts, file, proxy)], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      return new Race(lab, facts, product, running, program, data)
    } catch (error) {
      await lab.down()
      await product.close()
      throw error
    }
  }

  /** Connects the Linux client. Its guest lives four minutes at most. */
  async connectKernel(): Promise<void> {
    if (this.kernel !== undefined) throw new Error('the Linux client is already connected')
    const { facts } = this
    const { host, port } = facts.server
    const file = join((await labState(facts)).state, 'data')
    // A ppp device queues three packets unless told otherwise: the kernel would lose more than the link does.
    const prepare =
      'sysctl -qw net.ipv4.tcp_no_metrics_save=1 net.ipv4.tcp_congestion_control=cubic; ip link set ppp0 txqueuelen 500'
    const orders = `exec <>/dev/tcp/${ORDERS.host}/${ORDERS.port} >&0`
    const ended = this.lab.client(
      { host, port, user: 'alice', password: 'password1', ca: facts.tls.ca },
      'bash',
      '-c',
      `${prepare}; ${orders}; ${script(facts, file, [])}`,
    )
    const failed = ended.then((done): never => {
      throw new Error(`the Linux client ended with ${done.code}: ${done.stderr}`)
    })
    failed.catch(() => {})
    const server = createServer()
    const connected = new Promise<Socket>((resolve) => server.once('connection', resolve))
    await Promise.race([failed, listen(server)])
    const socket = await Promise.race([failed, connected])
    this.kernel = { worker: new Worker(socket, socket), socket, server, ended }
  }

  async disconnectKernel(): Promise<void> {
    const { kernel } = this
    if (kernel === undefined) return
    this.kernel = undefined
    kernel.socket.end()
    kernel.server.close()
    await kernel.ended
  }

  /** The way the kernels of the two guests are set, for the record. */
  async settings(): Promise<string> {
    const of = ['net.ipv4.tcp_congestion_control', 'net.ipv4.tcp_rmem', 'net.ipv4.tcp_wmem']
    return (await this.lab.exec('inner', 'sysctl', ...of)).trim()
  }

  async weather(w: Weather): Promise<void> {
    const more = [w.loss ? `loss=${w.loss}` : '', w.reorder ? `reorder=${w.reorder}` : ''].filter(Boolean)
    await must('bash', [labScript(), 'net', `delay=${w.delay}`, ...more])
  }

  /** Of each direction the server loses one of `n` packets, the last of them; 0: none. Counts from now on. */
  async everyLost(n: number): Promise<void> {
    const rules = ['-F', '-A FORWARD -o lan0', '-A FORWARD -o ppp+']
    const nth = `-m statistic --mode nth --every ${n} --packet ${n - 1} -j DROP`
    if (n > 0) rules.push(`-A FORWARD -o lan0 ${nth}`, `-A FORWARD -o ppp+ ${nth}`)
    await this.lab.exec('server', 'sh', '-ec', rules.map((rule) => `iptables-legacy ${rule}`).join('\n'))
  }

  /** Packets that have come to the server since, those that it lost too. */
  async passed(): Promise<Record<Way, number>> {
    const rules = await this.lab.exec('server', 'iptables-legacy', '-nvxL', 'FORWARD')
    const [upload = Number.NaN, download = Number.NaN] = [...rules.matchAll(/^ +(\d+) /gm)].map((m) =>
      Number(m[1]),
    )
    return { upload, download }
  }

  /** So many transfers at the same time by one of the two. */
  transfer(who: Who, way: Way, bytes: number, count = 1): Promise<Transfer[]> {
    if (bytes > LARGEST) throw new RangeError(`${bytes} octets: at most ${LARGEST}`)
    const worker = who === 'ours' ? this.ours : this.kernel?.worker
    if (worker === undefined) throw new Error('the Linux client is not connected')
    return worker.transfer(way, bytes, count)
  }

  async close(): Promise<void> {
    this.program.stdin?.end()
    await this.disconnectKernel()
    await this.running.stop('SIGTERM')
    await this.lab.down()
    await this.product.close()
  }
}

function labScript(): string {
  return join(resolve(process.env.SSTP_SOCKS_LAB ?? join(root, '../shared/lab')), 'linux.sh')
}

/** Where the lab keeps its files: both guests see that directory. */
async function labState(facts: Facts): Promise<{ state: string }> {
  const { stdout } = await must('bash', [labScript(), 'status'])
  const status: { state?: string } = JSON.parse(stdout)
  if (status.state === undefined) throw new Error(`no state in ${stdout} (${facts.server.host})`)
  return { state: status.state }
}

function script(facts: Facts, data: string, curl: readonly string[]): string {
  const options = ['--silent', '--show-error', '--max-time', '100', ...curl].map((o) => `'${o}'`).join(' ')
  return `host=${facts.inner.host4}; data='${data}'; options=(${options})\n${TRANSFERS}`
}

/** The address comes with the guest's interface. */
async function listen(server: Server): Promise<void> {
  for (let i = 0; i < 400; i++) {
    const code = await new Promise<string | undefined>((resolve) => {
      server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
      server.listen(ORDERS.port, ORDERS.host, () => resolve(undefined))
    })
    server.removeAllListeners('error')
    server.removeAllListeners('listening')
    if (code === undefined) return
    if (code !== 'EADDRNOTAVAIL') throw new Error(`${ORDERS.host}:${ORDERS.port}: ${code}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error('the network to the client did not appear')
}
