import type { DialErrorCode } from '../tunnel/dialer.js'

export type ProxyProtocol =
  | 'socks4'
  | 'socks5'
  | 'bind'
  | 'udp' // UDP ASSOCIATE; the host is where the client sends from
  | 'resolve'
  | 'connect'
  | 'http'
  | 'upgrade'
  | 'forward' // -L, -R and stdio

/**
 * What a proxy tells its owner. `client` numbers accepted connections from 1. An HTTP connection may
 * carry several exchanges, each with its own `open` and `done`.
 */
export type ProxyEvent =
  | { readonly type: 'accepted'; readonly client: number; readonly from: string }
  /** A connection through the tunnel stands. */
  | {
      readonly type: 'open'
      readonly client: number
      readonly protocol: ProxyProtocol
      readonly host: string
      readonly port: number
    }
  /** None came about. */
  | {
      readonly type: 'failed'
      readonly client: number
      readonly protocol: ProxyProtocol
      readonly host: string
      readonly port: number
      readonly code: DialErrorCode | 'internal'
      readonly message: string
    }
  /** It is over. Octets as the client sent and received them; no error: it ended properly. */
  | {
      readonly type: 'done'
      readonly client: number
      readonly protocol: ProxyProtocol
      readonly host: string
      readonly port: number
      readonly up: number
      readonly down: number
      readonly error: string | undefined
    }
  /** The client was turned away for what it said, or did not say in time, or because there are too many. */
  | {
      readonly type: 'rejected'
      readonly client: number
      readonly from: string
      readonly reason: 'malformed' | 'timeout' | 'limit' | 'credentials' | 'forbidden'
      readonly message: string
    }
  /** UDP ASSOCIATE: datagrams were thrown away; told once for each reason and association. */
  | {
      readonly type: 'dropped'
      readonly client: number
      readonly protocol: ProxyProtocol
      readonly host: string
      readonly port: number
      readonly reason: DropReason
      readonly message: string
    }
  | { readonly type: 'closed'; readonly client: number }

export type DropReason =
  | 'source' // not from the client, or from another port of it
  | 'fragment' // RFC 1928 7 leaves fragments to whoever wants them
  | 'malformed'
  | 'too-large' // with its header no datagram any more
  | 'queue' // the client does not take them
