import type { Client, Stage } from './client.js'
import { emitError } from './error-page.js'
import { HttpConnection } from './http.js'
import type { SocksQuotas } from './socks-quota.js'
import { SocksSession } from './socks-session.js'
import { SOCKS4_VERSION } from './socks4.js'
import { Socks4Session } from './socks4-session.js'
import { SOCKS5_VERSION } from './socks5.js'

/** Which protocols a port serves. */
export interface Protocols {
  readonly socks: boolean
  readonly http: boolean
}

/** A client that has said nothing yet: its first octet tells what it speaks. */
export class MixedPort implements Stage {
  readonly #client: Client
  readonly #protocols: Protocols
  readonly #quotas: SocksQuotas

  constructor(client: Client, protocols: Protocols, quotas: SocksQuotas) {
    this.#client = client
    this.#protocols = protocols
    this.#quotas = quotas
  }

  start(): void {
    const client = this.#client
    client.enter(this)
    client.setDeadline(client.context.limits.firstByte, () => {
      client.reject('timeout', 'the client said nothing in time')
    })
  }

  onLocalData(chunk: Buffer): void {
    const first = chunk[0]
    if (first === undefined) return
    const client = this.#client
    client.clearDeadline()
    if (first === SOCKS5_VERSION && this.#protocols.socks) {
      new SocksSession(client, this.#quotas).start(chunk)
    } else if (first === SOCKS4_VERSION && this.#protocols.socks) {
      new Socks4Session(client, this.#quotas).start(chunk)
    } else if (isHttp(first)) {
      if (this.#protocols.http) new HttpConnection(client).start(chunk)
      else
        client.reject(
          'malformed',
          'HTTP on a SOCKS port',
          emitError(400, 'this is a SOCKS proxy, not an HTTP proxy'),
        )
    } else {
      const what = first === TLS_HANDSHAKE ? 'a TLS client' : `first octet ${first}`
      client.reject('malformed', `${what} on a proxy port`)
    }
  }

  onLocalEnd(): void {
    this.#client.finish()
  }

  onLocalClose(): void {}
}

/** The first letter of a method; those in use are in capitals. RFC 9112 2.2: an empty line may stand in front. */
function isHttp(octet: number): boolean {
  return (octet >= 0x41 && octet <= 0x5a) || octet === CR
}

const CR = 0x0d

/** RFC 8446 5.1 */
const TLS_HANDSHAKE = 0x16
