/** A certificate with its key, checked before a call is made with it. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { oneLine } from './text.js'

/** What Node's TLS is to show. Holds the key: a secret. */
export interface Identity {
  readonly context: Pick<SecureContextOptions, 'cert' | 'key' | 'pfx' | 'passphrase'>
}

/** Certificate or key cannot be used; the message is one line for people, without secrets. */
export class IdentityError extends Error {
  override readonly name = 'IdentityError'
  /** The file that is to blame. */
  readonly of: 'certificate' | 'key' | 'passphrase'

  constructor(of: IdentityError['of'], message: string) {
    super(message)
    this.of = of
  }
}

export interface IdentitySource {
  /** PEM with the leaf first and its chain behind it; or PKCS#12, which has the key too. */
  readonly certificate: Uint8Array
  /** PEM; may be absent if the certificate's file has it too. */
  readonly key?: Uint8Array
  readonly passphrase?: string
}

/** Throws {@link IdentityError}. */
export function readIdentity({ certificate, key, passphrase }: IdentitySource): Identity {
  const secret = passphrase === undefined ? {} : { passphrase }
  const text = Buffer.from(certificate).toString('latin1')
  if (!text.includes('-----BEGIN')) {
    if (key !== undefined) {
      const message = looksDer(certificate)
        ? 'it is PKCS#12, which has its own key, or DER: leave the key out, or give PEM'
        : 'it is neither PEM nor PKCS#12'
      throw new IdentityError('certificate', message)
    }
    const context = { pfx: Buffer.from(certificate), ...secret }
    try {
      createSecureContext(context)
    } catch (error) {
      throw explainPkcs12(error, passphrase)
    }
    return { context }
  }
  const pem = key === undefined ? text : Buffer.from(key).toString('latin1')
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  if (blocks.length === 0) throw new IdentityError('certificate', 'it holds no PEM certificate')
  try {
    for (const block of blocks) new X509Certificate(block)
  } catch {
    throw new IdentityError('certificate', 'a certificate in it cannot be read')
  }
  if (!/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(pem)) {
    const message =
      key === undefined ? 'it holds no private key: give its file too' : 'it holds no PEM private key'
    throw new IdentityError('key', message)
  }
  const locked = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem)
  if (locked && passphrase === undefined) {
    throw new IdentityError('passphrase', 'the key is encrypted: its passphrase is needed')
  }
  try {
    createPrivateKey({ key: pem, format: 'pem', ...(locked ? secret : {}) })
  } catch (error) {
    throw locked && /BAD_DECRYPT|BAD_PASSWORD|decrypt/i.test(codeOf(error))
      ? new IdentityError('passphrase', 'the passphrase is not that of the key')
      : new IdentityError('key', `the key cannot be read (${codeOf(error)})`)
  }
  const context = { cert: blocks.join('\n'), key: pem, ...(locked ? secret : {}) }
  try {
    createSecureContext(context)
  } catch (error) {
    const code = codeOf(error)
    throw /MISMATCH/.test(code)
      ? new IdentityError('key', 'the key is not that of the certificate')
      : new IdentityError('certificate', `it cannot be used (${code})`)
  }
  return { context }
}

function explainPkcs12(error: unknown, passphrase: string | undefined): IdentityError {
  const what = codeOf(error)
  if (/mac verify failure/i.test(what)) {
    return passphrase === undefined
      ? new IdentityError('passphrase', 'it is encrypted: its passphrase is needed')
      : new IdentityError('passphrase', 'the passphrase is not that of the PKCS#12 file')
  }
  if (/UNSUPPORTED/i.test(what)) {
    const message =
      'it is encrypted in an old way (RC2 or DES) that OpenSSL 3 no longer reads: export it anew with AES-256, or convert it with "openssl pkcs12 -legacy"'
    return new IdentityError('certificate', message)
  }
  return new IdentityError('certificate', `it is neither PEM nor PKCS#12 (${what})`)
}

/** ASN.1's SEQUENCE. */
function looksDer(b: Uint8Array): boolean {
  return b[0] === 0x30
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return oneLine(String(error))
  return oneLine((error as NodeJS.ErrnoException).code ?? error.message)
}
