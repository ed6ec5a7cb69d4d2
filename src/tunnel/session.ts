/**
 * One call to a server from the first look-up to the last message, and the network behind it while it is up.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import { IpAddress, type NetStack } from '../../stack/index.js'
import { Call, type CallOwner } from '../link/call.js'
import { Driver, monotonicNow } from '../link/driver.js'
import type { PppError } from '../ppp/errors.js'
import { type PppEvent, PppLink } from '../ppp/link.js'
import type { SstpEvent } from '../sstp/call.js'
import { SstpClient } from '../sstp/client.js'
import { describeHashes } from '../sstp/describe.js'
import type { SstpError } from '../sstp/errors.js'
import { CallError, type Step } from '../transport/errors.js'
import {
  closedWithoutAnswer,
  HeadReader,
  notHttp,
  refusal,
  requestHead,
  responseStatus,
} from '../transport/http-handshake.js'
import { explainClientCertificate } from '../transport/network-errors.js'
import { endpointText } from '../transport/text.js'
import { bindingRefused, dialTls, type TlsLink } from '../transport/tls.js'
import { Addressing, interfaceIdentifier } from './addressing.js'
import {
  DialError,
  type DialOptions,
  type Endpoint,
  type Flow,
  type FlowListener,
  type ListenOptions,
  type Network,
  type UdpFlow,
  type UdpOptions,
} from './dialer.js'
import type { TunnelEvent, TunnelInfo } from './events.js'
import { InnerNetwork } from './inner.js'
import { KeepAlive } from './keep-alive.js'
import type { PingOptions, TunnelOptions } from './options.js'
import { otherKeyRule, prepareSignIn, type SignInOptions, signIn } from './sign-in.js'
import type { SessionSockets } from './sockets.js'

export type { PingOptions } from './options.js'

/** A call that is up. */
export interface Tunnel extends Network {
  readonly info: TunnelInfo
  /** Resolves when the call is over; no error: we ended it. */
  readonly closed: Promise<CallError | undefined>
  /** Ends the call properly; takes at most 3 s. */
  close(): Promise<void>
  /** Asks the server for a sign of life now; without one in a few seconds the call ends, with `PEER_SILENT`. */
  probe(): void
  /** One echo request. Rejects with {@link DialError}. */
  ping(address: string, options?: PingOptions): Promise<{ readonly ms: number; readonly size: number }>
  /** Numbers of the call and of its stack, at this moment. */
  counters(): Readonly<Record<string, number>>
}

const DEFAULT_MTU = 1400
const DEFAULT_TIMEOUT = 60_000
/** From SSTP's agreement on: a person may have to say yes on a phone, which PPP gives 90 s. */
const SIGN_IN_TIMEOUT = 110_000
const CLOSE_TIMEOUT = 2_800
const TERMINATE_PATIENCE = 1_500
const LINGER = 2_000
/** IPv6 goes ahead of an IPCP that is undecided that long after IPV6CP, and not before: most want IPv4 too. */
const IPV4_GRACE = 500
/** RFC 8200 5: with less there is no IPv6. */
const IPV6_MIN_MTU = 1280
/** After a refusal by name, the server's own closing is given that long. */
const FAREWELL_TIMEOUT = 2_000

/**
 * Brings a call up. Rejects with {@link CallError}, or with the signal's reason.
 *
 * @param inner - stack and sockets that outlive the call; without them it has its own
 */
export async function openTunnel(options: TunnelOptions, inner?: InnerNetwork): Promise<Tunnel> {
  const ready = await prepareSignIn(options)
  const session = new Session(ready, inner)
  try {
    return await session.open()
  } catch (error) {
    const other = otherKeyRule(ready, session.method, error)
    if (other === undefined) throw error
    const message = `the server refused the key that ${session.method} has made: trying once more with the key as pppd 2.4 makes it`
    options.onEvent?.({ type: 'warning', code: 'OTHER_KEY_RULE', message })
    // If that is no better, the first answer was the true one.
    return new Session(other, inner).open().catch((second: unknown) => {
      throw otherKeyRule(ready, session.method, second) === undefined ? second : error
    })
  }
}

