/**
 * Keeps a tunnel up: one call after the other, with the same stack inside, so that whoever uses the network
 * behind it sees a pause and not an end.
 */
import { randomFillSync } from 'node:crypto'
import { CallError } from '../transport/errors.js'
import { BACKOFF_TIMES, Backoff, type BackoffTimes } from './backoff.js'
import {
  DialError,
  type DialOptions,
  type Endpoint,
  type Flow,
  type FlowListener,
  type ListenOptions,
  type Network,
  type UdpFlow,
  type UdpOptions,
} from './dialer.js'
import type { SupervisorEvent, TunnelEvent, TunnelInfo } from './events.js'
import { FLAPPING_LIMITS, Flapping, type FlappingLimits } from './flapping.js'
import { InnerNetwork } from './inner.js'
import type { TunnelOptions } from './options.js'
import { type SupervisorClock, SYSTEM_CLOCK } from './supervisor-clock.js'
import { type Disturbance, describeNetworks, Watch } from './watch.js'

/** A call as the supervisor sees it. */
export interface SupervisedTunnel extends Network {
  readonly info: TunnelInfo
  readonly closed: Promise<CallError | undefined>
  close(): Promise<void>
  probe?(): void
}

/** Brings a call up that carries the packets of `inner`. */
export type OpenTunnel = (options: TunnelOptions, inner: InnerNetwork) => Promise<SupervisedTunnel>

export interface SupervisorOptions {
  /** What each call is opened with; its `onEvent` hears them all, its `signal` is not used. */
  readonly tunnel: TunnelOptions
  readonly open: OpenTunnel
  /** False: the end of the call is the end. */
  readonly reconnect?: boolean
  /** Go on trying too if the first call does not come up, unless it was refused. */
  readonly retryStart?: boolean
  /** Milliseconds that a new connection waits for the tunnel; 10 s. */
  readonly reconnectWait?: number
  /** Milliseconds for which open connections are kept without a call; 5 min. */
  readonly hold?: number
  readonly backoff?: Partial<BackoffTimes>
  readonly flapping?: Partial<FlappingLimits>
  readonly clock?: SupervisorClock
  /** From 0 to 1. */
  readonly random?: () => number
  /** The machine's addresses as one text, to notice a change. */
  readonly networks?: () => string
  readonly onEvent?: (event: SupervisorEvent) => void
}

export type SupervisorState = 'new' | 'connecting' | 'ready' | 'waiting' | 'closing' | 'stopped'

const RECONNECT_WAIT = 10_000
const HOLD = 300_000
const DEFAULT_MTU = 1400
/** For the farewell: a user who asks for the end is promised 3 s. */
const CLOSE_TIMEOUT = 2_800
/** An attempt that is as old as that may be stuck in a network that is no more. */
const STUCK = 1_000

/** Somebody waits for the tunnel. */
interface Waiter {
  settle(error?: DialError): void
}

export class Supervisor {
  state: SupervisorState = 'new'
  /** Resolves at the end, with what ended it; no error: {@link close}. */
  readonly stopped: Promise<unknown>
  private readonly options: SupervisorOptions
  private readonly clock: SupervisorClock
  private readonly backoff: Backoff
  private readonly flapping: Flapping
  private readonly watch: Watch
  private readonly inner: InnerNetwork
  private readonly waiters = new Set<Waiter>()
  private tunnel: SupervisedTunnel | undefined
  /** What it agreed on by the time it was up: more may be learnt later. */
  private upInfo: TunnelInfo | undefined
  private face: Network | undefined
  /** Addresses that had been given up by the time the last call ended. */
  private forsaken = 0
  private upAt = 0
  /** Attempts since the last call was up. */
  private attempts = 0
  private attempt: AbortController | undefined
  private attemptAt = 0
  private attemptOver: (() => void) | undefined
  /** TLS is up: the server has begun to work for us. */
  private reached = false
  /** The attempt was given up for a new one. */
  private again = false
  /** Of the next attempt, or of a second look at this one. */
  private timer: unknown
  private holdTimer: unknown
  private tellStopped!: (error: unknown) => void
  private closing: Promise<void> | undefined

  constructor(options: SupervisorOptions) {
    this.options = options
    this.clock = options.clock ?? SYSTEM_CLOCK
    this.backoff = new Backoff({ ...BACKOFF_TIMES, ...options.backoff }, options.random ?? Math.random)
    this.flapping = new Flapping({ ...FLAPPING_LIMITS, ...options.flapping })
    this.watch = new Watch(this.clock, options.networks ?? describeNetworks, (what) => this.disturb(what))
    this.inner = new InnerNetwork({
      mtu: options.tunnel.mtu ?? DEFAULT_MTU,
      random: (dst) => void randomFillSync(dst),
    })
    this.stopped = new Promise((resolve) => {
      this.tellStopped = resolve
    })
  }

  /** What the call that is up, or was last, agreed on. */
  get info(): TunnelInfo | undefined {
    return this.tunnel?.info
  }

  /**
   * The network behind the tunnel; undefined before it was up first. It is another object when the server has
   * given another address or other name servers: nothing that was known of the old one holds then.
   */
  get network(): Network | undefined {
    return this.face
  }

