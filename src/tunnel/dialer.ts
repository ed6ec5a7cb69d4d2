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
  /**
   * An ICMP error came back, or the tunnel went away (`tunnel-down`: the socket is closed then). `to`: where the
   * datagram went that it answers, if it answers one.
   */
  onError(error: DialError, to?: Endpoint): void
}

export interface UdpOptions {
  /** Given: only datagrams from there, and ICMP errors of it, are delivered. */
  readonly remote?: Endpoint
  /** Our own port, the same in all families; 0 or none picks one. */
  readonly port?: number
}

/** One UDP socket through the tunnel. */
export interface UdpFlow {
  readonly local: Endpoint
  handler: UdpHandler | undefined
  /** Datagrams that do not fit the queue are dropped, as UDP does. Throws `too-large` above the limit. */
  send(data: Uint8Array, to: Endpoint): void
  close(): void
}

export interface ListenOptions {
  /** 0 picks one. */
  readonly port: number
  /** Whence connections are taken; others get an RST. Default: from anywhere. */
  readonly from?: string
}

/** Called by a listener. */
export interface ListenHandler {
  onFlow(flow: Flow): void
  /** The listener is closed, and not by its owner: `tunnel-down`. */
  onClose(error: DialError): void
}

/** A port of the tunnel's own addresses that takes connections. */
export interface FlowListener {
  /** One of each family that the tunnel has, IPv4 first, all with the same port. */
  readonly locals: readonly Endpoint[]
  /** Connections wait for one, up to a backlog. */
  handler: ListenHandler | undefined
  /** Connections that were handed over live on. */
  close(): void
}

/** The network behind the tunnel, by addresses. */
export interface Network {
  /** Addresses of DNS servers that the tunnel's set-up gave, best first. May be empty. */
  readonly dnsServers: readonly string[]
  /** Domains in which the tunnel's set-up says that short names are, best first; lower case, no final dot. */
  readonly searchDomains?: readonly string[]
  /** Which address families have a source address to be used from. */
  readonly families: { readonly ipv4: boolean; readonly ipv6: boolean }
  /** Resolves once the remote side has answered our SYN; rejects with {@link DialError}. */
  connect(to: Endpoint, options?: DialOptions): Promise<Flow>
  /** Throws `no-resources` if the port is taken, `tunnel-down`. */
  openUdp(options?: UdpOptions): UdpFlow
  /** Throws `no-resources` if the port is taken, `tunnel-down`. */
  listen(options: ListenOptions): FlowListener
}

/** A host (name or IP address in text, no brackets) and a port. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/** One UDP socket to hosts by name too. */
export interface DatagramFlow {
  /** Address and port that remote hosts see; the address is empty while none is settled. */
  readonly local: Endpoint
  /** `onError` with another code than `tunnel-down` concerns one destination; the socket goes on. */
  handler: UdpHandler | undefined
  /**
   * Never throws: what cannot be sent is told by `onError` or dropped, as UDP does. `data` is copied if it has to
   * wait, for its name to be resolved.
   */
  send(data: Uint8Array, to: HostPort): void
  close(): void
}

export interface DatagramOptions {
  /** Given: only datagrams from there are delivered. */
  readonly remote?: HostPort
  /** As in {@link UdpOptions}. */
  readonly port?: number
}

/** The network by names too: what the proxies use. */
export interface Dialer {
  /** Names are resolved through the tunnel. Rejects with {@link DialError}. */
  dial(to: HostPort, options?: DialOptions): Promise<Flow>
  /** Addresses of a name, best first. Rejects with {@link DialError}. */
  resolve(host: string, options?: DialOptions): Promise<readonly string[]>
  /** The name of an address (PTR). Rejects with {@link DialError}. */
  reverse(address: string, options?: DialOptions): Promise<string>
  /** Throws {@link DialError}. */
  openDatagrams(options?: DatagramOptions): DatagramFlow
  /** Throws {@link DialError}. */
  listen(options: ListenOptions): FlowListener
}
