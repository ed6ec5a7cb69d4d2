/**
 * DNS messages in place: what can be said of one without knowing the types of its records. Names that are looked up
 * for ourselves are read by message.ts; what is here carries others' questions and answers through as they are.
 */

/** Offset behind the header (RFC 1035 4.1.1). */
export const HEADER = 12
export const CLASS_IN = 1
export const TYPE_OPT = 41
const TYPE_SOA = 6

export const FLAG_QR = 0x8000
export const OPCODE = 0x7800
export const FLAG_TC = 0x0200
export const FLAG_RD = 0x0100
export const FLAG_RA = 0x0080
export const FLAG_AD = 0x0020
export const FLAG_CD = 0x0010
/** RFC 3225, in the TTL of an OPT record. */
export const EDNS_DO = 0x8000
/** RFC 6891 6.2.5 leaves it open; this fits one packet nearly everywhere. */
export const EDNS_SIZE = 1232

/** One question, ready to be put to a server. */
export interface Query {
  /** As {@link questionName} gives it: to choose a server by. */
  readonly name: string
  readonly type: number
  /** Name, type and class as they are in a message. */
  readonly question: Uint8Array
  /** Of {@link FLAG_RD}, {@link FLAG_AD}, {@link FLAG_CD}. */
  readonly flags: number
  /** DNSSEC records are wanted (RFC 3225). */
  readonly dnssec: boolean
}

/** For a name in A-labels without the final dot, which is known to be one. */
export function hostQuery(name: string, type: number): Query {
  const labels = name.split('.').map((label) => Buffer.from(label, 'latin1'))
  const parts = labels.flatMap((label) => [Buffer.of(label.length), label])
  const question = Buffer.concat([...parts, Buffer.of(0, type >> 8, type & 0xff, 0, CLASS_IN)])
  return { name, type, question, flags: FLAG_RD, dnssec: false }
}

/** With `edns`, UDP answers may be of {@link EDNS_SIZE} octets. */
export function encodeQuery(id: number, query: Query, edns: boolean): Buffer {
  const { question, flags, dnssec } = query
  const b = Buffer.alloc(HEADER + question.length + (edns ? OPT_SIZE : 0))
  b.writeUInt16BE(id, 0)
  b.writeUInt16BE(flags, 2)
  b.writeUInt16BE(1, 4)
  b.writeUInt16BE(edns ? 1 : 0, 10)
  b.set(question, HEADER)
  if (edns) {
    const o = HEADER + question.length
    b.writeUInt16BE(TYPE_OPT, o + 1)
    b.writeUInt16BE(EDNS_SIZE, o + 3)
    b.writeUInt16BE(dnssec ? EDNS_DO : 0, o + 7)
  }
  return b
}

/** Whether a message has one question, and that one: letters compare without case (RFC 4343). */
export function hasQuestion(b: Buffer, question: Uint8Array): boolean {
  if (b.length < HEADER + question.length || b.readUInt16BE(4) !== 1) return false
  // Type and class are at the end; no octet of theirs may pass for a letter.
  const name = question.length - 4
  for (let i = 0; i < question.length; i++) {
    const x = b[HEADER + i] ?? 0
    const y = question[i] ?? 0
    if (x !== y && (i >= name || lower(x) !== lower(y))) return false
  }
  return true
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet
}

/**
 * The name at the beginning of a question as text: lower case, without the final dot; octets that no host name has
 * are escaped (RFC 1035 5.1), so that no two names look alike.
 */
export function questionName(question: Uint8Array): string {
  const labels: string[] = []
  for (let at = 0; at < question.length; ) {
    const length = question[at++] ?? 0
    if (length === 0) break
    let label = ''
    for (const octet of question.subarray(at, at + length)) {
      const char = String.fromCharCode(lower(octet))
      label += /[a-z0-9_-]/.test(char) ? char : `\\${String(octet).padStart(3, '0')}`
    }
    labels.push(label)
    at += length
  }
  return labels.join('.')
}

/**
 * Offset behind the name at `o`, or -1: RFC 1035 3.1 and 4.1.4, with bounded steps. With `strict`, a dot inside a
 * label is refused: it would look like two labels once it is text.
 */
export function skipName(b: Buffer, o: number, strict = false): number {
  let at = o
  let after = -1
  let length = 1
  let lowest = o
  for (let hops = 0; hops <= MAX_HOPS; ) {
    if (at >= b.length) return -1
    const octet = b.readUInt8(at)
    if (octet === 0) return after < 0 ? at + 1 : after
    if ((octet & 0xc0) === 0xc0) {
      if (at + 2 > b.length) return -1
      const target = b.readUInt16BE(at) & 0x3fff
      if (target >= lowest || target < HEADER) return -1
      if (after < 0) after = at + 2
      at = target
      lowest = target
      hops++
    } else if ((octet & 0xc0) === 0) {
      length += octet + 1
      if (length > MAX_WIRE_NAME || at + 1 + octet > b.length) return -1
      for (let i = at + 1; strict && i <= at + octet; i++) if (b.readUInt8(i) === DOT) return -1
      at += octet + 1
    } else {
      return -1
    }
  }
  return -1
}

