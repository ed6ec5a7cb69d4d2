import { createSocket, type Socket } from 'node:dgram'
import { setMaxListeners } from 'node:events'
import type { Clock } from '../dns/clock.js'
import {
  type DatagramFlow,
  type DatagramOptions,
  DialError,
  type Endpoint,
  type HostPort,
  type UdpHandler,
} from '../tunnel/dialer.js'
import { Destinations } from './destinations.js'
import { directError } from './direct-flow.js'
import type { DirectGate } from './direct-gate.js'

/** Where datagrams to one host and port go. */
interface Destination {
  /** Undefined while its name is being resolved, or if it has none that is allowed. */
  address: string | undefined
  port: number
  /** Datagrams that wait for the address; undefined once there is one, or none will come. */
  waiting: Buffer[] | undefined
  /** Undefined: it is an address. */
  readonly name: string | undefined
  /** Milliseconds of the clock, when the name is asked for again: its address may change. */
  until: number
}

/**
 * One UDP socket of each family, opened when it is needed. Only hosts that were sent something can send
 * something back: nobody else on this computer's networks reaches the client.
 *
 * With a remote end, the sockets are connected to it, and ICMP errors are told.
 */
export class DirectDatagrams implements DatagramFlow {
  handler: UdpHandler | undefined
  readonly #gate: DirectGate
  readonly #options: DatagramOptions
  readonly #clock: Clock
  readonly #lookups = new AbortController()
  readonly #sockets = new Map<4 | 6, Opened>()
  readonly #destinations = new Destinations<Destination>(MAX_DESTINATIONS)
  #asking = 0
  /** Octets. */
  #waiting = 0
  readonly #known = new Set<string>()
  #closed = false

