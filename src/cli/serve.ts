import { userInfo } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { readAuthorities } from '../config/eap.js'
import { UsageError } from '../config/errors.js'
import { radiusOptions } from '../config/radius.js'
import { parseSettings, type ServeSettings, serveSchema } from '../config/schema.js'
import { formatEndpoint, isLoopback } from '../config/values.js'
import { loadAccounts } from '../gateway/accounts.js'
import {
  type Certificate,
  CertificateError,
  loadCertificate,
  stateCertificate,
} from '../gateway/certificate.js'
import type { GatewayEvent } from '../gateway/events.js'
import type { GatewayOptions } from '../gateway/options.js'
import { logGatewayEvent } from '../observe/logger.js'
import { closeInTime } from './call.js'
import type { Command } from './command.js'
import { Console } from './console.js'
import type { Deps, Listener } from './deps.js'
import { describeForScripts, EXIT, exitStatus, Interrupted, listenError } from './exit.js'
import { serveOptions } from './options.js'
import { Stop } from './stop.js'

export const serve: Command = {
  usage: 'serve',
  describe: 'be an SSTP server whose clients reach what this machine reaches, without root',
  positionals: {},
  options: serveOptions,
  examples: [['$0 serve --accounts accounts.txt', 'make a certificate and listen']],

  async run(options, deps) {
    const settings = parseSettings(serveSchema, options)
    const console = new Console(deps, settings, 'info')
    const stop = new Stop(deps)
    let status: number = EXIT.ok
    let failure: unknown
    try {
      const users = await findUsers(settings, deps, stop)
      const certificate = await findCertificate(settings, deps, console)
      stop.check()
      const trace = console.logger.isLevelEnabled('debug')
      let ready = false
      const early: GatewayEvent[] = []
      const tell = (event: GatewayEvent) => {
        if (event.type !== 'trace' && event.type !== 'listening') emitEvent(event, console)
      }
      const gateway = await listen(settings, certificate, users, deps, trace, (event) => {
        logGatewayEvent(console.logger, event)
        // The ready line is the first of all.
        if (ready) tell(event)
        else early.push(event)
      })
      try {
        announce(gateway, certificate, settings, console)
        ready = true
        for (const event of early) tell(event)
        await stop.requested
      } finally {
        await closeInTime(deps, console, () => gateway.close())
      }
    } catch (error) {
      failure = error
      status = error instanceof Interrupted ? EXIT.ok : exitStatus(error)
      if (status !== EXIT.ok) console.fail(error)
    } finally {
      stop.release()
    }
    const signal = stop.received === undefined ? {} : { signal: stop.received }
    const error = status === EXIT.ok ? {} : { error: describeForScripts(failure) }
    console.emit({ event: 'stopped', status, ...signal, ...error })
    return status
  },
}

type Users = Pick<GatewayOptions, 'accounts' | 'radius' | 'clientCa' | 'auth'>

async function findUsers(settings: ServeSettings, deps: Deps, stop: Stop): Promise<Users> {
  const { accounts: file, clientCa: path } = settings
  const clientCa = path === undefined ? undefined : await readAuthorities(path, '--client-ca')
  if (file !== undefined) {
    const accounts = await loadAccounts(file)
    return { accounts, ...(clientCa === undefined ? {} : { clientCa }) }
  }
  const nobody = { password: () => undefined }
  if (clientCa !== undefined) return { accounts: nobody, clientCa, auth: ['eap-tls'] }
  const sources = { readStdin: () => deps.readStdin(), signal: stop.signal }
  const radius = await radiusOptions(settings, sources)
  return { accounts: nobody, ...(radius === undefined ? {} : { radius }) }
}

