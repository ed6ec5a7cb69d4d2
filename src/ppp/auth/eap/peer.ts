/**
 * The peer of EAP (RFC 3748, and 4137 for its states): answers one Request at a time, and believes a Success or
 * Failure only if its method can. It knows nothing of what carries the packets: PPP, or the tunnel of PEAP.
 */
import { copyOf, u8 } from '../../../../stack/bytes.js'
import { PppError, peerText } from '../../errors.js'
import { AUTH_TIMEOUT, sameBytes } from '../method.js'
import {
  EAP_HEADER,
  EapCode,
  type EapKeys,
  type EapMethod,
  type EapMethodChoice,
  type EapMethodHost,
  type EapResult,
  EapType,
} from './method.js'
import { eapPacket, eapTypeName } from './packet.js'

const NEVER = Number.POSITIVE_INFINITY
const NONE = new Uint8Array(0)
const encoder = new TextEncoder()

/** Naks that a server gets: pppd asks for what was refused up to 30 times. */
const MAX_NAKS = 10
/** Requests of one conversation: several TLS flights of 64 KiB in pieces. */
const MAX_REQUESTS = 400
/** Notifications shown. */
const MAX_NOTES = 5
/** Milliseconds in which the Success must come when a Failure has that was not believed. */
const DOUBT = 5000

export interface EapPeerHost {
  readonly random: (dst: Uint8Array) => void
  /** Octets that a whole packet may have; at least 1020. */
  readonly limit: number
  /** A whole Response; the array is the host's. */
  send(packet: Uint8Array): void
  succeeded(choice: EapMethodChoice, keys: EapKeys | undefined): void
  /** Nothing is answered any more. */
  failed(error: PppError): void
  note(message: string): void
  readonly onActivity: () => void
}

export interface EapPeerOptions {
  /** Answer to the Identity request. */
  readonly identity: string
  /** Best first. */
  readonly methods: readonly EapMethodChoice[]
}

export class EapPeer {
  readonly #host: EapPeerHost
  readonly #options: EapPeerOptions
  #choice: EapMethodChoice | undefined
  #method: EapMethod | undefined
  #result: EapResult | undefined
  /** The last Request, and its Response: undefined while that is being made. */
  #request: Uint8Array | undefined
  #response: Uint8Array | undefined
  /** A method is at work on the last Request. */
  #pending = false
  #identified = false
  #refusedType = -1
  #naks = 0
  #requests = 0
  #notes = 0
  #done = false
  #over = false
  /** A Failure came after the method had heard that all is well. */
  #denied = false
  #now = 0
  #deadline = NEVER

  constructor(host: EapPeerHost, options: EapPeerOptions) {
    this.#host = host
    this.#options = options
  }

