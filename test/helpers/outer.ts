/**
 * A client's and a server's call with their own drivers over an outer connection of a given rate, delay and
 * send buffer, in virtual time: TCP inside TCP without a kernel.
 */
import assert from 'node:assert/strict'
import { Driver, type Outer, type Turns } from '../../src/link/driver.js'
import {
  type AnySocket,
  IpAddress,
  type NetStack,
  type PingSocket,
  READY_CLOSED,
  READY_CONNECTED,
  READY_READABLE,
  READY_WRITABLE,
  type TcpConnection,
  takeReady,
  type UdpSocket,
} from '../../stack/index.js'
import { CallPair, GATEWAY_ADDRESS } from './call-pair.js'
import { SeededRandom } from './random.js'

const GATEWAY = IpAddress.parse(GATEWAY_ADDRESS) as IpAddress
const SINK = 80
const SOURCE = 81
const ANSWER = 82
const DNS = 53
/** What one TLS record carries: its first octet is readable when its last one has come. */
const RECORD = 16_384

interface Due {
  readonly at: number
  readonly order: number
  callback: (() => void) | undefined
}

/** Virtual time: callbacks by instant, those of the same instant in the order in which they were asked for. */
export class EventLoop implements Turns {
  now = 0
  private readonly heap: Due[] = []
  private order = 0

  at(when: number, callback: () => void): Due {
    const due: Due = { at: Math.max(when, this.now), order: this.order++, callback }
    const { heap } = this
    let i = heap.length
    heap.push(due)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(due, heap[parent] as Due)) break
      heap[i] = heap[parent] as Due
      i = parent
    }
    heap[i] = due
    return due
  }

  soon(callback: () => void): void {
    this.at(this.now, callback)
  }

  later(callback: () => void, ms: number): Due {
    return this.at(this.now + ms, callback)
  }

  cancel(timer: unknown): void {
    if (timer !== undefined) (timer as Due).callback = undefined
  }

  /** Goes on until nothing is due before `end`. */
  until(end: number): void {
    for (;;) {
      const due = this.heap[0]
      if (due === undefined || due.at > end) break
      this.pop()
      this.now = due.at
      due.callback?.()
    }
    this.now = end
  }

  private pop(): void {
    const { heap } = this
    const last = heap.pop() as Due
    const n = heap.length
    if (n === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= n) break
      if (child + 1 < n && before(heap[child + 1] as Due, heap[child] as Due)) child++
      if (before(last, heap[child] as Due)) break
      heap[i] = heap[child] as Due
      i = child
    }
    heap[i] = last
  }
}

function before(a: Due, b: Due): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** What an outer connection is like. Milliseconds, octets, octets a millisecond. */
export interface OuterProfile {
  rate: number
  readonly delay: number
  /** Octets that kernel and TLS take before they make the writer wait. */
  readonly buffer: number
  /** The path is dead between these instants; what was on it comes at the end, all at once. */
  stalls: readonly (readonly [from: number, to: number])[]
}

/** One direction of the outer connection, as a socket to the driver. */
export class OuterPipe implements Outer {
  readonly profile: OuterProfile
  onData: (b: Uint8Array) => void = () => {}
  ended = false
  /** Octets in the buffer, now and at most. */
  held = 0
  mostHeld = 0
  writes = 0
  octets = 0
  private readonly loop: EventLoop
  private readonly waiting: { readonly b: Uint8Array; at: number; readonly callback: () => void }[] = []
  private busyUntil = 0
  private lastArrival = 0
  private full = false

  constructor(loop: EventLoop, profile: OuterProfile) {
    this.loop = loop
    this.profile = profile
  }

  write(b: Uint8Array, callback: () => void): void {
    this.writes++
    this.octets += b.length
    this.waiting.push({ b: Uint8Array.from(b), at: 0, callback })
    // The writer's memory is its own again when the callback says so, but a kernel has copied it by then.
    this.take()
  }

  end(): void {
    this.ended = true
  }

