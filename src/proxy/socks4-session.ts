import type { Client, RejectReason } from './client.js'
import { SocksReply } from './replies.js'
import { SOCKS4 } from './socks-call.js'
import { SocksOpening } from './socks-opening.js'
import type { SocksQuotas } from './socks-quota.js'
import { readSocks4Request, type Socks4ErrorCode } from './socks4.js'

/** A SOCKS4 or 4a client until its request. */
export class Socks4Session extends SocksOpening {
  constructor(client: Client, quotas: SocksQuotas) {
    super(client, SOCKS4, quotas)
  }

  protected override read(): void {
    const request = readSocks4Request(this.received, 0, this.received.length)
    if (request.type === 'need-more') return
    if (request.type === 'error') {
      this.#reject('malformed', PROBLEMS[request.code])
    } else if (this.client.context.credentials !== undefined) {
      this.#reject('credentials', 'SOCKS4 has no password, and this proxy demands one: use SOCKS5')
    } else {
      this.carryOut(request)
    }
  }

  protected override carryOutOther(command: number): void {
    this.#reject('malformed', `SOCKS4 command ${command} is not known`)
  }

  #reject(reason: RejectReason, message: string): void {
    this.client.reject(reason, message, SOCKS4.refused(SocksReply.GENERAL_FAILURE))
  }
}

const PROBLEMS: Readonly<Record<Socks4ErrorCode, string>> = {
  'bad-version': 'not a SOCKS4 request',
  'user-too-long': 'a SOCKS4 user id of more than 255 octets',
  'name-too-long': 'a SOCKS4a name of more than 255 octets',
  'no-name': 'a SOCKS4a request without a name',
}
