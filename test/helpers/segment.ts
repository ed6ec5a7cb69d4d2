/**
 * Dialogues with one stack in virtual time: this segment in at time t, these segments out.
 *
 * Packets are built and read here by hand, with nothing of `stack/wire`, so that a wrong offset there
 * cannot agree with itself. Numbers in tests are relative: `seq` of what comes in and `ack` of what goes
 * out count from the other side's ISS, `ack` in and `seq` out from the stack's.
 */
import assert from 'node:assert/strict'
import {
  type AnySocket,
  IpAddress,
  type ListenOptions,
  NetStack,
  type NetStackOptions,
  type TcpConnection,
  type TcpListener,
  type TcpOptionsWanted,
  takeReady,
} from '../../stack/index.js'
import { SeededRandom } from './random.js'

/** Just in front of the wrap. */
export const PEER_ISS = 0xfffffff0
export const STACK_ADDRESS = '10.0.0.2'
export const PEER_ADDRESS = '10.0.0.1'
export const STACK_ADDRESS6 = 'fd00::2'
export const PEER_ADDRESS6 = 'fd00::1'
export const PEER_PORT = 5000
export const LISTEN_PORT = 80

const FLAG_LETTERS = 'FSRPAUEC'
/** The order in which flags are written: `SA`, `FPA`, `RA`. */
const FLAG_ORDER = 'SFRPUAEC'

/** One segment, whichever way it goes. Absent fields are defaults on the way in, and unchecked on the way out. */
export interface Segment {
  readonly flags: string
  readonly seq?: number
  readonly ack?: number
  /** The field, unscaled. */
  readonly window?: number
  readonly urgent?: number
  readonly data?: string | Uint8Array
  readonly mss?: number | undefined
  readonly shift?: number | undefined
  readonly sackOk?: boolean
  readonly ts?: readonly [val: number, ecr: number] | undefined
  readonly sack?: readonly (readonly [from: number, to: number])[]
}

/** Extras of a segment that comes in. */
export interface SegmentIn extends Segment {
  /** Options as they are, instead of those above. A length that is no multiple of 4 is padded with 0. */
  readonly options?: Uint8Array
  readonly fromPort?: number
  readonly toPort?: number
  readonly from?: string
  readonly to?: string
  /** Sent with a checksum that is wrong. */
  readonly corrupt?: boolean
  /** The four reserved bits. */
  readonly reserved?: number
}

/** What came out, read whole. */
export interface SegmentOut {
  /** Milliseconds since the dialogue began. */
  readonly at: number
  readonly flags: string
  readonly seq: number
  readonly ack: number
  readonly window: number
  readonly urgent: number
  readonly data: string
  readonly len: number
  readonly mss: number | undefined
  readonly shift: number | undefined
  readonly sackOk: boolean
  readonly ts: readonly [number, number] | undefined
  readonly sack: readonly (readonly [number, number])[]
  readonly from: string
  readonly to: string
  readonly fromPort: number
  readonly toPort: number
  /** Absolute numbers. */
  readonly rawSeq: number
  readonly rawAck: number
}

export type Expected = Partial<SegmentOut>

/** Anything else that came out (ICMP). */
export interface PacketOut {
  readonly at: number
  readonly protocol: number
  readonly from: string
  readonly to: string
  readonly payload: Uint8Array
}

export interface DialogueOptions extends Partial<NetStackOptions> {
  readonly family?: 4 | 6
  readonly seed?: number
  /** Absolute ISS of the other side. */
  readonly iss?: number
  /** The clock when the dialogue begins. */
  readonly start?: number
}

/** What the test framework must offer. */
export interface Test {
  teardown(f: () => void): void
  pass(message: string): unknown
}

export class Dialogue {
  private readonly t: Test
  readonly stack: NetStack
  readonly family: 4 | 6
  readonly start: number
  now: number
  peerIss: number
  stackIss: number | undefined
  stackPort = LISTEN_PORT
  peerPort = PEER_PORT
  /** The other side's next sequence number, relative; what `in` uses when it is told none. */
  peerNext = 0
  /** Behind the highest that the stack has sent, relative. */
  stackNext = 0
  window = 65535
  /** The other side's timestamps, if its SYN had them. */
  private tsOn = false
  /** The stack's latest TSval. */
  tsRecent = 0
  tsOffset = 0xfffffe00
  readonly segments: SegmentOut[] = []
  readonly packets: PacketOut[] = []
  /** Bits of sockets, as they were reported. */
  readonly news: [AnySocket, number][] = []
  private readonly buffer = new Uint8Array(16_384).fill(0xa5)

