import { X509Certificate } from 'node:crypto'
import { readSmallFile } from '../gateway/files.js'
import { UsageError } from './errors.js'

/** Only the first line counts; a limit so that a wrong path does not fill the memory. */
export const MAX_PASSWORD_FILE = 65_536
const MAX_CA_FILE = 1_048_576

/** Where user name and password may come from. */
export interface CredentialSources {
  /** From `<server>`. */
  readonly url: { readonly user: string | undefined; readonly password: string | undefined }
  readonly user: string | undefined
  /** `--password`. */
  readonly password: string | undefined
  /** `--password-file`; `-` is standard input. */
  readonly passwordFile: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readStdin: () => Promise<Uint8Array>
  /** Aborted: nobody waits any more for a pipe given as `--password-file`. */
  readonly signal?: AbortSignal
  /** Absent without a terminal. */
  readonly ask: ((question: string, hidden: boolean) => Promise<string>) | undefined
  /** Called when the password stands on the command line. */
  readonly onVisible: () => void
}

/**
 * The credentials: options and URL first, then `SSTP_USER` and `SSTP_PASSWORD`, then the terminal.
 * Throws {@link UsageError} for what is missing, empty, or said in two ways.
 */
export async function findCredentials(from: CredentialSources): Promise<{ user: string; password: string }> {
  if (from.user !== undefined && from.url.user !== undefined && from.user !== from.url.user) {
    throw new UsageError('two user names: one in <server>, one in --user')
  }
  const given = [from.url.password, from.password, from.passwordFile].filter((value) => value !== undefined)
  if (given.length > 1) {
    throw new UsageError('the password is given twice: use one of --password-file, --password, <server>')
  }
  const named = from.user ?? from.url.user ?? (from.env.SSTP_USER || undefined)
  if (named === undefined && from.ask === undefined) {
    throw new UsageError('no user name: give --user NAME, SSTP_USER or sstp://user@host')
  }
  const user = named ?? (await from.ask?.('User: ', false)) ?? ''
  if (user === '') throw new UsageError('no user name')
  return { user, password: await findPassword(from, user) }
}

async function findPassword(from: CredentialSources, user: string): Promise<string> {
  const visible = from.password ?? from.url.password
  if (visible !== undefined) {
    from.onVisible()
    return visible
  }
  if (from.passwordFile !== undefined) return readPasswordFile(from.passwordFile, from)
  const stored = from.env.SSTP_PASSWORD
  if (stored !== undefined && stored !== '') return stored
  if (from.ask === undefined) {
    throw new UsageError('no password: give --password-file FILE (- is standard input) or SSTP_PASSWORD')
  }
  const typed = await from.ask(`Password for ${user}: `, true)
  if (typed === '') throw new UsageError('no password')
  return typed
}

async function readPasswordFile(
  path: string,
  { readStdin, signal }: Pick<CredentialSources, 'readStdin' | 'signal'>,
): Promise<string> {
  const name = path === '-' ? 'standard input' : path
  let bytes: Uint8Array
  try {
    bytes =
      path === '-'
        ? await readStdin()
        : (await readSmallFile(path, { most: MAX_PASSWORD_FILE, pipes: true, signal })).bytes
  } catch (error) {
    throw new UsageError(`--password-file: ${messageOf(error)}`)
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new UsageError(`--password-file: ${name} is not UTF-8 text`)
  }
  const [line = ''] = text.split('\n', 1)
  const password = line.endsWith('\r') ? line.slice(0, -1) : line
  if (password === '') throw new UsageError(`--password-file: the first line of ${name} is empty`)
  return password
}

/** The certificates of a `--ca` file, as PEM. Throws {@link UsageError}. */
export async function readCertificates(path: string): Promise<string> {
  let text: string
  try {
    text = (await readSmallFile(path, { most: MAX_CA_FILE })).bytes.toString('latin1')
  } catch (error) {
    throw new UsageError(`--ca: ${messageOf(error)}`)
  }
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  if (blocks.length === 0) throw new UsageError(`--ca: ${path} holds no PEM certificate`)
  for (const [index, block] of blocks.entries()) {
    try {
      new X509Certificate(block)
    } catch {
      throw new UsageError(`--ca: certificate ${index + 1} in ${path} cannot be read`)
    }
  }
  return `${blocks.join('\n')}\n`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
