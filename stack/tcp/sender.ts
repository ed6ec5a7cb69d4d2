import type { MemoryAccount } from '../memory.js'
import { type Seq, seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from '../seq.js'
import type { Instant, StackCounters } from '../types.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import type { CongestionController } from './congestion/controller.js'
import type { PathMtu } from './path-mtu.js'
import { Recovery } from './recovery.js'
import type { RttEstimator } from './rtt.js'
import { EVER, PROBE, Scoreboard } from './scoreboard.js'
import { SendQueue } from './send-queue.js'

/** What {@link Sender.onAck} found. */
export const ACK_OLD = 0
export const ACK_NEW = 1

/**
 * The sending half of a connection: what is queued, what is out, and which segment may go next
 * (RFC 9293 3.8, RFC 5681).
 *
 * ```
 *   acknowledged | in flight | may be sent | queued
 *                UNA         NXT           UNA+WND     end
 * ```
 */
export class Sender {
  readonly iss: Seq
  nxt: Seq
  wnd = 0
  private wl1 = seq(0)
  private wl2 = seq(0)
  /** MAX.SND.WND (RFC 5961 5.2, and for silly window avoidance). */
  maxWnd = 0
  /** The other side's window scale, 0 if not agreed. */
  shift = 0
  /** Octets of data in a full segment. */
  mss = 536
  /** Octets of a packet that are no data: IP header, TCP header, options. */
  overhead = 40
  readonly queue = new SendQueue()
  private readonly account: MemoryAccount
  /** Sequence number of the first queued octet. */
  private base: Seq
  /** A FIN follows what is queued. */
  finQueued = false
  /** Sends short segments at once (RFC 9293 3.7.4: Nagle off). */
  noDelay = true
  /** Both sides speak ECN (RFC 3168). */
  ecn = false
  /** The next new segment says that the window was reduced (RFC 3168 6.1.2). */
  cwrDue = false

  readonly cc: CongestionController
  readonly board: Scoreboard
  readonly recovery: Recovery
  readonly rtt: RttEstimator
  /** Set when the options are agreed. */
  pathMtu: PathMtu | undefined

  /** A window of any size may be used now (override of silly window avoidance). */
  override = false
  /** The tail loss probe is to go out (RFC 8985 7.3). */
  tailProbe = false
  /** cwnd was the limit when this was sent. */
  private limitedAt: Seq
  private wasLimited = false
  private reductionsTold = 0
  /** When something was sent or acknowledged last. Waiting for an acknowledgement is no idleness. */
  private busyAt: Instant = Number.NEGATIVE_INFINITY
  /** The last time that the other side acknowledged something new, or answered a probe. */
  progressAt: Instant = 0
  private synAt: Instant = -1

  /** The segment that {@link plan} chose. */
  planSeq: Seq
  planLength = 0
  planFin = false
  /** It was sent before. */
  planAgain = false
  private planIndex = -1
  private planFlags = 0
  private planProbe = false

  constructor(
    iss: Seq,
    cc: CongestionController,
    rtt: RttEstimator,
    counters: StackCounters,
    segmentsInFlight: number,
    account: MemoryAccount,
  ) {
    this.account = account
    this.iss = iss
    this.nxt = iss
    this.limitedAt = iss
    this.planSeq = iss
    this.base = seqAdd(iss, 1)
    this.cc = cc
    this.rtt = rtt
    this.board = new Scoreboard(iss, segmentsInFlight)
    this.recovery = new Recovery(iss, this.board, cc, rtt, counters)
  }

  /** `overhead`: octets of each packet that are no data. */
  setMss(mss: number, overhead: number): void {
    this.mss = mss
    this.overhead = overhead
    this.cc.setMss(mss)
  }

  get una(): Seq {
    return this.board.una
  }

  /** Octets sent and not acknowledged. */
  get flight(): number {
    return seqDiff(this.nxt, this.una)
  }

  /** Behind the last queued octet, the FIN not counted. */
  get end(): Seq {
    return seqAdd(this.base, this.queue.length)
  }

  /** Octets queued or a FIN that are not acknowledged. */
  get outstanding(): boolean {
    return this.una !== this.nxt
  }

  /** Something is queued that was not sent, or must be sent again. */
  get waiting(): boolean {
    return this.hasNew || this.board.waiting > 0 || this.tailProbe
  }

  /** Something was never sent. */
  get hasNew(): boolean {
    return seqLt(this.nxt, this.finQueued ? seqAdd(this.end, 1) : this.end)
  }

  /**
   * Sequence number of a segment without text: SND.NXT, but not beyond a window that has shrunk, where the
   * other side would not look at it. A FIN may be one beyond an open window.
   */
  get bareSeq(): Seq {
    if (this.wnd === 0) return this.una
    return this.flight > this.wnd + 1 ? seqAdd(this.una, this.wnd - 1) : this.nxt
  }

  get finAcknowledged(): boolean {
    return this.finQueued && this.una === seqAdd(this.end, 1)
  }

  /** The window of a SYN or SYN-ACK: never scaled (RFC 7323 2.2). */
  firstWindow(wnd: number, at: Seq, ack: Seq): void {
    this.wnd = wnd
    this.wl1 = at
    this.wl2 = ack
    this.maxWnd = Math.max(this.maxWnd, wnd)
  }

  // ---------------------------------------------------------------- what goes next

  /**
   * Chooses the next segment that may be sent now: `planSeq`, `planLength`, `planFin`, `planAgain`.
   * @returns false if there is none
   */
  plan(now: Instant): boolean {
    const { board } = this
    this.planProbe = false
    this.planFlags = 0
    if (this.tailProbe) {
      this.tailProbe = false
      if (this.planTailProbe()) return true
    }
    const pipe = this.recovery.pipe(this.nxt)
    if (board.waiting > 0 && !(this.recovery.prefersNew && this.hasNew)) {
      const i = board.nextWaiting()
      if (i >= 0) return this.planOld(i, pipe)
    }
    return this.hasNew && !board.full && this.planNew(pipe, now)
  }

  /** A segment that was lost. */
  private planOld(i: number, pipe: number): boolean {
    const { board, cc } = this
    const start = board.startOf(i)
    // Small writes, and what a smaller path has cut, go again as full segments.
    while (board.lengthOf(i) < this.mss && board.merge(i)) {}
    // SHLD-16: with a window that shrank, only what is inside it is sent again.
    const most = Math.min(this.mss, this.wnd - seqDiff(start, this.una))
    const data = Math.min(board.lengthOf(i), seqDiff(this.end, start))
    if (data > most) {
      if (most <= 0) return false
      board.split(i, most)
    }
    const length = Math.min(data, most)
    if (pipe > 0 && length > cc.cwnd - pipe) {
      this.heldByCwnd()
      return false
    }
    this.choose(i, start, length, board.endOf(i))
    return true
  }

  private planNew(pipe: number, now: Instant): boolean {
    const { end, cc, flight } = this
    if (flight === 0 && now - this.busyAt > this.rtt.rto) {
      // RFC 5681 4.1. The mark moves so that this happens once for each pause.
      if (this.busyAt !== Number.NEGATIVE_INFINITY) cc.onIdle(now - this.busyAt, now)
      this.busyAt = now
    }
    const queued = seqDiff(end, this.nxt)
    if (queued <= 0) {
      // Only the FIN is left. It may go one beyond the window, so that closing never waits for a reader.
      this.choose(-1, this.nxt, 0, seqAdd(end, 1))
      return true
    }
    const usable = this.wnd - flight
    const room = cc.cwnd - pipe
    let len = Math.min(queued, this.mss)
    if (len > room) {
      this.heldByCwnd()
      // Waiting for a full segment's room costs nothing: acknowledgements are on their way.
      if (pipe > 0 || room <= 0) return false
      len = room
    }
    if (len > usable) {
      // MUST-38: sender's silly window avoidance.
      if (usable <= 0 || (usable < this.mss && usable < this.maxWnd / 2 && !this.override)) return false
      len = Math.min(len, usable)
    }
    if (len < this.mss && len === queued && !this.noDelay && flight > 0 && !this.finQueued) return false
    const trial = this.trialLength(now)
    if (trial > len && trial <= queued && trial <= room && trial <= usable) {
      len = trial
      this.planFlags = PROBE
    }
    const next = seqAdd(this.nxt, len)
    this.choose(-1, this.nxt, len, this.finQueued && next === end ? seqAdd(next, 1) : next)
    return true
  }

  private heldByCwnd(): void {
    this.wasLimited = true
    this.limitedAt = this.nxt
  }

  /** RFC 8985 7.3: something new if the window has room, whatever cwnd says, else the last segment again. */
  private planTailProbe(): boolean {
    const { board, end } = this
    // With reports ahead of a gap the detector has something to go by.
    if (board.count === 0 || board.sacked > 0 || this.recovery.state !== 'open') return false
    const len = Math.min(seqDiff(end, this.nxt), this.mss)
    if (len > 0 && len <= this.wnd - this.flight && !board.full) {
      const next = seqAdd(this.nxt, len)
      this.choose(-1, this.nxt, len, this.finQueued && next === end ? seqAdd(next, 1) : next)
      this.planProbe = true
      return true
    }
    let i = board.count - 1
    const data = seqDiff(seqLt(board.endOf(i), end) ? board.endOf(i) : end, board.startOf(i))
    if (data > this.mss) {
      board.split(i, data - this.mss)
      i++
    }
    const start = board.startOf(i)
    const length = Math.min(board.lengthOf(i), Math.max(0, seqDiff(end, start)))
    if (seqDiff(start, this.una) + length > this.wnd) return false
    this.choose(i, start, length, board.endOf(i))
    this.planProbe = true
    return true
  }

  /** Octets of data of the packet that tries a larger path MTU; 0 if none is to be tried now. */
  private trialLength(now: Instant): number {
    if (this.pathMtu === undefined || this.recovery.state !== 'open' || this.recovery.probeEnd !== undefined)
      return 0
    const size = this.pathMtu.probeSize(now)
    return size === 0 ? 0 : size - this.overhead
  }

  private choose(index: number, at: Seq, length: number, next: Seq): void {
    this.planIndex = index
    this.planAgain = index >= 0
    this.planSeq = at
    this.planLength = length
    this.planFin = seqDiff(next, at) > length
  }

  copyPlanned(dst: Uint8Array, off: number): void {
    this.queue.copy(seqDiff(this.planSeq, this.base), dst, off, this.planLength, this.planAgain)
  }

  /** The planned segment empties the queue (RFC 9293 3.9.1, MUST-61: PSH). */
  get planIsLast(): boolean {
    return seqAdd(this.planSeq, this.planLength) === this.end
  }

  /** The planned segment has been written. */
  sent(now: Instant): void {
    const { board, recovery } = this
    const length = this.planLength + (this.planFin ? 1 : 0)
    this.override = false
    if (this.planAgain) {
      const ever = (board.flags(this.planIndex) & EVER) !== 0
      board.resent(this.planIndex, now)
      recovery.sentAgain(this.planSeq, length, ever, now)
    } else {
      if (!this.outstanding) this.progressAt = now
      const next = seqAdd(this.planSeq, length)
      board.push(next, now, this.planFlags)
      this.nxt = next
      if (this.planFlags & PROBE) recovery.probeEnd = next
      recovery.sentNew(length)
    }
    if (this.planProbe) recovery.probed(this.nxt, this.planAgain)
    this.busyAt = now
  }

  /** A SYN goes out: it counts one. */
  sentSyn(now: Instant): void {
    if (this.nxt === this.iss) {
      this.nxt = seqAdd(this.iss, 1)
      this.synAt = now
      this.progressAt = now
    } else {
      // Karn: one that was sent twice cannot be timed.
      this.synAt = -1
    }
    this.busyAt = now
  }

  // ---------------------------------------------------------------- what comes back

  /** The acknowledgement of our SYN; `elapsed` as in {@link onAck}. */
  private onSynAck(elapsed: number, now: Instant): void {
    if (this.synAt >= 0) this.rtt.sample(now - this.synAt, 1, now)
    else if (elapsed >= 0) this.rtt.sample(elapsed, 1, now)
    this.board.una = seqAdd(this.iss, 1)
    this.progressAt = now
  }

  /**
   * SEG.ACK lies in UNA - MAX.SND.WND .. NXT (the caller checked), and `wnd` octets may be in flight.
   * `pure` says that the segment has no data, SYN or FIN, `elapsed` what the echoed timestamp says,
   * milliseconds or -1.
   */
  onAck(ack: Seq, wnd: number, at: Seq, pure: boolean, o: TcpOptions, elapsed: number, now: Instant): number {
    const same = wnd === this.wnd
    // RFC 9293 3.10.7.4: the window of the newest segment counts.
    if (seqGe(ack, this.una) && (seqLt(this.wl1, at) || (this.wl1 === at && seqLe(this.wl2, ack)))) {
      this.wnd = wnd
      this.wl1 = at
      this.wl2 = ack
      if (wnd > this.maxWnd) this.maxWnd = wnd
    }
    if (seqLt(ack, this.una)) return ACK_OLD
    const advanced = seqGt(ack, this.una)
    if (!advanced && (!this.outstanding || this.wnd === 0)) {
      // The answer to a probe. With a window that has shrunk to nothing no more than that can be had (SHLD-17).
      this.progressAt = now
      return ACK_OLD
    }
    if (this.una === this.iss) this.onSynAck(elapsed, now)
    const limited = this.wasLimited && seqGe(this.limitedAt, this.una)
    if (!limited) this.wasLimited = false
    const duplicate = !advanced && pure && same
    this.recovery.onAck(ack, this.nxt, o.sack, o.sackBlocks, duplicate, limited, elapsed, this.mss, now)
    this.tellReductions()
    this.followPath(now)
    if (!advanced) return ACK_OLD
    this.tailProbe = false
    this.progressAt = now
    this.busyAt = now
    const dataAcked = Math.min(seqDiff(ack, this.base), this.queue.length)
    if (dataAcked > 0) {
      this.queue.acknowledge(dataAcked)
      this.account.sub(dataAcked)
      this.base = seqAdd(this.base, dataAcked)
    }
    return ACK_NEW
  }

  /** The segment says that a router marked one of ours (RFC 3168 6.1.2). */
  onEcnEcho(now: Instant): void {
    if (this.outstanding) this.recovery.onEcnEcho(this.nxt, now)
    this.tellReductions()
  }

  /** The reordering timer is due (RFC 8985 6.2). @returns true if something is to be sent again */
  onReorderingTimeout(now: Instant): boolean {
    const found = this.recovery.onReorderingTimeout(this.nxt, this.mss, now)
    this.tellReductions()
    this.followPath(now)
    return found
  }

  /** The retransmission timer expired (RFC 6298 5.4 to 5.6). `first` is false for further ones in a row. */
  onTimeout(first: boolean, now: Instant): void {
    this.recovery.onTimeout(this.nxt, first, now)
    this.rtt.backOff()
    this.tailProbe = false
    this.tellReductions()
  }

  /** Set when the path MTU has changed: the segment size is to be worked out again. */
  pathChanged = false

  /** Octets of the first unacknowledged packet. */
  get headSize(): number {
    return this.board.count === 0 ? 0 : this.board.lengthOf(0) + this.overhead
  }

  private followPath(now: Instant): void {
    const { pathMtu, recovery } = this
    if (pathMtu === undefined) return
    if (recovery.probeEnd !== undefined) {
      if (recovery.probeArrived) {
        recovery.probeEnd = undefined
      } else if (recovery.probeLost) {
        recovery.probeEnd = undefined
        pathMtu.probeLost(now)
      } else if (seqLe(recovery.probeEnd, this.una)) {
        // It came in pieces.
        recovery.probeEnd = undefined
      }
    }
    if (recovery.largestDelivered > 0 && pathMtu.arrived(recovery.largestDelivered + this.overhead, now)) {
      this.pathChanged = true
    }
  }

  private tellReductions(): void {
    if (this.recovery.reductions === this.reductionsTold) return
    this.reductionsTold = this.recovery.reductions
    if (this.ecn) this.cwrDue = true
  }

  push(chunk: Uint8Array): void {
    this.queue.push(chunk)
    this.account.add(chunk.length)
  }

  drop(): void {
    this.account.sub(this.queue.length)
    this.queue.clear()
    this.board.clear()
    this.tailProbe = false
  }
}
