import { connectSchema, parseSettings } from '../config/schema.js'
import { announce, tell } from './announce.js'
import { type Command, SERVER } from './command.js'
import { Console } from './console.js'
import { describeForScripts, EXIT, exitStatus, Interrupted } from './exit.js'
import { serveStdio } from './forwards.js'
import {
  forwardOptions,
  nameOptions,
  proxyOptions,
  ruleOptions,
  stayOptions,
  stdioOptions,
  tunnelOptions,
} from './options.js'
import { Stop } from './stop.js'
import { withBridge } from './supervise.js'

export const connect: Command = {
  usage: ['connect <server>', '$0'],
  describe: 'bring the tunnel up and serve its network as SOCKS5 and HTTP proxy (the default command)',
  positionals: { server: SERVER },
  options: {
    ...proxyOptions,
    ...forwardOptions,
    ...stdioOptions,
    ...nameOptions,
    ...ruleOptions,
    ...stayOptions,
    ...tunnelOptions,
  },
  examples: [
    ['$0 vpn.example.com --user alice', 'ask for the password and serve both proxies'],
    ['$0 vpn.example.com --socks 1080 --http 1080', 'both on one port'],
    ['$0 vpn.example.com -L 8022:host.inside:22', 'and port 8022 of this machine leads there'],
  ],

  async run(options, deps) {
    const settings = parseSettings(connectSchema, options)
    const { stdio } = settings
    // Standard output is the connection's.
    const quiet = stdio === undefined ? {} : { stdout: () => {} }
    const console = new Console(
      { stdout: deps.stdout, stderr: deps.stderr, color: deps.color, ...quiet },
      settings,
      'warn',
    )
    const stop = new Stop(deps)
    let status: number = EXIT.ok
    let failure: unknown
    try {
      await withBridge(
        settings,
        deps,
        console,
        stop,
        (event, bridge) => tell(event, bridge, settings, console),
        async ({ supervisor, bridge, ended }) => {
          if (supervisor.info !== undefined) announce(bridge, supervisor.info, settings, console)
          if (stdio === undefined) await Promise.race([stop.requested, ended])
          else await stop.race(Promise.race([serveStdio(stdio, bridge.dialer, deps), ended]))
        },
      )
    } catch (error) {
      failure = error
      // Whoever stops it before it is up has stopped it on request all the same.
      status = error instanceof Interrupted ? EXIT.ok : exitStatus(error)
    } finally {
      stop.release()
    }
    const error = status === EXIT.ok ? {} : { error: describeForScripts(failure) }
    if (status !== EXIT.ok) console.fail(failure)
    const signal = stop.received === undefined ? {} : { signal: stop.received }
    console.emit({ event: 'stopped', status, ...signal, ...error })
    return status
  },
}
