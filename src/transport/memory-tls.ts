/**
 * Node's TLS over memory instead of a socket, for the TLS inside EAP: octets of records in, octets out.
 *
 * Node does not say when it has done all it can with what it was given. Everything happens in the turn of the
 * event loop in which the octets are pushed, or in the few behind it; so an engine is `busy` until nothing has
 * moved for some turns, and only then says so.
 */
import { constants, type X509Certificate } from 'node:crypto'
import { Duplex } from 'node:stream'
import {
  connect,
  createServer,
  type SecureContextOptions,
  type SecureVersion,
  type Server,
  type TLSSocket,
} from 'node:tls'
import type {
  TlsEngine,
  TlsEngineError,
  TlsEngineFactory,
  TlsEngineOptions,
  TlsEngineState,
  TlsPeerCertificate,
} from '../ppp/auth/eap/tls-engine.js'
import { oneLine } from './text.js'
import type { Identity } from './tls-identity.js'
import { chainOf } from './trust.js'

/** What the peer has shown, and what TLS thinks of it. */
export interface Shown {
  /** The leaf first, then what is known of its issuers; empty if nothing was shown. */
  readonly chain: readonly X509Certificate[]
  /** OpenSSL's code of what is wrong with the chain; undefined if it is good. Names are not looked at. */
  readonly fault: string | undefined
}

/** A judgement of the peer's certificate: undefined, or why it is not accepted. */
export type Judge = (shown: Shown) => { readonly code: string; readonly message: string } | undefined

/** One end of TLS, whoever it talks to. */
export interface MemoryTlsOptions {
  /** What we show: a server always, a client if it is asked and `clientCertificate` of the engine says so. */
  readonly identity?: Identity
  /** PEM of the issuers that the peer's certificate may have; Node's own roots by default. */
  readonly ca?: string | readonly string[]
  /** Asked when the handshake is done, and before application data is. */
  readonly judge: Judge
  /** `TLSv1.3` by default; the lowest is `TLSv1.2`. */
  readonly maxVersion?: SecureVersion
}

/** Octets that may wait to be sent, or to be read: a flight of EAP-TLS has at most 64 KiB. */
const MAX_WAITING = 131_072
/** Octets from the peer in one engine's life; a handshake has a few KiB. */
const MAX_RECEIVED = 1_048_576
/** Turns of the event loop without any movement. Node writes what does not fit at once one turn later. */
const QUIET_TURNS = 4

/** Engines that differ only in what `options` of the factory say. */
export function memoryTls(options: MemoryTlsOptions): TlsEngineFactory {
  return (engine) => new MemoryTls(options, engine)
}

class MemoryTls implements TlsEngine {
  state: TlsEngineState = 'handshake'
  error: TlsEngineError | undefined
  protocol: string | undefined
  peer: TlsPeerCertificate | undefined
  busy = false
  readonly #options: MemoryTlsOptions
  readonly #engine: TlsEngineOptions
  readonly #duplex: Duplex
  #server: Server | undefined
  #socket: TLSSocket | undefined
  #out: Buffer[] = []
  #outSize = 0
  #plain: Buffer[] = []
  #plainSize = 0
  #received = 0
  #quiet = 0
  #destroyed = false

