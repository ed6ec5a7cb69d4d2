/**
 * CHAP frames (RFC 1994 4) and its state on both ends, for CHAP-MD5 and, by {@link ChapAlgorithm}, MS-CHAPv2.
 *
 * ```
 * 1 Challenge, 2 Response   value size (1) | value | name (rest)
 * 3 Success, 4 Failure      message (rest)
 * ```
 */
import { createHash } from 'node:crypto'
import { copyOf, setU8, u8 } from '../../../stack/bytes.js'
import { CONTROL_HEADER } from '../control.js'
import { PppError, peerText } from '../errors.js'
import { Protocol } from '../frame.js'
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

export const ChapCode = { CHALLENGE: 1, RESPONSE: 2, SUCCESS: 3, FAILURE: 4 } as const

const NEVER = Number.POSITIVE_INFINITY
const encoder = new TextEncoder()

/** What a client made of a challenge. */
export interface ChapResponse {
  readonly value: Uint8Array
  readonly hlak: Uint8Array
  /** The beginning that a Success message must have to show that the server knows the password; empty: none. */
  readonly proof: string
}

/** What a server made of a response. */
export interface ChapCheck {
  readonly right: boolean
  readonly hlak: Uint8Array
  /** Message of the Success. */
  readonly success: string
}

export interface ChapAlgorithm {
  /** For people. */
  readonly label: string
  /** The size that a challenge must have; 0: any but none. */
  readonly challengeSize: number
  readonly responseSize: number
  respond(id: number, challenge: Uint8Array, random: (dst: Uint8Array) => void): ChapResponse
  check(id: number, challenge: Uint8Array, value: Uint8Array, user: string, password: string): ChapCheck
  /** Message of a Failure. */
  failure(random: (dst: Uint8Array) => void): string
  /** The error that a Failure message means. */
  refused(message: string): PppError
}

/** The value of a Response: MD5(identifier | secret | challenge) (RFC 1994 4.1). */
export function chapMd5(id: number, secret: string, challenge: Uint8Array): Uint8Array {
  const hash = createHash('md5')
  hash.update(Uint8Array.of(id)).update(encoder.encode(secret)).update(challenge)
  return new Uint8Array(hash.digest())
}

/** The body of a Challenge or Response. */
export function chapValue(value: Uint8Array, name: Uint8Array): Uint8Array {
  const body = new Uint8Array(1 + value.length + name.length)
  setU8(body, 0, value.length)
  body.set(value, 1)
  body.set(name, 1 + value.length)
  return body
}

export function md5Algorithm(password: string): ChapAlgorithm {
  const hlak = new Uint8Array(NO_KEY_LENGTH)
  return {
    label: 'CHAP-MD5',
    challengeSize: 0,
    responseSize: 16,
    respond: (id, challenge) => ({ value: chapMd5(id, password, challenge), hlak, proof: '' }),
    check: (id, challenge, value, _user, secret) => ({
      right: sameBytes(chapMd5(id, secret, challenge), value),
      hlak,
      success: 'Welcome',
    }),
    failure: () => 'Wrong user name or password',
    refused(message) {
      const detail = message === '' ? '' : ` (server says: ${message})`
      return new PppError('auth', 'AUTH_REFUSED', `wrong user name or password${detail}`)
    },
  }
}

