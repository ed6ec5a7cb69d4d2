/**
 * Moves bytes between a TLS connection and a machine, in batches, and owns the one timer of both.
 *
 * What comes in goes to the machine at once. What goes out waits for the end of the turn of the event
 * loop, so that all that came in that turn is answered by one write. At most two batches are on their
 * way into the socket; until one is through, the machine is not asked for more, and its senders wait.
 */
import type { OuterWindow } from './outer-window.js'

/** What a driver drives. Times are milliseconds of the driver's clock. */
export interface Machine {
  input(b: Uint8Array, off: number, len: number, now: number): void
  /** Writes at most {@link PACKET_ROOM} octets at `off`. 0: nothing to send now. */
  output(dst: Uint8Array, off: number, now: number): number
  readonly hasOutput: boolean
  /** Some of it is about the call itself and goes even if no more may be under way. */
  readonly hasControl: boolean
  /** What may be under way; the machine tells it of answers to marks. */
  readonly outer: OuterWindow
  /** Writes a mark that the other end answers, at most {@link MARK_ROOM} octets. 0: not now. */
  mark(dst: Uint8Array, off: number): number
  nextTimeout(): number
  handleTimeout(now: number): void
  /** Tells sockets of the machine what is new; they may cause output. */
  dispatch(now: number): void
  /** Nothing more will go in or out: the connection is to be closed. */
  readonly finished: boolean
}

/** What a driver needs of a socket. */
export interface Outer {
  /** `done` is called when the kernel has taken all of `b`, which may be used again then. */
  write(b: Uint8Array, done: () => void): unknown
  end(): unknown
}

/** Turns of an event loop and timers; Node's, unless a test has its own. */
export interface Turns {
  /** At the end of this turn. */
  soon(callback: () => void): unknown
  later(callback: () => void, ms: number): unknown
  cancel(timer: unknown): void
}

/** Node's own. */
export const NODE_TURNS: Turns = {
  soon: (callback) => setImmediate(callback),
  later: (callback, ms) => setTimeout(callback, ms),
  cancel: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
}

/** The largest packet of SSTP. */
export const PACKET_ROOM = 4095
/** The largest mark. */
export const MARK_ROOM = 24

const BATCH = 65_536
/** A turn can bring megabytes. What has come by then is passed on before it falls out of the processor's cache. */
const FLUSH_AFTER = 131_072
const MAX_IN_FLIGHT = 2
/** A timer that fires a little early would only find that nothing is due. */
const TIMER_SLACK = 1
const LONGEST_TIMER = 0x7fffffff

/** Milliseconds that never go back. */
export function monotonicNow(): number {
  return performance.now()
}

export class Driver {
  private readonly socket: Outer
  private readonly machine: Machine
  private readonly clock: () => number
  private readonly turns: Turns
  private readonly free: Buffer[] = []
  private inFlight = 0
  private flushDue = false
  /** Octets that came in since the last flush. */
  private unanswered = 0
  private timer: unknown
  private timerAt = Number.POSITIVE_INFINITY
  private ended = false

  constructor(
    socket: Outer,
    machine: Machine,
    clock: () => number = monotonicNow,
    turns: Turns = NODE_TURNS,
  ) {
    this.socket = socket
    this.machine = machine
    this.clock = clock
    this.turns = turns
  }

  now(): number {
    return this.clock()
  }

  /** Bytes have come; `b` may be reused when this returns. */
  received(b: Uint8Array, off: number, len: number): void {
    if (this.ended) return
    const now = this.clock()
    this.machine.input(b, off, len, now)
    this.machine.outer.heard(len, now)
    this.unanswered += len
    if (this.unanswered >= FLUSH_AFTER) this.flush()
    else this.wake()
  }

  /** The machine may have something to send, to tell or to wait for. */
  wake(): void {
    if (this.flushDue || this.ended) return
    this.flushDue = true
    this.turns.soon(this.flush)
  }

  /** The connection is gone. */
  stop(): void {
    this.ended = true
    this.turns.cancel(this.timer)
    this.timer = undefined
  }

  private readonly flush = (): void => {
    this.flushDue = false
    this.unanswered = 0
    if (this.ended) return
    const { machine } = this
    const now = this.clock()
    if (machine.nextTimeout() <= now) machine.handleTimeout(now)
    machine.dispatch(now)
    // A deadline or a socket's news may have been the end.
    if (this.ended) return
    while (this.inFlight < MAX_IN_FLIGHT && machine.hasOutput && this.writeBatch(now)) {}
    if (machine.finished) {
      this.finish()
      return
    }
    this.armTimer(now)
  }

  /** One batch, one write. @returns false if there was nothing, or no more may be under way */
  private writeBatch(now: number): boolean {
    const { machine } = this
    const { outer } = machine
    const most = Math.min(outer.room, outer.batch)
    if (most <= 0 && !machine.hasControl) return false
    const batch = this.free.pop() ?? Buffer.allocUnsafeSlow(BATCH)
    let n = 0
    while (n <= BATCH - PACKET_ROOM - MARK_ROOM && (n < most || machine.hasControl)) {
      const size = machine.output(batch, n, now)
      if (size === 0) break
      n += size
    }
    if (n === 0) {
      this.free.push(batch)
      return false
    }
    const mark = outer.wantsMark(n) ? machine.mark(batch, n) : 0
    n += mark
    outer.handedOut(n, mark > 0, machine.hasOutput, now)
    this.inFlight++
    this.socket.write(batch.subarray(0, n), () => {
      this.inFlight--
      this.free.push(batch)
      this.wake()
    })
    return true
  }

  private armTimer(now: number): void {
    const next = this.machine.nextTimeout()
    // One that is set and not too late finds out by itself that it came early.
    if (next >= this.timerAt) return
    this.turns.cancel(this.timer)
    this.timer = undefined
    this.timerAt = next
    if (next === Number.POSITIVE_INFINITY) return
    const wait = Math.min(Math.max(0, Math.ceil(next - now)) + TIMER_SLACK, LONGEST_TIMER)
    this.timer = this.turns.later(this.expired, wait)
  }

  /**
   * Deadlines are looked at only after the sockets have been read: after a stall of the whole process what
   * has come meanwhile counts first, or a live peer would be taken for a dead one.
   */
  private readonly expired = (): void => {
    this.timer = undefined
    this.timerAt = Number.POSITIVE_INFINITY
    this.wake()
  }

  private finish(): void {
    this.stop()
    this.socket.end()
  }
}
