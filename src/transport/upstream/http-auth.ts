/** How one signs in to an HTTP proxy: Basic (RFC 7617) and Digest (RFC 7616). */
import { createHash } from 'node:crypto'

/** One challenge of a Proxy-Authenticate field; the scheme and the parameters' names in lower case. */
export interface Challenge {
  readonly scheme: string
  readonly params: ReadonlyMap<string, string>
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy
const SPACE = /[ \t]*/y

/** More is no proxy's. */
const MAX_CHALLENGES = 16

/**
 * The challenges of a field's value, several fields being joined with commas (RFC 9110 11.6.1). What cannot
 * be read ends the list.
 */
export function parseChallenges(text: string): Challenge[] {
  const out: Challenge[] = []
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at
    const found = pattern.exec(text)
    if (found === null) return undefined
    at = pattern.lastIndex
    return found
  }
  const skip = (): void => {
    take(SPACE)
    while (text[at] === ',') {
      at++
      take(SPACE)
    }
  }
  for (skip(); at < text.length && out.length < MAX_CHALLENGES; skip()) {
    const scheme = take(TOKEN)?.[0]
    if (scheme === undefined) return out
    const params = new Map<string, string>()
    out.push({ scheme: scheme.toLowerCase(), params })
    take(SPACE)
    if (take(TOKEN68) !== undefined) continue
    for (;;) {
      // A name without = behind it is the scheme of the next challenge.
      const before = at
      skip()
      const name = take(TOKEN)?.[0]
      take(SPACE)
      if (name === undefined || text[at] !== '=') {
        at = before
        break
      }
      at++
      take(SPACE)
      const quoted = take(QUOTED)?.[1]
      const value = quoted === undefined ? take(TOKEN)?.[0] : quoted.replace(/\\(.)/gs, '$1')
      if (value === undefined) return out
      params.set(name.toLowerCase(), value)
    }
    if (text[at] !== ',' && at < text.length) {
      const stuck = at
      skip()
      // Neither a parameter nor a comma: the rest is not a list of challenges.
      if (at === stuck && !/[!#$%&'*+.^_`|~0-9A-Za-z-]/.test(text[at] ?? '')) return out
    }
  }
  return out
}

/** Digest algorithms by what Node calls their hash, the best first. RFC 7616 6.1 */
const HASHES: readonly (readonly [name: string, hash: string])[] = [
  ['sha-512-256', 'sha512-256'],
  ['sha-256', 'sha256'],
  ['md5', 'md5'],
]

/** A Digest challenge that can be answered. */
interface Digest {
  readonly challenge: Challenge
  readonly rank: number
  readonly hash: string
  readonly session: boolean
}

function digestOf(challenge: Challenge): Digest | undefined {
  const { scheme, params } = challenge
  if (scheme !== 'digest' || !params.has('nonce') || !params.has('realm')) return undefined
  const algorithm = (params.get('algorithm') ?? 'MD5').toLowerCase()
  const session = algorithm.endsWith('-sess')
  const rank = HASHES.findIndex(([name]) => name === (session ? algorithm.slice(0, -5) : algorithm))
  const hash = HASHES[rank]?.[1]
  const qop = params.get('qop')
  if (hash === undefined || (qop !== undefined && !/(?:^|,)\s*auth\s*(?:,|$)/i.test(qop))) return undefined
  return { challenge, rank, hash, session }
}

/** The strongest challenge that can be answered: Digest before Basic, better hashes first. */
export function pickChallenge(challenges: readonly Challenge[]): Challenge | undefined {
  const digests = challenges.map(digestOf).filter((d) => d !== undefined)
  const best = digests.sort((a, b) => a.rank - b.rank)[0]?.challenge
  return best ?? challenges.find(({ scheme }) => scheme === 'basic')
}

/** For people: the scheme, and what of a Digest may be why it cannot be answered. */
export function challengeText({ scheme, params }: Challenge): string {
  if (scheme !== 'digest') return scheme
  const told = ['algorithm', 'qop'].flatMap((name) => {
    const value = params.get(name)
    return value === undefined ? [] : [`${name}=${value.replace(/[^\x20-\x7e]+/g, '?')}`]
  })
  return told.length === 0 ? scheme : `${scheme} (${told.join(', ')})`
}

export interface SignIn {
  readonly user: string
  readonly password: string
  readonly method: string
  /** The request target as sent. */
  readonly uri: string
  /** 32 hex digits or whatever a test wants. */
  readonly cnonce: string
  /** Requests with this nonce, this one too. */
  readonly count: number
}

/** The value of Proxy-Authorization that answers the challenge; undefined if it cannot be answered. */
export function authorize(challenge: Challenge, to: SignIn): string | undefined {
  if (challenge.scheme === 'basic') return basic(to)
  const found = digestOf(challenge)
  if (found === undefined) return undefined
  const { params } = challenge
  const h = (text: string): string => createHash(found.hash).update(text, 'utf8').digest('hex')
  const realm = params.get('realm') ?? ''
  const nonce = params.get('nonce') ?? ''
  const { user, password, cnonce } = to
  const secret = h(`${user}:${realm}:${password}`)
  const a1 = found.session ? h(`${secret}:${nonce}:${cnonce}`) : secret
  const a2 = h(`${to.method}:${to.uri}`)
  const nc = to.count.toString(16).padStart(8, '0')
  const qop = params.has('qop')
  const response = h(qop ? `${a1}:${nonce}:${nc}:${cnonce}:auth:${a2}` : `${a1}:${nonce}:${a2}`)
  const hashed = params.get('userhash')?.toLowerCase() === 'true'
  const opaque = params.get('opaque')
  const fields = [
    nameField(hashed ? h(`${user}:${realm}`) : user),
    `realm=${quote(realm)}`,
    `uri=${quote(to.uri)}`,
    `nonce=${quote(nonce)}`,
    ...(params.has('algorithm') ? [`algorithm=${params.get('algorithm') ?? ''}`] : []),
    ...(qop
      ? [`nc=${nc}`, `cnonce=${quote(cnonce)}`, 'qop=auth']
      : found.session
        ? [`cnonce=${quote(cnonce)}`]
        : []),
    `response="${response}"`,
    ...(opaque === undefined ? [] : [`opaque=${quote(opaque)}`]),
    ...(hashed ? ['userhash=true'] : []),
  ]
  return `Digest ${fields.join(', ')}`
}

/** RFC 7617 2; in UTF-8, which is what is meant today whether a proxy says so or not. */
function basic({ user, password }: SignIn): string | undefined {
  if (user.includes(':')) return undefined
  return `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`
}

/** RFC 7616 3.4.4: a name that is not ASCII goes by RFC 8187. */
function nameField(name: string): string {
  if (/^[\x20-\x7e]*$/.test(name)) return `username=${quote(name)}`
  const encoded = encodeURIComponent(name).replace(
    /[*'()]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  return `username*=UTF-8''${encoded}`
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}
