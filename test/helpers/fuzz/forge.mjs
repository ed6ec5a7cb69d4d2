/**
 * Packets as a hostile network may send them: changed ones of live connections, answers that were never given,
 * opens that nobody means, ICMP about anything, fragments in every order, extension headers, and noise.
 */
import {
  FRAGMENT,
  fixLength,
  fixSums,
  get16,
  get32,
  ICMP,
  ICMP6,
  put16,
  put32,
  TCP,
  UDP,
  upper,
} from './wire.mjs'

const ROOM = 4096
const REMEMBERED = 64

/** The newest packets of one direction. */
class Memory {
  constructor() {
    this.packets = Array.from({ length: REMEMBERED }, () => new Uint8Array(2048))
    this.lengths = new Int32Array(REMEMBERED)
    this.count = 0
  }

  add(b, off, len) {
    if (len > 2048) return
    const i = this.count++ % REMEMBERED
    this.packets[i].set(b.subarray(off, off + len))
    this.lengths[i] = len
  }

  pick(r) {
    return r.below(Math.min(this.count, REMEMBERED))
  }
}

const V4 = {
  own: [10, 0, 0, 2],
  peer: [10, 0, 0, 1],
  stranger: [192, 0, 2, 9],
  odd: [
    [10, 0, 0, 2],
    [224, 0, 0, 1],
    [0, 0, 0, 0],
    [127, 0, 0, 1],
    [255, 255, 255, 255],
    [240, 0, 0, 1],
  ],
}
const six = (head, last) => [...head, ...new Array(15 - head.length).fill(0), last]
const V6 = {
  own: six([0xfd], 2),
  peer: six([0xfd], 1),
  stranger: six([0x20, 1, 0x0d, 0xb8], 9),
  odd: [
    six([0xfd], 2),
    six([0xff, 2], 1),
    six([], 0),
    six([], 1),
    six([0xfe, 0x80], 9),
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1],
  ],
}

const FLAGS = [
  0x02, 0x02, 0x10, 0x10, 0x18, 0x18, 0x11, 0x12, 0x04, 0x14, 0x29, 0x00, 0x3f, 0xc2, 0x50, 0x90, 0xff,
]

export class Forge {
  constructor(r) {
    this.r = r
    /** The packet made last, in the first `len` octets. */
    this.b = new Uint8Array(ROOM)
    this.len = 0
    /** Packets that went to the stack, and those that came from it. */
    this.seen = new Memory()
    this.said = new Memory()
    /** Those that came from it and belong to open connections. */
    this.live = new Memory()
    /** Fragments that wait to be sent. */
    this.pieces = []
  }

  see(b, off, len, fromIt) {
    const memory = fromIt ? this.said : this.seen
    memory.add(b, off, len)
    const four = b[off] >>> 4 === 4
    if (fromIt && b[off + (four ? 9 : 6)] === TCP && (b[off + (four ? 33 : 53)] & 6) === 0)
      this.live.add(b, off, len)
  }

  /** Makes the next packet. @returns its length */
  next() {
    const { r } = this
    if (this.pieces.length > 0 && r.chance(this.pieces.length > 40 ? 0.8 : 0.15)) return this.piece()
    const what = r.below(100)
    if (what < 28 && this.seen.count > 0) this.change()
    else if (what < 68 && this.said.count > 0) this.answer()
    else if (what < 72) this.syn()
    else if (what < 79) this.datagram()
    else if (what < 90) this.control()
    else if (what < 94) this.anyProtocol()
    else if (what < 98) {
      this.split()
      return this.piece()
    } else return this.noise()
    if (r.chance(0.15)) this.damage()
    if (r.chance(0.97)) fixSums(this.b, this.len)
    return this.len
  }

  /** Sets the checksums of what a kind made when it was asked by name. */
  finish() {
    fixSums(this.b, this.len)
  }

  // ---------------------------------------------------------------- kinds

  /** A packet that went to the stack, again but for a thing or two. */
  change() {
    const { r, b } = this
    const i = this.seen.pick(r)
    this.len = this.seen.lengths[i]
    b.set(this.seen.packets[i].subarray(0, this.len))
    const { at, end, proto } = upper(b, this.len)
    if (proto !== TCP || at < 0 || end - at < 20) {
      this.damage()
      return
    }
    for (let n = r.below(4); n > 0; n--) this.changeTcp(at)
  }

