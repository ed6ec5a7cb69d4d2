/** Forwards and `--stdio`: opened, shown and closed. */

import { UsageError } from '../config/errors.js'
import { formatForward } from '../config/forwards.js'
import { formatEndpoint } from '../config/values.js'
import type { ProxyEvent } from '../proxy/events.js'
import {
  type Forward,
  type ForwardSpec,
  type LocalForward,
  openForward,
  type RemoteForward,
} from '../proxy/forward.js'
import { DialError, type Dialer, type Endpoint, type HostPort } from '../tunnel/dialer.js'
import type { Deps } from './deps.js'
import { listenError } from './exit.js'
import { joinStdio } from './stdio.js'

export interface WantedForwards {
  readonly forward: readonly LocalForward[]
  readonly remoteForward: readonly RemoteForward[]
}

/** Opens all, or none: rejects with {@link UsageError} that names the option. */
export async function openForwards(
  { forward, remoteForward }: WantedForwards,
  dialer: Dialer,
  onEvent: (event: ProxyEvent) => void,
  allow?: (address: string) => boolean,
): Promise<readonly Forward[]> {
  const open: Forward[] = []
  try {
    for (const spec of [...forward, ...remoteForward]) {
      try {
        open.push(await openForward(spec, { dialer, onEvent, ...(allow === undefined ? {} : { allow }) }))
      } catch (error) {
        throw explain(error, spec)
      }
    }
    return open
  } catch (error) {
    await closeForwards(open)
    throw error
  }
}

export async function closeForwards(forwards: readonly Forward[]): Promise<void> {
  await Promise.all(forwards.map((forward) => forward.close()))
}

function optionOf(spec: ForwardSpec): '-L' | '-R' {
  return spec.kind === 'local' ? '-L' : '-R'
}

function explain(error: unknown, spec: ForwardSpec): unknown {
  if (spec.kind === 'local') return listenError(error, spec.listen, '-L')
  if (!(error instanceof DialError)) return error
  return new UsageError(`-R ${formatForward(spec)}: ${error.message}`)
}

/** What leads where; the last line is empty. */
export function forwardLines(forwards: readonly Forward[]): string[] {
  if (forwards.length === 0) return []
  const lines = forwards.map(({ spec, locals }) => {
    const from = locals.map(placeOf).join(' and ') || 'the tunnel, once it is up'
    const to = 'path' in spec.to ? `unix:${spec.to.path}` : formatEndpoint(spec.to.host, spec.to.port)
    const side = spec.kind === 'local' ? 'behind the tunnel' : 'here'
    return `Forward (${optionOf(spec)}, ${spec.protocol.toUpperCase()}) ${from} to ${to} ${side}`
  })
  return [...lines, '']
}

function placeOf({ address, port }: Endpoint): string {
  return address.startsWith('unix:') ? address : formatEndpoint(address, port)
}

/** The same for scripts. */
export function forwardsForScripts(forwards: readonly Forward[]): readonly Record<string, unknown>[] {
  return forwards.map(({ spec, locals }) => ({
    option: optionOf(spec),
    protocol: spec.protocol,
    forward: formatForward(spec),
    locals: locals.map(({ address, port }) =>
      address.startsWith('unix:') ? { path: address.slice('unix:'.length) } : { address, port },
    ),
  }))
}

/**
 * Joins standard input and output to one connection. Resolves when both directions have ended; rejects with
 * {@link DialError}.
 */
export async function serveStdio(to: HostPort, dialer: Dialer, deps: Pick<Deps, 'stdio'>): Promise<void> {
  const flow = await dialer.dial(to)
  await joinStdio(flow, deps.stdio())
}
