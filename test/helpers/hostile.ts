/**
 * Peers that do not keep to the rules, in virtual time: a client's and a server's machines with wires between
 * them on which packets are lost, changed and made up.
 */
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { TLSSocket } from 'node:tls'
import { AddressPool } from '../../src/gateway/address-pool.js'
import { ClientCall, type GatewayContext } from '../../src/gateway/client-call.js'
import type { GatewayEvent } from '../../src/gateway/events.js'
import { LoginGuard } from '../../src/gateway/login-guard.js'
import type { GatewayOptions } from '../../src/gateway/options.js'
import { ownAddress } from '../../src/gateway/policy.js'
import { Reporter } from '../../src/gateway/reporter.js'
import { ipv6Plan } from '../../src/gateway/router.js'
import { Call } from '../../src/link/call.js'
import { Driver, type Outer } from '../../src/link/driver.js'
import { type PppClientOptions, PppLink, type PppServerOptions } from '../../src/ppp/link.js'
import { SstpClient } from '../../src/sstp/client.js'
import { SstpServer } from '../../src/sstp/server.js'
import { IpAddress, NetStack } from '../../stack/index.js'
import { CLIENT_ADDRESS, GATEWAY_ADDRESS, Owner } from './call-pair.js'
import { EventLoop } from './outer.js'
import { SeededRandom } from './random.js'

export const LCP = 0xc021
export const PAP = 0xc023
export const CHAP = 0xc223
export const EAP = 0xc227
export const IPCP = 0x8021
export const IPV4 = 0x0021
export const IPV6 = 0x0057

/** Virtual time that knows how many timers are set. */
export class Loop extends EventLoop {
  pending = 0

  override at(when: number, callback: () => void): ReturnType<EventLoop['at']> {
    this.pending++
    const due = super.at(when, () => {
      this.#done.add(due)
      this.pending--
      callback()
    })
    return due
  }

  override cancel(timer: unknown): void {
    const due = timer as ReturnType<EventLoop['at']> | undefined
    if (due !== undefined && !this.#done.has(due)) {
      this.#done.add(due)
      this.pending--
    }
    super.cancel(timer)
  }

  readonly #done = new WeakSet<object>()
}

/** As sessions have it: a log-in may take longer than SSTP's own minute. */
const NEGOTIATION = 120_000
const CERTIFICATE = new TextEncoder().encode('a certificate')

/** An SSTP data packet around a PPP frame. */
export function frame(protocol: number, body: Uint8Array): Buffer {
  const b = Buffer.alloc(8 + body.length)
  b.writeUInt16BE(0x1000)
  b.writeUInt16BE(b.length, 2)
  b.writeUInt16BE(0xff03, 4)
  b.writeUInt16BE(protocol, 6)
  b.set(body, 8)
  return b
}

/** The same around a packet of LCP, an NCP or an authentication protocol; `body` in hex or octets. */
export function ppp(protocol: number, code: number, id: number, body: string | Uint8Array = ''): Buffer {
  const data = typeof body === 'string' ? Buffer.from(body.replaceAll(' ', ''), 'hex') : body
  const b = Buffer.alloc(4 + data.length)
  b.writeUInt8(code)
  b.writeUInt8(id & 255, 1)
  b.writeUInt16BE(b.length, 2)
  b.set(data, 4)
  return frame(protocol, b)
}

/** PPP protocol, code and body of an SSTP data packet; -1 and -1 for others. */
export function read(packet: Uint8Array): { protocol: number; code: number; id: number; body: Buffer } {
  const b = Buffer.from(packet.buffer, packet.byteOffset, packet.length)
  if (b.length < 12 || (b.readUInt8(1) & 1) === 1) return { protocol: -1, code: -1, id: -1, body: b }
  return { protocol: b.readUInt16BE(6), code: b.readUInt8(8), id: b.readUInt8(9), body: b.subarray(12) }
}

/** The message type of an SSTP control packet; 0 for data. */
export function messageOf(packet: Uint8Array): number {
  const b = Buffer.from(packet.buffer, packet.byteOffset, packet.length)
  return (b.readUInt8(1) & 1) === 1 ? b.readUInt16BE(4) : 0
}

/** What becomes of a packet: itself, another, nothing. */
export type Rule = (packet: Buffer, n: number) => Uint8Array | undefined

/** One direction of a connection. */
export class Wire implements Outer {
  rule: Rule = (packet) => packet
  deliver: (b: Uint8Array) => void = () => {}
  onEnd: () => void = () => {}
  /** The other end takes nothing more: no write is ever done. */
  deaf = false
  /** Octets written, and writes that are not done. */
  octets = 0
  waiting = 0
  ended = false
  /** All that was delivered, with its time, if it is to be kept. */
  record: { at: number; b: Buffer }[] | undefined
  readonly #loop: EventLoop
  #packets = 0

  constructor(loop: EventLoop) {
    this.#loop = loop
  }