  /** Resolves when the tunnel is up first; rejects with what ended it before. */
  async start(): Promise<void> {
    if (this.state !== 'new') throw new TypeError('a supervisor starts once')
    this.watch.start()
    const up = this.whenUp(Number.POSITIVE_INFINITY)
    const ended = this.stopped.then((error): never => {
      throw error ?? new DialError('aborted', 'given up')
    })
    this.begin()
    // Whoever waits is told of the end as well, less exactly.
    await Promise.race([up.catch(() => ended), ended])
  }

  /**
   * Resolves when the tunnel is up, at once if it is. Rejects with `tunnel-reconnecting` if that takes longer
   * than `--reconnect-wait`, with `tunnel-down` at the end, with `aborted`.
   */
  whenUp(limit = this.options.reconnectWait ?? RECONNECT_WAIT, signal?: AbortSignal): Promise<void> {
    if (this.state === 'ready') return Promise.resolve()
    return new Promise((resolve, reject) => {
      if (this.state === 'stopped' || this.state === 'closing') throw tunnelDown()
      if (signal?.aborted) throw new DialError('aborted', 'given up')
      const onAbort = (): void => waiter.settle(new DialError('aborted', 'given up'))
      const waiter: Waiter = {
        settle: (error) => {
          this.waiters.delete(waiter)
          this.clock.cancel(timer)
          signal?.removeEventListener('abort', onAbort)
          if (error === undefined) resolve()
          else reject(error)
        },
      }
      const message = `the tunnel is being brought up again, and was not within ${limit / 1000} s`
      const timer =
        limit === Number.POSITIVE_INFINITY
          ? undefined
          : this.clock.later(() => waiter.settle(new DialError('tunnel-reconnecting', message)), limit)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.waiters.add(waiter)
    })
  }

  /**
   * The machine has slept, or its networks have changed, for whoever knows it sooner than a look every two seconds
   * finds it out: an open call is asked for a sign of life, and whatever waits or hangs is tried anew at once.
   */
  disturb(what: Disturbance): void {
    switch (this.state) {
      case 'ready':
        this.emit({ type: 'probing', reason: what })
        this.tunnel?.probe?.()
        return
      case 'waiting':
        // What made the attempts fail may be over.
        this.backoff.reset()
        this.clock.cancel(this.timer)
        this.begin()
        return
      case 'connecting': {
        // Once it is at the server, its own time-outs will do: a call given up there may still count as one.
        if (this.reached || this.again) return
        const young = this.attemptAt + STUCK - this.clock.now()
        this.clock.cancel(this.timer)
        if (young > 0) {
          // Begun before the change that was noticed just now, or behind it: soon it will be seen.
          this.timer = this.clock.later(() => this.disturb(what), young)
          return
        }
        this.again = true
        this.attempt?.abort(new DialError('aborted', 'the network has changed'))
        return
      }
      default:
        return
    }
  }

  /** The end, properly, from whatever state; takes at most 3 s. */
  close(): Promise<void> {
    this.closing ??= this.leave()
    return this.closing
  }

  // ---------------------------------------------------------------- attempts

  private begin(): void {
    const { tunnel: options, open } = this.options
    const attempt = new AbortController()
    this.state = 'connecting'
    this.attempt = attempt
    this.attemptAt = this.clock.now()
    this.reached = false
    this.again = false
    this.attempts++
    this.emit({ type: 'connecting', attempt: this.attempts })
    const onEvent = (event: TunnelEvent): void => {
      if (event.type === 'step' && event.step === 'tls' && this.attempt === attempt) this.reached = true
      options.onEvent?.(event)
    }
    open({ ...options, signal: attempt.signal, onEvent }, this.inner).then(
      (tunnel) => this.up(attempt, tunnel),
      (error: unknown) => this.failed(attempt, error),
    )
  }

  private up(attempt: AbortController, tunnel: SupervisedTunnel): void {
    if (this.state !== 'connecting' || this.attempt !== attempt || attempt.signal.aborted) {
      // It came up while it was being given up.
      const over = (): void => this.failed(attempt, attempt.signal.reason)
      tunnel.close().then(over, over)
      return
    }
    this.clock.cancel(this.timer)
    const before = this.upInfo
    const { info } = tunnel
    const same = before !== undefined && sameAddress(before, info)
    const kept = before !== undefined && this.inner.forsaken === this.forsaken
    this.attempt = undefined
    this.attempts = 0
    this.tunnel = tunnel
    this.upInfo = { ...info, dns: [...info.dns] }
    this.upAt = this.clock.now()
    this.clock.cancel(this.holdTimer)
    this.state = 'ready'
    if (!same || !sameServers(before, info)) this.face = new Face(() => this.tunnel ?? tunnel)
    tunnel.closed.then((error) => this.lost(tunnel, error))
    this.emit({ type: 'ready', info, again: before !== undefined, kept })
    for (const waiter of [...this.waiters]) waiter.settle()
  }

