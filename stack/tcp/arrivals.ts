/**
 * The order of things when a segment arrives, or an ICMP error about one. Read RFC 9293 3.10.7 beside
 * {@link Arrivals.segmentArrives}.
 */
import { type Seq, seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from '../seq.js'
import {
  type Instant,
  READY_CONNECTED,
  READY_READABLE,
  READY_URGENT,
  READY_WRITABLE,
  type SocketError,
} from '../types.js'
import * as tcp from '../wire/tcp.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { ControlBlock, DELAYED_ACK, KEEPALIVE, PERSIST, RTO, STATE, TAIL_PROBE } from './control-block.js'
import type { Segment } from './host.js'
import { ACK_NEW } from './sender.js'
import { isSynchronised, mayReceiveData, TcpState } from './state.js'

/** RFC 5961 5 and 7: challenge acknowledgements and answers to segments outside the window, per connection. */
const CHALLENGE_INTERVAL = 500
/** RFC 7323 5.4: no clock of timestamps is slower than one step in that time. */
const QUIET = 1000
/** RFC 3168 5: congestion experienced. */
const CE = 3

export abstract class Arrivals extends ControlBlock {
  private lastChallenge: Instant = Number.NEGATIVE_INFINITY
  /** What the segment at hand says about the round trip, see `SegmentWriter.elapsed`. */
  private elapsed = -1

  /** RFC 9293 3.10.7. The segment's checksum and lengths are good, its options are in `o`. @internal */
  segmentArrives(s: Segment, o: TcpOptions, now: Instant): void {
    this.lastHeard = now
    if (this.state === TcpState.SYN_SENT) this.arrivesInSynSent(s, o, now)
    else if (this.held) this.arrivesHeld(s)
    else if (this.state !== TcpState.CLOSED) this.arrivesSynchronised(s, o, now)
  }

  /** RFC 9293 3.10.7.3. */
  private arrivesInSynSent(s: Segment, o: TcpOptions, now: Instant): void {
    const { snd } = this
    const hasAck = (s.flags & tcp.ACK) !== 0
    const ack = seq(s.ack)
    if (hasAck && (seqLe(ack, snd.iss) || seqGt(ack, snd.nxt))) {
      if ((s.flags & tcp.RST) === 0) this.host.sendReset(this.tuple, ack)
      return
    }
    if (s.flags & tcp.RST) {
      if (hasAck) {
        this.host.counters.resetsReceived++
        this.fail('refused')
      }
      return
    }
    if ((s.flags & tcp.SYN) === 0) return
    this.takeSyn(s, o, now)
    if (!hasAck) {
      // Simultaneous open (RFC 9293 3.5).
      this.state = TcpState.SYN_RECEIVED
      this.synDue = true
      this.host.schedule(this)
      return
    }
    // RFC 3168 6.1.1: asked for and granted.
    snd.ecn = this.asksEcn && (s.flags & (tcp.ECE | tcp.CWR)) === tcp.ECE
    snd.onAck(ack, s.window, seq(s.seq), false, o, this.writer.elapsed(o, now), now)
    if (!this.becomeEstablished(now)) return
    this.rcv.ackNow = true
    this.host.schedule(this)
    if (s.flags & tcp.URG) this.takeUrgent(s)
    // Data or FIN on the SYN-ACK comes behind the SYN (RFC 9293 3.10.7.3, fourth).
    if (s.dataLen > 0 || s.flags & tcp.FIN) this.takeText(s, seqAdd(seq(s.seq), 1), now)
  }

  /** Nothing is answered before it is decided, but the other side may give up. */
  private arrivesHeld(s: Segment): void {
    if (s.flags & tcp.RST && s.seq === this.rcv.nxt) this.reset()
  }

  /** RFC 9293 3.10.7.4, with the stricter checks of RFC 5961. */
  private arrivesSynchronised(s: Segment, o: TcpOptions, now: Instant): void {
    const { rcv, snd, writer } = this
    let at = seq(s.seq)
    let flags = s.flags
    let wnd = s.window << snd.shift
    if (flags & tcp.RST) {
      // RFC 5961 3.2. A window of zero still takes the exact number (MUST-66).
      if (at === rcv.nxt) this.reset()
      else if (rcv.acceptable(at, 0)) this.challenge(now, false)
      return
    }
    if (flags & tcp.SYN) {
      if (this.state !== TcpState.SYN_RECEIVED || at !== rcv.irs) {
        // RFC 5961 4.2, whatever the number.
        this.challenge(now, false)
        return
      }
      if (this.passive || !(flags & tcp.ACK)) {
        // The SYN again: our SYN-ACK was lost. The next one echoes this one's clock, or the first sample of
        // the other side would have the time-out in it.
        if (writer.timestamps && o.hasTimestamps) rcv.noteTimestamp(seq(o.tsVal), at, now)
        this.synDue = true
        this.host.schedule(this)
        return
      }
      // Simultaneous open (RFC 9293 figure 8): their SYN-ACK repeats the SYN we know, its ACK is news.
      flags &= ~tcp.SYN
      at = rcv.nxt
      wnd = s.window
    }
    if (writer.timestamps) {
      // RFC 7323 3.2: once agreed, every segment has them.
      if (!o.hasTimestamps) return
      if (rcv.isOldTimestamp(seq(o.tsVal), now)) {
        rcv.noteDuplicate(at, s.dataLen)
        this.challenge(now, s.dataLen > 0)
        return
      }
    }

    // First: is any of it in the window?
    let len = s.dataLen + (flags & tcp.FIN ? 1 : 0)
    if (!rcv.acceptable(at, len)) {
      if (this.state === TcpState.TIME_WAIT && flags & tcp.FIN) {
        this.setDeadline(STATE, now + this.host.times.timeWait)
      }
      // MUST-66, RFC 9293 3.10.7.4: with a zero window the acknowledgement still counts.
      if (rcv.window !== 0 || at !== rcv.nxt) {
        this.host.counters.duplicates++
        rcv.noteDuplicate(at, s.dataLen)
        this.challenge(now, len > 0)
        return
      }
      rcv.ackNow = true
      this.host.schedule(this)
      len = 0
    }
    // Fifth: ACK.
    if ((flags & tcp.ACK) === 0) return
    const ack = seq(s.ack)
    if (this.state === TcpState.SYN_RECEIVED) {
      if (seqLe(ack, snd.una) || seqGt(ack, snd.nxt)) {
        this.host.sendReset(this.tuple, ack)
        return
      }
    } else if (seqGt(ack, snd.nxt) || seqLt(ack, seqAdd(snd.una, -snd.maxWnd))) {
      // RFC 5961 5.2.
      this.challenge(now, false)
      return
    }
    if (o.userTimeout !== 0) this.userTimeout.received(o.userTimeout)
    // Only now, so that a forged segment cannot poison the other side's clock.
    if (writer.timestamps) rcv.noteTimestamp(seq(o.tsVal), at, now)
    if (!this.acknowledge(s, o, at, wnd, now)) return
    if (this.state === TcpState.SYN_RECEIVED && !this.becomeEstablished(now)) return
    if (snd.ecn) this.takeMarks(s)
    // Sixth, seventh and eighth: URG, text and FIN.
    if (flags & tcp.URG) this.takeUrgent(s)
    if (s.dataLen > 0) rcv.rttSample(writer.timestamps ? this.elapsed : this.rtt.srtt || -1, now)
    if (len > 0) this.takeText(s, at, now)
  }

  /** RFC 9293 3.10.7.4, fifth step; `wnd` in octets. @returns false if the connection is over */
  private acknowledge(s: Segment, o: TcpOptions, at: Seq, wnd: number, now: Instant): boolean {
    const { snd } = this
    const pure = s.dataLen === 0 && (s.flags & tcp.FIN) === 0
    if (snd.ecn && s.flags & tcp.ECE && (s.flags & tcp.SYN) === 0) snd.onEcnEcho(now)
    this.elapsed = this.writer.elapsed(o, now)
    const found = snd.onAck(seq(s.ack), wnd, at, pure, o, this.elapsed, now)
    this.followPath(now)
    this.armReordering()
    if (snd.wnd > 0) this.persist.reset()
    if (found === ACK_NEW) {
      this.timeouts = 0
      this.softError = undefined
      this.restartRetransmission(now)
      if (this.writableWanted && snd.queue.length <= this.highWater >>> 1) {
        this.writableWanted = false
        this.host.markReady(this, READY_WRITABLE)
      }
      if (snd.finAcknowledged && !this.finAcknowledged(now)) return false
      if (this.aborting && snd.queue.length === 0) {
        this.abort()
        return false
      }
    }
    if (snd.recovery.state !== 'open' || snd.board.sacked > 0) this.deadlines.stop(TAIL_PROBE)
    if (snd.waiting) {
      if (snd.wnd > 0) this.deadlines.stop(PERSIST)
      this.host.schedule(this)
    }
    return true
  }

  private finAcknowledged(now: Instant): boolean {
    switch (this.state) {
      case TcpState.FIN_WAIT_1:
        this.state = TcpState.FIN_WAIT_2
        return true
      case TcpState.CLOSING:
        this.enterTimeWait(now)
        return true
      case TcpState.LAST_ACK:
        this.finish(undefined)
        return false
      default:
        return true
    }
  }

  /** RFC 9293 3.10.7.4, sixth step. */
  private takeUrgent(s: Segment): void {
    if (!mayReceiveData(this.state)) return
    if (this.rcv.urgentTo(seqAdd(seq(s.seq), s.urgent))) this.host.markReady(this, READY_URGENT)
  }

  /** RFC 9293 3.10.7.4, seventh and eighth step. */
  private takeText(s: Segment, at: Seq, now: Instant): void {
    const { rcv } = this
    if (s.dataLen > 0 && mayReceiveData(this.state)) {
      if (s.dataLen > rcv.mss) rcv.mss = Math.min(s.dataLen, this.writer.ownMss)
      const ahead = seqGt(at, rcv.nxt)
      rcv.arrives(s.dataLen, now, this.rtt.rto)
      const readable = rcv.data(at, s.buf, s.dataOff, s.dataLen)
      if (readable > 0) this.host.markReady(this, READY_READABLE)
      if (ahead) this.host.counters.outOfOrder++
    } else if (s.dataLen > 0) {
      rcv.ackNow = true
    }
    if (s.flags & tcp.FIN ? rcv.fin(seqAdd(at, s.dataLen)) : rcv.finReached()) this.finReceived(now)
    if (rcv.ackNow) this.host.schedule(this)
    else if (rcv.ackPending && !this.deadlines.isSet(DELAYED_ACK)) {
      this.setDeadline(DELAYED_ACK, now + this.host.times.delayedAck)
    }
  }

  /** RFC 3168 6.1.3: a mark is echoed until the other side says that it has slowed down. */
  private takeMarks(s: Segment): void {
    if (s.flags & tcp.CWR) this.rcv.cwrReceived()
    if (s.ecn !== CE || s.dataLen === 0) return
    this.host.counters.ecnMarks++
    this.rcv.ecnMarked()
  }

  private finReceived(now: Instant): void {
    this.rcv.ackNow = true
    switch (this.state) {
      case TcpState.SYN_RECEIVED:
      case TcpState.ESTABLISHED:
        this.state = TcpState.CLOSE_WAIT
        break
      case TcpState.FIN_WAIT_1:
        this.state = TcpState.CLOSING
        break
      case TcpState.FIN_WAIT_2:
        this.enterTimeWait(now)
        break
    }
    this.host.markReady(this, READY_READABLE)
  }

  /** An ICMP error quoting a segment of ours whose sequence number is in flight (RFC 5927 4.1). @internal */
  icmpError(reason: SocketError): void {
    this.softError = reason
    if (this.passive || !this.isOpening) return
    // RFC 9293 3.9.2.2 has two kinds. A hard one ends an open that is not complete; a soft one does that
    // only when another SYN went out in vain (RFC 5461 4.1), for routes come back. Nothing ends a
    // connection that is open (RFC 5927 5.2).
    if (reason === 'refused' || this.synTimedOut) this.fail(reason)
  }

  /** A router says that the path takes packets of at most `mtu` octets; `quoted`: length of ours, 0 if unknown. @internal */
  packetTooBig(mtu: number, quoted: number, now: Instant): void {
    const { snd } = this
    if (!isSynchronised(this.state) || snd.pathMtu === undefined) return
    if (!snd.pathMtu.tooBig(mtu, quoted, now)) return
    this.writer.applyMss()
    this.host.pathMtuFound(this.tuple, snd.pathMtu.current, now)
    snd.recovery.onSmallerMss(snd.mss)
    if (snd.waiting) {
      this.setDeadline(RTO, now + this.rtt.rto)
      this.host.schedule(this)
    }
  }

  /** True if the quoted sequence number is in flight (RFC 5927 4.1). @internal */
  inFlight(at: Seq): boolean {
    return seqGe(at, this.snd.una) && seqLt(at, this.snd.nxt)
  }

  /** RFC 9293 3.6.1, RFC 6191 2: may this SYN take over a connection in TIME-WAIT? @internal */
  mayReopen(s: Segment, o: TcpOptions): boolean {
    if (this.state !== TcpState.TIME_WAIT || (s.flags & (tcp.SYN | tcp.ACK | tcp.RST)) !== tcp.SYN)
      return false
    if (this.writer.timestamps && o.hasTimestamps) {
      const newer = seqDiff(seq(o.tsVal), this.rcv.tsRecent)
      if (newer !== 0) return newer > 0
    } else if (o.hasTimestamps) {
      return true
    }
    return seqGt(seq(s.seq), this.rcv.nxt)
  }

  /**
   * True if an active open may take its four-tuple over (RFC 6191 2, from this side): in TIME-WAIT with timestamps,
   * which tell old segments from new ones on both sides, and silent for longer than a step of the slowest clock
   * of timestamps (RFC 7323 5.4: 1 s). @internal
   */
  mayGiveWay(now: Instant): boolean {
    return this.state === TcpState.TIME_WAIT && this.writer.timestamps && now - this.lastHeard > QUIET
  }

  // ---------------------------------------------------------------- inside

  protected takeSyn(s: Segment, o: TcpOptions, now: Instant): void {
    const at = seq(s.seq)
    this.rcv.start(at)
    this.writer.agree(o, this.host.pathMtu(this.tuple, now), now)
    if (o.userTimeout !== 0) this.userTimeout.received(o.userTimeout)
    // RFC 3168 6.1.1: both bits together ask.
    if (this.passive && (s.flags & (tcp.ECE | tcp.CWR)) === (tcp.ECE | tcp.CWR)) this.snd.ecn = true
    this.snd.firstWindow(s.window, at, seq(s.ack))
  }

  protected becomeEstablished(now: Instant): boolean {
    this.state = TcpState.ESTABLISHED
    this.deadlines.stop(STATE)
    this.deadlines.stop(RTO)
    if (this.synTimedOut) {
      this.rtt.synTimedOut()
      this.snd.cc.onSynLost()
    }
    this.softError = undefined
    if (this.keepAlive.idle > 0) this.setDeadline(KEEPALIVE, now + this.keepAlive.idle)
    if (this.passive && !this.host.established(this)) {
      this.abort()
      return false
    }
    this.host.markReady(this, READY_CONNECTED)
    if (this.snd.finQueued) this.state = TcpState.FIN_WAIT_1
    if (this.snd.waiting) this.host.schedule(this)
    return true
  }

  /** RFC 5961: an acknowledgement that lets an honest peer sort itself out, at a bounded rate. */
  private challenge(now: Instant, hasData: boolean): void {
    // A repeated data segment means that our acknowledgement was lost: that one is always answered.
    if (!hasData) {
      if (now - this.lastChallenge < CHALLENGE_INTERVAL) return
      this.lastChallenge = now
      this.host.counters.challengeAcks++
    }
    this.rcv.ackNow = true
    this.host.schedule(this)
  }
}
