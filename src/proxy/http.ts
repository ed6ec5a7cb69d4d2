import type { Flow } from '../tunnel/dialer.js'
import { abandon, type Client, release, type Stage } from './client.js'
import { requestFraming } from './http-body.js'
import { Exchange, type ExchangePlan } from './http-exchange.js'
import {
  emitError,
  emitFinalRecipient,
  emitRequestHead,
  maxForwards,
  parseConnectTarget,
  parseProxyTarget,
  wantsKeepAlive,
  wantsUpgrade,
} from './http-head.js'
import { HeadReader, parseRequestHead, type RequestHead, valuesOf } from './http-message.js'
import { Relay } from './relay.js'

interface RunningExchange {
  readonly exchange: Exchange
  readonly flow: Flow
  readonly host: string
  readonly port: number
}

/** An HTTP client: requests one after the other, RFC 9112 9.3, until one makes the connection a tunnel. */
export class HttpConnection implements Stage {
  readonly #client: Client
  #state: 'head' | 'dialing' | 'exchange' | 'over' = 'head'
  #reader = new HeadReader(true)
  /** What was received and not yet taken by anything, in order. */
  #backlog: Buffer[] = []
  #backlogLength = 0
  #headStarted = false
  #running: RunningExchange | undefined
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
      else this.#client.finish()
    } else if (this.#state === 'exchange') {
      this.#checkEnd()
    } else if (this.#state === 'dialing' && this.#abandonsDial) {
      this.#client.finish()
    }
  }

  onLocalClose(): void {
    this.#state = 'over'
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
      (this.#state !== 'head' && this.#backlogLength >= MAX_BACKLOG)
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
    this.#reader = new HeadReader(true)
  }

  readonly #onHeadTimeout = (): void => {
    this.#state = 'over'
    const message = 'the head of the request did not come in time'
    this.#client.reject('timeout', message, emitError(408, message))
  }

  readonly #onIdle = (): void => this.#client.finish()

  #onHead(text: string): void {
    this.#client.clearDeadline()
    const head = parseRequestHead(text)
    if (head.type === 'error') {
      this.#refuse(head.status, head.message)
      return
    }
    // RFC 9112 3.2. None at all is let pass: the target, which replaces it, says everything.
    if (valuesOf(head.fields, 'host').length > 1) {
      this.#refuse(400, 'there is more than one Host field', head.method)
      return
    }
    if (head.method === 'CONNECT') this.#connect(head)
    else this.#forward(head)
  }

  #connect(head: RequestHead): void {
    const to = parseConnectTarget(head.target)
    const framing = requestFraming(head)
    if ('type' in to) {
      this.#refuse(to.status, to.message)
      return
    }
    // RFC 9110 9.3.6: a CONNECT has no content; whether what follows is content or tunnel must not be in doubt.
    if (
      !('kind' in framing) ||
      framing.kind === 'chunked' ||
      (framing.kind === 'length' && framing.length > 0)
    ) {
      this.#refuse(400, 'a CONNECT request has no body')
      return
    }
    this.#state = 'dialing'
    this.#abandonsDial = this.#backlogLength === 0
    const { host, port } = to
    this.#client.dial(
      'connect',
      host,
      port,
      (flow) => {
        this.#client.socket.write(ESTABLISHED)
        new Relay(this.#client, flow, { protocol: 'connect', host, port }).start(this.#takeBacklog())
      },
      (reply, message) => this.#answer(reply.status, message, head.method, reply.proxyStatus),
    )
  }

  #forward(head: RequestHead): void {
    const target = parseProxyTarget(head.method, head.target)
    if ('type' in target) {
      this.#refuse(target.status, target.message, head.method)
      return
    }
    const framing = requestFraming(head)
    if ('type' in framing) {
      this.#refuse(framing.status, framing.message, head.method)
      return
    }
    if (maxForwards(head) === 0) {
      this.#state = 'over'
      this.#client.finish(emitFinalRecipient(head))
      return
    }
    const upgrade = framing.kind === 'none' ? wantsUpgrade(head) : undefined
    const { via } = this.#client.context
    const plan: ExchangePlan = {
      head: emitRequestHead(head, target, framing, upgrade, via),
      method: head.method,
      minor: head.minor,
      framing,
      keepAlive: wantsKeepAlive(head),
      upgrade: upgrade !== undefined,
      via,
    }
    this.#state = 'dialing'
    this.#abandonsDial = false
    const { host, port } = target
    this.#client.dial(
      'http',
      host,
      port,
      (flow) => this.#exchangeOver(flow, plan, host, port),
      (reply, message) => this.#answer(reply.status, message, head.method, reply.proxyStatus),
    )
  }

  #exchangeOver(flow: Flow, plan: ExchangePlan, host: string, port: number): void {
    const { context, socket } = this.#client
    const exchange = new Exchange(socket, flow, plan, {
      onDone: (keepAlive) => {
        this.#close(undefined)
        const more = !this.#client.ended || this.#backlogLength > 0
        if (keepAlive && more) this.#nextRequest()
        else this.#end()
      },
      onUpgraded: () => {
        this.#running = undefined
        new Relay(this.#client, flow, { protocol: 'upgrade', host, port }).start(this.#takeBacklog())
      },
      onFailed: (status, message, proxyStatus) => {
        this.#close(message)
        this.#answer(status, message, plan.method, proxyStatus)
      },
      onBroken: (message) => {
        this.#close(message)
        this.#state = 'over'
        this.#client.reset()
      },
      onRoom: () => this.#run(),
      onGone: () => void context.flows.delete(flow),
    })
    this.#running = { exchange, flow, host, port }
    this.#state = 'exchange'
    exchange.start()
    this.#run()
    this.#checkEnd()
  }

  /** The exchange is over; no error: properly. */
  #close(error: string | undefined): void {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    const { context, id } = this.#client
    const { exchange, flow, host, port } = running
    const { up, down, uploaded } = exchange
    exchange.cancel()
    if (error === undefined && uploaded) release(context, flow)
    else abandon(context, flow)
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
  #breakOff(message: string): void {
    const silent = this.#running?.exchange.down === 0
    if (silent) {
      this.#close(message)
      this.#refuse(400, message)
      return
    }
    const { context, id, from } = this.#client
    context.emit({ type: 'rejected', client: id, from, reason: 'malformed', message })
    this.#state = 'over'
    this.#close(message)
    this.#client.reset()
  }

  /** A request that is at fault: nothing that follows it is looked at. */
  #refuse(status: number, message: string, method?: string): void {
    this.#state = 'over'
    this.#client.reject('malformed', message, emitError(status, message, method))
  }

  /** A request that could not be carried out. */
  #answer(status: number, message: string, method: string, proxyStatus: string): void {
    this.#state = 'over'
    this.#client.finish(emitError(status, message, method, proxyStatus))
  }

  #end(): void {
    this.#state = 'over'
    this.#client.finish()
  }

  #takeBacklog(): Buffer[] {
    const backlog = this.#backlog
    this.#backlog = []
    this.#backlogLength = 0
    this.#state = 'over'
    return backlog
  }
}

// RFC 9110 9.3.6: neither Content-Length nor Transfer-Encoding.
const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n')
/** Octets of later requests, or of a body while dialling, before the client is made to wait. */
const MAX_BACKLOG = 65_536
