import { ATTRIB, STATUS, statusInfo, statusName, statusOf } from './attribute.js'
import type { Hash } from './binding.js'
import { HLAK_LENGTH } from './binding.js'
import type { ClosingMessage, ClosingState, ClosingTimer } from './closing.js'
import { CLOSING, CLOSING_TIMER } from './closing.js'
import type { SstpErrorCode } from './errors.js'
import { framingError, SstpError } from './errors.js'
import type { KnownMessage } from './packet.js'
import { controlPacket, messageName, messageType, parseControl } from './packet.js'

/** What a call tells its owner, in this order. */
export type SstpEvent =
  /** CALL_CONNECT_ACK was received (client) or is to be sent (server): start PPP. */
  | {
      readonly type: 'ack'
      /** Mask of the hashes that the server offers. */
      readonly offered: number
      /** The one chosen; a server knows it only when the call is connected. */
      readonly hash: Hash | undefined
    }
  /** CALL_CONNECTED was sent (client) or verified (server): IP packets may flow. */
  | { readonly type: 'connected'; readonly hash: Hash }
  /** The other end sent CALL_ABORT first, or CALL_DISCONNECT. No status: it gave none (SoftEther never does). */
  | { readonly type: 'peer-abort'; readonly status: number | undefined }
  | { readonly type: 'peer-disconnect'; readonly status: number | undefined }
  /** No more PPP; the connection stays for the last messages, and `closed` follows. Absent if there are none. */
  | { readonly type: 'closing'; readonly error: SstpError | undefined }
  /** Once, the last: close TLS now. No error: either end asked for it with CALL_DISCONNECT. */
  | { readonly type: 'closed'; readonly by: 'local' | 'remote'; readonly error: SstpError | undefined }

/**
 * What a driver needs of a call, client's or server's. Times are milliseconds of any steady clock.
 * After every verb: write out `output`, read `nextEvent` until it has none, set a timer for `nextTimeout`.
 */
export interface SstpCall {
  /** The specification's name. */
  readonly state: string
  /** Whether PPP frames of protocols 0x8000 and above (LCP, authentication, NCPs) may pass. */
  readonly mayControl: boolean
  /** Whether PPP frames of protocols below 0x4000 (IP packets) may pass. */
  readonly mayData: boolean
  readonly hasOutput: boolean
  /** The HTTP handshake is done. */
  start(now: number): void
  /** A whole control packet where it lies; counts as {@link packetReceived} too. */
  inputControl(b: Uint8Array, off: number, len: number, now: number): void
  /** A packet of any kind has come: the link lives. */
  packetReceived(now: number): void
  /**
   * PPP authentication succeeded. `hlak`: the higher-layer authentication key, 32 octets; it is copied. `otherHlak`:
   * another that a server takes as well.
   */
  authenticated(hlak: Uint8Array, now: number, otherHlak?: Uint8Array): void
  /** Asks for a sign of life by ECHO_REQUEST, if the call is connected. */
  echo(): void
  /** Leaves by CALL_DISCONNECT, from whatever state. */
  disconnect(now: number): void
  /** Leaves by CALL_ABORT with a status of `STATUS`. */
  abort(status: number, now: number): void
  /** The framer failed: the end, without another word. */
  framingLost(code: SstpErrorCode): void
  /** The connection was closed by the other end, or is broken. */
  closed(now: number): void
  /** Writes the next pending packet, ECHO_RESPONSE before all others; its length, 0 = none or no room. */
  output(dst: Uint8Array, off: number): number
  /** When to call {@link handleTimeout}; Infinity = never. */
  nextTimeout(): number
  handleTimeout(now: number): void
  nextEvent(): SstpEvent | undefined
}

/** Room that fits every packet that `output` may write. */
export const MAX_OUTPUT = 512

export interface CallOptions {
  /** Milliseconds without a packet until ECHO_REQUEST, and again until the link counts as dead; 60 s. */
  readonly helloInterval?: number
  /** Milliseconds for each step of the set-up; 60 s. */
  readonly negotiationTimeout?: number
}

/** The states of one side that the common part needs to know. */
interface OwnStates<S extends string> {
  readonly disconnected: S
  readonly connected: S
}

