import { DialError, type DialErrorCode } from '../tunnel/dialer.js'

/** RFC 1928 6. */
export const SocksReply = {
  SUCCEEDED: 0x00,
  GENERAL_FAILURE: 0x01,
  NOT_ALLOWED: 0x02,
  NETWORK_UNREACHABLE: 0x03,
  HOST_UNREACHABLE: 0x04,
  CONNECTION_REFUSED: 0x05,
  TTL_EXPIRED: 0x06,
  COMMAND_NOT_SUPPORTED: 0x07,
  ADDRESS_TYPE_NOT_SUPPORTED: 0x08,
} as const
export type SocksReplyCode = (typeof SocksReply)[keyof typeof SocksReply]

/** How a failed connection is told to a client, in either protocol. */
export interface FailureReply {
  readonly socks: SocksReplyCode
  readonly status: number
  /** RFC 9209 2.3. */
  readonly proxyStatus: string
}

/** The one place where a dialler's error becomes a reply. */
export const FAILURE_REPLIES: Readonly<Record<DialErrorCode, FailureReply>> = {
  refused: { socks: SocksReply.CONNECTION_REFUSED, status: 502, proxyStatus: 'connection_refused' },
  reset: { socks: SocksReply.GENERAL_FAILURE, status: 502, proxyStatus: 'connection_terminated' },
  'host-unreachable': {
    socks: SocksReply.HOST_UNREACHABLE,
    status: 502,
    proxyStatus: 'destination_ip_unroutable',
  },
  'network-unreachable': {
    socks: SocksReply.NETWORK_UNREACHABLE,
    status: 502,
    proxyStatus: 'destination_ip_unroutable',
  },
  'ttl-expired': { socks: SocksReply.TTL_EXPIRED, status: 502, proxyStatus: 'destination_ip_unroutable' },
  prohibited: { socks: SocksReply.NOT_ALLOWED, status: 502, proxyStatus: 'destination_ip_unroutable' },
  'timed-out': { socks: SocksReply.TTL_EXPIRED, status: 504, proxyStatus: 'connection_timeout' },
  'name-not-found': { socks: SocksReply.HOST_UNREACHABLE, status: 502, proxyStatus: 'dns_error' },
  'name-refused': { socks: SocksReply.HOST_UNREACHABLE, status: 502, proxyStatus: 'dns_error' },
  'name-failed': { socks: SocksReply.GENERAL_FAILURE, status: 502, proxyStatus: 'dns_error' },
  'name-timed-out': { socks: SocksReply.GENERAL_FAILURE, status: 504, proxyStatus: 'dns_timeout' },
  'name-invalid': { socks: SocksReply.HOST_UNREACHABLE, status: 400, proxyStatus: 'http_request_error' },
  'not-allowed': { socks: SocksReply.NOT_ALLOWED, status: 403, proxyStatus: 'http_request_denied' },
  'too-large': { socks: SocksReply.GENERAL_FAILURE, status: 502, proxyStatus: 'proxy_internal_error' },
  'no-resources': {
    socks: SocksReply.GENERAL_FAILURE,
    status: 503,
    proxyStatus: 'connection_limit_reached',
  },
  aborted: { socks: SocksReply.GENERAL_FAILURE, status: 502, proxyStatus: 'proxy_internal_error' },
  'tunnel-down': { socks: SocksReply.GENERAL_FAILURE, status: 503, proxyStatus: 'destination_unavailable' },
  // A network that cannot be reached now, and perhaps soon.
  'tunnel-reconnecting': {
    socks: SocksReply.NETWORK_UNREACHABLE,
    status: 503,
    proxyStatus: 'destination_unavailable',
  },
}

/** What a rejected dial says; anything but a {@link DialError} is a fault of ours. */
export function describeFailure(error: unknown): {
  readonly code: DialErrorCode | 'internal'
  readonly message: string
  readonly reply: FailureReply
} {
  if (error instanceof DialError) {
    return { code: error.code, message: error.message, reply: FAILURE_REPLIES[error.code] }
  }
  const message = error instanceof Error ? error.message : String(error)
  const reply: FailureReply = {
    socks: SocksReply.GENERAL_FAILURE,
    status: 500,
    proxyStatus: 'proxy_internal_error',
  }
  return { code: 'internal', message, reply }
}
