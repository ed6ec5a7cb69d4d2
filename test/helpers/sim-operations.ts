/**
 * What applications do to sockets and what happens to the link between them, as operations that a property
 * test puts in any order. The model of a connection is two queues of octets.
 */
import assert from 'node:assert/strict'
import {
  type NetStack,
  type StackLimits,
  type TcpConnection,
  type TcpListener,
  TcpState,
  takeReady,
} from '../../stack/index.js'
import { octet, unhurt } from './endpoint.js'
import { ADDRESS_A, ADDRESS_A6, ADDRESS_B, ADDRESS_B6, type LinkProfile, Pair } from './pair.js'

export type Side = 'a' | 'b'

export type Operation =
  | { readonly op: 'open'; readonly side: Side; readonly six: boolean; readonly noDelay: boolean }
  | { readonly op: 'accept'; readonly side: Side }
  | { readonly op: 'write' | 'read'; readonly flow: number; readonly side: Side; readonly n: number }
  | { readonly op: 'end' | 'abort'; readonly flow: number; readonly side: Side }
  | { readonly op: 'keep-alive'; readonly flow: number; readonly side: Side; readonly n: number }
  /** The next `n` packets of that side are lost, or all of them for `n` ms. */
  | { readonly op: 'drop' | 'silence'; readonly side: Side; readonly n: number }
  /** Nothing arrives from that side for `n` ms, then everything. */
  | { readonly op: 'stall'; readonly side: Side; readonly n: number }
  | { readonly op: 'link'; readonly profile: LinkProfile }
  | { readonly op: 'mtu'; readonly side: Side; readonly n: number }
  | { readonly op: 'wait'; readonly n: number }

/** One direction of a connection: what was written and what came. */
class Direction {
  readonly key: number
  written = 0
  received = 0
  ended = false

  constructor(key: number) {
    this.key = key
  }

  write(c: TcpConnection, n: number): void {
    if (this.ended || !c.writable) return
    const chunk = new Uint8Array(n)
    for (let i = 0; i < n; i++) chunk[i] = octet(this.key, this.written + i)
    const before = c.queued
    c.write(chunk)
    if (c.queued > before) this.written += n
  }

  end(c: TcpConnection): void {
    this.ended = true
    c.end()
  }

  read(c: TcpConnection, most: number): void {
    let left = most
    for (let piece = c.peek(); piece.length > 0 && left > 0; piece = c.peek()) {
      const n = Math.min(piece.length, left)
      for (let i = 0; i < n; i++) {
        if (piece[i] !== octet(this.key, this.received + i)) {
          throw new Error(`octet ${this.received + i} of direction ${this.key} is wrong`)
        }
      }
      this.received += n
      left -= n
      c.consume(n)
    }
    if (this.received > this.written) {
      throw new Error(`direction ${this.key}: ${this.received} came of ${this.written} written`)
    }
  }
}

/** A connection by its index; `a` and `b` are its ends as far as they exist. */
class Flow {
  readonly ends: { a: TcpConnection | undefined; b: TcpConnection | undefined } = {
    a: undefined,
    b: undefined,
  }
  /** What each side sends. */
  readonly out: { readonly a: Direction; readonly b: Direction }
  aborted = false
  keptAlive = false

  constructor(index: number) {
    this.out = { a: new Direction(2 * index), b: new Direction(2 * index + 1) }
  }

  toString(): string {
    const { a, b } = this.out
    const info = (c: TcpConnection | undefined): string => `${c?.error ?? ''} ${JSON.stringify(c?.info())}`
    return `a ${a.written} b has ${a.received}, b ${b.written} a has ${b.received}; a ${info(this.ends.a)} b ${info(this.ends.b)}`
  }
}

const PORT = 80
const FLOWS = 5
const SIDES = ['a', 'b'] as const
const other = (side: Side): Side => (side === 'a' ? 'b' : 'a')

export class OperationRun {
  readonly pair: Pair
  readonly flows: Flow[] = []
  private readonly listeners: { readonly a: TcpListener; readonly b: TcpListener }
  private readonly byPort = new Map<string, Flow>()
  private readonly drops = { a: 0, b: 0 }
  private readonly silent = { a: 0, b: 0 }
  private lossy: boolean

  constructor(profile: LinkProfile, seed: number, limits: Partial<StackLimits>) {
    this.lossy = Boolean(profile.loss || profile.corrupt)
    const times = { maxRto: 4000, connect: 600_000, handshake: 600_000 }
    this.pair = new Pair(profile, seed, { limits, times })
    const { a, b, ab, ba } = this.pair
    const forA = a.listen({ port: PORT })
    const forB = b.listen({ port: PORT })
    assert.ok(forA !== undefined && forB !== undefined)
    this.listeners = { a: forA, b: forB }
    this.pair.onReady = (s) => takeReady(s)
    ab.tap = (_, now) => this.drops.a-- <= 0 && now >= this.silent.a
    ba.tap = (_, now) => this.drops.b-- <= 0 && now >= this.silent.b
  }

