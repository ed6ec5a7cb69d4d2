import { UsageError } from '../config/errors.js'
import { formatPlace, type Place } from '../config/values.js'
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

/** The command of `run` cannot be started, in the words and with the status of a shell. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  /** 127: there is no such program; 126: it cannot be run. */
  readonly status: 126 | 127
  constructor(status: 126 | 127, message: string) {
    super(message)
    this.status = status
  }
}

export function exitStatus(error: unknown): number {
  if (error instanceof CommandError) return error.status
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
    error instanceof CommandError ||
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

/** Turns what the system says about a place to listen into a line that helps; other errors come back as they are. */
export function listenError(error: unknown, at: Place, option: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code !== 'string') return error
  const message = 'path' in at ? pathProblem(code, at.path) : portProblem(code, at.address, at.port)
  return message === undefined ? error : new UsageError(`${message} with ${option}`)
}

function portProblem(code: string, address: string, port: number): string | undefined {
  const where = `port ${port} on ${address}`
  switch (code) {
    case 'EADDRINUSE':
      return `${where} is in use by another program (perhaps a second sstp-socks): choose another port`
    case 'EACCES':
      return `${where} may not be used without privileges: choose a port from 1024`
    case 'EADDRNOTAVAIL':
      return `${address} is not an address of this machine: choose another`
    case 'ENOTFOUND':
    case 'EAFNOSUPPORT':
      return `${where} cannot be listened on (${code}): choose another address`
    default:
      return undefined
  }
}

function pathProblem(code: string, path: string): string | undefined {
  switch (code) {
    case 'EADDRINUSE':
      return `another program (perhaps a second sstp-socks) listens on ${formatPlace({ path })}: choose another path`
    case 'ENOTSOCK':
      return `${path} exists and is no socket: choose another path`
    case 'ENAMETOOLONG':
      return `${path} is too long for a unix socket: choose a shorter path`
    case 'ENOENT':
    case 'ENOTDIR':
      return `there is no directory for ${path}: make it, or choose another path`
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `${path} may not be made here (${code}): choose another path`
    default:
      return undefined
  }
}
