/**
 * A port of the stack's own addresses that takes connections, as everything above a tunnel sees it.
 *
 * The stack holds each SYN until it is known to be wanted, so that a sender of a wrong address hears RST and never
 * an answer. What is taken and not yet handed over, handshakes too, is bounded; more SYNs are dropped, and come again.
 */
import {
  IpAddress,
  type NetStack,
  READY_CLOSED,
  READY_CONNECTED,
  type TcpConnection,
  type TcpListener,
} from '../../stack/index.js'
import type { StackFlow } from '../link/stack-flow.js'
import type { DialError, Endpoint, FlowListener, ListenHandler } from './dialer.js'

/** Connections of one listener that are being set up or wait for a handler. */
export const BACKLOG = 128

/** What a listener needs of the sockets around it. */
export interface ListenerHost {
  now(): number
  wake(): void
  /** A connection is established: from now on it is a flow like all others. */
  adopt(c: TcpConnection): StackFlow
  /** A flow that nobody has had is not wanted. */
  discard(flow: StackFlow): void
  /** It is closed. */
  listenerClosed(listener: StackListener): void
}

/** Stands for all addresses of a family where the stack is asked for its own. */
const ANYWHERE = [IpAddress.parse('192.0.2.1'), IpAddress.parse('2001:db8::1')]

/** One listener of a stack. */
export class StackListener implements FlowListener {
  private readonly stack: NetStack
  private readonly listener: TcpListener
  private readonly host: ListenerHost
  private readonly from: IpAddress | undefined
  /** SYN-RECEIVED. */
  private readonly opening = new Set<TcpConnection>()
  private arrived: StackFlow[] = []
  private current: ListenHandler | undefined
  private failure: DialError | undefined
  private open = true
  private due = false

  constructor(stack: NetStack, listener: TcpListener, from: IpAddress | undefined, host: ListenerHost) {
    this.stack = stack
    this.listener = listener
    this.from = from
    this.host = host
    listener.owner = this
  }

  get locals(): readonly Endpoint[] {
    const { port } = this.listener
    const locals: Endpoint[] = []
    for (const remote of ANYWHERE) {
      const address = remote === undefined ? undefined : this.stack.sourceFor(remote)
      if (address !== undefined) locals.push({ address: address.toString(), port })
    }
    return locals
  }

  get handler(): ListenHandler | undefined {
    return this.current
  }

  set handler(handler: ListenHandler | undefined) {
    this.current = handler
    if (handler === undefined || this.due) return
    if (this.arrived.length === 0 && this.failure === undefined) return
    this.due = true
    queueMicrotask(() => {
      this.due = false
      this.deliver()
    })
  }

  close(): void {
    if (!this.open) return
    this.end()
    this.host.listenerClosed(this)
    this.host.wake()
  }

  /** The tunnel has gone. */
  fail(error: DialError): void {
    if (!this.open) return
    this.end()
    this.failure = error
    this.deliver()
  }

  /** News from the stack: SYNs have come. */
  ready(): void {
    const { stack, listener, from, opening, host } = this
    while (this.open && opening.size + this.arrived.length < BACKLOG) {
      const c = stack.accept(listener)
      if (c === undefined) return
      if (from !== undefined && !from.equals(c.tuple.remote)) {
        c.refuse('refused', host.now())
      } else {
        opening.add(c)
        c.owner = this
        c.proceed(host.now())
      }
      host.wake()
    }
  }

  /** News of a connection that is being set up. @returns the flow that it has become, if it has */
  connectionReady(c: TcpConnection, bits: number): StackFlow | undefined {
    if (!this.opening.has(c)) return undefined
    if ((c.error !== undefined || bits & READY_CLOSED) && c.readable === 0) {
      this.opening.delete(c)
      c.owner = undefined
      this.ready()
      return undefined
    }
    if (!(bits & READY_CONNECTED)) return undefined
    this.opening.delete(c)
    const flow = this.host.adopt(c)
    this.arrived.push(flow)
    this.deliver()
    return flow
  }

  private deliver(): void {
    for (;;) {
      const { current } = this
      if (current === undefined) return
      const flow = this.arrived.shift()
      if (flow === undefined) break
      current.onFlow(flow)
    }
    const { failure } = this
    if (failure !== undefined) {
      this.failure = undefined
      this.current?.onClose(failure)
    } else this.ready()
  }

  private end(): void {
    this.open = false
    this.stack.unlisten(this.listener)
    for (const c of this.opening) {
      c.owner = undefined
      c.abort()
    }
    this.opening.clear()
    for (const flow of this.arrived) this.host.discard(flow)
    this.arrived = []
  }
}
