/**
 * The stack's sockets of one session as promises, flows and handlers, with their time-outs.
 */
import {
  type AnySocket,
  IpAddress,
  type NetStack,
  type PingSocket,
  READY_CLOSED,
  READY_CONNECTED,
  type TcpConnection,
  type TcpListener,
  takeReady,
  type UdpSocket,
} from '../../stack/index.js'
import { dialError, type FlowHost, StackFlow } from '../link/stack-flow.js'
import {
  DialError,
  type DialOptions,
  type Endpoint,
  type Flow,
  type FlowListener,
  type ListenOptions,
  type UdpFlow,
  type UdpHandler,
  type UdpOptions,
} from './dialer.js'
import { type ListenerHost, StackListener } from './listener.js'
import type { PingOptions } from './options.js'

/** Whoever drives the stack. */
export interface SocketsHost {
  now(): number
  wake(): void
  random(dst: Uint8Array): void
}

const CONNECT_TIMEOUT = 30_000
const PING_TIMEOUT = 5_000
const PING_SIZE = 56
/** RFC 6335 6: ports that nobody has registered. */
const FIRST_PORT = 49_152
const PORTS = 65_536 - FIRST_PORT
/** Picks of a port until all are said to be taken. */
const PICKS = 256

/** Somebody waits for something until a deadline. */
interface Waiting {
  readonly deadline: number
  expire(): void
  /** Without an error: it has come true. */
  settle(error?: DialError): void
}

export class SessionSockets implements FlowHost, ListenerHost {
  private readonly stack: NetStack
  private readonly host: SocketsHost
  private readonly flows = new Set<StackFlow>()
  private readonly datagrams = new Set<StackUdp>()
  private readonly listeners = new Set<StackListener>()
  private readonly waiting = new Set<Waiting>()
  private deferred: StackFlow[] = []
  private nearest = Number.POSITIVE_INFINITY
  private isClosed = false

  constructor(stack: NetStack, host: SocketsHost) {
    this.stack = stack
    this.host = host
  }

  now(): number {
    return this.host.now()
  }

  wake(): void {
    this.host.wake()
  }

  defer(flow: StackFlow): void {
    this.deferred.push(flow)
    this.host.wake()
  }

  connect(to: Endpoint, options: DialOptions = {}): Promise<Flow> {
    const { signal } = options
    return new Promise((resolve, reject) => {
      if (this.isClosed) throw tunnelDown()
      if (signal?.aborted) throw new DialError('aborted', 'given up')
      const address = parse(to.address)
      const now = this.now()
      const c = this.stack.connect({ address, port: to.port }, now)
      if (typeof c === 'string') {
        throw dialError(c, to)
      }
      const settle = (error?: DialError): void => {
        this.waiting.delete(opening)
        signal?.removeEventListener('abort', onAbort)
        if (error === undefined) {
          resolve(this.adopt(c))
        } else {
          c.owner = undefined
          c.abort()
          this.wake()
          reject(error)
        }
      }
      const onAbort = (): void => settle(new DialError('aborted', 'given up'))
      const opening: Opening = {
        deadline: now + (options.timeout ?? CONNECT_TIMEOUT),
        expire: () => settle(dialError(c.softError ?? 'timed-out', to)),
        settle,
      }
      c.owner = opening
      signal?.addEventListener('abort', onAbort, { once: true })
      this.wait(opening)
    })
  }

  openUdp(options: UdpOptions = {}): UdpFlow {
    if (this.isClosed) throw tunnelDown()
    const { remote, port = 0 } = options
    const to = remote === undefined ? undefined : { address: parse(remote.address), port: remote.port }
    const source = to === undefined ? undefined : this.stack.sourceFor(to.address)
    if (remote !== undefined && source === undefined) throw dialError('network-unreachable', remote)
    checkPort(port)
    const socket = this.stack.openUdp(to === undefined ? { port } : { port, remote: to })
    if (socket === undefined) {
      throw new DialError('no-resources', port === 0 ? 'no UDP port is free' : `UDP port ${port} is taken`)
    }
    const flow = new StackUdp(
      socket,
      source?.toString() ?? '',
      () => {
        this.datagrams.delete(flow)
        this.wake()
      },
      () => this.wake(),
    )
    this.datagrams.add(flow)
    return flow
  }

