import type { ProxyLimits } from './client.js'

/** Counts what clients hold, in all and for each address that they come from. */
export class Quota {
  readonly #limit: number
  readonly #perAddress: number
  readonly #held = new Map<string, number>()
  #used = 0

  constructor(limit: number, perAddress: number) {
    this.#limit = limit
    this.#perAddress = perAddress
  }

  get used(): number {
    return this.#used
  }

  /** False: there is no room for another; nothing was taken. */
  take(address: string): boolean {
    const held = this.#held.get(address) ?? 0
    if (this.#used >= this.#limit || held >= this.#perAddress) return false
    this.#used++
    this.#held.set(address, held + 1)
    return true
  }

  /** Gives one back that was taken. */
  give(address: string): void {
    const held = this.#held.get(address) ?? 0
    if (held === 0) return
    this.#used--
    if (held === 1) this.#held.delete(address)
    else this.#held.set(address, held - 1)
  }
}

/** What the clients of one proxy share. */
export interface SocksQuotas {
  readonly binds: Quota
  readonly associations: Quota
}

export function socksQuotas(limits: ProxyLimits): SocksQuotas {
  return {
    binds: new Quota(limits.binds, limits.bindsPerAddress),
    associations: new Quota(limits.associations, limits.associationsPerAddress),
  }
}
