/**
 * A pass-through authenticator (RFC 3748 2.3, RFC 3579): asks for the identity, and from then on carries the
 * client's Responses to an {@link Authenticator} and its Requests back. Repetitions are its own affair.
 */
import { copyOf, u8 } from '../../../../stack/bytes.js'
import { CONTROL_HEADER, controlLength } from '../../control.js'
import { PppError } from '../../errors.js'
import { Protocol } from '../../frame.js'
import type { Authenticator, AuthVerdict } from '../authenticator.js'
import {
  AUTH_MAX_SENDS,
  AUTH_RESEND,
  type AuthHost,
  type AuthMethod,
  type AuthName,
  MAX_NAME,
  REFUSAL_DELAY,
  sameBytes,
} from '../method.js'
import { Question, refusalOf } from '../question.js'
import { EAP_HEADER, EapCode, EapType, HLAK_LENGTH } from './method.js'
import { eapEnd, eapPacket } from './packet.js'

const NEVER = Number.POSITIVE_INFINITY
const MAX_ROUNDS = 400

const NAMES: ReadonlyMap<number, AuthName> = new Map([
  [EapType.TLS, 'eap-tls'],
  [EapType.PEAP, 'peap'],
  [EapType.MSCHAPV2, 'eap-mschapv2'],
])

export class EapRelay implements AuthMethod {
  readonly protocol = Protocol.EAP
  readonly undecided = false
  readonly #host: AuthHost
  readonly #question: Question
  #request: Uint8Array = new Uint8Array(0)
  #waiting = false
  #answered: Uint8Array | undefined
  #identity: string | undefined
  /** Of the last Request that was of a method. */
  #type = 0
  #rounds = 0
  #sends = 0
  #resendAt = NEVER
  #refuseAt = NEVER
  #refusal: AuthVerdict | undefined
  #end: Uint8Array | undefined

  constructor(host: AuthHost, authenticator: Authenticator) {
    this.#host = host
    this.#question = new Question(authenticator, host.onActivity)
  }

  start(now: number): void {
    const id = new Uint8Array(1)
    this.#host.random(id)
    this.#ask(eapPacket(EapCode.REQUEST, u8(id, 0), EapType.IDENTITY, new Uint8Array(0)), now)
  }

  #ask(packet: Uint8Array, now: number): void {
    this.#request = packet
    this.#waiting = true
    this.#sends = 0
    this.#transmit(now)
  }

  #transmit(now: number): void {
    this.#sends += 1
    this.#resendAt = now + AUTH_RESEND
    this.#say(this.#request)
  }

  #say(packet: Uint8Array): void {
    this.#host.send(u8(packet, 0), u8(packet, 1), copyOf(packet, CONTROL_HEADER, packet.length))
  }

  input(b: Uint8Array, o: number, len: number, now: number): void {
    if (len < EAP_HEADER || u8(b, o) !== EapCode.RESPONSE) return
    const packet = copyOf(b, o, o + len)
    if (this.#end !== undefined) {
      // It was lost.
      if (this.#answered !== undefined && sameBytes(this.#answered, packet)) this.#say(this.#end)
      return
    }
    if (!this.#waiting || u8(b, o + 1) !== u8(this.#request, 1)) return
    if (this.#identity === undefined) {
      if (u8(b, o + 4) !== EapType.IDENTITY) return
      const at = o + EAP_HEADER
      this.#identity = new TextDecoder().decode(b.subarray(at, at + Math.min(len - EAP_HEADER, MAX_NAME)))
    }
    this.#waiting = false
    this.#resendAt = NEVER
    this.#answered = packet
    const verdict = this.#question.ask(
      { kind: 'eap', user: this.#identity, packet: copyOf(packet, 0, len) },
      now,
    )
    if (verdict !== undefined) this.#decide(verdict, now)
  }

  #decide(verdict: AuthVerdict, now: number): void {
    switch (verdict.kind) {
      case 'challenge':
        this.#challenge(verdict.packet, now)
        return
      case 'accept': {
        this.#end = ending(verdict.packet, EapCode.SUCCESS, u8(this.#request, 1))
        this.#say(this.#end)
        const hlak = verdict.hlak ?? new Uint8Array(HLAK_LENGTH)
        const user = verdict.user ?? this.#identity ?? ''
        this.#host.succeeded(user, hlak, NAMES.get(this.#type) ?? 'eap', verdict.otherHlak)
        return
      }
      default:
        this.#refusal = verdict
        this.#refuseAt = now + REFUSAL_DELAY
    }
  }

  #challenge(packet: Uint8Array, now: number): void {
    this.#rounds += 1
    const length = controlLength(packet, 0, packet.length)
    const fits = length === packet.length && length >= EAP_HEADER && u8(packet, 0) === EapCode.REQUEST
    if (!fits || length > this.#host.limit || this.#rounds > MAX_ROUNDS) {
      const message = fits
        ? length > this.#host.limit
          ? `an EAP packet of ${length} octets does not fit into this link's ${this.#host.limit}`
          : 'EAP goes on and on'
        : 'the authenticator sent no proper EAP request'
      this.#decide({ kind: 'error', message }, now)
      return
    }
    const type = u8(packet, 4)
    if (type > EapType.NAK) this.#type = type
    this.#ask(copyOf(packet, 0, length), now)
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
      const { packet } = this.#refusal.kind === 'reject' ? this.#refusal : { packet: undefined }
      this.#say(ending(packet, EapCode.FAILURE, u8(this.#request, 1)))
      this.#host.failed(refusalOf(this.#refusal))
      return
    }
    if (now < this.#resendAt) return
    if (this.#sends < AUTH_MAX_SENDS) {
      this.#transmit(now)
      return
    }
    this.#resendAt = NEVER
    this.#waiting = false
    this.#host.failed(new PppError('auth', 'NO_ANSWER', 'the client does not answer our EAP request'))
  }

  close(): void {
    this.#question.close()
  }
}

/** The end as the authenticator says it, if that is one; else one of our own. */
function ending(packet: Uint8Array | undefined, code: number, id: number): Uint8Array {
  if (packet !== undefined && packet.length === CONTROL_HEADER && u8(packet, 0) === code) return packet
  return eapEnd(code, id)
}