  constructor(t: Test, options: DialogueOptions = {}) {
    const { family = 4, seed = 7, iss = PEER_ISS, start = 10_000, ...rest } = options
    this.t = t
    this.family = family
    this.peerIss = iss
    this.start = start
    this.now = start
    this.stack = new NetStack({ mtu: 1400, random: new SeededRandom(seed).fill, ...rest })
    this.stack.addAddress(ip(STACK_ADDRESS))
    this.stack.addAddress(ip(STACK_ADDRESS6))
    t.teardown(() => this.close())
  }

  /** Closes the stack and finds nothing left of anything. */
  close(): void {
    this.stack.close()
    const { connections, udp, ping, bytes } = this.stack.held
    assert.deepEqual({ connections, udp, ping, bytes }, { connections: 0, udp: 0, ping: 0, bytes: 0 })
    assert.equal(this.stack.nextTimeout(), Number.POSITIVE_INFINITY, 'no timer is left')
    assert.equal(this.stack.output(this.buffer, 0, this.now), 0, 'nothing is sent after close')
  }

  /** Milliseconds since the beginning. */
  get time(): number {
    return this.now - this.start
  }

  get peerAddress(): string {
    return this.family === 4 ? PEER_ADDRESS : PEER_ADDRESS6
  }

  get stackAddress(): string {
    return this.family === 4 ? STACK_ADDRESS : STACK_ADDRESS6
  }

  // ---------------------------------------------------------------- time

  /** Goes to that time since the beginning, doing what falls due on the way. */
  at(time: number): void {
    const target = this.start + time
    assert.ok(target >= this.now, `time goes forward: ${time} is before ${this.time}`)
    for (let i = 0; i < 100_000; i++) {
      this.drain()
      const next = this.stack.nextTimeout()
      if (next > target) {
        this.now = target
        return
      }
      this.now = Math.max(this.now, next)
      this.stack.handleTimeout(this.now)
    }
    assert.fail('timers do not come to rest')
  }

  pass(ms: number): void {
    this.at(this.time + ms)
  }

  /** Takes all packets that the stack has now. */
  drain(): void {
    for (let i = 0; i < 10_000; i++) {
      const n = this.stack.output(this.buffer, 5, this.now)
      if (n === 0) break
      this.read(this.buffer.slice(5, 5 + n))
      this.buffer.fill(0xa5)
    }
    for (let s = this.stack.nextReady(); s !== undefined; s = this.stack.nextReady()) {
      this.news.push([s, takeReady(s)])
    }
  }

  // ---------------------------------------------------------------- in

  /** A segment of the other side's comes in now. */
  in(s: SegmentIn): void {
    const packet = this.packet(s)
    // At an odd place among other octets, so that nobody relies on where a packet lies or what follows it.
    this.buffer.fill(0xa5)
    this.buffer.set(packet, 3)
    this.stack.input(this.buffer, 3, packet.length, this.now)
    this.buffer.fill(0x5a, 3, 3 + packet.length)
  }

  /** A whole packet comes in. */
  inPacket(packet: Uint8Array): void {
    this.stack.input(packet, 0, packet.length, this.now)
  }

  /** The packet that {@link in} would feed. Moves the other side's numbers on. */
  packet(s: SegmentIn): Uint8Array {
    const data = typeof s.data === 'string' ? latin(s.data) : (s.data ?? new Uint8Array(0))
    const seq = s.seq ?? this.peerNext
    const syn = s.flags.includes('S')
    const length = data.length + (syn ? 1 : 0) + (s.flags.includes('F') ? 1 : 0)
    if (s.seq === undefined) this.peerNext += length
    else if (s.seq + length > this.peerNext && s.from === undefined) this.peerNext = s.seq + length
    if (syn && s.from === undefined && s.fromPort === undefined) this.tsOn = s.ts !== undefined
    const ack = s.flags.includes('A') ? (s.ack ?? this.stackNext) + (this.stackIss ?? 0) : (s.ack ?? 0)
    let options = s.options
    if (options === undefined) {
      const ts = 'ts' in s ? s.ts : this.tsOn && !s.flags.includes('R') ? this.stamp() : undefined
      options = writeOptions({ ...s, ts }, this.stackIss ?? 0)
    }
    return buildPacket(this.family, s.from ?? this.peerAddress, s.to ?? this.stackAddress, {
      fromPort: s.fromPort ?? this.peerPort,
      toPort: s.toPort ?? this.stackPort,
      seq: this.peerIss + seq,
      ack,
      flags: flagBits(s.flags),
      window: s.window ?? this.window,
      urgent: s.urgent ?? 0,
      options,
      data,
      corrupt: s.corrupt ?? false,
      reserved: s.reserved ?? 0,
    })
  }