  changeTcp(at) {
    const { r, b } = this
    switch (r.below(9)) {
      case 0:
      case 1:
        put32(b, at + 4, get32(b, at + 4) + this.offset())
        break
      case 2:
        put32(b, at + 8, get32(b, at + 8) + this.offset())
        break
      case 3:
        b[at + 13] = r.pick(FLAGS)
        break
      case 4:
        put16(b, at + 14, r.pick([0, 1, 100, 536, 65535, r.below(65536)]))
        break
      case 5:
        // The urgent pointer, its flag, and the reserved bits.
        put16(b, at + 18, r.below(65536))
        b[at + 13] |= 0x20
        b[at + 12] ^= r.below(16)
        break
      case 6:
        this.reoption(at)
        break
      case 7: {
        // Cut in front, as an overlapping retransmission; or behind.
        const header = (b[at + 12] >>> 4) * 4
        const data = this.len - at - header
        if (data <= 0 || header < 20) break
        const n = r.below(data)
        if (r.chance(0.5)) {
          b.copyWithin(at + header, at + header + n, this.len)
          put32(b, at + 4, get32(b, at + 4) + n)
        }
        this.len -= n
        fixLength(b, this.len)
        break
      }
      default: {
        // Other octets, and more of them.
        const more = r.below(60)
        for (let i = 0; i < more; i++) b[this.len + i] = r.word()
        this.len += more
        fixLength(b, this.len)
      }
    }
  }

  /** Other options behind the TCP header at `at`. */
  reoption(at) {
    const { r, b } = this
    const header = (b[at + 12] >>> 4) * 4
    if (header < 20 || at + header > this.len) return
    const data = b.slice(at + header, this.len)
    const n = this.options(at + 20, get32(b, at + 8), 0)
    b[at + 12] = ((20 + n) / 4) << 4
    const keep = Math.min(data.length, 1400)
    b.set(data.subarray(0, keep), at + 20 + n)
    this.len = at + 20 + n + keep
    if (r.chance(0.95)) fixLength(b, this.len)
  }

  /** What the other end of a live connection might have said to what the stack said last. */
  answer() {
    const { r } = this
    const memory = this.live.count > 0 && r.chance(0.8) ? this.live : this.said
    const i = memory.pick(r)
    const p = memory.packets[i]
    const { at, end, proto } = upper(p, memory.lengths[i])
    if (proto !== TCP || at < 0 || end - at < 20) {
      this.control()
      return
    }
    const four = p[0] >>> 4 === 4
    const source = four ? p.subarray(16, 20) : p.subarray(24, 40)
    const target = four ? p.subarray(12, 16) : p.subarray(8, 24)
    const seq = get32(p, at + 8)
    const data = end - at - (p[at + 12] >>> 4) * 4
    const ack = get32(p, at + 4) + data + (p[at + 13] & 3 ? 1 : 0)
    const t = this.ip(four, TCP, source, target)
    const stamped = (p[at + 12] >>> 4) * 4 >= 32
    const stamp = stamped ? get32(p, at + 24) : 0
    // The other end's own clock, as the stack saw it last: what is older is dropped at once (RFC 7323 5).
    if (stamped) this.clock = get32(p, at + 28) + r.pick([0, 0, 0, 1, 10, -1, -100])
    this.tcp(
      t,
      get16(p, at + 2),
      get16(p, at),
      seq + (r.chance(0.75) ? r.pick([0, 0, 0, 100, 1348, 1348, 2696, 1348 * r.below(20)]) : this.offset()),
      ack + (r.chance(0.75) ? r.pick([0, 0, -data, -1348, -2696]) : this.offset()),
      r.chance(0.7) ? r.pick([0x10, 0x10, 0x18, 0x18, 0x50, 0x11]) : r.pick(FLAGS),
      stamp,
      r.pick([0, 0, 1, 100, 1348, 1348, r.below(1300)]),
    )
  }

