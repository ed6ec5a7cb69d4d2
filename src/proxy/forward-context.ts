import { DialError, type DialErrorCode, type Flow, type HostPort } from '../tunnel/dialer.js'
import { DEFAULT_PROXY_LIMITS, type ProxyContext } from './client.js'
import {
  DEFAULT_FORWARD_LIMITS,
  type ForwardLimits,
  type ForwardOptions,
  type SocketPath,
} from './forward-spec.js'
import { describeFailure } from './replies.js'
import type { ProxyUsage } from './server.js'
import { nodeTimer, TimerCount } from './timers.js'

/** What all connections of one forward share. */
export class ForwardContext {
  readonly limits: ForwardLimits
  /** For those that are proxied connections like others. */
  readonly proxy: ProxyContext
  readonly flows = new Set<Flow>()
  readonly #timers: TimerCount
  readonly #told = new Set<string>()
  #forget: (() => void) | undefined
  #clients = 0

  constructor(options: ForwardOptions) {
    this.limits = { ...DEFAULT_FORWARD_LIMITS, ...options.limits }
    this.#timers = new TimerCount(options.setTimer ?? nodeTimer)
    this.proxy = {
      dialer: options.dialer,
      limits: { ...DEFAULT_PROXY_LIMITS, connections: this.limits.connections },
      via: undefined,
      setTimer: this.#timers.set,
      emit: options.onEvent ?? (() => {}),
      credentials: undefined,
      pages: undefined,
      flows: this.flows,
      upstreams: undefined,
    }
  }

  /** The number of a new client. */
  next(): number {
    this.#clients++
    return this.#clients
  }

  usage(connections: number, datagramFlows = 0): ProxyUsage {
    return { connections, flows: this.flows.size + datagramFlows, timers: this.#timers.active }
  }

  failed(client: number, to: HostPort, error: unknown): void {
    const { code, message } = describeFailure(error)
    this.proxy.emit({ type: 'failed', client, protocol: 'forward', ...to, code, message })
  }

  /** The same for datagrams, of which many may fail: told once in a while, each code for itself. */
  datagramFailed(client: number, to: HostPort, error: unknown): void {
    if (this.#isNews(describeFailure(error).code)) this.failed(client, to, error)
  }

  /** `--allow` does not name the sender of a datagram. */
  datagramForbidden(client: number, from: string): void {
    if (!this.#isNews('forbidden')) return
    const message = `clients at ${from} may not use this forward (--allow)`
    this.proxy.emit({ type: 'rejected', client, from, reason: 'forbidden', message })
  }

  #isNews(what: string): boolean {
    if (this.#told.has(what)) return false
    this.#told.add(what)
    this.#forget ??= this.proxy.setTimer(() => {
      this.#forget = undefined
      this.#told.clear()
    }, QUIET)
    return true
  }

  close(): void {
    this.#forget?.()
    this.#forget = undefined
  }
}

/** Where a forward leads, for events. */
export function purposeOf(to: HostPort | SocketPath): HostPort {
  return 'path' in to ? { host: `unix:${to.path}`, port: 0 } : { host: to.host, port: to.port }
}

/** What the system says about a service of this machine, as a tunnel's errors are said. */
export function localError(error: NodeJS.ErrnoException, to: HostPort): DialError {
  const where = to.port === 0 ? to.host : `${to.host.includes(':') ? `[${to.host}]` : to.host}:${to.port}`
  const code = CODES[error.code ?? ''] ?? 'reset'
  return new DialError(code, `the local service ${where} ${WORDS[code] ?? `failed: ${error.message}`}`)
}

const CODES: Readonly<Record<string, DialErrorCode>> = {
  ECONNREFUSED: 'refused',
  ENOENT: 'refused',
  EHOSTUNREACH: 'host-unreachable',
  ENETUNREACH: 'network-unreachable',
  EADDRNOTAVAIL: 'network-unreachable',
  EACCES: 'prohibited',
  EPERM: 'prohibited',
  ETIMEDOUT: 'timed-out',
  ENOTFOUND: 'name-not-found',
  EAI_AGAIN: 'name-failed',
  EMSGSIZE: 'too-large',
  EMFILE: 'no-resources',
  ENFILE: 'no-resources',
  ENOBUFS: 'no-resources',
  ENOMEM: 'no-resources',
}

const WORDS: Readonly<Partial<Record<DialErrorCode, string>>> = {
  refused: 'is not there (nobody listens)',
  'host-unreachable': 'cannot be reached (host unreachable)',
  'network-unreachable': 'cannot be reached (network unreachable)',
  prohibited: 'may not be connected to',
  'timed-out': 'does not answer',
  'name-not-found': 'has a name that does not exist',
  'name-failed': 'has a name that cannot be resolved now',
  'too-large': 'takes smaller datagrams only',
  'no-resources': 'cannot be connected to: too many open files',
}

/** Milliseconds until the same failure of a datagram is told again. */
const QUIET = 10_000
