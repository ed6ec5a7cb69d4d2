import type { DialErrorCode } from '../tunnel/dialer.js'
import type { DnsEvent } from './events.js'
import { type HostType, Rcode, TYPE_NUMBER } from './message.js'
import { reverseName } from './names.js'
import type { Outcome } from './outcome.js'
import {
  type Body,
  bodyOf,
  bodyOfOutcome,
  ExtendedError,
  hostTypeOf,
  isPlain,
  NOTHING,
  type Request,
  readRequest,
  type WhyNot,
  writeAnswer,
} from './request.js'
import type { NameSource } from './source.js'
import type { Query } from './wire.js'

export interface ServiceOptions {
  readonly names: NameSource
  /**
   * Resolves when the tunnel is up, rejects if that takes longer than somebody who asks for a name waits. Default:
   * nobody waits.
   */
  readonly whenUp?: (signal: AbortSignal) => Promise<void>
  readonly onEvent?: (event: DnsEvent) => void
}

export interface Client {
  /** For events. */
  readonly name: string
  readonly transport: 'udp' | 'tcp'
  /** May ask at all. */
  readonly isAllowed: boolean
  /** Has more questions under way than is its due. */
  readonly isBusy?: boolean
  /** Octets of the largest answer, whatever it asks for. */
  readonly limit: number
}

interface Result {
  readonly body: Body
  readonly why: WhyNot
  readonly code?: DialErrorCode
}

/** Answers messages of clients out of a source of names. */
export class DnsService {
  readonly #options: ServiceOptions

  constructor(options: ServiceOptions) {
    this.#options = options
  }

  /**
   * The answer to a message; undefined, at once: none is due, and whoever sent this over TCP is to be left. Never
   * throws or rejects.
   *
   * A web page can have a browser send nearly anything to a TCP port, behind the head of an HTTP request. Octets on
   * from there must never become questions.
   */
  answer(bytes: Uint8Array, client: Client, signal: AbortSignal): Promise<Buffer> | undefined {
    const request = readRequest(bytes)
    if (request === undefined) return undefined
    if (!request.isMalformed || client.transport === 'udp') return this.#answer(request, client, signal)
    this.#tell(request, client, request.refusal)
    return undefined
  }

  async #answer(request: Request, client: Client, signal: AbortSignal): Promise<Buffer> {
    const { body, why, code } = await this.#result(request, client, signal).catch((error: unknown) =>
      nothing(Rcode.SERVFAIL, ExtendedError.OTHER, error instanceof Error ? error.message : 'out of order'),
    )
    const limit = client.transport === 'udp' ? Math.min(request.size, client.limit) : client.limit
    this.#tell(request, client, why, code)
    return writeAnswer(request, body, why, limit)
  }

  async #result(request: Request, client: Client, signal: AbortSignal): Promise<Result> {
    const { query } = request
    if (!client.isAllowed) return nothing(Rcode.REFUSED, ExtendedError.PROHIBITED, 'you may not ask here')
    if (query === undefined) return { body: NOTHING, why: request.refusal }
    if (client.isBusy === true) {
      return nothing(Rcode.SERVFAIL, ExtendedError.OTHER, 'too many of your questions are under way')
    }
    const here = ownName(query)
    if (here !== undefined) return here
    const { names, whenUp } = this.#options
    const type = hostTypeOf(query)
    await names.refresh?.()
    const isWritten = type !== undefined && names.isWritten?.(query.name, type) === true
    const needsTunnel = !isWritten && names.needsTunnel?.(query.name) !== false
    try {
      if (needsTunnel) await whenUp?.(signal)
    } catch (error) {
      const text = error instanceof Error ? error.message : 'the tunnel is not up'
      return nothing(Rcode.SERVFAIL, ExtendedError.NOT_READY, text)
    }
    if (type !== undefined && (isWritten || isPlain(query))) {
      return fromOutcome(query, type, await names.lookup(query.name, type, signal))
    }
    const relayed = await names.relay(query, signal)
    if (relayed.kind === 'failed') return fromFailure(relayed.code, relayed.message)
    const body = bodyOf(relayed.message)
    if (body === undefined) return nothing(Rcode.SERVFAIL, ExtendedError.OTHER, 'a malformed answer')
    return { body, why: { rcode: relayed.message.readUInt16BE(2) & 0x0f } }
  }

  #tell(request: Request, client: Client, { rcode, extended }: WhyNot, code?: DialErrorCode): void {
    const { query, question } = request
    this.#options.onEvent?.({
      type: 'dns-query',
      client: client.name,
      transport: client.transport,
      name: query?.name ?? '',
      queryType: question.length < 4 ? 0 : Buffer.from(question).readUInt16BE(question.length - 4),
      rcode,
      ...(extended === undefined ? {} : { reason: extended.text }),
      ...(code === undefined ? {} : { code }),
    })
  }
}

