/** A TCP connection, as whoever uses the stack sees it. */
import type { Instant, SocketError } from '../types.js'
import type { TcpOptions } from '../wire/tcp-options.js'
import { Arrivals } from './arrivals.js'
import { KEEPALIVE, STATE } from './control-block.js'
import type { Segment } from './host.js'
import { isSynchronised, mayReceiveData, maySendData, STATE_NAMES, TcpState } from './state.js'

export type { TcpOptionsWanted } from './control-block.js'

/** A TCP connection (RFC 9293). Made by `connect` and `accept` of the stack, and over with READY_CLOSED. */
export class TcpConnection extends Arrivals {
  /** The state in the RFC's spelling. */
  get stateName(): string {
    return STATE_NAMES[this.state]
  }

  /** Octets that can be read. */
  get readable(): number {
    return this.rcv.ring.size
  }

  /** The other side has ended its direction, and nothing more will become readable. */
  get ended(): boolean {
    return this.rcv.finished
  }

  /**
   * Octets from the first readable one to the end of the urgent data (RFC 9293 3.8.5); 0 if there are none ahead.
   * More than {@link readable} if they have not all come. READY_URGENT says when it leaves 0.
   */
  get urgent(): number {
    return this.rcv.urgent
  }

  /** Octets written and not acknowledged. */
  get queued(): number {
    return this.snd.queue.length
  }

  /** A write would be taken without exceeding the high-water mark. */
  get writable(): boolean {
    const { length } = this.snd.queue
    // With nothing queued nothing would ever wake a writer that was refused.
    return length < this.highWater && (length === 0 || !this.host.pool.account.full)
  }

  /** The readable octets from `skip` on, in one piece, as a view that is good until they are consumed. */
  peek(skip = 0): Uint8Array {
    return this.rcv.ring.peek(skip)
  }

  /** Takes the first `n` readable octets away; the window opens. */
  consume(n: number): void {
    this.rcv.consume(n)
    if (this.rcv.ring.size === 0) this.rcv.releaseIdle()
    if (mayReceiveData(this.state) && this.rcv.windowOpened()) {
      this.rcv.ackNow = true
      this.host.schedule(this)
    }
  }

  /** Copies readable octets into `dst` and consumes them. @returns how many */
  read(dst: Uint8Array): number {
    let n = 0
    while (n < dst.length) {
      const piece = this.peek()
      if (piece.length === 0) break
      const take = Math.min(piece.length, dst.length - n)
      dst.set(take === piece.length ? piece : piece.subarray(0, take), n)
      this.consume(take)
      n += take
    }
    return n
  }

  /**
   * Queues octets for sending. The chunk is kept until it is acknowledged and must not be changed.
   * @returns false if the high-water mark is reached (READY_WRITABLE will follow), or if the connection
   *   cannot send (any more): then nothing is queued
   */
  write(chunk: Uint8Array): boolean {
    if (this.snd.finQueued || this.aborting || (!maySendData(this.state) && !this.isOpening)) return false
    this.snd.push(chunk)
    if (maySendData(this.state)) this.host.schedule(this)
    if (this.writable) return true
    this.writableWanted = true
    return false
  }

  /** Ends our direction behind what is queued (RFC 9293 3.10.4). */
  end(): void {
    if (this.snd.finQueued) return
    switch (this.state) {
      case TcpState.SYN_SENT:
      case TcpState.SYN_RECEIVED:
        this.snd.finQueued = true
        return
      case TcpState.ESTABLISHED:
      case TcpState.CLOSE_WAIT:
        this.snd.finQueued = true
        this.state = this.state === TcpState.ESTABLISHED ? TcpState.FIN_WAIT_1 : TcpState.LAST_ACK
        this.host.schedule(this)
        return
    }
  }

  /**
   * Gives the connection up as {@link abort} does, but not before all that was written has been acknowledged. What
   * comes in meanwhile can be read. For a relay whose other connection was reset behind its data.
   */
  abortBehind(): void {
    if (this.snd.queue.length === 0) this.abort()
    else this.aborting = true
  }

  /** A held connection (see the listener's `hold`) is taken: the other side gets its SYN-ACK now. */
  proceed(now: Instant): void {
    if (!this.held) return
    this.held = false
    this.synDue = true
    this.setDeadline(STATE, now + this.host.times.handshake)
    this.host.schedule(this)
  }

  /**
   * A held connection is not taken. The other side learns why: by RST, by ICMP for what RST cannot say,
   * and of a time-out by silence.
   */
  refuse(reason: SocketError, now: Instant): void {
    if (!this.held) return
    const told = reason === 'timed-out' || (reason !== 'refused' && this.host.refuseByIcmp(this, reason, now))
    this.held = false
    this.fail('aborted')
    if (!told) {
      this.rstDue = true
      this.host.schedule(this)
    }
  }

  /** Probes after `idle` milliseconds of silence (RFC 9293 3.8.4); 0 turns them off. */
  setKeepAlive(idle: number, now: Instant): void {
    this.keepAlive.idle = idle
    if (idle > 0 && isSynchronised(this.state)) this.setDeadline(KEEPALIVE, now + idle)
    else this.deadlines.stop(KEEPALIVE)
  }

  /** Numbers for people and tests. */
  info(): Readonly<Record<string, number | string | boolean>> {
    return {
      state: this.stateName,
      mss: this.snd.mss,
      srtt: this.rtt.srtt,
      rto: this.rtt.rto,
      cwnd: this.snd.cc.cwnd,
      ssthresh: this.snd.cc.ssthresh,
      congestion: this.snd.cc.name,
      recovery: this.snd.recovery.state,
      ecn: this.snd.ecn,
      pathMtu: this.snd.pathMtu?.current ?? 0,
      userTimeout: this.userTimeout.value,
      flight: this.snd.flight,
      queued: this.snd.queue.length,
      sendWindow: this.snd.wnd,
      receiveWindow: this.rcv.window,
      receiveBuffer: this.rcv.buffer.limit,
      sendShift: this.snd.shift,
      receiveShift: this.rcv.shift,
      timestamps: this.writer.timestamps,
      sack: this.writer.sack,
    }
  }

  /** Octets of memory held for data. */
  get memory(): number {
    return this.rcv.ring.capacity + this.snd.queue.length + this.snd.board.memory
  }

  /** True if the other side's SYN has come and waits for {@link proceed} or {@link refuse}. */
  get isHeld(): boolean {
    return this.held
  }

  // ---------------------------------------------------------------- for the layer

  /** Active open (RFC 9293 3.10.1). @internal */
  open(now: Instant): void {
    this.state = TcpState.SYN_SENT
    this.synDue = true
    this.setDeadline(STATE, now + this.host.times.connect)
    this.host.schedule(this)
  }

  /** Passive open: a SYN has come to our listener. `hold` waits for {@link proceed}. @internal */
  accept(s: Segment, o: TcpOptions, hold: boolean, now: Instant): void {
    this.state = TcpState.SYN_RECEIVED
    this.takeSyn(s, o, now)
    this.held = hold
    this.setDeadline(STATE, now + this.host.times.handshake)
    if (!hold) {
      this.synDue = true
      this.host.schedule(this)
    }
  }
}
