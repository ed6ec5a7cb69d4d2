/** Our stack and a foreign one, joined by two links in virtual time. Everything follows from the seed. */
import {
  IpAddress,
  NetStack,
  READY_CLOSED,
  type StackLimits,
  type TcpConnection,
  takeReady,
} from '../../../stack/index.js'
import { SeededRandom } from '../../helpers/random.js'
import { Foreign, type ForeignOptions } from './foreign.js'
import { matches, PERIOD, pattern } from './pattern.js'
import { Wire, type WireProfile } from './wire.js'

export interface WorldOptions extends ForeignOptions {
  readonly program: string
  readonly link: WireProfile
  /** What we send, octets, and when, `delay` milliseconds later; how we read, as the other side. */
  readonly ours: {
    readonly bytes: number
    readonly start: 'at-once' | 'after'
    readonly delay?: number
    readonly rate?: number
    readonly pause?: number
  }
  readonly limits?: Partial<StackLimits>
  /** The port where we listen, or that we connect to; `port` unless said. */
  readonly ourPort?: number
  /** False: nobody connects. */
  readonly dial?: boolean
  /** Milliseconds of idleness before our keep-alive probes, if it is we who connect. */
  readonly keepAlive?: number
}

const START = 1000

export function addressOf(text: string): IpAddress {
  const address = IpAddress.parse(text)
  if (address === undefined) throw new Error(`${text} is no address`)
  return address
}

/** TCP with RST; there are no extension headers here. */
function isReset(p: Uint8Array): boolean {
  const [first = 0] = p
  const at = first >>> 4 === 4 ? (first & 15) * 4 : 40
  return p[first >>> 4 === 4 ? 9 : 6] === 6 && ((p[at + 13] ?? 0) & 4) !== 0
}

export class World {
  readonly stack: NetStack
  readonly foreign: Foreign
  readonly ab: Wire
  readonly ba: Wire
  now = START
  connection: TcpConnection | undefined
  sent = 0
  received = 0
  corrupt = false
  /** When the last octet had arrived there, and here. */
  oursDone = Number.NaN
  theirsDone = Number.NaN
  /** The other side's end was read behind all its octets. */
  ended = false
  /** READY_CLOSED has come. */
  closed = false
  /** RSTs that went out before; later ones rightly answer packets that were overtaken. */
  resets = 0
  private finished = false
  private readonly options: WorldOptions
  private readonly pattern: Uint8Array
  private readonly theirs: Uint8Array
  private readonly buffer = Buffer.alloc(4096, 0xa5)
  private wake = Number.POSITIVE_INFINITY

  constructor(o: WorldOptions) {
    const random = new SeededRandom(o.seed)
    this.options = o
    this.ab = new Wire(o.link, random)
    this.ba = new Wire(o.link, random)
    this.theirs = pattern(o.seed)
    this.pattern = pattern(o.seed + 1)
    this.stack = new NetStack({ mtu: 1400, random: random.fill, limits: o.limits ?? {} })
    for (const text of ['10.0.0.1', 'fd00::1']) this.stack.addAddress(addressOf(text))
    this.foreign = new Foreign(o.program, o)
    const { ourPort: port = o.port } = o
    if (o.role === 'connect') {
      if (this.stack.listen({ port }) === undefined) throw new Error('the port is taken')
    } else if (o.dial !== false) {
      const address = addressOf(o.family === 4 ? '10.0.0.2' : 'fd00::2')
      const c = this.stack.connect({ address, port }, this.now, { keepAlive: o.keepAlive ?? 0 })
      if (typeof c === 'string') throw new Error(c)
      this.connection = c
    }
  }

  /** Runs until `done`, or for `limit` milliseconds of virtual time. @returns if it was done */
  async run(done: () => boolean, limit = 7_200_000): Promise<boolean> {
    const end = this.now + limit
    for (;;) {
      for (let i = 0; await this.exchange(); i++) if (i > 1000) throw new Error('a livelock')
      if (done()) return true
      const { ab, ba, stack, foreign } = this
      const next = Math.min(ab.next, ba.next, stack.nextTimeout(), foreign.status.next, this.wake)
      if (next > end) return false
      this.now = Math.max(this.now, next)
    }
  }

  /** The foreign side aborts. */
  async abort(): Promise<void> {
    for (const p of await this.foreign.step([], this.now, true)) this.ba.send(p, this.now)
  }

  private async exchange(): Promise<boolean> {
    let moved = this.turn()
    const due: Uint8Array[] = []
    for (let p = this.ab.receive(this.now); p !== undefined; p = this.ab.receive(this.now)) due.push(p)
    if (due.length > 0 || this.foreign.status.next <= this.now) {
      for (const p of await this.foreign.step(due, this.now)) this.ba.send(p, this.now)
      const { bytes } = this.options.ours
      if (Number.isNaN(this.oursDone) && this.foreign.status.received === bytes) this.oursDone = this.now
      moved = true
    }
    return moved
  }

  /** Our side, once. */
  private turn(): boolean {
    const { stack, ab, ba, buffer, now } = this
    let moved = false
    for (let p = ba.receive(now); p !== undefined; p = ba.receive(now)) {
      buffer.set(p, 3)
      stack.input(buffer, 3, p.length, now)
      buffer.fill(0xa5, 3, 3 + p.length)
      moved = true
    }
    if (stack.nextTimeout() <= now) stack.handleTimeout(now)
    for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
      const news = takeReady(s)
      if (s.kind === 'listener') this.connection ??= stack.accept(s)
      else if (s === this.connection && (news & READY_CLOSED) !== 0) this.closed = true
      moved = true
    }
    if (this.connection !== undefined) this.application(this.connection)
    for (let n = stack.output(buffer, 5, now); n > 0; n = stack.output(buffer, 5, now)) {
      const packet = new Uint8Array(buffer.subarray(5, 5 + n))
      if (isReset(packet) && this.connection?.stateName !== 'CLOSED') this.resets++
      ab.send(packet, now)
      buffer.fill(0xa5, 5, 5 + n)
      moved = true
    }
    return moved
  }

  private application(c: TcpConnection): void {
    const { bytes, start, rate = 0, delay = 0, pause = 0 } = this.options.ours
    this.wake = this.now < START + delay ? START + delay : Number.POSITIVE_INFINITY
    if (c.readable > 0 && this.now < pause) this.wake = Math.min(this.wake, pause)
    while (c.readable > 0 && this.now >= pause) {
      const allowed = rate === 0 ? c.readable : Math.floor(this.now * rate) - this.received
      if (allowed < 1) {
        this.wake = Math.min(this.wake, Math.floor(this.now) + 1)
        break
      }
      const piece = c.peek()
      const n = Math.min(piece.length, allowed)
      if (!matches(this.theirs, piece, n, this.received)) this.corrupt = true
      this.received += n
      c.consume(n)
    }
    if (Number.isNaN(this.theirsDone) && this.received === this.options.bytes) this.theirsDone = this.now
    if (c.ended && c.readable === 0) this.ended = true
    if (c.stateName !== 'ESTABLISHED' && c.stateName !== 'CLOSE-WAIT') return
    if (this.now < START + delay || this.finished || (start === 'after' && !this.ended)) return
    while (this.sent < bytes && c.writable) {
      const from = this.sent % PERIOD
      const n = Math.min(16_384, bytes - this.sent)
      c.write(this.pattern.subarray(from, from + n))
      this.sent += n
    }
    if (this.sent === bytes) {
      c.end()
      this.finished = true
    }
  }
}
