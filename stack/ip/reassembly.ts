import { copyOf, setU8, setU16, u8 } from '../bytes.js'
import type { PacketAddresses } from '../tuple.js'
import type { Instant, StackCounters, StackLimits } from '../types.js'
import * as ipv4 from '../wire/ipv4.js'
import * as ipv6 from '../wire/ipv6.js'
import * as fragment from '../wire/ipv6-fragment.js'

/** What an object costs beside its octets, roughly. */
const DATAGRAM_COST = 512
const FRAGMENT_COST = 384
/** Fragments of one datagram: 65535 octets in fragments of the smallest MTU that hosts must take are 124. */
const MOST_FRAGMENTS = 256
/** RFC 8200 4.5 says 60 s, RFC 791 3.2 for IPv4 15 s or more, of which the usual choice is 30. */
const V6_TIMES = 2

/** The two ECN bits, and for each value its bit in a set of them. */
const NOT_ECT = 1 << 0
const CE_VALUE = 3
const CE = 1 << CE_VALUE

export interface ReassemblyOptions {
  readonly counters: StackCounters
  readonly limits: StackLimits
  /** Until an incomplete IPv4 datagram is given up, ms; twice that for IPv6. */
  readonly time: number
  /** The time for a datagram is over whose first fragment, `len` octets at the start of `b`, has come. */
  timeExceeded(a: PacketAddresses, b: Uint8Array, len: number, now: Instant): void
}

/** A datagram of which not all has come. */
interface Datagram {
  readonly addresses: PacketAddresses
  readonly id: number
  /** IPv4: part of the key. IPv6: 0. */
  readonly protocol: number
  readonly expires: Instant
  /** Where each fragment begins, ascending, and its octets. */
  starts: number[]
  pieces: Uint8Array[]
  /** Octets of all pieces. */
  received: number
  /** Length of the whole, known when the last fragment has come; else -1. */
  total: number
  /** The first fragment's headers, an IPv6 fragment header included. */
  head: Uint8Array | undefined
  /** IPv6: where in `head` the fragment header is named. */
  namedAt: number
  /** Set of the ECN values of its fragments. */
  ecn: number
  /** Memory it counts for. */
  cost: number
  /** Fragments overlapped or contradicted each other: it only stays to swallow the rest (RFC 5722 3). */
  dead: boolean
}

/**
 * Puts datagrams together from fragments (RFC 791 3.2, RFC 8200 4.5, RFC 5722). Pieces are kept apart until all
 * have come, so that memory is in proportion to what was sent, and then written one after the other into one buffer.
 */
export class Reassembly {
  private readonly options: ReassemblyOptions
  /** In the order in which they began; few enough to be looked through. */
  private readonly datagrams: Datagram[] = []
  /** May be early, never late. */
  private next: Instant = Number.POSITIVE_INFINITY
  /** Octets of memory held for fragments. */
  bytes = 0
  /** The packet put together last. Overwritten by the next one. */
  buffer = new Uint8Array(0)
  /** IPv6: where in that packet the fragment header stood. */
  stripped = 0

  constructor(options: ReassemblyOptions) {
    this.options = options
  }

  get size(): number {
    return this.datagrams.length
  }

  get nextTimeout(): Instant {
    return this.datagrams.length === 0 ? Number.POSITIVE_INFINITY : this.next
  }

  /**
   * An intact IPv4 fragment between proper addresses, its header of `header` octets at `off`.
   * @returns the length of the whole packet in {@link buffer}; 0 if it is not complete
   */
  input4(b: Uint8Array, off: number, header: number, a: PacketAddresses, now: Instant): number {
    const id = ipv4.identification(b, off)
    const start = ipv4.fragmentOffset(b, off)
    const from = off + header
    const len = ipv4.totalLength(b, off) - header
    const more = ipv4.moreFragments(b, off)
    const d = this.find(a, id, ipv4.protocol(b, off), now)
    if (!this.add(d, b, from, start, len, more, a.ecn)) return 0
    if (start === 0) d.head ??= copyOf(b, off, from)
    return this.settle(d)
  }

