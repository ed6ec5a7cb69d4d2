/**
 * Anything at all into the input path of a stack, with checksums set right so that it gets past the door:
 * nothing throws, what is held stays bounded, and a transfer that runs through it arrives whole.
 *
 * `FUZZ_SEED=n FUZZ_ROUNDS=m` repeats a failure or runs longer; round r of seed n is round 0 of seed n + r.
 */
import t from 'tap'
import {
  DEFAULT_LIMITS,
  type NetStack,
  type PingSocket,
  READY_CLOSED,
  type StackLimits,
  type TcpConnection,
  type TcpListener,
  takeReady,
  type UdpSocket,
} from '../../stack/index.js'
import {
  address,
  be16,
  be32,
  concat,
  type Extension,
  extensions,
  fixChecksums,
  type IpExtra,
  icmp,
  ip,
  tcp,
  toHex,
  udp,
} from '../helpers/ip-packet.js'
import { ADDRESS_B, ADDRESS_B6, Pair } from '../helpers/pair.js'
import { SeededRandom } from '../helpers/random.js'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 400)
const PACKETS = 1000

const MTU = 1400
const LIMITS: StackLimits = {
  ...DEFAULT_LIMITS,
  connections: 60,
  timeWait: 20,
  receiveBuffer: 65536,
  sendBuffer: 65536,
  outOfOrderRanges: 8,
  backlog: 12,
  datagramQueue: 8192,
  replyQueue: 16,
}
/** The port of the transfer that must come through; nothing is forged for it (whoever sees a flow can break it). */
const HONEST_PORT = 7000
const HONEST_OCTETS = 40_000

/** The most that LIMITS let a stack hold with so many connections and sockets. A write may overshoot by a chunk. */
function bound(held: NetStack['held']): number {
  const connection = LIMITS.receiveBuffer + LIMITS.sendBuffer + CHUNK
  return (
    held.connections * connection +
    (held.udp + held.ping) * 2 * LIMITS.datagramQueue +
    LIMITS.replyQueue * MTU
  )
}
const CHUNK = 4096

/** Makes packets: new ones of every kind, and changed ones of those seen. */
class Forge {
  private readonly r: SeededRandom
  /** Packets that went to the stack under test, and those that came from it; the newest last. */
  private readonly seen: Uint8Array[] = []
  private readonly said: Uint8Array[] = []

  constructor(r: SeededRandom) {
    this.r = r
  }

  see(p: Uint8Array, fromIt: boolean): void {
    const list = fromIt ? this.said : this.seen
    list.push(p.slice())
    if (list.length > 60) list.shift()
  }

  next(): Uint8Array {
    const { r } = this
    let p = this.seen.length > 0 && r.chance(0.6) ? this.pick(this.seen).slice() : this.generate()
    if (r.chance(0.8)) p = this.mutate(p)
    if (r.chance(0.95)) fixChecksums(p)
    return p
  }

