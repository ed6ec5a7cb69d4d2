import type { Socket } from 'node:net'
import type { DialError, Dialer, Flow, FlowHandler } from '../tunnel/dialer.js'
import type { ProxyEvent, ProxyProtocol } from './events.js'
import { describeFailure, type FailureReply } from './replies.js'

/** Milliseconds and counts. */
export interface ProxyLimits {
  /** Until the first octet. */
  readonly firstByte: number
  /** For a SOCKS greeting and request, or the head of an HTTP request. */
  readonly head: number
  /** Between two HTTP requests of one connection. */
  readonly idle: number
  /** For the client to take a last reply. */
  readonly linger: number
  readonly connections: number
}

export const DEFAULT_PROXY_LIMITS: ProxyLimits = {
  firstByte: 10_000,
  head: 60_000,
  idle: 120_000,
  linger: 2000,
  connections: 4096,
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
  /** Flows that are not over. */
  readonly flows: Set<Flow>
}

/** Whoever a client's octets concern at present. */
export interface Stage {
  onLocalData(chunk: Buffer): void
  /** The client sends no more; what it has sent came before. */
  onLocalEnd(): void
  /** The socket is gone. */
  onLocalClose(): void
}

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
  #dial: AbortController | undefined

  constructor(id: number, socket: Socket, context: ProxyContext) {
    this.id = id
    this.from = `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`.trim()
    this.socket = socket
    this.context = context
    socket.on('data', (chunk: Buffer) => this.#stage.onLocalData(chunk))
    socket.on('end', () => {
      this.ended = true
      this.#stage.onLocalEnd()
    })
    // What went wrong with a local socket is told by its close; without a listener it would be thrown.
    socket.on('error', () => {})
    socket.on('close', () => {
      this.clearDeadline()
      this.abortDial()
      this.#stage.onLocalClose()
      this.context.emit({ type: 'closed', client: this.id })
    })
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
  reject(reason: 'malformed' | 'timeout' | 'limit', message: string, reply?: Uint8Array): void {
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
    socket.resetAndDestroy()
  }
}

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
