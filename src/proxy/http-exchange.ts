import type { Socket } from 'node:net'
import type { DialError, Flow, FlowHandler } from '../tunnel/dialer.js'
import { signsConnectionIn } from './http-auth.js'
import { BodyReader, type Framing, responseFraming } from './http-body.js'
import { emitLastChunk, emitResponseHead, type Persistence, persistenceOf } from './http-head.js'
import { HeadReader, parseResponseHead, type ResponseHead } from './http-message.js'
import { Slices } from './http-slices.js'

export interface ExchangePlan {
  /** The head as it goes to the server. */
  readonly head: Buffer
  readonly method: string
  /** HTTP/1.`minor` of the client. */
  readonly minor: 0 | 1
  readonly framing: Framing
  /** The client would like to go on afterwards. */
  readonly keepAlive: boolean
  readonly upgrade: boolean
  readonly via: string | undefined
}

/** How an exchange ends: exactly one of the four is called, once, and the flow is left to the callee. */
export interface ExchangeEvents {
  /** Response and request are through; or `keepAlive` is false. */
  onDone(keepAlive: boolean): void
  /** 101 was passed on: from now on a tunnel. */
  onUpgraded(): void
  /** Nothing of a response has reached the client. */
  onFailed(status: number, message: string, proxyStatus: string): void
  /** The response broke off in the middle. */
  onBroken(message: string): void
  /** There is room for the request's body again. Not an end. */
  onRoom(): void
  /** Octets behind the request have come already. */
  isAhead(): boolean
  /** The flow is gone, before or after the end. */
  onGone(): void
}

/** One request and its response over one flow. Bodies go through as slices, at the receiver's pace. */
export class Exchange implements FlowHandler {
  readonly #socket: Socket
  readonly #flow: Flow
  readonly #plan: ExchangePlan
  readonly #events: ExchangeEvents
  readonly #upload: BodyReader
  #blocked = false
  #reader = new HeadReader(false)
  #download: BodyReader | undefined
  #chunkedOut = false
  #keepAlive = false
  #persistence: Persistence | undefined
  #signedIn = false
  #heard = false
  /** The response's head, until it goes out with the first of its body. */
  #prefix: Buffer | undefined
  #headSent = false
  #lastChunkSent = false
  readonly #uploaded = new Slices()
  readonly #downloaded = new Slices()
  #writing = false
  /** To be consumed once the write under way is done. */
  #pending = 0
  #over = false
  #up = 0
  #down = 0

  constructor(socket: Socket, flow: Flow, plan: ExchangePlan, events: ExchangeEvents) {
    this.#socket = socket
    this.#flow = flow
    this.#plan = plan
    this.#events = events
    this.#upload = new BodyReader(plan.framing, true)
  }

  start(): void {
    this.#flow.handler = this
    this.#up += this.#plan.head.length
    this.#blocked = !this.#flow.write(this.#plan.head)
    this.#pump()
  }

  /** The whole request has been taken over. */
  get uploaded(): boolean {
    return this.#upload.done
  }

  /** The flow is full: hand in no more of the body until `onRoom`. */
  get blocked(): boolean {
    return this.#blocked
  }

  /** Not one octet of a response has come. */
  get silent(): boolean {
    return !this.#heard
  }

  /** What the server lets its connection be used for afterwards; undefined: nothing. */
  get persistence(): Persistence | undefined {
    return this.#persistence
  }

  /** The server has bound its connection to a user, or begun to. */
  get signedIn(): boolean {
    return this.#signedIn
  }

  /** Of the response itself, something has reached the client. */
  get answered(): boolean {
    return this.#headSent
  }

  get up(): number {
    return this.#up
  }

  get down(): number {
    return this.#down
  }

  /** Octets of the request's body. Returns how many belong to it; -1: they are malformed. */
  push(chunk: Buffer): number {
    const taken = this.#upload.push(chunk, 0, chunk.length, this.#uploaded)
    if (taken < 0) return -1
    const size = this.#uploaded.length
    const slices = this.#uploaded.take()
    const chunked = this.#plan.framing.kind === 'chunked'
    if (slices.length > 0 && chunked) this.#send(chunkHead(size))
    for (const slice of slices) this.#send(slice)
    if (slices.length > 0 && chunked) this.#send(CRLF)
    if (chunked && this.#upload.done) this.#send(emitLastChunk(this.#upload.trailers))
    return taken
  }

  /** Nothing more is told; the flow is left to the caller. */
  cancel(): void {
    this.#over = true
  }

  onReadable(): void {
    this.#pump()
  }

  onWritable(): void {
    this.#blocked = false
    if (!this.#over) this.#events.onRoom()
  }

  onClose(error: DialError | undefined): void {
    this.#events.onGone()
    if (this.#isPassedOn()) {
      this.#persistence = undefined
      this.#finish()
      return
    }
    this.#fail(502, error?.message ?? 'the server closed the connection', 'connection_terminated')
  }

  /** The kernel has the whole response, though the socket has not said so yet: what the server does now is late. */
  #isPassedOn(): boolean {
    const whole = this.#download?.done === true && (!this.#chunkedOut || this.#lastChunkSent)
    return whole && this.#headSent && this.#socket.writableLength === 0
  }

  #send(bytes: Uint8Array): void {
    this.#up += bytes.length
    if (!this.#flow.write(bytes)) this.#blocked = true
  }

  #pump(): void {
    while (!this.#writing && !this.#over) {
      const more = this.#download === undefined ? this.#readHead() : this.#readBody(this.#download)
      if (!more) return
    }
  }

