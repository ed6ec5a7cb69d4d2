/**
 * Whom this computer trusts besides the roots that come with Node: the system's store, where companies put
 * their own authority, and the file of NODE_EXTRA_CA_CERTS.
 */
import { X509Certificate } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import * as tls from 'node:tls'
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls'

/** Where Unix systems keep all their roots in one file. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
  '/usr/local/etc/ssl/cert.pem',
  '/usr/local/share/certs/ca-root-nss.crt',
]
/** Limits of ours: the largest bundles have a few hundred certificates. */
const MAX_BUNDLE = 8_388_608
const MAX_FILES = 2000

const BLOCK =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g

type Environment = Readonly<Record<string, string | undefined>>

/** Node 22.15 and later ask the system itself. */
type GetCertificates = (type: 'default' | 'system' | 'extra') => string[]

/** What {@link findAuthorities} looks at; tests have their own. */
export interface AuthoritySources {
  readonly env: Environment
  readonly bundles: readonly string[]
  readonly ask: GetCertificates | undefined
}

function sources(): AuthoritySources {
  const ask = (tls as unknown as { getCACertificates?: GetCertificates }).getCACertificates
  return { env: process.env, bundles: process.platform === 'win32' ? [] : BUNDLES, ask }
}

/**
 * The system's and the extra certificates that are not among Node's own roots, as PEM. What cannot be read is
 * left out: a store that is not there is no reason not to connect.
 */
export async function findAuthorities(from: AuthoritySources = sources()): Promise<string[]> {
  const { env, bundles, ask } = from
  const texts: string[] = []
  if (env.NODE_EXTRA_CA_CERTS) texts.push(await readText(env.NODE_EXTRA_CA_CERTS))
  if (env.SSL_CERT_FILE || env.SSL_CERT_DIR) {
    // As OpenSSL has it: they replace the system's own places.
    if (env.SSL_CERT_FILE) texts.push(await readText(env.SSL_CERT_FILE))
    for (const directory of (env.SSL_CERT_DIR ?? '').split(delimiter)) {
      if (directory !== '') texts.push(...(await readDirectory(directory)))
    }
  } else if (ask !== undefined) {
    try {
      texts.push(...ask('system'))
    } catch {
      // A store that cannot be asked.
    }
  } else {
    for (const path of bundles) {
      const text = await readText(path)
      if (text === '') continue
      texts.push(text)
      break
    }
  }
  const own = new Set(rootCertificates.map(body))
  const found = new Map<string, string>()
  for (const text of texts) {
    for (const block of text.match(BLOCK) ?? []) {
      const key = body(block)
      if (own.has(key) || found.has(key)) continue
      const pem = readable(block)
      if (pem !== undefined) found.set(key, pem)
    }
  }
  return [...found.values()]
}

/** The base64 alone, which is the same however its lines are broken. */
function body(block: string): string {
  return block.replace(/-----[^-]*-----|\s+/g, '')
}

function readable(block: string): string | undefined {
  try {
    return new X509Certificate(block).toString()
  } catch {
    return undefined
  }
}

async function readText(path: string): Promise<string> {
  try {
    const stats = await stat(path)
    if (!stats.isFile() || stats.size > MAX_BUNDLE) return ''
    return (await readFile(path)).toString('latin1')
  } catch {
    return ''
  }
}

async function readDirectory(directory: string): Promise<string[]> {
  try {
    const names = (await readdir(directory)).sort().slice(0, MAX_FILES)
    return await Promise.all(names.map((name) => readText(join(directory, name))))
  } catch {
    return []
  }
}

let whole:
  | Promise<{ readonly ca: readonly string[] | undefined; readonly context: SecureContext }>
  | undefined

/**
 * All that this computer trusts, read once: undefined if those are Node's own roots, which TLS takes faster
 * than any list. The context is for connections that add nothing of their own.
 */
export function systemTrust(): Promise<{
  readonly ca: readonly string[] | undefined
  readonly context: SecureContext
}> {
  whole ??= findAuthorities().then((extra) => {
    const ca = extra.length === 0 ? undefined : [...rootCertificates, ...extra]
    return {
      ca,
      context: createSecureContext({ ...(ca === undefined ? {} : { ca }), minVersion: 'TLSv1.2' }),
    }
  })
  return whole
}
