import type { Flow, HostPort } from '../tunnel/dialer.js'
import { abandon, type Client, release, type Stage } from './client.js'
import { type Asker, askerOf, emitError } from './error-page.js'
import { canGoOn, connectionOption, hasBody, OwnAnswer } from './http-answer.js'
import { CHALLENGE, permissionOf, signsConnectionIn } from './http-auth.js'
import { type Framing, requestFraming } from './http-body.js'
import { Exchange, type ExchangePlan } from './http-exchange.js'
import {
  emitFinalRecipient,
  emitRequestHead,
  maxForwards,
  parseConnectTarget,
  parseProxyTarget,
  wantsKeepAlive,
  wantsUpgrade,
} from './http-head.js'
import { HeadReader, parseRequestHead, type RequestHead, valuesOf } from './http-message.js'
import { answerPage } from './http-pages.js'
import { Relay } from './relay.js'

/** A request on its way to a server. */
interface Forwarded {
  readonly plan: ExchangePlan
  readonly host: string
  readonly port: number
  /** It may be sent twice: it has no body that would be gone, and twice is as good as once (RFC 9110 9.2.2). */
  readonly repeatable: boolean
  /** Its connection may be used again. */
  readonly persistent: boolean
  /** Its connection is the client's own: it is signed in there, or signs in now. */
  readonly signedIn: boolean
}

interface RunningExchange {
  readonly exchange: Exchange
  readonly flow: Flow
  readonly request: Forwarded
}

/** An HTTP client: requests one after the other, RFC 9112 9.3, until one makes the connection a tunnel. */
export class HttpConnection implements Stage {
  readonly #client: Client
  /** `answering`: with something of our own, behind which the connection goes on. */
  #state: 'head' | 'answering' | 'dialing' | 'exchange' | 'over' = 'head'
  #reader = new HeadReader(true)
  /** What was received and not yet taken by anything, in order. */
  #backlog: Buffer[] = []
  #backlogLength = 0
  #headStarted = false
  #asker: Asker | undefined
  #running: RunningExchange | undefined
  #own: OwnAnswer | undefined
  /** Wrong credentials so far. */
  #wrong = 0
  /** The backlog is being worked on. */
  #busy = false
  /** For CONNECT: an end without a word behind the request is a client that has gone. */
  #abandonsDial = false

  constructor(client: Client) {
    this.#client = client
  }

  start(first: Buffer): void {
    this.#client.enter(this)
    this.#awaitHead()
    this.onLocalData(first)
  }

  onLocalData(chunk: Buffer): void {
    this.#backlog.push(chunk)
    this.#backlogLength += chunk.length
    this.#run()
  }

