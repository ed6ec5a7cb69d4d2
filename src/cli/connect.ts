import { type ConnectSettings, connectSchema, parseSettings } from '../config/schema.js'
import { formatEndpoint, isLoopback, type ListenAddress } from '../config/values.js'
import { logProxyEvent, logTunnelEvent } from '../observe/logger.js'
import { CallError } from '../transport/errors.js'
import type { Dialer } from '../tunnel/dialer.js'
import type { SupervisorEvent, TunnelInfo } from '../tunnel/events.js'
import type { TunnelOptions } from '../tunnel/options.js'
import { Supervisor } from '../tunnel/supervisor.js'
import { waitingDialer } from '../tunnel/waiting-dialer.js'
import { closeInTime, prepareCall } from './call.js'
import { type Command, SERVER } from './command.js'
import { Console } from './console.js'
import type { Deps, Listener } from './deps.js'
import { describeError, describeForScripts, EXIT, exitStatus, Interrupted, listenError } from './exit.js'
import { proxyOptions, stayOptions, tunnelOptions } from './options.js'
import { Stop } from './stop.js'

export const connect: Command = {
  usage: ['connect <server>', '$0'],
  describe: 'bring the tunnel up and serve its network as SOCKS5 and HTTP proxy (the default command)',
  positionals: { server: SERVER },
  options: { ...proxyOptions, ...stayOptions, ...tunnelOptions },
  examples: [
    ['$0 vpn.example.com --user alice', 'ask for the password and serve both proxies'],
    ['$0 vpn.example.com --socks 1080 --http 1080', 'both on one port'],
  ],

  async run(options, deps) {
    const settings = parseSettings(connectSchema, options)
    const console = new Console(deps, settings, 'warn')
    const stop = new Stop(deps)
    let status: number = EXIT.ok
    let failure: unknown
    try {
      const call = await prepareCall(settings, deps, console, stop)
      stop.check()
      let proxies: Proxies | undefined
      const supervisor = supervise(call, settings, deps, console, (event) => {
        if (proxies !== undefined) tell(event, proxies, settings.dns, console)
        // Before the first `ready` nothing is said on standard output.
        else if (event.type === 'reconnecting') warnOfAttempt(event, console)
      })
      try {
        await stop.race(supervisor.start())
        const names = settings.dns.length === 0 ? {} : { servers: settings.dns }
        const dialer = deps.createDialer({ network: () => supervisor.network, ...names })
        const opened = await openProxies(settings, waitingDialer(supervisor, dialer), deps, console)
        try {
          // It may have been lost meanwhile, and who reads that it is ready relies on it.
          await stop.race(Promise.race([supervisor.whenUp(Number.POSITIVE_INFINITY), ended(supervisor)]))
        } finally {
          proxies = opened
        }
        if (supervisor.info !== undefined) announce(proxies, supervisor.info, settings.dns, console)
        await Promise.race([stop.requested, ended(supervisor)])
      } finally {
        await closeInTime(deps, console, async () => {
          if (proxies !== undefined) await closeAll(proxies)
          await supervisor.close()
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

/** Says that traffic can flow, the first time and again. */
function emitReady(proxies: Proxies, info: TunnelInfo, dns: readonly string[], console: Console): void {
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
}

function announce(proxies: Proxies, info: TunnelInfo, dns: readonly string[], console: Console): void {
  emitReady(proxies, info, dns, console)
  const servers = dns.length > 0 ? dns : info.dns
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

/** Rejects when the tunnel is at its end. */
async function ended(supervisor: Supervisor): Promise<never> {
  throw (await supervisor.stopped) ?? new CallError('ip', 'lost', 'CALL_ENDED', 'the tunnel has ended')
}

function supervise(
  call: TunnelOptions,
  settings: ConnectSettings,
  deps: Deps,
  console: Console,
  onEvent: (event: SupervisorEvent) => void,
): Supervisor {
  const { reconnect, retryStart, reconnectWait, keepalive } = settings
  return new Supervisor({
    tunnel: {
      ...call,
      trace: console.logger.isLevelEnabled('debug'),
      onEvent: (event) => logTunnelEvent(console.logger, event),
      ...(keepalive === undefined ? {} : { keepAlive: { idle: keepalive } }),
    },
    open: deps.openTunnel,
    reconnect,
    retryStart,
    ...(reconnectWait === undefined ? {} : { reconnectWait }),
    ...deps.supervision,
    onEvent,
  })
}

function tell(event: SupervisorEvent, proxies: Proxies, dns: readonly string[], console: Console): void {
  switch (event.type) {
    case 'connecting':
    case 'stopped':
      return
    case 'probing':
      console.logger.info({ reason: event.reason }, 'asking the server for a sign of life')
      return
    case 'disconnected':
      console.emit({ event: 'disconnected', error: describeForScripts(event.error) })
      return
    case 'reconnecting': {
      const { attempt, wait, error } = event
      console.emit({ event: 'reconnecting', attempt, wait, error: describeForScripts(error) })
      warnOfAttempt(event, console)
      return
    }
    case 'ready': {
      emitReady(proxies, event.info, dns, console)
      const own = [event.info.ipv4, event.info.ipv6].filter((address) => address !== undefined)
      const fate = event.kept ? 'open connections go on' : 'open connections were ended'
      console.print(`Connected again as ${own.join(' and ') || 'nobody'}: ${fate}.`)
    }
  }
}

function warnOfAttempt(event: SupervisorEvent & { type: 'reconnecting' }, console: Console): void {
  const { message } = describeError(event.error)
  const when = event.wait < 1000 ? 'now' : `in ${Math.round(event.wait / 1000)} s`
  console.warn(`${message}: next attempt ${when}`)
}
