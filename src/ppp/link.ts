/**
 * One PPP link (RFC 1661 3): LCP, authentication, IPCP and IPV6CP, from either end.
 *
 * Bytes and `now` (milliseconds) go in, frames and events come out. Frames of IPv4 and IPv6 go past it: the
 * owner reads {@link PppLink.ipv4Open} and {@link PppLink.ipv6Open} for each packet.
 */
import { setU16, u16, u32 } from '../../stack/bytes.js'
import { type AuthName, NO_KEY_LENGTH } from './auth/method.js'
import { Authentication } from './authentication.js'
import { CONTROL_HEADER, Code, setControlHeader } from './control.js'
import { describe, protocolName } from './describe.js'
import { PppError, type PppLayer } from './errors.js'
import { FRAME_HEADER, MAX_FRAME, MAX_INFORMATION, Protocol, setFrameHeader } from './frame.js'
import { Fsm, type FsmHost, MAX_ROUNDS, type OptionSet } from './fsm.js'
import type { Event } from './fsm-table.js'
import { IpcpClient, IpcpServer } from './ipcp.js'
import { Ipv6cpOptions } from './ipv6cp.js'
import { LcpOptions, word32 } from './lcp.js'
import type { PppEvent, PppLinkOptions } from './types.js'

export type { PppClientOptions, PppEvent, PppLinkOptions, PppServerOptions } from './types.js'

/** RFC 1661 3.2. */
type Phase = 'Dead' | 'Establish' | 'Authenticate' | 'Network' | 'Terminate'

/** One network control protocol of the link. */
interface Ncp {
  readonly layer: PppLayer
  readonly protocol: number
  readonly fsm: Fsm
  /** `…-up` was said. */
  up: boolean
  /** Why it will not come up any more. */
  error: PppError | undefined
  upAt: number
  /** How often it went down soon after it had come up, in a row. */
  downs: number
}

const NEVER = Number.POSITIVE_INFINITY

const NOTHING = -1

const ECHO_INTERVAL = 30_000
const MAX_ECHO_MISSES = 3
/** Frames waiting to be fetched; what comes on top is lost, and repeated by whoever needs it. */
const MAX_QUEUE = 64
/** Traces waiting to be fetched. */
const MAX_TRACES = 256
/** Protocol-Rejects for one protocol, protocols remembered, and the milliseconds after which all is forgotten. */
const MAX_PROTOCOL_REJECTS = 3
const MAX_REJECTED_PROTOCOLS = 16
const PROTOCOL_REJECT_WINDOW = 60_000
/** Milliseconds that a network protocol must have been up to be well: a call of days may see it negotiated anew. */
const STABLE = 60_000

export class PppLink {
  readonly #options: PppLinkOptions
  readonly #lcpSet: LcpOptions
  readonly #lcp: Fsm
  readonly #cap: number
  readonly #echoInterval: number
  #phase: Phase = 'Dead'
  #started = false
  #ended = false
  #error: PppError | undefined
  #now = 0
  readonly #auth: Authentication
  #user = ''
  #ipv4: Ncp | undefined
  #ipv6: Ncp | undefined
  readonly #queue: Uint8Array[] = []
  #taken = 0
  readonly #events: PppEvent[] = []
  /** When the last packet came; NOTHING if none has since our last echo. */
  #received = NOTHING
  #receivedBefore = NOTHING
  #echoAt = NEVER
  #echoMisses = 0
  #echoId = 0
  #heardOurMagic = false
  #lcpId = 0
  readonly #protocolRejects = new Map<number, number>()
  #protocolRejectsSince = 0

