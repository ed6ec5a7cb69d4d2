/**
 * What the link and an authentication method see of each other.
 *
 * A method is fed with the frames of its protocol and may answer at any time through its host, also long
 * after `input` has returned: one that must wait for something outside needs nothing more than this. It
 * lives on after it has succeeded, because an authenticator may ask again in the open link (RFC 1994 2).
 */
import { timingSafeEqual } from 'node:crypto'
import { u8, u16 } from '../../../stack/bytes.js'
import type { PppError } from '../errors.js'
import { Protocol } from '../frame.js'

export type AuthName = 'eap-tls' | 'peap' | 'eap-mschapv2' | 'mschapv2' | 'chap' | 'pap'

/** What LCP agrees on (RFC 1661 6.2): the methods of EAP share one value. */
export type LinkAuth = 'eap' | 'mschapv2' | 'chap' | 'pap'

/** A server asks for the strong ones first, whatever the order in which it was told of them. */
export const WEAKNESS: Readonly<Record<LinkAuth, number>> = { eap: 0, mschapv2: 0, chap: 1, pap: 2 }

/** Milliseconds that authentication may take: a second factor can need more than a minute. */
export const AUTH_TIMEOUT = 90_000
/** RFC 1334 and RFC 1994 leave these to us; pppd and Windows use the same. */
export const AUTH_RESEND = 3000
export const AUTH_MAX_SENDS = 10
/** How long an authenticator sits on a refusal, against guessing. */
export const REFUSAL_DELAY = 1000

/** Longest name and, for PAP, password in octets. */
export const MAX_NAME = 255

/** SSTP's key for methods that make none. */
export const NO_KEY_LENGTH = 32

export interface AuthHost {
  readonly random: (dst: Uint8Array) => void
  /** Octets that a packet of the method may have; at least 1020. */
  readonly limit: number
  /** Queues a packet of the method's protocol. */
  send(code: number, id: number, body: Uint8Array): void
  /**
   * The peer (server) or we (client) are who they say; `hlak` are 32 octets, zeros if the method makes no key.
   * `method`: what was used, if that is not what LCP has agreed on by itself. `otherHlak`: what it is by the other
   * rule, at a server that knows no better than its client by which of the two that makes it.
   */
  succeeded(user: string, hlak: Uint8Array, method?: AuthName | 'eap', otherHlak?: Uint8Array): void
  /** The end of the call. */
  failed(error: PppError): void
  /** For people; no secrets. */
  note(message: string): void
  /** For what works outside; see {@link AuthMethod.activity}. Never to be called from within. */
  readonly onActivity: () => void
}

export interface AuthMethod {
  readonly protocol: number
  /** Credentials are on their way and there is no verdict yet: a peer that hangs up now has refused them. */
  readonly undecided: boolean
  start(now: number): void
  /** One packet, from its code on, its length already checked. */
  input(b: Uint8Array, o: number, len: number, now: number): void
  nextTimeout(): number
  handleTimeout(now: number): void
  /** Work outside has gone on: a TLS engine's, an authenticator's. */
  activity?(now: number): void
  /**
   * Client: the server has begun with the network protocols without a word to the end of authentication; true: that is
   * believed, and `succeeded` was called.
   */
  presumed?(now: number): boolean
  /** The other end has hung up, with these words or none, while it was `undecided`. Why, if that is known. */
  refusal?(said: string): PppError | undefined
  /** The end of the link: whatever is outside is freed. */
  close?(): void
}

/** What of LCP's a method belongs to. */
export function linkAuth(name: AuthName): LinkAuth {
  switch (name) {
    case 'eap-tls':
    case 'peap':
    case 'eap-mschapv2':
      return 'eap'
    default:
      return name
  }
}

/** Data of LCP's authentication option (RFC 1661 6.2) for a method. */
export function authOption(name: LinkAuth): Uint8Array {
  switch (name) {
    case 'eap':
      return Uint8Array.of(0xc2, 0x27)
    case 'pap':
      return Uint8Array.of(0xc0, 0x23)
    case 'chap':
      return Uint8Array.of(0xc2, 0x23, 0x05)
    case 'mschapv2':
      return Uint8Array.of(0xc2, 0x23, 0x81)
  }
}

/** The method that such data names, if it is one of ours. */
export function readAuthOption(b: Uint8Array, o: number, len: number): LinkAuth | undefined {
  if (len === 2 && u16(b, o) === Protocol.PAP) return 'pap'
  if (len === 2 && u16(b, o) === Protocol.EAP) return 'eap'
  if (len !== 3 || u16(b, o) !== Protocol.CHAP) return undefined
  const algorithm = u8(b, o + 2)
  return algorithm === 0x05 ? 'chap' : algorithm === 0x81 ? 'mschapv2' : undefined
}

/** The same for people, also of methods that are not ours. */
export function authLabel(b: Uint8Array, o: number, len: number): string {
  const name = readAuthOption(b, o, len)
  if (name !== undefined) return LINK_LABEL[name]
  if (len < 2) return 'nothing intelligible'
  const protocol = u16(b, o)
  if (protocol === Protocol.CHAP && len >= 3) {
    const algorithm = u8(b, o + 2)
    return algorithm === 0x80 ? 'MS-CHAP v1' : `CHAP algorithm ${algorithm}`
  }
  return `protocol ${protocol.toString(16).padStart(4, '0')}`
}

const LINK_LABEL: Readonly<Record<LinkAuth, string>> = {
  eap: 'EAP',
  mschapv2: 'MS-CHAPv2',
  chap: 'CHAP-MD5',
  pap: 'PAP',
}

export const AUTH_LABEL: Readonly<Record<AuthName, string>> = {
  'eap-tls': 'EAP-TLS',
  peap: 'PEAP',
  'eap-mschapv2': 'EAP-MSCHAPv2',
  mschapv2: 'MS-CHAPv2',
  chap: 'CHAP-MD5',
  pap: 'PAP',
}

/** Compares without telling by time where the difference is. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
