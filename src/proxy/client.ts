import type { Socket } from 'node:net'
import type { DialError, Dialer, Flow, FlowHandler } from '../tunnel/dialer.js'
import type { Credentials } from './credentials.js'
import type { ProxyEvent, ProxyProtocol } from './events.js'
import type { Pages } from './pages.js'
import { describeFailure, type FailureReply } from './replies.js'
import type { UpstreamPool } from './upstream-pool.js'

/** Milliseconds and counts. */
export interface ProxyLimits {
  /** Until the first octet. */
  readonly firstByte: number
  /** For a SOCKS greeting and request, or the head of an HTTP request. */
  readonly head: number
  /** Between two HTTP requests of one connection. */
  readonly idle: number
  /** For more of the body of an HTTP request, while nothing of an answer comes either. */
  readonly body: number
  /** For the client to take a last reply. */
  readonly linger: number
  /** Clients at one time; a few more are told that there are too many. */
  readonly connections: number
  /** For a remote host to connect to a port of BIND. */
  readonly bind: number
  /** Such ports at one time. */
  readonly binds: number
  /** Of these, for clients of one address. */
  readonly bindsPerAddress: number
  /** UDP associations at one time. */
  readonly associations: number
  /** Of these, for clients of one address. */
  readonly associationsPerAddress: number
  /** Without a datagram, until an association gives its port in the tunnel back; up to twice as long. */
  readonly associationIdle: number
}

export const DEFAULT_PROXY_LIMITS: ProxyLimits = {
  firstByte: 10_000,
  head: 60_000,
  idle: 120_000,
  body: 300_000,
  linger: 2000,
  connections: 16_384,
  bind: 120_000,
  binds: 256,
  bindsPerAddress: 128,
  associations: 2048,
  associationsPerAddress: 1024,
  associationIdle: 120_000,
}

/** Calls once after `ms` milliseconds; the result cancels it. */
export type SetTimer = (callback: () => void, ms: number) => () => void

/** What all clients of one proxy share. */
export interface ProxyContext {
  readonly dialer: Dialer
  readonly limits: ProxyLimits
  /** The name in Via; undefined leaves it out. */
  readonly via: string | undefined
  readonly setTimer: SetTimer
  readonly emit: (event: ProxyEvent) => void
  /** What clients must say; undefined: nothing. */
  readonly credentials: Credentials | undefined
  /** What is served to who asks the proxy itself (an HTTP request in origin-form): the PAC file. */
  readonly pages: Pages | undefined
  /** Flows that are not over. */
  readonly flows: Set<Flow>
  /** Idle connections to HTTP servers, which are among `flows`; undefined: none is used twice. */
  readonly upstreams: UpstreamPool | undefined
}

/** Whoever a client's octets concern at present. */
export interface Stage {
  onLocalData(chunk: Buffer): void
  /** The client sends no more; what it has sent came before. */
  onLocalEnd(): void
  /** The socket is gone. */
  onLocalClose(): void
}

export type RejectReason = 'malformed' | 'timeout' | 'limit' | 'credentials' | 'forbidden'
/** The client's socket is closed; said before anything else learns it. */
export type OnGone = (client: Client) => void
export type OnFlow = (flow: Flow) => void
export type OnDialFailure = (reply: FailureReply, message: string) => void

/** One accepted connection: its socket, the stage it is in, one deadline, and a dial that goes with it. */
export class Client {
  readonly id: number
  readonly from: string
  readonly socket: Socket
  readonly context: ProxyContext
  /** It has sent its FIN. */
  ended = false
  #stage: Stage = DISCARD
  #cancelDeadline: (() => void) | undefined
  #cancelProbe: (() => void) | undefined
  #dial: AbortController | undefined
  readonly #onGone: OnGone | undefined

  constructor(id: number, socket: Socket, context: ProxyContext, onGone?: OnGone) {
    this.id = id
    this.from = `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`.trim()
    this.socket = socket
    this.context = context
    this.#onGone = onGone
    // The same listeners for all sockets: there may be ten thousand of them.
    const owned: OwnedSocket = Object.assign(socket, { [CLIENT]: this })
    owned.on('data', onData)
    owned.on('end', onEnd)
    // What went wrong with a local socket is told by its close; without a listener it would be thrown.
    owned.on('error', nothing)
    owned.on('close', onClose)
  }

  /** For the socket's listeners only, as are the next two. */
  heardData(chunk: Buffer): void {
    this.#stage.onLocalData(chunk)
  }

  heardClose(): void {
    this.clearDeadline()
    this.#cancelProbe?.()
    this.#cancelProbe = undefined
    this.abortDial()
    this.#onGone?.(this)
    this.#stage.onLocalClose()
    this.context.emit({ type: 'closed', client: this.id })
  }

