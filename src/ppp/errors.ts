/** The part of PPP that gave up. */
export type PppLayer = 'lcp' | 'auth' | 'ipcp' | 'ipv6cp'

/**
 * Why a link ended, or a network protocol did not come up. Stable.
 *
 * - `NO_ANSWER`: nobody answers our requests
 * - `REJECTED`: the peer does not know the protocol, or a packet that it must know
 * - `NOT_CONVERGING`: the ends go on disagreeing
 * - `TERMINATED`: the peer ended it
 * - `LCP_RESTARTED`: the peer began LCP anew in the open link, which one SSTP call cannot survive
 * - `LCP_LOOPED`: we hear ourselves
 * - `LCP_NO_ECHO`: an open link fell silent
 * - `AUTH_METHOD`: no method that both ends want
 * - `AUTH_NONE`: the server wants no authentication, and we insist on one
 * - `AUTH_REFUSED`: the credentials were not accepted
 * - `AUTH_SERVER_UNPROVEN`: the server could not show that it knows the password
 * - `AUTH_CREDENTIALS`: name or password cannot be sent with this method
 * - `AUTH_TLS`: TLS inside EAP failed
 * - `AUTH_UNTRUSTED`: the certificate that the peer showed inside EAP was not accepted
 * - `AUTH_UNAVAILABLE`: whoever knows the accounts could not be asked
 * - `NO_ADDRESS`: the server gave no address, or has none left
 */
export type PppErrorCode =
  | 'NO_ANSWER'
  | 'REJECTED'
  | 'NOT_CONVERGING'
  | 'TERMINATED'
  | 'LCP_RESTARTED'
  | 'LCP_LOOPED'
  | 'LCP_NO_ECHO'
  | 'AUTH_METHOD'
  | 'AUTH_NONE'
  | 'AUTH_REFUSED'
  | 'AUTH_SERVER_UNPROVEN'
  | 'AUTH_CREDENTIALS'
  | 'AUTH_TLS'
  | 'AUTH_UNTRUSTED'
  | 'AUTH_UNAVAILABLE'
  | 'NO_ADDRESS'

/** Why the link, or a part of it, ended: a value that travels in events; nothing here throws it. */
export class PppError extends Error {
  override readonly name = 'PppError'
  readonly layer: PppLayer
  readonly code: PppErrorCode
  readonly fault: 'local' | 'remote'
  /** The E= code of an MS-CHAPv2 Failure (RFC 2759 6), if there was one: 646, 647, 648, 649, 691, 709. */
  readonly reason: number | undefined

  constructor(
    layer: PppLayer,
    code: PppErrorCode,
    message: string,
    fault: 'local' | 'remote' = 'remote',
    reason?: number,
  ) {
    super(message)
    this.layer = layer
    this.code = code
    this.fault = fault
    this.reason = reason
  }
}

/** Text of a peer made fit for a message or a log: one line, no control characters, at most 200 characters. */
export function peerText(b: Uint8Array, o: number, len: number): string {
  const text = new TextDecoder().decode(b.subarray(o, o + Math.min(len, 800)))
  // Cc, Cf and the separators would let a peer forge log lines or hide text.
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim()
    .slice(0, 200)
}
