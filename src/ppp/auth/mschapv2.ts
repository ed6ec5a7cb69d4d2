/** MS-CHAPv2 (RFC 2759): what goes into its messages, for CHAP and for EAP. */
import { copyOf } from '../../../stack/bytes.js'
import { PppError } from '../errors.js'
import { sameBytes } from './method.js'
import {
  authenticatorResponse,
  challengeHash,
  challengeResponse,
  decryptNewPassword,
  encryptNewPassword,
  encryptOldHash,
  hashNtPasswordHash,
  higherLayerKey,
  MAX_NEW_PASSWORD,
  ntPasswordHash,
  toHex,
  withoutDomain,
} from './mschap-crypto.js'

const encoder = new TextEncoder()

export const CHALLENGE_SIZE = 16

/** peer challenge (16) | zeros (8) | NT-Response (24) | flags (1), RFC 2759 4. */
export const RESPONSE_SIZE = 49
const PEER_CHALLENGE = 0
const NT_RESPONSE = 24
const FLAGS = 48

/** Code of a Change-Password packet, and the octets behind its header (RFC 2759 7). */
export const CHANGE_PASSWORD = 7
export const CHANGE_SIZE = 582
const ENCRYPTED_HASH = 516
const CHANGE_PEER_CHALLENGE = 532
const CHANGE_NT_RESPONSE = 556
const CHANGE_FLAGS = 580

/** E= of a Failure (RFC 2759 6). */
export const Reason = {
  HOURS: 646,
  DISABLED: 647,
  EXPIRED: 648,
  NO_DIAL_IN: 649,
  WRONG: 691,
  CHANGE: 709,
} as const

/** The 49 octets of a Response. */
export function responseValue(peerChallenge: Uint8Array, ntResponse: Uint8Array): Uint8Array {
  const value = new Uint8Array(RESPONSE_SIZE)
  value.set(peerChallenge.subarray(0, 16), PEER_CHALLENGE)
  value.set(ntResponse.subarray(0, 24), NT_RESPONSE)
  return value
}

/** The fields of a Failure message (RFC 2759 6); every one may be missing. */
export interface FailureMessage {
  E?: number
  R?: number
  /** 32 lower-case hexadecimal digits in a proper message; as it came in any other. */
  C?: string
  V?: number
  M?: string
}

export function parseFailure(message: string): FailureMessage {
  // M= takes the rest, which may look like fields.
  const at = message.search(/(^|\s)M=/)
  const start = at < 0 ? -1 : message.indexOf('M=', at)
  const fields: FailureMessage = {}
  for (const word of message.slice(0, start < 0 ? undefined : start).split(/\s+/)) {
    const value = word.slice(2)
    if (word.startsWith('C=')) fields.C = value.toLowerCase()
    else if (!/^[ERV]=\d{1,10}$/.test(word)) continue
    else if (word.startsWith('E=')) fields.E = Number(value)
    else if (word.startsWith('R=')) fields.R = Number(value)
    else fields.V = Number(value)
  }
  if (start >= 0) fields.M = message.slice(start + 2)
  return fields
}

/** The challenge of a Failure; undefined if it has none that can be used. */
export function failureChallenge({ C }: FailureMessage): Uint8Array | undefined {
  if (C === undefined || !/^[0-9a-f]{32}$/.test(C)) return undefined
  const challenge = new Uint8Array(CHALLENGE_SIZE)
  for (let i = 0; i < CHALLENGE_SIZE; i += 1) challenge[i] = Number.parseInt(C.slice(2 * i, 2 * i + 2), 16)
  return challenge
}

/** RFC 2759 6, in plain words, with what to do. */
const REASONS: Readonly<Record<number, string>> = {
  [Reason.HOURS]: 'the account may not log on at this hour',
  [Reason.DISABLED]: 'the account is disabled',
  [Reason.EXPIRED]: 'the password has expired',
  [Reason.NO_DIAL_IN]: 'the account has no permission to dial in',
  [Reason.WRONG]: 'wrong user name or password',
  [Reason.CHANGE]: 'the server could not change the password',
}

