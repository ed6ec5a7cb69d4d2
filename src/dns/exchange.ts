import { DialError, type DialErrorCode, type Endpoint, type Network, type UdpFlow } from '../tunnel/dialer.js'
import type { Clock } from './clock.js'
import type { EdnsMemory } from './edns.js'
import { Rcode } from './message.js'
import { normalizeAddress } from './names.js'
import type { TcpPool } from './tcp-pool.js'
import { encodeQuery, FLAG_QR, FLAG_TC, HEADER, hasQuestion, OPCODE, type Query } from './wire.js'

/** What one question to the servers came to: an answer (NXDOMAIN is one), or why there is none. */
export type Reply<T> =
  | { readonly kind: 'response'; readonly response: T }
  | { readonly kind: 'failed'; readonly code: DialErrorCode; readonly message: string }

export interface ExchangeOptions<T extends { readonly rcode: number }> {
  readonly network: Network
  readonly tcp: TcpPool
  /** Addresses in canonical form, best first, at least one. */
  readonly servers: readonly Endpoint[]
  readonly query: Query
  /** Reads a response to `query`, which may be changed; undefined if it is malformed. */
  readonly read: (message: Buffer) => T | undefined
  /** On `clock`. */
  readonly deadline: number
  readonly clock: Clock
  readonly random: (dst: Uint8Array) => void
  readonly signal: AbortSignal
  /** Others wait for this question to be over. */
  readonly isCrowded: () => boolean
  /** Whether a server has answered, or kept us waiting. */
  readonly onServer: (server: Endpoint, answered: boolean) => void
  readonly edns: EdnsMemory
}

/**
 * Puts one question to the servers in turn until one answers. Never rejects.
 *
 * A server that is slow keeps its socket while the next is asked, so a late answer still counts; when its turn comes
 * again, the same query goes out once more; the last time without EDNS if that may be why it is silent.
 */
export function exchange<T extends { readonly rcode: number }>(
  options: ExchangeOptions<T>,
): Promise<Reply<T>> {
  return new Promise((resolve) => {
    new Exchange(options, resolve).start()
  })
}

class Exchange<T extends { readonly rcode: number }> {
  readonly #options: ExchangeOptions<T>
  readonly #resolve: (reply: Reply<T>) => void
  readonly #attempts = new Set<Attempt<T>>()
  /** Servers not to be asked again, and what they said. */
  readonly #failures = new Map<Endpoint, string>()
  /** How many of them answered REFUSED. */
  #refusals = 0
  readonly #started: number
  #asked = 0
  #current: Attempt<T> | undefined
  #cancelTimer: (() => void) | undefined
  #settled = false

  constructor(options: ExchangeOptions<T>, resolve: (reply: Reply<T>) => void) {
    this.#options = options
    this.#resolve = resolve
    this.#started = options.clock.now()
  }

