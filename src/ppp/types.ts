/** What a link is made with, and what it tells its owner. */
import type { AuthName } from './auth/method.js'
import type { PppError } from './errors.js'

interface CommonOptions {
  /** Fills `dst` with unpredictable octets. */
  readonly random: (dst: Uint8Array) => void
  /** The MRU that we ask for and the cap on the link's `mtu`, 68 to 4087; 1400 by default. */
  readonly mru?: number
  /** Methods that may be used, in any order. */
  readonly auth: readonly AuthName[]
  /** Negotiate IPv4, IPv6; both by default. */
  readonly ipv4?: boolean
  readonly ipv6?: boolean
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
  | { readonly type: 'lcp-up'; readonly peerMru: number; readonly auth: AuthName | 'none' }
  /** Once. `hlak`: 32 octets for the crypto binding, zeros if the method makes no key. A secret. */
  | {
      readonly type: 'authenticated'
      readonly method: AuthName | 'none'
      /** As the client sent it; empty with `none`. */
      readonly user: string
      readonly hlak: Uint8Array
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
  | { readonly type: 'trace'; readonly message: string }
