import { createHash, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { link, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { generate } from 'selfsigned'
import { readSmallFile } from './files.js'

export type CertificateErrorCode =
  | 'CERTIFICATE_UNREADABLE'
  | 'CERTIFICATE_SYNTAX'
  | 'CERTIFICATE_MISMATCH'
  | 'CERTIFICATE_EXPIRED'
  | 'CERTIFICATE_EXPOSED'
  | 'CERTIFICATE_UNWRITABLE'

/** The certificate or its key cannot be used; the message is one line for people. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError'
  readonly code: CertificateErrorCode
  constructor(code: CertificateErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** A certificate that its key fits. */
export interface Certificate {
  /** PEM; the leaf comes first, its chain may follow. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  /** SHA-256 of the leaf's DER, 64 lower-case hex digits: what `--pin` takes. */
  readonly sha256: string
  readonly validTo: Date
}

/** Ten years: clients pin the certificate, so it should outlive them. */
const LIFETIME_DAYS = 3650
const STATE_FILE = 'server.pem'
/** A limit of ours: chains are a few KiB. */
const MAX_FILE = 1_048_576

/** A new self-signed certificate (ECDSA P-256) for the host name, `localhost` and both loopback addresses. */
export async function makeCertificate(now = new Date()): Promise<Certificate> {
  const name = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(hostname()) ? hostname() : 'sstp-socks'
  const made = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    // A day back, for clients whose clock is behind.
    notBeforeDate: new Date(now.getTime() - 86_400_000),
    notAfterDate: new Date(now.getTime() + LIFETIME_DAYS * 86_400_000),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: name },
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
          { type: 7, ip: '::1' },
        ],
      },
    ],
  })
  return checkCertificate(made.cert, made.private, 'the new certificate', 'its key')
}

/** Reads a certificate (with its chain, if any) and its key. Rejects with {@link CertificateError}. */
export async function loadCertificate(certPath: string, keyPath: string): Promise<Certificate> {
  return checkCertificate(await readText(certPath), await readText(keyPath), certPath, keyPath)
}

/**
 * The certificate kept in `directory` (`server.pem`, mode 0600, key and certificate in one file so that
 * they cannot part); made and stored there on first use. Rejects with {@link CertificateError}.
 */
export async function stateCertificate(
  directory: string,
  now = new Date(),
): Promise<Certificate & { readonly path: string; readonly created: boolean }> {
  const path = join(directory, STATE_FILE)
  const kept = await readState(path, now)
  if (kept !== undefined) return { ...kept, path, created: false }
  const made = await makeCertificate(now)
  try {
    await makeDirectory(resolve(directory))
    const created = await storeNew(path, `${made.key.trim()}\n${made.cert.trim()}\n`)
    if (created) return { ...made, path, created }
  } catch (error) {
    throw new CertificateError('CERTIFICATE_UNWRITABLE', `cannot keep a certificate: ${reason(error)}`)
  }
  // Somebody else was first: theirs is the one that counts.
  const theirs = await readState(path, now)
  if (theirs === undefined) throw new CertificateError('CERTIFICATE_UNREADABLE', `${path} comes and goes`)
  return { ...theirs, path, created: false }
}

/** Throws {@link CertificateError} unless both are PEM, belong together, and TLS takes them. */
export function checkCertificate(cert: string, key: string, certName: string, keyName: string): Certificate {
  // A file may hold the key as well; it has no business in what is called the certificate.
  const chain = (cert.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []).join('\n')
  let leaf: X509Certificate
  try {
    leaf = new X509Certificate(chain)
  } catch {
    throw new CertificateError('CERTIFICATE_SYNTAX', `${certName} holds no PEM certificate`)
  }
  let matches: boolean
  try {
    matches = leaf.checkPrivateKey(createPrivateKey(key))
  } catch {
    const locked = /ENCRYPTED/.test(key) ? ' (it is encrypted; take the passphrase off)' : ''
    throw new CertificateError('CERTIFICATE_SYNTAX', `${keyName} holds no usable PEM private key${locked}`)
  }
  if (!matches) {
    throw new CertificateError('CERTIFICATE_MISMATCH', `${keyName} is not the key of ${certName}`)
  }
  try {
    createSecureContext({ cert: chain, key })
  } catch (error) {
    throw new CertificateError('CERTIFICATE_SYNTAX', `TLS does not take ${certName}: ${reason(error)}`)
  }
  const sha256 = createHash('sha256').update(leaf.raw).digest('hex')
  return { cert: chain, key, sha256, validTo: new Date(leaf.validTo) }
}

async function readState(path: string, now: Date): Promise<Certificate | undefined> {
  let text: string
  try {
    const { bytes, mode } = await readSmallFile(path, { most: MAX_FILE })
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      const what = `${path} holds a key and is open to others: run chmod 600 ${path}`
      throw new CertificateError('CERTIFICATE_EXPOSED', what)
    }
    text = bytes.toString('utf8')
  } catch (error) {
    if (error instanceof CertificateError) throw error
    if (hasCode(error, 'ENOENT')) return undefined
    throw new CertificateError('CERTIFICATE_UNREADABLE', `cannot read the certificate: ${reason(error)}`)
  }
  const kept = checkCertificate(text, text, path, path)
  if (kept.validTo.getTime() <= now.getTime()) {
    const what = `the certificate in ${path} has expired: remove the file, and a new one is made`
    throw new CertificateError('CERTIFICATE_EXPIRED', what)
  }
  return kept
}

/**
 * Level by level: Node's own recursive mkdir tries for ever where a level cannot be made although the one
 * above it is there (/proc).
 */
async function makeDirectory(directory: string): Promise<void> {
  const missing: string[] = []
  let level = directory
  while (!(await isDirectory(level)) && dirname(level) !== level) {
    missing.unshift(level)
    level = dirname(level)
  }
  for (const path of missing) {
    try {
      await mkdir(path, { mode: 0o700 })
    } catch (error) {
      // Made by somebody else meanwhile.
      if (!hasCode(error, 'EEXIST') || !(await isDirectory(path))) throw error
    }
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
}

/** Writes a private file whole or not at all. False if it is there already. */
async function storeNew(path: string, text: string): Promise<boolean> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await writeFile(draft, text, { mode: 0o600, flag: 'wx' })
    try {
      await link(draft, path)
      return true
    } catch (error) {
      if (hasCode(error, 'EEXIST')) return false
      // No hard links on this file system: the last one wins there.
      await rename(draft, path)
      return true
    }
  } catch (error) {
    // Nobody knows the draft's name.
    throw new Error(reason(error).replaceAll(draft, path))
  } finally {
    await rm(draft, { force: true }).catch(() => {})
  }
}

async function readText(path: string): Promise<string> {
  try {
    return (await readSmallFile(path, { most: MAX_FILE })).bytes.toString('utf8')
  } catch (error) {
    throw new CertificateError('CERTIFICATE_UNREADABLE', `cannot read the certificate: ${reason(error)}`)
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
