/**
 * Bounds on guessing passwords: by source address and by account. Sans-I/O.
 *
 * A password that is looked at is charged before the answer is known, and refunded when it was right: a client
 * that hangs up before it hears the refusal has had its try all the same.
 */

/** What is owed wears off by one every `interval`; above `burst` nothing more is lent. */
export interface DebtLimits {
  readonly burst: number
  /** Milliseconds. */
  readonly interval: number
}

/** Debts of many, one number each: when it will be paid off (generic cell rate algorithm). */
export class Debts {
  readonly #limits: DebtLimits
  readonly #most: number
  readonly #paidAt = new Map<string, number>()

  /** `most`: debtors that are remembered. */
  constructor(limits: DebtLimits, most: number) {
    this.#limits = limits
    this.#most = most
  }

  get size(): number {
    return this.#paidAt.size
  }

  /** May one more be charged? */
  allows(key: string, now: number): boolean {
    const { burst, interval } = this.#limits
    return (this.#paidAt.get(key) ?? now) - now <= (burst - 1) * interval
  }

  charge(key: string, now: number): void {
    const { interval } = this.#limits
    const known = this.#paidAt.get(key)
    if (known === undefined && this.#paidAt.size >= this.#most) this.#forget(now)
    this.#paidAt.set(key, Math.max(known ?? now, now) + interval)
  }

  refund(key: string, now: number): void {
    const known = this.#paidAt.get(key)
    if (known === undefined) return
    const paidAt = known - this.#limits.interval
    if (paidAt > now) this.#paidAt.set(key, paidAt)
    else this.#paidAt.delete(key)
  }

  /** All that is paid, or, if nothing is, the smallest debt: whoever owes much cannot be pushed out by crowds. */
  #forget(now: number): void {
    let least: string | undefined
    let earliest = Number.POSITIVE_INFINITY
    for (const [key, paidAt] of this.#paidAt) {
      if (paidAt <= now) this.#paidAt.delete(key)
      else if (paidAt < earliest) {
        earliest = paidAt
        least = key
      }
    }
    if (this.#paidAt.size >= this.#most && least !== undefined) this.#paidAt.delete(least)
  }
}

/** Why a try is refused unseen. */
export type Refusal = 'address' | 'account'

export class LoginGuard {
  readonly #off: boolean
  readonly #sources: Debts
  readonly #accounts: Debts
  /** Debts of users at addresses from which they have signed in before. */
  readonly #pairs: Debts
  /** Sources with the users who have signed in from there, the latest last. */
  readonly #known = new Map<string, Set<string>>()

  /** `failures`: wrong passwords of one address until it must wait; 0: no bounds at all. */
  constructor(failures: number = DEFAULT_FAILURES) {
    this.#off = failures === 0
    this.#sources = new Debts({ burst: failures, interval: SOURCE_INTERVAL }, MOST)
    this.#pairs = new Debts({ burst: failures, interval: SOURCE_INTERVAL }, MOST)
    this.#accounts = new Debts({ burst: 2 * failures, interval: ACCOUNT_INTERVAL }, MOST)
  }

  /** Is there any use in letting this source come as far as its password? */
  mayConnect(source: string, now: number): boolean {
    return this.#off || this.#known.has(source) || this.#sources.allows(source, now)
  }

  /**
   * A password is about to be looked at. A refusal is to be told in no other way than that of a wrong password.
   * Users at addresses where they have signed in before have an account of their own here, so that nobody
   * elsewhere can lock them out.
   */
  tried(source: string, user: string, now: number): Refusal | undefined {
    if (this.#off) return undefined
    const account = accountKey(user)
    if (this.#known.get(source)?.has(account) === true) {
      const pair = `${source} ${account}`
      if (!this.#pairs.allows(pair, now)) return 'address'
      this.#pairs.charge(pair, now)
      return undefined
    }
    if (!this.#sources.allows(source, now)) return 'address'
    this.#sources.charge(source, now)
    if (!this.#accounts.allows(account, now)) return 'account'
    this.#accounts.charge(account, now)
    return undefined
  }

  /** A try that was charged is none: nobody could be asked, or the password has only expired. */
  withdraw(source: string, user: string, now: number): void {
    if (this.#off) return
    const account = accountKey(user)
    if (this.#known.get(source)?.has(account) === true) {
      this.#pairs.refund(`${source} ${account}`, now)
      return
    }
    this.#sources.refund(source, now)
    this.#accounts.refund(account, now)
  }

  /** The try that was charged last was right. Those before it were not, and stay charged. */
  succeeded(source: string, user: string, now: number): void {
    if (this.#off) return
    const account = accountKey(user)
    const users = this.#known.get(source) ?? new Set()
    this.withdraw(source, user, now)
    users.delete(account)
    users.add(account)
    trim(users, MOST_USERS)
    this.#known.delete(source)
    this.#known.set(source, users)
    trim(this.#known, MOST)
  }
}

/** Directories do not tell `Alice` from `alice`; a name of any length costs no more than the longest that may be. */
function accountKey(user: string): string {
  return user.slice(0, MAX_NAME).normalize('NFC').toLowerCase()
}

/** Drops the oldest above `most`. */
function trim(keys: Map<string, unknown> | Set<string>, most: number): void {
  for (const key of keys.keys()) {
    if (keys.size <= most) return
    keys.delete(key)
  }
}

export const DEFAULT_FAILURES = 10
/** Milliseconds after which an address has another try, and an account from addresses that are new to it. */
const SOURCE_INTERVAL = 60_000
const ACCOUNT_INTERVAL = 10_000
/** Addresses, accounts and pairs remembered. */
const MOST = 4096
const MOST_USERS = 64
const MAX_NAME = 255
