import type { Client, RejectReason } from './client.js'
import { SocksReply, type SocksReplyCode } from './replies.js'
import { SOCKS5, type SocksCall } from './socks-call.js'
import { SocksOpening } from './socks-opening.js'
import type { SocksQuotas } from './socks-quota.js'
import { socksResolvePtr } from './socks-resolve.js'
import { SocksUdp } from './socks-udp.js'
import {
  emitMethod,
  emitPasswordStatus,
  PASSWORD_VERSION,
  readGreeting,
  readPassword,
  readRequest,
  SocksCommand,
  SocksMethod,
} from './socks5.js'

/** A SOCKS5 client from its greeting to its request, RFC 1928 and 1929. */
export class SocksSession extends SocksOpening {
  #state: 'greeting' | 'password' | 'request' | 'over' = 'greeting'
  /** No authentication was chosen, and a name and password may come all the same. */
  #mayTellPassword = false

  constructor(client: Client, quotas: SocksQuotas) {
    super(client, SOCKS5, quotas)
  }

  protected override read(): void {
    if (this.#state === 'greeting') this.#readGreeting()
    if (this.#state === 'password') this.#readPassword()
    if (this.#state === 'request') this.#readRequest()
  }

  #readGreeting(): void {
    const greeting = readGreeting(this.received, 0, this.received.length)
    if (greeting.type === 'need-more') return
    if (greeting.type === 'error') {
      this.#reject('malformed', 'not a SOCKS5 greeting')
      return
    }
    this.received = this.received.subarray(greeting.length)
    const wanted = this.client.context.credentials === undefined ? SocksMethod.NONE : SocksMethod.PASSWORD
    const answer = Buffer.alloc(2)
    if (!greeting.methods.includes(wanted)) {
      emitMethod(answer, 0, SocksMethod.NOT_ACCEPTABLE)
      if (wanted === SocksMethod.NONE) {
        this.#reject('malformed', 'the client insists on authenticating, and nothing is set for that', answer)
      } else {
        this.#reject('credentials', 'the client offers no user name and password', answer)
      }
      return
    }
    emitMethod(answer, 0, wanted)
    this.client.socket.write(answer)
    this.#mayTellPassword = wanted === SocksMethod.NONE
    this.#state = wanted === SocksMethod.NONE ? 'request' : 'password'
  }

  #readPassword(): void {
    const message = readPassword(this.received, 0, this.received.length)
    if (message.type === 'need-more') return
    const answer = Buffer.alloc(2)
    if (message.type === 'error') {
      emitPasswordStatus(answer, 0, false)
      this.#reject('malformed', 'not a user name and password where they are due', answer)
      return
    }
    this.received = this.received.subarray(message.length)
    const good = this.client.context.credentials?.verify(message.user, message.password) === true
    emitPasswordStatus(answer, 0, good)
    if (!good) {
      this.#reject('credentials', 'wrong user name or password', answer)
      return
    }
    this.client.socket.write(answer)
    this.#state = 'request'
  }

  #readRequest(): void {
    if (this.#mayTellPassword && this.received[0] === PASSWORD_VERSION) {
      // Some clients send name and password although nobody asked.
      const message = readPassword(this.received, 0, this.received.length)
      if (message.type !== 'password') return
      this.#mayTellPassword = false
      this.received = this.received.subarray(message.length)
    }
    const request = readRequest(this.received, 0, this.received.length)
    if (request.type === 'need-more') return
    if (request.type === 'error') {
      if (request.code === 'bad-address-type') {
        this.#refuse('an unknown address type', SocksReply.ADDRESS_TYPE_NOT_SUPPORTED)
      } else {
        this.#refuse('not a SOCKS5 request', SocksReply.GENERAL_FAILURE)
      }
      return
    }
    this.#state = 'over'
    this.carryOut(request)
  }

  protected override carryOutOther(command: number, call: SocksCall): void {
    switch (command) {
      case SocksCommand.UDP_ASSOCIATE:
        new SocksUdp(call).start()
        break
      case SocksCommand.RESOLVE_PTR:
        socksResolvePtr(call)
        break
      default:
        this.#refuse(`SOCKS5 command ${command} is not known`, SocksReply.COMMAND_NOT_SUPPORTED)
    }
  }

  #refuse(message: string, code: SocksReplyCode): void {
    this.#reject('malformed', message, SOCKS5.refused(code))
  }

  #reject(reason: RejectReason, message: string, reply?: Buffer): void {
    this.#state = 'over'
    this.client.reject(reason, message, reply)
  }
}