class Session implements Tunnel, CallOwner {
  readonly closed: Promise<CallError | undefined>
  readonly dnsServers: string[] = []
  readonly families = { ipv4: false, ipv6: false }
  private readonly options: TunnelOptions
  private readonly mtu: number
  /** Stack and sockets, and whether they end with this call. */
  private readonly inner: InnerNetwork
  private readonly ownsInner: boolean
  private readonly sockets: SessionSockets
  private keepAlive: KeepAlive | undefined
  private readonly addressing: Addressing
  /** Name servers of IPCP. */
  private ipv4Dns: readonly string[] = []
  /** Why there is no IPv4, or no IPv6, and will be none. */
  private ipv4Error: PppError | undefined
  private ipv6Gone = false
  private graceEnds = Number.POSITIVE_INFINITY
  /** The last `info` that was told. */
  private told = ''
  private link!: TlsLink
  private call!: Call
  private driver!: Driver
  private readonly stack: NetStack
  private readonly ppp: PppLink
  private stepAt = monotonicNow()
  private step: Step = 'dns'
  private auth = ''
  private ipv4: string | undefined
  private ipv6: string | undefined
  private peer: string | undefined
  private connected = false
  private up = false
  private closing = false
  private over = false
  private failure: CallError | undefined
  private tellUp: ((error?: unknown) => void) | undefined
  private tellClosed!: (error: CallError | undefined) => void
  private onSigningIn: (() => void) | undefined
  onTrace?: (message: string) => void

  constructor(options: SignInOptions, inner: InnerNetwork | undefined) {
    this.options = options
    this.mtu = options.mtu ?? DEFAULT_MTU
    this.closed = new Promise((resolve) => {
      this.tellClosed = resolve
    })
    const random = (dst: Uint8Array): void => void randomFillSync(dst)
    this.ownsInner = inner === undefined
    this.inner = inner ?? new InnerNetwork({ mtu: this.mtu, random })
    this.stack = this.inner.stack
    this.sockets = this.inner.sockets
    const whose = `${options.host} ${options.port} ${options.user}`
    this.addressing = new Addressing(this.inner, this, whose, random, options.addressPatience)
    this.ppp = new PppLink({
      role: 'client',
      random,
      mru: this.mtu,
      ...signIn(options, {
        certificate: () => this.link.certificate,
        warn: (code, message) => this.emit({ type: 'warning', code, message }),
        onActivity: () => {
          if (this.over) return
          this.call.poke(this.driver.now())
          this.driver.wake()
        },
      }),
      ipv6: (options.ipv6 ?? true) && this.mtu >= IPV6_MIN_MTU,
      interfaceId: interfaceIdentifier(whose),
      trace: options.trace === true,
    })
    if (options.trace === true) this.onTrace = (message) => this.emit({ type: 'trace', message })
  }

  // ---------------------------------------------------------------- set-up

  async open(): Promise<Tunnel> {
    const abort = new AbortController()
    const limit = this.options.timeout ?? DEFAULT_TIMEOUT
    const tooSlow = (): void => abort.abort(this.tooSlow(limit))
    let timer = setTimeout(tooSlow, limit)
    if (this.options.timeout === undefined) {
      this.onSigningIn = () => {
        clearTimeout(timer)
        timer = setTimeout(tooSlow, SIGN_IN_TIMEOUT)
      }
    }
    const outer = this.options.signal
    const onOuter = (): void => abort.abort(outer?.reason)
    if (outer?.aborted) onOuter()
    outer?.addEventListener('abort', onOuter, { once: true })
    try {
      this.link = await dialTls({
        host: this.options.host,
        port: this.options.port,
        trust: this.options.trust ?? {},
        outer: this.options.outer,
        upstream: this.options.upstream,
        signal: abort.signal,
        onStep: (step, detail) => this.done(step, detail),
        onWarning: (code, message) => this.emit({ type: 'warning', code, message }),
      })
      const rest = await this.handshake(abort.signal)
      await this.negotiate(rest, abort.signal)
      return this
    } catch (error) {
      await this.abandon()
      this.finish(error instanceof CallError ? error : undefined)
      throw error
    } finally {
      this.onSigningIn = undefined
      clearTimeout(timer)
      outer?.removeEventListener('abort', onOuter)
    }
  }