  /** An open to port 80 from an end that never answers. */
  syn(): Uint8Array {
    const ends = { src: '192.0.2.9', dst: '10.0.0.2', sport: this.r.below(65536), dport: 80 }
    return tcp(ends, { flags: 2, seq: this.word(), options: this.options() })
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.r.below(list.length)] as T
  }

  private generate(): Uint8Array {
    const { r } = this
    const four = r.chance(0.5)
    const odd = r.chance(0.1)
    const src = four
      ? this.pick(
          odd ? ['10.0.0.2', '224.0.0.1', '0.0.0.0', '127.0.0.1'] : ['10.0.0.1', '10.0.0.1', '192.0.2.9'],
        )
      : this.pick(
          odd
            ? ['fd00::2', 'ff02::1', '::', '::ffff:10.0.0.1']
            : ['fd00::1', 'fd00::1', '2001:db8::9', 'fe80::1'],
        )
    const dst = four
      ? this.pick(r.chance(0.1) ? ['192.0.2.1', '255.255.255.255', '224.0.0.1'] : ['10.0.0.2'])
      : this.pick(r.chance(0.1) ? ['2001:db8::1', 'ff02::1', '::ffff:10.0.0.2'] : ['fd00::2'])
    const extra = four ? this.extra4() : undefined
    const port = (): number => this.pick([0, 53, 53, 80, 80, 81, 9999, r.below(65536)])
    const ends = { src, dst, sport: 1024 + r.below(40), dport: port() }
    const data = r.bytes(this.pick([0, 0, 1, 7, 100, 536, 1300]))
    const withExt = (upper: number): IpExtra => extra ?? (r.chance(0.4) ? { ext: this.chain(upper) } : {})
    switch (r.below(8)) {
      case 0:
      case 1:
      case 2: {
        const flags = this.pick([2, 2, 2, 0x10, 0x18, 0x11, 0x12, 4, 0x14, 0x29, r.below(256)])
        const options = r.chance(0.5) ? this.options() : new Uint8Array(0)
        const fields = { seq: this.word(), ack: this.word(), flags, window: r.below(65536), options }
        return tcp(ends, fields, data, withExt(6))
      }
      case 3:
      case 4:
        return udp(ends, data, { ...withExt(17), ...(r.chance(0.1) ? { sum: 0 } : {}) })
      case 5:
      case 6: {
        const type = four
          ? this.pick([0, 3, 3, 3, 4, 5, 8, 11, 12, r.below(256)])
          : this.pick([1, 1, 2, 3, 4, 128, 129, 137, r.below(256)])
        const quoted =
          this.said.length > 0 && r.chance(0.7)
            ? this.pick(this.said)
            : r.chance(0.5)
              ? udp(ends, data)
              : data
        const body = quoted.subarray(0, r.chance(0.7) ? 48 : r.below(quoted.length + 1))
        const rest = this.pick([0, 68, 552, 1280, 1300, this.word()])
        return icmp({ src, dst, type, code: r.below(7), rest }, body, withExt(58))
      }
      default:
        return ip({ src, dst, proto: r.below(256), ...withExt(r.below(256)) }, data)
    }
  }

  private word(): number {
    return this.pick([0, 1, 0x7fffffff, 0x80000000, 0xffffffff, this.r.below(2 ** 32)])
  }

  private extra4(): IpExtra {
    const { r } = this
    if (r.chance(0.7)) return {}
    return {
      options: r.bytes(4 * r.below(11)),
      fragment: this.pick([0, 0x4000, 0x2000, 0x0001, r.below(65536)]),
      ttl: r.below(256),
    }
  }

  private chain(upper: number): { first: number; bytes: Uint8Array } {
    const { r } = this
    const list: Extension[] = []
    for (let n = r.below(11); n > 0; n--) {
      const kind = this.pick([0, 43, 44, 60, 60, 60, 51, 135])
      const words = r.below(3)
      const bytes = r.chance(0.5) ? new Uint8Array(8 * words + 7) : r.bytes(8 * words + 7)
      bytes[0] = r.chance(0.9) ? words : r.below(256)
      list.push({ kind, bytes })
    }
    return extensions(list, upper)
  }

  private options(): Uint8Array {
    const { r } = this
    const parts: Uint8Array[] = []
    for (let n = r.below(5); n > 0; n--) {
      parts.push(
        this.pick([
          concat(new Uint8Array([2, 4]), be16(this.pick([0, 1, 536, 1360, 65535]))),
          new Uint8Array([3, 3, r.below(256)]),
          new Uint8Array([4, 2]),
          concat(new Uint8Array([8, 10]), be32(this.word(), this.word())),
          concat(new Uint8Array([5, 18]), be32(this.word(), this.word(), this.word(), this.word())),
          r.bytes(r.below(6)),
          new Uint8Array([1]),
        ]),
      )
    }
    const all = concat(...parts).subarray(0, 40)
    return concat(all, new Uint8Array((4 - (all.length & 3)) & 3))
  }

  private mutate(p: Uint8Array): Uint8Array {
    const { r } = this
    let b: Uint8Array = p.slice()
    const start = (b[0] ?? 0) >>> 4 === 6 ? 40 : 20
    for (let n = 1 + r.below(3); n > 0; n--) {
      const at = r.chance(0.8)
        ? start + r.below(Math.max(1, Math.min(44, b.length - start)))
        : r.below(b.length + 1)
      switch (r.below(7)) {
        case 0:
          if (at < b.length) b[at] = r.below(256)
          break
        case 1:
          if (at < b.length) b[at] = (b[at] as number) ^ (1 << r.below(8))
          break
        case 2:
          if (at < b.length) b[at] = this.pick([0, 1, 0x7f, 0x80, 0xff])
          break
        case 3:
          // A nudge to a 32-bit field, such as a sequence number or a timestamp.
          if (start + 4 * r.below(8) + 4 <= b.length) {
            const o = start + 4 * r.below(Math.floor(Math.min(32, b.length - start) / 4))
            const d = Buffer.from(b.buffer, b.byteOffset, b.length)
            d.writeUInt32BE((d.readUInt32BE(o) + this.pick([1, -1, 100, -100, 1400, -1400, 65536])) >>> 0, o)
          }
          break
        case 4:
          // The flags of TCP.
          if (start + 13 < b.length)
            b[start + 13] = this.pick([0, 1, 2, 4, 0x10, 0x11, 0x12, 0x14, 0x18, 0x30, 0xff])
          break
        case 5:
          b = concat(b.subarray(0, r.below(b.length + 1)))
          if (r.chance(0.7)) relength(b)
          break
        default:
          b = concat(b, r.bytes(r.below(20)))
          if (r.chance(0.7)) relength(b)
      }
      if (b.length === 0) break
    }
    return b
  }
}

