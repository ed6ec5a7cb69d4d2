/** What whoever uses the proxies must say. */
import { UsageError } from './errors.js'
import { type CredentialSources, readPasswordFile } from './secrets.js'
import { formatPlace, isLoopback, type Place, parseProxyUser, proxyLoginProblem } from './values.js'

export interface ProxyLogin {
  readonly user: string
  readonly password: string
}

interface LoginSettings {
  readonly proxyUser?: string | undefined
  readonly proxyPasswordFile?: string | undefined
}

/** `--proxy-user`, else `SSTP_PROXY_USER`. Throws {@link UsageError}. */
function findProxyUser(settings: LoginSettings, env: CredentialSources['env']): string | undefined {
  if (settings.proxyUser !== undefined) return settings.proxyUser
  if (settings.proxyPasswordFile !== undefined) {
    if (!env.SSTP_PROXY_USER) throw new UsageError('--proxy-password-file: needs --proxy-user too')
  }
  if (!env.SSTP_PROXY_USER) {
    if (env.SSTP_PROXY_PASSWORD) throw new UsageError('SSTP_PROXY_PASSWORD: needs --proxy-user too')
    return undefined
  }
  try {
    return parseProxyUser(env.SSTP_PROXY_USER)
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`SSTP_PROXY_USER: ${error.message}`)
    throw error
  }
}

/**
 * Name and password for the proxies, or undefined: nobody is asked. The password comes from the file, from
 * `SSTP_PROXY_PASSWORD` or from the terminal. Throws {@link UsageError}.
 */
export async function findProxyLogin(
  settings: LoginSettings,
  from: Pick<CredentialSources, 'env' | 'readStdin' | 'signal' | 'ask'>,
): Promise<ProxyLogin | undefined> {
  const user = findProxyUser(settings, from.env)
  if (user === undefined) return undefined
  const { proxyPasswordFile: file } = settings
  const option = file === undefined ? 'SSTP_PROXY_PASSWORD' : '--proxy-password-file'
  const password =
    file !== undefined
      ? await readPasswordFile(option, file, from)
      : from.env.SSTP_PROXY_PASSWORD || (await from.ask?.(`Password of the proxies for ${user}: `, true))
  if (password === undefined || password === '') {
    throw new UsageError(
      'no password for --proxy-user: give --proxy-password-file FILE or SSTP_PROXY_PASSWORD',
    )
  }
  const problem = proxyLoginProblem(password)
  if (problem !== undefined) throw new UsageError(`${option}: the password cannot be used: ${problem}`)
  return { user, password }
}

/**
 * Throws {@link UsageError} if what others reach would ask them for nothing, unless that is wanted. A forward (`-L`) is no
 * such thing: it names its one destination.
 */
export function checkOpen(
  settings: LoginSettings & {
    readonly socks: readonly Place[]
    readonly http: readonly Place[]
    readonly dnsListen?: Place | undefined
    readonly allowOpen: boolean
  },
  env: CredentialSources['env'],
): void {
  if (settings.allowOpen) return
  const open = (at: Place): boolean => !('path' in at) && !isLoopback(at.address)
  const { socks, http, dnsListen } = settings
  const proxy = [...socks, ...http].find(open)
  if (proxy !== undefined && findProxyUser(settings, env) === undefined) {
    const option = socks.includes(proxy) ? '--socks' : '--http'
    throw new UsageError(
      `${option}: whoever reaches ${formatPlace(proxy)} would be in the remote network: give --proxy-user NAME and a password, or --allow-open`,
    )
  }
  if (dnsListen !== undefined && open(dnsListen)) {
    throw new UsageError(
      `--dns-listen: whoever reaches ${formatPlace(dnsListen)} could ask for names of the remote network: listen on loopback, or give --allow-open`,
    )
  }
}
