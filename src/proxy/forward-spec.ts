/** What forwards are made of, and how they are seen. */
import type { Dialer, Endpoint, HostPort } from '../tunnel/dialer.js'
import type { ProxyLimits, SetTimer } from './client.js'
import type { ProxyEvent } from './events.js'
import type { ProxyUsage } from './server.js'

/** The path of a unix socket. */
export interface SocketPath {
  readonly path: string
}

/** `-L`: what comes to `listen` of this machine goes to `to` behind the tunnel. */
export interface LocalForward {
  readonly kind: 'local'
  readonly protocol: 'tcp' | 'udp'
  /** Port 0 picks one; paths with TCP only. */
  readonly listen: Endpoint | SocketPath
  readonly to: HostPort
}

/** `-R`: what comes to `port` of the tunnel's own addresses goes to `to`, as this machine sees it. */
export interface RemoteForward {
  readonly kind: 'remote'
  readonly protocol: 'tcp' | 'udp'
  /** 0 picks one. */
  readonly port: number
  /** Paths with TCP only. */
  readonly to: HostPort | SocketPath
}

export type ForwardSpec = LocalForward | RemoteForward

/** Counts and milliseconds. */
export interface ForwardLimits extends Pick<ProxyLimits, 'connections'> {
  /** Senders of datagrams at one time; who was quiet longest makes room for a new one. 1024. */
  readonly senders: number
  /** After so long without a datagram a sender is forgotten. 2 min. */
  readonly quiet: number
  /** For a local service to take a connection. 10 s. */
  readonly connect: number
}

export const DEFAULT_FORWARD_LIMITS: ForwardLimits = {
  connections: 16_384,
  senders: 1024,
  quiet: 120_000,
  connect: 10_000,
}

export interface ForwardOptions {
  readonly dialer: Dialer
  readonly limits?: Partial<ForwardLimits>
  /** Timers that keep no process alive, by default those of Node. */
  readonly setTimer?: SetTimer
  /** `-L`: whom to serve, by IP address; default: everybody. Not asked for clients of a unix socket. */
  readonly allow?: (address: string) => boolean
  /** `up` counts what goes into the tunnel, `down` what comes out of it. */
  readonly onEvent?: (event: ProxyEvent) => void
}

export interface Forward {
  readonly spec: ForwardSpec
  /**
   * Where it takes connections or datagrams: one address of this machine, or those that the tunnel has now (none:
   * it is down). A unix socket's address is `unix:` and the path, its port 0.
   */
  readonly locals: readonly Endpoint[]
  /** Connections and senders of datagrams, flows through the tunnel, timers. */
  usage(): ProxyUsage
  /** Takes nothing more and breaks off what is open; resolves when all sockets are closed. */
  close(): Promise<void>
}
