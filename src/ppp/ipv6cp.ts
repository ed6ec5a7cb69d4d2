/** IPV6CP's one option (RFC 5072 4.1); the same from either end. Interface identifiers are 8 octets. */
import { copyOf } from '../../stack/bytes.js'
import type { OptionSet, Verdict } from './fsm.js'
import type { OptionWriter } from './option.js'

export const Ipv6cpOption = { INTERFACE_ID: 1, COMPRESSION: 2 } as const

const same = (a: Uint8Array, b: Uint8Array): boolean => a.every((octet, i) => octet === b[i])
const isZero = (id: Uint8Array): boolean => id.every((octet) => octet === 0)

export class Ipv6cpOptions implements OptionSet {
  local: Uint8Array
  /** Undefined if the peer does not tell. */
  peer: Uint8Array | undefined
  readonly #random: (dst: Uint8Array) => void
  #negotiate = true
  #renew = false
  #seenPeer: Uint8Array | undefined

  /** `wanted`: 8 octets to begin with. */
  constructor(random: (dst: Uint8Array) => void, wanted?: Uint8Array) {
    this.#random = random
    this.local = wanted?.length === 8 && !isZero(wanted) ? wanted : this.#newId()
  }

  request(w: OptionWriter): void {
    if (!this.#negotiate) return
    if (this.#renew) this.local = this.#newId(this.local)
    this.#renew = false
    w.put(Ipv6cpOption.INTERFACE_ID, this.local)
  }

  beginRequest(): void {
    this.#seenPeer = undefined
  }

  judge(type: number, b: Uint8Array, o: number, len: number, nak: OptionWriter): Verdict {
    if (type !== Ipv6cpOption.INTERFACE_ID) return 'reject'
    const id = copyOf(b, o, o + len)
    const collides = len === 8 && same(id, this.local)
    if (len === 8 && !isZero(id) && !collides) {
      this.#seenPeer = id
      return 'ack'
    }
    // Both chose the same: each end takes another.
    if (collides) this.#renew = true
    if (!nak.has(type)) nak.put(type, this.#newId(this.local))
    return 'nak'
  }

  endRequest(): undefined {}

  answering(verdict: Verdict): void {
    if (verdict === 'ack') this.peer = this.#seenPeer
  }

  acked(): undefined {}

  naked(type: number, b: Uint8Array, o: number, len: number): undefined {
    if (type !== Ipv6cpOption.INTERFACE_ID || len !== 8 || !this.#negotiate) return
    const id = copyOf(b, o, o + 8)
    const taken = this.peer !== undefined && same(id, this.peer)
    if (isZero(id) || taken) this.#renew = true
    else {
      this.#renew = false
      this.local = id
    }
  }

  /** Then it is used without having been agreed on. */
  rejected(type: number): undefined {
    if (type === Ipv6cpOption.INTERFACE_ID) this.#negotiate = false
  }

  /** Not zero, not ours, and not claiming to be globally unique (the u bit of its first octet is clear). */
  #newId(ours?: Uint8Array): Uint8Array {
    const id = new Uint8Array(8)
    this.#random(id)
    id[0] = (id[0] ?? 0) & ~0x02
    for (let i = 0; i < 2 && (isZero(id) || (ours !== undefined && same(id, ours))); i += 1) {
      id[7] = (id[7] ?? 0) + 1
    }
    return id
  }
}