  /** The timestamps that the other side would send now. */
  stamp(): readonly [number, number] {
    return [(this.tsOffset + Math.floor(this.now)) >>> 0, this.tsRecent]
  }

  // ---------------------------------------------------------------- out

  /** Exactly these segments have gone out since the last time; only the fields named are compared. */
  expect(...expected: Expected[]): void {
    this.drain()
    const got = this.segments.splice(0)
    const seen = got.map(brief)
    assert.equal(
      got.length,
      expected.length,
      `expected ${expected.length} segments, not ${got.length}:\n${seen.join('\n')}`,
    )
    expected.forEach((e, i) => {
      const g = got[i] as SegmentOut
      for (const key of Object.keys(e) as (keyof Expected)[]) {
        assert.deepEqual(g[key], e[key], `${key} of segment ${i + 1}: ${seen[i]}`)
      }
    })
    this.t.pass(expected.length === 0 ? 'nothing goes out' : `out: ${seen.join(', ')}`)
  }

  /** Nothing has gone out since the last time. */
  silent(): void {
    this.expect()
  }

  /** Takes what has gone out without a look. */
  forget(): SegmentOut[] {
    this.drain()
    return this.segments.splice(0)
  }

  /** The bits that the socket has reported since the last time. */
  bits(socket: AnySocket): number {
    this.drain()
    let bits = 0
    for (let i = this.news.length - 1; i >= 0; i--) {
      const [s, b] = this.news[i] as [AnySocket, number]
      if (s !== socket) continue
      bits |= b
      this.news.splice(i, 1)
    }
    return bits
  }

  private read(p: Uint8Array): void {
    const { protocol, from, to, payload } = readIp(p)
    if (protocol !== 6) {
      this.packets.push({ at: this.time, protocol, from, to, payload })
      return
    }
    const s = readSegment(p)
    const syn = (s.bits & 2) !== 0
    const ours = s.toPort === this.peerPort && to === this.peerAddress
    if (syn && ours && (this.stackIss === undefined || s.seq !== this.stackIss)) {
      this.stackIss = s.seq
      this.stackNext = 0
      this.stackPort = s.fromPort
    }
    const base = this.stackIss ?? 0
    const seq = relative(s.seq, base)
    const end = seq + s.data.length + (syn ? 1 : 0) + (s.bits & 1)
    if (ours && end > this.stackNext && !(s.bits & 4)) this.stackNext = end
    if (s.ts !== undefined && ours) this.tsRecent = s.ts[0]
    this.segments.push({
      at: this.time,
      flags: flagText(s.bits),
      seq,
      ack: s.bits & 16 ? relative(s.ack, this.peerIss) : s.ack,
      window: s.window,
      urgent: s.urgent,
      data: latinText(s.data),
      len: s.data.length,
      mss: s.mss,
      shift: s.shift,
      sackOk: s.sackOk,
      ts: s.ts,
      sack: s.sack.map(([l, r]) => [relative(l, this.peerIss), relative(r, this.peerIss)] as const),
      from,
      to,
      fromPort: s.fromPort,
      toPort: s.toPort,
      rawSeq: s.seq,
      rawAck: s.ack,
    })
  }

  // ---------------------------------------------------------------- states

  connect(wanted: TcpOptionsWanted = {}, port = PEER_PORT): TcpConnection {
    this.peerPort = port
    const c = this.stack.connect({ address: ip(this.peerAddress), port }, this.now, wanted)
    assert.ok(typeof c !== 'string', `connect: ${c}`)
    this.stackPort = c.tuple.localPort
    return c
  }

  listen(options: Partial<ListenOptions> = {}): TcpListener {
    const l = this.stack.listen({ port: LISTEN_PORT, ...options })
    assert.ok(l !== undefined)
    return l
  }

