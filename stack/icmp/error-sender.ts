import { copyOf } from '../bytes.js'
import { destinationOf, type PacketAddresses, sourceOf } from '../tuple.js'
import type { Instant, SocketError, StackCounters, StackLimits } from '../types.js'
import type { IpAddress } from '../wire/address.js'
import * as v4 from '../wire/icmpv4.js'
import * as v6 from '../wire/icmpv6.js'
import { errorPacket, isIcmpError, MAX_QUOTE, RateLimit, unreachableCode } from './errors.js'

export interface ErrorSenderOptions {
  readonly limits: StackLimits
  readonly counters: StackCounters
  sourceFor(remote: IpAddress): IpAddress | undefined
  reply(packet: Uint8Array): void
}

/** All ICMP errors that the stack sends, under one limit. */
export class ErrorSender {
  private readonly options: ErrorSenderOptions
  private readonly limit: RateLimit

  constructor(options: ErrorSenderOptions) {
    this.options = options
    this.limit = new RateLimit(options.limits.icmpRate, options.limits.icmpBurst)
  }

  /** Answers the packet of `len` octets at `off`, between the addresses `a`, from the one it was sent to. */
  about(
    a: PacketAddresses,
    type: number,
    code: number,
    detail: number,
    b: Uint8Array,
    off: number,
    len: number,
    now: Instant,
  ): void {
    if (isIcmpError(b, off)) return
    // The limit comes first: an error that is not sent must cost nothing.
    if (!this.limit.take(now)) return
    this.options.counters.icmpErrorsOut++
    const quote = copyOf(b, off, off + Math.min(len, MAX_QUOTE))
    this.options.reply(errorPacket(destinationOf(a), sourceOf(a), type, code, detail, quote))
  }

  /** Nobody is to be had at `about`, for that reason. @returns false if nothing is said */
  unreachable(
    to: IpAddress,
    about: IpAddress,
    reason: SocketError,
    quote: Uint8Array,
    now: Instant,
  ): boolean {
    const code = unreachableCode(reason, to.family)
    if (code === undefined || !this.limit.take(now)) return false
    // A router speaks for itself; the port's own host speaks of ports.
    const from = (reason === 'refused' ? undefined : this.options.sourceFor(to)) ?? about
    this.options.counters.icmpErrorsOut++
    const type = to.family === 4 ? v4.UNREACHABLE : v6.V6_UNREACHABLE
    this.options.reply(errorPacket(from, to, type, code, 0, quote))
    return true
  }
}
