/**
 * The inner side of a tunnel: a TCP/IP stack and its sockets, which may outlive the call that carries their
 * packets.
 *
 * While no call carries them, TCP stands still: what its timers would send could go nowhere, and when they are
 * late they fire at the next call at once, so that what was lost is repeated without the wait that repeated
 * failures would have made. Time-outs of those who wait for a connection go on.
 */
import { type IpAddress, NetStack } from '../../stack/index.js'
import type { IpEndpoint } from '../link/call.js'
import { monotonicNow, NODE_TURNS, type Turns } from '../link/driver.js'
import { DialError } from './dialer.js'
import { SessionSockets } from './sockets.js'

/** Whoever drives the stack: the driver of a call. */
export interface Carrier {
  wake(): void
}

export interface InnerOptions {
  readonly mtu: number
  readonly random: (dst: Uint8Array) => void
  /** Milliseconds that never go back, the same as of the calls. */
  readonly now?: () => number
  readonly turns?: Turns
}

export class InnerNetwork implements IpEndpoint {
  readonly stack: NetStack
  readonly sockets: SessionSockets
  private readonly now: () => number
  private readonly turns: Turns
  /** Our IPv6 addresses of this call or the last one; see addressing.ts. */
  ipv6: readonly IpAddress[] = []
  /** Addresses given up so far, whose connections have ended: those of all others live on. */
  forsaken = 0
  private carrier: Carrier | undefined
  private address: IpAddress | undefined
  private turnDue = false
  private timer: unknown
  private isClosed = false

  constructor(options: InnerOptions) {
    this.now = options.now ?? monotonicNow
    this.turns = options.turns ?? NODE_TURNS
    this.stack = new NetStack({ mtu: options.mtu, random: options.random })
    this.sockets = new SessionSockets(this.stack, {
      now: this.now,
      wake: () => this.wake(),
      random: options.random,
    })
  }

  /** Our IPv4 address of this call or the last one; undefined: none was ever given. */
  get ipv4(): string | undefined {
    return this.address?.toString()
  }

  /** What this call was assigned; undefined: nothing. Connections of another address than that end here. */
  setIpv4(address: IpAddress | undefined): void {
    const old = this.address
    this.address = address
    if (old !== undefined && (address === undefined || !old.equals(address))) this.forsake(old)
    if (address !== undefined) this.stack.addAddress(address)
  }

  /** An address is ours no more, and its connections end. */
  forsake(address: IpAddress): void {
    this.forsaken++
    const message = 'the tunnel came up with another address'
    this.sockets.forsake(address, new DialError('tunnel-down', message))
  }

  /** Ends all connections, as an address that is not ours any more does. */
  reset(): void {
    this.setIpv4(undefined)
    for (const address of this.ipv6) this.forsake(address)
    this.ipv6 = []
  }

  /** From now on packets can go and come by `carrier`. */
  resume(carrier: Carrier): void {
    if (this.isClosed) return
    this.carrier = carrier
    this.turns.cancel(this.timer)
    this.timer = undefined
    carrier.wake()
  }

  /** `carrier` carries nothing any more. */
  suspend(carrier: Carrier): void {
    if (this.carrier !== carrier) return
    this.carrier = undefined
    this.wake()
  }

  /** Ends all connections; whoever carries it now may still say so to the other ends. */
  closeSockets(error: DialError): void {
    this.sockets.close(error)
  }

  /** The end. */
  close(error: DialError): void {
    this.closeSockets(error)
    this.isClosed = true
    this.carrier = undefined
    this.turns.cancel(this.timer)
    this.timer = undefined
    this.stack.close()
  }

  // ---------------------------------------------------------------- what a call sees

  input(b: Uint8Array, off: number, len: number, now: number): void {
    this.stack.input(b, off, len, now)
  }

  output(dst: Uint8Array, off: number, now: number): number {
    return this.carrier === undefined ? 0 : this.stack.output(dst, off, now)
  }

  get hasOutput(): boolean {
    return this.carrier !== undefined && this.stack.hasOutput
  }

  nextTimeout(): number {
    return this.carrier === undefined ? Number.POSITIVE_INFINITY : this.stack.nextTimeout()
  }

  handleTimeout(now: number): void {
    this.stack.handleTimeout(now)
  }

  // ---------------------------------------------------------------- without a call

  private wake(): void {
    if (this.carrier !== undefined) this.carrier.wake()
    else if (!this.turnDue && !this.isClosed) {
      this.turnDue = true
      this.turns.soon(this.turn)
    }
  }

  private readonly turn = (): void => {
    this.turnDue = false
    if (this.carrier !== undefined || this.isClosed) return
    const { sockets } = this
    sockets.handleTimeout(this.now())
    sockets.dispatch(this.now())
    this.turns.cancel(this.timer)
    this.timer = undefined
    const next = sockets.nextTimeout()
    if (next === Number.POSITIVE_INFINITY) return
    this.timer = this.turns.later(() => this.wake(), Math.max(1, Math.ceil(next - this.now())))
  }
}