  listen(options: ListenOptions): FlowListener {
    if (this.isClosed) throw tunnelDown()
    const { port, from } = options
    const wanted = from === undefined ? undefined : parse(from)
    checkPort(port)
    const socket = this.bind(port)
    if (socket === undefined) {
      throw new DialError('no-resources', port === 0 ? 'no TCP port is free' : `TCP port ${port} is taken`)
    }
    const listener = new StackListener(this.stack, socket, wanted, this)
    this.listeners.add(listener)
    return listener
  }

  ping(address: string, options: PingOptions = {}): Promise<{ readonly ms: number; readonly size: number }> {
    const { signal } = options
    return new Promise((resolve, reject) => {
      if (this.isClosed) throw tunnelDown()
      if (signal?.aborted) throw new DialError('aborted', 'given up')
      const to = parse(address)
      const socket = this.stack.openPing()
      if (socket === undefined) throw new DialError('no-resources', 'too many pings')
      const data = new Uint8Array(options.size ?? PING_SIZE).map((_, i) => i)
      const began = this.now()
      const settle = (error?: DialError): void => {
        this.waiting.delete(echo)
        signal?.removeEventListener('abort', onAbort)
        socket.close()
        if (error === undefined) resolve({ ms: this.now() - began, size: data.length })
        else reject(error)
      }
      const onAbort = (): void => settle(new DialError('aborted', 'given up'))
      const echo: Echo = {
        deadline: began + (options.timeout ?? PING_TIMEOUT),
        expire: () => settle(new DialError('timed-out', `${address} does not answer`)),
        settle,
        ready: (s) => {
          const news = s.takeError()
          if (news !== undefined) settle(pingError(news.error, address))
          for (let r = s.receive(); r !== undefined; r = s.receive()) {
            if (r.from.equals(to) && r.data.length === data.length && r.data.every((o, i) => o === data[i])) {
              settle()
              return
            }
          }
        },
      }
      socket.owner = echo
      const problem = socket.send(to, 1, data)
      if (problem !== undefined) {
        socket.close()
        throw problem === 'no-room' ? new DialError('no-resources', 'no room') : pingError(problem, address)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.wait(echo)
    })
  }

  // ---------------------------------------------------------------- what listeners ask for

  adopt(c: TcpConnection): StackFlow {
    const flow = new StackFlow(c, this)
    this.flows.add(flow)
    return flow
  }

  discard(flow: StackFlow): void {
    this.flows.delete(flow)
    flow.reset()
  }

  listenerClosed(listener: StackListener): void {
    this.listeners.delete(listener)
  }

  /** The stack's listener of a port; 0 picks one, where the stack's own 0 is every port. */
  private bind(port: number): TcpListener | undefined {
    if (port !== 0) return this.stack.listen({ port, hold: true })
    const word = new Uint8Array(2)
    for (let i = 0; i < PICKS; i++) {
      this.host.random(word)
      const pick = FIRST_PORT + ((((word[0] ?? 0) << 8) | (word[1] ?? 0)) % PORTS)
      const socket = this.stack.listen({ port: pick, hold: true })
      if (socket !== undefined) return socket
    }
    return undefined
  }

  // ---------------------------------------------------------------- driven

  /** Tells everybody what is new. */
  dispatch(_now: number): void {
    if (this.deferred.length > 0) {
      const flows = this.deferred
      this.deferred = []
      for (const flow of flows) this.settle(flow)
    }
    for (let s = this.stack.nextReady(); s !== undefined; s = this.stack.nextReady()) this.ready(s)
  }

  nextTimeout(): number {
    return this.nearest
  }

  handleTimeout(now: number): void {
    this.nearest = Number.POSITIVE_INFINITY
    for (const w of [...this.waiting]) {
      if (w.deadline <= now) w.expire()
      else if (w.deadline < this.nearest) this.nearest = w.deadline
    }
  }

  /** An address is ours no more: what has it ends, without a word to the other side. */
  forsake(address: IpAddress, error: DialError): void {
    const text = address.toString()
    for (const flow of [...this.flows]) {
      if (flow.local.address !== text) continue
      flow.fail(error)
      this.flows.delete(flow)
    }
    for (const udp of [...this.datagrams]) {
      if (udp.local.address !== text) continue
      udp.fail(error)
      this.datagrams.delete(udp)
    }
    this.stack.removeAddress(address)
    this.wake()
  }

  /** Ends all that is open; everybody is told `error`. */
  close(error: DialError): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const w of [...this.waiting]) w.settle(error)
    for (const listener of [...this.listeners]) listener.fail(error)
    this.listeners.clear()
    for (const flow of [...this.flows]) {
      flow.reset()
      flow.fail(error)
    }
    this.flows.clear()
    for (const udp of [...this.datagrams]) udp.fail(error)
    this.datagrams.clear()
  }

  private wait(w: Waiting): void {
    this.waiting.add(w)
    if (w.deadline < this.nearest) this.nearest = w.deadline
    this.wake()
  }

  private ready(s: AnySocket): void {
    const bits = takeReady(s)
    switch (s.kind) {
      case 'tcp':
        this.tcpReady(s, bits)
        return
      case 'udp':
        if (s.owner instanceof StackUdp) s.owner.ready()
        return
      case 'ping':
        ;(s.owner as Echo | undefined)?.ready(s)
        return
      case 'listener':
        if (s.owner instanceof StackListener) s.owner.ready()
        return
    }
  }

  private tcpReady(c: TcpConnection, bits: number): void {
    const { owner } = c
    if (owner instanceof StackFlow) {
      owner.onReady(bits)
      if (!owner.isOpen) this.flows.delete(owner)
    } else if (owner instanceof StackListener) {
      // What came with the handshake is news for the flow that it has become.
      owner.connectionReady(c, bits)?.onReady(bits & ~READY_CONNECTED)
    } else if (owner !== undefined) {
      const opening = owner as Opening
      if (c.error !== undefined && c.readable === 0) {
        const remote = { address: c.tuple.remote.toString(), port: c.tuple.remotePort }
        // Nobody gives up one that opens without settling it, but who takes its address away.
        opening.settle(c.error === 'aborted' ? tunnelMoved() : dialError(c.error, remote))
      } else if (bits & READY_CONNECTED) {
        opening.settle()
        // What came with the handshake is news for the flow that it has become.
        const flow = c.owner
        if (flow instanceof StackFlow) flow.onReady(bits & ~READY_CONNECTED)
      } else if (bits & READY_CLOSED) {
        opening.settle(new DialError('aborted', 'given up'))
      }
    }
  }

  private settle(flow: StackFlow): void {
    flow.settle()
    if (!flow.isOpen) this.flows.delete(flow)
  }
}