  private failed(attempt: AbortController, error: unknown): void {
    if (this.attempt !== attempt) return
    this.attempt = undefined
    this.attemptOver?.()
    if (this.state !== 'connecting') return
    this.clock.cancel(this.timer)
    if (this.again) {
      this.begin()
      return
    }
    const first = this.tunnel === undefined
    const goOn = !first || this.options.retryStart === true
    if (goOn && error instanceof CallError && !isFinal(error)) {
      this.retry(error, this.backoff.attemptFailed())
    } else this.stop(error)
  }

  private lost(tunnel: SupervisedTunnel, reason: CallError | undefined): void {
    if (this.tunnel !== tunnel || this.state !== 'ready') return
    const now = this.clock.now()
    const ms = now - this.upAt
    const error = reason ?? new CallError('ip', 'lost', 'CALL_ENDED', 'the server has ended the call')
    this.forsaken = this.inner.forsaken
    this.emit({ type: 'disconnected', error, ms })
    if (this.options.reconnect === false || isFinal(error)) {
      this.stop(error)
      return
    }
    if (this.flapping.callEnded(error.code, ms, now)) {
      this.stop(flappingError(error))
      return
    }
    this.holdTimer = this.clock.later(() => this.inner.reset(), this.options.hold ?? HOLD)
    this.retry(error, this.backoff.callEnded(ms))
  }

  private retry(error: CallError, wait: number): void {
    this.state = 'waiting'
    this.emit({ type: 'reconnecting', attempt: this.attempts + 1, wait, error })
    this.timer = this.clock.later(() => this.begin(), wait)
  }

  // ---------------------------------------------------------------- ends

  private async leave(): Promise<void> {
    const { state, tunnel, attempt } = this
    if (state === 'stopped') return
    this.state = 'closing'
    this.clock.cancel(this.timer)
    this.refuse()
    let timer: unknown
    const limit = new Promise<void>((resolve) => {
      timer = this.clock.later(resolve, CLOSE_TIMEOUT)
    })
    // The other ends are told by RST, in front of LCP's farewell.
    this.inner.closeSockets(tunnelDown())
    if (state === 'ready') await Promise.race([tunnel?.close().catch(() => {}), limit])
    if (state === 'connecting' && attempt !== undefined) {
      const over = new Promise<void>((resolve) => {
        this.attemptOver = resolve
      })
      attempt.abort(new DialError('aborted', 'given up'))
      await Promise.race([over, limit])
    }
    this.clock.cancel(timer)
    this.stop(undefined)
  }

  private stop(error: unknown): void {
    if (this.state === 'stopped') return
    this.state = 'stopped'
    this.attempt?.abort()
    for (const timer of [this.timer, this.holdTimer]) this.clock.cancel(timer)
    this.watch.stop()
    this.inner.close(tunnelDown())
    this.emit({ type: 'stopped', error })
    this.tellStopped(error)
    this.refuse()
  }

  private refuse(): void {
    for (const waiter of [...this.waiters]) waiter.settle(tunnelDown())
  }

  private emit(event: SupervisorEvent): void {
    this.options.onEvent?.(event)
  }
}

/** The network behind whatever call is up. */
class Face implements Network {
  private readonly tunnel: () => Network
  constructor(tunnel: () => Network) {
    this.tunnel = tunnel
  }

  get dnsServers(): readonly string[] {
    return this.tunnel().dnsServers
  }

  get searchDomains(): readonly string[] {
    return this.tunnel().searchDomains ?? []
  }

  get families(): { readonly ipv4: boolean; readonly ipv6: boolean } {
    return this.tunnel().families
  }

  connect(to: Endpoint, options?: DialOptions): Promise<Flow> {
    return this.tunnel().connect(to, options)
  }

  openUdp(options?: UdpOptions): UdpFlow {
    return this.tunnel().openUdp(options)
  }

  listen(options: ListenOptions): FlowListener {
    return this.tunnel().listen(options)
  }
}

/** What another attempt would not mend: a wrong password, tried again and again, locks an account. */
function isFinal(error: CallError): boolean {
  return error.kind === 'refused' || error.kind === 'untrusted' || error.kind === 'local'
}

/** What names and routes the one has told holds in the other. IPv6 comes later than IPv4, and is not waited for. */
function sameAddress(a: TunnelInfo, b: TunnelInfo): boolean {
  return a.ipv4 === b.ipv4 && (a.ipv4 !== undefined || a.ipv6 === b.ipv6)
}

/** Names that the one has told hold in the other. */
function sameServers(a: TunnelInfo, b: TunnelInfo): boolean {
  return a.dns.length === b.dns.length && a.dns.every((server, i) => server === b.dns[i])
}

function flappingError(last: CallError): CallError {
  const message =
    'the server ends each call soon after it came up: somebody else seems to use the same account, ' +
    `and each of you throws the other out (the last time it said: ${last.message})`
  const hint = 'end the other client, use an account of its own, or let the server allow several calls for it'
  return new CallError('ip', 'lost', 'FLAPPING', message, hint)
}

function tunnelDown(): DialError {
  return new DialError('tunnel-down', 'the tunnel has gone')
}
