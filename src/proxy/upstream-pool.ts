import type { DialError, Flow, FlowHandler } from '../tunnel/dialer.js'

/** Counts and milliseconds. */
export interface PoolLimits {
  readonly total: number
  readonly perHost: number
  /** How long a connection may lie idle, whatever its server says. */
  readonly idle: number
}

export const DEFAULT_POOL_LIMITS: PoolLimits = { total: 256, perHost: 8, idle: 30_000 }

/** What a pool does with connections that it does not want any more. */
export interface PoolOwner {
  setTimer(callback: () => void, ms: number): () => void
  /** Ends one properly. */
  release(flow: Flow): void
  /** Ends one by RST. */
  abandon(flow: Flow): void
  /** One is gone by itself. */
  onGone(flow: Flow): void
}

/**
 * Idle connections to HTTP servers, by host and port, shared by the clients of one proxy (RFC 9112 9.3).
 *
 * A connection on which anything arrives while nobody has asked is out of step with its server and is
 * dropped, as is one that the server ends. A connection may have an owner: it is in a state that is one client's
 * alone, and nobody else gets it.
 */
export class UpstreamPool {
  readonly #owner: PoolOwner
  readonly #limits: PoolLimits
  readonly #byKey = new Map<string, Idle[]>()
  /** In the order in which they came in. */
  readonly #all = new Set<Idle>()

  constructor(owner: PoolOwner, limits: PoolLimits = DEFAULT_POOL_LIMITS) {
    this.#owner = owner
    this.#limits = limits
  }

  /** Connections that lie idle. */
  get size(): number {
    return this.#all.size
  }

  /**
   * The connection to that host that was used last, no longer the pool's: its taker sets the handler at once.
   * `client`: one that is this client's own; without it, one that is nobody's.
   */
  take(host: string, port: number, client?: number): Flow | undefined {
    const list = this.#byKey.get(keyOf(host, port, client))
    for (let idle = list?.at(-1); idle !== undefined; idle = list?.at(-1)) {
      this.#remove(idle)
      if (idle.flow.readable === 0 && !idle.flow.ended) return idle.flow
      this.#drop(idle.flow)
    }
    return undefined
  }

  /**
   * Keeps a connection on which everything asked has been answered. `timeout`: milliseconds after which the
   * server will end it. `client`: it is to be this client's own.
   */
  put(flow: Flow, host: string, port: number, timeout = Number.POSITIVE_INFINITY, client?: number): void {
    const ms = Math.min(timeout, this.#limits.idle)
    if (flow.readable > 0 || flow.ended || ms <= 0) {
      this.#drop(flow)
      return
    }
    const key = keyOf(host, port, client)
    const list = this.#byKey.get(key) ?? []
    const oldest =
      list.length >= this.#limits.perHost
        ? list[0]
        : this.#all.size >= this.#limits.total
          ? this.#all.values().next().value
          : undefined
    if (oldest !== undefined) {
      this.#remove(oldest)
      this.#drop(oldest.flow)
    }
    const idle = new Idle(flow, key, client, this.#onNews, this.#onClosed)
    idle.cancel = this.#owner.setTimer(() => {
      idle.cancel = undefined
      this.#remove(idle)
      this.#drop(flow)
    }, ms)
    list.push(idle)
    this.#byKey.set(key, list)
    this.#all.add(idle)
    flow.handler = idle
  }

  /** That client has gone, and what is its own with it. */
  dropClient(client: number): void {
    for (const idle of [...this.#all]) {
      if (idle.client !== client) continue
      this.#remove(idle)
      this.#drop(idle.flow)
    }
  }

  readonly #onNews = (idle: Idle): void => {
    this.#remove(idle)
    this.#drop(idle.flow)
  }

  readonly #onClosed = (idle: Idle): void => {
    this.#remove(idle)
    this.#owner.onGone(idle.flow)
  }

  #drop(flow: Flow): void {
    if (flow.readable > 0) this.#owner.abandon(flow)
    else this.#owner.release(flow)
  }

  #remove(idle: Idle): void {
    idle.cancel?.()
    idle.cancel = undefined
    this.#all.delete(idle)
    const list = this.#byKey.get(idle.key)
    const at = list?.indexOf(idle) ?? -1
    if (list === undefined || at < 0) return
    list.splice(at, 1)
    if (list.length === 0) this.#byKey.delete(idle.key)
  }
}

class Idle implements FlowHandler {
  readonly flow: Flow
  readonly key: string
  readonly client: number | undefined
  cancel: (() => void) | undefined
  readonly #onNews: (idle: Idle) => void
  readonly #onClosed: (idle: Idle) => void

  constructor(
    flow: Flow,
    key: string,
    client: number | undefined,
    onNews: (idle: Idle) => void,
    onClosed: (idle: Idle) => void,
  ) {
    this.flow = flow
    this.key = key
    this.client = client
    this.#onNews = onNews
    this.#onClosed = onClosed
  }

  onReadable(): void {
    this.#onNews(this)
  }

  onWritable(): void {}

  onClose(_error: DialError | undefined): void {
    this.#onClosed(this)
  }
}

/** Names are compared without case; as asked for, not by address, for a server may have many names. */
function keyOf(host: string, port: number, client: number | undefined): string {
  return `${host.toLowerCase()} ${port} ${client ?? ''}`
}
