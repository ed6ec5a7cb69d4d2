import type { Flow } from '../tunnel/dialer.js'
import type { Client, Stage } from './client.js'
import { Relay } from './relay.js'
import { EarlyData, type SocksCall } from './socks-call.js'

/** CONNECT: success is said when the remote side has answered, not before. */
export class SocksConnect implements Stage {
  readonly #call: SocksCall
  readonly #client: Client
  readonly #early: EarlyData

  constructor(call: SocksCall) {
    this.#call = call
    this.#client = call.client
    this.#early = new EarlyData(call.client, call.early)
  }

  start(): void {
    const { dialect, host, port } = this.#call
    const client = this.#client
    client.enter(this)
    client.clearDeadline()
    client.dial(
      dialect.protocol,
      host,
      port,
      (flow) => this.#relay(flow),
      (reply) => client.finish(dialect.refused(reply.socks)),
    )
  }

  onLocalData(chunk: Buffer): void {
    this.#early.push(chunk)
  }

  onLocalEnd(): void {
    // One that has sent data ahead may have nothing more to say and still wait for an answer.
    if (this.#early.length === 0) this.#client.finish()
  }

  onLocalClose(): void {}

  #relay(flow: Flow): void {
    const { dialect, host, port } = this.#call
    this.#client.socket.write(dialect.granted(flow.local))
    new Relay(this.#client, flow, { protocol: dialect.protocol, host, port }).start(this.#early.take())
  }
}
