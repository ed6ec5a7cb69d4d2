/**
 * From acknowledgements to what is lost, what may be sent, and what was a mistake: the states of loss
 * recovery. Which segments are lost is the detector's finding, how large the window is the congestion
 * controller's; this joins the two.
 */
import { type Seq, seqDiff, seqGe, seqGt, seqLe, seqLt } from '../seq.js'
import type { Instant, StackCounters } from '../types.js'
import type { AckSample, CongestionController } from './congestion/controller.js'
import { DupAcks } from './dup-acks.js'
import type { AckEvent, LossDetector } from './loss-detector.js'
import { ProportionalRate } from './prr.js'
import { Rack } from './rack.js'
import type { RttEstimator } from './rtt.js'
import { type DeliverySink, EVER, PROBE, SACKED, type Scoreboard } from './scoreboard.js'

export type RecoveryState = 'open' | 'cwr' | 'recovery' | 'loss'

/** F-RTO (RFC 5682 2.1, 3.1): off, waiting for the first acknowledgement after the time-out, and for the second. */
const FRTO_OFF = 0
const FRTO_FIRST = 1
const FRTO_SECOND = 2

const NEVER = Number.NEGATIVE_INFINITY

/** RFC 8985 7.2 leaves the minimum open. Shorter ones would be about the clock of the process, not about the path. */
const MIN_PTO = 10
const PTO_WITHOUT_SAMPLE = 1000

export class Recovery implements DeliverySink {
  state: RecoveryState = 'open'
  /** The other side reports by SACK. */
  sack = true
  private readonly iss: Seq
  private readonly sb: Scoreboard
  private readonly cc: CongestionController
  private readonly rtt: RttEstimator
  private readonly counters: StackCounters
  private readonly prr = new ProportionalRate()
  private detector: LossDetector
  /** RecoveryPoint: recovery is over when this is acknowledged. */
  private highSeq: Seq
  private roundEnd: Seq

  /** The last reduction can still be taken back. */
  private undoable = false
  private undoMarker: Seq
  /** Retransmissions since then, and those reported as needless. */
  private undoSent = 0
  private undoDsacks = 0
  /** When the first of them went out (RFC 3522, "RetransmitTS"); Infinity before that. */
  private retransStamp: Instant = Number.POSITIVE_INFINITY
  /** What the first acknowledgement after it echoes is still to be seen. */
  private eifelDue = false
  private frto = FRTO_OFF

  /** TLP.end_seq and TLP.is_retrans. */
  private tlpEnd: Seq | undefined
  private tlpIsRetrans = false

  /** Reductions of the window so far. */
  reductions = 0
  /** End of the last packet that was larger than the path is known to take. */
  probeEnd: Seq | undefined
  /** A packet larger than the path was known to take has arrived, or has not. */
  probeArrived = false
  probeLost = false
  /** Most octets of data that one segment of this acknowledgement had. */
  largestDelivered = 0

  /** Octets reported by this acknowledgement, and those that congestion control has not heard of. */
  private newly = 0
  private untold = 0
  private oldest: Instant = 0
  private newest: Instant = NEVER
  private retransAcked = false
  private origDelivered = false
  private cumulative = false
  private echoedAt: Instant = NEVER
  private now: Instant = 0
  private readonly event: AckEvent
  private readonly sampled: AckSample = {
    delivered: 0,
    flight: 0,
    limited: false,
    rtt: -1,
    round: false,
    srtt: 0,
    now: 0,
  }

  constructor(
    iss: Seq,
    sb: Scoreboard,
    cc: CongestionController,
    rtt: RttEstimator,
    counters: StackCounters,
  ) {
    this.iss = iss
    this.sb = sb
    this.cc = cc
    this.rtt = rtt
    this.counters = counters
    this.detector = new Rack(iss, rtt)
    this.highSeq = this.roundEnd = this.undoMarker = iss
    this.event = {
      advanced: false,
      acked: 0,
      duplicate: false,
      dsack: false,
      recovering: false,
      nxt: iss,
      mss: 0,
      now: 0,
    }
  }

