import type { Client, RejectReason, Stage } from './client.js'
import { SocksReply } from './replies.js'
import { SocksBind } from './socks-bind.js'
import { SOCKS4, type SocksCall } from './socks-call.js'
import { SocksConnect } from './socks-connect.js'
import type { SocksQuotas } from './socks-quota.js'
import { socksResolve } from './socks-resolve.js'
import { readSocks4Request, type Socks4ErrorCode } from './socks4.js'
import { SocksCommand } from './socks5.js'

/** A SOCKS4 or 4a client until its request. */
export class Socks4Session implements Stage {
  readonly #client: Client
  readonly #quotas: SocksQuotas
  /** Less than a whole request. */
  #received: Buffer = Buffer.alloc(0)

  constructor(client: Client, quotas: SocksQuotas) {
    this.#client = client
    this.#quotas = quotas
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
    const request = readSocks4Request(this.#received, 0, this.#received.length)
    if (request.type === 'need-more') return
    if (request.type === 'error') {
      this.#reject('malformed', PROBLEMS[request.code])
      return
    }
    if (this.#client.context.credentials !== undefined) {
      this.#reject('credentials', 'SOCKS4 has no password, and this proxy demands one: use SOCKS5')
      return
    }
    const { command, host, port, length } = request
    const quotas = this.#quotas
    const early = this.#received.subarray(length)
    this.#received = early
    this.#carryOut(command, { client: this.#client, dialect: SOCKS4, quotas, host, port, early })
  }

  onLocalEnd(): void {
    this.#client.finish()
  }

  onLocalClose(): void {}

  #carryOut(command: number, call: SocksCall): void {
    switch (command) {
      case SocksCommand.CONNECT:
        new SocksConnect(call).start()
        break
      case SocksCommand.BIND:
        new SocksBind(call).start()
        break
      case SocksCommand.RESOLVE:
        socksResolve(call)
        break
      default:
        this.#reject('malformed', `SOCKS4 command ${command} is not known`)
    }
  }

  #reject(reason: RejectReason, message: string): void {
    this.#client.reject(reason, message, SOCKS4.refused(SocksReply.GENERAL_FAILURE))
  }
}

const PROBLEMS: Readonly<Record<Socks4ErrorCode, string>> = {
  'bad-version': 'not a SOCKS4 request',
  'user-too-long': 'a SOCKS4 user id of more than 255 octets',
  'name-too-long': 'a SOCKS4a name of more than 255 octets',
  'no-name': 'a SOCKS4a request without a name',
}
