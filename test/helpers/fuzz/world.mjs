/**
 * A stack with live connections, listeners, UDP and ping sockets, in virtual time, into which forged packets
 * go. Beside them one honest flow runs all the time and another begins at the end: both must come through.
 *
 * The stack is handed in, as built or as source, so that the tests and the long run share this.
 */
import { Forge } from './forge.mjs'
import { Random } from './random.mjs'
import { toHex } from './wire.mjs'

const MTU = 1400
const CHUNK = 4096
const HONEST_PORT = 7001
const LAST_PORT = 7002
/** One way. */
const DELAY = 3

export const LIMITS = {
  connections: 60,
  timeWait: 20,
  receiveBuffer: 32768,
  receiveBufferMax: 131072,
  sendBuffer: 32768,
  sendBufferMax: 131072,
  segmentsInFlight: 256,
  memory: 1 << 21,
  reassemblyDatagrams: 16,
  reassemblyPerSource: 4,
  reassemblyBytes: 1 << 17,
  outOfOrderRanges: 16,
  backlog: 12,
  datagramQueue: 8192,
  replyQueue: 16,
}

/** The most that {@link LIMITS} let a stack hold. A write may overshoot by a chunk; rings have whole blocks. */
function bound({ connections, udp, ping }) {
  return (
    connections * (LIMITS.receiveBufferMax + LIMITS.sendBufferMax + CHUNK + 65536) +
    (udp + ping) * 2 * LIMITS.datagramQueue +
    LIMITS.replyQueue * MTU +
    2 * LIMITS.reassemblyBytes
  )
}

/** What is written where nobody compares: views of it are cheaper than new octets. */
const NOISE = new Random(0x5eed).bytes(1 << 17)

/** Packets on their way, first in, first out. */
class Wire {
  constructor() {
    this.packets = []
    this.head = 0
    this.free = []
  }

  get next() {
    return this.packets[this.head]?.at ?? Number.POSITIVE_INFINITY
  }

  push(b, off, len, now) {
    const p = this.free.pop() ?? { at: 0, len: 0, b: new Uint8Array(MTU) }
    p.at = now + DELAY
    p.len = len
    p.b.set(b.subarray(off, off + len))
    this.packets.push(p)
  }

  take(now) {
    const p = this.packets[this.head]
    if (p === undefined || p.at > now) return undefined
    this.head++
    if (this.head > 512) {
      this.packets.splice(0, this.head)
      this.head = 0
    }
    this.free.push(p)
    return p
  }
}

/** The octet at that place of a stream. */
const octet = (key, i) => (Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(key + 1, 0x85ebca6b)) >>> 24

/** A transfer to an echo, octet by octet. */
class Honest {
  constructor(connection, key, size) {
    this.c = connection
    this.key = key
    this.size = size
    this.allowed = 0
    this.fed = 0
    this.got = 0
  }

  /** May have said so much by now. */
  allow(n) {
    this.allowed = Math.min(this.size, Math.ceil(n))
    this.feed()
  }

  feed() {
    while (this.fed < this.allowed && this.c.queued < 16384) {
      const n = Math.min(2000, this.allowed - this.fed)
      const piece = new Uint8Array(n)
      for (let i = 0; i < n; i++) piece[i] = octet(this.key, this.fed + i)
      this.fed += n
      this.c.write(piece)
      if (this.fed === this.size) this.c.end()
    }
  }

  on() {
    const { c } = this
    for (let piece = c.peek(); piece.length > 0; piece = c.peek()) {
      for (let i = 0; i < piece.length; i++) {
        if (piece[i] !== octet(this.key, this.got + i))
          throw new Error(`octet ${this.got + i} of an honest flow`)
      }
      this.got += piece.length
      c.consume(piece.length)
    }
    this.feed()
    if (c.error !== undefined) throw new Error(`an honest flow died: ${c.error}`)
  }

  get done() {
    return this.got === this.size && this.c.ended
  }

  toString() {
    return `${this.got} of ${this.size} came back, ${this.fed} written: ${JSON.stringify(this.c.info())}`
  }
}

