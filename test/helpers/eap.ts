/** EAP-MSCHAPv2 with the values of RFC 2759 9.2, as hex. */
import { fromHex, textHex } from './ppp.js'

export const CHALLENGE = '5b5d7c7d7b3f2f3e3c2c602132262628'
export const PEER_CHALLENGE = '21402324255e262a28295f2b3a337c7e'
export const NT_RESPONSE = '82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df'
export const SUCCESS = 'S=407A5589115FD0D6209F510FE9C04566932CDA56'
export const HLAK = 'd5f0e9521e3ea9589645e86051c822268b7cdc149b993a1ba118cb153f56dccb'

/** Randomness that makes the published peer challenge. */
export const peerRandom = (dst: Uint8Array): void => {
  dst.set(fromHex(PEER_CHALLENGE).subarray(0, dst.length))
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')

/** A message of type 26 from its op code on. */
export function msHex(op: number, id: number, data: string): string {
  return `${hex(op, 2)}${hex(id, 2)}${hex(4 + data.length / 2, 4)}${data}`
}

export const challengeBody = (id: number, name = 'srv'): string =>
  msHex(1, id, `10${CHALLENGE}${textHex(name)}`)

export const responseBody = (id: number, name = 'User'): string =>
  msHex(2, id, `31${PEER_CHALLENGE}${'00'.repeat(8)}${NT_RESPONSE}00${textHex(name)}`)
