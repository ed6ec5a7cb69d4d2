/**
 * EAP-MSCHAPv2, type 26 (draft-kamath-pppext-eap-mschapv2-02), from either end:
 *
 * ```
 * op code (1) | MS-CHAPv2 identifier (1) | MS length (2, from the op code on) | data
 * op code (1)                             answers to Success and Failure
 * ```
 */
import { copyOf, setU8, setU16, u8 } from '../../../../stack/bytes.js'
import { PppError, peerText } from '../../errors.js'
import type { Authenticator, AuthVerdict } from '../authenticator.js'
import { AUTH_LABEL, MAX_NAME, REFUSAL_DELAY } from '../method.js'
import {
  CHALLENGE_SIZE,
  CHANGE_SIZE,
  change,
  changed,
  changeWanted,
  failureChallenge,
  failureError,
  failureMessage,
  type MsChapV2Answer,
  type MsChapV2Credentials,
  mayChange,
  onceOnly,
  parseFailure,
  proves,
  RESPONSE_SIZE,
  Reason,
  respond,
  unproven,
} from '../mschapv2.js'
import { Question, refusalOf } from '../question.js'
import { type EapKeys, type EapMethod, type EapMethodChoice, type EapMethodHost, EapType } from './method.js'

const NEVER = Number.POSITIVE_INFINITY
const encoder = new TextEncoder()

export const MsOp = { CHALLENGE: 1, RESPONSE: 2, SUCCESS: 3, FAILURE: 4, CHANGE_PASSWORD: 7 } as const

const HEADER = 4
const NAME = 'eap-mschapv2'
const LABEL = AUTH_LABEL[NAME]

/** A message with its header. */
export function msPacket(op: number, id: number, data: Uint8Array): Uint8Array {
  const packet = new Uint8Array(HEADER + data.length)
  setU8(packet, 0, op)
  setU8(packet, 1, id)
  setU16(packet, 2, packet.length)
  packet.set(data, HEADER)
  return packet
}

/** value size (1) | value | name, of Challenge and Response. */
export function msValue(value: Uint8Array, name: Uint8Array): Uint8Array {
  const data = new Uint8Array(1 + value.length + name.length)
  setU8(data, 0, value.length)
  data.set(value, 1)
  data.set(name, 1 + value.length)
  return data
}

/** A higher-layer key as the two that it is made of. */
function keysOf(hlak: Uint8Array): EapKeys {
  return { send: copyOf(hlak, 0, 16), receive: copyOf(hlak, 16, 32) }
}

/** The client's side. */
export function eapMsChapV2Peer(credentials: MsChapV2Credentials): EapMethodChoice {
  return {
    type: EapType.MSCHAPV2,
    name: NAME,
    label: LABEL,
    create: (host) => new EapMsChapV2Peer(host, credentials),
  }
}

class EapMsChapV2Peer implements EapMethod {
  readonly type = EapType.MSCHAPV2
  readonly name = NAME
  readonly label = LABEL
  undecided = false
  readonly #host: EapMethodHost
  readonly #credentials: MsChapV2Credentials
  #answer: MsChapV2Answer | undefined
  #changing = false
  #error: PppError | undefined

  constructor(host: EapMethodHost, credentials: MsChapV2Credentials) {
    this.#host = host
    this.#credentials = credentials
  }

