import { parseSettings, type RunSettings, runSchema } from '../config/schema.js'
import { emitReady, tell } from './announce.js'
import type { Bridge } from './bridge.js'
import { checkCommand, passSignals, startError, statusOf } from './child.js'
import { type Command, SERVER } from './command.js'
import { Console } from './console.js'
import type { Deps, Listener } from './deps.js'
import { describeError, describeForScripts, exitStatus } from './exit.js'
import {
  forwardOptions,
  nameOptions,
  ruleOptions,
  runOptions,
  stayOptions,
  tunnelOptions,
} from './options.js'
import { firstOf, type OpenProxy, reachable } from './proxies.js'
import { runEnvironment } from './run-env.js'
import { Stop } from './stop.js'
import { withBridge } from './supervise.js'

export const run: Command = {
  usage: 'run <server>',
  describe:
    'the same for as long as a command runs, which finds the proxies in its environment: run <server> -- CMD',
  positionals: { server: SERVER },
  options: {
    ...runOptions,
    ...forwardOptions,
    ...nameOptions,
    ...ruleOptions,
    ...stayOptions,
    ...tunnelOptions,
  },
  examples: [
    ['$0 run vpn.example.com --user alice -- git clone https://git.inside/x', 'the tunnel for one command'],
    ['$0 run vpn.example.com --user alice -- bash', 'a shell whose programs use the tunnel'],
  ],
  takesCommand: true,

  async run(options, deps) {
    const settings = parseSettings(runSchema, options)
    // Standard output is the command's.
    const console = new Console(
      { stdout: deps.stderr, stderr: deps.stderr, color: deps.color },
      settings,
      'warn',
    )
    const stop = new Stop(deps)
    try {
      const [name = ''] = settings.command
      checkCommand(name, deps.env.PATH)
      let passing: ReturnType<typeof passSignals> | undefined
      try {
        const status = await withBridge(
          settings,
          deps,
          console,
          stop,
          (event, bridge) => tell(event, bridge, settings, console),
          async (bridged) => {
            stop.check()
            if (bridged.supervisor.info !== undefined) {
              emitReady(bridged.bridge, bridged.supervisor.info, settings, console)
            }
            const child = start(settings, bridged.bridge, deps)
            // From here on signals are the command's.
            passing = passSignals(child, deps)
            stop.release()
            let over = false
            bridged.ended.catch((error: unknown) => {
              if (!over) tellOfEnd(error, console)
            })
            try {
              const known = statusOf(await child.ended)
              passing.onEnd(known)
              return known
            } catch (error) {
              const problem = startError(error, name)
              passing.onEnd(exitStatus(problem))
              throw problem
            } finally {
              over = true
            }
          },
        )
        console.emit({ event: 'stopped', status })
        return status
      } finally {
        passing?.release()
      }
    } catch (error) {
      const status = exitStatus(error)
      console.fail(error)
      console.emit({ event: 'stopped', status, error: describeForScripts(error) })
      return status
    } finally {
      stop.release()
    }
  },
}

function start(settings: RunSettings, bridge: Bridge, deps: Deps) {
  const { proxies, login } = bridge
  const at = (listener: Listener | undefined) => (listener === undefined ? undefined : reachable(listener))
  // Hardly a program knows proxies on unix sockets.
  const usable = proxies.filter((proxy: OpenProxy) => proxy.listener.path === undefined)
  const found = { socks: at(firstOf(usable, 'socks')), http: at(firstOf(usable, 'http')), login }
  try {
    return deps.startChild(settings.command, runEnvironment(deps.env, found, deps.self))
  } catch (error) {
    throw startError(error, settings.command[0] ?? '')
  }
}

/** The command is not ours to end: it may have work to save, and nothing of it gets around the tunnel. */
function tellOfEnd(error: unknown, console: Console): void {
  const { message, hint } = describeError(error)
  const advice = hint === undefined ? '' : ` (${hint})`
  console.warn(`the tunnel is gone for good, and the command goes on without it: ${message}${advice}`)
}
