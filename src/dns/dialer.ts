import {
  DialError,
  type DialErrorCode,
  type Dialer,
  type DialOptions,
  type Endpoint,
  type Flow,
  type HostPort,
  type Network,
  type UdpFlow,
} from '../tunnel/dialer.js'
import type { Outcome } from './cache.js'
import { type Clock, systemClock } from './clock.js'
import type { AddressType } from './message.js'
import { classifyHost, isOrdinaryAddress, type NameRules } from './names.js'
import { lookupError, Resolver, type ResolverOptions } from './resolver.js'

export interface DialerOptions extends ResolverOptions, NameRules {
  /** The tunnel as it is now; undefined while there is none. */
  readonly network: () => Network | undefined
  /** Which addresses may be dialled. Default: {@link isOrdinaryAddress}. */
  readonly allow?: (address: string) => boolean
}

/**
 * The network behind a tunnel, by names.
 *
 * A new tunnel gets a new resolver: other servers, and nothing remembered from the one before.
 */
export function createDialer(options: DialerOptions): Dialer {
  const clock = options.clock ?? systemClock
  const allow = options.allow ?? isOrdinaryAddress
  let current: { readonly network: Network; readonly resolver: Resolver } | undefined

  function tunnel(): { readonly network: Network; readonly resolver: Resolver } {
    const network = options.network()
    if (current !== undefined && current.network !== network) {
      current.resolver.close()
      current = undefined
    }
    if (network === undefined) throw new DialError('tunnel-down', 'the tunnel is not up')
    current ??= { network, resolver: new Resolver(network, options) }
    return current
  }

  function check(address: string): void {
    if (!allow(address)) throw new DialError('not-allowed', `${address} is not a host behind the tunnel`)
  }

  return {
    async dial(to: HostPort, dialOptions: DialOptions = {}): Promise<Flow> {
      if (dialOptions.signal?.aborted) throw new DialError('aborted', 'given up')
      if (!Number.isInteger(to.port) || to.port < 1 || to.port > 65535) {
        throw new DialError('not-allowed', `${to.port} is not a port to connect to`)
      }
      const host = classifyHost(to.host, options)
      if (host.kind === 'bad') throw new DialError(host.code, host.message)
      const { network, resolver } = tunnel()
      const timeout = dialOptions.timeout ?? DIAL_TIMEOUT
      if (host.kind === 'address') {
        check(host.address)
        if (host.family === 6 ? !network.families.ipv6 : !network.families.ipv4) {
          throw new DialError('network-unreachable', `the tunnel has no IPv${host.family} address`)
        }
        return network.connect({ address: host.address, port: to.port }, { ...dialOptions, timeout })
      }
      return new Promise((resolve, reject) => {
        new Race(
          network,
          resolver,
          clock,
          allow,
          host.name,
          to.port,
          { ...dialOptions, timeout },
          resolve,
          reject,
        ).start()
      })
    },

    async resolve(text: string, dialOptions: DialOptions = {}): Promise<readonly string[]> {
      const host = classifyHost(text, options)
      if (host.kind === 'bad') throw new DialError(host.code, host.message)
      if (host.kind === 'address') return [host.address]
      return tunnel().resolver.resolve(host.name, dialOptions)
    },

    openUdp(remote?: Endpoint): UdpFlow {
      return tunnel().network.openUdp(remote)
    },
  }
}

/**
 * Connection attempts to all addresses of a name, RFC 8305: families in turn, a new attempt whenever
 * one fails or takes long, the first to be established wins.
 */
class Race {
  readonly #network: Network
  readonly #resolver: Resolver
  readonly #clock: Clock
  readonly #allow: (address: string) => boolean
  readonly #name: string
  readonly #port: number
  readonly #options: DialOptions & { readonly timeout: number }
  readonly #resolve: (flow: Flow) => void
  readonly #reject: (error: DialError) => void

  readonly #deadline: number
  readonly #lookups = new AbortController()
  readonly #outcomes: Outcome[] = []
  readonly #waiting: Record<AddressType, string[]> = { A: [], AAAA: [] }
  readonly #running = new Set<AbortController>()
  #types: readonly AddressType[] = []
  #preferred: AddressType = 'AAAA'
  #started = 0
  #worst: DialError | undefined
  #forbidden: string | undefined
  /** Of the Resolution Delay before the first attempt, of the Connection Attempt Delay behind it. */
  #cancelDelay: (() => void) | undefined
  #cancelLimit: (() => void) | undefined
  #settled = false

  constructor(
    network: Network,
    resolver: Resolver,
    clock: Clock,
    allow: (address: string) => boolean,
    name: string,
    port: number,
    options: DialOptions & { readonly timeout: number },
    resolve: (flow: Flow) => void,
    reject: (error: DialError) => void,
  ) {
    this.#network = network
    this.#resolver = resolver
    this.#clock = clock
    this.#allow = allow
    this.#name = name
    this.#port = port
    this.#options = options
    this.#resolve = resolve
    this.#reject = reject
    this.#deadline = clock.now() + options.timeout
  }