  start(): void {
    const { signal } = this.#options
    if (signal.aborted) {
      this.#settle(ABORTED)
      return
    }
    signal.addEventListener('abort', this.#onAbort)
    this.#next()
  }

  readonly #onAbort = (): void => this.#settle(ABORTED)

  #next(): void {
    if (this.#settled) return
    const { servers, clock, deadline, isCrowded, edns } = this.#options
    const limit = isCrowded() ? Math.min(deadline, this.#started + CROWDED_TIMEOUT) : deadline
    while (this.#asked < servers.length * ROUNDS && clock.now() < limit) {
      const server = servers[this.#asked++ % servers.length]
      if (server === undefined || this.#failures.has(server)) continue
      const earlier = [...this.#attempts].find((attempt) => attempt.server === server)
      if (earlier === undefined) this.#launch(server, edns.asksWith(server))
      else {
        this.#current = earlier
        this.#arm()
        earlier.again(earlier.edns && !(this.#isLastTurn() && edns.mayMind(server)))
      }
      return
    }
    this.#giveUp()
  }

  /** The server whose turn it is will not have another one, unless others fail at once. */
  #isLastTurn(): boolean {
    const { servers, clock, deadline } = this.#options
    const waiting = servers.length - this.#failures.size
    const isLastRound = this.#asked > servers.length * (ROUNDS - 1)
    return isLastRound || clock.now() + waiting * SERVER_TIMEOUT >= deadline
  }

  #launch(server: Endpoint, edns: boolean): void {
    const attempt = new Attempt(this.#options, server, edns, {
      onResponse: (response) => this.#onResponse(attempt, response),
      onTcp: () => {
        if (attempt === this.#current) this.#arm()
      },
      onFailure: (error) => this.#onFailure(attempt, error),
    })
    this.#attempts.add(attempt)
    this.#current = attempt
    this.#arm()
    attempt.start()
  }

  #arm(): void {
    const { clock, deadline } = this.#options
    this.#cancelTimer?.()
    const wait = Math.max(0, Math.min(SERVER_TIMEOUT, deadline - clock.now()))
    this.#cancelTimer = clock.setTimer(this.#onTimer, wait)
  }

  readonly #onTimer = (): void => {
    this.#cancelTimer = undefined
    if (this.#current !== undefined) this.#options.onServer(this.#current.server, false)
    this.#next()
  }

  #onResponse(attempt: Attempt<T>, response: T): void {
    if (this.#settled) return
    this.#options.onServer(attempt.server, true)
    this.#options.edns.answered(attempt.server, attempt.edns)
    const { rcode } = response
    if (rcode === Rcode.NOERROR || rcode === Rcode.NXDOMAIN) {
      this.#settle({ kind: 'response', response })
      return
    }
    // RFC 6891 7: a server that knows no EDNS says so in one of these ways.
    const dislikesEdns = rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP || rcode === Rcode.BADVERS
    if (dislikesEdns && attempt.edns) {
      this.#drop(attempt)
      this.#launch(attempt.server, false)
      return
    }
    if (rcode === Rcode.REFUSED) this.#refusals++
    this.#fail(attempt, `answered ${rcodeName(rcode)}`)
  }

  #onFailure(attempt: Attempt<T>, error: DialError): void {
    if (this.#settled) return
    if (error.code === 'tunnel-down') {
      this.#settle({ kind: 'failed', code: error.code, message: error.message })
      return
    }
    this.#fail(attempt, `failed: ${error.message}`)
  }

  #fail(attempt: Attempt<T>, what: string): void {
    this.#failures.set(attempt.server, what)
    this.#drop(attempt)
    if (attempt === this.#current) this.#next()
  }

  #drop(attempt: Attempt<T>): void {
    this.#attempts.delete(attempt)
    attempt.close()
  }

  #giveUp(): void {
    const { query, servers } = this.#options
    const failures = [...this.#failures].map(([server, what]) => `${server.address} ${what}`)
    const silent = servers.filter((server) => !this.#failures.has(server)).map(({ address }) => address)
    if (silent.length > 0) failures.push(`${silent.join(', ')} did not answer`)
    const message = `cannot resolve ${query.name}: ${failures.join('; ')}`
    // All are in order, and have other names to look up (RFC 1035 4.1.1 calls it policy).
    const refused = this.#refusals === servers.length
    const code = refused ? 'name-refused' : this.#failures.size > 0 ? 'name-failed' : 'name-timed-out'
    const hint = refused ? ' (a name of others? --route and --dns say where names belong)' : ''
    this.#settle({ kind: 'failed', code, message: message + hint })
  }

  #settle(reply: Reply<T>): void {
    if (this.#settled) return
    this.#settled = true
    this.#cancelTimer?.()
    this.#options.signal.removeEventListener('abort', this.#onAbort)
    for (const attempt of this.#attempts) attempt.close()
    this.#attempts.clear()
    this.#resolve(reply)
  }
}

interface AttemptEvents<T> {
  /** An answer to our question, whatever its code; not truncated. */
  onResponse(response: T): void
  /** Truncated over UDP: it asks again over TCP. */
  onTcp(): void
  onFailure(error: DialError): void
}

/** One query to one server: UDP, then TCP if that was cut short. */
class Attempt<T extends { readonly rcode: number }> {
  readonly server: Endpoint
  readonly #options: ExchangeOptions<T>
  #edns: boolean
  #message: Buffer
  readonly #events: AttemptEvents<T>
  readonly #abort = new AbortController()
  #udp: UdpFlow | undefined
  #closed = false

  constructor(options: ExchangeOptions<T>, server: Endpoint, edns: boolean, events: AttemptEvents<T>) {
    this.#options = options
    this.server = server
    this.#edns = edns
    this.#events = events
    const id = Buffer.alloc(2)
    options.random(id)
    this.#message = encodeQuery(id.readUInt16BE(0), options.query, edns)
  }

  /** The query has an OPT record. */
  get edns(): boolean {
    return this.#edns
  }

  start(): void {
    const { server } = this
    try {
      const udp = this.#options.network.openUdp({ remote: server })
      this.#udp = udp
      udp.handler = {
        onDatagram: (data, from) => {
          if (this.#closed || this.#udp === undefined || from.port !== server.port) return
          if (normalizeAddress(from.address) !== server.address) return
          // A wrong answer may be a forged one: the right one may still come (RFC 5452 9.1).
          const message = Buffer.from(data)
          if (!this.#isOurs(message)) return
          // What was cut short may be cut anywhere.
          if ((message.readUInt16BE(2) & FLAG_TC) !== 0) {
            this.#startTcp()
            return
          }
          const response = this.#options.read(message)
          if (response !== undefined) this.#events.onResponse(response)
        },
        onError: (error) => this.#failed(error),
      }
      udp.send(this.#message, server)
    } catch (error) {
      // Told later, so that nobody is called back from inside start().
      queueMicrotask(() => this.#failed(error))
    }
  }

  /**
   * The query may have been lost. It keeps its id and port: every other pair under way at the same time would be one
   * more for a forger to hit (RFC 5452 5). Over TCP nothing is lost.
   */
  again(edns: boolean): void {
    if (this.#udp !== undefined && edns !== this.#edns) {
      this.#edns = edns
      this.#message = encodeQuery(this.#message.readUInt16BE(0), this.#options.query, edns)
    }
    try {
      this.#udp?.send(this.#message, this.server)
    } catch (error) {
      queueMicrotask(() => this.#failed(error))
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#abort.abort()
    this.#udp?.close()
    this.#udp = undefined
  }

  #startTcp(): void {
    this.#udp?.close()
    this.#udp = undefined
    this.#events.onTcp()
    const { tcp, clock, deadline, read } = this.#options
    const timeout = Math.max(1, deadline - clock.now())
    tcp.ask(this.server, this.#message, timeout, this.#abort.signal).then(
      (message) => {
        if (this.#closed) return
        const isWhole = this.#isOurs(message) && (message.readUInt16BE(2) & FLAG_TC) === 0
        const response = isWhole ? read(message) : undefined
        if (response !== undefined) this.#events.onResponse(response)
        else this.#failed(new DialError('name-failed', 'a malformed answer over TCP'))
      },
      (error) => this.#failed(error),
    )
  }

  #isOurs(message: Buffer): boolean {
    if (message.length < HEADER || message.readUInt16BE(0) !== this.#message.readUInt16BE(0)) return false
    const flags = message.readUInt16BE(2)
    if ((flags & FLAG_QR) === 0 || (flags & OPCODE) !== 0) return false
    if (hasQuestion(message, this.#options.query.question)) return true
    // A server that could not read the question need not repeat it.
    const rcode = flags & 0x0f
    return message.readUInt16BE(4) === 0 && (rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP)
  }

  #failed(error: unknown): void {
    if (this.#closed) return
    this.#events.onFailure(
      error instanceof DialError
        ? error
        : new DialError('name-failed', error instanceof Error ? error.message : 'failed'),
    )
  }
}

export function rcodeName(rcode: number): string {
  for (const [name, value] of Object.entries(Rcode)) if (value === rcode) return name
  return `code ${rcode}`
}

const ABORTED = { kind: 'failed', code: 'aborted', message: 'given up' } as const
/** Milliseconds until the next server is asked as well. */
const SERVER_TIMEOUT = 2000
/** Milliseconds that a question may take while others wait. */
const CROWDED_TIMEOUT = 4000
const ROUNDS = 3
