import { DialError, type DialErrorCode, type DialOptions, type Flow, type Network } from '../tunnel/dialer.js'
import type { Clock } from './clock.js'
import type { AddressType } from './message.js'
import { type Asker, isFinal, lookupError, type Outcome } from './outcome.js'

export interface RaceOptions extends DialOptions {
  readonly network: Pick<Network, 'connect'>
  readonly names: Asker
  /** Which types to ask for, the preferred one first. */
  readonly types: readonly AddressType[]
  readonly clock: Clock
  readonly allow: (address: string) => boolean
  /** What the name may stand for, to be tried in turn until one exists; at least one. */
  readonly candidates: readonly string[]
  readonly port: number
  readonly timeout: number
}

/**
 * Connects to a name, RFC 8305: asks for all types at once, tries families in turn, starts a new attempt whenever
 * one fails or takes long; the first to be established wins. Rejects with {@link DialError}.
 */
export function race(options: RaceOptions): Promise<Flow> {
  return new Promise((resolve, reject) => {
    new Race(options, resolve, reject).start()
  })
}

class Race {
  readonly #options: RaceOptions
  readonly #resolve: (flow: Flow) => void
  readonly #reject: (error: DialError) => void

  readonly #deadline: number
  readonly #lookups = new AbortController()
  /** Of all candidates so far. */
  readonly #outcomes: Outcome[] = []
  readonly #waiting: Record<AddressType, string[]> = { A: [], AAAA: [] }
  readonly #running = new Set<AbortController>()
  #candidate = 0
  /** Questions of this candidate that are not answered. */
  #open = 0
  #preferred: AddressType
  #started = 0
  #worst: DialError | undefined
  #forbidden: string | undefined
  /** Of the Resolution Delay before the first attempt, of the Connection Attempt Delay behind it. */
  #cancelDelay: (() => void) | undefined
  #cancelLimit: (() => void) | undefined
  #settled = false

  constructor(options: RaceOptions, resolve: (flow: Flow) => void, reject: (error: DialError) => void) {
    this.#options = options
    this.#resolve = resolve
    this.#reject = reject
    this.#preferred = options.types[0] ?? 'A'
    this.#deadline = options.clock.now() + options.timeout
  }

  start(): void {
    const { signal, clock, timeout, types } = this.#options
    signal?.addEventListener('abort', this.#onAbort)
    this.#cancelLimit = clock.setTimer(() => this.#onLimit(), timeout)
    if (types.length === 0) this.#fail(lookupError(this.#name, []))
    else this.#ask()
  }

  get #name(): string {
    return this.#options.candidates[this.#candidate] ?? ''
  }

  #ask(): void {
    const { types, names } = this.#options
    this.#open = types.length
    for (const type of types) {
      void names
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
    this.#open--
    this.#outcomes.push(outcome)
    if (outcome.kind === 'found') {
      for (const address of outcome.values) {
        if (this.#options.allow(address)) this.#waiting[type].push(address)
        else this.#forbidden = address
      }
    }
    if (this.#started > 0) {
      // A late answer joins the list; it is needed at once if nothing is under way, or what is has had its time.
      if (this.#running.size === 0 || this.#cancelDelay === undefined) this.#next()
      return
    }
    if (this.#open === 0 || (type === this.#preferred && this.#waiting[type].length > 0)) {
      this.#next()
      return
    }
    if (this.#waiting[type].length > 0) this.#delay(RESOLUTION_DELAY)
  }

  #delay(ms: number): void {
    this.#cancelDelay?.()
    this.#cancelDelay = this.#options.clock.setTimer(this.#onDelay, ms)
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
      if (this.#running.size === 0 && this.#open === 0) this.#exhausted()
      return
    }
    this.#attempt(address)
    if (this.#waiting.A.length + this.#waiting.AAAA.length > 0 || this.#open > 0) {
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
    const { network, port, clock } = this.#options
    const abort = new AbortController()
    this.#running.add(abort)
    this.#started++
    const timeout = Math.max(1, this.#deadline - clock.now())
    network.connect({ address, port }, { timeout, signal: abort.signal }).then(
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
    const { candidates } = this.#options
    if (this.#worst !== undefined) {
      this.#fail(this.#worst)
      return
    }
    if (this.#forbidden !== undefined) {
      const message = `${this.#name} is ${this.#forbidden}, which is not a host behind the tunnel`
      this.#fail(new DialError('not-allowed', message))
      return
    }
    if (this.#candidate + 1 < candidates.length && !this.#outcomes.some(isFinal)) {
      this.#candidate++
      this.#ask()
      return
    }
    this.#fail(lookupError(candidates.join(', '), this.#outcomes))
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
const MAX_ATTEMPTS = 16