  /**
   * An intact IPv6 fragment between proper addresses, its fragment header at `f`, which the octet at `namedAt` names,
   * its end at `end`.
   * @returns as {@link input4}
   */
  input6(
    b: Uint8Array,
    off: number,
    f: number,
    namedAt: number,
    end: number,
    a: PacketAddresses,
    now: Instant,
  ): number {
    const from = f + fragment.FRAGMENT_HEADER
    const start = fragment.offset(b, f)
    const d = this.find(a, fragment.identification(b, f), 0, now)
    if (!this.add(d, b, from, start, end - from, fragment.more(b, f), a.ecn)) return 0
    if (start === 0 && d.head === undefined) {
      d.head = copyOf(b, off, from)
      d.namedAt = namedAt - off
    }
    return this.settle(d)
  }

  handleTimeout(now: Instant): void {
    if (now < this.next) return
    this.next = Number.POSITIVE_INFINITY
    for (let i = 0; i < this.datagrams.length; ) {
      const d = this.datagrams[i] as Datagram
      if (d.expires > now) {
        if (d.expires < this.next) this.next = d.expires
        i++
        continue
      }
      this.remove(i)
      if (d.dead) continue
      this.options.counters.reassemblyFailed++
      if (d.head === undefined) continue
      const length = this.writeFirst(d, d.head)
      this.options.timeExceeded(d.addresses, this.buffer, length, now)
    }
  }

  close(): void {
    this.datagrams.length = 0
    this.bytes = 0
    this.buffer = new Uint8Array(0)
    this.next = Number.POSITIVE_INFINITY
  }

  /** The datagram of a fragment; a new one if none has begun, for which old ones may have to go. */
  private find(a: PacketAddresses, id: number, protocol: number, now: Instant): Datagram {
    this.handleTimeout(now)
    const { datagrams } = this
    const { limits, time } = this.options
    let ofSource = 0
    let oldest = -1
    for (let i = 0; i < datagrams.length; i++) {
      const d = datagrams[i] as Datagram
      const e = d.addresses
      if (e.s3 !== a.s3 || e.s2 !== a.s2 || e.s1 !== a.s1 || e.s0 !== a.s0) continue
      if (d.id === id && d.protocol === protocol && e.family === a.family && sameDestination(e, a)) return d
      if (oldest < 0) oldest = i
      ofSource++
    }
    if (ofSource >= limits.reassemblyPerSource) this.giveUp(oldest)
    else if (datagrams.length >= limits.reassemblyDatagrams) this.giveUp(0)
    const expires = now + (a.family === 4 ? time : V6_TIMES * time)
    const d: Datagram = {
      addresses: { ...a },
      id,
      protocol,
      expires,
      starts: [],
      pieces: [],
      received: 0,
      total: -1,
      head: undefined,
      namedAt: 0,
      ecn: 0,
      cost: 0,
      dead: false,
    }
    datagrams.push(d)
    this.charge(d, DATAGRAM_COST)
    if (expires < this.next) this.next = expires
    return d
  }

  /** @returns false if the fragment adds nothing */
  private add(
    d: Datagram,
    b: Uint8Array,
    from: number,
    start: number,
    len: number,
    more: boolean,
    ecn: number,
  ): boolean {
    if (d.dead) return false
    const end = start + len
    const { starts, pieces } = d
    const count = starts.length
    let i = 0
    if (count > 0 && start > (starts[count - 1] as number)) i = count
    else while (i < count && (starts[i] as number) < start) i++
    if (i < count && starts[i] === start && (pieces[i] as Uint8Array).length === len) {
      // RFC 8200 4.5: an exact duplicate is not an overlap.
      if (more === (end !== d.total) && sameOctets(pieces[i] as Uint8Array, b, from)) return false
      this.kill(d)
      return false
    }
    const contradicts = more
      ? d.total >= 0 && end >= d.total
      : d.total >= 0 || (count > 0 && endOf(d, count - 1) > end)
    const overlaps = (i > 0 && endOf(d, i - 1) > start) || (i < count && (starts[i] as number) < end)
    if (contradicts || overlaps || count === MOST_FRAGMENTS) {
      this.kill(d)
      return false
    }
    starts.splice(i, 0, start)
    pieces.splice(i, 0, copyOf(b, from, from + len))
    d.received += len
    d.ecn |= 1 << ecn
    if (!more) d.total = end
    this.charge(d, FRAGMENT_COST + len)
    return true
  }

