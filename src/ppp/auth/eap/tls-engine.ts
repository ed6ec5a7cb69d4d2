/**
 * TLS as EAP-TLS and PEAP need it: octets of records in and out, over no socket. Node's TLS is asynchronous
 * and no part of this floor, so that the link is given a factory and the method is told when to look again.
 */

/**
 * - `handshake`: not finished yet
 * - `open`: finished, the peer's certificate accepted; application data may be written and keys exported
 * - `closed`: the peer said close_notify
 * - `failed`: {@link TlsEngine.error} says why; an alert may still wait in {@link TlsEngine.take}
 */
export type TlsEngineState = 'handshake' | 'open' | 'closed' | 'failed'

export interface TlsEngineError {
  /**
   * - `untrusted`: the peer's certificate was not accepted here
   * - `alert`: the peer sent a fatal alert
   * - `protocol`: anything else
   */
  readonly kind: 'untrusted' | 'alert' | 'protocol'
  /** Of OpenSSL or Node, for example `CERT_HAS_EXPIRED`. */
  readonly code: string
  /** One line for people, without secrets. */
  readonly message: string
}

/** What is known of the certificate that the peer has shown. */
export interface TlsPeerCertificate {
  /** The subject's common name, or the first alternative name. */
  readonly name: string
  readonly issuer: string
  /** Alternative names of the kinds DNS, e-mail and user principal name. */
  readonly names: readonly string[]
  /** DER of the leaf. */
  readonly der: Uint8Array
}

export interface TlsEngine {
  readonly state: TlsEngineState
  readonly error: TlsEngineError | undefined
  /** `TLSv1.2`, `TLSv1.3`; undefined before it is agreed. */
  readonly protocol: string | undefined
  /** Undefined if the peer has shown none. */
  readonly peer: TlsPeerCertificate | undefined
  /** Octets were received and may still bring something: the answer to them is not known yet. */
  readonly busy: boolean
  /** Records from the peer; copied. */
  receive(b: Uint8Array, off: number, len: number): void
  /** All octets that are to go to the peer by now; undefined if there are none. */
  take(): Uint8Array | undefined
  /** Application data to the peer; copied. Only in state `open`. */
  write(data: Uint8Array): void
  /** Application data from the peer, what there is; undefined if there is none. */
  read(): Uint8Array | undefined
  /**
   * RFC 5705. No context differs from an empty one with TLS 1.2. Undefined if the handshake is not finished.
   * The result is a secret.
   */
  exportKeyingMaterial(length: number, label: string, context?: Uint8Array): Uint8Array | undefined
  /** Frees everything; nothing is called back any more. */
  destroy(): void
}

export interface TlsEngineOptions {
  readonly role: 'client' | 'server'
  /** Whether our certificate (client), or the peer's (server), belongs to the handshake: true for EAP-TLS. */
  readonly clientCertificate: boolean
  /**
   * State, error, output, data or `busy` has changed. Called from outside of all calls into the engine, and of
   * all into the link: never synchronously.
   */
  readonly onActivity: () => void
}

/** Certificates, keys, trust, names and versions are the factory's. Throws nothing: what is wrong is `error`. */
export type TlsEngineFactory = (options: TlsEngineOptions) => TlsEngine
