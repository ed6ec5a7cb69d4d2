import {
  DialError,
  type DialErrorCode,
  type DialOptions,
  type Endpoint,
  type Flow,
  type FlowHandler,
  type FlowListener,
  type ListenHandler,
  type ListenOptions,
  type Network,
  type UdpFlow,
  type UdpHandler,
  type UdpOptions,
} from '../../src/tunnel/dialer.js'

export const WINDOW = 65_536

/**
 * One end of a connection in memory. Its receive window is a ring, as a stack's is: a batch may lie in
 * two pieces, a full ring stops the sender, and consumed memory is overwritten at once, so that whoever
 * still uses it is found out.
 */
export class MemoryFlow implements Flow {
  readonly local: Endpoint
  readonly remote: Endpoint
  /** Octets consumed so far. */
  consumed = 0
  ended = false
  closed = false
  readonly #ring: Uint8Array
  #head = 0
  #count = 0
  #queue: Uint8Array[] = []
  #queued = 0
  #full = false
  #ending = false
  #finSent = false
  #peer: MemoryFlow | undefined
  #handler: FlowHandler | undefined
  #scheduled = false
  #readable = false
  #writable = false
  #close: { readonly error: DialError | undefined } | undefined
  #error: DialError | undefined
  #onGone: () => void = () => {}

  private constructor(local: Endpoint, remote: Endpoint, window: number) {
    this.local = local
    this.remote = remote
    this.#ring = new Uint8Array(window)
  }

  static pair(local: Endpoint, remote: Endpoint, window = WINDOW): [MemoryFlow, MemoryFlow] {
    const a = new MemoryFlow(local, remote, window)
    const b = new MemoryFlow(remote, local, window)
    a.#peer = b
    b.#peer = a
    return [a, b]
  }

  onGone(callback: () => void): void {
    this.#onGone = callback
  }

  get handler(): FlowHandler | undefined {
    return this.#handler
  }

  set handler(handler: FlowHandler | undefined) {
    this.#handler = handler
    this.#schedule()
  }

  get readable(): number {
    return this.#count
  }

  get queued(): number {
    return this.#queued
  }

