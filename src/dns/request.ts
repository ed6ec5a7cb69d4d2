/**
 * What a client of our own DNS server asks, and what it is told. Octets in, octets out; the client may be hostile.
 */
import packet, { type Answer } from 'dns-packet'
import type { HostType } from './message.js'
import { Rcode, TYPE_NUMBER } from './message.js'
import type { Outcome } from './outcome.js'
import {
  CLASS_IN,
  EDNS_DO,
  EDNS_SIZE,
  FLAG_AD,
  FLAG_CD,
  FLAG_QR,
  FLAG_RA,
  FLAG_RD,
  FLAG_TC,
  HEADER,
  layoutOf,
  OPCODE,
  type Query,
  questionName,
} from './wire.js'

/** RFC 8914 4. */
export const ExtendedError = {
  OTHER: 0,
  NOT_READY: 14,
  BLOCKED: 15,
  PROHIBITED: 18,
  NOT_SUPPORTED: 21,
  NO_REACHABLE_AUTHORITY: 22,
  NETWORK_ERROR: 23,
} as const

export interface WhyNot {
  readonly rcode: number
  readonly extended?: { readonly code: number; readonly text: string }
}

/** What is needed to answer a message at all. */
export interface Request {
  readonly id: number
  readonly flags: number
  /** As it came, to be given back as it came; empty if it could not be read. */
  readonly question: Uint8Array
  /** The client understands EDNS0. */
  readonly edns: boolean
  /** Octets that the client takes over UDP. */
  readonly size: number
  readonly dnssec: boolean
  /** What is to be looked up; otherwise `refusal` says why not. */
  readonly query: Query | undefined
  readonly refusal: WhyNot
  /** No DNS message at all behind the header, whatever its opcode: who sends such things speaks something else. */
  readonly isMalformed: boolean
}

/** Undefined: not to be answered at all, because it is no query. Never throws. */
export function readRequest(bytes: Uint8Array): Request | undefined {
  const b = Buffer.from(bytes)
  if (b.length < HEADER) return undefined
  const flags = b.readUInt16BE(2)
  if ((flags & FLAG_QR) !== 0) return undefined
  const layout = layoutOf(b)
  // RFC 6891 7: who understands it says so in every response.
  const edns = layout !== undefined && layout.opt >= 0
  const bare = {
    id: b.readUInt16BE(0),
    flags,
    question: new Uint8Array(0),
    edns,
    size: edns ? Math.max(MIN_SIZE, b.readUInt16BE(layout.opt + 3)) : MIN_SIZE,
    dnssec: false,
    query: undefined,
    isMalformed: false,
  }
  // Other opcodes may have no question (RFC 8490 5.4), or a zone in its place (RFC 2136 2.3).
  if ((flags & OPCODE) !== 0) {
    return { ...bare, isMalformed: layout === undefined, refusal: { rcode: Rcode.NOTIMP } }
  }
  if (layout === undefined || b.readUInt16BE(4) !== 1 || hasPointer(b)) {
    return { ...bare, isMalformed: true, refusal: { rcode: Rcode.FORMERR } }
  }
  const question = b.subarray(HEADER, layout.answers)
  const request = {
    ...bare,
    question,
    dnssec: edns && (b.readUInt16BE(layout.opt + 7) & EDNS_DO) !== 0,
  }
  // RFC 6891 6.1.3: version 0 is the only one.
  if (edns && b.readUInt8(layout.opt + 6) !== 0) return { ...request, refusal: { rcode: Rcode.BADVERS } }
  const type = question.readUInt16BE(question.length - 4)
  const refusal = refusalOf(type, question.readUInt16BE(question.length - 2))
  if (refusal !== undefined) return { ...request, refusal }
  const query: Query = {
    name: questionName(question),
    type,
    // Without the letters' case, so that equal questions are one.
    question: lowerName(question),
    flags: flags & (FLAG_RD | FLAG_AD | FLAG_CD),
    dnssec: request.dnssec,
  }
  return { ...request, query, refusal: { rcode: Rcode.SERVFAIL } }
}

/** A response of ours. `limit`: octets; what is longer is cut to header and question, with TC. */
export function writeAnswer(request: Request, body: Body, why: WhyNot, limit: number): Buffer {
  const tail = request.edns ? optRecord(request, why) : Buffer.alloc(0)
  const whole = Buffer.concat([header(request, body, why.rcode), request.question, body.records, tail])
  if (whole.length <= limit) return whole
  const cut = Buffer.concat([header(request, NOTHING, why.rcode), request.question, tail])
  // The text of an extended error is the first that can be missed.
  if (cut.length > limit) return writeAnswer(request, NOTHING, { rcode: why.rcode }, limit)
  if (body.records.length > 0) cut.writeUInt16BE(cut.readUInt16BE(2) | FLAG_TC, 2)
  return cut
}

/** What stands behind the question. */
export interface Body {
  readonly records: Uint8Array
  /** Of answers, authorities and the additional section, without OPT. */
  readonly counts: readonly [number, number, number]
  /** Of the header: {@link FLAG_AD}. */
  readonly flags?: number
}

export const NOTHING: Body = { records: new Uint8Array(0), counts: [0, 0, 0] }

/** The records of a well-formed response without OPT record. */
export function bodyOf(message: Buffer): Body | undefined {
  const layout = layoutOf(message)
  if (layout === undefined) return undefined
  return {
    records: message.subarray(layout.answers, layout.end),
    counts: [message.readUInt16BE(6), message.readUInt16BE(8), message.readUInt16BE(10)],
    flags: message.readUInt16BE(2) & FLAG_AD,
  }
}