export class World {
  /** @param stack the module of the stack; @param packets how many will be injected */
  constructor(stack, seed, packets) {
    this.module = stack
    this.r = new Random(seed)
    const { r } = this
    const { NetStack, IpAddress } = stack
    this.packets = packets
    this.injected = 0
    this.now = 1000 + r.below(1e9)
    this.forge = new Forge(r)
    this.last = new Uint8Array(0)
    this.buffer = new Uint8Array(MTU + 16).fill(0xa5)
    this.inbox = new Uint8Array(8192).fill(0xa5)
    this.toA = new Wire()
    this.toB = new Wire()
    this.mostHeld = 0
    const any = r.chance(0.3)
    /** The peer, and the stack under test. */
    this.a = new NetStack({ mtu: MTU, random: r.fill, limits: { ...LIMITS, connections: 120 } })
    this.b = new NetStack({ mtu: MTU, random: r.fill, anyAddress: any, limits: LIMITS })
    const address = (text) => IpAddress.parse(text)
    this.addresses = {
      a: [address('10.0.0.1'), address('fd00::1')],
      b: [address('10.0.0.2'), address('fd00::2')],
      stranger: [address('192.0.2.9'), address('2001:db8::9')],
    }
    for (const x of this.addresses.a) this.a.addAddress(x)
    for (const x of this.addresses.b) this.b.addAddress(x)
    this.echoes = new Set()
    this.sockets = new Set()
    this.honest = []
    this.honestPorts = new Set([HONEST_PORT, LAST_PORT])
    for (const port of this.honestPorts) this.b.listen({ port })
    this.b.listen({ port: 80 })
    this.b.listen({ port: 81, hold: true, backlog: 5 })
    if (any) this.b.listen({ port: 0, hold: r.chance(0.5) })
    this.a.listen({ port: 80 })
    this.b.openUdp({ port: 53 })
    if (any) this.b.openUdp({ any: true })
    this.size = Math.min(400_000, 2000 + packets * 4)
    this.open(HONEST_PORT, this.size)
    const [first] = this.honest
    this.until(() => first.c.stateName === 'ESTABLISHED', 30_000, 'an honest flow does not open')
  }

  /** Forges one packet and lets the stack have it, and some time pass. Throws if anything is wrong. */
  step() {
    const { r, forge, b } = this
    const i = this.injected++
    if ((i & 15) === 0) this.honest[0].allow((i / this.packets) * this.size)
    if (r.chance(0.1)) this.act()
    const n = forge.next()
    this.last = forge.b.subarray(0, n)
    this.input(b, forge.b, n)
    if (r.chance(0.004)) {
      // Many opens at once.
      for (let k = r.below(60); k > 0; k--) {
        forge.syn()
        forge.finish()
        this.input(b, forge.b, forge.len)
        this.injected++
      }
    }
    if (r.chance(0.4)) this.pass(r.chance(0.01) ? r.below(r.chance(0.05) ? 70_000 : 3000) : r.below(12))
    if ((i & 63) === 0) this.check()
  }

  /** The end: what was honest arrives, a new flow works, and after close nothing is left. */
  finish() {
    const [first] = this.honest
    this.last = new Uint8Array(0)
    first.allow(this.size)
    this.until(() => first.done, 600_000, 'the honest flow does not come through')
    // Opens that nobody meant have gone by then.
    this.pass(130_000)
    this.open(LAST_PORT, 100_000)
    const last = this.honest[1]
    last.allow(100_000)
    this.until(() => last.done, 60_000, 'a new flow does not come through')
    this.check()
    const { b, a } = this
    b.close()
    a.close()
    for (const stack of [a, b]) {
      const { pooled: _, ...held } = stack.held
      if (Object.values(held).some((n) => n !== 0)) throw new Error(`left: ${JSON.stringify(held)}`)
      if (stack.nextTimeout() !== Number.POSITIVE_INFINITY) throw new Error('a timer is left')
      if (stack.hasOutput) throw new Error('output is left')
    }
  }