/** What client and server have in common: closing, echo, timers, output. MS-SSTP 3.1 */
export abstract class CallMachine<S extends string> implements SstpCall {
  state: S | ClosingState
  mayControl = false
  mayData = false
  private readonly own: OwnStates<S>
  /** Who is at the other end, for messages. */
  protected readonly peer: 'client' | 'server'
  private readonly helloInterval: number
  private readonly negotiationTimeout: number
  private started = false
  private readonly queue: Uint8Array[] = []
  private readonly events: SstpEvent[] = []
  private echoRequest = false
  private echoResponse = false
  /** One timer is enough: negotiation, hello and the closing ones follow each other. */
  private timer: 'negotiation' | 'hello' | ClosingTimer | undefined
  private deadline = Number.POSITIVE_INFINITY
  /** From when the hello timer counts, and whether ECHO_REQUEST has been sent since the last packet. */
  private helloFrom = 0
  private helloUnanswered = false
  /** Packets received. */
  protected packets = 0
  private end: { readonly by: 'local' | 'remote'; readonly error: SstpError | undefined } | undefined

  constructor(own: OwnStates<S>, peer: 'client' | 'server', options: CallOptions) {
    this.own = own
    this.state = own.disconnected
    this.peer = peer
    this.helloInterval = options.helloInterval ?? 60_000
    this.negotiationTimeout = options.negotiationTimeout ?? 60_000
  }

  start(now: number): void {
    if (this.started) return
    this.started = true
    this.begin(now)
  }

  inputControl(b: Uint8Array, off: number, len: number, now: number): void {
    this.packetReceived(now)
    if (this.state === this.own.disconnected) return
    if (this.isClosing()) {
      // Only closing messages count here, so that a flood of anything else costs next to nothing.
      const name = messageName(messageType(b, off, len))
      if (isClosingMessage(name) && CLOSING[this.row()][name] !== 'ignore') {
        const message = parseControl(b, off, len)
        this.inputClosing(name, message instanceof SstpError ? undefined : statusOf(message.attributes), now)
      }
      return
    }
    const message = parseControl(b, off, len)
    if (message instanceof SstpError) {
      this.abortWith(message, ATTRIB.NO_ERROR, now)
      return
    }
    switch (message.type) {
      case 'CALL_ABORT':
      case 'CALL_DISCONNECT':
      case 'CALL_DISCONNECT_ACK':
        this.inputClosing(message.type, statusOf(message.attributes), now)
        break
      case 'ECHO_REQUEST':
        if (this.state === this.own.connected) this.echoResponse = true
        else this.unaccepted(message.type, now)
        break
      case 'ECHO_RESPONSE':
        // Matched to nothing: that a packet came is all it says.
        if (this.state !== this.own.connected) this.unaccepted(message.type, now)
        break
      case 'UNKNOWN': {
        const what = `the ${this.peer} sent a message of the unknown type ${message.code}`
        this.abortFor('SSTP_UNKNOWN_MESSAGE', what, ATTRIB.NO_ERROR, STATUS.INVALID_FRAME_RECEIVED, now)
        break
      }
      default:
        this.inputMessage(message, b, off, len, now)
    }
  }

  packetReceived(now: number): void {
    this.helloFrom = now
    this.helloUnanswered = false
    this.packets++
  }

  authenticated(hlak: Uint8Array, now: number, otherHlak?: Uint8Array): void {
    for (const key of [hlak, otherHlak ?? hlak]) {
      if (key.length !== HLAK_LENGTH) throw new RangeError(`an HLAK has ${HLAK_LENGTH} octets`)
    }
    this.acceptKey(hlak, now, otherHlak)
  }

  echo(): void {
    if (this.state === this.own.connected) this.echoRequest = true
  }

  disconnect(now: number): void {
    if (this.isClosing()) return
    if (this.state === this.own.disconnected) {
      this.finish('local', undefined)
      return
    }
    this.send(controlPacket('CALL_DISCONNECT', [statusInfo(ATTRIB.NO_ERROR, STATUS.NO_ERROR)]))
    this.leave('Call_Disconnect_Ack_Pending', 'DISCONNECT_TIMER_1', now)
    this.because('local', undefined)
  }

