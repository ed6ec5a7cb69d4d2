import type { TunnelSettings } from '../config/schema.js'
import { findCredentials, readCertificates } from '../config/secrets.js'
import { logTunnelEvent } from '../observe/logger.js'
import type { Dialer } from '../tunnel/dialer.js'
import type { TunnelEvent } from '../tunnel/events.js'
import type { TrustOptions, TunnelOptions } from '../tunnel/options.js'
import type { Console } from './console.js'
import type { Deps, Tunnel } from './deps.js'
import { parseServerAddress } from './server-address.js'
import type { Stop } from './stop.js'

/** All that a call needs, with files read and questions asked. Throws `UsageError`, `Interrupted`. */
export async function prepareCall(
  settings: TunnelSettings,
  deps: Deps,
  console: Console,
  stop: Stop,
): Promise<TunnelOptions> {
  const { host, port, ...url } = parseServerAddress(settings.server)
  // Before anybody is asked for a password.
  const trust = await findTrust(settings)
  const { ask } = deps
  const credentials = findCredentials({
    url,
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
  return {
    host,
    port,
    user,
    password,
    trust,
    ipv6: settings.ipv6,
    ...(settings.auth === undefined ? {} : { auth: settings.auth }),
    ...(settings.mtu === undefined ? {} : { mtu: settings.mtu }),
    ...(settings.timeout === undefined ? {} : { timeout: settings.timeout }),
  }
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

/** Names and addresses behind the tunnel, with the DNS servers that were asked for. */
export function dialerOf(tunnel: Tunnel, dns: readonly string[], deps: Deps): Dialer {
  return deps.createDialer({ network: () => tunnel, ...(dns.length === 0 ? {} : { servers: dns }) })
}
