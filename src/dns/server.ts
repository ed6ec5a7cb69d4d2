import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once, setMaxListeners } from 'node:events'
import { createServer, isIPv6, type Server, type Socket } from 'node:net'
import { type Clock, systemClock } from './clock.js'
import type { DnsEvent } from './events.js'
import { normalizeAddress } from './names.js'
import { type Client, DnsService } from './service.js'
import { Shares } from './shares.js'
import type { NameSource } from './source.js'
import { TcpClient } from './tcp-client.js'

export interface DnsServerOptions {
  /** An IP address, or `localhost`. */
  readonly address: string
  /** 0 picks one, the same for UDP and TCP. */
  readonly port: number
  readonly names: NameSource
  /** Who may ask, by the address in canonical form. Default: this machine. */
  readonly allow?: (address: string) => boolean
  /** As in `ServiceOptions`. */
  readonly whenUp?: (signal: AbortSignal) => Promise<void>
  readonly limits?: Partial<DnsServerLimits>
  /** Of the idle time. */
  readonly clock?: Clock
  readonly onEvent?: (event: DnsEvent) => void
}

export interface DnsServerLimits {
  /** TCP connections; when there are more, one that is idle has to go, or the new one. */
  readonly connections: number
  /** Of these, from one address. */
  readonly connectionsPerAddress: number
  /** Questions under way in one connection; more are not read before. */
  readonly pipelined: number
  /** Questions under way; more are not heard (UDP), or fail at once. */
  readonly questions: number
  /** Of these, from one address. */
  readonly questionsPerAddress: number
  /** Of these, from one UDP port: on this machine all have the same address. */
  readonly questionsPerPort: number
  /** Milliseconds in which a connection must bring a whole question, or take an answer. */
  readonly idle: number
}

export interface DnsListener {
  readonly address: string
  readonly port: number
  close(): Promise<void>
}

/** One address has fewer questions than the resolver puts at one time, so that others and the proxies find room. */
const DEFAULT_LIMITS: DnsServerLimits = {
  connections: 64,
  connectionsPerAddress: 32,
  pipelined: 32,
  questions: 256,
  questionsPerAddress: 96,
  questionsPerPort: 64,
  idle: 10_000,
}

/** Answers DNS queries on UDP and TCP. Rejects with the system's error if it cannot listen. */
export async function listenDns(options: DnsServerOptions): Promise<DnsListener> {
  const address = options.address === 'localhost' ? '127.0.0.1' : options.address
  for (let attempt = 1; ; attempt++) {
    const udp = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    const tcp = createServer({ allowHalfOpen: true, noDelay: true })
    try {
      udp.bind({ address, port: options.port, exclusive: true })
      await once(udp, 'listening')
      const { port } = udp.address()
      // Last, so that whoever connects finds somebody there.
      tcp.listen({ host: address, port, exclusive: true })
      await once(tcp, 'listening')
      return new DnsServer(options, { address, port }, tcp, udp)
    } catch (error) {
      udp.close()
      // Somebody else may have the TCP port of the same number: any other is as good.
      if (options.port !== 0 || attempt === ATTEMPTS) throw error
    }
  }
}

class DnsServer implements DnsListener {
  readonly address: string
  readonly port: number
  readonly #service: DnsService
  readonly #allow: (address: string) => boolean
  readonly #limits: DnsServerLimits
  readonly #clock: Clock
  readonly #tcp: Server
  readonly #udp: UdpSocket
  /** By address. */
  readonly #clients = new Map<TcpClient, string>()
  readonly #ending = new AbortController()
  readonly #ports: Shares
  readonly #addresses: Shares
  #questions = 0
  #closing: Promise<void> | undefined

