import type { KeyRule } from '../ppp/auth/eap/method.js'
import type { AuthName } from '../ppp/auth/method.js'
import type { EapTrust } from '../transport/eap-trust.js'
import type { OuterOptions, TrustOptions } from '../transport/tls.js'
import type { Identity } from '../transport/tls-identity.js'
import type { Upstream } from '../transport/upstream/upstream.js'
import type { TunnelEvent } from './events.js'
import type { KeepAliveTimes } from './keep-alive.js'

export type { OuterOptions, TrustOptions } from '../transport/tls.js'
export type { Upstream } from '../transport/upstream/upstream.js'

export type AuthMethod = AuthName

/** What EAP needs beside user name and password. */
export interface EapOptions {
  /** The name for the server's first question, which anybody on the way inside can read; `user` by default. */
  readonly name?: string
  /** Certificate and key for EAP-TLS. */
  readonly identity?: Identity
  /** Whom EAP-TLS and PEAP trust. */
  readonly trust?: EapTrust
  /** How they make the key for the crypto binding: by default Windows' way, and if that is refused pppd's, once. */
  readonly keyRule?: KeyRule
  /** The newest TLS in them; 1.3 by default. */
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3'
}

/** A password to change to when the server says that the old one has expired. Shared by all calls. */
export interface NewPassword {
  readonly password: string
  /** It is the account's password by now. */
  inForce: boolean
}

/** All that a call needs. */
export interface TunnelOptions {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  /** Asked before each call, for its password: one-time codes. Rejects with {@link CallError}. */
  readonly askPassword?: (signal: AbortSignal | undefined) => Promise<string>
  readonly newPassword?: NewPassword
  /**
   * Methods that may be used, best first. Default: `eap-tls` with a certificate; `peap`, `eap-mschapv2`, `mschapv2` and
   * `chap` with a password; `pap` too if the server's certificate is verified.
   */
  readonly auth?: readonly AuthMethod[]
  readonly eap?: EapOptions
  /** MS-CHAPv2 hashes `DOMAIN\user` whole, as accel-ppp with a user file of its own wants it. */
  readonly hashWholeUser?: boolean
  readonly trust?: TrustOptions
  /** SNI, Host and client certificate of the outer connection. */
  readonly outer?: OuterOptions
  /** A proxy to reach the server through. */
  readonly upstream?: Upstream
  /** Largest inner packet, 576 to 4087; 1400 by default. */
  readonly mtu?: number
  /** False: IPV6CP is not asked for. */
  readonly ipv6?: boolean
  /** Milliseconds for routers to advertise an address, and again for DHCPv6 servers; 12 s by default. */
  readonly addressPatience?: number
  /** Milliseconds for the whole set-up; 60 s by default. */
  readonly timeout?: number
  readonly signal?: AbortSignal
  /** When to ask the server for a sign of life, and when to give up. */
  readonly keepAlive?: Partial<KeepAliveTimes>
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