  apply(o: Operation): void {
    const { pair } = this
    if (o.op === 'drop' || o.op === 'silence' || o.op === 'stall') this.lossy = true
    switch (o.op) {
      case 'wait':
        pair.pass(o.n)
        return
      case 'open':
        this.open(o.side, o.six, o.noDelay)
        break
      case 'accept':
        this.accept(o.side)
        break
      case 'drop':
        this.drops[o.side] = o.n
        return
      case 'silence':
        this.silent[o.side] = pair.now + o.n
        return
      case 'stall':
        this.link(o.side).heldUntil = pair.now + o.n
        return
      case 'link':
        if (o.profile.loss || o.profile.corrupt) this.lossy = true
        pair.ab.profile = pair.ba.profile = o.profile
        return
      case 'mtu':
        pair[o.side].setMtu(o.n)
        return
      default:
        this.use(o)
    }
    pair.settle()
  }

  /** The link heals, everybody reads and ends: all that was written arrives and nothing is left, anywhere. */
  finish(): void {
    const { pair, flows } = this
    this.drops.a = this.drops.b = this.silent.a = this.silent.b = 0
    pair.ab.heldUntil = pair.ba.heldUntil = 0
    pair.ab.profile = pair.ba.profile = { delay: 20 }
    const done = pair.run(() => {
      let moved = true
      while (moved) {
        for (const side of SIDES) while (this.accept(side));
        for (const f of flows) for (const side of SIDES) this.wind(f, side)
        pair.settle()
        moved = SIDES.some((side) => flows.some((f) => (f.ends[side]?.readable ?? 0) > 0))
      }
      return SIDES.every((side) => pair[side].held.connections === 0)
    }, 3_600_000)
    if (!done) throw new Error(`a stall, or a leak: ${flows.join('\n')}`)
    for (const f of flows) {
      // On a bad link nine probes in a row may be lost: then the connection is given up, and rightly.
      if (f.aborted || (f.keptAlive && this.lossy && SIDES.some((s) => f.ends[s]?.error === 'timed-out')))
        continue
      for (const side of SIDES) {
        const { written, received } = f.out[side]
        if (f.ends[side]?.error !== undefined || received !== written) throw new Error(`not all came: ${f}`)
        if (f.ends[side]?.ended !== true) throw new Error(`no end of the stream: ${f}`)
      }
    }
    for (const side of SIDES) {
      const { pooled: _, ...left } = pair[side].held
      for (const [name, n] of Object.entries(left)) assert.equal(n, 0, `${name} left before close: ${n}`)
    }
    unhurt(pair)
  }

  /** Nothing that a stack holds exceeds what its connections may hold. */
  check(): void {
    for (const side of SIDES) {
      const stack = this.pair[side]
      const { receiveBufferMax, sendBufferMax } = stack.limits
      const { bytes, connections } = stack.held
      // A write below the high-water mark may pass it by its own length; rings round up to whole blocks.
      const most = connections * (receiveBufferMax + sendBufferMax + 3 * 65536)
      if (bytes > most) throw new Error(`${bytes} octets held by ${connections} connections`)
    }
  }

  private link(side: Side): Pair['ab'] {
    return side === 'a' ? this.pair.ab : this.pair.ba
  }

  private open(side: Side, six: boolean, noDelay: boolean): void {
    if (this.flows.length >= FLOWS) return
    const address = side === 'a' ? (six ? ADDRESS_B6 : ADDRESS_B) : six ? ADDRESS_A6 : ADDRESS_A
    const c = this.pair[side].connect({ address, port: PORT }, this.pair.now, { noDelay })
    assert.ok(typeof c !== 'string', String(c))
    const flow = new Flow(this.flows.length)
    flow.ends[side] = c
    this.flows.push(flow)
    this.byPort.set(`${side}${c.tuple.family}${c.tuple.localPort}`, flow)
  }

  private accept(side: Side): boolean {
    const stack: NetStack = this.pair[side]
    const c = stack.accept(this.listeners[side])
    if (c === undefined) return false
    const flow = this.byPort.get(`${other(side)}${c.tuple.family}${c.tuple.remotePort}`)
    assert.ok(flow !== undefined, 'a connection that nobody opened')
    assert.equal(flow.ends[side], undefined, 'a connection accepted twice')
    flow.ends[side] = c
    return true
  }

  private use(o: Extract<Operation, { readonly flow: number }>): void {
    const flow = this.flows[o.flow % Math.max(1, this.flows.length)]
    const c = flow?.ends[o.side]
    if (flow === undefined || c === undefined) return
    if (o.op === 'write') flow.out[o.side].write(c, o.n)
    else if (o.op === 'read') flow.out[other(o.side)].read(c, o.n)
    else if (o.op === 'end') flow.out[o.side].end(c)
    else if (o.op === 'keep-alive') {
      if (o.n > 0) flow.keptAlive = true
      c.setKeepAlive(o.n, this.pair.now)
    } else {
      if (c.state === TcpState.CLOSED) return
      flow.aborted = true
      c.abort()
    }
  }

  /** One end on its way out. */
  private wind(f: Flow, side: Side): void {
    const c = f.ends[side]
    if (c === undefined) return
    f.out[other(side)].read(c, Number.POSITIVE_INFINITY)
    if (!f.out[side].ended) f.out[side].end(c)
    // Whose other end is gone without a word finds out by asking.
    if ((f.aborted || f.keptAlive) && f.ends[other(side)]?.state === TcpState.CLOSED)
      c.setKeepAlive(1000, this.pair.now)
  }
}
