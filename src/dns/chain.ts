import type { HostRecord, HostType } from './message.js'
import { isAskable, normalizeAddress, normalizeName } from './names.js'

/** Where the records of one answer lead from a name. `ttl`: the smallest on the way, in seconds. */
export type Chain =
  | { readonly kind: 'found'; readonly values: readonly string[]; readonly ttl: number }
  /** Nothing of the type in this answer; the chain's end is still to be asked for, or has none. */
  | { readonly kind: 'open'; readonly end: string; readonly ttl: number }
  | { readonly kind: 'broken'; readonly ttl: number }

/**
 * Follows CNAME and DNAME records within one answer; only records of the chain count (RFC 1034 3.6.2, 6672).
 * `start` is where the whole chain began, `aliases` what it has come to, and grows.
 */
export function followChain(
  answers: readonly HostRecord[],
  name: string,
  type: HostType,
  start: string,
  aliases: string[],
): Chain {
  let end = name
  let ttl = Number.POSITIVE_INFINITY
  for (;;) {
    const values: string[] = []
    let next: string | undefined
    let nextTtl = 0
    for (const record of answers) {
      if (record.type === 'CNAME' || record.type === 'DNAME') {
        if (next !== undefined) continue
        next = redirect(record.type, record.name, record.target, end)
        nextTtl = record.ttl
      } else if (record.type === type && record.name === end && values.length < MAX_VALUES) {
        const value = usable(record)
        if (value === undefined) continue
        values.push(value)
        ttl = Math.min(ttl, record.ttl)
      }
    }
    if (values.length > 0) return { kind: 'found', values, ttl }
    if (next === undefined) return { kind: 'open', end, ttl }
    if (next === start || aliases.includes(next) || aliases.length >= MAX_CHAIN) {
      return { kind: 'broken', ttl }
    }
    aliases.push(next)
    ttl = Math.min(ttl, nextTtl)
    end = next
  }
}

/** What a record says, if it is fit to be used. */
function usable(record: HostRecord): string | undefined {
  if ('address' in record) {
    const address = normalizeAddress(record.address)
    // A mapped IPv4 address is not one to be reached over IPv6.
    return address?.includes(':') === (record.type === 'AAAA') ? address : undefined
  }
  // Nothing here is a name in another alphabet: these come in A-labels.
  return isAskable(record.target) ? normalizeName(record.target) : undefined
}

function redirect(type: 'CNAME' | 'DNAME', owner: string, target: string, name: string): string | undefined {
  if (type === 'CNAME') return owner === name ? target : undefined
  if (!name.endsWith(`.${owner}`)) return undefined
  const moved = name.slice(0, -owner.length) + target
  return moved.length > MAX_NAME ? undefined : moved
}

const MAX_NAME = 253
// Ours.
const MAX_CHAIN = 16
const MAX_VALUES = 256