  constructor(options: MemoryTlsOptions, engine: TlsEngineOptions) {
    this.#options = options
    this.#engine = engine
    this.#duplex = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        this.#written(chunk)
        done()
      },
    })
    // An end is never pushed; what else may go wrong there, TLS reports.
    this.#duplex.on('error', () => {})
    try {
      if (engine.role === 'client') this.#startClient()
      else this.#startServer()
    } catch (error) {
      this.#fail({ kind: 'protocol', code: codeOf(error), message: `TLS cannot begin (${codeOf(error)})` })
    }
    this.#stir()
  }

  #common(identity: boolean): SecureContextOptions {
    const { options } = { options: this.#options }
    return {
      ...(identity && options.identity !== undefined ? options.identity.context : {}),
      ...(options.ca === undefined ? {} : { ca: options.ca as string | string[] }),
      minVersion: 'TLSv1.2',
      maxVersion: options.maxVersion ?? 'TLSv1.3',
      // Each authentication is a whole one, by certificate; and it ends with its handshake.
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    }
  }

  #startClient(): void {
    const socket = connect({
      ...this.#common(this.#engine.clientCertificate),
      socket: this.#duplex,
      // The judgement comes with the end of the handshake: it needs more than Node's answer.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    })
    socket.once('secureConnect', () => this.#opened(socket))
    this.#adopt(socket)
  }

  #startServer(): void {
    const server = createServer({
      ...this.#common(true),
      requestCert: this.#engine.clientCertificate,
      rejectUnauthorized: false,
      // The link has its own deadline.
      handshakeTimeout: 0,
    })
    server.on('tlsClientError', (error) => this.#broke(error))
    server.once('secureConnection', (socket) => {
      this.#adopt(socket)
      this.#opened(socket)
    })
    this.#server = server
    server.emit('connection', this.#duplex)
  }

  #adopt(socket: TLSSocket): void {
    this.#socket = socket
    socket.on('error', (error) => this.#broke(error))
    socket.on('data', (data: Buffer) => this.#readable(data))
    socket.once('end', () => this.#ended())
    socket.once('close', () => this.#ended())
  }

  #opened(socket: TLSSocket): void {
    if (this.#destroyed || this.state !== 'handshake') return
    this.protocol = socket.getProtocol() ?? undefined
    let chain: X509Certificate[]
    try {
      // An empty object if there is none. Node's other ways to the certificate would use this one up.
      chain = chainOf(socket.getPeerCertificate(true))
      const [leaf] = chain
      this.peer = leaf === undefined ? undefined : describePeer(leaf)
    } catch (error) {
      const message = `the certificate cannot be read (${codeOf(error)})`
      this.#refuse({ kind: 'untrusted', code: codeOf(error), message })
      return
    }
    if (this.#engine.role === 'client' || this.#engine.clientCertificate) {
      // An error or its code, against its type.
      const fault = socket.authorized ? undefined : codeOf(socket.authorizationError)
      const doubt = this.#options.judge({ chain, fault })
      if (doubt !== undefined) {
        this.#refuse({ kind: 'untrusted', ...doubt })
        return
      }
    }
    socket.disableRenegotiation()
    this.state = 'open'
    this.#stir()
  }

  /** Nothing more goes out: with TLS 1.3 the client's flight would be next. */
  #refuse(error: TlsEngineError): void {
    this.#fail(error)
    this.#out = []
    this.#outSize = 0
    this.#free()
  }

  #broke(error: unknown): void {
    if (this.#destroyed || this.state === 'failed') return
    this.#fail(explainTls(error))
    this.#free()
  }

  #ended(): void {
    if (this.#destroyed || this.state === 'failed' || this.state === 'closed') return
    if (this.state === 'open') this.state = 'closed'
    else
      this.#fail({ kind: 'protocol', code: 'ERR_ENDED', message: 'TLS ended in the middle of its handshake' })
    this.#stir()
  }

  #fail(error: TlsEngineError): void {
    this.state = 'failed'
    this.error = error
    this.#stir()
  }

  #written(chunk: Buffer): void {
    if (this.#destroyed || (this.state === 'failed' && this.error?.kind === 'untrusted')) return
    this.#outSize += chunk.length
    if (this.#outSize > MAX_WAITING) {
      this.#out = []
      this.#overflow('TLS wants to send too much at once')
      return
    }
    this.#out.push(Buffer.from(chunk))
    this.#stir()
  }

  #readable(data: Buffer): void {
    if (this.#destroyed || this.state !== 'open') return
    this.#plainSize += data.length
    if (this.#plainSize > MAX_WAITING) this.#overflow('the peer sends too much through TLS at once')
    else this.#plain.push(data)
    this.#stir()
  }

  #overflow(message: string): void {
    if (this.state === 'failed') return
    this.#fail({ kind: 'protocol', code: 'ERR_FLOOD', message })
    this.#plain = []
    this.#free()
  }

  receive(b: Uint8Array, off: number, len: number): void {
    if (this.#destroyed || this.state === 'failed' || this.state === 'closed') return
    this.#received += len
    if (this.#received > MAX_RECEIVED) {
      this.#overflow('the peer sends TLS records without end')
      return
    }
    if (len > 0) this.#duplex.push(Buffer.from(b.subarray(off, off + len)))
    this.#stir()
  }

  take(): Uint8Array | undefined {
    if (this.#out.length === 0) return undefined
    const out = new Uint8Array(Buffer.concat(this.#out))
    this.#out = []
    this.#outSize = 0
    return out
  }

  write(data: Uint8Array): void {
    if (this.#destroyed || this.state !== 'open') return
    this.#socket?.write(Buffer.from(data))
    this.#stir()
  }

  read(): Uint8Array | undefined {
    if (this.#plain.length === 0) return undefined
    const plain = new Uint8Array(Buffer.concat(this.#plain))
    this.#plain = []
    this.#plainSize = 0
    return plain
  }

  exportKeyingMaterial(length: number, label: string, context?: Uint8Array): Uint8Array | undefined {
    if (this.state !== 'open' || this.#socket === undefined) return undefined
    try {
      // Left out is not the same as empty (RFC 5705 4), and Node's types know only the whole.
      const exported =
        context === undefined
          ? (this.#socket.exportKeyingMaterial as (length: number, label: string) => Buffer).call(
              this.#socket,
              length,
              label,
            )
          : this.#socket.exportKeyingMaterial(length, label, Buffer.from(context))
      return new Uint8Array(exported)
    } catch {
      return undefined
    }
  }

  destroy(): void {
    if (this.#destroyed) return
    this.#destroyed = true
    this.busy = false
    this.#out = []
    this.#plain = []
    this.#free()
  }

  #free(): void {
    this.#socket?.destroy()
    this.#duplex.destroy()
    this.#server?.removeAllListeners()
    this.#server = undefined
  }

  // ---------------------------------------------------------------- when it is done

  #stir(): void {
    this.#quiet = 0
    if (this.busy || this.#destroyed) return
    this.busy = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    if (this.#destroyed) return
    this.#quiet += 1
    if (this.#quiet <= QUIET_TURNS) {
      setImmediate(this.#turn)
      return
    }
    this.busy = false
    this.#engine.onActivity()
  }
}

function describePeer(certificate: X509Certificate): TlsPeerCertificate {
  const names: string[] = []
  // Undefined, against its type, if there are none.
  const alternatives: string | undefined = certificate.subjectAltName
  for (const part of (alternatives ?? '').split(', ').slice(0, 64)) {
    const name = /^(?:DNS|email|othername:(?:UPN|msUPN|SmtpUTF8Mailbox):{0,2}):?(.{1,255})$/.exec(part)?.[1]
    if (name !== undefined && !name.startsWith('<')) names.push(oneLine(name))
  }
  return {
    name: commonName(certificate.subject) || (names[0] ?? ''),
    issuer: commonName(certificate.issuer),
    names,
    der: new Uint8Array(certificate.raw),
  }
}

function commonName(name: string | undefined): string {
  const found = [...(name ?? '').matchAll(/^CN=(.+)$/gm)].at(-1)?.[1]
  return oneLine(found ?? '')
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return oneLine(String(error))
  return oneLine((error as NodeJS.ErrnoException).code ?? error.message)
}

/** Alerts that say what to do (RFC 8446 6.2); the others are named. */
const ALERTS: Readonly<Record<string, string>> = {
  UNKNOWN_CA: 'it does not know the issuer of our certificate',
  BAD_CERTIFICATE: 'it does not like our certificate',
  UNSUPPORTED_CERTIFICATE: 'it cannot use a certificate of this kind',
  CERTIFICATE_REVOKED: 'our certificate was revoked',
  CERTIFICATE_EXPIRED: 'our certificate has expired',
  CERTIFICATE_UNKNOWN: 'it does not accept our certificate',
  CERTIFICATE_REQUIRED: 'it wants a certificate',
  ACCESS_DENIED: 'our certificate gives no access',
  HANDSHAKE_FAILURE: 'nothing that both ends can do, or it wants a certificate',
  PROTOCOL_VERSION: 'no TLS version that both ends want',
  INSUFFICIENT_SECURITY: 'what we offer is not safe enough for it',
}

function explainTls(error: unknown): TlsEngineError {
  const code = codeOf(error)
  const alert = /_ALERT_([A-Z0-9_]+)$/.exec(code)?.[1]
  if (alert !== undefined) {
    const message = ALERTS[alert] ?? alert.toLowerCase().replace(/_/g, ' ')
    return { kind: 'alert', code, message }
  }
  if (code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE') {
    return { kind: 'untrusted', code, message: 'it shows no certificate' }
  }
  if (/WRONG_VERSION_NUMBER|HTTP_REQUEST|UNEXPECTED_MESSAGE|BAD_RECORD|DECODE|LENGTH|RECORD/.test(code)) {
    return { kind: 'protocol', code, message: `what came is not TLS as it should be (${code})` }
  }
  if (/UNSUPPORTED_PROTOCOL|VERSION|NO_SHARED_CIPHER|NO_PROTOCOLS/.test(code)) {
    return { kind: 'protocol', code, message: `no TLS version or cipher that both ends want (${code})` }
  }
  if (/RENEGOTIATION/.test(code)) return { kind: 'protocol', code, message: 'TLS began anew' }
  return { kind: 'protocol', code, message: `TLS failed (${code})` }
}
