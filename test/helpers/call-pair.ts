import { Call, type CallOwner } from '../../src/link/call.js'
import { type PppClientOptions, type PppEvent, PppLink, type PppServerOptions } from '../../src/ppp/link.js'
import type { SstpEvent } from '../../src/sstp/call.js'
import { SstpClient } from '../../src/sstp/client.js'
import { SstpServer } from '../../src/sstp/server.js'
import { IpAddress, NetStack } from '../../stack/index.js'
import { SeededRandom } from './random.js'

/** Remembers what a call told. */
export class Owner implements CallOwner {
  readonly sstp: SstpEvent[] = []
  readonly ppp: PppEvent[] = []
  onReady: () => void = () => {}

  onSstp(event: SstpEvent): void {
    this.sstp.push(event)
  }

  onPpp(event: PppEvent): void {
    this.ppp.push(event)
  }

  dispatch(): void {
    this.onReady()
  }

  nextTimeout(): number {
    return Number.POSITIVE_INFINITY
  }

  handleTimeout(): void {}

  /** The types of all events, without traces. */
  get told(): string[] {
    return [...this.sstp, ...this.ppp].map((e) => e.type).filter((type) => type !== 'trace')
  }
}

const CERTIFICATE = new TextEncoder().encode('a certificate')
export const CLIENT_ADDRESS = '10.9.0.2'
export const GATEWAY_ADDRESS = '10.9.0.1'

export interface CallPairOptions {
  readonly auth?: PppClientOptions['auth']
  readonly password?: string
  readonly client?: Partial<PppClientOptions>
  readonly server?: Partial<PppServerOptions>
  /** Certificate that the client saw, if not the server's. */
  readonly seen?: Uint8Array
  readonly seed?: number
  /** Largest piece in which the stream arrives; whole batches by default. */
  readonly piece?: number
}

/** A client's and a server's call, joined by a stream in memory and in virtual time. */
export class CallPair {
  readonly client: Call
  readonly server: Call
  readonly clientOwner = new Owner()
  readonly serverOwner = new Owner()
  readonly clientStack: NetStack
  readonly serverStack: NetStack
  readonly random: SeededRandom
  now = 1000
  private readonly piece: number

  constructor(options: CallPairOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1)
    this.piece = options.piece ?? Number.POSITIVE_INFINITY
    const random = this.random.fill
    const auth = options.auth ?? ['mschapv2']
    this.clientStack = new NetStack({ mtu: 1400, random })
    this.serverStack = new NetStack({ mtu: 1400, random, anyAddress: true })
    this.serverStack.addAddress(IpAddress.parse(GATEWAY_ADDRESS) as IpAddress)
    this.client = new Call(
      new SstpClient({ certificate: options.seen ?? CERTIFICATE }),
      new PppLink({
        role: 'client',
        random,
        auth,
        user: 'alice',
        password: options.password ?? 'secret',
        ipv6: false,
        ...options.client,
      }),
      this.clientStack,
      this.clientOwner,
    )
    this.server = new Call(
      new SstpServer({ random, certificate: CERTIFICATE }),
      new PppLink({
        role: 'server',
        random,
        auth,
        lookup: (user) => (user === 'alice' ? 'secret' : undefined),
        ownIpv4: Uint8Array.from([10, 9, 0, 1]),
        assign: () => Uint8Array.from([10, 9, 0, 2]),
        dns: [Uint8Array.from([10, 9, 0, 1])],
        ipv6: false,
        ...options.server,
      }),
      this.serverStack,
      this.serverOwner,
    )
  }

  start(): this {
    this.client.start(this.now)
    this.server.start(this.now)
    return this
  }

  /** Moves all that can move at this instant. */
  settle(): void {
    for (let i = 0; i < 100_000; i++) {
      const moved = [
        this.carry(this.client, this.server),
        this.carry(this.server, this.client),
        this.due(this.client),
        this.due(this.server),
      ]
      this.client.dispatch(this.now)
      this.server.dispatch(this.now)
      if (!moved.includes(true)) return
    }
    throw new Error('the calls do not settle: a livelock')
  }

  /** Runs until `done`, at most `limit` milliseconds. */
  run(done: () => boolean, limit = 60_000): boolean {
    const end = this.now + limit
    for (;;) {
      this.settle()
      if (done()) return true
      const next = Math.min(this.client.nextTimeout(), this.server.nextTimeout())
      if (next > end) {
        this.now = end
        this.settle()
        return done()
      }
      this.now = Math.max(this.now, next)
    }
  }

  /** Both ends have an address and data may flow. */
  up(): boolean {
    const ok = this.run(
      () => this.client.sstp.mayData && this.server.sstp.mayData && this.client.ppp.ipv4Open,
      5000,
    )
    if (ok) this.clientStack.addAddress(IpAddress.parse(CLIENT_ADDRESS) as IpAddress)
    return ok
  }

  private due(call: Call): boolean {
    if (call.nextTimeout() > this.now) return false
    call.handleTimeout(this.now)
    return true
  }

  private carry(from: Call, to: Call): boolean {
    const batch = Buffer.alloc(65_536, 0xa5)
    let n = 0
    while (n < batch.length - 4095) {
      const size = from.output(batch, n, this.now)
      if (size === 0) break
      n += size
    }
    if (n === 0) return false
    for (let at = 0; at < n; ) {
      const size = Math.min(
        this.piece === Number.POSITIVE_INFINITY ? n : 1 + this.random.below(this.piece),
        n - at,
      )
      // A buffer of its own that is spoilt at once: nothing may be kept of it.
      const piece = Buffer.alloc(size + 3, 0x5a)
      piece.set(batch.subarray(at, at + size), 2)
      to.input(piece, 2, size, this.now)
      piece.fill(0xa5)
      at += size
    }
    return true
  }
}
