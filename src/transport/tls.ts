/**
 * TCP and TLS to the server, and whom to trust (MS-SSTP 3.2.4.1).
 */
import { createHash, X509Certificate } from 'node:crypto'
import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { CallError, type Step } from './errors.js'

/** Whom to trust. Verification is on unless `insecure`. */
export interface TrustOptions {
  /** PEM certificates that replace the built-in roots. */
  readonly ca?: string
  /**
   * SHA-256 of the leaf certificate's DER or of its public key (SPKI), 64 hex digits or base64; replaces
   * the check of chain and name.
   */
  readonly pin?: string
  /** Name to send as SNI and to find in the certificate, instead of the host. */
  readonly servername?: string
  readonly insecure?: boolean
}

export interface DialTlsOptions {
  readonly host: string
  readonly port: number
  readonly trust: TrustOptions
  readonly signal: AbortSignal
  /** Called as each step is done, with what is to be told of it. */
  readonly onStep: (step: Step, detail: Readonly<Record<string, string | number>>) => void
  readonly onWarning: (code: string, message: string) => void
}

/** `host:port` for people. */
function nameOf(options: DialTlsOptions): string {
  const { host, port } = options
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Takes what TLS reads; `b` is reused when it returns. */
export type Receiver = (b: Uint8Array, length: number) => void

/** What comes before anybody reads: a server that talks first, or one that is quick. */
const MAX_EARLY = 1 << 18

/** A TLS connection to a server that is trusted. */
export class TlsLink {
  readonly socket: TLSSocket
  /** DER of the leaf certificate of this connection. */
  readonly certificate: Uint8Array
  private current: Receiver | undefined
  private early: Buffer = Buffer.alloc(0)

  constructor(socket: TLSSocket, certificate: Uint8Array) {
    this.socket = socket
    this.certificate = certificate
  }

  /** What came while nobody listened is delivered at once. */
  set receiver(receiver: Receiver | undefined) {
    this.current = receiver
    const { early } = this
    if (receiver === undefined || early.length === 0) return
    this.early = Buffer.alloc(0)
    receiver(early, early.length)
  }

  /** From the socket. */
  deliver(b: Uint8Array, length: number): void {
    if (this.current !== undefined) this.current(b, length)
    else if (this.early.length + length <= MAX_EARLY)
      this.early = Buffer.concat([this.early, b.subarray(0, length)])
    else this.socket.destroy()
  }
}

const KEEP_ALIVE = 60_000

/** Four TLS records fit; the system rarely hands over more at a time. */
const READ_BUFFER = 65_536

/** Name, TCP, TLS, trust. Rejects with {@link CallError}. */
export async function dialTls(options: DialTlsOptions): Promise<TlsLink> {
  const { host, port, signal } = options
  const addresses = await unlessAborted(resolveHost(host), signal)
  options.onStep('dns', { addresses: addresses.map((a) => a.address).join(' ') })
  return new Promise((resolve, reject) => {
    let link: TlsLink | undefined
    const buffer = new Uint8Array(READ_BUFFER)
    let step: Step = 'tcp'
    const socket = connect({
      ...tlsOptions(options),
      host,
      port,
      lookup: fixedLookup(addresses),
      autoSelectFamily: true,
      onread: {
        buffer,
        callback: (n: number): boolean => {
          link?.deliver(buffer, n)
          return true
        },
      },
    } as ConnectionOptions)
    const settle = (error?: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      socket.off('close', onClose)
      // What breaks later shows as the end of the connection; an error nobody hears would end the process.
      socket.on('error', () => {})
      if (link !== undefined) {
        resolve(link)
        return
      }
      socket.destroy()
      reject(error)
    }
    const onAbort = (): void => settle(signal.reason)
    const onError = (error: NodeJS.ErrnoException): void => settle(explain(error, step, options))
    const onClose = (): void =>
      settle(
        new CallError('tls', 'protocol', 'TLS_CLOSED', `${nameOf(options)} closed the connection during TLS`),
      )
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('close', onClose)
    socket.once('connect', () => {
      options.onStep('tcp', { address: socket.remoteAddress ?? '', port: socket.remotePort ?? port })
      step = 'tls'
    })
    socket.once('secureConnect', () => {
      try {
        link = accept(socket, options)
        settle()
      } catch (error) {
        // Certificates are written by strangers: whatever is odd about one ends the attempt, not the process.
        settle(error instanceof CallError ? error : unreadable(error, options))
      }
    })
  })
}

/** The handshake is done: is it whom we wanted? Throws {@link CallError} if not. */
function accept(socket: TLSSocket, options: DialTlsOptions): TlsLink {
  // As options of connect() these two do not reach the socket below TLS (Node 20).
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE)
  // Read once, now: the certificate of this handshake is what the crypto binding covers.
  const raw: Buffer | undefined = socket.getPeerCertificate(true).raw
  if (raw === undefined) throw untrusted({ reason: 'it shows no certificate' }, options)
  const certificate = new X509Certificate(raw)
  const doubt = judge(socket, certificate, options)
  if (doubt !== undefined) throw untrusted(doubt, options)
  options.onStep('tls', {
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher().standardName,
    certificate: subjectOf(certificate),
    sha256: sha256(raw).toString('hex'),
  })
  return new TlsLink(socket, Uint8Array.from(raw))
}