  /** What the two SYNs agreed. */
  agree(sack: boolean): void {
    this.sack = sack
    this.detector = sack ? new Rack(this.iss, this.rtt) : new DupAcks(this.iss)
  }

  /** Octets in the network. */
  pipe(nxt: Seq): number {
    return Math.max(0, this.sb.pipe(nxt) - this.detector.credit)
  }

  get recovering(): boolean {
    return this.state === 'recovery' || this.state === 'loss'
  }

  private get reducing(): boolean {
    return this.state === 'recovery' || this.state === 'cwr'
  }

  /** F-RTO wants new octets rather than old ones (RFC 5682 2.1 step 2b). */
  get prefersNew(): boolean {
    return this.frto === FRTO_SECOND
  }

  /** When the reordering timer is due (RFC 8985 6.2 step 5). */
  get reorderingTimeout(): Instant {
    return this.detector.timeout
  }

  // ---------------------------------------------------------------- sending

  sentNew(octets: number): void {
    if (this.reducing) this.prr.sent(octets)
  }

  /** The segment that begins at `start` went out again; `ever`: not for the first time. */
  sentAgain(start: Seq, octets: number, ever: boolean, now: Instant): void {
    if (this.reducing) this.prr.sent(octets)
    if (this.state === 'open') return
    this.undoSent++
    if (this.retransStamp !== Number.POSITIVE_INFINITY) return
    this.retransStamp = now
    // If the first segment is on its way again already, what acknowledges it may be older and still prove nothing.
    this.eifelDue = start === this.sb.una && (this.state === 'loss' || !ever)
  }

  // ---------------------------------------------------------------- acknowledgements

  /** See {@link DeliverySink}. */
  delivered(start: Seq, end: Seq, sentAt: Instant, flags: number): void {
    const length = seqDiff(end, start)
    const ever = (flags & EVER) !== 0
    this.newly += length
    if (length > this.largestDelivered) this.largestDelivered = length
    if (flags & PROBE) this.probeArrived = true
    if (ever) {
      if (this.cumulative) this.retransAcked = true
    } else {
      if (this.cumulative && sentAt < this.oldest) this.oldest = sentAt
      if (sentAt > this.newest) this.newest = sentAt
      if (seqLe(end, this.highSeq)) this.origDelivered = true
    }
    this.detector.delivered(start, end, sentAt, ever, this.echoedAt, this.now)
  }

