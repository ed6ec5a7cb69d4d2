/** Every entrance of the bridge, over one dialer: opened together, closed together. */
import { checkOpen, findProxyLogin, type ProxyLogin } from '../config/proxy-login.js'
import { orderRules, readRules } from '../config/rules.js'
import type { BridgeSettings } from '../config/schema.js'
import { isLoopback } from '../config/values.js'
import { DnsLog } from '../observe/dns-log.js'
import { ProxyLog } from '../observe/proxy-log.js'
import { addressFilter } from '../proxy/access.js'
import { oneUser } from '../proxy/credentials.js'
import type { Forward } from '../proxy/forward.js'
import { pacPages } from '../proxy/pac.js'
import { createRouting } from '../proxy/routing.js'
import type { Rules } from '../proxy/rules.js'
import type { Dialer, Endpoint } from '../tunnel/dialer.js'
import type { Supervisor } from '../tunnel/supervisor.js'
import { waitingDialer } from '../tunnel/waiting-dialer.js'
import type { Console } from './console.js'
import type { Deps, Listener } from './deps.js'
import { listenError } from './exit.js'
import { closeForwards, openForwards } from './forwards.js'
import { namesOf } from './names.js'
import { closeProxies, endpointsOf, type OpenProxy, openProxies, type ProxyCommon } from './proxies.js'
import type { Stop } from './stop.js'

export interface Bridge {
  /** What all entrances dial with. */
  readonly dialer: Dialer
  readonly proxies: readonly OpenProxy[]
  readonly forwards: readonly Forward[]
  /** The DNS server of our own. */
  readonly dns: Listener | undefined
  /** Who must sign in to the proxies. */
  readonly login: ProxyLogin | undefined
  readonly rules: Rules
  close(): Promise<void>
}

/** What has to be read and asked before a tunnel is worth the trouble. */
export interface PreparedBridge {
  readonly names: ReturnType<typeof namesOf>
  readonly login: ProxyLogin | undefined
  readonly rules: Rules
}

/** Throws `UsageError`, `Interrupted`. */
export async function prepareBridge(
  settings: BridgeSettings,
  deps: Deps,
  console: Console,
  stop: Stop,
): Promise<PreparedBridge> {
  checkOpen(settings, deps.env)
  const names = namesOf(settings, console)
  const file = settings.rules === undefined ? [] : await stop.race(readRules(settings.rules))
  const rules = orderRules({ ...settings, file })
  const { ask } = deps
  const login = findProxyLogin(settings, {
    env: deps.env,
    readStdin: () => deps.readStdin(),
    signal: stop.signal,
    ask: ask === undefined ? undefined : (question, hidden) => ask(question, hidden, stop.signal),
  })
  return { names, login: await stop.race(login), rules }
}

/** Rejects with `UsageError` that names the option if something cannot be listened on; nothing is left open then. */
export async function openBridge(
  settings: BridgeSettings,
  { login, rules, names }: PreparedBridge,
  supervisor: Supervisor,
  deps: Deps,
  console: Console,
): Promise<Bridge> {
  const { onEvent } = new ProxyLog(console.logger, () => deps.now())
  // What was opened, the last first.
  const opened: (() => Promise<void>)[] = []
  const close = async (): Promise<void> => {
    for (const end of opened.splice(0)) await end()
  }
  let proxies: readonly OpenProxy[] = []
  let forwards: readonly Forward[] = []
  let dns: Listener | undefined
  const own = (): readonly Endpoint[] => [
    ...endpointsOf(proxies),
    ...forwards.flatMap(({ spec, locals }) => (spec.kind === 'local' ? locals : [])),
    ...(dns === undefined ? [] : [{ address: dns.address, port: dns.port }]),
  ]
  const routing = createRouting({ rules, own, directNames: settings.directNames ?? [] })
  opened.unshift(async () => routing.close())
  const tunnel = deps.createDialer({
    network: () => supervisor.network,
    elsewhere: routing.elsewhere,
    ...names,
  })
  // What goes directly does not wait for the tunnel.
  const dialer = routing.dialer(waitingDialer(supervisor, tunnel))
  const common: ProxyCommon = {
    dialer,
    onEvent,
    pages: pacPages(rules, () => ({
      http: endpointsOf(proxies, 'http'),
      socks: endpointsOf(proxies, 'socks'),
    })),
    ...(settings.maxClients === undefined ? {} : { limits: { connections: settings.maxClients } }),
    ...(settings.allow === undefined ? {} : { allow: addressFilter(settings.allow) }),
    ...(login === undefined ? {} : { credentials: oneUser(login.user, login.password) }),
  }
  try {
    proxies = await openProxies(settings, common, deps)
    opened.unshift(() => closeProxies(proxies))
    forwards = await openForwards(settings, dialer, onEvent, common.allow)
    opened.unshift(() => closeForwards(forwards))
    const { dnsListen } = settings
    if (dnsListen !== undefined) {
      const allow = askersOf(settings, dnsListen.address)
      const listening = deps.listenDns({
        ...dnsListen,
        names: tunnel.names,
        whenUp: (signal) => supervisor.whenUp(DNS_PATIENCE, signal),
        ...(allow === undefined ? {} : { allow }),
        onEvent: new DnsLog(console.logger, () => deps.now()).onEvent,
      })
      const server = await listening.catch((error: unknown) => {
        throw listenError(error, dnsListen, '--dns-listen')
      })
      dns = server
      opened.unshift(() => server.close())
    }
    return { dialer, proxies, forwards, dns, login, rules, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Who may ask our DNS server; undefined: this machine. Beyond it only with `--allow-open`. */
function askersOf({ allow }: BridgeSettings, address: string): ((address: string) => boolean) | undefined {
  if (allow !== undefined) return addressFilter(allow)
  return isLoopback(address) ? undefined : () => true
}

/** Milliseconds that a question waits for a tunnel that is being brought up again: less than those who ask wait. */
const DNS_PATIENCE = 4000
