import {
  DialError,
  type DialErrorCode,
  type Flow,
  type FlowHandler,
  type Network,
  type UdpFlow,
} from '../tunnel/dialer.js'
import type { Clock } from './clock.js'
import {
  type AddressType,
  CLASS_IN,
  type DnsResponse,
  decodeResponse,
  encodeQuery,
  Rcode,
  TYPE_NUMBER,
} from './message.js'
import { normalizeAddress } from './names.js'

/** What one question to the servers came to: an answer (NXDOMAIN is one), or why there is none. */
export type Reply =
  | { readonly kind: 'response'; readonly response: DnsResponse }
  | { readonly kind: 'failed'; readonly code: DialErrorCode; readonly message: string }

export interface ExchangeOptions {
  readonly network: Network
  /** In canonical form, best first, at least one. */
  readonly servers: readonly string[]
  readonly name: string
  readonly type: AddressType
  /** On `clock`. */
  readonly deadline: number
  readonly clock: Clock
  readonly random: (dst: Uint8Array) => void
  readonly signal: AbortSignal
}

/**
 * Puts one question to the servers in turn until one answers. Never rejects.
 *
 * A server that is slow keeps its socket while the next is asked, so a late answer still counts.
 */
export function exchange(options: ExchangeOptions): Promise<Reply> {
  return new Promise((resolve) => {
    new Exchange(options, resolve).start()
  })
}

class Exchange {
  readonly #options: ExchangeOptions
  readonly #resolve: (reply: Reply) => void
  readonly #attempts = new Set<Attempt>()
  /** Servers not to be asked again, and what they said. */
  readonly #failures = new Map<string, string>()
  #asked = 0
  #current: Attempt | undefined
  #cancelTimer: (() => void) | undefined
  #settled = false

  constructor(options: ExchangeOptions, resolve: (reply: Reply) => void) {
    this.#options = options
    this.#resolve = resolve
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
    const { servers, clock, deadline } = this.#options
    while (this.#asked < servers.length * ROUNDS && clock.now() < deadline) {
      const server = servers[this.#asked++ % servers.length]
      if (server === undefined || this.#failures.has(server)) continue
      this.#launch(server, true)
      return
    }
    this.#giveUp()
  }

  #launch(server: string, edns: boolean): void {
    const { name, type, random } = this.#options
    const id = new Uint8Array(2)
    random(id)
    const query = encodeQuery(((id[0] ?? 0) << 8) | (id[1] ?? 0), name, type, edns)
    const attempt = new Attempt(this.#options, server, query, edns, {
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
    this.#next()
  }

  #onResponse(attempt: Attempt, response: DnsResponse): void {
    if (this.#settled) return
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
    this.#fail(attempt, `answered ${rcodeName(rcode)}`)
  }

  #onFailure(attempt: Attempt, error: DialError): void {
    if (this.#settled) return
    if (error.code === 'tunnel-down') {
      this.#settle({ kind: 'failed', code: error.code, message: error.message })
      return
    }
    this.#fail(attempt, `failed: ${error.message}`)
  }

  #fail(attempt: Attempt, what: string): void {
    this.#failures.set(attempt.server, what)
    this.#drop(attempt)
    if (attempt === this.#current) this.#next()
  }

  #drop(attempt: Attempt): void {
    this.#attempts.delete(attempt)
    attempt.close()
  }

  #giveUp(): void {
    const { name, servers } = this.#options
    const failures = [...this.#failures].map(([server, what]) => `${server} ${what}`)
    const silent = servers.filter((server) => !this.#failures.has(server))
    if (silent.length > 0) failures.push(`${silent.join(', ')} did not answer`)
    this.#settle({
      kind: 'failed',
      code: this.#failures.size > 0 ? 'name-failed' : 'name-timed-out',
      message: `cannot resolve ${name}: ${failures.join('; ')}`,
    })
  }

  #settle(reply: Reply): void {
    if (this.#settled) return
    this.#settled = true
    this.#cancelTimer?.()
    this.#options.signal.removeEventListener('abort', this.#onAbort)
    for (const attempt of this.#attempts) attempt.close()
    this.#attempts.clear()
    this.#resolve(reply)
  }
}

interface AttemptEvents {
  /** An answer to our question, whatever its code; not truncated. */
  onResponse(response: DnsResponse): void
  /** Truncated over UDP: it asks again over TCP. */
  onTcp(): void
  onFailure(error: DialError): void
}

/** One query to one server: UDP, then TCP if that was cut short. */
class Attempt implements FlowHandler {
  readonly server: string
  readonly edns: boolean
  readonly #options: ExchangeOptions
  readonly #query: Buffer
  readonly #events: AttemptEvents
  readonly #abort = new AbortController()
  #udp: UdpFlow | undefined
  #flow: Flow | undefined
  #closed = false
  /** The TCP message with its length in front, as far as it came. */
  #received: Buffer = Buffer.alloc(2)
  #filled = 0

