import type { Endpoint } from '../tunnel/dialer.js'
import type { Client } from './client.js'
import { SocksReply, type SocksReplyCode } from './replies.js'
import type { SocksQuotas } from './socks-quota.js'
import { emitSocks4Reply, SOCKS4_REPLY, Socks4Reply } from './socks4.js'
import { emitReply, MAX_REPLY } from './socks5.js'

/** How one version of SOCKS answers. */
export interface SocksDialect {
  readonly protocol: 'socks4' | 'socks5'
  /** Which families it can name an address of. */
  readonly ipv6: boolean
  granted(bound: Endpoint | undefined): Buffer
  refused(code: SocksReplyCode): Buffer
}

/** What a client wants, whichever version it said it in. */
export interface SocksCall {
  readonly client: Client
  readonly dialect: SocksDialect
  readonly host: string
  readonly port: number
  readonly quotas: SocksQuotas
  /** What came behind the request. */
  readonly early: Buffer
}

export const SOCKS5: SocksDialect = {
  protocol: 'socks5',
  ipv6: true,
  granted(bound) {
    const reply = Buffer.alloc(MAX_REPLY)
    return reply.subarray(0, emitReply(reply, 0, SocksReply.SUCCEEDED, bound))
  },
  refused(code) {
    const reply = Buffer.alloc(MAX_REPLY)
    return reply.subarray(0, emitReply(reply, 0, code))
  },
}

/** It has one code for every failure. */
export const SOCKS4: SocksDialect = {
  protocol: 'socks4',
  ipv6: false,
  granted(bound) {
    const reply = Buffer.alloc(SOCKS4_REPLY)
    emitSocks4Reply(reply, 0, Socks4Reply.GRANTED, bound)
    return reply
  },
  refused() {
    const reply = Buffer.alloc(SOCKS4_REPLY)
    emitSocks4Reply(reply, 0, Socks4Reply.REJECTED)
    return reply
  },
}

/** What a client sends before it knows that it may: kept, up to a bound, for whoever comes to want it. */
export class EarlyData {
  readonly #client: Client
  #chunks: Buffer[] = []
  #length = 0

  constructor(client: Client, first: Buffer) {
    this.#client = client
    if (first.length > 0) this.push(first)
  }

  get length(): number {
    return this.#length
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    // Many small ones cost more than their octets.
    if (this.#length >= MAX_EARLY || this.#chunks.length >= MAX_CHUNKS) this.#client.socket.pause()
  }

  /** Whoever takes it resumes the socket. */
  take(): readonly Buffer[] {
    const chunks = this.#chunks
    this.#chunks = []
    this.#length = 0
    return chunks
  }
}

const MAX_EARLY = 65_536
const MAX_CHUNKS = 1024
