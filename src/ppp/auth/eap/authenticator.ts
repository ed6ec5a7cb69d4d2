/**
 * The authenticator of EAP (RFC 3748) with methods of its own: identity, one method, Success or Failure. What
 * passes everything on to RADIUS is in `relay.ts`. It knows nothing of what carries the packets.
 */
import { copyOf, u8 } from '../../../../stack/bytes.js'
import { PppError } from '../../errors.js'
import { AUTH_MAX_SENDS, AUTH_RESEND, MAX_NAME, REFUSAL_DELAY, sameBytes } from '../method.js'
import {
  EAP_HEADER,
  EapCode,
  type EapKeys,
  type EapMethod,
  type EapMethodChoice,
  type EapMethodHost,
  EapType,
} from './method.js'
import { eapEnd, eapPacket } from './packet.js'

const NEVER = Number.POSITIVE_INFINITY
const NONE = new Uint8Array(0)
/** Rounds of one conversation. */
const MAX_ROUNDS = 400

export interface EapAuthenticatorHost {
  readonly random: (dst: Uint8Array) => void
  /** Octets that a whole packet may have; at least 1020. */
  readonly limit: number
  /** A whole packet; the array is the host's. */
  send(packet: Uint8Array): void
  succeeded(choice: EapMethodChoice, user: string, keys: EapKeys | undefined): void
  failed(error: PppError): void
  note(message: string): void
  readonly onActivity: () => void
}

export interface EapAuthenticatorOptions {
  /** Best first. */
  readonly methods: readonly EapMethodChoice[]
  /**
   * Inside PEAP: nothing is repeated, and neither Success nor Failure is sent, the host being told of both at once;
   * false by default.
   */
  readonly inner?: boolean
}

export class EapAuthenticator {
  readonly #host: EapAuthenticatorHost
  readonly #options: EapAuthenticatorOptions
  #id = 0
  #request: Uint8Array = NONE
  /** Type of the Response that is waited for; -1: none is. */
  #expected = -1
  #answered: Uint8Array = NONE
  #choice: EapMethodChoice | undefined
  #method: EapMethod | undefined
  readonly #tried = new Set<number>()
  /** The method has had no answer yet: a Nak may come. */
  #first = false
  #identity = ''
  #rounds = 0
  #end: Uint8Array | undefined
  #over = false
  #now = 0
  #sends = 0
  #resendAt = NEVER
  #failAt = NEVER
  #error: PppError | undefined

  constructor(host: EapAuthenticatorHost, options: EapAuthenticatorOptions) {
    this.#host = host
    this.#options = options
  }

  /** Asks who is there. */
  start(now: number): void {
    this.#now = now
    const id = new Uint8Array(1)
    this.#host.random(id)
    this.#id = u8(id, 0)
    this.#ask(EapType.IDENTITY, NONE)
  }