  /** The HTTP exchange. @returns what came behind the response head */
  private handshake(signal: AbortSignal): Promise<Buffer> {
    const { link, options } = this
    const { socket } = link
    const reader = new HeadReader('HTTP/')
    return new Promise((resolve, reject) => {
      const settle = (error: unknown, rest?: Buffer): void => {
        signal.removeEventListener('abort', onAbort)
        socket.off('error', onError)
        socket.off('close', onEnd)
        socket.off('end', onEnd)
        link.receiver = undefined
        if (rest !== undefined) resolve(rest)
        else reject(error)
      }
      const onAbort = (): void => settle(signal.reason)
      const onEnd = (): void => settle(reader.pending > 0 ? notHttp() : closedWithoutAnswer())
      // With TLS 1.3 a server that wants a client certificate says so only now.
      const onError = (error: Error): void => {
        const wanted = explainClientCertificate(error, endpointText(options.host, options.port))
        if (wanted === undefined) onEnd()
        else settle(wanted)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      socket.once('error', onError)
      socket.once('close', onEnd)
      socket.once('end', onEnd)
      link.receiver = (b, length) => {
        const state = reader.push(b, 0, length)
        if (state === 'more') return
        const { head, rest } = reader
        const answer = head === undefined ? undefined : responseStatus(head)
        if (head === undefined || answer === undefined) {
          settle(notHttp())
        } else if (answer.status !== 200) {
          settle(refusal(head, rest.toString('latin1')))
        } else {
          this.done('http', {
            status: `200 ${answer.reason}`.trim(),
            server: head.fields.get('server') ?? '',
          })
          settle(undefined, Buffer.from(rest))
        }
      }
      const guid = randomBytes(16)
      const host = options.trust?.servername ?? options.host
      socket.write(requestHead(host, options.port, guid, options.outer?.hostHeader))
    })
  }

  /** SSTP, PPP, addresses. */
  private negotiate(rest: Buffer, signal: AbortSignal): Promise<void> {
    const { link } = this
    const { socket } = link
    const sstp = new SstpClient({ certificate: link.certificate, negotiationTimeout: SIGN_IN_TIMEOUT })
    this.call = new Call(sstp, this.ppp, this.inner, this)
    this.driver = new Driver(socket, this.call)
    const { pulse } = this.call
    const host = { pulse, echo: () => sstp.echo(), dead: (ms: number) => this.silent(ms) }
    this.keepAlive = new KeepAlive(host, this.options.keepAlive)
    socket.on('error', () => {})
    socket.once('end', () => this.connectionClosed())
    socket.once('close', () => this.connectionClosed())
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.tellUp?.(signal.reason)
      this.tellUp = (error) => {
        this.tellUp = undefined
        signal.removeEventListener('abort', onAbort)
        if (error === undefined) resolve()
        else reject(error)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      if (socket.destroyed || socket.readableEnded) {
        this.connectionClosed()
        return
      }
      this.call.start(this.driver.now())
      if (rest.length > 0) this.driver.received(rest, 0, rest.length)
      link.receiver = (b, length) => this.driver.received(b, 0, length)
      this.driver.wake()
    })
  }

  /** The set-up failed: say goodbye as far as we got. */
  private async abandon(): Promise<void> {
    if (this.call === undefined) {
      this.link?.socket.destroy()
      return
    }
    if (!this.over) {
      this.closing = true
      this.call.close(this.driver.now())
      this.driver.wake()
      await Promise.race([this.closed, delay(FAREWELL_TIMEOUT)])
    }
    this.link.socket.destroy()
  }

  private tooSlow(limit: number): CallError {
    const kind =
      this.step === 'dns' || this.step === 'tcp' || this.step === 'tls' ? 'unreachable' : 'protocol'
    const what = { dns: 'DNS', tcp: 'TCP', tls: 'TLS', http: 'HTTP', sstp: 'SSTP', auth: 'PPP', ip: 'IP' }[
      this.step
    ]
    const message = `no progress in ${what} within ${Math.round(limit / 1000)} s: the server does not answer`
    return new CallError(this.step, kind, 'SETUP_TIMEOUT', message, '--timeout SECONDS allows more time')
  }

  private done(step: Step, detail: Readonly<Record<string, string | number>>): void {
    const now = monotonicNow()
    this.emit({ type: 'step', step, ms: now - this.stepAt, detail })
    this.stepAt = now
    const order: readonly Step[] = ['dns', 'tcp', 'tls', 'http', 'sstp', 'auth', 'ip']
    this.step = order[order.indexOf(step) + 1] ?? 'ip'
  }

  // ---------------------------------------------------------------- what the call tells

