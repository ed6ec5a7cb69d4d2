import { u8 } from '../../stack/bytes.js'
import type { SstpErrorCode } from './errors.js'
import { HEADER, isControl, packetLength, VERSION } from './packet.js'

/** Takes packets where they lie. The octets are good only during the call. */
export interface PacketSink {
  /** `off` and `len` are those of the whole SSTP packet with its 4-octet header. */
  onPacket(b: Uint8Array, off: number, len: number, control: boolean): void
}

/**
 * Cuts the stream behind the HTTP head into packets.
 *
 * Packets are handed on inside the caller's chunk; only one that straddles two chunks is put
 * together in a buffer of the framer's own. So a push copies less than two packets.
 */
export class Framer {
  /** The beginning of a packet whose end has not come; `held` octets of it. Room for the largest. */
  private readonly buffer = new Uint8Array(4096)
  private held = 0
  private failure: SstpErrorCode | 0 = 0
  private stopped = false

  /**
   * Walks a chunk. 0, or the reason why the stream cannot be delimited any more: from then on
   * every push says the same and delivers nothing. MS-SSTP 3.1.5.1: close without a word.
   */
  push(b: Uint8Array, off: number, len: number, sink: PacketSink): SstpErrorCode | 0 {
    if (this.failure !== 0 || this.stopped) return this.failure
    const end = off + len
    let at = off
    if (this.held > 0) {
      at = this.complete(b, at, end, sink)
      if (at < 0) return this.failure
    }
    while (end - at >= HEADER) {
      if (u8(b, at) !== VERSION) return this.fail('SSTP_VERSION')
      const length = packetLength(b, at)
      if (length < HEADER) return this.fail('SSTP_LENGTH')
      if (length > end - at) break
      sink.onPacket(b, at, length, isControl(b, at))
      if (this.stopped) return 0
      at += length
    }
    if (at < end) {
      this.buffer.set(b.subarray(at, end), 0)
      this.held = end - at
    }
    return 0
  }

  /** Drops the rest of a push that is under way, and all later ones. For a sink whose owner has ended. */
  stop(): void {
    this.stopped = true
    this.held = 0
  }

  /** Goes on with the packet held. Where in the chunk it ended, or -1: nothing more to do with this chunk. */
  private complete(b: Uint8Array, off: number, end: number, sink: PacketSink): number {
    const buffer = this.buffer
    let at = off
    while (this.held < HEADER) {
      if (at === end) return -1
      buffer[this.held] = u8(b, at)
      this.held += 1
      at += 1
    }
    if (u8(buffer, 0) !== VERSION) return this.giveUp('SSTP_VERSION')
    const length = packetLength(buffer, 0)
    if (length < HEADER) return this.giveUp('SSTP_LENGTH')
    const take = Math.min(length - this.held, end - at)
    if (take > 0) {
      buffer.set(b.subarray(at, at + take), this.held)
      this.held += take
      at += take
    }
    if (this.held < length) return -1
    this.held = 0
    sink.onPacket(buffer, 0, length, isControl(buffer, 0))
    return this.stopped ? -1 : at
  }

  private fail(code: SstpErrorCode): SstpErrorCode {
    this.failure = code
    return code
  }

  private giveUp(code: SstpErrorCode): -1 {
    this.failure = code
    return -1
  }
}