  /** False: wait for more. */
  #readHead(): boolean {
    const view = this.#flow.peek()
    if (view.length === 0) {
      if (this.#flow.ended)
        this.#fail(502, 'the server closed the connection without a response', 'connection_terminated')
      return false
    }
    this.#heard = true
    const taken = this.#reader.push(view, 0, view.length)
    this.#flow.consume(taken)
    if (this.#reader.state === 'reading') return true
    const head = this.#reader.state === 'done' ? parseResponseHead(this.#reader.text) : this.#reader.error
    if (head === undefined || head.type === 'error') {
      this.#malformed(head?.message ?? 'the response is malformed')
      return false
    }
    if (head.status === 101) {
      if (!this.#plan.upgrade) {
        this.#malformed('the server switched protocols without being asked')
        return false
      }
      this.#over = true
      this.#socket.write(emitResponseHead(head, { kind: 'none' }, 'upgrade', this.#plan.via))
      this.#events.onUpgraded()
      return false
    }
    const framing = responseFraming(head, this.#plan.method)
    if ('type' in framing) {
      this.#malformed(framing.message)
      return false
    }
    if (head.status < 200) {
      this.#reader = new HeadReader(false)
      // RFC 9110 15.2: HTTP/1.0 knows no interim responses.
      if (this.#plan.minor === 0) return true
      this.#write([emitResponseHead(head, framing, undefined, this.#plan.via)], 0)
      return false
    }
    this.#begin(head, framing)
    return true
  }

  #begin(head: ResponseHead, framing: Framing): void {
    const { minor, keepAlive, via } = this.#plan
    // HTTP/1.0 knows no chunks: the content goes out bare, and its end is the connection's.
    const chunked = framing.kind === 'chunked'
    const bare = chunked && minor === 0
    const outer: Framing = bare ? { kind: 'until-close', codings: framing.codings } : framing
    this.#chunkedOut = chunked && !bare
    this.#persistence = persistenceOf(head, framing)
    this.#signedIn = signsConnectionIn(head)
    // What was sent ahead of a refused upgrade is in the other protocol, and no request.
    const astray = this.#plan.upgrade && this.#events.isAhead()
    // A client whose request is still on its way could not tell whether the rest of it is read.
    this.#keepAlive = keepAlive && this.#upload.done && outer.kind !== 'until-close' && !astray
    const connection = this.#keepAlive ? (minor === 0 ? 'keep-alive' : undefined) : 'close'
    this.#prefix = emitResponseHead(head, outer, connection, via, this.#signedIn && this.#keepAlive)
    this.#download = new BodyReader(framing, false)
  }

  /** False: wait for more. */
  #readBody(body: BodyReader): boolean {
    if (body.done) {
      const parts: Uint8Array[] = []
      if (this.#chunkedOut && !this.#lastChunkSent) {
        this.#lastChunkSent = true
        parts.push(emitLastChunk(body.trailers))
      }
      if (parts.length > 0 || this.#prefix !== undefined) this.#write(parts, 0)
      else this.#finish()
      return false
    }
    const view = this.#flow.peek()
    if (view.length === 0) {
      if (this.#flow.ended) {
        if (body.finish()) return true
        this.#fail(502, 'the server broke off its response', 'connection_terminated')
      } else if (this.#prefix !== undefined) {
        this.#write([], 0)
      }
      return false
    }
    const taken = body.push(view, 0, Math.min(view.length, MAX_WRITE), this.#downloaded)
    if (taken < 0) {
      this.#malformed(`in the response ${body.error}`)
      return false
    }
    const size = this.#downloaded.length
    const slices = this.#downloaded.take()
    if (slices.length === 0) {
      this.#flow.consume(taken)
      return true
    }
    if (this.#chunkedOut) {
      slices.unshift(chunkHead(size))
      slices.push(CRLF)
      if (body.done) {
        this.#lastChunkSent = true
        slices.push(emitLastChunk(body.trailers))
      }
    }
    this.#write(slices, taken)
    return false
  }

  /** Writes the head that waits and `parts` as one; `consume` octets of the flow lie behind them. */
  #write(parts: readonly Uint8Array[], consume: number): void {
    const socket = this.#socket
    const all = this.#prefix === undefined ? parts : [this.#prefix, ...parts]
    this.#prefix = undefined
    this.#writing = true
    this.#pending = consume
    if (this.#download !== undefined) this.#headSent = true
    const last = all.length - 1
    if (last > 0) socket.cork()
    for (let i = 0; i <= last; i++) {
      const part = all[i] ?? CRLF
      this.#down += part.length
      if (i < last) socket.write(part)
      else socket.write(part, this.#onWritten)
    }
    if (last > 0) socket.uncork()
  }

  readonly #onWritten = (error?: Error | null): void => {
    this.#writing = false
    // The socket's close follows, and whoever owns it cancels us.
    if (error || this.#over) return
    this.#flow.consume(this.#pending)
    this.#pending = 0
    this.#pump()
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    this.#events.onDone(this.#keepAlive)
  }

  #malformed(message: string): void {
    this.#fail(502, message, 'http_protocol_error')
  }

  #fail(status: number, message: string, proxyStatus: string): void {
    if (this.#over) return
    this.#over = true
    if (this.#headSent) this.#events.onBroken(message)
    else this.#events.onFailed(status, message, proxyStatus)
  }
}

function chunkHead(size: number): Buffer {
  return Buffer.from(`${size.toString(16)}\r\n`, 'latin1')
}

const CRLF = Buffer.from('\r\n')
/** So that a slow client's window opens in steps and not all at once. */
const MAX_WRITE = 262_144
