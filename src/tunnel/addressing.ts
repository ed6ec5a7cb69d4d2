/**
 * Carries what the network says about itself (address/client.ts) to the stack of a tunnel and to its session.
 */
import { createHmac, randomBytes } from 'node:crypto'
import type { IpAddress, NetStack, UnclaimedPacket } from '../../stack/index.js'
import { AddressClient, type Learnt } from './address/client.js'

/** What the addresses of IPv6 belong to; it may outlive the call (see inner.ts). */
export interface AddressHolder {
  readonly stack: NetStack
  /** IPv6 addresses of ours, of this call or of the last one. */
  ipv6: readonly IpAddress[]
  /** An address is ours no more, and its connections end. */
  forsake(address: IpAddress): void
}

export interface AddressingHost {
  /** Something new is known. */
  onLearnt(): void
}

/**
 * What we are called on a link is the same at every call to a server, so that we get the same addresses again and
 * connections live on. It tells nobody anything but that: the key lasts as long as the process.
 */
const key = randomBytes(32)

function identity(what: string, whose: string, length: number): Uint8Array {
  return createHmac('sha256', key).update(`${what}\0${whose}`).digest().subarray(0, length)
}

/** 8 octets, not claiming to be unique in the world (RFC 5072 4.1). */
export function interfaceIdentifier(whose: string): Uint8Array {
  const id = Uint8Array.from(identity('interface identifier', whose, 8))
  id[0] = (id[0] ?? 0) & ~0x02
  return id
}

/** RFC 8415 11.5: type 4, and the octets of a random UUID (RFC 4122 4.4). */
function duid(): Uint8Array {
  const uuid = Uint8Array.from(identity('duid', '', 16))
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x40
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80
  return Uint8Array.from([0, 4, ...uuid])
}

/** Addresses of calls before that are kept; many short calls could each have had others. */
const MAX_INHERITED = 8

export class Addressing {
  private readonly holder: AddressHolder
  private readonly host: AddressingHost
  private readonly client: AddressClient
  private readonly unclaimed: UnclaimedPacket
  private linkLocal: IpAddress | undefined
  private seen = 0
  /** This call has had an address, or will have none. */
  private knows = false
  /** What the last call had, and a DHCPv6 server of this one may be about to give again. */
  private inherited: readonly IpAddress[] = []

  /** `whose`: server and user. */
  constructor(
    holder: AddressHolder,
    host: AddressingHost,
    whose: string,
    random: (dst: Uint8Array) => void,
    patience?: number,
  ) {
    this.holder = holder
    this.host = host
    const iaid = Buffer.from(identity('iaid', whose, 4)).readUInt32BE(0)
    this.client = new AddressClient({
      random,
      duid: duid(),
      iaid,
      ...(patience === undefined ? {} : { patience }),
    })
    this.unclaimed = (b, off, len, now) => {
      const taken = this.client.input(b, off, len, now)
      if (taken) this.settle()
      return taken
    }
    holder.stack.unclaimed = this.unclaimed
  }

  get learnt(): Learnt {
    return this.client.learnt
  }

  ipv4Up(address: IpAddress, now: number): void {
    this.client.startIpv4(address, now)
    this.settle()
  }

  ipv4Down(): void {
    this.client.stopIpv4()
    this.settle()
  }

  /** IPV6CP is open. */
  ipv6Up(identifier: Uint8Array, now: number): void {
    const old = this.linkLocal
    if (!this.knows) this.inherited = this.holder.ipv6
    this.linkLocal = this.client.startIpv6(identifier, now)
    if (old !== undefined && !old.equals(this.linkLocal)) this.holder.stack.removeAddress(old)
    this.holder.stack.addAddress(this.linkLocal)
    this.settle()
  }

  ipv6Down(): void {
    this.client.stopIpv6()
    if (this.linkLocal !== undefined) this.holder.stack.removeAddress(this.linkLocal)
    this.linkLocal = undefined
    this.inherited = []
    this.settle()
    this.keepOnly([])
  }

  /** Before the farewell: what was leased is given back. */
  release(now: number): void {
    this.client.release(now)
    this.drain()
  }

  /** The call is over; the addresses stay for the next one, if there is one. */
  stop(): void {
    const { stack } = this.holder
    if (stack.unclaimed === this.unclaimed) stack.unclaimed = undefined
    if (this.linkLocal !== undefined) stack.removeAddress(this.linkLocal)
    this.linkLocal = undefined
  }

  nextTimeout(): number {
    return this.client.nextTimeout()
  }

  handleTimeout(now: number): void {
    if (now < this.client.nextTimeout()) return
    this.client.handleTimeout(now)
    this.settle()
  }

  private drain(): void {
    for (let p = this.client.next(); p !== undefined; p = this.client.next()) this.holder.stack.send(p)
  }

  private settle(): void {
    this.drain()
    const { learnt, version, asksForAddress } = this.client
    // A call that begins knows nothing yet: what the last one had stays until this one knows better, and a router's
    // prefix is not all that there is while a DHCPv6 server is asked too.
    if (learnt.addresses.length > 0 || learnt.ipv6Failed) this.knows = true
    const all = this.knows && this.inherited.length > 0 && !asksForAddress
    if (all) this.inherited = []
    if (version === this.seen && !all) return
    this.seen = version
    if (this.knows) this.keepOnly(learnt.addresses)
    this.holder.stack.setDeprecated(learnt.deprecated)
    this.host.onLearnt()
  }

  private keepOnly(addresses: readonly IpAddress[]): void {
    const { holder, inherited } = this
    const old = holder.ipv6
    const also = old.filter((a) => includes(inherited, a) && !includes(addresses, a)).slice(0, MAX_INHERITED)
    holder.ipv6 = [...addresses, ...also]
    for (const address of old) if (!includes(holder.ipv6, address)) holder.forsake(address)
    for (const address of addresses) holder.stack.addAddress(address)
  }
}

function includes(addresses: readonly IpAddress[], address: IpAddress): boolean {
  return addresses.some((a) => a.equals(address))
}
