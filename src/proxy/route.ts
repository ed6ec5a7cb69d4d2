import type { DialOptions, HostPort } from '../tunnel/dialer.js'
import type { NameVerdict, TransportProtocol } from './rules.js'

/** One address of a host, and who connects to it. */
export interface Candidate {
  readonly address: string
  readonly way: 'tunnel' | 'direct'
}

/** What the rules say about a destination. */
export type Routed =
  /** That dialer does the rest, the name too. */
  | { readonly kind: 'whole'; readonly way: 'tunnel' | 'direct' }
  /** Its addresses are known, because they decide; at least one, best first. */
  | { readonly kind: 'addresses'; readonly name: string; readonly candidates: readonly Candidate[] }

/** Not to be said before its addresses are known. */
export interface Open {
  readonly kind: 'open'
  readonly name: string
  /** For messages. */
  readonly text: string
  readonly verdict: NameVerdict
  readonly ask: 'tunnel' | 'direct'
  readonly to: HostPort
  readonly protocol: TransportProtocol
}

/** Whoever applies the rules to destinations. */
export interface Router {
  /** What can be said before anybody is asked. Throws `not-allowed`. */
  decide(to: HostPort, protocol: TransportProtocol): Routed | Open
  /** Asks for the addresses, which decide. Rejects with {@link DialError}. */
  ask(open: Open, options: DialOptions): Promise<Routed>
}
