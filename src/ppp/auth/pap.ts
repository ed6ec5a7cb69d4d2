/**
 * PAP (RFC 1334 2). The password passes readable for the other end.
 *
 * ```
 * 1 Request   user length (1) | user | password length (1) | password
 * 2 Ack       message length (1) | message
 * 3 Nak       the same; message and even its length may be missing
 * ```
 */
import { createHash } from 'node:crypto'
import { copyOf, setU8, u8 } from '../../../stack/bytes.js'
import { CONTROL_HEADER } from '../control.js'
import { PppError, peerText } from '../errors.js'
import { Protocol } from '../frame.js'
import type { Authenticator, AuthVerdict } from './authenticator.js'
import {
  AUTH_MAX_SENDS,
  AUTH_RESEND,
  AUTH_TIMEOUT,
  type AuthHost,
  type AuthMethod,
  MAX_NAME,
  NO_KEY_LENGTH,
  REFUSAL_DELAY,
  sameBytes,
} from './method.js'
import { Question, refusalOf } from './question.js'

export const PapCode = { REQUEST: 1, ACK: 2, NAK: 3 } as const

/** Refusals that a client gets before the call ends. */
const MAX_TRIES = 3
const NEVER = Number.POSITIVE_INFINITY
const encoder = new TextEncoder()

/** The body of an Authenticate-Request, or undefined if user or password are longer than 255 octets. */
export function papRequest(user: string, password: string): Uint8Array | undefined {
  const name = encoder.encode(user)
  const secret = encoder.encode(password)
  if (name.length > MAX_NAME || secret.length > MAX_NAME) return undefined
  const body = new Uint8Array(2 + name.length + secret.length)
  setU8(body, 0, name.length)
  body.set(name, 1)
  setU8(body, 1 + name.length, secret.length)
  body.set(secret, 2 + name.length)
  return body
}

/** The message of an Ack or Nak at `b[o .. o + len)`, as much of it as is there. */
function papMessage(b: Uint8Array, o: number, len: number): string {
  return len < 1 ? '' : peerText(b, o + 1, Math.min(u8(b, o), len - 1))
}

export class PapClient implements AuthMethod {
  readonly protocol = Protocol.PAP
  undecided = false
  readonly #host: AuthHost
  readonly #user: string
  readonly #password: string
  #body: Uint8Array | undefined
  #id = 0
  #sends = 0
  #resendAt = NEVER
  #deadline = NEVER

  constructor(host: AuthHost, user: string, password: string) {
    this.#host = host
    this.#user = user
    this.#password = password
  }

  start(now: number): void {
    this.#body = papRequest(this.#user, this.#password)
    if (this.#body === undefined) {
      const message = `PAP carries at most ${MAX_NAME} octets of user name and of password`
      this.#host.failed(new PppError('auth', 'AUTH_CREDENTIALS', message, 'local'))
      return
    }
    this.#id = 1
    this.undecided = true
    this.#deadline = now + AUTH_TIMEOUT
    this.#send(now)
  }

  #send(now: number): void {
    if (this.#body === undefined) return
    this.#sends += 1
    this.#resendAt = this.#sends < AUTH_MAX_SENDS ? now + AUTH_RESEND : NEVER
    this.#host.send(PapCode.REQUEST, this.#id, this.#body)
  }

