import type { DialErrorCode } from '../tunnel/dialer.js'

/** One question to our own DNS server is answered. */
export interface DnsEvent {
  readonly type: 'dns-query'
  /** Address and port of whoever asked. */
  readonly client: string
  readonly transport: 'udp' | 'tcp'
  /** Lower case; odd octets are escaped. Empty if the question could not be read. */
  readonly name: string
  /** Number of the record type. */
  readonly queryType: number
  readonly rcode: number
  /** Why it failed or was refused. */
  readonly reason?: string
  /** The same, if it was about the name. */
  readonly code?: DialErrorCode
}