  /** Active open up to ESTABLISHED. `syn`: what the other side's SYN-ACK says. */
  open(syn: Partial<SegmentIn> = {}, wanted: TcpOptionsWanted = {}): TcpConnection {
    const c = this.connect(wanted)
    this.drain()
    this.in({ flags: 'SA', seq: 0, ack: 1, mss: 1360, ...syn })
    this.drain()
    assert.equal(c.stateName, 'ESTABLISHED')
    this.forget()
    this.bits(c)
    return c
  }

  /** Passive open up to ESTABLISHED and accepted. `syn`: what the other side's SYN says. */
  serve(syn: Partial<SegmentIn> = {}, listener: TcpListener = this.listen()): TcpConnection {
    this.in({ flags: 'S', seq: 0, mss: 1360, ...syn })
    this.drain()
    this.in({ flags: 'A', seq: 1, ack: 1, window: this.window })
    const c = this.stack.accept(listener)
    assert.ok(c !== undefined, 'a connection to accept')
    this.forget()
    this.bits(c)
    return c
  }
}

/** A connection in that state, by the shortest way; everything that went out has been taken. */
export function inState(t: Test, state: string, options: DialogueOptions = {}): [Dialogue, TcpConnection] {
  const d = new Dialogue(t, options)
  if (state === 'SYN-SENT') {
    const c = d.connect()
    d.forget()
    return [d, c]
  }
  if (state === 'SYN-RECEIVED') {
    // By a simultaneous open, so that somebody holds the connection.
    const c = d.connect()
    d.forget()
    d.in({ flags: 'S', seq: 0, mss: 1360 })
    d.forget()
    assert.equal(c.stateName, state)
    return [d, c]
  }
  const c = d.open()
  switch (state) {
    case 'ESTABLISHED':
      break
    case 'FIN-WAIT-1':
      c.end()
      break
    case 'FIN-WAIT-2':
      c.end()
      d.drain()
      d.in({ flags: 'A', seq: 1, ack: 2 })
      break
    case 'CLOSE-WAIT':
      d.in({ flags: 'FA', seq: 1, ack: 1 })
      break
    case 'CLOSING':
      c.end()
      d.drain()
      d.in({ flags: 'FA', seq: 1, ack: 1 })
      break
    case 'LAST-ACK':
      d.in({ flags: 'FA', seq: 1, ack: 1 })
      d.drain()
      c.end()
      break
    case 'TIME-WAIT':
      c.end()
      d.drain()
      d.in({ flags: 'FA', seq: 1, ack: 2 })
      break
    default:
      assert.fail(state)
  }
  d.forget()
  assert.equal(c.stateName, state)
  d.bits(c)
  return [d, c]
}

/** States in which both sides have seen each other's SYN. */
export const SYNCHRONISED = [
  'ESTABLISHED',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'CLOSE-WAIT',
  'CLOSING',
  'LAST-ACK',
  'TIME-WAIT',
] as const

// ---------------------------------------------------------------- octets

export function ip(text: string): IpAddress {
  const a = IpAddress.parse(text)
  assert.ok(a !== undefined, text)
  return a
}

export function latin(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0))
}

export function latinText(b: Uint8Array): string {
  let s = ''
  for (const o of b) s += String.fromCharCode(o)
  return s
}

/** `n` octets of a stream that never looks the same at two near places. */
export function stream(n: number, from = 0): Uint8Array {
  const b = new Uint8Array(n)
  for (let i = 0; i < n; i++) {
    const at = from + i
    b[i] = (at ^ (at >>> 7) ^ (at >>> 13)) & 255
  }
  return b
}

/** All that can be read, as text. */
export function readAll(c: TcpConnection): string {
  let s = ''
  const b = new Uint8Array(1 << 16)
  for (let n = c.read(b); n > 0; n = c.read(b)) s += latinText(b.subarray(0, n))
  return s
}

export interface RawSegment {
  readonly fromPort: number
  readonly toPort: number
  readonly seq: number
  readonly ack: number
  readonly flags: number
  readonly window: number
  readonly urgent: number
  readonly options: Uint8Array
  readonly data: Uint8Array
  readonly corrupt: boolean
  readonly reserved: number
}

