/** How long the set-up of a call may take, and whose signal ends it sooner. */
import { CallError, type Step } from '../transport/errors.js'
import type { TunnelOptions } from './options.js'

const DEFAULT_TIMEOUT = 60_000
/** From SSTP's agreement on: a person may have to say yes on a phone, which PPP gives 90 s. */
export const SIGN_IN_TIMEOUT = 110_000

export class SetupLimit {
  private readonly abort = new AbortController()
  private readonly outer: AbortSignal | undefined
  private limit: number
  /** Nobody has said how long: then signing in has its own time. */
  private readonly extends: boolean
  private readonly step: () => Step
  private timer: NodeJS.Timeout

  /** `step`: the one that is not done yet. */
  constructor(options: Pick<TunnelOptions, 'timeout' | 'signal'>, step: () => Step) {
    this.step = step
    this.limit = options.timeout ?? DEFAULT_TIMEOUT
    this.extends = options.timeout === undefined
    this.timer = setTimeout(this.tooSlow, this.limit)
    this.outer = options.signal
    if (this.outer?.aborted) this.onOuter()
    this.outer?.addEventListener('abort', this.onOuter, { once: true })
  }

  get signal(): AbortSignal {
    return this.abort.signal
  }

  /** SSTP is agreed on. */
  signingIn(): void {
    if (!this.extends) return
    clearTimeout(this.timer)
    this.limit = SIGN_IN_TIMEOUT
    this.timer = setTimeout(this.tooSlow, this.limit)
  }

  /** The set-up is over, well or not. */
  end(): void {
    clearTimeout(this.timer)
    this.outer?.removeEventListener('abort', this.onOuter)
  }

  private readonly onOuter = (): void => this.abort.abort(this.outer?.reason)

  private readonly tooSlow = (): void => this.abort.abort(setupTimeout(this.step(), this.limit))
}

/** `step` was not done within `limit` milliseconds of the set-up. */
function setupTimeout(step: Step, limit: number): CallError {
  const kind = step === 'dns' || step === 'tcp' || step === 'tls' ? 'unreachable' : 'protocol'
  const what = { dns: 'DNS', tcp: 'TCP', tls: 'TLS', http: 'HTTP', sstp: 'SSTP', auth: 'PPP', ip: 'IP' }[step]
  const message = `no progress in ${what} within ${Math.round(limit / 1000)} s: the server does not answer`
  return new CallError(step, kind, 'SETUP_TIMEOUT', message, '--timeout SECONDS allows more time')
}
