import { readCertificates, readClientCertificate } from '../config/certificates.js'
import { readEap } from '../config/eap.js'
import { UsageError } from '../config/errors.js'
import { runPasswordCommand } from '../config/password-command.js'
import { orderRules } from '../config/rules.js'
import type { TunnelSettings } from '../config/schema.js'
import { findCredentials, readPasswordFile } from '../config/secrets.js'
import { type ChosenUpstream, chooseUpstream, withPassword } from '../config/upstream.js'
import type { Place } from '../config/values.js'
import type { DialerOptions } from '../dns/dialer.js'
import { logTunnelEvent } from '../observe/logger.js'
import { createRouting } from '../proxy/routing.js'
import { CallError } from '../transport/errors.js'
import { upstreamText } from '../transport/upstream/upstream.js'
import type { Dialer } from '../tunnel/dialer.js'
import type { TunnelEvent } from '../tunnel/events.js'
import type { EapOptions, OuterOptions, TrustOptions, TunnelOptions, Upstream } from '../tunnel/options.js'
import type { Console } from './console.js'
import type { Deps, Tunnel } from './deps.js'
import { namesOf } from './names.js'
import { parseServerAddress } from './server-address.js'
import type { Stop } from './stop.js'

/** All that a call needs, with files read and questions asked. Throws `UsageError`, `Interrupted`. */
export async function prepareCall(
  settings: BridgeCall,
  deps: Deps,
  console: Console,
  stop: Stop,
): Promise<TunnelOptions> {
  const { host, port, ...url } = parseServerAddress(settings.server)
  // Before anybody is asked for a password.
  const trust = await findTrust(settings)
  const outer = await findOuter(settings)
  const chosen = chooseUpstream(settings.upstream, deps.env, { host, port }, ownPorts(settings))
  const { ask } = deps
  const eap = await findEap(settings, deps, stop)
  const { passwordCommand: command } = settings
  const runCommand =
    command === undefined ? undefined : (signal?: AbortSignal) => runPasswordCommand(command, signal)
  const credentials = findCredentials({
    url,
    passwordCommand: runCommand && (() => runCommand(stop.signal)),
    optional: eap?.identity !== undefined && (settings.auth?.every((method) => method === 'eap-tls') ?? true),
    user: settings.user,
    password: settings.password,
    passwordFile: settings.passwordFile,
    env: deps.env,
    readStdin: () => deps.readStdin(),
    signal: stop.signal,
    ask: ask === undefined ? undefined : (question, hidden) => ask(question, hidden, stop.signal),
    onVisible: () => {
      deps.hideArguments()
      console.warn('other users of this machine can see a password on the command line: use --password-file')
    },
  })
  const { user, password } = await stop.race(credentials)
  const newPassword = await findNewPassword(settings, deps, stop)
  const upstream = chosen && (await stop.race(findUpstream(chosen, settings, deps, console, stop)))
  return {
    host,
    port,
    user,
    password,
    ...(runCommand === undefined ? {} : { askPassword: againAndAgain(password, runCommand) }),
    ...(newPassword === undefined ? {} : { newPassword: { password: newPassword, inForce: false } }),
    ...(eap === undefined ? {} : { eap }),
    ...(settings.hashWholeUser === true ? { hashWholeUser: true } : {}),
    trust,
    ...(outer === undefined ? {} : { outer }),
    ...(upstream === undefined ? {} : { upstream }),
    ipv6: settings.ipv6,
    ...(settings.auth === undefined ? {} : { auth: settings.auth }),
    ...(settings.mtu === undefined ? {} : { mtu: settings.mtu }),
    ...(settings.timeout === undefined ? {} : { timeout: settings.timeout }),
  }
}

/** The first call takes the password that is known; each other asks the command again. */
function againAndAgain(
  first: string,
  run: (signal?: AbortSignal) => Promise<string>,
): NonNullable<TunnelOptions['askPassword']> {
  let next: string | undefined = first
  return async (signal) => {
    const known = next
    next = undefined
    if (known !== undefined) return known
    try {
      return await run(signal)
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      throw new CallError('auth', 'local', 'PASSWORD_COMMAND', error.message)
    }
  }
}

async function findEap(settings: TunnelSettings, deps: Deps, stop: Stop): Promise<EapOptions | undefined> {
  const { keyPasswordFile: path } = settings
  const readStdin = (): Promise<Uint8Array> => deps.readStdin()
  const from = { readStdin, signal: stop.signal }
  const passphrase =
    path === undefined ? undefined : await stop.race(readPasswordFile('--key-password-file', path, from))
  return readEap(settings, passphrase)
}

