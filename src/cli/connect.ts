import { connectSchema, parseSettings } from '../config/schema.js'
import { formatEndpoint, isLoopback, type ListenAddress } from '../config/values.js'
import { logProxyEvent } from '../observe/logger.js'
import { CallError } from '../transport/errors.js'
import type { Dialer } from '../tunnel/dialer.js'
import { closeInTime, dialerOf, prepareCall, startCall } from './call.js'
import { type Command, SERVER } from './command.js'
import { Console } from './console.js'
import type { Deps, Listener, StopSignal, Tunnel } from './deps.js'
import { describeForScripts, EXIT, exitStatus, Interrupted, listenError } from './exit.js'
import { proxyOptions, tunnelOptions } from './options.js'
import { Stop } from './stop.js'

export const connect: Command = {
  usage: ['connect <server>', '$0'],
  describe: 'bring the tunnel up and serve its network as SOCKS5 and HTTP proxy (the default command)',
  positionals: { server: SERVER },
  options: { ...proxyOptions, ...tunnelOptions },
  examples: [
    ['$0 vpn.example.com --user alice', 'ask for the password and serve both proxies'],
    ['$0 vpn.example.com --socks 1080 --http 1080', 'both on one port'],
  ],

  async run(options, deps) {
    const settings = parseSettings(connectSchema, options)
    const console = new Console(deps, settings, 'warn')
    const stop = new Stop(deps)
    let ready = false
    let status: number = EXIT.ok
    let failure: unknown
    try {
      const call = await prepareCall(settings, deps, console, stop)
      const tunnel = await startCall(call, deps, console, stop)
      let proxies: Proxies | undefined
      try {
        proxies = await openProxies(settings, dialerOf(tunnel, settings.dns, deps), deps, console)
        ready = true
        announce(proxies, tunnel, settings.dns, console)
        await ended(tunnel, stop)
      } finally {
        await closeInTime(deps, console, async () => {
          if (proxies !== undefined) await closeAll(proxies)
          await tunnel.close()
        })
      }
    } catch (error) {
      failure = error
      // Whoever stops it before it is up has stopped it on request all the same.
      status = error instanceof Interrupted ? EXIT.ok : exitStatus(error)
    } finally {
      stop.release()
    }
    const error = status === EXIT.ok ? {} : { error: describeForScripts(failure) }
    if (status !== EXIT.ok) console.fail(failure)
    if (status === EXIT.lost && ready) console.emit({ event: 'disconnected', ...error })
    const signal = stop.received === undefined ? {} : { signal: stop.received }
    console.emit({ event: 'stopped', status, ...signal, ...error })
    return status
  },
}

/** What serves which; the same listener twice if both share one port. */
export interface Proxies {
  readonly socks: Listener | undefined
  readonly http: Listener | undefined
}

/** Opens what is wanted, or nothing: if the second port is taken, the first is closed again. */
export async function openProxies(
  wanted: { readonly socks: ListenAddress | null; readonly http: ListenAddress | null },
  dialer: Dialer,
  deps: Deps,
  console: Console,
): Promise<Proxies> {
  const open = async (at: ListenAddress, socks: boolean, http: boolean): Promise<Listener> => {
    try {
      return await deps.listenProxy({
        ...at,
        protocols: { socks, http },
        dialer,
        onEvent: (event) => logProxyEvent(console.logger, event),
      })
    } catch (error) {
      const option = socks && http ? '--socks and --http' : socks ? '--socks' : '--http'
      throw listenError(error, at, option)
    }
  }
  const { socks, http } = wanted
  for (const at of new Set([socks?.address, http?.address])) {
    if (at !== undefined && !isLoopback(at)) {
      console.warn(`the proxies on ${at} ask for no password: whoever reaches them is in the remote network`)
    }
  }
  if (socks !== null && socks.address === http?.address && socks.port === http.port) {
    const both = await open(socks, true, true)
    return { socks: both, http: both }
  }
  const first = socks === null ? undefined : await open(socks, true, false)
  try {
    return { socks: first, http: http === null ? undefined : await open(http, false, true) }
  } catch (error) {
    await first?.close()
    throw error
  }
}

export async function closeAll(proxies: Proxies): Promise<void> {
  await Promise.all([...new Set([proxies.socks, proxies.http])].map((listener) => listener?.close()))
}

function announce(proxies: Proxies, tunnel: Tunnel, dns: readonly string[], console: Console): void {
  const { info } = tunnel
  const servers = dns.length > 0 ? dns : info.dns
  const at = (listener: Listener | undefined) =>
    listener === undefined ? null : { address: listener.address, port: listener.port }
  console.emit({
    event: 'ready',
    socks: at(proxies.socks),
    http: at(proxies.http),
    tunnel: {
      ipv4: info.ipv4 ?? null,
      ipv6: info.ipv6 ?? null,
      peer: info.peer ?? null,
      dns: servers,
      mtu: info.mtu,
      auth: info.auth,
      server: info.server,
    },
  })
  const own = [info.ipv4, info.ipv6].filter((address) => address !== undefined).join(' and ')
  console.print(`Connected to ${info.server} (${info.auth}) as ${own || 'nobody'}, MTU ${info.mtu}.`)
  console.print(
    servers.length === 0 ? 'No DNS server: use addresses, or give --dns ADDR.' : `DNS ${servers.join(', ')}.`,
  )
  for (const line of proxyLines(proxies)) console.print(line)
  console.print('Stop with Ctrl-C.')
}

/** What listens where, and lines to copy. */
export function proxyLines(proxies: Proxies): string[] {
  const socks = proxies.socks === undefined ? undefined : reachable(proxies.socks)
  const http = proxies.http === undefined ? undefined : reachable(proxies.http)
  const lines: string[] = []
  if (socks !== undefined) lines.push('', `SOCKS5 proxy on ${socks}`)
  if (socks !== undefined) lines.push(`  curl --socks5-hostname ${socks} http://host.inside/`)
  if (socks !== undefined) lines.push(`  export ALL_PROXY=socks5h://${socks}`)
  if (http !== undefined) lines.push('', `HTTP proxy on ${http}`)
  if (http !== undefined) lines.push(`  curl -x http://${http} http://host.inside/`)
  if (http !== undefined) lines.push(`  export http_proxy=http://${http} https_proxy=http://${http}`)
  return [...lines, '']
}

/** An address to connect to: one that listens everywhere is here too. */
function reachable(listener: Listener): string {
  const here = { '0.0.0.0': '127.0.0.1', '::': '::1' }[listener.address] ?? listener.address
  return formatEndpoint(here, listener.port)
}

/** Resolves when a signal asks for the end; rejects when the tunnel goes first. */
async function ended(tunnel: Tunnel, stop: Stop): Promise<StopSignal> {
  const lost = tunnel.closed.then((error): never => {
    throw error ?? new CallError('ip', 'lost', 'CALL_ENDED', 'the server has ended the call')
  })
  return Promise.race([stop.requested, lost])
}
