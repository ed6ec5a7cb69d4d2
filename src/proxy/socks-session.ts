import type { Flow } from '../tunnel/dialer.js'
import type { Client, Stage } from './client.js'
import { Relay } from './relay.js'
import { SocksReply, type SocksReplyCode } from './replies.js'
import {
  emitMethod,
  emitReply,
  MAX_REPLY,
  PASSWORD_VERSION,
  passwordMessageLength,
  readGreeting,
  readRequest,
  SocksCommand,
  SocksMethod,
  type SocksRequest,
} from './socks5.js'

/** A SOCKS5 client from its greeting to the relay, RFC 1928. */
export class SocksSession implements Stage {
  readonly #client: Client
  #state: 'greeting' | 'request' | 'dialing' = 'greeting'
  /** Octets not yet understood; while dialling, those that belong behind the connection. */
  #received: Buffer = Buffer.alloc(0)

  constructor(client: Client) {
    this.#client = client
  }

  start(first: Buffer): void {
    this.#client.enter(this)
    this.#client.setDeadline(this.#client.context.limits.head, () => {
      this.#client.reject('timeout', 'no complete SOCKS request in time')
    })
    this.onLocalData(first)
  }

  onLocalData(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    if (this.#state === 'greeting') this.#readGreeting()
    if (this.#state === 'request') this.#readRequest()
    if (this.#state === 'dialing' && this.#received.length >= MAX_EARLY) this.#client.socket.pause()
  }

  onLocalEnd(): void {
    // One that has sent data ahead may have nothing more to say and still wait for an answer.
    if (this.#state !== 'dialing' || this.#received.length === 0) this.#client.finish()
  }

  onLocalClose(): void {}

  #readGreeting(): void {
    const greeting = readGreeting(this.#received, 0, this.#received.length)
    if (greeting.type === 'need-more') return
    if (greeting.type === 'error') {
      this.#reject('not a SOCKS5 greeting')
      return
    }
    this.#received = this.#received.subarray(greeting.length)
    const answer = Buffer.alloc(2)
    if (!greeting.methods.includes(SocksMethod.NONE)) {
      emitMethod(answer, 0, SocksMethod.NOT_ACCEPTABLE)
      this.#reject('the client offers no authentication method that is served', answer)
      return
    }
    emitMethod(answer, 0, SocksMethod.NONE)
    this.#client.socket.write(answer)
    this.#state = 'request'
  }

  #readRequest(): void {
    if (this.#received[0] === PASSWORD_VERSION) {
      // Some clients send name and password although nobody asked.
      const length = passwordMessageLength(this.#received, 0, this.#received.length)
      if (length === 0) return
      this.#received = this.#received.subarray(length)
    }
    const request = readRequest(this.#received, 0, this.#received.length)
    if (request.type === 'need-more') return
    if (request.type === 'error') {
      if (request.code === 'bad-address-type') {
        this.#reject('an unknown address type', this.#reply(SocksReply.ADDRESS_TYPE_NOT_SUPPORTED))
      } else {
        this.#reject('not a SOCKS5 request', this.#reply(SocksReply.GENERAL_FAILURE))
      }
      return
    }
    if (request.command !== SocksCommand.CONNECT) {
      const message = `command ${request.command} is not supported`
      this.#reject(message, this.#reply(SocksReply.COMMAND_NOT_SUPPORTED))
      return
    }
    this.#received = this.#received.subarray(request.length)
    this.#dial(request)
  }

  #dial({ host, port }: SocksRequest): void {
    const client = this.#client
    client.clearDeadline()
    this.#state = 'dialing'
    client.dial(
      'socks5',
      host,
      port,
      (flow) => this.#relay(flow, host, port),
      (reply) => client.finish(this.#reply(reply.socks)),
    )
  }

  #relay(flow: Flow, host: string, port: number): void {
    const reply = Buffer.alloc(MAX_REPLY)
    const length = emitReply(reply, 0, SocksReply.SUCCEEDED, flow.local)
    this.#client.socket.write(reply.subarray(0, length))
    const early = this.#received
    new Relay(this.#client, flow, { protocol: 'socks5', host, port }).start(early.length > 0 ? [early] : [])
  }

  #reply(code: SocksReplyCode): Buffer {
    const reply = Buffer.alloc(MAX_REPLY)
    return reply.subarray(0, emitReply(reply, 0, code))
  }

  #reject(message: string, reply?: Buffer): void {
    this.#state = 'dialing'
    this.#client.reject('malformed', message, reply)
  }
}

/** Octets that a client may send ahead of our reply before it is made to wait. */
const MAX_EARLY = 65_536
