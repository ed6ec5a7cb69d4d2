import {
  type DatagramFlow,
  type DatagramOptions,
  DialError,
  type DialErrorCode,
  type Dialer,
  type DialOptions,
  type Endpoint,
  type Flow,
  type FlowListener,
  type HostPort,
  type ListenHandler,
  type ListenOptions,
  type UdpHandler,
} from '../../src/tunnel/dialer.js'
import { MemoryFlow } from './memory-network.js'

export const OWN4 = '10.9.0.2'
export const OWN6 = '2001:db8::99'

/** A port in the tunnel, as scripts see it. */
export class ScriptedListener implements FlowListener {
  readonly locals: readonly Endpoint[]
  readonly options: ListenOptions
  closed = false
  #handler: ListenHandler | undefined
  readonly #waiting: MemoryFlow[] = []
  readonly #flows: Set<MemoryFlow>

  constructor(locals: readonly Endpoint[], options: ListenOptions, flows: Set<MemoryFlow>) {
    this.locals = locals
    this.options = options
    this.#flows = flows
  }

  get handler(): ListenHandler | undefined {
    return this.#handler
  }

  set handler(handler: ListenHandler | undefined) {
    this.#handler = handler
    queueMicrotask(() => {
      for (const flow of this.#waiting.splice(0)) this.#handler?.onFlow(flow)
    })
  }

  close(): void {
    this.closed = true
    for (const flow of this.#waiting.splice(0)) flow.reset()
  }

  /** A remote host connects; its end of the connection. */
  connect(address: string, port = 20): MemoryFlow {
    const local = this.locals[0] ?? { address: '', port: 0 }
    const [ours, theirs] = MemoryFlow.pair(local, { address, port })
    this.#flows.add(ours)
    ours.onGone(() => void this.#flows.delete(ours))
    if (this.#handler === undefined) this.#waiting.push(ours)
    else this.#handler.onFlow(ours)
    return theirs
  }

  fail(code: DialErrorCode): void {
    this.closed = true
    this.#handler?.onClose(new DialError(code, `listening: ${code}`))
  }
}

/** A UDP port in the tunnel, as scripts see it. */
export class ScriptedDatagrams implements DatagramFlow {
  handler: UdpHandler | undefined
  readonly local: Endpoint = { address: OWN4, port: 50_000 }
  readonly options: DatagramOptions
  readonly sent: { readonly data: Buffer; readonly to: HostPort }[] = []
  closed = false
  /** What comes back at once. */
  echo: ((data: Buffer, to: HostPort) => void) | undefined

  constructor(options: DatagramOptions) {
    this.options = options
  }

  send(data: Uint8Array, to: HostPort): void {
    if (this.closed) throw new Error('sent on a closed port')
    const copy = Buffer.from(data)
    this.sent.push({ data: copy, to: { ...to } })
    this.echo?.(copy, to)
  }

  /** A remote host sends; the octets are spoilt afterwards, as a stack's would be. */
  receive(data: string | Uint8Array, address: string, port: number): void {
    const lent = Buffer.from(data)
    if (!this.closed) this.handler?.onDatagram(lent, { address, port })
    lent.fill(0xa5)
  }

  fail(code: DialErrorCode): void {
    if (code === 'tunnel-down') this.closed = true
    this.handler?.onError(new DialError(code, `datagrams: ${code}`))
  }

  close(): void {
    this.closed = true
  }
}

/** A network behind a tunnel that does what a test says, by names. */
export class ScriptedDialer implements Dialer {
  /** What fails, by host; `*` is every host, `listen` and `datagrams` are what they say. */
  readonly failures = new Map<string, DialErrorCode>()
  readonly names = new Map<string, readonly string[]>()
  readonly reverses = new Map<string, string>()
  readonly listeners: ScriptedListener[] = []
  readonly datagrams: ScriptedDatagrams[] = []
  readonly dialled: HostPort[] = []
  readonly remotes: MemoryFlow[] = []
  /** Our ends of connections that are not over. */
  readonly flows = new Set<MemoryFlow>()
  ipv6 = true
  /** Questions without an answer, until they are given up. */
  silent = false
  abandoned = 0

  async dial(to: HostPort, options: DialOptions = {}): Promise<Flow> {
    this.dialled.push(to)
    await this.#check(to.host, options)
    const local = { address: to.host.includes(':') ? OWN6 : OWN4, port: 40_000 }
    const [ours, theirs] = MemoryFlow.pair(local, { address: to.host, port: to.port })
    this.flows.add(ours)
    ours.onGone(() => void this.flows.delete(ours))
    this.remotes.push(theirs)
    return ours
  }

  async resolve(host: string, options: DialOptions = {}): Promise<readonly string[]> {
    await this.#check(host, options)
    if (/^[0-9.]+$/.test(host) || host.includes(':')) return [host]
    const addresses = this.names.get(host)
    if (addresses === undefined) throw new DialError('name-not-found', `${host} does not exist`)
    return addresses
  }

  async reverse(address: string, options: DialOptions = {}): Promise<string> {
    await this.#check(address, options)
    const name = this.reverses.get(address)
    if (name === undefined) throw new DialError('name-not-found', `${address} has no name`)
    return name
  }

  openDatagrams(options: DatagramOptions = {}): DatagramFlow {
    this.#throw('datagrams')
    const flow = new ScriptedDatagrams(options)
    this.datagrams.push(flow)
    return flow
  }

  listen(options: ListenOptions): FlowListener {
    this.#throw('listen')
    const locals = [{ address: OWN4, port: 45_000 }]
    if (this.ipv6) locals.push({ address: OWN6, port: 45_000 })
    const listener = new ScriptedListener(locals, options, this.flows)
    this.listeners.push(listener)
    return listener
  }

  /** Whatever is still held. */
  get held(): number {
    const open = [...this.listeners, ...this.datagrams].filter((x) => !x.closed)
    return open.length + this.flows.size
  }

  async #check(host: string, { signal }: DialOptions): Promise<void> {
    if (this.silent) {
      await new Promise<void>((_resolve, reject) => {
        signal?.addEventListener('abort', () => {
          this.abandoned++
          reject(new DialError('aborted', 'given up'))
        })
      })
    }
    this.#throw(host)
  }

  #throw(what: string): void {
    const code = this.failures.get(what) ?? this.failures.get('*')
    if (code !== undefined) throw new DialError(code, `${what}: ${code}`)
  }
}
