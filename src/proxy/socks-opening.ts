import type { Client, Stage } from './client.js'
import { SocksBind } from './socks-bind.js'
import type { SocksCall, SocksDialect } from './socks-call.js'
import { SocksConnect } from './socks-connect.js'
import type { SocksQuotas } from './socks-quota.js'
import { socksResolve } from './socks-resolve.js'
import { SocksCommand, type SocksRequest } from './socks5.js'

/** A client of SOCKS until its request, whichever version it speaks. One deadline holds for all of that. */
export abstract class SocksOpening implements Stage {
  protected readonly client: Client
  /** Octets not yet understood: less than a message, since whole ones are. */
  protected received: Buffer = Buffer.alloc(0)
  readonly #dialect: SocksDialect
  readonly #quotas: SocksQuotas

  constructor(client: Client, dialect: SocksDialect, quotas: SocksQuotas) {
    this.client = client
    this.#dialect = dialect
    this.#quotas = quotas
  }

  start(first: Buffer): void {
    this.client.enter(this)
    this.client.setDeadline(this.client.context.limits.head, () => {
      this.client.reject('timeout', 'no complete SOCKS request in time')
    })
    this.onLocalData(first)
  }

  onLocalData(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk])
    this.read()
  }

  onLocalEnd(): void {
    this.client.finish()
  }

  onLocalClose(): void {}

  /** `received` has grown. */
  protected abstract read(): void

  /** The request has been understood: what every version has is carried out here. */
  protected carryOut(request: SocksRequest): void {
    const { command, host, port, length } = request
    const early = this.received.subarray(length)
    const call = { client: this.client, dialect: this.#dialect, quotas: this.#quotas, host, port, early }
    this.received = early
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
        this.carryOutOther(command, call)
    }
  }

  /** A command that not every version has, or none. */
  protected abstract carryOutOther(command: number, call: SocksCall): void
}
