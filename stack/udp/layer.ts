import { copyOf } from '../bytes.js'
import { combine, sum } from '../checksum.js'
import type { WayOut } from '../ip/fragmenter.js'
import type { Emitter, Scheduler } from '../scheduler.js'
import { destinationOf, type PacketAddresses, sourceOf } from '../tuple.js'
import {
  type Random,
  READY_CLOSED,
  READY_ERROR,
  READY_READABLE,
  type SocketError,
  type StackCounters,
} from '../types.js'
import type { IpAddress } from '../wire/address.js'
import { PROTO_UDP } from '../wire/ipv4.js'
import * as udp from '../wire/udp.js'
import { type UdpHost, type UdpOptions, UdpSocket } from './socket.js'

export interface UdpLayerOptions {
  readonly random: Random
  readonly counters: StackCounters
  readonly datagramQueue: number
  readonly scheduler: Scheduler
  readonly way: WayOut
  sourceFor(remote: IpAddress): IpAddress | undefined
  mark(s: UdpSocket, bits: number): void
}

const FIRST_PORT = 1024
const PORTS = 65536 - FIRST_PORT

/** All UDP sockets of a stack, by local port, and at most one that takes the rest. */
export class UdpLayer implements UdpHost {
  readonly datagramQueue: number
  readonly way: WayOut
  private readonly options: UdpLayerOptions
  private readonly byPort = new Map<number, UdpSocket>()
  private any: UdpSocket | undefined

  constructor(options: UdpLayerOptions) {
    this.options = options
    this.datagramQueue = options.datagramQueue
    this.way = options.way
  }

  get size(): number {
    return this.byPort.size + (this.any === undefined ? 0 : 1)
  }

  get memory(): number {
    let n = this.any?.memory ?? 0
    for (const s of this.byPort.values()) n += s.memory
    return n
  }

  /** @returns undefined if the port is taken, or none is free */
  open(options: UdpOptions): UdpSocket | undefined {
    if (options.any) {
      if (this.any !== undefined) return undefined
      this.any = new UdpSocket(this, 0, options)
      return this.any
    }
    let port = options.port ?? 0
    if (port === 0) {
      // RFC 6056 3.3.1; DNS answers are only as safe as this port is hard to guess (RFC 5452 9.2).
      let i = 0
      do {
        if (i++ > 4 * PORTS) return undefined
        port = FIRST_PORT + (this.randomWord() % PORTS)
      } while (this.byPort.has(port))
    } else if (this.byPort.has(port)) {
      return undefined
    }
    const s = new UdpSocket(this, port, options)
    this.byPort.set(port, s)
    return s
  }

  /**
   * `ours`: it was sent to an address of the stack's own.
   * @returns true if somebody wanted it; false asks for a port unreachable
   */
  input(b: Uint8Array, o: number, len: number, a: PacketAddresses, ours: boolean): boolean {
    const { counters } = this.options
    const length = udp.check(b, o, len)
    if (length < 0) {
      counters.malformed++
      return true
    }
    // RFC 768: 0 is no checksum; RFC 8200 8.1 forbids that for IPv6.
    if (udp.checksum(b, o) === 0) {
      if (a.family === 6) {
        counters.checksumErrors++
        return true
      }
    } else if (combine(combine(a.sum, combine(PROTO_UDP, length)), sum(b, o, length)) !== 0xffff) {
      counters.checksumErrors++
      return true
    }
    const remotePort = udp.sourcePort(b, o)
    const localPort = udp.destinationPort(b, o)
    const s = this.find(a, remotePort, localPort, ours)
    if (s === undefined) return false
    counters.datagramsIn++
    const datagram = {
      data: copyOf(b, o + udp.UDP_HEADER, o + length),
      from: { address: sourceOf(a), port: remotePort },
      to: { address: destinationOf(a), port: localPort },
    }
    if (s.deliver(datagram)) this.options.mark(s, READY_READABLE)
    else counters.datagramsDropped++
    return true
  }

  /**
   * An ICMP error quotes a datagram that came, it says, from us; `ours`: from an address of our own.
   * @returns false if no socket can have sent it
   */
  icmpError(
    a: PacketAddresses,
    remotePort: number,
    localPort: number,
    ours: boolean,
    error: SocketError,
  ): boolean {
    const s = this.find(a, remotePort, localPort, ours)
    if (s === undefined) return false
    s.icmpError({ error, remote: { address: sourceOf(a), port: remotePort } })
    this.options.mark(s, READY_ERROR)
    return true
  }

  closed(s: UdpSocket): void {
    this.options.scheduler.unschedule(s)
    if (s === this.any) this.any = undefined
    else if (this.byPort.get(s.port) === s) this.byPort.delete(s.port)
  }

  close(): void {
    const all = [...this.byPort.values()]
    if (this.any !== undefined) all.push(this.any)
    for (const s of all) {
      s.close()
      this.options.mark(s, READY_CLOSED)
    }
  }

  sourceFor(remote: IpAddress): IpAddress | undefined {
    return this.options.sourceFor(remote)
  }

  schedule(s: Emitter): void {
    this.options.scheduler.schedule(s)
  }

  countOut(): void {
    this.options.counters.datagramsOut++
  }

  private find(
    a: PacketAddresses,
    remotePort: number,
    localPort: number,
    ours: boolean,
  ): UdpSocket | undefined {
    // A port belongs to our own addresses; what goes to others is for the any-address socket.
    const s = ours ? this.byPort.get(localPort) : undefined
    if (s === undefined) return this.any
    const { remote } = s
    if (remote === undefined) return s
    const r = remote.address
    const match =
      remote.port === remotePort && r.w3 === a.s3 && r.w2 === a.s2 && r.w1 === a.s1 && r.w0 === a.s0
    return match ? s : this.any
  }

  private readonly wordBytes = new Uint8Array(4)

  private randomWord(): number {
    const b = this.wordBytes
    this.options.random(b)
    return (((b[0] as number) << 16) | ((b[1] as number) << 8) | (b[2] as number)) >>> 0
  }
}
