/** Bulk flows between the two stacks of a pair, measured in virtual time and compared octet by octet. */
import assert from 'node:assert/strict'
import {
  type AnySocket,
  type NetStack,
  type NetStackOptions,
  READY_CLOSED,
  READY_CONNECTED,
  READY_READABLE,
  READY_WRITABLE,
  type TcpConnection,
  type TcpListener,
  type TcpOptionsWanted,
  takeReady,
} from '../../stack/index.js'
import { unhurt } from './endpoint.js'
import { ADDRESS_B, type LinkProfile, Pair } from './pair.js'
import { SeededRandom } from './random.js'
import { DeliveryAudit } from './sim-audit.js'

/** Prime, so that no multiple of a segment size hides a shift. */
const PERIOD = 65521
const PATTERN = Buffer.from(new SeededRandom(0x5eed).bytes(PERIOD * 2))
PATTERN.copyWithin(PERIOD, 0, PERIOD)
const CHUNK = 8192

/** Which way the octets go: up is from `a`, which opens, to `b`, which accepts. */
export type Way = 'up' | 'down'

/** One connection that carries a known stream one way. */
export class BulkFlow {
  readonly way: Way
  readonly key: number
  source: TcpConnection | undefined
  sink: TcpConnection | undefined
  written = 0
  received = 0
  /** The sender writes no more than so many octets, and then ends. */
  size: number
  private sourceClosed = false
  private sinkClosed = false

  constructor(way: Way, key: number, size: number) {
    this.way = way
    this.key = key
    this.size = size
  }

  get closed(): boolean {
    return this.sourceClosed && this.sinkClosed
  }

  /** No more is written; what was arrives, and both ends close. */
  end(): void {
    this.size = this.written
    this.source?.end()
  }

  on(c: TcpConnection, bits: number): void {
    if (c === this.source) {
      if (bits & (READY_CONNECTED | READY_WRITABLE)) this.fill(c)
      if (c.ended) c.end()
    } else {
      if (bits & (READY_READABLE | READY_CLOSED)) this.drain(c)
      if (c.ended) c.end()
    }
    if (bits & READY_CLOSED) {
      assert.equal(c.error, undefined, `flow ${this.key} died: ${c.error} ${JSON.stringify(c.info())}`)
      if (c === this.source) this.sourceClosed = true
      else this.sinkClosed = true
    }
  }

  private fill(c: TcpConnection): void {
    while (this.written < this.size) {
      const from = (this.key * 7919 + this.written) % PERIOD
      const n = Math.min(CHUNK, this.size - this.written)
      this.written += n
      if (!c.write(PATTERN.subarray(from, from + n))) break
    }
    if (this.written >= this.size) c.end()
  }

  private drain(c: TcpConnection): void {
    for (let piece = c.peek(); piece.length > 0; piece = c.peek()) {
      const n = Math.min(piece.length, PERIOD)
      const from = (this.key * 7919 + this.received) % PERIOD
      if (PATTERN.compare(piece, 0, n, from, from + n) !== 0) {
        throw new Error(`flow ${this.key}: wrong octets from ${this.received} on`)
      }
      this.received += n
      c.consume(n)
    }
  }
}

export class Simulation {
  readonly pair: Pair
  readonly flows: BulkFlow[] = []
  /** The books of each direction. */
  readonly up = new DeliveryAudit()
  readonly down = new DeliveryAudit()
  private readonly byPort = new Map<number, BulkFlow>()
  private readonly listener: TcpListener

  constructor(
    profile: ConstructorParameters<typeof Pair>[0],
    seed: number,
    options: Partial<NetStackOptions> & { readonly b?: Partial<NetStackOptions> } = {},
  ) {
    this.pair = new Pair(profile, seed, options)
    this.pair.ab.audit = this.up
    this.pair.ba.audit = this.down
    const listener = this.pair.b.listen({ port: 80 })
    assert.ok(listener !== undefined)
    this.listener = listener
    this.pair.onReady = (s, stack) => this.on(s, stack)
  }

  /** A flow that goes on until it is ended, or for `size` octets. */
  bulk(way: Way, size = Number.POSITIVE_INFINITY, wanted: TcpOptionsWanted = {}): BulkFlow {
    const { pair } = this
    const flow = new BulkFlow(way, this.flows.length + 1, size)
    const c = pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now, wanted)
    assert.ok(typeof c !== 'string')
    c.owner = flow
    if (way === 'up') flow.source = c
    else flow.sink = c
    this.flows.push(flow)
    this.byPort.set(c.tuple.localPort, flow)
    return flow
  }

  /** Octets that the sinks have, all flows together. */
  get received(): number {
    let n = 0
    for (const f of this.flows) n += f.received
    return n
  }

  /**
   * Lets `warm` milliseconds pass, then counts for `ms`, or until `most` octets have come.
   * @returns octets a millisecond of all flows, and of each
   */
  measure(warm: number, ms: number, most = Number.POSITIVE_INFINITY): { total: number; each: number[] } {
    const { pair, flows } = this
    pair.run(() => this.received >= most, warm)
    const before = flows.map((f) => f.received)
    const octets = this.received
    const from = pair.now
    pair.run(() => this.received - octets >= most, ms)
    const took = pair.now - from
    const each = flows.map((f, i) => (f.received - (before[i] as number)) / took)
    return { total: (this.received - octets) / took, each }
  }

  /** Ends all flows, waits until everything has arrived, and finds nothing left. */
  finish(limit = 600_000): void {
    const { pair, flows } = this
    for (const f of flows) f.end()
    const done = pair.run(() => flows.every((f) => f.closed), limit)
    const text = (): string =>
      flows.map((f) => `${JSON.stringify(f.source?.info())} ${JSON.stringify(f.sink?.info())}`).join('\n')
    assert.ok(done, done ? '' : `a stall: ${text()}`)
    for (const f of flows) assert.equal(f.received, f.written)
    unhurt(pair)
  }

  private on(s: AnySocket, stack: NetStack): void {
    const bits = takeReady(s)
    if (s === this.listener) {
      for (let c = stack.accept(this.listener); c !== undefined; c = stack.accept(this.listener)) {
        const flow = this.byPort.get(c.tuple.remotePort)
        assert.ok(flow !== undefined)
        c.owner = flow
        if (flow.way === 'up') flow.sink = c
        else flow.source = c
        flow.on(c, READY_CONNECTED | READY_READABLE)
      }
    } else if (s.kind === 'tcp' && s.owner instanceof BulkFlow) {
      s.owner.on(s, bits)
    }
  }
}

/** Jain's index: 1 if all have the same, 1/n if one has everything. */
export function jain(shares: readonly number[]): number {
  let sum = 0
  let squares = 0
  for (const x of shares) {
    sum += x
    squares += x * x
  }
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares)
}

/** Octets that a path holds: rate in octets a millisecond times its round trip. */
export function bandwidthDelay(rate: number, rtt: number): number {
  return rate * rtt
}

/** A path of that rate and round trip, the queue in front of each direction as long as one product of both. */
export function path(rate: number, rtt: number, more: Partial<LinkProfile> = {}): LinkProfile {
  return { rate, delay: rtt / 2, queue: Math.max(bandwidthDelay(rate, rtt), 150_000), ...more }
}
