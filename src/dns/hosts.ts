import { readFileSync, type Stats, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { type Clock, systemClock } from './clock.js'
import type { HostType } from './message.js'
import { normalizeAddress, normalizeName, reverseName } from './names.js'

/** Names that are known without asking anybody. */
export interface HostNames {
  /** Addresses or names, in the order in which they are written; undefined: nothing is known of this name. */
  get(name: string, type: HostType): readonly string[] | undefined
  /** Resolves when what `get` says is up to date. Never rejects. */
  refresh?(): Promise<void>
}

/** What a hosts(5) file says. */
export interface HostsTable {
  readonly addresses: ReadonlyMap<string, readonly string[]>
  /** First names of addresses, under their reverse names. */
  readonly names: ReadonlyMap<string, string>
  /** Numbers of lines that are not understood; they are passed over. */
  readonly badLines: readonly number[]
}

/**
 * Reads a hosts(5) file: an address and names a line, comments behind `#`. Names of `localhost` are left out: what they
 * mean is fixed. Throws an `Error` for a file beyond all measure.
 */
export function parseHosts(text: string): HostsTable {
  const addresses = new Map<string, string[]>()
  const names = new Map<string, string>()
  const badLines: number[] = []
  let count = 0
  let number = 0
  for (const line of text.split('\n')) {
    number++
    const [first, ...rest] = line.replace(/#.*/s, '').trim().split(/\s+/)
    if (first === undefined || first === '') continue
    const address = normalizeAddress(first)
    const hosts = rest.map(normalizeName)
    if (address === undefined || hosts.length === 0 || hosts.includes(undefined)) badLines.push(number)
    if (address === undefined) continue
    for (const host of hosts) {
      if (host === undefined || host === 'localhost' || host.endsWith('.localhost')) continue
      if (++count > MAX_NAMES) throw new Error(`it has more than ${MAX_NAMES} names`)
      const known = addresses.get(host)
      if (known === undefined) addresses.set(host, [address])
      else if (!known.includes(address)) known.push(address)
      const reverse = reverseName(address)
      if (!names.has(reverse)) names.set(reverse, host)
    }
  }
  return { addresses, names, badLines }
}

export interface HostsFileOptions {
  readonly clock?: Clock
  /** Called when the file has changed and was read again, or could not be: then what it said before holds. */
  readonly onReload?: (table: HostsTable, error: Error | undefined) => void
}

/** A hosts(5) file, read again when it has changed; it is looked at before a question, every few seconds at most. */
export class HostsFile implements HostNames {
  readonly #path: string
  readonly #clock: Clock
  readonly #onReload: HostsFileOptions['onReload']
  #table: HostsTable
  /** Of the file as it was read. */
  #stamp: string
  #looked: number
  #looking: Promise<void> | undefined

  /** Throws what Node throws if the file cannot be read, and an `Error` if it is no file or too large. */
  constructor(path: string, options: HostsFileOptions = {}) {
    this.#path = path
    this.#clock = options.clock ?? systemClock
    this.#onReload = options.onReload
    const stats = statSync(path)
    // A device may have no end. A pipe is what a shell makes of <(command).
    if (!stats.isFile() && !stats.isFIFO()) throw new Error('it is neither a file nor a pipe')
    checkSize(stats)
    this.#table = parseHosts(checked(readFileSync(path)))
    // Read once more at the first look: what it was when it was read is not known for certain.
    this.#stamp = ''
    this.#looked = this.#clock.now()
  }

  get table(): HostsTable {
    return this.#table
  }

  get(name: string, type: HostType): readonly string[] | undefined {
    const { addresses, names } = this.#table
    if (type === 'PTR') {
      const host = names.get(name)
      return host === undefined ? undefined : [host]
    }
    return addresses.get(name)?.filter((address) => address.includes(':') === (type === 'AAAA'))
  }

  async refresh(): Promise<void> {
    if (this.#clock.now() - this.#looked < INTERVAL) return this.#looking
    this.#looked = this.#clock.now()
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #look(): Promise<void> {
    const before = this.#stamp
    try {
      const stats = await stat(this.#path)
      // What came through a pipe is gone once it was read.
      if (!stats.isFile()) return
      const { mtimeMs, ctimeMs, size, ino } = stats
      const stamp = [mtimeMs, ctimeMs, size, ino].join(' ')
      if (stamp === before) return
      this.#stamp = stamp
      checkSize(stats)
      const table = parseHosts(checked(await readFile(this.#path)))
      const isNew = before !== '' || !sameTable(table, this.#table)
      this.#table = table
      if (isNew) this.#onReload?.(table, undefined)
    } catch (error) {
      // Editors replace files: it may be back at the next look, and is news only once.
      this.#stamp = 'unreadable'
      if (before === 'unreadable') return
      this.#onReload?.(this.#table, error instanceof Error ? error : new Error(String(error)))
    }
  }
}

function checked(bytes: Buffer): string {
  // It may have grown since, and that of a pipe is not known before.
  checkSize({ size: bytes.length })
  return bytes.toString('utf8')
}

function checkSize({ size }: Pick<Stats, 'size'>): void {
  if (size > MAX_OCTETS) throw new Error(`it has more than ${MAX_OCTETS} octets`)
}

function sameTable(a: HostsTable, b: HostsTable): boolean {
  return JSON.stringify([...a.addresses]) === JSON.stringify([...b.addresses])
}

// Ours: milliseconds, counts, octets.
const INTERVAL = 2_000
const MAX_NAMES = 200_000
const MAX_OCTETS = 16_000_000
