/** Which proxy the environment names, and for whom it is not (curl's rules). */
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'

type Environment = Readonly<Record<string, string | undefined>>

/** The proxy's URL as the environment has it, and the variable's name. */
export interface Named {
  readonly variable: string
  readonly url: string
}

/**
 * The proxy that the environment names for `host:port`; undefined: none. Loopback is never meant: it would be
 * the proxy's own.
 */
export function proxyFromEnvironment(env: Environment, host: string, port: number): Named | undefined {
  const found = ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY']
    .map((variable) => ({ variable, url: env[variable]?.trim() ?? '' }))
    .find(({ url }) => url !== '')
  if (found === undefined || isLoopback(host)) return undefined
  const except = env.no_proxy ?? env.NO_PROXY ?? ''
  return bypasses(except, host, port) ? undefined : found
}

function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.')
  return host === '::1' || /^(?:.*\.)?localhost\.?$/i.test(host)
}

/**
 * Whether a NO_PROXY list names the host: names with all below them, with or without a dot or `*.` before,
 * addresses, ranges (CIDR), each with or without a port, IPv6 with or without brackets; `*` is everybody.
 */
export function bypasses(list: string, host: string, port: number): boolean {
  const wanted = host.toLowerCase().replace(/\.$/, '').replace(/%.*$/, '')
  return list.split(/[\s,]+/).some((entry) => entry !== '' && covers(entry.toLowerCase(), wanted, port))
}

function covers(entry: string, host: string, port: number): boolean {
  const { name, port: only } = split(entry)
  if (only !== undefined && only !== port) return false
  if (name === '*') return true
  if (isIP(host) !== 0) return inRange(name, host)
  const said = name.replace(/^\*?\./, '').replace(/\.$/, '')
  // The host is in ASCII form.
  const suffix = /[^!-~]/.test(said) ? domainToASCII(said) : said
  return suffix !== '' && (host === suffix || host.endsWith(`.${suffix}`))
}

/** `name[:port]`, `[v6][:port]`, `v6`, each perhaps with `/bits`. */
function split(entry: string): { readonly name: string; readonly port: number | undefined } {
  const bracketed = /^\[([^\]]*)\](\/\d+)?(?::(\d+))?$/.exec(entry)
  if (bracketed !== null) {
    const [, address = '', bits = '', port] = bracketed
    return { name: `${address}${bits}`, port: port === undefined ? undefined : Number(port) }
  }
  const plain = /^([^:]*):(\d+)$/.exec(entry)
  return plain === null ? { name: entry, port: undefined } : { name: plain[1] ?? '', port: Number(plain[2]) }
}

function inRange(range: string, address: string): boolean {
  const [net = '', bits] = range.split('/', 2)
  const kind = isIPv4(net) ? 'ipv4' : isIPv6(net) ? 'ipv6' : undefined
  if (kind === undefined || (isIPv4(address) ? 'ipv4' : 'ipv6') !== kind) return false
  const most = kind === 'ipv4' ? 32 : 128
  if (bits !== undefined && !/^\d{1,3}$/.test(bits)) return false
  const prefix = bits === undefined ? most : Number(bits)
  if (prefix > most) return false
  const blocks = new BlockList()
  blocks.addSubnet(net, prefix, kind)
  return blocks.check(address, kind)
}
