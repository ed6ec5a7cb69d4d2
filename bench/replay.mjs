/**
 * A TCP that costs next to nothing: the far end of a tunnel for measurements. It stands where a gateway has
 * its stack, answers what its few services are asked, and sends from packets made beforehand in which only
 * numbers and checksum are put in. It relies on a link that loses nothing, and says so if that is not so.
 *
 * Services by port: see {@link PORT}.
 */
import { ANSWER, BLOCK, block, matches } from './lib/pattern.mjs'

export const PORT = { SOURCE: 1001, SINK: 1002, VERIFY: 1003, ANSWER: 1004, HOLD: 1005 }

const FIN = 1
const SYN = 2
const RST = 4
const PSH = 8
const ACK = 16
const IP = 20
const TIMESTAMPS = 12
const WINDOW_SHIFT = 7
const NOP_NOP_TIMESTAMPS = 0x0101080a

/** Folded one's complement sum of 16-bit words. */
function sum(b, from, to) {
  let s = 0
  for (let i = from; i < to; i += 2) s += (b[i] << 8) | (i + 1 < to ? b[i + 1] : 0)
  while (s > 0xffff) s = (s >>> 16) + (s & 0xffff)
  return s
}

const get32 = (b, o) => (b[o] << 24) | (b[o + 1] << 16) | (b[o + 2] << 8) | b[o + 3]

function set16(b, o, v) {
  b[o] = v >>> 8
  b[o + 1] = v
}

function set32(b, o, v) {
  b[o] = v >>> 24
  b[o + 1] = v >>> 16
  b[o + 2] = v >>> 8
  b[o + 3] = v
}

const halves = (v) => (v >>> 16) + (v & 0xffff)