  /** An open by an end that is likely not to answer. */
  syn() {
    const { r } = this
    const four = r.chance(0.6)
    const family = four ? V4 : V6
    const source = r.chance(0.1) ? r.pick(family.odd) : r.pick([family.peer, family.stranger])
    const t = this.ip(four, TCP, source, family.own)
    const port = r.pick([80, 80, 80, 81, 7000, r.below(65536)])
    const flags = r.chance(0.8) ? 2 : r.pick(FLAGS)
    this.tcp(
      t,
      r.chance(0.3) ? 2000 + r.below(8) : r.below(65536),
      port,
      this.word(),
      this.word(),
      flags,
      0,
      0,
    )
  }

  datagram() {
    const { r, b } = this
    const four = r.chance(0.5)
    const family = four ? V4 : V6
    const source = r.chance(0.1) ? r.pick(family.odd) : r.pick([family.peer, family.stranger])
    const t = this.ip(four, UDP, source, r.chance(0.1) ? r.pick(family.odd) : family.own)
    const n = r.pick([0, 1, 12, 100, 1200])
    put16(b, t, r.pick([0, 53, 1024 + r.below(100)]))
    put16(b, t + 2, r.pick([53, 53, 53, 0, 9999, r.below(65536)]))
    put16(b, t + 4, r.chance(0.9) ? 8 + n : r.below(65536))
    this.noiseAt(t + 8, n)
    this.done(t + 8 + n)
  }

  /** ICMP: echoes, and errors about what the stack said. */
  control() {
    const { r, b } = this
    const quoted = this.said.count > 0 ? this.said.pick(r) : -1
    const q = quoted < 0 ? this.b.slice(0, 48) : this.said.packets[quoted]
    const length = quoted < 0 ? 48 : this.said.lengths[quoted]
    const four = quoted < 0 ? r.chance(0.5) : r.chance(0.95) === (q[0] >>> 4 === 4)
    const family = four ? V4 : V6
    const source = r.chance(0.5) ? family.peer : r.chance(0.9) ? family.stranger : r.pick(family.odd)
    const t = this.ip(four, four ? ICMP : ICMP6, source, family.own)
    b[t] = four
      ? r.pick([3, 3, 3, 3, 4, 5, 11, 12, 8, 0, r.below(256)])
      : r.pick([1, 1, 2, 2, 2, 3, 4, 128, 129, 137, r.below(256)])
    b[t + 1] = b[t] === 3 && four && r.chance(0.5) ? 4 : b[t] === 2 ? 0 : r.below(16)
    put32(b, t + 4, r.pick([0, 68, 296, 552, 576, 1000, 1280, 1300, 1399, 1400, 65535, r.word()]))
    const n = Math.min(length, r.chance(0.5) ? 28 + (four ? 0 : 20) : r.below(length + 1), 1200)
    b.set(q.subarray(0, n), t + 8)
    const at = t + 8 + (four ? 20 : 40)
    if (n > 28 && r.chance(0.2)) put32(b, at + 4, get32(b, at + 4) + this.offset())
    if (r.chance(0.2) && n > 0) b[t + 8 + r.below(n)] = r.word()
    this.done(t + 8 + n)
  }

  anyProtocol() {
    const { r } = this
    const four = r.chance(0.5)
    const family = four ? V4 : V6
    const source = r.chance(0.2) ? r.pick(family.odd) : r.pick([family.peer, family.stranger])
    const t = this.ip(four, r.below(256), source, r.chance(0.2) ? r.pick(family.odd) : family.own)
    const n = r.pick([0, 4, 40, 300])
    this.noiseAt(t, n)
    this.done(t + n)
  }

  noise() {
    const { r } = this
    this.len = 1 + r.below(200)
    this.noiseAt(0, this.len)
    if (r.chance(0.7)) this.b[0] = r.chance(0.5) ? 0x45 : 0x60
    return this.len
  }

  // ---------------------------------------------------------------- fragments

