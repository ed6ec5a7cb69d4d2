import type { MemoryAccount } from '../memory.js'
import { type Seq, seq, seqDiff, seqGe } from '../seq.js'
import type { Instant, StackLimits } from '../types.js'

/** Twice what the window of a SYN can say: enough until the first data have come and show that it is wanted. */
const FIRST = 131072

/** Shorter rounds would see the bursts in which the process is given its octets, not the rate. */
const LEAST_ROUND = 20

/** A shortest round trip is believed for between one and two of these, milliseconds. */
const FORGET = 10_000

/**
 * How large the receive buffer is: it grows while the reader keeps up and the sender might be held up
 * ("dynamic right-sizing").
 *
 * Once in a round trip it is seen how many octets were *read*. A sender in slow start doubles each round, and what
 * was read in the round before has to be seen, announced and filled: while rounds grow by as much as that, six
 * times what was read in one is offered (four are needed; the rest is for octets not yet read). A sender that does
 * not speed up is given twice. Whoever does not read, or slower than the window would let him, gets no more.
 */
export class ReceiveWindow {
  /** The receive buffer, octets. Never becomes smaller, for a promise is kept. */
  limit: number
  private granted: number
  /** Of these, such that were granted before anything was read. */
  private unread: number
  private readonly account: MemoryAccount
  private readonly base: number
  private readonly max: number
  /** The round trip in milliseconds. 0: not known. */
  rtt = 0
  /** Segments that come before that need no look here. */
  dueAt: Instant = Number.NEGATIVE_INFINITY
  /** No sample has come from outside: the time that one window takes is the best estimate. */
  private byWindow = true
  private least = 0
  private leastBefore = 0
  private leastAt: Instant = Number.NEGATIVE_INFINITY
  private begun = false
  private roundAt: Instant = 0
  /** What the application had read when the round began. */
  private roundRead = seq(0)
  /** Most that was read in one round. */
  private most = 0
  private edge = seq(0)
  private edgeAt: Instant = 0

  constructor(account: MemoryAccount, limits: Pick<StackLimits, 'receiveBuffer' | 'receiveBufferMax'>) {
    this.account = account
    this.base = limits.receiveBuffer
    this.max = Math.max(limits.receiveBuffer, limits.receiveBufferMax)
    this.limit = account.open(Math.min(this.base, FIRST))
    this.granted = this.limit
    this.unread = this.limit
  }

  /**
   * A round trip took `ms`; -1 says nothing. It may have had a pause of the sender's in it, or the wait in a queue that
   * the window itself has filled: only the shortest count, of the last {@link FORGET} milliseconds and those before.
   */
  sample(ms: number, now: Instant): void {
    if (ms < 0) return
    this.byWindow = false
    if (ms < 1) ms = 1
    if (now - this.leastAt > FORGET) {
      // Routes change.
      this.leastBefore = this.leastAt === Number.NEGATIVE_INFINITY ? ms : this.least
      this.least = ms
      this.leastAt = now
    } else if (ms >= this.least) {
      return
    } else {
      this.least = ms
    }
    const rtt = Math.min(this.least, this.leastBefore)
    if (this.rtt === 0 || rtt < this.rtt) this.dueAt = Number.NEGATIVE_INFINITY
    this.rtt = rtt
  }

  /**
   * A segment with data has come, and is not counted yet. To be called at {@link dueAt} or later.
   * @param nxt RCV.NXT
   * @param unread octets in front of it that the application has not read
   * @param received octets since the connection began, or less
   * @param window what we have promised to take
   * @param cap the largest window that can be announced
   */
  arrives(nxt: Seq, unread: number, received: number, window: number, cap: number, now: Instant): void {
    const early = this.limit < this.base && received < this.limit >>> 2
    if (this.limit < this.base && !early) this.growTo(this.base, false)
    if (this.byWindow) this.timeWindow(nxt, window, now)
    const read = ((nxt - unread) | 0) as Seq
    if (!this.begun) {
      this.begun = true
      this.roundAt = now
      this.roundRead = read
    } else if (this.rtt > 0 && now - this.roundAt >= Math.max(this.rtt, LEAST_ROUND)) {
      this.endRound(read, unread, cap, now)
    }
    if (this.rtt > 0 && !early && !this.byWindow) this.dueAt = this.roundAt + Math.max(this.rtt, LEAST_ROUND)
  }

  private endRound(read: Seq, unread: number, cap: number, now: Instant): void {
    const took = now - this.roundAt
    let taken = seqDiff(read, this.roundRead)
    // After a pause it is the rate that counts. Bursts that come a little late are whole rounds all the same.
    if (took > 4 * this.rtt) taken = (taken * this.rtt) / took
    else if (took > 2 * this.rtt) taken = (taken * 2 * this.rtt) / took
    this.roundAt = now
    this.roundRead = read
    const growth = this.most === 0 ? 1 : Math.min(1, Math.max(0, taken / this.most - 1))
    if (taken > this.most) this.most = taken
    const wanted = taken * (2 + 4 * growth)
    // A reader with that much in front of him is what limits: more would only wait, and fall out of the cache.
    if (2 * unread > taken) return
    if (wanted > this.limit && this.limit < this.max) {
      this.growTo(Math.min(powerOfTwo(wanted), this.max, Math.max(cap, this.limit)), true)
    }
  }

  /** Nothing but the `kept` octets that are unread will ever be held: the rest is for others. */
  release(kept: number): void {
    if (kept >= this.granted) return
    const unread = Math.min(this.unread, this.granted - kept)
    this.account.release(this.granted - kept, unread)
    this.unread -= unread
    this.granted = kept
  }

  private growTo(wanted: number, read: boolean): void {
    const before = this.limit
    this.limit = this.account.grow(before, wanted, read)
    this.granted = this.limit
    if (!read) {
      this.unread += this.limit - before
    } else if (this.unread > 0) {
      this.account.hasReader(this.unread)
      this.unread = 0
    }
  }

  /** Without timestamps: a window's worth of octets takes a round trip or longer. */
  private timeWindow(nxt: Seq, window: number, now: Instant): void {
    if (this.begun) {
      if (!seqGe(nxt, this.edge)) return
      const took = Math.max(1, now - this.edgeAt)
      if (this.rtt === 0 || took < this.rtt) this.rtt = took
    }
    this.edge = ((nxt + window) | 0) as Seq
    this.edgeAt = now
  }
}

function powerOfTwo(n: number): number {
  let p = 1024
  while (p < n) p *= 2
  return p
}
