import type { Deps, StopSignal } from './deps.js'
import { Interrupted, OutputError, signalStatus } from './exit.js'

const SIGNALS: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP']

/**
 * Waits for SIGINT, SIGTERM and SIGHUP: the first asks for a proper end, the second ends the process at
 * once. Output that cannot be written asks for the end as well.
 */
export class Stop {
  /** Aborted by the first signal, or when the output fails. */
  readonly signal: AbortSignal
  /** Resolves with the first signal; rejects with {@link OutputError}. */
  readonly requested: Promise<StopSignal>
  #received: StopSignal | undefined
  #lost: OutputError | undefined
  readonly #release: (() => void)[]

  constructor(deps: Pick<Deps, 'onSignal' | 'onOutputError' | 'exitNow'>) {
    const controller = new AbortController()
    this.signal = controller.signal
    let resolve: (signal: StopSignal) => void
    let reject: (error: OutputError) => void
    this.requested = new Promise((done, fail) => {
      resolve = done
      reject = fail
    })
    // A command that is over in a moment does not wait for it.
    this.requested.catch(() => {})
    this.#release = SIGNALS.map((name) =>
      deps.onSignal(name, () => {
        if (this.#received !== undefined) return deps.exitNow(signalStatus(name))
        this.#received = name
        resolve(name)
        controller.abort()
      }),
    )
    const release = deps.onOutputError?.((error) => {
      this.#lost ??= new OutputError(error)
      reject(this.#lost)
      controller.abort()
    })
    if (release !== undefined) this.#release.push(release)
  }

  get received(): StopSignal | undefined {
    return this.#received
  }

  /** Throws {@link OutputError} if what was printed went nowhere. */
  checkOutput(): void {
    if (this.#lost !== undefined) throw this.#lost
  }

  /** Throws {@link Interrupted} if a signal came, {@link OutputError} if the output failed. */
  check(): void {
    this.checkOutput()
    if (this.#received !== undefined) throw new Interrupted(this.#received)
  }

  /** What `promise` becomes, or {@link Interrupted} if a signal comes first. */
  race<T>(promise: Promise<T>): Promise<T> {
    const interrupted = this.requested.then((signal): never => {
      throw new Interrupted(signal)
    })
    return Promise.race([interrupted, promise])
  }

  release(): void {
    for (const release of this.#release) release()
  }
}
