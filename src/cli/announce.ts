/** What `connect` says on standard output when the bridge is there. */
import type { DnsSettings } from '../config/dns.js'
import { formatEndpoint } from '../config/values.js'
import type { SupervisorEvent, TunnelInfo } from '../tunnel/events.js'
import type { Bridge } from './bridge.js'
import type { Console } from './console.js'
import { describeForScripts } from './exit.js'
import { forwardLines, forwardsForScripts } from './forwards.js'
import { firstOf, placeOf, proxyLines, reachable } from './proxies.js'

/** The JSON line that traffic can flow, the first time and again. */
export function emitReady(bridge: Bridge, info: TunnelInfo, names: DnsSettings, console: Console): void {
  const { proxies, forwards, dns } = bridge
  console.emit({
    event: 'ready',
    socks: placeOf(firstOf(proxies, 'socks')),
    http: placeOf(firstOf(proxies, 'http')),
    proxies: proxies.map(({ protocols: { socks, http }, listener }) => ({
      protocols: [...(socks ? ['socks'] : []), ...(http ? ['http'] : [])],
      ...placeOf(listener),
    })),
    forwards: forwardsForScripts(forwards),
    dnsListen: placeOf(dns),
    tunnel: {
      ipv4: info.ipv4 ?? null,
      ipv6: info.ipv6 ?? null,
      peer: info.peer ?? null,
      dns: names.dns.length > 0 ? names.dns : info.dns,
      mtu: info.mtu,
      auth: info.auth,
      server: info.server,
    },
  })
}

/** The same for people, with lines to copy. */
export function announce(bridge: Bridge, info: TunnelInfo, names: DnsSettings, console: Console): void {
  emitReady(bridge, info, names, console)
  const own = [info.ipv4, info.ipv6].filter((address) => address !== undefined).join(' and ')
  console.print(`Connected to ${info.server} (${info.auth}) as ${own || 'nobody'}, MTU ${info.mtu}.`)
  console.print(dnsLine(info, names))
  const { isTrivial, list, fallback } = bridge.rules
  if (!isTrivial) {
    const rest = fallback === 'direct' ? 'goes directly' : 'goes through the tunnel'
    console.print(`Rules: ${list.length}; what none of them is about ${rest}.`)
  }
  for (const line of proxyLines(bridge.proxies, bridge.login?.user)) console.print(line)
  for (const line of forwardLines(bridge.forwards)) console.print(line)
  if (bridge.dns !== undefined) {
    const { dns } = bridge
    console.print(`DNS server on ${reachable(dns)}`)
    const [host = ''] = /^.*(?=:[0-9]+$)/.exec(reachable(dns)) ?? []
    console.print(`  dig @${host.replace(/^\[|\]$/g, '')} -p ${dns.port} host.inside`)
    console.print('')
  }
  console.print('Stop with Ctrl-C.')
}

function dnsLine(info: TunnelInfo, { dns, zones = [], directNames = [] }: DnsSettings): string {
  const servers = dns.length > 0 ? dns : info.dns
  const parts = [
    ...zones.map(({ domain, servers: own }) => {
      const places = own.map(({ address, port }) => (port === 53 ? address : formatEndpoint(address, port)))
      return `${domain} by ${places.join(', ')}`
    }),
    ...directNames.map((domain) => `${domain} outside the tunnel`),
  ]
  const special = parts.length === 0 ? '' : `; ${parts.join('; ')}`
  if (servers.length === 0) return `No DNS server: use addresses, or give --dns ADDR${special}.`
  return `DNS ${servers.join(', ')}${special}.`
}

/** What happens to the tunnel from then on. */
export function tell(event: SupervisorEvent, bridge: Bridge, names: DnsSettings, console: Console): void {
  switch (event.type) {
    case 'connecting':
    case 'probing':
    case 'stopped':
      return
    case 'disconnected':
      console.emit({ event: 'disconnected', error: describeForScripts(event.error) })
      return
    case 'reconnecting': {
      const { attempt, wait, error } = event
      console.emit({ event: 'reconnecting', attempt, wait, error: describeForScripts(error) })
      return
    }
    case 'ready': {
      emitReady(bridge, event.info, names, console)
      const own = [event.info.ipv4, event.info.ipv6].filter((address) => address !== undefined)
      const fate = event.kept
        ? 'open connections go on'
        : 'open connections of addresses that are gone were ended'
      console.print(`Connected again as ${own.join(' and ') || 'nobody'}: ${fate}.`)
    }
  }
}
