import { isIP, type Socket } from 'node:net'
import {
  DialError,
  type DialErrorCode,
  type Endpoint,
  type Flow,
  type FlowHandler,
} from '../tunnel/dialer.js'

/**
 * An ordinary TCP connection in the shape of one through the tunnel. What is not consumed gathers up to
 * {@link HIGH_WATER}, then reading stops, and the system's window closes.
 */
export class DirectFlow implements Flow {
  readonly local: Endpoint
  readonly remote: Endpoint
  readonly #socket: Socket
  #handler: FlowHandler | undefined
  #chunks: Buffer[] = []
  /** Octets of the first chunk that are consumed. */
  #taken = 0
  #readable = 0
  #ended = false
  #pending = 0
  #failure: DialError | undefined
  /** The socket is gone. */
  #gone = false
  /** `onClose` was told. */
  #told = false
  #ending = false
  #scheduled = false

  /** Of a connected socket with `allowHalfOpen`. */
  constructor(socket: Socket, remote: Endpoint) {
    this.#socket = socket
    this.local = { address: socket.localAddress ?? '', port: socket.localPort ?? 0 }
    this.remote = remote
    socket.on('data', (chunk: Buffer) => this.#onData(chunk))
    socket.on('drain', () => this.#news(WRITABLE))
    socket.on('end', () => this.#farEnd())
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // What waits in a paused socket came in front of it.
      for (let chunk = socket.read(); chunk instanceof Buffer; chunk = socket.read()) this.#onData(chunk)
      this.#fail(directError(error, this.remote, 'reset'))
    })
    socket.on('close', () => {
      const inOrder = this.#ended && this.#ending
      if (!inOrder) this.#fail(new DialError('reset', describe('reset', this.remote)))
      this.#gone = true
      this.#deliver()
    })
  }

  get handler(): FlowHandler | undefined {
    return this.#handler
  }

  set handler(handler: FlowHandler | undefined) {
    this.#handler = handler
    if (handler !== undefined && (this.#pending !== 0 || this.#gone)) this.#schedule()
  }

  get readable(): number {
    return this.#readable
  }

  get ended(): boolean {
    return this.#ended
  }

  get queued(): number {
    return this.#gone ? 0 : this.#socket.writableLength
  }

  peek(skip = 0): Uint8Array {
    let at = this.#taken + skip
    for (const chunk of this.#chunks) {
      if (at < chunk.length) return chunk.subarray(at)
      at -= chunk.length
    }
    return EMPTY
  }

  consume(n: number): void {
    if (n > this.#readable) throw new RangeError(`consumed ${n} of ${this.#readable}`)
    this.#readable -= n
    this.#taken += n
    for (let first = this.#chunks[0]; first !== undefined && this.#taken >= first.length; ) {
      this.#taken -= first.length
      this.#chunks.shift()
      first = this.#chunks[0]
    }
    if (this.#socket.isPaused() && this.#readable <= HIGH_WATER / 2) this.#socket.resume()
    if (this.#gone && this.#readable === 0) this.#schedule()
  }

  write(chunk: Uint8Array): boolean {
    if (this.#ending || this.#gone || this.#failure !== undefined) return true
    return this.#socket.write(chunk)
  }

  end(): void {
    if (this.#ending || this.#gone) return
    this.#ending = true
    this.#socket.end()
  }

  reset(): void {
    this.#chunks = []
    this.#taken = 0
    this.#readable = 0
    if (this.#gone || this.#failure !== undefined) {
      // It was over, and only what was unread has kept that back.
      if (this.#gone) this.#schedule()
      return
    }
    this.#fail(new DialError('aborted', describe('aborted', this.remote)))
    const socket = this.#socket
    // While its FIN is on the way, Node cannot reset it, and would never close it either.
    if (socket.writableEnded && !socket.writableFinished) socket.destroy()
    else socket.resetAndDestroy()
  }

  /**
   * libuv tells an RST right behind data as an end; to write nothing fails on a socket that was reset, and a reset
   * must not look like an end to the client.
   */
  #farEnd(): void {
    const socket = this.#socket
    const end = (error?: Error | null): void => {
      if (error) return
      this.#ended = true
      this.#news(READABLE)
    }
    if (socket.destroyed || socket.writableEnded || socket.writableLength > 0) end()
    else socket.write(EMPTY, end)
  }

  #onData(chunk: Buffer): void {
    if (this.#failure !== undefined) return
    this.#chunks.push(chunk)
    this.#readable += chunk.length
    if (this.#readable >= HIGH_WATER) this.#socket.pause()
    this.#news(READABLE)
  }

  #fail(error: DialError): void {
    if (this.#failure !== undefined || this.#gone) return
    this.#failure = error
  }

  #news(bit: number): void {
    this.#pending |= bit
    this.#deliver()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#deliver()
    })
  }

  /** Never from inside a call to the flow: events of a socket come by themselves. */
  #deliver(): void {
    if (this.#handler === undefined || this.#told) return
    const bits = this.#pending
    this.#pending = 0
    // A handler may put another in its place, or reset the flow.
    if (bits & WRITABLE && this.#failure === undefined) this.#handler.onWritable()
    if (bits & READABLE && (this.#failure === undefined || this.#readable > 0)) this.#handler?.onReadable()
    if (!this.#gone || this.#told || this.#readable > 0) return
    if (this.#handler === undefined) return
    this.#told = true
    this.#handler.onClose(this.#failure)
  }
}

/** What the system says about a connection, a datagram or a name. */
export function directError(
  error: NodeJS.ErrnoException,
  remote: Endpoint,
  fallback: DialErrorCode = 'host-unreachable',
): DialError {
  const code = CODES[error.code ?? ''] ?? fallback
  return new DialError(code, describe(code, remote))
}

/** The same of a question for a name or for the name of an address. */
export function directNameError(error: NodeJS.ErrnoException, what: string): DialError {
  const code = NAME_CODES[error.code ?? ''] ?? 'name-failed'
  const said = {
    'name-not-found': 'does not know',
    'name-timed-out': 'had no answer in time about',
    'name-failed': 'could not find out about',
  }[code]
  // With --route for networks alone, names inside are asked for here.
  const hint =
    code === 'name-not-found' && !isIP(what)
      ? ' (a name behind the tunnel needs a rule, such as --route)'
      : ''
  return new DialError(code, `this computer's own resolver ${said} ${what}${hint}`)
}

function describe(code: DialErrorCode, { address, port }: Endpoint): string {
  const host = address.includes(':') ? `[${address}]` : address
  return `${host}:${port} ${WORDS[code] ?? 'cannot be reached'} (directly, not through the tunnel)`
}

const CODES: Readonly<Record<string, DialErrorCode>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ENETUNREACH: 'network-unreachable',
  ENETDOWN: 'network-unreachable',
  EADDRNOTAVAIL: 'network-unreachable',
  EAFNOSUPPORT: 'network-unreachable',
  EHOSTUNREACH: 'host-unreachable',
  EHOSTDOWN: 'host-unreachable',
  EACCES: 'prohibited',
  EPERM: 'prohibited',
  ETIMEDOUT: 'timed-out',
  EMSGSIZE: 'too-large',
  EADDRINUSE: 'no-resources',
  EMFILE: 'no-resources',
  ENFILE: 'no-resources',
  ENOBUFS: 'no-resources',
  ENOMEM: 'no-resources',
}

type NameCode = 'name-not-found' | 'name-timed-out' | 'name-failed'

// Of getaddrinfo (EAI_…) and of c-ares.
const NAME_CODES: Readonly<Record<string, NameCode>> = {
  ENOTFOUND: 'name-not-found',
  ENODATA: 'name-not-found',
  EAI_NODATA: 'name-not-found',
  EAI_NONAME: 'name-not-found',
  ETIMEOUT: 'name-timed-out',
}

const WORDS: Readonly<Partial<Record<DialErrorCode, string>>> = {
  refused: 'refused the connection',
  reset: 'reset the connection',
  'timed-out': 'does not answer',
  'host-unreachable': 'cannot be reached: host unreachable',
  'network-unreachable': 'cannot be reached: network unreachable',
  prohibited: 'cannot be reached: this system or a firewall forbids it',
  'too-large': 'takes smaller datagrams only',
  'no-resources': 'cannot be connected to: no free port, file or memory is left',
  aborted: 'was given up',
}

/** Octets; the most that gathers is this and one read of the socket more. */
export const HIGH_WATER = 262_144
const READABLE = 1
const WRITABLE = 2
const EMPTY = new Uint8Array(0)