/** Makes the IP length field fit. */
function relength(b: Uint8Array): void {
  if (b.length >= 20 && (b[0] as number) >>> 4 === 4) b.set(be16(b.length), 2)
  else if (b.length >= 40) b.set(be16(b.length - 40), 4)
}

/** True if a TCP packet or a quote in it has the port of the honest transfer, at any usual place. */
function touchesHonest(p: Uint8Array): boolean {
  for (let at = 20; at + 2 <= p.length && at < 140; at++) {
    if (((p[at] as number) << 8) + (p[at + 1] as number) === HONEST_PORT) return true
  }
  return false
}

class World {
  readonly pair: Pair
  readonly r: SeededRandom
  readonly forge: Forge
  private readonly sockets = new Set<TcpConnection>()
  private readonly echo = new Set<TcpConnection>()
  private readonly out: Uint8Array
  private client: TcpConnection | undefined
  private got = 0
  private fed = 0
  /** The honest client may have said so much by now: the transfer is to last as long as the rest. */
  private allowed = 0
  failure: string | undefined

  constructor(seed: number) {
    this.r = new SeededRandom(seed)
    const { r } = this
    const anyAddress = r.chance(0.5)
    const loss = r.chance(0.3) ? 0.02 : 0
    this.pair = new Pair({ delay: 1 + r.below(30), loss }, seed, {
      b: { mtu: MTU, anyAddress, limits: LIMITS },
    })
    this.forge = new Forge(r)
    this.out = r.bytes(HONEST_OCTETS)
    const { a, b } = this.pair
    const see =
      (fromIt: boolean) =>
      (p: Uint8Array): boolean => {
        if (!touchesHonest(p)) this.forge.see(p, fromIt)
        return true
      }
    this.pair.ab.tap = see(false)
    this.pair.ba.tap = see(true)
    this.pair.onReady = (s, stack) => this.onReady(s, stack)
    b.listen({ port: HONEST_PORT })
    b.listen({ port: 80 })
    b.listen({ port: 81, hold: true, backlog: 5 })
    if (anyAddress) b.listen({ port: 0, hold: r.chance(0.5) })
    a.listen({ port: 80 })
    b.openUdp({ port: 53 })
    b.openUdp({ port: 9999, remote: { address: address('10.0.0.1'), port: 1030 } })
    if (anyAddress) b.openUdp({ any: true })
    b.openPing()
  }

  private onReady(s: NonNullable<ReturnType<NetStack['nextReady']>>, stack: NetStack): void {
    const bits = takeReady(s)
    if (s.kind === 'listener') this.accept(s, stack)
    else if (s.kind === 'tcp') this.connection(s, stack, bits)
    else this.datagrams(s)
  }

