import { readFileSync } from 'node:fs'
import type { Attribute } from '../../src/sstp/attribute.js'
import { statusInfo } from '../../src/sstp/attribute.js'
import type { SstpCall, SstpEvent } from '../../src/sstp/call.js'
import { MAX_OUTPUT } from '../../src/sstp/call.js'
import { describe } from '../../src/sstp/describe.js'
import type { MessageName } from '../../src/sstp/packet.js'
import { controlPacket } from '../../src/sstp/packet.js'

/** What the files of SSTP vectors hold. */
export interface AttributeVector {
  readonly type: 'encapsulated-protocol-id' | 'status-info' | 'crypto-binding' | 'crypto-binding-request'
  readonly protocol?: number
  readonly attribId?: number
  readonly status?: number
  readonly valueHex?: string
  readonly hashes?: number
  readonly nonceHex?: string
}
export interface PacketVector {
  readonly id: string
  readonly op: 'sstp'
  readonly in: {
    readonly message?: MessageName
    readonly attributes?: readonly AttributeVector[]
    readonly data?: string
  }
  readonly out: { readonly packetHex: string }
}
export interface BindingVector {
  readonly id: string
  readonly op: 'crypto-binding'
  readonly in: {
    readonly hash: 1 | 2
    readonly hlakHex: string
    readonly nonceHex: string
    readonly certHashHex: string
  }
  readonly out: { readonly cmkHex: string; readonly compoundMacHex: string; readonly messageHex: string }
}

const file = new URL('../vectors/sstp.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: (PacketVector | BindingVector)[] }
export const packetVectors = vectors.filter((v): v is PacketVector => v.op === 'sstp')
export const bindingVectors = vectors.filter((v): v is BindingVector => v.op === 'crypto-binding')

export function hex(s: string): Uint8Array {
  return Uint8Array.from(Buffer.from(s.replaceAll(' ', ''), 'hex'))
}

export function toHex(b: Uint8Array): string {
  return Buffer.from(b).toString('hex')
}

export function attributeOf(v: AttributeVector): Attribute {
  const nonce = hex(v.nonceHex ?? '')
  switch (v.type) {
    case 'encapsulated-protocol-id':
      return { kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: v.protocol ?? 0 }
    case 'status-info':
      return statusInfo(v.attribId ?? 0, v.status ?? 0, hex(v.valueHex ?? ''))
    case 'crypto-binding-request':
      return { kind: 'CRYPTO_BINDING_REQ', hashes: v.hashes ?? 0, nonce }
    case 'crypto-binding':
      throw new Error('made by the op crypto-binding')
  }
}

/** Numbers 0 to n-1, the same for the same seed (mulberry32). */
export function seededInt(seed: number): (n: number) => number {
  let a = seed >>> 0
  return (n) => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), a | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % n
  }
}

/** A source of octets to hand in, the same for the same seed. */
export function seededBytes(seed: number): (dst: Uint8Array) => void {
  const int = seededInt(seed)
  return (dst) => {
    for (let i = 0; i < dst.length; i += 1) dst[i] = int(256)
  }
}

/** The same octets at a non-zero offset of a poisoned array. */
export function shifted(packet: Uint8Array, by = 7): { b: Uint8Array; off: number } {
  const b = new Uint8Array(packet.length + 2 * by).fill(0xa5)
  b.set(packet, by)
  return { b, off: by }
}

/** A call and its side of a dialogue in virtual time: says things to it, notes what it says. */
export class Talk<C extends SstpCall> {
  readonly call: C
  now: number
  constructor(call: C, now = 1_000) {
    this.call = call
    this.now = now
  }

  /** Hands it a control packet at an offset of a larger array. */
  hear(packet: MessageName | Uint8Array, attributes: readonly Attribute[] = []): this {
    const octets = typeof packet === 'string' ? controlPacket(packet, attributes) : packet
    const { b, off } = shifted(octets)
    this.call.inputControl(b, off, octets.length, this.now)
    b.fill(0x5a) // the caller's chunk is reused
    return this
  }

  /** Packets that it has to send, drained. */
  packets(): Uint8Array[] {
    const list: Uint8Array[] = []
    const dst = new Uint8Array(MAX_OUTPUT + 5).fill(0xa5)
    while (this.call.hasOutput) {
      const length = this.call.output(dst, 5)
      if (length === 0) throw new Error('hasOutput, but no output')
      if (list.length > 100) throw new Error('output without end')
      list.push(dst.slice(5, 5 + length))
      dst.fill(0xa5)
    }
    if (this.call.output(dst, 5) !== 0) throw new Error('output, but not hasOutput')
    return list
  }

  /** The same in words. */
  said(): string[] {
    return this.packets().map((p) => describe(p, 0, p.length))
  }

  events(): SstpEvent[] {
    const list: SstpEvent[] = []
    for (let e = this.call.nextEvent(); e !== undefined; e = this.call.nextEvent()) list.push(e)
    return list
  }

  /** Events in words: `closed by remote: SSTP_PEER_ABORT`. */
  told(): string[] {
    return this.events().map(eventText)
  }

  /** Lets time pass, with every timer that comes due on its way. */
  wait(ms: number): this {
    const until = this.now + ms
    for (let n = 0; this.call.nextTimeout() <= until; n += 1) {
      if (n === 1_000) throw new Error('timers without end')
      this.now = Math.max(this.now, this.call.nextTimeout())
      this.call.handleTimeout(this.now)
    }
    this.now = until
    return this
  }
}

export function eventText(e: SstpEvent): string {
  switch (e.type) {
    case 'ack':
      return `ack ${e.offered} ${e.hash ?? '-'}`
    case 'connected':
      return `connected ${e.hash}`
    case 'peer-abort':
    case 'peer-disconnect':
      return `${e.type} ${e.status ?? '-'}`
    case 'closing':
      return `closing${e.error === undefined ? '' : `: ${e.error.code}`}`
    case 'closed':
      return `closed by ${e.by}${e.error === undefined ? '' : `: ${e.error.code}`}`
  }
}
