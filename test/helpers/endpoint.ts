/** Applications at both ends of a pair: they send a known stream in random pieces and compare what comes. */
import assert from 'node:assert/strict'
import {
  type AnySocket,
  type NetStack,
  READY_CLOSED,
  READY_CONNECTED,
  READY_READABLE,
  READY_WRITABLE,
  type TcpConnection,
  TcpState,
  takeReady,
} from '../../stack/index.js'
import { ADDRESS_B, ADDRESS_B6, type Pair } from './pair.js'
import type { SeededRandom } from './random.js'

/** The octet at that place of the stream that is sent from that port. */
export function octet(key: number, at: number): number {
  return (Math.imul(at + 1, 0x9e3779b1) ^ Math.imul(key + 1, 0x85ebca6b)) >>> 24
}

export class End {
  connection: TcpConnection | undefined
  private readonly random: SeededRandom
  private readonly size: number
  private readonly expected: number
  written = 0
  received = 0
  /** Reads nothing while it is set. */
  paused = false
  /** Both directions have ended, or the connection has failed. */
  closed = false
  private ended = false
  private wrong = -1

  /** Sends `size` octets and ends; `expected` are to come. */
  constructor(pair: Pair, size: number, expected: number, connection?: TcpConnection) {
    this.random = pair.random
    this.size = size
    this.expected = expected
    if (connection !== undefined) this.become(connection)
  }

  become(c: TcpConnection): void {
    this.connection = c
    c.owner = this
  }

  /** For `Pair.onReady`. */
  static ready(s: AnySocket): void {
    const bits = takeReady(s)
    if (s.kind === 'tcp' && s.owner instanceof End) s.owner.on(s, bits)
  }

  private on(c: TcpConnection, bits: number): void {
    if (bits & (READY_CONNECTED | READY_WRITABLE)) this.fill(c)
    if (bits & READY_READABLE) this.drain()
    if (bits & READY_CLOSED) {
      this.drain()
      this.closed = true
    }
  }

  private fill(c: TcpConnection): void {
    let room = true
    while (room && this.written < this.size) {
      const n = Math.min(this.size - this.written, 1 + this.random.below(this.random.chance(0.5) ? 40 : 6000))
      const chunk = new Uint8Array(n)
      for (let i = 0; i < n; i++) chunk[i] = octet(c.tuple.localPort, this.written + i)
      room = c.write(chunk)
      this.written += n
    }
    if (this.written === this.size && !this.ended) {
      this.ended = true
      c.end()
    }
  }

  drain(): void {
    const c = this.connection
    if (c === undefined || this.paused) return
    for (let piece = c.peek(); piece.length > 0; piece = c.peek()) {
      const n = Math.min(piece.length, 1 + this.random.below(20_000))
      for (let i = 0; i < n; i++) {
        if (piece[i] !== octet(c.tuple.remotePort, this.received + i) && this.wrong < 0) {
          this.wrong = this.received + i
        }
      }
      this.received += n
      c.consume(n)
    }
  }

  /** Nothing wrong so far. */
  checkPrefix(): void {
    assert.equal(this.wrong, -1, `octet ${this.wrong} is wrong`)
  }

  /** All has come and all has gone. */
  check(): void {
    this.checkPrefix()
    const c = this.connection
    assert.equal(c?.error, undefined)
    assert.equal(this.written, this.size)
    assert.equal(this.received, this.expected)
    assert.ok(c?.ended, 'the end of the stream')
    assert.ok(c.state === TcpState.CLOSED || c.state === TcpState.TIME_WAIT, c.stateName)
    assert.equal(c.queued, 0)
  }

  toString(): string {
    const c = this.connection
    return `${c?.stateName} ${c?.error ?? ''} sent ${this.written}/${this.size} received ${this.received} ${JSON.stringify(c?.info())}`
  }
}

/** A connection from `pair.a` to `pair.b`; the two ends send that many octets and end. */
export function opened(pair: Pair, fromA: number, fromB: number, six = false): [End, End] {
  const port = 80
  const l = pair.b.listen({ port })
  assert.ok(l !== undefined)
  const b = new End(pair, fromB, fromA)
  pair.onReady = (s, stack: NetStack) => {
    const c = s === l ? stack.accept(l) : undefined
    if (c !== undefined) b.become(c)
    End.ready(s)
  }
  const c = pair.a.connect({ address: six ? ADDRESS_B6 : ADDRESS_B, port }, pair.now)
  assert.ok(typeof c !== 'string')
  return [new End(pair, fromA, fromB, c), b]
}

/** Closes both stacks and finds nothing left. */
export function unhurt(pair: Pair): void {
  for (const stack of [pair.a, pair.b]) {
    stack.close()
    const { connections, udp, ping, bytes } = stack.held
    assert.deepEqual({ connections, udp, ping, bytes }, { connections: 0, udp: 0, ping: 0, bytes: 0 })
    assert.equal(stack.nextTimeout(), Number.POSITIVE_INFINITY)
    assert.equal(stack.hasOutput, false)
  }
}
