import { parseSettings, tunnelSchema } from '../config/schema.js'
import { tenths } from '../observe/logger.js'
import { CallError, STEPS, type Step } from '../transport/errors.js'
import type { TunnelEvent } from '../tunnel/events.js'
import { closeInTime, prepareCall, startCall } from './call.js'
import { type Command, SERVER } from './command.js'
import { Console, printable } from './console.js'
import { EXIT, exitStatus } from './exit.js'
import { tunnelOptions } from './options.js'
import { Stop } from './stop.js'

export const check: Command = {
  usage: 'check <server>',
  describe: 'go the seven steps of a call, say what was agreed in each, and hang up',
  positionals: { server: SERVER },
  options: tunnelOptions,
  examples: [['$0 check vpn.example.com --user alice', 'where does it stop, and why?']],

  async run(options, deps) {
    const settings = parseSettings(tunnelSchema, options)
    const console = new Console(deps, settings, 'warn')
    const stop = new Stop(deps)
    const report = new Report(console)
    try {
      const call = await prepareCall(settings, deps, console, stop)
      const tunnel = await startCall(call, deps, console, stop, (event) => report.event(event))
      report.end(undefined)
      await closeInTime(deps, console, () => tunnel.close())
      stop.checkOutput()
      return EXIT.ok
    } catch (error) {
      if (error instanceof CallError) report.end(error)
      else console.fail(error)
      return exitStatus(error)
    } finally {
      stop.release()
    }
  },
}

const NAMES: Readonly<Record<Step, string>> = {
  dns: 'DNS',
  tcp: 'TCP',
  tls: 'TLS',
  http: 'HTTP',
  sstp: 'SSTP',
  auth: 'PPP-auth',
  ip: 'IP',
}

/** One line for each step, in order, as soon as it is known. */
class Report {
  readonly #console: Console
  /** Steps not printed yet. */
  readonly #left = new Set<Step>(STEPS)

  constructor(console: Console) {
    this.#console = console
  }

  event(event: TunnelEvent): void {
    if (event.type !== 'step' || !this.#left.has(event.step)) return
    this.#passed(event.step)
    this.#left.delete(event.step)
    const { step, ms, detail } = event
    const agreed = Object.entries(detail).map(([name, value]) => `${name}=${value}`)
    this.#line(step, 'ok', `${ms.toFixed(0)} ms`, agreed.join(' '))
    this.#console.emit({ step, status: 'ok', ms: tenths(ms), detail })
  }

  /** The call is up, or did not come up. */
  end(error: CallError | undefined): void {
    if (error === undefined) {
      this.#passed(undefined)
      return
    }
    this.#passed(error.step)
    this.#left.delete(error.step)
    const { step, kind, code, message, hint } = error
    this.#line(step, 'FAIL', '', `${message} [${code}]`)
    if (hint !== undefined) this.#line(undefined, '', '', `hint: ${hint}`)
    this.#console.emit({ step, status: 'fail', kind, code, message, hint: hint ?? null })
    for (const later of this.#left) {
      this.#line(later, '-', '', '')
      this.#console.emit({ step: later, status: '-' })
    }
  }

  /** Whatever comes before a step that was reached has been passed, also if nothing was told of it. */
  #passed(reached: Step | undefined): void {
    for (const step of STEPS) {
      if (step === reached) return
      if (!this.#left.delete(step)) continue
      this.#line(step, 'ok', '', '')
      this.#console.emit({ step, status: 'ok', ms: null, detail: {} })
    }
  }

  #line(step: Step | undefined, status: string, ms: string, text: string): void {
    const name = step === undefined ? '' : NAMES[step]
    const line = `${name.padEnd(8)}  ${status.padEnd(4)}  ${ms.padStart(8)}  ${printable(text)}`
    this.#console.print(line.trimEnd())
  }
}
