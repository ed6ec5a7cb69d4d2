/** How much of something each of many has, none more than a limit. Who has nothing takes no room. */
export class Shares {
  readonly #limit: number
  readonly #taken = new Map<string, number>()

  constructor(limit: number) {
    this.#limit = limit
  }

  /** False: `who` has as many already. Everything that is taken must be given back. */
  take(who: string): boolean {
    const taken = this.#taken.get(who) ?? 0
    if (taken >= this.#limit) return false
    this.#taken.set(who, taken + 1)
    return true
  }

  give(who: string): void {
    const left = (this.#taken.get(who) ?? 0) - 1
    if (left > 0) this.#taken.set(who, left)
    else this.#taken.delete(who)
  }
}