/** A whole IP packet with that segment. */
export function buildPacket(family: 4 | 6, from: string, to: string, s: RawSegment): Uint8Array {
  const optionLength = (s.options.length + 3) & ~3
  const tcp = new Uint8Array(20 + optionLength + s.data.length)
  const v = new DataView(tcp.buffer)
  v.setUint16(0, s.fromPort)
  v.setUint16(2, s.toPort)
  v.setUint32(4, s.seq >>> 0)
  v.setUint32(8, s.ack >>> 0)
  v.setUint8(12, ((5 + optionLength / 4) << 4) | s.reserved)
  v.setUint8(13, s.flags)
  v.setUint16(14, s.window)
  v.setUint16(18, s.urgent)
  tcp.set(s.options, 20)
  tcp.set(s.data, 20 + optionLength)
  const src = ip(from).toBytes()
  const dst = ip(to).toBytes()
  v.setUint16(16, checksum(pseudoHeader(src, dst, 6, tcp.length), tcp) ^ (s.corrupt ? 1 : 0))
  return ipPacket(family, src, dst, 6, tcp)
}

export function ipPacket(
  family: 4 | 6,
  src: Uint8Array,
  dst: Uint8Array,
  protocol: number,
  payload: Uint8Array,
): Uint8Array {
  const header = family === 4 ? 20 : 40
  const p = new Uint8Array(header + payload.length)
  const v = new DataView(p.buffer)
  if (family === 4) {
    p[0] = 0x45
    v.setUint16(2, p.length)
    v.setUint16(4, 0x1234)
    p[8] = 61
    p[9] = protocol
    p.set(src, 12)
    p.set(dst, 16)
    v.setUint16(10, checksum(p.subarray(0, 20)))
  } else {
    p[0] = 0x60
    v.setUint16(4, payload.length)
    p[6] = protocol
    p[7] = 61
    p.set(src, 8)
    p.set(dst, 24)
  }
  p.set(payload, header)
  return p
}

/** An ICMP or ICMPv6 error about a packet of the stack's that starts with `quoted`. */
export function icmpError(
  family: 4 | 6,
  from: string,
  to: string,
  type: number,
  code: number,
  detail: number,
  quoted: Uint8Array,
): Uint8Array {
  const b = new Uint8Array(8 + quoted.length)
  const v = new DataView(b.buffer)
  b[0] = type
  b[1] = code
  v.setUint32(4, detail >>> 0)
  b.set(quoted, 8)
  const src = ip(from).toBytes()
  const dst = ip(to).toBytes()
  v.setUint16(2, family === 4 ? checksum(b) : checksum(pseudoHeader(src, dst, 58, b.length), b))
  return ipPacket(family, src, dst, family === 4 ? 1 : 58, b)
}

function pseudoHeader(src: Uint8Array, dst: Uint8Array, protocol: number, length: number): Uint8Array {
  const b = new Uint8Array(src.length + dst.length + (src.length === 4 ? 4 : 8))
  b.set(src, 0)
  b.set(dst, src.length)
  const v = new DataView(b.buffer)
  if (src.length === 4) {
    b[9] = protocol
    v.setUint16(10, length)
  } else {
    v.setUint32(32, length)
    b[39] = protocol
  }
  return b
}

/** RFC 1071, the plain way. */
export function checksum(...parts: Uint8Array[]): number {
  let sum = 0
  for (const p of parts) {
    for (let i = 0; i < p.length; i += 2) {
      sum += ((p[i] as number) << 8) | (p[i + 1] ?? 0)
      if (sum > 0xffff) sum -= 0xffff
    }
  }
  return ~sum & 0xffff
}

function writeOptions(s: Segment, base: number): Uint8Array {
  const out: number[] = []
  const word = (n: number): number[] => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]
  if (s.mss !== undefined && s.flags.includes('S')) out.push(2, 4, (s.mss >>> 8) & 255, s.mss & 255)
  if (s.shift !== undefined) out.push(1, 3, 3, s.shift)
  if (s.sackOk) out.push(4, 2, 1, 1)
  if (s.ts !== undefined) out.push(1, 1, 8, 10, ...word(s.ts[0]), ...word(s.ts[1]))
  if (s.sack !== undefined) {
    out.push(1, 1, 5, 2 + 8 * s.sack.length)
    for (const [l, r] of s.sack) out.push(...word(base + l), ...word(base + r))
  }
  return Uint8Array.from(out)
}