type Opening = Waiting

interface Echo extends Waiting {
  ready(s: PingSocket): void
}

/** One UDP socket of a stack. */
class StackUdp implements UdpFlow {
  handler: UdpHandler | undefined
  readonly local: Endpoint
  private readonly socket: UdpSocket
  private readonly onClosed: () => void
  private readonly wake: () => void
  private open = true

  constructor(socket: UdpSocket, address: string, onClosed: () => void, wake: () => void) {
    this.socket = socket
    this.local = { address, port: socket.port }
    this.onClosed = onClosed
    this.wake = wake
    socket.owner = this
  }

  send(data: Uint8Array, to: Endpoint): void {
    if (!this.open) throw tunnelDown()
    const problem = this.socket.send(data, { address: parse(to.address), port: to.port })
    if (problem !== undefined && problem !== 'no-room') throw dialError(problem, to)
    this.wake()
  }

  close(): void {
    if (!this.open) return
    this.open = false
    this.socket.close()
    this.onClosed()
  }

  ready(): void {
    if (!this.open) return
    const news = this.socket.takeError()
    if (news !== undefined) {
      const remote = { address: news.remote.address.toString(), port: news.remote.port }
      this.handler?.onError(dialError(news.error, remote), remote)
    }
    for (let d = this.socket.receive(); d !== undefined && this.open; d = this.socket.receive()) {
      this.handler?.onDatagram(d.data, { address: d.from.address.toString(), port: d.from.port })
    }
  }

  fail(error: DialError): void {
    if (!this.open) return
    this.open = false
    this.socket.close()
    this.handler?.onError(error)
  }
}

function parse(address: string): IpAddress {
  const parsed = IpAddress.parse(address)
  if (parsed === undefined) throw new DialError('name-invalid', `"${address}" is not an IP address`)
  return parsed
}

function checkPort(port: number): void {
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new DialError('no-resources', `${port} is not a port`)
  }
}

function pingError(error: Parameters<typeof dialError>[0], address: string): DialError {
  if (error === 'too-large')
    return new DialError(error, 'an echo request of that size does not fit the tunnel')
  return new DialError(error, dialError(error, { address, port: 0 }).message.replace(/:0 /, ' '))
}

function tunnelMoved(): DialError {
  return new DialError('tunnel-down', 'the tunnel came up with another address')
}

function tunnelDown(): DialError {
  return new DialError('tunnel-down', 'the tunnel is not up')
}