/** Where the parts of a well-formed message are. */
export interface Layout {
  /** Behind the question, or behind the header without one. */
  readonly answers: number
  /** Of the OPT record, -1 without one; its type is at `opt + 1`. */
  readonly opt: number
  /** Behind the OPT record. */
  readonly optEnd: number
  /** Records of the additional section before the OPT record. */
  readonly optIndex: number
  /** Behind the last record; what follows is no part of the message. */
  readonly end: number
  /** Seconds for which all of it holds, as far as its records say; undefined: nothing says how long. */
  readonly ttl: number | undefined
  /** The authority section has an SOA record. */
  readonly soa: boolean
  /** With the upper bits of an OPT record (RFC 6891 6.1.3). */
  readonly rcode: number
}

/** Reads the frame of a message; undefined if it is malformed, or has several questions or OPT records. */
export function layoutOf(b: Buffer): Layout | undefined {
  if (b.length < HEADER || b.length > MAX_MESSAGE) return undefined
  const questions = b.readUInt16BE(4)
  const before = b.readUInt16BE(6) + b.readUInt16BE(8)
  const records = before + b.readUInt16BE(10)
  if (questions > 1 || records * MIN_RECORD > b.length) return undefined
  let o = HEADER
  if (questions === 1) {
    o = skipName(b, o)
    if (o < 0 || o + 4 > b.length) return undefined
    o += 4
  }
  const answers = o
  let opt = -1
  let optEnd = -1
  let optIndex = 0
  let ttl: number | undefined
  let soa = false
  let rcode = b.readUInt16BE(2) & 0x0f
  for (let i = 0; i < records; i++) {
    const end = skipName(b, o)
    if (end < 0 || end + 10 > b.length) return undefined
    const next = end + 10 + b.readUInt16BE(end + 8)
    if (next > b.length) return undefined
    if (b.readUInt16BE(end) === TYPE_OPT) {
      // RFC 6891 6.1.1: one, of the root name, in the additional section.
      if (opt >= 0 || end !== o + 1 || i < before) return undefined
      opt = o
      optEnd = next
      optIndex = i - before
      rcode |= b.readUInt8(end + 4) << 4
    } else {
      ttl = Math.min(ttl ?? Number.POSITIVE_INFINITY, lifetime(b.readUInt32BE(end + 4)))
      // RFC 2308 5: an absence holds as long as MINIMUM says, which is the last of the data.
      if (b.readUInt16BE(end) === TYPE_SOA && i < before && i >= b.readUInt16BE(6) && next - end >= 14) {
        soa = true
        ttl = Math.min(ttl, lifetime(b.readUInt32BE(next - 4)))
      }
    }
    o = next
  }
  return { answers, opt, optEnd, optIndex, end: o, ttl, soa, rcode }
}

/** RFC 2181 8: a TTL with its top bit set counts as zero. */
export function lifetime(ttl: number | undefined): number {
  return ttl === undefined || ttl > 0x7fffffff ? 0 : ttl
}

/**
 * A server's answer for somebody else: without its OPT record and whatever comes behind that, which belong to one
 * hop (RFC 6891 6.2.6); `layout` is the answer's.
 */
export function withoutOpt(b: Buffer, layout: Layout): Buffer {
  if (layout.opt < 0) return Buffer.from(b.subarray(0, layout.end))
  const rest = Buffer.from(b.subarray(0, layout.opt))
  rest.writeUInt16BE(layout.optIndex, 10)
  return rest
}

/** Takes `seconds` from all TTLs of a well-formed message without OPT record, in place. */
export function age(b: Buffer, seconds: number): void {
  const records = b.readUInt16BE(6) + b.readUInt16BE(8) + b.readUInt16BE(10)
  let o = HEADER
  if (b.readUInt16BE(4) === 1) o = skipName(b, o) + 4
  for (let i = 0; i < records; i++) {
    const end = skipName(b, o)
    const ttl = lifetime(b.readUInt32BE(end + 4))
    b.writeUInt32BE(Math.max(0, ttl - seconds), end + 4)
    o = end + 10 + b.readUInt16BE(end + 8)
  }
}

const MAX_WIRE_NAME = 255
const MAX_MESSAGE = 65_535
/** Root name, type, class, TTL, length. */
const OPT_SIZE = 11
const MIN_RECORD = 11
const DOT = 0x2e
/** Ours; a name of 255 octets needs far fewer. */
const MAX_HOPS = 100
