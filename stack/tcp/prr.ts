/**
 * Proportional rate reduction (RFC 6937 3, with the later choice between the two bounds by whether an
 * acknowledgement makes safe progress). All in octets.
 */
export class ProportionalRate {
  private ssthresh = 0
  private recoverFs = 1
  private prrDelivered = 0
  private prrOut = 0

  /** A reduction to `ssthresh` begins, with `flight` octets out. */
  start(flight: number, ssthresh: number): void {
    this.recoverFs = Math.max(1, flight)
    this.ssthresh = ssthresh
    this.prrDelivered = 0
    this.prrOut = 0
  }

  sent(octets: number): void {
    this.prrOut += octets
  }

  /**
   * `delivered` octets were reported, `pipe` are in the network now; `safe`: SND.UNA has moved and nothing more
   * was found lost.
   * @returns cwnd
   */
  onAck(delivered: number, pipe: number, safe: boolean, mss: number): number {
    this.prrDelivered += delivered
    let count: number
    if (pipe > this.ssthresh) {
      count = Math.ceil((this.prrDelivered * this.ssthresh) / this.recoverFs) - this.prrOut
    } else {
      const owed = Math.max(this.prrDelivered - this.prrOut, delivered)
      // Packet conservation while losses go on, slow start when they have stopped.
      count = Math.min(this.ssthresh - pipe, safe ? owed + mss : owed)
    }
    // The fast retransmission itself always goes.
    if (this.prrOut === 0) count = Math.max(count, mss)
    return pipe + Math.max(count, 0)
  }
}
