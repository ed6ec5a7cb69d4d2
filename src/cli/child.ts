/** The command of `run`: found, started, told of signals, waited for. */
import { spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { constants as system } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Child, Deps, PassedSignal } from './deps.js'
import { CommandError } from './exit.js'

/** Starts it on our own standard input, output and error. */
export function startChild(command: readonly string[], env: Readonly<Record<string, string>>): Child {
  const [name = '', ...words] = command
  const child = spawn(name, words, { env, stdio: 'inherit' })
  return {
    ended: new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (status, signal) => resolve({ status, signal }))
    }),
    kill: (signal) => void child.kill(signal),
  }
}

/**
 * Throws {@link CommandError} if the system would not start it: before anybody is asked for a password. What Windows would start
 * is for Windows to say.
 */
export function checkCommand(name: string, path: string | undefined, platform = process.platform): void {
  if (platform === 'win32') return
  const places = name.includes('/') ? [name] : (path ?? DEFAULT_PATH).split(delimiter)
  let found = false
  for (const place of places) {
    const file = place === name ? name : join(place || '.', name)
    try {
      if (statSync(file).isDirectory()) {
        found ||= place === name
        continue
      }
      found = true
      accessSync(file, constants.X_OK)
      return
    } catch {
      // The next place may have one.
    }
  }
  throw found ? notRunnable(name) : notFound(name)
}

/** What an error of starting it means to a shell. */
export function startError(error: unknown, name: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code !== 'string') return error
  return code === 'ENOENT' ? notFound(name) : notRunnable(name, ` (${code})`)
}

function notFound(name: string): CommandError {
  return new CommandError(127, `${name}: there is no such command`)
}

function notRunnable(name: string, why = ''): CommandError {
  return new CommandError(126, `${name}: it cannot be run${why}`)
}

/** As a shell tells how a command ended. */
export function statusOf(end: {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
}): number {
  if (end.signal === null) return end.status ?? 1
  return 128 + system.signals[end.signal]
}

/**
 * Passes signals on from now until the end of the command; from then on one ends us at once, with its status. What the
 * keys of a terminal send reaches the command by itself, and twice would be once too often: some programs take the
 * second ^C for impatience. Returns how to stop.
 */
export function passSignals(
  child: Child,
  deps: Pick<Deps, 'onSignal' | 'exitNow' | 'terminal'>,
): { readonly onEnd: (status: number) => void; readonly release: () => void } {
  let status: number | undefined
  const release = PASSED.map((name) =>
    deps.onSignal(name, () => {
      if (status !== undefined) deps.exitNow(status)
      else if (!deps.terminal || !FROM_KEYS.has(name)) child.kill(name)
    }),
  )
  return {
    onEnd: (known) => {
      status = known
    },
    release: () => {
      for (const end of release) end()
    },
  }
}

const PASSED: readonly PassedSignal[] =
  process.platform === 'win32'
    ? ['SIGINT', 'SIGTERM', 'SIGHUP']
    : ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']
const FROM_KEYS = new Set<PassedSignal>(['SIGINT', 'SIGQUIT'])

/** What execvp(3) takes without PATH. */
const DEFAULT_PATH = '/bin:/usr/bin'
