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

export type AuthName = 'mschapv2' | 'chap' | 'pap'

/** Strongest first: what a Nak names, and what a server asks for. */
export const STRENGTH: readonly AuthName[] = ['mschapv2', 'chap', 'pap']

/** Milliseconds that authentication may take: a second factor can need most of a minute. */
export const AUTH_TIMEOUT = 60_000
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
  /** Queues a packet of the method's protocol. */
  send(code: number, id: number, body: Uint8Array): void
  /** The peer (server) or we (client) are who they say; `hlak` are 32 octets, zeros if the method makes no key. */
  succeeded(user: string, hlak: Uint8Array): void
  /** The end of the call. */
  failed(error: PppError): void
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
}

/** Data of LCP's authentication option (RFC 1661 6.2) for a method. */
export function authOption(name: AuthName): Uint8Array {
  switch (name) {
    case 'pap':
      return Uint8Array.of(0xc0, 0x23)
    case 'chap':
      return Uint8Array.of(0xc2, 0x23, 0x05)
    case 'mschapv2':
      return Uint8Array.of(0xc2, 0x23, 0x81)
  }
}

/** The method that such data names, if it is one of ours. */
export function readAuthOption(b: Uint8Array, o: number, len: number): AuthName | undefined {
  if (len === 2 && u16(b, o) === Protocol.PAP) return 'pap'
  if (len !== 3 || u16(b, o) !== Protocol.CHAP) return undefined
  const algorithm = u8(b, o + 2)
  return algorithm === 0x05 ? 'chap' : algorithm === 0x81 ? 'mschapv2' : undefined
}

/** The same for people, also of methods that are not ours. */
export function authLabel(b: Uint8Array, o: number, len: number): string {
  const name = readAuthOption(b, o, len)
  if (name !== undefined) return AUTH_LABEL[name]
  if (len < 2) return 'nothing intelligible'
  const protocol = u16(b, o)
  if (protocol === Protocol.EAP) return 'EAP'
  if (protocol === Protocol.CHAP && len >= 3) {
    const algorithm = u8(b, o + 2)
    return algorithm === 0x80 ? 'MS-CHAP v1' : `CHAP algorithm ${algorithm}`
  }
  return `protocol ${protocol.toString(16).padStart(4, '0')}`
}

export const AUTH_LABEL: Readonly<Record<AuthName, string>> = {
  mschapv2: 'MS-CHAPv2',
  chap: 'CHAP-MD5',
  pap: 'PAP',
}

/** Compares without telling by time where the difference is. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
