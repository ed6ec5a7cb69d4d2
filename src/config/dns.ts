import { isIPv4, isIPv6 } from 'node:net'
import { normalizeName } from '../dns/names.js'
import type { Zone } from '../dns/resolver.js'
import { UsageError } from './errors.js'
import { parseAddress, parsePort } from './values.js'

/** One `--dns`: a server for all names, servers for a domain, or a domain that is asked for outside the tunnel. */
export type DnsChoice = string | Zone | { readonly domain: string; readonly servers: 'direct' }

/** `ADDR`, `DOMAIN=ADDR[:PORT]` or `DOMAIN=direct`. Throws {@link UsageError}. */
export function parseDnsChoice(text: string): DnsChoice {
  const at = text.indexOf('=')
  if (at < 0) return parseAddress(text)
  const domain = parseDomain(text.slice(0, at))
  const server = text.slice(at + 1)
  if (server === 'direct') return { domain, servers: 'direct' }
  const [, six, host = six ?? '', port = '53'] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(server) ?? []
  const address = isIPv6(server) ? server : host
  const number = isIPv6(server) ? 53 : parsePort(port, 1)
  const isAddress = !address.includes('%') && (isIPv6(address) || (six === undefined && isIPv4(address)))
  if (!isAddress || number === undefined) {
    throw new UsageError(`"${server}" is neither ADDR, ADDR:PORT nor the word direct`)
  }
  return { domain, servers: [{ address, port: number }] }
}

/** For `--search`; a single dot stands for no domain at all. Throws {@link UsageError}. */
export function parseSearch(text: string): string {
  return text === '.' ? text : parseDomain(text)
}

function parseDomain(text: string): string {
  const name = normalizeName(text.replace(/^\./, ''))
  if (name === undefined) throw new UsageError(`"${text}" is not a domain`)
  return name
}

export interface DnsSettings {
  /** Servers to ask instead of those that the tunnel's set-up gives; none: those. */
  readonly dns: readonly string[]
  readonly zones?: readonly Zone[]
  /** Names at and below these are asked of this machine's own resolver. */
  readonly directNames?: readonly string[]
}

/** Takes the choices apart, and puts servers of one domain together. */
export function splitDns<T extends { readonly dns: readonly DnsChoice[] }>(
  settings: T,
): Omit<T, 'dns'> & DnsSettings {
  const { dns: choices, ...rest } = settings
  const dns: string[] = []
  const zones = new Map<string, Zone>()
  const directNames: string[] = []
  for (const choice of choices) {
    if (typeof choice === 'string') dns.push(choice)
    else if (choice.servers === 'direct') directNames.push(choice.domain)
    else {
      const servers = [...(zones.get(choice.domain)?.servers ?? []), ...choice.servers]
      zones.set(choice.domain, { domain: choice.domain, servers })
    }
  }
  return {
    ...rest,
    dns,
    ...(zones.size === 0 ? {} : { zones: [...zones.values()] }),
    ...(directNames.length === 0 ? {} : { directNames }),
  }
}
