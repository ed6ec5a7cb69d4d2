/** The environment of the command of `run`: docs/run.md says which variable is for which program. */
import type { ProxyLogin } from '../config/proxy-login.js'
import { quoted } from './proxies.js'

export interface RunProxies {
  /** `host:port`, the host as an address with brackets if need be; undefined: there is none. */
  readonly socks: string | undefined
  readonly http: string | undefined
  readonly login: ProxyLogin | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * `own` with the proxies in it and without our secrets. What it says about other proxies and about exceptions is replaced: it
 * was meant for the network outside. `self`: the words that start this program.
 */
export function runEnvironment(
  own: Environment,
  proxies: RunProxies,
  self: readonly string[],
): Record<string, string> {
  const { socks, http, login } = proxies
  const user = login === undefined ? '' : `${encode(login.user)}:${encode(login.password)}@`
  const httpUrl = http === undefined ? undefined : `http://${user}${http}`
  const socksUrl = socks === undefined ? undefined : `socks5h://${user}${socks}`
  const any = socksUrl ?? httpUrl
  const set: Record<string, string | undefined> = {
    ...bothCases('all_proxy', any),
    ...bothCases('http_proxy', httpUrl),
    ...bothCases('https_proxy', httpUrl),
    ...bothCases('ftp_proxy', undefined),
    ...bothCases('no_proxy', NOT_INSIDE),
    // Their own configuration would go before http_proxy, but not before these.
    npm_config_proxy: httpUrl,
    npm_config_https_proxy: httpUrl,
    npm_config_noproxy: NOT_INSIDE,
    CARGO_HTTP_PROXY: httpUrl ?? any,
    ...gitConfig(own, [['http.proxy', httpUrl ?? any]]),
    // Node 22.21 and 24 on take the variables above only with this.
    NODE_USE_ENV_PROXY: httpUrl === undefined ? undefined : '1',
    JAVA_TOOL_OPTIONS: javaOptions(own.JAVA_TOOL_OPTIONS, http, socks),
    ...sshCommand(own, socks, self),
    // For `sstp-socks nc`, which is asked by ssh.
    SSTP_PROXY_USER: login?.user,
    SSTP_PROXY_PASSWORD: login?.password,
  }
  const result: Record<string, string> = {}
  for (const [name, value] of Object.entries({ ...own, ...set })) {
    if (value !== undefined && !SECRETS.has(name)) result[name] = value
  }
  return result
}

/** encodeURIComponent leaves some characters that shells and parsers of URLs stumble over. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

function bothCases(name: string, value: string | undefined): Record<string, string | undefined> {
  return { [name]: value, [name.toUpperCase()]: value }
}

/** One more entry each behind those that are there, which git takes as if they stood on its command line. */
function gitConfig(
  own: Environment,
  entries: readonly (readonly [string, string | undefined])[],
): Record<string, string> {
  let count = /^[0-9]{1,4}$/.test(own.GIT_CONFIG_COUNT ?? '') ? Number(own.GIT_CONFIG_COUNT) : 0
  const set: Record<string, string> = {}
  for (const [key, value] of entries) {
    if (value === undefined) continue
    set[`GIT_CONFIG_KEY_${count}`] = key
    set[`GIT_CONFIG_VALUE_${count}`] = value
    count++
    set.GIT_CONFIG_COUNT = String(count)
  }
  return set
}

/** A virtual machine prints these on its standard error, so no password is among them. */
function javaOptions(
  before: string | undefined,
  http: string | undefined,
  socks: string | undefined,
): string | undefined {
  const options = before === undefined || before === '' ? [] : [before]
  for (const [names, at] of [
    [['http.proxy', 'https.proxy'], http],
    [['socksProxy'], socks],
  ] as const) {
    if (at === undefined) continue
    const [, host = '', port = ''] = /^\[?(.*?)\]?:([0-9]+)$/.exec(at) ?? []
    for (const name of names) options.push(`-D${name}Host=${host}`, `-D${name}Port=${port}`)
  }
  return options.length === 0 ? undefined : options.join(' ')
}

/** git's ssh through the proxy; whoever has chosen another program than OpenSSH keeps it. */
function sshCommand(
  own: Environment,
  socks: string | undefined,
  self: readonly string[],
): Record<string, string> {
  if (socks === undefined || (own.GIT_SSH !== undefined && own.GIT_SSH_COMMAND === undefined)) return {}
  // ssh replaces %h and %p, and gives the rest to a shell.
  const words = [...self, 'nc', '--via', socks].map((word) => quoted(word).replaceAll('%', '%%'))
  const command = `${words.join(' ')} %h %p`
  return { GIT_SSH_COMMAND: `${own.GIT_SSH_COMMAND ?? 'ssh'} -o ${quoted(`ProxyCommand=${command}`)}` }
}

/** What is never behind the tunnel. Not `[::1]` too, which Node would want: httpx stops at it. */
const NOT_INSIDE = 'localhost,127.0.0.1,::1'

/** Nobody else's business. */
const SECRETS = new Set(['SSTP_PASSWORD', 'SSTP_UPSTREAM_PASSWORD'])
