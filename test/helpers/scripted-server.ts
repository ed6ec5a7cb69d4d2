/**
 * A server that is a script: a client's whole call in virtual time (SSTP, PPP, stack), and the lines that a
 * server says to it, octet for octet, with what the client must answer. A line is a packet:
 *
 * ```
 * CALL_ABORT 1 0002000c 00000000 00000007     message, number of attributes, their octets
 * lcp request 0 0104 0ffb                     protocol, code, identifier, the rest
 * 80fd 1 4 120601000001                       the same of a protocol without a name here
 * ipv4 4500…                                  a packet
 * raw 1000 0008 c021 …                        octets as they are
 * ```
 *
 * CALL_CONNECTED is checked octet for octet and heard as `CALL_CONNECTED sha256 mschapv2`: the hash, and the key
 * that its MAC was made with.
 */
import { createHash, createHmac } from 'node:crypto'
import type { Test } from 'tap'
import { Call } from '../../src/link/call.js'
import { type PppClientOptions, type PppEvent, PppLink } from '../../src/ppp/link.js'
import { SstpClient } from '../../src/sstp/client.js'
import { messageName } from '../../src/sstp/packet.js'
import { KeepAlive } from '../../src/tunnel/keep-alive.js'
import { IpAddress, NetStack } from '../../stack/index.js'
import { Owner } from './call-pair.js'
import { SeededRandom } from './random.js'

export const USER = 'User'
export const PASSWORD = 'clientPass'

/** RFC 2759 9.2: the script's client has the peer challenge of that example, so its values are the right ones. */
export const MSCHAPV2 = {
  challenge: '5b5d7c7d7b3f2f3e3c2c602132262628',
  peerChallenge: '21402324255e262a28295f2b3a337c7e',
  /** The 49 octets of the value, with their length in front. */
  response: `31 21402324255e262a28295f2b3a337c7e 0000000000000000 82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df 00`,
  proof: 'S=407A5589115FD0D6209F510FE9C04566932CDA56',
} as const

/** Keys of the crypto binding: that of RFC 2759's example by RFC 3079, and the one of methods that make none. */
const KEYS = {
  mschapv2: 'd5f0e9521e3ea9589645e86051c822268b7cdc149b993a1ba118cb153f56dccb',
  zero: '00'.repeat(32),
} as const

export const CERTIFICATE = new TextEncoder().encode('a certificate')
const NONCE = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'

/** What the client always says first. */
export const CONNECT_REQUEST = 'CALL_CONNECT_REQUEST 1 0001 0006 0001'
/** Its Configure-Request if nothing is said about it: MRU 1400, Magic-Number. */
export const LCP_REQUEST = '0104 0578 0506 a1b2c3d4'
/** Address, and two DNS servers. */
export const IPCP_REQUEST = '0306 00000000 8106 00000000 8306 00000000'
/** Our words for a CALL_ABORT and a CALL_DISCONNECT without an error. */
export const ABORT_BACK = 'CALL_ABORT 1 0002000c 00000000 00000000'
export const DISCONNECT = 'CALL_DISCONNECT 1 0002000c 00000000 00000000'

/** LCP's option for a method. */
export const AUTH = {
  eap: '0304c227',
  mschapv2: '0305c22381',
  mschapv1: '0305c22380',
  md5: '0305c22305',
  pap: '0304c023',
} as const

/** Our PAP request, behind its identifier. */
export const PAP_REQUEST = `04${text(USER)} 0a${text(PASSWORD)}`

export function text(s: string): string {
  return Buffer.from(s, 'utf8').toString('hex')
}

const PROTOCOLS: Readonly<Record<string, number>> = {
  lcp: 0xc021,
  pap: 0xc023,
  chap: 0xc223,
  eap: 0xc227,
  ipcp: 0x8021,
  ipv6cp: 0x8057,
}
const CONTROL =
  'request ack nak reject terminate terminate-ack code-reject protocol-reject echo echo-reply discard identification time-remaining'
