import { createSocket, type Socket } from 'node:dgram'
import { lookup } from 'node:dns'
import type { DatagramFlow, DialError, Endpoint, HostPort, UdpHandler } from '../tunnel/dialer.js'
import { ForwardContext, localError } from './forward-context.js'
import { MAX_QUEUE, roomFor } from './forward-local-udp.js'
import { Reopening } from './forward-port.js'
import { type Sender, SenderTable } from './forward-senders.js'
import type { Forward, ForwardOptions, RemoteForward } from './forward-spec.js'

/** `-R` for UDP. Rejects with `no-resources` if the tunnel's port is taken. */
export async function listenRemoteUdp(spec: RemoteForward, options: ForwardOptions): Promise<Forward> {
  const { to } = spec
  if ('path' in to) throw new TypeError('datagrams go to a host and a port')
  const forward = new RemoteUdp(spec, to, options)
  forward.start()
  return forward
}

class RemoteUdp implements Forward, UdpHandler {
  readonly spec: RemoteForward
  readonly to: HostPort
  readonly context: ForwardContext
  readonly senders: SenderTable<RemoteSender>
  readonly #reopening: Reopening
  #port: number
  #flow: DatagramFlow | undefined
  /** Sockets that are not closed yet. */
  #sockets = 0
  #closing: Promise<void> | undefined
  #closed: (() => void) | undefined

  constructor(spec: RemoteForward, to: HostPort, options: ForwardOptions) {
    this.spec = spec
    this.to = to
    this.#port = spec.port
    this.context = new ForwardContext(options)
    const { limits, proxy } = this.context
    this.senders = new SenderTable(limits.senders, limits.quiet, proxy.setTimer)
    const onFailure = (error: unknown): void => this.context.failed(0, to, error)
    this.#reopening = new Reopening(() => this.#open(), proxy.setTimer, onFailure)
  }

  get locals(): readonly Endpoint[] {
    return this.#flow === undefined ? [] : [this.#flow.local]
  }

  start(): void {
    this.#reopening.start()
  }

  usage() {
    return this.context.usage(this.#sockets, this.#flow === undefined ? 0 : 1)
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((done) => {
      this.#closed = done
      this.#reopening.close()
      this.context.close()
      if (this.#flow !== undefined) {
        this.#flow.handler = undefined
        this.#flow.close()
        this.#flow = undefined
      }
      this.senders.clear()
      if (this.#sockets === 0) done()
    })
    return this.#closing
  }

  onDatagram(data: Uint8Array, from: Endpoint): void {
    const key = `${from.address} ${from.port}`
    let sender = this.senders.find(key)
    if (sender === undefined) {
      sender = new RemoteSender(this, this.context.next(), key, from)
      this.senders.add(sender)
      this.#sockets++
      sender.start()
    }
    sender.send(data)
  }

  /** An ICMP error concerns one sender, who has gone; its end comes by silence. */
  onError(error: DialError): void {
    if (error.code !== 'tunnel-down') return
    this.#flow = undefined
    this.senders.clear()
    this.#reopening.again()
  }

  answer(data: Uint8Array, to: Endpoint): void {
    this.#flow?.send(data, { host: to.address, port: to.port })
  }

  socketClosed(): void {
    this.#sockets--
    if (this.#sockets === 0) this.#closed?.()
  }

  #open(): void {
    const flow = this.context.proxy.dialer.openDatagrams({ port: this.#port })
    this.#flow = flow
    this.#port = flow.local.port
    flow.handler = this
  }
}

/** Whoever sends through the tunnel from one address and port: a socket of its own towards the local service. */
class RemoteSender implements Sender {
  readonly key: string
  beat = 0
  readonly #forward: RemoteUdp
  readonly #id: number
  readonly #from: Endpoint
  #socket: Socket | undefined
  #connected = false
  #over = false
  /** Until the service's address is known. */
  #waiting: Buffer[] = []
  #up = 0
  #down = 0

  constructor(forward: RemoteUdp, id: number, key: string, from: Endpoint) {
    this.#forward = forward
    this.#id = id
    this.key = key
    this.#from = from
  }

  start(): void {
    const { context, to } = this.#forward
    const { emit } = context.proxy
    emit({ type: 'accepted', client: this.#id, from: this.key })
    emit({ type: 'open', client: this.#id, protocol: 'forward', ...to })
    // A service of this machine may be there for IPv4 alone, and no answer would tell.
    lookup(to.host, { verbatim: false }, (error, address, family) => {
      if (this.#over) this.#forward.socketClosed()
      else if (error === null) this.#connect(address, family)
      else {
        this.#failed(error)
        this.#forward.senders.delete(this)
        this.forgotten()
        this.#forward.socketClosed()
      }
    })
  }

  send(data: Uint8Array): void {
    const socket = this.#socket
    this.#down += data.length
    if (socket === undefined || !this.#connected) {
      if (this.#waiting.length < MAX_WAITING) this.#waiting.push(Buffer.from(data))
    } else if (socket.getSendQueueSize() <= MAX_QUEUE) {
      socket.send(Buffer.from(data), this.#onSent)
    }
  }

  forgotten(): void {
    if (this.#over) return
    this.#over = true
    this.#waiting = []
    this.#socket?.close()
    this.#tellOver(undefined)
  }

  #connect(address: string, family: number): void {
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
    this.#socket = socket
    // "Port unreachable" of a service that may come back, for one.
    socket.on('error', (error) => this.#failed(error))
    socket.on('close', () => this.#forward.socketClosed())
    socket.on('message', (data: Buffer) => {
      this.#up += data.length
      this.#forward.senders.used(this)
      this.#forward.answer(data, this.#from)
    })
    socket.connect(this.#forward.to.port, address, (error?: NodeJS.ErrnoException | null) => {
      if (this.#over) return
      if (error) {
        this.#failed(error)
        this.#forward.senders.delete(this)
        this.forgotten()
        return
      }
      this.#connected = true
      roomFor(socket)
      for (const data of this.#waiting.splice(0)) socket.send(data, this.#onSent)
    })
  }

  readonly #onSent = (error: Error | null): void => {
    if (error !== null) this.#failed(error)
  }

  #failed(error: NodeJS.ErrnoException): void {
    const { context, to } = this.#forward
    context.datagramFailed(this.#id, to, localError(error, to))
  }

  #tellOver(error: string | undefined): void {
    const { context, to } = this.#forward
    const { emit } = context.proxy
    const [up, down] = [this.#up, this.#down]
    emit({ type: 'done', client: this.#id, protocol: 'forward', ...to, up, down, error })
    emit({ type: 'closed', client: this.#id })
  }
}

/** Datagrams of one sender that wait for the service's address. */
const MAX_WAITING = 16
