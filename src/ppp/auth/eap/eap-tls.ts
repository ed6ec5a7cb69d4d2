/** EAP-TLS from either end: RFC 5216, and RFC 9190 for TLS 1.3. */
import { copyOf, u8 } from '../../../../stack/bytes.js'
import { PppError } from '../../errors.js'
import { AUTH_LABEL } from '../method.js'
import { type EapKeys, type EapMethod, type EapMethodChoice, type EapMethodHost, EapType } from './method.js'
import type { TlsEngine, TlsEngineFactory } from './tls-engine.js'
import { keyingMaterial, TlsExchange } from './tls-exchange.js'

const NEVER = Number.POSITIVE_INFINITY
const NAME = 'eap-tls'
const LABEL = AUTH_LABEL[NAME]

/** RFC 9190 2.5: nothing more will come of the server's handshake. */
const COMMITMENT = 0

/** The halves of the MSK. Undefined if there is none. */
export function halves(msk: Uint8Array | undefined): EapKeys | undefined {
  return msk === undefined ? undefined : { send: copyOf(msk, 0, 32), receive: copyOf(msk, 32, 64) }
}

/** The client's side. */
export function eapTlsPeer(tls: TlsEngineFactory): EapMethodChoice {
  return {
    type: EapType.TLS,
    name: NAME,
    label: LABEL,
    create: (host) => new EapTlsPeer(host, tls),
  }
}

class EapTlsPeer implements EapMethod {
  readonly type = EapType.TLS
  readonly name = NAME
  readonly label = LABEL
  /** Our certificate has been shown. */
  undecided = false
  readonly #host: EapMethodHost
  readonly #exchange: TlsExchange
  #greeted = false
  #done = false
  #error: PppError | undefined

  constructor(host: EapMethodHost, tls: TlsEngineFactory) {
    this.#host = host
    this.#exchange = new TlsExchange(host, tls, {
      role: 'client',
      label: LABEL,
      clientCertificate: true,
      settled: () => this.#settled(),
      restart: () => this.#restart(),
    })
  }

  start(): void {}

  input(b: Uint8Array, off: number, len: number, now: number): boolean {
    return this.#exchange.input(b, off, len, now)
  }

  #settled(): void {
    const { engine } = this.#exchange
    if (engine === undefined) return
    switch (engine.state) {
      case 'handshake':
        // The second flight has our certificate.
        this.undecided = this.#greeted
        this.#greeted = true
        this.#exchange.send()
        return
      case 'open':
        this.undecided = true
        this.#opened(engine)
        return
      case 'closed':
        this.#host.failed(this.#exchange.error(undefined))
        return
      case 'failed':
        this.#failed(engine)
    }
  }

  #opened(engine: TlsEngine): void {
    const data = engine.read()
    const early = engine.protocol === 'TLSv1.3'
    if (early && data === undefined) {
      // Our Finished; the server still has to say that it is content.
      this.#exchange.send()
      return
    }
    if (data !== undefined && !(early && data.length === 1 && u8(data, 0) === COMMITMENT)) {
      const message = `the server broke the rules of ${LABEL}: it sends data through TLS`
      this.#host.failed(new PppError('auth', 'AUTH_TLS', message))
      return
    }
    const keys = halves(keyingMaterial(engine, EapType.TLS))
    if (keys === undefined) {
      this.#host.failed(this.#exchange.error(undefined))
      return
    }
    this.#done = true
    this.#host.succeeded({ keys, user: '', certain: early })
    this.#exchange.send()
  }

  #restart(): boolean {
    if (this.#done || this.#error !== undefined) return false
    this.#greeted = false
    return true
  }

  #failed(engine: TlsEngine): void {
    this.#error = this.#exchange.error(engine.error)
    if (engine.error?.kind === 'alert') {
      // The server wants to hear that its alert has come (RFC 5216 2.1.3); EAP-Failure is next.
      this.#exchange.send()
      return
    }
    if (engine.error?.kind === 'protocol') this.#exchange.send()
    this.#host.failed(this.#error)
  }

  refusal(): PppError | undefined {
    if (this.#error !== undefined || !this.undecided) return this.#error
    const message = `the server refused us in ${LABEL}: it does not know our certificate, or not with this user name`
    return new PppError('auth', 'AUTH_REFUSED', message)
  }

  activity(now: number): void {
    this.#exchange.activity(now)
  }

  nextTimeout(): number {
    return NEVER
  }

  handleTimeout(): void {}

  close(): void {
    this.#exchange.close()
  }
}

/** The server's side. The user is whom the certificate names. */
export function eapTlsAuthenticator(tls: TlsEngineFactory): EapMethodChoice {
  return {
    type: EapType.TLS,
    name: NAME,
    label: LABEL,
    create: (host) => new EapTlsAuthenticator(host, tls),
  }
}

class EapTlsAuthenticator implements EapMethod {
  readonly type = EapType.TLS
  readonly name = NAME
  readonly label = LABEL
  readonly undecided = false
  readonly #host: EapMethodHost
  readonly #exchange: TlsExchange
  /** All was said, and the client is to acknowledge it. */
  #last = false
  #committed = false

  constructor(host: EapMethodHost, tls: TlsEngineFactory) {
    this.#host = host
    this.#exchange = new TlsExchange(host, tls, {
      role: 'server',
      label: LABEL,
      clientCertificate: true,
      settled: (_now, empty) => this.#settled(empty),
    })
  }

  start(): void {
    this.#exchange.start()
  }

  input(b: Uint8Array, off: number, len: number, now: number): boolean {
    return this.#exchange.input(b, off, len, now)
  }

  #settled(empty: boolean): void {
    const { engine } = this.#exchange
    if (engine === undefined) return
    switch (engine.state) {
      case 'handshake':
        this.#exchange.send()
        return
      case 'open':
        if (this.#last) this.#acknowledged(engine, empty)
        else this.#finish(engine)
        return
      case 'closed':
        this.#host.failed(this.#exchange.error(undefined))
        return
      case 'failed':
        if (engine.error?.kind === 'protocol') this.#exchange.send()
        this.#host.failed(this.#exchange.error(engine.error))
    }
  }

  #finish(engine: TlsEngine): void {
    if (engine.protocol === 'TLSv1.3' && !this.#committed) {
      this.#committed = true
      engine.write(Uint8Array.of(COMMITMENT))
      this.#exchange.flush()
      return
    }
    this.#last = true
    this.#exchange.send()
  }

  #acknowledged(engine: TlsEngine, empty: boolean): void {
    const keys = halves(keyingMaterial(engine, EapType.TLS))
    const { peer } = engine
    if (!empty || engine.read() !== undefined || keys === undefined || peer === undefined) {
      const message = `the client broke the rules of ${LABEL}: it goes on behind the end`
      this.#host.failed(new PppError('auth', 'AUTH_TLS', message))
      return
    }
    this.#host.succeeded({ keys, user: peer.name, certain: true })
  }

  refusal(): PppError | undefined {
    return undefined
  }

  activity(now: number): void {
    this.#exchange.activity(now)
  }

  nextTimeout(): number {
    return NEVER
  }

  handleTimeout(): void {}

  close(): void {
    this.#exchange.close()
  }
}
