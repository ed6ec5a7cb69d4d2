import { classifyHost, normalizeName } from './names.js'

export interface SearchRules {
  /** Domains in which short names are looked for, instead of those that the tunnel's set-up gave. */
  readonly search?: readonly string[]
  /** A name with that many dots is tried as it is first; 1 by default. */
  readonly ndots?: number
}

/** Those that are domains at all, at most {@link MAX_DOMAINS}, in their normal form. */
export function searchDomains(domains: readonly string[]): readonly string[] {
  const usable = new Set<string>()
  for (const domain of domains) {
    const name = normalizeName(domain)
    // A `.local` domain is claimed by being one; no other special name can be.
    if (name === undefined || classifyHost(name, { claimed: [name] }).kind !== 'name') continue
    usable.add(name)
    if (usable.size === MAX_DOMAINS) break
  }
  return [...usable]
}

/**
 * What a host's name may stand for, in the order in which to try (resolv.conf(5)). `text` is the name as it was given,
 * `name` its normal form.
 */
export function candidates(
  text: string,
  name: string,
  domains: readonly string[],
  ndots = 1,
): readonly string[] {
  if (text.endsWith('.')) return [name]
  const full = domains.map((domain) => `${name}.${domain}`).filter((long) => long.length <= MAX_NAME)
  const dots = name.split('.').length - 1
  return dots >= ndots ? [name, ...full] : [...full, name]
}

const MAX_NAME = 253
// Ours; resolv.conf had as many.
const MAX_DOMAINS = 6