const CODES: Readonly<Record<string, readonly string[]>> = {
  lcp: CONTROL.split(' '),
  ipcp: CONTROL.split(' ').slice(0, 7),
  ipv6cp: CONTROL.split(' ').slice(0, 7),
  pap: ['request', 'ack', 'nak'],
  chap: ['challenge', 'response', 'success', 'failure'],
  eap: ['request', 'response', 'success', 'failure'],
}
const MESSAGES: readonly string[] = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => messageName(n) ?? '')

function octets(hex: string): Buffer {
  const digits = hex.replace(/\s/g, '')
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error(`not hex: ${hex}`)
  return Buffer.from(digits, 'hex')
}

function word16(n: number): string {
  return n.toString(16).padStart(4, '0')
}

/** A packet as a script has it. */
export function packet(line: string): Buffer {
  const [first = '', second = '', third = '', ...rest] = line.trim().split(/\s+/)
  if (first === 'raw') return octets([second, third, ...rest].join(''))
  const type = MESSAGES.indexOf(first) + 1
  if (type > 0) {
    const body = octets([third, ...rest].join(''))
    const head = `1001${word16(8 + body.length)}${word16(type)}${word16(Number(second))}`
    return Buffer.concat([octets(head), body])
  }
  if (first === 'ipv4' || first === 'ipv6') {
    const body = octets([second, third, ...rest].join(''))
    const head = `1000${word16(8 + body.length)}ff03${first === 'ipv4' ? '0021' : '0057'}`
    return Buffer.concat([octets(head), body])
  }
  const protocol = PROTOCOLS[first] ?? Number.parseInt(first, 16)
  const named = CODES[first]?.indexOf(second) ?? -1
  const code = named < 0 ? Number(second) : named + 1
  const id = Number(third)
  if (!(protocol > 0) || !(code >= 0) || !(id >= 0)) throw new Error(`not a line of a script: ${line}`)
  const body = octets(rest.join(''))
  const head = `1000${word16(12 + body.length)}ff03${word16(protocol)}`
  const inner = Buffer.from([code, id, (4 + body.length) >>> 8, (4 + body.length) & 255])
  return Buffer.concat([octets(head), inner, body])
}

/**
 * The lines of a stream of whole packets that a client sent; throws on what no server has to take. `certificate` is
 * what the server showed.
 */
export function linesOf(stream: Buffer, certificate: Uint8Array = CERTIFICATE): string[] {
  const lines: string[] = []
  for (let at = 0; at < stream.length; ) {
    const length = stream.readUInt16BE(at + 2)
    // Every bit that is not the length must be 0: accel-ppp hangs up on others.
    if (stream[at] !== 0x10 || length < 4 || length > 4095 || at + length > stream.length) {
      throw new Error(`not SSTP: ${stream.toString('hex', at, at + 16)}`)
    }
    lines.push(lineOf(stream.subarray(at, at + length), certificate))
    at += length
  }
  return lines
}

function lineOf(p: Buffer, certificate: Uint8Array): string {
  if (p[1] === 1) {
    const name = messageName(p.readUInt16BE(4)) ?? 'UNKNOWN'
    if (name === 'CALL_CONNECTED') return `${name} ${bindingOf(p, certificate)}`
    return `${name} ${p.readUInt16BE(6)} ${p.toString('hex', 8)}`.trimEnd()
  }
  if (p[1] !== 0 || p.readUInt16BE(4) !== 0xff03) throw new Error(`not a PPP frame: ${p.toString('hex')}`)
  const protocol = p.readUInt16BE(6)
  if (protocol === 0x0021) return `ipv4 ${p.toString('hex', 8)}`
  if (protocol === 0x0057) return `ipv6 ${p.toString('hex', 8)}`
  if (p.readUInt16BE(10) !== p.length - 8) throw new Error(`a length field is wrong: ${p.toString('hex')}`)
  const name = Object.keys(PROTOCOLS).find((key) => PROTOCOLS[key] === protocol) ?? word16(protocol)
  const code = CODES[name]?.[p.readUInt8(8) - 1] ?? p.readUInt8(8)
  return `${name} ${code} ${p.readUInt8(9)} ${p.toString('hex', 12)}`.trimEnd()
}

