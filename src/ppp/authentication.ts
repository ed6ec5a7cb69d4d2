/** Which authentication a link uses: the default choice of a client, and the method that LCP has agreed on. */
import type { Authenticator } from './auth/authenticator.js'
import { ChapClient } from './auth/chap.js'
import { md5Algorithm } from './auth/chap-md5.js'
import { msChapV2 } from './auth/chap-mschapv2.js'
import { ChapServer } from './auth/chap-server.js'
import { EapClient } from './auth/eap/client.js'
import { eapTlsAuthenticator, eapTlsPeer } from './auth/eap/eap-tls.js'
import type { EapMethodChoice } from './auth/eap/method.js'
import { eapMsChapV2Peer, eapMsChapV2Server } from './auth/eap/mschapv2.js'
import { peapPeer } from './auth/eap/peap.js'
import { peapAuthenticator } from './auth/eap/peap-server.js'
import { EapRelay } from './auth/eap/relay.js'
import { EapServer } from './auth/eap/server.js'
import { LocalAuthenticator } from './auth/local.js'
import type { AuthHost, AuthMethod, AuthName, LinkAuth } from './auth/method.js'
import type { MsChapV2Credentials } from './auth/mschapv2.js'
import { PapClient, PapServer } from './auth/pap.js'
import { controlLength } from './control.js'
import { PppError } from './errors.js'
import type { PppClientOptions, PppEvent, PppLinkOptions, PppServerOptions } from './types.js'

/** Octets of an authentication packet: what EAP may count on (RFC 3748 3.1), and what passes everywhere. */
const LEAST_PACKET = 1020
const MOST_PACKET = 1400

/** What a client has to go by when it is told no methods. */
export interface ClientMeans {
  /** A client certificate for EAP-TLS. */
  readonly certificate: boolean
  /** TLS inside EAP is possible, and it is known whom to trust there. */
  readonly tls: boolean
  /** There is a password. */
  readonly password: boolean
  /** The server's certificate is verified: it may read the password. */
  readonly verified: boolean
}

/** The methods of a client that was told none, best first. */
export function defaultMethods(means: ClientMeans): AuthName[] {
  const methods: AuthName[] = []
  if (means.certificate && means.tls) methods.push('eap-tls')
  if (!means.password) return methods
  if (means.tls) methods.push('peap')
  methods.push('eap-mschapv2', 'mschapv2', 'chap')
  if (means.verified) methods.push('pap')
  return methods
}

/** What authentication needs of its link. */
export interface AuthenticationHost {
  /** Queues a packet of the protocol. */
  send(protocol: number, code: number, id: number, body: Uint8Array): void
  /** Octets of information that the peer takes. */
  peerMru(): number
  authenticated(method: AuthName | 'eap', user: string, hlak: Uint8Array, otherHlak?: Uint8Array): void
  failed(error: PppError): void
  emit(event: PppEvent): void
}

/** One link's authentication: the method that LCP has agreed on, and what it works with. */
export class Authentication {
  readonly #options: PppLinkOptions
  readonly #link: AuthenticationHost
  /** A client's; the password in it changes with that of the account. */
  readonly #credentials: MsChapV2Credentials | undefined
  #method: AuthMethod | undefined

  constructor(options: PppLinkOptions, link: AuthenticationHost) {
    this.#options = options
    this.#link = link
    if (options.role !== 'client') return
    const { user, password, newPassword, hashWholeUser = false } = options
    const onChanged = (): void => link.emit({ type: 'password-changed' })
    this.#credentials = { user, password, newPassword, hashWholeUser, onChanged }
  }

  /** The number of the agreed protocol, once there is one. */
  get protocol(): number | undefined {
    return this.#method?.protocol
  }

  /** Credentials are on their way without a verdict: whoever hangs up now refuses them. */
  get undecided(): boolean {
    return this.#method?.undecided === true
  }

  start(agreed: LinkAuth, now: number): void {
    const { role } = this.#options
    const host = this.#host(agreed)
    this.#method =
      role === 'client'
        ? this.#client(agreed, host, this.#options)
        : this.#server(agreed, host, this.#options)
    this.#method.start(now)
  }

  /** One packet of {@link protocol}; a broken length is dropped. */
  input(b: Uint8Array, off: number, len: number, now: number): void {
    const length = controlLength(b, off, len)
    if (length >= 0) this.#method?.input(b, off, length, now)
  }

