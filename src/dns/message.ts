import packet, { type Answer } from 'dns-packet'

export type AddressType = 'A' | 'AAAA'

/** The records that concern a host's addresses; everything else in an answer is passed over. */
export type HostRecord =
  | { readonly type: AddressType; readonly name: string; readonly ttl: number; readonly address: string }
  | {
      readonly type: 'CNAME' | 'DNAME'
      readonly name: string
      readonly ttl: number
      readonly target: string
    }

/** A response, with names in lower case and without the final dot. */
export interface DnsResponse {
  readonly id: number
  /** With the upper bits that EDNS0 adds (RFC 6891 6.1.3). */
  readonly rcode: number
  readonly truncated: boolean
  /** Absent if the message has no question, as some servers' error replies. */
  readonly question: { readonly name: string; readonly type: number; readonly class: number } | undefined
  readonly answers: readonly HostRecord[]
  /** Seconds for which the absence of an answer holds (RFC 2308 5); absent without a SOA record. */
  readonly negativeTtl: number | undefined
}

/** RFC 1035 4.1.1 and 6895; only those that we treat apart. */
export const Rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const

export const TYPE_NUMBER: Readonly<Record<AddressType, number>> = { A: 1, AAAA: 28 }

/** A recursive query for one name. With `edns`, UDP answers may be of {@link EDNS_SIZE} octets. */
export function encodeQuery(id: number, name: string, type: AddressType, edns: boolean): Buffer {
  return packet.encode({
    type: 'query',
    id,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name, type, class: 'IN' }],
    additionals: edns
      ? [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: EDNS_SIZE,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options: [],
          },
        ]
      : [],
  })
}

/** Reads a response. Undefined for anything that is not a well-formed response to a query. Never throws. */
export function decodeResponse(bytes: Uint8Array): DnsResponse | undefined {
  const copy = Buffer.from(bytes)
  const extended = defuse(copy)
  if (extended === undefined) return undefined
  try {
    const message = packet.decode(copy)
    const asked = message.questions?.[0]
    const typeOffset = asked === undefined ? 0 : skipName(copy, HEADER)
    return {
      id: copy.readUInt16BE(0),
      rcode: (copy.readUInt16BE(2) & 0x0f) | (extended << 4),
      truncated: message.flag_tc,
      question:
        asked === undefined
          ? undefined
          : {
              name: canonical(asked.name),
              type: copy.readUInt16BE(typeOffset),
              class: copy.readUInt16BE(typeOffset + 2),
            },
      answers: hostRecords(message.answers ?? []),
      negativeTtl: negativeTtl(message.authorities ?? []),
    }
  } catch {
    return undefined
  }
}

/**
 * Makes a message safe for dns-packet, in place; undefined if it is malformed.
 *
 * The library trusts a message in five ways that a hostile server could use: it allocates by the counts
 * of the header; it bounds compression pointers only by their going backwards, so that each of thousands
 * of names may take thousands of steps; it ignores the stated length of A, AAAA and name data and
 * reads on past them; it fails as a whole on one odd record of a type that nobody asked for; and it joins labels by dots
 * whatever octets they hold. Here lengths and counts are checked against the message, names are bounded,
 * and records without interest are given a private type, which it hands on as bare octets.
 *
 * Returns the upper eight bits of the response code.
 */