  /**
   * SEG.ACK = `ack`, at least SND.UNA and at most `nxt`. `duplicate` by RFC 5681 2, `limited` as in {@link AckSample}.
   * `edges` has the left and right edges of `blocks` SACK blocks; they are changed.
   * `elapsed`: milliseconds by the echoed timestamp, -1 if there is none.
   */
  onAck(
    ack: Seq,
    nxt: Seq,
    edges: Int32Array,
    blocks: number,
    duplicate: boolean,
    limited: boolean,
    elapsed: number,
    mss: number,
    now: Instant,
  ): void {
    const { sb, event: e } = this
    const una = sb.una
    const flight = seqDiff(nxt, una)
    this.now = now
    this.newly = 0
    this.oldest = Number.POSITIVE_INFINITY
    this.newest = NEVER
    this.retransAcked = this.origDelivered = false
    this.probeArrived = this.probeLost = false
    this.largestDelivered = 0
    this.echoedAt = elapsed >= 0 ? Math.floor(now) - elapsed : NEVER
    e.advanced = seqGt(ack, una)
    e.acked = seqDiff(ack, una)
    e.duplicate = duplicate
    e.nxt = nxt
    e.mss = mss
    e.now = now
    e.dsack = this.takeReports(ack, nxt, edges, blocks)
    const rttNow = this.sampleRtt(flight, elapsed, mss, now)
    const round = seqGe(ack, this.roundEnd)
    this.endTailProbe(ack, e, flight, now)
    const mistake = this.undoable && this.wasMistake(e)
    if (mistake) this.undo(now)
    e.recovering = this.recovering
    const credit = this.detector.credit
    this.detector.onAck(sb, e)
    // RFC 6937 2: a duplicate without SACK stands for a segment, which does not count again later.
    this.newly = Math.max(0, this.newly + this.detector.credit - credit)
    if (this.state === 'loss') this.stepFrto(e, ack, nxt, now)
    const over = this.state !== 'open' && e.advanced && seqGe(ack, this.highSeq)
    // Nothing had to be sent again: all came by itself.
    if (over && this.state === 'recovery' && this.undoable && this.undoSent === 0) this.undo(now)
    else if (over) this.end(now)
    // What proves that segments come late is no reason to take the next ones for lost.
    const lost = mistake ? 0 : this.findLost(flight, nxt, now)
    if (this.reducing) {
      const safe = e.advanced && lost === 0
      this.cc.setCwnd(this.prr.onAck(this.newly, this.pipe(nxt), safe, mss))
      return
    }
    // What the acknowledgement that ends a recovery reports belonged to that.
    this.untold = over ? 0 : this.untold + this.newly
    if (e.advanced && this.untold > 0) {
      const s = this.sampled
      if (round) this.roundEnd = nxt
      s.delivered = this.untold
      this.untold = 0
      s.flight = flight
      s.limited = limited
      s.rtt = rttNow
      s.round = round
      s.srtt = this.rtt.srtt
      s.now = now
      this.cc.onAck(s)
    }
  }

  /** The reordering timer is due. @returns true if something is to be sent again */
  onReorderingTimeout(nxt: Seq, mss: number, now: Instant): boolean {
    const flight = seqDiff(nxt, this.sb.una)
    this.probeLost = false
    if (this.findLost(flight, nxt, now) === 0) return this.probeLost
    if (this.reducing) this.cc.setCwnd(this.prr.onAck(0, this.pipe(nxt), false, mss))
    return true
  }

  /** An ECN echo (RFC 3168 6.1.2): once for each window of data. @returns true if it counted */
  onEcnEcho(nxt: Seq, now: Instant): boolean {
    if (this.state !== 'open') return false
    this.counters.ecnEchoes++
    this.reduce('cwr', seqDiff(nxt, this.sb.una), nxt, now)
    this.undoable = false
    return true
  }

  /** The retransmission timer expired (RFC 6298 5.4, RFC 8985 6.3). `first` is false for further ones in a row. */
  onTimeout(nxt: Seq, first: boolean, now: Instant): void {
    const { sb } = this
    const flight = seqDiff(nxt, sb.una)
    if (sb.count > 0 && sb.flags(0) & SACKED) {
      this.counters.reneges++
      sb.unmarkSacked()
    }
    this.tlpEnd = undefined
    // In the middle of a reduction the window has been cut for this already.
    const reduces = first && !this.reducing
    this.cc.onTimeout(flight, reduces, now)
    if (reduces) {
      // RFC 5682 2.1 step 1: not when time-outs follow each other with little acknowledged in between.
      this.frto = this.state === 'loss' ? FRTO_OFF : FRTO_FIRST
      this.reductions++
      this.arm(nxt)
    } else if (first) {
      this.undoable = false
      this.frto = FRTO_OFF
    }
    this.state = 'loss'
    this.highSeq = nxt
    this.detector.onTimeout(sb, nxt, now)
  }

  /** Larger packets do not pass: what is out above `mss` goes again in pieces, and nobody is to blame (RFC 1191 6.5). */
  onSmallerMss(mss: number): void {
    const { sb } = this
    for (let i = 0; i < sb.count; i++) if (sb.lengthOf(i) > mss) sb.markLost(i)
  }

  // ---------------------------------------------------------------- tail loss probes (RFC 8985 7)

