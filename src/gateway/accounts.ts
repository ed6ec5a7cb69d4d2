import { readSmallFile } from './files.js'
import type { Accounts } from './options.js'

export type AccountsErrorCode =
  | 'ACCOUNTS_UNREADABLE'
  | 'ACCOUNTS_EXPOSED'
  | 'ACCOUNTS_SYNTAX'
  | 'ACCOUNTS_EMPTY'

/** The accounts file cannot be used. One line for people, which never quotes from the file. */
export class AccountsError extends Error {
  override readonly name = 'AccountsError'
  readonly code: AccountsErrorCode
  /** Counted from 1; undefined if it is about the whole file. */
  readonly line: number | undefined
  constructor(code: AccountsErrorCode, message: string, line?: number) {
    super(message)
    this.code = code
    this.line = line
  }
}

/** Names and passwords travel in fields with a length of one octet (RFC 1334 2.2.1, RFC 1994 4.1). */
const MAX_FIELD = 255
/** A limit of ours, so that a wrong path does not fill the memory. */
const MAX_FILE = 1_048_576

/**
 * Reads a file of accounts, one `user:password` a line; the password may hold colons.
 * Lines beginning with `#` and blank lines are skipped; nothing else is trimmed but a final CR.
 * Since the passwords are in clear, a file that others than its owner can touch is refused
 * (not on Windows, whose modes say nothing). Rejects with {@link AccountsError}.
 */
export async function loadAccounts(path: string): Promise<Accounts> {
  const text = await readPrivate(path)
  const accounts = parseAccounts(text, path)
  return { password: (user) => accounts.get(user) }
}

/** Parses the text of an accounts file; `name` is put before the messages. Throws {@link AccountsError}. */
export function parseAccounts(text: string, name: string): ReadonlyMap<string, string> {
  const accounts = new Map<string, string>()
  const lines = new Map<string, number>()
  const rows = (text.charCodeAt(0) === 0xfeff ? text.slice(1) : text).split('\n')
  for (const [index, row] of rows.entries()) {
    const line = index + 1
    const fail = (what: string): AccountsError =>
      new AccountsError('ACCOUNTS_SYNTAX', `${name}:${line}: ${what}`, line)
    const entry = row.endsWith('\r') ? row.slice(0, -1) : row
    if (entry.trim() === '' || entry.trimStart().startsWith('#')) continue
    const colon = entry.indexOf(':')
    if (colon < 0) throw fail('no colon: a line is user:password')
    const user = entry.slice(0, colon)
    const password = entry.slice(colon + 1)
    if (user === '') throw fail('no user name before the colon')
    if (user !== user.trim()) throw fail('a space before or after the user name')
    if (password === '') throw fail('no password behind the colon')
    if (hasControl(entry)) throw fail('a control character')
    if (Buffer.byteLength(user) > MAX_FIELD) throw fail(`the user name is longer than ${MAX_FIELD} octets`)
    if (Buffer.byteLength(password) > MAX_FIELD) throw fail(`the password is longer than ${MAX_FIELD} octets`)
    const first = lines.get(user)
    if (first !== undefined) throw fail(`the user of line ${first} again`)
    accounts.set(user, password)
    lines.set(user, line)
  }
  if (accounts.size === 0) throw new AccountsError('ACCOUNTS_EMPTY', `${name}: no account in it`)
  return accounts
}

async function readPrivate(path: string): Promise<string> {
  let file: Awaited<ReturnType<typeof readSmallFile>>
  try {
    file = await readSmallFile(path, { most: MAX_FILE })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new AccountsError('ACCOUNTS_UNREADABLE', `cannot read the accounts: ${reason}`)
  }
  // The open file was asked, not the path, so that what is checked is what was read.
  const { bytes, mode } = file
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    const shown = (mode & 0o777).toString(8).padStart(4, '0')
    throw new AccountsError(
      'ACCOUNTS_EXPOSED',
      `${path} is open to others than its owner (mode ${shown}): run chmod 600 ${path}`,
    )
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new AccountsError('ACCOUNTS_SYNTAX', `${path} is not UTF-8 text`)
  }
}

function hasControl(text: string): boolean {
  for (const char of text) {
    const code = char.charCodeAt(0)
    if (code < 32 || code === 127) return true
  }
  return false
}
