/** Ways to RADIUS servers, and the time: what the client wants from the world. */
import { createSocket, type Socket } from 'node:dgram'
import { lookup } from 'node:dns'
import { isIPv6 } from 'node:net'

export interface Clock {
  /** Milliseconds that never go back. */
  now(): number
  /** Calls once after `ms` milliseconds; the result cancels it. */
  setTimer(callback: () => void, ms: number): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(callback, ms) {
    const timer = setTimeout(callback, ms)
    return () => clearTimeout(timer)
  },
}

export interface RadiusServer {
  /** A name or an IP address. */
  readonly host: string
  readonly port: number
  /** Shared with this server. */
  readonly secret: Uint8Array
}

/** A socket to one server. */
export interface RadiusPort {
  send(packet: Uint8Array): void
  close(): void
}

export interface PortOwner {
  /** A datagram from the server's address; the octets are the owner's. */
  received(packet: Uint8Array): void
  /** The port is of no more use. Never called from within `openPort` or `send`. */
  failed(reason: string): void
}

export type OpenPort = (server: RadiusServer, owner: PortOwner) => RadiusPort

/** Datagrams kept until the server's name is resolved. */
const MAX_EARLY = 256

/**
 * A connected UDP socket: the kernel drops what comes from elsewhere, and tells when nobody listens. The local
 * port is the kernel's choice, so that it cannot be foreseen.
 */
export const openUdpPort: OpenPort = (server, owner) => {
  let socket: Socket | undefined
  let ready = false
  let closed = false
  let early: Uint8Array[] = []
  const fail = (error: NodeJS.ErrnoException): void => {
    if (closed) return
    close()
    owner.failed(reasonOf(error))
  }
  const close = (): void => {
    closed = true
    early = []
    if (socket === undefined) return
    socket.removeAllListeners('message')
    try {
      socket.close()
    } catch {
      // it never was open
    }
  }
  lookup(server.host, (error, address) => {
    if (closed) return
    if (error !== null) {
      fail(error)
      return
    }
    socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    socket.on('error', fail)
    socket.on('message', (packet) => owner.received(packet))
    socket.once('connect', () => {
      if (closed) return
      ready = true
      for (const packet of early) socket?.send(packet, told)
      early = []
    })
    // Without a callback: it would be told of failures too, instead of 'error'.
    socket.connect(server.port, address)
  })
  const told = (error: Error | null): void => {
    if (error !== null) fail(error)
  }
  return {
    send(packet) {
      if (closed) return
      if (ready) socket?.send(packet, told)
      else if (early.length < MAX_EARLY) early.push(packet)
    },
    close,
  }
}

function reasonOf(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'nothing listens there'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name is not known'
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'no way leads there'
    default:
      return error.code ?? 'the socket failed'
  }
}
