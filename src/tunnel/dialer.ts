/**
 * What everything above a tunnel sees of it: connections, datagrams, names.
 *
 * The proxies and the resolver know only these types, so they run over a session, over a
 * supervisor that swaps sessions, and in tests over plain memory.
 */
import type { DialError, Endpoint, Flow } from '../link/flow.js'

export { DialError, type DialErrorCode, type Endpoint, type Flow, type FlowHandler } from '../link/flow.js'

export interface DialOptions {
  /** Milliseconds until `timed-out`; 30 s by default. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

/** Called by a UDP socket. */
export interface UdpHandler {
  /** `data` is good only during the call. */
  onDatagram(data: Uint8Array, from: Endpoint): void
  /** An ICMP error came back, or the tunnel went away (`tunnel-down`: the socket is closed then). */
  onError(error: DialError): void
}

/** One UDP socket through the tunnel. */
export interface UdpFlow {
  readonly local: Endpoint
  handler: UdpHandler | undefined
  /** Datagrams that do not fit the queue are dropped, as UDP does. Throws `too-large` above the limit. */
  send(data: Uint8Array, to: Endpoint): void
  close(): void
}

/** The network behind the tunnel, by addresses. */
export interface Network {
  /** Addresses of DNS servers that the tunnel's set-up gave, best first. May be empty. */
  readonly dnsServers: readonly string[]
  /** Which address families have a source address to be used from. */
  readonly families: { readonly ipv4: boolean; readonly ipv6: boolean }
  /** Resolves once the remote side has answered our SYN; rejects with {@link DialError}. */
  connect(to: Endpoint, options?: DialOptions): Promise<Flow>
  /** `remote` given: only datagrams from there, and ICMP errors of it, are delivered. */
  openUdp(remote?: Endpoint): UdpFlow
}

/** A host (name or IP address in text, no brackets) and a port. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/** The network by names too: what the proxies use. */
export interface Dialer {
  /** Names are resolved through the tunnel. Rejects with {@link DialError}. */
  dial(to: HostPort, options?: DialOptions): Promise<Flow>
  /** Addresses of a name, best first. Rejects with {@link DialError}. */
  resolve(host: string, options?: DialOptions): Promise<readonly string[]>
  openUdp(remote?: Endpoint): UdpFlow
}
