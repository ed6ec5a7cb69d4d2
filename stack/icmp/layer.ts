import { copyOf } from '../bytes.js'
import { combine, sum32 } from '../checksum.js'
import type { WayOut } from '../ip/fragmenter.js'
import type { Emitter, Scheduler } from '../scheduler.js'
import type { TcpLayer } from '../tcp/layer.js'
import { newPacketAddresses, type PacketAddresses, sourceOf } from '../tuple.js'
import {
  type Instant,
  type Random,
  READY_CLOSED,
  READY_ERROR,
  READY_READABLE,
  type SocketError,
  type StackCounters,
} from '../types.js'
import type { UdpLayer } from '../udp/layer.js'
import type { IpAddress } from '../wire/address.js'
import * as v4 from '../wire/icmpv4.js'
import * as v6 from '../wire/icmpv6.js'
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/ipv4.js'
import { EchoReplies } from './echo.js'
import { meaning, newQuoted, type Quoted, readQuoted } from './errors.js'
import { type PingHost, PingSocket } from './ping.js'

export interface IcmpLayerOptions {
  readonly random: Random
  readonly counters: StackCounters
  readonly datagramQueue: number
  readonly scheduler: Scheduler
  readonly way: WayOut
  readonly tcp: TcpLayer
  readonly udp: UdpLayer
  sourceFor(remote: IpAddress): IpAddress | undefined
  /** True if the packet's destination is an address of the stack's own. */
  isOurs(a: PacketAddresses): boolean
  mark(s: PingSocket, bits: number): void
}

/** ICMP and ICMPv6: echo both ways, errors to the sockets they concern (RFC 792, RFC 4443, RFC 5927). */
export class IcmpLayer implements PingHost {
  readonly datagramQueue: number
  readonly way: WayOut
  private readonly options: IcmpLayerOptions
  private readonly echoes: EchoReplies
  private readonly sockets = new Map<number, PingSocket>()
  private readonly quotedAddresses = newPacketAddresses()
  private readonly quoted = newQuoted()

  constructor(options: IcmpLayerOptions) {
    this.options = options
    this.datagramQueue = options.datagramQueue
    this.way = options.way
    this.echoes = new EchoReplies(options)
  }

  get size(): number {
    return this.sockets.size
  }

  get memory(): number {
    let n = this.echoes.memory
    for (const s of this.sockets.values()) n += s.memory
    return n
  }

  open(): PingSocket | undefined {
    const b = new Uint8Array(2)
    for (let i = 0; i < 256; i++) {
      this.options.random(b)
      const id = ((b[0] as number) << 8) | (b[1] as number)
      if (this.sockets.has(id)) continue
      const s = new PingSocket(this, id)
      this.sockets.set(id, s)
      return s
    }
    return undefined
  }

  /** `ours`: the packet was sent to an address of the stack's own, not merely one it stands in for. */
  input4(b: Uint8Array, o: number, len: number, a: PacketAddresses, ours: boolean, now: Instant): void {
    if (!v4.check(b, o, len)) {
      this.options.counters.checksumErrors++
      return
    }
    const type = v4.type(b, o)
    if (type === v4.ECHO_REQUEST) {
      if (ours) this.echoes.answer(b, o, len, a)
    } else if (type === v4.ECHO_REPLY) {
      if (ours) this.reply(b, o, len, a)
    } else if (type === v4.UNREACHABLE && v4.code(b, o) === v4.FRAGMENTATION_NEEDED) {
      this.tooBig(b, o, len, 4, v4.nextHopMtu(b, o), now)
    } else if (type === v4.UNREACHABLE || type === v4.TIME_EXCEEDED) {
      this.error(b, o, len, 4)
    } else {
      // Source quench (RFC 6633), redirects (we have one way out), timestamps and the like.
      this.options.counters.unwanted++
    }
  }