  /** A fragment has been added. @returns the length of the packet if that was all of it, else 0 */
  private settle(d: Datagram): number {
    const { limits, counters } = this.options
    if (d.received !== d.total) {
      while (this.bytes > limits.reassemblyBytes) this.giveUp(0)
      return 0
    }
    this.remove(this.datagrams.indexOf(d))
    const length = this.write(d)
    if (length === 0) counters.reassemblyFailed++
    else counters.reassembled++
    return length
  }

  /** @returns 0 if the parts do not make a packet */
  private write(d: Datagram): number {
    const { head } = d
    // RFC 3168 5.3: a mark must not be lost, nor given to what was not to be marked.
    if (head === undefined || (d.ecn & (CE | NOT_ECT)) === (CE | NOT_ECT)) return 0
    const four = d.addresses.family === 4
    const front = four ? head.length : head.length - fragment.FRAGMENT_HEADER
    const length = front + d.total
    if (length > (four ? ipv4.IPV4_MAX : ipv6.IPV6_HEADER + ipv6.IPV6_MAX_PAYLOAD)) return 0
    const b = this.room()
    b.set(head.subarray(0, front), 0)
    let at = front
    for (const piece of d.pieces) {
      b.set(piece, at)
      at += piece.length
    }
    const marked = (d.ecn & CE) !== 0
    if (four) {
      if (marked) setU8(b, 1, u8(b, 1) | CE_VALUE)
      ipv4.refit(b, 0, front, length, 0)
    } else {
      if (marked) setU8(b, 1, u8(b, 1) | (CE_VALUE << 4))
      setU16(b, 4, length - ipv6.IPV6_HEADER)
      setU8(b, d.namedAt, fragment.next(head, front))
      this.stripped = front
    }
    return length
  }

  /** The first fragment as it came. @returns its length */
  private writeFirst(d: Datagram, head: Uint8Array): number {
    const b = this.room()
    const piece = d.pieces[0] as Uint8Array
    b.set(head, 0)
    b.set(piece, head.length)
    return head.length + piece.length
  }

  private room(): Uint8Array {
    const most = ipv6.IPV6_HEADER + ipv6.IPV6_MAX_PAYLOAD + fragment.FRAGMENT_HEADER
    if (this.buffer.length < most) this.buffer = new Uint8Array(most)
    return this.buffer
  }

  private charge(d: Datagram, n: number): void {
    d.cost += n
    this.bytes += n
  }

  /** RFC 5722 3: all that has come is dropped, and so is what comes. */
  private kill(d: Datagram): void {
    this.options.counters.reassemblyFailed++
    d.dead = true
    d.starts = []
    d.pieces = []
    d.head = undefined
    this.charge(d, DATAGRAM_COST - d.cost)
  }

  /** For want of room. */
  private giveUp(i: number): void {
    const d = this.datagrams[i]
    if (d !== undefined && !d.dead) this.options.counters.reassemblyFailed++
    this.remove(i)
  }

  private remove(i: number): void {
    const [d] = this.datagrams.splice(i, 1)
    if (d !== undefined) this.bytes -= d.cost
  }
}

function sameDestination(a: PacketAddresses, b: PacketAddresses): boolean {
  return a.d3 === b.d3 && a.d2 === b.d2 && a.d1 === b.d1 && a.d0 === b.d0
}

function endOf(d: Datagram, i: number): number {
  return (d.starts[i] as number) + (d.pieces[i] as Uint8Array).length
}

function sameOctets(a: Uint8Array, b: Uint8Array, from: number): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== u8(b, from + i)) return false
  return true
}
