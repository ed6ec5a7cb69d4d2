import { Fragmenter, type WayOut } from '../ip/fragmenter.js'
import { emitDatagramIp } from '../ip/output.js'
import type { Emitter, Scheduler } from '../scheduler.js'
import { destinationOf, type PacketAddresses, sourceOf } from '../tuple.js'
import type { Instant } from '../types.js'
import { DatagramQueue, packetSize } from '../udp/datagrams.js'
import * as v4 from '../wire/icmpv4.js'
import * as v6 from '../wire/icmpv6.js'
import { IPV4_HEADER, PROTO_ICMP, PROTO_ICMPV6 } from '../wire/ipv4.js'
import { IPV6_HEADER } from '../wire/ipv6.js'
import { pseudo } from './errors.js'

/** What answering needs of the stack. */
export interface EchoHost {
  readonly datagramQueue: number
  readonly scheduler: Scheduler
  readonly way: WayOut
}

/**
 * Answers echo requests (RFC 1122 3.2.2.6, RFC 4443 4.2). The answers take their turn with everybody else's
 * packets: a large one is many fragments, and whoever asks for many must not hold up the rest.
 */
export class EchoReplies implements Emitter {
  private readonly host: EchoHost
  private readonly outgoing: DatagramQueue<Uint8Array>
  private readonly fragmenter: Fragmenter
  readonly prompt = false
  schedNext: Emitter | undefined
  schedPrev: Emitter | undefined
  schedQueue = 0
  schedCredit = 0

  constructor(host: EchoHost) {
    this.host = host
    this.outgoing = new DatagramQueue(host.datagramQueue)
    this.fragmenter = new Fragmenter(host.way)
  }

  get memory(): number {
    return this.outgoing.bytes
  }

  /** The reply to the request at `o` has its data, and its addresses exchanged. Without room there is none. */
  answer(b: Uint8Array, o: number, len: number, a: PacketAddresses): void {
    const from = destinationOf(a)
    const to = sourceOf(a)
    const four = to.family === 4
    const ip = four ? IPV4_HEADER : IPV6_HEADER
    if (!this.outgoing.hasRoom(ip + len)) return
    const packet = new Uint8Array(ip + len)
    packet.set(b.subarray(o, o + len), ip)
    const id = v4.identifier(b, o)
    const sequence = v4.sequence(b, o)
    if (four) v4.emit(packet, ip, len, v4.ECHO_REPLY, 0, id, sequence)
    else v6.emit(packet, ip, len, v6.V6_ECHO_REPLY, 0, id, sequence, pseudo(from, to, len))
    emitDatagramIp(packet, from, to, four ? PROTO_ICMP : PROTO_ICMPV6, len, this.host.way.ids)
    this.outgoing.push(packet, packet.length)
    this.host.scheduler.schedule(this)
  }

  close(): void {
    this.outgoing.clear()
    this.host.scheduler.unschedule(this)
  }

  emit(dst: Uint8Array, off: number, now: Instant): number {
    const packet = this.outgoing.peek()
    if (packet === undefined) return 0
    const n = this.fragmenter.emit(packet, dst, off, now)
    if (!this.fragmenter.busy) this.outgoing.shift(packetSize)
    return n
  }
}