export function readIp(p: Uint8Array): {
  protocol: number
  from: string
  to: string
  payload: Uint8Array
} {
  const v = new DataView(p.buffer, p.byteOffset, p.length)
  if ((p[0] as number) >>> 4 === 4) {
    assert.equal(p[0], 0x45, 'no IP options')
    assert.equal(v.getUint16(2), p.length, 'IPv4 total length')
    assert.equal(checksum(p.subarray(0, 20)), 0, 'IPv4 header checksum')
    return {
      protocol: p[9] as number,
      from: addressText(p.subarray(12, 16)),
      to: addressText(p.subarray(16, 20)),
      payload: p.subarray(20),
    }
  }
  assert.equal((p[0] as number) >>> 4, 6)
  assert.equal(v.getUint16(4), p.length - 40, 'IPv6 payload length')
  return {
    protocol: p[6] as number,
    from: addressText(p.subarray(8, 24)),
    to: addressText(p.subarray(24, 40)),
    payload: p.subarray(40),
  }
}

/** What a packet's segment says, numbers as they are. Every length and checksum must be right. */
export function readSegment(p: Uint8Array): {
  fromPort: number
  toPort: number
  seq: number
  ack: number
  bits: number
  window: number
  urgent: number
  mss: number | undefined
  shift: number | undefined
  sackOk: boolean
  ts: readonly [number, number] | undefined
  sack: (readonly [number, number])[]
  data: Uint8Array
} {
  const four = (p[0] as number) >>> 4 === 4
  const { payload: b } = readIp(p)
  const src = four ? p.subarray(12, 16) : p.subarray(8, 24)
  const dst = four ? p.subarray(16, 20) : p.subarray(24, 40)
  if (four) assert.equal((p[6] as number) & 0xe0, 0x40, 'DF and no fragment')
  assert.equal(checksum(pseudoHeader(src, dst, 6, b.length), b), 0, 'TCP checksum')
  const v = new DataView(b.buffer, b.byteOffset, b.length)
  assert.equal((b[12] as number) & 15, 0, 'reserved bits')
  const header = ((b[12] as number) >>> 4) * 4
  assert.ok(header >= 20 && header <= b.length, 'data offset')
  let mss: number | undefined
  let shift: number | undefined
  let sackOk = false
  let ts: readonly [number, number] | undefined
  const sack: (readonly [number, number])[] = []
  for (let o = 20; o < header; ) {
    const kind = b[o] as number
    if (kind === 0) break
    if (kind === 1) {
      o++
      continue
    }
    const length = b[o + 1] as number
    assert.ok(length >= 2 && o + length <= header, `option ${kind} of length ${length}`)
    if (kind === 2) mss = v.getUint16(o + 2)
    else if (kind === 3) shift = b[o + 2] as number
    else if (kind === 4) sackOk = true
    else if (kind === 8) ts = [v.getUint32(o + 2), v.getUint32(o + 6)]
    else if (kind === 5) {
      for (let q = o + 2; q < o + length; q += 8) sack.push([v.getUint32(q), v.getUint32(q + 4)])
    } else assert.fail(`option ${kind} was never asked for`)
    o += length
  }
  return {
    fromPort: v.getUint16(0),
    toPort: v.getUint16(2),
    seq: v.getUint32(4),
    ack: v.getUint32(8),
    bits: b[13] as number,
    window: v.getUint16(14),
    urgent: v.getUint16(18),
    mss,
    shift,
    sackOk,
    ts,
    sack,
    data: b.slice(header),
  }
}

function addressText(b: Uint8Array): string {
  return IpAddress.fromBytes(b)?.toString() ?? ''
}

function relative(n: number, base: number): number {
  return (n - base) | 0
}

function flagBits(text: string): number {
  let bits = 0
  for (const c of text) {
    const i = FLAG_LETTERS.indexOf(c)
    assert.ok(i >= 0, `flag ${c}`)
    bits |= 1 << i
  }
  return bits
}

function flagText(bits: number): string {
  return [...FLAG_ORDER].filter((c) => bits & (1 << FLAG_LETTERS.indexOf(c))).join('')
}

function brief(s: SegmentOut): string {
  const sack = s.sack.map(([l, r]) => `${l}-${r}`).join(',')
  return `at ${s.at}: ${s.flags} seq ${s.seq} ack ${s.ack} window ${s.window} len ${s.len}${sack && ` sack ${sack}`}`
}
