/**
 * The other side of RADIUS, written on its own: a scripted server, in memory or on a UDP port. It believes nothing
 * of what the product says without having computed it here.
 */
import { createHash, createHmac } from 'node:crypto'
import { createSocket } from 'node:dgram'
import type { OpenPort, PortOwner, RadiusServer } from '../../src/gateway/radius/port.js'

export const SECRET = Buffer.from('testing123')

export type Attr = readonly [type: number, value: Uint8Array]

/** A request as the server sees it. */
export interface Seen {
  readonly packet: Buffer
  readonly code: number
  readonly id: number
  readonly authenticator: Buffer
  readonly attributes: readonly Attr[]
  /** The values of a type, or of a Microsoft type. */
  all(type: number): Buffer[]
  microsoft(type: number): Buffer[]
}

export function seen(packet: Buffer): Seen {
  if (packet.readUInt16BE(2) !== packet.length) throw new Error('the length of the packet is wrong')
  const attributes: Attr[] = []
  let at = 20
  for (; at < packet.length; at += packet.readUInt8(at + 1)) {
    attributes.push([packet.readUInt8(at), packet.subarray(at + 2, at + packet.readUInt8(at + 1))])
  }
  if (at !== packet.length) throw new Error('the attributes do not fill the packet')
  const all = (type: number) => attributes.filter(([t]) => t === type).map(([, v]) => Buffer.from(v))
  return {
    packet,
    code: packet.readUInt8(0),
    id: packet.readUInt8(1),
    authenticator: packet.subarray(4, 20),
    attributes,
    all,
    microsoft: (type) =>
      all(26)
        .filter((v) => v.readUInt32BE(0) === 311 && v.readUInt8(4) === type)
        .map((v) => v.subarray(6, 4 + v.readUInt8(5))),
  }
}

/** RFC 3579 3.2, of a request. */
export function messageAuthenticatorIsRight(
  { packet, attributes }: Seen,
  secret: Uint8Array = SECRET,
): boolean {
  const copy = Buffer.from(packet)
  let at = 20
  for (const [type, value] of attributes) {
    if (type === 80) {
      copy.fill(0, at + 2, at + 18)
      return createHmac('md5', secret).update(copy).digest().equals(value)
    }
    at += 2 + value.length
  }
  return false
}

/** RFC 2866 3, of an Accounting-Request. */
export function accountingIsRight({ packet }: Seen, secret: Uint8Array = SECRET): boolean {
  const copy = Buffer.from(packet)
  copy.fill(0, 4, 20)
  return createHash('md5').update(copy).update(secret).digest().equals(packet.subarray(4, 20))
}

export interface AnswerOptions {
  readonly secret?: Uint8Array
  /** Default: true for everything but accounting. */
  readonly messageAuthenticator?: boolean
  readonly id?: number
}

/** An answer with both proofs. */
export function answer(
  request: Seen,
  code: number,
  attributes: readonly Attr[] = [],
  o: AnswerOptions = {},
): Buffer {
  const secret = o.secret ?? SECRET
  const parts: Uint8Array[] = [Buffer.from([code, o.id ?? request.id, 0, 0]), request.authenticator]
  const signed = o.messageAuthenticator ?? code !== 5
  if (signed) parts.push(Buffer.from([80, 18]), Buffer.alloc(16))
  for (const [type, value] of attributes) parts.push(Buffer.from([type, 2 + value.length]), value)
  const packet = Buffer.concat(parts)
  packet.writeUInt16BE(packet.length, 2)
  if (signed) createHmac('md5', secret).update(packet).digest().copy(packet, 22)
  createHash('md5').update(packet).update(secret).digest().copy(packet, 4)
  return packet
}

export function int(type: number, value: number): Attr {
  const b = Buffer.alloc(4)
  b.writeUInt32BE(value)
  return [type, b]
}

export const str = (type: number, text: string): Attr => [type, Buffer.from(text)]

export function microsoft(type: number, value: Uint8Array): Attr {
  return [26, Buffer.concat([Buffer.from([0, 0, 1, 0x37, type, 2 + value.length]), value])]
}

/** EAP-Message in pieces of 253. */
export function eap(packet: Uint8Array): Attr[] {
  const out: Attr[] = []
  for (let at = 0; at < packet.length; at += 253) out.push([79, packet.subarray(at, at + 253)])
  return out
}

/** RFC 2548 2.4.2; `salt` with its highest bit set. */
export function mppeKey(
  type: 16 | 17,
  key: Uint8Array,
  request: Seen,
  salt: number,
  secret: Uint8Array = SECRET,
): Attr {
  const plain = Buffer.alloc(Math.ceil((1 + key.length) / 16) * 16)
  plain.writeUInt8(key.length)
  plain.set(key, 1)
  const out = Buffer.alloc(2 + plain.length)
  out.writeUInt16BE(salt)
  let pad = createHash('md5').update(secret).update(request.authenticator).update(out.subarray(0, 2)).digest()
  for (let at = 0; at < plain.length; at += 16) {
    for (let i = 0; i < 16; i++) out.writeUInt8(plain.readUInt8(at + i) ^ pad.readUInt8(i), 2 + at + i)
    pad = createHash('md5')
      .update(secret)
      .update(out.subarray(2 + at, 18 + at))
      .digest()
  }
  return microsoft(type, out)
}

/** RFC 2865 5.2, the other way. */
export function readPassword(hidden: Buffer, authenticator: Buffer, secret: Uint8Array = SECRET): string {
  const plain = Buffer.alloc(hidden.length)
  let before = authenticator
  for (let at = 0; at < hidden.length; at += 16) {
    const pad = createHash('md5').update(secret).update(before).digest()
    for (let i = 0; i < 16; i++) plain.writeUInt8(hidden.readUInt8(at + i) ^ pad.readUInt8(i), at + i)
    before = hidden.subarray(at, at + 16)
  }
  return plain.toString().replace(/\0+$/, '')
}

/** What a scripted server answers: datagrams, or nothing. */
export type Script = (request: Seen, server: RadiusServer) => Uint8Array | readonly Uint8Array[] | undefined

/** Ports that lead nowhere but to a script; answers come in a turn of their own. */
export class MemoryNetwork {
  readonly requests: { readonly seen: Seen; readonly server: RadiusServer; readonly port: number }[] = []
  /** The owners of ports that are open, by number. */
  readonly open = new Map<number, PortOwner>()
  script: Script
  #count = 0

  constructor(script: Script = () => undefined) {
    this.script = script
  }

  readonly openPort: OpenPort = (server, owner) => {
    const port = ++this.#count
    this.open.set(port, owner)
    return {
      send: (packet) => {
        const request = seen(Buffer.from(packet))
        this.requests.push({ seen: request, server, port })
        const said = this.script(request, server)
        if (said === undefined) return
        const datagrams = said instanceof Uint8Array ? [said] : said
        setImmediate(() => {
          for (const datagram of datagrams) this.open.get(port)?.received(datagram)
        })
      },
      close: () => void this.open.delete(port),
    }
  }
}

/** On 127.0.0.1, at a port that the kernel picks. */
export async function udpServer(
  script: (request: Seen) => Uint8Array | undefined,
): Promise<{ readonly port: number; readonly requests: Seen[]; close(): Promise<void> }> {
  const socket = createSocket('udp4')
  const requests: Seen[] = []
  socket.on('message', (packet, from) => {
    const request = seen(packet)
    requests.push(request)
    const said = script(request)
    if (said !== undefined) socket.send(said, from.port, from.address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return {
    port: socket.address().port,
    requests,
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  }
}