/** One connection. Sequence numbers are signed 32-bit integers. */
class Flow {
  constructor(key, b, ip, t) {
    this.key = key
    this.port = (b[t + 2] << 8) | b[t + 3]
    this.established = false
    this.irs = get32(b, t + 4)
    this.rcvNxt = (this.irs + 1) | 0
    this.iss = this.irs ^ 0x5bd1e995
    this.sndUna = this.iss
    this.sndNxt = (this.iss + 1) | 0
    this.window = 0
    this.shift = 0
    this.mss = 536
    this.timestamps = false
    this.tsRecent = 0
    this.scaled = false
    this.due = 0
    this.queued = false
    this.finSent = false
    this.peerFin = false
    this.answered = false
    this.received = 0
    this.place = 0
    this.readOptions(b, t + 20, t + ((b[t + 12] >>> 4) << 2))
    this.header = IP + 20 + (this.timestamps ? TIMESTAMPS : 0)
    this.segment = this.mss - (this.timestamps ? TIMESTAMPS : 0)
    // IP and TCP header of everything we send, the other way round than what came.
    this.head = new Uint8Array(this.header)
    const h = this.head
    h.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0])
    h.set(b.subarray(ip + 16, ip + 20), 12)
    h.set(b.subarray(ip + 12, ip + 16), 16)
    h.set([b[t + 2], b[t + 3], b[t], b[t + 1]], IP)
    if (this.timestamps) set32(h, IP + 20, NOP_NOP_TIMESTAMPS)
    set16(h, IP + 14, 0xffff)
    /** Packets to send in turn, and the sums of what in them does not change. */
    this.packets = []
    this.sums = []
  }

  readOptions(b, o, end) {
    while (o < end && b[o] !== 0) {
      if (b[o] === 1) {
        o++
        continue
      }
      const length = b[o + 1]
      if (length < 2) return
      if (b[o] === 2) this.mss = (b[o + 2] << 8) | b[o + 3]
      if (b[o] === 3) {
        this.shift = b[o + 2]
        this.scaled = true
      }
      if (b[o] === 8) {
        this.timestamps = true
        this.tsRecent = get32(b, o + 2)
      }
      o += length
    }
  }

  /** Makes packets for the stream from its beginning until it repeats, or for its first `bytes` octets. */
  prepare(bytes = Number.POSITIVE_INFINITY) {
    let at = 0
    do {
      const n = Math.min(this.segment, bytes - at)
      const p = new Uint8Array(this.header + n)
      p.set(this.head)
      for (let i = 0; i < n; i++) p[this.header + i] = block[(at + i) % BLOCK]
      this.seal(p)
      p[IP + 13] = ACK
      this.sums.push(this.constantSum(p))
      this.packets.push(p)
      at += n
    } while (at < bytes && at % BLOCK !== 0)
  }

  /** Lengths and the IP checksum. */
  seal(p) {
    set16(p, 2, p.length)
    set16(p, 10, 0)
    set16(p, 10, ~sum(p, 0, IP) & 0xffff)
    p[IP + 12] = (this.header - IP) << 2
  }

  /** Sum over pseudo-header, ports, header word, window, options' constant part and payload. */
  constantSum(p) {
    const t = IP
    let s = sum(p, 12, 20) + 6 + (p.length - IP) + sum(p, t, t + 4) + sum(p, t + 12, t + 16)
    if (this.timestamps) s += sum(p, t + 20, t + 24)
    s += sum(p, this.header, p.length)
    return (s >>> 16) + (s & 0xffff)
  }

  /** Copies packet `p` and puts the numbers in. */
  emit(p, constant, dst, off, now) {
    dst.set(p, off)
    const t = off + IP
    set32(dst, t + 4, this.sndNxt)
    set32(dst, t + 8, this.rcvNxt)
    let s = constant + halves(this.sndNxt) + halves(this.rcvNxt)
    if (this.timestamps) {
      const ts = Math.floor(now) | 0
      set32(dst, t + 24, ts)
      set32(dst, t + 28, this.tsRecent)
      s += halves(ts) + halves(this.tsRecent)
    }
    s = (s >>> 16) + (s & 0xffff)
    set16(dst, t + 16, ~((s >>> 16) + s) & 0xffff)
    return p.length
  }

  /** A packet without data. */
  emitBare(flags, dst, off, now) {
    const p = this.head
    this.seal(p)
    p[IP + 13] = flags
    return this.emit(p, this.constantSum(p), dst, off, now)
  }

  emitSynAck(dst, off, now) {
    const options = 4 + (this.timestamps ? TIMESTAMPS : 0) + (this.scaled ? 4 : 0)
    const p = new Uint8Array(IP + 20 + options)
    p.set(this.head.subarray(0, IP + 20))
    let o = IP + 20
    p.set([2, 4, this.mss >>> 8, this.mss & 0xff], o)
    o += 4
    if (this.timestamps) {
      set32(p, o, NOP_NOP_TIMESTAMPS)
      set32(p, o + 4, Math.floor(now) | 0)
      set32(p, o + 8, this.tsRecent)
      o += TIMESTAMPS
    }
    if (this.scaled) p.set([1, 3, 3, WINDOW_SHIFT], o)
    this.seal(p)
    p[IP + 12] = (20 + options) << 2
    p[IP + 13] = SYN | ACK
    set32(p, IP + 4, this.iss)
    set32(p, IP + 8, this.rcvNxt)
    const s = sum(p, 12, 20) + 6 + (p.length - IP) + sum(p, IP, p.length)
    set16(p, IP + 16, ~((s >>> 16) + (s & 0xffff)) & 0xffff)
    dst.set(p, off)
    return p.length
  }

  /** Room in the peer's window for the next prepared packet. */
  get hasRoom() {
    const p = this.packets[this.place]
    return p !== undefined && ((this.sndNxt - this.sndUna) | 0) + p.length - this.header <= this.window
  }
}

const DUE_SYN = 1
const DUE_ACK = 2
const DUE_FIN = 4
const DUE_ANSWER = 8

/** An `IpEndpoint`, as src/link/call.ts has it. */
export class Replay {
  /** @type {Map<number, Flow>} */
  flows = new Map()
  /** Octets taken by sinks. */
  received = 0
  /** Segments that came out of order or twice, octets that were not those of the stream. */
  faults = 0
  /** Octets that the verifying sink found right. */
  verified = 0
  #due = []
  #sources = []
  #last

  input(b, off, len, _now) {
    if (len < 40 || b[off] >>> 4 !== 4 || b[off + 9] !== 6) return
    const t = off + ((b[off] & 15) << 2)
    const key = ((b[t] << 8) | b[t + 1]) * 65536 + ((b[t + 2] << 8) | b[t + 3])
    const flags = b[t + 13]
    let flow = this.#last?.key === key ? this.#last : this.flows.get(key)
    if (flow === undefined || (flags & SYN && get32(b, t + 4) !== flow.irs)) {
      if ((flags & (SYN | ACK | RST)) !== SYN) return
      flow = new Flow(key, b, off, t)
      this.flows.set(key, flow)
    }
    this.#last = flow
    if (flags & RST) {
      this.#forget(flow)
      return
    }
    if (flags & SYN) {
      this.#owe(flow, DUE_SYN)
      return
    }
    this.#segment(flow, b, off, t, flags)
  }

