/**
 * One call: SSTP, PPP and a TCP/IP stack made one machine of, for either end. Sans-I/O.
 *
 * SSTP and PPP do not know each other; here the frames of one become packets of the other, and the key
 * that authentication made goes to the crypto binding.
 */
import { setU32, u8, u32 } from '../../stack/bytes.js'
import { CONTROL_HEADER, Code, setControlHeader } from '../ppp/control.js'
import { FRAME_HEADER, frameHeader, frameProtocol, Protocol, setFrameHeader } from '../ppp/frame.js'
import type { PppEvent, PppLink } from '../ppp/link.js'
import type { SstpCall, SstpEvent } from '../sstp/call.js'
import { describe as describeSstp } from '../sstp/describe.js'
import { Framer, type PacketSink } from '../sstp/framer.js'
import { emitDataHeader, HEADER } from '../sstp/packet.js'
import type { Machine } from './driver.js'
import { OuterWindow } from './outer-window.js'
import { Pulse } from './pulse.js'

/** Octets in front of an IP packet: SSTP header, then PPP's `FF 03` and protocol. */
export const OVERHEAD = HEADER + FRAME_HEADER

/*
 * A mark in the stream is an LCP Echo-Request (RFC 1661 5.8), because an answer repeats its data:
 *
 *   code, identifier, length | Magic-Number | "mark" | number of the mark
 */
const MARK_LENGTH = CONTROL_HEADER + 12
const MARK_TAG = 0x6d61726b

/** What a call's owner hears of it. */
export interface CallOwner {
  onSstp(event: SstpEvent, now: number): void
  onPpp(event: PppEvent, now: number): void
  /** A control packet passes; only if tracing was asked for. */
  onTrace?(message: string): void
  /** Sockets of the stack may have news. */
  dispatch(now: number): void
  /** Deadlines of the owner's own. */
  nextTimeout(): number
  handleTimeout(now: number): void
}

/** What a call needs of a stack; a NetStack has it. */
export interface IpEndpoint {
  input(b: Uint8Array, off: number, len: number, now: number): void
  output(dst: Uint8Array, off: number, now: number): number
  readonly hasOutput: boolean
  nextTimeout(): number
  handleTimeout(now: number): void
}

/** Counters of the call, beside those of the stack. */
export interface CallCounters {
  bytesIn: number
  bytesOut: number
  framesIn: number
  framesOut: number
  /** IP packets that came before they may, or of a family that is not open. */
  dropped: number
}

export class Call implements Machine, PacketSink {
  readonly sstp: SstpCall
  readonly ppp: PppLink
  readonly stack: IpEndpoint
  readonly outer = new OuterWindow()
  readonly pulse = new Pulse()
  readonly counters: CallCounters = { bytesIn: 0, bytesOut: 0, framesIn: 0, framesOut: 0, dropped: 0 }
  /** The connection is to be closed. */
  finished = false
  private readonly owner: CallOwner
  private readonly framer = new Framer()
  private readonly trace: boolean
  private now = 0

  constructor(sstp: SstpCall, ppp: PppLink, stack: IpEndpoint, owner: CallOwner) {
    this.sstp = sstp
    this.ppp = ppp
    this.stack = stack
    this.owner = owner
    this.trace = owner.onTrace !== undefined
  }

  /** The HTTP handshake is done. */
  start(now: number): void {
    this.sstp.start(now)
    this.pump(now)
  }

  /** Leaves properly: LCP Terminate-Request, then CALL_DISCONNECT; `finished` follows within seconds. */
  close(now: number): void {
    this.ppp.terminate(now)
    this.pump(now)
  }

  /** Leaves by CALL_DISCONNECT, without waiting for PPP any longer. */
  disconnect(now: number): void {
    this.sstp.disconnect(now)
    this.pump(now)
  }

  /** Work that PPP has outside has gone on: TLS inside EAP, an authenticator's verdict. */
  poke(now: number): void {
    this.now = now
    this.ppp.activity(now)
    this.pump(now)
  }

  /** The connection has gone. */
  connectionClosed(now: number): void {
    this.sstp.closed(now)
    this.pump(now)
  }

  // ---------------------------------------------------------------- the verbs of a machine

  input(b: Uint8Array, off: number, len: number, now: number): void {
    this.now = now
    this.pulse.heard(now)
    this.counters.bytesIn += len
    const code = this.framer.push(b, off, len, this)
    if (code !== 0) {
      this.sstp.framingLost(code)
      this.pump(now)
    }
  }