  onSstp(event: SstpEvent): void {
    switch (event.type) {
      case 'ack':
        this.onSigningIn?.()
        this.done('sstp', {
          hashes: describeHashes(event.offered),
          binding: event.hash === undefined ? '' : describeHashes(event.hash),
        })
        return
      case 'connected':
        this.connected = true
        this.keepAlive?.start()
        this.maybeUp()
        return
      case 'closing':
        if (event.error !== undefined) this.fail(this.fromSstp(event.error))
        return
      case 'peer-disconnect':
        this.fail(this.ended('the server ended the call', 'CALL_ENDED'))
        return
      case 'peer-abort':
        return
      case 'closed':
        if (event.error !== undefined) this.fail(this.fromSstp(event.error))
        else if (event.by === 'remote') this.fail(this.ended('the server ended the call', 'CALL_ENDED'))
        this.finish(this.failure)
    }
  }

  onPpp(event: PppEvent, now: number): void {
    switch (event.type) {
      case 'authenticated':
        this.auth = event.method
        if (event.hlak.every((octet) => octet === 0)) {
          const message = `${event.method} makes no key: the crypto binding does not protect against relaying`
          this.emit({ type: 'warning', code: 'ZERO_BINDING_KEY', message })
        }
        this.done('auth', { method: event.method, user: event.user })
        return
      case 'ipv4-up':
        this.ipv4Up(event.local, event.peer, event.dns, now)
        return
      case 'ipv6-up':
        this.ipv6Up(event.local, now)
        return
      case 'ipv4-down':
        this.ipv4Down(event.error)
        return
      case 'ipv6-down':
        this.ipv6Down(event.error)
        return
      case 'terminated':
        if (event.error !== undefined) this.fail(this.fromPpp(event.error))
        return
      case 'password-changed': {
        const { newPassword } = this.options
        if (newPassword !== undefined) newPassword.inForce = true
        const message = 'the old password had expired, and the server has changed it to the new one'
        this.emit({ type: 'warning', code: 'PASSWORD_CHANGED', message })
        return
      }
      case 'note':
        this.emit({ type: 'warning', code: 'AUTH_NOTE', message: event.message })
        return
      case 'trace':
        this.emit({ type: 'trace', message: event.message })
    }
  }

  /** How we signed in; empty before. */
  get method(): string {
    return this.auth
  }

  private ipv4Up(
    local: Uint8Array,
    peer: Uint8Array | undefined,
    dns: readonly Uint8Array[],
    now: number,
  ): void {
    const address = IpAddress.fromBytes(local)
    if (address === undefined) return
    this.inner.setIpv4(address)
    this.ipv4 = address.toString()
    this.peer = peer === undefined ? undefined : IpAddress.fromBytes(peer)?.toString()
    this.ipv4Dns = dns.map((server) => IpAddress.fromBytes(server)?.toString() ?? '').filter((s) => s !== '')
    this.families.ipv4 = true
    this.addressing.ipv4Up(address, now)
    this.graceEnds = Number.POSITIVE_INFINITY
    this.inner.resume(this.driver)
    this.learn()
  }

  private ipv4Down(error: PppError | undefined): void {
    this.families.ipv4 = false
    // Without an error it is negotiated anew, or the call ends.
    if (error === undefined) return
    this.ipv4Error = error
    this.ipv4 = undefined
    this.ipv4Dns = []
    this.addressing.ipv4Down()
    if (this.graceEnds !== Number.POSITIVE_INFINITY) this.graceOver()
    this.judge(this.fromPpp(error))
    this.learn()
  }

  private ipv6Up(identifier: Uint8Array, now: number): void {
    if (this.ppp.mtu < IPV6_MIN_MTU) {
      this.ipv6Gone = true
      this.judge(this.noAddress())
      return
    }
    this.addressing.ipv6Up(identifier, now)
    if (this.ipv4 !== undefined) return
    this.graceEnds = now + IPV4_GRACE
    if (this.ipv4Error !== undefined) this.graceOver()
  }

  private ipv6Down(error: PppError | undefined): void {
    this.families.ipv6 = false
    if (error === undefined) return
    this.ipv6Gone = true
    this.addressing.ipv6Down()
    this.judge(this.ipv4Error === undefined ? this.fromPpp(error) : this.fromPpp(this.ipv4Error))
    this.learn()
  }

  /** Packets may go although IPCP has not come to an end, or has come to a bad one. */
  private graceOver(): void {
    this.graceEnds = Number.POSITIVE_INFINITY
    this.inner.resume(this.driver)
    this.maybeUp()
  }

  onLearnt(): void {
    if (this.addressing.learnt.ipv6Failed) this.judge(this.noAddress())
    this.learn()
  }