  constructor(gate: DirectGate, options: DatagramOptions, clock: Clock) {
    this.#gate = gate
    this.#options = options
    this.#clock = clock
    setMaxListeners(0, this.#lookups.signal)
  }

  get local(): Endpoint {
    for (const { socket, bound } of this.#sockets.values()) {
      if (!bound) continue
      const { address, port } = socket.address()
      return { address, port }
    }
    return { address: '', port: 0 }
  }

  send(data: Uint8Array, to: HostPort): void {
    if (this.#closed) return
    const destination = this.#destinations.get(to) ?? this.#find(to)
    if (destination === undefined) return
    const { name } = destination
    if (name !== undefined && this.#clock.now() >= destination.until && this.#asking < MAX_ASKING)
      this.#ask(name, to, destination)
    // The socket takes it only later.
    const copy = Buffer.from(data)
    if (destination.address !== undefined) this.#send(copy, destination.address, destination.port)
    else if (destination.waiting !== undefined && this.#waiting + copy.length <= MAX_WAITING) {
      this.#waiting += copy.length
      destination.waiting.push(copy)
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#lookups.abort()
    this.#destinations.clear()
    for (const { socket } of this.#sockets.values()) socket.close()
    this.#sockets.clear()
  }

  /** Undefined: it cannot be sent there, or too much is asked already. */
  #find(to: HostPort): Destination | undefined {
    let destination: Destination = {
      address: undefined,
      port: to.port,
      waiting: undefined,
      name: undefined,
      until: Number.POSITIVE_INFINITY,
    }
    try {
      if (!Number.isInteger(to.port) || to.port < 1 || to.port > 65535)
        throw new DialError('not-allowed', `${to.port} is not a port to send to`)
      const { name, list } = this.#gate.classify(to.host)
      if (list !== undefined) destination.address = this.#choose(list, to.port, name)
      else if (this.#asking >= MAX_ASKING) return undefined
      else {
        destination = { ...destination, name: name ?? to.host, waiting: [] }
        this.#ask(name ?? to.host, to, destination)
      }
    } catch (error) {
      // Not from inside the caller's own call.
      const failure = asDialError(error)
      queueMicrotask(() => this.#tell(failure))
      // Told once; what is kept here without an address goes nowhere.
      if (failure.code !== 'not-allowed') return undefined
    }
    this.#destinations.set(to, destination)
    return destination
  }

  #ask(name: string, to: HostPort, destination: Destination): void {
    this.#asking++
    destination.until = this.#clock.now() + GOOD_FOR
    const settle = (): readonly Buffer[] => {
      this.#asking--
      const waiting = destination.waiting ?? []
      destination.waiting = undefined
      for (const data of waiting) this.#waiting -= data.length
      return waiting
    }
    this.#gate
      .lookup(name, { signal: this.#lookups.signal })
      .then((list) => {
        // What a conversation goes on with comes first; what is known stays in use until there is something newer.
        const { address } = destination
        const stays = address !== undefined && list.includes(address)
        return this.#choose(stays ? [address, ...list] : list, to.port, name)
      })
      .then(
        (address) => {
          const waiting = settle()
          if (this.#closed) return
          destination.address = address
          for (const data of waiting) this.#send(data, address, to.port)
        },
        (error: unknown) => {
          settle()
          const failure = asDialError(error)
          if (destination.address !== undefined && failure.code !== 'not-allowed') {
            destination.until = this.#clock.now() + AGAIN
            return
          }
          // It is tried again by the next datagram, but not by those that are there.
          this.#destinations.forget(to, destination)
          this.#tell(failure)
        },
      )
  }

  /** The first that is allowed. Throws `not-allowed`. */
  #choose(list: readonly string[], port: number, name: string | undefined): string {
    let refusal: unknown
    for (const address of list) {
      try {
        this.#gate.check(address, port, 'udp', name)
        return address
      } catch (error) {
        refusal = error
      }
    }
    throw refusal
  }

  #send(data: Buffer, address: string, port: number): void {
    const remote = { address, port }
    const family = address.includes(':') ? 6 : 4
    let opened = this.#sockets.get(family)
    if (opened !== undefined && this.#options.remote !== undefined && opened.address !== address) {
      // Connected to what the name meant before.
      this.#sockets.delete(family)
      opened.socket.close()
      opened = undefined
    }
    opened ??= this.#open(family, remote)
    const { socket } = opened
    this.#remember(address)
    if (socket.getSendQueueSize() > MAX_QUEUED) return
    const sent = (error: Error | null): void => {
      if (error) this.#tell(directError(error, remote))
    }
    if (opened.connected) socket.send(data, sent)
    else if (opened.waiting === undefined) socket.send(data, port, address, sent)
    else if (opened.waiting.length < MAX_UNCONNECTED) opened.waiting.push(data)
  }

  #open(family: 4 | 6, remote: Endpoint): Opened {
    const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 })
    const fixed = this.#options.remote !== undefined
    const { address } = remote
    const opened: Opened = {
      socket,
      address,
      bound: false,
      connected: false,
      waiting: fixed ? [] : undefined,
    }
    this.#sockets.set(family, opened)
    socket.on('error', (error) => {
      // It may be one that could not be bound, which is of no use any more.
      if (!opened.bound && this.#sockets.delete(family)) socket.close()
      this.#tell(directError(error, remote))
    })
    socket.on('listening', () => {
      opened.bound = true
    })
    socket.on('message', (data, from) => {
      if (this.#known.has(from.address)) this.handler?.onDatagram(data, from)
    })
    socket.bind({ port: this.#options.port ?? 0, exclusive: true }, () => {
      if (!fixed || this.#sockets.get(family) !== opened) return
      socket.connect(remote.port, remote.address, (error?: Error) => {
        if (this.#sockets.get(family) !== opened) return
        if (error) {
          this.#tell(directError(error, remote))
          return
        }
        opened.connected = true
        const waiting = opened.waiting ?? []
        opened.waiting = undefined
        for (const data of waiting) this.#send(data, remote.address, remote.port)
      })
    })
    return opened
  }

  #remember(address: string): void {
    if (this.#known.has(address)) return
    if (this.#known.size >= MAX_DESTINATIONS) {
      for (const oldest of this.#known) {
        this.#known.delete(oldest)
        break
      }
    }
    this.#known.add(address)
  }

  #tell(error: DialError): void {
    if (!this.#closed) this.handler?.onError(error)
  }
}

interface Opened {
  readonly socket: Socket
  /** Of the remote end for which it was opened. */
  readonly address: string
  bound: boolean
  connected: boolean
  /** With a remote end: what waits for the socket to be connected to it. */
  waiting: Buffer[] | undefined
}

function asDialError(error: unknown): DialError {
  return error instanceof DialError ? error : new DialError('aborted', String(error))
}

// Octets, names, destinations, datagrams, octets: what does not fit is dropped, as UDP does. Then milliseconds.
const MAX_WAITING = 262_144
const MAX_ASKING = 64
const MAX_DESTINATIONS = 1024
const MAX_UNCONNECTED = 16
const MAX_QUEUED = 1_048_576
const GOOD_FOR = 60_000
const AGAIN = 5000
