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
import { ping } from './ping.js'
import { resolve } from './resolve.js'
import { serve } from './serve.js'

const COMMANDS: readonly Command[] = [connect, serve, demo, check, ping, resolve]

const EPILOGUE = `Exit status: 0 ended on request, 1 no answer or an internal error, 2 usage or configuration,
3 the server cannot be reached, 4 it is not trusted, 5 it refuses the credentials,
6 it does not speak SSTP properly, 7 the tunnel was lost.`

interface Chosen {
  readonly command: Command
  readonly options: Readonly<Record<string, unknown>>
}

/** The whole program: resolves to the exit status. Rejects never. */
export async function run(argv: readonly string[], deps: Deps): Promise<number> {
  try {
    const parsed = parse(argv)
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
    .epilogue(EPILOGUE)
    .fail((message: string | null, error: Error | undefined) => {
      throw usage(error?.message ?? message ?? 'the command line cannot be read')
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
        // What stands behind `--`, which no command takes.
        const extra = words.slice(typeof command.usage === 'string' ? 1 : words[0] === 'connect' ? 1 : 0)
        if (extra.length > 0) throw usage(`Unknown argument: ${extra.join(', ')}`)
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
  const { noIpv6, ...rest } = options
  return noIpv6 === true ? { ...rest, ipv6: false } : rest
}

function usage(message: string): UsageError {
  const plain = message.startsWith('Not enough non-option arguments')
    ? 'an argument is missing'
    : message.charAt(0).toLowerCase() + message.slice(1)
  return new UsageError(`${plain} (see sstp-socks --help)`)
}

function version(): string {
  const manifest: unknown = createRequire(import.meta.url)('sstp-socks/package.json')
  const known = typeof manifest === 'object' && manifest !== null && 'version' in manifest
  return known ? String(manifest.version) : 'unknown'
}
