import { connect, type Socket } from 'node:net'
import type { DialError, Endpoint, Flow, FlowHandler, FlowListener, HostPort } from '../tunnel/dialer.js'
import { Client } from './client.js'
import { ForwardContext, localError, purposeOf } from './forward-context.js'
import { Reopening } from './forward-port.js'
import type { Forward, ForwardOptions, RemoteForward } from './forward-spec.js'
import { Relay } from './relay.js'

/** `-R` for TCP. Rejects with `no-resources` if the tunnel's port is taken. */
export async function listenRemote(spec: RemoteForward, options: ForwardOptions): Promise<Forward> {
  const forward = new RemoteTcp(spec, options)
  forward.start()
  return forward
}

class RemoteTcp implements Forward {
  readonly spec: RemoteForward
  readonly context: ForwardContext
  readonly purpose: HostPort
  readonly connections = new Set<LocalLeg>()
  readonly #reopening: Reopening
  /** The same again whenever the tunnel is up again. */
  #port: number
  #listener: FlowListener | undefined
  #closing: Promise<void> | undefined
  #closed: () => void = () => {}

  constructor(spec: RemoteForward, options: ForwardOptions) {
    this.spec = spec
    this.context = new ForwardContext(options)
    this.purpose = purposeOf(spec.to)
    this.#port = spec.port
    const onFailure = (error: unknown): void => this.context.failed(0, this.purpose, error)
    this.#reopening = new Reopening(() => this.#listen(), this.context.proxy.setTimer, onFailure)
  }

  get locals(): readonly Endpoint[] {
    return this.#listener?.locals ?? []
  }

  start(): void {
    this.#reopening.start()
  }

  usage() {
    return this.context.usage(this.connections.size)
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((done) => {
      this.#closed = done
      this.#reopening.close()
      this.context.close()
      this.#listener?.close()
      this.#listener = undefined
      for (const connection of [...this.connections]) connection.break()
      for (const flow of this.context.flows) flow.reset()
      if (this.connections.size === 0) done()
    })
    return this.#closing
  }

  gone(connection: LocalLeg): void {
    this.connections.delete(connection)
    if (this.connections.size === 0) this.#closed()
  }

  #listen(): void {
    const listener = this.context.proxy.dialer.listen({ port: this.#port })
    this.#listener = listener
    this.#port = listener.locals[0]?.port ?? this.#port
    listener.handler = {
      onFlow: (flow) => this.#take(flow),
      onClose: () => {
        this.#listener = undefined
        this.#reopening.again()
      },
    }
  }

  #take(flow: Flow): void {
    const { context } = this
    const { limits, proxy } = context
    const id = context.next()
    const from = `${flow.remote.address} ${flow.remote.port}`
    context.flows.add(flow)
    if (this.connections.size >= limits.connections) {
      const message = `more than ${limits.connections} connections to one forward`
      proxy.emit({ type: 'rejected', client: id, from, reason: 'limit', message })
      new Refused(context.flows, flow).start()
      return
    }
    proxy.emit({ type: 'accepted', client: id, from })
    const leg = new LocalLeg(this, id, flow)
    this.connections.add(leg)
    leg.start()
  }
}

/** A connection that nobody wants, until it is gone. */
class Refused implements FlowHandler {
  readonly #flows: Set<Flow>
  readonly #flow: Flow

  constructor(flows: Set<Flow>, flow: Flow) {
    this.#flows = flows
    this.#flow = flow
  }

  start(): void {
    this.#flow.handler = this
    this.#flow.reset()
  }

  onReadable(): void {}

  onWritable(): void {}

  onClose(): void {
    this.#flows.delete(this.#flow)
  }
}

/** A connection that came through the tunnel, while the one to the local service is made; then a relay has both. */
class LocalLeg implements FlowHandler {
  readonly #forward: RemoteTcp
  readonly #id: number
  readonly #flow: Flow
  readonly #socket: Socket
  #client: Client | undefined
  #cancelLimit: (() => void) | undefined
  #error: NodeJS.ErrnoException | undefined
  #flowClosed = false

  constructor(forward: RemoteTcp, id: number, flow: Flow) {
    this.#forward = forward
    this.#id = id
    this.#flow = flow
    const { to } = forward.spec
    const way = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE }
    this.#socket = connect(
      'path' in to ? { ...way, path: to.path } : { ...way, host: to.host, port: to.port },
    )
  }

  start(): void {
    const { limits, proxy } = this.#forward.context
    const socket = this.#socket
    this.#flow.handler = this
    this.#cancelLimit = proxy.setTimer(() => {
      this.#error = Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' })
      socket.destroy()
    }, limits.connect)
    socket.on('error', this.#onError)
    socket.once('connect', this.#onConnect)
    socket.once('close', this.#onClose)
  }

  /** Ends both sides at once. */
  break(): void {
    if (this.#client === undefined) this.#socket.destroy()
    else this.#client.reset()
  }

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    this.#error ??= error
  }

  readonly #onConnect = (): void => {
    const { context, purpose } = this.#forward
    this.#cancelLimit?.()
    this.#cancelLimit = undefined
    if (this.#flowClosed) {
      this.#socket.destroy()
      return
    }
    const client = new Client(this.#id, this.#socket, context.proxy)
    this.#client = client
    context.proxy.emit({ type: 'open', client: this.#id, protocol: 'forward', ...purpose })
    new Relay(client, this.#flow, { protocol: 'forward', ...purpose }).start([])
  }

  readonly #onClose = (): void => {
    const { context, purpose } = this.#forward
    this.#cancelLimit?.()
    this.#cancelLimit = undefined
    if (this.#client === undefined) {
      if (!this.#flowClosed) {
        if (this.#error !== undefined) context.failed(this.#id, purpose, localError(this.#error, purpose))
        this.#flow.reset()
      }
      context.proxy.emit({ type: 'closed', client: this.#id })
    }
    this.#forward.gone(this)
  }

  onReadable(): void {}

  onWritable(): void {}

  /** Before there was anybody to talk to. */
  onClose(_error: DialError | undefined): void {
    this.#flowClosed = true
    this.#forward.context.flows.delete(this.#flow)
    this.#socket.destroy()
  }
}

/** Milliseconds of silence until the service's kernel is asked whether it is still there. */
const KEEP_ALIVE = 60_000
