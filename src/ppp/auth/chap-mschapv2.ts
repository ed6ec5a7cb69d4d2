/** MS-CHAPv2 (RFC 2759) as an algorithm of CHAP, with its change of a password that has expired. */
import type { ChapAlgorithm, ChapResponse } from './chap.js'
import {
  CHALLENGE_SIZE,
  change,
  changed,
  failureChallenge,
  failureError,
  type MsChapV2Answer,
  type MsChapV2Credentials,
  mayChange,
  parseFailure,
  proves,
  respond,
  unproven,
} from './mschapv2.js'

/** A client's. */
export function msChapV2(credentials: MsChapV2Credentials): ChapAlgorithm {
  /** The last packet changes the password. */
  let changing = false
  const response = ({ value, hlak, ...rest }: MsChapV2Answer): ChapResponse => ({
    value,
    hlak,
    proves: (b, off, len) => {
      if (!proves({ value, hlak, ...rest }, b, off, len)) return unproven()
      if (changing) changed(credentials)
      changing = false
      return true
    },
  })
  return {
    label: 'MS-CHAPv2',
    challengeSize: CHALLENGE_SIZE,
    respond(_id, challenge, random) {
      changing = false
      return response(respond(credentials, challenge, random))
    },
    failed(message, random) {
      const sent = changing
      const { newPassword } = credentials
      const fields = parseFailure(message)
      const challenge = failureChallenge(fields)
      if (sent || newPassword === undefined) return failureError(message, sent ? 'sent' : 'none')
      if (challenge === undefined || !mayChange(credentials, fields)) return failureError(message, 'given')
      changing = true
      return response(change(credentials, newPassword, challenge, random))
    },
  }
}
