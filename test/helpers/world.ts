import { PassThrough } from 'node:stream'
import { startChild } from '../../src/cli/child.js'
import type { Child, Deps, Listener, PassedSignal, Tunnel } from '../../src/cli/deps.js'
import { run } from '../../src/cli/program.js'
import type { Stdio } from '../../src/cli/stdio.js'
import type { DialerOptions, NamedDialer } from '../../src/dns/dialer.js'
import type { DnsServerOptions } from '../../src/dns/server.js'
import { refusing } from '../../src/dns/source.js'
import type { GatewayOptions } from '../../src/gateway/options.js'
import type { ProxyOptions } from '../../src/proxy/server.js'
import { type CallError, STEPS } from '../../src/transport/errors.js'
import { DialError } from '../../src/tunnel/dialer.js'
import type { TunnelInfo } from '../../src/tunnel/events.js'
import type { TunnelOptions } from '../../src/tunnel/options.js'

export const INFO: TunnelInfo = {
  server: 'vpn.example:443',
  ipv4: '10.0.0.2',
  ipv6: undefined,
  peer: '10.0.0.1',
  dns: ['10.0.0.53'],
  mtu: 1400,
  auth: 'mschapv2',
}

/**
 * The world around the commands, in memory: what they asked for is kept, what they print is kept,
 * signals and the end of the tunnel come when a test says so. Time passes only in `sleep`.
 */
export class World implements Deps {
  out = ''
  err = ''
  env: Record<string, string | undefined> = { SSTP_USER: 'alice', SSTP_PASSWORD: 's3cret' }
  color = false
  stdin: Uint8Array = new Uint8Array(0)
  time = 0
  /** In order: `open`, `proxy 127.0.0.1:1080`, `closed proxy …`, `closed tunnel`, … */
  readonly log: string[] = []
  readonly calls: TunnelOptions[] = []
  readonly proxies: ProxyOptions[] = []
  readonly dnsServers: DnsServerOptions[] = []
  readonly gateways: GatewayOptions[] = []
  readonly dialers: DialerOptions[] = []
  readonly exits: number[] = []
  readonly questions: string[] = []
  argumentsHidden = false
  /** Set to make the call fail. */
  failure: unknown
  /** Set to make a port fail, by its number. */
  readonly taken = new Map<number, string>()
  /** Steps told before the call is up or fails. */
  steps: number = STEPS.length
  names: Record<string, readonly string[]> = {}
  /** Answers of the remote host, milliseconds each; an error is thrown; none left: time-out. */
  pongs: (number | Error)[] = []
  ask: Deps['ask'] = undefined
  /** Called when the program has nothing to do but wait. */
  onReady: () => void = () => {}
  openTunnel: Deps['openTunnel'] = async (options) => this.fakeTunnel(options)
  closing: Promise<void> = Promise.resolve()
  supervision: NonNullable<Deps['supervision']> = {}
  readonly #listeners = new Map<PassedSignal, Set<() => void>>()
  #lose: (error: CallError | undefined) => void = () => {}
  #expire: (() => void)[] = []

  run(...argv: string[]): Promise<number> {
    return run(argv, this)
  }