  abort(status: number, now: number): void {
    if (this.isClosing()) return
    const error = new SstpError(
      'SSTP_LOCAL_ABORT',
      'local',
      `we aborted the call (${statusName(status)})`,
      status,
    )
    if (this.state === this.own.disconnected) this.finish('local', error)
    else this.abortWith(error, ATTRIB.NO_ERROR, now)
  }

  framingLost(code: SstpErrorCode): void {
    this.finish('remote', framingError(code, this.peer))
  }

  closed(now: number): void {
    if (this.isClosing()) {
      this.finish('remote', undefined)
      return
    }
    const what = `the ${this.peer} closed the connection without ending the call${this.hint(now)}`
    this.finish('remote', new SstpError('SSTP_CONNECTION_CLOSED', 'remote', what))
  }

  get hasOutput(): boolean {
    return this.echoResponse || this.echoRequest || this.queue.length > 0
  }

  output(dst: Uint8Array, off: number): number {
    const room = dst.length - off
    if (this.echoResponse) {
      if (room < ECHO_RESPONSE.length) return 0
      this.echoResponse = false
      dst.set(ECHO_RESPONSE, off)
      return ECHO_RESPONSE.length
    }
    const packet = this.queue[0]
    if (packet !== undefined) {
      if (room < packet.length) return 0
      this.queue.shift()
      dst.set(packet, off)
      return packet.length
    }
    if (!this.echoRequest || room < ECHO_REQUEST.length) return 0
    this.echoRequest = false
    dst.set(ECHO_REQUEST, off)
    return ECHO_REQUEST.length
  }

  nextTimeout(): number {
    return this.timer === 'hello' ? this.helloFrom + this.helloInterval : this.deadline
  }

  handleTimeout(now: number): void {
    if (now < this.nextTimeout()) return
    switch (this.timer) {
      case undefined:
        break
      case 'negotiation': {
        const what = `${this.awaited()} within ${this.negotiationTimeout / 1000} s`
        this.abortFor('SSTP_NEGOTIATION_TIMEOUT', what, ATTRIB.NO_ERROR, STATUS.NEGOTIATION_TIMEOUT, now)
        break
      }
      case 'hello':
        this.hello(now)
        break
      default: // a closing timer
        this.finish('local', undefined)
    }
  }

  nextEvent(): SstpEvent | undefined {
    return this.events.shift()
  }

  /** The HTTP handshake is done: the first step of this side. */
  protected abstract begin(now: number): void
  /** A well-formed message that is not about closing or echo; `b[off, len]` are its octets. */
  protected abstract inputMessage(m: KnownMessage, b: Uint8Array, off: number, len: number, now: number): void
  protected abstract acceptKey(hlak: Uint8Array, now: number, otherHlak?: Uint8Array): void
  /** What did not happen in time, as the beginning of a sentence. */
  protected abstract awaited(): string

  /** A remark on why the other end may have gone, to append to a message. */
  protected hint(_now: number): string {
    return ''
  }

  /** The call is over and nothing of it is needed any more. */
  protected wipe(): void {}

  protected send(packet: Uint8Array): void {
    this.queue.push(packet)
  }

  protected tell(event: SstpEvent): void {
    this.events.push(event)
  }

  protected startNegotiation(now: number): void {
    this.timer = 'negotiation'
    this.deadline = now + this.negotiationTimeout
  }

  /** Client_Call_Connected or Server_Call_Connected. */
  protected enterConnected(hash: Hash, now: number): void {
    this.state = this.own.connected
    this.mayControl = true
    this.mayData = true
    this.timer = 'hello'
    this.packetReceived(now)
    this.tell({ type: 'connected', hash })
  }

  /** A message where it has no place. MS-SSTP 3.1.5.1 */
  protected unaccepted(name: string, now: number): void {
    const what = `the ${this.peer} sent ${name} where it has no place (${this.state})`
    this.abortFor('SSTP_UNACCEPTED_MESSAGE', what, ATTRIB.NO_ERROR, STATUS.UNACCEPTED_FRAME_RECEIVED, now)
  }

