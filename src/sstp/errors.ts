/** Every code that SSTP reports. Stable: users and exit statuses rely on it. */
export const SSTP_ERROR_CODES = [
  'SSTP_VERSION', // a packet of another version: the stream cannot be delimited any more
  'SSTP_LENGTH', // a packet length below 4: likewise
  'SSTP_INVALID_MESSAGE', // a control message whose parts do not fit together, or lacks what it must have
  'SSTP_UNKNOWN_MESSAGE', // a message type that does not exist
  'SSTP_UNACCEPTED_MESSAGE', // a message out of its place
  'SSTP_NO_COMMON_HASH', // the server offers no hash that we allow
  'SSTP_REQUEST_REFUSED', // CALL_CONNECT_REQUEST was refused as often as we try
  'SSTP_CRYPTO_BINDING', // the client did not prove that it owns both the TLS connection and the log-in
  'SSTP_NEGOTIATION_TIMEOUT', // the call was not up in time
  'SSTP_HELLO_TIMEOUT', // nothing came for two hello intervals
  'SSTP_PEER_ABORT', // the other end sent CALL_ABORT
  'SSTP_LOCAL_ABORT', // our owner asked for CALL_ABORT
  'SSTP_CONNECTION_CLOSED', // the connection ended without CALL_DISCONNECT
] as const
export type SstpErrorCode = (typeof SSTP_ERROR_CODES)[number]

/** Something went wrong in SSTP: what, through whom, and one line for people. Never holds a secret. */
export class SstpError extends Error {
  override readonly name = 'SstpError'
  readonly layer = 'sstp'
  readonly code: SstpErrorCode
  /** Who broke the rules, or did not answer. */
  readonly fault: 'local' | 'remote'
  /** The status code of a Status Info attribute that was sent or received with it. MS-SSTP 2.2.8 */
  readonly status: number | undefined
  constructor(code: SstpErrorCode, fault: 'local' | 'remote', message: string, status?: number) {
    super(message)
    this.code = code
    this.fault = fault
    this.status = status
  }
}

/** What a framer's code means, for people. `peer` is who sent the stream. */
export function framingError(code: SstpErrorCode, peer: 'client' | 'server'): SstpError {
  const what = code === 'SSTP_VERSION' ? 'is not SSTP version 1.0' : 'cannot be cut into SSTP packets'
  return new SstpError(code, 'remote', `what the ${peer} sent ${what}`)
}