  private take(): void {
    const { buffer } = this.profile
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      // A kernel lets a writer in again when a third of the buffer is free.
      if (this.full && this.held > (2 * buffer) / 3) return
      this.full = false
      const size = Math.min(RECORD, first.b.length - first.at)
      if (this.held > 0 && this.held + size > buffer) {
        this.full = true
        return
      }
      this.carry(first.b.subarray(first.at, first.at + size))
      first.at += size
      if (first.at < first.b.length) continue
      this.waiting.shift()
      this.loop.soon(first.callback)
    }
  }

  private carry(b: Uint8Array): void {
    const { loop, profile: p } = this
    this.held += b.length
    this.mostHeld = Math.max(this.mostHeld, this.held)
    let from = Math.max(loop.now, this.busyUntil)
    let end = from + b.length / p.rate
    for (const [dead, alive] of p.stalls) {
      if (end <= dead || from >= alive) continue
      end += alive - Math.max(from, dead)
      from = Math.max(from, alive)
    }
    this.busyUntil = end
    let arrival = end + p.delay
    for (const [dead, alive] of p.stalls) if (arrival >= dead && arrival < alive) arrival = alive
    this.lastArrival = arrival = Math.max(arrival, this.lastArrival)
    loop.at(end, () => {
      this.held -= b.length
      this.take()
    })
    loop.at(arrival, () => {
      this.onData(b)
      b.fill(0xa5)
    })
  }
}

const PERIOD = 65_521
const PATTERN = Buffer.from(new SeededRandom(0x5eed).bytes(PERIOD * 2))
PATTERN.copyWithin(PERIOD, 0, PERIOD)

/** Which way a stream goes: up is from the client. */
export type Way = 'up' | 'down'

/** A stream without end, whose octets are compared where they arrive. */
export class Stream {
  readonly way: Way
  readonly key: number
  readonly chunk: number
  written = 0
  received = 0
  dead: string | undefined
  source: TcpConnection | undefined
  stopped = false

  constructor(way: Way, key: number, chunk: number) {
    this.way = way
    this.key = key
    this.chunk = chunk
  }

  fill(c: TcpConnection): void {
    while (!this.stopped) {
      const from = (this.key * 7919 + this.written) % PERIOD
      this.written += this.chunk
      if (!c.write(PATTERN.subarray(from, from + this.chunk))) return
    }
  }

  drain(c: TcpConnection): void {
    for (let piece = c.peek(); piece.length > 0; piece = c.peek()) {
      const n = Math.min(piece.length, PERIOD)
      const from = (this.key * 7919 + this.received) % PERIOD
      assert.equal(PATTERN.compare(piece, 0, n, from, from + n), 0, `stream ${this.key}: wrong octets`)
      this.received += n
      c.consume(n)
    }
  }
}

/** One exchange of 1 KiB each way on a connection, again and again. */
class Exchange {
  readonly connection: TcpConnection
  readonly once: boolean
  readonly times: number[]
  from: number
  got = 0

  constructor(connection: TcpConnection, once: boolean, times: number[], now: number) {
    this.connection = connection
    this.once = once
    this.times = times
    this.from = now
  }
}

const KIB = PATTERN.subarray(0, 1024)

/** Latencies in milliseconds, by what was asked. */
export interface Latencies {
  /** A 1 KiB request and as much answer, on an open connection. */
  readonly open: number[]
  /** The same with a connection of its own. */
  readonly fresh: number[]
  readonly dns: number[]
  readonly ping: number[]
}

export interface OuterOptions {
  /** Mbit/s. */
  readonly rate: number
  readonly rtt: number
  readonly buffer: number
  readonly seed?: number
}

export class OuterWorld {
  readonly loop = new EventLoop()
  readonly pair: CallPair
  readonly up: OuterPipe
  readonly down: OuterPipe
  readonly client: Driver
  readonly server: Driver
  readonly streams: Stream[] = []
  latencies: Latencies = { open: [], fresh: [], dns: [], ping: [] }
  private readonly random: SeededRandom
  private readonly byPort = new Map<number, Stream>()
  private readonly udp: UdpSocket
  private readonly ping: PingSocket
  private readonly asked = new Map<number, number>()
  private readonly pinged = new Map<number, number>()
  private standing: Exchange | undefined
  private standingBusy = false
  private serial = 0

