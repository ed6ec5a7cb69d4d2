import { type Seq, seqAdd, seqGt, seqLt } from '../seq.js'
import type { Instant } from '../types.js'
import type { AckEvent, LossDetector } from './loss-detector.js'
import type { RttEstimator } from './rtt.js'
import { EVER, LOST, RETRANS, SACKED, type Scoreboard } from './scoreboard.js'

const DUP_THRESH = 3
const LATENESS_MARGIN = 1.125
const UNKNOWN = Number.NEGATIVE_INFINITY
/** RFC 8985 6.2: recoveries after which a widened reordering window is forgotten. */
const REO_WND_PERSIST = 16
/** RFC 8985 6.2 caps the window at SRTT; beyond this factor it could not matter. */
const MAX_REO_WND_MULT = 255

/**
 * RACK: a segment is lost if one that was sent sufficiently later has arrived (RFC 8985 6.2).
 */
export class Rack implements LossDetector {
  readonly credit = 0
  timeout: Instant = Number.POSITIVE_INFINITY
  /** RACK.xmit_ts, RACK.end_seq: the segment sent last of those that have arrived. */
  private xmitTs: Instant = Number.NEGATIVE_INFINITY
  private endSeq: Seq
  /** RACK.rtt, milliseconds. */
  private rackRtt = 0
  /** RACK.fack: end of the highest segment that has arrived. */
  private fack: Seq
  private reorderingSeen = false
  private reoWndMult = 1
  private reoWndPersist = REO_WND_PERSIST
  private dsackRound: Seq | undefined
  /** How much later than those sent behind them segments were seen to arrive, milliseconds. */
  private lateness = 0
  private readonly rtt: RttEstimator

  constructor(iss: Seq, rtt: RttEstimator) {
    this.endSeq = iss
    this.fack = seqAdd(iss, 1)
    this.rtt = rtt
  }

  delivered(_start: Seq, end: Seq, sentAt: Instant, ever: boolean, echoedAt: Instant, now: Instant): void {
    // Step 2: which of its transmissions arrived? Without proof that it was the last one, it says nothing.
    const rtt = now - sentAt
    const before = this.rackRtt
    const earlier = echoedAt !== UNKNOWN && echoedAt < Math.floor(sentAt)
    if (!ever || (rtt >= this.rtt.min && !earlier)) {
      this.rackRtt = rtt
      if (sentAt > this.xmitTs || (sentAt === this.xmitTs && seqGt(end, this.endSeq))) {
        this.xmitTs = sentAt
        this.endSeq = end
      }
    }
    // Step 3.
    if (seqGt(end, this.fack)) {
      this.fack = end
    } else if (seqLt(end, this.fack) && !ever) {
      this.reorderingSeen = true
      if (rtt - before > this.lateness) {
        this.lateness = rtt - before
        this.reoWndPersist = REO_WND_PERSIST
      }
    }
  }

  onAck(sb: Scoreboard, e: AckEvent): void {
    if (!e.dsack || (this.dsackRound !== undefined && seqLt(sb.una, this.dsackRound))) return
    this.dsackRound = e.nxt
    this.reoWndMult = Math.min(this.reoWndMult + 1, MAX_REO_WND_MULT)
    this.reoWndPersist = REO_WND_PERSIST
  }

  /** Steps 4 and 5. */
  detect(sb: Scoreboard, recovering: boolean, now: Instant): number {
    this.timeout = Number.POSITIVE_INFINITY
    if (sb.count === 0 || this.xmitTs === Number.NEGATIVE_INFINITY) return 0
    const { xmitTs, endSeq } = this
    const patience = this.rackRtt + this.reorderingWindow(sb, recovering)
    let lost = 0
    let longest = 0
    for (let i = 0; i < sb.count; ) {
      const f = sb.flags(i)
      if (f & SACKED) {
        i = sb.skipSacked(i)
        continue
      }
      if ((f & LOST) === 0 || f & RETRANS) {
        const sentAt = sb.sentAt(i)
        if (sentAt < xmitTs || (sentAt === xmitTs && seqLt(sb.endOf(i), endSeq))) {
          const remaining = sentAt + patience - now
          if (remaining <= 0) lost += sb.markLost(i)
          else if (remaining > longest) longest = remaining
        } else if ((f & EVER) === 0) {
          // What was sent only once lies in the order in which it was sent.
          break
        }
      }
      i++
    }
    if (longest > 0) this.timeout = now + longest
    return lost
  }

  /** RFC 8985 6.3: the first, and all that was sent so long before that it must have been reported by now. */
  onTimeout(sb: Scoreboard, _nxt: Seq, now: Instant): void {
    const patience = this.rackRtt + this.reorderingWindow(sb, true)
    for (let i = 0; i < sb.count; i++) {
      if (i === 0 || sb.sentAt(i) + patience <= now) sb.markLost(i)
    }
    this.timeout = Number.POSITIVE_INFINITY
  }

  onRecovered(): void {
    this.reoWndPersist--
    if (this.reoWndPersist > 0) return
    this.reoWndMult = 1
    this.lateness = 0
    this.reoWndPersist = REO_WND_PERSIST
  }

  onSpurious(): void {
    this.reorderingSeen = true
  }

  /**
   * RACK.reo_wnd, milliseconds. RFC 8985 6.2 widens it by a quarter of the shortest round trip for each round with a
   * D-SACK. But where segments overtake others the shortest round trip is that of the fastest, and the way to a
   * sufficient window long: what was seen counts at once.
   */
  private reorderingWindow(sb: Scoreboard, recovering: boolean): number {
    if (!this.reorderingSeen && (recovering || sb.sackedSegments >= DUP_THRESH)) return 0
    const min = Number.isFinite(this.rtt.min) ? this.rtt.min : 0
    return Math.min(Math.max((this.reoWndMult * min) / 4, this.lateness * LATENESS_MARGIN), this.rtt.srtt)
  }
}
