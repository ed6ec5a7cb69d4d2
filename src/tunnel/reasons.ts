/** What the ends of SSTP and PPP mean to whoever made the call: where it was, whose fault it is, and what to do. */
import type { PppError } from '../ppp/errors.js'
import type { PppLink } from '../ppp/link.js'
import type { SstpError } from '../sstp/errors.js'
import { CallError, type Step } from '../transport/errors.js'
import { bindingRefused, type TlsLink } from '../transport/tls.js'
import type { TunnelOptions } from './options.js'

/** How far a call has come. */
export interface CallState {
  /** The step that is not done yet. */
  readonly step: Step
  /** CALL_CONNECTED was sent. */
  readonly connected: boolean
  /** The tunnel was up. */
  readonly up: boolean
  readonly options: Pick<TunnelOptions, 'askPassword'>
  readonly link: TlsLink
  readonly ppp: PppLink
}

export function ended(call: CallState, message: string, code = 'CALL_LOST'): CallError {
  const known = knownByPpp(call)
  if (known !== undefined) return known
  return call.up
    ? new CallError('ip', 'lost', code, message)
    : new CallError(call.step, 'protocol', 'CALL_CLOSED', `${message} before it was up`)
}

/** PPP knows better why a server hung up, and may not have come to telling it. */
function knownByPpp(call: CallState): CallError | undefined {
  const { error } = call.ppp
  return error === undefined || error.code === 'TERMINATED' ? undefined : fromPpp(call, error)
}

export function fromSstp(call: CallState, error: SstpError): CallError {
  const known = knownByPpp(call)
  if (known !== undefined) return known
  if (call.up) return new CallError('ip', 'lost', error.code, error.message)
  // Nothing else is judged between CALL_CONNECTED and the first packets (MS-SSTP 3.3.5.2.3); SoftEther judges not
  // even that, and gives no status.
  const judged = error.code === 'SSTP_PEER_ABORT' && error.status !== undefined
  if (call.connected && judged) return bindingRefused(call.link)
  return new CallError(call.step, 'protocol', error.code, error.message)
}

export function fromPpp(call: CallState, error: PppError): CallError {
  const { code, message } = error
  // Who is asked again in the open link and refused would only have one more wrong password to his name by another
  // call, unless each call asks for the password anew.
  if (!call.up || call.options.askPassword === undefined) {
    if (code === 'AUTH_REFUSED') return new CallError('auth', 'refused', code, message, refusedHint(error))
    if (code === 'AUTH_UNTRUSTED' || code === 'AUTH_SERVER_UNPROVEN') {
      return new CallError('auth', 'untrusted', code, message)
    }
    if (code === 'AUTH_CREDENTIALS') return new CallError('auth', 'local', code, message)
  }
  if (call.up) return new CallError('ip', 'lost', code, message)
  const step: Step = error.layer === 'ipcp' || error.layer === 'ipv6cp' ? 'ip' : 'auth'
  return new CallError(step, 'protocol', code, message)
}

function refusedHint({ reason }: PppError): string | undefined {
  return reason === undefined || reason === 691 ? 'check user name and password' : undefined
}

/** `ipv4`: why there is no address of that family. */
export function noAddress(call: Pick<CallState, 'up'>, ipv4: PppError | undefined): CallError {
  const why = ipv4 === undefined ? '' : ` (${ipv4.message})`
  const message = `no IPv4 address${why}, and IPv6 brings none either: no router advertises a prefix, no DHCPv6 server answers`
  const hint = 'the server has to give an address: its administrator can look at its address pool'
  return new CallError('ip', call.up ? 'lost' : 'protocol', 'NO_ADDRESS', message, hint)
}
