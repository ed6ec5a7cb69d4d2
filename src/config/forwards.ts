import { isIPv4, isIPv6 } from 'node:net'
import type { ForwardSpec, LocalForward, RemoteForward, SocketPath } from '../proxy/forward.js'
import type { HostPort } from '../tunnel/dialer.js'
import { UsageError } from './errors.js'
import { formatEndpoint, parsePlace, parsePort, parseTarget } from './values.js'

const LOCAL = '[ADDR:]PORT:HOST:PORT[/udp]'
const REMOTE = 'PORT:HOST:PORT[/udp]'

/**
 * For `-L`: `[ADDR:]PORT:HOST:PORT`, or `unix:PATH:HOST:PORT`, with `/udp` behind it for UDP. IPv6 goes in brackets;
 * without ADDR only this machine can connect; port 0 in front picks one. Throws {@link UsageError}.
 */
export function parseLocalForward(text: string): LocalForward {
  const { rest, protocol } = protocolOf(text)
  const unix = /^(unix:.+):(\[[^\]]*\]|[^:[\]]+):([^:]*)$/.exec(rest)
  if (unix !== null) {
    if (protocol === 'udp') throw new UsageError(`"${text}": UDP cannot be forwarded from a unix socket`)
    const [, path = '', host = '', port = ''] = unix
    const listen = parsePlace(path, '')
    return { kind: 'local', protocol, listen, to: parseHostPort(host, port, text) }
  }
  const parts = split(rest)
  if (parts === undefined || parts.length < 3 || parts.length > 4) throw wrong(text, LOCAL)
  const [port = '', host = '', hostPort = ''] = parts.slice(-3)
  const address = parts.length === 4 ? listenAddress(parts[0] ?? '', text) : '127.0.0.1'
  const listen = { address, port: portOf(port, 0, text) }
  return { kind: 'local', protocol, listen, to: parseHostPort(host, hostPort, text) }
}

/**
 * For `-R`: `PORT:HOST:PORT`, or `PORT:unix:PATH`, with `/udp` behind it for UDP. HOST is a host as this machine knows
 * it. Port 0 in front picks one. Throws {@link UsageError}.
 */
export function parseRemoteForward(text: string): RemoteForward {
  const { rest, protocol } = protocolOf(text)
  const unix = /^([0-9]+):(unix:.+)$/.exec(rest)
  if (unix !== null) {
    if (protocol === 'udp') throw new UsageError(`"${text}": UDP cannot be forwarded to a unix socket`)
    const place = parsePlace(unix[2] ?? '', '')
    if (!('path' in place)) throw wrong(text, REMOTE)
    return { kind: 'remote', protocol, port: portOf(unix[1] ?? '', 0, text), to: place }
  }
  const parts = split(rest)
  if (parts?.length === 4) {
    throw new UsageError(
      `"${text}" is not ${REMOTE}: the port is opened on the tunnel's own address, so no other can be given`,
    )
  }
  if (parts === undefined || parts.length !== 3) throw wrong(text, REMOTE)
  const [port = '', host = '', hostPort = ''] = parts
  return {
    kind: 'remote',
    protocol,
    port: portOf(port, 0, text),
    to: parseHostPort(host, hostPort, text),
  }
}

/** `HOST:PORT`, IPv6 in brackets. Throws {@link UsageError}. */
export function parseDestination(text: string): HostPort {
  const parts = split(text)
  if (parts?.length !== 2)
    throw new UsageError(`"${text}" is not HOST:PORT (an IPv6 address goes in brackets)`)
  const [host = '', port = ''] = parts
  return parseHostPort(host, port, text)
}

/** As it can be given again, and as it is shown. */
export function formatForward(spec: ForwardSpec): string {
  const suffix = spec.protocol === 'udp' ? '/udp' : ''
  if (spec.kind === 'remote') return `${spec.port}:${formatEnd(spec.to)}${suffix}`
  const { listen } = spec
  const from = 'path' in listen ? `unix:${listen.path}` : formatEndpoint(listen.address, listen.port)
  return `${from}:${formatEnd(spec.to)}${suffix}`
}

function formatEnd(to: HostPort | SocketPath): string {
  return 'path' in to ? `unix:${to.path}` : formatEndpoint(to.host, to.port)
}

function protocolOf(text: string): { readonly rest: string; readonly protocol: 'tcp' | 'udp' } {
  if (text.endsWith('/udp')) return { rest: text.slice(0, -'/udp'.length), protocol: 'udp' }
  if (text.endsWith('/tcp')) return { rest: text.slice(0, -'/tcp'.length), protocol: 'tcp' }
  return { rest: text, protocol: 'tcp' }
}

/** At colons, but not those in brackets, which stay. Undefined: brackets where they cannot be. */
function split(text: string): readonly string[] | undefined {
  const parts = text.match(/\[[^[\]]*\]|[^:[\]]+|:/g)
  if (parts === null || parts.join('') !== text) return undefined
  const found: string[] = []
  // Parts and colons in turn.
  for (const [i, part] of parts.entries()) {
    if ((part === ':') !== (i % 2 === 1)) return undefined
    if (part !== ':') found.push(part)
  }
  return parts.length % 2 === 1 ? found : undefined
}

function parseHostPort(text: string, digits: string, whole: string): HostPort {
  const port = portOf(digits, 1, whole)
  if (!text.startsWith('[')) return { host: parseTarget(text), port }
  const host = text.slice(1, -1)
  if (!isIPv6(host) || host.includes('%')) throw new UsageError(`"${host}" is not an IPv6 address`)
  return { host, port }
}

function listenAddress(text: string, whole: string): string {
  if (text === 'localhost' || isIPv4(text)) return text
  const six = text.startsWith('[') ? text.slice(1, -1) : ''
  if (isIPv6(six)) return six
  const all = text === '*' ? ' (0.0.0.0 is every IPv4 address, [::] every one)' : ''
  throw new UsageError(
    `"${whole}": "${text}" is not an address to listen on (an IP address or localhost)${all}`,
  )
}

function portOf(digits: string, least: number, whole: string): number {
  const port = parsePort(digits, least)
  if (port === undefined) throw new UsageError(`"${whole}": "${digits}" is not a port from ${least} to 65535`)
  return port
}

function wrong(text: string, form: string): UsageError {
  const unbracketed = (text.match(/:/g) ?? []).length > 3 && !text.includes('[')
  return new UsageError(`"${text}" is not ${form}${unbracketed ? ' (IPv6 addresses go in brackets)' : ''}`)
}
