import { UsageError } from '../config/errors.js'
import type { ListenAddress } from '../config/values.js'
import { AccountsError } from '../gateway/accounts.js'
import { PoolError } from '../gateway/address-pool.js'
import { CertificateError } from '../gateway/certificate.js'
import { CallError, type CallErrorKind } from '../transport/errors.js'
import { DialError } from '../tunnel/dialer.js'
import type { StopSignal } from './deps.js'

/** The exit statuses that scripts rely on; signals add 128 and theirs. */
export const EXIT = {
  /** Ended on request, or did what was asked. */
  ok: 0,
  /** The answer is no (`ping`, `resolve`, `demo --once`), or a fault of our own. */
  failed: 1,
  usage: 2,
  unreachable: 3,
  untrusted: 4,
  refused: 5,
  protocol: 6,
  lost: 7,
} as const

const KINDS: Readonly<Record<CallErrorKind, number>> = {
  local: EXIT.usage,
  unreachable: EXIT.unreachable,
  untrusted: EXIT.untrusted,
  refused: EXIT.refused,
  protocol: EXIT.protocol,
  lost: EXIT.lost,
}

const NUMBERS: Readonly<Record<StopSignal, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }

/** The status of a process that a signal has ended. */
export function signalStatus(signal: StopSignal): number {
  return 128 + NUMBERS[signal]
}

/** The command was given up because of a signal before it had a result. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  readonly signal: StopSignal
  constructor(signal: StopSignal) {
    super(`interrupted by ${signal}`)
    this.signal = signal
  }
}

/** What was said on standard output is lost: whoever relies on it must not wait for more. */
export class OutputError extends Error {
  override readonly name = 'OutputError'
  constructor(cause: Error) {
    super(`cannot write to standard output: ${cause.message}`)
  }
}

export function exitStatus(error: unknown): number {
  if (error instanceof CallError) return KINDS[error.kind]
  if (error instanceof DialError) return error.code === 'tunnel-down' ? EXIT.lost : EXIT.failed
  if (error instanceof Interrupted) return signalStatus(error.signal)
  return isConfiguration(error) ? EXIT.usage : EXIT.failed
}

/** What an error says to people; `expected`: it is no fault of ours, so that a stack would not help. */
export function describeError(error: unknown): {
  readonly message: string
  readonly hint: string | undefined
  readonly expected: boolean
} {
  if (error instanceof CallError) {
    return { message: `${error.message} [${error.code}]`, hint: error.hint, expected: true }
  }
  const expected =
    isConfiguration(error) ||
    error instanceof DialError ||
    error instanceof Interrupted ||
    error instanceof OutputError
  const message = error instanceof Error ? error.message : String(error)
  return { message: expected ? message : `internal error: ${message}`, hint: undefined, expected }
}

/** The same as fields of a JSON line. */
export function describeForScripts(error: unknown): Record<string, string | undefined> {
  if (error instanceof CallError) {
    const { step, kind, code, message, hint } = error
    return { step, kind, code, message, hint }
  }
  return { message: error instanceof Error ? error.message : String(error) }
}

function isConfiguration(error: unknown): boolean {
  return (
    error instanceof UsageError ||
    error instanceof AccountsError ||
    error instanceof PoolError ||
    error instanceof CertificateError
  )
}

/** Turns what the system says about a port into a line that helps; other errors come back as they are. */
export function listenError(error: unknown, at: ListenAddress, option: string): unknown {
  const where = `port ${at.port} on ${at.address}`
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'EADDRINUSE':
      return new UsageError(
        `${where} is in use by another program (perhaps a second sstp-socks): choose another port with ${option}`,
      )
    case 'EACCES':
      return new UsageError(
        `${where} may not be used without privileges: choose a port from 1024 with ${option}`,
      )
    case 'EADDRNOTAVAIL':
      return new UsageError(`${at.address} is not an address of this machine: choose another with ${option}`)
    case 'ENOTFOUND':
    case 'EAFNOSUPPORT':
      return new UsageError(`${where} cannot be listened on (${code}): choose another address with ${option}`)
    default:
      return error
  }
}
