/** CHAP-MD5 (RFC 1994 4.1) as an algorithm of CHAP. */
import { createHash } from 'node:crypto'
import { PppError } from '../errors.js'
import type { ChapAlgorithm } from './chap.js'
import { NO_KEY_LENGTH } from './method.js'

const encoder = new TextEncoder()

/** The value of a Response: MD5(identifier | secret | challenge). */
export function chapMd5(id: number, secret: string, challenge: Uint8Array): Uint8Array {
  const hash = createHash('md5')
  hash.update(Uint8Array.of(id)).update(encoder.encode(secret)).update(challenge)
  return new Uint8Array(hash.digest())
}

/** A client's. */
export function md5Algorithm(password: string): ChapAlgorithm {
  const hlak = new Uint8Array(NO_KEY_LENGTH)
  return {
    label: 'CHAP-MD5',
    challengeSize: 0,
    respond: (id, challenge) => ({ value: chapMd5(id, password, challenge), hlak, proves: () => true }),
    failed(message) {
      const detail = message === '' ? '' : ` (server says: ${message})`
      return new PppError('auth', 'AUTH_REFUSED', `wrong user name or password${detail}`)
    },
  }
}
