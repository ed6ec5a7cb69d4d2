import { setMaxListeners } from 'node:events'
import {
  type DatagramFlow,
  DialError,
  type Endpoint,
  type HostPort,
  type UdpFlow,
  type UdpHandler,
} from '../tunnel/dialer.js'
import type { Clock } from './clock.js'
import type { Found } from './lookups.js'
import { normalizeAddress } from './names.js'

/** What a socket has to know of the names and rules around it. */
export interface DatagramHost {
  readonly clock: Clock
  /**
   * An address to send to, or undefined: `host` is a name to be resolved. Throws {@link DialError} for what is
   * neither, or not allowed.
   */
  addressOf(host: string): string | undefined
  /** Only addresses that are allowed. Rejects with {@link DialError}. */
  resolve(host: string, signal: AbortSignal): Promise<Found>
  /** What names and rules belong to: once it is another object, nothing holds that was known before. */
  tunnel(): object | undefined
}

/** A host that was sent to, under the text it was called by. */
interface Destination {
  /** Undefined while it is not known. */
  endpoint: Endpoint | undefined
  /** Whose datagrams are from this host. */
  addresses: readonly string[]
  /** On the host's clock; what failed is not tried again before. */
  expires: number
  resolving: boolean
  /** Room for the last datagram, while it may have to go to another address, and its length; -1: it was too large. */
  last: Uint8Array | undefined
  lastLength: number
}

interface Waiting {
  readonly data: Uint8Array
  readonly to: HostPort
}

/** One UDP socket of a tunnel to hosts by name too. */
export class NamedDatagrams implements DatagramFlow {
  handler: UdpHandler | undefined
  readonly #host: DatagramHost
  readonly #udp: UdpFlow
  /** A remote host by name: others' datagrams are not delivered. */
  readonly #only: HostPort | undefined
  readonly #destinations = new Map<string, Destination>()
  /** Names of several addresses, none of which has answered yet. */
  readonly #undecided = new Set<Destination>()
  #tunnel: object | undefined
  #lookups = newLookups()
  #resolving = 0
  #waiting: Waiting[] = []
  #waitingOctets = 0
  #closed = false

