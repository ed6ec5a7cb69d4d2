import type { TrustOptions } from '../transport/tls.js'
import type { TunnelEvent } from './events.js'

export type { TrustOptions } from '../transport/tls.js'

export type AuthMethod = 'mschapv2' | 'chap' | 'pap'

/** All that a call needs. */
export interface TunnelOptions {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  /** Methods that may be used; strongest first is tried. Default: all three. */
  readonly auth?: readonly AuthMethod[]
  readonly trust?: TrustOptions
  /** Largest inner packet, 576 to 4087; 1400 by default. */
  readonly mtu?: number
  /** False: IPV6CP is not asked for. */
  readonly ipv6?: boolean
  /** Milliseconds for the whole set-up; 60 s by default. */
  readonly timeout?: number
  readonly signal?: AbortSignal
  /** Report control messages as `trace` events. */
  readonly trace?: boolean
  readonly onEvent?: (event: TunnelEvent) => void
}

export interface PingOptions {
  /** Octets of data; 56 by default. */
  readonly size?: number
  /** Milliseconds; 5 s by default. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}
