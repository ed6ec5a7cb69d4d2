/**
 * One call to a server from the first look-up to the last message, and the network behind it while it is up.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import { IpAddress, NetStack } from '../../stack/index.js'
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
import { dialTls, type TlsLink } from '../transport/tls.js'
import {
  DialError,
  type DialOptions,
  type Endpoint,
  type Flow,
  type Network,
  type UdpFlow,
} from './dialer.js'
import type { TunnelEvent, TunnelInfo } from './events.js'
import type { PingOptions, TunnelOptions } from './options.js'
import { SessionSockets } from './sockets.js'

export type { PingOptions } from './options.js'

/** A call that is up. */
export interface Tunnel extends Network {
  readonly info: TunnelInfo
  /** Resolves when the call is over; no error: we ended it. */
  readonly closed: Promise<CallError | undefined>
  /** Ends the call properly; takes at most 3 s. */
  close(): Promise<void>
  /** One echo request. Rejects with {@link DialError}. */
  ping(address: string, options?: PingOptions): Promise<{ readonly ms: number; readonly size: number }>
  /** Numbers of the call and of its stack, at this moment. */
  counters(): Readonly<Record<string, number>>
}

const DEFAULT_MTU = 1400
const DEFAULT_TIMEOUT = 60_000
const CLOSE_TIMEOUT = 2_800
const TERMINATE_PATIENCE = 1_500
const LINGER = 2_000
/** Servers that must see life: SoftEther drops a silent client after 10 to 20 s. */
const HELLO_INTERVAL = 15_000
/** After a refusal by name, the server's own closing is given that long. */
const FAREWELL_TIMEOUT = 2_000

/** Brings a call up. Rejects with {@link CallError}, or with the signal's reason. */
export async function openTunnel(options: TunnelOptions): Promise<Tunnel> {
  const session = new Session(options)
  return session.open()
}

class Session implements Tunnel, CallOwner {
  readonly closed: Promise<CallError | undefined>
  readonly dnsServers: string[] = []
  readonly families = { ipv4: false, ipv6: false }
  private readonly options: TunnelOptions
  private readonly mtu: number
  private readonly sockets: SessionSockets
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
  onTrace?: (message: string) => void

  constructor(options: TunnelOptions) {
    this.options = options
    this.mtu = options.mtu ?? DEFAULT_MTU
    this.closed = new Promise((resolve) => {
      this.tellClosed = resolve
    })
    const random = (dst: Uint8Array): void => void randomFillSync(dst)
    this.stack = new NetStack({ mtu: this.mtu, random })
    this.sockets = new SessionSockets(this.stack, {
      now: monotonicNow,
      wake: () => this.driver?.wake(),
    })
    this.ppp = new PppLink({
      role: 'client',
      random,
      mru: this.mtu,
      auth: options.auth ?? ['mschapv2', 'chap', 'pap'],
      user: options.user,
      password: options.password,
      ipv6: options.ipv6 ?? true,
      trace: options.trace === true,
    })
    if (options.trace === true) this.onTrace = (message) => this.emit({ type: 'trace', message })
  }

  // ---------------------------------------------------------------- set-up

  async open(): Promise<Tunnel> {
    const abort = new AbortController()
    const limit = this.options.timeout ?? DEFAULT_TIMEOUT
    const timer = setTimeout(() => abort.abort(this.tooSlow(limit)), limit)
    const outer = this.options.signal
    const onOuter = (): void => abort.abort(outer?.reason)
    if (outer?.aborted) onOuter()
    outer?.addEventListener('abort', onOuter, { once: true })
    try {
      this.link = await dialTls({
        host: this.options.host,
        port: this.options.port,
        trust: this.options.trust ?? {},
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
        socket.off('error', onEnd)
        socket.off('close', onEnd)
        socket.off('end', onEnd)
        link.receiver = undefined
        if (rest !== undefined) resolve(rest)
        else reject(error)
      }
      const onAbort = (): void => settle(signal.reason)
      const onEnd = (): void => settle(reader.pending > 0 ? notHttp() : closedWithoutAnswer())
      signal.addEventListener('abort', onAbort, { once: true })
      socket.once('error', onEnd)
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
      socket.write(requestHead(options.trust?.servername ?? options.host, options.port, guid))
    })
  }