function fromOutcome(query: Query, type: HostType, outcome: Outcome): Result {
  if (outcome.kind === 'failed') return fromFailure(outcome.code, outcome.message)
  const rcode = outcome.kind === 'absent' && outcome.nxdomain ? Rcode.NXDOMAIN : Rcode.NOERROR
  return { body: bodyOfOutcome(query.name, type, outcome), why: { rcode } }
}

function fromFailure(code: DialErrorCode, text: string): Result {
  return { ...failure(code, text), code }
}

function failure(code: DialErrorCode, text: string): Result {
  switch (code) {
    case 'name-not-found':
      return { body: NOTHING, why: { rcode: Rcode.NXDOMAIN } }
    case 'not-allowed':
      return nothing(Rcode.REFUSED, ExtendedError.BLOCKED, text)
    case 'tunnel-down':
    case 'tunnel-reconnecting':
      return nothing(Rcode.SERVFAIL, ExtendedError.NOT_READY, text)
    // REFUSED of ours would mean that we will not ask for them.
    case 'name-refused':
    case 'name-failed':
    case 'name-timed-out':
      return nothing(Rcode.SERVFAIL, ExtendedError.NO_REACHABLE_AUTHORITY, text)
    case 'no-resources':
    case 'aborted':
      return nothing(Rcode.SERVFAIL, ExtendedError.OTHER, text)
    default:
      return nothing(Rcode.SERVFAIL, ExtendedError.NETWORK_ERROR, text)
  }
}

function nothing(rcode: number, code: number, text: string): Result {
  return { body: NOTHING, why: { rcode, extended: { code, text } } }
}

/**
 * RFC 6761 6.3, RFC 6303 4: names of whoever asks, which is this machine. RFC 9462 6.1: by `resolver.arpa` a client
 * would find the server behind this one, and ask it past the tunnel.
 */
function ownName(query: Query): Result | undefined {
  if (query.name === 'resolver.arpa' || query.name.endsWith('.resolver.arpa')) {
    return { body: NOTHING, why: { rcode: Rcode.NOERROR } }
  }
  const isLocal = query.name === 'localhost' || query.name.endsWith('.localhost')
  if (!isLocal && !LOOPBACK.has(query.name)) return undefined
  const [type, values] = isLocal
    ? query.type === TYPE_NUMBER.AAAA
      ? (['AAAA', ['::1']] as const)
      : (['A', ['127.0.0.1']] as const)
    : (['PTR', ['localhost']] as const)
  const outcome: Outcome = { kind: 'found', values, aliases: [], ttl: LOOPBACK_TTL }
  const body = query.type === TYPE_NUMBER[type] ? bodyOfOutcome(query.name, type, outcome) : NOTHING
  return { body, why: { rcode: Rcode.NOERROR } }
}

const LOOPBACK: ReadonlySet<string> = new Set([reverseName('127.0.0.1'), reverseName('::1')])
/** Seconds; ours. */
const LOOPBACK_TTL = 3600
