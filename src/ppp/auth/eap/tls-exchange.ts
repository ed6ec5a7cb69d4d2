/**
 * Flights of TLS in packets of EAP, at either end: what EAP-TLS and PEAP have in common.
 *
 * One packet asks, one answers. A flight that has come whole goes to the engine; when that has nothing more to do,
 * the owner looks at what it has become, and answers with the next flight, or an empty one.
 */
import { u8 } from '../../../../stack/bytes.js'
import { PppError } from '../../errors.js'
import type { EapMethodHost } from './method.js'
import type { TlsEngine, TlsEngineError, TlsEngineFactory } from './tls-engine.js'
import { FlightReader, FlightWriter, TlsFlag } from './tls-fragments.js'

const NONE = new Uint8Array(0)

/** Flights in one conversation: a handshake has four, PEAP about ten more, and EAP-TLS inside it as many again. */
const MAX_FLIGHTS = 64
/** Starts behind the first: a server may have lost what it knew, or number what it repeats anew. */
const MAX_RESTARTS = 1

export interface TlsExchangeOptions {
  readonly role: 'client' | 'server'
  /** For people: `EAP-TLS`. */
  readonly label: string
  /** See TlsEngineOptions. */
  readonly clientCertificate: boolean
  /**
   * The engine has done what it could with the last flight, which was an empty one if `empty`; or with what was
   * written to it: see {@link TlsExchange.flush}.
   */
  readonly settled: (now: number, empty: boolean) => void
  /** Flights of the handshake tell their length, also those that need not. */
  readonly announce?: boolean
  /** Client: the server starts anew. True: all that was so far is forgotten, so that it can; false: it is too late. */
  readonly restart?: () => boolean
}

export class TlsExchange {
  readonly #host: EapMethodHost
  readonly #options: TlsExchangeOptions
  readonly #factory: TlsEngineFactory
  #reader = new FlightReader()
  readonly #writer = new FlightWriter()
  #engine: TlsEngine | undefined
  /** The engine is at work on something that will be answered. */
  #waiting = false
  #empty = false
  #flights = 0
  #restarts = 0

  constructor(host: EapMethodHost, factory: TlsEngineFactory, options: TlsExchangeOptions) {
    this.#host = host
    this.#factory = factory
    this.#options = options
  }

  /** Undefined until the exchange has begun. */
  get engine(): TlsEngine | undefined {
    return this.#engine
  }

  /** Server: sends the first Request. */
  start(): void {
    this.#begin()
    this.#host.send(Uint8Array.of(TlsFlag.S))
  }

  #begin(): void {
    const { role, clientCertificate } = this.#options
    this.#engine = this.#factory({ role, clientCertificate, onActivity: this.#host.onActivity })
  }

  /** As {@link EapMethod.input}. */
  input(b: Uint8Array, off: number, len: number, now: number): boolean {
    if (this.#waiting) return false
    if (this.#engine !== undefined && len > 0 && (u8(b, off) & TlsFlag.S) !== 0) return this.#startAgain(now)
    const kind = this.#reader.input(b, off, len)
    if (kind === 'start') {
      if (this.#options.role === 'server') return false
      this.#greet(now)
      return true
    }
    const engine = this.#engine
    if (engine === undefined) return false
    if (kind === 'bad') {
      this.#fail(this.#reader.problem)
      return true
    }
    if (this.#writer.waiting) {
      if (kind === 'empty') this.#host.send(this.#writer.next(this.#host.limit))
      else this.#fail('data that comes in the middle of our flight')
      return true
    }
    if (kind === 'more') {
      this.#host.send(Uint8Array.of(0))
      return true
    }
    this.#flights += 1
    if (this.#flights > MAX_FLIGHTS) {
      this.#fail('a conversation without end')
      return true
    }
    const flight = kind === 'whole' ? this.#reader.take() : NONE
    if (flight.length > 0) engine.receive(flight, 0, flight.length)
    this.#waiting = true
    this.#empty = flight.length === 0
    this.activity(now)
    return true
  }

  #greet(now: number): void {
    this.#begin()
    this.flush()
    this.activity(now)
  }

  /** A Start that only repeats the last Request (RFC 3748 4.1) is answered before it comes here: this is a new one. */
  #startAgain(now: number): boolean {
    if (this.#options.restart?.() !== true) return false
    this.#restarts += 1
    if (this.#restarts > MAX_RESTARTS) {
      this.#fail('it starts again and again')
      return true
    }
    this.#engine?.destroy()
    this.#reader = new FlightReader()
    this.#writer.load(NONE)
    this.#greet(now)
    return true
  }

  /** Something was written to the engine: what comes of it will be told by `settled`. */
  flush(): void {
    this.#waiting = true
    this.#empty = false
  }

  activity(now: number): void {
    if (!this.#waiting || this.#engine?.busy !== false) return
    this.#waiting = false
    this.#options.settled(now, this.#empty)
  }

  /** Sends all that the engine has to say; an empty packet if that is nothing. */
  send(): void {
    const announced = this.#options.announce === true && this.#engine?.state === 'handshake'
    this.#writer.load(this.#engine?.take() ?? NONE, announced)
    this.#host.send(this.#writer.next(this.#host.limit))
  }

  #fail(what: string): void {
    const { label } = this.#options
    this.#host.failed(new PppError('auth', 'AUTH_TLS', `${this.#other} broke the rules of ${label}: ${what}`))
  }

  get #other(): string {
    return this.#options.role === 'client' ? 'the server' : 'the client'
  }

  /** What the end of TLS means, for people. */
  error(error: TlsEngineError | undefined): PppError {
    const { label, role } = this.#options
    const other = this.#other
    if (error === undefined)
      return new PppError('auth', 'AUTH_TLS', `${other} ended TLS in ${label} too early`)
    const { kind, code, message } = error
    if (kind === 'untrusted') {
      const who = role === 'client' ? 'the authentication server' : 'the client'
      return new PppError('auth', 'AUTH_UNTRUSTED', `${who} of ${label} is not trusted: ${message}`)
    }
    if (kind !== 'alert') return new PppError('auth', 'AUTH_TLS', `TLS in ${label}: ${message}`)
    const certificate = /CERT|UNKNOWN_CA|ACCESS_DENIED/.test(code) && role === 'client'
    const verb = certificate ? 'refused us' : 'ended TLS'
    return new PppError(
      'auth',
      certificate ? 'AUTH_REFUSED' : 'AUTH_TLS',
      `${other} ${verb} in ${label}: ${message}`,
    )
  }

  close(): void {
    this.#waiting = false
    this.#engine?.destroy()
  }
}

/** Octets of MSK and EMSK (RFC 5216 2.3). */
const KEYING_MATERIAL = 128

/**
 * MSK and EMSK: with TLS 1.2 of RFC 5216 2.3, and with 1.3 of RFC 9190 2.3 (EAP-TLS) and RFC 9427 2.1 (PEAP), which
 * differ in `type`. Undefined if there is none. A secret.
 */
export function keyingMaterial(engine: TlsEngine, type: number): Uint8Array | undefined {
  return engine.protocol === 'TLSv1.3'
    ? engine.exportKeyingMaterial(KEYING_MATERIAL, 'EXPORTER_EAP_TLS_Key_Material', Uint8Array.of(type))
    : engine.exportKeyingMaterial(KEYING_MATERIAL, 'client EAP encryption')
}
