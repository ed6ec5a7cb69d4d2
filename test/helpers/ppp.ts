/** A PPP link under test, with a scripted peer or a second link on the other side, in virtual time. */
import { controlLength } from '../../src/ppp/control.js'
import { FRAME_HEADER, frameHeader, frameProtocol, MAX_FRAME } from '../../src/ppp/frame.js'
import { type PppClientOptions, type PppEvent, PppLink, type PppServerOptions } from '../../src/ppp/link.js'

export const LCP = 0xc021
export const PAP = 0xc023
export const CHAP = 0xc223
export const EAP = 0xc227
export const IPCP = 0x8021
export const IPV6CP = 0x8057

export function fromHex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'))
}

export function toHex(b: Uint8Array): string {
  return Buffer.from(b).toString('hex')
}

export function textHex(text: string): string {
  return Buffer.from(text, 'utf8').toString('hex')
}

/** A number from 0 to below `n` each call: mulberry32. */
export function seededNumbers(seed: number): (n: number) => number {
  let state = seed | 0
  return (n) => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * n)
  }
}

export function seededRandom(seed: number): (dst: Uint8Array) => void {
  const next = seededNumbers(seed)
  return (dst) => {
    for (let i = 0; i < dst.length; i += 1) dst[i] = next(256)
  }
}

/** `code | id | length | body` as hex. */
export function packetHex(code: number, id: number, body: string): string {
  const octets = body.replace(/\s/g, '')
  const head = Buffer.from([code, id, 0, 0])
  head.writeUInt16BE(4 + octets.length / 2, 2)
  return head.toString('hex') + octets
}

export const clientOptions = (over: Partial<PppClientOptions> = {}): PppClientOptions => ({
  role: 'client',
  random: seededRandom(1),
  auth: ['mschapv2', 'chap', 'pap'],
  user: 'User',
  password: 'clientPass',
  ipv6: false,
  ...over,
})

export const serverOptions = (over: Partial<PppServerOptions> = {}): PppServerOptions => ({
  role: 'server',
  random: seededRandom(2),
  auth: ['mschapv2'],
  lookup: (user) => (user === 'User' ? 'clientPass' : undefined),
  ownIpv4: Uint8Array.of(10, 0, 0, 1),
  assign: () => Uint8Array.of(10, 0, 0, 5),
  dns: [Uint8Array.of(10, 0, 0, 1)],
  ipv6: false,
  ...over,
})

/** A link, and everything that it said. */
export class Subject {
  readonly link: PppLink
  now = 0
  readonly events: PppEvent[] = []

  constructor(options: PppClientOptions | PppServerOptions) {
    this.link = new PppLink(options)
  }

  start(): this {
    this.link.start(this.now)
    return this
  }

  /** Frames as `protocol code id body`, body in hex. The buffer is dirty, and not at its start. */
  heard(): string[] {
    const said: string[] = []
    for (const frame of this.frames()) {
      const at = FRAME_HEADER
      const length = controlLength(frame, at, frame.length - at)
      if (length !== frame.length - at) throw new Error(`length field is wrong: ${toHex(frame)}`)
      const protocol = toHex(frame.subarray(2, 4))
      said.push(`${protocol} ${frame[at]} ${frame[at + 1]} ${toHex(frame.subarray(at + 4))}`.trimEnd())
    }
    return said
  }

  frames(): Uint8Array[] {
    const frames: Uint8Array[] = []
    for (let n = 0; n < 1000 && this.link.hasOutput; n += 1) {
      const buffer = new Uint8Array(MAX_FRAME + 7).fill(0xa5)
      const length = this.link.output(buffer, 7)
      if (length === 0 || length > MAX_FRAME) throw new Error(`output of ${length}`)
      if (buffer.subarray(0, 7).some((x) => x !== 0xa5)) throw new Error('wrote in front')
      if (buffer.subarray(7 + length).some((x) => x !== 0xa5)) throw new Error('wrote behind')
      frames.push(buffer.slice(7, 7 + length))
    }
    return frames
  }

  /** The peer says one packet. It lies at an odd place in a larger buffer, with padding behind. */
  say(protocol: number, code: number, id: number, body = ''): this {
    return this.raw(protocol, packetHex(code, id, body))
  }

  raw(protocol: number, hex: string, padding = 3): this {
    const information = fromHex(hex)
    const buffer = new Uint8Array(5 + information.length + padding).fill(0xa5)
    buffer.set(information, 5)
    this.link.input(protocol, buffer, 5, information.length + padding, this.now)
    this.collect()
    return this
  }

