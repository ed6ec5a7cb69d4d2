/**
 * Requests to RADIUS servers: in order, repeated, and on to the next server when one does not answer (RFC 2865 2.4
 * and 2.5, RFC 5080 2.2.1).
 *
 * A port has 256 identifiers; when all are in use another port is opened. What does not prove to be the answer to a
 * request under way is dropped, whoever sent it.
 */
import { u8 } from '../../../stack/bytes.js'
import { isAnswerTo, judgeMessageAuthenticator, packetLength } from './packet.js'
import {
  type Clock,
  type OpenPort,
  openUdpPort,
  type RadiusPort,
  type RadiusServer,
  systemClock,
} from './port.js'
import { type Reply, readReply } from './reply.js'

/** What is asked; made anew for each server, for its secret. */
export interface RadiusRequest {
  /** Codes of the answers that fit. */
  readonly answers: readonly number[]
  /** The packet, and the authenticator that its answer is proved with. Undefined: it cannot be written. */
  encode(id: number, secret: Uint8Array): { packet: Uint8Array; authenticator: Uint8Array } | undefined
  /** Only this server can know what it is about. */
  readonly only?: RadiusServer
}

export type Outcome =
  | { readonly kind: 'reply'; readonly reply: Reply; readonly server: RadiusServer }
  /** One line for people. */
  | { readonly kind: 'failed'; readonly message: string }

export interface RadiusClientOptions {
  /** In order of preference. */
  readonly servers: readonly RadiusServer[]
  /** Milliseconds for each server to answer in, with two repetitions in between; default 6 s. */
  readonly timeout?: number
  /** Answers to Access-Requests need a Message-Authenticator; default true. False is for servers older than 2024. */
  readonly requireMessageAuthenticator?: boolean
  readonly clock?: Clock
  readonly openPort?: OpenPort
}

export const DEFAULT_TIMEOUT = 6_000
/** A server that did not answer is asked last for so long. */
export const DEAD_TIME = 60_000
const SENDS = 3
const IDENTIFIERS = 256
/** Of one server: with all identifiers, 4096 requests. */
const MAX_PORTS = 16

const NO_ANSWER = 'no answer: perhaps it does not know this client, or its secret is another'
const FORGED = 'its answers are made with another secret'
const OLD =
  'its answers have no Message-Authenticator, so that anybody on the way could forge them: update it, or allow ' +
  'it with --radius-old-server'

/** A port with its identifiers. */
interface Lane {
  readonly port: RadiusPort
  readonly waiting: (Exchange | undefined)[]
  used: number
  next: number
}

interface Peer {
  readonly server: RadiusServer
  readonly lanes: Lane[]
  /** Until when it is asked last. */
  deadUntil: number
}

interface Exchange {
  readonly request: RadiusRequest
  readonly done: (outcome: Outcome) => void
  /** Servers that have not been asked yet. */
  readonly candidates: Peer[]
  peer: Peer | undefined
  lane: Lane | undefined
  id: number
  packet: Uint8Array
  authenticator: Uint8Array
  sends: number
  /** What is wrong with the server, as far as known. */
  reason: string
  reasons: string[]
  cancelTimer: () => void
}

export class RadiusClient {
  readonly #peers: readonly Peer[]
  readonly #timeout: number
  readonly #strict: boolean
  readonly #clock: Clock
  readonly #openPort: OpenPort
  readonly #exchanges = new Set<Exchange>()
  #closed = false