  start(): void {
    if (encoder.encode(this.#credentials.user).length <= MAX_NAME) return
    const message = `a user name may have at most ${MAX_NAME} octets`
    this.#host.failed(new PppError('auth', 'AUTH_CREDENTIALS', message, 'local'))
  }

  /** EAP's length is believed, the one inside is not: some servers have it wrong. */
  input(b: Uint8Array, off: number, len: number): boolean {
    if (len < HEADER) return false
    const id = u8(b, off + 1)
    switch (u8(b, off)) {
      case MsOp.CHALLENGE:
        return this.#challenged(id, b, off + HEADER, len - HEADER)
      case MsOp.SUCCESS:
        return this.#succeeded(b, off + HEADER, len - HEADER)
      case MsOp.FAILURE:
        return this.#failed(id, peerText(b, off + HEADER, len - HEADER))
      default:
        return false
    }
  }

  #challenged(id: number, b: Uint8Array, off: number, len: number): boolean {
    if (len < 1 + CHALLENGE_SIZE || u8(b, off) !== CHALLENGE_SIZE || this.#changing) return false
    const challenge = copyOf(b, off + 1, off + 1 + CHALLENGE_SIZE)
    this.#answer = respond(this.#credentials, challenge, this.#host.random)
    this.undecided = true
    const name = encoder.encode(this.#credentials.user)
    this.#host.send(msPacket(MsOp.RESPONSE, id, msValue(this.#answer.value, name)))
    return true
  }

  #succeeded(b: Uint8Array, off: number, len: number): boolean {
    const answer = this.#answer
    if (answer === undefined) return false
    if (!proves(answer, b, off, len)) {
      this.#host.failed(unproven())
      return true
    }
    if (this.#changing) changed(this.#credentials)
    this.#changing = false
    this.undecided = false
    this.#host.succeeded({ keys: keysOf(answer.hlak), user: '', certain: true })
    this.#host.send(Uint8Array.of(MsOp.SUCCESS))
    return true
  }

  #failed(id: number, message: string): boolean {
    // Nothing was said that could be refused, or all is decided.
    if (!this.undecided) return false
    const { newPassword } = this.#credentials
    const fields = parseFailure(message)
    const challenge = failureChallenge(fields)
    const sent = this.#changing
    if (
      !sent &&
      newPassword !== undefined &&
      challenge !== undefined &&
      mayChange(this.#credentials, fields)
    ) {
      this.#changing = true
      this.#answer = change(this.#credentials, newPassword, challenge, this.#host.random)
      this.#host.send(msPacket(MsOp.CHANGE_PASSWORD, (id + 1) & 255, this.#answer.value))
      return true
    }
    // Never another try with the same password, not even if R=1 invites to it.
    this.#error = failureError(message, sent ? 'sent' : newPassword === undefined ? 'none' : 'given')
    this.#host.send(Uint8Array.of(MsOp.FAILURE))
    this.#host.failed(this.#error)
    return true
  }

  refusal(): PppError | undefined {
    return this.#error
  }

  activity(): void {}

  nextTimeout(): number {
    return NEVER
  }

  handleTimeout(): void {}

  close(): void {}
}

/** The server's side. `name`: what the server calls itself. */
export function eapMsChapV2Server(name: string, authenticator: Authenticator): EapMethodChoice {
  return {
    type: EapType.MSCHAPV2,
    name: NAME,
    label: LABEL,
    create: (host) => new EapMsChapV2Server(host, name, authenticator),
  }
}

class EapMsChapV2Server implements EapMethod {
  readonly type = EapType.MSCHAPV2
  readonly name = NAME
  readonly label = LABEL
  readonly #host: EapMethodHost
  readonly #serverName: Uint8Array
  readonly #question: Question
  #id = 0
  #challenge: Uint8Array = new Uint8Array(CHALLENGE_SIZE)
  #user = ''
  #wanted: 'response' | 'change' | 'success' | 'failure' | 'nothing' = 'nothing'
  /** A change was asked for already. */
  #changing = false
  #accepted: { readonly user: string; readonly keys: EapKeys } | undefined
  #refusal: AuthVerdict | undefined
  #error: PppError | undefined
  #refuseAt = NEVER

  constructor(host: EapMethodHost, name: string, authenticator: Authenticator) {
    this.#host = host
    this.#serverName = encoder.encode(name).subarray(0, MAX_NAME)
    this.#question = new Question(authenticator, host.onActivity)
  }

  /** The client was told no, and may hang up before it says that it has heard. */
  get undecided(): boolean {
    return this.#error !== undefined
  }

  start(): void {
    const id = new Uint8Array(1)
    this.#host.random(id)
    this.#id = u8(id, 0)
    this.#host.random(this.#challenge)
    this.#wanted = 'response'
    this.#host.send(msPacket(MsOp.CHALLENGE, this.#id, msValue(this.#challenge, this.#serverName)))
  }

  input(b: Uint8Array, off: number, len: number, now: number): boolean {
    if (len < 1) return false
    const op = u8(b, off)
    switch (this.#wanted) {
      case 'response':
        return op === MsOp.RESPONSE && this.#responded(b, off + HEADER, len - HEADER, now)
      case 'change':
        if (op === MsOp.FAILURE) {
          this.#host.failed(refusalOf({ kind: 'reject' }))
          return true
        }
        return op === MsOp.CHANGE_PASSWORD && this.#changed(b, off + HEADER, len - HEADER, now)
      case 'success':
        return this.#confirmed(op)
      case 'failure':
        if (op !== MsOp.FAILURE) return false
        this.#wanted = 'nothing'
        if (this.#error !== undefined) this.#host.failed(this.#error)
        return true
      case 'nothing':
        return false
    }
  }

  #responded(b: Uint8Array, off: number, len: number, now: number): boolean {
    if (len < 1 + RESPONSE_SIZE || u8(b, off) !== RESPONSE_SIZE) return false
    const nameAt = off + 1 + RESPONSE_SIZE
    this.#user = new TextDecoder().decode(b.subarray(nameAt, Math.min(off + len, nameAt + MAX_NAME)))
    this.#wanted = 'nothing'
    const verdict = this.#question.ask(
      {
        kind: 'mschapv2',
        user: this.#user,
        id: this.#id,
        challenge: copyOf(this.#challenge, 0, CHALLENGE_SIZE),
        response: copyOf(b, off + 1, nameAt),
      },
      now,
    )
    if (verdict !== undefined) this.#decide(verdict, now)
    return true
  }

  #changed(b: Uint8Array, off: number, len: number, now: number): boolean {
    if (len < CHANGE_SIZE) return false
    this.#wanted = 'nothing'
    const verdict = this.#question.ask(
      {
        kind: 'mschapv2-change',
        user: this.#user,
        id: (this.#id + 1) & 255,
        challenge: copyOf(this.#challenge, 0, CHALLENGE_SIZE),
        change: copyOf(b, off, off + CHANGE_SIZE),
      },
      now,
    )
    if (verdict !== undefined) this.#decide(verdict, now)
    return true
  }

  #decide(verdict: AuthVerdict, now: number): void {
    if (verdict.kind === 'accept' && verdict.success !== undefined && verdict.hlak !== undefined) {
      this.#accepted = { user: verdict.user ?? this.#user, keys: keysOf(verdict.hlak) }
      this.#wanted = 'success'
      this.#host.send(msPacket(MsOp.SUCCESS, this.#id, encoder.encode(verdict.success)))
      return
    }
    const failure = verdict.kind === 'reject' ? verdict.failure : undefined
    const challenge = changeWanted(failure)
    if (failure !== undefined && challenge !== undefined && !this.#changing) {
      this.#changing = true
      this.#challenge = challenge
      this.#wanted = 'change'
      this.#host.send(msPacket(MsOp.FAILURE, this.#id, encoder.encode(failure)))
      return
    }
    this.#refusal =
      verdict.kind === 'accept'
        ? { kind: 'error', message: 'the authenticator says yes to MS-CHAPv2 without proof or key' }
        : verdict
    this.#refuseAt = now + REFUSAL_DELAY
  }

  #confirmed(op: number): boolean {
    const accepted = this.#accepted
    if (accepted === undefined) return false
    if (op === MsOp.SUCCESS) {
      this.#wanted = 'nothing'
      this.#host.succeeded({ ...accepted, certain: true })
      return true
    }
    if (op !== MsOp.FAILURE) return false
    this.#wanted = 'nothing'
    const message = 'the client does not believe that we know the password'
    this.#host.failed(new PppError('auth', 'AUTH_REFUSED', message))
    return true
  }

  #refuse(verdict: AuthVerdict): void {
    this.#error = refusalOf(verdict)
    const challenge = new Uint8Array(CHALLENGE_SIZE)
    this.#host.random(challenge)
    const given = verdict.kind === 'reject' ? verdict.failure : undefined
    const message = onceOnly(given ?? failureMessage(Reason.WRONG, challenge))
    this.#wanted = 'failure'
    this.#host.send(msPacket(MsOp.FAILURE, this.#id, encoder.encode(message)))
  }

  refusal(): PppError | undefined {
    return this.#error
  }

  activity(now: number): void {
    const verdict = this.#question.take(now)
    if (verdict !== undefined) this.#decide(verdict, now)
  }

  nextTimeout(): number {
    return Math.min(this.#refuseAt, this.#question.nextTimeout())
  }

  handleTimeout(now: number): void {
    this.activity(now)
    if (now < this.#refuseAt || this.#refusal === undefined) return
    this.#refuseAt = NEVER
    this.#refuse(this.#refusal)
  }

  close(): void {
    this.#refuseAt = NEVER
    this.#question.close()
  }
}
