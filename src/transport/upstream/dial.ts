/** A connection to the server through a proxy: TCP (and TLS) to the proxy, then its exchange. */
import { randomBytes } from 'node:crypto'
import type { LookupAddress } from 'node:dns'
import { isIP, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as connectTls, type SecureContext } from 'node:tls'
import { CallError, type Step } from '../errors.js'
import { interleave } from '../happy-eyeballs.js'
import { explainConnect } from '../network-errors.js'
import { resolveHost } from '../resolve.js'
import { dialTcp } from '../tcp.js'
import { endpointText, oneLine } from '../text.js'
import { HttpConnect } from './http-connect.js'
import { SocksConnect } from './socks.js'
import { type Exchange, type Progress, proxyError, type Upstream, upstreamText } from './upstream.js'

/** For one connection's exchange; proxies are asked to connect, which may take them a while. */
const TIMEOUT = 30_000
/** Connections for one exchange: a 407 may cost one each time. */
const MAX_CONNECTIONS = 4
/** Of a name with several addresses, where the proxy takes addresses only. */
const MAX_TARGETS = 4
/** What a proxy says of one address, such as one of a family that it does not know; another may do. */
const OF_THE_ADDRESS = ['PROXY_CANNOT_REACH', 'PROXY_FORBIDDEN', 'PROXY_REFUSED', 'PROXY_TARGET_TIMEOUT']

export interface DialUpstreamOptions {
  readonly upstream: Upstream
  readonly host: string
  readonly port: number
  readonly signal: AbortSignal
  readonly onStep: (step: Step, detail: Readonly<Record<string, string | number>>) => void
  /** Whom to trust as an `https` proxy. */
  readonly context: () => Promise<SecureContext>
  /** Milliseconds; 30 s by default. */
  readonly timeout?: number
}

/** The connection, on which the server is the other end now. Rejects with {@link CallError}. */
export async function dialUpstream(options: DialUpstreamOptions): Promise<Duplex> {
  const { upstream, host, port, signal, onStep } = options
  const proxy = upstreamText(upstream)
  const addresses = await resolveProxy(upstream, proxy, signal)
  const targets = upstream.scheme === 'socks5' ? await resolveHost(host, signal) : []
  onStep('dns', { proxy, addresses: addresses.map((a) => a.address).join(' ') })
  const opened = async (exchange: Exchange): Promise<Duplex> => {
    for (let i = 0; i < MAX_CONNECTIONS; i++) {
      const socket = await open(options, addresses, proxy)
      const rest = await talk(socket, exchange, proxy, options)
      if (rest === undefined) continue
      onStep('tcp', { address: socket.remoteAddress ?? '', port: socket.remotePort ?? upstream.port, proxy })
      return rest.length === 0 ? socket : new Prefixed(socket, rest)
    }
    throw proxyError('protocol', 'PROXY_PROTOCOL', `the proxy ${proxy} hangs up again and again`)
  }
  if (upstream.scheme === 'http' || upstream.scheme === 'https') {
    const target = endpointText(host.replace(/%.*$/, ''), port)
    return opened(new HttpConnect(upstream, target, () => randomBytes(16).toString('hex')))
  }
  if (targets.length === 0) return opened(new SocksConnect(upstream, host, port))
  const order = interleave(targets).slice(0, MAX_TARGETS)
  for (const [i, { address }] of order.entries()) {
    try {
      return await opened(new SocksConnect(upstream, address, port))
    } catch (error) {
      const another =
        error instanceof CallError && OF_THE_ADDRESS.includes(error.code) && i < order.length - 1
      if (!another) throw error
    }
  }
  throw proxyError('unreachable', 'PROXY_CANNOT_REACH', `the proxy ${proxy} does not reach ${host}`)
}

async function resolveProxy(
  upstream: Upstream,
  proxy: string,
  signal: AbortSignal,
): Promise<LookupAddress[]> {
  try {
    return await resolveHost(upstream.host, signal)
  } catch (error) {
    if (!(error instanceof CallError)) throw error
    throw new CallError(
      'dns',
      'unreachable',
      'PROXY_DNS_FAILED',
      `the proxy ${proxy}: ${error.message}`,
      error.hint,
    )
  }
}

/** TCP, and TLS if the proxy wants it. */
async function open(
  options: DialUpstreamOptions,
  addresses: readonly LookupAddress[],
  proxy: string,
): Promise<Socket> {
  const { upstream, signal } = options
  const socket = await dialTcp(addresses, upstream.port, signal).catch((error: unknown) => {
    if (signal.aborted) throw error
    const { message } = explainConnect(error, `the proxy ${proxy}`)
    throw proxyError(
      'unreachable',
      'PROXY_UNREACHABLE',
      message,
      'check --upstream, or HTTPS_PROXY and ALL_PROXY',
    )
  })
  return upstream.scheme === 'https' ? secure(socket, options, proxy) : socket
}