async function listen(
  settings: ServeSettings,
  { cert, key }: Certificate,
  users: Users,
  deps: Deps,
  trace: boolean,
  onEvent: (event: GatewayEvent) => void,
): Promise<Listener> {
  const { auth, pool, ipv6Prefix, dns, mtu, allowLoopback, listen: at } = settings
  try {
    return await deps.listenGateway({
      ...at,
      cert,
      key,
      ...users,
      allowLoopback,
      trace,
      onEvent,
      ...(auth === undefined ? {} : { auth }),
      ...(pool === undefined ? {} : { pool }),
      ...(ipv6Prefix === undefined ? {} : { ipv6Prefix }),
      ...(dns.length === 0 ? {} : { dns }),
      ...(mtu === undefined ? {} : { mtu }),
      ...limitsOf(settings),
    })
  } catch (error) {
    throw listenError(error, at, '--listen')
  }
}

/** Those that were said. */
function limitsOf(
  settings: ServeSettings,
): Pick<
  GatewayOptions,
  'maxCalls' | 'maxConnections' | 'maxStrangers' | 'maxPerAddress' | 'maxFailures' | 'setupTimeout'
> {
  const { maxCalls, maxConnections, maxStrangers, maxPerAddress, maxFailures, setupTimeout } = settings
  return {
    ...(maxCalls === undefined ? {} : { maxCalls }),
    ...(maxConnections === undefined ? {} : { maxConnections }),
    ...(maxStrangers === undefined ? {} : { maxStrangers }),
    ...(maxPerAddress === undefined ? {} : { maxPerAddress }),
    ...(maxFailures === undefined ? {} : { maxFailures }),
    ...(setupTimeout === undefined ? {} : { setupTimeout }),
  }
}

async function findCertificate(
  settings: ServeSettings,
  deps: Pick<Deps, 'env'>,
  console: Console,
): Promise<Certificate> {
  if (settings.cert !== undefined && settings.key !== undefined) {
    const given = await loadCertificate(settings.cert, settings.key)
    if (given.validTo.getTime() < Date.now()) console.warn(`the certificate in ${settings.cert} has expired`)
    return given
  }
  const directory = settings.state ?? stateDirectory(deps.env)
  const kept = await stateCertificate(directory).catch((error: unknown) => {
    if (!(error instanceof CertificateError) || error.code !== 'CERTIFICATE_UNWRITABLE') throw error
    throw new UsageError(`${error.message}: ${ELSEWHERE}`)
  })
  if (kept.created) console.logger.info({ path: kept.path }, 'made a self-signed certificate')
  return kept
}

const ELSEWHERE = 'give --state DIRECTORY, or --cert FILE and --key FILE'

/**
 * Where the certificate is kept if nobody says so. XDG Base Directory Specification: a relative path counts as none.
 * Throws {@link UsageError} if there is no home: in containers a user id may have no entry among the users.
 */
export function stateDirectory(
  env: Deps['env'],
  whoami: () => { readonly homedir: string } = userInfo,
): string {
  const base = env.XDG_STATE_HOME
  if (base !== undefined && isAbsolute(base)) return join(base, 'sstp-socks')
  const home = env.HOME || homeOf(whoami)
  if (home === '') throw new UsageError(`no home directory to keep a certificate in: ${ELSEWHERE}`)
  return join(home, '.local', 'state', 'sstp-socks')
}

function homeOf(whoami: () => { readonly homedir: string }): string {
  try {
    return whoami().homedir
  } catch {
    return ''
  }
}

function announce(
  gateway: Listener,
  certificate: Certificate,
  settings: ServeSettings,
  console: Console,
): void {
  const { address, port } = gateway
  const { sha256 } = certificate
  console.emit({ event: 'ready', listen: { address, port }, sha256 })
  const at = formatEndpoint(address, port)
  const host = address === '0.0.0.0' || address === '::' ? 'THIS-HOST' : address
  console.print(`SSTP server on ${at}`)
  console.print(`Certificate SHA-256: ${sha256}`)
  console.print(`  sstp-socks ${formatEndpoint(host, port)} --user NAME --pin ${sha256}`)
  if (settings.allowLoopback && !isLoopback(address)) {
    console.warn('with --allow-loopback every client reaches the services on 127.0.0.1 of this machine')
  }
  console.print('Stop with Ctrl-C.')
}

function emitEvent({ type, ...fields }: GatewayEvent, console: Console): void {
  console.emit({ event: type, ...fields })
}