  input(b: Uint8Array, o: number, len: number): void {
    if (!this.undecided || u8(b, o + 1) !== this.#id) return
    const code = u8(b, o)
    if (code !== PapCode.ACK && code !== PapCode.NAK) return
    this.undecided = false
    this.#resendAt = NEVER
    this.#deadline = NEVER
    if (code === PapCode.ACK) {
      this.#host.succeeded(this.#user, new Uint8Array(NO_KEY_LENGTH))
      return
    }
    const said = papMessage(b, o + CONTROL_HEADER, len - CONTROL_HEADER)
    const detail = said === '' ? '' : ` (server says: ${said})`
    this.#host.failed(new PppError('auth', 'AUTH_REFUSED', `wrong user name or password${detail}`))
  }

  nextTimeout(): number {
    return Math.min(this.#resendAt, this.#deadline)
  }

  handleTimeout(now: number): void {
    if (now >= this.#deadline) {
      this.#deadline = NEVER
      this.#resendAt = NEVER
      this.#host.failed(new PppError('auth', 'NO_ANSWER', 'no answer to our PAP request'))
    } else if (now >= this.#resendAt) this.#send(now)
  }
}

export class PapServer implements AuthMethod {
  readonly protocol = Protocol.PAP
  readonly undecided = false
  readonly #host: AuthHost
  readonly #question: Question
  #deadline = NEVER
  #tries = 0
  #done = false
  #user = ''
  /** The request last decided on, as a hash, and what was said: a retransmission is no second try. */
  #last: Uint8Array | undefined
  #answer: { readonly code: number; readonly text: string } | undefined
  #refuseAt = NEVER
  #refusal: AuthVerdict | undefined
  #id = 0

  constructor(host: AuthHost, authenticator: Authenticator) {
    this.#host = host
    this.#question = new Question(authenticator, host.onActivity)
  }

  start(now: number): void {
    this.#deadline = now + AUTH_TIMEOUT
  }

  input(b: Uint8Array, o: number, len: number, now: number): void {
    if (u8(b, o) !== PapCode.REQUEST || this.#refuseAt !== NEVER || this.#question.open) return
    const at = o + CONTROL_HEADER
    const end = o + len
    if (at >= end) return
    const passwordAt = at + 1 + u8(b, at)
    if (passwordAt >= end || passwordAt + 1 + u8(b, passwordAt) > end) return
    const id = u8(b, o + 1)
    const digest = sha256(b.subarray(o, end))
    if (this.#last !== undefined && this.#answer !== undefined && sameBytes(this.#last, digest)) {
      this.#say(this.#answer, id)
      return
    }
    if (this.#done) return
    this.#last = digest
    this.#answer = undefined
    this.#id = id
    this.#user = new TextDecoder().decode(b.subarray(at + 1, passwordAt))
    const password = copyOf(b, passwordAt + 1, passwordAt + 1 + u8(b, passwordAt))
    const verdict = this.#question.ask({ kind: 'pap', user: this.#user, password }, now)
    if (verdict === undefined) this.#deadline = NEVER
    else this.#decide(verdict, now)
  }

  #decide(verdict: AuthVerdict, now: number): void {
    if (verdict.kind === 'accept') {
      this.#done = true
      this.#deadline = NEVER
      this.#answer = { code: PapCode.ACK, text: verdict.message ?? 'Welcome' }
      this.#say(this.#answer, this.#id)
      this.#host.succeeded(verdict.user ?? this.#user, verdict.hlak ?? new Uint8Array(NO_KEY_LENGTH))
      return
    }
    if (this.#deadline === NEVER) this.#deadline = now + AUTH_TIMEOUT
    const text = verdict.kind === 'reject' ? verdict.message : undefined
    this.#answer = { code: PapCode.NAK, text: text ?? 'Wrong user name or password' }
    this.#tries += 1
    this.#refusal = verdict
    this.#refuseAt = now + REFUSAL_DELAY
  }

  #say({ code, text }: { readonly code: number; readonly text: string }, id: number): void {
    const message = encoder.encode(text).subarray(0, MAX_NAME)
    const body = new Uint8Array(1 + message.length)
    setU8(body, 0, message.length)
    body.set(message, 1)
    this.#host.send(code, id, body)
  }

  activity(now: number): void {
    const verdict = this.#question.take(now)
    if (verdict !== undefined) this.#decide(verdict, now)
  }

  nextTimeout(): number {
    return Math.min(this.#deadline, this.#refuseAt, this.#question.nextTimeout())
  }

  handleTimeout(now: number): void {
    this.activity(now)
    if (now >= this.#refuseAt) {
      this.#refuseAt = NEVER
      if (this.#answer !== undefined) this.#say(this.#answer, this.#id)
      const verdict = this.#refusal
      if (verdict !== undefined && (this.#tries >= MAX_TRIES || verdict.kind === 'error')) {
        this.#deadline = NEVER
        this.#done = true
        this.#host.failed(refusalOf(verdict))
        return
      }
    }
    if (now < this.#deadline) return
    this.#deadline = NEVER
    const code = this.#tries > 0 ? 'AUTH_REFUSED' : 'NO_ANSWER'
    this.#host.failed(new PppError('auth', code, 'the client did not authenticate in time'))
  }

  close(): void {
    this.#question.close()
  }
}

function sha256(data: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(data).digest())
}