  /** Milliseconds after which to probe; Infinity if not now. `segments` are in flight. */
  probeTimeout(segments: number, maxAckDelay: number): number {
    if (!this.sack || this.state !== 'open' || this.tlpEnd !== undefined || this.sb.sacked > 0) {
      return Number.POSITIVE_INFINITY
    }
    if (!this.rtt.hasSample) return PTO_WITHOUT_SAMPLE
    const pto = Math.max(2 * this.rtt.srtt, MIN_PTO)
    return segments === 1 ? pto + maxAckDelay : pto
  }

  /** A probe went out: a new segment, or the last one again; `nxt` behind it. */
  probed(nxt: Seq, again: boolean): void {
    this.tlpEnd = nxt
    this.tlpIsRetrans = again
    this.counters.tailProbes++
  }

  /** RFC 8985 7.4: was the probe the repair of a loss, which then counts as congestion? */
  private endTailProbe(ack: Seq, e: AckEvent, flight: number, now: Instant): void {
    if (this.tlpEnd === undefined || seqLt(ack, this.tlpEnd)) return
    if (!this.tlpIsRetrans || e.dsack) {
      this.tlpEnd = undefined
    } else if (seqGt(ack, this.tlpEnd)) {
      this.tlpEnd = undefined
      if (this.state === 'open') this.reduce('cwr', flight, e.nxt, now)
    } else if (e.duplicate && this.newly === 0) {
      // Both the segment and its probe arrived.
      this.tlpEnd = undefined
    }
  }

  // ---------------------------------------------------------------- inside

  /** Cumulative acknowledgement, SACK blocks and D-SACK. @returns true if a duplicate was reported */
  private takeReports(ack: Seq, nxt: Seq, edges: Int32Array, blocks: number): boolean {
    const { sb } = this
    const una = sb.una
    this.cumulative = true
    if (seqGt(ack, una)) sb.acknowledge(ack, this)
    this.cumulative = false
    if (!this.sack || blocks === 0) return false
    const first = this.isDsack(edges, blocks, ack) ? 1 : 0
    if (first === 1) this.noteDsack(edges[0] as Seq, edges[1] as Seq)
    let known = 0
    for (let i = first; i < blocks; i++) {
      const left = edges[2 * i] as Seq
      const right = edges[2 * i + 1] as Seq
      // RFC 2018, RFC 6675 5: what cannot be is not believed.
      if (!seqLt(left, right) || seqLt(left, ack) || seqGt(right, nxt)) continue
      sb.sack(left, right, this)
      edges[2 * known] = left
      edges[2 * known + 1] = right
      known++
    }
    sb.remember(edges, known)
    return first === 1
  }

  /** RFC 2883 4: below the acknowledgement, or inside the second block. */
  private isDsack(edges: Int32Array, blocks: number, ack: Seq): boolean {
    const left = edges[0] as Seq
    const right = edges[1] as Seq
    if (!seqLt(left, right)) return false
    if (seqLe(right, ack)) return true
    return blocks > 1 && seqGe(left, edges[2] as Seq) && seqLe(right, edges[3] as Seq)
  }

  private noteDsack(left: Seq, right: Seq): void {
    this.counters.dsacks++
    if (this.undoable && seqGe(left, this.undoMarker) && seqLe(right, this.highSeq)) this.undoDsacks++
  }

  /** One sample for the time-out, one (returned, -1 if there is none) for congestion control. */
  private sampleRtt(flight: number, elapsed: number, mss: number, now: Instant): number {
    const weight = Math.ceil(flight / (2 * mss))
    if (!this.retransAcked && this.oldest !== Number.POSITIVE_INFINITY) {
      this.rtt.sample(now - this.oldest, weight, now)
    } else if (this.event.advanced && elapsed >= 0 && this.newly > 0) {
      // Karn's problem is none with timestamps.
      this.rtt.sample(elapsed, weight, now)
    }
    if (this.newest === NEVER) return -1
    const rtt = now - this.newest
    this.rtt.noteMin(rtt, now)
    return rtt
  }

