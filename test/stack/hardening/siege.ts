/** A legitimate exchange between two stacks while somebody else sends packets to one of them, or to both. */
import assert from 'node:assert/strict'
import type { NetStack, NetStackOptions, TcpConnection } from '../../../stack/index.js'
import { type End, opened, unhurt } from '../../helpers/endpoint.js'
import { type LinkProfile, Pair } from '../../helpers/pair.js'
import { SeededRandom } from '../../helpers/random.js'
import { buildPacket, type RawSegment } from '../../helpers/segment.js'

export const A = '10.0.0.1'
export const B = '10.0.0.2'

const LINK: LinkProfile = { delay: 10, rate: 500, queue: 100_000 }

export interface SiegeOptions {
  readonly seed?: number
  /** Octets in each direction. */
  readonly size?: number
  readonly link?: LinkProfile
  readonly stack?: Partial<NetStackOptions>
}

/** What a forged segment says; the rest is harmless. */
export type Forged = Partial<RawSegment> & { readonly from?: string; readonly to?: string }

const PLAIN: RawSegment = {
  fromPort: 80,
  toPort: 80,
  seq: 0,
  ack: 0,
  flags: 16,
  window: 65535,
  urgent: 0,
  options: new Uint8Array(0),
  data: new Uint8Array(0),
  corrupt: false,
  reserved: 0,
}

/** What the last segment with text, or else the last one, in a direction said. */
export interface Overheard {
  seq: number
  ack: number
  tsVal: number
  tsEcr: number
}

/** Reads a TCP segment of a packet without IP options. Timestamps lie where this stack puts them. */
function overhear(p: Uint8Array, into: Overheard): void {
  if (p[9] !== 6) return
  const v = new DataView(p.buffer, p.byteOffset, p.length)
  into.seq = v.getUint32(24)
  into.ack = v.getUint32(28)
  if (p.length >= 52 && v.getUint32(40) === 0x0101080a) {
    into.tsVal = v.getUint32(44)
    into.tsEcr = v.getUint32(48)
  }
}

export class Siege {
  readonly pair: Pair
  /** The attacker who sees the link knows these; the blind one knows at most the timestamps. */
  readonly fromClient: Overheard = { seq: 0, ack: 0, tsVal: 0, tsEcr: 0 }
  readonly fromServer: Overheard = { seq: 0, ack: 0, tsVal: 0, tsEcr: 0 }
  readonly a: End
  readonly b: End
  readonly random: SeededRandom
  /** Packets put in by {@link attack}. */
  forged = 0
  /** The most that either stack held, octets. */
  peak = 0
  private readonly size: number

  constructor(options: SiegeOptions = {}) {
    const { seed = 1, size = 150_000, link = LINK, stack = {} } = options
    this.size = size
    this.pair = new Pair(link, seed, stack)
    this.random = new SeededRandom(seed + 1000)
    this.pair.ab.tap = (p) => {
      overhear(p, this.fromClient)
      return true
    }
    this.pair.ba.tap = (p) => {
      overhear(p, this.fromServer)
      return true
    }
    const [a, b] = opened(this.pair, size, size)
    this.a = a
    this.b = b
    assert.ok(this.pair.run(() => b.connection !== undefined, 1000))
  }

  /** The client's side of the connection, which lives in `pair.a`. */
  get client(): TcpConnection {
    assert.ok(this.a.connection)
    return this.a.connection
  }

  /** The listener's side, in `pair.b`. */
  get server(): TcpConnection {
    assert.ok(this.b.connection)
    return this.b.connection
  }

  /**
   * A segment as the client would send it, but for what is forged. Its timestamps are right: without them it
   * would not be looked at, and the other defences would go untested.
   */
  asClient(s: Forged): Uint8Array {
    const { from = A, to = B, ...rest } = s
    const options = stamp(this.fromClient)
    return buildPacket(4, from, to, { ...PLAIN, options, fromPort: this.client.tuple.localPort, ...rest })
  }

  /** A segment as the server would send it. */
  asServer(s: Forged): Uint8Array {
    const { from = B, to = A, ...rest } = s
    const options = stamp(this.fromServer)
    return buildPacket(4, from, to, { ...PLAIN, options, toPort: this.client.tuple.localPort, ...rest })
  }

  /** Any sequence number. */
  anySeq(): number {
    return Math.floor(this.random.next() * 0x1_0000_0000)
  }

  attack(packet: Uint8Array, victim: NetStack = this.pair.b): void {
    victim.input(packet, 0, packet.length, this.pair.now)
    this.forged++
  }

  /** Calls `step` each millisecond until the exchange is over, or `limit` milliseconds have passed. */
  run(step: (i: number) => void, limit = 30_000): void {
    for (let i = 0; i < limit && !(this.a.closed && this.b.closed); i++) {
      step(i)
      this.pair.pass(1)
      if (i % 16 === 0) this.look()
    }
  }

  look(): void {
    for (const stack of [this.pair.a, this.pair.b]) this.peak = Math.max(this.peak, stack.held.bytes)
  }

  /** The exchange ends well, with every octet as it was sent, and nothing is left. */
  survived(limit = 60_000): void {
    const { pair, a, b } = this
    assert.ok(
      pair.run(() => a.closed && b.closed, limit),
      `it does not end: ${a}; ${b}`,
    )
    a.check()
    b.check()
    assert.equal(b.received, this.size)
    unhurt(pair)
  }

  /** Packets that both stacks have sent. */
  get packetsOut(): number {
    return this.pair.a.counters.packetsOut + this.pair.b.counters.packetsOut
  }
}

/** What the exchange costs when nobody disturbs it: packets of both sides, and the most octets held. */
export function undisturbed(options: SiegeOptions = {}): { packets: number; peak: number; took: number } {
  const s = new Siege(options)
  const begin = s.pair.now
  s.run(() => {})
  const { packetsOut: packets, peak } = s
  const took = s.pair.now - begin
  s.survived()
  return { packets, peak, took }
}

/** NOP NOP timestamps, as the last segment in that direction had them. */
export function stamp(o: Overheard): Uint8Array {
  const b = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0)
  const v = new DataView(b.buffer)
  v.setUint32(4, o.tsVal)
  v.setUint32(8, o.tsEcr)
  return b
}

export const FIN = 1
export const SYN = 2
export const RST = 4
export const PSH = 8
export const ACK = 16
export const URG = 32
