/**
 * One client's dealings with the RADIUS servers: its log-in (RFC 2865, RFC 3579; this end only passes on what client
 * and server say to each other), the limits that the server sets, and its accounting (RFC 2866).
 */
import { setU8, u8 } from '../../../stack/bytes.js'
import type { Authenticator, AuthPending, AuthRequest, AuthVerdict } from '../../ppp/auth/authenticator.js'
import { EapCode, EapType, hlakOf, otherHlakOf } from '../../ppp/auth/eap/method.js'
import type { AuthName } from '../../ppp/auth/method.js'
import { parseFailure, Reason } from '../../ppp/auth/mschapv2.js'
import type { Accounting, AccountingRecord } from './accounting.js'
import { ACCESS_ANSWERS, nameOf, type Outcome, type RadiusClient } from './client.js'
import { AUTHENTICATOR_LENGTH, hidePassword, MAX_VALUE, PacketWriter } from './packet.js'
import type { RadiusServer } from './port.js'
import { Attribute, MICROSOFT, MsAttribute, type Reply, SERVICE_FRAMED } from './reply.js'

/** RFC 2866 5.10, as far as they happen here. */
export const TerminateCause = {
  USER_REQUEST: 1,
  LOST_CARRIER: 2,
  IDLE_TIMEOUT: 4,
  SESSION_TIMEOUT: 5,
  ADMIN_REBOOT: 7,
  NAS_ERROR: 9,
} as const

/** Counters of a call as the client's provider sees them: `in` is what came from the client. */
export interface Usage {
  readonly octetsIn: number
  readonly octetsOut: number
  readonly packetsIn: number
  readonly packetsOut: number
}

/** What a session needs to know of the call it is for. */
export interface SessionOwner {
  readonly call: number
  /** The client's outer address. */
  readonly station: string
  /** The inner MTU: EAP packets that come for the client must fit. */
  readonly mtu: number
  usage(): Usage
  /** The client's address of 4 octets, and its interface identifier of 8. */
  framed(): { readonly ipv4: Uint8Array | undefined; readonly interfaceId: Uint8Array | undefined }
  /** A log-in begins. False: it is to be refused without asking anybody. */
  mayTry(user: string): boolean
  /** Nobody could be asked. `counts`: a server had been asked before, and may have said what it thinks of it. */
  untried(user: string, counts: boolean): void
  /** The server says that its password has expired: that is no wrong one. Its change is a try of its own. */
  expired(user: string): void
  warn(code: string, message: string): void
}

/** What sessions share. */
export interface SessionContext {
  readonly client: RadiusClient
  readonly accounting: Accounting | undefined
  readonly nasIdentifier: string
  readonly random: (dst: Uint8Array) => void
  /** Seconds since 1970. */
  readonly wallClock: () => number
}

/** Methods that a RADIUS server may know, best first: which one of EAP's is between it and the client. */
export const RADIUS_METHODS: readonly AuthName[] = [
  'eap-tls',
  'peap',
  'eap-mschapv2',
  'mschapv2',
  'chap',
  'pap',
]

/** Shorter ones would flood the server (RFC 2869 5.16). */
const MIN_INTERIM = 60
/** RFC 2865 5.2. */
const MAX_PASSWORD = 128
const NEVER = Number.POSITIVE_INFINITY
const PORT_VIRTUAL = 5
const PROTOCOL_PPP = 1
const AUTHENTIC_RADIUS = 1
/** Windows' own number: its vendor number, then 01. */
const TUNNEL_SSTP = 0x013701
const MEDIUM_IPV4 = 1
const MEDIUM_IPV6 = 2
const STATUS_TYPE = { start: 1, stop: 2, interim: 3 } as const
/** Whatever the client may choose, or we may: RFC 2865 5.8. */
const ANY_ADDRESS = [0xffffffff, 0xfffffffe]

export class RadiusSession implements Authenticator {
  readonly eap = true
  readonly #context: SessionContext
  readonly #owner: SessionOwner
  readonly #id: string
  #user = ''
  /** Of the last Access-Challenge, and who said it. */
  #state: Uint8Array | undefined
  #server: RadiusServer | undefined
  #granted: Reply | undefined
  #startedAt = NEVER
  #interimAt = NEVER
  #interim = 0
  #endAt = NEVER
  #idle = 0
  #idleAt = NEVER
  #moved = 0
  #cancel = (): void => {}

