import { isIPv4 } from 'node:net'

export type PoolErrorCode = 'POOL_INVALID' | 'POOL_NOT_UNICAST' | 'POOL_TOO_SMALL'

/** The range cannot be a pool; the message is one line for people. */
export class PoolError extends Error {
  override readonly name = 'PoolError'
  readonly code: PoolErrorCode
  constructor(code: PoolErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/**
 * The addresses of one IPv4 range: the first host is the gateway's own, the others go to clients.
 *
 * Clients get addresses in turn, not the lowest free one, so that an address given back rests as
 * long as it can and late packets of the last owner do not meet the next one.
 * Network and broadcast address stay out, except in a /31, which has neither (RFC 3021).
 */
export class AddressPool {
  /** Our own address, in text. */
  readonly gateway: string
  /** The range as `network/prefix`. */
  readonly cidr: string
  readonly prefix: number
  /** How many clients fit. */
  readonly size: number
  readonly #first: number
  readonly #last: number
  readonly #taken = new Set<number>()
  #next: number

  /** Throws {@link PoolError} unless `cidr` is an IPv4 network with room for one client. */
  constructor(cidr: string) {
    const { network, prefix } = parseCidr(cidr)
    const length = 2 ** (32 - prefix)
    const own = prefix < 31 ? network + 1 : network
    this.#first = own + 1
    this.#last = network + length - (prefix < 31 ? 2 : 1)
    if (this.#first > this.#last) {
      throw new PoolError('POOL_TOO_SMALL', `${cidr} has no room for a client beside the gateway`)
    }
    this.gateway = toText(own)
    this.cidr = `${toText(network)}/${prefix}`
    this.prefix = prefix
    this.size = this.#last - this.#first + 1
    this.#next = this.#first
  }

  /** How many addresses are handed out. */
  get used(): number {
    return this.#taken.size
  }

  /** The next free address, or undefined if all are taken. */
  take(): string | undefined {
    if (this.#taken.size >= this.size) return undefined
    while (this.#taken.has(this.#next)) this.#advance()
    const address = this.#next
    this.#taken.add(address)
    this.#advance()
    return toText(address)
  }

  /** Hands a certain address out, if it is one for clients and nobody has it. */
  claim(address: string): 'claimed' | 'taken' | 'outside' {
    const value = isIPv4(address) ? toNumber(address) : -1
    if (value < this.#first || value > this.#last) return 'outside'
    if (this.#taken.has(value)) return 'taken'
    this.#taken.add(value)
    return 'claimed'
  }

  /** Gives an address back. False if it was not handed out. */
  release(address: string): boolean {
    return isIPv4(address) && this.#taken.delete(toNumber(address))
  }

  #advance(): void {
    this.#next = this.#next === this.#last ? this.#first : this.#next + 1
  }
}

function parseCidr(text: string): { network: number; prefix: number } {
  const [address, length, ...rest] = text.split('/')
  if (address === undefined || length === undefined || rest.length > 0 || !isIPv4(address)) {
    throw new PoolError('POOL_INVALID', `"${text}" is not an IPv4 range like 192.168.30.0/24`)
  }
  if (!/^(?:[1-9]?[0-9])$/.test(length) || Number(length) > 32) {
    throw new PoolError('POOL_INVALID', `"${text}" has no prefix length from 8 to 31 behind the slash`)
  }
  const prefix = Number(length)
  if (prefix < 8) throw new PoolError('POOL_INVALID', `${text} is too wide for a pool: at least /8`)
  const value = toNumber(address)
  const network = value - (value % 2 ** (32 - prefix))
  if (network !== value) {
    const meant = `${toText(network)}/${prefix}`
    throw new PoolError('POOL_INVALID', `${text} has bits behind its prefix: did you mean ${meant}?`)
  }
  const top = network >>> 24
  if (top === 0 || top === 127 || top >= 224) {
    throw new PoolError('POOL_NOT_UNICAST', `${text} holds no addresses that clients can use`)
  }
  return { network, prefix }
}

function toNumber(text: string): number {
  return text.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0)
}

function toText(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.')
}
