import packet, { type Answer } from 'dns-packet'
import { CLASS_IN, FLAG_QR, HEADER, lifetime, OPCODE, skipName, TYPE_OPT } from './wire.js'

export type AddressType = 'A' | 'AAAA'
/** What we ask for on our own account. */
export type HostType = AddressType | 'PTR'

/** The records that concern a host's addresses and names; everything else in an answer is passed over. */
export type HostRecord =
  | { readonly type: AddressType; readonly name: string; readonly ttl: number; readonly address: string }
  | {
      readonly type: 'CNAME' | 'DNAME' | 'PTR'
      readonly name: string
      readonly ttl: number
      readonly target: string
    }

/** RFC 1035 3.3.13, and whose it is. */
export interface SoaRecord {
  readonly name: string
  readonly mname: string
  readonly rname: string
  readonly serial: number
  readonly refresh: number
  readonly retry: number
  readonly expire: number
  readonly minimum: number
}

/** A response, with names in lower case and without the final dot. */
export interface DnsResponse {
  /** With the upper bits that EDNS0 adds (RFC 6891 6.1.3). */
  readonly rcode: number
  readonly truncated: boolean
  readonly answers: readonly HostRecord[]
  /** Seconds for which the absence of an answer holds (RFC 2308 5); absent without a SOA record. */
  readonly negativeTtl: number | undefined
  readonly soa: SoaRecord | undefined
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

export const TYPE_NUMBER: Readonly<Record<HostType, number>> = { A: 1, AAAA: 28, PTR: 12 }

/** Reads a response. Undefined for anything that is not a well-formed response to a query. Never throws. */
export function decodeResponse(bytes: Uint8Array): DnsResponse | undefined {
  const copy = Buffer.from(bytes)
  const extended = defuse(copy)
  if (extended === undefined) return undefined
  try {
    const message = packet.decode(copy)
    return {
      rcode: (copy.readUInt16BE(2) & 0x0f) | (extended << 4),
      truncated: message.flag_tc,
      answers: hostRecords(message.answers ?? []),
      ...absence(message.authorities ?? []),
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
    } else if (b.readUInt16BE(end + 2) !== CLASS_IN || !isInteresting(type) || isService(b, type, data)) {
      b.writeUInt16BE(TYPE_PRIVATE, end)
    } else if (skipName(b, o, true) < 0 || !isSoundData(b, type, data, length)) {
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
    type === TYPE_NUMBER.PTR ||
    type === TYPE_CNAME ||
    type === TYPE_DNAME ||
    type === TYPE_SOA
  )
}

/** DNS-SD points at names that people gave, with whatever in them (RFC 6763 4.1); a host has none of these. */
function isService(b: Buffer, type: number, o: number): boolean {
  return type === TYPE_NUMBER.PTR && skipName(b, o, true) < 0
}

function isSoundData(b: Buffer, type: number, o: number, length: number): boolean {
  switch (type) {
    case TYPE_NUMBER.A:
      return length === 4
    case TYPE_NUMBER.AAAA:
      return length === 16
    case TYPE_SOA: {
      // The mailbox in it may well have a dot inside a label (RFC 1035 5.3), and nobody reads it as a name.
      const rname = skipName(b, o)
      const numbers = rname < 0 ? -1 : skipName(b, rname)
      return numbers >= 0 && numbers + 20 === o + length
    }
    default:
      return skipName(b, o, true) === o + length
  }
}

function hostRecords(list: readonly Answer[]): HostRecord[] {
  const records: HostRecord[] = []
  for (const { type, name, ttl, data } of list as readonly Fields[]) {
    if (typeof data !== 'string') continue
    if (type === 'A' || type === 'AAAA') {
      records.push({ type, name: canonical(name), ttl: lifetime(ttl), address: data })
    } else if (type === 'CNAME' || type === 'DNAME' || type === 'PTR') {
      records.push({ type, name: canonical(name), ttl: lifetime(ttl), target: canonical(data) })
    }
  }
  return records
}

function absence(list: readonly Answer[]): Pick<DnsResponse, 'negativeTtl' | 'soa'> {
  for (const record of list) {
    if (record.type !== 'SOA') continue
    const { mname, rname, serial = 0, refresh = 0, retry = 0, expire = 0, minimum = 0 } = record.data
    const soa = { name: canonical(record.name), mname, rname, serial, refresh, retry, expire, minimum }
    // Octets that are no text are more of them when they are written again, and a label may be too long then.
    const isText = PRINTABLE.test(`${soa.name}${mname}${rname}`)
    return {
      negativeTtl: Math.min(lifetime(record.ttl), lifetime(minimum)),
      soa: isText ? soa : undefined,
    }
  }
  return { negativeTtl: undefined, soa: undefined }
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

const PRINTABLE = /^[ -~]*$/
const TYPE_CNAME = 5
const TYPE_SOA = 6
const TYPE_DNAME = 39
/** RFC 6895 3.1: from the range for private use. */
const TYPE_PRIVATE = 0xff00
const MAX_MESSAGE = 65_535
/** Root name, type, class, TTL, length. */
const MIN_RECORD = 11
