/**
 * Keeps a call alive, and notices when it is not. Sans-I/O: its owner gives it the time.
 *
 * One echo serves three purposes, and none is sent while both ends talk:
 *
 * - Whoever has said nothing for `idle` says something. SoftEther drops a client that it has not heard for
 *   10 s (20 s in newer ones), and there are NATs that forget a silent connection after 30 s.
 * - Whoever has heard nothing for `idle`, or got no answer to what it said for `unanswered`, asks.
 * - After a change of networks or a sleep, the owner asks by {@link KeepAlive.probe} and waits for less time.
 *
 * Anything that comes is an answer, as MS-SSTP 3.3.2 has it. SSTP's ECHO_REQUEST is what every server
 * must answer; only accel-ppp takes it for an error before the call is connected, so it is never sent before.
 * What is behind the server's SSTP is asked by LCP's own echo, which is rarer.
 */
import type { Pulse } from '../link/pulse.js'

/** Milliseconds. */
export interface KeepAliveTimes {
  /** Nothing said or nothing heard for so long: ECHO_REQUEST. 8 s. */
  readonly idle: number
  /** Something said, and nothing heard since, for so long: ECHO_REQUEST. 3 s. */
  readonly unanswered: number
  /** Nothing heard for so long after ECHO_REQUEST: the call is dead. 10 s: outer TCP may be recovering. */
  readonly patience: number
  /** The same after a sleep or a change of networks, which an old connection often does not outlive. 4 s. */
  readonly probe: number
}

export const KEEP_ALIVE_TIMES: KeepAliveTimes = {
  idle: 8_000,
  unanswered: 3_000,
  patience: 10_000,
  probe: 4_000,
}

export interface KeepAliveHost {
  readonly pulse: Pulse
  /** Sends ECHO_REQUEST. */
  echo(): void
  /** Nothing was heard for `ms`, and nobody answered. */
  dead(ms: number): void
}

/** A deadline that was missed by so much: the process stood still, and knows nothing of the time between. */
const LATE = 2_000
const NEVER = Number.POSITIVE_INFINITY

export class KeepAlive {
  private readonly times: KeepAliveTimes
  private readonly host: KeepAliveHost
  private running = false
  /** When it was asked, for how long the answer is waited for, and what had been heard then. */
  private askedAt = -1
  private limit = 0
  private heards = 0

  constructor(host: KeepAliveHost, times: Partial<KeepAliveTimes> = {}) {
    this.host = host
    this.times = { ...KEEP_ALIVE_TIMES, ...times }
  }

  /** The call is connected: before, an echo has no place (MS-SSTP 3.1.5.1). */
  start(): void {
    this.running = true
  }

  stop(): void {
    this.running = false
  }

  /** Something has happened that the connection may not have outlived: asks at once. */
  probe(now: number): void {
    if (!this.running) return
    const { probe } = this.times
    if (this.asking && this.askedAt + this.limit <= now + probe) return
    this.ask(now, probe)
  }

  nextTimeout(): number {
    if (!this.running) return NEVER
    if (this.asking) return this.askedAt + this.limit
    const { pulse } = this.host
    const { idle, unanswered } = this.times
    return Math.min(pulse.heardAt + idle, pulse.saidAt + idle, pulse.waitsSince + unanswered)
  }

  handleTimeout(now: number): void {
    const due = this.nextTimeout()
    if (due > now) return
    if (now - due > LATE) this.ask(now, this.times.probe)
    else if (!this.asking) this.ask(now, this.times.patience)
    else {
      this.running = false
      this.host.dead(now - this.host.pulse.heardAt)
    }
  }

  private get asking(): boolean {
    return this.askedAt >= 0 && this.heards === this.host.pulse.heards
  }

  private ask(now: number, limit: number): void {
    this.askedAt = now
    this.limit = limit
    this.heards = this.host.pulse.heards
    this.host.echo()
  }
}