  /** Cuts a good packet to pieces and queues them, in some order, some twice, some with other octets, some never. */
  split() {
    const { r, b } = this
    const kind = r.below(4)
    if (kind === 0 && this.seen.count > 0) this.change()
    else if (kind === 1) this.datagram()
    else if (kind === 2) this.control()
    else if (this.said.count > 0) this.answer()
    else this.datagram()
    fixSums(b, this.len)
    const four = b[0] >>> 4 === 4
    const start = four ? (b[0] & 15) * 4 : 40
    if (start < 20 || this.len <= start) return
    const whole = b.slice(0, this.len)
    const id = r.chance(0.8) ? r.word() : r.below(3)
    const step = 8 * (1 + r.below(r.chance(0.3) ? 3 : 80))
    for (let from = start; from < whole.length; from += step) {
      const to = Math.min(whole.length, from + step + (r.chance(0.05) ? 8 * r.below(4) : 0))
      if (r.chance(0.04)) continue
      this.pieces.push(
        fragment(whole, start, from, to, id, four, r.chance(0.02) ? r.chance(0.5) : to < whole.length),
      )
      if (r.chance(0.08)) {
        const again = fragment(whole, start, from, to, id, four, to < whole.length)
        if (r.chance(0.5)) again[again.length - 1] ^= 0x55
        this.pieces.push(again)
      }
      if (this.pieces.length > 60) break
    }
  }

  piece() {
    const { r, b, pieces } = this
    const i = r.chance(0.7) ? 0 : r.below(pieces.length)
    const p = pieces[i]
    if (p === undefined) return this.noise()
    pieces.splice(i, 1)
    this.len = Math.min(p.length, ROOM)
    b.set(p.subarray(0, this.len))
    if (r.chance(0.03)) this.damage()
    fixSums(b, this.len)
    return this.len
  }

  // ---------------------------------------------------------------- parts

  /** An IP header, sometimes with options or extension headers. @returns where its upper layer begins */
  ip(four, proto, source, target) {
    const { r, b } = this
    if (four) {
      const options = r.chance(0.05) ? 4 * r.below(11) : 0
      b[0] = 0x45 + options / 4
      b[1] = r.chance(0.8) ? 0 : r.below(256)
      put16(b, 4, r.word())
      put16(b, 6, r.chance(0.95) ? 0x4000 : r.below(65536))
      b[8] = r.chance(0.95) ? 64 : r.below(256)
      b[9] = proto
      b.set(source, 12)
      b.set(target, 16)
      this.noiseAt(20, options)
      if (options > 0 && r.chance(0.7)) b.fill(1, 20, 20 + options)
      return 20 + options
    }
    put32(b, 0, 0x60000000 + (r.chance(0.8) ? 0 : r.below(1 << 28)))
    b[7] = r.chance(0.95) ? 64 : r.below(256)
    b.set(source, 8)
    b.set(target, 24)
    let pointer = 6
    let at = 40
    if (r.chance(0.15)) {
      for (let n = r.below(r.chance(0.1) ? 20 : 4); n > 0; n--) {
        const kind = r.pick([0, 43, 60, 60, 60, 51, 135, FRAGMENT])
        const words = r.below(3)
        b[pointer] = kind
        pointer = at
        this.noiseAt(at, 8 * words + 8)
        // Pad1 all through, mostly: what a receiver may skip.
        if (r.chance(0.6)) b.fill(0, at + 2, at + 8 * words + 8)
        b[at + 1] = kind === FRAGMENT ? 0 : r.chance(0.97) ? words : r.below(256)
        at += 8 * words + 8
      }
    }
    b[pointer] = proto
    return at
  }

  tcp(t, sport, dport, seq, ack, flags, echo, data) {
    const { r, b } = this
    put16(b, t, sport)
    put16(b, t + 2, dport)
    put32(b, t + 4, seq)
    put32(b, t + 8, ack)
    b[t + 13] = flags
    put16(b, t + 14, r.pick([0, 1, 1000, 65535, r.below(65536)]))
    put16(b, t + 18, r.chance(0.9) ? 0 : r.word())
    const n = this.options(t + 20, ack, echo)
    b[t + 12] = ((20 + n) / 4) << 4
    this.noiseAt(t + 20 + n, data)
    this.done(t + 20 + n + data)
  }