/** All 112 octets of CALL_CONNECTED (MS-SSTP 3.2.5.2), computed apart from the product. */
function bindingOf(p: Buffer, shown: Uint8Array): string {
  const hash = p.readUInt8(15)
  const name = hash === 1 ? 'sha1' : 'sha256'
  const certificate = createHash(name).update(shown).digest('hex').padEnd(64, '0')
  const head = `1001007000040001000300680000000${hash}${NONCE}${certificate}`
  for (const [method, key] of Object.entries(KEYS)) {
    const length = hash === 1 ? '1400' : '2000'
    const seed = Buffer.concat([Buffer.from('SSTP inner method derived CMK'), octets(`${length}01`)])
    const cmk = createHmac(name, octets(key)).update(seed).digest()
    const zeroed = octets(head + '00'.repeat(32))
    const mac = createHmac(name, cmk).update(zeroed).digest('hex').padEnd(64, '0')
    if (p.toString('hex') === head + mac) return `${name} ${method}`
  }
  return `${name} wrong ${p.toString('hex')}`
}

/** `lcp request 1 0104 0578` and `lcp request 1 01040578` are the same line. */
function normal(line: string): string {
  const [first = '', second = '', third = '', ...rest] = line.trim().split(/\s+/)
  if (first === 'CALL_CONNECTED') return [first, second, third].join(' ')
  if (first === 'ipv4' || first === 'ipv6') return `${first} ${[second, third, ...rest].join('')}`
  const head = MESSAGES.includes(first) ? [first, second] : [first, second, third]
  const body = MESSAGES.includes(first) ? [third, ...rest].join('') : rest.join('')
  return `${head.join(' ')} ${body}`.trimEnd()
}

export interface ScriptOptions {
  readonly client?: Partial<PppClientOptions>
  /** Mask of the hashes that the client may use. */
  readonly hashes?: number
  /** With the keep-alive of a session; without, only MS-SSTP's hello timer of 60 s runs. */
  readonly keepAlive?: boolean
  /** The stream arrives in pieces of that many octets; each `says` in one by default. */
  readonly piece?: number
}

/** The client of a session, with randomness that gives known octets, and the other end of its wire. */
export class ScriptedServer {
  readonly call: Call
  readonly owner = new Owner()
  readonly stack: NetStack
  now = 1000
  /** What the keep-alive found out: milliseconds of silence. */
  dead: number | undefined
  readonly #t: Test
  readonly #piece: number
  #heard: string[] = []
  /** How often octets of a size were asked for. */
  readonly #draws = new Map<number, number>()

  constructor(t: Test, options: ScriptOptions = {}) {
    this.#t = t
    this.#piece = options.piece ?? Number.POSITIVE_INFINITY
    const random = (dst: Uint8Array): void => this.#random(dst)
    this.stack = new NetStack({ mtu: 1400, random: new SeededRandom(1).fill })
    const ppp = new PppLink({
      role: 'client',
      random,
      auth: ['mschapv2', 'chap', 'pap'],
      user: USER,
      password: PASSWORD,
      ipv6: false,
      ...options.client,
    })
    const sstp = new SstpClient({
      certificate: CERTIFICATE,
      // As a session has it.
      negotiationTimeout: 110_000,
      ...(options.hashes === undefined ? {} : { hashes: options.hashes }),
    })
    const owner = this.owner
    const onPpp = owner.onPpp.bind(owner)
    owner.onPpp = (event: PppEvent) => {
      onPpp(event)
      if (event.type !== 'ipv4-up') return
      // As a session does it.
      this.stack.setMtu(ppp.mtu)
      const address = IpAddress.fromBytes(event.local)
      if (address !== undefined) this.stack.addAddress(address)
    }
    this.call = new Call(sstp, ppp, this.stack, owner)
    if (options.keepAlive === true) this.#keepAlive(sstp)
  }