  constructor(options: OuterOptions) {
    const { rate, rtt, buffer, seed = 1 } = options
    this.random = new SeededRandom(seed)
    const pair = new CallPair({ seed }).start()
    assert.ok(pair.up())
    this.pair = pair
    this.loop.now = pair.now
    const profile = { rate: (rate * 1000) / 8, delay: rtt / 2, buffer, stalls: [] }
    this.up = new OuterPipe(this.loop, { ...profile })
    this.down = new OuterPipe(this.loop, { ...profile })
    const clock = (): number => this.loop.now
    this.client = new Driver(this.up, pair.client, clock, this.loop)
    this.server = new Driver(this.down, pair.server, clock, this.loop)
    this.up.onData = (b) => this.server.received(b, 0, b.length)
    this.down.onData = (b) => this.client.received(b, 0, b.length)
    for (const port of [SINK, SOURCE, ANSWER]) assert.ok(pair.serverStack.listen({ port }))
    const dns = pair.serverStack.openUdp({ port: DNS })
    const udp = pair.clientStack.openUdp({ remote: { address: GATEWAY, port: DNS } })
    const ping = pair.clientStack.openPing()
    assert.ok(dns !== undefined && udp !== undefined && ping !== undefined)
    this.udp = udp
    this.ping = ping
    pair.serverOwner.onReady = () => this.dispatch(pair.serverStack)
    pair.clientOwner.onReady = () => this.dispatch(pair.clientStack)
  }

  get now(): number {
    return this.loop.now
  }

  /** Lets `ms` pass. */
  pass(ms: number): this {
    this.loop.until(this.loop.now + ms)
    return this
  }

  /** A stream that goes on. `mtu`: the client's for this connection. */
  bulk(way: Way, chunk = 8192, mtu?: number): Stream {
    const { pair } = this
    const stack = pair.clientStack
    const whole = stack.mtu
    if (mtu !== undefined) stack.setMtu(mtu)
    const c = stack.connect({ address: GATEWAY, port: way === 'up' ? SINK : SOURCE }, this.now)
    assert.ok(typeof c !== 'string')
    if (mtu !== undefined) stack.setMtu(whole)
    const stream = new Stream(way, this.streams.length + 1, chunk)
    c.owner = stream
    if (way === 'up') stream.source = c
    this.streams.push(stream)
    this.byPort.set(c.tuple.localPort, stream)
    this.client.wake()
    return stream
  }

  /** Both directions of the outer connection die for `ms`, `after` milliseconds from now. */
  stall(after: number, ms: number): void {
    const stall = [this.now + after, this.now + after + ms] as const
    for (const pipe of [this.up, this.down]) pipe.profile.stalls = [...pipe.profile.stalls, stall]
  }

  /** Octets a millisecond of each stream during the next `ms`. */
  shares(ms: number): number[] {
    const from = this.streams.map((s) => s.received)
    this.pass(ms)
    return this.streams.map((s, i) => (s.received - (from[i] as number)) / ms)
  }

