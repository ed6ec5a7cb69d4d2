import { CallError } from '../../src/transport/errors.js'
import { DialError } from '../../src/tunnel/dialer.js'
import type { SupervisorEvent, TunnelInfo } from '../../src/tunnel/events.js'
import type { InnerNetwork } from '../../src/tunnel/inner.js'
import type { TunnelOptions } from '../../src/tunnel/options.js'
import { type SupervisedTunnel, Supervisor, type SupervisorOptions } from '../../src/tunnel/supervisor.js'
import type { SupervisorClock } from '../../src/tunnel/supervisor-clock.js'
import { VirtualClock } from './virtual-clock.js'

/** Virtual time with a wall clock that a test can put forward. */
export class SupervisedClock extends VirtualClock implements SupervisorClock {
  /** What the wall clock is ahead. */
  ahead = 1_000_000

  wall(): number {
    return this.now() + this.ahead
  }

  later(callback: () => void, ms: number): unknown {
    return this.setTimer(callback, ms)
  }

  cancel(timer: unknown): void {
    if (typeof timer === 'function') timer()
  }
}

export const INFO: TunnelInfo = {
  server: 'vpn.example:443',
  ipv4: '10.0.0.2',
  ipv6: undefined,
  peer: '10.0.0.1',
  dns: ['10.0.0.1'],
  mtu: 1400,
  auth: 'mschapv2',
}

/** One attempt to open a call: the test says what becomes of it. */
export class Attempt implements SupervisedTunnel {
  readonly options: TunnelOptions
  readonly inner: InnerNetwork
  readonly opened: Promise<SupervisedTunnel>
  readonly closed: Promise<CallError | undefined>
  info = INFO
  readonly families = { ipv4: true, ipv6: false }
  closes = 0
  probes = 0
  /** False: the farewell is never answered. */
  polite = true
  #up!: () => void
  #fail!: (error: unknown) => void
  #end!: (error: CallError | undefined) => void

  constructor(options: TunnelOptions, inner: InnerNetwork, prompt: boolean) {
    this.options = options
    this.inner = inner
    this.closed = new Promise((resolve) => {
      this.#end = resolve
    })
    this.opened = new Promise((resolve, reject) => {
      this.#up = () => resolve(this)
      this.#fail = reject
    })
    if (prompt) options.signal?.addEventListener('abort', () => this.fail(options.signal?.reason))
  }

  get dnsServers(): readonly string[] {
    return this.info.dns
  }

  up(info: Partial<TunnelInfo> = {}): this {
    this.info = { ...INFO, ...info }
    this.#up()
    return this
  }

  fail(error: unknown): void {
    this.#fail(error)
  }

  /** The TLS handshake is done. */
  reached(): void {
    this.options.onEvent?.({ type: 'step', step: 'tls', ms: 1, detail: {} })
  }

  end(error: CallError | undefined): void {
    this.#end(error)
  }

  async close(): Promise<void> {
    this.closes++
    if (!this.polite) return new Promise(() => {})
    this.#end(undefined)
  }

  probe(): void {
    this.probes++
  }

  connect(): Promise<never> {
    return Promise.reject(new DialError('refused', 'refused'))
  }

  openUdp(): never {
    throw new DialError('no-resources', 'not here')
  }

  listen(): never {
    throw new DialError('no-resources', 'not here')
  }
}

/** A supervisor in virtual time, and all that it tells and asks for. */
export class Supervised {
  readonly clock = new SupervisedClock()
  readonly attempts: Attempt[] = []
  readonly events: SupervisorEvent[] = []
  readonly supervisor: Supervisor
  networks = 'eth0 192.0.2.1'
  /** What the next random numbers are; the last one stays. */
  random: number[] = [1]
  /** Attempts end as soon as they are given up. */
  prompt = true
  failure: unknown
  started = false

  constructor(options: Partial<SupervisorOptions> = {}) {
    this.supervisor = new Supervisor({
      tunnel: { host: 'vpn.example', port: 443, user: 'alice', password: 'x' },
      open: (tunnel, inner) => {
        const attempt = new Attempt(tunnel, inner, this.prompt)
        this.attempts.push(attempt)
        return attempt.opened
      },
      clock: this.clock,
      random: () => (this.random.length > 1 ? this.random.shift() : this.random[0]) ?? 1,
      networks: () => this.networks,
      onEvent: (event) => this.events.push(event),
      ...options,
    })
  }

  /** Starts, and lets the first call come up unless told otherwise. */
  async start(up = true): Promise<this> {
    this.supervisor.start().then(
      () => {
        this.started = true
      },
      (error: unknown) => {
        this.failure = error
      },
    )
    if (up) this.last.up()
    await this.clock.settle()
    return this
  }

  get last(): Attempt {
    const last = this.attempts.at(-1)
    if (last === undefined) throw new Error('no attempt was made')
    return last
  }

  /** The last call ends by itself. */
  async lose(code = 'CALL_LOST'): Promise<void> {
    this.last.end(lost(code))
    await this.clock.settle()
  }

  async failLast(error: unknown): Promise<void> {
    this.last.fail(error)
    await this.clock.settle()
  }

  /** The types of what was told since the last time. */
  told(): string[] {
    return this.events.splice(0).map((e) => (e.type === 'reconnecting' ? `reconnecting ${e.wait}` : e.type))
  }
}

export function lost(code = 'CALL_LOST'): CallError {
  return new CallError('ip', 'lost', code, 'the call has gone')
}

export const unreachable = new CallError('tcp', 'unreachable', 'TCP_REFUSED', 'nobody listens')
