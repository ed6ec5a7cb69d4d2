import { randomBytes } from 'node:crypto'
import { demoSchema, parseSettings } from '../config/schema.js'
import { formatEndpoint } from '../config/values.js'
import { AddressPool } from '../gateway/address-pool.js'
import { makeCertificate } from '../gateway/certificate.js'
import { logGatewayEvent } from '../observe/logger.js'
import { ProxyLog } from '../observe/proxy-log.js'
import { CallError } from '../transport/errors.js'
import { closeInTime, dialerOf, startCall } from './call.js'
import type { Command } from './command.js'
import { Console } from './console.js'
import { fetchThrough, type Way } from './demo-client.js'
import { type DemoNetwork, openDemoNetwork } from './demo-network.js'
import type { Deps, Listener } from './deps.js'
import { describeForScripts, EXIT, exitStatus, Interrupted } from './exit.js'
import { demoOptions } from './options.js'
import { closeProxies, firstOf, openProxies } from './proxies.js'
import { Stop } from './stop.js'

const USER = 'demo'
const POOL = '192.168.30.0/24'

export const demo: Command = {
  usage: 'demo',
  describe: 'server, a small inner network and the bridge in one process, with lines to try',
  positionals: {},
  options: demoOptions,

  async run(options, deps) {
    const settings = parseSettings(demoSchema, options)
    const console = new Console(deps, settings, 'warn')
    const stop = new Stop(deps)
    let status: number = EXIT.ok
    let failure: unknown
    // What was opened, the last first.
    const opened: (() => Promise<void>)[] = []
    try {
      const network = await openDemoNetwork(new AddressPool(POOL).gateway)
      opened.unshift(() => network.close())
      const password = randomBytes(18).toString('base64url')
      const certificate = await makeCertificate()
      const gateway = await openGateway(certificate, password, deps, console)
      opened.unshift(() => gateway.close())
      const { address: host, port } = gateway
      const trust = { pin: certificate.sha256 }
      const tunnel = await startCall({ host, port, user: USER, password, trust }, deps, console, stop)
      opened.unshift(() => tunnel.close())
      const dialer = dialerOf(tunnel, {}, deps)
      const anywhere = { address: '127.0.0.1', port: 0 }
      const common = { dialer, onEvent: new ProxyLog(console.logger, () => deps.now()).onEvent }
      const socks = await openProxies({ socks: [anywhere], http: [] }, common, deps)
      opened.unshift(() => closeProxies(socks))
      const http = await openProxies({ socks: [], http: [anywhere] }, common, deps)
      opened.unshift(() => closeProxies(http))
      const proxies = { socks: firstOf(socks, 'socks'), http: firstOf(http, 'http') }
      announce(proxies, gateway, network, console, settings.once)
      const lost = tunnel.closed.then((error): never => {
        throw error ?? new CallError('ip', 'lost', 'CALL_ENDED', 'the tunnel has ended')
      })
      if (settings.once) {
        const good = await Promise.race([stop.race(tryAll(proxies, network, console)), lost])
        status = good ? EXIT.ok : EXIT.failed
      } else await Promise.race([stop.requested, lost])
    } catch (error) {
      failure = error
      // With --once nothing was shown yet; else the end on request is a proper end.
      status = error instanceof Interrupted && !settings.once ? EXIT.ok : exitStatus(error)
      if (status !== EXIT.ok) console.fail(error)
    } finally {
      await closeInTime(deps, console, async () => {
        for (const close of opened) await close()
      })
      stop.release()
    }
    const error = failure === undefined || status === EXIT.ok ? {} : { error: describeForScripts(failure) }
    console.emit({ event: 'stopped', status, ...error })
    return status
  },
}

