/** The proxies: opened, shown and closed together. */
import { formatEndpoint, type Place } from '../config/values.js'
import type { Protocols } from '../proxy/mixed-port.js'
import type { ProxyOptions } from '../proxy/server.js'
import type { Deps, Listener } from './deps.js'
import { listenError } from './exit.js'

export interface OpenProxy {
  readonly protocols: Protocols
  readonly listener: Listener
}

/** All that is the same for every proxy. */
export type ProxyCommon = Omit<ProxyOptions, 'address' | 'port' | 'path' | 'protocols'>

export interface WantedProxies {
  readonly socks: readonly Place[]
  readonly http: readonly Place[]
}

/**
 * Opens what is wanted, or nothing: if one place is taken, the others are closed again. A place that both protocols name is
 * one listener, and so is the first free port (0) of both.
 */
export async function openProxies(
  wanted: WantedProxies,
  common: ProxyCommon,
  deps: Pick<Deps, 'listenProxy'>,
): Promise<readonly OpenProxy[]> {
  const open: OpenProxy[] = []
  try {
    for (const { at, protocols } of planOf(wanted)) {
      const place = 'path' in at ? { address: '', port: 0, path: at.path } : at
      try {
        open.push({ protocols, listener: await deps.listenProxy({ ...common, ...place, protocols }) })
      } catch (error) {
        const options = [...(protocols.socks ? ['--socks'] : []), ...(protocols.http ? ['--http'] : [])]
        throw listenError(error, at, options.join(' and '))
      }
    }
    return open
  } catch (error) {
    await closeProxies(open)
    throw error
  }
}

function planOf({ socks, http }: WantedProxies): { readonly at: Place; readonly protocols: Protocols }[] {
  const plan = socks.map((at) => ({ at, protocols: { socks: true, http: false } }))
  for (const at of http) {
    const shared = plan.find((other) => !other.protocols.http && samePlace(other.at, at))
    if (shared === undefined) plan.push({ at, protocols: { socks: false, http: true } })
    else shared.protocols.http = true
  }
  return plan
}

function samePlace(a: Place, b: Place): boolean {
  if ('path' in a || 'path' in b) return 'path' in a && 'path' in b && a.path === b.path
  return a.address === b.address && a.port === b.port
}

export async function closeProxies(proxies: readonly OpenProxy[]): Promise<void> {
  await Promise.all(proxies.map(({ listener }) => listener.close()))
}

/** The first of a protocol, as the ready line has it. */
export function firstOf(proxies: readonly OpenProxy[], protocol: keyof Protocols): Listener | undefined {
  return proxies.find(({ protocols }) => protocols[protocol])?.listener
}

/** Those with an address and a port, of one protocol or of both. */
export function endpointsOf(
  proxies: readonly OpenProxy[],
  protocol?: keyof Protocols,
): { readonly address: string; readonly port: number }[] {
  return proxies
    .filter(({ protocols, listener }) => listener.path === undefined && (!protocol || protocols[protocol]))
    .map(({ listener: { address, port } }) => ({ address, port }))
}

/** Where a listener is, for scripts. */
export function placeOf(
  listener: Listener | undefined,
): { readonly path: string } | { readonly address: string; readonly port: number } | null {
  if (listener === undefined) return null
  if (listener.path !== undefined) return { path: listener.path }
  return { address: listener.address, port: listener.port }
}

/** An address to connect to: one that listens everywhere is here too. */
export function reachable(listener: Listener): string {
  const here = { '0.0.0.0': '127.0.0.1', '::': '::1' }[listener.address] ?? listener.address
  return formatEndpoint(here, listener.port)
}

/** What listens where, and lines to copy; the last line is empty. `user`: who must sign in to the proxies. */
export function proxyLines(proxies: readonly OpenProxy[], user?: string): string[] {
  const login = user === undefined ? '' : `${encodeURIComponent(user)}:PASSWORD@`
  const option = user === undefined ? '' : ` --proxy-user ${quoted(user)}`
  const lines: string[] = []
  for (const { protocols, listener } of proxies) {
    if (!protocols.socks) continue
    if (listener.path !== undefined) {
      lines.push('', `SOCKS5 proxy on unix:${listener.path}`)
      lines.push(
        `  curl -x ${quoted(`socks5h://localhost${encodeURI(listener.path)}`)}${option} http://host.inside/`,
      )
      continue
    }
    const at = reachable(listener)
    lines.push('', `SOCKS5 proxy on ${at}`)
    lines.push(`  curl --socks5-hostname ${at}${option} http://host.inside/`)
    lines.push(`  export ALL_PROXY=socks5h://${login}${at}`)
  }
  for (const { protocols, listener } of proxies) {
    if (!protocols.http) continue
    if (listener.path !== undefined) {
      lines.push('', `HTTP proxy on unix:${listener.path}`)
      continue
    }
    const at = reachable(listener)
    lines.push('', `HTTP proxy on ${at}`)
    lines.push(`  curl -x http://${at}${option} http://host.inside/`)
    lines.push(`  export http_proxy=http://${login}${at} https_proxy=http://${login}${at}`)
  }
  return [...lines, '']
}

/** For a shell, as it is if it can be. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