  peek(skip = 0): Uint8Array {
    if (skip >= this.#count) return new Uint8Array(0)
    const start = (this.#head + skip) % this.#ring.length
    return this.#ring.subarray(start, Math.min(this.#ring.length, start + this.#count - skip))
  }

  consume(n: number): void {
    if (n > this.#count) throw new Error(`consumed ${n} of ${this.#count}`)
    for (let left = n; left > 0; ) {
      const piece = Math.min(left, this.#ring.length - this.#head)
      this.#ring.fill(0xa5, this.#head, this.#head + piece)
      this.#head = (this.#head + piece) % this.#ring.length
      left -= piece
    }
    this.#count -= n
    this.consumed += n
    if (n > 0) queueMicrotask(() => this.#pull())
    this.#checkEnd()
  }

  write(chunk: Uint8Array): boolean {
    if (this.closed || this.#ending || this.#error !== undefined) return true
    if (chunk.length > 0) this.#queue.push(chunk)
    this.#queued += chunk.length
    if (this.#queued > HIGH_WATER) this.#full = true
    queueMicrotask(() => this.#transfer())
    return !this.#full
  }

  end(): void {
    this.#ending = true
    queueMicrotask(() => this.#transfer())
  }

  reset(): void {
    this.abort('aborted', 'reset')
  }

  /** Ends both sides at once, each with its error. */
  abort(ours: DialErrorCode, theirs: DialErrorCode): void {
    if (this.closed) return
    const peer = this.#peer
    this.#gone(new DialError(ours, `connection ${ours}`))
    if (peer === undefined) return
    const error = new DialError(theirs, `connection ${theirs} by the remote side`)
    if (theirs === 'reset') peer.#broken(error)
    else peer.#gone(error)
  }

  /** What came in front of a reset can still be read. */
  #broken(error: DialError): void {
    this.#error ??= error
    this.#queue = []
    this.#queued = 0
    this.#checkEnd()
  }

  #pull(): void {
    const peer = this.#peer
    if (peer !== undefined) peer.#transfer()
  }

  #transfer(): void {
    const peer = this.#peer
    if (this.closed || peer === undefined || peer.closed || this.#error !== undefined) return
    let moved = false
    for (;;) {
      const chunk = this.#queue[0]
      const room = peer.#ring.length - peer.#count
      if (chunk === undefined || room === 0) break
      const tail = (peer.#head + peer.#count) % peer.#ring.length
      const n = Math.min(chunk.length, room, peer.#ring.length - tail)
      peer.#ring.set(chunk.subarray(0, n), tail)
      peer.#count += n
      this.#queued -= n
      if (n === chunk.length) this.#queue.shift()
      else this.#queue[0] = chunk.subarray(n)
      moved = true
    }
    if (this.#queue.length === 0 && this.#ending && !this.#finSent) {
      this.#finSent = true
      peer.ended = true
      moved = true
      this.#checkEnd()
      peer.#checkEnd()
    }
    if (moved) {
      peer.#readable = true
      peer.#schedule()
    }
    if (this.#full && this.#queued <= HIGH_WATER / 2) {
      this.#full = false
      this.#writable = true
      this.#schedule()
    }
  }

  #checkEnd(): void {
    if (this.#error !== undefined && this.#count === 0) this.#gone(this.#error)
    else if (this.#finSent && this.ended && this.#count === 0) this.#gone(undefined)
  }

  #gone(error: DialError | undefined): void {
    if (this.closed) return
    this.closed = true
    this.#close = { error }
    this.#queue = []
    this.#queued = 0
    this.#count = 0
    this.#ring.fill(0xa5)
    this.#onGone()
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#handler === undefined) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#deliver()
    })
  }

  #deliver(): void {
    if (this.#readable && !this.closed) {
      this.#readable = false
      this.#handler?.onReadable()
    }
    if (this.#writable && !this.closed) {
      this.#writable = false
      this.#handler?.onWritable()
    }
    const close = this.#close
    if (close !== undefined && this.#handler !== undefined) {
      this.#close = undefined
      this.#handler.onClose(close.error)
    }
  }
}

interface Route {
  readonly code: DialErrorCode | 'silent' | 'open'
  readonly after: number
}

export type Accept = (flow: MemoryFlow) => void
/** `from`: the address and port in the tunnel that the datagram came from. */
export type OnUdp = (
  data: Uint8Array,
  reply: (data: Uint8Array, from?: Endpoint) => void,
  from: Endpoint,
) => void

export interface MemoryNetworkOptions {
  readonly dnsServers?: readonly string[]
  readonly searchDomains?: readonly string[]
  readonly ipv4?: boolean
  readonly ipv6?: boolean
  readonly window?: number
  /** For delays and time-outs; without it they never come. */
  readonly setTimer?: (callback: () => void, ms: number) => () => void
}

/** A network behind a tunnel, in memory. Addresses that nobody listens on refuse. */
export class MemoryNetwork implements Network {
  dnsServers: readonly string[]
  searchDomains: readonly string[]
  readonly families: { readonly ipv4: boolean; readonly ipv6: boolean }
  readonly attempts: string[] = []
  /** Our ends of connections that are not over. */
  readonly flows = new Set<MemoryFlow>()
  readonly udpSockets = new Set<UdpFlow>()
  /** Ports of the tunnel that take connections. */
  readonly listeners = new Map<number, MemoryListener>()
  isDown = false
  /** Addresses that somebody was dialling when it was given up. */
  readonly abandoned: string[] = []
  readonly #listeners = new Map<string, Accept>()
  readonly #udp = new Map<string, OnUdp>()
  readonly #routes = new Map<string, Route>()
  readonly #options: MemoryNetworkOptions
  #nextPort = 40_000

  constructor(options: MemoryNetworkOptions = {}) {
    this.#options = options
    this.dnsServers = options.dnsServers ?? []
    this.searchDomains = options.searchDomains ?? []
    this.families = { ipv4: options.ipv4 ?? true, ipv6: options.ipv6 ?? false }
  }

  /** The tunnel's own port that takes connections; see {@link MemoryNetwork.arrive}. */
  listen(options: ListenOptions): FlowListener
  /** A remote host's port. */
  listen(address: string, port: number, accept: Accept): void
  listen(where: string | ListenOptions, port?: number, accept?: Accept): FlowListener | undefined {
    if (typeof where !== 'string') return this.#listenHere(where)
    if (accept !== undefined) this.#listeners.set(`${where} ${port}`, accept)
    return undefined
  }

  #listenHere(options: ListenOptions): FlowListener {
    if (this.isDown) throw new DialError('tunnel-down', 'the tunnel is down')
    const port = options.port || this.#nextPort++
    if (this.listeners.has(port)) throw new DialError('no-resources', `TCP port ${port} is taken`)
    const listener = new MemoryListener(port, options.from, this.families, () => this.listeners.delete(port))
    this.listeners.set(port, listener)
    return listener
  }

  /** A remote host connects to a port of the tunnel. @returns its end, or nothing: it got RST */
  arrive(port: number, from: Endpoint): MemoryFlow | undefined {
    const listener = this.listeners.get(port)
    if (listener === undefined || (listener.from ?? from.address) !== from.address) return undefined
    const local = { address: from.address.includes(':') ? OWN6 : OWN4, port }
    const [ours, theirs] = MemoryFlow.pair(local, from, this.#options.window)
    this.flows.add(ours)
    ours.onGone(() => void this.flows.delete(ours))
    listener.take(ours)
    return theirs
  }

  /** A remote host sends a datagram to a UDP port of the tunnel. @returns false if nobody has that port */
  arriveUdp(port: number, from: Endpoint, data: Uint8Array): boolean {
    for (const socket of this.udpSockets) {
      if (socket.local.port !== port) continue
      this.#deliver(socket as MemoryUdp, data, from)
      return true
    }
    return false
  }

  listenUdp(address: string, port: number, onUdp: OnUdp): void {
    this.#udp.set(`${address} ${port}`, onUdp)
  }

  /** What happens to connections to an address, and after how many milliseconds. */
  route(address: string, code: DialErrorCode | 'silent' | 'open', after = 0): void {
    this.#routes.set(address, { code, after })
  }

  connect(to: Endpoint, options: DialOptions = {}): Promise<Flow> {
    this.attempts.push(`${to.address} ${to.port}`)
    const route = this.#routes.get(to.address) ?? { code: 'open', after: 0 }
    const { signal, timeout } = options
    return new Promise((resolve, reject) => {
      const cancels: (() => void)[] = []
      const finish = (): void => {
        signal?.removeEventListener('abort', onAbort)
        for (const cancel of cancels) cancel()
      }
      const fail = (code: DialErrorCode): void => {
        finish()
        reject(new DialError(code, `${to.address}: ${code}`))
      }
      const onAbort = (): void => {
        this.abandoned.push(to.address)
        fail('aborted')
      }
      if (signal?.aborted) {
        onAbort()
        return
      }
      signal?.addEventListener('abort', onAbort)
      const { setTimer } = this.#options
      if (timeout !== undefined && setTimer) cancels.push(setTimer(() => fail('timed-out'), timeout))
      if (route.code === 'silent') return
      const answer = (): void => {
        if (signal?.aborted) return
        const accept = this.#listeners.get(`${to.address} ${to.port}`)
        if (route.code !== 'open') {
          fail(route.code as DialErrorCode)
          return
        }
        if (accept === undefined) {
          fail('refused')
          return
        }
        finish()
        const local = { address: to.address.includes(':') ? OWN6 : OWN4, port: this.#nextPort++ }
        const [ours, theirs] = MemoryFlow.pair(local, to, this.#options.window)
        this.flows.add(ours)
        ours.onGone(() => void this.flows.delete(ours))
        accept(theirs)
        resolve(ours)
      }
      if (route.after > 0 && setTimer) cancels.push(setTimer(answer, route.after))
      else queueMicrotask(answer)
    })
  }

  openUdp(options: UdpOptions = {}): UdpFlow {
    if (this.isDown) throw new DialError('tunnel-down', 'the tunnel is down')
    const sockets = this.udpSockets
    const { remote } = options
    const port = options.port || this.#nextPort++
    for (const other of sockets) {
      if (other.local.port === port) throw new DialError('no-resources', `UDP port ${port} is taken`)
    }
    const socket: MemoryUdp = {
      local: { address: OWN4, port },
      remote,
      handler: undefined,
      send: (data, to) => {
        if (data.length > LARGEST) throw new DialError('too-large', `${data.length} octets`)
        const route = this.#routes.get(to.address)
        const code = route?.code
        if (code !== undefined && code !== 'open' && code !== 'silent') {
          const { address } = to
          const error = new DialError(code, `${address}: ${code}`)
          queueMicrotask(() => socket.handler?.onError(error, { address, port: to.port }))
          return
        }
        const copy = Uint8Array.from(data)
        const answer = () =>
          this.#udp.get(`${to.address} ${to.port}`)?.(
            copy,
            (d, from) => this.#deliver(socket, d, from ?? to),
            socket.local,
          )
        const { setTimer } = this.#options
        if (route !== undefined && route.after > 0 && setTimer) setTimer(answer, route.after)
        else queueMicrotask(answer)
      },
      close: () => void sockets.delete(socket),
    }
    sockets.add(socket)
    return socket
  }

  /** A datagram's buffer is overwritten behind the call, so that whoever keeps it is found out. */
  #deliver(socket: MemoryUdp, data: Uint8Array, from: Endpoint): void {
    const { remote } = socket
    if (remote !== undefined && (remote.address !== from.address || remote.port !== from.port)) return
    const copy = Uint8Array.from(data)
    queueMicrotask(() => {
      if (this.udpSockets.has(socket)) socket.handler?.onDatagram(copy, from)
      copy.fill(0xa5)
    })
  }

  /** The tunnel goes down under everything. */
  down(): void {
    const error = new DialError('tunnel-down', 'the tunnel is down')
    this.isDown = true
    for (const flow of this.flows) flow.abort('tunnel-down', 'reset')
    for (const socket of [...this.udpSockets]) {
      this.udpSockets.delete(socket)
      socket.handler?.onError(error)
    }
    for (const listener of [...this.listeners.values()]) {
      listener.close()
      listener.handler?.onClose(error)
    }
  }

  /** And comes up again, with nothing of what was open before. */
  up(): void {
    this.isDown = false
  }
}

interface MemoryUdp extends UdpFlow {
  handler: UdpHandler | undefined
  readonly remote: Endpoint | undefined
}

/** A port of the tunnel's own that takes connections. */
export class MemoryListener implements FlowListener {
  readonly from: string | undefined
  readonly locals: readonly Endpoint[]
  readonly #onClosed: () => void
  #waiting: MemoryFlow[] = []
  #handler: ListenHandler | undefined

  constructor(
    port: number,
    from: string | undefined,
    families: { readonly ipv4: boolean; readonly ipv6: boolean },
    onClosed: () => void,
  ) {
    this.from = from
    this.#onClosed = onClosed
    this.locals = [
      ...(families.ipv4 ? [{ address: OWN4, port }] : []),
      ...(families.ipv6 ? [{ address: OWN6, port }] : []),
    ]
  }

  get handler(): ListenHandler | undefined {
    return this.#handler
  }

  set handler(handler: ListenHandler | undefined) {
    this.#handler = handler
    if (handler !== undefined) queueMicrotask(() => this.#hand())
  }

  take(flow: MemoryFlow): void {
    this.#waiting.push(flow)
    queueMicrotask(() => this.#hand())
  }

  close(): void {
    this.#onClosed()
    for (const flow of this.#waiting.splice(0)) flow.reset()
  }

  #hand(): void {
    while (this.#handler !== undefined) {
      const flow = this.#waiting.shift()
      if (flow === undefined) return
      this.#handler.onFlow(flow)
    }
  }
}

const HIGH_WATER = 65_536
/** Of a datagram over IPv4. */
const LARGEST = 65_507
/** Our addresses in the tunnel. */
const OWN4 = '10.9.0.2'
const OWN6 = '2001:db8::99'
