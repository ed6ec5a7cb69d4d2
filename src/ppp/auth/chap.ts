/**
 * CHAP frames (RFC 1994 4) and the client's side, for CHAP-MD5 and MS-CHAPv2 by {@link ChapAlgorithm}.
 *
 * ```
 * 1 Challenge, 2 Response   value size (1) | value | name (rest)
 * 3 Success, 4 Failure      message (rest)
 * 7 Change-Password         582 octets, of MS-CHAPv2 only (RFC 2759 7)
 * ```
 */
import { copyOf, setU8, u8 } from '../../../stack/bytes.js'
import { CONTROL_HEADER } from '../control.js'
import { PppError, peerText } from '../errors.js'
import { Protocol } from '../frame.js'
import { AUTH_TIMEOUT, type AuthHost, type AuthMethod, MAX_NAME, sameBytes } from './method.js'

export const ChapCode = { CHALLENGE: 1, RESPONSE: 2, SUCCESS: 3, FAILURE: 4, CHANGE_PASSWORD: 7 } as const

const NEVER = Number.POSITIVE_INFINITY
const encoder = new TextEncoder()

/** What a client made of a challenge, or of a Failure. */
export interface ChapResponse {
  /** Of a Response; or all of a Change-Password (RFC 2759 7) behind its header. */
  readonly value: Uint8Array
  readonly hlak: Uint8Array
  /** Whether this Success message shows that the server knows the password, as far as the algorithm has such. */
  proves(b: Uint8Array, off: number, len: number): true | PppError
}

/** A client's side of an algorithm. */
export interface ChapAlgorithm {
  /** For people. */
  readonly label: string
  /** The size that a challenge must have; 0: any but none. */
  readonly challengeSize: number
  respond(id: number, challenge: Uint8Array, random: (dst: Uint8Array) => void): ChapResponse
  /** What a Failure message means; or what changes the password, and the call goes on. */
  failed(message: string, random: (dst: Uint8Array) => void): PppError | ChapResponse
}

/** The body of a Challenge or Response. */
export function chapValue(value: Uint8Array, name: Uint8Array): Uint8Array {
  const body = new Uint8Array(1 + value.length + name.length)
  setU8(body, 0, value.length)
  body.set(value, 1)
  body.set(name, 1 + value.length)
  return body
}

/** Length of a Challenge's or Response's value at `b[o .. o + len)`, or -1 if it does not fit. */
export function valueLength(b: Uint8Array, o: number, len: number): number {
  if (len < 1) return -1
  return 1 + u8(b, o) > len ? -1 : u8(b, o)
}

/**
 * The peer of RFC 1994: answers every Challenge, also a repeated one and one in the open link, and believes a
 * Success only if it fits.
 */
export class ChapClient implements AuthMethod {
  readonly protocol = Protocol.CHAP
  undecided = false
  readonly #host: AuthHost
  readonly #algorithm: ChapAlgorithm
  readonly #user: string
  #name: Uint8Array = new Uint8Array(0)
  #id = -1
  #challenge: Uint8Array | undefined
  #response: ChapResponse | undefined
  /** The identifier of the Failure that a Change-Password has answered. */
  #changedFrom = -1
  #deadline = NEVER

  constructor(host: AuthHost, user: string, algorithm: ChapAlgorithm) {
    this.#host = host
    this.#user = user
    this.#algorithm = algorithm
  }

  start(now: number): void {
    this.#name = encoder.encode(this.#user)
    if (this.#name.length > MAX_NAME) {
      const message = `a user name may have at most ${MAX_NAME} octets`
      this.#host.failed(new PppError('auth', 'AUTH_CREDENTIALS', message, 'local'))
      return
    }
    this.#deadline = now + AUTH_TIMEOUT
  }

  input(b: Uint8Array, o: number, len: number, now: number): void {
    const id = u8(b, o + 1)
    const at = o + CONTROL_HEADER
    const length = len - CONTROL_HEADER
    switch (u8(b, o)) {
      case ChapCode.CHALLENGE:
        this.#challenged(id, b, at, length, now)
        break
      case ChapCode.SUCCESS:
        if (this.undecided && id === this.#id) this.#success(b, at, length)
        break
      case ChapCode.FAILURE:
        if (this.undecided) this.#failure(id, b, at, length, now)
        break
    }
  }

  #failure(id: number, b: Uint8Array, o: number, len: number, now: number): void {
    if (id === this.#changedFrom && this.#response !== undefined) {
      // Our answer to it was lost.
      this.#host.send(ChapCode.CHANGE_PASSWORD, this.#id, this.#response.value)
      return
    }
    if (id !== this.#id) return
    const next = this.#algorithm.failed(peerText(b, o, len), this.#host.random)
    if (next instanceof PppError) {
      this.#decided()
      this.#host.failed(next)
      return
    }
    this.#changedFrom = id
    this.#id = (id + 1) & 255
    this.#challenge = undefined
    this.#response = next
    this.#deadline = now + AUTH_TIMEOUT
    this.#host.send(ChapCode.CHANGE_PASSWORD, this.#id, next.value)
  }

  #challenged(id: number, b: Uint8Array, o: number, len: number, now: number): void {
    const size = valueLength(b, o, len)
    const wanted = this.#algorithm.challengeSize
    if (size < 1 || (wanted !== 0 && size !== wanted)) return
    const challenge = copyOf(b, o + 1, o + 1 + size)
    const again = id === this.#id && this.#challenge !== undefined && sameBytes(this.#challenge, challenge)
    if (!again || this.#response === undefined) {
      // The challenge that a Failure has answered, once more, late
      if (id === this.#changedFrom && this.undecided) return
      this.#id = id
      this.#changedFrom = -1
      this.#challenge = challenge
      // In the open link nobody waits for the verdict.
      if (this.#deadline !== NEVER) this.#deadline = now + AUTH_TIMEOUT
      this.#response = this.#algorithm.respond(id, challenge, this.#host.random)
    }
    // A repeated challenge gets the same response: the Success to the first may be on its way already.
    this.undecided = true
    this.#host.send(ChapCode.RESPONSE, id, chapValue(this.#response.value, this.#name))
  }

  #success(b: Uint8Array, o: number, len: number): void {
    const response = this.#response
    if (response === undefined) return
    this.#decided()
    const proven = response.proves(b, o, len)
    if (proven !== true) {
      this.#host.failed(proven)
      return
    }
    this.#host.succeeded(this.#user, response.hlak)
  }

  #decided(): void {
    this.undecided = false
    this.#deadline = NEVER
  }

  nextTimeout(): number {
    return this.#deadline
  }

  handleTimeout(now: number): void {
    if (now < this.#deadline) return
    this.#deadline = NEVER
    const what = this.undecided ? 'no answer to our response' : 'the server sent no challenge'
    this.#host.failed(new PppError('auth', 'NO_ANSWER', `${this.#algorithm.label}: ${what}`))
  }
}
