/**
 * How much may be under way to the other end of a call.
 *
 * The outer connection loses nothing, so no loss ever tells the connections inside that they send too
 * much: they would fill whatever kernel and modem buffer, seconds of it on a slow uplink, and each answer,
 * name look-up and new connection would wait behind that. What waits in the stack instead waits in the
 * scheduler's order. No interface of Node's bounds the kernel's buffer or tells how much is in it, so the
 * driver puts marks in between (echo requests, with a number), and the other end's answers say how far
 * it has read. From them come a rate and a round trip, as BBR has them, and the bound:
 * {@link GAIN} times what the path holds, and {@link SLACK} of standing queue.
 *
 * Against an other end that does not answer there is no bound.
 */

/** Milliseconds of queue on top: turns of event loops, Wi-Fi and mobile networks come in such pieces. */
const SLACK = 20
/** The same on top of it while both directions are in use. */
const OTHER_WAY = 200
/** Times what the path holds, that may be under way: more than once, so that it stays filled after an outer loss. */
const GAIN = 1.5
/** At first, as slow start doubles. */
const FIRST_GAIN = 2
/** Octets allowed until something is known, and never less than. */
const START = 65_536
const FLOOR = 4096
/** Marks on their way, at most; a power of two. */
const RING = 64
/** Marks in a window. */
const PER_WINDOW = 8
const FIRST_SPACING = 4096
/** Marks without any answer, after which the other end counts as one that gives none. */
const TRIES = 4
/** Milliseconds for which the highest rate holds (twice at most), and after which the round trip is taken anew. */
const PERIOD = 5000
/** And the least time between two such measurements. */
const PAUSE = 1000
/** Share of what the path holds that is left in it, so that the round trip is that of an empty queue. */
const DRAINED = 0.8
/** A round trip that shrinks by more than that is measured again soon. */
const AGAIN = 0.9
/** Data keeps coming, and no answer: milliseconds after which answers are not waited for any more. */
const PATIENCE = 10_000

export class OuterWindow {
  /** Octets that may be under way. Infinity: no bound. */
  limit = Number.POSITIVE_INFINITY
  /** Octets a millisecond, 0: not known. */
  rate = 0
  /** Milliseconds from a mark to its answer with empty queues; 0: not known. */
  roundTrip = 0
  /** Octets handed out, and how many of them have arrived, as far as is known. */
  private sent = 0
  private arrived = 0
  private arrivedAt = 0
  /** When the last of them set out. */
  private arrivedFrom = 0
  /** Numbers of the next mark, and of the oldest without an answer. */
  private nextMark = 0
  private oldest = 0
  private answered = 0
  private markedTo = 0
  private readonly endOf = new Float64Array(RING)
  private readonly sentAt = new Float64Array(RING)
  private readonly arrivedThen = new Float64Array(RING)
  private readonly arrivedAtThen = new Float64Array(RING)
  private readonly arrivedFromThen = new Float64Array(RING)
  /** More was waiting when the mark was sent: the outer connection was the limit, nothing else. */
  private readonly limited = new Uint8Array(RING)
  /** Highest rates of this period and of the one before, and the newest. */
  private highest = 0
  private highestBefore = 0
  private latest = 0
  private periodFrom = 0
  /** A whole period was seen: until then less than `START` is not believed. */
  private seasoned = false
  private measuredAt = 0
  /** The round trip is to be taken: from the time when the queue is drained, by the mark that is sent then. */
  private draining = false
  private measuring = -1
  /** Round trips are longer than can be, and those of marks from this one on are to confirm it; -1: they are not. */
  private strangeFrom = -1
  /** Octets of late, each way. */
  private inward = 0
  private outward = 0
  private cameIn = 0
  private waitsFrom = -1
  private off = false

  /** Octets that may be handed out now; 0 or less: wait for an answer. */
  get room(): number {
    if (this.off || this.answered === 0) return Number.POSITIVE_INFINITY
    const { under } = this
    if (this.draining) return this.drained - under
    const room = this.limit - under
    return room < this.spacing ? 0 : room
  }

  /** The largest write: a quarter of the slack, so that what is prompt waits for no more than two of these. */
  get batch(): number {
    if (this.off) return Number.POSITIVE_INFINITY
    // Small, so that the answer tells the round trip and not the rate.
    if (this.nextMark === 0 || this.draining) return FIRST_SPACING
    return this.rate === 0 ? Number.POSITIVE_INFINITY : Math.max(FLOOR, (this.rate * SLACK) / 4)
  }

  /** Octets under way. What follows the last mark is less than a spacing, and past when that is answered. */
  private get under(): number {
    return this.oldest === this.nextMark ? 0 : this.sent - this.arrived
  }

  /** Octets from one mark to the next. */
  private get spacing(): number {
    return this.limit === Number.POSITIVE_INFINITY ? FIRST_SPACING : this.limit / PER_WINDOW
  }