  onLocalEnd(): void {
    if (this.#state === 'head') {
      if (this.#reader.begun) this.#refuse(400, 'the request is not complete')
      else this.#end()
    } else if (this.#state === 'exchange') {
      this.#checkEnd()
    } else if (this.#state === 'answering') {
      this.#afterAnswer()
    } else if (this.#state === 'dialing' && this.#abandonsDial && this.#backlogLength === 0) {
      this.#end()
    }
  }

  onLocalClose(): void {
    this.#leave()
    this.#close('the client broke the connection')
  }

  /** Gives the backlog to whoever wants it, and decides whether to read on. */
  #run(): void {
    if (this.#busy) return
    this.#busy = true
    while (this.#backlogLength > 0 && this.#step()) {
      // Each step takes octets or changes the state.
    }
    this.#busy = false
    if (this.#state === 'over') return
    const waiting =
      this.#running?.exchange.blocked === true ||
      (this.#state !== 'head' &&
        (this.#backlogLength >= MAX_BACKLOG || this.#backlog.length >= MAX_BACKLOG_CHUNKS))
    if (waiting) this.#client.socket.pause()
    else this.#client.socket.resume()
  }

  /** False: nobody wants more at present. */
  #step(): boolean {
    const chunk = this.#backlog[0]
    if (chunk === undefined) return false
    if (this.#state === 'head') {
      if (!this.#headStarted) this.#client.setDeadline(this.#client.context.limits.head, this.#onHeadTimeout)
      this.#headStarted = true
      this.#drop(this.#reader.push(chunk, 0, chunk.length))
      if (this.#reader.state === 'done') this.#onHead(this.#reader.text)
      else if (this.#reader.error !== undefined)
        this.#refuse(this.#reader.error.status, this.#reader.error.message)
      return true
    }
    if (this.#state === 'answering') return this.#skip(chunk)
    const exchange = this.#running?.exchange
    if (this.#state !== 'exchange' || exchange === undefined || exchange.uploaded || exchange.blocked)
      return false
    const taken = exchange.push(chunk)
    if (taken < 0) {
      // The server has part of the request already; neither side is to take it for a whole one.
      this.#breakOff('the body of the request is malformed')
      return false
    }
    this.#drop(taken)
    return true
  }

  #drop(count: number): void {
    const chunk = this.#backlog[0]
    if (chunk === undefined) return
    this.#backlogLength -= count
    if (count === chunk.length) this.#backlog.shift()
    else this.#backlog[0] = chunk.subarray(count)
  }

  #awaitHead(): void {
    this.#state = 'head'
    this.#headStarted = false
    this.#asker = undefined
    this.#own = undefined
    this.#reader = new HeadReader(true)
  }

  readonly #onHeadTimeout = (): void => {
    this.#leave()
    const message = 'the head of the request did not come in time'
    this.#client.reject('timeout', message, emitError(408, message))
  }

  readonly #onIdle = (): void => this.#end()

  #onHead(text: string): void {
    this.#client.clearDeadline()
    const head = parseRequestHead(text)
    if (head.type === 'error') {
      this.#refuse(head.status, head.message)
      return
    }
    this.#asker = askerOf(head)
    // RFC 9112 3.2. None at all is let pass: the target, which replaces it, says everything.
    if (valuesOf(head.fields, 'host').length > 1) {
      this.#refuse(400, 'there is more than one Host field')
      return
    }
    const framing = requestFraming(head)
    if ('type' in framing) {
      this.#refuse(framing.status, framing.message)
      return
    }
    // RFC 9110 9.3.6: a CONNECT has no content; whether what follows is content or tunnel must not be in doubt.
    if (head.method === 'CONNECT' && hasBody(framing)) {
      this.#refuse(400, 'a CONNECT request has no body')
      return
    }
    // Programs fetch their PAC file before they know that there is a proxy to give credentials to.
    if (head.target.startsWith('/') && head.method !== 'CONNECT') this.#servePage(head, framing)
    else if (!this.#admit(head, framing)) return
    else if (head.method === 'CONNECT') this.#connect(head)
    else this.#forward(head, framing)
  }

  #servePage(head: RequestHead, framing: Framing): void {
    const { socket, context } = this.#client
    const address = socket.localAddress ?? ''
    const self = `${address.includes(':') ? `[${address}]` : address}:${socket.localPort ?? 0}`
    const stays = canGoOn(head, framing)
    const { bytes, refused } = answerPage(head, context.pages, self, connectionOption(head, stays))
    if (refused !== undefined) {
      this.#leave()
      this.#client.reject('malformed', refused, bytes)
    } else if (stays) {
      this.#answerAndGoOn(bytes, framing)
    } else {
      this.#leave()
      this.#client.finish(bytes)
    }
  }

  /** Whether the client may use this proxy; if not, it has been told what to say. RFC 9110 11.7.1. */
  #admit(head: RequestHead, framing: Framing): boolean {
    const { credentials, emit } = this.#client.context
    const permission = permissionOf(head.fields, credentials)
    if (permission === 'granted') return true
    const { id, from } = this.#client
    const wrong = permission === 'wrong'
    const message = wrong ? 'the credentials for this proxy are wrong' : 'this proxy asks for credentials'
    if (wrong) {
      this.#wrong++
      emit({ type: 'rejected', client: id, from, reason: 'credentials', message })
    }
    // Octets behind a CONNECT or an upgrade are no request, but what was to go through the tunnel.
    const ahead = this.#backlogLength > 0 && (head.method === 'CONNECT' || wantsUpgrade(head) !== undefined)
    const stays = this.#wrong < MAX_WRONG && !ahead && canGoOn(head, framing)
    const connection = connectionOption(head, stays)
    const answer = emitError(407, message, { ...this.#forAsker(), fields: [CHALLENGE], connection })
    if (stays) {
      this.#answerAndGoOn(answer, framing)
    } else {
      this.#leave()
      this.#client.finish(answer)
    }
    return false
  }

  /** The next request is looked at when the client has taken the answer, so that answers do not pile up. */
  #answerAndGoOn(answer: Buffer, framing: Framing): void {
    this.#state = 'answering'
    this.#client.setDeadline(this.#client.context.limits.head, this.#onIdle)
    this.#own = new OwnAnswer(this.#client.socket, answer, framing, () => this.#afterAnswer())
  }

  /** Octets of a body that nobody wants. False: not now. */
  #skip(chunk: Buffer): boolean {
    const own = this.#own
    if (own === undefined || own.read) return false
    const taken = own.push(chunk)
    if (taken < 0) {
      this.#end()
      return false
    }
    this.#drop(taken)
    this.#afterAnswer()
    return true
  }

  #afterAnswer(): void {
    if (this.#state !== 'answering') return
    if (this.#own?.done === true) this.#nextRequest()
    else if (this.#own?.read === false && this.#client.ended && this.#backlogLength === 0) this.#end()
  }

  #connect(head: RequestHead): void {
    const to = parseConnectTarget(head.target)
    if ('type' in to) {
      this.#refuse(to.status, to.message)
      return
    }
    this.#state = 'dialing'
    this.#abandonsDial = true
    const { host, port } = to
    this.#client.dial(
      'connect',
      host,
      port,
      (flow) => {
        this.#client.socket.write(ESTABLISHED)
        new Relay(this.#client, flow, { protocol: 'connect', host, port }).start(this.#takeBacklog())
      },
      (reply, message) => this.#answer(reply.status, message, reply.proxyStatus, to),
    )
  }

  #forward(head: RequestHead, framing: Framing): void {
    const target = parseProxyTarget(head.method, head.target)
    if ('type' in target) {
      this.#refuse(target.status, target.message)
      return
    }
    if (maxForwards(head) === 0) {
      this.#leave()
      this.#client.finish(emitFinalRecipient(head))
      return
    }
    const { host, port } = target
    const { context, id } = this.#client
    const { upstreams, via } = context
    const keepAlive = wantsKeepAlive(head)
    const bare = !hasBody(framing)
    const upgrade = bare ? wantsUpgrade(head) : undefined
    const repeatable = bare && upgrade === undefined && IDEMPOTENT.has(head.method)
    const own = upstreams?.take(host, port, id)
    // What may not be sent twice is not sent where it may fail for no fault of its own.
    const idle = own ?? (repeatable ? upstreams?.take(host, port) : undefined)
    const signedIn = own !== undefined || signsConnectionIn(head)
    // Servers differ on whether they read a body that they do not want: behind one, a connection is used
    // again only by the client that sent it.
    const persistent = keepAlive && upgrade === undefined && (bare || signedIn)
    const request: Forwarded = {
      plan: {
        head: emitRequestHead(head, target, { framing, upgrade, via, persistent }),
        method: head.method,
        minor: head.minor,
        framing,
        keepAlive,
        upgrade: upgrade !== undefined,
        via,
      },
      host,
      port,
      repeatable,
      persistent,
      signedIn,
    }
    this.#abandonsDial = false
    if (idle === undefined) {
      this.#dial(request)
      return
    }
    context.emit({ type: 'open', client: id, protocol: 'http', host, port })
    this.#exchangeOver(idle, request, true)
  }

  #dial(request: Forwarded): void {
    const { host, port } = request
    this.#state = 'dialing'
    this.#client.dial(
      'http',
      host,
      port,
      (flow) => this.#exchangeOver(flow, request, false),
      (reply, message) => this.#answer(reply.status, message, reply.proxyStatus, request),
    )
  }

  #exchangeOver(flow: Flow, request: Forwarded, reused: boolean): void {
    const { context, socket } = this.#client
    const { host, port } = request
    const exchange = new Exchange(socket, flow, request.plan, {
      onDone: (keepAlive) => {
        const { persistence, signedIn, uploaded } = exchange
        if (request.persistent && uploaded && persistence !== undefined && context.upstreams !== undefined) {
          const own = request.signedIn || signedIn
          this.#report(undefined)
          context.upstreams.put(flow, host, port, persistence.timeout, own ? this.#client.id : undefined)
        } else {
          this.#close(undefined)
        }
        const more = !this.#client.ended || this.#backlogLength > 0
        if (keepAlive && more) this.#nextRequest()
        else this.#end()
      },
      onUpgraded: () => {
        this.#running = undefined
        new Relay(this.#client, flow, { protocol: 'upgrade', host, port }).start(this.#takeBacklog())
      },
      onFailed: (status, message, proxyStatus) => {
        const again = reused && request.repeatable && exchange.silent
        this.#close(message)
        // RFC 9112 9.3.1: the server had ended it before it saw the request.
        if (again) this.#dial(request)
        else this.#answer(status, message, proxyStatus, request)
      },
      onBroken: (message) => {
        this.#close(message)
        this.#leave()
        this.#client.reset()
      },
      onRoom: () => this.#run(),
      isAhead: () => this.#backlogLength > 0,
      onGone: () => void context.flows.delete(flow),
    })
    this.#running = { exchange, flow, request }
    this.#state = 'exchange'
    exchange.start()
    this.#run()
    this.#checkEnd()
    this.#watchBody()
  }

  /** A body that does not come holds client and server no longer than this, unless there is an answer to be heard. */
  #watchBody(): void {
    const running = this.#running
    if (running === undefined || running.exchange.uploaded) return
    const { exchange } = running
    const { up, down } = exchange
    this.#client.setDeadline(this.#client.context.limits.body, () => {
      if (this.#running !== running || exchange.uploaded) return
      // The server may be what holds it up.
      if (exchange.up !== up || exchange.down !== down || exchange.blocked) this.#watchBody()
      else this.#breakOff('the body of the request does not come', 408)
    })
  }

