import { createSocket, type Socket } from 'node:dgram'
import { getServers } from 'node:dns'
import { isIP } from 'node:net'
import type { Endpoint } from '../link/flow.js'

const MIN_MESSAGE = 12
/** Queries under way for one client. */
const MAX_QUERIES = 64
/** Milliseconds for one server, then the next is asked. */
const PATIENCE = 2_000
const SERVFAIL = 2

interface Query {
  readonly data: Uint8Array
  readonly answer: (data: Uint8Array) => void
  readonly socket: Socket
  deadline: number
  next: number
}

/**
 * Hands clients' DNS queries to the resolver of the gateway's host, octet for octet, and its answers back.
 * A server that does not answer is followed by the next; when none does, SERVFAIL says so.
 */
export class DnsForwarder {
  private readonly servers: readonly Endpoint[]
  private readonly host: { now(): number; wake(): void }
  private readonly queries = new Set<Query>()
  private nearest = Number.POSITIVE_INFINITY

  constructor(host: { now(): number; wake(): void }, servers: readonly Endpoint[] = hostServers()) {
    this.host = host
    this.servers = servers
  }

  /** For DNS over TCP: where a connection is to go on. */
  get first(): Endpoint | undefined {
    return this.servers[0]
  }

  /** `answer` is called at most once. */
  query(data: Uint8Array, answer: (data: Uint8Array) => void): void {
    if (data.length < MIN_MESSAGE || this.queries.size >= MAX_QUERIES) return
    const first = this.servers[0]
    if (first === undefined) {
      answer(failure(data))
      return
    }
    const family = isIP(first.address) === 6 ? 'udp6' : 'udp4'
    const socket = createSocket(family)
    const query: Query = { data, answer, socket, deadline: 0, next: 0 }
    socket.on('error', () => this.ask(query))
    socket.on('message', (message, from) => {
      const asked = this.servers[query.next - 1]
      if (asked === undefined || from.port !== asked.port || message.length < MIN_MESSAGE) return
      if (message[0] !== data[0] || message[1] !== data[1]) return
      this.finish(query, message)
    })
    this.queries.add(query)
    this.ask(query)
  }

  nextTimeout(): number {
    return this.nearest
  }

  handleTimeout(now: number): void {
    this.nearest = Number.POSITIVE_INFINITY
    for (const q of [...this.queries]) {
      if (q.deadline <= now) this.ask(q)
      else this.nearest = Math.min(this.nearest, q.deadline)
    }
  }

  close(): void {
    for (const q of [...this.queries]) {
      this.queries.delete(q)
      q.socket.close()
    }
  }

  /** Asks the next server. */
  private ask(q: Query): void {
    if (!this.queries.has(q)) return
    const server = this.servers[q.next++]
    if (server === undefined) {
      this.finish(q, failure(q.data))
      return
    }
    q.deadline = this.host.now() + PATIENCE
    if (q.deadline < this.nearest) this.nearest = q.deadline
    this.host.wake()
    q.socket.send(q.data, server.port, server.address, (error) => {
      if (error) this.ask(q)
    })
  }

  private finish(q: Query, message: Uint8Array): void {
    if (!this.queries.delete(q)) return
    q.socket.close()
    q.answer(message)
  }
}

/** The query as an answer with SERVFAIL (RFC 1035 4.1.1). */
function failure(query: Uint8Array): Uint8Array {
  const answer = Uint8Array.from(query)
  const flags = Buffer.from(answer.buffer)
  flags.writeUInt8(flags.readUInt8(2) | 0x80, 2)
  flags.writeUInt8((flags.readUInt8(3) & 0x70) | SERVFAIL, 3)
  return answer
}

/** The host's name servers as its resolver has them. */
function hostServers(): Endpoint[] {
  return getServers().map((text) => {
    const m = /^\[?([0-9a-fA-F.:]+?)(?:%[^\]]*)?\]?(?::([0-9]+))?$/.exec(text)
    const bare = isIP(text) !== 0
    return { address: bare ? text : (m?.[1] ?? text), port: bare ? 53 : Number(m?.[2] ?? 53) }
  })
}
