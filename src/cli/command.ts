import type { Options } from 'yargs'
import type { Deps } from './deps.js'

/** One command of the program. */
export interface Command {
  /** As yargs wants it: the name and the positional arguments; `$0` beside it for the default. */
  readonly usage: string | readonly string[]
  readonly describe: string
  readonly positionals: Readonly<Record<string, string>>
  readonly options: Readonly<Record<string, Options>>
  /** What stands behind `--` is a command, and becomes the option `command`, a list of words. */
  readonly takesCommand?: boolean
  /** Lines to copy, for the help. */
  readonly examples?: readonly (readonly [line: string, what: string])[]
  /** `options` are the flags and positional arguments, by their names in camel case. Resolves to the exit status. */
  run(options: Readonly<Record<string, unknown>>, deps: Deps): Promise<number>
}

export const SERVER = 'sstp://[user@]host[:port] or host[:port]; IPv6 in brackets; port 443 unless told'
