import { Fragmenter, type WayOut } from '../ip/fragmenter.js'
import { emitDatagramIp, maxPayload } from '../ip/output.js'
import type { ReadySocket } from '../ready.js'
import type { Emitter } from '../scheduler.js'
import type { Instant, SocketError } from '../types.js'
import { DatagramQueue, packetSize, type SocketNews } from '../udp/datagrams.js'
import type { IpAddress } from '../wire/address.js'
import * as v4 from '../wire/icmpv4.js'
import * as v6 from '../wire/icmpv6.js'
import { IPV4_HEADER, PROTO_ICMP, PROTO_ICMPV6 } from '../wire/ipv4.js'
import { IPV6_HEADER } from '../wire/ipv6.js'
import { pseudo } from './errors.js'

/** What a ping socket needs of the stack around it. */
export interface PingHost {
  readonly datagramQueue: number
  readonly way: WayOut
  sourceFor(remote: IpAddress): IpAddress | undefined
  schedule(e: Emitter): void
  closed(s: PingSocket): void
}

/** An echo reply that has come. */
export interface EchoReply {
  /** Who answered. */
  readonly from: IpAddress
  /** As it was sent, 16 bits. */
  readonly sequence: number
  /** As it was sent; not part of any buffer of the stack. */
  readonly data: Uint8Array
}

/** Sends echo requests and takes their replies (RFC 792, RFC 4443 4). One identifier a socket. */
export class PingSocket implements Emitter, ReadySocket {
  /** Tells the kinds of {@link AnySocket} apart. */
  readonly kind = 'ping'
  /** Of all its echo requests, 16 bits. */
  readonly identifier: number
  /** For whoever uses the stack, which never looks at it. */
  owner: unknown
  private news: SocketNews | undefined
  private readonly host: PingHost
  private readonly incoming: DatagramQueue<EchoReply>
  private readonly outgoing: DatagramQueue<Uint8Array>
  private readonly fragmenter: Fragmenter
  private open = true
  /** For the scheduler: echo requests are fresh traffic like any other. @internal */
  readonly prompt = false

  /** @internal */
  readyBits = 0
  /** @internal */
  readyNext: ReadySocket | undefined
  /** @internal */
  schedNext: Emitter | undefined
  /** @internal */
  schedPrev: Emitter | undefined
  /** @internal */
  schedQueue = 0
  /** @internal */
  schedCredit = 0

  constructor(host: PingHost, identifier: number) {
    this.host = host
    this.identifier = identifier
    this.incoming = new DatagramQueue(host.datagramQueue)
    this.outgoing = new DatagramQueue(host.datagramQueue)
    this.fragmenter = new Fragmenter(host.way)
  }

  /**
   * Queues an echo request; the sequence number is cut to 16 bits, the data may have as many octets as a
   * UDP datagram's. @returns as a UDP socket's `send`
   */
  send(to: IpAddress, sequence: number, data: Uint8Array): SocketError | 'no-room' | undefined {
    if (!this.open) return 'aborted'
    const source = this.host.sourceFor(to)
    if (source === undefined || !to.isUnicast || to.isLoopback) return 'network-unreachable'
    const ip = to.family === 4 ? IPV4_HEADER : IPV6_HEADER
    const length = v4.ICMP_HEADER + data.length
    if (length > maxPayload(to.family)) return 'too-large'
    const packet = new Uint8Array(ip + length)
    packet.set(data, ip + v4.ICMP_HEADER)
    if (to.family === 4) {
      v4.emit(packet, ip, length, v4.ECHO_REQUEST, 0, this.identifier, sequence & 0xffff)
      emitDatagramIp(packet, source, to, PROTO_ICMP, length, this.host.way.ids)
    } else {
      const sum = pseudo(source, to, length)
      v6.emit(packet, ip, length, v6.V6_ECHO_REQUEST, 0, this.identifier, sequence & 0xffff, sum)
      emitDatagramIp(packet, source, to, PROTO_ICMPV6, length, this.host.way.ids)
    }
    if (!this.outgoing.push(packet, packet.length)) return 'no-room'
    this.host.schedule(this)
    return undefined
  }

  /** The next reply, or undefined. */
  receive(): EchoReply | undefined {
    return this.incoming.shift((r) => r.data.length)
  }

  /** The ICMP error that {@link READY_ERROR} announced, once. */
  takeError(): SocketNews | undefined {
    const { news } = this
    this.news = undefined
    return news
  }

  /** Ends it at once: what is queued both ways is dropped, and nothing can be sent any more. */
  close(): void {
    if (!this.open) return
    this.open = false
    this.incoming.clear()
    this.outgoing.clear()
    this.host.closed(this)
  }

  /** Octets of memory held for data. */
  get memory(): number {
    return this.incoming.bytes + this.outgoing.bytes
  }

  /** @internal */
  deliver(r: EchoReply): boolean {
    return this.incoming.push(r, r.data.length)
  }

  /** @internal */
  icmpError(news: SocketNews): void {
    this.news = news
  }

  /** @internal */
  emit(dst: Uint8Array, off: number, now: Instant): number {
    const packet = this.outgoing.peek()
    if (packet === undefined) return 0
    const n = this.fragmenter.emit(packet, dst, off, now)
    if (!this.fragmenter.busy) this.outgoing.shift(packetSize)
    return n
  }
}
