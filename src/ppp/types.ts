/** What a link is made with, and what it tells its owner. */
import type { Authenticator } from './auth/authenticator.js'
import type { KeyRule } from './auth/eap/method.js'
import type { TlsEngineFactory } from './auth/eap/tls-engine.js'
import type { AuthName, LinkAuth } from './auth/method.js'
import type { PppError } from './errors.js'

interface CommonOptions {
  /** Fills `dst` with unpredictable octets. */
  readonly random: (dst: Uint8Array) => void
  /** The MRU that we ask for and the cap on the link's `mtu`, 68 to 4087; 1400 by default. */
  readonly mru?: number
  /**
   * Methods that may be used: best first; but a server asks for CHAP and PAP last. `eap-tls` and
   * `peap` need `tls`.
   */
  readonly auth: readonly AuthName[]
  /** TLS for EAP's methods. */
  readonly tls?: TlsEngineFactory
  /**
   * Called when work outside of the link has gone on (a TLS engine's, an authenticator's): the owner is to call
   * {@link PppLink.activity} then, and fetch frames and events. Never called from within the link.
   */
  readonly onActivity?: () => void
  /** Negotiate IPv4, IPv6; both by default. */
  readonly ipv4?: boolean
  readonly ipv6?: boolean
  /** The interface identifier to ask for (RFC 5072 4.1), 8 octets; by chance if absent. */
  readonly interfaceId?: Uint8Array
  /** Milliseconds of silence before an LCP Echo-Request; 30 000 by default, 0: never. */
  readonly lcpEchoInterval?: number
  /** Report control packets as `trace` events; false by default. */
  readonly trace?: boolean
}

export interface PppClientOptions extends CommonOptions {
  readonly role: 'client'
  /** Whole, with `DOMAIN\` if it has one. */
  readonly user: string
  readonly password: string
  /** The password to change to if the server says that the old one has expired (MS-CHAPv2, also inside EAP). */
  readonly newPassword?: string
  /** What EAP calls us where it goes unprotected; `user` by default. */
  readonly identity?: string
  /** How EAP-TLS and PEAP make the HLAK; `windows` by default. */
  readonly keyRule?: KeyRule
  /** MS-CHAPv2 hashes `DOMAIN\user` whole, as accel-ppp wants it; false by default. */
  readonly hashWholeUser?: boolean
  /** End the call if the server wants no authentication; true by default. */
  readonly requireAuth?: boolean
}

/** Without any method in `auth` everybody is let in. */
export interface PppServerOptions extends CommonOptions {
  readonly role: 'server'
  /** The password of a user by the name that the client sent, or undefined if there is no such user. */
  readonly lookup: (user: string) => string | undefined
  /** Asked instead of `lookup`, by every method. */
  readonly authenticator?: Authenticator
  /**
   * A client with an expired password (see `expired`) has changed it to this one; false: it may not be. Without this
   * function no password can be changed.
   */
  readonly changePassword?: (user: string, password: string) => boolean
  /** Whether the password, which was right, has to be changed; never by default. */
  readonly expired?: (user: string) => boolean
  /** 4 octets. */
  readonly ownIpv4: Uint8Array
  /**
   * The client's address, 4 octets, or undefined if none is left. Called once, after authentication, if IPv4 is
   * on; the address stays the caller's, to be freed after `terminated`.
   */
  readonly assign: (user: string) => Uint8Array | undefined
  /** At most two, 4 octets each. */
  readonly dns?: readonly Uint8Array[]
  /** What CHAP calls us; `sstp-socks` by default. */
  readonly serverName?: string
}

export type PppLinkOptions = PppClientOptions | PppServerOptions

export type PppEvent =
  /** LCP is agreed on. */
  | { readonly type: 'lcp-up'; readonly peerMru: number; readonly auth: LinkAuth | 'none' }
  /** Once. `hlak`: 32 octets for the crypto binding, zeros if the method makes no key. A secret. */
  | {
      readonly type: 'authenticated'
      /** `eap`: a method of EAP that only the authenticator knows. */
      readonly method: AuthName | 'eap' | 'none'
      /** As the client sent it; empty with `none`. */
      readonly user: string
      readonly hlak: Uint8Array
      /** At a server: what clients like pppd 2.4 make of the same keys. */
      readonly otherHlak?: Uint8Array
    }
  /** Addresses of 4 octets. `peer` is undefined if the server does not tell; `dns` is empty at a server. */
  | {
      readonly type: 'ipv4-up'
      readonly local: Uint8Array
      readonly peer: Uint8Array | undefined
      readonly dns: readonly Uint8Array[]
    }
  /** Also if it never was up. With an error it will not come up any more; without, it is negotiated anew or the link ends. */
  | { readonly type: 'ipv4-down'; readonly error: PppError | undefined }
  /** Interface identifiers of 8 octets. */
  | { readonly type: 'ipv6-up'; readonly local: Uint8Array; readonly peer: Uint8Array | undefined }
  | { readonly type: 'ipv6-down'; readonly error: PppError | undefined }
  /** The end, once. No error: `terminate` was called. */
  | { readonly type: 'terminated'; readonly error: PppError | undefined }
  /** Client: the server has changed the account's password to `newPassword`; the old one is of no use any more. */
  | { readonly type: 'password-changed' }
  /** For people: something worth knowing about authentication. */
  | { readonly type: 'note'; readonly message: string }
  | { readonly type: 'trace'; readonly message: string }