  /** Standard output as JSON lines. */
  get events(): Record<string, unknown>[] {
    return this.out
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line))
  }

  get listening(): number {
    return [...this.#listeners.values()].reduce((sum, set) => sum + set.size, 0)
  }

  /** The tunnel goes away by itself. */
  lose(error: CallError | undefined): void {
    this.#lose(error)
  }

  /** Lets the promised time for closing pass. */
  expire(): void {
    for (const expire of this.#expire) expire()
  }

  signal(name: PassedSignal): void {
    for (const listener of this.#listeners.get(name) ?? []) listener()
  }

  readonly stdout = (text: string): void => {
    this.out += text
    if (/"event":"ready"|Stop with Ctrl-C/.test(text)) setImmediate(() => this.onReady())
  }

  readonly stderr = (text: string): void => {
    this.err += text
  }

  fakeTunnel(options: TunnelOptions): Tunnel {
    this.calls.push(options)
    this.log.push('open')
    for (const step of STEPS.slice(0, this.steps)) {
      options.onEvent?.({ type: 'step', step, ms: 12.3, detail: { [`${step}-field`]: 'agreed' } })
      options.onEvent?.({ type: 'trace', message: `trace of ${step}` })
    }
    if (this.failure !== undefined) throw this.failure
    options.onEvent?.({ type: 'warning', code: 'SOME_WARNING', message: 'a warning' })
    options.onEvent?.({ type: 'up', info: INFO })
    const closed = new Promise<CallError | undefined>((resolve) => {
      this.#lose = resolve
    })
    return {
      info: INFO,
      closed,
      dnsServers: INFO.dns,
      families: { ipv4: true, ipv6: false },
      connect: () => Promise.reject(new DialError('refused', 'refused')),
      openUdp: () => {
        throw new DialError('no-resources', 'not here')
      },
      listen: () => {
        throw new DialError('no-resources', 'not here')
      },
      close: async () => {
        this.log.push('closing tunnel')
        await this.closing
        this.log.push('closed tunnel')
        options.onEvent?.({ type: 'down', error: undefined })
        this.#lose(undefined)
      },
      ping: async (address, { size = 0 } = {}) => {
        this.log.push(`ping ${address} ${size}`)
        const pong = this.pongs.shift() ?? new DialError('timed-out', 'no answer within 4000 ms')
        if (typeof pong !== 'number') throw pong
        return { ms: pong, size }
      },
    }
  }

  readonly listenGateway = async (options: GatewayOptions): Promise<Listener> => {
    this.#refuse(options.port)
    this.gateways.push(options)
    options.onEvent?.({ type: 'listening', address: options.address, port: options.port || 4443 })
    return this.#listener('gateway', options)
  }

  listenProxy = async (request: ProxyOptions): Promise<Listener> => {
    if (request.path === undefined) this.#refuse(request.port)
    this.proxies.push(request)
    return this.#listener('proxy', request)
  }

  readonly listenDns = async (request: DnsServerOptions): Promise<Listener> => {
    this.#refuse(request.port)
    this.dnsServers.push(request)
    return this.#listener('dns', request)
  }

  readonly createDialer = (options: DialerOptions): NamedDialer => {
    this.dialers.push(options)
    return {
      names: refusing('not here'),
      dial: () => Promise.reject(new DialError('refused', 'refused')),
      resolve: async (host) => {
        const found = this.names[host]
        if (found === undefined) throw new DialError('name-not-found', `${host} does not exist`)
        return found
      },
      reverse: () => Promise.reject(new DialError('name-not-found', 'no name')),
      openDatagrams: () => {
        throw new DialError('no-resources', 'not here')
      },
      listen: () => {
        throw new DialError('no-resources', 'not here')
      },
    }
  }

  /** For what joins standard input and output to a connection. */
  readonly streams = { input: new PassThrough(), output: new PassThrough(), closeOutput: () => {} }

  stdio(): Stdio {
    return this.streams
  }

  readStdin(): Promise<Uint8Array> {
    return Promise.resolve(this.stdin)
  }

  hideArguments(): void {
    this.argumentsHidden = true
  }

  onSignal(name: PassedSignal, listener: () => void): () => void {
    const set = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, set.add(listener))
    return () => void set.delete(listener)
  }

  terminal = false
  self: readonly string[] = ['/opt/node', '/opt/sstp socks/main.js']
  /** The environment that a command got. */
  childEnv: Readonly<Record<string, string>> = {}
  /** Called with each command that was started. */
  onChild: (child: Child) => void = () => {}

  /** A real process. */
  startChild(command: readonly string[], env: Readonly<Record<string, string>>): Child {
    this.log.push(`start ${command[0]}`)
    this.childEnv = env
    const child = startChild(command, { PATH: process.env.PATH ?? '', ...env })
    setImmediate(() => this.onChild(child))
    return child
  }

  exitNow(status: number): void {
    this.exits.push(status)
  }

  now(): number {
    return this.time
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms >= 2900) {
      // The limit for closing: it comes only when a test lets it.
      return new Promise((done) => {
        signal?.addEventListener('abort', () => done())
        this.#expire.push(done)
      })
    }
    this.log.push(`sleep ${ms}`)
    this.time += ms
    return Promise.resolve()
  }

  #refuse(port: number): void {
    const code = this.taken.get(port)
    if (code !== undefined) throw Object.assign(new Error(`listen ${code}`), { code })
  }

  #listener(
    what: string,
    at: { readonly address: string; readonly port: number; readonly path?: string },
  ): Listener {
    const { path } = at
    const port = path === undefined ? at.port || 40001 + this.proxies.length : 0
    const name = path === undefined ? `${what} ${at.address}:${port}` : `${what} unix:${path}`
    this.log.push(name)
    return {
      address: at.address,
      port,
      ...(path === undefined ? {} : { path }),
      close: async () => {
        this.log.push(`closed ${name}`)
      },
    }
  }
}