  input6(b: Uint8Array, o: number, len: number, a: PacketAddresses, ours: boolean, now: Instant): void {
    if (!v6.check(b, o, len, combine(a.sum, combine(sum32(len), PROTO_ICMPV6)))) {
      this.options.counters.checksumErrors++
      return
    }
    const type = v6.type(b, o)
    if (type === v6.V6_ECHO_REQUEST) {
      if (ours) this.echoes.answer(b, o, len, a)
    } else if (type === v6.V6_ECHO_REPLY) {
      if (ours) this.reply(b, o, len, a)
    } else if (type === v6.V6_PACKET_TOO_BIG) {
      this.tooBig(b, o, len, 6, v6.mtu(b, o), now)
    } else if (type < v6.V6_FIRST_INFORMATIONAL) {
      this.error(b, o, len, 6)
    } else {
      // Neighbour discovery is for whoever configures the host, if anybody does.
      this.options.counters.unwanted++
    }
  }

  closed(s: PingSocket): void {
    this.options.scheduler.unschedule(s)
    this.sockets.delete(s.identifier)
  }

  close(): void {
    this.echoes.close()
    for (const s of [...this.sockets.values()]) {
      s.close()
      this.options.mark(s, READY_CLOSED)
    }
  }

  sourceFor(remote: IpAddress): IpAddress | undefined {
    return this.options.sourceFor(remote)
  }

  schedule(e: Emitter): void {
    this.options.scheduler.schedule(e)
  }

  private reply(b: Uint8Array, o: number, len: number, a: PacketAddresses): void {
    const s = this.sockets.get(v4.identifier(b, o))
    if (s === undefined) return
    const reply = {
      from: sourceOf(a),
      sequence: v4.sequence(b, o),
      data: copyOf(b, o + v4.ICMP_HEADER, o + len),
    }
    if (s.deliver(reply)) this.options.mark(s, READY_READABLE)
  }

  private error(b: Uint8Array, o: number, len: number, family: 4 | 6): void {
    this.options.counters.icmpErrorsIn++
    const what = meaning(family, v4.type(b, o), v4.code(b, o))
    if (what === undefined) return
    const q = this.readQuote(b, o, len, family)
    if (q === undefined) return
    if (q.protocol === PROTO_TCP) {
      const c = this.options.tcp.find(this.quotedAddresses, q.remotePort, q.localPort)
      // RFC 5927 4.1: whoever cannot name a sequence number in flight is guessing.
      if (c?.inFlight(q.seq)) c.icmpError(what)
    } else {
      this.tell(q, family, what)
    }
  }

  private tooBig(b: Uint8Array, o: number, len: number, family: 4 | 6, mtu: number, now: Instant): void {
    this.options.counters.icmpErrorsIn++
    const q = this.readQuote(b, o, len, family)
    if (q === undefined) return
    if (q.protocol === PROTO_TCP) {
      const c = this.options.tcp.find(this.quotedAddresses, q.remotePort, q.localPort)
      if (c?.inFlight(q.seq)) c.packetTooBig(mtu, q.length, now)
    } else if (this.tell(q, family, 'too-large')) {
      // The next datagrams to there go in fragments.
      this.options.way.pathMtu.lower(sourceOf(this.quotedAddresses), mtu, now, q.length)
    }
  }

  private readQuote(b: Uint8Array, o: number, len: number, family: 4 | 6): Quoted | undefined {
    const q = this.quoted
    const at = o + v4.ICMP_HEADER
    return readQuoted(b, at, len - v4.ICMP_HEADER, family, this.quotedAddresses, q) ? q : undefined
  }

  /** The socket without connection state that sent what is quoted hears of it. @returns false if there is none */
  private tell(q: Quoted, family: 4 | 6, error: SocketError): boolean {
    const a = this.quotedAddresses
    const ours = this.options.isOurs(a)
    if (q.protocol === PROTO_UDP) {
      return this.options.udp.icmpError(a, q.remotePort, q.localPort, ours, error)
    }
    const request =
      family === 4
        ? q.protocol === PROTO_ICMP && q.icmpType === v4.ECHO_REQUEST
        : q.protocol === PROTO_ICMPV6 && q.icmpType === v6.V6_ECHO_REQUEST
    const s = request && ours ? this.sockets.get(q.identifier) : undefined
    if (s === undefined) return false
    s.icmpError({ error, remote: { address: sourceOf(a), port: 0 } })
    this.options.mark(s, READY_ERROR)
    return true
  }
}