  #ask(type: number, data: Uint8Array): void {
    this.#rounds += 1
    if (this.#rounds > MAX_ROUNDS) {
      this.#fail(new PppError('auth', 'NOT_CONVERGING', 'EAP goes on and on'))
      return
    }
    this.#id = (this.#id + 1) & 255
    this.#request = eapPacket(EapCode.REQUEST, this.#id, type, data)
    this.#expected = type
    this.#sends = 0
    this.#transmit()
  }

  #transmit(): void {
    this.#sends += 1
    this.#resendAt = this.#options.inner === true ? NEVER : this.#now + AUTH_RESEND
    this.#host.send(copyOf(this.#request, 0, this.#request.length))
  }

  /** A whole packet, its length already checked. What does not fit is dropped. */
  input(b: Uint8Array, off: number, len: number, now: number): void {
    this.#now = now
    if (len < EAP_HEADER || u8(b, off) !== EapCode.RESPONSE || u8(b, off + 1) !== this.#id) return
    if (this.#end !== undefined) {
      // Our Success was lost.
      if (sameBytes(this.#answered, b.subarray(off, off + len)))
        this.#host.send(copyOf(this.#end, 0, this.#end.length))
      return
    }
    if (this.#over || this.#error !== undefined || this.#expected < 0) return
    const type = u8(b, off + 4)
    const at = off + EAP_HEADER
    const size = len - EAP_HEADER
    if (type === EapType.NAK && this.#first) {
      this.#take(b, off, len)
      this.#refused(b, at, size)
      return
    }
    if (type !== this.#expected) return
    const resendAt = this.#resendAt
    this.#take(b, off, len)
    if (type === EapType.IDENTITY) {
      this.#identified(b, at, size)
      return
    }
    const method = this.#method
    if (method === undefined || method.input(b, at, size, now)) this.#first = false
    else {
      this.#expected = type
      this.#resendAt = resendAt
    }
  }

  #take(b: Uint8Array, off: number, len: number): void {
    this.#expected = -1
    this.#resendAt = NEVER
    this.#answered = copyOf(b, off, off + len)
  }

  #identified(b: Uint8Array, off: number, len: number): void {
    this.#identity = new TextDecoder().decode(b.subarray(off, off + Math.min(len, MAX_NAME)))
    this.#begin(this.#options.methods[0])
  }

  /** RFC 3748 5.3.1: the types that the peer would like, 0 for none. */
  #refused(b: Uint8Array, off: number, len: number): void {
    this.#method?.close()
    this.#method = undefined
    let wish: EapMethodChoice | undefined
    for (let i = 0; i < len && wish === undefined; i += 1) {
      const type = u8(b, off + i)
      wish = this.#options.methods.find((choice) => choice.type === type && !this.#tried.has(type))
    }
    this.#begin(wish)
  }

  #begin(choice: EapMethodChoice | undefined): void {
    if (choice === undefined) {
      const enabled = this.#options.methods.map((one) => one.label).join(', ') || 'nothing'
      const message = `the client wants no EAP method that is enabled here: ${enabled}`
      this.#fail(new PppError('auth', 'AUTH_METHOD', message, 'local'))
      return
    }
    const host = this.#host
    this.#choice = choice
    this.#tried.add(choice.type)
    this.#first = true
    const mine: EapMethodHost = {
      random: host.random,
      get limit(): number {
        return host.limit - EAP_HEADER
      },
      send: (data) => {
        if (this.#method === method && this.#expected < 0) this.#ask(choice.type, data)
      },
      succeeded: ({ user, keys }) => {
        if (this.#method === method) this.#succeed(choice, user === '' ? this.#identity : user, keys)
      },
      failed: (error) => {
        if (this.#method === method) this.#fail(error)
      },
      note: (message) => host.note(message),
      onActivity: host.onActivity,
    }
    const method = choice.create(mine)
    this.#method = method
    method.start(this.#now)
  }

  #succeed(choice: EapMethodChoice, user: string, keys: EapKeys | undefined): void {
    this.close()
    if (this.#options.inner !== true) {
      this.#end = eapEnd(EapCode.SUCCESS, this.#id)
      this.#host.send(copyOf(this.#end, 0, this.#end.length))
    }
    this.#host.succeeded(choice, user, keys)
  }

  #fail(error: PppError): void {
    if (this.#over || this.#error !== undefined) return
    this.#method?.close()
    this.#method = undefined
    this.#expected = -1
    this.#resendAt = NEVER
    this.#error = error
    if (this.#options.inner === true) this.#refuse()
    else this.#failAt = this.#now + REFUSAL_DELAY
  }

  #refuse(): void {
    const error = this.#error
    if (error === undefined || this.#over) return
    this.close()
    if (this.#options.inner !== true) this.#host.send(eapEnd(EapCode.FAILURE, this.#id))
    this.#host.failed(error)
  }

  /** Who the peer says it is. */
  get identity(): string {
    return this.#identity
  }

  /** Why the peer has been told no, if it has but did not confirm it. */
  refusal(): PppError | undefined {
    return this.#error ?? this.#method?.refusal()
  }

  get choice(): EapMethodChoice | undefined {
    return this.#choice
  }

  activity(now: number): void {
    this.#now = now
    this.#method?.activity(now)
  }

  nextTimeout(): number {
    return Math.min(this.#resendAt, this.#failAt, this.#method?.nextTimeout() ?? NEVER)
  }

  handleTimeout(now: number): void {
    this.#now = now
    this.#method?.handleTimeout(now)
    if (now >= this.#failAt) {
      this.#failAt = NEVER
      this.#refuse()
      return
    }
    if (now < this.#resendAt) return
    this.#resendAt = NEVER
    if (this.#sends < AUTH_MAX_SENDS) {
      this.#transmit()
      return
    }
    const error = new PppError('auth', 'NO_ANSWER', 'the client does not answer our EAP request')
    this.close()
    this.#host.failed(error)
  }

  /** The end, in any case. */
  close(): void {
    this.#over = true
    this.#expected = -1
    this.#resendAt = NEVER
    this.#failAt = NEVER
    this.#method?.close()
    this.#method = undefined
  }
}