/** Undefined, against its type, for a certificate that names its hosts elsewhere. */
function subjectOf(certificate: X509Certificate): string {
  const subject: string | undefined = certificate.subject
  return clean(subject ?? certificate.subjectAltName ?? '')
}

/** Foreign text on one line. */
function clean(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ', ').slice(0, 200)
}

/** The system's resolver cannot be called off, only left alone. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

async function resolveHost(host: string): Promise<LookupAddress[]> {
  const family = isIP(host)
  if (family !== 0) return [{ address: host, family }]
  try {
    return await lookup(host, { all: true, verbatim: true })
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const what =
      code === 'ENOTFOUND'
        ? `there is no host named ${host}`
        : `the name ${host} could not be resolved (${code ?? 'no answer'})`
    throw new CallError(
      'dns',
      'unreachable',
      'DNS_FAILED',
      what,
      "check the spelling and this computer's DNS",
    )
  }
}

/** What was resolved before TCP began, in the shapes in which `net` asks. */
function fixedLookup(addresses: readonly LookupAddress[]): LookupFunction {
  return (_host, options, callback) => {
    const first = addresses[0]
    if (options.all) callback(null, [...addresses])
    else if (first !== undefined) callback(null, first.address, first.family)
  }
}

function tlsOptions(options: DialTlsOptions): ConnectionOptions {
  const { trust, host } = options
  const name = trust.servername ?? host
  return {
    // The judgement comes after the handshake, so that a refusal can say which certificate it was.
    rejectUnauthorized: false,
    // RFC 6066 3: never an IP literal.
    ...(isIP(name) === 0 ? { servername: name } : {}),
    ...(trust.ca === undefined ? {} : { ca: trust.ca }),
    minVersion: 'TLSv1.2',
    // A resumed session would come without a certificate, and the crypto binding needs it.
    session: undefined,
  } as ConnectionOptions
}

/** Why a certificate is not trusted, and what helps. */
interface Doubt {
  readonly reason: string
  readonly hint?: string
}

function judge(socket: TLSSocket, certificate: X509Certificate, options: DialTlsOptions): Doubt | undefined {
  const { trust } = options
  if (trust.pin !== undefined) {
    const wanted = pinBytes(trust.pin)
    if (wanted === undefined) return { reason: 'the pin is not a SHA-256 value' }
    const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
    if (sha256(certificate.raw).equals(wanted) || sha256(spki).equals(wanted)) return undefined
    return {
      reason: 'its certificate is not the pinned one',
      hint: 'the server has a new certificate, or somebody is in between: ask whoever runs it before changing the pin',
    }
  }
  if (socket.authorized) return undefined
  const code = trustCode(socket.authorizationError)
  const reason = explainTrust(code)
  if (trust.insecure === true) {
    options.onWarning('TLS_UNVERIFIED', `the certificate was not verified: ${reason}`)
    return undefined
  }
  const pin = `--pin ${sha256(certificate.raw).toString('hex')}`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = clean(certificate.subjectAltName ?? subjectOf(certificate))
    return {
      reason: `${reason} (${names})`,
      hint: 'use the name it is for, or say it with --servername NAME',
    }
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    const { validFrom, validTo } = certificate
    return {
      reason: `${reason} (valid from ${validFrom} to ${validTo})`,
      hint: `check this computer's clock; if you know this certificate, ${pin} trusts it all the same`,
    }
  }
  return { reason, hint: `if you know this certificate, allow it with ${pin}, or its issuer with --ca FILE` }
}

