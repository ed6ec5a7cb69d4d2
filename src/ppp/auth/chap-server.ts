/** The authenticator of RFC 1994, for CHAP-MD5 and MS-CHAPv2. A wrong response ends the call. */
import { copyOf, u8 } from '../../../stack/bytes.js'
import { CONTROL_HEADER } from '../control.js'
import { PppError } from '../errors.js'
import { Protocol } from '../frame.js'
import type { Authenticator, AuthVerdict } from './authenticator.js'
import { ChapCode, chapValue, valueLength } from './chap.js'
import {
  AUTH_MAX_SENDS,
  AUTH_RESEND,
  type AuthHost,
  type AuthMethod,
  MAX_NAME,
  NO_KEY_LENGTH,
  REFUSAL_DELAY,
} from './method.js'
import {
  CHALLENGE_SIZE,
  CHANGE_SIZE,
  changeWanted,
  failureMessage,
  onceOnly,
  RESPONSE_SIZE,
  Reason,
} from './mschapv2.js'
import { Question, refusalOf } from './question.js'

const NEVER = Number.POSITIVE_INFINITY
const MD5_SIZE = 16
const encoder = new TextEncoder()

export class ChapServer implements AuthMethod {
  readonly protocol = Protocol.CHAP
  readonly undecided = false
  readonly #host: AuthHost
  readonly #kind: 'chap' | 'mschapv2'
  readonly #name: Uint8Array
  readonly #question: Question
  #id = 0
  #challenge: Uint8Array = new Uint8Array(CHALLENGE_SIZE)
  #user = ''
  /** What is waited for; `nothing`: a verdict, or the end. */
  #wanted: 'response' | 'change' | 'nothing' = 'nothing'
  /** Repeated until there is an answer. */
  #code: number = ChapCode.CHALLENGE
  #body: Uint8Array = new Uint8Array(0)
  #sends = 0
  #resendAt = NEVER
  #refuseAt = NEVER
  #refusal: AuthVerdict | undefined
  /** The message of the Success, once there was one: a repeated Response means that it was lost. */
  #success: string | undefined

  constructor(host: AuthHost, serverName: string, kind: 'chap' | 'mschapv2', authenticator: Authenticator) {
    this.#host = host
    this.#kind = kind
    this.#name = encoder.encode(serverName).subarray(0, MAX_NAME)
    this.#question = new Question(authenticator, host.onActivity)
  }

  start(now: number): void {
    const id = new Uint8Array(1)
    this.#host.random(id)
    this.#id = u8(id, 0)
    this.#host.random(this.#challenge)
    this.#wanted = 'response'
    this.#begin(ChapCode.CHALLENGE, chapValue(this.#challenge, this.#name), now)
  }

