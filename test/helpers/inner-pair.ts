import type { Turns } from '../../src/link/driver.js'
import type { Flow } from '../../src/tunnel/dialer.js'
import { InnerNetwork } from '../../src/tunnel/inner.js'
import { IpAddress, NetStack, type TcpConnection, takeReady } from '../../stack/index.js'
import { EventLoop } from './outer.js'
import { SeededRandom } from './random.js'

export const OWN = IpAddress.parse('10.9.0.2') as IpAddress
export const OTHER = IpAddress.parse('10.9.0.3') as IpAddress
export const HOST = IpAddress.parse('10.9.0.1') as IpAddress

/** An inner network in virtual time, a host, and a call between them that can be taken away. */
export class InnerPair {
  readonly loop = new EventLoop()
  readonly inner: InnerNetwork
  readonly host: NetStack
  readonly accepted: TcpConnection[] = []
  readonly carrier = { wake: () => this.loop.soon(this.carry) }
  carrying = true
  /** Packets that came from us. */
  packets = 0
  private readonly scratch = new Uint8Array(1500)

  constructor() {
    const { fill } = new SeededRandom(3)
    const turns: Turns = this.loop
    this.inner = new InnerNetwork({ mtu: 1400, random: fill, now: () => this.loop.now, turns })
    this.inner.setIpv4(OWN)
    this.host = new NetStack({ mtu: 1400, random: fill })
    this.host.addAddress(HOST)
    this.host.listen({ port: 80 })
    this.inner.resume(this.carrier)
  }

  readonly carry = (): void => {
    if (!this.carrying) return
    const { inner, host, scratch, loop } = this
    const { now } = loop
    for (let moved = true; moved; ) {
      moved = false
      if (inner.nextTimeout() <= now) inner.handleTimeout(now)
      inner.sockets.dispatch(now)
      for (let n = inner.output(scratch, 0, now); n > 0; n = inner.output(scratch, 0, now)) {
        this.packets++
        host.input(scratch, 0, n, now)
        moved = true
      }
      for (let s = host.nextReady(); s !== undefined; s = host.nextReady()) {
        takeReady(s)
        if (s.kind !== 'listener') continue
        for (let c = host.accept(s); c !== undefined; c = host.accept(s)) this.accepted.push(c)
      }
      for (let n = host.output(scratch, 0, now); n > 0; n = host.output(scratch, 0, now)) {
        inner.input(scratch, 0, n, now)
        moved = true
      }
    }
    const next = inner.nextTimeout()
    if (next < Number.POSITIVE_INFINITY) loop.at(next, this.carry)
  }

  takeAway(): void {
    this.carrying = false
    this.inner.suspend(this.carrier)
  }

  giveBack(): void {
    this.carrying = true
    this.inner.resume(this.carrier)
  }

  async pass(ms: number): Promise<this> {
    // For what the host was told to send.
    this.loop.soon(this.carry)
    this.loop.until(this.loop.now + ms)
    await new Promise((resolve) => setImmediate(resolve))
    return this
  }

  async connect(): Promise<Flow> {
    const flow = this.inner.sockets.connect({ address: HOST.toString(), port: 80 })
    await this.pass(10)
    return flow
  }
}
