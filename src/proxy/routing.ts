import { type Clock, systemClock } from '../dns/clock.js'
import { Resolver } from '../dns/resolver.js'
import type { NameSource } from '../dns/source.js'
import type { Dialer, Endpoint } from '../tunnel/dialer.js'
import { createDirectDialer } from './direct.js'
import { createDirectNetwork, namesElsewhere } from './direct-network.js'
import { createRoutingDialer } from './routing-dialer.js'
import type { Rules } from './rules.js'

export interface RoutingSetup {
  readonly rules: Rules
  /** Names that are asked for directly with all below them, whatever the rules say of connections. */
  readonly directNames?: readonly string[]
  /** Where this process listens. */
  readonly own: () => readonly Endpoint[]
  readonly clock?: Clock
}

/** Split tunnelling put together. */
export interface Routing {
  /** For the tunnel's dialer: who is asked for a name instead of the tunnel's servers. */
  readonly elsewhere: (name: string) => NameSource | undefined
  /** What all entrances dial with, over the tunnel's dialer. */
  dialer(tunnel: Dialer): Dialer
  close(): void
}

export function createRouting({ rules, directNames = [], own, clock = systemClock }: RoutingSetup): Routing {
  const names = new Resolver(createDirectNetwork({ own, clock }), { anyServer: true, clock })
  const direct = createDirectDialer({
    own,
    clock,
    allow: (address, port, protocol, name) => rules.permitsDirect(address, port, protocol, name),
  })
  return {
    elsewhere: namesElsewhere({ rules, directNames, direct: names }),
    dialer: (tunnel) => createRoutingDialer({ rules, tunnel, direct, clock }),
    close: () => names.close(),
  }
}
