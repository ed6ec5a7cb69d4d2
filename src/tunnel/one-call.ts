/**
 * One call to a server from the first look-up to the last message, and the network behind it while it is up.
 */
import { randomFillSync } from 'node:crypto'
import type { NetStack } from '../../stack/index.js'
import { Call, type CallOwner } from '../link/call.js'
import { Driver, monotonicNow } from '../link/driver.js'
import { type PppEvent, PppLink } from '../ppp/link.js'
import type { SstpEvent } from '../sstp/call.js'
import { SstpClient } from '../sstp/client.js'
import { describeHashes } from '../sstp/describe.js'
import { CallError, STEPS, type Step } from '../transport/errors.js'
import { dialTls, type TlsLink } from '../transport/tls.js'
import { interfaceIdentifier } from './addressing.js'
import { Changes } from './changes.js'
import {
  DialError,
  type DialOptions,
  type Endpoint,
  type Flow,
  type FlowListener,
  type ListenOptions,
  type UdpFlow,
  type UdpOptions,
} from './dialer.js'
import type { TunnelEvent, TunnelInfo } from './events.js'
import { Families, type FamiliesHost, IPV6_MIN_MTU } from './families.js'
import { exchangeHeads } from './heads.js'
import { InnerNetwork } from './inner.js'
import { KeepAlive } from './keep-alive.js'
import type { PingOptions, TunnelOptions } from './options.js'
import { type CallState, ended, fromPpp, fromSstp } from './reasons.js'
import { SetupLimit, SIGN_IN_TIMEOUT } from './setup-limit.js'
import { type SignInOptions, signIn } from './sign-in.js'
import type { SessionSockets } from './sockets.js'
import type { Tunnel } from './tunnel.js'

const DEFAULT_MTU = 1400
const CLOSE_TIMEOUT = 2_800
const TERMINATE_PATIENCE = 1_500
const LINGER = 2_000
/** After a refusal by name, the server's own closing is given that long. */
const FAREWELL_TIMEOUT = 2_000

