import { parseSettings, tunnelSchema } from '../config/schema.js'
import { tenths } from '../observe/logger.js'
import { CallError, STEPS, type Step } from '../transport/errors.js'
import type { TunnelEvent } from '../tunnel/events.js'
import { closeInTime, prepareCall, startCall } from './call.js'
import { type Command, SERVER } from './command.js'
import { Console, printable } from './console.js'
import type { Deps, Tunnel } from './deps.js'
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
      const known = new AbortController()
      const tunnel = await startCall(call, deps, console, stop, (event) => {
        report.event(event)
        if (event.type === 'changed' && event.info.ipv6 !== undefined) known.abort()
      })
      stop.signal.addEventListener('abort', () => known.abort())
      if (settings.ipv6) await waitForIpv6(tunnel, deps, known.signal)
      report.up(tunnel.info.ipv6)
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

/** Beside IPv4 it comes later, from a router or by DHCPv6, and nothing tells that it will not. */
async function waitForIpv6(tunnel: Tunnel, deps: Pick<Deps, 'sleep'>, known: AbortSignal): Promise<void> {
  if (tunnel.info.ipv6 !== undefined) return
  const lost = tunnel.closed.then((error) => {
    if (error !== undefined) throw error
  })
  await Promise.race([deps.sleep(IPV6_PATIENCE, known), lost])
}

/** Milliseconds: a router may take half a second for its answer (RFC 4861 6.2.6). */
const IPV6_PATIENCE = 1000

const NAMES: Readonly<Record<Step, string>> = {
  dns: 'DNS',
  tcp: 'TCP',
  tls: 'TLS',
  http: 'HTTP',
  sstp: 'SSTP',
  auth: 'PPP-auth',
  ip: 'IP',
}

type StepEvent = Extract<TunnelEvent, { readonly type: 'step' }>

/** One line for each step, in order, as soon as it is known. */
class Report {
  readonly #console: Console
  /** Steps not printed yet. */
  readonly #left = new Set<Step>(STEPS)
  /** The last step, whose line waits for the address of the other family. */
  #last: StepEvent | undefined

  constructor(console: Console) {
    this.#console = console
  }

  event(event: TunnelEvent): void {
    if (event.type !== 'step' || !this.#left.has(event.step)) return
    this.#passed(event.step)
    this.#left.delete(event.step)
    if (event.step === 'ip') this.#last = event
    else this.#agreed(event)
  }

  #agreed({ step, ms, detail }: StepEvent): void {
    const agreed = Object.entries(detail).map(([name, value]) => `${name}=${value}`)
    this.#line(step, 'ok', `${ms.toFixed(0)} ms`, agreed.join(' '))
    this.#console.emit({ step, status: 'ok', ms: tenths(ms), detail })
  }

  /** The call is up; `ipv6` may be the one address that was told of already. */
  up(ipv6: string | undefined): void {
    if (this.#last !== undefined && ipv6 !== undefined && ipv6 !== this.#last.detail.address) {
      const { address = '', ...more } = this.#last.detail
      this.#last = { ...this.#last, detail: { address, ipv6, ...more } }
    }
    this.#flush()
    this.#passed(undefined)
  }

  #flush(): void {
    if (this.#last !== undefined) this.#agreed(this.#last)
    this.#last = undefined
  }

  /** The call did not come up. */
  end(error: CallError): void {
    this.#flush()
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
