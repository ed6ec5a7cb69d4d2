/**
 * What a call has been given: addresses of both families and name servers, from IPCP, IPV6CP and whatever goes on
 * behind them, and whether that is enough to live on.
 */
import { IpAddress } from '../../stack/index.js'
import type { PppError } from '../ppp/errors.js'
import type { PppLink } from '../ppp/link.js'
import type { CallError } from '../transport/errors.js'
import type { Learnt } from './address/client.js'
import { Addressing } from './addressing.js'
import type { InnerNetwork } from './inner.js'
import type { TunnelOptions } from './options.js'
import { type CallState, fromPpp, noAddress } from './reasons.js'

/** IPv6 goes ahead of an IPCP that is undecided that long after IPV6CP, and not before: most want IPv4 too. */
const IPV4_GRACE = 500
/** RFC 8200 5: with less there is no IPv6. */
export const IPV6_MIN_MTU = 1280

export interface FamiliesHost extends CallState {
  /** Packets may go. */
  carry(): void
  /** There may be enough for the tunnel to be up. */
  maybeUp(): void
  /** Something is known that was not, or is no more. */
  onChanged(): void
  /** The call cannot live on what it has. */
  fail(error: CallError): void
}

export class Families {
  readonly families = { ipv4: false, ipv6: false }
  /** Of all sources; always the same array. */
  readonly dns: string[] = []
  readonly addressing: Addressing
  ipv4: string | undefined
  ipv6: string | undefined
  peer: string | undefined
  /** IPCP is not done yet, and has until then. */
  graceEnds = Number.POSITIVE_INFINITY
  private readonly options: TunnelOptions
  private readonly inner: InnerNetwork
  private readonly ppp: PppLink
  private readonly host: FamiliesHost
  /** Name servers of IPCP. */
  private ipv4Dns: readonly string[] = []
  /** Why there is no IPv4, or no IPv6, and will be none. */
  private ipv4Error: PppError | undefined
  private ipv6Gone = false
  private stopped = false

  /** `whose`: server and user. */
  constructor(
    options: TunnelOptions,
    inner: InnerNetwork,
    ppp: PppLink,
    host: FamiliesHost,
    whose: string,
    random: (dst: Uint8Array) => void,
  ) {
    this.options = options
    this.inner = inner
    this.ppp = ppp
    this.host = host
    this.addressing = new Addressing(inner, this, whose, random, options.addressPatience)
  }

  get learnt(): Learnt {
    return this.addressing.learnt
  }

  ipv4Up(local: Uint8Array, peer: Uint8Array | undefined, dns: readonly Uint8Array[], now: number): void {
    const address = IpAddress.fromBytes(local)
    if (address === undefined) return
    this.inner.setIpv4(address)
    this.ipv4 = address.toString()
    this.peer = peer === undefined ? undefined : IpAddress.fromBytes(peer)?.toString()
    this.ipv4Dns = dns.map((server) => IpAddress.fromBytes(server)?.toString() ?? '').filter((s) => s !== '')
    this.families.ipv4 = true
    this.addressing.ipv4Up(address, now)
    this.graceEnds = Number.POSITIVE_INFINITY
    this.host.carry()
    this.learn()
  }

  ipv4Down(error: PppError | undefined): void {
    this.families.ipv4 = false
    // Without an error it is negotiated anew, or the call ends.
    if (error === undefined) return
    this.ipv4Error = error
    this.ipv4 = undefined
    this.ipv4Dns = []
    this.addressing.ipv4Down()
    if (this.graceEnds !== Number.POSITIVE_INFINITY) this.graceOver()
    this.judge(fromPpp(this.host, error))
    if (this.learnt.addresses.length > 0) this.withoutIpv4()
    this.learn()
  }

  /**
   * The call lives on IPv6. Connections of an IPv4 address that it will not have end; while IPCP goes on, it may still
   * give the one that the last call had.
   */
  withoutIpv4(): void {
    if (this.host.up && this.ipv4Error !== undefined) this.inner.setIpv4(undefined)
  }

  ipv6Up(identifier: Uint8Array, now: number): void {
    if (this.ppp.mtu < IPV6_MIN_MTU) {
      this.ipv6Gone = true
      // What an earlier call had is of no use now.
      this.addressing.ipv6Down()
      this.judge(noAddress(this.host, this.ipv4Error))
      return
    }
    this.addressing.ipv6Up(identifier, now)
    if (this.ipv4 !== undefined) return
    this.graceEnds = now + IPV4_GRACE
    if (this.ipv4Error !== undefined) this.graceOver()
  }

  ipv6Down(error: PppError | undefined): void {
    this.families.ipv6 = false
    if (error === undefined) return
    this.ipv6Gone = true
    this.addressing.ipv6Down()
    this.judge(fromPpp(this.host, this.ipv4Error ?? error))
    this.learn()
  }

  onLearnt(): void {
    if (this.learnt.ipv6Failed) this.judge(noAddress(this.host, this.ipv4Error))
    this.learn()
  }

  handleTimeout(now: number): void {
    if (now >= this.graceEnds) this.graceOver()
    this.addressing.handleTimeout(now)
  }

  /** The call is over. */
  stop(): void {
    this.stopped = true
    this.addressing.stop()
  }

  /** No packets of either family will go again. */
  none(): void {
    this.families.ipv4 = this.families.ipv6 = false
  }

  /** Packets may go although IPCP has not come to an end, or has come to a bad one. */
  private graceOver(): void {
    this.graceEnds = Number.POSITIVE_INFINITY
    this.host.carry()
    this.host.maybeUp()
  }

  /** Without IPv4 everything hangs on IPv6. */
  private judge(error: CallError): void {
    const { learnt, host } = this
    if (this.ipv4Error === undefined || learnt.addresses.length > 0) return
    if (host.up || this.ipv6Gone || this.options.ipv6 === false || learnt.ipv6Failed) host.fail(error)
  }

  /** Puts together what is known; whoever is told of the tunnel hears of it when it changes. */
  private learn(): void {
    if (this.stopped) return
    const { learnt, ppp, inner } = this
    const mtu = Math.min(ppp.mtu, learnt.mtu ?? ppp.mtu)
    if (mtu !== inner.stack.mtu) inner.stack.setMtu(mtu)
    const [first] = learnt.addresses
    this.ipv6 = first?.toString()
    this.families.ipv6 = learnt.routed
    const dns = new Set([...this.ipv4Dns, ...learnt.dns.map(String)])
    this.dns.splice(0, this.dns.length, ...dns)
    this.host.onChanged()
  }
}
