/** OpenSSL's and the system's codes in words. */
import t from 'tap'
import { explainClientCertificate, explainTls } from '../../src/transport/network-errors.js'

const failed = (code: string): Error => Object.assign(new Error('foreign words'), { code })

t.test('what breaks a TLS handshake', async (t) => {
  const table: readonly (readonly [string, string, RegExp])[] = [
    ['ECONNRESET', 'TLS_CLOSED', /closed the connection during TLS/],
    ['EPIPE', 'TLS_CLOSED', /closed the connection/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'TLS_NOT_TLS', /does not speak TLS:/],
    ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'TLS_NOT_TLS', /does not speak TLS:/],
    ['ERR_SSL_DATA_LENGTH_TOO_LONG', 'TLS_NOT_TLS', /does not speak TLS:/],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'TLS_TOO_OLD', /TLS 1\.2 or later$/],
    ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'TLS_TOO_OLD', /TLS 1\.2 or later$/],
    [
      'ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED',
      'TLS_FAILED',
      /too weak for this system \(unsafe legacy/,
    ],
    ['ERR_SSL_DH_KEY_TOO_SMALL', 'TLS_FAILED', /too weak for this system \(dh key too small\)/],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'TLS_FAILED', /\(the server says: handshake failure\)/],
    ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', 'TLS_FAILED', /\(ERR_SSL_TLSV1_UNRECOGNIZED_NAME\)/],
    ['ERR_SSL_TLSV1_ALERT_UNRECOGNIZED_NAME', 'TLS_FAILED', /does not know the name that was asked for/],
    ['ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', 'TLS_FAILED', /\(the server says: internal error\)/],
    ['ERR_SSL_SOMETHING_NEW', 'TLS_FAILED', /\(ERR_SSL_SOMETHING_NEW\)/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'TLS_CLIENT_CERTIFICATE', /wants a client certificate/],
    [
      'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
      'TLS_CLIENT_CERTIFICATE',
      /does not take our client certificate \(it says: unknown ca\)/,
    ],
    ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'TLS_CLIENT_CERTIFICATE', /certificate expired/],
  ]
  for (const [code, name, message] of table) {
    const error = explainTls(failed(code), 'vpn.example:443')
    t.match(error, { step: 'tls', kind: 'protocol', code: name, message }, code)
    t.match(error.message, 'vpn.example:443')
    t.notMatch(error.message, /foreign/)
    const later = explainClientCertificate(failed(code), 'vpn.example:443')
    t.equal(later?.code, name === 'TLS_CLIENT_CERTIFICATE' ? name : undefined, 'behind the handshake')
  }
})
