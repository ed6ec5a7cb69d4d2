/**
 * This computer's own network by addresses, for a resolver over it: the questions about names that a rule sends
 * past the tunnel.
 */
import { createSocket } from 'node:dgram'
import { getServers } from 'node:dns'
import { type Clock, systemClock } from '../dns/clock.js'
import { type NameSource, refusing } from '../dns/source.js'
import { DialError, type Endpoint, type Network, type UdpFlow, type UdpHandler } from '../tunnel/dialer.js'
import { connectDirect, isOwnPort, machineAddresses } from './direct.js'
import { directError } from './direct-flow.js'
import type { Rules } from './rules.js'

export interface DirectNetworkOptions {
  /** Where this process listens: a name server there would be ourselves, asked in circles. */
  readonly own?: () => readonly Endpoint[]
  /** The system's name servers, as of `dns.getServers()`. */
  readonly servers?: () => readonly string[]
  readonly clock?: Clock
}

/** Ordinary sockets. It listens to nobody. */
export function createDirectNetwork(options: DirectNetworkOptions = {}): Network {
  const { own, servers = getServers, clock = systemClock } = options
  return {
    get dnsServers() {
      const listening = own?.() ?? []
      // One with another port is written with it, which nobody here could tell from an address.
      return servers().filter(
        (server) =>
          !/^\[|^[^:]*:\d+$/.test(server) && !isOwnPort(listening, server, DNS, () => machineAddresses()),
      )
    },
    families: { ipv4: true, ipv6: true },
    connect: (to, dial = {}) => connectDirect(to, { timeout: DIAL_TIMEOUT, ...dial }, clock),
    openUdp: ({ remote, port } = {}) => new DirectUdp(remote, port),
    listen() {
      throw new DialError('not-allowed', 'connections are taken at the address of the tunnel only')
    },
  }
}

/** Who is asked for a name instead of the tunnel's servers; undefined: these. For names and reverse names. */
export function namesElsewhere(options: {
  readonly rules: Rules
  /** Names that are asked for directly with all below them, whatever the rules say of connections. */
  readonly directNames?: readonly string[]
  /** Over {@link createDirectNetwork}. */
  readonly direct: NameSource
}): (name: string) => NameSource | undefined {
  const { rules, directNames = [], direct } = options
  const listed = new Set(directNames)
  return (name) => {
    if (listed.size > 0) {
      for (let rest = name; ; ) {
        if (listed.has(rest)) return direct
        const dot = rest.indexOf('.')
        if (dot < 0) break
        rest = rest.slice(dot + 1)
      }
    }
    const { way, message } = rules.wayOfName(name)
    return way === 'tunnel' ? undefined : way === 'direct' ? direct : refusing(message)
  }
}

/** One UDP socket; with a remote end, connected to it, so that ICMP errors are told. */
class DirectUdp implements UdpFlow {
  handler: UdpHandler | undefined
  readonly #remote: Endpoint | undefined
  readonly #port: number
  #socket: ReturnType<typeof createSocket> | undefined
  #waiting: { readonly data: Buffer; readonly to: Endpoint }[] | undefined
  #local: Endpoint = { address: '', port: 0 }
  #closed = false

  constructor(remote: Endpoint | undefined, port = 0) {
    this.#remote = remote
    this.#port = port
    this.#waiting = remote === undefined ? undefined : []
  }

  get local(): Endpoint {
    return this.#local
  }

  send(data: Uint8Array, to: Endpoint): void {
    if (this.#closed) return
    const socket = this.#socket ?? this.#open(to)
    // The socket takes it only later.
    const copy = Buffer.from(data)
    if (this.#waiting !== undefined) {
      if (this.#waiting.length < MAX_WAITING) this.#waiting.push({ data: copy, to })
    } else if (socket.getSendQueueSize() <= MAX_QUEUED) this.#send(socket, copy, to)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket?.close()
  }

  #send(socket: ReturnType<typeof createSocket>, data: Buffer, to: Endpoint): void {
    const sent = (error: Error | null): void => {
      if (error) this.#tell(error, to)
    }
    if (this.#remote === undefined) socket.send(data, to.port, to.address, sent)
    else socket.send(data, sent)
  }

  #open(to: Endpoint): ReturnType<typeof createSocket> {
    const socket = createSocket(to.address.includes(':') ? 'udp6' : 'udp4')
    this.#socket = socket
    socket.on('error', (error) => this.#tell(error, to))
    socket.on('message', (data, from) => {
      if (!this.#closed) this.handler?.onDatagram(data, from)
    })
    socket.on('listening', () => {
      const { address, port } = socket.address()
      this.#local = { address, port }
    })
    socket.bind(this.#port, () => {
      const remote = this.#remote
      if (remote === undefined || this.#closed) return
      socket.connect(remote.port, remote.address, (error?: Error) => {
        if (this.#closed) return
        if (error) {
          this.#tell(error, remote)
          return
        }
        const waiting = this.#waiting ?? []
        this.#waiting = undefined
        for (const { data } of waiting) this.#send(socket, data, remote)
      })
    })
    return socket
  }

  #tell(error: Error, to: Endpoint): void {
    if (!this.#closed) this.handler?.onError(directError(error, this.#remote ?? to))
  }
}

const DNS = 53
const DIAL_TIMEOUT = 30_000
const MAX_WAITING = 16
const MAX_QUEUED = 1_048_576
