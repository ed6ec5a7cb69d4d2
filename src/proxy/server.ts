import { createServer, type Socket } from 'node:net'
import type { Dialer, Flow } from '../tunnel/dialer.js'
import { Client, DEFAULT_PROXY_LIMITS, type ProxyContext, type ProxyLimits, type SetTimer } from './client.js'
import type { ProxyEvent } from './events.js'
import { MixedPort, type Protocols } from './mixed-port.js'

export interface ProxyOptions {
  readonly address: string
  /** 0 picks one. */
  readonly port: number
  /** Both: one port serves both, told apart by the first octet. */
  readonly protocols: Protocols
  readonly dialer: Dialer
  readonly limits?: Partial<ProxyLimits>
  /** The name that Via gives us; false leaves Via out. Default `sstp-socks`. */
  readonly via?: string | false
  /** Timers that keep no process alive, by default those of Node. */
  readonly setTimer?: SetTimer
  readonly onEvent?: (event: ProxyEvent) => void
}

/** What a proxy holds at a moment. */
export interface ProxyUsage {
  readonly connections: number
  readonly flows: number
  readonly timers: number
}

export interface ProxyServer {
  readonly address: string
  readonly port: number
  usage(): ProxyUsage
  /** Stops listening and breaks every connection off; resolves when their sockets are closed. */
  close(): Promise<void>
}

/** Starts a proxy. Rejects with Node's error if the address cannot be listened on. */
export function listenProxy(options: ProxyOptions): Promise<ProxyServer> {
  const limits: ProxyLimits = { ...DEFAULT_PROXY_LIMITS, ...options.limits }
  const clients = new Map<Socket, Client>()
  const flows = new Set<Flow>()
  const timers = new TimerCount(options.setTimer ?? nodeTimer)
  const emit = options.onEvent ?? (() => {})
  const context: ProxyContext = {
    dialer: options.dialer,
    limits,
    via: options.via === false ? undefined : (options.via ?? 'sstp-socks'),
    setTimer: timers.set,
    emit,
    flows,
  }
  let count = 0
  let closed = false

  const server = createServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE },
    (socket) => {
      const id = ++count
      if (clients.size >= limits.connections || closed) {
        const from = socket.remoteAddress ?? ''
        socket.on('error', () => {})
        socket.destroy()
        const message = `more than ${limits.connections} connections`
        if (!closed) emit({ type: 'rejected', client: id, from, reason: 'limit', message })
        return
      }
      const client = new Client(id, socket, context)
      clients.set(socket, client)
      socket.once('close', () => void clients.delete(socket))
      emit({ type: 'accepted', client: id, from: client.from })
      new MixedPort(client, options.protocols).start()
    },
  )

  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: options.address, port: options.port }, () => {
      server.off('error', reject)
      // Too many open files, for one: those who are connected go on.
      server.on('error', () => {})
      const bound = server.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : options.port
      const address = typeof bound === 'object' && bound !== null ? bound.address : options.address
      let closing: Promise<void> | undefined
      resolve({
        address,
        port,
        usage: () => ({ connections: clients.size, flows: flows.size, timers: timers.active }),
        close: () => {
          closing ??= new Promise((done) => {
            closed = true
            server.close(() => done())
            for (const client of clients.values()) client.reset()
            // Those that only finish their ends, behind connections that are gone already.
            for (const flow of flows) flow.reset()
          })
          return closing
        },
      })
    })
  })
}

/** Knows how many timers have neither come nor been cancelled. */
class TimerCount {
  readonly #setTimer: SetTimer
  active = 0

  constructor(setTimer: SetTimer) {
    this.#setTimer = setTimer
  }

  readonly set: SetTimer = (callback, ms) => {
    let pending = true
    this.active++
    const cancel = this.#setTimer(() => {
      if (!pending) return
      pending = false
      this.active--
      callback()
    }, ms)
    return () => {
      if (!pending) return
      pending = false
      this.active--
      cancel()
    }
  }
}

const nodeTimer: SetTimer = (callback, ms) => {
  const timer = setTimeout(callback, ms)
  timer.unref()
  return () => clearTimeout(timer)
}

/** Milliseconds of silence until the client's kernel is asked whether it is still there. */
const KEEP_ALIVE = 60_000
