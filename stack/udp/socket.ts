import { combine, finish, sum } from '../checksum.js'
import { Fragmenter, type WayOut } from '../ip/fragmenter.js'
import { emitDatagramIp, maxPayload } from '../ip/output.js'
import type { ReadySocket } from '../ready.js'
import type { Emitter } from '../scheduler.js'
import type { Instant, SocketAddress, SocketError } from '../types.js'
import type { IpAddress } from '../wire/address.js'
import { IPV4_HEADER, PROTO_UDP } from '../wire/ipv4.js'
import { IPV6_HEADER } from '../wire/ipv6.js'
import * as udp from '../wire/udp.js'
import { type Datagram, DatagramQueue, packetSize, type SocketNews } from './datagrams.js'

/** What a UDP socket needs of the stack around it. */
export interface UdpHost {
  readonly datagramQueue: number
  readonly way: WayOut
  /** Source address towards `remote`; undefined if the family has none. */
  sourceFor(remote: IpAddress): IpAddress | undefined
  schedule(e: Emitter): void
  closed(s: UdpSocket): void
  countOut(): void
}

/** How a UDP socket is to be bound. */
export interface UdpOptions {
  /** 0 or absent: a free port is chosen. The socket has it on all addresses of the stack's own. */
  readonly port?: number
  /** Only datagrams from there come in. */
  readonly remote?: SocketAddress
  /** Takes every datagram that no other socket wants, whatever its destination (with the stack's `anyAddress`). */
  readonly any?: boolean
}

/** A UDP socket (RFC 768). */
export class UdpSocket implements Emitter, ReadySocket {
  /** Tells the kinds of {@link AnySocket} apart. */
  readonly kind = 'udp'
  /** Its port on all our addresses; 0 with `any`. */
  readonly port: number
  /** The only one it hears, if there is one. */
  readonly remote: SocketAddress | undefined
  /** It takes every datagram that no other socket wants. */
  readonly any: boolean
  /** For whoever uses the stack, which never looks at it. */
  owner: unknown
  /** The last ICMP error that concerned the socket; reading it is taking it. */
  private news: SocketNews | undefined
  private readonly host: UdpHost
  private readonly incoming: DatagramQueue<Datagram>
  private readonly outgoing: DatagramQueue<Uint8Array>
  private readonly fragmenter: Fragmenter
  private open = true
  /** For the scheduler: a flow that is quiet goes first anyway, and a flood must not. @internal */
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

  constructor(host: UdpHost, port: number, options: UdpOptions) {
    this.host = host
    this.port = port
    this.remote = options.remote
    this.any = options.any ?? false
    this.incoming = new DatagramQueue(host.datagramQueue)
    this.outgoing = new DatagramQueue(host.datagramQueue)
    this.fragmenter = new Fragmenter(host.way)
  }

  /**
   * Queues a datagram of at most 65507 octets (IPv6: 65527); what is above the path's MTU goes in fragments.
   * `from` is for any-address sockets: they answer from where they were asked.
   * @returns an error, or undefined; `'no-room'` means that it was dropped, as UDP may
   */
  send(data: Uint8Array, to: SocketAddress, from?: SocketAddress): SocketError | 'no-room' | undefined {
    if (!this.open) return 'aborted'
    const source = from?.address ?? this.host.sourceFor(to.address)
    if (
      source === undefined ||
      source.family !== to.address.family ||
      !to.address.isUnicast ||
      to.address.isLoopback
    ) {
      return 'network-unreachable'
    }
    if (to.port < 1 || to.port > 65535) return 'host-unreachable'
    const ip = to.address.family === 4 ? IPV4_HEADER : IPV6_HEADER
    const length = udp.UDP_HEADER + data.length
    if (length > maxPayload(to.address.family)) return 'too-large'
    const packet = new Uint8Array(ip + length)
    udp.emit(packet, ip, from?.port ?? this.port, to.port, length)
    packet.set(data, ip + udp.UDP_HEADER)
    const pseudo = combine(combine(source.sum, to.address.sum), combine(PROTO_UDP, length))
    udp.setChecksum(packet, ip, finish(combine(pseudo, sum(packet, ip, length))))
    emitDatagramIp(packet, source, to.address, PROTO_UDP, length, this.host.way.ids)
    if (!this.outgoing.push(packet, packet.length)) return 'no-room'
    this.host.schedule(this)
    return undefined
  }

  /** The next datagram, or undefined. */
  receive(): Datagram | undefined {
    return this.incoming.shift(datagramSize)
  }

  /** The ICMP error that READY_ERROR announced. */
  takeError(): SocketNews | undefined {
    const { news } = this
    this.news = undefined
    return news
  }

  /** Ends it at once: its port is free, and what is queued both ways is dropped. */
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

  /** From the stack. @returns false if there is no room @internal */
  deliver(d: Datagram): boolean {
    return this.incoming.push(d, d.data.length)
  }

  /** From the stack. @internal */
  icmpError(news: SocketNews): void {
    this.news = news
  }

  /** @internal */
  emit(dst: Uint8Array, off: number, now: Instant): number {
    const packet = this.outgoing.peek()
    if (packet === undefined) return 0
    const n = this.fragmenter.emit(packet, dst, off, now)
    if (!this.fragmenter.busy) {
      this.outgoing.shift(packetSize)
      this.host.countOut()
    }
    return n
  }
}

function datagramSize(d: Datagram): number {
  return d.data.length
}
