/**
 * The option negotiation automaton (RFC 1661 4), once for LCP, IPCP and IPV6CP.
 *
 * Every transition is a cell of the table in fsm-table.ts. What the options are, and what happens when a layer comes up,
 * is handed in: this file knows neither the protocol nor which end of the link we are.
 */
import { copyOf, u8 } from '../../stack/bytes.js'
import { CONTROL_HEADER, Code, controlLength } from './control.js'
import { PppError, type PppLayer, peerText } from './errors.js'
import { MAX_INFORMATION } from './frame.js'
import { type Action, type Event, type State, TABLE } from './fsm-table.js'
import { OptionWriter, optionsValid } from './option.js'

/** RFC 1661 4.6, with the defaults that pppd and Windows use. */
export const RESTART_TIMER = 3000
export const MAX_TERMINATE = 2
export const MAX_CONFIGURE = 10
export const MAX_FAILURE = 5

/** Ours: a peer that still disagrees after so many answers, in either direction, never will agree. */
export const MAX_ROUNDS = 20

export type Verdict = 'ack' | 'nak' | 'reject'

const ANSWER_CODE: Readonly<Record<Verdict, number>> = {
  ack: Code.CONFIGURE_ACK,
  nak: Code.CONFIGURE_NAK,
  reject: Code.CONFIGURE_REJECT,
}

/** The options of one protocol: what we ask for, and what we say to the peer's. */
export interface OptionSet {
  /** Writes the options of our next Configure-Request. */
  request(w: OptionWriter): void
  /**
   * A request of the peer begins.
   * @param repeat it is, octet for octet and with its identifier, the one that we answered last
   * @param mayNak false once Max-Failure Naks were sent: a Nak will go out as a Reject
   */
  beginRequest(repeat: boolean, mayNak: boolean): void
  /** One option of it, data at `b[o .. o + len)`. A verdict of nak writes the wanted option to `nak`. */
  judge(type: number, b: Uint8Array, o: number, len: number, nak: OptionWriter): Verdict
  /** All options were seen; wanted ones that are missing may be written to `nak`. An error ends the layer. */
  endRequest(nak: OptionWriter): PppError | undefined
  /** What the request last judged is answered with. After an Ack its values hold. */
  answering(verdict: Verdict): void
  /** The peer acknowledged our request. */
  acked(): PppError | undefined
  /** The peer wants another value for an option of ours, or one that we did not ask for. */
  naked(type: number, b: Uint8Array, o: number, len: number): PppError | undefined
  /** The peer will not negotiate this option of ours. */
  rejected(type: number): PppError | undefined
}

/** Everything around the automaton. Callbacks may feed it further events. */
export interface FsmHost {
  /** The time of the call that is being worked on, in milliseconds. */
  now(): number
  /** Queues a packet; returns its place in the order of all that was queued. */
  send(code: number, id: number, b: Uint8Array, o: number, len: number): number
  /** Has the packet of that place left? */
  taken(place: number): boolean
  /** Largest information field that the peer takes. */
  peerMru(): number
  /** tlu */
  up(): void
  /** tld, with the event that caused it. */
  down(event: Event): void
  /** tlf, with the event that caused it. */
  finished(event: Event): void
  /** A Terminate-Request came and was answered; `text` is what the peer says about it. */
  terminated(text: string): void
  /** The options cannot be agreed on. */
  failed(error: PppError): void
  /** A code that is not common to all protocols. Returns the event that it makes, or undefined if it is unknown. */
  other(code: number, id: number, b: Uint8Array, o: number, len: number): Event | 'ignored' | undefined
  /** ser: the answer to what `other` made RXR of. */
  echo(id: number, b: Uint8Array, o: number, len: number): void
  /** A Code-Reject of one of our packets that was not one of codes 1 to 7. */
  codeRejected(code: number): void
}

export interface FsmOptions {
  readonly layer: PppLayer
  readonly set: OptionSet
  readonly host: FsmHost
  /**
   * Repeat our request, unchanged, when the peer's first one comes and ours, sent before, is unanswered. A
   * peer that was not ready yet has dropped ours (accel-ppp, sstp-server); it would cost a restart period.
   */
  readonly eager: boolean
}