/** The records that say what a look-up found. Names in `outcome` are host names. */
export function bodyOfOutcome(name: string, type: HostType, outcome: Outcome): Body {
  if (outcome.kind === 'failed') return NOTHING
  const { ttl } = outcome
  const answers: Answer[] = []
  const authorities: Answer[] = []
  if (outcome.kind === 'found') {
    let owner = name
    for (const alias of outcome.aliases) {
      answers.push({ type: 'CNAME', name: owner, ttl, data: alias })
      owner = alias
    }
    for (const data of outcome.values) answers.push({ type, name: owner, ttl, data })
  } else if (outcome.soa !== undefined) {
    const { name: zone, ...data } = outcome.soa
    // RFC 2308 5: its TTL is for how long the absence is remembered.
    authorities.push({ type: 'SOA', name: zone, ttl, data })
  }
  const message = packet.encode({ type: 'response', answers, authorities })
  return { records: message.subarray(HEADER), counts: [answers.length, authorities.length, 0] }
}

/** Signatures, answers that are not checked, and what a server knows without asking are for the server to say. */
export function isPlain({ dnssec, flags }: Query): boolean {
  return !dnssec && (flags & FLAG_CD) === 0 && (flags & FLAG_RD) !== 0
}

/**
 * Which of our own look-ups fits a query; undefined: none, it can only be handed on. So can PTR records of other names
 * than addresses', which are for names of services (RFC 6763 4.1), and no host's.
 */
export function hostTypeOf(query: Query): HostType | undefined {
  if (!/^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(query.name)) return undefined
  if (query.type === TYPE_NUMBER.PTR && !REVERSE.test(query.name)) return undefined
  for (const type of ['A', 'AAAA', 'PTR'] as const) if (TYPE_NUMBER[type] === query.type) return type
  return undefined
}

function header(request: Request, body: Body, rcode: number): Buffer {
  const b = Buffer.alloc(HEADER)
  const wantsAd = request.dnssec || (request.flags & FLAG_AD) !== 0
  const ad = wantsAd ? (body.flags ?? 0) & FLAG_AD : 0
  b.writeUInt16BE(request.id, 0)
  b.writeUInt16BE(FLAG_QR | (request.flags & (OPCODE | FLAG_RD | FLAG_CD)) | FLAG_RA | ad | (rcode & 0x0f), 2)
  b.writeUInt16BE(request.question.length === 0 ? 0 : 1, 4)
  const [answers, authorities, additionals] = body.counts
  b.writeUInt16BE(answers, 6)
  b.writeUInt16BE(authorities, 8)
  b.writeUInt16BE(additionals + (request.edns ? 1 : 0), 10)
  return b
}

/** RFC 6891 6.1.2, with an extended error (RFC 8914 2) if there is something to say. */
function optRecord(request: Request, { rcode, extended }: WhyNot): Buffer {
  const text = Buffer.from(extended?.text.slice(0, MAX_TEXT) ?? '', 'utf8')
  const b = Buffer.alloc(11 + (extended === undefined ? 0 : 6 + text.length))
  b.writeUInt16BE(41, 1)
  b.writeUInt16BE(EDNS_SIZE, 3)
  b.writeUInt8(rcode >> 4, 5)
  b.writeUInt16BE(request.dnssec ? EDNS_DO : 0, 7)
  if (extended !== undefined) {
    b.writeUInt16BE(6 + text.length, 9)
    b.writeUInt16BE(EXTENDED_ERROR, 11)
    b.writeUInt16BE(2 + text.length, 13)
    b.writeUInt16BE(extended.code, 15)
    b.set(text, 17)
  }
  return b
}

function refusalOf(type: number, dnsClass: number): WhyNot | undefined {
  const say = (rcode: number, text: string): WhyNot => ({
    rcode,
    extended: { code: ExtendedError.NOT_SUPPORTED, text },
  })
  if (dnsClass !== CLASS_IN) return say(Rcode.REFUSED, 'only names of the Internet class')
  if (type === TYPE_AXFR || type === TYPE_IXFR) return say(Rcode.REFUSED, 'no zone transfers')
  if (type === TYPE_ANY) return say(Rcode.NOTIMP, 'ask for one type (RFC 8482)')
  // RFC 6895 3.1: types of questions and of messages, none of which can be handed on.
  if (type === 0 || type === 41 || (type >= 128 && type < 256)) return say(Rcode.NOTIMP, `type ${type}`)
  return undefined
}

/** A pointer in the question can only point into the header. */
function hasPointer(b: Buffer): boolean {
  for (let at = HEADER; at < b.length; ) {
    const length = b.readUInt8(at)
    if (length === 0) return false
    if (length > 63) return true
    at += length + 1
  }
  return true
}

function lowerName(question: Uint8Array): Uint8Array {
  const lower = Buffer.from(question)
  for (let i = 0; i < lower.length - 4; i++) {
    const octet = lower.readUInt8(i)
    // Lengths of labels are below 64, and no letters.
    if (octet >= 0x41 && octet <= 0x5a) lower.writeUInt8(octet | 0x20, i)
  }
  return lower
}

const REVERSE = /^[0-9a-f.-]+\.(?:in-addr|ip6)\.arpa$/
const TYPE_IXFR = 251
const TYPE_AXFR = 252
const TYPE_ANY = 255
/** RFC 8914 2. */
const EXTENDED_ERROR = 15
/** RFC 1035 2.3.4. */
const MIN_SIZE = 512
/** Ours, characters. */
const MAX_TEXT = 200
