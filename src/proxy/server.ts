import { createServer, type Server } from 'node:net'
import type { Dialer, Flow } from '../tunnel/dialer.js'
import {
  abandon,
  Client,
  DEFAULT_PROXY_LIMITS,
  type ProxyContext,
  type ProxyLimits,
  release,
  type SetTimer,
} from './client.js'
import type { Credentials } from './credentials.js'
import type { ProxyEvent } from './events.js'
import { MixedPort, type Protocols } from './mixed-port.js'
import type { Pages } from './pages.js'
import { refusingDialer } from './refusing-dialer.js'
import { socksQuotas } from './socks-quota.js'
import { nodeTimer, TimerCount } from './timers.js'
import { listenOnPath } from './unix-socket.js'
import { UpstreamPool } from './upstream-pool.js'

export interface ProxyOptions {
  readonly address: string
  /** 0 picks one. */
  readonly port: number
  /** A unix socket, that only its owner can use; address and port say nothing then. */
  readonly path?: string
  /** Whom to serve, by IP address; default: everybody. Not asked for clients of a unix socket. */
  readonly allow?: (address: string) => boolean
  /** Both: one port serves both, told apart by the first octet. */
  readonly protocols: Protocols
  readonly dialer: Dialer
  readonly limits?: Partial<ProxyLimits>
  /** The name that Via gives us; false leaves Via out. Default `sstp-socks`. */
  readonly via?: string | false
  /** Timers that keep no process alive, by default those of Node. */
  readonly setTimer?: SetTimer
  /** What clients must say; default: nothing. */
  readonly credentials?: Credentials
  /** Pages of the proxy's own. */
  readonly pages?: Pages
  readonly onEvent?: (event: ProxyEvent) => void
}

/** What a proxy holds at a moment. */
export interface ProxyUsage {
  readonly connections: number
  readonly flows: number
  readonly timers: number
}

export interface ProxyServer {
  /** Empty with a path. */
  readonly address: string
  /** 0 with a path. */
  readonly port: number
  /** Of a unix socket. */
  readonly path?: string
  usage(): ProxyUsage
  /** Stops listening and breaks every connection off; resolves when their sockets are closed. */
  close(): Promise<void>
}

/** Starts a proxy. Rejects with Node's error if the address cannot be listened on. */
export async function listenProxy(options: ProxyOptions): Promise<ProxyServer> {
  const limits: ProxyLimits = { ...DEFAULT_PROXY_LIMITS, ...options.limits }
  const clients = new Set<Client>()
  const gone = (client: Client): void => void clients.delete(client)
  const flows = new Set<Flow>()
  const timers = new TimerCount(options.setTimer ?? nodeTimer)
  const emit = options.onEvent ?? (() => {})
  const upstreams = new UpstreamPool({
    setTimer: timers.set,
    release: (flow) => release(context, flow),
    abandon: (flow) => abandon(context, flow),
    onGone: (flow) => void flows.delete(flow),
  })
  const context: ProxyContext = {
    dialer: options.dialer,
    limits,
    via: options.via === false ? undefined : (options.via ?? 'sstp-socks'),
    setTimer: timers.set,
    emit,
    credentials: options.credentials,
    pages: options.pages,
    flows,
    upstreams,
  }
  const tooMany = `more than ${limits.connections} clients at once: raise --max-clients if they are all wanted`
  const crowded: ProxyContext = {
    ...context,
    upstreams: undefined,
    dialer: refusingDialer('no-resources', tooMany),
    limits: { ...limits, firstByte: CROWDED, head: CROWDED, idle: CROWDED },
  }
  const quotas = socksQuotas(limits)
  let count = 0
  let closed = false

  const server = createServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE },
    (socket) => {
      const id = ++count
      const { remoteAddress } = socket
      if (remoteAddress !== undefined && options.allow?.(remoteAddress) === false) {
        socket.on('error', () => {})
        socket.destroy()
        const message = `clients at ${remoteAddress} may not use this proxy (--allow)`
        if (!closed) emit({ type: 'rejected', client: id, from: remoteAddress, reason: 'forbidden', message })
        return
      }
      if (clients.size >= limits.connections + HEARD_OUT || closed) {
        const from = socket.remoteAddress ?? ''
        socket.on('error', () => {})
        socket.destroy()
        if (!closed) emit({ type: 'rejected', client: id, from, reason: 'limit', message: tooMany })
        return
      }
      // The first of too many are heard, so that they are told in the words of their protocol.
      const client = new Client(id, socket, clients.size < limits.connections ? context : crowded, gone)
      clients.add(client)
      emit({ type: 'accepted', client: id, from: client.from })
      new MixedPort(client, options.protocols, quotas).start()
    },
  )

  if (options.path === undefined) await listenOnPort(server, options.address, options.port)
  else await listenOnPath(server, options.path)
  // Too many open files, for one: those who are connected go on.
  server.on('error', () => {})
  const bound = server.address()
  const place =
    typeof bound === 'object' && bound !== null
      ? { address: bound.address, port: bound.port }
      : { address: '', port: 0 }
  let closing: Promise<void> | undefined
  return {
    ...place,
    ...(options.path === undefined ? {} : { path: options.path }),
    usage: () => ({ connections: clients.size, flows: flows.size, timers: timers.active }),
    close: () => {
      closing ??= new Promise((done) => {
        closed = true
        server.close(() => done())
        for (const client of clients) client.reset()
        // Those that only finish their ends, behind connections that are gone already.
        for (const flow of flows) flow.reset()
      })
      return closing
    },
  }
}

function listenOnPort(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** Clients above the limit that are answered; others are hung up on. */
const HEARD_OUT = 64
/** Milliseconds that such a client has for what it wants. */
const CROWDED = 2000
/** Milliseconds of silence until the client's kernel is asked whether it is still there. */
const KEEP_ALIVE = 60_000