  private accept(l: TcpListener, stack: NetStack): void {
    const honest = l.port === HONEST_PORT
    while (honest || this.r.chance(0.8)) {
      const c = stack.accept(l)
      if (c === undefined) return
      if (honest) this.echo.add(c)
      else this.sockets.add(c)
      if (c.isHeld) {
        const reasons = ['refused', 'timed-out', 'host-unreachable', 'prohibited'] as const
        if (this.r.chance(0.6)) c.proceed(this.pair.now)
        else c.refuse(reasons[this.r.below(4)] as (typeof reasons)[number], this.pair.now)
      }
    }
  }

  private connection(c: TcpConnection, stack: NetStack, bits: number): void {
    const { r } = this
    if (c === this.client) {
      this.feed()
      this.collect(c)
      if (bits & READY_CLOSED && c.error !== undefined) this.failure = `the honest client: ${c.error}`
      return
    }
    if (this.echo.has(c)) {
      while (c.readable > 0 && c.writable) {
        const piece = new Uint8Array(c.peek())
        c.write(piece)
        c.consume(piece.length)
      }
      if (c.ended && c.readable === 0) c.end()
      return
    }
    if (stack === this.pair.b) this.sockets.add(c)
    if (c.readable > 0 && r.chance(0.7)) c.consume(r.below(c.readable + 1))
    if (r.chance(0.3) && c.writable) c.write(r.bytes(1 + r.below(CHUNK)))
    if (c.ended && r.chance(0.5)) c.end()
    if (r.chance(0.02)) c.abort()
  }

  private datagrams(s: UdpSocket | PingSocket): void {
    s.takeError()
    if (this.r.chance(0.3)) return
    if (s.kind === 'ping') {
      while (s.receive() !== undefined);
      return
    }
    for (let d = s.receive(); d !== undefined; d = s.receive()) {
      if (this.r.chance(0.5)) s.send(d.data, d.from, s.any ? d.to : undefined)
      else if (s.any) this.pair.b.refuseDatagram(d.from, d.to, 'refused', this.pair.now)
    }
  }

  // ---------------------------------------------------------------- the honest transfer

  start(): void {
    const { a } = this.pair
    const to = this.r.chance(0.5) ? ADDRESS_B : ADDRESS_B6
    const c = a.connect({ address: to, port: HONEST_PORT }, this.pair.now)
    if (typeof c === 'string') throw new Error(c)
    this.client = c
    if (!this.pair.run(() => c.stateName === 'ESTABLISHED', 30_000)) throw new Error('no connection')
  }

  allow(share: number): void {
    this.allowed = Math.ceil(this.out.length * share)
    this.feed()
  }

  private feed(): void {
    const c = this.client
    if (c === undefined) return
    while (this.fed < Math.min(this.allowed, this.out.length) && c.queued < 8192) {
      const piece = this.out.subarray(this.fed, this.fed + 2000)
      this.fed += piece.length
      c.write(piece)
      if (this.fed === this.out.length) c.end()
    }
  }

  private collect(c: TcpConnection): void {
    while (c.readable > 0) {
      const piece = c.peek()
      for (let i = 0; i < piece.length; i++) {
        if (piece[i] !== this.out[this.got + i])
          this.failure ??= `octet ${this.got + i} of the honest transfer`
      }
      this.got += piece.length
      c.consume(piece.length)
    }
  }

  get done(): boolean {
    return this.got === this.out.length && this.client?.ended === true
  }

  // ---------------------------------------------------------------- everything else