  constructor(context: SessionContext, owner: SessionOwner) {
    this.#context = context
    this.#owner = owner
    const unique = new Uint8Array(8)
    context.random(unique)
    this.#id = Buffer.from(unique).toString('hex')
  }

  /** The address that the server wants the client to have, 4 octets; undefined: any. */
  get framedIp(): Uint8Array | undefined {
    const address = this.#granted?.framedIp
    if (address === undefined) return undefined
    const value = Buffer.from(address).readUInt32BE()
    return ANY_ADDRESS.includes(value) ? undefined : address
  }

  // ---------------------------------------------------------------- log-in

  ask(request: AuthRequest, onActivity: () => void): AuthPending {
    const begins = isFirst(request)
    if (begins) {
      this.#state = undefined
      this.#server = undefined
    }
    const problem = problemOf(request)
    if (problem !== undefined) return decided({ kind: 'error', message: problem })
    if (begins && !this.#owner.mayTry(request.user)) return decided({ kind: 'reject' })
    const state = this.#state
    const only = this.#server
    this.#cancel()
    const pending: { verdict: AuthVerdict | undefined; cancel: () => void } = {
      verdict: undefined,
      cancel: this.#context.client.ask(
        {
          answers: ACCESS_ANSWERS,
          encode: (id, secret) => this.#accessRequest(request, state, id, secret),
          ...(only === undefined ? {} : { only }),
        },
        (outcome) => {
          pending.verdict = this.#judge(request, outcome)
          onActivity()
        },
      ),
    }
    this.#cancel = pending.cancel
    return pending
  }

