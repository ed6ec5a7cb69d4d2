import type { Credentials } from './credentials.js'
import { type Field, type RequestHead, type ResponseHead, valuesOf } from './http-message.js'

/** What a request says of who sends it. `none`: nothing yet, which is how an ordinary client begins. */
export type Permission = 'granted' | 'none' | 'wrong'

/** RFC 9110 11.7.2, RFC 7617. */
export function permissionOf(fields: readonly Field[], credentials: Credentials | undefined): Permission {
  if (credentials === undefined) return 'granted'
  const values = valuesOf(fields, 'proxy-authorization')
  const value = values[0]
  if (value === undefined) return 'none'
  const basic = values.length === 1 ? parseBasic(value) : undefined
  return basic !== undefined && credentials.verify(basic.user, basic.password) ? 'granted' : 'wrong'
}

/** The header line that goes with 407. */
export const CHALLENGE = 'Proxy-Authenticate: Basic realm="sstp-socks", charset="UTF-8"'

interface Basic {
  readonly user: Buffer
  readonly password: Buffer
}

/** User and password in octets as sent; undefined: it is not RFC 7617's form. */
export function parseBasic(value: string): Basic | undefined {
  const match = /^basic +([a-z0-9+/]+={0,2})$/i.exec(value)
  if (match === null) return undefined
  const octets = Buffer.from(match[1] ?? '', 'base64')
  // The user has no colon, the password may.
  const colon = octets.indexOf(COLON)
  if (colon < 0) return undefined
  return { user: octets.subarray(0, colon), password: octets.subarray(colon + 1) }
}

/**
 * NTLM, and Negotiate with it, sign the connection in and not the request: whatever else comes on it is taken as
 * from the same user. Such a connection is one client's own.
 */
export function signsConnectionIn(head: RequestHead | ResponseHead): boolean {
  if (head.type === 'request') {
    return valuesOf(head.fields, 'authorization').some((value) => !BY_REQUEST.test(value))
  }
  if (valuesOf(head.fields, 'persistent-auth').length > 0) return true
  return valuesOf(head.fields, 'www-authenticate').some((value) => BY_CONNECTION.test(value))
}

const COLON = 0x3a
/** Schemes that are known to concern the request alone; of others the worse is thought. */
const BY_REQUEST = /^(basic|bearer|digest) /i
const BY_CONNECTION = /(^|[\s,])(ntlm|negotiate|nego2|kerberos)([\s,]|$)/i
