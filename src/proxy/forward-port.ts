import { DialError } from '../tunnel/dialer.js'
import type { SetTimer } from './client.js'

/**
 * Keeps something open in a tunnel that may come and go: what closes with the tunnel is opened again as soon as that
 * works, tried at growing intervals.
 */
export class Reopening {
  readonly #open: () => void
  readonly #setTimer: SetTimer
  readonly #onFailure: (error: unknown) => void
  /** What was open is tried again at once. */
  #wait = 0
  #cancel: (() => void) | undefined
  #closed = false

  /** `open` throws {@link DialError}; `onFailure` is told what else than a tunnel that is down keeps it closed. */
  constructor(open: () => void, setTimer: SetTimer, onFailure: (error: unknown) => void) {
    this.#open = open
    this.#setTimer = setTimer
    this.#onFailure = onFailure
  }

  /** Throws what another attempt would not mend. */
  start(): void {
    try {
      this.#open()
    } catch (error) {
      if (!isDown(error)) throw error
      this.again()
    }
  }

  /** It has closed. */
  again(): void {
    if (this.#closed) return
    this.#cancel ??= this.#setTimer(() => {
      this.#cancel = undefined
      this.#try()
    }, this.#wait)
    this.#wait = Math.min(Math.max(2 * this.#wait, FIRST), MOST)
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
    this.#cancel = undefined
  }

  #try(): void {
    try {
      this.#open()
      this.#wait = 0
    } catch (error) {
      if (!isDown(error)) this.#onFailure(error)
      this.again()
    }
  }
}

function isDown(error: unknown): boolean {
  return error instanceof DialError && (error.code === 'tunnel-down' || error.code === 'tunnel-reconnecting')
}

/** Milliseconds between two attempts, the first time and at most. */
const FIRST = 500
const MOST = 8000
