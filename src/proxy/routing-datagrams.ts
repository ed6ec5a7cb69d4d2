import { setMaxListeners } from 'node:events'
import type { Clock } from '../dns/clock.js'
import {
  type DatagramFlow,
  type DatagramOptions,
  DialError,
  type Dialer,
  type Endpoint,
  type HostPort,
  type UdpHandler,
} from '../tunnel/dialer.js'
import { Destinations } from './destinations.js'
import type { Routed, Router } from './route.js'

type OpenWay = 'tunnel' | 'direct'

export interface RoutingWays {
  readonly tunnel: Dialer
  readonly direct: Dialer
  readonly clock: Clock
  readonly router: Router
}

/** One host and port, and what the rules say about it. */
interface Destination {
  /** Undefined: not known yet, or refused. */
  way: OpenWay | undefined
  /** For that way: the name, or the address that decided. */
  to: HostPort
  /** Datagrams that wait for the decision; undefined once there is one. */
  waiting: Uint8Array[] | undefined
  /** Milliseconds of the clock; a decision does not hold for ever, since addresses of names change. */
  until: number
}

/**
 * One UDP socket over both ways: each destination goes where its rule says, and answers come from both. A way's
 * socket is opened when the first datagram goes there.
 */
export class RoutingDatagrams implements DatagramFlow {
  handler: UdpHandler | undefined
  readonly #ways: RoutingWays
  readonly #options: Pick<DatagramOptions, 'remote'>
  readonly #lookups = new AbortController()
  readonly #sockets: Record<OpenWay, DatagramFlow | undefined> = { tunnel: undefined, direct: undefined }
  /** With a remote end: what each socket was opened for, and hears alone. */
  readonly #remotes: Record<OpenWay, HostPort | undefined> = { tunnel: undefined, direct: undefined }
  readonly #destinations = new Destinations<Destination>(MAX_DESTINATIONS)
  #asking = 0
  /** Octets. */
  #waiting = 0
  #closed = false

  constructor(ways: RoutingWays, options: Pick<DatagramOptions, 'remote'>) {
    this.#ways = ways
    this.#options = options
    setMaxListeners(0, this.#lookups.signal)
  }

  get local(): Endpoint {
    return this.#sockets.tunnel?.local ?? this.#sockets.direct?.local ?? { address: '', port: 0 }
  }

  send(data: Uint8Array, to: HostPort): void {
    if (this.#closed) return
    let destination = this.#destinations.get(to)
    if (destination === undefined || this.#ways.clock.now() >= destination.until)
      destination = this.#find(to, destination)
    if (destination?.way !== undefined) this.#send(destination.way, data, destination.to)
    else if (destination?.waiting !== undefined && this.#waiting + data.length <= MAX_WAITING) {
      this.#waiting += data.length
      destination.waiting.push(Uint8Array.from(data))
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#lookups.abort()
    this.#destinations.clear()
    this.#sockets.tunnel?.close()
    this.#sockets.direct?.close()
  }

  /** Undefined: too much is asked already, so the datagram is dropped. */
  #find(to: HostPort, known: Destination | undefined): Destination | undefined {
    const { clock, router } = this.#ways
    const until = clock.now() + GOOD_FOR
    // What is known stays in use until there is something newer.
    const isKnown = known?.way !== undefined
    const destination: Destination = isKnown ? known : { way: undefined, to, waiting: undefined, until }
    try {
      const decided = router.decide(to, 'udp')
      if (decided.kind !== 'open') this.#settle(destination, decided)
      else if (this.#asking >= MAX_ASKING) return isKnown ? known : undefined
      else {
        this.#asking++
        if (!isKnown) destination.waiting = []
        router.ask(decided, { signal: this.#lookups.signal }).then(
          (routed) => this.#onAnswer(destination, routed),
          (error: unknown) => this.#onFailure(destination, error),
        )
      }
    } catch (error) {
      // Not from inside the caller's own call.
      queueMicrotask(() => this.#tell(asDialError(error)))
    }
    destination.until = until
    this.#destinations.set(to, destination)
    return destination
  }

  #settle(destination: Destination, routed: Routed): void {
    if (routed.kind === 'whole') {
      destination.way = routed.way
      return
    }
    const { candidates } = routed
    const { way, to } = destination
    // Servers tell the addresses of a name in turn: a conversation stays with the one that it goes on with.
    if (candidates.some((known) => known.way === way && known.address === to.host)) return
    const [first] = candidates
    destination.way = first?.way
    if (first !== undefined) destination.to = { host: first.address, port: to.port }
  }

  #onAnswer(destination: Destination, routed: Routed): void {
    const waiting = this.#release(destination)
    if (this.#closed) return
    this.#settle(destination, routed)
    const { way, to } = destination
    if (way !== undefined) for (const data of waiting) this.#send(way, data, to)
  }

  #onFailure(destination: Destination, error: unknown): void {
    this.#release(destination)
    const failure = asDialError(error)
    if (failure.code === 'not-allowed') {
      // Refused is refused for a while.
      destination.way = undefined
    } else if (destination.way !== undefined) {
      destination.until = this.#ways.clock.now() + AGAIN
      return
    } else {
      // Other failures may be over with the next datagram.
      this.#destinations.forget(destination.to, destination)
    }
    this.#tell(failure)
  }

  /** What waited, which waits no more. */
  #release(destination: Destination): readonly Uint8Array[] {
    this.#asking--
    const waiting = destination.waiting ?? []
    destination.waiting = undefined
    for (const data of waiting) this.#waiting -= data.length
    return waiting
  }

  #send(way: OpenWay, data: Uint8Array, to: HostPort): void {
    let socket = this.#sockets[way]
    const remote = this.#remotes[way]
    if (socket !== undefined && remote !== undefined && remote.host !== to.host) {
      socket.handler = undefined
      socket.close()
      this.#sockets[way] = undefined
      socket = undefined
    }
    if (socket === undefined) {
      try {
        socket = this.#open(way, to)
      } catch (error) {
        queueMicrotask(() => this.#tell(asDialError(error)))
        return
      }
    }
    socket.send(data, to)
  }

  #open(way: OpenWay, to: HostPort): DatagramFlow {
    // An address that decided stands for its name.
    const options = this.#options.remote === undefined ? {} : { remote: to }
    const socket = this.#ways[way].openDatagrams(options)
    this.#sockets[way] = socket
    this.#remotes[way] = options.remote
    socket.handler = {
      onDatagram: (data, from) => this.handler?.onDatagram(data, from),
      onError: (error) => this.#onError(way, error),
    }
    return socket
  }

  #onError(way: OpenWay, error: DialError): void {
    if (error.code === 'tunnel-down' && !this.#closed) this.#sockets[way] = undefined
    this.#tell(error)
  }

  #tell(error: DialError): void {
    if (this.#closed) return
    if (error.code !== 'tunnel-down') {
      this.handler?.onError(error)
    } else if (this.#sockets.direct !== undefined || this.#asking > 0) {
      // The other way goes on; the next datagram asks for the tunnel again.
      this.handler?.onError(new DialError('tunnel-reconnecting', error.message))
    } else {
      // Whoever hears this code forgets the socket.
      this.handler?.onError(error)
      this.close()
    }
  }
}

function asDialError(error: unknown): DialError {
  return error instanceof DialError ? error : new DialError('aborted', String(error))
}

// Octets, names, destinations, milliseconds.
const MAX_WAITING = 262_144
const MAX_ASKING = 64
const MAX_DESTINATIONS = 1024
const GOOD_FOR = 60_000
/** Until a name that was known is asked for again, after a failure. */
const AGAIN = 5000