  /** Something was said that a server may answer by hanging up. */
  get undecided(): boolean {
    if (this.#done || this.#over) return false
    if (this.#denied) return true
    return this.#method?.undecided ?? (this.#identified || this.#naks > 0)
  }

  /** The server is waited for from now on. */
  start(now: number): void {
    this.#now = now
    this.#deadline = now + AUTH_TIMEOUT
  }

  /** A whole packet, its length already checked. What does not fit is dropped (RFC 3748 4.1). */
  input(b: Uint8Array, off: number, len: number, now: number): void {
    this.#now = now
    if (this.#over) return
    switch (u8(b, off)) {
      case EapCode.REQUEST:
        if (len >= EAP_HEADER) this.#requested(b, off, len)
        return
      case EapCode.SUCCESS:
        this.success(now)
        return
      case EapCode.FAILURE:
        this.failure(now)
        return
    }
  }

  #requested(b: Uint8Array, off: number, len: number): void {
    const last = this.#request
    // Some servers use an identifier twice; only the same Request is a repetition.
    if (last !== undefined && sameBytes(last, b.subarray(off, off + len))) {
      if (this.#response !== undefined) this.#host.send(copyOf(this.#response, 0, this.#response.length))
      return
    }
    if (this.#pending) return
    const type = u8(b, off + 4)
    const choice = this.#options.methods.find((one) => one.type === type)
    const anew = this.#done
    if (anew) {
      // In the open link
      if (type !== EapType.IDENTITY && choice === undefined) return
      this.#reset()
    }
    // A method once begun is gone through with (RFC 3748 2.1).
    if (this.#method !== undefined && type !== this.#method.type && type !== EapType.NOTIFICATION) return
    if (type === EapType.NAK || (type === EapType.IDENTITY && this.#naks > 0)) return
    this.#requests += 1
    if (this.#requests > MAX_REQUESTS) {
      const message = `EAP goes on and on: more than ${MAX_REQUESTS} requests`
      this.#fail(new PppError('auth', 'NOT_CONVERGING', message))
      return
    }
    const response = this.#response
    this.#request = copyOf(b, off, off + len)
    this.#response = undefined
    if (this.#handle(type, choice, b, off + EAP_HEADER, len - EAP_HEADER)) {
      if (!this.#over) this.#deadline = this.#now + AUTH_TIMEOUT
      return
    }
    this.#request = last
    this.#response = response
    if (anew) this.#done = true
  }

  /** @returns false: it is as if the Request had not come */
  #handle(
    type: number,
    choice: EapMethodChoice | undefined,
    b: Uint8Array,
    at: number,
    size: number,
  ): boolean {
    if (type === EapType.IDENTITY) {
      this.#identified = true
      this.#answer(type, encoder.encode(this.#options.identity))
      return true
    }
    if (type === EapType.NOTIFICATION) {
      this.#notified(peerText(b, at, size))
      this.#answer(type, NONE)
      return true
    }
    const begins = this.#method === undefined
    if (begins) {
      if (choice === undefined) {
        this.#refuse(type)
        return true
      }
      this.#begin(choice)
    }
    const method = this.#method
    if (method === undefined) return false
    this.#pending = true
    if (begins) method.start(this.#now)
    // Its start can have been its end.
    if (this.#method !== method || method.input(b, at, size, this.#now)) return true
    this.#pending = false
    if (begins) {
      method.close()
      this.#method = undefined
      this.#choice = undefined
    }
    return false
  }

  #notified(text: string): void {
    this.#notes += 1
    if (text !== '' && this.#notes <= MAX_NOTES) this.#host.note(`the server says: ${text}`)
  }

  /**
   * A legacy Nak, also to expanded types (RFC 3748 5.3.1): what we would have, best first. A server that asks for a
   * wrong one again may have read no further than the first of them, as pppd does, so each has its turn in front.
   */
  #refuse(type: number): void {
    this.#refusedType = type
    const types = this.#options.methods.map((choice) => choice.type)
    const front = types.length === 0 ? 0 : this.#naks % types.length
    this.#naks += 1
    const turned = [...types.slice(front), ...types.slice(0, front)]
    this.#answer(EapType.NAK, Uint8Array.from(types.length === 0 ? [0] : turned))
    if (this.#naks >= MAX_NAKS) this.#fail(this.#noMethod())
  }

  #begin(choice: EapMethodChoice): void {
    const host = this.#host
    this.#choice = choice
    const mine: EapMethodHost = {
      random: host.random,
      get limit(): number {
        return host.limit - EAP_HEADER
      },
      send: (data) => {
        if (this.#pending && this.#method === method) this.#answer(choice.type, data)
      },
      succeeded: (result) => {
        if (this.#method === method) this.#result = result
      },
      failed: (error) => {
        if (this.#method === method) this.#fail(error)
      },
      note: (message) => host.note(message),
      onActivity: host.onActivity,
    }
    const method = choice.create(mine)
    this.#method = method
  }

  #answer(type: number, data: Uint8Array): void {
    this.#pending = false
    this.#response = eapPacket(
      EapCode.RESPONSE,
      this.#request === undefined ? 0 : u8(this.#request, 1),
      type,
      data,
    )
    this.#host.send(copyOf(this.#response, 0, this.#response.length))
  }

  /**
   * EAP-Success came, or what stands for it: PEAP's result, the first packet of a network protocol.
   * @returns whether it fits; if not, it is as if nothing had come
   */
  success(now: number): boolean {
    this.#now = now
    const { keys } = this.#result ?? {}
    const choice = this.#choice
    if (this.#over || this.#done || this.#result === undefined || choice === undefined) return false
    this.#done = true
    this.#deadline = NEVER
    this.#pending = false
    this.#method?.close()
    this.#method = undefined
    this.#host.succeeded(choice, keys)
    return true
  }

  /** EAP-Failure came, or what stands for it. */
  failure(now: number): void {
    this.#now = now
    if (this.#over || this.#done) return
    if (this.#result?.certain === true) {
      // The method knows better (RFC 3748 4.2), if a Success comes too: a second factor may have been denied.
      this.#denied = true
      this.#deadline = Math.min(this.#deadline, now + DOUBT)
      return
    }
    this.#fail(this.refusal(''))
  }

  /** Why the server has refused us, now that it has. `said`: its words, if there were any. */
  refusal(said: string): PppError {
    const known = this.#method?.refusal()
    if (known !== undefined) return known
    const words = said === '' ? '' : ` (it says: ${said})`
    if (this.#denied) {
      const message =
        'the server refused us after it had found our proof right: its policy does not let us in, or a second ' +
        'factor was not given'
      return new PppError('auth', 'AUTH_REFUSED', `${message}${words}`)
    }
    if (this.#method === undefined && this.#naks > 0) return this.#noMethod()
    const where = this.#choice === undefined ? 'before it asked for any proof' : `in ${this.#choice.label}`
    const hint =
      this.#choice === undefined
        ? 'it does not know the user name, or has no EAP method for it; --auth mschapv2 does without EAP'
        : 'wrong user name, password or certificate'
    return new PppError('auth', 'AUTH_REFUSED', `the server refused us ${where}: ${hint}${words}`)
  }

  #noMethod(): PppError {
    const enabled = this.#options.methods.map((choice) => choice.label).join(', ') || 'nothing'
    const message = `the server wants ${eapTypeName(this.#refusedType)}; enabled here of EAP: ${enabled}`
    return new PppError('auth', 'AUTH_METHOD', message, 'local')
  }

  #fail(error: PppError): void {
    if (this.#over) return
    this.close()
    this.#host.failed(error)
  }

  /** For a conversation from its beginning. */
  #reset(): void {
    this.#choice = undefined
    this.#result = undefined
    this.#identified = false
    this.#refusedType = -1
    this.#naks = 0
    this.#requests = 0
    this.#denied = false
    this.#done = false
  }

  activity(now: number): void {
    this.#now = now
    this.#method?.activity(now)
  }

  nextTimeout(): number {
    return Math.min(this.#deadline, this.#method?.nextTimeout() ?? NEVER)
  }

  handleTimeout(now: number): void {
    this.#now = now
    this.#method?.handleTimeout(now)
    if (now < this.#deadline) return
    this.#deadline = NEVER
    if (this.#denied) {
      this.#fail(this.refusal(''))
      return
    }
    // A Success may be missing (RFC 3748 4.2), but not sooner: a push on a phone may be waited for behind the proof.
    if (this.#result?.certain === true && this.success(now)) return
    const what =
      this.#request === undefined
        ? 'the server sent no request'
        : this.#pending
          ? `${this.#choice?.label ?? 'EAP'} came to no answer of ours`
          : 'no answer to our response'
    this.#fail(new PppError('auth', 'NO_ANSWER', `EAP: ${what}`))
  }

  /** The end, in any case. */
  close(): void {
    this.#over = true
    this.#deadline = NEVER
    this.#pending = false
    this.#method?.close()
    this.#method = undefined
  }
}
