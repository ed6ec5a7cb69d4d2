import type { Attribute, StatusInfo } from './attribute.js'
import { ATTRIB, attributeId, PROTOCOL_PPP, STATUS, statusInfo, statusName } from './attribute.js'
import type { BindingFault, Hash } from './binding.js'
import { CALL_CONNECTED_LENGTH, checkBinding, hashMask, NONCE_LENGTH, verifyMac } from './binding.js'
import type { CallOptions } from './call.js'
import { CallMachine } from './call.js'
import type { ClosingState } from './closing.js'
import type { KnownMessage } from './packet.js'
import { controlPacket } from './packet.js'

type OwnState =
  | 'Server_Call_Disconnected'
  | 'Server_Connect_Request_Pending'
  | 'Server_Call_Connected_Pending'
  | 'Server_Call_Connected'

export type ServerState = OwnState | ClosingState

export interface ServerOptions extends CallOptions {
  /** Fills with octets that nobody can foresee; used for the nonce. */
  readonly random: (dst: Uint8Array) => void
  /** DER of the leaf certificate that we show. */
  readonly certificate: Uint8Array
  /** Mask of `HASH` to offer; both by default. */
  readonly hashes?: number
}

/** The server's side of a call. MS-SSTP 3.3 */
export class SstpServer extends CallMachine<OwnState> {
  private readonly certificate: Uint8Array
  private readonly hashes: number
  private readonly random: (dst: Uint8Array) => void
  private readonly nonce = new Uint8Array(NONCE_LENGTH)
  private naks = 0
  /** Known once authentication has succeeded. */
  private hlak: Uint8Array | undefined
  private otherHlak: Uint8Array | undefined
  /** A CALL_CONNECTED whose MAC cannot be verified before the HLAK is known. */
  private early: { readonly packet: Uint8Array; readonly hash: Hash } | undefined

  constructor(options: ServerOptions) {
    super({ disconnected: 'Server_Call_Disconnected', connected: 'Server_Call_Connected' }, 'client', options)
    this.certificate = options.certificate
    this.hashes = hashMask(options.hashes)
    this.random = options.random
  }

  protected override begin(now: number): void {
    this.state = 'Server_Connect_Request_Pending'
    this.startNegotiation(now)
  }

  protected override inputMessage(
    m: KnownMessage,
    b: Uint8Array,
    off: number,
    len: number,
    now: number,
  ): void {
    if (m.type === 'CALL_CONNECT_REQUEST' && this.state === 'Server_Connect_Request_Pending') {
      this.inputRequest(m, now)
    } else if (
      m.type === 'CALL_CONNECTED' &&
      this.state === 'Server_Call_Connected_Pending' &&
      this.early === undefined
    ) {
      this.inputConnected(m, b, off, len, now)
    } else {
      this.unaccepted(m.type, now)
    }
  }

  protected override acceptKey(hlak: Uint8Array, now: number, otherHlak?: Uint8Array): void {
    if (this.state !== 'Server_Call_Connected_Pending' || this.hlak !== undefined) return
    this.hlak = Uint8Array.from(hlak)
    if (otherHlak !== undefined) this.otherHlak = Uint8Array.from(otherHlak)
    if (this.early !== undefined) this.verify(this.early.packet, this.early.hash, this.hlak, now)
  }

  protected override awaited(): string {
    if (this.state === 'Server_Connect_Request_Pending') return 'the client sent no CALL_CONNECT_REQUEST'
    return this.hlak === undefined ? 'the log-in did not come to an end' : 'the client sent no CALL_CONNECTED'
  }

  protected override wipe(): void {
    this.hlak?.fill(0)
    this.hlak = undefined
    this.otherHlak?.fill(0)
    this.otherHlak = undefined
    this.early = undefined
  }

  /** MS-SSTP 3.3.5.2, and 2.2.8 for the statuses */
  private inputRequest(m: KnownMessage, now: number): void {
    const faults = requestFaults(m.attributes)
    const first = faults[0]
    if (first === undefined) {
      this.random(this.nonce)
      this.send(
        controlPacket('CALL_CONNECT_ACK', [
          { kind: 'CRYPTO_BINDING_REQ', hashes: this.hashes, nonce: this.nonce },
        ]),
      )
      this.state = 'Server_Call_Connected_Pending'
      this.mayControl = true
      this.startNegotiation(now)
      this.tell({ type: 'ack', offered: this.hashes, hash: undefined })
    } else if (this.naks < MAX_NAKS) {
      this.naks += 1
      this.send(controlPacket('CALL_CONNECT_NAK', faults))
    } else {
      const what = `the client's CALL_CONNECT_REQUEST was refused ${MAX_NAKS} times (${statusName(first.status)})`
      this.abortFor('SSTP_REQUEST_REFUSED', what, ATTRIB.NO_ERROR, STATUS.RETRY_COUNT_EXCEEDED, now)
    }
  }

