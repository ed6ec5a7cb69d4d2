/** PEAPv0, the server's side: see `peap.ts`. */
import { copyOf, u8 } from '../../../../stack/bytes.js'
import { PppError } from '../../errors.js'
import { EapAuthenticator } from './authenticator.js'
import { halves } from './eap-tls.js'
import {
  EAP_HEADER,
  EapCode,
  type EapKeys,
  type EapMethod,
  type EapMethodChoice,
  type EapMethodHost,
  EapType,
  hlakOf,
} from './method.js'
import { HEADLESS, innerLimit, isWhole, PEAP_LABEL, withHeader } from './peap.js'
import {
  bindingFits,
  bindingRequest,
  type CompoundKeys,
  compoundKeys,
  compoundMsk,
  parseTlvs,
  resultTlv,
  TlvResult,
  tlvPacket,
} from './peap-tlv.js'
import type { TlsEngine, TlsEngineFactory } from './tls-engine.js'
import { keyingMaterial, TlsExchange } from './tls-exchange.js'

export interface PeapAuthenticatorOptions {
  /** Inside, best first. */
  readonly methods: readonly EapMethodChoice[]
  /** Offers the crypto binding, which a client may leave out; true by default. */
  readonly cryptoBinding?: boolean
}

export function peapAuthenticator(tls: TlsEngineFactory, options: PeapAuthenticatorOptions): EapMethodChoice {
  return {
    type: EapType.PEAP,
    name: 'peap',
    label: PEAP_LABEL,
    create: (host) => new PeapAuthenticator(host, tls, options),
  }
}

class PeapAuthenticator implements EapMethod {
  readonly type = EapType.PEAP
  readonly name = 'peap'
  readonly label = PEAP_LABEL
  readonly #host: EapMethodHost
  readonly #exchange: TlsExchange
  readonly #inner: EapAuthenticator
  readonly #cryptoBinding: boolean
  #finished = false
  #begun = false
  #innerId = 0
  #user = ''
  #msk: Uint8Array | undefined
  #compound: CompoundKeys | undefined
  #binding: Uint8Array | undefined
  /** The result was told, and its answer is waited for. */
  #told: 'success' | 'failure' | undefined
  #error: PppError | undefined

  constructor(host: EapMethodHost, tls: TlsEngineFactory, options: PeapAuthenticatorOptions) {
    this.#host = host
    this.#cryptoBinding = options.cryptoBinding ?? true
    this.#exchange = new TlsExchange(host, tls, {
      role: 'server',
      label: PEAP_LABEL,
      clientCertificate: false,
      settled: (now) => this.#settled(now),
    })
    this.#inner = new EapAuthenticator(
      {
        random: host.random,
        get limit(): number {
          return innerLimit(host.limit)
        },
        send: (packet) => {
          this.#innerId = u8(packet, 1)
          this.#say(packet.subarray(HEADLESS))
        },
        succeeded: (_choice, user, keys) => this.#accepted(user, keys),
        failed: (error) => this.#refused(error),
        note: (message) => host.note(message),
        onActivity: host.onActivity,
      },
      { methods: options.methods, inner: true },
    )
  }

  /** The client was told no, and may hang up before it says that it has heard. */
  get undecided(): boolean {
    return this.refusal() !== undefined
  }

  start(): void {
    this.#exchange.start()
  }

  input(b: Uint8Array, off: number, len: number, now: number): boolean {
    return this.#exchange.input(b, off, len, now)
  }

  #settled(now: number): void {
    const { engine } = this.#exchange
    if (engine === undefined) return
    switch (engine.state) {
      case 'handshake':
        this.#exchange.send()
        return
      case 'open': {
        const data = engine.read()
        if (data !== undefined) this.#heard(data, now)
        else this.#goOn(engine, now)
        return
      }
      case 'closed':
        this.#host.failed(this.#exchange.error(undefined))
        return
      case 'failed':
        if (engine.error?.kind === 'protocol') this.#exchange.send()
        this.#host.failed(this.#exchange.error(engine.error))
    }
  }

  /** The handshake's end goes out, then the inner conversation begins, then there is something of it to send. */
  #goOn(engine: TlsEngine, now: number): void {
    if (this.#begun || (engine.protocol !== 'TLSv1.3' && !this.#finished)) {
      this.#finished = true
      this.#exchange.send()
      return
    }
    this.#begun = true
    this.#inner.start(now)
  }

  #heard(data: Uint8Array, now: number): void {
    if (this.#told !== undefined) {
      this.#answered(data)
      return
    }
    const packet = withHeader(EapCode.RESPONSE, this.#innerId, data)
    this.#inner.input(packet, 0, packet.length, now)
  }

  #accepted(user: string, keys: EapKeys | undefined): void {
    const { engine } = this.#exchange
    const exported = engine === undefined ? undefined : keyingMaterial(engine, EapType.PEAP)
    if (exported === undefined) {
      this.#host.failed(this.#exchange.error(undefined))
      return
    }
    this.#user = user
    this.#msk = exported
    this.#told = 'success'
    const tlvs = [resultTlv(TlvResult.SUCCESS)]
    if (this.#cryptoBinding) {
      const nonce = new Uint8Array(32)
      this.#host.random(nonce)
      this.#compound = compoundKeys(exported, hlakOf(keys))
      this.#binding = bindingRequest(this.#compound, nonce)
      tlvs.push(this.#binding)
    }
    this.#say(tlvPacket(EapCode.REQUEST, (this.#innerId + 1) & 255, ...tlvs))
  }

  #refused(error: PppError): void {
    this.#error = error
    this.#told = 'failure'
    this.#say(tlvPacket(EapCode.REQUEST, (this.#innerId + 1) & 255, resultTlv(TlvResult.FAILURE)))
  }

  #answered(data: Uint8Array): void {
    if (this.#error !== undefined) {
      this.#host.failed(this.#error)
      return
    }
    const whole = isWhole(EapCode.RESPONSE, data) && u8(data, HEADLESS) === EapType.TLV
    const tlvs = whole ? parseTlvs(data, EAP_HEADER, data.length - EAP_HEADER) : undefined
    if (tlvs?.result !== TlvResult.SUCCESS) {
      const message = 'the client does not agree that PEAP has succeeded'
      this.#host.failed(new PppError('auth', 'AUTH_REFUSED', message))
      return
    }
    const { binding } = tlvs
    if (binding !== undefined && this.#compound !== undefined) {
      if (!bindingFits(this.#compound, binding, this.#binding)) {
        const message = 'the client could not prove that both parts of PEAP are its own (crypto binding)'
        this.#host.failed(new PppError('auth', 'AUTH_REFUSED', message))
        return
      }
      this.#msk = compoundMsk(this.#compound)
    }
    this.#host.succeeded({ keys: halves(this.#msk), user: this.#user, certain: true })
  }

  #say(data: Uint8Array): void {
    this.#exchange.engine?.write(copyOf(data, 0, data.length))
    this.#exchange.flush()
  }

  refusal(): PppError | undefined {
    return this.#error ?? this.#inner.refusal()
  }

  activity(now: number): void {
    this.#inner.activity(now)
    this.#exchange.activity(now)
  }

  nextTimeout(): number {
    return this.#inner.nextTimeout()
  }

  handleTimeout(now: number): void {
    this.#inner.handleTimeout(now)
  }

  close(): void {
    this.#inner.close()
    this.#exchange.close()
  }
}