  /** Without IPv4 everything hangs on IPv6. */
  private judge(error: CallError): void {
    const { learnt } = this.addressing
    if (this.ipv4Error === undefined || learnt.addresses.length > 0) return
    if (this.up || this.ipv6Gone || this.options.ipv6 === false || learnt.ipv6Failed) this.fail(error)
  }

  private noAddress(): CallError {
    const why = this.ipv4Error === undefined ? '' : ` (${this.ipv4Error.message})`
    const message = `no IPv4 address${why}, and IPv6 brings none either: no router advertises a prefix, no DHCPv6 server answers`
    const hint = 'the server has to give an address: its administrator can look at its address pool'
    return new CallError('ip', this.up ? 'lost' : 'protocol', 'NO_ADDRESS', message, hint)
  }

  /** Puts together what is known; whoever is told of the tunnel hears of it when it changes. */
  private learn(): void {
    if (this.over) return
    const { learnt } = this.addressing
    const mtu = Math.min(this.ppp.mtu, learnt.mtu ?? this.ppp.mtu)
    if (mtu !== this.stack.mtu) this.stack.setMtu(mtu)
    const [first] = learnt.addresses
    this.ipv6 = first?.toString()
    this.families.ipv6 = learnt.routed
    const dns = new Set([...this.ipv4Dns, ...learnt.dns.map(String)])
    this.dnsServers.splice(0, this.dnsServers.length, ...dns)
    if (!this.up) {
      this.maybeUp()
      return
    }
    const { info } = this
    const told = JSON.stringify(info)
    if (told === this.told) return
    this.told = told
    this.emit({ type: 'changed', info })
  }

  /** Traffic can flow when the crypto binding was sent and there is an address. */
  private maybeUp(): void {
    const address = this.ipv4 ?? this.ipv6
    if (this.up || !this.connected || address === undefined) return
    // IPCP is not done yet, and has a moment left.
    if (this.graceEnds !== Number.POSITIVE_INFINITY) return
    this.up = true
    if (this.ipv4 === undefined) this.inner.setIpv4(undefined)
    const { info } = this
    this.told = JSON.stringify(info)
    this.done('ip', {
      address,
      peer: this.peer ?? '',
      dns: this.dnsServers.join(' '),
      mtu: info.mtu,
    })
    this.emit({ type: 'up', info })
    this.tellUp?.()
  }

  get info(): TunnelInfo {
    const { host, port } = this.options
    return {
      server: `${host.includes(':') ? `[${host}]` : host}:${port}`,
      ipv4: this.ipv4,
      ipv6: this.ipv6,
      peer: this.peer,
      dns: [...this.dnsServers],
      search: this.addressing.learnt.search,
      routes: this.addressing.learnt.routes,
      mtu: this.stack.mtu,
      auth: this.auth,
    }
  }

  dispatch(now: number): void {
    this.sockets.dispatch(now)
  }

  nextTimeout(): number {
    return Math.min(
      this.sockets.nextTimeout(),
      this.keepAlive?.nextTimeout() ?? Number.POSITIVE_INFINITY,
      this.addressing.nextTimeout(),
      this.graceEnds,
    )
  }

  handleTimeout(now: number): void {
    this.sockets.handleTimeout(now)
    this.keepAlive?.handleTimeout(now)
    if (now >= this.graceEnds) this.graceOver()
    this.addressing.handleTimeout(now)
  }

  // ---------------------------------------------------------------- ends

  async close(): Promise<void> {
    if (this.over) return
    if (!this.closing) {
      this.closing = true
      this.keepAlive?.stop()
      if (this.ownsInner) this.sockets.close(new DialError('tunnel-down', 'the tunnel is being closed'))
      this.addressing.release(this.driver.now())
      // Flows have said RST by now; they go out in front of LCP's farewell.
      this.driver.wake()
      setImmediate(() => {
        if (this.over) return
        this.call.close(this.driver.now())
        this.driver.wake()
      })
      // A server that is deaf to LCP still gets its CALL_DISCONNECT in time.
      setTimeout(() => {
        if (this.over) return
        this.call.disconnect(this.driver.now())
        this.driver.wake()
      }, TERMINATE_PATIENCE).unref()
    }
    await Promise.race([this.closed, delay(CLOSE_TIMEOUT)])
    this.finish(undefined)
    this.link.socket.destroy()
  }

  probe(): void {
    if (this.over || this.closing) return
    this.keepAlive?.probe(this.driver.now())
    this.driver.wake()
  }