  #segment(flow, b, off, t, flags) {
    const data = t + ((b[t + 12] >>> 4) << 2)
    const n = off + ((b[off + 2] << 8) | b[off + 3]) - data
    const seq = get32(b, t + 4)
    const ack = get32(b, t + 8)
    if (((ack - flow.sndUna) | 0) >= 0) {
      flow.sndUna = ack
      flow.window = ((b[t + 14] << 8) | b[t + 15]) << flow.shift
    }
    if (flow.timestamps && get32(b, t + 20) === NOP_NOP_TIMESTAMPS) flow.tsRecent = get32(b, t + 24)
    if (!flow.established) {
      flow.established = true
      if (flow.port === PORT.SOURCE) {
        flow.prepare()
        this.#sources.push(flow)
      } else if (flow.port === PORT.ANSWER) {
        flow.prepare(ANSWER)
      }
    }
    if (n > 0) {
      this.#owe(flow, DUE_ACK)
      if (seq !== flow.rcvNxt) {
        this.faults++
        return
      }
      flow.rcvNxt = (seq + n) | 0
      this.#take(flow, b, data, n)
    }
    if (flags & FIN && !flow.peerFin && ((seq + n) | 0) === flow.rcvNxt) {
      flow.peerFin = true
      flow.rcvNxt = (flow.rcvNxt + 1) | 0
      this.#owe(flow, flow.finSent || flow.answered ? DUE_ACK : DUE_FIN)
      if (flow.port === PORT.SOURCE) this.#sources = this.#sources.filter((f) => f !== flow)
    }
    if (flow.finSent && flow.peerFin && flow.due === 0 && flow.sndUna === flow.sndNxt) this.#forget(flow)
  }

  #take(flow, b, data, n) {
    if (flow.port === PORT.SINK) {
      this.received += n
    } else if (flow.port === PORT.VERIFY) {
      if (matches(b, data, n, flow.received)) this.verified += n
      else this.faults++
    } else if (flow.port === PORT.ANSWER && !flow.answered) {
      flow.answered = true
      this.#owe(flow, DUE_ANSWER)
    }
    flow.received += n
  }

  #owe(flow, what) {
    flow.due |= what
    if (flow.queued) return
    flow.queued = true
    this.#due.push(flow)
  }

  #forget(flow) {
    this.flows.delete(flow.key)
    flow.due = 0
    if (this.#last === flow) this.#last = undefined
    if (flow.port === PORT.SOURCE) this.#sources = this.#sources.filter((f) => f !== flow)
  }

  output(dst, off, now) {
    while (this.#due.length > 0) {
      const flow = this.#due[0]
      const n = this.#settle(flow, dst, off, now)
      if (flow.due === 0) {
        flow.queued = false
        this.#due.shift()
      }
      if (n > 0) return n
    }
    for (const flow of this.#sources) {
      if (!flow.hasRoom) continue
      const i = flow.place
      flow.place = i + 1 === flow.packets.length ? 0 : i + 1
      const n = flow.emit(flow.packets[i], flow.sums[i], dst, off, now)
      flow.sndNxt = (flow.sndNxt + n - flow.header) | 0
      return n
    }
    return 0
  }

  #settle(flow, dst, off, now) {
    if (flow.due & DUE_SYN) {
      flow.due &= ~DUE_SYN
      return flow.emitSynAck(dst, off, now)
    }
    if (flow.due & DUE_ANSWER) {
      // The answer is one packet with FIN; its acknowledgement covers what is due besides.
      flow.due = 0
      const p = flow.packets[0]
      const extra = FIN | PSH
      p[IP + 13] |= extra
      const n = flow.emit(p, flow.sums[0] + extra, dst, off, now)
      flow.sndNxt = (flow.sndNxt + ANSWER + 1) | 0
      flow.finSent = true
      return n
    }
    if (flow.due & DUE_FIN) {
      flow.due = 0
      const n = flow.emitBare(FIN | ACK, dst, off, now)
      flow.sndNxt = (flow.sndNxt + 1) | 0
      flow.finSent = true
      return n
    }
    if (flow.due & DUE_ACK) {
      flow.due = 0
      const n = flow.emitBare(ACK, dst, off, now)
      if (flow.finSent && flow.peerFin && flow.sndUna === flow.sndNxt) this.#forget(flow)
      return n
    }
    return 0
  }

  get hasOutput() {
    if (this.#due.length > 0) return true
    for (const flow of this.#sources) if (flow.hasRoom) return true
    return false
  }

  nextTimeout() {
    return Number.POSITIVE_INFINITY
  }

  handleTimeout(_now) {}
}
