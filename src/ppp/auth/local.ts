/** Accounts with readable passwords as an {@link Authenticator}: its answers are known at once. */
import { createHash } from 'node:crypto'
import type { Authenticator, AuthPending, AuthRequest, AuthVerdict } from './authenticator.js'
import { chapMd5 } from './chap-md5.js'
import { sameBytes } from './method.js'
import { CHALLENGE_SIZE, check, checkChange, failureMessage, Reason } from './mschapv2.js'

export interface LocalAccounts {
  readonly random: (dst: Uint8Array) => void
  /** The password of a user by the name that the client sent, or undefined if there is no such user. */
  readonly lookup: (user: string) => string | undefined
  readonly changePassword?: ((user: string, password: string) => boolean) | undefined
  readonly expired?: ((user: string) => boolean) | undefined
}

const encoder = new TextEncoder()

export class LocalAuthenticator implements Authenticator {
  readonly eap = false
  readonly #accounts: LocalAccounts

  constructor(accounts: LocalAccounts) {
    this.#accounts = accounts
  }

  ask(request: AuthRequest): AuthPending {
    return { verdict: this.#judge(request), cancel() {} }
  }

  /** Equal work and equal answers, whether or not there is such a user. */
  #judge(request: AuthRequest): AuthVerdict {
    const { user } = request
    const { lookup, expired } = this.#accounts
    const known = lookup(user)
    const password = known ?? ''
    switch (request.kind) {
      case 'pap': {
        const right = sameBytes(sha256(encoder.encode(password)), sha256(request.password))
        return plain(right && known !== undefined, expired?.(user) === true)
      }
      case 'chap': {
        const right = sameBytes(chapMd5(request.id, password, request.challenge), request.response)
        return plain(right && known !== undefined, expired?.(user) === true)
      }
      case 'mschapv2': {
        const { right, hlak, success } = check(request.challenge, request.response, user, password)
        if (known === undefined || !right) return this.#failure(Reason.WRONG)
        return expired?.(user) === true ? this.#failure(Reason.EXPIRED) : { kind: 'accept', hlak, success }
      }
      case 'mschapv2-change': {
        const result = checkChange(request.challenge, request.change, user, password)
        if (known === undefined || result === undefined) return this.#failure(Reason.WRONG)
        const done = this.#accounts.changePassword?.(user, result.password) === true
        if (!done) return this.#failure(Reason.CHANGE)
        return { kind: 'accept', hlak: result.hlak, success: result.success }
      }
      case 'eap':
        return { kind: 'error', message: 'local accounts take no packets of EAP' }
    }
  }

  #failure(reason: number): AuthVerdict {
    const challenge = new Uint8Array(CHALLENGE_SIZE)
    this.#accounts.random(challenge)
    return { kind: 'reject', failure: failureMessage(reason, challenge) }
  }
}

function plain(right: boolean, expired: boolean): AuthVerdict {
  if (!right) return { kind: 'reject' }
  return expired ? { kind: 'reject', message: 'The password has expired' } : { kind: 'accept' }
}

function sha256(data: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(data).digest())
}