  /** Time passes; all that falls due is done when it does. */
  pass(ms: number): this {
    const end = this.now + ms
    for (let n = 0; n < 1000; n += 1) {
      const due = this.link.nextTimeout()
      if (due > end) {
        this.now = end
        return this
      }
      this.now = Math.max(this.now, due)
      this.link.handleTimeout(this.now)
      this.collect()
    }
    throw new Error('time does not pass')
  }

  collect(): PppEvent[] {
    for (let event = this.link.nextEvent(); event !== undefined; event = this.link.nextEvent()) {
      this.events.push(event)
    }
    return this.events
  }

  /** The last event of a kind. */
  event<T extends PppEvent['type']>(type: T): Extract<PppEvent, { type: T }> | undefined {
    const found = this.collect().filter((event) => event.type === type)
    return found.at(-1) as Extract<PppEvent, { type: T }> | undefined
  }

  get types(): string[] {
    return this.collect().map((event) => event.type)
  }

  /** Code of the error with which it ended; `none` without one, undefined if it has not. */
  get end(): string | undefined {
    const event = this.event('terminated')
    return event === undefined ? undefined : (event.error?.code ?? 'none')
  }
}

/** LCP of a client agreed on with a server that wants `auth` (hex of the option's data, or none). */
export function clientUpTo(auth: string, over: Partial<PppClientOptions> = {}): Subject {
  const subject = new Subject(clientOptions(over)).start()
  acceptRequests(subject, subject.heard())
  const option = auth === '' ? '' : `03${(2 + auth.length / 2).toString(16).padStart(2, '0')}${auth}`
  subject.say(LCP, 1, 77, option)
  subject.heard().find((said) => said.startsWith('c021 2 77')) ?? fail('LCP request was not acknowledged')
  return subject
}

/** Acknowledges every Configure-Request among `said`. */
export function acceptRequests(subject: Subject, said: readonly string[]): void {
  for (const line of said) {
    const [protocol = '', code, id, body = ''] = line.split(' ')
    if (code === '1' && protocol !== 'c023') subject.say(Number.parseInt(protocol, 16), 2, Number(id), body)
  }
}

export function fail(message: string): never {
  throw new Error(message)
}

/** True: the frame is lost. `n` counts the frames of that end from 1. */
export type Loss = (from: 'client' | 'server', n: number, frame: Uint8Array) => boolean

/** A client and a server link on one wire, without reordering, as TLS carries them. */
export class Pair {
  readonly client: Subject
  readonly server: Subject
  readonly #loss: Loss
  readonly #delay: number
  readonly #wire: { to: Subject; at: number; frame: Uint8Array }[] = []
  readonly #count = { client: 0, server: 0 }
  now = 0

  constructor(client: PppClientOptions, server: PppServerOptions, loss: Loss = () => false, delay = 10) {
    this.client = new Subject(client)
    this.server = new Subject(server)
    this.#loss = loss
    this.#delay = delay
  }

  start(): this {
    this.client.start()
    this.server.start()
    return this
  }

  #collect(from: 'client' | 'server'): void {
    for (const frame of this[from].frames()) {
      this.#count[from] += 1
      if (this.#loss(from, this.#count[from], frame)) continue
      this.#wire.push({
        to: from === 'client' ? this.server : this.client,
        at: this.now + this.#delay,
        frame,
      })
    }
  }

  /** Runs until `done` says so or until `ms` have passed; true: it was done. */
  run(ms: number, done: () => boolean): boolean {
    const end = this.now + ms
    for (let n = 0; n < 20_000; n += 1) {
      this.#collect('client')
      this.#collect('server')
      if (done()) return true
      const due = Math.min(
        this.#wire[0]?.at ?? Number.POSITIVE_INFINITY,
        this.client.link.nextTimeout(),
        this.server.link.nextTimeout(),
      )
      if (due > end) {
        this.now = end
        return false
      }
      this.now = Math.max(this.now, due)
      this.client.now = this.now
      this.server.now = this.now
      while ((this.#wire[0]?.at ?? Number.POSITIVE_INFINITY) <= this.now) {
        const item = this.#wire.shift()
        if (item === undefined) break
        const header = frameHeader(item.frame, 0, item.frame.length)
        const protocol = frameProtocol(item.frame, 0, header)
        item.to.link.input(protocol, item.frame, header, item.frame.length - header, this.now)
      }
      for (const end of [this.client, this.server]) {
        end.link.handleTimeout(this.now)
        end.collect()
      }
    }
    throw new Error('the dialogue does not end')
  }

  up(ms = 60_000): boolean {
    return this.run(ms, () => this.client.link.ipv4Open && this.server.link.ipv4Open)
  }

  ended(ms = 60_000): boolean {
    return this.run(ms, () => this.client.end !== undefined && this.server.end !== undefined)
  }
}
