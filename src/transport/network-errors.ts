/** What sockets and TLS say when they fail, in words. */
import { CallError } from './errors.js'
import { AddressesError } from './happy-eyeballs.js'

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no way there',
  ENETUNREACH: 'no way there',
  EADDRNOTAVAIL: 'no way there',
  EACCES: 'not allowed by this system',
  EPERM: 'not allowed by this system',
  ECONNRESET: 'closed at once',
}

/** No connection to any address of `name` (`host:port`). */
export function explainConnect(error: unknown, name: string): CallError {
  const failures = error instanceof AddressesError ? error.failures : undefined
  const codes = failures?.map((f) => codeOf(f.error)) ?? [codeOf(error)]
  const telling = ['ECONNREFUSED', 'ETIMEDOUT'].find((c) => codes.includes(c)) ?? codes[0] ?? ''
  const each =
    failures !== undefined && new Set(codes).size > 1
      ? failures.map((f) => `${f.address}: ${WORDS[codeOf(f.error)] ?? codeOf(f.error)}`).join('; ')
      : undefined
  const all = each === undefined ? '' : ` (${each})`
  switch (telling) {
    case 'ECONNREFUSED':
      return unreachable('TCP_REFUSED', `nobody listens on ${name}${all}`, 'check host and port')
    case 'ETIMEDOUT':
      return unreachable(
        'TCP_TIMEOUT',
        `${name} does not answer${all}`,
        'check host and port; where only a proxy leads out of a network, give it with --upstream',
      )
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EADDRNOTAVAIL':
      return unreachable(
        'TCP_UNREACHABLE',
        `there is no way to ${name}${each === undefined ? ` (${telling})` : all}`,
        "check this computer's network",
      )
  }
  return unreachable(
    'TCP_FAILED',
    `cannot connect to ${name}${each === undefined ? ` (${telling})` : all}`,
    telling === 'EACCES' || telling === 'EPERM' ? "check this computer's firewall" : undefined,
  )
}

function unreachable(code: string, message: string, hint?: string): CallError {
  return new CallError('tcp', 'unreachable', code, message, hint)
}

/** The TLS handshake broke, or the connection did during it. */
export function explainTls(error: unknown, name: string): CallError {
  const code = codeOf(error)
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return failed('TLS_CLOSED', `${name} closed the connection during TLS: not an SSTP server`)
  }
  if (/WRONG_VERSION_NUMBER|_LENGTH_TOO_LONG|HTTP_REQUEST|UNEXPECTED_MESSAGE|BAD_RECORD/.test(code)) {
    return failed(
      'TLS_NOT_TLS',
      `${name} does not speak TLS: not an SSTP server`,
      'a plain web server or another service listens there; SSTP usually is on port 443',
    )
  }
  const wanted = explainClientCertificate(error, name)
  if (wanted !== undefined) return wanted
  if (/UNSUPPORTED_PROTOCOL|ALERT_PROTOCOL_VERSION|VERSION_TOO_LOW/.test(code)) {
    return failed(
      'TLS_TOO_OLD',
      `${name} does not speak TLS 1.2 or later`,
      'its software or its settings are too old: whoever runs it must allow TLS 1.2',
    )
  }
  if (
    /UNSAFE_LEGACY_RENEGOTIATION|DH_KEY_TOO_SMALL|EE_KEY_TOO_SMALL|CA_MD_TOO_WEAK|WRONG_SIGNATURE_TYPE/.test(
      code,
    )
  ) {
    const what = code
      .replace(/^ERR_SSL_/, '')
      .toLowerCase()
      .replace(/_/g, ' ')
    return failed(
      'TLS_FAILED',
      `TLS of ${name} is too weak for this system (${what})`,
      'its software is too old',
    )
  }
  const alert = /ALERT_([A-Z0-9_]+)$/.exec(code)?.[1]?.toLowerCase().replace(/_/g, ' ')
  if (alert === 'handshake failure') {
    return failed(
      'TLS_FAILED',
      `TLS with ${name} failed (the server says: ${alert})`,
      'it has no certificate, none for this name (see --sni), only old ciphers, or wants a client certificate (--tls-cert)',
    )
  }
  if (alert === 'unrecognized name') {
    return failed('TLS_FAILED', `${name} does not know the name that was asked for (SNI)`, 'see --sni')
  }
  const what = alert === undefined ? `(${code})` : `(the server says: ${alert})`
  return failed('TLS_FAILED', `TLS with ${name} failed ${what}`)
}

/** The server wants a client certificate, or another; TLS 1.3 tells only after the handshake. RFC 8446 4.4.2 */
export function explainClientCertificate(error: unknown, name: string): CallError | undefined {
  const code = codeOf(error)
  if (/ALERT_CERTIFICATE_REQUIRED/.test(code)) {
    return failed(
      'TLS_CLIENT_CERTIFICATE',
      `${name} wants a client certificate for TLS`,
      'say which with --tls-cert FILE and --tls-key FILE',
    )
  }
  const which =
    /ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_EXPIRED|CERTIFICATE_REVOKED|CERTIFICATE_UNKNOWN|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)$/.exec(
      code,
    )?.[1]
  if (which === undefined) return undefined
  const said = which.toLowerCase().replace(/_/g, ' ')
  return failed(
    'TLS_CLIENT_CERTIFICATE',
    `${name} does not take our client certificate (it says: ${said})`,
    'check --tls-cert: the server must know its issuer, and it must be valid',
  )
}

function failed(code: string, message: string, hint?: string): CallError {
  return new CallError('tls', 'protocol', code, message, hint)
}

function codeOf(error: unknown): string {
  const e = error as NodeJS.ErrnoException
  return e.code ?? e.message
}
