/** One question after the other to an {@link Authenticator}, which may take its time. */
import { PppError } from '../errors.js'
import type { Authenticator, AuthPending, AuthRequest, AuthVerdict } from './authenticator.js'

const NEVER = Number.POSITIVE_INFINITY
/** Milliseconds after which nobody waits for a verdict any more: a person may be asked for it. */
const PATIENCE = 120_000

export class Question {
  readonly #authenticator: Authenticator
  readonly #onActivity: () => void
  #pending: AuthPending | undefined
  #deadline = NEVER

  constructor(authenticator: Authenticator, onActivity: () => void) {
    this.#authenticator = authenticator
    this.#onActivity = onActivity
  }

  /** Is one open? */
  get open(): boolean {
    return this.#pending !== undefined
  }

  /** @returns the verdict if it is known at once; else look again with {@link take} */
  ask(request: AuthRequest, now: number): AuthVerdict | undefined {
    this.close()
    this.#pending = this.#authenticator.ask(request, this.#onActivity)
    this.#deadline = now + PATIENCE
    return this.take(now)
  }

  /** The verdict, once, when it is known, or when it has not come for too long. */
  take(now: number): AuthVerdict | undefined {
    const pending = this.#pending
    if (pending === undefined) return undefined
    const { verdict } = pending
    if (verdict !== undefined) {
      this.#pending = undefined
      this.#deadline = NEVER
      return verdict
    }
    if (now < this.#deadline) return undefined
    this.close()
    return { kind: 'error', message: `no verdict on the client within ${PATIENCE / 1000} s` }
  }

  nextTimeout(): number {
    return this.#deadline
  }

  close(): void {
    this.#pending?.cancel()
    this.#pending = undefined
    this.#deadline = NEVER
  }
}

/** Why a server lets a client go. */
export function refusalOf(verdict: AuthVerdict): PppError {
  if (verdict.kind === 'error') return new PppError('auth', 'AUTH_UNAVAILABLE', verdict.message, 'local')
  return new PppError('auth', 'AUTH_REFUSED', 'the client has no right user name and password')
}
