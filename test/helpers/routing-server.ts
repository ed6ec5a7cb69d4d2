import { randomFillSync, X509Certificate } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { Call, type CallOwner, type IpEndpoint } from '../../src/link/call.js'
import { Driver, monotonicNow } from '../../src/link/driver.js'
import { type PppEvent, PppLink } from '../../src/ppp/link.js'
import type { SstpEvent } from '../../src/sstp/call.js'
import { SstpServer } from '../../src/sstp/server.js'
import { acceptHead, HeadReader } from '../../src/transport/http-handshake.js'
import {
  IpAddress,
  NetStack,
  READY_CLOSED,
  READY_CONNECTED,
  READY_READABLE,
  READY_WRITABLE,
  type TcpConnection,
  takeReady,
} from '../../stack/index.js'

export const INNER_HOST = '10.77.0.1'
/** Ports of the inner host: one answers what it hears, one sends {@link download} of `size` octets. */
export const ECHO = 7
export const SOURCE = 9000

const PATTERN = Buffer.alloc(1 << 16)
randomFillSync(PATTERN)

/** The first `size` octets of the download. */
export function download(size: number): Buffer {
  const whole = Buffer.alloc(size)
  for (let at = 0; at < size; at += PATTERN.length) PATTERN.copy(whole, at)
  return whole
}

const MTU = 1400

/**
 * The host behind the server. Unlike the product's own gateway, which ends the clients' connections itself, it
 * is a host of its own that outlives the calls, as those behind a router are: while there is none, what it
 * sends is lost, and its timers go on.
 */
class InnerHost {
  readonly stack: NetStack
  /** How many octets a download has. */
  size = 1_000_000
  carrier: Driver | undefined
  /** Those that were accepted and are open. */
  readonly open = new Set<TcpConnection>()
  private readonly written = new Map<TcpConnection, number>()
  private readonly scratch = new Uint8Array(4096)
  private timer: NodeJS.Timeout | undefined

  constructor() {
    this.stack = new NetStack({ mtu: MTU, random: (dst) => void randomFillSync(dst) })
    this.stack.addAddress(IpAddress.parse(INNER_HOST) as IpAddress)
    for (const port of [ECHO, SOURCE]) this.stack.listen({ port })
  }

  input(b: Uint8Array, off: number, len: number, now: number): void {
    this.stack.input(b, off, len, now)
  }

  output(dst: Uint8Array, off: number, now: number): number {
    return this.stack.output(dst, off, now)
  }

  get hasOutput(): boolean {
    return this.stack.hasOutput
  }

  nextTimeout(): number {
    return this.stack.nextTimeout()
  }

  handleTimeout(now: number): void {
    this.stack.handleTimeout(now)
  }

  dispatch(): void {
    for (let s = this.stack.nextReady(); s !== undefined; s = this.stack.nextReady()) {
      const bits = takeReady(s)
      if (s.kind === 'listener') {
        for (let c = this.stack.accept(s); c !== undefined; c = this.stack.accept(s)) this.open.add(c)
      } else if (s.kind === 'tcp') this.serve(s, bits)
    }
  }

  private serve(c: TcpConnection, bits: number): void {
    if (c.tuple.localPort === SOURCE) {
      if (bits & (READY_CONNECTED | READY_WRITABLE)) this.fill(c)
    } else if (bits & READY_READABLE) {
      for (let piece = c.peek(); piece.length > 0; piece = c.peek()) {
        c.write(Uint8Array.from(piece))
        c.consume(piece.length)
      }
    }
    if (c.ended) c.end()
    if (bits & READY_CLOSED) {
      this.open.delete(c)
      this.written.delete(c)
    }
  }

  private fill(c: TcpConnection): void {
    let at = this.written.get(c) ?? 0
    let room = true
    while (room && at < this.size) {
      const from = at % PATTERN.length
      const chunk = PATTERN.subarray(from, from + Math.min(8192, this.size - at, PATTERN.length - from))
      at += chunk.length
      room = c.write(chunk)
    }
    this.written.set(c, at)
    if (at >= this.size) c.end()
  }

  /** Without a call. */
  readonly lose = (): void => {
    clearTimeout(this.timer)
    if (this.carrier !== undefined) return
    const now = monotonicNow()
    this.stack.handleTimeout(now)
    while (this.stack.output(this.scratch, 0, now) > 0) {}
    this.dispatch()
    const next = this.stack.nextTimeout()
    if (next < Number.POSITIVE_INFINITY) this.timer = setTimeout(this.lose, Math.max(1, next - now))
  }

  close(): void {
    clearTimeout(this.timer)
    this.stack.close()
  }
}

/**
 * The host as one call reaches it: what comes is taken from every call, what goes is sent into the one that came up
 * last. A call that is frozen and not yet known for dead would swallow what is meant for its successor.
 */
class Route implements IpEndpoint {
  private readonly host: InnerHost
  driver: Driver | undefined