  /** The server has begun with a network protocol. Some let EAP's end go without saying (RFC 3748 4.2). */
  presumed(now: number): void {
    this.#method?.presumed?.(now)
  }

  activity(now: number): void {
    this.#method?.activity?.(now)
  }

  nextTimeout(): number {
    return this.#method?.nextTimeout() ?? Number.POSITIVE_INFINITY
  }

  handleTimeout(now: number): void {
    this.#method?.handleTimeout(now)
  }

  /** The peer has hung up while we were `undecided`; `said`: its words. */
  hungUp(said: string): PppError {
    const known = this.#method?.refusal?.(said)
    if (known !== undefined) return known
    const peer = this.#options.role === 'client' ? 'server' : 'client'
    const words = said === '' ? '' : ` (it says: ${said})`
    const message = `the ${peer} hung up on our credentials: wrong user name or password${words}`
    return new PppError('auth', 'AUTH_REFUSED', message)
  }

  /** The end of the link. */
  close(): void {
    this.#method?.close?.()
    this.#method = undefined
  }

  #host(agreed: LinkAuth): AuthHost {
    const link = this.#link
    return {
      random: this.#options.random,
      get limit(): number {
        return Math.max(LEAST_PACKET, Math.min(link.peerMru(), MOST_PACKET))
      },
      send: (code, id, body) => {
        if (this.#method !== undefined) link.send(this.#method.protocol, code, id, body)
      },
      succeeded: (user, hlak, method, other) => link.authenticated(method ?? agreed, user, hlak, other),
      failed: (error) => link.failed(error),
      note: (message) => link.emit({ type: 'note', message }),
      onActivity: () => this.#options.onActivity?.(),
    }
  }

  #client(name: LinkAuth, host: AuthHost, options: PppClientOptions): AuthMethod {
    const { user, password } = options
    const credentials = this.#credentials ?? { user, password, hashWholeUser: false }
    switch (name) {
      case 'pap':
        return new PapClient(host, user, password)
      case 'chap':
        return new ChapClient(host, user, md5Algorithm(password))
      case 'mschapv2':
        return new ChapClient(host, user, msChapV2(credentials))
      case 'eap':
        return new EapClient(host, user, options.keyRule ?? 'windows', {
          identity: options.identity ?? user,
          methods: peerChoices(options, credentials),
        })
    }
  }

  #server(name: LinkAuth, host: AuthHost, options: PppServerOptions): AuthMethod {
    const serverName = options.serverName ?? 'sstp-socks'
    const authenticator = options.authenticator ?? new LocalAuthenticator(options)
    switch (name) {
      case 'pap':
        return new PapServer(host, authenticator)
      case 'chap':
      case 'mschapv2':
        return new ChapServer(host, serverName, name, authenticator)
      case 'eap':
        if (authenticator.eap) return new EapRelay(host, authenticator)
        return new EapServer(host, { methods: serverChoices(options, serverName, authenticator) })
    }
  }
}

/** EAP's methods of a client, best first. */
function peerChoices(options: PppClientOptions, credentials: MsChapV2Credentials): EapMethodChoice[] {
  const { auth, tls } = options
  const choices: EapMethodChoice[] = []
  for (const name of auth) {
    if (name === 'eap-mschapv2') choices.push(eapMsChapV2Peer(credentials))
    if (tls === undefined) continue
    if (name === 'eap-tls') choices.push(eapTlsPeer(tls))
    if (name === 'peap') {
      const inside = [eapMsChapV2Peer(credentials)]
      if (auth.includes('eap-tls')) inside.unshift(eapTlsPeer(tls))
      choices.push(peapPeer(tls, { user: options.user, methods: inside }))
    }
  }
  return choices
}

/** EAP's methods of a server with accounts of its own, best first. */
function serverChoices(
  options: PppServerOptions,
  serverName: string,
  authenticator: Authenticator,
): EapMethodChoice[] {
  const { auth, tls } = options
  const choices: EapMethodChoice[] = []
  for (const name of auth) {
    if (name === 'eap-mschapv2') choices.push(eapMsChapV2Server(serverName, authenticator))
    if (tls === undefined) continue
    if (name === 'eap-tls') choices.push(eapTlsAuthenticator(tls))
    if (name === 'peap') {
      choices.push(peapAuthenticator(tls, { methods: [eapMsChapV2Server(serverName, authenticator)] }))
    }
  }
  return choices
}
