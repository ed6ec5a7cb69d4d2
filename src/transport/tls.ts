/**
 * TCP and TLS to the server, directly or through a proxy (MS-SSTP 3.2.4.1).
 */
import { X509Certificate } from 'node:crypto'
import {
  type ConnectionOptions,
  checkServerIdentity,
  connect,
  createSecureContext,
  rootCertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import { systemTrust } from './authorities.js'
import { CallError, type Step } from './errors.js'
import { raceAddresses } from './happy-eyeballs.js'
import { explainConnect, explainTls } from './network-errors.js'
import { resolveHost, unlessAborted } from './resolve.js'
import { KEEP_ALIVE } from './tcp.js'
import { endpointText, oneLine, sha256 } from './text.js'
import {
  chainOf,
  type Doubt,
  inspector,
  isPublic,
  issuerName,
  judge,
  nameToFind,
  sniOf,
  subjectOf,
  type TrustOptions,
} from './trust.js'
import { dialUpstream } from './upstream/dial.js'
import type { Upstream } from './upstream/upstream.js'

export type { TrustOptions } from './trust.js'

/** What the outer TLS and the HTTP head say, besides whom to trust. */
export interface OuterOptions {
  /** Name to send as SNI instead of `servername` or the host; null: none. */
  readonly sni?: string | null
  /** Value of the HTTP Host field, `name` or `name:port`. */
  readonly hostHeader?: string
  /** PEM of a client certificate with its chain, and of its private key. */
  readonly cert?: string
  readonly key?: string
}

export interface DialTlsOptions {
  readonly host: string
  readonly port: number
  readonly trust: TrustOptions
  readonly outer?: OuterOptions | undefined
  readonly upstream?: Upstream | undefined
  readonly signal: AbortSignal
  /** Called as each step is done, with what is to be told of it. */
  readonly onStep: (step: Step, detail: Readonly<Record<string, string | number>>) => void
  readonly onWarning: (code: string, message: string) => void
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

/** Four TLS records fit; the system rarely hands over more at a time. */
const READ_BUFFER = 65_536

/** A socket whose TLS has begun, and where it will find its link. */
interface Started {
  readonly socket: TLSSocket
  link: TlsLink | undefined
}

/** Name, TCP, TLS, trust. Rejects with {@link CallError}. */
export async function dialTls(options: DialTlsOptions): Promise<TlsLink> {
  // Reading what the system trusts takes a moment, in which names are resolved and proxies asked.
  const tls = tlsOptions(options)
  tls.catch(() => {})
  const started = await (options.upstream === undefined
    ? startDirect(options, tls)
    : startThrough(options, options.upstream, tls))
  return handshake(started, options)
}

/** The first of the host's addresses that answers. */
async function startDirect(options: DialTlsOptions, later: Promise<ConnectionOptions>): Promise<Started> {
  const { host, port, signal } = options
  const addresses = await resolveHost(host, signal)
  options.onStep('dns', { addresses: addresses.map((a) => a.address).join(' ') })
  const tls = await later
  const race = raceAddresses<Started>({
    addresses,
    signal,
    dial: ({ address }, done) => {
      const buffer = new Uint8Array(READ_BUFFER)
      const socket = connect({
        ...tls,
        host: address,
        port,
        autoSelectFamily: false,
        onread: {
          buffer,
          callback: (n: number): boolean => {
            started.link?.deliver(buffer, n)
            return true
          },
        },
      } as ConnectionOptions)
      const started: Started = { socket, link: undefined }
      // For good: what breaks later shows as the end, and an error nobody hears would end the process.
      socket.on('error', done)
      socket.once('connect', () => done(undefined, started))
      return () => void socket.destroy()
    },
  })
  const started = await race.catch((error: unknown) => {
    throw signal.aborted ? error : explainConnect(error, endpointText(host, port))
  })
  const { remoteAddress, remotePort } = started.socket
  options.onStep('tcp', { address: remoteAddress ?? '', port: remotePort ?? port })
  return started
}

async function startThrough(
  options: DialTlsOptions,
  upstream: Upstream,
  later: Promise<ConnectionOptions>,
): Promise<Started> {
  const { host, port, trust, signal, onStep } = options
  const context = (): Promise<SecureContext> => proxyContext(trust.ca)
  const through = await dialUpstream({ upstream, host, port, signal, onStep, context })
  let socket: TLSSocket
  try {
    const tls = await later
    // It may have ended meanwhile, and TLS that begins on such a socket hears nothing of it.
    if (through.destroyed || through.readableEnded) throw closedDuringTls(endpointText(host, port))
    socket = connect({ ...tls, socket: through })
  } catch (error) {
    through.destroy()
    throw error
  }
  const started: Started = { socket, link: undefined }
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => started.link?.deliver(chunk, chunk.length))
  return started
}

/** From here on nothing else can be tried. */
function handshake(started: Started, options: DialTlsOptions): Promise<TlsLink> {
  const { socket } = started
  const { signal } = options
  const name = endpointText(options.host, options.port)
  return new Promise((resolve, reject) => {
    const settle = (error?: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      socket.off('close', onClose)
      if (started.link !== undefined) {
        resolve(started.link)
        return
      }
      socket.destroy()
      reject(error)
    }
    const onAbort = (): void => settle(signal.reason)
    const onError = (error: unknown): void => settle(explainTls(error, name))
    const onClose = (): void => settle(closedDuringTls(name))
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('close', onClose)
    socket.once('secureConnect', () => {
      try {
        started.link = accept(socket, options)
        settle()
      } catch (error) {
        // Certificates are written by strangers: whatever is odd about one ends the attempt, not the process.
        settle(error instanceof CallError ? error : unreadable(error, options))
      }
    })
    if (signal.aborted) onAbort()
    else if (socket.destroyed) onClose()
  })
}

function closedDuringTls(name: string): CallError {
  return new CallError('tls', 'protocol', 'TLS_CLOSED', `${name} closed the connection during TLS`)
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
  const doubt = judge(socket, certificate, options.host, options.trust, (reason) =>
    options.onWarning('TLS_UNVERIFIED', `the certificate was not verified: ${reason}`),
  )
  if (doubt !== undefined) throw untrusted(doubt, options)
  options.onStep('tls', {
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher().standardName,
    certificate: subjectOf(certificate),
    sha256: sha256(raw).toString('hex'),
  })
  return new TlsLink(socket, Uint8Array.from(raw))
}

/**
 * The server refused the crypto binding (MS-SSTP 3.3.5.2.3): it knows another certificate than the one that
 * it showed here, so somebody in between ends TLS. Call it while the connection is still open.
 */
export function bindingRefused(link: TlsLink): CallError {
  const chain = safely(() => chainOf(link.socket.getPeerCertificate(true))) ?? []
  const leaf = chain[0] ?? new X509Certificate(link.certificate)
  const message = `the server refused the crypto binding: it does not know the certificate that is shown here (issued by ${issuerName(leaf)})`
  const product = inspector(chain.length === 0 ? [leaf] : chain)
  const hash = sha256(link.certificate).toString('hex')
  const hint =
    product !== undefined
      ? `${product} in between opens and re-signs TLS: have this server exempted from inspection, or use another network`
      : isPublic(chain)
        ? `TLS ends in front of the server (a load balancer, TLS offload): whoever runs it must give the SSTP service the SHA-256 of this certificate, ${hash}`
        : "a company's TLS inspection or an antivirus in between may re-sign TLS: use another network, or compare this certificate's SHA-256 with the server's: " +
          hash
  return new CallError('auth', 'untrusted', 'BINDING_REFUSED', message, hint)
}

function safely<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

async function tlsOptions(options: DialTlsOptions): Promise<ConnectionOptions> {
  const { trust, outer, host, signal } = options
  const servername = sniOf(host, trust, outer?.sni)
  const name = nameToFind(host, trust)
  return {
    // The judgement comes after the handshake, so that a refusal can say which certificate it was.
    rejectUnauthorized: false,
    ...(servername === undefined ? {} : { servername }),
    checkServerIdentity: (_asked, certificate) => checkServerIdentity(name, certificate),
    secureContext: await unlessAborted(contextOf(trust, outer), signal),
    // A resumed session would come without a certificate, and the crypto binding needs it.
    session: undefined,
  } as ConnectionOptions
}

async function contextOf(trust: TrustOptions, outer: OuterOptions | undefined): Promise<SecureContext> {
  const { cert, key } = outer ?? {}
  // A pin asks no authority.
  const system = trust.ca === undefined && trust.pin === undefined ? await systemTrust() : undefined
  if (system !== undefined && cert === undefined) return system.context
  const ca = trust.ca ?? system?.ca
  try {
    return createSecureContext({
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca: typeof ca === 'string' ? ca : [...ca] }),
      // Whoever names a certificate means it, also if it is none of a root.
      ...(trust.ca === undefined ? {} : { allowPartialTrustChain: true }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    })
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    throw new CallError(
      'tls',
      'local',
      'TLS_OPTIONS',
      `TLS cannot use the certificates given: ${oneLine(what)}`,
    )
  }
}

/** An `https` proxy is one of this network's: what the system trusts, and what the user names. */
async function proxyContext(ca: string | undefined): Promise<SecureContext> {
  const system = await systemTrust()
  if (ca === undefined) return system.context
  return createSecureContext({ minVersion: 'TLSv1.2', ca: [...(system.ca ?? rootCertificates), ca] })
}

function untrusted(doubt: Doubt, options: DialTlsOptions): CallError {
  const message = `${endpointText(options.host, options.port)} is not trusted: ${doubt.reason}`
  return new CallError('tls', 'untrusted', 'TLS_UNTRUSTED', message, doubt.hint)
}

function unreadable(error: unknown, options: DialTlsOptions): CallError {
  const what = error instanceof Error ? error.message : String(error)
  return untrusted({ reason: `its certificate cannot be read (${oneLine(what)})` }, options)
}
