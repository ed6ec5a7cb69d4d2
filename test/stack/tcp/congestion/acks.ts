import type { AckSample, CongestionController } from '../../../../stack/tcp/congestion/controller.js'

/** Feeds acknowledgements to a controller that is always the limit, unless told otherwise. */
export class Acks {
  now = 1000
  srtt = 100
  limited = true
  private readonly cc: CongestionController
  private readonly sample: AckSample

  constructor(cc: CongestionController) {
    this.cc = cc
    this.sample = { delivered: 0, flight: 0, limited: true, rtt: -1, round: false, srtt: 0, now: 0 }
  }

  /** One acknowledgement of `delivered` octets. @returns what cwnd grew by */
  one(delivered: number, rtt = -1, round = false): number {
    const s = this.sample
    const before = this.cc.cwnd
    s.delivered = delivered
    s.flight = before
    s.limited = this.limited
    s.rtt = rtt
    s.round = round
    s.srtt = this.srtt
    s.now = this.now
    this.cc.onAck(s)
    return this.cc.cwnd - before
  }

  /** A window of acknowledgements, each for `octets`, spread evenly over the round-trip time. */
  window(octets: number): void {
    let left = this.cc.cwnd
    const step = (this.srtt * octets) / left
    for (; left >= octets; left -= octets) {
      this.now += step
      this.one(octets)
    }
  }

  /** Loss with a full window, and its recovery a round trip later. */
  loss(): void {
    this.cc.onCongestion(this.cc.cwnd, this.now)
    this.now += this.srtt
    this.cc.onRecovered(this.now)
  }

  /** Brings cwnd to `octets` in congestion avoidance, with no loss remembered: a time-out and its slow start. */
  plateau(octets: number): void {
    this.cc.setCwnd(octets * 4)
    this.cc.onTimeout(octets * 2, true, this.now)
    this.cc.setCwnd(octets)
  }
}