  /** `only`: a host by name; one by address is the business of `udp`. */
  constructor(host: DatagramHost, udp: UdpFlow, only?: HostPort) {
    this.#host = host
    this.#udp = udp
    this.#only = only
    this.#tunnel = host.tunnel()
    udp.handler = {
      onDatagram: (data, from) => {
        if (this.#closed || !this.#isWanted(from)) return
        if (this.#undecided.size > 0) this.#decide(from)
        this.handler?.onDatagram(data, from)
      },
      onError: (error, to) => {
        if (error.code === 'tunnel-down') this.#end(error)
        // What is too large for the path goes in fragments next time.
        else if (to === undefined || error.code === 'too-large' || !this.#goOn(to)) this.#tell(error)
      },
    }
    this.#resolveOnly()
  }

  get local(): Endpoint {
    return this.#udp.local
  }

  send(data: Uint8Array, to: HostPort): void {
    if (this.#closed) return
    const tunnel = this.#host.tunnel()
    if (tunnel !== this.#tunnel) this.#onOther(tunnel)
    if (!Number.isInteger(to.port) || to.port < 1 || to.port > 65_535) {
      this.#tellSoon(new DialError('not-allowed', `${to.port} is not a port to send to`))
      return
    }
    let destination = this.#destinations.get(to.host)
    const isOld = destination?.resolving === false && destination.expires <= this.#host.clock.now()
    if (destination === undefined || (isOld && destination.endpoint === undefined)) {
      destination = this.#newDestination(to)
    } else if (isOld) {
      // What is known stays in use until there is something newer.
      this.#resolve(to.host, destination)
    }
    const { endpoint } = destination
    if (endpoint !== undefined) {
      // Most datagrams go where the one before went, and need no new object.
      if (endpoint.port !== to.port) destination.endpoint = { address: endpoint.address, port: to.port }
      if (this.#undecided.size > 0) this.#keep(data, destination)
      this.#pass(data, destination.endpoint ?? endpoint)
    } else if (destination.resolving) this.#queue(data, to)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#lookups.abort()
    this.#destinations.clear()
    this.#undecided.clear()
    this.#waiting = []
    this.#udp.close()
  }

  /** The socket goes on in another tunnel, unless its own network says otherwise; what names meant does not. */
  #onOther(tunnel: object | undefined): void {
    this.#tunnel = tunnel
    this.#lookups.abort()
    this.#lookups = newLookups()
    this.#resolving = 0
    this.#destinations.clear()
    this.#undecided.clear()
    this.#waiting = []
    this.#waitingOctets = 0
    this.#resolveOnly()
  }

  #resolveOnly(): void {
    const host = this.#only?.host
    if (host !== undefined) this.#resolve(host, this.#remember(host))
  }

  #newDestination(to: HostPort): Destination {
    const destination = this.#remember(to.host)
    try {
      const address = this.#host.addressOf(to.host)
      if (address === undefined) this.#resolve(to.host, destination)
      else {
        destination.endpoint = { address, port: to.port }
        destination.expires = Number.POSITIVE_INFINITY
      }
    } catch (error) {
      this.#fail(destination, error)
    }
    return destination
  }

  #remember(host: string): Destination {
    if (this.#destinations.size >= MAX_DESTINATIONS) {
      for (const [name, old] of this.#destinations) {
        if (old.resolving || name === this.#only?.host) continue
        this.#destinations.delete(name)
        this.#undecided.delete(old)
        break
      }
    }
    const destination: Destination = {
      endpoint: undefined,
      addresses: [],
      expires: 0,
      resolving: false,
      last: undefined,
      lastLength: -1,
    }
    // When all are being resolved there is no room, and this one is not kept: its datagrams are dropped.
    if (this.#destinations.size < MAX_DESTINATIONS) this.#destinations.set(host, destination)
    return destination
  }

  #resolve(name: string, destination: Destination): void {
    if (this.#destinations.get(name) !== destination) return
    if (this.#resolving >= MAX_RESOLVING) {
      if (destination.endpoint === undefined) this.#destinations.delete(name)
      return
    }
    this.#resolving++
    destination.resolving = true
    this.#host.resolve(name, this.#lookups.signal).then(
      ({ addresses, ttl }) => {
        if (this.#closed || this.#destinations.get(name) !== destination) return
        this.#resolving--
        destination.resolving = false
        destination.expires = this.#host.clock.now() + Math.max(MIN_TTL, ttl) * 1000
        const old = destination.endpoint
        destination.addresses = addresses
        // A name of several addresses stays at the one that a conversation goes on with.
        const stays = old !== undefined && addresses.includes(old.address)
        destination.endpoint = { address: stays ? old.address : (addresses[0] ?? ''), port: old?.port ?? 0 }
        if (!stays && addresses.length > 1) this.#undecided.add(destination)
        this.#release(name, destination)
      },
      (error) => {
        if (this.#closed || this.#destinations.get(name) !== destination) return
        this.#resolving--
        destination.resolving = false
        if (error instanceof DialError && error.code === 'tunnel-down') {
          // The end of the socket is told by its own network; the next datagram asks anew.
          this.#destinations.delete(name)
          this.#undecided.delete(destination)
          this.#tellSoon(new DialError('tunnel-reconnecting', error.message))
        } else if (destination.endpoint !== undefined) {
          destination.expires = this.#host.clock.now() + REMEMBERED_FAILURE
        } else this.#fail(destination, error)
        this.#release(name, destination)
      },
    )
  }

  /** What has waited for `name` goes out, or nowhere. */
  #release(name: string, destination: Destination): void {
    const all = this.#waiting
    this.#waiting = []
    this.#waitingOctets = 0
    for (const { data, to } of all) {
      if (to.host !== name) this.#queue(data, to)
      else if (destination.endpoint !== undefined && !this.#closed) {
        destination.endpoint = { address: destination.endpoint.address, port: to.port }
        this.#keep(data, destination)
        this.#pass(data, destination.endpoint)
      }
    }
  }

  #queue(data: Uint8Array, to: HostPort): void {
    if (this.#waiting.length >= MAX_WAITING || this.#waitingOctets + data.length > MAX_WAITING_OCTETS) return
    this.#waiting.push({ data: Uint8Array.from(data), to: { host: to.host, port: to.port } })
    this.#waitingOctets += data.length
  }

  #pass(data: Uint8Array, to: Endpoint): void {
    try {
      this.#udp.send(data, to)
    } catch (error) {
      const failure = error instanceof DialError ? error : new DialError('aborted', String(error))
      if (failure.code === 'tunnel-down') queueMicrotask(() => this.#end(failure))
      else this.#tellSoon(failure)
    }
  }

  #keep(data: Uint8Array, destination: Destination): void {
    if (!this.#undecided.has(destination)) return
    destination.lastLength = -1
    if (data.length > MAX_KEPT) return
    // One that never answers is sent to for ever: the room stays the same.
    destination.last ??= new Uint8Array(MAX_KEPT)
    destination.last.set(data)
    destination.lastLength = data.length
  }

  /** The address that answers is the one to stay with. */
  #decide(from: Endpoint): void {
    const address = normalizeAddress(from.address) ?? ''
    for (const destination of this.#undecided) {
      if (!destination.addresses.includes(address)) continue
      this.#undecided.delete(destination)
      destination.last = undefined
      destination.endpoint = { address, port: destination.endpoint?.port ?? from.port }
    }
  }

  /**
   * Nobody takes what was sent to `to`. A name of several addresses, none of which has answered, goes on with its next
   * one, and with the last datagram: a service need not listen in both families, and not every client repeats itself.
   *
   * @returns true if that is no failure of the name's, or not yet
   */
  #goOn(to: Endpoint): boolean {
    const address = normalizeAddress(to.address) ?? ''
    let known = false
    let failed = false
    for (const destination of this.#destinations.values()) {
      const { endpoint, addresses } = destination
      const at = addresses.indexOf(address)
      if (at >= 0) known = true
      if (endpoint?.address !== address) continue
      if (!this.#undecided.has(destination)) {
        failed = true
        continue
      }
      const next = addresses[at + 1]
      const { last, lastLength } = destination
      destination.endpoint = { address: next ?? addresses[0] ?? address, port: endpoint.port }
      if (next === undefined) {
        failed = true
        this.#undecided.delete(destination)
        destination.last = undefined
      } else if (last !== undefined && lastLength >= 0) {
        this.#pass(last.subarray(0, lastLength), destination.endpoint)
      }
    }
    return known && !failed
  }

  #isWanted(from: Endpoint): boolean {
    if (this.#only === undefined) return true
    if (from.port !== this.#only.port) return false
    const addresses = this.#destinations.get(this.#only.host)?.addresses
    return addresses?.includes(normalizeAddress(from.address) ?? '') === true
  }

  /** Told once; what is sent there meanwhile is dropped. */
  #fail(destination: Destination, error: unknown): void {
    destination.expires = this.#host.clock.now() + REMEMBERED_FAILURE
    this.#tellSoon(error instanceof DialError ? error : new DialError('aborted', String(error)))
  }

  /** Never from inside send(). */
  #tellSoon(error: DialError): void {
    queueMicrotask(() => this.#tell(error))
  }

  #tell(error: DialError): void {
    if (!this.#closed) this.handler?.onError(error)
  }

  #end(error: DialError): void {
    if (this.#closed) return
    const { handler } = this
    this.close()
    handler?.onError(error)
  }
}

/** One signal for all lookups of a socket, which are more than Node takes for sound. */
function newLookups(): AbortController {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal)
  return controller
}

// Ours: counts, octets, seconds, milliseconds.
const MAX_DESTINATIONS = 256
const MAX_RESOLVING = 32
const MAX_WAITING = 32
const MAX_WAITING_OCTETS = 65_536
const MAX_KEPT = 2048
const MIN_TTL = 5
const REMEMBERED_FAILURE = 5_000