  /** Asks small questions of all kinds for `ms`, about every `every`; the answers come within `rest`. */
  probe(ms: number, every = 37, rest = 10_000): Latencies {
    const l: Latencies = { open: [], fresh: [], dns: [], ping: [] }
    this.latencies = l
    if (this.standing === undefined) {
      this.standing = this.connect(false, [])
      this.pass(2000)
    }
    const { standing } = this
    const end = this.now + ms
    let asked = 0
    let opened = 0
    const ask = (): void => {
      if (this.now >= end) return
      if (!this.standingBusy) {
        this.standingBusy = true
        standing.from = this.now
        standing.times.length = 0
        standing.connection.write(KIB)
        opened++
      }
      this.connect(true, l.fresh)
      this.serial = (this.serial + 1) & 0xffff
      const query = new Uint8Array(40)
      query[0] = this.serial >>> 8
      query[1] = this.serial & 0xff
      this.asked.set(this.serial, this.now)
      this.udp.send(query, { address: GATEWAY, port: DNS })
      this.pinged.set(this.serial, this.now)
      this.ping.send(GATEWAY, this.serial, new Uint8Array(32))
      asked++
      this.client.wake()
      this.loop.later(ask, every * (0.5 + this.random.next()))
    }
    this.loop.later(ask, every)
    this.pass(ms)
    const started = this.now
    const wanted = (): boolean =>
      l.fresh.length === asked &&
      l.dns.length === asked &&
      l.ping.length === asked &&
      l.open.length === opened
    while (!wanted() && this.now < started + rest) this.pass(100)
    assert.deepEqual(
      [l.fresh.length, l.dns.length, l.ping.length, l.open.length],
      [asked, asked, asked, opened],
      'all questions have their answer',
    )
    return l
  }

  private connect(once: boolean, times: number[]): Exchange {
    const c = this.pair.clientStack.connect({ address: GATEWAY, port: ANSWER }, this.now)
    assert.ok(typeof c !== 'string')
    const exchange = new Exchange(c, once, times, this.now)
    c.owner = exchange
    this.client.wake()
    return exchange
  }

  private dispatch(stack: NetStack): void {
    for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) this.ready(s, stack)
  }

  private ready(s: AnySocket, stack: NetStack): void {
    const bits = takeReady(s)
    switch (s.kind) {
      case 'listener':
        for (let c = stack.accept(s); c !== undefined; c = stack.accept(s)) {
          c.owner = c.tuple.localPort === ANSWER ? undefined : this.byPort.get(c.tuple.remotePort)
        }
        return
      case 'ping':
        for (let r = s.receive(); r !== undefined; r = s.receive()) {
          this.latencies.ping.push(this.now - (this.pinged.get(r.sequence) ?? Number.NaN))
        }
        return
      case 'udp':
        for (let d = s.receive(); d !== undefined; d = s.receive()) {
          if (s !== this.udp) {
            s.send(d.data, d.from)
            continue
          }
          const serial = ((d.data[0] as number) << 8) | (d.data[1] as number)
          this.latencies.dns.push(this.now - (this.asked.get(serial) ?? Number.NaN))
        }
        return
      case 'tcp':
        this.tcp(s, bits)
    }
  }

  private tcp(c: TcpConnection, bits: number): void {
    const { owner } = c
    if (owner instanceof Stream) {
      if (bits & READY_CLOSED && c.error !== undefined) owner.dead ??= c.error
      const port = Math.min(c.tuple.localPort, c.tuple.remotePort)
      const client = c.tuple.remotePort === port
      const sends = (port === SINK) === client
      if (sends) {
        owner.source = c
        if (bits & (READY_CONNECTED | READY_WRITABLE)) owner.fill(c)
      } else if (bits & (READY_READABLE | READY_CLOSED)) {
        owner.drain(c)
      }
    } else if (owner instanceof Exchange) {
      if (bits & READY_CLOSED && c.error !== undefined) assert.fail(`an exchange died: ${c.error}`)
      if (bits & READY_CONNECTED && owner.once) c.write(KIB)
      owner.got += c.readable
      c.consume(c.readable)
      if (owner.got < 1024) return
      owner.got = 0
      if (owner.once) {
        owner.times.push(this.now - owner.from)
        c.end()
      } else {
        this.latencies.open.push(this.now - owner.from)
        this.standingBusy = false
      }
      if (c.ended) c.end()
    } else {
      // The server's side of an exchange.
      while (c.readable >= 1024) {
        c.consume(1024)
        c.write(KIB)
      }
      if (c.ended) c.end()
    }
  }
}

/** The value below which a share `p` of them lies. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN
}
