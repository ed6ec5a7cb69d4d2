import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import {
  type DatagramFlow,
  DialError,
  type DialErrorCode,
  type Endpoint,
  type UdpHandler,
} from '../tunnel/dialer.js'
import type { Client, Stage } from './client.js'
import type { DropReason } from './events.js'
import { describeFailure, SocksReply } from './replies.js'
import type { SocksCall } from './socks-call.js'
import { UdpDestination, UdpFault } from './socks-udp-header.js'
import { UdpOut } from './socks-udp-out.js'

/**
 * UDP ASSOCIATE, RFC 1928 7: a local socket for one client, and one in the tunnel, for as long as its TCP
 * connection lives.
 *
 * The local socket is bound to the address on which that connection came in, and to nothing else, and takes
 * datagrams only from the address that it came from and from one port: the one announced, else the first that
 * sends a datagram as it should be. From then on the kernel keeps others out.
 *
 * An association that has been idle gives its socket in the tunnel back, and gets another with the next datagram;
 * so it does when the tunnel has gone and come again.
 */
export class SocksUdp implements Stage, UdpHandler {
  readonly #client: Client
  readonly #call: SocksCall
  readonly #destination = new UdpDestination()
  /** Address of the client. */
  #peer = ''
  /** 0 while it is not known. */
  #peerPort = 0
  #local: Socket | undefined
  /** Once its port is known. */
  #out: UdpOut | undefined
  #flow: DatagramFlow | undefined
  /** The tunnel gave no socket a moment ago. */
  #refused = false
  #cancelRetry: (() => void) | undefined
  #cancelIdle: (() => void) | undefined
  /** A datagram has passed since the idle timer was set. */
  #active = false
  #open = false
  #over = false
  #up = 0
  #down = 0
  readonly #told = new Set<string>()

  constructor(call: SocksCall) {
    this.#call = call
    this.#client = call.client
  }

  start(): void {
    const { dialect, quotas, host, port } = this.#call
    const client = this.#client
    const { limits } = client.context
    const address = plain(client.socket.localAddress)
    const peer = plain(client.socket.remoteAddress)
    if (address === undefined || peer === undefined) {
      const message = 'UDP ASSOCIATE over a unix socket: there is no address that datagrams could come from'
      client.reject('forbidden', message, dialect.refused(SocksReply.COMMAND_NOT_SUPPORTED))
      return
    }
    if (!quotas.associations.take(peer)) {
      const message = `more than ${limits.associations} UDP associations, or ${limits.associationsPerAddress} of ${peer}`
      client.reject('limit', message, dialect.refused(SocksReply.GENERAL_FAILURE))
      return
    }
    client.enter(this)
    client.clearDeadline()
    this.#peer = peer
    // Whoever announces another address than it comes from is behind a NAT, or means something else by it.
    if (isUnspecified(host) || host === peer) this.#peerPort = port
    try {
      this.#flow = this.#openFlow()
    } catch (error) {
      this.#fail(error)
      return
    }
    this.#bind(address)
  }

  onLocalData(): void {}

  onLocalEnd(): void {
    this.#free(undefined)
    this.#client.finish()
  }

  onLocalClose(): void {
    this.#free(undefined)
  }

  /** From the tunnel. */
  onDatagram(data: Uint8Array, from: Endpoint): void {
    const out = this.#out
    if (out === undefined) return
    const dropped = out.send(data, from)
    if (dropped === undefined) {
      this.#active = true
      this.#down += data.length
    } else if (this.#isNews(dropped)) {
      const large = `a datagram of ${data.length} octets has no room for its SOCKS header`
      this.#drop(dropped, dropped === 'too-large' ? large : 'datagrams come faster than the client gets them')
    }
  }

  onError(error: DialError): void {
    if (error.code !== 'tunnel-down') {
      this.#tell(error)
      return
    }
    // Others tell of that; the next datagram asks for another socket.
    this.#flow = undefined
    this.#endIdle()
  }

