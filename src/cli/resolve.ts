import { parseSettings, resolveSchema } from '../config/schema.js'
import { DialError } from '../tunnel/dialer.js'
import { closeInTime, dialerOf, prepareCall, prepareNames, startCall } from './call.js'
import { type Command, SERVER } from './command.js'
import { Console } from './console.js'
import { EXIT, exitStatus } from './exit.js'
import { tunnelOptions } from './options.js'
import { Stop } from './stop.js'

export const resolve: Command = {
  usage: 'resolve <server> <name>',
  describe: 'look a name up through the tunnel, one address a line; status 1 if it is not found',
  positionals: { server: SERVER, name: 'the name to look up' },
  options: tunnelOptions,

  async run(options, deps) {
    const settings = parseSettings(resolveSchema, options)
    const console = new Console(deps, settings, 'warn')
    const stop = new Stop(deps)
    try {
      const names = prepareNames(settings, console)
      const call = await prepareCall(settings, deps, console, stop)
      const tunnel = await startCall(call, deps, console, stop)
      try {
        const dialer = dialerOf(tunnel, names, deps)
        const found = dialer.resolve(settings.name, { signal: stop.signal })
        const addresses = await stop.race(found)
        for (const address of addresses) console.print(address)
        console.emit({ name: settings.name, addresses })
      } finally {
        await closeInTime(deps, console, () => tunnel.close())
      }
      stop.checkOutput()
      return EXIT.ok
    } catch (error) {
      console.fail(error)
      if (error instanceof DialError) {
        console.emit({
          name: settings.name,
          addresses: [],
          error: { code: error.code, message: error.message },
        })
      }
      return exitStatus(error)
    } finally {
      stop.release()
    }
  },
}
