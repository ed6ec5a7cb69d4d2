import { type PingSettings, parseSettings, pingSchema } from '../config/schema.js'
import { DialError } from '../tunnel/dialer.js'
import { closeInTime, dialerOf, prepareCall, prepareNames, startCall } from './call.js'
import { type Command, SERVER } from './command.js'
import { Console } from './console.js'
import type { Deps, Tunnel } from './deps.js'
import { EXIT, exitStatus } from './exit.js'
import { pingOptions, tunnelOptions } from './options.js'
import { Stop } from './stop.js'

export const ping: Command = {
  usage: 'ping <server> <host>',
  describe: 'send ICMP echo requests through the tunnel; status 1 if nothing answers',
  positionals: { server: SERVER, host: 'name (looked up through the tunnel) or address' },
  options: { ...pingOptions, ...tunnelOptions },

  async run(options, deps) {
    const settings = parseSettings(pingSchema, options)
    const console = new Console(deps, settings, 'warn')
    const stop = new Stop(deps)
    try {
      const names = prepareNames(settings, console)
      const call = await prepareCall(settings, deps, console, stop)
      const tunnel = await startCall(call, deps, console, stop)
      try {
        const dialer = dialerOf(tunnel, names, deps)
        const [address] = await stop.race(dialer.resolve(settings.host, { signal: stop.signal }))
        if (address === undefined) throw new DialError('name-not-found', `${settings.host} has no address`)
        const times = await series(settings, address, tunnel, deps, console, stop)
        stop.checkOutput()
        return times.length > 0 ? EXIT.ok : EXIT.failed
      } finally {
        await closeInTime(deps, console, () => tunnel.close())
      }
    } catch (error) {
      console.fail(error)
      return exitStatus(error)
    } finally {
      stop.release()
    }
  },
}

/** Sends them one after the other until all are sent or a signal comes. Resolves to the round-trip times. */
async function series(
  settings: PingSettings,
  address: string,
  tunnel: Tunnel,
  deps: Deps,
  console: Console,
  stop: Stop,
): Promise<number[]> {
  const { host, size, count, interval } = settings
  const times: number[] = []
  let sent = 0
  console.print(`PING ${host === address ? host : `${host} (${address})`}: ${size} octets of data`)
  while (sent < count) {
    const seq = ++sent
    const began = deps.now()
    try {
      const answer = await tunnel.ping(address, { size, timeout: WAIT, signal: stop.signal })
      times.push(answer.ms)
      console.print(`${answer.size} octets from ${address}: seq=${seq} time=${answer.ms.toFixed(1)} ms`)
      console.emit({ event: 'reply', seq, address, size: answer.size, ms: answer.ms })
    } catch (error) {
      if (stop.signal.aborted) {
        sent-- // It was on its way, and nobody waited for the answer.
        break
      }
      if (!(error instanceof DialError) || error.code === 'tunnel-down') throw error
      console.print(`no answer from ${address}: seq=${seq} ${error.message}`)
      console.emit({ event: 'no-reply', seq, address, code: error.code, message: error.message })
    }
    if (sent === count || stop.signal.aborted) break
    await deps.sleep(Math.max(0, interval - (deps.now() - began)), stop.signal)
    if (stop.signal.aborted) break
  }
  summarise(host, sent, times, console)
  return times
}

function summarise(host: string, sent: number, times: readonly number[], console: Console): void {
  const lost = sent === 0 ? 0 : Math.round((100 * (sent - times.length)) / sent)
  console.print('')
  console.print(`--- ${host} ---`)
  console.print(`${sent} sent, ${times.length} answered, ${lost} % lost`)
  if (times.length === 0) {
    console.emit({ event: 'summary', sent, answered: 0, min: null, avg: null, max: null })
    return
  }
  const [min, max] = [Math.min(...times), Math.max(...times)]
  const avg = times.reduce((sum, ms) => sum + ms, 0) / times.length
  console.print(`round trip min/avg/max = ${[min, avg, max].map((ms) => ms.toFixed(1)).join('/')} ms`)
  console.emit({ event: 'summary', sent, answered: times.length, min, avg, max })
}

/** Milliseconds to wait for one answer. */
const WAIT = 4000