  /** Something that the users of both stacks might do now. */
  act(): void {
    const { r } = this
    const { a, b, now } = this.pair
    switch (r.below(9)) {
      case 0: {
        // A flow to be mutilated.
        const c = a.connect(
          { address: r.chance(0.5) ? ADDRESS_B : ADDRESS_B6, port: r.chance(0.8) ? 80 : 81 },
          now,
        )
        if (typeof c !== 'string') c.write(r.bytes(1 + r.below(CHUNK)))
        break
      }
      case 1: {
        const c = b.connect({ address: address(r.chance(0.5) ? '10.0.0.1' : '192.0.2.9'), port: 80 }, now)
        if (typeof c !== 'string') this.sockets.add(c)
        break
      }
      case 2:
      case 3:
        for (const c of this.sockets) {
          if (c.stateName === 'CLOSED') this.sockets.delete(c)
          else if (r.chance(0.1)) this.connection(c, b, 0)
        }
        break
      case 4: {
        const all = [...this.sockets]
        if (all.length > 0) (all[r.below(all.length)] as TcpConnection).abort()
        break
      }
      case 5: {
        const s = b.openUdp()
        if (s !== undefined) {
          s.send(r.bytes(r.below(300)), {
            address: address(r.chance(0.5) ? '10.0.0.1' : 'fd00::1'),
            port: 1 + r.below(100),
          })
          this.pair.settle()
          s.close()
        }
        break
      }
      case 6: {
        const s = b.openPing()
        if (s !== undefined) {
          s.send(address(r.chance(0.5) ? '10.0.0.1' : 'fd00::1'), 1, r.bytes(r.below(100)))
          this.pair.settle()
          if (r.chance(0.9) || b.held.ping > 8) s.close()
        }
        break
      }
    }
  }

  check(): void {
    for (const stack of [this.pair.b]) {
      const { held } = stack
      if (held.connections > LIMITS.connections) throw new Error(`${held.connections} connections`)
      if (held.bytes > bound(held)) throw new Error(`${held.bytes} octets held, ${JSON.stringify(held)}`)
    }
    if (this.failure !== undefined) throw new Error(this.failure)
  }

  /** One packet into the stack under test, at an odd place in a buffer that is spoilt afterwards. */
  inject(p: Uint8Array): void {
    const b = Buffer.alloc(p.length + 8, 0xa5)
    b.set(p, 3)
    this.pair.b.input(b, 3, p.length, this.pair.now)
    b.fill(0xa5)
  }
}

t.test(`seed ${SEED}, ${ROUNDS} rounds`, async (t) => {
  const totals: Record<string, number> = {}
  let injected = 0
  for (let round = 0; round < ROUNDS; round++) {
    const seed = SEED + round
    let last: Uint8Array<ArrayBufferLike> = new Uint8Array(0)
    try {
      const world = new World(seed)
      const { pair, r } = world
      world.start()
      for (let i = 0; i < PACKETS; i++) {
        world.allow(i / PACKETS)
        if (r.chance(0.2)) world.act()
        if (r.chance(0.005)) for (let n = r.below(50); n > 0; n--) world.inject(world.forge.syn())
        last = world.forge.next()
        if (!touchesHonest(last)) {
          world.inject(last)
          injected++
        }
        if (r.chance(0.3)) pair.pass(r.chance(0.02) ? r.below(5000) : r.below(20))
        world.check()
      }
      last = new Uint8Array(0)
      world.allow(1)
      if (!pair.run(() => world.done || world.failure !== undefined, 120_000)) {
        throw new Error(`the honest transfer did not come through`)
      }
      world.check()
      for (const [name, n] of Object.entries(pair.b.counters)) totals[name] = (totals[name] ?? 0) + n
      pair.b.close()
      pair.a.close()
      const { held } = pair.b
      if (held.connections + held.udp + held.ping + held.bytes !== 0)
        throw new Error(`left: ${JSON.stringify(held)}`)
    } catch (e) {
      t.fail(
        `FUZZ_SEED=${seed} FUZZ_ROUNDS=1: ${e instanceof Error ? e.stack : e}\nlast packet: ${toHex(last)}`,
      )
      return
    }
  }
  t.ok(injected > ROUNDS * PACKETS * 0.5, `${injected} packets, ${ROUNDS} transfers`)
  // A fuzzer that only knocks at the door would show nothing.
  for (const name of [
    'segmentsIn',
    'datagramsIn',
    'icmpErrorsIn',
    'icmpErrorsOut',
    'resetsSent',
    'outOfOrder',
    'acceptOverflows',
  ] as const) {
    t.ok((totals[name] ?? 0) > ROUNDS, `${name}: ${totals[name]}`)
  }
  t.ok((totals.malformed ?? 0) + (totals.checksumErrors ?? 0) < injected / 2, 'most of it is well-formed')
  t.comment(JSON.stringify(totals))
})