function defuse(b: Buffer): number | undefined {
  if (b.length < HEADER || b.length > MAX_MESSAGE) return undefined
  const flags = b.readUInt16BE(2)
  if ((flags & FLAG_QR) === 0 || (flags & OPCODE) !== 0) return undefined
  const questions = b.readUInt16BE(4)
  const answers = b.readUInt16BE(6)
  const authorities = b.readUInt16BE(8)
  const additionals = b.readUInt16BE(10)
  if (questions > 1) return undefined
  const records = answers + authorities + additionals
  if (records * MIN_RECORD > b.length) return undefined
  let o = HEADER
  if (questions === 1) {
    o = skipName(b, o)
    if (o < 0 || o + 4 > b.length) return undefined
    o += 4
  }
  let extended = 0
  for (let i = 0; i < records; i++) {
    const end = skipName(b, o)
    if (end < 0 || end + 10 > b.length) return undefined
    const type = b.readUInt16BE(end)
    const length = b.readUInt16BE(end + 8)
    const data = end + 10
    if (data + length > b.length) return undefined
    if (i >= answers + authorities) {
      if (type === TYPE_OPT) extended = b.readUInt8(end + 4)
    } else if (b.readUInt16BE(end + 2) !== CLASS_IN || !isInteresting(type)) {
      b.writeUInt16BE(TYPE_PRIVATE, end)
    } else if (!isSoundData(b, type, data, length)) {
      return undefined
    }
    o = data + length
  }
  // Nothing of the additional section is used but the response code.
  b.writeUInt16BE(0, 10)
  return extended
}

function isInteresting(type: number): boolean {
  return (
    type === TYPE_NUMBER.A ||
    type === TYPE_NUMBER.AAAA ||
    type === TYPE_CNAME ||
    type === TYPE_DNAME ||
    type === TYPE_SOA
  )
}

function isSoundData(b: Buffer, type: number, o: number, length: number): boolean {
  switch (type) {
    case TYPE_NUMBER.A:
      return length === 4
    case TYPE_NUMBER.AAAA:
      return length === 16
    case TYPE_SOA: {
      const rname = skipName(b, o)
      const numbers = rname < 0 ? -1 : skipName(b, rname)
      return numbers >= 0 && numbers + 20 === o + length
    }
    default:
      return skipName(b, o) === o + length
  }
}

/** Offset behind the name at `o`, or -1: RFC 1035 3.1 and 4.1.4, with bounded steps. */
function skipName(b: Buffer, o: number): number {
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
      // A dot inside a label would look like two labels once it is text.
      for (let i = at + 1; i <= at + octet; i++) if (b.readUInt8(i) === DOT) return -1
      at += octet + 1
    } else {
      return -1
    }
  }
  return -1
}

function hostRecords(list: readonly Answer[]): HostRecord[] {
  const records: HostRecord[] = []
  for (const { type, name, ttl, data } of list as readonly Fields[]) {
    if (typeof data !== 'string') continue
    if (type === 'A' || type === 'AAAA') {
      records.push({ type, name: canonical(name), ttl: lifetime(ttl), address: data })
    } else if (type === 'CNAME' || type === 'DNAME') {
      records.push({ type, name: canonical(name), ttl: lifetime(ttl), target: canonical(data) })
    }
  }
  return records
}

function negativeTtl(list: readonly Answer[]): number | undefined {
  for (const record of list) {
    if (record.type === 'SOA') return Math.min(lifetime(record.ttl), lifetime(record.data.minimum))
  }
  return undefined
}

/** RFC 2181 8: a TTL with its top bit set counts as zero. */
function lifetime(ttl: number | undefined): number {
  return ttl === undefined || ttl > 0x7fffffff ? 0 : ttl
}

function canonical(name: string): string {
  return (name.endsWith('.') ? name.slice(0, -1) : name).toLowerCase()
}

interface Fields {
  readonly type: string
  readonly name: string
  readonly ttl?: number
  readonly data?: unknown
}

// RFC 1035 4.1
const HEADER = 12
const FLAG_QR = 0x8000
const OPCODE = 0x7800
const TYPE_CNAME = 5
const TYPE_SOA = 6
const TYPE_DNAME = 39
const TYPE_OPT = 41
export const CLASS_IN = 1
/** RFC 6895 3.1: from the range for private use. */
const TYPE_PRIVATE = 0xff00
const MAX_WIRE_NAME = 255
const MAX_MESSAGE = 65535
/** Root name, type, class, TTL, length. */
const MIN_RECORD = 11
const DOT = 0x2e
/** Ours; a name of 255 octets needs far fewer. */
const MAX_HOPS = 100
/** RFC 6891 6.2.5 leaves it open; this fits one packet nearly everywhere. */
export const EDNS_SIZE = 1232