  /** SSTP, PPP, addresses. */
  private negotiate(rest: Buffer, signal: AbortSignal): Promise<void> {
    const { link } = this
    const { socket } = link
    const sstp = new SstpClient({ certificate: link.certificate, helloInterval: HELLO_INTERVAL })
    this.call = new Call(sstp, this.ppp, this.stack, this)
    this.driver = new Driver(socket, this.call)
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
        this.done('sstp', {
          hashes: describeHashes(event.offered),
          binding: event.hash === undefined ? '' : describeHashes(event.hash),
        })
        return
      case 'connected':
        this.connected = true
        this.maybeUp()
        return
      case 'closing':
        if (event.error !== undefined) this.fail(this.fromSstp(event.error))
        return
      case 'peer-disconnect':
        this.fail(this.ended('the server ended the call'))
        return
      case 'peer-abort':
        return
      case 'closed':
        if (event.error !== undefined) this.fail(this.fromSstp(event.error))
        else if (event.by === 'remote') this.fail(this.ended('the server ended the call'))
        this.finish(this.failure)
    }
  }

  onPpp(event: PppEvent): void {
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
        this.ipv4Up(event.local, event.peer, event.dns)
        return
      case 'ipv6-up':
        // Only a link-local address: good for the link, not for reaching anybody (RFC 5072 5).
        this.ipv6 = linkLocal(event.local)
        return
      case 'ipv4-down':
        this.families.ipv4 = false
        if (event.error !== undefined) this.fail(this.fromPpp(event.error))
        return
      case 'terminated':
        if (event.error !== undefined) this.fail(this.fromPpp(event.error))
        return
      case 'trace':
        this.emit({ type: 'trace', message: event.message })
    }
  }

  private ipv4Up(local: Uint8Array, peer: Uint8Array | undefined, dns: readonly Uint8Array[]): void {
    const address = IpAddress.fromBytes(local)
    if (address === undefined) return
    this.stack.setMtu(this.ppp.mtu)
    this.stack.addAddress(address)
    this.ipv4 = address.toString()
    this.peer = peer === undefined ? undefined : IpAddress.fromBytes(peer)?.toString()
    for (const server of dns) {
      const text = IpAddress.fromBytes(server)?.toString()
      if (text !== undefined && !this.dnsServers.includes(text)) this.dnsServers.push(text)
    }
    this.families.ipv4 = true
    this.maybeUp()
  }

  /** Traffic can flow when the crypto binding was sent and there is an address. */
  private maybeUp(): void {
    if (this.up || !this.connected || this.ipv4 === undefined) return
    this.up = true
    const { info } = this
    this.done('ip', {
      address: this.ipv4,
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
      dns: this.dnsServers,
      mtu: this.stack.mtu,
      auth: this.auth,
    }
  }

  dispatch(now: number): void {
    this.sockets.dispatch(now)
  }

  nextTimeout(): number {
    return this.sockets.nextTimeout()
  }

  handleTimeout(now: number): void {
    this.sockets.handleTimeout(now)
  }

  // ---------------------------------------------------------------- ends

  async close(): Promise<void> {
    if (this.over) return
    if (!this.closing) {
      this.closing = true
      this.sockets.close(new DialError('tunnel-down', 'the tunnel is being closed'))
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
    this.families.ipv4 = false
    this.sockets.close(new DialError('tunnel-down', 'the tunnel has gone'))
    this.stack.close()
    this.link?.socket.end()
    // A peer that reads nothing any more would keep a connection that is only ended.
    setTimeout(() => this.link?.socket.destroy(), LINGER).unref()
    const reason = this.closing ? undefined : (error ?? this.ended('the connection to the server was lost'))
    if (!this.up && error === undefined) this.tellUp?.(this.ended('the connection to the server was lost'))
    this.emit({ type: 'down', error: reason })
    this.tellClosed(reason)
  }

  private ended(message: string): CallError {
    const known = this.knownByPpp()
    if (known !== undefined) return known
    return this.up
      ? new CallError('ip', 'lost', 'CALL_LOST', message)
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
    return new CallError(this.step, 'protocol', error.code, error.message)
  }

  private fromPpp(error: PppError): CallError {
    const step: Step = error.layer === 'ipcp' || error.layer === 'ipv6cp' ? 'ip' : 'auth'
    if (this.up) return new CallError('ip', 'lost', error.code, error.message)
    switch (error.code) {
      case 'AUTH_REFUSED':
        return new CallError('auth', 'refused', error.code, error.message, 'check user name and password')
      case 'AUTH_SERVER_UNPROVEN':
        return new CallError('auth', 'untrusted', error.code, error.message)
      case 'AUTH_CREDENTIALS':
        return new CallError('auth', 'local', error.code, error.message)
      default:
        return new CallError(step, 'protocol', error.code, error.message)
    }
  }

  private emit(event: TunnelEvent): void {
    this.options.onEvent?.(event)
  }

  // ---------------------------------------------------------------- the network

  connect(to: Endpoint, options?: DialOptions): Promise<Flow> {
    return this.sockets.connect(to, options)
  }

  openUdp(remote?: Endpoint): UdpFlow {
    return this.sockets.openUdp(remote)
  }

  ping(address: string, options?: PingOptions): Promise<{ readonly ms: number; readonly size: number }> {
    return this.sockets.ping(address, options)
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.stack.counters, ...this.call.counters }
  }
}

/** RFC 5072 5: fe80:: and the interface identifier. */
function linkLocal(identifier: Uint8Array): string | undefined {
  const b = new Uint8Array(16)
  b[0] = 0xfe
  b[1] = 0x80
  b.set(identifier.subarray(0, 8), 8)
  return IpAddress.fromBytes(b)?.toString()
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}