  /** From the framer, for each packet, in place. */
  onPacket(b: Uint8Array, off: number, len: number, control: boolean): void {
    const { now, sstp, ppp } = this
    if (control) {
      if (this.trace) this.owner.onTrace?.(`< ${describeSstp(b, off, len)}`)
      sstp.inputControl(b, off, len, now)
      this.pump(now)
      return
    }
    sstp.packetReceived(now)
    this.counters.framesIn++
    const frame = off + HEADER
    const frameLength = len - HEADER
    const header = frameHeader(b, frame, frameLength)
    if (header < 0) return
    const protocol = frameProtocol(b, frame, header)
    const at = frame + header
    const size = frameLength - header
    if (protocol === Protocol.IPV4 || protocol === Protocol.IPV6) {
      if (!sstp.mayData || !(protocol === Protocol.IPV4 ? ppp.ipv4Open : ppp.ipv6Open)) {
        this.counters.dropped++
        return
      }
      ppp.packetReceived(now)
      this.stack.input(b, at, size, now)
      return
    }
    if (!sstp.mayControl) return
    if (protocol === Protocol.LCP && size >= MARK_LENGTH && u8(b, at) === Code.ECHO_REPLY) {
      if (u32(b, at + CONTROL_HEADER + 4) === MARK_TAG) {
        ppp.packetReceived(now)
        this.outer.onAnswer(u32(b, at + CONTROL_HEADER + 8), now)
        return
      }
    }
    if (protocol >= 0x8000) ppp.input(protocol, b, at, size, now)
    else ppp.protocolReject(protocol, b, at, size, now)
    this.pump(now)
  }

  /** Writes the next SSTP packet; control before data. @returns its length, 0 if there is none */
  output(dst: Uint8Array, off: number, now: number): number {
    const { sstp, ppp } = this
    let n = 0
    if (sstp.hasOutput) {
      n = sstp.output(dst, off)
      if (n > 0 && this.trace) this.owner.onTrace?.(`> ${describeSstp(dst, off, n)}`)
    } else if (ppp.hasOutput && sstp.mayControl) {
      n = ppp.output(dst, off + HEADER)
      if (n > 0) {
        emitDataHeader(dst, off, n)
        n += HEADER
      }
    }
    if (n === 0 && sstp.mayData) {
      const packet = off + OVERHEAD
      const size = this.stack.output(dst, packet, now)
      if (size > 0) {
        setFrameHeader(dst, off + HEADER, u8(dst, packet) >>> 4 === 4 ? Protocol.IPV4 : Protocol.IPV6)
        emitDataHeader(dst, off, FRAME_HEADER + size)
        n = OVERHEAD + size
        this.counters.framesOut++
      }
    }
    if (n > 0) this.pulse.said(now)
    this.counters.bytesOut += n
    return n
  }

  get hasControl(): boolean {
    const { sstp } = this
    return sstp.hasOutput || (this.ppp.hasOutput && sstp.mayControl)
  }

  get hasOutput(): boolean {
    return this.hasControl || (this.sstp.mayData && this.stack.hasOutput)
  }

  mark(dst: Uint8Array, off: number): number {
    const { sstp, ppp } = this
    if (!sstp.mayData || !(ppp.ipv4Open || ppp.ipv6Open)) return 0
    const { number } = this.outer
    const at = off + OVERHEAD
    emitDataHeader(dst, off, FRAME_HEADER + MARK_LENGTH)
    setFrameHeader(dst, off + HEADER, Protocol.LCP)
    setControlHeader(dst, at, Code.ECHO_REQUEST, number & 255, MARK_LENGTH)
    setU32(dst, at + 4, ppp.magic)
    setU32(dst, at + 8, MARK_TAG)
    setU32(dst, at + 12, number)
    this.counters.bytesOut += OVERHEAD + MARK_LENGTH
    return OVERHEAD + MARK_LENGTH
  }

  nextTimeout(): number {
    return Math.min(
      this.sstp.nextTimeout(),
      this.ppp.nextTimeout(),
      this.stack.nextTimeout(),
      this.owner.nextTimeout(),
    )
  }

  handleTimeout(now: number): void {
    this.now = now
    if (this.sstp.nextTimeout() <= now) this.sstp.handleTimeout(now)
    if (this.ppp.nextTimeout() <= now) this.ppp.handleTimeout(now)
    if (this.stack.nextTimeout() <= now) this.stack.handleTimeout(now)
    if (this.owner.nextTimeout() <= now) this.owner.handleTimeout(now)
    this.pump(now)
  }

  dispatch(now: number): void {
    this.owner.dispatch(now)
  }

  // ---------------------------------------------------------------- inside

  /** Carries events between the two protocols until there are none, and on to the owner. */
  private pump(now: number): void {
    for (;;) {
      const s = this.sstp.nextEvent()
      if (s !== undefined) {
        if (s.type === 'ack') this.ppp.start(now)
        if (s.type === 'closed') {
          this.finished = true
          this.framer.stop()
        }
        this.owner.onSstp(s, now)
        continue
      }
      const p = this.ppp.nextEvent()
      if (p === undefined) return
      if (p.type === 'authenticated') this.sstp.authenticated(p.hlak, now, p.otherHlak)
      else if (p.type === 'terminated') this.sstp.disconnect(now)
      this.owner.onPpp(p, now)
    }
  }
}