/** More than all options that any protocol here suggests take together. */
const NAK_SIZE = 512

const EMPTY = new Uint8Array(0)

export class Fsm {
  /** Read only from outside. */
  state: State = 'Initial'
  readonly #layer: PppLayer
  readonly #set: OptionSet
  readonly #host: FsmHost
  readonly #eager: boolean
  #deadline = Number.POSITIVE_INFINITY
  #restartCounter = 0
  /** Our last Configure-Request. */
  #id = 0
  #request: Uint8Array = EMPTY
  #answered = true
  #requestPlace = 0
  /** Identifiers of Terminate-Requests and Code-Rejects. */
  #otherId = 0
  /** The peer's last Configure-Request that we answered, and whether by an Ack. */
  #peerId = -1
  #peerRequest: Uint8Array = EMPTY
  #peerAcked = false
  #heardRequest = false
  #repeats = 0
  #naks = 0
  #rounds = 0
  /** What sca or scn, sta, scj and ser are about. */
  #packet: Uint8Array = EMPTY
  #packetAt = 0
  #packetLength = 0
  #answer: Verdict = 'ack'
  #answerOptions: Uint8Array = EMPTY

  constructor(options: FsmOptions) {
    this.#layer = options.layer
    this.#set = options.set
    this.#host = options.host
    this.#eager = options.eager
  }

  nextTimeout(): number {
    return this.#deadline
  }

