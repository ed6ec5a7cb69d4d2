/**
 * `serve`: an SSTP server that needs no rights. TLS and HTTP here, one {@link ClientCall} for each client.
 */
import { X509Certificate } from 'node:crypto'
import { createServer as createTcp, type Socket } from 'node:net'
import { createServer as createTls, type TLSSocket } from 'node:tls'
import { IpAddress } from '../../stack/index.js'
import { monotonicNow } from '../link/driver.js'
import { acceptHead, HeadReader, judgeRequest, refuseHead } from '../transport/http-handshake.js'
import { AddressPool } from './address-pool.js'
import { Admission, sourceOf } from './admission.js'
import { ClientCall, type GatewayContext } from './client-call.js'
import { LoginGuard } from './login-guard.js'
import type { GatewayOptions } from './options.js'
import { ownAddress } from './policy.js'
import { RadiusService } from './radius/service.js'
import { Reporter } from './reporter.js'
import { type Ipv6Plan, ipv6Plan } from './router.js'

/** A gateway that listens. */
export interface Gateway {
  readonly address: string
  readonly port: number
  /** Calls that are being set up or are up. */
  readonly calls: number
  /** Connections of clients that have not signed in. */
  readonly strangers: number
  /** Stops listening, ends every call properly, and resolves when all are gone. */
  close(): Promise<void>
}

/** A connection of a client that has not signed in. */
interface Stranger {
  /** `address:port`, for people. */
  readonly from: string
  readonly source: string
  readonly socket: Socket
  readonly deadline: number
  call: ClientCall | undefined
}

const DEFAULT_POOL = '192.168.30.0/24'
const DEFAULT_MAX_CALLS = 256
const DEFAULT_MAX_STRANGERS = 256
const DEFAULT_MAX_PER_ADDRESS = 32
/** One in so many of them may be in the TLS handshake, which is what costs most. */
const HANDSHAKE_SHARE = 4
/** A second factor may take a minute and a half. */
const DEFAULT_SETUP_TIMEOUT = 120_000
/** For TLS, and for the HTTP head: strangers get no more. */
const HANDSHAKE_TIMEOUT = 10_000
/** For the last accounting records to arrive; the command ends within 3 s, and calls take most of that. */
const RADIUS_FAREWELL = 400
const NO_ROOM = 'its room was needed: too many clients that had not signed in'

/**
 * Starts a gateway. Rejects with Node's error if the address cannot be listened on or the certificate and
 * key do not fit, and with {@link PoolError} for a bad pool.
 */