async function openGateway(
  certificate: { readonly cert: string; readonly key: string },
  password: string,
  deps: Deps,
  console: Console,
): Promise<Listener> {
  const { cert, key } = certificate
  return deps.listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert,
    key,
    accounts: { password: (user) => (user === USER ? password : undefined) },
    // The server's own inner address stands for loopback then, where the inner network is.
    pool: POOL,
    allowLoopback: true,
    trace: console.logger.isLevelEnabled('debug'),
    onEvent: (event) => logGatewayEvent(console.logger, event),
  })
}

interface Proxies {
  readonly socks: Listener | undefined
  readonly http: Listener | undefined
}

function announce(
  proxies: Proxies,
  gateway: Listener,
  network: DemoNetwork,
  console: Console,
  once: boolean,
): void {
  const { socks, http } = proxies
  const plain = (listener: Listener | undefined) =>
    listener === undefined ? null : { address: listener.address, port: listener.port }
  const { page, file, size, sha256 } = network
  console.emit({
    event: 'ready',
    socks: plain(socks),
    http: plain(http),
    server: plain(gateway),
    page,
    file: { url: file, size, sha256 },
  })
  const at = (listener: Listener | undefined) =>
    listener === undefined ? '' : formatEndpoint(listener.address, listener.port)
  console.print(`SSTP server on ${at(gateway)}, a web server in the network behind it, and the bridge:`)
  console.print(`  SOCKS5 proxy on ${at(socks)}`)
  console.print(`  HTTP proxy on   ${at(http)}`)
  console.print('')
  if (once) return
  console.print('A page, through both:')
  console.print(`  curl --socks5-hostname ${at(socks)} ${page}`)
  console.print(`  curl -x http://${at(http)} ${page}`)
  console.print('')
  console.print(`A file of ${size / 1048576} MiB, through both; its SHA-256 is ${sha256}:`)
  console.print(`  curl --socks5-hostname ${at(socks)} ${file} | sha256sum`)
  console.print(`  curl -x http://${at(http)} ${file} | sha256sum`)
  console.print('')
  console.print(`A browser (or set the SOCKS5 proxy in its settings and open ${page}):`)
  console.print(`  chromium --proxy-server=socks5://${at(socks)} ${page}`)
  console.print('')
  console.print('Stop with Ctrl-C.')
}

/** Page and file through every way; false if one of them is not what it should be. */
async function tryAll(proxies: Proxies, network: DemoNetwork, console: Console): Promise<boolean> {
  const ways: readonly (readonly [Way, string, Listener | undefined])[] = [
    ['socks5', 'SOCKS5', proxies.socks],
    ['http', 'HTTP proxy', proxies.http],
    ['connect', 'HTTP CONNECT', proxies.http],
  ]
  let good = true
  for (const [way, name, proxy] of ways) {
    for (const what of ['page', 'file'] as const) {
      const problem = await attempt(way, name, proxy, what, network, console)
      if (problem === undefined) continue
      good = false
      console.print(`FAIL  ${name}: ${what}: ${problem}`)
      console.emit({ event: 'try', way, what, ok: false, problem })
    }
  }
  return good
}

async function attempt(
  way: Way,
  name: string,
  proxy: Listener | undefined,
  what: 'page' | 'file',
  network: DemoNetwork,
  console: Console,
): Promise<string | undefined> {
  if (proxy === undefined) return 'no proxy'
  try {
    const { status, body, sha256, ms } = await fetchThrough(way, proxy, network[what])
    if (status !== 200) return `status ${status}`
    if (what === 'page' && !body.toString().includes(network.greeting)) return 'another page came'
    if (what === 'file' && sha256 !== network.sha256) return `SHA-256 ${sha256} instead of ${network.sha256}`
    const rate = body.length / 1048576 / (ms / 1000)
    const told =
      what === 'file' ? `${body.length} octets, ${rate.toFixed(1)} MiB/s, SHA-256 ${sha256}` : '200'
    console.print(`ok    ${name}: ${what}: ${told}`)
    console.emit({ event: 'try', way, what, ok: true, size: body.length, sha256, ms })
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
