import { connect, type Socket } from 'node:net'
import { READY_CONNECTED, type SocketError, type TcpConnection } from '../../stack/index.js'
import type { DialError, Endpoint, FlowHandler } from '../link/flow.js'
import { type FlowHost, StackFlow } from '../link/stack-flow.js'

/** So that a slow socket's window opens in steps and not all at once. */
const MAX_WRITE = 262_144
const NOTHING = new Uint8Array(0)

/** Who has an {@link EgressTcp}, and is told how it fares. */
export interface EgressTcpHost extends FlowHost {
  /** The far side has answered. */
  tcpOpened(e: EgressTcp): void
  /** Both sides are over. */
  tcpDone(e: EgressTcp): void
}

/**
 * A client's TCP connection, ended in the stack and continued by an ordinary socket. The client hears
 * "established" only when the far side has answered, and otherwise why it did not.
 */
export class EgressTcp implements FlowHandler {
  private readonly connection: TcpConnection
  private readonly host: EgressTcpHost
  private readonly socket: Socket
  private flow: StackFlow | undefined
  /** Octets in the write under way; 0: none is. */
  private writing = 0
  private flowClosed = false
  private socketClosed = false
  private socketFinished = false

  constructor(connection: TcpConnection, to: Endpoint, host: EgressTcpHost) {
    this.connection = connection
    this.host = host
    connection.owner = this
    this.socket = connect({
      host: to.address,
      port: to.port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
    })
    this.socket.once('connect', () => this.connected())
    this.socket.on('error', (error: NodeJS.ErrnoException) => this.failed(error))
    this.socket.once('close', () => this.socketGone())
  }

  /** News of the connection before it is a flow: only that it has ended. */
  onReady(bits: number): void {
    if (this.flow !== undefined) {
      this.flow.onReady(bits & ~READY_CONNECTED)
      // A client that has given up does not wait for a far side that takes nothing.
      if (this.connection.error !== undefined) this.flow.reset()
      return
    }
    if (this.connection.error === undefined) return
    this.flowClosed = true
    this.socket.destroy()
    this.finish()
  }

  /** Ends both sides at once. */
  destroy(): void {
    this.flowClosed = true
    this.connection.abort()
    this.socket.destroy()
    this.finish()
  }

  private connected(): void {
    if (this.flowClosed) return
    this.host.tcpOpened(this)
    this.flow = new StackFlow(this.connection, this.host)
    this.connection.owner = this
    this.flow.handler = this
    this.connection.proceed(this.host.now())
    this.host.wake()
    this.socket.on('data', (chunk: Buffer) => {
      if (this.flow !== undefined && !this.flow.write(chunk)) this.socket.pause()
    })
    this.socket.once('end', () => this.farEnd())
  }

  /**
   * The far side sends no more, or so libuv says: it says the same of an RST right behind data. To write nothing
   * fails then, and what was cut off must not look complete to the client.
   */
  private farEnd(): void {
    const { socket } = this
    if (socket.destroyed || socket.writableEnded || socket.writableLength > 0) this.flow?.end()
    else socket.write(NOTHING, (error) => error || this.flow?.end())
  }

  private failed(error: NodeJS.ErrnoException): void {
    if (this.flowClosed) return
    if (this.connection.isHeld) {
      this.connection.refuse(socketError(error), this.host.now())
      this.flowClosed = true
    } else {
      this.breakOff()
    }
    this.host.wake()
  }

  private socketGone(): void {
    this.socketClosed = true
    if (!this.flowClosed && !(this.socketFinished && this.socket.readableEnded)) {
      this.breakOff()
      this.host.wake()
    }
    this.finish()
  }

  /** The client hears of a reset behind the data that came in front of it, also those that wait in a paused socket. */
  private breakOff(): void {
    for (let chunk = this.socket.read(); chunk instanceof Uint8Array; chunk = this.socket.read()) {
      this.flow?.write(chunk)
    }
    this.connection.abortBehind()
  }

  onReadable(): void {
    if (this.writing === 0) this.pump()
  }

  onWritable(): void {
    this.socket.resume()
  }

  onClose(error: DialError | undefined): void {
    this.flowClosed = true
    // A reset while our FIN waits to go out fails with EINVAL (Node 20).
    if (error !== undefined) this.socketFinished ? this.socket.destroy() : this.socket.resetAndDestroy()
    else if (this.writing === 0) this.endSocket()
    this.finish()
  }

  private pump(): void {
    const { flow } = this
    if (flow === undefined || this.flowClosed || this.socketClosed) return
    const view = flow.peek()
    const size = Math.min(view.length, MAX_WRITE)
    if (size === 0) {
      if (flow.ended) this.endSocket()
      return
    }
    this.writing = size
    this.socket.write(Buffer.from(view.buffer, view.byteOffset, size), this.onWritten)
  }

  private readonly onWritten = (error?: Error | null): void => {
    const size = this.writing
    this.writing = 0
    if (error) return
    if (this.flowClosed) {
      this.endSocket()
      return
    }
    this.flow?.consume(size)
    this.pump()
  }

  private endSocket(): void {
    if (this.socketFinished || this.socketClosed) return
    this.socketFinished = true
    this.socket.end()
  }

  private finish(): void {
    if (this.flowClosed && this.socketClosed) this.host.tcpDone(this)
  }
}

/** What the system said about the far side, in the words of ICMP. */
export function socketError(error: NodeJS.ErrnoException): SocketError {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'refused'
    case 'ENETUNREACH':
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
      return 'network-unreachable'
    case 'EHOSTUNREACH':
    case 'EHOSTDOWN':
      return 'host-unreachable'
    case 'EACCES':
    case 'EPERM':
      return 'prohibited'
    case 'ETIMEDOUT':
      return 'timed-out'
    // Ours, and it passes: the client tries again.
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOBUFS':
    case 'ENOMEM':
      return 'timed-out'
    default:
      return 'refused'
  }
}
