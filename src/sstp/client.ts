import type { CryptoBindingReq } from './attribute.js'
import { ATTRIB, attributeId, PROTOCOL_PPP, STATUS, statusName, statusOf } from './attribute.js'
import type { Hash } from './binding.js'
import { callConnected, certificateHash, hashMask, strongestHash } from './binding.js'
import type { CallOptions } from './call.js'
import { CallMachine } from './call.js'
import type { ClosingState } from './closing.js'
import { describeHashes } from './describe.js'
import type { KnownMessage } from './packet.js'
import { controlPacket } from './packet.js'

type OwnState =
  | 'Client_Call_Disconnected'
  | 'Client_Connect_Request_Sent'
  | 'Client_Connect_Ack_Received'
  | 'Client_Call_Connected'

export type ClientState = OwnState | ClosingState

export interface ClientOptions extends CallOptions {
  /** DER of the leaf certificate that the server showed in this TLS connection. */
  readonly certificate: Uint8Array
  /** Mask of `HASH` that may be used; both by default. */
  readonly hashes?: number
}

/** The client's side of a call. MS-SSTP 3.2 */
export class SstpClient extends CallMachine<OwnState> {
  private readonly certificate: Uint8Array
  private readonly hashes: number
  private tries = 0
  /** Of CALL_CONNECT_ACK. */
  private ack: { readonly hash: Hash; readonly nonce: Uint8Array } | undefined
  private connectedAt = Number.NEGATIVE_INFINITY
  /** Packets received until then. */
  private packetsBefore = 0

  constructor(options: ClientOptions) {
    super({ disconnected: 'Client_Call_Disconnected', connected: 'Client_Call_Connected' }, 'server', options)
    this.certificate = options.certificate
    this.hashes = hashMask(options.hashes)
  }

  protected override begin(now: number): void {
    this.request(now)
  }

  protected override inputMessage(
    m: KnownMessage,
    _b: Uint8Array,
    _off: number,
    _len: number,
    now: number,
  ): void {
    if (this.state !== 'Client_Connect_Request_Sent') this.unaccepted(m.type, now)
    else if (m.type === 'CALL_CONNECT_ACK') this.inputAck(m, now)
    else if (m.type === 'CALL_CONNECT_NAK') this.inputNak(m, now)
    else this.unaccepted(m.type, now)
  }

  /** MS-SSTP 3.2.5.2. Later calls (CHAP asks again during a call) change nothing. */
  protected override acceptKey(hlak: Uint8Array, now: number): void {
    if (this.state !== 'Client_Connect_Ack_Received' || this.ack === undefined) return
    const { hash, nonce } = this.ack
    this.send(callConnected(hash, hlak, nonce, certificateHash(hash, this.certificate)))
    this.connectedAt = now
    this.packetsBefore = this.packets
    this.enterConnected(hash, now)
  }

  protected override awaited(): string {
    return this.state === 'Client_Connect_Request_Sent'
      ? 'the server did not answer CALL_CONNECT_REQUEST'
      : 'the log-in did not come to an end'
  }

  /** A server that does not like the crypto binding leaves without saying so. */
  protected override hint(now: number): string {
    if (this.state !== 'Client_Call_Connected' || now - this.connectedAt > BINDING_SUSPECT) return ''
    // A server that lets data through has taken the binding.
    if (this.packets - this.packetsBefore > MAX_SUSPECT_PACKETS) return ''
    return (
      ' right after CALL_CONNECTED; perhaps it does not accept the crypto binding,' +
      ' because something between us intercepts TLS'
    )
  }

  private request(now: number): void {
    this.tries += 1
    this.state = 'Client_Connect_Request_Sent'
    this.send(
      controlPacket('CALL_CONNECT_REQUEST', [{ kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: PROTOCOL_PPP }]),
    )
    this.startNegotiation(now)
  }

  /** MS-SSTP 3.2.5.3.2 */
  private inputAck(m: KnownMessage, now: number): void {
    const attribId = ATTRIB.CRYPTO_BINDING_REQ
    const binding = m.attributes.find((a): a is CryptoBindingReq => a.kind === 'CRYPTO_BINDING_REQ')
    if (binding === undefined) {
      const there = m.attributes.some((a) => attributeId(a) === attribId)
      const status = there ? STATUS.INVALID_ATTRIB_VALUE_LENGTH : STATUS.REQUIRED_ATTRIBUTE_MISSING
      const what = there ? 'a crypto binding request of a wrong length' : 'no crypto binding request'
      this.abortFor('SSTP_INVALID_MESSAGE', `the server's answer has ${what}`, attribId, status, now)
      return
    }
    const hash = strongestHash(binding.hashes & this.hashes)
    if (hash === undefined) {
      const what = `the server offers ${describeHashes(binding.hashes)} for the crypto binding, we allow ${describeHashes(this.hashes)}`
      this.abortFor('SSTP_NO_COMMON_HASH', what, attribId, STATUS.VALUE_NOT_SUPPORTED, now)
      return
    }
    this.ack = { hash, nonce: binding.nonce }
    this.state = 'Client_Connect_Ack_Received'
    this.mayControl = true
    this.startNegotiation(now)
    this.tell({ type: 'ack', offered: binding.hashes, hash })
  }

  private inputNak(m: KnownMessage, now: number): void {
    if (this.tries < MAX_REQUESTS) {
      this.request(now)
      return
    }
    const status = statusOf(m.attributes)
    const words = status === undefined ? '' : ` (${statusName(status)})`
    const what = `the server refused CALL_CONNECT_REQUEST ${this.tries} times${words}`
    this.abortFor('SSTP_REQUEST_REFUSED', what, ATTRIB.NO_ERROR, STATUS.RETRY_COUNT_EXCEEDED, now)
  }
}

/** Ours to choose: the request has nothing to vary, so more would not help. */
const MAX_REQUESTS = 3
/** Milliseconds after CALL_CONNECTED within which an end is put down to the crypto binding. */
const BINDING_SUSPECT = 5_000
/** Network protocols may have gone through their negotiation by then, with a few rounds more than usual. */
const MAX_SUSPECT_PACKETS = 20