  /** Has the last reduction turned out to be for nothing? */
  private wasMistake(e: AckEvent): boolean {
    // All that was sent again arrived twice.
    if (this.undoSent > 0 && this.undoDsacks >= this.undoSent) return true
    if (this.state === 'open' || this.state === 'cwr') return false
    // RFC 5682: what was never sent again arrives by itself.
    if (this.state === 'loss' && this.frto !== FRTO_OFF && this.sack && this.origDelivered) return true
    if (!e.advanced) return false
    // RFC 3522: the first acknowledgement after the retransmission echoes a timestamp from before it.
    if (!this.eifelDue || this.echoedAt === NEVER) return false
    this.eifelDue = false
    return this.echoedAt < Math.floor(this.retransStamp)
  }

  private undo(now: Instant): void {
    this.counters.spuriousRecoveries++
    this.undoable = false
    this.sb.unmarkLost()
    this.detector.onSpurious()
    this.cc.undo(now)
    this.rtt.resetBackOff()
    this.state = 'open'
    this.frto = FRTO_OFF
  }

  /** RFC 5682 2.1 and 3.1, for what {@link wasMistake} cannot see at once. */
  private stepFrto(e: AckEvent, ack: Seq, nxt: Seq, now: Instant): void {
    if (this.frto === FRTO_FIRST) {
      const goesOn = e.advanced && seqLt(ack, this.highSeq) && nxt === this.highSeq
      this.frto = goesOn ? FRTO_SECOND : FRTO_OFF
    } else if (this.frto === FRTO_SECOND) {
      // Without new octets out there is nothing that the second acknowledgement could prove.
      if (e.advanced && !this.sack && nxt !== this.highSeq) this.undo(now)
      this.frto = FRTO_OFF
    }
  }

  private end(now: Instant): void {
    const was = this.state
    this.state = 'open'
    this.frto = FRTO_OFF
    if (was !== 'loss') this.cc.onRecovered(now)
    if (was !== 'cwr') this.detector.onRecovered()
  }

  /** @returns octets newly lost, path probes not counted */
  private findLost(flight: number, nxt: Seq, now: Instant): number {
    const { sb } = this
    const probe = this.probeIndex()
    let lost = this.detector.detect(sb, this.recovering, now)
    if (probe >= 0 && (sb.flags(probe) & PROBE) === 0) {
      // RFC 4821 7.5: the loss of a probe alone is no sign of congestion.
      this.probeLost = true
      lost -= sb.lengthOf(probe)
    }
    if (lost > 0 && (this.state === 'open' || this.state === 'cwr')) {
      this.counters.fastRetransmits++
      if (this.state === 'cwr') {
        // The window was reduced already; that it was is not to be taken back if this should turn out a mistake.
        this.state = 'recovery'
        this.highSeq = nxt
      } else {
        this.reduce('recovery', flight, nxt, now)
      }
    }
    return lost
  }

  /** The path probe in flight, by index; -1 if there is none. */
  private probeIndex(): number {
    if (this.probeEnd === undefined) return -1
    const i = this.sb.find((this.probeEnd - 1) as Seq)
    return i < this.sb.count && this.sb.flags(i) & PROBE ? i : -1
  }

  private reduce(state: RecoveryState, flight: number, nxt: Seq, now: Instant): void {
    this.state = state
    this.reductions++
    this.untold = 0
    // RFC 5681 3.2 step 2: what limited transmit let out does not count.
    const counted = Math.min(flight, this.cc.cwnd)
    this.cc.onCongestion(counted, now)
    this.prr.start(counted, this.cc.ssthresh)
    this.arm(nxt)
  }

  /** From now on it is watched if this reduction was needed. */
  private arm(nxt: Seq): void {
    this.highSeq = nxt
    this.undoable = true
    this.undoMarker = this.sb.una
    this.undoSent = 0
    this.undoDsacks = 0
    this.retransStamp = Number.POSITIVE_INFINITY
    this.eifelDue = false
  }
}