  start(): void {
    this.#options.signal?.addEventListener('abort', this.#onAbort)
    this.#cancelLimit = this.#clock.setTimer(() => this.#onLimit(), this.#options.timeout)
    this.#types = this.#resolver.types
    this.#preferred = this.#types[0] ?? 'A'
    if (this.#types.length === 0) {
      this.#fail(lookupError(this.#name, []))
      return
    }
    for (const type of this.#types) {
      void this.#resolver
        .lookup(this.#name, type, this.#lookups.signal)
        .then((outcome) => this.#onOutcome(type, outcome))
    }
  }

  readonly #onAbort = (): void => this.#fail(new DialError('aborted', 'given up'))

  #onLimit(): void {
    const { timeout } = this.#options
    this.#fail(
      this.#started === 0
        ? new DialError('name-timed-out', `resolving ${this.#name} took longer than ${timeout} ms`)
        : new DialError('timed-out', `no address of ${this.#name} answered within ${timeout} ms`),
    )
  }

  #onOutcome(type: AddressType, outcome: Outcome): void {
    if (this.#settled) return
    this.#outcomes.push(outcome)
    if (outcome.kind === 'addresses') {
      for (const address of outcome.addresses) {
        if (this.#allow(address)) this.#waiting[type].push(address)
        else this.#forbidden = address
      }
    }
    if (this.#started > 0) {
      // A late answer joins the list; it is needed at once only if nothing is under way.
      if (this.#running.size === 0) this.#next()
      return
    }
    const complete = this.#outcomes.length === this.#types.length
    if (complete || (type === this.#preferred && this.#waiting[type].length > 0)) {
      this.#next()
      return
    }
    if (this.#waiting[type].length > 0) this.#delay(RESOLUTION_DELAY)
  }

  #delay(ms: number): void {
    this.#cancelDelay?.()
    this.#cancelDelay = this.#clock.setTimer(this.#onDelay, ms)
  }

  readonly #onDelay = (): void => {
    this.#cancelDelay = undefined
    this.#next()
  }

  #next(): void {
    if (this.#settled) return
    this.#cancelDelay?.()
    this.#cancelDelay = undefined
    const address = this.#take()
    if (address === undefined) {
      if (this.#running.size === 0 && this.#outcomes.length === this.#types.length) this.#exhausted()
      return
    }
    this.#attempt(address)
    if (
      this.#waiting.A.length + this.#waiting.AAAA.length > 0 ||
      this.#outcomes.length < this.#types.length
    ) {
      this.#delay(ATTEMPT_DELAY)
    }
  }

  /** RFC 8305 4: first an address of the preferred family, then the families in turn. */
  #take(): string | undefined {
    if (this.#started >= MAX_ATTEMPTS) return undefined
    const first = this.#preferred
    const second = first === 'A' ? 'AAAA' : 'A'
    const address = this.#waiting[first].shift()
    if (address === undefined) return this.#waiting[second].shift()
    this.#preferred = second
    return address
  }

  #attempt(address: string): void {
    const abort = new AbortController()
    this.#running.add(abort)
    this.#started++
    const timeout = Math.max(1, this.#deadline - this.#clock.now())
    this.#network.connect({ address, port: this.#port }, { timeout, signal: abort.signal }).then(
      (flow) => {
        this.#running.delete(abort)
        if (this.#settled) return flow.reset()
        this.#settle()
        this.#resolve(flow)
      },
      (error) => {
        this.#running.delete(abort)
        if (this.#settled) return
        const failure = error instanceof DialError ? error : new DialError('aborted', String(error))
        if (this.#worst === undefined || tells(failure.code) > tells(this.#worst.code)) this.#worst = failure
        if (failure.code === 'tunnel-down') this.#fail(failure)
        else this.#next()
      },
    )
  }

  #exhausted(): void {
    if (this.#worst !== undefined) {
      this.#fail(this.#worst)
      return
    }
    if (this.#forbidden !== undefined) {
      const message = `${this.#name} is ${this.#forbidden}, which is not a host behind the tunnel`
      this.#fail(new DialError('not-allowed', message))
      return
    }
    this.#fail(lookupError(this.#name, this.#outcomes))
  }

  #fail(error: DialError): void {
    if (this.#settled) return
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.#settled = true
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#cancelDelay?.()
    this.#cancelLimit?.()
    this.#lookups.abort()
    for (const abort of this.#running) abort.abort()
    this.#running.clear()
  }
}

/** When all attempts failed: the host's own word tells more than a router's, and that more than silence. */
function tells(code: DialErrorCode): number {
  const at = TELLING.indexOf(code)
  return at < 0 ? TELLING.length : at
}

const TELLING: readonly DialErrorCode[] = [
  'aborted',
  'network-unreachable',
  'timed-out',
  'host-unreachable',
  'ttl-expired',
  'prohibited',
  'reset',
  'refused',
  'no-resources',
  'tunnel-down',
]

// RFC 8305 8, milliseconds.
const RESOLUTION_DELAY = 50
const ATTEMPT_DELAY = 250
// Ours.
const DIAL_TIMEOUT = 30_000
const MAX_ATTEMPTS = 16