async function secure(raw: Socket, options: DialUpstreamOptions, proxy: string): Promise<Socket> {
  const { upstream, signal, timeout = TIMEOUT } = options
  let secureContext: SecureContext
  try {
    secureContext = await options.context()
  } catch (error) {
    raw.destroy()
    throw error
  }
  // Meanwhile, and TLS that begins on such a socket hears nothing of it.
  if (raw.destroyed || raw.readableEnded) {
    raw.destroy()
    throw hungUpInTls(proxy)
  }
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      socket: raw,
      secureContext,
      host: upstream.host,
      ...(isIP(upstream.host) === 0 ? { servername: upstream.host } : {}),
      // CONNECT is of HTTP/1.1.
      ALPNProtocols: ['http/1.1'],
    })
    const settle = (error?: unknown): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off('close', onClose)
      if (error === undefined) {
        resolve(socket)
        return
      }
      socket.destroy()
      raw.destroy()
      reject(error)
    }
    const onAbort = (): void => settle(signal.reason)
    const onClose = (): void => settle(hungUpInTls(proxy))
    const timer = setTimeout(() => settle(silent(proxy, timeout)), timeout)
    signal.addEventListener('abort', onAbort, { once: true })
    // For good: what breaks later shows as the end of the connection.
    socket.on('error', (error) => settle(explainProxyTls(error, proxy)))
    socket.once('close', onClose)
    socket.once('secureConnect', () => settle())
    if (signal.aborted) onAbort()
  })
}

function hungUpInTls(proxy: string): CallError {
  return proxyError('unreachable', 'PROXY_CLOSED', `the proxy ${proxy} hung up during TLS`)
}

function explainProxyTls(error: NodeJS.ErrnoException, proxy: string): CallError {
  const code = error.code ?? error.message
  if (/WRONG_VERSION_NUMBER|_LENGTH_TOO_LONG|HTTP_REQUEST/.test(code)) {
    return proxyError(
      'protocol',
      'PROXY_PROTOCOL',
      `the proxy ${proxy} does not speak TLS`,
      'most proxies are http:// even for https:// pages: try that in --upstream',
    )
  }
  if (/CERT|SIGNED|ISSUER|VERIFY|HOSTNAME|INVALID_CA|INVALID_PURPOSE/.test(code) && !/ALERT/.test(code)) {
    return proxyError(
      'untrusted',
      'PROXY_UNTRUSTED',
      `the certificate of the proxy ${proxy} is not trusted: ${oneLine(error.message)}`,
      'give its issuer with --ca FILE, or install it in this system',
    )
  }
  if (code === 'ECONNRESET') return hungUpInTls(proxy)
  return proxyError('protocol', 'PROXY_PROTOCOL', `TLS with the proxy ${proxy} failed (${oneLine(code)})`)
}

function silent(proxy: string, limit: number): CallError {
  const message = `the proxy ${proxy} does not answer within ${Math.round(limit / 1000)} s`
  return proxyError('unreachable', 'PROXY_TIMEOUT', message, 'check --upstream, or HTTPS_PROXY and ALL_PROXY')
}

/** Lets the exchange have the connection. @returns what came behind its end; undefined: another connection */
function talk(
  socket: Socket,
  exchange: Exchange,
  proxy: string,
  { signal, timeout = TIMEOUT }: DialUpstreamOptions,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (then: () => void, keep: boolean): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off('data', onData)
      socket.off('end', onEnd)
      socket.off('close', onEnd)
      socket.pause()
      if (!keep) socket.destroy()
      then()
    }
    const fail = (error: unknown): void => settle(() => reject(error), false)
    const onAbort = (): void => fail(signal.reason)
    const onEnd = (): void => {
      const why = exchange.ended()
      if (why === 'again') settle(() => resolve(undefined), false)
      else fail(why)
    }
    const onData = (chunk: Buffer): void => {
      let progress: Progress
      try {
        progress = exchange.push(chunk)
      } catch (error) {
        fail(error)
        return
      }
      if (progress.type === 'open') {
        const { rest } = progress
        settle(() => resolve(rest), true)
      } else if (progress.type === 'again') {
        settle(() => resolve(undefined), false)
      } else if (progress.send !== undefined) {
        socket.write(progress.send)
      }
    }
    const timer = setTimeout(() => fail(silent(proxy, timeout)), timeout)
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('data', onData)
    socket.once('end', onEnd)
    socket.once('close', onEnd)
    if (signal.aborted) onAbort()
    else if (socket.destroyed) onEnd()
    else socket.write(exchange.start())
  })
}

/** A connection of which something was read already. */
export class Prefixed extends Duplex {
  private readonly inner: Socket

  constructor(inner: Socket, first: Buffer) {
    super({ allowHalfOpen: true })
    this.inner = inner
    this.push(first)
    inner.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) inner.pause()
    })
    inner.pause()
    inner.once('end', () => this.push(null))
    inner.once('error', (error) => this.destroy(error))
    inner.once('close', () => this.destroy())
  }

  override _read(): void {
    this.inner.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.inner.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.inner.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.inner.destroy()
    done(error)
  }
}