  handleTimeout(now: number): void {
    if (now < this.#deadline) return
    this.event(this.#restartCounter > 0 ? 'TO+' : 'TO-')
  }

  /** One event of RFC 1661 4.3. Returns false if it cannot happen in this state. */
  event(event: Event): boolean {
    const cell = TABLE[this.state][event]
    if (cell === undefined) return false
    this.state = cell.next
    switch (cell.next) {
      case 'Closing':
      case 'Stopping':
      case 'Req-Sent':
      case 'Ack-Rcvd':
      case 'Ack-Sent':
        break
      default:
        this.#deadline = Number.POSITIVE_INFINITY
    }
    for (const action of cell.actions) {
      this.#act(action, event, cell.actions)
      // A callback moved the automaton on: what is left of this cell is no longer due.
      if (this.state !== cell.next) break
    }
    return true
  }

  /** One packet, from its code on, with whatever padding behind it. */
  input(b: Uint8Array, o: number, len: number): void {
    if (this.state === 'Initial' || this.state === 'Starting') return
    const length = controlLength(b, o, len)
    if (length < 0 || length > MAX_INFORMATION) return
    this.#packet = b
    this.#packetAt = o
    this.#packetLength = length
    const data = o + CONTROL_HEADER
    const dataLength = length - CONTROL_HEADER
    const code = u8(b, o)
    switch (code) {
      case Code.CONFIGURE_REQUEST:
        if (optionsValid(b, data, dataLength)) this.#configureRequest(u8(b, o + 1), b, data, dataLength)
        break
      case Code.CONFIGURE_ACK:
        if (this.#expected(b, o) && this.#isOurRequest(b, data, dataLength)) this.#configureAck()
        break
      case Code.CONFIGURE_NAK:
        if (this.#expected(b, o) && optionsValid(b, data, dataLength)) this.#configureNak(b, data, dataLength)
        break
      case Code.CONFIGURE_REJECT:
        if (this.#expected(b, o) && this.#isPartOfOurRequest(b, data, dataLength)) {
          this.#configureReject(b, data, dataLength)
        }
        break
      case Code.TERMINATE_REQUEST:
        if (this.event('RTR')) this.#host.terminated(peerText(b, data, dataLength))
        break
      case Code.TERMINATE_ACK:
        this.event('RTA')
        break
      case Code.CODE_REJECT: {
        if (dataLength < 1) break
        const rejected = u8(b, data)
        // RFC 1661 5.6: without one of the seven common codes there is no talking.
        if (rejected >= Code.CONFIGURE_REQUEST && rejected <= Code.CODE_REJECT) this.event('RXJ-')
        else {
          this.#host.codeRejected(rejected)
          this.event('RXJ+')
        }
        break
      }
      default: {
        const event = this.#host.other(code, u8(b, o + 1), b, data, dataLength)
        if (event === undefined) this.event('RUC')
        else if (event !== 'ignored') this.event(event)
      }
    }
    this.#packet = EMPTY
  }

  #act(action: Action, event: Event, actions: readonly Action[]): void {
    const b = this.#packet
    const at = this.#packetAt
    switch (action) {
      case 'tlu':
        this.#naks = 0
        this.#rounds = 0
        this.#host.up()
        break
      case 'tld':
        this.#repeats = 0
        this.#host.down(event)
        break
      case 'tls':
        break
      case 'tlf':
        this.#host.finished(event)
        break
      case 'irc':
        this.#restartCounter = actions.includes('str') ? MAX_TERMINATE : MAX_CONFIGURE
        break
      case 'zrc':
        // One period of silence before the end, in which the peer gets our Terminate-Ack.
        this.#restartCounter = 0
        this.#deadline = this.#host.now() + RESTART_TIMER
        break
      case 'scr':
        this.#sendConfigureRequest()
        break
      case 'sca':
      case 'scn':
        this.#sendAnswer()
        break
      case 'str':
        this.#restartCounter -= 1
        this.#deadline = this.#host.now() + RESTART_TIMER
        this.#otherId = (this.#otherId + 1) & 255
        this.#host.send(Code.TERMINATE_REQUEST, this.#otherId, EMPTY, 0, 0)
        break
      case 'sta':
        this.#host.send(Code.TERMINATE_ACK, u8(b, at + 1), EMPTY, 0, 0)
        break
      case 'scj': {
        const room = Math.max(0, Math.min(this.#host.peerMru(), MAX_INFORMATION) - CONTROL_HEADER)
        this.#otherId = (this.#otherId + 1) & 255
        this.#host.send(Code.CODE_REJECT, this.#otherId, b, at, Math.min(this.#packetLength, room))
        break
      }
      case 'ser':
        this.#host.echo(u8(b, at + 1), b, at + CONTROL_HEADER, this.#packetLength - CONTROL_HEADER)
        break
    }
  }

  /** scr: a new identifier if the options changed or the last request was answered, else a retransmission. */
  #sendConfigureRequest(): void {
    const w = new OptionWriter(255)
    this.#set.request(w)
    if (this.#answered || !equal(this.#request, w.bytes, 0, w.length)) {
      this.#id = (this.#id + 1) & 255
      this.#request = w.take()
      this.#answered = false
    }
    this.#restartCounter -= 1
    this.#deadline = this.#host.now() + RESTART_TIMER
    this.#transmitRequest()
  }

  #transmitRequest(): void {
    const request = this.#request
    this.#requestPlace = this.#host.send(Code.CONFIGURE_REQUEST, this.#id, request, 0, request.length)
  }

  #configureRequest(id: number, b: Uint8Array, o: number, len: number): void {
    const state = this.state
    if (state === 'Closed' || state === 'Closing' || state === 'Stopping') {
      this.event('RCR+') // the same cell as RCR-: nothing to judge
      return
    }
    const repeat = id === this.#peerId && equal(this.#peerRequest, b, o, len)
    if (state === 'Opened' && repeat && this.#peerAcked && this.#repeats < MAX_CONFIGURE) {
      // Our Ack is late, and this a retransmission that has crossed it. RFC 1661 would begin anew.
      this.#repeats += 1
      this.#host.send(Code.CONFIGURE_ACK, id, b, o, len)
      return
    }
    if (!this.#heardRequest) {
      this.#heardRequest = true
      // Ahead of our answer, so that the peer cannot have opened before it gets this.
      const waiting = state === 'Req-Sent' && !this.#answered && this.#host.taken(this.#requestPlace)
      if (this.#eager && waiting) this.#transmitRequest()
    }
    const error = this.#judge(repeat, b, o, len)
    if (error !== undefined) {
      this.#host.failed(error)
      return
    }
    this.#peerId = id
    this.#peerRequest = copyOf(b, o, o + len)
    this.#peerAcked = this.#answer === 'ack'
    this.#set.answering(this.#answer)
    if (this.#peerAcked) {
      this.#naks = 0
      this.event('RCR+')
      return
    }
    if (this.#answer === 'nak') this.#naks += 1
    this.event('RCR-')
    this.#countRound()
  }

  /** Decides between Ack, Nak and Reject (RFC 1661 5.2 to 5.4). */
  #judge(repeat: boolean, b: Uint8Array, o: number, len: number): PppError | undefined {
    const nak = new OptionWriter(NAK_SIZE)
    const naked = new OptionWriter(len)
    const reject = new OptionWriter(len)
    const mayNak = this.#naks < MAX_FAILURE
    this.#set.beginRequest(repeat, mayNak)
    for (let p = o; p < o + len; p += u8(b, p + 1)) {
      const verdict = this.#set.judge(u8(b, p), b, p + 2, u8(b, p + 1) - 2, nak)
      if (verdict === 'reject') reject.copy(b, p, u8(b, p + 1))
      else if (verdict === 'nak') naked.copy(b, p, u8(b, p + 1))
    }
    const error = this.#set.endRequest(nak)
    if (error !== undefined) return error
    if (reject.length === 0 && (mayNak ? nak.length : naked.length) === 0) {
      // The octets that came, not our reading of them.
      this.#answer = 'ack'
      this.#answerOptions = copyOf(b, o, o + len)
    } else if (reject.length === 0 && mayNak) {
      this.#answer = 'nak'
      this.#answerOptions = nak.take()
    } else {
      // RFC 1661 4.6, Max-Failure: after that many Naks options are rejected instead, and none is added.
      this.#answer = 'reject'
      this.#answerOptions = (reject.length > 0 ? reject : naked).take()
    }
    return undefined
  }

  #sendAnswer(): void {
    this.#host.send(
      ANSWER_CODE[this.#answer],
      this.#peerId,
      this.#answerOptions,
      0,
      this.#answerOptions.length,
    )
  }

  /** Only the first answer to our last request counts; all others are silently dropped. */
  #expected(b: Uint8Array, o: number): boolean {
    return !this.#answered && u8(b, o + 1) === this.#id
  }

  #isOurRequest(b: Uint8Array, o: number, len: number): boolean {
    return equal(this.#request, b, o, len)
  }

  /** RFC 1661 5.4: a Reject holds options of the request, unchanged and in order. */
  #isPartOfOurRequest(b: Uint8Array, o: number, len: number): boolean {
    if (len === 0 || !optionsValid(b, o, len)) return false
    const ours = this.#request
    let q = 0
    for (let p = o; p < o + len; p += u8(b, p + 1)) {
      while (q < ours.length && !equal(ours.subarray(q, q + u8(ours, q + 1)), b, p, u8(b, p + 1))) {
        q += u8(ours, q + 1)
      }
      if (q >= ours.length) return false
      q += u8(ours, q + 1)
    }
    return true
  }