  /**
   * The client sends no more, or so libuv says: it says the same of an RST right behind data, and hears nothing of
   * the socket afterwards. To write nothing fails on a socket that was reset, so that is tried before the end is
   * told (a reset must not look like an end to the remote side), and again and again while only one direction is
   * open: a client that has gone for good is found out when its kernel has answered our keep-alive probes.
   */
  heardEnd(): void {
    const { socket } = this
    const end = (): void => {
      this.ended = true
      this.#stage.onLocalEnd()
    }
    // Behind octets that wait to be taken the answer would come too late.
    if (socket.destroyed || socket.writableEnded || socket.writableLength > 0) end()
    else socket.write(NOTHING, (error) => error || end())
    const probe = (): void => {
      this.#cancelProbe = undefined
      if (socket.destroyed || socket.writableEnded) return
      if (socket.writableLength === 0) socket.write(NOTHING)
      this.#cancelProbe = this.context.setTimer(probe, PROBE)
    }
    if (!socket.destroyed) this.#cancelProbe = this.context.setTimer(probe, PROBE)
  }

  enter(stage: Stage): void {
    this.#stage = stage
  }

  /** Replaces the deadline there is. */
  setDeadline(ms: number, onExpire: () => void): void {
    this.clearDeadline()
    this.#cancelDeadline = this.context.setTimer(() => {
      this.#cancelDeadline = undefined
      onExpire()
    }, ms)
  }

  clearDeadline(): void {
    this.#cancelDeadline?.()
    this.#cancelDeadline = undefined
  }

  /** Connects through the tunnel; given up when the client goes. Exactly one of the two is called, or neither then. */
  dial(protocol: ProxyProtocol, host: string, port: number, onFlow: OnFlow, onFailure: OnDialFailure): void {
    const { dialer, emit, flows } = this.context
    const dial = new AbortController()
    this.#dial = dial
    dialer.dial({ host, port }, { signal: dial.signal }).then(
      (flow) => {
        flows.add(flow)
        if (this.#dial !== dial) {
          abandon(this.context, flow)
          return
        }
        this.#dial = undefined
        emit({ type: 'open', client: this.id, protocol, host, port })
        onFlow(flow)
      },
      (error: unknown) => {
        const { code, message, reply } = describeFailure(error)
        emit({ type: 'failed', client: this.id, protocol, host, port, code, message })
        if (this.#dial !== dial) return
        this.#dial = undefined
        onFailure(reply, message)
      },
    )
  }

  abortDial(): void {
    const dial = this.#dial
    this.#dial = undefined
    dial?.abort()
  }

  /** Turns the client away, with `reply` if there is something to say to it. */
  reject(reason: RejectReason, message: string, reply?: Uint8Array): void {
    this.context.emit({ type: 'rejected', client: this.id, from: this.from, reason, message })
    this.finish(reply)
  }

  /**
   * Ends the connection behind a last reply. What the client still sends is read and thrown away for a
   * while: closing on unread octets would make its kernel drop the reply.
   */
  finish(reply?: Uint8Array): void {
    this.enter(DISCARD)
    this.abortDial()
    if (this.socket.destroyed) return
    if (reply !== undefined) this.socket.write(reply)
    this.socket.end()
    this.socket.resume()
    this.setDeadline(this.context.limits.linger, () => this.socket.destroy())
  }

  /** Ends it at once, in a way that the client cannot take for a proper end (RST). */
  reset(): void {
    const { socket } = this
    if (socket.destroyed) return
    // While its FIN is on the way, Node cannot reset it, and would never close it either.
    if (socket.writableEnded && !socket.writableFinished) {
      socket.destroy()
      return
    }
    // A unix socket knows no RST.
    if (socket.remoteAddress === undefined) socket.destroy()
    else socket.resetAndDestroy()
  }
}

const CLIENT = Symbol('client')
type OwnedSocket = Socket & { readonly [CLIENT]: Client }

function onData(this: OwnedSocket, chunk: Buffer): void {
  this[CLIENT].heardData(chunk)
}

function onEnd(this: OwnedSocket): void {
  this[CLIENT].heardEnd()
}

function onClose(this: OwnedSocket): void {
  this[CLIENT].heardClose()
}

function nothing(): void {}

const NOTHING = new Uint8Array(0)
/** Milliseconds between two looks at a client that has ended its direction; as often as its kernel is asked. */
const PROBE = 60_000

/** Ends a flow that has done its work: properly if the remote side plays along, by RST if not. */
export function release(context: ProxyContext, flow: Flow): void {
  if (!context.flows.has(flow)) return
  const cancel = context.setTimer(() => flow.reset(), context.limits.linger)
  const rest = new Rest(context.flows, flow, cancel)
  flow.handler = rest
  flow.end()
  rest.onReadable()
}

/** Ends a flow by RST. */
export function abandon(context: ProxyContext, flow: Flow): void {
  if (!context.flows.has(flow)) return
  flow.handler = new Rest(context.flows, flow, () => {})
  flow.reset()
}

/** What is left of a flow that nobody wants any more, until it is gone. */
class Rest implements FlowHandler {
  readonly #flows: Set<Flow>
  readonly #flow: Flow
  readonly #onGone: () => void

  constructor(flows: Set<Flow>, flow: Flow, onGone: () => void) {
    this.#flows = flows
    this.#flow = flow
    this.#onGone = onGone
  }

  onReadable(): void {
    // More came than a response has: it is not worth receiving.
    if (this.#flow.readable > 0) this.#flow.reset()
  }

  onWritable(): void {}

  onClose(_error: DialError | undefined): void {
    this.#flows.delete(this.#flow)
    this.#onGone()
  }
}

const DISCARD: Stage = {
  onLocalData() {},
  onLocalEnd() {},
  onLocalClose() {},
}