  /** TCP options at `o`. @returns their octets, a multiple of 4 */
  options(o, ack, echo) {
    const { r, b } = this
    let n = 0
    if (r.chance(0.85)) {
      // As stacks of today send them on every segment.
      put16(b, o, 0x0101)
      put16(b, o + 2, 0x080a)
      put32(b, o + 4, r.chance(0.9) ? this.clock : r.word())
      put32(b, o + 8, echo)
      n = 12
    }
    for (let k = r.chance(0.5) ? 0 : r.below(5); k > 0; k--) {
      let take
      switch (r.below(8)) {
        case 0:
          b[o + n] = 2
          b[o + n + 1] = 4
          put16(b, o + n + 2, r.pick([0, 1, 64, 536, 1360, 65535]))
          take = 4
          break
        case 1:
          b[o + n] = 3
          b[o + n + 1] = 3
          b[o + n + 2] = r.pick([0, 7, 14, 15, 255])
          take = 3
          break
        case 2:
          b[o + n] = 4
          b[o + n + 1] = 2
          take = 2
          break
        case 3:
        case 4:
        case 5: {
          const blocks = 1 + r.below(4)
          b[o + n] = 5
          b[o + n + 1] = 2 + 8 * blocks
          let edge = ack + (r.chance(0.5) ? 1348 * (r.below(20) - 4) : this.offset())
          for (let i = 0; i < blocks; i++) {
            put32(b, o + n + 2 + 8 * i, edge)
            edge += r.chance(0.8) ? 1348 * (1 + r.below(4)) : this.offset()
            put32(b, o + n + 6 + 8 * i, edge)
            edge += r.chance(0.8) ? 1348 * r.below(4) : this.offset()
          }
          take = 2 + 8 * blocks
          break
        }
        case 6:
          b[o + n] = r.below(256)
          b[o + n + 1] = r.below(42)
          this.noiseAt(o + n + 2, 6)
          take = 8
          break
        default:
          b[o + n] = r.below(2)
          take = 1
      }
      if (n + take > 40) break
      n += take
    }
    while (n & 3) b[o + n++] = 0
    return n
  }

  /** A timestamp that the next segment may have. */
  clock = 1

  /** How far off a number is. */
  offset() {
    const { r } = this
    switch (r.below(6)) {
      case 0:
        return r.pick([1, -1, 2, -2])
      case 1:
        return r.below(6000) - 3000
      case 2:
        return r.below(140_000) - 70_000
      case 3:
        return r.pick([65535, 65536, 0x7fffffff, 0x80000000, -65536])
      case 4:
        return 1348 * (r.below(60) - 20)
      default:
        return r.chance(0.3) ? r.word() : 0
    }
  }

  word() {
    return this.r.pick([0, 1, 0x7fffffff, 0x80000000, 0xffffffff, this.r.word(), this.r.word()])
  }

  /** Any octets changed, cut or added. */
  damage() {
    const { r, b } = this
    for (let n = 1 + r.below(3); n > 0 && this.len > 0; n--) {
      const header = b[0] >>> 4 === 4 ? 20 : 40
      const at = r.chance(0.8) ? r.below(Math.min(this.len, header + 40)) : r.below(this.len)
      switch (r.below(6)) {
        case 0:
          b[at] = r.word()
          break
        case 1:
          b[at] ^= 1 << r.below(8)
          break
        case 2:
          b[at] = r.pick([0, 1, 0x7f, 0x80, 0xff])
          break
        case 3:
          put32(b, at, get32(b, at) + this.offset())
          break
        case 4:
          this.len = r.below(this.len + 1)
          if (r.chance(0.7)) fixLength(b, this.len)
          break
        default: {
          const more = r.below(20)
          if (this.len + more > ROOM - 64) break
          this.noiseAt(this.len, more)
          this.len += more
          if (r.chance(0.7)) fixLength(b, this.len)
        }
      }
    }
  }

  noiseAt(o, n) {
    const { r, b } = this
    for (let i = 0; i < n; i += 4) put32(b, o + i, r.word())
  }

  done(len) {
    this.len = len
    if (this.r.chance(0.99)) fixLength(this.b, len)
  }
}

/** One fragment of a packet whose header ends at `start`: the octets from `from` to `to`. */
function fragment(whole, start, from, to, id, four, more) {
  const field = (from - start) & 0xfff8
  const header = four ? start : start + 8
  const p = new Uint8Array(header + to - from)
  p.set(whole.subarray(0, start))
  p.set(whole.subarray(from, to), header)
  if (four) {
    put16(p, 4, id)
    put16(p, 6, (field >>> 3) | (more ? 0x2000 : 0))
  } else {
    p[40] = p[6]
    p[6] = FRAGMENT
    p[41] = 0
    put16(p, 42, field | (more ? 1 : 0))
    put32(p, 44, id)
  }
  fixLength(p, p.length)
  return p
}
