import { isIPv6 } from 'node:net'
import {
  DialError,
  type Endpoint,
  type Flow,
  type FlowListener,
  type ListenHandler,
} from '../tunnel/dialer.js'
import { abandon, type Client, type Stage } from './client.js'
import { Relay } from './relay.js'
import { describeFailure, SocksReply } from './replies.js'
import { EarlyData, type SocksCall } from './socks-call.js'

/**
 * BIND: one connection from a remote host to a port of the tunnel's own address. The first reply says which port,
 * the second who has connected.
 *
 * The request's host is the one that may connect; the unspecified address lets anyone.
 */
export class SocksBind implements Stage, ListenHandler {
  readonly #call: SocksCall
  readonly #client: Client
  readonly #peer: string
  readonly #early: EarlyData
  readonly #abort = new AbortController()
  #listener: FlowListener | undefined
  /** Who may connect; empty: anyone. */
  #from: readonly string[] = []
  #over = false

  constructor(call: SocksCall) {
    this.#call = call
    this.#client = call.client
    this.#peer = call.client.socket.remoteAddress ?? ''
    this.#early = new EarlyData(call.client, call.early)
  }

  start(): void {
    const { dialect, quotas, host } = this.#call
    const client = this.#client
    const { limits, dialer } = client.context
    if (!quotas.binds.take(this.#peer)) {
      const whose = this.#peer || 'the unix socket'
      const message = `more than ${limits.binds} ports waiting for BIND, or ${limits.bindsPerAddress} of ${whose}`
      client.reject('limit', message, dialect.refused(SocksReply.GENERAL_FAILURE))
      return
    }
    client.enter(this)
    client.clearDeadline()
    if (isUnspecified(host)) {
      this.#listen([])
      return
    }
    dialer.resolve(host, { signal: this.#abort.signal }).then(
      (addresses) => this.#listen(addresses),
      (error: unknown) => this.#fail(error),
    )
  }

  onLocalData(chunk: Buffer): void {
    this.#early.push(chunk)
  }

  onLocalEnd(): void {
    if (this.#early.length > 0) return
    this.#free()
    this.#client.finish()
  }

  onLocalClose(): void {
    this.#free()
  }

  onFlow(flow: Flow): void {
    const { context, id, socket } = this.#client
    context.flows.add(flow)
    // Of a single address the listener itself takes care.
    const stranger = this.#from.length > 1 && !this.#from.includes(flow.remote.address)
    if (this.#over || stranger) {
      abandon(context, flow)
      return
    }
    this.#free()
    const { address: host, port } = flow.remote
    const purpose = { protocol: 'bind', host, port } as const
    context.emit({ type: 'open', client: id, ...purpose })
    socket.write(this.#call.dialect.granted(flow.remote))
    new Relay(this.#client, flow, purpose).start(this.#early.take())
  }

  onClose(error: DialError): void {
    this.#listener = undefined
    this.#fail(error)
  }

  #listen(from: readonly string[]): void {
    if (this.#over) return
    const { dialect } = this.#call
    const client = this.#client
    const { dialer, limits } = client.context
    const [only] = from
    this.#from = from
    let local: Endpoint
    try {
      const limit = from.length === 1 && only !== undefined ? { from: only } : {}
      this.#listener = dialer.listen({ port: 0, ...limit })
      local = this.#pick(this.#listener.locals)
    } catch (error) {
      this.#fail(error)
      return
    }
    client.socket.write(dialect.granted(local))
    client.setDeadline(limits.bind, () => {
      this.#fail(new DialError('timed-out', `nobody has connected within ${limits.bind / 1000} s`))
    })
    // Behind the first reply: somebody may have connected already.
    this.#listener.handler = this
  }

  /** Our address of a family that the remote host has, and that the reply can tell. */
  #pick(locals: readonly Endpoint[]): Endpoint {
    const { ipv6 } = this.#call.dialect
    const [first] = this.#from
    for (const from of first === undefined ? [undefined] : this.#from) {
      const local = locals.find(
        ({ address }) =>
          (from === undefined || isIPv6(address) === isIPv6(from)) && (ipv6 || !isIPv6(address)),
      )
      if (local !== undefined) return local
    }
    const family = first !== undefined && isIPv6(first) ? 'IPv6' : 'IPv4'
    throw new DialError('network-unreachable', `the tunnel has no ${family} address to listen on`)
  }

  #fail(error: unknown): void {
    if (this.#over) return
    const { code, message, reply } = describeFailure(error)
    const { dialect, host, port } = this.#call
    const client = this.#client
    this.#free()
    client.context.emit({ type: 'failed', client: client.id, protocol: 'bind', host, port, code, message })
    client.finish(dialect.refused(reply.socks))
  }

  #free(): void {
    if (this.#over) return
    this.#over = true
    this.#abort.abort()
    this.#listener?.close()
    this.#listener = undefined
    this.#call.quotas.binds.give(this.#peer)
  }
}

function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}
