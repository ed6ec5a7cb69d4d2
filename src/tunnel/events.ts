import type { CallError, Step } from '../transport/errors.js'

/** What was agreed when the tunnel came up. */
export interface TunnelInfo {
  /** `host:port` as dialled. */
  readonly server: string
  /** Our address in the tunnel; absent if IPCP did not open. */
  readonly ipv4: string | undefined
  /** The best of our global addresses; absent if nobody gave one. */
  readonly ipv6: string | undefined
  /** The server's own inner address. */
  readonly peer: string | undefined
  /** Of IPCP, router advertisements, DHCPv6 and DHCPINFORM, in this order. */
  readonly dns: readonly string[]
  /** Domains to try behind short names, and networks that belong into the tunnel (CIDR), as the server has them. */
  readonly search?: readonly string[]
  readonly routes?: readonly string[]
  readonly mtu: number
  /** `mschapv2`, `chap`, `pap` or `none`. */
  readonly auth: string
}

/** What a session tells its owner, in order. Never holds a secret. */
export type TunnelEvent =
  | {
      readonly type: 'step'
      readonly step: Step
      /** Milliseconds since the step before. */
      readonly ms: number
      /** What was agreed, e.g. `{ version: 'TLSv1.3', cipher: '…', sha256: '…' }`. */
      readonly detail: Readonly<Record<string, string | number>>
    }
  | { readonly type: 'up'; readonly info: TunnelInfo }
  /** Addresses, name servers or the like are others than at `up`, or the last time. */
  | { readonly type: 'changed'; readonly info: TunnelInfo }
  /** Worth a log line, and no reason to stop, e.g. `UNVERIFIED_TLS`, `ZERO_BINDING_KEY`. */
  | { readonly type: 'warning'; readonly code: string; readonly message: string }
  /** For `--log-level debug`: control messages as they pass, by name only. */
  | { readonly type: 'trace'; readonly message: string }
  /** The end, once. No error: we asked for it. */
  | { readonly type: 'down'; readonly error: CallError | undefined }

/** What a supervisor tells of the tunnel that it keeps up. Times are milliseconds. */
export type SupervisorEvent =
  /** `attempt`: from 1, since the last call was up. */
  | { readonly type: 'connecting'; readonly attempt: number }
  | {
      readonly type: 'ready'
      readonly info: TunnelInfo
      /** Not for the first time. */
      readonly again: boolean
      /** None of the addresses from before was given up: open connections of both families live on. */
      readonly kept: boolean
    }
  /** The machine has slept or its networks have changed, so the server is asked for a sign of life. */
  | { readonly type: 'probing'; readonly reason: 'sleep' | 'network' }
  /** The call has ended; it was up for `ms`. */
  | { readonly type: 'disconnected'; readonly error: CallError; readonly ms: number }
  /** The next attempt is made in `wait`. */
  | {
      readonly type: 'reconnecting'
      readonly attempt: number
      readonly wait: number
      readonly error: CallError
    }
  /** The end, once. No error: we asked for it. */
  | { readonly type: 'stopped'; readonly error: unknown }
