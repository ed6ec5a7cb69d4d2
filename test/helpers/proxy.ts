import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import t from 'tap'
import { createDialer } from '../../src/dns/dialer.js'
import type { ProxyEvent } from '../../src/proxy/events.js'
import { listenProxy, type ProxyOptions } from '../../src/proxy/server.js'
import { a, respond, serveDns } from './dns-server.js'
import { Gathered } from './gathered.js'
import { type MemoryFlow, MemoryNetwork, type MemoryNetworkOptions } from './memory-network.js'
import { VirtualClock } from './virtual-clock.js'

export const DNS = '10.0.0.53'
export const ORIGIN = '192.0.2.1'

export interface Setup {
  readonly network?: MemoryNetworkOptions
  readonly proxy?: Partial<ProxyOptions>
  readonly names?: Record<string, readonly string[]>
}

const running: { close(): Promise<void> }[] = []
// A test that failed half-way must not keep the process alive.
t.teardown(() => Promise.all(running.map((server) => server.close())))

/** A proxy on loopback over a network in memory; time stands still unless `clock` goes on. */
export async function startProxy({ network: networkOptions, proxy, names = {} }: Setup = {}) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: [DNS], setTimer: clock.setTimer, ...networkOptions })
  serveDns(network, DNS, (asked) => {
    const addresses = names[asked.name]
    if (addresses === undefined) return respond(asked, { rcode: 3 })
    return respond(asked, { answers: asked.type === 'A' ? addresses.map((x) => a(asked.name, x)) : [] })
  })
  const dialer = createDialer({ network: () => network, clock })
  const events: ProxyEvent[] = []
  const server = await listenProxy({
    address: '127.0.0.1',
    port: 0,
    protocols: { socks: true, http: true },
    dialer,
    setTimer: clock.setTimer,
    onEvent: (event) => void events.push(event),
    ...proxy,
  })
  running.push(server)
  const clients: Talk[] = []
  return {
    clock,
    network,
    server,
    events,
    async client(): Promise<Talk> {
      const talk = await Talk.to(server.port)
      clients.push(talk)
      return talk
    },
    /** Ends all and tells what is left: nothing must be. */
    async stop(): Promise<{ connections: number; flows: number; timers: number; tunnel: number }> {
      for (const client of clients) client.socket.destroy()
      await server.close()
      await clock.settle()
      return { ...server.usage(), tunnel: network.flows.size + network.udpSockets.size }
    },
  }
}

export const NOTHING_LEFT = { connections: 0, flows: 0, timers: 0, tunnel: 0 }

/** Resolves when `ready` says so, asked after every turn of the event loop; fails after many turns. */
export async function until(ready: () => boolean, what = 'nothing happened'): Promise<void> {
  const limit = Date.now() + 10_000
  while (!ready()) {
    if (Date.now() > limit) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** The client's end of a connection to the proxy. */
export class Talk {
  readonly socket: Socket
  readonly #gathered = new Gathered()
  ended = false
  closed = false
  error: NodeJS.ErrnoException | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#gathered.push(chunk)
    })
    socket.on('end', () => {
      this.ended = true
    })
    socket.on('error', (error) => {
      this.error = error
    })
    socket.on('close', () => {
      this.closed = true
    })
  }

  static to(port: number): Promise<Talk> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new Talk(socket))
      })
    })
  }

  get received(): Buffer {
    return this.#gathered.bytes
  }

  /** What has come is not of interest any more. */
  forget(): void {
    this.#gathered.drop(this.received.length)
  }

  say(bytes: string | Uint8Array): this {
    this.socket.write(bytes)
    return this
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  get hex(): string {
    return this.received.toString('hex')
  }

  async hear(octets: number): Promise<Buffer> {
    await until(
      () => this.received.length >= octets || this.closed,
      `${octets} octets, got ${this.received.toString('hex', 0, 100)}`,
    )
    const heard = this.received.subarray(0, octets)
    this.#gathered.drop(octets)
    return heard
  }

  async hearText(pattern: RegExp): Promise<string> {
    await until(() => pattern.test(this.text) || this.closed, `${pattern}, got ${this.text.slice(0, 500)}`)
    return this.text
  }

  /** Until the proxy has ended or broken off. */
  async over(): Promise<void> {
    await until(() => this.ended || this.closed, 'the end')
  }

  /** SOCKS5 greeting and request; returns the reply. */
  async socks(host: string, port: number, command = 1): Promise<Buffer> {
    this.say(Uint8Array.of(5, 1, 0))
    const method = await this.hear(2)
    if (method.toString('hex') !== '0500') throw new Error(`method ${method.toString('hex')}`)
    this.say(socksRequest(host, port, command))
    return this.hear(10)
  }
}

export function socksRequest(host: string, port: number, command = 1): Buffer {
  const name = Buffer.from(host)
  return Buffer.concat([Uint8Array.of(5, command, 0, 3, name.length), name, Uint8Array.of(port >> 8, port)])
}

/** The remote end of a connection in the tunnel, for scripts. */
export class Remote {
  readonly flow: MemoryFlow
  readonly #gathered = new Gathered()
  closed: { readonly code: string | undefined } | undefined

  constructor(flow: MemoryFlow) {
    this.flow = flow
    flow.handler = {
      onReadable: () => {
        for (let view = flow.peek(); view.length > 0; view = flow.peek()) {
          this.#gathered.push(view)
          flow.consume(view.length)
        }
      },
      onWritable: () => {},
      onClose: (error) => {
        this.closed = { code: error?.code }
      },
    }
  }

  get received(): Buffer {
    return this.#gathered.bytes
  }

  /** What has come is not of interest any more. */
  forget(): void {
    this.#gathered.drop(this.received.length)
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  say(text: string | Uint8Array): void {
    this.flow.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text)
  }
}

/** Keeps the remote ends of connections to an address and port, in order. */
export function remotes(network: MemoryNetwork, port: number, address = ORIGIN): Remote[] {
  const list: Remote[] = []
  network.listen(address, port, (flow) => void list.push(new Remote(flow)))
  return list
}

/** A flow as a stream, to put one of Node's own servers behind it. */
export class FlowStream extends Duplex {
  readonly #flow: MemoryFlow
  #wanted = false
  #drained: (() => void) | undefined

  constructor(flow: MemoryFlow) {
    super({ allowHalfOpen: true })
    this.#flow = flow
    flow.handler = {
      onReadable: () => this.#pump(),
      onWritable: () => {
        const drained = this.#drained
        this.#drained = undefined
        drained?.()
      },
      onClose: (error) => void this.destroy(error),
    }
    this.on('error', () => {})
  }

  override _read(): void {
    this.#wanted = true
    this.#pump()
  }

  #pump(): void {
    while (this.#wanted) {
      const view = this.#flow.peek()
      if (view.length === 0) break
      const copy = Buffer.from(view)
      this.#flow.consume(view.length)
      this.#wanted = this.push(copy)
    }
    if (this.#flow.ended && this.#flow.readable === 0 && !this.readableEnded) this.push(null)
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    if (this.#flow.write(Buffer.from(chunk))) callback()
    else this.#drained = callback
  }

  override _final(callback: () => void): void {
    this.#flow.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    if (!this.#flow.closed && !(this.readableEnded && this.writableFinished)) this.#flow.reset()
    callback(error)
  }
}