  /** As a session has it. */
  #keepAlive(sstp: SstpClient): void {
    const { owner } = this
    const keepAlive = new KeepAlive({
      pulse: this.call.pulse,
      echo: () => sstp.echo(),
      dead: (ms) => {
        this.dead = ms
      },
    })
    const onSstp = owner.onSstp.bind(owner)
    owner.onSstp = (event) => {
      onSstp(event)
      if (event.type === 'connected') keepAlive.start()
      if (event.type === 'closed') keepAlive.stop()
    }
    owner.nextTimeout = () => keepAlive.nextTimeout()
    owner.handleTimeout = (...[now]: number[]) => keepAlive.handleTimeout(now ?? this.now)
  }

  /** Magic-Number a1b2c3d4 and interface identifier 0011…77, others the next time; the peer challenge of RFC 2759. */
  #random(dst: Uint8Array): void {
    const known: Readonly<Record<number, string>> = {
      4: 'a1b2c3d4',
      8: '0011223344556677',
      16: MSCHAPV2.peerChallenge,
    }
    const octet = known[dst.length]
    dst.set(octet === undefined ? new Uint8Array(dst.length).fill(0x5a) : octets(octet))
    const before = this.#draws.get(dst.length) ?? 0
    if (before > 0 && dst.length !== 16) dst[0] = (dst[0] ?? 0) + 4 * before
    this.#draws.set(dst.length, before + 1)
  }

  // ------------------------------------------------------------------ the words of a script

  /** The HTTP exchange is over. */
  start(): this {
    this.call.start(this.now)
    return this.#listen()
  }

  /** To the LCP of a server that offers such hashes: its first two messages. */
  connect(hashes = 3): this {
    return this.start().hears(CONNECT_REQUEST).says(ack(hashes))
  }

  /** The server says this, in one read. */
  says(...lines: string[]): this {
    this.#nothingUnheard(lines[0] ?? '')
    const stream = Buffer.concat(lines.map(packet))
    const step = Math.min(this.#piece, stream.length)
    for (let at = 0; at < stream.length; at += step) {
      const size = Math.min(step, stream.length - at)
      // At an odd place of a chunk that is spoilt at once: nothing may be kept of it.
      const chunk = Buffer.alloc(size + 9, 0x5a)
      stream.copy(chunk, 5, at, at + size)
      this.call.input(chunk, 5, size, this.now)
      chunk.fill(0xa5)
    }
    return this.#listen()
  }

  /** All that the client has said since, in order; `*` at the end of a line stands for any octets. */
  hears(...lines: (string | RegExp)[]): this {
    const heard = this.#heard
    this.#heard = []
    const want = lines.map((line) => (typeof line === 'string' ? normal(line) : line))
    const right = heard.length === want.length && want.every((line, i) => matches(line, heard[i] ?? ''))
    if (right) this.#t.pass(want.length === 0 ? 'nothing is said' : `heard ${want.join(' | ').slice(0, 80)}`)
    else this.#t.same(heard, want.map(String), 'what the client says')
    return this
  }

  hearsNothing(): this {
    return this.hears()
  }

  /** What it said, for a look at its octets. */
  heard(): string[] {
    const heard = this.#heard
    this.#heard = []
    return heard
  }

  /** Time passes; whatever is due on the way is done when it is. */
  after(ms: number): this {
    this.#nothingUnheard(`${ms} ms`)
    const end = this.now + ms
    for (let n = 0; n < 100_000; n += 1) {
      const due = this.call.nextTimeout()
      if (due > end) {
        this.now = end
        return this
      }
      this.now = Math.max(this.now, due)
      this.call.handleTimeout(this.now)
      this.#listen()
    }
    throw new Error('time does not pass')
  }

  /**
   * Time passes in steps of half a second, and the server answers what it hears at once; every `every` milliseconds it says
   * `by` by itself. @returns milliseconds of the client's longest silence
   */
  lives(
    ms: number,
    answer: (line: string) => readonly string[],
    by: readonly string[] = [],
    every = ms,
  ): number {
    let spoke = this.now
    let longest = 0
    for (const end = this.now + ms; this.now < end && !this.call.finished && this.dead === undefined; ) {
      this.after(500)
      let own: readonly string[] = (end - this.now) % every === 0 ? by : []
      for (let n = 0; this.#heard.length + own.length > 0 && n < 100; n += 1) {
        if (this.#heard.length > 0) spoke = this.now
        const answers = [...this.heard().flatMap(answer), ...own]
        own = []
        if (answers.length > 0) this.says(...answers)
      }
      longest = Math.max(longest, this.now - spoke)
    }
    return longest
  }

  /** The server closes TLS. */
  hangsUp(): this {
    this.#nothingUnheard('hanging up')
    this.call.connectionClosed(this.now)
    return this.#listen()
  }

  /** The user has had enough. */
  leaves(): this {
    this.call.close(this.now)
    return this.#listen()
  }

  /** Sockets of the client did something. */
  stirs(): this {
    return this.#listen()
  }

  // ------------------------------------------------------------------ what became of it

  /** The call is up: data may flow, and there is this address. */
  isUp(address: string): this {
    this.#t.ok(this.call.sstp.mayData && this.call.ppp.ipv4Open, 'the call is up')
    const up = this.#lastUp()
    this.#t.equal(up?.type === 'ipv4-up' && up.local.join('.'), address)
    this.#t.notOk(this.call.finished, 'and goes on')
    return this
  }

  /** DNS servers that it was given. */
  hasDns(...servers: string[]): this {
    const up = this.#lastUp()
    this.#t.same(up?.type === 'ipv4-up' && up.dns.map((d) => d.join('.')), servers)
    return this
  }

  /** PPP gave this as the reason. */
  pppError(code: string, message: RegExp): this {
    this.#t.equal(this.call.ppp.error?.code, code)
    this.#t.match(this.call.ppp.error?.message, message)
    return this
  }

  /** The connection is to be closed now; `code` is SSTP's reason, none if either end asked for it. */
  isOver(code?: string, message?: RegExp): this {
    this.#t.ok(this.call.finished, 'the call is over')
    const end = this.owner.sstp.at(-1)
    this.#t.equal(end?.type, 'closed')
    const error = end?.type === 'closed' ? end.error : undefined
    this.#t.equal(error?.code, code)
    if (message !== undefined) this.#t.match(error?.message, message)
    return this
  }

  isNotOver(): this {
    this.#t.notOk(this.call.finished, 'the call goes on')
    this.#t.equal(this.call.ppp.error, undefined)
    return this
  }

  /** The end of a script: nothing is left unheard. */
  done(): void {
    this.#nothingUnheard('the end')
  }

  // ------------------------------------------------------------------ inside

  #lastUp(): PppEvent | undefined {
    return this.owner.ppp.filter((e) => e.type === 'ipv4-up').at(-1)
  }

  #nothingUnheard(before: string): void {
    if (this.#heard.length > 0) this.#t.same(this.#heard, [], `said by the client before ${before}`)
    this.#heard = []
  }

  #listen(): this {
    const dst = Buffer.alloc(8192, 0xa5)
    for (let n = 0; n < 10_000 && this.call.hasOutput; n += 1) {
      const length = this.call.output(dst, 3, this.now)
      if (length === 0) return this
      this.#heard.push(...linesOf(dst.subarray(3, 3 + length)))
    }
    return this
  }
}

/** CALL_CONNECT_ACK that offers these hashes. */
export function ack(hashes: number): string {
  return `CALL_CONNECT_ACK 1 0004 0028 0000000${hashes} ${NONCE}`
}

function matches(want: string | RegExp, heard: string): boolean {
  if (want instanceof RegExp) return want.test(heard)
  return want.endsWith('*') ? heard.startsWith(want.slice(0, -1).trimEnd()) : heard === want
}

/** What most servers say to ECHO_REQUEST and to LCP's. */
export function answerEcho(line: string): readonly string[] {
  if (line === 'ECHO_REQUEST 0') return ['ECHO_RESPONSE 0']
  const [protocol, code, id] = line.split(' ')
  return protocol === 'lcp' && code === 'echo' ? [`lcp echo-reply ${id} 77112233`] : []
}

/** Plays a script to its end. */
export function play(t: Test, options: ScriptOptions, script: (s: ScriptedServer) => void): void {
  const server = new ScriptedServer(t, options)
  script(server)
  server.done()
}
