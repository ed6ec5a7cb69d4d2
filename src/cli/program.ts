import { createRequire } from 'node:module'
import yargs from 'yargs'
import { UsageError } from '../config/errors.js'
import { check } from './check.js'
import type { Command } from './command.js'
import { connect } from './connect.js'
import { printFailure } from './console.js'
import { demo } from './demo.js'
import type { Deps } from './deps.js'
import { EXIT, exitStatus } from './exit.js'
import { ncCommand } from './nc-command.js'
import { ping } from './ping.js'
import { resolve } from './resolve.js'
import { run as runCommand } from './run.js'
import { serve } from './serve.js'

const COMMANDS: readonly Command[] = [connect, runCommand, serve, demo, check, ping, resolve, ncCommand]

const EPILOGUE = `Exit status: 0 ended on request, 1 no answer or an internal error, 2 usage or configuration,
3 the server cannot be reached, 4 it is not trusted, 5 it refuses the credentials,
6 it does not speak SSTP properly, 7 the tunnel was lost.
A signal (SIGINT, SIGTERM, SIGHUP) asks for a proper end. Before check, ping or resolve has a result, also
during the set-up or at the prompt, the status is 128 and the signal's number (130, 143, 129); a second
signal ends every command so, at once.`

interface Chosen {
  readonly command: Command
  readonly options: Readonly<Record<string, unknown>>
}

/** The whole program: resolves to the exit status. Rejects never. */
export async function run(argv: readonly string[], deps: Deps): Promise<number> {
  try {
    const parsed = parse(detached(argv))
    if (typeof parsed === 'string') {
      deps.stdout(`${parsed}\n`)
      return EXIT.ok
    }
    return await parsed.command.run(parsed.options, deps)
  } catch (error) {
    printFailure(deps, error)
    return exitStatus(error)
  }
}

/** The command with its options, or the text that was asked for (`--help`, `--version`). */
function parse(argv: readonly string[]): Chosen | string {
  refuseEarly(argv)
  let chosen: Chosen | undefined
  let text = ''
  const parser = yargs()
    .scriptName('sstp-socks')
    .usage('$0 <command>: the network behind an SSTP server as SOCKS5 and HTTP proxy, without root')
    .locale('en')
    .parserConfiguration({
      // Every value is text and every name stands as it is; `config/schema.ts` gives them meaning.
      'boolean-negation': false,
      'dot-notation': false,
      'duplicate-arguments-array': true,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'strip-aliased': true,
      'strip-dashed': true,
    })
    .exitProcess(false)
    .strict()
    .showHelpOnFail(false)
    .wrap(110)
    .version(version())
    .alias('version', 'V')
    .alias('help', 'h')
    // No epilogue here: that of the default command is shown too.
    .fail((message: string | null, error: Error | undefined) => {
      throw usage(explain(error?.message ?? message ?? 'the command line cannot be read', argv))
    })
  for (const command of COMMANDS) {
    parser.command(
      [...(typeof command.usage === 'string' ? [command.usage] : command.usage)],
      command.describe,
      (builder) => {
        for (const [name, describe] of Object.entries(command.positionals)) {
          builder.positional(name, { type: 'string', describe })
        }
        builder.options({ ...command.options }).epilogue(EPILOGUE)
        for (const [line, what] of command.examples ?? []) builder.example(line, what)
      },
      ({ _: words, $0: _name, help: _help, version: _version, ...options }) => {
        // What stands behind `--`.
        const extra = words.slice(typeof command.usage === 'string' ? 1 : words[0] === 'connect' ? 1 : 0)
        if (command.takesCommand === true) {
          chosen = { command, options: { ...settingsOf(options), command: extra.map(String) } }
          return
        }
        if (extra.length > 0) throw usage(surplus(extra))
        chosen = { command, options: settingsOf(options) }
      },
    )
  }
  parser.parse([...argv], {}, (_error: unknown, _arguments: unknown, output: string) => {
    text = output
  })
  return chosen ?? text
}

/** Names of flags to names of settings; a setting that was not given is left out. */
function settingsOf(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { noIpv6, noReconnect, ...rest } = options
  return {
    ...rest,
    ...(noIpv6 === true ? { ipv6: false } : {}),
    ...(noReconnect === true ? { reconnect: false } : {}),
  }
}

/** `-L8022:host:22`, as ssh takes it, in two words: yargs would see many short options. */
function detached(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  return argv.flatMap((word, at) =>
    (end < 0 || at < end) && /^-[LR][^=]/.test(word) ? [word.slice(0, 2), word.slice(2)] : [word],
  )
}

function usage(message: string): UsageError {
  return new UsageError(`${message} (see sstp-socks --help)`)
}

/** What yargs would take for something else than was meant. */
function refuseEarly(argv: readonly string[]): void {
  const flags = new Set(
    COMMANDS.flatMap(({ options }) => Object.entries(options))
      .filter(([, { type }]) => type === 'boolean')
      .map(([name]) => name),
  )
  for (const word of optionsOf(argv)) {
    const [, name] = /^--([^=]+)=/.exec(word) ?? []
    if (name !== undefined && flags.has(name)) throw usage(`--${name}: takes no value`)
  }
}

/** yargs says it in its own words and in camel case; this says it as it was typed. */
function explain(message: string, argv: readonly string[]): string {
  const [, got] = /^Not enough non-option arguments: got ([0-9]+)/.exec(message) ?? []
  if (got !== undefined) {
    const command = COMMANDS.find(({ usage: line }) => String(line).split(' ')[0] === argv[0]) ?? connect
    const missing = Object.keys(command.positionals).slice(Number(got))
    return `${missing.map((name) => `<${name}>`).join(' and ')} ${missing.length > 1 ? 'are' : 'is'} missing`
  }
  const [, wanting] = /^Not enough arguments following: (.+)$/.exec(message) ?? []
  if (wanting !== undefined) return `${dashed(wanting)}: wants a value`
  const [, list] = /^Unknown arguments?: (.+)$/s.exec(message) ?? []
  if (list === undefined) return message.charAt(0).toLowerCase() + message.slice(1)
  const names = new Set(list.split(', '))
  const options: string[] = []
  for (const word of optionsOf(argv)) {
    // Not what stands behind a =: it may be a secret.
    const [typed = ''] = word.split('=', 1)
    const short = !typed.startsWith('--')
    const known = short ? [...typed.slice(1)].some((letter) => names.has(letter)) : names.has(camel(typed))
    if (known || names.has(typed.replace(/^-+/, ''))) options.push(typed)
  }
  if (options.length > 0) return `unknown option ${[...new Set(options)].join(', ')}`
  return surplus([...names])
}

/** The words that begin with a dash, up to `--`. */
function optionsOf(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  return (end < 0 ? [...argv] : argv.slice(0, end)).filter((word) => /^-./.test(word))
}

function surplus(words: readonly (string | number)[]): string {
  return `${words.length > 1 ? 'arguments that nothing takes' : 'an argument that nothing takes'}: ${words.join(', ')}`
}

function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
}

function camel(typed: string): string {
  return typed.replace(/^-+/, '').replace(/-+(.)/g, (_all, letter: string) => letter.toUpperCase())
}

function version(): string {
  const manifest: unknown = createRequire(import.meta.url)('sstp-socks/package.json')
  const known = typeof manifest === 'object' && manifest !== null && 'version' in manifest
  return known ? String(manifest.version) : 'unknown'
}
