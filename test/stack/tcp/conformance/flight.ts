/** A sender with so many segments in flight, and a peer that says which of them have come. */
import assert from 'node:assert/strict'
import type { NetStack, TcpConnection, TcpOptionsWanted } from '../../../../stack/index.js'
import {
  checksum,
  Dialogue,
  type DialogueOptions,
  type SegmentIn,
  type SegmentOut,
  stream,
  type Test,
} from '../../../helpers/segment.js'

export const MSS = 1000
/** The round trip that the handshake shows, milliseconds. */
export const RTT = 100

/** Sequence number of the n-th full segment. */
export const at = (n: number): number => 1 + n * MSS

export interface FlightOptions extends DialogueOptions {
  /** Segments written; all that cwnd takes of them go out at once. */
  readonly queued?: number
  /** Options of the other side's SYN; SACK without timestamps is the default. */
  readonly syn?: Partial<SegmentIn>
  readonly wanted?: TcpOptionsWanted
  /** Windows of ten segments that are acknowledged before the test begins: each doubles cwnd. */
  readonly rounds?: number
}

/** Segments are counted from the first that is unacknowledged when the test begins. */
export class Flight {
  readonly d: Dialogue
  readonly c: TcpConnection
  /** What went out in the first flight. */
  readonly first: readonly SegmentOut[]
  /** When it went out. */
  readonly t0: number
  private readonly base: number

  constructor(t: Test, options: FlightOptions = {}) {
    const { queued = 10, syn = {}, wanted = {}, rounds = 0, ...rest } = options
    const d = new Dialogue(t, rest)
    d.window = 65535
    const c = d.connect(wanted)
    d.drain()
    d.pass(RTT)
    d.in({ flags: 'SA', seq: 0, ack: 1, mss: MSS + (syn.ts ? 12 : 0), shift: 7, sackOk: true, ...syn })
    d.drain()
    // From here on the window stays as it is: an acknowledgement that changes it is no duplicate (RFC 5681 2).
    d.in({ flags: 'A', seq: 1, ack: 1 })
    d.forget()
    const base = 10 * ((1 << rounds) - 1) * MSS
    c.write(stream(base + queued * MSS))
    let acked = 0
    for (let i = 0; i < rounds; i++) {
      const n = 10 << i
      assert.equal(d.forget().length, n, `segments out in round ${i}`)
      d.pass(RTT)
      for (let k = 0; k < n; k++) {
        d.in({ flags: 'A', seq: 1, ack: at(++acked) })
        d.drain()
      }
    }
    this.d = d
    this.c = c
    this.base = base
    this.first = d.forget()
    this.t0 = d.time
  }

  /** Sequence number of the n-th segment. */
  at(n: number): number {
    return 1 + this.base + n * MSS
  }

  /** Everything before segment `n` has come, and the segments of these ranges. */
  ack(
    n: number,
    sack: readonly (readonly [from: number, to: number])[] = [],
    more: Partial<SegmentIn> = {},
  ): void {
    this.d.in({
      flags: 'A',
      seq: 1,
      ack: this.at(n),
      ...(sack.length > 0 && { sack: sack.map(([l, r]) => [this.at(l), this.at(r)] as const) }),
      ...more,
    })
  }

  /** Goes to so many milliseconds after the first flight. */
  after(ms: number): void {
    this.d.at(this.t0 + ms)
  }

  /** Numbers of the segments that have gone out since the last time; bare acknowledgements are left out. */
  out(): number[] {
    return this.d
      .forget()
      .filter((s) => s.len > 0)
      .map((s) => (s.seq - 1 - this.base) / MSS)
  }

  /** Timestamps of now that echo `ecr`. */
  echo(ecr: number): Partial<SegmentIn> {
    return { ts: [this.d.stamp()[0], ecr] }
  }

  get recovery(): unknown {
    return this.c.info().recovery
  }

  info(name: string): number {
    return Number(this.c.info()[name])
  }
}

/** All packets that go out from now on, as they are. */
export function tapOf(stack: NetStack): Uint8Array[] {
  const packets: Uint8Array[] = []
  const output = stack.output.bind(stack)
  stack.output = (dst, off, now) => {
    const n = output(dst, off, now)
    if (n > 0) packets.push(dst.slice(off, off + n))
    return n
  }
  return packets
}

/** The two ECN bits of a packet. */
export function ecnOf(packet: Uint8Array): number {
  return (packet[0] as number) >>> 4 === 4 ? (packet[1] as number) & 3 : ((packet[1] as number) >>> 4) & 3
}

/** The same packet, marked on the way. */
export function marked(packet: Uint8Array, ecn: number): Uint8Array {
  const p = packet.slice()
  if ((p[0] as number) >>> 4 === 4) {
    p[1] = ((p[1] as number) & 0xfc) | ecn
    p[10] = p[11] = 0
    const sum = checksum(p.subarray(0, 20))
    p[10] = sum >>> 8
    p[11] = sum & 255
  } else {
    p[1] = ((p[1] as number) & 0xcf) | (ecn << 4)
  }
  return p
}
