import { readSmallFile } from '../gateway/files.js'
import { UsageError } from './errors.js'

export { readCertificates } from './certificates.js'

/** Only the first line counts; a limit so that a wrong path does not fill the memory. */
export const MAX_PASSWORD_FILE = 65_536

/** Where user name and password may come from. */
export interface CredentialSources {
  /** From `<server>`. */
  readonly url: { readonly user: string | undefined; readonly password: string | undefined }
  readonly user: string | undefined
  /** `--password`. */
  readonly password: string | undefined
  /** `--password-file`; `-` is standard input. */
  readonly passwordFile: string | undefined
  /** `--password-command`, run. */
  readonly passwordCommand?: (() => Promise<string>) | undefined
  /** There is a certificate to sign in with, and a password is not asked for if none is given. */
  readonly optional?: boolean
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
  const given = [from.url.password, from.password, from.passwordFile, from.passwordCommand].filter(
    (value) => value !== undefined,
  )
  if (given.length > 1) {
    throw new UsageError(
      'the password is given twice: use one of --password-file, --password-command, --password, <server>',
    )
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
  if (from.passwordFile !== undefined) {
    return readPasswordFile('--password-file', from.passwordFile, from)
  }
  if (from.passwordCommand !== undefined) return from.passwordCommand()
  const stored = from.env.SSTP_PASSWORD
  if (stored !== undefined && stored !== '') return stored
  if (from.optional === true) return ''
  if (from.ask === undefined) {
    throw new UsageError('no password: give --password-file FILE (- is standard input) or SSTP_PASSWORD')
  }
  const typed = await from.ask(`Password for ${user}: `, true)
  if (typed === '') throw new UsageError('no password')
  return typed
}

/** The first line of a file, `-` being standard input. Throws {@link UsageError} about `option`. */
export async function readPasswordFile(
  option: string,
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
    throw new UsageError(`${option}: ${messageOf(error)}`)
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new UsageError(`${option}: ${name} is not UTF-8 text`)
  }
  const [line = ''] = text.split('\n', 1)
  const password = line.endsWith('\r') ? line.slice(0, -1) : line
  if (password === '') throw new UsageError(`${option}: the first line of ${name} is empty`)
  return password
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