  /** The exchange is over; no error: properly. The flow ends with it. */
  #close(error: string | undefined): void {
    const running = this.#running
    if (running === undefined) return
    const { context } = this.#client
    this.#report(error)
    if (error === undefined && running.exchange.uploaded) release(context, running.flow)
    else abandon(context, running.flow)
  }

  #report(error: string | undefined): void {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    const { context, id } = this.#client
    const { exchange, request } = running
    const { host, port } = request
    const { up, down } = exchange
    exchange.cancel()
    context.emit({ type: 'done', client: id, protocol: 'http', host, port, up, down, error })
  }

  #nextRequest(): void {
    this.#awaitHead()
    this.#client.setDeadline(this.#client.context.limits.idle, this.#onIdle)
    this.#run()
    if (this.#client.ended && this.#state === 'head') this.onLocalEnd()
  }

  /** The client has ended in the middle of its request: the server must not take it for a whole one. */
  #checkEnd(): void {
    if (this.#state !== 'exchange' || !this.#client.ended || this.#running === undefined) return
    if (!this.#running.exchange.uploaded && this.#backlogLength === 0)
      this.#breakOff('the request is not complete')
  }

  /** The exchange ends in the middle of the request; the client is told why if it has heard nothing yet. */
  #breakOff(message: string, status: 400 | 408 = 400): void {
    const reason = status === 408 ? 'timeout' : 'malformed'
    // Behind interim responses an answer is still due.
    if (this.#running?.exchange.answered === false) {
      this.#close(message)
      this.#refuse(status, message, reason)
      return
    }
    const { context, id, from } = this.#client
    context.emit({ type: 'rejected', client: id, from, reason, message })
    this.#close(message)
    this.#leave()
    this.#client.reset()
  }

  /** A request that is at fault: nothing that follows it is looked at. */
  #refuse(status: number, message: string, reason: 'malformed' | 'timeout' = 'malformed'): void {
    const details = { ...this.#forAsker(), proxyStatus: 'http_request_error' }
    this.#leave()
    this.#client.reject(reason, message, emitError(status, message, details))
  }

  /** A request that could not be carried out. */
  #answer(status: number, message: string, proxyStatus: string, to: HostPort): void {
    const details = { ...this.#forAsker(), proxyStatus, to: { host: to.host, port: to.port } }
    this.#leave()
    // What went wrong inside is for the log and not for the client.
    const told = status === 500 ? 'the proxy has failed' : message
    this.#client.finish(emitError(status, told, details))
  }

  #forAsker(): { readonly asker?: Asker } {
    return this.#asker === undefined ? {} : { asker: this.#asker }
  }

  #end(): void {
    this.#leave()
    this.#client.finish()
  }

  /** No more requests are taken. */
  #leave(): void {
    this.#state = 'over'
    this.#client.context.upstreams?.dropClient(this.#client.id)
  }

  #takeBacklog(): Buffer[] {
    const backlog = this.#backlog
    this.#backlog = []
    this.#backlogLength = 0
    this.#leave()
    return backlog
  }
}

/** RFC 9110 9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
// RFC 9110 9.3.6: neither Content-Length nor Transfer-Encoding.
const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n')
/** Octets of later requests, or of a body while dialling, before the client is made to wait. */
const MAX_BACKLOG = 65_536
/** In so many pieces at the most: many small ones cost more than their octets. */
const MAX_BACKLOG_CHUNKS = 1024
/** Wrong credentials on one connection. */
const MAX_WRONG = 3