async function findNewPassword(
  settings: TunnelSettings,
  deps: Deps,
  stop: Stop,
): Promise<string | undefined> {
  const { newPasswordFile: path } = settings
  if (path === undefined) return undefined
  const readStdin = (): Promise<Uint8Array> => deps.readStdin()
  return stop.race(readPasswordFile('--new-password-file', path, { readStdin, signal: stop.signal }))
}

async function findTrust(settings: TunnelSettings): Promise<TrustOptions> {
  const ca = settings.ca === undefined ? undefined : await readCertificates(settings.ca)
  return {
    insecure: settings.insecure,
    ...(ca === undefined ? {} : { ca }),
    ...(settings.pin === undefined ? {} : { pin: settings.pin }),
    ...(settings.servername === undefined ? {} : { servername: settings.servername }),
  }
}

/** Undefined if nothing was said. */
async function findOuter(settings: TunnelSettings): Promise<OuterOptions | undefined> {
  const { sni, hostHeader, tlsCert, tlsKey } = settings
  if (sni === undefined && hostHeader === undefined && tlsCert === undefined) return undefined
  return {
    ...(sni === undefined ? {} : { sni }),
    ...(hostHeader === undefined ? {} : { hostHeader }),
    ...(tlsCert === undefined ? {} : await readClientCertificate(tlsCert, tlsKey)),
  }
}

/** Where `connect` will listen: ALL_PROXY may name just that. */
function ownPorts(settings: BridgeCall): number[] {
  return [...(settings.socks ?? []), ...(settings.http ?? [])].flatMap((at) =>
    'port' in at ? [at.port] : [],
  )
}

/** The settings of a call, and of the proxies if there will be some. */
type BridgeCall = TunnelSettings & {
  readonly socks?: readonly Place[]
  readonly http?: readonly Place[]
}

/** The proxy on the way, with its password. */
function findUpstream(
  chosen: ChosenUpstream,
  settings: TunnelSettings,
  deps: Deps,
  console: Console,
  stop: Stop,
): Promise<Upstream> {
  const { ask } = deps
  const { upstream, from } = chosen
  const { upstreamPasswordFile: path } = settings
  console.logger.info(`reaching the server through ${upstreamText(upstream)} (${from})`)
  if (from === '--upstream' && upstream.password !== undefined) {
    deps.hideArguments()
    console.warn(VISIBLE_UPSTREAM)
  }
  const readStdin = (): Promise<Uint8Array> => deps.readStdin()
  return withPassword(chosen, {
    file:
      path === undefined
        ? undefined
        : () => readPasswordFile('--upstream-password-file', path, { readStdin, signal: stop.signal }),
    env: deps.env,
    ask: ask === undefined ? undefined : (question, hidden) => ask(question, hidden, stop.signal),
  })
}

const VISIBLE_UPSTREAM =
  'other users of this machine can see a password on the command line: use --upstream-password-file'

/** Brings the tunnel up. Throws `Interrupted` if a signal came meanwhile, else what `openTunnel` throws. */
export async function startCall(
  options: TunnelOptions,
  deps: Deps,
  console: Console,
  stop: Stop,
  onEvent?: (event: TunnelEvent) => void,
): Promise<Tunnel> {
  stop.check()
  let tunnel: Tunnel
  try {
    tunnel = await deps.openTunnel({
      ...options,
      signal: stop.signal,
      trace: console.logger.isLevelEnabled('debug'),
      onEvent: (event) => {
        logTunnelEvent(console.logger, event)
        onEvent?.(event)
      },
    })
  } catch (error) {
    stop.check()
    throw error
  }
  if (stop.signal.aborted) {
    await tunnel.close()
    stop.check()
  }
  return tunnel
}

/** Waits for `close`, but not longer than a user who asked for the end is promised (3 s). */
export async function closeInTime(
  deps: Pick<Deps, 'sleep'>,
  console: Console,
  close: () => Promise<void>,
): Promise<void> {
  const done = new AbortController()
  const closing = close()
    .catch((error: unknown) => console.logger.debug({ err: error }, 'closing failed'))
    .finally(() => done.abort())
  await Promise.race([closing, deps.sleep(GRACE, done.signal)])
}

const GRACE = 2900

/** What `createDialer` wants to know about names. */
export type NameChoices = Omit<DialerOptions, 'network'>

/** Names as the settings have them, for one dialer. Throws `UsageError`. */
export function prepareNames(settings: TunnelSettings, console: Console): NameChoices {
  const names = namesOf(settings, console)
  const { directNames } = settings
  if (directNames === undefined) return names
  const rules = orderRules({ route: [], bypass: [], block: [], file: [] })
  const { elsewhere } = createRouting({ rules, directNames, own: () => [] })
  return { ...names, elsewhere }
}

/** Names and addresses behind the tunnel. */
export function dialerOf(tunnel: Tunnel, names: NameChoices, deps: Deps): Dialer {
  return deps.createDialer({ network: () => tunnel, ...names })
}