  private get drained(): number {
    return Math.max(FLOOR, DRAINED * this.latest * this.roundTrip)
  }

  /** A write of `n` octets is being made up: true if a mark is to end it. */
  wantsMark(n: number): boolean {
    if (this.off || this.nextMark - this.oldest >= RING) return false
    if (this.answered === 0 && this.nextMark >= TRIES) return false
    if (this.draining && this.under <= this.drained) return true
    return this.sent + n - this.markedTo >= this.spacing
  }

  /** The number of the next mark, 32 bits. */
  get number(): number {
    return this.nextMark >>> 0
  }

  /** `n` octets go out, with a mark at their end if `marked`; `limited`: more was waiting. */
  handedOut(n: number, marked: boolean, limited: boolean, now: number): void {
    const { under } = this
    if (under === 0) {
      this.arrived = this.sent
      this.arrivedAt = now
      this.arrivedFrom = now
    }
    this.sent += n
    if (!marked) return
    const i = this.nextMark & (RING - 1)
    this.endOf[i] = this.markedTo = this.sent
    this.sentAt[i] = now
    this.arrivedThen[i] = this.arrived
    this.arrivedAtThen[i] = this.arrivedAt
    this.arrivedFromThen[i] = this.arrivedFrom
    this.limited[i] = limited ? 1 : 0
    if (this.draining && under <= this.drained) {
      this.measuring = this.nextMark
      this.draining = false
    }
    this.nextMark++
  }

  /** `n` octets have come. */
  heard(n: number, now: number): void {
    this.cameIn += n
    if (this.oldest === this.nextMark || this.answered === 0) return
    if (this.waitsFrom < 0) this.waitsFrom = now
    else if (now - this.waitsFrom > PATIENCE) this.off = true
  }

  /** The answer to mark `number`, and to all before it. */
  onAnswer(number: number, now: number): void {
    const back = (this.nextMark - number) >>> 0
    if (back === 0 || back > this.nextMark - this.oldest) return
    const mark = this.nextMark - back
    const i = mark & (RING - 1)
    this.answered++
    this.waitsFrom = -1
    this.oldest = mark + 1
    const end = this.endOf[i] as number
    this.inward += this.cameIn - this.inward / PER_WINDOW
    this.outward += end - this.arrived - this.outward / PER_WINDOW
    this.cameIn = 0
    this.arrived = end
    this.arrivedAt = now
    this.arrivedFrom = this.sentAt[i] as number
    const trip = Math.max(now - this.arrivedFrom, 0.01)
    if (mark === this.measuring || this.roundTrip === 0 || (trip < this.roundTrip && this.limited[i] === 0)) {
      // Much less than believed: then too much was left in the path this time, and the next look may find less still.
      const again = mark === this.measuring && trip < AGAIN * this.roundTrip
      this.measuredAt = again ? now - PERIOD + PAUSE : now
      this.roundTrip = trip
    }
    if (mark >= this.measuring) this.measuring = -1
    if (this.limited[i] === 1) this.onRate(mark, i, trip, now)
    this.settle()
  }

  private onRate(mark: number, i: number, trip: number, now: number): void {
    // Whichever took longer, sending or hearing of it: neither a stall nor answers that come in heaps are a rate.
    const heard = now - (this.arrivedAtThen[i] as number)
    const time = Math.max(heard, this.arrivedFrom - (this.arrivedFromThen[i] as number), trip)
    const rate = (this.arrived - (this.arrivedThen[i] as number)) / time
    this.latest = rate
    if (rate > this.highest) this.highest = rate
    if (this.periodFrom === 0) this.periodFrom = now
    if (now - this.periodFrom >= PERIOD) {
      this.highestBefore = this.highest
      this.highest = rate
      this.periodFrom = now
      this.seasoned = true
    }
    if (this.measuring >= 0 || this.draining) return
    const strange = trip > 2 * (GAIN * this.roundTrip + SLACK)
    if (!strange) {
      this.strangeFrom = -1
    } else if (this.strangeFrom < 0) {
      // A stall, or the path has become another one: the marks that set out from now on tell.
      this.strangeFrom = this.nextMark
      this.measuredAt = now - PERIOD + PAUSE
    }
    if (now - this.measuredAt < PERIOD) return
    // Not with the numbers of a stall.
    this.draining = strange ? mark >= this.strangeFrom : rate > this.rate / 2
  }

  private settle(): void {
    this.rate = Math.max(this.highest, this.highestBefore)
    const gain = this.seasoned ? GAIN : FIRST_GAIN
    // Answers wait in the other direction's queue, and are no reason to send less.
    const slack = 4 * this.inward > this.outward ? SLACK + OTHER_WAY : SLACK
    const window = this.rate * (gain * this.roundTrip + slack)
    this.limit = Math.max(window, this.seasoned ? FLOOR : START)
  }
}