/** Length of a Challenge's or Response's value at `b[o .. o + len)`, or -1 if it does not fit. */
function valueLength(b: Uint8Array, o: number, len: number): number {
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

  input(b: Uint8Array, o: number, len: number): void {
    const id = u8(b, o + 1)
    const at = o + CONTROL_HEADER
    const length = len - CONTROL_HEADER
    switch (u8(b, o)) {
      case ChapCode.CHALLENGE:
        this.#challenged(id, b, at, length)
        break
      case ChapCode.SUCCESS:
        if (this.undecided && id === this.#id) this.#success(b, at, length)
        break
      case ChapCode.FAILURE:
        if (!this.undecided || id !== this.#id) break
        this.#decided()
        this.#host.failed(this.#algorithm.refused(peerText(b, at, length)))
        break
    }
  }

  #challenged(id: number, b: Uint8Array, o: number, len: number): void {
    const size = valueLength(b, o, len)
    const wanted = this.#algorithm.challengeSize
    if (size < 1 || (wanted !== 0 && size !== wanted)) return
    const challenge = copyOf(b, o + 1, o + 1 + size)
    const again = id === this.#id && this.#challenge !== undefined && sameBytes(this.#challenge, challenge)
    if (!again || this.#response === undefined) {
      this.#id = id
      this.#challenge = challenge
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
    const size = response.proof.length
    // Behind the proof comes text for people, or nothing.
    const proof = new TextDecoder('latin1').decode(b.subarray(o, o + Math.min(len, size)))
    if (!sameBytes(encoder.encode(proof.toUpperCase()), encoder.encode(response.proof))) {
      const message = 'the server failed to prove that it knows the password: it may be an impostor'
      this.#host.failed(new PppError('auth', 'AUTH_SERVER_UNPROVEN', message))
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

/** The authenticator of RFC 1994. A wrong response ends the call. */
export class ChapServer implements AuthMethod {
  readonly protocol = Protocol.CHAP
  readonly undecided = false
  readonly #host: AuthHost
  readonly #algorithm: ChapAlgorithm
  readonly #name: Uint8Array
  readonly #lookup: (user: string) => string | undefined
  #id = 0
  readonly #challenge = new Uint8Array(16)
  #sends = 0
  #resendAt = NEVER
  #refuseAt = NEVER
  /** A response was found wrong: nothing more is looked at. */
  #refused = false
  /** The message of the Success, once there was one: a repeated Response means that it was lost. */
  #success: string | undefined

  constructor(
    host: AuthHost,
    serverName: string,
    algorithm: ChapAlgorithm,
    lookup: (user: string) => string | undefined,
  ) {
    this.#host = host
    this.#algorithm = algorithm
    this.#name = encoder.encode(serverName).subarray(0, MAX_NAME)
    this.#lookup = lookup
  }

  start(now: number): void {
    const id = new Uint8Array(1)
    this.#host.random(id)
    this.#id = u8(id, 0)
    this.#host.random(this.#challenge)
    this.#send(now)
  }

  #send(now: number): void {
    this.#sends += 1
    this.#resendAt = now + AUTH_RESEND
    this.#host.send(ChapCode.CHALLENGE, this.#id, chapValue(this.#challenge, this.#name))
  }

  input(b: Uint8Array, o: number, len: number, now: number): void {
    if (u8(b, o) !== ChapCode.RESPONSE || u8(b, o + 1) !== this.#id || this.#refused) return
    if (this.#success !== undefined) {
      this.#host.send(ChapCode.SUCCESS, this.#id, encoder.encode(this.#success))
      return
    }
    const at = o + CONTROL_HEADER
    const length = len - CONTROL_HEADER
    const size = valueLength(b, at, length)
    if (size !== this.#algorithm.responseSize) return
    const user = new TextDecoder().decode(b.subarray(at + 1 + size, at + length))
    const known = this.#lookup(user)
    const value = copyOf(b, at + 1, at + 1 + size)
    // Equal work and equal answers, whether or not there is such a user.
    const result = this.#algorithm.check(this.#id, this.#challenge, value, user, known ?? '')
    this.#resendAt = NEVER
    if (known === undefined || !result.right) {
      this.#refused = true
      this.#refuseAt = now + REFUSAL_DELAY
      return
    }
    this.#success = result.success
    this.#host.send(ChapCode.SUCCESS, this.#id, encoder.encode(result.success))
    this.#host.succeeded(user, result.hlak)
  }

  nextTimeout(): number {
    return Math.min(this.#resendAt, this.#refuseAt)
  }

  handleTimeout(now: number): void {
    if (now >= this.#refuseAt) {
      this.#refuseAt = NEVER
      const message = this.#algorithm.failure(this.#host.random)
      this.#host.send(ChapCode.FAILURE, this.#id, encoder.encode(message))
      this.#host.failed(
        new PppError('auth', 'AUTH_REFUSED', 'the client has no right user name and password'),
      )
      return
    }
    if (now < this.#resendAt) return
    if (this.#sends < AUTH_MAX_SENDS) {
      this.#send(now)
      return
    }
    this.#resendAt = NEVER
    this.#host.failed(new PppError('auth', 'NO_ANSWER', 'the client does not answer our challenge'))
  }
}