  #accessRequest(
    request: AuthRequest,
    state: Uint8Array | undefined,
    id: number,
    secret: Uint8Array,
  ): { packet: Uint8Array; authenticator: Uint8Array } | undefined {
    const authenticator = new Uint8Array(AUTHENTICATOR_LENGTH)
    this.#context.random(authenticator)
    const to = new PacketWriter()
    to.reserveMessageAuthenticator()
    let fits = to.text(Attribute.USER_NAME, request.user) || request.user === ''
    this.#writePort(to)
    to.integer(Attribute.FRAMED_MTU, this.#owner.mtu)
    switch (request.kind) {
      case 'pap':
        fits &&= to.bytes(Attribute.USER_PASSWORD, hidePassword(request.password, authenticator, secret))
        break
      case 'chap': {
        const value = new Uint8Array(1 + request.response.length)
        setU8(value, 0, request.id)
        value.set(request.response, 1)
        fits &&= to.bytes(Attribute.CHAP_PASSWORD, value)
        fits &&= to.bytes(Attribute.CHAP_CHALLENGE, request.challenge)
        break
      }
      case 'mschapv2':
        fits &&= to.vendor(MICROSOFT, MsAttribute.CHAP_CHALLENGE, request.challenge)
        fits &&= to.vendor(MICROSOFT, MsAttribute.CHAP2_RESPONSE, chap2Response(request.id, request.response))
        break
      case 'mschapv2-change':
        fits &&= to.vendor(MICROSOFT, MsAttribute.CHAP_CHALLENGE, request.challenge)
        fits &&= writeChange(to, request.id, request.change)
        break
      case 'eap':
        fits &&= to.pieces(Attribute.EAP_MESSAGE, request.packet)
        if (state !== undefined) fits &&= to.bytes(Attribute.STATE, state)
        break
    }
    return fits ? { packet: to.accessRequest(id, authenticator, secret), authenticator } : undefined
  }

  #judge(request: AuthRequest, outcome: Outcome): AuthVerdict {
    if (outcome.kind === 'failed') {
      this.#owner.warn('RADIUS_NO_ANSWER', outcome.message)
      // Or a client could have its try back by an answer that no server takes, once it has heard what it guessed.
      this.#owner.untried(request.user, !isFirst(request))
      return { kind: 'error', message: 'no RADIUS server could be asked' }
    }
    const { reply, server } = outcome
    switch (reply.kind) {
      case 'accept':
        return this.#accepted(request, reply, server)
      case 'reject':
        if (request.kind === 'mschapv2' && saysExpired(reply.chapError)) this.#owner.expired(request.user)
        return {
          kind: 'reject',
          ...(reply.message === '' ? {} : { message: reply.message }),
          ...(reply.chapError === undefined ? {} : { failure: reply.chapError }),
          ...packetOf(reply, EapCode.FAILURE),
        }
      case 'challenge': {
        if (request.kind !== 'eap') {
          const message = `it asks a question, which ${request.kind} cannot pass on`
          this.#owner.warn('RADIUS_CHALLENGE', `RADIUS server ${nameOf(server)}: ${message}`)
          return { kind: 'reject', ...(reply.message === '' ? {} : { message: reply.message }) }
        }
        this.#state = reply.state
        this.#server = server
        const { packet } = packetOf(reply, EapCode.REQUEST)
        if (packet !== undefined) return { kind: 'challenge', packet }
        return { kind: 'error', message: 'the RADIUS server asks something without an EAP request' }
      }
      case 'accounted':
        return { kind: 'error', message: 'the RADIUS server answers something else' }
    }
  }

  #accepted(request: AuthRequest, reply: Reply, server: RadiusServer): AuthVerdict {
    const { serviceType } = reply
    if (serviceType !== undefined && serviceType !== SERVICE_FRAMED) {
      // RFC 2865 5.6: whoever may only log in at a console gets no VPN.
      const message = `it grants ${clean(request.user)} service type ${serviceType}, which is no VPN: refused`
      this.#owner.warn('RADIUS_SERVICE', `RADIUS server ${nameOf(server)}: ${message}`)
      return { kind: 'reject' }
    }
    const chap = request.kind === 'mschapv2' || request.kind === 'mschapv2-change'
    if (chap && reply.chapSuccess === undefined) {
      return { kind: 'error', message: 'the RADIUS server accepts MS-CHAPv2 without MS-CHAP2-Success' }
    }
    const { recvKey, sendKey, userName } = reply
    const keys = { send: recvKey ?? new Uint8Array(0), receive: sendKey ?? new Uint8Array(0) }
    const hlak = hlakOf(recvKey === undefined ? undefined : keys)
    const otherHlak = otherHlakOf(recvKey === undefined ? undefined : keys)
    if (chap && recvKey === undefined) {
      const message = 'it sends no MS-MPPE keys: clients will fail in the crypto binding'
      this.#owner.warn('RADIUS_NO_KEYS', `RADIUS server ${nameOf(server)}: ${message}`)
    }
    recvKey?.fill(0)
    sendKey?.fill(0)
    this.#granted = reply
    this.#user = userName ?? request.user
    return {
      kind: 'accept',
      hlak,
      ...(otherHlak === undefined ? {} : { otherHlak }),
      ...(userName === undefined ? {} : { user: clean(userName) }),
      ...(reply.message === '' ? {} : { message: reply.message }),
      ...(reply.chapSuccess === undefined ? {} : { success: reply.chapSuccess }),
      ...packetOf(reply, EapCode.SUCCESS),
    }
  }

  // ---------------------------------------------------------------- limits and accounting

  /** The call is up. */
  start(now: number): void {
    if (this.#startedAt !== NEVER) return
    this.#startedAt = now
    const { sessionTimeout = 0, idleTimeout = 0, interimInterval = 0 } = this.#granted ?? {}
    if (sessionTimeout > 0) this.#endAt = now + sessionTimeout * 1000
    if (idleTimeout > 0) {
      this.#idle = idleTimeout * 1000
      this.#idleAt = now + this.#idle
      this.#moved = this.#owner.usage().packetsIn
    }
    if (interimInterval > 0 && this.#context.accounting !== undefined) {
      this.#interim = Math.max(interimInterval, MIN_INTERIM) * 1000
      this.#interimAt = now + this.#interim
    }
    this.#account('start', now)
  }

  /** The call is over; nothing is told of one that never was up. */
  stop(cause: number, now: number): void {
    this.#cancel()
    if (this.#startedAt === NEVER) return
    this.#account('stop', now, cause)
    this.#startedAt = NEVER
    this.#interimAt = NEVER
    this.#endAt = NEVER
    this.#idleAt = NEVER
  }

  nextTimeout(): number {
    return Math.min(this.#endAt, this.#idleAt, this.#interimAt)
  }

  /** @returns the cause to end the call for, once */
  handleTimeout(now: number): number | undefined {
    if (now >= this.#endAt) {
      this.#endAt = NEVER
      return TerminateCause.SESSION_TIMEOUT
    }
    if (now >= this.#idleAt) {
      // Of the client's own: advertisements, and what strangers send it, go out whether or not it is there.
      const { packetsIn } = this.#owner.usage()
      if (packetsIn === this.#moved) {
        this.#idleAt = NEVER
        return TerminateCause.IDLE_TIMEOUT
      }
      // When in this time the last packet passed is not known: it counts from here.
      this.#moved = packetsIn
      this.#idleAt = now + this.#idle
    }
    if (now >= this.#interimAt) {
      this.#interimAt = now + this.#interim
      this.#account('interim', now)
    }
    return undefined
  }

  #account(kind: AccountingRecord['kind'], now: number, cause?: number): void {
    const { accounting, wallClock } = this.#context
    if (accounting === undefined) return
    const usage = { ...this.#owner.usage() }
    const { ipv4, interfaceId } = this.#owner.framed()
    const seconds = Math.round((now - this.#startedAt) / 1000)
    const time = wallClock()
    accounting.send({
      session: this.#id,
      kind,
      write: (to) => {
        to.integer(Attribute.ACCT_STATUS_TYPE, STATUS_TYPE[kind])
        to.text(Attribute.ACCT_SESSION_ID, this.#id)
        to.text(Attribute.USER_NAME, this.#user)
        this.#writePort(to)
        if (ipv4 !== undefined) to.bytes(Attribute.FRAMED_IP_ADDRESS, ipv4)
        if (interfaceId !== undefined) to.bytes(Attribute.FRAMED_INTERFACE_ID, interfaceId)
        to.integer(Attribute.ACCT_AUTHENTIC, AUTHENTIC_RADIUS)
        to.integer(Attribute.EVENT_TIMESTAMP, time)
        if (kind !== 'start') {
          to.integer(Attribute.ACCT_SESSION_TIME, seconds)
          writeOctets(to, Attribute.ACCT_INPUT_OCTETS, Attribute.ACCT_INPUT_GIGAWORDS, usage.octetsIn)
          writeOctets(to, Attribute.ACCT_OUTPUT_OCTETS, Attribute.ACCT_OUTPUT_GIGAWORDS, usage.octetsOut)
          to.integer(Attribute.ACCT_INPUT_PACKETS, usage.packetsIn % 2 ** 32)
          to.integer(Attribute.ACCT_OUTPUT_PACKETS, usage.packetsOut % 2 ** 32)
        }
        if (cause !== undefined) to.integer(Attribute.ACCT_TERMINATE_CAUSE, cause)
        // Last: one that does not fit costs nothing else.
        for (const value of this.#granted?.classes ?? []) to.bytes(Attribute.CLASS, value)
      },
    })
  }

  /** Who asks, and for whom. */
  #writePort(to: PacketWriter): void {
    const { call, station } = this.#owner
    to.text(Attribute.NAS_IDENTIFIER, this.#context.nasIdentifier)
    to.integer(Attribute.NAS_PORT, call)
    to.integer(Attribute.NAS_PORT_TYPE, PORT_VIRTUAL)
    to.integer(Attribute.SERVICE_TYPE, SERVICE_FRAMED)
    to.integer(Attribute.FRAMED_PROTOCOL, PROTOCOL_PPP)
    to.text(Attribute.CALLING_STATION_ID, station)
    to.tagged(Attribute.TUNNEL_TYPE, TUNNEL_SSTP)
    to.tagged(Attribute.TUNNEL_MEDIUM_TYPE, station.includes(':') ? MEDIUM_IPV6 : MEDIUM_IPV4)
    to.text(Attribute.TUNNEL_CLIENT_ENDPOINT, station)
  }
}

/** How a call ended whose link has ended, by the error's code; none: the client or we ended it in order. */
export function terminateCause(code: string | undefined): number {
  switch (code) {
    case undefined:
    case 'TERMINATED':
      return TerminateCause.USER_REQUEST
    case 'LCP_NO_ECHO':
    case 'NO_ANSWER':
    case 'SSTP_HELLO_TIMEOUT':
    case 'SSTP_CONNECTION_CLOSED':
      return TerminateCause.LOST_CARRIER
    default:
      return TerminateCause.NAS_ERROR
  }
}

/** An address as RADIUS servers like it: IPv4 is IPv4, also at a socket that takes both. */
export function stationOf(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=[0-9.]+$)/i, '').replace(/%.*$/, '')
}

function decided(verdict: AuthVerdict): AuthPending {
  return { verdict, cancel: () => {} }
}

/** It begins a log-in, and goes to whichever server. */
function isFirst(request: AuthRequest): boolean {
  return request.kind !== 'eap' || u8(request.packet, 4) === EapType.IDENTITY
}

/** What RADIUS cannot carry. */
function problemOf(request: AuthRequest): string | undefined {
  if (Buffer.byteLength(request.user) > MAX_VALUE)
    return `RADIUS carries user names of ${MAX_VALUE} octets at most`
  if (request.kind === 'pap' && request.password.length > MAX_PASSWORD) {
    return `RADIUS carries PAP passwords of ${MAX_PASSWORD} octets at most`
  }
  if (request.kind === 'mschapv2' && request.response.length !== 49)
    return 'an MS-CHAPv2 response has 49 octets'
  if (request.kind === 'mschapv2-change' && request.change.length !== 582)
    return 'a Change-Password has 582 octets'
  return undefined
}

/** Its EAP packet, if that is of the kind that goes with the answer (RFC 3579 2.6.3). */
function packetOf({ eap }: Reply, code: number): { packet?: Uint8Array } {
  return eap !== undefined && u8(eap, 0) === code ? { packet: eap } : {}
}

/** E=648 (RFC 2759 6). It is no help to whoever guesses: a wrong password is E=691, and a change is charged. */
function saysExpired(chapError: string | undefined): boolean {
  return chapError !== undefined && parseFailure(chapError).E === Reason.EXPIRED
}

/** RFC 2548 2.3.2: identifier, flags, then the peer's challenge, zeros and response. */
function chap2Response(id: number, value: Uint8Array): Uint8Array {
  const out = new Uint8Array(50)
  setU8(out, 0, id)
  setU8(out, 1, u8(value, 48))
  out.set(value.subarray(0, 48), 2)
  return out
}

/** RFC 2548 2.3.4 and 2.1.4 out of the octets behind the header of RFC 2759 7. */
function writeChange(to: PacketWriter, id: number, change: Uint8Array): boolean {
  const cpw = new Uint8Array(68)
  setU8(cpw, 0, 7)
  setU8(cpw, 1, id)
  cpw.set(change.subarray(516, 582), 2)
  let fits = to.vendor(MICROSOFT, MsAttribute.CHAP2_CPW, cpw)
  const piece = 243
  for (let at = 0, sequence = 1; at < 516; at += piece, sequence += 1) {
    const part = change.subarray(at, Math.min(at + piece, 516))
    const value = new Uint8Array(4 + part.length)
    value.set([6, id, 0, sequence])
    value.set(part, 4)
    fits &&= to.vendor(MICROSOFT, MsAttribute.CHAP_NT_ENC_PW, value)
  }
  return fits
}

function writeOctets(to: PacketWriter, octets: number, gigawords: number, value: number): void {
  to.integer(octets, value % 2 ** 32)
  to.integer(gigawords, Math.floor(value / 2 ** 32))
}

/** For people: one line without control characters. */
function clean(text: string): string {
  return text.replaceAll(/\p{C}/gu, '?').slice(0, MAX_VALUE)
}