  /** MS-SSTP 3.3.5.2.3. What needs no key is checked at once, also if the message comes early. */
  private inputConnected(m: KnownMessage, b: Uint8Array, off: number, len: number, now: number): void {
    if (len !== CALL_CONNECTED_LENGTH || m.attributes[0]?.kind !== 'CRYPTO_BINDING') {
      const what = 'CALL_CONNECTED of the client has no crypto binding, or more than that'
      const status = STATUS.INVALID_FRAME_RECEIVED
      this.abortFor('SSTP_INVALID_MESSAGE', what, ATTRIB.CRYPTO_BINDING, status, now)
      return
    }
    const packet = new Uint8Array(len)
    packet.set(b.subarray(off, off + len))
    const { hashes, nonce, certificate } = this
    const hash = checkBinding(packet, { hashes, nonce, certificate })
    if (typeof hash === 'string') this.refuse(hash, now)
    else if (this.hlak === undefined) this.early = { packet, hash }
    else this.verify(packet, hash, this.hlak, now)
  }

  private verify(packet: Uint8Array, hash: Hash, hlak: Uint8Array, now: number): void {
    const good = verifyMac(packet, hash, hlak)
    const other = this.otherHlak !== undefined && verifyMac(packet, hash, this.otherHlak)
    if (!good && !other) {
      this.refuse('mac', now)
      return
    }
    this.wipe()
    this.enterConnected(hash, now)
  }

  private refuse(fault: BindingFault, now: number): void {
    const what = BINDING_FAULTS[fault]
    const status = STATUS.INVALID_FRAME_RECEIVED
    this.abortFor('SSTP_CRYPTO_BINDING', what, ATTRIB.CRYPTO_BINDING, status, now)
  }
}

/** One Status Info for each attribute that makes a CALL_CONNECT_REQUEST a bad one. */
function requestFaults(attributes: readonly Attribute[]): StatusInfo[] {
  const faults: StatusInfo[] = []
  const seen = new Set<number>()
  for (const a of attributes) {
    const id = attributeId(a)
    const fault = seen.has(id) ? statusInfo(id, STATUS.DUPLICATE_ATTRIBUTE) : attributeFault(a)
    if (fault !== undefined) faults.push(fault)
    seen.add(id)
  }
  if (!seen.has(ATTRIB.ENCAPSULATED_PROTOCOL_ID)) {
    faults.push(statusInfo(ATTRIB.ENCAPSULATED_PROTOCOL_ID, STATUS.REQUIRED_ATTRIBUTE_MISSING))
  }
  return faults
}

function attributeFault(a: Attribute): StatusInfo | undefined {
  switch (a.kind) {
    case 'ENCAPSULATED_PROTOCOL_ID': {
      if (a.protocol === PROTOCOL_PPP) return undefined
      const value = Uint8Array.of(a.protocol >>> 8, a.protocol)
      return statusInfo(ATTRIB.ENCAPSULATED_PROTOCOL_ID, STATUS.VALUE_NOT_SUPPORTED, value)
    }
    case 'STATUS_INFO':
      if (a.status === STATUS.NO_ERROR) return undefined
      return statusInfo(ATTRIB.STATUS_INFO, STATUS.STATUS_INFO_NOT_SUPPORTED_IN_MSG)
    case 'CRYPTO_BINDING':
    case 'CRYPTO_BINDING_REQ':
      return statusInfo(ATTRIB[a.kind], STATUS.ATTRIB_NOT_SUPPORTED_IN_MSG)
    case 'OTHER':
      if (a.id === ATTRIB.CRYPTO_BINDING || a.id === ATTRIB.CRYPTO_BINDING_REQ) {
        return statusInfo(a.id, STATUS.ATTRIB_NOT_SUPPORTED_IN_MSG)
      }
      if (a.id === ATTRIB.ENCAPSULATED_PROTOCOL_ID || a.id === ATTRIB.STATUS_INFO) {
        return statusInfo(a.id, STATUS.INVALID_ATTRIB_VALUE_LENGTH, a.value)
      }
      return statusInfo(a.id, STATUS.UNRECOGNIZED_ATTRIBUTE)
  }
}

/** As accel-ppp: the fourth bad request ends the call. */
const MAX_NAKS = 3

const BINDING_FAULTS: Readonly<Record<BindingFault, string>> = {
  hash: 'the client chose a hash for the crypto binding that was not offered',
  nonce: 'the client sent back another nonce in its crypto binding',
  certificate:
    'the client saw another certificate than ours; something between us intercepts TLS,' +
    ' or a front end shows a certificate that this server was not told of',
  mac: 'the crypto binding of the client does not fit its log-in',
}