  constructor(
    options: DnsServerOptions,
    at: { readonly address: string; readonly port: number },
    tcp: Server,
    udp: UdpSocket,
  ) {
    this.address = at.address
    this.port = at.port
    this.#service = new DnsService(options)
    this.#allow = options.allow ?? isThisMachine
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.#clock = options.clock ?? systemClock
    this.#ports = new Shares(this.#limits.questionsPerPort)
    this.#addresses = new Shares(this.#limits.questionsPerAddress)
    this.#tcp = tcp
    this.#udp = udp
    // One for each question that is under way, which are bounded.
    setMaxListeners(0, this.#ending.signal)
    tcp.on('connection', (socket) => this.#onConnection(socket))
    // Such as too many open files: it goes on when there are fewer.
    tcp.on('error', () => {})
    udp.on('error', () => {})
    udp.on('message', (message, from) => this.#onDatagram(message, from.address, from.port))
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#ending.abort()
    for (const client of this.#clients.keys()) client.close()
    this.#udp.close()
    await Promise.all([once(this.#udp, 'close'), closed(this.#tcp)])
  }

  #onDatagram(message: Buffer, address: string, port: number): void {
    // Nobody can be answered at port 0.
    if (port === 0) return
    const client = this.#client(address, port, 'udp')
    if (!this.#ports.take(client.name)) return
    void this.#answerUdp(message, client).then((answer) => {
      this.#ports.give(client.name)
      if (answer === undefined || this.#ending.signal.aborted) return
      // Whoever is gone does not hear it.
      this.#udp.send(answer, port, address, () => {})
    })
  }

  async #answerUdp(message: Buffer, client: RemoteClient): Promise<Buffer | undefined> {
    if (!this.#take(client.address)) return undefined
    const answer = await this.#service.answer(message, client, this.#ending.signal)
    this.#give(client.address)
    return answer
  }

  #onConnection(socket: Socket): void {
    const { remoteAddress = '', remotePort = 0 } = socket
    const from = this.#client(remoteAddress, remotePort, 'tcp')
    if (!from.isAllowed || !this.#hasRoom(from.address)) {
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    const client: TcpClient = new TcpClient(socket, this.#limits, this.#clock, {
      answer: (message, signal) => this.#answerTcp(message, from, signal),
      onClose: () => void this.#clients.delete(client),
    })
    this.#clients.set(client, from.address)
  }

  #answerTcp(message: Uint8Array, from: RemoteClient, signal: AbortSignal): Promise<Buffer> | undefined {
    if (!this.#take(from.address)) return this.#service.answer(message, { ...from, isBusy: true }, signal)
    const answer = this.#service.answer(message, from, signal)
    if (answer === undefined) this.#give(from.address)
    return answer?.finally(() => this.#give(from.address))
  }

  /** RFC 7766 6.2.3: when there are too many, idle ones go. */
  #hasRoom(address: string): boolean {
    const { connections, connectionsPerAddress } = this.#limits
    const own = [...this.#clients].filter(([, other]) => other === address).map(([client]) => client)
    if (own.length >= connectionsPerAddress) return this.#dropIdle(own)
    return this.#clients.size < connections || this.#dropIdle(this.#clients.keys())
  }

  #dropIdle(clients: Iterable<TcpClient>): boolean {
    for (const client of clients) {
      if (!client.isIdle) continue
      // Its socket takes a moment to close; until then more connections may come.
      this.#clients.delete(client)
      client.close()
      return true
    }
    return false
  }

  /** Whether there may be one more question of an address. */
  #take(address: string): boolean {
    if (this.#questions >= this.#limits.questions || !this.#addresses.take(address)) return false
    this.#questions++
    return true
  }

  #give(address: string): void {
    this.#questions--
    this.#addresses.give(address)
  }

  #client(address: string, port: number, transport: 'udp' | 'tcp'): RemoteClient {
    const plain = normalizeAddress(address.replace(/%.*$/, '')) ?? ''
    const isHere = isThisMachine(plain)
    const limit = transport === 'tcp' ? MAX_TCP : isHere ? MAX_UDP_HERE : MAX_UDP
    const name = plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`
    return { name, address: plain, transport, isAllowed: this.#allow(plain), limit }
  }
}

interface RemoteClient extends Client {
  /** In canonical form. */
  readonly address: string
}

function isThisMachine(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()))
}

const MAX_TCP = 65_535
/** Nothing on the way to a client of this machine is too small; to others, what RFC 9715 3.1 would have. */
const MAX_UDP_HERE = 4096
const MAX_UDP = 1232
/** Ours. */
const ATTEMPTS = 10