  constructor(options: RadiusClientOptions) {
    this.#peers = options.servers.map((server) => ({
      server,
      lanes: [],
      deadUntil: Number.NEGATIVE_INFINITY,
    }))
    this.#timeout = options.timeout ?? DEFAULT_TIMEOUT
    this.#strict = options.requireMessageAuthenticator ?? true
    this.#clock = options.clock ?? systemClock
    this.#openPort = options.openPort ?? openUdpPort
  }

  /** Requests under way. */
  get pending(): number {
    return this.#exchanges.size
  }

  /** Sockets that are open. */
  get ports(): number {
    return this.#peers.reduce((sum, { lanes }) => sum + lanes.length, 0)
  }

  /** `done` is called once, never from within this call; the result takes the question back. */
  ask(request: RadiusRequest, done: (outcome: Outcome) => void): () => void {
    const now = this.#clock.now()
    const fitting = this.#peers.filter(({ server }) => request.only === undefined || request.only === server)
    const dead = fitting.filter((peer) => peer.deadUntil > now)
    const exchange: Exchange = {
      request,
      done,
      candidates: [...fitting.filter((peer) => peer.deadUntil <= now), ...dead],
      peer: undefined,
      lane: undefined,
      id: 0,
      packet: new Uint8Array(0),
      authenticator: new Uint8Array(0),
      sends: 0,
      reason: NO_ANSWER,
      reasons: [],
      cancelTimer: () => {},
    }
    this.#exchanges.add(exchange)
    // So that the caller has what we return before `done` is called.
    exchange.cancelTimer = this.#clock.setTimer(() => this.#nextServer(exchange), 0)
    return () => this.#end(exchange)
  }

  /** Takes all questions back, without a word to those who asked. */
  close(): void {
    this.#closed = true
    for (const exchange of [...this.#exchanges]) this.#end(exchange)
    for (const peer of this.#peers) {
      for (const { port } of peer.lanes) port.close()
      peer.lanes.length = 0
    }
  }

  #nextServer(exchange: Exchange): void {
    this.#release(exchange)
    const peer = exchange.candidates.shift()
    if (peer === undefined) {
      const message = exchange.reasons.join('; ')
      this.#finish(exchange, {
        kind: 'failed',
        message: message === '' ? 'no RADIUS server is left' : message,
      })
      return
    }
    exchange.peer = peer
    exchange.sends = 0
    exchange.reason = NO_ANSWER
    this.#send(exchange, peer)
  }

  #send(exchange: Exchange, peer: Peer): void {
    if (exchange.lane === undefined && !this.#enlist(exchange, peer)) {
      exchange.reasons.push(`RADIUS server ${nameOf(peer.server)}: ${exchange.reason}`)
      this.#nextServer(exchange)
      return
    }
    exchange.sends += 1
    exchange.lane?.port.send(exchange.packet)
    // The intervals double: 1/7, 2/7 and 4/7 of the time.
    const wait = (this.#timeout * 2 ** (exchange.sends - 1)) / (2 ** SENDS - 1)
    exchange.cancelTimer = this.#clock.setTimer(() => this.#waited(exchange, peer), wait)
  }

  #waited(exchange: Exchange, peer: Peer): void {
    if (exchange.sends < SENDS) {
      this.#send(exchange, peer)
      return
    }
    this.#giveUp(exchange, peer)
  }

  #giveUp(exchange: Exchange, peer: Peer): void {
    peer.deadUntil = this.#clock.now() + DEAD_TIME
    exchange.reasons.push(`RADIUS server ${nameOf(peer.server)}: ${exchange.reason}`)
    this.#release(exchange)
    // Its name may mean another address by now, and a network may have changed under the socket.
    for (const lane of peer.lanes.filter(({ used }) => used === 0)) {
      lane.port.close()
      peer.lanes.splice(peer.lanes.indexOf(lane), 1)
    }
    this.#nextServer(exchange)
  }

  /** Takes an identifier and writes the packet. */
  #enlist(exchange: Exchange, peer: Peer): boolean {
    const lane = this.#freeLane(peer)
    if (lane === undefined) {
      exchange.reason = 'too many requests are under way'
      return false
    }
    let id = lane.next
    while (lane.waiting[id] !== undefined) id = (id + 1) % IDENTIFIERS
    const encoded = exchange.request.encode(id, peer.server.secret)
    if (encoded === undefined) {
      exchange.reason = 'the request does not fit into a packet'
      return false
    }
    // The next one gets another: late answers, and the server's memory of requests, go by it.
    lane.next = (id + 1) % IDENTIFIERS
    lane.waiting[id] = exchange
    lane.used += 1
    exchange.lane = lane
    exchange.id = id
    exchange.packet = encoded.packet
    exchange.authenticator = encoded.authenticator
    return true
  }

  #freeLane(peer: Peer): Lane | undefined {
    const free = peer.lanes.find(({ used }) => used < IDENTIFIERS)
    if (free !== undefined || peer.lanes.length >= MAX_PORTS || this.#closed) return free
    const waiting = new Array<Exchange | undefined>(IDENTIFIERS).fill(undefined)
    const lane: Lane = {
      port: this.#openPort(peer.server, {
        received: (packet) => this.#received(peer, lane, packet),
        failed: (reason) => this.#portFailed(peer, lane, reason),
      }),
      waiting,
      used: 0,
      next: 0,
    }
    peer.lanes.push(lane)
    return lane
  }

  #received(peer: Peer, lane: Lane, packet: Uint8Array): void {
    if (!peer.lanes.includes(lane)) return
    const length = packetLength(packet)
    if (length < 0) return
    const exchange = lane.waiting[u8(packet, 1)]
    if (exchange === undefined || !exchange.request.answers.includes(u8(packet, 0))) return
    const { authenticator } = exchange
    const { secret } = peer.server
    if (!isAnswerTo(packet, length, authenticator, secret)) {
      exchange.reason = FORGED
      return
    }
    const reply = readReply(packet, length, authenticator, secret)
    if (reply === undefined) return
    if (reply.kind !== 'accounted') {
      const proof = judgeMessageAuthenticator(packet, length, authenticator, secret)
      // RFC 3579 3.1: what carries EAP is never believed without.
      if (proof === 'bad' || (proof === 'none' && (this.#strict || reply.eap !== undefined))) {
        exchange.reason = proof === 'bad' ? FORGED : OLD
        return
      }
    }
    peer.deadUntil = Number.NEGATIVE_INFINITY
    this.#finish(exchange, { kind: 'reply', reply, server: peer.server })
  }

  /** What was on its way goes to the next server at once; without one it stays, and is sent again in its time. */
  #portFailed(peer: Peer, lane: Lane, reason: string): void {
    const at = peer.lanes.indexOf(lane)
    if (at < 0) return
    peer.lanes.splice(at, 1)
    peer.deadUntil = this.#clock.now() + DEAD_TIME
    for (const exchange of lane.waiting) {
      if (exchange === undefined) continue
      exchange.lane = undefined
      exchange.reason = reason
      if (exchange.candidates.length === 0) continue
      exchange.cancelTimer()
      this.#giveUp(exchange, peer)
    }
  }

  #release(exchange: Exchange): void {
    const { lane, id } = exchange
    if (lane === undefined) return
    lane.waiting[id] = undefined
    lane.used -= 1
    exchange.lane = undefined
  }

  #end(exchange: Exchange): boolean {
    if (!this.#exchanges.delete(exchange)) return false
    exchange.cancelTimer()
    this.#release(exchange)
    return true
  }

  #finish(exchange: Exchange, outcome: Outcome): void {
    if (this.#end(exchange)) exchange.done(outcome)
  }
}

/** Access-Accept, -Reject, -Challenge; Accounting-Response. */
export const ACCESS_ANSWERS: readonly number[] = [2, 3, 11]
export const ACCOUNTING_ANSWERS: readonly number[] = [5]

/** `host:port`, with brackets around IPv6. */
export function nameOf({ host, port }: RadiusServer): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
