/** A stack that is not ours: a process that takes packets and the time, and gives packets and its next time. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

const TIMEOUT = 20_000
const PACKET = 0x50
const TIME = 0x54
const ABORT = 0x41
const STATUS = 0x53

export interface ForeignOptions {
  readonly role: 'listen' | 'connect'
  readonly family: 4 | 6
  readonly port: number
  /** What it sends, octets, and when: at once, or once we have ended. */
  readonly bytes: number
  readonly start: 'at-once' | 'after'
  /** Octets that its application reads in a millisecond; 0 is as many as there are. */
  readonly rate: number
  /** When it begins to read, milliseconds. */
  readonly pause?: number
  /** Receive buffer, octets. */
  readonly window: number
  readonly seed: number
}

export interface ForeignStatus {
  /** Milliseconds. */
  next: number
  sent: number
  received: number
  connected: boolean
  /** It has read all that we sent, and our end. */
  ended: boolean
  /** Both directions have ended and it knows that. */
  finished: boolean
  /** And nothing is left, TIME-WAIT included. */
  gone: boolean
  /** It received octets that we did not send. */
  corrupt: boolean
  reset: boolean
}

export class Foreign {
  readonly status: ForeignStatus = {
    next: 0,
    sent: 0,
    received: 0,
    connected: false,
    ended: false,
    finished: false,
    gone: false,
    corrupt: false,
    reset: false,
  }
  /** Exchanges so far. */
  steps = 0
  private readonly child: ChildProcess
  private readonly said: string[] = []
  private held: Buffer = Buffer.alloc(0)
  private packets: Buffer[] = []
  private wake: (() => void) | undefined
  private done = true
  private dead: string | undefined

  constructor(program: string, o: ForeignOptions) {
    const args = [o.role, o.family, o.port, o.bytes, o.start, o.rate, o.pause ?? 0, o.window, o.seed].map(
      String,
    )
    this.child = spawn(program, ['interop', ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdout?.on('data', (chunk: Buffer) => this.onData(chunk))
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.said.push(text))
    // Written to after its death; `close` says what happened.
    this.child.stdin?.on('error', () => {})
    this.child.on('error', (error) => this.onEnd(error.message))
    this.child.on('close', (code, signal) => this.onEnd(`ended with ${signal ?? code}`))
  }

  /** Hands packets over at that time. @returns the packets that it sends then */
  async step(packets: readonly Uint8Array[], now: number, abort = false): Promise<readonly Uint8Array[]> {
    this.steps++
    this.packets = []
    this.done = false
    const time = Buffer.alloc(9)
    time[0] = TIME
    time.writeBigUInt64BE(BigInt(Math.round(now * 1000)), 1)
    const messages = packets.map((p) => Buffer.concat([Buffer.of(PACKET), p]))
    if (abort) messages.push(Buffer.of(ABORT))
    this.child.stdin?.write(Buffer.concat([...messages, time].flatMap((m) => [lengthOf(m), m])))
    const timer = setTimeout(() => this.onEnd(`did not answer in ${TIMEOUT} ms`), TIMEOUT)
    while (!this.done && this.dead === undefined) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
    clearTimeout(timer)
    if (!this.done) throw new Error(`the foreign stack ${this.dead}: ${this.said.join('').slice(-2000)}`)
    return this.packets
  }

  /** Its input ends, so it does. @returns its exit code, or how it died */
  async close(): Promise<number | string> {
    const ended = once(this.child, 'exit')
    this.child.stdin?.end()
    const [code, signal] = this.child.exitCode === null ? await ended : [this.child.exitCode, undefined]
    return code ?? signal
  }

  kill(): void {
    this.child.kill('SIGKILL')
  }

  private onData(chunk: Buffer): void {
    this.held = this.held.length === 0 ? chunk : Buffer.concat([this.held, chunk])
    let at = 0
    while (this.held.length >= at + 2) {
      const n = this.held.readUInt16BE(at)
      if (this.held.length < at + 2 + n) break
      this.onMessage(this.held.subarray(at + 2, at + 2 + n))
      at += 2 + n
    }
    this.held = this.held.subarray(at)
    if (this.done) this.wake?.()
  }

  private onMessage(m: Buffer): void {
    if (m[0] === PACKET) {
      // A link may spoil what it carries.
      this.packets.push(Buffer.from(m.subarray(1)))
      return
    }
    if (m[0] !== STATUS || m.length !== 26) throw new Error(`a message of ${m.length} octets, kind ${m[0]}`)
    const next = m.readBigUInt64BE(1)
    const flags = m.readUInt8(25)
    const has = (bit: number) => (flags & bit) !== 0
    Object.assign(this.status, {
      next: next === 0xffff_ffff_ffff_ffffn ? Number.POSITIVE_INFINITY : Number(next) / 1000,
      sent: Number(m.readBigUInt64BE(9)),
      received: Number(m.readBigUInt64BE(17)),
      connected: has(1),
      ended: has(2),
      finished: has(4),
      gone: has(8),
      corrupt: has(16),
      reset: has(32),
    })
    this.done = true
  }

  private onEnd(why: string): void {
    this.dead ??= why
    this.wake?.()
  }
}

function lengthOf(m: Buffer): Buffer {
  const b = Buffer.alloc(2)
  b.writeUInt16BE(m.length)
  return b
}