  #bind(address: string): void {
    const local = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    this.#local = local
    // A client that does not listen makes the kernel say so: no reason to end.
    local.on('error', (error) => {
      if (!this.#open)
        this.#fail(new DialError('no-resources', `no UDP port for the client: ${error.message}`))
    })
    local.on('message', (message, from) => this.#onMessage(message, from))
    local.bind({ address, port: 0, exclusive: true }, () => {
      if (this.#over) return
      try {
        local.setRecvBufferSize(RECEIVE_BUFFER)
      } catch {
        // The system's own size, then.
      }
      if (this.#peerPort === 0) this.#reply()
      else this.#adopt(() => this.#reply())
    })
  }

  #reply(): void {
    const local = this.#local
    if (local === undefined) return
    const { address, port } = local.address()
    this.#open = true
    const { context, id, socket } = this.#client
    context.emit({ type: 'open', client: id, ...this.#about() })
    socket.write(this.#call.dialect.granted({ address: withoutZone(address), port }))
  }

  /** The client's port is known: the kernel is told to take nothing from others. */
  #adopt(then: () => void): void {
    const local = this.#local
    local?.connect(this.#peerPort, this.#peer, (error?: Error) => {
      if (this.#over) return
      if (error !== undefined && error !== null) {
        this.#fail(new DialError('no-resources', `no UDP port for the client: ${error.message}`))
        return
      }
      this.#out = new UdpOut(local, isIPv6(this.#peer) ? MAX_UDP6 : MAX_UDP4)
      then()
    })
  }

  #onMessage(message: Buffer, from: RemoteInfo): void {
    if (this.#over) return
    if (from.address !== this.#peer || (this.#peerPort !== 0 && from.port !== this.#peerPort)) {
      if (this.#isNews('source')) {
        const stranger = `${from.address} ${from.port}`
        this.#drop('source', `a datagram from ${stranger}, where this association has no client`)
      }
      return
    }
    const header = this.#destination.read(message)
    if (header < 0) {
      const reason = header === UdpFault.FRAGMENT ? 'fragment' : 'malformed'
      const fragment = 'the client sends datagrams in fragments of SOCKS'
      const malformed = 'a datagram of the client has no SOCKS header, or not the whole of it'
      if (this.#isNews(reason)) this.#drop(reason, reason === 'fragment' ? fragment : malformed)
      return
    }
    if (this.#peerPort === 0) {
      this.#peerPort = from.port
      this.#adopt(() => {})
    }
    const flow = this.#flow ?? this.#reopen()
    if (flow === undefined) return
    this.#active = true
    this.#up += message.length - header
    flow.send(message.subarray(header), this.#destination.to)
  }

  #openFlow(): DatagramFlow {
    const { dialer, setTimer, limits } = this.#client.context
    const flow = dialer.openDatagrams()
    flow.handler = this
    this.#active = false
    const onIdle = (): void => {
      if (this.#active) {
        this.#active = false
        this.#cancelIdle = setTimer(onIdle, limits.associationIdle)
        return
      }
      this.#cancelIdle = undefined
      this.#flow = undefined
      flow.close()
    }
    this.#cancelIdle = setTimer(onIdle, limits.associationIdle)
    return flow
  }

  #reopen(): DatagramFlow | undefined {
    if (this.#refused) return undefined
    try {
      this.#flow = this.#openFlow()
    } catch (error) {
      this.#tell(error)
      // Until then datagrams are lost, and cost nothing.
      this.#refused = true
      this.#cancelRetry = this.#client.context.setTimer(() => {
        this.#refused = false
        this.#cancelRetry = undefined
      }, RETRY)
    }
    return this.#flow
  }

  #endIdle(): void {
    this.#cancelIdle?.()
    this.#cancelIdle = undefined
  }

  /** No association comes about. */
  #fail(error: unknown): void {
    if (this.#over) return
    const { code, message, reply } = describeFailure(error)
    const { context, id } = this.#client
    context.emit({ type: 'failed', client: id, ...this.#about(), code, message })
    const replied = this.#open
    this.#free(message)
    this.#client.finish(replied ? undefined : this.#call.dialect.refused(reply.socks))
  }

  /** What happened to one datagram; of each kind once. */
  #tell(error: unknown): void {
    const { code, message } = describeFailure(error)
    if (this.#over || !this.#isNews(code)) return
    const { context, id } = this.#client
    context.emit({ type: 'failed', client: id, ...this.#about(), code, message })
  }

  #drop(reason: DropReason, message: string): void {
    const { context, id } = this.#client
    context.emit({ type: 'dropped', client: id, ...this.#about(), reason, message })
  }

  /** Floods are told once, and then cost no more than their datagrams. */
  #isNews(what: DropReason | DialErrorCode | 'internal'): boolean {
    if (this.#told.has(what)) return false
    this.#told.add(what)
    return true
  }

  #about() {
    return { protocol: 'udp', host: this.#peer, port: this.#peerPort } as const
  }

  #free(error: string | undefined): void {
    if (this.#over) return
    this.#over = true
    this.#endIdle()
    this.#cancelRetry?.()
    this.#flow?.close()
    this.#flow = undefined
    this.#local?.close()
    this.#local = undefined
    this.#out = undefined
    this.#call.quotas.associations.give(this.#peer)
    const { context, id } = this.#client
    if (this.#open) {
      context.emit({ type: 'done', client: id, ...this.#about(), up: this.#up, down: this.#down, error })
    }
  }
}

/** As datagrams call it: an IPv4 address as such, although the port that listens may be one of IPv6. */
function plain(address: string | undefined): string | undefined {
  if (address === undefined || address === '') return undefined
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)
  return mapped?.[1] ?? address
}

/** A zone names a link of this machine, and has no place in a reply. */
function withoutZone(address: string): string {
  const zone = address.indexOf('%')
  return zone < 0 ? address : address.slice(0, zone)
}

function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** The most that a datagram of the local network holds. */
const MAX_UDP4 = 65_507
const MAX_UDP6 = 65_527
/** For bursts that come while we do something else; the system may allow less. */
const RECEIVE_BUFFER = 1_048_576
/** Milliseconds until a tunnel that gave no socket is asked again. */
const RETRY = 1000
