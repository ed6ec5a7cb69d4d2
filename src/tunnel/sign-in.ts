/** How a call signs in: what PPP's authentication is made with, and what a refused key is tried again with. */
import type { AuthName } from '../ppp/auth/method.js'
import { MAX_NEW_PASSWORD } from '../ppp/auth/mschap-crypto.js'
import { defaultMethods } from '../ppp/authentication.js'
import type { PppClientOptions } from '../ppp/link.js'
import { systemTrust } from '../transport/authorities.js'
import { eapClientTls } from '../transport/eap-trust.js'
import { CallError } from '../transport/errors.js'
import type { TunnelOptions } from './options.js'

/** What signing in needs of the call. */
export interface SignInHost {
  /** DER of the certificate that the server's TLS has shown; asked for once PPP has begun. */
  certificate(): Uint8Array
  warn(code: string, message: string): void
  /** See PppLinkOptions. */
  onActivity(): void
}

/** Options of a call whose questions are answered. */
export interface SignInOptions extends TunnelOptions {
  /** What this computer trusts, where EAP needs to know. */
  readonly authorities?: readonly string[] | undefined
}

type SignIn = Pick<
  PppClientOptions,
  | 'auth'
  | 'user'
  | 'password'
  | 'newPassword'
  | 'identity'
  | 'keyRule'
  | 'hashWholeUser'
  | 'tls'
  | 'onActivity'
>

/** Answers what must be known before the call is made. Rejects with {@link CallError}. */
export async function prepareSignIn(options: TunnelOptions): Promise<SignInOptions> {
  checkNewPassword(options)
  // Once the server has changed it, whoever is asked knows only the old one.
  const changed = options.newPassword?.inForce === true
  const password = changed ? undefined : await options.askPassword?.(options.signal)
  const trust = options.eap?.trust
  const system = trust?.servername !== undefined && trust.ca === undefined ? await systemTrust() : undefined
  return {
    ...options,
    ...(password === undefined ? {} : { password }),
    ...(system === undefined ? {} : { authorities: system.ca }),
  }
}

/** Before a call is made that would find out only when the server has said that the old one has expired. */
function checkNewPassword({ newPassword }: TunnelOptions): void {
  if (newPassword === undefined || newPassword.password.length <= MAX_NEW_PASSWORD) return
  const message = `the new password is longer than ${MAX_NEW_PASSWORD} characters (UTF-16), which is all that MS-CHAPv2 can change to`
  throw new CallError(
    'auth',
    'local',
    'AUTH_CREDENTIALS',
    message,
    'put a shorter one into --new-password-file',
  )
}

/** The part of the link's options that is about signing in. */
export function signIn(options: SignInOptions, host: SignInHost): SignIn {
  const { user, newPassword, eap = {}, trust, authorities, hashWholeUser = false } = options
  const changed = newPassword?.inForce === true
  const password = changed ? newPassword.password : options.password
  const auth =
    options.auth ??
    defaultMethods({
      certificate: eap.identity !== undefined,
      tls: true,
      password: password !== '',
      verified: trust?.insecure !== true,
    })
  return {
    auth,
    user,
    password,
    hashWholeUser,
    ...(newPassword === undefined || changed ? {} : { newPassword: newPassword.password }),
    ...(eap.name === undefined ? {} : { identity: eap.name }),
    ...(eap.keyRule === undefined ? {} : { keyRule: eap.keyRule }),
    // The connection around it is there by the time that this is called.
    tls: (engine) =>
      eapClientTls({
        ...(eap.identity === undefined ? {} : { identity: eap.identity }),
        ...(eap.trust === undefined ? {} : { trust: eap.trust }),
        ...(eap.maxVersion === undefined ? {} : { maxVersion: eap.maxVersion }),
        authorities,
        outer: host.certificate(),
        onWarning: (code, message) => host.warn(code, message),
      })(engine),
    onActivity: () => host.onActivity(),
  }
}

/** Methods whose key pppd's plugin for SSTP makes in a way of its own. */
const TWO_RULES: ReadonlySet<string> = new Set<AuthName>(['eap-tls', 'peap'])

/**
 * The options to try once more with, after a call that ended with `error`: the server refused the crypto binding, and
 * the method is one whose key is not made by all servers alike.
 */
export function otherKeyRule(
  options: SignInOptions,
  method: string,
  error: unknown,
): SignInOptions | undefined {
  if (!(error instanceof CallError) || error.code !== 'BINDING_REFUSED') return undefined
  if (options.eap?.keyRule !== undefined || !TWO_RULES.has(method)) return undefined
  return { ...options, eap: { ...options.eap, keyRule: 'pppd' } }
}
