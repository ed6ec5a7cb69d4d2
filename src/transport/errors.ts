/** The seven steps of a call, in order; `check` prints one line for each. */
export const STEPS = ['dns', 'tcp', 'tls', 'http', 'sstp', 'auth', 'ip'] as const
export type Step = (typeof STEPS)[number]

/**
 * What a failure means to whoever started the call; `src/cli/exit.ts` maps it to an exit status.
 *
 * - `unreachable`: no name, no route, nobody listens, nobody answers
 * - `untrusted`: TLS came up but the certificate is not one we accept
 * - `refused`: the server does not take these credentials
 * - `protocol`: the other end does not speak SSTP, or breaks its rules
 * - `lost`: the call was up and ended
 * - `local`: our own configuration cannot work
 */
export type CallErrorKind = 'unreachable' | 'untrusted' | 'refused' | 'protocol' | 'lost' | 'local'

/** A call that did not come up, or ended: where, a stable code, whose fault, and one line for people. */
export class CallError extends Error {
  override readonly name = 'CallError'
  readonly step: Step
  readonly kind: CallErrorKind
  /** Stable, upper case, e.g. `TLS_UNTRUSTED`, `AUTH_REFUSED`, `HTTP_NOT_SSTP`. */
  readonly code: string
  /** What the user can do about it; one line. */
  readonly hint: string | undefined
  constructor(step: Step, kind: CallErrorKind, code: string, message: string, hint?: string) {
    super(message)
    this.step = step
    this.kind = kind
    this.code = code
    this.hint = hint
  }
}
