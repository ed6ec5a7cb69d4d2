import type { LogFormat, LogLevel } from '../config/schema.js'
import { createLogger, type Logger } from '../observe/logger.js'
import type { Deps } from './deps.js'
import { describeError, OutputError } from './exit.js'

/** What a command says: results on standard output, all else on standard error. */
export class Console {
  readonly logger: Logger
  readonly #deps: Pick<Deps, 'stdout' | 'stderr'>
  readonly #json: boolean
  readonly #jsonLogs: boolean

  constructor(
    deps: Pick<Deps, 'stdout' | 'stderr' | 'color'>,
    settings: {
      readonly json: boolean
      readonly logLevel?: LogLevel | undefined
      readonly logFormat: LogFormat
    },
    level: LogLevel,
  ) {
    this.#deps = deps
    this.#json = settings.json
    this.#jsonLogs = settings.logFormat === 'json'
    this.logger = createLogger({
      level: settings.logLevel ?? level,
      format: settings.logFormat,
      color: deps.color,
      write: deps.stderr,
    })
  }

  /** A line for people; nothing with `--json`. */
  print(line: string): void {
    if (!this.#json) this.#deps.stdout(`${line}\n`)
  }

  /** One object a line, with `--json` only. */
  emit(event: Readonly<Record<string, unknown>>): void {
    if (this.#json) this.#deps.stdout(`${JSON.stringify(event)}\n`)
  }

  warn(line: string): void {
    if (this.#jsonLogs) this.logger.warn(line)
    else this.#deps.stderr(`sstp-socks: warning: ${printable(line)}\n`)
  }

  /** Says why it is over. Among logs in JSON it is one of them, so that every line can be parsed. */
  fail(error: unknown): void {
    // Told by whoever noticed, when it happened.
    if (error instanceof OutputError) return
    const { message, hint, expected } = describeError(error)
    if (this.#jsonLogs) this.logger.error(hint === undefined ? {} : { hint }, message)
    else printFailure(this.#deps, error)
    if (!expected) this.logger.debug({ err: error }, 'where the internal error came from')
  }
}

/** One line, and one more if there is advice. */
export function printFailure(deps: Pick<Deps, 'stderr'>, error: unknown): void {
  const { message, hint } = describeError(error)
  deps.stderr(`sstp-socks: ${printable(message)}\n`)
  if (hint !== undefined) deps.stderr(`  hint: ${printable(hint)}\n`)
}

/** Text on one line that does nothing to a terminal: peers choose some of it. */
export function printable(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').replace(/\p{Cc}/gu, '?')
}
