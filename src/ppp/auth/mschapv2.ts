/** MS-CHAPv2 (RFC 2759) as an algorithm of CHAP. */
import { PppError } from '../errors.js'
import type { ChapAlgorithm } from './chap.js'
import { sameBytes } from './method.js'
import {
  authenticatorResponse,
  challengeHash,
  challengeResponse,
  hashNtPasswordHash,
  higherLayerKey,
  ntPasswordHash,
  toHex,
  withoutDomain,
} from './mschap-crypto.js'

/** peer challenge (16) | zeros (8) | NT-Response (24) | flags (1), RFC 2759 4. */
export const RESPONSE_SIZE = 49
const PEER_CHALLENGE = 0
const NT_RESPONSE = 24
const FLAGS = 48

/** The 49 octets of a Response. */
export function responseValue(peerChallenge: Uint8Array, ntResponse: Uint8Array): Uint8Array {
  const value = new Uint8Array(RESPONSE_SIZE)
  value.set(peerChallenge.subarray(0, 16), PEER_CHALLENGE)
  value.set(ntResponse.subarray(0, 24), NT_RESPONSE)
  return value
}

/** The fields of a Failure message (RFC 2759 6); every one may be missing. */
export interface FailureMessage {
  E?: number
  R?: number
  /** 32 lower-case hexadecimal digits in a proper message; as it came in any other. */
  C?: string
  V?: number
  M?: string
}

export function parseFailure(message: string): FailureMessage {
  // M= takes the rest, which may look like fields.
  const at = message.search(/(^|\s)M=/)
  const start = at < 0 ? -1 : message.indexOf('M=', at)
  const fields: FailureMessage = {}
  for (const word of message.slice(0, start < 0 ? undefined : start).split(/\s+/)) {
    const value = word.slice(2)
    if (word.startsWith('C=')) fields.C = value.toLowerCase()
    else if (!/^[ERV]=\d{1,10}$/.test(word)) continue
    else if (word.startsWith('E=')) fields.E = Number(value)
    else if (word.startsWith('R=')) fields.R = Number(value)
    else fields.V = Number(value)
  }
  if (start >= 0) fields.M = message.slice(start + 2)
  return fields
}

/** RFC 2759 6, in plain words. */
const REASONS: Readonly<Record<number, string>> = {
  646: 'the account may not log on at this hour',
  647: 'the account is disabled',
  648: 'the password has expired',
  649: 'the account has no permission to dial in',
  691: 'wrong user name or password',
  709: 'the server could not change the password',
}

export interface MsChapV2Credentials {
  readonly user: string
  readonly password: string
  /** Hash `DOMAIN\user` whole: wanted by accel-ppp with a user file of its own, wrong by RFC 2759 8.2. */
  readonly hashWholeUser: boolean
}

/** A server has no credentials of its own. */
export function msChapV2(credentials: MsChapV2Credentials): ChapAlgorithm {
  return {
    label: 'MS-CHAPv2',
    challengeSize: 16,
    responseSize: RESPONSE_SIZE,
    respond(_id, challenge, random) {
      const { user, password, hashWholeUser } = credentials
      const peerChallenge = new Uint8Array(16)
      random(peerChallenge)
      const name = hashWholeUser ? user : withoutDomain(user)
      const hash = challengeHash(peerChallenge, challenge, name)
      const passwordHash = ntPasswordHash(password)
      const hashHash = hashNtPasswordHash(passwordHash)
      const ntResponse = challengeResponse(hash, passwordHash)
      return {
        value: responseValue(peerChallenge, ntResponse),
        hlak: higherLayerKey(hashHash, ntResponse),
        proof: authenticatorResponse(hashHash, ntResponse, hash),
      }
    },
    check(_id, challenge, value, user, password) {
      const peerChallenge = value.subarray(PEER_CHALLENGE, PEER_CHALLENGE + 16)
      const ntResponse = value.subarray(NT_RESPONSE, FLAGS)
      const hash = challengeHash(peerChallenge, challenge, withoutDomain(user))
      const passwordHash = ntPasswordHash(password)
      const hashHash = hashNtPasswordHash(passwordHash)
      return {
        right: sameBytes(challengeResponse(hash, passwordHash), ntResponse),
        hlak: higherLayerKey(hashHash, ntResponse),
        success: `${authenticatorResponse(hashHash, ntResponse, hash)} M=Welcome`,
      }
    },
    failure(random) {
      // R=0: a client that tries again does so in a new call, so that nobody's account is locked by machine.
      const challenge = new Uint8Array(16)
      random(challenge)
      return `E=691 R=0 C=${toHex(challenge)} V=3 M=Wrong user name or password`
    },
    refused(message) {
      const { E, M } = parseFailure(message)
      const known = E === undefined ? undefined : REASONS[E]
      const what = known ?? (E === undefined ? 'the server refused the user name or password' : 'refused')
      const code = E === undefined ? '' : ` (E=${E})`
      const said = M === undefined || M === '' ? '' : `; server says: ${M}`
      return new PppError('auth', 'AUTH_REFUSED', `${what}${code}${said}`, 'remote', E)
    },
  }
}