/** Texts with which servers say that an account is locked: it has no code of its own. */
const LOCKED = /lock(ed)?[ -]?out|account (is|has been) locked|\blocked\b/i

/** What a Failure means. `change`: a new password was on its way. */
export function failureError(message: string, change: 'sent' | 'given' | 'none' = 'none'): PppError {
  const { E, M } = parseFailure(message)
  let what = E === undefined ? 'the server refused the user name or password' : (REASONS[E] ?? 'refused')
  if (M !== undefined && LOCKED.test(M)) what = 'the account is locked: wait, or ask its administrator'
  else if (E === Reason.EXPIRED && change === 'none') {
    what += ': --new-password-file FILE changes it to the one in FILE'
  } else if (E === Reason.EXPIRED && change === 'given') {
    what += ', and the server does not let it be changed here'
  } else if (change === 'sent' && E === Reason.CHANGE) {
    what += ': the new one may not fit its rules (length, age, history)'
  } else if (change === 'sent') what = `the password was not changed: ${what}`
  const code = E === undefined ? '' : ` (E=${E})`
  const said = M === undefined || M === '' ? '' : `; server says: ${M}`
  return new PppError('auth', 'AUTH_REFUSED', `${what}${code}${said}`, 'remote', E)
}

/** What the server could not show. */
export function unproven(): PppError {
  const message = 'the server failed to prove that it knows the password: it may be an impostor'
  return new PppError('auth', 'AUTH_SERVER_UNPROVEN', message)
}

/** A client's; `password` is the new one once it was changed. */
export interface MsChapV2Credentials {
  readonly user: string
  password: string
  /** To change to if the password has expired. */
  newPassword?: string | undefined
  /** Hash `DOMAIN\user` whole: wanted by accel-ppp with a user file of its own, wrong by RFC 2759 8.2. */
  readonly hashWholeUser: boolean
  /** The server has changed the password to `newPassword`. */
  readonly onChanged?: (() => void) | undefined
}

/** After a change that the server has proven to have done. */
export function changed(credentials: MsChapV2Credentials): void {
  const { newPassword } = credentials
  if (newPassword === undefined) return
  credentials.password = newPassword
  credentials.newPassword = undefined
  credentials.onChanged?.()
}

/** What a client made of a challenge. */
export interface MsChapV2Answer {
  /** 49 octets of a Response, or 582 of a Change-Password. */
  readonly value: Uint8Array
  readonly hlak: Uint8Array
  /** `S=…`, with which a Success message must begin. */
  readonly proof: string
}

export function respond(
  credentials: MsChapV2Credentials,
  challenge: Uint8Array,
  random: (dst: Uint8Array) => void,
): MsChapV2Answer {
  const { user, password, hashWholeUser } = credentials
  const peerChallenge = new Uint8Array(16)
  random(peerChallenge)
  const hash = challengeHash(peerChallenge, challenge, hashWholeUser ? user : withoutDomain(user))
  const passwordHash = ntPasswordHash(password)
  const hashHash = hashNtPasswordHash(passwordHash)
  const ntResponse = challengeResponse(hash, passwordHash)
  return {
    value: responseValue(peerChallenge, ntResponse),
    hlak: higherLayerKey(hashHash, ntResponse),
    proof: authenticatorResponse(hashHash, ntResponse, hash),
  }
}

/** Whether this Failure can be answered by a change of the password. */
export function mayChange(credentials: MsChapV2Credentials, message: FailureMessage): boolean {
  const { newPassword } = credentials
  return (
    newPassword !== undefined &&
    newPassword.length <= MAX_NEW_PASSWORD &&
    message.E === Reason.EXPIRED &&
    (message.V ?? 3) === 3 &&
    failureChallenge(message) !== undefined
  )
}

/** RFC 2759 7. `challenge` is that of the Failure; see {@link mayChange}. */
export function change(
  credentials: MsChapV2Credentials,
  newPassword: string,
  challenge: Uint8Array,
  random: (dst: Uint8Array) => void,
): MsChapV2Answer {
  const filler = new Uint8Array(512)
  random(filler)
  const answer = respond({ ...credentials, password: newPassword }, challenge, random)
  const oldHash = ntPasswordHash(credentials.password)
  const value = new Uint8Array(CHANGE_SIZE)
  value.set(encryptNewPassword(newPassword, oldHash, filler))
  value.set(encryptOldHash(oldHash, ntPasswordHash(newPassword)), ENCRYPTED_HASH)
  value.set(answer.value.subarray(PEER_CHALLENGE, FLAGS), CHANGE_PEER_CHALLENGE)
  return { value, hlak: answer.hlak, proof: answer.proof }
}