  /** Nobody is there to say goodbye to. */
  private silent(ms: number): void {
    const message = `nothing came from the server for ${Math.round(ms / 100) / 10} s, and it does not answer`
    this.fail(new CallError('ip', 'lost', 'PEER_SILENT', message))
    this.finish(this.failure)
  }

  private connectionClosed(): void {
    if (this.over) return
    this.call.connectionClosed(this.driver.now())
    this.finish(this.failure)
  }

  /** The first reason counts: what follows are its consequences. */
  private fail(error: CallError): void {
    if (this.closing) return
    this.failure ??= error
    // A set-up waits for the farewell to be over; see abandon().
    this.tellUp?.(this.failure)
  }

  private finish(error: CallError | undefined): void {
    if (this.over) return
    this.over = true
    this.driver?.stop()
    this.keepAlive?.stop()
    this.addressing.stop()
    if (this.ownsInner) {
      this.families.ipv4 = this.families.ipv6 = false
      this.inner.close(new DialError('tunnel-down', 'the tunnel has gone'))
    } else if (this.driver !== undefined) {
      this.inner.suspend(this.driver)
    }
    this.link?.socket.end()
    // A peer that reads nothing any more would keep a connection that is only ended.
    setTimeout(() => this.link?.socket.destroy(), LINGER).unref()
    const reason = this.closing ? undefined : (error ?? this.ended('the connection to the server was lost'))
    if (!this.up && error === undefined) this.tellUp?.(this.ended('the connection to the server was lost'))
    this.emit({ type: 'down', error: reason })
    this.tellClosed(reason)
  }

  private ended(message: string, code = 'CALL_LOST'): CallError {
    const known = this.knownByPpp()
    if (known !== undefined) return known
    return this.up
      ? new CallError('ip', 'lost', code, message)
      : new CallError(this.step, 'protocol', 'CALL_CLOSED', `${message} before it was up`)
  }

  /** PPP knows better why a server hung up, and may not have come to telling it. */
  private knownByPpp(): CallError | undefined {
    const { error } = this.ppp
    return error === undefined || error.code === 'TERMINATED' ? undefined : this.fromPpp(error)
  }

  private fromSstp(error: SstpError): CallError {
    const known = this.knownByPpp()
    if (known !== undefined) return known
    if (this.up) return new CallError('ip', 'lost', error.code, error.message)
    // Nothing else is judged between CALL_CONNECTED and the first packets (MS-SSTP 3.3.5.2.3); SoftEther judges not
    // even that, and gives no status.
    const judged = error.code === 'SSTP_PEER_ABORT' && error.status !== undefined
    if (this.connected && judged) return bindingRefused(this.link)
    return new CallError(this.step, 'protocol', error.code, error.message)
  }

  private fromPpp(error: PppError): CallError {
    const { code, message } = error
    // Who is asked again in the open link and refused would only have one more wrong password to his name by another
    // call, unless each call asks for the password anew.
    if (!this.up || this.options.askPassword === undefined) {
      if (code === 'AUTH_REFUSED') return new CallError('auth', 'refused', code, message, refusedHint(error))
      if (code === 'AUTH_UNTRUSTED' || code === 'AUTH_SERVER_UNPROVEN') {
        return new CallError('auth', 'untrusted', code, message)
      }
      if (code === 'AUTH_CREDENTIALS') return new CallError('auth', 'local', code, message)
    }
    if (this.up) return new CallError('ip', 'lost', code, message)
    const step: Step = error.layer === 'ipcp' || error.layer === 'ipv6cp' ? 'ip' : 'auth'
    return new CallError(step, 'protocol', code, message)
  }

  private emit(event: TunnelEvent): void {
    this.options.onEvent?.(event)
  }

  // ---------------------------------------------------------------- the network

  get searchDomains(): readonly string[] {
    return this.addressing.learnt.search
  }

  connect(to: Endpoint, options?: DialOptions): Promise<Flow> {
    return this.sockets.connect(to, options)
  }

  openUdp(options?: UdpOptions): UdpFlow {
    return this.sockets.openUdp(options)
  }

  listen(options: ListenOptions): FlowListener {
    return this.sockets.listen(options)
  }

  ping(address: string, options?: PingOptions): Promise<{ readonly ms: number; readonly size: number }> {
    return this.sockets.ping(address, options)
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.stack.counters, ...this.call.counters }
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

function refusedHint({ reason }: PppError): string | undefined {
  return reason === undefined || reason === 691 ? 'check user name and password' : undefined
}