export class Session implements Tunnel, CallOwner, CallState, FamiliesHost {
  readonly closed: Promise<CallError | undefined>
  readonly dnsServers: readonly string[]
  readonly families: { readonly ipv4: boolean; readonly ipv6: boolean }
  readonly options: TunnelOptions
  private readonly mtu: number
  /** Stack and sockets, and whether they end with this call. */
  private readonly inner: InnerNetwork
  private readonly ownsInner: boolean
  private readonly sockets: SessionSockets
  private keepAlive: KeepAlive | undefined
  private readonly given: Families
  private readonly changes = new Changes()
  link!: TlsLink
  private call!: Call
  private driver!: Driver
  private readonly stack: NetStack
  readonly ppp: PppLink
  private stepAt = monotonicNow()
  step: Step = 'dns'
  private auth = ''
  connected = false
  up = false
  private closing = false
  private over = false
  private failure: CallError | undefined
  /** Why the set-up was given up, unless that was asked for. */
  private abandonedFor: CallError | undefined
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
    this.given = new Families(options, this.inner, this.ppp, this, whose, random)
    this.families = this.given.families
    this.dnsServers = this.given.dns
    if (options.trace === true) this.onTrace = (message) => this.emit({ type: 'trace', message })
  }

  // ---------------------------------------------------------------- set-up

  async open(): Promise<Tunnel> {
    const limit = new SetupLimit(this.options, () => this.step)
    const { signal } = limit
    this.onSigningIn = () => limit.signingIn()
    try {
      this.link = await dialTls({
        host: this.options.host,
        port: this.options.port,
        trust: this.options.trust ?? {},
        outer: this.options.outer,
        upstream: this.options.upstream,
        signal,
        onStep: (step, detail) => this.done(step, detail),
        onWarning: (code, message) => this.emit({ type: 'warning', code, message }),
      })
      const rest = await exchangeHeads(this.link, this.options, signal, (d) => this.done('http', d))
      await this.negotiate(rest, signal)
      return this
    } catch (error) {
      if (error instanceof CallError) this.abandonedFor = error
      await this.abandon()
      this.finish(this.abandonedFor)
      throw error
    } finally {
      this.onSigningIn = undefined
      limit.end()
    }
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
    this.closing = true
    if (this.call === undefined) {
      this.link?.socket.destroy()
      return
    }
    if (!this.over) {
      this.call.close(this.driver.now())
      this.driver.wake()
      this.insist()
      await Promise.race([this.closed, delay(FAREWELL_TIMEOUT)])
    }
    this.link.socket.destroy()
  }

  private done(step: Step, detail: Readonly<Record<string, string | number>>): void {
    const now = monotonicNow()
    this.emit({ type: 'step', step, ms: now - this.stepAt, detail })
    this.stepAt = now
    this.step = STEPS[STEPS.indexOf(step) + 1] ?? 'ip'
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
        if (event.error !== undefined) this.fail(fromSstp(this, event.error))
        return
      case 'peer-disconnect':
        this.fail(ended(this, 'the server ended the call', 'CALL_ENDED'))
        return
      case 'peer-abort':
        return
      case 'closed':
        if (event.error !== undefined) this.fail(fromSstp(this, event.error))
        else if (event.by === 'remote') this.fail(ended(this, 'the server ended the call', 'CALL_ENDED'))
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
        this.given.ipv4Up(event.local, event.peer, event.dns, now)
        return
      case 'ipv6-up':
        this.given.ipv6Up(event.local, now)
        return
      case 'ipv4-down':
        this.given.ipv4Down(event.error)
        return
      case 'ipv6-down':
        this.given.ipv6Down(event.error)
        return
      case 'terminated':
        if (event.error !== undefined) this.fail(fromPpp(this, event.error))
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

  /** Traffic can flow when the crypto binding was sent and there is an address. */
  maybeUp(): void {
    const { given } = this
    const address = given.ipv4 ?? given.ipv6
    if (this.up || !this.connected || address === undefined) return
    // IPCP is not done yet, and has a moment left.
    if (given.graceEnds !== Number.POSITIVE_INFINITY) return
    this.up = true
    given.withoutIpv4()
    const { info } = this
    this.changes.begin(info)
    this.done('ip', {
      address,
      peer: given.peer ?? '',
      dns: this.dnsServers.join(' '),
      mtu: info.mtu,
    })
    this.emit({ type: 'up', info })
    this.tellUp?.()
  }

  carry(): void {
    this.inner.resume(this.driver)
  }

  onChanged(): void {
    if (!this.up) this.maybeUp()
    else {
      const now = this.driver.now()
      if (this.changes.noted(now)) this.tellChange(now)
    }
  }

  private tellChange(now: number): void {
    const { info } = this
    if (this.changes.told(info, now)) this.emit({ type: 'changed', info })
  }

  get info(): TunnelInfo {
    const { host, port } = this.options
    const { given } = this
    return {
      server: `${host.includes(':') ? `[${host}]` : host}:${port}`,
      ipv4: given.ipv4,
      ipv6: given.ipv6,
      peer: given.peer,
      dns: [...this.dnsServers],
      search: given.learnt.search,
      routes: given.learnt.routes,
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
      this.given.addressing.nextTimeout(),
      this.given.graceEnds,
      this.changes.tellAt,
    )
  }

  handleTimeout(now: number): void {
    this.sockets.handleTimeout(now)
    this.keepAlive?.handleTimeout(now)
    this.given.handleTimeout(now)
    if (now >= this.changes.tellAt && !this.over) this.tellChange(now)
  }

  // ---------------------------------------------------------------- ends

  async close(): Promise<void> {
    if (this.over) return
    if (!this.closing) {
      this.closing = true
      this.keepAlive?.stop()
      if (this.ownsInner) this.sockets.close(new DialError('tunnel-down', 'the tunnel is being closed'))
      this.given.addressing.release(this.driver.now())
      // Flows have said RST by now; they go out in front of LCP's farewell.
      this.driver.wake()
      setImmediate(() => {
        if (this.over) return
        this.call.close(this.driver.now())
        this.driver.wake()
      })
      this.insist()
    }
    await Promise.race([this.closed, delay(CLOSE_TIMEOUT)])
    this.finish(undefined)
    this.link.socket.destroy()
  }

  /** A server that is deaf to LCP still gets its CALL_DISCONNECT in time. */
  private insist(): void {
    setTimeout(() => {
      if (this.over) return
      this.call.disconnect(this.driver.now())
      this.driver.wake()
    }, TERMINATE_PATIENCE).unref()
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
  fail(error: CallError): void {
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
    this.given.stop()
    if (this.ownsInner) {
      this.given.none()
      this.inner.close(new DialError('tunnel-down', 'the tunnel has gone'))
    } else if (this.driver !== undefined) {
      this.inner.suspend(this.driver)
    }
    this.link?.socket.end()
    // A peer that reads nothing any more would keep a connection that is only ended.
    setTimeout(() => this.link?.socket.destroy(), LINGER).unref()
    const reason = this.closing
      ? this.abandonedFor
      : (error ?? ended(this, 'the connection to the server was lost'))
    if (!this.up && error === undefined) this.tellUp?.(ended(this, 'the connection to the server was lost'))
    this.emit({ type: 'down', error: reason })
    this.tellClosed(reason)
  }

  private emit(event: TunnelEvent): void {
    this.options.onEvent?.(event)
  }

  // ---------------------------------------------------------------- the network

  get searchDomains(): readonly string[] {
    return this.given.learnt.search
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
