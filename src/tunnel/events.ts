import type { CallError, Step } from '../transport/errors.js'

/** What was agreed when the tunnel came up. */
export interface TunnelInfo {
  /** `host:port` as dialled. */
  readonly server: string
  /** Our address in the tunnel; absent if IPCP or IPV6CP did not open. */
  readonly ipv4: string | undefined
  readonly ipv6: string | undefined
  /** The server's own inner address. */
  readonly peer: string | undefined
  readonly dns: readonly string[]
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
  /** Worth a log line, and no reason to stop, e.g. `UNVERIFIED_TLS`, `ZERO_BINDING_KEY`. */
  | { readonly type: 'warning'; readonly code: string; readonly message: string }
  /** For `--log-level debug`: control messages as they pass, by name only. */
  | { readonly type: 'trace'; readonly message: string }
  /** The end, once. No error: we asked for it. */
  | { readonly type: 'down'; readonly error: CallError | undefined }