  constructor(host: InnerHost) {
    this.host = host
  }

  private get carries(): boolean {
    return this.host.carrier !== undefined && this.host.carrier === this.driver
  }

  input(b: Uint8Array, off: number, len: number, now: number): void {
    this.host.input(b, off, len, now)
    if (!this.carries) this.host.carrier?.wake()
  }

  output(dst: Uint8Array, off: number, now: number): number {
    return this.carries ? this.host.output(dst, off, now) : 0
  }

  get hasOutput(): boolean {
    return this.carries && this.host.hasOutput
  }

  nextTimeout(): number {
    return this.carries ? this.host.nextTimeout() : Number.POSITIVE_INFINITY
  }

  handleTimeout(now: number): void {
    if (this.carries) this.host.handleTimeout(now)
  }
}

export interface RoutingOptions {
  readonly cert: string
  readonly key: string
  readonly password: string
}

/** An SSTP server that routes to one inner host; it can go, and come back on the same port. */
export class RoutingServer {
  readonly host = new InnerHost()
  /** What the next client is given. */
  address = '10.77.0.2'
  password: string
  /** Calls that came up, ever. */
  ups = 0
  port = 0
  private readonly options: RoutingOptions
  private readonly certificate: Uint8Array
  private server: Server | undefined
  private readonly calls = new Map<TLSSocket, { readonly call: Call; readonly driver: Driver }>()
  private readonly sockets = new Set<TLSSocket>()

  private constructor(options: RoutingOptions) {
    this.options = options
    this.password = options.password
    this.certificate = new X509Certificate(options.cert).raw
  }

  static async start(options: RoutingOptions): Promise<RoutingServer> {
    const server = new RoutingServer(options)
    await server.listen()
    return server
  }

  /** On the same port as before. */
  async listen(): Promise<void> {
    const { cert, key } = this.options
    const server = createServer({ cert, key, maxVersion: 'TLSv1.3' }, (socket) => this.greet(socket))
    this.server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.port, '127.0.0.1', resolve)
    })
    this.port = (server.address() as AddressInfo).port
  }

  /** As if it was killed: no farewell, nobody listens. */
  async kill(): Promise<void> {
    const { server } = this
    if (server === undefined) return
    this.server = undefined
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of this.sockets) socket.destroy()
    await closed
  }

  /** Ends all calls with LCP Terminate-Request and CALL_DISCONNECT. */
  throwOut(): void {
    for (const { call, driver } of this.calls.values()) {
      call.close(driver.now())
      driver.wake()
    }
  }

  /** Whole SSTP packets that no server of ours would send, between those of the open calls. */
  say(...packets: readonly Uint8Array[]): void {
    for (const socket of this.calls.keys()) for (const packet of packets) socket.write(packet)
  }

  async close(): Promise<void> {
    await this.kill()
    this.host.close()
  }

  private greet(socket: TLSSocket): void {
    this.sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.sockets.delete(socket))
    const reader = new HeadReader()
    const onData = (chunk: Buffer): void => {
      if (reader.push(chunk, 0, chunk.length) === 'more') return
      socket.off('data', onData)
      socket.write(acceptHead(new Date().toUTCString()))
      this.serve(socket, Buffer.from(reader.rest))
    }
    socket.on('data', onData)
  }

  private serve(socket: TLSSocket, rest: Uint8Array): void {
    const { host } = this
    const random = (dst: Uint8Array): void => void randomFillSync(dst)
    const assigned = IpAddress.parse(this.address)?.toBytes()
    const ppp = new PppLink({
      role: 'server',
      random,
      mru: MTU,
      auth: ['mschapv2'],
      ipv6: false,
      lookup: (user) => (user === 'alice' ? this.password : undefined),
      ownIpv4: IpAddress.parse(INNER_HOST)?.toBytes() ?? new Uint8Array(4),
      assign: () => assigned,
    })
    const owner: CallOwner = {
      onSstp: (event: SstpEvent) => {
        if (event.type === 'closed') over()
      },
      onPpp: (event: PppEvent) => {
        if (event.type !== 'ipv4-up') return
        this.ups++
        host.carrier = driver
      },
      dispatch: () => host.dispatch(),
      nextTimeout: () => Number.POSITIVE_INFINITY,
      handleTimeout: () => {},
    }
    const route = new Route(host)
    const call = new Call(new SstpServer({ random, certificate: this.certificate }), ppp, route, owner)
    const driver = new Driver(socket, call)
    route.driver = driver
    const over = (): void => {
      driver.stop()
      socket.end()
      this.calls.delete(socket)
      if (host.carrier === driver) host.carrier = undefined
      host.lose()
    }
    this.calls.set(socket, { call, driver })
    socket.on('data', (chunk: Buffer) => driver.received(chunk, 0, chunk.length))
    socket.once('close', over)
    call.start(driver.now())
    if (rest.length > 0) driver.received(rest, 0, rest.length)
    driver.wake()
  }
}
