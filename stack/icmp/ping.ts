import { emitIpBetween } from '../ip/output.js'
import type { ReadySocket } from '../ready.js'
import type { Emitter } from '../scheduler.js'
import type { Instant, SocketError } from '../types.js'
import { DatagramQueue, type SocketNews } from '../udp/datagrams.js'
import type { IpAddress } from '../wire/address.js'
import * as v4 from '../wire/icmpv4.js'
import * as v6 from '../wire/icmpv6.js'
import { IPV4_HEADER, PROTO_ICMP, PROTO_ICMPV6 } from '../wire/ipv4.js'
import { IPV6_HEADER } from '../wire/ipv6.js'
import { pseudo } from './errors.js'

/** What a ping socket needs of the stack around it. */
export interface PingHost {
  readonly datagramQueue: number
  mtu(): number
  sourceFor(remote: IpAddress): IpAddress | undefined
  schedule(e: Emitter): void
  closed(s: PingSocket): void
}

/** An echo reply that has come. */
export interface EchoReply {
  readonly from: IpAddress
  readonly sequence: number
  readonly data: Uint8Array
}

/** Sends echo requests and takes their replies (RFC 792, RFC 4443 4). One identifier a socket. */
export class PingSocket implements Emitter, ReadySocket {
  readonly kind = 'ping'
  readonly identifier: number
  owner: unknown
  private news: SocketNews | undefined
  private readonly host: PingHost
  private readonly incoming: DatagramQueue<EchoReply>
  private readonly outgoing: DatagramQueue<Uint8Array>
  private open = true
  /** For the scheduler: echo requests are fresh traffic like any other. */
  readonly prompt = false

  readyBits = 0
  readyNext: ReadySocket | undefined
  schedNext: Emitter | undefined
  schedPrev: Emitter | undefined
  schedQueue = 0
  schedCredit = 0

  constructor(host: PingHost, identifier: number) {
    this.host = host
    this.identifier = identifier
    this.incoming = new DatagramQueue(host.datagramQueue)
    this.outgoing = new DatagramQueue(host.datagramQueue)
  }

  /** Queues an echo request; the sequence number is cut to 16 bits. @returns as a UDP socket's `send` */
  send(to: IpAddress, sequence: number, data: Uint8Array): SocketError | 'no-room' | undefined {
    if (!this.open) return 'aborted'
    const source = this.host.sourceFor(to)
    if (source === undefined || !to.isUnicast || to.isLoopback) return 'network-unreachable'
    const ip = to.family === 4 ? IPV4_HEADER : IPV6_HEADER
    const length = v4.ICMP_HEADER + data.length
    if (ip + length > this.host.mtu()) return 'too-large'
    const packet = new Uint8Array(ip + length)
    packet.set(data, ip + v4.ICMP_HEADER)
    if (to.family === 4) {
      v4.emit(packet, ip, length, v4.ECHO_REQUEST, 0, this.identifier, sequence & 0xffff)
      emitIpBetween(packet, 0, source, to, PROTO_ICMP, length)
    } else {
      const sum = pseudo(source, to, length)
      v6.emit(packet, ip, length, v6.V6_ECHO_REQUEST, 0, this.identifier, sequence & 0xffff, sum)
      emitIpBetween(packet, 0, source, to, PROTO_ICMPV6, length)
    }
    if (!this.outgoing.push(packet, packet.length)) return 'no-room'
    this.host.schedule(this)
    return undefined
  }

  receive(): EchoReply | undefined {
    return this.incoming.shift((r) => r.data.length)
  }

  takeError(): SocketNews | undefined {
    const { news } = this
    this.news = undefined
    return news
  }

  close(): void {
    if (!this.open) return
    this.open = false
    this.incoming.clear()
    this.outgoing.clear()
    this.host.closed(this)
  }

  get memory(): number {
    return this.incoming.bytes + this.outgoing.bytes
  }

  deliver(r: EchoReply): boolean {
    return this.incoming.push(r, r.data.length)
  }

  icmpError(news: SocketNews): void {
    this.news = news
  }

  emit(dst: Uint8Array, off: number, _now: Instant): number {
    const packet = this.outgoing.shift((p) => p.length)
    if (packet === undefined) return 0
    dst.set(packet, off)
    return packet.length
  }
}