/** Does a Success message prove that the server knows the password? Behind the proof comes text, or nothing. */
export function proves(answer: MsChapV2Answer, b: Uint8Array, off: number, len: number): boolean {
  const size = answer.proof.length
  const said = new TextDecoder('latin1').decode(b.subarray(off, off + Math.min(len, size)))
  return sameBytes(encoder.encode(said.toUpperCase()), encoder.encode(answer.proof))
}

/** What a server made of a response. */
export interface MsChapV2Check {
  readonly right: boolean
  readonly hlak: Uint8Array
  /** Message of the Success. */
  readonly success: string
}

/** `value`: the 49 octets. Equal work for right and wrong. */
export function check(
  challenge: Uint8Array,
  value: Uint8Array,
  user: string,
  password: string,
): MsChapV2Check {
  const ntResponse = value.subarray(NT_RESPONSE, FLAGS)
  return checkParts(
    challenge,
    value.subarray(PEER_CHALLENGE, PEER_CHALLENGE + 16),
    ntResponse,
    user,
    password,
  )
}

function checkParts(
  challenge: Uint8Array,
  peerChallenge: Uint8Array,
  ntResponse: Uint8Array,
  user: string,
  password: string,
): MsChapV2Check {
  const hash = challengeHash(peerChallenge, challenge, withoutDomain(user))
  const passwordHash = ntPasswordHash(password)
  const hashHash = hashNtPasswordHash(passwordHash)
  return {
    right: sameBytes(challengeResponse(hash, passwordHash), ntResponse),
    hlak: higherLayerKey(hashHash, ntResponse),
    success: `${authenticatorResponse(hashHash, ntResponse, hash)} M=Welcome`,
  }
}

/** The new password in the 582 octets of a Change-Password; undefined if anything about it is wrong. */
export function checkChange(
  challenge: Uint8Array,
  value: Uint8Array,
  user: string,
  oldPassword: string,
): (MsChapV2Check & { readonly password: string }) | undefined {
  const oldHash = ntPasswordHash(oldPassword)
  const password = decryptNewPassword(value.subarray(0, ENCRYPTED_HASH), oldHash)
  if (password === undefined || password === '') return undefined
  const proof = encryptOldHash(oldHash, ntPasswordHash(password))
  if (!sameBytes(proof, copyOf(value, ENCRYPTED_HASH, CHANGE_PEER_CHALLENGE))) return undefined
  const peerChallenge = value.subarray(CHANGE_PEER_CHALLENGE, CHANGE_PEER_CHALLENGE + 16)
  const ntResponse = value.subarray(CHANGE_NT_RESPONSE, CHANGE_FLAGS)
  const result = checkParts(challenge, peerChallenge, ntResponse, user, password)
  return result.right ? { ...result, password } : undefined
}

/** Message of a Failure. R=0: whoever tries again does so in a new call, so that no machine locks an account. */
export function failureMessage(reason: number, challenge: Uint8Array): string {
  const text = REASONS[reason] ?? 'refused'
  return `E=${reason} R=0 C=${toHex(challenge)} V=3 M=${text.charAt(0).toUpperCase()}${text.slice(1)}`
}

/** The challenge for the Change-Password that a Failure asks for; undefined if it asks for none. */
export function changeWanted(failure: string | undefined): Uint8Array | undefined {
  if (failure === undefined) return undefined
  const fields = parseFailure(failure)
  return fields.E === Reason.EXPIRED && fields.V === 3 ? failureChallenge(fields) : undefined
}

/** A Failure message of somebody else's that invites to another try, without that: our calls have one. */
export function onceOnly(failure: string): string {
  return failure.replace(/^(E=\d+ )R=1\b/, '$1R=0')
}
