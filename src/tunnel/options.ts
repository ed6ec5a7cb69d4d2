import type { TunnelEvent } from './events.js'

export type AuthMethod = 'mschapv2' | 'chap' | 'pap'

/** Whom to trust. Verification is on unless `insecure`. */
export interface TrustOptions {
  /** PEM certificates that replace the built-in roots. */
  readonly ca?: string
  /** SHA-256 of the leaf certificate's DER or of its public key (SPKI), 64 hex digits or base64; replaces the chain check. */
  readonly pin?: string
  /** Name to send as SNI and to find in the certificate, instead of the host. */
  readonly servername?: string
  readonly insecure?: boolean
}

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
  readonly onEvent?: (event: TunnelEvent) => void
}
