import { createHash, timingSafeEqual } from 'node:crypto'

/** What whoever uses a proxy must say. */
export interface Credentials {
  /** Takes the same time for every wrong answer. Both in octets as received (UTF-8). */
  verify(user: Uint8Array, password: Uint8Array): boolean
}

/** One name and one password. */
export function oneUser(name: string, password: string): Credentials {
  const wantedName = digest(Buffer.from(name))
  const wantedPassword = digest(Buffer.from(password))
  return {
    verify(user, given) {
      // Both are compared, whatever the first comparison says.
      const named = timingSafeEqual(digest(user), wantedName)
      const known = timingSafeEqual(digest(given), wantedPassword)
      return named && known
    },
  }
}

/** Equal lengths, as a comparison in constant time wants them. */
function digest(octets: Uint8Array): Buffer {
  return createHash('sha256').update(octets).digest()
}