  #begin(code: number, body: Uint8Array, now: number): void {
    this.#code = code
    this.#body = body
    this.#sends = 0
    this.#send(now)
  }

  #send(now: number): void {
    this.#sends += 1
    this.#resendAt = now + AUTH_RESEND
    this.#host.send(this.#code, this.#id, this.#body)
  }

  input(b: Uint8Array, o: number, len: number, now: number): void {
    const code = u8(b, o)
    const id = u8(b, o + 1)
    const at = o + CONTROL_HEADER
    const length = len - CONTROL_HEADER
    if (this.#success !== undefined) {
      const answer = code === ChapCode.RESPONSE || code === ChapCode.CHANGE_PASSWORD
      if (answer && id === this.#id) this.#host.send(ChapCode.SUCCESS, id, encoder.encode(this.#success))
    } else if (code === ChapCode.RESPONSE) {
      if (this.#wanted === 'response' && id === this.#id) this.#response(b, at, length, now)
    } else if (code === ChapCode.CHANGE_PASSWORD) {
      // Its identifier is one more than that of the Failure (RFC 2759 7).
      const next = (this.#id + 1) & 255
      if (this.#wanted === 'change' && id === next && length >= CHANGE_SIZE) this.#change(id, b, at, now)
    }
  }

  #response(b: Uint8Array, at: number, length: number, now: number): void {
    const size = valueLength(b, at, length)
    if (size !== (this.#kind === 'chap' ? MD5_SIZE : RESPONSE_SIZE)) return
    this.#user = new TextDecoder().decode(b.subarray(at + 1 + size, at + length))
    this.#asking()
    const verdict = this.#question.ask(
      {
        kind: this.#kind,
        user: this.#user,
        id: this.#id,
        challenge: copyOf(this.#challenge, 0, this.#challenge.length),
        response: copyOf(b, at + 1, at + 1 + size),
      },
      now,
    )
    if (verdict !== undefined) this.#decide(verdict, now)
  }

  #change(id: number, b: Uint8Array, at: number, now: number): void {
    this.#id = id
    this.#asking()
    const verdict = this.#question.ask(
      {
        kind: 'mschapv2-change',
        user: this.#user,
        id,
        challenge: copyOf(this.#challenge, 0, this.#challenge.length),
        change: copyOf(b, at, at + CHANGE_SIZE),
      },
      now,
    )
    if (verdict !== undefined) this.#decide(verdict, now)
  }

  #asking(): void {
    this.#wanted = 'nothing'
    this.#resendAt = NEVER
  }

  #decide(verdict: AuthVerdict, now: number): void {
    if (verdict.kind === 'accept') {
      this.#success = verdict.success ?? verdict.message ?? 'Welcome'
      this.#host.send(ChapCode.SUCCESS, this.#id, encoder.encode(this.#success))
      this.#host.succeeded(verdict.user ?? this.#user, verdict.hlak ?? new Uint8Array(NO_KEY_LENGTH))
      return
    }
    const failure = verdict.kind === 'reject' ? verdict.failure : undefined
    const challenge = this.#kind === 'mschapv2' ? changeWanted(failure) : undefined
    if (failure !== undefined && challenge !== undefined && this.#code === ChapCode.CHALLENGE) {
      this.#challenge = challenge
      this.#wanted = 'change'
      this.#begin(ChapCode.FAILURE, encoder.encode(failure), now)
      return
    }
    this.#refusal = verdict
    this.#refuseAt = now + REFUSAL_DELAY
  }

  #refuse(verdict: AuthVerdict): void {
    const given = verdict.kind === 'reject' ? verdict : undefined
    let message = given?.message ?? 'Wrong user name or password'
    if (this.#kind === 'mschapv2') {
      const challenge = new Uint8Array(CHALLENGE_SIZE)
      this.#host.random(challenge)
      message = onceOnly(given?.failure ?? failureMessage(Reason.WRONG, challenge))
    }
    this.#host.send(ChapCode.FAILURE, this.#id, encoder.encode(message))
    this.#host.failed(refusalOf(verdict))
  }

  activity(now: number): void {
    const verdict = this.#question.take(now)
    if (verdict !== undefined) this.#decide(verdict, now)
  }

  nextTimeout(): number {
    return Math.min(this.#resendAt, this.#refuseAt, this.#question.nextTimeout())
  }

  handleTimeout(now: number): void {
    this.activity(now)
    if (now >= this.#refuseAt && this.#refusal !== undefined) {
      this.#refuseAt = NEVER
      this.#refuse(this.#refusal)
      return
    }
    if (now < this.#resendAt) return
    if (this.#sends < AUTH_MAX_SENDS) {
      this.#send(now)
      return
    }
    this.#resendAt = NEVER
    this.#wanted = 'nothing'
    const what = this.#code === ChapCode.CHALLENGE ? 'our challenge' : 'that its password has expired'
    this.#host.failed(new PppError('auth', 'NO_ANSWER', `the client does not answer ${what}`))
  }

  close(): void {
    this.#question.close()
  }
}