  #configureAck(): void {
    this.#answered = true
    const error = this.#set.acked()
    if (error !== undefined) this.#host.failed(error)
    else this.event('RCA')
  }

  #configureNak(b: Uint8Array, o: number, len: number): void {
    this.#answered = true
    for (let p = o; p < o + len; p += u8(b, p + 1)) {
      const error = this.#set.naked(u8(b, p), b, p + 2, u8(b, p + 1) - 2)
      if (error === undefined) continue
      this.#host.failed(error)
      return
    }
    this.event('RCN')
    this.#countRound()
  }

  #configureReject(b: Uint8Array, o: number, len: number): void {
    this.#answered = true
    for (let p = o; p < o + len; p += u8(b, p + 1)) {
      const error = this.#set.rejected(u8(b, p))
      if (error === undefined) continue
      this.#host.failed(error)
      return
    }
    this.event('RCN')
    this.#countRound()
  }

  #countRound(): void {
    this.#rounds += 1
    if (this.#rounds <= MAX_ROUNDS) return
    this.#rounds = 0
    const name = this.#layer.toUpperCase()
    this.#host.failed(new PppError(this.#layer, 'NOT_CONVERGING', `the ${name} options cannot be agreed on`))
  }
}

function equal(ours: Uint8Array, b: Uint8Array, o: number, len: number): boolean {
  if (ours.length !== len) return false
  for (let i = 0; i < len; i += 1) if (ours[i] !== b[o + i]) return false
  return true
}
