/**
 * `serve`: an SSTP server that needs no rights. TLS and HTTP here, one {@link ClientCall} for each client.
 */
import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { IpAddress } from '../../stack/index.js'
import { monotonicNow } from '../link/driver.js'
import { acceptHead, HeadReader, judgeRequest, refuseHead } from '../transport/http-handshake.js'
import { AddressPool } from './address-pool.js'
import { ClientCall, type GatewayContext } from './client-call.js'
import type { GatewayOptions } from './options.js'
import { ownAddress } from './policy.js'

/** A gateway that listens. */
export interface Gateway {
  readonly address: string
  readonly port: number
  /** Calls that are being set up or are up. */
  readonly calls: number
  /** Stops listening, ends every call properly, and resolves when all are gone. */
  close(): Promise<void>
}

const DEFAULT_POOL = '192.168.30.0/24'
const DEFAULT_MAX_CALLS = 256
/** For TLS, and for the HTTP head: strangers get no more. */
const HANDSHAKE_TIMEOUT = 10_000
/** Between warnings of connections that could not be accepted. */
const WARNING_INTERVAL = 30_000

/**
 * Starts a gateway. Rejects with Node's error if the address cannot be listened on or the certificate and
 * key do not fit, and with {@link PoolError} for a bad pool.
 */
export function listenGateway(options: GatewayOptions): Promise<Gateway> {
  const pool = new AddressPool(options.pool ?? DEFAULT_POOL)
  const own = ownAddress(pool.gateway)
  const context: GatewayContext = {
    options,
    pool,
    own,
    dns: (options.dns ?? [own.toString()]).map((text) => dnsBytes(text)),
    certificate: new X509Certificate(options.cert).raw,
  }
  const maxCalls = options.maxCalls ?? DEFAULT_MAX_CALLS
  const calls = new Set<ClientCall>()
  /** Connections that are not calls yet. */
  const strangers = new Set<Socket>()
  let count = 0
  let closed = false

  const server = createServer({
    cert: options.cert,
    key: options.key,
    minVersion: 'TLSv1.2',
    handshakeTimeout: HANDSHAKE_TIMEOUT,
    // A resumed session shows no certificate, and the crypto binding is about the one shown.
    sessionTimeout: 1,
    noDelay: true,
    keepAlive: true,
    allowHalfOpen: false,
  })
  server.on('connection', (socket: Socket) => {
    if (closed || strangers.size + calls.size >= maxCalls * 2 + 64) {
      socket.destroy()
      return
    }
    strangers.add(socket)
    socket.once('close', () => strangers.delete(socket))
  })
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  server.on('secureConnection', (socket) => greet(socket))

  function greet(socket: TLSSocket): void {
    const id = ++count
    const from = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? 0}`
    const reader = new HeadReader()
    socket.on('error', () => {})
    socket.setNoDelay(true)
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_TIMEOUT)
    socket.once('close', () => clearTimeout(timer))
    const refuse = (status: number): void => {
      socket.off('data', onData)
      socket.end(refuseHead(status))
    }
    const onData = (chunk: Buffer): void => {
      const state = reader.push(chunk, 0, chunk.length)
      if (state === 'more') return
      const status = reader.head === undefined ? 400 : judgeRequest(reader.head)
      if (status !== 200 || closed) {
        refuse(closed ? 503 : status)
        return
      }
      if (calls.size >= maxCalls) {
        options.onEvent?.({
          type: 'warning',
          call: id,
          code: 'CALLS_FULL',
          message: `${maxCalls} calls are up`,
        })
        refuse(503)
        return
      }
      clearTimeout(timer)
      socket.off('data', onData)
      options.onEvent?.({ type: 'accepted', call: id, from })
      socket.write(acceptHead(new Date().toUTCString()))
      const call = new ClientCall(id, from, socket, context, (over) => calls.delete(over))
      calls.add(call)
      call.start(reader.rest)
    }
    socket.on('data', onData)
  }

  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: options.address, port: options.port }, () => {
      server.off('error', reject)
      // Too many open files, for one: calls that are up go on.
      server.on('error', acceptWarner(options.onEvent))
      const bound = server.address()
      const { address, port } = typeof bound === 'object' && bound !== null ? bound : options
      options.onEvent?.({ type: 'listening', address, port })
      resolve({
        address,
        port,
        get calls() {
          return calls.size
        },
        async close() {
          closed = true
          const stopped = new Promise<void>((done) => server.close(() => done()))
          await Promise.all([...calls].map((call) => call.close()))
          for (const socket of strangers) socket.destroy()
          await stopped
        },
      })
    })
  })
}

/** Tells of connections that could not be accepted, but not of each: they come by the thousand. */
export function acceptWarner(
  onEvent: GatewayOptions['onEvent'],
  now: () => number = monotonicNow,
): (error: NodeJS.ErrnoException) => void {
  let quietUntil = Number.NEGATIVE_INFINITY
  return (error) => {
    if (now() < quietUntil) return
    quietUntil = now() + WARNING_INTERVAL
    const message = `a connection could not be accepted: ${error.code ?? error.message}`
    onEvent?.({ type: 'warning', call: 0, code: 'ACCEPT_FAILED', message })
  }
}

function dnsBytes(text: string): Uint8Array {
  const address = IpAddress.parse(text)
  if (address === undefined || address.family !== 4) throw new TypeError(`${text} is not an IPv4 address`)
  return address.toBytes()
}
