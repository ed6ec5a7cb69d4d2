import type { Instant } from './types.js'

/** Something that may have packets to send. The fields named `sched…` belong to the scheduler. */
export interface Emitter {
  /**
   * Writes the next packet it may send now at `off` (room for an MTU).
   * @returns its length; 0 if there is nothing, then it is asked again only after `schedule`
   */
  emit(dst: Uint8Array, off: number, now: Instant): number
  /** Wants to be heard before bulk senders: a pure acknowledgement or a handshake is due. */
  readonly prompt: boolean
  schedNext: Emitter | undefined
  schedPrev: Emitter | undefined
  /** 0 not queued, else the queue's number. */
  schedQueue: number
  /** Octets it may still send before its turn is over. */
  schedCredit: number
}

const PROMPT = 1
const FRESH = 2
const BULK = 3
/** In the bulk queue, and with an acknowledgement due: heard at once without losing or gaining a place. */
const URGENT = 4

/** Turns of quiet senders in a row, after which a packet of a bulk sender goes. */
const LEAD = 4

/**
 * Whose packet goes next: due acknowledgements and handshakes, then senders that were quiet, then bulk
 * senders in turn, who get a packet in now and then whatever goes before them. The idea of new and old flows with a quantum is that of RFC 8290 4.2.
 *
 * Nothing is worked out in advance: whoever may have something is queued, asked, and dropped from the
 * queue when it has nothing.
 */
export class Scheduler {
  private readonly head: (Emitter | undefined)[] = [undefined, undefined, undefined, undefined]
  private readonly tail: (Emitter | undefined)[] = [undefined, undefined, undefined, undefined]
  /** Those with {@link URGENT}, in the order in which it came up. */
  private readonly urgent: Emitter[] = []
  /** Octets for a turn; a quiet sender has one such turn before it counts as bulk. */
  private readonly quantum: number
  /** Octets that quiet senders have sent while bulk waited. */
  private ahead = 0

  constructor(quantum = 3000) {
    this.quantum = quantum
  }

  get idle(): boolean {
    return this.head[PROMPT] === undefined && this.head[FRESH] === undefined && this.head[BULK] === undefined
  }

  schedule(e: Emitter): void {
    if (e.schedQueue === 0) {
      e.schedCredit = this.quantum
      this.append(e.prompt ? PROMPT : FRESH, e)
    } else if (e.prompt && e.schedQueue === BULK) {
      e.schedQueue = URGENT
      this.urgent.push(e)
    }
  }

  unschedule(e: Emitter): void {
    if (e.schedQueue === 0) return
    if (e.schedQueue === URGENT) this.urgent.splice(this.urgent.indexOf(e), 1)
    const q = e.schedQueue === URGENT ? BULK : e.schedQueue
    const { schedPrev: before, schedNext: next } = e
    if (before === undefined) this.head[q] = next
    else before.schedNext = next
    if (next === undefined) this.tail[q] = before
    else next.schedPrev = before
    e.schedNext = undefined
    e.schedPrev = undefined
    e.schedQueue = 0
  }

  /** Next packet of whoever is due. @returns its length, 0 if nobody has one */
  output(dst: Uint8Array, off: number, now: Instant): number {
    const n = this.serve(PROMPT, dst, off, now) || this.serveUrgent(dst, off, now)
    if (n > 0) return n
    // Each quiet sender has but one turn, but of new ones there may be no end.
    if (this.ahead < LEAD * this.quantum || this.head[BULK] === undefined) {
      const fresh = this.serve(FRESH, dst, off, now)
      if (fresh > 0) {
        this.ahead = this.head[BULK] === undefined ? 0 : this.ahead + fresh
        return fresh
      }
    }
    this.ahead = 0
    return this.serve(BULK, dst, off, now) || this.serve(FRESH, dst, off, now)
  }

  private serve(q: number, dst: Uint8Array, off: number, now: Instant): number {
    let e = this.head[q]
    while (e !== undefined) {
      if (e.schedCredit <= 0) {
        // It spent its turn on urgent packets.
        this.endTurn(e)
      } else {
        const n = e.emit(dst, off, now)
        // `emit` may have ended the connection and with it its place here.
        if (e.schedQueue !== 0 && this.head[q] === e) this.settle(e, q, n)
        if (n > 0) return n
      }
      e = this.head[q]
    }
    return 0
  }

  private serveUrgent(dst: Uint8Array, off: number, now: Instant): number {
    for (let e = this.urgent.shift(); e !== undefined; e = this.urgent.shift()) {
      e.schedQueue = BULK
      const n = e.emit(dst, off, now)
      e.schedCredit -= n
      if (n > 0) return n
    }
    return 0
  }

  /** The head of `q` has had its say. */
  private settle(e: Emitter, q: number, n: number): void {
    if (n === 0) {
      this.unschedule(e)
      // RFC 8290 4.2: who has run empty is not fresh again at once, or many quiet senders starve bulk.
      if (q === FRESH && this.head[BULK] !== undefined) this.append(BULK, e)
      return
    }
    e.schedCredit -= n
    if (e.schedCredit <= 0) {
      this.endTurn(e)
    } else if (q === PROMPT) {
      // It may have data behind its acknowledgement; from here on it is like any other.
      this.unschedule(e)
      this.append(FRESH, e)
    }
  }

  private endTurn(e: Emitter): void {
    const urgent = e.schedQueue === URGENT
    this.unschedule(e)
    e.schedCredit += this.quantum
    this.append(BULK, e)
    if (urgent) this.schedule(e)
  }

  private append(q: number, e: Emitter): void {
    const tail = this.tail[q]
    e.schedQueue = q
    e.schedNext = undefined
    e.schedPrev = tail
    if (tail === undefined) this.head[q] = e
    else tail.schedNext = e
    this.tail[q] = e
  }
}