export function listenGateway(options: GatewayOptions): Promise<Gateway> {
  const pool = new AddressPool(options.pool ?? DEFAULT_POOL)
  const own = ownAddress(pool.gateway)
  const reporter = new Reporter(options.onEvent, monotonicNow)
  const radius =
    options.radius === undefined
      ? undefined
      : new RadiusService(options.radius, (code, message) => reporter.warn(0, code, message))
  const context: GatewayContext = {
    options,
    pool,
    own,
    ipv6: options.ipv6Prefix === undefined ? undefined : planOf(options.ipv6Prefix),
    dns: (options.dns ?? [own.toString()]).map((text) => dnsBytes(text)),
    certificate: new X509Certificate(options.cert).raw,
    guard: new LoginGuard(options.maxFailures),
    radius,
    reporter,
  }
  const maxCalls = options.maxCalls ?? DEFAULT_MAX_CALLS
  const setupTimeout = options.setupTimeout ?? DEFAULT_SETUP_TIMEOUT
  const total = options.maxStrangers ?? DEFAULT_MAX_STRANGERS
  const perSource = Math.min(options.maxPerAddress ?? DEFAULT_MAX_PER_ADDRESS, total)
  const share = (n: number): number => Math.ceil(n / HANDSHAKE_SHARE)
  const strangers = new Admission<Stranger>({ total, perSource })
  /** Of these, such in the TLS handshake. */
  const handshakes = new Admission<Stranger>({ total: share(total), perSource: share(perSource) })
  /** Strangers by both ends, under which TLS knows them too. */
  const byName = new Map<string, Stranger>()
  const calls = new Set<ClientCall>()
  /** Of these, such whose client has signed in. */
  const known = new Set<ClientCall>()
  let count = 0
  let closed = false

  const tls = createTls({
    cert: options.cert,
    key: options.key,
    minVersion: 'TLSv1.2',
    handshakeTimeout: Math.min(HANDSHAKE_TIMEOUT, setupTimeout),
    // A resumed session shows no certificate, and the crypto binding is about the one shown.
    sessionTimeout: 1,
  })
  // TLS gets to see only connections that may come in: its state is what costs memory and time.
  const server = createTcp({ noDelay: true, keepAlive: true, allowHalfOpen: false })
  server.on('connection', (socket: Socket) => {
    socket.on('error', () => {})
    const { remoteAddress, remotePort } = socket
    const stranger: Stranger = {
      from: `${remoteAddress ?? ''}:${remotePort ?? 0}`,
      source: sourceOf(remoteAddress),
      socket,
      deadline: monotonicNow() + setupTimeout,
      call: undefined,
    }
    if (closed || remoteAddress === undefined || !letIn(stranger)) {
      socket.destroy()
      return
    }
    const name = bothEnds(socket)
    byName.set(name, stranger)
    socket.once('close', () => {
      forget(stranger)
      if (byName.get(name) === stranger) byName.delete(name)
    })
    tls.emit('connection', socket)
  })
  tls.on('tlsClientError', (_error, socket) => socket.destroy())
  tls.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    const stranger = byName.get(bothEnds(socket))
    if (stranger === undefined) {
      socket.destroy()
      return
    }
    handshakes.leave(stranger.source, stranger)
    greet(socket, stranger)
  })

  function letIn(stranger: Stranger): boolean {
    const { source } = stranger
    const evict = (other: Stranger): void => {
      reporter.warn(
        0,
        'STRANGERS_FULL',
        `${strangers.size} clients have not signed in; the oldest must leave`,
      )
      forget(other)
      if (other.call === undefined) other.socket.destroy()
      else other.call.giveUp(NO_ROOM)
    }
    if (!strangers.enter(source, stranger, evict)) {
      reporter.warn(0, 'STRANGERS_FULL', `no room for a client from ${source}: too many have not signed in`)
      return false
    }
    if (handshakes.enter(source, stranger, evict)) return true
    strangers.leave(source, stranger)
    reporter.warn(
      0,
      'STRANGERS_FULL',
      `no room for a client from ${source}: too many are in the TLS handshake`,
    )
    return false
  }

  function forget(stranger: Stranger): void {
    handshakes.leave(stranger.source, stranger)
    strangers.leave(stranger.source, stranger)
  }

  function greet(socket: TLSSocket, stranger: Stranger): void {
    const id = ++count
    const { from, source, deadline } = stranger
    const reader = new HeadReader()
    socket.setNoDelay(true)
    const timer = setTimeout(() => socket.destroy(), Math.min(HANDSHAKE_TIMEOUT, setupTimeout))
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
      if (known.size >= maxCalls) {
        reporter.warn(id, 'CALLS_FULL', `${maxCalls} calls are up`)
        refuse(503)
        return
      }
      if (!context.guard.mayConnect(source, monotonicNow())) {
        reporter.warn(id, 'ADDRESS_LOCKED', `too many wrong passwords from ${source}: it has to wait`)
        refuse(503)
        return
      }
      clearTimeout(timer)
      socket.off('data', onData)
      socket.write(acceptHead(new Date().toUTCString()))
      const call = new ClientCall(
        { id, from, source, deadline, quiet: !reporter.mayTell() },
        socket,
        context,
        {
          known: (one) => {
            forget(stranger)
            if (known.size >= maxCalls) return false
            known.add(one)
            return true
          },
          over: (one) => {
            calls.delete(one)
            known.delete(one)
          },
        },
      )
      stranger.call = call
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
      server.on('error', (error: NodeJS.ErrnoException) => {
        const message = `a connection could not be accepted: ${error.code ?? error.message}`
        reporter.warn(0, 'ACCEPT_FAILED', message)
      })
      const bound = server.address()
      const { address, port } = typeof bound === 'object' && bound !== null ? bound : options
      reporter.tell({ type: 'listening', address, port })
      resolve({
        address,
        port,
        get calls() {
          return calls.size
        },
        get strangers() {
          return strangers.size
        },
        async close() {
          closed = true
          const stopped = new Promise<void>((done) => server.close(() => done()))
          await Promise.all([...calls].map((call) => call.close()))
          await radius?.close(RADIUS_FAREWELL)
          for (const { socket } of byName.values()) socket.destroy()
          await stopped
        },
      })
    })
  })
}

/** What no two connections share: one port of a client's, or of its NAT's, may reach several addresses of ours. */
function bothEnds({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress ?? ''} ${remotePort ?? 0} ${localAddress ?? ''}`
}

function dnsBytes(text: string): Uint8Array {
  const address = IpAddress.parse(text)
  if (address === undefined || address.family !== 4) throw new TypeError(`${text} is not an IPv4 address`)
  return address.toBytes()
}

/** Throws for a prefix that clients cannot have. */
function planOf(cidr: string): Ipv6Plan {
  const plan = ipv6Plan(cidr)
  if (plan === undefined) throw new TypeError(`${cidr} is no IPv6 prefix of 64 bits for hosts`)
  return plan
}