  write(b: Uint8Array, done: () => void): void {
    this.octets += b.length
    this.waiting++
    if (this.deaf) return
    const out: Uint8Array[] = []
    // Machines write whole packets; what a TLS socket gets besides (an HTTP head) does not pass here.
    for (let at = 0; at < b.length; ) {
      const length = (((b[at + 2] ?? 0) << 8) | (b[at + 3] ?? 0)) & 0xfff
      assert.ok(length >= 4 && at + length <= b.length)
      const packet = this.rule(Buffer.from(b.subarray(at, at + length)), this.#packets++)
      if (packet !== undefined) out.push(packet)
      at += length
    }
    this.#loop.soon(() => {
      this.waiting--
      done()
    })
    if (out.length > 0) this.say(...out)
  }

  /** Whatever octets, in order with what was written. */
  say(...pieces: Uint8Array[]): void {
    const b = Buffer.concat(pieces)
    this.#loop.later(() => {
      this.record?.push({ at: this.#loop.now, b: Buffer.from(b) })
      this.deliver(b)
      b.fill(0xa5)
    }, 1)
  }

  end(): void {
    if (this.ended) return
    this.ended = true
    this.#loop.later(() => this.onEnd(), 1)
  }
}

export interface RigOptions {
  readonly auth?: PppClientOptions['auth']
  readonly client?: Partial<PppClientOptions>
  readonly server?: Partial<PppServerOptions>
  readonly seed?: number
}

/** A client's machine as a session drives it. */
export class ClientEnd {
  readonly owner = new Owner()
  readonly stack: NetStack
  readonly call: Call
  readonly driver: Driver
  readonly wire: Wire

  constructor(loop: EventLoop, options: RigOptions = {}) {
    const random = new SeededRandom((options.seed ?? 1) ^ 0xc11e).fill
    this.wire = new Wire(loop)
    this.stack = new NetStack({ mtu: 1400, random })
    this.call = new Call(
      new SstpClient({ certificate: CERTIFICATE, negotiationTimeout: NEGOTIATION }),
      new PppLink({
        role: 'client',
        random,
        auth: options.auth ?? ['mschapv2'],
        user: 'alice',
        password: 'secret',
        ipv6: false,
        ...options.client,
      }),
      this.stack,
      this.owner,
    )
    this.driver = new Driver(this.wire, this.call, () => loop.now, loop)
  }

  start(): void {
    this.call.start(this.driver.now())
    this.driver.wake()
  }

  hear(b: Uint8Array): void {
    this.driver.received(b, 0, b.length)
  }

  connectionClosed(): void {
    this.call.connectionClosed(this.driver.now())
    this.driver.wake()
  }

  get up(): boolean {
    return this.call.sstp.mayData && this.call.ppp.ipv4Open
  }

  /** Why it ended, as people are told of it; undefined if it has not. */
  get failure(): { readonly code: string; readonly message: string } | undefined {
    const { error } = this.call.ppp
    if (error !== undefined && error.code !== 'TERMINATED') return error
    const end = this.owner.sstp.find((e) => e.type === 'closing' || e.type === 'closed')
    if (end?.type !== 'closing' && end?.type !== 'closed') return error
    return end.error ?? error ?? { code: 'none', message: 'ended properly' }
  }
}

/** A client and a hostile server: a proper one whose wire is tampered with, or only what is said in its name. */
export class Rig {
  readonly loop = new Loop()
  readonly client: ClientEnd
  readonly server: Call
  readonly serverStack: NetStack
  readonly down: Wire
  readonly up: Wire
  readonly #driver: Driver

  constructor(options: RigOptions = {}) {
    const random = new SeededRandom(options.seed ?? 1).fill
    this.loop.now = 1000
    this.client = new ClientEnd(this.loop, options)
    this.up = this.client.wire
    this.down = new Wire(this.loop)
    this.serverStack = new NetStack({ mtu: 1400, random, anyAddress: true })
    this.serverStack.addAddress(IpAddress.parse(GATEWAY_ADDRESS) as IpAddress)
    this.server = new Call(
      new SstpServer({ random, certificate: CERTIFICATE, negotiationTimeout: NEGOTIATION }),
      new PppLink({
        role: 'server',
        random,
        auth: options.auth ?? ['mschapv2'],
        lookup: (user) => (user === 'alice' ? 'secret' : undefined),
        ownIpv4: Uint8Array.from([10, 9, 0, 1]),
        assign: () => Uint8Array.from([10, 9, 0, 2]),
        dns: [Uint8Array.from([10, 9, 0, 1])],
        ipv6: false,
        ...options.server,
      }),
      this.serverStack,
      new Owner(),
    )
    this.#driver = new Driver(this.down, this.server, () => this.loop.now, this.loop)
    this.up.deliver = (b) => this.#driver.received(b, 0, b.length)
    this.down.deliver = (b) => this.client.hear(b)
    this.down.onEnd = () => this.client.connectionClosed()
  }

