import { X509Certificate } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { loadCertificate } from '../gateway/certificate.js'
import { readSmallFile } from '../gateway/files.js'
import { UsageError } from './errors.js'

const MAX_CA_FILE = 1_048_576
/** Limits of ours: a system's whole store has a few hundred. */
const MAX_CA_FILES = 2000

const BLOCK =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g

/**
 * The certificates of a `--ca` file (PEM with any number, or one in DER) or of all such files in a directory,
 * as PEM. Throws {@link UsageError}.
 */
export async function readCertificates(path: string): Promise<string> {
  const found = new Map<string, string>()
  const directory = isDirectory(path)
  for (const file of directory ? filesOf(path) : [path]) {
    for (const certificate of await readFile(file, directory)) {
      found.set(certificate.fingerprint256, certificate.toString().trim())
    }
  }
  if (found.size === 0) {
    throw new UsageError(`--ca: ${path} holds no PEM certificate${directory ? ', and none in DER' : ''}`)
  }
  return `${[...found.values()].join('\n')}\n`
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function filesOf(directory: string): string[] {
  let names: string[]
  try {
    names = readdirSync(directory).filter((name) => !name.startsWith('.'))
  } catch (error) {
    throw new UsageError(`--ca: ${messageOf(error)}`)
  }
  if (names.length > MAX_CA_FILES)
    throw new UsageError(`--ca: ${directory} has more than ${MAX_CA_FILES} files`)
  return names.sort().map((name) => join(directory, name))
}

/** `lenient`: one of many files of a directory, which may be something else. */
async function readFile(path: string, lenient: boolean): Promise<X509Certificate[]> {
  let bytes: Buffer
  try {
    bytes = (await readSmallFile(path, { most: MAX_CA_FILE })).bytes
  } catch (error) {
    if (lenient) return []
    throw new UsageError(`--ca: ${messageOf(error)}`)
  }
  const blocks = bytes.toString('latin1').match(BLOCK) ?? []
  if (blocks.length === 0) {
    // DER begins with a SEQUENCE; anything else OpenSSL would try as text.
    const one = bytes[0] === 0x30 ? parse(bytes) : undefined
    return one === undefined ? [] : [one]
  }
  return blocks.map((block, index) => {
    const one = parse(block)
    if (one === undefined) throw new UsageError(`--ca: certificate ${index + 1} in ${path} cannot be read`)
    return one
  })
}

function parse(data: string | Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(data)
  } catch {
    return undefined
  }
}

/**
 * The client certificate of the outer TLS. The key may be in the same file. Rejects with `CertificateError`.
 */
export async function readClientCertificate(
  certPath: string,
  keyPath: string | undefined,
): Promise<{ cert: string; key: string }> {
  const { cert, key } = await loadCertificate(certPath, keyPath ?? certPath)
  return { cert, key: keyOf(key) }
}

/** Without the certificates that may stand around it. */
function keyOf(text: string): string {
  return /-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*-----END [A-Z ]*PRIVATE KEY-----/.exec(text)?.[0] ?? text
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