  /** Where it stands, for a report. */
  toString() {
    return `packet ${this.injected}, last forged ${toHex(this.last)}; ${this.honest.join('; ')}`
  }

  // ---------------------------------------------------------------- time and packets

  /** At an odd place of a poisoned buffer that is spoilt afterwards. */
  input(stack, p, len) {
    const { inbox } = this
    inbox.set(len === p.length ? p : p.subarray(0, len), 3)
    stack.input(inbox, 3, len, this.now)
    inbox.fill(0xa5, 3, 3 + len)
  }

  /** All that can happen at this instant. */
  settle() {
    const { a, b, buffer } = this
    for (let turns = 0; turns < 20_000; turns++) {
      let moved = false
      for (let p = this.toB.take(this.now); p !== undefined; p = this.toB.take(this.now)) {
        this.input(b, p.b, p.len)
        moved = true
      }
      for (let p = this.toA.take(this.now); p !== undefined; p = this.toA.take(this.now)) {
        this.input(a, p.b, p.len)
        moved = true
      }
      for (const stack of [b, a]) {
        if (stack.nextTimeout() <= this.now) stack.handleTimeout(this.now)
        for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
          this.ready(s, stack)
          moved = true
        }
        for (let n = stack.output(buffer, 5, this.now); n > 0; n = stack.output(buffer, 5, this.now)) {
          if (n > MTU) throw new Error(`a packet of ${n} octets`)
          const wire = stack === b ? this.toA : this.toB
          wire.push(buffer, 5, n, this.now)
          if (!this.isHonest(n)) this.forge.see(buffer, 5, n, stack === b)
          buffer.fill(0xa5, 5, 5 + n)
          moved = true
        }
      }
      if (!moved) return
    }
    throw new Error('a livelock')
  }

  /** Nothing is forged for the honest flows: whoever sees a flow can break it. */
  isHonest(n) {
    const b = this.buffer
    const four = b[5] >>> 4 === 4
    const t = 5 + (four ? 20 : 40)
    const proto = b[5 + (four ? 9 : 6)]
    if (proto !== 6 || n < t - 5 + 4) return proto === 44 || (four && ((b[11] << 8) | b[12]) & 0x3fff) !== 0
    return this.honestPorts.has((b[t] << 8) | b[t + 1]) || this.honestPorts.has((b[t + 2] << 8) | b[t + 3])
  }

  pass(ms) {
    this.until(() => false, ms)
  }

  /** Runs until `done`; after `ms` throws `complaint`, if there is one. */
  until(done, ms, complaint) {
    const end = this.now + ms
    for (;;) {
      this.settle()
      if (done()) return
      const next = Math.min(this.toA.next, this.toB.next, this.a.nextTimeout(), this.b.nextTimeout())
      if (next > end) break
      this.now = Math.max(this.now, next)
    }
    this.now = end
    this.settle()
    if (!done() && complaint !== undefined) throw new Error(complaint)
  }

  check() {
    const { held } = this.b
    if (held.bytes > this.mostHeld) this.mostHeld = held.bytes
    if (held.connections > LIMITS.connections) throw new Error(`${held.connections} connections`)
    if (held.bytes > bound(held)) throw new Error(`held: ${JSON.stringify(held)}`)
  }

  // ---------------------------------------------------------------- applications

  open(port, size) {
    const to = this.addresses.b[this.r.below(2)]
    const c = this.a.connect({ address: to, port }, this.now)
    if (typeof c === 'string') throw new Error(c)
    const flow = new Honest(c, port, size)
    c.owner = flow
    this.honest.push(flow)
  }

  ready(s, stack) {
    const bits = this.module.takeReady(s)
    if (s.kind === 'listener') this.accept(s, stack)
    else if (s.kind === 'tcp') this.connection(s, stack, bits)
    else this.datagrams(s)
  }

  accept(l, stack) {
    const { r } = this
    const honest = stack === this.b && this.honestPorts.has(l.port)
    while (honest || r.chance(0.8)) {
      const c = stack.accept(l)
      if (c === undefined) return
      if (honest) this.echoes.add(c)
      else this.sockets.add(c)
      if (c.isHeld) {
        if (r.chance(0.6)) c.proceed(this.now)
        else c.refuse(r.pick(['refused', 'timed-out', 'host-unreachable', 'prohibited']), this.now)
      }
    }
  }

  connection(c, stack, bits) {
    const { r } = this
    if (c.owner instanceof Honest) {
      c.owner.on()
      return
    }
    if (this.echoes.has(c)) {
      while (c.readable > 0 && c.writable) {
        const piece = new Uint8Array(c.peek())
        c.write(piece)
        c.consume(piece.length)
      }
      if (c.ended && c.readable === 0) c.end()
      return
    }
    this.sockets.add(c)
    // The peer reads everything, so that flows live; the stack under test has readers of all kinds.
    if (c.readable > 0 && (stack === this.a || r.chance(0.8))) {
      c.consume(stack === this.a ? c.readable : r.below(c.readable + 1))
    }
    if (r.chance(0.4) && c.writable) c.write(this.noise(CHUNK))
    if (c.ended && r.chance(0.5)) c.end()
    if (r.chance(0.005)) c.abort()
    if (bits & this.module.READY_CLOSED) this.bury(c)
  }

  /** What had come before a proper end is kept for its owner, who reads it or gives it up. */
  bury(c) {
    this.sockets.delete(c)
    if (this.r.chance(0.5)) c.consume(c.readable)
    else c.abort()
  }

  datagrams(s) {
    s.takeError()
    if (this.r.chance(0.3)) return
    if (s.kind === 'ping') {
      while (s.receive() !== undefined);
      return
    }
    for (let d = s.receive(); d !== undefined; d = s.receive()) {
      if (this.r.chance(0.5)) s.send(d.data, d.from, s.any ? d.to : undefined)
      else if (s.any) this.b.refuseDatagram(d.from, d.to, 'refused', this.now)
    }
  }

  noise(most) {
    const n = 1 + this.r.below(most)
    const from = this.r.below(NOISE.length - n)
    return NOISE.subarray(from, from + n)
  }

  anySocket() {
    let n = this.r.below(this.sockets.size)
    for (const c of this.sockets) if (n-- === 0) return c
    throw new Error('no socket')
  }

  /** Something that users of the stacks do. */
  act() {
    const { r, a, b } = this
    switch (r.below(7)) {
      case 0: {
        // A flow to be mutilated.
        const c = a.connect(
          { address: this.addresses.b[r.below(2)], port: r.chance(0.8) ? 80 : 81 },
          this.now,
        )
        if (typeof c === 'string') break
        c.write(this.noise(CHUNK))
        if (r.chance(0.1)) c.setKeepAlive(1000, this.now)
        break
      }
      case 1: {
        const to = r.chance(0.8) ? this.addresses.a : this.addresses.stranger
        const c = b.connect({ address: to[r.below(2)], port: 80 }, this.now)
        if (typeof c === 'string') break
        this.sockets.add(c)
        c.write(this.noise(CHUNK))
        break
      }
      case 2:
      case 3:
      case 4:
        for (let n = 6; n > 0 && this.sockets.size > 0; n--) {
          const c = this.anySocket()
          if (c.stateName === 'CLOSED') this.bury(c)
          else {
            if (c.readable > 0) c.consume(r.below(c.readable + 1))
            if (c.writable) c.write(this.noise(r.chance(0.1) ? 60_000 : CHUNK))
            if (r.chance(0.02)) c.end()
          }
        }
        break
      case 5:
        if (this.sockets.size > 40) this.anySocket().abort()
        break
      default: {
        const to = this.addresses.a[r.below(2)]
        if (r.chance(0.5)) {
          const s = b.openUdp()
          s?.send(this.noise(3000), { address: to, port: 1 + r.below(100) })
          this.settle()
          s?.close()
        } else {
          const s = b.openPing()
          s?.send(to, 1, this.noise(100))
          this.settle()
          if (r.chance(0.9) || b.held.ping > 8) s?.close()
        }
      }
    }
  }
}