  start(): this {
    this.client.start()
    this.server.start(this.loop.now)
    this.#driver.wake()
    return this
  }

  /** Until it is up; the client's stack has its address then. */
  comeUp(): this {
    this.start()
    this.pass(500)
    assert.ok(this.client.up, 'the call is up')
    this.client.stack.addAddress(IpAddress.parse(CLIENT_ADDRESS) as IpAddress)
    return this
  }

  pass(ms: number): this {
    this.loop.until(this.loop.now + ms)
    return this
  }

  /** Says something in the server's name. */
  say(...pieces: Uint8Array[]): this {
    this.down.say(...pieces)
    return this
  }

  wake(): void {
    this.client.driver.wake()
    this.#driver.wake()
  }
}

/** The gateway's end of a TLS connection, without TLS. */
export class Line extends EventEmitter {
  readonly wire: Wire
  destroyed = false
  ended = false
  readonly #loop: EventLoop

  constructor(loop: EventLoop) {
    super()
    this.#loop = loop
    this.wire = new Wire(loop)
  }

  write(b: Uint8Array, done: () => void): void {
    if (!this.destroyed) this.wire.write(b, done)
  }

  end(): void {
    this.ended = true
    this.wire.end()
  }

  destroySoon(): void {
    if (!this.wire.deaf) this.destroy()
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.#loop.soon(() => this.emit('close'))
  }
}

export interface DoorOptions {
  readonly auth?: NonNullable<GatewayOptions['auth']>
  readonly setupTimeout?: number
  readonly guard?: LoginGuard
  readonly source?: string
  readonly trace?: boolean
  readonly maxCalls?: number
  readonly allowLoopback?: boolean
  /** A /64 for all clients. */
  readonly ipv6Prefix?: string
}

/** The gateway's part of one call, behind its HTTP handshake, in virtual time. */
export class Door {
  readonly loop: Loop
  readonly line: Line
  readonly call: ClientCall
  readonly events: GatewayEvent[] = []
  readonly pool = new AddressPool('10.9.0.0/24')
  /** Calls whose client has signed in. */
  known = 0
  over = 0

  constructor(options: DoorOptions = {}, loop = new Loop()) {
    this.loop = loop
    if (loop.now === 0) loop.now = 1000
    this.line = new Line(loop)
    const clock = (): number => loop.now
    const context: GatewayContext = {
      options: {
        address: '',
        port: 0,
        cert: '',
        key: '',
        accounts: { password: (user) => (user === 'alice' ? 'secret' : undefined) },
        auth: options.auth ?? ['mschapv2'],
        mtu: 1400,
        trace: options.trace ?? false,
        allowLoopback: options.allowLoopback ?? false,
      },
      pool: this.pool,
      own: ownAddress(this.pool.gateway),
      dns: [],
      ...(options.ipv6Prefix === undefined ? {} : { ipv6: ipv6Plan(options.ipv6Prefix) }),
      certificate: CERTIFICATE,
      guard: options.guard ?? new LoginGuard(),
      reporter: new Reporter((e) => this.events.push(e), clock),
      clock,
      turns: loop,
    }
    const guest = {
      id: 1,
      from: '192.0.2.1:5',
      source: options.source ?? '192.0.2.1',
      deadline: loop.now + (options.setupTimeout ?? 120_000),
      quiet: false,
    }
    this.call = new ClientCall(guest, this.line as unknown as TLSSocket, context, {
      known: () => {
        this.known++
        return this.known <= (options.maxCalls ?? 1)
      },
      over: () => {
        this.over++
      },
    })
  }

  start(): this {
    this.call.start(new Uint8Array(0))
    return this
  }

  /** Says something in the client's name, at once. */
  say(...pieces: Uint8Array[]): this {
    const b = Buffer.concat(pieces)
    if (!this.line.destroyed) this.line.emit('data', b)
    return this
  }

  /** A proper client, whose wire may be tampered with. */
  client(options: RigOptions = {}): ClientEnd {
    const client = new ClientEnd(this.loop, options)
    client.wire.deliver = (b) => this.say(b)
    this.line.wire.deliver = (b) => client.hear(b)
    this.line.wire.onEnd = () => client.connectionClosed()
    client.start()
    return client
  }

  pass(ms: number): this {
    this.loop.until(this.loop.now + ms)
    return this
  }

  /** What was told when it ended, undefined if it has not. */
  get reason(): string | undefined {
    const end = this.events.find((e) => e.type === 'closed')
    return end?.type === 'closed' ? end.reason : undefined
  }
}

/** One line for people: not empty, not long, nothing in it that acts on a terminal. */
export function assertOneLine(text: string): void {
  assert.match(text, /^[\x20-\x7e\u00a0-\uffff]{4,300}$/, `not one clear line: ${JSON.stringify(text)}`)
}
