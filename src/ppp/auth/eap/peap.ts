/**
 * PEAPv0, the client's side (draft-kamath-pppext-peapv0-00, MS-PEAP): TLS with a certificate of the server's alone, and
 * EAP once more inside.
 *
 * The inner packets go without code, identifier and length; those of type 33, which end the conversation, go whole.
 */
import { copyOf, setU8, setU16, u8, u16 } from '../../../../stack/bytes.js'
import { PppError } from '../../errors.js'
import { AUTH_LABEL } from '../method.js'
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
import {
  bindingFits,
  bindingResponse,
  compoundKeys,
  compoundMsk,
  nakTlv,
  parseTlvs,
  resultTlv,
  TlvResult,
  tlvPacket,
} from './peap-tlv.js'
import { EapPeer } from './peer.js'
import type { TlsEngine, TlsEngineFactory } from './tls-engine.js'
import { keyingMaterial, TlsExchange } from './tls-exchange.js'

const NAME = 'peap'
export const PEAP_LABEL = AUTH_LABEL[NAME]

/** Octets in front of the type. */
export const HEADLESS = 4
/** What TLS adds to a packet, and more; but never less than EAP's 1020. */
const TLS_ROOM = 100
const LEAST_LIMIT = 1020

/** Octets that an inner packet may have so that it fits into one outer packet. */
export function innerLimit(limit: number): number {
  return Math.max(LEAST_LIMIT, limit - TLS_ROOM)
}

/** An inner packet with its header: some send it whole anyway, as FreeRADIUS its Identity request. */
export function withHeader(code: number, id: number, b: Uint8Array): Uint8Array {
  if (isWhole(code, b)) return b
  const packet = new Uint8Array(HEADLESS + b.length)
  setU8(packet, 0, code)
  setU8(packet, 1, id)
  setU16(packet, 2, packet.length)
  packet.set(b, HEADLESS)
  return packet
}

/** A type that is its own code, and text that is its own length, nobody sends. */
export function isWhole(code: number, b: Uint8Array): boolean {
  return b.length >= EAP_HEADER && u8(b, 0) === code && u16(b, 2) === b.length
}

export interface PeapPeerOptions {
  /** Whole, with `DOMAIN\` if it has one; goes protected. */
  readonly user: string
  /** Inside, best first. */
  readonly methods: readonly EapMethodChoice[]
}

export function peapPeer(tls: TlsEngineFactory, options: PeapPeerOptions): EapMethodChoice {
  return {
    type: EapType.PEAP,
    name: NAME,
    label: PEAP_LABEL,
    create: (host) => new PeapPeer(host, tls, options),
  }
}

class PeapPeer implements EapMethod {
  readonly type = EapType.PEAP
  readonly name = NAME
  readonly label = PEAP_LABEL
  readonly #host: EapMethodHost
  readonly #exchange: TlsExchange
  readonly #inner: EapPeer
  #innerId = 0
  #innerDone = false
  #innerKeys: EapKeys | undefined
  #concluded = false
  #error: PppError | undefined

