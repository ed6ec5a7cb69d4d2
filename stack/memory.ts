/** Octets that a connection is always granted, however many there are: a transfer is slow then, but goes on. */
const LEAST_GRANT = 512
/** At most that part of what is left to promise goes to one connection: whose data are not read yet, and are. */
const FIRST_PART = 256
const GROWTH_PART = 4
/** And that much of what there is to promise is kept for those who read, however many do not. */
const READERS_PART = 1 / 4

/**
 * What all connections of a stack hold together, and what they have promised to take.
 *
 * Two sums, because a window that was announced cannot be taken back: `granted` is the sum of all receive
 * buffers, filled or not; `held` is memory in use (blocks of receive rings, octets of send queues).
 *
 * The bound. Grants never exceed half of the limit: whoever gets more than the floor gets it from
 * `half - connections * floor`, and the floors of all connections fit in the rest. Octets beyond a grant are not
 * taken, and blocks are as large as grants (powers of two), so what peers can fill unread takes at most half of
 * the limit. Blocks are larger than a grant (one of the usual size for a few octets) only if they were taken while
 * at most half was held. Both together are the limit, to which writes may add one chunk for each connection.
 */
export class MemoryAccount {
  readonly limit: number
  /** Memory in use, octets. */
  held = 0
  /** Sum of the receive buffers that connections may fill, octets. */
  granted = 0
  /** Of these, such of connections whose data nobody has read yet: idle ones, and those that are left lying. */
  unread = 0
  private readonly half: number
  private readonly floor: number
  private readonly shared: number

  /** `limit` octets (no bound worth the name if it is absent) for at most `connections` connections. */
  constructor(limit = 2 ** 50, connections = 1) {
    this.limit = limit
    this.half = limit / 2
    this.floor = Math.max(LEAST_GRANT, below(limit / 8 / connections))
    this.shared = Math.max(0, this.half - this.floor * connections)
  }

  add(n: number): void {
    this.held += n
  }

  sub(n: number): void {
    this.held -= n
  }

  /** Buffers may grow, and memory be taken in large pieces. */
  get roomy(): boolean {
    return this.held <= this.half
  }

  /** Nothing more is kept that need not be: octets out of order, and writes above what is queued already. */
  get full(): boolean {
    return this.held >= this.limit
  }

  /** The receive buffer of a new connection that would like `wanted`. Give it back by {@link release}. */
  open(wanted: number): number {
    const share = Math.max(this.floor, this.share)
    // A power of two fits a block.
    const grant = wanted <= share ? wanted : below(share)
    this.granted += grant
    this.unread += grant
    return grant
  }

  /**
   * A receive buffer of `from` octets would like to be `to`. `read`: the application has shown that it reads.
   * @returns what it may be, at least `from`
   */
  grow(from: number, to: number, read: boolean): number {
    if (!this.roomy) return from
    const most = from + (read ? (this.shared - this.granted) / GROWTH_PART : this.share)
    let grant = to
    while (grant > most && grant > from) grant = Math.floor(grant / 2)
    if (grant <= from) return from
    this.granted += grant - from
    if (!read) this.unread += grant - from
    return grant
  }

  /** Gives a grant, or a part of one, back; `unread` of it were of a connection that nobody had read from. */
  release(grant: number, unread = grant): void {
    this.granted -= grant
    this.unread -= unread
  }

  /** A connection has turned out to be read from, and `unread` octets of its grant are as those of others. */
  hasReader(unread: number): void {
    this.unread -= unread
  }

  /** What one connection that nobody has read from may be granted, of what is left for such. */
  private get share(): number {
    const left = Math.min(this.shared - this.granted, this.shared * (1 - READERS_PART) - this.unread)
    return left / FIRST_PART
  }
}

/** The largest power of two that is not above `n`. */
function below(n: number): number {
  let p = 1
  while (p * 2 <= n) p *= 2
  return p
}
