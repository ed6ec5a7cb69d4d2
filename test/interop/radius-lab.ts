import { createSocket } from 'node:dgram'
import { existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { root } from './lab.js'
import { type Finished, must, run } from './process.js'

/** What `radius.sh up` prints, as far as the tests use it. */
export interface RadiusFacts {
  readonly up: boolean
  readonly state: string
  readonly host: string
  readonly auth_port: number
  readonly acct_port: number
  readonly secret: string
  readonly tls: {
    readonly ca: string
    readonly server_name: string
    readonly client_cert: string
    readonly client_key: string
  }
  readonly logs: { readonly server: string }
}

/** The lab's FreeRADIUS, with a state and ports of its own. What is missing is an error, never a skip. */
export class RadiusLab {
  readonly #script: string
  readonly #temp: string

  constructor() {
    this.#script = join(resolve(process.env.SSTP_SOCKS_LAB ?? join(root, '../shared/lab')), 'radius.sh')
    if (!existsSync(this.#script))
      throw new Error(`no lab: ${this.#script} is not there (SSTP_SOCKS_LAB says where it is)`)
    this.#temp = mkdtempSync(join(tmpdir(), 'sstp-socks-radius-'))
  }

  /** Starts it, anew if the options are others than before. */
  async up(...options: string[]): Promise<RadiusFacts> {
    if (this.#port === 0) this.#port = await freePort()
    const { stdout } = await this.#run('up', `port=${this.#port}`, ...options)
    const facts: RadiusFacts = JSON.parse(stdout)
    if (!facts.up) throw new Error(`FreeRADIUS did not come up: ${stdout}`)
    return facts
  }

  #port = 0

  /** Adds reply items to users of its file, and has it read again: once, FreeRADIUS does so every 5 s at most. */
  async grant(facts: RadiusFacts, users: Readonly<Record<string, readonly string[]>>): Promise<void> {
    const file = join(facts.state, 'raddb/mods-config/files/authorize')
    const lines = readFileSync(file, 'utf8').split('\n')
    for (const [user, items] of Object.entries(users)) {
      const at = lines.findIndex((line) => line.startsWith(`${user}\t`))
      if (at < 0) throw new Error(`no user ${user} in ${file}`)
      lines.splice(at + 1, 0, `\t${items.join(',\n\t')}`)
    }
    writeFileSync(file, lines.join('\n'))
    const reloads = () => this.said(facts).split('Module: Reloaded module "files"').length
    const before = reloads()
    const [pid = ''] = readFileSync(join(facts.state, 'pid'), 'utf8').split(' ')
    // In its first seconds it hears the signal and reads nothing.
    for (let i = 0; reloads() === before; i++) {
      if (i > 400) throw new Error('FreeRADIUS does not read its users again')
      if (i % 60 === 20) {
        const later = Date.now() / 1000 + i
        utimesSync(file, later, later)
        process.kill(Number(pid), 'SIGHUP')
      }
      await new Promise((done) => setTimeout(done, 50))
    }
  }

  /** All that it has said. */
  said(facts: RadiusFacts): string {
    return readFileSync(facts.logs.server, 'utf8')
  }

  /** Accounting records, in order: names and values as the server writes them. */
  async records(): Promise<Map<string, string>[]> {
    const { stdout } = await run('bash', [this.#script, 'log', 'acct'], { env: this.#env })
    return stdout
      .split(/\n\n+/)
      .filter((text) => text.includes('Acct-Status-Type'))
      .map(
        (text) =>
          new Map(
            [...text.matchAll(/^\t([\w-]+)(?::0)? = (.*)$/gm)].map(([, name = '', value = '']) => [
              name,
              value,
            ]),
          ),
      )
  }

  async down(): Promise<void> {
    await this.#run('down')
    rmSync(this.#temp, { recursive: true, force: true })
  }

  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, LAB_STATE: this.#temp }
  }

  #run(...args: string[]): Promise<Finished> {
    return must('bash', [this.#script, ...args], { env: this.#env, timeout: 300_000 })
  }
}

/** A UDP port on 127.0.0.1 that is free, as is the one behind it. */
async function freePort(): Promise<number> {
  for (let i = 0; i < 20; i++) {
    const port = await bound(0)
    if (port !== undefined && port < 65535 && (await bound(port + 1)) !== undefined) return port
  }
  throw new Error('no two free ports in a row')
}

function bound(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.once('error', () => resolve(undefined))
    socket.bind(port, '127.0.0.1', () => {
      const { port: got } = socket.address()
      socket.close(() => resolve(got))
    })
  })
}
