import type { DialOptions } from '../tunnel/dialer.js'
import type { TransportProtocol } from './rules.js'

/** What of a host a direct socket may use. */
export interface DirectGate {
  /** Throws `not-allowed`. */
  check(address: string, port: number, protocol: TransportProtocol, name: string | undefined): void
  /** What is known of a host without asking: an address, or this machine; a name to be asked for has no list. Throws. */
  classify(host: string): { readonly name: string | undefined; readonly list: readonly string[] | undefined }
  /** Addresses of a name by the system's resolver, best first. Rejects with {@link DialError}. */
  lookup(name: string, options: DialOptions): Promise<readonly string[]>
}
