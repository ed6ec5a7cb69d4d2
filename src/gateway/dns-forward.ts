import { createSocket, type Socket } from 'node:dgram'
import { getServers } from 'node:dns'
import { isIP } from 'node:net'
import { IpAddress } from '../../stack/index.js'
import type { Endpoint } from '../link/flow.js'

const MIN_MESSAGE = 12
/** Type and class, behind the name of a question. */
const QUESTION_TAIL = 4
const MAX_NAME = 255
/** Queries under way for one client. */
const MAX_QUERIES = 64
/** Milliseconds for one server, then the next is asked. */
const PATIENCE = 2_000
const SERVFAIL = 2

interface Query {
  readonly data: Uint8Array
  readonly answer: (data: Uint8Array) => void
  /** To the server that is being asked. */
  socket: Socket | undefined
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
    const query: Query = { data, answer, socket: undefined, deadline: 0, next: 0 }
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
      leave(q)
    }
  }

  /** Asks the next server. */
  private ask(q: Query): void {
    if (!this.queries.has(q)) return
    leave(q)
    const server = this.servers[q.next++]
    if (server === undefined) {
      this.finish(q, failure(q.data))
      return
    }
    q.deadline = this.host.now() + PATIENCE
    if (q.deadline < this.nearest) this.nearest = q.deadline
    this.host.wake()
    // A socket for each server: families differ, and a connected one hears that nobody is there.
    const socket = createSocket(isIP(server.address) === 6 ? 'udp6' : 'udp4')
    q.socket = socket
    const failed = (): void => {
      if (q.socket === socket) this.ask(q)
    }
    socket.on('error', failed)
    socket.on('message', (message, from) => {
      if (q.socket !== socket || from.port !== server.port || !same(from.address, server.address)) return
      if (message.length < MIN_MESSAGE || message[0] !== q.data[0] || message[1] !== q.data[1]) return
      this.finish(q, message)
    })
    socket.once('connect', () => {
      if (q.socket !== socket) return
      socket.send(q.data, (error) => {
        if (error) failed()
      })
    })
    socket.connect(server.port, server.address)
  }

  private finish(q: Query, message: Uint8Array): void {
    if (!this.queries.delete(q)) return
    leave(q)
    q.answer(message)
  }
}

function leave(q: Query): void {
  q.socket?.close()
  q.socket = undefined
}

/** Texts may differ in spelling, and in a zone that only one of them has. */
function same(a: string, b: string): boolean {
  if (a === b) return true
  const [first, second] = [a, b].map((text) => IpAddress.parse(text.replace(/%.*$/, '')))
  return first !== undefined && second !== undefined && first.equals(second)
}

/** The query as an answer with SERVFAIL (RFC 1035 4.1.1). */
function failure(query: Uint8Array): Uint8Array {
  const answer = Uint8Array.from(query)
  const flags = Buffer.from(answer.buffer)
  flags.writeUInt8(flags.readUInt8(2) | 0x80, 2)
  flags.writeUInt8((flags.readUInt8(3) & 0x70) | SERVFAIL, 3)
  return answer
}

/**
 * What stands for an answer that no datagram to the client can hold: its header and question with TC set
 * (RFC 2181 9), so that the client asks again by TCP. Undefined if it is no answer.
 */
export function truncated(answer: Uint8Array): Uint8Array | undefined {
  if (answer.length < MIN_MESSAGE || ((answer[2] ?? 0) & 0x80) === 0) return undefined
  const one = answer[4] === 0 && answer[5] === 1
  const end = one ? questionEnd(answer) : MIN_MESSAGE
  const short = Buffer.from(answer.subarray(0, end))
  short.writeUInt8(short.readUInt8(2) | 0x02, 2)
  short.writeUInt16BE(end > MIN_MESSAGE ? 1 : 0, 4)
  short.fill(0, 6, MIN_MESSAGE)
  return short
}

/** Behind the one question, or behind the header if the question cannot be read. */
function questionEnd(message: Uint8Array): number {
  for (let at = MIN_MESSAGE; at < MIN_MESSAGE + MAX_NAME; ) {
    const label = message[at++]
    if (label === undefined || label > 63) break
    if (label === 0) return at + QUESTION_TAIL <= message.length ? at + QUESTION_TAIL : MIN_MESSAGE
    at += label
  }
  return MIN_MESSAGE
}

/** The host's name servers as its resolver has them. */
function hostServers(): Endpoint[] {
  return getServers().map((text) => {
    const m = /^\[?([0-9a-fA-F.:]+?)(?:%[^\]]*)?\]?(?::([0-9]+))?$/.exec(text)
    const bare = isIP(text) !== 0
    return { address: bare ? text : (m?.[1] ?? text), port: bare ? 53 : Number(m?.[2] ?? 53) }
  })
}
