/** IPCP's options (RFC 1332, RFC 1877), from either end. Addresses are 4 octets. */
import { copyOf } from '../../stack/bytes.js'
import { PppError } from './errors.js'
import type { OptionSet, Verdict } from './fsm.js'
import type { OptionWriter } from './option.js'

export const IpcpOption = {
  ADDRESSES: 1,
  COMPRESSION: 2,
  ADDRESS: 3,
  DNS_1: 129,
  NBNS_1: 130,
  DNS_2: 131,
  NBNS_2: 132,
} as const

const UNSPECIFIED = new Uint8Array(4)

const isZero = (address: Uint8Array): boolean => address.every((octet) => octet === 0)
const same = (a: Uint8Array, b: Uint8Array, o: number, len: number): boolean =>
  len === a.length && a.every((octet, i) => octet === b[o + i])

/** The client: asks for an address and two DNS servers, and takes whatever address the server says it has. */
export class IpcpClient implements OptionSet {
  readonly role = 'client'
  /** Ours; 0.0.0.0 until the server has named one. */
  local: Uint8Array = UNSPECIFIED
  /** The server's, if it told. */
  peer: Uint8Array | undefined
  readonly #dns: [Uint8Array | undefined, Uint8Array | undefined] = [UNSPECIFIED, UNSPECIFIED]
  #seenPeer: Uint8Array | undefined

  /** DNS servers that the server gave, the first one first. */
  get dns(): readonly Uint8Array[] {
    return this.#dns.filter((address) => address !== undefined).filter((address) => !isZero(address))
  }

  request(w: OptionWriter): void {
    const [first, second] = this.#dns
    w.put(IpcpOption.ADDRESS, this.local)
    if (first !== undefined) w.put(IpcpOption.DNS_1, first)
    if (second !== undefined) w.put(IpcpOption.DNS_2, second)
  }

  beginRequest(): void {
    this.#seenPeer = undefined
  }

  judge(type: number, b: Uint8Array, o: number, len: number): Verdict {
    if (type !== IpcpOption.ADDRESS || len !== 4) return 'reject'
    const address = copyOf(b, o, o + 4)
    // 0.0.0.0 asks us for an address (RFC 1332 3.3), and we have none to give.
    if (isZero(address)) return 'reject'
    this.#seenPeer = address
    return 'ack'
  }

  endRequest(): undefined {}

  answering(verdict: Verdict): void {
    if (verdict === 'ack') this.peer = this.#seenPeer
  }

  acked(): PppError | undefined {
    return isZero(this.local) ? noAddress('the server gave us no IPv4 address') : undefined
  }

  naked(type: number, b: Uint8Array, o: number, len: number): PppError | undefined {
    if (len !== 4) return undefined
    const address = copyOf(b, o, o + 4)
    switch (type) {
      case IpcpOption.ADDRESS:
        if (isZero(address)) return noAddress('the server has no IPv4 address for us')
        this.local = address
        return undefined
      case IpcpOption.DNS_1:
        // 0.0.0.0 means that there is none; one that was given up stays so.
        if (this.#dns[0] !== undefined) this.#dns[0] = isZero(address) ? undefined : address
        return undefined
      case IpcpOption.DNS_2:
        if (this.#dns[1] !== undefined) this.#dns[1] = isZero(address) ? undefined : address
        return undefined
      default:
        return undefined
    }
  }

  rejected(type: number): PppError | undefined {
    switch (type) {
      case IpcpOption.ADDRESS:
        return noAddress('the server does not give IPv4 addresses')
      case IpcpOption.DNS_1:
        this.#dns[0] = undefined
        return undefined
      case IpcpOption.DNS_2:
        this.#dns[1] = undefined
        return undefined
      default:
        return undefined
    }
  }
}

/** The server: has an address, assigns one, and tells up to two DNS servers. */
export class IpcpServer implements OptionSet {
  readonly role = 'server'
  readonly local: Uint8Array
  /** The client's. */
  readonly peer: Uint8Array
  readonly dns: readonly Uint8Array[]
  #announce = true
  #asked = false

  constructor(local: Uint8Array, peer: Uint8Array, dns: readonly Uint8Array[]) {
    this.local = local
    this.peer = peer
    this.dns = dns.slice(0, 2)
  }

  request(w: OptionWriter): void {
    if (this.#announce) w.put(IpcpOption.ADDRESS, this.local)
  }

  beginRequest(): void {
    this.#asked = false
  }

  judge(type: number, b: Uint8Array, o: number, len: number, nak: OptionWriter): Verdict {
    const value = this.#valueOf(type)
    if (type === IpcpOption.ADDRESS) this.#asked = true
    if (value === undefined) return 'reject'
    if (same(value, b, o, len)) return 'ack'
    nak.putOnce(type, value)
    return 'nak'
  }

  #valueOf(type: number): Uint8Array | undefined {
    switch (type) {
      case IpcpOption.ADDRESS:
        return this.peer
      case IpcpOption.DNS_1:
        return this.dns[0]
      case IpcpOption.DNS_2:
        return this.dns[1]
      default:
        return undefined
    }
  }

  endRequest(nak: OptionWriter): undefined {
    if (!this.#asked) nak.putOnce(IpcpOption.ADDRESS, this.peer)
  }

  answering(): void {}

  acked(): undefined {}

  /** Our own address is not up for discussion; one that was given up is not offered again. */
  naked(): undefined {}

  rejected(type: number): undefined {
    if (type === IpcpOption.ADDRESS) this.#announce = false
  }
}

function noAddress(message: string): PppError {
  return new PppError('ipcp', 'NO_ADDRESS', message)
}
