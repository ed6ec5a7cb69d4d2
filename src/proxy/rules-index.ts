/** Tables that find the first of many rules for a name or an address without looking at all of them. */

/** No rule. Every index is below it. */
export const NONE = 0x7fffffff

/** Indexes of rules with one key, ascending. */
type Indexes = number[]

/** Whether the rule at an index takes a connection at all: its port and protocol. */
export interface Fits {
  /** It takes all, so no later rule with the same key is ever reached. */
  isOpen(index: number): boolean
  fits(index: number, port: number | undefined, protocol: string | undefined): boolean
}

/** Appends unless an earlier rule with the same key takes everything already. Called in ascending order. */
function append(list: Indexes, index: number, fits: Fits): void {
  const last = list[list.length - 1]
  if (last === undefined || !fits.isOpen(last)) list.push(index)
}

/** The first that fits and is below `limit`, else `limit`. */
export function firstFit(
  list: Indexes | undefined,
  limit: number,
  fits: Fits,
  port: number | undefined,
  protocol: string | undefined,
): number {
  if (list === undefined) return limit
  for (const index of list) {
    if (index >= limit) return limit
    if (fits.fits(index, port, protocol)) return index
  }
  return limit
}

/** Rules by text: whole names, or suffixes of names. */
export class TextTable {
  readonly #lists = new Map<string, Indexes>()
  readonly #fits: Fits

  constructor(fits: Fits) {
    this.#fits = fits
  }

  get size(): number {
    return this.#lists.size
  }

  add(key: string, index: number): void {
    const list = this.#lists.get(key)
    if (list === undefined) this.#lists.set(key, [index])
    else append(list, index, this.#fits)
  }

  first(key: string, limit: number, port: number | undefined, protocol: string | undefined): number {
    return firstFit(this.#lists.get(key), limit, this.#fits, port, protocol)
  }
}

/**
 * Rules by network: one binary tree a family, a bit of the address a step. A look-up takes as many steps as
 * the longest prefix on its way has bits, however many rules there are.
 */
export class NetworkTable {
  // Children of a node by bit; 0: none, for the root is nobody's child.
  readonly #zero: number[] = [0]
  readonly #one: number[] = [0]
  readonly #lists: (Indexes | undefined)[] = [undefined]
  readonly #fits: Fits

  constructor(fits: Fits) {
    this.#fits = fits
  }

  get isEmpty(): boolean {
    return this.#zero.length === 1 && this.#lists[0] === undefined
  }

  add(octets: readonly number[], length: number, index: number): void {
    let node = 0
    for (let bit = 0; bit < length; bit++) {
      const children = bitAt(octets, bit) === 0 ? this.#zero : this.#one
      let child = children[node] ?? 0
      if (child === 0) {
        child = this.#zero.length
        this.#zero.push(0)
        this.#one.push(0)
        this.#lists.push(undefined)
        children[node] = child
      }
      node = child
    }
    const list = this.#lists[node]
    if (list === undefined) this.#lists[node] = [index]
    else append(list, index, this.#fits)
  }

  first(
    octets: readonly number[],
    limit: number,
    port: number | undefined,
    protocol: string | undefined,
  ): number {
    let best = limit
    let node = 0
    for (let bit = 0; ; bit++) {
      best = firstFit(this.#lists[node], best, this.#fits, port, protocol)
      if (bit === octets.length * 8) return best
      const child = (bitAt(octets, bit) === 0 ? this.#zero[node] : this.#one[node]) ?? 0
      if (child === 0) return best
      node = child
    }
  }
}

function bitAt(octets: readonly number[], bit: number): number {
  return ((octets[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1
}

interface Wildcard {
  readonly pattern: string
  readonly index: number
}

/**
 * Rules by pattern. A pattern with a label of its own (`corp` in `*.corp.*`) is looked at only for names that
 * have this label; those without one (`*tracker*`) are looked at for all.
 */
export class WildcardTable {
  readonly #byLabel = new Map<string, Wildcard[]>()
  readonly #others: Wildcard[] = []
  readonly #fits: Fits

  /** Patterns with their rules, ascending. */
  constructor(wildcards: readonly Wildcard[], fits: Fits) {
    this.#fits = fits
    const keys = rarestLabels(wildcards.map(({ pattern }) => pattern))
    wildcards.forEach((wildcard, i) => {
      const key = keys[i]
      const list = key === undefined ? this.#others : this.#byLabel.get(key)
      if (list !== undefined) list.push(wildcard)
      else if (key !== undefined) this.#byLabel.set(key, [wildcard])
    })
  }

  first(name: string, limit: number, port: number | undefined, protocol: string | undefined): number {
    let best = this.#scan(this.#others, name, limit, port, protocol)
    if (this.#byLabel.size === 0) return best
    for (const label of new Set(name.split('.'))) {
      best = this.#scan(this.#byLabel.get(label), name, best, port, protocol)
    }
    return best
  }

  #scan(
    list: readonly Wildcard[] | undefined,
    name: string,
    limit: number,
    port: number | undefined,
    protocol: string | undefined,
  ): number {
    if (list === undefined) return limit
    for (const { pattern, index } of list) {
      if (index >= limit) return limit
      if (this.#fits.fits(index, port, protocol) && matchesWildcard(pattern, name)) return index
    }
    return limit
  }
}

/** For each pattern the label of its own that the fewest of them have, so that lists stay short. */
export function rarestLabels(patterns: readonly string[]): (string | undefined)[] {
  const uses = new Map<string, number>()
  for (const pattern of patterns) {
    for (const label of wholeLabels(pattern)) uses.set(label, (uses.get(label) ?? 0) + 1)
  }
  return patterns.map((pattern) => {
    let rarest: string | undefined
    for (const label of wholeLabels(pattern)) {
      if (rarest === undefined || (uses.get(label) ?? 0) < (uses.get(rarest) ?? 0)) rarest = label
    }
    return rarest
  })
}

/** The labels of a pattern that a name has to have, whatever its stars stand for. */
function wholeLabels(pattern: string): string[] {
  return pattern.split('.').filter((label) => label !== '' && !label.includes('*'))
}

/** Whether a pattern, in which `*` stands for any characters or none, is the whole text. */
export function matchesWildcard(pattern: string, text: string): boolean {
  let at = 0
  let star = -1
  let from = 0
  let i = 0
  while (i < text.length) {
    const c = pattern.charCodeAt(at)
    if (c === STAR) {
      star = at++
      from = i
    } else if (c === text.charCodeAt(i)) {
      at++
      i++
    } else if (star >= 0) {
      // The last star takes one character more; those before it need no second try.
      at = star + 1
      i = ++from
    } else return false
  }
  while (pattern.charCodeAt(at) === STAR) at++
  return at === pattern.length
}

const STAR = 0x2a
