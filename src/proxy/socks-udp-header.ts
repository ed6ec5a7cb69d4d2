import type { Endpoint, HostPort } from '../tunnel/dialer.js'
import { addressLength, emitAddress, MAX_ADDRESS, readAddress } from './socks5.js'

/*
 * A datagram of UDP ASSOCIATE, RFC 1928 7, the same in both directions:
 *
 *   00 00 | fragment | type | address | port (2) | data
 */

/** Octets of the longest header that we write. */
export const MAX_UDP_HEADER = 3 + MAX_ADDRESS

/** Octets of the longest header that a client may write: a name of 255. */
const MAX_READ_HEADER = 3 + 1 + 1 + 255 + 2

/** What {@link UdpDestination.read} says of a datagram that goes nowhere. */
export const UdpFault = { MALFORMED: -1, FRAGMENT: -2 } as const

/**
 * Where a client's datagrams go. Most go where the one before went: then nothing is parsed, and nothing
 * allocated.
 */
export class UdpDestination {
  /** Of the last datagram read. */
  to: HostPort = { host: '', port: 0 }
  readonly #header = new Uint8Array(MAX_READ_HEADER)
  #length = 0

  /** Octets of the header of the datagram `b`, or a {@link UdpFault}. */
  read(b: Uint8Array): number {
    if (this.#isSame(b)) return this.#length
    if (b.length < 4) return UdpFault.MALFORMED
    if (b[2] !== 0) return UdpFault.FRAGMENT
    const length = addressLength(b, 3, b.length)
    if (length < 0) return UdpFault.MALFORMED
    const to = readAddress(b, 3, length)
    if (to.host === '' || to.port === 0) return UdpFault.MALFORMED
    this.to = to
    this.#length = 3 + length
    for (let i = 0; i < this.#length; i++) this.#header[i] = b[i] ?? 0
    return this.#length
  }

  #isSame(b: Uint8Array): boolean {
    const length = this.#length
    if (length === 0 || b.length < length) return false
    // Where two of them differ, they mostly do so in their last octets: port, and end of the address.
    for (let i = length - 1; i >= 0; i--) if (b[i] !== this.#header[i]) return false
    return true
  }
}

/** The header of datagrams from remote hosts, kept from one to the next. */
export class UdpSource {
  readonly #header = new Uint8Array(MAX_UDP_HEADER)
  #length = 0
  #address = ''
  #port = 0

  /** Writes the header for a datagram from there; returns its octets. */
  emit(dst: Uint8Array, o: number, from: Endpoint): number {
    if (this.#length === 0 || from.port !== this.#port || from.address !== this.#address) {
      this.#address = from.address
      this.#port = from.port
      this.#length = 3 + emitAddress(this.#header, 3, from.address, from.port)
    }
    const length = this.#length
    for (let i = 0; i < length; i++) dst[o + i] = this.#header[i] ?? 0
    return length
  }
}