function untrusted(doubt: Doubt, options: DialTlsOptions): CallError {
  const message = `${nameOf(options)} is not trusted: ${doubt.reason}`
  return new CallError('tls', 'untrusted', 'TLS_UNTRUSTED', message, doubt.hint)
}

function unreadable(error: unknown, options: DialTlsOptions): CallError {
  const what = error instanceof Error ? error.message : String(error)
  return untrusted({ reason: `its certificate cannot be read (${clean(what)})` }, options)
}

/** Node gives OpenSSL's code as text, or an error with a code, against its type. */
function trustCode(error: unknown): string {
  return String(error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : error)
}

/** OpenSSL's codes in words. */
function explainTrust(code: string): string {
  switch (code) {
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return 'its certificate is self-signed'
    case 'SELF_SIGNED_CERT_IN_CHAIN':
      return 'its certificate comes from an authority that is not known here'
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return 'the issuer of its certificate is not known here (or the server does not send an intermediate certificate)'
    case 'CERT_HAS_EXPIRED':
      return 'its certificate has expired'
    case 'CERT_NOT_YET_VALID':
      return 'its certificate is not valid yet'
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return 'its certificate is for another name'
    default:
      return `its certificate is not good (${code})`
  }
}

/** Errors of TCP and of the TLS handshake in words. */
function explain(error: NodeJS.ErrnoException, step: Step, options: DialTlsOptions): CallError {
  const name = nameOf(options)
  const code = firstCode(error)
  switch (code) {
    case 'ECONNREFUSED':
      return new CallError(
        'tcp',
        'unreachable',
        'TCP_REFUSED',
        `nobody listens on ${name}`,
        'check host and port',
      )
    case 'ETIMEDOUT':
      return new CallError('tcp', 'unreachable', 'TCP_TIMEOUT', `${name} does not answer`)
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EADDRNOTAVAIL':
      return new CallError('tcp', 'unreachable', 'TCP_UNREACHABLE', `there is no way to ${name} (${code})`)
  }
  if (step === 'tcp') {
    return new CallError('tcp', 'unreachable', 'TCP_FAILED', `cannot connect to ${name} (${code})`)
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new CallError(
      'tls',
      'protocol',
      'TLS_CLOSED',
      `${name} closed the connection during TLS: not an SSTP server`,
    )
  }
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|UNEXPECTED_MESSAGE|BAD_RECORD/.test(code)) {
    return new CallError(
      'tls',
      'protocol',
      'TLS_NOT_TLS',
      `${name} does not speak TLS: not an SSTP server`,
      'a plain web server or another service listens there; SSTP usually is on port 443',
    )
  }
  const alert = /ALERT_([A-Z_]+)$/.exec(code)?.[1]?.toLowerCase().replace(/_/g, ' ')
  const what = alert === undefined ? `(${code})` : `(the server says: ${alert})`
  return new CallError('tls', 'protocol', 'TLS_FAILED', `TLS with ${name} failed ${what}`)
}

/** The code of an error, of the first of several if addresses were tried in turn. */
function firstCode(error: NodeJS.ErrnoException): string {
  if (error instanceof AggregateError) {
    const inner = error.errors.map((e: NodeJS.ErrnoException) => e.code).filter((c) => c !== undefined)
    const telling = inner.find((c) => c === 'ECONNREFUSED') ?? inner[0]
    if (telling !== undefined) return telling
  }
  return error.code ?? error.message
}

/** 64 hex digits or base64 of 32 octets. */
function pinBytes(pin: string): Buffer | undefined {
  const bytes = /^[0-9a-fA-F]{64}$/.test(pin) ? Buffer.from(pin, 'hex') : Buffer.from(pin, 'base64')
  return bytes.length === 32 ? bytes : undefined
}

function sha256(data: Uint8Array): Buffer {
  return createHash('sha256').update(data).digest()
}
