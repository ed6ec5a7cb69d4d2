import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { type DatagramFlow, DialError, type Endpoint, type UdpHandler } from '../tunnel/dialer.js'
import { ForwardContext } from './forward-context.js'
import { type Sender, SenderTable } from './forward-senders.js'
import type { Forward, ForwardOptions, LocalForward } from './forward-spec.js'

/** `-L` for UDP. Rejects with Node's error if the address cannot be listened on. */
export function listenLocalUdp(spec: LocalForward, options: ForwardOptions): Promise<Forward> {
  const { listen } = spec
  if ('path' in listen) throw new TypeError('datagrams come to an address and a port')
  const address = listen.address === 'localhost' ? '127.0.0.1' : listen.address
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  const forward = new LocalUdp(spec, options, socket)
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void => {
      socket.close()
      reject(error)
    }
    socket.once('error', refuse)
    socket.bind({ address, port: listen.port, exclusive: true }, () => {
      socket.off('error', refuse)
      forward.start()
      resolve(forward)
    })
  })
}

class LocalUdp implements Forward {
  readonly spec: LocalForward
  readonly context: ForwardContext
  readonly senders: SenderTable<LocalSender>
  readonly #socket: Socket
  readonly #allow: ((address: string) => boolean) | undefined
  #local: Endpoint | undefined
  #closing: Promise<void> | undefined

  constructor(spec: LocalForward, options: ForwardOptions, socket: Socket) {
    this.spec = spec
    this.context = new ForwardContext(options)
    const { limits, proxy } = this.context
    this.senders = new SenderTable(limits.senders, limits.quiet, proxy.setTimer)
    this.#socket = socket
    this.#allow = options.allow
  }

  get locals(): readonly Endpoint[] {
    return this.#local === undefined ? [] : [this.#local]
  }

  start(): void {
    const { address, port } = this.#socket.address()
    this.#local = { address, port }
    // Of a datagram that was sent before, at worst.
    this.#socket.on('error', () => {})
    this.#socket.on('message', this.#onMessage)
    roomFor(this.#socket)
  }

  usage() {
    return this.context.usage(this.senders.size, this.senders.size)
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((done) => {
      this.senders.clear()
      this.context.close()
      this.#socket.close(() => done())
    })
    return this.#closing
  }

  /** From the far end to who asked. */
  answer(data: Uint8Array, port: number, address: string): boolean {
    if (this.#closing !== undefined || this.#socket.getSendQueueSize() > MAX_QUEUE) return false
    // A copy, since it goes out later; what goes wrong with a datagram is no concern of the next.
    this.#socket.send(Buffer.from(data), port, address, this.#onSent)
    return true
  }

  readonly #onSent = (error: NodeJS.ErrnoException | null): void => {
    if (error === null) return
    const code = error.code === 'EMSGSIZE' ? 'too-large' : 'no-resources'
    const failure = new DialError(code, `a datagram cannot be handed to the client: ${error.message}`)
    this.context.datagramFailed(0, this.spec.to, failure)
  }

  readonly #onMessage = (data: Buffer, from: RemoteInfo): void => {
    const { address, port } = from
    const sender = this.senders.find(`${address} ${port}`) ?? this.#open(address, port)
    sender?.send(data)
  }

  #open(address: string, port: number): LocalSender | undefined {
    const { context, spec } = this
    const id = context.next()
    if (this.#allow?.(address) === false) {
      context.datagramForbidden(id, address)
      return undefined
    }
    let flow: DatagramFlow
    try {
      flow = context.proxy.dialer.openDatagrams({ remote: spec.to })
    } catch (error) {
      context.datagramFailed(id, spec.to, error)
      return undefined
    }
    const sender = new LocalSender(this, id, address, port, flow)
    this.senders.add(sender)
    sender.start()
    return sender
  }
}

/** Whoever sends to a forward from one address and port. */
class LocalSender implements Sender, UdpHandler {
  readonly key: string
  beat = 0
  readonly #forward: LocalUdp
  readonly #id: number
  readonly #address: string
  readonly #port: number
  readonly #flow: DatagramFlow
  #up = 0
  #down = 0

  constructor(forward: LocalUdp, id: number, address: string, port: number, flow: DatagramFlow) {
    this.#forward = forward
    this.#id = id
    this.#address = address
    this.#port = port
    this.#flow = flow
    this.key = `${address} ${port}`
  }

  start(): void {
    const { emit } = this.#forward.context.proxy
    emit({ type: 'accepted', client: this.#id, from: this.key })
    emit({ type: 'open', client: this.#id, protocol: 'forward', ...this.#forward.spec.to })
    this.#flow.handler = this
  }

  send(data: Uint8Array): void {
    this.#up += data.length
    this.#flow.send(data, this.#forward.spec.to)
  }

  onDatagram(data: Uint8Array): void {
    this.#forward.senders.used(this)
    if (this.#forward.answer(data, this.#port, this.#address)) this.#down += data.length
  }

  onError(error: DialError): void {
    const { context, spec, senders } = this.#forward
    context.datagramFailed(this.#id, spec.to, error)
    // An ICMP error may be over with the next datagram. Without a tunnel that one makes a new socket, or does not.
    if (error.code !== 'tunnel-down') return
    senders.delete(this)
    this.#over(error.message)
  }

  forgotten(): void {
    this.#flow.handler = undefined
    this.#flow.close()
    this.#over(undefined)
  }

  #over(error: string | undefined): void {
    const { context, spec } = this.#forward
    const { emit } = context.proxy
    const [up, down] = [this.#up, this.#down]
    emit({ type: 'done', client: this.#id, protocol: 'forward', ...spec.to, up, down, error })
    emit({ type: 'closed', client: this.#id })
  }
}

/** A few datagrams of the largest size fit; what the system allows will do. */
export function roomFor(socket: Socket): void {
  try {
    socket.setRecvBufferSize(BUFFER)
    socket.setSendBufferSize(BUFFER)
  } catch {
    // Slower, and not worth a word.
  }
}

/** Octets that wait to be sent; above it datagrams are dropped. */
export const MAX_QUEUE = 1 << 20
const BUFFER = 1 << 20
