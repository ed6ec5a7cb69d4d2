import type { CallError } from '../transport/errors.js'
import type { Network } from './dialer.js'
import type { TunnelInfo } from './events.js'
import type { PingOptions } from './options.js'

/** A call that is up. */
export interface Tunnel extends Network {
  readonly info: TunnelInfo
  /** Resolves when the call is over; no error: we ended it. */
  readonly closed: Promise<CallError | undefined>
  /** Ends the call properly; takes at most 3 s. */
  close(): Promise<void>
  /** Asks the server for a sign of life now; without one in a few seconds the call ends, with `PEER_SILENT`. */
  probe(): void
  /** One echo request. Rejects with {@link DialError}. */
  ping(address: string, options?: PingOptions): Promise<{ readonly ms: number; readonly size: number }>
  /** Numbers of the call and of its stack, at this moment. */
  counters(): Readonly<Record<string, number>>
}
