/**
 * What the EAP layer (RFC 3748) and an EAP method see of each other. The same on both ends and, inside PEAP,
 * once more; the layer itself is in `peer.ts` and `authenticator.ts`.
 */
import type { PppError } from '../../errors.js'
import type { AuthName } from '../method.js'

/** RFC 3748 4. */
export const EapCode = { REQUEST: 1, RESPONSE: 2, SUCCESS: 3, FAILURE: 4 } as const

/** RFC 3748 5, and the IANA's registry. */
export const EapType = {
  IDENTITY: 1,
  NOTIFICATION: 2,
  NAK: 3,
  MD5: 4,
  GTC: 6,
  TLS: 13,
  TTLS: 21,
  PEAP: 25,
  MSCHAPV2: 26,
  TLV: 33,
  EXPANDED: 254,
} as const

/** Octets in front of the type data: code, identifier, length (2), type. */
export const EAP_HEADER = 5

/**
 * The keys of a method as MS-MPPE knows them, in the client's view: 16 octets each of EAP-MSCHAPv2, 32 of
 * EAP-TLS and PEAP (the halves of the first 64 octets of the MSK). Secrets.
 */
export interface EapKeys {
  readonly send: Uint8Array
  readonly receive: Uint8Array
}

/** How the HLAK is made of longer keys: `pppd` 2.4 with its SSTP plugin cuts each at 16 octets. */
export type KeyRule = 'windows' | 'pppd'

/** Octets of an HLAK. */
export const HLAK_LENGTH = 32

/**
 * The higher-layer authentication key for SSTP's crypto binding: the first 32 octets of the client's send key,
 * its receive key and zeros. (The same octets begin the MSK, and are PEAP's ISK.)
 */
export function hlakOf(keys: EapKeys | undefined, rule: KeyRule = 'windows'): Uint8Array {
  const hlak = new Uint8Array(HLAK_LENGTH)
  if (keys === undefined) return hlak
  const cut = rule === 'pppd' ? 16 : HLAK_LENGTH
  const send = keys.send.subarray(0, cut)
  hlak.set(send)
  const rest = HLAK_LENGTH - send.length
  hlak.set(keys.receive.subarray(0, Math.min(cut, rest)), send.length)
  return hlak
}

/** The HLAK by the rule of pppd; undefined if that is the same. */
export function otherHlakOf(keys: EapKeys | undefined): Uint8Array | undefined {
  if (keys === undefined || keys.send.length <= HLAK_LENGTH / 2) return undefined
  return hlakOf(keys, 'pppd')
}

export interface EapResult {
  /** Undefined if the method makes none. */
  readonly keys: EapKeys | undefined
  /** Authenticator: whom the method has authenticated; empty: who the identity says. Unused by a peer. */
  readonly user: string
  /**
   * Peer: the method itself has heard that the server is content, protected: a Failure is no longer believed.
   * False: a Success is believed now, and so is a Failure. An authenticator says true.
   */
  readonly certain: boolean
}

/** What a method may call; during any call into it, never outside one. */
export interface EapMethodHost {
  readonly random: (dst: Uint8Array) => void
  /** Octets of type data that one packet can have. It can change; at least 1000. */
  readonly limit: number
  /**
   * Peer: the answer to the Request last given to `input`, once, at once or after an `activity`.
   * Authenticator: a new Request, to whose Response `input` will be called. The octets are copied.
   */
  send(data: Uint8Array): void
  /**
   * Authenticator: the peer is who they say, EAP-Success goes out. Peer: on our side all is well, and EAP-Success
   * (or its equivalent) is waited for; call it before the `send` of the answer, or without one. May be repeated with `certain`.
   */
  succeeded(result: EapResult): void
  /**
   * It will not end well. Authenticator: EAP-Failure goes out, delayed. Peer: no answer any more, the call ends; an
   * alert to be sent goes out with `send` first.
   */
  failed(error: PppError): void
  /** Text for people, such as a warning; no secrets. */
  note(message: string): void
  /** To be handed to what works outside, such as a TLS engine: asks for a call of `activity`. */
  readonly onActivity: () => void
}

/** One run of a method at either end. */
export interface EapMethod {
  /** RFC 3748 5. */
  readonly type: number
  readonly name: AuthName
  /** For people: `EAP-TLS`. */
  readonly label: string
  /** Credentials are on their way and there is no verdict yet: a peer that hangs up now has refused them. */
  readonly undecided: boolean
  /** Authenticator: sends the first Request. Peer: nothing was received yet; the first `input` follows at once. */
  start(now: number): void
  /**
   * Type data of a Request (peer) or Response (authenticator), each once: repetitions are the layer's.
   * @returns false: it does not fit and is dropped, as if it had never come; true: it was taken, and an answer has been
   *   sent, or follows, or the method has ended
   */
  input(b: Uint8Array, off: number, len: number, now: number): boolean
  /** Work outside has gone on (see `onActivity`). */
  activity(now: number): void
  nextTimeout(): number
  handleTimeout(now: number): void
  /**
   * Peer: EAP-Failure came, or the server hung up. What it means, if the method knows more than the layer (an E= code of
   * MS-CHAPv2, an alert of TLS). Authenticator: the peer has been told no in the method's own words already.
   */
  refusal(): PppError | undefined
  /** The end, in any case and once: frees what is outside. */
  close(): void
}

/** Makes the run of a method; both ends have a list of these, best first. */
export interface EapMethodChoice {
  readonly type: number
  readonly name: AuthName
  readonly label: string
  /** Calls nothing of the host's yet. */
  create(host: EapMethodHost): EapMethod
}