  /** The abort procedure on account of the other end. */
  protected abortFor(code: SstpErrorCode, what: string, attribId: number, status: number, now: number): void {
    this.abortWith(new SstpError(code, 'remote', what, status), attribId, now)
  }

  private abortWith(error: SstpError, attribId: number, now: number): void {
    this.send(controlPacket('CALL_ABORT', [statusInfo(attribId, error.status ?? STATUS.NO_ERROR)]))
    this.leave('Call_Abort_Pending', 'ABORT_TIMER_1', now)
    this.because('local', error)
  }

  private inputClosing(name: ClosingMessage, status: number | undefined, now: number): void {
    switch (CLOSING[this.row()][name]) {
      case 'ignore':
        break
      case 'abort':
        this.unaccepted(name, now)
        break
      case 'answer-abort': {
        const words = status === undefined ? '' : ` (${statusName(status)})`
        const what = `the ${this.peer} aborted the call${words}${this.hint(now)}`
        this.tell({ type: 'peer-abort', status })
        this.send(controlPacket('CALL_ABORT', [statusInfo(ATTRIB.NO_ERROR, STATUS.NO_ERROR)]))
        this.leave('Call_Abort_Timeout_Pending', 'ABORT_TIMER_2', now)
        this.because('remote', new SstpError('SSTP_PEER_ABORT', 'remote', what, status))
        break
      }
      case 'linger':
        this.leave('Call_Abort_Timeout_Pending', 'ABORT_TIMER_2', now)
        break
      case 'answer-disconnect':
        this.tell({ type: 'peer-disconnect', status })
        this.send(controlPacket('CALL_DISCONNECT_ACK'))
        this.leave('Call_Disconnect_Timeout_Pending', 'DISCONNECT_TIMER_2', now)
        this.because('remote', undefined)
        break
      case 'close':
        this.finish('local', undefined)
        break
    }
  }

  private leave(state: ClosingState, timer: ClosingTimer, now: number): void {
    this.state = state
    this.timer = timer
    this.deadline = now + CLOSING_TIMER[timer]
    this.mayControl = false
    this.mayData = false
    this.echoRequest = false
    this.echoResponse = false
    this.wipe()
  }

  /** Notes who ended the call and why. The first reason is the one that counts. */
  private because(by: 'local' | 'remote', error: SstpError | undefined): void {
    if (this.end !== undefined) return
    this.end = { by, error }
    this.tell({ type: 'closing', error })
  }

  private finish(by: 'local' | 'remote', error: SstpError | undefined): void {
    if (this.state === this.own.disconnected && this.end !== undefined) return
    this.end ??= { by, error }
    this.started = true
    this.state = this.own.disconnected
    this.timer = undefined
    this.deadline = Number.POSITIVE_INFINITY
    this.mayControl = false
    this.mayData = false
    this.echoRequest = false
    this.echoResponse = false
    this.queue.length = 0
    this.wipe()
    this.tell({ type: 'closed', ...this.end })
  }

  private hello(now: number): void {
    if (this.helloUnanswered) {
      // MS-SSTP 3.1.2.3: the link is dead, so not even CALL_ABORT is sent.
      const seconds = (2 * this.helloInterval) / 1000
      const what = `nothing came from the ${this.peer} for ${seconds} s, ECHO_REQUEST was not answered`
      this.finish('local', new SstpError('SSTP_HELLO_TIMEOUT', 'remote', what))
      return
    }
    this.helloUnanswered = true
    this.helloFrom = now
    this.echoRequest = true
  }

  private isClosing(): boolean {
    return this.row() !== 'open'
  }

  private row(): ClosingState | 'open' {
    const state: string = this.state
    return isClosingState(state) ? state : 'open'
  }
}

function isClosingState(state: string): state is ClosingState {
  return state !== 'open' && Object.hasOwn(CLOSING, state)
}

function isClosingMessage(name: string | undefined): name is ClosingMessage {
  return name === 'CALL_ABORT' || name === 'CALL_DISCONNECT' || name === 'CALL_DISCONNECT_ACK'
}

const ECHO_REQUEST = controlPacket('ECHO_REQUEST')
const ECHO_RESPONSE = controlPacket('ECHO_RESPONSE')