  constructor(options: ExchangeOptions, server: string, query: Buffer, edns: boolean, events: AttemptEvents) {
    this.#options = options
    this.server = server
    this.#query = query
    this.edns = edns
    this.#events = events
  }

  start(): void {
    try {
      const to = { address: this.server, port: DNS_PORT }
      const udp = this.#options.network.openUdp(to)
      this.#udp = udp
      udp.handler = {
        onDatagram: (data, from) => {
          if (this.#closed || this.#udp === undefined || from.port !== DNS_PORT) return
          if (normalizeAddress(from.address) !== this.server) return
          const response = decodeResponse(data)
          // A wrong answer may be a forged one: the right one may still come (RFC 5452 9.1).
          if (response === undefined || !this.#isOurs(response)) return
          if (response.truncated) this.#startTcp()
          else this.#events.onResponse(response)
        },
        onError: (error) => this.#failed(error),
      }
      udp.send(this.#query, to)
    } catch (error) {
      // Told later, so that nobody is called back from inside start().
      queueMicrotask(() => this.#failed(error))
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#abort.abort()
    this.#udp?.close()
    this.#udp = undefined
    this.#flow?.reset()
    this.#flow = undefined
  }

  /** RFC 7766 5: with the message's length in front. */
  #startTcp(): void {
    this.#udp?.close()
    this.#udp = undefined
    this.#events.onTcp()
    const { network, clock, deadline } = this.#options
    const timeout = Math.max(1, deadline - clock.now())
    network.connect({ address: this.server, port: DNS_PORT }, { timeout, signal: this.#abort.signal }).then(
      (flow) => {
        flow.handler = this
        if (this.#closed) return flow.reset()
        this.#flow = flow
        const framed = Buffer.allocUnsafe(this.#query.length + 2)
        framed.writeUInt16BE(this.#query.length, 0)
        this.#query.copy(framed, 2)
        flow.write(framed)
      },
      (error) => this.#failed(error),
    )
  }

  onReadable(): void {
    const flow = this.#flow
    if (flow === undefined) return
    for (;;) {
      const view = flow.peek()
      if (view.length === 0) break
      const take = Math.min(view.length, this.#received.length - this.#filled)
      this.#received.set(view.subarray(0, take), this.#filled)
      this.#filled += take
      flow.consume(take)
      if (this.#filled < this.#received.length) continue
      if (this.#filled > 2) {
        this.#onTcpMessage()
        return
      }
      const length = this.#received.readUInt16BE(0)
      if (length === 0) {
        this.#failed(new DialError('name-failed', 'an empty message over TCP'))
        return
      }
      const whole = Buffer.alloc(2 + length)
      this.#received.copy(whole)
      this.#received = whole
    }
    if (flow.ended) this.#failed(new DialError('reset', 'the server closed the connection without an answer'))
  }

  onWritable(): void {}

  onClose(error: DialError | undefined): void {
    this.#flow = undefined
    this.#failed(error ?? new DialError('reset', 'the server closed the connection without an answer'))
  }

  #onTcpMessage(): void {
    const response = decodeResponse(this.#received.subarray(2))
    if (response === undefined || !this.#isOurs(response) || response.truncated) {
      this.#failed(new DialError('name-failed', 'a malformed answer over TCP'))
      return
    }
    this.#events.onResponse(response)
  }

  #isOurs(response: DnsResponse): boolean {
    const { name, type } = this.#options
    if (response.id !== this.#query.readUInt16BE(0)) return false
    const asked = response.question
    // A server that could not read the question need not repeat it.
    if (asked === undefined) return response.rcode === Rcode.FORMERR || response.rcode === Rcode.NOTIMP
    return asked.name === name && asked.type === TYPE_NUMBER[type] && asked.class === CLASS_IN
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

function rcodeName(rcode: number): string {
  for (const [name, value] of Object.entries(Rcode)) if (value === rcode) return name
  return `code ${rcode}`
}

const ABORTED: Reply = { kind: 'failed', code: 'aborted', message: 'given up' }
const DNS_PORT = 53
/** Milliseconds until the next server is asked as well. */
const SERVER_TIMEOUT = 2000
const ROUNDS = 3
