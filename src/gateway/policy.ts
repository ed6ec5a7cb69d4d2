import { IpAddress } from '../../stack/index.js'
import type { Endpoint } from '../link/flow.js'

/** Where a client's connection or datagram is to go on. */
export type Destination =
  | { readonly kind: 'host'; readonly endpoint: Endpoint }
  /** The gateway's own DNS forwarder. */
  | { readonly kind: 'dns' }
  | { readonly kind: 'refused' }

const DNS_PORT = 53

/**
 * What clients may reach. Loopback and link-local of the gateway's host are nobody's business; with
 * `allowLoopback` the gateway's own inner address stands for 127.0.0.1, so that services there can be
 * offered on purpose.
 */
export class Policy {
  private readonly own: IpAddress
  private readonly own6: IpAddress | undefined
  private readonly allowLoopback: boolean

  /** `own6`: its inner address of IPv6, which stands for ::1. */
  constructor(own: IpAddress, allowLoopback: boolean, own6?: IpAddress) {
    this.own = own
    this.own6 = own6
    this.allowLoopback = allowLoopback
  }

  judge(to: IpAddress, port: number): Destination {
    if (to.equals(this.own) || this.own6?.equals(to)) {
      if (port === DNS_PORT) return { kind: 'dns' }
      return this.allowLoopback && port > 0
        ? { kind: 'host', endpoint: { address: to.family === 4 ? '127.0.0.1' : '::1', port } }
        : { kind: 'refused' }
    }
    if (!to.isUnicast || to.isLoopback || to.isLinkLocal || port === 0 || isReserved(to))
      return { kind: 'refused' }
    return { kind: 'host', endpoint: { address: to.toString(), port } }
  }
}

/** 240.0.0.0/4, and IPv6 forms that reach IPv4 addresses by another way: mapped, compatible. */
function isReserved(to: IpAddress): boolean {
  if (to.family === 4) return to.w3 >>> 28 === 15
  return to.w0 === 0 && to.w1 === 0 && (to.w2 === 0 || to.w2 === 0xffff)
}

/** The gateway's inner address as the stack takes it. Throws for text that is none: a bug, not input. */
export function ownAddress(text: string): IpAddress {
  const address = IpAddress.parse(text)
  if (address === undefined) throw new TypeError(`${text} is not an IP address`)
  return address
}
