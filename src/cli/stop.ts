import type { Deps, StopSignal } from './deps.js'
import { Interrupted, signalStatus } from './exit.js'

const SIGNALS: readonly StopSignal[] = ['SIGINT', 'SIGTERM']

/** Waits for SIGINT and SIGTERM: the first asks for a proper end, the second ends the process at once. */
export class Stop {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal
  /** Resolves with the first signal. */
  readonly requested: Promise<StopSignal>
  #received: StopSignal | undefined
  readonly #release: (() => void)[]

  constructor(deps: Pick<Deps, 'onSignal' | 'exitNow'>) {
    const controller = new AbortController()
    this.signal = controller.signal
    let resolve: (signal: StopSignal) => void
    this.requested = new Promise((done) => {
      resolve = done
    })
    this.#release = SIGNALS.map((name) =>
      deps.onSignal(name, () => {
        if (this.#received !== undefined) return deps.exitNow(signalStatus(name))
        this.#received = name
        resolve(name)
        controller.abort()
      }),
    )
  }

  get received(): StopSignal | undefined {
    return this.#received
  }

  /** Throws {@link Interrupted} if a signal came. */
  check(): void {
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