  constructor(options: PppLinkOptions) {
    this.#options = options
    this.#cap = Math.min(options.mru ?? 1400, MAX_INFORMATION)
    this.#echoInterval = options.lcpEchoInterval ?? ECHO_INTERVAL
    this.#lcpSet = new LcpOptions({
      role: options.role,
      mru: this.#cap,
      auth: options.auth,
      random: options.random,
    })
    this.#auth = new Authentication(options, {
      send: (protocol, code, id, body) => void this.#send(protocol, code, id, body, 0, body.length),
      peerMru: () => this.#peerMru(),
      authenticated: (method, user, hlak, other) => this.#authenticated(method, user, hlak, other),
      failed: (error) => this.#fail(error),
      emit: (event) => this.#emit(event),
    })
    this.#lcp = this.#automaton('lcp', Protocol.LCP, this.#lcpSet, {
      up: () => this.#lcpUp(),
      down: (event) => this.#lcpDown(event),
      finished: (event) => this.#lcpFinished(event),
      terminated: (text) => this.#lcpTerminated(text),
      failed: (error) => this.#fail(error),
      other: (code, _id, b, o, len) => this.#lcpCode(code, b, o, len),
      echo: (id, b, o, len) => this.#echo(id, b, o, len),
      codeRejected: (code) => {
        if (code === Code.ECHO_REQUEST) this.#echoAt = NEVER
      },
    })
  }

  // ------------------------------------------------------------------ the five verbs

  /** The lower layer is up. LCP begins at once: some servers wait for it. */
  start(now: number): void {
    if (this.#started) return
    this.#started = true
    this.#now = now
    this.#phase = 'Establish'
    this.#lcp.event('Open')
    this.#lcp.event('Up')
  }

  /**
   * One frame's information field, of any protocol but IPv4 and IPv6. `b` is read only during the call.
   * Frames must come in their order: a server's first IPCP request may be right behind its CHAP Success.
   */
  input(protocol: number, b: Uint8Array, off: number, len: number, now: number): void {
    this.#now = now
    // A length that lies is not ours to believe.
    if (this.#phase === 'Dead' || off + len > b.length) return
    this.#receivedBefore = this.#received
    this.#received = now
    if (this.#options.trace === true) this.#trace('<', protocol, b, off, len)
    switch (protocol) {
      case Protocol.LCP:
        this.#lcp.input(b, off, len)
        return
      case Protocol.EAP:
      case Protocol.PAP:
      case Protocol.CHAP:
        if (this.#auth.protocol === protocol) this.#auth.input(b, off, len, now)
        else if (protocol === Protocol.EAP) this.protocolReject(protocol, b, off, len, now)
        return
      case Protocol.IPCP:
      case Protocol.IPV6CP: {
        if (this.#phase === 'Authenticate') this.#auth.presumed(now)
        // RFC 1661 3.5: dropped silently until authentication is over.
        if (this.#phase !== 'Network') return
        const ncp = protocol === Protocol.IPCP ? this.#ipv4 : this.#ipv6
        if (ncp !== undefined) ncp.fsm.input(b, off, len)
        else this.protocolReject(protocol, b, off, len, now)
        return
      }
      default:
        this.protocolReject(protocol, b, off, len, now)
    }
  }

  /**
   * Writes the next control frame, from `FF 03` on, and returns its length; 0 if there is none, or if it does not
   * fit behind `off`: with {@link MAX_FRAME} octets of room it always does.
   */
  output(dst: Uint8Array, off: number): number {
    const frame = this.#queue[0]
    if (frame === undefined || frame.length > dst.length - off) return 0
    this.#queue.shift()
    this.#taken += 1
    dst.set(frame, off)
    return frame.length
  }

  get hasOutput(): boolean {
    return this.#queue.length > 0
  }

  /** When {@link handleTimeout} is due; Infinity: not at all. */
  nextTimeout(): number {
    return Math.min(
      this.#lcp.nextTimeout(),
      this.#auth.nextTimeout(),
      this.#ipv4?.fsm.nextTimeout() ?? NEVER,
      this.#ipv6?.fsm.nextTimeout() ?? NEVER,
      this.#echoAt,
    )
  }

  /** Does whatever is due; harmless if nothing is. */
  handleTimeout(now: number): void {
    this.#now = now
    this.#lcp.handleTimeout(now)
    this.#auth.handleTimeout(now)
    this.#ipv4?.fsm.handleTimeout(now)
    this.#ipv6?.fsm.handleTimeout(now)
    if (now >= this.#echoAt) this.#echoDue(now)
  }

  /** Work outside has gone on; see `onActivity` of the options. */
  activity(now: number): void {
    this.#now = now
    this.#auth.activity(now)
  }

  nextEvent(): PppEvent | undefined {
    return this.#events.shift()
  }

  // ------------------------------------------------------------------ the rest of the face

  /** Ends the link: network protocols down, LCP Terminate-Request (two tries), then `terminated`. */
  terminate(now: number): void {
    this.#now = now
    if (!this.#started) {
      this.#started = true
      this.#finish()
    } else if (this.#phase !== 'Dead' && this.#phase !== 'Terminate') this.#closeLink()
  }

  /** Any other traffic is a sign of life too. */
  packetReceived(now: number): void {
    this.#received = now
  }

  /**
   * A frame of a protocol that is not known: answered by LCP Protocol-Reject in the network phase, a few times
   * for each protocol and minute. Before that the frame is dropped: SoftEther takes an early one for the end.
   */
  protocolReject(protocol: number, b: Uint8Array, off: number, len: number, now: number): void {
    this.#now = now
    if (this.#phase !== 'Network') return
    // Known, only not open: such packets are dropped (RFC 1661 3.5).
    if (protocol === Protocol.IPV4 || protocol === Protocol.IPV6) return
    if (now - this.#protocolRejectsSince >= PROTOCOL_REJECT_WINDOW) {
      this.#protocolRejects.clear()
      this.#protocolRejectsSince = now
    }
    const sent = this.#protocolRejects.get(protocol) ?? 0
    const crowded = sent === 0 && this.#protocolRejects.size >= MAX_REJECTED_PROTOCOLS
    if (sent >= MAX_PROTOCOL_REJECTS || crowded) return
    this.#protocolRejects.set(protocol, sent + 1)
    const size = Math.max(0, Math.min(len, this.#peerMru() - CONTROL_HEADER - 2))
    const body = new Uint8Array(2 + size)
    setU16(body, 0, protocol)
    body.set(b.subarray(off, off + size), 2)
    this.#lcpId = (this.#lcpId + 1) & 255
    this.#send(Protocol.LCP, Code.PROTOCOL_REJECT, this.#lcpId, body, 0, body.length)
  }

  /** Our Magic-Number (RFC 1661 6.4), for echo requests that others write; 0: none. */
  get magic(): number {
    return this.#lcpSet.magic
  }

  /** May IPv4 packets pass? */
  get ipv4Open(): boolean {
    return this.#ipv4?.up === true
  }

  /** May IPv6 packets pass? */
  get ipv6Open(): boolean {
    return this.#ipv6?.up === true
  }

  /** The largest IP packet to send: the peer's MRU, what fits into an SSTP packet, and our own cap. */
  get mtu(): number {
    return Math.min(this.#lcpSet.peerMru, MAX_INFORMATION, this.#cap)
  }

  /** Why the link is ending or has ended, as soon as it is known: the peer may cut the call before `terminated`. */
  get error(): PppError | undefined {
    return this.#error
  }

  // ------------------------------------------------------------------ LCP

  #lcpUp(): void {
    const { peerMru, auth } = this.#lcpSet
    this.#emit({ type: 'lcp-up', peerMru, auth: auth ?? 'none' })
    this.#phase = 'Authenticate'
    if (this.#echoInterval > 0) this.#echoAt = this.#now + this.#echoInterval
    if (auth !== undefined) {
      this.#auth.start(auth, this.#now)
      return
    }
    const options = this.#options
    if (options.role === 'client' && options.requireAuth !== false) {
      const message =
        'the server wants no authentication: whoever it is, it is not asked to know the password'
      this.#fail(new PppError('auth', 'AUTH_NONE', message))
      return
    }
    this.#authenticated('none', '', new Uint8Array(NO_KEY_LENGTH))
  }

  #lcpDown(event: Event): void {
    if (event === 'RTR' || this.#phase === 'Terminate') return
    if (event === 'RXJ-') {
      // The automaton is on its way to Stopping by itself.
      this.#error = lcpRejected()
      this.#leave()
      return
    }
    const message = 'the peer began LCP anew in the open link; only a new call can follow'
    this.#fail(new PppError('lcp', 'LCP_RESTARTED', message))
  }

  #lcpFinished(event: Event): void {
    if (this.#phase !== 'Terminate') {
      const silent = new PppError('lcp', 'NO_ANSWER', 'no answer to LCP requests')
      this.#error = event === 'RXJ-' ? lcpRejected() : silent
      this.#leave()
    }
    this.#finish()
  }

  #lcpTerminated(text: string): void {
    if (this.#phase === 'Terminate') return
    const peer = this.#options.role === 'client' ? 'server' : 'client'
    const said = text === '' ? '' : ` (it says: ${text})`
    let error = new PppError('lcp', 'TERMINATED', `the ${peer} ended the link${said}`)
    if (this.#phase === 'Authenticate' && this.#auth.undecided) {
      // SoftEther's and others' way of saying no.
      error = this.#auth.hungUp(text)
    } else if (this.#phase === 'Establish' && this.#lcpSet.refusedAuth !== '') {
      error = this.#lcpSet.authError(this.#lcpSet.refusedAuth)
    }
    // Opened: our Ack is out, and the automaton stays for one period in Stopping. Else it must be closed.
    if (this.#lcp.state === 'Stopping') {
      this.#error = error
      this.#leave()
    } else this.#fail(error)
  }

  /** Codes 8 to 13, and none beyond. */
  #lcpCode(code: number, b: Uint8Array, o: number, len: number): Event | 'ignored' | undefined {
    switch (code) {
      case Code.PROTOCOL_REJECT:
        if (this.#lcp.state === 'Opened' && len >= 2) return this.#protocolRejected(u16(b, o))
        return 'ignored'
      case Code.ECHO_REQUEST:
        return len >= 4 ? 'RXR' : 'ignored'
      case Code.ECHO_REPLY:
        if (len >= 4 && this.#lcpSet.magic !== 0 && u32(b, o) === this.#lcpSet.magic) {
          // Our own number: we may be hearing ourselves, so it is no sign of life.
          this.#heardOurMagic = true
          this.#received = this.#receivedBefore
        }
        return 'ignored'
      case Code.DISCARD_REQUEST:
      case Code.IDENTIFICATION:
      case Code.TIME_REMAINING:
        return 'ignored'
      default:
        return undefined
    }
  }

  #echo(id: number, b: Uint8Array, o: number, len: number): void {
    const size = Math.min(len, this.#peerMru() - CONTROL_HEADER)
    const body = new Uint8Array(Math.max(4, size))
    body.set(b.subarray(o + 4, o + size), 4)
    body.set(word32(this.#lcpSet.magic))
    this.#send(Protocol.LCP, Code.ECHO_REPLY, id, body, 0, body.length)
  }

  #echoDue(now: number): void {
    if (this.#lcp.state !== 'Opened') {
      this.#echoAt = NEVER
      return
    }
    if (this.#received !== NOTHING) {
      // Something came since the last echo, perhaps in the same millisecond.
      this.#echoMisses = 0
      this.#heardOurMagic = false
      if (this.#received + this.#echoInterval > now) {
        this.#echoAt = this.#received + this.#echoInterval
        return
      }
    }
    if (this.#echoMisses >= MAX_ECHO_MISSES) {
      this.#error = this.#heardOurMagic
        ? new PppError('lcp', 'LCP_LOOPED', 'the link is looped: our own LCP echoes come back')
        : new PppError('lcp', 'LCP_NO_ECHO', `the peer is silent: ${MAX_ECHO_MISSES} LCP echoes unanswered`)
      // Nobody is there to say goodbye to.
      this.#leave()
      this.#lcp.event('Down')
      this.#finish()
      return
    }
    this.#echoMisses += 1
    this.#received = NOTHING
    this.#echoAt = now + this.#echoInterval
    this.#echoId = (this.#echoId + 1) & 255
    this.#send(Protocol.LCP, Code.ECHO_REQUEST, this.#echoId, word32(this.#lcpSet.magic), 0, 4)
  }

  /** The peer does not know a protocol that we spoke. */
  #protocolRejected(protocol: number): Event {
    switch (protocol) {
      case Protocol.LCP:
        return 'RXJ-'
      case Protocol.IPCP:
        this.#ipv4?.fsm.event('RXJ-')
        break
      case Protocol.IPV6CP:
        this.#ipv6?.fsm.event('RXJ-')
        break
      case Protocol.PAP:
      case Protocol.CHAP:
      case Protocol.EAP:
        if (this.#phase === 'Authenticate' && this.#auth.protocol === protocol) {
          const message = `the peer agreed on ${protocolName(protocol)} and rejects it`
          this.#fail(new PppError('auth', 'REJECTED', message))
        }
        break
    }
    return 'RXJ+'
  }

  // ------------------------------------------------------------------ authentication

  #authenticated(
    method: AuthName | 'eap' | 'none',
    user: string,
    hlak: Uint8Array,
    other?: Uint8Array,
  ): void {
    // A challenge in the open link was answered well: nothing changes.
    if (this.#phase !== 'Authenticate') return
    this.#phase = 'Network'
    this.#user = user
    this.#emit({
      type: 'authenticated',
      method,
      user,
      hlak,
      ...(other === undefined ? {} : { otherHlak: other }),
    })
    this.#openNetwork()
  }

  // ------------------------------------------------------------------ network protocols

  #openNetwork(): void {
    const options = this.#options
    if (options.ipv4 !== false) {
      const set = this.#ipcpSet()
      if (set === undefined) {
        const message = 'no IPv4 address is left for the client'
        this.#fail(new PppError('ipcp', 'NO_ADDRESS', message, 'local'))
        return
      }
      this.#ipv4 = this.#ncp('ipcp', Protocol.IPCP, set, () =>
        this.#emit({
          type: 'ipv4-up',
          local: set.local,
          peer: set.peer,
          dns: set.role === 'client' ? set.dns : [],
        }),
      )
    }
    if (options.ipv6 !== false) {
      const set = new Ipv6cpOptions(options.random, options.interfaceId)
      this.#ipv6 = this.#ncp('ipv6cp', Protocol.IPV6CP, set, () =>
        this.#emit({ type: 'ipv6-up', local: set.local, peer: set.peer }),
      )
    }
    for (const ncp of [this.#ipv4, this.#ipv6]) {
      ncp?.fsm.event('Open')
      ncp?.fsm.event('Up')
    }
  }

  #ipcpSet(): IpcpClient | IpcpServer | undefined {
    const options = this.#options
    if (options.role === 'client') return new IpcpClient()
    const address = options.assign(this.#user)
    if (address === undefined) return undefined
    return new IpcpServer(options.ownIpv4, address, options.dns ?? [])
  }

  #ncp(layer: 'ipcp' | 'ipv6cp', protocol: number, set: OptionSet, announce: () => void): Ncp {
    const peer = this.#options.role === 'client' ? 'server' : 'client'
    const name = layer.toUpperCase()
    const fsm = this.#automaton(layer, protocol, set, {
      up: () => {
        ncp.up = true
        ncp.upAt = this.#now
        announce()
      },
      down: (event) => {
        // What ends it says so itself, with its reason.
        if (event === 'RTR' || !ncp.up) return
        if (event === 'RXJ-') {
          this.#ncpFailed(ncp, new PppError(layer, 'REJECTED', `the ${peer} rejects ${name}`))
          return
        }
        this.#ncpDown(ncp, undefined)
        ncp.downs = this.#now - ncp.upAt < STABLE ? ncp.downs + 1 : 1
        if (ncp.downs > MAX_ROUNDS) {
          const message = `${name} is negotiated again and again`
          this.#ncpFailed(ncp, new PppError(layer, 'NOT_CONVERGING', message))
        }
      },
      finished: (event) => {
        const error =
          event === 'RXJ-'
            ? new PppError(layer, 'REJECTED', `the ${peer} rejects ${name}`)
            : new PppError(layer, 'NO_ANSWER', `no answer to ${name} requests`)
        this.#ncpFailed(ncp, error)
      },
      terminated: (text) => {
        const said = text === '' ? '' : ` (it says: ${text})`
        this.#ncpFailed(ncp, new PppError(layer, 'TERMINATED', `the ${peer} ended ${name}${said}`))
      },
      failed: (error) => this.#ncpFailed(ncp, error),
      other: () => undefined,
      echo: () => {},
      codeRejected: () => {},
    })
    const ncp: Ncp = { layer, protocol, fsm, up: false, error: undefined, upAt: 0, downs: 0 }
    return ncp
  }

  #ncpDown(ncp: Ncp, error: PppError | undefined): void {
    ncp.up = false
    this.#emit({ type: ncp.layer === 'ipcp' ? 'ipv4-down' : 'ipv6-down', error })
  }

  /** It will not come up any more; with the last one the link ends. */
  #ncpFailed(ncp: Ncp, error: PppError): void {
    if (this.#phase !== 'Network' || ncp.error !== undefined) return
    ncp.error = error
    this.#ncpDown(ncp, error)
    ncp.fsm.event('Close')
    const alive = [this.#ipv4, this.#ipv6].some((other) => other !== undefined && other.error === undefined)
    if (!alive) this.#fail(this.#ipv4?.error ?? error)
  }

  // ------------------------------------------------------------------ the end

  #fail(error: PppError): void {
    if (this.#phase === 'Dead' || this.#phase === 'Terminate') return
    this.#error = error
    this.#closeLink()
  }

  #closeLink(): void {
    this.#leave()
    this.#lcp.event('Close')
  }

  /** Network and authentication are over (RFC 1661 3.7). */
  #leave(): void {
    this.#phase = 'Terminate'
    this.#auth.close()
    this.#echoAt = NEVER
    for (const ncp of [this.#ipv4, this.#ipv6]) {
      if (ncp === undefined) continue
      if (ncp.up) this.#ncpDown(ncp, undefined)
      ncp.fsm.event('Down')
    }
  }

  #finish(): void {
    this.#phase = 'Dead'
    if (this.#ended) return
    this.#ended = true
    this.#emit({ type: 'terminated', error: this.#error })
  }

  // ------------------------------------------------------------------ frames and events

  #automaton(
    layer: PppLayer,
    protocol: number,
    set: OptionSet,
    callbacks: Omit<FsmHost, 'now' | 'send' | 'taken' | 'peerMru'>,
  ): Fsm {
    const host: FsmHost = {
      ...callbacks,
      now: () => this.#now,
      send: (code, id, b, o, len) => this.#send(protocol, code, id, b, o, len),
      taken: (place) => place <= this.#taken,
      peerMru: () => this.#peerMru(),
    }
    return new Fsm({ layer, set, host, eager: this.#options.role === 'client' })
  }

  /** What we may send as information: an end must always take 1500 octets (RFC 1661 6.1), so that is for data. */
  #peerMru(): number {
    return Math.min(this.#lcpSet.peerMru, MAX_INFORMATION)
  }

  /** Queues one control frame and returns its place. */
  #send(protocol: number, code: number, id: number, b: Uint8Array, o: number, len: number): number {
    if (this.#queue.length < MAX_QUEUE) {
      const length = CONTROL_HEADER + Math.min(len, MAX_INFORMATION - CONTROL_HEADER)
      const frame = new Uint8Array(FRAME_HEADER + length)
      setFrameHeader(frame, 0, protocol)
      setControlHeader(frame, FRAME_HEADER, code, id, length)
      frame.set(b.subarray(o, o + length - CONTROL_HEADER), FRAME_HEADER + CONTROL_HEADER)
      this.#queue.push(frame)
      if (this.#options.trace === true) this.#trace('>', protocol, frame, FRAME_HEADER, length)
    }
    return this.#taken + this.#queue.length
  }

  #emit(event: PppEvent): void {
    this.#events.push(event)
  }

  #trace(arrow: '<' | '>', protocol: number, b: Uint8Array, o: number, len: number): void {
    if (this.#events.length >= MAX_TRACES) return
    this.#emit({ type: 'trace', message: `${arrow} ${describe(protocol, b, o, len)}` })
  }
}

function lcpRejected(): PppError {
  return new PppError('lcp', 'REJECTED', 'the peer rejects LCP packets')
}