  constructor(host: EapMethodHost, tls: TlsEngineFactory, { user, methods }: PeapPeerOptions) {
    this.#host = host
    this.#exchange = new TlsExchange(host, tls, {
      role: 'client',
      label: PEAP_LABEL,
      clientCertificate: false,
      // Without it NPS, by hostap's account, takes what a ClientHello begins with for TLVs outside of TLS, and its
      // crypto binding fails.
      announce: true,
      settled: (now) => this.#settled(now),
      // Once something was said inside, there is an inner conversation that would have to start anew too.
      restart: () => this.#innerId === 0 && !this.#concluded && this.#error === undefined,
    })
    this.#inner = new EapPeer(
      {
        random: host.random,
        get limit(): number {
          return innerLimit(host.limit)
        },
        send: (packet) => this.#say(packet.subarray(HEADLESS)),
        succeeded: (_choice, keys) => {
          this.#innerDone = true
          this.#innerKeys = keys
        },
        failed: (error) => {
          this.#error = error
          this.#host.failed(error)
        },
        note: (message) => host.note(message),
        onActivity: host.onActivity,
      },
      { identity: user, methods },
    )
  }

  get undecided(): boolean {
    return !this.#concluded && this.#inner.undecided
  }

  start(now: number): void {
    this.#inner.start(now)
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
        // Ours is to go out: the handshake's end, or what was said inside.
        if (data === undefined) this.#exchange.send()
        else this.#heard(engine, data, now)
        return
      }
      case 'closed':
        this.#host.failed(this.#exchange.error(undefined))
        return
      case 'failed':
        this.#error = this.#exchange.error(engine.error)
        if (engine.error?.kind === 'alert') {
          this.#exchange.send()
          return
        }
        if (engine.error?.kind === 'protocol') this.#exchange.send()
        this.#host.failed(this.#error)
    }
  }

  /** One inner packet; what does not fit gets no answer, and the server asks again or gives up. */
  #heard(engine: TlsEngine, data: Uint8Array, now: number): void {
    if (isWhole(EapCode.REQUEST, data) && u8(data, HEADLESS) === EapType.TLV) {
      this.#ended(engine, u8(data, 1), data, now)
      return
    }
    if (data.length === HEADLESS && u8(data, 0) === EapCode.FAILURE && u16(data, 2) === HEADLESS) {
      this.#inner.failure(now)
      return
    }
    this.#innerId = (this.#innerId + 1) & 255
    const packet = withHeader(EapCode.REQUEST, this.#innerId, data)
    this.#inner.input(packet, 0, packet.length, now)
  }

  #ended(engine: TlsEngine, id: number, b: Uint8Array, now: number): void {
    const tlvs = parseTlvs(b, EAP_HEADER, b.length - EAP_HEADER)
    if (tlvs === undefined || (tlvs.result === undefined && tlvs.unknown === undefined)) {
      this.#refuse(
        new PppError('auth', 'AUTH_TLS', 'the server broke the rules of PEAP: its result cannot be read'),
      )
      return
    }
    if (tlvs.result === undefined) {
      this.#say(tlvPacket(EapCode.RESPONSE, id, nakTlv(tlvs.unknown ?? 0)))
      return
    }
    if (tlvs.result !== TlvResult.SUCCESS) {
      this.#error ??= this.#inner.refusal('')
      this.#say(tlvPacket(EapCode.RESPONSE, id, resultTlv(TlvResult.FAILURE)))
      return
    }
    if (!this.#innerDone && !this.#inner.success(now)) {
      const message = 'the server says that PEAP has succeeded without proof that it knows the password'
      this.#refuse(new PppError('auth', 'AUTH_SERVER_UNPROVEN', message))
      return
    }
    const exported = keyingMaterial(engine, EapType.PEAP)
    if (exported === undefined) {
      this.#refuse(this.#exchange.error(undefined))
      return
    }
    const answer = [resultTlv(TlvResult.SUCCESS)]
    let msk = exported
    if (tlvs.binding !== undefined) {
      const compound = compoundKeys(exported, hlakOf(this.#innerKeys))
      if (!bindingFits(compound, tlvs.binding)) {
        const message =
          'the server could not prove that both parts of PEAP are its own (crypto binding): somebody may be in between'
        this.#refuse(new PppError('auth', 'AUTH_SERVER_UNPROVEN', message))
        return
      }
      answer.push(bindingResponse(compound, tlvs.binding))
      msk = compoundMsk(compound)
    }
    this.#concluded = true
    this.#host.succeeded({ keys: halves(msk), user: '', certain: true })
    this.#say(tlvPacket(EapCode.RESPONSE, id, ...answer))
  }

  #refuse(error: PppError): void {
    this.#error = error
    this.#host.failed(error)
  }

  /** Through TLS. */
  #say(data: Uint8Array): void {
    this.#exchange.engine?.write(copyOf(data, 0, data.length))
    this.#exchange.flush()
  }

  refusal(): PppError | undefined {
    if (this.#error !== undefined) return this.#error
    return this.#inner.undecided ? this.#inner.refusal('') : undefined
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
