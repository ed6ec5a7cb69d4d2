/** Our stack in real time, at the other end of a lane. */
import { randomFillSync } from 'node:crypto'
import type {
  IpAddress,
  NetStack,
  NetStackOptions,
  TcpConnection,
  TcpOptionsWanted,
} from '../../../stack/index.js'
import type { Loop } from './relay.js'

/** The stack to use: the sources under test, or another build of it. */
export type StackModule = typeof import('../../../stack/index.js')

/** A connection of ours with callbacks. */
export class OurConnection {
  readonly socket: TcpConnection
  /** Readable octets, to be used at once; called while {@link paused} is false. */
  onData: (chunk: Uint8Array) => void = () => {}
  onEnd: () => void = () => {}
  /** Gives the next octets to send, or undefined when it has none for now. */
  source: (() => Uint8Array | undefined) | undefined
  paused = false
  ended = false
  readonly connected: Promise<void>
  readonly closed: Promise<string | undefined>
  private readonly host: OurHost
  private resolveConnected: () => void = () => {}
  private resolveClosed: (error: string | undefined) => void = () => {}

  constructor(host: OurHost, socket: TcpConnection) {
    this.host = host
    this.socket = socket
    this.connected = new Promise((resolve) => {
      this.resolveConnected = resolve
    })
    this.closed = new Promise((resolve) => {
      this.resolveClosed = resolve
    })
  }

  /** Runs the connection on: after `source`, `paused` or anything else of it was changed. */
  resume(): void {
    this.pull()
    this.push()
    this.host.wake()
  }

  end(): void {
    this.socket.end()
    this.host.wake()
  }

  abort(): void {
    this.socket.abort()
    this.host.wake()
  }

  /** The stack has news. */
  ready(bits: number): void {
    const { READY_CONNECTED, READY_CLOSED } = this.host.module
    if (bits & READY_CONNECTED) this.resolveConnected()
    this.pull()
    this.push()
    if (bits & READY_CLOSED) this.resolveClosed(this.socket.error)
  }

  private pull(): void {
    const { socket } = this
    while (!this.paused) {
      const chunk = socket.peek()
      if (chunk.length === 0) break
      const n = chunk.length
      this.onData(chunk)
      socket.consume(n)
    }
    if (!this.paused && socket.ended && !this.ended) {
      this.ended = true
      this.onEnd()
    }
  }

  private push(): void {
    while (this.source !== undefined && this.socket.writable) {
      const chunk = this.source()
      if (chunk === undefined || !this.socket.write(chunk)) return
    }
  }
}

export class OurHost {
  readonly stack: NetStack
  readonly module: StackModule
  /** Takes packets that go out; the buffer is the taker's. */
  onPacket: (packet: Buffer, now: number) => void = () => {}
  private readonly loop: Loop
  private readonly remove: () => void
  private readonly connections = new Map<unknown, OurConnection>()
  private readonly buffer = Buffer.alloc(65536)
  private readonly accepted: ((c: OurConnection) => void)[] = []

  constructor(
    module: StackModule,
    loop: Loop,
    addresses: readonly string[],
    options: Partial<NetStackOptions> & { readonly mtu: number },
  ) {
    this.module = module
    this.loop = loop
    this.stack = new module.NetStack({ random: (dst) => void randomFillSync(dst), ...options })
    for (const a of addresses) this.stack.addAddress(this.address(a))
    this.remove = loop.add((now) => this.run(now))
  }

  connect(to: string, port: number, wanted: TcpOptionsWanted = {}): OurConnection {
    const c = this.stack.connect({ address: this.address(to), port }, performance.now(), wanted)
    if (typeof c === 'string') throw new Error(`connect: ${c}`)
    return this.adopt(c)
  }

  /** Waits for one connection. */
  listen(port: number): Promise<OurConnection> {
    if (this.stack.listen({ port }) === undefined) throw new Error(`port ${port} is taken`)
    return new Promise((resolve) => this.accepted.push(resolve))
  }

  input(packet: Buffer, now: number): void {
    this.stack.input(packet, 0, packet.length, now)
    this.wake()
  }

  wake(): void {
    this.loop.wake()
  }

  close(): void {
    this.remove()
    this.stack.close()
  }

  private address(text: string): IpAddress {
    const a = this.module.IpAddress.parse(text)
    if (a === undefined) throw new Error(`${text} is no address`)
    return a
  }

  private adopt(c: TcpConnection): OurConnection {
    const ours = new OurConnection(this, c)
    this.connections.set(c, ours)
    this.wake()
    return ours
  }

  private run(now: number): number {
    const { stack, module } = this
    if (stack.nextTimeout() <= now) stack.handleTimeout(now)
    for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
      const bits = module.takeReady(s)
      if (s.kind === 'listener') {
        for (let c = stack.accept(s); c !== undefined; c = stack.accept(s)) {
          const ours = this.adopt(c)
          this.accepted.shift()?.(ours)
          ours.ready(module.READY_CONNECTED)
        }
      } else {
        const ours = this.connections.get(s)
        ours?.ready(bits)
        if (bits & module.READY_CLOSED) this.connections.delete(s)
      }
    }
    this.emit(now)
    return stack.nextTimeout()
  }

  private emit(now: number): void {
    const { stack, buffer } = this
    for (let n = stack.output(buffer, 0, now); n > 0; n = stack.output(buffer, 0, now)) {
      this.onPacket(Buffer.from(buffer.subarray(0, n)), now)
    }
  }
}
