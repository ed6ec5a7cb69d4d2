/**
 * The router that a client of the gateway sees on its link (RFC 4861 6.2): one prefix for stateless addresses, and the
 * gateway itself as the way out and as name server. Sans-I/O but for the stack that it sends by.
 *
 * Each client has a link, a stack and sockets of its own, so all can have the same prefix: addresses never meet.
 */
import { setU8, setU16, setU32, u8 } from '../../stack/bytes.js'
import { IpAddress, type NetStack } from '../../stack/index.js'
import {
  V6_NEIGHBOUR_ADVERTISEMENT,
  V6_NEIGHBOUR_SOLICITATION,
  V6_ROUTER_ADVERTISEMENT,
  V6_ROUTER_SOLICITATION,
} from '../../stack/wire/icmpv6.js'
import { PROTO_ICMPV6 } from '../../stack/wire/ipv4.js'
import {
  ALL_NODES,
  icmpPacket,
  isSolicitedNode,
  linkLocal,
  ND_HOP_LIMIT,
  newReadPacket,
  readPacket,
} from '../link/packet.js'

const NEVER = Number.POSITIVE_INFINITY
/** Seconds: the router's and the prefix's lifetimes. */
const ROUTER_LIFETIME = 1800
const PREFIX_LIFETIME = 86_400
/** Milliseconds between advertisements that nobody asked for (RFC 4861 6.2.1), and at least between any. */
const INTERVAL = 600_000
const LEAST_INTERVAL = 1_000
const HEADER = 16
const NS_LENGTH = 24

export class ClientRouter {
  private readonly stack: NetStack
  private readonly plan: Ipv6Plan
  private from: IpAddress | undefined
  private sentAt = Number.NEGATIVE_INFINITY
  private sendAt = NEVER
  private readonly packet = newReadPacket()

  constructor(stack: NetStack, plan: Ipv6Plan) {
    this.stack = stack
    this.plan = plan
    stack.addAddress(plan.own)
    stack.unclaimed = (b, off, len, now) => this.input(b, off, len, now)
  }

  /** IPV6CP is open with that identifier of ours. */
  up(identifier: Uint8Array, now: number): void {
    if (this.from !== undefined) this.stack.removeAddress(this.from)
    this.from = linkLocal(identifier)
    this.stack.addAddress(this.from)
    this.advertise(now)
  }

  down(): void {
    this.from = undefined
    this.sendAt = NEVER
  }

  nextTimeout(): number {
    return this.sendAt
  }

  handleTimeout(now: number): void {
    if (now >= this.sendAt) this.advertise(now)
  }

  private input(b: Uint8Array, off: number, len: number, now: number): boolean {
    const { packet, from } = this
    if (from === undefined || !readPacket(b, off, len, packet)) return false
    if (packet.protocol !== PROTO_ICMPV6 || packet.hopLimit !== ND_HOP_LIMIT) return false
    switch (u8(b, packet.offset)) {
      case V6_ROUTER_SOLICITATION:
        // One that asks too often waits for its turn.
        this.sendAt = Math.min(this.sendAt, Math.max(now, this.sentAt + LEAST_INTERVAL))
        if (now >= this.sendAt) this.advertise(now)
        return true
      case V6_NEIGHBOUR_SOLICITATION:
        this.solicited(b)
        return true
      default:
        return false
    }
  }

  private solicited(b: Uint8Array): void {
    const { source, destination, offset, length } = this.packet
    const target = length < NS_LENGTH ? undefined : IpAddress.fromBytes(b.subarray(offset + 8, offset + 24))
    if (
      target === undefined ||
      source.isUnspecified ||
      !(target.equals(this.plan.own) || this.from?.equals(target))
    )
      return
    if (!destination.equals(target) && !isSolicitedNode(destination, target)) return
    const message = new Uint8Array(NS_LENGTH)
    setU8(message, 0, V6_NEIGHBOUR_ADVERTISEMENT)
    // A router's, solicited, to be believed.
    setU8(message, 4, 0xe0)
    message.set(target.toBytes(), 8)
    this.stack.send(icmpPacket(target, source, message))
  }

  private advertise(now: number): void {
    if (this.from === undefined) return
    this.sentAt = now
    this.sendAt = now + INTERVAL
    this.stack.send(icmpPacket(this.from, ALL_NODES, this.message()))
  }

  /** RFC 4861 4.2, 4.6.2, RFC 8106 5.1. */
  private message(): Uint8Array {
    const b = new Uint8Array(HEADER + 32 + 24)
    setU8(b, 0, V6_ROUTER_ADVERTISEMENT)
    setU8(b, 4, 64)
    setU16(b, 6, ROUTER_LIFETIME)
    // Prefix information, A set: nobody else is on the link.
    b.set([3, 4, 64, 0x40], HEADER)
    setU32(b, HEADER + 4, PREFIX_LIFETIME)
    setU32(b, HEADER + 8, PREFIX_LIFETIME)
    b.set(this.plan.prefix.toBytes(), HEADER + 16)
    // A name server: the gateway, which asks for them.
    b.set([25, 3], HEADER + 32)
    setU32(b, HEADER + 36, PREFIX_LIFETIME)
    b.set(this.plan.own.toBytes(), HEADER + 40)
    return b
  }
}

/** A prefix of 64 bits for clients; the gateway's own address is its first. */
export interface Ipv6Plan {
  readonly prefix: IpAddress
  readonly own: IpAddress
}

/** @returns undefined unless it is a /64 that hosts can have */
export function ipv6Plan(cidr: string): Ipv6Plan | undefined {
  const [text = '', bits, more] = cidr.split('/')
  const prefix = IpAddress.parse(text)
  if (prefix?.family !== 6 || bits !== '64' || more !== undefined) return undefined
  if (!prefix.isUnicast || prefix.isLinkLocal || prefix.w2 !== 0 || prefix.w3 !== 0) return undefined
  // Nothing below 2000::/3, which is reserved, nor loopback, mapped and the like.
  if (prefix.w0 >>> 29 !== 1 && prefix.w0 >>> 25 !== 0x7e) return undefined
  return { prefix, own: IpAddress.v6(prefix.w0, prefix.w1, 0, 1) }
}
